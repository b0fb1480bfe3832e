//! Whatever is written, cut, committed and released: a file in layers reads as one in one piece.
#![expect(clippy::unwrap_used, reason = "a test that cannot use its scratch directory has failed")]

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
            Home::Released => self.upload[segment.range.start as usize..segment.range.end as usize].to_vec(),
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
