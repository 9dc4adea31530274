#!/bin/bash
# demo-runtime.sh - shows, on a fresh Debian with Rust, what `skiff` does: builds it, makes a bundle from busybox, runs it with a
# memory and a pids limit, shows the namespaces from inside, the limits as the kernel has them, an OOM kill and an exit
# status. Every line shown is checked; the exit status is 1 when one is not as it should be. Leaves nothing behind.
#
#   demo-runtime.sh      (as root)     SKIFF=/path/to/runtime demo-runtime.sh   shows another runtime with runc's command line
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
cd "$(dirname "${BASH_SOURCE[0]}")/.."
limit=$((32 * 1024 * 1024)) pids=16 id=skiff-demo-$$ failures=0 work='' runner=''

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# check WHAT EXPECTED FOUND
check() {
    if [ "$2" = "$3" ]; then
        printf '  ok    %-46s %s\n' "$1" "$3"
    else
        printf '  WRONG %-46s %s (should be %s)\n' "$1" "$3" "$2"
        failures=$((failures + 1))
    fi
}
runtime() { "$SKIFF" --root "$work/state" "$@"; }

cleanup() {
    trap - EXIT
    if [ -n "$work" ]; then
        runtime delete --force "$id" >/dev/null 2>&1 || true # ends a container that an interrupted demo left running
        if [ -n "$runner" ]; then wait "$runner" 2>/dev/null || true; fi
        rm -rf "$work"
    fi
}
trap 'status=$?; cleanup; exit $status' EXIT
trap 'exit 130' INT TERM

prepare() {
    [ "$(id -u)" = 0 ] || { echo "demo: needs root, for namespaces and cgroups" >&2; exit 1; }
    if ! command -v busybox >/dev/null || ldd "$(command -v busybox)" >/dev/null 2>&1; then
        say "Installing busybox-static (apt), which becomes the container's root file system"
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends busybox-static >/dev/null
    fi
    if [ -z "${SKIFF:-}" ]; then
        say "Building skiff (make release)"
        make --no-print-directory release
        SKIFF=$PWD/target/$(rustc -vV | sed -n 's/^host: //p')/release/skiff
    fi
    work=$(mktemp -d "${TMPDIR:-/tmp}/skiff-demo.XXXXXX")
    mkdir -p "$work"/rootfs/{bin,dev,proc,sys,tmp}
    cp "$(command -v busybox)" "$work/rootfs/bin/busybox"
    local word
    for word in sh ps hostname ip cat id sleep mount head seq true; do ln -s busybox "$work/rootfs/bin/$word"; done
}

# bundle COMMAND: writes config.json, the same for each part of the demo but for the command.
bundle() {
    cat >"$work/config.json" <<JSON
{
  "ociVersion": "1.0.2",
  "process": {
    "terminal": false, "cwd": "/", "user": {"uid": 1000, "gid": 1000}, "noNewPrivileges": true,
    "args": ["/bin/sh", "-c", "$1"], "env": ["PATH=/bin"]
  },
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "demo",
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777", "size=1m"]}
  ],
  "linux": {
    "cgroupsPath": "/$id",
    "resources": {"memory": {"limit": $limit, "swap": $limit}, "pids": {"limit": $pids}},
    "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]
  }
}
JSON
}

# limit_file CONTROLLER V1_NAME V2_NAME: where the kernel keeps a limit of the container, on v1, hybrid and v2.
limit_file() {
    local pid relative
    pid=$(cat "$work/pid")
    relative=$(awk -F: -v c="$1" '{n = split($2, names, ","); for (i = 1; i <= n; i++) if (names[i] == c) {print $3; exit}}' "/proc/$pid/cgroup")
    if [ -n "$relative" ]; then
        echo "$(awk -v c="$1" '{n = split($0, halves, " - "); split(halves[2], fs, " "); m = split(fs[3], names, ",")
            if (fs[1] == "cgroup") for (i = 1; i <= m; i++) if (names[i] == c) {print $5; exit}}' /proc/self/mountinfo)$relative/$2"
    else
        relative=$(awk -F: '$1 == 0 {print $3}' "/proc/$pid/cgroup")
        echo "$(awk '{split($0, halves, " - "); split(halves[2], fs, " "); if (fs[1] == "cgroup2") {print $5; exit}}' /proc/self/mountinfo)$relative/$3"
    fi
}

show_inside() {
    say "1. A container: what its program sees"
    bundle "hostname; id -u; ps -o pid,comm; ip -o link | cat; head -1 /proc/self/mountinfo; exit 7"
    local out status=0
    out=$(runtime run --bundle "$work" "$id" 2>"$work/stderr") || status=$?
    printf '%s\n' "$out" | sed 's/^/        | /'
    sed 's/^/        stderr: /' "$work/stderr"
    check "hostname inside" demo "$(sed -n 1p <<<"$out")"
    check "user inside" 1000 "$(sed -n 2p <<<"$out")"
    check "pid of its program, and of nothing else" "1 sh" "$(awk '$1 == 1 {print $1, $2}' <<<"$out")"
    check "network interfaces: loopback alone" 1 "$(grep -cE '^[0-9]+: ' <<<"$out")"
    check "its root is mounted read-only" ro "$(awk '$5 == "/" {split($6, o, ","); print o[1]}' <<<"$out")"
    check "exit status 7 came back" 7 "$status"
}

show_limits() {
    say "2. Its limits, as the kernel has them (read from outside while it runs)"
    bundle "sleep 1000"
    runtime run --bundle "$work" --pid-file "$work/pid" "$id" >/dev/null 2>"$work/stderr" &
    runner=$!
    local i memory processes pid status=0
    for ((i = 0; i < 100; i++)); do
        runtime state "$id" 2>/dev/null | grep -q '"status": *"running"' && break
        kill -0 "$runner" 2>/dev/null || { sed 's/^/        stderr: /' "$work/stderr"; break; }
        sleep 0.05
    done
    [ -s "$work/pid" ] || { check "the container runs" yes no; return 0; }
    pid=$(cat "$work/pid")
    memory=$(limit_file memory memory.limit_in_bytes memory.max)
    processes=$(limit_file pids pids.max pids.max)
    printf '        | %s\n        | %s\n' "$memory" "$processes"
    check "memory limit, bytes" "$limit" "$(cat "$memory" 2>&1)"
    check "limit of processes" "$pids" "$(cat "$processes" 2>&1)"
    local kind
    for kind in pid net ipc uts mnt; do
        check "its own $kind namespace" different "$([ "$(readlink "/proc/$pid/ns/$kind")" = "$(readlink "/proc/self/ns/$kind")" ] && echo same || echo different)"
    done
    runtime kill "$id" KILL
    wait "$runner" || status=$?
    runner=''
    check "killed by signal 9: exit status 128 + 9" 137 "$status"
    check "its cgroup is gone" gone "$([ -e "${memory%/*}" ] && echo "still there" || echo gone)"
}

show_limits_hold() {
    local out status=0
    say "3. The pids limit holds: a shell that starts 100 programs"
    bundle "i=0; while [ \$i -lt 100 ]; do sleep 5 & i=\$((i+1)); done"
    out=$(runtime run --bundle "$work" "$id" 2>&1 </dev/null) || status=$?
    printf '%s\n' "$out" | head -2 | sed 's/^/        | /'
    check "the kernel said no" yes "$(grep -qi 'fork' <<<"$out" && echo yes || echo no)"

    say "4. The memory limit holds: a program that asks for more than 32 MiB"
    bundle "exec busybox sort /dev/zero" # sort keeps all its input in memory
    status=0
    out=$(runtime run --bundle "$work" "$id" 2>&1 </dev/null) || status=$?
    printf '%s\n' "$out" | grep . | head -3 | sed 's/^/        | /' || true
    local kernel
    if kernel=$(dmesg 2>/dev/null) && [ -n "$kernel" ]; then
        kernel=$(grep -A1 "oom_memcg=[^,]*$id" <<<"$kernel" | grep -o 'Memory cgroup out of memory: Killed process [0-9]* ([a-z]*)' | tail -1) || true
        printf '        | kernel: %s\n' "$kernel"
        check "the kernel's log says what it did" busybox "$(sed 's/.*(\(.*\))/\1/' <<<"$kernel")"
    fi
    check "killed by the kernel: exit status" 137 "$status"
    # Other runtimes leave their users to guess.
    if [ "$(basename "$SKIFF")" = skiff ]; then
        check "skiff says why" yes "$(grep -qiE 'oom|out of memory' <<<"$out" && echo yes || echo no)"
    fi
}

show_nothing_left() {
    say "5. Nothing is left behind"
    check "containers" "" "$(runtime list --quiet)"
    check "cgroups of that name" 0 "$(find /sys/fs/cgroup -maxdepth 3 -name "$id" 2>/dev/null | wc -l)"
    check "mounts below the bundle" 0 "$(grep -c "$work" /proc/self/mountinfo || true)"
}

prepare
echo "runtime: $SKIFF ($(stat -c %s "$(command -v "$SKIFF")") bytes)"
show_inside
show_limits
show_limits_hold
show_nothing_left
if [ $failures -gt 0 ]; then
    printf '\n%s\n' "$failures facts are not as they should be"
    exit 1
fi
printf '\nEverything is as it should be.\n'
