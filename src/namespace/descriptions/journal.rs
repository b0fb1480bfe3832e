//! What would have to be told S3 if this process died: one small file for each description that waits.
//!
//! A record is written aside and renamed, so a reader finds the old one or the new one; nothing is synchronised to the
//! disk. So it outlives this process, and against the death of the machine it is worth as much as a disk's own
//! attributes, which reach the platter some seconds later.

use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::name::ObjectKey;
use crate::s3::object::{COMMIT_ID, ETag, STANDARD};
use crate::s3::{NewObject, ObjectDetails, ObjectMeta, UserMetadata};

/// What is to be said of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) bucket: String,
    /// That of a directory ends in a slash.
    pub(super) key: String,
    /// The version that it is to be said of; `None` for the one that a commit is making, whose id is in `user`.
    etag: Option<String>,
    size: u64,
    /// With the id of the commit that made the version, where that is known.
    user: UserMetadata,
    content_type: Option<String>,
    storage_class: Option<String>,
}

impl Record {
    pub(super) fn new(bucket: &str, key: ObjectKey, meta: &ObjectMeta) -> Self {
        let details = meta.details.as_deref().cloned().unwrap_or_default();
        Self {
            bucket: bucket.to_owned(),
            key: key.as_str().to_owned(),
            etag: Some(meta.etag.as_str().to_owned()),
            size: meta.size,
            user: details.user,
            content_type: details.content_type,
            storage_class: meta.storage_class.clone(),
        }
    }

    /// What is to be said of the version that a commit is making.
    pub(super) fn of_commit(bucket: &str, key: ObjectKey, commit_id: &str, new: &NewObject) -> Self {
        let mut user = new.user.clone();
        user.insert(COMMIT_ID.to_owned(), commit_id.to_owned());
        Self {
            bucket: bucket.to_owned(),
            key: key.as_str().to_owned(),
            etag: None,
            size: 0,
            user,
            content_type: new.content_type.clone(),
            storage_class: new.storage_class.clone(),
        }
    }

    /// The version, with what it shall say about itself; `None` where it is not known which version that is.
    pub(super) fn meta(&self) -> Option<ObjectMeta> {
        Some(self.meta_of(&ETag::new(self.etag.as_ref()?), self.size))
    }

    /// A version, with what it shall say about itself.
    pub(super) fn meta_of(&self, etag: &ETag, size: u64) -> ObjectMeta {
        let (user, content_type) = (self.user.clone(), self.content_type.clone());
        ObjectMeta {
            etag: etag.clone(),
            size,
            last_modified: crate::clock::now(),
            storage_class: self.storage_class.clone(),
            details: Some(Arc::new(ObjectDetails { user, content_type, ..ObjectDetails::default() })),
        }
    }

    /// Whether this version says it already.
    pub(super) fn is_said_by(&self, now: &ObjectMeta) -> bool {
        let class = |class: &Option<String>| class.clone().unwrap_or_else(|| STANDARD.to_owned());
        let is_said = |details: &Arc<ObjectDetails>| {
            details.user == self.user && details.content_type == self.content_type
        };
        now.details.as_ref().is_some_and(is_said) && class(&now.storage_class) == class(&self.storage_class)
    }

    /// Whether it is to be said of the version that S3 has now.
    ///
    /// The same bytes written again have the same ETag, and the same version described anew may have another: so where
    /// both are known, the id of the commit tells.
    pub(super) fn is_of(&self, now: &ObjectMeta) -> bool {
        let theirs = now.details.as_ref().and_then(|details| details.user.get(COMMIT_ID));
        match (self.user.get(COMMIT_ID), theirs) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.etag.as_ref().is_some_and(|etag| *etag == now.etag.as_str()),
        }
    }
}

/// The records, in a folder of their own; none is kept where there is no folder.
#[derive(Debug)]
pub(super) struct Journal {
    directory: Option<PathBuf>,
    /// Held while a record is replaced or removed. Taken alone.
    changing: Mutex<()>,
}

impl Journal {
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, changing: Mutex::default() }
    }

    /// Writes a record down, in place of an older one of the same object.
    pub(super) fn put(&self, record: &Record) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let path = path(directory, &record.bucket, &record.key);
        let text = serde_json::to_vec(record).map_err(io::Error::other)?;
        let _changing = self.changing.lock();
        match write(&path, &text) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
                Ok(write(&path, &text)?)
            }
            written => Ok(written?),
        }
    }

    /// It has been told, or nothing is left that it could be said of.
    pub(super) fn remove(&self, bucket: &str, key: &ObjectKey) {
        let Some(directory) = &self.directory else { return };
        let _changing = self.changing.lock();
        remove(&path(directory, bucket, key.as_str()), key.as_str());
    }

    /// Whether this is what is written down of its object.
    pub(super) fn has(&self, record: &Record) -> bool {
        let directory = self.directory.as_ref();
        directory.is_some_and(|directory| {
            read(path(directory, &record.bucket, &record.key)).is_some_and(|now| now == *record)
        })
    }

    /// As [`remove`](Self::remove), unless something else is written down of the object by now.
    pub(super) fn remove_exactly(&self, record: &Record) {
        let Some(directory) = &self.directory else { return };
        let _changing = self.changing.lock();
        if self.has(record) {
            remove(&path(directory, &record.bucket, &record.key), &record.key);
        }
    }

    /// The records that an earlier process left; what cannot be read was never finished.
    pub(super) fn leftovers(&self) -> Vec<Record> {
        let entries = self.directory.as_ref().and_then(|directory| fs::read_dir(directory).ok());
        let paths = entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let is_record = |path: &PathBuf| path.extension().is_some_and(|extension| extension == RECORD);
        paths.filter(is_record).filter_map(read).collect()
    }
}

fn read(path: PathBuf) -> Option<Record> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn remove(path: &Path, key: &str) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, key, "the record of a description could not be removed");
        }
        _ => {}
    }
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("unfinished");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(text)?;
    fs::rename(aside, path)
}

fn path(directory: &Path, bucket: &str, key: &str) -> PathBuf {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, bucket, key).hash(&mut hasher);
        hasher.finish()
    };
    directory.join(format!("{:016x}{:016x}.{RECORD}", half(0), half(1)))
}

const RECORD: &str = "json";
