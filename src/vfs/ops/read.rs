//! read: puts the answer together from the spool and the server.
//!
//! Each piece comes from where its bytes are (`file/open_file.rs`). A handle that reads on is never given half of one
//! content and half of another.
//!
//! # Lock order
//!
//! A file's lock before the inode table's.

use crate::remote;
use crate::remote::{Deadline, Done, ReadAt, Step};
use crate::vfs::Vfs;
use crate::vfs::cache::Bytes;
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::End;
use crate::vfs::file::open_file::{Body, File, Piece};
use crate::vfs::file::open_files::Handle;

/// Reads at most this many bytes from the last one continue it: the kernel's readahead keeps no strict order.
const SEQUENTIAL_DISTANCE: u64 = 4 << 20;

impl Vfs {
    /// The bytes, if no server need be asked for them.
    pub fn read_cached(&self, handle: u64, offset: u64, size: usize) -> Option<Result<Bytes>> {
        let handle = match self.files.file(handle) {
            Ok(handle) => handle,
            Err(error) => return Some(Err(error)),
        };
        let file = &handle.file;
        let mut body = file.body.try_lock()?;
        self.files.follow_server(file, &mut body);
        if body.content.sizeless {
            return None;
        }
        if let Err(error) = self.check_same_content(&handle, &body, offset) {
            return Some(Err(error));
        }
        let whole = usize::try_from(body.content.size.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(size);
        match body.piece(offset, size) {
            None => Some(Ok(Bytes::default())),
            Some(Piece::Spool(length)) if length == whole => {
                Some(read_spool(&body, offset, length).map(Bytes::from))
            }
            Some(Piece::Server(length)) if length == whole && body.upload.stream.is_none() => {
                // A block that is too short is looked into by `read`.
                if offset + length as u64 == body.content.size
                    && file.reader.is_longer(body.content.size)
                {
                    return None;
                }
                if length < size && self.is_cut(file) {
                    return None;
                }
                let bytes = file.reader.cached(offset, length);
                bytes.filter(|bytes| bytes.len() == length).map(Ok)
            }
            Some(_) => None,
        }
    }

    /// Reads `size` bytes from `offset`, less only at the end of the file.
    ///
    /// An open within [`Metadata::checked_for`](crate::vfs::metadata::Metadata) asks nothing, and the first read finds a file
    /// that was removed: the program hears what the open would have said.
    pub fn read(
        &self,
        handle: u64,
        offset: u64,
        size: usize,
        deadline: &Deadline,
    ) -> Result<Bytes> {
        match self.read_pieces(handle, offset, size, deadline) {
            Err(Error::Stale) if offset == 0 => Err(Error::NotFound),
            read => read,
        }
    }

    fn read_pieces(
        &self,
        handle: u64,
        offset: u64,
        size: usize,
        deadline: &Deadline,
    ) -> Result<Bytes> {
        let handle = self.files.file(handle)?;
        let file = &handle.file;
        let mut bytes = Bytes::default();
        self.prefetch.await_fetched(file.ino, deadline);
        if !file.reader.is_streaming(offset) {
            // What a new transfer brings must be of the content that the handle shows.
            self.metadata.revalidate(file.ino, deadline)?;
        }
        while bytes.len() < size {
            let at = offset + bytes.len() as u64;
            let rest = size - bytes.len();
            let (piece, sizeless) = {
                let mut body = file.body.lock();
                self.files.follow_server(file, &mut body);
                self.check_same_content(&handle, &body, at)?;
                match body.piece(at, rest) {
                    Some(Piece::Spool(length)) => {
                        bytes.append(read_spool(&body, at, length)?.into());
                        continue;
                    }
                    Some(Piece::Server(_)) if body.upload.stream.is_some() => {
                        // It was sent, and the spool has given it up: only what is confirmed can be read.
                        drop(body);
                        file.end_stream(End::Now, deadline);
                        continue;
                    }
                    Some(Piece::Server(length)) => (length, body.content.sizeless),
                    None if body.content.sizeless => (rest, true),
                    // A part of what is being uploaded may have arrived.
                    None if !bytes.is_empty() && body.is_settled() && file.reader.is_longer(at) => {
                        drop(body);
                        self.must_have_grown(file, at, deadline)?;
                        break;
                    }
                    None => break,
                }
            };
            let part = self.files.read_server(file, at, piece, deadline);
            let explain = |error| self.metadata.explain_read(file.ino, error, deadline);
            let Some(part) = part.map_err(explain)? else {
                continue;
            };
            let length = part.len();
            bytes.append(part);
            if length < piece {
                let end = at + length as u64;
                if sizeless {
                    break;
                }
                if self.ends_at(file, end, deadline)? {
                    return Err(self.explain_cut(file, end)?);
                }
                if length == 0 {
                    return Err(remote::Error::misbehaved(
                        format!("reading {}", self.table.path(file.ino)?),
                        format!("the transfer ended after {end} bytes, before the end of the file"),
                    )
                    .into());
                }
            }
        }
        if bytes.len() < size && self.is_cut(file) {
            return Err(self.explain_cut(file, offset + bytes.len() as u64)?);
        }
        Ok(bytes)
    }

    /// Whether the file ends sooner than the kernel knows, which would pad its pages with zeros up to the former size. Also
    /// what the kernel asks for once more after an error of its readahead is refused then.
    fn is_cut(&self, file: &File) -> bool {
        let tree = self.table.lock();
        let node = tree.get(file.ino);
        node.is_some_and(|node| !node.local && node.kernel.is_cut.get())
    }

    fn explain_cut(&self, file: &File, end: u64) -> Result<Error> {
        Ok(remote::Error::conflict(
            format!("reading {}", self.table.path(file.ino)?),
            format!("another client cut it to {end} bytes since it was opened"),
        )
        .into())
    }

    /// Refuses to continue a sequential read after the content was replaced: half of one and half of another is
    /// neither. A read elsewhere or from the start is allowed, and one that continues where the file has just grown.
    fn check_same_content(&self, handle: &Handle, body: &Body, offset: u64) -> Result<()> {
        let mut seen = handle.seen.lock();
        let goes_on = offset > 0 && offset.abs_diff(seen.end) <= SEQUENTIAL_DISTANCE;
        let is_torn = seen.generation > 0 && seen.generation < body.content.replaced;
        if goes_on && is_torn && !handle.writes {
            let path = self.table.path(handle.file.ino)?;
            // Each time: the first answer may go to the kernel's own readahead.
            return Err(remote::Error::conflict(
                format!("reading {path}"),
                "file was replaced on the server while being read",
            )
            .into());
        }
        (seen.generation, seen.end) = (body.content.generation, offset);
        Ok(())
    }

    /// More came than the size that was known, `end`: the file has grown, or the server states a size that is none.
    fn must_have_grown(&self, file: &File, end: u64, deadline: &Deadline) -> Result<()> {
        if !self.ends_at(file, end, deadline)? {
            return Ok(());
        }
        Err(remote::Error::misbehaved(
            format!("reading {}", self.table.path(file.ino)?),
            format!("the server reports {end} bytes and sends more"),
        )
        .into())
    }

    /// A transfer ended before the size that was known: whether the file does, too.
    fn ends_at(&self, file: &File, end: u64, deadline: &Deadline) -> Result<bool> {
        file.reader.forget(end);
        let asked = self.table.lock().now();
        let path = self.table.path(file.ino)?;
        let Done::Version(version) = self.remote.step(Step::Version(&path), deadline)? else {
            return Ok(true);
        };
        if version.size.is_some_and(|size| size > end) {
            return Ok(false);
        }
        self.table.lock().merge_version(file.ino, version, asked);
        Ok(true)
    }
}

fn read_spool(body: &Body, offset: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let spool = body.content.spool.as_ref().ok_or(Error::BadHandle)?;
    spool.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
