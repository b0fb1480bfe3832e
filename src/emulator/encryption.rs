//! How objects are encrypted where they lie.
//!
//! Nothing is really encrypted: what is modelled is who may have the bytes. A key of S3's own asks nobody. A
//! KMS key lies in some account, has a policy of its own, and is asked at every use
//! ([`kms`](super::kms)). A customer's key travels with every request; S3 forgets it, and knows it again.

use aws_smithy_types::base64;
use s3s::crypto::{Checksum as _, Md5};

use super::refusal::Refusal;

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
    /// A key that the customer keeps (SSE-C).
    Customer(CustomerKey),
}

/// What S3 remembers of a key that the customer keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerKey {
    /// The MD5 of the key, in base64.
    pub md5: String,
}

impl CustomerKey {
    /// Parses the three headers of a request, or of the source of a copy.
    pub fn parse(
        algorithm: Option<&str>,
        key: Option<&str>,
        md5: Option<&str>,
    ) -> Result<Option<Self>, Refusal> {
        let (algorithm, key, md5) = match (algorithm, key, md5) {
            (None, None, None) => return Ok(None),
            (Some(algorithm), Some(key), Some(md5)) => (algorithm, key, md5),
            _ => return Err(Refusal::invalid_argument(INCOMPLETE)),
        };
        if algorithm != "AES256" {
            return Err(Refusal::new(400, "InvalidEncryptionAlgorithmError", ONLY_AES));
        }
        let key = base64::decode(key).ok().filter(|key| key.len() == KEY_BYTES);
        let key = key.ok_or_else(|| Refusal::invalid_argument(INVALID_KEY))?;
        let mut digest = Md5::new();
        digest.update(&key);
        if base64::encode(digest.finalize()) != md5 {
            return Err(Refusal::invalid_argument(WRONG_MD5));
        }
        Ok(Some(Self { md5: md5.to_owned() }))
    }
}

impl Encryption {
    /// Returns encryption with this KMS key.
    pub fn kms(key: impl Into<String>) -> Self {
        Self::Kms { key: key.into(), dual_layer: false }
    }

    /// Returns the name that `x-amz-server-side-encryption` has for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::S3Key | Self::Customer(_) => "AES256",
            Self::Kms { dual_layer: false, .. } => "aws:kms",
            Self::Kms { dual_layer: true, .. } => "aws:kms:dsse",
        }
    }

    /// Returns the ARN of the KMS key, where there is one.
    pub fn kms_key(&self) -> Option<&str> {
        match self {
            Self::S3Key | Self::Customer(_) => None,
            Self::Kms { key, .. } => Some(key),
        }
    }

    /// Returns the customer's key, where there is one.
    pub fn customer_key(&self) -> Option<&CustomerKey> {
        match self {
            Self::Customer(key) => Some(key),
            Self::S3Key | Self::Kms { .. } => None,
        }
    }

    /// Makes sure that a request for an object brought the key that it needs, and none that it does not.
    pub fn check_key(&self, brought: Option<&CustomerKey>) -> Result<(), Refusal> {
        match (self.customer_key(), brought) {
            (None, None) => Ok(()),
            (Some(key), Some(brought)) if key == brought => Ok(()),
            (Some(_), Some(_)) => Err(Refusal::access_denied()),
            (Some(_), None) => Err(Refusal::invalid_request(KEY_MISSING)),
            (None, Some(_)) => Err(Refusal::invalid_request(NOT_APPLICABLE)),
        }
    }

    /// Makes sure that a part brought the key with which its upload was begun.
    pub fn check_part_key(&self, brought: Option<&CustomerKey>) -> Result<(), Refusal> {
        match (self.customer_key(), brought) {
            (key, brought) if key == brought => Ok(()),
            (Some(_), None) => Err(Refusal::invalid_request(PART_KEY_MISSING)),
            _ => Err(Refusal::invalid_request(PART_KEY_OTHER)),
        }
    }
}

const KEY_BYTES: usize = 32;
const INCOMPLETE: &str = "Requests specifying Server Side Encryption with Customer provided keys must provide \
                          the encryption algorithm, the client calculated MD5 of the secret key and the key.";
const ONLY_AES: &str = "The encryption request you specified is not valid. Supported value: AES256.";
const INVALID_KEY: &str = "The secret key was invalid for the specified algorithm.";
const WRONG_MD5: &str = "The calculated MD5 hash of the key did not match the hash that was provided.";
const KEY_MISSING: &str = "The object was stored using a form of Server Side Encryption. The correct parameters \
                           must be provided to retrieve the object.";
const NOT_APPLICABLE: &str = "The encryption parameters are not applicable to this object.";
const PART_KEY_MISSING: &str = "The multipart upload initiate requested encryption. Subsequent part requests \
                                must include the appropriate encryption parameters.";
const PART_KEY_OTHER: &str = "The provided encryption parameters did not match the ones used originally.";
