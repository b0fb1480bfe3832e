//! When to try for the next session: pure functions of times, counts and a random number.
//!
//! Three clocks would be wrong here if mixed up, so the answer says which one it means. A renewal
//! is due at a moment of the *wall clock*, because that is what STS states expiries in and what
//! moves on while a laptop sleeps. A pause after a failure is a length of time since the last
//! attempt, because a wall clock that is set back an hour must not silence us for an hour.

use std::time::{Duration, Instant, SystemTime};

/// How long a session lives, on the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life {
    /// When we asked for it.
    pub(super) issued: SystemTime,
    /// When it ends.
    pub(super) expiry: SystemTime,
}

impl Life {
    /// Whether a request signed at `now` can still reach its server in time.
    pub(super) fn is_usable(&self, now: SystemTime) -> bool {
        now + self.margin() < self.expiry
    }

    /// What is left of it at `now`.
    pub(super) fn remaining(&self, now: SystemTime) -> Duration {
        self.expiry.duration_since(now).unwrap_or_default()
    }

    fn span(&self) -> Duration {
        self.remaining(self.issued)
    }

    /// A signed request needs a moment to travel. A second is plenty, and more than a session of a
    /// few seconds can spare.
    fn margin(&self) -> Duration {
        MARGIN_MAX.min(self.span() / 20)
    }

    /// How long before its expiry the next one is sought.
    ///
    /// The steps are those of the AWS SDKs' own design for outages: late enough to be worth the
    /// call, early enough that STS may be down for a good part of an hour without anybody
    /// noticing. A life too short for its step is renewed halfway.
    fn lead(&self) -> Duration {
        let span = self.span();
        let step = match span {
            _ if span <= minutes(20) => minutes(5),
            _ if span < minutes(90) => minutes(15),
            _ => minutes(60),
        };
        step.min(span / 2)
    }
}

/// What to expect of trying again after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It may well work in a moment: the network, a fault of the server, a lapsed login.
    Passing,
    /// It will work when we ask less often.
    Throttled,
    /// It will not work until a person changes something; requests need not wait for that.
    Final,
}

/// Failed attempts in a row that were alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failures {
    /// How many, at least one. Trouble of another kind begins a new row: what was learnt of a network
    /// that was down says nothing of a server that is busy.
    pub(super) count: u32,
    /// What they let us expect.
    pub(super) outlook: Outlook,
    /// What was left of the session's life at the last of them; zero when it was over.
    pub(super) remaining: Duration,
}

/// Everything the choice of the next attempt depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    /// The life of what we have; `None` if it does not end (static keys).
    pub(super) life: Option<Life>,
    /// What went wrong since, if anything.
    pub(super) failures: Option<Failures>,
    /// How many sessions in a row the server has refused, the present one included; zero while
    /// the present one is in good standing.
    pub(super) refusals: u32,
    /// A random number in `0.0..1.0`, so that machines started together do not call together.
    pub(super) jitter: f64,
}

/// When the next attempt is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Not until something happens.
    Never,
    /// At this moment of the wall clock, which may lie in the past.
    At(SystemTime),
    /// This long after the last attempt.
    After(Duration),
}

/// Returns when the next attempt is due.
pub(super) fn next(situation: &Situation) -> Next {
    let jitter = situation.jitter;
    match (situation.failures, situation.refusals, situation.life) {
        (Some(failures), _, _) => Next::After(backoff(&failures, jitter)),
        (None, 0, None) => Next::Never,
        (None, 0, Some(life)) => Next::At(renewal(&life, jitter)),
        (None, refusals, _) => Next::After(refusal_pause(refusals, jitter)),
    }
}

/// Returns the pause after a failed attempt: doubling, capped, and never so long that what is left
/// of the session's life passes without a few more attempts.
pub(super) fn backoff(failures: &Failures, jitter: f64) -> Duration {
    let (first, cap) = match failures.outlook {
        Outlook::Passing => (PAUSE_MIN, Duration::from_secs(15)),
        Outlook::Throttled => (Duration::from_secs(2), Duration::from_secs(30)),
        Outlook::Final => (Duration::from_secs(5), Duration::from_secs(60)),
    };
    let pause = doubled(first, failures.count, cap);
    let pause = match failures.outlook {
        _ if failures.remaining.is_zero() => pause,
        // The server has just asked us not to hurry. But a session that lapses costs it more calls,
        // not fewer: one attempt is made while it still lives.
        Outlook::Throttled => pause.min((failures.remaining / 2).max(first)),
        Outlook::Passing | Outlook::Final => pause.min((failures.remaining / 4).max(PAUSE_MIN)),
    };
    shortened(pause, jitter)
}

/// Returns how many sessions in a row have been refused when one of this `life` is, at `now`, and
/// `before` of its predecessors were.
///
/// A session that did its work for a while was good; its refusal is news (somebody revoked it) and
/// begins a new row. One that is refused at once is more of the same.
pub(super) fn refusals_in_a_row(before: u32, issued: SystemTime, life: Option<Life>, now: SystemTime) -> u32 {
    if has_served(issued, life, now) { 1 } else { before.saturating_add(1) }
}

/// Whether keys were in use long enough, at `now`, to have been good.
pub(super) fn has_served(issued: SystemTime, life: Option<Life>, now: SystemTime) -> bool {
    let age = now.duration_since(issued).unwrap_or_default();
    age >= life.map_or(GOOD_AGE, |life| GOOD_AGE.min(life.span() / 2))
}

/// How denials were answered so far: whether the next one is worth a renewal.
///
/// S3 denies what is forbidden and what was revoked in the same words. Where it also denies what is
/// merely absent (a role without the right to list), nearly all suspicions are wrong, so each wrong
/// one makes the next one wait twice as long.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Suspicion {
    last: Option<Instant>,
    wrong: u32,
}

impl Suspicion {
    /// Whether one may be raised at `now`; if so, it is taken for wrong until it turns out right.
    pub(super) fn may_be_raised(&mut self, now: Instant) -> bool {
        let pause = doubled(GOOD_AGE, self.wrong, minutes(60));
        let is_due = self.last.is_none_or(|last| now.saturating_duration_since(last) >= pause);
        if is_due {
            self.last = Some(now);
            self.wrong = self.wrong.saturating_add(1);
        }
        is_due
    }

    /// The last one was right. The next session will be old enough before it can be suspected.
    pub(super) fn was_right(&mut self) {
        *self = Self::default();
    }
}

fn renewal(life: &Life, jitter: f64) -> SystemTime {
    let lead = life.lead();
    let lead = lead + lead.mul_f64(jitter * LEAD_JITTER);
    let earliest = life.issued + PAUSE_MIN;
    life.expiry.checked_sub(lead).map_or(earliest, |due| due.max(earliest))
}

/// The first refusal is answered at once; if fresh sessions are refused as well, asking for more
/// of them helps nobody.
fn refusal_pause(refusals: u32, jitter: f64) -> Duration {
    match refusals {
        0 | 1 => Duration::ZERO,
        more => shortened(doubled(Duration::from_secs(2), more - 1, Duration::from_secs(60)), jitter),
    }
}

/// `first`, doubled for each time after the first, but at most `cap`.
fn doubled(first: Duration, times: u32, cap: Duration) -> Duration {
    let factor = 2_u32.saturating_pow(times.saturating_sub(1).min(16));
    first.saturating_mul(factor).min(cap)
}

/// Between half of `pause` and all of it.
fn shortened(pause: Duration, jitter: f64) -> Duration {
    pause.mul_f64(0.5 + jitter / 2.0)
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// See [`Life::is_usable`].
const MARGIN_MAX: Duration = Duration::from_secs(1);

/// Attempts are never closer together than half of this, whatever lifetimes STS states.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// Renewals are spread over this part of the lead.
const LEAD_JITTER: f64 = 0.2;

/// A session that served this long, or half its life, was a good one.
const GOOD_AGE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    fn lasting(span: Duration) -> Life {
        let issued = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Life { issued, expiry: issued + span }
    }

    fn calm(life: Life, jitter: f64) -> Situation {
        Situation { life: Some(life), failures: None, refusals: 0, jitter }
    }

    /// Seconds of life, then seconds after issue at which the renewal comes, without jitter and
    /// with the most of it.
    #[test]
    fn a_session_is_renewed_early_by_what_its_life_allows() {
        for (span, latest, earliest) in [
            (3.0, 1.5, 1.2),
            (20.0, 10.0, 8.0),
            (600.0, 300.0, 240.0),
            (900.0, 600.0, 540.0),
            (1200.0, 900.0, 840.0),
            (1201.0, 600.5, 480.4),
            (3600.0, 2700.0, 2520.0),
            (5400.0, 2700.0, 2160.0),
            (28_800.0, 25_200.0, 24_480.0),
            (43_200.0, 39_600.0, 38_880.0),
            // Never in a tight loop, even if what STS issues is dead on arrival.
            (0.1, 0.5, 0.5),
            (0.0, 0.5, 0.5),
        ] {
            let life = lasting(Duration::from_secs_f64(span));
            for (jitter, expected) in [(0.0, latest), (1.0, earliest)] {
                let Next::At(due) = next(&calm(life, jitter)) else { panic!("not on the wall clock") };
                let after = due.duration_since(life.issued).unwrap_or_default().as_secs_f64();
                assert!((after - expected).abs() < 1e-6, "life {span}, jitter {jitter}: {after}");
            }
        }
    }

    /// Outlook, count, seconds left; then the pause in seconds without shortening.
    #[test]
    fn pauses_after_failures_double_up_to_a_cap_and_hurry_while_life_runs_out() {
        for (outlook, count, remaining, expected) in [
            (Outlook::Passing, 1, 900.0, 0.5),
            (Outlook::Passing, 2, 900.0, 1.0),
            (Outlook::Passing, 5, 900.0, 8.0),
            (Outlook::Passing, 6, 900.0, 15.0),
            (Outlook::Passing, 6, 20.0, 5.0),
            (Outlook::Passing, 6, 1.0, 0.5),
            (Outlook::Passing, 6, 0.0, 15.0),
            (Outlook::Passing, u32::MAX, 0.0, 15.0),
            (Outlook::Throttled, 1, 900.0, 2.0),
            (Outlook::Throttled, 3, 900.0, 8.0),
            (Outlook::Throttled, 9, 20.0, 10.0),
            (Outlook::Throttled, 9, 1.0, 2.0),
            (Outlook::Throttled, 9, 0.0, 30.0),
            (Outlook::Final, 1, 900.0, 5.0),
            (Outlook::Final, 9, 900.0, 60.0),
            (Outlook::Final, 9, 20.0, 5.0),
        ] {
            let failures = Failures { count, outlook, remaining: Duration::from_secs_f64(remaining) };
            let pause = backoff(&failures, 1.0);
            assert_eq!(pause, Duration::from_secs_f64(expected), "{failures:?}");
            assert_eq!(backoff(&failures, 0.0), pause / 2, "{failures:?}");
        }
    }

    #[test]
    fn the_first_refusal_is_answered_at_once_and_a_row_of_them_ever_more_slowly() {
        let pauses: Vec<u64> = (1..=8).map(|refusals| refusal_pause(refusals, 1.0).as_secs()).collect();
        assert_eq!(pauses, [0, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_session_that_served_for_a_while_begins_a_new_row_of_refusals() {
        for (span, age, before, expected) in
            [(3600, 5, 0, 1), (3600, 5, 3, 4), (3600, 60, 3, 1), (20, 9, 3, 4), (20, 10, 3, 1), (3, 2, 7, 1)]
        {
            let life = lasting(Duration::from_secs(span));
            let now = life.issued + Duration::from_secs(age);
            assert_eq!(refusals_in_a_row(before, life.issued, Some(life), now), expected, "{span} {age}");
        }
    }

    #[test]
    fn each_wrong_suspicion_makes_the_next_one_wait_longer() {
        let mut suspicion = Suspicion::default();
        let start = Instant::now();
        let raised: Vec<u64> =
            (0..8 * 60).filter(|minute| suspicion.may_be_raised(start + minutes(*minute))).collect();
        assert_eq!(raised, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363, 423]);
        suspicion.was_right();
        assert!(suspicion.may_be_raised(start + minutes(424)));
        assert!(!suspicion.may_be_raised(start + minutes(424)), "once");
    }

    #[test]
    fn what_does_not_expire_is_left_alone_until_it_is_refused() {
        let situation = Situation { life: None, failures: None, refusals: 0, jitter: 0.3 };
        assert_eq!(next(&situation), Next::Never);
        assert_eq!(next(&Situation { refusals: 1, ..situation }), Next::After(Duration::ZERO));
    }

    #[test]
    fn a_failure_outranks_a_due_renewal_and_a_refusal() {
        let failures = Failures { count: 3, outlook: Outlook::Throttled, remaining: Duration::ZERO };
        let due = Situation { failures: Some(failures), refusals: 1, ..calm(lasting(minutes(1)), 1.0) };
        assert_eq!(next(&due), Next::After(Duration::from_secs(8)));
    }

    #[test]
    fn a_session_is_used_to_its_end_but_for_the_time_a_request_travels() {
        for (span, last_use) in [(3600.0, 3598.9), (20.0, 18.9), (3.0, 2.84)] {
            let life = lasting(Duration::from_secs_f64(span));
            assert!(life.is_usable(life.issued + Duration::from_secs_f64(last_use)), "{span}");
            assert!(!life.is_usable(life.issued + Duration::from_secs_f64(last_use + 0.11)), "{span}");
        }
    }

    proptest! {
        #[test]
        fn every_renewal_comes_between_issue_and_expiry(millis in 1_100_u64..50_000_000, jitter in 0.0..1.0) {
            let life = lasting(Duration::from_millis(millis));
            let due = renewal(&life, jitter);
            prop_assert!(due > life.issued && life.is_usable(due));
        }

        #[test]
        fn no_two_attempts_are_closer_than_a_quarter_second(
            count in 1_u32.., remaining in 0_u64..100_000_000, jitter in 0.0..1.0,
        ) {
            for outlook in [Outlook::Passing, Outlook::Throttled, Outlook::Final] {
                let failures = Failures { count, outlook, remaining: Duration::from_millis(remaining) };
                let pause = backoff(&failures, jitter);
                prop_assert!(pause >= PAUSE_MIN / 2 && pause <= minutes(1));
            }
        }
    }
}
