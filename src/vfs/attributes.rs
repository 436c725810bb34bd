//! Changing attributes, and what statfs(2) is told.
//!
//! The one idea: what belongs to a file that is being written rides behind its upload, in the same
//! flight; what belongs to a file that rests is set at once.

use crate::remote::Deadline;
use crate::vfs::core::{Attr, Vfs};
use crate::vfs::error::{Error, Result};
use crate::vfs::file::{File, OWNER_WRITES};

/// What setattr is to change; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// Bytes.
    pub size: Option<u64>,
    /// The last modification, seconds since 1970 in UTC.
    pub modified: Option<i64>,
}

/// What statfs(2) is told, in blocks of [`Space::BLOCK`] bytes.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// All files.
    pub files: u64,
    /// Files that can still be made.
    pub files_free: u64,
    /// Bytes of a name.
    pub name_length: u32,
}

impl Space {
    /// Bytes of a block.
    pub const BLOCK: u32 = 4096;
}

/// What no server tells us is taken to be large: programs refuse to save where nothing is free.
const UNKNOWN_SPACE: u64 = 1 << 50;
/// Files, for the same reason.
const UNKNOWN_FILES: u64 = 1 << 32;

impl Vfs {
    /// Changes attributes. Nothing is changed when one of them can't be.
    pub fn setattr(
        &self,
        ino: u64,
        handle: Option<u64>,
        changes: Changes,
        deadline: &Deadline,
    ) -> Result<Attr> {
        self.writable()?;
        let other_owner = changes.uid.is_some_and(|uid| uid != self.settings.uid)
            || changes.gid.is_some_and(|gid| gid != self.settings.gid);
        if other_owner {
            return Err(Error::Impossible);
        }
        if let Some(size) = changes.size {
            self.truncate(ino, handle, size, deadline)?;
        }
        if let Some(mode) = changes.mode {
            self.change_mode(ino, mode & 0o7777, deadline)?;
        }
        if let Some(modified) = changes.modified {
            self.change_modified(ino, modified, deadline)?;
        }
        self.getattr(ino, deadline)
    }

    /// What there is of space.
    pub fn statfs(&self) -> Space {
        let blocks = UNKNOWN_SPACE / u64::from(Space::BLOCK);
        Space {
            blocks,
            free: blocks,
            files: UNKNOWN_FILES,
            files_free: UNKNOWN_FILES,
            name_length: 255,
        }
    }

    fn change_mode(&self, ino: u64, mode: u32, deadline: &Deadline) -> Result<()> {
        let opened = self
            .opened
            .lock()
            .files
            .get(&ino)
            .map(|(file, _)| std::sync::Arc::clone(file));
        let written = opened.as_ref().is_some_and(|file| self.is_written(file));
        let rides = opened.is_some_and(|file| {
            let mut body = file.body.lock();
            let rides = body.is_dirty() || body.removed || (written && mode & OWNER_WRITES == 0);
            if rides {
                body.mode = Some((mode, true));
                let mut tree = self.tree.lock();
                tree.touch(ino);
                if let Some(node) = tree.get_mut(ino) {
                    node.attributes.mode = Some(mode);
                }
            }
            rides
        });
        if rides {
            Ok(())
        } else {
            self.set_mode(ino, mode, deadline)
        }
    }

    /// Whether a handle of the file can write.
    fn is_written(&self, file: &File) -> bool {
        self.opened
            .lock()
            .handles
            .values()
            .any(|handle| handle.writes && handle.file.ino == file.ino)
    }

    fn change_modified(&self, ino: u64, seconds: i64, deadline: &Deadline) -> Result<()> {
        let opened = self
            .opened
            .lock()
            .files
            .get(&ino)
            .map(|(file, _)| std::sync::Arc::clone(file));
        let Some(file) = opened else {
            return self.set_modified(ino, seconds, deadline);
        };
        {
            let mut body = self.settled(&file);
            if body.is_dirty() || body.removed {
                body.modified = Some(seconds);
                self.publish(&file, &body);
                return Ok(());
            }
        }
        self.set_modified(ino, seconds, deadline)?;
        let mut body = file.body.lock();
        if let Some(base) = &mut body.base {
            base.modified = Some(seconds);
        }
        Ok(())
    }
}
