//! Descriptions that S3 has yet to hear of: changed modes, owners and times of what lies there.
//!
//! S3 changes what an object says about itself by a copy of the object onto itself. `rsync`, `tar` and `cp -p` change
//! owner, times and mode one after the other, and then rename. So a change waits for a moment, and the next one to the
//! same name joins it; a rename takes it along in its own copy, a session for writing with its commit, a removal drops it.
//! What waits outranks the cache: whoever looks through this mount sees it at once.
//!
//! ```text
//!   chmod ──► waits ──┬─ after a second, fsync, unmount ──► copied onto itself
//!   utimens ──►┘      ├─ rename ──────────────────────────► goes along in the copy
//!                     ├─ open for writing ────────────────► goes along in the commit
//!                     └─ removed ─────────────────────────► nothing to be said any more
//! ```
//!
//! **A change that waits is promised.** It is written down in the staging directory, until S3 has it in whatever way
//! ([`promised`]), and one that a dead process left is made up for by the next mount ([`records`]). An error would come when nobody listens, so only what is known to be allowed
//! waits: this mount has written in the directory before, has had S3 copy in the bucket, and has heard of the version not
//! long ago. Everything else is said at once, and its error is the caller's. What is refused all the same is kept
//! ([`refused`]).
//!
//! **Nobody else's change is undone.** The copy is made of the version that was described. While one is under way, nobody
//! here may replace, rename or remove the object: who wants to calls [`Namespace::take_description`] and is made to wait.

mod journal;
mod promised;
mod records;
mod refused;
mod telling;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use self::journal::{Journal, Record};
pub use self::promised::Promise;
pub use self::records::left_descriptions;
use self::refused::Refusal;
pub use self::refused::RefusedDescription;
use super::cache::{Answer, Marker, Presence};
use super::{BucketId, Folder, Namespace, Place, Species, described};
use crate::error::Result;
use crate::name::FileName;
use crate::s3::object::STANDARD;
use crate::s3::{NewObject, ObjectMeta};

/// Descriptions that wait.
#[derive(Debug)]
pub(super) struct Descriptions {
    after: Duration,
    journal: Journal,
    /// What a dead process has left, and nobody has dealt with yet. Taken alone.
    left: Mutex<Vec<Record>>,
    /// Taken alone.
    state: Mutex<State>,
    heard: Heard,
}

/// Who is to hear that S3 has been told, and what it calls the version now.
type OnDescribed = Box<dyn Fn(&Place, &ObjectMeta) + Send + Sync>;

#[derive(Default)]
struct Heard(std::sync::OnceLock<OnDescribed>);

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Heard")
    }
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<Subject, Waiting>,
    revisions: u64,
    /// Buckets in which S3 has copied something for this mount.
    copied: HashSet<BucketId>,
    /// Directories that this mount has written in.
    written: HashSet<Folder>,
}

/// What is described: a file, or a directory by its marker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Subject {
    place: Place,
    species: Species,
}

#[derive(Debug, Clone)]
struct Waiting {
    /// The version in S3, with what it shall say about itself.
    meta: ObjectMeta,
    /// Another one after each change.
    revision: u64,
    /// That S3 has refused it, if it has.
    refusal: Option<Refusal>,
    /// Held while S3 is being told.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// A description that was taken out, for whoever brings it to S3 in another way.
#[derive(Debug)]
#[must_use = "what is dropped is never told"]
pub struct Taken {
    subject: Subject,
    meta: ObjectMeta,
    refusal: Option<Refusal>,
}

impl Taken {
    /// The version, with what it shall say about itself.
    pub fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
}

impl Descriptions {
    /// None yet. They wait so long, and are written down in that directory.
    pub(super) fn new(after: Duration, directory: Option<PathBuf>) -> Self {
        let (left, state, heard) = Default::default();
        Self { after, journal: Journal::new(directory), left, state, heard }
    }

    /// The version of a file or a marker, with what it shall say about itself, where S3 has yet to hear of it.
    pub(super) fn of(&self, place: &Place, species: Species) -> Option<ObjectMeta> {
        let state = self.state.lock();
        if state.waiting.is_empty() {
            return None;
        }
        let subject = Subject { place: place.clone(), species };
        let waiting = state.waiting.get(&subject).filter(|waiting| waiting.refusal.is_none());
        waiting.map(|waiting| waiting.meta.clone())
    }

    /// A version was written. Whoever wrote it has taken what waited before, so what waits now was said after that, and is to
    /// be said of the new version.
    pub(super) fn outlives(&self, place: &Place, version: &ObjectMeta) {
        let subject = Subject { place: place.clone(), species: Species::File };
        if let Some(waiting) = self.state.lock().waiting.get_mut(&subject) {
            (waiting.meta.etag, waiting.meta.size) = (version.etag.clone(), version.size);
        }
    }

    /// S3 has copied something into a directory.
    pub(super) fn copied(&self, folder: &Folder) {
        self.state.lock().copied.insert(folder.bucket);
        self.written(folder);
    }

    /// Something was written in a directory, so more may be.
    pub(super) fn written(&self, folder: &Folder) {
        let mut state = self.state.lock();
        if !state.written.contains(folder) {
            if state.written.len() >= WRITTEN_MAX {
                state.written.clear();
            }
            state.written.insert(folder.clone());
        }
    }
}

impl Namespace {
    /// Names who is to hear when S3 has been told of a file's description.
    pub fn notify_described(&self, on_described: OnDescribed) {
        // The first one stays; a namespace is mounted once.
        let _already_named = self.descriptions.heard.0.set(on_described).is_err();
    }

    /// Changes what a file or a directory says about itself: soon where that is sure to be allowed, else at once.
    ///
    /// Returns the version with its description.
    ///
    /// # Errors
    /// [`Kind::Changed`](crate::error::Kind::Changed) when somebody replaced the object meanwhile, and others of S3; of a change that waits, the log
    /// hears.
    pub async fn describe_as(
        self: &Arc<Self>,
        place: &Place,
        species: Species,
        meta: Option<&ObjectMeta>,
        new: &NewObject,
    ) -> Result<ObjectMeta> {
        self.ensure_writable(place.folder.bucket)?;
        let subject = Subject { place: place.clone(), species };
        match meta {
            Some(meta) if self.may_wait(&subject, meta, new) => self.describe_soon(subject, meta, new),
            _ => {
                // Whatever waits is part of what is said now.
                let taken = self.take(&subject).await;
                let told = self.tell(&subject, meta, new).await;
                if let (Ok(_), Species::Directory) = (&told, species) {
                    self.times_are_told(place);
                }
                if told.is_ok() {
                    // Of a promise, too: this is what was set last.
                    self.forget_record(&subject);
                }
                self.put_back_unless(told.is_ok(), taken);
                told
            }
        }
    }

    /// Takes out what waits to be said about a file, after waiting for what is being said. From then on it is the
    /// caller's to bring to S3, or to [`put back`](Self::put_back).
    pub async fn take_description(&self, place: &Place, species: Species) -> Option<Taken> {
        self.take(&Subject { place: place.clone(), species }).await
    }

    /// What was taken out could not be brought to S3, and waits on.
    pub fn put_back(self: &Arc<Self>, taken: Option<Taken>) {
        self.put_back_unless(false, taken);
    }

    /// Tells S3 what waits to be said about a name.
    ///
    /// # Errors
    /// Those of S3.
    pub async fn tell_description(self: &Arc<Self>, place: &Place) -> Result<()> {
        for species in [Species::File, Species::Directory] {
            self.bring(&Subject { place: place.clone(), species }).await?;
        }
        Ok(())
    }

    /// Tells S3 what waits to be said about a directory and all below it.
    ///
    /// # Errors
    /// The first of S3.
    pub async fn tell_descriptions_below(self: &Arc<Self>, folder: &Folder) -> Result<()> {
        self.bring_all(|at| at.bucket == folder.bucket && folder.prefix.contains(&at.prefix)).await
    }

    /// Tells S3 all that waits.
    ///
    /// # Errors
    /// The first of S3.
    pub async fn tell_descriptions(self: &Arc<Self>) -> Result<()> {
        self.bring_all(|_| true).await
    }

    /// A version with what this mount has said about it, and S3 has yet to hear.
    pub(super) fn as_described(&self, place: &Place, meta: ObjectMeta) -> ObjectMeta {
        match self.descriptions.of(place, Species::File) {
            Some(described) if described.etag == meta.etag => described,
            _ => meta,
        }
    }

    /// S3 has copied something into a directory, at the wish of somebody else.
    pub fn has_copied(&self, folder: &Folder) {
        self.descriptions.copied(folder);
    }

    /// Whether a change of what a file says about itself may wait.
    pub fn may_describe_later(&self, place: &Place) -> bool {
        let state = self.descriptions.state.lock();
        state.copied.contains(&place.folder.bucket)
            && state.written.contains(&place.folder)
            && state.waiting.len() < WAITING_MAX
    }

    /// How long a change waits.
    pub fn description_delay(&self) -> Duration {
        self.descriptions.after
    }

    fn may_wait(&self, subject: &Subject, meta: &ObjectMeta, new: &NewObject) -> bool {
        let is_there = self.is_there(subject, meta);
        let state = self.descriptions.state.lock();
        let media_type = meta.details.as_ref().map(|details| &details.content_type);
        // Another class or media type may be refused, and is worth an answer.
        let class = |class: &Option<String>| class.clone().unwrap_or_else(|| STANDARD.to_owned());
        let is_same_class = class(&meta.storage_class) == class(&new.storage_class);
        let is_plain = is_same_class && media_type == Some(&new.content_type);
        let bucket = subject.place.folder.bucket;
        let is_allowed = match subject.species {
            Species::File => state.copied.contains(&bucket),
            // A marker is written like any file.
            Species::Directory => true,
        };
        is_plain
            && is_allowed
            && state.written.contains(&subject.place.folder)
            && state.waiting.len() < WAITING_MAX
            && is_there
    }

    /// Whether, by what was heard of it not long ago, a file is there in this version. Who has it open may have heard
    /// of it long ago. (A marker is written whether or not there is one.)
    fn is_there(&self, subject: &Subject, meta: &ObjectMeta) -> bool {
        let Subject { place, species } = subject;
        let is_same =
            |answer: Answer| matches!(answer.presence, Presence::File(now) if now.etag == meta.etag);
        *species == Species::Directory || self.cache.answer(&place.folder, &place.name).is_some_and(is_same)
    }

    fn describe_soon(
        self: &Arc<Self>,
        subject: Subject,
        meta: &ObjectMeta,
        new: &NewObject,
    ) -> Result<ObjectMeta> {
        let meta =
            ObjectMeta { last_modified: meta.last_modified, ..described(meta.etag.clone(), meta.size, new) };
        let record = self.record(&subject, &meta)?;
        self.descriptions.journal.put(&record)?;
        if subject.species == Species::Directory {
            self.times_are_told(&subject.place);
        }
        self.insert(subject, meta.clone());
        Ok(meta)
    }

    /// What a directory says about itself counts from now on.
    fn times_are_told(&self, place: &Place) {
        if let Ok(folder) = place.folder.folder(&place.name) {
            self.touched.lock().forget(&folder);
        }
    }

    /// Lets a description wait, and sees to it that it is told in the end.
    fn insert(self: &Arc<Self>, subject: Subject, meta: ObjectMeta) {
        self.wait_for_its_turn(&subject, meta, None);
        self.bring_after(subject, self.descriptions.after);
    }

    fn wait_for_its_turn(&self, subject: &Subject, meta: ObjectMeta, refusal: Option<Refusal>) {
        let mut state = self.descriptions.state.lock();
        state.revisions += 1;
        let revision = state.revisions;
        let turn = state.waiting.get(subject).map(|waiting| Arc::clone(&waiting.turn));
        let turn = turn.unwrap_or_default();
        state.waiting.insert(subject.clone(), Waiting { meta, revision, refusal, turn });
    }

    fn bring_after(self: &Arc<Self>, subject: Subject, after: Duration) {
        let namespace = Arc::clone(self);
        drop(self.tasks.spawn_until_stopped("describe later", async move {
            tokio::time::sleep(after).await;
            let telling = Arc::clone(&namespace);
            // A task of its own: once it has begun it goes on to its end. Whether it failed has been logged.
            drop(namespace.tasks.spawn("describe", async move { telling.bring(&subject).await.is_ok() }));
        }));
    }

    async fn take(&self, subject: &Subject) -> Option<Taken> {
        loop {
            let turn = self.descriptions.state.lock().waiting.get(subject).map(|at| Arc::clone(&at.turn))?;
            let _turn = turn.lock().await;
            let mut state = self.descriptions.state.lock();
            match state.waiting.get(subject) {
                // It was told meanwhile, and another one has come.
                Some(waiting) if !Arc::ptr_eq(&waiting.turn, &turn) => {}
                None => return None,
                Some(_) => {
                    let waiting = state.waiting.remove(subject)?;
                    let (meta, refusal) = (waiting.meta, waiting.refusal);
                    return Some(Taken { subject: subject.clone(), meta, refusal });
                }
            }
        }
    }

    /// What was taken is in S3, or waits again. (Until then its record stays, for the next mount.)
    pub(super) fn put_back_unless(self: &Arc<Self>, is_told: bool, taken: Option<Taken>) {
        let Some(Taken { subject, meta, refusal }) = taken else { return };
        match is_told {
            true => self.forget_record(&subject),
            false => {
                self.wait_for_its_turn(&subject, meta, refusal);
                self.bring_after(subject, self.descriptions.after);
            }
        }
    }

    /// What was taken has become another's to bring to S3, or there is nothing it could be said of.
    pub fn description_settled(&self, taken: Option<Taken>) {
        if let Some(Taken { subject, .. }) = taken {
            self.forget_record(&subject);
        }
    }

    /// What memory says of a name by what waits to be said about it.
    pub(super) fn waiting_answer(&self, folder: &Folder, name: &FileName) -> Option<Answer> {
        if self.descriptions.state.lock().waiting.is_empty() {
            return None;
        }
        let place = Place { folder: folder.clone(), name: name.clone() };
        let asked = Instant::now();
        let of = |species| self.descriptions.of(&place, species);
        let directory =
            of(Species::Directory).map(|meta| Presence::Directory(Marker::Present { meta, asked }));
        let presence = directory.or_else(|| of(Species::File).map(Presence::File))?;
        Some(Answer { presence, asked })
    }
}

/// What a version says about itself, for the request that has it say so.
pub fn said(meta: &ObjectMeta) -> NewObject {
    let details = meta.details.as_deref().cloned().unwrap_or_default();
    NewObject {
        user: details.user,
        content_type: details.content_type,
        storage_class: meta.storage_class.clone(),
    }
}

/// The folder of the [journal](super::Options::journal) that they are written down in.
pub(super) const FOLDER: &str = "descriptions";

/// Beyond so many they do not wait: whoever changes faster than S3 takes it, waits for S3.
const WAITING_MAX: usize = 10_000;

/// Directories of which it is remembered that this mount may write in them.
const WRITTEN_MAX: usize = 10_000;
