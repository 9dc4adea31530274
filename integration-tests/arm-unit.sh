#!/bin/bash
# arm-unit.sh - the tests of the crates on ARM: built for aarch64 and armv7 (setup-cross.sh), linked statically as what is
# shipped, run by qemu-user, which puts ARM's system calls before this machine's kernel.
#
#   arm-unit.sh [--all] [ARCH...]      default: aarch64 and armv7
#
# The tests within the crates run; with --all also those in tests/ that qemu-user can run, which takes ten minutes more. What is left out is said, with the reason, and counted (SKIFF_SKIP_LOG).
# Programs of ours that a test starts are wrapped into a call of qemu, so that nothing has to be registered with the kernel.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
all=no
if [ "${1:-}" = --all ]; then all=yes && shift; fi
[ $# -gt 0 ] || set -- aarch64 armv7
environment=$("$here/setup-cross.sh" env "$@")
eval "$environment"
# Tests are built to be run once: no lines for a debugger, which are most of a test's size. Cases are slow under emulation.
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 PROPTEST_CASES=${PROPTEST_CASES:-8}
# What computes for long is worth being compiled for longer.
quick=()
for package in crc32fast minisign minisign-verify scrypt sha2 zlib-rs; do quick+=(--config "profile.dev.package.$package.opt-level=2"); done

skip() {
    echo "SKIP arm-unit: $*"
    if [ -n "${SKIFF_SKIP_LOG:-}" ]; then echo "SKIP arm-unit: $*" >>"$SKIFF_SKIP_LOG"; fi
}

# The files of tests/: what becomes of each.
verdict() {
    case $1 in
        cgroup_real | foreground_real | process_real | rootfs_real | self_exe_real | terminal_real)
            echo 'qemu-user makes no namespaces and executes no ARM program; the arm64 guest does' ;;
        control_http | ctl_client | fleet_build | fleet_explain | fleet_follow | fleet_serve | fleet_unpack | report | properties | scenarios) echo all ;;
        *) echo "arm-unit: tests/$1.rs is new: say here whether qemu-user can run it" >&2 && return 1 ;;
    esac
}
# Tests that need more of the kernel than qemu-user passes on, and why.
declare -A single=(
    [child::the_child_has_nothing_and_goes_with_skiffd]='qemu-user passes on neither Landlock nor seccomp; its filter is run by the tests of the crate'
)

build=(--lib)
for file in runtime/tests/*.rs shim/tests/*.rs supervisor/tests/*.rs supervisor/planner/tests/*.rs; do
    [ -e "$file" ] || continue
    name=$(basename "$file" .rs)
    reason=$(verdict "$name")
    case $reason-$all in
        all-yes) build+=(--test "$name") ;;
        all-no) skip "$file: left out for its time; arm-unit.sh --all runs it" ;;
        *) skip "$file: $reason" ;;
    esac
done
targets=()
for arch in "$@"; do targets+=(--target "$("$here/setup-cross.sh" triple "$arch")"); done
SECONDS=0
binaries=$(cargo test "${quick[@]}" --locked --no-run "${targets[@]}" --workspace --exclude skiff-integration-tests "${build[@]}" --message-format=json-render-diagnostics |
    python3 -c 'import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["profile"]["test"]:
        print(message["executable"], message["target"]["name"], os.path.dirname(message["manifest_path"]))')
echo "arm-unit: built in $SECONDS s"

failed=0
for arch in "$@"; do
    triple=$("$here/setup-cross.sh" triple "$arch")
    runner=CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$triple")_RUNNER
    programs=$CARGO_TARGET_DIR/$triple/debug
    for program in skiffd skiffctl; do
        # Cargo puts the program itself back at its next run.
        real=$(ls -t "$programs/deps/$program"-* 2>/dev/null | grep -v '\.d$' | head -1) || continue
        printf '#!/bin/sh\nexec %q -0 "$0" %q "$@"\n' "${!runner}" "$real" >"$programs/.$program"
        chmod +x "$programs/.$program"
        mv "$programs/.$program" "$programs/$program"
    done
    while read -r binary name folder; do
        [[ $binary == */$triple/* ]] || continue
        words=()
        for test in "${!single[@]}"; do
            if [ "$name" = fleet_follow ]; then words+=(--skip "$test") && skip "$arch: $test: ${single[$test]}"; fi
        done
        echo "arm-unit: $arch: ${folder#"$PWD"/} $name"
        (cd "$folder" && CARGO_MANIFEST_DIR=$folder "${!runner}" "$binary" -q "${words[@]}") || failed=1
    done <<<"$binaries"
done
echo "arm-unit: $SECONDS s"
exit $failed
