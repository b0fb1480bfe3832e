//! What the folder may hold, and what has to go: pure functions of their arguments.
//!
//! Two things bound it: what people allow, and that some of the disk stays free for others. Each process
//! draws *allotments* from a ledger that all share, and writes as long as they last; when the ledger is
//! drawn dry, what was used longest ago is evicted, to well below the bound, so that looking through the
//! folder is paid for by many blocks.

use std::time::SystemTime;

/// What bounds a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// What all entries may take together.
    pub(super) bytes_max: u64,
    /// What has to stay free on the disk.
    pub(super) free_bytes_min: u64,
}

/// How full things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fill {
    /// What the entries take, and what has been allotted.
    pub(super) used_bytes: u64,
    /// What is free on the disk.
    pub(super) free_bytes: u64,
}

/// An entry that might be evicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its name.
    pub(super) name: u64,
    /// What it takes on the disk.
    pub(super) bytes: u64,
    /// When it was used last.
    pub(super) used: SystemTime,
}

impl Bounds {
    /// The bounds of a folder for `bytes_max` on a disk of `disk_bytes`: a twentieth of it stays free, as ext4
    /// keeps it for root, but not more than 16 GiB.
    pub(super) fn new(bytes_max: u64, disk_bytes: u64) -> Self {
        Self { bytes_max, free_bytes_min: (disk_bytes / 20).min(FREE_BYTES_MAX) }
    }

    /// What all entries may take as things are: no more than is allowed, nor than the disk has to give.
    fn room(&self, fill: Fill) -> u64 {
        self.bytes_max
            .min((fill.used_bytes.saturating_add(fill.free_bytes)).saturating_sub(self.free_bytes_min))
    }

    /// What a process draws at a time.
    pub(super) fn allotment(&self, fill: Fill) -> u64 {
        (self.room(fill) / 256).clamp(1, ALLOTMENT_BYTES_MAX)
    }

    /// What has been drawn and not used yet, at most: whoever looks through the folder does not see it. More
    /// than eight processes that write at the same time may go beyond the bound by as much as they are more.
    pub(super) fn outstanding(&self, fill: Fill) -> u64 {
        8 * self.allotment(fill)
    }

    /// Whether one more allotment may be drawn.
    pub(super) fn allow(&self, fill: Fill) -> bool {
        fill.used_bytes.saturating_add(self.allotment(fill)) <= self.room(fill)
    }

    /// How much has to be evicted before allotments are drawn again; 0 if they may be drawn now. An eighth
    /// more than necessary, so that it is not necessary again soon.
    pub(super) fn surplus(&self, fill: Fill) -> u64 {
        let room = self.room(fill);
        if self.allow(fill) { 0 } else { fill.used_bytes.saturating_sub(room - room / 8) }
    }

    /// How large the stretches are that objects are kept in: the most that one eviction takes, and small
    /// enough beside the whole that what is used often stays. A power of two, so that folders of about
    /// the same size agree.
    pub(super) fn segment_bytes(&self, block_bytes: u64) -> u64 {
        let eighth = (self.bytes_max / 8).max(block_bytes);
        (1 << eighth.ilog2()).max(block_bytes)
    }
}

/// Puts first what is to be evicted first.
pub(super) fn order(candidates: &mut [Candidate]) {
    candidates.sort_by_key(|candidate| (candidate.used, candidate.name));
}

/// Of a disk of 320 GiB and more.
const FREE_BYTES_MAX: u64 = 16 << 30;

/// A second's worth, or less, of what a disk can write.
const ALLOTMENT_BYTES_MAX: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_evicted_makes_room_and_what_is_drawn_keeps_to_the_bounds(
            bytes_max in 1_u64..1 << 45, disk in 0_u64..1 << 45, used in 0_u64..1 << 45, free in 0_u64..1 << 45
        ) {
            let bounds = Bounds::new(bytes_max, disk);
            let fill = Fill { used_bytes: used, free_bytes: free };
            if bounds.allow(fill) {
                prop_assert!(used + bounds.allotment(fill) <= bytes_max);
                prop_assert!(free >= bounds.free_bytes_min + bounds.allotment(fill));
                prop_assert_eq!(bounds.surplus(fill), 0);
                return Ok(());
            }
            let surplus = bounds.surplus(fill);
            prop_assert!(surplus <= used);
            let after = Fill { used_bytes: used - surplus, free_bytes: free + surplus };
            // Where there is next to no room, nothing is drawn and nothing left.
            prop_assert!(bounds.allow(after) || after.used_bytes < 16, "{:?}", after);
        }

        #[test]
        fn segments_are_whole_blocks_and_small_beside_the_whole(bytes_max in 1_u64..1 << 50) {
            let segment = Bounds { bytes_max, free_bytes_min: 0 }.segment_bytes(1 << 16);
            prop_assert!(segment.is_multiple_of(1 << 16));
            prop_assert!(segment <= (bytes_max / 8).max(1 << 16));
        }
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let at = |seconds| crate::clock::from_unix(seconds, 0);
        let candidate = |name, seconds| Candidate { name, bytes: 1, used: at(seconds) };
        let mut all = [candidate(1, 30), candidate(2, 10), candidate(3, 20)];
        order(&mut all);
        assert_eq!(all.map(|candidate| candidate.name), [2, 3, 1]);
    }
}
