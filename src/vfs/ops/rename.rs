//! rename, with RENAME_NOREPLACE.
//!
//! Where the server can't rename, a file is copied and removed, and a directory is EXDEV.
//!
//! What was written under the old name is stored first; open files are claimed, so that no upload of them runs while the
//! name changes.

use crate::remote::{self, Deadline, Kind, RemotePath, Step, Why};
use crate::vfs::Vfs;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::File;
use crate::vfs::file::open_rename_unlink::{Claim, Orphan};
use crate::vfs::inode::check_name;
use std::sync::Arc;

impl Vfs {
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
        let ino = self.metadata.find(parent, name, deadline)?;
        let target = self.find_target(new_parent, new_name, keep, deadline)?;
        if target == Some(ino) {
            return Ok(());
        }
        if self.table.lock().is_within(new_parent, ino) {
            return Err(Error::Invalid);
        }
        if let Some(target) = target {
            self.check_replacing(ino, target, deadline)?;
        }
        let to = self
            .table
            .path(new_parent)?
            .join(new_name)
            .ok_or(Error::Invalid)?;
        // What is being written under the old name is brought to the server first.
        let (claims, replaced) = self.claim_for_rename(ino, target, deadline)?;
        let from = self.table.path(ino)?;
        let orphan = replaced
            .as_ref()
            .map(|claim| self.files.orphan(&claim.file, deadline))
            .transpose()?;
        let step = Step::Rename {
            from: &from,
            to: &to,
        };
        let renamed = match self.remote.step(step, deadline) {
            Err(error) if error.why() == Some(Why::Unsupported) && self.is_one_file(ino) => {
                log::info!("rename: {error}");
                self.move_by_copy((ino, parent, &from), (target, new_parent, &to), deadline)
            }
            Err(error) => {
                Err(self.explain_rename(error, (parent, name), new_parent, target, deadline))
            }
            Ok(_) => Ok(()),
        };
        if let Err(error) = renamed {
            if let (Some(Orphan::Aside), Some(target)) = (orphan, target) {
                // With a deadline of its own: the rename may have used all of the first.
                self.files
                    .restore_name(target, new_parent, &to, &self.deadline());
            }
            return Err(error);
        }
        self.forget_kept_at(ino, &to);
        let mut tree = self.table.lock();
        if let Some(target) = target {
            tree.remove_own(target);
        }
        tree.rename_own(ino, new_parent, new_name);
        drop(tree);
        self.attributes.note_change(ino);
        self.rename_journaled(claims);
        if let Some(target) = target {
            self.files.discard_unlinked(target);
        }
        self.writeback.forget_refusal(&to);
        self.files.journal.sync_ended();
        Ok(())
    }

    /// Moves a file, where the server can't rename, over `target`. Each is given by its number, its directory and its path.
    fn move_by_copy(
        &self,
        (ino, parent, from): (u64, u64, &RemotePath),
        (target, new_parent, to): (Option<u64>, u64, &RemotePath),
        deadline: &Deadline,
    ) -> Result<()> {
        if target.is_some_and(|target| self.is_server_link(target)) {
            // A copy would go into the file that the link leads to.
            self.remote.step(Step::Remove(to), deadline)?;
        }
        let moved = self.uploader.move_by_copy(ino, (from, to), deadline);
        if moved.is_err() {
            // What there is under either name now is unknown.
            if let Some(disk) = &self.readers.disk {
                disk.forget(to);
            }
            if let Some(open) = target.and_then(|target| self.files.opened_file(target)) {
                // All of it is here, and is stored again.
                open.body.lock().lost_base(0);
            }
            let mut tree = self.table.lock();
            if let Some(target) = target {
                tree.start_generation(target);
            }
            tree.doubt_listing(parent);
            tree.doubt_listing(new_parent);
        }
        moved
    }

    /// Whether it is one file on the server: a regular one, or a link in one.
    fn is_one_file(&self, ino: u64) -> bool {
        match self.table.kind(ino) {
            Some(Kind::File) => true,
            Some(Kind::Symlink) => !self.is_server_link(ino),
            _ => false,
        }
    }

    /// The inode that a rename would replace; with `keep` there must be none.
    fn find_target(
        &self,
        parent: u64,
        name: &[u8],
        keep: bool,
        deadline: &Deadline,
    ) -> Result<Option<u64>> {
        if keep {
            return match self.metadata.ask_again(parent, name, deadline)? {
                Some(_) => Err(Error::Exists),
                None => Ok(None),
            };
        }
        match self.metadata.find(parent, name, deadline) {
            Ok(target) => Ok(Some(target)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Why the server did not rename, as rename(2) reports it.
    fn explain_rename(
        &self,
        error: remote::Error,
        (parent, name): (u64, &[u8]),
        new_parent: u64,
        target: Option<u64>,
        deadline: &Deadline,
    ) -> Error {
        match error.why() {
            Some(Why::Unsupported) => {
                log::info!("rename: {error}; mv has to copy the file");
                Error::NeverRenames
            }
            Some(Why::Unsaid) => match self.metadata.ask_again(parent, name, deadline) {
                Err(error) => error,
                Ok(None) => Error::NotFound,
                Ok(Some(_)) => {
                    let kind = target.and_then(|target| self.table.kind(target));
                    match kind {
                        Some(Kind::Directory) => Error::NotEmpty,
                        _ => error.into(),
                    }
                }
            },
            _ => {
                self.doubt_outcome(&error, &[parent, new_parent]);
                self.or_gone(parent, name, error)
            }
        }
    }

    fn check_replacing(&self, ino: u64, target: u64, deadline: &Deadline) -> Result<()> {
        match (self.table.kind(ino), self.table.kind(target)) {
            (Some(Kind::Directory), Some(Kind::Directory)) => self.check_empty(target, deadline),
            (Some(Kind::Directory), _) => Err(Error::NotDirectory),
            (_, Some(Kind::Directory)) => Err(Error::IsDirectory),
            _ => Ok(()),
        }
    }

    /// Brings what was written at or below `ino` to the server, ends the reading of it, and claims it until the name
    /// has changed: what is written from now on goes to the new one. Claims the file that is to be replaced, too, which
    /// stands apart in what is returned.
    fn claim_for_rename(
        &self,
        ino: u64,
        replaced: Option<u64>,
        deadline: &Deadline,
    ) -> Result<(Vec<Claim>, Option<Claim>)> {
        let mut files: Vec<Arc<File>> = self.files.opened_files();
        // Always in the same order, so that two renames never wait for each other.
        files.sort_unstable_by_key(|file| file.ino);
        let mut claims = Vec::new();
        let mut replaced_claim = None;
        for file in files {
            if Some(file.ino) == replaced {
                replaced_claim = self.files.claim(file.ino, deadline)?;
                continue;
            }
            if !self.table.lock().is_within(file.ino, ino) {
                continue;
            }
            let mut claim = loop {
                match self.writeback.is_queued(file.ino) {
                    // Its close has returned: what other clients stored since is not overwritten.
                    true => self.uploader.upload_queued(&file, deadline)?,
                    false => self.uploader.upload(&file, deadline)?,
                }
                let mut body = self.files.lock_idle(&file, deadline)?;
                // A writer that continues meanwhile need not be waited for: the rest goes to the new name. But a
                // temporary file under the old name must not be left there.
                if body.name.temp.is_none() {
                    break Claim::of(&file, &mut body, deadline);
                }
            };
            claim.hold_reads(deadline);
            claims.push(claim);
        }
        Ok((claims, replaced_claim))
    }

    /// What was written to claimed files meanwhile, and closed, lies in the journal under the old name.
    pub(crate) fn rename_journaled(&self, claims: Vec<Claim>) {
        let written = |claim: &Claim| {
            let body = claim.file.body.lock();
            let is_journaled = body.journal.id.is_some() || body.journal.is_committing();
            (body.is_dirty() && is_journaled).then(|| Arc::clone(&claim.file))
        };
        let files: Vec<_> = claims.iter().filter_map(written).collect();
        drop(claims);
        for file in files {
            self.writeback.defer(&file);
        }
    }
}
