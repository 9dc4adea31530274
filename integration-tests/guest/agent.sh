#!/bin/bash
# The guest's side of vm-run.sh: says READY when the boot has ended, waits for one GO line, runs the command that came on
# the second disk, reports its exit status. The machine is usually saved between READY and GO, so the clock is set from GO.
modprobe virtio_console 2>/dev/null
until [ -c /dev/virtio-ports/skiff.ctl ] && [ -c /dev/virtio-ports/skiff.out ]; do sleep 0.2; done
exec 3<>/dev/virtio-ports/skiff.ctl || exit 1
systemctl is-system-running --wait >/dev/null # a failed unit is for the command to find
echo READY >&3
while read -r word epoch limit <&3; do [ "$word" = GO ] && break; done
date -s "@$epoch" >/dev/null 2>&1
# The disks were empty when the machine was saved; what the kernel remembers of them is stale.
blockdev --flushbufs /dev/vdb 2>/dev/null
mkdir -p /mnt/in /mnt/out /srv
mount -o ro /dev/vdb /mnt/in || { echo "EXIT 125 0" >&3; sleep 30; exit 1; }
cd /srv || exit 1
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 IN=/mnt/in OUT=/mnt/out
timeout -k 5 "${limit:-600}" bash /mnt/in/.vm-run/cmd </dev/null >/dev/virtio-ports/skiff.out 2>&1
status=$?
files=0
if [ -n "$(ls -A /mnt/out)" ]; then tar -C /mnt/out -cf /dev/vdc . && blockdev --flushbufs /dev/vdc && files=1; fi
sync
echo "EXIT $status $files" >&3
sleep 30
