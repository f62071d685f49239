#!/bin/sh
# Prints what an image adds over an empty one for each set of features, .text + .rodata, for thumbv7em at opt-level z, and fails
# if a panic can be reached. One is in every image that holds an async fn: it is for a driver that polls an operation again after
# its end, which the contract of Future forbids.
set -eu
cd "$(dirname "$0")"
target=${1:-thumbv7em-none-eabi}
out=${CARGO_TARGET_DIR:-target}/$target/release/libsize_probe.a
linker=$(find "$(rustc --print sysroot)" -name rust-lld -type f | head -n 1)
# The driver, the link and the application are addresses that the image does not hold.
outside="flash_erase flash_program flash_read next_record replayed link_send link_receive"
panics='panic|unwrap_failed|expect_failed|index_fail|len_mismatch'


# Links the image of some features with what they begin with, and prints its size under a name.
measure() {
    features=$1 name=$2
    image=$(dirname "$out")/size-probe-$features.elf
    cargo rustc --quiet --release --target "$target" --features "$features"
    set -- --gc-sections --entry probe -o "$image"
    case $features in *export) set -- "$@" --undefined export ;; esac
    for symbol in $outside; do
        set -- "$@" --defsym "$symbol=0x10000000"
    done
    "$linker" -flavor gnu "$@" "$out"
    if nm "$image" | grep -E "$panics"; then
        echo "size-probe: $name: a panic can be reached" >&2
        exit 1
    fi
    size -A "$image" | awk -v name="$name" -v target="$target" '
        $1 ~ /^\.(text|rodata)/ { bytes += $2 }
        END { if (bytes == 0) exit 1; printf "%s, %s, opt z: %d bytes of .text + .rodata\n", name, target, bytes }'
}

measure log "log only"
measure snapshot "log and snapshot"
measure snapshot,export "log, snapshot and export"
