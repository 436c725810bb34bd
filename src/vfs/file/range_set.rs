//! A set of byte ranges: which parts of a file are dirty, which are present.
//!
//! Invariant: the ranges are not empty, don't overlap and don't touch; so their number is bounded by
//! the number of separate writes.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of byte offsets, kept as ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// Start to end.
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Adds a range.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        while let Some((&at, &until)) = self.ranges.range(..=end).next_back() {
            if until < start {
                break;
            }
            start = start.min(at);
            end = end.max(until);
            self.ranges.remove(&at);
        }
        self.ranges.insert(start, end);
    }

    /// Removes a range.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((&at, &until)) = self.ranges.range(..range.end).next_back() {
            if until <= range.start {
                break;
            }
            self.ranges.remove(&at);
            if at < range.start {
                self.ranges.insert(at, range.start);
            }
            if until > range.end {
                self.ranges.insert(range.end, until);
            }
        }
    }

    /// The end of the stretch that begins at `at` without a gap; `at` itself where nothing does.
    pub fn stretch(&self, at: u64) -> u64 {
        let before = self.ranges.range(..=at).next_back();
        before.map_or(at, |(_, &end)| end.max(at))
    }

    /// The lowest offset in the set that is not below `at`.
    pub fn next(&self, at: u64) -> Option<u64> {
        if self.stretch(at) > at {
            return Some(at);
        }
        self.ranges.range(at..).next().map(|(&start, _)| start)
    }

    /// The parts of `range` that are in the set, in order.
    pub fn within(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut parts = Vec::new();
        let mut at = range.start;
        for gap in self.gaps(range.clone()) {
            parts.push(at..gap.start);
            at = gap.end;
        }
        parts.push(at..range.end);
        parts.retain(|part| !part.is_empty());
        parts
    }

    /// Removes everything from `size` on.
    pub fn truncate(&mut self, size: u64) {
        self.ranges.split_off(&size);
        if let Some(mut last) = self.ranges.last_entry()
            && *last.get() > size
        {
            last.insert(size);
        }
    }

    /// Adds all ranges of `other`.
    pub fn extend(&mut self, other: &RangeSet) {
        for range in other.iter() {
            self.insert(range);
        }
    }

    /// The parts of `range` that are not in the set, in order.
    pub fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        let first = self.ranges.range(..=range.start).next_back();
        let later = self
            .ranges
            .range(range.start.saturating_add(1)..range.end.max(range.start.saturating_add(1)));
        for (&start, &end) in first.into_iter().chain(later) {
            if start > at {
                gaps.push(at..start.min(range.end));
            }
            at = at.max(end);
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }

    /// Whether all of `range` is in the set.
    pub fn contains(&self, range: Range<u64>) -> bool {
        self.gaps(range).is_empty()
    }

    /// The lowest offset in the set.
    pub fn first(&self) -> Option<u64> {
        self.ranges.first_key_value().map(|(&start, _)| start)
    }

    /// The end of the highest range; 0 when the set is empty.
    pub fn end(&self) -> u64 {
        self.ranges.last_key_value().map_or(0, |(_, &end)| end)
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(ranges: &[Range<u64>]) -> RangeSet {
        let mut set = RangeSet::default();
        for range in ranges {
            set.insert(range.clone());
        }
        set
    }

    #[test]
    fn touching_ranges_become_one() {
        let set = set(&[0..2, 4..6, 2..4]);
        assert_eq!(set.iter().collect::<Vec<_>>(), vec![0..6]);
    }

    #[test]
    fn gaps_lie_between_the_ranges() {
        let set = set(&[2..4, 6..8]);
        assert_eq!(set.gaps(0..10), vec![0..2, 4..6, 8..10]);
        assert_eq!(set.gaps(2..4), vec![]);
        assert_eq!(set.gaps(3..7), vec![4..6]);
        assert_eq!(set.gaps(5..5), vec![]);
    }

    proptest! {
        #[test]
        fn range_set_agrees_with_a_bitmap(
            steps in prop::collection::vec((0..3u8, 0u64..64, 0u64..64), 0..20),
            from in 0u64..64, to in 0u64..64,
        ) {
            let mut set = RangeSet::default();
            let mut bits = [false; 64];
            for (what, a, b) in steps {
                match what {
                    0 => {
                        set.insert(a..b);
                        for bit in a..b { bits[bit as usize] = true; }
                    }
                    1 => {
                        set.remove(a..b);
                        for bit in a..b { bits[bit as usize] = false; }
                    }
                    _ => {
                        set.truncate(a);
                        for bit in a..64 { bits[bit as usize] = false; }
                    }
                }
            }
            let stretch = (from..64).find(|&bit| !bits[bit as usize]).unwrap_or(64);
            prop_assert_eq!(set.stretch(from), stretch);
            let mut inside = [false; 64];
            for part in set.within(from..to) {
                prop_assert!(!part.is_empty());
                for bit in part { inside[bit as usize] = true; }
            }
            let mut missing = [false; 64];
            for gap in set.gaps(from..to) {
                prop_assert!(!gap.is_empty());
                for bit in gap { missing[bit as usize] = true; }
            }
            for bit in 0..64u64 {
                let expected = from <= bit && bit < to && !bits[bit as usize];
                prop_assert_eq!(missing[bit as usize], expected);
                prop_assert_eq!(inside[bit as usize], from <= bit && bit < to && bits[bit as usize]);
            }
            prop_assert_eq!(set.end(), bits.iter().rposition(|&bit| bit).map_or(0, |at| at as u64 + 1));
        }
    }
}
