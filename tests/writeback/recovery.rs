//! What a mount that ends too soon leaves in its journal, and what the next one makes of it: above a server in memory, which
//! goes wrong when it is told to.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use ftpfs::vfs::{
    Caller, Changes, Creator, Error, NewTime, ROOT, Settings, Spot, Timestamp, Vfs, Wants,
};

use crate::memory::{Fault, Memory};
use crate::settings::settings;

/// A server, and what the mounts of it have on this machine.
pub struct Place {
    pub server: Arc<Memory>,
    local: tempfile::TempDir,
}

/// One mount.
pub struct Mount(Arc<Vfs>);

impl Deref for Mount {
    type Target = Vfs;

    fn deref(&self) -> &Vfs {
        &self.0
    }
}

impl Place {
    pub fn new(patches: bool) -> Self {
        Self {
            server: Arc::new(Memory::new(true, patches, [])),
            local: tempfile::tempdir().unwrap(),
        }
    }

    pub fn mount(&self) -> Mount {
        self.mount_with(true, |_| {})
    }

    pub fn mount_with(&self, write_back: bool, change: impl FnOnce(&mut Settings)) -> Mount {
        let mut settings = settings(self.local.path(), write_back);
        change(&mut settings);
        let remote: Arc<dyn ftpfs::remote::Remote> = Arc::<Memory>::clone(&self.server);
        let vfs = Vfs::new(remote, settings);
        vfs.begin_write_back().unwrap();
        Mount(vfs)
    }

    /// The next mount, until it has stored what was left to it.
    fn recover(&self) {
        self.server.mend();
        let mount = self.mount();
        mount.finish(None);
        assert_eq!(mount.pending().files, 0);
        mount.end();
    }

    /// What lies in `lost+found`: the files, and the reasons beside them.
    pub fn lost(&self) -> Vec<(Vec<u8>, String)> {
        let entries = fs::read_dir(self.local.path().join("lost+found"));
        let paths = entries
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path());
        let mut paths: Vec<PathBuf> = paths.collect();
        paths.retain(|path| path.extension().is_none_or(|ending| ending != "reason"));
        let reason = |path: &PathBuf| fs::read_to_string(format!("{}.reason", path.display()));
        paths
            .iter()
            .map(|path| (fs::read(path).unwrap(), reason(path).unwrap()))
            .collect()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.server.bytes(name).unwrap_or_default()
    }
}

impl Mount {
    pub fn open(&self, name: &str, flags: i32) -> u64 {
        self.try_open(name, flags).unwrap()
    }

    pub fn try_open(&self, name: &str, flags: i32) -> Result<u64, Error> {
        let wants = Wants::from_flags(flags | libc::O_RDWR);
        let deadline = self.deadline();
        let name = name.as_bytes();
        let opened = self.create(ROOT, name, Creator::owner(0o644), wants, &deadline);
        opened.map(|(_, open)| open.handle)
    }

    pub fn put(&self, handle: u64, offset: u64, bytes: &[u8]) {
        self.write(handle, Spot::At(offset), bytes, &self.deadline())
            .unwrap();
    }

    fn cut(&self, handle: u64, size: u64) {
        self.truncate(0, Some(handle), size, &self.deadline())
            .unwrap();
    }

    /// Has it asked what a file is.
    fn look(&self, name: &str) {
        let deadline = self.deadline();
        let attr = self.lookup(ROOT, name.as_bytes(), &deadline).unwrap();
        let open = self
            .0
            .open(attr.ino, Wants::from_flags(libc::O_RDONLY), &deadline);
        self.release(open.unwrap().handle, &deadline);
    }

    /// One of its descriptors is closed.
    pub fn closes(&self, handle: u64) -> Result<(), Error> {
        self.flush(handle, 0, &self.deadline())
    }

    /// The last one is.
    pub fn close(&self, handle: u64) {
        self.closes(handle).unwrap();
        self.release(handle, &self.deadline());
    }

    /// Waits until an upload has failed.
    pub fn fails(&self) {
        self.until(|figures| figures.unsent.iter().any(|one| one.failures > 0));
    }

    fn rests(&self) {
        self.until(|figures| figures.unsent.is_empty());
    }

    pub fn until(&self, is_so: impl Fn(&ftpfs::vfs::Figures) -> bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while !is_so(&self.figures()) {
            assert!(Instant::now() < until, "{:?}", self.figures().unsent);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// It is killed: nothing is stored any more, and its log is free for the next mount.
    pub fn dies(self) {
        self.finish(Some(Duration::ZERO));
        let lost_and_found = self.refusals().directory;
        let local = lost_and_found.parent().unwrap();
        let logs = local.join("journal/of/this");
        drop(self);
        let until = Instant::now() + Duration::from_secs(10);
        // Its threads keep the log until they have ended.
        while !is_free(&logs) {
            assert!(Instant::now() < until, "a thread still runs");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Whether no mount has a log in a directory of journals.
fn is_free(logs: &Path) -> bool {
    let entries = fs::read_dir(logs).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut logs = paths.filter(|path| path.extension().is_some_and(|ending| ending == "log"));
    logs.all(|log| {
        let log = fs::File::open(log).unwrap();
        Flock::lock(log, FlockArg::LockExclusiveNonblock).is_ok()
    })
}

/// Bytes, of which no two stretches are alike.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|at| (at * at / 7 + at / 251) as u8)
        .collect()
}

#[test]
fn refused_file_is_kept_with_the_reason() {
    let place = Place::new(true);
    place.server.store("f", &pattern(9000), false);
    let mount = place.mount();
    let handle = mount.open("f", 0);
    place.server.fail([Fault::Refused]);
    mount.put(handle, 5000, b"ours");
    mount.put(handle, 8000, b"too");
    mount.close(handle);
    mount.rests();
    let lost = place.lost();
    assert_eq!(lost.len(), 1);
    assert_eq!(
        (lost[0].0.len(), &lost[0].0[5000..5004]),
        (9000, &b"ours"[..])
    );
    assert!(
        lost[0].1.starts_with("STOR: the server refused: 552\n"),
        "{}",
        lost[0].1
    );
    assert!(lost[0].1.contains("5000-5003, 8000-8002"), "{}", lost[0].1);
    mount.end();
    assert_eq!(place.bytes("f"), pattern(9000));
}

/// The close of another handle gets the error, but that of the first one had succeeded.
#[test]
fn file_refused_while_another_handle_writes_counts_as_refused() {
    let place = Place::new(true);
    place.server.store("f", b"old", false);
    let mount = place.mount();
    let (first, other) = (mount.open("f", 0), mount.open("f", 0));
    place.server.fail([Fault::Refused]);
    mount.put(first, 0, b"one");
    mount.close(first);
    mount.until(|figures| figures.unsent.iter().all(|file| !file.closed));
    let written = mount.write(other, Spot::At(1), b"two", &mount.deadline());
    assert!(written.is_err() && mount.closes(other).is_err());
    mount.release(other, &mount.deadline());
    assert_eq!((mount.refusals().files, place.lost().len()), (1, 1));
    mount.end();
    // What is stored after all is not lost.
    let mount = place.mount();
    let (first, other) = (mount.open("f", 0), mount.open("f", 0));
    place.server.fail([Fault::Refused]);
    mount.put(first, 0, b"three");
    mount.close(first);
    mount.until(|figures| figures.unsent.iter().all(|file| !file.closed));
    assert!(mount.fsync(other, &mount.deadline()).is_err());
    mount.put(other, 1, b"four");
    mount.close(other);
    mount.rests();
    assert_eq!(
        (mount.refusals().files, place.bytes("f")),
        (0, b"tfour".to_vec())
    );
    mount.end();
}

#[test]
fn file_that_cannot_be_kept_stays_in_the_journal() {
    let place = Place::new(true);
    let mount = place.mount();
    let lost = place.local.path().join("lost+found");
    fs::write(&lost, "no directory").unwrap();
    place.server.fail([Fault::Refused]);
    let handle = mount.open("f", 0);
    mount.put(handle, 0, b"ours");
    mount.close(handle);
    mount.rests();
    mount.dies();
    place.recover();
    assert_eq!(place.bytes("f"), b"ours");
}

/// A forced end does not wait for the close of what is open.
#[test]
fn writes_since_a_close_are_kept_at_a_forced_end() {
    let place = Place::new(true);
    place.server.fail(std::iter::repeat_n(Fault::Lost, 1000));
    let mount = place.mount();
    let handle = mount.open("f", libc::O_TRUNC);
    mount.put(handle, 0, b"closed");
    mount.closes(handle).unwrap();
    mount.put(handle, 6, b" and open");
    let idle = mount.open("idle", libc::O_TRUNC);
    mount.put(idle, 0, b"closed");
    mount.closes(idle).unwrap();
    mount.dies();
    let lost = place.lost();
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].0, b"closed and open");
    assert!(lost[0].1.contains("still open"), "{}", lost[0].1);
    place.recover();
    assert_eq!(place.bytes("f"), b"closed");
    assert_eq!(place.bytes("idle"), b"closed");
}

#[test]
fn failed_synchronous_file_is_kept_with_the_reason() {
    let place = Place::new(true);
    let mount = place.mount_with(false, |_| {});
    let handle = mount.open("f", 0);
    place.server.fail([Fault::Refused]);
    mount.put(handle, 0, b"ours");
    assert!(mount.closes(handle).is_err());
    mount.release(handle, &mount.deadline());
    let lost = place.lost();
    assert_eq!(
        lost,
        [(
            b"ours".to_vec(),
            "STOR: the server refused: 552\n".to_string()
        )]
    );
}

/// The queue's upload was refused for good while the file was still open.
#[test]
fn open_writer_is_told_of_a_refused_earlier_close() {
    for old in [None, Some(pattern(300_000))] {
        for call in ["write", "fsync", "close"] {
            let place = Place::new(true);
            if let Some(old) = &old {
                place.server.store("f", old, false);
            }
            let mount = place.mount();
            let handle = mount.open("f", 0);
            place.server.fail([Fault::Refused]);
            mount.put(handle, 1000, b"one");
            mount.closes(handle).unwrap();
            mount.until(|_| mount.pending().files == 0);
            let deadline = mount.deadline();
            let told = match call {
                "write" => mount
                    .write(handle, Spot::At(2000), b"two", &deadline)
                    .map(drop),
                "fsync" => mount.fsync(handle, &deadline),
                _ => mount.closes(handle),
            };
            assert!(told.is_err(), "{call}");
            // Who goes on all the same gets all of it stored, or hears otherwise.
            if call != "close" {
                let _ = mount.fsync(handle, &deadline);
                mount.put(handle, 2000, b"two");
                mount.close(handle);
                mount.rests();
                let bytes = place.bytes("f");
                assert_eq!(
                    (&bytes[1000..1003], &bytes[2000..2003]),
                    (&b"one"[..], &b"two"[..])
                );
                assert!(place.lost().is_empty());
            } else {
                mount.release(handle, &deadline);
                assert_eq!(place.lost().len(), 1);
                assert_eq!(place.server.bytes("f"), old);
            }
            mount.end();
        }
    }
}

/// A reported error ends it, even with other handles open.
#[test]
fn close_without_writes_does_not_retry_a_failed_upload() {
    for write_back in [false, true] {
        let place = Place::new(true);
        place.server.store("f", b"old", false);
        let mount = place.mount_with(write_back, |_| {});
        let other = mount.open("f", 0);
        let handle = mount.open("f", libc::O_TRUNC);
        mount.put(handle, 0, b"failed");
        place.server.fail([Fault::Refused]);
        assert!(mount.fsync(handle, &mount.deadline()).is_err());
        assert!(mount.closes(other).is_err());
        mount.release(other, &mount.deadline());
        assert_eq!(place.bytes("f"), b"old");
        // Its own close is a try of its own.
        mount.put(handle, 0, b"stored");
        mount.close(handle);
        mount.end();
        assert_eq!(place.bytes("f"), b"stored");
        assert!(place.lost().is_empty());
    }
}

#[test]
fn patch_refused_by_a_remote_change_is_kept_once() {
    let place = Place::new(true);
    place.server.store("f", &pattern(9000), false);
    let mount = place.mount();
    let handle = mount.open("f", 0);
    place.server.fail([Fault::Lost; 50]);
    mount.put(handle, 5000, b"ours");
    mount.close(handle);
    mount.fails();
    mount.dies();
    place.server.store("f", b"theirs", false);
    place.recover();
    place.recover();
    let lost = place.lost();
    assert_eq!(lost.len(), 1);
    assert_eq!(
        (lost[0].0.len(), &lost[0].0[5000..5004]),
        (9000, &b"ours"[..])
    );
    assert!(
        lost[0].1.contains("another client has changed it"),
        "{}",
        lost[0].1
    );
    assert!(lost[0].1.contains("5000-5003"), "{}", lost[0].1);
    assert_eq!(place.bytes("f"), b"theirs");
    assert!(!place.local.path().join("journal/of/this").exists());
}

/// The only copy of what an upload goes over would be in a spool that dies with the mount.
#[test]
fn untouched_bytes_survive_an_interrupted_upload() {
    for (patches, size, syncs) in [
        (false, 150_000, false),
        (true, 300_000, true),
        (true, 300, false),
    ] {
        let place = Place::new(patches);
        place.server.store("f", &pattern(400_000), false);
        let mount = place.mount();
        let handle = mount.open("f", 0);
        let mut expected = pattern(400_000);
        // What is read to be sent is no upload.
        place.server.fail([Fault::None, Fault::Half]);
        place.server.fail([Fault::Lost; 50]);
        if !patches {
            mount.put(handle, 5, b"ours");
            expected[5..9].copy_from_slice(b"ours");
        }
        mount.cut(handle, size);
        expected.truncate(size as usize);
        match syncs {
            true => assert!(mount.fsync(handle, &mount.deadline()).is_err()),
            false => {
                mount.close(handle);
                mount.fails();
            }
        }
        assert!(place.bytes("f").len() < expected.len(), "it is half there");
        mount.dies();
        place.recover();
        assert!(place.bytes("f") == expected, "{patches} {size}");
        assert!(place.lost().is_empty());
    }
}

/// What others do between the death of a mount and the next one.
type Theirs = &'static dyn Fn(&Memory);

/// Nothing of ours has ever begun to arrive: whatever is there is theirs.
#[test]
fn remote_changes_during_an_outage_stay() {
    let append: &dyn Fn(&Mount) = &|mount| {
        let handle = mount.open("f", 0);
        mount.put(handle, 10, b"OURS-LINE\n");
        mount.close(handle);
    };
    let patch: &dyn Fn(&Mount) = &|mount| {
        let handle = mount.open("f", 0);
        mount.put(handle, 5, b"Z");
        mount.close(handle);
    };
    let rewrite: &dyn Fn(&Mount) = &|mount| {
        let handle = mount.open("f", libc::O_TRUNC);
        mount.put(handle, 0, b"ours, again");
        mount.close(handle);
    };
    let append_theirs: Theirs = &|server| server.store("f", b"THEIR", true);
    let same_size: Theirs = &|server| server.store("f", b"abcdefghij", false);
    let empty: Theirs = &|server| server.store("f", b"", false);
    let begins_alike: Theirs = &|server| server.store("f", b"ours", false);
    for (ours, theirs) in [
        (append, append_theirs),
        (append, same_size),
        (append, empty),
        (patch, append_theirs),
        (patch, same_size),
        (patch, empty),
        (rewrite, append_theirs),
        (rewrite, same_size),
        (rewrite, empty),
        (rewrite, begins_alike),
    ] {
        let place = Place::new(true);
        place.server.store("f", b"0123456789", false);
        let mount = place.mount();
        mount.look("f");
        place.server.fail([Fault::Lost; 50]);
        ours(&mount);
        mount.fails();
        mount.dies();
        theirs(&place.server);
        let expected = place.bytes("f");
        place.recover();
        assert_eq!(place.bytes("f"), expected);
        assert_eq!(place.lost().len(), 1);
    }
}

/// Half of ours has arrived: that is no change of others'.
#[test]
fn half_arrived_file_is_stored_by_the_next_mount() {
    for (size, cut) in [
        (300, 0),
        (300_000, 0),
        (300_000, 450_000),
        (300_000, 250_000),
    ] {
        for (offset, fault) in [
            (0, Fault::Half),
            (5, Fault::Half),
            (size, Fault::Half),
            (size, Fault::Unconfirmed),
        ] {
            let place = Place::new(true);
            let mut expected = pattern(size);
            place.server.store("f", &expected, false);
            let mount = place.mount();
            mount.look("f");
            place.server.fail([fault]);
            place.server.fail([Fault::Lost; 50]);
            let handle = mount.open("f", if offset == 0 { libc::O_TRUNC } else { 0 });
            let bytes: Vec<u8> = pattern(200_000).iter().map(|byte| byte ^ 0x55).collect();
            mount.put(handle, offset as u64, &bytes);
            if offset == 0 {
                expected.clear();
            }
            expected.resize(expected.len().max(offset + bytes.len()), 0);
            expected[offset..offset + bytes.len()].copy_from_slice(&bytes);
            mount.closes(handle).unwrap();
            mount.fails();
            if cut > 0 && cut < expected.len() {
                mount.cut(handle, cut as u64);
                expected.truncate(cut);
            }
            mount.close(handle);
            mount.dies();
            place.recover();
            assert!(
                place.bytes("f") == expected,
                "{size} {cut} {offset} {fault:?}"
            );
            assert!(place.lost().is_empty(), "{:?}", place.lost()[0].1);
        }
    }
}

/// `cp -p`: the bytes had arrived when the mount died, and the time had not.
#[test]
fn time_of_an_arrived_file_is_set_by_the_next_mount() {
    let place = Place::new(true);
    place.server.store("f", b"older and longer", false);
    let mount = place.mount();
    let handle = mount.open("f", libc::O_TRUNC);
    mount.put(handle, 0, b"new");
    let changes = Changes {
        modified: Some(NewTime::At(Timestamp::of_seconds(981_173_106))),
        ..Changes::default()
    };
    let deadline = mount.deadline();
    let ino = mount.lookup(ROOT, b"f", &deadline).unwrap().ino;
    mount
        .setattr(
            ino,
            Some(handle),
            changes,
            (Caller { uid: 0, gid: 0 }, &|_| true),
            &deadline,
        )
        .unwrap();
    place.server.fail([Fault::Unconfirmed]);
    place.server.fail([Fault::Lost; 50]);
    mount.close(handle);
    mount.fails();
    mount.dies();
    place.recover();
    assert_eq!(place.bytes("f"), b"new");
    assert_eq!(place.server.nodes()[&b"f"[..]].modified, 981_173_106);
}

/// Others made a file of that name between our open and our close.
#[test]
fn a_name_that_must_be_new_is_new_when_its_file_is_stored() {
    for (length, atomic) in [(0, false), (300, false), (900_000, false), (300, true)] {
        for dies in [false, true] {
            let place = Place::new(true);
            let mount = place.mount_with(true, |settings| settings.atomic = atomic);
            let handle = mount.open("f", libc::O_EXCL);
            if dies {
                place.server.fail([Fault::Lost; 50]);
            } else {
                place.server.store("f", b"", false);
            }
            mount.put(handle, 0, &pattern(length));
            if mount.closes(handle).is_err() {
                // It was on its way already.
                assert!(length > 512 << 10);
            }
            mount.release(handle, &mount.deadline());
            if dies {
                mount.fails();
                mount.dies();
                place.server.store("f", b"", false);
                place.recover();
            } else {
                mount.rests();
                mount.end();
            }
            assert_eq!(place.server.bytes("f").as_deref(), Some(&b""[..]));
            if length > 0 {
                assert!(place.lost()[0].0 == pattern(length), "{length} {atomic}");
            }
        }
    }
}

#[test]
fn exclusive_new_file_arrives_despite_interruptions() {
    for length in [0, 300, 900_000] {
        for fault in [Fault::None, Fault::Lost, Fault::Half, Fault::Unconfirmed] {
            let place = Place::new(true);
            let mount = place.mount();
            let handle = mount.open("f", libc::O_EXCL);
            place.server.fail([fault]);
            mount.put(handle, 0, &pattern(length));
            mount.close(handle);
            mount.rests();
            mount.end();
            assert!(
                place.server.bytes("f") == Some(pattern(length)),
                "{length} {fault:?}"
            );
            assert!(place.lost().is_empty());
        }
    }
}

/// A descriptor is closed in the midst of a long file: a stream that goes on gives nothing up that the journal needs.
#[test]
fn file_closed_amid_a_stream_survives_the_mount() {
    for (written, removes) in [(40, false), (40, true), (200, false)] {
        let place = Place::new(true);
        let mount = place.mount_with(true, |settings| settings.limits.spool_size = 4 << 20);
        let handle = mount.open("f", 0);
        let bytes = pattern(written << 18);
        let (closed, rest) = bytes.split_at(3 << 20);
        mount.put(handle, 0, closed);
        mount.closes(handle).unwrap();
        for (at, piece) in rest.chunks(1 << 18).enumerate() {
            mount.put(handle, (closed.len() + (at << 18)) as u64, piece);
        }
        mount.dies();
        if removes {
            place.server.nodes().clear();
        }
        place.recover();
        let stored = place.bytes("f");
        let lost = place.lost();
        let (open, refused): (Vec<_>, Vec<_>) =
            (lost.iter()).partition(|(_, reason)| reason.contains("still open"));
        // The rest are holes: the server had it, and the spool no longer.
        let is_part = |lost: &[u8]| {
            lost.len() == bytes.len()
                && (lost.iter().zip(&bytes)).all(|(lost, byte)| lost == byte || *lost == 0)
        };
        assert!(open.iter().all(|(lost, _)| is_part(lost)));
        if removes {
            assert!(
                refused
                    .iter()
                    .all(|(lost, _)| lost[..] == bytes[..lost.len()])
            );
        } else {
            assert!(stored.len() >= closed.len() && stored[..] == bytes[..stored.len()]);
            assert!(refused.is_empty());
        }
    }
}

#[test]
fn a_large_file_is_closed_again_and_again() {
    let place = Place::new(true);
    let mount = place.mount();
    let handle = mount.open("f", 0);
    let mut bytes = pattern(200_000);
    mount.put(handle, 0, &bytes);
    mount.closes(handle).unwrap();
    mount.rests();
    place.server.fail([Fault::Lost; 50]);
    for turn in 0..3 {
        bytes[..190_000].fill(turn);
        mount.put(handle, 0, &bytes[..190_000]);
        mount.closes(handle).unwrap();
    }
    mount.cut(handle, 195_000);
    bytes.truncate(195_000);
    mount.close(handle);
    mount.dies();
    place.recover();
    assert_eq!(place.bytes("f"), bytes);
}
