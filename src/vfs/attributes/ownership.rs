//! Who makes a file, directory or link, and whose it is shown as.
//!
//! Where several users work in one mount (`allow_other` without `uid=` and `gid=`), what a user makes is that user's, and
//! the group's that the user or a set-group-ID directory says. What root makes belongs to the mount's owner, as on the
//! server. FTP has no owners: they are kept by the mount.

use crate::vfs::attributes::AttributeOverlay;
use crate::vfs::inode::kept::{KeptMode, SET_ID_BITS};

/// Set-group-ID: what is made in such a directory gets its group, and directories the bit.
pub(crate) const SET_GID: u32 = 0o2000;

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The user.
    pub uid: u32,
    /// The group of the process.
    pub gid: u32,
}

/// The maker of a new name.
#[derive(Clone, Copy, Debug)]
pub struct Creator {
    /// Permission bits of what is made, `0o7777` at most.
    pub mode: u32,
    /// Who makes it; `None`: the mount's owner.
    pub caller: Option<Caller>,
}

impl Creator {
    /// The mount's owner makes something with these permission bits.
    pub fn owner(mode: u32) -> Self {
        Self { mode, caller: None }
    }
}

impl AttributeOverlay {
    /// The group that a set-group-ID directory gives to what is made in it.
    pub(crate) fn inherited_group(&self, directory: u64) -> Option<u32> {
        let tree = self.table.lock();
        let node = tree.get(directory)?;
        let shown = self.table.shown();
        (shown.mode(node) & SET_GID != 0).then(|| shown.owner(node).1)
    }

    /// Keeps what no server shows of something that was just made in `directory`: another owner than that of files
    /// without an entry, and set-ID bits.
    pub(crate) fn keep_new(&self, ino: u64, directory: u64, creator: Creator) {
        let shown = self.table.shown();
        let caller = creator
            .caller
            .filter(|caller| shown.makers_own && caller.uid != 0);
        let uid = caller
            .map(|caller| caller.uid)
            .filter(|&uid| uid != shown.uid);
        let gid = self
            .inherited_group(directory)
            .or(caller.map(|caller| caller.gid))
            .filter(|&gid| gid != shown.gid);
        let mode = (creator.mode & SET_ID_BITS != 0).then_some(KeptMode::Accepted(creator.mode));
        if !self.keeps() || uid.is_none() && gid.is_none() && mode.is_none() {
            return;
        }
        // It was made, whether or not this can be kept.
        let _ = self.keep(ino, |kept| {
            kept.uid = uid.or(kept.uid);
            kept.gid = gid.or(kept.gid);
            kept.mode = kept.mode.or(mode);
        });
    }
}
