//! Changing attributes, and what statfs(2) is told.
//!
//! The one idea: what belongs to a file that is being written rides behind its upload, in the same
//! flight; what belongs to a file that rests is set at once.

use std::time::Instant;

use crate::remote;
use crate::remote::{Deadline, Done, Kind, Precision, Step};
use crate::vfs::core::Vfs;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::{File, OWNER_WRITES};
use crate::vfs::inode::ROOT;
use crate::vfs::inode::attr_view::{Attr, Space};
use crate::vfs::ops::lenient::{SETTING_MODES, SETTING_TIMES};

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
        let (uid, gid) = {
            let tree = self.tree.lock();
            let node = tree.get(ino).ok_or(Error::Stale)?;
            self.settings.shown.owner(&node.attributes)
        };
        if changes.uid.is_some_and(|new| new != uid) || changes.gid.is_some_and(|new| new != gid) {
            self.tolerate(Err(Error::Impossible), "changing owners")?;
        }
        if let Some(size) = changes.size {
            self.truncate(ino, handle, size, deadline)?;
        }
        if let Some(mode) = changes.mode {
            let changed = self.change_mode(ino, mode & 0o7777, deadline);
            self.tolerate(changed, SETTING_MODES)?;
        }
        if let Some(modified) = changes.modified {
            let changed = self.change_modified(ino, modified, deadline);
            self.tolerate(changed, SETTING_TIMES)?;
        }
        self.getattr(ino, deadline)
    }

    /// What there is of space, if the server need not be asked.
    pub fn statfs_cached(&self) -> Option<Space> {
        self.space
            .lock()
            .filter(|(at, _)| at.elapsed() < self.settings.cache_timeout)
            .map(|(_, space)| space)
    }

    /// What there is of space: what the server says, or `size=`, or a figure on which no program
    /// stumbles.
    pub fn statfs(&self, deadline: &Deadline) -> Space {
        if let Some(space) = self.statfs_cached() {
            return space;
        }
        let ask = remote::Ask {
            urgency: remote::Urgency::Caller,
            deadline,
        };
        let said = self
            .remote
            .space(&remote::RemotePath::root(), &ask)
            .unwrap_or_else(|error| {
                log::info!("asking for the free space: {error}");
                None
            });
        let given = self.settings.size.unwrap_or(UNKNOWN_SPACE);
        let free = said.map_or(given, |said| said.free);
        let total = said.and_then(|said| said.total).unwrap_or(given).max(free);
        let block = u64::from(Space::BLOCK);
        let space = Space {
            blocks: total / block,
            free: free / block,
            files: UNKNOWN_FILES,
            files_free: UNKNOWN_FILES,
            name_length: 255,
        };
        *self.space.lock() = Some((Instant::now(), space));
        space
    }

    /// Whether the server says that `wanted` (of R_OK, W_OK and X_OK) is refused; what it does not
    /// say is for it to refuse when it is tried. Programs are started here, by the kernel, which
    /// goes by the bits that it was shown: who asks whether it would must hear the same.
    pub fn access(&self, ino: u64, wanted: i32) -> Result<()> {
        let tree = self.tree.lock();
        let attributes = &tree.get(ino).ok_or(Error::Stale)?.attributes;
        if wanted & libc::W_OK != 0 {
            self.writable()?;
        }
        if wanted & libc::X_OK != 0 && !self.settings.shown.can_be_started(attributes) {
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

    /// What the server says of `ino` in its own words.
    pub fn describe(
        &self,
        ino: u64,
        view: remote::View,
        deadline: &Deadline,
    ) -> Result<Option<Vec<u8>>> {
        let path = self.path(ino)?;
        let ask = remote::Ask {
            urgency: remote::Urgency::Caller,
            deadline,
        };
        Ok(self.remote.describe(&path, view, &ask)?)
    }

    /// Sets the permission bits of what is on the server.
    pub(crate) fn set_mode(&self, ino: u64, mode: u32, deadline: &Deadline) -> Result<()> {
        let path = self.path(ino)?;
        match self.step(Step::SetMode(&path, mode), deadline) {
            Ok(_) => {}
            Err(error @ remote::Error::Refused { .. }) if self.has_mode(ino, mode) => {
                log::debug!("{error}; it has these bits already");
                return Ok(());
            }
            Err(error) => return Err(Error::NotPermitted(error)),
        }
        let mut tree = self.tree.lock();
        tree.touch(ino);
        if let Some(node) = tree.get_mut(ino) {
            node.attributes.mode = Some(mode);
        }
        Ok(())
    }

    /// Whether what is on the server was seen to have these permission bits lately.
    fn has_mode(&self, ino: u64, mode: u32) -> bool {
        let tree = self.tree.lock();
        tree.get(ino).is_some_and(|node| {
            let is_known = !node.local && node.is_fresh(self.settings.cache_timeout);
            is_known && self.attr(node).mode == mode
        })
    }

    /// Sets the time of what is on the server; `seconds` since 1970 in UTC.
    fn set_modified(&self, ino: u64, seconds: i64, deadline: &Deadline) -> Result<()> {
        let path = self.path(ino)?;
        match self.step(Step::SetModified(&path, seconds), deadline) {
            Ok(Done::Changed) => {}
            Ok(_) => return Ok(()),
            // The root may be another user's; its time matters to nobody.
            Err(error) => return Err(Error::NotPermitted(error)),
        }
        if let Some(disk) = &self.shared.disk
            && self.kind(ino) == Some(Kind::File)
        {
            // What had this time earlier may be another content.
            let size = self.tree.lock().get(ino).and_then(|n| n.attributes.size);
            let modified = Some(seconds);
            disk.forget(&path, &remote::Version { size, modified });
        }
        let mut tree = self.tree.lock();
        tree.touch(ino);
        if let Some(node) = tree.get_mut(ino) {
            node.attributes.modified = Some(remote::Modified {
                seconds,
                precision: Precision::Second,
            });
            if ino == ROOT {
                node.fetched = Some(std::time::Instant::now());
            }
        }
        Ok(())
    }

    fn change_mode(&self, ino: u64, mode: u32, deadline: &Deadline) -> Result<()> {
        let opened = self.opened_file(ino);
        let written = opened.as_ref().is_some_and(|file| self.is_written(file));
        // What is known to fail is to fail here, not where the file is closed.
        let may_ride = self.remote.traits().sets_modes;
        let rides = opened.is_some_and(|file| {
            let mut body = file.body.lock();
            let rides = body.is_dirty() || (written && mode & OWNER_WRITES == 0);
            let rides = rides && may_ride || body.removed;
            if rides {
                body.mode = Some((mode, true));
                self.journal_rights(&body);
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
        let opened = self.opened_file(ino);
        let Some(file) = opened else {
            return self.set_modified(ino, seconds, deadline);
        };
        {
            let may_ride = self.remote.traits().sets_times;
            let mut body = self.settled(&file, deadline)?;
            if body.is_dirty() && may_ride || body.removed {
                body.modified = Some(seconds);
                self.journal_rights(&body);
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
