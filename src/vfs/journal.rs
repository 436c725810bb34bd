//! The journal: a write-ahead log on the local disk of files that were closed and are not on the server yet.
//!
//! The log only grows; its records have checksums (`record`). A file is in it from the moment its close returns until the
//! server has it. The bytes of small files are in the log itself, so that one sync of the disk covers one close, or many
//! at once (group commit); large ones have a data file of their own.
//!
//! The journals of one server and user share a directory, whatever part of the server is mounted; paths are absolute. Each
//! live mount writes to its own log (`directory`) and does not read those of others. What a dead mount has left below its
//! root, the next mount takes over (`takeover`).
//!
//! * `record`: records as bytes
//! * `directory`: the directory of the logs of one server and user, and its lock
//! * `takeover`: takes over what dead mounts have left
//!
//! [`JournalHandle`] is the journal as the rest of a mount uses it: whether there is one, and whether closes rely on it.
//!
//! # Lock order
//!
//! The directory's lock, then `state`. The disk is synced without `state`, except while the log is compacted. No lock of
//! the file system is held while a commit or a sync is waited for.

pub mod directory;
pub mod record;
pub mod takeover;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};

use crate::process::lock_order::assert_none_held;
use crate::remote::{ReadAt, RemotePath};
use crate::vfs::journal::directory::{Directory, Locked, data_name, own};
use crate::vfs::journal::record::{Intent, Record};
use crate::vfs::spool::SpoolFile;

/// Files with at most this many dirty bytes are stored in the log itself.
const INLINE_LIMIT: u64 = 128 * 1024;
/// Ranges of one record. More are joined, with the bytes between them, to bound its length.
pub const MAX_RANGES: usize = 1000;
/// A log longer than this many bytes, of which less than half is live, is compacted: that costs less than was written
/// before.
const COMPACT_THRESHOLD: u64 = 4 << 20;

/// Bits of an intent's number that tell the logs of live mounts apart; those above are microseconds since 1970.
const LOG_BITS: u32 = 8;

/// The journal of this mount.
#[derive(Debug)]
pub struct Journal {
    directory: Directory,
    /// The name of its log.
    name: String,
    state: Mutex<State>,
    synced: Condvar,
}

#[derive(Debug)]
struct State {
    log: File,
    /// Bytes of the log.
    length: u64,
    /// Bytes that were ever written.
    written: u64,
    /// Of these, what is known to be on the disk, or counts no more.
    kept: u64,
    /// Of these, up to the last record by which an intent is not to be carried out any more.
    ended: u64,
    syncing: bool,
    /// A sync has failed. The kernel says so once and may have dropped what it could not write: a later sync of the same
    /// file that succeeds proves nothing.
    is_suspect: bool,
    /// Where the records of each intent are, its last one and what came after it, and their lengths; done
    /// ones are none.
    live: HashMap<u64, Vec<(u64, u64)>>,
    /// The highest number of an intent that is known.
    highest: u64,
    /// The low bits of our own numbers, which no other live mount uses.
    log_number: u64,
}

impl Journal {
    /// A journal without anything in it.
    fn new(directory: Directory, locked: &Locked) -> io::Result<Self> {
        let (name, log) = directory.new_log(locked)?;
        let log_number = log_number(Path::new(&name));
        let state = State {
            log,
            length: 0,
            written: 0,
            kept: 0,
            ended: 0,
            syncing: false,
            is_suspect: false,
            live: HashMap::new(),
            highest: 0,
            log_number,
        };
        Ok(Self {
            directory,
            name,
            state: Mutex::new(state),
            synced: Condvar::new(),
        })
    }

    /// A number for a new intent. Live mounts share the directory of data files, so the number is unique among them: the
    /// time, and the number of this mount's log.
    pub fn next_id(&self) -> u64 {
        self.state.lock().next_id()
    }

    /// Writes an intent down; it is on the disk when this returns. `spool` has its dirty bytes.
    pub fn commit(&self, mut intent: Intent, spool: &SpoolFile) -> io::Result<()> {
        assert_none_held("a journal commit");
        self.compact_if_long();
        let dirty: u64 = intent
            .dirty
            .iter()
            .map(|range| range.end - range.start)
            .sum();
        if dirty <= INLINE_LIMIT {
            let mut bytes = Vec::new();
            for range in &intent.dirty {
                let from = bytes.len();
                bytes.resize(
                    from + usize::try_from(range.end - range.start).unwrap_or(0),
                    0,
                );
                spool.read_exact_at(&mut bytes[from..], range.start)?;
            }
            intent.bytes = Some(bytes);
        } else {
            let directory = self.directory.make()?;
            spool.name(&directory, &data_name(intent.id))?;
            directory.sync()?;
        }
        let end = self.append(&Record::Intent(intent))?;
        self.sync(end)
    }

    /// Appends a record without a sync: nothing depends on it after a crash.
    pub fn note(&self, record: &Record) {
        if let Err(error) = self.append(record) {
            log::warn!(
                "journal: write failed: {error}; recovery after a crash may repeat an upload"
            );
        }
    }

    /// The server is about to take something of it; that is on the disk when this returns, or the disk fails.
    pub fn begun(&self, id: u64) {
        let noted = self.append(&Record::Begun(id));
        if let Err(error) = noted.and_then(|end| self.sync(end)) {
            log::warn!(
                "journal: write failed: {error}; recovery after a crash may repeat an upload"
            );
        }
    }

    /// The server has its first `size` bytes. The disk knows that when this returns: then they may go from the file in
    /// which its bytes lie.
    pub fn arrived(&self, id: u64, size: u64) -> io::Result<()> {
        let end = self.append(&Record::Arrived { id, size })?;
        self.sync(end)
    }

    /// The intent need not be carried out any more, or was never written down.
    pub fn done(&self, id: u64) {
        self.note(&Record::Done(id));
        // Most intents have no data file. If a power cut brings the intent back, it is found to have none any more.
        let _ = self.directory.remove(&data_name(id));
    }

    /// Returns once no ended intent can come back, even after a power cut: for callers that are about to change what it
    /// had stored.
    pub fn sync_ended(&self) {
        let end = self.state.lock().ended;
        if let Err(error) = self.sync(end) {
            log::warn!(
                "journal: write failed: {error}; recovery after a crash may repeat an upload"
            );
        }
    }

    /// Closes the journal; an empty one leaves no file. Nothing may be written to it afterwards.
    pub fn close(&self) {
        let Ok(locked) = self.directory.lock() else {
            // It is found empty by the next mount.
            return;
        };
        if self.state.lock().live.is_empty() {
            let _ = self.directory.remove(&self.name);
            self.directory.remove_if_empty(&locked);
        }
    }

    fn append(&self, record: &Record) -> io::Result<u64> {
        let bytes = record.write();
        let mut state = self.state.lock();
        let before = state.length;
        if let Err(error) = state.log.write_all(&bytes) {
            // What there is of it is passed over, if it can't be taken back.
            state.log.set_len(before)?;
            return Err(error);
        }
        state.length += bytes.len() as u64;
        state.written += bytes.len() as u64;
        if matches!(record, Record::Done(_)) {
            state.ended = state.written;
        }
        state.index(record, (before, bytes.len() as u64));
        Ok(state.written)
    }

    /// Returns once the disk has what was written up to `end`. Concurrent callers share a sync (group commit).
    fn sync(&self, end: u64) -> io::Result<()> {
        assert_none_held("a sync of the journal");
        let mut state = self.state.lock();
        while state.kept < end {
            if state.syncing {
                self.synced.wait(&mut state);
                continue;
            }
            if state.is_suspect {
                drop(state);
                self.rewrite(State::needs_rewrite)?;
                state = self.state.lock();
                continue;
            }
            state.syncing = true;
            let until = state.written;
            let file = state.log.try_clone();
            drop(state);
            let result = file.and_then(|file| file.sync_data());
            state = self.state.lock();
            state.syncing = false;
            state.is_suspect |= result.is_err();
            self.synced.notify_all();
            result?;
            state.kept = state.kept.max(until);
        }
        Ok(())
    }

    /// Compacts the log once it has grown far beyond its live records. Callers of [`Self::done`] may hold locks, so the
    /// next commit does it.
    fn compact_if_long(&self) {
        let is_long = self.state.lock().is_long();
        if is_long && let Err(error) = self.rewrite(State::is_long) {
            log::warn!("journal: compaction failed: {error}; the log keeps growing");
        }
    }

    /// Writes what still counts into a new log, which takes the place of the old one, if that `is_needed`.
    fn rewrite(&self, is_needed: fn(&State) -> bool) -> io::Result<()> {
        let _locked = self.directory.lock()?;
        let mut state = self.state.lock();
        if !is_needed(&state) {
            return Ok(());
        }
        let directory = self.directory.make()?;
        let name = format!("{}.new", self.name);
        // What a mount that died has left of one.
        let _ = directory.remove(&name);
        let mut log = directory.open(&name, directory::LOG_FLAGS | directory::NEW_FLAGS)?;
        own(&log)?;
        let mut live = HashMap::new();
        let mut length = 0;
        for (&id, records) in &state.live {
            let mut moved = Vec::new();
            for &(at, size) in records {
                let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
                state.log.read_exact_at(&mut bytes, at)?;
                log.write_all(&bytes)?;
                moved.push((length, size));
                length += size;
            }
            live.insert(id, moved);
        }
        if !live.is_empty() {
            log.sync_all()?;
        }
        directory.rename(&name, &self.name)?;
        // From here on the old log has no name: nothing may be written to it, whatever becomes of the sync.
        (state.log, state.length, state.live) = (log, length, live);
        directory.sync()?;
        (state.kept, state.is_suspect) = (state.written, false);
        Ok(())
    }
}

/// The low bits of the numbers that the owner of a log gives out.
fn log_number(path: &Path) -> u64 {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let number: u64 = stem.and_then(|stem| stem.parse().ok()).unwrap_or(0);
    number % (1 << LOG_BITS)
}

impl State {
    fn next_id(&mut self) -> u64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let time = micros.max((self.highest >> LOG_BITS) + 1);
        self.highest = time << LOG_BITS | self.log_number;
        self.highest
    }

    /// Whether most of the log counts no more.
    fn is_long(&self) -> bool {
        let live = self.live.values().flatten();
        let live: u64 = live.map(|(_, length)| length).sum();
        self.length > COMPACT_THRESHOLD && live < self.length / 2
    }

    /// Whether what was written to the log may be lost.
    fn needs_rewrite(&self) -> bool {
        self.is_suspect
    }

    /// Remembers where a record is that must not be lost.
    fn index(&mut self, record: &Record, at: (u64, u64)) {
        match record {
            Record::Intent(intent) => drop(self.live.insert(intent.id, vec![at])),
            Record::Done(id) => {
                self.live.remove(id);
            }
            other => {
                if let Some(records) = self.live.get_mut(&other.id()) {
                    records.push(at);
                }
            }
        }
    }
}

/// The journal of a mount, once it is open.
#[derive(Debug)]
pub struct JournalHandle {
    journal: OnceLock<Journal>,
    /// Whether closes return before the server has the file.
    write_back: bool,
    /// The mounted directory on the server, absolute, without a `/` at its end.
    root: Vec<u8>,
}

impl JournalHandle {
    /// No journal yet.
    pub(crate) fn new(write_back: bool, root: Vec<u8>) -> Self {
        Self {
            journal: OnceLock::new(),
            write_back,
            root,
        }
    }

    /// The journal, if there is one.
    pub(crate) fn get(&self) -> Option<&Journal> {
        self.journal.get()
    }

    /// From now on this is the journal. The first one stays.
    pub(crate) fn set(&self, journal: Journal) {
        let _ = self.journal.set(journal);
    }

    /// Whether closes return before the server has the file.
    pub(crate) fn is_write_back(&self) -> bool {
        self.write_back && self.get().is_some()
    }

    /// The absolute path on the server of a path in the mount.
    pub(crate) fn absolute(&self, path: &RemotePath) -> Vec<u8> {
        [&self.root[..], b"/", path.as_bytes()].concat()
    }

    /// The path in the mount of an absolute path on the server; `None` where it lies outside.
    pub(crate) fn inside(&self, path: &[u8]) -> Option<RemotePath> {
        let rest = path.strip_prefix(&self.root[..])?.strip_prefix(b"/")?;
        rest.split(|&byte| byte == b'/')
            .try_fold(RemotePath::root(), |path, name| path.join(name))
    }

    /// A name has changed on the server: nothing that was stored under it before comes back, not even after a power cut.
    pub(crate) fn sync_ended(&self) {
        if let Some(journal) = self.get() {
            journal.sync_ended();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    fn intent(id: u64, path: &str) -> Record {
        Record::Intent(Intent {
            id,
            path: path.into(),
            ..Intent::default()
        })
    }

    #[test]
    fn failed_sync_is_made_good_by_a_new_log() {
        let place = tempfile::tempdir().expect("a directory");
        let opened = Journal::open(place.path(), true, &|_| true).expect("opened");
        let journal = opened.journal.expect("a journal");
        journal.append(&intent(1, "/kept")).expect("appended");
        let end = journal.append(&intent(2, "/done")).expect("appended");
        journal.append(&Record::Done(2)).expect("appended");
        let old = journal.state.lock().log.try_clone().expect("the old log");
        // A pipe can't be synced.
        let (_, pipe) = io::pipe().expect("a pipe");
        journal.state.lock().log = File::from(OwnedFd::from(pipe));
        journal.sync(end).expect_err("no pipe can be synced");
        journal.state.lock().log = old;
        journal.sync(end).expect("what counts is in a new log");
        let log = place.path().join(&journal.name);
        let bytes = std::fs::read(log).expect("the new log");
        assert_eq!(bytes, intent(1, "/kept").write());
        assert!(!journal.state.lock().is_suspect);
    }

    /// A power cut leaves what was synced.
    #[test]
    fn sync_ended_syncs_ended_intents() {
        let place = tempfile::tempdir().expect("a directory");
        let opened = Journal::open(place.path(), true, &|_| true).expect("opened");
        let journal = opened.journal.expect("a journal");
        let id = journal.next_id();
        journal.done(id);
        let ended = journal.state.lock().ended;
        assert!(journal.state.lock().kept < ended);
        journal.sync_ended();
        assert_eq!(journal.state.lock().kept, ended);
        // Nothing new, nothing to wait for.
        journal.note(&Record::Begun(id));
        journal.sync_ended();
        assert_eq!(journal.state.lock().kept, ended);
    }
}
