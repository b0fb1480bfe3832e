//! What S3 says about an object, and what we say about one we write.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// The version of an object's content, quotes included, as S3 writes it.
///
/// Not a hash of anything in general: multipart and encrypted objects have ETags of their own
/// making. All that may be relied upon is that another content has another ETag.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct ETag(Arc<str>);

impl From<String> for ETag {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<ETag> for String {
    fn from(etag: ETag) -> Self {
        etag.as_str().to_owned()
    }
}

impl ETag {
    /// Takes an ETag as it came over the wire; some servers leave the quotes away in listings.
    pub fn new(text: &str) -> Self {
        if text.starts_with('"') || text.starts_with("W/") {
            Self(text.into())
        } else {
            Self(format!("\"{text}\"").into())
        }
    }

    /// The ETag with its quotes, as a condition header carries it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The user metadata of an object: names without `x-amz-meta-`, in lower case.
pub type UserMetadata = BTreeMap<String, String>;

/// What S3 told us about one object.
#[derive(Debug, Clone)]
pub struct ObjectMeta {
    /// The version of the content.
    pub etag: ETag,
    /// Length of the content in bytes.
    pub size: u64,
    /// When S3 made this version.
    pub last_modified: SystemTime,
    /// How S3 keeps it; `None` is [`STANDARD`].
    pub storage_class: Option<String>,
    /// What only HEAD and GET tell; `None` when this came from a listing.
    pub details: Option<Arc<ObjectDetails>>,
}

/// The part of an object's description that listings leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectDetails {
    /// Everything the writer noted about it.
    pub user: UserMetadata,
    /// The media type, if any was given.
    pub content_type: Option<String>,
    /// Its id among the versions of its key, where the bucket keeps them.
    pub version_id: Option<String>,
    /// It lies in an archive, and no copy of it has been restored.
    pub archived: bool,
}

/// A non-empty range of an object's bytes: `start` up to but without `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ByteRange {
    /// The first byte.
    pub start: u64,
    /// The first byte that is no longer part of it.
    pub end: u64,
}

impl ByteRange {
    /// Number of bytes in the range.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether it has no bytes. S3 cannot be asked for such a range.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }
}

/// As the `Range` header has it, where the last byte is included.
impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes={}-{}", self.start, self.end - 1)
    }
}

/// The name in an object's metadata of the number of the commit that made it, by which this mount knows its own again.
pub const COMMIT_ID: &str = "s3xmount-commit";

/// What must be true of the key for a write to take effect. It follows from `open`; there is no default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing of that name (`If-None-Match: *`).
    MustNotExist,
    /// Still the version that the new content was made from (`If-Match`).
    MustMatch(ETag),
    /// Whatever is there: the last writer wins.
    Whatever,
}

/// What is said about an object when it is written, beside its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewObject {
    /// The user metadata, the commit id among it.
    pub user: UserMetadata,
    /// The media type.
    pub content_type: Option<String>,
    /// The storage class; `None` leaves it to the rules of the bucket.
    pub storage_class: Option<String>,
}

/// Whether objects of this class have to be restored before they can be read. GLACIER_IR need not.
pub fn is_archive(storage_class: &str) -> bool {
    matches!(storage_class, "GLACIER" | "DEEP_ARCHIVE")
}

/// The class that S3 mentions only in listings.
pub const STANDARD: &str = "STANDARD";

/// S3 user guide, "Amazon S3 multipart upload limits".
pub mod limits {
    /// The smallest part, except for the last one.
    pub const PART_BYTES_MIN: u64 = 5 << 20;
    /// The largest part, and the largest single PUT or copy.
    pub const PART_BYTES_MAX: u64 = 5 << 30;
    /// Parts of one upload.
    pub const PARTS_MAX: u64 = 10_000;
    /// The largest object: ten thousand of the largest parts, 48.8 TiB.
    pub const OBJECT_BYTES_MAX: u64 = PART_BYTES_MAX * PARTS_MAX;
    /// User metadata, names and values together.
    pub const USER_METADATA_BYTES_MAX: usize = 2048;
}
