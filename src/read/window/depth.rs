//! How far ahead of a run is enough.

use std::time::Duration;

use tokio::time::Instant;

use super::Access;
use crate::read::Options;

/// How far ahead of a run to fetch.
///
/// Judged in rounds, each as long as the depth itself. What a round delivered was asked for in the
/// round before, so the first round at a new depth still shows the speed of the old one. While
/// growing that does not matter: each round is compared with the one before, one step late.
#[derive(Debug)]
pub(super) struct Depth {
    pub(super) bytes: u64,
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
    pub(super) fn observe(&mut self, access: Access, high: u64, bytes_max: u64) {
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
pub(super) fn part_bytes(ahead: u64, options: &Options) -> u64 {
    let bytes = (ahead / PARTS_AHEAD).min(options.part_bytes_max);
    (bytes - bytes % PART_BYTES_MIN).max(PART_BYTES_MIN)
}

pub(super) const DEPTH_FIRST_BYTES: u64 = 8 << 20;
const PARTS_AHEAD: u64 = 8;
const PART_BYTES_MIN: u64 = 256 << 10;

/// Doubling the depth doubles the speed where latency rules; a tenth may be chance.
const SPEED_GAIN: f64 = 1.15;

/// Rounds until a depth that was enough is doubted again.
const SETTLED_ROUNDS: u32 = 8;
