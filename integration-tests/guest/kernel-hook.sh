#!/bin/sh
# mmdebstrap hook: unpacks (does not configure) Debian's cloud kernel, so that no initramfs generator is needed. Runs
# nothing inside the tree, which may be another architecture's.
# $1 is the tree; ARCH its architecture; KERNEL_OUT receives vmlinuz, kconfig and the version's name.
set -eu
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
package=$(apt-cache depends "linux-image-cloud-$ARCH" | awk '/Depends: linux-image-[0-9]/ {print $2; exit}')
package=${package%:*}
mkdir -p "$1/tmp/k/x"
(cd "$1/tmp/k" && apt-get download -q "$package" >/dev/null)
dpkg -x "$1"/tmp/k/*.deb "$1/tmp/k/x"
cp "$1"/tmp/k/x/boot/vmlinuz-* "$KERNEL_OUT/vmlinuz"
cp "$1"/tmp/k/x/boot/config-* "$KERNEL_OUT/kconfig"
modules="$1/tmp/k/x/lib/modules"
[ -d "$modules" ] || modules="$1/tmp/k/x/usr/lib/modules"
version=$(ls "$modules")
mkdir -p "$1/usr/lib/modules"
mv "$modules/$version" "$1/usr/lib/modules/"
rm -rf "$1/tmp/k"
depmod -b "$1/usr" -a "$version" 2>/dev/null || depmod -b "$1" -a "$version"
echo "$version" >"$KERNEL_OUT/version"
