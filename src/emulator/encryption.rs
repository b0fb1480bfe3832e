//! How objects are encrypted where they lie.
//!
//! Nothing is really encrypted: what is modelled is who may have the bytes. A key of S3's own asks nobody. A
//! KMS key lies in some account, has a policy of its own, and is asked at every use
//! ([`kms`](super::kms)).

/// What encrypts an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Encryption {
    /// A key of S3's own (SSE-S3), which is what happens when nobody says anything.
    #[default]
    S3Key,
    /// A key of KMS (SSE-KMS, DSSE-KMS).
    Kms {
        /// The key's ARN.
        key: String,
        /// Whether everything is encrypted twice (DSSE-KMS).
        dual_layer: bool,
    },
}

impl Encryption {
    /// Returns encryption with this KMS key.
    pub fn kms(key: impl Into<String>) -> Self {
        Self::Kms { key: key.into(), dual_layer: false }
    }

    /// Returns the name that `x-amz-server-side-encryption` has for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::S3Key => "AES256",
            Self::Kms { dual_layer: false, .. } => "aws:kms",
            Self::Kms { dual_layer: true, .. } => "aws:kms:dsse",
        }
    }

    /// Returns the ARN of the KMS key, where there is one.
    pub fn kms_key(&self) -> Option<&str> {
        match self {
            Self::S3Key => None,
            Self::Kms { key, .. } => Some(key),
        }
    }
}
