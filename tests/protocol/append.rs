//! Other clients append to, truncate or rewrite a file while it is written here.

use crate::mount::{Mount, soon};
use crate::scripted::{Act, Gate, Script, Server};

const STORES: [&str; 2] = ["STOR", "APPE"];

fn text(server: &Server, path: &str) -> String {
    let bytes = server.tree().bytes(path).map(<[u8]>::to_vec);
    String::from_utf8(bytes.unwrap()).unwrap()
}

/// Another client appends.
fn append(server: &Server, path: &str, line: &str) {
    let longer = text(server, path) + line;
    server.tree().put(path, longer);
}

/// By turns, they and we append to what we take for shorter than it is.
fn both_append(server: &Server, mount: &Mount) {
    for (name, first) in [("log", "first\n"), ("empty", "")] {
        let path = &format!("/{name}");
        server.tree().put(path, first);
        mount.sh(&format!("[ \"$(cat {name})\" = \"$(printf '{first}')\" ]"));
        let mut expected = first.to_owned();
        for turn in 0..3 {
            append(server, path, &format!("theirs {turn}\n"));
            mount.sh(&format!("echo ours {turn} >> {name}"));
            expected += &format!("theirs {turn}\nours {turn}\n");
            assert_eq!(&text(server, path), &expected);
            assert_eq!(mount.sh(&format!("cat {name}")), expected);
        }
    }
}

#[test]
fn append_after_other_clients_keeps_every_line() {
    let server = Server::start();
    let mount = Mount::of(&server);
    both_append(&server, &mount);
    assert_eq!(server.count("STOR /log") + server.count("STOR /empty"), 0);
}

/// Large files, so that none of them is in the spool, and small ones, of which all is there.
#[test]
fn append_to_a_server_whose_appe_replaces_keeps_the_file() {
    let server = Script::new().appe_replaces().start();
    let large = "0123456789".repeat(50_000);
    server.tree().put("/large", large.clone());
    server.tree().put("/log", "first\n");
    let mut mount = Mount::of(&server);
    mount.sh("echo more >> large; echo more >> log; echo a > new; echo b >> new; cat new; : > e; echo 1 >> e; echo 2 >> e");
    mount.sh("(head -c 700000 /dev/zero; sleep 1; echo end) > slow; (sleep 1; echo c) >> new");
    assert!(text(&server, "/large") == large + "more\n");
    assert_eq!(text(&server, "/log"), "first\nmore\n");
    assert_eq!(text(&server, "/new"), "a\nb\nc\n");
    assert_eq!(text(&server, "/e"), "1\n2\n");
    assert!(text(&server, "/slow").len() == 700_004);
    let asked = server.count("APPE");
    assert!(
        server
            .since(0, &["APPE"])
            .iter()
            .all(|line| line != "APPE /large")
    );
    assert_eq!(server.tree().paths().len(), 5, "a scratch file is left");
    assert_eq!(mount.lost().len(), 0);
    // What two mounts saw is known in the next one.
    mount.unmount();
    mount.again(&server);
    mount.sh("echo again >> log");
    assert_eq!(text(&server, "/log"), "first\nmore\nagain\n");
    mount.unmount();
    let asked = asked + 1;
    mount.again(&server);
    mount.sh("echo last >> log");
    assert_eq!(text(&server, "/log"), "first\nmore\nagain\nlast\n");
    assert_eq!(server.count("APPE"), asked);
}

/// A writable file in a read-only directory: no scratch file can be made there, so all of the file is stored.
#[test]
fn append_stored_whole_keeps_lines_of_other_clients() {
    let server = Server::start();
    server.tree().put("/f", "first\n");
    server.on("STOR /.ftpfs-", Act::Reply("553 Permission denied"));
    let script = "os.write(f, b'ours\\n'); theirs()";
    amid(&server, script, || append(&server, "/f", "theirs\n"));
    assert_eq!(text(&server, "/f"), "first\ntheirs\nours\n");
}

/// All of it is here after it was written: the append itself shows what the server makes of it.
#[test]
fn append_that_replaced_a_cached_file_is_repaired() {
    let server = Script::new().appe_replaces().start();
    let mount = Mount::of(&server);
    mount.python(
        "import os
f = os.open('f', os.O_RDWR | os.O_CREAT); os.write(f, b'old'); os.fsync(f); os.write(f, b'new'); os.fsync(f)",
    );
    assert_eq!(text(&server, "/f"), "oldnew");
}

#[test]
fn append_after_other_clients_without_appe_keeps_every_line() {
    let server = Script::new().without(&["APPE"]).start();
    both_append(&server, &Mount::of(&server));
}

#[test]
fn atomic_append_after_other_clients_keeps_every_line() {
    let server = Server::start();
    both_append(&server, &Mount::with(&server, "atomic"));
}

#[test]
fn appends_of_one_descriptor_interleave_with_other_clients() {
    let server = Server::start();
    server.tree().put("/log", "first\n");
    let mount = Mount::of(&server);
    mount.make_fifo("go");
    let script = "f = os.open('log', os.O_RDWR | os.O_APPEND); os.pread(f, 100, 0)
for n in range(3):
    os.write(f, b'ours %d\\n' % n)
    os.fsync(f)
    os.write(2, b'written %d\\n' % n)
    open(os.environ['S'] + '/go').read()
print(os.pread(f, 1000, 0).decode(), end='')";
    std::fs::write(mount.path("script"), format!("import os\n{script}\n")).unwrap();
    let mut running = mount.start("python3 -I $S/script");
    let mut expected = "first\n".to_owned();
    for turn in 0..3 {
        running.await_words(&format!("written {turn}"));
        append(&server, "/log", &format!("theirs {turn}\n"));
        expected += &format!("ours {turn}\ntheirs {turn}\n");
        std::fs::write(mount.path("go"), "").unwrap();
    }
    let said = running.end();
    assert_eq!(text(&server, "/log"), expected);
    // What they appended last was not looked at.
    assert!(said.contains("ours 1\ntheirs 1\nours 2\n"), "{said}");
}

#[test]
fn truncated_file_drops_appends_of_other_clients() {
    let server = Server::start();
    server.tree().put("/f", "");
    server.tree().put("/g", "");
    let mount = Mount::of(&server);
    mount.sh("cat f g");
    server.tree().put("/f", "theirs");
    server.tree().put("/g", "theirs");
    mount.sh(": > f; echo ours > g; sync f");
    assert_eq!(
        (text(&server, "/f"), text(&server, "/g")),
        (String::new(), "ours\n".to_owned())
    );
    assert_eq!(server.since(0, &STORES).len(), 2);
}

#[test]
fn full_overwrite_keeps_appends_of_other_clients() {
    let server = Server::start();
    server.tree().put("/f", "0123456789");
    let mount = Mount::of(&server);
    mount.sh("cat f");
    append(&server, "/f", "THEIRS");
    mount.python("f = os.open('f', os.O_RDWR); os.write(f, b'abcdefghij'); os.close(f)");
    assert_eq!(text(&server, "/f"), "abcdefghijTHEIRS");
}

/// What is written by `script`, after which a first fsync fails by `act`; then others append, and it is synced again.
fn failed_once(script: &str, fails: &[&str], options: &str) -> String {
    let server = Server::start();
    server.tree().put("/f", vec![b'o'; 200_000]);
    let mount = Mount::with(&server, options);
    mount.make_fifo("go");
    let script = format!(
        "import os
f = os.open('f', os.O_RDWR | os.O_CREAT); os.pread(f, 10, 0)
{script}
try:
    os.fsync(f); raise SystemExit('no error')
except OSError: pass
os.write(2, b'failed\\n')
open(os.environ['S'] + '/go').read()
os.fsync(f); print('stored')"
    );
    std::fs::write(mount.path("script"), script).unwrap();
    for fails in fails {
        server.once(fails, Act::Reply("452 Not now"));
    }
    let mut running = mount.start("python3 -I $S/script");
    running.await_words("failed");
    append(&server, "/f", "THEIRS");
    std::fs::write(mount.path("go"), "").unwrap();
    assert!(running.end().contains("stored"), "{}", mount.log());
    text(&server, "/f")
}

#[test]
fn appends_of_other_clients_after_a_refused_upload_stay() {
    let patched = failed_once("os.pwrite(f, b'P', 100_000)", &["STOR /f", "STOR /f"], "");
    assert_eq!(patched.len(), 200_006);
    assert!(patched.ends_with("oTHEIRS") && patched[100_000..].starts_with("Po"));
    let appended = failed_once(
        "os.lseek(f, 0, 2); os.write(f, b'P' * 600_000)",
        // Refused to the stream, to the flush, and as a whole.
        &["APPE /f", "APPE /f", "STOR /f"],
        "",
    );
    assert_eq!(appended.len(), 800_006);
    assert!(appended.contains("oTHEIRSP") && appended.ends_with("P"));
}

/// Has `script` write to `f`, which has these bytes; where it calls `theirs()`, others do what `act` does.
fn amid(server: &Server, script: &str, act: impl FnOnce()) {
    let mount = Mount::of(server);
    mount.make_fifo("go");
    let script = format!(
        "import os, time
def theirs():
    os.write(2, b'now\\n')
    open(os.environ['S'] + '/go').read()
f = os.open('f', os.O_WRONLY | os.O_APPEND)
{script}
os.close(f)
print('stored')"
    );
    std::fs::write(mount.path("script"), script).unwrap();
    let mut running = mount.start("python3 -I $S/script");
    running.await_words("now");
    act();
    std::fs::write(mount.path("go"), "").unwrap();
    let said = running.end();
    assert!(said.contains("stored"), "{said}\n{}", mount.log());
}

#[test]
fn streamed_append_during_remote_appends_is_stored() {
    let server = Server::start();
    server.tree().put("/f", "0123456789");
    let script = "theirs(); os.write(f, b'x' * (1 << 20)); os.write(f, b'end')";
    amid(&server, script, || append(&server, "/f", "THEIRS"));
    let stored = text(&server, "/f");
    assert_eq!(stored.len(), 10 + 6 + (1 << 20) + 3);
    assert!(stored.starts_with("0123456789THEIRSx") && stored.ends_with("xend"));
}

#[test]
fn append_after_remote_truncation_starts_at_offset_zero() {
    let server = Server::start();
    server.tree().put("/f", "o".repeat(1000));
    let script = "
os.write(f, b'one\\n'); os.fsync(f); theirs()
for line in b'two\\n', b'three\\n': os.write(f, line); os.fsync(f)
os.write(f, b'four\\n')";
    amid(&server, script, || server.tree().put("/f", "new\n"));
    assert_eq!(text(&server, "/f"), "new\ntwo\nthree\nfour\n");
}

/// The server stored the line and its 226 was lost while another client appended, too.
#[test]
fn append_with_lost_reply_among_remote_appends_is_not_repeated() {
    for before in [true, false] {
        let server = Server::start();
        server.tree().put("/f", "first\n");
        let gate = Gate::default();
        server.once("APPE /f", Act::CutBoth("ours\n".len()));
        // Who looks what of it arrived comes late.
        server.on("MLST /f", Act::Until(gate.clone()));
        let mount = Mount::of(&server);
        mount.sh("ls");
        if before {
            append(&server, "/f", "theirs\n");
        }
        let mut running = mount.start("echo ours >> f; echo stored");
        server.await_count("APPE /f", 1);
        if !before {
            append_when_there(&server, "ours", "theirs\n");
        }
        gate.open();
        assert!(running.end().contains("stored"), "{}", mount.log());
        let expected = match before {
            true => "first\ntheirs\nours\n",
            false => "first\nours\ntheirs\n",
        };
        assert_eq!(text(&server, "/f"), expected);
        assert_eq!(server.count("APPE /f"), 1);
    }
}

/// Appends once something else has come.
fn append_when_there(server: &Server, other: &str, line: &str) {
    soon(other, || text(server, "/f").contains(other));
    append(server, "/f", line);
}
