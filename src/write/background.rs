//! Commits that close(2) does not wait for.
//!
//! With [`CommitMode::Background`](super::CommitMode) a close returns when the staging directory has the file for
//! good, and the upload follows:
//!
//! ```text
//!   close ── frozen ── bytes and a record on the disk ── the record counts ── names on the disk ── returns
//!                                                                             │
//!                       a lane is free ── commit ── S3 has it  ◄──────────────┘
//!                                           │ fails for now: again, later and later
//!                                           │ fails for good: set aside; the next open of the name hears of it
//! ```
//!
//! - **What a record vouches for is whole** after the death of the process and of the machine, because it
//!   takes the place of the one before only when the bytes are there. [`recovery`](super::recovery) finishes it. What is
//!   said of a file while it waits is vouched for as well.
//! - **What waits is bounded**: a place for each file and for each MiB of it, and who closes one more waits. A file
//!   that waits costs its session, about a kilobyte, and no descriptor.
//! - **The file stays itself**: its session goes on and serves whoever opens it. A second close of a file that was
//!   written to meanwhile brings the first to S3 before it returns, because the disk can vouch for one state of it.
//! - **fsync(2), rename and unlink** wait for a commit that is running, and do themselves what is not.
//!
//! Many closes at the same time share what is dearest: the synchronisation of the directory.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch};

use super::commit::CommitReceipt;
use super::session::Session;
use super::{KeptBoth, Sessions, conflict};
use crate::error::{Error, Kind, Result};

/// A file whose commit waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The bucket that it goes to.
    pub bucket: String,
    /// The key that it goes to.
    pub key: String,
    /// Its length.
    pub bytes: u64,
    /// When it was closed.
    pub since: SystemTime,
    /// Why S3 does not have it yet, if it was tried.
    pub trouble: Option<String>,
}

/// What waits, all in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackgroundReport {
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// When the first of them was closed.
    pub oldest: Option<SystemTime>,
    /// Those that were tried in vain, the oldest first; some of them.
    pub troubled: Vec<Waiting>,
}

/// The commits that wait, and what they share.
#[derive(Debug)]
pub(super) struct Background {
    /// Those that may run at a time.
    lanes: Semaphore,
    /// Those that may wait: one for each file and each MiB.
    places: Arc<Semaphore>,
    sessions: Mutex<HashMap<usize, Weak<Session>>>,
    /// Failed for good, and nobody has heard of it: by bucket and key.
    failures: Mutex<HashMap<(String, String), Error>>,
    /// Rings whenever one is over.
    over: Notify,
    is_leaving: watch::Sender<bool>,
    names: Names,
}

/// A place among those that wait; dropping it makes room for others.
pub(super) type Place = OwnedSemaphorePermit;

impl Background {
    pub(super) fn new(directory: Arc<Path>) -> Self {
        Self {
            lanes: Semaphore::new(LANES),
            places: Arc::new(Semaphore::new(PLACES as usize)),
            sessions: Mutex::default(),
            failures: Mutex::default(),
            over: Notify::new(),
            is_leaving: watch::Sender::new(false),
            names: Names { directory, asked: AtomicU64::new(0), done: tokio::sync::Mutex::new(0) },
        }
    }

    /// Waits for a place for a file of so many bytes.
    pub(super) async fn place(&self, bytes: u64) -> Place {
        let places = u32::try_from(1 + (bytes >> 20)).unwrap_or(u32::MAX).min(PLACES);
        let place = Arc::clone(&self.places).acquire_many_owned(places).await;
        place.expect("the semaphore is never closed")
    }

    /// Waits until the disk has all names of the staging directory as they are now.
    pub(super) async fn sync_names(&self) -> Result<()> {
        self.names.sync().await
    }

    /// Counts a session among those that wait.
    pub(super) fn add(&self, session: &Arc<Session>) {
        self.sessions.lock().insert(Arc::as_ptr(session).addr(), Arc::downgrade(session));
    }

    fn remove(&self, session: &Arc<Session>) {
        self.sessions.lock().remove(&Arc::as_ptr(session).addr());
        self.over.notify_waiters();
    }

    fn waiting(&self) -> Vec<Waiting> {
        let sessions: Vec<_> = self.sessions.lock().values().filter_map(Weak::upgrade).collect();
        sessions.iter().filter_map(|session| session.waiting()).collect()
    }

    fn is_leaving(&self) -> bool {
        *self.is_leaving.borrow()
    }

    async fn lane(&self) -> SemaphorePermit<'_> {
        self.lanes.acquire().await.expect("the semaphore is never closed")
    }

    /// Waits before the next attempt; `false` when there will be none.
    async fn pause(&self, attempt: u32) -> bool {
        let ceiling = PAUSE_MIN.saturating_mul(1 << attempt.min(10)).min(PAUSE_MAX);
        let pause = ceiling.mul_f64(0.5 + fastrand::f64() / 2.0);
        let mut leaving = self.is_leaving.subscribe();
        let told = tokio::time::timeout(pause, leaving.wait_for(|is_leaving| *is_leaving)).await;
        told.is_err()
    }
}

impl Session {
    /// Brings to S3 what waits of this file, however often that takes; `None` if somebody else has done it.
    ///
    /// # Errors
    /// What it came to in the end. Where it goes on [waiting](Self::is_entrusted) the mount ends, and the next one
    /// brings it to S3.
    pub async fn deliver(self: &Arc<Self>) -> Result<Option<CommitReceipt>> {
        let background = &self.sessions().background;
        let mut attempt = 0;
        let outcome = loop {
            let lane = background.lane().await;
            if background.is_leaving() && self.is_entrusted() {
                break Err(Error::new(Kind::ShuttingDown, "the mount ends before its turn came"));
            }
            let outcome = self.deliver_once().await;
            drop(lane);
            match &outcome {
                Err(error) if self.is_entrusted() => {
                    if attempt == 0 {
                        tracing::warn!(%error, "a closed file cannot be brought to S3 for now; it is tried again");
                    }
                    if !background.pause(attempt).await {
                        break outcome;
                    }
                    attempt += 1;
                }
                _ => break outcome,
            }
        };
        background.remove(self);
        outcome
    }
}

impl Sessions {
    /// What waits for its upload.
    pub fn background(&self) -> BackgroundReport {
        let mut waiting = self.background.waiting();
        waiting.sort_by_key(|one| one.since);
        BackgroundReport {
            files: waiting.len(),
            bytes: waiting.iter().map(|one| one.bytes).sum(),
            oldest: waiting.first().map(|one| one.since),
            troubled: waiting.into_iter().filter(|one| one.trouble.is_some()).take(TOLD_MAX).collect(),
        }
    }

    /// Waits until nothing waits any more, and says now and then how far it is; or until for a long time nothing has
    /// come to its end. Returns how many files are left to the next mount.
    pub async fn finish_background(&self) -> usize {
        let BackgroundReport { files, bytes, .. } = self.background();
        if files > 0 {
            tracing::info!(files, bytes, "closed files are brought to S3 before the end");
        }
        let (mut least, mut progress) = (files, Instant::now());
        loop {
            let over = self.background.over.notified();
            tokio::pin!(over);
            over.as_mut().enable();
            let BackgroundReport { files, bytes, .. } = self.background();
            if files < least {
                (least, progress) = (files, Instant::now());
            }
            if files == 0 || self.background.is_leaving() || progress.elapsed() > QUIET_MAX {
                break;
            }
            if tokio::time::timeout(PROGRESS_INTERVAL, over).await.is_err() {
                tracing::info!(files, bytes, "closed files are on their way to S3");
            }
        }
        self.leave_background();
        self.background().files
    }

    /// Leaves what waits to the next mount.
    pub fn leave_background(&self) {
        self.background.is_leaving.send_replace(true);
    }

    /// Remembers that a file could not be brought to S3 although it was closed without an error.
    pub fn failed_later(&self, bucket: &str, key: &str, error: Error) {
        let mut failures = self.background.failures.lock();
        if failures.len() < FAILURES_MAX {
            failures.insert((bucket.to_owned(), key.to_owned()), error);
        }
    }

    /// Why a file could not be brought to S3 although it was closed without an error, once: for whoever opens it next.
    pub fn take_late_failure(&self, bucket: &str, key: &str) -> Option<Error> {
        let mut failures = self.background.failures.lock();
        if failures.is_empty() {
            return None;
        }
        let error = failures.remove(&(bucket.to_owned(), key.to_owned()))?;
        Some(error.context(format!("{key} was closed some time ago, and could not be brought to S3")))
    }

    /// Takes note of a file that has a second name.
    pub(super) fn remember(&self, kept: KeptBoth) {
        let mut all = self.kept_both.lock();
        if all.len() == conflict::REMEMBERED_MAX {
            all.remove(0);
        }
        all.push(kept);
    }
}

/// The names in the staging directory, synchronised for all who ask at the same time.
#[derive(Debug)]
struct Names {
    directory: Arc<Path>,
    asked: AtomicU64,
    /// Up to which question the disk has everything.
    done: tokio::sync::Mutex<u64>,
}

impl Names {
    async fn sync(&self) -> Result<()> {
        let question = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut done = self.done.lock().await;
        if *done >= question {
            return Ok(());
        }
        // Whoever asked by now has changed its names by now.
        let answers = self.asked.load(Ordering::SeqCst);
        let directory = Arc::clone(&self.directory);
        let synced = tokio::task::spawn_blocking(move || File::open(&directory)?.sync_all()).await;
        let synced = synced.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        synced.map_err(|error| {
            Error::caused(Kind::Io, "the staging directory could not be synchronised", error)
        })?;
        *done = answers;
        Ok(())
    }
}

/// A request takes 20 ms or more and a lane carries one small file at a time: a thousand files a second, and more than
/// one is told by S3 to slow down for.
const LANES: usize = 32;

/// Four thousand small files, or 4 GiB of large ones. At the rate above that is some seconds of work.
const PLACES: u32 = 4096;

const PAUSE_MIN: Duration = Duration::from_millis(500);

/// Whoever mends what was wrong should not wait long for it to be noticed.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often somebody who waits for the end is told how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// How long nothing comes to its end before the rest is left to the next mount.
const QUIET_MAX: Duration = Duration::from_secs(300);

/// Failures that are kept until somebody opens the file. `status` and the log have all of them.
const FAILURES_MAX: usize = 10_000;

/// Files in trouble that a report names.
const TOLD_MAX: usize = 20;
