//! Where each byte of a written file is at the moment.
//!
//! ```text
//!   overlay   ░░░░░░▓▓░░░░░░░░░    written while a commit runs; gone soon after
//!   staged    ▓▓▓▓▓▓▓▓▓▓░░░░▓▓▓    what this session wrote
//!   base      ███████████████      the version in S3 that shows where nothing covers it
//! ```
//!
//! A commit reads the staged layer, so nothing may change there until it is over. What is
//! written meanwhile goes to the overlay, which moves down afterwards, a piece at a time, so that
//! nobody waits for long. Readers look from the top.
//!
//! Staged bytes stay after a commit, while the session lives: they are what S3 has, so that a
//! program that writes, synchronises and writes on never fetches its own bytes. Which of them S3
//! does *not* have is a claim of its own, `dirty`.

mod releasing;
mod snapshot;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use self::snapshot::segments_of;
use super::ranges::{Claim, RangeSet};
use super::staging::{Layer, Place, Role, StagingFile};
use crate::s3::object::{ByteRange, ETag, ObjectMeta};

pub use self::snapshot::{Home, Segment, Snapshot};

/// The bytes of one written file.
#[derive(Debug)]
pub struct Content {
    place: Place,
    size: u64,
    /// The version that shows below the layers.
    base: Option<ObjectMeta>,
    staged: Layer,
    overlay: Overlay,
    /// Staged bytes that are only in the unfinished upload by now: the staging file has a hole there.
    released: RangeSet,
    /// What S3 does not have, or will not have once the running commit is over.
    dirty: Claim,
    /// How often bytes were taken out of the staging file that are elsewhere.
    releases: u64,
    /// Whether the local files are removed already, or somebody else takes care of them.
    leaves_files: bool,
}

#[derive(Debug)]
enum Overlay {
    /// No commit: the staged layer takes what is written.
    Absent,
    /// A commit reads the staged layer.
    Above(Layer),
    /// The commit is over. These ranges are still to move down; new ones no longer come here.
    Draining { file: Arc<StagingFile>, left: RangeSet },
}

impl Content {
    /// Returns an empty file, or one that shows all of `base`.
    pub fn new(place: Place, base: Option<ObjectMeta>) -> Self {
        let size = base.as_ref().map_or(0, |base| base.size);
        let staged = Layer::new(Claim::from(size), Role::Staged);
        Self {
            place,
            size,
            base,
            staged,
            overlay: Overlay::Absent,
            released: RangeSet::default(),
            dirty: Claim::from(size),
            releases: 0,
            leaves_files: false,
        }
    }

    /// Length of the file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The version that shows below what was written.
    pub fn base(&self) -> Option<&ObjectMeta> {
        self.base.as_ref()
    }

    /// Where the files are.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether S3 does not have this content. While a commit runs: will not have it when that is over.
    pub fn is_dirty(&self) -> bool {
        let is_as_long = self.base.as_ref().is_some_and(|base| base.size == self.size);
        !is_as_long || !self.dirty.is_empty_within(self.size)
    }

    /// Whether a commit is reading the staged layer, or what came meanwhile has not moved down.
    pub fn has_overlay(&self) -> bool {
        !matches!(self.overlay, Overlay::Absent)
    }

    /// Whether a commit is reading the staged layer.
    pub fn is_sealed(&self) -> bool {
        matches!(self.overlay, Overlay::Above(_))
    }

    /// The staging file, once a byte was written.
    pub fn staging_file(&self) -> Option<&Arc<StagingFile>> {
        self.staged.file()
    }

    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    /// Those of the local filesystem. Bytes that were ours before may then be the new ones.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let range = ByteRange { start: offset, end: offset + bytes.len() as u64 };
        // First of all: should the write fail half way, S3 does not have what is there now.
        self.dirty.insert(ByteRange { start: range.start, end: range.end.min(self.size) });
        let layer = match &mut self.overlay {
            Overlay::Above(layer) => layer,
            Overlay::Absent | Overlay::Draining { .. } => &mut self.staged,
        };
        if let Err(error) = layer.write(offset, bytes, &self.place) {
            // What was written behind the end would come to light when the file grows.
            layer.truncate(self.size)?;
            return Err(error);
        }
        if !matches!(self.overlay, Overlay::Above(_)) {
            self.released.remove(range);
        }
        if let Overlay::Draining { left, .. } = &mut self.overlay {
            left.remove(range);
        }
        self.dirty.insert(range);
        self.size = self.size.max(range.end);
        Ok(())
    }

    /// Makes `range` read as zeros, as far as the file reaches; they are only claimed, and take no room.
    ///
    /// # Errors
    /// Those of the local filesystem. Some of the range may be zeros then.
    pub fn zero(&mut self, range: ByteRange) -> io::Result<()> {
        let range = ByteRange { start: range.start, end: range.end.min(self.size) };
        if range.is_empty() {
            return Ok(());
        }
        self.dirty.insert(range);
        match &mut self.overlay {
            Overlay::Above(layer) => return layer.zero(range),
            Overlay::Absent => self.staged.zero(range)?,
            Overlay::Draining { left, .. } => {
                self.staged.zero(range)?;
                left.remove(range);
            }
        }
        self.released.remove(range);
        Ok(())
    }

    /// Sets the length: what is cut off is gone, what is added is zeros.
    ///
    /// # Errors
    /// Those of the local filesystem; nothing has changed then.
    pub fn truncate(&mut self, size: u64) -> io::Result<()> {
        if size < self.size {
            let cut = ByteRange { start: size, end: u64::MAX };
            match &mut self.overlay {
                Overlay::Above(layer) => layer.truncate(size)?,
                Overlay::Absent => self.staged.truncate(size)?,
                Overlay::Draining { left, .. } => {
                    self.staged.truncate(size)?;
                    left.remove(cut);
                }
            }
            if !matches!(self.overlay, Overlay::Above(_)) {
                self.released.remove(cut);
            }
            self.dirty.truncate(size);
        }
        self.size = size;
        Ok(())
    }

    /// Where the bytes of `range` are, as far as the file reaches.
    pub fn segments(&self, range: ByteRange) -> Vec<Segment> {
        let range = ByteRange { start: range.start, end: range.end.min(self.size) };
        if range.is_empty() {
            return Vec::new();
        }
        let (file, pieces) = match &self.overlay {
            Overlay::Absent => (None, vec![(range, false)]),
            Overlay::Above(layer) => (layer.file().cloned(), layer.claim().pieces(range)),
            Overlay::Draining { file, left } => (Some(Arc::clone(file)), left.pieces(range)),
        };
        let overlaid = file.map_or(Home::Zeros, Home::Local);
        let mut segments = Vec::new();
        for (range, is_overlaid) in pieces {
            if is_overlaid {
                segments.push(Segment { range, home: overlaid.clone() });
            } else {
                segments.extend(segments_of(&self.staged, &self.released, range));
            }
        }
        segments
    }

    /// Whether anything was written or cut since `sealed` was frozen and its commit has not ended.
    pub fn is_changed_since(&self, sealed: &Snapshot) -> bool {
        self.size != sealed.size || !self.dirty.is_empty_within(self.size)
    }

    /// Whether somewhere in the file bytes of the version in S3 show.
    pub fn shows_base(&self) -> bool {
        !self.snapshot().is_all_ours()
    }

    /// Stages what shows of a version in S3, given all of its bytes, so that the file no longer depends on it.
    /// Does nothing where another version shows by now, or while a commit runs.
    ///
    /// # Errors
    /// Those of the local filesystem. What was staged until then is right.
    pub fn take_over(&mut self, version: &ETag, bytes: &[u8]) -> io::Result<()> {
        let is_shown = self.base.as_ref().is_some_and(|base| base.etag == *version);
        if !is_shown || self.has_overlay() {
            return Ok(());
        }
        let whole = ByteRange { start: 0, end: self.size.min(bytes.len() as u64) };
        for (range, is_staged) in self.staged.claim().pieces(whole) {
            if !is_staged && !range.is_empty() {
                let place = |at: u64| usize::try_from(at).expect("an index into bytes");
                self.staged.write(range.start, &bytes[place(range.start)..place(range.end)], &self.place)?;
            }
        }
        Ok(())
    }

    /// Leaves the local files where they are: they are to be kept.
    pub fn leave_files(&mut self) {
        self.leaves_files = true;
    }

    /// Removes the local files, once, unless they are to be kept.
    pub fn remove_files(&mut self) {
        if self.leaves_files {
            return;
        }
        let overlay = match &self.overlay {
            Overlay::Absent => None,
            Overlay::Above(layer) => layer.file(),
            Overlay::Draining { file, .. } => Some(file),
        };
        [overlay, self.staged.file()].into_iter().flatten().for_each(|file| file.remove());
        self.leaves_files = true;
    }

    /// Freezes the content for a commit; what is written from here on belongs to the next one.
    pub fn seal(&mut self) -> Snapshot {
        assert!(!self.has_overlay(), "one commit at a time");
        self.overlay = Overlay::Above(Layer::new(Claim::nothing(), Role::Overlay));
        let sealed = self.snapshot();
        // The version that the commit makes ends where the file ends now.
        self.dirty = Claim::from(self.size);
        sealed
    }

    /// Returns the content as it is at this moment, which may change under the caller.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            size: self.size,
            base: self.base.clone(),
            staged: self.staged.clone(),
            released: self.released.clone(),
            dirty: self.dirty.clone(),
        }
    }

    /// Takes note of the version that a commit made of what was sealed.
    pub fn committed(&mut self, version: ObjectMeta) {
        self.show_released();
        self.base = Some(version);
    }

    /// Ends the freeze of a file that was empty, and shows all of `version`, which S3 has now, unless somebody
    /// wrote or cut meanwhile. Returns whether it does.
    pub fn show(&mut self, version: ObjectMeta) -> bool {
        let Overlay::Above(layer) = &self.overlay else { return false };
        if self.size > 0 || layer.file().is_some() || *layer.claim() != Claim::nothing() {
            return false;
        }
        self.size = version.size;
        self.staged.show_from(version.size);
        self.dirty = Claim::from(version.size);
        self.base = Some(version);
        self.overlay = Overlay::Absent;
        true
    }

    /// Makes the file longer, up to `size`, by what the version in S3 has there. Nothing may be written beyond its end
    /// now, and no commit be running.
    pub fn show_more(&mut self, size: u64) {
        assert!(!self.has_overlay() && self.base.as_ref().is_some_and(|base| size <= base.size));
        let more = ByteRange { start: self.size, end: size };
        self.staged.show(more);
        self.dirty.remove(more);
        self.size = size;
    }

    /// Ends the freeze. What was written meanwhile has still to [move down](Self::drain).
    ///
    /// # Errors
    /// Those of ftruncate(2); the freeze goes on then.
    pub fn unseal(&mut self) -> io::Result<()> {
        let Overlay::Above(layer) = &self.overlay else { return Ok(()) };
        self.staged.truncate(layer.claim().floor())?;
        self.released.remove(ByteRange { start: layer.claim().floor(), end: u64::MAX });
        let mut left = RangeSet::default();
        let whole = ByteRange { start: 0, end: self.size };
        let claimed = layer.claim().pieces(whole).into_iter().filter(|(_, claimed)| *claimed);
        claimed.for_each(|(range, _)| left.insert(range));
        self.overlay = match layer.file() {
            Some(file) => Overlay::Draining { file: Arc::clone(file), left },
            // Nothing was written, so all that it claims is zeros.
            None => {
                for range in left.iter() {
                    self.staged.zero(range)?;
                    self.released.remove(range);
                }
                Overlay::Absent
            }
        };
        Ok(())
    }

    /// Moves some of what was written during the commit down to the staged layer.
    ///
    /// Returns whether there is more to move.
    ///
    /// # Errors
    /// Those of the local filesystem; nothing is lost, and it may be tried again.
    pub fn drain(&mut self) -> io::Result<bool> {
        let Overlay::Draining { file, left } = &mut self.overlay else { return Ok(false) };
        if let Some(run) = left.first() {
            let range = ByteRange { start: run.start, end: run.end.min(run.start + DRAIN_BYTES) };
            let bytes = file.read(range)?;
            self.staged.write(range.start, &bytes, &self.place)?;
            self.released.remove(range);
            left.remove(range);
            return Ok(true);
        }
        file.remove();
        self.overlay = Overlay::Absent;
        Ok(false)
    }
}

/// Moved at a time while the session is locked: well below a millisecond.
const DRAIN_BYTES: u64 = 1 << 20;
