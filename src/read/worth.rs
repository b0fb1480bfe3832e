//! Whether a file that is read at random is better fetched whole: a pure function of its arguments.
//!
//! Random reads cannot be foreseen, and each waits for a round trip. A whole file can be had at the speed
//! of many connections. It is the question of whether to rent or to buy: as nobody knows how often a thing
//! will be needed, it is bought when the rent paid so far comes to its price. What is paid here is
//! time. So a program that looks at a few places pays nothing more, and one that goes on reading
//! waits no more than twice as long as it would have if its future had been known.
//!
//! Two bounds. A file that is many times the memory budget is not bought, for whoever sets a small budget
//! wants little to be moved; and one that would push much else out of the machine's memory is not bought
//! either, for the pages would not stay. If they did not stay after all, the next time is dearer.

use std::time::Duration;

/// What random reads of one file have cost so far.
#[derive(Debug, Default)]
pub struct Rent {
    paid: Duration,
    bought: u32,
    is_buying: bool,
}

/// What a whole file would cost.
#[derive(Debug, Clone, Copy)]
pub struct Price {
    /// The length of the file.
    pub file_bytes: u64,
    /// The time to a first byte.
    pub latency: Duration,
    /// The budget of all buffers.
    pub budget_bytes: u64,
    /// Memory of the machine that nothing else needs.
    pub available_bytes: u64,
}

impl Rent {
    /// A random read has waited so long. Returns whether the file is to be fetched whole now; nothing more
    /// is paid then until that is [`done`](Self::done).
    pub fn pay(&mut self, waited: Duration, price: Price) -> bool {
        if self.is_buying {
            return false;
        }
        self.paid += waited;
        let Some(price) = price.time() else { return false };
        let is_paid = self.paid >= price * 2_u32.saturating_pow(self.bought.min(10));
        if is_paid {
            self.paid = Duration::ZERO;
            self.bought += 1;
            self.is_buying = true;
        }
        is_paid
    }

    /// The file has been fetched whole, or could not be.
    pub fn done(&mut self) {
        self.is_buying = false;
    }
}

impl Price {
    /// How long fetching all of it takes; `None` if it is too much at any price.
    fn time(self) -> Option<Duration> {
        let is_affordable = self.file_bytes <= self.budget_bytes.saturating_mul(BUDGETS_MAX)
            && self.file_bytes <= self.available_bytes / AVAILABLE_SHARE;
        let transfer = Duration::from_secs_f64(self.file_bytes as f64 / BYTES_PER_SECOND);
        is_affordable.then_some(self.latency * 2 + transfer)
    }
}

/// What many connections bring.
const BYTES_PER_SECOND: f64 = 1.5e9;

/// 2 GiB with the default budget, and 256 MiB with the least that makes sense.
const BUDGETS_MAX: u64 = 4;

const AVAILABLE_SHARE: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const PRICE: Price = Price {
        file_bytes: GIB,
        latency: Duration::from_millis(20),
        budget_bytes: GIB / 2,
        available_bytes: 16 * GIB,
    };

    /// How many reads of 20 ms it takes until the file is bought, if it is within ten thousand.
    fn reads_until_bought(rent: &mut Rent, price: Price) -> Option<usize> {
        (1..10_000).find(|_| rent.pay(Duration::from_millis(20), price))
    }

    #[test]
    fn a_file_is_bought_when_waiting_has_cost_as_much() {
        let mut rent = Rent::default();
        assert_eq!(reads_until_bought(&mut rent, PRICE), Some(38));
        assert_eq!(reads_until_bought(&mut rent, PRICE), None, "not twice at once");
        rent.done();
        assert_eq!(reads_until_bought(&mut rent, PRICE), Some(76), "and not so soon again");
    }

    #[test]
    fn what_is_too_large_for_the_budget_or_the_machine_is_never_bought() {
        for price in [Price { budget_bytes: GIB / 16, ..PRICE }, Price { available_bytes: 2 * GIB, ..PRICE }]
        {
            assert_eq!(reads_until_bought(&mut Rent::default(), price), None);
        }
    }

    #[test]
    fn a_small_file_is_cheap() {
        let small = Price { file_bytes: 8 << 20, ..PRICE };
        assert_eq!(reads_until_bought(&mut Rent::default(), small), Some(3));
    }
}
