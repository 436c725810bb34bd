//! Dropping what is cached: names, attributes, listings, blocks in memory and on disk (`ftpfs drop-cache`).
//!
//! The one idea: nothing is taken from anybody who uses it. Every content gets another generation, so that what
//! was read of it counts no more, also for those who have it open; what the server lacks is no cache.

use crate::remote::{Kind, RemotePath};
use crate::vfs::core::Vfs;

impl Vfs {
    /// Forgets what the server said and what was read. Returns the numbers of the inodes that the kernel
    /// knows: what it keeps of them is to be dropped too.
    pub fn forget_all(&self) -> Vec<u64> {
        let known = self.tree.lock().doubt_all();
        // From here on nothing of the old generations is asked for; what still comes in goes by itself.
        self.shared.blocks.clear();
        if let Some(disk) = &self.shared.disk {
            disk.clear();
        }
        *self.space.lock() = None;
        self.walks.lock().forget();
        self.fetching.sequences.lock().forget();
        known
    }

    /// `ino`, and what lies below it, is at `path` from now on: what the disk has kept of what was there before, and had
    /// the same size and time, goes.
    pub(crate) fn forget_kept_at(&self, ino: u64, path: &RemotePath) {
        let Some(disk) = &self.shared.disk else {
            return;
        };
        let attributes = {
            let tree = self.tree.lock();
            tree.get(ino).map(|node| node.attributes.clone())
        };
        let Some((kind, version)) = attributes.map(|known| (known.kind, known.version())) else {
            return;
        };
        match kind {
            Kind::File => disk.forget(path, &version),
            // Below it there is what was never listed.
            Kind::Directory => disk.forget_at(path),
            _ => {}
        }
    }
}
