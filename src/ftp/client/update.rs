//! Plans which commands bring a changed file to the server (append, patch, whole), runs them, and checks the result.
//!
//! The plan is the one that sends the least. The update has succeeded when the size that the server reports afterwards fits.
//! What a server does with `REST` before `STOR` is checked the first time, while the whole file is available to repair it; from
//! then on it is trusted.
//!
//! Seen: vsftpd, ProFTPD and pyftpdlib keep the bytes after the patch, Pure-FTPd truncates the file there.
//!
//! * `append`: appends to a file that other clients may change at the same time
//! * `far_parts`: checks that `REST` reaches beyond 2 GiB before a part is stored there
//! * `holes`: leaves holes of a file to the server, and checks what it makes of them

pub(crate) mod append;
mod far_parts;
mod holes;

use std::ops::Range;
use std::sync::Arc;

use crate::ftp::client::after_store;
use crate::ftp::client::retry;
use crate::ftp::client::step_flight;
use crate::ftp::pool::{Pool, Purpose};
use crate::ftp::profile::partial_store;
use crate::ftp::profile::{Learned, Part, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::transfer::download::Download;
use crate::ftp::transfer::upload;
use crate::remote::{
    Ask, Change, Done, Error, Plan, ReadAt, Reading, RemotePath, Result, Source, Step, Then,
    Updated, Version, Why,
};

/// The cost of one more transfer, in bytes that could be sent in the same time: 20 ms at 25 Mbit/s.
const TRANSFER_COST: u64 = 64 * 1024;
/// Bytes that are compared on either side of each end of a patch.
const JOINT_BYTES: u64 = 512;

/// The plan by which `change` would be stored, given what was learned about the server.
pub fn plan(learned: &Learned, change: &Change) -> Plan {
    if let Some(plan) = holes::around(learned, change) {
        return plan;
    }
    let Some(base) = change.base.and_then(|base| base.size) else {
        return Plan::Whole;
    };
    if change.emptied {
        return Plan::Whole;
    }
    let first = change.first_dirty();
    // Also to an empty base: other clients may have written to it since.
    if change.kept == base
        && first >= base
        && change.size > base
        && learned.partial.appe != Support::No
    {
        return Plan::Append(base);
    }
    patch(learned, change, base)
        .filter(|plan| cost(plan) < change.size + TRANSFER_COST)
        .unwrap_or(Plan::Whole)
}

/// The plan that sends only a part of the file, where that is possible.
fn patch(learned: &Learned, change: &Change, base: u64) -> Option<Plan> {
    if learned.partial.rest_stor == Support::No
        || learned.partial.rest_retr == Support::No
        || change.kept == 0
    {
        return None;
    }
    let first = change
        .first_dirty()
        .min(base)
        .min(change.size.checked_sub(1)?);
    if first == 0 {
        // `STOR` after `REST 0` truncates the file first.
        return None;
    }
    let last = change.dirty.last().map_or(first, |range| range.end);
    let to_the_end = || std::iter::once(first..change.size).collect::<Vec<_>>();
    let tail_matters = last < base.max(change.size);
    if change.size < base {
        // Only a server that truncates after the patch can make a file shorter this way.
        return (learned.partial.rest_stor_keeps == Support::No).then(|| Plan::Patch {
            ranges: to_the_end(),
            tried: false,
            cuts: true,
        });
    }
    Some(
        match (
            tail_matters,
            learned.partial.rest_stor,
            learned.partial.rest_stor_keeps,
        ) {
            (true, _, Support::Yes) | (false, Support::Yes, Support::Yes) => Plan::Patch {
                ranges: change.dirty.clone(),
                tried: false,
                cuts: false,
            },
            (true, _, Support::No) | (false, Support::Yes, _) => Plan::Patch {
                ranges: to_the_end(),
                tried: false,
                cuts: true,
            },
            // One range: on a server that truncates, the file would be too short for a second one.
            (true, _, Support::Unknown) | (false, _, _) => Plan::Patch {
                ranges: std::iter::once(first..last).collect(),
                tried: true,
                cuts: true,
            },
        },
    )
}

fn cost(plan: &Plan) -> u64 {
    match plan {
        Plan::Patch { ranges, tried, .. } => {
            // A first patch is checked by one more transfer.
            let transfers = ranges.len() as u64 + u64::from(*tried);
            transfers * TRANSFER_COST
                + ranges
                    .iter()
                    .map(|range| range.end - range.start)
                    .sum::<u64>()
        }
        _ => 0,
    }
}

/// Performs steps on any free connection.
type Steps<'a> = &'a dyn Fn(&[Step<'_>]) -> Vec<Result<Done>>;

/// One update of one file.
pub struct Update<'a> {
    /// The connection pool.
    pub pool: &'a Arc<Pool>,
    /// The file.
    pub file: &'a RemotePath,
    /// Its change.
    pub change: &'a Change,
    /// Its bytes.
    pub bytes: &'a dyn ReadAt,
    /// Urgency and deadline.
    pub ask: &'a Ask<'a>,
    /// Performs steps.
    pub steps: Steps<'a>,
    /// Sets attributes and asks for the version, once the server has confirmed all.
    pub confirm: &'a dyn Fn(Then) -> Result<Updated>,
}

impl Update<'_> {
    /// Stores the change.
    pub fn run(&self, plan: &Plan) -> Result<Updated> {
        let (file, change) = (self.file, self.change);
        let profile = self.pool.profile();
        if let Some(refusal) = profile.ask(|learned| step_flight::refuse_changed(learned, file)) {
            return Err(refusal);
        }
        let then = Then {
            mode: change
                .then
                .mode
                .filter(|_| profile.ask(|learned| learned.attributes.chmod) != Support::No),
            ..change.then
        };
        let said = match plan {
            Plan::Append(base) => self.append(*base, then)?,
            Plan::Patch { ranges, tried, .. } => {
                let said = self.patch(ranges, (!tried).then_some(then))?;
                match tried {
                    true => self.judge(ranges).map(|()| said)?,
                    false => self.fill_holes(plan, ranges, then, said)?,
                }
            }
            Plan::Sparse(ranges) => {
                let said = self.patch(ranges, Some(then))?;
                self.fill_holes(plan, ranges, then, said)?
            }
            Plan::Whole => self.store(then)?,
        };
        let ask = |said| match said {
            Some(updated) => Ok(updated),
            None => (self.confirm)(then),
        };
        let updated = ask(said)?;
        if let (Plan::Append(base), Some(size)) = (plan, updated.version.size) {
            self.judge_append(*base, size);
        }
        if let (Plan::Append(base), Some(size)) = (plan, updated.version.size)
            && size < *base
            && profile.ask(|learned| learned.partial.appe_keeps)
        {
            // The size is not checked: our bytes are appended, and other clients may truncate the file again.
            return match self.append_after_truncation(*base, then, size)? {
                Some(updated) => Ok(updated),
                None => ask(None),
            };
        }
        check_size(file, change, plan, updated.version).inspect_err(|_| {
            if !matches!(plan, Plan::Append(_)) {
                // The server may have dropped the bytes that were sent before its 150.
                profile.learn(|learned| learned.pipelining.early_data = Support::No);
            }
            if matches!(plan, Plan::Patch { .. } | Plan::Sparse(_)) {
                // What was learned about patches may be wrong: it is probed again.
                profile.learn(|learned| {
                    let partial = &mut learned.partial;
                    (partial.rest_stor, partial.rest_stor_keeps) =
                        (Support::Unknown, Support::Unknown);
                    partial.rest_stor_beyond = Support::Unknown;
                });
            }
        })?;
        Ok(updated)
    }

    /// Learns from the `size` of a file that had `base` bytes before an append whether `APPE` keeps its content.
    fn judge_append(&self, base: u64, size: u64) {
        let profile = self.pool.profile();
        if base == 0 || profile.ask(|learned| learned.partial.appe_keeps) {
            return;
        }
        if size >= self.change.size {
            profile.learn(|learned| learned.partial.appe_keeps = true);
        } else if size == self.change.size - base {
            log::warn!(
                "update: APPE replaced {} instead of appending; uploading the whole file",
                self.file
            );
            profile.learn(|learned| learned.lacks(Part::Append));
        }
    }

    /// Stores the whole file, again on a second connection where the first one broke.
    fn store(&self, then: Then) -> Result<Option<Updated>> {
        let path = self.pool.root().absolute(self.file)?;
        let what = (Command::Stor(&path), 0);
        let said = self.twice(|fresh| self.send(fresh, what, 0..self.change.size, Some(then)))?;
        partial_store::took_all(self.pool.profile(), &path);
        Ok(said)
    }

    /// Stores the ranges, and pipelines the commands of `then` after the last one.
    fn patch(&self, ranges: &[Range<u64>], then: Option<Then>) -> Result<Option<Updated>> {
        let path = self.pool.root().absolute(self.file)?;
        let profile = self.pool.profile();
        let is_new = ranges.first().is_some_and(|first| first.start == 0);
        let base = self.change.base.filter(|_| !is_new);
        let base = base.and_then(|base| base.size).unwrap_or(0);
        let mut said = None;
        for (number, range) in ranges.iter().enumerate() {
            let then = then.filter(|_| number + 1 == ranges.len());
            let what = (Command::Stor(&path), range.start);
            let sent = self.twice(|fresh| self.send(fresh, what, range.clone(), then));
            if range.start == 0 {
                // The beginning of the file is no part.
                said = sent?;
                continue;
            }
            let part = match range.start > base {
                true => Part::Beyond,
                false => Part::InPlace,
            };
            said = sent.map_err(|error| partial_store::refused(profile, part, &path, error))?;
            partial_store::took(profile, part);
        }
        Ok(said)
    }

    /// Checks the first patch on this server. Refused as unsupported where the content is wrong.
    fn judge(&self, ranges: &[Range<u64>]) -> Result<()> {
        let Some(range) = ranges.first() else {
            return Ok(());
        };
        let wrong = |cause: &str| {
            log::info!(
                "update: patch of {} failed: {cause}; uploading the whole file",
                self.file
            );
            Error::refused(
                Why::Unsupported,
                format!("storing a part of {}", self.file),
                cause,
            )
        };
        let base = self.change.base.and_then(|base| base.size).unwrap_or(0);
        let Done::Version(Version {
            size: Some(size), ..
        }) = self.one(Step::Version(self.file))?
        else {
            return Err(wrong("the server reports no size"));
        };
        let learn = |at: bool, keeps: Option<bool>| {
            self.pool.profile().learn(|learned| {
                learned.partial.rest_stor = Support::from(at);
                learned.partial.rest_stor_keeps =
                    Support::from(keeps).or(learned.partial.rest_stor_keeps);
            });
        };
        let has_tail = range.end < base;
        let before = range.start.saturating_sub(JOINT_BYTES);
        let after = (range.end + JOINT_BYTES).min(size);
        let first_joint = (range.start + JOINT_BYTES).min(after);
        if size == self.change.size
            && self.holds(before..first_joint)?
            && self.holds(range.end.saturating_sub(JOINT_BYTES).max(first_joint)..after)?
        {
            learn(true, has_tail.then_some(true));
            return Ok(());
        }
        if has_tail && size == range.end && self.holds(before..first_joint.min(size))? {
            learn(true, Some(false));
            return Err(wrong("the server truncates the file after the part"));
        }
        learn(false, None);
        Err(wrong("the server does not write at the offset"))
    }

    /// Whether the server has the same bytes in `range`.
    pub(crate) fn holds(&self, range: Range<u64>) -> Result<bool> {
        self.holds_at(range.start, range)
    }

    /// Whether the server has our bytes `range` at its offset `at`.
    pub(crate) fn holds_at(&self, at: u64, range: Range<u64>) -> Result<bool> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        if length == 0 {
            return Ok(true);
        }
        let path = self.pool.root().absolute(self.file)?;
        let lease = self.pool.lease(Purpose::Transfer, false, self.ask)?;
        let reading = Reading {
            enough: u64::try_from(length).ok(),
            ..Reading::at(at)
        };
        let mut download = Download::open(lease, &path, &reading, self.ask.deadline)?;
        let mut theirs = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match download.read(&mut theirs[filled..], self.ask.deadline)? {
                0 => return Ok(false),
                read => filled += read,
            }
        }
        let mut ours = vec![0; length];
        self.bytes
            .read_exact_at(&mut ours, range.start)
            .map_err(|error| Error::local("reading the spool", &error))?;
        Ok(ours == theirs)
    }

    /// Waits until an earlier change of the file is at rest.
    pub(crate) fn await_rest(&self) -> Result<()> {
        let path = self.pool.root().absolute(self.file)?;
        retry::await_rest(self.pool, &[path], self.ask)
    }

    fn twice<T>(&self, send: impl Fn(bool) -> Result<T>) -> Result<T> {
        match send(false) {
            Err(error @ (Error::Lost { .. } | Error::TimedOut { .. }))
                if self.ask.deadline.remaining().is_some() =>
            {
                log::info!("update: {error}; retrying on a new connection");
                send(true)
            }
            result => result,
        }
    }

    /// Sends one range of the bytes by one transfer; `fresh` is whether that needs a new connection.
    pub(crate) fn send(
        &self,
        fresh: bool,
        what: (Command<'_>, u64),
        range: Range<u64>,
        then: Option<Then>,
    ) -> Result<Option<Updated>> {
        let pool = self.pool;
        self.await_rest()?;
        let lease = pool.lease(Purpose::Transfer, fresh, self.ask)?;
        self.bytes.begins();
        // Pipelined commands are executed also where the `STOR` before them is refused: an existing file that must not be
        // written to has to keep its permissions, and its time, by which other clients recognize it.
        let is_pipelined = |then: &Then| *then == Then::default() || self.change.base.is_none();
        let followup = then
            .filter(is_pipelined)
            .and_then(|then| after_store::followup(pool, self.file, then));
        let bytes = (self.bytes, range);
        let taken = &self.change.taken;
        upload::upload(lease, what, bytes, followup, taken, self.ask.deadline)
    }

    /// Performs one step.
    pub(crate) fn one(&self, step: Step<'_>) -> Result<Done> {
        (self.steps)(&[step])
            .pop()
            .unwrap_or_else(|| Err(Error::misbehaved("a step", "no answer")))
    }
}

/// Checks the size after an upload. After an append it may be larger, since other clients may have appended too.
fn check_size(file: &RemotePath, change: &Change, plan: &Plan, version: Version) -> Result<()> {
    let fits = |size: u64| match plan {
        Plan::Append(_) => size >= change.size,
        Plan::Patch { .. } | Plan::Sparse(_) | Plan::Whole => size == change.size,
    };
    match version.size {
        Some(size) if !fits(size) => Err(Error::misbehaved(
            format!("storing {file}"),
            format!(
                "the server confirmed {} bytes and now reports {size}",
                change.size
            ),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::single_range_in_vec_init,
        reason = "one range is what is meant"
    )]

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn an_upload_of_another_size_is_no_success() {
        let file = RemotePath::root();
        let change = Change {
            size: 5,
            ..Change::default()
        };
        let size = |size| Version {
            size: Some(size),
            modified: None,
        };
        assert!(check_size(&file, &change, &Plan::Whole, size(5)).is_ok());
        assert!(check_size(&file, &change, &Plan::Whole, size(6)).is_err());
        assert!(check_size(&file, &change, &Plan::Append(2), size(6)).is_ok());
        assert!(check_size(&file, &change, &Plan::Append(2), size(4)).is_err());
        assert!(check_size(&file, &change, &Plan::Whole, Version::default()).is_ok());
    }

    fn change(base: u64, kept: u64, dirty: &[Range<u64>], size: u64) -> Change {
        Change {
            base: Some(Version {
                size: Some(base),
                modified: None,
            }),
            kept,
            dirty: dirty.to_vec(),
            size,
            ..Change::default()
        }
    }

    fn learned(at: Option<bool>, keeps: Option<bool>) -> Learned {
        let mut learned = Learned::default();
        learned.partial.rest_stor = at.into();
        learned.partial.rest_stor_keeps = keeps.into();
        learned
    }

    fn ranges(plan: &Plan) -> (&[Range<u64>], bool) {
        match plan {
            Plan::Patch { ranges, tried, .. } => (ranges, *tried),
            plan => panic!("{plan:?} is no patch"),
        }
    }

    #[test]
    fn what_is_appended_is_appended() {
        let plan = plan(&Learned::default(), &change(10, 10, &[10..12], 12));
        assert_eq!(plan, Plan::Append(10));
    }

    #[test]
    fn a_server_that_keeps_the_rest_gets_what_was_written_and_no_more() {
        let knows = learned(Some(true), Some(true));
        let written = [3..4, 5 * MIB..5 * MIB + 1];
        let plan = plan(&knows, &change(8 * MIB, 8 * MIB, &written, 8 * MIB));
        assert_eq!(ranges(&plan), (&written[..], false));
        assert_eq!(plan.needs(8 * MIB), written);
    }

    #[test]
    fn a_server_that_cuts_gets_the_file_to_its_end() {
        let knows = learned(Some(true), Some(false));
        let plan = plan(
            &knows,
            &change(8 * MIB, 8 * MIB, &[7 * MIB..7 * MIB + 1], 8 * MIB),
        );
        assert_eq!(ranges(&plan), (&[7 * MIB..8 * MIB][..], false));
    }

    #[test]
    fn a_file_grows_shorter_only_where_the_server_cuts() {
        let shorter = change(8 * MIB, 4 * MIB, &[], 4 * MIB);
        let plan_on = |at, keeps| plan(&learned(at, keeps), &shorter);
        assert_eq!(plan_on(Some(true), Some(true)), Plan::Whole);
        assert_eq!(plan_on(None, None), Plan::Whole);
        let cut = plan_on(Some(true), Some(false));
        assert_eq!(ranges(&cut), (&[4 * MIB - 1..4 * MIB][..], false));
    }

    #[test]
    fn an_unknown_server_is_tried_while_the_whole_file_is_at_hand() {
        let plan = plan(
            &Learned::default(),
            &change(8 * MIB, 8 * MIB, &[3..4, 9..10], 8 * MIB),
        );
        assert_eq!(ranges(&plan), (&[3..10][..], true));
        assert_eq!(plan.needs(8 * MIB), [0..8 * MIB]);
    }

    #[test]
    fn the_first_byte_takes_the_whole_file_with_it() {
        let knows = learned(Some(true), Some(true));
        let plan = plan(&knows, &change(8 * MIB, 8 * MIB, &[0..1], 8 * MIB));
        assert_eq!(plan, Plan::Whole);
    }

    #[test]
    fn many_small_changes_of_a_small_file_are_sent_as_one() {
        let knows = learned(Some(true), Some(true));
        let written: Vec<_> = (1..50).map(|at| at * 1000..at * 1000 + 1).collect();
        assert_eq!(
            plan(&knows, &change(60_000, 60_000, &written, 60_000)),
            Plan::Whole
        );
    }
}
