//! The head start of a sequential writer: which parts have left, and the one being filled.
//!
//! ```text
//!            0        5 MiB     10 MiB    15 MiB   16 MiB
//!            ├─────────┼─────────┼─────────┼──░░░░░░┤
//!            uploaded   sending   stale     filling
//! ```
//!
//! It begins where the file ended when it was opened, cut or last committed, because that is where most writers
//! go on. What lies before, the commit copies or sends under numbers that are left free for it. What is too short
//! to be a part of its own is sent with the first part. As long as no part has left, a writer who has written a
//! whole part somewhere else is followed there.
//!
//! This is an optimisation on top of the staging file and may be given up at any time; what it
//! has not done is done by the commit. The part being filled is kept in memory, paid from the
//! budget, so that what goes up is never read back. Bytes are gathered as they arrive, in one piece, because
//! they are in the processor's cache then and a request body is one piece in the end.
//! Where the budget refuses, or the writer goes back, the part is read from the staging file.
//!
//! Nothing leaves before there is more than a single PUT carries. Then the first parts do, and the others as they are
//! full. The last one leaves, however short, when the file is frozen for its commit. A part that is written to after it
//! left is stale, and sent again under its number by the commit, when nothing else sends that number any more.

#[cfg(test)]
mod tests;

use super::held::{Held, Memory};
use super::plan::{PartSizes, Uploaded, part_bytes_ahead};
use super::ranges::RangeSet;
use crate::s3::Part;
use crate::s3::object::ByteRange;
use crate::s3::object::limits::{PART_BYTES_MIN, PARTS_MAX};

/// What has left ahead of the commit, and what is about to.
///
/// `P` is what S3 answers for a part, which nothing here looks at.
///
/// Invariant: the parts that left and the one being filled are contiguous, with ascending numbers. They begin at
/// the start of the file, or with enough before them for a part.
#[derive(Debug)]
pub struct Ahead<P = Part> {
    sizes: PartSizes,
    /// The number of the first part.
    first: u32,
    parts: Vec<AheadPart<P>>,
    filling: Filling,
    /// What was written last, if it does not go on where the filling ends.
    elsewhere: ByteRange,
    sending: usize,
    is_stopped: bool,
    /// What was written again in parts that were released.
    rewritten: RangeSet,
}

/// A part that is ready to leave.
#[derive(Debug)]
pub struct ReadyPart {
    /// Its number, from 1.
    pub number: u32,
    /// Its place in the file.
    pub range: ByteRange,
    /// Its bytes; `None` when they must be gathered from wherever they are.
    pub held: Option<Held>,
}

#[derive(Debug)]
struct AheadPart<P> {
    range: ByteRange,
    state: PartState<P>,
}

#[derive(Debug)]
enum PartState<P> {
    Sending,
    Uploaded(P),
    /// S3 alone has its bytes.
    Released(P),
    /// The same, but some of them were written again since.
    Overtaken(P),
    Stale,
}

/// The part that the writer is in.
#[derive(Debug)]
struct Filling {
    range: ByteRange,
    held: Option<Held>,
}

impl Filling {
    fn at(start: u64, held: Held) -> Self {
        Self { range: ByteRange { start, end: start }, held: Some(held) }
    }

    /// A part that has the bytes of `range` already, wherever they are.
    fn with(range: ByteRange) -> Self {
        Self { range, held: None }
    }
}

/// What the commit makes of a head start.
#[derive(Debug)]
pub struct HeadStart<P = Part> {
    /// The parts that left, in order.
    pub parts: Vec<(Uploaded, Option<P>)>,
    /// The part that was being filled, if all of it is in memory.
    pub held: Option<(ByteRange, Held)>,
}

impl<P> Ahead<P> {
    /// Returns the head start of a writer who begins at `position`.
    pub fn at(position: u64, sizes: PartSizes) -> Self {
        let (first, filling) = match position {
            0 => (1, Filling::at(0, Held::default())),
            1..PART_BYTES_MIN => (1, Filling::with(ByteRange { start: 0, end: position })),
            _ => (FIRST_BEHIND, Filling::at(position, Held::default())),
        };
        let elsewhere = ByteRange { start: 0, end: 0 };
        Self {
            sizes,
            first,
            parts: Vec::new(),
            filling,
            elsewhere,
            sending: 0,
            is_stopped: false,
            rewritten: RangeSet::default(),
        }
    }

    /// Takes note of bytes that were staged; returns the parts that are ready to leave now.
    pub fn wrote(&mut self, offset: u64, bytes: &[u8], memory: &Memory) -> Vec<ReadyPart> {
        let range = ByteRange { start: offset, end: offset + bytes.len() as u64 };
        self.spoil(range);
        let mut ready = Vec::new();
        let end = self.filling.range.end;
        if self.is_stopped {
        } else if offset <= end && end < range.end {
            let known = usize::try_from(end - offset).expect("an index into bytes");
            self.fill(range.end, Some((&bytes[known..], memory)), &mut ready);
        } else if !self.has_begun() {
            self.follow(range, &mut ready);
        }
        ready
    }

    /// Takes note of bytes beside those that are being filled, and goes there once they are worth it.
    fn follow(&mut self, range: ByteRange, ready: &mut Vec<ReadyPart>) {
        let run = self.elsewhere;
        let goes_on = run.start <= range.start && range.start <= run.end && !run.is_empty();
        self.elsewhere = if goes_on { ByteRange { end: run.end.max(range.end), ..run } } else { range };
        let run = self.elsewhere;
        if run.len() >= self.sizes.part && run.len() > self.filling.range.len() {
            *self = Self::at(run.start, self.sizes);
            self.fill(run.end, None, ready);
        }
    }

    /// Takes note of a range that reads as zeros now.
    pub fn zeroed(&mut self, range: ByteRange) {
        self.spoil(range);
    }

    /// Takes note of a file that was cut to `size`.
    ///
    /// After that no part leaves ahead any more, except where none has left yet: a number that
    /// is being sent may not be given to other bytes.
    pub fn truncated(&mut self, size: u64) {
        if size < self.elsewhere.end {
            self.elsewhere = ByteRange { start: 0, end: 0 };
        }
        if size >= self.filling.range.end {
            return;
        }
        self.spoil(ByteRange { start: size, end: self.filling.range.end });
        if self.has_begun() {
            self.is_stopped = true;
        } else {
            *self = Self { is_stopped: self.is_stopped, ..Self::at(size, self.sizes) };
        }
    }

    /// Lets the part that is being filled leave although it may be short: the file, which is frozen now, ends with it.
    /// `None` where nothing has left before it, or it is not in memory; the commit then sends it like any other.
    pub fn last(&mut self, size: u64) -> Option<ReadyPart> {
        let Filling { range, held } = &self.filling;
        let is_last = self.has_begun() && !self.is_stopped && !range.is_empty() && range.end == size;
        let is_held = held.as_ref().is_some_and(|held| held.size() == range.len());
        let mut ready = Vec::new();
        if is_last && is_held {
            self.leave(None, &mut ready);
        }
        ready.pop()
    }

    /// Takes note of how the sending of a part ended. After a failure no more parts leave ahead.
    pub fn sent(&mut self, number: u32, part: Option<P>) {
        self.sending -= 1;
        let state = &mut self.parts[(number - self.first) as usize].state;
        match (part, &state) {
            (Some(part), PartState::Sending) => *state = PartState::Uploaded(part),
            (Some(_), _) => {}
            (None, _) => {
                *state = PartState::Stale;
                self.is_stopped = true;
            }
        }
    }

    /// The parts that may be released, the oldest first: they have arrived, and are still what the file has.
    ///
    /// Never the very first: that has the headers that programs come back to.
    pub fn releasable(&self) -> impl Iterator<Item = ByteRange> {
        let arrived = |part: &&AheadPart<P>| matches!(part.state, PartState::Uploaded(_));
        self.parts.iter().skip(1).filter(arrived).map(|part| part.range)
    }

    /// Takes note that S3 alone has the bytes of this part from now on.
    pub fn released(&mut self, range: ByteRange) {
        let index = self.parts.partition_point(|part| part.range.start < range.start);
        let state = &mut self.parts[index].state;
        *state = match std::mem::replace(state, PartState::Stale) {
            PartState::Uploaded(sent) => PartState::Released(sent),
            other => other,
        };
    }

    /// Whether a commit of a file of `size` bytes would have to send again what S3 alone has.
    pub fn is_overtaken(&self, size: u64, released: &RangeSet) -> bool {
        self.parts.iter().any(|part| {
            let is_needed = released.overlaps(part.range);
            is_needed && (part.range.end > size || matches!(part.state, PartState::Overtaken(_)))
        })
    }

    /// The parts that left, and S3's answers for those that are still what the file has: for whoever finishes
    /// this in another process.
    pub fn parts(&self) -> Vec<(Uploaded, Option<P>)>
    where
        P: Clone,
    {
        let sent = |(number, part): (u32, &AheadPart<P>)| {
            let sent = match &part.state {
                PartState::Uploaded(sent) | PartState::Released(sent) => Some(sent.clone()),
                PartState::Overtaken(_) | PartState::Sending | PartState::Stale => None,
            };
            (Uploaded { number, range: part.range, current: sent.is_some() }, sent)
        };
        (self.first..).zip(&self.parts).map(sent).collect()
    }

    /// Hands over all parts up to the last one that has bytes of `released`, as they left, and what was
    /// written again in them since. Nothing may be on its way any more.
    pub fn into_rescue(mut self, released: &RangeSet) -> (HeadStart<P>, RangeSet) {
        let needed = self.parts.iter().rposition(|part| released.overlaps(part.range));
        self.parts.truncate(needed.map_or(0, |last| last + 1));
        for part in self.parts.iter_mut().filter(|part| released.overlaps(part.range)) {
            part.state = match std::mem::replace(&mut part.state, PartState::Stale) {
                PartState::Overtaken(sent) => PartState::Released(sent),
                other => other,
            };
        }
        self.filling.held = None;
        let rewritten = std::mem::take(&mut self.rewritten);
        (self.into_head_start(), rewritten)
    }

    /// Lets no more parts leave.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Gives back the memory of the part being filled, and lets no more parts leave.
    pub fn let_go(&mut self) {
        self.filling.held = None;
        self.is_stopped = true;
    }

    /// Where the first part begins that left, or is to.
    pub fn start(&self) -> u64 {
        self.parts.first().map_or(self.filling.range.start, |part| part.range.start)
    }

    /// How many parts are on their way.
    pub fn sending(&self) -> usize {
        self.sending
    }

    /// Whether any part has left.
    pub fn has_begun(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Hands over to the commit; nothing may be on its way any more.
    pub fn into_head_start(self) -> HeadStart<P> {
        assert_eq!(self.sending, 0, "the commit waits for the parts that are on their way");
        let uploaded = |(number, AheadPart { range, state }): (u32, AheadPart<P>)| match state {
            PartState::Uploaded(sent) | PartState::Released(sent) => {
                (Uploaded { number, range, current: true }, Some(sent))
            }
            PartState::Sending | PartState::Stale | PartState::Overtaken(_) => {
                (Uploaded { number, range, current: false }, None)
            }
        };
        let range = self.filling.range;
        let held = self.filling.held.filter(|held| held.size() == range.len()).map(|held| (range, held));
        HeadStart { parts: (self.first..).zip(self.parts).map(uploaded).collect(), held }
    }

    /// What is written again is neither what left nor what is held.
    fn spoil(&mut self, range: ByteRange) {
        let first = self.parts.partition_point(|part| part.range.end <= range.start);
        for part in self.parts[first..].iter_mut().take_while(|part| part.range.start < range.end) {
            part.state = match std::mem::replace(&mut part.state, PartState::Stale) {
                PartState::Released(sent) | PartState::Overtaken(sent) => {
                    let (start, end) = (range.start.max(part.range.start), range.end.min(part.range.end));
                    self.rewritten.insert(ByteRange { start, end });
                    PartState::Overtaken(sent)
                }
                _ => PartState::Stale,
            };
        }
        if range.start < self.filling.range.end && self.filling.range.start < range.end {
            self.filling.held = None;
        }
    }

    /// Fills up to `to`: with these bytes, or with what can be gathered when a part leaves.
    fn fill(&mut self, to: u64, mut bytes: Option<(&[u8], &Memory)>, ready: &mut Vec<ReadyPart>) {
        let memory = bytes.as_ref().map(|(_, memory)| *memory);
        while self.filling.range.end < to {
            if self.room() == 0 {
                if !self.leave(memory, ready) {
                    return;
                }
                continue;
            }
            let length = self.room().min(to - self.filling.range.end);
            let piece = bytes.as_mut().map(|(bytes, memory)| (take(bytes, length), *memory));
            self.filling.take(piece);
            self.filling.range.end += length;
        }
        while self.has_begun() && self.room() == 0 && self.leave(memory, ready) {}
    }

    /// How many more bytes are filled in before a part leaves: before the first one, all that a single PUT carries.
    fn room(&self) -> u64 {
        let full = if self.has_begun() { self.next_bytes() } else { self.sizes.whole };
        full.saturating_sub(self.filling.range.len())
    }

    /// The size of the part that leaves next.
    fn next_bytes(&self) -> u64 {
        part_bytes_ahead(self.parts.len() as u64 + 1, self.sizes.part)
    }

    /// Lets the part leave; `false` when S3 has no number for it.
    fn leave(&mut self, memory: Option<&Memory>, ready: &mut Vec<ReadyPart>) -> bool {
        let count = u32::try_from(self.parts.len()).expect("below ten thousand");
        let number = self.first + count;
        if u64::from(number) >= PARTS_MAX {
            self.is_stopped = true;
            return false;
        }
        let (part_bytes, next_bytes) =
            (self.next_bytes(), part_bytes_ahead(u64::from(count) + 2, self.sizes.part));
        let Filling { range, held } = self.filling.cut_off(part_bytes, next_bytes, memory);
        self.parts.push(AheadPart { range, state: PartState::Sending });
        self.sending += 1;
        ready.push(ReadyPart { number, range, held });
        true
    }
}

impl Filling {
    /// Takes the first `bytes` off, which leave. What lies behind them is kept for a part of `next_bytes`.
    fn cut_off(&mut self, bytes: u64, next_bytes: u64, memory: Option<&Memory>) -> Self {
        let end = self.range.end.min(self.range.start + bytes);
        let (leaving, rest) = (ByteRange { end, ..self.range }, ByteRange { start: end, ..self.range });
        let mut held = self.held.take();
        let kept = match (&mut held, memory) {
            _ if rest.is_empty() => Some(Held::for_part(next_bytes)),
            (Some(held), Some(memory)) => held.split_off(leaving.len(), next_bytes, memory),
            (_, None) | (None, _) => None,
        };
        *self = Self { range: rest, held: kept };
        Self { range: leaving, held }
    }

    /// Keeps a piece if there is one and the budget has room for it, and is gathered from elsewhere if not.
    fn take(&mut self, piece: Option<(&[u8], &Memory)>) {
        let kept = match (&mut self.held, piece) {
            (Some(held), Some((bytes, memory))) => held.push(bytes, memory),
            (_, None) | (None, _) => false,
        };
        if !kept {
            self.held = None;
        }
    }
}

/// Takes the first `length` of `bytes` off.
fn take<'a>(bytes: &mut &'a [u8], length: u64) -> &'a [u8] {
    let (piece, rest) = bytes.split_at(usize::try_from(length).expect("at most the length of bytes"));
    *bytes = rest;
    piece
}

/// The first number of a head start behind what there was. Four thousand numbers below it copy 20 TiB in parts of
/// 5 GiB; the six thousand above it are 97 GiB of a sequential writer, and beyond that the commit sends.
const FIRST_BEHIND: u32 = 4_001;
