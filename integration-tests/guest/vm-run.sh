#!/bin/bash
# vm-run.sh - runs one command in a test guest (systemd as PID 1, cgroup v2 only) and brings back its output, its exit
# status and its files.
#
#   vm-run.sh [-S suite] [-a arch] [-m MiB] [-s cpus] [-t seconds] [-i [NAME=]PATH]... [-o DIR] [-A kernel-args] [-c] [-v] 'CMD'
#   vm-run.sh -p [-S suite] [-a arch] [-m MiB] [-s cpus] [-A kernel-args]
#
#   -S bookworm|trixie   which guest (default bookworm)      -a amd64|arm64   of which architecture (default amd64)
#   -m 512 -s 2          memory in MiB and virtual CPUs
#   -t 300               limit in seconds for CMD; past it the exit status is 124
#   -i PATH              a file or folder to take in, read-only under $IN; NAME=PATH renames it
#   -o DIR               what CMD leaves under $OUT is unpacked into DIR
#   -A ARGS              more kernel arguments      -c  boot cold      -v  show the guest's console on stderr
#   -p                   only prepare: install, build, boot and save what the same run without -p would, and say so in a line
#
# Exit status: CMD's; 124 when it ran out of time; 125 when the guest did not come up (within SKIFF_VM_BOOT_TIMEOUT seconds,
# default 420) or died, with the end of its console on stderr.
#
# The first run boots the image, and when the guest's agent says READY saves the machine (a migration to a file)
# beside an overlay of its disk. Every run starts from there in seconds, on an overlay that is thrown away, so that
# runs never see one another and may go on side by side. A saved machine that nobody used for three days is removed. Files go
# in as a read-only ext4 image, come back as a tar on a raw disk, and output travels over a virtio port. Emulation only:
# /dev/kvm may exist and still not run a stock kernel.
#
# Layouts of cgroups come from -A, in a bookworm guest (trixie's systemd has left v1):
#   (nothing)                                                            v2 alone
#   systemd.unified_cgroup_hierarchy=0                                   systemd's hybrid: all controllers on v1
#   systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1    v1 alone
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
suite=bookworm arch=amd64 memory=512 cpus=2 limit=300 out='' cold=0 verbose=0 prepare=0 append='' inputs=()
usage() { sed -n '2,/^set/{/^#/p}' "$0" >&2; exit 2; }
while getopts S:a:m:s:t:i:o:A:cvp option; do
    case $option in
        S) suite=$OPTARG ;; a) arch=$OPTARG ;; m) memory=$OPTARG ;; s) cpus=$OPTARG ;; t) limit=$OPTARG ;; o) out=$OPTARG ;;
        i) inputs+=("$OPTARG") ;; A) append=$OPTARG ;; c) cold=1 ;; v) verbose=1 ;; p) prepare=1 ;; *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -ge 1 ] || [ $prepare = 1 ] || usage

boot_limit=${SKIFF_VM_BOOT_TIMEOUT:-420}
accel=tcg,thread=multi,tb-size=512
kernel_args="quiet loglevel=3 psi=1 mitigations=off nokaslr panic=-1 net.ifnames=0 systemd.show_status=auto"
case $arch in
    amd64)
        emulator=qemu-system-x86_64 machine=(-M q35 -cpu qemu64,-svm)
        kernel_args+=" console=ttyS0 tsc=reliable no_timer_check" ;;
    arm64)
        emulator=qemu-system-aarch64 machine=(-M virt,gic-version=3 -cpu cortex-a72)
        kernel_args+=" console=ttyAMA0" ;;
    *) echo "vm-run: no guest of architecture \`$arch\`; there are amd64 and arm64" >&2; exit 2 ;;
esac
kernel_args+=" $append"

run=$(mktemp -d "${TMPDIR:-/tmp}/skiff-vm-run.XXXXXX")
qemu='' unfinished=''
exec 8>&2
[ $prepare = 0 ] || exec 2>"$run/log" # of interest only when it fails
clean_up() {
    local status=$?
    trap - EXIT
    if [ -n "$qemu" ]; then { kill -9 "$qemu" && wait "$qemu"; } 2>/dev/null || true; fi
    if [ -n "$unfinished" ]; then rm -rf "$unfinished"; fi
    if [ $status != 0 ] && [ $prepare = 1 ]; then cat "$run/log" >&8; fi
    rm -rf "$run"
    exit $status
}
trap clean_up EXIT
trap 'exit 143' TERM INT HUP
die() {
    echo "vm-run: $*" >&2
    [ -s "$run/console" ] && tail -40 "$run/console" >&2
    [ -s "$run/qemu.log" ] && tail -5 "$run/qemu.log" >&2
    exit 125
}

# The disks for files have one fixed virtual size, so that a machine saved with empty ones takes full ones.
disk_size=4G

# start DISK [more qemu arguments]: sets $qemu; descriptor 4 hears the guest, 5 tells it, 6 is qemu's monitor.
start() {
    local disk=$1
    shift
    rm -f "$run"/ctl.* "$run"/mon.*
    mkfifo "$run/ctl.in" "$run/ctl.out" "$run/mon.in" "$run/mon.out"
    [ -e "$run/in.img" ] || truncate -s $disk_size "$run/in.img"
    [ -e "$run/out.img" ] || truncate -s $disk_size "$run/out.img"
    : >"$run/output"
    setpriv --pdeathsig KILL -- "$emulator" "${machine[@]}" -accel "$accel" -m "$memory" -smp "$cpus" \
        -nodefaults -no-user-config -no-reboot -display none -rtc base=utc \
        -kernel "$image/kernel" -initrd "$image/initrd" -append "$kernel_args" \
        -chardev "file,id=con,path=$run/console" -serial chardev:con \
        -chardev "pipe,id=ctl,path=$run/ctl" -chardev "file,id=outc,path=$run/output" \
        -chardev "pipe,id=mon,path=$run/mon" -mon chardev=mon,mode=readline \
        -device virtio-serial-pci,id=vs \
        -device virtserialport,bus=vs.0,nr=1,chardev=ctl,name=skiff.ctl \
        -device virtserialport,bus=vs.0,nr=2,chardev=outc,name=skiff.out \
        -device virtio-rng-pci \
        -drive "if=none,id=a,file=$disk,format=qcow2,cache=unsafe,discard=unmap" -device virtio-blk-pci,drive=a \
        -drive "if=none,id=b,file=$run/in.img,format=raw,readonly=on,cache=unsafe" -device virtio-blk-pci,drive=b \
        -drive "if=none,id=c,file=$run/out.img,format=raw,cache=unsafe" -device virtio-blk-pci,drive=c \
        "$@" >"$run/qemu.log" 2>&1 </dev/null 9>&- &
    qemu=$!
    # Read-write opens of a FIFO do not wait for the other side.
    exec 4<>"$run/ctl.out" 5<>"$run/ctl.in" 6<>"$run/mon.in" 7<>"$run/mon.out"
    [ $verbose = 0 ] || tail -n +1 -F --pid="$qemu" "$run/console" >&2 2>/dev/null &
}

# hear SECONDS: the guest's next line into $line; fails at the limit, or when qemu is gone.
hear() {
    local end=$((SECONDS + $1))
    while [ $SECONDS -lt $end ]; do
        if read -r -t 1 line <&4; then return 0; fi
        if ! kill -0 "$qemu" 2>/dev/null; then read -r -t 0.2 line <&4; return; fi
    done
    return 1
}

# The guest's agent says so when the boot has ended.
await_ready() {
    if hear "$boot_limit" && [ "$line" = READY ]; then return 0; fi
    if kill -0 "$qemu" 2>/dev/null; then die "the guest did not say READY within $boot_limit s"; fi
    qemu=''
    die "the guest died while it booted"
}

save_machine() {
    local i
    rm -rf "$snap"
    mkdir "$snap"
    unfinished=$snap
    qemu-img create -q -f qcow2 -F raw -b "$image/root.ext4" "$snap/disk.qcow2"
    start "$snap/disk.qcow2"
    await_ready
    printf 'migrate_set_parameter max-bandwidth 16G\nmigrate "exec:cat > %s"\nquit\n' "$snap/state.new" >&6
    for ((i = 0; i < 600; i++)); do kill -0 "$qemu" 2>/dev/null || break; sleep 0.1; done
    kill -0 "$qemu" 2>/dev/null && die "saving the machine hung"
    wait "$qemu" 2>/dev/null || true
    qemu=''
    [ -s "$snap/state.new" ] || die "nothing was saved"
    mv "$snap/state.new" "$snap/state"
    touch "$snap/ok"
    unfinished=''
}

# Makes sure that there are the image and, unless the boot is to be cold, the saved machine: sets $image and $snap.
prepare_guest() {
    local key started=$SECONDS
    image=$(SUITE=$suite ARCH=$arch "$here/build-rootfs.sh") || die "the guest could not be built"
    "$here/install-qemu.sh" "$arch" || die "the emulator could not be installed"
    [ $cold = 0 ] || return 0
    key=$(printf '%s' "$memory $cpus $accel ${machine[*]} $kernel_args $("$emulator" --version | head -1)" | sha256sum | cut -c1-12)
    snap=$image/snap-$memory-$cpus-$key
    if [ ! -e "$snap/ok" ]; then
        exec 9>"$snap.lock"
        flock 9
        if [ ! -e "$snap/ok" ]; then
            find "$image" -mindepth 2 -maxdepth 2 -name ok -mtime +3 -printf '%h\0' | xargs -0r rm -rf
            save_machine
            echo "vm-run: saved a booted $suite $arch guest ($memory MiB, $cpus cpus) in $((SECONDS - started)) s" >&2
        fi
        exec 9>&-
    fi
    touch "$snap/ok" # in use
}

pack_inputs() {
    local stage=$run/stage item name path kib
    mkdir -p "$stage/.vm-run"
    printf '%s\n' "$*" >"$stage/.vm-run/cmd"
    for item in ${inputs[@]+"${inputs[@]}"}; do
        case $item in *=*) name=${item%%=*} path=${item#*=} ;; *) path=$item name=$(basename "$item") ;; esac
        [ -e "$path" ] || { echo "vm-run: no such file: $path" >&2; exit 2; }
        cp -a --reflink=auto "$path" "$stage/$name"
    done
    kib=$((16 * 1024 + $(du -sk --apparent-size "$stage" | cut -f1) * 5 / 4))
    rm -f "$run/in.img"
    truncate -s "${kib}K" "$run/in.img"
    mke2fs -q -F -t ext4 -O ^has_journal -m 0 -d "$stage" "$run/in.img"
    truncate -s $disk_size "$run/in.img"
    rm -rf "$stage"
}

if [ $prepare = 1 ]; then
    prepare_guest
    echo "vm-run: the $suite $arch guest ($memory MiB, $cpus cpus${append:+, $append}) is ready after $SECONDS s" >&8
    exit 0
fi
prepare_guest
pack_inputs "$@"
if [ $cold = 1 ]; then
    qemu-img create -q -f qcow2 -F raw -b "$image/root.ext4" "$run/disk.qcow2"
    start "$run/disk.qcow2"
    await_ready
else
    qemu-img create -q -f qcow2 -F qcow2 -b "$snap/disk.qcow2" "$run/disk.qcow2"
    start "$run/disk.qcow2" -incoming "exec:cat $snap/state"
fi
echo "GO $(date +%s) $limit" >&5
tail -c +1 -f --pid="$qemu" -s 0.2 "$run/output" 2>/dev/null & output=$!
status=125 files=0 line=''
hear $((limit + 60)) || line=''
read -r word code files <<<"$line" || true
if [ "${word:-}" = EXIT ]; then status=$code; fi
# The disk is thrown away, so there is nothing to shut down in order.
kill -9 "$qemu" 2>/dev/null || true
wait "$qemu" 2>/dev/null || true
qemu=''
wait "$output" 2>/dev/null || true
[ -n "$line" ] || die "the guest did not answer"
if [ -n "$out" ] && [ "${files:-0}" = 1 ]; then
    mkdir -p "$out"
    tar -C "$out" -xf "$run/out.img"
fi
exit "$status"
