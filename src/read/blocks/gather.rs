//! Bytes as they arrive, made into whole blocks.
//!
//! A block is kept whole or not at all, and its bytes may come in many pieces and from two requests, because
//! one request may end where another begins. So what there is of a block waits here for the rest.
//!
//! Nothing waits for long: of too many unfinished blocks those go first that began first, and with them the
//! chance to keep them this time.

use std::collections::VecDeque;

use bytes::Bytes;

use super::layout::BLOCK_BYTES;
use crate::budget::Reservation;

/// The unfinished blocks of one object of `size` bytes.
#[derive(Debug)]
pub(super) struct Gather {
    size: u64,
    unfinished: VecDeque<Block>,
}

/// A block and its bytes: all of them, once it leaves [`Gather`].
#[derive(Debug)]
pub(super) struct Block {
    /// Its first byte in the object.
    pub(super) start: u64,
    /// Pieces by their first byte, in order.
    pieces: Vec<(u64, Bytes)>,
    gathered: u64,
    /// What the pieces cost.
    _paid: Reservation,
}

impl Block {
    /// Its bytes in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter().map(|(_, bytes)| bytes)
    }

    /// Adds what is not there yet of `bytes`: two requests may bring the same.
    fn add(&mut self, mut offset: u64, mut bytes: Bytes) {
        let mut at = self.pieces.partition_point(|(start, piece)| start + piece.len() as u64 <= offset);
        while !bytes.is_empty() {
            let next = self.pieces.get(at).map(|(start, piece)| (*start, start + piece.len() as u64));
            let (gap_end, gap_next) = next.unwrap_or((u64::MAX, u64::MAX));
            let gap = split_to(&mut bytes, gap_end.saturating_sub(offset));
            if !gap.is_empty() {
                let start = offset;
                offset += gap.len() as u64;
                self.gathered += gap.len() as u64;
                self.pieces.insert(at, (start, gap));
                at += 1;
            }
            offset += split_to(&mut bytes, gap_next - offset).len() as u64;
            at += 1;
        }
    }
}

/// Takes the first bytes, as many as there are.
fn split_to(bytes: &mut Bytes, most: u64) -> Bytes {
    bytes.split_to(usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len()))
}

impl Gather {
    /// Nothing of an object of `size` bytes.
    pub(super) fn new(size: u64) -> Self {
        Self { size, unfinished: VecDeque::new() }
    }

    /// Takes `bytes`, which lie at `offset`, and hands out the blocks that they complete. A block that
    /// `pay` does not pay for is let go.
    pub(super) fn add(
        &mut self,
        mut offset: u64,
        mut bytes: Bytes,
        mut pay: impl FnMut(u64) -> Option<Reservation>,
        mut complete: impl FnMut(Block),
    ) {
        while !bytes.is_empty() {
            let start = offset / BLOCK_BYTES * BLOCK_BYTES;
            let length = BLOCK_BYTES.min(self.size - start);
            let piece = split_to(&mut bytes, start + length - offset);
            let here = piece.len() as u64;
            if let Some(at) = self.position(start, length, &mut pay) {
                let block = &mut self.unfinished[at];
                block.add(offset, piece);
                if block.gathered == length {
                    self.unfinished.remove(at).into_iter().for_each(&mut complete);
                }
            }
            offset += here;
        }
    }

    /// Where the block that begins at `start` waits; `None` if it cannot be paid for.
    fn position(
        &mut self,
        start: u64,
        length: u64,
        pay: &mut impl FnMut(u64) -> Option<Reservation>,
    ) -> Option<usize> {
        // The newest are at the end, and are those that grow.
        if let Some(at) = self.unfinished.iter().rposition(|block| block.start == start) {
            return Some(at);
        }
        let paid = pay(length)?;
        if self.unfinished.len() == UNFINISHED_MAX {
            self.unfinished.pop_front();
        }
        self.unfinished.push_back(Block { start, pieces: Vec::new(), gathered: 0, _paid: paid });
        Some(self.unfinished.len() - 1)
    }
}

/// As many requests as are under way for one file, and the blocks between them: 4 MiB altogether.
const UNFINISHED_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::budget::Budget;

    fn content(size: u64) -> Bytes {
        (0..size).map(|at| (at % 251) as u8).collect()
    }

    proptest! {
        #[test]
        fn blocks_come_out_whole_in_whatever_order_their_bytes_come(
            size in 1_u64..400_000, cuts in prop::collection::vec(0_u64..400_000, 0..12), seed: u64
        ) {
            let (budget, all) = (Budget::new(1 << 30), content(size));
            let mut cuts: Vec<u64> = cuts.into_iter().map(|cut| cut % size).chain([0, size]).collect();
            cuts.sort_unstable();
            let mut pieces: Vec<(u64, u64)> = cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
            // Some twice, and others over several: two requests may bring the same.
            pieces.extend_from_within(..pieces.len() / 2);
            pieces.extend(cuts.windows(4).step_by(2).map(|cuts| (cuts[0], cuts[3])));
            fastrand::Rng::with_seed(seed).shuffle(&mut pieces);
            let mut gather = Gather::new(size);
            let mut found = std::collections::BTreeMap::new();
            for (start, end) in pieces {
                let bytes = all.slice(start as usize..end as usize);
                gather.add(start, bytes, |length| budget.ask(length), |block| {
                    let bytes: Vec<u8> = block.pieces().flatten().copied().collect();
                    found.insert(block.start, bytes);
                });
            }
            for (at, expected) in all.chunks(BLOCK_BYTES as usize).enumerate() {
                let start = at as u64 * BLOCK_BYTES;
                let block = found.remove(&start);
                prop_assert_eq!(block.as_deref(), Some(expected), "block at {}", start);
            }
            prop_assert!(found.is_empty());
        }
    }

    #[test]
    fn what_is_never_finished_does_not_pile_up_and_gives_its_memory_back() {
        let budget = Budget::new(1 << 30);
        let mut gather = Gather::new(1 << 30);
        for block in 0..1000 {
            let byte = Bytes::from_static(b"x");
            gather.add(block * BLOCK_BYTES, byte, |length| budget.ask(length), |_| unreachable!());
        }
        assert_eq!(gather.unfinished.len(), UNFINISHED_MAX);
        assert_eq!(budget.total_bytes() - budget.free_bytes(), UNFINISHED_MAX as u64 * BLOCK_BYTES);
        drop(gather);
        assert_eq!(budget.free_bytes(), budget.total_bytes());
    }

    #[test]
    fn what_nobody_pays_for_is_let_go() {
        let mut gather = Gather::new(100);
        gather.add(0, content(100), |_| None, |_| panic!("it is not paid for"));
        assert!(gather.unfinished.is_empty());
    }
}
