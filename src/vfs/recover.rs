//! Recovery: going on with what an earlier mount has left in the journal.
//!
//! The one idea: what was left is installed as an open file that waits in the queue, before the mount
//! is live, so that nobody sees the server's older file in its place. What others have changed on the
//! server since is theirs: then ours goes to `lost+found`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::remote::{
    Ask, Attributes, Deadline, Done, Kind, Modified, ReadAt, Reading, RemotePath, Step, Urgency,
    Version,
};
use crate::vfs::core::Vfs;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::File;
use crate::vfs::inode::{ROOT, now};
use crate::vfs::journal::left::Left;
use crate::vfs::journal::record::Intent;
use crate::vfs::ranges::RangeSet;
use crate::vfs::readahead::Reader;
use crate::vfs::spool::SpoolFile;

/// Bytes compared at once.
const PIECE: usize = 256 * 1024;

/// What the server has, seen from what was left.
enum Found {
    /// What it had before, or nothing where there was nothing.
    Base,
    /// Some of ours.
    Ours,
    /// All of ours.
    Done,
    /// Something else, for this reason.
    Others(&'static str),
}

impl Vfs {
    /// Installs what was left.
    pub(super) fn recover(&self, left: Vec<Left>) {
        // Of one path the last counts; what is under way may be of any of them.
        let mut by_path: HashMap<Vec<u8>, Vec<Left>> = HashMap::new();
        for one in left {
            by_path
                .entry(one.intent.path.clone())
                .or_default()
                .push(one);
        }
        let mut taken = 0;
        for (absolute, versions) in by_path {
            let Some(path) = self.inside(&absolute) else {
                continue;
            };
            let deadline = self.deadline();
            match self.install(&path, &versions, &deadline) {
                Ok(stored) => taken += usize::from(stored),
                Err(error) => {
                    log::error!(
                        "{path}, left by an earlier mount, has to wait for the next one: {error}"
                    );
                    let numbers = versions.iter().map(|one| one.intent.id).collect();
                    self.queue.stranded.lock().insert(absolute, numbers);
                }
            }
        }
        if taken > 0 {
            log::warn!("{taken} files that an earlier mount has left are stored now");
        }
    }

    /// An absolute path, seen from the mounted directory.
    pub(super) fn inside(&self, path: &[u8]) -> Option<RemotePath> {
        let rest = path
            .strip_prefix(&self.settings.root[..])?
            .strip_prefix(b"/")?;
        rest.split(|&byte| byte == b'/')
            .try_fold(RemotePath::root(), |path, name| path.join(name))
    }

    /// Whether it is to be stored, then.
    fn install(&self, path: &RemotePath, versions: &[Left], deadline: &Deadline) -> Result<bool> {
        let Some((last, older)) = versions.split_last() else {
            return Ok(false);
        };
        let journal = self.queue.journal.get();
        let done = |ids: &[Left]| {
            for one in ids {
                if let Some(journal) = journal {
                    journal.done(one.intent.id);
                }
            }
        };
        let spool = match last.spool(&self.spool) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // The file goes when the server has it: a power cut brought just the intent back.
                log::warn!("{path}: its bytes are gone from the journal; it was stored");
                done(versions);
                return Ok(false);
            }
            spool => spool?,
        };
        let spools: Vec<(&Intent, SpoolFile)> = older
            .iter()
            .filter_map(|one| Some((&one.intent, one.spool(&self.spool).ok()?)))
            .collect();
        let parent = match self.walk(&path.parent().unwrap_or_default(), deadline) {
            Ok(parent) => Some(parent),
            Err(Error::NotFound | Error::NotDirectory) => None,
            Err(error) => return Err(error),
        };
        let there = match parent {
            Some(parent) => self.ask_again(parent, path.name(), deadline)?,
            None => None,
        };
        let kind = there.and_then(|ino| self.kind(ino));
        let found = match (parent, kind) {
            _ if last.intent.overtaken => Found::Others("another mount has changed it since"),
            (None, _) => Found::Others("its directory is gone"),
            (_, Some(kind)) if kind != Kind::File => {
                Found::Others("there is something else of that name")
            }
            (_, None) if last.intent.base.is_none() => Found::Base,
            (_, None) => Found::Others("it was removed on the server"),
            (_, Some(_)) => {
                let version = self.version_of(path, deadline)?;
                let newest = (&last.intent, &spool);
                let all = std::iter::once(newest)
                    .chain(spools.iter().map(|(intent, spool)| (*intent, spool)));
                self.compare(path, version, &all.collect::<Vec<_>>(), deadline)?
            }
        };
        let changed = match found {
            Found::Done => {
                done(versions);
                return Ok(false);
            }
            Found::Others(why) => {
                let reason =
                    format!("{path}: an earlier mount could not store it any more, and {why}");
                let (size, parts) = (last.intent.size, &last.intent.dirty[..]);
                match self.keep(path, &spool, (size, parts), &reason)? {
                    Some(kept) => log::error!("{reason}; it is kept as {}", kept.display()),
                    None => log::error!("{reason}; it is not cut to {size} bytes"),
                }
                done(versions);
                return Ok(false);
            }
            Found::Base => false,
            Found::Ours => true,
        };
        let Some(parent) = parent else {
            return Ok(false);
        };
        let file = self.install_file(parent, path, last, Arc::new(spool), changed)?;
        file.body.lock().superseded = older.iter().map(|one| one.intent.id).collect();
        self.enqueue(&file, Duration::ZERO);
        Ok(true)
    }

    /// The number of a directory, looked for name by name.
    fn walk(&self, directory: &RemotePath, deadline: &Deadline) -> Result<u64> {
        let names = directory.as_bytes().split(|&byte| byte == b'/');
        let mut ino = ROOT;
        for name in names.filter(|name| !name.is_empty()) {
            ino = self.find(ino, name, deadline)?;
            if self.kind(ino) != Some(Kind::Directory) {
                return Err(Error::NotDirectory);
            }
        }
        Ok(ino)
    }

    fn version_of(&self, path: &RemotePath, deadline: &Deadline) -> Result<Version> {
        match self.step(Step::Version(path), deadline)? {
            Done::Version(version) => Ok(version),
            _ => Ok(Version::default()),
        }
    }

    /// Whether the server still has the base, or something of what was to be stored.
    fn compare(
        &self,
        path: &RemotePath,
        version: Version,
        ours: &[(&Intent, &SpoolFile)],
        deadline: &Deadline,
    ) -> Result<Found> {
        if ours
            .iter()
            .any(|(intent, _)| intent.base.is_some_and(|base| base.may_be(&version)))
        {
            return Ok(Found::Base);
        }
        let size = version.size.unwrap_or(u64::MAX);
        for (at, (intent, spool)) in ours.iter().enumerate() {
            let whole = is_whole(intent);
            let begins = match whole && size <= intent.size {
                true => self.begins(path, intent.size, spool, deadline)?,
                false => None,
            };
            if let Some(length) = begins {
                let done = at == 0 && length == intent.size;
                return Ok(if done { Found::Done } else { Found::Ours });
            }
            let base = intent.base.and_then(|base| base.size);
            // Parts were on their way: what is there is the base with some of them.
            let parts = base
                .is_some_and(|base| base.min(intent.size) <= size && size <= base.max(intent.size));
            if !whole && intent.begun && parts {
                return Ok(Found::Ours);
            }
        }
        Ok(Found::Others("others have changed it on the server since"))
    }

    /// How much of the first `size` bytes of `spool` the server has, if it has nothing else. More may
    /// come while it is read: what the dead mount's connections still held.
    fn begins(
        &self,
        path: &RemotePath,
        size: u64,
        spool: &SpoolFile,
        deadline: &Deadline,
    ) -> Result<Option<u64>> {
        let ask = Ask {
            urgency: Urgency::Flush,
            deadline,
        };
        let mut at = 0;
        let mut source = self.remote.read(path, &Reading::at(0), &ask)?;
        let (mut theirs, mut ours) = (vec![0; PIECE], vec![0; PIECE]);
        loop {
            let length = source.read(&mut theirs, deadline)?;
            if length == 0 {
                return Ok(Some(at));
            }
            if at + length as u64 > size {
                return Ok(None);
            }
            spool.read_exact_at(&mut ours[..length], at)?;
            if ours[..length] != theirs[..length] {
                return Ok(None);
            }
            at += length as u64;
        }
    }

    /// Makes an open file of what was left, as it was when the earlier mount ended.
    fn install_file(
        &self,
        parent: u64,
        path: &RemotePath,
        left: &Left,
        spool: Arc<SpoolFile>,
        changed: bool,
    ) -> Result<Arc<File>> {
        let intent = &left.intent;
        let (ino, generation) = {
            let mut tree = self.tree.lock();
            let ino = match tree.child(parent, path.name()) {
                Some(ino) => ino,
                None => tree.add_own(parent, path.name(), Attributes::of(Kind::File)),
            };
            tree.touch(ino);
            let node = tree.get_mut(ino).ok_or(Error::Stale)?;
            node.local = true;
            node.attributes.size = Some(intent.size);
            node.attributes.modified = Some(
                intent
                    .modified
                    .map_or(now(), |seconds| Modified { seconds, ..now() }),
            );
            node.generation += 1;
            (ino, node.generation)
        };
        let reader = Reader::new(self.shared.clone(), ino, generation);
        let file = File::new(ino, reader, intent.base, generation);
        let mut body = file.body.lock();
        let mut dirty = RangeSet::default();
        for range in &intent.dirty {
            dirty.insert(range.clone());
        }
        body.kept = intent.kept;
        body.size = intent.size;
        body.ordered = intent.size;
        body.sizeless = false;
        body.present = dirty.clone();
        body.dirty = dirty;
        body.spool = Some(spool);
        body.resized = intent
            .base
            .is_none_or(|base| base.size != Some(intent.size));
        body.mode = intent.mode.map(|mode| (mode, true));
        body.modified = intent.modified;
        body.journal = Some(intent.id);
        (body.failed, body.touched) = (changed, changed);
        drop(body);
        Ok(file)
    }
}

/// Whether all bytes of the file are in the intent.
fn is_whole(intent: &Intent) -> bool {
    match &intent.dirty[..] {
        [] => intent.size == 0,
        [range] => *range == (0..intent.size),
        _ => false,
    }
}
