//! Stretches of zeros: making them without writing them, and finding them again.
//!
//! What fallocate(2) makes zeros is claimed and nothing more: no byte of it is staged, and a hole takes the
//! place of what was. S3 has no holes, so a commit sends them as the zeros that they read as, and what
//! shows of a version in S3 is data all through.

use std::sync::Arc;

use std::ops::ControlFlow;

use super::Session;
use super::writing::check_size;
use crate::error::Result;
use crate::s3::object::ByteRange;
use crate::write::content::{Home, Segment};

/// What lseek(2) looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that may be something else than zero.
    Data,
    /// The next byte of a hole. There is one behind the end of every file.
    Hole,
}

impl Session {
    /// Makes `range` read as zeros, as far as the file reaches. Nothing is stored for them.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn zero(&self, range: ByteRange) -> Result<()> {
        let mut core = self.core.lock();
        core.check()?;
        let range = ByteRange { start: range.start, end: range.end.min(core.content.size()) };
        if range.is_empty() {
            return Ok(());
        }
        self.ensure_journal(&mut core)?;
        core.touched = true;
        let is_committing = core.content.has_overlay();
        if let (Some(ahead), false) = (&mut core.ahead, is_committing) {
            ahead.zeroed(range);
        }
        Ok(core.content.zero(range)?)
    }

    /// Makes the file at least `size` bytes long; what is added is zeros.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn reach(self: &Arc<Self>, size: u64) -> Result<()> {
        check_size(size)?;
        if size > self.size() { self.truncate(size) } else { self.core.lock().check() }
    }

    /// The first byte from `offset` on that is what `seek` looks for; `None` if `offset` lies behind
    /// the end of the file, or nothing but a hole is left of it.
    ///
    /// # Errors
    /// Those of the local filesystem, and what a failed commit came to.
    pub fn seek(&self, offset: u64, seek: Seek) -> Result<Option<u64>> {
        // Locked to the end: what is released meanwhile would be a hole.
        let core = self.core.lock();
        core.check()?;
        let size = core.content.size();
        let segments = core.content.segments(ByteRange { start: offset, end: size });
        if offset >= size {
            return Ok(None);
        }
        let found = segments.iter().try_for_each(|segment| match first(segment, seek) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(at)) => ControlFlow::Break(Ok(at)),
            Err(error) => ControlFlow::Break(Err(error)),
        });
        match (found, seek) {
            (ControlFlow::Break(at), _) => at.map(Some),
            (ControlFlow::Continue(()), Seek::Hole) => Ok(Some(size)),
            (ControlFlow::Continue(()), Seek::Data) => Ok(None),
        }
    }
}

/// Where `segment` first has what is looked for.
fn first(segment: &Segment, seek: Seek) -> Result<Option<u64>> {
    let start = Some(segment.range.start);
    Ok(match (&segment.home, seek) {
        (Home::Local(file), Seek::Data) => file.first_data(segment.range)?,
        (Home::Local(file), Seek::Hole) => file.first_hole(segment.range)?,
        (Home::Base | Home::Released, Seek::Data) | (Home::Zeros, Seek::Hole) => start,
        (Home::Base | Home::Released, Seek::Hole) | (Home::Zeros, Seek::Data) => None,
    })
}
