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

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of bytes shared by all buffers of a mount. Clones are the same budget.
#[derive(Debug, Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
    units_total: u32,
    units_for_demand: usize,
}

/// Bytes taken from a [`Budget`]; dropping it gives them back.
#[must_use]
#[derive(Debug)]
pub struct Reservation {
    permit: OwnedSemaphorePermit,
}

impl Budget {
    /// Returns a budget of `bytes`, an eighth of which is kept for demand.
    pub fn new(bytes: u64) -> Self {
        let units_total = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        Self {
            units: Arc::new(Semaphore::new(units_total as usize)),
            units_total,
            units_for_demand: units_total as usize / 8,
        }
    }

    /// Takes `bytes`, waiting in line until they are free.
    ///
    /// A demand above the whole budget is granted the whole: one large request then runs alone.
    pub async fn demand(&self, bytes: u64) -> Reservation {
        let permit = Arc::clone(&self.units).acquire_many_owned(self.units(bytes)).await;
        Reservation { permit: permit.expect("the semaphore is never closed") }
    }

    /// Takes `bytes` if that leaves the share of demand untouched and nobody waits in line.
    pub fn ask(&self, bytes: u64) -> Option<Reservation> {
        let units = self.units(bytes);
        if self.units.available_permits() < units as usize + self.units_for_demand {
            return None;
        }
        let permit = Arc::clone(&self.units).try_acquire_many_owned(units).ok()?;
        Some(Reservation { permit })
    }

    /// All bytes of this budget, taken or free.
    pub fn total_bytes(&self) -> u64 {
        u64::from(self.units_total) * UNIT_BYTES
    }

    /// Bytes that nobody holds at the moment.
    pub fn free_bytes(&self) -> u64 {
        self.units.available_permits() as u64 * UNIT_BYTES
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
        self.permit.split(units).map(|permit| Self { permit })
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
        assert_eq!(all.bytes(), MIB);
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
