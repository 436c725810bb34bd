//! Resumes a stream after a broken transfer.
//!
//! The bytes show what has arrived. The tail of what the server has is compared with what was sent: if they agree, the
//! next transfer appends to that, or to what other clients have appended since; if not, everything is sent again, unless
//! the server had confirmed a part. The first bytes are compared too where they were sent as early data: had the server
//! dropped those, the following bytes would lie in their place, and a repetitive tail would not show it.
//!
//! # Lock order
//!
//! The file's lock, and no request to the server under it.

use std::ops::Range;

use crate::remote;
use crate::remote::{Ask, Deadline, Done, ReadAt, Reading, Step, Version, Why, perform_one};
use crate::vfs::upload::stream::sender::Sender;

/// Bytes at the end of what the server has that are compared before a stream resumes after them.
const COMPARED_TAIL: u64 = 64 * 1024;

impl Sender {
    /// After a transfer broke: goes back to what the server has, if that is what was sent and the spool
    /// still has the rest.
    pub(crate) fn resume(&self) -> remote::Result<()> {
        if self.file.body.lock().rewind() {
            return Ok(());
        }
        let deadline = self.deadline();
        let has = self.has(&deadline)?;
        let (sent, confirmed, clean) = {
            let body = self.file.body.lock();
            let Some(stream) = &body.upload.stream else {
                return Ok(());
            };
            let start = has.saturating_sub(COMPARED_TAIL).max(stream.confirmed);
            // Bytes overwritten since they were sent prove nothing.
            let tail = start.max(stream.released)..has.min(stream.sent);
            let clean = body.content.dirty.gaps(tail.clone()).pop();
            (stream.sent, stream.confirmed, clean.unwrap_or(0..0))
        };
        let other = |saw: String| remote::Error::misbehaved(format!("storing {}", self.path), saw);
        // Other clients may have appended to it.
        let more = has > sent && !(self.from_start && confirmed == 0);
        let all = more && !clean.is_empty() && self.holds(clean.clone(), &deadline)?;
        if has < confirmed || more && !all {
            return Err(other(format!(
                "of {sent} bytes that were sent it now has {has}"
            )));
        }
        let mut from = has.min(sent);
        if !all
            && (has > sent
                || !self.holds(clean, &deadline)?
                || !self.holds_early(has, &deadline)?)
        {
            if confirmed > 0 {
                return Err(other(
                    "another client has written to it meanwhile".to_string(),
                ));
            }
            // Not what was sent, or not yet: all of it once more.
            from = 0;
        }
        let mut body = self.file.body.lock();
        if !body.content.present.contains(from..sent) {
            return Err(other(format!(
                "it has {has} of {sent} bytes, and what lies between is no longer here"
            )));
        }
        body.content.dirty.insert(from..sent);
        if let Some(stream) = &mut body.upload.stream {
            stream.sent = from;
        }
        if from > confirmed {
            body.stream_confirmed();
        }
        Ok(())
    }

    /// The size of what the server has.
    fn has(&self, deadline: &Deadline) -> remote::Result<u64> {
        let step = Step::Version(&self.path);
        match perform_one(self.streams.remote.as_ref(), step, &Ask::flush(deadline)) {
            Ok(Done::Version(Version { size, .. })) => Ok(size.unwrap_or(0)),
            Ok(_) => Ok(0),
            Err(error) if error.why() == Some(Why::NotFound) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Whether the server, which has `has` bytes, has those that were sent as early data.
    fn holds_early(&self, has: u64, deadline: &Deadline) -> remote::Result<bool> {
        let there = usize::try_from(has).unwrap_or(usize::MAX);
        self.has_there(0, &self.early[..self.early.len().min(there)], deadline)
    }

    /// Whether the server has the same bytes there.
    fn holds(&self, range: Range<u64>, deadline: &Deadline) -> remote::Result<bool> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        let mut ours = vec![0; length];
        self.spool
            .read_exact_at(&mut ours, range.start)
            .map_err(|error| remote::Error::local("reading the spool", &error))?;
        self.has_there(range.start, &ours, deadline)
    }

    fn has_there(&self, at: u64, ours: &[u8], deadline: &Deadline) -> remote::Result<bool> {
        if ours.is_empty() {
            return Ok(true);
        }
        let remote = &self.streams.remote;
        let mut source = remote.read(&self.path, &Reading::at(at), &Ask::flush(deadline))?;
        let mut theirs = vec![0; ours.len()];
        let mut filled = 0;
        while filled < theirs.len() {
            match source.read(&mut theirs[filled..], deadline)? {
                0 => return Ok(false),
                read => filled += read,
            }
        }
        Ok(ours == theirs)
    }
}
