//! One range of one version of one object, through broken connections to its last byte.
//!
//! The gateway retries requests; a body that breaks in the middle is ours to go on with. The rest
//! is then asked for again, after a moment, of the same version. If that version is gone the range
//! fails with [`Kind::Changed`]: a reader never gets bytes of two versions, and an object that was
//! *deleted* under an open file is no different from one that was replaced. (A local file system
//! would let the reader go on with the deleted file. S3 cannot, and so we say what NFS says: the
//! handle is stale.)

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::blocks::ObjectBlocks;
use crate::error::{Error, Kind, Result};
use crate::name::ObjectKey;
use crate::s3::{ByteRange, ETag, Gateway, ObjectBody, S3Error, S3ErrorKind};

/// Where the bytes of one version come from.
///
/// There is one implementation, [`Object`], and a scripted one in the tests: the order in which
/// many bodies move, and break, has to be chosen there byte by byte.
pub(super) trait Source: Send + Sync + 'static {
    /// The answer to one request.
    type Body: Body;

    /// Asks for a range.
    fn get(&self, range: ByteRange) -> impl Future<Output = Result<Self::Body, S3Error>> + Send;

    /// The shortest time to a first byte that was seen where this comes from, if any was.
    fn latency(&self) -> Option<Duration>;

    /// Whether `body` has the bytes of the version that this is about.
    fn is_same_version(&self, body: &Self::Body) -> bool;

    /// What is kept of it on the disk.
    fn blocks(&self) -> Option<&Arc<ObjectBlocks>> {
        None
    }
}

/// Bytes as they arrive. Dropping it ends the transfer.
pub(super) trait Body: Send {
    /// The next bytes, as soon as they are there; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Option<Result<Bytes, S3Error>>> + Send;
}

/// One version of one object.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) gateway: Arc<Gateway>,
    pub(super) key: ObjectKey,
    pub(super) version: ETag,
    pub(super) blocks: Option<Arc<ObjectBlocks>>,
}

impl Source for Object {
    type Body = ObjectBody;

    async fn get(&self, range: ByteRange) -> Result<ObjectBody, S3Error> {
        self.gateway.get(&self.key, range, Some(&self.version)).await
    }

    fn latency(&self) -> Option<Duration> {
        self.gateway.latency()
    }

    fn is_same_version(&self, body: &ObjectBody) -> bool {
        body.meta().etag == self.version
    }

    fn blocks(&self) -> Option<&Arc<ObjectBlocks>> {
        self.blocks.as_ref()
    }
}

impl Body for ObjectBody {
    async fn next(&mut self) -> Option<Result<Bytes, S3Error>> {
        Self::next(self).await
    }
}

/// Fetches all of `range` and hands its bytes to `arrived`, in order and without a gap.
///
/// # Errors
/// [`Kind::Changed`] when the version is no longer there, and what the gateway gave up on.
pub(super) async fn fetch<S: Source>(
    source: &S,
    range: ByteRange,
    mut arrived: impl FnMut(Bytes) + Send,
) -> Result<()> {
    let mut rest = range;
    for resumed in 0..=RESUMES_MAX {
        if resumed > 0 {
            tokio::time::sleep(delay(resumed)).await;
        }
        match fetch_until_broken(source, &mut rest, &mut arrived).await? {
            Ended::Complete => return Ok(()),
            Ended::Broken(error) => {
                tracing::debug!(%rest, ?error, resumed, "a body broke; asking for the rest")
            }
        }
    }
    Err(Error::new(Kind::Io, format!("the transfer broke {} times; missing {rest}", RESUMES_MAX + 1)))
}

/// How one body ended.
enum Ended {
    Complete,
    /// Before its last byte; some servers just stop, without an error.
    Broken(Option<S3Error>),
}

/// Fetches as much of `rest` as one request gives, and shortens it by that.
async fn fetch_until_broken<S: Source>(
    source: &S,
    rest: &mut ByteRange,
    arrived: &mut (impl FnMut(Bytes) + Send),
) -> Result<Ended> {
    let mut body = source.get(*rest).await.map_err(of_request)?;
    if !source.is_same_version(&body) {
        // Not every server honours If-Match.
        return Err(Error::new(Kind::Changed, "the object was replaced while it was open"));
    }
    while !rest.is_empty() {
        match body.next().await {
            Some(Ok(mut bytes)) => {
                // More than was asked for would be bytes of somebody else's range.
                bytes.truncate(usize::try_from(rest.len()).unwrap_or(usize::MAX));
                rest.start += bytes.len() as u64;
                if !bytes.is_empty() {
                    arrived(bytes);
                }
            }
            Some(Err(error)) if error.kind() == S3ErrorKind::Unavailable => {
                return Ok(Ended::Broken(Some(error)));
            }
            Some(Err(error)) => return Err(error.into()),
            None => return Ok(Ended::Broken(None)),
        }
    }
    // The end of the body has to be read, or the connection cannot serve another request.
    match body.next().await {
        Some(Ok(_)) | None => {}
        Some(Err(error)) => tracing::debug!(%error, "after the last byte"),
    }
    Ok(Ended::Complete)
}

/// What a refused request means for an open file. The file was there when it was opened, so
/// whatever says that it is not, or that it is shorter by now, says that it changed.
fn of_request(error: S3Error) -> Error {
    match error.kind() {
        S3ErrorKind::Absent | S3ErrorKind::ConditionFailed | S3ErrorKind::InvalidRange => {
            Error::caused(Kind::Changed, "the object was replaced or deleted while it was open", error)
        }
        _ => error.into(),
    }
}

/// The pause before the request that follows the `resumed`th break, half of it random so that
/// the parts that one fault broke do not come back as one crowd.
fn delay(resumed: u32) -> Duration {
    let longest = DELAY_FIRST * 2_u32.pow(resumed - 1);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Breaks that one range survives: 50 ms, 100 ms .. 1.6 s are three seconds in which a network
/// or a server can come back. What takes longer is found by the gateway's own patience.
const RESUMES_MAX: u32 = 6;

const DELAY_FIRST: Duration = Duration::from_millis(50);
