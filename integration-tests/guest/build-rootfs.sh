#!/bin/bash
# build-rootfs.sh - builds, and keeps, the root file system, kernel and initrd of a test guest (needs root), and prints the
# folder where they lie.
#
#   SUITE=bookworm|trixie ARCH=amd64|arm64 integration-tests/guest/build-rootfs.sh
#
# Everything comes from Debian's packages, from the mirror that this machine's apt already uses. The folder is
# ${SKIFF_VM_CACHE:-$HOME/.cache/skiff-vm}/$SUITE-$ARCH-$STAMP, where the stamp is a hash of these scripts: another version
# of them builds beside it, and a folder that nobody asked for in three days is removed by the next build. In it:
#   root.ext4   sparse image, never written to (vm-run.sh puts an overlay on it)
#   kernel      amd64: the ELF vmlinux, whose PVH boot skips the decompressor, slow under emulation; arm64: the Image
#   initrd      busybox and the virtio modules
#   kconfig, versions, made.tar (amd64: what the packages' scripts made)
#
# The amd64 packages are installed; the arm64 ones are only unpacked, and get what the scripts of the same packages made on
# amd64 (accounts, links, enabled units). So nothing of arm64 runs here: no qemu-user, no binfmt_misc, a fifth of the time.
#
# User `edge` (1000) has subordinate ids, lingers, and is delegated cpu, cpuset, io, memory and pids.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
suite=${SUITE:-bookworm} arch=${ARCH:-amd64}
image_mb=2048
packages=(systemd systemd-sysv udev dbus dbus-user-session libpam-systemd kmod crun busybox-static strace iproute2 uidmap
    procps util-linux)
case $arch in
    # What the suites of the shim and the supervisor, and demos, need; and what compiles AppArmor's profiles.
    amd64) packages+=(containerd runc curl jq apparmor) ;;
    arm64) ;;
    *) echo "build-rootfs: no guest of architecture \`$arch\`; there are amd64 and arm64" >&2; exit 2 ;;
esac

cache=${SKIFF_VM_CACHE:-$HOME/.cache/skiff-vm}
stamp=$({ cat "$here"/{build-rootfs.sh,agent.sh,agent.service,kernel-hook.sh,initrd-init.sh}; } | sha256sum | cut -c1-12)
out=$cache/$suite-$arch-$stamp
mkdir -p "$out"
touch "$out/used"
if [ -e "$out/complete" ]; then echo "$out"; exit 0; fi
exec 9>"$out/.lock"
flock 9
if [ -e "$out/complete" ]; then echo "$out"; exit 0; fi
log() { echo "build-rootfs: $(date +%T) $*" >&2; }

install_tools() {
    local need=() pair
    exec 8>"$cache/.apt-lock" # guests are prepared side by side, and apt's own lock does not wait
    flock 8
    for pair in mmdebstrap:mmdebstrap mke2fs:e2fsprogs cpio:cpio zstd:zstd xz:xz-utils lz4:lz4 depmod:kmod python3:python3-minimal; do
        command -v "${pair%%:*}" >/dev/null || need+=("${pair#*:}")
    done
    if [ ${#need[@]} -gt 0 ]; then
        log "installing ${need[*]} (apt)"
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null 8>&- 9>&-
    fi
    mirror=$(find_mirror)
    [ -n "$mirror" ] || { apt-get update -qq; mirror=$(find_mirror); }
    [ -n "$mirror" ] || { log "this machine's apt has no source for bookworm or trixie to take the guest from"; exit 1; }
    exec 8>&-
}

find_mirror() {
    apt-get indextargets --format '$(SITE) $(RELEASE)' | awk '$2 ~ /^(bookworm|trixie)$/ {print $1; exit}'
}

# unpack HOW...: mmdebstrap with what every guest has.
unpack() {
    ARCH=$arch KERNEL_OUT=$work mmdebstrap --mode=root --architectures="$arch" --include="$(IFS=,; echo "${packages[*]}")" \
        --include=usr-is-merged --setup-hook=/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh \
        --aptopt='Acquire::Retries "5"' --aptopt='APT::Install-Recommends "0"' --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        "$@" "$suite" "$work/root" "$mirror" >"$out/mmdebstrap.log" 2>&1 || { tail -20 "$out/mmdebstrap.log" >&2; exit 1; }
}

build_native_tree() {
    unpack --variant=minbase --customize-hook="sh $here/kernel-hook.sh \"\$1\"" \
        --customize-hook='chroot "$1" dpkg-query -W >"$KERNEL_OUT/packages"'
    configure_tree "$work/root"
    keep_made_files
}

configure_tree() {
    local tree=$1 unit units=$1/etc/systemd/system
    for unit in getty@tty1.service serial-getty@{ttyS0,ttyAMA0,hvc0}.service systemd-timesyncd.service apt-daily{,-upgrade}.timer \
        dpkg-db-backup.timer fstrim.timer e2scrub_all.timer e2scrub_reap.service systemd-pstore.service \
        systemd-update-utmp.service systemd-firstboot.service systemd-machine-id-commit.service apparmor.service; do
        ln -sf /dev/null "$units/$unit"
    done
    rm -f "$units/multi-user.target.wants/containerd.service" # the tests start their own, and it takes seconds of the boot
    rm -f "$tree/usr/lib/udev/hwdb.bin"
    chroot "$tree" passwd -q -d root
    echo edge >"$tree/etc/hostname"
    echo "127.0.0.1 localhost edge" >"$tree/etc/hosts"
    : >"$tree/etc/fstab"
    : >"$tree/etc/resolv.conf"
    echo 0123456789abcdef0123456789abcdef >"$tree/etc/machine-id"
    mkdir -p "$tree/mnt/in" "$tree/mnt/out"

    chroot "$tree" useradd -m -u 1000 -s /bin/bash edge
    install -D /dev/null "$tree/var/lib/systemd/linger/edge"
    mkdir "$units/user@.service.d"
    printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >"$units/user@.service.d/delegate.conf"

    install -m755 "$here/agent.sh" "$tree/usr/local/sbin/skiff-agent"
    install -m644 "$here/agent.service" "$units/skiff-agent.service"
    ln -s ../skiff-agent.service "$units/multi-user.target.wants/"
}

# All files that no package ships, from which the tree of another architecture is configured. What ldconfig made is of amd64.
keep_made_files() {
    local shipped='s,^/(bin|sbin|lib|lib64)(/|$),/usr/\1\2,'
    cat "$work"/root/var/lib/dpkg/info/*.list | sed -E "$shipped" | sort -u >"$work/shipped"
    (cd "$work/root" && find . -mindepth 1 \( -path './usr/lib/modules' -o -path './var/cache/*' -o -path './var/lib/dpkg/*' \
        -o -path ./etc/ld.so.cache -o -path '*/x86_64-linux-gnu/*' -o -path ./lib64 -o -path ./usr/lib64 \) -prune -o -print) |
        sed 's,^\.,,' | sort | comm -23 - "$work/shipped" | sed 's,^,.,' >"$work/made"
    tar -C "$work/root" --numeric-owner --no-recursion -cf "$out/made.tar" -T "$work/made"
}

build_foreign_tree() {
    local native
    native=$(SUITE=$suite ARCH=amd64 "$here/build-rootfs.sh" 9>&-)
    unpack --variant=extract --include='?essential' --extract-hook="sh $here/kernel-hook.sh \"\$1\"" \
        --extract-hook='ls "$1/var/cache/apt/archives" | sed -n "s/_[^_]*\.deb$//; s/_/\t/p" >"$KERNEL_OUT/packages"'
    rm -rf "$work"/root/usr/share/{doc,man,locale,info} # mmdebstrap only leaves them out of what dpkg installs
    tar -C "$work/root" --numeric-owner --keep-directory-symlink -xf "$native/made.tar"
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

build_kernel() {
    if [ "$arch" = amd64 ]; then
        extract_vmlinux "$work/vmlinuz" "$work/kernel"
    elif [ "$(head -c2 "$work/vmlinuz" | od -An -tx1 | tr -d ' ')" = 1f8b ]; then
        zcat "$work/vmlinuz" >"$work/kernel"
    else
        cp "$work/vmlinuz" "$work/kernel"
    fi
}

build_initrd() {
    local tree=$work/root version ir=$work/initrd.d busybox module file name
    version=$(cat "$work/version")
    mkdir -p "$ir"/{bin,dev,proc,sys,root,m}
    cp "$tree/usr/bin/busybox" "$ir/bin/busybox"
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

build_image() {
    # Says that this tree needs no unit that brings a system up to date at its first boot.
    touch -r "$work/root/usr" "$work/root/etc/.updated" "$work/root/var/.updated"
    truncate -s "${image_mb}M" "$work/root.ext4"
    mke2fs -q -F -t ext4 -m 0 -L skiffroot -E lazy_itable_init=1,lazy_journal_init=1 -d "$work/root" "$work/root.ext4"
}

# Folders of other versions of these scripts.
remove_unused() {
    local folder
    for folder in "$cache/$suite-$arch"-*; do
        [ "$folder" != "$out" ] && [ -d "$folder" ] && [ -z "$(find "$folder" -maxdepth 1 -name used -mtime -3)" ] || continue
        rm -rf "$folder"
    done
}

install_tools
remove_unused
work=$out/work
rm -rf "$work" # of a build that was killed
mkdir "$work"
trap 'rm -rf "$work"' EXIT
started=$SECONDS
log "building the $suite $arch guest (about a minute, once)"
case $arch in amd64) build_native_tree ;; *) build_foreign_tree ;; esac
build_kernel
build_initrd
build_image
{
    echo "suite $suite arch $arch kernel $(cat "$work/version")"
    grep -E '^(systemd|crun|runc|containerd|libc6|strace|busybox-static)(:[a-z0-9]+)?\s' "$work/packages"
} >"$out/versions"
mv "$work"/{root.ext4,kernel,initrd,kconfig} "$out/"
touch "$out/complete"
log "done in $((SECONDS - started)) s: $(head -1 "$out/versions"), $(du -m "$out/root.ext4" | cut -f1) MB on disk"
echo "$out"
