#!/bin/bash
# arm-unit.sh - the tests of the crates on ARM: built for aarch64 and armv7 (setup-cross.sh), linked statically as what is
# shipped, run by qemu-user, which puts ARM's system calls before this machine's kernel.
#
#   arm-unit.sh [--all] [ARCH...]      default: aarch64 and armv7
#
# The tests within the crates run; with --all also those in tests/ that qemu-user can run, which takes ten minutes more. What is
# left out is said, with the reason, and counted (SKIFF_SKIP_LOG).
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
all=no
if [ "${1:-}" = --all ]; then all=yes && shift; fi
[ $# -gt 0 ] || set -- aarch64 armv7
export PROPTEST_CASES=${PROPTEST_CASES:-8} # the planner's stories are long ones

skip() {
    echo "SKIP $*"
    if [ -n "${SKIFF_SKIP_LOG:-}" ]; then echo "SKIP $*" >>"$SKIFF_SKIP_LOG"; fi
}

# The files of tests/: whether qemu-user can run them.
verdict() {
    case $1 in
        cgroup_real | foreground_real | process_real | rootfs_real | self_exe_real | terminal_real)
            echo 'qemu-user makes no namespaces and executes no ARM program; arm-guest.sh runs it' ;;
        config_mutations | control_http | ctl_client | fleet_build | fleet_explain | fleet_follow | fleet_serve | fleet_unpack | report | properties | scenarios) echo fine ;;
        *) echo "arm-unit: tests/$1.rs is new: say here whether qemu-user can run it" >&2 && return 1 ;;
    esac
}
# Needs more of the kernel than qemu-user passes on.
confined=child::the_child_has_nothing_and_goes_with_skiffd

build=(--workspace --exclude skiff-integration-tests --exclude skiff-lanes --lib)
for file in runtime/tests/*.rs supervisor/tests/*.rs supervisor/planner/tests/*.rs; do
    name=$(basename "$file" .rs)
    reason=$(verdict "$name")
    case $reason-$all in
        fine-yes) build+=(--test "$name") ;;
        fine-no) skip "$file: left out for its time; arm-unit.sh --all runs it" ;;
        *) skip "$file: $reason" ;;
    esac
done
SECONDS=0
tests=$("$here/setup-cross.sh" tests "$*" "${build[@]}")
echo "arm-unit: built in $SECONDS s"
environment=$("$here/setup-cross.sh" env "$@")
eval "$environment"

# wrap RUNNER FOLDER: puts a call of qemu in the place of each program that tests start, so that nothing has to be registered with
# the kernel. Cargo's next run puts the program back.
wrap() {
    local program
    for program in skiffd skiffctl; do
        if [ "$(head -c 2 "$2/$program")" != '#!' ]; then mv "$2/$program" "$2/$program.elf"; fi
        printf '#!/bin/sh\nexec %q -0 "$0" %q "$@"\n' "$1" "$2/$program.elf" >"$2/.$program"
        chmod +x "$2/.$program"
        mv "$2/.$program" "$2/$program"
    done
}

failed=0
for arch in "$@"; do
    triple=$("$here/setup-cross.sh" triple "$arch")
    runner=CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$triple")_RUNNER
    if [ $all = yes ]; then wrap "${!runner}" "$CARGO_TARGET_DIR/$triple/debug"; fi
    while read -r built name folder program; do
        if [ "$built" != "$arch" ]; then continue; fi
        words=()
        if [ "$name" = fleet_follow ]; then
            skip "$arch/$confined: qemu-user passes on neither Landlock nor seccomp; arm-guest.sh runs it"
            words=(--skip "$confined")
        fi
        echo "arm-unit: $arch: ${folder#"$PWD"/} $name"
        (cd "$folder" && "${!runner}" "$program" "${words[@]}" </dev/null) || failed=1
    done <<<"$tests"
done
echo "arm-unit: $SECONDS s"
exit $failed
