//! fallocate(2) and lseek(2): room for what is to come, zeros that nobody wrote, and where they are.
//!
//! S3 charges for what is stored and reserves nothing, so to allocate is to be as long as that. A file that nobody
//! writes is in S3, where there are no holes: all of it is data.

use super::Filesystem;
use super::attr::AttributeChange;
use super::handle::HandleId;
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::s3::ByteRange;

pub use crate::write::Seek;

/// What fallocate(2) is to do with a range. What would move bytes behind it (`FALLOC_FL_COLLAPSE_RANGE` and its
/// like) is not among it: S3 cannot do that either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// The range reads as zeros afterwards; otherwise it keeps its bytes.
    pub zeros: bool,
    /// The file reaches at least to the end of the range; otherwise it keeps its length.
    pub grows: bool,
}

impl Filesystem {
    /// Allocates `length` bytes from `offset` on of a file that is open for writing.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn allocate(&self, handle: HandleId, offset: u64, length: u64, how: Allocation) -> Result<()> {
        let range = ByteRange { start: offset, end: offset.saturating_add(length) };
        let (file, session) = self.writable(handle)?;
        let size = session.size();
        if how.grows {
            session.reach(range.end)?;
        }
        if how.zeros {
            session.zero(range)?;
        }
        if how.zeros || session.size() != size {
            let now = clock::now();
            file.state().attributes.apply(&AttributeChange { mtime: Some(now), ..Default::default() }, now);
        }
        Ok(())
    }

    /// The first byte from `offset` on that is data, or lies in a hole.
    ///
    /// # Errors
    /// [`Kind::NoSuchByte`] when there is none.
    pub fn seek(&self, handle: HandleId, offset: u64, seek: Seek) -> Result<u64> {
        let handle = self.handles.file(handle)?;
        let found = match handle.file.session() {
            Some(session) => session.seek(offset, seek)?,
            None => {
                let size = handle.file.state().attributes.size;
                (offset < size).then_some(if seek == Seek::Data { offset } else { size })
            }
        };
        found.ok_or_else(|| Error::new(Kind::NoSuchByte, "nothing of that kind from there on"))
    }
}
