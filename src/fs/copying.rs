//! copy_file_range(2): what `cp` asks for first.
//!
//! A whole file that is copied to an empty one is copied inside S3, also from one bucket to another. Anything
//! else is left to the kernel, which then reads and writes: S3 copies into objects, and not into the
//! middle of a file that is being written.

use std::sync::Arc;

use super::closing::noted;
use super::data::touched;
use super::handle::{FileHandle, HandleId};
use super::{Filesystem, target_key};
use crate::error::{Error, Kind, Result};
use crate::write::Origin;

/// A place in an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The open file.
    pub handle: HandleId,
    /// The byte in it.
    pub offset: u64,
}

/// How much is to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// This many bytes, or fewer where the source ends.
    pub length: u64,
    /// More cannot be asked for at a time, and will be asked for next if there is more.
    pub is_the_most: bool,
}

impl Filesystem {
    /// Copies bytes from one open file to another, inside S3; returns how many that were.
    ///
    /// # Errors
    /// [`Kind::NotSupported`] where they are to be read and written instead. As [`open`](Self::open) of the source
    /// and [`flush`](Self::flush) of the target.
    pub async fn copy_range(&self, from: Position, to: Position, extent: Extent) -> Result<u64> {
        let source = self.handles.file(from.handle)?;
        let (file, session) = self.writable(to.handle)?;
        if from.offset != to.offset || Arc::ptr_eq(&source.file, &file) {
            return Err(plainly());
        }
        let origin = self.origin(&source)?.ok_or_else(plainly)?;
        if from.offset > 0 {
            touched(&file);
            return session.extend_copy(&origin, from.offset, extent.length)?.ok_or_else(plainly);
        }
        let size = origin.version.size;
        if size > extent.length && !extent.is_the_most {
            return Err(plainly());
        }
        touched(&file);
        session.suggest_metadata(noted(&session, &file.state().attributes));
        session.copy_from(origin).await?.map(drop).ok_or_else(plainly)?;
        if size > extent.length {
            session.truncate(extent.length)?;
        }
        Ok(size.min(extent.length))
    }

    /// What S3 has of an open file; `None` if that is not all there is to it.
    fn origin(&self, handle: &FileHandle) -> Result<Option<Origin>> {
        let state = handle.file.state();
        let is_in_s3 = state.session.as_ref().is_none_or(|session| !session.owes_content());
        let (Some(place), Some(version), true) = (&state.place, &state.committed, is_in_s3) else {
            return Ok(None);
        };
        let gateway = Arc::clone(self.namespace().gateway(place.folder.bucket));
        Ok(Some(Origin { gateway, key: target_key(place)?, version: version.clone() }))
    }
}

fn plainly() -> Error {
    Error::new(Kind::NotSupported, "to be copied by reading and writing")
}
