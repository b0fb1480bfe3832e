//! Bytes in pieces that are shared and never copied.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

/// A sequence of bytes, in pieces. Clones and slices share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rope(VecDeque<Bytes>);

impl Rope {
    /// Returns how many bytes there are.
    pub(crate) fn len(&self) -> u64 {
        self.0.iter().map(|piece| piece.len() as u64).sum()
    }

    /// Puts the bytes of another rope behind these.
    pub(crate) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns the part that lies in a range; what the range has beyond the end is left out.
    pub(crate) fn slice(&self, range: Range<u64>) -> Self {
        let mut begin = 0;
        let mut slice = VecDeque::new();
        for piece in &self.0 {
            let end = begin + piece.len() as u64;
            let (from, to) = (range.start.clamp(begin, end), range.end.clamp(begin, end));
            if from < to {
                slice.push_back(piece.slice((from - begin) as usize..(to - begin) as usize));
            }
            begin = end;
        }
        Self(slice)
    }

    /// Takes bytes away from the front, as many as lie in one piece but at most `bytes_max`.
    pub(crate) fn pop(&mut self, bytes_max: usize) -> Option<Bytes> {
        let first = self.0.front_mut()?;
        match first.len() <= bytes_max {
            true => self.0.pop_front(),
            false => Some(first.split_to(bytes_max)),
        }
    }
}

impl From<Bytes> for Rope {
    fn from(bytes: Bytes) -> Self {
        Self(Some(bytes).into_iter().filter(|bytes| !bytes.is_empty()).collect())
    }
}
