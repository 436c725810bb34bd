//! Reading files.
//!
//! The one idea: a read is put together of pieces, each from whoever has it (see `file.rs`). Who reads on is never given
//! one half of one content and the other of another.
//!
//! How files are opened is in `opening.rs`.
//!
//! Lock order: a file's `body` before `tree`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::remote;
use crate::remote::{Deadline, Done, ReadAt, Step, Why};
use crate::vfs::cache::memory::Bytes;
use crate::vfs::core::{Handle, Vfs};
use crate::vfs::error::{Error, Result};
use crate::vfs::file::open_file::{Body, File, Piece};
use crate::vfs::upload::stream::End;

/// Who reads so near to where he read before goes on, in bytes: the kernel reads ahead, and in no strict order.
const NEAR: u64 = 4 << 20;
/// Bytes that are fetched at once to complete a file.
const PULL_STEP: usize = 1 << 20;
/// More is not fetched of a file whose name is removed while it is open: it gets another name until the last close. Nor
/// of one that was streamed beside its place and could not be stored.
pub(crate) const PULL_LIMIT: u64 = 64 << 20;

impl Vfs {
    /// The bytes, if no server need be asked for them.
    pub fn read_cached(&self, handle: u64, offset: u64, size: usize) -> Option<Result<Bytes>> {
        let handle = match self.file(handle) {
            Ok(handle) => handle,
            Err(error) => return Some(Err(error)),
        };
        let file = &handle.file;
        let mut body = file.body.try_lock()?;
        self.follow(file, &mut body);
        if body.sizeless {
            return None;
        }
        if let Err(error) = self.stays(&handle, &body, offset) {
            return Some(Err(error));
        }
        let whole = usize::try_from(body.size.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(size);
        match body.piece(offset, size) {
            None => Some(Ok(Bytes::default())),
            Some(Piece::Spool(length)) if length == whole => {
                Some(read_spool(&body, offset, length).map(Bytes::from))
            }
            Some(Piece::Server(length)) if length == whole && body.stream.is_none() => {
                // A block that is too short is looked into by `read`.
                if offset + length as u64 == body.size && file.reader.is_longer(body.size) {
                    return None;
                }
                let bytes = file.reader.cached(offset, length);
                bytes.filter(|bytes| bytes.len() == length).map(Ok)
            }
            Some(_) => None,
        }
    }

    /// Reads `size` bytes from `offset`, less only at the end of the file.
    pub fn read(
        &self,
        handle: u64,
        offset: u64,
        size: usize,
        deadline: &Deadline,
    ) -> Result<Bytes> {
        let handle = self.file(handle)?;
        let file = &handle.file;
        let mut bytes = Bytes::default();
        self.await_fetched(file.ino, deadline);
        if !file.reader.is_streaming(offset) {
            // What a new transfer brings must be of the content that the handle shows.
            self.revalidate(file.ino, deadline)?;
        }
        while bytes.len() < size {
            let at = offset + bytes.len() as u64;
            let rest = size - bytes.len();
            let (piece, sizeless) = {
                let mut body = file.body.lock();
                self.follow(file, &mut body);
                self.stays(&handle, &body, at)?;
                match body.piece(at, rest) {
                    Some(Piece::Spool(length)) => {
                        bytes.append(read_spool(&body, at, length)?.into());
                        continue;
                    }
                    Some(Piece::Server(_)) if body.stream.is_some() => {
                        // It was sent, and the spool has given it up: only what is confirmed can be read.
                        drop(body);
                        file.end_stream(End::Now, deadline);
                        continue;
                    }
                    Some(Piece::Server(length)) => (length, body.sizeless),
                    None if body.sizeless => (rest, true),
                    // More than there was before may have come of what is on its way from here.
                    None if !bytes.is_empty() && body.is_settled() && file.reader.is_longer(at) => {
                        drop(body);
                        self.must_have_grown(file, at, deadline)?;
                        break;
                    }
                    None => break,
                }
            };
            let Some(part) = self.read_server(file, at, piece, deadline)? else {
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
                    // The kernel would fill its pages up with zeros to the size that it was told.
                    return Err(remote::Error::misbehaved(
                        format!("reading {}", self.path(file.ino)?),
                        format!("others have cut it to {end} bytes since it was opened"),
                    )
                    .into());
                }
                if length == 0 {
                    return Err(remote::Error::misbehaved(
                        format!("reading {}", self.path(file.ino)?),
                        format!("the transfer ended after {end} bytes, and the file does not"),
                    )
                    .into());
                }
            }
        }
        Ok(bytes)
    }

    /// Whether what is read from `offset` on is of the same content as what this handle has read right before it. Half
    /// of one and half of another is neither: who reads on over a change of others is told so. Who begins anew or
    /// elsewhere, and who reads on where the file has just grown, need not be.
    fn stays(&self, handle: &Handle, body: &Body, offset: u64) -> Result<()> {
        let mut seen = handle.seen.lock();
        let goes_on = offset > 0 && offset.abs_diff(seen.end) <= NEAR;
        let is_torn = seen.generation > 0 && seen.generation < body.replaced;
        if goes_on && is_torn && !handle.writes {
            let path = self.path(handle.file.ino)?;
            // As often as it is asked: the first answer may be for the kernel's own readahead.
            return Err(remote::Error::misbehaved(
                format!("reading {path}"),
                "others have put another content in its place since its beginning was read",
            )
            .into());
        }
        (seen.generation, seen.end) = (body.generation, offset);
        Ok(())
    }

    /// More came than the size that was known, `end`: the file has grown, or the server states a size that is none.
    fn must_have_grown(&self, file: &File, end: u64, deadline: &Deadline) -> Result<()> {
        if !self.ends_at(file, end, deadline)? {
            return Ok(());
        }
        Err(remote::Error::misbehaved(
            format!("reading {}", self.path(file.ino)?),
            format!("the server says that it has {end} bytes, and sends more"),
        )
        .into())
    }

    /// A transfer ended before the size that was known: whether the file does, too.
    fn ends_at(&self, file: &File, end: u64, deadline: &Deadline) -> Result<bool> {
        file.reader.forget(end);
        let asked = self.tree.lock().now();
        let path = self.path(file.ino)?;
        let Done::Version(version) = self.step(Step::Version(&path), deadline)? else {
            return Ok(true);
        };
        if version.size.is_some_and(|size| size > end) {
            return Ok(false);
        }
        self.tree.lock().merge_version(file.ino, version, asked);
        Ok(true)
    }

    /// Fetches what the spool lacks of a file.
    pub(crate) fn complete(&self, file: &Arc<File>, deadline: &Deadline) -> Result<()> {
        while let Some(gap) = {
            let missing = file.body.lock().missing();
            missing.into_iter().next()
        } {
            self.fetch(file, gap, deadline)?;
        }
        Ok(())
    }

    /// Fetches the first bytes of a range that the spool lacks, as many as come at once; none where that is to be looked
    /// at anew.
    pub(crate) fn fetch(
        &self,
        file: &Arc<File>,
        gap: std::ops::Range<u64>,
        deadline: &Deadline,
    ) -> Result<()> {
        let length = usize::try_from(gap.end - gap.start)
            .unwrap_or(usize::MAX)
            .min(PULL_STEP);
        let Some(bytes) = self.read_server(file, gap.start, length, deadline)? else {
            return Ok(());
        };
        if bytes.len() < length {
            // Shorter than it was said to be: not to be completed by bytes that never were.
            return Err(Error::Stale);
        }
        bytes.with(|bytes| file.body.lock().fill(&self.spool, bytes, gap.start))?;
        self.streams
            .moved
            .fetch_add(length as u64, Ordering::Relaxed);
        deadline.progress();
        Ok(())
    }

    /// Lets an open file that nobody here has changed follow what the server was seen to have.
    pub(crate) fn follow(&self, file: &File, body: &mut Body) {
        self.follow_base(file, body);
        if body.is_dirty() || body.removed || body.uploading {
            return;
        }
        let (version, generation) = {
            let tree = self.tree.lock();
            match tree.get(file.ino) {
                Some(node) if !node.removed && node.generation != body.generation => {
                    (node.attributes.version(), node.generation)
                }
                _ => return,
            }
        };
        body.replace(version, generation);
        file.reader.restart(generation);
    }

    /// Lets the reader follow what was sent here: nothing that it has brought before is of that.
    fn follow_base(&self, file: &File, body: &mut Body) {
        if std::mem::take(&mut body.rebased) {
            self.mix(file, body);
        }
    }

    /// The content is another one from here on; false where the file is known no more.
    pub(crate) fn mix(&self, file: &File, body: &mut Body) -> bool {
        let Some(generation) = self.tree.lock().mix(file.ino) else {
            return false;
        };
        body.generation = generation;
        file.reader.restart(generation);
        true
    }

    /// Reads what the server has, under the name that the file has there now; `None` where that, or the content, became
    /// another one meanwhile: the caller is to look anew at what it wants.
    fn read_server(
        &self,
        file: &File,
        offset: u64,
        size: usize,
        deadline: &Deadline,
    ) -> Result<Option<Bytes>> {
        let turn = file.reader.await_turn(deadline)?;
        let (aside, version) = {
            let mut body = file.body.lock();
            self.follow_base(file, &mut body);
            let beside = body.beside.as_ref().map(|beside| beside.path.clone());
            let aside = body.aside.clone().or(beside);
            (aside, body.base.unwrap_or_default())
        };
        let path = match aside {
            Some(path) => path,
            None => self.path(file.ino)?,
        };
        let result = file
            .reader
            .read(turn, (&path, version), offset, size, deadline);
        if let (Ok(None), None) = (&result, deadline.remaining()) {
            let tried = format!("reading {path}, which changes all the time");
            return Err(remote::Error::timed_out(tried).into());
        }
        result.map_err(|error| match error.why() {
            // The name may be gone, whatever words were found for it: then the tree learns it now.
            Some(Why::NotFound | Why::Unsaid) => {
                let parent = self.tree.lock().get(file.ino).map(|node| node.parent);
                let asked = parent.map(|parent| self.ask_name(parent, path.name(), deadline));
                match asked {
                    Some(Err(Error::NotFound)) => Error::Stale,
                    _ => error.into(),
                }
            }
            _ => {
                // Perhaps it is not what we take it for: the next open asks.
                if let Some(node) = self.tree.lock().get_mut(file.ino) {
                    node.fetched = None;
                    if file.reader.is_to_forget() && !node.local {
                        // Nor are the bytes that have come of it, here and with the kernel.
                        node.generation += 1;
                        node.pages = None;
                    }
                }
                error.into()
            }
        })
    }
}

fn read_spool(body: &Body, offset: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let spool = body.spool.as_ref().ok_or(Error::BadHandle)?;
    spool.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
