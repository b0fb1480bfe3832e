//! Writing, copying and deleting objects.
//!
//! Every request that makes an object goes through `owned!`, so it has the ACL that the bucket
//! owner needs, the encryption, the storage class and the expected owner. A copy takes none of
//! these over from its source; UploadPart must not have them.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, MetadataDirective, ObjectIdentifier};
use bytes::{Bytes, BytesMut};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::{S3Error, S3ErrorKind};
use super::integrity::{Form, may_be_about_form};
use super::object::{ByteRange, ETag, NewObject, ObjectMeta, Precondition, UserMetadata, limits};
use super::{Gateway, WriteRules};
use crate::name::ObjectKey;

/// Stamps what the bucket owner requires on a request that makes an object.
macro_rules! owned {
    ($call:expr, $rules:expr) => {{
        let rules: &WriteRules = $rules;
        $call
            .set_acl(rules.acl.clone())
            .set_expected_bucket_owner(rules.expected_bucket_owner.clone())
            .set_request_payer(rules.request_payer())
            .set_storage_class(rules.storage_class.clone())
            .set_server_side_encryption(rules.encryption.clone())
            .set_ssekms_key_id(rules.kms_key_id.clone())
    }};
}
pub(super) use owned;

/// Puts the condition of a write on a request.
macro_rules! conditional {
    ($call:expr, $condition:expr) => {
        match $condition {
            Precondition::MustNotExist => $call.if_none_match("*"),
            Precondition::MustMatch(etag) => $call.if_match(etag.as_str()),
            Precondition::Whatever => $call,
        }
    };
}
pub(super) use conditional;

/// Sends a body in the form that the server takes.
macro_rules! guarded {
    ($call:expr, $form:expr) => {{
        let call = if $form.signs_payload { $call } else { $call.disable_payload_signing() };
        match $form.forgoes_checksum() {
            true => call.config_override(crate::s3::client::without_checksum()),
            false => call,
        }
    }};
}
pub(super) use guarded;

/// The bytes that a request carries up. Cheap to clone, so that a retry can send them again.
#[derive(Debug, Clone, Default)]
pub struct Body(Bytes);

impl Body {
    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn stream(&self) -> ByteStream {
        ByteStream::from(self.0.clone())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

/// Joins pieces; a single one is not copied. The SDK hashes and sends one piece of memory at the
/// least cost: a stream of several would go up as trailing-checksum chunks, each hashed apart.
impl From<Vec<Bytes>> for Body {
    fn from(mut pieces: Vec<Bytes>) -> Self {
        if pieces.len() == 1 {
            return Self(pieces.remove(0));
        }
        let mut joined = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
        pieces.iter().for_each(|piece| joined.extend_from_slice(piece));
        Self(joined.freeze())
    }
}

impl Gateway {
    /// Writes an object in one request.
    ///
    /// # Errors
    /// [`S3ErrorKind::ConditionFailed`] when `condition` does not hold (any more),
    /// [`S3ErrorKind::Conflict`] when it could not be decided.
    pub async fn put(
        &self,
        key: &ObjectKey,
        body: Body,
        new: &NewObject,
        condition: &Precondition,
    ) -> Result<ETag, S3Error> {
        let _permit = self.permit().await;
        let mut form = self.integrity.form();
        loop {
            match self.put_once(key, &body, new, condition, form).await {
                Ok(etag) => {
                    self.integrity.settle(form);
                    return Ok(etag);
                }
                Err(error) if may_be_about_form(&error) => match form.next() {
                    Some(next) => form = next,
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }

    async fn put_once(
        &self,
        key: &ObjectKey,
        body: &Body,
        new: &NewObject,
        condition: &Precondition,
        form: Form,
    ) -> Result<ETag, S3Error> {
        let request = self.request("PutObject", Some(key.as_str()));
        let call = self.clients.bulk.put_object().bucket(self.bucket.as_str()).key(key.as_str());
        let call = conditional!(owned!(call, &self.rules), condition)
            .set_content_type(new.content_type.clone())
            .set_metadata(Some(metadata(&new.user)))
            .set_checksum_algorithm(form.algorithm())
            .body(body.stream())
            .customize();
        let call = guarded!(call, form);
        let output = call.send().await.map_err(|error| S3Error::sort(request.clone(), &error))?;
        self.etag_of(request, output.e_tag)
    }

    /// Copies one version of an object inside S3, in parts where it is too large for one request.
    ///
    /// `new` replaces the description, `None` keeps the source's. `source` may be another bucket.
    ///
    /// # Errors
    /// [`S3ErrorKind::ConditionFailed`] when the source is another version by now, or when
    /// `condition` on the target does not hold.
    pub async fn copy(
        self: &Arc<Self>,
        source: &Self,
        source_key: &ObjectKey,
        source_meta: &ObjectMeta,
        key: &ObjectKey,
        new: Option<&NewObject>,
        condition: &Precondition,
    ) -> Result<ETag, S3Error> {
        if source_meta.size > limits::PART_BYTES_MAX {
            return self.copy_in_parts(source, source_key, source_meta, key, new, condition).await;
        }
        let request = self.request("CopyObject", Some(key.as_str()));
        let _permit = self.permit().await;
        let call = self.clients.bulk.copy_object().bucket(self.bucket.as_str()).key(key.as_str());
        let call = conditional!(owned!(call, &self.rules), condition)
            .copy_source(source.copy_source(source_key))
            .copy_source_if_match(source_meta.etag.as_str())
            .set_expected_source_bucket_owner(source.rules.expected_bucket_owner.clone());
        let call = match new {
            None => call.metadata_directive(MetadataDirective::Copy),
            Some(new) => call
                .metadata_directive(MetadataDirective::Replace)
                .set_content_type(new.content_type.clone())
                .set_metadata(Some(metadata(&new.user))),
        };
        let output = call.send().await.map_err(|error| S3Error::sort(request.clone(), &error))?;
        self.etag_of(request, output.copy_object_result.and_then(|result| result.e_tag))
    }

    async fn copy_in_parts(
        self: &Arc<Self>,
        source: &Self,
        source_key: &ObjectKey,
        source_meta: &ObjectMeta,
        key: &ObjectKey,
        new: Option<&NewObject>,
        condition: &Precondition,
    ) -> Result<ETag, S3Error> {
        let described = match new {
            Some(new) => new.clone(),
            None => self.description(source, source_key, source_meta).await?,
        };
        let upload = self.begin_upload(key, &described).await?;
        let part_bytes = COPY_PART_BYTES.max(source_meta.size.div_ceil(limits::PARTS_MAX));
        let ranges = (0..source_meta.size)
            .step_by(usize::try_from(part_bytes).unwrap_or(usize::MAX))
            .map(|start| ByteRange { start, end: (start + part_bytes).min(source_meta.size) });
        let mut parts = Vec::new();
        for (number, range) in (1..).zip(ranges) {
            match upload.copy_part_from(number, source, source_key, &source_meta.etag, range).await {
                Ok(part) => parts.push(part),
                Err(error) => return Err(abandoned(upload, error).await),
            }
        }
        match upload.complete(parts, condition).await {
            Ok(etag) => Ok(etag),
            Err((error, upload)) => Err(abandoned(upload, error).await),
        }
    }

    /// What the source says about itself, for a copy that cannot be told to keep it.
    async fn description(
        &self,
        source: &Self,
        key: &ObjectKey,
        meta: &ObjectMeta,
    ) -> Result<NewObject, S3Error> {
        let details = match &meta.details {
            Some(details) => Arc::clone(details),
            None => source.head(key).await?.details.unwrap_or_default(),
        };
        Ok(NewObject { user: details.user.clone(), content_type: details.content_type.clone() })
    }

    /// Deletes an object. One that is absent already is deleted too.
    ///
    /// # Errors
    /// [`S3ErrorKind::Denied`] without the right to delete.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), S3Error> {
        let request = self.request("DeleteObject", Some(key.as_str()));
        let _permit = self.permit().await;
        let call = self
            .clients
            .quick
            .delete_object()
            .bucket(self.bucket.as_str())
            .key(key.as_str())
            .set_expected_bucket_owner(self.rules.expected_bucket_owner.clone())
            .set_request_payer(self.rules.request_payer());
        call.send().await.map(drop).map_err(|error| S3Error::sort(request, &error))
    }

    /// Deletes up to 1,000 objects in one request, and returns those that could not be.
    ///
    /// # Errors
    /// When the request as a whole failed.
    pub async fn delete_many(&self, keys: &[ObjectKey]) -> Result<Vec<(ObjectKey, S3Error)>, S3Error> {
        debug_assert!(keys.len() <= DELETES_MAX, "S3 takes at most 1,000 keys at once");
        let request = self.request("DeleteObjects", None);
        let unsendable = |error: aws_sdk_s3::error::BuildError| {
            S3Error::local(S3ErrorKind::Unexpected, request.clone(), error.to_string())
        };
        let identifiers = keys
            .iter()
            .map(|key| ObjectIdentifier::builder().key(key.as_str()).build())
            .collect::<Result<Vec<_>, _>>()
            .map_err(unsendable)?;
        let batch =
            Delete::builder().set_objects(Some(identifiers)).quiet(true).build().map_err(unsendable)?;
        let _permit = self.permit().await;
        let call = self
            .clients
            .quick
            .delete_objects()
            .bucket(self.bucket.as_str())
            .delete(batch)
            .set_expected_bucket_owner(self.rules.expected_bucket_owner.clone())
            .set_request_payer(self.rules.request_payer());
        let output = call.send().await.map_err(|error| S3Error::sort(request, &error))?;
        Ok(output
            .errors
            .into_iter()
            .flatten()
            .filter_map(|error| {
                let key = ObjectKey::parse(error.key?).ok()?;
                let request = self.request("DeleteObject", Some(key.as_str()));
                Some((key, S3Error::of_code(request, error.code, error.message)))
            })
            .collect())
    }

    pub(super) fn etag_of(
        &self,
        request: super::error::RequestName,
        etag: Option<String>,
    ) -> Result<ETag, S3Error> {
        match etag {
            Some(etag) => Ok(ETag::new(&etag)),
            None => Err(S3Error::local(S3ErrorKind::Unexpected, request, "the answer lacks an ETag")),
        }
    }

    /// The header that names a source of a copy: percent-encoded, which the SDK leaves to us.
    pub(super) fn copy_source(&self, key: &ObjectKey) -> String {
        let key = utf8_percent_encode(key.as_str(), KEY_ENCODING);
        match self.bucket.as_str() {
            arn if arn.starts_with("arn:") => format!("{arn}/object/{key}"),
            name => format!("{name}/{key}"),
        }
    }
}

/// Gives an upload up, and returns why. Abort may be denied; then a lifecycle rule cleans up.
async fn abandoned(upload: super::Upload, error: S3Error) -> S3Error {
    if let Err(abort) = upload.abort().await {
        tracing::debug!(%abort, "an upload could not be aborted");
    }
    error
}

pub(super) fn metadata(user: &UserMetadata) -> HashMap<String, String> {
    user.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// S3 API reference, DeleteObjects.
pub const DELETES_MAX: usize = 1000;

/// 512 MiB: few enough requests, and each small enough to be answered within its patience.
const COPY_PART_BYTES: u64 = 512 << 20;

/// What AWS's own signer leaves as it is, and the slash.
const KEY_ENCODING: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
