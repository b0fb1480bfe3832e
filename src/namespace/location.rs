//! Where an inode lies in S3, as a value.

use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::name::{DirPrefix, FileName, ObjectKey};
use crate::s3::Gateway;

/// One of the configured buckets, or of the prefixes in them, that the mount's root shows.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Its name below the mount point.
    pub directory: FileName,
    /// The way to it.
    pub gateway: Arc<Gateway>,
    /// What of it is shown.
    pub root: DirPrefix,
    /// Refuses every change, whatever the policies say.
    pub read_only: bool,
    /// Directories that are there whatever S3 says or refuses to say, as paths below what is shown.
    pub directories: Vec<DirPrefix>,
}

/// Which of the mount's buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketId(pub u16);

/// A directory: the mount's root, or a prefix of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Directory {
    /// The mount point, whose entries are the configured buckets.
    Root,
    /// All keys below a prefix.
    In(Folder),
}

/// A directory of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Folder {
    /// The bucket.
    pub bucket: BucketId,
    /// What the keys in it begin with.
    pub prefix: DirPrefix,
}

/// A file of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct File {
    /// The bucket.
    pub bucket: BucketId,
    /// The object.
    pub key: ObjectKey,
}

impl Directory {
    /// The directory as one of a bucket.
    ///
    /// # Errors
    /// [`Kind::NotPermitted`] for the mount's root, in which only the configuration makes entries.
    pub fn folder(self) -> Result<Folder> {
        match self {
            Self::In(folder) => Ok(folder),
            Self::Root => Err(Error::new(
                Kind::NotPermitted,
                "the entries of the mount point are the configured buckets and cannot be changed here",
            )),
        }
    }
}

impl Folder {
    /// The directory `name` in this one.
    ///
    /// # Errors
    /// [`Kind::NameTooLong`] above S3's limit for keys.
    pub fn folder(&self, name: &FileName) -> Result<Self> {
        Ok(Self { bucket: self.bucket, prefix: self.prefix.directory(name)? })
    }

    /// The file `name` in this directory.
    ///
    /// # Errors
    /// [`Kind::NameTooLong`] above S3's limit for keys.
    pub fn file(&self, name: &FileName) -> Result<File> {
        Ok(File { bucket: self.bucket, key: self.prefix.file(name)? })
    }
}
