#!/bin/busybox sh
# The guest's initrd: loads the virtio disk's modules, mounts /dev/vda and hands over to systemd, or to what the kernel
# argument init= names. When it ends, the kernel panics, and so does the emulator: the console says why.
B=/bin/busybox
$B mount -t devtmpfs d /dev
$B mount -t proc p /proc
$B mount -t sysfs s /sys
init=/sbin/init
for word in $($B cat /proc/cmdline); do case $word in init=*) init=${word#init=} ;; esac; done
for m in $($B cat /m/order); do $B insmod "/m/$m"; done
i=0
while [ ! -b /dev/vda ] && [ $i -lt 200 ]; do $B usleep 50000; i=$((i + 1)); done
$B mount -t ext4 -o rw,noatime /dev/vda /root || { echo "initrd: /dev/vda cannot be mounted" >/dev/console; exit 1; }
$B umount /proc /sys
$B mount --move /dev /root/dev
exec $B switch_root /root "$init"
