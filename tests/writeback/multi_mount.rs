//! Several mounts of one server and user with write-back: a queued upload never overwrites what another mount stored
//! since, and nothing is lost silently; the next mount takes over what a dead one has left.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ftpfs::remote::{
    Ask, Change, Completeness, Done, Entry, Error, Plan, ReadAt, Reading, Remote, RemotePath,
    Result, Room, Sink, Source, Step, Then, Traits, Updated, Urgency, View,
};
use ftpfs::vfs;
use ftpfs::vfs::{Creator, ROOT, Settings, Spot, Vfs, Wants, WriteBack, WriteLimits};

use crate::memory::Memory;
use crate::settings::settings;

/// Longer than anything here takes.
const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// A client of the server that sees one directory of it, and whose uploads can be held up.
struct Client {
    server: Arc<Memory>,
    root: &'static str,
    held: AtomicBool,
    broken: AtomicBool,
    /// Milliseconds that an upload takes.
    slow: AtomicU64,
}

impl Client {
    fn path(&self, path: &RemotePath) -> RemotePath {
        let whole = format!("{}/{path}", self.root);
        let mut names = whole.split('/').filter(|name| !name.is_empty());
        names
            .try_fold(RemotePath::root(), |path, name| path.join(name.as_bytes()))
            .unwrap()
    }

    fn pass(&self) -> Result<()> {
        thread::sleep(Duration::from_millis(self.slow.load(Ordering::SeqCst)));
        let begun = Instant::now();
        while self.held.load(Ordering::SeqCst) && begun.elapsed() < WAIT_LIMIT {
            if self.broken.load(Ordering::SeqCst) {
                return Err(Error::lost("STOR", "the mount is dead"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Remote for Client {
    fn traits(&self) -> Traits {
        self.server.traits()
    }

    fn room(&self, urgency: Urgency) -> usize {
        self.server.room(urgency)
    }

    fn perform(&self, steps: &[Step<'_>], ask: &Ask<'_>) -> Vec<Result<Done>> {
        let one = |step: &Step<'_>| {
            let at = |path| self.path(path);
            let done = match step {
                Step::Stat(path) => self.server.perform(&[Step::Stat(&at(path))], ask),
                // A queued upload begins with this question.
                Step::Version(path) if ask.urgency == Urgency::Flush => match self.pass() {
                    Ok(()) => self.server.perform(&[Step::Version(&at(path))], ask),
                    Err(error) => vec![Err(error)],
                },
                Step::Version(path) => self.server.perform(&[Step::Version(&at(path))], ask),
                Step::Remove(path) => self.server.perform(&[Step::Remove(&at(path))], ask),
                Step::RemoveDirectory(path) => {
                    let step = Step::RemoveDirectory(&at(path));
                    self.server.perform(&[step], ask)
                }
                Step::MakeDirectory(path) => {
                    let step = Step::MakeDirectory(&at(path));
                    self.server.perform(&[step], ask)
                }
                Step::Rename { from, to } => {
                    let (from, to) = (&at(from), &at(to));
                    self.server.perform(&[Step::Rename { from, to }], ask)
                }
                other => self.server.perform(std::slice::from_ref(other), ask),
            };
            done.into_iter().next().unwrap()
        };
        steps.iter().map(one).collect()
    }

    fn list(
        &self,
        directory: &RemotePath,
        ask: &Ask<'_>,
        each: &mut dyn FnMut(Entry),
    ) -> Result<Completeness> {
        self.server.list(&self.path(directory), ask, each)
    }

    fn read_link(&self, link: &RemotePath, ask: &Ask<'_>) -> Result<Vec<u8>> {
        self.server.read_link(&self.path(link), ask)
    }

    fn read(&self, file: &RemotePath, reading: &Reading, ask: &Ask<'_>) -> Result<Box<dyn Source>> {
        self.server.read(&self.path(file), reading, ask)
    }

    fn write(
        &self,
        file: &RemotePath,
        behind: Option<u64>,
        then: Then,
        first: &[u8],
        begins: &dyn Fn(),
        ask: &Ask<'_>,
    ) -> Result<(Box<dyn Sink>, u64)> {
        self.pass()?;
        self.server
            .write(&self.path(file), behind, then, first, begins, ask)
    }

    fn create(&self, file: &RemotePath, begins: &dyn Fn(), ask: &Ask<'_>) -> Result<Box<dyn Sink>> {
        self.pass()?;
        self.server.create(&self.path(file), begins, ask)
    }

    fn check_name(&self, _: &RemotePath) -> Result<()> {
        Ok(())
    }

    fn plan(&self, change: &Change) -> Plan {
        self.server.plan(change)
    }

    fn probe_patch(&self, beside: &RemotePath, ask: &Ask<'_>) -> Result<()> {
        self.server.probe_patch(&self.path(beside), ask)
    }

    fn update(
        &self,
        file: &RemotePath,
        change: &Change,
        plan: &Plan,
        bytes: &dyn ReadAt,
        ask: &Ask<'_>,
    ) -> Result<Updated> {
        self.pass()?;
        self.server
            .update(&self.path(file), change, plan, bytes, ask)
    }

    fn space(&self, directory: &RemotePath, ask: &Ask<'_>) -> Result<Option<Room>> {
        self.server.space(directory, ask)
    }

    fn describe(&self, path: &RemotePath, view: View, ask: &Ask<'_>) -> Result<Option<Vec<u8>>> {
        self.server.describe(path, view, ask)
    }

    fn close(&self) {}
}

/// One mount.
struct Mounted {
    vfs: Arc<Vfs>,
    client: Arc<Client>,
    outside: Option<vfs::Outside>,
}

/// A server with the directory `/a/b`, and the local disk of its mounts.
struct World {
    server: Arc<Memory>,
    disk: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let server = Arc::new(Memory::new(true, true, []));
        for path in ["a", "a/b", "c"] {
            server.make_directory(path);
        }
        let disk = tempfile::tempdir().unwrap();
        Self { server, disk }
    }

    fn journal(&self) -> PathBuf {
        self.disk.path().join("journal/user@host")
    }

    fn mount_with(&self, root: &'static str, writes_back: bool, timeout: Duration) -> Mounted {
        let client = Arc::new(Client {
            server: Arc::clone(&self.server),
            root,
            held: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            slow: AtomicU64::new(0),
        });
        let settings = Settings {
            root: root.as_bytes().to_vec(),
            timeout,
            limits: WriteLimits {
                spool_size: 1 << 30,
                holes: 4 << 30,
            },
            write_back: Some(WriteBack {
                on: writes_back,
                journal: self.journal(),
            }),
            ..settings(self.disk.path(), writes_back)
        };
        let remote: Arc<dyn Remote> = Arc::<Client>::clone(&client);
        let vfs = Vfs::new(remote, settings);
        let outside = vfs.begin_write_back().unwrap();
        Mounted {
            vfs,
            client,
            outside,
        }
    }

    fn mount(&self, root: &'static str) -> Mounted {
        self.mount_with(root, true, WAIT_LIMIT)
    }

    fn stored(&self, path: &str) -> Option<String> {
        let bytes = self.server.bytes(path)?;
        Some(String::from_utf8(bytes).unwrap())
    }

    fn lost(&self) -> Vec<String> {
        let found = fs::read_dir(self.disk.path().join("lost+found"));
        let names = found.into_iter().flatten().flatten();
        let mut names: Vec<_> = names
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".reason"))
            .collect();
        names.sort();
        names
    }

    fn logs(&self) -> Vec<PathBuf> {
        logs(&self.journal())
    }
}

fn logs(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .collect()
}

impl Mounted {
    /// The directory of a path, and its last name.
    fn place<'a>(&self, path: &'a str) -> (u64, &'a [u8]) {
        let deadline = self.vfs.deadline();
        match path.rsplit_once('/') {
            None => (ROOT, path.as_bytes()),
            Some((parent, name)) => {
                let (above, own) = self.place(parent);
                let ino = self.vfs.lookup(above, own, &deadline).unwrap().ino;
                (ino, name.as_bytes())
            }
        }
    }

    /// Writes a file; where the open reports that an earlier close was refused, once more.
    fn write_again(&self, path: &str, text: &str) {
        let (parent, name) = self.place(path);
        let wants = Wants {
            write: true,
            truncate: true,
            exclusive: false,
        };
        let deadline = self.vfs.deadline();
        let open = || {
            self.vfs
                .create(parent, name, Creator::owner(0o644), wants, &deadline)
        };
        let handle = open().or_else(|_| open()).unwrap().1.handle;
        let written = self
            .vfs
            .write(handle, Spot::At(0), text.as_bytes(), &deadline);
        let flushed = self.vfs.flush(handle, 0, &deadline);
        self.vfs.release(handle, &deadline);
        // A refusal that a write or close reports is of the close before.
        if written.and(flushed).is_err() {
            self.write_again(path, text);
        }
    }

    fn open(&self, path: &str, truncate: bool) -> u64 {
        let wants = Wants {
            write: true,
            truncate,
            exclusive: false,
        };
        let (parent, name) = self.place(path);
        let deadline = self.vfs.deadline();
        let made = self
            .vfs
            .create(parent, name, Creator::owner(0o644), wants, &deadline);
        made.unwrap().1.handle
    }

    fn close(&self, handle: u64) {
        self.vfs.flush(handle, 0, &self.vfs.deadline()).unwrap();
        self.vfs.release(handle, &self.vfs.deadline());
    }

    fn write(&self, path: &str, text: &str) {
        let handle = self.open(path, true);
        let deadline = self.vfs.deadline();
        let bytes = text.as_bytes();
        self.vfs
            .write(handle, Spot::At(0), bytes, &deadline)
            .unwrap();
        self.close(handle);
    }

    fn await_empty_queue(&self) {
        let begun = Instant::now();
        while self.vfs.pending().files > 0 && begun.elapsed() < WAIT_LIMIT {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(self.vfs.pending().files, 0);
    }

    fn hold(&self, held: bool) {
        self.client.held.store(held, Ordering::SeqCst);
    }

    /// What waits is stored, and the mount goes.
    fn end(self) {
        self.vfs.end();
    }

    /// Nothing more of it reaches the server, and its lock goes, as when it is killed.
    fn die(self) {
        self.hold(true);
        self.client.broken.store(true, Ordering::SeqCst);
        self.vfs.finish(Some(Duration::ZERO));
        let client = Arc::clone(&self.client);
        drop(self);
        // The threads of the write-back hold the client, and the lock of the log, until they end.
        let begun = Instant::now();
        while Arc::strong_count(&client) > 1 && begun.elapsed() < WAIT_LIMIT {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(Arc::strong_count(&client), 1);
    }
}

/// The contents of everything in lost+found, sorted.
impl World {
    fn lost_texts(&self) -> Vec<String> {
        let folder = self.disk.path().join("lost+found");
        let mut texts: Vec<String> = self
            .lost()
            .iter()
            .map(|name| fs::read_to_string(folder.join(name)).unwrap())
            .collect();
        texts.sort();
        texts
    }
}

#[test]
fn queued_new_file_does_not_replace_one_of_another_mount() {
    let world = World::new();
    let (whole, part) = (world.mount("/a"), world.mount("/a/b"));
    whole.hold(true);
    whole.write("b/f", "first");
    whole.write("other", "other");
    part.write("f", "second, and longer");
    part.end();
    assert_eq!(world.stored("a/b/f").as_deref(), Some("second, and longer"));
    whole.hold(false);
    whole.vfs.finish(None);
    assert_eq!(whole.vfs.refusals().files, 1);
    whole.end();
    assert_eq!(world.stored("a/b/f").as_deref(), Some("second, and longer"));
    assert_eq!(world.stored("a/other").as_deref(), Some("other"));
    assert_eq!(world.lost_texts(), ["first"]);
    assert!(!world.journal().exists(), "{:?}", world.logs());
}

/// Both mounts close one name by turns. The one whose upload waits finds what the other one stored, and its own file is
/// refused, counted and kept.
#[test]
fn turns_of_two_mounts_lose_nothing_silently() {
    let world = World::new();
    let (whole, part) = (world.mount("/a"), world.mount("/a/b"));
    let mut kept = Vec::new();
    for turn in 0..6 {
        let names = [(&whole, "b/f", "whole"), (&part, "f", "part")];
        let (waits, stores) = (names[turn % 2], names[(turn + 1) % 2]);
        waits.0.hold(true);
        waits.0.write_again(waits.1, &format!("{} {turn}", waits.2));
        stores
            .0
            .write_again(stores.1, &format!("{} {turn}, the longer one", stores.2));
        stores.0.await_empty_queue();
        waits.0.hold(false);
        waits.0.await_empty_queue();
        let stored = world.stored("a/b/f").unwrap();
        assert_eq!(stored, format!("{} {turn}, the longer one", stores.2));
        kept.push(format!("{} {turn}", waits.2));
    }
    assert_eq!(
        whole.vfs.refusals().files + part.vfs.refusals().files,
        kept.len() as u64
    );
    part.end();
    whole.end();
    kept.sort();
    assert_eq!(world.lost_texts(), kept);
    assert!(!world.journal().exists());
}

#[test]
fn queued_file_is_not_made_again_after_a_removal_or_rename() {
    for removes in [true, false] {
        let world = World::new();
        let (whole, part) = (world.mount("/a"), world.mount("/a/b"));
        part.write("f", "old");
        part.vfs.finish(None);
        drop(part);
        let part = world.mount("/a/b");
        part.hold(true);
        part.write("f", "closed");
        let (parent, name) = whole.place("b/f");
        let deadline = whole.vfs.deadline();
        if removes {
            whole.vfs.unlink(parent, name, &deadline).unwrap();
        } else {
            let to = (ROOT, b"moved".as_slice());
            whole
                .vfs
                .rename((parent, name), to, false, &deadline)
                .unwrap();
        }
        part.hold(false);
        part.end();
        whole.end();
        assert_eq!(world.stored("a/b/f"), None);
        let moved = world.stored("a/moved");
        assert_eq!(moved.as_deref(), (!removes).then_some("old"));
        assert_eq!(world.lost_texts(), ["closed"]);
    }
}

#[test]
fn queued_file_does_not_replace_a_synchronously_closed_one() {
    let world = World::new();
    let first = world.mount("/a");
    let second = world.mount_with("/a/b", false, WAIT_LIMIT);
    first.hold(true);
    first.write("b/f", "first");
    second.write("f", "second");
    assert_eq!(world.stored("a/b/f").as_deref(), Some("second"));
    first.hold(false);
    first.end();
    second.end();
    assert_eq!(world.stored("a/b/f").as_deref(), Some("second"));
    assert_eq!(world.lost_texts(), ["first"]);
}

/// What is appended goes behind what other mounts have appended meanwhile.
#[test]
fn queued_appends_of_two_mounts_are_all_stored() {
    let world = World::new();
    let (one, other) = (world.mount("/a"), world.mount("/a"));
    one.write("log", "begin\n");
    one.vfs.finish(None);
    drop(one);
    let one = world.mount("/a");
    for mounted in [&one, &other] {
        mounted.hold(true);
    }
    for (mounted, line) in [(&one, "one\n"), (&other, "other\n")] {
        let handle = mounted.open("log", false);
        let deadline = mounted.vfs.deadline();
        mounted
            .vfs
            .write(handle, Spot::End, line.as_bytes(), &deadline)
            .unwrap();
        mounted.close(handle);
    }
    for mounted in [one, other] {
        mounted.hold(false);
        mounted.end();
    }
    let stored = world.stored("a/log").unwrap();
    assert_eq!(stored, "begin\none\nother\n");
    assert!(world.lost().is_empty());
}

#[test]
fn next_mount_takes_over_its_subtree_and_reports_the_rest() {
    let world = World::new();
    let whole = world.mount("");
    whole.hold(true);
    whole.write("a/b/f", "below");
    whole.write("a/b/large", &"x".repeat(300_000));
    whole.write("c/f", "beside");
    whole.write("a/f", "above");
    whole.die();
    let part = world.mount("/a/b");
    let outside = part.outside.clone().unwrap();
    assert_eq!((outside.files, outside.directory), (2, Vec::new()));
    // The mount of the rest comes while this one lives.
    let beside = world.mount("/c");
    let outside = beside.outside.clone().unwrap();
    assert_eq!((outside.files, outside.directory), (1, b"/a".to_vec()));
    beside.end();
    assert_eq!(world.stored("c/f").as_deref(), Some("beside"));
    part.end();
    assert_eq!(world.stored("a/b/f").as_deref(), Some("below"));
    assert_eq!(
        world.stored("a/b/large").map(|text| text.len()),
        Some(300_000)
    );
    assert_eq!(world.stored("a/f"), None);
    // Also without write-back, and then nothing is left of it all.
    let above = world.mount_with("/a", false, WAIT_LIMIT);
    assert_eq!(above.outside, None);
    above.end();
    assert_eq!(world.stored("a/f").as_deref(), Some("above"));
    assert!(!world.journal().exists(), "{:?}", world.logs());
    assert!(world.lost().is_empty());
}

/// One dies, the other goes on: what it then does with the same names is newer than what was left.
#[test]
fn takeover_does_not_overwrite_a_live_mounts_file() {
    let world = World::new();
    let (dies, lives) = (world.mount("/a"), world.mount("/a/b"));
    dies.hold(true);
    for name in ["b/written", "b/removed", "b/untouched", "b/prefix"] {
        dies.write(name, "left by the dead");
    }
    dies.die();
    lives.write("written", "by the living");
    lives.write("prefix", "left");
    lives.write("removed", "for a moment");
    lives
        .vfs
        .unlink(ROOT, b"removed", &lives.vfs.deadline())
        .unwrap();
    lives.vfs.finish(None);
    let next = world.mount("/a");
    next.end();
    lives.end();
    let stored = |name: &str| world.stored(name);
    assert_eq!(stored("a/b/written").as_deref(), Some("by the living"));
    assert_eq!(stored("a/b/prefix").as_deref(), Some("left"));
    // A name that was new and is free again is what the dead mount last saw.
    assert_eq!(stored("a/b/removed").as_deref(), Some("left by the dead"));
    assert_eq!(stored("a/b/untouched").as_deref(), Some("left by the dead"));
    let lost = world.lost().join(" ");
    for name in ["b_written", "b_prefix"] {
        assert!(lost.contains(name), "{lost}");
    }
    assert_eq!(world.lost().len(), 2);
}

#[test]
fn newest_of_two_dead_mounts_files_is_stored() {
    let world = World::new();
    let (whole, part) = (world.mount("/a"), world.mount("/a/b"));
    for mounted in [&whole, &part] {
        mounted.hold(true);
        mounted.client.broken.store(true, Ordering::SeqCst);
    }
    part.write("f", "first");
    whole.write("b/f", "second");
    part.write("f", "third");
    whole.die();
    part.die();
    let next = world.mount("/a");
    next.end();
    assert_eq!(world.stored("a/b/f").as_deref(), Some("third"));
    assert!(world.lost().is_empty(), "{:?}", world.lost());
    assert!(!world.journal().exists());
}

/// The journal's bytes are spoilt at many places: the mount comes, what is stored is what was closed, and damage in the
/// midst of a log costs no more than the records that it hit.
#[test]
fn damaged_journal_loses_only_damaged_entries() {
    let names: Vec<String> = (0..6).map(|number| format!("f{number}")).collect();
    for seed in 0..40_usize {
        let world = World::new();
        let dies = world.mount("/a");
        dies.hold(true);
        for name in &names {
            dies.write(name, &format!("the content of {name}"));
        }
        dies.die();
        let log = world.logs().pop().unwrap();
        let mut bytes = fs::read(&log).unwrap();
        let length = bytes.len();
        for at in 0..3 {
            bytes[(seed * 7919 + at) % length] ^= 0x55;
        }
        // What is torn off at the end, too.
        bytes.truncate(length - seed % 3 * 5);
        fs::write(&log, &bytes).unwrap();
        let next = world.mount("/a");
        next.end();
        let mut stored = 0;
        for name in &names {
            if let Some(text) = world.stored(&format!("a/{name}")) {
                assert_eq!(text, format!("the content of {name}"));
                stored += 1;
            }
        }
        // Three bytes hit two records at most; what is torn off is the last one.
        let hit = 2 + usize::from(seed % 3 > 0);
        assert!(stored >= names.len() - hit, "seed {seed}: {stored}");
    }
}

#[test]
fn journal_of_noise_does_not_stop_the_mount() {
    let world = World::new();
    fs::create_dir_all(world.journal()).unwrap();
    let noise: Vec<u8> = (0..100_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(world.journal().join("0.log"), noise).unwrap();
    let next = world.mount("/a");
    next.write("f", "text");
    next.end();
    assert_eq!(world.stored("a/f").as_deref(), Some("text"));
}

/// Changes of a file wait for its upload as long as for any operation, then fail with ETIMEDOUT.
#[test]
fn hanging_upload_fails_later_changes_by_timeout() {
    let world = World::new();
    let mounted = world.mount_with("/a", true, Duration::from_millis(300));
    mounted.hold(true);
    mounted.write("f", "first");
    let begun = Instant::now();
    while world.stored("a/f").is_none() && begun.elapsed() < Duration::from_millis(100) {
        thread::sleep(Duration::from_millis(1));
    }
    let wants = Wants {
        write: true,
        truncate: true,
        exclusive: false,
    };
    let late = mounted.vfs.create(
        ROOT,
        b"f",
        Creator::owner(0o644),
        wants,
        &mounted.vfs.deadline(),
    );
    assert_eq!(late.unwrap_err().to_errno(), 110);
    let late = mounted.vfs.unlink(ROOT, b"f", &mounted.vfs.deadline());
    assert_eq!(late.unwrap_err().to_errno(), 110);
    mounted.hold(false);
    mounted.end();
    assert_eq!(world.stored("a/f").as_deref(), Some("first"));
}
