#!/bin/busybox sh
# The guest's initrd: loads the virtio disk's modules, mounts /dev/vda and hands over to systemd.
B=/bin/busybox
$B mount -t devtmpfs d /dev
$B mount -t proc p /proc
$B mount -t sysfs s /sys
for m in $($B cat /m/order); do $B insmod "/m/$m"; done
i=0
while [ ! -b /dev/vda ] && [ $i -lt 200 ]; do $B usleep 50000; i=$((i + 1)); done
$B mount -t ext4 -o rw,noatime /dev/vda /root || exec $B sh
$B umount /proc /sys
$B mount --move /dev /root/dev
exec $B switch_root /root /sbin/init
