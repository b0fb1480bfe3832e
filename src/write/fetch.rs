//! Bytes of the base version, for the edges of what was written and for readers in between.

use bytes::Bytes;

use crate::name::ObjectKey;
use crate::s3::error::RequestName;
use crate::s3::object::{ByteRange, ETag};
use crate::s3::{Gateway, S3Error, S3ErrorKind};

/// Fetches a range of one version, asking for the rest again when a body breaks off.
///
/// # Errors
/// [`S3ErrorKind::ConditionFailed`] when the object is another version by now, and whatever
/// else the gateway could not mend.
pub(super) async fn fetch(
    gateway: &Gateway,
    key: &ObjectKey,
    range: ByteRange,
    version: &ETag,
) -> Result<Vec<Bytes>, S3Error> {
    let mut pieces = Vec::new();
    let mut at = range.start;
    let mut barren_answers = 0;
    while at < range.end {
        let before = at;
        let mut body = gateway.get(key, ByteRange { start: at, end: range.end }, Some(version)).await?;
        let broken = loop {
            match body.next().await {
                Some(Ok(piece)) => {
                    at += piece.len() as u64;
                    pieces.push(piece);
                }
                Some(Err(error)) if error.kind() != S3ErrorKind::Unavailable => return Err(error),
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        barren_answers = if at > before { 0 } else { barren_answers + 1 };
        if at < range.end && barren_answers == BARREN_ANSWERS_MAX {
            return Err(broken.unwrap_or_else(|| ended_early(gateway, key)));
        }
    }
    debug_assert_eq!(at, range.end, "S3 sends no more than it was asked for");
    Ok(pieces)
}

fn ended_early(gateway: &Gateway, key: &ObjectKey) -> S3Error {
    let (bucket, key) = (gateway.bucket().to_string(), Some(key.to_string()));
    let request = RequestName { operation: "GetObject", bucket, key };
    S3Error::local(S3ErrorKind::Unavailable, request, "the body ended before its length")
}

/// Answers without a single byte, one after the other, that we put up with.
const BARREN_ANSWERS_MAX: u32 = 3;
