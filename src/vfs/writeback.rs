//! The last close of each file, and write-back (`-o writeback`): closes that return before the server has the file.
//!
//! With write-back a close writes the file to the journal and to a queue, and returns. Threads upload what waits. What a
//! mount left in its journal, the next one takes over. Without `-o writeback` the queue holds only what an earlier mount
//! has left; the last close, and the end of the mount, run the code of `last_close` on every mount.
//!
//! * `last_close`: stores what was written at the last close and at the end of the mount, or keeps it in lost+found
//! * `queue`: the files that wait to be uploaded, and the paths that were refused
//! * `worker`: queues closed files, and uploads them from threads
//! * `recovery`: takes over what an earlier mount left in the journal
//! * `reconcile`: decides whose content the server has under a name in the journal
//!
//! # Lock order
//!
//! The queue's three locks are each taken alone.

pub(crate) mod last_close;
pub(crate) mod queue;
pub(crate) mod reconcile;
pub(crate) mod recovery;
pub(crate) mod worker;

use std::sync::{Arc, Weak};

use crate::remote::Remote;
use crate::vfs::attributes::AttributeOverlay;
use crate::vfs::file::open_files::OpenFiles;
use crate::vfs::inode::table::Table;
use crate::vfs::journal::JournalHandle;
use crate::vfs::metadata::Metadata;
use crate::vfs::settings::Settings;
use crate::vfs::upload::Uploader;
use crate::vfs::writeback::queue::Queue;

/// The queue of closed files, and the last close of each.
pub struct WriteBack {
    remote: Arc<dyn Remote>,
    settings: Arc<Settings>,
    table: Arc<Table>,
    metadata: Arc<Metadata>,
    attributes: Arc<AttributeOverlay>,
    files: Arc<OpenFiles>,
    journal: Arc<JournalHandle>,
    uploader: Arc<Uploader>,
    pub(crate) queue: Queue,
    /// For the threads that it starts.
    me: Weak<WriteBack>,
}

impl WriteBack {
    /// Nothing waits yet.
    pub(crate) fn new(
        settings: Arc<Settings>,
        metadata: Arc<Metadata>,
        attributes: Arc<AttributeOverlay>,
        files: Arc<OpenFiles>,
        uploader: Arc<Uploader>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            remote: Arc::clone(&files.remote),
            settings,
            table: Arc::clone(&files.table),
            metadata,
            attributes,
            journal: Arc::clone(&files.journal),
            files,
            uploader,
            queue: Queue::default(),
            me: me.clone(),
        })
    }
}
