//! Reading from real servers that limit each connection, and in no order: each test has a network of its own.
//!
//! Needs root and `/dev/fuse`; `cargo test --test timing rates::`.

use crate::namespace::run;

/// Two million bytes a second for each connection, as each server has it said.
const SLOW: [&str; 3] = [
    "vsftpd local_max_rate=2000000",
    "proftpd 'TransferRate RETR 2000'",
    "pure_ftpd -T :2000",
];

/// `file MIB`: one that is there.
const FILE: &str = r#"
file() { head -c "$1M" /dev/urandom >"$D/f" && chown $account: "$D/f"; }
count() { grep -c "> $1" "$S/log"; }
"#;

#[test]
fn rate_limited_file_is_read_over_several_connections() {
    for server in SLOW {
        run(
            120,
            &format!(
                "{FILE}\n{server}; file 24; mounts ''; cmp $D/f $M/f
                 [ $(count RETR) -ge 4 ] || fail \"$(count RETR) transfers\"
                 [ $(count USER) -le 8 ] || fail \"$(count USER) logins\"
                 unmounts"
            ),
        );
    }
}

#[test]
fn connections_live_on_after_transfers_that_were_broken_off() {
    for server in ["vsftpd", "proftpd", "pure_ftpd", "pyftpdlib"] {
        run(
            120,
            &format!(
                "{FILE}\n{server}; file 64; mounts ''
                 /usr/bin/python3 -ISc '
import os, random, sys
random.seed(3)
ours, theirs = (os.open(path, os.O_RDONLY) for path in sys.argv[1:])
for _ in range(60):
    at = random.randrange((64 << 20) - 4096)
    assert os.pread(ours, 4096, at) == os.pread(theirs, 4096, at), at' $M/f $D/f
                 [ $(count RETR) -ge 50 ] || fail \"$(count RETR) transfers\"
                 [ $(count USER) -le 8 ] || fail \"$(count USER) logins\"
                 unmounts"
            ),
        );
    }
}

/// A server that has no more connections says so in words of its own, and all that is done with two is right.
#[test]
fn two_connections_are_enough() {
    for server in [
        "vsftpd max_per_ip=2",
        "proftpd 'MaxClientsPerHost 2'",
        "pure_ftpd -C 2",
    ] {
        run(
            120,
            &format!(
                r#"{FILE}
                {server}; file 8
                mkdir -p $D/tree/{{1,2,3,4,5}}/{{a,b}} $S/new
                for n in {{1..60}}; do head -c $((n * 311)) /dev/urandom >$D/tree/$((n % 5 + 1))/a/$n; done
                for n in {{1..30}}; do head -c $((n * 977)) /dev/urandom >$S/new/$n; done
                chown -R $account: $D
                mounts ''
                ls -lR $M >/dev/null
                cat $M/f >$S/f & reader=$!
                cp -r $M/tree $S/tree; diff -r $D/tree $S/tree
                cp -r $S/new $M/new; diff -r $S/new $D/new
                wait $reader; cmp $S/f $D/f
                cp $M/f $M/g; cmp $D/f $D/g
                rm -r $M/tree; [ ! -e $D/tree ] || fail "the tree is still there"
                unmounts"#
            ),
        );
    }
}

/// Two mounts of one user, as of `/www` and `/data` in fstab, on a server that allows four sessions, or one. Both work, and
/// the first has its sessions again when the second has gone.
#[test]
fn two_mounts_share_the_sessions_of_a_server() {
    for (server, allowed) in [
        ("vsftpd max_per_ip=4", 4),
        ("proftpd 'MaxClientsPerUser 4'", 4),
        ("pure_ftpd -C 4", 4),
        ("vsftpd max_per_ip=1", 1),
    ] {
        run(
            120,
            &format!(
                r#"
                {server}; mkdir $D/tree $S/second $S/new
                for n in {{1..40}}; do head -c $((n * 311)) /dev/urandom >$D/tree/$n; cp $D/tree/$n $S/new/$n; done
                chown -R $account: $D
                mounts ''
                # As many sessions as there are.
                for n in {{1..8}}; do cat $M/tree/$n* >/dev/null & readers="${{readers:-}} $!"; done; wait $readers
                "$FTPFS" "$URL" $S/second -f -d -o tls=off >$S/log-second 2>&1 & second=$!
                soon mountpoint -q $S/second
                for n in {{1..2}}; do
                    cp -r $S/second/tree $S/copy$n & one=$!
                    cp -r $S/new $M/new$n & other=$!
                    wait $one; wait $other
                    diff -r $D/tree $S/copy$n; diff -r $S/new $D/new$n
                done
                if [ {allowed} -gt 1 ]; then
                    says $S/log 'another mount of this server asks for a session'
                    [ $(grep -c '< 230' $S/log-second) -ge 2 ] || fail "the second mount has one session"
                    umount $S/second; wait $second
                    soon grep -q 'has closed sessions; 8 connections again' $S/log
                    for n in {{1..8}}; do cp $S/new/$n* $M/new1 & writers="${{writers:-}} $!"; done; wait $writers
                else
                    umount $S/second; wait $second
                fi
                unmounts"#
            ),
        );
    }
}

/// The only session is another mount's, which uses it: callers that wait for it try once or twice a second together.
#[test]
fn callers_without_a_session_do_not_flood_a_full_server() {
    run(
        120,
        &format!(
            r#"
            {FILE}
            vsftpd max_per_ip=1 local_max_rate=500000; file 3; mkdir $D/a $D/b $S/second; chown -R $account: $D
            mounts ''
            ls $M >/dev/null
            "$FTPFS" "$URL" $S/second -f -d -o tls=off >$S/log-second 2>&1 & second=$!
            soon mountpoint -q $S/second
            cmp $S/second/f $D/f & reader=$!
            sleep 1
            ls $M/a >/dev/null & one=$!
            ls $M/b >/dev/null & other=$!
            wait $reader; wait $one; wait $other
            # The server answers 421 to each attempt.
            [ $(grep -c '< 421' $S/log) -le 30 ] || fail "$(grep -c '< 421' $S/log) attempts"
            umount $S/second; wait $second
            unmounts"#
        ),
    );
}
