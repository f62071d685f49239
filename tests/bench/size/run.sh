#!/bin/sh
# Prints what an image with a peer holds, .text + .rodata, for thumbv7em at opt-level z: the same firmware, the same linker and the
# same symbols left outside as in tests/size-probe. One line for each peer.
set -eu
cd "$(dirname "$0")"
target=${1:-thumbv7em-none-eabi}
out=${CARGO_TARGET_DIR:-target}/$target/release/libpeer_size.a
linker=$(find "$(rustc --print sysroot)" -name rust-lld -type f | head -n 1)
outside="flash_erase flash_program flash_read next_record replayed"

for peer in queue map ekv; do
    image=$(dirname "$out")/peer-$peer.elf
    cargo rustc --quiet --release --target "$target" --features "$peer"
    set -- --gc-sections --entry probe -o "$image"
    for symbol in $outside; do
        set -- "$@" --defsym "$symbol=0x10000000"
    done
    "$linker" -flavor gnu "$@" "$out"
    size -A "$image" | awk -v peer="$peer" -v target="$target" '
        $1 ~ /^\.(text|rodata)/ { bytes += $2 }
        END { if (bytes == 0) exit 1; printf "%s, %s, opt z: %d bytes of .text + .rodata\n", peer, target, bytes }'
done
