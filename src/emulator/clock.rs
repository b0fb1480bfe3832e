//! The emulator's wall clock, which tests may push forward.
//!
//! Role sessions expire by this clock. Signatures are still checked against the real time:
//! the client's own clock does not move when a test moves ours.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Real time plus whatever it was advanced by; it never goes back.
#[derive(Debug, Default)]
pub struct Clock {
    ahead_millis: AtomicU64,
}

impl Clock {
    /// Returns the emulated time.
    #[expect(
        clippy::disallowed_methods,
        reason = "the emulator shares nothing with the product, so it has its own clock"
    )]
    pub fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_millis(self.ahead_millis.load(Ordering::Relaxed))
    }

    /// Returns the emulated time in the resolution S3 stores: whole seconds.
    pub fn now_in_seconds(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(unix_seconds(self.now()))
    }

    /// Moves the clock forward, so that sessions age without anybody waiting.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.ahead_millis.fetch_add(millis, Ordering::Relaxed);
    }
}

/// Returns `time` in whole seconds since the epoch.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
