//! A file server in memory, which stands in for the FTP client: it answers at once, and goes wrong when it is told to.

// A helper whose failure is the test's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ftpfs::remote::{
    Ask, Attributes, Change, Completeness, Deadline, Done, Entry, Error, Kind, Modified, Plan,
    Precision, ReadAt, Reading, Remote, RemotePath, Result, Room, Sink, Source, Step, Then, Traits,
    Updated, Urgency, Version, View, Why,
};

/// What goes wrong with an upload or a read, in the order of their coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Refused before anything happened.
    Refused,
    /// The connection was lost before anything happened.
    Lost,
    /// Broken off after half of the bytes.
    Half,
    /// Done, but the confirmation was lost.
    Unconfirmed,
}

/// What the server has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The bytes of a file; `None` for a directory.
    pub bytes: Option<Vec<u8>>,
    pub modified: i64,
    /// Permission bits, where the server stores them and they were set.
    pub mode: Option<u32>,
}

impl Node {
    /// A directory.
    pub fn directory(modified: i64) -> Self {
        Self {
            bytes: None,
            modified,
            mode: None,
        }
    }

    fn empty_file(modified: i64) -> Self {
        Self {
            bytes: Some(Vec::new()),
            ..Self::directory(modified)
        }
    }
}

/// The server.
pub struct Memory {
    nodes: Arc<Mutex<BTreeMap<Vec<u8>, Node>>>,
    faults: Mutex<VecDeque<Fault>>,
    /// Which of the next changes of names and attributes are refused.
    refusals: Mutex<VecDeque<bool>>,
    /// Permission bits are stored.
    stores_modes: AtomicBool,
    clock: Mutex<i64>,
    stats: bool,
    patches: bool,
    /// Microseconds that transfers take, some of them more.
    slow: AtomicU64,
    transfers: AtomicU64,
    failed_reads: AtomicU64,
    refused: AtomicBool,
}

impl Memory {
    /// An empty one. `stats` is whether one path can be asked for alone, `patches` whether a part of a file can be
    /// written.
    pub fn new(stats: bool, patches: bool, faults: impl IntoIterator<Item = Fault>) -> Self {
        Self {
            patches,
            nodes: Arc::default(),
            faults: Mutex::new(faults.into_iter().collect()),
            refusals: Mutex::default(),
            stores_modes: AtomicBool::new(false),
            clock: Mutex::new(1_000_000_000),
            stats,
            slow: AtomicU64::new(0),
            transfers: AtomicU64::new(0),
            failed_reads: AtomicU64::new(0),
            refused: AtomicBool::new(false),
        }
    }

    /// From now on transfers take so many microseconds, up to three times as many.
    pub fn slow(&self, micros: u64) {
        self.slow.store(micros, Ordering::SeqCst);
    }

    /// Another client stores a file: all of it, or more at its end.
    pub fn store(&self, path: &str, bytes: &[u8], appends: bool) {
        let modified = self.tick();
        let mut nodes = self.nodes();
        let node = made(&mut nodes, path.as_bytes(), Node::empty_file(modified));
        let mut stored = node.bytes.take().filter(|_| appends).unwrap_or_default();
        stored.extend_from_slice(bytes);
        (node.bytes, node.modified) = (Some(stored), modified);
    }

    /// Another client makes a directory.
    pub fn make_directory(&self, path: &str) {
        let directory = Node::directory(self.tick());
        made(&mut self.nodes(), path.as_bytes(), directory);
    }

    /// Another client changes the time of what is there.
    pub fn touch(&self, path: &str) {
        let modified = self.tick();
        self.nodes().get_mut(path.as_bytes()).unwrap().modified = modified;
    }

    /// Another client changes permission bits; false where the server has none.
    pub fn change_mode(&self, path: &str, mode: u32) -> bool {
        let stores = self.stores_modes.load(Ordering::SeqCst);
        if stores {
            self.nodes().get_mut(path.as_bytes()).unwrap().mode = Some(mode);
        }
        stores
    }

    /// Whether it stores permission bits.
    pub fn store_modes(&self, stores: bool) {
        self.stores_modes.store(stores, Ordering::SeqCst);
    }

    fn wait(&self) {
        let number = self.transfers.fetch_add(1, Ordering::SeqCst);
        let micros = self.slow.load(Ordering::SeqCst) * (number * 7 % 4);
        if micros > 0 {
            std::thread::sleep(Duration::from_micros(micros));
        }
    }

    /// All names and what is under them.
    pub fn nodes(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Node>> {
        self.nodes.lock().unwrap()
    }

    /// The bytes of a file.
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        self.nodes().get(path.as_bytes())?.bytes.clone()
    }

    /// This goes wrong with the uploads and reads that come next.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// Of the changes of names and attributes that come next these are refused.
    pub fn refuse(&self, refusals: impl IntoIterator<Item = bool>) {
        self.refusals.lock().unwrap().extend(refusals);
    }

    /// From now on nothing goes wrong.
    pub fn mend(&self) {
        self.faults.lock().unwrap().clear();
        self.refusals.lock().unwrap().clear();
    }

    /// Whether something could not be read, or not all of it.
    pub fn has_failed_reads(&self) -> bool {
        self.failed_reads.load(Ordering::SeqCst) > 0
    }

    /// Whether a change of a name or of attributes was refused.
    pub fn has_refused(&self) -> bool {
        self.refused.load(Ordering::SeqCst)
    }

    fn fault(&self) -> Fault {
        let next = self.faults.lock().unwrap().pop_front();
        next.unwrap_or(Fault::None)
    }

    /// Every change has a second of its own.
    fn tick(&self) -> i64 {
        let mut clock = self.clock.lock().unwrap();
        *clock += 1;
        *clock
    }

    fn is_refused(&self, step: &Step<'_>) -> bool {
        let changes = !matches!(step, Step::Stat(_) | Step::Version(_));
        let refused = changes && self.refusals.lock().unwrap().pop_front() == Some(true);
        self.refused.fetch_or(refused, Ordering::SeqCst);
        refused
    }

    fn step(&self, step: &Step<'_>) -> Result<Done> {
        if self.is_refused(step) {
            return Err(Error::refused(Why::Denied, format!("{step:?}"), "550"));
        }
        let modified = self.tick();
        let mut nodes = self.nodes();
        let missing = || Error::refused(Why::NotFound, format!("{step:?}"), "550");
        match step {
            Step::Stat(path) | Step::Version(path) => {
                let node = nodes.get(path.as_bytes());
                let attributes = match node {
                    Some(node) => attributes(node),
                    None if path.is_root() => Attributes::of(Kind::Directory),
                    None => return Err(missing()),
                };
                Ok(match step {
                    Step::Stat(_) => Done::Attributes(attributes),
                    _ => Done::Version(attributes.version()),
                })
            }
            Step::Remove(path) | Step::RemoveDirectory(path) => {
                let removed = nodes.remove(path.as_bytes()).map(|_| Done::Changed);
                touch_parent(&mut nodes, path.as_bytes(), modified);
                removed.ok_or_else(missing)
            }
            Step::MakeDirectory(path) => {
                made(&mut nodes, path.as_bytes(), Node::directory(modified));
                Ok(Done::Changed)
            }
            Step::Rename { from, to } => {
                let below = |path: &[u8]| {
                    let rest = path.strip_prefix(from.as_bytes());
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
                };
                let moved: Vec<_> = nodes.keys().filter(|path| below(path)).cloned().collect();
                if moved.is_empty() {
                    return Err(missing());
                }
                for path in moved {
                    let node = nodes.remove(&path).unwrap();
                    let rest = &path[from.as_bytes().len()..];
                    nodes.insert([to.as_bytes(), rest].concat(), node);
                }
                touch_parent(&mut nodes, from.as_bytes(), modified);
                touch_parent(&mut nodes, to.as_bytes(), modified);
                Ok(Done::Changed)
            }
            Step::SetModified(path, seconds) => {
                let node = nodes.get_mut(path.as_bytes()).ok_or_else(missing)?;
                node.modified = *seconds;
                Ok(Done::Changed)
            }
            Step::SetMode(path, mode) if self.stores_modes.load(Ordering::SeqCst) => {
                let node = nodes.get_mut(path.as_bytes()).ok_or_else(missing)?;
                node.mode = Some(*mode);
                Ok(Done::Changed)
            }
            Step::SetMode(..) | Step::MakeLink { .. } => {
                Err(Error::refused(Why::Unsupported, "SITE", "500"))
            }
        }
    }
}

/// What is at `path`, or is made there.
fn made<'a>(nodes: &'a mut BTreeMap<Vec<u8>, Node>, path: &[u8], new: Node) -> &'a mut Node {
    if !nodes.contains_key(path) {
        touch_parent(nodes, path, new.modified);
    }
    nodes.entry(path.to_vec()).or_insert(new)
}

/// A name in a directory is new or gone.
fn touch_parent(nodes: &mut BTreeMap<Vec<u8>, Node>, path: &[u8], modified: i64) {
    let cut = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    if let Some(parent) = nodes.get_mut(&path[..cut]) {
        parent.modified = modified;
    }
}

fn attributes(node: &Node) -> Attributes {
    let kind = match node.bytes {
        Some(_) => Kind::File,
        None => Kind::Directory,
    };
    Attributes {
        size: node.bytes.as_ref().map(|bytes| bytes.len() as u64),
        modified: Some(Modified {
            seconds: node.modified,
            precision: Precision::Second,
        }),
        mode: node.mode,
        ..Attributes::of(kind)
    }
}

impl Remote for Memory {
    fn traits(&self) -> Traits {
        Traits {
            stats: self.stats,
            seeks: true,
            appends: true,
            sets_modes: true,
            sets_times: true,
            ..Traits::default()
        }
    }

    fn room(&self, _: Urgency) -> usize {
        1
    }

    fn perform(&self, steps: &[Step<'_>], _: &Ask<'_>) -> Vec<Result<Done>> {
        steps.iter().map(|step| self.step(step)).collect()
    }

    fn list(
        &self,
        directory: &RemotePath,
        _: &Ask<'_>,
        each: &mut dyn FnMut(Entry),
    ) -> Result<Completeness> {
        let nodes = self.nodes().clone();
        for (path, node) in &nodes {
            let cut = path.iter().rposition(|&byte| byte == b'/');
            let (parent, name) = match cut {
                Some(slash) => (&path[..slash], &path[slash + 1..]),
                None => (&b""[..], &path[..]),
            };
            if parent == directory.as_bytes() {
                each(Entry {
                    name: name.to_vec(),
                    attributes: attributes(node),
                });
            }
        }
        Ok(Completeness::Whole)
    }

    fn read_link(&self, link: &RemotePath, _: &Ask<'_>) -> Result<Vec<u8>> {
        Err(Error::refused(Why::NotFound, link.to_string(), "550"))
    }

    fn read(&self, file: &RemotePath, reading: &Reading, _: &Ask<'_>) -> Result<Box<dyn Source>> {
        let node = self.nodes().get(file.as_bytes()).cloned();
        let version = node.as_ref().map(|node| attributes(node).version());
        let version = version.unwrap_or_default();
        let bytes = node.and_then(|node| node.bytes);
        let mut bytes =
            bytes.ok_or_else(|| Error::refused(Why::NotFound, file.to_string(), "550"))?;
        bytes.drain(..bytes.len().min(usize::try_from(reading.from).unwrap()));
        self.wait();
        let fault = self.fault();
        if fault != Fault::None {
            self.failed_reads.fetch_add(1, Ordering::SeqCst);
        }
        if matches!(fault, Fault::Refused | Fault::Lost) {
            return Err(Error::lost("RETR", "a fault"));
        }
        let cut = fault == Fault::Half;
        if cut {
            bytes.truncate(bytes.len() / 2);
        }
        let version = reading.verify.then_some(version);
        Ok(Box::new(Bytes {
            bytes,
            at: 0,
            cut,
            version,
        }))
    }

    fn write(
        &self,
        file: &RemotePath,
        behind: Option<u64>,
        then: Then,
        first: &[u8],
        begins: &dyn Fn(),
        _: &Ask<'_>,
    ) -> Result<(Box<dyn Sink>, u64)> {
        self.wait();
        let fault = self.fault();
        match fault {
            Fault::Refused => return Err(Error::refused(Why::NoSpace, "STOR", "552")),
            Fault::Lost => return Err(Error::lost("STOR", "a fault")),
            _ => {}
        }
        begins();
        let modified = self.tick();
        let mut nodes = self.nodes();
        let node = made(&mut nodes, file.as_bytes(), Node::empty_file(modified));
        node.modified = modified;
        let mut early = 0;
        if behind.is_none() {
            // Now and then some of it comes with the beginning.
            early = first.len() / 2 * usize::from(modified % 2 == 0);
            node.bytes = Some(first[..early].to_vec());
        }
        let transfer = Transfer {
            nodes: Arc::clone(&self.nodes),
            path: file.as_bytes().to_vec(),
            then,
            fault,
        };
        Ok((Box::new(transfer), early as u64))
    }

    fn create(&self, file: &RemotePath, begins: &dyn Fn(), ask: &Ask<'_>) -> Result<Box<dyn Sink>> {
        if self.nodes().contains_key(file.as_bytes()) {
            return Err(Error::refused(Why::Exists, "APPE", "550"));
        }
        let (sink, _) = self.write(file, None, Then::default(), &[], begins, ask)?;
        Ok(sink)
    }

    fn check_name(&self, _: &RemotePath) -> Result<()> {
        Ok(())
    }

    fn plan(&self, change: &Change) -> Plan {
        let Some(base) = change.base.and_then(|base| base.size) else {
            return Plan::Whole;
        };
        if change.emptied {
            return Plan::Whole;
        }
        let first = change.first_dirty();
        if change.kept == base && first >= base && change.size > base {
            return Plan::Append(base);
        }
        let patches = self.patches && change.kept > 0 && change.size >= base && first <= base;
        if patches && !change.dirty.is_empty() {
            return Plan::Patch {
                ranges: change.dirty.clone(),
                tried: false,
                cuts: false,
            };
        }
        Plan::Whole
    }

    fn probe_patch(&self, _: &RemotePath, _: &Ask<'_>) -> Result<()> {
        Ok(())
    }

    fn update(
        &self,
        file: &RemotePath,
        change: &Change,
        plan: &Plan,
        bytes: &dyn ReadAt,
        _: &Ask<'_>,
    ) -> Result<Updated> {
        let mut base = match plan {
            Plan::Append(base) => *base,
            _ => 0,
        };
        if change.broke_off && matches!(plan, Plan::Append(_)) {
            // What the FTP client looks for: which of our bytes are there already.
            let stored = self.nodes().get(file.as_bytes()).cloned();
            let stored = stored.and_then(|node| node.bytes).unwrap_or_default();
            let mut ours = vec![0; usize::try_from(change.size - base).unwrap()];
            bytes.read_exact_at(&mut ours, base).unwrap();
            let behind = stored.get(usize::try_from(base).unwrap()..);
            match behind.filter(|behind| !behind.is_empty()) {
                Some(behind) if ours.starts_with(behind) => base = stored.len() as u64,
                // Behind what others have put before it.
                _ if stored.len() as u64 != base && stored.ends_with(&ours) => base = change.size,
                _ => {}
            }
        }
        let ranges = match plan {
            Plan::Patch { ranges, .. } => ranges.clone(),
            _ => std::iter::once(base..change.size).collect(),
        };
        self.wait();
        let fault = self.fault();
        match fault {
            Fault::Refused => return Err(Error::refused(Why::NoSpace, "STOR", "552")),
            Fault::Lost => return Err(Error::lost("STOR", "a fault")),
            _ => {}
        }
        change.taken.store(true, Ordering::SeqCst);
        bytes.begins();
        let modified = self.tick();
        let mut nodes = self.nodes();
        let node = made(&mut nodes, file.as_bytes(), Node::empty_file(modified));
        let stored = node.bytes.as_mut().expect("a file");
        if *plan == Plan::Whole {
            stored.clear();
        }
        for range in ranges {
            let mut sent = vec![0; usize::try_from(range.end - range.start).unwrap()];
            bytes.read_exact_at(&mut sent, range.start).unwrap();
            if fault == Fault::Half {
                sent.truncate(sent.len() / 2);
            }
            match plan {
                Plan::Patch { .. } => {
                    let at = usize::try_from(range.start).unwrap();
                    assert!(at <= stored.len(), "a patch behind the end");
                    stored.resize(stored.len().max(at + sent.len()), 0);
                    stored[at..at + sent.len()].copy_from_slice(&sent);
                }
                _ => stored.extend(sent),
            }
        }
        node.modified = modified;
        if fault != Fault::None {
            return Err(Error::lost("STOR", "a fault"));
        }
        if let Some(seconds) = change.then.modified {
            node.modified = seconds;
        }
        let stores_modes = self.stores_modes.load(Ordering::SeqCst);
        node.mode = change.then.mode.filter(|_| stores_modes).or(node.mode);
        let set_mode = |_| match stores_modes {
            true => Ok(()),
            false => Err(Error::refused(Why::Unsupported, "SITE", "500")),
        };
        Ok(Updated {
            version: attributes(node).version(),
            mode: change.then.mode.map(set_mode),
            modified: change.then.modified.map(|_| Ok(())),
            shown_mode: None,
        })
    }

    fn space(&self, _: &RemotePath, _: &Ask<'_>) -> Result<Option<Room>> {
        Ok(None)
    }

    fn describe(&self, _: &RemotePath, _: View, _: &Ask<'_>) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn close(&self) {}
}

/// A file that is being read as it was when it was opened.
struct Bytes {
    bytes: Vec<u8>,
    at: usize,
    /// The end is none.
    cut: bool,
    version: Option<Version>,
}

impl Source for Bytes {
    fn read(&mut self, buffer: &mut [u8], _: &Deadline) -> Result<usize> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() && self.cut && !buffer.is_empty() {
            return Err(Error::lost("RETR", "a fault"));
        }
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at += length;
        Ok(length)
    }

    fn version(&self) -> Option<Version> {
        self.version
    }

    fn wanted(&self) -> bool {
        false
    }
}

/// A file that is being written. A fault strikes at its end, or in its first piece.
struct Transfer {
    nodes: Arc<Mutex<BTreeMap<Vec<u8>, Node>>>,
    path: Vec<u8>,
    then: Then,
    fault: Fault,
}

impl Sink for Transfer {
    fn write(&mut self, bytes: &[u8], _: &Deadline) -> Result<()> {
        let taken = if self.fault == Fault::Half {
            bytes.len() / 2
        } else {
            bytes.len()
        };
        let mut nodes = self.nodes.lock().unwrap();
        // Its name may be gone.
        if let Some(stored) = nodes
            .get_mut(&self.path)
            .and_then(|node| node.bytes.as_mut())
        {
            stored.extend_from_slice(&bytes[..taken]);
        }
        if self.fault == Fault::Half {
            return Err(Error::lost("STOR", "a fault"));
        }
        Ok(())
    }

    /// Tells of every second file what it is; who was not told asks.
    fn finish(&mut self, _: &Deadline) -> Result<Option<Updated>> {
        if self.fault == Fault::Unconfirmed {
            return Err(Error::lost("STOR", "a fault"));
        }
        let nodes = self.nodes.lock().unwrap();
        let node = nodes.get(&self.path);
        let told = node.filter(|node| self.then == Then::default() && node.modified % 2 == 0);
        Ok(told.map(|node| Updated {
            version: attributes(node).version(),
            mode: None,
            modified: None,
            shown_mode: None,
        }))
    }

    fn wanted(&self) -> bool {
        false
    }
}
