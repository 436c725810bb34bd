//! What the journal hears before the server's file is touched.
//!
//! The one idea: from the moment when the server takes an upload until it has confirmed it, what it has of the file
//! may be of no use to anybody. So what the upload goes over lies in the journal by then, bytes that nobody wrote here too,
//! and not just in a spool that ends with the mount.

use crate::vfs::core::Vfs;
use crate::vfs::error::Result;
use crate::vfs::file::File;
use crate::vfs::ranges::RangeSet;

impl Vfs {
    /// Before an upload that sends more than was written here, `written`: that is safe in the journal when this returns.
    pub(super) fn secure(&self, file: &File, written: &RangeSet) -> Result<()> {
        let Some(journal) = self.queue.journal.get() else {
            return Ok(());
        };
        {
            let body = file.body.lock();
            let mut more = body.flying.clone();
            written.iter().for_each(|part| more.remove(part));
            let in_place = body.beside.is_none() && body.base.is_some();
            let is_wanted = body.journal.is_some() || self.is_write_back();
            if !in_place || !is_wanted || more.iter().next().is_none() {
                return Ok(());
            }
        }
        self.commit(journal, file).map(drop)
    }
}
