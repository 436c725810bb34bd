//! write, truncate and fallocate.
//!
//! A write goes to the spool, and waits only where it is too far ahead of the network (`upload/stream.rs`). Whatever sets
//! the size waits until no upload of the file is in progress. What the caller of close is told is in `flush`.
//!
//! # Lock order
//!
//! A file's lock before the inode table's.

use std::sync::Arc;

use crate::remote;
use crate::remote::{Deadline, Why};
use crate::vfs::Vfs;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::append::Spot;
use crate::vfs::file::open_file::{Body, File};
use crate::vfs::inode::attr_view::Space;
use crate::vfs::ops::open::Wants;

/// A hole of more bytes than this is made only once it is known that it can be stored.
const LARGE_HOLE: u64 = 1 << 20;

impl Vfs {
    /// Writes to the spool, if that need not wait for the network, nor for another thread that works on the file. Returns
    /// the offset.
    pub fn write_cached(&self, handle: u64, spot: Spot, bytes: &[u8]) -> Option<Result<u64>> {
        let file = match self.files.file(handle) {
            Ok(handle) => Arc::clone(handle.write()),
            Err(error) => return Some(Err(error)),
        };
        let mut body = file.body.try_lock()?;
        if body.journal.is_cutting() {
            return None;
        }
        let offset = self.files.offset_of(&file, &mut body, spot);
        if self
            .uploader
            .streams
            .must_wait(&body, offset + bytes.len() as u64)
        {
            return None;
        }
        if self.makes_large_hole(&body, offset) {
            return None;
        }
        match self.write_now(&file, &mut body, spot, bytes) {
            Err(Error::Spool(libc::ENOSPC)) if body.upload.stream.is_some() => None,
            result => Some(result),
        }
    }

    /// Writes to the spool, waiting for the network where it is too far ahead. Returns the offset.
    pub fn write(&self, handle: u64, spot: Spot, bytes: &[u8], deadline: &Deadline) -> Result<u64> {
        let file = Arc::clone(self.files.file(handle)?.write());
        let mut body = file.body.lock();
        let mut is_admitted = false;
        loop {
            while body.journal.is_cutting() {
                file.uploaded.wait(&mut body);
            }
            let offset = self.files.offset_of(&file, &mut body, spot);
            if self.makes_large_hole(&body, offset) && !is_admitted {
                let zeros = body.zeros_at(offset);
                drop(body);
                self.admit_hole(&file, zeros, deadline)?;
                is_admitted = true;
                body = file.body.lock();
                continue;
            }
            if !self
                .uploader
                .streams
                .must_wait(&body, offset + bytes.len() as u64)
            {
                match self.write_now(&file, &mut body, spot, bytes) {
                    Err(Error::Spool(libc::ENOSPC)) if body.upload.stream.is_some() => {}
                    result => return result,
                }
            }
            // Room on a full disk comes with what is sent.
            let tight = !self
                .uploader
                .streams
                .must_wait(&body, offset + bytes.len() as u64);
            let Some(stream) = &mut body.upload.stream else {
                continue;
            };
            stream.tight = tight;
            let before = (stream.sent, stream.released);
            file.uploaded.notify_all();
            let waiting = "writing as fast as the network takes it";
            let left = self.remote.time_left(deadline, waiting)?;
            file.uploaded.wait_for(&mut body, left);
            if let Some(stream) = &body.upload.stream {
                if (stream.sent, stream.released) != before {
                    deadline.progress();
                } else if tight && !stream.tight && stream.sent >= body.content.ordered {
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
        if let Some(error) = body.upload.state.refuse_write() {
            return Err(error);
        }
        let written = match spot {
            Spot::At(offset) => body
                .write(&self.files.spool, bytes, offset)
                .map(|()| offset),
            Spot::End => body.append(&self.files.spool, bytes),
        };
        let is_empty = body.content.size == 0;
        body.upload.spool_failure = written.as_ref().err().cloned().filter(|_| is_empty);
        let offset = written?;
        // A write makes the time of the file now, whatever was set before.
        body.attributes.modified = None;
        body.attributes.is_last = false;
        self.files.publish(file, body);
        let first = self.uploader.streams.start_of(body);
        let path = match first {
            Some(first) => self.uploader.stream_to(file, body, first)?,
            None => None,
        };
        if let (Some(first), Some(path)) = (first, path) {
            self.uploader.streams.start(file, body, first, path);
        } else if body.upload.stream.is_some() {
            file.uploaded.notify_all();
        }
        Ok(offset)
    }

    /// Whether an extension to `size` makes a hole of which it must be asked whether it can be stored.
    fn makes_large_hole(&self, body: &Body, size: u64) -> bool {
        size.saturating_sub(body.content.size) > LARGE_HOLE && !self.remote.traits().makes_holes
    }

    /// Whether holes of `zeros` bytes in all can be stored: the server makes them, or zeros may be sent and have room.
    fn admit_hole(&self, file: &File, zeros: u64, deadline: &Deadline) -> Result<()> {
        let is_allowed = zeros <= self.settings.limits.holes;
        let space = is_allowed.then(|| self.statfs(deadline));
        let free = space.map_or(0, |space| space.free * u64::from(Space::BLOCK));
        if is_allowed && zeros <= free {
            return Ok(());
        }
        self.uploader.probe_holes(file, deadline)?;
        if self.remote.traits().makes_holes {
            return Ok(());
        }
        let path = self.table.path(file.ino).unwrap_or_default();
        if !is_allowed {
            log::warn!(
                "write: {path}: {zeros} bytes of zeros would be sent, since the server makes no holes; more than hole_limit={}",
                self.settings.limits.holes
            );
            return Err(Error::TooBig);
        }
        Err(remote::Error::refused(
            Why::NoSpace,
            format!("extending {path} by {zeros} bytes"),
            format!("the server has {free} bytes free"),
        )
        .into())
    }

    /// Sets the size, in bytes. Without a handle the server has the new size when this returns.
    pub fn truncate(
        &self,
        ino: u64,
        handle: Option<u64>,
        size: u64,
        deadline: &Deadline,
    ) -> Result<()> {
        self.writable()?;
        if let Some(handle) = handle {
            let file = Arc::clone(self.files.file(handle)?.write());
            let mut body = self.files.lock_settled(&file, deadline)?;
            if self.makes_large_hole(&body, size) {
                let zeros = body.zeros_at(size);
                drop(body);
                self.admit_hole(&file, zeros, deadline)?;
                body = self.files.lock_settled(&file, deadline)?;
            }
            if body
                .upload
                .stream
                .as_ref()
                .is_some_and(|stream| size < stream.sent)
            {
                drop(body);
                body = self.files.lock_idle(&file, deadline)?;
            }
            body = self.files.journal_cut(&file, body, size)?;
            body.truncate(&self.files.spool, size)?;
            // An explicit size is meant, unlike that of a shell that opens what a command may yet fill.
            body.upload.waited = true;
            self.files.publish(&file, &body);
            return Ok(());
        }
        let wants = Wants {
            write: true,
            truncate: false,
            exclusive: false,
        };
        let open = self.open(ino, wants, deadline)?;
        let result = self
            .truncate(ino, Some(open.handle), size, deadline)
            .and_then(|()| self.fsync(open.handle, deadline));
        self.release(open.handle, deadline);
        result
    }

    /// Extends a file by zeros, or makes zeros of a part of it (`zeroes`), within its size if `keep`. What can't be stored
    /// is ENOSPC: fallocate(2) reserves space.
    pub fn fallocate(
        &self,
        handle: u64,
        offset: u64,
        length: u64,
        zeroes: bool,
        keep: bool,
    ) -> Result<()> {
        self.writable()?;
        let end = offset.checked_add(length).ok_or(Error::TooBig)?;
        match self.allocate(handle, offset, end, (zeroes, keep)) {
            Err(Error::TooBig) => Err(Error::Spool(libc::ENOSPC)),
            result => result,
        }
    }

    fn allocate(
        &self,
        handle: u64,
        offset: u64,
        end: u64,
        (zeroes, keep): (bool, bool),
    ) -> Result<()> {
        let file = Arc::clone(self.files.file(handle)?.write());
        let deadline = self.deadline();
        let mut body = self.files.lock_settled(&file, &deadline)?;
        if !keep && self.makes_large_hole(&body, end) {
            let zeros = body.zeros_at(end);
            drop(body);
            self.admit_hole(&file, zeros, &deadline)?;
            body = self.files.lock_settled(&file, &deadline)?;
        }
        let inner = offset..end.min(body.content.size);
        if zeroes && inner.start < inner.end {
            body.zero(&self.files.spool, inner)?;
        }
        if !keep && end > body.content.size {
            body.truncate(&self.files.spool, end)?;
        }
        self.files.publish(&file, &body);
        Ok(())
    }
}
