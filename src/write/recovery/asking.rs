//! What S3 has by now where a leftover was to go.

use std::sync::Arc;

use super::table::{Object, Story};
use crate::clock;
use crate::error::{Error, Result};
use crate::name::ObjectKey;
use crate::s3::object::{ETag, ObjectMeta, Precondition};
use crate::s3::{Gateway, S3ErrorKind};
use crate::write::journal::{Phase, Record, RecordedCondition, RecordedTrust, Seal};
use crate::write::{OnConflict, Target, commit};

pub(super) fn story_of(record: Option<&Result<Record>>) -> Story {
    match record {
        None => Story::Missing,
        Some(Err(_)) => Story::Unreadable,
        Some(Ok(Record { phase: Phase::Open, .. })) => Story::Open,
        Some(Ok(Record { phase: Phase::Sealed(_), entrusted: None, .. })) => Story::Sealed,
        Some(Ok(Record { phase: Phase::Sealed(_), entrusted: Some(_), .. })) => Story::Entrusted,
    }
}

pub(super) fn target_of(record: &Record, gateway: &impl Fn(&str) -> Option<Arc<Gateway>>) -> Option<Target> {
    let object = match &record.phase {
        Phase::Open => Default::default(),
        Phase::Sealed(seal) => seal.object(),
    };
    let key = ObjectKey::parse(record.key.clone()).ok()?;
    Some(Target { gateway: gateway(&record.bucket)?, key, object })
}

/// What S3 answered.
pub(super) struct Answer {
    /// What it has under the key.
    pub(super) object: Object,
    /// The condition on which a commit may be finished.
    pub(super) condition: Precondition,
    /// Why it did not say.
    pub(super) silence: Option<Error>,
}

impl Answer {
    /// S3 did not have to be asked.
    pub(super) fn to_nothing() -> Self {
        Self { object: Object::Unknown, condition: Precondition::MustNotExist, silence: None }
    }
}

/// Asks S3 what it has under the key.
pub(super) async fn ask(seal: &Seal, trust: Option<&RecordedTrust>, target: &Target) -> Answer {
    let head = target.gateway.head(&target.key).await;
    // Where nothing is, something may come before the commit does.
    let required = match &seal.condition {
        RecordedCondition::Whatever => Precondition::MustNotExist,
        recorded => recorded.into(),
    };
    let silence = match &head {
        Err(error) if !is_absent(error.kind(), &seal.condition) => Some(Error::from(error.clone())),
        _ => None,
    };
    let (object, condition) = match (head, &seal.condition) {
        _ if silence.is_some() => (Object::Unknown, required),
        (Ok(meta), _) if commit::is_named(&meta, &seal.commit_id) => (Object::Ours, required),
        (Ok(meta), RecordedCondition::MustMatch(etag)) if meta.etag == ETag::new(etag) => {
            (Object::AsRequired, required)
        }
        (Ok(meta), recorded) => {
            let is_older = trust.is_some_and(|trust| is_older(&meta, trust));
            match recorded {
                RecordedCondition::Whatever if is_older => {
                    (Object::AsRequired, Precondition::MustMatch(meta.etag))
                }
                _ => rival(seal, is_older, Precondition::MustMatch(meta.etag)),
            }
        }
        // Somebody removed it, whenever that was. Nothing of theirs is in the way.
        (Err(_), RecordedCondition::MustMatch(_)) => rival(seal, trust.is_some(), Precondition::MustNotExist),
        (Err(_), _) => (Object::AsRequired, required),
    };
    Answer { object, condition, silence }
}

/// Somebody else's version, or absence, and what was chosen for meeting it. Nothing was chosen for a commit that was to
/// replace whatever was there.
fn rival(seal: &Seal, gives_way: bool, to_overwrite: Precondition) -> (Object, Precondition) {
    match seal.on_conflict {
        _ if seal.condition == RecordedCondition::Whatever => (Object::Otherwise, to_overwrite),
        OnConflict::KeepBoth => (Object::Rival, to_overwrite),
        OnConflict::Overwrite if gives_way => (Object::Loser, to_overwrite),
        OnConflict::Overwrite | OnConflict::Fail => (Object::Otherwise, to_overwrite),
    }
}

/// Whether this answer means that nothing is there.
fn is_absent(kind: S3ErrorKind, recorded: &RecordedCondition) -> bool {
    match kind {
        S3ErrorKind::Absent => true,
        // Without the right to list, this is what absence looks like; the condition knows.
        S3ErrorKind::Denied => !matches!(recorded, RecordedCondition::MustMatch(_)),
        _ => false,
    }
}

/// Whether a version was there before a file was closed that was to replace it: it was seen, or the clocks say so.
fn is_older(meta: &ObjectMeta, trust: &RecordedTrust) -> bool {
    let was_seen = trust.replaced.as_ref().is_some_and(|etag| meta.etag == ETag::new(etag));
    was_seen || clock::to_unix(meta.last_modified).0 < trust.at
}
