//! Writing and removing objects in one request.

use std::sync::Arc;

use s3s::S3Response;
use s3s::dto::*;

use super::bodies::{digest, parse_algorithm};
use super::conditions::{copy_condition, source_conditions, write_condition};
use super::encryption::{Asked, encryption_asked, set_customer_key, set_encryption, source_key};
use super::fields::{
    attributes, canned_acl, checksum_type, etag, put_context, refuse_unmodelled, refuse_unmodelled_write,
    set_checksum, storage_class, timestamp,
};
use super::{Answer, Call};
use crate::emulator::admission::Source;
use crate::emulator::checksum::{Algorithm, Checksum, Tagging};
use crate::emulator::policy::Context;
use crate::emulator::refusal::Refusal;
use crate::emulator::store::{Attributes, Bucket, CannedAcl, Object, Permission, WriteCondition};

pub(super) async fn put(mut call: Call<PutObjectInput>) -> Answer<PutObjectOutput> {
    let body = call.input.body.take();
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    refuse_unmodelled_write!(call);
    refuse_unmodelled(&[(input.write_offset_bytes.is_some(), "Appending")])?;
    let acl = canned_acl(input.acl.as_ref())?;
    let condition = write_condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let asked = encryption_asked!(call, input);
    call.require_write(&bucket, &input.key, acl, &asked, &condition)?;
    let encryption = call.encryption(&bucket, &input.key, &asked)?;
    let owner = bucket.owner_for(call.writer(&bucket), acl)?;
    let attributes = attributes!(input);
    let received = call.receive(body, None, call.tagging(&encryption)).await?;
    let checksum = received.digests.checksum();
    let object = Object {
        owner,
        acl: acl.unwrap_or_default(),
        etag: received.digests.etag(),
        modified: call.now(),
        attributes,
        checksum: Some(checksum.clone()),
        part_sizes: Vec::new(),
        encryption,
        version_id: None,
        archive_status: None,
        restored: false,
        content: received.content,
    };
    let object = bucket.put(&input.key, object, &condition)?;
    let mut output = PutObjectOutput {
        e_tag: Some(etag(&object.etag)),
        checksum_type: Some(checksum_type(checksum.coverage)),
        ..PutObjectOutput::default()
    };
    set_encryption!(output, &object.encryption);
    set_customer_key!(output, object.encryption);
    set_checksum!(output, checksum);
    Ok(S3Response::new(output))
}

pub(super) async fn copy(call: Call<CopyObjectInput>) -> Answer<CopyObjectOutput> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    refuse_unmodelled_write!(call);
    let source = call.source()?;
    let original = call.readable_source(&source, input.expected_source_bucket_owner.as_ref())?;
    original.encryption.check_key(source_key!(call, input).as_ref())?;
    original.check_readable()?;
    let conditions = source_conditions!(input);
    let acl = canned_acl(input.acl.as_ref())?;
    let condition = copy_condition(&call.headers)?;
    let asked = encryption_asked!(call, input);
    call.require_write(&bucket, &input.key, acl, &asked, &condition)?;
    let encryption = call.encryption(&bucket, &input.key, &asked)?;
    let owner = bucket.owner_for(call.writer(&bucket), acl)?;
    conditions.check_source(&original)?;
    if original.content.size() > COPY_BYTES_MAX {
        return Err(Refusal::invalid_request(format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: \
             {COPY_BYTES_MAX}"
        )));
    }
    let onto_itself = source.bucket == bucket.name && source.key == input.key;
    let attributes = copied_attributes(input, &original, onto_itself)?;
    let (tag, checksum) = copied_digests(&call, &original, call.tagging(&encryption)).await?;
    let copy = Object {
        owner,
        acl: acl.unwrap_or_default(),
        content: original.content.clone(),
        etag: tag,
        modified: call.now(),
        attributes,
        checksum: Some(checksum.clone()),
        part_sizes: Vec::new(),
        encryption,
        version_id: None,
        archive_status: None,
        restored: false,
    };
    let copy = bucket.put(&input.key, copy, &condition)?;
    let mut result = CopyObjectResult {
        e_tag: Some(etag(&copy.etag)),
        last_modified: Some(timestamp(copy.modified)),
        checksum_type: Some(checksum_type(checksum.coverage)),
        ..CopyObjectResult::default()
    };
    set_checksum!(result, checksum);
    let mut output = CopyObjectOutput { copy_object_result: Some(result), ..CopyObjectOutput::default() };
    set_encryption!(output, &copy.encryption);
    set_customer_key!(output, copy.encryption);
    Ok(S3Response::new(output))
}

/// What a copy says about itself: what its source says, or something new.
fn copied_attributes(
    input: &CopyObjectInput,
    original: &Object,
    onto_itself: bool,
) -> Result<Attributes, Refusal> {
    let replace = match input.metadata_directive.as_ref().map(MetadataDirective::as_str) {
        None | Some(MetadataDirective::COPY) => false,
        Some(MetadataDirective::REPLACE) => true,
        Some(_) => return Err(Refusal::invalid_argument("Unknown metadata directive.")),
    };
    let changes_nothing = !replace && input.storage_class.is_none() && input.server_side_encryption.is_none();
    if onto_itself && changes_nothing {
        return Err(Refusal::invalid_request(COPY_ONTO_ITSELF));
    }
    let attributes = if replace { attributes!(input) } else { original.attributes.clone() };
    // The storage class is never copied: a copy without one is STANDARD.
    Ok(Attributes { storage_class: storage_class(input.storage_class.as_ref()), ..attributes })
}

/// The ETag and checksum of a copy, which are those of an object uploaded in one request.
async fn copied_digests(
    call: &Call<CopyObjectInput>,
    original: &Object,
    tagging: Tagging,
) -> Result<(String, Checksum), Refusal> {
    let algorithm = match call.input.checksum_algorithm.as_ref() {
        Some(algorithm) => parse_algorithm(algorithm.as_str())?,
        None => original.checksum.as_ref().map_or(Algorithm::Crc64Nvme, |checksum| checksum.algorithm),
    };
    let in_one_request = original.part_sizes.is_empty()
        && tagging == Tagging::Md5
        && call.tagging(&original.encryption) == Tagging::Md5;
    match &original.checksum {
        Some(checksum) if in_one_request && checksum.algorithm == algorithm => {
            Ok((original.etag.clone(), checksum.clone()))
        }
        _ => {
            let digests = digest(original.content.clone(), algorithm, tagging).await;
            Ok((digests.etag(), digests.checksum()))
        }
    }
}

pub(super) async fn delete(call: Call<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    refuse_unmodelled(&[
        (input.version_id.is_some(), "Versioning"),
        (input.if_match_size.is_some(), "Deleting by size"),
        (input.if_match_last_modified_time.is_some(), "Deleting by time"),
    ])?;
    let condition = write_condition(input.if_match.as_ref(), None)?;
    call.require_delete(&bucket, &input.key, &condition)?;
    bucket.delete(&input.key, &condition)?;
    Ok(S3Response::new(DeleteObjectOutput::default()))
}

pub(super) async fn delete_many(call: Call<DeleteObjectsInput>) -> Answer<DeleteObjectsOutput> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    if input.delete.objects.is_empty() || input.delete.objects.len() > DELETE_KEYS_MAX {
        return Err(Refusal::malformed_xml());
    }
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for identifier in &input.delete.objects {
        match call.delete_one(&bucket, identifier) {
            Ok(()) if input.delete.quiet == Some(true) => {}
            Ok(()) => {
                deleted.push(DeletedObject { key: Some(identifier.key.clone()), ..DeletedObject::default() })
            }
            Err(refusal) => errors.push(Error {
                code: Some(refusal.code.into_owned()),
                key: Some(identifier.key.clone()),
                message: Some(refusal.message.into_owned()),
                version_id: None,
            }),
        }
    }
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: Some(deleted),
        errors: Some(errors),
        request_charged: None,
    }))
}

impl Call<DeleteObjectsInput> {
    fn delete_one(&self, bucket: &Bucket, identifier: &ObjectIdentifier) -> Result<(), Refusal> {
        refuse_unmodelled(&[(identifier.version_id.is_some(), "Versioning")])?;
        let condition = match &identifier.e_tag {
            Some(etag) => WriteCondition::MustMatch(etag.value().to_owned()),
            None => WriteCondition::None,
        };
        self.require_delete(bucket, &identifier.key, &condition)?;
        bucket.delete(&identifier.key, &condition)
    }
}

impl<I> Call<I> {
    /// Makes sure that the caller may write under a key, with this ACL, under this condition.
    pub(super) fn require_write(
        &self,
        bucket: &Bucket,
        key: &str,
        acl: Option<CannedAcl>,
        encryption: &Asked,
        condition: &WriteCondition,
    ) -> Result<(), Refusal> {
        let context = put_context(acl, encryption);
        let arn = bucket.object_arn(key);
        self.require(bucket, "s3:PutObject", &arn, context.clone())?;
        if acl.is_some() {
            self.require(bucket, "s3:PutObjectAcl", &arn, context)?;
        }
        self.require_match(bucket, key, condition)
    }

    /// Makes sure that the caller may delete what is under a key, under this condition.
    fn require_delete(&self, bucket: &Bucket, key: &str, condition: &WriteCondition) -> Result<(), Refusal> {
        self.require(bucket, "s3:DeleteObject", &bucket.object_arn(key), Context::default())?;
        self.require_match(bucket, key, condition)
    }

    /// Makes sure that the caller may know whether an ETag matches, which only a reader may.
    pub(super) fn require_match(
        &self,
        bucket: &Bucket,
        key: &str,
        condition: &WriteCondition,
    ) -> Result<(), Refusal> {
        match (condition, bucket.object(key)) {
            (WriteCondition::MustMatch(_) | WriteCondition::MustExist, Some(object)) => {
                self.require_object(bucket, key, &object, "s3:GetObject", Permission::Read)
            }
            _ => Ok(()),
        }
    }

    /// Returns what the request copies.
    pub(super) fn source(&self) -> Result<Source, Refusal> {
        self.admission.copy_source.clone().ok_or_else(|| {
            Refusal::invalid_argument(
                "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            )
        })
    }

    /// Finds the object that the request copies, if the caller may read it.
    pub(super) fn readable_source(
        &self,
        source: &Source,
        expected_owner: Option<&String>,
    ) -> Result<Arc<Object>, Refusal> {
        // A copy may cross regions, so only the destination's has to be the signed one.
        let bucket = self.world.buckets.bucket(&source.bucket).ok_or_else(Refusal::no_such_bucket)?;
        self.require_payer(&bucket)?;
        if expected_owner.is_some_and(|owner| *owner != bucket.owner.to_string()) {
            return Err(Refusal::access_denied());
        }
        let object = self.readable(&bucket, &source.key)?;
        self.require_decrypt(&bucket, &source.key, &object)?;
        Ok(object)
    }
}

/// The most one copy can carry: 5 GiB.
const COPY_BYTES_MAX: u64 = 5 << 30;
const DELETE_KEYS_MAX: usize = 1000;

const COPY_ONTO_ITSELF: &str = "This copy request is illegal because it is trying to copy an object to itself \
                                without changing the object's metadata, storage class, website redirect \
                                location or encryption attributes.";
