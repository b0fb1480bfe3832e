//! A request that was tried as the mount would make it, and where that was denied, in other ways, too.
//!
//! S3 does not say why it denies something. But a request that is denied in one form and works in another
//! tells it.

use crate::s3::{S3Error, S3ErrorKind};

/// What a request came to.
#[derive(Debug)]
pub(super) struct Attempt {
    /// As the mount makes it.
    pub(super) outcome: Result<(), S3Error>,
    /// The first other way in which it works, where it is denied as the mount makes it.
    pub(super) works: Option<Otherwise>,
}

/// What a request does otherwise than the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// It does not say whom the bucket has to belong to.
    AnyOwner,
    /// It is signed with a session that nothing bounds but the role's own policies.
    Unbounded,
    /// It sends the ACL that cross-account policies demand.
    AclForOwner,
    /// It sends no ACL.
    WithoutAcl,
    /// It asks for encryption with S3's own keys.
    S3Keys,
    /// It asks for encryption with a KMS key.
    KmsKey,
}

impl Attempt {
    /// What was tried in one way only.
    pub(super) fn single(outcome: Result<(), S3Error>) -> Self {
        Self { outcome, works: None }
    }

    /// Whether another form of the request may fare better.
    pub(super) fn is_refused(&self) -> bool {
        [S3ErrorKind::Denied, S3ErrorKind::AclRefused, S3ErrorKind::KeyRefused]
            .iter()
            .any(|kind| self.is(*kind))
    }

    pub(super) fn is_ok(&self) -> bool {
        self.outcome.is_ok()
    }

    /// Whether it is denied, in whatever way it is tried.
    pub(super) fn is_denied_always(&self) -> bool {
        self.works.is_none() && self.is(S3ErrorKind::Denied)
    }

    pub(super) fn is(&self, kind: S3ErrorKind) -> bool {
        self.outcome.as_ref().is_err_and(|error| error.kind() == kind)
    }
}
