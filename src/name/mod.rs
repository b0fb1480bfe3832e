//! Names, parsed once at the edge and trusted from there on.
//!
//! S3 knows buckets and keys; a filesystem knows directories and file names. The types here
//! hold what both can say, and the two ways between them: a [`DirPrefix`] joined with a
//! [`FileName`] is an [`ObjectKey`] or a longer prefix, and a listed key below a prefix is
//! a [`FileName`] or one of the few things that a directory cannot show.
//!
//! **The rule for keys that cannot be shown.** A directory shows an entry for each next
//! component of the keys below its prefix, provided that the component is a [`FileName`]:
//! not empty, not `.` or `..`, at most 255 bytes, no NUL. A key with any other component
//! (`a//b`, `a/./b`) is left out of listings and cannot be reached. Nothing this mount does makes,
//! changes or removes such a key: `rmdir` of a directory that holds one says that it is not empty,
//! and renaming a directory above it takes it along. Where both `x` and `x/` exist, `x` is the
//! directory and the object `x` is hidden, as it cannot be both; opening it for writing says
//! EISDIR, so it is never replaced unseen.

mod bucket;

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::fmt;
use std::sync::Arc;

pub use self::bucket::BucketName;

use crate::error::{Error, Kind, Result};

/// The key of an object: 1 to 1024 bytes of UTF-8, not ending in `/` unless it is a marker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// Parses a key.
    ///
    /// # Errors
    /// [`Kind::NameTooLong`] above S3's 1,024 bytes, [`Kind::InvalidArgument`] when empty.
    pub fn parse(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if text.is_empty() {
            return Err(Error::new(Kind::InvalidArgument, "an object key cannot be empty"));
        }
        if text.len() > KEY_BYTES_MAX {
            let length = text.len();
            return Err(Error::new(
                Kind::NameTooLong,
                format!("the key has {length} bytes; S3 allows {KEY_BYTES_MAX}"),
            ));
        }
        Ok(Self(text))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The prefix that all keys below a directory share: empty for a whole bucket, else ending in `/`.
///
/// Invariant: empty, or at most 1024 bytes and ending in `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct DirPrefix(String);

impl DirPrefix {
    /// The prefix of a whole bucket.
    pub fn root() -> Self {
        Self::default()
    }

    /// Parses a prefix as people write it: with or without slashes at either end.
    ///
    /// # Errors
    /// Where a component could not be a directory's name.
    pub fn parse(text: &str) -> Result<Self> {
        text.split('/')
            .filter(|component| !component.is_empty())
            .try_fold(Self::root(), |prefix, component| prefix.directory(&FileName::parse(component)?))
    }

    /// The prefix of the directory `name` below this one.
    ///
    /// # Errors
    /// [`Kind::NameTooLong`] where no key below it could be one of S3.
    pub fn directory(&self, name: &FileName) -> Result<Self> {
        let text = format!("{}{name}/", self.0);
        ObjectKey::parse(text).map(|key| Self(key.0))
    }

    /// The directory that this one lies in, and its name there; none of the whole bucket.
    pub fn split(&self) -> Option<(Self, FileName)> {
        let parent = self.parent()?;
        let name = self.0.strip_prefix(parent.as_str())?.strip_suffix('/')?;
        Some((parent, FileName::parse(name).ok()?))
    }

    /// The prefix of the directory that this one lies in; none of the whole bucket.
    pub fn parent(&self) -> Option<Self> {
        let path = self.0.strip_suffix('/')?;
        Some(Self(path[..path.rfind('/').map_or(0, |slash| slash + 1)].to_owned()))
    }

    /// The key of the file `name` in this directory.
    ///
    /// # Errors
    /// [`Kind::NameTooLong`] above S3's limit.
    pub fn file(&self, name: &FileName) -> Result<ObjectKey> {
        ObjectKey::parse(format!("{}{name}", self.0))
    }

    /// The key of this directory's marker object, which is the prefix itself; none for a whole bucket.
    pub fn marker(&self) -> Option<ObjectKey> {
        (!self.0.is_empty()).then(|| ObjectKey(self.0.clone()))
    }

    /// The same place below another prefix, for keys that move when a directory is renamed.
    ///
    /// Returns `None` for a key that does not lie below this prefix.
    pub fn rebase(&self, key: &ObjectKey, onto: &Self) -> Option<String> {
        key.0.strip_prefix(&self.0).map(|rest| format!("{}{rest}", onto.0))
    }

    /// Whether `other` is this directory or lies below it.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DirPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One component of a path, as both S3 and a filesystem can hold it.
///
/// Cheap to clone: the inode table, the cache and every directory stream hold the same text.
///
/// Invariant: 1 to 255 bytes of UTF-8, no `/`, no NUL, neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(Arc<str>);

impl FileName {
    /// Parses one component.
    ///
    /// # Errors
    /// [`Kind::NameTooLong`] above 255 bytes, [`Kind::InvalidArgument`] for the other rules.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > NAME_BYTES_MAX {
            let length = text.len();
            return Err(Error::new(
                Kind::NameTooLong,
                format!("the name has {length} bytes; a directory entry holds {NAME_BYTES_MAX}"),
            ));
        }
        let shown = !matches!(text, "" | "." | "..") && !text.contains(['/', '\0']);
        if shown {
            Ok(Self(text.into()))
        } else {
            Err(Error::new(Kind::InvalidArgument, format!("{text:?} cannot be a file name")))
        }
    }

    /// Parses a name as the kernel hands it over.
    ///
    /// # Errors
    /// [`Kind::InvalidName`] when it is not UTF-8, which S3 keys must be; else as [`parse`](Self::parse).
    pub fn from_os(name: &OsStr) -> Result<Self> {
        match name.to_str() {
            Some(text) => Self::parse(text),
            None => Err(Error::new(Kind::InvalidName, format!("{name:?} is not UTF-8, and S3 keys are"))),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for FileName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// S3 user guide, "Naming Amazon S3 objects".
pub const KEY_BYTES_MAX: usize = 1024;

/// `NAME_MAX` of Linux.
pub const NAME_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_written_with_or_without_slashes() {
        for text in ["a/b", "/a/b/", "a/b/", "a//b"] {
            assert_eq!(DirPrefix::parse(text).map(|p| p.as_str().to_owned()).ok().as_deref(), Some("a/b/"));
        }
        assert_eq!(DirPrefix::parse("/").ok(), Some(DirPrefix::root()));
        assert!(DirPrefix::parse("a/../b").is_err());
        let parent = |text| DirPrefix::parse(text).ok().and_then(|prefix| prefix.parent());
        assert_eq!(parent("a/b"), DirPrefix::parse("a").ok());
        assert_eq!((parent("a"), parent("")), (Some(DirPrefix::root()), None));
    }

    #[test]
    fn a_component_that_no_directory_can_show_is_no_file_name() {
        let long = "x".repeat(256);
        for text in ["", ".", "..", "a/b", "nul\0", long.as_str()] {
            assert!(FileName::parse(text).is_err(), "{text:?}");
        }
        assert!(FileName::parse(&"x".repeat(255)).is_ok());
        assert!(FileName::parse("...").is_ok());
    }

    #[test]
    fn the_longest_key_is_the_one_of_s3() {
        let prefix = DirPrefix(format!("{}/", "d".repeat(1000)));
        let fits = FileName::parse(&"f".repeat(23)).and_then(|name| prefix.file(&name));
        assert_eq!(fits.map(|key| key.as_str().len()).ok(), Some(1024));
        let over = FileName::parse(&"f".repeat(24)).and_then(|name| prefix.file(&name));
        assert_eq!(over.map_err(|error| error.kind()).err(), Some(Kind::NameTooLong));
    }

    #[test]
    fn a_renamed_directory_takes_its_keys_along() {
        let from = DirPrefix("old/".into());
        let onto = DirPrefix("new/place/".into());
        let key = ObjectKey("old/x/y".into());
        assert_eq!(from.rebase(&key, &onto).as_deref(), Some("new/place/x/y"));
        assert_eq!(onto.rebase(&key, &from), None);
    }
}
