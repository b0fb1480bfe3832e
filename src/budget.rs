//! The one budget of bytes that all buffers are paid from.
//!
//! A reader that an application waits for *demands* bytes and waits until there are some.
//! Read-ahead and upload-ahead only *ask*, and do less when refused; a share of the budget is
//! out of their reach, so that guessing never starves a caller. A [`Reservation`] travels with
//! its bytes and gives them back when dropped: there is no release to forget.
//!
//! Invariant: whoever holds a reservation and waits for another one may wait only for
//! somebody who does not wait, or two such holders block each other for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of bytes shared by all buffers of a mount. Clones are the same budget.
#[derive(Debug, Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
    units_total: u32,
    units_for_demand: usize,
    /// Bytes that were taken since it was made.
    taken: Arc<AtomicU64>,
    /// What this is a share of.
    whole: Option<Box<Self>>,
}

/// Bytes taken from a [`Budget`]; dropping it gives them back.
#[must_use]
#[derive(Debug)]
pub struct Reservation {
    permit: OwnedSemaphorePermit,
    /// The same bytes, taken from what the budget is a share of.
    of_whole: Option<Box<Self>>,
}

impl Budget {
    /// Returns a budget of `bytes`, an eighth of which is kept for demand.
    pub fn new(bytes: u64) -> Self {
        let units_total = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        Self {
            units: Arc::new(Semaphore::new(units_total as usize)),
            units_total,
            units_for_demand: units_total as usize / 8,
            taken: Arc::default(),
            whole: None,
        }
    }

    /// A budget of at most `bytes`, and of no more than half of this one, for one kind of use. What is taken from
    /// it is taken from this one, too.
    pub fn share(&self, bytes: u64) -> Self {
        Self { whole: Some(Box::new(self.clone())), ..Self::new(bytes.min(self.total_bytes() / 2)) }
    }

    /// Takes `bytes`, waiting in line until they are free.
    ///
    /// A demand above the whole budget is granted the whole: one large request then runs alone.
    pub async fn demand(&self, bytes: u64) -> Reservation {
        let permit = Arc::clone(&self.units).acquire_many_owned(self.units(bytes)).await;
        // The share first: who waits for the whole holds what only others with the same share wait for.
        let of_whole = match &self.whole {
            Some(whole) => Some(Box::new(Box::pin(whole.demand(bytes.min(self.total_bytes()))).await)),
            None => None,
        };
        self.reserved(permit.expect("the semaphore is never closed"), of_whole)
    }

    /// Takes `bytes` if that leaves the share of demand untouched and nobody waits in line.
    pub fn ask(&self, bytes: u64) -> Option<Reservation> {
        let units = self.units(bytes);
        if self.units.available_permits() < units as usize + self.units_for_demand {
            return None;
        }
        let permit = Arc::clone(&self.units).try_acquire_many_owned(units).ok()?;
        let of_whole = match &self.whole {
            Some(whole) => Some(Box::new(whole.ask(bytes)?)),
            None => None,
        };
        Some(self.reserved(permit, of_whole))
    }

    fn reserved(&self, permit: OwnedSemaphorePermit, of_whole: Option<Box<Reservation>>) -> Reservation {
        let reservation = Reservation { permit, of_whole };
        self.taken.fetch_add(reservation.bytes(), Ordering::Relaxed);
        reservation
    }

    /// All bytes of this budget, taken or free.
    pub fn total_bytes(&self) -> u64 {
        u64::from(self.units_total) * UNIT_BYTES
    }

    /// Bytes that nobody holds at the moment.
    pub fn free_bytes(&self) -> u64 {
        self.units.available_permits() as u64 * UNIT_BYTES
    }

    /// All bytes that were ever taken, given back or not.
    pub fn taken_bytes(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn units(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(self.units_total)
    }
}

impl Reservation {
    /// The number of bytes held, rounded up to the unit of the budget.
    pub fn bytes(&self) -> u64 {
        self.permit.num_permits() as u64 * UNIT_BYTES
    }

    /// Splits `bytes` off, to travel on their own; `None` when fewer are held.
    pub fn split(&mut self, bytes: u64) -> Option<Self> {
        let units = usize::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        let permit = self.permit.split(units)?;
        let of_whole = self.of_whole.as_mut().and_then(|of_whole| of_whole.split(bytes)).map(Box::new);
        Some(Self { permit, of_whole })
    }
}

/// A semaphore counts in `u32`, and 4 TiB in KiB still fit.
const UNIT_BYTES: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[tokio::test]
    async fn asking_leaves_the_share_of_demand() {
        let budget = Budget::new(8 * MIB);
        let ahead = budget.ask(7 * MIB).expect("seven eighths are for asking");
        assert!(budget.ask(1).is_none());
        let demanded = budget.demand(MIB).await;
        assert_eq!(budget.free_bytes(), 0);
        drop((ahead, demanded));
        assert_eq!(budget.free_bytes(), budget.total_bytes());
    }

    #[tokio::test]
    async fn a_demand_above_the_whole_runs_alone() {
        let budget = Budget::new(MIB);
        let all = budget.demand(100 * MIB).await;
        assert_eq!((all.bytes(), budget.taken_bytes()), (MIB, MIB));
        drop(all);
        assert!(budget.ask(MIB / 2).is_some());
        assert_eq!(budget.taken_bytes(), MIB + MIB / 2, "given back or not");
    }

    #[tokio::test]
    async fn a_share_takes_from_the_whole_and_never_all_of_it() {
        let budget = Budget::new(8 * MIB);
        let share = budget.share(4 * MIB);
        let mut taken = share.demand(100 * MIB).await;
        assert_eq!((share.free_bytes(), budget.free_bytes()), (0, 4 * MIB));
        let half = taken.split(2 * MIB).expect("four are held");
        drop(taken);
        assert_eq!((share.free_bytes(), budget.free_bytes()), (2 * MIB, 6 * MIB));
        let others = budget.demand(6 * MIB).await;
        assert!(share.ask(MIB).is_none(), "the whole is used up");
        drop((half, others));
        assert_eq!((share.free_bytes(), budget.free_bytes()), (4 * MIB, 8 * MIB));
        assert_eq!(budget.share(u64::MAX).total_bytes(), 4 * MIB);
    }

    #[tokio::test]
    async fn a_split_reservation_gives_back_both_halves() {
        let budget = Budget::new(8 * MIB);
        let mut whole = budget.demand(4 * MIB).await;
        let half = whole.split(MIB).expect("four are held");
        drop(whole);
        assert_eq!(budget.free_bytes(), 7 * MIB);
        drop(half);
        assert_eq!(budget.free_bytes(), 8 * MIB);
    }
}
