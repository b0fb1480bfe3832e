//! Reads at a steady distance from each other.

use crate::read::Options;
use crate::s3::ByteRange;

/// Whether each read follows the one before it at the same distance.
#[derive(Debug, Default)]
pub(super) struct Stride {
    last_start: Option<u64>,
    distance: i64,
    repeats: u32,
}

impl Stride {
    pub(super) fn observe(&mut self, wanted: ByteRange) {
        let distance = self.last_start.map_or(0, |last| wanted.start.wrapping_sub(last).cast_signed());
        self.repeats = if distance == self.distance && distance != 0 { self.repeats + 1 } else { 0 };
        self.distance = distance;
        self.last_start = Some(wanted.start);
    }

    /// The reads that will come if it goes on like this; more of them the longer it has.
    pub(super) fn next(
        &self,
        last: ByteRange,
        room: u64,
        size: u64,
        options: &Options,
    ) -> impl Iterator<Item = ByteRange> {
        let fits = room / last.len().next_multiple_of(options.block_bytes);
        let count = match self.repeats {
            0 | 1 => 0,
            repeats => (1 << repeats.min(5)).min(fits),
        };
        let distance = self.distance;
        let starts = std::iter::successors(Some(last.start), move |start| start.checked_add_signed(distance));
        starts.skip(1).take(usize::try_from(count).unwrap_or(0)).map_while(move |start| {
            (start < size).then(|| ByteRange { start, end: (start + last.len()).min(size) })
        })
    }
}
