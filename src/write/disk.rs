//! The disk that files are staged on, and when a writer waits for room there.
//!
//! Parts that are on their way take room until they have arrived, and give it back then
//! ([`releasing`](super::session)). So the disk is *short* some time before it is full: while anything is on its way,
//! writers wait then, and what they have in hand, and the records of what is released, still finds room.
//! Nobody waits for more than what was on its way when he began to. A disk that is full of other
//! things says so after that.
//!
//! Room comes also from files that nobody is writing to at the moment: *lenders* are the sessions that may have something
//! staged that S3 has.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::session::Session;
use crate::sys;

/// The disk below the staging directory, and how many parts of all files are on their way.
#[derive(Debug)]
pub(super) struct Disk {
    directory: Arc<Path>,
    left: AtomicU64,
    ended: AtomicU64,
    /// Rings when a part of any file has arrived, or failed to, and the room that it leaves is free.
    pub(super) progress: Notify,
    /// By their addresses. Taken alone.
    lenders: Mutex<HashMap<usize, Weak<Session>>>,
}

impl Disk {
    pub(super) fn below(directory: Arc<Path>) -> Self {
        let (left, ended, progress, lenders) = Default::default();
        Self { directory, left, ended, progress, lenders }
    }

    /// Takes note of a session that may have something staged that S3 has.
    pub(super) fn lends(&self, session: &Arc<Session>) {
        self.lenders.lock().insert(Arc::as_ptr(session).addr(), Arc::downgrade(session));
    }

    /// The session is over.
    pub(super) fn lends_no_more(&self, session: &Session) {
        self.lenders.lock().remove(&std::ptr::from_ref(session).addr());
    }

    /// Whether any session may have something staged that S3 has.
    pub(super) fn has_lenders(&self) -> bool {
        !self.lenders.lock().is_empty()
    }

    /// The sessions that may have something staged that S3 has, but for this one.
    pub(super) fn lenders_beside(&self, session: &Session) -> Vec<Arc<Session>> {
        let own = std::ptr::from_ref(session).addr();
        let lenders = self.lenders.lock();
        lenders.iter().filter(|(at, _)| **at != own).filter_map(|(_, lender)| lender.upgrade()).collect()
    }

    /// Takes note of a part that leaves.
    pub(super) fn part_leaves(&self) {
        self.left.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes note of a part that has arrived, or failed to.
    pub(super) fn part_ended(&self) {
        self.ended.fetch_add(1, Ordering::SeqCst);
        self.progress.notify_waiters();
    }

    /// How many parts have left until now.
    pub(super) fn left(&self) -> u64 {
        self.left.load(Ordering::SeqCst)
    }

    /// How many parts are no longer on their way.
    pub(super) fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// Whether there is little more room than for what writers have in hand.
    pub(super) fn is_short(&self) -> bool {
        // What cannot be told, or has no size, is not known to be short.
        sys::space(&self.directory)
            .is_ok_and(|space| space.free_bytes < (space.total_bytes / MARGIN_SHARE).min(MARGIN_BYTES_MAX))
    }
}

/// What stays free: an eighth of a small disk, and room for a request of the kernel of each of so many writers.
const MARGIN_SHARE: u64 = 8;
const MARGIN_BYTES_MAX: u64 = 16 << 20;
