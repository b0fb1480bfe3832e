//! One range on its way from S3: the bytes that came, who waits for more, what they cost.
//!
//! A [`Part`] is filled by a task of its own, from its beginning to its end. A read takes a slice of
//! what has arrived, or leaves word which bytes it needs and is woken once, with them, when the last of
//! them is there.
//!
//! Bytes are copied once, from the network's buffers into *grains*: pieces of the file between
//! multiples of [`GRAIN_BYTES`], which is how the kernel asks, so that a reply is one slice of one grain. The
//! network's buffers are often twice as large as what came in them, and as long as somebody holds
//! on to them the connection pages in new ones. So the copy costs less than it saves, and a part weighs what
//! was paid for it. Of a grain that is still incomplete the bytes that are needed at once are copied out.
//!
//! Invariants:
//! - dropping the last handle on a part ends its request, but for one of up to 1 MiB that is to be kept by
//!   [`blocks`], and whose bytes go there alone then;
//! - bytes that somebody waits for are not released;
//! - however a task ends, finished, failed, stopped or panicking, nobody is left waiting for it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::blocks;
use super::bytes::ReadBytes;
use super::fetch::Source;
use super::pulse::{Pulse, Transfer};
use crate::budget::{Budget, Reservation};
use crate::error::{Error, Kind, Result};
use crate::s3::ByteRange;
use crate::task::Tasks;

/// A range that is being fetched, or has been. Dropping it ends the request.
#[derive(Debug)]
pub(super) struct Part {
    buffer: Arc<Buffer>,
    _task: AbortOnDrop,
}

/// How the memory of a part is paid for.
#[derive(Debug)]
pub(super) enum Payment {
    /// In advance, for as long as the bytes are kept, and for [`TRANSFER_BYTES`] more until they are there.
    Ahead(Reservation),
    /// When its turn comes, because somebody waits for the bytes. They are kept beyond that only
    /// if the budget has room for them: a caller's share must come back by itself, or callers
    /// would wait for files that nobody reads any more.
    OnDemand,
}

/// What came of asking a part for some of its bytes.
#[derive(Debug)]
pub(super) enum Taken {
    /// Here they are.
    Now(ReadBytes),
    /// They will be.
    Later(oneshot::Receiver<Result<ReadBytes>>),
    /// They were here and have been released.
    Gone,
    /// They will never be.
    Failed(Error),
}

impl Part {
    /// Begins to fetch `range`.
    pub(super) fn start<S: Source>(
        range: ByteRange,
        payment: Payment,
        source: &Arc<S>,
        pulse: &Arc<Mutex<Pulse>>,
        budget: &Budget,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let buffer = Arc::new(Buffer::new(range));
        let filler = Filler { buffer: Arc::clone(&buffer), pulse: Arc::clone(pulse) };
        let (source, budget) = (Arc::clone(source), budget.clone());
        let task = tasks.spawn_until_stopped("fetch", async move {
            fill(range, payment, &source, &budget, filler).await;
        });
        Arc::new(Self { buffer, _task: AbortOnDrop(task.abort_handle()) })
    }

    /// The bytes that are here or on their way; empty once it failed or was released.
    pub(super) fn live(&self) -> ByteRange {
        ByteRange { start: self.buffer.live_from.load(Ordering::Acquire), end: self.buffer.range.end }
    }

    /// Takes `wanted`, which lies within the range of this part, as soon as it is there.
    pub(super) fn take(&self, wanted: ByteRange) -> Taken {
        self.buffer.take(wanted)
    }

    /// Takes `wanted` if all of it is there.
    pub(super) fn take_now(&self, wanted: ByteRange) -> Option<ReadBytes> {
        self.buffer.filling.lock().slice(wanted)
    }

    /// Releases what lies before `offset` and is not waited for, in whole grains.
    pub(super) fn release_before(&self, offset: u64) {
        self.buffer.release_before(offset);
    }
}

/// Ends a background task when dropped.
#[derive(Debug)]
pub(super) struct AbortOnDrop(pub(super) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn fill<S: Source>(
    range: ByteRange,
    payment: Payment,
    source: &Arc<S>,
    budget: &Budget,
    filler: Filler,
) {
    match payment {
        Payment::Ahead(mut reservation) => {
            let _for_transfer = reservation.split(TRANSFER_BYTES);
            filler.buffer.filling.lock().paid = Some(reservation);
            let outcome = filler.fetch(source, range).await;
            filler.finish(outcome);
        }
        Payment::OnDemand => {
            let advance = budget.demand(range.len() + TRANSFER_BYTES).await;
            let outcome = filler.fetch(source, range).await;
            filler.buffer.filling.lock().paid = budget.ask(range.len());
            drop(advance);
            filler.finish(outcome);
            filler.buffer.release_if_unpaid();
        }
    }
}

/// The task's side of a buffer. Dropped with the task, whatever ended it.
#[derive(Debug)]
struct Filler {
    buffer: Arc<Buffer>,
    pulse: Arc<Mutex<Pulse>>,
}

impl Filler {
    async fn fetch<S: Source>(&self, source: &Arc<S>, range: ByteRange) -> Result<()> {
        let asked = Instant::now();
        let mut first_byte_after = None;
        let from_s3 = blocks::fetch(source, range, |chunk| {
            first_byte_after.get_or_insert_with(|| asked.elapsed());
            self.buffer.push(&chunk);
        })
        .await?;
        // What lay on the disk, even if only some of it, says nothing of the network.
        if from_s3 == range.len() {
            let first_byte_after = first_byte_after.expect("no range is empty");
            let (bytes, took) = (range.len(), asked.elapsed());
            self.pulse.lock().observe(Transfer { bytes, first_byte_after, took });
        }
        Ok(())
    }

    fn finish(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            tracing::debug!(range = %self.buffer.range, %error, "a range could not be fetched");
            self.buffer.fail(&error);
        }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // Does nothing to a part that is complete or has failed already.
        self.buffer.fail(&Error::new(Kind::ShuttingDown, "the fetch was stopped"));
    }
}

#[derive(Debug)]
struct Buffer {
    range: ByteRange,
    /// A copy of `Filling::start`, to be looked at without the lock. It never goes back.
    live_from: AtomicU64,
    /// Taken under the reader's lock; nothing is taken under this one.
    filling: Mutex<Filling>,
}

#[derive(Debug)]
struct Filling {
    /// The first byte that was not released.
    start: u64,
    /// The first byte that has not arrived.
    arrived: u64,
    /// Complete grains.
    grains: VecDeque<Grain>,
    /// What has arrived of the next one, up to `arrived`.
    growing: BytesMut,
    waiters: Vec<Waiter>,
    paid: Option<Reservation>,
    failed: Option<Error>,
}

/// Some bytes, ending before the file's byte `end`.
#[derive(Debug)]
struct Grain {
    end: u64,
    bytes: Bytes,
}

#[derive(Debug)]
struct Waiter {
    wanted: ByteRange,
    answer: oneshot::Sender<Result<ReadBytes>>,
}

impl Buffer {
    fn new(range: ByteRange) -> Self {
        assert!(!range.is_empty(), "S3 cannot be asked for nothing");
        let filling = Filling {
            start: range.start,
            arrived: range.start,
            grains: VecDeque::new(),
            growing: BytesMut::new(),
            waiters: Vec::new(),
            paid: None,
            failed: None,
        };
        Self { range, live_from: AtomicU64::new(range.start), filling: Mutex::new(filling) }
    }

    fn take(&self, wanted: ByteRange) -> Taken {
        debug_assert!(wanted.start >= self.range.start && wanted.end <= self.range.end);
        let mut filling = self.filling.lock();
        if let Some(bytes) = filling.slice(wanted) {
            return Taken::Now(bytes);
        }
        if let Some(error) = &filling.failed {
            return Taken::Failed(error.clone());
        }
        if wanted.start < filling.start {
            return Taken::Gone;
        }
        let (answer, answered) = oneshot::channel();
        filling.waiters.push(Waiter { wanted, answer });
        Taken::Later(answered)
    }

    fn push(&self, mut bytes: &[u8]) {
        let mut filling = self.filling.lock();
        while !bytes.is_empty() {
            let grain_end = (filling.arrived + 1).next_multiple_of(GRAIN_BYTES).min(self.range.end);
            let missing = within_grain(grain_end - filling.arrived);
            if filling.growing.is_empty() {
                filling.growing = BytesMut::with_capacity(missing);
            }
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            filling.growing.extend_from_slice(now);
            filling.arrived += now.len() as u64;
            if filling.arrived == grain_end {
                let bytes = std::mem::take(&mut filling.growing).freeze();
                filling.grains.push_back(Grain { end: grain_end, bytes });
            }
            bytes = later;
        }
        filling.answer_waiters();
    }

    fn fail(&self, error: &Error) {
        let mut filling = self.filling.lock();
        if filling.arrived == self.range.end || filling.failed.is_some() {
            return;
        }
        filling.failed = Some(error.clone());
        filling.paid = None;
        filling.drop_bytes();
        self.set_start(&mut filling, self.range.end);
        for waiter in filling.waiters.drain(..) {
            // Whoever no longer listens has given up waiting.
            waiter.answer.send(Err(error.clone())).unwrap_or_default();
        }
    }

    fn release_before(&self, offset: u64) {
        let mut filling = self.filling.lock();
        let waited_for = filling.waiters.iter().map(|waiter| waiter.wanted.start).min();
        let until = waited_for.map_or(offset, |start| start.min(offset));
        let mut start = filling.start;
        while let Some(grain) = filling.grains.pop_front_if(|grain| grain.end <= until) {
            start = grain.end;
        }
        self.set_start(&mut filling, start);
        filling.give_back_beyond(self.range.end - start);
    }

    /// Keeps no bytes that nobody has paid for. All who waited for them have been answered.
    fn release_if_unpaid(&self) {
        let mut filling = self.filling.lock();
        if filling.paid.is_none() {
            filling.drop_bytes();
            self.set_start(&mut filling, self.range.end);
        }
    }

    fn set_start(&self, filling: &mut Filling, start: u64) {
        filling.start = start;
        self.live_from.store(start, Ordering::Release);
    }
}

impl Filling {
    /// Cuts `wanted` out of the grains, if all of it is there.
    fn slice(&self, wanted: ByteRange) -> Option<ReadBytes> {
        if wanted.start < self.start || wanted.end > self.arrived {
            return None;
        }
        let mut read = ReadBytes::default();
        let first = self.grains.partition_point(|grain| grain.end <= wanted.start);
        for grain in self.grains.range(first..) {
            let range = ByteRange { start: grain.end - grain.bytes.len() as u64, end: grain.end };
            if range.start >= wanted.end {
                break;
            }
            read.push(grain.bytes.slice(part_of(range, wanted)));
        }
        let growing = ByteRange { start: self.arrived - self.growing.len() as u64, end: self.arrived };
        if growing.start < wanted.end {
            read.push(Bytes::copy_from_slice(&self.growing[part_of(growing, wanted)]));
        }
        debug_assert_eq!(read.len() as u64, wanted.len());
        Some(read)
    }

    fn drop_bytes(&mut self) {
        self.grains.clear();
        self.growing = BytesMut::new();
    }

    fn answer_waiters(&mut self) {
        let arrived = self.arrived;
        if self.waiters.iter().all(|waiter| waiter.wanted.end > arrived) {
            return;
        }
        let answered: Vec<_> = self.waiters.extract_if(.., |waiter| waiter.wanted.end <= arrived).collect();
        for waiter in answered {
            let bytes = self.slice(waiter.wanted).expect("bytes that are waited for are not released");
            // Whoever no longer listens has given up waiting.
            waiter.answer.send(Ok(bytes)).unwrap_or_default();
        }
    }

    /// Gives back what was paid for more than `bytes`.
    fn give_back_beyond(&mut self, bytes: u64) {
        let Some(paid) = &mut self.paid else { return };
        let excess = paid.bytes().saturating_sub(bytes);
        // The budget counts in units and rounds up what is split off, so ask for whole ones only.
        drop(paid.split(excess - excess % RELEASE_UNIT));
    }
}

/// Where in the bytes of `range` those of `wanted` are, which overlaps it.
fn part_of(range: ByteRange, wanted: ByteRange) -> Range<usize> {
    let from = within_grain(wanted.start.saturating_sub(range.start));
    from..within_grain(wanted.end.min(range.end) - range.start)
}

fn within_grain(offset: u64) -> usize {
    usize::try_from(offset).expect("a grain is in memory, so its offsets are addresses")
}

/// What the kernel asks for at once, on multiples of it, when it reads ahead as far as we wish.
const GRAIN_BYTES: u64 = 1 << 20;

/// What a transfer takes beside the bytes that it brings: the buffers of its connection, and the reply that
/// is on its way to the kernel. It is paid for along with them.
pub(super) const TRANSFER_BYTES: u64 = 256 << 10;

/// A multiple of the unit in which the budget counts.
const RELEASE_UNIT: u64 = 1024;
