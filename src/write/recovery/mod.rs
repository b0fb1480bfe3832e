//! What an earlier process left, and what becomes of it.
//!
//! At mount, each journal record, its staging file and the object in S3 are reduced to three
//! facts: (in `table`) what the record tells (`Story`), what the staged bytes are worth (`Worth`), and
//! what S3 has under the key (`Object`). Each combination has exactly one row of a table.
//! The reasons, row by row:
//!
//! **Bytes without a record** are of no use to anybody: a record exists from before the first
//! byte until S3 has all of them. Discard.
//!
//! **A record that cannot be read** is torn, as the death of the machine may leave it. Its bytes are
//! somebody's and nobody knows whose: set aside. Without bytes there is nothing: discard.
//!
//! **Open**: somebody was writing and had not closed. A file nobody closed is never committed
//! for them, as half of it may be missing: set aside. Without bytes: discard.
//!
//! **Sealed, and the object carries our commit id**: the process died between the effect and
//! its answer. Already done.
//!
//! **Sealed, the bytes are whole, and S3 has what the commit requires**: `close` was waiting,
//! and nobody has touched the name since. Finish; the condition guards it once more.
//!
//! **Sealed, and S3 has something else**: another writer came between, or the commit was to replace
//! whatever is there, which was meant of the moment of `close` and not of a mount days later.
//! Set aside; or kept beside it, where that was [chosen](super::OnConflict) when the file was closed.
//!
//! **Sealed, but written under another boot**: the machine died, and what the disk has of the
//! bytes may be anything. A person may judge them: set aside. If the disk has none: discard.
//!
//! **Entrusted**: `close` had returned, and so the disk has the bytes and the names, whatever died since. (Or it was
//! about to, and the bytes of a small file may not be what the record says that they add up to: a person may judge them.) All
//! is as for *sealed*, but for two things: the bytes are whole also under another boot; and a file that was to replace
//! whatever was there is finished where what is there now was there before it was closed: the last writer wins, and that
//! was this one. (It is so with the version that was seen as the file was opened or took its name, and otherwise by S3's
//! clock and ours; of two writers within the same moment either may be the last.) For the same
//! reason, and where it was chosen so, what was there by then is overwritten although the file builds on another version.
//!
//! **Sealed or entrusted, and S3 cannot be asked**: the bucket is not configured any more, or denies it.
//! Later: everything stays where it is, for the next mount.
//!
//! **Several of one key** that were closed, one after the other: the latest comes first. If S3 has that, nothing
//! that was closed before it may take its place: set aside. If that has to wait, they wait, too.
//!
//! Whatever the row, unless it is *later*, the multipart upload that the record names is
//! aborted. Those of others are never touched.

mod asking;
mod finishing;
mod leftover;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinSet;

use self::asking::{Answer, ask, story_of, target_of};
use self::finishing::Unfinished;
pub(super) use self::finishing::version;
pub(super) use self::leftover::{Leftover, leftovers};
use self::table::Object;
pub use self::table::Outcome;
use super::journal::{self, Journal, Phase, Record};
use super::staging::{OVERLAY, RECORD};
use super::{Sessions, Target, commit};
use crate::error::{Error, Kind, Result};
use crate::s3::Gateway;
use crate::s3::object::Precondition;

/// What has become of the leftovers of the same key that were closed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// There is none, or none that S3 will have under that key.
    Nothing,
    /// One waits.
    Waiting,
    /// S3 has one.
    Committed,
}

impl After {
    fn and(self, outcome: Outcome) -> Self {
        match outcome {
            Outcome::Finish | Outcome::Overwrite | Outcome::AlreadyDone => Self::Committed,
            Outcome::Later => Self::Waiting,
            Outcome::KeepBoth | Outcome::SetAside | Outcome::Discard => self,
        }
    }
}

/// What became of a leftover.
#[derive(Debug)]
pub struct Recovered {
    /// The object it was to become, as a person would write it; unknown for a record that is torn.
    pub object: Option<String>,
    /// What was done.
    pub outcome: Outcome,
    /// Where the bytes are now, if they were set aside.
    pub path: Option<PathBuf>,
    /// Why it could not be finished, or what went wrong beside.
    pub error: Option<Error>,
}

impl Sessions {
    /// Deals with what an earlier process left in the staging directory.
    ///
    /// `gateway` knows the way to the buckets that are configured. Returns what became of each
    /// leftover; nothing is logged here. What is dealt with once is not met again;
    /// what has to wait is, by another call.
    pub async fn recover(
        self: &Arc<Self>,
        gateway: impl Fn(&str) -> Option<Arc<Gateway>> + Send + Sync + 'static,
    ) -> Vec<Recovered> {
        let mut groups = leftover::by_key(std::mem::take(&mut *self.leftovers.lock())).into_iter();
        let gateway = Arc::new(gateway);
        let (mut under_way, mut recovered) = (JoinSet::new(), Vec::new());
        loop {
            for group in groups.by_ref().take(AT_ONCE - under_way.len()) {
                let (sessions, gateway) = (Arc::clone(self), Arc::clone(&gateway));
                under_way.spawn(async move { sessions.recover_group(group, &*gateway).await });
            }
            match under_way.join_next().await {
                Some(Ok(some)) => recovered.extend(some),
                Some(Err(error)) => tracing::error!(%error, "a leftover could not be dealt with"),
                None => return recovered,
            }
        }
    }

    /// Deals with those of one key, the latest first.
    async fn recover_group(
        self: &Arc<Self>,
        group: Vec<Leftover>,
        gateway: &impl Fn(&str) -> Option<Arc<Gateway>>,
    ) -> Vec<Recovered> {
        let (mut all, mut after) = (Vec::new(), After::Nothing);
        for leftover in group {
            let recovered = self.recover_one(&leftover, after, gateway).await;
            after = after.and(recovered.outcome);
            if recovered.outcome == Outcome::Later {
                self.leftovers.lock().push(leftover);
            }
            all.push(recovered);
        }
        all
    }

    async fn recover_one(
        self: &Arc<Self>,
        leftover: &Leftover,
        after: After,
        gateway: &impl Fn(&str) -> Option<Arc<Gateway>>,
    ) -> Recovered {
        let record = leftover.has_record.then(|| journal::read(&leftover.place.record()));
        let target = match &record {
            Some(Ok(record)) => target_of(record, gateway),
            _ => None,
        };
        let story = story_of(record.as_ref());
        let record = record.and_then(Result::ok);
        let worth = leftover.worth(record.as_ref(), &self.boot);
        let Answer { object, condition, silence } = match (&record, &target) {
            _ if after == After::Waiting => Answer::to_nothing(),
            _ if after == After::Committed => Answer { object: Object::Otherwise, ..Answer::to_nothing() },
            (Some(Record { phase: Phase::Sealed(seal), entrusted, .. }), Some(target)) => {
                ask(seal, entrusted.as_ref(), target).await
            }
            _ => Answer::to_nothing(),
        };
        let name = record.as_ref().map(|record| format!("s3://{}/{}", record.bucket, record.key));
        let outcome = table::outcome(story, worth, object);
        if outcome == Outcome::Later {
            return Recovered { object: name, outcome, path: None, error: silence };
        }
        let why = match after {
            After::Committed => "S3 has a file of that name that was closed after this one",
            _ => "found at mount: the file was never closed, or its name has changed",
        };
        let done = self.carry_out((outcome, why), leftover, record, target, condition).await;
        match done {
            Ok((outcome, path, error)) => Recovered { object: name, outcome, path, error },
            Err(error) => Recovered { object: name, outcome: Outcome::Later, path: None, error: Some(error) },
        }
    }

    async fn carry_out(
        self: &Arc<Self>,
        (outcome, why): (Outcome, &str),
        leftover: &Leftover,
        record: Option<Record>,
        target: Option<Target>,
        condition: Precondition,
    ) -> Result<(Outcome, Option<PathBuf>, Option<Error>)> {
        // What was released is nowhere else than in the upload, which then stays until somebody has decided.
        if let (Some(Record { upload: Some(id), released: None, .. }), Some(target)) = (&record, &target) {
            commit::give_up(target.gateway.resume_upload(&target.key, id.clone())).await;
        }
        match outcome {
            Outcome::Finish | Outcome::Overwrite | Outcome::KeepBoth => {
                match self.bring(outcome, leftover, record.as_ref(), target, condition).await {
                    Ok(()) => {
                        self.keep_overlay(leftover, record.as_ref())?;
                        leftover.remove()?;
                        Ok((outcome, None, None))
                    }
                    // The record is as it was, and so are the bytes.
                    Err(error) if error.is_passing() => Ok((Outcome::Later, None, Some(error))),
                    Err(error) => {
                        let path = self.keep_leftover(leftover, record, &error)?;
                        Ok((Outcome::SetAside, path, Some(error)))
                    }
                }
            }
            Outcome::SetAside => {
                let mut why = Error::new(Kind::Io, why);
                if let Some(Record { upload: Some(id), released: Some(released), .. }) = &record {
                    let bytes: u64 = released.ranges.iter().map(|range| range.len()).sum();
                    why =
                        why.context(format!("{bytes} bytes are only in parts of the unfinished upload {id}"));
                }
                Ok((outcome, self.keep_leftover(leftover, record, &why)?, None))
            }
            Outcome::AlreadyDone | Outcome::Discard | Outcome::Later => {
                let path = self.keep_overlay(leftover, record.as_ref())?;
                leftover.remove()?;
                Ok((outcome, path, None))
            }
        }
    }

    async fn bring(
        self: &Arc<Self>,
        outcome: Outcome,
        leftover: &Leftover,
        record: Option<&Record>,
        target: Option<Target>,
        condition: Precondition,
    ) -> Result<()> {
        Unfinished::new(self, leftover, record, target)?.bring(outcome, condition).await
    }

    fn keep_leftover(
        &self,
        leftover: &Leftover,
        record: Option<Record>,
        why: &Error,
    ) -> Result<Option<PathBuf>> {
        self.keep_overlay(leftover, record.as_ref())?;
        if !leftover.has_bytes {
            leftover.remove()?;
            return Ok(None);
        }
        let path = self.aside_of(leftover, record.as_ref());
        match record {
            Some(record) => {
                let mut journal = Journal::resume(leftover.place.record(), record);
                // Nothing depends on the reason; without room for it the bytes are still kept.
                if let Err(error) = journal.update(|record| record.failure = Some(why.to_string())) {
                    tracing::debug!(%error, "the record of a file set aside lacks the reason");
                }
                keep(&leftover.place.bytes(), journal, &path)?;
            }
            None => {
                fs::rename(leftover.place.bytes(), &path)?;
                leftover.remove()?;
            }
        }
        Ok(Some(path))
    }

    /// What was written while a commit ran, and never found its place: only a person can judge it.
    fn keep_overlay(&self, leftover: &Leftover, record: Option<&Record>) -> Result<Option<PathBuf>> {
        if !leftover.has_overlay {
            return Ok(None);
        }
        let mut path = self.aside_of(leftover, record).into_os_string();
        path.push(format!(".{OVERLAY}"));
        fs::rename(leftover.place.overlay(), &path)?;
        Ok(Some(path.into()))
    }

    fn aside_of(&self, leftover: &Leftover, record: Option<&Record>) -> PathBuf {
        let (bucket, key) = record.map_or(("unknown", "file"), |record| (&record.bucket, &record.key));
        self.aside_path(bucket, key, &leftover.place)
    }
}

/// Moves staged bytes to `aside`, and their record beside them.
///
/// The bytes go first: a record without bytes is harmless, bytes without a record are not.
///
/// # Errors
/// Those of rename(2).
pub(super) fn keep(bytes: &Path, journal: Journal, aside: &Path) -> Result<()> {
    fs::rename(bytes, aside)?;
    let mut beside = aside.as_os_str().to_owned();
    beside.push(format!(".{RECORD}"));
    journal.move_to(Path::new(&beside))
}

/// Leftovers dealt with at a time: a request each, or a commit.
const AT_ONCE: usize = 16;
