//! The bytes of an upload as the FTP client reads them: counts what was sent, and tells the journal when an upload begins.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::remote::ReadAt;
use crate::vfs::file::open_file::File;
use crate::vfs::file::open_files::OpenFiles;
use crate::vfs::journal::Journal;
use crate::vfs::spool::SpoolFile;

/// The bytes of an upload.
pub(crate) struct UploadBytes<'a> {
    pub(crate) file: &'a File,
    spool: Option<Arc<SpoolFile>>,
    journal: Option<&'a Journal>,
    /// Counts the bytes that were sent.
    moved: &'a AtomicU64,
    /// Bytes that were read and are not known to be sent.
    next: AtomicU64,
}

impl<'a> UploadBytes<'a> {
    /// The bytes of an upload of `file`.
    pub(crate) fn new(files: &'a OpenFiles, file: &'a File, spool: Option<Arc<SpoolFile>>) -> Self {
        Self {
            file,
            spool,
            journal: files.journal.get(),
            moved: &files.readers.traffic.moved,
            next: AtomicU64::new(0),
        }
    }
}

impl ReadAt for UploadBytes<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        // The FTP client asks for more once it has sent what came before.
        let sent = self.next.swap(buffer.len() as u64, Ordering::Relaxed);
        self.moved.fetch_add(sent, Ordering::Relaxed);
        self.spool.read_exact_at(buffer, offset)
    }

    fn begins(&self) {
        // What an earlier try has read does not count.
        self.next.store(0, Ordering::Relaxed);
        let news = self.file.body.lock().mark_upload_begun();
        if let (Some(journal), Some(id)) = (self.journal, news) {
            journal.begun(id);
        }
    }
}
