#!/bin/bash
# setup-deny.sh - runs cargo-deny: licences, bans and sources always; advisories when their database can be fetched.
# What is skipped is said, and counted with the tests' skips (SKIFF_SKIP_LOG).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
deny=$PWD/target/tools/cargo-deny/bin/cargo-deny
skip() {
    echo "SKIP deny: $*"
    if [ -n "${SKIFF_SKIP_LOG:-}" ]; then echo "SKIP deny: $*" >>"$SKIFF_SKIP_LOG"; fi
}
if [ ! -x "$deny" ]; then
    deny=$(command -v cargo-deny) || { skip "cargo-deny is not here; integration-tests/setup.sh fetches it"; exit 0; }
fi
case $("$deny" --version) in
    # 0.14 reads the package identifiers of old cargo.
    *' 0.14.'*) export REAL_CARGO; REAL_CARGO=$(command -v cargo); export CARGO=$PWD/integration-tests/setup-cargo-metadata.py ;;
    *) skip "deny.toml is written for cargo-deny 0.14, this is $("$deny" --version)"; exit 0 ;;
esac
"$deny" --log-level error check --disable-fetch --hide-inclusion-graph bans
"$deny" --log-level error --all-features check --disable-fetch --hide-inclusion-graph licenses sources
if timeout 60 "$deny" --log-level off fetch db >/dev/null 2>&1; then
    "$deny" --log-level error check --disable-fetch advisories
else
    skip "the advisory database cannot be reached from here"
fi
