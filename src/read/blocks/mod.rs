//! The block cache: what was fetched once, kept on the disk, for this mount, the next one, and others.
//!
//! ```text
//!             ┌─ try_read ◄── page cache ◄─┐
//!   a read ───┤                            ├── files of blocks and their seals ◄── keeper ◄─┐
//!             └─ fetch ◄───── disk ◄───────┘        (entry, layout, folder)       a thread  │ queue
//!                  └───────── S3 ─────────── chunks ─────────────────────► gather ──────────┘
//! ```
//!
//! | file | what |
//! | --- | --- |
//! | `layout.rs` | where a block lies, and what says that it is whole (pure) |
//! | `plan.rs` | which blocks to read, which to ask S3 for (pure) |
//! | `fill.rs` | when to fetch the rest of what is read here and there (pure) |
//! | `evict.rs` | how much may be kept, and what has to go (pure) |
//! | `gather.rs` | bytes as they arrive, made into blocks (pure) |
//! | `entry.rs` | the files of one segment of one object |
//! | `open.rs` | the entries that this process has open |
//! | `folder.rs` | the folder that all mounts of a user share |
//! | `keeper.rs` | the thread that writes |
//! | `backing.rs` | files that are there as a whole, for the kernel to read by itself |
//! | `object.rs` | the blocks of one open object; what the rest of [`read`](crate::read) sees |
//!
//! # Invariants
//! - Bytes are handed out only if they fit the checksum that was made of them when they came from S3, and
//!   only for the version that they came from: a block is found by origin, bucket, key, ETag, size and place.
//! - Neither a kernel thread nor the runtime waits for the disk, and nobody waits for a block to be written.
//! - Whatever is wrong with the folder costs a request to S3, and never an error or a wrong byte.
//! - All processes together keep to the bound, and leave the disk a reserve (see [`evict`]).
//! - Files are readable by their owner alone. They hold what the bucket holds, not encrypted.
//!
//! What is *not* here is the right to read: each `open` goes by an answer of S3 that this role may, which is no older
//! than [`OPEN_MEMORY`](crate::namespace::OPEN_MEMORY). Nor are the requests that bring small files before they are
//! opened ([`Whole`](super::Whole)): they ask for description and bytes at once, and so what they bring is kept
//! here, but not looked for.

mod backing;
mod entry;
mod evict;
mod fill;
mod folder;
mod gather;
mod keeper;
mod layout;
mod object;
mod open;
mod plan;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub use self::backing::Backing;
pub(super) use self::layout::Version;
pub(super) use self::object::{ObjectBlocks, fetch};

use self::folder::{Folder, Meter, SpaceOf};
use self::keeper::Keeping;
use self::layout::BLOCK_BYTES;
use self::open::OpenEntries;
use crate::budget::Budget;
use crate::error::Result;
use crate::sys;
use crate::task::Tasks;

/// Where blocks are kept, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOptions {
    /// The directory. Its own folder in it is readable by this user alone.
    pub directory: PathBuf,
    /// What all blocks may take together, of all mounts that share the directory.
    pub bytes_max: u64,
    /// Which S3 the buckets are in. Mounts that say the same here share blocks.
    pub origin: String,
}

/// The cache as this process has it.
#[derive(Debug)]
pub struct BlockCache {
    origin: String,
    segment_bytes: u64,
    open: Arc<OpenEntries>,
    keeping: Keeping,
    /// The versions that somebody has open. All who have one share what is known of it.
    objects: Mutex<HashMap<Version, Weak<ObjectBlocks>>>,
    /// Bounds how many files the kernel reads by itself.
    backings: Arc<Semaphore>,
    /// The disk could not be read, and that was said.
    is_trouble_said: AtomicBool,
    meter: Meter,
    bytes_max: u64,
    counters: Counters,
}

/// What has happened since the cache was opened.
#[derive(Debug, Default)]
struct Counters {
    served_bytes: AtomicU64,
    fetched_bytes: AtomicU64,
    skipped_blocks: AtomicU64,
}

/// How a cache has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheReport {
    /// What all blocks take on the disk, those of other mounts included.
    pub used_bytes: u64,
    /// What they may take.
    pub bytes_max: u64,
    /// Bytes that came from the disk.
    pub served_bytes: u64,
    /// Bytes that came from S3 because they were not there.
    pub fetched_bytes: u64,
    /// Blocks that were let go because the disk could not keep up.
    pub skipped_blocks: u64,
}

impl BlockCache {
    /// Opens the cache, or makes it. What earlier processes left half done is cleared in the background.
    ///
    /// # Errors
    /// [`Kind::Denied`](crate::error::Kind::Denied) where others can read it; and those of the file system.
    pub fn open(options: CacheOptions) -> Result<Arc<Self>> {
        Self::open_on(options, sys::space)
    }

    fn open_on(options: CacheOptions, space: SpaceOf) -> Result<Arc<Self>> {
        let CacheOptions { directory, bytes_max, origin } = options;
        let folder = Folder::open(&directory, bytes_max, space)?;
        let segment_bytes = folder.bounds().segment_bytes(BLOCK_BYTES);
        let open = Arc::new(OpenEntries::new(folder.path()));
        let meter = folder.meter()?;
        let keeping = Keeping::start(folder, Arc::clone(&open))?;
        let counters = Counters::default();
        let backings = Arc::new(Semaphore::new(backing::BACKINGS_MAX));
        let is_trouble_said = AtomicBool::new(false);
        Ok(Arc::new(Self {
            origin,
            segment_bytes,
            open,
            keeping,
            objects: Mutex::default(),
            backings,
            is_trouble_said,
            meter,
            bytes_max,
            counters,
        }))
    }

    /// What has happened so far.
    pub fn report(&self) -> CacheReport {
        let Counters { served_bytes, fetched_bytes, skipped_blocks } = &self.counters;
        CacheReport {
            used_bytes: self.meter.used_bytes(),
            bytes_max: self.bytes_max,
            served_bytes: served_bytes.load(Ordering::Relaxed),
            fetched_bytes: fetched_bytes.load(Ordering::Relaxed),
            skipped_blocks: skipped_blocks.load(Ordering::Relaxed),
        }
    }

    /// Waits until what has arrived from S3 is on the disk, or has been let go.
    pub async fn settled(&self) {
        self.keeping.settled().await;
    }

    /// The blocks of a version. What waits to be written is paid for by `budget`.
    pub(super) fn object(
        self: &Arc<Self>,
        [bucket, key, etag]: [&str; 3],
        size: u64,
        budget: &Budget,
        tasks: &Tasks,
    ) -> Arc<ObjectBlocks> {
        let [bucket, key, etag] = [bucket, key, etag].map(str::to_owned);
        let version = Version { origin: self.origin.clone(), bucket, key, etag, size };
        let mut objects = self.objects.lock();
        if let Some(blocks) = objects.get(&version).and_then(Weak::upgrade) {
            return blocks;
        }
        if objects.len() >= OBJECTS_SWEPT {
            objects.retain(|_, blocks| blocks.strong_count() > 0);
        }
        let blocks = ObjectBlocks::new(Arc::clone(self), version.clone(), budget.clone(), tasks.clone());
        let blocks = Arc::new(blocks);
        objects.insert(version, Arc::downgrade(&blocks));
        blocks
    }
}

/// With more than these, those that nobody has open any more are looked for.
const OBJECTS_SWEPT: usize = 1024;
