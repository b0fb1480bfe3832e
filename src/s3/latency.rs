//! How long S3 takes to begin an answer, when nothing else is in its way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The shortest time to an answer's beginning, of late.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// Nanoseconds; 0 before the first answer.
    shortest: AtomicU64,
}

impl Latency {
    /// Takes note of an answer to a request that was sent at `asked` and begins now.
    pub(super) fn answered(&self, asked: Instant) {
        let took = u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        let before = self.shortest.load(Ordering::Relaxed);
        // A way that has become longer is believed after some hundred answers.
        let shortest = if before == 0 { took } else { took.min(before + before / 256 + 1) };
        // Of two at once either may stay; it is a hint.
        self.shortest.store(shortest, Ordering::Relaxed);
    }

    /// The shortest time of late; `None` before the first answer.
    pub(super) fn shortest(&self) -> Option<Duration> {
        let shortest = self.shortest.load(Ordering::Relaxed);
        (shortest > 0).then(|| Duration::from_nanos(shortest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_shortest_counts_and_a_longer_way_is_learnt_slowly() {
        let latency = Latency::default();
        assert_eq!(latency.shortest(), None);
        for milliseconds in [30, 20, 40] {
            let asked = Instant::now();
            tokio::time::advance(Duration::from_millis(milliseconds)).await;
            latency.answered(asked);
        }
        assert!(latency.shortest().is_some_and(|shortest| shortest < Duration::from_millis(21)));
        for _ in 0..1000 {
            let asked = Instant::now();
            tokio::time::advance(Duration::from_millis(80)).await;
            latency.answered(asked);
        }
        assert_eq!(latency.shortest(), Some(Duration::from_millis(80)));
    }
}
