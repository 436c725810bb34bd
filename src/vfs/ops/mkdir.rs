//! mkdir and rmdir. The server is asked first; the inode table is changed once it has agreed.

use crate::remote;
use crate::remote::{Attributes, Deadline, Kind, Step, Why};
use crate::vfs::Vfs;
use crate::vfs::attributes::ownership::{Creator, SET_GID};
use crate::vfs::attributes::{SPECIAL_BITS, What};
use crate::vfs::error::{Error, Result};
use crate::vfs::inode::attr_view::Attr;
use crate::vfs::inode::check_name;
use crate::vfs::inode::kept::{Kept, KeptMode};

impl Vfs {
    /// Makes a directory.
    pub fn mkdir(
        &self,
        parent: u64,
        name: &[u8],
        creator: Creator,
        deadline: &Deadline,
    ) -> Result<Attr> {
        self.writable()?;
        check_name(name)?;
        let path = self.table.path_of(parent, name)?;
        let ask = remote::Ask::caller(deadline);
        let set_gid = self
            .attributes
            .inherited_group(parent)
            .map_or(0, |_| SET_GID);
        let mode = creator.mode & 0o7777 | set_gid;
        let steps = [Step::MakeDirectory(&path), Step::SetMode(&path, mode)];
        let mut results = self.remote.perform(&steps, &ask).into_iter();
        let made = results
            .next()
            .unwrap_or_else(|| Err(remote::Error::misbehaved("MKD", "no answer")));
        if let Err(error) = made {
            let may_exist = match error.why() {
                Some(Why::Unsaid) => true,
                // It is there, and perhaps no listing has it.
                Some(Why::Exists) => self.metadata.may_hide_directories(),
                _ => false,
            };
            if may_exist
                && (self.metadata.ask_again(parent, name, deadline)?.is_some()
                    || self.metadata.enters_absent(&path, deadline)?)
            {
                return Err(Error::Exists);
            }
            self.doubt_outcome(&error, &[parent]);
            return Err(error.into());
        }
        let mode_set = match results.next() {
            Some(Err(error)) => Err(Error::NotPermitted(error)),
            Some(Ok(_)) => Ok(()),
            None => Err(Error::Impossible),
        };
        let has_mode = mode_set.is_ok();
        let attributes = Attributes {
            mode: has_mode.then_some(mode),
            modified: Some(self.table.lock().own_change()),
            ..Attributes::of(Kind::Directory)
        };
        let ino = {
            let mut tree = self.table.lock();
            if let Some(old) = tree.child(parent, name) {
                tree.remove_own(old);
            }
            tree.add_own_directory(parent, name, attributes)
        };
        let keep = |kept: &mut Kept| kept.mode = Some(KeptMode::Refused(mode));
        // It is there, whatever becomes of its bits.
        let _ = match mode_set.is_err() && mode & SPECIAL_BITS != 0 {
            // The others may be taken, and protect what is on the server.
            true => self.attributes.set_mode(ino, mode, deadline),
            false => self
                .attributes
                .keep_unstored(ino, mode_set, What::Modes, keep),
        };
        let creator = Creator { mode, ..creator };
        self.attributes.keep_new(ino, parent, creator);
        self.table.count_lookup(ino)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, parent: u64, name: &[u8], deadline: &Deadline) -> Result<()> {
        self.writable()?;
        check_name(name)?;
        let ino = self.metadata.find(parent, name, deadline)?;
        self.check_empty(ino, deadline)?;
        let path = self.table.path(ino)?;
        match self.remote.step(Step::RemoveDirectory(&path), deadline) {
            Ok(_) => {
                self.table.lock().remove_own(ino);
                Ok(())
            }
            Err(error) if matches!(error.why(), Some(Why::Unsaid | Why::Denied)) => {
                self.metadata.list(ino, deadline)?;
                if self.table.lock().has_children(ino) {
                    return Err(Error::NotEmpty);
                }
                Err(error.into())
            }
            Err(error) => {
                self.doubt_outcome(&error, &[parent]);
                Err(self.or_gone(parent, name, error))
            }
        }
    }

    /// Refuses a directory that is not empty: some servers would remove it with all that is in it. Where it may not be
    /// listed, the server decides.
    pub(crate) fn check_empty(&self, ino: u64, deadline: &Deadline) -> Result<()> {
        if self.has_local_children(ino) {
            return Err(Error::NotEmpty);
        }
        let age = self.metadata.served_age();
        let is_known_empty = {
            let tree = self.table.lock();
            tree.listing(ino, age).is_some() && !tree.has_children(ino)
        };
        if is_known_empty {
            return Ok(());
        }
        match self.metadata.list(ino, deadline) {
            Ok(_) if self.table.lock().has_children(ino) => Err(Error::NotEmpty),
            Ok(_) | Err(Error::Remote(remote::Error::Refused { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether a directory has files of which the server has not heard yet.
    pub(crate) fn has_local_children(&self, ino: u64) -> bool {
        let tree = self.table.lock();
        let children = tree.children(ino);
        children
            .iter()
            .any(|child| tree.get(*child).is_some_and(|node| node.local))
    }

    /// A change in these directories may have happened without a reply: what is known of their names is asked for
    /// again.
    pub(crate) fn doubt_outcome(&self, error: &remote::Error, directories: &[u64]) {
        if !matches!(
            error,
            remote::Error::TimedOut { .. } | remote::Error::Lost { .. }
        ) {
            return;
        }
        let mut tree = self.table.lock();
        for &directory in directories {
            for ino in tree.children(directory) {
                if let Some(node) = tree.get_mut(ino) {
                    node.fetched = None;
                }
            }
            tree.doubt_listing(directory);
        }
    }

    /// A name that the server does not have is forgotten here too.
    pub(crate) fn or_gone(&self, parent: u64, name: &[u8], error: remote::Error) -> Error {
        if error.why() == Some(Why::NotFound) {
            let mut tree = self.table.lock();
            let asked = tree.now();
            tree.merge_absence(parent, name, asked);
        }
        error.into()
    }
}
