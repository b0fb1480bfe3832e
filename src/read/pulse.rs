//! What the network is able to do, as the requests of one file show it.
//!
//! How many requests at a time are enough follows from one question: is there anything left to
//! gain? While requests take no longer than one alone would, the network has room for more of them.
//! When each takes much longer, they only wait for each other, here or there, and more of them would
//! cost memory and bring nothing. That can be seen in each single request, long before a difference in
//! the speed of the whole could be told from chance.

use std::time::Duration;

/// What has been seen of the network so far.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// The shortest wait for a first byte.
    first_byte_after_min: Option<Duration>,
    /// Bytes per second of the fastest body.
    rate_max: f64,
    /// How long requests would take alone, as a fraction of what they took; the recent past counts most.
    ease: Option<f64>,
    /// How long requests take; the recent past counts most.
    took: Duration,
}

/// One request that has been answered to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transfer {
    pub(super) bytes: u64,
    pub(super) first_byte_after: Duration,
    pub(super) took: Duration,
}

/// What a window wants to know of the network.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Network {
    /// The time to a first byte; `None` before anything was asked.
    pub(super) latency: Option<Duration>,
    /// How long requests would take alone, as a fraction of what they take; `None` before the first.
    pub(super) ease: Option<f64>,
    /// How long requests take.
    pub(super) took: Duration,
}

impl Pulse {
    pub(super) fn observe(&mut self, transfer: Transfer) {
        let body = transfer.took.saturating_sub(transfer.first_byte_after).max(INSTANT);
        let fastest = self.first_byte_after_min.unwrap_or(Duration::MAX);
        self.first_byte_after_min = Some(fastest.min(transfer.first_byte_after));
        // What came at once lay in the socket, or was too small to tell a speed.
        if transfer.bytes >= TELLING_BYTES {
            self.rate_max = self.rate_max.max(transfer.bytes as f64 / body.as_secs_f64());
        }
        let Some(alone) = self.alone(transfer.bytes) else { return };
        let took = transfer.took.max(INSTANT);
        let ease = (alone.as_secs_f64() / took.as_secs_f64()).min(1.0);
        self.ease = Some(self.ease.map_or(ease, |before| before * 0.75 + ease * 0.25));
        self.took = if self.took.is_zero() { took } else { self.took.mul_f64(0.75) + took.mul_f64(0.25) };
    }

    pub(super) fn network(&self, latency: Option<Duration>) -> Network {
        let latency = latency.into_iter().chain(self.first_byte_after_min).min();
        Network { latency, ease: self.ease, took: self.took }
    }

    /// How long a request for so many bytes would take if it were the only one.
    fn alone(&self, bytes: u64) -> Option<Duration> {
        (self.rate_max > 0.0).then(|| {
            self.first_byte_after_min.unwrap_or_default()
                + Duration::from_secs_f64(bytes as f64 / self.rate_max)
        })
    }
}

const INSTANT: Duration = Duration::from_micros(10);

const TELLING_BYTES: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(first_byte_ms: u64, took_ms: u64) -> Transfer {
        let ms = Duration::from_millis;
        Transfer { bytes: 1 << 20, first_byte_after: ms(first_byte_ms), took: ms(took_ms) }
    }

    #[test]
    fn requests_that_wait_for_each_other_show_it() {
        let mut pulse = Pulse::default();
        for _ in 0..10 {
            pulse.observe(transfer(20, 31));
        }
        assert!(pulse.network(None).ease.is_some_and(|ease| ease > 0.95));
        for _ in 0..20 {
            pulse.observe(transfer(25, 130));
        }
        assert!(pulse.network(None).ease.is_some_and(|ease| ease < 0.3), "{pulse:?}");
        assert_eq!(pulse.network(None).latency, Some(Duration::from_millis(20)));
    }

    #[test]
    fn what_takes_no_time_is_no_division_by_zero() {
        let mut pulse = Pulse::default();
        pulse.observe(transfer(0, 0));
        assert_eq!(pulse.network(None).ease, Some(1.0));
    }
}
