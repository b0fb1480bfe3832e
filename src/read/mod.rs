//! Bytes out: what a read of an open file gets, and how it comes to be here in time.
//!
//! A [`Reader`] is one open file's reads, pinned to one version: all bytes it returns belong to
//! the ETag that was opened, or it says [`Kind::Changed`](crate::error::Kind::Changed). Nothing is
//! copied on the way: the network's buffers are cut into answers.
//!
//! | file | what |
//! | --- | --- |
//! | `window.rs` | pure: the reads so far, and how far to fetch ahead of the next |
//! | `stream.rs` | the parts of a file that are here or on their way |
//! | `part.rs` | one range: its buffers, who waits for it, what it costs |
//! | `fetch.rs` | one range from S3, across broken connections |
//! | `bytes.rs` | the answer to a read |

mod bytes;
mod fetch;
mod part;
mod stream;
mod window;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::bytes::ReadBytes;

use self::fetch::Version;
use self::stream::Stream;
use crate::budget::Budget;
use crate::error::Result;
use crate::name::ObjectKey;
use crate::s3::{ByteRange, ETag, Gateway, ObjectMeta};
use crate::task::Tasks;

/// How files are read ahead.
#[derive(Debug, Clone)]
pub struct Options {
    /// Files up to this size are fetched in one request by their first read.
    pub whole_bytes: u64,
    /// The first part of a run: small, so that its first bytes are here soon.
    pub first_part_bytes: u64,
    /// Parts double up to this size.
    pub part_bytes: u64,
    /// How far ahead a run begins to fetch.
    pub first_window_bytes: u64,
    /// How far ahead a run that waits all the time may come to fetch.
    pub window_bytes_max: u64,
}

impl Default for Options {
    /// A connection to S3 carries about 90 MB/s, and first bytes take 20 ms or more: 2 GB/s want
    /// some 130 MB on their way. 32 parts of 4 MiB are that.
    fn default() -> Self {
        Self {
            whole_bytes: 4 << 20,
            first_part_bytes: 1 << 20,
            part_bytes: 4 << 20,
            first_window_bytes: 8 << 20,
            window_bytes_max: 128 << 20,
        }
    }
}

/// One open file's reads, pinned to one version. Dropping it ends what is on its way.
#[derive(Debug)]
pub struct Reader {
    version: ETag,
    size: u64,
    stream: Stream<Version>,
}

impl Reader {
    /// Returns a reader of the version that `meta` describes.
    pub fn new(
        gateway: Arc<Gateway>,
        key: ObjectKey,
        meta: ObjectMeta,
        options: Options,
        budget: Budget,
        tasks: Tasks,
    ) -> Self {
        let source = Version { gateway, key, etag: meta.etag.clone() };
        let stream = Stream::new(source, meta.size, options, budget, tasks);
        Self { version: meta.etag, size: meta.size, stream }
    }

    /// The version that is read.
    pub fn version(&self) -> &ETag {
        &self.version
    }

    /// Reads without waiting, if all the bytes have arrived.
    pub fn try_read(&self, offset: u64, size: u32) -> Option<Result<ReadBytes>> {
        match self.within(offset, size) {
            Some(range) => self.stream.try_read(range).map(Ok),
            None => Some(Ok(ReadBytes::default())),
        }
    }

    /// Reads `size` bytes at `offset`, fewer only at the end of the file.
    ///
    /// # Errors
    /// [`Kind::Changed`](crate::error::Kind::Changed) when somebody replaced or removed the object.
    pub async fn read(&self, offset: u64, size: u32) -> Result<ReadBytes> {
        match self.within(offset, size) {
            Some(range) => self.stream.read(range).await,
            None => Ok(ReadBytes::default()),
        }
    }

    /// The part of a read that lies within the file, if any.
    fn within(&self, offset: u64, size: u32) -> Option<ByteRange> {
        let end = offset.saturating_add(u64::from(size)).min(self.size);
        (offset < end).then_some(ByteRange { start: offset, end })
    }
}
