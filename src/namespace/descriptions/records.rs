//! What is written down of the descriptions that wait, and what becomes of those that a dead process has left.
//!
//! What it has left shows from the beginning. S3 is told of it when the commits that it has left are done with
//! ([`recovery`](crate::write::recovery)): a commit may be what makes the version that is meant, or may demand the one that
//! is there as it is. And first S3 is asked which version it has: what was said of one that is gone is dropped.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::super::{BucketId, Folder, Namespace, Place, Species};
use super::journal::{Journal, Record};
use super::telling::TOLD_AT_ONCE;
use super::{FOLDER, Subject, Waiting};
use crate::error::{Error, Result};
use crate::name::{DirPrefix, FileName, ObjectKey};
use crate::s3::{ObjectMeta, S3ErrorKind};

impl Namespace {
    /// Takes in what a dead process has left, and shows it.
    pub(in crate::namespace) fn find_left_descriptions(&self) {
        let left = self.descriptions.journal.leftovers();
        for record in &left {
            if let Some((subject, meta)) = self.subject_of(record).zip(record.meta()) {
                self.wait_for_its_turn(&subject, meta, None);
            }
        }
        *self.descriptions.left.lock() = left;
    }

    /// Tells S3 what a dead process has left to be said, but for the objects (bucket and key) that `is_held` names: commits of
    /// theirs are still to be finished.
    ///
    /// Returns whether all is done. What is left is for another call, or for the next mount.
    pub async fn resume_descriptions(self: &Arc<Self>, is_held: impl Fn(&str, &str) -> bool) -> bool {
        let left = std::mem::take(&mut *self.descriptions.left.lock());
        let (held, ready): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|record| is_held(&record.bucket, &record.key));
        let (mut resuming, mut later) = (JoinSet::new(), held);
        let mut ready = ready.into_iter();
        loop {
            for record in ready.by_ref().take(TOLD_AT_ONCE - resuming.len()) {
                let namespace = Arc::clone(self);
                resuming.spawn(async move { namespace.resume(record).await });
            }
            match resuming.join_next().await {
                Some(Ok(left)) => later.extend(left),
                Some(Err(error)) => tracing::error!(%error, "a description could not be dealt with"),
                None => break,
            }
        }
        let is_done = later.is_empty();
        self.descriptions.left.lock().extend(later);
        is_done
    }

    /// Tells S3 what a record says, if it is of the version that S3 has. Returns the record where S3 gives no answer.
    async fn resume(self: &Arc<Self>, record: Record) -> Option<Record> {
        let (bucket, key) = (&record.bucket, &record.key);
        let Some(subject) = self.subject_of(&record) else {
            tracing::warn!(
                bucket,
                key,
                "an earlier mount has left this to be said of a file that is not in this mount"
            );
            return None;
        };
        let meant = self.meant_by(&record, &subject).await;
        // Meanwhile somebody may have said something else, or have taken it along.
        let is_waiting = self.descriptions.state.lock().waiting.contains_key(&subject);
        if !self.descriptions.journal.has(&record) || is_waiting != record.meta().is_some() {
            return None;
        }
        match meant {
            Meant::Said => self.forget_left(&subject, &record),
            Meant::There(meta) => {
                tracing::info!(bucket, key, "an earlier mount has left this to be said of a file");
                self.wait_for_its_turn(&subject, meta, None);
                // Whether it failed has been logged.
                self.bring(&subject).await.unwrap_or_default();
            }
            Meant::Gone => {
                let what = "mode, owner or times that were set before the last mount ended";
                tracing::warn!(bucket, key, "{what} are not kept: the version is gone, or was never made");
                self.forget_left(&subject, &record);
            }
            Meant::Untold(error) if error.is_passing() => return Some(record),
            // Telling it will be refused, too, and kept as that.
            Meant::Untold(_) if is_waiting => self.bring(&subject).await.unwrap_or_default(),
            Meant::Untold(error) => {
                let what = "mode, owner or times that were set before the last mount ended";
                tracing::warn!(bucket, key, %error, "{what} wait for the next mount");
            }
        }
        None
    }

    /// Asks S3 for the version that a record means.
    async fn meant_by(&self, record: &Record, subject: &Subject) -> Meant {
        if subject.species == Species::Directory {
            // Its marker is written anew, whatever there is.
            return record.meta().map_or(Meant::Gone, Meant::There);
        }
        let Ok(key) = self.key_of(subject) else { return Meant::Gone };
        match self.gateway(subject.place.folder.bucket).head(&key).await {
            Ok(now) if !record.is_of(&now) => Meant::Gone,
            // Some commit has taken it along.
            Ok(now) if record.is_said_by(&now) => Meant::Said,
            Ok(now) => Meant::There(record.meta_of(&now.etag, now.size)),
            Err(error) if error.kind() == S3ErrorKind::Absent => Meant::Gone,
            Err(error) => Meant::Untold(error.into()),
        }
    }

    /// What a dead process has left is of a version that is gone.
    fn forget_left(&self, subject: &Subject, record: &Record) {
        let of_it = record.meta().map(|meta| meta.etag);
        let is_it = |waiting: &Waiting| Some(&waiting.meta.etag) == of_it.as_ref();
        let mut state = self.descriptions.state.lock();
        if state.waiting.get(subject).is_some_and(is_it) {
            state.waiting.remove(subject);
        }
        drop(state);
        self.descriptions.journal.remove_exactly(record);
        self.drop_answer(&subject.place);
    }

    pub(super) fn record(&self, subject: &Subject, meta: &ObjectMeta) -> Result<Record> {
        Ok(Record::new(
            self.gateway(subject.place.folder.bucket).bucket().as_str(),
            self.key_of(subject)?,
            meta,
        ))
    }

    pub(super) fn key_of(&self, subject: &Subject) -> Result<ObjectKey> {
        let Subject { place: Place { folder, name }, species } = subject;
        match species {
            Species::File => folder.prefix.file(name),
            Species::Directory => Ok(folder.folder(name)?.prefix.marker().expect("below a bucket")),
        }
    }

    pub(super) fn forget_record(&self, subject: &Subject) {
        if let Ok(key) = self.key_of(subject) {
            self.descriptions
                .journal
                .remove(self.gateway(subject.place.folder.bucket).bucket().as_str(), &key);
        }
    }

    fn subject_of(&self, record: &Record) -> Option<Subject> {
        let at = self.buckets.iter().position(|bucket| bucket.gateway.bucket().as_str() == record.bucket)?;
        let (key, species) = match record.key.strip_suffix('/') {
            Some(directory) => (directory, Species::Directory),
            None => (record.key.as_str(), Species::File),
        };
        let (above, name) = key.rsplit_once('/').unwrap_or(("", key));
        let prefix = DirPrefix::parse(above).ok()?;
        if !self.buckets[at].root.contains(&prefix) {
            return None;
        }
        let folder = Folder { bucket: BucketId(u16::try_from(at).ok()?), prefix };
        Some(Subject { place: Place { folder, name: FileName::parse(name).ok()? }, species })
    }
}

/// The objects, by bucket and key, of which something is written down to be said, in the journal directory of a mount that
/// has ended. What cannot be read is left out.
pub fn left_descriptions(journal: &Path) -> Vec<(String, String)> {
    let records = Journal::new(Some(journal.join(FOLDER))).leftovers();
    let mut objects: Vec<_> = records.into_iter().map(|record| (record.bucket, record.key)).collect();
    objects.sort_unstable();
    objects
}

/// What has become of the version that a record is to be said of.
enum Meant {
    /// It is there, and is to say this.
    There(ObjectMeta),
    /// It is there, and says so.
    Said,
    /// There is another one, or none.
    Gone,
    /// S3 does not tell.
    Untold(Error),
}
