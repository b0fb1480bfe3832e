//! Parallel ranged requests, in the order of the file; cancelled by drop.
//!
//! A stream holds the parts of a file that are here or on their way. A read takes what it needs
//! from them, starts what is missing, and extends the parts ahead as the [`window`](super::window)
//! says and the budget allows. Parts begin small, so that the first bytes are here soon, and grow.
//!
//! The lock is held while parts are looked at and started, never while anybody waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Options;
use super::bytes::ReadBytes;
use super::fetch::Source;
use super::part::{Part, Payment, Taken};
use super::window::{Limits, Pattern, Window};
use crate::budget::Budget;
use crate::error::{Error, Kind, Result};
use crate::s3::ByteRange;
use crate::task::Tasks;

/// The bytes of one version of one file, as one handle reads them.
#[derive(Debug)]
pub(super) struct Stream<S> {
    source: Arc<S>,
    size: u64,
    options: Options,
    budget: Budget,
    tasks: Tasks,
    ahead: Mutex<Ahead>,
}

/// What is here or on its way. Taken before the locks of parts, never under one.
#[derive(Debug)]
struct Ahead {
    window: Window,
    /// By their first byte. They do not overlap.
    parts: BTreeMap<u64, Arc<Part>>,
    /// The size of the next part ahead.
    part_bytes: u64,
}

impl<S: Source> Stream<S> {
    pub(super) fn new(source: S, size: u64, options: Options, budget: Budget, tasks: Tasks) -> Self {
        // One reader takes at most a quarter of the budget, so that others find some.
        let most_bytes = options.window_bytes_max.min(budget.total_bytes() / 4).max(options.first_part_bytes);
        let limits = Limits { first_bytes: options.first_window_bytes.min(most_bytes), most_bytes };
        let ahead = Ahead {
            window: Window::new(limits),
            parts: BTreeMap::new(),
            part_bytes: options.first_part_bytes,
        };
        Self { source: Arc::new(source), size, options, budget, tasks, ahead: Mutex::new(ahead) }
    }

    /// Reads `range`, which lies within the file, if all of it has arrived.
    pub(super) fn try_read(&self, range: ByteRange) -> Option<ReadBytes> {
        let mut ahead = self.ahead.lock();
        let read = ahead.take_now(range)?;
        self.look_ahead(&mut ahead, range);
        Some(read)
    }

    /// Reads `range`, which lies within the file.
    pub(super) async fn read(&self, range: ByteRange) -> Result<ReadBytes> {
        let mut read = ReadBytes::default();
        let mut at = range.start;
        let mut attempts = 0;
        while at < range.end {
            let wanted = ByteRange { start: at, end: range.end };
            // Held while waiting: a part that another read gives up meanwhile must not end under us.
            let (_part, piece, taken) = self.take(wanted, attempts == 0 && at == range.start);
            let bytes = match taken {
                Taken::Now(bytes) => bytes,
                Taken::Later(answer) => match answer.await {
                    Ok(bytes) => bytes.inspect_err(|_| self.drop_part(piece.start))?,
                    Err(_) => return Err(Error::new(Kind::ShuttingDown, "the fetch was stopped")),
                },
                Taken::Failed(error) => {
                    self.drop_part(piece.start);
                    return Err(error);
                }
                // Released between two looks; the next look starts it again.
                Taken::Gone => {
                    self.drop_part(piece.start);
                    attempts += 1;
                    if attempts > ATTEMPTS_MAX {
                        return Err(Error::new(Kind::Io, "bytes were released as often as they came"));
                    }
                    continue;
                }
            };
            at = piece.end;
            read.append(bytes);
        }
        Ok(read)
    }

    /// Takes the first piece of `wanted` that lies in one part, starting that part if need be.
    fn take(&self, wanted: ByteRange, is_first: bool) -> (Arc<Part>, ByteRange, Taken) {
        let mut ahead = self.ahead.lock();
        let pattern = if is_first { ahead.window.read(wanted) } else { Pattern::Jumps };
        let part = match ahead.part_at(wanted.start) {
            Some(part) => part,
            None => self.start_demanded(&mut ahead, wanted, pattern, is_first),
        };
        let piece = ByteRange { start: wanted.start, end: wanted.end.min(part.live().end) };
        let taken = part.take(piece);
        if matches!(taken, Taken::Later(_)) && is_first {
            ahead.window.starved();
        }
        if let Pattern::GoesOn { ahead_until } = pattern {
            self.extend(&mut ahead, ahead_until);
        }
        (part, piece, taken)
    }

    /// Starts a part that somebody waits for.
    ///
    /// A reader that goes on gets a part of the current size, so that the next reads find theirs on
    /// the way; one that jumps gets what it asked for.
    fn start_demanded(
        &self,
        ahead: &mut Ahead,
        wanted: ByteRange,
        pattern: Pattern,
        is_first: bool,
    ) -> Arc<Part> {
        let length = match pattern {
            _ if self.size <= self.options.whole_bytes && is_first && wanted.start == 0 => self.size,
            Pattern::GoesOn { .. } => wanted.len().max(ahead.part_bytes),
            Pattern::Jumps => {
                ahead.forget_all();
                wanted.len()
            }
        };
        let next = ahead.parts.range(wanted.start..).next().map_or(self.size, |(start, _)| *start);
        let end = wanted.start.saturating_add(length).min(self.size).min(next.max(wanted.start + 1));
        self.start(ahead, ByteRange { start: wanted.start, end }, Payment::OnDemand)
    }

    fn start(&self, ahead: &mut Ahead, range: ByteRange, payment: Payment) -> Arc<Part> {
        let part = Part::start(range, payment, &self.source, &self.budget, &self.tasks);
        ahead.parts.insert(range.start, Arc::clone(&part));
        part
    }

    fn look_ahead(&self, ahead: &mut Ahead, range: ByteRange) {
        if let Pattern::GoesOn { ahead_until } = ahead.window.read(range) {
            self.extend(ahead, ahead_until);
        }
    }

    /// Releases what lies behind and starts parts up to `until`, as far as the budget allows.
    fn extend(&self, ahead: &mut Ahead, until: u64) {
        ahead.release_behind();
        let until = until.min(self.size);
        let mut at = ahead.parts.last_key_value().map_or(until, |(_, part)| part.live().end);
        // Less than a part is left to the next read, or a reader would cause a request each.
        while at < until && (until - at >= ahead.part_bytes || until == self.size) {
            let end = at.saturating_add(ahead.part_bytes).min(self.size);
            let Some(reservation) = self.budget.ask(end - at) else { return };
            self.start(ahead, ByteRange { start: at, end }, Payment::Ahead(reservation));
            ahead.part_bytes = (ahead.part_bytes * 2).min(self.options.part_bytes);
            at = end;
        }
    }

    fn drop_part(&self, at: u64) {
        let mut ahead = self.ahead.lock();
        if let Some(start) = ahead.parts.range(..=at).next_back().map(|(start, _)| *start) {
            ahead.parts.remove(&start);
        }
    }
}

impl Ahead {
    /// The part in which the byte `at` is, or will be.
    fn part_at(&self, at: u64) -> Option<Arc<Part>> {
        let (_, part) = self.parts.range(..=at).next_back()?;
        let live = part.live();
        (live.start <= at && at < live.end).then(|| Arc::clone(part))
    }

    fn take_now(&self, range: ByteRange) -> Option<ReadBytes> {
        let mut read = ReadBytes::default();
        let mut at = range.start;
        while at < range.end {
            let part = self.part_at(at)?;
            let end = range.end.min(part.live().end);
            read.append(part.take_now(ByteRange { start: at, end })?);
            at = end;
        }
        Some(read)
    }

    /// Releases what a reader that goes on has left behind.
    fn release_behind(&mut self) {
        let kept_from = self.window.kept_from();
        while let Some(first) = self.parts.first_entry() {
            first.get().release_before(kept_from);
            let live = first.get().live();
            if !live.is_empty() && live.end > kept_from {
                return;
            }
            first.remove();
        }
    }

    /// The reader went elsewhere: what was on its way here is not wanted any more.
    ///
    /// Whoever waits for a part holds on to it, so only those end that nobody waits for.
    fn forget_all(&mut self) {
        self.parts.clear();
        self.part_bytes = self.part_bytes.min(PART_BYTES_AFTER_JUMP);
    }
}

/// How often bytes may be released between being found and being taken.
const ATTEMPTS_MAX: u32 = 16;

/// What a run that begins in the middle of a file begins with.
const PART_BYTES_AFTER_JUMP: u64 = 1 << 20;
