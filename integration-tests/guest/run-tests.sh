#!/bin/bash
# run-tests.sh - runs the runtime's integration tests in the test guest: systemd as PID 1, cgroup v2 alone, another kernel
# than the host's. Takes in the static `skiff` that users get and the tests' own binary; leaves the host as it was.
#
#   run-tests.sh [words for the test binary, e.g. a filter]
#
# Environment: SUITE (bookworm or trixie; default this machine's own, so that the test binary finds its C library),
# SKIFF_VM_TIMEOUT (seconds for the tests, default 2400), SKIFF_SKIP_LOG (receives the guest's skips too), SKIFF_SWEEP
# as the tests know it, and SKIFF_RUNTIMES (default skiff,crun: crun cannot be compared with on a hybrid host, and runc,
# which can, is the slowest by far under emulation).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
skip() {
    echo "SKIP guest: $*"
    if [ -n "${SKIFF_SKIP_LOG:-}" ]; then echo "SKIP guest: $*" >>"$SKIFF_SKIP_LOG"; fi
    exit 0
}
host=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
case $host in bookworm | trixie) ;; *) host=bookworm ;; esac
suite=${SUITE:-$host}
triple=$(rustc -vV | sed -n 's/^host: //p')
[ "$triple" = x86_64-unknown-linux-gnu ] || skip "the guest is x86-64 with glibc, this machine is $triple"
# The test binary is dynamic: a guest older than the machine that built it may lack its C library.
if [ "$host" = trixie ] && [ "$suite" = bookworm ]; then skip "binaries of trixie do not run in a bookworm guest"; fi

make --no-print-directory release >&2
tests=$(cargo test --no-run -p skiff-integration-tests --test runtime --message-format=json 2>/dev/null |
    python3 -c 'import json,sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == "runtime": print(message["executable"])')
[ -n "$tests" ] || { echo "run-tests: the test binary was not built; see cargo test --no-run -p skiff-integration-tests" >&2; exit 1; }

stage=$(mktemp -d "${TMPDIR:-/tmp}/skiff-guest.XXXXXX")
trap 'rm -rf "$stage"' EXIT
cp "target/$triple/release/skiff" "$stage/skiff"
cp "$tests" "$stage/runtime-tests"
strip --strip-debug "$stage/runtime-tests" # a tenth of the size; the guest reads it through an emulated disk
if [ -x target/debug/reference ]; then cp target/debug/reference "$stage/reference"; strip --strip-debug "$stage/reference"; fi
cat >"$stage/go" <<GO
export SKIFF_BIN=\$IN/tests/skiff SKIFF_SKIP_LOG=\$OUT/skips SKIFF_SWEEP=${SKIFF_SWEEP:-quick} SKIFF_TEST_TIMEOUT=60
export SKIFF_RUNTIMES=${SKIFF_RUNTIMES:-skiff,crun}
[ -x \$IN/tests/reference ] && export SKIFF_REFERENCE_BIN=\$IN/tests/reference
# The sweep of kills runs on the host: thousands of starts under emulation take longer than all the rest.
cd /tmp && exec \$IN/tests/runtime-tests --test-threads 2 --skip crash:: $(printf '%q ' "$@")
GO
echo "guest: $suite, $(basename "$tests")" >&2
status=0
"$here/vm-run.sh" -S "$suite" -m 768 -s 2 -t "${SKIFF_VM_TIMEOUT:-2400}" -i tests="$stage" -o "$stage/out" "bash \$IN/tests/go" || status=$?
if [ -n "${SKIFF_SKIP_LOG:-}" ] && [ -s "$stage/out/skips" ]; then sed 's/^/guest: /' "$stage/out/skips" >>"$SKIFF_SKIP_LOG"; fi
exit $status
