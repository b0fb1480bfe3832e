//! What buffers leave of the process's memory.
//!
//! The budget bounds what is in use. What is freed stays with the allocator, which is glad of it: fresh memory costs a page
//! fault for every 4 KiB, and a writer or reader who streams would take and return megabytes all the time. But
//! glibc keeps it apart for each of up to eight arenas per processor, so that a mount with a budget of 64 MiB was seen with
//! 305 MB. With two arenas nothing is slower, and it is 112 MB. And a mount at which nobody is at work any more needs
//! none of it.

use std::time::Duration;

use crate::budget::Budget;
use crate::sys;

/// Bounds what the allocator keeps. To be called before there are threads.
pub(super) fn bound() {
    sys::share_arenas(ARENAS);
}

/// Gives back what the allocator keeps whenever nobody is at work any more, for as long as the mount lasts.
pub(super) async fn give_back(budget: Budget) {
    let mut quiet = Quiet::default();
    loop {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        if quiet.has_come(budget.taken_bytes()) {
            drop(tokio::task::spawn_blocking(sys::give_memory_back).await);
        }
    }
}

/// Whether nobody takes memory any more, after somebody has taken some.
#[derive(Debug, Default)]
struct Quiet {
    taken: u64,
    taken_when_given_back: u64,
}

impl Quiet {
    /// `taken` is all that was ever taken.
    fn has_come(&mut self, taken: u64) -> bool {
        let is_quiet = taken == self.taken;
        self.taken = taken;
        let is_worth_it = taken - self.taken_when_given_back >= WORTH_IT;
        if is_quiet && is_worth_it {
            self.taken_when_given_back = taken;
        }
        is_quiet && is_worth_it
    }
}

const ARENAS: i32 = 2;
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);
const WORTH_IT: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_quiet_once_after_somebody_was_at_work() {
        let mut quiet = Quiet::default();
        let looks = [
            (0, false),
            (5, false),
            (20, false),
            (20, true),
            (20, false),
            (30, false),
            (30, false),
            (36, false),
            (36, true),
        ];
        for (at, (mib, expected)) in looks.into_iter().enumerate() {
            assert_eq!(quiet.has_come(mib << 20), expected, "look {at}: 16 MiB are worth it, and 10 are not");
        }
    }
}
