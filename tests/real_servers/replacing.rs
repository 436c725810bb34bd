//! Servers that never replace a file, though they confirm that they did, and drop boxes: each test has a network of its own.
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

/// ProFTPD's default refuses STOR over a file, and RNTO.
#[test]
fn proftpd_that_allows_no_overwriting_gets_what_was_closed() {
    for options in ["", "writeback", "atomic"] {
        run(
            60,
            &format!(
                r#"overwrite=off proftpd
                printf 'old text' >$D/f; printf 'log\n' >$D/log; cp $D/f $D/g; chown $account: $D/*
                mounts '{options}'
                printf 'new text' >$M/f; sync $M/f
                is "$(cat $D/f)" 'new text'
                printf 'text 333' >$M/f; sync $M/f
                is "$(cat $D/f)" 'text 333'
                echo line >>$M/log; sync $M/log
                is "$(cat $D/log)" $'log\nline'
                mv -f $M/f $M/g
                is "$(cat $M/g)" 'text 333'
                printf 'X' | dd of=$M/g conv=notrunc status=none; sync $M/g
                unmounts
                is "$(cat $D/g)" 'Xext 333'
                is "$(ls -A $D)" $'g\nlog\nthere'"#
            ),
        );
    }
}

/// An upload drop box: what was stored can be neither listed nor read.
#[test]
fn proftpd_with_a_write_only_directory_takes_files() {
    run(
        60,
        r#"proftpd "<Directory $D>" '<Limit READ DIRS>' DenyAll '</Limit>' '<Limit CWD XCWD PWD XPWD CDUP>' AllowAll '</Limit>' '</Directory>'
        mounts ''
        printf 'one' >$S/one; printf 'two' >$S/two
        cp $S/one $S/two $M/
        is "$(cat $D/one $D/two)" 'onetwo'
        unmounts
        is "$(ls -A $D | xargs)" 'one there two'"#,
    );
}
