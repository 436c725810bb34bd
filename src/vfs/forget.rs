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
    pub(super) fn forget_kept_at(&self, ino: u64, path: &RemotePath) {
        let Some(disk) = &self.shared.disk else {
            return;
        };
        let mut files = Vec::new();
        {
            let tree = self.tree.lock();
            let mut left = vec![(ino, path.clone())];
            while let Some((ino, path)) = left.pop() {
                let Some(node) = tree.get(ino) else {
                    continue;
                };
                for (name, child) in tree.children(ino) {
                    left.extend(path.join(&name).map(|path| (child, path)));
                }
                if node.attributes.kind == Kind::File {
                    files.push((path, node.attributes.version()));
                }
            }
        }
        for (path, version) in files {
            disk.forget(&path, &version);
        }
    }
}
