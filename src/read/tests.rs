//! Whole streams on a source whose every body is scripted. Time is tokio's paused clock: it moves
//! only when nothing else can, so "after a while" means "when everything has come to rest".

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::fetch::{Body, Source};
use super::stream::Stream;
use super::{Options, ReadBytes};
use crate::budget::Budget;
use crate::error::{Error, Kind};
use crate::s3::error::RequestName;
use crate::s3::{ByteRange, S3Error, S3ErrorKind};
use crate::task::Tasks;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A file of which no two places look alike, and what its server does.
#[derive(Clone)]
struct Server(Arc<Inner>);

struct Inner {
    content: Bytes,
    asked: Mutex<Vec<ByteRange>>,
    bodies_open: Mutex<usize>,
    faults: Mutex<VecDeque<Fault>>,
    /// Bytes that do not flow for now.
    held_back: watch::Sender<Vec<ByteRange>>,
}

/// What happens to the next request.
enum Fault {
    Refuse(S3ErrorKind),
    /// An error after so many bytes.
    Break(u64),
    /// An end after so many bytes.
    Stop(u64),
    OtherVersion,
}

struct ScriptedBody {
    server: Server,
    rest: ByteRange,
    breaks_at: Option<(u64, bool)>,
    same_version: bool,
}

impl Server {
    fn new(size: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(size);
        let mut content = vec![0; usize::try_from(size).unwrap()];
        random.fill(&mut content);
        Self(Arc::new(Inner {
            content: content.into(),
            asked: Mutex::default(),
            bodies_open: Mutex::default(),
            faults: Mutex::default(),
            held_back: watch::Sender::new(Vec::new()),
        }))
    }

    fn stream(&self, budget: &Budget) -> Stream<Self> {
        self.stream_with(Options::default(), budget)
    }

    fn stream_with(&self, options: Options, budget: &Budget) -> Stream<Self> {
        let tasks = Tasks::new(Handle::current());
        Stream::new(self.clone(), self.0.content.len() as u64, options, budget.clone(), tasks)
    }

    fn fault(&self, fault: Fault) {
        self.0.faults.lock().push_back(fault);
    }

    fn hold_back(&self, ranges: &[ByteRange]) {
        self.0.held_back.send_replace(ranges.to_vec());
    }

    fn asked(&self) -> Vec<ByteRange> {
        self.0.asked.lock().clone()
    }

    fn asked_bytes(&self) -> u64 {
        self.asked().iter().map(ByteRange::len).sum()
    }

    fn bodies_open(&self) -> usize {
        *self.0.bodies_open.lock()
    }

    #[track_caller]
    fn check(&self, range: ByteRange, read: ReadBytes) {
        let expected = &self.0.content[range.start as usize..range.end as usize];
        assert!(read.into_bytes() == expected, "wrong bytes for {range}");
    }
}

impl Source for Server {
    type Body = ScriptedBody;

    async fn get(&self, range: ByteRange) -> Result<ScriptedBody, S3Error> {
        self.0.asked.lock().push(range);
        let (mut breaks_at, mut same_version) = (None, true);
        match self.0.faults.lock().pop_front() {
            Some(Fault::Refuse(kind)) => return Err(refusal(kind)),
            Some(Fault::Break(after)) => breaks_at = Some((range.start + after, true)),
            Some(Fault::Stop(after)) => breaks_at = Some((range.start + after, false)),
            Some(Fault::OtherVersion) => same_version = false,
            None => {}
        }
        *self.0.bodies_open.lock() += 1;
        Ok(ScriptedBody { server: self.clone(), rest: range, breaks_at, same_version })
    }

    fn latency(&self) -> Option<Duration> {
        None
    }

    fn is_same_version(&self, body: &ScriptedBody) -> bool {
        body.same_version
    }
}

impl Body for ScriptedBody {
    async fn next(&mut self) -> Option<Result<Bytes, S3Error>> {
        if let Some((_, with_error)) = self.breaks_at.filter(|(at, _)| *at <= self.rest.start) {
            return with_error.then(|| Err(refusal(S3ErrorKind::Unavailable)));
        }
        if self.rest.is_empty() {
            return None;
        }
        let at = self.rest.start;
        let mut held_back = self.server.0.held_back.subscribe();
        held_back.wait_for(|held| !held.iter().any(|held| held.start <= at && at < held.end)).await.unwrap();
        // Chunks of many odd sizes, so that reads and parts end within them.
        let length = 1_000 + at % 37_003;
        let end = (at + length).min(self.rest.end).min(self.breaks_at.map_or(u64::MAX, |(at, _)| at));
        self.rest.start = end;
        Some(Ok(self.server.0.content.slice(at as usize..end as usize)))
    }
}

impl Drop for ScriptedBody {
    fn drop(&mut self) {
        *self.server.0.bodies_open.lock() -= 1;
    }
}

fn refusal(kind: S3ErrorKind) -> S3Error {
    let request = RequestName { operation: "GetObject", bucket: "b".into(), key: Some("k".into()) };
    S3Error::local(kind, request, "scripted")
}

fn range(start: u64, length: u64) -> ByteRange {
    ByteRange { start, end: start + length }
}

/// Waits until nothing can move any more.
async fn rest() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn read_all(server: &Server, stream: &Stream<Server>, length: u64) {
    let size = server.0.content.len() as u64;
    for start in (0..size).step_by(length as usize) {
        let wanted = range(start, length.min(size - start));
        server.check(wanted, stream.read(wanted).await.unwrap());
    }
}

async fn kind_of_read(stream: &Stream<Server>, wanted: ByteRange) -> Kind {
    stream.read(wanted).await.as_ref().map_err(Error::kind).unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_sequential_read_fetches_each_byte_once_and_gives_all_memory_back() {
    let (server, budget) = (Server::new(40 * MIB + 12_345), Budget::new(256 * MIB));
    let stream = server.stream(&budget);
    read_all(&server, &stream, 128 * KIB).await;
    assert_eq!(server.asked_bytes(), server.0.content.len() as u64);
    drop(stream);
    assert_eq!(budget.free_bytes(), budget.total_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_small_file_is_one_request() {
    let (server, budget) = (Server::new(3 * MIB + 1), Budget::new(256 * MIB));
    read_all(&server, &server.stream(&budget), 100 * KIB).await;
    assert_eq!(server.asked(), [range(0, 3 * MIB + 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_read_is_answered_when_its_bytes_are_there_and_not_the_part() {
    let (server, budget) = (Server::new(16 * MIB), Budget::new(256 * MIB));
    let stream = server.stream(&budget);
    server.hold_back(&[range(300 * KIB, 16 * MIB)]);
    let wanted = range(0, 128 * KIB);
    server.check(wanted, stream.read(wanted).await.unwrap());
    rest().await;
    server.check(range(KIB, 200 * KIB), stream.try_read(range(KIB, 200 * KIB)).unwrap().unwrap());
    assert!(stream.try_read(range(200 * KIB, 200 * KIB)).is_none());
}

#[tokio::test(start_paused = true)]
async fn parts_that_arrive_out_of_order_serve_whoever_needs_them_first() {
    let (server, budget) = (Server::new(32 * MIB), Budget::new(256 * MIB));
    let stream = server.stream(&budget);
    read_all_until(&server, &stream, MIB).await;
    rest().await;
    // The second MiB hangs; the third is there, and can be read meanwhile.
    let hanging = range(9 * MIB, MIB);
    server.hold_back(&[hanging]);
    let first = stream.read(range(9 * MIB, 128 * KIB));
    let second = stream.read(range(10 * MIB, 128 * KIB));
    tokio::pin!(first);
    tokio::select! {
        biased;
        _ = &mut first => panic!("its bytes are held back"),
        read = second => server.check(range(10 * MIB, 128 * KIB), read.unwrap()),
    }
    server.hold_back(&[]);
    server.check(range(9 * MIB, 128 * KIB), first.await.unwrap());
}

async fn read_all_until(server: &Server, stream: &Stream<Server>, end: u64) {
    for start in (0..end).step_by(128 << 10) {
        let wanted = range(start, 128 * KIB);
        server.check(wanted, stream.read(wanted).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_is_resumed_where_it_broke() {
    for fault in [Fault::Break, Fault::Stop] {
        let (server, budget) = (Server::new(MIB), Budget::new(64 * MIB));
        server.fault(fault(100_000));
        server.fault(fault(0));
        read_all(&server, &server.stream(&budget), 64 * KIB).await;
        let rest = ByteRange { start: 100_000, end: MIB };
        assert_eq!(server.asked(), [range(0, MIB), rest, rest]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_holds_fails_the_read_and_the_next_one_tries_again() {
    let (server, budget) = (Server::new(MIB), Budget::new(64 * MIB));
    let stream = server.stream(&budget);
    (0..7).for_each(|_| server.fault(Fault::Break(0)));
    assert_eq!(kind_of_read(&stream, range(0, KIB)).await, Kind::Io);
    read_all(&server, &stream, 64 * KIB).await;
    assert_eq!(server.asked().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_changed_object_is_never_mixed_and_stays_changed() {
    let gone = [
        Fault::Refuse(S3ErrorKind::ConditionFailed),
        Fault::Refuse(S3ErrorKind::Absent),
        Fault::Refuse(S3ErrorKind::InvalidRange),
        Fault::OtherVersion,
    ];
    for fault in gone {
        let (server, budget) = (Server::new(32 * MIB), Budget::new(64 * MIB));
        let stream = server.stream(&budget);
        server.check(range(0, KIB), stream.read(range(0, KIB)).await.unwrap());
        server.fault(fault);
        assert_eq!(kind_of_read(&stream, range(20 * MIB, KIB)).await, Kind::Changed);
        // Even what is still in memory: this handle is stale.
        assert_eq!(kind_of_read(&stream, range(0, KIB)).await, Kind::Changed);
        assert_eq!(stream.try_read(range(0, KIB)).unwrap().unwrap_err().kind(), Kind::Changed);
        assert_eq!(server.asked().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_reaches_the_read_and_only_that() {
    let (server, budget) = (Server::new(32 * MIB), Budget::new(64 * MIB));
    let stream = server.stream(&budget);
    server.fault(Fault::Refuse(S3ErrorKind::Denied));
    assert_eq!(kind_of_read(&stream, range(0, KIB)).await, Kind::Denied);
    server.check(range(0, KIB), stream.read(range(0, KIB)).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn failed_read_ahead_hurts_nobody() {
    let (server, budget) = (Server::new(24 * MIB), Budget::new(256 * MIB));
    let stream = server.stream(&budget);
    read_all_until(&server, &stream, 128 * KIB).await;
    (0..3).for_each(|_| server.fault(Fault::Refuse(S3ErrorKind::Unavailable)));
    server.check(range(128 * KIB, KIB), stream.read(range(128 * KIB, KIB)).await.unwrap());
    rest().await;
    read_all(&server, &stream, 128 * KIB).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_the_stream_ends_its_requests() {
    let (server, budget) = (Server::new(64 * MIB), Budget::new(256 * MIB));
    let stream = server.stream(&budget);
    read_all_until(&server, &stream, MIB).await;
    rest().await;
    server.hold_back(&[range(0, 64 * MIB)]);
    let waiting = stream.read(range(40 * MIB, KIB));
    assert!(tokio::time::timeout(Duration::from_millis(1), waiting).await.is_err());
    assert!(server.bodies_open() > 0);
    drop(stream);
    rest().await;
    assert_eq!(server.bodies_open(), 0);
    assert_eq!(budget.free_bytes(), budget.total_bytes());
}

#[tokio::test(start_paused = true)]
async fn an_idle_file_gives_its_memory_back_and_reads_on_afterwards() {
    let (server, budget) = (Server::new(64 * MIB), Budget::new(256 * MIB));
    let stream = server.stream(&budget);
    read_all_until(&server, &stream, 2 * MIB).await;
    rest().await;
    assert!(budget.free_bytes() < budget.total_bytes());
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(budget.free_bytes(), budget.total_bytes());
    server.check(range(2 * MIB, KIB), stream.read(range(2 * MIB, KIB)).await.unwrap());
    rest().await;
    assert!(budget.free_bytes() < budget.total_bytes());
}

#[tokio::test(start_paused = true)]
async fn with_nothing_left_to_ask_for_all_readers_make_progress() {
    let (server, budget) = (Server::new(6 * MIB), Budget::new(MIB));
    let hoard = budget.demand(MIB - 512 * KIB).await;
    let tasks = Tasks::new(Handle::current());
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (server, stream) = (server.clone(), server.stream(&budget));
            tasks.spawn("reader", async move { read_all(&server, &stream, 100 * KIB).await })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    drop(hoard);
    rest().await;
    assert_eq!(budget.free_bytes(), budget.total_bytes());
}

#[tokio::test(start_paused = true)]
async fn idle_hoarders_do_not_stop_a_reader() {
    let (server, budget) = (Server::new(32 * MIB), Budget::new(8 * MIB));
    let hoarders: Vec<_> = (0..16).map(|_| server.stream(&budget)).collect();
    for hoarder in &hoarders {
        read_all_until(&server, hoarder, MIB).await;
    }
    rest().await;
    read_all_until(&server, &server.stream(&budget), 16 * MIB).await;
}

#[tokio::test(start_paused = true)]
async fn a_lone_reader_leaves_a_quarter_of_what_may_be_read_ahead() {
    let (server, budget) = (Server::new(96 * MIB), Budget::new(64 * MIB));
    let stream = server.stream(&budget);
    for start in (0..64 * MIB).step_by(128 << 10) {
        server.check(range(start, 128 * KIB), stream.read(range(start, 128 * KIB)).await.unwrap());
        assert!(budget.free_bytes() >= 15 * MIB, "{} free at {start}", budget.free_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn many_readers_share_what_may_be_read_ahead_and_none_is_left_out() {
    let (server, budget) = (Server::new(32 * MIB), Budget::new(192 * MIB));
    let streams: Vec<_> = (0..16).map(|_| server.stream(&budget)).collect();
    for end in (1..16).map(|at| at * MIB) {
        for stream in &streams {
            let wanted = range(end, 128 * KIB);
            server.check(wanted, stream.read(wanted).await.unwrap());
            let next = range(end + 128 * KIB, 128 * KIB);
            server.check(next, stream.read(next).await.unwrap());
        }
        assert!(budget.free_bytes() > 0, "nothing is left for those who come later, at {end}");
    }
    for stream in &streams {
        rest().await;
        assert!(stream.try_read(range(15 * MIB + 256 * KIB, MIB)).is_some(), "it has read ahead");
    }
}

#[tokio::test(start_paused = true)]
async fn random_reads_fetch_little_more_than_they_need() {
    let (server, budget) = (Server::new(64 * MIB), Budget::new(256 * MIB));
    let stream = server.stream(&budget);
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..200 {
        let wanted = range(random.u64(..16_000) * 4 * KIB, 4 * KIB);
        server.check(wanted, stream.read(wanted).await.unwrap());
    }
    rest().await;
    assert!(server.asked_bytes() / 200 <= 128 * KIB, "{} per read", server.asked_bytes() / 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_readers_of_one_descriptor_get_what_the_file_has() {
    let (server, budget) = (Server::new(48 * MIB), Budget::new(24 * MIB));
    let stream = Arc::new(server.stream(&budget));
    let tasks = Tasks::new(Handle::current());
    let readers: Vec<_> = (0..16)
        .map(|seed| {
            let (server, stream) = (server.clone(), Arc::clone(&stream));
            tasks.spawn("reader", async move { wander(seed, &server, &stream).await })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
}

/// Reads in order for a while, then somewhere else, forward, backward and in jumps.
async fn wander(seed: u64, server: &Server, stream: &Stream<Server>) {
    let size = server.0.content.len() as u64;
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..12 {
        let mut at = random.u64(..size);
        let step = random.i64(-3..4) * 100_000;
        for _ in 0..random.u32(1..20) {
            let wanted = range(at, random.u64(1..300_000).min(size - at));
            server.check(wanted, stream.read(wanted).await.unwrap());
            at = at.saturating_add_signed(if step == 0 { wanted.len() as i64 } else { step }) % size;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_kernels_own_read_ahead_in_any_order_is_one_pass() {
    let (server, budget) = (Server::new(64 * MIB), Budget::new(256 * MIB));
    let stream = server.stream(&budget);
    let mut random = fastrand::Rng::with_seed(3);
    for window in (0..64 * MIB).step_by(2 << 20) {
        let mut requests: Vec<_> = (0..16).map(|at| range(window + at * 128 * KIB, 128 * KIB)).collect();
        random.shuffle(&mut requests);
        for wanted in requests {
            server.check(wanted, stream.read(wanted).await.unwrap());
        }
    }
    assert_eq!(server.asked_bytes(), 64 * MIB);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_mount_leaves_nobody_waiting() {
    let (server, budget) = (Server::new(8 * MIB), Budget::new(64 * MIB));
    let tasks = Tasks::new(Handle::current());
    let stream = Stream::new(server.clone(), 8 * MIB, Options::default(), budget, tasks.clone());
    server.hold_back(&[range(0, 8 * MIB)]);
    let (outcome, still_running) =
        tokio::join!(stream.read(range(0, KIB)), tasks.stop(Duration::from_secs(60)));
    assert_eq!(outcome.unwrap_err().kind(), Kind::ShuttingDown);
    assert_eq!(still_running, 0);
}
