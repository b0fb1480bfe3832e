//! Streams over a scripted source: no S3, no network, no sleep.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ::bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::fetch::{Body, Source};
use super::stream::Stream;
use super::{Options, ReadBytes};
use crate::budget::Budget;
use crate::error::{Kind, Result};
use crate::s3::error::RequestName;
use crate::s3::{ByteRange, S3Error, S3ErrorKind};
use crate::task::Tasks;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// An object whose byte at `n` follows from `n`, and what becomes of requests for it.
#[derive(Debug, Default)]
struct Script {
    requests: Mutex<Vec<ByteRange>>,
    /// Bodies break off after so many bytes, so many times.
    breaks: AtomicU32,
    /// From this request on every one fails with this kind.
    fails: Mutex<Option<S3ErrorKind>>,
    /// Bodies under way that nobody has dropped.
    under_way: Arc<AtomicU64>,
    /// A body waits here before it begins.
    gate: Option<Arc<Semaphore>>,
}

struct ScriptedBody {
    range: ByteRange,
    breaks: bool,
    gate: Option<Arc<Semaphore>>,
    under_way: Arc<AtomicU64>,
}

impl Drop for ScriptedBody {
    fn drop(&mut self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

fn failure(kind: S3ErrorKind) -> S3Error {
    let request = RequestName { operation: "GetObject", bucket: "b".into(), key: Some("k".into()) };
    S3Error::local(kind, request, "as scripted")
}

impl Source for Arc<Script> {
    type Body = ScriptedBody;

    async fn open(&self, range: ByteRange) -> Result<ScriptedBody, S3Error> {
        self.requests.lock().push(range);
        if let Some(kind) = *self.fails.lock() {
            return Err(failure(kind));
        }
        let breaks =
            self.breaks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let under_way = Arc::clone(&self.under_way);
        Ok(ScriptedBody { range, breaks, gate: self.gate.clone(), under_way })
    }
}

impl Body for ScriptedBody {
    async fn next(&mut self) -> Option<Result<Bytes, S3Error>> {
        if let Some(gate) = self.gate.take() {
            gate.acquire_owned().await.unwrap().forget();
        }
        if self.range.is_empty() {
            return None;
        }
        let length = self.range.len().min(48 * KIB + 1);
        let chunk = expected(self.range.start, length);
        self.range.start += length;
        if std::mem::take(&mut self.breaks) {
            self.range.end = self.range.start;
            return Some(Ok(chunk.slice(..chunk.len() / 2)));
        }
        Some(Ok(chunk))
    }
}

fn expected(start: u64, length: u64) -> Bytes {
    (start..start + length).map(|at| (at % 251) as u8).collect::<Vec<u8>>().into()
}

fn stream(script: &Arc<Script>, size: u64, budget: u64) -> Arc<Stream<Arc<Script>>> {
    let tasks = Tasks::new(Handle::current());
    Arc::new(Stream::new(Arc::clone(script), size, Options::default(), Budget::new(budget), tasks))
}

fn at(start: u64, length: u64) -> ByteRange {
    ByteRange { start, end: start + length }
}

fn assert_reads(read: ReadBytes, range: ByteRange) {
    assert_eq!(read.into_bytes(), expected(range.start, range.len()), "{range}");
}

#[tokio::test]
async fn a_file_read_through_comes_whole_and_in_few_requests() {
    let (script, size) = (Arc::new(Script::default()), 40 * MIB + 123);
    let stream = stream(&script, size, 256 * MIB);
    for start in (0..size).step_by(128 << 10) {
        let range = at(start, (128 * KIB).min(size - start));
        assert_reads(stream.read(range).await.unwrap(), range);
    }
    let requests = script.requests.lock().clone();
    assert!(requests.len() <= 13, "{requests:?}");
    assert_eq!(requests.iter().map(ByteRange::len).sum::<u64>(), size, "each byte is fetched once");
}

#[tokio::test]
async fn a_small_file_is_one_request() {
    let (script, size) = (Arc::new(Script::default()), 3 * MIB);
    let stream = stream(&script, size, 64 * MIB);
    assert_reads(stream.read(at(0, 128 * KIB)).await.unwrap(), at(0, 128 * KIB));
    assert_reads(stream.read(at(2 * MIB, MIB)).await.unwrap(), at(2 * MIB, MIB));
    assert_eq!(*script.requests.lock(), [at(0, size)]);
}

#[tokio::test]
async fn reads_that_jump_fetch_what_they_ask_for() {
    let script = Arc::new(Script::default());
    let stream = stream(&script, 1 << 40, 64 * MIB);
    let mut asked = 0;
    for step in 1..50_u64 {
        let range = at(step * 7919 % 1000 * 100 * MIB + 64 * MIB, 4 * KIB);
        assert_reads(stream.read(range).await.unwrap(), range);
        asked += range.len();
    }
    assert_eq!(script.requests.lock().iter().map(ByteRange::len).sum::<u64>(), asked);
}

#[tokio::test]
async fn many_readers_of_one_file_at_random_places_get_what_is_there() {
    let (script, size) = (Arc::new(Script::default()), 64 * MIB);
    let stream = stream(&script, size, 16 * MIB);
    let mut readers = tokio::task::JoinSet::new();
    for seed in 0..16 {
        let stream = Arc::clone(&stream);
        readers.spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..60 {
                let start = random.u64(..size - 1);
                let range = at(start, random.u64(1..MIB).min(size - start));
                assert_reads(stream.read(range).await.unwrap(), range);
            }
        });
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_resumed_where_it_broke() {
    let script = Arc::new(Script { breaks: AtomicU32::new(3), ..Default::default() });
    let stream = stream(&script, MIB, 64 * MIB);
    assert_reads(stream.read(at(0, MIB)).await.unwrap(), at(0, MIB));
    assert_eq!(script.requests.lock().len(), 4);
}

#[tokio::test]
async fn a_version_that_is_gone_is_said_to_have_changed() {
    for kind in [S3ErrorKind::ConditionFailed, S3ErrorKind::Absent] {
        let script = Arc::new(Script { fails: Mutex::new(Some(kind)), ..Default::default() });
        let stream = stream(&script, MIB, 64 * MIB);
        assert_eq!(stream.read(at(0, KIB)).await.unwrap_err().kind(), Kind::Changed);
    }
}

#[tokio::test]
async fn a_failed_read_does_not_spoil_the_next() {
    let script = Arc::new(Script { fails: Mutex::new(Some(S3ErrorKind::Denied)), ..Default::default() });
    let stream = stream(&script, MIB, 64 * MIB);
    assert_eq!(stream.read(at(0, KIB)).await.unwrap_err().kind(), Kind::Denied);
    *script.fails.lock() = None;
    assert_reads(stream.read(at(0, KIB)).await.unwrap(), at(0, KIB));
}

#[tokio::test]
async fn an_exhausted_budget_slows_reading_down_and_does_not_stop_it() {
    let (script, size) = (Arc::new(Script::default()), 8 * MIB);
    let budget = Budget::new(2 * MIB);
    let tasks = Tasks::new(Handle::current());
    let stream = Stream::new(Arc::clone(&script), size, Options::default(), budget.clone(), tasks);
    let taken = budget.ask(MIB).unwrap();
    for start in (0..size).step_by(1 << 20) {
        assert_reads(stream.read(at(start, MIB)).await.unwrap(), at(start, MIB));
    }
    drop((taken, stream));
}

#[tokio::test]
async fn dropping_a_stream_ends_what_is_on_its_way() {
    let gate = Arc::new(Semaphore::new(0));
    let script = Arc::new(Script { gate: Some(Arc::clone(&gate)), ..Default::default() });
    let tasks = Tasks::new(Handle::current());
    let stream =
        Stream::new(Arc::clone(&script), 64 * MIB, Options::default(), Budget::new(256 * MIB), tasks.clone());
    let stream = Arc::new(stream);
    let reading = {
        let stream = Arc::clone(&stream);
        tasks.spawn("reading", async move { stream.read(at(0, KIB)).await.map(drop) })
    };
    while script.under_way.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    reading.abort();
    assert!(reading.await.unwrap_err().is_cancelled());
    drop(stream);
    assert_eq!(tasks.stop(std::time::Duration::from_secs(60)).await, 0);
    assert_eq!(script.under_way.load(Ordering::SeqCst), 0);
}
