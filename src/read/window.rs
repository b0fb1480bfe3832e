//! How far to read ahead: a pure function of the reads so far.
//!
//! A reader that goes through a file from its beginning gets a window that doubles while it has
//! to wait, until the bytes on their way fill latency × bandwidth or the limit is reached. A
//! reader that jumps gets what it asked for and nothing more; after a few reads in a row it is
//! taken for one that goes on, and begins again with a small window.
//!
//! The kernel reads ahead too, several requests at once on several threads, so the reads of one
//! sequential reader arrive slightly out of order. Reads near the frontier count as going on.

use crate::s3::ByteRange;

/// What is known about the reads of one open file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    /// The end of the furthest read of the current run.
    frontier: u64,
    /// Reads that went on from one another.
    run: u32,
    /// How far ahead of the frontier to fetch.
    bytes: u64,
    limits: Limits,
}

/// The bounds of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// What a run begins with.
    pub(super) first_bytes: u64,
    /// What no run exceeds.
    pub(super) most_bytes: u64,
}

/// How a read fits the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// It goes on: what lies up to `ahead_until` will be wanted.
    GoesOn {
        /// Where the window ends.
        ahead_until: u64,
    },
    /// It jumps: nothing is known about the next one.
    Jumps,
}

impl Window {
    pub(super) fn new(limits: Limits) -> Self {
        // The beginning of a file is where a run begins: the first read of it goes on from nothing.
        Self { frontier: 0, run: RUN_MIN, bytes: limits.first_bytes, limits }
    }

    /// Takes note of a read.
    pub(super) fn read(&mut self, range: ByteRange) -> Pattern {
        let near = range.start <= self.frontier.saturating_add(SLACK_BYTES)
            && self.frontier <= range.end.saturating_add(SLACK_BYTES);
        if near {
            self.frontier = self.frontier.max(range.end);
            self.run = self.run.saturating_add(1);
        } else {
            (self.frontier, self.run, self.bytes) = (range.end, 0, self.limits.first_bytes);
        }
        if self.run < RUN_MIN {
            return Pattern::Jumps;
        }
        Pattern::GoesOn { ahead_until: self.frontier.saturating_add(self.bytes) }
    }

    /// The reader had to wait for bytes that were on their way: more of them should have been.
    pub(super) fn starved(&mut self) {
        self.bytes = self.bytes.saturating_mul(2).min(self.limits.most_bytes);
    }

    /// The first byte that may still be asked for by a read that was overtaken by others.
    pub(super) fn kept_from(&self) -> u64 {
        self.frontier.saturating_sub(SLACK_BYTES)
    }
}

/// How far out of order the kernel's own read-ahead may come: two requests of its largest size
/// on either side.
const SLACK_BYTES: u64 = 2 << 20;

/// Reads in a row that make a run. One may be chance; a pair is what a header and its body are.
const RUN_MIN: u32 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const LIMITS: Limits = Limits { first_bytes: 4 * MIB, most_bytes: 128 * MIB };

    fn at(start: u64, length: u64) -> ByteRange {
        ByteRange { start, end: start + length }
    }

    #[test]
    fn reading_from_the_beginning_goes_on_at_once() {
        let mut window = Window::new(LIMITS);
        assert_eq!(window.read(at(0, 128 * KIB)), Pattern::GoesOn { ahead_until: 128 * KIB + 4 * MIB });
    }

    #[test]
    fn a_starved_reader_gets_more_up_to_the_limit() {
        let mut window = Window::new(LIMITS);
        for _ in 0..20 {
            window.starved();
        }
        assert_eq!(window.read(at(0, MIB)), Pattern::GoesOn { ahead_until: 129 * MIB });
    }

    #[test]
    fn a_jump_is_a_jump_until_reads_go_on_from_it() {
        let mut window = Window::new(LIMITS);
        window.read(at(0, MIB));
        assert_eq!(window.read(at(500 * MIB, 4 * KIB)), Pattern::Jumps);
        assert_eq!(window.read(at(100 * MIB, 4 * KIB)), Pattern::Jumps);
        assert_eq!(window.read(at(100 * MIB + 4 * KIB, 4 * KIB)), Pattern::Jumps);
        assert!(matches!(window.read(at(100 * MIB + 8 * KIB, 4 * KIB)), Pattern::GoesOn { .. }));
    }

    #[test]
    fn random_reads_never_look_like_a_run() {
        let mut window = Window::new(LIMITS);
        for step in 1..100_u64 {
            let start = (step * 7919 * 13) % 1000 * 10 * MIB + 50 * MIB;
            assert_eq!(window.read(at(start, 4 * KIB)), Pattern::Jumps, "read {step} at {start}");
        }
    }

    proptest! {
        #[test]
        fn the_kernels_disorder_is_still_a_run(turns in proptest::collection::vec(0_usize..4, 16)) {
            // Requests of 256 KiB, those of each MiB in an order of their own.
            let mut reads: Vec<u64> = (0..64).map(|index| index * 256 * KIB).collect();
            for (four, turn) in reads.chunks_mut(4).zip(turns) {
                four.rotate_left(turn);
            }
            let mut window = Window::new(LIMITS);
            for start in reads {
                let goes_on = matches!(window.read(at(start, 256 * KIB)), Pattern::GoesOn { .. });
                prop_assert!(goes_on);
            }
        }

        #[test]
        fn the_window_stays_within_its_limits(reads in proptest::collection::vec((0_u64..1 << 40, 1_u64..MIB, any::<bool>()), 1..200)) {
            let mut window = Window::new(LIMITS);
            for (start, length, starves) in reads {
                let range = at(start, length);
                if starves {
                    window.starved();
                }
                if let Pattern::GoesOn { ahead_until } = window.read(range) {
                    prop_assert!(ahead_until >= range.end);
                    prop_assert!(ahead_until <= range.end + 2 * SLACK_BYTES + LIMITS.most_bytes);
                }
            }
        }
    }
}
