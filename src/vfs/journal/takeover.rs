//! Takes over what dead mounts have left in their logs.
//!
//! Each entry of a log without an owner goes to the log of the first mount whose root contains its path, with its number;
//! the others stay where they are. A log is removed when nothing in it counts any more; a damaged one is kept as a copy,
//! since its lost records are unknown.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::vfs::journal::Journal;
use crate::vfs::journal::directory::{Directory, Locked, data_name, disown, is_free};
use crate::vfs::journal::record::{Intent, Record};
use crate::vfs::spool::{Spool, SpoolFile};

/// What a mount that ended too soon has left.
#[derive(Debug)]
pub struct Left {
    /// What it was about to do.
    pub intent: Intent,
    /// Where the file of its bytes is, if they are not in the intent.
    directory: Directory,
}

/// What a mount begins with.
#[derive(Debug)]
pub struct Opened {
    /// Where it writes down what it closes; none where that is not wanted and nothing was left for it.
    pub journal: Option<Journal>,
    /// What it has taken over.
    pub left: Vec<Left>,
    /// Absolute paths on the server of what was left outside of it.
    pub outside: Vec<Vec<u8>>,
}

/// What dead mounts have left that a mount does not contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Files.
    pub files: usize,
    /// The lowest directory that contains them all, absolute, without a `/` at its end.
    pub directory: Vec<u8>,
}

impl Outside {
    /// What these absolute paths have in common; `None` where there are none.
    pub fn of(paths: &[Vec<u8>]) -> Option<Self> {
        let mut directories = paths.iter().map(|path| {
            let mut names: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
            names.pop();
            names
        });
        let mut common = directories.next()?;
        for other in directories {
            let same = common.iter().zip(other).take_while(|(a, b)| **a == *b);
            common.truncate(same.count());
        }
        Some(Self {
            files: paths.len(),
            directory: common.join(&b'/'),
        })
    }
}

/// A log whose mount is dead; it is ours as long as this lives.
struct Dead {
    name: String,
    log: File,
    /// Something in its midst can't be read.
    damaged: bool,
    intents: BTreeMap<u64, Intent>,
}

impl Journal {
    /// Opens the journal in `directory`, which is made when it is missing, and takes over what dead mounts
    /// have left of the paths that are `inside`. `make` is whether one is wanted where nothing was left.
    pub fn open(
        directory: &Path,
        make: bool,
        inside: &dyn Fn(&[u8]) -> bool,
    ) -> io::Result<Opened> {
        let directory = Directory::new(directory);
        let mut opened = Opened {
            journal: None,
            left: Vec::new(),
            outside: Vec::new(),
        };
        if !make && directory.logs()?.is_empty() {
            return Ok(opened);
        }
        let locked = directory.lock()?;
        let mut dead = find_dead(&directory, &locked)?;
        let mut ours: BTreeMap<u64, Intent> = BTreeMap::new();
        for intent in dead.iter().flat_map(|dead| dead.intents.values()) {
            if inside(&intent.path) {
                ours.insert(intent.id, intent.clone());
            } else {
                opened.outside.push(intent.path.clone());
            }
        }
        if make || !ours.is_empty() {
            let journal = Self::new(directory.clone(), &locked)?;
            if let Err(error) = journal.adopt(&dead, &ours) {
                // The dead logs are as they were.
                directory.remove(&journal.name)?;
                return Err(error);
            }
            release(&mut dead, &ours);
            opened.journal = Some(journal);
        }
        opened.left = ours
            .into_values()
            .map(|intent| Left {
                directory: directory.clone(),
                intent,
            })
            .collect();
        let own = opened.journal.as_ref().map(|own| &own.name);
        let is_live =
            |name: &String| Some(name) != own && !dead.iter().any(|one| one.name == *name);
        let others_live = directory.logs()?.iter().any(is_live);
        // A damaged log stays until data files can be swept: those that it named are kept then.
        let is_over = |one: &&Dead| one.intents.is_empty() && !(one.damaged && others_live);
        for one in dead.iter().filter(is_over) {
            directory.remove(&one.name)?;
        }
        // The data files of live mounts are known to those alone: the last mount that is left sweeps.
        if !others_live {
            let damaged = dead.iter().any(|one| one.damaged);
            let outside = dead.iter().flat_map(|one| one.intents.keys().copied());
            let taken = opened.left.iter().map(|left| left.intent.id);
            let counts: HashSet<u64> = outside.chain(taken).collect();
            directory.sweep(&locked, damaged, |id| counts.contains(&id));
        }
        drop(dead);
        if opened.journal.is_none() {
            directory.remove_if_empty(&locked);
        }
        Ok(opened)
    }

    /// Writes the intents of the dead logs down here: they are on the disk when this returns.
    fn adopt(&self, dead: &[Dead], ours: &BTreeMap<u64, Intent>) -> io::Result<()> {
        let mut end = 0;
        for intent in ours.values() {
            end = self.append(&Record::Intent(intent.clone()))?;
        }
        self.sync(end)?;
        let mut state = self.state.lock();
        let highest = dead.iter().filter_map(|one| one.intents.keys().last());
        state.highest = highest.copied().max().unwrap_or(0);
        Ok(())
    }
}

/// Notes in the dead logs that they need not carry out the intents that were adopted. Where that fails, a later mount
/// finds such an intent twice, under one number.
fn release(dead: &mut [Dead], adopted: &BTreeMap<u64, Intent>) {
    for one in dead {
        for id in adopted.keys() {
            if one.intents.remove(id).is_none() {
                continue;
            }
            if let Err(error) = one.log.write_all(&Record::Done(*id).write()) {
                log::warn!(
                    "journal: {}: write failed: {error}; recovery after a crash may repeat an upload",
                    one.name
                );
            }
        }
    }
}

/// The logs whose mounts are dead, and what counts of each.
fn find_dead(directory: &Directory, _: &Locked) -> io::Result<Vec<Dead>> {
    let mut dead = Vec::new();
    for name in directory.logs()? {
        let log = directory.open_log(&name)?;
        if is_free(&log)? {
            dead.push(Dead::read(directory, name, log)?);
        }
    }
    Ok(dead)
}

impl Dead {
    fn read(directory: &Directory, name: String, mut log: File) -> io::Result<Self> {
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes)?;
        let mut intents: BTreeMap<u64, Intent> = BTreeMap::new();
        let (mut rest, mut damaged) = (&bytes[..], 0);
        while !rest.is_empty() {
            let Some((record, length)) = Record::read(rest) else {
                let Some(next) = Record::seek(rest) else {
                    let path = directory.path(&name);
                    log::warn!(
                        "journal: {}: the last record is torn; it is ignored",
                        path.display()
                    );
                    break;
                };
                damaged += next;
                rest = &rest[next..];
                continue;
            };
            rest = &rest[length..];
            match record {
                Record::Intent(intent) => drop(intents.insert(intent.id, intent)),
                Record::Done(id) => drop(intents.remove(&id)),
                Record::Arrived { id, size } => {
                    let intent = intents.get_mut(&id);
                    if intent.is_some_and(|intent| intent.arrived(size)) {
                        intents.remove(&id);
                    }
                }
                other => {
                    if let Some(intent) = intents.get_mut(&other.id()) {
                        intent.hear(&other);
                    }
                }
            }
        }
        if damaged > 0 {
            keep_damaged(directory, &name, &bytes, damaged);
        }
        Ok(Self {
            name,
            log,
            damaged: damaged > 0,
            intents,
        })
    }
}

impl Drop for Dead {
    fn drop(&mut self) {
        disown(&self.log);
    }
}

impl Intent {
    /// Takes in what was written down later.
    fn hear(&mut self, record: &Record) {
        match record {
            Record::Begun(_) => self.begun = true,
            Record::Overtaken(_) => self.overtaken = true,
            Record::Rights { mode, modified, .. } => {
                (self.mode, self.modified) = (*mode, *modified);
            }
            _ => {}
        }
    }
}

/// Keeps a copy of a damaged log for manual recovery.
fn keep_damaged(directory: &Directory, name: &str, bytes: &[u8], damaged: usize) {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let copy = format!("{stem}.damaged");
    let (path, kept) = (directory.path(name), directory.path(&copy));
    let written = directory.make().and_then(|there| there.create_new(&copy));
    // Not once more for each mount that leaves it where it is.
    let outcome = match written.and_then(|mut kept| kept.write_all(bytes)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            format!("no copy could be made: {error}")
        }
        _ => format!("a copy is kept as {}", kept.display()),
    };
    log::error!(
        "journal: {}: {damaged} bytes are damaged; the records in them are lost; {outcome}",
        path.display()
    );
}

impl Left {
    /// Its bytes, in a spool file.
    pub fn spool(&self, spool: &Spool) -> io::Result<SpoolFile> {
        let Some(bytes) = &self.intent.bytes else {
            return SpoolFile::open(&*self.directory.make()?, &data_name(self.intent.id));
        };
        let file = spool.create()?;
        let mut rest = &bytes[..];
        for range in &self.intent.dirty {
            let length = range.end.saturating_sub(range.start);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let (part, behind) = rest
                .split_at_checked(length)
                .ok_or(io::ErrorKind::InvalidData)?;
            file.write_at(part, range.start)?;
            rest = behind;
        }
        Ok(file)
    }
}

impl Left {
    /// Whether its bytes end before what was written down of it.
    pub fn is_cut(&self, spool: &SpoolFile) -> io::Result<bool> {
        let end = self.intent.dirty.last().map_or(0, |last| last.end);
        Ok(spool.length()? < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_that_takes_no_more_records_does_not_undo_a_takeover() {
        let place = tempfile::tempdir().expect("a directory");
        let read_only = || File::open("/dev/null").expect("opened for reading");
        let intent = |id| Intent {
            id,
            path: format!("/{id}").into_bytes(),
            ..Intent::default()
        };
        let ours: BTreeMap<u64, Intent> = [(1, intent(1)), (2, intent(2))].into();
        let dead = |id| Dead {
            name: format!("{id}.log"),
            log: read_only(),
            damaged: false,
            intents: [(id, intent(id))].into(),
        };
        let mut dead = [dead(1), dead(2)];
        let opened = Journal::open(place.path(), true, &|_| true).expect("opened");
        let journal = opened.journal.expect("a journal");
        journal.adopt(&dead, &ours).expect("written down");
        release(&mut dead, &ours);
        assert!(dead.iter().all(|one| one.intents.is_empty()));
        assert_eq!(journal.state.lock().live.len(), 2);
    }

    #[test]
    fn outside_paths_have_a_common_directory() {
        let of = |paths: &[&str]| {
            let paths: Vec<Vec<u8>> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
            let outside = Outside::of(&paths).expect("some");
            String::from_utf8(outside.directory).expect("a text")
        };
        assert_eq!(of(&["/a/b/c"]), "/a/b");
        assert_eq!(of(&["/a/b/c", "/a/b/d/e"]), "/a/b");
        assert_eq!(of(&["/a/b/c", "/a/bc/c"]), "/a");
        assert_eq!(of(&["/a/b", "/a"]), "");
        assert_eq!(Outside::of(&[]), None);
    }
}
