//! How far ahead of a run is enough.

use std::time::Duration;

use tokio::time::Instant;

use super::Access;
use crate::read::Options;
use crate::read::pulse::Network;

/// How far ahead of a run to fetch.
///
/// A run begins with what keeps a fast reader going for the time to a first byte, as far as that is
/// known. While its reads have to wait and the network has room ([`Network::ease`]), the depth doubles,
/// each time that what was asked for at the last doubling has come. Where requests only wait for
/// each other it goes back. Near by there is little to find out: a few large requests keep any connection busy,
/// and the fewer there are, the less of the processor's time they cost.
#[derive(Debug)]
pub(super) struct Depth {
    pub(super) bytes: u64,
    /// When it was set, or last thought about; `None` before the first read that is ahead of others.
    judged: Option<Instant>,
    /// Reads since then, and those among them that had to wait.
    reads: u32,
    waits: u32,
}

impl Default for Depth {
    fn default() -> Self {
        Self { bytes: DEPTH_FIRST_BYTES, judged: None, reads: 0, waits: 0 }
    }
}

impl Depth {
    pub(super) fn observe(&mut self, access: Access, bytes_max: u64) {
        let reach = Reach::of(access.network);
        let bytes_max = bytes_max.min(reach.most);
        let Some(judged) = self.judged else {
            self.bytes = reach.first.min(bytes_max.max(DEPTH_FIRST_BYTES));
            self.judged = Some(access.now);
            return;
        };
        self.reads += 1;
        self.waits += u32::from(!access.arrived);
        if access.now < judged + access.network.took.max(JUDGED_EVERY_MIN) {
            return;
        }
        // A reader that hardly waits is slower than we are, and needs no more of it.
        if self.waits * WAITS_SHARE >= self.reads {
            self.judge(access.network.ease.unwrap_or(0.0), reach.least, bytes_max);
        }
        (self.judged, self.reads, self.waits) = (Some(access.now), 0, 0);
    }

    fn judge(&mut self, ease: f64, bytes_min: u64, bytes_max: u64) {
        if ease > EASE_TO_GROW && self.bytes < bytes_max {
            self.bytes = (self.bytes * 2).min(bytes_max);
        } else if ease < EASE_TO_SHRINK {
            self.bytes = (self.bytes / 2).max(bytes_min);
        }
    }
}

/// Between which depths to look for the right one, and where to begin.
struct Reach {
    least: u64,
    first: u64,
    most: u64,
}

impl Reach {
    fn of(network: Network) -> Self {
        match network.latency {
            Some(latency) if latency < NEAR => {
                Self { least: DEPTH_NEAR_BYTES, first: DEPTH_NEAR_BYTES, most: DEPTH_NEAR_BYTES_MAX }
            }
            latency => {
                let seconds = latency.unwrap_or_default().as_secs_f64();
                let first = (seconds * FIRST_BYTES_PER_SECOND) as u64;
                let first = first.clamp(DEPTH_FIRST_BYTES, DEPTH_FIRST_BYTES_MAX);
                Self { least: DEPTH_FIRST_BYTES, first, most: u64::MAX }
            }
        }
    }
}

/// Bytes for each request of those that share the depth. Far from S3 many small ones come sooner;
/// where an answer comes at once, the work for a request (0.1 ms) is what costs, and that for changing
/// between connections.
pub(super) fn part_bytes(ahead: u64, network: Network, options: &Options) -> u64 {
    let is_near = network.latency.is_some_and(|latency| latency < NEAR);
    let bytes = match is_near {
        true => (ahead / PARTS_NEAR).min(PART_BYTES_NEAR_MAX),
        false => (ahead / PARTS_FAR).min(options.part_bytes_max),
    };
    // On multiples of what the kernel asks for, unless there is hardly room for a few of those.
    let unit = if ahead >= 4 * PART_BYTES_MIN { PART_BYTES_MIN } else { PART_BYTES_MIN / 4 };
    (bytes - bytes % unit).max(unit)
}

/// Four requests of 2 MiB keep two processors busy where latency is nothing.
pub(super) const DEPTH_FIRST_BYTES: u64 = 8 << 20;

/// Where an answer comes within [`NEAR`], this is more than latency times bandwidth of any line; it is for
/// the size of the requests. Measured on loopback: with requests of 16 MiB a gigabyte costs 0.55 s of the
/// processor, with 4 MiB 0.64, with 2 MiB 0.74.
const DEPTH_NEAR_BYTES: u64 = 32 << 20;
const DEPTH_NEAR_BYTES_MAX: u64 = PARTS_NEAR * PART_BYTES_NEAR_MAX;

/// A reader of which no more is known than that its second read followed its first is not worth more.
const DEPTH_FIRST_BYTES_MAX: u64 = 32 << 20;

/// What a single fast reader can take.
const FIRST_BYTES_PER_SECOND: f64 = 1.5e9;

const NEAR: Duration = Duration::from_millis(2);
const PARTS_NEAR: u64 = 4;
const PARTS_FAR: u64 = 16;
const PART_BYTES_MIN: u64 = 1 << 20;
const PART_BYTES_NEAR_MAX: u64 = 16 << 20;

/// Requests that take less than half as long again as one alone.
const EASE_TO_GROW: f64 = 0.66;

/// Requests that take five times as long as one alone.
const EASE_TO_SHRINK: f64 = 0.2;

/// One read in so many may have to wait by chance.
const WAITS_SHARE: u32 = 16;

const JUDGED_EVERY_MIN: Duration = Duration::from_millis(1);
