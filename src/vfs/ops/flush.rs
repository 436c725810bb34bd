//! Flushing: bringing what was written to the server, and telling the caller the truth about it.
//!
//! The one idea: `close` and `fsync` return when the server has confirmed the file, or with the
//! reason why it has not. FLUSH is not close, though: a shell's `cmd > f` flushes the empty file
//! before the command has begun, so a file without a byte waits once, if who has closed it may have it open by another
//! descriptor (`holders.rs`); and every exiting child flushes what
//! there is, so the next one just appends.
//!
//! What could not be brought to the server by the last close is kept in `lost+found`, named in the log, and
//! never sent later behind the user's back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::remote::{Deadline, Step};
use crate::vfs::core::{Handle, Vfs};
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::File;
use crate::vfs::file::range_set::RangeSet;
use crate::vfs::ops::lenient::SETTING_MODES;
use crate::vfs::upload::open_fds::may_hold;

impl Vfs {
    /// Whether closing this handle needs no server.
    pub fn is_clean(&self, handle: u64) -> bool {
        let file = self.file(handle).map(|handle| handle.file);
        file.is_ok_and(|file| file.body.try_lock().is_some_and(|body| body.is_at_rest()))
    }

    /// A descriptor of the handle was closed by `process` (0 where that is not known): what was written is brought to
    /// the server.
    pub fn flush(&self, handle: u64, process: u32, deadline: &Deadline) -> Result<()> {
        let handle = self.file(handle)?;
        if !handle.writes {
            return Ok(());
        }
        if !handle.wrote.load(Ordering::Relaxed) && self.is_failed(&handle.file)? {
            return Ok(());
        }
        let closed = self.flush_file(&handle, process, deadline);
        if closed.is_err() {
            handle.wrote.store(false, Ordering::Relaxed);
        }
        closed
    }

    /// Whether what others have written of a file failed to be stored, which its caller was told, or will be: then somebody
    /// who wrote nothing does not bring it to the server. An error where nothing will.
    fn is_failed(&self, file: &File) -> Result<bool> {
        let why = {
            let body = file.body.lock();
            (body.is_dirty() && body.failed).then(|| body.why.clone())
        };
        let waits = self.queue.state.lock().jobs.contains_key(&file.ino);
        match why {
            None => Ok(false),
            Some(Some(why)) if !waits => Err(why),
            Some(_) => Ok(waits),
        }
    }

    fn flush_file(&self, handle: &Handle, process: u32, deadline: &Deadline) -> Result<()> {
        if handle.file.body.lock().is_dirty() && self.defer(&handle.file) {
            return Ok(());
        }
        {
            let mut body = self.settled(&handle.file, deadline)?;
            let waits = body.is_dirty() && body.size == 0 && !body.waited;
            if waits && self.may_be_held(&handle.file, process) {
                body.waited = true;
                return Ok(());
            }
        }
        self.upload(&handle.file, deadline)
    }

    /// Whether a process that has closed a descriptor of a file may have another one.
    fn may_be_held(&self, file: &File, process: u32) -> bool {
        let name = {
            let tree = self.tree.lock();
            tree.get(file.ino).map(|node| Arc::clone(&node.name))
        };
        name.is_none_or(|name| may_hold(process, &name))
    }

    /// Brings what was written to the server.
    pub fn fsync(&self, handle: u64, deadline: &Deadline) -> Result<()> {
        let handle = self.file(handle)?;
        self.upload(&handle.file, deadline)
    }

    /// Whether others' bytes were found in the file when it was stored, since somebody asked last: the size that the
    /// kernel has of it is wrong.
    pub fn has_mixed(&self, handle: u64) -> bool {
        self.file(handle)
            .is_ok_and(|handle| std::mem::take(&mut handle.file.body.lock().unheard))
    }

    /// The last descriptor of the handle is gone.
    pub fn release(&self, handle: u64, deadline: &Deadline) {
        let Some(closed) = self.opened.lock().handles.remove(&handle) else {
            return;
        };
        self.let_go(&closed.file, deadline);
    }

    /// Somebody who held a file open does so no more; the last one brings it to the server.
    pub(crate) fn let_go(&self, file: &Arc<File>, deadline: &Deadline) {
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
            let is_to_come = {
                let body = file.body.lock();
                // What failed was told, and is not sent later behind anybody's back.
                body.is_dirty() && !body.failed
            };
            if is_to_come && self.defer(file) {
                continue;
            }
            self.last_upload(file, deadline);
            tried = file.body.lock().is_settled() || deadline.remaining().is_none();
        }
        if gone {
            file.reader.restart(u64::MAX);
            self.remove_aside(file, deadline);
        }
        self.tree.lock().close(file.ino);
    }

    /// Brings everything that was written to the server, or keeps it in `lost+found`, or leaves it in the
    /// journal where it is after `limit`; for the end of the mount.
    pub fn finish(&self, limit: Option<Duration>) {
        self.drain(limit);
        for file in self.opened_files() {
            if file.body.lock().journal.is_some() {
                continue;
            }
            let deadline = self.deadline();
            self.last_upload(&file, &deadline);
            self.remove_aside(&file, &deadline);
        }
    }

    /// The last call: nothing is asked of the file system any more.
    pub fn end(&self) {
        self.finish(None);
        if let Some(journal) = self.queue.journal.get() {
            journal.close();
        }
    }

    /// The last chance of what was written: it reaches the server or `lost+found`.
    fn last_upload(&self, file: &Arc<File>, deadline: &Deadline) {
        self.last_bytes(file, deadline);
        let waiting = {
            let Ok(mut body) = self.settled(file, deadline) else {
                return;
            };
            let there = !body.removed && body.base.is_some();
            let waiting = body.mode.take().filter(|_| there);
            // The kernel does not wait for this: a rename that comes meanwhile has to.
            body.uploading = waiting.is_some();
            body.until = Some(deadline.twin());
            waiting
        };
        let Some((mode, _)) = waiting else {
            return;
        };
        let set = self.set_mode(file.ino, mode, deadline);
        if let Err(error) = self.tolerate(set, SETTING_MODES) {
            log::warn!("{error}");
        }
        file.body.lock().uploading = false;
        file.uploaded.notify_all();
    }

    fn last_bytes(&self, file: &Arc<File>, deadline: &Deadline) {
        let failed_before = {
            let Ok(body) = self.settled(file, deadline) else {
                return;
            };
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
        self.recall(file, deadline);
        let unheard = {
            let body = file.body.lock();
            let broken = body.broken.as_ref().filter(|_| !body.heard);
            error.as_ref().or(broken).cloned()
        };
        let path = self.path(file.ino).unwrap_or_default();
        self.lose(file, error.as_ref());
        // Its close has said that all is well, and this one has nobody to tell.
        if let Some(error) = unheard.filter(|_| self.is_write_back()) {
            self.note_refusal(path, error);
        }
    }

    /// Keeps what can't be brought to the server, if it is whole, and forgets it here.
    pub(crate) fn lose(&self, file: &File, error: Option<&Error>) {
        let path = self.path(file.ino).unwrap_or_default();
        let mut body = file.body.lock();
        if !body.is_dirty() {
            return;
        }
        let reason = (error.or(body.why.as_ref()))
            .map_or_else(|| "its close failed".to_string(), ToString::to_string);
        let mut useless = None;
        if let Some(beside) = body.beside.take() {
            body.base = beside.replaces;
            if body.missing().is_empty() {
                useless = Some(beside.path);
            } else {
                log::error!("{path}: what was sent of it is left as {}", beside.path);
            }
        }
        let is_whole = body.missing().is_empty();
        let parts = match is_whole {
            true => std::iter::once(0..body.size).collect(),
            false => body.unsent(),
        };
        let what = if is_whole {
            "it"
        } else {
            "what was written of it"
        };
        let kept = match &body.spool {
            Some(spool) => self.keep(&path, spool, (body.size, &parts), &reason),
            None => Ok(None),
        };
        match kept {
            Ok(Some(kept)) => {
                log::error!(
                    "{path} could not be stored ({reason}); {what} is kept as {}",
                    kept.display()
                );
                if body.base.is_some() {
                    // It is no spool any more.
                    body.spool = None;
                    body.present = RangeSet::default();
                }
                self.journal_done(&mut body);
            }
            Ok(None) if body.size == 0 => {
                log::error!("{path}, an empty file, could not be stored ({reason})");
                self.journal_done(&mut body);
            }
            Ok(None) => {
                log::error!("{path} could not be cut to {} bytes ({reason})", body.size);
                self.journal_done(&mut body);
            }
            Err(error) if body.journal.is_some() => {
                log::error!(
                    "{path} could not be stored ({reason}), nor kept: {error}; it stays in the journal for the next mount"
                );
                self.journal_leave(&path, &mut body);
            }
            Err(error) => log::error!("{path} could not be stored ({reason}), nor kept: {error}"),
        }
        body.dirty = RangeSet::default();
        (body.resized, body.emptied) = (false, false);
        body.unconfirmed = false;
        (body.broken, body.hopeless, body.why) = (None, None, None);
        body.heard = false;
        // What was to be set on it was for what it was to be.
        (body.mode, body.modified) = (None, None);
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
        drop(tree);
        drop(body);
        if let Some(beside) = useless {
            self.remove_beside(&beside, &self.deadline());
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
