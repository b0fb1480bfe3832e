//! Wall-clock time, in one place.
//!
//! Credentials and signatures live by the wall clock (a laptop that slept through an expiry
//! must notice), everything else by tokio's monotonic one. Nothing else may ask for the
//! wall-clock time, so that a policy that wants "now" takes it as an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_around_the_epoch_survive_the_round_trip() {
        for (seconds, nanoseconds) in [(0, 0), (1, 5), (-1, 0), (-1, 999_999_999), (1_700_000_000, 1)] {
            assert_eq!(to_unix(from_unix(seconds, nanoseconds)), (seconds, nanoseconds));
        }
    }
}
