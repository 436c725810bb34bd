//! Recovery: going on with what an earlier mount has left in the journal.
//!
//! The one idea: what was left is installed as an open file that waits in the queue, before the mount
//! is live, so that nobody sees the server's older file in its place. What others have changed on the
//! server since is theirs: then ours goes to `lost+found`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::remote;
use crate::remote::{Attributes, Deadline, Done, Kind, Modified, RemotePath, Step, Version};
use crate::vfs::core::Vfs;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::File;
use crate::vfs::file::range_set::RangeSet;
use crate::vfs::file::spool::SpoolFile;
use crate::vfs::inode::{ROOT, now};
use crate::vfs::journal::takeover::Left;
use crate::vfs::readahead::Reader;
use crate::vfs::writeback::reconcile::{Found, Known};

impl Vfs {
    /// Installs what was left.
    pub(crate) fn recover(&self, left: Vec<Left>) {
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
    pub(crate) fn inside(&self, path: &[u8]) -> Option<RemotePath> {
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
                self.forget_before(path);
                done(versions);
                return Ok(false);
            }
            spool => spool?,
        };
        let spools: Vec<(&Left, SpoolFile)> = older
            .iter()
            .filter_map(|one| Some((one, one.spool(&self.spool).ok()?)))
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
        let mut version = Version::default();
        let found = match (parent, kind) {
            _ if last.is_cut(&spool)? => Found::Others("its bytes in the journal were cut off"),
            _ if last.intent.overtaken => Found::Others("another mount has changed it since"),
            (None, _) => Found::Others("its directory is gone"),
            (_, Some(kind)) if kind != Kind::File => {
                Found::Others("there is something else of that name")
            }
            (_, None) if last.intent.base.is_none() => Found::Base,
            (_, None) => Found::Others("it was removed on the server"),
            (_, Some(_)) => {
                version = self.version_of(path, deadline)?;
                let newest = std::iter::once((last, &spool));
                let all = newest.chain(spools.iter().rev().map(|(one, spool)| (*one, spool)));
                let all: Vec<_> = all
                    .map(|(one, spool)| Known {
                        intent: &one.intent,
                        spool,
                    })
                    .collect();
                self.compare(path, version, &all, deadline)?
            }
        };
        let changed = match found {
            Found::Done => {
                self.forget_before(path);
                self.set_rights(path, last, deadline)?;
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
            Found::Base => None,
            Found::Ours => Some(version),
        };
        let Some(parent) = parent else {
            return Ok(false);
        };
        let file = self.install_file(parent, path, last, Arc::new(spool), changed)?;
        file.body.lock().superseded = older.iter().map(|one| one.intent.id).collect();
        self.enqueue(&file, Duration::ZERO);
        Ok(true)
    }

    /// An upload has arrived whose mount did not hear of that: what the disk has kept of what was there before may have
    /// its size and second.
    fn forget_before(&self, path: &RemotePath) {
        if let Some(disk) = &self.shared.disk {
            disk.forget_at(path);
        }
    }

    /// Sets what was to be set behind an upload that has arrived.
    fn set_rights(&self, path: &RemotePath, left: &Left, deadline: &Deadline) -> Result<()> {
        let (mode, modified) = (left.intent.mode, left.intent.modified);
        let mode = mode.map(|mode| Step::SetMode(path, mode));
        let modified = modified.map(|time| Step::SetModified(path, time));
        for step in [mode, modified].into_iter().flatten() {
            match self.step(step, deadline) {
                Ok(_) => {}
                Err(error @ remote::Error::Refused { .. }) => log::info!("{error}"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
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

    /// Makes an open file of what was left, as it was when the earlier mount ended.
    fn install_file(
        &self,
        parent: u64,
        path: &RemotePath,
        left: &Left,
        spool: Arc<SpoolFile>,
        changed: Option<Version>,
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
        body.exclusive = intent.exclusive && changed.is_none();
        if let Some(version) = changed {
            (body.failed, body.touched, body.begun) = (true, true, true);
            body.noted = body.journal;
            // What is there begins as the base did.
            let there = body.kept.min(version.size.unwrap_or(0));
            if body.present.contains(there..body.size) {
                (body.base, body.kept) = (Some(version), there);
                body.resized = true;
            }
        }
        drop(body);
        Ok(file)
    }
}
