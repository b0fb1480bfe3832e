//! Bytes out: one open file's reads.
//!
//! A [`Reader`] belongs to one open file and to the version of the object that `open` saw. Every
//! request carries that version's ETag, so a reader returns bytes of that version or an error,
//! [`Kind::Changed`](crate::error::Kind::Changed) when it has been replaced or deleted.
//!
//! ```text
//!  read ──► stream ──► window        what do these reads look like, what comes next? (pure)
//!             │
//!             ├──► part, part, ..    ranges in memory or on their way, each filled by its task
//!             │      └──► blocks     what is on the disk, if that is wished for
//!             │             └──► fetch   one range, through broken connections
//!             └──► budget            may we?
//! ```
//!
//! Reads are answered the moment *their* bytes are there, not when the part is complete, with
//! slices of the part's memory. Any number of reads may be under way on one reader;
//! each waits for its own bytes only. A read that can be answered from memory needs no task and
//! no await: [`Reader::try_read`].
//!
//! Invariants:
//! - all bytes that a reader returns are of one version;
//! - a read is short only at the end of the file;
//! - dropping a reader gives its memory back and ends its requests, but for those that are brought to their end so
//!   that `blocks` can keep what they bring: of up to 1 MiB each, and one of 4 MiB if it fetches in the background;
//! - a read makes progress however little of the budget is free.

mod blocks;
mod bytes;
mod fetch;
mod part;
mod pulse;
mod stream;
mod walk;
mod whole;
mod window;
mod worth;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use self::blocks::{Backing, BlockCache, CacheOptions, CacheReport};
pub use self::bytes::ReadBytes;
pub use self::walk::{Met, Walk};
pub use self::whole::{Fetched, Whole};
pub use self::worth::{Price, Rent};

use self::fetch::Object;
use self::stream::Stream;
use crate::budget::Budget;
use crate::error::Result;
use crate::name::ObjectKey;
use crate::s3::{ByteRange, ETag, Gateway, ObjectMeta};
use crate::task::Tasks;

/// How much to fetch at a time, and how far ahead. The defaults are for S3 as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The most that all reading of a mount may hold. One reader gets three quarters of it, which is 2 GB/s,
    /// more than a kernel takes, times the 20 ms to the first byte and the 47 ms of a part. The rest of the budget
    /// is for those who write, and half of it always is: what many connections and the allocator keep
    /// beside our buffers was up to as much again.
    pub memory_bytes_max: u64,
    /// The most to hold of one file, ahead of its reader and behind it. As much as a connection
    /// brings in the 20 ms to its first byte and in a part's own time, times the number of
    /// connections of 90 MB/s that make 2 GB/s, is 180 MB.
    pub ahead_bytes_max: u64,
    /// The most for one request of many. A request costs 0.1 ms of processor time, and what is
    /// larger than this comes no faster, but is longer in memory.
    pub part_bytes_max: u64,
    /// Files up to this size are fetched whole, in one request.
    pub small_file_bytes: u64,
    /// What is fetched when a file's beginning is read, before it is clear that more will be.
    pub opening_bytes: u64,
    /// What random reads are rounded to. At 90 MB/s it costs 0.7 ms, little beside the 20 ms to
    /// the first byte, and neighbours come for nothing.
    pub block_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memory_bytes_max: 192 << 20,
            ahead_bytes_max: 192 << 20,
            part_bytes_max: 4 << 20,
            small_file_bytes: 4 << 20,
            opening_bytes: 1 << 20,
            block_bytes: 64 << 10,
        }
    }
}

/// One open file's reads, pinned to one version.
#[derive(Debug)]
pub struct Reader {
    stream: Stream<Object>,
    /// All of it, where that was fetched ahead.
    fetched: Option<Arc<Fetched>>,
    size: u64,
    version: ETag,
}

impl Reader {
    /// Returns the reader of the version that `meta` describes. Nothing is fetched before the
    /// first read, and nothing that `cache` has.
    pub fn new(
        gateway: Arc<Gateway>,
        key: ObjectKey,
        meta: ObjectMeta,
        options: Options,
        budget: Budget,
        tasks: Tasks,
        cache: Option<&Arc<BlockCache>>,
    ) -> Self {
        let ObjectMeta { etag: version, size, .. } = meta;
        let blocks = cache.map(|cache| {
            let names = [gateway.bucket().as_str(), key.as_str(), version.as_str()];
            cache.object(names, size, &budget, &tasks)
        });
        let object = Object { gateway, key, version: version.clone(), blocks };
        Self { stream: Stream::new(object, size, options, budget, tasks), fetched: None, size, version }
    }

    /// The same reader with all bytes in memory, if `fetched` is the version it reads. The block cache keeps them,
    /// too.
    pub fn with(self, fetched: Option<Arc<Fetched>>) -> Self {
        let is_same = |meta: &ObjectMeta| meta.etag == self.version && meta.size == self.size;
        let fetched = fetched.filter(|fetched| is_same(&fetched.meta));
        if let (Some(fetched), Some(blocks)) = (&fetched, &self.stream.source().blocks) {
            blocks.keep(0, fetched.slice(ByteRange { start: 0, end: self.size }));
        }
        Self { fetched, ..self }
    }

    /// The length of the file, which is known from the beginning and never changes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The version that all bytes are of.
    pub fn version(&self) -> &ETag {
        &self.version
    }

    /// How long reads at random have waited since this was last asked.
    pub fn waited_at_random(&self) -> Duration {
        self.stream.waited_at_random()
    }

    /// The time to a first byte, where that is known.
    pub fn latency(&self) -> Option<Duration> {
        self.stream.latency()
    }

    /// Reads `size` bytes from `offset`, fewer only where the file ends.
    ///
    /// May be called many times at once. Dropping the future gives the read up, and leaves what
    /// has been fetched for it to others.
    ///
    /// # Errors
    /// [`Kind::Changed`](crate::error::Kind::Changed) when the object is no longer the version
    /// that was opened, and then at every read; otherwise what the gateway gave up on, and the
    /// next read tries again.
    pub async fn read(&self, offset: u64, size: u32) -> Result<ReadBytes> {
        match self.range(offset, size) {
            Some(wanted) => match &self.fetched {
                Some(fetched) => Ok(fetched.slice(wanted).into()),
                None => self.stream.read(wanted).await,
            },
            None => Ok(ReadBytes::default()),
        }
    }

    /// Reads at once what has arrived already, or lies in memory as part of the block cache; `None` when that
    /// is not all of it, and the question is to be put to [`read`](Self::read).
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn try_read(&self, offset: u64, size: u32) -> Option<Result<ReadBytes>> {
        match self.range(offset, size) {
            Some(wanted) => match &self.fetched {
                Some(fetched) => Some(Ok(fetched.slice(wanted).into())),
                None => self.stream.try_read(wanted).or_else(|| {
                    let bytes = self.stream.source().blocks.as_ref()?.try_read(wanted)?;
                    Some(Ok(bytes.into()))
                }),
            },
            None => Some(Ok(ReadBytes::default())),
        }
    }

    /// The part of the file that a read is about; `None` if it has none.
    fn range(&self, offset: u64, size: u32) -> Option<ByteRange> {
        let end = offset.saturating_add(u64::from(size)).min(self.size);
        (offset < end).then_some(ByteRange { start: offset, end })
    }
}
