//! Writing that fails: who closes or syncs is told, what was written is kept, and nothing is sent later.

use crate::limited;
use crate::mount::{Mount, SCRIPT_LIMIT, pattern, soon};
use crate::scripted::{Act, Gate, Script, Server};

/// `put(name, how)` writes 100,000 bytes and brings them to the server by `how`.
const PUT: &str = "
def put(name, how):
    f = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(f, b'x' * 100000)
    how(f)
    if how != os.close: os.close(f)";

fn put(mount: &Mount, name: &str, how: &str) -> String {
    mount.error_with(PUT, &format!("put('{name}', {how})"))
}

/// The bytes of [`PUT`] are in lost+found, and the server gets nothing more.
fn is_lost(server: &Server, mount: &mut Mount, name: &str) {
    soon("what was written is kept", || {
        mount
            .lost()
            .get(name)
            .is_some_and(|kept| *kept == [b'x'; 100_000])
    });
    let sent = server.count("STOR") + server.count("APPE");
    server.behave();
    mount.sh("ls -l >/dev/null");
    mount.unmount();
    assert_eq!(server.count("STOR") + server.count("APPE"), sent);
}

fn close_and_fsync_say(act: &Act, error: &str) {
    for how in ["os.close", "os.fsync"] {
        let server = Server::start();
        let mut mount = Mount::with(&server, "timeout=3");
        server.on("STOR", act.clone());
        assert_eq!(put(&mount, "f", how), error, "{how}");
        is_lost(&server, &mut mount, "f");
    }
}

/// What one handle has closed is refused while another one has written: the unmount fails, and names the file.
#[test]
fn umount_names_refused_file_beside_a_second_writer() {
    let server = Server::start();
    server.tree().put("/z", "E");
    let mount = Mount::with(&server, "writeback");
    for verb in ["STOR", "APPE"] {
        server.on(verb, Act::Reply("553 Permission denied"));
    }
    mount.python(
        "first, second = [os.open('z', os.O_WRONLY) for _ in range(2)]
os.write(second, b'second'); os.write(first, b'first!'); os.close(first); time.sleep(1)
try: os.close(second)
except OSError: pass",
    );
    let point = mount.point();
    let mut command = mount.ftpfs(&["umount", point.to_str().unwrap()]);
    let outcome = limited::run(&mut command, SCRIPT_LIMIT, &mount.path(""));
    assert!(!outcome.succeeded(), "{}", outcome.output);
    assert_eq!(mount.lost().len(), 1);
    assert!(
        outcome.output.contains(": /z (kept as z."),
        "{}",
        outcome.output
    );
}

#[test]
fn a_full_server_is_enospc_before_the_first_byte() {
    close_and_fsync_say(&Act::Reply("552 Exceeded storage allocation"), "ENOSPC");
}

#[test]
fn a_server_that_runs_full_in_mid_transfer_is_enospc() {
    close_and_fsync_say(
        &Act::Refuse(30_000, "452 Insufficient storage space"),
        "ENOSPC",
    );
}

#[test]
fn a_quota_is_edquot() {
    close_and_fsync_say(&Act::Refuse(30_000, "552 Quota exceeded"), "EDQUOT");
}

#[test]
fn a_denied_upload_is_eacces() {
    close_and_fsync_say(&Act::Reply("553 Permission denied"), "EACCES");
}

#[test]
fn an_upload_that_was_confirmed_but_cut_short_is_an_error() {
    close_and_fsync_say(&Act::Short(50_000), "EIO");
}

#[test]
fn an_upload_that_is_never_confirmed_is_an_error_in_time() {
    close_and_fsync_say(&Act::NoFinal, "ETIMEDOUT");
}

#[test]
fn an_upload_that_stalls_is_an_error_in_time() {
    let server = Server::start();
    let mut mount = Mount::with(&server, "timeout=3");
    server.on("STOR", Act::Stall(10_000));
    let script = "f = open('f', 'wb'); f.write(b'x' * 20000000); f.close()";
    assert_eq!(
        mount.error_with("", &format!("exec({script:?})")),
        "ETIMEDOUT"
    );
    soon("what was written is kept", || {
        mount
            .lost()
            .get("f")
            .is_some_and(|kept| kept.len() == 20_000_000)
    });
    mount.unmount();
}

#[test]
fn an_upload_that_is_cut_once_is_sent_again() {
    for act in [Act::Cut(30_000), Act::CutBoth(30_000)] {
        let server = Server::start();
        let mount = Mount::of(&server);
        server.once("STOR", act);
        assert_eq!(put(&mount, "f", "os.close"), "None");
        assert_eq!(server.tree().bytes("/f"), Some(&[b'x'; 100_000][..]));
    }
}

#[test]
fn an_upload_that_is_always_cut_is_an_error() {
    let server = Server::start();
    let mut mount = Mount::of(&server);
    server.on("STOR", Act::Cut(30_000));
    assert_eq!(put(&mount, "f", "os.close"), "EIO");
    is_lost(&server, &mut mount, "f");
}

#[test]
fn a_new_name_that_was_refused_is_not_there() {
    let server = Server::start();
    let mount = Mount::of(&server);
    server.on("STOR", Act::Reply("553 Permission denied"));
    server.on("APPE", Act::Reply("553 Permission denied"));
    assert_eq!(put(&mount, "f", "os.close"), "EACCES");
    soon("the name goes", || mount.sh("ls -A").is_empty());
    assert_eq!(mount.error("os.stat('f')"), "ENOENT");
    assert_eq!(
        mount.error("os.open('g', os.O_CREAT | os.O_EXCL)"),
        "EACCES"
    );
    assert_eq!(mount.error("os.stat('g')"), "ENOENT");
}

#[test]
fn an_append_that_broke_off_halfway_is_not_appended_twice() {
    for act in [
        Act::Refuse(300, "452 Insufficient storage"),
        Act::Cut(300),
        Act::CutBoth(300),
    ] {
        let server = Server::start();
        server.tree().put("/f", pattern(1000));
        let mount = Mount::of(&server);
        server.once("APPE", act.clone());
        mount.python(
            "f = os.open('f', os.O_WRONLY | os.O_APPEND); os.write(f, b'new' * 1000)
try: os.fsync(f)
except OSError: pass
os.close(f)",
        );
        let expected = [pattern(1000), b"new".repeat(1000)].concat();
        assert!(
            server.tree().bytes("/f") == Some(&expected),
            "{act:?}: {:?}",
            server.since(0, &["APPE", "STOR"])
        );
    }
}

#[test]
fn an_append_whose_confirmation_was_lost_is_not_appended_twice() {
    let server = Server::start();
    server.tree().put("/f", pattern(1000));
    let mount = Mount::with(&server, "timeout=3");
    server.once("APPE", Act::NoFinal);
    mount.python(
        "f = os.open('f', os.O_WRONLY | os.O_APPEND); os.write(f, b'new' * 1000)
try: os.fsync(f)
except OSError: pass
os.close(f)",
    );
    let expected = [pattern(1000), b"new".repeat(1000)].concat();
    assert!(
        server.tree().bytes("/f") == Some(&expected),
        "{:?}",
        server.since(0, &["APPE", "STOR"])
    );
}

#[test]
fn interrupted_patch_is_completed_by_the_next_try() {
    let acts = [
        Act::Refuse(300, "452 Insufficient storage"),
        Act::Short(300),
        Act::CutBoth(300),
    ];
    for act in acts {
        let server = Server::start();
        server.tree().put("/f", pattern(10_000));
        let mount = Mount::of(&server);
        server.once("STOR", act.clone());
        mount.python(
            "f = os.open('f', os.O_WRONLY); os.pwrite(f, b'new', 5000)
try: os.fsync(f)
except OSError: pass
os.close(f)",
        );
        let mut expected = pattern(10_000);
        expected[5000..5003].copy_from_slice(b"new");
        assert!(
            server.tree().bytes("/f") == Some(&expected),
            "{act:?}: {:?}",
            server.tree().bytes("/f").map(<[u8]>::len)
        );
    }
}

#[test]
fn patch_of_a_remotely_removed_file_is_an_error() {
    let server = Server::start();
    server.tree().put("/f", pattern(10_000));
    let mount = Mount::of(&server);
    mount.sh("ls -l");
    let gate = Gate::default();
    server.on("MLST", Act::Until(gate.clone()));
    let mut writer = mount.start("printf new | dd of=f bs=1 seek=5000 conv=notrunc && echo stored");
    server.await_count("MLST /f", 1);
    server.tree().remove("/f");
    gate.open();
    assert!(!writer.end().contains("stored"));
    assert!(server.tree().paths().is_empty());
}

#[test]
fn patch_of_a_remotely_changed_file_is_merged() {
    let server = Server::start();
    server.tree().put("/f", pattern(10_000));
    let mount = Mount::of(&server);
    mount.sh("ls -l");
    let gate = Gate::default();
    server.on("MLST", Act::Until(gate.clone()));
    let mut writer = mount.start("printf new | dd of=f bs=1 seek=5000 conv=notrunc && echo stored");
    server.await_count("MLST /f", 1);
    server.tree().put("/f", vec![b'T'; 20_000]);
    gate.open();
    assert!(writer.end().contains("stored"));
    let mut expected = vec![b'T'; 20_000];
    expected[5000..5003].copy_from_slice(b"new");
    assert!(server.tree().bytes("/f") == Some(&expected));
}

#[test]
fn a_patch_that_broke_off_for_good_is_kept_whole() {
    let server = Server::start();
    server.tree().put("/f", pattern(10_000));
    let mount = Mount::of(&server);
    server.on("STOR", Act::Refuse(300, "452 Insufficient storage"));
    let patch = "f = os.open('f', os.O_WRONLY); os.pwrite(f, b'new', 5000)";
    assert_eq!(mount.error_with(patch, "os.close(f)"), "ENOSPC");
    let mut expected = pattern(10_000);
    expected[5000..5003].copy_from_slice(b"new");
    soon("the whole is kept", || {
        mount.lost().get("f") == Some(&expected)
    });
}

#[test]
fn unlistable_directory_is_listed_once() {
    let server = Server::start();
    for name in ["a", "b", "c", "d"] {
        server.tree().put(&format!("/{name}/f"), "content");
    }
    server.on("CWD /c", Act::Reply("550 Permission denied"));
    let mount = Mount::of(&server);
    mount.try_sh("ls -R");
    // What is asked for again and again comes many times in this time.
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(server.count("CWD /c") <= 4, "{}", server.count("CWD /c"));
}

/// A new file into which nothing is written is stored at its close.
#[test]
fn refused_empty_file_is_an_error_of_close() {
    let server = Server::start();
    server.tree().put("/old", "old\n");
    let mount = Mount::of(&server);
    mount.sh("ls");
    server.on("STOR", Act::Reply("553 Permission denied"));
    for (name, flags) in [("new", "os.O_CREAT"), ("old", "os.O_TRUNC")] {
        let before = format!("f = os.open('{name}', os.O_WRONLY | {flags})");
        assert_eq!(mount.error_with(&before, "os.close(f)"), "EACCES");
    }
    server.behave();
    // A shell closes it before the command has begun: then it waits for the command's bytes.
    mount.sh("echo new > new; (echo a; /bin/echo b) > both; cat both > third");
    assert_eq!(server.tree().bytes("/both"), Some(&b"a\nb\n"[..]));
    for name in ["new", "both", "third"] {
        let mut stored = server.since(0, &[&format!("STOR /{name}")]);
        stored.truncate(2);
        assert_eq!(stored.len(), if name == "new" { 2 } else { 1 });
    }
}

/// As ProFTPD does with `AllowOverwrite off`: neither STOR nor RNTO replaces a file.
#[test]
fn file_that_may_not_be_stored_over_is_replaced_by_a_rename() {
    for without in [&[][..], &["MLSD", "MLST"]] {
        let server = Script::new().without(without).keeps_names().start();
        server.tree().put("/d/f", "old");
        server.tree().put("/d/log", "line\n");
        for command in ["STOR /d/f", "STOR /d/log", "APPE /d/log"] {
            server.on(command, Act::Reply("550 Overwrite permission denied"));
        }
        let mount = Mount::of(&server);
        mount.sh("echo new > d/f");
        let mark = server.mark();
        mount.sh("echo more >> d/log; echo newer > d/f");
        let has = |path: &str| server.tree().bytes(path).map(<[u8]>::to_vec);
        assert_eq!(has("/d/f").unwrap(), b"newer\n");
        assert_eq!(has("/d/log").unwrap(), b"line\nmore\n");
        assert_eq!(server.tree().paths(), ["/d", "/d/f", "/d/log"]);
        // Once it is known, the name itself is left alone.
        assert_eq!(server.since(mark, &["STOR /d/f", "STOR /d/log"]).len(), 0);
        assert_eq!(mount.lost().len(), 0);
    }
}

/// A `STOR` whose `REST` was refused would begin at the start of the file: it is not sent, and the file is stored whole.
#[test]
fn patch_without_its_offset_is_stored_whole() {
    for options in ["", "nopipeline"] {
        for reply in ["451 Not now", "501 Bad offset", "550 Not here"] {
            let server = Server::start();
            server.tree().put("/f", pattern(3_000_000));
            let mount = Mount::with(&server, options);
            let patch =
                "f = os.open('f', os.O_WRONLY); os.pwrite(f, b'old', 2_000_000); os.fsync(f)
os.pwrite(f, b'new', 1_000_000)";
            server.once("REST 1000000", Act::Reply(reply));
            assert_eq!(mount.error_with(patch, "os.fsync(f)"), "None", "{options}");
            let mut expected = pattern(3_000_000);
            expected[2_000_000..2_000_003].copy_from_slice(b"old");
            expected[1_000_000..1_000_003].copy_from_slice(b"new");
            assert!(
                server.tree().bytes("/f") == Some(&expected),
                "{options} {reply}"
            );
            assert_eq!(mount.lost().len(), 0);
        }
    }
}
