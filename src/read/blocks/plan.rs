//! What to read from the disk and what to ask S3 for: a pure function of what is there.

/// What to do about the first blocks of a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Read so many from the disk.
    Read(usize),
    /// Ask S3 for so many, in one request.
    Fetch(usize),
}

/// The next step in a stretch of blocks, which is not empty. Few blocks that are there, between others that
/// are not, are fetched as well: to read them costs a second request for what comes after them, and that is
/// as long as they take on the wire.
pub(super) fn next(present: &[bool]) -> Step {
    let run = run(present);
    if present[0] {
        return Step::Read(run.min(READ_BLOCKS_MAX));
    }
    let mut at = run;
    while at < present.len() {
        let length = self::run(&present[at..]);
        if present[at] && (length >= JOINED_BLOCKS_MAX || at + length == present.len()) {
            break;
        }
        at += length;
    }
    Step::Fetch(at)
}

/// How many blocks at the beginning are like the first.
fn run(present: &[bool]) -> usize {
    present.iter().take_while(|is_there| **is_there == present[0]).count()
}

/// 1 MiB: large enough to cost little beside what it moves, small enough to be handed on soon.
const READ_BLOCKS_MAX: usize = 16;

/// 20 ms at 90 MB/s are 1.8 MB, or 28 blocks; somewhat less, for networks that are nearer.
const JOINED_BLOCKS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn steps_cover_the_stretch_and_read_only_what_is_there(present in prop::collection::vec(any::<bool>(), 1..100)) {
            let (mut at, mut requests) = (0, 0);
            while at < present.len() {
                let step = next(&present[at..]);
                let count = match step {
                    Step::Read(count) => {
                        prop_assert!(present[at..at + count].iter().all(|is_there| *is_there));
                        count
                    }
                    Step::Fetch(count) => {
                        prop_assert!(!present[at] && !present[at + count - 1], "neither end is there already");
                        requests += 1;
                        count
                    }
                };
                prop_assert!(count > 0);
                at += count;
            }
            // Between two requests there is something that was worth a second one.
            prop_assert!(requests <= 1 + present.len() / (JOINED_BLOCKS_MAX + 1));
        }
    }

    #[test]
    fn a_hole_costs_one_request_and_a_long_run_is_not_fetched_again() {
        let stretch = |runs: &[(bool, usize)]| -> Vec<bool> {
            runs.iter().flat_map(|(is_there, length)| vec![*is_there; *length]).collect()
        };
        assert_eq!(next(&stretch(&[(false, 3), (true, 2), (false, 3)])), Step::Fetch(8));
        assert_eq!(next(&stretch(&[(false, 3), (true, 16), (false, 3)])), Step::Fetch(3));
        assert_eq!(next(&stretch(&[(false, 3), (true, 2)])), Step::Fetch(3));
        assert_eq!(next(&stretch(&[(true, 40), (false, 3)])), Step::Read(16));
    }
}
