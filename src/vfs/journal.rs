//! The journal: what was closed and is not on the server yet, on the local disk.
//!
//! The one idea: one file that only grows, of records with checksums (`journal/record.rs`). A file is
//! in it from the moment when its close returned until the server has it. Small ones lie in it, bytes
//! and all, so that one sync of the disk keeps one close, or many that come at once; large ones have a
//! file of their own beside it.
//!
//! A journal belongs to one mount at a time, which holds its lock. What a mount that died has left is
//! taken over by the next mount of the same server and user that finds the lock free.
//!
//! Lock order: `state` alone; the disk is synced without it.

pub mod record;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use parking_lot::{Condvar, Mutex};

use crate::remote::ReadAt;
use crate::vfs::journal::record::{Intent, Record};
use crate::vfs::spool::{Spool, SpoolFile, make_private};

/// A file with fewer dirty bytes lies in the journal itself.
const INLINE: u64 = 128 * 1024;
/// More separate ranges of one file are joined, with what lies between them: a record has an end.
pub const RANGES: usize = 1000;
/// A journal that is longer than this, and of which but a part still counts, is written anew.
const COMPACT: u64 = 64 << 20;
/// Journals of mounts that go on at the same time.
const JOURNALS: usize = 64;

/// The journal of this mount.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    path: PathBuf,
    state: Mutex<State>,
    synced: Condvar,
}

#[derive(Debug)]
struct State {
    log: File,
    /// Bytes of the log.
    length: u64,
    /// Of these, what is known to be on the disk.
    kept: u64,
    syncing: bool,
    /// Where the last record of each intent is, and its length; done ones are none.
    live: HashMap<u64, (u64, u64)>,
    next: u64,
    /// Files of intents that are done, to be removed once the disk knows that.
    spent: Vec<PathBuf>,
}

/// What a mount that ended too soon has left.
#[derive(Debug)]
pub struct Left {
    /// What it was about to do.
    pub intent: Intent,
    /// The file of its bytes, where they are not in the intent.
    pub file: Option<PathBuf>,
}

impl Journal {
    /// Opens the journals of one server and user in `directory`, which is made when it is missing, and
    /// takes over what others left. `make` is whether one is wanted where there is none.
    pub fn open(directory: &Path, make: bool) -> io::Result<Option<(Self, Vec<Left>)>> {
        if !make && !directory.exists() {
            return Ok(None);
        }
        make_private(directory)?;
        let mut own: Option<(PathBuf, File)> = None;
        let mut others = Vec::new();
        for number in 0..JOURNALS {
            let path = directory.join(format!("{number}.log"));
            if !path.exists() && (own.is_some() || !make) {
                continue;
            }
            let file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(make)
                .mode(0o600)
                .open(&path)?;
            // Another mount that goes on has the lock, and keeps what it has.
            match lock(&file) {
                Err(_) => {}
                Ok(()) if own.is_none() => own = Some((path, file)),
                Ok(()) => others.push((path, file)),
            }
        }
        let Some((path, log)) = own else {
            return Ok(None);
        };
        let (mut left, state) = read(directory, &path, log)?;
        // What is torn was promised to nobody; what comes next must not stand behind it.
        state.log.set_len(state.length)?;
        let journal = Self {
            directory: directory.to_path_buf(),
            path,
            state: Mutex::new(state),
            synced: Condvar::new(),
        };
        for (path, log) in others {
            let (theirs, _held) = read(directory, &path, log)?;
            for one in theirs {
                left.push(journal.adopt(one)?);
            }
            fs::remove_file(&path)?;
        }
        journal.sweep(&left);
        Ok(Some((journal, left)))
    }

    /// A number for a new intent.
    pub fn number(&self) -> u64 {
        let mut state = self.state.lock();
        state.next += 1;
        state.next
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
            spool.name(&self.file_of(intent.id))?;
            File::open(&self.directory)?.sync_all()?;
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

    /// The intent need not be carried out any more.
    pub fn done(&self, id: u64) {
        self.note(&Record::Done(id));
        let mut state = self.state.lock();
        state.live.remove(&id);
        state.spent.push(self.file_of(id));
        if state.live.is_empty() && !state.syncing {
            // Nothing of it counts: a power cut may bring back what was done, which is then found so.
            if let Err(error) = state.log.set_len(0) {
                log::warn!("the journal can't be emptied: {error}");
                return;
            }
            (state.length, state.kept) = (0, 0);
            state.remove_spent();
        } else if state.length > COMPACT {
            let live: u64 = state.live.values().map(|(_, length)| length).sum();
            if live < state.length / 2
                && !state.syncing
                && let Err(error) = self.compact(&mut state)
            {
                log::warn!("the journal can't be written anew: {error}");
            }
        }
    }

    /// The end: an empty journal leaves nothing behind. Nothing may be written to it afterwards.
    pub fn close(&self) {
        let mut state = self.state.lock();
        if state.live.is_empty() {
            state.remove_spent();
            // What can't be removed is found empty by the next mount.
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_dir(&self.directory);
        }
    }

    /// Where the bytes of a large intent lie.
    fn file_of(&self, id: u64) -> PathBuf {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        self.directory.join(format!("{stem}-{id}.data"))
    }

    fn append(&self, record: &Record) -> io::Result<u64> {
        let bytes = record.write();
        let mut state = self.state.lock();
        let before = state.length;
        if let Err(error) = state.log.write_all(&bytes) {
            // A torn record would hide those behind it.
            state.log.set_len(before)?;
            return Err(error);
        }
        state.length += bytes.len() as u64;
        if let Record::Intent(intent) = record {
            state.live.insert(intent.id, (before, bytes.len() as u64));
        }
        Ok(state.length)
    }

    /// Returns once the disk has the log up to `end`. Many who come at once share a sync.
    fn sync(&self, end: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        while state.kept < end {
            if state.syncing {
                self.synced.wait(&mut state);
                continue;
            }
            state.syncing = true;
            let until = state.length;
            let file = state.log.try_clone()?;
            drop(state);
            let result = file.sync_data();
            state = self.state.lock();
            state.syncing = false;
            self.synced.notify_all();
            result?;
            state.kept = until;
            state.remove_spent();
        }
        Ok(())
    }

    /// Writes what still counts into a new log, which takes the place of the old one.
    fn compact(&self, state: &mut State) -> io::Result<()> {
        let path = self.path.with_extension("new");
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        file.set_len(0)?;
        lock(&file)?;
        let mut log = file;
        let mut live = HashMap::new();
        let mut length = 0;
        for (&id, &(at, size)) in &state.live {
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            state.log.read_exact_at(&mut bytes, at)?;
            log.write_all(&bytes)?;
            live.insert(id, (length, size));
            length += size;
        }
        log.sync_all()?;
        fs::rename(&path, &self.path)?;
        File::open(&self.directory)?.sync_all()?;
        state.log = log;
        (state.length, state.kept, state.live) = (length, length, live);
        state.remove_spent();
        Ok(())
    }

    /// Takes an intent of another journal over.
    fn adopt(&self, left: Left) -> io::Result<Left> {
        let id = self.number();
        let file = match &left.file {
            None => None,
            Some(theirs) => {
                let ours = self.file_of(id);
                fs::rename(theirs, &ours)?;
                Some(ours)
            }
        };
        let intent = Intent { id, ..left.intent };
        let end = self.append(&Record::Intent(intent.clone()))?;
        self.sync(end)?;
        Ok(Left { intent, file })
    }

    /// Removes the files of this journal that no intent names.
    fn sweep(&self, left: &[Left]) {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let ours = format!("{stem}-");
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let counts = left.iter().any(|left| left.file.as_deref() == Some(&path));
            if name.starts_with(&ours) && name.ends_with(".data") && !counts {
                // It is tried again by the next mount.
                let _ = fs::remove_file(&path);
            }
        }
    }
}

impl State {
    fn remove_spent(&mut self) {
        for path in self.spent.drain(..) {
            // Most intents had none.
            let _ = fs::remove_file(path);
        }
    }
}

/// Takes the lock of a journal, if nobody has it.
fn lock(file: &File) -> io::Result<()> {
    // SAFETY: flock(2) takes a descriptor, which is open, and touches no memory of ours.
    let result = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// What counts in a journal, and how long it is up to the first torn record.
fn read(directory: &Path, path: &Path, mut log: File) -> io::Result<(Vec<Left>, State)> {
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    let mut at = 0;
    let mut intents: HashMap<u64, Intent> = HashMap::new();
    let mut live = HashMap::new();
    let mut next = 0;
    while let Some((record, length)) = Record::read(&bytes[at..]) {
        match record {
            Record::Intent(intent) => {
                next = next.max(intent.id);
                live.insert(intent.id, (at as u64, length as u64));
                intents.insert(intent.id, intent);
            }
            Record::Begun(id) => {
                if let Some(intent) = intents.get_mut(&id) {
                    intent.begun = true;
                }
            }
            Record::Rights { id, mode, modified } => {
                if let Some(intent) = intents.get_mut(&id) {
                    intent.mode = mode;
                    intent.modified = modified;
                }
            }
            Record::Done(id) => {
                intents.remove(&id);
                live.remove(&id);
            }
        }
        at += length;
    }
    if at < bytes.len() {
        log::warn!("{}: its last record is torn and left out", path.display());
    }
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut left: Vec<Left> = intents
        .into_values()
        .map(|intent| Left {
            file: (intent.bytes.is_none())
                .then(|| directory.join(format!("{stem}-{}.data", intent.id))),
            intent,
        })
        .collect();
    left.sort_by_key(|left| left.intent.id);
    let state = State {
        log,
        length: at as u64,
        kept: at as u64,
        syncing: false,
        live,
        next,
        spent: Vec::new(),
    };
    Ok((left, state))
}

impl Left {
    /// Its bytes, in a spool file.
    pub fn spool(&self, spool: &Spool) -> io::Result<SpoolFile> {
        let Some(bytes) = &self.intent.bytes else {
            let path = self.file.clone().unwrap_or_default();
            return SpoolFile::open(&path);
        };
        let file = spool.create()?;
        let mut rest = &bytes[..];
        for range in &self.intent.dirty {
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let (part, behind) = rest
                .split_at_checked(length)
                .ok_or(io::ErrorKind::InvalidData)?;
            file.write_at(part, range.start)?;
            rest = behind;
        }
        Ok(file)
    }
}
