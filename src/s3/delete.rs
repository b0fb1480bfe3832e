//! Deleting objects: whatever is under a key, or one version alone.
//!
//! Whoever has copied an object to another key deletes the old one next, and must not delete what others have put in
//! its place meanwhile. So a deletion can name a version (`If-Match`, or an ETag beside each key of a batch; S3 user
//! guide, "How to perform conditional deletes"). S3 answers 412 where another is there and 404 where none is, and wants
//! `s3:GetObject` beside `s3:DeleteObject`, which who copies has.
//!
//! Few other servers look at that condition, and most delete all the same. Whether one does is found out where the right
//! to delete is ([`Gateway::try_deletion`]): by a key that is not there, at no request more. Where it does not, a deletion
//! looks first, as other writes do (`conditions`); before a batch that is the caller's, who can do it
//! with one listing.

use std::sync::Arc;

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use tokio::task::JoinSet;

use super::Gateway;
use super::conditions::{Standing, Writing};
use super::error::{S3Error, S3ErrorKind};
use super::gaps::Gap;
use super::object::{ETag, Precondition};
use crate::name::ObjectKey;

/// What a deletion of one version came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Nothing is there.
    Gone,
    /// Others have put something in its place, and that stays.
    Replaced,
}

impl Gateway {
    /// Deletes an object. One that is absent already is deleted too.
    ///
    /// # Errors
    /// [`S3ErrorKind::Denied`] without the right to delete.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), S3Error> {
        self.delete_once(key, None).await
    }

    /// Deletes one version of an object, and nothing that others have put in its place.
    ///
    /// # Errors
    /// [`S3ErrorKind::Denied`] without the right to delete, or to read.
    pub async fn delete_version(&self, key: &ObjectKey, version: &ETag) -> Result<Deletion, S3Error> {
        let condition = Precondition::MustMatch(version.clone());
        for attempt in 1.. {
            let is_kept_to = self.conditions.standing(Writing::Delete, &condition) == Standing::Honoured;
            let deleted = match self.look_first(Writing::Delete, key, &condition).await {
                Ok(()) => self.delete_once(key, is_kept_to.then_some(version)).await,
                refused => refused,
            };
            let error = match deleted {
                Ok(()) => return Ok(Deletion::Gone),
                // By an attempt of ours, perhaps, whose answer was lost.
                Err(error) if error.kind() == S3ErrorKind::Absent => return Ok(Deletion::Gone),
                Err(error) if is_about_version(error.kind()) => error,
                Err(error) => return Err(error),
            };
            match self.head(key).await {
                Err(error) if error.kind() == S3ErrorKind::Absent => return Ok(Deletion::Gone),
                // What is there cannot be seen, and by the answer it is another version.
                Err(error) if error.kind() == S3ErrorKind::Denied => return Ok(Deletion::Replaced),
                Err(error) => return Err(error),
                Ok(there) if there.etag != *version => return Ok(Deletion::Replaced),
                // Somebody writes at this very moment, and has not yet.
                Ok(_) if error.kind() == S3ErrorKind::Conflict && attempt < ATTEMPTS_MAX => {}
                // It is that version, and the server says that it is not: its conditions are not to be relied upon.
                Ok(_) if is_kept_to && error.kind() == S3ErrorKind::ConditionFailed => {
                    self.learn_of_deletions(Standing::Ignored);
                }
                Ok(_) => return Err(error),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Tries to delete a key that nobody has, to see whether that is allowed, and whether a deletion may name a version.
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub async fn try_deletion(&self, unused: &ObjectKey) -> Result<(), S3Error> {
        let nothing = ETag::new("none");
        let condition = Precondition::MustMatch(nothing.clone());
        if self.conditions.standing(Writing::Delete, &condition) != Standing::Unproven {
            return self.delete(unused).await;
        }
        match self.delete_once(unused, Some(&nothing)).await {
            Ok(()) => self.learn_of_deletions(Standing::Ignored),
            Err(error) if is_about_version(error.kind()) => self.learn_of_deletions(Standing::Honoured),
            // About the condition, or about the right: without the one it tells of the other.
            Err(_) => {
                self.delete(unused).await?;
                self.learn_of_deletions(Standing::Refused);
            }
        }
        Ok(())
    }

    /// Whether a batch of deletions may name versions, so that nobody has to look before.
    pub fn deletes_versions_at_once(&self) -> bool {
        let condition = Precondition::MustMatch(ETag::new("any"));
        self.conditions.standing(Writing::DeleteMany, &condition) == Standing::Honoured
    }

    /// Deletes up to 1,000 versions in one request, and returns what has become of those that are not gone. Where a batch
    /// [cannot name versions](Self::deletes_versions_at_once), the caller has looked that they are still there.
    ///
    /// # Errors
    /// When the request as a whole failed.
    pub async fn delete_versions(
        self: &Arc<Self>,
        versions: &[(ObjectKey, ETag)],
    ) -> Result<Vec<(ObjectKey, Result<Deletion, S3Error>)>, S3Error> {
        debug_assert!(versions.len() <= DELETES_MAX, "S3 takes at most 1,000 keys at once");
        if self.gaps.has(Gap::DeleteObjects) {
            return Ok(self.delete_each(versions).await);
        }
        let refused = match self.delete_at_once(versions).await {
            Err(error) if self.gaps.may_be() && refuses_batches(&error) => {
                self.gaps.note(Gap::DeleteObjects);
                return Ok(self.delete_each(versions).await);
            }
            outcome => outcome?,
        };
        let (others, failed): (Vec<_>, Vec<_>) =
            refused.into_iter().partition(|(_, error)| is_about_version(error.kind()));
        let is_other = |key: &ObjectKey| others.iter().any(|(other, _)| other == key);
        let others: Vec<_> = versions.iter().filter(|(key, _)| is_other(key)).cloned().collect();
        let mut left = self.delete_each(&others).await;
        left.extend(failed.into_iter().map(|(key, error)| (key, Err(error))));
        Ok(left)
    }

    async fn delete_once(&self, key: &ObjectKey, version: Option<&ETag>) -> Result<(), S3Error> {
        let request = self.request("DeleteObject", Some(key.as_str()));
        let _permit = self.permit().await;
        let call = self
            .clients
            .quick
            .delete_object()
            .bucket(self.bucket.as_str())
            .key(key.as_str())
            .set_if_match(version.map(|version| version.as_str().to_owned()))
            .set_expected_bucket_owner(self.rules.expected_bucket_owner.clone())
            .set_request_payer(self.rules.request_payer());
        call.send().await.map(drop).map_err(|error| self.failed(request, &error))
    }

    /// Deletes one by one, some at a time, and returns what has become of those that are not gone.
    async fn delete_each(
        self: &Arc<Self>,
        versions: &[(ObjectKey, ETag)],
    ) -> Vec<(ObjectKey, Result<Deletion, S3Error>)> {
        let mut left = Vec::new();
        let mut deletions = JoinSet::new();
        for (key, version) in versions {
            if deletions.len() >= DELETIONS_MAX
                && let Some(outcome) = deletions.join_next().await
            {
                left.extend(outcome.unwrap_or_default());
            }
            let (gateway, key, version) = (Arc::clone(self), key.clone(), version.clone());
            deletions.spawn(async move {
                let outcome = gateway.delete_version(&key, &version).await;
                (!matches!(outcome, Ok(Deletion::Gone))).then_some((key, outcome))
            });
        }
        while let Some(outcome) = deletions.join_next().await {
            left.extend(outcome.unwrap_or_default());
        }
        left
    }

    async fn delete_at_once(
        &self,
        versions: &[(ObjectKey, ETag)],
    ) -> Result<Vec<(ObjectKey, S3Error)>, S3Error> {
        let request = self.request("DeleteObjects", None);
        let unsendable = |error: aws_sdk_s3::error::BuildError| {
            S3Error::local(S3ErrorKind::Unexpected, request.clone(), error.to_string())
        };
        let names_versions = self.deletes_versions_at_once();
        let identifier = |(key, version): &(ObjectKey, ETag)| {
            let version = names_versions.then(|| version.as_str().to_owned());
            ObjectIdentifier::builder().key(key.as_str()).set_e_tag(version).build()
        };
        let identifiers =
            versions.iter().map(identifier).collect::<Result<Vec<_>, _>>().map_err(unsendable)?;
        let batch =
            Delete::builder().set_objects(Some(identifiers)).quiet(true).build().map_err(unsendable)?;
        let _permit = self.permit().await;
        let call = self
            .clients
            .quick
            .delete_objects()
            .bucket(self.bucket.as_str())
            .delete(batch)
            .set_expected_bucket_owner(self.rules.expected_bucket_owner.clone())
            .set_request_payer(self.rules.request_payer());
        let output = call.send().await.map_err(|error| self.failed(request, &error))?;
        Ok(output
            .errors
            .into_iter()
            .flatten()
            .filter_map(|error| {
                let key = ObjectKey::parse(error.key?).ok()?;
                let request = self.request("DeleteObject", Some(key.as_str()));
                Some((key, S3Error::of_code(request, error.code, error.message)))
            })
            .collect())
    }

    fn learn_of_deletions(&self, standing: Standing) {
        self.conditions.set(Writing::Delete, &Precondition::MustMatch(ETag::new("any")), standing);
        if standing != Standing::Honoured {
            self.gaps.note(Gap::ConditionsOfDeletions);
        }
    }
}

/// Whether a deletion was refused for the version that it named.
fn is_about_version(kind: S3ErrorKind) -> bool {
    matches!(kind, S3ErrorKind::ConditionFailed | S3ErrorKind::Absent | S3ErrorKind::Conflict)
}

/// Whether this is how servers refuse DeleteObjects: as unknown, or for want of an MD5 of the
/// request, which the SDK does not send any more.
fn refuses_batches(error: &S3Error) -> bool {
    error.kind() == S3ErrorKind::Unsupported
        || error.status() == Some(405)
        || matches!(
            error.code(),
            Some("MissingContentMD5" | "InvalidRequest" | "InvalidArgument" | "MalformedXML")
        )
}

/// S3 API reference, DeleteObjects.
pub const DELETES_MAX: usize = 1000;

/// Deletions under way at once, where they are made one by one.
const DELETIONS_MAX: usize = 32;

/// Who meets more conflicts in a row has a writer beside them who never stops.
const ATTEMPTS_MAX: u32 = 4;
