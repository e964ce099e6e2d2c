#!/bin/sh
# Become PID 1 of a machine: run inside fresh private namespaces (machine.py makes them), ends as systemd.
#
#   boot.sh FOLDER      FOLDER/installed is laid over /etc, /opt and /usr/local, FOLDER/disk is a mount point for its use
set -eu
folder=$1
hybrid=$([ -d /sys/fs/cgroup/systemd ] && echo yes || echo no)

# What a machine must not do to the one it runs on: set kernel parameters, make devices or /dev/log, read its log.
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount --bind /sys /sys
mount -o remount,bind,ro /sys
mount -t tmpfs -o mode=755 tmpfs "$folder/disk"
mkdir "$folder/disk/dev" "$folder/disk/dev/pts" "$folder/disk/dev/shm"
for device in null zero full random urandom tty; do
    : >"$folder/disk/dev/$device"
    mount --bind "/dev/$device" "$folder/disk/dev/$device"
done
ln -s /proc/self/fd "$folder/disk/dev/fd"
ln -s pts/ptmx "$folder/disk/dev/ptmx"
mount --rbind "$folder/disk/dev" /dev
mount -t tmpfs -o mode=1777 tmpfs /dev/shm

# The control groups of systemd's own: below the one that machine.py made, thanks to the namespace.
if [ "$hybrid" = yes ]; then
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
else
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi

# A fresh machine with what was installed for it: none of this one's state or services, and changes are its own.
for wants in /lib/systemd/system/*.wants /lib/systemd/system-generators; do mount -t tmpfs tmpfs "$wants"; done
for place in etc opt usr/local; do
    mkdir -p "$folder/installed/$place" "$folder/disk/changes/$place" "$folder/disk/scratch/$place"
    lower="$folder/installed/$place:/$place"
    [ $place != opt ] || lower="$folder/installed/$place"
    changes="$folder/disk/changes/$place"
    mount -t overlay -o "lowerdir=$lower,upperdir=$changes,workdir=$folder/disk/scratch/$place" overlay "/$place"
done
rm -rf /etc/systemd/system/*.wants /etc/systemd/journald.conf.d /etc/fstab
cp "$folder/machine.target" /etc/systemd/system/
printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\n' >/etc/systemd/journald.conf
echo sftpd-machine >/etc/hostname
for place in /run /var/tmp /var/log /var/lib /tmp; do mount -t tmpfs -o mode=755 tmpfs "$place"; done
chmod 1777 /tmp /var/tmp

# Among its services mounts spread, or LoadCredential= shows them an empty folder: systemd leaves this to whatever made
# the container that it believes to be in. Nothing spreads to the outside: there all of this is private.
mount --make-rshared /

cd /
exec env -i container=other PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=machine.target --show-status=no --log-target=journal
