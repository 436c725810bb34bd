//! Uploads that are pending when the machine, the session or the service ends.

use crate::{readme_line, run};

/// The network is stopped once nothing needs it any more. The server is outside of the machine.
#[test]
fn poweroff_waits_for_pending_uploads() {
    let line = readme_line(",writeback");
    run(
        120,
        &format!(
            "vsftpd local_max_rate=1000000; network_stops; fstab \"{line}\"; boot
             on sh -c 'head -c 5M /dev/urandom >/root/file; cp /root/file /mnt/www/file'
             off; ! ip link show lo | grep -q ,UP || fail 'the network was not stopped'; cmp $V/root/file $D/file
             journal -u mnt-www.mount -u test-network >$S/said; says $S/said 'Unmounted'"
        ),
    );
}

/// A mount of an administrator by mount(8), which systemd finds in the mount table. It looks there once a second at most.
#[test]
fn poweroff_waits_for_uploads_of_a_manual_mount() {
    run(
        120,
        "vsftpd local_max_rate=1000000; network_stops; boot; on mkdir /mnt/www
         on mount -t fuse.ftpfs -o _netdev,writeback $U/ /mnt/www; known() { on systemctl -q is-active mnt-www.mount; }; soon known
         on sh -c 'head -c 5M /dev/urandom >/root/file; cp /root/file /mnt/www/file'
         off; cmp $V/root/file $D/file",
    );
}

#[test]
fn logout_waits_for_pending_uploads() {
    run(
        120,
        "vsftpd local_max_rate=1000000; mkdir -p $V/etc/systemd/logind.conf.d
         printf '[Login]\\nKillUserProcesses=yes\\n' >$V/etc/systemd/logind.conf.d/kill.conf; boot
         on_for 60 systemd-run --quiet --wait -p User=anna -p PAMName=su sh -ec \"mkdir ~/www
             ftpfs $U/ ~/www -o writeback; head -c 4M /dev/urandom >~/file; cp ~/file ~/www/file; mountpoint -q ~/www\"
         stored() { cmp -s $V/home/anna/file $D/file; }
         soon stored; soon is_unmounted /home/anna/www; off",
    );
}

#[test]
fn stop_with_a_dead_server_ends() {
    let line = readme_line(",cache_timeout=1");
    run(
        90,
        &format!(
            "vsftpd; fstab \"{line}\"; boot; on ls -l /mnt/www >/dev/null; sleep 1.5
             pkill -STOP -x vsftpd; on_for 20 systemctl stop mnt-www.mount; is_unmounted /mnt/www
             is \"$(on systemctl is-failed mnt-www.mount || true)\" inactive; pkill -CONT -x vsftpd
             on ls -l /mnt/www >/dev/null; pkill -STOP -x vsftpd; off; pkill -CONT -x vsftpd"
        ),
    );
}

#[test]
fn notify_service_is_ready_when_it_is_mounted() {
    run(
        120,
        "vsftpd local_max_rate=1000000; boot; on mkdir /mnt/www
         for option in '' writeback; do
             on systemd-run --quiet --unit=www$option -p Type=notify -p NotifyAccess=main --setenv=HOME=/root \
                 ftpfs $U/ /mnt/www -f -v -o rw,$option
             is_mounted /mnt/www; on sh -c 'head -c 3M /dev/urandom >/root/file; cp /root/file /mnt/www/file'
             on journalctl -o cat -u www$option >$S/said; says $S/said 'INFO  ftpfs::'; ! grep -E '[0-9]T[0-9]{2}:' $S/said || fail 'it has times of ours'
             on_for 60 systemctl stop www$option; is_unmounted /mnt/www; cmp $V/root/file $D/file
             is \"$(on systemctl is-failed www$option || true)\" inactive; rm $D/file
         done
         off",
    );
}
