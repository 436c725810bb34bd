//! The journal: what was closed and is not on the server yet, on the local disk.
//!
//! The one idea: a log that only grows, of records with checksums (`journal/record.rs`). A file is in it
//! from the moment when its close returned until the server has it. Small ones lie in it, bytes and all,
//! so that one sync of the disk keeps one close, or many that come at once; large ones have a file of
//! their own beside it.
//!
//! The journal of a server and user is one directory, whatever of it is mounted: paths are absolute, and
//! numbers, which tell what came first, are given out over all mounts (`journal/directory.rs`,
//! `journal/neighbours.rs`). Each mount that lives writes to a log of its own; of what a dead one has left
//! the next mount takes what lies under its root (`journal/left.rs`).
//!
//! Lock order: the directory's lock, then `state`; the disk is synced without either, but where all of a
//! log is written anew.

pub mod directory;
pub mod neighbours;
pub mod record;
pub mod takeover;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::remote::ReadAt;
use crate::vfs::file::spool::SpoolFile;
use crate::vfs::journal::directory::{Directory, Locked, open_log, own};
use crate::vfs::journal::neighbours::Neighbours;
use crate::vfs::journal::record::{Intent, Record};

/// A file with fewer dirty bytes lies in the journal itself.
const INLINE: u64 = 128 * 1024;
/// More separate ranges of one file are joined, with what lies between them: a record has an end.
pub const RANGES: usize = 1000;
/// A log that is longer than this, and of which but a part still counts, is written anew: what that
/// costs is less than what was written before.
const COMPACT: u64 = 4 << 20;

/// The journal of this mount.
#[derive(Debug)]
pub struct Journal {
    directory: Directory,
    path: PathBuf,
    /// The other mounts of the same server and user.
    pub neighbours: Arc<Neighbours>,
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
    /// Where the records of each intent are, its last one and what came after it, and their lengths; done
    /// ones are none.
    live: HashMap<u64, Vec<(u64, u64)>>,
    /// Of these, what nobody need wait for.
    replaced: HashSet<u64>,
    highest: u64,
}

impl Journal {
    /// A journal without anything in it.
    fn new(directory: Directory, locked: &Locked) -> io::Result<Self> {
        let (path, log) = directory.new_log(locked)?;
        let state = State {
            log,
            length: 0,
            written: 0,
            kept: 0,
            ended: 0,
            syncing: false,
            live: HashMap::new(),
            replaced: HashSet::new(),
            highest: 0,
        };
        Ok(Self {
            neighbours: Arc::new(Neighbours::new(directory.clone(), Some(path.clone()))),
            directory,
            path,
            state: Mutex::new(state),
            synced: Condvar::new(),
        })
    }

    /// The number under which a close of `path` is to be committed: the one that it has, or a new one,
    /// where it has none or another mount has closed the same path since.
    pub fn claim(&self, path: &[u8], current: Option<u64>) -> io::Result<u64> {
        let locked = self.directory.lock()?;
        let (highest, newest) = self.neighbours.newest(&locked, path)?;
        if let Some(current) = current.filter(|current| newest.is_none_or(|id| id < *current)) {
            return Ok(current);
        }
        let id = {
            let mut state = self.state.lock();
            state.highest = state.highest.max(highest) + 1;
            state.highest
        };
        let path = path.to_vec();
        self.append(&Record::Claimed { id, path })?;
        Ok(id)
    }

    /// Writes an intent down; it is on the disk when this returns. `spool` has its dirty bytes.
    pub fn commit(&self, mut intent: Intent, spool: &SpoolFile) -> io::Result<()> {
        let dirty: u64 = intent
            .dirty
            .iter()
            .map(|range| range.end - range.start)
            .sum();
        if dirty <= INLINE {
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
            spool.name(&self.directory.data(intent.id))?;
            File::open(self.directory.path())?.sync_all()?;
        }
        let end = self.append(&Record::Intent(intent))?;
        self.sync(end)
    }

    /// Writes something down that nobody is promised.
    pub fn note(&self, record: &Record) {
        if let Err(error) = self.append(record) {
            log::warn!("the journal can't be written: {error}");
        }
    }

    /// The server is about to take something of it; that is on the disk when this returns, or the disk fails.
    pub fn begun(&self, id: u64) {
        let noted = self.append(&Record::Begun(id));
        if let Err(error) = noted.and_then(|end| self.sync(end)) {
            log::warn!("the journal can't be written: {error}");
        }
    }

    /// The server has its first `size` bytes. The disk knows that when this returns: then they may go from the file in
    /// which its bytes lie.
    pub fn arrived(&self, id: u64, size: u64) -> io::Result<()> {
        let end = self.append(&Record::Arrived { id, size })?;
        self.sync(end)
    }

    /// A later close takes the place of this one, or is about to: no other mount need wait for it.
    pub fn replaced(&self, id: u64) {
        let is_news = {
            let mut state = self.state.lock();
            state.live.contains_key(&id) && state.replaced.insert(id)
        };
        if is_news {
            self.note(&Record::Replaced(id));
        }
    }

    /// Whether it is known to be so.
    pub fn is_replaced(&self, id: u64) -> bool {
        self.state.lock().replaced.contains(&id)
    }

    /// The intent need not be carried out any more, or was never written down.
    pub fn done(&self, id: u64) {
        self.note(&Record::Done(id));
        let long = self.state.lock().is_long();
        // Most intents had none. If a power cut brings the intent back, it is found to have none any more.
        let _ = fs::remove_file(self.directory.data(id));
        if long && let Err(error) = self.compact() {
            log::warn!("the journal can't be written anew: {error}");
        }
    }

    /// Returns once no intent that has ended can come back, also after a power cut: for whoever changes by other means what
    /// it had stored.
    pub fn settle(&self) {
        let end = self.state.lock().ended;
        if let Err(error) = self.sync(end) {
            log::warn!("the journal can't be written: {error}");
        }
    }

    /// The end: an empty journal leaves nothing behind. Nothing may be written to it afterwards.
    pub fn close(&self) {
        let Ok(locked) = self.directory.lock() else {
            // It is found empty by the next mount.
            return;
        };
        if self.state.lock().live.is_empty() {
            let _ = fs::remove_file(&self.path);
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
        state.place(record, (before, bytes.len() as u64));
        Ok(state.written)
    }

    /// Returns once the disk has what was written up to `end`. Many who come at once share a sync.
    fn sync(&self, end: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        while state.kept < end {
            if state.syncing {
                self.synced.wait(&mut state);
                continue;
            }
            state.syncing = true;
            let until = state.written;
            let file = state.log.try_clone();
            drop(state);
            let result = file.and_then(|file| file.sync_data());
            state = self.state.lock();
            state.syncing = false;
            self.synced.notify_all();
            result?;
            state.kept = state.kept.max(until);
        }
        Ok(())
    }

    /// Writes what still counts into a new log, which takes the place of the old one.
    fn compact(&self) -> io::Result<()> {
        let _locked = self.directory.lock()?;
        let mut state = self.state.lock();
        if !state.is_long() {
            return Ok(());
        }
        let path = self.path.with_extension("new");
        // What a mount that died has left of one.
        let _ = fs::remove_file(&path);
        let mut log = open_log(OpenOptions::new().create_new(true), &path)?;
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
        fs::rename(&path, &self.path)?;
        File::open(self.directory.path())?.sync_all()?;
        state.log = log;
        (state.length, state.kept, state.live) = (length, state.written, live);
        Ok(())
    }
}

impl State {
    /// Whether most of the log counts no more.
    fn is_long(&self) -> bool {
        let live = self.live.values().flatten();
        let live: u64 = live.map(|(_, length)| length).sum();
        self.length > COMPACT && live < self.length / 2
    }

    /// Remembers where a record is that must not be lost.
    fn place(&mut self, record: &Record, at: (u64, u64)) {
        match record {
            Record::Claimed { id, .. } => drop(self.live.insert(*id, vec![at])),
            Record::Intent(intent) => drop(self.live.insert(intent.id, vec![at])),
            Record::Done(id) => {
                self.live.remove(id);
                self.replaced.remove(id);
            }
            other => {
                if let Some(records) = self.live.get_mut(&other.id()) {
                    records.push(at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A power cut leaves what was synced.
    #[test]
    fn what_has_ended_is_on_the_disk_when_that_is_asked_for() {
        let place = tempfile::tempdir().expect("a directory");
        let opened = Journal::open(place.path(), true, &|_| true).expect("opened");
        let journal = opened.journal.expect("a journal");
        let id = journal.claim(b"/f", None).expect("claimed");
        journal.done(id);
        let ended = journal.state.lock().ended;
        assert!(journal.state.lock().kept < ended);
        journal.settle();
        assert_eq!(journal.state.lock().kept, ended);
        // Nothing new, nothing to wait for.
        journal.note(&Record::Replaced(id));
        journal.settle();
        assert_eq!(journal.state.lock().kept, ended);
    }
}
