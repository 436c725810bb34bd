//! Appends to a file that other clients may extend or truncate at the same time.
//!
//! Only the content shows whether an append has arrived. If its confirmation was lost, or the file is shorter than it can be, the
//! file is compared with what was sent: right after the previous end, and at the end. What is not found is appended once
//! more: twice is better than not at all.

use crate::ftp::client::patch_probe;
use crate::ftp::client::update::Update;
use crate::ftp::profile::partial_store;
use crate::ftp::profile::{Part, Support};
use crate::ftp::protocol::command::Command;
use crate::remote::{Done, Error, Result, Step, Then, Updated, Version, Why};

/// Bytes at the end of an append by which it is recognized as ours.
const TAIL_BYTES: u64 = 64 * 1024;

impl Update<'_> {
    /// Appends the bytes after the first `base` bytes.
    pub(crate) fn append(&self, base: u64, then: Then) -> Result<Option<Updated>> {
        let path = self.pool.root().absolute(self.file)?;
        let end = self.change.size;
        if base > 0
            && !self.change.at_hand
            && !patch_probe::appends(self.pool, self.file, self.ask)?
        {
            return Err(Error::refused(
                Why::Unsupported,
                Command::Appe(&path).to_string(),
                "not known to keep the content of the file",
            ));
        }
        let once = |fresh, from: u64| match from < end {
            true => self.send(fresh, (Command::Appe(&path), 0), from..end, Some(then)),
            // All bytes have arrived.
            false => Ok(None),
        };
        let from = match self.change.broke_off {
            true => self.arrived(base)?,
            false => base,
        };
        let result = match once(false, from) {
            Err(error @ Error::Lost { .. }) if self.ask.deadline.remaining().is_some() => {
                log::info!("append: {error}; checking which bytes arrived");
                once(true, self.arrived(base)?)
            }
            result => result,
        };
        let profile = self.pool.profile();
        match result {
            Ok(said) => {
                profile.learn(|learned| learned.partial.appe = Support::Yes);
                partial_store::took(profile, Part::Append);
                Ok(said)
            }
            Err(error) => Err(partial_store::refused(profile, Part::Append, &path, error)),
        }
    }

    /// The offset in our file from which an append that broke off continues: after the bytes that arrived, or from `base`, after
    /// what other clients have appended, if the bytes there are not ours.
    fn arrived(&self, base: u64) -> Result<u64> {
        let size = self.size()?;
        let end = self.change.size;
        if size <= base {
            // Other clients may have truncated the file, before our bytes arrived or after.
            let has_arrived = size < base && self.ends_with_ours(base, size)?;
            return Ok(if has_arrived { end } else { base });
        }
        // Other clients may have appended before or after our bytes.
        let reached = size.min(end);
        let first = reached.saturating_sub(TAIL_BYTES).max(base)..reached;
        Ok(if self.holds(first)? {
            reached
        } else if self.ends_with_ours(base, size)? {
            end
        } else {
            base
        })
    }

    /// Handles a file that is shorter than `base` bytes after an append: other clients have truncated it. Our bytes are appended
    /// once more if they were cut off too.
    pub(crate) fn append_after_truncation(
        &self,
        base: u64,
        then: Then,
        size: u64,
    ) -> Result<Option<Updated>> {
        if self.ends_with_ours(base, size)? {
            return Ok(None);
        }
        log::info!(
            "append: another client truncated {}; appending again",
            self.file
        );
        let path = self.pool.root().absolute(self.file)?;
        let range = base..self.change.size;
        self.send(false, (Command::Appe(&path), 0), range, Some(then))
    }

    /// Whether the file on the server, of `size` bytes, ends with the bytes that we appended after `base`.
    fn ends_with_ours(&self, base: u64, size: u64) -> Result<bool> {
        let end = self.change.size;
        let length = (end - base).min(TAIL_BYTES);
        match size.checked_sub(length) {
            Some(at) => self.holds_at(at, end - length..end),
            None => Ok(false),
        }
    }

    fn size(&self) -> Result<u64> {
        match self.one(Step::Version(self.file))? {
            Done::Version(Version {
                size: Some(size), ..
            }) => Ok(size),
            _ => Err(Error::misbehaved(
                format!("appending to {}", self.file),
                "the server reports no size",
            )),
        }
    }
}
