#!/bin/bash
# setup-msrv.sh - prints the path of a rustc 1.85, the oldest compiler that Skiff promises to build with.
#
# Looks at what is there ($SKIFF_MSRV_RUSTC, a rustup toolchain, the system's rustc), else unpacks Debian's second
# compiler (rustc-web 1.85, in Debian 12 for browsers) under target/tools. Nothing is installed. Exit status 3, with a
# reason on stderr, when there is none to be had.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.."
wanted=1.85
is_wanted() { [ -x "$1" ] && "$1" --version 2>/dev/null | grep -q "^rustc $wanted\."; }

if [ -n "${SKIFF_MSRV_RUSTC:-}" ]; then echo "$SKIFF_MSRV_RUSTC"; exit 0; fi
home=$(rustup toolchain list -v 2>/dev/null | awk -v v="$wanted" 'index($1, v) == 1 {print $NF; exit}') || home=''
for candidate in "$home/bin/rustc" /usr/bin/rustc "$PWD/target/tools/rust-$wanted/rustc"; do
    if is_wanted "$candidate"; then echo "$candidate"; exit 0; fi
done

version=$(apt-cache madison rustc-web 2>/dev/null | awk -v v="$wanted" 'index($3, v ".") == 1 {print $3; exit}') || version=''
if [ -z "$version" ]; then
    echo "no rustc $wanted here and none in this machine's apt sources; \`rustup toolchain install $wanted\` or SKIFF_MSRV_RUSTC gives one" >&2
    exit 3
fi
private=$PWD/target/tools/rust-$wanted
echo "unpacking Debian's rustc-web $version under target/tools (nothing is installed)" >&2
rm -rf "$private"
mkdir -p "$private/debs" "$private/root"
cd "$private/debs"
apt-get -o APT::Sandbox::User=root download -q "rustc-web=$version" "libstd-rust-web-dev=$version" "libstd-rust-web-$wanted=$version" >&2
for package in $(dpkg-deb -f libstd-rust-web-"$wanted"_*.deb Depends | grep -o 'libllvm[0-9]*' | sort -u); do
    apt-get -o APT::Sandbox::User=root download -q "$package" >&2
done
for deb in *.deb; do dpkg -x "$deb" "$private/root"; done
rm -rf "$private/debs"
# The wrapper keeps the private libraries from every other program.
cat >"$private/rustc" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH=$private/root/usr/lib/x86_64-linux-gnu exec $private/root/usr/bin/rustc-web "\$@"
WRAPPER
[ -x "$private/root/usr/bin/rustc-web" ] || sed -i 's/rustc-web "/rustc "/' "$private/rustc"
chmod +x "$private/rustc"
is_wanted "$private/rustc" || { echo "the unpacked rustc-web $version does not run" >&2; exit 3; }
echo "$private/rustc"
