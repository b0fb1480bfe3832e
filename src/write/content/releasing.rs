//! Staged bytes that make room, because they are elsewhere: in a part of an unfinished upload, or in the version in S3.

use std::io;

use super::Content;
use crate::s3::object::{ByteRange, ObjectMeta};
use crate::write::ranges::RangeSet;

impl Content {
    /// Takes note of a version that has all that was released, but ends at `version.size`, and does not have
    /// what lies in `rewritten`: that is newer.
    pub fn rescued(&mut self, version: ObjectMeta, rewritten: &RangeSet) {
        self.show_released();
        self.dirty.truncate(version.size);
        rewritten.iter().for_each(|range| self.dirty.insert(range));
        self.base = Some(version);
    }

    /// What was only in an upload is in the version that came of it, and shows from there.
    pub(super) fn show_released(&mut self) {
        std::mem::take(&mut self.released).iter().for_each(|range| self.staged.show(range));
    }

    /// Takes the bytes of `range` out of the staging file: they are in an unfinished upload. No commit may be
    /// running.
    ///
    /// # Errors
    /// Those of fallocate(2); what is not released then is still staged.
    pub fn release(&mut self, range: ByteRange) -> io::Result<()> {
        assert!(!self.has_overlay(), "a commit reads what is staged");
        if let Some(file) = self.staged.file() {
            // First: what is half punched may not be taken for zeros.
            self.released.insert(range);
            self.releases += 1;
            file.punch(range)?;
        }
        Ok(())
    }

    /// Takes bytes out of the staging file that the version in S3 has too, which shows there from then on: about
    /// `bytes_max` of them, as far as they lie before `before`. No commit may be running. Returns how many that were.
    ///
    /// # Errors
    /// Those of fallocate(2).
    pub fn release_clean(&mut self, before: u64, bytes_max: u64) -> io::Result<u64> {
        assert!(!self.is_sealed(), "a commit reads what is staged");
        let (Some(base), Some(file)) = (&self.base, self.staged.file().cloned()) else { return Ok(0) };
        let whole = ByteRange { start: 0, end: before.min(self.size).min(base.size) };
        let claimed = self.staged.claim().pieces(whole).into_iter().filter(|(_, is_staged)| *is_staged);
        let clean = claimed.flat_map(|(range, _)| self.dirty.pieces(range)).filter(|(_, is_dirty)| !is_dirty);
        let clean: Vec<ByteRange> = clean.map(|(range, _)| range).filter(|range| !range.is_empty()).collect();
        let mut sum = 0;
        for range in clean {
            if sum >= bytes_max {
                break;
            }
            // First, as above.
            self.staged.show(range);
            self.releases += 1;
            file.punch(range)?;
            sum += range.len();
        }
        Ok(sum)
    }

    /// How often bytes were taken out of the staging file that are elsewhere now. Whoever has read from a
    /// [segment](Self::segments) while this became another may have read a hole.
    pub fn releases(&self) -> u64 {
        self.releases
    }

    /// The bytes that are only in the unfinished upload.
    pub fn released(&self) -> &RangeSet {
        &self.released
    }
}
