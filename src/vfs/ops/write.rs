//! Writing files.
//!
//! The one idea: a write goes to the spool, and waits only where it is too far ahead of the network (see
//! `streaming.rs`). Whoever sets the size waits until no upload of the file is under way.
//!
//! What the caller of `close` is told is in `flush.rs`.
//!
//! Lock order: a file's `body` before `tree`.

use std::sync::Arc;

use crate::remote;
use crate::remote::Deadline;
use crate::vfs::core::Vfs;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::append::Spot;
use crate::vfs::file::open_file::{Body, File};
use crate::vfs::inode::now;
use crate::vfs::ops::open::Wants;
use crate::vfs::upload::stream::End;

/// Zeros that are written at once.
const ZEROS: usize = 1 << 20;

impl Vfs {
    /// Writes to the spool, if that need not wait for the network.
    /// Returns at which offset it was.
    pub fn write_cached(&self, handle: u64, spot: Spot, bytes: &[u8]) -> Option<Result<u64>> {
        let file = match self.file(handle) {
            Ok(handle) => Arc::clone(handle.write()),
            Err(error) => return Some(Err(error)),
        };
        let mut body = file.body.lock();
        let offset = self.offset_of(&file, &mut body, spot);
        if self.streams.must_wait(&body, offset + bytes.len() as u64) {
            return None;
        }
        match self.write_now(&file, &mut body, spot, bytes) {
            Err(Error::Spool(libc::ENOSPC)) if body.stream.is_some() => None,
            result => Some(result),
        }
    }

    /// Writes to the spool. Who is too far ahead of the network waits for it.
    /// Returns at which offset it was.
    pub fn write(&self, handle: u64, spot: Spot, bytes: &[u8], deadline: &Deadline) -> Result<u64> {
        let file = Arc::clone(self.file(handle)?.write());
        let mut body = file.body.lock();
        loop {
            let offset = self.offset_of(&file, &mut body, spot);
            if !self.streams.must_wait(&body, offset + bytes.len() as u64) {
                match self.write_now(&file, &mut body, spot, bytes) {
                    Err(Error::Spool(libc::ENOSPC)) if body.stream.is_some() => {}
                    result => return result,
                }
            }
            // Room on a full disk comes with what is sent.
            let tight = !self.streams.must_wait(&body, offset + bytes.len() as u64);
            let Some(stream) = &mut body.stream else {
                continue;
            };
            stream.tight = tight;
            let before = (stream.sent, stream.released);
            file.uploaded.notify_all();
            let left = deadline.remaining().ok_or_else(|| {
                remote::Error::timed_out("writing as fast as the network takes it")
            })?;
            file.uploaded.wait_for(&mut body, left);
            if let Some(stream) = &body.stream {
                if (stream.sent, stream.released) != before {
                    deadline.progress();
                } else if tight && !stream.tight && stream.sent >= body.ordered {
                    // All that is there was sent, and the spool has given up what it may.
                    return Err(Error::Spool(libc::ENOSPC));
                }
            }
        }
    }

    fn write_now(
        &self,
        file: &Arc<File>,
        body: &mut Body,
        spot: Spot,
        bytes: &[u8],
    ) -> Result<u64> {
        if let Some(error) = body.hopeless.as_ref().or(body.broken.as_ref()) {
            body.heard = true;
            return Err(error.clone());
        }
        let offset = match spot {
            Spot::At(offset) => body.write(&self.spool, bytes, offset).map(|()| offset),
            Spot::End => body.append(&self.spool, bytes),
        }?;
        // A write makes the time of the file now, whatever was set before.
        body.modified = None;
        self.publish(file, body);
        let first = self.streams.start_of(body);
        // What others have closed comes first.
        let first = first.filter(|_| !self.is_behind_others_now(file));
        let path = match first {
            Some(first) => self.stream_to(file, body, first)?,
            None => None,
        };
        if let (Some(first), Some(path)) = (first, path) {
            self.streams.start(file, body, first, path);
        } else if body.stream.is_some() {
            file.uploaded.notify_all();
        }
        self.send_early(file, body);
        Ok(offset)
    }

    /// Sets the size, in bytes. Without a handle the server is told before this returns.
    pub fn truncate(
        &self,
        ino: u64,
        handle: Option<u64>,
        size: u64,
        deadline: &Deadline,
    ) -> Result<()> {
        self.writable()?;
        if let Some(handle) = handle {
            let file = Arc::clone(self.file(handle)?.write());
            let mut body = self.settled(&file, deadline)?;
            if body
                .stream
                .as_ref()
                .is_some_and(|stream| size < stream.sent)
            {
                drop(body);
                body = self.rested(&file, deadline)?;
            }
            self.journal_cut(&file, &mut body, size)?;
            body.truncate(&self.spool, size)?;
            // Who says so means it, other than a shell that opens what a command may yet fill.
            body.waited = true;
            self.publish(&file, &body);
            return Ok(());
        }
        let wants = Wants {
            write: true,
            truncate: false,
            exclusive: false,
            process: 0,
        };
        let open = self.open(ino, wants, deadline)?;
        let result = self
            .truncate(ino, Some(open.handle), size, deadline)
            .and_then(|()| self.fsync(open.handle, deadline));
        self.release(open.handle, deadline);
        result
    }

    /// Extends a file by zeros, or makes zeros of a part of it (`zeroes`), within its size if `keep`.
    pub fn fallocate(
        &self,
        handle: u64,
        offset: u64,
        length: u64,
        zeroes: bool,
        keep: bool,
    ) -> Result<()> {
        self.writable()?;
        let file = Arc::clone(self.file(handle)?.write());
        let end = offset.checked_add(length).ok_or(Error::TooBig)?;
        let mut body = self.settled(&file, &self.deadline())?;
        if zeroes {
            let end = if keep { end.min(body.size) } else { end };
            let zeros = vec![0; ZEROS];
            let mut at = offset;
            while at < end {
                let length = zeros
                    .len()
                    .min(usize::try_from(end - at).unwrap_or(usize::MAX));
                body.write(&self.spool, &zeros[..length], at)?;
                at += length as u64;
            }
        } else if end > body.size {
            body.truncate(&self.spool, end)?;
        }
        self.publish(&file, &body);
        Ok(())
    }

    /// The body of a file while no upload of it is under way, and it is not being written down. Who waits does
    /// so for as long as the upload gets on.
    pub(crate) fn settled<'a>(
        &self,
        file: &'a File,
        deadline: &Deadline,
    ) -> Result<parking_lot::MutexGuard<'a, Body>> {
        let mut body = file.body.lock();
        while body.uploading || body.committing {
            let theirs = body.until.as_ref().and_then(Deadline::remaining);
            let left = deadline.remaining().max(theirs).ok_or_else(|| {
                remote::Error::timed_out("waiting until an earlier upload of the file has ended")
            })?;
            file.uploaded.wait_for(&mut body, left);
        }
        Ok(body)
    }

    /// The body of a file while neither an upload nor a stream of it is under way.
    pub(crate) fn rested<'a>(
        &self,
        file: &'a File,
        deadline: &Deadline,
    ) -> Result<parking_lot::MutexGuard<'a, Body>> {
        loop {
            let body = self.settled(file, deadline)?;
            if body.stream.is_none() {
                return Ok(body);
            }
            drop(body);
            file.end_stream(End::Now, deadline);
        }
    }

    /// Tells the tree what a file is now.
    pub(crate) fn publish(&self, file: &File, body: &Body) {
        let mut tree = self.tree.lock();
        tree.touch(file.ino);
        if let Some(node) = tree.get_mut(file.ino) {
            node.attributes.size = Some(body.size);
            node.attributes.modified = match body.modified {
                Some(seconds) => Some(crate::remote::Modified { seconds, ..now() }),
                None => Some(now()),
            };
            node.local = body.is_dirty();
        }
    }
}
