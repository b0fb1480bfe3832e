//! Directories that are being moved: how far each is, and what a death in the middle leaves to be done.
//!
//! A directory moves by a copy of every object in it and a deletion of every old one, which may take minutes. Meanwhile a
//! small record lies in the staging directory. The next mount reads it:
//!
//! | it died | it finds | it does |
//! | --- | --- | --- |
//! | among the copies | all of it at the old place, some at the new one | says so; nobody was told that it had moved |
//! | among the deletions | all of it at the new place, some at the old one | deletes the rest, in the background |
//!
//! What is deleted then is what this move had copied and nobody has written since: it is at the new place, with the
//! same size, and no younger than the youngest object that the move had found.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{BucketId, Folder, Namespace};
use crate::clock;
use crate::error::Result;
use crate::name::{DirPrefix, ObjectKey};
use crate::s3::ObjectMeta;

/// The moves that are under way.
#[derive(Debug)]
pub(super) struct Moves {
    directory: Option<PathBuf>,
    next: AtomicU64,
    under_way: Mutex<HashMap<u64, Arc<Progress>>>,
}

/// How far a move is.
#[derive(Debug)]
struct Progress {
    from: Folder,
    onto: Folder,
    objects: u64,
    copied: AtomicU64,
    deleted: AtomicU64,
}

/// How far the move of a directory is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveProgress {
    /// The bucket.
    pub bucket: BucketId,
    /// The old prefix.
    pub from: String,
    /// The new one.
    pub onto: String,
    /// Objects that move.
    pub objects: u64,
    /// Those that are at the new place.
    pub copied: u64,
    /// Those that have gone from the old one.
    pub deleted: u64,
}

/// A move that is under way. One that is dropped without an [end](Move::end) leaves its record to the next mount.
#[derive(Debug)]
pub(super) struct Move<'a> {
    moves: &'a Moves,
    id: u64,
    progress: Arc<Progress>,
    record: Record,
    has_ended: bool,
}

/// What is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    bucket: String,
    from: String,
    onto: String,
    phase: Phase,
    /// When the youngest of its objects was written, in seconds of the server's clock.
    youngest: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Copying,
    Deleting,
}

impl Moves {
    /// None yet. Their records go to that directory, and nowhere without one.
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, next: AtomicU64::new(0), under_way: Mutex::default() }
    }

    /// Begins a move of `objects`.
    ///
    /// # Errors
    /// Those of the local filesystem.
    pub(super) fn begin(
        &self,
        bucket: &str,
        (from, onto): (&Folder, &Folder),
        objects: &[(ObjectKey, ObjectMeta)],
    ) -> Result<Move<'_>> {
        let progress = Arc::new(Progress {
            from: from.clone(),
            onto: onto.clone(),
            objects: objects.len() as u64,
            copied: AtomicU64::new(0),
            deleted: AtomicU64::new(0),
        });
        let youngest = objects.iter().map(|(_, meta)| clock::to_unix(meta.last_modified).0).max();
        let record = Record {
            bucket: bucket.to_owned(),
            from: from.prefix.to_string(),
            onto: onto.prefix.to_string(),
            phase: Phase::Copying,
            youngest: youngest.unwrap_or_default(),
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let begun = Move { moves: self, id, progress, record, has_ended: false };
        begun.write()?;
        self.under_way.lock().insert(id, Arc::clone(&begun.progress));
        Ok(begun)
    }

    fn path(&self, record: &Record) -> Option<PathBuf> {
        let name: String = format!("{}_{}", record.bucket, record.from)
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .take(READABLE_CHARS_MAX)
            .collect();
        let mut hasher = DefaultHasher::new();
        (&record.bucket, &record.from, &record.onto).hash(&mut hasher);
        let mark = hasher.finish();
        Some(self.directory.as_ref()?.join(format!("{name}.{mark:016x}.json")))
    }

    fn leftovers(&self) -> Vec<(PathBuf, Record)> {
        let entries = self.directory.as_ref().and_then(|directory| fs::read_dir(directory).ok());
        let paths = entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let read = |path: PathBuf| {
            let record = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            Some((path, record))
        };
        paths.filter_map(read).collect()
    }
}

impl Move<'_> {
    /// One more object is at the new place.
    pub(super) fn copied(&self) {
        self.progress.copied.fetch_add(1, Ordering::Relaxed);
    }

    /// All objects are; what follows can be finished by anybody.
    ///
    /// # Errors
    /// Those of the local filesystem.
    pub(super) fn all_copied(&mut self) -> Result<()> {
        self.record.phase = Phase::Deleting;
        self.write()
    }

    /// So many more have gone from the old place.
    pub(super) fn deleted(&self, objects: usize) {
        self.progress.deleted.fetch_add(objects as u64, Ordering::Relaxed);
    }

    /// Nothing is left to be done, or whoever asked for it was told what is.
    pub(super) fn end(mut self) {
        self.has_ended = true;
    }

    fn write(&self) -> Result<()> {
        let Some(path) = self.moves.path(&self.record) else { return Ok(()) };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let aside = path.with_extension("unfinished");
        fs::write(&aside, serde_json::to_vec(&self.record).map_err(std::io::Error::other)?)?;
        Ok(fs::rename(aside, path)?)
    }
}

impl Drop for Move<'_> {
    fn drop(&mut self) {
        self.moves.under_way.lock().remove(&self.id);
        let path = self.moves.path(&self.record).filter(|_| self.has_ended);
        if let Some(Err(error)) = path.map(fs::remove_file) {
            tracing::debug!(%error, "the record of a move could not be removed");
        }
    }
}

impl Namespace {
    /// The directories that are being moved.
    pub fn moves_under_way(&self) -> Vec<MoveProgress> {
        let under_way = self.moves.under_way.lock();
        let mut shown: Vec<_> = under_way.iter().map(|(id, progress)| (*id, progress.shown())).collect();
        shown.sort_by_key(|(id, _)| *id);
        shown.into_iter().map(|(_, progress)| progress).collect()
    }

    /// Finishes the moves that a dead process has left, or says what became of them.
    pub(super) fn resume_moves(self: &Arc<Self>) {
        for (path, record) in self.moves.leftovers() {
            let Record { bucket, from, onto, phase, .. } = &record;
            match (phase, self.folder_of(bucket, from)) {
                (Phase::Deleting, Some(folder)) => {
                    let namespace = Arc::clone(self);
                    let record = record.clone();
                    drop(self.tasks.spawn_until_stopped("finish a move", async move {
                        match namespace.finish_move(&folder, &record).await {
                            Ok(objects) => {
                                let Record { bucket, from, onto, .. } = &record;
                                tracing::info!(bucket, from, onto, objects, "finished a move that an earlier mount had begun");
                                fs::remove_file(path).unwrap_or_default();
                            }
                            Err(error) => tracing::warn!(%error, from = record.from, "a move of an earlier mount could not be finished; the next mount tries again"),
                        }
                    }));
                }
                (Phase::Copying, _) => {
                    tracing::warn!(
                        bucket,
                        from,
                        onto,
                        "an earlier mount ended while it was moving this directory: all of it is at the old place, \
                         and some of it is at the new one, too"
                    );
                    fs::remove_file(path).unwrap_or_default();
                }
                (Phase::Deleting, None) => {
                    tracing::warn!(
                        bucket,
                        from,
                        onto,
                        "an earlier mount was moving this directory, which is not in this mount"
                    );
                }
            }
        }
    }

    /// Deletes what the move had copied and nobody has written since. Returns how many objects that were.
    async fn finish_move(&self, folder: &Folder, record: &Record) -> Result<usize> {
        let Some(onto) = self.folder_of(&record.bucket, &record.onto) else { return Ok(0) };
        let sizes: HashMap<ObjectKey, u64> =
            self.all_below(&onto).await?.into_iter().map(|(key, meta)| (key, meta.size)).collect();
        let is_moved = |key: &ObjectKey, meta: &ObjectMeta| {
            let moved = folder.prefix.rebase(key, &onto.prefix).and_then(|key| ObjectKey::parse(key).ok());
            let is_there = moved.and_then(|key| sizes.get(&key).copied()) == Some(meta.size);
            is_there && clock::to_unix(meta.last_modified).0 <= record.youngest
        };
        let left = self.all_below(folder).await?;
        let versions: Vec<_> = left
            .into_iter()
            .filter(|(key, meta)| is_moved(key, meta))
            .map(|(key, meta)| (key, meta.etag))
            .collect();
        let objects = versions.len();
        self.delete_all(folder, versions, |_| {}).await?;
        self.cache.drop_tree(folder);
        Ok(objects)
    }

    fn folder_of(&self, bucket: &str, prefix: &str) -> Option<Folder> {
        let at = self.buckets.iter().position(|at| at.gateway.bucket().as_str() == bucket)?;
        let prefix = DirPrefix::parse(prefix).ok()?;
        self.buckets[at]
            .root
            .contains(&prefix)
            .then_some(Folder { bucket: BucketId(u16::try_from(at).ok()?), prefix })
    }
}

impl Progress {
    fn shown(&self) -> MoveProgress {
        MoveProgress {
            bucket: self.from.bucket,
            from: self.from.prefix.to_string(),
            onto: self.onto.prefix.to_string(),
            objects: self.objects,
            copied: self.copied.load(Ordering::Relaxed),
            deleted: self.deleted.load(Ordering::Relaxed),
        }
    }
}

/// With what is added, a name stays below the 255 bytes that a directory entry holds.
const READABLE_CHARS_MAX: usize = 200;
