#!/bin/bash
# setup-msrv.sh - prints the path of a rustc 1.85, the oldest compiler that Skiff promises to build with.
#
# Looks at what is there ($SKIFF_MSRV_RUSTC, a rustup toolchain, the system's rustc), else takes the one that setup-cross.sh
# unpacks for the builds for ARM. Nothing is installed. Exit status 3, with a reason on stderr, when there is none to be had.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
wanted=1.85
is_wanted() { [ -x "$1" ] && "$1" --version 2>/dev/null | grep -q "^rustc $wanted\."; }

if [ -n "${SKIFF_MSRV_RUSTC:-}" ]; then echo "$SKIFF_MSRV_RUSTC"; exit 0; fi
home=$(rustup toolchain list -v 2>/dev/null | awk -v v="$wanted" 'index($1, v) == 1 {print $NF; exit}') || home=''
for candidate in "$home/bin/rustc" /usr/bin/rustc; do
    if is_wanted "$candidate"; then echo "$candidate"; exit 0; fi
done
status=0
"$here/setup-cross.sh" rustc || status=$?
[ $status != 3 ] || echo "\`rustup toolchain install $wanted\` or SKIFF_MSRV_RUSTC gives one, too" >&2
exit $status
