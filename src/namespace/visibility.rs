//! What of a bucket can be listed, as far as its answers have told.
//!
//! S3 judges a listing by its prefix exactly as it is asked (`s3:prefix` in a policy's condition), and
//! a policy may allow any set of prefixes: all, none, `team/*`, or two by name. So a refusal says nothing
//! for sure about other prefixes, and yet asking for each of them again and again would cost a refused
//! request for every name that is looked up. What is made of the answers:
//!
//! - as long as nothing was refused, listings are asked for, beside the object ([`Outlook::Listable`]);
//! - what was allowed once is asked for until it is refused;
//! - everywhere else listings are doubtful: objects are asked for first, and a listing only if there are none.
//!   In each directory a good dozen names are tried so, then one a second. So a directory that may be listed is
//!   found, and a thousand new files do not cost a thousand refused listings;
//! - an answer that is the opposite of an earlier one to the same question shows that the policy was
//!   changed: all that was learnt under the old one is forgotten.
//!
//! Pure: it is told answers and the time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::name::DirPrefix;

/// What listings of one bucket came to.
#[derive(Debug, Default)]
pub(super) struct Visibility {
    /// When each was allowed last.
    allowed: HashMap<DirPrefix, Instant>,
    /// When each was refused last. Never in `allowed` too.
    refused: HashMap<DirPrefix, Instant>,
    /// Per directory, what was refused of the directories in it.
    doubts: HashMap<DirPrefix, Doubt>,
}

/// Listings of the directories in one directory, which were tried in vain.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    refusals: u32,
    last: Instant,
}

/// What to expect of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// Nothing speaks against it.
    Listable,
    /// Others like it were refused.
    Doubtful {
        /// Whether it is worth a request all the same.
        worth_trying: bool,
    },
}

/// What of a bucket can be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// Nobody has asked yet.
    Unknown,
    /// All that was asked for.
    Open,
    /// What lies below these prefixes, and not all else; the empty one is the whole bucket.
    Prefix(Vec<DirPrefix>),
    /// Nothing so far.
    Blind,
}

impl Visibility {
    /// What to expect of the listing of `directory`, which lies directly in `folder`.
    pub(super) fn outlook(&self, folder: &DirPrefix, directory: &DirPrefix, now: Instant) -> Outlook {
        if self.allowed.contains_key(directory) {
            return Outlook::Listable;
        }
        let doubt = self.doubts.get(folder);
        if self.refused.is_empty() || (doubt.is_none() && self.covers(directory)) {
            return Outlook::Listable;
        }
        let is_fresh = |asked: &Instant| now < *asked + REFUSAL_MEMORY;
        let was_refused = self.refused.get(directory).is_some_and(is_fresh);
        let has_turn = doubt.is_none_or(|doubt| doubt.refusals < TRIES || doubt.last + TRY_PAUSE <= now);
        Outlook::Doubtful { worth_trying: has_turn && !was_refused }
    }

    /// Whether S3, refusing to say what is directly in `folder`, means that it is denied. Where listings are
    /// refused it may also mean that it is absent.
    pub(super) fn tells_absence(&self, folder: &DirPrefix) -> bool {
        self.refused.is_empty() || (self.covers(folder) && !self.doubts.contains_key(folder))
    }

    /// A listing was allowed. Returns whether that is news: it had been refused.
    pub(super) fn allowed(&mut self, at: &DirPrefix, now: Instant) -> bool {
        let is_change = self.refused.contains_key(at);
        if is_change {
            *self = Self::default();
        }
        self.allowed.insert(at.clone(), now);
        if self.allowed.len() > PREFIXES_MAX {
            let telling: HashSet<DirPrefix> = self.telling().cloned().collect();
            self.allowed.retain(|prefix, _| telling.contains(prefix));
            make_room(&mut self.allowed, |asked| *asked);
        }
        is_change
    }

    /// A listing was refused. Returns what was allowed above it and should be asked for again: either the policy
    /// speaks of both, or it was changed.
    pub(super) fn refused(&mut self, at: &DirPrefix, now: Instant) -> Option<DirPrefix> {
        if self.allowed.contains_key(at) {
            *self = Self::default();
        }
        self.refused.insert(at.clone(), now);
        make_room(&mut self.refused, |asked| *asked);
        if let Some(parent) = at.parent() {
            let doubt = self.doubts.entry(parent).or_insert(Doubt { refusals: 0, last: now });
            doubt.refusals = doubt.refusals.saturating_add(1);
            doubt.last = now;
            make_room(&mut self.doubts, |doubt| doubt.last);
        }
        let is_old =
            |above: &DirPrefix| self.allowed.get(above).is_some_and(|asked| *asked + TRY_PAUSE <= now);
        ancestors(at).find(is_old)
    }

    /// What to ask for again, to tell how things stand now: `root`, and what else was allowed, a few of them, unless
    /// it was asked for a moment ago.
    pub(super) fn outdated(&self, root: &DirPrefix, now: Instant) -> Vec<DirPrefix> {
        let allowed = self.telling().filter(|prefix| *prefix != root).take(OUTDATED_MAX);
        let is_outdated = |prefix: &&DirPrefix| {
            let asked = self.allowed.get(prefix).or_else(|| self.refused.get(prefix));
            asked.is_none_or(|asked| *asked + OUTDATED <= now)
        };
        std::iter::once(root).chain(allowed).filter(is_outdated).cloned().collect()
    }

    /// How things stand.
    pub(super) fn listing(&self) -> Listing {
        match (self.allowed.is_empty(), self.refused.is_empty()) {
            (true, true) => Listing::Unknown,
            (true, false) => Listing::Blind,
            (false, true) => Listing::Open,
            (false, false) => {
                let mut prefixes: Vec<DirPrefix> = self.telling().cloned().collect();
                prefixes.sort_unstable();
                Listing::Prefix(prefixes)
            }
        }
    }

    /// Whether it was allowed to list this, or something above it.
    fn covers(&self, prefix: &DirPrefix) -> bool {
        self.allowed.contains_key(prefix) || ancestors(prefix).any(|above| self.allowed.contains_key(&above))
    }

    /// What was allowed and does not follow from what was allowed above it.
    fn telling(&self) -> impl Iterator<Item = &DirPrefix> {
        let follows = |prefix: &DirPrefix| {
            prefix.parent().is_some_and(|parent| self.covers(&parent) && !self.doubts.contains_key(&parent))
        };
        self.allowed.keys().filter(move |prefix| !follows(prefix))
    }
}

/// The directories above one, nearest first.
fn ancestors(prefix: &DirPrefix) -> impl Iterator<Item = DirPrefix> {
    std::iter::successors(prefix.parent(), DirPrefix::parent)
}

/// Drops the older half of what is remembered, where it is too much.
fn make_room<T>(map: &mut HashMap<DirPrefix, T>, asked: impl Fn(&T) -> Instant) {
    if map.len() <= PREFIXES_MAX {
        return;
    }
    let mut times: Vec<Instant> = map.values().map(&asked).collect();
    let (_, middle, _) = times.select_nth_unstable(PREFIXES_MAX / 2);
    map.retain(|_, entry| asked(entry) > *middle);
}

/// How many names are tried in a directory in whose neighbourhood listings are refused, before it is one a second.
const TRIES: u32 = 16;

/// Who looks for a directory has time for that, and who makes many files gets by with a request a second more.
const TRY_PAUSE: Duration = Duration::from_secs(1);

/// How long the same listing is not tried again in vain. `readdir` always asks.
const REFUSAL_MEMORY: Duration = Duration::from_secs(30);

/// How old an answer may be for those who want to know how things stand.
const OUTDATED: Duration = Duration::from_secs(5);

/// How many other prefixes are asked for then.
const OUTDATED_MAX: usize = 8;

/// Prefixes remembered of each kind. Of more the oldest are forgotten, which costs requests.
const PREFIXES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    /// A bucket whose policy allows to list what `may_list` says, and how often it was asked.
    struct Bucket<'a> {
        may_list: Box<dyn Fn(&str) -> bool + 'a>,
        visibility: Visibility,
        now: Instant,
        asked: usize,
    }

    impl<'a> Bucket<'a> {
        fn new(may_list: impl Fn(&str) -> bool + 'a) -> Self {
            let may_list = Box::new(may_list);
            Self { may_list, visibility: Visibility::default(), now: Instant::now(), asked: 0 }
        }

        fn wait(&mut self, time: Duration) {
            self.now += time;
        }

        fn change(&mut self, may_list: impl Fn(&str) -> bool + 'a) {
            self.may_list = Box::new(may_list);
        }

        fn list(&mut self, at: &str) -> bool {
            let prefix = prefix(at);
            self.asked += 1;
            match (self.may_list)(prefix.as_str()) {
                true => {
                    self.visibility.allowed(&prefix, self.now);
                    true
                }
                false => {
                    if let Some(again) = self.visibility.refused(&prefix, self.now) {
                        self.list(again.as_str());
                    }
                    false
                }
            }
        }

        /// Looks up a name that is no object, and returns whether it was listed as a directory.
        fn look_up(&mut self, at: &str) -> bool {
            let directory = prefix(at);
            match self.visibility.outlook(&directory.parent().unwrap(), &directory, self.now) {
                Outlook::Listable | Outlook::Doubtful { worth_trying: true } => self.list(at),
                Outlook::Doubtful { worth_trying: false } => false,
            }
        }

        fn listing(&self) -> Listing {
            self.visibility.listing()
        }
    }

    fn prefix(text: &str) -> DirPrefix {
        DirPrefix::parse(text).unwrap()
    }

    fn prefixes(texts: &[&str]) -> Listing {
        Listing::Prefix(texts.iter().map(|text| prefix(text)).collect())
    }

    #[test]
    fn a_bucket_is_open_prefix_or_blind_by_its_answers() {
        let mut open = Bucket::new(|_| true);
        assert_eq!(open.listing(), Listing::Unknown);
        assert!(open.list("") && open.look_up("a") && open.look_up("a/b"));
        assert_eq!(open.listing(), Listing::Open);
        let mut part = Bucket::new(|at| at.starts_with("team/"));
        assert!(!part.list("") && !part.look_up("other") && part.look_up("team") && part.look_up("team/x/y"));
        assert_eq!(part.listing(), prefixes(&["team"]));
        let mut named = Bucket::new(|at| ["", "team/"].contains(&at));
        assert!(named.list("") && named.look_up("team") && !named.look_up("team/x") && !named.look_up("y"));
        assert!(named.look_up("team"));
        let mut blind = Bucket::new(|_| false);
        assert!(!blind.look_up("a"));
        assert_eq!(blind.listing(), Listing::Blind);
    }

    #[test]
    fn a_storm_of_lookups_in_a_blind_bucket_costs_a_listing_a_second() {
        let mut bucket = Bucket::new(|_| false);
        for file in 0..1000 {
            bucket.look_up(&format!("in/{file}"));
            bucket.wait(Duration::from_millis(10));
        }
        assert!(bucket.asked <= TRIES as usize + 11, "{}", bucket.asked);
        // Elsewhere in the bucket others look for something else meanwhile.
        bucket.change(|at| at.starts_with("team/"));
        assert!(bucket.look_up("team"));
    }

    #[test]
    fn the_same_name_is_not_tried_twice_in_vain_and_after_a_while_it_is() {
        let mut bucket = Bucket::new(|_| false);
        for _ in 0..3 {
            bucket.look_up("a");
        }
        assert_eq!(bucket.asked, 1);
        bucket.wait(REFUSAL_MEMORY);
        bucket.change(|_| true);
        assert!(bucket.look_up("a"));
        assert_eq!(bucket.listing(), Listing::Open);
    }

    #[test]
    fn what_was_allowed_is_asked_for_however_many_others_were_refused() {
        let mut bucket = Bucket::new(|at| at.starts_with("team/"));
        assert!(bucket.look_up("team"));
        for file in 0..100 {
            bucket.look_up(&format!("{file}"));
        }
        assert!(bucket.look_up("team") && bucket.look_up("team/x"));
        assert!(bucket.asked < 30, "{}", bucket.asked);
    }

    #[test]
    fn a_policy_that_was_narrowed_is_noticed_at_the_first_refusal() {
        let mut bucket = Bucket::new(|_| true);
        assert!(bucket.list("") && bucket.look_up("a"));
        bucket.wait(Duration::from_secs(60));
        bucket.change(|at| at.starts_with("team/"));
        assert!(!bucket.look_up("a"), "and what was allowed above is asked for again");
        assert_eq!(bucket.listing(), Listing::Blind);
        assert!(bucket.look_up("team"));
        assert_eq!(bucket.listing(), prefixes(&["team"]));
    }

    #[test]
    fn a_policy_that_was_widened_makes_the_bucket_open_again() {
        let mut bucket = Bucket::new(|_| false);
        assert!(!bucket.list("") && !bucket.look_up("a"));
        bucket.change(|_| true);
        assert!(bucket.list(""));
        assert_eq!(bucket.listing(), Listing::Open);
        assert_eq!(
            bucket.visibility.outlook(&prefix(""), &prefix("a"), bucket.now),
            Outlook::Listable,
            "what was learnt under the old policy is forgotten"
        );
    }

    #[test]
    fn a_refused_object_is_denied_where_listings_tell_what_is_absent() {
        let mut bucket = Bucket::new(|at| at.starts_with("team/"));
        assert!(bucket.visibility.tells_absence(&prefix("")), "nothing was refused yet");
        bucket.list("");
        bucket.list("team");
        assert!(!bucket.visibility.tells_absence(&prefix("")));
        assert!(bucket.visibility.tells_absence(&prefix("team")));
        assert!(bucket.visibility.tells_absence(&prefix("team/x")));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut bucket = Bucket::new(|at| at.starts_with("yes"));
        for file in 0..3 * PREFIXES_MAX {
            bucket.wait(Duration::from_millis(1));
            bucket.list(&format!("no/{file}/x"));
            bucket.list(&format!("yes/{file}"));
        }
        assert!(bucket.look_up(&format!("yes/{}", 3 * PREFIXES_MAX - 1)), "the latest are remembered");
        let Visibility { allowed, refused, doubts } = &bucket.visibility;
        assert!([allowed.len(), refused.len(), doubts.len()].into_iter().all(|count| count <= PREFIXES_MAX));
    }

    #[test]
    fn who_wants_to_know_asks_for_what_is_outdated() {
        let mut bucket = Bucket::new(|at| at.starts_with("team/"));
        assert_eq!(bucket.visibility.outdated(&prefix(""), bucket.now), [prefix("")]);
        bucket.list("");
        bucket.list("team");
        assert!(bucket.visibility.outdated(&prefix(""), bucket.now).is_empty());
        bucket.wait(OUTDATED);
        assert_eq!(bucket.visibility.outdated(&prefix(""), bucket.now), [prefix(""), prefix("team")]);
    }
}
