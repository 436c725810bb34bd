//! Reading from real servers that limit each connection, and in no order: each test has a network of its own.
//!
//! Needs root and `/dev/fuse`; `cargo test --test rates`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/limited.rs"]
mod limited;
#[path = "support/namespace.rs"]
mod namespace;

use namespace::run;

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
fn what_is_slow_on_each_connection_comes_over_several() {
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
