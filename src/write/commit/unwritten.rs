//! Versions that take no bytes from here: another description, a copy, a name that is claimed.

use super::{CommitReceipt, described, fresh_id, may_hide_an_effect, named, seen, verdict};
use crate::error::Result;
use crate::s3::object::{ObjectMeta, Precondition};
use crate::s3::{Body, S3Error};
use crate::write::{Origin, Target};

/// Replaces the description of the version that S3 has, and leaves its bytes.
///
/// # Errors
/// [`Kind::Changed`](crate::error::Kind::Changed) when that version is no longer there.
pub(in crate::write) async fn describe(target: &Target, version: &ObjectMeta) -> Result<CommitReceipt> {
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
pub(in crate::write) async fn copy(
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
/// [`Kind::Exists`](crate::error::Kind::Exists) when somebody has it.
pub(in crate::write) async fn claim(target: &Target) -> Result<ObjectMeta> {
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
