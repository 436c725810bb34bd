//! Servers that speak dialects of FTP: those that have no more than RFC 959, BSD's ftpd and its kin, those that answer
//! in an order of their own. None of that costs a file.

use crate::mount::{Mount, pattern};
use crate::scripted::{Act, Gate, Script, Server};

/// What people do with files, and the bytes that they find.
const WORK: &str = "
mkdir d; echo one > d/f; [ \"$(cat d/f)\" = one ]
echo two >> d/f; [ \"$(cat d/f)\" = $'one\\ntwo' ]
head -c 300000 /dev/zero > big; printf x | dd of=big bs=1 seek=150000 conv=notrunc status=none
[ $(wc -c < big) = 300000 ]; [ $(tr -d '\\0' < big) = x ]
truncate -s 10 big; [ $(stat -c %s big) = 10 ]
set -C; echo new > g; ! echo again > g; set +C
mv g d/f; [ \"$(cat d/f)\" = new ]; mv d/f e; [ \"$(ls d)\" = '' ]
[ ! -e none ]; ! cat none; rm e big; rmdir d; [ \"$(ls)\" = '' ]";

#[test]
fn a_server_of_rfc_959_alone_takes_files_and_gives_them() {
    let later = [
        "AUTH", "FEAT", "OPTS", "EPSV", "EPRT", "MLSD", "MLST", "SIZE", "MDTM", "MDTM-SET", "MFMT",
        "SITE",
    ];
    for options in ["", "writeback", "nopipeline"] {
        let server = Script::new().without(&later).keeps_names().start();
        let mut mount = Mount::with(&server, options);
        mount.sh(WORK);
        // Attributes older than the cache of the kernel and of the mount are asked for again.
        mount.sh("echo one > f; sleep 6; [ \"$(cat f)\" = one ]; echo two >> f; sync f");
        assert_eq!(mount.sh("cat f"), "one\ntwo\n");
        mount.unmount();
        let expected = b"one\ntwo\n".to_vec();
        assert_eq!(server.tree().bytes("/f"), Some(&expected[..]));
    }
}

/// It is never listed, and no command asks for it alone: the server's word to `STOR` counts.
#[test]
fn stored_dot_file_that_listings_lack_is_there() {
    let lacks = ["MLSD", "MLST", "SIZE", "MDTM"];
    for options in ["", "atomic"] {
        let server = Script::new().without(&lacks).hides(".dot").start();
        let mount = Mount::with(&server, options);
        mount.sh("echo one > .dot; cat .dot; echo x > y; ls; sleep 6; ls");
        assert_eq!(mount.sh("cat .dot"), "one\n", "{options}");
        assert_eq!(
            mount.sh("stat -c %s .dot; mv .dot .other; ls -A"),
            "4\n.other\ny\n"
        );
        // Another client has removed it.
        server.tree().remove("/.other");
        mount.sh("sleep 6");
        assert_eq!(mount.error("open('.other').read()"), "ENOENT");
    }
}

#[test]
fn path_without_size_reply_may_be_absent() {
    for (words, others) in [
        // BSD's ftpd and its kin.
        ("550 not a plain file.", &["MLSD", "MLST"][..]),
        // nodeftpd.
        ("450 Failed to get size", &["MLSD", "MLST", "MDTM"]),
        // uftpd, whose MDTM says likewise of what is not there.
        (
            "550 No such file, or argument is a directory.",
            &["MLSD", "MLST", "MDTM"],
        ),
    ] {
        let server = Script::new().without(others).no_size(words).start();
        let mount = Mount::of(&server);
        // What is neither to be emptied nor to be new is asked for before it is made.
        mount.sh("ls; echo mine >> new; mv new old; echo more >> old");
        assert_eq!(server.tree().bytes("/old"), Some(&b"mine\nmore\n"[..]));
    }
}

/// The server takes the time in `MDTM time name` for a part of the name.
#[test]
fn mdtm_taken_for_a_name_sets_no_time_and_stores_all() {
    let words = "550 20010909014640 /f: No such file or directory";
    {
        let server = Script::new().without(&["MFMT", "SITE"]).start();
        server.on("MDTM 20010909014640", Act::Reply(words));
        server.tree().put("/f", pattern(10));
        let mount = Mount::with(&server, "attributes=strict");
        assert_eq!(mount.error("os.utime('f', (10**9, 10**9))"), "EPERM");
        let tried = server.count("MDTM 20010909014640");
        // Now it is known: who asks for it is told then, and what is closed is stored.
        let said = mount.error_with(
            "f = open('g', 'wb'); f.write(b'content'); f.flush()",
            "os.utime(f.fileno(), (10**9, 10**9))",
        );
        assert_eq!(said, "EPERM");
        assert_eq!(server.tree().bytes("/g"), Some(&b"content"[..]));
        mount.sh("cp -p f h 2> $S/said || true; cmp f h");
        assert_eq!(server.count("MDTM 20010909014640"), tried);
    }
}

#[test]
fn server_that_reorders_replies_gets_one_command_at_a_time() {
    let server = Server::start();
    let mount = Mount::of(&server);
    server.once(
        "MKD",
        Act::Raw(b"502 What is SITE?\r\n257 \"/d\" made\r\n".to_vec()),
    );
    server.once("SITE", Act::Raw(Vec::new()));
    mount.sh("mkdir d; mkdir d/e; echo content > d/f; [ \"$(cat d/f)\" = content ]");
    assert!(server.tree().node("/d/e").is_some());
    // Once may be an accident.
    server.once(
        "MKD",
        Act::Raw(b"502 What is SITE?\r\n257 \"/x\" made\r\n".to_vec()),
    );
    server.once("SITE", Act::Raw(Vec::new()));
    mount.sh("mkdir x");
    let said = mount.log();
    assert!(said.contains("pipelining disabled"), "{said}");
    server.once("MKD", Act::Raw(Vec::new()));
    let mark = server.mark();
    let _waits = mount.start("mkdir g");
    server.await_count("MKD /g", 1);
    mount.sh("sleep 0.3");
    assert_eq!(server.since(mark, &["SITE"]), [""; 0]);
}

#[test]
fn refused_transfer_leaves_no_passive_port_waiting() {
    let server = Script::new().without(&["APPE"]).awaits().start();
    server.tree().put("/refused", pattern(100));
    let mount = Mount::with(&server, "timeout=5");
    // After these, commands pipelined after an upload are known to be answered in order.
    mount.sh("echo one > first; echo two > second");
    mount.sh("set -C; echo mine > new; set +C; cat first second new");
    server.on("RETR /refused", Act::Reply("550 Permission denied"));
    assert_eq!(mount.error("open('refused').read()"), "EACCES");
    assert_eq!(
        mount.sh("ls; cat new"),
        "first\nnew\nrefused\nsecond\nmine\n"
    );
}

/// They are not known to be so before the first close.
#[test]
fn unsettable_attributes_fail_no_close_unless_strict() {
    let put = "
f = open('f', 'wb'); f.write(b'content'); f.flush()
os.fchmod(f.fileno(), 0o640); os.utime(f.fileno(), (10**9, 10**9))";
    for (options, said) in [
        ("", "None"),
        ("lenient", "None"),
        ("attributes=ignore", "None"),
        ("attributes=strict", "EPERM"),
    ] {
        let server = Script::new().without(&["MDTM-SET", "MFMT", "SITE"]).start();
        let mut mount = Mount::with(&server, options);
        assert_eq!(mount.error_with(put, "f.close()"), said, "{options}");
        mount.unmount();
        assert_eq!(server.tree().bytes("/f"), Some(&b"content"[..]));
    }
}

/// Some servers list the directory that was the current one when the data connection was opened.
#[test]
fn list_of_the_directory_at_pasv_time_is_detected() {
    // Of one connection, so that its data connection is of the listing before.
    const OPTIONS: &str = "cache_timeout=1,max_conns=1";
    for without in [&["MLSD", "MLST", "STAT"][..], &[]] {
        let server = Script::new().without(without).lists_left().start();
        for name in ["/top", "/a/one", "/a/b/two", "/c/three", "/c/d/four"] {
            server.tree().put(name, "content");
        }
        let looks = "ls; sleep 1.1; ls; sleep 1.1; ls c; ls c/d; ls; ls a/b; sleep 1.1; ls c";
        let mut mount = Mount::with(&server, OPTIONS);
        for round in 0..3 {
            let listed = mount.sh(looks);
            let all = "a\nc\ntop\na\nc\ntop\nd\nthree\nfour\na\nc\ntop\ntwo\nd\nthree\n";
            assert_eq!(listed, all, "{without:?} {round}");
            mount.unmount();
            mount.again_with(&server, OPTIONS);
        }
    }
}

/// The same where the mount is of the directory after the login, whose path no command has named.
#[test]
fn list_at_pasv_time_is_detected_below_a_home() {
    for without in [&["MLSD", "MLST", "STAT"][..], &[]] {
        let server = Script::new()
            .without(without)
            .lists_left()
            .home("/a")
            .start();
        for name in ["/a/top", "/a/p/in-p", "/a/q/in-q", "/other"] {
            server.tree().put(name, "content");
        }
        let mut mount = Mount::with(&server, "cache_timeout=1,max_conns=1");
        for _ in 0..2 {
            let listed = mount.sh("ls; sleep 1.1; ls p; ls q; sleep 1.1; ls; ls q");
            assert_eq!(
                listed, "p\nq\ntop\nin-p\nin-q\np\nq\ntop\nin-q\n",
                "{without:?}"
            );
            mount.unmount();
            mount.again_with(&server, "cache_timeout=1,max_conns=1");
        }
    }
}

/// Directories with the same names prove nothing, whichever of them is listed.
#[test]
fn directories_that_look_alike_prove_nothing_of_the_server() {
    const OPTIONS: &str = "cache_timeout=1,max_conns=1";
    for without in [&["MLSD", "MLST", "STAT"][..], &[]] {
        let server = Script::new().without(without).lists_left().start();
        server.tree().put("/d/d/d/end", "content");
        let mut mount = Mount::with(&server, OPTIONS);
        for round in 0..3 {
            for _ in 0..3 {
                let listed = mount.sh("ls d; ls d/d; ls d/d/d; sleep 1.1");
                assert_eq!(listed, "d\nd\nend\n", "{without:?} {round}");
            }
            mount.unmount();
            mount.again_with(&server, OPTIONS);
        }
    }
}

/// What this mount itself adds to a directory after its listing does not make another directory of it.
#[test]
fn file_added_between_listings_proves_nothing_of_the_server() {
    for without in [&["MLSD", "MLST", "STAT"][..], &[]] {
        let server = Script::new().without(without).lists_left().start();
        server.tree().put("/a/one", "content");
        server.tree().put("/b/two", "content");
        let mount = Mount::with(&server, "max_conns=1");
        let listed = mount.sh("ls; ls a; echo new > a/new; ls b; ls a");
        assert_eq!(listed, "a\nb\none\ntwo\nnew\none\n", "{without:?}");
    }
}

/// The check costs nothing where the directories hold other names.
#[test]
fn server_that_lists_where_it_is_is_known_after_one_listing() {
    let server = Server::start();
    for name in ["/top", "/a/one", "/c/two"] {
        server.tree().put(name, "content");
    }
    let mount = Mount::with(&server, "max_conns=1");
    mount.sh("ls; ls a; ls c");
    assert_eq!(server.count("MLSD"), 3);
    assert!(mount.log().contains("CWD entered"), "{}", mount.log());
}

#[test]
fn where_mlst_is_offered_and_does_not_answer_listings_tell() {
    for words in [
        // uftpd, where a data connection is ready.
        "125 Data connection already open; transfer starting.",
        "500 What is that?",
        "502 Command not implemented",
    ] {
        let server = Server::start();
        server.tree().put("/d/f", "content");
        server.on("MLST", Act::Reply(words));
        let mut mount = Mount::with(&server, "timeout=5");
        let uses = "[ \"$(cat d/f)\" = content ]; echo new > d/g; mv d/g d/h; echo more >> d/h
            [ ! -e d/g ]; [ $(stat -c %s d/h) = 9 ]; mkdir d/e; rmdir d/e; rm d/h; ls -l d; stat .";
        mount.sh(uses);
        assert_eq!(server.tree().paths(), ["/d", "/d/f"], "{words}");
        assert!(
            server.count("MLST") <= 2,
            "{words}: {}",
            server.count("MLST")
        );
        assert!(server.count("MLSD") > 0, "{words}");
        // What two mounts saw is known in the next one.
        mount.unmount();
        mount.again(&server);
        mount.sh(uses);
        mount.unmount();
        let asked = server.count("MLST");
        mount.again(&server);
        mount.sh(uses);
        assert_eq!(server.count("MLST"), asked, "{words}");
        assert_eq!(mount.lost().len(), 0, "{words}");
    }
}

#[test]
fn where_nothing_can_be_renamed_files_are_copied() {
    let server = Script::new().without(&["RNFR"]).start();
    for (path, content) in [("/f", "content"), ("/g", "other"), ("/d/e/h", "deep")] {
        server.tree().put(path, content);
    }
    let mut mount = Mount::with(&server, "mfsymlinks");
    mount.sh("chmod 640 f; touch -d '2001-02-03 04:05:06.5' f; mv f new; mv new g; ln -s g link; mv link moved_link
        printf a >h; exec 5>>h; mv h i; printf b >&5; exec 5>&-; mv i j");
    let looks = "[ \"$(stat -c '%a %.1Y' g)\" = '640 981173106.5' ]; [ \"$(cat g moved_link j)\" = contentcontentab ]
        [ \"$(ls | xargs)\" = 'd g j moved_link' ]";
    mount.sh(looks);
    assert_eq!(mount.error("os.rename('d', 'moved')"), "EXDEV");
    mount.sh("mv d moved; mv moved d; [ \"$(cat d/e/h)\" = deep ]");
    let expected = ["/d", "/d/e", "/d/e/h", "/g", "/j", "/moved_link"];
    assert_eq!(server.tree().paths(), expected);
    mount.unmount();
    mount.again_with(&server, "mfsymlinks");
    mount.sh(looks);
}

#[test]
fn where_nothing_can_be_renamed_a_refused_copy_leaves_the_old_name() {
    let server = Script::new().without(&["RNFR"]).start();
    server.tree().put("/f", "content");
    let mount = Mount::of(&server);
    server.on("STOR", Act::Reply("552 Quota exceeded."));
    assert_eq!(mount.error("os.rename('f', 'new')"), "EDQUOT");
    mount.sh("[ \"$(ls)\" = f ]; [ \"$(cat f)\" = content ]");
    assert_eq!(server.tree().paths(), ["/f"]);
}

#[test]
fn where_nothing_can_be_renamed_a_file_is_not_copied_to_itself() {
    let server = Script::new().without(&["RNFR"]).folds_case().start();
    server.tree().put("/f", "content");
    let mount = Mount::of(&server);
    assert_eq!(mount.error("os.rename('f', 'F')"), "ENOTSUP");
    assert_eq!(server.tree().bytes("/f"), Some(&b"content"[..]));
}

#[test]
fn where_nothing_can_be_renamed_remote_changes_are_not_removed() {
    let server = Script::new().without(&["RNFR"]).start();
    server.tree().put("/f", "content");
    let mount = Mount::of(&server);
    // While the copy is stored, another client changes the file.
    let gate = Gate::default();
    server.once("STOR /new", Act::Until(gate.clone()));
    let mut mover =
        mount.start("python3 -c 'import os; os.rename(\"f\", \"new\")' 2>&1 || echo failed");
    server.await_count("STOR /new", 1);
    server.tree().put("/f", "their newer content");
    gate.open();
    assert!(mover.end().contains("failed"));
    assert_eq!(server.tree().bytes("/f"), Some(&b"their newer content"[..]));
}

/// Both names were one file on the server, which no listing shows.
#[test]
fn where_nothing_can_be_renamed_a_copy_that_goes_with_the_old_name_is_not_lost() {
    for is_refused in [false, true] {
        let server = Script::new().without(&["RNFR"]).start();
        server.tree().put("/f", "content");
        let mount = Mount::of(&server);
        let gate = Gate::default();
        server.once("DELE /f", Act::Hold(gate.clone()));
        let rename = "python3 -c 'import os; os.rename(\"f\", \"new\")' 2>&1 || echo failed";
        let mut mover = mount.start(rename);
        server.await_count("DELE /f", 1);
        server.tree().remove("/new");
        if is_refused {
            server.on("STOR", Act::Reply("552 Quota exceeded."));
        }
        gate.open();
        assert_eq!(mover.end().contains("failed"), is_refused);
        let stored = server.tree().bytes("/new").map(<[u8]>::to_vec);
        assert_eq!(stored.is_some(), !is_refused);
        let kept = mount.lost();
        assert_eq!(kept.len(), usize::from(is_refused), "{kept:?}");
        mount.sh("[ $(cat $S/cache/ftpfs/lost+found/new.*Z new 2>/dev/null) = content ]");
    }
}

#[test]
fn where_nothing_can_be_renamed_an_open_target_survives_a_failed_copy() {
    let server = Script::new().without(&["RNFR"]).start();
    server.tree().put("/f", "new content");
    server.tree().put("/target", "old content");
    let mount = Mount::of(&server);
    server.once("STOR /target", Act::Refuse(3, "552 Quota exceeded."));
    mount.python(
        "f = os.open('target', os.O_RDWR)
assert os.pread(f, 100, 0) == b'old content'
try:
    os.rename('f', 'target')
    assert False, 'it was said to be renamed'
except OSError:
    pass
os.fsync(f)
os.close(f)",
    );
    assert_eq!(server.tree().bytes("/target"), Some(&b"old content"[..]));
    assert_eq!(server.tree().bytes("/f"), Some(&b"new content"[..]));
}

#[test]
fn where_no_part_of_a_file_is_taken_all_of_it_is_stored() {
    for words in [
        // ProFTPD without AllowStoreRestart, its default.
        "451 f: Append/Restart not permitted, try again",
        "550 Permission denied.",
        "553 Could not create file.",
        // rclone's FTP server.
        "450 error during transfer: Function not implemented",
    ] {
        let server = Script::new().no_parts(words).start();
        let mut all = pattern(300_000);
        server.tree().put("/big", all.clone());
        server.tree().put("/log", "one\n");
        let mut mount = Mount::of(&server);
        mount.sh("echo two >> log; echo three >> log; sed -i s/one/1/ log; echo 4 >> log");
        mount.sh("printf PART | dd of=big bs=1 seek=150000 conv=notrunc status=none; sync big");
        mount.sh("truncate -s 300010 big; truncate -s 200000 big; echo end >> big");
        mount.sh("(echo a; sleep 1; echo b) > slow; (set -C; echo new > new); echo c >> new");
        all.truncate(200_000);
        all[150_000..150_004].copy_from_slice(b"PART");
        all.extend(b"end\n");
        let log = &b"1\ntwo\nthree\n4\n"[..];
        assert_eq!(server.tree().bytes("/log"), Some(log), "{words}");
        assert!(server.tree().bytes("/big") == Some(&all), "{words}");
        assert_eq!(server.tree().bytes("/slow"), Some(&b"a\nb\n"[..]));
        assert_eq!(server.tree().bytes("/new"), Some(&b"new\nc\n"[..]));
        assert_eq!(mount.lost().len(), 0, "{words}");
        // It is known then, and what two mounts saw in the next mount too.
        mount.unmount();
        assert!(
            server.count("APPE") < 4,
            "{words}: {}",
            server.count("APPE")
        );
        mount.again(&server);
        mount.sh("echo 5 >> log; echo 6 >> log; echo 7 >> log");
        mount.unmount();
        let asked = server.count("APPE");
        mount.again(&server);
        mount.sh("echo 8 >> log");
        assert_eq!(server.count("APPE"), asked, "{words}");
    }
}

#[test]
fn append_denied_for_one_file_is_allowed_for_others() {
    let server = Server::start();
    for name in ["/f", "/g", "/denied"] {
        server.tree().put(name, "one\n");
    }
    // By its path, and by its name after CWD.
    for verb in ["APPE /denied", "STOR /denied", "APPE denied", "STOR denied"] {
        server.on(verb, Act::Reply("550 Permission denied."));
    }
    let mount = Mount::of(&server);
    let denied = "f = open('denied', 'ab'); f.write(b'two\\n')";
    assert_eq!(mount.error_with(denied, "f.close()"), "EACCES");
    mount.sh("echo two >> f");
    assert_eq!(mount.error_with(denied, "f.close()"), "EACCES");
    mount.sh("echo two >> g");
    assert_eq!(server.count("APPE /f") + server.count("APPE /g"), 2);
    assert_eq!(server.tree().bytes("/denied"), Some(&b"one\n"[..]));
}

/// ProFTPD joins and splits the words of `SITE CHMOD` again.
#[test]
fn chmod_of_a_re_split_path_changes_no_other_file() {
    let server = Server::start();
    for name in ["/a b", "/a  b", "/c  d", "/e\tf"] {
        server.tree().put(name, "content");
    }
    // So does ProFTPD, which looks for "/e f".
    let absent = Act::Reply("550 /e f: No such file or directory");
    server.on("SITE CHMOD 600 /e\tf", absent);
    let mount = Mount::with(&server, "attributes=strict");
    assert_eq!(mount.error("os.chmod('a  b', 0o600)"), "EPERM");
    assert_eq!(server.count("SITE CHMOD"), 0);
    assert_eq!(mount.error("os.chmod('e\\tf', 0o600)"), "EPERM");
    mount.sh("chmod 600 'c  d' 'a b'; echo new > 'g  h'; chmod 640 'g  h'");
    assert_eq!(server.tree().bytes("/g  h"), Some(&b"new\n"[..]));
}

/// Pure-FTPd with `-R`, as a much used container image runs it.
#[test]
fn bits_that_can_not_be_set_and_are_there_are_no_error() {
    let server = Server::start();
    server.tree().put("/f", "old\n");
    let refused = Act::Reply("550 Could not change perms");
    server.on("SITE CHMOD", refused);
    let mount = Mount::with(&server, "attributes=strict");
    mount.sh("sed -i s/old/new/ f; chmod 644 f; cp -p f g; mkdir d; chmod 755 d");
    assert_eq!(server.tree().bytes("/g"), Some(&b"new\n"[..]));
    assert_eq!(mount.error("os.chmod('f', 0o600)"), "EPERM");
    let put = "f = open('h', 'wb'); f.write(b'content'); f.flush(); os.fchmod(f.fileno(), 0o600)";
    assert_eq!(mount.error_with(put, "f.close()"), "EPERM");
    assert_eq!(mount.sh("stat -c %a f h"), "644\n644\n");
}

#[test]
fn interrupted_stream_without_resume_is_queried_once() {
    let words = "451 f: Append/Restart not permitted, try again";
    let server = Script::new().no_parts(words).start();
    let mount = Mount::with(&server, "spool_size=32M");
    std::fs::write(mount.path("expected"), pattern(60_000_000)).unwrap();
    // The first one closes it, and the second one goes on.
    mount.sh("(head -c 20000000; cat) < $S/expected > f");
    assert!(server.tree().bytes("/f") == Some(&pattern(60_000_000)));
    assert!(server.count("APPE") <= 2, "{}", server.count("APPE"));
}
