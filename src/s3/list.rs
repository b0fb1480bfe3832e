//! Listing one level of a bucket, a page at a time.

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{EncodingType, Object};
use percent_encoding::percent_decode_str;

use super::Gateway;
use super::error::{S3Error, S3ErrorKind};
use super::gaps::Gap;
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

/// Where a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken(Next);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    /// Only S3 knows what is in it.
    Token(String),
    /// Behind this name, for ListObjects.
    Marker(String),
}

/// How a page is asked for.
#[derive(Debug, Clone, Copy)]
struct Ask<'a> {
    prefix: &'a DirPrefix,
    depth: Depth,
    from: Option<&'a PageToken>,
    keys_max: u16,
}

impl Ask<'_> {
    fn delimiter(&self) -> Option<String> {
        (self.depth == Depth::Level).then(|| "/".to_owned())
    }
}

impl Gateway {
    /// Lists what is below `prefix`, beginning where the page before ended.
    ///
    /// The prefix is sent exactly, so that a policy with a condition on `s3:prefix` may allow it.
    /// `keys_max` bounds the page; S3 itself stops at 1,000.
    ///
    /// # Errors
    /// [`S3ErrorKind::Denied`] without the right to list.
    pub async fn list(
        &self,
        prefix: &DirPrefix,
        depth: Depth,
        from: Option<&PageToken>,
        keys_max: u16,
    ) -> Result<Page, S3Error> {
        let ask = Ask { prefix, depth, from, keys_max };
        match self.list_once(ask).await {
            // Only one of these two is new to a server, and the other one has to be asked for all over.
            Err(error) if self.gaps.may_be() && is_unknown(&error) => {
                for gap in [Gap::UrlEncoding, Gap::ListV2] {
                    if !self.gaps.has(gap)
                        && let Ok(page) = self.list_without(ask, gap).await
                    {
                        self.gaps.note(gap);
                        return Ok(page);
                    }
                }
                Err(error)
            }
            outcome => outcome,
        }
    }

    async fn list_once(&self, ask: Ask<'_>) -> Result<Page, S3Error> {
        let encoding = (!self.gaps.has(Gap::UrlEncoding)).then_some(EncodingType::Url);
        match ask.from {
            Some(PageToken(Next::Marker(_))) => self.list_v1(ask, encoding).await,
            None if self.gaps.has(Gap::ListV2) => self.list_v1(ask, encoding).await,
            _ => self.list_v2(ask, encoding).await,
        }
    }

    /// The same with one thing less.
    async fn list_without(&self, ask: Ask<'_>, gap: Gap) -> Result<Page, S3Error> {
        let encodes = gap != Gap::UrlEncoding && !self.gaps.has(Gap::UrlEncoding);
        let encoding = encodes.then_some(EncodingType::Url);
        match gap == Gap::ListV2 || self.gaps.has(Gap::ListV2) {
            true => self.list_v1(ask, encoding).await,
            false => self.list_v2(ask, encoding).await,
        }
    }

    async fn list_v2(&self, ask: Ask<'_>, encoding: Option<EncodingType>) -> Result<Page, S3Error> {
        let request = self.request("ListObjectsV2", Some(ask.prefix.as_str()));
        let _permit = self.permit().await;
        let token = ask.from.and_then(|PageToken(from)| match from {
            Next::Token(token) => Some(token.clone()),
            Next::Marker(_) => None,
        });
        let call = self
            .clients
            .quick
            .list_objects_v2()
            .bucket(self.bucket.as_str())
            .prefix(ask.prefix.as_str())
            .set_delimiter(ask.delimiter())
            .set_continuation_token(token)
            .max_keys(i32::from(ask.keys_max))
            // Keys may hold characters that XML cannot, such as control characters.
            .set_encoding_type(encoding)
            .set_expected_bucket_owner(self.rules.expected_bucket_owner.clone())
            .set_request_payer(self.rules.request_payer());
        let output = call.send().await.map_err(|error| self.failed(request, &error))?;
        let goes_on = output.is_truncated == Some(true);
        let mut page = page(output);
        if goes_on && page.next.is_none() {
            // It took the request for one of the old kind, whose answer does not say where to go on.
            self.gaps.note(Gap::ListV2);
            page.next = last_name(&page).map(|name| PageToken(Next::Marker(name)));
        }
        Ok(page)
    }

    async fn list_v1(&self, ask: Ask<'_>, encoding: Option<EncodingType>) -> Result<Page, S3Error> {
        let request = self.request("ListObjects", Some(ask.prefix.as_str()));
        let _permit = self.permit().await;
        let marker = ask.from.and_then(|PageToken(from)| match from {
            Next::Marker(name) => Some(name.clone()),
            Next::Token(_) => None,
        });
        let call = self
            .clients
            .quick
            .list_objects()
            .bucket(self.bucket.as_str())
            .prefix(ask.prefix.as_str())
            .set_delimiter(ask.delimiter())
            .set_marker(marker)
            .max_keys(i32::from(ask.keys_max))
            .set_encoding_type(encoding)
            .set_expected_bucket_owner(self.rules.expected_bucket_owner.clone())
            .set_request_payer(self.rules.request_payer());
        let output = call.send().await.map_err(|error| self.failed(request, &error))?;
        let goes_on = output.is_truncated == Some(true);
        let mut page = page(
            ListObjectsV2Output::builder()
                .set_contents(output.contents)
                .set_common_prefixes(output.common_prefixes)
                .set_encoding_type(output.encoding_type)
                .build(),
        );
        page.next = last_name(&page).filter(|_| goes_on).map(|name| PageToken(Next::Marker(name)));
        Ok(page)
    }
}

/// Whether a listing may have been refused for something in it that the server does not know.
fn is_unknown(error: &S3Error) -> bool {
    error.kind() == S3ErrorKind::Unsupported
        || matches!(error.code(), Some("InvalidArgument" | "InvalidRequest"))
}

/// The last name of a page, behind which the next one begins. A common prefix stands for all below it.
fn last_name(page: &Page) -> Option<String> {
    let key = page.objects.last().map(|(key, _)| key);
    key.max(page.prefixes.last()).cloned()
}

fn page(output: ListObjectsV2Output) -> Page {
    // A server that does not know the parameter does not echo it, and sends keys as they are.
    let encoded = output.encoding_type == Some(EncodingType::Url);
    let text = |text: String| if encoded { decode(&text) } else { text };
    Page {
        next: output
            .next_continuation_token
            .filter(|_| output.is_truncated == Some(true))
            .map(|token| PageToken(Next::Token(token))),
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
