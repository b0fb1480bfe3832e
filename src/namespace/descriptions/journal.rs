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

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::name::ObjectKey;
use crate::s3::object::ETag;
use crate::s3::{ObjectDetails, ObjectMeta, UserMetadata};

/// What is to be said of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) bucket: String,
    /// That of a directory ends in a slash.
    pub(super) key: String,
    /// The version that it is to be said of.
    etag: String,
    size: u64,
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
            etag: meta.etag.as_str().to_owned(),
            size: meta.size,
            user: details.user,
            content_type: details.content_type,
            storage_class: meta.storage_class.clone(),
        }
    }

    pub(super) fn meta(&self) -> ObjectMeta {
        let (user, content_type) = (self.user.clone(), self.content_type.clone());
        ObjectMeta {
            etag: ETag::new(&self.etag),
            size: self.size,
            last_modified: crate::clock::now(),
            storage_class: self.storage_class.clone(),
            details: Some(Arc::new(ObjectDetails { user, content_type, ..ObjectDetails::default() })),
        }
    }
}

/// The records, in a folder of their own; none is kept where there is no folder.
#[derive(Debug)]
pub(super) struct Journal {
    directory: Option<PathBuf>,
}

impl Journal {
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Self { directory }
    }

    /// Writes a record down, in place of an older one of the same object.
    pub(super) fn put(&self, record: &Record) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let path = path(directory, &record.bucket, &record.key);
        let text = serde_json::to_vec(record).map_err(io::Error::other)?;
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
        match fs::remove_file(path(directory, bucket, key.as_str())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, key = key.as_str(), "the record of a description could not be removed");
            }
            _ => {}
        }
    }

    /// The records that an earlier process left; what cannot be read was never finished.
    pub(super) fn leftovers(&self) -> Vec<Record> {
        let entries = self.directory.as_ref().and_then(|directory| fs::read_dir(directory).ok());
        let paths = entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let is_record = |path: &PathBuf| path.extension().is_some_and(|extension| extension == RECORD);
        let read = |path: PathBuf| serde_json::from_slice(&fs::read(path).ok()?).ok();
        paths.filter(is_record).filter_map(read).collect()
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
