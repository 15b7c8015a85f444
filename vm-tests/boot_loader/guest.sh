#!/bin/bash
# The first process of the guest: shows the boot partition and the EFI variables as a host has them, takes in the helper
# without running it, and runs what the test has left on the partition. What is printed after "@@" is an answer.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
ln -s /proc/self/fd /dev/fd
while read -r module; do insmod "$module" || echo "guest: $module is not loaded"; done </modules
mkdir -p /boot /tmp
until [ -e /dev/vda ]; do sleep 0.1; done
mount -t vfat /dev/vda /boot || echo "guest: no boot partition"
mount -t efivarfs efivarfs /sys/firmware/efi/efivars || echo "guest: no EFI variables"
# shellcheck source=/dev/null
. /fleetd-host
read -r words </proc/cmdline
init_in "$words"
echo "@@ booted=$REPLY"
# shellcheck source=/dev/null
. /boot/test.sh
echo "@@ end=yes"
sync
umount /boot
umount /sys/firmware/efi/efivars
echo b >/proc/sysrq-trigger
