//! The emulator's wall clock, which tests may move, and what it makes of other people's.
//!
//! It is moved in two ways, because two things can be meant by it:
//!
//! - time *passes* ([`Clock::advance`]): sessions age without anybody waiting. It would have passed
//!   for the clients too, but nobody can move their clocks, so what they sign is taken as current if
//!   it is so by the time with or without what was let pass;
//! - the clocks *differ* ([`Clock::run_ahead`], [`Clock::run_behind`]): a client that does not learn
//!   from the `Date` of our answers is refused, as it is by AWS.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, PrimitiveDateTime};

/// Real time, plus what was let pass, plus or minus how far it is to differ from the clients' clocks.
#[derive(Debug, Default)]
pub struct Clock {
    passed_millis: AtomicU64,
    /// Positive: ahead of the clients.
    skew_millis: AtomicI64,
}

/// A signature's time is too far from ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// When the client says it signed.
    pub signed: SystemTime,
    /// The emulated time.
    pub now: SystemTime,
}

impl Clock {
    /// Returns the emulated time.
    #[expect(
        clippy::disallowed_methods,
        reason = "the emulator shares nothing with the product, so it has its own clock"
    )]
    pub fn now(&self) -> SystemTime {
        let skew_millis = self.skew_millis.load(Ordering::Relaxed);
        let skew = Duration::from_millis(skew_millis.unsigned_abs());
        let unskewed = SystemTime::now() + self.passed();
        if skew_millis < 0 { unskewed - skew } else { unskewed + skew }
    }

    /// Returns the emulated time in the resolution S3 stores: whole seconds.
    pub fn now_in_seconds(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(unix_seconds(self.now()))
    }

    /// Lets time pass, so that sessions age without anybody waiting.
    pub fn advance(&self, by: Duration) {
        self.passed_millis.fetch_add(to_millis(by), Ordering::Relaxed);
    }

    /// Sets how far this clock is ahead of the clients'; zero sets it right.
    pub fn run_ahead(&self, by: Duration) {
        self.skew_millis.store(to_millis(by).cast_signed(), Ordering::Relaxed);
    }

    /// Sets how far this clock is behind the clients'.
    pub fn run_behind(&self, by: Duration) {
        self.skew_millis.store(-to_millis(by).cast_signed(), Ordering::Relaxed);
    }

    /// Judges whether a signature is of the present.
    pub fn judge(&self, signed: SystemTime) -> Result<(), Skew> {
        let now = self.now();
        let current = now - self.passed() - SKEW_MAX..=now + SKEW_MAX;
        if current.contains(&signed) { Ok(()) } else { Err(Skew { signed, now }) }
    }

    fn passed(&self) -> Duration {
        Duration::from_millis(self.passed_millis.load(Ordering::Relaxed))
    }
}

impl Skew {
    /// Whether the signature is of the future; one of the past is late.
    pub fn is_early(&self) -> bool {
        self.signed > self.now
    }

    /// What STS says about it.
    pub fn sts_sentence(&self) -> String {
        let (signed, now) = (compact_time(self.signed), compact_time(self.now));
        if self.is_early() {
            let latest = compact_time(self.now + SKEW_MAX);
            format!("Signature not yet current: {signed} is still later than {latest} ({now} + 15 min.)")
        } else {
            let earliest = compact_time(self.now - SKEW_MAX);
            format!("Signature expired: {signed} is now earlier than {earliest} ({now} - 15 min.)")
        }
    }

    /// What S3 says about it.
    pub fn s3_document(&self, request_id: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>RequestTimeTooSkewed</Code>\
             <Message>The difference between the request time and the current time is too large.</Message>\
             <RequestTime>{}</RequestTime><ServerTime>{}</ServerTime>\
             <MaxAllowedSkewMilliseconds>{}</MaxAllowedSkewMilliseconds>\
             <RequestId>{request_id}</RequestId><HostId>{request_id}</HostId></Error>",
            compact_time(self.signed),
            iso_time(self.now),
            SKEW_MAX.as_millis(),
        )
    }
}

/// Returns `time` in whole seconds since the epoch.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns `time` as answers show it, such as `2025-01-31T12:00:00Z`.
pub fn iso_time(time: SystemTime) -> String {
    let seconds = UNIX_EPOCH + Duration::from_secs(unix_seconds(time));
    OffsetDateTime::from(seconds).format(&Rfc3339).expect("the year has four digits")
}

/// Parses the form that signatures carry, such as `20250131T120000Z`.
pub fn parse_compact_time(text: &str) -> Option<SystemTime> {
    let format = time::format_description::parse_borrowed::<2>(COMPACT_FORMAT).expect("the format is fine");
    PrimitiveDateTime::parse(text, &format).ok().map(|time| time.assume_utc().into())
}

fn compact_time(time: SystemTime) -> String {
    iso_time(time).replace(['-', ':'], "")
}

/// Rounds up, so that whoever lets time pass until an instant gets there.
fn to_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// "15 minutes", for either service.
const SKEW_MAX: Duration = Duration::from_secs(15 * 60);
const COMPACT_FORMAT: &str = "[year][month][day]T[hour][minute][second]Z";

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    #[test]
    fn a_signature_is_current_for_a_quarter_of_an_hour_both_ways() {
        let clock = Clock::default();
        let now = clock.now();
        for (signed, is_current) in [
            (now, true),
            (now - minutes(14), true),
            (now - minutes(16), false),
            (now + minutes(14), true),
            (now + minutes(16), false),
        ] {
            assert_eq!(clock.judge(signed).is_ok(), is_current, "{signed:?} {now:?}");
        }
    }

    #[test]
    fn time_that_passed_is_forgiven_and_a_clock_that_differs_is_not() {
        let clock = Clock::default();
        let client = clock.now();
        clock.advance(minutes(600));
        assert!(clock.judge(client).is_ok());
        assert!(clock.judge(client + minutes(600)).is_ok(), "a client may learn the time from us");
        clock.run_ahead(minutes(20));
        assert!(clock.judge(client).is_err_and(|skew| !skew.is_early()));
        clock.run_behind(minutes(630));
        assert!(clock.judge(client).is_err_and(|skew| skew.is_early()));
    }

    #[test]
    fn the_time_of_a_signature_survives_the_round_trip() {
        let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(compact_time(time), "20231114T221320Z");
        assert_eq!(parse_compact_time("20231114T221320Z"), Some(time));
        assert_eq!(iso_time(time + Duration::from_millis(999)), "2023-11-14T22:13:20Z");
        for broken in ["", "20231114", "20231314T221320Z", "20231114T221320"] {
            assert_eq!(parse_compact_time(broken), None, "{broken}");
        }
    }
}
