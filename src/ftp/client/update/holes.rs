//! Leaves the holes of a file to the server: zeros that no program wrote.
//!
//! Holes are not sent where the server was seen to make them (`patch_probe`): the ranges around one are stored by a transfer
//! each, of which the last one sets the size. What was seen on a small file does not hold for each one: a file system
//! without holes (FAT) leaves what the disk held before, and a gateway may fill small gaps only. So a few bytes of the holes are
//! read back after each such upload, and where they are no zeros, zeros are sent.

use std::ops::Range;

use crate::ftp::client::update::{TRANSFER_COST, Update};
use crate::ftp::profile::{Learned, Part, Support};
use crate::remote::{Change, Error, Plan, Result, Then, Updated, Why};

/// Places in the holes of one upload that are read back, evenly spread from the first byte to the last.
const SAMPLES: u64 = 4;
/// Bytes of such a place: a block of a file system.
const SAMPLE_BYTES: u64 = 4096;

/// The plan that sends no holes, where there are any that cost more than a transfer.
pub(super) fn around(learned: &Learned, change: &Change) -> Option<Plan> {
    if !learned.makes_holes() {
        return None;
    }
    let base = change.base.and_then(|base| base.size).unwrap_or(0);
    let is_new = change.emptied || change.kept == 0 || base == 0;
    let end = if is_new { 0 } else { base };
    // The first byte makes the file, and the last one sets its size.
    let bounds = end.max(1)..change.size.saturating_sub(1);
    let clip = |hole: &Range<u64>| hole.start.max(bounds.start)..hole.end.min(bounds.end);
    let holes: Vec<_> = (change.holes.iter().map(clip))
        .filter(|hole| hole.start < hole.end && hole.end - hole.start > TRANSFER_COST)
        .collect();
    if holes.is_empty() {
        return None;
    }
    if is_new {
        let whole = std::iter::once(0..change.size).collect::<Vec<_>>();
        return Some(Plan::Sparse(without(&whole, &holes)));
    }
    let keeps = learned.partial.rest_stor_keeps == Support::Yes;
    (learned.partial.rest_stor == Support::Yes && (keeps || change.first_dirty() >= base)).then(
        || Plan::Patch {
            ranges: without(&change.dirty, &holes),
            tried: false,
            cuts: !keeps,
        },
    )
}

/// What of `ranges` is not in `holes`; both are in order.
fn without(ranges: &[Range<u64>], holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    for range in ranges {
        let mut at = range.start;
        for hole in holes {
            if hole.end <= at || hole.start >= range.end {
                continue;
            }
            left.push(at..hole.start);
            at = hole.end;
        }
        left.push(at..range.end);
    }
    left.retain(|range| range.start < range.end);
    left
}

/// What lies after the first `from` bytes of a file of `size` bytes and in none of `ranges`, which are in order.
fn left_out(ranges: &[Range<u64>], from: u64, size: u64) -> Vec<Range<u64>> {
    let all = std::iter::once(from..size).collect::<Vec<_>>();
    without(&all, ranges)
}

/// The places to read back: the first and the last bytes of the holes, and some between.
fn samples(holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let total: u64 = holes.iter().map(|hole| hole.end - hole.start).sum();
    let place = |number: u64| {
        let mut at = total.saturating_sub(SAMPLE_BYTES) / (SAMPLES - 1) * number;
        for hole in holes {
            let length = hole.end - hole.start;
            if at < length {
                let start = hole.start + at;
                return Some(start..hole.end.min(start + SAMPLE_BYTES));
            }
            at -= length;
        }
        None
    };
    let mut places: Vec<_> = (0..SAMPLES).filter_map(place).collect();
    places.dedup();
    places
}

impl Update<'_> {
    /// After `ranges` were stored by `plan`: reads back parts of the holes between and before them. Where they are no zeros,
    /// zeros are sent, or the refusal says that the whole file is to be sent. `said` is what the server said at the end of the
    /// upload.
    pub(super) fn fill_holes(
        &self,
        plan: &Plan,
        ranges: &[Range<u64>],
        then: Then,
        said: Option<Updated>,
    ) -> Result<Option<Updated>> {
        let is_new = matches!(plan, Plan::Sparse(_));
        let base = self.change.base.filter(|_| !is_new);
        let base = base.and_then(|base| base.size).unwrap_or(0);
        let holes = left_out(ranges, base, self.change.size);
        let Some(first) = holes.first() else {
            return Ok(said);
        };
        if self.are_zeros(&holes)? {
            return Ok(said);
        }
        log::warn!(
            "update: {}: the server leaves other bytes than zeros beyond the end of a file; sending zeros from now on",
            self.file
        );
        if is_new {
            self.lacks_holes();
            return Err(Error::refused(
                Why::Unsupported,
                format!("storing {} around its holes", self.file),
                "the server has other bytes than zeros there",
            ));
        }
        // What lies after the base is all at hand. Only then: until it is repaired, the next try must check it again.
        let rest = first.start..self.change.size;
        let said = self.patch(std::slice::from_ref(&rest), Some(then))?;
        self.lacks_holes();
        Ok(said)
    }

    fn lacks_holes(&self) {
        let profile = self.pool.profile();
        profile.learn(|learned| learned.lacks(Part::Beyond));
    }

    /// Whether the server has zeros where some bytes of the holes are read back. One that refuses to give them has shown none.
    fn are_zeros(&self, holes: &[Range<u64>]) -> Result<bool> {
        for sample in samples(holes) {
            match self.holds(sample) {
                Ok(true) => {}
                Ok(false) | Err(Error::Refused { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::single_range_in_vec_init,
        reason = "one range is what is meant"
    )]

    use super::*;
    use crate::ftp::client::update::plan;
    use crate::remote::Version;

    const MIB: u64 = 1 << 20;

    #[test]
    fn samples_are_spread_over_the_holes() {
        let one = [10..10 + 4 * MIB];
        let places = samples(&one);
        assert_eq!(places.len(), 4);
        assert_eq!(places[0], 10..10 + 4096);
        assert!(places[3].end > 4 * MIB, "{places:?}");
        let several = [10..20, 100..100 + MIB, 5 * MIB..6 * MIB];
        let places = samples(&several);
        assert_eq!(places[0], 10..20);
        assert!(places[3].start > 5 * MIB + MIB / 2, "{places:?}");
        assert_eq!(left_out(&[0..1, 50..60], 0, 100), [1..50, 60..100]);
        assert_eq!(left_out(&[20..30, 90..100], 40, 100), [40..90]);
    }

    #[test]
    fn holes_are_left_out_of_a_plan() {
        let mut learned = Learned::default();
        learned.partial.rest_stor_beyond = Support::Yes;
        learned.partial.rest_stor = Support::Yes;
        let all = |end| std::iter::once(0..end).collect::<Vec<_>>();
        let new = Change {
            size: 9 * MIB,
            dirty: all(9 * MIB),
            holes: vec![0..4 * MIB, 5 * MIB..5 * MIB + 10, 6 * MIB..9 * MIB],
            ..Change::default()
        };
        let around = vec![0..1, 4 * MIB..6 * MIB, 9 * MIB - 1..9 * MIB];
        assert_eq!(plan(&learned, &new), Plan::Sparse(around));
        // Behind what was there, whose own bytes are sent.
        let base = Some(Version {
            size: Some(2 * MIB),
            modified: None,
        });
        let longer = Change {
            base,
            kept: 2 * MIB,
            dirty: vec![MIB..MIB + 5, 2 * MIB..9 * MIB],
            holes: vec![2 * MIB..9 * MIB],
            ..new.clone()
        };
        learned.partial.rest_stor_keeps = Support::Yes;
        let ranges = vec![MIB..MIB + 5, 9 * MIB - 1..9 * MIB];
        let (tried, cuts) = (false, false);
        assert_eq!(
            plan(&learned, &longer),
            Plan::Patch {
                ranges,
                tried,
                cuts
            }
        );
        learned.partial.rest_stor_beyond = Support::No;
        assert_eq!(plan(&learned, &new), Plan::Whole);
    }
}
