//! Scripted trouble, and counts of what was asked.
//!
//! A test says which requests shall meet which trouble; everything else about them stays
//! real. Trouble strikes in one of two places:
//!
//! ```text
//!   request ──► signature ──► counted ──► HERE ──► permission, effect ──► HERE ──► answer
//!                                     reject, drop,                  lose, hold, replace,
//!                                     hold, delay                    cut the body
//! ```
//!
//! The first kind leaves the bucket as it was. The second kind has already changed it when
//! the answer goes missing, which is the case that clients get wrong.
//!
//! A rule strikes every request it matches, every n-th, or a share of them at random; the random
//! ones come from a seed, so that a run can be had again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::refusal::Refusal;

/// Which requests to trouble; the methods that name a trouble turn it into a [`Fault`].
#[derive(Debug, Clone)]
pub struct On {
    operation: Option<String>,
    bucket: Option<String>,
    key: Option<String>,
    spared: u64,
    pattern: Pattern,
    times: u64,
}

/// Which of the requests that match are struck.
#[derive(Debug, Clone)]
enum Pattern {
    /// The last of each so many.
    Every(u64),
    /// This share of them.
    AtRandom { share: f64, random: fastrand::Rng },
}

/// A rule: these requests meet this trouble.
#[derive(Debug, Clone)]
pub struct Fault {
    on: On,
    trouble: Trouble,
}

/// A rule at work; tells how often it struck.
#[derive(Debug, Clone)]
pub struct Injected {
    strikes: Arc<AtomicU64>,
}

/// A barrier that requests wait at until the test opens it. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    waiting: Arc<watch::Sender<usize>>,
}

/// The rules in force and the counts of requests.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    bytes: AtomicU64,
}

/// What a request is about, for matching.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The bucket, if the request names one.
    pub bucket: Option<String>,
    /// The object's key or, for `AssumeRole`, the role's ARN.
    pub key: Option<String>,
}

/// What is still to happen to the answer once the effect has taken place.
#[derive(Debug, Default)]
pub struct Aftermath {
    pub(super) hold: Vec<Gate>,
    pub(super) replace: Option<(u16, Bytes)>,
    pub(super) lose: bool,
    pub(super) cut: Option<u64>,
}

#[derive(Debug, Clone)]
enum Trouble {
    Reject(Refusal),
    Drop,
    Delay(Duration),
    HoldRequest(Gate),
    HoldAnswer(Gate),
    ReplaceAnswer(u16, Bytes),
    LoseAnswer,
    CutBody(u64),
}

#[derive(Debug)]
struct Rule {
    fault: Fault,
    /// How many requests matched.
    seen: u64,
    strikes: Arc<AtomicU64>,
}

/// How a request fares before its effect.
#[derive(Debug)]
pub(super) enum Fate {
    /// It takes place; this happens to the answer.
    Proceed(Aftermath),
    /// It is refused and changes nothing.
    Refused(Refusal),
    /// Its connection closes and it changes nothing.
    Dropped,
}

impl On {
    /// Matches one operation by its name, such as `PutObject` or `AssumeRole`, once.
    pub fn operation(name: impl Into<String>) -> Self {
        Self { operation: Some(name.into()), ..Self::anything() }
    }

    /// Matches every request, once.
    pub fn anything() -> Self {
        Self { operation: None, bucket: None, key: None, spared: 0, pattern: Pattern::Every(1), times: 1 }
    }

    /// Matches only in this bucket.
    pub fn bucket(mut self, bucket: impl Into<String>) -> Self {
        self.bucket = Some(bucket.into());
        self
    }

    /// Matches only this key, or this role ARN.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Spares the first `count` matching requests.
    pub fn after(mut self, count: u64) -> Self {
        self.spared = count;
        self
    }

    /// Strikes the last of each `count` matching requests: with 2 the second, the fourth and so on.
    ///
    /// # Panics
    ///
    /// If `count` is zero.
    pub fn every(mut self, count: u64) -> Self {
        assert!(count > 0, "no request is the last of none");
        self.pattern = Pattern::Every(count);
        self
    }

    /// Strikes matching requests at random: this share of them, and with one seed always the same.
    ///
    /// # Panics
    ///
    /// If the share is not between 0 and 1.
    pub fn at_random(mut self, share: f64, seed: u64) -> Self {
        assert!((0.0..=1.0).contains(&share), "a share lies between nothing and everything");
        self.pattern = Pattern::AtRandom { share, random: fastrand::Rng::with_seed(seed) };
        self
    }

    /// Strikes `count` times instead of once.
    pub fn times(mut self, count: u64) -> Self {
        self.times = count;
        self
    }

    /// Strikes every time, until the rules are cleared.
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// Answers with this status and code; nothing takes effect.
    pub fn reject(self, status: u16, code: impl Into<Cow<'static, str>>) -> Fault {
        self.meets(Trouble::Reject(Refusal::new(
            status,
            code,
            "The emulator was told to refuse this request.",
        )))
    }

    /// Answers 503 `SlowDown`, as S3 throttles.
    pub fn throttle(self) -> Fault {
        self.meets(Trouble::Reject(Refusal::new(503, "SlowDown", "Please reduce your request rate.")))
    }

    /// Closes the connection before anything takes effect.
    pub fn drop_request(self) -> Fault {
        self.meets(Trouble::Drop)
    }

    /// Waits this long before anything takes effect.
    pub fn delay(self, by: Duration) -> Fault {
        self.meets(Trouble::Delay(by))
    }

    /// Waits at the gate before anything takes effect.
    pub fn hold_request(self, gate: &Gate) -> Fault {
        self.meets(Trouble::HoldRequest(gate.clone()))
    }

    /// Takes effect, then waits at the gate before answering.
    pub fn hold_answer(self, gate: &Gate) -> Fault {
        self.meets(Trouble::HoldAnswer(gate.clone()))
    }

    /// Takes effect, then answers with this status and body in place of what it would have said.
    pub fn replace_answer(self, status: u16, body: impl Into<Bytes>) -> Fault {
        self.meets(Trouble::ReplaceAnswer(status, body.into()))
    }

    /// Takes effect, then closes the connection without an answer.
    pub fn lose_answer(self) -> Fault {
        self.meets(Trouble::LoseAnswer)
    }

    /// Sends the head and this many bytes of the body, then closes the connection.
    pub fn cut_body(self, after_bytes: u64) -> Fault {
        self.meets(Trouble::CutBody(after_bytes))
    }

    fn meets(self, trouble: Trouble) -> Fault {
        Fault { on: self, trouble }
    }

    fn matches(&self, operation: &str, place: &Place) -> bool {
        let fits = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        fits(&self.operation, Some(operation))
            && fits(&self.bucket, place.bucket.as_deref())
            && fits(&self.key, place.key.as_deref())
    }
}

impl Injected {
    /// Returns how often the trouble struck.
    pub fn strikes(&self) -> u64 {
        self.strikes.load(Ordering::Relaxed)
    }
}

impl Gate {
    /// Returns a gate that is closed.
    pub fn closed() -> Self {
        Self { open: Arc::new(watch::Sender::new(false)), waiting: Arc::new(watch::Sender::new(0)) }
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until `count` requests stand at the gate.
    pub async fn reached_by(&self, count: usize) {
        let mut waiting = self.waiting.subscribe();
        // An error would mean the sender is gone, and `self` holds it.
        let _reached = waiting.wait_for(|now| *now >= count).await.is_ok();
    }

    pub(super) async fn pass(&self) {
        /// Counts one request as waiting, also when its connection breaks meanwhile.
        struct Waiting<'a>(&'a watch::Sender<usize>);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.send_modify(|waiting| *waiting -= 1);
            }
        }
        self.waiting.send_modify(|waiting| *waiting += 1);
        let _waiting = Waiting(&self.waiting);
        let mut open = self.open.subscribe();
        let _opened = open.wait_for(|open| *open).await.is_ok();
    }
}

impl Faults {
    /// Puts a rule in force, behind those that are there.
    pub fn inject(&self, fault: Fault) -> Injected {
        let strikes = Arc::new(AtomicU64::new(0));
        self.rules.lock().push(Rule { fault, seen: 0, strikes: strikes.clone() });
        Injected { strikes }
    }

    /// Takes all rules out of force.
    pub fn clear(&self) {
        self.rules.lock().clear();
    }

    /// Returns how many requests of this operation have arrived, refused ones included.
    pub fn count(&self, operation: &str) -> u64 {
        self.counts.lock().get(operation).copied().unwrap_or_default()
    }

    /// Returns how many requests of each operation have arrived.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().clone()
    }

    /// Starts counting anew.
    pub fn reset_counts(&self) {
        self.counts.lock().clear();
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// Returns how many bytes the bodies of requests and answers had, by their own account of their length.
    pub fn bytes_moved(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts the bytes of a body.
    pub(super) fn moved(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a request and leads it through whatever is in store for it.
    pub(super) async fn meet(&self, operation: &'static str, place: &Place) -> Fate {
        *self.counts.lock().entry(operation).or_default() += 1;
        let mut aftermath = Aftermath::default();
        for trouble in self.strike(operation, place) {
            tracing::debug!(operation, ?trouble, "trouble strikes");
            match trouble {
                Trouble::Reject(refusal) => return Fate::Refused(refusal),
                Trouble::Drop => return Fate::Dropped,
                Trouble::Delay(by) => tokio::time::sleep(by).await,
                Trouble::HoldRequest(gate) => gate.pass().await,
                Trouble::HoldAnswer(gate) => aftermath.hold.push(gate),
                Trouble::ReplaceAnswer(status, body) => aftermath.replace = Some((status, body)),
                Trouble::LoseAnswer => aftermath.lose = true,
                Trouble::CutBody(after) => aftermath.cut = Some(after),
            }
        }
        Fate::Proceed(aftermath)
    }

    fn strike(&self, operation: &str, place: &Place) -> Vec<Trouble> {
        let mut rules = self.rules.lock();
        rules.iter_mut().filter_map(|rule| rule.strike(operation, place)).collect()
    }
}

impl Rule {
    fn strike(&mut self, operation: &str, place: &Place) -> Option<Trouble> {
        let on = &mut self.fault.on;
        if !on.matches(operation, place) {
            return None;
        }
        self.seen += 1;
        let nth = self.seen.checked_sub(on.spared).filter(|nth| *nth > 0)?;
        if !on.pattern.strikes(nth) || self.strikes.load(Ordering::Relaxed) >= on.times {
            return None;
        }
        self.strikes.fetch_add(1, Ordering::Relaxed);
        Some(self.fault.trouble.clone())
    }
}

impl Pattern {
    /// Whether the `nth` matching request, counted from one, is struck.
    fn strikes(&mut self, nth: u64) -> bool {
        match self {
            Self::Every(count) => nth.is_multiple_of(*count),
            Self::AtRandom { share, random } => random.f64() < *share,
        }
    }
}
