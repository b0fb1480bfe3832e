//! Uploads in parts.
//!
//! A policy may demand an ACL of every `s3:PutObject`, and only the request that begins an
//! upload carries one. So the requests that follow are judged with the ACL of their upload.

use s3s::S3Response;
use s3s::dto::*;

use super::bodies::{Received, announced_checksum, digest, parse_algorithm};
use super::conditions::{source_conditions, write_condition};
use super::encryption::{
    Asked, customer_key, encryption_asked, set_customer_key, set_encryption, source_key,
};
use super::fields::{
    Spelling, attributes, canned_acl, checksum_type, etag, owner, put_context, refuse_unmodelled,
    refuse_unmodelled_write, set_checksum, size, timestamp,
};
use super::{Answer, Call};
use crate::emulator::checksum::{Algorithm, Coverage, Digests, Tagging};
use crate::emulator::listing;
use crate::emulator::policy::Context;
use crate::emulator::refusal::Refusal;
use crate::emulator::store::{Bucket, Completion, Part as StoredPart, PartClaim, Upload, WriteCondition};

pub(super) async fn create(call: Call<CreateMultipartUploadInput>) -> Answer<CreateMultipartUploadOutput> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    refuse_unmodelled_write!(call);
    let acl = canned_acl(input.acl.as_ref())?;
    let asked = encryption_asked!(call, input);
    call.require_write(&bucket, &input.key, acl, &asked, &WriteCondition::None)?;
    let encryption = call.encryption(&bucket, &input.key, &asked)?;
    let writer = call.writer(&bucket);
    // Refused now rather than when all parts are there.
    let _future_owner = bucket.owner_for(writer, acl)?;
    let checksum = checksum_asked(input.checksum_algorithm.as_ref(), input.checksum_type.as_ref())?;
    let upload = Upload {
        key: input.key.clone(),
        writer,
        initiator: call.admission.caller.identity.arn(),
        acl,
        attributes: attributes!(input),
        encryption: encryption.clone(),
        checksum,
        initiated: call.now(),
        parts: std::collections::BTreeMap::new(),
    };
    let mut output = CreateMultipartUploadOutput {
        bucket: Some(bucket.name.clone()),
        key: Some(input.key.clone()),
        upload_id: Some(bucket.begin_upload(upload)),
        checksum_algorithm: checksum.map(|(algorithm, _)| ChecksumAlgorithm::from_static(algorithm.name())),
        checksum_type: checksum.map(|(_, coverage)| checksum_type(coverage)),
        ..CreateMultipartUploadOutput::default()
    };
    set_encryption!(output, &encryption);
    set_customer_key!(output, encryption);
    Ok(S3Response::new(output))
}

pub(super) async fn part(mut call: Call<UploadPartInput>) -> Answer<UploadPartOutput> {
    let body = call.input.body.take();
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    let number = part_number(input.part_number)?;
    let upload = call.writable_upload(&bucket, &input.key, &input.upload_id)?;
    upload.encryption.check_part_key(customer_key!(call, input).as_ref())?;
    let algorithm = upload.checksum.map(|(algorithm, _)| algorithm);
    let received = call.receive(body, algorithm, call.tagging(&upload.encryption)).await?;
    if let Some(wanted) = algorithm
        && wanted != received.digests.algorithm
    {
        return Err(Refusal::invalid_request(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            wanted.name().to_ascii_lowercase(),
            received.digests.algorithm.name().to_ascii_lowercase(),
        )));
    }
    let checksum = received.digests.checksum();
    let tag = received.digests.etag();
    let digests = kept_digests(&received, algorithm).await;
    let part = StoredPart { content: received.content, digests, modified: call.now() };
    bucket.put_part(&input.upload_id, &input.key, number, part)?;
    let mut output = UploadPartOutput { e_tag: Some(etag(&tag)), ..UploadPartOutput::default() };
    set_encryption!(output, &upload.encryption);
    set_customer_key!(output, upload.encryption);
    set_checksum!(output, checksum);
    Ok(S3Response::new(output))
}

pub(super) async fn part_copy(call: Call<UploadPartCopyInput>) -> Answer<UploadPartCopyOutput> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    let number = part_number(input.part_number)?;
    let upload = call.writable_upload(&bucket, &input.key, &input.upload_id)?;
    upload.encryption.check_part_key(customer_key!(call, input).as_ref())?;
    let source = call.source()?;
    let original = call.readable_source(&source, input.expected_source_bucket_owner.as_ref())?;
    original.encryption.check_key(source_key!(call, input).as_ref())?;
    original.check_readable()?;
    let conditions = source_conditions!(input);
    conditions.check_source(&original)?;
    let content = match input.copy_source_range.as_deref() {
        None => original.content.clone(),
        Some(range) => original.content.slice(source_range(range, original.content.size())?),
    };
    if content.size() > PART_BYTES_MAX {
        return Err(Refusal::new(
            400,
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed object size.",
        ));
    }
    let algorithm = upload.checksum.map_or(Algorithm::Crc64Nvme, |(algorithm, _)| algorithm);
    let digests = digest(content.clone(), algorithm, call.tagging(&upload.encryption)).await;
    let mut result = CopyPartResult {
        e_tag: Some(etag(&digests.etag())),
        last_modified: Some(timestamp(call.now())),
        ..CopyPartResult::default()
    };
    set_checksum!(result, digests.checksum());
    let part = StoredPart { content, digests, modified: call.now() };
    bucket.put_part(&input.upload_id, &input.key, number, part)?;
    let mut output =
        UploadPartCopyOutput { copy_part_result: Some(result), ..UploadPartCopyOutput::default() };
    set_encryption!(output, &upload.encryption);
    set_customer_key!(output, upload.encryption);
    Ok(S3Response::new(output))
}

pub(super) async fn complete(
    call: Call<CompleteMultipartUploadInput>,
) -> Answer<CompleteMultipartUploadOutput> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    let condition = write_condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let upload = call.writable_upload(&bucket, &input.key, &input.upload_id)?;
    let customer_key = customer_key!(call, input);
    // "Required only when the object was created using a checksum algorithm": a checksum is encrypted too.
    if upload.checksum.is_some() || customer_key.is_some() {
        upload.encryption.check_part_key(customer_key.as_ref())?;
    }
    call.require_match(&bucket, &input.key, &condition)?;
    let listed = input.multipart_upload.as_ref().and_then(|upload| upload.parts.as_ref());
    let completion = Completion {
        parts: listed.into_iter().flatten().map(claim).collect::<Result<_, _>>()?,
        condition,
        checksum: announced_checksum(&call.headers),
        coverage: input.checksum_type.as_ref().map(|kind| coverage(kind.as_str())).transpose()?,
        size: input.mpu_object_size.map(|size| u64::try_from(size).unwrap_or_default()),
        now: call.now(),
    };
    let object = bucket.complete_upload(&input.upload_id, &input.key, &completion)?;
    let mut output = CompleteMultipartUploadOutput {
        bucket: Some(bucket.name.clone()),
        key: Some(input.key.clone()),
        location: Some(format!("/{}/{}", bucket.name, listing::url_encode(&input.key))),
        e_tag: Some(etag(&object.etag)),
        ..CompleteMultipartUploadOutput::default()
    };
    set_encryption!(output, &object.encryption);
    if let Some(checksum) = &object.checksum {
        set_checksum!(output, checksum);
        output.checksum_type = Some(checksum_type(checksum.coverage));
    }
    Ok(S3Response::new(output))
}

pub(super) async fn abort(call: Call<AbortMultipartUploadInput>) -> Answer<AbortMultipartUploadOutput> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    let arn = bucket.object_arn(&input.key);
    call.require(&bucket, "s3:AbortMultipartUpload", &arn, Context::default())?;
    bucket.abort_upload(&input.upload_id, &input.key)?;
    Ok(S3Response::new(AbortMultipartUploadOutput::default()))
}

pub(super) async fn list_parts(call: Call<ListPartsInput>) -> Answer<ListPartsOutput> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    let arn = bucket.object_arn(&input.key);
    call.require(&bucket, "s3:ListMultipartUploadParts", &arn, Context::default())?;
    let upload = bucket.upload(&input.upload_id, &input.key)?;
    let marker = input.part_number_marker.unwrap_or_default();
    let parts_max = input.max_parts.unwrap_or(PAGE_MAX).clamp(0, PAGE_MAX);
    let behind = upload.parts.iter().filter(|(number, _)| i32::from(**number) > marker);
    let mut parts: Vec<_> = behind.map(|(number, part)| listed_part(*number, part)).collect();
    let wanted = usize::try_from(parts_max).expect("not negative");
    let is_truncated = parts.len() > wanted;
    parts.truncate(wanted);
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(bucket.name.clone()),
        key: Some(input.key.clone()),
        upload_id: Some(input.upload_id.clone()),
        checksum_algorithm: upload.checksum.map(|(one, _)| ChecksumAlgorithm::from_static(one.name())),
        checksum_type: upload.checksum.map(|(_, coverage)| checksum_type(coverage)),
        initiator: Some(initiator(&upload)),
        owner: Some(owner(upload.writer)),
        is_truncated: Some(is_truncated),
        max_parts: Some(parts_max),
        part_number_marker: Some(marker),
        next_part_number_marker: parts.last().and_then(|part| part.part_number),
        parts: Some(parts),
        storage_class: Some(upload_storage_class(&upload)),
        ..ListPartsOutput::default()
    }))
}

pub(super) async fn list(call: Call<ListMultipartUploadsInput>) -> Answer<ListMultipartUploadsOutput> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    refuse_unmodelled(&[(input.delimiter.is_some(), "A delimiter between uploads")])?;
    call.require(&bucket, "s3:ListBucketMultipartUploads", &bucket.arn(), Context::default())?;
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let (key_marker, id_marker) = (input.key_marker.as_deref(), input.upload_id_marker.as_deref());
    let behind = |id: &str, key: &str| match (key_marker, id_marker) {
        (None, _) => true,
        (Some(marker), None) => key > marker,
        (Some(marker), Some(id_marker)) => (key, id) > (marker, id_marker),
    };
    let mut uploads = bucket.uploads();
    uploads.retain(|(id, upload)| upload.key.starts_with(prefix) && behind(id, &upload.key));
    let uploads_max = input.max_uploads.unwrap_or(PAGE_MAX).clamp(0, PAGE_MAX);
    let wanted = usize::try_from(uploads_max).expect("not negative");
    let is_truncated = uploads.len() > wanted;
    uploads.truncate(wanted);
    let last = uploads.last().filter(|_| is_truncated);
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(bucket.name.clone()),
        prefix: Some(spelling.write(prefix)),
        encoding_type: input.encoding_type.clone(),
        is_truncated: Some(is_truncated),
        key_marker: Some(spelling.write(key_marker.unwrap_or_default())),
        upload_id_marker: input.upload_id_marker.clone(),
        next_key_marker: last.map(|(_, upload)| spelling.write(&upload.key)),
        next_upload_id_marker: last.map(|(id, _)| id.clone()),
        max_uploads: Some(uploads_max),
        uploads: Some(uploads.iter().map(|(id, upload)| listed_upload(id, upload, &spelling)).collect()),
        ..ListMultipartUploadsOutput::default()
    }))
}

impl<I> Call<I> {
    /// Finds an upload that the caller may go on with.
    fn writable_upload(&self, bucket: &Bucket, key: &str, id: &str) -> Result<Upload, Refusal> {
        let upload = bucket.upload(id, key);
        let acl = upload.as_ref().ok().and_then(|upload| upload.acl);
        // Permission first: who may not write may not find out which uploads there are.
        self.require(bucket, "s3:PutObject", &bucket.object_arn(key), put_context(acl, &Asked::default()))?;
        let upload = upload?;
        self.require_key(bucket, key, &upload.encryption, "kms:Decrypt")?;
        Ok(upload)
    }
}

/// Returns what is remembered of a part: an upload that asked for no checksum gets a CRC-64,
/// whatever its parts were checked with on the way.
async fn kept_digests(received: &Received, wanted: Option<Algorithm>) -> Digests {
    match wanted.unwrap_or(Algorithm::Crc64Nvme) {
        wanted if wanted == received.digests.algorithm => received.digests.clone(),
        wanted => {
            let computed = digest(received.content.clone(), wanted, Tagging::Opaque).await;
            Digests { tag: received.digests.tag, ..computed }
        }
    }
}

fn checksum_asked(
    algorithm: Option<&ChecksumAlgorithm>,
    kind: Option<&ChecksumType>,
) -> Result<Option<(Algorithm, Coverage)>, Refusal> {
    let Some(algorithm) = algorithm else { return Ok(None) };
    let algorithm = parse_algorithm(algorithm.as_str())?;
    let coverage = match kind {
        None => algorithm.coverage_default(),
        Some(kind) => coverage(kind.as_str())?,
    };
    match algorithm.offers(coverage) {
        true => Ok(Some((algorithm, coverage))),
        false => Err(Refusal::invalid_request(format!(
            "The {} checksum type cannot be used with the {} checksum algorithm.",
            checksum_type(coverage).as_str(),
            algorithm.name().to_ascii_lowercase(),
        ))),
    }
}

fn coverage(kind: &str) -> Result<Coverage, Refusal> {
    match kind {
        ChecksumType::FULL_OBJECT => Ok(Coverage::FullObject),
        ChecksumType::COMPOSITE => Ok(Coverage::Composite),
        _ => Err(Refusal::invalid_request("Value for x-amz-checksum-type header is invalid.")),
    }
}

fn claim(part: &CompletedPart) -> Result<PartClaim, Refusal> {
    let checksums = [
        (Algorithm::Crc32, &part.checksum_crc32),
        (Algorithm::Crc32c, &part.checksum_crc32c),
        (Algorithm::Crc64Nvme, &part.checksum_crc64nvme),
        (Algorithm::Sha1, &part.checksum_sha1),
        (Algorithm::Sha256, &part.checksum_sha256),
    ];
    Ok(PartClaim {
        number: part_number(part.part_number.ok_or_else(Refusal::malformed_xml)?)?,
        etag: part.e_tag.as_ref().map(|etag| etag.value().to_owned()),
        checksum: checksums.into_iter().find_map(|(algorithm, value)| Some((algorithm, value.clone()?))),
    })
}

fn part_number(number: i32) -> Result<u16, Refusal> {
    u16::try_from(number).ok().filter(|number| (1..=PARTS_MAX).contains(number)).ok_or_else(|| {
        Refusal::invalid_argument("Part number must be an integer between 1 and 10000, inclusive")
    })
}

/// Unlike a read, a copy takes only `bytes=first-last`, and only inside the source.
fn source_range(range: &str, whole: u64) -> Result<std::ops::Range<u64>, Refusal> {
    let ends = range.strip_prefix("bytes=").and_then(|ends| ends.split_once('-'));
    let (first, last) = ends
        .and_then(|(first, last)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)))
        .filter(|(first, last)| first <= last)
        .ok_or_else(|| {
            Refusal::invalid_argument(
                "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last \
                 are the zero-based offsets of the first and last bytes to copy",
            )
        })?;
    if last >= whole {
        return Err(Refusal::invalid_argument(format!(
            "Range specified is not valid for source object of size: {whole}"
        )));
    }
    Ok(first..last + 1)
}

fn listed_part(number: u16, part: &StoredPart) -> Part {
    let digests: &Digests = &part.digests;
    let mut listed = Part {
        e_tag: Some(etag(&digests.etag())),
        last_modified: Some(timestamp(part.modified)),
        part_number: Some(i32::from(number)),
        size: Some(size(part.content.size())),
        ..Part::default()
    };
    set_checksum!(listed, digests.checksum());
    listed
}

fn listed_upload(id: &str, upload: &Upload, spelling: &Spelling) -> MultipartUpload {
    MultipartUpload {
        key: Some(spelling.write(&upload.key)),
        upload_id: Some(id.to_owned()),
        initiated: Some(timestamp(upload.initiated)),
        initiator: Some(initiator(upload)),
        owner: Some(owner(upload.writer)),
        storage_class: Some(upload_storage_class(upload)),
        checksum_algorithm: upload.checksum.map(|(one, _)| ChecksumAlgorithm::from_static(one.name())),
        checksum_type: upload.checksum.map(|(_, coverage)| checksum_type(coverage)),
    }
}

fn initiator(upload: &Upload) -> Initiator {
    Initiator { display_name: None, id: Some(upload.initiator.clone()) }
}

fn upload_storage_class(upload: &Upload) -> StorageClass {
    let class = upload.attributes.storage_class.clone();
    StorageClass::from(class.unwrap_or_else(|| StorageClass::STANDARD.to_owned()))
}

const PARTS_MAX: u16 = 10_000;
const PART_BYTES_MAX: u64 = 5 << 30;
const PAGE_MAX: i32 = 1000;
