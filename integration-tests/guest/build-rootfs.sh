#!/bin/bash
# build-rootfs.sh - builds, and keeps, the root file system, kernel and initrd of the test guest (needs root).
#
#   SUITE=bookworm|trixie integration-tests/guest/build-rootfs.sh
#
# Everything comes from Debian's packages, from the mirror that this machine's apt already uses. The result lies in
# ${SKIFF_VM_CACHE:-$HOME/.cache/skiff-vm}/$SUITE-amd64/ :
#   root.ext4   sparse image, never written to (vm-run.sh puts an overlay on it)
#   kernel      ELF vmlinux: a PVH boot skips the decompressor, which is slow under emulation
#   initrd      busybox and the virtio modules
#   versions    what is inside
#   stamp       hash of these scripts and settings; a second run with the same one does nothing
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
suite=${SUITE:-bookworm}
image_mb=2048
packages=(systemd systemd-sysv udev dbus libpam-systemd kmod containerd crun runc busybox-static curl strace jq iproute2 uidmap procps
    util-linux python3-minimal)

out=${SKIFF_VM_CACHE:-$HOME/.cache/skiff-vm}/$suite-amd64
mkdir -p "$out"
exec 9>"$out/.lock"
flock 9
stamp=$({ cat "$here"/{build-rootfs.sh,agent.sh,agent.service,kernel-hook.sh,initrd-init.sh}; echo "$suite"; } | sha256sum | cut -d' ' -f1)
if [ -s "$out/stamp" ] && [ "$(cat "$out/stamp")" = "$stamp" ]; then exit 0; fi
log() { echo "build-rootfs: $(date +%T) $*" >&2; }

install_tools() {
    local need=() pair
    for pair in mmdebstrap:mmdebstrap mke2fs:e2fsprogs cpio:cpio zstd:zstd xz:xz-utils lz4:lz4 depmod:kmod python3:python3-minimal; do
        command -v "${pair%%:*}" >/dev/null || need+=("${pair#*:}")
    done
    [ ${#need[@]} -gt 0 ] || return 0
    log "installing ${need[*]} (apt)"
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
}

find_mirror() {
    apt-get indextargets --format '$(SITE) $(RELEASE)' | awk '$2 ~ /^(bookworm|trixie)$/ {print $1; exit}'
}

build_tree() {
    local mirror=$1 include masked
    include=$(IFS=,; echo "${packages[*]}")
    masked="getty@tty1.service serial-getty@ttyS0.service serial-getty@hvc0.service systemd-timesyncd.service
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer e2scrub_reap.service
        systemd-pstore.service systemd-update-utmp.service systemd-firstboot.service systemd-machine-id-commit.service"
    KERNEL_OUT=$work mmdebstrap --mode=root --variant=minbase --architectures=amd64 --include="$include" \
        --aptopt='Acquire::Retries "5"' --aptopt='APT::Install-Recommends "0"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt=force-unsafe-io \
        --customize-hook="sh $here/kernel-hook.sh \"\$1\"" \
        --customize-hook="install -m755 $here/agent.sh \"\$1/usr/local/sbin/skiff-agent\"" \
        --customize-hook="install -m644 $here/agent.service \"\$1/etc/systemd/system/skiff-agent.service\"" \
        --customize-hook='chroot "$1" systemctl enable skiff-agent.service >/dev/null 2>&1' \
        --customize-hook="chroot \"\$1\" systemctl mask $(echo $masked) >/dev/null 2>&1 || true" \
        --customize-hook='chroot "$1" passwd -d root >/dev/null; echo edge >"$1/etc/hostname"' \
        --customize-hook='printf "127.0.0.1 localhost edge\n" >"$1/etc/hosts"; : >"$1/etc/fstab"' \
        --customize-hook='echo 0123456789abcdef0123456789abcdef >"$1/etc/machine-id"; mkdir -p "$1/mnt/in" "$1/mnt/out"' \
        --customize-hook='echo 1000:100000:65536 | tee "$1/etc/subuid" >"$1/etc/subgid"' \
        --customize-hook='chroot "$1" dpkg-query -W >"$KERNEL_OUT/packages"; rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' \
        "$suite" "$work/root" "$mirror" >"$out/mmdebstrap.log" 2>&1 || { tail -20 "$out/mmdebstrap.log" >&2; exit 1; }
}

# Takes the ELF vmlinux out of the bzImage, by trying each compression whose magic bytes occur in it.
extract_vmlinux() {
    python3 - "$1" "$2" <<'PY'
import subprocess, sys
data = open(sys.argv[1], "rb").read()
for magic, command in ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz"), (b"\x1f\x8b\x08", "gzip"), (b"\x02!L\x18", "lz4")):
    at = data.find(magic)
    while at >= 0:
        out = subprocess.run([command, "-dcq"], input=data[at:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        if out[:4] == b"\x7fELF" and len(out) > 1 << 20:
            open(sys.argv[2], "wb").write(out)
            sys.exit(0)
        at = data.find(magic, at + 1)
sys.exit("no vmlinux found")
PY
}

build_initrd() {
    local tree=$work/root version ir=$work/initrd.d busybox module file name
    version=$(cat "$work/version")
    mkdir -p "$ir"/{bin,dev,proc,sys,root,m}
    busybox=$tree/bin/busybox
    [ -e "$busybox" ] || busybox=$tree/usr/bin/busybox
    cp "$busybox" "$ir/bin/busybox"
    : >"$ir/m/order"
    for module in virtio_pci virtio_blk ext4; do
        modprobe -d "$tree" -S "$version" --show-depends "$module" 2>/dev/null | awk '$1=="insmod" {print $2}' | while read -r file; do
            name=$(basename "$file"); name=${name%.xz}; name=${name%.zst}
            grep -qx "$name" "$ir/m/order" && continue
            case $file in *.xz) xz -dc "$file";; *.zst) zstd -dcq "$file";; *) cat "$file";; esac >"$ir/m/$name"
            echo "$name" >>"$ir/m/order"
        done
    done
    install -m755 "$here/initrd-init.sh" "$ir/init"
    (cd "$ir" && find . | cpio -o -H newc --quiet) >"$work/initrd"
}

install_tools
mirror=$(find_mirror)
[ -n "$mirror" ] || { apt-get update -qq; mirror=$(find_mirror); }
[ -n "$mirror" ] || { log "this machine's apt has no source for bookworm or trixie to take the guest from"; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/skiff-rootfs.XXXXXX")
trap 'rm -rf "$work"' EXIT
started=$(date +%s)
log "building the $suite guest (about a minute, once)"
build_tree "$mirror"
extract_vmlinux "$work/vmlinuz" "$work/kernel"
build_initrd
truncate -s "${image_mb}M" "$work/root.ext4"
mke2fs -q -F -t ext4 -m 0 -L skiffroot -E lazy_itable_init=1,lazy_journal_init=1 -d "$work/root" "$work/root.ext4"
{
    echo "suite $suite kernel $(cat "$work/version")"
    grep -E '^(systemd|crun|runc|libc6|strace|busybox-static|python3-minimal)(:[a-z0-9]+)?\s' "$work/packages"
} >"$out/versions"
rm -rf "$out"/snap-* # saved machines of an older image are worthless
for file in root.ext4 kernel initrd kconfig; do
    cp --sparse=always "$work/$file" "$out/$file.new"
    mv "$out/$file.new" "$out/$file"
done
echo "$stamp" >"$out/stamp"
log "done in $(($(date +%s) - started)) s: $(head -1 "$out/versions"), $(du -m "$out/root.ext4" | cut -f1) MB on disk"
