//! How a file becomes an object: pure arithmetic on ranges.
//!
//! A small file is one PUT. A larger one is a multipart upload whose parts come from three places:
//!
//! ```text
//!           base version  ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
//!           written                 ▓▓       (4 KiB)        ▓▓ (appended)
//!           parts         [  copy  ][upload][    copy      ][up]
//!                                   ▒▓▓▒▒▒▒  edges come from the base
//! ```
//!
//! S3 wants every part but the last to have at least 5 MiB. So a written run that is too short
//! borrows from an untouched neighbour, whose borrowed bytes are then fetched and sent, and an
//! untouched run that is too short to be copied is sent along. What was uploaded ahead keeps its
//! number and is only asked about.
//!
//! Properties, checked below with random files: the parts, concatenated, are the file; numbers
//! ascend and stay within 1 to 10,000; every part but the last is at least the minimum and
//! none is above the maximum; nothing that was written is copied.

use super::ranges::Claim;
use crate::s3::object::ByteRange;
use crate::s3::object::limits::{OBJECT_BYTES_MAX, PART_BYTES_MAX, PART_BYTES_MIN, PARTS_MAX};

/// What is to be committed.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    /// Length of the file.
    pub size: u64,
    /// The bytes that differ from the base version, or lie where it has none.
    pub dirty: &'a Claim,
    /// What was uploaded ahead: part number `index + 1`, contiguous from the start of the file.
    pub uploaded: &'a [Uploaded],
    /// The preferred size of a part, at least S3's minimum; a file up to this size is one PUT.
    pub part_bytes: u64,
}

/// A part that was uploaded ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uploaded {
    /// Which bytes of the file it has.
    pub range: ByteRange,
    /// Whether they are still those of the file.
    pub current: bool,
}

/// How to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// One request with all bytes.
    Put,
    /// A multipart upload of these parts, in this order.
    Multipart(Vec<PlannedPart>),
}

/// One part of a multipart upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedPart {
    /// Its number, from 1.
    pub number: u32,
    /// Its place in the file.
    pub range: ByteRange,
    /// Where its bytes come from.
    pub source: Source,
}

/// Where the bytes of a part come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// S3 copies them from the base version.
    Copy,
    /// We send them; what was not written is fetched from the base first.
    Send,
    /// S3 has them already under this number.
    Uploaded,
}

/// Decides how a file of this shape is committed.
pub fn plan(shape: &Shape<'_>) -> Plan {
    assert!(shape.size <= OBJECT_BYTES_MAX, "a write beyond S3's limit is refused when it arrives");
    assert!((PART_BYTES_MIN..=PART_BYTES_MAX).contains(&shape.part_bytes), "options are clamped");
    if shape.size <= shape.part_bytes {
        return Plan::Put;
    }
    Plan::Multipart(continued(shape).unwrap_or_else(|| from_scratch(shape)))
}

/// The part that a sequential writer fills under `number`: its size grows with the file.
///
/// With the default of 8 MiB: 4,000 parts of 8 MiB are 31 GiB, then 2,000 of 64 MiB reach
/// 156 GiB, 2,000 of 512 MiB reach 1.1 TiB, and 2,000 of 5 GiB reach 10.9 TiB. A file that
/// outgrows even that is uploaded again at its commit, in parts of one size.
pub fn part_bytes_ahead(number: u64, part_bytes: u64) -> u64 {
    let factor = match number {
        0..=4_000 => 1,
        4_001..=6_000 => 8,
        6_001..=8_000 => 64,
        _ => 1_024,
    };
    part_bytes.saturating_mul(factor).min(PART_BYTES_MAX)
}

/// Goes on behind the parts that were uploaded ahead; `None` if there are none, or too many.
fn continued(shape: &Shape<'_>) -> Option<Vec<PlannedPart>> {
    let mut parts = Vec::new();
    for uploaded in shape.uploaded.iter().take_while(|uploaded| uploaded.range.end <= shape.size) {
        let source = if uploaded.current { Source::Uploaded } else { Source::Send };
        parts.push((uploaded.range, source));
    }
    let mut at = parts.last()?.0.end;
    while at < shape.size {
        let bytes = part_bytes_ahead(parts.len() as u64 + 1, shape.part_bytes);
        let end = shape.size.min(at + bytes);
        parts.push((ByteRange { start: at, end }, Source::Send));
        at = end;
    }
    (parts.len() as u64 <= PARTS_MAX).then(|| numbered(parts))
}

/// Starts from nothing, in parts just large enough that ten thousand suffice.
fn from_scratch(shape: &Shape<'_>) -> Vec<PlannedPart> {
    let mut grain = Grain { part_bytes: shape.part_bytes, copy_bytes_min: PART_BYTES_MIN };
    loop {
        let runs = runs(shape, grain.copy_bytes_min);
        let parts: Vec<_> = runs.iter().flat_map(|run| split(*run, shape.size, grain.part_bytes)).collect();
        if parts.len() as u64 <= PARTS_MAX {
            return numbered(parts);
        }
        grain = grain.coarser();
    }
}

/// How finely a file is cut.
#[derive(Debug, Clone, Copy)]
struct Grain {
    /// The size of the parts that we send.
    part_bytes: u64,
    /// Untouched runs below this are sent along with their neighbours.
    copy_bytes_min: u64,
}

impl Grain {
    /// Ends: at the coarsest the whole file is one run, in the largest parts there are.
    fn coarser(self) -> Self {
        Self {
            part_bytes: (self.part_bytes * 2).min(PART_BYTES_MAX),
            copy_bytes_min: self.copy_bytes_min * 2,
        }
    }
}

/// A stretch of the file that is wholly sent or wholly copied.
type Run = (ByteRange, Source);

/// Cuts the file into runs, all of which but the last are large enough to be parts.
fn runs(shape: &Shape<'_>, copy_bytes_min: u64) -> Vec<Run> {
    let mut rest = without_short_copies(shape, copy_bytes_min).into_iter().peekable();
    let mut runs: Vec<Run> = Vec::new();
    while let Some((mut range, source)) = rest.next() {
        let missing = PART_BYTES_MIN.saturating_sub(range.len());
        match (source, rest.peek_mut()) {
            (Source::Send, Some((right, _))) if missing > 0 => {
                let is_last = right.end == shape.size;
                let left = runs.last_mut().map(|(left, _)| left);
                if is_last && missing < right.len() || right.len() >= missing + PART_BYTES_MIN {
                    right.start += missing;
                    range.end += missing;
                } else if let Some(left) = left.filter(|left| left.len() >= missing + PART_BYTES_MIN) {
                    left.end -= missing;
                    range.start -= missing;
                } else {
                    // The neighbour is used up, and what follows it is written too: one run.
                    range.end = right.end;
                    rest.next();
                    if let Some((written, _)) = rest.peek_mut() {
                        written.start = range.start;
                        continue;
                    }
                }
            }
            _ => {}
        }
        runs.push((range, source));
    }
    runs
}

/// The written and the untouched runs, alternating; an untouched one that is too short counts as written.
fn without_short_copies(shape: &Shape<'_>, copy_bytes_min: u64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (range, dirty) in shape.dirty.pieces(ByteRange { start: 0, end: shape.size }) {
        // The last part may have any size.
        let too_short = range.len() < copy_bytes_min && range.end < shape.size;
        let source = if dirty || too_short { Source::Send } else { Source::Copy };
        match runs.last_mut() {
            Some((last, same)) if *same == source => last.end = range.end,
            _ => runs.push((range, source)),
        }
    }
    runs
}

/// Cuts one run into parts.
fn split((range, source): Run, size: u64, part_bytes: u64) -> Vec<Run> {
    let bytes = match source {
        Source::Copy => COPY_BYTES.max(part_bytes),
        Source::Send | Source::Uploaded => part_bytes,
    };
    let mut parts = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let rest = range.end - at;
        let is_last = range.end == size;
        let length = match rest.checked_sub(bytes) {
            None | Some(0) => rest,
            // What would remain is too short for a part of its own: take it along, or share evenly.
            Some(tail) if tail < PART_BYTES_MIN && !is_last && rest <= PART_BYTES_MAX => rest,
            Some(tail) if tail < PART_BYTES_MIN && !is_last => rest / 2,
            Some(_) => bytes,
        };
        parts.push((ByteRange { start: at, end: at + length }, source));
        at += length;
    }
    parts
}

fn numbered(parts: Vec<Run>) -> Vec<PlannedPart> {
    let numbers = 1..=u32::try_from(PARTS_MAX).expect("ten thousand");
    numbers.zip(parts).map(|(number, (range, source))| PlannedPart { number, range, source }).collect()
}

/// One request copies at most 5 GiB, at about the speed of one connection. Pieces of 512 MiB
/// run side by side, and a file of some GiB still costs only a handful of requests.
const COPY_BYTES: u64 = 512 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    const TIB: u64 = 1 << 40;

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange { start, end }
    }

    fn dirty(floor: u64, ranges: &[ByteRange]) -> Claim {
        let mut claim = Claim::from(floor);
        ranges.iter().for_each(|range| claim.insert(*range));
        claim
    }

    fn parts(size: u64, dirty: &Claim, uploaded: &[Uploaded]) -> Vec<PlannedPart> {
        match plan(&Shape { size, dirty, uploaded, part_bytes: 8 * MIB }) {
            Plan::Multipart(parts) => parts,
            Plan::Put => panic!("{size} bytes should take a multipart upload"),
        }
    }

    fn sent(parts: &[PlannedPart]) -> u64 {
        parts.iter().filter(|part| part.source == Source::Send).map(|part| part.range.len()).sum()
    }

    #[test]
    fn a_file_up_to_the_part_size_is_one_put() {
        for size in [0, 1, 8 * MIB] {
            let shape = Shape { size, dirty: &Claim::from(0), uploaded: &[], part_bytes: 8 * MIB };
            assert_eq!(plan(&shape), Plan::Put);
        }
        assert_eq!(parts(8 * MIB + 1, &Claim::from(0), &[]).len(), 2);
    }

    #[test]
    fn an_appended_byte_is_one_copy_and_one_small_part() {
        let parts = parts(64 * MIB + 1, &dirty(64 * MIB, &[]), &[]);
        assert_eq!(parts.iter().map(|part| part.source).collect::<Vec<_>>(), [Source::Copy, Source::Send]);
        assert_eq!(sent(&parts), 1);
    }

    #[test]
    fn an_edit_in_the_middle_sends_one_smallest_part() {
        let written = range(512 * MIB, 512 * MIB + 4 * KIB);
        let parts = parts(GIB, &dirty(GIB, &[written]), &[]);
        assert_eq!(sent(&parts), PART_BYTES_MIN);
        assert_eq!(parts.len(), 3);
    }

    #[test]
    fn a_file_cut_short_is_copied_and_nothing_is_sent() {
        let parts = parts(100 * MIB, &dirty(100 * MIB, &[]), &[]);
        assert_eq!((parts.len(), sent(&parts)), (1, 0));
    }

    #[test]
    fn a_part_uploaded_ahead_keeps_its_number_and_a_stale_one_is_sent_again() {
        let ahead =
            |index: u64, current| Uploaded { range: range(index * 8 * MIB, (index + 1) * 8 * MIB), current };
        let parts = parts(17 * MIB, &Claim::from(0), &[ahead(0, false), ahead(1, true)]);
        let sources: Vec<_> = parts.iter().map(|part| (part.number, part.source)).collect();
        assert_eq!(sources, [(1, Source::Send), (2, Source::Uploaded), (3, Source::Send)]);
    }

    #[test]
    fn a_part_beyond_the_end_is_left_out() {
        let ahead =
            |index: u64| Uploaded { range: range(index * 8 * MIB, (index + 1) * 8 * MIB), current: true };
        let parts = parts(12 * MIB, &Claim::from(0), &[ahead(0), ahead(1)]);
        let sources: Vec<_> = parts.iter().map(|part| (part.range.end, part.source)).collect();
        assert_eq!(sources, [(8 * MIB, Source::Uploaded), (12 * MIB, Source::Send)]);
    }

    #[test]
    fn the_largest_object_fits() {
        let parts = parts(OBJECT_BYTES_MAX, &Claim::from(0), &[]);
        assert_eq!(parts.len() as u64, PARTS_MAX);
        assert!(parts.iter().all(|part| part.range.len() == PART_BYTES_MAX));
    }

    #[test]
    fn the_parts_of_a_sequential_writer_reach_far() {
        let reach: u64 = (1..=PARTS_MAX).map(|number| part_bytes_ahead(number, 8 * MIB)).sum();
        assert!(reach > 10 * TIB, "{reach}");
    }

    #[test]
    fn scattered_writes_never_need_too_many_parts() {
        let written: Vec<_> = (0..40_000).map(|i| range(i * 20 * MIB, i * 20 * MIB + 4 * KIB)).collect();
        let claim = dirty(TIB, &written);
        check(TIB, &claim, &parts(TIB, &claim, &[])).expect("a valid plan");
    }

    proptest! {
        #[test]
        fn the_parts_are_the_file(
            size in 1..400 * MIB,
            floor in 0..500 * MIB,
            written in proptest::collection::vec((0..400 * MIB, 1..30 * MIB), 0..12),
            coarse in any::<bool>(),
        ) {
            let unit = if coarse { MIB } else { 1 };
            let written: Vec<_> = written.iter().map(|(at, length)| range(at / unit * unit, at / unit * unit + length)).collect();
            let claim = dirty(floor, &written);
            if size > 8 * MIB {
                let parts = parts(size, &claim, &[]);
                prop_assert_eq!(check(size, &claim, &parts), Ok(()));
            }
        }

        #[test]
        fn the_parts_are_the_file_when_some_were_uploaded_ahead(
            size in 9 * MIB..400 * MIB,
            current in proptest::collection::vec(any::<bool>(), 0..40),
        ) {
            let uploaded: Vec<_> = (0_u64..).zip(current)
                .map(|(i, current)| Uploaded { range: range(i * 8 * MIB, (i + 1) * 8 * MIB), current })
                .collect();
            let parts = parts(size, &Claim::from(0), &uploaded);
            prop_assert_eq!(check(size, &Claim::from(0), &parts), Ok(()));
            for part in parts.iter().filter(|part| part.source == Source::Uploaded) {
                prop_assert_eq!(uploaded[part.number as usize - 1], Uploaded { range: part.range, current: true });
            }
        }
    }

    fn check(size: u64, dirty: &Claim, parts: &[PlannedPart]) -> Result<(), String> {
        let mut at = 0;
        let mut number = 0;
        for part in parts {
            let is_last = part.range.end == size;
            let length = part.range.len();
            let copies_written =
                part.source == Source::Copy && dirty.pieces(part.range).iter().any(|(_, dirty)| *dirty);
            let wrong = part.range.start != at
                || part.number <= number
                || length > PART_BYTES_MAX
                || (length < PART_BYTES_MIN && !is_last)
                || copies_written;
            if wrong {
                return Err(format!("{part:?} in {parts:?}"));
            }
            (at, number) = (part.range.end, part.number);
        }
        if at == size && u64::from(number) <= PARTS_MAX {
            Ok(())
        } else {
            Err(format!("ends at {at}, {number} parts"))
        }
    }
}
