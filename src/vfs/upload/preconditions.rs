//! Checks what an upload relies on before a byte is sent, and what it has made before its success is reported.
//!
//! # Lock order
//!
//! A file's lock before the inode table's; neither while the server is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::remote;
use crate::remote::{Ask, Change, Deadline, Done, Plan, RemotePath, Step, Updated, View, Why};
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::File;
use crate::vfs::upload::Uploader;
use crate::vfs::upload::checksum;

impl Uploader {
    /// Before a part of a file is sent with the rest: if another client changed the file, its version is kept where
    /// nothing was written here.
    pub(crate) fn check_base(
        &self,
        file: &Arc<File>,
        path: &RemotePath,
        whole: bool,
        deadline: &Deadline,
    ) -> Result<()> {
        let base = {
            let body = file.body.lock();
            let change = body.change();
            // Nothing of the base is kept. Where its bytes were only overwritten, another client may have appended to
            // it.
            let cut = body.content.kept == 0
                && body.content.base.is_some_and(|base| base.size != Some(0));
            let rewritten = cut || body.content.emptied;
            let sends = body.content.resized || !body.content.dirty.is_empty();
            // An append does not change what other clients wrote; the whole file in place of a refused append does.
            let appends = !whole
                && matches!(self.remote.plan(&change), Plan::Append(_))
                && (body.name.temp.is_some() || !self.is_atomic(file.ino))
                && body.content.holes.is_empty()
                && (!(body.upload.state.is_failed() && body.upload.may_have_arrived)
                    || change.broke_off);
            let relies = sends && !rewritten && !appends;
            body.content.base.filter(|_| relies)
        };
        let Some(base) = base else {
            return Ok(());
        };
        let ask = Ask::flush(deadline);
        let now = match remote::perform_one(self.remote.as_ref(), Step::Version(path), &ask) {
            Ok(Done::Version(version)) => version,
            Ok(_) => return Ok(()),
            Err(error) if error.why() == Some(Why::NotFound) => {
                let mut body = file.body.lock();
                if !body.missing().is_empty() {
                    // What we lack is nowhere any more, and zeros are no substitute.
                    return Err(Error::Stale);
                }
                body.lost_base(0);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if base.may_be(&now) {
            return Ok(());
        }
        // Concurrent readers must find the new base with the new generation, or bytes of the old one in the disk cache
        // would be taken for both.
        let mut body = file.body.lock();
        if !self.files.start_generation(file, &mut body) {
            return Err(Error::Stale);
        }
        if body.upload.state.is_failed()
            && body.upload.may_have_arrived
            && now.size.is_some_and(|size| size >= body.content.kept)
        {
            // What broke off left some of its bytes, which are ours.
            body.content.base = Some(now);
            body.content.resized = true;
            return Ok(());
        }
        log::warn!(
            "upload: {path}: another client changed it meanwhile; the ranges written here are laid over its version"
        );
        self.files.leave_journaled(&mut body);
        body.rebase(&self.files.spool, now)
    }

    /// Where a part of ours may be there already, and where the file only grows, the upload itself finds out.
    pub(crate) fn check_unchanged(&self, file: &Arc<File>, deadline: &Deadline) -> Result<()> {
        let base = {
            let body = file.body.lock();
            let appends = matches!(self.remote.plan(&body.change()), Plan::Append(_))
                && body.content.appended.is_some();
            let has_ours =
                body.upload.was_taken || body.upload.unconfirmed || body.name.temp.is_some();
            let sends_nothing = !body.content.resized && body.content.dirty.is_empty();
            if appends || has_ours || sends_nothing {
                return Ok(());
            }
            body.content.base
        };
        let path = self.table.path(file.ino)?;
        let ask = Ask::flush(deadline);
        let now = match remote::perform_one(self.remote.as_ref(), Step::Version(&path), &ask) {
            Ok(Done::Version(version)) => Some(version),
            Ok(_) => None,
            Err(error) if matches!(error.why(), Some(Why::NotFound)) => None,
            Err(error) => return Err(error.into()),
        };
        let what = match (base, now) {
            (None, None) => return Ok(()),
            (Some(base), Some(now)) if base.may_be(&now) => return Ok(()),
            (None, Some(_)) => "another client made that name after it was closed here",
            (Some(_), None) => "another client removed it after it was closed here",
            (Some(_), Some(_)) => "another client changed it after it was closed here",
        };
        Err(remote::Error::conflict(format!("storing {path}"), what).into())
    }

    /// Probes with a small file what the server makes of a patch.
    pub(crate) fn probe_patch(&self, file: &File, deadline: &Deadline) -> Result<()> {
        self.probe_beside(file, deadline, |temp, ask| {
            if let Err(error) = self.remote.probe_patch(temp, ask) {
                log::info!(
                    "upload: patch probe failed: {error}; the first patch is checked on the file itself"
                );
            }
        })
    }

    /// Probes with a small file whether the server makes holes.
    pub(crate) fn probe_holes(&self, file: &File, deadline: &Deadline) -> Result<()> {
        self.probe_beside(file, deadline, |temp, ask| {
            if let Err(error) = self.remote.probe_holes(temp, ask) {
                log::info!("upload: hole probe failed: {error}; zeros are sent for holes");
            }
        })
    }

    /// Runs a probe on a name next to a file.
    fn probe_beside(
        &self,
        file: &File,
        deadline: &Deadline,
        probe: impl FnOnce(&RemotePath, &Ask<'_>),
    ) -> Result<()> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = remote::make_temp_name("try", number);
        let directory = self.table.path(file.ino)?.parent().unwrap_or_default();
        if let Some(temp) = directory.join(name.as_bytes()) {
            probe(&temp, &Ask::flush(deadline));
        }
        Ok(())
    }

    /// Compares what was stored by its hash, where that is wanted, the server has one, and all of the
    /// file is here and still the same.
    pub(crate) fn check_hash(
        &self,
        file: &File,
        path: &RemotePath,
        change: &Change,
        ask: &Ask<'_>,
    ) -> remote::Result<()> {
        let same = || {
            let body = file.body.lock();
            let is_whole = body.missing().is_empty() && body.content.dirty.is_empty();
            body.content
                .spool
                .clone()
                .filter(|_| is_whole && body.content.size == change.size)
        };
        let Some(spool) = same().filter(|_| self.settings.verify_hash) else {
            return Ok(());
        };
        let said = match self.remote.describe(path, View::Hash, ask) {
            Ok(Some(said)) => said,
            Ok(None) => {
                log::info!(
                    "upload: {path}: server has no checksum command; only the size was verified"
                );
                return Ok(());
            }
            // Of this one it has none: too large, or not allowed.
            Err(error @ remote::Error::Refused { .. }) => {
                log::info!("upload: {path}: no checksum: {error}; only the size was verified");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let agrees = checksum::agrees(&said, spool.as_ref(), change.size)
            .map_err(|error| remote::Error::local("reading the spool", &error))?;
        match agrees {
            Some(false) if same().is_some() => Err(remote::Error::misbehaved(
                format!("storing {path}"),
                format!(
                    "checksum mismatch: the server reports {}",
                    said.escape_ascii()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// The version of a file that streams have sent, with the attributes to be set after them.
    pub(crate) fn streamed_version(
        &self,
        file: &File,
        path: &RemotePath,
        change: &Change,
        ask: &Ask<'_>,
    ) -> remote::Result<Updated> {
        let (said, behind) = {
            let mut body = file.body.lock();
            (
                body.upload.stream_reply.take(),
                body.upload.appended_to_base,
            )
        };
        let updated = match said.and_then(|(set, updated)| updated.having(set, change.then)) {
            Some(updated) => updated,
            None => self.remote.confirm(path, change.then, ask)?,
        };
        // Other clients may have appended, too.
        let fits = |size| size == change.size || behind && size > change.size;
        if let Some(size) = updated.version.size.filter(|&size| !fits(size)) {
            return Err(remote::Error::misbehaved(
                format!("storing {path}"),
                format!("it confirmed {} bytes and now has {size}", change.size),
            ));
        }
        Ok(updated)
    }
}
