//! Who waits for whom: what nobody waits for yet, and what takes long, makes way.

use crate::mount::{Mount, pattern, soon};
use crate::scripted::{Act, Script, Server};

const MIB: usize = 1 << 20;

#[test]
fn a_listing_gets_a_connection_of_a_slow_reader_before_a_block_is_full() {
    let server = Server::start();
    server.tree().put("/f", pattern(MIB));
    server.tree().put("/d/g", "x");
    server.tree().put("/e/h", "x");
    // A block of 128 KiB would take it six seconds.
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
fn a_reader_of_a_server_without_rest_keeps_its_connection_until_all_has_come() {
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
fn where_further_connections_are_refused_without_a_word_transfers_make_way() {
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
fn a_file_whose_fetching_ahead_hangs_is_read_all_the_same() {
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
fn what_is_slowly_fetched_ahead_is_waited_for_as_long_as_it_gets_on() {
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
