//! Drops what is cached: names, attributes, listings, blocks in memory and on disk (`ftpfs drop-cache`).
//!
//! Every content gets another generation, so that what was read of it no longer counts, for open handles too. What the
//! server lacks is no cache and stays.

use crate::remote::{Kind, RemotePath};
use crate::vfs::Vfs;

impl Vfs {
    /// Drops what the server said and what was read. Returns the numbers of the inodes that the kernel knows, whose
    /// caches are to be dropped too.
    pub fn forget_all(&self) -> Vec<u64> {
        let known = self.table.lock().doubt_all();
        // From here on nothing of the old generations is asked for; what still comes in goes by itself.
        self.readers.blocks.clear();
        if let Some(disk) = &self.readers.disk {
            disk.clear();
        }
        *self.space.lock() = None;
        self.prefetch.forget();
        known
    }

    /// Forgets what uploads have shown of the server.
    pub fn forget_server(&self) {
        self.uploader.forget_server();
    }

    /// `ino`, and what lies below it, is at `path` from now on: what the disk has kept of what was there before, and had
    /// the same size and time, goes.
    pub(crate) fn forget_kept_at(&self, ino: u64, path: &RemotePath) {
        let Some(disk) = &self.readers.disk else {
            return;
        };
        match self.table.kind(ino) {
            Some(Kind::File) => disk.forget(path),
            // Below it there is what was never listed.
            Some(Kind::Directory) => disk.forget_below(path),
            _ => {}
        }
    }
}
