//! Appending: a change that goes behind whatever is there, of which others may make more or less meanwhile.
//!
//! The one idea: nothing but the bytes themselves tells whether an append has arrived. Where its confirmation was lost,
//! or the file is shorter than it can be, what is there is compared with what was sent: right behind what was there
//! before, and at the end. What can't be found is appended once more: twice is better than not at all.

use crate::ftp::client::patch_probe as rehearsal;
use crate::ftp::client::update::Update;
use crate::ftp::profile::partial_store as parts;
use crate::ftp::profile::{Part, Support};
use crate::ftp::protocol::command::Command;
use crate::remote::{Done, Error, Result, Step, Then, Updated, Version, Why};

/// Bytes at the end of an append by which it is known to be ours.
const TAIL: u64 = 64 * 1024;

impl Update<'_> {
    /// Appends what lies behind the first `base` bytes.
    pub(crate) fn append(&self, base: u64, then: Then) -> Result<Option<Updated>> {
        let path = self.pool.place().absolute(self.file)?;
        let end = self.change.size;
        if base > 0 && !self.change.at_hand && !rehearsal::appends(self.pool, self.file, self.ask)?
        {
            return Err(Error::refused(
                Why::Unsupported,
                Command::Appe(&path).to_string(),
                "not known to keep what is there",
            ));
        }
        let once = |fresh, from: u64| match from < end {
            true => self.send(fresh, (Command::Appe(&path), 0), from..end, Some(then)),
            // All of it is there.
            false => Ok(None),
        };
        let from = match self.change.broke_off {
            true => self.arrived(base)?,
            false => base,
        };
        let result = match once(false, from) {
            Err(error @ Error::Lost { .. }) if self.ask.deadline.remaining().is_some() => {
                log::info!("{error}; looking what of it arrived");
                once(true, self.arrived(base)?)
            }
            result => result,
        };
        let profile = self.pool.profile();
        match result {
            Ok(said) => {
                profile.learn(|learned| learned.partial.appe = Support::Yes);
                parts::took(profile, Part::Append);
                Ok(said)
            }
            Err(error) => Err(parts::refused(profile, Part::Append, &path, error)),
        }
    }

    /// Where an append that broke off is to go on: behind what arrived of it, if that is what was sent,
    /// else with all of it behind what others appended meanwhile.
    fn arrived(&self, base: u64) -> Result<u64> {
        let size = self.size()?;
        let end = self.change.size;
        if size <= base {
            // Others may have cut the file, before it arrived or with it.
            let is_there = size < base && self.ends_so(base, size)?;
            return Ok(if is_there { end } else { base });
        }
        // Others may have appended behind it, or before it.
        let reached = size.min(end);
        let first = reached.saturating_sub(TAIL).max(base)..reached;
        Ok(if self.holds(first)? {
            reached
        } else if self.ends_so(base, size)? {
            end
        } else {
            base
        })
    }

    /// What was appended behind `base` bytes is in a file that is shorter than that now: others have cut it. Where it
    /// went with the rest, it is appended to what is left.
    pub(crate) fn append_to_less(
        &self,
        base: u64,
        then: Then,
        size: u64,
    ) -> Result<Option<Updated>> {
        if self.ends_so(base, size)? {
            return Ok(None);
        }
        log::info!("{}: others have cut it; appending once more", self.file);
        let path = self.pool.place().absolute(self.file)?;
        let range = base..self.change.size;
        self.send(false, (Command::Appe(&path), 0), range, Some(then))
    }

    /// Whether what is there ends by what was appended behind `base` bytes.
    fn ends_so(&self, base: u64, size: u64) -> Result<bool> {
        let end = self.change.size;
        let length = (end - base).min(TAIL);
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
                "no size of it is told",
            )),
        }
    }
}
