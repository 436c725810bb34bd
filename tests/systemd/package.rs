//! The Debian package: installed, used through mount(8), and removed.

use crate::{readme_line, run};

#[test]
fn package_is_installed_used_and_removed() {
    let line = readme_line("");
    run(
        480,
        &format!(
            "for at in a b; do FTPFS=$FTPFS $SUPPORT/../../scripts/package deb $S/$at >/dev/null; done
             cmp $S/a/*.deb $S/b/*.deb; cp $S/a/*.deb $V/root/ftpfs.deb
             dpkg-deb -x $S/a/*.deb $S/files; X=$S/files/usr/share/doc/ftpfs/examples
             is \"$(ls $X | xargs)\" 'auto.direct auto.ftp auto.master fstab limit.conf mnt-docs.mount www.service'
             is \"$(grep -c '^ftp.*fuse.*0  0$' $X/fstab)\" 5; says $X/fstab '# Unmounted after ten minutes'; says $X/www.service Type=notify
             vsftpd; fstab \"{line}\"; INSTALL=no boot; ! on ls /mnt/www/there 2>/dev/null || fail 'nothing is installed'
             on dpkg -i /root/ftpfs.deb >$S/said; on dpkg --verify ftpfs
             on systemctl reset-failed; on systemctl restart mnt-www.automount; on cat /mnt/www/there/down | cmp - $D/there/down
             is_mounted /mnt/www; on umount /mnt/www
             on sh -c 'curlftpfs --version && umount.ftpfs --version' | grep -c '^ftpfs ' | grep -qx 2
             on dpkg -P ftpfs >>$S/said 2>&1; on find /usr /etc /sbin/ -name '*ftpfs*' >$S/left; is \"$(cat $S/left)\" ''; off"
        ),
    );
}
