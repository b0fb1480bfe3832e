//! A file that somebody has open, and the time during which somebody may write it.

use s3xmount::error::Kind;

use super::Version;
use crate::model::op::Bytes;

/// A file that somebody has open.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct File {
    /// `None` once it was removed or replaced.
    pub(super) path: Option<String>,
    /// Where it was when others deleted it and somebody here made something else of that name: it is committed there.
    pub(super) lost: Option<String>,
    /// The version that shows when nobody writes.
    pub(super) committed: Option<Version>,
    /// Another one as soon as the content is not this mount's continuation of what it was.
    pub(super) line: u64,
    pub(super) session: Option<Session>,
    pub(super) mode: Option<u32>,
    /// What it showed when it was removed and its last writer left.
    pub(super) last: Bytes,
    /// And what had become of its commits.
    pub(super) failed: Option<Kind>,
}

/// The time during which somebody may write.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Session {
    pub(super) content: Bytes,
    pub(super) base: Option<Version>,
    pub(super) condition: Condition,
    /// S3 has something else.
    pub(super) is_dirty: bool,
    /// A new file that is not touched is made by the last close.
    pub(super) is_touched: bool,
    /// The mode is still to be told to S3.
    pub(super) is_due: bool,
    pub(super) claims_name: bool,
    pub(super) failed: Option<Kind>,
    /// Local from here on.
    pub(super) ours_from: u64,
    /// Local, and never zeros that nobody wrote.
    pub(super) written: Stretches,
    /// What of it S3 has not got.
    pub(super) unsaved: Stretches,
}

/// Parts of a file, in the order in which they came, from their first byte to behind their last.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Stretches(Vec<(u64, u64)>);

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Condition {
    New,
    Any,
    Version(u64),
    /// What others have deleted.
    Gone,
}

/// Bytes that could not be committed and must have been set aside.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::model) struct Lost {
    pub(super) content: Bytes,
    pub(super) written: Stretches,
}

impl File {
    /// Where it is committed.
    pub(super) fn target(&self) -> Option<&String> {
        self.path.as_ref().or(self.lost.as_ref())
    }

    /// Whether only this mount knows of it.
    pub(super) fn is_pending(&self) -> bool {
        let is_live = self.session.as_ref().is_some_and(|session| session.failed.is_none());
        self.committed.is_none() && is_live
    }

    /// Nobody writes it, and this is what others have made of it.
    pub(super) fn become_of_others(&mut self, version: Version, line: u64) {
        (self.line, self.mode, self.committed) = (line, version.mode, Some(version));
    }

    /// The version that it is based on is this one now.
    pub(super) fn follow(&mut self, version: Version) {
        if let Some(session) = &mut self.session
            && session.base.is_some()
        {
            session.base = Some(version.clone());
            session.condition = Condition::Version(version.id);
            if !session.is_dirty {
                session.ours_from = session.content.0.len() as u64;
                session.written = Stretches::default();
            }
        }
        self.committed = Some(version);
    }
}

impl Session {
    /// One that replaces whatever is there.
    pub(super) fn empty() -> Self {
        Self {
            content: Bytes::default(),
            base: None,
            condition: Condition::Any,
            is_dirty: true,
            is_touched: false,
            is_due: false,
            claims_name: false,
            failed: None,
            ours_from: 0,
            written: Stretches::default(),
            unsaved: Stretches::default(),
        }
    }

    /// One that edits a version.
    pub(super) fn of(version: Version) -> Self {
        Self {
            content: version.bytes.clone(),
            condition: Condition::Version(version.id),
            is_dirty: false,
            ours_from: version.bytes.0.len() as u64,
            base: Some(version),
            ..Self::empty()
        }
    }

    pub(super) fn resize(&mut self, size: u64) {
        std::sync::Arc::make_mut(&mut self.content.0).resize(size as usize, 0);
    }

    /// Whether no byte of this stretch has to come from S3.
    pub(super) fn is_ours(&self, start: u64, end: u64) -> bool {
        self.written.cover(start, end.min(self.content.0.len() as u64).min(self.ours_from))
    }

    pub(super) fn cut(&mut self, size: u64) {
        self.ours_from = self.ours_from.min(size.min(self.content.0.len() as u64));
        self.resize(size);
        self.written.cut(size);
        self.unsaved.cut(size);
    }
}

impl Lost {
    /// Whether what was set aside has all of these bytes, in their places.
    pub(in crate::model) fn is_kept_in(&self, aside: &[u8]) -> bool {
        self.written.0.iter().all(|(start, end)| {
            let range = *start as usize..*end as usize;
            aside.get(range.clone()).is_some_and(|kept| *kept == self.content.0[range])
        })
    }
}

impl Stretches {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, start: u64, end: u64) {
        self.0.push((start, end));
    }

    pub(super) fn cut(&mut self, size: u64) {
        self.0.iter_mut().for_each(|(_, end)| *end = size.min(*end));
        self.0.retain(|(start, end)| start < end);
    }

    /// All that is not in this stretch.
    pub(super) fn without(&self, start: u64, end: u64) -> Self {
        let rest = |(from, to): &(u64, u64)| [(*from, start.min(*to)), (end.max(*from), *to)];
        Self(self.0.iter().flat_map(rest).filter(|(from, to)| from < to).collect())
    }

    fn cover(&self, start: u64, end: u64) -> bool {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let reached =
            sorted.into_iter().fold(start, |at, (from, to)| if from <= at { at.max(to) } else { at });
        reached >= end
    }
}
