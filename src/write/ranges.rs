//! Which bytes of a file: sets of ranges, and claims that reach to the end of the file.
//!
//! Two questions are asked of every written file: which bytes does the staging file hold, and
//! which bytes does S3 not have yet. Both have the same shape. Single ranges are written here
//! and there, and truncation takes everything from some point on, because what lay beyond it
//! must read as zeros when the file grows again. [`RangeSet`] is the first half, [`Claim`] both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::s3::object::ByteRange;

/// A set of bytes, kept as few ranges as possible.
///
/// Invariant: the runs are non-empty, in order, and neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeSet {
    /// The first byte of each run, and the first byte behind it.
    runs: BTreeMap<u64, u64>,
}

/// A set of bytes that may reach to the end of the file: `ranges`, and everything from `floor` on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    ranges: RangeSet,
    floor: u64,
}

impl Claim {
    /// Returns the claim on everything from `floor` on.
    pub fn from(floor: u64) -> Self {
        Self { ranges: RangeSet::default(), floor }
    }

    /// Returns the claim on nothing.
    pub fn nothing() -> Self {
        Self::from(u64::MAX)
    }

    /// Claims `range` too.
    pub fn insert(&mut self, range: ByteRange) {
        self.ranges.insert(ByteRange { start: range.start, end: range.end.min(self.floor) });
    }

    /// Claims `range` no longer. What lies behind it stays claimed as it is.
    pub fn remove(&mut self, range: ByteRange) {
        if range.end > self.floor {
            self.ranges.insert(ByteRange { start: self.floor, end: range.end });
            self.floor = range.end;
        }
        self.ranges.remove(range);
    }

    /// Claims everything from `size` on, as a file cut there does.
    pub fn truncate(&mut self, size: u64) {
        if size < self.floor {
            self.floor = size;
            self.ranges.remove(ByteRange { start: size, end: u64::MAX });
        }
    }

    /// The first byte from which on everything is claimed.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The ranges below the floor.
    pub fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    /// Whether a file of `size` bytes has none that is claimed.
    pub fn is_empty_within(&self, size: u64) -> bool {
        self.floor >= size && !self.ranges.overlaps(ByteRange { start: 0, end: size })
    }

    /// Cuts `range` into pieces that are claimed (`true`) or not, in order and without gaps.
    pub fn pieces(&self, range: ByteRange) -> Vec<(ByteRange, bool)> {
        let below = ByteRange { start: range.start, end: range.end.min(self.floor) };
        let above = ByteRange { start: range.start.max(self.floor), end: range.end };
        let mut pieces = self.ranges.pieces(below);
        match pieces.last_mut() {
            _ if above.is_empty() => {}
            Some((last, true)) => last.end = above.end,
            _ => pieces.push((above, true)),
        }
        pieces
    }
}

impl RangeSet {
    /// Adds `range`; an empty one changes nothing.
    pub fn insert(&mut self, range: ByteRange) {
        if range.is_empty() {
            return;
        }
        let ByteRange { mut start, mut end } = range;
        if let Some((&before, &before_end)) = self.runs.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
        }
        while let Some((&met, &met_end)) = self.runs.range(start..=end).next() {
            end = end.max(met_end);
            self.runs.remove(&met);
        }
        self.runs.insert(start, end);
    }

    /// Takes `range` out.
    pub fn remove(&mut self, range: ByteRange) {
        if range.is_empty() {
            return;
        }
        if let Some((_, end)) = self.runs.range_mut(..range.start).next_back() {
            let behind = *end;
            *end = behind.min(range.start);
            if behind > range.end {
                self.runs.insert(range.end, behind);
            }
        }
        while let Some((&met, &met_end)) = self.runs.range(range.start..range.end).next() {
            self.runs.remove(&met);
            if met_end > range.end {
                self.runs.insert(range.end, met_end);
            }
        }
    }

    /// Whether any byte of `range` is in the set.
    pub fn overlaps(&self, range: ByteRange) -> bool {
        !range.is_empty()
            && self.runs.range(..range.end).next_back().is_some_and(|(_, &end)| end > range.start)
    }

    /// Whether the set has no bytes.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The first run of the set.
    pub fn first(&self) -> Option<ByteRange> {
        self.iter().next()
    }

    /// The runs of the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = ByteRange> + '_ {
        self.runs.iter().map(|(&start, &end)| ByteRange { start, end })
    }

    /// Cuts `range` into pieces that are in the set (`true`) or not, in order and without gaps.
    pub fn pieces(&self, range: ByteRange) -> Vec<(ByteRange, bool)> {
        let mut pieces = Vec::new();
        let mut at = range.start;
        let first = self.runs.range(..=range.start).next_back().map_or(range.start, |(&start, _)| start);
        for (&start, &end) in self.runs.range(first..range.end.max(first)) {
            let run = ByteRange { start: start.max(at), end: end.min(range.end) };
            if run.is_empty() {
                continue;
            }
            if at < run.start {
                pieces.push((ByteRange { start: at, end: run.start }, false));
            }
            pieces.push((run, true));
            at = run.end;
        }
        if at < range.end {
            pieces.push((ByteRange { start: at, end: range.end }, false));
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange { start, end }
    }

    #[derive(Debug, Clone)]
    enum Change {
        Insert(u64, u64),
        Remove(u64, u64),
        Truncate(u64),
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let change = (0_u8..5, 0_u64..64, 0_u64..16).prop_map(|(what, at, length)| match what {
            0..3 => Change::Insert(at, at + length),
            3 => Change::Remove(at, at + length),
            _ => Change::Truncate(at),
        });
        proptest::collection::vec(change, 0..24)
    }

    proptest! {
        #[test]
        fn a_range_set_holds_what_a_set_of_bytes_holds(changes in changes(), start in 0_u64..80, length in 0_u64..40) {
            let mut set = RangeSet::default();
            let mut bytes = [false; 128];
            for change in changes {
                let (from, to, value) = match change {
                    Change::Insert(from, to) => { set.insert(range(from, to)); (from, to, true) }
                    Change::Remove(from, to) => { set.remove(range(from, to)); (from, to, false) }
                    Change::Truncate(from) => { set.remove(range(from, u64::MAX)); (from, 128, false) }
                };
                bytes[from as usize..to as usize].fill(value);
            }
            let runs: Vec<_> = set.iter().collect();
            prop_assert!(runs.iter().all(|run| !run.is_empty()));
            prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "runs touch: {runs:?}");
            let asked = range(start, start + length);
            let held = &bytes[start as usize..(start + length) as usize];
            prop_assert_eq!(set.overlaps(asked), held.contains(&true));
            prop_assert_eq!(spelled_out(&set.pieces(asked)), held.to_vec());
        }

        #[test]
        fn a_claim_reaches_to_the_end_from_the_lowest_cut(changes in changes(), start in 0_u64..80, length in 0_u64..40) {
            let mut claim = Claim::nothing();
            let mut bytes = [false; 128];
            for change in changes {
                match change {
                    Change::Insert(from, to) => {
                        claim.insert(range(from, to));
                        bytes[from as usize..to as usize].fill(true);
                    }
                    Change::Remove(from, to) => {
                        claim.remove(range(from, to));
                        bytes[from as usize..to as usize].fill(false);
                    }
                    Change::Truncate(size) => { claim.truncate(size); bytes[size as usize..].fill(true); }
                }
            }
            let asked = range(start, start + length);
            let held = &bytes[start as usize..(start + length) as usize];
            prop_assert_eq!(spelled_out(&claim.pieces(asked)), held.to_vec());
            prop_assert_eq!(claim.is_empty_within(start), !bytes[..start as usize].contains(&true));
        }
    }

    fn spelled_out(pieces: &[(ByteRange, bool)]) -> Vec<bool> {
        pieces.iter().flat_map(|(range, held)| std::iter::repeat_n(*held, range.len() as usize)).collect()
    }
}
