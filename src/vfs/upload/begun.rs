//! What the journal hears before the server's file is touched.
//!
//! The one idea: from the moment when the server takes an upload until it has confirmed it, what it has of the file
//! may be of no use to anybody. So what the upload goes over lies in the journal by then, bytes that nobody wrote here too,
//! and not just in a spool that ends with the mount. And that it has begun is noted when the server is there to take it, no
//! sooner: what the server has after an upload that never began is others' doing.
//!
//! Two moments of an upload are told apart, here and below:
//!
//! * It *begins* (`ReadAt::begins`; streams hear it from `Remote::write` and `Remote::create`): the server is there, and
//!   about to be told. From now on nobody could say what a crash has left, so the journal knows it before a byte goes.
//!   `Body::begun` and `Body::noted` keep it, for who finds the file without us, writes a later close down, or makes a
//!   new name once more.
//! * It is *taken* (`Change::taken`, `Stream::taken`): the server has not refused it, so something of it may be there. Once
//!   it has failed, `Body::touched` keeps that, for who looks what of the server's file is ours.
//!
//! So what was begun and refused is not touched: what others wrote there is theirs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::remote::ReadAt;
use crate::vfs::error::Result;
use crate::vfs::file::open_file::Body;
use crate::vfs::file::open_file::File;
use crate::vfs::file::open_files::OpenFiles;
use crate::vfs::file::range_set::RangeSet;
use crate::vfs::journal::Journal;
use crate::vfs::spool::SpoolFile;
use crate::vfs::upload::Uploader;

/// The bytes of an upload, by which the journal hears when they begin to go.
pub(crate) struct Bytes<'a> {
    pub(crate) file: &'a File,
    spool: Arc<SpoolFile>,
    journal: Option<&'a Journal>,
    /// Counts the bytes that have gone.
    moved: &'a AtomicU64,
    /// Bytes that wait for the network to take them.
    next: AtomicU64,
}

impl Uploader {
    /// Before an upload that sends more than was written here, `written`: that is safe in the journal when this returns.
    pub(crate) fn secure(&self, file: &File, written: &RangeSet) -> Result<()> {
        let Some(journal) = self.journal.get() else {
            return Ok(());
        };
        {
            let body = file.body.lock();
            let mut more = body.upload.in_flight.clone();
            written.iter().for_each(|part| more.remove(part));
            let in_place = body.name.beside.is_none() && body.content.base.is_some();
            let is_wanted = body.journal.id.is_some() || self.journal.is_write_back();
            if !in_place || !is_wanted || more.iter().next().is_none() {
                return Ok(());
            }
        }
        self.files.commit(journal, file).map(drop)
    }
}

impl<'a> Bytes<'a> {
    /// The bytes of an upload of `file`.
    pub(crate) fn new(files: &'a OpenFiles, file: &'a File, spool: Arc<SpoolFile>) -> Self {
        Self {
            file,
            spool,
            journal: files.journal.get(),
            moved: &files.readers.traffic.moved,
            next: AtomicU64::new(0),
        }
    }
}

impl ReadAt for Bytes<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        // Who asks for more has sent what came before.
        let sent = self.next.swap(buffer.len() as u64, Ordering::Relaxed);
        self.moved.fetch_add(sent, Ordering::Relaxed);
        self.spool.read_exact_at(buffer, offset)
    }

    fn begins(&self) {
        // Whatever an earlier try has read counts for nothing.
        self.next.store(0, Ordering::Relaxed);
        let news = self.file.body.lock().mark_upload_begun();
        if let (Some(journal), Some(id)) = (self.journal, news) {
            journal.begun(id);
        }
    }
}

impl Body {
    /// The server is about to take something of the file; returns the number by which the journal is to hear of it, if it
    /// has not.
    pub(crate) fn mark_upload_begun(&mut self) -> Option<u64> {
        self.journal.upload_begun = true;
        let before = std::mem::replace(&mut self.journal.begun_id, self.journal.id);
        self.journal.id.filter(|_| before != self.journal.id)
    }

    /// The number under which the next close is to be written down, if not under a new one: what may have arrived is
    /// told by what the journal has of it, and must not be written over. What a stream has sent begins the later file, too.
    pub(crate) fn reusable_id(&self) -> Option<u64> {
        let may = self.journal.begun_id != self.journal.id || self.upload.stream.is_some();
        self.journal.id.filter(|_| may)
    }
}
