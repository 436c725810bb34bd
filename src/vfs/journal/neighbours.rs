//! What other mounts of the same server and user have closed and not stored yet.
//!
//! The one idea: every log can be read by all. What is in one whose mount lives comes in the order of the
//! numbers, which are given out under the common lock, over all logs: whoever wants to change a path waits
//! for what was closed there before. What is in one whose mount is dead waits for a mount to take it over;
//! who changes such a path meanwhile writes that down there, so that the older never comes over the newer.
//!
//! Lock order: the common lock before `seen`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use parking_lot::Mutex;

use crate::vfs::journal::directory::{Directory, Locked, disown, is_free};
use crate::vfs::journal::record::Record;

/// The logs of the others, as far as they were read.
#[derive(Debug)]
pub struct Neighbours {
    directory: Directory,
    /// Our own log is none of theirs.
    own: Option<String>,
    seen: Mutex<HashMap<String, Log>>,
}

/// What a change concerns.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The absolute path on the server.
    pub path: &'a [u8],
    /// What lies below it, too.
    pub below: bool,
}

#[derive(Debug)]
struct Log {
    file: File,
    /// So far it was read.
    at: u64,
    pending: BTreeMap<u64, Pending>,
    highest: u64,
}

#[derive(Debug)]
struct Pending {
    path: Vec<u8>,
    /// Nobody need wait for it.
    replaced: bool,
    overtaken: bool,
}

impl Neighbours {
    /// The neighbours of the mount that has the log `own`, if it has one.
    pub fn new(directory: Directory, own: Option<String>) -> Self {
        Self {
            directory,
            own,
            seen: Mutex::default(),
        }
    }

    /// The newest change of a place, older than `before`, that a live mount still has to store. What dead
    /// ones have left there is overtaken, since the place is about to change.
    pub fn before(&self, place: Place<'_>, before: Option<u64>) -> io::Result<Option<u64>> {
        if self.others()?.is_empty() {
            return Ok(None);
        }
        let locked = self.directory.lock()?;
        let mut newest = None;
        self.look(&locked, &mut |log, is_alive| {
            let here = log
                .pending
                .iter_mut()
                .filter(|(_, one)| place.contains(&one.path));
            for (&id, one) in here {
                if !is_alive && !one.overtaken {
                    log.file.write_all(&Record::Overtaken(id).write())?;
                    one.overtaken = true;
                } else if is_alive && !one.replaced && before.is_none_or(|before| id < before) {
                    newest = newest.max(Some(id));
                }
            }
            Ok(())
        })?;
        Ok(newest)
    }

    /// The highest number that the others have given out, and the newest change of a path among what live
    /// ones have to store.
    pub fn newest(&self, locked: &Locked, path: &[u8]) -> io::Result<(u64, Option<u64>)> {
        let (mut highest, mut newest) = (0, None);
        let place = Place { path, below: false };
        self.look(locked, &mut |log, is_alive| {
            highest = highest.max(log.highest);
            let here = log
                .pending
                .iter()
                .filter(|(_, one)| place.contains(&one.path));
            for (&id, _) in here.filter(|(_, one)| is_alive && !one.replaced) {
                newest = newest.max(Some(id));
            }
            Ok(())
        })?;
        Ok((highest, newest))
    }

    /// The numbers of everything that is pending in the logs of others.
    pub fn numbers(&self, locked: &Locked) -> io::Result<HashSet<u64>> {
        let mut numbers = HashSet::new();
        self.look(locked, &mut |log, _| {
            numbers.extend(log.pending.keys());
            Ok(())
        })?;
        Ok(numbers)
    }

    fn others(&self) -> io::Result<Vec<String>> {
        let mut logs = self.directory.logs()?;
        logs.retain(|name| Some(name) != self.own.as_ref());
        Ok(logs)
    }

    /// Reads what has come since the last look, and shows each log and whether its mount lives.
    fn look(
        &self,
        _: &Locked,
        each: &mut dyn FnMut(&mut Log, bool) -> io::Result<()>,
    ) -> io::Result<()> {
        let names = self.others()?;
        let mut seen = self.seen.lock();
        seen.retain(|name, _| names.contains(name));
        for name in names {
            // One that was written anew is another file.
            let known = seen.get(&name);
            if !known.is_some_and(|log| self.directory.is_at(&log.file, &name)) {
                seen.insert(name.clone(), Log::new(self.directory.open_log(&name)?));
            }
            let Some(log) = seen.get_mut(&name) else {
                continue;
            };
            log.read()?;
            let is_alive = !is_free(&log.file)?;
            if !is_alive {
                disown(&log.file);
            }
            each(log, is_alive)?;
        }
        Ok(())
    }
}

impl Log {
    fn new(file: File) -> Self {
        Self {
            file,
            at: 0,
            pending: BTreeMap::new(),
            highest: 0,
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len().saturating_sub(self.at);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, self.at)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            if let Some((record, length)) = Record::read(rest) {
                self.take(record);
                rest = &rest[length..];
            } else if let Some(next) = Record::seek(rest) {
                rest = &rest[next..];
            } else {
                // Perhaps it is being written.
                break;
            }
        }
        self.at += (bytes.len() - rest.len()) as u64;
        Ok(())
    }

    fn take(&mut self, record: Record) {
        self.highest = self.highest.max(record.id());
        let change = self.pending.get_mut(&record.id());
        match (record, change) {
            (
                Record::Claimed { id, path } | Record::Intent(super::Intent { id, path, .. }),
                None,
            ) => {
                let one = Pending {
                    path,
                    replaced: false,
                    overtaken: false,
                };
                self.pending.insert(id, one);
            }
            (Record::Done(id), Some(_)) => drop(self.pending.remove(&id)),
            (Record::Replaced(_), Some(one)) => one.replaced = true,
            (Record::Overtaken(_), Some(one)) => one.overtaken = true,
            _ => {}
        }
    }
}

impl Place<'_> {
    /// Whether a path lies in it.
    pub fn contains(&self, path: &[u8]) -> bool {
        let rest = path.strip_prefix(self.path);
        rest.is_some_and(|rest| rest.is_empty() || self.below && rest.starts_with(b"/"))
    }
}
