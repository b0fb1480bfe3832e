//! Listings of objects, in both versions.

use s3s::S3Response;
use s3s::dto::*;

use super::fields::{Spelling, checksum_type, etag, owner, size, timestamp};
use super::{Answer, Call};
use crate::emulator::checksum::hex;
use crate::emulator::listing::{self, Page, Selection};
use crate::emulator::policy::Context;
use crate::emulator::refusal::Refusal;
use crate::emulator::store::Bucket;

pub(super) async fn objects_v2(call: Call<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    let (prefix, delimiter) = (input.prefix.as_deref(), input.delimiter.as_deref());
    call.require_list(&bucket, prefix, delimiter)?;
    let marker = match &input.continuation_token {
        Some(token) => Some(marker_of(token)?),
        None => input.start_after.clone(),
    };
    let entries_max = page_size(input.max_keys)?;
    let page = listing::page(
        &bucket,
        Selection { prefix: prefix.unwrap_or_default(), delimiter, marker: marker.as_deref(), entries_max },
    );
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    let count = page.objects.len() + page.common_prefixes.len();
    Ok(S3Response::new(ListObjectsV2Output {
        name: Some(bucket.name.clone()),
        prefix: Some(spelling.write(prefix.unwrap_or_default())),
        delimiter: delimiter.map(|delimiter| spelling.write(delimiter)),
        start_after: input.start_after.as_deref().map(|after| spelling.write(after)),
        encoding_type: input.encoding_type.clone(),
        max_keys: Some(number(entries_max)),
        key_count: Some(number(count)),
        continuation_token: input.continuation_token.clone(),
        is_truncated: Some(page.next_marker.is_some()),
        next_continuation_token: page.next_marker.as_deref().map(|marker| hex(marker.as_bytes())),
        contents: Some(entries(&bucket, &page, &spelling, input.fetch_owner == Some(true))),
        common_prefixes: Some(common_prefixes(&page, &spelling)),
        ..ListObjectsV2Output::default()
    }))
}

pub(super) async fn objects_v1(call: Call<ListObjectsInput>) -> Answer<ListObjectsOutput> {
    let input = &call.input;
    let bucket = call.bucket(&input.bucket, input.expected_bucket_owner.as_ref())?;
    let (prefix, delimiter) = (input.prefix.as_deref(), input.delimiter.as_deref());
    call.require_list(&bucket, prefix, delimiter)?;
    let entries_max = page_size(input.max_keys)?;
    let marker = input.marker.as_deref().filter(|marker| !marker.is_empty());
    let page = listing::page(
        &bucket,
        Selection { prefix: prefix.unwrap_or_default(), delimiter, marker, entries_max },
    );
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    // Without a delimiter the client is to take the last key for the next marker.
    let next_marker = page.next_marker.as_deref().filter(|_| delimiter.is_some());
    Ok(S3Response::new(ListObjectsOutput {
        name: Some(bucket.name.clone()),
        prefix: Some(spelling.write(prefix.unwrap_or_default())),
        marker: Some(spelling.write(marker.unwrap_or_default())),
        delimiter: delimiter.map(|delimiter| spelling.write(delimiter)),
        encoding_type: input.encoding_type.clone(),
        max_keys: Some(number(entries_max)),
        is_truncated: Some(page.next_marker.is_some()),
        next_marker: next_marker.map(|marker| spelling.write(marker)),
        contents: Some(entries(&bucket, &page, &spelling, true)),
        common_prefixes: Some(common_prefixes(&page, &spelling)),
        ..ListObjectsOutput::default()
    }))
}

impl<I> Call<I> {
    fn require_list(
        &self,
        bucket: &Bucket,
        prefix: Option<&str>,
        delimiter: Option<&str>,
    ) -> Result<(), Refusal> {
        let context = Context::default().with_some("s3:prefix", prefix).with_some("s3:delimiter", delimiter);
        self.require(bucket, "s3:ListBucket", &bucket.arn(), context)
    }
}

fn entries(bucket: &Bucket, page: &Page, spelling: &Spelling, with_owner: bool) -> Vec<Object> {
    let entry = |(key, object): &(String, std::sync::Arc<crate::emulator::store::Object>)| Object {
        key: Some(spelling.write(key)),
        size: Some(size(object.content.size())),
        e_tag: Some(etag(&object.etag)),
        last_modified: Some(timestamp(object.modified)),
        owner: with_owner.then(|| owner(bucket.owner_of(object))),
        storage_class: Some(ObjectStorageClass::from(
            object.attributes.storage_class.clone().unwrap_or_else(|| "STANDARD".to_owned()),
        )),
        checksum_algorithm: object
            .checksum
            .as_ref()
            .map(|checksum| vec![ChecksumAlgorithm::from_static(checksum.algorithm.name())]),
        checksum_type: object.checksum.as_ref().map(|checksum| checksum_type(checksum.coverage)),
        ..Object::default()
    };
    page.objects.iter().map(entry).collect()
}

fn common_prefixes(page: &Page, spelling: &Spelling) -> Vec<CommonPrefix> {
    let prefixes = page.common_prefixes.iter();
    prefixes.map(|prefix| CommonPrefix { prefix: Some(spelling.write(prefix)) }).collect()
}

fn page_size(asked: Option<i32>) -> Result<usize, Refusal> {
    let asked = asked.unwrap_or(ENTRIES_MAX);
    usize::try_from(asked.min(ENTRIES_MAX)).map_err(|_| {
        Refusal::invalid_argument("Argument maxKeys must be an integer between 0 and 2147483647")
    })
}

/// Tokens are opaque to clients; these are the marker in hexadecimal digits.
fn marker_of(token: &str) -> Result<String, Refusal> {
    let escaped: String =
        token.as_bytes().chunks(2).flat_map(|pair| [b"%", pair].concat()).map(char::from).collect();
    listing::percent_decode(&escaped)
        .ok_or_else(|| Refusal::invalid_argument("The continuation token provided is incorrect"))
}

fn number(count: usize) -> i32 {
    i32::try_from(count).expect("a page is small")
}

const ENTRIES_MAX: i32 = 1000;
