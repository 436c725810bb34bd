//! Maps of autofs(5): colons are escaped.

use crate::run;

#[test]
fn direct_and_indirect_maps_mount_and_expire() {
    run(
        120,
        "vsftpd; mkdir -p $V/etc
         printf '%s\\n' '/- /etc/auto.direct --timeout=2' '/net/ftp /etc/auto.ftp --timeout=2' >$V/etc/auto.master
         echo \"/mnt/direct -fstype=fuse.ftpfs,allow_other :ftp\\\\://$account@ftp.example.org/there\" >$V/etc/auto.direct
         printf '%s\\n' \"www -fstype=fuse.ftpfs,allow_other :ftp\\\\://$account@ftp.example.org/\" \
             \"old -fstype=fuse,allow_other :curlftpfs\\\\#$account@ftp.example.org\" \
             \"* -fstype=fuse.ftpfs :ftp\\\\://$account@ftp.example.org/&\" >$V/etc/auto.ftp
         boot; is \"$(on systemctl is-active autofs)\" active
         for path in /mnt/direct/down /net/ftp/www/there/down /net/ftp/there/down /net/ftp/old/there/down; do
             on cat $path | cmp - $D/there/down
         done
         none() { ! on findmnt -nrt fuse.ftpfs,fuse.curlftpfs; }
         on findmnt -nrt fuse.curlftpfs | grep -q /net/ftp/old
         soon none; on cat /net/ftp/www/there/down | cmp - $D/there/down; off",
    );
}
