//! What S3 last told us about names, and until when.
//!
//! An answer may be wrong: someone else may have changed the bucket a moment ago. It may
//! therefore be dropped at any time, and dropping it only costs a request. Facts that S3 has
//! *not* heard yet are never cached here; see [`pending`](super::pending).
//!
//! Answers are kept directory by directory, because a listing answers for a directory as a
//! whole: when every page of it has been seen, a name that is not among them is absent, and
//! neither its presence nor its absence costs a request. Absence is believed for less than presence,
//! however it was learnt. A directory is dropped as a whole, too.
//!
//! Of two answers about one name the one that was *asked for* later counts. A page of a listing
//! that was under way while this mount wrote a file must not bring back what was there before.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Folder;
use super::interest::Interest;
use crate::name::FileName;
use crate::s3::ObjectMeta;

/// What is known to be in S3 under a name.
#[derive(Debug, Clone)]
pub enum Presence {
    /// An object of that key.
    File(ObjectMeta),
    /// Keys below that prefix, or a marker for it.
    Directory(Marker),
    /// Neither.
    Absent,
    /// Neither, as far as can be seen: S3 would not say, as it does not to those who may not list. So whatever is
    /// made there must not replace anything.
    Unseen,
}

impl Presence {
    /// Whether nothing is there, be that certain or not.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Absent | Self::Unseen)
    }
}

/// What is known of a directory's marker object, which carries its attributes.
#[derive(Debug, Clone)]
pub enum Marker {
    /// Nobody asked; a listing of the parent does not tell.
    Unasked,
    /// There is none: the directory follows from what is in it.
    Missing {
        /// When S3 was asked.
        asked: Instant,
    },
    /// There is one.
    Present {
        /// Its description.
        meta: ObjectMeta,
        /// When S3 was asked.
        asked: Instant,
    },
}

impl Marker {
    /// Whether it is known since no earlier than `lifetime` before `now` if there is one.
    pub fn is_known(&self, now: Instant, lifetime: Duration) -> bool {
        match self {
            Self::Unasked => false,
            Self::Missing { asked } | Self::Present { asked, .. } => now < *asked + lifetime,
        }
    }
}

/// A presence with the moment S3 was asked for it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What S3 said.
    pub presence: Presence,
    /// When it was asked.
    pub asked: Instant,
}

/// Answers about many directories, bounded in number and in age.
#[derive(Debug)]
pub struct MetadataCache {
    directories: Cache<Folder, Arc<Mutex<Known>>>,
    lifetimes: Lifetimes,
}

/// How long answers are believed.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// What is there, and what a listing as a whole says.
    pub present: Duration,
    /// That one name is absent. Shorter, because people wait for files that others are to bring.
    pub absent: Duration,
}

impl Lifetimes {
    fn of(&self, presence: &Presence) -> Duration {
        match presence {
            Presence::File(_) | Presence::Directory(_) => self.present,
            Presence::Absent | Presence::Unseen => self.absent,
        }
    }
}

/// What is known of one directory.
#[derive(Debug, Default)]
pub struct Known {
    names: BTreeMap<FileName, Answer>,
    /// Since when all names are known; `None` while they are not.
    whole: Option<Whole>,
    /// What was asked about it lately.
    pub(super) interest: Interest,
    /// Closes when the last sweep has ended, however it did.
    pub(super) sweep: Option<watch::Receiver<()>>,
    /// How many objects were looked at for attributes of ours, and how many had any.
    attributes: AttributeCensus,
}

/// How a directory came to be known whole.
#[derive(Debug, Clone, Copy)]
struct Whole {
    since: Instant,
    /// It was made by this mount, so that nobody else is likely to know of it yet. Files that are made in it
    /// need not be looked for one by one, as their commits guard their names.
    is_ours: bool,
}

/// Whether the objects of a directory carry attributes (mode, owner, times) in their metadata.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttributeCensus {
    /// Objects looked at.
    pub looked_at: u32,
    /// Objects that carried some.
    pub carried: u32,
}

impl AttributeCensus {
    /// Whether so many were looked at in vain that a listing may answer for the rest.
    pub fn none_to_be_expected(self) -> bool {
        self.carried == 0 && self.looked_at >= CENSUS_OBJECTS
    }
}

impl MetadataCache {
    /// Returns an empty cache whose answers live that long after they were asked for.
    pub fn new(lifetimes: Lifetimes) -> Self {
        Self {
            directories: Cache::builder()
                .max_capacity(DIRECTORIES_MAX)
                // Long enough that the census of a directory in use survives its answers.
                .time_to_idle(lifetimes.present * 2 + Duration::from_secs(600))
                .build(),
            lifetimes,
        }
    }

    /// What is known of one directory; the same `Known` for everyone until it is dropped.
    pub fn directory(&self, folder: &Folder) -> Arc<Mutex<Known>> {
        self.directories.get_with_by_ref(folder, Arc::default)
    }

    /// The live answer about a name, if there is one.
    pub fn answer(&self, folder: &Folder, name: &FileName) -> Option<Answer> {
        let known = self.directories.get(folder)?;
        let known = known.lock();
        known.answer(name, Instant::now(), &self.lifetimes)
    }

    /// Remembers an answer.
    pub fn learn(&self, folder: &Folder, name: &FileName, answer: Answer) {
        self.directory(folder).lock().learn(name, answer);
    }

    /// All live entries of a directory whose every name is known, in order, absent ones left out.
    pub fn listing(&self, folder: &Folder) -> Option<Vec<(FileName, Answer)>> {
        let known = self.directories.get(folder)?;
        let known = known.lock();
        known.listing(Instant::now(), self.lifetimes.present)
    }

    /// Whether `known` is still what everyone sees and learns into.
    pub fn holds(&self, folder: &Folder, known: &Arc<Mutex<Known>>) -> bool {
        self.directories.get(folder).is_some_and(|held| Arc::ptr_eq(&held, known))
    }

    /// Drops everything about a directory and all below it.
    pub fn drop_tree(&self, folder: &Folder) {
        let below: Vec<Arc<Folder>> = self
            .directories
            .iter()
            .map(|(at, _)| at)
            .filter(|at| at.bucket == folder.bucket && folder.prefix.contains(&at.prefix))
            .collect();
        for at in below {
            self.directories.invalidate(&*at);
        }
    }

    /// How long an answer that something is there is believed.
    pub fn lifetime(&self) -> Duration {
        self.lifetimes.present
    }

    /// How much longer an answer may be given.
    pub fn lifetime_left(&self, answer: &Answer) -> Duration {
        let until = answer.asked + self.lifetimes.of(&answer.presence);
        until.saturating_duration_since(Instant::now())
    }
}

impl Known {
    /// Remembers an answer unless a later one is known.
    pub fn learn(&mut self, name: &FileName, answer: Answer) {
        if self.names.get(name).is_some_and(|held| held.asked > answer.asked) {
            return;
        }
        self.count_attributes(&answer.presence);
        if self.names.len() >= NAMES_MAX && !self.names.contains_key(name) {
            // Too large to be known whole. Start over, and do not claim to know all.
            self.names.clear();
            self.whole = None;
        }
        self.names.insert(name.clone(), answer);
    }

    /// Remembers an entry of a listing, which knows less than a description learnt before it.
    ///
    /// A file's details stay where version and time are the same (a change of attributes alone
    /// keeps the ETag); what is known of a marker stays, with the moment it was asked for.
    pub fn learn_listed(&mut self, name: &FileName, mut answer: Answer) {
        let held = self.names.get(name).map(|held| &held.presence);
        match (held, &mut answer.presence) {
            (Some(Presence::File(described)), Presence::File(listed)) if same_object(described, listed) => {
                listed.details.clone_from(&described.details);
            }
            (Some(Presence::Directory(described)), Presence::Directory(listed)) => {
                listed.clone_from(described);
            }
            _ => {}
        }
        self.learn(name, answer);
    }

    /// Notes that since `asked` every name was told; those not asked for since are absent.
    pub fn all_names_told(&mut self, asked: Instant) {
        self.names.retain(|_, answer| answer.asked >= asked);
        self.whole = Some(Whole { since: asked, is_ours: false });
    }

    /// Notes that there is nothing in this directory, because it was made a moment ago.
    pub fn made_empty(&mut self, now: Instant) {
        self.names.clear();
        self.whole = Some(Whole { since: now, is_ours: true });
    }

    /// Drops what is known of one name; absence by way of a listing is dropped with it.
    pub fn drop_name(&mut self, name: &FileName) {
        self.names.remove(name);
        self.whole = None;
    }

    /// The census of attributes in this directory.
    pub fn census(&self) -> AttributeCensus {
        self.attributes
    }

    fn answer(&self, name: &FileName, now: Instant, lifetimes: &Lifetimes) -> Option<Answer> {
        match self.names.get(name) {
            Some(answer) => (now < answer.asked + lifetimes.of(&answer.presence)).then(|| answer.clone()),
            None => {
                let Whole { since: asked, is_ours } = self.whole?;
                let lifetime = if is_ours { lifetimes.present } else { lifetimes.absent };
                (now < asked + lifetime).then_some(Answer { presence: Presence::Absent, asked })
            }
        }
    }

    fn listing(&self, now: Instant, lifetime: Duration) -> Option<Vec<(FileName, Answer)>> {
        self.whole.filter(|whole| now < whole.since + lifetime)?;
        let present = |(_, answer): &(&FileName, &Answer)| !answer.presence.is_nothing();
        Some(self.names.iter().filter(present).map(|(name, answer)| (name.clone(), answer.clone())).collect())
    }

    /// The name that comes right before this one.
    pub(super) fn before(&self, name: &FileName) -> Option<&FileName> {
        self.names
            .range::<FileName, _>((Bound::Unbounded, Bound::Excluded(name)))
            .next_back()
            .map(|(name, _)| name)
    }

    /// The next names after this one, in their order.
    pub(super) fn after(&self, name: &FileName, count: usize) -> Vec<FileName> {
        let after = self.names.range::<FileName, _>((Bound::Excluded(name), Bound::Unbounded));
        after.map(|(name, _)| name.clone()).take(count).collect()
    }

    fn count_attributes(&mut self, presence: &Presence) {
        let Presence::File(ObjectMeta { details: Some(details), .. }) = presence else { return };
        self.attributes.looked_at += 1;
        self.attributes.carried +=
            u32::from(details.user.contains_key("mode") || details.user.contains_key("mtime"));
    }
}

/// Whether two descriptions are of one object. HEAD tells times in seconds, LIST in milliseconds.
fn same_object(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    let second = |meta: &ObjectMeta| crate::clock::to_unix(meta.last_modified).0;
    a.etag == b.etag && second(a) == second(b)
}

/// Directories remembered at once.
const DIRECTORIES_MAX: u64 = 20_000;

/// Names remembered of one directory: about 200 MB of them.
const NAMES_MAX: usize = 1_000_000;

/// Objects without attributes after which the others are believed to have none either.
pub(super) const CENSUS_OBJECTS: u32 = 100;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::super::BucketId;
    use super::*;
    use crate::name::DirPrefix;
    use crate::s3::ETag;

    const LIFETIME: Duration = Duration::from_secs(60);
    const LIFETIMES: Lifetimes = Lifetimes { present: LIFETIME, absent: Duration::from_secs(5) };

    fn folder(prefix: &str) -> Folder {
        Folder { bucket: BucketId(0), prefix: DirPrefix::parse(prefix).unwrap() }
    }

    fn name(text: &str) -> FileName {
        FileName::parse(text).unwrap()
    }

    fn file(etag: &str, asked: Instant) -> Answer {
        let meta = ObjectMeta {
            etag: ETag::new(etag),
            size: 1,
            last_modified: std::time::SystemTime::UNIX_EPOCH,
            storage_class: None,
            details: None,
        };
        Answer { presence: Presence::File(meta), asked }
    }

    fn etag(cache: &MetadataCache, at: &str) -> Option<String> {
        match cache.answer(&folder("d"), &name(at))?.presence {
            Presence::File(meta) => Some(meta.etag.as_str().to_owned()),
            Presence::Directory(_) => Some("directory".into()),
            Presence::Absent | Presence::Unseen => Some("absent".into()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_lives_for_its_lifetime_and_no_longer() {
        let cache = MetadataCache::new(LIFETIMES);
        cache.learn(&folder("d"), &name("f"), file("1", Instant::now()));
        tokio::time::advance(LIFETIME - Duration::from_millis(1)).await;
        assert_eq!(etag(&cache, "f").as_deref(), Some("\"1\""));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(etag(&cache, "f"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_absence_of_one_name_is_believed_for_less() {
        let cache = MetadataCache::new(LIFETIMES);
        let absent = Answer { presence: Presence::Absent, asked: Instant::now() };
        cache.learn(&folder("d"), &name("f"), absent);
        assert_eq!(etag(&cache, "f").as_deref(), Some("absent"));
        tokio::time::advance(LIFETIMES.absent).await;
        assert_eq!(etag(&cache, "f"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_complete_listing_answers_for_absence_too() {
        let cache = MetadataCache::new(LIFETIMES);
        let asked = Instant::now();
        let known = cache.directory(&folder("d"));
        known.lock().learn_listed(&name("f"), file("1", asked));
        assert_eq!(etag(&cache, "g"), None);
        known.lock().all_names_told(asked);
        assert_eq!(etag(&cache, "g").as_deref(), Some("absent"));
        tokio::time::advance(LIFETIMES.absent).await;
        assert_eq!(etag(&cache, "g"), None, "somebody may have brought it");
        assert_eq!(etag(&cache, "f").as_deref(), Some("\"1\""));
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_directory_of_our_own_making_absence_lives_as_long_as_presence() {
        let cache = MetadataCache::new(LIFETIMES);
        cache.directory(&folder("d")).lock().made_empty(Instant::now());
        tokio::time::advance(LIFETIME - Duration::from_millis(1)).await;
        assert_eq!(etag(&cache, "f").as_deref(), Some("absent"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(etag(&cache, "f"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_under_way_does_not_undo_what_was_written_meanwhile() {
        let cache = MetadataCache::new(LIFETIMES);
        let asked = Instant::now();
        tokio::time::advance(Duration::from_millis(5)).await;
        cache.learn(&folder("d"), &name("new"), file("2", Instant::now()));
        let gone = Answer { presence: Presence::Absent, asked: Instant::now() };
        cache.learn(&folder("d"), &name("gone"), gone);
        let known = cache.directory(&folder("d"));
        known.lock().learn_listed(&name("new"), file("1", asked));
        known.lock().learn_listed(&name("gone"), file("1", asked));
        known.lock().all_names_told(asked);
        assert_eq!(etag(&cache, "new").as_deref(), Some("\"2\""));
        assert_eq!(etag(&cache, "gone").as_deref(), Some("absent"));
    }

    #[tokio::test]
    async fn dropping_a_tree_leaves_its_neighbours() {
        let cache = MetadataCache::new(LIFETIMES);
        for at in ["a", "a/b", "ab"] {
            cache.learn(&folder(at), &name("f"), file("1", Instant::now()));
        }
        cache.drop_tree(&folder("a"));
        let kept = ["a", "a/b", "ab"].map(|at| cache.answer(&folder(at), &name("f")).is_some());
        assert_eq!(kept, [false, false, true]);
    }
}
