//! Reading: how many transfers it takes, and that the bytes are right however these end.

use crate::mount::{Mount, pattern, soon};
use crate::scripted::{Act, Gate, Script, Server};

/// More than what is read ahead.
const FILE_SIZE: usize = 20 << 20;

/// What `f` holds is as on the server.
fn is_right(mount: &Mount, server: &Server, name: &str) {
    let expected = server.tree().bytes(format!("/{name}")).map(<[u8]>::to_vec);
    mount.sh(&format!("cat {name} > $S/got"));
    assert!(mount.scratch("got") == expected.unwrap(), "{name} differs");
}

#[test]
fn a_sequential_read_of_a_large_file_is_one_retr() {
    let server = Server::start();
    server.tree().put("/f", pattern(FILE_SIZE));
    let mount = Mount::of(&server);
    is_right(&mount, &server, "f");
    assert_eq!(server.since(0, &["RETR", "REST"]), ["RETR /f"]);
}

#[test]
fn read_blocks_are_not_fetched_again() {
    let server = Server::start();
    server.tree().put("/f", pattern(1 << 20));
    let mount = Mount::of(&server);
    mount.sh("cat f f > /dev/null; cmp f f");
    assert_eq!(server.count("RETR"), 1);
}

#[test]
fn two_readers_of_one_file_share_one_retr() {
    let server = Server::start();
    server.tree().put("/f", pattern(8 << 20));
    let mount = Mount::of(&server);
    mount.python(
        "a, b = open('f', 'rb', 0), open('f', 'rb', 0)
while True:
    x, y = a.read(300000), b.read(300000)
    assert x == y
    if not x: break",
    );
    assert_eq!(server.since(0, &["RETR", "REST"]), ["RETR /f"]);
}

#[test]
fn a_seek_restarts_where_it_goes() {
    let server = Server::start();
    server.tree().put("/f", pattern(FILE_SIZE));
    let mount = Mount::of(&server);
    mount.python("f = open('f', 'rb', 0); f.read(10); f.seek(15 << 20); open(os.environ['S'] + '/got', 'wb').write(f.read(1000))");
    assert!(mount.scratch("got") == pattern(FILE_SIZE)[15 << 20..][..1000]);
    // Between them, the last byte shows that the server begins where it is told to.
    let commands = server.since(0, &["REST", "RETR"]);
    assert_eq!(
        commands,
        [
            "RETR /f",
            "REST 20971519",
            "RETR /f",
            "REST 15728640",
            "RETR /f"
        ]
    );
}

#[test]
fn without_rest_a_seek_brings_the_right_bytes_still() {
    let server = Script::new().without(&["REST"]).start();
    server.tree().put("/f", pattern(FILE_SIZE));
    let mount = Mount::of(&server);
    mount.python("f = open('f', 'rb', 0); f.seek(15 << 20); open(os.environ['S'] + '/got', 'wb').write(f.read(1000))");
    assert!(mount.scratch("got") == pattern(FILE_SIZE)[15 << 20..][..1000]);
}

#[test]
fn a_transfer_that_is_cut_is_taken_up_where_it_ended() {
    for act in [Act::Cut(3_000_000), Act::CutBoth(3_000_000)] {
        let server = Server::start();
        server.tree().put("/f", pattern(FILE_SIZE));
        server.once("RETR", act);
        // Over several it tries on a slow machine whether two streams are faster.
        let mount = Mount::with(&server, "max_conns=1");
        is_right(&mount, &server, "f");
        // Between them, where something had come already, the last byte shows that the server begins where it is
        // told to.
        let proofs = server.count(&format!("REST {}", FILE_SIZE - 1));
        assert_eq!(server.count("RETR") - proofs, 2);
    }
}

#[test]
fn transfers_that_are_always_cut_bring_the_file_piece_by_piece() {
    let server = Server::start();
    server.tree().put("/f", pattern(3_000_000));
    server.on("RETR", Act::Cut(400_000));
    let mount = Mount::of(&server);
    is_right(&mount, &server, "f");
}

#[test]
fn transfers_that_bring_nothing_are_an_error() {
    let server = Server::start();
    server.tree().put("/f", pattern(3_000_000));
    server.on("RETR", Act::Cut(0));
    let mount = Mount::with(&server, "timeout=5");
    assert_eq!(mount.error("open('f', 'rb').read()"), "EIO");
    server.behave();
    is_right(&mount, &server, "f");
}

#[test]
fn short_transfer_with_226_never_reads_as_zeros() {
    let server = Server::start();
    server.tree().put("/f", pattern(3_000_000));
    server.once("RETR", Act::Short(500_000));
    let mount = Mount::of(&server);
    let outcome = mount.try_sh("cat f > $S/got");
    assert!(outcome.status.is_some());
    let (got, expected) = (mount.scratch("got"), pattern(3_000_000));
    // Right to the end, or an error behind right bytes.
    assert!(
        got == expected || !outcome.succeeded() && expected.starts_with(&got),
        "{} bytes",
        got.len()
    );
}

#[test]
fn a_file_that_shrank_is_shorter_or_an_error_and_never_zeros() {
    for without in [&[][..], &["REST"]] {
        let server = Script::new().without(without).start();
        server.tree().put("/f", pattern(3_000_000));
        let mount = Mount::of(&server);
        mount.sh("ls -l");
        server.tree().put("/f", pattern(1_000_001));
        let read = mount.try_sh("cat f > $S/got");
        assert!(read.status.is_some());
        assert!(pattern(1_000_001).starts_with(&mount.scratch("got")));
        let mapped = mount.try_sh("cp f $S/copied");
        assert!(mapped.status.is_some());
        assert!(!mount.scratch("copied").contains(&0));
    }
}

#[test]
fn file_replaced_during_read_is_never_mixed() {
    let server = Server::start();
    server.tree().put("/f", pattern(FILE_SIZE));
    server.once("RETR", Act::Cut(3_000_000));
    // Before the transfer is taken up again, another content comes.
    let gate = Gate::default();
    server.after(1, "MLST /f", Act::Until(gate.clone()));
    let mount = Mount::of(&server);
    let mut reader = mount.start("cat f > $S/got || echo failed");
    server.await_count("MLST /f", 2);
    server.tree().put("/f", vec![b'N'; FILE_SIZE + 5]);
    gate.open();
    assert!(reader.end().contains("failed"));
    assert!(pattern(FILE_SIZE).starts_with(&mount.scratch("got")));
    // The next open gets the new content.
    is_right(&mount, &server, "f");
}

#[test]
fn a_missing_file_is_enoent_though_its_name_was_listed() {
    let server = Server::start();
    server.tree().put("/f", "here");
    let mount = Mount::of(&server);
    mount.sh("ls -l");
    server.tree().remove("/f");
    assert_eq!(mount.error("open('f').read()"), "ENOENT");
    // The name is gone once that was seen.
    assert_eq!(mount.error("open('f').read()"), "ENOENT");
}

/// Without a lookup before the second open: by a descriptor of the name.
#[test]
fn file_removed_by_another_client_opens_as_enoent() {
    for without in [&[][..], &["MLSD", "MLST"]] {
        let server = Script::new().without(without).start();
        server.tree().put("/f", "here");
        let mount = Mount::with(&server, "cache_timeout=1");
        let script = "import errno, os, time
fd = os.open('f', os.O_PATH)
os.stat('f')
open(os.environ['S'] + '/listed', 'w')
while not os.path.exists(os.environ['S'] + '/removed'): time.sleep(0.1)
time.sleep(1.1)
for path in f'/proc/self/fd/{fd}', f'/proc/self/fd/{fd}', 'f':
    try: os.open(path, os.O_RDONLY)
    except OSError as e: print(errno.errorcode[e.errno])";
        std::fs::write(mount.path("script"), script).unwrap();
        let mut opener = mount.start("python3 -I $S/script");
        soon("it is listed", || mount.path("listed").exists());
        server.tree().remove("/f");
        std::fs::write(mount.path("removed"), "").unwrap();
        let said = opener.end();
        assert_eq!(said, "ENOENT\n".repeat(3));
    }
}

#[test]
fn a_server_that_refuses_to_read_is_an_error_with_its_reason() {
    let server = Server::start();
    server.tree().put("/f", "closed");
    let mount = Mount::of(&server);
    server.on("RETR", Act::Reply("550 Permission denied"));
    assert_eq!(mount.error("open('f').read()"), "EACCES");
}
