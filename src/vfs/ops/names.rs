//! Names: making, removing and renaming them.
//!
//! The one idea: the server is asked first, the tree is changed when it has said yes. What the server
//! refuses without a reason is looked at once more, so that the caller gets the true one.

use crate::remote;
use crate::remote::{Attributes, Deadline, Kind, Step, Why};
use crate::vfs::core::{Vfs, check_name};
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_rename_unlink::Orphan;
use crate::vfs::inode::attr_view::Attr;
use crate::vfs::inode::now;
use crate::vfs::writeback::order::Reach;

impl Vfs {
    /// Makes a directory.
    pub fn mkdir(&self, parent: u64, name: &[u8], mode: u32, deadline: &Deadline) -> Result<Attr> {
        self.writable()?;
        check_name(name)?;
        let path = self.path(parent)?.join(name).ok_or(Error::Invalid)?;
        let ask = remote::Ask {
            urgency: remote::Urgency::Caller,
            deadline,
        };
        let mode = mode & 0o7777;
        let steps = [Step::MakeDirectory(&path), Step::SetMode(&path, mode)];
        let mut results = self.remote.perform(&steps, &ask).into_iter();
        let made = results
            .next()
            .unwrap_or_else(|| Err(remote::Error::misbehaved("MKD", "no answer")));
        if let Err(error) = made {
            if error.why() == Some(Why::Unsaid) && self.ask_again(parent, name, deadline)?.is_some()
            {
                return Err(Error::Exists);
            }
            self.doubt_outcome(&error, &[parent]);
            return Err(error.into());
        }
        let has_mode = matches!(results.next(), Some(Ok(_)));
        let attributes = Attributes {
            mode: has_mode.then_some(mode),
            modified: Some(now()),
            ..Attributes::of(Kind::Directory)
        };
        let ino = {
            let mut tree = self.tree.lock();
            if let Some(old) = tree.child(parent, name) {
                tree.remove_own(old);
            }
            tree.add_own_directory(parent, name, attributes)
        };
        self.remembered(ino)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, parent: u64, name: &[u8], deadline: &Deadline) -> Result<()> {
        self.writable()?;
        check_name(name)?;
        let ino = self.find(parent, name, deadline)?;
        if self.has_local_children(ino) {
            return Err(Error::NotEmpty);
        }
        let path = self.path(ino)?;
        self.after_others(&path, Reach::Below, deadline)?;
        match self.step(Step::RemoveDirectory(&path), deadline) {
            Ok(_) => {
                self.tree.lock().remove_own(ino);
                Ok(())
            }
            Err(error) if matches!(error.why(), Some(Why::Unsaid | Why::Denied)) => {
                self.list(ino, deadline)?;
                if self.tree.lock().has_children(ino) {
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

    /// Removes a file or a link. One that is open stays readable.
    pub fn unlink(&self, parent: u64, name: &[u8], deadline: &Deadline) -> Result<()> {
        self.writable()?;
        check_name(name)?;
        self.makers.doubt(parent);
        let ino = self.find(parent, name, deadline)?;
        if self.kind(ino) == Some(Kind::Directory) {
            return Err(Error::IsDirectory);
        }
        // No upload may bring the name back once it is removed, of whatever mount.
        self.after_others(&self.path(ino)?, Reach::Itself, deadline)?;
        let claim = self.claim(ino, deadline)?;
        let orphan = claim
            .as_ref()
            .map(|claim| self.orphan(&claim.file, deadline))
            .transpose()?;
        if matches!(orphan, Some(Orphan::NeverStored | Orphan::Aside)) {
            self.tree.lock().remove_own(ino);
            self.forsake(ino);
            return Ok(());
        }
        let path = self.path(ino)?;
        let was_stored = claim
            .as_ref()
            .is_none_or(|claim| claim.file.body.lock().base.is_some());
        match self.step(Step::Remove(&path), deadline) {
            Ok(_) => {}
            Err(error)
                if !was_stored && matches!(error.why(), Some(Why::NotFound | Why::Unsaid)) => {}
            Err(error) if error.why() == Some(Why::NotFound) => {
                self.tree.lock().remove_own(ino);
                self.forsake(ino);
                return Err(Error::NotFound);
            }
            Err(error) if error.why() == Some(Why::Unsaid) => {
                if self.ask_again(parent, name, deadline)?.is_none() {
                    return Err(Error::NotFound);
                }
                return Err(error.into());
            }
            Err(error) => {
                self.doubt_outcome(&error, &[parent]);
                return Err(error.into());
            }
        }
        self.tree.lock().remove_own(ino);
        self.forsake(ino);
        Ok(())
    }

    /// Renames as rename(2) does; with `keep` a name that is taken is not replaced.
    pub fn rename(
        &self,
        (parent, name): (u64, &[u8]),
        (new_parent, new_name): (u64, &[u8]),
        keep: bool,
        deadline: &Deadline,
    ) -> Result<()> {
        self.writable()?;
        check_name(name)?;
        check_name(new_name)?;
        self.makers.doubt(parent);
        self.makers.doubt(new_parent);
        let ino = self.find(parent, name, deadline)?;
        let target = if keep {
            self.ask_again(new_parent, new_name, deadline)?
        } else {
            match self.find(new_parent, new_name, deadline) {
                Ok(target) => Some(target),
                Err(Error::NotFound) => None,
                Err(error) => return Err(error),
            }
        };
        if keep && target.is_some() {
            return Err(Error::Exists);
        }
        if target == Some(ino) {
            return Ok(());
        }
        if self.tree.lock().is_within(new_parent, ino) {
            return Err(Error::Invalid);
        }
        if let Some(target) = target {
            self.check_replacing(ino, target)?;
        }
        let from = self.path(ino)?;
        let to = self
            .path(new_parent)?
            .join(new_name)
            .ok_or(Error::Invalid)?;
        self.after_others(&from, Reach::Below, deadline)?;
        self.after_others(&to, Reach::Below, deadline)?;
        // What is being written under the old name is brought to the server first.
        let claims = self.settle_below(ino, deadline)?;
        let from = self.path(ino)?;
        let claim = match target {
            Some(target) => self.claim(target, deadline)?,
            None => None,
        };
        let orphan = claim
            .as_ref()
            .map(|claim| self.orphan(&claim.file, deadline))
            .transpose()?;
        let renamed = self.step(
            Step::Rename {
                from: &from,
                to: &to,
            },
            deadline,
        );
        if let (Err(_), Some(Orphan::Aside), Some(target)) = (&renamed, orphan, target) {
            // In time of its own: the renaming may have taken all of it.
            self.bring_back(target, new_parent, &to, &self.deadline());
        }
        match renamed {
            Ok(_) => {}
            Err(error) if error.why() == Some(Why::Unsupported) => {
                log::info!("{error}; who wants it renamed has to copy it");
                return Err(Error::NeverRenames);
            }
            Err(error) if error.why() == Some(Why::Unsaid) => {
                return Err(match self.ask_again(parent, name, deadline)? {
                    None => Error::NotFound,
                    Some(_)
                        if target
                            .is_some_and(|target| self.kind(target) == Some(Kind::Directory)) =>
                    {
                        Error::NotEmpty
                    }
                    Some(_) => error.into(),
                });
            }
            Err(error) => {
                self.doubt_outcome(&error, &[parent, new_parent]);
                return Err(self.or_gone(parent, name, error));
            }
        }
        self.forget_kept_at(ino, &to);
        let mut tree = self.tree.lock();
        if let Some(target) = target {
            tree.remove_own(target);
        }
        tree.rename_own(ino, new_parent, new_name);
        drop(tree);
        self.rename_journaled(claims);
        if let Some(target) = target {
            self.forsake(target);
        }
        self.journal_settle();
        Ok(())
    }

    /// Makes a symbolic link, where the server can.
    pub fn symlink(
        &self,
        parent: u64,
        name: &[u8],
        target: &[u8],
        deadline: &Deadline,
    ) -> Result<Attr> {
        self.writable()?;
        check_name(name)?;
        let path = self.path(parent)?.join(name).ok_or(Error::Invalid)?;
        match self.step(
            Step::MakeLink {
                link: &path,
                target,
            },
            deadline,
        ) {
            Ok(_) => {}
            Err(error) if error.why() == Some(Why::Unsupported) => return Err(Error::Impossible),
            Err(error) => return Err(error.into()),
        }
        let attributes = Attributes {
            target: Some(target.into()),
            modified: Some(now()),
            ..Attributes::of(Kind::Symlink)
        };
        let ino = {
            let mut tree = self.tree.lock();
            if let Some(old) = tree.child(parent, name) {
                tree.remove_own(old);
            }
            tree.add_own(parent, name, attributes)
        };
        self.remembered(ino)
    }

    fn has_local_children(&self, ino: u64) -> bool {
        let tree = self.tree.lock();
        let children = tree.children(ino);
        children
            .iter()
            .any(|(_, child)| tree.get(*child).is_some_and(|node| node.local))
    }

    fn check_replacing(&self, ino: u64, target: u64) -> Result<()> {
        match (self.kind(ino), self.kind(target)) {
            (Some(Kind::Directory), Some(Kind::Directory)) if self.has_local_children(target) => {
                Err(Error::NotEmpty)
            }
            (Some(Kind::Directory), Some(Kind::Directory)) => Ok(()),
            (Some(Kind::Directory), _) => Err(Error::NotDirectory),
            (_, Some(Kind::Directory)) => Err(Error::IsDirectory),
            _ => Ok(()),
        }
    }

    /// What was asked for in these directories may have happened, though nobody heard of it: what is known of their
    /// names is asked for again.
    fn doubt_outcome(&self, error: &remote::Error, directories: &[u64]) {
        if !matches!(
            error,
            remote::Error::TimedOut { .. } | remote::Error::Lost { .. }
        ) {
            return;
        }
        let mut tree = self.tree.lock();
        for &directory in directories {
            for (_, ino) in tree.children(directory) {
                if let Some(node) = tree.get_mut(ino) {
                    node.fetched = None;
                }
            }
            tree.doubt_listing(directory);
        }
    }

    /// A name that the server does not have is forgotten here too.
    fn or_gone(&self, parent: u64, name: &[u8], error: remote::Error) -> Error {
        if error.why() == Some(Why::NotFound) {
            let mut tree = self.tree.lock();
            let asked = tree.now();
            tree.merge_absence(parent, name, asked);
        }
        error.into()
    }
}
