//! Names that we change while something is under way below them.

use crate::mount::{Mount, pattern, soon};
use crate::scripted::{Act, Gate, Server};

/// Bytes a second of a transfer that takes some seconds.
const SLOW_RATE: usize = 1_000_000;

#[test]
fn prefetched_file_is_not_shown_under_a_reused_name() {
    let server = Server::start();
    for number in 0..8 {
        let bytes = number.to_string().repeat(1000);
        server.tree().put(&format!("/f{number}"), bytes);
    }
    let gate = Gate::default();
    server.on("RETR /f3", Act::Until(gate.clone()));
    let mount = Mount::of(&server);
    mount.sh("ls; cat f0 f1 f2 > /dev/null");
    server.await_count("RETR /f3", 1);
    // When the server comes to it, the name is that of another file of the same size and time.
    mount.sh("mv f3 a; mv f4 f3");
    gate.open();
    soon("the transfer is over", || server.sent() >= 4000);
    assert_eq!(mount.sh("head -c 1 a; head -c 1 f3"), "34");
    assert_eq!(mount.sh("cat a"), "3".repeat(1000));
}

#[test]
fn file_renamed_while_read_is_read_to_its_end() {
    for rename in ["mv d/f d/g", "mv d e"] {
        let server = Server::start();
        server.tree().put("/d/f", pattern(3 << 20));
        server.on("RETR", Act::Pace(SLOW_RATE));
        let mount = Mount::with(&server, "timeout=5");
        let mut reader = mount.start("cat d/f > $S/got");
        soon("bytes have come", || server.sent() > 200_000);
        mount.sh(rename);
        assert!(!reader.is_over());
        server.on("RETR", Act::Well);
        reader.end();
        assert!(mount.scratch("got") == pattern(3 << 20), "{rename}");
    }
}

#[test]
fn a_rename_that_may_have_happened_is_looked_for() {
    let server = Server::start();
    server.tree().put("/f", "content");
    let gate = Gate::default();
    let mount = Mount::with(&server, "timeout=2");
    mount.sh("ls -l");
    server.on("RNTO", Act::Hold(gate.clone()));
    assert_eq!(mount.error("os.rename('f', 'g')"), "ETIMEDOUT");
    gate.open();
    assert_eq!(mount.sh("ls; cat g"), "g\ncontent");
    assert_eq!(mount.error("os.stat('f')"), "ENOENT");
}
