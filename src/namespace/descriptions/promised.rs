//! What is written down of a description that a writer of the file has taken over.
//!
//! A session brings its file's description to S3 with its bytes, or after them. What waited when the file was opened, and
//! what is set while it is open, was acknowledged all the same: should this process die before, the next mount says it of
//! the version that is there by then, or of the one that an unfinished commit turns out to have made.

use std::sync::Arc;

use super::journal::Record;
use super::refused::Refusal;
use super::{Subject, Taken};
use crate::error::Result;
use crate::namespace::{Namespace, Place, Species, described};
use crate::s3::{NewObject, ObjectMeta};

/// What is written down of a file's description while its session has it.
#[derive(Debug)]
#[must_use = "its record stays until the promise is settled"]
pub struct Promise {
    subject: Subject,
    /// What waited before the session took it over.
    waited: Option<(ObjectMeta, Option<Refusal>)>,
}

impl From<Taken> for Promise {
    fn from(Taken { subject, meta, refusal }: Taken) -> Self {
        Self { subject, waited: Some((meta, refusal)) }
    }
}

impl Namespace {
    /// Writes down what is to be said of a version of a file that its session will describe later.
    ///
    /// # Errors
    /// Those of the local disk; `promise` is as it was then.
    pub fn promise_of_version(
        &self,
        promise: &mut Option<Promise>,
        place: &Place,
        version: &ObjectMeta,
        new: &NewObject,
    ) -> Result<()> {
        self.promise(promise, place, |subject| {
            self.record(subject, &described(version.etag.clone(), version.size, new))
        })
    }

    /// Writes down what is to be said of the version that a commit of this id makes, if it does.
    ///
    /// # Errors
    /// As [`promise_of_version`](Self::promise_of_version).
    pub fn promise_of_commit(
        &self,
        promise: &mut Option<Promise>,
        place: &Place,
        commit_id: &str,
        new: &NewObject,
    ) -> Result<()> {
        let bucket = self.gateway(place.folder.bucket).bucket();
        self.promise(promise, place, |subject| {
            Ok(Record::of_commit(bucket.as_str(), self.key_of(subject)?, commit_id, new))
        })
    }

    fn promise(
        &self,
        promise: &mut Option<Promise>,
        place: &Place,
        record: impl FnOnce(&Subject) -> Result<Record>,
    ) -> Result<()> {
        let subject = Subject { place: place.clone(), species: Species::File };
        self.descriptions.journal.put(&record(&subject)?)?;
        match promise {
            Some(promise) if promise.subject == subject => {}
            // It was renamed.
            promise => {
                let waited = promise.take().and_then(|before| {
                    self.forget_record(&before.subject);
                    before.waited
                });
                *promise = Some(Promise { subject, waited });
            }
        }
        Ok(())
    }

    /// S3 has what was promised, or nothing is left that it could be said of.
    pub fn promise_kept(&self, promise: Option<Promise>) {
        if let Some(Promise { subject, .. }) = promise {
            self.forget_record(&subject);
        }
    }

    /// The session has failed: what waited before it waits again.
    pub fn promise_returned(self: &Arc<Self>, promise: Option<Promise>) {
        let Some(Promise { subject, waited }) = promise else { return };
        let Some((meta, refusal)) = waited else { return self.forget_record(&subject) };
        // In the place of what the session was to say later.
        let noted = self.record(&subject, &meta).and_then(|record| self.descriptions.journal.put(&record));
        if let Err(error) = noted {
            tracing::warn!(%error, "what waits to be said of a file is not kept beyond this mount");
        }
        self.put_back_unless(false, Some(Taken { subject, meta, refusal }));
    }
}
