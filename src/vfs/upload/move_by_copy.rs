//! Moves a file where the server can't rename (no RNFR, like uftpd): it is copied to the new name, then removed.
//!
//! Programs that write a new file and rename it over the old one (git, `sed -i`, rsync) depend on rename(2). The copy goes
//! through the spool, since the server may serve one connection at a time.
//!
//! # Invariants
//! The old name is removed after the server has confirmed the whole content under the new one. A copy that breaks off may
//! leave a part of it under the new name: the old name still has all of it then. Both names may be one file on the server,
//! by their case or by a link: where the new name went with the old one, it is stored again from the spool.

use std::sync::Arc;

use crate::remote::{
    self, Ask, Change, Deadline, Done, Kind, Precision, Reading, RemotePath, Step, Then, Updated,
    Version, Why,
};
use crate::vfs::attributes::What;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::File;
use crate::vfs::inode::kept::{KeptMode, KeptTime, Timestamp};
use crate::vfs::spool::SpoolFile;
use crate::vfs::upload::Uploader;

/// Bytes read at once.
const COPY_CHUNK: usize = 256 * 1024;

impl Uploader {
    /// Moves a regular file from one path to another, with its mode and time. A file that is open must be claimed.
    pub(crate) fn move_by_copy(
        &self,
        ino: u64,
        (from, to): (&RemotePath, &RemotePath),
        deadline: &Deadline,
    ) -> Result<()> {
        let ask = Ask::flush(deadline);
        if differ_in_case(from, to) {
            // Storing under the new name would change the old one.
            return Err(Error::Unsupported);
        }
        let (spool, base) = self.fetch_to_spool(from, &ask)?;
        let size = base.size.unwrap_or_default();
        let then = self.attributes_to_copy(ino);
        let change = Change {
            dirty: std::iter::once(0..size).filter(|_| size > 0).collect(),
            size,
            emptied: true,
            at_hand: true,
            then,
            ..Change::default()
        };
        let plan = self.remote.plan(&change);
        let mut updated = self.remote.update(to, &change, &plan, &spool, &ask)?;
        if updated.version.size.is_some_and(|stored| stored != size) {
            return Err(remote::Error::misbehaved("STOR", "another size than was sent").into());
        }
        if !self.version_at(from, deadline)?.may_be(&base) {
            let tried = format!("renaming {from}");
            let cause = "another client changed it while it was copied";
            return Err(remote::Error::conflict(tried, cause).into());
        }
        self.remote.step(Step::Remove(from), deadline)?;
        if self.is_gone(to, deadline) {
            log::warn!("rename: {to} went with {from}: it is stored again");
            let again = self.remote.update(to, &change, &plan, &spool, &ask);
            updated = again.inspect_err(|error| self.keep_copy(to, &change, &spool, error))?;
        }
        updated.version = Self::version_made(&change, &updated);
        log::info!("rename: {from}: copied to {to} and removed, since the server can't rename");
        self.keep_copied(ino, then, &updated);
        if let Some(file) = self.files.opened_file(ino) {
            self.take_copy_as_base(&file, &updated);
        }
        Ok(())
    }

    /// The server has the file under neither name: it is kept in lost+found.
    fn keep_copy(&self, to: &RemotePath, change: &Change, spool: &SpoolFile, why: &remote::Error) {
        let reason = format!("{to}: it could not be stored again after a rename: {why}");
        match self.keep(to, spool, (change.size, &change.dirty), &reason) {
            Ok(Some(kept)) => log::error!("rename: {reason}; it is kept as {}", kept.display()),
            Ok(None) => log::error!("rename: {reason}; it is empty"),
            Err(error) => log::error!("rename: {reason}; it could not be kept: {error}"),
        }
    }

    fn version_at(&self, path: &RemotePath, deadline: &Deadline) -> Result<Version> {
        match self.remote.step(Step::Version(path), deadline)? {
            Done::Version(version) => Ok(version),
            _ => Ok(Version::default()),
        }
    }

    /// Whether the server says that there is no such file.
    fn is_gone(&self, path: &RemotePath, deadline: &Deadline) -> bool {
        let asked = self.remote.step(Step::Version(path), deadline);
        asked.is_err_and(|error| error.why() == Some(Why::NotFound))
    }

    /// All of a file, and its version, with the size of what came.
    fn fetch_to_spool(&self, from: &RemotePath, ask: &Ask<'_>) -> Result<(SpoolFile, Version)> {
        let local = |error: std::io::Error| remote::Error::local("writing the spool", &error);
        let spool = self.files.spool.create().map_err(local)?;
        let there = self.version_at(from, ask.deadline)?;
        let mut source = self.remote.read(from, &Reading::at(0), ask)?;
        let mut buffer = vec![0; COPY_CHUNK];
        let mut size = 0;
        loop {
            let read = source.read(&mut buffer, ask.deadline)?;
            if read == 0 && there.size.is_some_and(|there| there != size) {
                return Err(
                    remote::Error::misbehaved("RETR", "another size than SIZE says").into(),
                );
            }
            if read == 0 {
                let base = Version {
                    size: Some(size),
                    ..there
                };
                return Ok((spool, base));
            }
            if size + read as u64 > self.settings.limits.spool_size {
                return Err(Error::NeverRenames);
            }
            spool.write_at(&buffer[..read], size).map_err(local)?;
            size += read as u64;
        }
    }

    /// The mode and time that the server has of a file, as far as they are known and can be set.
    fn attributes_to_copy(&self, ino: u64) -> Then {
        let tree = self.table.lock();
        let Some(attributes) = tree.get(ino).map(|node| &node.attributes) else {
            return Then::default();
        };
        // The permission bits of a link in a file are not those of the file.
        let has_mode = attributes.kind == Kind::File;
        let modified = attributes.modified;
        Then {
            mode: attributes.mode.filter(|_| has_mode),
            modified: modified
                .filter(|modified| modified.precision == Precision::Second)
                .map(|modified| modified.seconds),
        }
    }

    /// Keeps what the copy does not have on the server.
    fn keep_copied(&self, ino: u64, then: Then, updated: &Updated) {
        {
            let mut tree = self.table.lock();
            tree.touch(ino);
            if let Some(node) = tree.get_mut(ino).filter(|node| !node.local) {
                node.refresh_own_version(updated.version);
                node.kernel.pages = Some(Box::new(updated.version));
            }
            tree.saw_own_version(ino, updated.version);
        }
        let settled = |outcome: &Option<remote::Result<()>>| match outcome {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Error::NotPermitted(error.clone())),
            None => Err(Error::Impossible),
        };
        // The file has its new name, whatever can be kept of these.
        if let Some(mode) = then.mode {
            let _ =
                self.attributes
                    .keep_unstored(ino, settled(&updated.mode), What::Modes, |kept| {
                        kept.mode = kept.mode.or(Some(KeptMode::Refused(mode)));
                    });
        }
        if let Some(seconds) = then.modified {
            let time = KeptTime::Set(Timestamp::of_seconds(seconds));
            let _ = self.attributes.keep_unstored(
                ino,
                settled(&updated.modified),
                What::Times,
                |kept| {
                    kept.modified = kept.modified.or(Some(time));
                },
            );
        }
    }

    /// An open file is based on the copy from now on.
    fn take_copy_as_base(&self, file: &Arc<File>, updated: &Updated) {
        let mut body = file.body.lock();
        body.content.base = Some(updated.version);
        self.publish_upload(file, &mut body, &Ok(updated.version));
    }
}

/// Whether two names of one directory differ in the case of their letters alone.
fn differ_in_case(from: &RemotePath, to: &RemotePath) -> bool {
    let fold = |path: &RemotePath| String::from_utf8_lossy(path.name()).to_lowercase();
    from.parent() == to.parent() && fold(from) == fold(to)
}
