//! setattr: size, mode and time.
//!
//! Mode and time of a file that is being written are sent after its upload, in the same flight; those of other files are
//! set at once.

use crate::remote;
use crate::remote::{Deadline, Done, Kind, Precision, Step};
use crate::vfs::Vfs;
use crate::vfs::attributes::{SETTING_MODES, SETTING_TIMES};
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::OWNER_WRITES;
use crate::vfs::file::open_rename_unlink::Claim;
use crate::vfs::inode::ROOT;
use crate::vfs::inode::attr_view::Attr;

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
            let tree = self.table.lock();
            let node = tree.get(ino).ok_or(Error::Stale)?;
            self.settings.shown.owner(&node.attributes)
        };
        if changes.uid.is_some_and(|new| new != uid) || changes.gid.is_some_and(|new| new != gid) {
            self.attributes
                .tolerate(Err(Error::Impossible), "changing owners")?;
        }
        if let Some(size) = changes.size {
            self.truncate(ino, handle, size, deadline)?;
        }
        if let Some(mode) = changes.mode {
            let changed = self.change_mode(ino, mode & 0o7777, deadline);
            self.attributes.tolerate(changed, SETTING_MODES)?;
        }
        if let Some(modified) = changes.modified {
            let changed = self.change_modified(ino, modified, deadline);
            self.attributes.tolerate(changed, SETTING_TIMES)?;
        }
        self.metadata.getattr(ino, deadline)
    }

    /// Sets the time of what is on the server; `seconds` since 1970 in UTC.
    fn set_modified(&self, ino: u64, seconds: i64, deadline: &Deadline) -> Result<()> {
        let path = self.table.path(ino)?;
        match self
            .remote
            .step(Step::SetModified(&path, seconds), deadline)
        {
            Ok(Done::Changed) => {}
            Ok(_) => return Ok(()),
            // The root may belong to another user; its time does not matter.
            Err(error) => return Err(Error::NotPermitted(error)),
        }
        if let Some(disk) = &self.readers.disk
            && self.table.kind(ino) == Some(Kind::File)
        {
            // What had this time earlier may be another content.
            let size = self.table.lock().get(ino).and_then(|n| n.attributes.size);
            let modified = Some(seconds);
            disk.forget(&path, &remote::Version { size, modified });
        }
        let mut tree = self.table.lock();
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
        let opened = self.files.opened_file(ino);
        let written = opened
            .as_ref()
            .is_some_and(|file| self.files.is_written(file));
        // What is known to fail is to fail here, not where the file is closed.
        let may_ride = self.remote.traits().sets_modes;
        let rides = opened.is_some_and(|file| {
            let mut body = file.body.lock();
            let rides = body.is_dirty() || (written && mode & OWNER_WRITES == 0);
            let rides = rides && may_ride || body.name.removed;
            if rides {
                body.attributes.mode = Some((mode, true));
                self.files.journal_rights(&body);
                let mut tree = self.table.lock();
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
            self.attributes.set_mode(ino, mode, deadline)
        }
    }

    fn change_modified(&self, ino: u64, seconds: i64, deadline: &Deadline) -> Result<()> {
        let opened = self.files.opened_file(ino);
        let Some(file) = opened else {
            let before = self
                .table
                .lock()
                .get(ino)
                .map(|node| node.attributes.version());
            self.set_modified(ino, seconds, deadline)?;
            // It may have been opened meanwhile, with the time that it had before.
            if let Some(file) = self.files.opened_file(ino) {
                let mut body = file.body.lock();
                if let Some(base) = body
                    .content
                    .base
                    .as_mut()
                    .filter(|base| Some(**base) == before)
                {
                    base.modified = Some(seconds);
                }
            }
            return Ok(());
        };
        // No upload may come between, whose base would be wrong then.
        let _claim = {
            let may_ride = self.remote.traits().sets_times;
            let mut body = self.files.lock_settled(&file, deadline)?;
            if body.is_dirty() && may_ride || body.name.removed {
                body.attributes.modified = Some(seconds);
                self.files.journal_rights(&body);
                self.files.publish(&file, &body);
                return Ok(());
            }
            Claim::of(&file, &mut body, deadline)
        };
        self.set_modified(ino, seconds, deadline)?;
        let mut body = file.body.lock();
        if let Some(base) = &mut body.content.base {
            base.modified = Some(seconds);
        }
        Ok(())
    }
}
