#!/bin/sh
# Compares skiff, crun, runc and the bare system calls (the floor) in one run and prints a Markdown report.
#
#   bench.sh             print the report
#   bench.sh --write     also put it between the bench:begin and bench:end marks of SPECIFICATION.md
#   bench.sh --profile   no benchmark: strace of one run of skiff and of the floor, into target/profile/
#   bench.sh --build     no benchmark: only install what is missing and build (for memory-floor.sh)
#
# Root only. Everything runs in a private mount namespace, with cgroup2 on /sys/fs/cgroup whatever the host has there
# (crun refuses hybrid hosts) and the bundles on a tmpfs. Rounds and programs are environment variables: see
# integration-tests/src/bin/bench/settings.rs, for example BENCH_RUNS=20 or BENCH_CONTENDERS="crun bare-syscalls".
set -eu

cd "$(dirname "$0")/.."
mode=${1:-print}
target_dir=${BENCH_TARGET_DIR:-$PWD/target/bench}
triple=$(rustc -vV | sed -n 's/^host: //p')
release=$target_dir/$triple/release

say() { echo "bench.sh: $*" >&2; }

die() {
    say "$*"
    exit 1
}

need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null || missing="$missing $2"
}

install_missing() {
    missing=
    need runc runc
    need crun crun
    [ "$mode" != --profile ] || need strace strace
    # A dynamic busybox would not start in a root file system without libraries.
    if [ ! -x /bin/busybox ] || ldd /bin/busybox >/dev/null 2>&1; then
        missing="$missing busybox-static"
    fi
    [ -n "$missing" ] || return 0
    say "installing$missing with apt-get"
    # shellcheck disable=SC2086 # one word per package
    apt-get install -y --no-install-recommends $missing >&2
}

# A target folder of its own: other flags than those of the daily builds would rebuild everything each time.
build() {
    say "building static release binaries in ${target_dir#"$PWD"/}"
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --target "$triple" --target-dir "$target_dir" \
        -p skiff -p skiff-shim -p skiff-supervisor -p skiff-integration-tests --bins >&2
}

enter_cgroup2() {
    [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] && return 0
    umount -R /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
}

make_work() {
    work=$target_dir/work
    mkdir -p "$work"
    mount -t tmpfs -o mode=700 bench "$work"
}

compare() {
    BENCH_WORK=$work BARE_BIN=$release/bare-syscalls EMPTY_BIN=$release/empty SKIFF_BIN=$skiff "$release/bench"
}

# On a tmpfs too, and of a short name: names of sockets lie below it (unix(7): 107 bytes). With the cgroups as the host has
# them, since limits are set here, and a hybrid host has their controllers on v1. In a mount namespace of its own.
main_job() {
    unshare --mount --propagation private --pid --fork --kill-child --mount-proc sh -c 'mount -t tmpfs -o mode=1777 bench /tmp && exec "$0"' "$release/bench-device"
}

# The bundle comes from the benchmark itself, so that the profile shows the very run that is measured.
profile() {
    out=$PWD/target/profile
    mkdir -p "$out"
    BENCH_WORK=$work "$release/bench" bundle
    trace skiff "$skiff" --root "$work/state-profile" run --bundle "$work/true" profile
    trace bare-syscalls "$release/bare-syscalls" run "$work/rootfs" /bin/true
}

trace() { # NAME COMMAND...
    name=$1
    shift
    strace -f -c -w -S calls -o "$out/$name.counts" "$@"
    strace -f -r -o "$out/$name.trace" "$@"
    say "$name: $(wc -l <"$out/$name.trace") lines in target/profile/$name.trace, sums in $name.counts"
}

write_report() { # REPORT
    for mark in begin end; do
        grep -q "<!-- bench:$mark -->" SPECIFICATION.md || die "SPECIFICATION.md has no bench:$mark mark"
    done
    awk -v report="$1" '
        /<!-- bench:end -->/ { inside = 0 }
        !inside { print }
        /<!-- bench:begin -->/ { inside = 1; while ((getline line < report) > 0) print line }
    ' SPECIFICATION.md >"$1.specification"
    cat "$1.specification" >SPECIFICATION.md
    say "wrote the report into SPECIFICATION.md"
}

case $mode in
print | --write | --profile | --build) ;;
*) die "unknown argument $mode; use --write, --profile, --build or none" ;;
esac
[ "$(id -u)" = 0 ] || die "needs root, for namespaces and cgroups"

if [ "$mode" = --write ] && [ -n "${BENCH_CONTENDERS:-}" ]; then
    die "a report without all four contenders is not written; unset BENCH_CONTENDERS"
fi

if [ -z "${BENCH_INSIDE:-}" ]; then
    install_missing
    build
    [ "$mode" != --build ] || exit 0
    export BENCH_INSIDE=1
    exec unshare --mount --propagation private "$PWD/integration-tests/bench.sh" "$@"
fi

skiff=${SKIFF_BIN:-$release/skiff}
report=$target_dir/report.md
[ "$mode" = --profile ] || SKIFF_BIN_DIR=$release main_job >"$report.main-job"
enter_cgroup2
make_work
if [ "$mode" = --profile ]; then
    profile
    exit
fi
compare >"$report"
cat "$report.main-job" >>"$report"
cat "$report"
[ "$mode" != --write ] || write_report "$report"
