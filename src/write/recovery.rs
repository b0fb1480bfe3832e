//! What an earlier process left, and what becomes of it.
//!
//! At mount, each journal record, its staging file and the object in S3 are reduced to three
//! facts: what the record tells ([`Story`]), what the staged bytes are worth ([`Worth`]), and
//! what S3 has under the key ([`Object`]). Each combination has exactly one row of a table.
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
//! Set aside.
//!
//! **Sealed, but written under another boot**: the machine died, and what the disk has of the
//! bytes may be anything. A person may judge them: set aside. If the disk has none: discard.
//!
//! **Entrusted**: `close` had returned, and so the disk has the bytes and the names, whatever died since. All
//! is as for *sealed*, but for two things: the bytes are whole also under another boot; and a file that was to replace
//! whatever was there is finished where what is there now was there before it was closed: the last writer wins, and that
//! was this one. (By S3's clock and ours; of two writers within the same moment either may be the last.)
//!
//! **Sealed or entrusted, and S3 cannot be asked**: the bucket is not configured any more, or denies it.
//! Later: everything stays where it is, for the next mount.
//!
//! Whatever the row, unless it is *later*, the multipart upload that the record names is
//! aborted. Those of others are never touched.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::commit::{self, BegunUpload, Commit};
use super::content::Snapshot;
use super::journal::{self, Journal, Phase, Record, RecordedBase, RecordedCondition, RecordedTrust, Seal};
use super::staging::{BYTES, Layer, OVERLAY, Place, RECORD, StagingFile, UNFINISHED};
use super::{Sessions, Target};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::name::ObjectKey;
use crate::s3::object::{ETag, ObjectMeta, Precondition};
use crate::s3::{Gateway, S3ErrorKind};

/// What a journal record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Story {
    /// There is no record.
    Missing,
    /// It cannot be read.
    Unreadable,
    /// Somebody was writing.
    Open,
    /// Somebody was waiting for a commit.
    Sealed,
    /// Somebody was told that the commit would follow.
    Entrusted,
}

/// What the staged bytes are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    /// There are none where there should be some.
    Gone,
    /// The machine has died since they were written.
    Unproven,
    /// They are all there.
    Whole,
}

/// What S3 has under the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// What the commit made.
    Ours,
    /// What the commit requires to be there.
    AsRequired,
    /// Anything else.
    Otherwise,
    /// It could not be asked, or did not have to be.
    Unknown,
}

/// What becomes of a leftover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The commit is run to its end.
    Finish,
    /// S3 has it; the local files go.
    AlreadyDone,
    /// The bytes are kept for a person to look at.
    SetAside,
    /// There is nothing worth keeping.
    Discard,
    /// Nothing is touched until the next mount.
    Later,
}

/// One row: these facts, this outcome.
struct Row {
    story: &'static [Story],
    worth: &'static [Worth],
    object: &'static [Object],
    outcome: Outcome,
}

const ANY_WORTH: &[Worth] = &[Worth::Gone, Worth::Unproven, Worth::Whole];
const SOME_BYTES: &[Worth] = &[Worth::Unproven, Worth::Whole];
const ANY_OBJECT: &[Object] = &[Object::Ours, Object::AsRequired, Object::Otherwise, Object::Unknown];
const CLOSED: &[Story] = &[Story::Sealed, Story::Entrusted];
const NOT_OURS: &[Object] = &[Object::AsRequired, Object::Otherwise];

/// The decision table; the reasons stand at the top of this module.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { story: &[Story::Missing],                 worth: ANY_WORTH,          object: ANY_OBJECT,            outcome: Outcome::Discard },
    Row { story: &[Story::Unreadable, Story::Open], worth: &[Worth::Gone],     object: ANY_OBJECT,            outcome: Outcome::Discard },
    Row { story: &[Story::Unreadable, Story::Open], worth: SOME_BYTES,         object: ANY_OBJECT,            outcome: Outcome::SetAside },
    Row { story: CLOSED,                            worth: ANY_WORTH,          object: &[Object::Ours],       outcome: Outcome::AlreadyDone },
    Row { story: CLOSED,                            worth: &[Worth::Whole],    object: &[Object::AsRequired], outcome: Outcome::Finish },
    Row { story: CLOSED,                            worth: &[Worth::Whole],    object: &[Object::Otherwise],  outcome: Outcome::SetAside },
    Row { story: CLOSED,                            worth: &[Worth::Unproven], object: NOT_OURS,              outcome: Outcome::SetAside },
    Row { story: CLOSED,                            worth: &[Worth::Gone],     object: NOT_OURS,              outcome: Outcome::Discard },
    Row { story: CLOSED,                            worth: ANY_WORTH,          object: &[Object::Unknown],    outcome: Outcome::Later },
];

/// Looks up what becomes of a leftover with these facts.
pub fn outcome(story: Story, worth: Worth, object: Object) -> Outcome {
    let applies =
        |row: &&Row| row.story.contains(&story) && row.worth.contains(&worth) && row.object.contains(&object);
    TABLE.iter().find(applies).map(|row| row.outcome).expect("the table has a row for every combination")
}

/// The files that an earlier process left of one session.
#[derive(Debug)]
pub struct Leftover {
    place: Place,
    has_record: bool,
    has_bytes: bool,
    has_overlay: bool,
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
        let mut leftovers = std::mem::take(&mut *self.leftovers.lock()).into_iter();
        let gateway = Arc::new(gateway);
        let (mut under_way, mut recovered) = (JoinSet::new(), Vec::new());
        loop {
            for leftover in leftovers.by_ref().take(AT_ONCE - under_way.len()) {
                let (sessions, gateway) = (Arc::clone(self), Arc::clone(&gateway));
                under_way.spawn(async move {
                    let recovered = sessions.recover_one(&leftover, &*gateway).await;
                    if recovered.outcome == Outcome::Later {
                        sessions.leftovers.lock().push(leftover);
                    }
                    recovered
                });
            }
            match under_way.join_next().await {
                Some(Ok(one)) => recovered.push(one),
                Some(Err(error)) => tracing::error!(%error, "a leftover could not be dealt with"),
                None => return recovered,
            }
        }
    }

    async fn recover_one(
        self: &Arc<Self>,
        leftover: &Leftover,
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
        let (object, condition, silence) = match (&record, &target) {
            (Some(Record { phase: Phase::Sealed(seal), entrusted, .. }), Some(target)) => {
                ask(seal, entrusted.as_ref(), target).await
            }
            _ => (Object::Unknown, Precondition::MustNotExist, None),
        };
        let name = record.as_ref().map(|record| format!("s3://{}/{}", record.bucket, record.key));
        let outcome = outcome(story, worth, object);
        if outcome == Outcome::Later {
            return Recovered { object: name, outcome, path: None, error: silence };
        }
        let done = self.carry_out(outcome, leftover, record, target, condition).await;
        match done {
            Ok((outcome, path, error)) => Recovered { object: name, outcome, path, error },
            Err(error) => Recovered { object: name, outcome: Outcome::Later, path: None, error: Some(error) },
        }
    }

    async fn carry_out(
        self: &Arc<Self>,
        outcome: Outcome,
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
            Outcome::Finish => match self.finish(leftover, record.as_ref(), target, condition).await {
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
            },
            Outcome::SetAside => {
                let mut why = Error::new(
                    Kind::Io,
                    "found at mount: the file was never closed, or its name has changed",
                );
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

    async fn finish(
        self: &Arc<Self>,
        leftover: &Leftover,
        record: Option<&Record>,
        target: Option<Target>,
        condition: Precondition,
    ) -> Result<()> {
        let (Some(record), Some(target)) = (record, target) else {
            return Err(Error::new(Kind::Io, "the record of a sealed commit is gone"));
        };
        let Phase::Sealed(seal) = &record.phase else {
            return Err(Error::new(Kind::Io, "only a sealed commit can be finished"));
        };
        let file = leftover.has_bytes.then(|| StagingFile::open(leftover.place.bytes())).transpose()?;
        let snapshot = Snapshot {
            size: seal.size,
            base: record.base.as_ref().map(version),
            staged: Layer::left(file, seal.staged.clone()),
            released: record.released.as_ref().map(|released| released.ranges.clone()).unwrap_or_default(),
            dirty: seal.dirty.clone(),
        };
        let begun = begun_by(record, &target);
        let journal = Mutex::new(Journal::resume(leftover.place.record(), record.clone()));
        let note_upload = move |id: &str| journal.lock().update(|record| record.upload = Some(id.to_owned()));
        let commit = Commit {
            sessions: Arc::clone(self),
            target,
            snapshot,
            condition,
            commit_id: seal.commit_id.clone(),
            base_key: None,
            held: None,
            note_upload: Arc::new(note_upload),
        };
        commit.run(begun).await.map(drop)
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

/// Finds what an earlier process left in the staging directory, and changes nothing.
///
/// # Errors
/// Those of the local filesystem.
pub(super) fn leftovers(directory: &Arc<Path>) -> io::Result<Vec<Leftover>> {
    let mut found: BTreeMap<String, Leftover> = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let (Some(id), Some(extension)) = (text(path.file_stem()), text(path.extension())) else { continue };
        if ![BYTES, OVERLAY, RECORD, UNFINISHED].contains(&extension) || id.len() != ID_LENGTH {
            continue;
        }
        let leftover = found.entry(id.to_owned()).or_insert_with(|| Leftover {
            place: Place::named(Arc::clone(directory), id.to_owned()),
            has_record: false,
            has_bytes: false,
            has_overlay: false,
        });
        match extension {
            BYTES => leftover.has_bytes = true,
            OVERLAY => leftover.has_overlay = true,
            RECORD => leftover.has_record = true,
            // It never took the place of a record, so it says nothing; it goes with the rest.
            _ => {}
        }
    }
    Ok(found.into_values().collect())
}

impl Leftover {
    fn worth(&self, record: Option<&Record>, boot: &str) -> Worth {
        // The disk had them before it had the record.
        if let Some(Record { entrusted: Some(trust), .. }) = record {
            return if self.has_bytes || !trust.has_bytes { Worth::Whole } else { Worth::Gone };
        }
        let is_same_boot = record.is_some_and(|record| record.boot == boot);
        // A record goes before its bytes do. So where a sealed one has no file, none was needed.
        let needs_none = matches!(record, Some(Record { phase: Phase::Sealed(_), .. }));
        match (self.has_bytes, is_same_boot) {
            (true, true) => Worth::Whole,
            (true, false) => Worth::Unproven,
            (false, true) if needs_none => Worth::Whole,
            (false, _) => Worth::Gone,
        }
    }

    /// The bytes go last: see [`keep`].
    fn remove(&self) -> Result<()> {
        for path in [self.place.unfinished_record(), self.place.record(), self.place.bytes()] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The upload that the dead process had begun, where that has bytes that are nowhere else.
fn begun_by(record: &Record, target: &Target) -> Option<BegunUpload> {
    let (id, released) = (record.upload.clone()?, record.released.as_ref()?);
    let (parts, object) = (released.parts.clone(), target.object.clone());
    Some(BegunUpload { upload: target.gateway.resume_upload(&target.key, id), object, parts })
}

fn story_of(record: Option<&Result<Record>>) -> Story {
    match record {
        None => Story::Missing,
        Some(Err(_)) => Story::Unreadable,
        Some(Ok(Record { phase: Phase::Open, .. })) => Story::Open,
        Some(Ok(Record { phase: Phase::Sealed(_), entrusted: None, .. })) => Story::Sealed,
        Some(Ok(Record { phase: Phase::Sealed(_), entrusted: Some(_), .. })) => Story::Entrusted,
    }
}

fn target_of(record: &Record, gateway: &impl Fn(&str) -> Option<Arc<Gateway>>) -> Option<Target> {
    let object = match &record.phase {
        Phase::Open => Default::default(),
        Phase::Sealed(seal) => seal.object(),
    };
    let key = ObjectKey::parse(record.key.clone()).ok()?;
    Some(Target { gateway: gateway(&record.bucket)?, key, object })
}

/// What S3 has under the key; the condition on which a commit may be finished; and why S3 did not say.
async fn ask(
    seal: &Seal,
    trust: Option<&RecordedTrust>,
    target: &Target,
) -> (Object, Precondition, Option<Error>) {
    let head = target.gateway.head(&target.key).await;
    // Where nothing is, something may come before the commit does.
    let required = match &seal.condition {
        RecordedCondition::Whatever => Precondition::MustNotExist,
        recorded => recorded.into(),
    };
    match (head, &seal.condition) {
        (Ok(meta), _) if commit::is_named(&meta, &seal.commit_id) => (Object::Ours, required, None),
        (Ok(meta), RecordedCondition::MustMatch(etag)) if meta.etag == ETag::new(etag) => {
            (Object::AsRequired, required, None)
        }
        (Ok(meta), RecordedCondition::Whatever) if trust.is_some_and(|trust| is_older(&meta, trust)) => {
            (Object::AsRequired, Precondition::MustMatch(meta.etag), None)
        }
        (Ok(_), _) => (Object::Otherwise, required, None),
        (Err(error), condition) => match (error.kind(), condition) {
            (S3ErrorKind::Absent, RecordedCondition::MustMatch(_)) => (Object::Otherwise, required, None),
            (S3ErrorKind::Absent, _) => (Object::AsRequired, required, None),
            // Without the right to list, this is what absence looks like; the condition knows.
            (S3ErrorKind::Denied, RecordedCondition::MustNotExist | RecordedCondition::Whatever) => {
                (Object::AsRequired, required, None)
            }
            _ => (Object::Unknown, required, Some(error.into())),
        },
    }
}

/// Whether a version was there before a file was closed that was to replace it.
fn is_older(meta: &ObjectMeta, trust: &RecordedTrust) -> bool {
    clock::to_unix(meta.last_modified).0 < trust.at
}

pub(super) fn version(base: &RecordedBase) -> ObjectMeta {
    ObjectMeta {
        etag: ETag::new(&base.etag),
        size: base.size,
        last_modified: SystemTime::UNIX_EPOCH,
        storage_class: None,
        details: None,
    }
}

fn text(part: Option<&std::ffi::OsStr>) -> Option<&str> {
    part.and_then(std::ffi::OsStr::to_str)
}

/// Leftovers dealt with at a time: a request each, or a commit.
const AT_ONCE: usize = 16;

/// 128 bits in hexadecimal digits.
const ID_LENGTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_STORIES: [Story; 5] =
        [Story::Missing, Story::Unreadable, Story::Open, Story::Sealed, Story::Entrusted];

    #[test]
    fn every_combination_of_facts_has_exactly_one_row() {
        for story in ALL_STORIES {
            for worth in ANY_WORTH {
                for object in ANY_OBJECT {
                    let applies = |row: &&Row| {
                        row.story.contains(&story) && row.worth.contains(worth) && row.object.contains(object)
                    };
                    assert_eq!(TABLE.iter().filter(applies).count(), 1, "{story:?} {worth:?} {object:?}");
                }
            }
        }
    }

    #[test]
    fn bytes_are_only_discarded_when_nobody_can_want_them() {
        for story in ALL_STORIES {
            for object in ANY_OBJECT {
                if outcome(story, Worth::Whole, *object) == Outcome::Discard {
                    assert_eq!(story, Story::Missing);
                }
            }
        }
    }

    #[test]
    fn only_proven_bytes_are_ever_committed() {
        for story in ALL_STORIES {
            for worth in ANY_WORTH {
                for object in ANY_OBJECT {
                    let is_finished = outcome(story, *worth, *object) == Outcome::Finish;
                    let is_right =
                        CLOSED.contains(&story) && (*worth, *object) == (Worth::Whole, Object::AsRequired);
                    assert_eq!(is_finished, is_right, "{story:?} {worth:?} {object:?}");
                }
            }
        }
    }
}
