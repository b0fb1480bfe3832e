//! The bytes of a version that is gone from S3 while somebody here has it open.
//!
//! A file whose name was removed or replaced goes on for whoever has it open (unlink(2)). In S3 it is gone at that
//! moment, so what may still be read of it is fetched before, into a local file without a name that lasts as long as
//! it is open.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::Sessions;
use super::commit::read_staged;
use super::staging::{Place, StagingFile};
use crate::error::Result;
use crate::s3::object::{ByteRange, ETag};

/// All bytes of one version, on the local disk.
#[derive(Debug)]
pub struct Kept {
    file: Arc<StagingFile>,
    version: ETag,
    size: u64,
}

impl Sessions {
    /// A local file for the bytes of a version. It has no name: it is gone with the process at the latest.
    ///
    /// # Errors
    /// Those of the local filesystem.
    pub fn keep(&self, version: ETag) -> io::Result<Kept> {
        let file = StagingFile::create(Place::fresh(Arc::clone(&self.directory)).bytes())?;
        file.remove();
        Ok(Kept { file: Arc::new(file), version, size: 0 })
    }
}

impl Kept {
    /// Adds what comes next.
    ///
    /// # Errors
    /// Those of pwrite(2).
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write(self.size, bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// How much of it there is.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether these are the bytes of that version.
    pub fn is_of(&self, version: &ETag) -> bool {
        self.version == *version
    }

    /// Reads a range, less only where the file ends.
    ///
    /// # Errors
    /// Those of pread(2).
    pub async fn read(&self, range: ByteRange) -> Result<Bytes> {
        let end = range.end.min(self.size);
        match range.start < end {
            true => read_staged(Arc::clone(&self.file), ByteRange { end, ..range }).await,
            false => Ok(Bytes::new()),
        }
    }
}
