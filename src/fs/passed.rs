//! Files that the kernel reads by itself, from the block cache's own file: FUSE passthrough.
//!
//! The kernel has one rule for an inode: while one handle passes through, every other one has to, to the
//! same file (fs/fuse/iomode.c; an `open` that is answered otherwise fails with EIO). So a file is passed
//! through only if nobody else has it open in the ordinary way; only where nothing can be written, for a
//! writer's handle cannot pass through; and whoever opens a newer version while an older one is still
//! passed through is refused with [`Kind::Changed`], rather than shown the older one.
//!
//! It happens when this process has read, and so checked, every byte of the file from the cache before.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::handle::{OpenFile, OpenState};
use super::{Filesystem, target_key};
use crate::error::{Error, Kind, Result};
use crate::read::Backing;

impl Filesystem {
    /// Whether files may be passed through at all; the mount asks the kernel for it then.
    pub fn may_pass_through(&self) -> bool {
        self.parts.cache.is_some() && !self.passing_refused.load(Ordering::Relaxed)
    }

    /// The kernel refuses to: files are read through us from now on.
    pub fn refuse_to_pass(&self) {
        self.passing_refused.store(true, Ordering::Relaxed);
    }

    /// The file with all bytes of the version that is opened, if it is there, checked, and may be used.
    pub(super) async fn backing(&self, file: &OpenFile) -> Option<Backing> {
        let cache = self.parts.cache.as_ref().filter(|_| self.may_pass_through())?;
        let (place, meta) = {
            let state = file.state();
            (state.place.clone()?, state.committed.clone()?)
        };
        self.namespace().ensure_writable(place.folder.bucket).err()?;
        let bucket = self.namespace().gateway(place.folder.bucket).bucket().as_str();
        cache.backing(bucket, target_key(&place).ok()?.as_str(), &meta).await
    }
}

/// Decides whether one more handle is passed through, in the same step as it is counted.
///
/// # Errors
/// [`Kind::Changed`] while another version is.
pub(super) fn count_handle(state: &mut OpenState, found: Option<Backing>) -> Result<Option<Arc<Backing>>> {
    if state.handles == 0 {
        state.passed = found.map(Arc::new);
    }
    ensure_one_version(state)?;
    state.handles += 1;
    Ok(state.passed.clone())
}

/// Makes sure that the kernel reads no other version by itself than the one that is to be opened.
///
/// # Errors
/// [`Kind::Changed`].
pub(super) fn ensure_one_version(state: &OpenState) -> Result<()> {
    let version = state.committed.as_ref().map(|meta| &meta.etag);
    match &state.passed {
        Some(passed) if state.handles > 0 && Some(passed.version()) != version => {
            Err(Error::new(Kind::Changed, "an older version is still open, and read by the kernel itself"))
        }
        _ => Ok(()),
    }
}
