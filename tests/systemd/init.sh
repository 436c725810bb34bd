#!/bin/bash
# The first process of a machine of tests/systemd: init.sh ROOT DIR REPOSITORY FTPFS. Makes the file systems of a container
# from an overlay of DIR over ROOT, installs ftpfs there (not if FTPFS is empty), and becomes systemd.
set -euo pipefail
root=$1 dir=$2 repository=$3 ftpfs=$4
new=$dir/merged

mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$root,upperdir=$dir/upper,workdir=$dir/work" "$new"
[ -z "$ftpfs" ] || FTPFS=$ftpfs "$repository/scripts/run" --install "$new" >/dev/null
mount -t proc -o nosuid,nodev,noexec proc "$new/proc"
mount --bind "$new/proc/sys" "$new/proc/sys"
mount -o remount,bind,ro "$new/proc/sys"
# Read-only: udev leaves the devices of the machine alone.
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$new/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$new/sys/fs/cgroup"
mount -t tmpfs -o mode=755,nosuid,size=4m tmpfs "$new/dev"
for device in null zero full random urandom tty autofs; do
    touch "$new/dev/$device"
    mount --bind "/dev/$device" "$new/dev/$device"
done
# Open to all users, as udev makes it.
mknod -m 666 "$new/dev/fuse" c 10 229
mkdir "$new/dev/pts" "$new/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$new/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$new/dev/shm"
ln -s pts/ptmx "$new/dev/ptmx"
ln -s /proc/self/fd "$new/dev/fd"
ln -s fd/0 "$new/dev/stdin"
ln -s fd/1 "$new/dev/stdout"
ln -s fd/2 "$new/dev/stderr"
touch "$new/dev/console"
mount --bind /dev/null "$new/dev/console"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$new/run"
mount -t tmpfs -o mode=1777 tmpfs "$new/tmp"
cd "$new"
pivot_root . mnt
exec chroot . sh -c 'umount -l /mnt
    exec env -i container=ftpfs-test TERM=dumb PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --show-status=false </dev/null >/dev/null 2>&1'
