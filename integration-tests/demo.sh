#!/bin/bash
# demo.sh - shows, on a fresh Debian with Rust, the main job of Skiff: a fleet document over HTTP becomes running, limited,
# restarted, reported containers. Builds everything, makes releases of bundles from busybox, signs them, serves them from a
# folder, starts skiffd on throw-away folders, and shows one thing after the other. Every line shown is checked; the exit
# status is 1 when one is not as it should be. Leaves nothing behind.
#
#   demo.sh      (as root)     SKIFF_BIN_DIR=/folder demo.sh   shows programs that are built already
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
cd "$(dirname "${BASH_SOURCE[0]}")/.."
failures=0 work='' daemon='' server='' tag=demo$$ port=0

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# check WHAT EXPECTED FOUND
check() {
    if [ "$2" = "$3" ]; then
        printf '  ok    %-52s %s\n' "$1" "$3"
    else
        printf '  WRONG %-52s %s (should be %s)\n' "$1" "$3" "$2"
        failures=$((failures + 1))
    fi
}
ctl() { "$bin/skiffctl" "$@"; }
# field JQ: of the device as skiffd tells it
field() { ctl inspect --all 2>/dev/null | jq -r "$1" 2>/dev/null || true; }
# await WHAT JQ EXPECTED [SECONDS]
await() {
    local found='' i
    for ((i = 0; i < ${4:-20} * 10; i++)); do
        found=$(field "$2")
        [ "$found" = "$3" ] && break
        sleep 0.1
    done
    check "$1" "$3" "$found"
}
pid_of() { field ".instances[] | select(.id == \"$tag-$1-0\") | .pid"; }
show() { sed 's/^/        | /'; }

cleanup() {
    trap - EXIT
    if [ -n "$work" ]; then
        if [ -n "$daemon" ]; then ctl drain >/dev/null 2>&1 || true; fi
        for pid in $daemon $server; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
        rm -rf "$work"
    fi
}
trap 'status=$?; cleanup; exit $status' EXIT
trap 'exit 130' INT TERM

prepare() {
    [ "$(id -u)" = 0 ] || { echo "demo: needs root, for namespaces and cgroups" >&2; exit 1; }
    local missing=()
    command -v jq >/dev/null || missing+=(jq)
    command -v pgrep >/dev/null || missing+=(procps)
    if ! command -v busybox >/dev/null || ldd "$(command -v busybox)" >/dev/null 2>&1; then missing+=(busybox-static); fi
    if [ ${#missing[@]} -gt 0 ]; then
        say "Installing ${missing[*]} (apt): busybox becomes the containers' root file system, jq reads what skiffd says"
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    fi
    if [ -z "${SKIFF_BIN_DIR:-}" ]; then
        say "Building (make release)"
        make --no-print-directory release
        SKIFF_BIN_DIR=$PWD/target/$(rustc -vV | sed -n 's/^host: //p')/release
    fi
    bin=$SKIFF_BIN_DIR
    work=$(mktemp -d "${TMPDIR:-/tmp}/skiff-demo.XXXXXX")
    export SKIFF_SOCKET=$work/run/skiff.sock
    port=$((20000 + $$ % 20000))
    mkdir -p "$work"/{fleet/releases,public,status,trust,run,state,logs}
}

# bundle NAME SHELL-SCRIPT: an OCI bundle beside the releases
bundle() {
    local at=$work/fleet/releases/$1
    mkdir -p "$at"/rootfs/{bin,dev,proc,sys,tmp,run,www}
    cp "$(command -v busybox)" "$at/rootfs/bin/busybox"
    local word
    for word in sh sleep httpd wget tail echo; do ln -sf busybox "$at/rootfs/bin/$word"; done
    echo "${3:-}" >"$at/rootfs/www/index.html"
    jq -n --arg script "$2" '{ociVersion: "1.0.2", root: {path: "rootfs"},
        process: {cwd: "/", user: {uid: 0, gid: 0}, args: ["/bin/sh", "-c", $script], env: ["PATH=/bin"]},
        mounts: [{destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"]}],
        linux: {namespaces: [{type: "pid"}, {type: "network"}, {type: "ipc"}, {type: "uts"}, {type: "mount"}]}}' >"$at/config.json"
}

# release VERSION SERVICES; publish SERIAL VERSION
release() {
    printf 'apiVersion: skiff.dev/v1\nkind: Release\nmetadata: {name: kiosk, version: "%s"}\nservices:\n%s\n' "$1" "$2" >"$work/fleet/releases/$1.yaml"
}
publish() {
    cat >"$work/fleet/fleet.yaml" <<YAML
apiVersion: skiff.dev/v1
kind: Fleet
metadata: {name: kiosks, serial: $1}
poll: {interval: 2s, jitter: 20%, maxBackoff: 10s}
releases: {"$2": releases/$2.yaml}
groups:
  - name: shops
    selector: {matchLabels: {role: kiosk}}
    release: "$2"
    rollout: {gate: {minHealthy: 2s, deadline: 8s}}
status: {url: "http://127.0.0.1:$port/devices/{id}", every: 5s, onChange: 1s}
YAML
    ctl fleet build --key "$work/key.key" "$work/fleet" "$work/public" | show
}

start_daemon() {
    "$bin/skiffd" --config "$work/skiffd.toml" 2>>"$work/skiffd.log" &
    daemon=$!
    local i
    for ((i = 0; i < 100; i++)); do ctl status >/dev/null 2>&1 && return; sleep 0.05; done
    echo "demo: skiffd does not answer" >&2
    tail -5 "$work/skiffd.log" >&2
    exit 1
}

web() { # EDITION BUNDLE
    cat <<YAML
  $tag-web:
    bundle: $2
    network_mode: host
    stop_grace_period: 1s
    environment: {EDITION: $1}
    deploy: {resources: {limits: {memory: 32M, cpus: "0.5", pids: 20}}}
    x-skiff: {probes: {readiness: {http: {port: $((port + 1)), path: /index.html}, interval: 500ms, timeout: 400ms}}}
YAML
}

write_fleet() {
    say "1. A fleet: bundles, a signed index, a folder that any web server can serve"
    bundle web1 "exec httpd -f -p 127.0.0.1:$((port + 1)) -h /www" "hello from release one"
    bundle web2 "exec httpd -f -p 127.0.0.1:$((port + 1)) -h /www" "hello from release two"
    bundle steady 'while :; do sleep 1; done'
    bundle crash 'echo working; sleep 0.3; exit 1'
    bundle hog 'exec tail -c 500m /dev/zero'
    local steady="  $tag-db: {bundle: steady}"
    release 1 "$(web one web1)
$steady
  $tag-worker: {bundle: crash, x-skiff: {backoff: {base: 200ms, max: 10s}}}
  $tag-hog: {bundle: hog, restart: \"no\", deploy: {resources: {limits: {memory: 24M}}}}"
    release 2 "$(web two web2)
$steady"
    release 3 "$(web three crash)
$steady"
    ctl fleet keygen -W "$work/key" | show
    cp "$work/key.pub" "$work/trust/"
    publish 1 1
    # Not through `ctl`: of a function in the background, $! is a shell, and the server would outlive it.
    "$bin/skiffctl" fleet serve "$work/public" --listen "127.0.0.1:$port" --status "$work/status" >"$work/server.log" 2>&1 &
    server=$!
    printf 'id = "till-0042"\n[labels]\nrole = "kiosk"\n' >"$work/device.toml"
    cat >"$work/skiffd.toml" <<TOML
[device]
file = "$work/device.toml"
[fleet]
url = "http://127.0.0.1:$port"
trust = "$work/trust"
[paths]
run = "$work/run"
state = "$work/state"
logs = "$work/logs"
[runtime]
shim = "$bin/containerd-shim-skiff-v1"
binary = "$bin/skiff"
[metrics]
listen = "127.0.0.1:$((port + 2))"
TOML
}

show_running() {
    say "2. skiffd starts: it pulls, verifies, unpacks and runs what the fleet has for this device"
    start_daemon
    await "release 1 runs" .release.running 1
    await "web answers its probe" ".services[\"$tag-web\"].ready" 1
    check "web answers" "hello from release one" "$(busybox wget -qO- "http://127.0.0.1:$((port + 1))/index.html" 2>&1)"
    await "the worker crashes and is started again, slowly" ".services[\"$tag-worker\"].restarts >= 2" true
    await "the hog was killed at its memory limit" ".instances[] | select(.id == \"$tag-hog-0\") | .lastExit.oom" true
    ctl ps --all | show
    ctl why "$tag-worker" 2>&1 | show
    ctl why "$tag-hog" 2>&1 | show
}

show_survival() {
    say "3. kill -9 of skiffd: the containers do not notice"
    local web db
    web=$(pid_of web) db=$(pid_of db)
    kill -9 "$daemon"
    wait "$daemon" 2>/dev/null || true
    check "web lives without skiffd" yes "$([ -d "/proc/$web" ] && echo yes || echo no)"
    start_daemon
    await "web is found again, the same process" ".instances[] | select(.id == \"$tag-web-0\") | .pid" "$web"
    await "db is found again, the same process" ".instances[] | select(.id == \"$tag-db-0\") | .pid" "$db"
}

show_rollout() {
    say "4. Release 2 rolls out: web changes, db keeps its process"
    local db
    db=$(pid_of db)
    publish 2 2
    await "release 2 proved itself" .release.committed 2
    check "web answers" "hello from release two" "$(busybox wget -qO- "http://127.0.0.1:$((port + 1))/index.html" 2>&1)"
    check "db is the same process" "$db" "$(pid_of db)"
    say "5. Release 3 is broken: the device returns to release 2 by itself"
    publish 3 3
    await "release 3 was returned from" .release.lastRevert.release 3 30
    await "release 2 runs" .release.running 2
    await "web is ready again" ".services[\"$tag-web\"].ready" 1
    check "web answers" "hello from release two" "$(busybox wget -qO- "http://127.0.0.1:$((port + 1))/index.html" 2>&1)"
    check "db is still the same process" "$db" "$(pid_of db)"
    ctl why 2>&1 | show
    ctl events | tail -12 | show
}

show_report() {
    say "6. The report, as the server received it; the same for Prometheus"
    local report='' i
    for ((i = 0; i < 100; i++)); do
        report=$(find "$work/status" -type f -exec cat {} + 2>/dev/null)
        [ "$(jq -r '.release.lastRevert.release' <<<"$report" 2>/dev/null)" = 3 ] && break
        sleep 0.1
    done
    jq '{device, config, release, services}' <<<"$report" | show
    check "it says which release runs" 2 "$(jq -r .release.current <<<"$report")"
    check "it says what was returned from" 3 "$(jq -r .release.lastRevert.release <<<"$report")"
    busybox wget -qO- "http://127.0.0.1:$((port + 2))/metrics" | grep -E '^(container_memory_usage_bytes|skiff_release_info|skiff_restarts_total)' | show
}

show_end() {
    say "7. Nothing is left"
    ctl drain >/dev/null
    kill "$daemon"
    wait "$daemon" || failures=$((failures + 1))
    daemon=''
    kill "$server"
    wait "$server" 2>/dev/null || true
    server=''
    check "programs" 0 "$(pgrep -cf -- "$work" || true)"
    check "processes" 0 "$(grep -lsE "$tag-" /proc/[0-9]*/cgroup 2>/dev/null | wc -l)"
    check "shims" 0 "$(pgrep -cf "containerd-shim-skiff-v1.*$tag-" || true)"
    check "mounts" 0 "$(grep -c "$work" /proc/self/mountinfo || true)"
    check "cgroups" 0 "$(find /sys/fs/cgroup -type d -name "*$tag-*" 2>/dev/null | wc -l)"
}

prepare
started=$SECONDS
write_fleet
show_running
show_survival
show_rollout
show_report
show_end
say "$((SECONDS - started)) s, $failures wrong"
[ "$failures" = 0 ]
