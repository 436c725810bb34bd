//! An open file: a base version on the server, and over it what was written here.
//!
//! The one idea: reading asks, piece by piece, who has the bytes: the spool (what is *present*), the
//! server (what of the base still stands, the first `kept` bytes), or nobody (a hole, which is zeros and
//! is present as such). *Dirty* is what the server does not have yet.
//!
//! What is written in order is on its way while it is written (`streaming.rs`): bytes that a stream has
//! taken are dirty no more, and come back when it fails.
//!
//! One `File` serves all handles of an inode. Its lock is never held while the server is asked; an
//! upload reads the spool without it, and what is written meanwhile is dirty for the next one.
//!
//! Invariants: `dirty` is within `present`; everything from `kept` to `size` is present.
//!
//! Lock order: `body` before the tree's lock and the reader's.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::remote::{Change, Deadline, RemotePath, Then, Updated, Version};
use crate::vfs::error::{Error, Result};
use crate::vfs::file::range_set::RangeSet;
use crate::vfs::file::spool::{Spool, SpoolFile};
use crate::vfs::readahead::Reader;

/// An open file.
pub struct File {
    /// The inode number.
    pub ino: u64,
    /// Reads what the server has.
    pub reader: Arc<Reader>,
    /// What was written here.
    pub body: Mutex<Body>,
    /// An upload has ended, or a stream has got on.
    pub uploaded: Condvar,
}

/// What of an open file differs from the server.
#[derive(Default)]
pub struct Body {
    /// What the server has; `None` when the name is not there yet.
    pub base: Option<Version>,
    /// The generation of the content that the base is.
    pub generation: u64,
    /// The generation that took the place of another content, if it did not just grow.
    pub replaced: u64,
    /// Bytes of the base that still stand, from its start.
    pub kept: u64,
    /// Bytes of the whole file.
    pub size: u64,
    /// The size is not known: reads go on to the end.
    pub sizeless: bool,
    /// The server takes nothing behind what it has of the file: the rest goes with all of it, at a flush.
    pub unappendable: bool,
    /// The local copy, made with the first write.
    pub spool: Option<Arc<SpoolFile>>,
    /// What the spool holds.
    pub present: RangeSet,
    /// What the server lacks.
    pub dirty: RangeSet,
    /// Zeros that nobody wrote, between an old end and what was put behind it.
    pub holes: RangeSet,
    /// The size differs from the base, or the name is new.
    pub resized: bool,
    /// It was emptied here: whatever others make of the base meanwhile, nothing of it is to be left.
    pub emptied: bool,
    /// Its name must be new on the server, which has not heard of it yet.
    pub exclusive: bool,
    /// What an upload that is under way brings: bytes that were not written here, too, where it goes over them.
    pub flying: RangeSet,
    /// A close of it is being written down.
    pub committing: bool,
    /// The number under which the journal has it.
    pub journal: Option<u64>,
    /// Earlier closes of it that the journal keeps until a later one is on the server.
    pub superseded: Vec<u64>,
    /// Something was about to be sent that the server has not confirmed (see `begun.rs`).
    pub begun: bool,
    /// The number of what the journal knows that it may have begun to arrive.
    pub noted: Option<u64>,
    /// An upload is under way, or somebody else claims the file.
    pub uploading: bool,
    /// By when that ends, if it does not get on.
    pub until: Option<Deadline>,
    /// What was written in order from the start or the base's end on reaches so far.
    pub ordered: u64,
    /// The transfer that brings to the server what is being written.
    pub stream: Option<Stream>,
    /// What streams have brought since the server was asked last went behind what was there before.
    pub behind: bool,
    /// Streams have brought everything, and the server has not been asked yet what it then had.
    pub unconfirmed: bool,
    /// What the server said of it behind the last stream, and what was set by then.
    pub said: Option<(Then, Updated)>,
    /// There may be something of ours under the name, although the base does not tell of it: a transfer was taken
    /// that has not ended well (see `begun.rs`).
    pub touched: bool,
    /// The base is a newer one than the reader knows of.
    pub rebased: bool,
    /// Why a stream ended, or an upload behind a close, until somebody was told.
    pub broken: Option<Error>,
    /// Who went on writing was told.
    pub heard: bool,
    /// A stream ended, and what it had sent is no longer here: nothing can bring the file about.
    pub hopeless: Option<Error>,
    /// Why the last upload failed.
    pub why: Option<Error>,
    /// The last upload failed: what could not be brought to the server is kept at the last close.
    pub failed: bool,
    /// What was written since [`Body::written`] was 0 last, where parts may be sent early.
    pub young: RangeSet,
    /// Bytes that were written since somebody looked what may be sent early.
    pub written: u64,
    /// From here on all of it was appended: it goes behind whatever others put before it (see `appending.rs`).
    pub appended: Option<u64>,
    /// Others' bytes have come into it: what the kernel has of it is wrong.
    pub mixed: bool,
    /// So they had when it was stored, and whoever waits for that has yet to hear of it.
    pub unheard: bool,
    /// Up to where an append that broke off was to reach, while what it sent is still the same.
    pub broke_off: Option<u64>,
    /// A flush has found nothing to send but an empty file, and has waited for more.
    pub waited: bool,
    /// Permission bits to be set behind the upload, and whether a caller was told that they are set.
    pub mode: Option<(u32, bool)>,
    /// A time to be set behind the upload.
    pub modified: Option<i64>,
    /// It has no name any more: nothing of it goes to the server.
    pub removed: bool,
    /// A name that it bears on the server until the last close, after its own was removed.
    pub aside: Option<RemotePath>,
    /// Where it is on the server until it is whole.
    pub beside: Option<Beside>,
}

/// What a file that is to appear at once is on the server before that: the base lies there.
#[derive(Clone, Debug)]
pub struct Beside {
    /// The name that it bears.
    pub path: RemotePath,
    /// What has its own name; `None` when that is new.
    pub replaces: Option<Version>,
}

/// A transfer that goes on while the file is being written.
#[derive(Debug)]
pub struct Stream {
    /// Bytes of the file that it has taken.
    pub sent: u64,
    /// Bytes that the server has confirmed.
    pub confirmed: u64,
    /// The server has taken a transfer of which it has not confirmed anything yet.
    pub taken: bool,
    /// Of these, what the journal knows of, which has the rest of the file in its spool.
    pub vouched: u64,
    /// Bytes from the start that the spool may have given up.
    pub released: u64,
    /// It is to end here at the latest; `None` while more may be written.
    pub goal: Option<u64>,
    /// The local disk is full: the spool keeps as little as it can.
    pub tight: bool,
}

/// Ranges that are so close are sent as one, if what lies between them is here: less than what another
/// transfer costs.
const JOIN: u64 = 32 * 1024;

/// The permission bit by which servers let the owner write.
pub const OWNER_WRITES: u32 = 0o200;

/// Where a piece of a file is to be read from.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes of the spool.
    Spool(usize),
    /// So many bytes of the server's file.
    Server(usize),
}

impl File {
    /// A file that is on the server as `base`, in the generation of its content.
    pub fn new(ino: u64, reader: Arc<Reader>, base: Option<Version>, generation: u64) -> Arc<Self> {
        let size = base.and_then(|base| base.size);
        Arc::new(Self {
            ino,
            reader,
            body: Mutex::new(Body {
                base,
                generation,
                kept: size.unwrap_or(0),
                size: size.unwrap_or(0),
                sizeless: base.is_some() && size.is_none(),
                resized: base.is_none(),
                ordered: size.unwrap_or(0),
                ..Body::default()
            }),
            uploaded: Condvar::new(),
        })
    }
}

impl Body {
    /// Whether the server lacks something.
    pub fn is_dirty(&self) -> bool {
        let streamed = self.stream.is_some() || self.unconfirmed || self.beside.is_some();
        !self.removed && (self.resized || streamed || !self.dirty.is_empty())
    }

    /// Whether nothing of it is still to be brought to the server.
    pub fn is_settled(&self) -> bool {
        !self.is_dirty() && !self.uploading && self.mode.is_none()
    }

    /// Whether the last close would have nothing to do.
    pub fn is_at_rest(&self) -> bool {
        self.is_settled() && self.aside.is_none()
    }

    /// Writes to the spool.
    pub fn write(&mut self, spool: &Spool, bytes: &[u8], offset: u64) -> Result<()> {
        let end = offset
            .checked_add(bytes.len() as u64)
            .ok_or(Error::TooBig)?;
        let file = self.spool(spool)?;
        if offset > self.size {
            // Something of a write that failed may be there.
            file.zero(self.size..offset)?;
        }
        file.write_at(bytes, offset)?;
        // Nothing that failed has changed the file.
        if offset > self.size {
            self.insert_dirty(self.size..offset);
            self.holes.insert(self.size..offset);
        }
        self.holes.remove(offset..end);
        self.insert_dirty(offset..end);
        if end > self.size {
            self.appended = None;
        }
        self.size = self.size.max(end);
        if self.broke_off.is_some_and(|end| offset < end) {
            self.broke_off = None;
        }
        if offset <= self.ordered {
            // What was written ahead of its turn counts when the gap before it is closed.
            self.ordered = self.dirty.stretch(self.ordered.max(end));
        }
        if self.kept > 0 {
            self.young.insert(offset..end);
            self.written += bytes.len() as u64;
        }
        Ok(())
    }

    /// Cuts the file, or extends it by zeros.
    pub fn truncate(&mut self, spool: &Spool, size: u64) -> Result<()> {
        if size == 0 && self.base.is_some() {
            // Also where it is taken for empty: others may have put something in it since that was seen.
            (self.emptied, self.resized) = (true, true);
        }
        if size == self.size && !self.sizeless {
            return Ok(());
        }
        if self.sizeless && size > 0 {
            return Err(Error::Unsupported);
        }
        self.sizeless = false;
        if size < self.size {
            self.broke_off = None;
        }
        if size == 0 {
            // What went wrong with the content that goes concerns nobody any more.
            (self.broken, self.hopeless) = (None, None);
            self.heard = false;
        }
        if size < self.size {
            if let Some(file) = &self.spool {
                file.set_size(size)?;
            }
            self.present.truncate(size);
            self.dirty.truncate(size);
            self.holes.truncate(size);
            self.kept = self.kept.min(size);
            self.ordered = self.ordered.min(size);
        } else {
            let file = self.spool(spool)?;
            file.set_size(self.size)?;
            file.set_size(size)?;
            self.insert_dirty(self.size..size);
            self.holes.insert(self.size..size);
        }
        // Where it ends now was said.
        self.appended = None;
        self.size = size;
        self.resized = true;
        Ok(())
    }

    /// Who has the bytes at `offset`, up to `size` of them; `None` at the end of the file.
    pub fn piece(&self, offset: u64, size: usize) -> Option<Piece> {
        if offset >= self.size {
            return None;
        }
        let end = (offset + size as u64).min(self.size);
        let length = |end: u64| usize::try_from(end - offset).unwrap_or(usize::MAX);
        let gap = self.present.gaps(offset..end).into_iter().next();
        Some(match gap {
            None => Piece::Spool(length(end)),
            Some(gap) if gap.start > offset => Piece::Spool(length(gap.start)),
            Some(gap) => Piece::Server(length(gap.end)),
        })
    }

    /// The parts that must come from the server before the whole file can be sent.
    pub fn missing(&self) -> Vec<std::ops::Range<u64>> {
        self.present.gaps(0..self.size)
    }

    /// Keeps bytes that came from the server, where nothing was written meanwhile.
    pub fn fill(&mut self, spool: &Spool, bytes: &[u8], offset: u64) -> Result<()> {
        let end = (offset + bytes.len() as u64).min(self.size);
        let file = self.spool(spool)?;
        for gap in self.present.gaps(offset..end.max(offset)) {
            let part = |at: u64| usize::try_from(at - offset).unwrap_or(usize::MAX);
            let bytes = bytes
                .get(part(gap.start)..part(gap.end))
                .unwrap_or_default();
            file.write_at(bytes, gap.start)?;
            self.present.insert(gap);
        }
        Ok(())
    }

    /// The bits that may be set behind the next upload. Ones without the owner's right to write wait for the
    /// last close: until then more may have to be stored, which the server would refuse.
    fn mode_for_now(&self) -> Option<u32> {
        self.mode
            .map(|(mode, _)| mode)
            .filter(|mode| mode & OWNER_WRITES != 0)
    }

    /// What is to be set behind the next upload.
    pub fn then(&self) -> Then {
        Then {
            mode: self.mode_for_now(),
            modified: self.modified,
        }
    }

    /// What is to be brought to the server.
    pub fn change(&self) -> Change {
        Change {
            base: self.base,
            kept: self.kept,
            dirty: self.joined(),
            size: self.size,
            emptied: self.emptied,
            broke_off: self.failed && self.broke_off.is_some(),
            then: self.then(),
            ..Change::default()
        }
    }

    /// What is dirty, in few ranges.
    fn joined(&self) -> Vec<std::ops::Range<u64>> {
        let mut joined: Vec<std::ops::Range<u64>> = Vec::new();
        for range in self.dirty.iter() {
            match joined.last_mut() {
                Some(last)
                    if range.start - last.end <= JOIN
                        && self.present.contains(last.end..range.start) =>
                {
                    last.end = range.end;
                }
                _ => joined.push(range),
            }
        }
        joined
    }

    /// Others changed the server's file while nothing of ours was on its way there.
    pub fn replace(&mut self, base: Version, generation: u64) {
        let size = base.size.unwrap_or(0);
        let is_another = |old: Version| !old.may_be(&base) && old.size >= base.size;
        if self.base.is_some_and(is_another) {
            self.replaced = generation;
        }
        self.base = Some(base);
        self.generation = generation;
        (self.kept, self.size, self.ordered) = (size, size, size);
        self.sizeless = base.size.is_none();
        self.emptied = false;
        self.appended = None;
        self.present = RangeSet::default();
        self.spool = None;
    }

    /// Others changed the server's file: what we wrote is laid over the new base.
    pub fn rebase(&mut self, spool: &Spool, base: Version) -> Result<()> {
        let old = self.base.and_then(|base| base.size).unwrap_or(0);
        let new = base.size.unwrap_or(old);
        self.mixed = true;
        if self.kept == old {
            self.move_appended(spool, new)?;
            // Nothing was cut off here: the new length counts, unless we wrote beyond it. Zeros that nobody
            // wrote give way to what others have put there.
            self.size = new.max(self.dirty.end());
            self.kept = new;
            for hole in self.holes.within(0..new) {
                self.dirty.remove(hole);
            }
            self.ordered = self.dirty.stretch(new);
        } else {
            self.kept = self.kept.min(new);
        }
        self.present = self.dirty.clone();
        self.base = Some(base);
        // What neither the base nor we have is a hole.
        let holes = self.present.gaps(self.kept.min(self.size)..self.size);
        for hole in holes {
            if let Some(file) = &self.spool {
                file.zero(hole.clone())?;
            }
            self.insert_dirty(hole);
        }
        if let Some(file) = &self.spool {
            file.set_size(self.size)?;
        }
        Ok(())
    }

    /// What the server has behind the first `kept` bytes may be anything: the spool alone has it.
    pub fn lost_base(&mut self, kept: u64) {
        self.kept = self.kept.min(kept);
        for part in self.present.within(self.kept..self.size) {
            self.dirty.insert(part);
        }
        self.resized = true;
    }

    /// The local copy, for a file that has one.
    pub fn spool(&mut self, spool: &Spool) -> Result<Arc<SpoolFile>> {
        if let Some(file) = &self.spool {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(spool.create()?);
        self.spool = Some(Arc::clone(&file));
        Ok(file)
    }

    fn insert_dirty(&mut self, range: std::ops::Range<u64>) {
        self.present.insert(range.clone());
        self.dirty.insert(range);
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
            base: Some(base),
            kept: size,
            size,
            ..Body::default()
        };
        (body, spool, directory)
    }

    #[test]
    fn pieces_come_from_whoever_has_them() {
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
        assert_eq!(body.kept, 3);
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
        assert_eq!((body.size, body.kept), (10, 10));
        assert!(!body.is_dirty() && body.holes.is_empty());
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
    fn what_others_changed_is_laid_under_what_we_wrote() {
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
        assert_eq!((body.size, body.kept), (8, 8));
        assert_eq!(body.missing(), vec![0..1, 2..8]);
        body.rebase(
            &spool,
            Version {
                size: Some(0),
                modified: Some(3),
            },
        )
        .expect("rebased");
        assert_eq!((body.size, body.kept), (2, 0));
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
        assert_eq!((body.size, body.kept), (9, 6));
        assert_eq!(body.missing(), vec![0..6]);
        assert_eq!(body.change().dirty, vec![6..9]);
    }
}
