#!/bin/bash
# run-tests.sh - runs the integration tests in the test guest: systemd as PID 1, cgroup v2 alone, another kernel than the
# host's. Takes in the static programs that users get and the tests' own binaries; leaves the host as it was.
#
#   run-tests.sh [words for the test binaries, e.g. a filter]
#
# Environment: SUITE (bookworm or trixie; default this machine's own, so that the test binary finds its C library),
# SKIFF_GUEST_TESTS (default "runtime shim supervisor"), SKIFF_VM_TIMEOUT (seconds for the tests, default 2400),
# SKIFF_SKIP_LOG (receives the guest's skips too), SKIFF_SWEEP and SKIFF_KILLS as the tests know them (default here: quick,
# and 10), and SKIFF_RUNTIMES (default skiff,crun: crun cannot be compared with on a hybrid host, and runc, which can, is the
# slowest by far under emulation).
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
suites=${SKIFF_GUEST_TESTS:-runtime shim supervisor}
stage=$(mktemp -d "${TMPDIR:-/tmp}/skiff-guest.XXXXXX")
trap 'rm -rf "$stage"' EXIT
mkdir "$stage/bin"
for program in skiff containerd-shim-skiff-v1 skiffd skiffctl; do cp "target/$triple/release/$program" "$stage/bin/"; done
for tests in $suites; do
    binary=$(cargo test --no-run -p skiff-integration-tests --test "$tests" --message-format=json 2>/dev/null |
        python3 -c 'import json,sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == sys.argv[1]: print(message["executable"])' "$tests")
    [ -n "$binary" ] || { echo "run-tests: the tests of $tests were not built; see cargo test --no-run -p skiff-integration-tests" >&2; exit 1; }
    cp "$binary" "$stage/$tests-tests"
    strip --strip-debug "$stage/$tests-tests" # a tenth of the size; the guest reads it through an emulated disk
done
if [ -x target/debug/reference ]; then cp target/debug/reference "$stage/reference"; strip --strip-debug "$stage/reference"; fi
cat >"$stage/go" <<GO
export SKIFF_BIN_DIR=\$IN/tests/bin SKIFF_BIN=\$IN/tests/bin/skiff SKIFF_SHIM_BIN=\$IN/tests/bin/containerd-shim-skiff-v1
export SKIFF_SKIP_LOG=\$OUT/skips SKIFF_SWEEP=${SKIFF_SWEEP:-quick} SKIFF_KILLS=${SKIFF_KILLS:-10} SKIFF_TEST_TIMEOUT=60
export SKIFF_RUNTIMES=${SKIFF_RUNTIMES:-skiff,crun} PATH=\$IN/tests/bin:\$PATH
[ -x \$IN/tests/reference ] && export SKIFF_REFERENCE_BIN=\$IN/tests/reference
cd /tmp
status=0
for tests in $suites; do
    echo "guest: \$tests"
    # The sweep of kills runs on the host: thousands of starts under emulation take longer than all the rest.
    \$IN/tests/\$tests-tests --test-threads 2 --skip crash:: $(printf '%q ' "$@") || status=1
done
exit \$status
GO
echo "guest: $suite: $suites" >&2
status=0
"$here/vm-run.sh" -S "$suite" -m 768 -s 2 -t "${SKIFF_VM_TIMEOUT:-2400}" -i tests="$stage" -o "$stage/out" "bash \$IN/tests/go" || status=$?
if [ -n "${SKIFF_SKIP_LOG:-}" ] && [ -s "$stage/out/skips" ]; then sed 's/^/guest: /' "$stage/out/skips" >>"$SKIFF_SKIP_LOG"; fi
exit $status
