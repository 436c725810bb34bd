//! Holes of files: made by the server where it can, sent as zeros up to a limit where it cannot.

use crate::mount::Mount;
use crate::scripted::{Act, Script, Server};

const MIB: u64 = 1 << 20;

/// Sends to other offsets than it is told to: what is stored beyond the end comes right after it.
fn appends(from: usize) -> usize {
    from.min(10)
}

/// What was stored, without the files of probes.
fn stored(server: &Server, from: usize) -> Vec<String> {
    let lines = server.since(from, &["STOR", "APPE"]);
    lines
        .into_iter()
        .filter(|line| !line.contains(".ftpfs-"))
        .collect()
}

/// Counts offsets in 31 bits.
fn wraps(from: usize) -> usize {
    from % (1 << 31)
}

fn size(server: &Server, path: &str) -> u64 {
    server.tree().bytes(path).unwrap().len() as u64
}

#[test]
fn hole_of_a_server_that_seeks_costs_no_zeros() {
    let server = Server::start();
    let mount = Mount::with(&server, "hole_limit=1M");
    mount.python(
        "f = os.open('new', os.O_RDWR | os.O_CREAT); os.pwrite(f, b'head', 0); os.pwrite(f, b'tail', 64 << 20); os.fsync(f)
assert os.pread(f, 8, (64 << 20) - 4) == b'\\0\\0\\0\\0tail'; os.close(f)",
    );
    assert_eq!(stored(&server, 0), ["STOR /new", "STOR /new"]);
    assert_eq!(size(&server, "/new"), 64 * MIB + 4);
    {
        let tree = server.tree();
        let bytes = tree.bytes("/new").unwrap();
        assert_eq!(
            (&bytes[..4], &bytes[bytes.len() - 4..]),
            (&b"head"[..], &b"tail"[..])
        );
    }
    // Each further one costs one transfer; what is known is not probed again.
    let from = server.mark();
    mount.sh("truncate -s 100M new; truncate -s 50M empty; dd if=/dev/zero of=excl bs=1 count=1 seek=40M conv=excl status=none");
    let mut commands = stored(&server, from);
    commands.sort();
    commands.dedup();
    assert_eq!(
        commands,
        ["APPE /excl", "STOR /empty", "STOR /excl", "STOR /new"]
    );
    assert!(
        stored(&server, from).len() <= 6,
        "{:?}",
        stored(&server, from)
    );
    let probes = server.since(from, &["STOR /.ftpfs-"]);
    assert_eq!(probes.len(), 0, "{probes:?}");
    let sizes = ["/new", "/empty", "/excl"].map(|path| size(&server, path));
    assert_eq!(sizes, [100 * MIB, 50 * MIB, 40 * MIB + 1]);
    assert!(mount.sh("ls -A").lines().all(|name| !name.starts_with('.')));
    let spool: u64 = mount
        .sh("du -s --block-size=1 $S/cache | cut -f1")
        .trim()
        .parse()
        .unwrap();
    assert!(spool < MIB, "{spool} bytes");
}

#[test]
fn hole_over_the_limit_is_efbig_before_anything_is_sent() {
    let server = Server::start();
    server.tree().put("/old", "old");
    server.on("REST", Act::Misplace(appends));
    let mount = Mount::with(&server, "hole_limit=8M");
    for (before, call, said) in [
        (
            "f = os.open('f', os.O_RDWR | os.O_CREAT); os.write(f, b'x')",
            "os.pwrite(f, b'x', 1 << 44)",
            "EFBIG",
        ),
        (
            "f = os.open('old', os.O_RDWR)",
            "os.ftruncate(f, 1 << 40)",
            "EFBIG",
        ),
        (
            "f = os.open('old', os.O_RDWR)",
            "os.posix_fallocate(f, 0, 1 << 40)",
            "ENOSPC",
        ),
        ("", "os.truncate('old', 9 << 20)", "EFBIG"),
    ] {
        assert_eq!(mount.error_with(before, call), said, "{call}");
    }
    // Several holes count together.
    let holes = "f = os.open('sum', os.O_RDWR | os.O_CREAT)
for at in range(1, 3): os.pwrite(f, b'x', at * (3 << 20))";
    assert_eq!(
        mount.error_with(holes, "os.pwrite(f, b'x', 12 << 20)"),
        "EFBIG"
    );
    assert_eq!(server.tree().bytes("/old"), Some(&b"old"[..]));
    assert_eq!(size(&server, "/f"), 1);
    assert_eq!(size(&server, "/sum"), 6 * MIB + 1);
    // Within the limit zeros are sent.
    mount.sh("truncate -s 7M old");
    assert_eq!(size(&server, "/old"), 7 * MIB);
    assert_eq!(mount.lost().len(), 0);
}

/// The part would come to lie within the file.
#[test]
fn hole_beyond_the_reach_of_rest_is_no_hole() {
    let server = Server::start();
    let old = vec![b'o'; 3 << 20];
    server.tree().put("/old", old.clone());
    server.on("REST", Act::Misplace(wraps));
    let mount = Mount::of(&server);
    // It makes holes, but not so far.
    mount.sh("truncate -s 40M near");
    assert_eq!(stored(&server, 0), ["STOR /near", "STOR /near"]);
    let far = "f = os.open('old', os.O_RDWR); os.pwrite(f, b'x', (1 << 40) + 2_000_000)";
    assert_eq!(mount.error_with(far, "os.fsync(f)"), "EFBIG");
    assert!(server.tree().bytes("/old") == Some(&old));
    assert_eq!(mount.error("os.truncate('old', 1 << 40)"), "EFBIG");
    assert_eq!(server.tree().paths(), ["/near", "/old"]);
}

#[test]
fn hole_larger_than_the_free_space_is_enospc() {
    let server = Script::new().start();
    server.tree().put("/f", "old");
    server.on(
        "FEAT",
        Act::Reply("211-Features\r\n SIZE\r\n REST STREAM\r\n AVBL\r\n211 End"),
    );
    server.on("AVBL", Act::Reply("213 5000000"));
    server.on("REST", Act::Misplace(appends));
    let mount = Mount::of(&server);
    assert_eq!(mount.error("os.truncate('f', 6000000)"), "ENOSPC");
    assert_eq!(stored(&server, 0).len(), 0);
    mount.sh("truncate -s 4000000 f");
    assert_eq!(size(&server, "/f"), 4_000_000);
}

/// A preallocated file that is then written in order: no zeros are sent, though each of its bytes is dirty.
#[test]
fn preallocated_file_is_streamed_as_it_is_written() {
    let server = Server::start();
    let mount = Mount::of(&server);
    mount.python(
        "f = os.open('f', os.O_RDWR | os.O_CREAT); os.ftruncate(f, 64 << 20)
for n in range(16): os.write(f, bytes([n]) * (1 << 20))
os.fsync(f); os.close(f)",
    );
    assert_eq!(size(&server, "/f"), 64 * MIB);
    let tree = server.tree();
    let bytes = tree.bytes("/f").unwrap();
    for (number, block) in bytes.chunks(1 << 20).enumerate() {
        let expected = if number < 16 { number as u8 } else { 0 };
        assert!(block.iter().all(|&byte| byte == expected), "block {number}");
    }
}

/// A server that stopped to make holes: what was probed is doubted, and the file is stored with its zeros.
#[test]
fn hole_that_a_server_refuses_later_is_sent_as_zeros() {
    let server = Server::start();
    let mount = Mount::of(&server);
    mount.sh("truncate -s 20M a");
    assert_eq!(stored(&server, 0), ["STOR /a", "STOR /a"]);
    server.on("REST", Act::Reply("554 Invalid REST argument"));
    mount.sh("truncate -s 30M b; truncate -s 12M a");
    assert_eq!(
        [size(&server, "/a"), size(&server, "/b")],
        [12 * MIB, 30 * MIB]
    );
    assert_eq!(mount.lost().len(), 0);
}

fn holes_are_zeros(server: &Server, path: &str, data: &[std::ops::Range<usize>]) -> bool {
    let tree = server.tree();
    let bytes = tree.bytes(path).unwrap();
    let is_data = |at: &usize| data.iter().any(|range| range.contains(at));
    (0..bytes.len())
        .filter(|at| !is_data(at))
        .all(|at| bytes[at] == 0)
}

/// A file system without holes leaves old bytes in large ones; the small one of the probe is clean.
#[test]
fn hole_that_holds_old_bytes_is_sent_as_zeros() {
    let server = Server::start();
    server.tree().fill_holes_over(1 << 16);
    server.tree().put("/old", "0123456789");
    server.tree().put("/third", "0123456789");
    let mount = Mount::of(&server);
    mount.python(
        "f = os.open('old', os.O_RDWR); os.pwrite(f, b'tail', 8 << 20); os.fsync(f); os.close(f)",
    );
    assert_eq!(size(&server, "/old"), 8 * MIB + 4);
    assert!(holes_are_zeros(
        &server,
        "/old",
        &[0..10, 8 << 20..(8 << 20) + 4]
    ));
    assert!(
        server.count("REST") > 1,
        "the server was asked to make a hole"
    );
    // From then on zeros are sent at once, to new files too.
    let from = server.mark();
    mount.sh("truncate -s 3M new; truncate -s 4M third");
    assert!(holes_are_zeros(&server, "/new", &[]));
    assert!(holes_are_zeros(
        &server,
        "/third",
        std::slice::from_ref(&(0..10))
    ));
    assert_eq!(server.since(from, &["RETR /new", "RETR /third"]).len(), 0);
    assert_eq!(mount.lost().len(), 0);
    assert_eq!(
        mount.sh("head -c 10 old; tail -c 4 old; wc -c < old"),
        "0123456789tail8388612\n"
    );
}

#[test]
fn new_file_with_old_bytes_in_its_holes_is_sent_whole() {
    let server = Server::start();
    server.tree().fill_holes_over(1 << 16);
    let mount = Mount::of(&server);
    mount.python(
        "f = os.open('new', os.O_RDWR | os.O_CREAT); os.pwrite(f, b'head', 0); os.pwrite(f, b'tail', 8 << 20); os.fsync(f); os.close(f)",
    );
    assert_eq!(size(&server, "/new"), 8 * MIB + 4);
    assert!(holes_are_zeros(
        &server,
        "/new",
        &[0..4, 8 << 20..(8 << 20) + 4]
    ));
    assert!(
        server.count("REST") > 1,
        "the server was asked to make a hole"
    );
    assert_eq!(mount.lost().len(), 0);
}
