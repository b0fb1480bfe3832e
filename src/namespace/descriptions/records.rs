//! What is written down of the descriptions that wait, and what becomes of those that a dead process has left.

use std::sync::Arc;

use super::super::{BucketId, Folder, Namespace, Place, Species};
use super::Subject;
use super::journal::Record;
use crate::error::Result;
use crate::name::{DirPrefix, FileName, ObjectKey};
use crate::s3::ObjectMeta;

impl Namespace {
    /// What a dead process has left waits again, and is told in the background.
    pub fn resume_descriptions(self: &Arc<Self>) {
        for record in self.descriptions.journal.leftovers() {
            match self.subject_of(&record) {
                Some(subject) => {
                    let meta = record.meta();
                    tracing::info!(key = record.key, "an earlier mount has left this to be said of a file");
                    self.insert(subject, meta);
                }
                None => tracing::warn!(
                    bucket = record.bucket,
                    key = record.key,
                    "an earlier mount has left this to be said of a file that is not in this mount"
                ),
            }
        }
        let namespace = Arc::clone(self);
        // Each failure has been logged.
        self.tasks.spawn("resume descriptions", async move { namespace.tell_descriptions().await.is_ok() });
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
