//! Servers elsewhere: in another zone, and with names in another charset. Each test has a network of its own.
//!
//! Needs root and `/dev/fuse`; `cargo test --test real_servers locales::`.

use crate::namespace::run;

/// In the winter and the summer of a zone that has both, the last half year's among them, which LIST writes
/// otherwise; then times that are set, and what others set, each seen on both sides.
const TIMES: &str = "
    same_times() {
        local name
        for name in there/old there/winter there/summer there/recent there/now; do
            is \"$(stat -c %Y \"$M/$name\")\" \"$(stat -c %Y \"$D/$name\")\"
        done
    }
    touch -d '2001-02-03 04:05:06' $D/there/old; touch -d '2021-01-15 23:30:10' $D/there/winter
    touch -d '2021-07-15 00:15:20' $D/there/summer; touch -d '-70 days' $D/there/recent; touch $D/there/now
    chown -R $account: $D/there";

#[test]
fn vsftpd_in_another_time_zone_shows_right_times() {
    run(
        90,
        &format!(
            "export TZ=Asia/Kolkata; vsftpd; export TZ=UTC; {TIMES}
             mounts ''; ls -l $M/there; same_times
             touch -d '2022-03-04 05:06:07' $M/there/old; same_times; is $(stat -c %Y $D/there/old) 1646370367; unmounts
             mounts ''; same_times; unmounts"
        ),
    );
}

/// With `use_localtime` vsftpd writes its own zone's times into listings, and takes and gives them by MDTM too: all
/// at the offset of today, also those of another season.
#[test]
fn vsftpd_with_local_times_shows_right_times() {
    for zone in ["Asia/Kolkata", "America/New_York"] {
        run(
            90,
            &format!(
                "export TZ={zone}; vsftpd use_localtime=YES; zone=$(date +%:z); export TZ=UTC; {TIMES}
                 mounts timezone=$zone; ls -l $M/there; same_times
                 touch -d '2022-03-04 05:06:07' $M/there/old; same_times; is $(stat -c %Y $D/there/old) 1646370367
                 echo new >$M/there/now; same_times; unmounts
                 mounts timezone=$zone; same_times; unmounts"
            ),
        );
    }
}

#[test]
fn proftpd_with_local_times_shows_right_times() {
    run(
        90,
        &format!(
            "export TZ=America/New_York; proftpd 'TimesGMT off'; export TZ=UTC; {TIMES}
             mounts ''; ls -l $M/there; same_times
             touch -d '2022-03-04 05:06:07' $M/there/old; same_times; unmounts"
        ),
    );
}

/// Cyrillic names on a server of the nineties; the byte 0x98 is no letter there, and comes through all the same.
#[test]
fn names_in_another_charset() {
    run(
        90,
        "vsftpd; mkdir $D/$'\\xcf\\xe0\\xef\\xea\\xe0'; echo theirs >$D/$'\\xcf\\xe0\\xef\\xea\\xe0'/$'\\xf4\\xe0\\xe9\\xeb'; echo odd >$D/$'odd \\x98'
         chown -R $account: $D; mounts codepage=cp1251
         is \"$(cat $M/Папка/файл)\" theirs; is \"$(ls $M | grep -c odd)\" 1; is \"$(cat $M/odd*)\" odd
         echo ours >$M/Папка/ещё; is \"$(cat $D/$'\\xcf\\xe0\\xef\\xea\\xe0'/$'\\xe5\\xf9\\xb8')\" ours
         mv $M/odd* $M/Папка/; is \"$(cat $D/$'\\xcf\\xe0\\xef\\xea\\xe0'/$'odd \\x98')\" odd
         mv $M/Папка $M/Каталог; is \"$(cat $D/$'\\xca\\xe0\\xf2\\xe0\\xeb\\xee\\xe3'/$'\\xf4\\xe0\\xe9\\xeb')\" theirs
         ! mkdir $M/日本 2>$S/why || fail 'a name that cp1251 has no letters for'; says $S/why 'Invalid or incomplete'
         ! { : >$M/日本; } 2>$S/why || fail 'a file by a name that cp1251 has no letters for'; says $S/why 'Invalid or incomplete'
         unmounts; mounts codepage=cp1251; is \"$(ls $M/Каталог | wc -l)\" 3; rm -r $M/Каталог; [ -z \"$(ls $D | grep -v there)\" ]; unmounts",
    );
}
