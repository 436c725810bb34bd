//! unlink. A file that is open stays readable until its last close.

use crate::remote::{Deadline, Kind, Step, Why};
use crate::vfs::Vfs;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_rename_unlink::{Claim, Orphan};
use crate::vfs::inode::check_name;

impl Vfs {
    /// Removes a file or a link. One that is open stays readable.
    pub fn unlink(&self, parent: u64, name: &[u8], deadline: &Deadline) -> Result<()> {
        self.writable()?;
        check_name(name)?;
        let ino = self.metadata.find(parent, name, deadline)?;
        if self.table.kind(ino) == Some(Kind::Directory) {
            return Err(Error::IsDirectory);
        }
        // No upload may bring the name back once it is removed, of whatever mount.
        let claim = self.files.claim(ino, deadline)?;
        let is_gone = |claim: &Claim| claim.file.body.lock().name.removed;
        if claim.as_ref().is_some_and(is_gone) {
            return Err(Error::NotFound);
        }
        let path = self.table.path(ino)?;
        let orphan = claim
            .as_ref()
            .map(|claim| self.files.orphan(&claim.file, deadline))
            .transpose()?;
        if matches!(orphan, Some(Orphan::NeverStored | Orphan::Aside)) {
            self.table.lock().remove_own(ino);
            self.files.discard_unlinked(ino);
            self.writeback.forget_refusal(&path);
            return Ok(());
        }
        let was_stored = claim
            .as_ref()
            .is_none_or(|claim| claim.file.body.lock().content.base.is_some());
        match self.remote.step(Step::Remove(&path), deadline) {
            Ok(_) => {}
            Err(error)
                if !was_stored && matches!(error.why(), Some(Why::NotFound | Why::Unsaid)) => {}
            Err(error) if error.why() == Some(Why::NotFound) => {
                self.table.lock().remove_own(ino);
                self.files.discard_unlinked(ino);
                return Err(Error::NotFound);
            }
            Err(error) if error.why() == Some(Why::Unsaid) => {
                if self.metadata.ask_again(parent, name, deadline)?.is_none() {
                    return Err(Error::NotFound);
                }
                return Err(error.into());
            }
            Err(error) => {
                self.doubt_outcome(&error, &[parent]);
                return Err(error.into());
            }
        }
        self.table.lock().remove_own(ino);
        self.files.discard_unlinked(ino);
        self.writeback.forget_refusal(&path);
        Ok(())
    }
}
