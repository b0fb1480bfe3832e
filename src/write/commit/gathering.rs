//! Bytes put together for S3, and what they cost meanwhile.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Trouble;
use crate::budget::{Budget, Reservation};
use crate::error::{Error, Kind, Result};
use crate::s3::object::{ByteRange, ObjectMeta};
use crate::write::Target;
use crate::write::content::{Home, Segment};
use crate::write::fetch::fetch;
use crate::write::staging::StagingFile;

/// Pays for bytes that are about to be read from the disk or fetched.
///
/// Whoever waits here holds no other bytes and gives these back without waiting for anybody, so
/// it cannot block for good. What others may hold idly is only what they asked for, and asking
/// leaves an eighth of the budget alone: no more than that is demanded.
pub(in crate::write) async fn pay(budget: &Budget, bytes: u64) -> Reservation {
    budget.demand(bytes.min(budget.total_bytes() / 8)).await
}

/// Reads from a staging file, away from the threads that serve the network.
pub(in crate::write) async fn read_staged(file: Arc<StagingFile>, range: ByteRange) -> Result<Bytes> {
    if range.len() <= READ_AT_ONCE_BYTES {
        return Ok(file.read(range)?);
    }
    let read = tokio::task::spawn_blocking(move || file.read(range)).await;
    Ok(read.map_err(|panic| Error::caused(Kind::Io, "reading staged bytes", panic))??)
}

/// Puts bytes together from wherever they are: staging files, the base, or nowhere.
pub(in crate::write) async fn gather(
    target: &Target,
    base: Option<&ObjectMeta>,
    segments: Vec<Segment>,
) -> Result<Bytes, Trouble> {
    if let [Segment { home: Home::Local(file), range }] = &segments[..] {
        return Ok(read_staged(Arc::clone(file), *range).await?);
    }
    let length: u64 = segments.iter().map(|segment| segment.range.len()).sum();
    let mut bytes = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
    for segment in segments {
        match (segment.home, base) {
            (Home::Local(file), _) => bytes.extend_from_slice(&read_staged(file, segment.range).await?),
            (Home::Base, Some(base)) => {
                let pieces = fetch(&target.gateway, &target.key, segment.range, &base.etag).await?;
                pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
            }
            (Home::Released, _) => return Err(only_in_an_upload(segment.range, target).into()),
            (Home::Zeros | Home::Base, _) => {
                bytes.resize(bytes.len() + usize::try_from(segment.range.len()).unwrap_or(0), 0);
            }
        }
    }
    Ok(bytes.freeze())
}

/// Why released bytes cannot be had.
pub(in crate::write) fn only_in_an_upload(range: ByteRange, target: &Target) -> Error {
    let Target { gateway, key, .. } = target;
    let (start, bucket) = (range.start, gateway.bucket());
    Error::new(
        Kind::Io,
        format!(
            "{} bytes from {start} on of s3://{bucket}/{key} were released from the staging directory, and are only in \
             parts of an unfinished upload; hint: a larger --staging-size keeps them",
            range.len()
        ),
    )
}

/// A read this small from the page cache is cheaper than the way to another thread.
const READ_AT_ONCE_BYTES: u64 = 256 << 10;
