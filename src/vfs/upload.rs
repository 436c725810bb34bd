//! Uploads: bringing written data to the server, and checking that it arrived.
//!
//! The plan of an upload sends the least that is correct: append, patch, or the whole file. What an upload relies on is
//! checked before a byte is sent, its outcome afterwards. Sequential writes stream while they are written. What cannot be
//! stored is kept in lost+found.
//!
//! * `uploader`: uploads a file as it is now, by the cheapest plan
//! * `upload_bytes`: the bytes of an upload, as the FTP client reads them
//! * `preconditions`: checks what an upload relies on, and what it has made
//! * `commit`: takes over the outcome: the new base, or what has to be sent again
//! * `stream`: sends sequential writes while they are written
//! * `atomic`: temporary name and rename (`-o atomic`), and where no rename may replace a file
//! * `exclusive`: stores files whose names must be new
//! * `replacement`: finds servers that never replace a file
//! * `checksum`: computes checksums of what was stored
//! * `open_fds`: finds out whether a process has another descriptor of a file
//! * `move_by_copy`: moves a file where the server can't rename
//! * `lost_found`: keeps what cannot be stored on this machine
//!
//! # Lock order
//!
//! A file's lock before the inode table's; neither while the server is asked.

pub(crate) mod atomic;
pub(crate) mod checksum;
pub(crate) mod commit;
pub(crate) mod exclusive;
pub(crate) mod lost_found;
pub(crate) mod move_by_copy;
pub(crate) mod open_fds;
pub(crate) mod preconditions;
pub(crate) mod replacement;
pub(crate) mod stream;
pub(crate) mod upload_bytes;
pub(crate) mod uploader;

use std::sync::Arc;

use crate::process::lock_order::OrderedMutex;
use crate::remote::Remote;
use crate::vfs::attributes::AttributeOverlay;
use crate::vfs::file::open_files::OpenFiles;
use crate::vfs::inode::table::Table;
use crate::vfs::journal::handle::JournalHandle;
use crate::vfs::lock_rank;
use crate::vfs::metadata::Metadata;
use crate::vfs::settings::Settings;
use crate::vfs::upload::atomic::InPlace;
use crate::vfs::upload::replacement::Replacing;
use crate::vfs::upload::stream::Streams;

/// Brings written files to the server.
pub struct Uploader {
    remote: Arc<dyn Remote>,
    settings: Arc<Settings>,
    table: Arc<Table>,
    metadata: Arc<Metadata>,
    attributes: Arc<AttributeOverlay>,
    files: Arc<OpenFiles>,
    journal: Arc<JournalHandle>,
    pub(crate) streams: Arc<Streams>,
    /// Where the server does not let one file replace another: there nothing can appear at once.
    in_place: OrderedMutex<InPlace, { lock_rank::MOUNT }>,
    /// Whether the server replaces files that are there.
    replacing: OrderedMutex<Replacing, { lock_rank::MOUNT }>,
}

impl Uploader {
    /// No upload yet.
    pub(crate) fn new(
        settings: Arc<Settings>,
        metadata: Arc<Metadata>,
        attributes: Arc<AttributeOverlay>,
        files: Arc<OpenFiles>,
    ) -> Arc<Self> {
        let streams = Streams::new(
            Arc::clone(&files.remote),
            settings.timeout,
            settings.limits.spool_size,
            Arc::clone(&files.readers.traffic),
            Arc::clone(&files.journal),
        );
        Arc::new(Self {
            remote: Arc::clone(&files.remote),
            settings,
            table: Arc::clone(&files.table),
            metadata,
            attributes,
            journal: Arc::clone(&files.journal),
            files,
            streams,
            in_place: OrderedMutex::default(),
            replacing: OrderedMutex::default(),
        })
    }

    /// Forgets how the server replaces files.
    pub(crate) fn forget_server(&self) {
        *self.in_place.lock() = InPlace::default();
        *self.replacing.lock() = Replacing::default();
    }
}
