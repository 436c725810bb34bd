//! Uploads in one flight: questions behind them, bytes before the server's consent, and copies.

use crate::mount::{Mount, pattern, soon};
use crate::scripted::{Act, Hurry, Script, Server};

/// By which a mount keeps to one connection, so that what flew is seen in order.
const ONE_CONNECTION: &str = "max_conns=1";
const UPLOADS: [&str; 6] = ["STOR", "APPE", "SIZE", "MDTM", "MLST", "SITE"];

/// A mount that knows what is there.
fn mounted(server: &Server) -> Mount {
    let mount = Mount::with(server, ONE_CONNECTION);
    mount.sh("ls");
    mount
}

/// Stores a file of so many bytes, and returns them.
fn put(mount: &Mount, name: &str, size: usize) -> Vec<u8> {
    mount.python(&format!(
        "open('{name}', 'wb').write(b'{name}'[:1] * {size})"
    ));
    vec![name.as_bytes()[0]; size]
}

fn has(server: &Server, path: &str, bytes: &[u8]) -> bool {
    server.tree().bytes(path) == Some(bytes)
}

/// The order of replies after the first `STOR` shows what this server can do.
#[test]
fn first_upload_shows_whether_queries_can_be_pipelined() {
    let server = Server::start();
    let mount = mounted(&server);
    let first = put(&mount, "first", 3000);
    assert_eq!(
        server.since(0, &UPLOADS),
        [
            "STOR /first",
            "SIZE /first",
            "SITE CHMOD 644 /first",
            "MLST /first"
        ]
    );
    let mark = server.mark();
    let second = put(&mount, "second", 3000);
    assert_eq!(
        server.since(mark, &UPLOADS),
        ["STOR /second", "SITE CHMOD 644 /second", "MLST /second"]
    );
    assert!(has(&server, "/first", &first));
    assert!(has(&server, "/second", &second));
}

#[test]
fn server_answering_early_is_queried_after_the_226() {
    let server = Script::new().eager().start();
    let mount = mounted(&server);
    for name in ["a", "b", "c"] {
        let bytes = put(&mount, name, 3000);
        assert!(has(&server, &format!("/{name}"), &bytes));
    }
    // The trial, and the question that counts; then the question alone.
    assert_eq!(server.since(0, &["SIZE"]), ["SIZE /a"]);
    assert_eq!(server.count("MLST /a"), 1);
    assert_eq!(server.count("MLST /c"), 1);
    assert_eq!(server.connected(), 1, "nothing got out of step");
}

#[test]
fn lost_early_data_is_resent_and_then_disabled() {
    let server = Script::new().drops_early().start();
    let mount = mounted(&server);
    for name in ["a", "b", "c", "d"] {
        let bytes = put(&mount, name, 3000);
        assert!(has(&server, &format!("/{name}"), &bytes));
    }
    assert_eq!(
        server.since(0, &["STOR"]),
        ["STOR /a", "STOR /b", "STOR /b", "STOR /c", "STOR /d"]
    );
}

#[test]
fn stream_with_lost_early_data_is_sent_again() {
    const SIZE: usize = 1 << 20;
    let server = Server::start();
    let mount = mounted(&server);
    for name in ["a", "b", "c"] {
        put(&mount, name, 3000);
    }
    let bytes = put(&mount, "whole", SIZE);
    assert!(has(&server, "/whole", &bytes));
    // It has less than was sent, and says so.
    server.once("STOR /less", Act::Short(SIZE - 1000));
    let bytes = put(&mount, "less", SIZE);
    assert!(has(&server, "/less", &bytes));
    assert_eq!(server.count("STOR /whole"), 1);
}

#[test]
fn stream_with_lost_early_data_is_not_resumed() {
    const SIZE: usize = 1 << 20;
    for act in [Act::LoseEarly(SIZE), Act::LoseEarly(SIZE / 2)] {
        let server = Server::start();
        let mount = mounted(&server);
        for name in ["a", "b", "c"] {
            put(&mount, name, 3000);
        }
        // What comes behind them looks the same wherever it lies.
        server.on("STOR /f", act);
        mount.python("open('f', 'wb').write(b'h' * 20000 + bytes((1 << 20) - 20000))");
        let mut bytes = vec![b'h'; 20000];
        bytes.resize(SIZE, 0);
        assert!(has(&server, "/f", &bytes));
    }
}

#[test]
fn refused_stream_with_early_data_keeps_replies_in_order() {
    let server = Server::start();
    let mount = mounted(&server);
    for name in ["a", "b", "c"] {
        put(&mount, name, 3000);
    }
    server.once("STOR /refused", Act::Reply("553 Permission denied"));
    mount.python(
        "try:
    with open('refused', 'wb') as file: file.write(b'r' * (1 << 20))
    raise SystemExit('no error')
except PermissionError:
    pass",
    );
    put(&mount, "next", 1 << 20);
    assert_eq!(server.connected(), 1);
}

#[test]
fn refused_upload_keeps_replies_in_order() {
    let server = Server::start();
    let mount = mounted(&server);
    put(&mount, "first", 3000);
    server.once("STOR /refused", Act::Reply("553 Permission denied"));
    mount.python(
        "try:
    with open('refused', 'wb') as file: file.write(b'r' * 3000)
    raise SystemExit('no error')
except PermissionError:
    pass",
    );
    put(&mount, "next", 3000);
    assert_eq!(server.connected(), 1);
}

#[test]
fn size_reply_after_a_cut_upload_causes_a_resend() {
    let server = Server::start();
    let mount = mounted(&server);
    put(&mount, "first", 3000);
    server.once("STOR /cut", Act::Short(1000));
    let bytes = put(&mount, "cut", 3000);
    assert!(has(&server, "/cut", &bytes));
    assert_eq!(server.count("STOR /cut"), 2);
}

#[test]
fn exclusive_create_stores_data_with_the_creating_command() {
    let server = Server::start();
    let mount = Mount::of(&server);
    mount.python(
        "os.listdir('.')
for name in 'abcdef':
    file = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    os.write(file, name.encode() * 100)
    os.close(file)",
    );
    for name in ["a", "b", "c", "d", "e", "f"] {
        let made = name.repeat(100);
        assert_eq!(
            server.tree().bytes(format!("/{name}")),
            Some(made.as_bytes())
        );
    }
    // The APPE that made each file took its bytes too.
    let made: Vec<String> = "abcdef"
        .chars()
        .map(|name| format!("APPE /{name}"))
        .collect();
    assert_eq!(server.since(0, &["APPE", "STOR"]), made);
}

#[test]
fn exclusive_create_is_sent_to_the_server_each_time() {
    let server = Server::start();
    let mount = Mount::of(&server);
    mount.python(
        "os.listdir('.')
for name in 'abcdef':
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    os.unlink(name)",
    );
    assert_eq!(server.count("APPE"), 6);
    assert_eq!(server.count("STOR"), 0);
}

#[test]
fn an_old_file_that_may_not_be_written_to_keeps_its_rights() {
    for size in [3000, 1 << 20] {
        let server = Server::start();
        server.tree().put("/f", pattern(10));
        let mount = mounted(&server);
        put(&mount, "first", 3000);
        server.on("STOR /f", Act::Reply("553 Permission denied"));
        mount.python(&format!(
            "file = os.open('f', os.O_WRONLY | os.O_TRUNC); os.fchmod(file, 0o600)
try:
    os.write(file, b'f' * {size}); os.close(file)
    raise SystemExit('no error')
except OSError:
    pass"
        ));
        assert_eq!(server.count("SITE CHMOD 600 /f"), 0);
        assert!(has(&server, "/f", &pattern(10)));
    }
}

/// The connection is lost at the query before; the empty file is another client's.
#[test]
fn exclusive_create_after_lost_reply_rejects_an_empty_file() {
    let server = Server::start();
    let mount = mounted(&server);
    put(&mount, "first", 3000);
    server.tree().put("/lock", "");
    server.once("SIZE /lock", Act::HangUp);
    let said = mount.error("os.open('lock', os.O_CREAT | os.O_EXCL | os.O_WRONLY)");
    assert_eq!(said, "EEXIST");
}

#[test]
fn exclusive_create_keeps_anothers_file() {
    let server = Server::start();
    let mount = Mount::of(&server);
    put(&mount, "first", 3000);
    mount.sh("ls");
    server.tree().put("/theirs", pattern(10));
    let mark = server.mark();
    mount.sh("set -C; ! echo mine > theirs");
    assert!(has(&server, "/theirs", &pattern(10)));
    soon("the connection is free", || {
        server.count("APPE /theirs") == 1
    });
    assert!(server.since(mark, &["SITE"]).is_empty());
}

/// `EPSV` for the next transfer is sent together with the next `LIST`.
#[test]
fn first_listing_shows_whether_epsv_can_be_pipelined() {
    let server = Server::start();
    server.tree().put("/d/f", pattern(10));
    let mount = Mount::with(&server, ONE_CONNECTION);
    mount.sh("ls; ls d");
    let all = server.since(0, &["MLSD", "NOOP", "EPSV"]);
    assert_eq!(all, ["EPSV", "MLSD", "NOOP", "EPSV", "MLSD", "EPSV"]);
}

#[test]
fn aborted_small_file_keeps_replies_in_order() {
    let server = Server::start();
    server.tree().put("/f", pattern(3000));
    server.tree().put("/g", pattern(3000));
    let mount = mounted(&server);
    server.once("RETR /f", Act::Cut(1000));
    mount.sh("cmp f g");
    mount.sh("ls -l; cmp g f");
    assert!(server.connected() <= 2, "{} logins", server.connected());
}

#[test]
fn query_replies_before_the_150_spoil_no_upload() {
    let server = Server::start();
    server.hurry(Hurry::First);
    let mount = mounted(&server);
    for name in ["a", "b"] {
        let bytes = put(&mount, name, 3000);
        assert!(has(&server, &format!("/{name}"), &bytes));
    }
}

#[test]
fn a_server_that_has_come_to_hurry_is_found_out_by_an_upload() {
    for when in [Hurry::First, Hurry::Second] {
        let server = Server::start();
        let mount = mounted(&server);
        put(&mount, "first", 3000);
        server.hurry(when);
        for name in ["a", "b", "c"] {
            let bytes = put(&mount, name, 3000);
            assert!(has(&server, &format!("/{name}"), &bytes));
        }
        // Found out once, and then no more is asked for too early.
        assert_eq!(server.count("STOR /b") + server.count("STOR /c"), 2);
    }
}

/// With and without the old content.
#[test]
fn commands_dropped_during_an_upload_do_not_fail_it() {
    let server = Server::start();
    let mount = mounted(&server);
    let first = put(&mount, "first", 3000);
    server.hurry(Hurry::Dropped);
    let second = put(&mount, "second", 3000);
    mount.python("file = open('first', 'ab'); file.write(b'more'); file.close()");
    assert!(has(&server, "/first", &[&first[..], b"more"].concat()));
    assert!(has(&server, "/second", &second));
    assert_eq!(server.count("APPE /first"), 1);
}

#[test]
fn facts_that_come_before_the_end_are_not_taken_for_it() {
    let server = Server::start();
    server.tree().put("/f", pattern(3000));
    let mount = mounted(&server);
    put(&mount, "first", 3000);
    // Nothing is stored, and what flew behind is answered before that is said.
    server.once(
        "STOR /f",
        Act::Raw(
            b"150 Go\r\n250-Facts\r\n type=file;size=3000;modify=20260101000000; /f\r\n250 End\r\n\
              229 Entering Extended Passive Mode (|||9|)\r\n451 Failed\r\n"
                .to_vec(),
        ),
    );
    server.once("MLST /f", Act::Raw(Vec::new()));
    server.after(0, "EPSV", Act::Raw(Vec::new()));
    mount.python(
        "file = os.open('f', os.O_WRONLY | os.O_TRUNC); os.write(file, b'f' * 3000); os.close(file)",
    );
    assert!(has(&server, "/f", &b"f".repeat(3000)));
}

#[test]
fn cut_listing_with_later_success_is_not_complete() {
    for (when, words) in [
        (Hurry::First, "200 Fine"),
        (Hurry::Second, "200 Fine"),
        (Hurry::Second, "250 Fine"),
    ] {
        let server = Server::start();
        for number in 0..10 {
            server.tree().put(&format!("/d/{number}"), pattern(1));
        }
        server.hurry(when);
        server.on("NOOP", Act::Reply(words));
        let mount = Mount::with(&server, ONE_CONNECTION);
        server.once("MLSD", Act::Cut(200));
        assert_eq!(mount.sh("ls d").lines().count(), 10, "{when:?} {words}");
    }
}

#[test]
fn server_that_starts_refusing_pipelined_commands_lists() {
    let server = Server::start();
    server.tree().put("/d/f", pattern(10));
    server.tree().put("/e/f", pattern(10));
    let mount = mounted(&server);
    server.hurry(Hurry::Second);
    server.once("EPSV", Act::Reply("450 A transfer is in progress"));
    assert_eq!(
        mount
            .sh("ls d e")
            .lines()
            .filter(|line| *line == "f")
            .count(),
        2
    );
}

#[test]
fn exclusive_create_without_size_checks_by_listing() {
    let server = Script::new().without(&["SIZE"]).start();
    let mount = Mount::of(&server);
    put(&mount, "first", 3000);
    mount.sh("ls");
    server.tree().put("/theirs", pattern(10));
    assert_eq!(
        mount.error("os.write(os.open('theirs', os.O_CREAT | os.O_EXCL | os.O_WRONLY), b'mine')"),
        "EEXIST"
    );
    mount.sh("set -C; echo mine >mine");
    assert!(has(&server, "/theirs", &pattern(10)));
    assert!(has(&server, "/mine", b"mine\n"));
}

/// A size that was queried while the file was streamed is no confirmation of all of it.
#[test]
fn size_reply_to_part_of_a_stream_is_not_its_final_size() {
    let server = Server::start();
    server.tree().put("/a/f", pattern(10));
    let mount = mounted(&server);
    put(&mount, "first", 3000);
    // All of it arrives, and that is not said.
    server.once("APPE /big", Act::Refuse(usize::MAX, "421 Bye"));
    // The one connection is wanted while the file is on its way.
    mount.python(
        "import threading
def others():
    time.sleep(0.6)
    os.listdir('a')
thread = threading.Thread(target=others)
thread.start()
with open('big', 'wb') as file:
    def write():
        file.write(b'b' * (1 << 16))
    while thread.is_alive(): write()
    for _ in range(20): write()",
    );
    assert!(server.count("APPE /big") > 0, "it never made way");
    assert_eq!(server.count("STOR /big"), 1);
}

/// Changes a byte of a large file whose content is not here.
fn change(mount: &Mount) {
    mount.python(
        "file = os.open('large', os.O_WRONLY); os.pwrite(file, b'!', 1 << 20); os.close(file)",
    );
}

#[test]
fn rehearsal_file_is_removed_after_a_lost_connection() {
    let server = Server::start();
    let mut large = pattern(2 << 20);
    server.tree().put("/large", large.clone());
    let mount = mounted(&server);
    server.once("DELE", Act::HangUp);
    change(&mount);
    large[1 << 20] = b'!';
    assert!(has(&server, "/large", &large));
    let stored = server.since(0, &["STOR"]);
    let small = |line: &String| line.starts_with("STOR /.ftpfs-try-");
    assert!(
        stored.len() == 3 && stored[..2].iter().all(small),
        "{stored:?}"
    );
    let name = stored[0].trim_start_matches("STOR ");
    assert!(server.tree().bytes(name).is_none(), "{name} is left");
}

#[test]
fn file_changes_where_the_rehearsal_file_is_refused() {
    for (command, reply) in [
        ("STOR", "553 Permission denied"),
        ("DELE", "550 Permission denied"),
    ] {
        let server = Server::start();
        let mut large = pattern(2 << 20);
        server.tree().put("/large", large.clone());
        let mount = mounted(&server);
        server.once(command, Act::Reply(reply));
        change(&mount);
        large[1 << 20] = b'!';
        assert!(has(&server, "/large", &large));
        let told = mount.log().contains("patch probe: temporary file");
        assert_eq!(told, command == "DELE", "{}", mount.log());
    }
}

#[test]
fn a_file_that_may_not_be_replaced_keeps_its_time() {
    let server = Server::start();
    server.tree().put("/f", pattern(3000));
    let mount = mounted(&server);
    put(&mount, "first", 3000);
    let time = || server.tree().node(b"/f").map(|node| node.modified);
    let before = time();
    // By its time cp -u and rsync would take the old one for the new one.
    server.on("STOR /f", Act::Reply("550 Permission denied"));
    mount.python(
        "file = os.open('f', os.O_WRONLY | os.O_TRUNC)
os.write(file, b'n' * 3000)
os.utime(file, (1000000000, 1000000000))
try:
    os.close(file)
    raise SystemExit('no error')
except PermissionError:
    pass",
    );
    assert_eq!(time(), before);
}

#[test]
fn nopipeline_sends_no_command_before_the_last_reply() {
    let server = Server::start();
    server.tree().put("/d/f", pattern(10));
    let mount = Mount::with(&server, "max_conns=1,nopipeline,timeout=3");
    mount.sh("ls");
    server.once("MLSD", Act::NoFinal);
    mount.try_sh("ls d");
    assert_eq!(server.count("(unheard) EPSV"), 0);
    assert_eq!(mount.sh("ls d"), "f\n");
}
