#!/bin/bash
# install-qemu.sh - puts qemu-img and the emulators of the named architectures on this machine, those that are missing
# (needs root).
#
#   install-qemu.sh [amd64|arm64]...   (default amd64)
#
# First choice is the suite's backports (a newer emulator boots the guest faster, and on a machine that already has
# backported qemu-utils the suite's own qemu conflicts with it), then the suite itself. The apt configuration of
# the machine is not changed: a private list of sources lies in the cache.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
cache=${SKIFF_VM_CACHE:-$HOME/.cache/skiff-vm}

find_missing() {
    local arch
    packages=()
    command -v qemu-img >/dev/null || packages+=(qemu-utils)
    for arch in "$@"; do
        case $arch in
            amd64) command -v qemu-system-x86_64 >/dev/null || packages+=(qemu-system-x86) ;;
            arm64) command -v qemu-system-aarch64 >/dev/null || packages+=(qemu-system-arm) ;;
            *) echo "install-qemu: no guest of architecture \`$arch\`; there are amd64 and arm64" >&2; exit 2 ;;
        esac
    done
}

[ $# -gt 0 ] || set -- amd64
find_missing "$@"
[ ${#packages[@]} -gt 0 ] || exit 0
mkdir -p "$cache"
exec 9>"$cache/.apt-lock" # guests are prepared side by side, and apt's own lock does not wait
flock 9
find_missing "$@"
[ ${#packages[@]} -gt 0 ] || exit 0
echo "install-qemu: installing ${packages[*]} (apt)" >&2
apt-get update -qq
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE)' | awk -v s="$suite" '$2==s {print $1; exit}')
[ -n "$mirror" ] || { echo "install-qemu: no apt source for the suite \`$suite\` of this machine" >&2; exit 1; }

private=$cache/apt-backports
mkdir -p "$private/lists/partial"
for s in "$suite" "$suite-backports"; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $s main"
done >"$private/sources.list"
options=(-o "Dir::State::Lists=$private/lists" -o "Dir::Etc::sourcelist=$private/sources.list"
    -o Dir::Etc::sourceparts=- -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=)
if apt-get "${options[@]}" update -qq &&
    apt-get "${options[@]}" install -y -qq --no-install-recommends -t "$suite-backports" "${packages[@]}" >/dev/null 9>&-; then
    exit 0
fi
echo "install-qemu: no backports here, taking the suite's own" >&2
apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null 9>&-
