//! Reads of what the server has of an open file, and following its changes.

use crate::remote;
use crate::remote::{Deadline, Why};
use crate::vfs::cache::Bytes;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::{Body, File};
use crate::vfs::file::open_files::OpenFiles;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes that are fetched at once to complete a file.
const PULL_STEP: usize = 1 << 20;
/// Missing bytes up to which a file is completed: one whose name is removed while it is open (a larger one gets a
/// temporary name until the last close), and one that was streamed to a temporary name and could not be stored.
pub(crate) const PULL_LIMIT: u64 = 64 << 20;

impl OpenFiles {
    /// Lets an open file without local changes follow the version seen on the server.
    pub(crate) fn follow_server(&self, file: &File, body: &mut Body) {
        self.follow_base(file, body);
        if body.is_dirty() || body.name.removed || body.upload.busy_until.is_some() {
            return;
        }
        let (version, generation) = {
            let tree = self.table.lock();
            match tree.get(file.ino) {
                Some(node) if !node.removed && node.generation != body.content.generation => {
                    (node.attributes.version(), node.generation)
                }
                _ => return,
            }
        };
        body.replace(version, generation);
        file.reader.restart(generation);
    }

    /// Lets the reader follow what was uploaded: nothing that it has received before belongs to that.
    fn follow_base(&self, file: &File, body: &mut Body) {
        if std::mem::take(&mut body.merged.reader_is_stale) {
            self.start_generation(file, body);
        }
    }

    /// Gives the content a new generation; false where the inode is gone.
    pub(crate) fn start_generation(&self, file: &File, body: &mut Body) -> bool {
        let Some(generation) = self.table.lock().start_generation(file.ino) else {
            return false;
        };
        body.content.generation = generation;
        file.reader.restart(generation);
        true
    }

    /// Reads what the server has, under the current name of the file. `None` where the name or the content has changed
    /// meanwhile: the caller has to start again.
    pub(crate) fn read_server(
        &self,
        file: &File,
        offset: u64,
        size: usize,
        deadline: &Deadline,
    ) -> Result<Option<Bytes>> {
        let turn = file.reader.await_turn(deadline)?;
        let (aside, version) = {
            let mut body = file.body.lock();
            self.follow_base(file, &mut body);
            let temp = body.name.temp.as_ref().map(|temp| temp.path.clone());
            let aside = body.name.aside.clone().or(temp);
            (aside, body.content.base.unwrap_or_default())
        };
        let path = match aside {
            Some(path) => path,
            None => self.table.path(file.ino)?,
        };
        let result = file
            .reader
            .read(turn, (&path, version), offset, size, deadline);
        if let (Ok(None), None) = (&result, deadline.remaining()) {
            let tried = format!("reading {path}, which changes all the time");
            return Err(remote::Error::timed_out(tried).into());
        }
        result.map_err(|error| match error.why() {
            // The name may be gone: `Metadata::explain_read` asks.
            Some(Why::NotFound | Why::Unsaid) => error.into(),
            _ => {
                // The version here may be wrong: the next open asks.
                if let Some(node) = self.table.lock().get_mut(file.ino) {
                    node.fetched = None;
                    if file.reader.is_to_forget() && !node.local {
                        // Drop what was received of it, here and in the page cache.
                        node.generation += 1;
                        node.pages = None;
                    }
                }
                error.into()
            }
        })
    }

    /// Fetches the first bytes of a range that the spool lacks, at most [`PULL_STEP`]; nothing where the caller has to
    /// look again.
    pub(crate) fn fetch(
        &self,
        file: &Arc<File>,
        gap: std::ops::Range<u64>,
        deadline: &Deadline,
    ) -> Result<()> {
        let length = usize::try_from(gap.end - gap.start)
            .unwrap_or(usize::MAX)
            .min(PULL_STEP);
        let Some(bytes) = self.read_server(file, gap.start, length, deadline)? else {
            return Ok(());
        };
        if bytes.len() < length {
            // The file is shorter than reported: the gap must not be filled with bytes that never existed.
            return Err(Error::Stale);
        }
        {
            let mut body = file.body.lock();
            while body.journal.is_cutting() {
                file.uploaded.wait(&mut body);
            }
            bytes.with(|bytes| body.fill(&self.spool, bytes, gap.start))?;
        }
        self.readers
            .traffic
            .moved
            .fetch_add(length as u64, Ordering::Relaxed);
        deadline.progress();
        Ok(())
    }

    /// Fetches what the spool lacks of a file.
    pub(crate) fn complete(&self, file: &Arc<File>, deadline: &Deadline) -> Result<()> {
        while let Some(gap) = {
            let missing = file.body.lock().missing();
            missing.into_iter().next()
        } {
            self.fetch(file, gap, deadline)?;
        }
        Ok(())
    }
}
