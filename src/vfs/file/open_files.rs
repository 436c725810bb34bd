//! The table of open files: by inode number, and by handle. Reads what the server has of them, and follows its changes.
//!
//! One [`File`] serves all handles of an inode. The table counts the handles, so that of two last closes one is the last.
//!
//! # Lock order
//!
//! The table's lock before a file's, before the inode table's.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::process::lock_order::{OrderedGuard, OrderedMutex};
use crate::remote::{self, Deadline, Modified, Remote, Why};
use crate::vfs::cache::Bytes;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::{Body, End, File};
use crate::vfs::inode::table::Table;
use crate::vfs::journal::JournalHandle;
use crate::vfs::lock_rank;
use crate::vfs::readahead::ReadContext;
use crate::vfs::spool::Spool;

/// Bytes that are fetched at once to complete a file.
const PULL_STEP: usize = 1 << 20;
/// Missing bytes up to which a file is completed: one whose name is removed while it is open (a larger one gets a
/// temporary name until the last close), and one that was streamed to a temporary name and could not be stored.
pub(crate) const PULL_LIMIT: u64 = 64 << 20;

/// The open files, and what they need to read and write.
pub struct OpenFiles {
    pub(crate) opened: OrderedMutex<Opened, { lock_rank::OPEN_FILES }>,
    next_handle: AtomicU64,
    pub(crate) spool: Spool,
    pub(crate) remote: Arc<dyn Remote>,
    pub(crate) table: Arc<Table>,
    pub(crate) readers: ReadContext,
    pub(crate) journal: Arc<JournalHandle>,
}

/// Everything that is open.
#[derive(Default)]
pub(crate) struct Opened {
    /// By inode number, with the number of handles.
    pub(crate) files: HashMap<u64, (Arc<File>, u32)>,
    /// By handle.
    pub(crate) handles: HashMap<u64, Handle>,
    /// Snapshots of directories, by handle.
    pub(crate) directories: HashMap<u64, Listing>,
}

impl Opened {
    /// One handle less has the file; returns whether it was the last one, with which the file goes.
    pub(crate) fn let_go(&mut self, ino: u64) -> bool {
        match self.files.get_mut(&ino) {
            Some((_, handles)) if *handles > 1 => {
                *handles -= 1;
                false
            }
            Some(_) => self.files.remove(&ino).is_some(),
            None => false,
        }
    }
}

/// An open file, as one opener sees it.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) file: Arc<File>,
    pub(crate) writes: bool,
    /// What was read by it last.
    pub(crate) seen: Arc<OrderedMutex<Seen, { lock_rank::HANDLE }>>,
    /// It has written something since a close of it failed.
    pub(crate) wrote: Arc<AtomicBool>,
}

/// What was read by a handle last.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The generation of it; 0 before the first read.
    pub(crate) generation: u64,
    /// Offset after its last byte.
    pub(crate) end: u64,
}

impl Handle {
    /// It is about to write something.
    pub(crate) fn write(&self) -> &Arc<File> {
        self.wrote.store(true, Ordering::Relaxed);
        &self.file
    }
}

/// An open directory: what was there when it was read from its start.
pub(crate) struct Listing {
    pub(crate) ino: u64,
    /// The numbers of its entries, in the order of their names.
    pub(crate) entries: Option<Arc<Vec<u64>>>,
    /// Names are missing: reading it ends in an error, so that no program takes it for all.
    pub(crate) is_cut: bool,
}

impl OpenFiles {
    /// No file is open.
    pub(crate) fn new(
        remote: Arc<dyn Remote>,
        table: Arc<Table>,
        readers: ReadContext,
        journal: Arc<JournalHandle>,
        spool: Spool,
    ) -> Arc<Self> {
        Arc::new(Self {
            opened: OrderedMutex::default(),
            next_handle: AtomicU64::new(1),
            spool,
            remote,
            table,
            readers,
            journal,
        })
    }

    /// The file of a handle.
    pub(crate) fn file(&self, handle: u64) -> Result<Handle> {
        self.opened
            .lock()
            .handles
            .get(&handle)
            .cloned()
            .ok_or(Error::BadHandle)
    }

    /// The open file of a number, if it is open.
    pub(crate) fn opened_file(&self, ino: u64) -> Option<Arc<File>> {
        let opened = self.opened.lock();
        opened.files.get(&ino).map(|(file, _)| Arc::clone(file))
    }

    /// Everything that is open.
    pub(crate) fn opened_files(&self) -> Vec<Arc<File>> {
        let opened = self.opened.lock();
        opened
            .files
            .values()
            .map(|(file, _)| Arc::clone(file))
            .collect()
    }

    /// A number for a new handle.
    pub(crate) fn handle(&self) -> u64 {
        self.next_handle.fetch_add(1, Ordering::Relaxed)
    }

    /// The body of a file while no upload, rename or commit of it is in progress. Waits as long as that makes progress.
    pub(crate) fn lock_settled<'a>(
        &self,
        file: &'a File,
        deadline: &Deadline,
    ) -> Result<OrderedGuard<'a, Body>> {
        let mut body = file.body.lock();
        while body.upload.busy_until.is_some() || body.journal.is_committing() {
            let theirs = body
                .upload
                .busy_until
                .as_ref()
                .and_then(Deadline::remaining);
            let waiting = "waiting until an earlier change of the file has ended";
            let left = match theirs {
                Some(left) => left,
                None => self.remote.time_left(deadline, waiting)?,
            };
            file.uploaded.wait_for(&mut body, left);
        }
        Ok(body)
    }

    /// The body of a file while neither an upload nor a stream of it is under way.
    pub(crate) fn lock_idle<'a>(
        &self,
        file: &'a File,
        deadline: &Deadline,
    ) -> Result<OrderedGuard<'a, Body>> {
        loop {
            let body = self.lock_settled(file, deadline)?;
            if body.upload.stream.is_none() {
                return Ok(body);
            }
            drop(body);
            file.end_stream(End::Now, deadline);
        }
    }

    /// Publishes size and time of a file in the inode table.
    pub(crate) fn publish(&self, file: &File, body: &Body) {
        let mut tree = self.table.lock();
        tree.touch(file.ino);
        tree.hold_accessed(file.ino);
        let now = tree.server_now();
        if let Some(node) = tree.get_mut(file.ino) {
            node.attributes.size = Some(body.content.size);
            let seconds = body.attributes.modified.unwrap_or(now.seconds);
            node.attributes.modified = Some(Modified { seconds, ..now });
            node.local = body.is_dirty();
        }
        if body.attributes.modified.is_none() {
            tree.wrote(file.ino);
        }
    }

    /// Whether a handle of the file can write.
    pub(crate) fn is_written(&self, file: &File) -> bool {
        self.writers(file) > 0
    }

    /// Handles of the file that can write.
    pub(crate) fn writers(&self, file: &File) -> usize {
        self.opened
            .lock()
            .handles
            .values()
            .filter(|handle| handle.writes && handle.file.ino == file.ino)
            .count()
    }

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
                        node.kernel.pages = None;
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
