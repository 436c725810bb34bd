//! Updates: which commands bring a changed file to the server, and whether they did.
//!
//! The one idea: an update is tried by what is least to send, and is done when the server's own word
//! about the file fits. What a server makes of `REST` before `STOR` is looked at the first time, while
//! the whole file is at hand to mend what it spoils; afterwards it is trusted.
//!
//! Seen: vsftpd, ProFTPD and pyftpdlib keep what lies behind the last byte, Pure-FTPd cuts it off.

use std::ops::Range;
use std::sync::Arc;

use crate::ftp::client::after_store;
use crate::ftp::client::recheck;
use crate::ftp::client::steps;
use crate::ftp::pool::{Pool, Purpose};
use crate::ftp::profile::partial_store as parts;
use crate::ftp::profile::{Learned, Part, Support};
use crate::ftp::protocol::command::Command;
use crate::ftp::transfer::download::Download;
use crate::ftp::transfer::upload;
use crate::remote::{
    Ask, Change, Done, Error, Plan, ReadAt, Reading, RemotePath, Result, Source, Step, Then,
    Updated, Version, Why,
};

/// What one more transfer costs, in bytes that could be sent meanwhile: 20 ms at 25 Mbit/s.
const TURN: u64 = 64 * 1024;
/// Bytes on either side of a joint that are looked at.
const JOINT: u64 = 512;

/// The plan by which `change` would be brought about on a server of which this was learned.
pub fn plan(learned: &Learned, change: &Change) -> Plan {
    let Some(base) = change.base.and_then(|base| base.size) else {
        return Plan::Whole;
    };
    if change.emptied {
        return Plan::Whole;
    }
    let first = change.first_dirty();
    // Also behind a base that is empty: others may have put something in it meanwhile.
    if change.kept == base
        && first >= base
        && change.size > base
        && learned.partial.appe != Support::No
    {
        return Plan::Append(base);
    }
    patch(learned, change, base)
        .filter(|plan| cost(plan) < change.size + TURN)
        .unwrap_or(Plan::Whole)
}

/// How a part of the file would do, where it may.
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
        // `STOR` behind `REST 0` begins the file anew.
        return None;
    }
    let last = change.dirty.last().map_or(first, |range| range.end);
    let to_the_end = || std::iter::once(first..change.size).collect::<Vec<_>>();
    let tail_matters = last < base.max(change.size);
    if change.size < base {
        // Only a server that cuts can make a file shorter by this.
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
            // One range: on a server that cuts, a second one would not find its place.
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
            // A trial is looked at by one more transfer.
            let turns = ranges.len() as u64 + u64::from(*tried);
            turns * TURN
                + ranges
                    .iter()
                    .map(|range| range.end - range.start)
                    .sum::<u64>()
        }
        _ => 0,
    }
}

/// Steps that are taken on whatever connection is free.
type Steps<'a> = &'a dyn Fn(&[Step<'_>]) -> Vec<Result<Done>>;

/// One update of one file.
pub struct Update<'a> {
    /// The connections.
    pub pool: &'a Arc<Pool>,
    /// The file.
    pub file: &'a RemotePath,
    /// What became of it.
    pub change: &'a Change,
    /// Its bytes.
    pub bytes: &'a dyn ReadAt,
    /// Who waits.
    pub ask: &'a Ask<'a>,
    /// Takes steps.
    pub steps: Steps<'a>,
}

impl Update<'_> {
    /// Brings the change about.
    pub fn run(&self, plan: &Plan) -> Result<Updated> {
        let (file, change) = (self.file, self.change);
        let profile = self.pool.profile();
        if let Some(refusal) = profile.ask(|learned| steps::refuse_changed(learned, file)) {
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
                if *tried {
                    self.judge(ranges)?;
                }
                said
            }
            Plan::Whole => self.store(then)?,
        };
        let ask = |said| match said {
            Some(updated) => Ok(updated),
            None => then.updated((self.steps)(&then.steps(file))),
        };
        let updated = ask(said)?;
        if let (Plan::Append(base), Some(size)) = (plan, updated.version.size) {
            self.judge_append(*base, size);
        }
        if let (Plan::Append(base), Some(size)) = (plan, updated.version.size)
            && size < *base
            && profile.ask(|learned| learned.partial.appe_keeps)
        {
            // However long it is then: it has ours, and others cut it as they like.
            return match self.append_to_less(*base, then, size)? {
                Some(updated) => Ok(updated),
                None => ask(None),
            };
        }
        check_size(file, change, plan, updated.version).inspect_err(|_| {
            if !matches!(plan, Plan::Append(_)) {
                // Perhaps it has dropped what came before its consent.
                profile.learn(|learned| learned.pipelining.early_data = Support::No);
            }
            if matches!(plan, Plan::Patch { .. }) {
                // Whatever was seen of this server before: it is to be looked at again.
                profile.learn(|learned| {
                    (learned.partial.rest_stor, learned.partial.rest_stor_keeps) =
                        (Support::Unknown, Support::Unknown)
                });
            }
        })?;
        Ok(updated)
    }

    /// Learns from the `size` of a file that had `base` bytes before an append whether what was there stayed.
    fn judge_append(&self, base: u64, size: u64) {
        let profile = self.pool.profile();
        if base == 0 || profile.ask(|learned| learned.partial.appe_keeps) {
            return;
        }
        if size >= self.change.size {
            profile.learn(|learned| learned.partial.appe_keeps = true);
        } else if size == self.change.size - base {
            log::warn!(
                "APPE: {}: the server replaced the file; it is stored whole",
                self.file
            );
            profile.learn(|learned| learned.lacks(Part::Append));
        }
    }

    /// What is stored whole can be stored again, where the first connection broke.
    fn store(&self, then: Then) -> Result<Option<Updated>> {
        let path = self.pool.place().absolute(self.file)?;
        let what = (Command::Stor(&path), 0);
        let said = self.twice(|fresh| self.send(fresh, what, 0..self.change.size, Some(then)))?;
        parts::took_all(self.pool.profile(), &path);
        Ok(said)
    }

    /// Sends the ranges, and what is due then behind the last one.
    fn patch(&self, ranges: &[Range<u64>], then: Option<Then>) -> Result<Option<Updated>> {
        let path = self.pool.place().absolute(self.file)?;
        let profile = self.pool.profile();
        let mut said = None;
        for (number, range) in ranges.iter().enumerate() {
            let then = then.filter(|_| number + 1 == ranges.len());
            let what = (Command::Stor(&path), range.start);
            let sent = self.twice(|fresh| self.send(fresh, what, range.clone(), then));
            said = sent.map_err(|error| parts::refused(profile, Part::InPlace, &path, error))?;
            parts::took(profile, Part::InPlace);
        }
        Ok(said)
    }

    /// Looks what the server made of its first patch. Refused as unsupported where that is wrong.
    fn judge(&self, ranges: &[Range<u64>]) -> Result<()> {
        let Some(range) = ranges.first() else {
            return Ok(());
        };
        let wrong = |saw: &str| {
            log::info!("{}: {saw}; it is stored whole instead", self.file);
            Error::refused(
                Why::Unsupported,
                format!("storing a part of {}", self.file),
                saw,
            )
        };
        let base = self.change.base.and_then(|base| base.size).unwrap_or(0);
        let Done::Version(Version {
            size: Some(size), ..
        }) = self.one(Step::Version(self.file))?
        else {
            return Err(wrong("no size of it is told"));
        };
        let learn = |at: bool, keeps: Option<bool>| {
            self.pool.profile().learn(|learned| {
                learned.partial.rest_stor = Support::from(at);
                learned.partial.rest_stor_keeps =
                    Support::from(keeps).or(learned.partial.rest_stor_keeps);
            });
        };
        let has_tail = range.end < base;
        let before = range.start.saturating_sub(JOINT);
        let behind = (range.end + JOINT).min(size);
        let first_joint = (range.start + JOINT).min(behind);
        if size == self.change.size
            && self.holds(before..first_joint)?
            && self.holds(range.end.saturating_sub(JOINT).max(first_joint)..behind)?
        {
            learn(true, has_tail.then_some(true));
            return Ok(());
        }
        if has_tail && size == range.end && self.holds(before..first_joint.min(size))? {
            learn(true, Some(false));
            return Err(wrong("the server cuts off what lies behind the part"));
        }
        learn(false, None);
        Err(wrong("the server does not put a part into its place"))
    }

    /// Whether the server has the same bytes there.
    pub(crate) fn holds(&self, range: Range<u64>) -> Result<bool> {
        self.holds_at(range.start, range)
    }

    /// Whether the server has these bytes of ours at the offset `at`.
    pub(crate) fn holds_at(&self, at: u64, range: Range<u64>) -> Result<bool> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        if length == 0 {
            return Ok(true);
        }
        let path = self.pool.place().absolute(self.file)?;
        let lease = self.pool.lease(Purpose::Transfer, false, self.ask)?;
        let mut download = Download::open(lease, &path, &Reading::at(at), self.ask.deadline)?;
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
    pub(crate) fn settle(&self) -> Result<()> {
        let path = self.pool.place().absolute(self.file)?;
        recheck::settle(self.pool, &[path], self.ask)
    }

    fn twice<T>(&self, send: impl Fn(bool) -> Result<T>) -> Result<T> {
        match send(false) {
            Err(error @ (Error::Lost { .. } | Error::TimedOut { .. }))
                if self.ask.deadline.remaining().is_some() =>
            {
                log::info!("{error}; trying again on a fresh connection");
                send(true)
            }
            result => result,
        }
    }

    pub(crate) fn send(
        &self,
        fresh: bool,
        what: (Command<'_>, u64),
        range: Range<u64>,
        then: Option<Then>,
    ) -> Result<Option<Updated>> {
        let pool = self.pool;
        self.settle()?;
        let lease = pool.lease(Purpose::Transfer, fresh, self.ask)?;
        self.bytes.begins();
        // An old file that may not be written to must keep its rights, and its time, by which others tell what it is:
        // what flies behind a command is done also where that is refused.
        let flies = |then: &Then| *then == Then::default() || self.change.base.is_none();
        let behind = then
            .filter(flies)
            .and_then(|then| after_store::followup(pool.profile(), pool.place(), self.file, then));
        let bytes = (self.bytes, range);
        let taken = &self.change.taken;
        upload::upload(lease, what, bytes, behind, taken, self.ask.deadline)
    }

    pub(crate) fn one(&self, step: Step<'_>) -> Result<Done> {
        (self.steps)(&[step])
            .pop()
            .unwrap_or_else(|| Err(Error::misbehaved("a step", "no answer")))
    }
}

/// After an append others may have appended too; otherwise the size must be what was sent.
fn check_size(file: &RemotePath, change: &Change, plan: &Plan, version: Version) -> Result<()> {
    let fits = |size: u64| match plan {
        Plan::Append(_) => size >= change.size,
        Plan::Patch { .. } | Plan::Whole => size == change.size,
    };
    match version.size {
        Some(size) if !fits(size) => Err(Error::misbehaved(
            format!("storing {file}"),
            format!("it confirmed {} bytes and now has {size}", change.size),
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
