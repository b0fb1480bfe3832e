//! Which files of a directory will be opened next: a pure function of those that were.
//!
//! Programs that read many small files take them in some order: by name (`grep -r`, a data loader
//! with a sorted list), by inode number (`cp -r`, `tar`, which hope that it is the order on the disk), or
//! in one that nobody can foresee. A [`Walk`] is told the position of each opened file in every order
//! that there is, sees which of them the opens follow, and names the files that come next in it. Several
//! workers of one program finish in any order, so *following* means "near where the furthest was".
//!
//! How many files to have ahead is found by trial, as with the depth of a sequential read. Files that
//! were not there in time ask for more of them. Files that were there for too long to be still believed,
//! or for nothing, ask for fewer: bytes fetched too early are a request wasted.

use std::ops::Range;

/// The opens of one directory's files, in `N` orders.
#[derive(Debug, Clone)]
pub struct Walk<const N: usize> {
    orders: [Order; N],
    ahead: usize,
}

/// How a file was found that has just been opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// Nobody had thought of it.
    Unawares,
    /// It had been asked for, and was not here yet.
    OnItsWay,
    /// It was here.
    InTime,
    /// It was here, for longer than it may be believed.
    TooOld,
}

impl<const N: usize> Default for Walk<N> {
    fn default() -> Self {
        Self { orders: [Order::default(); N], ahead: AHEAD_FIRST }
    }
}

impl<const N: usize> Walk<N> {
    /// The walk of another directory, by whoever walked this one: expected to follow the same order
    /// from its beginning.
    pub fn next_directory(&self) -> Self {
        let mut orders = [Order::default(); N];
        if let Some((at, _)) = self.followed() {
            orders[at] = Order { next: 0, error: Some(0.0), begun: true };
        }
        Self { orders, ahead: self.ahead }
    }

    /// Takes note of an open, of the file that is at these positions in the orders.
    pub fn opened(&mut self, positions: [usize; N], met: Met) {
        self.ahead = match met {
            Met::Unawares | Met::InTime => self.ahead,
            Met::OnItsWay => (self.ahead * 2).min(AHEAD_MAX),
            Met::TooOld => self.fewer(),
        };
        self.orders.iter_mut().zip(positions).for_each(|(order, position)| order.observe(position));
    }

    /// A file that was had ahead was not opened in the end.
    pub fn in_vain(&mut self) {
        self.ahead = self.fewer();
        // Opens must show anew that they follow an order before more is spent on it.
        self.orders.iter_mut().for_each(|order| order.error = order.error.map(|error| error + NEAR / 4.0));
    }

    /// What to have next, as far as opens follow an order: which one, and which positions in it.
    pub fn expected(&self) -> Option<(usize, Range<usize>)> {
        let (at, order) = self.followed()?;
        Some((at, order.next..order.next + self.ahead))
    }

    /// The order that the opens follow best, if they follow one.
    fn followed(&self) -> Option<(usize, &Order)> {
        let errors = self.orders.iter().enumerate().filter_map(|(at, order)| Some((order.error?, at)));
        let (error, at) = errors.min_by(|(a, _), (b, _)| a.total_cmp(b))?;
        (error <= NEAR).then(|| (at, &self.orders[at]))
    }

    fn fewer(&self) -> usize {
        (self.ahead / 2).max(AHEAD_MIN)
    }
}

/// How well opens follow one order.
#[derive(Debug, Clone, Copy, Default)]
struct Order {
    /// Where the next open is expected.
    next: usize,
    begun: bool,
    /// How far opens are from the expected place, in files; the recent past counts most. `None` before
    /// there was an expectation.
    error: Option<f32>,
}

impl Order {
    fn observe(&mut self, position: usize) {
        let distance = (position.abs_diff(self.next) as f32).min(FAR);
        if self.begun {
            self.error = Some(self.error.map_or(distance, |error| error * 0.75 + distance * 0.25));
        }
        // A late one among several workers is no step back; something far away begins anew.
        let is_late = self.begun && position < self.next && distance < FAR;
        if !is_late {
            self.next = position + 1;
        }
        self.begun = true;
    }
}

/// How far from the expected place opens may be on average, in files. With 16 workers one is 16 files
/// behind the furthest on average, and much more for a while. Where there are no more files than this,
/// any order will do: all of them will be read.
const NEAR: f32 = 64.0;

/// Beyond this it does not matter how far, and one leap does not hide what follows it.
const FAR: f32 = 4.0 * NEAR;

const AHEAD_FIRST: usize = 8;
const AHEAD_MIN: usize = 2;

/// At 20 ms for each request this is 3,000 files per second, more than a kernel asks for.
const AHEAD_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn opened<const N: usize>(
        walk: &mut Walk<N>,
        opens: impl IntoIterator<Item = [usize; N]>,
        met: Met,
    ) -> Option<(usize, Range<usize>)> {
        opens.into_iter().for_each(|positions| walk.opened(positions, met));
        walk.expected()
    }

    /// A permutation of `0..count`.
    fn shuffled(count: usize, seed: u64) -> Vec<usize> {
        let mut order: Vec<_> = (0..count).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        order
    }

    #[test]
    fn the_second_open_in_an_order_shows_it() {
        let mut walk = Walk::<1>::default();
        assert_eq!(opened(&mut walk, [[7]], Met::Unawares), None, "one open says nothing");
        assert_eq!(opened(&mut walk, [[8]], Met::Unawares), Some((0, 9..9 + AHEAD_FIRST)));
    }

    #[test]
    fn of_two_orders_the_one_that_is_followed_counts() {
        let numbers = shuffled(10_000, 1);
        let by_name = (0..50).map(|at| [at, numbers[at]]);
        assert_eq!(opened(&mut Walk::default(), by_name, Met::InTime), Some((0, 50..50 + AHEAD_FIRST)));
        let by_number = (0..50).map(|at| [numbers[at], at]);
        assert_eq!(opened(&mut Walk::default(), by_number, Met::InTime), Some((1, 50..50 + AHEAD_FIRST)));
    }

    #[test]
    fn opens_in_no_order_ask_for_next_to_nothing() {
        let (names, numbers) = (shuffled(10_000, 2), shuffled(10_000, 3));
        let mut walk = Walk::default();
        let answers = (0..200).map(|at| opened(&mut walk, [[names[at], numbers[at]]], Met::Unawares));
        assert!(answers.filter(Option::is_some).count() <= 2);
    }

    #[test]
    fn the_next_directory_is_expected_to_be_read_as_the_last_one_was() {
        let mut walk = Walk::<1>::default();
        assert_eq!(walk.next_directory().expected(), None);
        opened(&mut walk, (0..20).map(|at| [at]), Met::OnItsWay);
        assert_eq!(walk.next_directory().expected(), Some((0, 0..AHEAD_MAX)));
        (0..20).for_each(|_| walk.in_vain());
        assert_eq!(walk.next_directory().expected(), None);
    }

    #[test]
    fn late_files_ask_for_more_and_old_or_unused_ones_for_fewer() {
        let mut walk = Walk::<1>::default();
        let count = |plan: Option<(usize, Range<usize>)>| plan.map_or(0, |(_, range)| range.len());
        assert_eq!(count(opened(&mut walk, (0..20).map(|at| [at]), Met::OnItsWay)), AHEAD_MAX);
        assert_eq!(count(opened(&mut walk, [[20]], Met::TooOld)), AHEAD_MAX / 2);
        walk.in_vain();
        assert_eq!(count(opened(&mut walk, [[21]], Met::InTime)), AHEAD_MAX / 4);
        (0..20).for_each(|_| walk.in_vain());
        assert_eq!(count(opened(&mut walk, [[22]], Met::InTime)), 0, "and for none when all were in vain");
        let again = opened(&mut walk, (23..60).map(|at| [at]), Met::Unawares);
        assert_eq!(count(again), AHEAD_MIN, "until trusted anew");
    }

    proptest! {
        #[test]
        fn sixteen_workers_still_follow_an_order(seed in any::<u64>(), begin in 0_usize..1000) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut waiting: Vec<_> = (begin..begin + 16).collect();
            let mut walk = Walk::<1>::default();
            let mut furthest = 0;
            for next in begin + 16..begin + 500 {
                // None is left behind for good: they all get files of the same length.
                let oldest = waiting.iter().position(|position| next - position > 8 * 16);
                let taken = oldest.unwrap_or_else(|| random.usize(..waiting.len()));
                let position = waiting.swap_remove(taken);
                waiting.push(next);
                furthest = furthest.max(position);
                let plan = opened(&mut walk, [[position]], Met::Unawares);
                if next > begin + 100 {
                    let (_, range) = plan.expect("an order that is followed");
                    prop_assert!(range.start == furthest + 1, "{range:?} after {furthest}");
                }
            }
        }
    }
}
