//! Writing and removing objects in one request.

use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use s3s::dto::*;
use s3s::{Body, S3Response, TrailingHeaders};

use super::conditions::{ReadConditions, copy_condition, write_condition};
use super::lists::checksum_type;
use super::objects::{encryption, set_checksum};
use super::{Answer, Call, Source, canned_acl, etag, refuse_unmodelled, timestamp};
use crate::emulator::checksum::{Algorithm, Digester, Digests, Tagging};
use crate::emulator::content::Content;
use crate::emulator::policy::Context;
use crate::emulator::refusal::Refusal;
use crate::emulator::store::{Attributes, Bucket, CannedAcl, Object, Permission, WriteCondition};

pub(super) async fn put(mut call: Call<PutObjectInput>) -> Answer<PutObjectOutput> {
    let body = call.input.body.take();
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    refuse_unmodelled(&[
        (input.tagging.is_some(), "Tagging"),
        (input.write_offset_bytes.is_some(), "Appending"),
        (input.website_redirect_location.is_some(), "Website redirection"),
        (input.sse_customer_algorithm.is_some(), "Encryption with customer keys"),
        (asks_for_kms(input.server_side_encryption.as_ref()), "Encryption with KMS"),
        (
            asks_for_lock(input.object_lock_mode.as_ref(), input.object_lock_legal_hold_status.as_ref()),
            "Object lock",
        ),
        (grants_by_header(&call.headers), "Granting by header"),
    ])?;
    let acl = canned_acl(input.acl.as_ref())?;
    let condition = write_condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    call.require_write(&bucket, &input.key, acl, input.server_side_encryption.as_ref(), &condition)?;
    let owner = bucket.owner_for(call.writer(&bucket), acl)?;
    let attributes = Attributes {
        content_type: input.content_type.clone(),
        cache_control: input.cache_control.clone(),
        content_disposition: input.content_disposition.clone(),
        content_encoding: stored_encoding(input.content_encoding.as_deref()),
        content_language: input.content_language.clone(),
        expires: input.expires.clone().map(instant),
        metadata: metadata(input.metadata.clone())?,
        storage_class: storage_class(input.storage_class.as_ref()),
    };
    let received = call.receive(body, None).await?;
    let checksum = received.digests.checksum();
    let object = Object {
        owner,
        acl: acl.unwrap_or_default(),
        etag: received.digests.etag(),
        modified: call.now(),
        attributes,
        checksum: Some(checksum.clone()),
        part_sizes: Vec::new(),
        content: received.content,
    };
    let object = bucket.put(&input.key, object, &condition)?;
    let mut output = PutObjectOutput {
        e_tag: Some(etag(&object.etag)),
        checksum_type: Some(checksum_type(checksum.coverage)),
        server_side_encryption: Some(encryption()),
        ..PutObjectOutput::default()
    };
    set_checksum!(output, checksum);
    Ok(S3Response::new(output))
}

pub(super) async fn copy(call: Call<CopyObjectInput>) -> Answer<CopyObjectOutput> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    refuse_unmodelled(&[
        (input.tagging.is_some(), "Tagging"),
        (input.website_redirect_location.is_some(), "Website redirection"),
        (input.sse_customer_algorithm.is_some(), "Encryption with customer keys"),
        (input.copy_source_sse_customer_algorithm.is_some(), "Encryption with customer keys"),
        (asks_for_kms(input.server_side_encryption.as_ref()), "Encryption with KMS"),
        (
            asks_for_lock(input.object_lock_mode.as_ref(), input.object_lock_legal_hold_status.as_ref()),
            "Object lock",
        ),
        (grants_by_header(&call.headers), "Granting by header"),
    ])?;
    let source = call.source()?;
    let original = call.readable_source(&source, input.expected_source_bucket_owner.as_ref())?;
    let conditions = ReadConditions {
        matches: input.copy_source_if_match.clone(),
        none_matches: input.copy_source_if_none_match.clone(),
        modified_since: input.copy_source_if_modified_since.clone(),
        unmodified_since: input.copy_source_if_unmodified_since.clone(),
    };
    let acl = canned_acl(input.acl.as_ref())?;
    let condition = copy_condition(&call.headers)?;
    call.require_write(&bucket, &input.key, acl, input.server_side_encryption.as_ref(), &condition)?;
    let owner = bucket.owner_for(call.writer(&bucket), acl)?;
    conditions.check_source(&original)?;
    if original.content.size() > COPY_BYTES_MAX {
        return Err(Refusal::invalid_request(format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: {COPY_BYTES_MAX}"
        )));
    }
    let replace = match input.metadata_directive.as_ref().map(MetadataDirective::as_str) {
        None | Some(MetadataDirective::COPY) => false,
        Some(MetadataDirective::REPLACE) => true,
        Some(_) => return Err(Refusal::invalid_argument("Unknown metadata directive.")),
    };
    let onto_itself = source.bucket == bucket.name && source.key == input.key;
    let changes_nothing = !replace && input.storage_class.is_none() && input.server_side_encryption.is_none();
    if onto_itself && changes_nothing {
        return Err(Refusal::invalid_request(COPY_ONTO_ITSELF));
    }
    let mut attributes = match replace {
        false => original.attributes.clone(),
        true => Attributes {
            content_type: input.content_type.clone(),
            cache_control: input.cache_control.clone(),
            content_disposition: input.content_disposition.clone(),
            content_encoding: stored_encoding(input.content_encoding.as_deref()),
            content_language: input.content_language.clone(),
            expires: input.expires.clone().map(instant),
            metadata: metadata(input.metadata.clone())?,
            storage_class: None,
        },
    };
    // The storage class is never copied: a copy without one is STANDARD.
    attributes.storage_class = storage_class(input.storage_class.as_ref());
    let algorithm = match input.checksum_algorithm.as_ref() {
        Some(algorithm) => parse_algorithm(algorithm.as_str())?,
        None => original.checksum.as_ref().map_or(Algorithm::Crc64Nvme, |checksum| checksum.algorithm),
    };
    let digests = call.digest(original.content.clone(), algorithm).await;
    let checksum = digests.checksum();
    let copy = Object {
        owner,
        acl: acl.unwrap_or_default(),
        content: original.content.clone(),
        etag: digests.etag(),
        modified: call.now(),
        attributes,
        checksum: Some(checksum.clone()),
        part_sizes: Vec::new(),
    };
    let copy = bucket.put(&input.key, copy, &condition)?;
    let mut result = CopyObjectResult {
        e_tag: Some(etag(&copy.etag)),
        last_modified: Some(timestamp(copy.modified)),
        checksum_type: Some(checksum_type(checksum.coverage)),
        ..CopyObjectResult::default()
    };
    set_checksum!(result, checksum);
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(result),
        server_side_encryption: Some(encryption()),
        ..CopyObjectOutput::default()
    }))
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
        encryption: Option<&ServerSideEncryption>,
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
    ) -> Result<std::sync::Arc<Object>, Refusal> {
        // A copy may cross regions, so only the destination's has to be the signed one.
        let bucket = self.world.buckets.bucket(&source.bucket).ok_or_else(Refusal::no_such_bucket)?;
        if expected_owner.is_some_and(|owner| *owner != bucket.owner.to_string()) {
            return Err(Refusal::access_denied());
        }
        self.readable(&bucket, &source.key)
    }
}

/// What conditions on a write can look at.
pub(super) fn put_context(acl: Option<CannedAcl>, encryption: Option<&ServerSideEncryption>) -> Context {
    Context::default()
        .with_some("s3:x-amz-acl", acl.map(CannedAcl::name))
        .with_some("s3:x-amz-server-side-encryption", encryption.map(ServerSideEncryption::as_str))
}

/// A request body that arrived whole and is what it was announced to be.
pub(super) struct Received {
    pub(super) content: Content,
    pub(super) digests: Digests,
}

impl<I> Call<I> {
    /// Reads and verifies a body. Without an announced checksum one of `algorithm` is computed.
    pub(super) async fn receive(
        &self,
        body: Option<StreamingBlob>,
        algorithm: Option<Algorithm>,
    ) -> Result<Received, Refusal> {
        let announced = Announced::of(&self.headers)?;
        let algorithm = announced.algorithm().or(algorithm).unwrap_or(Algorithm::Crc64Nvme);
        let md5 = self.headers.get("content-md5").map(|value| value.to_str().unwrap_or_default());
        // An announced MD5 has to be computed, whatever the ETag is made of.
        let tagging = if md5.is_some() { Tagging::Md5 } else { self.world.tagging };
        let (content, digests) = read(body, Digester::new(algorithm, tagging)).await?;
        let expected = announced.value(self.admission.trailers.as_ref());
        if expected.is_some_and(|expected| expected != digests.checksum().value) {
            return Err(Refusal::bad_digest(algorithm.name()));
        }
        if md5.is_some_and(|expected| expected != aws_smithy_types::base64::encode(digests.tag)) {
            return Err(Refusal::bad_digest("Content-MD5"));
        }
        Ok(Received { content: content.compacted(), digests })
    }

    /// Computes digests away from the threads that serve requests: a large copy takes seconds.
    pub(super) async fn digest(&self, content: Content, algorithm: Algorithm) -> Digests {
        let tagging = self.world.tagging;
        if content.size() < DIGEST_INLINE_BYTES_MAX {
            return Digests::of(&content, algorithm, tagging);
        }
        let digests = tokio::task::spawn_blocking(move || Digests::of(&content, algorithm, tagging)).await;
        digests.expect("computing a digest does not panic")
    }
}

/// The checksum a request promises: in a header, or in a trailer behind the body.
enum Announced {
    Nothing,
    Header(Algorithm, String),
    Trailer(Algorithm),
}

impl Announced {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let values: Vec<_> = Algorithm::ALL
            .into_iter()
            .filter_map(|algorithm| {
                Some((algorithm, headers.get(algorithm.header())?.to_str().ok()?.to_owned()))
            })
            .collect();
        let trailer = headers.get("x-amz-trailer").and_then(|value| value.to_str().ok());
        let trailer = trailer.and_then(|name| {
            name.trim().to_ascii_lowercase().strip_prefix("x-amz-checksum-").and_then(Algorithm::parse)
        });
        match (&*values, trailer) {
            ([], None) if headers.contains_key("x-amz-sdk-checksum-algorithm") => {
                Err(Refusal::invalid_request(
                    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
                 headers were found.",
                ))
            }
            ([], None) => Ok(Self::Nothing),
            ([], Some(algorithm)) => Ok(Self::Trailer(algorithm)),
            ([(algorithm, value)], None) => Ok(Self::Header(*algorithm, value.clone())),
            _ => Err(Refusal::invalid_request(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            )),
        }
    }

    fn algorithm(&self) -> Option<Algorithm> {
        match self {
            Self::Nothing => None,
            Self::Header(algorithm, _) | Self::Trailer(algorithm) => Some(*algorithm),
        }
    }

    /// The promised value; that of a trailer is there once the body has been read.
    fn value(&self, trailers: Option<&TrailingHeaders>) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Header(_, value) => Some(value.clone()),
            Self::Trailer(algorithm) => {
                let trailers = trailers.and_then(TrailingHeaders::take).unwrap_or_default();
                // A promised trailer that never came is as wrong as one with another value.
                let value = trailers.get(algorithm.header()).and_then(|value| value.to_str().ok());
                Some(value.unwrap_or_default().to_owned())
            }
        }
    }
}

/// Returns the checksum that a request promises in a header.
pub(super) fn announced_checksum(headers: &HeaderMap) -> Option<(Algorithm, String)> {
    Algorithm::ALL
        .into_iter()
        .find_map(|algorithm| Some((algorithm, headers.get(algorithm.header())?.to_str().ok()?.to_owned())))
}

async fn read(body: Option<StreamingBlob>, mut digester: Digester) -> Result<(Content, Digests), Refusal> {
    let mut body = Body::from(body.unwrap_or_else(|| StreamingBlob::from(Body::empty())));
    let (mut pieces, mut received) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken_body(&*error))?;
        let Ok(bytes) = frame.into_data() else { continue };
        received += bytes.len() as u64;
        if received > PUT_BYTES_MAX {
            return Err(Refusal::new(
                400,
                "EntityTooLarge",
                "Your proposed upload exceeds the maximum allowed object size.",
            ));
        }
        digester.update(&bytes);
        pieces.push(bytes);
    }
    Ok((Content::from_pieces(pieces), digester.finish()))
}

/// What a body that could not be read to its end means.
fn broken_body(error: &(dyn std::error::Error + 'static)) -> Refusal {
    // s3s keeps the types of these errors to itself; their texts are all there is to tell them apart.
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        return Refusal::new(
            400,
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        );
    }
    if text.contains("SignatureMismatch") {
        return Refusal::new(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        );
    }
    Refusal::new(400, "IncompleteBody", format!("The request body could not be read: {text}"))
}

pub(super) fn parse_algorithm(name: &str) -> Result<Algorithm, Refusal> {
    Algorithm::parse(name)
        .ok_or_else(|| Refusal::invalid_request("Checksum algorithm provided is unsupported."))
}

/// Checks the limit on user metadata.
pub(super) fn metadata(
    given: Option<Metadata>,
) -> Result<std::collections::BTreeMap<String, String>, Refusal> {
    let given = given.unwrap_or_default();
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > METADATA_BYTES_MAX {
        return Err(Refusal::new(
            400,
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
        ));
    }
    Ok(given.into_iter().collect())
}

/// Takes `aws-chunked` out: it says how the body travelled, not what it is.
pub(super) fn stored_encoding(given: Option<&str>) -> Option<String> {
    let encodings =
        given?.split(',').map(str::trim).filter(|encoding| !encoding.eq_ignore_ascii_case("aws-chunked"));
    let stored = encodings.collect::<Vec<_>>().join(",");
    (!stored.is_empty()).then_some(stored)
}

/// `STANDARD` is what S3 never mentions.
pub(super) fn storage_class(given: Option<&StorageClass>) -> Option<String> {
    given.map(|class| class.as_str().to_owned()).filter(|class| class != StorageClass::STANDARD)
}

pub(super) fn asks_for_kms(encryption: Option<&ServerSideEncryption>) -> bool {
    encryption.is_some_and(|encryption| encryption.as_str() != ServerSideEncryption::AES256)
}

pub(super) fn asks_for_lock(mode: Option<&ObjectLockMode>, hold: Option<&ObjectLockLegalHoldStatus>) -> bool {
    mode.is_some() || hold.is_some()
}

pub(super) fn grants_by_header(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("x-amz-grant-"))
}

pub(super) fn instant(time: Timestamp) -> std::time::SystemTime {
    time::OffsetDateTime::from(time).into()
}

/// The most one request can carry, and the most one copy can: 5 GiB.
const PUT_BYTES_MAX: u64 = 5 << 30;
const COPY_BYTES_MAX: u64 = 5 << 30;
/// User metadata: names and values together.
const METADATA_BYTES_MAX: usize = 2048;
const DELETE_KEYS_MAX: usize = 1000;
/// A few milliseconds' worth of hashing.
const DIGEST_INLINE_BYTES_MAX: u64 = 1 << 20;

const COPY_ONTO_ITSELF: &str = "This copy request is illegal because it is trying to copy an object to itself \
                                without changing the object's metadata, storage class, website redirect \
                                location or encryption attributes.";
