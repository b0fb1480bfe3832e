//! Moving names: a copy, then a deletion, and what each failure leaves behind.
//!
//! S3 cannot rename. A move copies every object to its new key, and only when all copies are
//! there deletes the old ones:
//!
//! | it fails | it leaves |
//! | --- | --- |
//! | before the first copy (no right to delete, target not empty) | nothing changed |
//! | among the copies | everything at its old place, some of it at the new place too |
//! | among the deletions | everything at its new place, some of it at the old place too |
//!
//! No byte is lost in any row, nor of what others write meanwhile: what is deleted is the version that was copied, and
//! another one that has come to the old place stays there. Between the copies and the deletions everyone here is shown the new place, so nobody is
//! shown a name whose object has gone; [`moves`](super::moves) has what becomes of a move that is cut short. Whether we may delete is found out first, by deleting a key that
//! does not exist: without that right a move would be a copy, and the caller is told so before.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cache::{Answer, Presence};
use super::copied::Copying;
use super::{Folder, Namespace, Species, described, said};
use crate::error::{Error, Kind, Result};
use crate::name::{DirPrefix, FileName, ObjectKey};
use crate::s3::delete::DELETES_MAX;
use crate::s3::{Deletion, Depth, ETag, Gateway, NewObject, ObjectMeta, Precondition, S3Error, S3ErrorKind};

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The directory.
    pub folder: Folder,
    /// The name in it.
    pub name: FileName,
}

/// The versions that a directory's objects had when they were copied.
#[derive(Debug, Default)]
pub struct Moved(HashMap<ObjectKey, ETag>);

impl Moved {
    /// Which version was under an old key.
    pub fn version(&self, old: &ObjectKey) -> Option<&ETag> {
        self.0.get(old)
    }
}

impl Namespace {
    /// Copies a committed file to where it moves, onto what `condition` says of the target. `new` is what it is to say
    /// about itself there; without one, what waits to be said about it goes along, or else what it says.
    ///
    /// Whoever looks is shown the new place from now on. The old object is to be [removed](Self::remove_moved).
    ///
    /// # Errors
    /// [`Kind::Exists`] where that is nothing and something is there,
    /// [`Kind::CrossDevice`] where the two buckets cannot copy from each other,
    /// [`Kind::Denied`] before anything happened where we may not delete.
    pub async fn copy_to_move(
        self: &Arc<Self>,
        (from, onto): (&Place, &Place),
        meta: &ObjectMeta,
        new: Option<&NewObject>,
        condition: &Precondition,
    ) -> Result<ObjectMeta> {
        self.ensure_deletable(&from.folder).await?;
        // Of neither must S3 be told anything while they are replaced.
        let waited = self.take_description(from, Species::File).await;
        let replaced = self.take_description(onto, Species::File).await;
        // Of a version that somebody has replaced there is nothing to be said any more.
        let said =
            waited.as_ref().filter(|taken| taken.meta().etag == meta.etag).map(|taken| said(taken.meta()));
        let moved = self.copy_onto((from, onto), meta, new.or(said.as_ref()), condition).await;
        self.put_back_unless(moved.is_ok(), waited);
        self.put_back_unless(moved.is_ok(), replaced);
        moved
    }

    async fn copy_onto(
        &self,
        (from, onto): (&Place, &Place),
        meta: &ObjectMeta,
        new: Option<&NewObject>,
        condition: &Precondition,
    ) -> Result<ObjectMeta> {
        let (old, key) = (from.folder.prefix.file(&from.name)?, onto.folder.prefix.file(&onto.name)?);
        let source = Arc::clone(self.gateway(from.folder.bucket));
        let target = Arc::clone(self.gateway(onto.folder.bucket));
        let copying =
            Copying { source: &source, old: &old, meta, target: &target, key: &key, new, condition };
        let etag = match copying.make().await {
            Ok(etag) => etag,
            Err(error) if copying.meets_something(&error).await => return Err(target_is_there(error)),
            Err(error) => return Err(across(from, onto, error)),
        };
        self.descriptions.copied(&onto.folder);
        let now = Instant::now();
        let moved = match new {
            Some(new) => described(etag, meta.size, new),
            None => ObjectMeta { etag, last_modified: crate::clock::now(), ..meta.clone() },
        };
        let presence = Presence::File(moved.clone());
        self.cache.learn(&onto.folder, &onto.name, Answer { presence, asked: now });
        self.cache.learn(&from.folder, &from.name, Answer { presence: Presence::Absent, asked: now });
        let mut pending = self.pending.lock();
        // Whoever was making a file of that name goes on without one.
        pending.remove_file(&onto.folder, &onto.name);
        pending.keep_directory(&from.folder);
        Ok(moved)
    }

    /// Removes the version of a file that has been copied to its new place. What others have put there since then stays,
    /// as if they had made a new file after the move.
    ///
    /// # Errors
    /// Those of S3: then it is at both places.
    pub async fn remove_moved(&self, from: &Place, version: &ETag) -> Result<()> {
        let key = from.folder.prefix.file(&from.name)?;
        let deleted = self.delete_version(&from.folder, &key, version).await;
        match deleted {
            // Whoever looked before that was shown it still.
            Ok(Deletion::Gone) => {
                let answer = Answer { presence: Presence::Absent, asked: Instant::now() };
                self.cache.learn(&from.folder, &from.name, answer);
            }
            _ => self.drop_answer(from),
        }
        if let Deletion::Replaced = deleted? {
            let bucket = self.gateway(from.folder.bucket).bucket();
            tracing::warn!(%bucket, %key, "others replaced a file while it was moved; theirs stays at the old place");
        }
        Ok(())
    }

    /// Moves a directory and all below it. The target is absent, or a directory with nothing in it.
    ///
    /// Keys that a directory cannot show move along with the others. `condition` is that of each copy. When all copies are
    /// there, and before anything is deleted, `shown` has whoever looks shown the new place.
    ///
    /// # Errors
    /// [`Kind::CrossDevice`] between buckets, [`Kind::NotEmpty`], [`Kind::Denied`] as for files.
    pub async fn move_directory(
        &self,
        (from, onto): (&Place, &Place),
        condition: &Precondition,
        shown: impl AsyncFnOnce(&Moved) -> Result<()>,
    ) -> Result<()> {
        if from.folder.bucket != onto.folder.bucket {
            return Err(Error::new(Kind::CrossDevice, "a directory cannot be moved between buckets"));
        }
        let (old, new) = (from.folder.folder(&from.name)?, onto.folder.folder(&onto.name)?);
        if old.prefix.contains(&new.prefix) {
            return Err(Error::new(Kind::InvalidArgument, "a directory cannot be moved into itself"));
        }
        let gateway = Arc::clone(self.gateway(old.bucket));
        self.ensure_deletable(&old).await?;
        let objects = self.all_below(&old).await?;
        let mut moving = self.moves.begin(gateway.bucket().as_str(), (&old, &new), &objects)?;
        let copied =
            copy_all(&gateway, (&old.prefix, &new.prefix), &objects, condition, || moving.copied()).await;
        let moved = match copied.and_then(|moved| moving.all_copied().map(|()| moved)) {
            Ok(moved) => moved,
            Err(error) => {
                moving.end();
                return Err(error);
            }
        };
        self.directory_moved(&old, &new, from, onto);
        let is_shown = shown(&moved).await;
        let versions: Vec<_> = moved.0.into_iter().collect();
        let deleted = self.delete_all(&old, versions, |objects| moving.deleted(objects)).await;
        if deleted.is_ok() {
            moving.end();
        }
        is_shown.and(deleted)
    }

    /// All objects below a directory, the marker among them.
    pub(super) async fn all_below(&self, folder: &Folder) -> Result<Vec<(ObjectKey, ObjectMeta)>> {
        let mut objects = Vec::new();
        let mut from = None;
        loop {
            let page = self.list(folder, Depth::Tree, from.as_ref(), 1000).await?;
            for (key, meta) in page.objects {
                objects.push((ObjectKey::parse(key)?, meta));
            }
            from = page.next;
            if from.is_none() {
                return Ok(objects);
            }
        }
    }

    /// Deletes all of these below a directory, and tells how many have gone after each batch. What others have put in
    /// the place of one stays.
    pub(super) async fn delete_all(
        &self,
        folder: &Folder,
        versions: Vec<(ObjectKey, ETag)>,
        gone: impl Fn(usize),
    ) -> Result<()> {
        let gateway = self.gateway(folder.bucket);
        let all = versions.len();
        let versions = match gateway.deletes_versions_at_once() {
            true => versions,
            false => self.still_there(folder, versions).await?,
        };
        let mut replaced = all - versions.len();
        for batch in versions.chunks(DELETES_MAX) {
            for (_, left) in gateway.delete_versions(batch).await? {
                match left {
                    Ok(_) => replaced += 1,
                    Err(error) => {
                        self.learn_delete(folder, Some(&error));
                        return Err(error.into());
                    }
                }
            }
            batch.iter().for_each(|(key, _)| self.witnesses(folder.bucket).remove(key));
            gone(batch.len());
        }
        if replaced > 0 {
            let (bucket, prefix) = (gateway.bucket(), &folder.prefix);
            tracing::warn!(%bucket, %prefix, replaced, "others changed files while their directory was moved; what they made of them stays at the old place");
        }
        Ok(())
    }

    /// Those of these versions that are there now, where no condition of the deletion that follows makes sure of it.
    async fn still_there(
        &self,
        folder: &Folder,
        versions: Vec<(ObjectKey, ETag)>,
    ) -> Result<Vec<(ObjectKey, ETag)>> {
        let now = self.all_below(folder).await?;
        let now: HashMap<_, _> = now.into_iter().map(|(key, meta)| (key, meta.etag)).collect();
        Ok(versions.into_iter().filter(|(key, version)| now.get(key) == Some(version)).collect())
    }

    fn directory_moved(&self, old: &Folder, new: &Folder, from: &Place, onto: &Place) {
        let now = Instant::now();
        self.cache.drop_tree(old);
        self.cache.drop_tree(new);
        let arrived = Presence::Directory(super::cache::Marker::Unasked);
        self.cache.learn(&onto.folder, &onto.name, Answer { presence: arrived, asked: now });
        // Not "absent": there may be a file of that name, which the directory has hidden.
        self.drop_answer(from);
        self.touched.lock().forget_tree(old);
        let mut pending = self.pending.lock();
        pending.move_directory(old, new);
        pending.keep_directory(&from.folder);
    }
}

async fn copy_all(
    gateway: &Arc<Gateway>,
    (old, new): (&DirPrefix, &DirPrefix),
    objects: &[(ObjectKey, ObjectMeta)],
    condition: &Precondition,
    copied: impl Fn(),
) -> Result<Moved> {
    let (mut copies, mut moved) = (JoinSet::new(), Moved::default());
    for (key, meta) in objects {
        let target = old.rebase(key, new).expect("listed below the prefix");
        let target = ObjectKey::parse(target)?;
        if copies.len() >= COPIES_MAX {
            moved.0.extend(joined(copies.join_next().await)?);
            copied();
        }
        let (gateway, key, meta) = (Arc::clone(gateway), key.clone(), meta.clone());
        let condition = condition.clone();
        copies.spawn(async move { copy_current(&gateway, (key, meta), &target, &condition).await });
    }
    while let Some(copy) = copies.join_next().await {
        moved.0.extend(joined(Some(copy))?);
        copied();
    }
    Ok(moved)
}

/// Copies what is under a key now, and returns the version that this was; `None` where nothing is any more.
async fn copy_current(
    gateway: &Arc<Gateway>,
    (old, mut meta): (ObjectKey, ObjectMeta),
    key: &ObjectKey,
    condition: &Precondition,
) -> Result<Option<(ObjectKey, ETag)>> {
    for attempt in 1.. {
        let (source, target) = (gateway, gateway);
        let copying = Copying { source, old: &old, meta: &meta, target, key, new: None, condition };
        let error = match copying.make().await {
            Ok(_) => return Ok(Some((old, meta.etag))),
            Err(error) if error.kind() == S3ErrorKind::Absent => return Ok(None),
            Err(error) if error.kind() == S3ErrorKind::ConditionFailed => error,
            Err(error) => return Err(error.into()),
        };
        match gateway.head(&old).await {
            Ok(now) if now.etag == meta.etag => return Err(target_is_there(error)),
            // Somebody has replaced it since it was listed.
            Ok(now) if attempt < REPLACEMENTS_MAX => meta = now,
            Err(error) if error.kind() == S3ErrorKind::Absent => return Ok(None),
            _ => return Err(error.into()),
        }
    }
    unreachable!("the last attempt returns")
}

type Copied = Option<(ObjectKey, ETag)>;

fn joined(outcome: Option<Result<Result<Copied>, tokio::task::JoinError>>) -> Result<Copied> {
    match outcome {
        Some(Ok(copied)) => copied,
        Some(Err(error)) => Err(Error::caused(Kind::Io, "a copy", error)),
        None => Ok(None),
    }
}

fn target_is_there(error: S3Error) -> Error {
    Error::caused(Kind::Exists, "the target is there", error)
}

/// Between buckets a copy may be refused where each file by itself could be read and written;
/// with EXDEV the caller (`mv`) does just that.
fn across(from: &Place, onto: &Place, error: S3Error) -> Error {
    let refused =
        matches!(error.kind(), S3ErrorKind::Denied | S3ErrorKind::Unsupported | S3ErrorKind::NoBucket);
    let error = Error::from(error);
    if refused && from.folder.bucket != onto.folder.bucket {
        Error::caused(Kind::CrossDevice, "a copy between these buckets", error)
    } else {
        error
    }
}

/// Who replaces an object faster than it can be copied does not stop.
const REPLACEMENTS_MAX: u32 = 4;

/// Copies under way at once.
const COPIES_MAX: usize = 32;
