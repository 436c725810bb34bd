//! The automount that the README recommends.

use crate::{readme_line, run};

#[test]
fn readme_line_mounts_expires_and_mounts_again() {
    let line = readme_line(",x-systemd.idle-timeout=1");
    run(
        90,
        &format!(
            "vsftpd; fstab \"{line}\"; boot; is_unmounted /mnt/www
             for _ in 1 2; do
                 on cmp /mnt/www/there/nothing /dev/null; is_mounted /mnt/www
                 is \"$(on stat -c %U:%G /mnt/www/there)\" anna:anna; on runuser -u anna -- ls /mnt/www/there >/dev/null
                 soon is_unmounted /mnt/www
             done
             is \"$(on systemctl is-active mnt-www.automount)\" active; is \"$(on systemctl is-failed mnt-www.mount || true)\" inactive
             on findmnt /mnt/www | grep -q autofs; off"
        ),
    );
}

#[test]
fn idle_timeout_waits_for_pending_uploads() {
    let line = readme_line(",x-systemd.idle-timeout=1,writeback");
    run(
        90,
        &format!(
            "vsftpd local_max_rate=400000; fstab \"{line}\"; boot
             on sh -c 'head -c 4M /dev/urandom >/root/file; cp /root/file /mnt/www/file'
             stored() {{ cmp -s $V/root/file $D/file; }}
             ! stored || fail 'it was there before its close'; looks=0
             while true; do
                 state=$(on systemctl is-active mnt-www.mount || true); ! stored || break
                 is \"$state\" active; looks=$((looks + 1)); sleep 0.2
             done
             [ $looks -gt 2 ] || fail \"$looks looks\"
             soon is_unmounted /mnt/www; cmp $V/root/file $D/file; off"
        ),
    );
}

/// More accesses than systemd's start limit: five within ten seconds.
#[test]
fn server_that_comes_back_is_mounted_again() {
    let line = readme_line(",timeout=2");
    run(
        150,
        &format!(
            "fstab \"{line}\"; boot
             for _ in 1 2 3; do ! on ls /mnt/www 2>/dev/null || fail 'there is no server'; done
             others=; for _ in 1 2 3 4; do on ls /mnt/www 2>/dev/null & others+=\" $!\"; done; for one in $others; do wait $one || true; done
             is \"$(on systemctl is-active mnt-www.automount)\" active
             vsftpd; on ls /mnt/www | grep -q there
             pkill -KILL -x vsftpd; ! on ls /mnt/www/there/none 2>/dev/null || fail 'there is no server'
             vsftpd; soon on ls /mnt/www/there >/dev/null; off"
        ),
    );
}

#[test]
fn wrong_password_is_named_in_the_journal() {
    let line = readme_line("");
    run(
        90,
        &format!(
            "vsftpd; (umask 077; echo \"machine ftp.example.org login $account password wrong-$password\" >$V/root/.netrc)
             fstab \"{line}\"; boot; ! on ls /mnt/www 2>/dev/null || fail 'it mounted'
             is \"$(on systemctl is-active mnt-www.automount)\" active
             on journalctl -u mnt-www.mount >$S/said; says $S/said 'login refused: 530'
             ! on journalctl | grep -F -- \"$password\" || fail 'the journal has the password'; off"
        ),
    );
}

#[test]
fn nofail_line_does_not_delay_the_boot() {
    run(
        90,
        "fstab \"$U/ /mnt/www fuse.ftpfs _netdev,nofail,timeout=2 0 0\"; boot; is_unmounted /mnt/www
         is \"$(on systemctl is-active multi-user.target)\" active
         vsftpd; on mount -a; is_mounted /mnt/www; off",
    );
}
