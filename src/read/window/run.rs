//! Reads that follow each other, and what to fetch for them.

use super::depth::{Depth, part_bytes};
use super::stride::Stride;
use super::{Access, Plan, rounded};
use crate::read::Options;
use crate::s3::ByteRange;

/// Reads that follow each other.
#[derive(Debug)]
pub(super) struct Run {
    base: u64,
    pub(super) high: u64,
    /// Bytes asked for, and bytes passed, both fading so that the recent past counts most.
    touched: u64,
    passed: u64,
    /// Reads in a row, of those that moved an edge, that moved `base` and not `high`.
    retreats: u32,
    steps: u32,
    pub(super) depth: Depth,
    /// How far ahead of `high` it has been fetched, or will have been soon.
    pub(super) until: u64,
    /// What may be asked for again.
    pub(super) keep: ByteRange,
    pub(super) last_read: u64,
}

/// What a read did to its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    First,
    /// Moved `high`, which was here before.
    Advance(u64),
    Retreat,
    /// Filled a hole, or read something again.
    Within,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The first read of a run, at the beginning of the file.
    Opening,
    Forward,
    Backward,
    None,
}

impl Run {
    pub(super) fn new(first: ByteRange) -> Self {
        Self {
            base: first.start,
            high: first.start,
            touched: 0,
            passed: 0,
            retreats: 0,
            steps: 0,
            depth: Depth::default(),
            until: first.start,
            keep: first,
            last_read: 0,
        }
    }

    /// How far a read is from the nearer edge of this run; `None` if it does not belong here.
    pub(super) fn distance(&self, wanted: ByteRange) -> Option<u64> {
        let from_high = wanted.start.abs_diff(self.high);
        let from_base = if wanted.start < self.base { self.base.abs_diff(wanted.end) } else { u64::MAX };
        Some(from_high.min(from_base)).filter(|distance| *distance <= REORDER_BYTES)
    }

    pub(super) fn step(&mut self, wanted: ByteRange) -> Step {
        let high_before = self.high;
        let step = match () {
            () if self.steps == 0 => Step::First,
            () if wanted.end > self.high => Step::Advance(high_before),
            () if wanted.start < self.base => Step::Retreat,
            () => Step::Within,
        };
        let passed_before = self.high - self.base;
        self.high = self.high.max(wanted.end);
        self.base = self.base.min(wanted.start);
        self.passed += self.high - self.base - passed_before;
        // Reading the same again and again does not make a run denser.
        self.touched = (self.touched + wanted.len()).min(self.passed);
        if self.passed > FADE_BYTES {
            self.passed /= 2;
            self.touched /= 2;
        }
        match step {
            Step::Retreat => self.retreats += 1,
            Step::Advance(_) => self.retreats = 0,
            Step::First | Step::Within => {}
        }
        self.steps += 1;
        step
    }

    /// Whether enough of what was passed was asked for that the rest may be fetched as well.
    pub(super) fn is_dense(&self) -> bool {
        self.steps > 1 && self.touched >= self.passed / 4
    }

    pub(super) fn direction(&self, step: Step) -> Direction {
        match step {
            Step::First if self.base == 0 => Direction::Opening,
            Step::First => Direction::None,
            _ if !self.is_dense() => Direction::None,
            _ if self.retreats == 0 => Direction::Forward,
            Step::Retreat if self.retreats > 1 => Direction::Backward,
            _ => Direction::None,
        }
    }

    pub(super) fn plan_forward(
        &mut self,
        access: Access,
        step: Step,
        room: u64,
        size: u64,
        options: &Options,
    ) -> Plan {
        let wanted = access.wanted;
        let behind = REORDER_BYTES.min(room / 4);
        let ahead = self.depth.bytes.min(room - behind);
        let part_bytes = part_bytes(ahead, access.network, options);
        self.until = self.until.max(self.high);
        let target = (self.high + ahead).min(size);
        let missing = target.saturating_sub(self.until);
        // In whole parts, or each read would move the end by its own length and ask for that.
        self.until += if target == size { missing } else { missing - missing % part_bytes };
        self.keep = ByteRange { start: self.high.saturating_sub(behind).min(wanted.start), end: self.until };
        match step {
            // With the hole before it, if there is one: the read that will ask for it is on its way.
            Step::Advance(high) if high <= wanted.start => {
                Plan { part_bytes, first: ByteRange { start: high, end: self.until }, then: Vec::new() }
            }
            _ => Plan { part_bytes, first: wanted, then: some(self.high, self.until).collect() },
        }
    }

    pub(super) fn plan_backward(&mut self, access: Access, room: u64, size: u64, options: &Options) -> Plan {
        let wanted = access.wanted;
        let ahead = self.depth.bytes.min(room / 2);
        // Small parts: their last bytes are needed first, and come last.
        let part_bytes = part_bytes(ahead / 2, access.network, options);
        let target = self.base.saturating_sub(ahead);
        let mut then = Vec::new();
        let mut end = self.base;
        while end > target {
            // On whole multiples, so that the next read's plan has the same parts as this one's.
            let start = (end - 1) / part_bytes * part_bytes;
            then.push(ByteRange { start, end });
            end = start;
        }
        self.keep = ByteRange { start: end, end: (self.base + REORDER_BYTES.min(room / 4)).max(wanted.end) };
        Plan { part_bytes, first: rounded(wanted, size, options), then }
    }

    /// The beginning of a file is mostly followed by the rest of it, but some only look at its head.
    pub(super) fn plan_opening(&mut self, wanted: ByteRange, size: u64, options: &Options) -> Plan {
        let end = wanted.end.max(options.opening_bytes).min(size);
        self.until = end;
        self.keep = ByteRange { start: 0, end };
        Plan { part_bytes: end, first: self.keep, then: Vec::new() }
    }

    pub(super) fn plan_apart(
        &mut self,
        wanted: ByteRange,
        stride: &Stride,
        room: u64,
        size: u64,
        options: &Options,
    ) -> Plan {
        let first = rounded(wanted, size, options);
        let then: Vec<_> =
            stride.next(wanted, room / 2, size, options).map(|range| rounded(range, size, options)).collect();
        // A read out of order does not undo what was fetched ahead of the others.
        let kept = if self.is_dense() { self.keep } else { first };
        self.keep = then.iter().chain([&first]).fold(kept, hull);
        Plan { part_bytes: first.len(), first, then }
    }

    /// The later, the longer it is remembered. A sequential run outlives the random reads between.
    pub(super) fn forgotten_at(&self) -> u64 {
        self.last_read + if self.is_dense() { 4 * RUNS_MAX as u64 } else { 0 }
    }
}

fn hull(one: ByteRange, other: &ByteRange) -> ByteRange {
    ByteRange { start: one.start.min(other.start), end: one.end.max(other.end) }
}

fn some(start: u64, end: u64) -> impl Iterator<Item = ByteRange> {
    (start < end).then_some(ByteRange { start, end }).into_iter()
}

/// How far reads may come out of order. The kernel has at most two read-ahead windows under way,
/// which are 1 MiB each where it follows our wish, and nobody asks beyond a page that is missing.
pub(super) const REORDER_BYTES: u64 = 4 << 20;

/// Places of one file that are followed at the same time.
pub(super) const RUNS_MAX: usize = 16;

/// What was read longer ago than this hardly counts.
const FADE_BYTES: u64 = 64 << 20;
