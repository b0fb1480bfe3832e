//! The network that the server pretends to be behind.
//!
//! One region of AWS is about 20 ms to the first byte and 90 MB/s per connection, and many connections at once do
//! not slow each other down. The shape can be changed while clients are connected; requests under way keep the one
//! that they began with.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The network's shape. Zero, as in the beginning, stands for no limit.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    first_byte_ms: AtomicU64,
    bytes_per_second: AtomicU64,
}

impl Shape {
    /// Changes the shape from the next request on.
    pub(crate) fn set(&self, first_byte_ms: u64, bytes_per_second: u64) {
        self.first_byte_ms.store(first_byte_ms, Ordering::Relaxed);
        self.bytes_per_second.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Waits as long as the first byte of an answer takes.
    pub(crate) async fn first_byte(&self) {
        match self.first_byte_ms.load(Ordering::Relaxed) {
            0 => {}
            ms => tokio::time::sleep(Duration::from_millis(ms)).await,
        }
    }

    /// Returns the pace at which a body passes. A connection carries one body at a time, so it is the connection's.
    pub(crate) fn pace(&self) -> Pace {
        Pace { bytes_per_second: self.bytes_per_second.load(Ordering::Relaxed), begun: None, passed: 0 }
    }
}

/// How far one body is, and when more of it may pass.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: u64,
    begun: Option<Instant>,
    passed: u64,
}

impl Pace {
    /// Returns how many bytes at most should pass in one go.
    pub(crate) fn step(&self) -> usize {
        if self.bytes_per_second == 0 { 1 << 20 } else { 64 << 10 }
    }

    /// Counts bytes that pass, and returns until when they take; `None` if that is now.
    pub(crate) fn pass(&mut self, bytes: usize) -> Option<Instant> {
        if self.bytes_per_second == 0 {
            return None;
        }
        let now = Instant::now();
        self.passed += bytes as u64;
        let whole = Duration::from_secs_f64(self.passed as f64 / self.bytes_per_second as f64);
        // Timers fire by the millisecond. What is due before that passes now and is made up for later.
        Some(*self.begun.get_or_insert(now) + whole).filter(|due| *due > now + Duration::from_micros(500))
    }
}
