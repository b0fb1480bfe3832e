//! Fields of requests and answers, from s3s's types to ours and back.
//!
//! s3s generates a type for every operation, and types of several operations have fields in
//! common without sharing a trait. What works on such fields has to be a macro.

use std::collections::BTreeMap;
use std::time::SystemTime;

use hyper::HeaderMap;
use s3s::dto::*;

use super::encryption::Asked;
use crate::emulator::checksum::Coverage;
use crate::emulator::identity::AccountId;
use crate::emulator::listing;
use crate::emulator::policy::Context;
use crate::emulator::refusal::Refusal;
use crate::emulator::store::CannedAcl;

/// Collects what the writer says about an object.
macro_rules! attributes {
    ($input:expr) => {
        $crate::emulator::store::Attributes {
            content_type: $input.content_type.clone(),
            cache_control: $input.cache_control.clone(),
            content_disposition: $input.content_disposition.clone(),
            content_encoding: $crate::emulator::s3::fields::stored_encoding(
                $input.content_encoding.as_deref(),
            ),
            content_language: $input.content_language.clone(),
            expires: $input.expires.clone().map($crate::emulator::s3::fields::instant),
            metadata: $crate::emulator::s3::fields::metadata($input.metadata.clone())?,
            storage_class: $crate::emulator::s3::fields::storage_class($input.storage_class.as_ref()),
        }
    };
}
pub(super) use attributes;

/// Refuses what a write may ask for and is not modelled.
macro_rules! refuse_unmodelled_write {
    ($call:expr) => {{
        let (input, headers) = (&$call.input, &$call.headers);
        let locked = input.object_lock_mode.is_some() || input.object_lock_legal_hold_status.is_some();
        $crate::emulator::s3::fields::refuse_unmodelled(&[
            (input.tagging.is_some(), "Tagging"),
            (input.website_redirect_location.is_some(), "Website redirection"),
            (locked, "Object lock"),
            ($crate::emulator::s3::fields::grants_by_header(headers), "Granting by header"),
        ])?;
    }};
}
pub(super) use refuse_unmodelled_write;

/// Puts a checksum into the one field of an output that carries its algorithm.
macro_rules! set_checksum {
    ($output:expr, $checksum:expr) => {{
        let value = Some($checksum.value.clone());
        match $checksum.algorithm {
            $crate::emulator::checksum::Algorithm::Crc32 => $output.checksum_crc32 = value,
            $crate::emulator::checksum::Algorithm::Crc32c => $output.checksum_crc32c = value,
            $crate::emulator::checksum::Algorithm::Crc64Nvme => $output.checksum_crc64nvme = value,
            $crate::emulator::checksum::Algorithm::Sha1 => $output.checksum_sha1 = value,
            $crate::emulator::checksum::Algorithm::Sha256 => $output.checksum_sha256 = value,
        }
    }};
}
pub(super) use set_checksum;

/// Parses the ACL of a request.
pub(super) fn canned_acl(acl: Option<&ObjectCannedACL>) -> Result<Option<CannedAcl>, Refusal> {
    acl.map(|acl| {
        CannedAcl::parse(acl.as_str()).ok_or_else(|| Refusal::invalid_argument("Invalid canned ACL"))
    })
    .transpose()
}

/// Refuses what is asked for and not modelled.
pub(super) fn refuse_unmodelled(asked_for: &[(bool, &str)]) -> Result<(), Refusal> {
    match asked_for.iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(Refusal::not_modelled(what)),
        None => Ok(()),
    }
}

pub(super) fn owner(account: AccountId) -> Owner {
    Owner { display_name: None, id: Some(account.canonical_id()) }
}

pub(super) fn etag(value: &str) -> ETag {
    ETag::Strong(value.to_owned())
}

pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

pub(super) fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).expect("no object is that large")
}

/// What conditions on a write can look at.
pub(super) fn put_context(acl: Option<CannedAcl>, encryption: &Asked) -> Context {
    encryption.describe(Context::default().with_some("s3:x-amz-acl", acl.map(CannedAcl::name)))
}

/// How names are spelled in the answer.
pub(super) enum Spelling {
    Plain,
    Url,
}

impl Spelling {
    pub(super) fn of(encoding: Option<&EncodingType>) -> Result<Self, Refusal> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self::Plain),
            Some(EncodingType::URL) => Ok(Self::Url),
            Some(_) => Err(Refusal::invalid_argument("Invalid Encoding Method specified in Request")),
        }
    }

    pub(super) fn write(&self, name: &str) -> String {
        match self {
            Self::Plain => name.to_owned(),
            Self::Url => listing::url_encode(name),
        }
    }
}

pub(super) fn checksum_type(coverage: Coverage) -> ChecksumType {
    ChecksumType::from_static(match coverage {
        Coverage::FullObject => ChecksumType::FULL_OBJECT,
        Coverage::Composite => ChecksumType::COMPOSITE,
    })
}

/// Checks the limit on user metadata.
pub(super) fn metadata(given: Option<Metadata>) -> Result<BTreeMap<String, String>, Refusal> {
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

pub(super) fn grants_by_header(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("x-amz-grant-"))
}

pub(super) fn instant(time: Timestamp) -> SystemTime {
    time::OffsetDateTime::from(time).into()
}

/// User metadata: names and values together.
const METADATA_BYTES_MAX: usize = 2048;
