//! The examples of `docs/fstab-systemd-autofs.md`; those for autofs are in `autofs`.

use crate::{README, blocks, run, written};

/// A line with `users` is mounted by a user, an automount by access, the others by mount(8).
#[test]
fn every_line_for_fstab_mounts() {
    let mut script = String::from(
        "vsftpd; mkdir $D/www; chown $account: $D/www; : >$D/www/there; boot; on mkdir /mnt/www; P=/proc/$machine/root\n",
    );
    for line in blocks("fstab") {
        let line = line.trim();
        script.push_str(&format!(
            "line=\"{line}\"; echo \"$line\" >$P/etc/fstab; on systemctl daemon-reload
             case $line in
             *,users,*) on chown anna /mnt/www; on runuser -l anna -c 'mount /mnt/www; ls /mnt/www/there; umount /mnt/www' >/dev/null ;;
             *automount*) on systemctl restart remote-fs.target; on ls /mnt/www/there >/dev/null; is_mounted /mnt/www
                 on systemctl stop mnt-www.automount mnt-www.mount ;;
             *) on mount -a; on ls /mnt/www/there >/dev/null; on umount /mnt/www ;;
             esac; is_unmounted /mnt/www\n"
        ));
    }
    run(120, &format!("{script} off"));
}

#[test]
fn units_start_and_stop() {
    let units = written(&blocks("ini"));
    run(
        120,
        &format!(
            "vsftpd; {units}mkdir \"$D/my documents\"; echo text >\"$D/my documents/text\"; boot
             on systemctl start mnt-docs.mount; is \"$(on cat /mnt/docs/text)\" text; on systemctl stop mnt-docs.mount
             is_unmounted /mnt/docs; on systemctl start www.service; is_mounted /mnt/www
             on cat /mnt/www/there/down | cmp - $D/there/down; on systemctl stop www.service; is_unmounted /mnt/www; off"
        ),
    );
}

/// Five failures at once end an automount. The remedy of the document begins it again, and its limit.conf prevents that.
#[test]
fn start_limit_has_a_remedy_and_can_be_lifted() {
    let units = written(&blocks("ini"));
    let line = crate::readme_line("");
    run(
        120,
        &format!(
            "vsftpd; mv $V/root/.netrc $V/root/away; fstab \"{line}\"; boot; is_active() {{ on systemctl -q is-active mnt-www.automount; }}
             fails() {{ local turn; for turn in 1 2 3 4 5 6 7; do on ls /mnt/www/there 2>/dev/null && fail 'it mounted'; done; true; }}
             fails; ! is_active || fail 'the start limit has no effect'; on mv /root/away /root/.netrc
             on sh -ec 'systemctl reset-failed mnt-www.mount && systemctl restart mnt-www.automount'; on ls /mnt/www/there >/dev/null
             off; {units} mv $V/root/.netrc $V/root/away; boot; fails; is_active; on mv /root/away /root/.netrc
             on ls /mnt/www/there >/dev/null; off"
        ),
    );
}

/// The commands of the README from "First mount" to "Look inside", with the line for fstab: what a new user types.
#[test]
fn commands_of_the_readme_work() {
    let commands = |heading: &str| {
        let section = README.split(heading).nth(1).expect("the section");
        let block = section.split("```sh\n").nth(1).expect("commands");
        let block = block.split("```").next().unwrap_or_default();
        block
            .replace("anna@", "$account@")
            .replace("ftp://ftp.example.org/pub", "$U/www")
            .replace(
                "login anna password SECRET",
                "login $account password $password",
            )
    };
    let (first, inside) = (commands("## First mount"), commands("## Look inside"));
    let (login, fstab) = (commands("### Credentials"), commands("### In `/etc/fstab`"));
    let line = crate::readme_line("");
    run(
        120,
        &format!(
            "vsftpd; mkdir $D/www; : >$D/www/file; chown -R $account: $D/www; fstab \"{line}\"; boot
             on_user() {{ on runuser -l anna -c \"set -e; $1\"; }}
             on_user \"$(cat <<END\n{first}END\n)\" >$S/said; says $S/said file; is_unmounted /home/anna/files
             on rm /home/anna/.netrc; on_user \"$(cat <<END\n{login}ls ~/files; umount ~/files 2>/dev/null || ftpfs umount ~/files\nEND\n)\" >$S/said; says $S/said file
             is \"$(on stat -c %a /home/anna/.netrc)\" 600; is_unmounted /home/anna/files
             on sh -ec \"$(cat <<END\n{fstab}END\n)\" >$S/said; says $S/said www
             on ls /mnt/www >/dev/null; on sh -ec \"$(cat <<END\n{inside}END\n)\" >$S/said; says $S/said /mnt/www; says $S/said vsFTPd; off"
        ),
    );
}
