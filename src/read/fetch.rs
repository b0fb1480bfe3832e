//! One range from S3, whatever becomes of the connections that carry it.
//!
//! The gateway retries requests. What it cannot retry is a body that breaks off when some of it
//! has been handed on already: then the rest of the range is asked for, of the same version, and
//! the reader notices nothing. A version that is gone cannot be read on: whoever replaced or
//! removed the object, the file that was opened is no more, and that is [`Kind::Changed`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::name::ObjectKey;
use crate::s3::{ByteRange, ETag, Gateway, ObjectBody, S3Error, S3ErrorKind};

/// Where bytes come from. There is one in the product; tests script another.
pub(super) trait Source: fmt::Debug + Send + Sync + 'static {
    /// Bytes under way.
    type Body: Body;
    /// Asks for a range of the one version that is read.
    fn open(&self, range: ByteRange) -> impl Future<Output = Result<Self::Body, S3Error>> + Send;
}

/// Bytes under way.
pub(super) trait Body: Send {
    /// The next bytes as they arrive; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Option<Result<Bytes, S3Error>>> + Send;
}

/// One version of an object.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) gateway: Arc<Gateway>,
    pub(super) key: ObjectKey,
    pub(super) etag: ETag,
}

impl Source for Version {
    type Body = ObjectBody;

    async fn open(&self, range: ByteRange) -> Result<ObjectBody, S3Error> {
        self.gateway.get(&self.key, range, Some(&self.etag)).await
    }
}

impl Body for ObjectBody {
    async fn next(&mut self) -> Option<Result<Bytes, S3Error>> {
        Self::next(self).await
    }
}

/// Fetches `range` and hands on its bytes in order as they arrive.
pub(super) async fn fetch<S: Source>(
    source: &S,
    range: ByteRange,
    mut hand_on: impl FnMut(Bytes),
) -> Result<()> {
    let mut at = range.start;
    let mut failures = 0;
    while at < range.end {
        let before = at;
        let rest = ByteRange { start: at, end: range.end };
        let outcome = fetch_once(source, rest, |chunk| {
            at += chunk.len() as u64;
            hand_on(chunk);
        });
        match outcome.await {
            Ok(()) if at == range.end => return Ok(()),
            Err(error) if error.kind() != S3ErrorKind::Unavailable => return Err(lost(error)),
            // Ended early, or broke off.
            outcome => {
                // A connection that brought anything is no sign that the next one will not.
                failures = if at > before { 1 } else { failures + 1 };
                if failures > FAILURES_MAX {
                    return Err(match outcome {
                        Err(error) => error.into(),
                        Ok(()) => Error::new(Kind::Io, format!("S3 sent fewer bytes than {range}")),
                    });
                }
                tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(failures - 1)).await;
            }
        }
    }
    Ok(())
}

async fn fetch_once<S: Source>(
    source: &S,
    range: ByteRange,
    mut hand_on: impl FnMut(Bytes),
) -> Result<(), S3Error> {
    let mut body = source.open(range).await?;
    let mut left = range.len();
    while let Some(chunk) = body.next().await {
        let mut chunk = chunk?;
        // A server that ignores the range would send us the wrong bytes; never more than asked.
        chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= chunk.len() as u64;
        if !chunk.is_empty() {
            hand_on(chunk);
        }
        if left == 0 {
            break;
        }
    }
    Ok(())
}

/// What a refusal means for a file that was opened: if its version is gone, it has changed.
fn lost(error: S3Error) -> Error {
    match error.kind() {
        S3ErrorKind::Absent | S3ErrorKind::InvalidRange | S3ErrorKind::ConditionFailed => {
            Error::caused(Kind::Changed, "the object was replaced or removed since it was opened", error)
        }
        _ => error.into(),
    }
}

/// Connections in a row that may bring nothing, beyond the gateway's own retries.
const FAILURES_MAX: u32 = 5;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
