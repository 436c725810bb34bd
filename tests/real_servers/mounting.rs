//! Getting there and leaving, and what is said when it can't be.

use nix::sys::signal::Signal;

use crate::limited;
use crate::mounted::Mounted;
use crate::namespace::run;

/// Without `-f`: the command returns once the mount is live.
pub fn background(m: &mut Mounted) {
    m.sh("echo x >$D/f; theirs");
    m.unmount();
    let started = m.ftpfs(&[&m.url(), m.mountpoint()]);
    assert!(started.succeeded(), "{}", started.output);
    assert!(m.is_mounted(), "it returned before the mount was live");
    // Success has nothing to say, but for a machine without syslog.
    let mut lines = started.output.lines();
    assert!(
        lines.all(|line| line.contains("/dev/log")),
        "{}",
        started.output
    );
    m.sh("is \"$(cat $M/f)\" x; echo y >$M/g; is \"$(cat $D/g)\" y
          is \"$(findmnt -no FSTYPE $M)\" fuse.ftpfs; refuses grep -qF \"${URL#*:}\" /proc/mounts
          fusermount3 -u $M; is \"$(ls $M)\" ''; ended() { ! pgrep -f \"$M\" | grep -vxF -e $$ -e $BASHPID; }; soon ended");
    m.mount("");
}

pub fn by_umount(m: &mut Mounted) {
    m.sh("echo x >$M/f; umount $M");
    m.ended();
    m.sh("is \"$(cat $D/f)\" x");
    m.mount("");
}

pub fn by_sigterm(m: &mut Mounted) {
    by_signal(m, Signal::SIGTERM);
}

pub fn by_sigint(m: &mut Mounted) {
    by_signal(m, Signal::SIGINT);
}

fn by_signal(m: &mut Mounted, signal: Signal) {
    m.sh("head -c 3000000 /dev/urandom >$S/f; cp $S/f $M/f");
    m.signal(signal);
    m.ended();
    assert!(!m.is_mounted(), "the mount was left behind");
    m.sh("same $S/f $D/f");
    m.mount("");
}

pub fn read_only(m: &mut Mounted) {
    m.sh("echo x >$D/f; mkdir $D/d; theirs");
    m.remount_with("ro");
    m.sh("is \"$(cat $M/f)\" x
          for command in 'touch $M/f' 'touch $M/g' 'rm $M/f' 'rmdir $M/d' 'mkdir $M/e' 'mv $M/f $M/g' 'chmod 600 $M/f'; do
            refuses eval \"$command\"; grep -q 'Read-only file system' $S/why
          done; is \"$(ls $D | xargs)\" 'd f'");
    assert_eq!(
        ["STOR", "DELE", "MKD", "RMD", "RNFR"].map(|verb| m.commands(verb)),
        [0; 5]
    );
}

pub fn owner_and_umask(m: &mut Mounted) {
    m.sh("mkdir $D/d; echo x >$D/f; chmod 777 $D/d $D/f; theirs; is \"$(stat -c '%u %g' $M/f $M/d $M | uniq)\" '0 0'");
    m.remount_with("uid=12,gid=34,umask=027");
    m.sh("is \"$(stat -c '%u %g' $M/f $M/d $M | uniq)\" '12 34'; is \"$(stat -c %a $M/f $M/d | xargs)\" '750 750'");
}

pub fn other_users(m: &mut Mounted) {
    m.sh(
        "echo x >$D/f; echo secret >$D/s; chmod 600 $D/s; theirs; chmod 755 . ..
          other='setpriv --reuid 65534 --regid 65534 --clear-groups'; refuses $other ls $M",
    );
    m.remount_with("allow_other");
    m.sh("other='setpriv --reuid 65534 --regid 65534 --clear-groups'; is \"$($other cat $M/f)\" x
          refuses $other cat $M/s; refuses $other touch $M/new; refuses $other rm -f $M/f; is \"$(cat $D/f)\" x");
}

/// `%2F` makes a path absolute, other escapes name bytes.
pub fn encoded_path(m: &mut Mounted) {
    m.sh("mkdir -p \"$D/a b#%\"; echo x >\"$D/a b#%/f\"; theirs");
    m.unmount();
    let absolute = m
        .url()
        .replacen(&m.server.url(), &(m.server.url() + "%2F"), 1)
        + "/a%20b%23%25/";
    let started = m.ftpfs(&[&absolute, m.mountpoint()]);
    assert!(started.succeeded(), "{}", started.output);
    m.sh("is \"$(cat $M/f)\" x; fusermount3 -u $M");
    m.mount("");
}

pub fn wrong_password(m: &mut Mounted) {
    let url = m.url();
    let (front, path) = url.split_once('@').unwrap();
    let (user, _) = front.rsplit_once(':').unwrap();
    refused(
        m,
        &format!("{user}:wrong@{path}"),
        "$M",
        &["password", "login"],
    );
}

pub fn missing_directory(m: &mut Mounted) {
    refused(m, &(m.url() + "/none"), "$M", &["none"]);
}

pub fn missing_mountpoint(m: &mut Mounted) {
    refused(m, &m.url(), "$S/nowhere", &["nowhere"]);
}

pub fn mountpoint_is_a_file(m: &mut Mounted) {
    m.sh("echo x >$S/file");
    refused(m, &m.url(), "$S/file", &["not a directory"]);
}

pub fn refused_connection(m: &mut Mounted) {
    refused(m, "ftp://127.0.0.1:1/", "$M", &["refused"]);
}

pub fn mounted_twice(m: &mut Mounted) {
    let again = m.ftpfs(&[&m.url(), m.mountpoint()]);
    one_line(&again, &["already", "busy", "mounted"]);
    m.sh("echo x >$M/f; is \"$(cat $D/f)\" x; is \"$(grep -cF \" $M \" /proc/mounts)\" 1");
}

/// `ftpfs SOURCE MOUNTPOINT` says in one line why not, and leaves no mount behind.
fn refused(m: &mut Mounted, source: &str, mountpoint: &str, words: &[&str]) {
    m.unmount();
    let path = m.sh(&format!("echo {mountpoint}"));
    let answer = m.ftpfs(&[source, path.trim_end()]);
    one_line(&answer, words);
    assert!(!m.is_mounted(), "a mount was left behind");
    m.mount("");
}

fn one_line(answer: &limited::Outcome, words: &[&str]) {
    let output = &answer.output;
    assert!(answer.status.is_some(), "it did not end:\n{output}");
    assert!(!answer.succeeded(), "it worked:\n{output}");
    assert_eq!(
        output.lines().count(),
        1,
        "one line must say why:\n{output}"
    );
    assert!(
        words
            .iter()
            .any(|word| output.to_lowercase().contains(word)),
        "none of {words:?} in: {output}"
    );
}

/// The mount lives on, and what it has is stored.
#[test]
fn file_size_limit_of_the_mount_is_an_error_of_the_file() {
    run(
        60,
        "vsftpd; printf '#!/bin/bash\\nulimit -Sn 256; ulimit -f 3000; exec %q \"$@\"\\n' \"$FTPFS\" >$S/limited; chmod 755 $S/limited
         FTPFS=$S/limited mounts writeback
         read -r soft hard < <(awk '/^Max open files/ { print $4, $5 }' /proc/$mounted/limits); is $soft $hard
         python3 -c '
import errno, os, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
for at in reversed(range(0, 5 << 20, 1 << 20)):
    try: os.pwrite(file, bytes(1 << 20), at); said = None
    except OSError as error: said = error.errno
    assert said == (errno.EFBIG if at >= 3 << 20 else None) or at == 2 << 20, (at, said)
' $M/big
         echo small >$M/small; \"$FTPFS\" umount $M; is \"$(cat $D/small)\" small; wait $mounted",
    );
}
