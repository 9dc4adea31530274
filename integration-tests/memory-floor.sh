#!/bin/sh
# Finds, by bisection, the smallest memory limit under which a runtime can start /bin/true: how much of the container's
# memory the runtime spends on itself.
#
#   memory-floor.sh [skiff|runc|crun]...     all three unless told; SKIFF_BIN, RUNC_BIN, CRUN_BIN name other programs
#
# Root only. Uses whichever cgroup version has the memory controller. On a hybrid host the cgroup2 folder is hidden in a
# private mount namespace, since crun refuses to run beside it. A limit counts when three runs of three succeed.
set -eu

cd "$(dirname "$0")/.."
target_dir=${BENCH_TARGET_DIR:-$PWD/target/bench}
release=$target_dir/$(rustc -vV | sed -n 's/^host: //p')/release
page_kib=$(($(getconf PAGESIZE) / 1024))
most_kib=65536

die() {
    echo "memory-floor.sh: $*" >&2
    exit 1
}

hide_cgroup2_beside_v1() {
    [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ] || return 0
    [ -d /sys/fs/cgroup/memory ] || die "no memory controller under /sys/fs/cgroup"
    ! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
}

make_bundles() {
    work=$target_dir/work
    mkdir -p "$work"
    mount -t tmpfs -o mode=700 memory-floor "$work"
    BENCH_WORK=$work "$release/bench" bundle
    mv "$work/true/config.json" "$work/config.json"
}

runtime() { # NAME ARGUMENT...
    name=$1
    shift
    case $name in
    skiff) timeout -k 1 10 "${SKIFF_BIN:-$release/skiff}" --root "$work/state-skiff" "$@" ;;
    runc) timeout -k 1 10 "${RUNC_BIN:-runc}" --root "$work/state-runc" "$@" ;;
    crun) timeout -k 1 10 "${CRUN_BIN:-crun}" --root "$work/state-crun" --cgroup-manager=cgroupfs "$@" ;;
    *) die "unknown runtime $name; use skiff, runc or crun" ;;
    esac
}

starts() { # NAME KIB
    limit="\"resources\": {\"memory\": {\"limit\": $(($2 * 1024))}},"
    sed "s|^\"linux\": {|& $limit|" "$work/config.json" >"$work/true/config.json"
    for _ in 1 2 3; do
        if ! runtime "$1" run --bundle "$work/true" memory-floor </dev/null >"$work/said" 2>&1; then
            runtime "$1" delete --force memory-floor >/dev/null 2>&1 || true # mostly there is nothing left to delete
            return 1
        fi
    done
}

# Prints a line for the runtime; the lower end never starts, the upper end always does.
bisect() { # NAME
    # A program that does nothing and exits 0 would need no memory at all.
    runtime "$1" run --bundle "$work/look" memory-floor </dev/null >"$work/said" 2>&1 || true
    grep -q '^pid 1$' "$work/said" || die "$1 cannot run a container: $(tail -n 1 "$work/said")"
    starts "$1" $most_kib || die "$1 does not start with $most_kib KiB: $(tail -n 1 "$work/said")"
    low=0
    high=$((most_kib / page_kib))
    while [ $((high - low)) -gt 1 ]; do
        middle=$(((low + high) / 2))
        if starts "$1" $((middle * page_kib)); then
            high=$middle
        else
            low=$middle
        fi
    done
    echo "$1: $((high * page_kib)) KiB"
}

[ "$(id -u)" = 0 ] || die "needs root, for namespaces and cgroups"
if [ -z "${MEMORY_FLOOR_INSIDE:-}" ]; then
    integration-tests/bench.sh --build
    export MEMORY_FLOOR_INSIDE=1
    exec unshare --mount --propagation private "$PWD/integration-tests/memory-floor.sh" "$@"
fi

[ $# -gt 0 ] || set -- skiff crun runc
hide_cgroup2_beside_v1
make_bundles
for name; do bisect "$name"; done
