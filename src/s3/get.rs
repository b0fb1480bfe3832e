//! Asking about objects and fetching their bytes.

use std::sync::Arc;
use std::time::SystemTime;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use bytes::{Buf, Bytes};
use tokio::time::Instant;

use super::Gateway;
use super::customer_key::keyed;
use super::error::{RequestName, S3Error, S3ErrorKind};
use super::gaps::Gap;
use super::object::{ByteRange, ETag, ObjectDetails, ObjectMeta, UserMetadata, is_archive};
use crate::name::ObjectKey;

impl Gateway {
    /// Asks for an object's description.
    ///
    /// # Errors
    /// [`S3ErrorKind::Absent`]; and [`S3ErrorKind::Denied`], which without the right to list is
    /// also the answer for an object that is absent.
    pub async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, S3Error> {
        let error = match self.head_once(key).await {
            Ok(output) => return self.described(key, output),
            Err(error) => error,
        };
        if error.status() != Some(400) || error.code().is_some() {
            return Err(error);
        }
        self.say_why(key).await?;
        self.described(key, self.head_once(key).await?)
    }

    async fn head_once(&self, key: &ObjectKey) -> Result<HeadObjectOutput, S3Error> {
        let request = self.request("HeadObject", Some(key.as_str()));
        let _permit = self.permit().await;
        let call = self
            .clients
            .quick
            .head_object()
            .bucket(self.bucket.as_str())
            .key(key.as_str())
            .set_expected_bucket_owner(self.rules.expected_bucket_owner.clone())
            .set_request_payer(self.rules.request_payer());
        let asked = Instant::now();
        let answer = keyed!(call, self.rules).send().await;
        self.latency.answered(asked);
        answer.map_err(|error| self.failed(request, &error))
    }

    fn described(&self, key: &ObjectKey, output: HeadObjectOutput) -> Result<ObjectMeta, S3Error> {
        meta_of_head(output).ok_or_else(|| incomplete(self.request("HeadObject", Some(key.as_str()))))
    }

    /// Finds out what a HEAD could not say for want of a body: a GET of one byte is refused for the same
    /// reasons, and tells them. If a session has ended, it is renewed on the way.
    async fn say_why(&self, key: &ObjectKey) -> Result<(), S3Error> {
        match self.get_object(key, Some(ByteRange { start: 0, end: 1 }), None).await {
            Err(error) if error.kind() != S3ErrorKind::InvalidRange => Err(error),
            _ => Ok(()),
        }
    }

    /// Fetches a range, of one `version` only where one is given.
    ///
    /// # Errors
    /// [`S3ErrorKind::ConditionFailed`] when the object is another version by now,
    /// [`S3ErrorKind::InvalidRange`] when it ends before the range begins.
    pub async fn get(
        &self,
        key: &ObjectKey,
        range: ByteRange,
        version: Option<&ETag>,
    ) -> Result<ObjectBody, S3Error> {
        self.get_object(key, Some(range), version).await
    }

    /// Fetches an object of which nothing is known yet, description and bytes in one request.
    ///
    /// # Errors
    /// As [`head`](Self::head).
    pub async fn get_whole(&self, key: &ObjectKey) -> Result<ObjectBody, S3Error> {
        self.get_object(key, None, None).await
    }

    async fn get_object(
        &self,
        key: &ObjectKey,
        range: Option<ByteRange>,
        version: Option<&ETag>,
    ) -> Result<ObjectBody, S3Error> {
        let request = self.request("GetObject", Some(key.as_str()));
        // Held until the answer begins. A body may be read as slowly as its reader likes, and
        // must not keep others from asking meanwhile.
        let _permit = self.permit().await;
        let call = self
            .clients
            .quick
            .get_object()
            .bucket(self.bucket.as_str())
            .key(key.as_str())
            .set_range(range.map(|range| range.to_string()))
            .set_if_match(version.map(|version| version.as_str().to_owned()))
            .set_expected_bucket_owner(self.rules.expected_bucket_owner.clone())
            .set_request_payer(self.rules.request_payer());
        let asked = Instant::now();
        let answer = keyed!(call, self.rules).send().await;
        self.latency.answered(asked);
        match answer {
            Ok(output) => {
                let body = ObjectBody::new(request, output, range)?;
                if body.skip_bytes > 0 {
                    self.gaps.note(Gap::Range);
                }
                Ok(body)
            }
            Err(error) => Err(self.failed(request, &error)),
        }
    }
}

/// The bytes of an object or of a range of it, as they arrive. Dropping it ends the transfer.
#[derive(Debug)]
pub struct ObjectBody {
    meta: ObjectMeta,
    stream: ByteStream,
    request: RequestName,
    /// What comes first and was not asked for, from servers that know no ranges.
    skip_bytes: u64,
    /// What was asked for and has not come yet.
    left_bytes: u64,
}

impl ObjectBody {
    fn new(
        request: RequestName,
        mut output: GetObjectOutput,
        asked: Option<ByteRange>,
    ) -> Result<Self, S3Error> {
        let is_whole = output.content_range.is_none();
        if let Some(range) = asked.filter(|range| !begins_at(range.start, output.content_range.as_deref())) {
            let message = format!("asked for {range}, and was answered {:?}", output.content_range);
            return Err(S3Error::local(S3ErrorKind::Unexpected, request, message));
        }
        let stream = std::mem::take(&mut output.body);
        let Some(meta) = meta_of_get(output) else { return Err(incomplete(request)) };
        let skip_bytes = asked.filter(|_| is_whole).map_or(0, |range| range.start);
        if skip_bytes > 0 && skip_bytes >= meta.size {
            let message = "the object ends before the range begins";
            return Err(S3Error::local(S3ErrorKind::InvalidRange, request, message));
        }
        let left_bytes = asked.map_or(u64::MAX, |range| range.len());
        Ok(Self { meta, stream, request, skip_bytes, left_bytes })
    }

    /// Description of the whole object, details included.
    pub fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    /// The next bytes, as soon as they are there; `None` at the end.
    ///
    /// # Errors
    /// [`S3ErrorKind::Unavailable`] when the connection broke: ask for the rest again.
    pub async fn next(&mut self) -> Option<Result<Bytes, S3Error>> {
        loop {
            let mut chunk = match self.stream.next().await? {
                Ok(chunk) => chunk,
                Err(error) => {
                    let message = format!("body cut short: {error}");
                    return Some(Err(S3Error::local(
                        S3ErrorKind::Unavailable,
                        self.request.clone(),
                        message,
                    )));
                }
            };
            let skipped = self.skip_bytes.min(chunk.len() as u64);
            self.skip_bytes -= skipped;
            chunk.advance(usize::try_from(skipped).unwrap_or(usize::MAX));
            chunk.truncate(usize::try_from(self.left_bytes).unwrap_or(usize::MAX));
            self.left_bytes -= chunk.len() as u64;
            match (chunk.is_empty(), self.left_bytes) {
                (false, _) => return Some(Ok(chunk)),
                // The rest is nobody's, and the connection is worth less than reading it.
                (true, 0) => return None,
                (true, _) => {}
            }
        }
    }
}

/// Whether an answer has the bytes from `start` on. One without a range is the whole object, as
/// servers send it that do not know ranges, and has them behind others.
fn begins_at(start: u64, content_range: Option<&str>) -> bool {
    let Some(range) = content_range else { return true };
    let first = range.strip_prefix("bytes ").and_then(|range| range.split_once('-'));
    first.is_some_and(|(first, _)| first.parse() == Ok(start))
}

fn meta_of_head(output: HeadObjectOutput) -> Option<ObjectMeta> {
    let archived = is_in_archive(&output);
    let details = ObjectDetails {
        version_id: output.version_id,
        archived,
        ..details(output.metadata, output.content_type)
    };
    Some(ObjectMeta {
        etag: ETag::new(output.e_tag.as_deref()?),
        size: u64::try_from(output.content_length?).ok()?,
        last_modified: time_of(output.last_modified),
        storage_class: output.storage_class.map(|class| class.as_str().to_owned()),
        details: Some(Arc::new(details)),
    })
}

/// Whether the bytes have to be restored before they can be had. Those of INTELLIGENT_TIERING move into an archive and
/// back while their class stays the same, so S3 has another header for it.
fn is_in_archive(output: &HeadObjectOutput) -> bool {
    let class = output.storage_class.as_ref().is_some_and(|class| is_archive(class.as_str()));
    let restored =
        output.restore.as_deref().is_some_and(|restore| restore.contains("ongoing-request=\"false\""));
    (class || output.archive_status.is_some()) && !restored
}

fn meta_of_get(output: GetObjectOutput) -> Option<ObjectMeta> {
    let size = match output.content_range.as_deref() {
        Some(range) => range.rsplit_once('/')?.1.parse().ok()?,
        None => u64::try_from(output.content_length?).ok()?,
    };
    let details =
        ObjectDetails { version_id: output.version_id, ..details(output.metadata, output.content_type) };
    Some(ObjectMeta {
        etag: ETag::new(output.e_tag.as_deref()?),
        size,
        last_modified: time_of(output.last_modified),
        storage_class: output.storage_class.map(|class| class.as_str().to_owned()),
        details: Some(Arc::new(details)),
    })
}

fn details(
    metadata: Option<std::collections::HashMap<String, String>>,
    content_type: Option<String>,
) -> ObjectDetails {
    // Header names come back in whatever case the server likes; S3 itself keeps them in lower case.
    let user: UserMetadata =
        metadata.into_iter().flatten().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    ObjectDetails { user, content_type, ..ObjectDetails::default() }
}

pub(super) fn time_of(time: Option<DateTime>) -> SystemTime {
    time.and_then(|time| SystemTime::try_from(time).ok()).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn incomplete(request: RequestName) -> S3Error {
    S3Error::local(S3ErrorKind::Unexpected, request, "the answer lacks an ETag or a length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_from_another_place_are_not_taken_for_those_that_were_asked_for() {
        assert!(begins_at(5, Some("bytes 5-9/100")));
        assert!(!begins_at(5, Some("bytes 0-9/100")));
        assert!(!begins_at(5, Some("5-9/100")), "that is no range");
        assert!(begins_at(5, None), "that is the whole object");
    }
}
