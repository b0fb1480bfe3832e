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
//! | moved `high`, and asked for a fair part of what they passed | forward | up to [`Depth`] beyond `high` |
//! | moved `base` down, more than once | backward | as much before `base`, nearest first |
//! | followed one before them at the same distance again and again | strided | the next few at that distance |
//! | none of these | random | what was asked for, rounded to [`Options::block_bytes`] |
//!
//! A random reader that begins to read in order is a new run and so forward at its second read; a
//! sequential one that begins to jump leaves its run alone, and that is forgotten when enough
//! others came after it. A small file is fetched whole.
//!
//! # Depth
//! How far ahead is enough depends on latency times bandwidth, and neither is known. [`Depth`]
//! finds out: while reads have to wait for bytes it doubles, for as long as doubling makes them
//! faster. More than that would only cost memory.

use std::time::Duration;

use tokio::time::Instant;

use super::Options;
use crate::s3::ByteRange;

/// The reads of one open file, and what to make of them.
#[derive(Debug)]
pub(super) struct Window {
    size: u64,
    options: Options,
    runs: Vec<Run>,
    stride: Stride,
    reads: u64,
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
        Self { size, options, runs: Vec::new(), stride: Stride::default(), reads: 0 }
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
        run.depth.observe(access, run.high, room);
        match run.direction(step) {
            Direction::Forward => run.plan_forward(access.wanted, step, room, size, options),
            Direction::Backward => run.plan_backward(access.wanted, room, size, options),
            Direction::Opening => run.plan_opening(access.wanted, size, options),
            Direction::None => run.plan_apart(access.wanted, stride, room, size, options),
        }
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

/// Reads that follow each other.
#[derive(Debug)]
struct Run {
    base: u64,
    high: u64,
    /// Bytes asked for, and bytes passed, both fading so that the recent past counts most.
    touched: u64,
    passed: u64,
    /// Reads in a row, of those that moved an edge, that moved `base` and not `high`.
    retreats: u32,
    steps: u32,
    depth: Depth,
    /// How far ahead of `high` it has been fetched, or will have been soon.
    until: u64,
    /// What may be asked for again.
    keep: ByteRange,
    last_read: u64,
}

/// What a read did to its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    First,
    /// Moved `high`, which was here before.
    Advance(u64),
    Retreat,
    /// Filled a hole, or read something again.
    Within,
}

#[derive(Debug, PartialEq, Eq)]
enum Direction {
    /// The first read of a run, at the beginning of the file.
    Opening,
    Forward,
    Backward,
    None,
}

impl Run {
    fn new(first: ByteRange) -> Self {
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
    fn distance(&self, wanted: ByteRange) -> Option<u64> {
        let from_high = wanted.start.abs_diff(self.high);
        let from_base = if wanted.start < self.base { self.base.abs_diff(wanted.end) } else { u64::MAX };
        Some(from_high.min(from_base)).filter(|distance| *distance <= REORDER_BYTES)
    }

    fn step(&mut self, wanted: ByteRange) -> Step {
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
    fn is_dense(&self) -> bool {
        self.steps > 1 && self.touched >= self.passed / 4
    }

    fn direction(&self, step: Step) -> Direction {
        match step {
            Step::First if self.base == 0 => Direction::Opening,
            Step::First => Direction::None,
            _ if !self.is_dense() => Direction::None,
            _ if self.retreats == 0 => Direction::Forward,
            Step::Retreat if self.retreats > 1 => Direction::Backward,
            _ => Direction::None,
        }
    }

    fn plan_forward(
        &mut self,
        wanted: ByteRange,
        step: Step,
        room: u64,
        size: u64,
        options: &Options,
    ) -> Plan {
        let behind = REORDER_BYTES.min(room / 4);
        let ahead = self.depth.bytes.min(room - behind);
        let part_bytes = part_bytes(ahead, options);
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

    fn plan_backward(&mut self, wanted: ByteRange, room: u64, size: u64, options: &Options) -> Plan {
        let ahead = self.depth.bytes.min(room / 2);
        // Small parts: their last bytes are needed first, and come last.
        let part_bytes = part_bytes(ahead / 2, options);
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
    fn plan_opening(&mut self, wanted: ByteRange, size: u64, options: &Options) -> Plan {
        let end = wanted.end.max(options.opening_bytes).min(size);
        self.until = end;
        self.keep = ByteRange { start: 0, end };
        Plan { part_bytes: end, first: self.keep, then: Vec::new() }
    }

    fn plan_apart(
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
    fn forgotten_at(&self) -> u64 {
        self.last_read + if self.is_dense() { 4 * RUNS_MAX as u64 } else { 0 }
    }
}

/// Whether each read follows the one before it at the same distance.
#[derive(Debug, Default)]
struct Stride {
    last_start: Option<u64>,
    distance: i64,
    repeats: u32,
}

impl Stride {
    fn observe(&mut self, wanted: ByteRange) {
        let distance = self.last_start.map_or(0, |last| wanted.start.wrapping_sub(last).cast_signed());
        self.repeats = if distance == self.distance && distance != 0 { self.repeats + 1 } else { 0 };
        self.distance = distance;
        self.last_start = Some(wanted.start);
    }

    /// The reads that will come if it goes on like this; more of them the longer it has.
    fn next(
        &self,
        last: ByteRange,
        room: u64,
        size: u64,
        options: &Options,
    ) -> impl Iterator<Item = ByteRange> {
        let fits = room / last.len().next_multiple_of(options.block_bytes);
        let count = match self.repeats {
            0 | 1 => 0,
            repeats => (1 << repeats.min(5)).min(fits),
        };
        let distance = self.distance;
        let starts = std::iter::successors(Some(last.start), move |start| start.checked_add_signed(distance));
        starts.skip(1).take(usize::try_from(count).unwrap_or(0)).map_while(move |start| {
            (start < size).then(|| ByteRange { start, end: (start + last.len()).min(size) })
        })
    }
}

/// How far ahead of a run to fetch.
///
/// Judged in rounds, each as long as the depth itself. What a round delivered was asked for in the
/// round before, so the first round at a new depth still shows the speed of the old one. While
/// growing that does not matter: each round is compared with the one before, one step late.
#[derive(Debug)]
struct Depth {
    bytes: u64,
    round: Option<Round>,
    /// Bytes per second of the last round that was worth doubling for.
    speed: f64,
    pace: Pace,
}

#[derive(Debug, Clone, Copy)]
struct Round {
    began: Instant,
    from: u64,
    until: u64,
    waited: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Doubling, and looking whether that helps.
    Growing,
    /// It did not, the last time; to be tried again after so many rounds.
    Settled(u32),
    /// Doubled for a trial, of which the next round shows nothing yet.
    Trying,
}

impl Default for Depth {
    fn default() -> Self {
        Self { bytes: DEPTH_FIRST_BYTES, round: None, speed: 0.0, pace: Pace::Growing }
    }
}

impl Depth {
    fn observe(&mut self, access: Access, high: u64, bytes_max: u64) {
        let Some(round) = &mut self.round else {
            self.begin_round(access.now, high);
            return;
        };
        round.waited |= !access.arrived;
        if high >= round.until {
            let round = *round;
            // A reader that never waits is slower than we are, and needs no more of it.
            if round.waited {
                self.judge(round.speed(access.now, high), bytes_max);
            }
            self.begin_round(access.now, high);
        }
    }

    fn judge(&mut self, speed: f64, bytes_max: u64) {
        match self.pace {
            Pace::Growing if speed > self.speed * SPEED_GAIN => self.grow(speed, bytes_max),
            Pace::Growing => {
                self.bytes = (self.bytes / 2).max(DEPTH_FIRST_BYTES);
                self.pace = Pace::Settled(SETTLED_ROUNDS);
            }
            Pace::Trying => self.pace = Pace::Growing,
            Pace::Settled(0) => {
                self.pace = Pace::Trying;
                self.grow(speed, bytes_max);
            }
            Pace::Settled(rounds) => self.pace = Pace::Settled(rounds - 1),
        }
    }

    fn grow(&mut self, speed: f64, bytes_max: u64) {
        self.speed = speed;
        if self.bytes < bytes_max {
            self.bytes = (self.bytes * 2).min(bytes_max);
        } else {
            // There is nothing left to try, and nothing to be given up either.
            self.pace = Pace::Settled(SETTLED_ROUNDS);
        }
    }

    fn begin_round(&mut self, now: Instant, high: u64) {
        self.round = Some(Round { began: now, from: high, until: high + self.bytes, waited: false });
    }
}

impl Round {
    fn speed(&self, now: Instant, high: u64) -> f64 {
        let took = now.duration_since(self.began).max(Duration::from_micros(1));
        (high - self.from) as f64 / took.as_secs_f64()
    }
}

/// Eight requests share the depth, within what requests are good for.
fn part_bytes(ahead: u64, options: &Options) -> u64 {
    let bytes = (ahead / PARTS_AHEAD).min(options.part_bytes_max);
    (bytes - bytes % PART_BYTES_MIN).max(PART_BYTES_MIN)
}

fn rounded(range: ByteRange, size: u64, options: &Options) -> ByteRange {
    let block = options.block_bytes;
    ByteRange { start: range.start / block * block, end: range.end.next_multiple_of(block).min(size) }
}

fn hull(one: ByteRange, other: &ByteRange) -> ByteRange {
    ByteRange { start: one.start.min(other.start), end: one.end.max(other.end) }
}

fn some(start: u64, end: u64) -> impl Iterator<Item = ByteRange> {
    (start < end).then_some(ByteRange { start, end }).into_iter()
}

/// How far reads may come out of order. The kernel has at most two read-ahead windows under way,
/// which are 1 MiB each where it follows our wish, and nobody asks beyond a page that is missing.
const REORDER_BYTES: u64 = 4 << 20;

/// Places of one file that are followed at the same time.
const RUNS_MAX: usize = 16;

/// What was read longer ago than this hardly counts.
const FADE_BYTES: u64 = 64 << 20;

const DEPTH_FIRST_BYTES: u64 = 8 << 20;
const PARTS_AHEAD: u64 = 8;
const PART_BYTES_MIN: u64 = 256 << 10;

/// Doubling the depth doubles the speed where latency rules; a tenth may be chance.
const SPEED_GAIN: f64 = 1.15;

/// Rounds until a depth that was enough is doubted again.
const SETTLED_ROUNDS: u32 = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const SIZE: u64 = 4096 * MIB;
    const ROOM: u64 = 256 * MIB;

    /// A window and a clock that the test moves.
    struct Trial {
        window: Window,
        now: Instant,
    }

    impl Trial {
        fn new(size: u64) -> Self {
            Self { window: Window::new(size, Options::default()), now: Instant::now() }
        }

        fn read(&mut self, start: u64, length: u64) -> Plan {
            self.read_after(Duration::from_micros(100), start, length)
        }

        fn read_after(&mut self, pause: Duration, start: u64, length: u64) -> Plan {
            self.now += pause;
            let wanted = range(start, length);
            self.window.observe(Access { wanted, arrived: false, now: self.now, room: ROOM })
        }
    }

    fn range(start: u64, length: u64) -> ByteRange {
        ByteRange { start, end: start + length }
    }

    fn covers(plan: &Plan, wanted: ByteRange) -> bool {
        let mut ranges: Vec<_> = plan.then.iter().chain([&plan.first]).collect();
        ranges.sort_by_key(|range| range.start);
        let reached = ranges
            .iter()
            .fold(wanted.start, |at, range| if range.start <= at { at.max(range.end) } else { at });
        reached >= wanted.end
    }

    fn ahead_of(plan: &Plan, end: u64) -> u64 {
        plan.then.iter().chain([&plan.first]).map(|range| range.end).max().unwrap_or(end).saturating_sub(end)
    }

    #[test]
    fn the_head_of_a_large_file_costs_one_moderate_request() {
        let plan = Trial::new(SIZE).read(0, 4 * KIB);
        assert_eq!(plan, Plan { part_bytes: MIB, first: range(0, MIB), then: Vec::new() });
    }

    #[test]
    fn the_second_read_in_order_starts_reading_ahead() {
        for start in [0, 77 * MIB + 5] {
            let mut trial = Trial::new(SIZE);
            trial.read(start, 128 * KIB);
            let plan = trial.read(start + 128 * KIB, 128 * KIB);
            assert!(ahead_of(&plan, start + 256 * KIB) >= 7 * MIB, "{plan:?}");
            assert_eq!(plan.first.start, start + 128 * KIB);
        }
    }

    #[test]
    fn a_read_that_skips_a_little_fetches_what_it_skipped() {
        let mut trial = Trial::new(SIZE);
        trial.read(0, MIB);
        trial.read(MIB, MIB);
        let plan = trial.read(3 * MIB, MIB);
        assert_eq!(plan.first.start, 2 * MIB);
        let late = trial.read(2 * MIB, MIB);
        assert_eq!(late.first, range(2 * MIB, MIB));
        assert!(ahead_of(&late, 4 * MIB) >= 4 * MIB);
    }

    #[test]
    fn a_small_file_is_fetched_whole_from_its_beginning_or_at_the_second_read() {
        let all = Plan { part_bytes: 2 * MIB, first: range(0, 2 * MIB), then: Vec::new() };
        assert_eq!(Trial::new(2 * MIB).read(0, 10), all);
        let mut trial = Trial::new(2 * MIB);
        assert_eq!(trial.read(MIB, 10).first, range(MIB, 64 * KIB));
        assert_eq!(trial.read(MIB + 300 * KIB, 10), all);
    }

    #[test]
    fn reading_backward_fetches_what_lies_before_nearest_first() {
        let mut trial = Trial::new(SIZE);
        let starts = (0..8).map(|at| 100 * MIB - at * 32 * KIB);
        let plan = starts.map(|start| trial.read(start, 32 * KIB)).last().expect("eight reads");
        let base = 100 * MIB - 7 * 32 * KIB;
        assert_eq!(plan.then[0].end, base);
        assert!(plan.then.windows(2).all(|pair| pair[0].start == pair[1].end));
        assert!(plan.then[plan.then.len() - 1].start <= base - 4 * MIB);
        assert_eq!(ahead_of(&plan, 100 * MIB), 0);
    }

    #[test]
    fn reading_at_a_steady_distance_fetches_the_next_places_and_not_what_lies_between() {
        for stride in [10 * MIB as i64, -10 * MIB as i64, 3 * MIB as i64] {
            let mut trial = Trial::new(SIZE);
            let starts = (0..6).map(|at| (1000 * MIB).saturating_add_signed(at * stride));
            let plan = starts.map(|start| trial.read(start, 4 * KIB)).last().expect("six reads");
            let next: Vec<_> = plan.then.iter().map(|range| range.start).collect();
            let expected: Vec<_> = (6..6 + next.len() as i64)
                .map(|at| (1000 * MIB).saturating_add_signed(at * stride))
                .collect();
            assert!(next.len() >= 4 && next == expected, "{stride}: {next:?}");
            assert!(plan.then.iter().all(|range| range.len() == 64 * KIB));
        }
    }

    #[test]
    fn a_random_reader_becomes_sequential_and_a_sequential_one_random() {
        let mut trial = Trial::new(SIZE);
        let mut random = fastrand::Rng::with_seed(1);
        for round in 0..10 {
            for _ in 0..40 {
                let start = random.u64(..SIZE / 4096) * 4096;
                let plan = trial.read(start, 4 * KIB);
                assert!(plan.then.is_empty() && plan.first.len() <= 128 * KIB || round > 0, "{plan:?}");
            }
            let start = random.u64(..SIZE / 2);
            trial.read(start, 128 * KIB);
            let plan = trial.read(start + 128 * KIB, 128 * KIB);
            assert!(ahead_of(&plan, start + 256 * KIB) >= 4 * MIB, "{plan:?}");
        }
    }

    #[test]
    fn two_sequential_readers_of_one_file_share_the_room() {
        let mut trial = Trial::new(SIZE);
        let mut plans = Vec::new();
        for at in 0..2000 {
            plans = [0, 2048 * MIB].map(|base| trial.read(base + at * 128 * KIB, 128 * KIB)).into();
        }
        let ahead: u64 = plans.iter().map(|plan| plan.first.len()).sum();
        assert!(plans.iter().all(|plan| plan.first.len() > 4 * MIB));
        assert!(ahead <= Options::default().ahead_bytes_max, "{ahead}");
    }

    /// Reads in order from a server on which more requests at once are faster up to `enough` bytes.
    fn settle(enough: u64) -> u64 {
        let mut trial = Trial::new(SIZE);
        let mut ahead = MIB;
        for start in (0..SIZE / 2).step_by(128 << 10) {
            let latency = Duration::from_millis(50).as_nanos() as u64;
            let pause = Duration::from_nanos(latency * 128 * KIB / ahead.min(enough));
            ahead = ahead_of(&trial.read_after(pause, start, 128 * KIB), start + 128 * KIB).max(MIB);
        }
        ahead
    }

    #[test]
    fn the_depth_grows_while_that_helps_and_not_much_further() {
        assert!(settle(u64::MAX) > 150 * MIB, "{}", settle(u64::MAX));
        assert!((24 * MIB..=130 * MIB).contains(&settle(32 * MIB)), "{}", settle(32 * MIB));
        assert!(settle(8 * MIB) <= 34 * MIB, "{}", settle(8 * MIB));
    }

    #[test]
    fn a_reader_that_never_waits_gets_no_more_depth() {
        let mut trial = Trial::new(SIZE);
        for start in (0..256 * MIB).step_by(128 << 10) {
            let wanted = range(start, 128 * KIB);
            trial.now += Duration::from_micros(50);
            let plan = trial.window.observe(Access { wanted, arrived: true, now: trial.now, room: ROOM });
            assert!(plan.first.len() <= DEPTH_FIRST_BYTES + MIB);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_the_plan_has_it_within_the_file_and_keeps_it(
            size in 1_u64..64 * MIB,
            room in 0_u64..64 * MIB,
            reads in prop::collection::vec((any::<u64>(), 1_u64..2 * MIB, any::<bool>()), 1..80),
        ) {
            let mut trial = Trial::new(size);
            let mut next = 0;
            for (place, length, follows) in reads {
                let start = if follows { next % size } else { place % size };
                let wanted = range(start, length.min(size - start));
                next = wanted.end;
                trial.now += Duration::from_micros(10);
                let plan = trial.window.observe(Access { wanted, arrived: false, now: trial.now, room });
                prop_assert!(covers(&plan, wanted), "{wanted} is not in {plan:?}");
                prop_assert!(plan.part_bytes > 0);
                prop_assert!(plan.then.iter().chain([&plan.first]).all(|range| range.end <= size && !range.is_empty()));
                prop_assert_eq!(trial.window.kept_from(wanted), Some(wanted.start));
                prop_assert!(ahead_of(&plan, wanted.end) <= room + 2 * REORDER_BYTES);
            }
        }

        #[test]
        fn reading_in_any_order_within_the_kernels_windows_stays_one_run(seed in any::<u64>()) {
            let mut trial = Trial::new(SIZE);
            let mut random = fastrand::Rng::with_seed(seed);
            for window in (0..128 * MIB).step_by(2 << 20) {
                let mut starts: Vec<_> = (0..16).map(|at| window + at * 128 * KIB).collect();
                random.shuffle(&mut starts);
                starts.into_iter().for_each(|start| drop(trial.read(start, 128 * KIB)));
            }
            prop_assert_eq!(trial.window.runs.len(), 1);
            prop_assert!(trial.window.runs[0].until > 132 * MIB);
        }
    }
}
