//! Who owns an object, and what its ACL permits to whom.

/// Who owns what others write into a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// The bucket's owner, always; ACLs are switched off. The default of new buckets.
    #[default]
    BucketOwnerEnforced,
    /// The bucket's owner if the writer hands it over by ACL, else the writer.
    BucketOwnerPreferred,
    /// The writer.
    ObjectWriter,
}

/// The ACLs that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CannedAcl {
    /// Nobody but the object's owner.
    #[default]
    Private,
    /// Everybody may read.
    PublicRead,
    /// Everybody may read; writing means nothing for an object.
    PublicReadWrite,
    /// Every AWS account may read.
    AuthenticatedRead,
    /// Amazon EC2 may read bundles.
    AwsExecRead,
    /// The bucket's owner may read.
    BucketOwnerRead,
    /// The bucket's owner may do everything.
    BucketOwnerFullControl,
}

/// What an ACL can permit on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Its bytes and metadata.
    Read,
    /// Reading the ACL.
    ReadAcl,
    /// Writing the ACL.
    WriteAcl,
}

impl Ownership {
    /// Returns the name S3 uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::BucketOwnerEnforced => "BucketOwnerEnforced",
            Self::BucketOwnerPreferred => "BucketOwnerPreferred",
            Self::ObjectWriter => "ObjectWriter",
        }
    }

    /// Returns the mode of this name.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::BucketOwnerEnforced, Self::BucketOwnerPreferred, Self::ObjectWriter];
        all.into_iter().find(|ownership| ownership.name() == name)
    }
}

impl CannedAcl {
    /// Returns the name S3 uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::PublicRead => "public-read",
            Self::PublicReadWrite => "public-read-write",
            Self::AuthenticatedRead => "authenticated-read",
            Self::AwsExecRead => "aws-exec-read",
            Self::BucketOwnerRead => "bucket-owner-read",
            Self::BucketOwnerFullControl => "bucket-owner-full-control",
        }
    }

    /// Returns the ACL of this name.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::Private,
            Self::PublicRead,
            Self::PublicReadWrite,
            Self::AuthenticatedRead,
            Self::AwsExecRead,
            Self::BucketOwnerRead,
            Self::BucketOwnerFullControl,
        ];
        all.into_iter().find(|acl| acl.name() == name)
    }
}
