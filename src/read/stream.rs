//! The parts of one file that are in memory or on their way there.
//!
//! A read looks whether its bytes have arrived. If not it leaves word with the parts that will
//! have them, and waits for those only: other reads go on beside it. Each read also tells the
//! [`Window`], and what that plans is begun at once, as far as the [`Budget`] agrees. Everything
//! that is decided is decided under one short lock; fetching is the parts' own business.
//!
//! # Who pays
//! Read-ahead *asks* the budget, within a share that shrinks as others take theirs ([`room`]).
//! What a caller waits for and asking did not get is *demanded*, to the byte, and such a part
//! holds on to its share no longer than its request takes (see [`Payment::OnDemand`]). So a read
//! always makes progress, even if idle files hold all that may be asked for.
//!
//! # What is kept
//! Only what the window calls worth keeping, and nothing at all once nobody has read for a while
//! ([`IDLE`]): an open file that is not read must not make others slow.
//!
//! Invariant: the live ranges of the parts do not overlap, so each byte is fetched once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Options;
use super::bytes::ReadBytes;
use super::fetch::Source;
use super::part::{AbortOnDrop, Part, Payment, TRANSFER_BYTES, Taken};
use super::pulse::Pulse;
use super::window::{Access, Window};
use crate::budget::Budget;
use crate::error::{Error, Kind, Result};
use crate::s3::ByteRange;
use crate::task::Tasks;

/// One version of one file, read through any number of calls at the same time.
#[derive(Debug)]
pub(super) struct Stream<S> {
    shared: Arc<Shared<S>>,
}

impl<S: Source> Stream<S> {
    /// A stream of the `size` bytes of `source`; nothing is fetched yet.
    pub(super) fn new(source: S, size: u64, options: Options, budget: Budget, tasks: Tasks) -> Self {
        let state = State {
            window: Window::new(size, options),
            parts: BTreeMap::new(),
            changed: None,
            last_read: Instant::now(),
            idle_watch: None,
        };
        let shared = Shared {
            source: Arc::new(source),
            pulse: Arc::default(),
            waited_apart: AtomicU64::new(0),
            budget,
            tasks,
            state: Mutex::new(state),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What is read.
    pub(super) fn source(&self) -> &S {
        &self.shared.source
    }

    /// Reads `wanted`, which is not empty and lies within the file, if all of it has arrived.
    pub(super) fn try_read(&self, wanted: ByteRange) -> Option<Result<ReadBytes>> {
        let mut state = self.shared.state.lock();
        if let Some(error) = &state.changed {
            return Some(Err(error.clone()));
        }
        let bytes = state.arrived(wanted)?;
        self.shared.prepare(&mut state, wanted, true);
        Some(Ok(bytes))
    }

    /// Reads `wanted`, which is not empty and lies within the file.
    ///
    /// # Errors
    /// [`Kind::Changed`], now and ever after, when the version is no longer there.
    pub(super) async fn read(&self, wanted: ByteRange) -> Result<ReadBytes> {
        if let Some(outcome) = self.try_read(wanted) {
            return outcome;
        }
        let asked = Instant::now();
        let (apart, outcome) = self.wait(wanted).await;
        if apart {
            let waited = u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.shared.waited_apart.fetch_add(waited, Ordering::Relaxed);
        }
        if let Err(error) = &outcome
            && error.kind() == Kind::Changed
        {
            self.shared.state.lock().changed = Some(error.clone());
        }
        outcome
    }

    /// How long reads that follow no other have waited since this was last asked.
    pub(super) fn waited_at_random(&self) -> Duration {
        Duration::from_nanos(self.shared.waited_apart.swap(0, Ordering::Relaxed))
    }

    pub(super) fn latency(&self) -> Option<Duration> {
        self.shared.source.latency()
    }

    /// Also says whether the read follows no other.
    async fn wait(&self, wanted: ByteRange) -> (bool, Result<ReadBytes>) {
        let (apart, claims) = {
            let mut state = self.shared.state.lock();
            self.shared.prepare(&mut state, wanted, false);
            (state.window.is_apart(), self.shared.claim(&mut state, wanted))
        };
        let collect = async {
            let mut read = ReadBytes::default();
            for claim in claims? {
                read.append(claim.bytes().await?);
            }
            debug_assert_eq!(read.len() as u64, wanted.len());
            Ok(read)
        };
        (apart, collect.await)
    }
}

#[derive(Debug)]
struct Shared<S> {
    source: Arc<S>,
    /// What the parts showed of the network. Taken under the lock of the state, and nothing under it.
    pulse: Arc<Mutex<Pulse>>,
    /// Nanoseconds that reads which follow no other have waited.
    waited_apart: AtomicU64,
    budget: Budget,
    tasks: Tasks,
    /// Parts have locks of their own, which may be taken under this one.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    window: Window,
    /// By the end of their range, which never changes; their beginnings are released bit by bit.
    parts: BTreeMap<u64, Arc<Part>>,
    /// Why no more can be read, once the version is gone.
    changed: Option<Error>,
    last_read: Instant,
    /// Runs while there are parts.
    idle_watch: Option<AbortOnDrop>,
}

/// The bytes that a read was promised by one part.
struct Claim {
    taken: Taken,
    /// Keeps the part's request going even if the stream loses interest in it.
    _part: Arc<Part>,
}

impl Claim {
    async fn bytes(self) -> Result<ReadBytes> {
        match self.taken {
            Taken::Now(bytes) => Ok(bytes),
            Taken::Later(answered) => answered.await.unwrap_or_else(|_| Err(stopped())),
            Taken::Failed(error) => Err(error),
            Taken::Gone => Err(stopped()),
        }
    }
}

impl<S: Source> Shared<S> {
    /// Lets the window know of a read, and follows its plan.
    fn prepare(self: &Arc<Self>, state: &mut State, wanted: ByteRange, arrived: bool) {
        let now = Instant::now();
        let room = room(&self.budget, state.live_bytes());
        let network = self.pulse.lock().network(self.source.latency());
        let plan = state.window.observe(Access { wanted, arrived, now, room, network });
        state.last_read = now;
        state.release_passed();
        for range in std::iter::once(plan.first).chain(plan.then) {
            if !self.fetch_ahead(state, range, plan.part_bytes) {
                break;
            }
        }
        if state.idle_watch.is_none() && !state.parts.is_empty() {
            state.idle_watch = Some(self.watch_for_idleness());
        }
    }

    /// Begins to fetch what is missing of `range`; `false` when the budget does not allow all of it.
    fn fetch_ahead(&self, state: &mut State, range: ByteRange, part_bytes: u64) -> bool {
        let mut at = range.start;
        while let Some(gap) = state.gap(at, range.end) {
            let part = ByteRange { start: gap.start, end: gap.end.min(gap.start + part_bytes) };
            let Some(reservation) = self.budget.ask(part.len() + TRANSFER_BYTES) else { return false };
            drop(self.start(state, part, Payment::Ahead(reservation)));
            at = part.end;
        }
        true
    }

    /// Gets hold of all parts of `wanted`, beginning to fetch those that are still missing.
    fn claim(&self, state: &mut State, wanted: ByteRange) -> Result<Vec<Claim>> {
        let mut claims = Vec::new();
        let mut at = wanted.start;
        while at < wanted.end {
            let part = match state.part_at(at) {
                Some(part) => part,
                None => self.start_on_demand(state, at, wanted.end),
            };
            let share = ByteRange { start: at, end: wanted.end.min(part.live().end) };
            match part.take(share) {
                // Complete and released since we looked: it is a gap now.
                Taken::Gone => continue,
                Taken::Failed(error) => return Err(error),
                taken => claims.push(Claim { taken, _part: part }),
            }
            at = share.end;
        }
        Ok(claims)
    }

    /// Begins to fetch from `at`, which is in no part, to the next part or to `end`.
    fn start_on_demand(&self, state: &mut State, at: u64, end: u64) -> Arc<Part> {
        let gap = state.gap(at, end).expect("a byte that is in no part is in a gap");
        debug_assert_eq!(gap.start, at);
        self.start(state, gap, Payment::OnDemand)
    }

    fn start(&self, state: &mut State, range: ByteRange, payment: Payment) -> Arc<Part> {
        let part = Part::start(range, payment, &self.source, &self.pulse, &self.budget, &self.tasks);
        state.parts.insert(range.end, Arc::clone(&part));
        part
    }

    fn watch_for_idleness(self: &Arc<Self>) -> AbortOnDrop {
        let task = forget_when_idle(Arc::downgrade(self));
        AbortOnDrop(self.tasks.spawn_until_stopped("idle reader", task).abort_handle())
    }
}

/// Drops all parts once nobody has read for [`IDLE`]. Ends then, or with the stream.
async fn forget_when_idle<S>(stream: Weak<Shared<S>>) {
    let mut wait = IDLE;
    loop {
        tokio::time::sleep(wait).await;
        let Some(shared) = stream.upgrade() else { return };
        let mut state = shared.state.lock();
        let idle = state.last_read.elapsed();
        if idle >= IDLE {
            state.parts.clear();
            state.idle_watch = None;
            return;
        }
        wait = IDLE - idle;
    }
}

impl State {
    /// The bytes of `wanted`, if all of them are there.
    fn arrived(&self, wanted: ByteRange) -> Option<ReadBytes> {
        let mut read = ReadBytes::default();
        let mut at = wanted.start;
        while at < wanted.end {
            let part = self.part_at(at)?;
            let share = ByteRange { start: at, end: wanted.end.min(part.live().end) };
            read.append(part.take_now(share)?);
            at = share.end;
        }
        Some(read)
    }

    /// The part that has, or will have, the byte `at`.
    fn part_at(&self, at: u64) -> Option<Arc<Part>> {
        let (_, part) = self.parts.range(at + 1..).next()?;
        (part.live().start <= at).then(|| Arc::clone(part))
    }

    /// The first stretch between `at` and `end` that is in no part.
    fn gap(&self, mut at: u64, end: u64) -> Option<ByteRange> {
        for part in self.parts.range(at + 1..).map(|(_, part)| part.live()) {
            if at >= end {
                return None;
            }
            if at < part.start {
                return Some(ByteRange { start: at, end: end.min(part.start) });
            }
            at = part.end;
        }
        (at < end).then_some(ByteRange { start: at, end })
    }

    fn live_bytes(&self) -> u64 {
        self.parts.values().map(|part| part.live().len()).sum()
    }

    /// Drops what failed, and what the window does not want to keep.
    fn release_passed(&mut self) {
        let window = &self.window;
        self.parts.retain(|_, part| {
            let live = part.live();
            let kept_from = if live.is_empty() { None } else { window.kept_from(live) };
            // Byte by byte would be a walk through the lists of grains for nothing.
            if let Some(from) = kept_from.filter(|from| from - live.start >= RELEASE_BYTES) {
                part.release_before(from);
            }
            kept_from.is_some()
        });
    }
}

/// The bytes that one stream may hold, given what it holds already: three quarters of that and of what
/// is free.
///
/// A stream alone may so have three quarters of the budget, two have three sevenths each, and so on,
/// without anybody knowing of the others; whoever came first gives way as it goes on reading.
fn room(budget: &Budget, held: u64) -> u64 {
    (budget.free_bytes() + held) / 4 * 3
}

fn stopped() -> Error {
    Error::new(Kind::ShuttingDown, "the fetch was stopped")
}

/// Long enough for a program to think between two reads, short enough for others to wait.
const IDLE: Duration = Duration::from_secs(5);

const RELEASE_BYTES: u64 = 1 << 20;
