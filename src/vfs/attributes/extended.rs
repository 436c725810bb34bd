//! Extended attributes `user.*`, which FTP has no place for: all are kept by the mount (xattr(7)).

use crate::vfs::attributes::AttributeOverlay;
use crate::vfs::error::{Error, Result};
use crate::vfs::settings::Policy;

/// The namespace of users; those of the kernel and of programs with privileges are not kept.
const NAMESPACE: &[u8] = b"user.";
/// What the server says about a file, under names that can't be set.
const SERVER: &[u8] = b"user.ftp.";
/// Bytes of all names and values of one file beside its largest value, which Linux limits to as many (XATTR_SIZE_MAX).
const FILE_BYTES: usize = 64 << 10;

/// What setxattr(2) wants to be there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Anything.
    Any,
    /// No attribute of this name (`XATTR_CREATE`).
    Absent,
    /// An attribute of this name (`XATTR_REPLACE`).
    Present,
}

impl AttributeOverlay {
    /// The value of an attribute.
    pub(crate) fn extended(&self, ino: u64, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let tree = self.table.lock();
        let kept = tree.get(ino).ok_or(Error::Stale)?.kept();
        let value = kept.and_then(|kept| kept.extended.get(name));
        Ok(value.map(|value| value.to_vec()))
    }

    /// The names of all attributes, each with a NUL behind it.
    pub(crate) fn extended_names(&self, ino: u64) -> Result<Vec<u8>> {
        let tree = self.table.lock();
        let kept = tree.get(ino).ok_or(Error::Stale)?.kept();
        let names = kept.into_iter().flat_map(|kept| kept.extended.keys());
        Ok(names.flat_map(|name| [name, &b"\0"[..]].concat()).collect())
    }

    /// Sets an attribute.
    pub(crate) fn set_extended(
        &self,
        ino: u64,
        name: &[u8],
        value: &[u8],
        before: Before,
    ) -> Result<()> {
        self.check_extended(name)?;
        let (is_there, bytes) = {
            let tree = self.table.lock();
            let kept = tree.get(ino).ok_or(Error::Stale)?.kept();
            let all = kept.into_iter().flat_map(|kept| &kept.extended);
            let others = all.filter(|(known, _)| known.as_ref() != name);
            let (mut bytes, mut largest) = (name.len() + value.len(), value.len());
            for (name, value) in others {
                bytes += name.len() + value.len();
                largest = largest.max(value.len());
            }
            let is_there = kept.is_some_and(|kept| kept.extended.contains_key(name));
            (is_there, bytes - largest)
        };
        match before {
            Before::Absent if is_there => return Err(Error::Exists),
            Before::Present if !is_there => return Err(Error::NoData),
            _ => {}
        }
        if bytes > FILE_BYTES {
            return Err(Error::Spool(libc::ENOSPC));
        }
        self.keep(ino, |kept| {
            kept.extended.insert(name.into(), value.into());
        })?;
        self.note_change(ino);
        Ok(())
    }

    /// Removes an attribute.
    pub(crate) fn remove_extended(&self, ino: u64, name: &[u8]) -> Result<()> {
        self.check_extended(name)?;
        if self.extended(ino, name)?.is_none() {
            return Err(Error::NoData);
        }
        self.keep(ino, |kept| {
            kept.extended.remove(name);
        })?;
        self.note_change(ino);
        Ok(())
    }

    fn check_extended(&self, name: &[u8]) -> Result<()> {
        let is_kept = name.starts_with(NAMESPACE) && !name.starts_with(SERVER);
        if is_kept && self.policy == Policy::Keep {
            Ok(())
        } else {
            Err(Error::Unsupported)
        }
    }
}
