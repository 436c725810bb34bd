//! O_APPEND: appended bytes go after the end of the file, wherever that is when they are stored.
//!
//! A program that appends names no offset. The kernel computes one from the size that it knows, which other clients may
//! have changed since; so the offset is chosen here, and may still move until the bytes are on the server. The *appended*
//! tail of a file goes after whatever other clients have appended before it.

use std::sync::Arc;

use crate::remote::ReadAt;
use crate::vfs::error::Result;
use crate::vfs::file::open_file::{Body, File};
use crate::vfs::file::open_files::OpenFiles;
use crate::vfs::spool::{Spool, SpoolFile};

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// At this offset.
    At(u64),
    /// At the end of the file.
    End,
}

/// Bytes copied at once.
const COPY_BUFFER: usize = 1 << 20;

impl OpenFiles {
    /// The offset at which a write begins, as things are now.
    pub(crate) fn offset_of(&self, file: &File, body: &mut Body, spot: Spot) -> u64 {
        match spot {
            Spot::At(offset) => offset,
            Spot::End => {
                self.follow_server(file, body);
                body.content.size
            }
        }
    }

    /// Before the appended tail moves: the journal keeps its entry with the old offsets until all of the file is
    /// stored.
    pub(crate) fn leave_journaled(&self, body: &mut Body) {
        if body.content.appended.is_none() {
            return;
        }
        body.journal.superseded.extend(body.journal.id.take());
    }
}

impl Body {
    /// Appends; returns the offset.
    pub fn append(&mut self, spool: &Spool, bytes: &[u8]) -> Result<u64> {
        let (offset, before) = (self.content.size, self.content.appended);
        self.write(spool, bytes, offset)?;
        self.content.appended = before.or(Some(offset));
        Ok(offset)
    }

    /// The server has everything up to `stored`: only what lies after it is still appended.
    pub fn appended_from(&mut self, stored: u64) {
        let rest = self.content.appended.filter(|_| self.content.size > stored);
        self.content.appended = rest.map(|from| from.max(stored));
    }

    /// Moves the appended tail after a base of `base` bytes, and after everything else that was written here. Into
    /// another spool file: the journal may hold the old one as it is.
    pub(crate) fn move_appended(&mut self, spool: &Spool, base: u64) -> Result<()> {
        let Some(from) = self.content.appended else {
            return Ok(());
        };
        let mut below = self.content.dirty.clone();
        below.truncate(from);
        let to = base.max(below.end());
        let (Some(old), true) = (
            &self.content.spool,
            self.content.dirty.contains(from..self.content.size),
        ) else {
            return Ok(());
        };
        if to == from {
            return Ok(());
        }
        let length = self.content.size - from;
        let new = spool.create()?;
        let placed = below.iter().map(|range| (range.clone(), range.start));
        for (range, at) in placed.chain(std::iter::once((from..self.content.size, to))) {
            copy(old.as_ref(), range, &new, at)?;
        }
        (self.content.spool, self.content.dirty) = (Some(Arc::new(new)), below);
        self.content.holes.truncate(to);
        self.content.dirty.insert(to..to + length);
        self.content.size = to + length;
        (self.content.appended, self.upload.broke_off) = (Some(to), None);
        Ok(())
    }
}

fn copy(from: &dyn ReadAt, range: std::ops::Range<u64>, to: &SpoolFile, mut at: u64) -> Result<()> {
    let mut buffer =
        vec![0; COPY_BUFFER.min(usize::try_from(range.end - range.start).unwrap_or(COPY_BUFFER))];
    let mut start = range.start;
    while start < range.end {
        let length = buffer
            .len()
            .min(usize::try_from(range.end - start).unwrap_or(COPY_BUFFER));
        from.read_exact_at(&mut buffer[..length], start)?;
        to.write_at(&buffer[..length], at)?;
        start += length as u64;
        at += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::Version;
    use crate::vfs::file::content::Content;

    fn of(size: u64) -> Version {
        Version {
            size: Some(size),
            modified: Some(2),
        }
    }

    fn body(size: u64) -> (Body, Spool, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(directory.path().to_path_buf());
        let body = Body {
            content: Content {
                base: Some(of(size)),
                kept: size,
                size,
                ordered: size,
                ..Content::default()
            },
            ..Body::default()
        };
        (body, spool, directory)
    }

    fn bytes(body: &Body, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let spool = body.content.spool.as_ref().expect("a spool file");
        spool.read_exact_at(&mut bytes, at).expect("read");
        bytes
    }

    #[test]
    fn appended_tail_moves_after_remote_appends() {
        let (mut body, spool, _directory) = body(4);
        body.write(&spool, b"W", 1).expect("written");
        assert_eq!(body.append(&spool, b"one").expect("appended"), 4);
        assert_eq!(body.append(&spool, b"two").expect("appended"), 7);
        body.rebase(&spool, of(6)).expect("rebased");
        assert_eq!((body.content.kept, body.content.size), (6, 12));
        assert_eq!(body.missing(), vec![0..1, 2..6]);
        assert_eq!(bytes(&body, 1, 1), b"W");
        assert_eq!(bytes(&body, 6, 6), b"onetwo");
    }

    #[test]
    fn appended_tail_moves_to_the_end_of_a_cut_file() {
        let (mut body, spool, _directory) = body(100);
        body.append(&spool, b"line").expect("appended");
        body.rebase(&spool, of(0)).expect("rebased");
        assert_eq!((body.content.kept, body.content.size), (0, 4));
        assert!(body.missing().is_empty());
        assert_eq!(bytes(&body, 0, 4), b"line");
    }

    #[test]
    fn write_at_an_offset_is_not_moved() {
        let (mut body, spool, _directory) = body(4);
        body.append(&spool, b"one").expect("appended");
        body.write(&spool, b"two", 7).expect("written");
        body.rebase(&spool, of(6)).expect("rebased");
        assert_eq!((body.content.kept, body.content.size), (6, 10));
        assert_eq!(bytes(&body, 4, 6), b"onetwo");
    }

    #[test]
    fn stored_part_of_appended_tail_is_not_moved() {
        let (mut body, spool, _directory) = body(4);
        body.append(&spool, b"one").expect("appended");
        body.append(&spool, b"two").expect("appended");
        body.appended_from(7);
        assert_eq!(body.content.appended, Some(7));
        body.appended_from(10);
        assert_eq!(body.content.appended, None);
    }
}
