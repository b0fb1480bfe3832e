//! A file that becomes a copy of another, inside S3.
//!
//! The copy is made when it is asked for, as if the file were synchronised at once, and not at the close: whoever
//! has copied may remove or change the source the next moment.
//!
//! The kernel asks for 4 GiB at most and then goes on. All of a larger file is copied at the first of these calls, and
//! the file cut to what was asked for; at each further one it gets as much of the copy back.

use std::sync::Arc;

use super::{Life, Session};
use crate::error::{Error, Kind, Result};
use crate::name::{BucketName, ObjectKey};
use crate::s3::object::{ETag, ObjectMeta};
use crate::s3::{Gateway, S3ErrorKind};
use crate::write::commit::{self, CommitReceipt};

/// A version of an object, and the way to it.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The way to its bucket.
    pub gateway: Arc<Gateway>,
    /// Its key.
    pub key: ObjectKey,
    /// Which version.
    pub version: ObjectMeta,
}

/// What the version that a session builds on is a copy of.
#[derive(Debug)]
pub(super) struct Twin {
    bucket: BucketName,
    key: ObjectKey,
    version: ETag,
    /// The copy.
    made: ETag,
}

impl Twin {
    fn of(origin: &Origin, made: ETag) -> Self {
        let Origin { gateway, key, version } = origin;
        Self { bucket: gateway.bucket().clone(), key: key.clone(), version: version.etag.clone(), made }
    }

    fn is_of(&self, origin: &Origin) -> bool {
        let Origin { gateway, key, version } = origin;
        self.bucket == *gateway.bucket() && self.key == *key && self.version == version.etag
    }
}

impl Session {
    /// Goes on with a copy of `origin` where it was cut: makes the file up to `length` bytes longer by what
    /// `origin` has from `offset` on. Returns how many bytes that were; `None` where they have to be read and written.
    ///
    /// # Errors
    /// What a failed commit came to.
    pub fn extend_copy(&self, origin: &Origin, offset: u64, length: u64) -> Result<Option<u64>> {
        let mut core = self.core.lock();
        core.check()?;
        let version = core.content.base().map(|base| &base.etag);
        let is_twin =
            core.twin.as_ref().is_some_and(|twin| twin.is_of(origin) && version == Some(&twin.made));
        let is_live = matches!(core.life, Life::Live);
        let is_at_rest = is_live && core.early.is_none() && !core.content.has_overlay();
        if !is_twin || !is_at_rest || offset != core.content.size() {
            return Ok(None);
        }
        let size = origin.version.size.min(offset.saturating_add(length));
        core.content.show_more(size);
        core.begin_ahead(self.sessions.options.part_sizes);
        if !core.content.is_dirty()
            && let Some(journal) = core.journal.take()
        {
            journal.end();
        }
        Ok(Some(size - offset))
    }

    /// Makes an empty file a copy of `origin`, which no byte of comes here, and which S3 has when this returns.
    ///
    /// Returns `None` where the bytes have to be read and written instead: there is something in the file by
    /// now, or S3 does not copy this (a right that the role lacks, a source that was replaced). Nothing was done
    /// then. This goes on to its end even if nobody waits for it.
    ///
    /// # Errors
    /// What S3 said where that may succeed another time, and what a failed commit came to.
    pub async fn copy_from(self: &Arc<Self>, origin: Origin) -> Result<Option<CommitReceipt>> {
        let session = Arc::clone(self);
        let task = self.sessions.tasks.spawn("copy", async move { session.copy_in_turn(&origin).await });
        task.await.unwrap_or_else(|panic| Err(Error::caused(Kind::Io, "the copy broke off", panic)))
    }

    async fn copy_in_turn(self: &Arc<Self>, origin: &Origin) -> Result<Option<CommitReceipt>> {
        let _turn = self.turn.lock().await;
        let (target, condition) = {
            let mut core = self.core.lock();
            core.check()?;
            if !core.is_blank() {
                return Ok(None);
            }
            // What is written meanwhile comes on top.
            let _empty = core.content.seal();
            core.description_is_due = false;
            (core.target.clone(), core.condition.clone())
        };
        let copied = commit::copy(&target, &condition, origin).await;
        let receipt = match copied {
            Ok(receipt) if self.shows_nothing_else(&receipt) => {
                self.core.lock().twin = Some(Twin::of(origin, receipt.meta().etag.clone()));
                return Ok(Some(receipt));
            }
            // Somebody wrote at the same moment, which is in nobody's copy: it is copied once more, by hand.
            Ok(_) => Ok(None),
            Err(error) if is_worth_a_plain_copy(error.kind()) => {
                tracing::debug!(%error, "not copied inside S3");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        };
        self.move_down();
        receipt
    }

    /// Takes the copy as what the file shows, unless something was written while it was made.
    fn shows_nothing_else(&self, receipt: &CommitReceipt) -> bool {
        let shows = self.core.lock().content.show(receipt.meta().clone());
        self.conclude(receipt);
        if shows {
            self.core.lock().begin_ahead(self.sessions.options.part_sizes);
        }
        shows
    }
}

/// Whether the bytes may still be copied by reading and writing them, after S3 has refused to.
fn is_worth_a_plain_copy(kind: S3ErrorKind) -> bool {
    matches!(
        kind,
        S3ErrorKind::Denied
            | S3ErrorKind::KeyRefused
            | S3ErrorKind::NotTheOwner
            | S3ErrorKind::AclRefused
            | S3ErrorKind::Unsupported
            | S3ErrorKind::TooLarge
            | S3ErrorKind::WrongRegion
            // The source's, or the target's: reading the one and committing the other tell which.
            | S3ErrorKind::ConditionFailed
            | S3ErrorKind::Absent
            | S3ErrorKind::Archived
    )
}
