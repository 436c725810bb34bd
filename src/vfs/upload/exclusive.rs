//! Stores files whose names must be new (O_EXCL) and of which the server hears only when they are closed.
//!
//! That a name was free at open says nothing about the moment of the upload. So the file is made by `Remote::create`,
//! which replaces nothing; where another client was first, its file stays.

use std::sync::atomic::Ordering;

use crate::remote;
use crate::remote::{Ask, Change, Done, Plan, ReadAt, RemotePath, Result, Step, Updated, Why};
use crate::vfs::upload::UploadBytes;
use crate::vfs::upload::Uploader;

/// Bytes sent at once.
const SEND_CHUNK: u64 = 256 * 1024;

impl Uploader {
    /// Stores a file under a name that must be new; one with holes by its plan, once the name is ours.
    pub(crate) fn store_new(
        &self,
        path: &RemotePath,
        (change, plan): (&Change, &Plan),
        bytes: &UploadBytes<'_>,
        ask: &Ask<'_>,
    ) -> Result<Updated> {
        let mut sink = match self.remote.create(path, &|| bytes.begins(), ask) {
            Ok(sink) => sink,
            Err(error) if matches!(error.why(), Some(Why::Exists | Why::Unsupported)) => {
                self.check_new(path, bytes, ask)?;
                bytes.file.body.lock().upload.exclusive = false;
                return self.remote.update(path, change, plan, bytes, ask);
            }
            Err(error) => {
                // Without a reply the server may have made it.
                let is_unknown = matches!(
                    error,
                    remote::Error::Lost { .. } | remote::Error::TimedOut { .. }
                );
                change.taken.fetch_or(is_unknown, Ordering::Relaxed);
                return Err(error);
            }
        };
        // From now on it is ours, whatever becomes of it.
        change.taken.store(true, Ordering::Relaxed);
        bytes.file.body.lock().upload.exclusive = false;
        if matches!(plan, Plan::Sparse(_)) {
            sink.finish(ask.deadline)?;
            drop(sink);
            return self.remote.update(path, change, plan, bytes, ask);
        }
        let mut buffer = vec![0; usize::try_from(SEND_CHUNK.min(change.size)).unwrap_or(0)];
        let mut at = 0;
        while at < change.size {
            let length = usize::try_from(SEND_CHUNK.min(change.size - at)).unwrap_or(0);
            bytes
                .read_exact_at(&mut buffer[..length], at)
                .map_err(|error| remote::Error::local("reading the spool", &error))?;
            sink.write(&buffer[..length], ask.deadline)?;
            at += length as u64;
        }
        let said = sink.finish(ask.deadline)?;
        // What is asked next may need its connection: there may be no other.
        drop(sink);
        let set = remote::Then::default();
        let updated = match said.and_then(|updated| updated.having(set, change.then)) {
            Some(updated) => updated,
            None => self.remote.confirm(path, change.then, ask)?,
        };
        if let Some(size) = updated.version.size.filter(|&size| size != change.size) {
            return Err(remote::Error::misbehaved(
                format!("storing {path}"),
                format!("it confirmed {} bytes and now has {size}", change.size),
            ));
        }
        Ok(updated)
    }

    /// Whether there is nothing of a name but what an earlier try may have made.
    pub(crate) fn check_new(
        &self,
        path: &RemotePath,
        bytes: &UploadBytes<'_>,
        ask: &Ask<'_>,
    ) -> Result<()> {
        let taken = || {
            let said = "another client made it since it was opened";
            Err(remote::Error::refused(
                Why::Exists,
                format!("making {path}"),
                said,
            ))
        };
        match remote::perform_one(self.remote.as_ref(), Step::Version(path), ask) {
            Ok(Done::Version(version)) => {
                let tried = bytes.file.body.lock().journal.upload_begun;
                match tried && version.size == Some(0) {
                    true => Ok(()),
                    false => taken(),
                }
            }
            Ok(_) => taken(),
            Err(error) if error.why() == Some(Why::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
