//! The last close of a file, and the end of the mount: what was written is stored, or kept in lost+found.

use crate::remote::{Deadline, Step};
use crate::vfs::file::open_file::File;
use crate::vfs::upload::lost_found::Taken;
use crate::vfs::writeback::WriteBack;
use std::sync::Arc;
use std::time::Duration;

impl WriteBack {
    /// Lets a handle go whose file is at rest; false where that may take the server, or a wait.
    pub(crate) fn release_at_rest(&self, handle: u64) -> bool {
        let mut opened = self.files.opened.lock();
        let Some(file) = opened
            .handles
            .get(&handle)
            .map(|handle| Arc::clone(&handle.file))
        else {
            return true;
        };
        if !file.body.try_lock().is_some_and(|body| body.is_at_rest()) {
            return false;
        }
        opened.handles.remove(&handle);
        let is_last = opened.let_go(file.ino);
        drop(opened);
        if is_last {
            file.reader.restart(u64::MAX);
        }
        self.table.lock().close(file.ino);
        true
    }

    /// One holder of an open file lets it go; the last one brings it to the server.
    pub(crate) fn release_file(&self, file: &Arc<File>, deadline: &Deadline) {
        let mut tried = false;
        let is_gone = loop {
            // Counted and judged under one lock: of two last closes one must be the last.
            let mut opened = self.files.opened.lock();
            let is_last = matches!(opened.files.get(&file.ino), Some((_, 1)));
            if tried || !is_last {
                break opened.let_go(file.ino);
            }
            drop(opened);
            let is_to_come = {
                let body = file.body.lock();
                // A failure was reported, and is not sent later without the user's knowledge.
                body.is_dirty() && !body.upload.state.is_failed()
            };
            if is_to_come && self.defer(file) {
                continue;
            }
            self.last_upload(file, Taken::FromClosed, deadline);
            tried = file.body.lock().is_settled() || deadline.remaining().is_none();
        };
        if is_gone {
            file.reader.restart(u64::MAX);
            self.remove_aside(file, deadline);
        }
        self.table.lock().close(file.ino);
    }

    /// The last chance of what was written: it reaches the server or `lost+found`.
    fn last_upload(&self, file: &Arc<File>, from: Taken, deadline: &Deadline) {
        self.store_last(file, from, deadline);
        self.set_pending_mode(file, deadline);
    }

    /// Sets a mode that had to wait until all is stored.
    pub(crate) fn set_pending_mode(&self, file: &Arc<File>, deadline: &Deadline) {
        let waiting = {
            let Ok(mut body) = self.files.lock_settled(file, deadline) else {
                return;
            };
            let there = !body.name.removed && body.content.base.is_some();
            let waiting = body.attributes.mode.take().filter(|_| there);
            // The kernel does not wait for this: a rename that comes meanwhile has to.
            body.upload.busy_until = waiting.is_some().then(|| deadline.twin());
            waiting
        };
        let Some((mode, _)) = waiting else {
            return;
        };
        self.attributes.doubt_mode(file.ino);
        if let Err(error) = self.attributes.set_mode(file.ino, mode, deadline) {
            log::warn!("close: mode not set: {error}");
        }
        file.body.lock().upload.busy_until = None;
        file.uploaded.notify_all();
    }

    fn store_last(&self, file: &Arc<File>, from: Taken, deadline: &Deadline) {
        let failed_before = {
            let Ok(body) = self.files.lock_settled(file, deadline) else {
                self.uploader.keep_unsettled(file);
                return;
            };
            if !body.is_dirty() {
                return;
            }
            body.upload.state.is_failed()
        };
        let error = if failed_before {
            None
        } else {
            match self.uploader.upload(file, deadline) {
                Ok(()) => return,
                Err(error) => Some(error),
            }
        };
        self.uploader.fetch_back(file, deadline);
        let (why, unheard) = {
            let body = file.body.lock();
            let state = &body.upload.state;
            let why = error.as_ref().or(state.why()).cloned();
            // This close has no caller: where an earlier one has succeeded, the next open of the name reports it.
            let is_early = self.journal.is_write_back();
            let unheard = error.as_ref().or(state.unreported()).cloned();
            (why, unheard.filter(|_| is_early))
        };
        self.give_up(file, why.as_ref(), unheard.as_ref(), from);
    }

    fn remove_aside(&self, file: &File, deadline: &Deadline) {
        let Some(aside) = file.body.lock().name.aside.take() else {
            return;
        };
        file.reader.stop(deadline);
        if let Err(error) = self.remote.step(Step::Remove(&aside), deadline) {
            log::error!("close: temporary file {aside} is left on the server: {error}");
        }
    }

    /// Brings everything that was written to the server, or keeps it in `lost+found`, or leaves it in the
    /// journal where it is after `limit`; for the end of the mount.
    pub fn finish(&self, limit: Option<Duration>) {
        self.drain(limit);
        if limit.is_some() {
            self.remote.soften();
        }
        for file in self.files.opened_files() {
            let (is_journaled, is_behind) = {
                let journal = &file.body.lock().journal;
                (journal.id.is_some(), journal.is_behind)
            };
            if is_journaled {
                if is_behind && self.files.is_written(&file) {
                    self.uploader.keep_written_since_close(&file);
                }
                continue;
            }
            let deadline = Deadline::after(self.settings.timeout);
            self.last_upload(&file, Taken::FromOpen, &deadline);
            self.remove_aside(&file, &deadline);
        }
    }

    /// The last call: nothing is asked of the file system any more.
    pub fn end(&self) {
        self.finish(None);
        if let Some(journal) = self.journal.get() {
            journal.close();
        }
    }
}
