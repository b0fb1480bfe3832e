//! Descriptions that S3 has refused although whoever set them was told nothing.
//!
//! What waits is known to be allowed when it begins to wait, and may not be any more when S3 hears of it: a policy was
//! changed, a session narrowed. Nobody listens by then. So it is kept as a file is whose commit failed after its close:
//!
//! - it is shown no longer, because S3 has something else, and `status` names it with the reason;
//! - the next `open` of the file fails with the reason, once;
//! - it is tried again, later and later, at the end of the mount and by the next mount; a rename and a new version take it
//!   along; another change of the same file takes its place.
//!
//! What was said of a version that is gone is of no use to anybody, and is dropped.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Subject, Waiting};
use crate::clock;
use crate::error::{Error, Kind};
use crate::namespace::{Namespace, Place, Species};

/// That S3 has refused a description.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    error: Error,
    since: SystemTime,
    attempts: u32,
    /// Nobody who could do something about it has heard of it.
    is_news: bool,
}

/// A description that S3 has refused, as people hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedDescription {
    /// The bucket.
    pub bucket: String,
    /// The key; that of a directory ends in a slash.
    pub key: String,
    /// When S3 refused it first.
    pub since: SystemTime,
    /// Why.
    pub why: String,
}

impl Refusal {
    fn after(before: Option<&Self>, error: &Error) -> Self {
        Self {
            error: error.clone(),
            since: before.map_or_else(clock::now, |before| before.since),
            attempts: before.map_or(0, |before| before.attempts) + 1,
            is_news: before.is_none_or(|before| before.is_news),
        }
    }

    fn pause(&self) -> Duration {
        PAUSE_MIN.saturating_mul(1 << self.attempts.min(10)).min(PAUSE_MAX)
    }
}

/// Whether a description that came to this is worth another attempt, some day.
pub(super) fn is_worth_keeping(error: &Error) -> bool {
    !matches!(error.kind(), Kind::Changed | Kind::NotFound)
}

impl Namespace {
    /// Keeps a description that S3 has refused; it is at its place among those that wait.
    pub(super) fn keep_refused(self: &Arc<Self>, subject: &Subject, error: &Error) {
        let pause = {
            let mut state = self.descriptions.state.lock();
            let Some(waiting) = state.waiting.get_mut(subject) else { return };
            let refusal = Refusal::after(waiting.refusal.as_ref(), error);
            let pause = refusal.pause();
            waiting.refusal = Some(refusal);
            pause
        };
        self.bring_after(subject.clone(), pause);
    }

    /// A description that a writer of the file owed S3, which has refused it, is kept for later. Returns whether it is: of a
    /// version that is gone there is nothing to be said.
    pub fn keep_refused_description(
        self: &Arc<Self>,
        place: &Place,
        version: &crate::s3::ObjectMeta,
        new: &crate::s3::NewObject,
        error: &Error,
    ) -> bool {
        if !is_worth_keeping(error) {
            return false;
        }
        let subject = Subject { place: place.clone(), species: Species::File };
        let meta = super::described(version.etag.clone(), version.size, new);
        if let Err(error) =
            self.record(&subject, &meta).and_then(|record| self.descriptions.journal.put(&record))
        {
            tracing::warn!(%error, "a description that was refused is not kept beyond this mount");
        }
        self.wait_for_its_turn(&subject, meta, None);
        self.keep_refused(&subject, error);
        self.drop_answer(place);
        true
    }

    /// Why a description of this file was refused, once: for whoever opens it next.
    pub fn take_refusal(&self, place: &Place) -> Option<Error> {
        let mut state = self.descriptions.state.lock();
        if state.waiting.is_empty() {
            return None;
        }
        let subject = Subject { place: place.clone(), species: Species::File };
        let refusal = state.waiting.get_mut(&subject)?.refusal.as_mut()?;
        std::mem::take(&mut refusal.is_news).then(|| refusal.error.clone())
    }

    /// The descriptions that S3 has refused, the oldest first.
    pub fn refused_descriptions(&self) -> Vec<RefusedDescription> {
        let refused: Vec<(Subject, Refusal)> = {
            let state = self.descriptions.state.lock();
            let refused =
                |(subject, waiting): (&Subject, &Waiting)| Some((subject.clone(), waiting.refusal.clone()?));
            state.waiting.iter().filter_map(refused).collect()
        };
        let told = |(subject, refusal): (Subject, Refusal)| {
            let key = self.key_of(&subject).ok()?.to_string();
            let bucket = self.gateway(subject.place.folder.bucket).bucket().to_string();
            Some(RefusedDescription { bucket, key, since: refusal.since, why: refusal.error.to_string() })
        };
        let mut all: Vec<_> = refused.into_iter().filter_map(told).collect();
        all.sort_by_key(|one| one.since);
        all
    }
}

/// Whoever mends a policy should not wait long for that to be noticed.
const PAUSE_MIN: Duration = Duration::from_secs(15);

const PAUSE_MAX: Duration = Duration::from_secs(600);
