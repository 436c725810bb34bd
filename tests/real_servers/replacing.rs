//! Servers that never replace a file, though they confirm that they did: each test has a network of its own.
//!
//! Needs root and `/dev/fuse`; `cargo test --test real_servers replacing::`.

use crate::namespace::run;

/// Pure-FTPd with `-r` stores `f.1` where `f` is there, and answers 226.
#[test]
fn pure_ftpd_with_autorename_gets_what_was_closed() {
    for options in ["", "writeback"] {
        run(
            60,
            &format!(
                r#"pure_ftpd -r
                printf 'old text' >$D/f; touch -d '1 hour ago' $D/f; chown $account: $D/f
                mounts '{options}'
                is "$(cat $M/f)" 'old text'
                printf 'new text' >$M/f; sync $M/f
                is "$(cat $D/f)" 'new text'
                printf 'text 333' >$M/f; sync $M/f
                is "$(cat $D/f)" 'text 333'
                unmounts
                is "$(cat $D/f)" 'text 333'
                is "$(find $D -name 'f.[2-9]')" ''"#
            ),
        );
    }
}
