//! Files that are in the cache as a whole, for the kernel to read by itself.
//!
//! The kernel checks nothing. So a file is handed out only after this process has read every block of it
//! from the disk, in the course of ordinary reads, and found each to fit its seal; that costs no reading of
//! its own. As long as it is handed out it is open, and so evicted by nobody.

use std::fs::File;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::BlockCache;
use super::entry::{Entry, Opening};
use super::layout::{Layout, Version};
use crate::s3::{ETag, ObjectMeta};

/// A file with all bytes of one version, and nothing else.
#[derive(Debug)]
pub struct Backing {
    entry: Arc<Entry>,
    version: ETag,
    _one_of_few: OwnedSemaphorePermit,
}

impl Backing {
    /// The file. It does not change.
    pub fn file(&self) -> &File {
        self.entry.content().expect("only such entries are handed out")
    }

    /// What it is of.
    pub fn version(&self) -> &ETag {
        &self.version
    }
}

impl BlockCache {
    /// The file that has all of a version; `None` if there is none, or it was not checked yet. Small files
    /// are never in one of their own.
    pub async fn backing(&self, bucket: &str, key: &str, meta: &ObjectMeta) -> Option<Backing> {
        if meta.size == 0 || meta.size > self.segment_bytes {
            return None;
        }
        let [origin, bucket, key, etag] = [&self.origin, bucket, key, meta.etag.as_str()].map(str::to_owned);
        let version = Version { origin, bucket, key, etag, size: meta.size };
        let layout = Arc::new(Layout::of(&version, 0, self.segment_bytes));
        if layout.is_packed() || !self.open.was_checked(layout.name) {
            return None;
        }
        let one_of_few = Arc::clone(&self.backings).try_acquire_owned().ok()?;
        let open = Arc::clone(&self.open);
        let opened = tokio::task::spawn_blocking(move || open.open(&layout, Opening::Existing)).await;
        let entry = opened.ok()?.ok()??;
        let backing = Backing { entry, version: meta.etag.clone(), _one_of_few: one_of_few };
        self.open.is_checked(&backing.entry).then_some(backing)
    }
}

/// How many are handed out at the same time, for each takes two descriptors; the files beyond are read
/// through us.
pub(super) const BACKINGS_MAX: usize = 128;
