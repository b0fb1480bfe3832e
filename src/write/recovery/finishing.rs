//! Commits that an earlier process did not live to see the end of.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::leftover::Leftover;
use super::table::Outcome;
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::name::ObjectKey;
use crate::s3::object::{ETag, ObjectMeta, Precondition};
use crate::write::commit::{self, BegunUpload, Commit};
use crate::write::conflict::{self, KeptBoth};
use crate::write::content::Snapshot;
use crate::write::journal::{Journal, Phase, Record, RecordedBase, Seal};
use crate::write::ranges::Claim;
use crate::write::staging::{Layer, StagingFile};
use crate::write::{OnConflict, Sessions, Target};

/// A sealed commit, and all that is there of it.
pub(super) struct Unfinished<'a> {
    sessions: &'a Arc<Sessions>,
    record: &'a Record,
    seal: &'a Seal,
    target: Target,
    snapshot: Snapshot,
    journal: Arc<Mutex<Journal>>,
}

impl<'a> Unfinished<'a> {
    pub(super) fn new(
        sessions: &'a Arc<Sessions>,
        leftover: &Leftover,
        record: Option<&'a Record>,
        target: Option<Target>,
    ) -> Result<Self> {
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
        let journal = Journal::resume(leftover.place.record(), record.clone());
        Ok(Self { sessions, record, seal, target, snapshot, journal: Arc::new(Mutex::new(journal)) })
    }

    /// Brings it to S3 in the way that was decided, where `condition` holds.
    pub(super) async fn bring(&self, outcome: Outcome, condition: Precondition) -> Result<()> {
        match outcome {
            Outcome::KeepBoth => self.keep_both().await,
            Outcome::Overwrite => self.overwrite(condition).await,
            _ => match self.finish(condition.clone()).await {
                Err(error) if self.goes_beside() && conflict::is_lost_race(&condition, &error) => {
                    self.keep_both().await
                }
                outcome => outcome,
            },
        }
    }

    fn goes_beside(&self) -> bool {
        self.seal.on_conflict == OnConflict::KeepBoth
    }

    async fn finish(&self, condition: Precondition) -> Result<()> {
        let begun = begun_by(self.record, &self.target);
        let sealed = (self.target.clone(), self.snapshot.clone(), self.seal.commit_id.clone());
        self.commit(sealed, condition).run(begun).await.map(drop)
    }

    async fn overwrite(&self, condition: Precondition) -> Result<()> {
        let sealed = (self.target.clone(), self.on_its_own()?, self.seal.commit_id.clone());
        self.commit(sealed, condition).run(None).await.map(drop)
    }

    async fn keep_both(&self) -> Result<()> {
        let (snapshot, now) = (self.on_its_own()?, clock::now());
        for key in conflict::second_keys(&self.target.key, &self.sessions.options.host, now) {
            let commit_id = commit::fresh_id();
            self.note_second(&key, &commit_id)?;
            let target = Target { key: key.clone(), ..self.target.clone() };
            let sealed = (target, snapshot.clone(), commit_id);
            match self.commit(sealed, Precondition::MustNotExist).run(None).await {
                Err(taken) if taken.kind() == Kind::Exists => {}
                Err(other) => return Err(other),
                Ok(_) => {
                    let (bucket, first) = (self.record.bucket.clone(), self.target.key.to_string());
                    let ours = key.to_string();
                    tracing::warn!(
                        bucket,
                        key = first,
                        ours,
                        "somebody else was first; what was left has a name of its own"
                    );
                    self.sessions.remember(KeptBoth { bucket, key: first, ours, when: now });
                    return Ok(());
                }
            }
        }
        Err(Error::new(Kind::Exists, "somebody else has the name, and all second names too"))
    }

    /// Writes down where the commit goes now: a process that dies here is finished as any other.
    fn note_second(&self, key: &ObjectKey, commit_id: &str) -> Result<()> {
        let seal = Seal {
            commit_id: commit_id.to_owned(),
            condition: (&Precondition::MustNotExist).into(),
            dirty: Claim::from(0),
            ..self.seal.clone()
        };
        self.journal.lock().update(|record| {
            record.key = key.to_string();
            (record.base, record.upload) = (None, None);
            record.phase = Phase::Sealed(Box::new(seal));
        })
    }

    fn on_its_own(&self) -> Result<Snapshot> {
        self.snapshot.on_its_own().ok_or_else(|| {
            let lost = "somebody else replaced or removed the version that this one builds on";
            conflict::is_torn(Error::new(Kind::Changed, lost))
        })
    }

    fn commit(&self, sealed: (Target, Snapshot, String), condition: Precondition) -> Commit {
        let (target, snapshot, commit_id) = sealed;
        let journal = Arc::clone(&self.journal);
        let note_upload = move |id: &str| journal.lock().update(|record| record.upload = Some(id.to_owned()));
        Commit {
            sessions: Arc::clone(self.sessions),
            target,
            snapshot,
            condition,
            commit_id,
            base_key: None,
            held: None,
            note_upload: Arc::new(note_upload),
        }
    }
}

/// The upload that the dead process had begun, where that has bytes that are nowhere else.
fn begun_by(record: &Record, target: &Target) -> Option<BegunUpload> {
    let (id, released) = (record.upload.clone()?, record.released.as_ref()?);
    let (parts, object) = (released.parts.clone(), target.object.clone());
    Some(BegunUpload { upload: target.gateway.resume_upload(&target.key, id), object, parts })
}

pub(in crate::write) fn version(base: &RecordedBase) -> ObjectMeta {
    ObjectMeta {
        etag: ETag::new(&base.etag),
        size: base.size,
        last_modified: SystemTime::UNIX_EPOCH,
        storage_class: None,
        details: None,
    }
}
