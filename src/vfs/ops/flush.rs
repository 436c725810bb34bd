//! flush, fsync and release: store what was written, and report the server's verdict.
//!
//! close and fsync return once the server has confirmed the file, or with the reason why it has not. FLUSH is not close,
//! though: a shell's `cmd > f` flushes the empty file before the command has begun. So an empty file waits once, if the
//! process that closed it may have another descriptor of it (`upload/open_fds.rs`). Every exiting child flushes what there
//! is, so that the next one just appends.
//!
//! What the last close could not store is kept in lost+found, named in the log, and never sent later without the user's
//! knowledge.

use std::sync::atomic::Ordering;

use crate::remote::Deadline;
use crate::vfs::Vfs;
use crate::vfs::error::Result;
use crate::vfs::file::open_file::{File, OWNER_WRITES};
use crate::vfs::file::open_files::Handle;
use crate::vfs::upload::open_fds::{Extent, may_hold};

impl Vfs {
    /// Whether closing this handle needs no server.
    pub fn is_clean(&self, handle: u64) -> bool {
        let file = self.files.file(handle).map(|handle| handle.file);
        file.is_ok_and(|file| file.body.try_lock().is_some_and(|body| body.is_at_rest()))
    }

    /// A descriptor of the handle was closed by `process` (0 where that is not known): what was written is brought to
    /// the server.
    pub fn flush(&self, handle: u64, process: u32, deadline: &Deadline) -> Result<()> {
        let handle = self.files.file(handle)?;
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

    /// Whether the upload of what other handles wrote has failed, and their callers know or will know: then a handle
    /// that wrote nothing does not repeat it. An error where no upload follows.
    fn is_failed(&self, file: &File) -> Result<bool> {
        let why = {
            let body = file.body.lock();
            (body.is_dirty() && body.upload.state.is_failed())
                .then(|| body.upload.state.why().cloned())
        };
        let waits = self.writeback.is_queued(file.ino);
        match why {
            None => Ok(false),
            Some(Some(why)) if !waits => Err(why),
            Some(_) => Ok(waits),
        }
    }

    fn flush_file(&self, handle: &Handle, process: u32, deadline: &Deadline) -> Result<()> {
        if handle.file.body.lock().is_dirty() && self.writeback.defer(&handle.file) {
            return Ok(());
        }
        {
            let mut body = self.files.lock_settled(&handle.file, deadline)?;
            let waits = body.is_dirty() && body.content.size == 0 && !body.upload.waited;
            if waits && self.may_be_held(&handle.file, process, Extent::Lowest) {
                (body.upload.waited, body.owes) = (true, true);
                return Ok(());
            }
        }
        let is_last = self.is_last_writer(handle, process);
        if is_last {
            handle.file.body.lock().attributes.is_last = true;
        }
        let stored = self.uploader.upload(&handle.file, deadline);
        if stored.is_err() && !self.files.journal.is_write_back() {
            // An earlier close of the empty file has waited for this one, whose caller gets the error.
            handle.file.body.lock().owes = false;
        }
        stored?;
        if is_last {
            self.writeback.set_pending_mode(&handle.file, deadline);
        }
        Ok(())
    }

    /// Whether the mode of a file waits for the last descriptor that can write, and this is it: then it is in force when
    /// close returns.
    fn is_last_writer(&self, handle: &Handle, process: u32) -> bool {
        let waits = {
            let body = handle.file.body.lock();
            let mode = body.attributes.mode.map(|(mode, _)| mode);
            mode.is_some_and(|mode| mode & OWNER_WRITES == 0)
        };
        // A mode that comes too early has the server refuse what the other descriptor writes.
        waits
            && self.files.writers(&handle.file) == 1
            && !self.may_be_held(&handle.file, process, Extent::All)
    }

    /// Whether a process that has closed a descriptor of a file may have another one.
    fn may_be_held(&self, file: &File, process: u32, extent: Extent) -> bool {
        let name = {
            let tree = self.table.lock();
            tree.get(file.ino).map(|node| node.name.clone())
        };
        name.is_none_or(|name| may_hold(process, &name, extent))
    }

    /// Brings what was written to the server.
    pub fn fsync(&self, handle: u64, deadline: &Deadline) -> Result<()> {
        let handle = self.files.file(handle)?;
        self.uploader.upload(&handle.file, deadline)
    }

    /// Whether bytes of other clients were merged into the file when it was stored, since the last call: the kernel's
    /// size is stale.
    pub fn has_mixed(&self, handle: u64) -> bool {
        self.files
            .file(handle)
            .is_ok_and(|handle| std::mem::take(&mut handle.file.body.lock().merged.size_unreported))
    }

    /// The last descriptor of the handle is gone; false where that may take the server, and nothing was done.
    pub fn release_at_rest(&self, handle: u64) -> bool {
        self.writeback.release_at_rest(handle)
    }

    /// The last descriptor of the handle is gone.
    pub fn release(&self, handle: u64, deadline: &Deadline) {
        let Some(closed) = self.files.opened.lock().handles.remove(&handle) else {
            return;
        };
        self.writeback.release_file(&closed.file, deadline);
    }
}
