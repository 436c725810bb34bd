//! Recovery: takes over what an earlier mount left in the journal.
//!
//! Each entry becomes an open file in the queue before the mount is live, so that the server's older content is never
//! shown in its place. Where other clients have changed the server's file since, theirs stays, and ours goes to
//! lost+found.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::remote;
use crate::remote::{Attributes, Deadline, Done, Kind, Modified, RemotePath, Step, Version};
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::File;
use crate::vfs::file::range_set::RangeSet;
use crate::vfs::file::upload_state::Report;
use crate::vfs::inode::{ROOT, now};
use crate::vfs::journal::takeover::Left;
use crate::vfs::readahead::Reader;
use crate::vfs::spool::SpoolFile;
use crate::vfs::writeback::WriteBack;
use crate::vfs::writeback::reconcile::{Found, Known};

impl WriteBack {
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
            let Some(path) = self.journal.inside(&absolute) else {
                continue;
            };
            let deadline = Deadline::after(self.settings.timeout);
            match self.install(&path, &versions, &deadline) {
                Ok(stored) => taken += usize::from(stored),
                Err(error) => {
                    log::error!(
                        "recovery: {path}: not recovered: {error}; it stays in the journal for the next mount"
                    );
                }
            }
        }
        if taken > 0 {
            log::warn!("recovery: {taken} files of an earlier mount are queued for upload");
        }
    }

    /// Installs the last of the `versions` of a path as an open file in the queue, unless it is stored already or belongs
    /// in lost+found. True where it is queued.
    fn install(&self, path: &RemotePath, versions: &[Left], deadline: &Deadline) -> Result<bool> {
        let Some((last, older)) = versions.split_last() else {
            return Ok(false);
        };
        let spool = match last.spool(&self.files.spool) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // The data file is removed once the server has the bytes: a power cut brought back just the intent.
                log::warn!("recovery: {path}: the journal has no bytes of it: it was stored");
                self.forget_before(path);
                self.journal_done(versions);
                return Ok(false);
            }
            spool => spool?,
        };
        let parent = match self.find_directory(&path.parent().unwrap_or_default(), deadline) {
            Ok(parent) => Some(parent),
            Err(Error::NotFound | Error::NotDirectory) => None,
            Err(error) => return Err(error),
        };
        let changed = match self.examine(path, parent, (last, &spool), older, deadline)? {
            (Found::Done, _) => {
                self.forget_before(path);
                self.set_rights(path, last, deadline)?;
                self.journal_done(versions);
                return Ok(false);
            }
            (Found::Others(why), _) => {
                self.keep_refused(path, last, &spool, why)?;
                self.journal_done(versions);
                return Ok(false);
            }
            (Found::Base, _) => None,
            (Found::Ours, version) => Some(version),
        };
        let Some(parent) = parent else {
            return Ok(false);
        };
        let Some(file) = self.install_file(parent, path, last, Arc::new(spool), changed)? else {
            log::error!("recovery: {path}: it is open; it stays in the journal for the next mount");
            return Ok(false);
        };
        file.body.lock().journal.superseded = older.iter().map(|one| one.intent.id).collect();
        self.enqueue(&file, Duration::ZERO);
        Ok(true)
    }

    /// What the server has under a path, compared with the versions in the journal, and its version where it is a file.
    fn examine(
        &self,
        path: &RemotePath,
        parent: Option<u64>,
        (last, spool): (&Left, &SpoolFile),
        older: &[Left],
        deadline: &Deadline,
    ) -> Result<(Found, Version)> {
        let there = match parent {
            Some(parent) => self.metadata.ask_again(parent, path.name(), deadline)?,
            None => None,
        };
        let kind = there.and_then(|ino| self.table.kind(ino));
        let found = match (parent, kind) {
            _ if last.is_cut(spool)? => Found::Others("its bytes in the journal were cut off"),
            _ if last.intent.overtaken => Found::Others("another mount has changed it since"),
            (None, _) => Found::Others("its directory is gone"),
            (_, Some(kind)) if kind != Kind::File => {
                Found::Others("there is something else of that name")
            }
            (_, None) if last.intent.base.is_none() => Found::Base,
            (_, None) => Found::Others("it was removed on the server"),
            (_, Some(_)) => {
                let version = self.version_of(path, deadline)?;
                let spools: Vec<(&Left, SpoolFile)> = older
                    .iter()
                    .filter_map(|one| Some((one, one.spool(&self.files.spool).ok()?)))
                    .collect();
                let newest = std::iter::once((last, spool));
                let all = newest.chain(spools.iter().rev().map(|(one, spool)| (*one, spool)));
                let all: Vec<_> = all
                    .map(|(one, spool)| Known {
                        intent: &one.intent,
                        spool,
                    })
                    .collect();
                return Ok((self.compare(path, version, &all, deadline)?, version));
            }
        };
        Ok((found, Version::default()))
    }

    /// Keeps in lost+found what must not replace the changes of other clients.
    fn keep_refused(
        &self,
        path: &RemotePath,
        left: &Left,
        spool: &SpoolFile,
        why: &str,
    ) -> Result<()> {
        let reason = format!("{path}: an earlier mount could not store it any more, and {why}");
        let (size, parts) = (left.intent.size, &left.intent.dirty[..]);
        match self.uploader.keep(path, spool, (size, parts), &reason)? {
            Some(kept) => log::error!("recovery: {reason}; it is kept as {}", kept.display()),
            None => log::error!("recovery: {reason}; it is not cut to {size} bytes"),
        }
        Ok(())
    }

    /// The journal need not keep these versions any more.
    fn journal_done(&self, versions: &[Left]) {
        let Some(journal) = self.journal.get() else {
            return;
        };
        for one in versions {
            journal.done(one.intent.id);
        }
    }

    /// An upload has arrived without a reply to its mount: the disk cache may have an earlier content of the same size
    /// and second.
    fn forget_before(&self, path: &RemotePath) {
        if let Some(disk) = &self.files.readers.disk {
            disk.forget(path);
        }
    }

    /// Sets the attributes that were to follow an upload that has arrived.
    fn set_rights(&self, path: &RemotePath, left: &Left, deadline: &Deadline) -> Result<()> {
        let (mode, modified) = (left.intent.mode, left.intent.modified);
        let mode = mode.map(|mode| Step::SetMode(path, mode));
        let modified = modified.map(|time| Step::SetModified(path, time));
        for step in [mode, modified].into_iter().flatten() {
            match self.remote.step(step, deadline) {
                Ok(_) => {}
                Err(error @ remote::Error::Refused { .. }) => {
                    log::info!("recovery: {error}; the attribute keeps its value on the server")
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The number of a directory, looked for name by name.
    fn find_directory(&self, directory: &RemotePath, deadline: &Deadline) -> Result<u64> {
        let names = directory.as_bytes().split(|&byte| byte == b'/');
        let mut ino = ROOT;
        for name in names.filter(|name| !name.is_empty()) {
            ino = self.metadata.find(ino, name, deadline)?;
            if self.table.kind(ino) != Some(Kind::Directory) {
                return Err(Error::NotDirectory);
            }
        }
        Ok(ino)
    }

    fn version_of(&self, path: &RemotePath, deadline: &Deadline) -> Result<Version> {
        match self.remote.step(Step::Version(path), deadline)? {
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
    ) -> Result<Option<Arc<File>>> {
        let intent = &left.intent;
        // A caller that opens it from now on gets what is installed here.
        let mut opened = self.files.opened.lock();
        let (ino, generation) = {
            let mut tree = self.table.lock();
            let ino = match tree.child(parent, path.name()) {
                Some(ino) => ino,
                None => tree.add_recovered(parent, path.name(), Attributes::of(Kind::File)),
            };
            if opened.files.contains_key(&ino) {
                return Ok(None);
            }
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
        let reader = Reader::new(self.files.readers.clone(), ino, generation);
        let file = File::new(ino, reader, intent.base, generation);
        let mut body = file.body.lock();
        opened.files.insert(ino, (Arc::clone(&file), 0));
        drop(opened);
        let mut dirty = RangeSet::default();
        for range in &intent.dirty {
            dirty.insert(range.clone());
        }
        body.content.kept = intent.kept;
        body.content.size = intent.size;
        body.content.ordered = intent.size;
        body.content.sizeless = false;
        body.content.present = dirty.clone();
        body.content.dirty = dirty;
        body.content.spool = Some(spool);
        // Beyond the base, what was not written is a hole.
        let base = intent.base.and_then(|base| base.size).unwrap_or(0);
        for hole in body.holes_on_disk() {
            body.content.holes.insert(hole.start.max(base)..hole.end);
        }
        body.content.resized = intent
            .base
            .is_none_or(|base| base.size != Some(intent.size));
        // No caller waits for the mode: where the server cannot set it, that is no refusal of the file.
        body.attributes.mode = intent.mode.map(|mode| (mode, false));
        body.attributes.modified = intent.modified;
        body.journal.id = Some(intent.id);
        body.owes = true;
        body.upload.exclusive = intent.exclusive && changed.is_none();
        if let Some(version) = changed {
            body.upload.state.fail(None, Report::Done);
            (body.upload.may_have_arrived, body.journal.upload_begun) = (true, true);
            body.upload.was_taken = true;
            body.journal.begun_id = body.journal.id;
            // What is there begins as the base did.
            let there = body.content.kept.min(version.size.unwrap_or(0));
            if body.content.present.contains(there..body.content.size) {
                (body.content.base, body.content.kept) = (Some(version), there);
                body.content.resized = true;
            }
        }
        drop(body);
        Ok(Some(file))
    }
}
