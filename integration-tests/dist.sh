#!/bin/bash
# dist.sh - the four programs as they are shipped: static release builds for x86_64, aarch64 and armv7 (ARMv7-A with hard
# floats), all by one compiler (setup-cross.sh), under target/dist/ARCH/, with target/dist/sha256sums.
#
#   dist.sh [ARCH...]      default: all three
#
# PROFILE=guest builds by that profile of Cargo.toml instead, into target/dist/guest/ARCH/, for tests.
#
# Each program is looked at before it is put there: that it is of the right machine, asks for no loader and no library, names
# no folder of the machine that built it, and starts (the foreign ones under qemu).
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
profile=${PROFILE:-release}
out=target/dist
[ "$profile" = release ] || out=target/dist/$profile
programs=(skiff containerd-shim-skiff-v1 skiffd skiffctl)
[ $# -gt 0 ] || set -- x86_64 aarch64 armv7
environment=$("$here/setup-cross.sh" env "$@")
eval "$environment"
cargo_home=${CARGO_HOME:-$HOME/.cargo}

fail() { echo "dist: $1: $2" >&2; exit 1; }

# looks_right ARCH FILE
looks_right() {
    local machine
    case $1 in x86_64) machine=X86-64 ;; aarch64) machine=AArch64 ;; armv7) machine=ARM ;; esac
    readelf -hW "$2" | grep -q "Machine: .*$machine\$" || fail "$2" "is not for $1"
    ! readelf -lW "$2" | grep -q INTERP || fail "$2" "asks for a loader"
    ! readelf -dW "$2" | grep -q NEEDED || fail "$2" "asks for a library"
    ! grep -qaF -e "$cargo_home" -e "$PWD" "$2" || fail "$2" "names a folder of this machine"
    if [ "$1" = armv7 ]; then
        readelf -hW "$2" | grep -q hard-float || fail "$2" "is not for hard floats"
        readelf -AW "$2" | grep -q 'Tag_CPU_arch: v7$' || fail "$2" "is not for ARMv7"
    fi
}

targets=()
for arch in "$@"; do
    triple=$("$here/setup-cross.sh" triple "$arch")
    targets+=(--target "$triple")
    flags=CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$triple")_RUSTFLAGS
    export "$flags=${!flags} --remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$PWD=/skiff"
done
echo "dist: building ${programs[*]} for $*" >&2
cargo build --locked --profile "$profile" "${targets[@]}" -p skiff -p skiff-shim -p skiff-supervisor --bins

printf '%-9s' bytes
printf ' %25s' "${programs[@]}"
echo
for arch in "$@"; do
    triple=$("$here/setup-cross.sh" triple "$arch")
    runner=CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$triple")_RUNNER
    new=$out/.$arch
    rm -rf "$new"
    mkdir -p "$new"
    printf '%-9s' "$arch"
    for program in "${programs[@]}"; do
        cp "$CARGO_TARGET_DIR/$triple/$profile/$program" "$new/"
        looks_right "$arch" "$new/$program"
        # The shim has this flag, too: containerd asks with it.
        ${!runner:-} "$new/$program" --version >/dev/null 2>&1 || ${!runner:-} "$new/$program" -v >/dev/null || fail "$new/$program" "does not start"
        printf ' %25s' "$(stat -c %s "$new/$program")"
    done
    echo
    rm -rf "$out/$arch"
    mv "$new" "$out/$arch"
done
names=()
for arch in x86_64 aarch64 armv7; do [ ! -d "$out/$arch" ] || names+=("$arch"); done
(cd "$out" && for arch in "${names[@]}"; do sha256sum "$arch"/*; done >sha256sums)
echo "$out/ARCH/, $out/sha256sums"
