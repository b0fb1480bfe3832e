//! The names of extended attributes, and what each is.

use crate::error::{Error, Kind, Result};

/// An extended attribute, by what it is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name<'a> {
    /// What S3 knows of the object.
    Told(Told),
    /// What somebody has set.
    Own(&'a str),
}

/// What S3 tells of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The version of the content, without quotes.
    ETag,
    /// The id of the version, where the bucket keeps versions.
    VersionId,
    /// The storage class. Can be set.
    StorageClass,
    /// The media type. Can be set.
    ContentType,
    /// The canonical id of the account that the object belongs to.
    Owner,
    /// The ACL, as JSON.
    Acl,
    /// The checksum of the content, as `ALGORITHM:base64`.
    Checksum,
    /// Where it is, as the AWS tools write it.
    Uri,
}

impl<'a> Name<'a> {
    /// Sorts a name.
    ///
    /// # Errors
    /// [`Kind::NotSupported`] outside `user.*`: S3 has no labels, capabilities or ACLs of a file system.
    /// [`Kind::NoAttribute`] for a name in `user.s3.*` that means nothing.
    pub(super) fn parse(name: &'a str) -> Result<Self> {
        match (name.strip_prefix(TOLD), name.strip_prefix("user.")) {
            (Some(told), _) => Told::parse(told)
                .map(Self::Told)
                .ok_or_else(|| Error::new(Kind::NoAttribute, format!("there is no {name}"))),
            (None, Some(rest)) if !rest.is_empty() => Ok(Self::Own(name)),
            _ => Err(Error::new(Kind::NotSupported, "only extended attributes of users are kept in S3")),
        }
    }
}

impl Told {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "etag" => Self::ETag,
            "version-id" => Self::VersionId,
            "storage-class" => Self::StorageClass,
            "content-type" => Self::ContentType,
            "owner" => Self::Owner,
            "acl" => Self::Acl,
            "checksum" => Self::Checksum,
            "uri" => Self::Uri,
            _ => return None,
        })
    }
}

/// Where the names begin that are ours to give.
pub(super) const TOLD: &str = "user.s3.";
