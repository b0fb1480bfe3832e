//! Copies of what is too large for one request: in parts, many at once.
//!
//! CopyObject takes up to 5 GB. Above that each part is copied by a request of its own, and S3 works on them side by
//! side; one after the other, a terabyte would take an hour. A server that cannot copy parts has them sent
//! through here, one at a time, as each is in memory meanwhile.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::error::{S3Error, S3ErrorKind};
use super::object::{ByteRange, ETag, NewObject, ObjectMeta, Precondition, limits};
use super::put::Body;
use super::{Gateway, Part, Upload};
use crate::name::ObjectKey;

/// The version of an object that is copied.
#[derive(Debug, Clone)]
struct Original {
    gateway: Arc<Gateway>,
    key: ObjectKey,
    meta: ObjectMeta,
}

impl Gateway {
    pub(super) async fn copy_in_parts(
        self: &Arc<Self>,
        source: &Arc<Self>,
        source_key: &ObjectKey,
        source_meta: &ObjectMeta,
        key: &ObjectKey,
        new: Option<&NewObject>,
        condition: &Precondition,
    ) -> Result<ETag, S3Error> {
        let described = match new {
            Some(new) => new.clone(),
            None => self.description(source, source_key, source_meta).await?,
        };
        let original =
            Original { gateway: Arc::clone(source), key: source_key.clone(), meta: source_meta.clone() };
        loop {
            let is_relayed = !self.copies_parts();
            let upload = self.begin_upload(key, &described).await?;
            let outcome = match original.parts(&upload, is_relayed).await {
                Ok(parts) => upload.complete(parts, condition).await,
                Err(error) => Err((error, upload)),
            };
            match outcome {
                Ok(etag) => return Ok(etag),
                Err((error, upload)) => {
                    give_up(upload).await;
                    // That it cannot copy parts, the server says to the first of them.
                    let is_news = error.kind() == S3ErrorKind::Unsupported && !self.copies_parts();
                    if is_relayed || !is_news {
                        return Err(error);
                    }
                }
            }
        }
    }
}

impl Original {
    /// Makes all parts of the upload.
    async fn parts(&self, upload: &Upload, is_relayed: bool) -> Result<Vec<Part>, S3Error> {
        let at_once = if is_relayed { 1 } else { PARTS_AT_ONCE };
        let (mut making, mut parts) = (JoinSet::new(), Vec::new());
        for (number, range) in (1..).zip(self.ranges(is_relayed)) {
            if making.len() >= at_once {
                parts.extend(joined(making.join_next().await)?);
            }
            let (original, upload) = (self.clone(), upload.clone());
            making.spawn(async move { original.part(&upload, number, range, is_relayed).await });
        }
        // Should one fail, the others are dropped with the set.
        while let Some(made) = making.join_next().await {
            parts.extend(joined(Some(made))?);
        }
        Ok(parts)
    }

    fn ranges(&self, is_relayed: bool) -> impl Iterator<Item = ByteRange> + use<> {
        let size = self.meta.size;
        let part_bytes_least = if is_relayed { RELAYED_PART_BYTES } else { COPY_PART_BYTES };
        let part_bytes = part_bytes_least.max(size.div_ceil(limits::PARTS_MAX));
        (0..size)
            .step_by(usize::try_from(part_bytes).unwrap_or(usize::MAX))
            .map(move |start| ByteRange { start, end: (start + part_bytes).min(size) })
    }

    async fn part(
        &self,
        upload: &Upload,
        number: u32,
        range: ByteRange,
        is_relayed: bool,
    ) -> Result<Part, S3Error> {
        let version = &self.meta.etag;
        if !is_relayed {
            return upload.copy_part_from(number, &self.gateway, &self.key, version, range).await;
        }
        let pieces = self.gateway.fetch(&self.key, range, version).await?;
        upload.put_part(number, Body::from(pieces)).await
    }
}

fn joined(
    made: Option<Result<Result<Part, S3Error>, tokio::task::JoinError>>,
) -> Result<Option<Part>, S3Error> {
    match made {
        Some(Ok(part)) => part.map(Some),
        Some(Err(error)) => match error.try_into_panic() {
            // A bug of ours ends the operation.
            Ok(panic) => std::panic::resume_unwind(panic),
            // Nobody but the end of the runtime stops these tasks, and then nobody waits for them.
            Err(_) => Ok(None),
        },
        None => Ok(None),
    }
}

/// Abort may be denied; then a lifecycle rule cleans up.
async fn give_up(upload: Upload) {
    if let Err(error) = upload.abort().await {
        tracing::debug!(%error, "an upload could not be aborted");
    }
}

/// Copies of parts under way at once. S3 makes them by itself, at some 100 MB/s each.
const PARTS_AT_ONCE: usize = 32;

/// 64 MiB: what is relayed is in memory meanwhile, one part at a time.
const RELAYED_PART_BYTES: u64 = 64 << 20;

/// 256 MiB: few enough requests, and each small enough to be answered within its patience.
const COPY_PART_BYTES: u64 = 256 << 20;
