//! Requests without a free connection: prefetches and long transfers yield theirs.

use crate::mount::{Mount, pattern, soon};
use crate::scripted::{Act, Script, Server};

const MIB: usize = 1 << 20;

/// It does not wait until the reader's block of the cache is full.
#[test]
fn listing_takes_a_slow_readers_connection_within_a_block() {
    let server = Server::start();
    server.tree().put("/f", pattern(MIB));
    server.tree().put("/d/g", "x");
    server.tree().put("/e/h", "x");
    // A block of 256 KiB would take it more than ten seconds.
    server.on("RETR /f", Act::Pace(20_000));
    let mount = Mount::with(&server, "max_conns=1");
    let mut reader = mount.start("cat f > $S/got");
    soon("bytes have come", || server.sent() > 1000);
    let before = server.sent();
    assert_eq!(mount.sh("ls d"), "g\n");
    let sent = server.sent() - before;
    assert!(sent < 100_000, "{sent} bytes");
    assert!(!reader.is_over());
    server.behave();
    // The transfer that makes way for this one was slow; the next one is not.
    assert_eq!(mount.sh("ls e"), "h\n");
    reader.end();
    assert!(mount.scratch("got") == pattern(MIB));
}

#[test]
fn reader_without_rest_keeps_its_connection_to_the_end() {
    let server = Script::new().without(&["REST"]).start();
    server.tree().put("/f", pattern(2 * MIB));
    server.tree().put("/d/g", "x");
    server.on("RETR /f", Act::Pace(MIB));
    let mount = Mount::with(&server, "max_conns=1");
    let mut reader = mount.start("cat f > $S/got");
    soon("bytes have come", || server.sent() > 1000);
    assert_eq!(mount.sh("ls d"), "g\n");
    reader.end();
    assert!(mount.scratch("got") == pattern(2 * MIB));
}

#[test]
fn transfers_yield_when_connections_are_refused_silently() {
    let server = Server::start();
    for name in ["/f", "/g"] {
        server.tree().put(name, pattern(64 * MIB));
    }
    server.tree().put("/d/h", "x");
    server.on("RETR", Act::Pace(MIB));
    let mount = Mount::of(&server);
    let mut first = mount.start("cat f > $S/f");
    soon("a second connection", || server.connections() == 2);
    server.on("USER", Act::HangUp);
    let mut second = mount.start("cat g > $S/g");
    soon("both are read", || server.count("RETR") >= 2);
    assert_eq!(mount.sh("ls d"), "h\n");
    assert!(!first.is_over() && !second.is_over());
}

#[test]
fn file_with_hanging_prefetch_is_read() {
    let server = Server::start();
    for number in 0..8 {
        server.tree().put(&format!("/f{number}"), vec![b'x'; 1000]);
    }
    let mount = Mount::with(&server, "timeout=6");
    server.once("RETR /f3", Act::Stall(10));
    mount.sh("ls; cat f0 f1 f2 > /dev/null");
    server.await_count("RETR /f3", 1);
    assert_eq!(mount.sh("cat f3 | wc -c").trim(), "1000");
}

#[test]
fn slow_prefetch_is_awaited_while_it_progresses() {
    let server = Server::start();
    for number in 0..8 {
        server.tree().put(&format!("/f{number}"), pattern(50_000));
    }
    let mount = Mount::with(&server, "timeout=3");
    mount.sh("ls; cat f0 f1 > /dev/null");
    server.on("RETR", Act::Pace(8_000));
    mount.sh("cat f2 f3 > $S/got");
    assert!(mount.scratch("got") == pattern(50_000).repeat(2));
}

/// Each file's time is set after its upload, and so is the target of a link in a file asked for.
#[test]
fn new_files_need_one_connection_at_a_time() {
    let server = Server::start();
    let mut mount = Mount::with(&server, "max_conns=1,writeback,mfsymlinks,timeout=5");
    mount.python(
        "for name in 'abc':
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600); os.write(file, b'new')
    os.utime(file, (1e9, 1e9)); os.close(file)
os.symlink('a', 'link')",
    );
    mount.sh("sync -f a");
    for name in ["/a", "/b", "/c"] {
        assert!(server.tree().bytes(name) == Some(b"new"), "{name}");
    }
    assert!(!mount.log().contains("timed out"), "{}", mount.log());
    mount.unmount();
}
