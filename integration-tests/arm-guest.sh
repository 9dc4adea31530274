#!/bin/bash
# arm-guest.sh - the tests of the crates for armv7 (or another) on a real kernel: the arm64 guest's, which runs 32-bit programs as
# a device with a 64-bit kernel does. What qemu-user cannot show is shown here: namespaces, mounts, cgroups, the protected
# binary, Landlock and the system call filter; and once more with the clock in the year 2100.
#
#   arm-guest.sh [ARCH]      default: armv7; aarch64
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
arch=${1:-armv7}
real=(cgroup_real foreground_real process_real rootfs_real self_exe_real terminal_real)
files=(fleet_follow "${real[@]}")
tests=$("$here/setup-cross.sh" tests "$arch" --workspace --exclude skiff-integration-tests --exclude skiff-lanes --lib "${files[@]/#/--test=}")
programs=$PWD/target/cross/$("$here/setup-cross.sh" triple "$arch")/debug

stage=$(mktemp -d "${TMPDIR:-/tmp}/skiff-arm.XXXXXX")
trap 'rm -rf "$stage"' EXIT
while read -r _ name _ program; do cp "$program" "$stage/$name"; done <<<"$tests"
cp "$programs/skiffd" "$stage/skiffd"
cat >"$stage/go" <<GO
cd /tmp
export SKIFF_SKIP_LOG=\$OUT/skips
# Tests know the place where the program was built.
mkdir -p '$programs' && cp \$IN/tests/skiffd '$programs/skiffd'
status=0
try() {
    echo "arm-guest: \$*"
    local name=\$1
    shift
    cp "\$IN/tests/\$name" . && "./\$name" "\$@" || { echo "arm-guest: FAILED: \$name"; status=1; }
    rm -f "\$name"
}
for name in skiff_contract skiff_planner skiff skiff_shim skiff_supervisor ${real[*]}; do try \$name; done
try fleet_follow child::
date -s 2100-01-01 >/dev/null
for name in skiff skiff_shim; do try \$name; done
try skiff_supervisor clock:: control:: fleet:: store:: report::
exit \$status
GO
status=0
"$here/guest/vm-run.sh" -a arm64 -m 768 -s 2 -t "${SKIFF_VM_TIMEOUT:-900}" -i tests="$stage" -o "$stage/out" "bash \$IN/tests/go" || status=$?
if [ -n "${SKIFF_SKIP_LOG:-}" ] && [ -s "$stage/out/skips" ]; then sed "s/^SKIP /SKIP arm-guest: $arch: /" "$stage/out/skips" >>"$SKIFF_SKIP_LOG"; fi
exit $status
