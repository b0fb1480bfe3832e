//! What a file's reads so far say about the next ones: a pure function of its arguments.
//!
//! # Runs
//! A [`Run`] is a stretch of the file in which reads follow each other, from its `base` to its
//! `high`est byte asked for. A read belongs to the run whose edge it comes near, else it begins a
//! new one. *Near* is not *next*: the kernel asks ahead by itself, in several requests that
//! different threads deliver in any order, so a read may skip what another one will ask for in a
//! moment, or ask for what was skipped a moment ago. Reads of several places at once, through one
//! descriptor, are several runs, and each is judged by itself:
//!
//! | what its reads did | called | fetched |
//! | --- | --- | --- |
//! | moved `high`, and asked for a fair part of what they passed | forward | up to [`Depth`](depth::Depth) beyond `high` |
//! | moved `base` down, more than once | backward | as much before `base`, nearest first |
//! | followed one before them at the same distance again and again | strided | the next few at that distance |
//! | none of these | random | what was asked for, rounded to [`Options::block_bytes`] |
//!
//! A random reader that begins to read in order is a new run and so forward at its second read; a
//! sequential one that begins to jump leaves its run alone, and that is forgotten when enough
//! others came after it. A small file is fetched whole.
//!
//! # Depth
//! How far ahead is enough depends on latency times bandwidth. [`Depth`](depth::Depth) finds out: while reads
//! have to wait for bytes it doubles, for as long as the network has room for more requests. More than
//! that would only cost memory.

mod depth;
mod run;
mod stride;

#[cfg(test)]
mod tests;

use tokio::time::Instant;

use self::run::{Direction, RUNS_MAX, Run};
use self::stride::Stride;
use super::Options;
use super::pulse::Network;
use crate::s3::ByteRange;

/// The reads of one open file, and what to make of them.
#[derive(Debug)]
pub(super) struct Window {
    size: u64,
    options: Options,
    runs: Vec<Run>,
    stride: Stride,
    reads: u64,
    apart: bool,
}

/// One read, and what the world was like when it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    /// The bytes asked for, not beyond the end of the file.
    pub(super) wanted: ByteRange,
    /// Whether they were there already.
    pub(super) arrived: bool,
    /// When it came.
    pub(super) now: Instant,
    /// Bytes that this file may hold in memory.
    pub(super) room: u64,
    /// What the network is able to do.
    pub(super) network: Network,
}

/// What to have, and in what order to get it. What is there or under way already is in it too.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Bytes per request.
    pub(super) part_bytes: u64,
    /// First this. It has the wanted bytes, but for those that `then` has.
    pub(super) first: ByteRange,
    /// Then these.
    pub(super) then: Vec<ByteRange>,
}

impl Window {
    /// The window of a file of `size` bytes that nobody has read yet.
    pub(super) fn new(size: u64, options: Options) -> Self {
        Self { size, options, runs: Vec::new(), stride: Stride::default(), reads: 0, apart: false }
    }

    /// Takes note of a read and says what to fetch for it and ahead of it.
    pub(super) fn observe(&mut self, access: Access) -> Plan {
        debug_assert!(!access.wanted.is_empty() && access.wanted.end <= self.size);
        self.reads += 1;
        self.stride.observe(access.wanted);
        if self.size <= self.options.small_file_bytes && (access.wanted.start == 0 || !self.runs.is_empty()) {
            return self.whole(access);
        }
        let at = self.run_of(access.wanted);
        let sharing = self.runs.iter().filter(|run| run.is_dense()).count().max(1) as u64;
        let room = access.room.min(self.options.ahead_bytes_max) / sharing;
        let (size, reads, options, stride) = (self.size, self.reads, &self.options, &self.stride);
        let run = &mut self.runs[at];
        let step = run.step(access.wanted);
        run.last_read = reads;
        run.depth.observe(access, room);
        let direction = run.direction(step);
        self.apart = direction == Direction::None;
        match direction {
            Direction::Forward => run.plan_forward(access, step, room, size, options),
            Direction::Backward => run.plan_backward(access, room, size, options),
            Direction::Opening => run.plan_opening(access.wanted, size, options),
            Direction::None => run.plan_apart(access.wanted, stride, room, size, options),
        }
    }

    /// Whether the last read followed no other.
    pub(super) fn is_apart(&self) -> bool {
        self.apart
    }

    /// The first byte of `range` that is worth keeping; `None` when none is.
    pub(super) fn kept_from(&self, range: ByteRange) -> Option<u64> {
        let kept = self.runs.iter().map(|run| run.keep);
        let overlaps = kept.filter(|keep| keep.start < range.end && range.start < keep.end);
        overlaps.map(|keep| keep.start.max(range.start)).min()
    }

    fn whole(&mut self, access: Access) -> Plan {
        let all = ByteRange { start: 0, end: self.size };
        if self.runs.is_empty() {
            self.runs.push(Run::new(access.wanted));
        }
        self.runs[0].keep = all;
        Plan { part_bytes: self.size, first: all, then: Vec::new() }
    }

    /// The index of the run that a read belongs to, of a new one if of none.
    fn run_of(&mut self, wanted: ByteRange) -> usize {
        let near = self.runs.iter().enumerate().filter_map(|(at, run)| Some((run.distance(wanted)?, at)));
        if let Some((_, at)) = near.min() {
            return at;
        }
        if self.runs.len() < RUNS_MAX {
            self.runs.push(Run::new(wanted));
            return self.runs.len() - 1;
        }
        let oldest = self.runs.iter().enumerate().min_by_key(|(_, run)| run.forgotten_at());
        let at = oldest.map_or(0, |(at, _)| at);
        self.runs[at] = Run::new(wanted);
        at
    }
}

fn rounded(range: ByteRange, size: u64, options: &Options) -> ByteRange {
    let block = options.block_bytes;
    ByteRange { start: range.start / block * block, end: range.end.next_multiple_of(block).min(size) }
}
