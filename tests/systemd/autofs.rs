//! Maps of autofs(5): colons are escaped.

use crate::{blocks, run, written};

#[test]
fn direct_and_indirect_maps_mount_and_expire() {
    let maps = written(&blocks("autofs")).replace("--timeout=600", "--timeout=2");
    run(
        120,
        &format!(
            "vsftpd; {maps}
         boot; is \"$(on systemctl is-active autofs)\" active
         for path in /mnt/direct/down /net/ftp/www/there/down /net/ftp/there/down /net/ftp/old/there/down; do
             on cat $path | cmp - $D/there/down
         done
         none() {{ ! on findmnt -nrt fuse.ftpfs,fuse.curlftpfs; }}
         on findmnt -nrt fuse.curlftpfs | grep -q /net/ftp/old
         soon none; on cat /net/ftp/www/there/down | cmp - $D/there/down; off"
        ),
    );
}
