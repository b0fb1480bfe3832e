//! Which parts leave, and when.

use super::*;
use crate::budget::Budget;

const MIB: u64 = 1 << 20;
const EIGHT: PartSizes = PartSizes::of(8 * MIB);

fn memory() -> Memory {
    Memory::of(Budget::new(256 * MIB))
}

fn wrote(ahead: &mut Ahead<()>, mib: u64, length_mib: u64) -> Vec<(u32, u64, u64, bool)> {
    let bytes = vec![7; (length_mib * MIB) as usize];
    let ready = ahead.wrote(mib * MIB, &bytes, &memory());
    ready.into_iter().map(|p| (p.number, p.range.start / MIB, p.range.end / MIB, p.held.is_some())).collect()
}

fn currents(ahead: Ahead<()>) -> Vec<bool> {
    ahead.into_head_start().parts.iter().map(|(uploaded, _)| uploaded.current).collect()
}

#[test]
fn the_first_part_waits_for_the_byte_behind_it_and_later_ones_do_not() {
    let mut ahead = Ahead::at(0, EIGHT);
    assert_eq!(wrote(&mut ahead, 0, 8), []);
    assert_eq!(wrote(&mut ahead, 8, 9), [(1, 0, 8, true), (2, 8, 16, true)]);
}

#[test]
fn what_one_put_would_have_carried_leaves_in_several_parts() {
    for is_held in [true, false] {
        let mut ahead = Ahead::at(0, PartSizes { whole: 11 * MIB, part: 5 * MIB });
        assert_eq!(wrote(&mut ahead, 0, 10), []);
        if !is_held {
            wrote(&mut ahead, 0, 1);
        }
        assert_eq!(wrote(&mut ahead, 10, 1), [], "this may be all of it");
        assert_eq!(wrote(&mut ahead, 11, 1), [(1, 0, 5, is_held), (2, 5, 10, is_held)]);
        assert_eq!(wrote(&mut ahead, 12, 9), [(3, 10, 15, is_held), (4, 15, 20, true)]);
    }
}

#[test]
fn a_part_that_is_cut_has_its_own_bytes_and_what_is_behind_it_the_others() {
    let mut ahead = Ahead::<()>::at(0, PartSizes { whole: 8 * MIB, part: 5 * MIB });
    let bytes: Vec<u8> = (0..12 * MIB).map(|at| (at / 1000) as u8).collect();
    let ready = ahead.wrote(0, &bytes, &memory());
    let gone: Vec<u8> =
        ready.into_iter().flat_map(|part| part.held.unwrap_or_default().into_bytes().0).collect();
    assert!(gone[..] == bytes[..10 << 20]);
    let last = ahead.last(12 * MIB).and_then(|part| part.held).unwrap_or_default();
    assert!(last.into_bytes().0[..] == bytes[10 << 20..]);
}

#[test]
fn the_last_part_leaves_however_short_if_it_is_one_of_several_and_in_memory() {
    let last = |ahead: &mut Ahead<()>, mib: u64| {
        ahead.last(mib * MIB).map(|part| (part.number, part.range.start / MIB, part.range.end / MIB))
    };
    let mut ahead = Ahead::at(0, EIGHT);
    wrote(&mut ahead, 0, 3);
    assert_eq!(last(&mut ahead, 3), None, "a single PUT carries it");
    wrote(&mut ahead, 3, 8);
    assert_eq!(last(&mut ahead, 20), None, "the file ends elsewhere");
    assert_eq!(last(&mut ahead, 11), Some((2, 8, 11)));
    assert_eq!(last(&mut ahead, 11), None, "it has left");
    let mut ahead = Ahead::at(0, EIGHT);
    wrote(&mut ahead, 0, 11);
    wrote(&mut ahead, 9, 1);
    assert_eq!(last(&mut ahead, 11), None, "it was written again, and is only in the staging file");
}

#[test]
fn a_part_that_was_written_again_is_read_from_the_staging_file() {
    let mut ahead = Ahead::at(0, EIGHT);
    assert_eq!(wrote(&mut ahead, 0, 4), []);
    assert_eq!(wrote(&mut ahead, 1, 1), []);
    assert_eq!(wrote(&mut ahead, 3, 6), [(1, 0, 8, false)]);
}

#[test]
fn a_writer_who_jumps_ahead_leaves_the_part_as_it_is() {
    let mut ahead = Ahead::at(0, EIGHT);
    assert_eq!(wrote(&mut ahead, 0, 4), []);
    assert_eq!(wrote(&mut ahead, 20, 4), []);
    assert_eq!(wrote(&mut ahead, 4, 5), [(1, 0, 8, true)]);
}

#[test]
fn a_part_written_after_it_left_is_stale_even_if_it_arrives() {
    let mut ahead = Ahead::at(0, EIGHT);
    assert_eq!(wrote(&mut ahead, 0, 17).len(), 2);
    assert_eq!(wrote(&mut ahead, 0, 1), []);
    ahead.sent(1, Some(()));
    ahead.sent(2, Some(()));
    assert_eq!(currents(ahead), [false, true]);
}

#[test]
fn nothing_leaves_after_a_failure_or_a_cut() {
    let mut ahead = Ahead::at(0, EIGHT);
    assert_eq!(wrote(&mut ahead, 0, 9).len(), 1);
    ahead.sent(1, None);
    assert_eq!(wrote(&mut ahead, 9, 20), []);
    assert_eq!(currents(ahead), [false]);
    let mut ahead = Ahead::at(0, EIGHT);
    assert_eq!(wrote(&mut ahead, 0, 9).len(), 1);
    ahead.truncated(4 * MIB);
    assert_eq!(wrote(&mut ahead, 4, 20), []);
}

#[test]
fn a_file_emptied_before_anything_left_starts_again() {
    let mut ahead = Ahead::at(0, EIGHT);
    assert_eq!(wrote(&mut ahead, 0, 4), []);
    ahead.truncated(0);
    assert_eq!(wrote(&mut ahead, 0, 9), [(1, 0, 8, true)]);
}

#[test]
fn a_file_cut_before_anything_left_goes_on_from_there() {
    let mut ahead = Ahead::at(20 * MIB, EIGHT);
    assert_eq!(wrote(&mut ahead, 20, 4), []);
    ahead.truncated(10 * MIB);
    assert_eq!(wrote(&mut ahead, 10, 9), [(4001, 10, 18, true)]);
}

#[test]
fn a_writer_who_appends_leaves_the_first_numbers_to_what_was_there() {
    let mut ahead = Ahead::at(100 * MIB, EIGHT);
    assert_eq!(wrote(&mut ahead, 100, 8), []);
    assert_eq!(wrote(&mut ahead, 108, 9), [(4001, 100, 108, true), (4002, 108, 116, true)]);
}

#[test]
fn what_is_too_short_for_a_part_goes_with_the_first() {
    let mut ahead = Ahead::at(3 * MIB, EIGHT);
    assert_eq!(wrote(&mut ahead, 3, 14), [(1, 0, 8, false), (2, 8, 16, true)]);
}

#[test]
fn a_writer_who_stays_elsewhere_is_followed_until_the_first_part_has_left() {
    let mut ahead = Ahead::at(100 * MIB, EIGHT);
    assert_eq!(wrote(&mut ahead, 0, 1), []);
    assert_eq!(wrote(&mut ahead, 40, 7), []);
    assert_eq!(wrote(&mut ahead, 47, 3), [(4001, 40, 48, false)]);
    assert_eq!(wrote(&mut ahead, 100, 30), [], "one place is enough");
    assert_eq!(wrote(&mut ahead, 50, 6), [(4002, 48, 56, false)]);
}

#[test]
fn what_was_released_is_rescued_as_it_left() {
    let mut ahead = Ahead::at(0, EIGHT);
    assert_eq!(wrote(&mut ahead, 0, 40).len(), 5);
    (1..=4).for_each(|number| ahead.sent(number, Some(())));
    let second = ahead.releasable().next().expect("the first one stays");
    assert_eq!((second.start, second.end), (8 * MIB, 16 * MIB));
    ahead.released(second);
    assert_eq!(ahead.releasable().next().expect("the next").start, 16 * MIB);
    let mut released = RangeSet::default();
    released.insert(second);
    assert!(!ahead.is_overtaken(40 * MIB, &released) && ahead.is_overtaken(15 * MIB, &released));
    assert_eq!(wrote(&mut ahead, 9, 1), []);
    assert!(ahead.is_overtaken(40 * MIB, &released));
    ahead.sent(5, Some(()));
    let (start, rewritten) = ahead.into_rescue(&released);
    assert_eq!(
        start.parts.iter().map(|(part, _)| (part.number, part.current)).collect::<Vec<_>>(),
        [(1, true), (2, true)]
    );
    let rewritten: Vec<_> = rewritten.iter().map(|range| (range.start / MIB, range.end / MIB)).collect();
    assert_eq!(rewritten, [(9, 10)]);
}

#[test]
fn without_memory_the_part_goes_by_the_disk() {
    let mut ahead = Ahead::<()>::at(0, EIGHT);
    let small = Budget::new(4 * MIB);
    let ready = ahead.wrote(0, &vec![7; 9 << 20], &Memory::of(small.clone()));
    assert!(ready.len() == 1 && ready[0].held.is_none());
    assert_eq!(small.free_bytes(), small.total_bytes() - MIB, "what was held is given back");
}

#[test]
fn small_writes_pay_for_what_they_hold() {
    let budget = Budget::new(256 * MIB);
    let memory = Memory::of(budget.clone());
    let mut ahead = Ahead::<()>::at(0, EIGHT);
    for offset in 0..100_000 {
        assert!(ahead.wrote(offset, b"x", &memory).is_empty());
    }
    assert!(budget.total_bytes() - budget.free_bytes() < 300_000);
    let (range, held) = ahead.into_head_start().held.expect("it is in memory");
    let (bytes, _paid) = held.into_bytes();
    assert_eq!((range.len(), bytes.len()), (100_000, 100_000));
}
