//! Wall-clock time, in one place.
//!
//! Credentials and signatures live by the wall clock (a laptop that slept through an expiry
//! must notice), everything else by tokio's monotonic one. Nothing else may ask for the
//! wall-clock time, so that a policy that wants "now" takes it as an argument.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

/// The current wall-clock time.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may ask")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// The time `seconds` and `nanoseconds` after the epoch; negative seconds lie before it.
pub fn from_unix(seconds: i64, nanoseconds: u32) -> SystemTime {
    let whole = if seconds >= 0 {
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds.unsigned_abs()))
    } else {
        UNIX_EPOCH.checked_sub(Duration::from_secs(seconds.unsigned_abs()))
    };
    whole.unwrap_or(UNIX_EPOCH) + Duration::from_nanos(u64::from(nanoseconds))
}

/// Seconds and nanoseconds since the epoch, as `stat(2)` has them.
pub fn to_unix(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            match before.subsec_nanos() {
                0 => (-seconds, 0),
                nanoseconds => (-seconds - 1, 1_000_000_000 - nanoseconds),
            }
        }
    }
}

/// A time as RFC 3339 has it, in UTC and whole seconds: `2026-01-31T12:00:00Z`.
pub fn rfc_3339(time: SystemTime) -> String {
    let seconds = DateTime::from_secs(to_unix(time).0);
    seconds.fmt(Format::DateTime).unwrap_or_default()
}

/// The day of a time in UTC: `2026-01-31`.
pub fn date(time: SystemTime) -> String {
    rfc_3339(time).chars().take_while(|c| *c != 'T').collect()
}

/// What a server's clock shows, as far as it differs from ours. Clones are the same clock.
///
/// A signature carries the time, and servers refuse what is more than some minutes off (S3 fifteen,
/// STS five). A machine whose clock is wrong can work all the same: every answer states the
/// server's time, refusals included, and the SDK signs with it from then on. What is left to us is
/// to try again where the answer does not say that the time is the reason, and to know when a
/// session ends on our own clock.
#[derive(Debug, Clone, Default)]
pub struct ServerTime {
    ahead_seconds: Arc<AtomicI64>,
}

impl ServerTime {
    /// How many seconds the server is ahead of us; negative if it is behind.
    pub fn ahead_seconds(&self) -> i64 {
        self.ahead_seconds.load(Ordering::Relaxed)
    }

    /// Takes the server's time from the `Date` header of an answer that refuses a request. Returns
    /// whether the request is worth another attempt: it was signed when the server was taken to be
    /// `signed_ahead_seconds` ahead, and that was wrong.
    pub fn learn(&self, date: &str, signed_ahead_seconds: i64) -> bool {
        let Ok(theirs) = DateTime::from_str(date, Format::HttpDate) else { return false };
        let ahead = theirs.secs() - to_unix(now()).0;
        let differs = |other: i64| (ahead - other).unsigned_abs() > SKEW_SECONDS_MIN;
        // Of requests that are refused together only the first has news; all were signed wrongly.
        if differs(self.ahead_seconds()) {
            self.ahead_seconds.store(ahead, Ordering::Relaxed);
            tracing::warn!(
                seconds = ahead,
                "the server's clock is ahead of this machine's by this (behind, if negative); signing with its time"
            );
        }
        differs(signed_ahead_seconds)
    }

    /// The moment on our clock at which the server's shows `theirs`.
    pub fn ours(&self, theirs: SystemTime) -> SystemTime {
        shifted(theirs, -self.ahead_seconds())
    }
}

fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let length = Duration::from_secs(seconds.unsigned_abs());
    let shifted = if seconds >= 0 { time.checked_add(length) } else { time.checked_sub(length) };
    shifted.unwrap_or(time)
}

/// Less than this no server minds, and the time an answer travels is of this order.
const SKEW_SECONDS_MIN: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_around_the_epoch_survive_the_round_trip() {
        for (seconds, nanoseconds) in [(0, 0), (1, 5), (-1, 0), (-1, 999_999_999), (1_700_000_000, 1)] {
            assert_eq!(to_unix(from_unix(seconds, nanoseconds)), (seconds, nanoseconds));
        }
    }

    #[test]
    fn times_are_written_in_utc() {
        let time = from_unix(1_769_860_800, 5);
        assert_eq!(rfc_3339(time), "2026-01-31T12:00:00Z");
        assert_eq!(date(time), "2026-01-31");
    }

    #[test]
    fn the_servers_time_is_learnt_once_and_only_if_it_matters() {
        let time = ServerTime::default();
        let header = |seconds: i64| {
            let theirs = DateTime::from_secs(to_unix(now()).0 + seconds);
            theirs.fmt(Format::HttpDate).unwrap_or_default()
        };
        assert!(!time.learn("yesterday", 0) && !time.learn(&header(30), 0));
        assert_eq!(time.ahead_seconds(), 0);
        for ahead in [7200, -7200] {
            assert!(time.learn(&header(ahead), 0));
            assert!(time.learn(&header(ahead), 0), "this one was signed before that was known");
            assert!(!time.learn(&header(ahead), time.ahead_seconds()), "and this one after");
            assert!((time.ahead_seconds() - ahead).abs() <= 1);
            let moment = from_unix(1_800_000_000, 0);
            assert!((to_unix(time.ours(moment)).0 - (1_800_000_000 - ahead)).abs() <= 1);
        }
    }
}
