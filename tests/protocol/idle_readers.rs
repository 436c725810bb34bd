//! Readers that stop, and those that want the connections which they hold.

use std::thread::sleep;
use std::time::Duration;

use crate::mount::{Mount, Running, pattern};
use crate::scripted::{Act, Script, Server};

const MIB: usize = 1 << 20;
/// More than all that may be under way to a reader that stops.
const FILE_SIZE: usize = 64 * MIB;
/// The largest window, and what the sockets of both ends may hold (tcp_rmem, tcp_wmem).
const IN_FLIGHT_LIMIT: usize = (16 + 6 + 4) * MIB;
/// Bytes a second of a transfer that is slow enough for parallel ones to pay.
const SLOW_RATE: usize = 2_000_000;

/// Reads a file up to `first` bytes, and goes on when the pipe `go` is written to.
fn start(mount: &Mount, name: &str, first: usize) -> Running {
    let pipe = format!("go-{name}");
    mount.make_fifo(&pipe);
    let reader = mount.start(&format!(
        "exec 3<>$S/{pipe}; {{ head -c {first} && echo stopped >&2 && read -r <&3 && cat; }} < {name} > $S/got-{name}"
    ));
    reader.await_words("stopped");
    reader
}

fn is_whole(mount: &Mount, reader: &mut Running, name: &str, bytes: &[u8]) {
    mount.sh(&format!("echo > $S/go-{name}"));
    reader.end();
    let got = mount.scratch(&format!("got-{name}"));
    assert!(got == bytes, "{name}: {} bytes", got.len());
}

/// What the server has sent, when that changes no more.
fn settled(server: &Server) -> usize {
    let mut before = usize::MAX;
    while before != server.sent() {
        before = server.sent();
        sleep(Duration::from_millis(300));
    }
    before
}

#[test]
fn a_reader_that_stops_leaves_its_window_full_and_no_more() {
    let server = Server::start();
    server.tree().put("/f", pattern(FILE_SIZE));
    let mount = Mount::of(&server);
    let mut reader = start(&mount, "f", 3 * MIB);
    let sent = settled(&server);
    assert!(sent < 3 * MIB + IN_FLIGHT_LIMIT, "{sent} bytes");
    is_whole(&mount, &mut reader, "f", &pattern(FILE_SIZE));
}

#[test]
fn sequential_read_of_a_large_file_reuses_its_buffers() {
    let server = Server::start();
    server.tree().put("/f", pattern(160 * MIB));
    let mount = Mount::of(&server);
    mount.sh("head -c 100000 f > /dev/null");
    let before = mount.peak_memory();
    mount.sh("cat f > /dev/null");
    let grown = mount.peak_memory() - before;
    // One window, and what is kept behind the reader.
    assert!(grown < 80, "{grown} MiB");
}

/// The server sends as fast as it can into a socket that is not read: the window of that is the limit.
#[test]
fn random_reads_leave_little_under_way() {
    const READS: usize = 20;
    /// What the reader gets, what the client's kernel takes, and what the server's kernel has taken.
    const READ_LIMIT: usize = 512 << 10;
    let server = Server::start();
    server.tree().put("/f", pattern(FILE_SIZE));
    server.on("RETR", Act::Unbuffered);
    let mount = Mount::of(&server);
    let script = |first: usize| {
        format!(
            "file = os.open('f', os.O_RDONLY)
for n in range({first}, {first} + {READS}):
    os.pread(file, 4096, (n * 37 % 61 + 1) << 20)
    time.sleep(0.1)"
        )
    };
    mount.python(&format!("import time\n{}", script(0)));
    let before = settled(&server);
    mount.python(&format!("import time\n{}", script(READS)));
    let sent = settled(&server) - before;
    assert!(
        sent < READS * READ_LIMIT,
        "{} bytes for each read",
        sent / READS
    );
}

#[test]
fn paused_stream_yields_its_connection_to_others() {
    for connections in [1, 2] {
        let server = Server::start();
        let options = format!("max_conns={connections}");
        let names = ["f", "g"];
        for name in names {
            server.tree().put(&format!("/{name}"), pattern(FILE_SIZE));
        }
        server.tree().put("/small", "here it is");
        let mount = Mount::with(&server, &options);
        let mut readers: Vec<_> = names.iter().map(|name| start(&mount, name, MIB)).collect();
        assert_eq!(mount.sh("cat small; ls"), "here it isf\ng\nsmall\n");
        for (name, reader) in names.iter().zip(&mut readers) {
            is_whole(&mount, reader, name, &pattern(FILE_SIZE));
        }
        assert!(server.connections() <= connections);
    }
}

#[test]
fn parallel_streams_yield_connections_to_others() {
    let server = Server::start();
    server.tree().put("/f", pattern(40 * MIB));
    for number in 0..4 {
        server.tree().put(&format!("/other{number}"), pattern(MIB));
    }
    server.on("RETR /f", Act::Pace(SLOW_RATE));
    let mount = Mount::with(&server, "max_conns=4");
    let mut reader = mount.start("cat f > $S/got");
    server.await_count("REST", 3);
    mount.sh("ls > /dev/null; for n in 0 1 2 3; do cat other$n > $S/other$n & done; wait");
    assert!(!reader.is_over(), "the others have waited for it");
    for number in 0..4 {
        assert!(mount.scratch(&format!("other{number}")) == pattern(MIB));
    }
    server.on("RETR /f", Act::Well);
    reader.end();
    assert!(mount.scratch("got") == pattern(40 * MIB));
    assert!(server.connected() <= 4 + 2, "{}", server.connected());
}

#[test]
fn writer_without_appe_yields_and_stores_all() {
    let server = Script::new().without(&["APPE"]).start();
    server.tree().put("/d/small", "here it is");
    let mount = Mount::with(&server, "max_conns=1");
    for name in ["unknown", "known"] {
        let writer = mount.start(&format!(
            "{{ head -c {MIB} /dev/zero; echo begun >&2; sleep 1.5; head -c {MIB} /dev/zero; sleep 0.2; echo end; }} > {name}
             echo stored"
        ));
        writer.await_words("begun");
        server.await_count(&format!("STOR /{name}"), 1);
        mount.sh("sleep 0.6; ls d > /dev/null; cat d/small");
        let mut writer = writer;
        assert!(writer.end().contains("stored"), "{}", mount.log());
        let mut expected = vec![0; 2 * MIB];
        expected.extend(b"end\n");
        assert!(server.tree().bytes(format!("/{name}")) == Some(&expected));
    }
    // One refusal may be of that file alone.
    assert_eq!(server.count("APPE"), 2);
}

#[test]
fn a_copy_within_the_mount_reads_and_writes_at_once() {
    for (copy, store) in [("cp f g", "APPE /g"), ("cat f > g", "STOR /g")] {
        let server = Server::start();
        server.tree().put("/f", pattern(6 * MIB));
        server.on("RETR", Act::Pace(SLOW_RATE));
        let mount = Mount::of(&server);
        let mut copier = mount.start(copy);
        server.await_count(store, 1);
        let sent = server.sent();
        assert!(sent < 5 * MIB, "{copy}: {store} after {sent} bytes");
        copier.end();
        assert!(server.tree().bytes("/g").unwrap() == pattern(6 * MIB));
    }
}
