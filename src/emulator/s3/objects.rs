//! Reading objects, and their ACLs.

use std::ops::Range as Span;
use std::sync::Arc;

use s3s::dto::Permission as Permission_;
use s3s::dto::*;
use s3s::{Body, S3Response};

use super::conditions::read_conditions;
use super::encryption::{customer_key, set_customer_key, set_encryption};
use super::fields::{
    canned_acl, checksum_type, etag, owner, refuse_unmodelled, set_checksum, size, timestamp,
};
use super::{Answer, Call};
use crate::emulator::checksum::Checksum as Sum;
use crate::emulator::identity::AccountId;
use crate::emulator::policy::Context;
use crate::emulator::refusal::Refusal;
use crate::emulator::store::{Bucket, CannedAcl, Object, Ownership, Permission};

/// Describes an object in the output of `HEAD` or `GET`, which are two types with the same fields.
macro_rules! describe {
    ($output:ident, $view:ident) => {{
        let attributes = &$view.object.attributes;
        let mut output = $output {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: attributes.cache_control.clone(),
            content_disposition: attributes.content_disposition.clone(),
            content_encoding: attributes.content_encoding.clone(),
            content_language: attributes.content_language.clone(),
            content_length: Some(size($view.length())),
            content_range: $view.content_range(),
            content_type: Some($view.content_type()),
            e_tag: Some(etag(&$view.object.etag)),
            expires: attributes.expires.map(timestamp),
            last_modified: Some(timestamp($view.object.modified)),
            metadata: $view.metadata(),
            parts_count: $view.parts_count,
            restore: $view.object.restore_header(),
            version_id: $view.object.version_id.clone(),
            storage_class: attributes.storage_class.clone().map(StorageClass::from),
            ..$output::default()
        };
        set_encryption!(output, &$view.object.encryption);
        set_customer_key!(output, $view.object.encryption);
        if let Some(checksum) = $view.checksum() {
            set_checksum!(output, checksum);
            output.checksum_type = Some(checksum_type(checksum.coverage));
        }
        output
    }};
}

/// What a `GET` or `HEAD` is to show: an object, whole or in part.
struct View {
    object: Arc<Object>,
    /// The bytes, and whether they are a part (206) or the whole (200).
    span: Span<u64>,
    partial: bool,
    with_checksum: bool,
    /// The number of parts, where one of them was asked for.
    parts_count: Option<i32>,
}

pub(super) async fn head(call: Call<HeadObjectInput>) -> Answer<HeadObjectOutput> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    refuse_unmodelled(&[(input.version_id.is_some(), "Versioning")])?;
    let object = call.readable(&bucket, &input.key)?;
    object.encryption.check_key(customer_key!(call, input).as_ref())?;
    read_conditions!(input).check(&object)?;
    let view = View::of(object, input.range, input.part_number, input.checksum_mode.as_ref())?;
    if view.with_checksum {
        // The checksum is encrypted as the bytes are.
        for action in ["kms:GenerateDataKey", "kms:Decrypt"] {
            call.require_key(&bucket, &input.key, &view.object.encryption, action)?;
        }
    }
    let archive_status = view.object.archive_status.clone().map(ArchiveStatus::from);
    Ok(S3Response::new(HeadObjectOutput { archive_status, ..describe!(HeadObjectOutput, view) }))
}

pub(super) async fn get(call: Call<GetObjectInput>) -> Answer<GetObjectOutput> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    refuse_unmodelled(&[(input.version_id.is_some(), "Versioning")])?;
    let object = call.readable(&bucket, &input.key)?;
    object.encryption.check_key(customer_key!(call, input).as_ref())?;
    read_conditions!(input).check(&object)?;
    object.check_readable()?;
    call.require_decrypt(&bucket, &input.key, &object)?;
    let view = View::of(object, input.range, input.part_number, input.checksum_mode.as_ref())?;
    let body = Body::http_body(view.object.content.body(view.span.clone()));
    let described = describe!(GetObjectOutput, view);
    Ok(S3Response::new(GetObjectOutput { body: Some(StreamingBlob::from(body)), ..described }))
}

pub(super) async fn acl(call: Call<GetObjectAclInput>) -> Answer<GetObjectAclOutput> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    refuse_unmodelled(&[(input.version_id.is_some(), "Versioning")])?;
    let object = call.existing(&bucket, &input.key)?;
    call.require_object(&bucket, &input.key, &object, "s3:GetObjectAcl", Permission::ReadAcl)?;
    let object_owner = bucket.owner_of(&object);
    Ok(S3Response::new(GetObjectAclOutput {
        grants: Some(grants(&bucket, &object)),
        owner: Some(owner(object_owner)),
        request_charged: None,
    }))
}

pub(super) async fn put_acl(call: Call<PutObjectAclInput>) -> Answer<PutObjectAclOutput> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    refuse_unmodelled(&[
        (input.version_id.is_some(), "Versioning"),
        (input.access_control_policy.is_some(), "An ACL other than the canned ones"),
        (input.grant_full_control.is_some() || input.grant_read.is_some(), "Granting by header"),
    ])?;
    let acl = canned_acl(input.acl.as_ref())?.ok_or_else(|| {
        Refusal::new(400, "MissingSecurityHeader", "Your request was missing a required header")
    })?;
    let object = call.existing(&bucket, &input.key)?;
    call.require_object(&bucket, &input.key, &object, "s3:PutObjectAcl", Permission::WriteAcl)?;
    if bucket.ownership() == Ownership::BucketOwnerEnforced && acl != CannedAcl::BucketOwnerFullControl {
        return Err(Refusal::acl_not_supported());
    }
    // The object stays whose it is: only a write hands it over.
    bucket.change(&input.key, |object| object.acl = acl)?;
    Ok(S3Response::new(PutObjectAclOutput::default()))
}

impl<I> Call<I> {
    /// Finds an object whose ACL is asked for, or says as much about its absence as AWS does.
    fn existing(&self, bucket: &Bucket, key: &str) -> Result<Arc<Object>, Refusal> {
        match bucket.object(key) {
            Some(object) => Ok(object),
            None => {
                let context = Context::default().with("s3:prefix", key);
                self.require(bucket, "s3:ListBucket", &bucket.arn(), context)?;
                Err(Refusal::no_such_key())
            }
        }
    }
}

impl View {
    fn of(
        object: Arc<Object>,
        range: Option<Range>,
        part: Option<i32>,
        checksum_mode: Option<&ChecksumMode>,
    ) -> Result<Self, Refusal> {
        let whole = 0..object.content.size();
        let (span, parts_count) = match (range, part) {
            (None, None) => (whole.clone(), None),
            (Some(_), Some(_)) => {
                return Err(Refusal::invalid_request(
                    "Cannot specify both Range header and partNumber query parameter",
                ));
            }
            (Some(range), None) => (range.check(whole.end).map_err(|_| Refusal::invalid_range())?, None),
            (None, Some(number)) => {
                let (span, count) = part_span(&object, number)?;
                (span, Some(count))
            }
        };
        let partial = range.is_some() || part.is_some();
        if range.is_some() && span.is_empty() {
            return Err(Refusal::invalid_range());
        }
        let enabled = checksum_mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
        // The stored checksum is the whole object's; S3 does not send it beside other bytes.
        let with_checksum = enabled && span == whole;
        Ok(Self { object, span, partial, with_checksum, parts_count })
    }

    fn length(&self) -> u64 {
        self.span.end - self.span.start
    }

    fn content_range(&self) -> Option<String> {
        let Span { start, end } = self.span;
        let whole = self.object.content.size();
        (self.partial && start < end).then(|| format!("bytes {start}-{}/{whole}", end - 1))
    }

    fn content_type(&self) -> String {
        self.object.attributes.content_type.clone().unwrap_or_else(|| "binary/octet-stream".to_owned())
    }

    fn metadata(&self) -> Option<Metadata> {
        Some(self.object.attributes.metadata.clone().into_iter().collect())
    }

    fn checksum(&self) -> Option<&Sum> {
        self.object.checksum.as_ref().filter(|_| self.with_checksum)
    }
}

fn part_span(object: &Object, number: i32) -> Result<(Span<u64>, i32), Refusal> {
    let whole = [object.content.size()];
    let sizes = if object.part_sizes.is_empty() { &whole } else { &*object.part_sizes };
    let index = usize::try_from(number - 1).ok().filter(|index| *index < sizes.len());
    let index = index.ok_or_else(|| {
        Refusal::new(416, "InvalidPartNumber", "The requested partnumber is not satisfiable")
    })?;
    let start: u64 = sizes[..index].iter().sum();
    let count = i32::try_from(sizes.len()).expect("at most 10,000 parts");
    Ok((start..start + sizes[index], count))
}

fn grants(bucket: &Bucket, object: &Object) -> Vec<Grant> {
    let object_owner = bucket.owner_of(object);
    let mut grants = vec![grant_to(object_owner, Permission_::FULL_CONTROL)];
    if bucket.ownership() == Ownership::BucketOwnerEnforced {
        return grants;
    }
    let public = |uri: &str, permission| grant(Type::GROUP, None, Some(uri.to_owned()), permission);
    match object.acl {
        CannedAcl::BucketOwnerFullControl if object_owner != bucket.owner => {
            grants.push(grant_to(bucket.owner, Permission_::FULL_CONTROL));
        }
        CannedAcl::BucketOwnerRead if object_owner != bucket.owner => {
            grants.push(grant_to(bucket.owner, Permission_::READ));
        }
        CannedAcl::PublicRead => grants.push(public(ALL_USERS, Permission_::READ)),
        CannedAcl::PublicReadWrite => {
            grants.push(public(ALL_USERS, Permission_::READ));
            grants.push(public(ALL_USERS, Permission_::WRITE));
        }
        CannedAcl::AuthenticatedRead => grants.push(public(AUTHENTICATED_USERS, Permission_::READ)),
        _ => {}
    }
    grants
}

fn grant_to(account: AccountId, permission: &'static str) -> Grant {
    grant(Type::CANONICAL_USER, Some(account.canonical_id()), None, permission)
}

fn grant(kind: &'static str, id: Option<String>, uri: Option<String>, permission: &'static str) -> Grant {
    Grant {
        grantee: Some(Grantee {
            display_name: None,
            email_address: None,
            id,
            type_: Type::from_static(kind),
            uri,
        }),
        permission: Some(Permission_::from_static(permission)),
    }
}

const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED_USERS: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
