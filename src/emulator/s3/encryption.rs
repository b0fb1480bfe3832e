//! Encryption: from headers to what encrypts an object, and who may use its key.

use super::Call;
use crate::emulator::checksum::Tagging;
use crate::emulator::encryption::{CustomerKey, Encryption};
use crate::emulator::kms::{KeyUse, managed_key};
use crate::emulator::policy::Context;
use crate::emulator::refusal::Refusal;
use crate::emulator::store::{Bucket, Object};

/// What a write asks for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// `x-amz-server-side-encryption`.
    pub(super) algorithm: Option<String>,
    /// `x-amz-server-side-encryption-aws-kms-key-id`.
    pub(super) kms_key: Option<String>,
    /// The key that the customer keeps.
    pub(super) customer_key: Option<CustomerKey>,
}

/// Collects what a write asks for.
macro_rules! encryption_asked {
    ($call:expr, $input:expr) => {
        $crate::emulator::s3::encryption::Asked {
            algorithm: $input.server_side_encryption.as_ref().map(|algorithm| algorithm.as_str().to_owned()),
            kms_key: $input.ssekms_key_id.clone(),
            customer_key: $crate::emulator::s3::encryption::customer_key!($call, $input),
        }
    };
}
pub(super) use encryption_asked;

/// The customer's key that a request brings.
macro_rules! customer_key {
    ($call:expr, $input:expr) => {
        $call.customer_key([
            $input.sse_customer_algorithm.as_deref(),
            $input.sse_customer_key.as_deref(),
            $input.sse_customer_key_md5.as_deref(),
        ])?
    };
}
pub(super) use customer_key;

/// The customer's key that a copy brings for its source.
macro_rules! source_key {
    ($call:expr, $input:expr) => {
        $call.customer_key([
            $input.copy_source_sse_customer_algorithm.as_deref(),
            $input.copy_source_sse_customer_key.as_deref(),
            $input.copy_source_sse_customer_key_md5.as_deref(),
        ])?
    };
}
pub(super) use source_key;

/// Says in an answer which key of the customer's was used.
macro_rules! set_customer_key {
    ($output:expr, $encryption:expr) => {{
        if let Some(key) = $encryption.customer_key() {
            $output.server_side_encryption = None;
            $output.sse_customer_algorithm = Some("AES256".to_owned());
            $output.sse_customer_key_md5 = Some(key.md5.clone());
        }
    }};
}
pub(super) use set_customer_key;

/// Says in an answer how the object is encrypted.
macro_rules! set_encryption {
    ($output:expr, $encryption:expr) => {{
        let encryption: &$crate::emulator::encryption::Encryption = $encryption;
        $output.server_side_encryption = Some(ServerSideEncryption::from_static(encryption.name()));
        $output.ssekms_key_id = encryption.kms_key().map(str::to_owned);
    }};
}
pub(super) use set_encryption;

impl Asked {
    /// What conditions of policies can look at.
    pub(super) fn describe(&self, context: Context) -> Context {
        context
            .with_some("s3:x-amz-server-side-encryption", self.algorithm.as_deref())
            .with_some("s3:x-amz-server-side-encryption-aws-kms-key-id", self.kms_key.as_deref())
            .with_some(
                "s3:x-amz-server-side-encryption-customer-algorithm",
                self.customer_key.as_ref().map(|_| "AES256"),
            )
    }
}

impl<I> Call<I> {
    /// What a new object will be encrypted with, if the caller may use that key for it.
    pub(super) fn encryption(
        &self,
        bucket: &Bucket,
        key: &str,
        asked: &Asked,
    ) -> Result<Encryption, Refusal> {
        if let Some(customer_key) = &asked.customer_key {
            return match (&asked.algorithm, &asked.kms_key) {
                (None, None) => Ok(Encryption::Customer(customer_key.clone())),
                _ => Err(Refusal::invalid_argument(TWO_ENCRYPTIONS)),
            };
        }
        let encryption = match (asked.algorithm.as_deref(), &asked.kms_key) {
            (None, None) => bucket.encryption(),
            (Some("AES256"), None) => Encryption::S3Key,
            (Some(algorithm @ ("aws:kms" | "aws:kms:dsse")), named) => Encryption::Kms {
                key: self.kms_key(bucket, named.as_deref()),
                dual_layer: algorithm == "aws:kms:dsse",
            },
            (Some("AES256") | None, Some(_)) => return Err(Refusal::invalid_argument(KEY_WITHOUT_KMS)),
            (Some(_), _) => {
                return Err(Refusal::invalid_argument("The encryption method specified is not supported"));
            }
        };
        self.require_key(bucket, key, &encryption, "kms:GenerateDataKey")?;
        Ok(encryption)
    }

    /// The customer's key in three headers, which never travels in the open.
    pub(super) fn customer_key(&self, headers: [Option<&str>; 3]) -> Result<Option<CustomerKey>, Refusal> {
        let [algorithm, key, md5] = headers;
        let key = CustomerKey::parse(algorithm, key, md5)?;
        match key {
            Some(_) if !self.world.pretend_tls => Err(Refusal::invalid_argument(NOT_IN_THE_OPEN)),
            key => Ok(key),
        }
    }

    /// Makes sure that the caller may have the bytes of an object, as far as its key goes.
    pub(super) fn require_decrypt(&self, bucket: &Bucket, key: &str, object: &Object) -> Result<(), Refusal> {
        self.require_key(bucket, key, &object.encryption, "kms:Decrypt")
    }

    /// Makes sure that the caller may use the key of an encryption, if it is one that anybody must be asked for.
    pub(super) fn require_key(
        &self,
        bucket: &Bucket,
        key: &str,
        encryption: &Encryption,
        action: &str,
    ) -> Result<(), Refusal> {
        let Some(kms_key) = encryption.kms_key() else { return Ok(()) };
        let context = self.world.ambient(&self.admission.caller, Context::default());
        let context = context.with("kms:EncryptionContext:aws:s3:arn", bucket.object_arn(key));
        let usage = KeyUse { key: kms_key, action, region: &bucket.region };
        self.world.keys.require(&self.admission.caller, usage, context)
    }

    /// Where the ETag of what is encrypted like this comes from: only with S3's own key it is an MD5.
    pub(super) fn tagging(&self, encryption: &Encryption) -> Tagging {
        match encryption {
            Encryption::S3Key => self.world.tagging,
            Encryption::Kms { .. } | Encryption::Customer(_) => Tagging::Opaque,
        }
    }

    /// The full ARN of a key. What is no ARN is looked for in the caller's account.
    fn kms_key(&self, bucket: &Bucket, named: Option<&str>) -> String {
        let (region, account) = (&bucket.region, self.writer(bucket));
        match named {
            None => managed_key(region, account),
            Some(arn) if arn.starts_with("arn:") => arn.to_owned(),
            Some(id) => format!("arn:aws:kms:{region}:{account}:key/{id}"),
        }
    }
}

const NOT_IN_THE_OPEN: &str = "Requests specifying Server Side Encryption with Customer provided keys must be \
                               made over a secure connection.";
const TWO_ENCRYPTIONS: &str =
    "Server Side Encryption with Customer provided key is incompatible with the encryption method specified";
const KEY_WITHOUT_KMS: &str = "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms";
