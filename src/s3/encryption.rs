//! How S3 encrypts an object, which its description tells and its bytes do not.

use super::Gateway;
use super::customer_key::keyed;
use super::error::S3Error;
use crate::name::ObjectKey;

/// The encryption of an object at rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encryption {
    /// The algorithm: `AES256`, `aws:kms` or `aws:kms:dsse`; servers other than AWS may not say.
    pub algorithm: Option<String>,
    /// The ARN of the KMS key, where one is used.
    pub kms_key_id: Option<String>,
}

impl Encryption {
    /// Whether reading takes the right to use a KMS key.
    pub fn uses_key(&self) -> bool {
        self.algorithm.as_deref().is_some_and(|algorithm| algorithm.starts_with("aws:kms"))
    }
}

impl Gateway {
    /// Asks how an object is encrypted. That takes no right to use its key (S3 API reference, HeadObject).
    ///
    /// # Errors
    /// As [`head`](Self::head), but for codes: an answer to HEAD has none.
    pub async fn encryption(&self, key: &ObjectKey) -> Result<Encryption, S3Error> {
        let request = self.request("HeadObject", Some(key.as_str()));
        let _permit = self.permit().await;
        let call = self.clients.quick.head_object().bucket(self.bucket.as_str()).key(key.as_str());
        let call = call
            .set_expected_bucket_owner(self.rules.expected_bucket_owner.clone())
            .set_request_payer(self.rules.request_payer());
        let output = keyed!(call, self.rules).send().await.map_err(|error| self.failed(request, &error))?;
        let algorithm = output.server_side_encryption.map(|algorithm| algorithm.as_str().to_owned());
        Ok(Encryption { algorithm, kms_key_id: output.ssekms_key_id })
    }
}
