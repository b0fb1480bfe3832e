//! What S3 knows of an object beside its description, each for a request of its own.

use aws_sdk_s3::types::{ChecksumMode, Grantee};

use super::Gateway;
use super::customer_key::keyed;
use super::error::S3Error;
use crate::name::ObjectKey;

/// Who may do what with an object, beside what policies say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectAcl {
    /// The canonical id of the account that the object belongs to.
    pub owner: Option<String>,
    /// Who was granted what: a canonical id, an address or the URI of a group, and the permission.
    pub grants: Vec<(String, String)>,
}

impl Gateway {
    /// Asks for an object's ACL.
    ///
    /// # Errors
    /// [`S3ErrorKind::Denied`](super::S3ErrorKind::Denied) without `s3:GetObjectAcl`.
    pub async fn object_acl(&self, key: &ObjectKey) -> Result<ObjectAcl, S3Error> {
        let request = self.request("GetObjectAcl", Some(key.as_str()));
        let _permit = self.permit().await;
        let call = self
            .clients
            .quick
            .get_object_acl()
            .bucket(self.bucket.as_str())
            .key(key.as_str())
            .set_expected_bucket_owner(self.rules.expected_bucket_owner.clone())
            .set_request_payer(self.rules.request_payer());
        let output = call.send().await.map_err(|error| self.failed(request, &error))?;
        let grants = output
            .grants
            .unwrap_or_default()
            .into_iter()
            .filter_map(|grant| Some((name_of(grant.grantee?)?, grant.permission?.as_str().to_owned())));
        Ok(ObjectAcl { owner: output.owner.and_then(|owner| owner.id), grants: grants.collect() })
    }

    /// Asks a listing for the canonical id of the account that an object belongs to, which even those are
    /// told who may not read it; `None` where the object is not listed.
    ///
    /// # Errors
    /// [`S3ErrorKind::Denied`](super::S3ErrorKind::Denied) without the right to list.
    pub async fn owner_of(&self, key: &ObjectKey) -> Result<Option<String>, S3Error> {
        let request = self.request("ListObjectsV2", Some(key.as_str()));
        let _permit = self.permit().await;
        let call = self
            .clients
            .quick
            .list_objects_v2()
            .bucket(self.bucket.as_str())
            .prefix(key.as_str())
            .max_keys(1)
            .fetch_owner(true)
            .set_expected_bucket_owner(self.rules.expected_bucket_owner.clone())
            .set_request_payer(self.rules.request_payer());
        let output = call.send().await.map_err(|error| self.failed(request, &error))?;
        // The key itself is the first of all that begin with it.
        let first = output.contents.unwrap_or_default().into_iter().next();
        let listed = first.filter(|object| object.key.as_deref() == Some(key.as_str()));
        Ok(listed.and_then(|object| object.owner?.id))
    }

    /// Asks for an object's checksum, as `ALGORITHM:base64`; `None` where it has none.
    ///
    /// # Errors
    /// As [`head`](Self::head); with a KMS key also without `kms:Decrypt` and `kms:GenerateDataKey`.
    pub async fn checksum(&self, key: &ObjectKey) -> Result<Option<String>, S3Error> {
        let request = self.request("HeadObject", Some(key.as_str()));
        let _permit = self.permit().await;
        let call = self
            .clients
            .quick
            .head_object()
            .bucket(self.bucket.as_str())
            .key(key.as_str())
            .checksum_mode(ChecksumMode::Enabled)
            .set_expected_bucket_owner(self.rules.expected_bucket_owner.clone())
            .set_request_payer(self.rules.request_payer());
        let output = keyed!(call, self.rules).send().await.map_err(|error| self.failed(request, &error))?;
        let sums = [
            ("CRC64NVME", output.checksum_crc64_nvme),
            ("CRC32", output.checksum_crc32),
            ("CRC32C", output.checksum_crc32_c),
            ("SHA1", output.checksum_sha1),
            ("SHA256", output.checksum_sha256),
        ];
        Ok(sums.into_iter().find_map(|(name, sum)| Some(format!("{name}:{}", sum?))))
    }
}

fn name_of(grantee: Grantee) -> Option<String> {
    grantee.id.or(grantee.uri).or(grantee.email_address)
}
