//! Windows that scripted reads go through.

use std::time::Duration;

use proptest::prelude::*;

use super::depth::DEPTH_FIRST_BYTES;
use super::run::REORDER_BYTES;
use super::*;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const SIZE: u64 = 4096 * MIB;
const ROOM: u64 = 256 * MIB;

/// A window and a clock that the test moves.
struct Trial {
    window: Window,
    now: Instant,
    network: Network,
}

impl Trial {
    fn new(size: u64) -> Self {
        let window = Window::new(size, Options::default());
        Self { window, now: Instant::now(), network: Network::default() }
    }

    fn read(&mut self, start: u64, length: u64) -> Plan {
        self.read_after(Duration::from_micros(100), start, length)
    }

    fn read_after(&mut self, pause: Duration, start: u64, length: u64) -> Plan {
        self.now += pause;
        let wanted = range(start, length);
        self.observe(wanted, false, ROOM)
    }

    fn observe(&mut self, wanted: ByteRange, arrived: bool, room: u64) -> Plan {
        self.window.observe(Access { wanted, arrived, now: self.now, room, network: self.network })
    }
}

fn range(start: u64, length: u64) -> ByteRange {
    ByteRange { start, end: start + length }
}

fn covers(plan: &Plan, wanted: ByteRange) -> bool {
    let mut ranges: Vec<_> = plan.then.iter().chain([&plan.first]).collect();
    ranges.sort_by_key(|range| range.start);
    let reached =
        ranges.iter().fold(wanted.start, |at, range| if range.start <= at { at.max(range.end) } else { at });
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
        let expected: Vec<_> =
            (6..6 + next.len() as i64).map(|at| (1000 * MIB).saturating_add_signed(at * stride)).collect();
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

/// Reads in order from a server 20 ms away that has up to `enough` bytes under way at full speed,
/// and makes requests wait for each other beyond that.
fn settle(enough: u64) -> u64 {
    let mut trial = Trial::new(SIZE);
    let mut ahead = MIB;
    for start in (0..SIZE / 2).step_by(128 << 10) {
        let ease = (enough as f64 / ahead as f64).min(1.0);
        let took = Duration::from_millis(50).div_f64(ease);
        let latency = Some(Duration::from_millis(20));
        trial.network = Network { latency, ease: Some(ease), took };
        let pause = took.mul_f64(128.0 * KIB as f64 / ahead as f64);
        ahead = ahead_of(&trial.read_after(pause, start, 128 * KIB), start + 128 * KIB).max(MIB);
    }
    ahead
}

#[test]
fn the_depth_grows_while_the_network_has_room_and_not_much_further() {
    assert!(settle(u64::MAX) > 150 * MIB, "{}", settle(u64::MAX));
    assert!((24 * MIB..=130 * MIB).contains(&settle(64 * MIB)), "{}", settle(64 * MIB));
    assert!(settle(8 * MIB) <= 34 * MIB, "{}", settle(8 * MIB));
}

#[test]
fn near_by_a_run_begins_with_few_large_requests_and_farther_away_with_many() {
    let second = |latency_ms: u64| {
        let mut trial = Trial::new(SIZE);
        trial.network.latency = Some(Duration::from_millis(latency_ms));
        trial.read(0, 128 * KIB);
        let plan = trial.read(128 * KIB, 128 * KIB);
        (plan.first.len() / MIB, plan.part_bytes / MIB)
    };
    assert_eq!(second(1), (24, 8));
    assert_eq!(second(3), (7, 1));
    let (far, parts) = second(20);
    assert!(far >= 26 && parts == 1, "{far} MiB in parts of {parts}");
}

#[test]
fn a_reader_that_never_waits_gets_no_more_depth() {
    let mut trial = Trial::new(SIZE);
    trial.network.ease = Some(1.0);
    for start in (0..256 * MIB).step_by(128 << 10) {
        trial.now += Duration::from_micros(50);
        let plan = trial.observe(range(start, 128 * KIB), true, ROOM);
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
            let plan = trial.observe(wanted, false, room);
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
