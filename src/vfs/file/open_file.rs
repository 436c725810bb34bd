//! An open file: a base version on the server, and over it what was written here.
//!
//! A read asks for each piece who has it: the spool (what is *present*), the server (what is left of the base, its first
//! `kept` bytes), or neither (a hole, which reads as zeros and counts as present). *Dirty* is what the server does not
//! have yet.
//!
//! Sequential writes stream to the server while they are written (`upload/stream.rs`): bytes taken by a stream are no
//! longer dirty, and become so again if it fails.
//!
//! One `File` serves all handles of an inode. An upload reads the spool without the file's lock, and what is written
//! meanwhile is dirty for the next upload.
//!
//! # Invariants
//!
//! Those of `content.rs`.
//!
//! # Lock order
//!
//! `body` before the inode table and the reader. It is not held while the server, an fsync or a journal commit is waited
//! for.

use std::sync::Arc;

use crate::process::lock_order::{OrderedCondvar, OrderedMutex};
use crate::remote::{Change, Deadline, RemotePath, Then, Version};
use crate::vfs::error::{Error, Result};
use crate::vfs::file::content::{Content, Merged};
use crate::vfs::file::range_set::RangeSet;
use crate::vfs::file::upload_state::{Report, Upload};
use crate::vfs::lock_rank;
use crate::vfs::readahead::Reader;
use crate::vfs::spool::{Spool, SpoolFile};

/// An open file.
pub struct File {
    /// The inode number.
    pub ino: u64,
    /// Reads what the server has.
    pub reader: Arc<Reader>,
    /// What was written here.
    pub body: OrderedMutex<Body, { lock_rank::FILE }>,
    /// An upload has ended, or a stream has got on.
    pub uploaded: OrderedCondvar,
}

/// What of an open file differs from the server, and what is being done about that.
#[derive(Default)]
pub struct Body {
    /// What the file is here.
    pub content: Content,
    /// What is known of other clients' bytes in it.
    pub merged: Merged,
    /// What brings it to the server, and how that went.
    pub upload: Upload,
    /// What the journal has of it.
    pub journal: JournalState,
    /// Attributes to set once it is stored.
    pub attributes: PendingAttributes,
    /// What it is called on the server.
    pub name: NameState,
    /// A close of it has succeeded, and the server does not have all of that yet: where it never does, that is counted.
    pub owes: bool,
}

/// What the journal has of an open file.
#[derive(Default)]
pub struct JournalState {
    /// The number under which the journal has it.
    pub id: Option<u64>,
    /// Earlier closes of it that the journal keeps until a later one is on the server.
    pub superseded: Vec<u64>,
    /// An upload has begun that the server has not confirmed (`journaling.rs`).
    pub upload_begun: bool,
    /// Number of the entry of which the journal knows that it may have begun to arrive.
    pub begun_id: Option<u64>,
    /// The commit that is in progress without the file's lock.
    pub commit: Option<Commit>,
    /// Bytes were written since the last close that the journal has.
    pub is_behind: bool,
}

/// A commit to the journal that is in progress. Other commits, uploads and cuts of the file wait for
/// [`uploaded`](File::uploaded).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// A close. Writes continue meanwhile, and belong to the next close.
    Close,
    /// A cut of the file. Writes wait, too, since the spool file may be replaced.
    Cut,
}

impl JournalState {
    /// Whether a commit is in progress.
    pub fn is_committing(&self) -> bool {
        self.commit.is_some()
    }

    /// Whether a cut is being committed.
    pub fn is_cutting(&self) -> bool {
        self.commit == Some(Commit::Cut)
    }
}

/// Attributes to set once an open file is stored.
#[derive(Default)]
pub struct PendingAttributes {
    /// Permission bits, and whether a caller was promised that they are set.
    pub mode: Option<(u32, bool)>,
    /// A time, in seconds since 1970, UTC.
    pub modified: Option<i64>,
    /// The last descriptor that could write is being closed: nothing that a mode forbids comes after it.
    pub is_last: bool,
}

/// What an open file is called on the server.
#[derive(Default)]
pub struct NameState {
    /// It has no name any more: nothing of it goes to the server.
    pub removed: bool,
    /// It never had one on the server, and its content is in lost+found: it cannot be opened again.
    pub given_up: bool,
    /// Temporary name on the server until the last close, after its own name was removed.
    pub aside: Option<RemotePath>,
    /// Temporary file on the server until the content is complete.
    pub temp: Option<TempFile>,
}

/// The temporary file of an atomic replacement: the base is there.
#[derive(Clone, Debug)]
pub struct TempFile {
    /// Its path.
    pub path: RemotePath,
    /// What has its own name; `None` when that is new.
    pub replaces: Option<Version>,
}

/// Dirty ranges at most this many bytes apart are sent as one, if the bytes between them are here: that costs less
/// than another transfer.
const JOIN_DISTANCE: u64 = 32 * 1024;

/// Fewer zeros are sent like other bytes.
const MIN_HOLE: u64 = 64 * 1024;

/// The permission bit by which servers let the owner write.
pub const OWNER_WRITES: u32 = 0o200;

/// Where a piece of a file is read from.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Number of bytes in the spool.
    Spool(usize),
    /// Number of bytes in the file on the server.
    Server(usize),
}

impl File {
    /// A file that is on the server as `base`, in the generation of its content.
    pub fn new(ino: u64, reader: Arc<Reader>, base: Option<Version>, generation: u64) -> Arc<Self> {
        let size = base.and_then(|base| base.size);
        Arc::new(Self {
            ino,
            reader,
            body: OrderedMutex::new(Body {
                content: Content {
                    base,
                    generation,
                    kept: size.unwrap_or(0),
                    size: size.unwrap_or(0),
                    sizeless: base.is_some() && size.is_none(),
                    resized: base.is_none(),
                    ordered: size.unwrap_or(0),
                    ..Content::default()
                },
                ..Body::default()
            }),
            uploaded: OrderedCondvar::new(),
        })
    }
}

/// How a stream is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// When everything that was written in a row so far is sent.
    Drained,
    /// At once.
    Now,
}

impl File {
    /// Ends the stream, if there is one, and waits until the server has confirmed what it sent. Its failure is in the
    /// upload state.
    pub fn end_stream(&self, end: End, deadline: &Deadline) {
        let mut body = self.body.lock();
        let size = body.content.size;
        if let Some(stream) = &mut body.upload.stream {
            let goal = match end {
                End::Drained => size,
                End::Now => stream.sent,
            };
            stream.goal = Some(stream.goal.map_or(goal, |before| before.min(goal)));
            self.uploaded.notify_all();
        }
        let mut seen = 0;
        // The stream has its own deadline, at which it ends if nothing moves.
        while let Some(stream) = &body.upload.stream {
            if stream.sent != seen {
                seen = stream.sent;
                deadline.progress();
            }
            self.uploaded.wait(&mut body);
        }
    }
}

impl Body {
    /// Whether the server lacks something.
    pub fn is_dirty(&self) -> bool {
        let streamed =
            self.upload.stream.is_some() || self.upload.unconfirmed || self.name.temp.is_some();
        !self.name.removed && (self.content.resized || streamed || !self.content.dirty.is_empty())
    }

    /// Whether nothing of it is still to be brought to the server.
    pub fn is_settled(&self) -> bool {
        !self.is_dirty() && self.upload.busy_until.is_none() && self.attributes.mode.is_none()
    }

    /// Whether the last close would have nothing to do.
    pub fn is_at_rest(&self) -> bool {
        self.is_settled() && self.name.aside.is_none()
    }

    /// Where the local disk did not take the first bytes of a file, its upload fails by that.
    pub fn fail_unwritten(&mut self) {
        if let Some(error) = self.upload.spool_failure.take()
            && self.content.size == 0
        {
            self.upload.state.fail(Some(error), Report::Due);
        }
    }

    /// Writes to the spool.
    pub fn write(&mut self, spool: &Spool, bytes: &[u8], offset: u64) -> Result<()> {
        let end = offset
            .checked_add(bytes.len() as u64)
            .ok_or(Error::TooBig)?;
        let file = self.spool(spool)?;
        if offset > self.content.size {
            // A failed write may have left bytes there.
            file.zero(self.content.size..offset)?;
        }
        file.write_at(bytes, offset)?;
        // A failed write leaves the file unchanged.
        if offset > self.content.size {
            self.insert_dirty(self.content.size..offset);
            self.content.holes.insert(self.content.size..offset);
        }
        self.content.holes.remove(offset..end);
        self.insert_dirty(offset..end);
        if end > self.content.size {
            self.content.appended = None;
        }
        self.content.size = self.content.size.max(end);
        if self.upload.broke_off.is_some_and(|end| offset < end) {
            self.upload.broke_off = None;
        }
        if offset <= self.content.ordered {
            // Bytes written out of order count once the gap before them is closed.
            self.content.ordered = self.content.ordered_from(self.content.ordered.max(end));
        }
        Ok(())
    }

    /// Zeros that would be sent for holes if the file were extended to `size`.
    pub fn zeros_at(&self, size: u64) -> u64 {
        let holes: u64 = (self.content.holes.iter())
            .map(|hole| hole.end - hole.start)
            .sum();
        holes + size.saturating_sub(self.content.size)
    }

    /// Makes zeros of a part of the file, which ends within it.
    pub fn zero(&mut self, spool: &Spool, range: std::ops::Range<u64>) -> Result<()> {
        let file = self.spool(spool)?;
        // So that what was read of it, and is released, is there as zeros too.
        if file.length()? < range.end {
            file.set_size(range.end)?;
        }
        file.zero(range.clone())?;
        self.insert_dirty(range.clone());
        if self.upload.broke_off.is_some_and(|end| range.start < end) {
            self.upload.broke_off = None;
        }
        if range.start <= self.content.ordered {
            self.content.ordered = self
                .content
                .ordered_from(self.content.ordered.max(range.end));
        }
        Ok(())
    }

    /// Cuts the file, or extends it by zeros.
    pub fn truncate(&mut self, spool: &Spool, size: u64) -> Result<()> {
        if size == 0 && self.content.base.is_some() {
            // Also if the file is believed to be empty: another client may have written to it since.
            (self.content.emptied, self.content.resized) = (true, true);
        }
        if size == self.content.size && !self.content.sizeless {
            return Ok(());
        }
        if self.content.sizeless && size > 0 {
            return Err(Error::Unsupported);
        }
        self.content.sizeless = false;
        if size < self.content.size {
            self.upload.broke_off = None;
        }
        if size == 0 {
            // The failure belongs to the content that is cut off.
            self.upload.state.start_over();
        }
        if size < self.content.size {
            if let Some(file) = &self.content.spool {
                file.set_size(size)?;
            }
            self.content.present.truncate(size);
            self.content.dirty.truncate(size);
            self.content.holes.truncate(size);
            self.content.kept = self.content.kept.min(size);
            self.content.ordered = self.content.ordered.min(size);
        } else {
            let file = self.spool(spool)?;
            file.set_size(self.content.size)?;
            file.set_size(size)?;
            self.insert_dirty(self.content.size..size);
            self.content.holes.insert(self.content.size..size);
        }
        // The end is explicit now.
        self.content.appended = None;
        self.content.size = size;
        self.content.resized = true;
        Ok(())
    }

    /// Where the bytes at `offset` are, up to `size` of them; `None` at the end of the file.
    pub fn piece(&self, offset: u64, size: usize) -> Option<Piece> {
        if offset >= self.content.size {
            return None;
        }
        let end = (offset + size as u64).min(self.content.size);
        let length = |end: u64| usize::try_from(end - offset).unwrap_or(usize::MAX);
        let gap = self.content.present.gaps(offset..end).into_iter().next();
        Some(match gap {
            None => Piece::Spool(length(end)),
            Some(gap) if gap.start > offset => Piece::Spool(length(gap.start)),
            Some(gap) => Piece::Server(length(gap.end)),
        })
    }

    /// The parts that must come from the server before the whole file can be sent.
    pub fn missing(&self) -> Vec<std::ops::Range<u64>> {
        self.content.present.gaps(0..self.content.size)
    }

    /// Keeps bytes that came from the server, where nothing was written meanwhile.
    pub fn fill(&mut self, spool: &Spool, bytes: &[u8], offset: u64) -> Result<()> {
        let end = (offset + bytes.len() as u64).min(self.content.size);
        let file = self.spool(spool)?;
        for gap in self.content.present.gaps(offset..end.max(offset)) {
            let part = |at: u64| usize::try_from(at - offset).unwrap_or(usize::MAX);
            let bytes = bytes
                .get(part(gap.start)..part(gap.end))
                .unwrap_or_default();
            file.write_at(bytes, gap.start)?;
            self.content.present.insert(gap);
        }
        Ok(())
    }

    /// Permission bits to set after the next upload. A mode without the owner's write bit waits for the close of the last
    /// descriptor that can write: until then more may have to be stored, which the server would refuse.
    fn mode_for_now(&self) -> Option<u32> {
        self.attributes
            .mode
            .map(|(mode, _)| mode)
            .filter(|mode| mode & OWNER_WRITES != 0 || self.attributes.is_last)
    }

    /// Attributes to set after the next upload.
    pub fn then(&self) -> Then {
        Then {
            mode: self.mode_for_now(),
            modified: self.attributes.modified,
        }
    }

    /// The change to upload.
    pub fn change(&self) -> Change {
        Change {
            base: self.content.base,
            kept: self.content.kept,
            dirty: self.joined(),
            size: self.content.size,
            emptied: self.content.emptied,
            at_hand: self.missing().is_empty(),
            broke_off: self.upload.state.is_failed() && self.upload.broke_off.is_some(),
            then: self.then(),
            ..Change::default()
        }
    }

    /// What of the local copy was never written, and is no smaller than [`MIN_HOLE`]: zeros that need not be sent where
    /// the server makes them. The disk alone does not tell: some file systems show zeros that were written as holes, and
    /// OpenZFS before 2.2.2 showed fresh data as such.
    pub fn holes(&self) -> Vec<std::ops::Range<u64>> {
        let recorded = self.content.holes.within(0..self.content.size);
        self.unallocated(&recorded)
    }

    /// [`Self::holes`] of a local copy whose record of holes is lost: the disk decides alone.
    pub fn holes_on_disk(&self) -> Vec<std::ops::Range<u64>> {
        self.unallocated(&self.content.present.within(0..self.content.size))
    }

    fn unallocated(&self, ranges: &[std::ops::Range<u64>]) -> Vec<std::ops::Range<u64>> {
        let spool = self.content.spool.as_ref();
        spool.map_or_else(Vec::new, |spool| spool.holes(ranges, MIN_HOLE))
    }

    /// What is dirty, in few ranges.
    fn joined(&self) -> Vec<std::ops::Range<u64>> {
        let mut joined: Vec<std::ops::Range<u64>> = Vec::new();
        for range in self.content.dirty.iter() {
            match joined.last_mut() {
                Some(last)
                    if range.start - last.end <= JOIN_DISTANCE
                        && self.content.present.contains(last.end..range.start) =>
                {
                    last.end = range.end;
                }
                _ => joined.push(range),
            }
        }
        joined
    }

    /// Takes over a version made by another client; nothing of this file is dirty or being sent.
    pub fn replace(&mut self, base: Version, generation: u64) {
        let size = base.size.unwrap_or(0);
        let is_another = |old: Version| !old.may_be(&base) && old.size >= base.size;
        if self.content.base.is_some_and(is_another) {
            self.content.replaced = generation;
        }
        self.content.base = Some(base);
        self.content.generation = generation;
        (self.content.kept, self.content.size, self.content.ordered) = (size, size, size);
        self.content.sizeless = base.size.is_none();
        self.content.emptied = false;
        self.content.appended = None;
        self.content.present = RangeSet::default();
        self.content.spool = None;
    }

    /// Lays what was written here over a version made by another client.
    pub fn rebase(&mut self, spool: &Spool, base: Version) -> Result<()> {
        let old = self.content.base.and_then(|base| base.size).unwrap_or(0);
        let new = base.size.unwrap_or(old);
        self.merged.has_remote_bytes = true;
        if self.content.kept == old {
            self.move_appended(spool, new)?;
            // Nothing was cut off here: the new length counts, unless more was written here. Zeros that no program
            // wrote give way to what other clients have put there.
            self.content.size = new.max(self.content.dirty.end());
            self.content.kept = new;
            for hole in self.content.holes.within(0..new) {
                self.content.dirty.remove(hole);
            }
            self.content.ordered = self.content.ordered_from(new);
        } else {
            self.content.kept = self.content.kept.min(new);
        }
        self.content.present = self.content.dirty.clone();
        self.content.base = Some(base);
        // Bytes that neither the base nor the spool has are a hole.
        let holes = self
            .content
            .present
            .gaps(self.content.kept.min(self.content.size)..self.content.size);
        for hole in holes {
            if let Some(file) = &self.content.spool {
                file.zero(hole.clone())?;
            }
            self.insert_dirty(hole);
        }
        if let Some(file) = &self.content.spool {
            file.set_size(self.content.size)?;
        }
        Ok(())
    }

    /// The server's bytes after the first `kept` ones may be anything: only the spool has the content.
    pub fn lost_base(&mut self, kept: u64) {
        self.content.kept = self.content.kept.min(kept);
        for part in self
            .content
            .present
            .within(self.content.kept..self.content.size)
        {
            self.content.dirty.insert(part);
        }
        self.content.resized = true;
    }

    /// The local copy, for a file that has one.
    pub fn spool(&mut self, spool: &Spool) -> Result<Arc<SpoolFile>> {
        if let Some(file) = &self.content.spool {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(spool.create()?);
        self.content.spool = Some(Arc::clone(&file));
        Ok(file)
    }

    fn insert_dirty(&mut self, range: std::ops::Range<u64>) {
        self.journal.is_behind = true;
        self.content.present.insert(range.clone());
        self.content.dirty.insert(range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::ReadAt;

    fn body(size: u64) -> (Body, Spool, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(directory.path().to_path_buf());
        let base = Version {
            size: Some(size),
            modified: Some(1),
        };
        let body = Body {
            content: Content {
                base: Some(base),
                kept: size,
                size,
                ..Content::default()
            },
            ..Body::default()
        };
        (body, spool, directory)
    }

    #[test]
    fn piece_comes_from_spool_or_server() {
        let (mut body, spool, _directory) = body(10);
        body.write(&spool, b"xy", 4).expect("written");
        assert_eq!(body.piece(0, 10), Some(Piece::Server(4)));
        assert_eq!(body.piece(4, 6), Some(Piece::Spool(2)));
        assert_eq!(body.piece(6, 100), Some(Piece::Server(4)));
        assert_eq!(body.piece(10, 1), None);
    }

    #[test]
    fn cutting_and_extending_never_shows_old_bytes_again() {
        let (mut body, spool, _directory) = body(10);
        body.write(&spool, b"abc", 2).expect("written");
        body.truncate(&spool, 3).expect("cut");
        body.truncate(&spool, 6).expect("extended");
        assert_eq!(body.piece(0, 10), Some(Piece::Server(2)));
        assert_eq!(body.piece(2, 10), Some(Piece::Spool(4)));
        let mut bytes = [9; 4];
        let file = body.spool(&spool).expect("a spool file");
        file.read_exact_at(&mut bytes, 2).expect("read");
        assert_eq!(&bytes, b"a\0\0\0");
        assert_eq!(body.content.kept, 3);
    }

    #[test]
    fn a_write_beyond_the_end_leaves_zeros_between() {
        let (mut body, spool, _directory) = body(2);
        body.write(&spool, b"z", 5).expect("written");
        assert_eq!(body.piece(2, 4), Some(Piece::Spool(4)));
        assert_eq!(body.change().first_dirty(), 2);
        assert_eq!(body.missing(), vec![0..2]);
    }

    #[test]
    fn a_write_that_failed_has_changed_nothing() {
        let (mut body, spool, _directory) = body(10);
        // Larger than any file can be.
        let failed = body.write(&spool, b"z", i64::MAX as u64);
        assert!(failed.is_err());
        assert_eq!((body.content.size, body.content.kept), (10, 10));
        assert!(!body.is_dirty() && body.content.holes.is_empty());
        assert_eq!(body.missing(), vec![0..10]);
    }

    #[test]
    fn filling_does_not_overwrite_what_was_written() {
        let (mut body, spool, _directory) = body(4);
        body.write(&spool, b"W", 1).expect("written");
        body.fill(&spool, b"base", 0).expect("filled");
        let mut bytes = [0; 4];
        let file = body.spool(&spool).expect("a spool file");
        file.read_exact_at(&mut bytes, 0).expect("read");
        assert_eq!(&bytes, b"bWse");
        assert!(body.missing().is_empty());
    }

    #[test]
    fn rebase_keeps_local_writes_over_the_new_base() {
        let (mut body, spool, _directory) = body(4);
        body.write(&spool, b"W", 1).expect("written");
        body.rebase(
            &spool,
            Version {
                size: Some(8),
                modified: Some(2),
            },
        )
        .expect("rebased");
        assert_eq!((body.content.size, body.content.kept), (8, 8));
        assert_eq!(body.missing(), vec![0..1, 2..8]);
        body.rebase(
            &spool,
            Version {
                size: Some(0),
                modified: Some(3),
            },
        )
        .expect("rebased");
        assert_eq!((body.content.size, body.content.kept), (2, 0));
        assert!(body.missing().is_empty());
    }

    #[test]
    fn a_hole_gives_way_to_what_others_have_appended() {
        let (mut body, spool, _directory) = body(4);
        body.write(&spool, b"W", 8).expect("written");
        body.rebase(
            &spool,
            Version {
                size: Some(6),
                modified: Some(2),
            },
        )
        .expect("rebased");
        assert_eq!((body.content.size, body.content.kept), (9, 6));
        assert_eq!(body.missing(), vec![0..6]);
        assert_eq!(body.change().dirty, vec![6..9]);
    }
}
