//! Finds servers that never replace a file: they confirm `STOR` over a name that is taken, and store the content under
//! another name. Pure-FTPd does so with `-r`, ProFTPD with mod_rename.
//!
//! The sign is a file whose version has not moved. It proves nothing, since another content can have the same size and
//! second. So the file is read back and compared, until some upload has shown that this server replaces. After that nothing
//! is asked. A file of which the spool has released bytes is not compared.
//!
//! # Lock order
//!
//! What is known of the server is locked alone. A file's lock is not held while the server is asked.

use crate::remote;
use crate::remote::{Ask, Change, ReadAt, Reading, RemotePath, Updated, Version};
use crate::vfs::file::open_file::File;
use crate::vfs::inode::now;
use crate::vfs::upload::Uploader;

/// A version younger than this, in seconds, may have been made by the upload itself: servers tell whole seconds.
const YOUNG_SECONDS: i64 = 2;
/// Bytes compared at once.
const COMPARE_CHUNK: usize = 256 * 1024;

/// Whether `STOR` over an existing file replaces it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Replacing {
    /// No upload has shown it.
    #[default]
    Unknown,
    /// The size or the time of a file moved by an upload.
    Yes,
    /// A file kept its content: uploads go to a temporary name and are renamed.
    No,
}

/// What an upload over `before` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// The file is another one now.
    Replaced,
    /// It may be the old one.
    Unmoved,
    /// Nothing.
    Nothing,
}

/// What the versions before and after an upload of `size` bytes show; `sets_time` is whether the upload set the time, and
/// `now` is the local time in seconds since 1970.
fn sign(before: &Version, after: &Version, size: u64, sets_time: bool, now: i64) -> Sign {
    match (before.size, after.size) {
        (Some(before), Some(after)) if before != after && after == size => return Sign::Replaced,
        (Some(before), Some(after)) if before == after => {}
        _ => return Sign::Nothing,
    }
    match (before.modified, after.modified) {
        _ if sets_time => Sign::Unmoved,
        (Some(before), Some(after)) if before != after => Sign::Replaced,
        (Some(before), Some(_)) if now - before < YOUNG_SECONDS => Sign::Nothing,
        _ => Sign::Unmoved,
    }
}

impl Uploader {
    /// Whether the file that should have replaced `before` is there, as far as that can be told.
    pub(crate) fn is_replaced(
        &self,
        (file, path): (&File, &RemotePath),
        before: Version,
        (change, updated): (&Change, &Updated),
        spool: &dyn ReadAt,
        ask: &Ask<'_>,
    ) -> remote::Result<bool> {
        let known = *self.replacing.lock();
        if known == Replacing::Yes {
            return Ok(true);
        }
        let sets_time = change.then.modified.is_some();
        let seen = sign(
            &before,
            &updated.version,
            change.size,
            sets_time,
            now().seconds,
        );
        if seen == Sign::Replaced {
            *self.replacing.lock() = Replacing::Yes;
        }
        let is_comparable = || {
            let body = file.body.lock();
            body.missing().is_empty()
                && body.content.dirty.is_empty()
                && body.content.size == change.size
        };
        if seen != Sign::Unmoved || !is_comparable() {
            return Ok(true);
        }
        let same = self.is_content(path, spool, change.size, ask)?;
        // What was written meanwhile is in the spool, too.
        Ok(same || !is_comparable())
    }

    /// Whether the server's file has the first `size` bytes of the spool, and no more.
    fn is_content(
        &self,
        path: &RemotePath,
        spool: &dyn ReadAt,
        size: u64,
        ask: &Ask<'_>,
    ) -> remote::Result<bool> {
        log::info!("upload: {path}: its version has not moved; the content is read back");
        let mut source = self.remote.read(path, &Reading::at(0), ask)?;
        let mut theirs = vec![0; COMPARE_CHUNK];
        let mut ours = vec![0; COMPARE_CHUNK];
        let mut at = 0;
        loop {
            let read = source.read(&mut theirs, ask.deadline)?;
            if read == 0 {
                return Ok(at == size);
            }
            if at + read as u64 > size {
                return Ok(false);
            }
            spool
                .read_exact_at(&mut ours[..read], at)
                .map_err(|error| remote::Error::local("reading the spool", &error))?;
            if ours[..read] != theirs[..read] {
                return Ok(false);
            }
            at += read as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmoved_version_of_an_old_file_is_a_sign() {
        let version = |size, modified| Version {
            size: Some(size),
            modified,
        };
        let table = [
            (
                version(5, Some(100)),
                version(5, Some(100)),
                false,
                Sign::Unmoved,
            ),
            (
                version(5, Some(100)),
                version(5, Some(990)),
                false,
                Sign::Replaced,
            ),
            (
                version(4, Some(100)),
                version(5, Some(100)),
                false,
                Sign::Replaced,
            ),
            // Made within the same second.
            (
                version(5, Some(999)),
                version(5, Some(999)),
                false,
                Sign::Nothing,
            ),
            // The time was set, and says nothing.
            (
                version(5, Some(100)),
                version(5, Some(500)),
                true,
                Sign::Unmoved,
            ),
            (
                version(4, Some(100)),
                version(5, Some(500)),
                true,
                Sign::Replaced,
            ),
            (
                version(5, None),
                version(5, Some(990)),
                false,
                Sign::Unmoved,
            ),
            (
                Version::default(),
                version(5, Some(990)),
                false,
                Sign::Nothing,
            ),
        ];
        for (before, after, sets_time, expected) in table {
            let seen = sign(&before, &after, 5, sets_time, 1000);
            assert_eq!(seen, expected, "{before:?} {after:?} {sets_time}");
        }
    }
}
