//! Which names of a directory will be asked about next: a pure function of those that were.
//!
//! The kernel asks about one name at a time and waits for the answer, so whoever walks through a
//! directory by name pays a round trip for each, unless somebody was there before them:
//!
//! | what was asked | what follows |
//! | --- | --- |
//! | a few names of a directory that is not known whole ([`ASKED_MIN`]) | it is listed in the background ([`Next::Sweep`]), as far as interest lasts |
//! | all names, because files are opened one after the other ([`wants_names`](Interest::wants_names)) | the same listing, as far as is wanted |
//! | names that follow each other, of a directory that is known, but not their attributes | those of the next few are asked for at once ([`Next::Describe`]), twice as many each time |
//! | one name, or names here and there | nothing: it may have been all |
//!
//! A listing costs as much as a dozen questions, so it is owed only to whoever asks many: a sweep may fetch
//! [`PAGES_PER_NAME`] pages for each name that was asked for, and rests for a multiple of the time that it took.

use std::time::Duration;

use tokio::time::Instant;

use crate::name::FileName;

/// What was asked lately about one directory.
#[derive(Debug, Default)]
pub(super) struct Interest {
    /// Names asked for since `since`, each at the cost of a request.
    asked: u32,
    since: Option<Instant>,
    /// Pages that somebody wants whatever was asked.
    wanted_pages: u32,
    sweep: Sweep,
    run: Option<Run>,
}

/// Names that were asked about one after the other.
#[derive(Debug)]
struct Run {
    /// The one that was asked about last.
    from: FileName,
    /// The last one that was asked about ahead.
    until: FileName,
    /// How many were.
    ahead: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Sweep {
    #[default]
    None,
    UnderWay {
        began: Instant,
    },
    /// Not to be repeated before then.
    RestsUntil(Instant),
}

/// What to do beside answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// List the directory.
    Sweep,
    /// Ask about so many of the names that follow.
    Describe(usize),
}

impl Interest {
    /// A name was asked about, of which nothing was known.
    pub(super) fn in_unknown(&mut self, now: Instant) -> Next {
        if self.since.is_none_or(|since| since + INTEREST <= now) {
            (self.asked, self.since) = (0, Some(now));
        }
        self.asked = self.asked.saturating_add(1);
        if self.asked < ASKED_MIN { Next::Nothing } else { self.begin(now) }
    }

    /// All names are wanted, if they are in so many pages of a listing.
    pub(super) fn wants_names(&mut self, now: Instant, pages: u32) -> Next {
        self.wanted_pages = self.wanted_pages.max(pages);
        self.begin(now)
    }

    fn begin(&mut self, now: Instant) -> Next {
        let may_begin = match self.sweep {
            Sweep::None => true,
            Sweep::UnderWay { .. } => false,
            Sweep::RestsUntil(until) => until <= now,
        };
        if !may_begin {
            return Next::Nothing;
        }
        self.sweep = Sweep::UnderWay { began: now };
        Next::Sweep
    }

    /// Whether a sweep is under way.
    pub(super) fn is_sweeping(&self) -> bool {
        matches!(self.sweep, Sweep::UnderWay { .. })
    }

    /// Whether interest lasts for another page, after so many.
    pub(super) fn justifies(&self, pages: u32) -> bool {
        pages < self.asked.saturating_mul(PAGES_PER_NAME).max(self.wanted_pages)
    }

    /// Whether names were asked about one by one, so that their attributes will be, too.
    pub(super) fn is_in_attributes(&self) -> bool {
        self.asked >= ASKED_MIN
    }

    /// The sweep has ended, or interest in it has.
    pub(super) fn swept(&mut self, now: Instant) {
        self.wanted_pages = 0;
        if let Sweep::UnderWay { began } = self.sweep {
            self.sweep = Sweep::RestsUntil(now + (now - began) * REST_FACTOR);
        }
    }

    /// The directory could not be listed.
    pub(super) fn sweep_failed(&mut self, now: Instant) {
        self.wanted_pages = 0;
        self.sweep = Sweep::RestsUntil(now + REST_AFTER_FAILURE);
    }

    /// A listed name was asked about, whose attributes are not known; `before` comes right before it.
    pub(super) fn in_listed(&mut self, name: &FileName, before: Option<&FileName>) -> Next {
        let ahead = match &self.run {
            // Somebody else asks about it already.
            Some(run) if run.from < *name && *name <= run.until => return Next::Nothing,
            Some(run) if Some(&run.until) == before => (run.ahead * 2).clamp(AHEAD_FIRST, AHEAD_MAX),
            _ => 0,
        };
        self.run = Some(Run { from: name.clone(), until: name.clone(), ahead });
        if ahead == 0 { Next::Nothing } else { Next::Describe(ahead) }
    }

    /// The names that follow are being asked about, up to this one.
    pub(super) fn described_until(&mut self, name: &FileName) {
        if let Some(run) = &mut self.run {
            run.until = name.clone();
        }
    }
}

/// Names after which a directory is listed: two may be a file and its backup, three are a habit.
const ASKED_MIN: u32 = 3;

/// How long a name that was asked for counts.
const INTEREST: Duration = Duration::from_secs(10);

/// Pages of a thousand names that one question is worth.
const PAGES_PER_NAME: u32 = 4;

/// A directory of a hundred thousand takes seconds to list; it is not listed all the time.
const REST_FACTOR: u32 = 4;

/// What was refused is not asked for again and again.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(60);

const AHEAD_FIRST: usize = 8;

/// As many as are asked for at once: at 20 ms each, that is 3,200 a second.
const AHEAD_MAX: usize = 64;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn name(at: usize) -> FileName {
        FileName::parse(&format!("f{at:05}")).unwrap()
    }

    /// What follows when name number `at` is asked about.
    fn ask(interest: &mut Interest, at: usize) -> Next {
        let before = at.checked_sub(1).map(name);
        let next = interest.in_listed(&name(at), before.as_ref());
        if let Next::Describe(count) = next {
            interest.described_until(&name(at + count));
        }
        next
    }

    #[test]
    fn a_third_name_begins_a_sweep_and_no_second_one() {
        let (mut interest, now) = (Interest::default(), Instant::now());
        let nexts: Vec<_> = (0..5).map(|_| interest.in_unknown(now)).collect();
        assert_eq!(nexts, [Next::Nothing, Next::Nothing, Next::Sweep, Next::Nothing, Next::Nothing]);
    }

    #[test]
    fn names_asked_for_now_and_then_begin_none() {
        let (mut interest, now) = (Interest::default(), Instant::now());
        for at in 0..10 {
            assert_eq!(interest.in_unknown(now + INTEREST / 2 * at), Next::Nothing, "{at}");
        }
    }

    #[test]
    fn a_sweep_goes_as_far_as_it_is_asked_and_rests_after_it() {
        let (mut interest, began) = (Interest::default(), Instant::now());
        for _ in 0..ASKED_MIN {
            interest.in_unknown(began);
        }
        assert!(interest.justifies(ASKED_MIN * PAGES_PER_NAME - 1));
        assert!(!interest.justifies(ASKED_MIN * PAGES_PER_NAME));
        interest.in_unknown(began);
        assert!(interest.justifies(ASKED_MIN * PAGES_PER_NAME));
        let ended = began + Duration::from_secs(1);
        interest.swept(ended);
        assert_eq!(interest.in_unknown(ended + Duration::from_secs(3)), Next::Nothing);
        assert_eq!(interest.in_unknown(ended + Duration::from_secs(4)), Next::Sweep);
    }

    #[test]
    fn whoever_wants_all_names_shares_the_sweep_of_those_who_ask_for_some() {
        let (mut interest, now) = (Interest::default(), Instant::now());
        assert_eq!(interest.wants_names(now, 2), Next::Sweep);
        assert!(interest.justifies(1) && !interest.justifies(2) && !interest.is_in_attributes());
        assert_eq!(
            (0..ASKED_MIN).map(|_| interest.in_unknown(now)).max_by_key(|next| *next != Next::Nothing),
            Some(Next::Nothing)
        );
        assert!(interest.justifies(2) && interest.is_in_attributes());
        assert_eq!(interest.wants_names(now, 100), Next::Nothing);
        assert!(interest.justifies(99));
        interest.swept(now);
        assert!(!interest.justifies(99) && !interest.is_sweeping());
    }

    #[test]
    fn names_in_order_are_foreseen_ever_further() {
        let mut interest = Interest::default();
        let (mut at, mut seen) = (0, Vec::new());
        for _ in 0..8 {
            let next = ask(&mut interest, at);
            seen.push(next);
            at += 1 + if let Next::Describe(count) = next { count } else { 0 };
        }
        let foreseen = [8, 16, 32, 64, 64, 64, 64].map(Next::Describe);
        assert_eq!(seen, [&[Next::Nothing], &foreseen[..]].concat());
    }

    #[test]
    fn a_name_that_is_being_asked_about_changes_nothing() {
        let mut interest = Interest::default();
        for at in [0, 1, 3, 5, 2, 9] {
            ask(&mut interest, at);
        }
        assert_eq!(ask(&mut interest, 10), Next::Describe(16));
    }

    #[test]
    fn names_here_and_there_are_not_foreseen() {
        let mut interest = Interest::default();
        for at in [500, 3, 77, 5_000, 1, 900] {
            assert_eq!(ask(&mut interest, at), Next::Nothing, "{at}");
        }
    }
}
