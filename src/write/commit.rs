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

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Semaphore;

use super::content::{Home, Segment, Snapshot};
use super::fetch::fetch;
use super::plan::{self, Plan, PlannedPart, Shape, Source, Uploaded};
use super::ranges::Claim;
use super::staging::StagingFile;
use super::{Origin, Sessions, Target};
use crate::budget::{Budget, Reservation};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::name::ObjectKey;
use crate::s3::object::{ByteRange, COMMIT_ID, ETag, NewObject, ObjectDetails, ObjectMeta, Precondition};
use crate::s3::{Body, Part, S3Error, S3ErrorKind, Upload};

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

/// The bytes of a part, before there is an upload that it could go to.
struct Gathered {
    number: u32,
    body: Body,
    paid: Option<Reservation>,
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
            part_bytes: self.sessions.options.part_bytes,
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

    async fn upload(
        self: &Arc<Self>,
        plan: &[PlannedPart],
        begun: Option<BegunUpload>,
    ) -> Result<(ETag, NewObject), Trouble> {
        let (begun, gathered) = match begun {
            Some(begun) => (begun, None),
            // What has to be fetched for the edge of an edit need not wait for the upload.
            None => {
                let (begun, gathered) = tokio::join!(self.begin_upload(), self.gather_an_edge(plan));
                (begun?, gathered)
            }
        };
        let BegunUpload { upload, object, parts } = begun;
        // The plan keeps what left ahead under its number, and may end before it.
        let kept: HashSet<u32> =
            plan.iter().filter(|part| part.source == Source::Uploaded).map(|part| part.number).collect();
        let mut parts: Vec<_> = parts.into_iter().filter_map(|(_, part)| part).collect();
        parts.retain(|part| kept.contains(&part.number));
        match self.send_parts(&upload, plan, gathered).await {
            Ok(sent) => parts.extend(sent),
            Err(trouble) => {
                self.part_with(upload).await;
                return Err(trouble);
            }
        }
        let mut upload = upload;
        // Not with the only copy of anything: who knows what such a server does with an upload that it refuses to complete.
        if self.snapshot.released.is_empty() {
            match upload.prove_condition(&parts, &self.condition).await {
                Ok(None) => {}
                Ok(Some(etag)) => return Ok((etag, object)),
                Err(error) => {
                    give_up(upload).await;
                    return Err(error.into());
                }
            }
        }
        for attempt in 1.. {
            match upload.complete(parts.clone(), &self.condition).await {
                Ok(etag) => return Ok((etag, object)),
                // S3 wants the parts anew, and nobody has them: the same ones may still do.
                Err((error, same)) if self.is_irreplaceable(&error) && attempt < ATTEMPTS_MAX => {
                    upload = same;
                    tokio::time::sleep(pause(attempt)).await;
                }
                Err((error, upload)) => {
                    self.part_with(upload).await;
                    return Err(error.into());
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    fn is_irreplaceable(&self, error: &S3Error) -> bool {
        error.kind() == S3ErrorKind::Conflict && !self.snapshot.released.is_empty()
    }

    /// Gives an upload up, unless it has the only copy of what was released.
    async fn part_with(&self, upload: Upload) {
        if self.snapshot.released.is_empty() {
            give_up(upload).await;
        } else {
            let (id, key) = (upload.id(), &self.target.key);
            tracing::error!(id, %key, "an unfinished upload stays in S3: it has what was released of a file that failed");
        }
    }

    async fn begin_upload(&self) -> Result<BegunUpload, Trouble> {
        let object = self.object();
        let upload = self.target.gateway.begin_upload(&self.target.key, &object).await?;
        if let Err(error) = (self.note_upload)(upload.id()) {
            give_up(upload).await;
            return Err(error.into());
        }
        Ok(BegunUpload { upload, object, parts: Vec::new() })
    }

    /// Sends or copies all parts that S3 does not have, some at a time.
    async fn send_parts(
        self: &Arc<Self>,
        upload: &Upload,
        plan: &[PlannedPart],
        mut gathered: Option<Gathered>,
    ) -> Result<Vec<Part>, Trouble> {
        let lanes = Arc::new(Semaphore::new(self.sessions.options.parts_in_flight.max(1)));
        let mut tasks = Vec::new();
        for part in plan.iter().filter(|part| part.source != Source::Uploaded) {
            let (commit, upload, part) = (Arc::clone(self), upload.clone(), *part);
            let gathered = gathered.take_if(|gathered| gathered.number == part.number);
            let lanes = Arc::clone(&lanes);
            tasks.push(self.sessions.tasks.spawn("commit part", async move {
                // Another part has failed, and says why.
                let Ok(_lane) = lanes.acquire().await else { return Ok(None) };
                let sent = commit.send_part(&upload, part, gathered).await;
                if sent.is_err() {
                    lanes.close();
                }
                sent.map(Some)
            }));
        }
        let mut parts = Vec::new();
        let mut trouble = None;
        // All are awaited, also after a failure: nothing of this attempt may be under way later.
        for task in tasks {
            match task
                .await
                .unwrap_or_else(|panic| Err(Error::caused(Kind::Io, "sending a part", panic).into()))
            {
                Ok(part) => parts.extend(part),
                Err(new) => trouble = Some(worse(trouble, new)),
            }
        }
        trouble.map_or(Ok(parts), Err)
    }

    async fn send_part(
        &self,
        upload: &Upload,
        part: PlannedPart,
        gathered: Option<Gathered>,
    ) -> Result<Part, Trouble> {
        if let (Source::Copy, Some(base)) = (part.source, &self.snapshot.base) {
            return Ok(upload.copy_part(part.number, self.base_key(), &base.etag, part.range).await?);
        }
        let (body, _paid) = match gathered {
            Some(Gathered { body, paid, .. }) => (body, paid),
            None => self.body(part.range).await?,
        };
        Ok(upload.put_part(part.number, body).await?)
    }

    /// The first part with bytes of the base beside written ones; why it could not be had is said when it is sent.
    async fn gather_an_edge(&self, plan: &[PlannedPart]) -> Option<Gathered> {
        let is_fetched = |part: &&PlannedPart| {
            let segments = self.snapshot.segments(part.range);
            part.source == Source::Send && segments.iter().any(|segment| matches!(segment.home, Home::Base))
        };
        let part = plan.iter().find(is_fetched)?;
        let (body, paid) = self.body(part.range).await.ok()?;
        Some(Gathered { number: part.number, body, paid })
    }

    /// The bytes of a range: from memory, the staging file, and the base.
    async fn body(&self, range: ByteRange) -> Result<(Body, Option<Reservation>), Trouble> {
        if range.is_empty() {
            return Ok((Body::default(), None));
        }
        if let Some((held_range, bytes, _paid)) = &self.held
            && *held_range == range
        {
            return Ok((Body::from(bytes.clone()), None));
        }
        let paid = pay(&self.sessions.budget, range.len()).await;
        let elsewhere = self.base_key.as_ref().map(|key| Target { key: key.clone(), ..self.target.clone() });
        let (origin, base) = (elsewhere.as_ref().unwrap_or(&self.target), self.snapshot.base.as_ref());
        let bytes = gather(origin, base, self.snapshot.segments(range)).await?;
        assert_eq!(bytes.len() as u64, range.len(), "segments cover the range");
        Ok((Body::from(bytes), Some(paid)))
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

/// Replaces the description of the version that S3 has, and leaves its bytes.
///
/// # Errors
/// [`Kind::Changed`] when that version is no longer there.
pub(super) async fn describe(target: &Target, version: &ObjectMeta) -> Result<CommitReceipt> {
    let commit_id = fresh_id();
    let object = named(&target.object, &commit_id);
    let condition = Precondition::MustMatch(version.etag.clone());
    let Target { gateway, key, .. } = target;
    let receipt = |meta| CommitReceipt { is_by_copy: true, ..CommitReceipt::of_bytes(meta, key) };
    match gateway.copy(gateway, key, version, key, Some(&object), &condition).await {
        Ok(etag) => Ok(receipt(described(etag, version.size, object))),
        Err(error) if may_hide_an_effect(error.kind()) => match seen(target, &commit_id).await {
            Some(meta) => Ok(receipt(meta)),
            None => Err(verdict(&error, &condition)),
        },
        Err(error) => Err(verdict(&error, &condition)),
    }
}

/// Makes the object a copy of a version of another one.
pub(super) async fn copy(
    target: &Target,
    condition: &Precondition,
    origin: &Origin,
) -> Result<CommitReceipt, S3Error> {
    let commit_id = fresh_id();
    let object = named(&target.object, &commit_id);
    let (Target { gateway, key, .. }, Origin { gateway: source, key: source_key, version }) =
        (target, origin);
    let receipt = |meta| CommitReceipt { is_by_copy: true, ..CommitReceipt::of_bytes(meta, key) };
    match gateway.copy(source, source_key, version, key, Some(&object), condition).await {
        Ok(etag) => Ok(receipt(described(etag, version.size, object))),
        Err(error) if may_hide_an_effect(error.kind()) => match seen(target, &commit_id).await {
            Some(meta) => Ok(receipt(meta)),
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Takes a name that nobody has, with an empty object, and returns that.
///
/// # Errors
/// [`Kind::Exists`] when somebody has it.
pub(super) async fn claim(target: &Target) -> Result<ObjectMeta> {
    let commit_id = fresh_id();
    let object = named(&target.object, &commit_id);
    let Target { gateway, key, .. } = target;
    match gateway.put(key, Body::default(), &object, &Precondition::MustNotExist).await {
        Ok(etag) => Ok(described(etag, 0, object)),
        Err(error) if may_hide_an_effect(error.kind()) => {
            seen(target, &commit_id).await.ok_or_else(|| verdict(&error, &Precondition::MustNotExist))
        }
        Err(error) => Err(verdict(&error, &Precondition::MustNotExist)),
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

/// Pays for bytes that are about to be read from the disk or fetched.
///
/// Whoever waits here holds no other bytes and gives these back without waiting for anybody, so
/// it cannot block for good. What others may hold idly is only what they asked for, and asking
/// leaves an eighth of the budget alone: no more than that is demanded.
pub(super) async fn pay(budget: &Budget, bytes: u64) -> Reservation {
    budget.demand(bytes.min(budget.total_bytes() / 8)).await
}

/// Reads from a staging file, away from the threads that serve the network.
pub(super) async fn read_staged(file: Arc<StagingFile>, range: ByteRange) -> Result<Bytes> {
    if range.len() <= READ_AT_ONCE_BYTES {
        return Ok(file.read(range)?);
    }
    let read = tokio::task::spawn_blocking(move || file.read(range)).await;
    Ok(read.map_err(|panic| Error::caused(Kind::Io, "reading staged bytes", panic))??)
}

/// Puts bytes together from wherever they are: staging files, the base, or nowhere.
pub(super) async fn gather(
    target: &Target,
    base: Option<&ObjectMeta>,
    segments: Vec<Segment>,
) -> Result<Bytes, Trouble> {
    if let [Segment { home: Home::Local(file), range }] = &segments[..] {
        return Ok(read_staged(Arc::clone(file), *range).await?);
    }
    let length: u64 = segments.iter().map(|segment| segment.range.len()).sum();
    let mut bytes = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
    for segment in segments {
        match (segment.home, base) {
            (Home::Local(file), _) => bytes.extend_from_slice(&read_staged(file, segment.range).await?),
            (Home::Base, Some(base)) => {
                let pieces = fetch(&target.gateway, &target.key, segment.range, &base.etag).await?;
                pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
            }
            (Home::Released, _) => return Err(only_in_an_upload(segment.range, target).into()),
            (Home::Zeros | Home::Base, _) => {
                bytes.resize(bytes.len() + usize::try_from(segment.range.len()).unwrap_or(0), 0);
            }
        }
    }
    Ok(bytes.freeze())
}

/// Why released bytes cannot be had.
pub(super) fn only_in_an_upload(range: ByteRange, target: &Target) -> Error {
    let Target { gateway, key, .. } = target;
    let (start, bucket) = (range.start, gateway.bucket());
    Error::new(
        Kind::Io,
        format!(
            "{} bytes from {start} on of s3://{bucket}/{key} were released from the staging directory, and are only in \
             parts of an unfinished upload; hint: a larger --staging-size keeps them",
            range.len()
        ),
    )
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

/// Of several failures the one that started it: what S3 said, rather than what followed from it.
fn worse(old: Option<Trouble>, new: Trouble) -> Trouble {
    match (old, new) {
        (None | Some(Trouble::Local(_)), new @ Trouble::Remote(_)) | (None, new) => new,
        (Some(old), _) => old,
    }
}

fn pause(attempt: u32) -> Duration {
    let ceiling = 50_u64 << attempt.min(6);
    Duration::from_millis(fastrand::u64(ceiling / 2..=ceiling))
}

/// Enough for a busy name; somebody who meets 409 more often has a writer beside them who never stops.
const ATTEMPTS_MAX: u32 = 6;

/// A read this small from the page cache is cheaper than the way to another thread.
const READ_AT_ONCE_BYTES: u64 = 256 << 10;

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
