//! Writing that goes well: what arrives, and by how many commands.

use crate::mount::{Mount, pattern, soon};
use crate::scripted::{Act, Script, Server};

const STORES: [&str; 2] = ["STOR", "APPE"];

#[test]
fn children_sharing_a_descriptor_cost_one_stor_and_one_appe() {
    let server = Server::start();
    let mount = Mount::of(&server);
    mount.sh("(echo a; /bin/echo b; /bin/echo c) > f");
    assert_eq!(server.tree().bytes("/f"), Some(&b"a\nb\nc\n"[..]));
    assert_eq!(server.since(0, &STORES), ["STOR /f", "APPE /f"]);
}

#[test]
fn mapped_writes_after_close_arrive() {
    let server = Server::start();
    server.tree().put("/f", pattern(10_000));
    let mount = Mount::of(&server);
    mount.python(
        "f = open('f', 'r+b'); m = mmap.mmap(f.fileno(), 0); f.close()
m[5000:5003] = b'new'; m.close()",
    );
    let mut expected = pattern(10_000);
    expected[5000..5003].copy_from_slice(b"new");
    soon("the mapped write arrives", || {
        server.tree().bytes("/f") == Some(&expected)
    });
    assert_eq!(server.since(0, &STORES), ["STOR /f"]);
}

#[test]
fn an_empty_file_is_made_however_it_is_made() {
    let server = Server::start();
    let mount = Mount::of(&server);
    for (name, script) in [
        ("/colon", ": > colon"),
        ("/touched", "touch touched"),
        ("/python", "python3 -c \"open('python', 'w').close()\""),
        ("/excl", "set -C; : > excl"),
    ] {
        mount.sh(script);
        soon(name, || server.tree().bytes(name) == Some(b""));
        // APPE harms nothing where the name is there after all.
        let verb = if name == "/excl" { "APPE" } else { "STOR" };
        assert_eq!(server.count(&format!("{verb} {name}")), 1);
    }
}

#[test]
fn redirection_over_a_file_replaces_its_content() {
    let server = Server::start();
    server.tree().put("/f", pattern(100_000));
    server.tree().put("/emptied", pattern(100_000));
    let mount = Mount::of(&server);
    mount.sh("ls -l; echo new > f; : > emptied; [ \"$(cat f)\" = new ]");
    assert_eq!(server.tree().bytes("/f"), Some(&b"new\n"[..]));
    soon("it is empty", || {
        server.tree().bytes("/emptied") == Some(b"")
    });
    assert_eq!(server.since(0, &STORES), ["STOR /f", "STOR /emptied"]);
}

#[test]
fn append_sends_only_the_new_bytes() {
    let server = Server::start();
    server.tree().put("/f", pattern(1_000_000));
    let mount = Mount::of(&server);
    mount.sh("echo more >> f");
    assert_eq!(
        server.tree().bytes("/f"),
        Some(&[&pattern(1_000_000)[..], b"more\n"].concat()[..])
    );
    // The first append is tried on a scratch file.
    let sent = server.since(0, &["STOR", "APPE", "RETR"]);
    assert!(
        sent[..3]
            .iter()
            .all(|line| line.contains(" /.ftpfs-append-")),
        "{sent:?}"
    );
    assert_eq!(sent[3..], ["APPE /f"]);
    mount.sh("echo more >> f");
    assert_eq!(server.since(0, &["APPE /f"]).len(), 2);
    assert_eq!(server.since(0, &["STOR", "APPE", "RETR"]).len(), 5);
}

#[test]
fn a_server_without_appe_gets_appended_files_whole() {
    let server = Script::new().without(&["APPE"]).start();
    server.tree().put("/f", "old\n");
    let mount = Mount::of(&server);
    mount.sh("echo more >> f; echo again >> f");
    assert_eq!(server.tree().bytes("/f"), Some(&b"old\nmore\nagain\n"[..]));
    // On a scratch file; one refusal may be an odd one.
    assert_eq!(server.count("APPE"), 2);
    assert_eq!(server.since(0, &["STOR /f"]).len(), 2);
}

#[test]
fn mode_and_time_of_a_dirty_file_are_set_after_its_upload() {
    let server = Server::start();
    let mount = Mount::of(&server);
    let mark = server.mark();
    mount.python(
        "f = os.open('f', os.O_WRONLY | os.O_CREAT, 0o644); os.write(f, b'x' * 100000)
os.fchmod(f, 0o600); os.utime(f, (1000000000, 1000000000)); os.close(f)
s = os.stat('f'); assert (s.st_mode & 0o7777, s.st_mtime, s.st_size) == (0o600, 1000000000, 100000), s",
    );
    let node = server.tree().node("/f").cloned().expect("it is there");
    assert_eq!((node.mode, node.modified), (0o600, 1_000_000_000));
    let changes = server.since(mark, &["STOR", "APPE", "SITE", "MFMT"]);
    assert_eq!(
        changes,
        ["STOR /f", "SITE CHMOD 600 /f", "MFMT 20010909014640 /f"]
    );
}

#[test]
fn file_created_read_only_arrives_read_only_with_content() {
    let server = Server::start();
    let mount = Mount::of(&server);
    mount.python(
        "f = os.open('f', os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444); os.write(f, b'x' * 300000); os.fsync(f)
os.write(f, b'end'); os.close(f)",
    );
    soon("the last close sets the mode", || {
        server
            .tree()
            .node("/f")
            .is_some_and(|node| node.mode == 0o444)
    });
    assert_eq!(server.tree().bytes("/f").map(<[u8]>::len), Some(300_003));
}

#[test]
fn server_without_chmod_and_mfmt_takes_copies() {
    let without = ["SITE", "MFMT", "MDTM-SET"];
    let server = Script::new().without(&without).start();
    let mount = Mount::of(&server);
    mount.sh("echo a > $S/a; chmod 755 $S/a; touch -d 2001-01-01 $S/a; cp $S/a b; cmp $S/a b");
    mount.sh("cp -p $S/a c");
    assert_eq!(
        mount.sh("stat -c '%a %y' c"),
        mount.sh("stat -c '%a %y' $S/a")
    );
    assert_eq!(server.tree().bytes("/b"), Some(&b"a\n"[..]));
    assert_eq!(server.tree().bytes("/c"), Some(&b"a\n"[..]));
}

#[test]
fn sigterm_stores_files_being_written() {
    let server = Server::start();
    let mut mount = Mount::of(&server);
    let writer = mount.start(
        "exec > f; echo first; sleep 0.2; head -c 3000000 /dev/zero; echo written >&2; exec sleep 100",
    );
    writer.await_words("written");
    mount.terminate();
    soon("the file arrives", || {
        let tree = server.tree();
        tree.bytes("/f")
            .is_some_and(|bytes| bytes.len() == 3_000_006)
    });
    drop(writer);
    mount.ended();
    assert_eq!(server.tree().bytes("/f").map(<[u8]>::len), Some(3_000_006));
    assert!(mount.lost().is_empty());
}

/// Some servers refuse paths and take names in the directory that CWD entered.
#[test]
fn where_paths_are_refused_names_are_sent_after_cwd() {
    for without in [&[][..], &["MLSD", "MLST"]] {
        let server = Script::new().without(without).names_only().start();
        server.tree().put("/d/old", "old");
        server.tree().put("/e/other", "other");
        let mut mount = Mount::of(&server);
        let uses = "cp d/old d/new; cmp d/old d/new; echo more >> d/new; [ \"$(cat d/new)\" = oldmore ]
            mkdir d/sub; mv d/new d/sub/moved; mv d/sub/moved d/sub/again; [ \"$(cat d/sub/again)\" = oldmore ]
            set -C; echo excl > e/excl; set +C; rm d/sub/again e/excl; rmdir d/sub";
        mount.sh(uses);
        let paths = ["/d", "/d/old", "/e", "/e/other"];
        assert_eq!(server.tree().paths(), paths, "{without:?}");
        // Refusals that two mounts saw are known to the next one.
        mount.unmount();
        mount.again(&server);
        mount.sh(uses);
        mount.unmount();
        mount.again(&server);
        let mark = server.mark();
        mount.sh(uses);
        assert_eq!(server.tree().paths(), paths, "{without:?}");
        let changes = server.since(mark, &["STOR", "APPE", "MKD", "DELE", "RMD", "RNTO"]);
        let with_path = changes.iter().filter(|line| line.contains('/'));
        assert_eq!(with_path.count(), 0, "{changes:?}");
    }
}

/// A refused directory is no reason to send the name: it would be of another one.
#[test]
fn name_is_not_sent_where_cwd_is_refused() {
    let server = Script::new().names_only().start();
    server.tree().put("/d/f", "x");
    server.tree().put("/e/f", "x");
    let mount = Mount::of(&server);
    // No connection may be in that directory already.
    server.on("CWD /d", Act::Reply("550 Permission denied"));
    mount.sh("rm e/f; stat d/f");
    assert_eq!(mount.error("os.unlink('d/f')"), "EACCES");
    assert_eq!(server.since(0, &["DELE f"]).len(), 1);
    assert_eq!(server.tree().paths(), ["/d", "/d/f", "/e"]);
}

/// A server's working directory follows a rename, and what comes between REST and its STOR ends the REST.
#[test]
fn name_is_sent_after_a_cwd_of_its_own_and_rest_before_its_stor() {
    let server = Script::new().names_only().start();
    server.tree().put("/d/large", vec![b'x'; 3_000_000]);
    let mount = Mount::with(&server, "max_conns=1");
    mount.sh("for n in 1 2 3 4; do echo $n > d/f$n; done; mv d/f1 d/g; mv d/f2 d/h; rm d/[fgh]*");
    mount.sh("head -c 3000 /dev/zero | dd of=d/large bs=1 seek=900000 conv=notrunc status=none");
    let commands = server.commands_since(0);
    let of_first: Vec<&str> = commands.iter().map(|(_, line)| line.as_str()).collect();
    for (at, line) in of_first.iter().enumerate() {
        let next = of_first.get(at + 1).copied().unwrap_or_default();
        let before = at.checked_sub(1).and_then(|at| of_first.get(at).copied());
        if line.starts_with("RNTO ") {
            let is_rnfr = before.is_some_and(|before| before.starts_with("RNFR "));
            assert!(is_rnfr, "{of_first:?}");
        }
        if line.starts_with("DELE f") {
            assert_eq!(before, Some("CWD /d"), "{of_first:?}");
        }
        if line.starts_with("REST ") && *line != "REST 0" {
            assert!(!next.starts_with("CWD"), "{of_first:?}");
        }
    }
    let tree = server.tree();
    let bytes = tree.bytes("/d/large").unwrap();
    assert_eq!(bytes.len(), 3_000_000);
    assert!(bytes[900_000..903_000].iter().all(|&byte| byte == 0));
}

/// Where permission is denied, names are tried a few times at most, and never where a path was taken.
#[test]
fn denied_paths_are_not_tried_by_name_for_ever() {
    let server = Server::start();
    server.tree().put("/d/f", "x");
    server.on("DELE", Act::Reply("550 Permission denied"));
    let mount = Mount::of(&server);
    mount.sh("for n in 1 2 3 4 5 6; do rm d/f 2>/dev/null && exit 1; done; true");
    assert_eq!(server.count("DELE f"), 3);
    server.behave();
    mount.sh("mkdir g");
    server.on("RMD", Act::Reply("550 Permission denied"));
    assert_eq!(mount.error("os.rmdir('g')"), "EACCES");
    assert_eq!(server.count("RMD g"), 0);
}
