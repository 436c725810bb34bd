//! lookup, getattr and forget.
//!
//! Every entry that is shown to the kernel counts as a lookup that the kernel holds until it forgets it.

use crate::remote::Deadline;
use crate::vfs::Vfs;
use crate::vfs::error::{Error, Result};
use crate::vfs::inode::Known;
use crate::vfs::inode::attr_view::Attr;
use crate::vfs::inode::check_name;

impl Vfs {
    /// The name, if it can be answered without asking the server. Counts a lookup when it is there.
    pub fn lookup_cached(&self, directory: u64, name: &[u8]) -> Option<Result<Attr>> {
        if let Err(error) = check_name(name) {
            return Some(Err(error));
        }
        match self.metadata.known(directory, name) {
            Known::Inode(ino) => Some(self.table.count_lookup(ino)),
            Known::Absent => Some(Err(Error::NotFound)),
            Known::Unknown => None,
        }
    }

    /// The name. Counts a lookup when it is there.
    pub fn lookup(&self, directory: u64, name: &[u8], deadline: &Deadline) -> Result<Attr> {
        check_name(name)?;
        self.attributes.sync();
        let ino = self.metadata.find(directory, name, deadline)?;
        self.table.count_lookup(ino)
    }

    /// The attributes, if they are known and young enough.
    pub fn getattr_cached(&self, ino: u64) -> Option<Result<Attr>> {
        self.metadata.getattr_cached(ino)
    }

    /// The attributes.
    pub fn getattr(&self, ino: u64, deadline: &Deadline) -> Result<Attr> {
        self.attributes.sync();
        self.metadata.getattr(ino, deadline)
    }

    /// The kernel has forgotten lookups.
    pub fn forget(&self, ino: u64, lookups: u64) {
        self.table.lock().forget(ino, lookups);
    }
}
