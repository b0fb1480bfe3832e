//! What the kernel waits for: the pages that it has locked until a read is answered.
//!
//! Who stores a page that is locked waits for that answer, in the kernel, where nothing can end it. That takes a round
//! trip at best; and if the process is killed at that moment, the answer never comes, the thread never goes, and with it
//! stays the mount, on which everybody hangs. What the kernel waits for it gets anyway, so it is left out
//! ([`fill`](super::fill)).

use std::sync::Arc;

use parking_lot::Mutex;

use super::Filesystem;
use super::handle::{HandleId, OpenFile};
use crate::s3::ByteRange;
use crate::sys;

/// The ranges of one file that reads under way are about, in whole pages.
#[derive(Debug, Default)]
pub(super) struct Awaited(Mutex<Vec<ByteRange>>);

/// A read under way, until this is dropped.
#[derive(Debug)]
pub struct Awaiting {
    file: Arc<OpenFile>,
    range: ByteRange,
}

impl Filesystem {
    /// Takes note of a read of pages that cannot be answered at once. What is returned is to be dropped after the answer.
    pub fn await_read(&self, handle: HandleId, offset: u64, size: u32) -> Option<Awaiting> {
        let file = Arc::clone(&self.handles.file(handle).ok()?.file);
        let page = sys::page_bytes();
        let end = offset.saturating_add(u64::from(size));
        let range =
            ByteRange { start: offset / page * page, end: end.checked_next_multiple_of(page).unwrap_or(end) };
        file.awaited().0.lock().push(range);
        Some(Awaiting { file, range })
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        let mut ranges = self.file.awaited().0.lock();
        if let Some(at) = ranges.iter().position(|range| *range == self.range) {
            ranges.swap_remove(at);
        }
    }
}

impl Awaited {
    /// What of `range` nobody waits for at the moment, in order.
    pub(super) fn without(&self, range: ByteRange) -> Vec<ByteRange> {
        let mut waited = self.0.lock().clone();
        waited.sort_unstable_by_key(|waited| waited.start);
        let (mut free, mut at) = (Vec::new(), range.start);
        for waited in waited.into_iter().filter(|waited| waited.start < range.end) {
            free.push(ByteRange { start: at, end: waited.start });
            at = at.max(waited.end);
        }
        free.push(ByteRange { start: at, end: range.end });
        free.retain(|free| !free.is_empty());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_left_out() {
        let free = |waited: &[(u64, u64)]| {
            let ranges = waited.iter().map(|(start, end)| ByteRange { start: *start, end: *end });
            let awaited = Awaited(Mutex::new(ranges.collect()));
            let free = awaited.without(ByteRange { start: 100, end: 200 });
            free.into_iter().map(|range| (range.start, range.end)).collect::<Vec<_>>()
        };
        assert_eq!(free(&[]), [(100, 200)]);
        assert_eq!(free(&[(0, 100), (200, 300)]), [(100, 200)]);
        assert_eq!(free(&[(180, 300), (120, 130), (0, 110)]), [(110, 120), (130, 180)]);
        assert_eq!(free(&[(110, 150), (120, 130), (120, 160)]), [(100, 110), (160, 200)]);
        assert_eq!(free(&[(0, 1000)]), []);
    }
}
