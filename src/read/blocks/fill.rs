//! When to fetch the rest of an object that is read here and there: a pure function of its misses.
//!
//! A random reader waits 20 ms for each block that is not there. In that time a few connections bring
//! megabytes, so once it is clear that an object is read this way, each wait permits one more request for
//! some of the rest, in the background. The rest is then there after as many waits as it has parts, and no byte of it is
//! asked for twice. An object that would fill the cache by itself is left to its blocks.

use crate::s3::ByteRange;

/// How far the rest of an object has been fetched.
#[derive(Debug)]
pub(super) struct Filling {
    size: u64,
    misses: u32,
    permitted: u32,
    /// Requests under way.
    running: u32,
    /// The first byte that was not asked for.
    from: u64,
}

impl Filling {
    /// Nothing of an object of `size` bytes has been fetched yet, and nothing will be if that is too much
    /// for a cache of `cache_bytes`.
    pub(super) fn new(size: u64, cache_bytes: u64) -> Self {
        let from = if size > cache_bytes / CACHE_SHARE { size } else { 0 };
        Self { size, misses: 0, permitted: 0, running: 0, from }
    }

    /// Somebody had to wait for a block. Returns whether one more is to begin asking [`next`](Self::next).
    pub(super) fn missed(&mut self) -> bool {
        self.misses = self.misses.saturating_add(1);
        if self.misses <= MISSES_MIN || self.from >= self.size {
            return false;
        }
        self.permitted += 1;
        let begins = self.running < REQUESTS_MAX;
        self.running += u32::from(begins);
        begins
    }

    /// What to fetch now; `None` ends whoever asks.
    pub(super) fn next(&mut self) -> Option<ByteRange> {
        if self.permitted == 0 || self.from >= self.size {
            self.ended();
            return None;
        }
        self.permitted -= 1;
        let range = ByteRange { start: self.from, end: (self.from + PART_BYTES).min(self.size) };
        self.from = range.end;
        Some(range)
    }

    /// One of those who ask has given up.
    pub(super) fn ended(&mut self) {
        self.running -= 1;
    }
}

/// Some look at the head of a file, at its end, and at a few places that these name.
const MISSES_MIN: u32 = 16;

/// As many as the queue to the disk has room for, with something left for others.
const REQUESTS_MAX: u32 = 6;

/// As large as a request is good for.
const PART_BYTES: u64 = 4 << 20;

/// One object may take a quarter: what is fetched without being asked for must not drive out all that was.
const CACHE_SHARE: u64 = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_byte_is_asked_for_once_and_no_more_often_than_somebody_waited(
            size in 1_u64..1 << 30, misses in 0_u32..400, cache in 0_u64..1 << 33
        ) {
            let mut filling = Filling::new(size, cache);
            let (mut at, mut requests) = (0, 0);
            for _ in 0..misses {
                if filling.missed() {
                    while let Some(range) = filling.next() {
                        prop_assert_eq!(range.start, at);
                        at = range.end;
                        requests += 1;
                    }
                }
            }
            prop_assert!(requests <= misses.saturating_sub(MISSES_MIN));
            prop_assert!(at <= size && (at == 0 || size <= cache / CACHE_SHARE));
            let enough = u64::from(misses.saturating_sub(MISSES_MIN)) * PART_BYTES >= size;
            prop_assert_eq!(at == size, enough && size <= cache / CACHE_SHARE);
        }
    }

    #[test]
    fn only_so_many_ask_at_the_same_time() {
        let mut filling = Filling::new(1 << 30, 1 << 40);
        let begun = (0..1000).filter(|_| filling.missed()).count();
        assert_eq!(begun, REQUESTS_MAX as usize);
    }
}
