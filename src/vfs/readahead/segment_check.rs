//! Compares what two streams received where their segments meet.
//!
//! A stream reads on for a few KiB after the end of its segment and compares them with what the next stream received. Only
//! bytes that agree are put together; otherwise another client has changed the file, or the server ignores REST.
//!
//! # Lock order
//!
//! The reader's `state` before the block cache; neither while the server is asked.

use crate::remote::{Ask, Deadline, Done, Error, Result, Source, Step, perform_one};
use crate::vfs::readahead::fetcher::Fetcher;

/// Bytes compared to see whether two transfers agree.
const COMPARED_LENGTH: usize = 4096;

impl Fetcher {
    /// Compares the bytes after `end`, the end of this segment, with those of the next stream, or leaves them for that
    /// stream to compare. What ends there is published only afterwards: no reader crosses an unchecked boundary.
    pub(crate) fn check_boundary(
        &mut self,
        source: &mut dyn Source,
        end: u64,
        deadline: &Deadline,
    ) -> Result<()> {
        self.is_boundary_checked = true;
        let ours = source.read_up_to(COMPARED_LENGTH, deadline)?;
        let file = (self.reader.ino, self.generation);
        let blocks = &self.reader.context.blocks;
        let mut state = self.reader.state.lock();
        let theirs = match blocks.collect(file, end, end + ours.len() as u64) {
            Err(missing) if missing > end => blocks.collect(file, end, missing),
            theirs => theirs,
        };
        match theirs {
            Err(_) => {
                state.boundaries.lookahead.insert(end, ours);
                Ok(())
            }
            Ok(theirs) if theirs.with(|theirs| agree(theirs, &ours)) => {
                state.boundaries.unverified.remove(&end);
                drop(state);
                self.reader.changed.notify_all();
                Ok(())
            }
            Ok(_) => {
                drop(state);
                Err(self.report_mismatch())
            }
        }
    }

    /// Why two transfers delivered different bytes; called once neither is in progress any more.
    pub(crate) fn explain_mismatch(&self) -> Error {
        let tried = format!("reading {}", self.path);
        let deadline = Deadline::after(self.reader.context.patience);
        let ask = Ask::caller(&deadline);
        let remote = self.reader.context.remote.as_ref();
        let error = match perform_one(remote, Step::Version(&self.path), &ask) {
            Ok(Done::Version(now)) if !self.version.may_be(&now) => {
                Error::conflict(tried, "another client changed it while it was read")
            }
            _ => {
                self.reader.context.rest_check.record_failure();
                self.reader.state.lock().faults.has_mismatch = true;
                Error::misbehaved(
                    tried,
                    "two transfers delivered different bytes for one offset",
                )
            }
        };
        if let Some(content) = self.content() {
            content.forget();
        }
        error
    }

    /// Marks the reader as one whose streams disagree, and returns the error.
    pub(crate) fn report_mismatch(&mut self) -> Error {
        self.has_mismatch = true;
        Error::misbehaved(
            self.path.to_string(),
            "two transfers delivered different bytes for one offset",
        )
    }

    /// Whether our segment ends at `end`.
    pub(crate) fn is_limit(&self, end: u64) -> bool {
        let mut state = self.reader.state.lock();
        state.find(self.id).and_then(|stream| stream.limit) == Some(end)
    }
}

/// Whether two pieces from the same place are the same, as far as both reach.
pub(crate) fn agree(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).all(|(one, other)| one == other)
}
