//! A file at one moment: where each stretch of it is.

use std::sync::Arc;

use crate::s3::object::{ByteRange, ObjectMeta};
use crate::write::ranges::{Claim, RangeSet};
use crate::write::staging::{Layer, StagingFile};

/// The content at one moment, which nothing changes until [`unseal`](super::Content::unseal).
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

/// Where the bytes of `range` are, below what was written during a commit.
pub(super) fn segments_of(staged: &Layer, released: &RangeSet, range: ByteRange) -> Vec<Segment> {
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
