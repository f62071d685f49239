#!/bin/sh
# Prints what a log-only image adds over an empty one, .text + .rodata, for thumbv7em at opt-level z, and fails if a panic can be
# reached: the panic handler needs a symbol that exists nowhere.
set -eu
cd "$(dirname "$0")"
target=${1:-thumbv7em-none-eabi}
out=${CARGO_TARGET_DIR:-target}/$target/release/libsize_probe.a
image=$(dirname "$out")/size-probe.elf
linker=$(find "$(rustc --print sysroot)" -name rust-lld -type f | head -n 1)
# The driver and the application are addresses that the image does not hold.
outside="flash_erase flash_program flash_verify flash_read next_record replayed"

cargo rustc --quiet --release --target "$target" --features log
set -- --gc-sections --entry probe -o "$image"
for symbol in $outside; do
    set -- "$@" --defsym "$symbol=0x10000000"
done
if ! "$linker" -flavor gnu "$@" "$out"; then
    echo "size-probe: a panic can be reached" >&2
    exit 1
fi
if nm "$image" | grep -i panic; then
    echo "size-probe: the image holds panic code" >&2
    exit 1
fi
size -A "$image" | awk -v target="$target" '
    $1 ~ /^\.(text|rodata)/ { bytes += $2 }
    END { if (bytes == 0) exit 1; printf "log only, %s, opt z: %d bytes of .text + .rodata\n", target, bytes }'
