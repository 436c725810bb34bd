//! Decides whose content the server has under a name that is in the journal: ours, or another client's.
//!
//! The bytes decide. An entry has a base version; if nothing of it may have begun to arrive, only exactly that base, or
//! all of ours, is ours. Otherwise an upload that broke off leaves the first bytes of what was sent; whatever differs from
//! them was written by another client.

use std::ops::Range;

use crate::remote::{Ask, Deadline, ReadAt, Reading, RemotePath, Source, Version, Why};
use crate::vfs::error::Result;
use crate::vfs::journal::record::Intent;
use crate::vfs::spool::SpoolFile;
use crate::vfs::writeback::WriteBack;

/// Bytes compared at once.
const COMPARE_BUFFER: usize = 256 * 1024;
/// Bytes at the start of a part that prove that it has begun to arrive, or all of a shorter part: a single byte is
/// soon equal by chance.
const MIN_EVIDENCE: u64 = 16;

/// What the server has, seen from what was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// What it had before, or nothing where there was nothing.
    Base,
    /// Some of ours.
    Ours,
    /// All of ours.
    Done,
    /// Another content, for this reason.
    Others(&'static str),
}

/// One version of a file that was left.
pub(crate) struct Known<'a> {
    pub(crate) intent: &'a Intent,
    pub(crate) spool: &'a SpoolFile,
}

/// What the server has, as it is read.
struct Theirs<'a> {
    source: Box<dyn Source>,
    deadline: &'a Deadline,
}

impl WriteBack {
    /// What the server's `version` is, seen from all versions that were left, the newest first.
    pub(crate) fn compare(
        &self,
        path: &RemotePath,
        version: Version,
        ours: &[Known<'_>],
        deadline: &Deadline,
    ) -> Result<Found> {
        let is_base = |one: &Known<'_>| one.intent.base.is_some_and(|base| base.may_be(&version));
        if ours.iter().any(is_base) {
            return Ok(Found::Base);
        }
        let longest = ours.iter().map(|one| one.intent.size).max();
        for (at, one) in ours.iter().enumerate() {
            let found = one.find(version.size.unwrap_or(u64::MAX), &mut |from| {
                self.theirs(path, from, deadline)
            })?;
            match found {
                None => {}
                // What follows was appended by other clients, if it is not of an earlier version.
                Some(Arrived::All { more }) if at == 0 => {
                    let is_done = !more || longest == Some(one.intent.size);
                    return Ok(if is_done { Found::Done } else { Found::Ours });
                }
                Some(_) => return Ok(Found::Ours),
            }
        }
        Ok(Found::Others(
            "another client has changed it on the server since",
        ))
    }

    /// The server's bytes from an offset on.
    fn theirs<'a>(
        &self,
        path: &RemotePath,
        from: u64,
        deadline: &'a Deadline,
    ) -> Result<Theirs<'a>> {
        let ask = Ask::flush(deadline);
        let (source, passed) = match self.remote.read(path, &Reading::at(from), &ask) {
            Err(error) if from > 0 && error.why() == Some(Why::Unsupported) => {
                (self.remote.read(path, &Reading::at(0), &ask)?, from)
            }
            source => (source?, 0),
        };
        let mut theirs = Theirs { source, deadline };
        let mut buffer = vec![0; COMPARE_BUFFER];
        let mut left = passed;
        while left > 0 {
            let length = usize::try_from(left)
                .unwrap_or(COMPARE_BUFFER)
                .min(COMPARE_BUFFER);
            match theirs.fill(&mut buffer[..length])? {
                0 => break,
                length => left -= length as u64,
            }
        }
        Ok(theirs)
    }
}

impl Theirs<'_> {
    /// As many bytes as there are, up to all.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..], self.deadline)? {
                0 => break,
                length => filled += length,
            }
        }
        Ok(filled)
    }
}

/// How much of a version the server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrived {
    /// Something of it.
    Some,
    /// All of it, possibly with more after it.
    All { more: bool },
}

type Open<'a, 'b> = &'a mut dyn FnMut(u64) -> Result<Theirs<'b>>;

impl Known<'_> {
    /// What of this version a file of `size` bytes has, if it is of it.
    fn find(&self, size: u64, open: Open<'_, '_>) -> Result<Option<Arrived>> {
        match self.is_whole() {
            true => self.find_whole(size, open),
            false => self.find_parts(size, open),
        }
    }

    /// Whether all bytes of the file are in the journal.
    fn is_whole(&self) -> bool {
        match &self.intent.dirty[..] {
            [] => self.intent.size == 0,
            [range] => *range == (0..self.intent.size),
            _ => false,
        }
    }

    fn find_whole(&self, size: u64, open: Open<'_, '_>) -> Result<Option<Arrived>> {
        let all = self.intent.size;
        if !self.intent.begun && size != all {
            return Ok(None);
        }
        let there = 0..size.min(all);
        if self.agrees(there.clone(), open)? < there.end {
            return Ok(None);
        }
        Ok(Some(match size < all {
            true => Arrived::Some,
            false => Arrived::All { more: size > all },
        }))
    }

    /// Parts were being sent: the server has the base with some of them.
    fn find_parts(&self, size: u64, open: Open<'_, '_>) -> Result<Option<Arrived>> {
        let Intent {
            base, dirty, begun, ..
        } = self.intent;
        let Some(base) = base.and_then(|base| base.size).filter(|_| *begun) else {
            return Ok(None);
        };
        let Some(first) = dirty.first().cloned() else {
            return Ok(None);
        };
        let appends = self.intent.kept == base && first.start >= base;
        let lowest = base.min(self.intent.size).min(first.start);
        let highest = base.max(self.intent.size);
        if size < lowest || size > highest && !appends {
            return Ok(None);
        }
        // Within the base the start of what was sent first is there, if anything is.
        let begin = first.start..first.end.min(base.max(first.start)).min(size);
        let telling = (begin.end - begin.start).min(MIN_EVIDENCE);
        let mut arrived = 0;
        if telling > 0 {
            arrived = self.agrees(begin.start..begin.start + telling, open)?;
            if arrived < telling {
                return Ok(None);
            }
        }
        // After the base there must be nothing but ours.
        for range in dirty {
            let behind = range.start.max(base)..range.end.min(size);
            if behind.start >= behind.end {
                continue;
            }
            let same = self.agrees(behind.clone(), open)?;
            if same < behind.end - behind.start {
                return Ok(None);
            }
            arrived += same;
        }
        if arrived == 0 {
            return Ok(None);
        }
        Ok(Some(match appends && size >= self.intent.size {
            true => Arrived::All {
                more: size > self.intent.size,
            },
            false => Arrived::Some,
        }))
    }

    /// How many bytes at the start of a range are the same there and here.
    fn agrees(&self, range: Range<u64>, open: Open<'_, '_>) -> Result<u64> {
        let here = self.spool.length()?.min(range.end);
        let mut theirs = open(range.start)?;
        let mut at = range.start;
        let (mut one, mut other) = (vec![0; COMPARE_BUFFER], vec![0; COMPARE_BUFFER]);
        while at < here {
            let wanted = usize::try_from(here - at)
                .unwrap_or(COMPARE_BUFFER)
                .min(COMPARE_BUFFER);
            let got = theirs.fill(&mut one[..wanted])?;
            self.spool.read_exact_at(&mut other[..got], at)?;
            let pairs = one[..got].iter().zip(&other[..got]);
            let same = pairs.take_while(|(one, other)| one == other).count();
            at += same as u64;
            if same < wanted {
                break;
            }
        }
        Ok(at - range.start)
    }
}
