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

use std::io;
use std::sync::Arc;

use super::ranges::{Claim, RangeSet};
use super::staging::{Layer, Place, Role, StagingFile};
use crate::s3::object::{ByteRange, ETag, ObjectMeta};

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

/// The content at one moment, which nothing changes until [`Content::unseal`].
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Length of the file.
    pub size: u64,
    /// The version that it builds on.
    pub base: Option<ObjectMeta>,
    /// What was written on top of that.
    pub staged: Layer,
    /// What of that is only in the unfinished upload.
    pub released: RangeSet,
    /// What the base does not have.
    pub dirty: Claim,
}

/// A stretch of the file that is all in one place.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Its place in the file.
    pub range: ByteRange,
    /// Where to read it.
    pub home: Home,
}

/// Where to read a [`Segment`].
#[derive(Debug, Clone)]
pub enum Home {
    /// In a staging file, at its own offset.
    Local(Arc<StagingFile>),
    /// Nowhere: zeros.
    Zeros,
    /// In a part of the unfinished upload, where nobody can read it before that is completed.
    Released,
    /// In the base version.
    Base,
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

    /// Takes note of a version that has all that was released, but ends at `version.size`, and does not have
    /// what lies in `rewritten`: that is newer.
    pub fn rescued(&mut self, version: ObjectMeta, rewritten: &RangeSet) {
        self.show_released();
        self.dirty.truncate(version.size);
        rewritten.iter().for_each(|range| self.dirty.insert(range));
        self.base = Some(version);
    }

    /// What was only in an upload is in the version that came of it, and shows from there.
    fn show_released(&mut self) {
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

impl Snapshot {
    /// Whether no byte of any version in S3 shows.
    pub fn is_all_ours(&self) -> bool {
        let whole = ByteRange { start: 0, end: self.size };
        whole.is_empty() || self.staged.claim().pieces(whole).iter().all(|(_, is_staged)| *is_staged)
    }

    /// The same bytes as a file that builds on no version; `None` where some of them are another version's.
    pub fn on_its_own(&self) -> Option<Self> {
        let is_here = self.is_all_ours() && self.released.is_empty();
        is_here.then(|| Self { base: None, dirty: Claim::from(0), ..self.clone() })
    }

    /// Where the bytes of `range` are.
    pub fn segments(&self, range: ByteRange) -> Vec<Segment> {
        segments_of(&self.staged, &self.released, range)
    }
}

fn segments_of(staged: &Layer, released: &RangeSet, range: ByteRange) -> Vec<Segment> {
    let local = staged.file().map_or(Home::Zeros, |file| Home::Local(Arc::clone(file)));
    let mut segments = Vec::new();
    for (range, is_staged) in staged.claim().pieces(range) {
        if !is_staged {
            segments.push(Segment { range, home: Home::Base });
            continue;
        }
        let home = |is_released| if is_released { Home::Released } else { local.clone() };
        let pieces = released.pieces(range).into_iter();
        segments.extend(pieces.map(|(range, is_released)| Segment { range, home: home(is_released) }));
    }
    segments
}

/// Moved at a time while the session is locked: well below a millisecond.
const DRAIN_BYTES: u64 = 1 << 20;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot use its scratch directory has failed")]
mod tests {
    use std::path::Path;
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write { at: u64, length: u64 },
        Zero { at: u64, length: u64 },
        ShowMore { length: u64 },
        Release { at: u64, length: u64 },
        ReleaseClean { before: u64 },
        Truncate { size: u64 },
        Seal,
        Conclude,
        Drain,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (0_u8..17, 0_u64..60, 1_u64..20).prop_map(|(what, at, length)| match what {
            0..4 => Step::Write { at, length },
            4 | 5 => Step::Truncate { size: at },
            6 => Step::Seal,
            7 => Step::Conclude,
            8 | 9 => Step::Zero { at, length },
            10 | 11 => Step::Release { at, length },
            14 => Step::ShowMore { length },
            15 | 16 => Step::ReleaseClean { before: at },
            _ => Step::Drain,
        });
        proptest::collection::vec(step, 1..30)
    }

    /// The content, what it should be, and what S3 has.
    struct Pair {
        content: Content,
        model: Vec<u8>,
        base: Vec<u8>,
        /// What an unfinished upload has.
        upload: Vec<u8>,
        sealed: Option<(Snapshot, Vec<u8>)>,
    }

    impl Pair {
        fn new(directory: &Path, base: Vec<u8>) -> Self {
            let content = Content::new(Place::fresh(directory.into()), Some(version(&base)));
            Self { content, model: base.clone(), base, upload: vec![0; 100], sealed: None }
        }

        fn take(&mut self, step: &Step, fill: u8) {
            match *step {
                Step::Write { at, length } => {
                    let bytes = vec![fill; length as usize];
                    self.content.write(at, &bytes).unwrap();
                    let end = (at + length) as usize;
                    self.model.resize(self.model.len().max(end), 0);
                    self.model[at as usize..end].copy_from_slice(&bytes);
                }
                Step::Zero { at, length } => {
                    self.content.zero(ByteRange { start: at, end: at + length }).unwrap();
                    let end = (at + length).min(self.model.len() as u64) as usize;
                    self.model[(at as usize).min(end)..end].fill(0);
                }
                Step::Release { at, length } if !self.content.has_overlay() => {
                    for segment in self.content.segments(ByteRange { start: at, end: at + length }) {
                        if matches!(segment.home, Home::Local(_)) {
                            let range = segment.range.start as usize..segment.range.end as usize;
                            self.upload[range.clone()].copy_from_slice(&self.model[range]);
                            self.content.release(segment.range).unwrap();
                        }
                    }
                }
                Step::Release { .. } => {}
                Step::ReleaseClean { before } => {
                    if !self.content.is_sealed() {
                        self.content.release_clean(before, 20).unwrap();
                    }
                }
                Step::ShowMore { length } => {
                    let size = (self.model.len() as u64 + length).min(self.base.len() as u64);
                    if !self.content.has_overlay() && size > self.model.len() as u64 {
                        self.content.show_more(size);
                        self.model.extend_from_slice(&self.base[self.model.len()..size as usize]);
                    }
                }
                Step::Truncate { size } => {
                    self.content.truncate(size).unwrap();
                    self.model.resize(size as usize, 0);
                }
                Step::Seal => {
                    if !self.content.has_overlay() {
                        self.sealed = Some((self.content.seal(), self.model.clone()));
                    }
                }
                Step::Conclude => {
                    if let Some((snapshot, expected)) = self.sealed.take() {
                        self.check_snapshot(&snapshot, &expected);
                        self.content.committed(version(&expected));
                        self.base = expected;
                        self.content.unseal().unwrap();
                    }
                }
                Step::Drain => {
                    self.content.drain().unwrap();
                }
            }
        }

        fn check(&self) {
            assert_eq!(self.content.size(), self.model.len() as u64);
            let whole = ByteRange { start: 0, end: self.content.size() };
            assert_eq!(self.assembled(self.content.segments(whole)), self.model);
            if self.sealed.is_none() {
                self.check_dirty(&self.content.dirty, &self.base, &self.model);
            }
        }

        fn check_snapshot(&self, snapshot: &Snapshot, expected: &[u8]) {
            let whole = ByteRange { start: 0, end: snapshot.size };
            let segments = if whole.is_empty() { Vec::new() } else { snapshot.segments(whole) };
            assert_eq!(self.assembled(segments), expected, "a commit sees what was there at its start");
            self.check_dirty(&snapshot.dirty, &self.base, expected);
        }

        fn check_dirty(&self, dirty: &Claim, base: &[u8], file: &[u8]) {
            for (range, is_dirty) in dirty.pieces(ByteRange { start: 0, end: file.len() as u64 }) {
                let range = range.start as usize..range.end as usize;
                if !is_dirty && !range.is_empty() {
                    assert_eq!(file[range.clone()], base[range], "S3 has what is not dirty");
                }
            }
        }

        fn assembled(&self, segments: Vec<Segment>) -> Vec<u8> {
            let read = |segment: Segment| match segment.home {
                Home::Local(file) => file.read(segment.range).unwrap().to_vec(),
                Home::Zeros => vec![0; segment.range.len() as usize],
                Home::Released => {
                    self.upload[segment.range.start as usize..segment.range.end as usize].to_vec()
                }
                Home::Base => self.base[segment.range.start as usize..segment.range.end as usize].to_vec(),
            };
            segments.into_iter().flat_map(read).collect()
        }
    }

    fn version(bytes: &[u8]) -> ObjectMeta {
        ObjectMeta {
            etag: ETag::new("e"),
            size: bytes.len() as u64,
            last_modified: SystemTime::UNIX_EPOCH,
            storage_class: None,
            details: None,
        }
    }

    proptest! {
        #[test]
        fn a_file_is_the_same_in_layers_as_in_one_piece(steps in steps(), base_length in 0_u8..50) {
            let directory = tempfile::tempdir().unwrap();
            let mut pair = Pair::new(directory.path(), (0..base_length).map(|i| i ^ 0x80).collect());
            for (fill, step) in (1..).zip(&steps) {
                pair.take(step, fill);
                pair.check();
            }
        }
    }

    #[test]
    fn what_is_written_during_a_commit_belongs_to_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let mut pair = Pair::new(directory.path(), Vec::new());
        for (fill, step) in (1..).zip(&[
            Step::Write { at: 0, length: 10 },
            Step::Seal,
            Step::Write { at: 4, length: 2 },
            Step::Truncate { size: 8 },
            Step::Truncate { size: 12 },
            Step::Conclude,
            Step::Write { at: 11, length: 4 },
            Step::Drain,
            Step::Drain,
            Step::Drain,
        ]) {
            pair.take(step, fill);
            pair.check();
        }
        assert!(!pair.content.has_overlay());
        assert!(pair.content.is_dirty());
    }
}
