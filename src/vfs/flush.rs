//! Flushing: bringing what was written to the server, and telling the caller the truth about it.
//!
//! The one idea: `close` and `fsync` return when the server has confirmed the file, or with the
//! reason why it has not. FLUSH is not close, though: a shell's `cmd > f` flushes the empty file
//! before the command has begun, so a file without a byte waits once; and every exiting child flushes what
//! there is, so the next one just appends.
//!
//! What could not be brought to the server by the last close is kept in `lost+found`, named in the log, and
//! never sent later behind the user's back.

use std::sync::Arc;

use crate::remote::{self, Ask, Deadline, Plan, Step, Urgency, Version, Why};
use crate::vfs::core::Vfs;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::{Body, File};
use crate::vfs::ranges::RangeSet;

impl Vfs {
    /// Whether closing this handle needs no server.
    pub fn is_clean(&self, handle: u64) -> bool {
        let file = self.file(handle).map(|handle| handle.file);
        file.is_ok_and(|file| file.body.try_lock().is_some_and(|body| body.is_at_rest()))
    }

    /// A descriptor of the handle was closed: what was written is brought to the server.
    pub fn flush(&self, handle: u64, deadline: &Deadline) -> Result<()> {
        let handle = self.file(handle)?;
        if !handle.writes {
            return Ok(());
        }
        {
            let mut body = self.settled(&handle.file);
            if body.is_dirty() && body.size == 0 && !body.waited {
                body.waited = true;
                return Ok(());
            }
        }
        self.upload(&handle.file, deadline)
    }

    /// Brings what was written to the server.
    pub fn fsync(&self, handle: u64, deadline: &Deadline) -> Result<()> {
        let handle = self.file(handle)?;
        self.upload(&handle.file, deadline)
    }

    /// The last descriptor of the handle is gone.
    pub fn release(&self, handle: u64, deadline: &Deadline) {
        let Some(closed) = self.opened.lock().handles.remove(&handle) else {
            return;
        };
        let file = closed.file;
        let mut gone = false;
        let mut tried = false;
        loop {
            // Counted and judged under one lock: of two last closes one must be the last.
            let mut opened = self.opened.lock();
            let Some((_, handles)) = opened.files.get_mut(&file.ino) else {
                break;
            };
            if *handles > 1 {
                *handles -= 1;
                break;
            }
            if tried {
                opened.files.remove(&file.ino);
                gone = true;
                break;
            }
            drop(opened);
            self.last_upload(&file, deadline);
            tried = file.body.lock().is_settled() || deadline.remaining().is_none();
        }
        if gone {
            file.reader.restart(u64::MAX);
            self.remove_aside(&file, deadline);
        }
        self.tree.lock().close(file.ino);
    }

    /// Brings everything that was written to the server, or keeps it in `lost+found`; for the end
    /// of the mount.
    pub fn finish(&self) {
        let files: Vec<Arc<File>> = self.opened_files();
        for file in files {
            let deadline = self.deadline();
            self.last_upload(&file, &deadline);
            self.remove_aside(&file, &deadline);
        }
    }

    /// Brings a file to the server as it is now.
    pub(super) fn upload(&self, file: &Arc<File>, deadline: &Deadline) -> Result<()> {
        {
            let mut body = self.settled(file);
            if !body.is_dirty() {
                return Ok(());
            }
            body.uploading = true;
        }
        let result = self.upload_now(file, deadline);
        let mut body = file.body.lock();
        body.uploading = false;
        body.failed = result.is_err();
        file.uploaded.notify_all();
        self.publish_upload(file, &mut body, &result);
        result.map(|_| ())
    }

    fn upload_now(&self, file: &Arc<File>, deadline: &Deadline) -> Result<Version> {
        let path = self.path(file.ino)?;
        self.check_base(file, deadline)?;
        let ask = Ask {
            urgency: Urgency::Flush,
            deadline,
        };
        loop {
            let plan = self.remote.plan(&file.body.lock().change());
            if plan == Plan::Whole {
                self.complete(file, deadline)?;
            }
            file.reader.stop(deadline);
            let (change, taken, spool) = {
                let mut body = file.body.lock();
                let spool = body.spool(&self.spool)?;
                (body.change(), std::mem::take(&mut body.dirty), spool)
            };
            let result = self
                .remote
                .update(&path, &change, plan, spool.as_ref(), &ask);
            let mut body = file.body.lock();
            match result {
                Ok(updated) => {
                    let version = Version {
                        size: updated.version.size.or(Some(change.size)),
                        modified: updated.version.modified,
                    };
                    body.uploaded(version, change.size);
                    if change.mode.is_some() && body.mode.map(|(mode, _)| mode) == change.mode {
                        self.mode_outcome(file, body.mode.take(), updated.mode)?;
                    }
                    if body.modified == change.modified {
                        body.modified = None;
                    }
                    return match updated.modified {
                        Some(Err(error)) => Err(Error::NotPermitted(error)),
                        _ => Ok(version),
                    };
                }
                Err(error) => {
                    body.dirty.extend(&taken);
                    let unsupported = error.why() == Some(Why::Unsupported);
                    if !unsupported || plan == Plan::Whole {
                        if plan == Plan::Whole {
                            body.lost_base();
                        }
                        return Err(error.into());
                    }
                }
            }
        }
    }

    /// Before a part of a file is sent anew together with what it is part of: if others changed that,
    /// theirs is kept where we did not write.
    fn check_base(&self, file: &Arc<File>, deadline: &Deadline) -> Result<()> {
        let (base, rewritten, relies) = {
            let body = file.body.lock();
            (
                body.base,
                body.kept == 0 || body.dirty.contains(0..body.size),
                // An append that broke off may have left some of its bytes.
                body.failed || self.remote.plan(&body.change()) == Plan::Whole,
            )
        };
        let Some(base) = base.filter(|_| !rewritten && relies) else {
            return Ok(());
        };
        let path = self.path(file.ino)?;
        let now = match self.step(Step::Version(&path), deadline) {
            Ok(remote::Done::Version(version)) => version,
            Ok(_) => return Ok(()),
            Err(error) if error.why() == Some(Why::NotFound) => {
                let mut body = file.body.lock();
                if !body.missing().is_empty() {
                    // What we lack is nowhere any more, and zeros are no substitute.
                    return Err(Error::Stale);
                }
                body.lost_base();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if base.may_be(&now) {
            return Ok(());
        }
        let generation = {
            let mut tree = self.tree.lock();
            let node = tree.get_mut(file.ino).ok_or(Error::Stale)?;
            node.generation += 1;
            node.generation
        };
        file.reader.restart(generation);
        let mut body = file.body.lock();
        body.generation = generation;
        if body.failed && now.size.is_some_and(|size| size >= body.kept) {
            body.append_broke_off(now);
            return Ok(());
        }
        log::warn!("{path} was changed by others meanwhile; what was written here is laid over it");
        body.rebase(now)
    }

    fn mode_outcome(
        &self,
        file: &File,
        mode: Option<(u32, bool)>,
        outcome: Option<remote::Result<()>>,
    ) -> Result<()> {
        let Some((mode, promised)) = mode else {
            return Ok(());
        };
        match outcome {
            Some(Err(error)) if promised => return Err(Error::NotPermitted(error)),
            Some(Err(ref error)) => {
                log::info!("the new file keeps the server's mode, not {mode:o}: {error}")
            }
            _ => {}
        }
        let mut tree = self.tree.lock();
        if let Some(node) = tree.get_mut(file.ino) {
            node.attributes.mode = matches!(outcome, Some(Ok(()))).then_some(mode);
        }
        Ok(())
    }

    /// Tells the tree what the server now has.
    fn publish_upload(&self, file: &File, body: &mut Body, result: &Result<Version>) {
        let mut tree = self.tree.lock();
        tree.touch(file.ino);
        let Some(node) = tree.get_mut(file.ino) else {
            return;
        };
        node.local = body.is_dirty();
        if node.local {
            return;
        }
        // The kernel's pages hold what was written: they are those of the new version.
        let generation = node.generation + 1;
        match body.base {
            Some(version) => {
                node.refresh_version(version);
                node.pages = Some(version);
            }
            None => node.fetched = None,
        }
        if result.is_err() {
            node.fetched = None;
        }
        node.generation = generation;
        drop(tree);
        body.generation = generation;
        file.reader.restart(generation);
    }

    /// The last chance of what was written: it reaches the server or `lost+found`.
    fn last_upload(&self, file: &Arc<File>, deadline: &Deadline) {
        self.last_bytes(file, deadline);
        let waiting = {
            let mut body = file.body.lock();
            body.mode
                .take()
                .filter(|_| !body.removed && body.base.is_some())
        };
        if let Some((mode, _)) = waiting
            && let Err(error) = self.set_mode(file.ino, mode, deadline)
        {
            log::warn!("{error}");
        }
    }

    fn last_bytes(&self, file: &Arc<File>, deadline: &Deadline) {
        let failed_before = {
            let body = self.settled(file);
            if !body.is_dirty() {
                return;
            }
            body.failed
        };
        let error = if failed_before {
            None
        } else {
            match self.upload(file, deadline) {
                Ok(()) => return,
                Err(error) => Some(error),
            }
        };
        self.lose(file, error.as_ref());
    }

    /// Keeps what can't be brought to the server, if it is whole, and forgets it here.
    fn lose(&self, file: &File, error: Option<&Error>) {
        let path = self.path(file.ino).unwrap_or_default();
        let mut body = file.body.lock();
        if !body.is_dirty() {
            return;
        }
        let reason = error.map_or_else(|| "its close failed".to_string(), ToString::to_string);
        match &body.spool {
            Some(spool) if body.missing().is_empty() => {
                match self.spool.keep(spool, body.size, path.as_bytes()) {
                    Ok(kept) => log::error!(
                        "{path} could not be stored ({reason}); it is kept as {}",
                        kept.display()
                    ),
                    Err(error) => {
                        log::error!("{path} could not be stored ({reason}), nor kept: {error}")
                    }
                }
            }
            Some(_) => log::error!("{path} could not be changed ({reason}); the changes are lost"),
            None => log::error!("{path}, an empty file, could not be stored ({reason})"),
        }
        body.dirty = RangeSet::default();
        body.resized = false;
        let is_new = body.base.is_none();
        body.removed |= is_new;
        let mut tree = self.tree.lock();
        if let Some(node) = tree.get_mut(file.ino) {
            node.local = false;
            node.fetched = None;
            node.pages = None;
            node.generation += 1;
        }
        if is_new {
            let parent = tree.get(file.ino).map(|node| node.parent);
            tree.remove_own(file.ino);
            // What came of it may be there all the same.
            if let Some(parent) = parent {
                tree.doubt_listing(parent);
            }
        }
    }

    fn remove_aside(&self, file: &File, deadline: &Deadline) {
        let Some(aside) = file.body.lock().aside.take() else {
            return;
        };
        file.reader.stop(deadline);
        if let Err(error) = self.step(Step::Remove(&aside), deadline) {
            log::error!("{aside} is left on the server: {error}");
        }
    }
}

impl Body {
    /// The server has the first `size` bytes of this as `version`.
    fn uploaded(&mut self, version: Version, size: u64) {
        self.base = Some(version);
        self.kept = size;
        self.resized = false;
        if version.size != Some(size) && self.dirty.is_empty() {
            // Others appended too: what is where is theirs to say.
            self.kept = version.size.unwrap_or(size);
            self.size = self.kept;
            self.present = RangeSet::default();
        }
    }
}
