//! Writing objects.
//!
//! Every request that makes an object goes through `owned!`, so it has the ACL that the bucket
//! owner needs, the encryption, the storage class and the expected owner. A copy takes none of
//! these over from its source; UploadPart must not have them.

use std::collections::HashMap;

use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};

use super::Gateway;
use super::concessions::{Concession, Wish};
use super::conditions::Writing;
use super::error::{S3Error, S3ErrorKind};
use super::object::{ByteRange, ETag, NewObject, Precondition, UserMetadata};
use crate::name::ObjectKey;

/// Stamps what the bucket owner requires on a request that makes an object; `$class` is what its writer wants.
macro_rules! owned {
    ($call:expr, $rules:expr, $class:expr) => {{
        let rules: &$crate::s3::WriteRules = $rules;
        let class: Option<&str> = $class;
        let class = class.map(aws_sdk_s3::types::StorageClass::from).or_else(|| rules.storage_class.clone());
        $crate::s3::customer_key::keyed!($call, rules)
            .set_storage_class(class)
            .set_acl(rules.acl.clone())
            .set_expected_bucket_owner(rules.expected_bucket_owner.clone())
            .set_request_payer(rules.request_payer())
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

/// Takes off a request what the server does not know.
macro_rules! conceded {
    ($call:expr, $concession:expr) => {{
        let concession: Concession = $concession;
        let call =
            if concession.sends_condition { $call } else { $call.set_if_match(None).set_if_none_match(None) };
        if concession.sends_acl { call } else { call.set_acl(None) }
    }};
}
pub(super) use conceded;

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
        let wish = self.wish(Writing::Put, true, condition);
        let once = |concession| self.put_if_it_holds(key, &body, new, condition, concession);
        let etag = self.conceding(wish, once).await?;
        if !self.wants_proof(Writing::Put, condition, &etag, body.len() as u64) {
            return Ok(etag);
        }
        let again = self.put_once(key, &body, new, condition, self.known_concession(wish)).await;
        Ok(self.prove(Writing::Put, key, condition, etag, again).await)
    }

    async fn put_if_it_holds(
        &self,
        key: &ObjectKey,
        body: &Body,
        new: &NewObject,
        condition: &Precondition,
        concession: Concession,
    ) -> Result<ETag, S3Error> {
        self.look_first(Writing::Put, key, condition).await?;
        self.put_once(key, body, new, condition, concession).await
    }

    async fn put_once(
        &self,
        key: &ObjectKey,
        body: &Body,
        new: &NewObject,
        condition: &Precondition,
        concession: Concession,
    ) -> Result<ETag, S3Error> {
        let _permit = self.permit().await;
        let form = concession.form;
        let request = self.request("PutObject", Some(key.as_str()));
        let call = self.clients.bulk.put_object().bucket(self.bucket.as_str()).key(key.as_str());
        let call = owned!(call, &self.rules, new.storage_class.as_deref());
        let call = conceded!(conditional!(call, condition), concession)
            .set_content_type(new.content_type.clone())
            .set_metadata(Some(metadata(&new.user)))
            .set_checksum_algorithm(form.algorithm())
            .body(body.stream())
            .customize();
        let call = guarded!(call, form);
        let output = call.send().await.map_err(|error| self.failed(request.clone(), &error))?;
        self.etag_of(request, output.e_tag)
    }

    /// All bytes of a range of one version. A body that breaks is asked for again by whoever called.
    pub(super) async fn fetch(
        &self,
        key: &ObjectKey,
        range: ByteRange,
        version: &ETag,
    ) -> Result<Vec<Bytes>, S3Error> {
        let mut body = self.get(key, range, Some(version)).await?;
        let mut pieces = Vec::new();
        while let Some(piece) = body.next().await {
            pieces.push(piece?);
        }
        match pieces.iter().map(|piece| piece.len() as u64).sum::<u64>() == range.len() {
            true => Ok(pieces),
            false => {
                let request = self.request("GetObject", Some(key.as_str()));
                Err(S3Error::local(S3ErrorKind::Unavailable, request, "the body ended before its length"))
            }
        }
    }

    pub(super) fn wish<'a>(&self, writing: Writing, has_body: bool, condition: &'a Precondition) -> Wish<'a> {
        let has_acl = writing != Writing::Complete && self.rules.acl.is_some();
        Wish { writing, has_body, has_acl, condition }
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
}

pub(super) fn metadata(user: &UserMetadata) -> HashMap<String, String> {
    user.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}
