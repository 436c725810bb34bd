//! Many reads at once: several streams for one file, jumps, and many files, within the memory that they may take.

use std::fs;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};

use crate::mount::{Mount, pattern, soon};
use crate::scripted::{Act, Gate, Server};

const MIB: usize = 1 << 20;
/// Bytes a second of a transfer that is slow enough for parallel ones to pay.
const SLOW_RATE: usize = 2_000_000;

fn is_right(mount: &Mount, server: &Server) {
    let expected = server.tree().bytes("/f").map(<[u8]>::to_vec);
    mount.sh("cat f > $S/got");
    assert!(mount.scratch("got") == expected.unwrap(), "f differs");
}

#[test]
fn several_streams_share_a_file_where_the_server_slows_each() {
    let server = Server::start();
    server.tree().put("/f", pattern(16 * MIB));
    server.on("RETR", Act::Pace(SLOW_RATE));
    let mount = Mount::of(&server);
    is_right(&mount, &server);
    // One to begin with, one to see that the server begins where it is told to, and some that share the rest.
    let begun = server.since(0, &["REST"]);
    assert!(begun.len() >= 3, "{begun:?}");
    assert!(
        server.connected() <= 8,
        "{} connections",
        server.connected()
    );
    // What is there is not fetched again.
    let before = server.count("RETR");
    is_right(&mount, &server);
    assert_eq!(server.count("RETR"), before);
}

#[test]
fn a_server_that_ignores_rest_is_read_by_one_stream() {
    let server = Server::start();
    server.tree().put("/f", pattern(6 * MIB));
    server.on("RETR", Act::Pace(SLOW_RATE));
    server.on("REST", Act::Reply("350 As you like"));
    let mount = Mount::of(&server);
    is_right(&mount, &server);
    assert_eq!(server.count("RETR"), 2);
    assert!(mount.log().contains("the server ignores REST"));
}

#[test]
fn a_mount_of_one_connection_reads_by_one_stream() {
    let server = Server::start();
    server.tree().put("/f", pattern(4 * MIB));
    server.on("RETR", Act::Pace(SLOW_RATE));
    let mount = Mount::with(&server, "max_conns=1");
    is_right(&mount, &server);
    assert_eq!(server.connected(), 1);
}

#[test]
fn reader_of_part_of_a_block_is_served_before_the_rest() {
    const HALF_BLOCK: usize = 64 << 10;
    let server = Server::start();
    server.tree().put("/f", pattern(2 * HALF_BLOCK));
    let (first, second) = (Gate::default(), Gate::default());
    let gates = [first.clone(), second.clone()];
    server.on("RETR", Act::Steps(HALF_BLOCK, gates));
    let mount = Mount::with(&server, "timeout=5");
    let half = |n: usize| {
        let read = format!("dd if=f bs={HALF_BLOCK} count=1 iflag=direct status=none");
        mount.start(&format!("{read} skip={n} > $S/half{n}; echo got"))
    };
    let mut one = half(0);
    server.await_count("RETR", 1);
    let mut other = half(1);
    // Until the kernel has asked for it.
    std::thread::sleep(Duration::from_millis(500));
    first.open();
    assert_eq!(one.end(), "got\n");
    second.open();
    assert_eq!(other.end(), "got\n");
    let halves = [mount.scratch("half0"), mount.scratch("half1")].concat();
    assert!(halves == pattern(2 * HALF_BLOCK));
}

#[test]
fn a_thousand_random_reads_are_right() {
    let server = Server::start();
    server.tree().put("/f", pattern(20 * MIB));
    let mount = Mount::with(&server, "cache_size=16M");
    std::fs::write(mount.path("expected"), pattern(20 * MIB)).unwrap();
    mount.python(
        "import random
random.seed(6)
ours, theirs = os.open('f', os.O_RDONLY), os.open(os.environ['S'] + '/expected', os.O_RDONLY)
for n in range(1000):
    size = random.choice((1, 100, 4096, 5000, 200000))
    at = random.randrange((20 << 20) - 100)
    assert os.pread(ours, size, at) == os.pread(theirs, size, at), (n, at, size)",
    );
}

#[test]
fn disk_cache_outlives_mounts_until_the_file_changes() {
    const SIZE: usize = 5 * MIB + 321;
    // 4,096 bytes, and eight for each block of 256 KiB.
    const MAP_SIZE: u64 = 4096 + 21 * 8;
    let server = Server::start();
    server.tree().put("/f", pattern(SIZE));
    let cache = tempfile::tempdir().unwrap();
    let options = format!("cache_dir={}", cache.path().join("made").display());
    let first = Mount::with(&server, &options);
    is_right(&first, &server);
    // The end is kept once the server has confirmed it: after an earlier unmount it is fetched again.
    soon("all of it is kept", || {
        let kept = std::fs::read_dir(cache.path().join("made")).unwrap();
        let is_whole = |file: std::fs::DirEntry| {
            let path = file.path();
            let is_map = path.extension().is_some_and(|end| end == "map");
            is_map && path.metadata().is_ok_and(|map| map.len() == MAP_SIZE)
        };
        kept.flatten().any(is_whole)
    });
    drop(first);
    assert_eq!(server.count("RETR"), 1);
    // Two at once, on what the first has left.
    let (one, other) = (
        Mount::with(&server, &options),
        Mount::with(&server, &options),
    );
    is_right(&one, &server);
    is_right(&other, &server);
    assert_eq!(server.count("RETR"), 1);
    // A torn block is fetched again, and the rest is not.
    for entry in std::fs::read_dir(cache.path().join("made")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "blocks") {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"torn", 2 * MIB as u64).unwrap();
        }
    }
    let mount = Mount::with(&server, &options);
    is_right(&mount, &server);
    // The last byte shows that the server begins where it is told to.
    assert_eq!(server.since(0, &["REST"]), ["REST 5243200", "REST 2097152"]);
    // The same size, another time.
    let retrieved = server.count("RETR");
    let mut changed = pattern(SIZE);
    changed[1000] ^= 1;
    server.tree().put("/f", changed);
    server.tree().node_mut("/f").unwrap().modified += 1;
    is_right(&Mount::with(&server, &options), &server);
    assert_eq!(server.count("RETR"), retrieved + 1);
}

/// The cached content is of the same size and time.
#[test]
fn disk_cache_is_not_used_for_a_locally_rewritten_file() {
    let begin = "
def write(path, byte, when=10**9):
    with open(path, 'wb') as f: f.write(byte * 200000)
    if when: os.utime(path, (when, when))
";
    for (old, new) in [
        ("write('d/f', b'a')", "write('d/f', b'b')"),
        // All within a second, if the machine is quick enough.
        ("write('d/f', b'a', 0)", "write('d/f', b'b', 0)"),
        (
            "write('d/f', b'a')",
            "write('g', b'b'); os.rename('g', 'd/f')",
        ),
        (
            "write('d/f', b'a')",
            "os.mkdir('e'); write('e/f', b'b'); os.rename('d', 'c'); os.rename('e', 'd')",
        ),
    ] {
        for atomic in ["", ",atomic"] {
            let server = Server::start();
            let cache = tempfile::tempdir().unwrap();
            let options = format!("cache_dir={}{atomic}", cache.path().display());
            let mount = Mount::with(&server, &options);
            let looks = "assert open('d/f', 'rb').read(1) ==";
            mount.python(&format!("{begin}os.mkdir('d'); {old}\n{looks} b'a'"));
            // It has nothing in memory: the disk keeps it now.
            Mount::with(&server, &options).python(&format!("{looks} b'a'"));
            mount.python(&format!("{begin}{new}\n{looks} b'b'"));
            Mount::with(&server, &options).python(&format!("{looks} b'b'"));
        }
    }
}

/// The directory was never listed at its new path, at which a file of the same size and time is cached.
#[test]
fn disk_cache_is_not_used_below_a_renamed_directory() {
    let server = Server::start();
    for (directory, byte) in [("d", b'a'), ("e", b'b')] {
        let file = format!("/{directory}/below/f");
        server.tree().put(&file, vec![byte; 200_000]);
        server.tree().node_mut(&file).unwrap().modified = 1_000_000_000;
    }
    let cache = tempfile::tempdir().unwrap();
    let options = format!("cache_dir={}", cache.path().display());
    let looks = "open('d/below/f', 'rb').read(1) ==";
    Mount::with(&server, &options).python(&format!("assert {looks} b'a'"));
    let renames = "os.rename('d', 'c'); os.rename('e', 'd')";
    let mount = Mount::with(&server, &options);
    mount.python(&format!("{renames}; assert {looks} b'b'"));
}

/// The upload arrived although its reply was lost; what is cached has the same size and time.
#[test]
fn disk_cache_is_dropped_after_unconfirmed_upload() {
    let server = Server::start();
    let put = |byte: u8, modified| {
        server.tree().put("/f", vec![byte; 200_000]);
        server.tree().node_mut("/f").unwrap().modified = modified;
    };
    put(b'a', 1_000_000_000);
    let cache = tempfile::tempdir().unwrap();
    let options = format!("writeback,cache_dir={}", cache.path().display());
    Mount::with(&server, &options).python("assert open('f', 'rb').read(1) == b'a'");
    put(b'c', 1_000_000_005);
    let mut mount = Mount::with(&server, &options);
    mount.python("assert open('f', 'rb').read(1) == b'c'");
    server.once("STOR", Act::NoFinal);
    mount.python(
        "with open('f', 'wb') as f:
    f.write(b'b' * 200000)
    f.flush()
    os.utime(f.fileno(), (10**9, 10**9))",
    );
    server.await_count("STOR", 1);
    let until = |done: &dyn Fn() -> bool| {
        while !done() {
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    until(&|| server.tree().bytes("/f") == Some(&vec![b'b'; 200_000]));
    mount.crash();
    mount.again_with(&server, &options);
    until(&|| server.tree().node("/f").unwrap().modified == 1_000_000_000);
    mount.python("assert open('f', 'rb').read(1) == b'b'");
    Mount::with(&server, &options).python("assert open('f', 'rb').read(1) == b'b'");
    assert_eq!(server.count("STOR"), 1);
}

/// What an upload removes from the cache is found by its path.
#[test]
fn uploads_touch_their_own_files_of_a_large_disk_cache() {
    let server = Server::start();
    for number in 0..20 {
        server.tree().put(&format!("/f{number}"), pattern(100_000));
    }
    let cache = tempfile::tempdir().unwrap();
    let of_others = |number: u32| format!("{number:064x}.map");
    for number in 0..2_000 {
        fs::write(cache.path().join(of_others(number)), "").unwrap();
    }
    let mount = Mount::with(&server, &format!("cache_dir={}", cache.path().display()));
    mount.sh("cat f* >/dev/null");
    let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
    let watched = AddWatchFlags::IN_OPEN | AddWatchFlags::IN_ACCESS | AddWatchFlags::IN_DELETE;
    watch.add_watch(cache.path(), watched).unwrap();
    mount.sh("for n in $(seq 0 19); do echo new >f$n; done");
    let read = || watch.read_events().ok().filter(|events| !events.is_empty());
    let events: Vec<_> = std::iter::from_fn(read).flatten().collect();
    let listed = AddWatchFlags::IN_ACCESS | AddWatchFlags::IN_ISDIR;
    assert!(!events.iter().any(|event| event.mask.contains(listed)));
    // Files that were fetched ahead are in memory alone.
    let is_deleted = |event: &InotifyEvent| event.mask.contains(AddWatchFlags::IN_DELETE);
    assert!(events.iter().any(is_deleted), "{events:?}");
    let names = events.iter().filter_map(|event| event.name.as_ref());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let mut foreign = names.filter(|name| *name <= of_others(2_000));
    assert_eq!(foreign.next(), None);
}

#[test]
fn many_files_read_at_once_stay_within_the_budget() {
    let server = Server::start();
    for n in 0..32 {
        server.tree().put(&format!("/f{n}"), pattern(4 * MIB));
    }
    let mount = Mount::with(&server, "cache_size=16M");
    std::fs::write(mount.path("expected"), pattern(4 * MIB)).unwrap();
    mount.sh("ls | xargs -P 32 -n 1 cmp $S/expected");
    let peak = mount.peak_memory();
    assert!(peak < 16 + 64, "{peak} MiB resident");
}

#[test]
fn refused_small_file_is_prefetched_once() {
    let server = Server::start();
    for number in 10..60 {
        server.tree().put(&format!("/d/{number}"), pattern(2000));
    }
    server.on("RETR /d/45", Act::Reply("550 Permission denied"));
    let mount = Mount::of(&server);
    mount.sh("ls d > /dev/null; for n in {10..44}; do cat d/$n > /dev/null; done");
    // So it was within the window, and beyond it others were fetched.
    let ahead = server.since(0, &["RETR"]);
    assert!(ahead.len() > 36, "{ahead:?}");
    assert_eq!(server.count("RETR /d/45"), 1);
    assert_eq!(mount.error("open('d/45').read()"), "EACCES");
}
