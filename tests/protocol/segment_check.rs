//! Segments of several streams: what two of them bring must fit together.

use crate::mount::{Mount, pattern};
use crate::scripted::{Act, Server};

const SIZE: usize = 16 << 20;
/// Bytes a second of a transfer that is slow enough for parallel ones to pay.
const SLOW_RATE: usize = 2_000_000;

/// A server that begins where it is told to near the start and at the last byte, and a little before elsewhere.
fn lie(at: usize) -> usize {
    if (2 << 20..SIZE - 1).contains(&at) {
        at - 100
    } else {
        at
    }
}

#[test]
fn mismatched_streams_fail_before_a_wrong_byte() {
    let server = Server::start();
    server.tree().put("/f", pattern(SIZE));
    server.on("RETR", Act::Pace(SLOW_RATE));
    server.on("REST", Act::Misplace(lie));
    let cache = tempfile::tempdir().unwrap();
    let options = format!("cache_dir={}", cache.path().display());
    let mount = Mount::with(&server, &options);
    let said = mount.sh("cat f > $S/got || echo failed");
    let got = mount.scratch("got");
    assert!(pattern(SIZE).starts_with(&got), "{} bytes", got.len());
    assert!(got.len() == SIZE || said.contains("failed"), "{said}");
    let words = "two transfers delivered different bytes";
    assert!(mount.log().contains(words));
    // From then on one stream reads a file.
    let mark = server.mark();
    server.on("RETR", Act::Well);
    mount.sh("cat f > $S/got");
    assert!(mount.scratch("got") == pattern(SIZE));
    assert!(server.since(mark, &["RETR"]).len() <= 1);
    // Nor has the disk kept what was wrong.
    let again = Mount::with(&server, &options);
    again.sh("cat f > $S/got");
    assert!(again.scratch("got") == pattern(SIZE));
}
