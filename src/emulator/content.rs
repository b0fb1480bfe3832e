//! The bytes of an object: pieces that are shared, never copied.
//!
//! What arrives from the network is kept in the pieces it arrived in. A range, a copy and a
//! completed upload are new lists of the same pieces, and an answer is sent straight from
//! them. A test object of a terabyte is one small piece listed very often.

use std::convert::Infallible;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};

/// Immutable bytes in pieces. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// Invariant: no piece is empty, and `end` rises.
    pieces: Arc<[Piece]>,
    size: u64,
}

#[derive(Debug, Clone)]
struct Piece {
    /// The offset behind the piece's last byte.
    end: u64,
    bytes: Bytes,
}

/// A [`Content`], or a range of it, as the body of an answer.
#[derive(Debug)]
pub struct ContentBody {
    content: Content,
    /// The piece that holds the next byte.
    index: usize,
    left: Range<u64>,
}

impl Content {
    /// Returns the pieces as one content, in this order.
    pub fn from_pieces(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let mut end = 0;
        let pieces: Arc<[Piece]> = pieces
            .into_iter()
            .filter(|bytes| !bytes.is_empty())
            .map(|bytes| {
                end += length(&bytes);
                Piece { end, bytes }
            })
            .collect();
        Self { pieces, size: end }
    }

    /// Returns `size` bytes that repeat `block`, at the cost of one block.
    ///
    /// A block whose length is odd makes every offset of the content recognisable.
    ///
    /// # Panics
    ///
    /// If the block is empty.
    pub fn repeated(block: &Bytes, size: u64) -> Self {
        assert!(!block.is_empty(), "nothing repeated is still nothing");
        let whole = usize::try_from(size / length(block)).expect("the list of pieces fits into memory");
        let rest = usize::try_from(size % length(block)).expect("shorter than the block");
        Self::from_pieces(std::iter::repeat_n(block.clone(), whole).chain([block.slice(..rest)]))
    }

    /// Returns the contents one behind the other.
    pub fn concat<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        Self::from_pieces(parts.into_iter().flat_map(Self::pieces).cloned())
    }

    /// Returns the number of bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the bytes of `range`, without copying them.
    ///
    /// # Panics
    ///
    /// If the range reaches behind the end.
    pub fn slice(&self, range: Range<u64>) -> Self {
        let mut body = self.body(range);
        Self::from_pieces(std::iter::from_fn(|| body.next_piece()))
    }

    /// Returns the bytes of `range` as a body.
    ///
    /// # Panics
    ///
    /// If the range reaches behind the end.
    pub fn body(&self, range: Range<u64>) -> ContentBody {
        assert!(range.start <= range.end && range.end <= self.size, "the range lies inside the content");
        let index = self.pieces.partition_point(|piece| piece.end <= range.start);
        ContentBody { content: self.clone(), index, left: range }
    }

    /// Returns the pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter().map(|piece| &piece.bytes)
    }

    /// Copies everything into one buffer.
    pub fn to_bytes(&self) -> Bytes {
        match &*self.pieces {
            [only] => only.bytes.clone(),
            pieces => {
                let mut whole = BytesMut::new();
                pieces.iter().for_each(|piece| whole.extend_from_slice(&piece.bytes));
                whole.freeze()
            }
        }
    }

    /// Frees the network buffers that small contents would otherwise keep alive.
    ///
    /// A piece is a window into the buffer it was read into; ten bytes must not hold on to
    /// hundreds of kilobytes.
    pub fn compacted(self) -> Self {
        if self.size >= COMPACT_BELOW_BYTES {
            return self;
        }
        let mut whole = BytesMut::with_capacity(usize::try_from(self.size).unwrap_or_default());
        self.pieces().for_each(|piece| whole.extend_from_slice(piece));
        Self::from_pieces([whole.freeze()])
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::from_pieces([bytes])
    }
}

impl ContentBody {
    fn next_piece(&mut self) -> Option<Bytes> {
        if self.left.is_empty() {
            return None;
        }
        let piece = &self.content.pieces[self.index];
        let start = piece.end - length(&piece.bytes);
        let end = piece.end.min(self.left.end);
        let within = |offset: u64| usize::try_from(offset - start).expect("an offset inside one piece");
        let bytes = piece.bytes.slice(within(self.left.start)..within(end));
        self.left.start = end;
        self.index += 1;
        Some(bytes)
    }
}

impl Body for ContentBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next_piece().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.end - self.left.start)
    }
}

fn length(bytes: &Bytes) -> u64 {
    bytes.len() as u64
}

/// Below this size a copy costs less than what the buffers behind the pieces may waste.
const COMPACT_BELOW_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_of_pieces_is_the_range_of_the_whole() {
        let content = Content::from_pieces(["ab", "", "cde", "f"].map(Bytes::from_static_str));
        let whole = content.to_bytes();
        assert_eq!(&whole[..], b"abcdef");
        for start in 0..=6_u64 {
            for end in start..=6 {
                let (from, to) =
                    (usize::try_from(start).expect("small"), usize::try_from(end).expect("small"));
                assert_eq!(content.slice(start..end).to_bytes(), whole.slice(from..to));
            }
        }
    }

    #[test]
    fn a_terabyte_costs_a_block() {
        let block = Bytes::from(vec![7; (1 << 20) + 1]);
        let content = Content::repeated(&block, 1 << 40);
        assert_eq!(content.size(), 1 << 40);
        assert_eq!(content.slice((1 << 40) - 5..1 << 40).to_bytes(), block.slice(..5));
    }

    trait FromStaticStr {
        fn from_static_str(text: &'static str) -> Bytes;
    }

    impl FromStaticStr for Bytes {
        fn from_static_str(text: &'static str) -> Bytes {
            Self::from_static(text.as_bytes())
        }
    }
}
