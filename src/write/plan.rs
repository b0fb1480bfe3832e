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
//! number and is only asked about; what lies before and behind it is planned like a file of its own.
//!
//! Properties, checked below with random files: the parts, concatenated, are the file; numbers
//! ascend and stay within 1 to 10,000; every part but the last is at least the minimum and
//! none is above the maximum; nothing that was written is copied.

use serde::{Deserialize, Serialize};

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
    /// What was uploaded ahead: contiguous, with ascending numbers, from the start of the file or with enough
    /// before it for a part.
    pub uploaded: &'a [Uploaded],
    /// How large parts are.
    pub sizes: PartSizes,
}

/// How large parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartSizes {
    /// A file up to this size is one PUT.
    pub whole: u64,
    /// The preferred size of the parts of a larger one, at least S3's minimum and at most `whole`.
    pub part: u64,
}

impl PartSizes {
    /// Returns parts as large as the largest file that is one PUT.
    pub const fn of(bytes: u64) -> Self {
        Self { whole: bytes, part: bytes }
    }

    /// Returns the next best sizes that S3 takes.
    pub fn valid(self) -> Self {
        let part = self.part.clamp(PART_BYTES_MIN, PART_BYTES_MAX);
        Self { whole: self.whole.clamp(part, PART_BYTES_MAX), part }
    }
}

/// A part that was uploaded ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaded {
    /// Its number, from 1.
    pub number: u32,
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
    assert_eq!(shape.sizes, shape.sizes.valid(), "options are clamped");
    if shape.size <= shape.sizes.whole && !is_worth_copying(shape) {
        return Plan::Put;
    }
    Plan::Multipart(continued(shape).unwrap_or_else(|| from_scratch(shape)))
}

/// Whether a file that one request could carry is better put together inside S3.
///
/// Otherwise the untouched bytes are fetched, and all of them sent. Where at least the smallest part can be copied
/// instead, that is 10 MiB, or a tenth of a second on one connection, for two requests of 20 ms.
fn is_worth_copying(shape: &Shape<'_>) -> bool {
    let whole = ByteRange { start: 0, end: shape.size };
    let runs = runs(shape, whole, PART_BYTES_MIN);
    runs.len() > 1
        && runs.iter().any(|(range, source)| *source == Source::Copy && range.len() >= PART_BYTES_MIN)
}

/// The part that a sequential writer fills under `number`: its size grows with the file.
///
/// With the default of 5 MiB: 4,000 parts of 5 MiB are 19 GiB, then 2,000 of 40 MiB reach
/// 97 GiB, 2,000 of 320 MiB reach 722 GiB, and 2,000 of 5 GiB reach 10.4 TiB. A file that
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

/// Plans around the parts that were uploaded ahead; `None` if there are none, or no numbers for the rest.
fn continued(shape: &Shape<'_>) -> Option<Vec<PlannedPart>> {
    let kept = shape.uploaded.partition_point(|uploaded| uploaded.range.end <= shape.size);
    let kept = &shape.uploaded[..kept];
    let (first, last) = (kept.first()?, kept.last()?);
    let head = ByteRange { start: 0, end: first.range.start };
    let tail = ByteRange { start: last.range.end, end: shape.size };
    let mut parts = numbered(1, cut(shape, head, u64::from(first.number) - 1)?);
    parts.extend(kept.iter().map(|uploaded| PlannedPart {
        number: uploaded.number,
        range: uploaded.range,
        source: if uploaded.current { Source::Uploaded } else { Source::Send },
    }));
    let numbers = PARTS_MAX.checked_sub(u64::from(last.number))?;
    parts.extend(numbered(last.number + 1, cut(shape, tail, numbers)?));
    Some(parts)
}

/// Starts from nothing.
fn from_scratch(shape: &Shape<'_>) -> Vec<PlannedPart> {
    let whole = ByteRange { start: 0, end: shape.size };
    numbered(
        1,
        cut(shape, whole, PARTS_MAX).expect("ten thousand of the largest parts are the largest object"),
    )
}

/// Cuts a stretch of the file into parts just large enough that so many suffice; `None` if not even the largest do.
fn cut(shape: &Shape<'_>, stretch: ByteRange, parts_max: u64) -> Option<Vec<Run>> {
    let mut grain = Grain { part_bytes: shape.sizes.part, copy_bytes_min: PART_BYTES_MIN };
    loop {
        let runs = runs(shape, stretch, grain.copy_bytes_min);
        let parts: Vec<_> = runs.iter().flat_map(|run| split(*run, shape.size, grain.part_bytes)).collect();
        if parts.len() as u64 <= parts_max {
            return Some(parts);
        }
        if grain.part_bytes == PART_BYTES_MAX && grain.copy_bytes_min > stretch.len() {
            return None;
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
    /// At the coarsest all is one run, in the largest parts there are.
    fn coarser(self) -> Self {
        Self {
            part_bytes: (self.part_bytes * 2).min(PART_BYTES_MAX),
            copy_bytes_min: self.copy_bytes_min * 2,
        }
    }
}

/// A stretch of the file that is wholly sent or wholly copied.
type Run = (ByteRange, Source);

/// Cuts a stretch of the file into runs, all of which but the last of the file are large enough to be parts.
fn runs(shape: &Shape<'_>, stretch: ByteRange, copy_bytes_min: u64) -> Vec<Run> {
    let mut rest = without_short_copies(shape, stretch, copy_bytes_min).into_iter().peekable();
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
    if stretch.end < shape.size {
        lengthen_last(&mut runs);
    }
    runs
}

/// Makes the last run large enough for a part that others follow.
fn lengthen_last(runs: &mut Vec<Run>) {
    while let [.., (left, left_source), (last, source)] = &mut runs[..]
        && last.len() < PART_BYTES_MIN
    {
        let missing = PART_BYTES_MIN - last.len();
        if left.len() >= missing + PART_BYTES_MIN {
            left.end -= missing;
            last.start -= missing;
            *source = Source::Send;
        } else {
            left.end = last.end;
            *left_source = Source::Send;
            runs.pop();
        }
    }
}

/// The written and the untouched runs, alternating; an untouched one that is too short counts as written.
fn without_short_copies(shape: &Shape<'_>, stretch: ByteRange, copy_bytes_min: u64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (range, dirty) in shape.dirty.pieces(stretch) {
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

fn numbered(first: u32, parts: Vec<Run>) -> Vec<PlannedPart> {
    (first..).zip(parts).map(|(number, (range, source))| PlannedPart { number, range, source }).collect()
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
    const EIGHT: PartSizes = PartSizes::of(8 * MIB);

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange { start, end }
    }

    fn eight(index: u64) -> ByteRange {
        range(index * 8 * MIB, (index + 1) * 8 * MIB)
    }

    fn dirty(floor: u64, ranges: &[ByteRange]) -> Claim {
        let mut claim = Claim::from(floor);
        ranges.iter().for_each(|range| claim.insert(*range));
        claim
    }

    fn parts(size: u64, dirty: &Claim, uploaded: &[Uploaded]) -> Vec<PlannedPart> {
        match plan(&Shape { size, dirty, uploaded, sizes: EIGHT }) {
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
            let shape = Shape { size, dirty: &Claim::from(0), uploaded: &[], sizes: EIGHT };
            assert_eq!(plan(&shape), Plan::Put);
        }
        assert_eq!(parts(8 * MIB + 1, &Claim::from(0), &[]).len(), 2);
    }

    #[test]
    fn what_one_put_does_not_carry_is_cut_into_smaller_parts() {
        let (dirty, sizes) = (Claim::from(0), PartSizes { whole: 8 * MIB, part: 5 * MIB });
        let plan_of = |size| plan(&Shape { size, dirty: &dirty, uploaded: &[], sizes });
        assert_eq!(plan_of(8 * MIB), Plan::Put);
        let Plan::Multipart(parts) = plan_of(14 * MIB) else { panic!("more than one PUT carries") };
        let lengths: Vec<_> = parts.iter().map(|part| part.range.len()).collect();
        assert_eq!(lengths, [5 * MIB, 5 * MIB, 4 * MIB]);
        assert_eq!(PartSizes { whole: 1, part: 1 }.valid(), PartSizes::of(PART_BYTES_MIN));
    }

    #[test]
    fn what_can_be_copied_is_not_fetched_for_one_put() {
        let sources = |size, dirty: &Claim| match plan(&Shape { size, dirty, uploaded: &[], sizes: EIGHT }) {
            Plan::Put => vec![],
            Plan::Multipart(parts) => parts.iter().map(|part| part.source).collect(),
        };
        assert_eq!(sources(6 * MIB, &dirty(5 * MIB, &[])), [Source::Copy, Source::Send]);
        assert_eq!(sources(6 * MIB, &dirty(5 * MIB - 1, &[])), []);
        assert_eq!(sources(8 * MIB, &dirty(8 * MIB, &[range(4 * MIB, 4 * MIB + 1)])), []);
    }

    #[test]
    fn what_lies_before_an_append_is_copied_around_an_edit() {
        let appended = Uploaded { number: 4_001, range: range(100 * MIB, 108 * MIB), current: true };
        let claim = dirty(100 * MIB, &[range(50 * MIB, 50 * MIB + 1)]);
        let parts = parts(109 * MIB, &claim, &[appended]);
        let numbers: Vec<_> = parts.iter().map(|part| (part.number, part.source)).collect();
        let (copy, send) = (Source::Copy, Source::Send);
        assert_eq!(numbers, [(1, copy), (2, send), (3, copy), (4_001, Source::Uploaded), (4_002, send)]);
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
            |index: u32, current| Uploaded { number: index + 1, range: eight(u64::from(index)), current };
        let parts = parts(17 * MIB, &Claim::from(0), &[ahead(0, false), ahead(1, true)]);
        let sources: Vec<_> = parts.iter().map(|part| (part.number, part.source)).collect();
        assert_eq!(sources, [(1, Source::Send), (2, Source::Uploaded), (3, Source::Send)]);
    }

    #[test]
    fn a_part_beyond_the_end_is_left_out() {
        let ahead =
            |index: u32| Uploaded { number: index + 1, range: eight(u64::from(index)), current: true };
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
        let reach: u64 = (1..=PARTS_MAX).map(|number| part_bytes_ahead(number, PART_BYTES_MIN)).sum();
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
            floor in 0..400 * MIB,
            written in proptest::collection::vec((0..400 * MIB, 1..30 * MIB), 0..8),
            start in prop_oneof![Just(0), PART_BYTES_MIN..100 * MIB],
            current in proptest::collection::vec(any::<bool>(), 0..40),
        ) {
            let first = if start == 0 { 1 } else { 4_001 };
            let uploaded: Vec<_> = (0_u32..).zip(&current)
                .map(|(i, current)| {
                    let at = start + u64::from(i) * 8 * MIB;
                    Uploaded { number: first + i, range: range(at, at + 8 * MIB), current: *current }
                })
                .collect();
            let written: Vec<_> = written.iter().map(|(at, length)| range(*at, at + length)).collect();
            let claim = dirty(floor, &written);
            let parts = parts(size, &claim, &uploaded);
            prop_assert_eq!(check(size, &claim, &parts), Ok(()));
            let kept: Vec<_> = uploaded.iter().filter(|part| part.current && part.range.end <= size).collect();
            let planned = parts.iter().filter(|part| part.source == Source::Uploaded);
            let planned: Vec<_> = planned.map(|part| (part.number, part.range)).collect();
            prop_assert_eq!(planned, kept.iter().map(|part| (part.number, part.range)).collect::<Vec<_>>());
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
