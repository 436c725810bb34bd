//! The file system against a model of it: whatever is done in whatever order, what is read is what a local file
//! system would give, and what was closed without an error is on the server.
//!
//! The model is a map from names to contents, and contents that handles hold on to, as rename(2) and unlink(2) have
//! it. Where uploads, reads or changes of names fail, what succeeds must still be true. Handles belong to processes, whose
//! exit closes what they have open.
//!
//! * `attributes`: modes, owners and times, with two mounts and remounts

// Helpers whose failure is a test's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod attributes;
#[allow(dead_code)] // No test needs all of it.
#[path = "../support/memory.rs"]
mod memory;
#[path = "../support/settings.rs"]
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ftpfs::remote::is_temp_name;
use ftpfs::vfs::{
    Attr, Caller, Changes, Creator, DiskCache, Error, Lifetimes, NewTime, ROOT, Settings, Spot,
    Timestamp, Vfs, Wants, WriteLimits,
};
use proptest::prelude::*;

use memory::{Fault, Memory};
use settings::settings;

/// Two names in the root, two in a directory.
const NAMES: [&str; 4] = ["a", "b", "d/a", "d/b"];
/// More than any content here; three blocks of the cache.
const LARGE: usize = 400_000;

/// Processes, which open files in turn.
const PROCESSES: u64 = 3;

/// What is done. Numbers of names and handles are taken modulo what there is.
#[derive(Clone, Debug)]
enum Op {
    Open {
        name: usize,
        truncate: bool,
    },
    Write {
        handle: usize,
        offset: u64,
        length: usize,
    },
    Append {
        handle: usize,
        length: usize,
    },
    Truncate {
        handle: usize,
        size: u64,
    },
    Fsync {
        handle: usize,
    },
    Flush {
        handle: usize,
    },
    Close {
        handle: usize,
    },
    /// A process ends: all that it has open is closed.
    Exit {
        process: u64,
    },
    Rename {
        from: usize,
        to: usize,
    },
    Unlink {
        name: usize,
    },
    /// Mode, owner and time, of which this server stores the whole seconds alone.
    Attributes {
        name: usize,
        mode: u32,
        seconds: i64,
    },
    /// Another client changes a file that has nothing of ours which is not stored.
    Theirs {
        name: usize,
        what: What,
        /// We look at everything before we go on.
        seen: bool,
    },
}

/// What another client does.
#[derive(Clone, Copy, Debug)]
enum What {
    Store(usize),
    Append(usize),
    Remove,
}

fn op() -> impl Strategy<Value = Op> {
    let offset = prop_oneof![0..2000u64, 100_000..300_000u64];
    let name = 0..NAMES.len();
    let handle = 0..8usize;
    prop_oneof![
        3 => (name.clone(), any::<bool>()).prop_map(|(name, truncate)| Op::Open { name, truncate }),
        4 => (handle.clone(), offset.clone(), 1..3000usize)
            .prop_map(|(handle, offset, length)| Op::Write { handle, offset, length }),
        2 => (handle.clone(), 1..3000usize).prop_map(|(handle, length)| Op::Append { handle, length }),
        2 => (handle.clone(), offset).prop_map(|(handle, size)| Op::Truncate { handle, size }),
        1 => handle.clone().prop_map(|handle| Op::Fsync { handle }),
        1 => handle.clone().prop_map(|handle| Op::Flush { handle }),
        3 => handle.prop_map(|handle| Op::Close { handle }),
        1 => (0..PROCESSES).prop_map(|process| Op::Exit { process }),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Op::Rename { from, to }),
        1 => name.clone().prop_map(|name| Op::Unlink { name }),
        2 => (name, 0..0o1000u32, -5..2_000_000_000i64)
            .prop_map(|(name, mode, seconds)| Op::Attributes { name, mode, seconds }),
    ]
}

/// The same, with another client.
fn shared_op() -> impl Strategy<Value = Op> {
    let what = prop_oneof![
        3 => (0..4000usize).prop_map(What::Store),
        2 => (1..4000usize).prop_map(What::Append),
        1 => Just(What::Remove),
    ];
    let theirs = (0..NAMES.len(), what, any::<bool>());
    prop_oneof![
        3 => op(),
        1 => theirs.prop_map(|(name, what, seen)| Op::Theirs { name, what, seen }),
    ]
}

/// A content that names and handles refer to.
#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    /// An upload of it failed, and none has succeeded since: the server may have anything.
    doubtful: bool,
    /// It may be anything from now on.
    unknown: bool,
    /// Something was written that no call has brought to the server.
    dirty: bool,
    /// It was written to before the other client's change was seen: until that is stored, what is read may be of
    /// before and after.
    mixed: bool,
    /// It was emptied while it was mixed: the mount has not seen the other client's version, and its queue does not
    /// overwrite that.
    stale: bool,
    /// Something was appended since: where it is, and so where anything behind it is, can't be told.
    moved: bool,
    /// Mode and owner, and the time unless it was written to since, as a program set them.
    set: Option<(u32, Option<Timestamp>)>,
    /// Bytes of it before the other client's unseen changes: the end that the mount knows of. What is written there is
    /// appended to what the server has then, also where that is shorter.
    before: usize,
}

impl Content {
    /// It was written to: its time is that of the server again.
    fn forget_time(&mut self) {
        if let Some((_, time)) = &mut self.set {
            *time = None;
        }
    }
}

/// What kind of server and mount.
#[derive(Clone, Copy, Debug)]
struct Kind {
    stats: bool,
    patches: bool,
    /// With a small one nearly everything is streamed.
    spool_size: u64,
    /// Closes return before the server has the file.
    write_back: bool,
    /// Files appear at once.
    atomic: bool,
    /// Another client changes files: then nothing is believed without asking.
    shared: bool,
    /// Microseconds that transfers take.
    slow: u64,
}

fn shared_kind(write_back: bool) -> impl Strategy<Value = Kind> {
    let slow = prop_oneof![Just(0), Just(300)];
    // What appears at once is stored whole, whatever others did meanwhile.
    (kind(write_back), slow).prop_map(|(kind, slow)| Kind {
        shared: true,
        atomic: false,
        slow,
        ..kind
    })
}

fn kind(write_back: bool) -> impl Strategy<Value = Kind> {
    let spool_size = prop_oneof![Just(4 << 10), Just(64 << 10), Just(1 << 30)];
    let atomic = prop_oneof![2 => Just(false), 1 => Just(true)];
    let all = (any::<bool>(), any::<bool>(), spool_size, atomic);
    all.prop_map(move |(stats, patches, spool_size, atomic)| Kind {
        stats,
        patches,
        spool_size,
        write_back,
        atomic,
        shared: false,
        slow: 0,
    })
}

struct Run {
    vfs: Arc<Vfs>,
    kind: Kind,
    server: Arc<Memory>,
    names: BTreeMap<&'static str, usize>,
    contents: Vec<Content>,
    /// Handle and content.
    handles: Vec<(u64, usize)>,
    directory: u64,
    /// What was written last, so that no two writes are alike.
    fill: u8,
    faulty: bool,
    /// What the other client has changed and we have not looked at since.
    unseen: BTreeSet<usize>,
    _spool: tempfile::TempDir,
}

impl Run {
    fn new(kind: Kind, faults: Vec<Fault>) -> Self {
        let Kind {
            stats,
            patches,
            spool_size,
            write_back,
            atomic,
            shared,
            slow,
        } = kind;
        let spool = tempfile::tempdir().unwrap();
        let server = Arc::new(Memory::new(stats, patches, faults));
        server.slow(slow);
        let settings = Settings {
            lifetimes: Lifetimes {
                known: Duration::from_secs(if shared { 0 } else { 30 }),
                absent: Duration::from_secs(if shared { 0 } else { 30 }),
                stale: Duration::ZERO,
            },
            timeout: Duration::from_secs(20),
            limits: WriteLimits {
                spool_size,
                holes: 4 << 30,
            },
            atomic,
            ..settings(spool.path(), write_back)
        };
        let remote: Arc<dyn ftpfs::remote::Remote> = Arc::<Memory>::clone(&server);
        let vfs = Vfs::new(remote, settings);
        vfs.begin_write_back().unwrap();
        let directory = vfs
            .mkdir(ROOT, b"d", Creator::owner(0o755), &vfs.deadline())
            .unwrap()
            .ino;
        Self {
            vfs,
            kind,
            server,
            names: BTreeMap::new(),
            contents: Vec::new(),
            handles: Vec::new(),
            directory,
            fill: 0,
            faulty: false,
            unseen: BTreeSet::new(),
            _spool: spool,
        }
    }

    /// Changes of names and attributes are refused, too.
    fn refusing(self, refusals: Vec<bool>) -> Self {
        self.server.refuse(refusals);
        self
    }

    /// The directory and the name in it.
    fn place<'a>(&self, name: &'a str) -> (u64, &'a [u8]) {
        match name.strip_prefix("d/") {
            Some(name) => (self.directory, name.as_bytes()),
            None => (ROOT, name.as_bytes()),
        }
    }

    fn handle(&self, number: usize) -> Option<(u64, usize)> {
        let count = self.handles.len();
        (count > 0).then(|| self.handles[number % count])
    }

    fn take(&mut self, op: &Op) {
        let deadline = self.vfs.deadline();
        match *op {
            Op::Open { name, truncate } => self.open(NAMES[name], truncate),
            Op::Write {
                handle,
                offset,
                length,
            } => self.write(handle, Some(offset), length),
            Op::Append { handle, length } => self.write(handle, None, length),
            Op::Truncate { handle, size } => {
                let Some((handle, content)) = self.handle(handle) else {
                    return;
                };
                if self.contents[content].mixed {
                    return;
                }
                self.see(content);
                self.vfs.truncate(0, Some(handle), size, &deadline).unwrap();
                self.contents[content].dirty = true;
                self.contents[content].forget_time();
                self.contents[content]
                    .bytes
                    .resize(usize::try_from(size).unwrap(), 0);
            }
            Op::Fsync { handle } => {
                let Some((handle, content)) = self.handle(handle) else {
                    return;
                };
                let done = self.vfs.fsync(handle, &deadline);
                self.uploaded(content, done.is_ok(), true);
            }
            Op::Flush { handle } => {
                let Some((handle, content)) = self.handle(handle) else {
                    return;
                };
                let done = self.vfs.flush(handle, 0, &deadline);
                self.flushed(content, done.is_ok());
            }
            Op::Close { handle } => {
                if !self.handles.is_empty() {
                    self.close(handle % self.handles.len());
                }
            }
            Op::Exit { process } => self.exit(process),
            Op::Rename { from, to } => self.rename(NAMES[from], NAMES[to]),
            Op::Unlink { name } => self.unlink(NAMES[name]),
            Op::Attributes {
                name,
                mode,
                seconds,
            } => self.set_attributes(NAMES[name], mode, seconds),
            Op::Theirs { name, what, seen } => self.theirs(NAMES[name], what, seen),
        }
    }

    fn theirs(&mut self, name: &'static str, what: What, seen: bool) {
        let content = self.names.get(name).copied();
        let is_open = self
            .handles
            .iter()
            .any(|(_, other)| Some(*other) == content);
        if let Some(content) = content {
            let content = &self.contents[content];
            if content.dirty || content.doubtful || content.unknown || content.mixed {
                return;
            }
        }
        // What was closed must have arrived.
        let until = Instant::now() + Duration::from_secs(10);
        while self.vfs.pending().files > 0 {
            assert!(Instant::now() < until, "something waits for ever");
            std::thread::sleep(Duration::from_millis(1));
        }
        let stored = self.server.bytes(name);
        if content.is_some_and(|content| stored.as_ref() != Some(&self.contents[content].bytes)) {
            // A file without a byte may wait for its last close.
            return;
        }
        self.fill = self.fill % 250 + 1;
        let bytes = match what {
            What::Store(length) | What::Append(length) => vec![self.fill; length],
            What::Remove if is_open => return,
            What::Remove => {
                self.server.nodes().remove(name.as_bytes());
                self.names.remove(name);
                return;
            }
        };
        let appends = matches!(what, What::Append(_));
        self.server.store(name, &bytes, appends);
        let content = content.unwrap_or_else(|| {
            self.contents.push(Content::default());
            self.contents.len() - 1
        });
        self.names.insert(name, content);
        let bytes = self.server.bytes(name).unwrap();
        if !self.unseen.contains(&content) {
            self.contents[content].before = self.contents[content].bytes.len();
        }
        self.contents[content].bytes = bytes;
        if !seen {
            self.unseen.insert(content);
        }
    }

    /// We look at a file, so that what comes next is done to what the other client made of it.
    fn see(&mut self, content: usize) {
        if self.unseen.remove(&content) {
            let names = self.names.iter().filter(|(_, at)| **at == content);
            names.for_each(|(name, _)| self.look(name));
        }
    }

    /// Opens and closes a file, which asks the server for what it is now.
    fn look(&self, name: &str) {
        let deadline = self.vfs.deadline();
        let (parent, own) = self.place(name);
        let wants = Wants::from_flags(libc::O_RDONLY);
        let found = self.vfs.lookup(parent, own, &deadline);
        if let Ok(open) = found.and_then(|attr| self.vfs.open(attr.ino, wants, &deadline)) {
            self.vfs.release(open.handle, &deadline);
        }
    }

    fn open(&mut self, name: &'static str, truncate: bool) {
        let deadline = self.vfs.deadline();
        let (parent, own) = self.place(name);
        let wants = Wants {
            write: true,
            truncate,
            exclusive: false,
        };
        let creator = Creator::owner(0o644);
        let (_, open) = match self.vfs.create(parent, own, creator, wants, &deadline) {
            Ok(made) => made,
            Err(error) => return assert!(self.faulty, "{error}"),
        };
        let is_new = !self.names.contains_key(name);
        let content = *self.names.entry(name).or_insert_with(|| {
            self.contents.push(Content::default());
            self.contents.len() - 1
        });
        if truncate {
            self.contents[content].forget_time();
            self.contents[content].bytes.clear();
            self.contents[content].stale |= self.contents[content].mixed;
            (self.contents[content].mixed, self.contents[content].moved) = (false, false);
        }
        self.contents[content].dirty |= truncate || is_new;
        self.handles.push((open.handle, content));
    }

    fn write(&mut self, handle: usize, offset: Option<u64>, length: usize) {
        let Some((handle, content)) = self.handle(handle) else {
            return;
        };
        self.fill = self.fill % 250 + 1;
        let part = vec![self.fill; length];
        self.contents[content].forget_time();
        let bytes = &mut self.contents[content].bytes;
        let at = offset.map_or(bytes.len(), |offset| usize::try_from(offset).unwrap());
        if at + length > LARGE {
            return;
        }
        // What is put behind the end that we know of is appended to what they made of it.
        let within = at != self.contents[content].before;
        if self.contents[content].mixed && !within {
            return;
        }
        if self.contents[content].mixed && self.contents[content].moved && offset.is_some() {
            return;
        }
        if within && self.unseen.contains(&content) {
            self.contents[content].mixed = true;
        } else {
            self.see(content);
        }
        let content_of = &mut self.contents[content];
        content_of.moved |= content_of.mixed && offset.is_none();
        self.contents[content].dirty = true;
        let bytes = &mut self.contents[content].bytes;
        let deadline = self.vfs.deadline();
        let spot = offset.map_or(Spot::End, Spot::At);
        if let Err(error) = self.vfs.write(handle, spot, &part, &deadline) {
            // A stream that failed says so at once, and so does a queue that did not overwrite another client's change.
            assert!(self.faulty || self.contents[content].doubtful, "{error}");
            self.contents[content].doubtful = true;
            return;
        }
        bytes.resize(bytes.len().max(at + length), 0);
        bytes[at..at + length].copy_from_slice(&part);
    }

    /// An upload has ended: one that succeeded is on the server, if it had anything to send (`always`) at all.
    fn uploaded(&mut self, content: usize, succeeded: bool, always: bool) {
        if !succeeded {
            self.contents[content].doubtful = true;
            return;
        }
        let name = self
            .names
            .iter()
            .find(|(_, at)| **at == content)
            .map(|(name, _)| *name);
        let content = &mut self.contents[content];
        if content.unknown {
            content.doubtful = true;
            return;
        }
        if let Some(name) = name.filter(|_| always || !content.bytes.is_empty()) {
            assert!(
                self.server.bytes(name).as_ref() == Some(&content.bytes),
                "{name} was said to be stored"
            );
            content.doubtful = false;
            (content.dirty, content.mixed, content.moved) = (false, false, false);
            content.stale = false;
        }
    }

    /// A descriptor was closed: with write-back the server may have it later.
    fn flushed(&mut self, content: usize, succeeded: bool) {
        if !self.kind.write_back {
            self.uploaded(content, succeeded, false);
        } else if !succeeded {
            self.contents[content].doubtful = true;
        } else {
            let content = &mut self.contents[content];
            // The queue does not overwrite what another client stored before the close.
            let is_refused = content.mixed || std::mem::take(&mut content.stale);
            content.doubtful |= is_refused;
            content.unknown |= is_refused;
            content.dirty = false;
        }
    }

    fn close(&mut self, at: usize) {
        let (handle, content) = self.handles[at];
        let flushed = self.vfs.flush(handle, 0, &self.vfs.deadline());
        self.flushed(content, flushed.is_ok());
        self.release(at, flushed.is_ok());
    }

    /// The kernel flushes each descriptor of a process that ends, and lets go of them later.
    fn exit(&mut self, process: u64) {
        let mut closed = BTreeMap::new();
        for (handle, content) in self.handles.clone() {
            if handle % PROCESSES == process {
                let by = std::process::id();
                let flushed = self.vfs.flush(handle, by, &self.vfs.deadline());
                self.flushed(content, flushed.is_ok());
                closed.insert(handle, flushed.is_ok());
            }
        }
        for (handle, succeeded) in closed {
            let at = self.handles.iter().position(|(other, _)| *other == handle);
            self.release(at.unwrap(), succeeded);
        }
    }

    fn release(&mut self, at: usize, flushed: bool) {
        let (handle, content) = self.handles.remove(at);
        self.vfs.release(handle, &self.vfs.deadline());
        if self.kind.write_back {
            // Where too much waits already, a close waits for the server, and fails with it: then it is what was
            // closed before that counts, or what the server has.
            self.contents[content].unknown |= !flushed;
            return;
        }
        let is_open = self.handles.iter().any(|(_, other)| *other == content);
        let name = self
            .names
            .iter()
            .find(|(_, at)| **at == content)
            .map(|(name, _)| *name);
        let Some(name) = name.filter(|_| !is_open) else {
            return;
        };
        let stored = self.server.bytes(name);
        if self.contents[content].doubtful || stored.as_ref() != Some(&self.contents[content].bytes)
        {
            // An error has been told, or an empty file's only try was its release: the server's is what there is.
            assert!(
                self.contents[content].doubtful || self.contents[content].bytes.is_empty(),
                "{name} is not stored"
            );
            match stored {
                Some(bytes) => {
                    self.contents[content] = Content {
                        bytes,
                        ..Content::default()
                    }
                }
                None => drop(self.names.remove(name)),
            }
        }
    }

    fn rename(&mut self, from: &'static str, to: &'static str) {
        for name in [from, to] {
            let content = self.names.get(name).copied();
            content.into_iter().for_each(|content| self.see(content));
        }
        let deadline = self.vfs.deadline();
        let done = self
            .vfs
            .rename(self.place(from), self.place(to), false, &deadline);
        match (done, self.names.get(from)) {
            (Err(error), None) => assert!(matches!(error, Error::NotFound), "{error}"),
            (Ok(()), None) => panic!("{from} is not there"),
            (Ok(()), Some(_)) => {
                let content = self.names.remove(from).unwrap();
                self.names.insert(to, content);
            }
            // What is written must be stored first, which can fail.
            (Err(_), Some(&content)) => self.contents[content].doubtful = true,
        }
    }

    fn unlink(&mut self, name: &'static str) {
        let content = self.names.get(name).copied();
        content.into_iter().for_each(|content| self.see(content));
        let (parent, own) = self.place(name);
        let done = self.vfs.unlink(parent, own, &self.vfs.deadline());
        match (done, self.names.contains_key(name)) {
            (Ok(()), true) => drop(self.names.remove(name)),
            (Err(Error::NotFound), false) => {}
            // A file that is open must be fetched first, which can fail.
            (Err(_), true) => {}
            (done, is_there) => panic!("unlink {name}: {done:?}, there: {is_there}"),
        }
    }

    /// The owner is the mode as a number.
    fn set_attributes(&mut self, name: &'static str, mode: u32, seconds: i64) {
        let Some(&content) = self.names.get(name) else {
            return;
        };
        if self.kind.shared || self.contents[content].doubtful {
            return;
        }
        let deadline = self.vfs.deadline();
        let (parent, own) = self.place(name);
        let Ok(attr) = self.vfs.lookup(parent, own, &deadline) else {
            return;
        };
        let at = Timestamp {
            seconds,
            nanos: mode,
        };
        let changes = Changes {
            mode: Some(mode),
            uid: Some(mode),
            modified: Some(NewTime::At(at)),
            ..Changes::default()
        };
        let root = Caller { uid: 0, gid: 0 };
        let set = self
            .vfs
            .setattr(attr.ino, None, changes, (root, &|_| true), &deadline);
        match set {
            Ok(_) => self.contents[content].set = Some((mode, Some(at))),
            Err(error) => assert!(self.faulty, "{error}"),
        }
    }

    /// What was set on a file is shown.
    fn check_attributes(&self, name: &str, content: &Content, attr: &Attr) {
        let Some((mode, time)) = content.set.filter(|_| !self.faulty) else {
            return;
        };
        assert_eq!((attr.mode, attr.uid), (mode, mode), "{name}");
        if let Some(time) = time {
            assert_eq!(attr.modified, time, "{name}");
        }
    }

    /// Everything can be read, under its name and by its handles.
    fn check(&self, may_fail: bool) {
        let deadline = self.vfs.deadline();
        if self.kind.shared {
            // A handle may go on reading the old content until the next open.
            self.names.keys().for_each(|name| self.look(name));
        }
        for (handle, content) in &self.handles {
            match self.vfs.read(*handle, 0, LARGE + 1, &deadline) {
                _ if self.contents[*content].unknown || self.contents[*content].mixed => {}
                Ok(bytes) => bytes.with(|bytes| {
                    let wanted = &self.contents[*content].bytes;
                    let differs = bytes.iter().zip(wanted).position(|(one, other)| one != other);
                    assert!(
                        bytes == wanted,
                        "what is read by a handle of {:?}: {} bytes instead of {}, the first that differs is at {differs:?}",
                        self.names.iter().find(|(_, at)| *at == content),
                        bytes.len(),
                        wanted.len()
                    );
                }),
                Err(error) => assert!(may_fail, "{error}"),
            }
        }
        for name in NAMES {
            let (parent, own) = self.place(name);
            let found = self.vfs.lookup(parent, own, &deadline);
            match self.names.get(name) {
                Some(content)
                    if self.contents[*content].unknown || self.contents[*content].mixed => {}
                Some(content) => {
                    let content = &self.contents[*content];
                    let attr = found.unwrap();
                    assert_eq!(attr.size, content.bytes.len() as u64, "{name}");
                    self.check_attributes(name, content, &attr);
                }
                None => assert!(matches!(found, Err(Error::NotFound)), "{name} is there"),
            }
        }
    }

    fn run(mut self, ops: &[Op], faulty: bool) {
        self.faulty = faulty;
        for op in ops {
            self.take(op);
            if !matches!(op, Op::Theirs { seen: false, .. }) {
                self.check(faulty);
                self.unseen.clear();
            }
        }
        self.server.mend();
        while !self.handles.is_empty() {
            self.close(0);
        }
        self.vfs.finish(None);
        if self.kind.write_back {
            // What was said not to be stored may be there or not.
            let doubtful = |content: &usize| self.contents[*content].doubtful;
            let names: Vec<_> = self.names.iter().filter(|(_, at)| doubtful(at)).collect();
            for name in names.into_iter().map(|(name, _)| *name).collect::<Vec<_>>() {
                self.names.remove(name);
                self.server.nodes().remove(name.as_bytes());
            }
        }
        // What was stored beside, and can't be fetched back for `lost+found` or removed, stays there.
        let may_stay =
            self.kind.atomic && self.server.has_failed_reads() || self.server.has_refused();
        let stays = |path: &[u8]| {
            let name = path.rsplit(|&byte| byte == b'/').next();
            may_stay && name.is_some_and(is_temp_name)
        };
        let stored: BTreeMap<Vec<u8>, Vec<u8>> = self
            .server
            .nodes()
            .iter()
            .filter(|(path, _)| !stays(path))
            .filter_map(|(path, node)| Some((path.clone(), node.bytes.clone()?)))
            .collect();
        let expected: BTreeMap<Vec<u8>, Vec<u8>> = self
            .names
            .iter()
            .map(|(name, content)| {
                (
                    name.as_bytes().to_vec(),
                    self.contents[*content].bytes.clone(),
                )
            })
            .collect();
        assert!(
            stored == expected,
            "{:?} instead of {:?}",
            stored.keys(),
            expected.keys()
        );
        if !self.kind.write_back {
            self.check(false);
        }
    }
}

/// What passes when it is tried again.
fn passing_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        9 => Just(Fault::None),
        1 => Just(Fault::Lost),
        1 => Just(Fault::Half),
        1 => Just(Fault::Unconfirmed),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        1 => Just(Fault::Refused),
        1 => Just(Fault::Half),
        1 => Just(Fault::Unconfirmed),
    ]
}

/// Which of the changes of names and attributes are refused.
fn refusals() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(prop::bool::weighted(0.2), 0..60)
}

/// Inputs per property: some each time, and as many as `FTPFS_CASES` says for a long search.
fn cases(usual: u32) -> u32 {
    let wanted = std::env::var("FTPFS_CASES").ok();
    wanted
        .and_then(|wanted| wanted.parse().ok())
        .unwrap_or(usual)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(150), failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn random_operations_match_the_model_and_the_server(
        ops in prop::collection::vec(op(), 1..40), kind in kind(false),
    ) {
        Run::new(kind, Vec::new()).run(&ops, false);
    }

    #[test]
    fn changes_of_other_clients_are_seen_and_kept(
        ops in prop::collection::vec(shared_op(), 1..40), kind in shared_kind(false),
    ) {
        Run::new(kind, Vec::new()).run(&ops, false);
    }

    #[test]
    fn changes_of_other_clients_survive_faults(
        ops in prop::collection::vec(shared_op(), 1..40), faults in prop::collection::vec(fault(), 0..40),
        kind in shared_kind(false),
    ) {
        Run::new(kind, faults).run(&ops, true);
    }

    #[test]
    fn refused_changes_of_names_leave_successes_true(
        ops in prop::collection::vec(op(), 1..40), refusals in refusals(), faults in prop::collection::vec(fault(), 0..20),
        kind in kind(false),
    ) {
        Run::new(kind, faults).refusing(refusals).run(&ops, true);
    }

    #[test]
    fn random_faults_leave_successes_true(
        ops in prop::collection::vec(op(), 1..40), faults in prop::collection::vec(fault(), 0..40), kind in kind(false),
    ) {
        Run::new(kind, faults).run(&ops, true);
    }
}

proptest! {
    // A second try comes after a second.
    #![proptest_config(ProptestConfig { cases: cases(60), failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn writeback_closed_files_read_back_and_reach_the_server(
        ops in prop::collection::vec(op(), 1..40), kind in kind(true),
    ) {
        Run::new(kind, Vec::new()).run(&ops, false);
    }

    #[test]
    fn writeback_with_refused_changes_of_names_stores_what_was_closed(
        ops in prop::collection::vec(op(), 1..40), refusals in refusals(), kind in kind(true),
    ) {
        Run::new(kind, Vec::new()).refusing(refusals).run(&ops, true);
    }

    #[test]
    fn writeback_keeps_changes_of_other_clients(
        ops in prop::collection::vec(shared_op(), 1..40), kind in shared_kind(true),
    ) {
        Run::new(kind, Vec::new()).run(&ops, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(12), failure_persistence: None, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn writeback_closed_files_arrive_after_broken_uploads(
        ops in prop::collection::vec(op(), 1..30), faults in prop::collection::vec(passing_fault(), 0..30), kind in kind(true),
    ) {
        Run::new(kind, faults).run(&ops, true);
    }
}

/// Inputs that once went wrong, some of them rarely: each is run a few times.
#[test]
fn past_failures_stay_fixed() {
    use Op::{Append, Close, Flush, Fsync, Open, Rename, Truncate, Unlink, Write};
    let open = |name, truncate| Open { name, truncate };
    let write = |handle, offset, length| Write {
        handle,
        offset,
        length,
    };
    let ops = [
        open(0, false),
        open(1, true),
        Fsync { handle: 2 },
        Append {
            handle: 2,
            length: 2413,
        },
        open(1, true),
        Unlink { name: 3 },
        write(4, 171, 272),
        Close { handle: 7 },
        write(0, 210_851, 1528),
        Append {
            handle: 5,
            length: 654,
        },
        write(3, 1638, 1511),
        Rename { from: 1, to: 1 },
        Close { handle: 1 },
        write(5, 292_366, 89),
        Append {
            handle: 3,
            length: 1579,
        },
        Fsync { handle: 4 },
        Close { handle: 6 },
        Close { handle: 1 },
        Rename { from: 3, to: 1 },
        open(2, true),
        Flush { handle: 6 },
        write(3, 1177, 2358),
        Truncate {
            handle: 0,
            size: 1786,
        },
        open(3, false),
        Unlink { name: 1 },
        Close { handle: 3 },
    ];
    let kind = Kind {
        stats: false,
        patches: true,
        spool_size: 1 << 30,
        write_back: true,
        atomic: false,
        shared: false,
        slow: 0,
    };
    for _ in 0..5 {
        let faults = vec![Fault::None, Fault::None, Fault::Half, Fault::None];
        Run::new(kind, faults).run(&ops, true);
    }
}

/// A hole that was made before another client's bytes were seen left none of them; and a change of theirs right behind our
/// upload was not noticed.
#[test]
fn past_failures_with_another_client_stay_fixed() {
    use Op::{Append, Flush, Fsync, Open, Theirs, Write};
    let open = Open {
        name: 2,
        truncate: false,
    };
    let theirs = |what, seen| Theirs {
        name: 2,
        what,
        seen,
    };
    let write = Write {
        handle: 0,
        offset: 1,
        length: 1,
    };
    let hole = [
        open.clone(),
        Fsync { handle: 0 },
        theirs(What::Store(1), false),
        write,
    ];
    let mut appended = vec![open];
    for _ in 0..6 {
        appended.extend([
            Append {
                handle: 0,
                length: 1632,
            },
            Flush { handle: 0 },
            theirs(What::Append(3939), true),
        ]);
    }
    for write_back in [false, true] {
        let kind = Kind {
            stats: false,
            patches: true,
            spool_size: 4096,
            write_back,
            atomic: false,
            shared: true,
            slow: 0,
        };
        for _ in 0..5 {
            Run::new(kind, Vec::new()).run(&hole, false);
            Run::new(kind, Vec::new()).run(&appended, false);
        }
    }
}

/// What the spool has given up of a stream comes from what the stream has sent, never from what was read of the file that
/// it replaced.
#[test]
fn streamed_file_is_not_completed_from_its_old_content() {
    let kind = Kind {
        stats: true,
        patches: false,
        spool_size: 4096,
        write_back: false,
        atomic: false,
        shared: false,
        slow: 0,
    };
    let run = Run::new(kind, Vec::new());
    let (vfs, deadline) = (&run.vfs, run.vfs.deadline());
    run.server.store("f", &[1; 300_000], false);
    let ino = vfs.lookup(ROOT, b"f", &deadline).unwrap().ino;
    let handle = vfs
        .open(ino, Wants::from_flags(libc::O_RDONLY), &deadline)
        .unwrap()
        .handle;
    let read = vfs.read(handle, 0, LARGE, &deadline).unwrap();
    assert_eq!(read.len(), 300_000);
    vfs.release(handle, &deadline);
    let wants = Wants::from_flags(libc::O_WRONLY | libc::O_TRUNC);
    let handle = vfs.open(ino, wants, &deadline).unwrap().handle;
    let mut expected = Vec::new();
    for (fill, offset, length) in [(2, 0, 1534), (3, 481, 1567), (4, 200_207, 217)] {
        let bytes = vec![fill; length];
        vfs.write(handle, Spot::At(offset), &bytes, &deadline)
            .unwrap();
        let at = usize::try_from(offset).unwrap();
        expected.resize(expected.len().max(at + length), 0);
        expected[at..at + length].copy_from_slice(&bytes);
        // The stream takes it.
        std::thread::sleep(Duration::from_millis(100));
    }
    vfs.flush(handle, 0, &deadline).unwrap();
    assert!(run.server.bytes("f") == Some(expected));
    vfs.release(handle, &deadline);
}

/// Files of which each was read by a handle that may write, in a mount that believes what it knows: `work` on one of them
/// after the other.
fn each_of(
    (rounds, patches): (usize, bool),
    change: impl FnOnce(&mut Settings),
    mut work: impl FnMut(usize, &str, (&Memory, &Vfs, u64)),
) {
    let local = tempfile::tempdir().unwrap();
    let server = Arc::new(Memory::new(true, patches, Vec::new()));
    let names: Vec<_> = (0..rounds).map(|round| format!("f{round}")).collect();
    for name in &names {
        server.store(name, &[1; 300_000], false);
    }
    let mut settings = Settings {
        lifetimes: Lifetimes {
            known: Duration::from_secs(1000),
            absent: Duration::from_secs(1000),
            stale: Duration::ZERO,
        },
        ..settings(local.path(), false)
    };
    change(&mut settings);
    let remote: Arc<dyn ftpfs::remote::Remote> = Arc::<Memory>::clone(&server);
    let vfs = Vfs::new(remote, settings);
    for (round, name) in names.iter().enumerate() {
        let deadline = &vfs.deadline();
        let ino = vfs.lookup(ROOT, name.as_bytes(), deadline).unwrap().ino;
        let wants = Wants::from_flags(libc::O_RDWR);
        let handle = vfs.open(ino, wants, deadline).unwrap().handle;
        assert_eq!(vfs.read(handle, 0, LARGE, deadline).unwrap().len(), 300_000);
        work(round, name, (&server, &vfs, handle));
        vfs.release(handle, deadline);
    }
}

/// Who reads just when others' change is found out has none of the old bytes go over the new ones.
#[test]
fn remotely_changed_file_is_not_completed_from_disk_cache() {
    let cache = tempfile::tempdir().unwrap();
    let disk = DiskCache {
        directory: cache.path().join("cache"),
        size: 1 << 30,
        source: b"here".to_vec(),
    };
    let keeps = |settings: &mut Settings| settings.disk_cache = Some(disk);
    each_of((200, false), keeps, |round, name, (server, vfs, handle)| {
        let deadline = &vfs.deadline();
        server.store(name, &[2; 300_000], false);
        vfs.write(handle, Spot::At(0), &[3; 10], deadline).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let _ = vfs.read(handle, 140_000, 10, deadline);
                    }
                });
            }
            let flushed = vfs.flush(handle, 0, deadline);
            over.store(true, Ordering::Relaxed);
            flushed.unwrap();
        });
        let stored = server.bytes(name).unwrap();
        let old = stored.iter().filter(|&&byte| byte == 1).count();
        assert_eq!(old, 0, "round {round}");
    });
}

/// What was stored is read at once, and never what was there before, though others append meanwhile.
#[test]
fn stored_file_with_remote_appends_is_not_read_stale() {
    let mut appended = 0;
    each_of(
        (150, true),
        |_| {},
        |round, name, (server, vfs, handle)| {
            let deadline = &vfs.deadline();
            vfs.write(handle, Spot::At(150_000), &[3; 10], deadline)
                .unwrap();
            server.slow(1000);
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        while !over.load(Ordering::Relaxed) {
                            if let Ok(bytes) = vfs.read(handle, 150_000, 10, deadline) {
                                let old = bytes.with(|bytes| bytes.contains(&1));
                                assert!(!old, "round {round}");
                            }
                        }
                    });
                }
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_micros(500));
                    server.store(name, &[2; 10], true);
                });
                let _ = vfs.flush(handle, 0, deadline);
                over.store(true, Ordering::Relaxed);
            });
            server.slow(0);
            let stored = server.bytes(name).unwrap();
            appended += usize::from(stored.len() > 300_000 && stored[150_000] == 3);
        },
    );
    assert!(appended > 0);
}

/// A file of zeros that was in the journal could not be cut; and an empty one that was closed while much waited was lost
/// when the connection broke.
#[test]
fn past_failures_with_writeback_stay_fixed() {
    use Op::{Close, Fsync, Open, Truncate, Write};
    let open = |name| Open {
        name,
        truncate: false,
    };
    let cut = |size| Truncate { handle: 0, size };
    let fsync = Fsync { handle: 0 };
    let zeros = [
        open(0),
        cut(100_000),
        fsync.clone(),
        open(0),
        cut(650),
        fsync,
        cut(1),
    ];
    let empty = [
        open(0),
        open(0),
        open(1),
        Close { handle: 2 },
        open(1),
        open(0),
        open(2),
        Write {
            handle: 2,
            offset: 100_000,
            length: 1,
        },
        Close { handle: 4 },
    ];
    for patches in [false, true] {
        let kind = Kind {
            stats: false,
            patches,
            spool_size: 4096,
            write_back: true,
            atomic: false,
            shared: false,
            slow: 0,
        };
        for _ in 0..5 {
            Run::new(kind, vec![Fault::None, Fault::Half]).run(&zeros, true);
            Run::new(kind, vec![Fault::Lost, Fault::None, Fault::Lost]).run(&empty, true);
        }
    }
}

/// What was begun beside, and failed, goes away in the end.
#[test]
fn failed_upload_leaves_no_temporary_file() {
    use Fault::{Half, None, Refused};
    let ops = [
        Op::Open {
            name: 0,
            truncate: false,
        },
        Op::Append {
            handle: 0,
            length: 2560,
        },
        Op::Truncate {
            handle: 0,
            size: 139_100,
        },
        Op::Open {
            name: 1,
            truncate: false,
        },
        Op::Close { handle: 1 },
        Op::Close { handle: 5 },
    ];
    let faults = [
        None, None, None, Refused, None, Half, None, None, Half, Half, None, None, Half, None,
        None, Half, None, None, None, None, None, None, Refused, None,
    ];
    let kind = Kind {
        stats: true,
        patches: true,
        spool_size: 4096,
        write_back: false,
        atomic: true,
        shared: false,
        slow: 0,
    };
    for _ in 0..30 {
        Run::new(kind, faults.to_vec()).run(&ops, true);
    }
}
