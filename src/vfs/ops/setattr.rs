//! setattr: size, mode, owner and times.
//!
//! Mode and time of a file that is being written are sent after its upload, in the same flight; those of other files are
//! set at once. What the server can't store is kept by the mount (`attributes`): owners, access times, parts of a second,
//! times before 1970, and whatever it refuses.

use crate::remote;
use crate::remote::{Deadline, Done, Kind, Precision, Step};
use crate::vfs::Vfs;
use crate::vfs::attributes::What;
use crate::vfs::attributes::ownership::Caller;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::OWNER_WRITES;
use crate::vfs::file::open_rename_unlink::Claim;
use crate::vfs::inode::ROOT;
use crate::vfs::inode::attr_view::Attr;
use crate::vfs::inode::kept::{KeptTime, Timestamp};
use crate::vfs::metadata::link_files::LINK_FILE_SIZE;

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTime {
    /// That of the call: whole seconds do.
    Now,
    /// This one.
    At(Timestamp),
}

impl NewTime {
    fn moment(self) -> Timestamp {
        match self {
            Self::Now => Timestamp::now(),
            Self::At(at) => at,
        }
    }
}

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
    /// The last access.
    pub accessed: Option<NewTime>,
    /// The last modification.
    pub modified: Option<NewTime>,
}

impl Vfs {
    /// Changes attributes. Nothing is changed when the owner can't be. `in_group` tells whether the caller is a member
    /// of a group.
    pub fn setattr(
        &self,
        ino: u64,
        handle: Option<u64>,
        changes: Changes,
        (caller, in_group): (Caller, &dyn Fn(u32) -> bool),
        deadline: &Deadline,
    ) -> Result<Attr> {
        self.writable()?;
        self.change_owner(ino, &changes, caller, in_group)?;
        if let Some(size) = changes.size {
            self.truncate(ino, handle, size, deadline)?;
        }
        if let Some(mode) = changes.mode {
            self.change_mode(ino, mode & 0o7777, deadline)?;
        }
        if let Some(modified) = changes.modified {
            self.table.lock().hold_accessed(ino);
            self.change_modified(ino, modified, deadline)?;
        }
        self.change_accessed(ino, &changes)?;
        let is_only_now = changes.modified == Some(NewTime::Now) && changes.mode.is_none();
        let changes_attributes = changes.mode.is_some()
            || changes.uid.is_some()
            || changes.gid.is_some()
            || changes.accessed.is_some()
            || changes.modified.is_some();
        if changes_attributes && !is_only_now {
            self.attributes.note_change(ino);
        }
        self.metadata.getattr(ino, deadline)
    }

    /// Keeps a new owner and group, which FTP has no command for. Root may set any; the owner may give a file to a group
    /// that it is in (chown(2)).
    fn change_owner(
        &self,
        ino: u64,
        changes: &Changes,
        caller: Caller,
        in_group: &dyn Fn(u32) -> bool,
    ) -> Result<()> {
        let (shown, server) = {
            let tree = self.table.lock();
            let node = tree.get(ino).ok_or(Error::Stale)?;
            let shown = &self.settings.shown;
            (shown.owner(node), shown.server_owner(&node.attributes))
        };
        let uid = changes.uid.filter(|&uid| uid != shown.0);
        let gid = changes.gid.filter(|&gid| gid != shown.1);
        if uid.is_none() && gid.is_none() {
            return Ok(());
        }
        let is_root = caller.uid == 0;
        let is_owner = caller.uid == shown.0;
        let may_group = gid.is_none_or(|gid| is_owner && in_group(gid));
        let may = is_root || self.attributes.ignores() || uid.is_none() && may_group;
        if !may {
            return Err(Error::Impossible);
        }
        let outcome = Err(Error::Impossible);
        self.attributes
            .keep_unstored(ino, outcome, What::Owners, |kept| {
                if let Some(uid) = uid {
                    kept.uid = (uid != server.0).then_some(uid);
                }
                if let Some(gid) = gid {
                    kept.gid = (gid != server.1).then_some(gid);
                }
            })
    }

    /// Keeps the time of the last access, which no server stores. Where nothing is kept, it is that of the last change.
    fn change_accessed(&self, ino: u64, changes: &Changes) -> Result<()> {
        let Some(accessed) = changes.accessed else {
            return Ok(());
        };
        if let Some(node) = self.table.lock().get_mut(ino) {
            node.accessed = None;
        }
        if !self.attributes.keeps() {
            return Ok(());
        }
        let is_same = changes.modified == changes.accessed;
        self.attributes.keep(ino, |kept| {
            kept.accessed = (!is_same).then(|| accessed.moment());
        })
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
            disk.forget(&path);
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
        if let Some(file) = &opened {
            // The last close of the file may be setting the mode that it was made with, and would do so after this.
            drop(self.files.lock_settled(file, deadline)?);
        }
        let written = opened
            .as_ref()
            .is_some_and(|file| self.files.is_written(file));
        // What is known to fail is settled here, not where the file is closed.
        let may_ride = self.remote.traits().sets_modes;
        let rides = opened.as_ref().is_some_and(|file| {
            let mut body = file.body.lock();
            let rides = body.is_dirty() || (written && mode & OWNER_WRITES == 0);
            let rides = rides && may_ride || body.name.removed;
            if rides {
                body.attributes.mode = Some((mode, true));
                self.files.journal_rights(&body);
            }
            rides
        });
        if rides {
            self.attributes.stored_mode(ino, mode)
        } else {
            let is_wished = opened
                .as_ref()
                .is_some_and(|file| file.body.lock().attributes.mode.is_some());
            if is_wished {
                self.attributes.doubt_mode(ino);
            }
            self.attributes.set_mode(ino, mode, deadline)?;
            if let Some(file) = opened {
                // The mode that it was made with is no longer wanted.
                let mut body = file.body.lock();
                body.attributes.mode = None;
                self.files.journal_rights(&body);
            }
            Ok(())
        }
    }

    /// Sets the time of the last modification: whole seconds on the server, where it can, and the rest here.
    fn change_modified(&self, ino: u64, time: NewTime, deadline: &Deadline) -> Result<()> {
        let at = time.moment();
        // Servers read times before 1970 as others, or store 0; and they would set the time of what a link leads to.
        let outcome = match at.seconds < 0 || self.is_server_link(ino) {
            true => Err(Error::Impossible),
            false => self.store_modified(ino, at.seconds, deadline),
        };
        let is_stored = outcome.is_ok();
        self.attributes
            .keep_unstored(ino, outcome, What::Times, |kept| {
                kept.modified = Some(KeptTime::Set(at));
            })?;
        if is_stored && self.attributes.keeps() {
            let has_rest = at.nanos != 0 && time != NewTime::Now;
            self.attributes.keep(ino, |kept| {
                kept.modified = has_rest.then_some(KeptTime::Set(at))
            })?;
        }
        Ok(())
    }

    /// Whether it is a symbolic link of the server's, rather than one in a regular file.
    pub(crate) fn is_server_link(&self, ino: u64) -> bool {
        let tree = self.table.lock();
        let Some(attributes) = tree.get(ino).map(|node| &node.attributes) else {
            return false;
        };
        let is_file = self.settings.links.files && attributes.size == Some(LINK_FILE_SIZE);
        attributes.kind == Kind::Symlink && !is_file
    }

    fn store_modified(&self, ino: u64, seconds: i64, deadline: &Deadline) -> Result<()> {
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
