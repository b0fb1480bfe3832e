//! Bytes of a part in memory, paid from the budget, in places that are used again.
//!
//! Fresh memory costs a page fault for every 4 KiB, which for a writer of a gigabyte is a tenth of all the work. So
//! the place of a part that has arrived takes the next part, as long as anybody streams.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::budget::{Budget, Reservation};

/// What parts in memory are made of: bytes of the budget, and places that others have left. Clones are the same.
#[derive(Debug, Clone)]
pub struct Memory {
    budget: Budget,
    shelf: Arc<Shelf>,
}

/// Places that nobody uses at the moment.
///
/// Nobody pays for them: there are never more than [`SHELF_BYTES_MAX`], nor more than a quarter of the budget,
/// and none when no place is lent.
#[derive(Debug)]
struct Shelf {
    bytes_max: usize,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    free: Vec<Vec<u8>>,
    free_bytes: usize,
    lent: usize,
}

/// A place for a part, which returns to its shelf when it is dropped.
#[derive(Debug, Default)]
struct Place {
    bytes: Vec<u8>,
    shelf: Option<Arc<Shelf>>,
}

/// Bytes in memory, paid for.
#[derive(Debug, Default)]
pub struct Held {
    place: Place,
    /// How large a place the part needs, if it is known to fill it.
    place_bytes: usize,
    paid: Vec<Reservation>,
    paid_bytes: u64,
}

impl Memory {
    /// Returns memory that `budget` pays for.
    pub fn of(budget: Budget) -> Self {
        let quarter = usize::try_from(budget.total_bytes() / 4).unwrap_or(usize::MAX);
        let shelf = Shelf { bytes_max: quarter.min(SHELF_BYTES_MAX), places: Mutex::default() };
        Self { budget, shelf: Arc::new(shelf) }
    }

    fn place(&self, bytes: usize) -> Place {
        let mut places = self.shelf.places.lock();
        places.lent += 1;
        let found = places
            .free
            .iter()
            .position(|free| free.capacity() >= bytes)
            .map(|at| places.free.swap_remove(at));
        places.free_bytes -= found.as_ref().map_or(0, Vec::capacity);
        Place {
            bytes: found.unwrap_or_else(|| Vec::with_capacity(bytes)),
            shelf: Some(Arc::clone(&self.shelf)),
        }
    }
}

impl Shelf {
    fn take_back(&self, mut place: Vec<u8>) {
        place.clear();
        let mut places = self.places.lock();
        places.lent -= 1;
        if places.lent == 0 {
            *places = Places::default();
        } else if places.free_bytes + place.capacity() <= self.bytes_max {
            places.free_bytes += place.capacity();
            places.free.push(place);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(shelf) = self.shelf.take() {
            shelf.take_back(std::mem::take(&mut self.bytes));
        }
    }
}

impl AsRef<[u8]> for Place {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Held {
    /// Returns what will hold a whole part of this many bytes, which does not move as it grows. It takes no place, and
    /// pays for none, before there is something in it.
    pub fn for_part(bytes: u64) -> Self {
        let place_bytes = usize::try_from(bytes.min(PLACE_BYTES_MAX)).expect("it fits in memory");
        Self { place_bytes, ..Self::default() }
    }

    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        self.place.bytes.len() as u64
    }

    /// Adds a piece; `false` when the budget has no bytes for it.
    pub fn push(&mut self, piece: &[u8], memory: &Memory) -> bool {
        let needed = self.size() + piece.len() as u64;
        if needed > self.paid_bytes {
            // In doublings at first: small files pay little, small writes ask seldom.
            let bytes = (needed - self.paid_bytes).max(needed.clamp(PAY_BYTES_MIN, PAY_BYTES_MAX));
            let Some(reservation) = memory.budget.ask(bytes) else { return false };
            self.paid.push(reservation);
            self.paid_bytes += bytes;
        }
        if self.place_bytes > 0 && self.place.shelf.is_none() {
            self.place = memory.place(self.place_bytes);
        }
        self.place.bytes.extend_from_slice(piece);
        true
    }

    /// Takes off what lies behind the first `at` bytes, for a part of `bytes`; `None` when the budget has no room for it.
    pub fn split_off(&mut self, at: u64, bytes: u64, memory: &Memory) -> Option<Self> {
        let at = usize::try_from(at).expect("at most the length of what is in memory");
        let mut rest = Self::for_part(bytes);
        let is_kept = rest.push(&self.place.bytes[at..], memory);
        self.place.bytes.truncate(at);
        is_kept.then_some(rest)
    }

    /// The bytes, and what pays for them.
    pub fn into_bytes(self) -> (Bytes, Vec<Reservation>) {
        (Bytes::from_owner(self.place), self.paid)
    }
}

const PLACE_BYTES_MAX: u64 = 64 << 20;
const SHELF_BYTES_MAX: usize = 64 << 20;
const PAY_BYTES_MIN: u64 = 4 << 10;
const PAY_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn part(memory: &Memory) -> Held {
        let mut held = Held::for_part(8 * MIB);
        assert!(held.push(&[7; 1000], memory));
        held
    }

    fn free(memory: &Memory) -> usize {
        memory.shelf.places.lock().free.len()
    }

    #[test]
    fn the_next_part_takes_the_place_of_one_that_has_arrived() {
        let memory = Memory::of(Budget::new(256 * MIB));
        let (arrived, still_there) = (part(&memory), part(&memory));
        let (bytes, paid) = arrived.into_bytes();
        let (address, copy) = (bytes.as_ptr(), bytes.slice(10..20));
        drop((bytes, paid));
        assert_eq!(free(&memory), 0, "somebody has a piece of it");
        drop(copy);
        assert_eq!(free(&memory), 1);
        let (bytes, _paid) = part(&memory).into_bytes();
        assert_eq!((bytes.as_ptr(), &bytes[..]), (address, &[7; 1000][..]));
        drop(bytes);
        drop(still_there);
        assert_eq!(free(&memory), 0, "nobody streams any more");
    }

    #[test]
    fn the_shelf_has_its_limit() {
        let memory = Memory::of(Budget::new(64 * MIB));
        let (first, others) = (part(&memory), [part(&memory), part(&memory), part(&memory)]);
        drop(others);
        assert_eq!(free(&memory), 2);
        let larger = Memory::place(&memory, 9 << 20);
        assert_eq!((free(&memory), larger.bytes.capacity()), (2, 9 << 20), "none of them is large enough");
        drop((first, larger));
        assert_eq!(free(&memory), 0);
    }

    #[test]
    fn a_part_that_is_begun_for_nothing_takes_no_place() {
        let memory = Memory::of(Budget::new(64 * MIB));
        drop(Held::for_part(8 * MIB));
        assert_eq!(memory.shelf.places.lock().lent, 0);
    }
}
