//! mount(8) and umount(8) in a machine with systemd.

use crate::run;

#[test]
fn remount_and_mount_a_keep_the_unit_active() {
    run(
        90,
        "vsftpd; fstab \"$U/ /mnt/www fuse.ftpfs _netdev 0 0\"; boot; is_mounted /mnt/www
         flags() { on findmnt -nro VFS-OPTIONS /mnt/www; }
         for _ in 1 2; do is \"$(on mount -a 2>&1)\" ''; done
         is \"$(on findmnt -nro TARGET /mnt/www | wc -l)\" 1
         on mount -o remount,ro /mnt/www; flags | grep -q '^ro,'; ! on touch /mnt/www/f 2>/dev/null || fail 'it is read-only'
         on mount -o remount,rw /mnt/www; on touch /mnt/www/f; [ -e $D/f ]
         is \"$(on systemctl is-active mnt-www.mount)\" active; on umount /mnt/www
         is_unmounted /mnt/www; inactive() { ! on systemctl -q is-active mnt-www.mount; }; soon inactive; off",
    );
}

#[test]
fn root_unmounts_the_mount_of_a_user() {
    run(
        90,
        "vsftpd local_max_rate=2000000; boot; on runuser -u anna -- mkdir /home/anna/www
         for command in 'umount' 'ftpfs umount'; do
             on runuser -u anna -- sh -ec \"export HOME=/home/anna; ftpfs $U/ ~/www -o writeback
                 head -c 3M /dev/urandom >~/file; cp ~/file ~/www/file\"
             on $command /home/anna/www; is_unmounted /home/anna/www
             stored() { cmp -s $V/home/anna/file $D/file; }
             soon stored; rm $D/file
         done; off",
    );
}
