//! Uploads in one flight: questions behind them, bytes before the server's consent, and copies.

use crate::mount::{Mount, pattern, soon};
use crate::scripted::{Act, Hurry, Script, Server};

/// By which a mount keeps to one connection, so that what flew is seen in order.
const ONE: &str = "max_conns=1";
const UPLOADS: [&str; 6] = ["STOR", "APPE", "SIZE", "MDTM", "MLST", "SITE"];

/// A mount that knows what is there.
fn mounted(server: &Server) -> Mount {
    let mount = Mount::with(server, ONE);
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

#[test]
fn one_upload_shows_whether_questions_may_fly_behind_the_next() {
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
fn a_server_that_answers_at_once_is_asked_behind_the_confirmation() {
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
fn bytes_that_came_too_early_are_sent_again_and_never_early_again() {
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
fn a_stream_whose_first_bytes_went_early_and_were_lost_is_sent_again() {
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
fn a_stream_that_lost_its_first_bytes_is_not_gone_on_with_behind_the_others() {
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
fn a_refused_stream_whose_first_bytes_went_early_leaves_its_connection_in_step() {
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
fn a_refused_upload_leaves_its_connection_in_step() {
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
fn what_is_said_behind_a_cut_upload_has_it_sent_again() {
    let server = Server::start();
    let mount = mounted(&server);
    put(&mount, "first", 3000);
    server.once("STOR /cut", Act::Short(1000));
    let bytes = put(&mount, "cut", 3000);
    assert!(has(&server, "/cut", &bytes));
    assert_eq!(server.count("STOR /cut"), 2);
}

#[test]
fn exclusive_create_stores_bytes_with_the_command_that_made_the_file() {
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

#[test]
fn an_empty_file_of_others_is_not_taken_for_our_own_because_a_try_to_make_it_was_lost() {
    let server = Server::start();
    let mount = mounted(&server);
    put(&mount, "first", 3000);
    server.tree().put("/lock", "");
    server.once("SIZE /lock", Act::HangUp);
    let said = mount.error("os.open('lock', os.O_CREAT | os.O_EXCL | os.O_WRONLY)");
    assert_eq!(said, "EEXIST");
}

#[test]
fn a_file_of_others_is_not_touched_by_one_that_must_be_new() {
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

#[test]
fn a_listing_shows_whether_the_next_data_connection_may_be_asked_for_with_the_next_one() {
    let server = Server::start();
    server.tree().put("/d/f", pattern(10));
    let mount = Mount::with(&server, ONE);
    mount.sh("ls; ls d");
    let all = server.since(0, &["MLSD", "NOOP", "EPSV"]);
    assert_eq!(all, ["EPSV", "MLSD", "NOOP", "EPSV", "MLSD", "EPSV"]);
}

#[test]
fn a_small_file_that_is_broken_off_leaves_its_connection_in_step() {
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
fn questions_that_are_answered_before_the_consent_spoil_no_upload() {
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
fn a_listing_that_is_cut_is_not_whole_because_something_else_went_well() {
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
        let mount = Mount::with(&server, ONE);
        server.once("MLSD", Act::Cut(200));
        assert_eq!(mount.sh("ls d").lines().count(), 10, "{when:?} {words}");
    }
}

#[test]
fn a_server_that_has_come_to_refuse_what_follows_a_listing_still_lists() {
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
fn a_file_that_must_be_new_is_looked_for_where_sizes_are_not_told() {
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

#[test]
fn what_was_said_of_a_part_of_a_stream_is_not_taken_for_a_word_on_all_of_it() {
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
fn the_small_file_of_a_rehearsal_goes_again_even_where_the_connection_does_first() {
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
fn where_no_small_file_can_be_made_or_removed_a_file_changes_all_the_same() {
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
    // As ProFTPD does without AllowOverwrite. By its time cp -u and rsync would take the old one for the new one.
    server.on("STOR /f", Act::Reply("550 Overwrite permission denied"));
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
fn without_flights_no_command_comes_before_the_last_one_is_answered() {
    let server = Server::start();
    server.tree().put("/d/f", pattern(10));
    let mount = Mount::with(&server, "max_conns=1,nopipeline,timeout=3");
    mount.sh("ls");
    server.once("MLSD", Act::NoFinal);
    mount.try_sh("ls d");
    assert_eq!(server.count("(unheard) EPSV"), 0);
    assert_eq!(mount.sh("ls d"), "f\n");
}
