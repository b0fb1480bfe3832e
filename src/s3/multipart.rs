//! Objects that go up, or are put together from other objects, in parts.

use std::sync::Arc;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use serde::{Deserialize, Serialize};

use super::Gateway;
use super::concessions::Concession;
use super::conditions::Writing;
use super::customer_key::{keyed, source_keyed};
use super::error::{S3Error, S3ErrorKind};
use super::gaps::Gap;
use super::integrity::Form;
use super::object::{ByteRange, ETag, NewObject, Precondition};
use super::put::{Body, conditional, guarded, metadata, owned};
use crate::name::ObjectKey;

/// One multipart upload: begun, and to be ended by [`complete`](Self::complete) or [`abort`](Self::abort).
///
/// Dropping it does neither: the parts then stay in S3, and cost money, until recovery finds
/// the upload by its recorded id or a lifecycle rule of the bucket removes it.
#[derive(Debug, Clone)]
pub struct Upload {
    gateway: Arc<Gateway>,
    key: ObjectKey,
    id: String,
    form: Form,
}

/// A part that S3 has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its place in the object, from 1.
    pub number: u32,
    etag: ETag,
    checksum: Option<PartChecksum>,
}

/// S3 wants the checksums of composite parts again when the upload is completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum PartChecksum {
    Crc64Nvme(String),
    Crc32(String),
}

impl Gateway {
    /// Begins a multipart upload.
    ///
    /// # Errors
    /// [`S3ErrorKind::Denied`] without the right to put objects, or to set their ACL.
    pub async fn begin_upload(self: &Arc<Self>, key: &ObjectKey, new: &NewObject) -> Result<Upload, S3Error> {
        let wish = self.wish(Writing::Put, true, &Precondition::Whatever);
        let (id, form) =
            self.conceding(wish, |concession| self.begin_upload_once(key, new, concession)).await?;
        Ok(Upload { gateway: Arc::clone(self), key: key.clone(), id, form })
    }

    async fn begin_upload_once(
        &self,
        key: &ObjectKey,
        new: &NewObject,
        concession: Concession,
    ) -> Result<(String, Form), S3Error> {
        let _permit = self.permit().await;
        let form = concession.form;
        let request = self.request("CreateMultipartUpload", Some(key.as_str()));
        let call =
            self.clients.quick.create_multipart_upload().bucket(self.bucket.as_str()).key(key.as_str());
        let owned = owned!(call, &self.rules, new.storage_class.as_deref());
        let call = if concession.sends_acl { owned } else { owned.set_acl(None) }
            .set_content_type(new.content_type.clone())
            .set_metadata(Some(metadata(&new.user)))
            .set_checksum_algorithm(form.algorithm())
            .set_checksum_type(form.kind());
        let output = call.send().await.map_err(|error| self.failed(request.clone(), &error))?;
        let id = output.upload_id.ok_or_else(|| {
            S3Error::local(S3ErrorKind::Unexpected, request, "the answer lacks an upload id")
        })?;
        Ok((id, form))
    }

    /// An upload begun earlier, perhaps by a process that died, so that it can be aborted.
    pub fn resume_upload(self: &Arc<Self>, key: &ObjectKey, upload_id: String) -> Upload {
        Upload { gateway: Arc::clone(self), key: key.clone(), id: upload_id, form: self.integrity.form() }
    }
}

impl Gateway {
    /// That copying parts is refused as unknown says nothing about this copy, and all about the server.
    fn learn_part_copy(&self, error: &S3Error) {
        if self.gaps.may_be() && (error.kind() == S3ErrorKind::Unsupported || error.status() == Some(405)) {
            self.gaps.note(Gap::PartCopy);
        }
    }
}

impl Upload {
    /// S3's name for this upload.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sends one part up. The same number sent again replaces what it was before.
    ///
    /// # Errors
    /// [`S3ErrorKind::NoUpload`] when somebody aborted the upload.
    pub async fn put_part(&self, number: u32, body: Body) -> Result<Part, S3Error> {
        let gateway = &*self.gateway;
        let request = gateway.request("UploadPart", Some(self.key.as_str()));
        let _permit = gateway.permit().await;
        let call = gateway
            .clients
            .bulk
            .upload_part()
            .bucket(gateway.bucket.as_str())
            .key(self.key.as_str())
            .upload_id(&self.id)
            .part_number(number_of(number))
            .set_expected_bucket_owner(gateway.rules.expected_bucket_owner.clone())
            .set_request_payer(gateway.rules.request_payer())
            .set_checksum_algorithm(self.form.algorithm())
            .body(body.stream());
        let call = guarded!(keyed!(call, gateway.rules).customize(), self.form);
        let output = call.send().await.map_err(|error| gateway.failed(request.clone(), &error))?;
        let checksum = part_checksum(output.checksum_crc64_nvme, output.checksum_crc32);
        Ok(Part { number, etag: gateway.etag_of(request, output.e_tag)?, checksum })
    }

    /// Makes a part from a range of one version of an object in the same bucket.
    ///
    /// # Errors
    /// [`S3ErrorKind::ConditionFailed`] when the source is another version by now.
    pub async fn copy_part(
        &self,
        number: u32,
        source_key: &ObjectKey,
        version: &ETag,
        range: ByteRange,
    ) -> Result<Part, S3Error> {
        self.copy_part_from(number, &self.gateway, source_key, version, range).await
    }

    /// Makes a part from a range of one version of an object in any bucket.
    ///
    /// # Errors
    /// As [`copy_part`](Self::copy_part).
    pub async fn copy_part_from(
        &self,
        number: u32,
        source: &Gateway,
        source_key: &ObjectKey,
        version: &ETag,
        range: ByteRange,
    ) -> Result<Part, S3Error> {
        let gateway = &*self.gateway;
        let request = gateway.request("UploadPartCopy", Some(self.key.as_str()));
        let _permit = gateway.permit().await;
        let call = gateway
            .clients
            .copies
            .upload_part_copy()
            .bucket(gateway.bucket.as_str())
            .key(self.key.as_str())
            .upload_id(&self.id)
            .part_number(number_of(number))
            .copy_source(source.copy_source(source_key))
            .copy_source_if_match(version.as_str())
            .copy_source_range(range.to_string())
            .set_expected_bucket_owner(gateway.rules.expected_bucket_owner.clone())
            .set_expected_source_bucket_owner(source.rules.expected_bucket_owner.clone())
            .set_request_payer(gateway.rules.request_payer().or_else(|| source.rules.request_payer()));
        let call = source_keyed!(keyed!(call, gateway.rules), source.rules);
        let output = call.send().await.map_err(|error| {
            let error = gateway.failed(request.clone(), &error);
            gateway.learn_part_copy(&error);
            error
        })?;
        let result = output.copy_part_result;
        let checksum = result.as_ref().and_then(|result| {
            part_checksum(result.checksum_crc64_nvme.clone(), result.checksum_crc32.clone())
        });
        let etag = gateway.etag_of(request, result.and_then(|result| result.e_tag))?;
        Ok(Part { number, etag, checksum })
    }

    /// Makes the object from its parts, whatever order they come in.
    ///
    /// # Errors
    /// Gives the upload back, so that it can be tried again or aborted. After
    /// [`S3ErrorKind::Conflict`] S3 wants the parts anew.
    pub async fn complete(self, parts: Vec<Part>, condition: &Precondition) -> Result<ETag, (S3Error, Self)> {
        let parts = in_order(parts);
        let wish = self.gateway.wish(Writing::Complete, false, condition);
        let completed = self
            .gateway
            .conceding(wish, |concession| self.complete_once(&parts, condition, concession))
            .await;
        completed.map_err(|error| (error, self))
    }

    async fn complete_once(
        &self,
        parts: &CompletedMultipartUpload,
        condition: &Precondition,
        concession: Concession,
    ) -> Result<ETag, S3Error> {
        self.gateway.look_first(Writing::Complete, &self.key, condition).await?;
        self.complete_on(parts, condition, concession).await
    }

    async fn complete_on(
        &self,
        parts: &CompletedMultipartUpload,
        condition: &Precondition,
        concession: Concession,
    ) -> Result<ETag, S3Error> {
        let gateway = &*self.gateway;
        let request = gateway.request("CompleteMultipartUpload", Some(self.key.as_str()));
        let _permit = gateway.permit().await;
        let call = gateway
            .clients
            .bulk
            .complete_multipart_upload()
            .bucket(gateway.bucket.as_str())
            .key(self.key.as_str())
            .upload_id(&self.id)
            .multipart_upload(parts.clone())
            .set_checksum_type(self.form.kind())
            .set_expected_bucket_owner(gateway.rules.expected_bucket_owner.clone())
            .set_request_payer(gateway.rules.request_payer());
        let condition = if concession.sends_condition { condition } else { &Precondition::Whatever };
        let answer = conditional!(keyed!(call, gateway.rules), condition).send().await;
        let output = answer.map_err(|error| gateway.failed(request.clone(), &error))?;
        gateway.etag_of(request, output.e_tag)
    }

    /// Finds out whether the server keeps to the condition of a completion, where that is not known: by completing this
    /// upload on a condition that nothing can meet. What keeps to conditions refuses that, and the upload is as it was. What
    /// does not has made the object, which was to be made in any case, and was looked at just before, as every time with
    /// such a server: its version is returned.
    ///
    /// Of a condition that nothing must be there nothing can be learnt so: where nothing is, it is met.
    ///
    /// # Errors
    /// [`S3ErrorKind::ConditionFailed`] when `condition` does not hold.
    pub async fn prove_condition(
        &self,
        parts: &[Part],
        condition: &Precondition,
    ) -> Result<Option<ETag>, S3Error> {
        let gateway = &*self.gateway;
        if !gateway.wants_proof_of_completion(condition) {
            return Ok(None);
        }
        gateway.look_first(Writing::Complete, &self.key, condition).await?;
        let parts = in_order(parts.to_vec());
        let concession = gateway.known_concession(gateway.wish(Writing::Complete, false, condition));
        let unmet = Precondition::MustMatch(ETag::new(NO_VERSION));
        match self.complete_on(&parts, &unmet, concession).await {
            Ok(etag) => {
                gateway.completion_ignores(condition);
                Ok(Some(etag))
            }
            Err(error) => {
                // 412 has been learnt from; anything else has proved nothing, and the completion itself will meet it.
                gateway.learn_condition::<()>(Writing::Complete, condition, concession, &Err(error));
                Ok(None)
            }
        }
    }

    /// Throws the upload and its parts away.
    ///
    /// # Errors
    /// [`S3ErrorKind::Denied`] where the role may not abort, which is common.
    pub async fn abort(self) -> Result<(), S3Error> {
        let gateway = &*self.gateway;
        let request = gateway.request("AbortMultipartUpload", Some(self.key.as_str()));
        let _permit = gateway.permit().await;
        let call = gateway
            .clients
            .quick
            .abort_multipart_upload()
            .bucket(gateway.bucket.as_str())
            .key(self.key.as_str())
            .upload_id(&self.id)
            .set_expected_bucket_owner(gateway.rules.expected_bucket_owner.clone())
            .set_request_payer(gateway.rules.request_payer());
        call.send().await.map(drop).map_err(|error| gateway.failed(request, &error))
    }
}

fn part_checksum(crc64_nvme: Option<String>, crc32: Option<String>) -> Option<PartChecksum> {
    crc64_nvme.map(PartChecksum::Crc64Nvme).or_else(|| crc32.map(PartChecksum::Crc32))
}

fn in_order(mut parts: Vec<Part>) -> CompletedMultipartUpload {
    parts.sort_by_key(|part| part.number);
    let parts = parts.into_iter().map(completed).collect();
    CompletedMultipartUpload::builder().set_parts(Some(parts)).build()
}

fn completed(part: Part) -> CompletedPart {
    let described = CompletedPart::builder().part_number(number_of(part.number)).e_tag(part.etag.as_str());
    match part.checksum {
        Some(PartChecksum::Crc64Nvme(crc)) => described.checksum_crc64_nvme(crc),
        Some(PartChecksum::Crc32(crc)) => described.checksum_crc32(crc),
        None => described,
    }
    .build()
}

fn number_of(number: u32) -> i32 {
    i32::try_from(number).expect("at most ten thousand parts")
}

/// An ETag that no object has: that of parts, and of none.
const NO_VERSION: &str = "\"00000000000000000000000000000000-0\"";
