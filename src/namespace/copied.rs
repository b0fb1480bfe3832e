//! Copies of one object to another key, and whether they were made where the answer does not say so.
//!
//! A copy may have its effect and its answer get lost. The next attempt, the gateway's or ours, then meets our own copy,
//! and that the target must not exist, or that nobody answered, means nothing by itself. One look at the target tells: it
//! is our copy if it has the size and the metadata that it was to have, and either the number of the commit that made
//! the original, which nobody else's has, or at least the original's ETag. Of what others wrote, encrypted with keys
//! whose ETags are no hashes, that cannot be told, and the error stays what it is.

use std::sync::Arc;

use super::said;
use crate::name::ObjectKey;
use crate::s3::object::COMMIT_ID;
use crate::s3::{ETag, Gateway, NewObject, ObjectMeta, Precondition, S3Error, S3ErrorKind, UserMetadata};

/// A version of an object, and where it is to be copied.
#[derive(Debug)]
pub(super) struct Copying<'a> {
    pub(super) source: &'a Arc<Gateway>,
    pub(super) old: &'a ObjectKey,
    pub(super) meta: &'a ObjectMeta,
    pub(super) target: &'a Arc<Gateway>,
    pub(super) key: &'a ObjectKey,
    /// What the copy is to say about itself; `None` for what the original says.
    pub(super) new: Option<&'a NewObject>,
    /// Of the target.
    pub(super) condition: &'a Precondition,
}

impl Copying<'_> {
    /// Makes the copy, and returns its ETag.
    ///
    /// # Errors
    /// Those of [`Gateway::copy`].
    pub(super) async fn make(&self) -> Result<ETag, S3Error> {
        let Self { source, old, meta, target, key, new, condition } = *self;
        match target.copy(source, old, meta, key, new, condition).await {
            Err(error) if may_hide_an_effect(error.kind()) => self.made().await.ok_or(error),
            outcome => outcome,
        }
    }

    /// Whether it was the target, and not the original, that was not what it had to be.
    pub(super) async fn meets_something(&self, error: &S3Error) -> bool {
        (error.kind(), self.condition) == (S3ErrorKind::ConditionFailed, &Precondition::MustNotExist)
            && self.source.head(self.old).await.is_ok_and(|now| now.etag == self.meta.etag)
    }

    async fn made(&self) -> Option<ETag> {
        let there = self.target.head(self.key).await.ok()?;
        if there.size != self.meta.size {
            return None;
        }
        let original = match (self.new, &self.meta.details) {
            (Some(_), _) | (None, Some(_)) => self.meta.clone(),
            (None, None) => self.source.head(self.old).await.ok().filter(|now| now.etag == self.meta.etag)?,
        };
        let wanted = self.new.map_or_else(|| said(&original).user, |new| new.user.clone());
        is_copy(&said(&there).user, &wanted, there.etag == original.etag).then_some(there.etag)
    }
}

fn is_copy(there: &UserMetadata, wanted: &UserMetadata, has_its_etag: bool) -> bool {
    there == wanted && (has_its_etag || wanted.contains_key(COMMIT_ID))
}

/// Whether a copy that was answered so may have been made all the same.
fn may_hide_an_effect(kind: S3ErrorKind) -> bool {
    matches!(
        kind,
        S3ErrorKind::ConditionFailed
            | S3ErrorKind::Conflict
            | S3ErrorKind::NoUpload
            | S3ErrorKind::Unavailable
            | S3ErrorKind::Throttled
            | S3ErrorKind::Unexpected
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saying(pairs: &[(&str, &str)]) -> UserMetadata {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_copy_is_known_by_its_commit_or_its_etag_and_never_by_its_looks_alone() {
        let (ours, other) = (saying(&[(COMMIT_ID, "1")]), saying(&[(COMMIT_ID, "2")]));
        let plain = saying(&[("mtime", "1")]);
        assert!(is_copy(&ours, &ours, false));
        assert!(!is_copy(&other, &ours, true), "the same bytes, by somebody else");
        assert!(is_copy(&plain, &plain, true));
        assert!(!is_copy(&plain, &plain, false));
        assert!(!is_copy(&saying(&[]), &plain, true));
    }
}
