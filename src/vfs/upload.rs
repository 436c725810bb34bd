//! Uploads: bringing written data to the server, and checking that it arrived.
//!
//! The plan of an upload sends the least that is correct: append, patch, or the whole file. What an upload relies on is
//! checked before a byte is sent, its outcome afterwards. Sequential writes stream while they are written. What the server
//! refuses stays dirty, for the next close or fsync; what cannot be stored by the last close is kept in lost+found.
//!
//! * `uploader`: uploads a file as it is now, by the cheapest plan
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
pub(crate) mod uploader;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::process::lock_order::OrderedMutex;
use crate::remote::{ReadAt, Remote};
use crate::vfs::attributes::AttributeOverlay;
use crate::vfs::file::open_file::File;
use crate::vfs::file::open_files::OpenFiles;
use crate::vfs::inode::table::Table;
use crate::vfs::journal::Journal;
use crate::vfs::journal::JournalHandle;
use crate::vfs::lock_rank;
use crate::vfs::metadata::Metadata;
use crate::vfs::settings::Settings;
use crate::vfs::spool::SpoolFile;
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

/// Bytes of a spool file that are sent, and counted: a caller that waits for an upload sees by them that it goes on.
pub(crate) struct CountedBytes<'a> {
    spool: Option<Arc<SpoolFile>>,
    /// Counts the bytes that were sent.
    moved: &'a AtomicU64,
    /// Bytes that were read and are not known to be sent.
    next: AtomicU64,
}

impl ReadAt for CountedBytes<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        // The FTP client asks for more once it has sent what came before.
        let sent = self.next.swap(buffer.len() as u64, Ordering::Relaxed);
        self.moved.fetch_add(sent, Ordering::Relaxed);
        self.spool.read_exact_at(buffer, offset)
    }

    fn begins(&self) {
        // What an earlier try has read does not count.
        self.next.store(0, Ordering::Relaxed);
    }
}

/// The bytes of an upload under the file's own name: the journal hears that it begins.
pub(crate) struct UploadBytes<'a> {
    pub(crate) file: &'a File,
    pub(crate) sent: CountedBytes<'a>,
    journal: Option<&'a Journal>,
}

impl<'a> UploadBytes<'a> {
    /// The bytes of an upload of `file`.
    pub(crate) fn new(files: &'a OpenFiles, file: &'a File, spool: Option<Arc<SpoolFile>>) -> Self {
        Self {
            file,
            sent: CountedBytes {
                spool,
                moved: &files.readers.traffic.moved,
                next: AtomicU64::new(0),
            },
            journal: files.journal.get(),
        }
    }
}

impl ReadAt for UploadBytes<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.sent.read_exact_at(buffer, offset)
    }

    fn begins(&self) {
        self.sent.begins();
        let news = self.file.body.lock().mark_upload_begun();
        if let (Some(journal), Some(id)) = (self.journal, news) {
            journal.begun(id);
        }
    }
}
