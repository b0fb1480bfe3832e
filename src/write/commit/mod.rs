//! From staged bytes to a visible object.
//!
//! One commit is: plan; send what has not gone ahead; complete, on the condition that follows
//! from `open`; and find out what happened when the answer does not say. The steps:
//!
//! ```text
//!   attempt ──► answer ──► effect known?  yes ──► receipt
//!      ▲                        │ no
//!      │                        ▼
//!      │                  HEAD: our commit id?  yes ──► receipt
//!      │                        │ no
//!      └──── conflict (409), ───┴──► lost race, or the error as it is
//!            upload gone
//! ```
//!
//! **The commit id.** A random number in the object's metadata, the same for all attempts of one
//! commit. A request may take effect and its answer get lost; the retry (the gateway's or ours)
//! then meets our own object, and 412 means nothing by itself. One HEAD tells.
//!
//! **409** says that S3 could not decide because somebody wrote at the same moment. It is asked
//! again; for a multipart upload with all parts anew, as S3 wants it, from the staging file.
//!
//! **Giving up** an upload comes before finding out about it: once it is aborted, a completion
//! still under way somewhere cannot take effect after we have looked.

mod gathering;
mod sending;
mod unwritten;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub(super) use self::gathering::{gather, only_in_an_upload, pay, read_staged};
pub(super) use self::unwritten::{claim, copy, describe};

use super::content::Snapshot;
use super::plan::{self, Plan, Shape, Uploaded};
use super::ranges::Claim;
use super::{Sessions, Target};
use crate::budget::Reservation;
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::name::ObjectKey;
use crate::s3::object::{ByteRange, COMMIT_ID, ETag, NewObject, ObjectDetails, ObjectMeta, Precondition};
use crate::s3::{Part, S3Error, S3ErrorKind, Upload};

/// Proof that S3 holds our bytes. Only a commit can make one.
#[must_use]
#[derive(Debug, Clone)]
pub struct CommitReceipt {
    /// Invariant: S3 confirmed this version, or showed it to us with our commit id.
    meta: ObjectMeta,
    /// Its key, which after a lost race may not be the one that was meant ([`conflict`](super::conflict)).
    key: ObjectKey,
    is_beside: bool,
    is_by_copy: bool,
}

impl CommitReceipt {
    fn of_bytes(meta: ObjectMeta, key: &ObjectKey) -> Self {
        Self { meta, key: key.clone(), is_beside: false, is_by_copy: false }
    }

    /// The version that the commit made.
    pub fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    /// The key that it was made under.
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Whether that is a second name, because somebody else has the one that was meant.
    pub fn is_beside(&self) -> bool {
        self.is_beside
    }

    /// Whether S3 has made it as a copy of another version, by which we know that it does that for us.
    pub fn is_by_copy(&self) -> bool {
        self.is_by_copy
    }

    pub(super) fn beside(self) -> Self {
        Self { is_beside: true, ..self }
    }
}

/// Takes note of an upload that was begun, before its first part leaves.
pub(super) type NoteUpload = Arc<dyn Fn(&str) -> Result<()> + Send + Sync>;

/// All that one commit stands on. It does not change while the commit runs.
pub(super) struct Commit {
    pub(super) sessions: Arc<Sessions>,
    pub(super) target: Target,
    pub(super) snapshot: Snapshot,
    pub(super) condition: Precondition,
    pub(super) commit_id: String,
    /// Where the version lies that it builds on, if that is not where the commit goes.
    pub(super) base_key: Option<ObjectKey>,
    /// The end of the file, or all of it, where it is still in memory.
    pub(super) held: Option<(ByteRange, Bytes, Vec<Reservation>)>,
    pub(super) note_upload: NoteUpload,
}

/// An upload begun ahead of the commit, and its parts, `None` if stale.
#[derive(Debug)]
pub(super) struct BegunUpload {
    pub(super) upload: Upload,
    /// What the object will say about itself.
    pub(super) object: NewObject,
    pub(super) parts: Vec<(Uploaded, Option<Part>)>,
}

/// Why an attempt failed: by S3's answer, which may hide an effect, or before one was asked for.
#[derive(Debug)]
pub(super) enum Trouble {
    Remote(S3Error),
    Local(Error),
}

impl From<S3Error> for Trouble {
    fn from(error: S3Error) -> Self {
        Self::Remote(error)
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Remote(error) => error.into(),
            Trouble::Local(error) => error,
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Local(error)
    }
}

impl Commit {
    /// Makes the object, and returns when S3 has it.
    pub(super) async fn run(self, mut begun: Option<BegunUpload>) -> Result<CommitReceipt> {
        let commit = Arc::new(self);
        for attempt in 1.. {
            let error = match commit.attempt(begun.take()).await {
                Ok((etag, object)) => return Ok(commit.receipt(etag, object)),
                Err(Trouble::Local(error)) => return Err(error),
                Err(Trouble::Remote(error)) => error,
            };
            match commit.settle(&error).await {
                Some(meta) => {
                    return Ok(CommitReceipt::of_bytes(meta, &commit.target.key));
                }
                // With what is known of the server by now, parts are not copied any more.
                None if error.kind() == S3ErrorKind::Unsupported && attempt == 1 && !commit.copies() => {}
                None if may_try_again(error.kind()) && attempt < ATTEMPTS_MAX => {
                    tracing::debug!(%error, attempt, "the commit is tried again");
                    tokio::time::sleep(pause(attempt)).await;
                }
                None => return Err(verdict(&error, &commit.condition)),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Returns the version made, and what it says about itself.
    async fn attempt(self: &Arc<Self>, begun: Option<BegunUpload>) -> Result<(ETag, NewObject), Trouble> {
        let uploaded: Vec<_> = begun.iter().flat_map(|begun| &begun.parts).map(|(part, _)| *part).collect();
        // Where S3 cannot copy, what was not written is fetched and sent like the rest.
        let everything = Claim::from(0);
        let shape = Shape {
            size: self.snapshot.size,
            dirty: if self.copies() { &self.snapshot.dirty } else { &everything },
            uploaded: &uploaded,
            sizes: self.sessions.options.part_sizes,
        };
        match plan::plan(&shape) {
            Plan::Put => {
                if let Some(begun) = begun {
                    give_up(begun.upload).await;
                }
                self.put().await
            }
            Plan::Multipart(parts) => self.upload(&parts, begun).await,
        }
    }

    fn base_key(&self) -> &ObjectKey {
        self.base_key.as_ref().unwrap_or(&self.target.key)
    }

    fn copies(&self) -> bool {
        self.target.gateway.copies_parts()
    }

    async fn put(&self) -> Result<(ETag, NewObject), Trouble> {
        let whole = ByteRange { start: 0, end: self.snapshot.size };
        let (body, _paid) = self.body(whole).await?;
        let Target { gateway, key, .. } = &self.target;
        let object = self.object();
        let etag = gateway.put(key, body, &object, &self.condition).await?;
        Ok((etag, object))
    }

    /// Looks whether this commit took effect although its answer does not say so.
    async fn settle(&self, error: &S3Error) -> Option<ObjectMeta> {
        if !may_hide_an_effect(error.kind()) {
            return None;
        }
        seen(&self.target, &self.commit_id).await
    }

    fn object(&self) -> NewObject {
        named(&self.target.object, &self.commit_id)
    }

    fn receipt(&self, etag: ETag, object: NewObject) -> CommitReceipt {
        let meta = described(etag, self.snapshot.size, object);
        CommitReceipt::of_bytes(meta, &self.target.key)
    }
}

/// A name for one commit. Collisions would need 2^64 of them.
pub(super) fn fresh_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// The description with the commit's name in it.
pub(super) fn named(object: &NewObject, commit_id: &str) -> NewObject {
    let mut object = object.clone();
    object.user.insert(COMMIT_ID.to_owned(), commit_id.to_owned());
    object
}

/// Whether the object carries this commit id.
pub(super) fn is_named(meta: &ObjectMeta, commit_id: &str) -> bool {
    let details = meta.details.as_ref();
    details.and_then(|details| details.user.get(COMMIT_ID)).is_some_and(|id| id == commit_id)
}

/// Gives an upload up. Abort may be denied; then a lifecycle rule of the bucket cleans up.
pub(super) async fn give_up(upload: Upload) {
    let id = upload.id().to_owned();
    if let Err(error) = upload.abort().await
        && error.kind() != S3ErrorKind::NoUpload
    {
        tracing::debug!(%error, id, "an upload could not be aborted");
    }
}

async fn seen(target: &Target, commit_id: &str) -> Option<ObjectMeta> {
    match target.gateway.head(&target.key).await {
        Ok(meta) => is_named(&meta, commit_id).then_some(meta),
        Err(error) => {
            tracing::debug!(%error, "no way to see whether the commit took effect");
            None
        }
    }
}

fn described(etag: ETag, size: u64, object: NewObject) -> ObjectMeta {
    let NewObject { user, content_type, storage_class } = object;
    let details = Some(Arc::new(ObjectDetails { user, content_type, ..ObjectDetails::default() }));
    ObjectMeta { etag, size, last_modified: clock::now(), storage_class, details }
}

/// Whether a request that was answered so may have had its effect all the same.
fn may_hide_an_effect(kind: S3ErrorKind) -> bool {
    match kind {
        // Perhaps by our own earlier attempt, whose answer was lost on the way to the gateway.
        S3ErrorKind::ConditionFailed | S3ErrorKind::NoUpload | S3ErrorKind::Conflict => true,
        // The last attempt got no answer, or none that says anything.
        S3ErrorKind::Unavailable | S3ErrorKind::Throttled | S3ErrorKind::Unexpected => true,
        // An earlier attempt may have had its effect before the credentials went.
        S3ErrorKind::Credentials | S3ErrorKind::Denied | S3ErrorKind::KeyRefused => true,
        S3ErrorKind::Absent
        | S3ErrorKind::NoBucket
        | S3ErrorKind::NotTheOwner
        | S3ErrorKind::AclRefused
        | S3ErrorKind::TooLarge
        | S3ErrorKind::KeyTooLong
        | S3ErrorKind::InvalidRange
        | S3ErrorKind::Archived
        | S3ErrorKind::WrongRegion
        | S3ErrorKind::Unsupported => false,
    }
}

/// Whether the same commit may succeed now.
fn may_try_again(kind: S3ErrorKind) -> bool {
    matches!(kind, S3ErrorKind::Conflict | S3ErrorKind::NoUpload)
}

/// What a failed commit comes to for the application.
fn verdict(error: &S3Error, condition: &Precondition) -> Error {
    let lost = |kind, what: &str| Error::new(kind, what).context(error.to_string());
    match (error.kind(), condition) {
        (S3ErrorKind::ConditionFailed, Precondition::MustNotExist) => {
            lost(Kind::Exists, "somebody else made a file of this name meanwhile")
        }
        (S3ErrorKind::ConditionFailed, _) | (S3ErrorKind::Absent, Precondition::MustMatch(_)) => {
            lost(Kind::Changed, "somebody else replaced or removed the version that this one builds on")
        }
        _ => error.clone().into(),
    }
}

fn pause(attempt: u32) -> Duration {
    let ceiling = 50_u64 << attempt.min(6);
    Duration::from_millis(fastrand::u64(ceiling / 2..=ceiling))
}

/// Enough for a busy name; somebody who meets 409 more often has a writer beside them who never stops.
const ATTEMPTS_MAX: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::error::RequestName;

    fn failed(kind: S3ErrorKind) -> S3Error {
        let request = RequestName { operation: "PutObject", bucket: "b".into(), key: Some("k".into()) };
        S3Error::local(kind, request, "scripted")
    }

    #[test]
    fn a_lost_race_is_told_in_the_words_of_open() {
        let matched = Precondition::MustMatch(ETag::new("e"));
        let table = [
            (S3ErrorKind::ConditionFailed, Precondition::MustNotExist, Kind::Exists),
            (S3ErrorKind::ConditionFailed, matched.clone(), Kind::Changed),
            (S3ErrorKind::Absent, matched.clone(), Kind::Changed),
            (S3ErrorKind::Denied, matched, Kind::Denied),
            (S3ErrorKind::Unavailable, Precondition::Whatever, Kind::Io),
            (S3ErrorKind::Conflict, Precondition::Whatever, Kind::Io),
        ];
        for (kind, condition, expected) in table {
            assert_eq!(verdict(&failed(kind), &condition).kind(), expected, "{kind:?} under {condition:?}");
        }
    }

    #[test]
    fn whatever_is_tried_again_is_looked_at_first() {
        for kind in [S3ErrorKind::Conflict, S3ErrorKind::NoUpload] {
            assert!(may_try_again(kind) && may_hide_an_effect(kind));
        }
    }
}
