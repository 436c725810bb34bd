//! Reading in the middle of a file: servers that begin there, that say so and do not, and that can't.

use crate::mount::{Mount, pattern, soon};
use crate::scripted::{Act, Script, Server};

const SIZE: usize = 8 << 20;
/// What a server says that takes no notice of `REST`.
const AS_YOU_LIKE: Act = Act::Reply("350 As you like");

fn server() -> Server {
    let server = Server::start();
    server.tree().put("/f", pattern(SIZE));
    server
}

/// What is read there without the kernel's readahead, which would ask once more after an error.
fn is_right_at(mount: &Mount, at: usize, length: usize) {
    mount.python(&format!(
        "place = mmap.mmap(-1, {length})
f = os.open('f', os.O_RDONLY | os.O_DIRECT)
got = os.preadv(f, [place], {at})
open(os.environ['S'] + '/got', 'wb').write(place[:got])"
    ));
    assert!(
        mount.scratch("got") == pattern(SIZE)[at..][..length.min(SIZE - at)],
        "at {at}"
    );
}

fn kept(mount: &Mount, fact: &str) -> bool {
    let files = std::fs::read_dir(mount.path("cache/ftpfs/servers")).unwrap();
    files
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .any(|text| text.lines().any(|line| line == fact))
}

/// A `REST` to the last byte must bring that byte alone.
#[test]
fn first_seek_checks_rest_by_the_last_byte_once_for_all_mounts() {
    let server = server();
    let mut mount = Mount::with(&server, "max_conns=1");
    is_right_at(&mount, 4 << 20, 4096);
    is_right_at(&mount, 2 << 20, 4096);
    let commands = ["REST 8388607", "REST 4194304", "REST 2097152"];
    assert_eq!(server.since(0, &["REST"]), commands);
    mount.unmount();
    assert!(kept(&mount, "rest yes"));
    mount.again(&server);
    is_right_at(&mount, 1 << 20, 4096);
    assert_eq!(server.count("REST"), 4);
}

#[test]
fn seek_to_the_end_checks_rest_by_itself() {
    let server = server();
    let mut mount = Mount::of(&server);
    is_right_at(&mount, SIZE - (64 << 10), 64 << 10);
    is_right_at(&mount, 2 << 20, 4096);
    assert_eq!(server.since(0, &["REST"]), ["REST 8323072", "REST 2097152"]);
    mount.unmount();
    assert!(kept(&mount, "rest yes"));
}

#[test]
fn ignored_rest_is_detected_before_bytes_are_used() {
    for at in [4 << 20, SIZE - (64 << 10)] {
        let server = server();
        server.on("REST", AS_YOU_LIKE);
        let mut mount = Mount::of(&server);
        is_right_at(&mount, at, 4096);
        let tried = server.count("REST");
        is_right_at(&mount, 6 << 20, 4096);
        assert_eq!(server.count("REST"), tried);
        assert!(mount.log().contains("the server ignores REST"));
        mount.unmount();
        assert!(kept(&mount, "once rest no"));
        mount.again(&server);
        is_right_at(&mount, at, 4096);
        mount.unmount();
        assert!(kept(&mount, "rest no"));
        let tried = server.count("REST");
        mount.again(&server);
        is_right_at(&mount, 2 << 20, 4096);
        assert_eq!(server.count("REST"), tried);
    }
}

#[test]
fn a_server_that_refuses_rest_is_read_from_the_start_at_once() {
    let server = Script::new().without(&["REST"]).start();
    server.tree().put("/f", pattern(SIZE));
    let mount = Mount::of(&server);
    is_right_at(&mount, 4 << 20, 4096);
    is_right_at(&mount, 6 << 20, 4096);
    assert_eq!(server.count("REST"), 1);
}

#[test]
fn file_growing_during_the_rest_check_leaves_rest_untested() {
    let server = server();
    let mut mount = Mount::of(&server);
    mount.sh("ls -l");
    // Others append: the last byte that is known is not the last one.
    server.tree().put("/f", pattern(SIZE + 100));
    mount.try_sh("dd if=f of=$S/got bs=4096 skip=1024 count=1 iflag=direct");
    let got = mount.scratch("got");
    assert!(pattern(SIZE)[4 << 20..].starts_with(&got));
    mount.unmount();
    assert!(!kept(&mount, "rest no"));
}

/// Some servers end an aborted transfer with another 150.
#[test]
fn second_150_after_an_aborted_transfer_keeps_connections() {
    let server = server();
    // Pure-FTPd does.
    server.on("RETR", Act::BrokenOff("150 0.2 seconds (measured here)"));
    let mount = Mount::with(&server, "max_conns=3,cache_size=16M");
    for at in [1, 6, 2, 5, 3, 4] {
        is_right_at(&mount, at << 20, 4096);
    }
    soon("the last transfer has ended", || server.count("NOOP") >= 5);
    assert!(server.connected() <= 3, "{}", server.connected());
}

#[test]
fn a_size_that_is_wrong_or_unknown_never_makes_up_bytes() {
    // SIZE and the listing are all that tells it.
    for said in ["213 8389608", "213 8387608", "550 I do not know"] {
        let server = Script::new().without(&["MLST", "MLSD"]).start();
        server.tree().put("/f", pattern(SIZE));
        server.on("SIZE", Act::Reply(said));
        let mount = Mount::of(&server);
        mount.try_sh("cat f > $S/whole");
        let whole = mount.scratch("whole");
        assert!(pattern(SIZE).starts_with(&whole), "{said}: {}", whole.len());
        mount.try_sh("dd if=f of=$S/got bs=4096 skip=1024 count=1 iflag=direct");
        let got = mount.scratch("got");
        assert!(pattern(SIZE)[4 << 20..].starts_with(&got), "{said}");
    }
}

#[test]
fn a_file_without_a_size_is_read_to_its_end() {
    let server = server();
    server.on(
        "MLST",
        Act::Reply("250-Facts\r\n type=file;modify=20260101000000; /f\r\n250 End"),
    );
    server.on(
        "MLSD",
        Act::Listing(b"type=file;modify=20260101000000; f\r\n".to_vec()),
    );
    server.on("SIZE", Act::Reply("550 I do not know"));
    let mount = Mount::of(&server);
    mount.sh("cat f > $S/whole");
    assert!(mount.scratch("whole") == pattern(SIZE));
    is_right_at(&mount, 4 << 20, 4096);
}

#[test]
fn a_file_that_grows_shows_its_new_lines_within_the_cache_time() {
    let server = Server::start();
    server.tree().put("/log", "one\n");
    let mount = Mount::with(&server, "cache_timeout=1");
    let reader = mount.start("tail -n +1 -s 0.1 -f log");
    reader.await_words("one");
    server.tree().put("/log", "one\ntwo\n");
    server.tree().node_mut("/log").unwrap().modified += 1;
    reader.await_words("one\ntwo\n");
    server.tree().put("/log", "one\ntwo\nthree\n");
    server.tree().node_mut("/log").unwrap().modified += 2;
    reader.await_words("one\ntwo\nthree\n");
}

#[test]
fn file_vanished_or_shrunk_during_read_fails_after_right_bytes() {
    for now in [None, Some(1_000_001)] {
        let server = server();
        server.once("RETR", Act::Cut(3 << 20));
        // What it is now is seen when the transfer is taken up again.
        let gate = crate::scripted::Gate::default();
        server.after(1, "MLST /f", Act::Until(gate.clone()));
        let mount = Mount::of(&server);
        let mut reader = mount.start("cat f > $S/got || echo failed");
        server.await_count("MLST /f", 2);
        match now {
            None => server.tree().remove("/f"),
            Some(size) => {
                server.tree().put("/f", pattern(size));
                server.tree().node_mut("/f").unwrap().modified += 1;
            }
        }
        gate.open();
        assert!(reader.end().contains("failed"), "{now:?}");
        assert!(pattern(SIZE).starts_with(&mount.scratch("got")), "{now:?}");
    }
}
