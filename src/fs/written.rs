//! Small files that were written here, in memory for whoever reads them next.
//!
//! Of what is written the kernel keeps whole pages only, and so asks for all of most small files when they are read. An
//! installer, a compiler or git, which read what they have made a moment ago, would wait for S3 to tell them what they
//! have just told it. So the bytes stay here for a while, as those of the version that the commit has made. Who opens the
//! file asks S3 which version is current, as ever, and takes the bytes if they are of that one.
//!
//! They are asked of the budget, and never demanded. They are no way around a right that is lacking: only where S3 has let
//! this mount read before are they read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::budget::Budget;
use crate::namespace::Ino;
use crate::read::Fetched;
use crate::write::Session;

/// What was written last, by inode.
pub(super) struct Written {
    budget: Budget,
    files: Cache<Ino, Arc<Fetched>>,
}

impl Written {
    pub(super) fn new(budget: Budget) -> Self {
        let bytes_max = BYTES_MAX.min(budget.total_bytes() / 16);
        let weight = |_: &Ino, file: &Arc<Fetched>| u32::try_from(file.meta.size).unwrap_or(u32::MAX).max(1);
        let files = Cache::builder().weigher(weight).max_capacity(bytes_max).time_to_live(KEPT).build();
        Self { budget, files }
    }

    /// Keeps the bytes of a session that is about to end, if S3 has all of them and there are few.
    pub(super) fn keep(&self, ino: Ino, session: &Session) {
        let Some((version, bytes)) = session.small(FILE_BYTES_MAX) else { return };
        if let Some(paid) = self.budget.ask(version.size) {
            self.files.insert(ino, Arc::new(Fetched::written(version, bytes, paid)));
        }
    }

    /// The bytes of a file as it was written last.
    pub(super) fn get(&self, ino: Ino) -> Option<Arc<Fetched>> {
        self.files.get(&ino)
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written")
    }
}

/// Of a larger file the kernel has most, and a request for the rest is a small part of the work.
const FILE_BYTES_MAX: u64 = 128 << 10;

const BYTES_MAX: u64 = 16 << 20;

/// What is read after it is written is read soon.
const KEPT: Duration = Duration::from_secs(60);
