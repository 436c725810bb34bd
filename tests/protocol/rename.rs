//! Names: renaming, removing, and what a hostile server calls its files.

use crate::mount::{Mount, pattern, soon};
use crate::scripted::{Act, Gate, Script, Server};

/// What changes names on the server.
const CHANGES: [&str; 5] = ["RNFR", "RNTO", "DELE", "STOR", "APPE"];
/// `renameat2(from, to, flags)`
const RENAME: &str = "
libc = ctypes.CDLL(None, use_errno=True)
def renameat2(a, b, flags):
    if libc.renameat2(-100, a, -100, b, flags): raise OSError(ctypes.get_errno(), '')";

#[test]
fn a_rename_over_an_existing_file_is_one_rnfr_and_rnto() {
    let server = Server::start();
    server.tree().put("/a", "new");
    server.tree().put("/b", "old");
    let mount = Mount::of(&server);
    mount.sh("mv -f a b; [ \"$(cat b)\" = new ]; [ \"$(ls)\" = b ]");
    assert_eq!(server.since(0, &CHANGES), ["RNFR /a", "RNTO /b"]);
}

/// A mount that died between two steps of a rename has left the old file under a hidden name: the next one names it.
#[test]
fn next_mount_names_what_a_crash_left() {
    let server = Server::start();
    server
        .tree()
        .put("/d/.ftpfs-aside-0123456789abcdef-1", "old content");
    server.tree().put("/d/.ftpfsrc", "a file of its own");
    let mount = Mount::of(&server);
    mount.sh("ls d; ls d");
    let log = mount.log();
    let named = log.matches("/d/.ftpfs-aside-0123456789abcdef-1: may be left by a mount");
    assert_eq!(named.count(), 1, "{log}");
    assert!(!log.contains(".ftpfsrc: may be left"), "{log}");
}

#[test]
fn rename_over_a_file_works_where_replacing_is_refused() {
    for without in [&[][..], &["MLST", "MLSD"][..]] {
        let server = Script::new().without(without).keeps_names().start();
        server.tree().put("/a", "new");
        server.tree().put("/b", "old");
        let mount = Mount::of(&server);
        mount.sh("mv -f a b; [ \"$(cat b)\" = new ]; [ \"$(ls -A)\" = b ]");
        assert_eq!(server.tree().paths(), ["/b"]);
        assert_eq!(server.tree().bytes("/b"), Some(&b"new"[..]));
    }
}

#[test]
fn a_rename_that_fails_after_all_leaves_both_names_as_they_were() {
    let server = Script::new().keeps_names().start();
    server.tree().put("/a", "new");
    server.tree().put("/b", "old");
    let mount = Mount::of(&server);
    server.after(1, "RNTO /b", Act::Reply("553 Not now"));
    assert_eq!(mount.error("os.rename('a', 'b')"), "EACCES");
    assert_eq!(server.tree().paths(), ["/a", "/b"]);
    assert_eq!(server.tree().bytes("/b"), Some(&b"old"[..]));
    assert_eq!(mount.sh("ls -A; cat a b"), "a\nb\nnewold");
}

#[test]
fn noreplace_is_eexist_and_exchange_is_einval() {
    let server = Server::start();
    server.tree().put("/a", "a");
    server.tree().put("/b", "b");
    let mount = Mount::of(&server);
    let mark = server.mark();
    assert_eq!(
        mount.error_with(RENAME, "renameat2(b'a', b'b', 1)"),
        "EEXIST"
    );
    assert_eq!(
        mount.error_with(RENAME, "renameat2(b'a', b'b', 2)"),
        "EINVAL"
    );
    assert!(server.since(mark, &CHANGES).is_empty());
    // One that appeared on the server since it was last looked at counts too.
    mount.sh("ls -l");
    server.tree().put("/c", "c");
    assert_eq!(
        mount.error_with(RENAME, "renameat2(b'a', b'c', 1)"),
        "EEXIST"
    );
    assert_eq!(mount.error_with(RENAME, "renameat2(b'a', b'd', 1)"), "None");
    assert_eq!(server.tree().paths(), ["/b", "/c", "/d"]);
}

#[test]
fn file_renamed_while_written_arrives_under_its_new_name_only() {
    let server = Server::start();
    server.tree().directory("/d");
    let mount = Mount::of(&server);
    mount.python(
        "f = open('f', 'wb', 0); f.write(b'one '); os.rename('f', 'd/g'); f.write(b'two'); f.close()",
    );
    assert_eq!(server.tree().paths(), ["/d", "/d/g"]);
    assert_eq!(server.tree().bytes("/d/g"), Some(&b"one two"[..]));
}

#[test]
fn file_with_parent_renamed_while_written_arrives_there() {
    let server = Server::start();
    server.tree().put("/d/e/old", "old");
    let mount = Mount::of(&server);
    mount.python(
        "f = open('d/e/f', 'wb', 0); f.write(b'one '); g = open('d/e/old', 'ab', 0); g.write(b' and new')
os.rename('d', 'D'); f.write(b'two'); f.close(); g.close()",
    );
    assert_eq!(server.tree().paths(), ["/D", "/D/e", "/D/e/f", "/D/e/old"]);
    assert_eq!(server.tree().bytes("/D/e/f"), Some(&b"one two"[..]));
    assert_eq!(server.tree().bytes("/D/e/old"), Some(&b"old and new"[..]));
}

#[test]
fn a_removed_file_that_is_open_is_read_to_its_end() {
    let server = Server::start();
    server.tree().put("/f", pattern(3_000_000));
    let mount = Mount::of(&server);
    mount.python(
        "f = open('f', 'rb', 0); first = f.read(1000); os.unlink('f')
open(os.environ['S'] + '/got', 'wb').write(first + f.read())",
    );
    assert!(mount.scratch("got") == pattern(3_000_000));
    assert!(server.tree().paths().is_empty());
}

#[test]
fn large_removed_open_file_is_renamed_until_its_last_close() {
    let server = Server::start();
    server.tree().put("/f", pattern(80 << 20));
    let mount = Mount::of(&server);
    mount.python(
        "f = open('f', 'rb', 0); first = f.read(1000); os.unlink('f'); assert not os.path.exists('f')
f.seek(70 << 20); open(os.environ['S'] + '/got', 'wb').write(f.read(1000))",
    );
    assert!(mount.scratch("got") == pattern(80 << 20)[70 << 20..][..1000]);
    soon("it is gone", || server.tree().paths().is_empty());
}

#[test]
fn a_removed_file_is_never_brought_back_by_its_late_writer() {
    let server = Server::start();
    server.tree().put("/f", "old");
    let mount = Mount::of(&server);
    mount.python(
        "f = open('f', 'r+b', 0); f.write(b'new'); os.unlink('f'); f.write(b'newer'); f.close()
g = open('g', 'wb', 0); g.write(b'new'); os.unlink('g'); g.write(b'newer'); os.fsync(g); g.close()
h = open('h', 'wb', 0); h.write(b'one'); os.unlink('h'); open('h', 'w').write('second'); h.write(b'late'); h.close()",
    );
    drop(mount);
    assert_eq!(server.tree().paths(), ["/h"]);
    assert_eq!(server.tree().bytes("/h"), Some(&b"second"[..]));
}

#[test]
fn late_listing_does_not_undo_newer_writes() {
    let server = Script::new().without(&["MLSD", "MLST"]).start();
    server.tree().put("/d/f", "old");
    server.tree().put("/d/other", "other");
    let mount = Mount::with(&server, "cache_timeout=1");
    mount.make_fifo("go");
    let mut writer = mount.start(
        "exec 3>>d/f; sleep 1.2; echo ready; read -r go < $S/go; echo ' and new' >&3; exec 3>&-; echo closed; stat -c %s d/f",
    );
    writer.await_words("ready");
    let gate = Gate::default();
    server.once("LIST", Act::Hold(gate.clone()));
    let lists = server.count("LIST");
    let mut late = mount.start("ls d > $S/listed; stat -c %s d/other");
    server.await_count("LIST", lists + 1);
    mount.start("echo go > $S/go").end();
    writer.await_words("closed");
    gate.open();
    assert_eq!(late.end(), "5\n");
    assert!(writer.end().ends_with("closed\n12\n"));
    assert_eq!(mount.sh("stat -c %s d/f; cat d/f"), "12\nold and new\n");
}

#[test]
fn invalid_names_are_left_out_of_listings() {
    let fact = "type=file;size=1;modify=20210101000000; ";
    let line = "-rw-r--r-- 1 o g 1 Jan 01  2021 ";
    for (verb, without, head) in [
        ("MLSD", &[][..], fact),
        ("LIST", &["MLSD", "MLST"][..], line),
    ] {
        let server = Script::new().without(without).start();
        server.tree().put("/d/x", "x");
        let names: [&[u8]; 9] = [
            b"good",
            b"..",
            b".",
            b"../../etc/passwd",
            b"/etc/passwd",
            b"a/b",
            b"nul\0name",
            b"car\rriage",
            b" blank ",
        ];
        let lines = names.map(|name| [head.as_bytes(), name, b"\r\n"].concat());
        let mount = Mount::of(&server);
        mount.sh("ls -l");
        server.on(verb, Act::Listing(lines.concat()));
        let listed = mount.python("print(sorted(os.listdir('d')))");
        assert_eq!(listed.trim(), "[' blank ', 'good']", "{verb}");
        mount.sh("ls -la d; find d > /dev/null");
    }
}

#[test]
fn a_name_with_a_line_break_is_einval_and_no_command_is_sent() {
    let server = Server::start();
    let mount = Mount::of(&server);
    mount.sh("ls -l; echo x > fine");
    let mark = server.mark();
    for name in ["'a\\nDELE fine'", "'a\\r'", "'\\n'"] {
        for call in [
            "open(N, 'w')",
            "os.mkdir(N)",
            "os.rename('fine', N)",
            "os.stat(N)",
            "os.unlink(N)",
            "os.mknod(N)",
        ] {
            assert_eq!(
                mount.error(&call.replace('N', name)),
                "EINVAL",
                "{call} {name}"
            );
        }
    }
    assert!(server.since(mark, &CHANGES).is_empty());
    let smuggled = server
        .commands_since(mark)
        .into_iter()
        .any(|(_, line)| line.contains("DELE"));
    assert!(!smuggled && server.tree().node("/fine").is_some());
}

#[test]
fn a_link_that_leads_out_of_the_mount_is_eperm() {
    for without in [&[][..], &["MLSD", "MLST"][..]] {
        let server = Script::new().without(without).start();
        server.tree().put("/d/f", "content");
        server.tree().link("/out", "../../etc/passwd");
        server.tree().link("/d/up", "../../etc/passwd");
        server.tree().link("/absolute", "/d/f");
        server.tree().link("/near", "d/f");
        let mount = Mount::of(&server);
        assert_eq!(
            mount.sh("ls -A; cat near"),
            "absolute\nd\nnear\nout\ncontent"
        );
        assert_eq!(mount.sh("cat absolute"), "content");
        for name in ["out", "d/up"] {
            assert_eq!(mount.error(&format!("os.readlink('{name}')")), "EPERM");
            assert_eq!(mount.error(&format!("open('{name}')")), "EPERM");
        }
        // One line a link, however often it is asked for.
        assert_eq!(mount.log().matches("is outside of the mount").count(), 2);
    }
}

#[test]
fn absolute_link_out_of_the_mount_is_eperm() {
    let server = Script::new().home("/home").start();
    server.tree().directory("/home");
    server.tree().link("/home/out", "/etc/passwd");
    server.tree().link("/home/in", "/home/f");
    server.tree().put("/home/f", "content");
    let mount = Mount::of(&server);
    assert_eq!(mount.error("open('out')"), "EPERM");
    assert_eq!(mount.sh("cat in"), "content");
}

#[test]
fn an_endless_listing_has_an_end() {
    // Long lines, so that it is soon more than can be a listing.
    static LINE: [u8; 60_000] = [b'x'; 60_000];
    static WITH_END: &[u8] = &{
        let mut line = LINE;
        line[LINE.len() - 1] = b'\n';
        line
    };
    for line in [&LINE[..], WITH_END] {
        let server = Server::start();
        server.tree().put("/d/f", "content");
        let mount = Mount::of(&server);
        server.once("MLSD", Act::Endless(line));
        let listed = mount.try_sh("ls d");
        assert!(listed.status.is_some(), "it did not end");
        assert_eq!(mount.sh("cat d/f"), "content");
    }
}

#[test]
fn on_a_server_that_folds_case_a_name_changes_its_case_alone() {
    for without in [&[][..], &["MLST", "MLSD"][..]] {
        let server = Script::new().without(without).folds_case().start();
        server.tree().put("/d/readme", "read me");
        server.tree().put("/other", "another");
        let mount = Mount::of(&server);
        mount.sh("ls -l d; mv d/readme d/README; [ \"$(ls d)\" = README ]; [ \"$(cat d/README)\" = 'read me' ]");
        assert_eq!(server.tree().paths(), ["/d", "/d/README", "/other"]);
        // mv would take D for a directory to move it into.
        mount.python("os.rename('d', 'D')");
        mount.sh("[ \"$(ls | xargs)\" = 'D other' ]; [ \"$(cat D/README)\" = 'read me' ]");
        assert_eq!(server.tree().paths(), ["/D", "/D/README", "/other"]);
        mount.sh("mv D/README readMe; mv other READme; [ \"$(cat READme)\" = another ]");
        assert_eq!(server.tree().paths(), ["/D", "/READme"]);
    }
}

/// One that does not even let a file have its own name in another case.
#[test]
fn case_change_on_a_case_preserving_server_loses_nothing() {
    let server = Script::new().folds_case().keeps_names().start();
    server.tree().put("/readme", "read me");
    server.once(
        "RNTO /README",
        Act::Reply("553 There is a file of that name"),
    );
    let mount = Mount::of(&server);
    mount.sh("ls -l; mv readme README; [ \"$(ls)\" = README ]; [ \"$(cat README)\" = 'read me' ]");
    assert_eq!(server.tree().paths(), ["/README"]);
}

#[test]
fn a_file_that_is_written_all_the_time_can_be_renamed() {
    for options in ["", "writeback", "atomic"] {
        let server = Server::start();
        server.tree().put("/log", "first\n");
        let mount = Mount::with(&server, options);
        let said = mount.python(
            "import threading
file = os.open('log', os.O_WRONLY | os.O_APPEND)
over, count = False, 0
def write():
    global count
    while not over: os.write(file, b'line\\n'); count += 1
    os.close(file)
writer = threading.Thread(target=write); writer.start()
time.sleep(0.3); os.rename('log', 'log.1'); time.sleep(0.1)
over = True; writer.join(); print(count)",
        );
        let lines: usize = said.trim().parse().unwrap();
        soon("all of it", || {
            let tree = server.tree();
            tree.bytes("/log.1")
                .is_some_and(|bytes| bytes.len() == 6 + 5 * lines)
        });
        assert_eq!(server.tree().paths(), ["/log.1"], "{options}");
    }
}

#[test]
fn path_longer_than_a_command_is_enametoolong_and_unsent() {
    // A server that lists only is asked for the time of each file.
    for without in [&[][..], &["MLSD", "MLST"]] {
        let server = Script::new().without(without).start();
        let directory = format!("/{}", "d".repeat(200)).repeat(9);
        server.tree().put(&format!("{directory}/f"), "content");
        let long = "n".repeat(250);
        server.tree().put(&format!("{directory}/{long}"), "content");
        let mount = Mount::of(&server);
        let inside = "[os.chdir('d' * 200) for _ in range(9)]";
        assert_eq!(
            mount.error_with(inside, "os.mkdir('m' * 250)"),
            "ENAMETOOLONG"
        );
        assert_eq!(
            mount.error_with(inside, "open('m' * 250, 'w').write('x')"),
            "ENAMETOOLONG"
        );
        let script = format!("{inside}; print(len(os.listdir('.')), open('f').read())");
        assert_eq!(mount.python(&script).trim(), "2 content");
        let sent = server
            .commands_since(0)
            .into_iter()
            .map(|(_, line)| line.len());
        assert!(sent.max().unwrap() < 2048);
    }
}

#[test]
fn name_too_long_once_escaped_hides_no_other_name() {
    let server = Script::new().without(&["MLSD", "MLST"]).start();
    let directory = format!(
        "{}/{}",
        format!("/{}", "d".repeat(200)).repeat(8),
        "e".repeat(59)
    );
    server.tree().put(&format!("{directory}/f"), "content");
    // 0xFF is sent twice (RFC 959 section 4.1): 1,919 bytes of a path are 2,044.
    let mut listing =
        b"-rw-r--r-- 1 o g 7 Jan 01 2020 f\r\n-rw-r--r-- 1 o g 7 Jan 01 2020 ".to_vec();
    listing.extend(b"\xFFa".repeat(125));
    listing.extend(b"\r\n");
    let mount = Mount::of(&server);
    let inside = "[os.chdir('d' * 200) for _ in range(8)]; os.chdir('e' * 59)";
    mount.python(inside);
    server.on("LIST", Act::Listing(listing));
    let script = format!("{inside}; print(len(os.listdir('.')), open('f').read())");
    assert_eq!(mount.python(&script).trim(), "2 content");
    assert_eq!(
        mount.error_with(inside, "open(b'\\xffa' * 125).read()"),
        "ENAMETOOLONG"
    );
}
