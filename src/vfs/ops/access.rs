//! access, extended attributes, and what the server says of a path in its own words.

use crate::remote;
use crate::remote::{Deadline, Kind};
use crate::vfs::Vfs;
use crate::vfs::attributes::extended::Before;
use crate::vfs::error::{Error, Result};

impl Vfs {
    /// Refuses what the server says that it would refuse (of R_OK, W_OK and X_OK); where it says nothing, it decides
    /// when the operation is tried. Programs are started locally, by the kernel, which checks the bits that it was
    /// shown: access(2) must give the same answer.
    pub fn access(&self, ino: u64, wanted: i32) -> Result<()> {
        let tree = self.table.lock();
        let node = tree.get(ino).ok_or(Error::Stale)?;
        let attributes = &node.attributes;
        if wanted & libc::W_OK != 0 {
            self.writable()?;
        }
        if wanted & libc::X_OK != 0 && !self.settings.shown.can_be_started(node) {
            return Err(Error::Denied);
        }
        let Some(perm) = attributes.perm else {
            return Ok(());
        };
        // RFC 3659 section 7.5.5.
        let (read, write, search): (&[u8], &[u8], &[u8]) = match attributes.kind {
            Kind::Directory => (b"l", b"cmp", b"e"),
            _ => (b"r", b"aw", b""),
        };
        let lacks = |asked: i32, letters: &[u8]| {
            wanted & asked != 0
                && !letters.is_empty()
                && !letters.iter().any(|&letter| perm.has(letter))
        };
        let refused =
            lacks(libc::R_OK, read) || lacks(libc::W_OK, write) || lacks(libc::X_OK, search);
        if refused { Err(Error::Denied) } else { Ok(()) }
    }

    /// The value of an extended attribute that is kept here.
    pub fn extended(&self, ino: u64, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.attributes.extended(ino, name)
    }

    /// The names of the extended attributes that are kept here, each with a NUL behind it.
    pub fn extended_names(&self, ino: u64) -> Result<Vec<u8>> {
        self.attributes.extended_names(ino)
    }

    /// Sets an extended attribute.
    pub fn set_extended(&self, ino: u64, name: &[u8], value: &[u8], before: Before) -> Result<()> {
        self.writable()?;
        self.attributes.set_extended(ino, name, value, before)
    }

    /// Removes an extended attribute.
    pub fn remove_extended(&self, ino: u64, name: &[u8]) -> Result<()> {
        self.writable()?;
        self.attributes.remove_extended(ino, name)
    }

    /// What the server says of `ino` in its own words.
    pub fn describe(
        &self,
        ino: u64,
        view: remote::View,
        deadline: &Deadline,
    ) -> Result<Option<Vec<u8>>> {
        let path = self.table.path(ino)?;
        let ask = remote::Ask::caller(deadline);
        Ok(self.remote.describe(&path, view, &ask)?)
    }
}
