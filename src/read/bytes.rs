//! The answer to a read: pieces of what was fetched, not a copy of them.

use bytes::{Bytes, BytesMut};

/// Some consecutive bytes of a file, in as many pieces as they are kept in.
///
/// A piece keeps the buffer alive that it was cut from, so an answer is meant to be passed on
/// and dropped, not kept.
#[derive(Debug, Clone, Default)]
pub struct ReadBytes {
    // Apart from the others, because nearly all answers are one piece and then need no allocation.
    first: Bytes,
    others: Vec<Bytes>,
}

impl ReadBytes {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.pieces().map(Bytes::len).sum()
    }

    /// Whether there are no bytes: the read began at or after the end of the file.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// The pieces in order; none of them is empty, unless it is the only one.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// All bytes in one piece, which costs a copy only if there are several.
    pub fn into_bytes(self) -> Bytes {
        if self.others.is_empty() {
            return self.first;
        }
        let mut joined = BytesMut::with_capacity(self.len());
        self.pieces().for_each(|piece| joined.extend_from_slice(piece));
        joined.freeze()
    }

    /// All bytes in one piece, which is `scratch` if there are several.
    ///
    /// For whoever only looks at them: a scratch buffer that is used again and again stays in the
    /// processor's cache, where a new one would be paged in each time.
    pub fn in_one_piece<'a>(&'a self, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        if self.others.is_empty() {
            return &self.first;
        }
        scratch.clear();
        self.pieces().for_each(|piece| scratch.extend_from_slice(piece));
        scratch
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        if self.first.is_empty() {
            self.first = piece;
        } else if !piece.is_empty() {
            self.others.push(piece);
        }
    }

    pub(super) fn append(&mut self, other: Self) {
        self.push(other.first);
        other.others.into_iter().for_each(|piece| self.push(piece));
    }
}

impl From<Bytes> for ReadBytes {
    fn from(first: Bytes) -> Self {
        Self { first, others: Vec::new() }
    }
}

impl From<Vec<Bytes>> for ReadBytes {
    fn from(pieces: Vec<Bytes>) -> Self {
        let mut read = Self::default();
        pieces.into_iter().for_each(|piece| read.push(piece));
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_piece_is_handed_on_without_a_copy() {
        let piece = Bytes::from(vec![7; 100]);
        let read = ReadBytes::from(piece.clone());
        assert_eq!(read.in_one_piece(&mut Vec::new()).as_ptr(), piece.as_ptr());
        assert_eq!(read.into_bytes().as_ptr(), piece.as_ptr());
    }

    #[test]
    fn several_pieces_join_in_order_and_empty_ones_vanish() {
        let mut read = ReadBytes::default();
        assert!(read.is_empty());
        for piece in ["", "ab", "", "c"] {
            read.push(Bytes::from_static(piece.as_bytes()));
        }
        let mut whole = ReadBytes::from(Bytes::from_static(b"-"));
        whole.append(read);
        assert_eq!(whole.len(), 4);
        assert_eq!(whole.pieces().count(), 3);
        assert_eq!(whole.in_one_piece(&mut b"of another read".to_vec()), b"-abc");
        assert_eq!(whole.into_bytes(), "-abc");
    }
}
