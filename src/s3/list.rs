//! Listing one level of a bucket, a page at a time.

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{EncodingType, Object};
use percent_encoding::percent_decode_str;

use super::Gateway;
use super::error::S3Error;
use super::get::time_of;
use super::object::{ETag, ObjectMeta};
use crate::name::DirPrefix;

/// How deep a listing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// One level; what lies deeper shows as common prefixes.
    Level,
    /// Every key below the prefix.
    Tree,
}

/// One page of a listing, in the order of UTF-8 bytes.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Common prefixes, each ending in `/`.
    pub prefixes: Vec<String>,
    /// Objects by key; their metas have no details.
    pub objects: Vec<(String, ObjectMeta)>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<PageToken>,
}

/// Where a listing goes on; only S3 knows what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken(String);

impl Gateway {
    /// Lists what is below `prefix`, beginning where the page before ended.
    ///
    /// The prefix is sent exactly, so that a policy with a condition on `s3:prefix` may allow it.
    /// `keys_max` bounds the page; S3 itself stops at 1,000.
    ///
    /// # Errors
    /// [`S3ErrorKind::Denied`](super::S3ErrorKind::Denied) without the right to list.
    pub async fn list(
        &self,
        prefix: &DirPrefix,
        depth: Depth,
        from: Option<&PageToken>,
        keys_max: u16,
    ) -> Result<Page, S3Error> {
        let request = self.request("ListObjectsV2", Some(prefix.as_str()));
        let _permit = self.permit().await;
        let call = self
            .clients
            .quick
            .list_objects_v2()
            .bucket(self.bucket.as_str())
            .prefix(prefix.as_str())
            .set_delimiter((depth == Depth::Level).then(|| "/".to_owned()))
            .set_continuation_token(from.map(|token| token.0.clone()))
            .max_keys(i32::from(keys_max))
            // Keys may hold characters that XML cannot, such as control characters.
            .encoding_type(EncodingType::Url)
            .set_expected_bucket_owner(self.rules.expected_bucket_owner.clone())
            .set_request_payer(self.rules.request_payer());
        match call.send().await {
            Ok(output) => Ok(page(output)),
            Err(error) => Err(S3Error::sort(request, &error)),
        }
    }
}

fn page(output: ListObjectsV2Output) -> Page {
    // A server that does not know the parameter does not echo it, and sends keys as they are.
    let encoded = output.encoding_type == Some(EncodingType::Url);
    let text = |text: String| if encoded { decode(&text) } else { text };
    Page {
        next: output.next_continuation_token.filter(|_| output.is_truncated == Some(true)).map(PageToken),
        prefixes: output
            .common_prefixes
            .into_iter()
            .flatten()
            .filter_map(|common| common.prefix.map(&text))
            .collect(),
        objects: output
            .contents
            .into_iter()
            .flatten()
            .filter_map(|mut object| Some((text(object.key.take()?), meta(object)?)))
            .collect(),
    }
}

fn meta(object: Object) -> Option<ObjectMeta> {
    Some(ObjectMeta {
        etag: ETag::new(object.e_tag.as_deref().unwrap_or_default()),
        size: u64::try_from(object.size?).ok()?,
        last_modified: time_of(object.last_modified),
        storage_class: object.storage_class.map(|class| class.as_str().to_owned()),
        details: None,
    })
}

/// Undoes `encoding-type=url`, in which a space is a plus.
fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_key_is_the_one_that_was_written() {
        assert_eq!(decode("a+b%2Bc%25/%E2%82%AC"), "a b+c%/€");
    }
}
