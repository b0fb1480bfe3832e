//! What this mount changes: names that are made and removed, and what the others here then know of them.

use std::sync::Arc;

use tokio::time::Instant;

use super::cache::{Answer, Marker, Presence};
use super::inode::{Ino, Species};
use super::lookup::Knowledge;
use super::{BucketId, Entry, Folder, Lookup, Namespace, Place};
use crate::error::{Error, Kind, Result};
use crate::name::{FileName, ObjectKey};
use crate::s3::{
    Body, Depth, ETag, Gateway, NewObject, ObjectDetails, ObjectMeta, Precondition, S3ErrorKind,
};

impl Namespace {
    /// A file was created here; S3 hears of it at its first commit.
    pub fn created(&self, parent: Ino, place: &Place) -> Ino {
        self.pending.lock().add_file(&place.folder, &place.name);
        self.names_changed(&place.folder);
        self.inodes.lock().look_up(parent, &place.name, Species::File)
    }

    /// Something else is made under a name: whatever inode has it keeps its number and loses the name. Returns it.
    pub fn leave_name(&self, parent: Ino, name: &FileName) -> Option<Ino> {
        self.inodes.lock().detach(parent, name)
    }

    /// Keeps an inode although the kernel may forget it, until it is [forgotten](Self::forget) once more.
    pub fn hold(&self, ino: Ino) {
        self.inodes.lock().hold(ino);
    }

    /// A file's content or description is in S3.
    pub fn committed(&self, place: &Place, meta: ObjectMeta) {
        self.descriptions.outlives(place, &meta);
        let answer = Answer { presence: Presence::File(meta), asked: Instant::now() };
        self.cache.learn(&place.folder, &place.name, answer);
        self.show_again(&place.folder);
        self.pending.lock().remove_file(&place.folder, &place.name);
        self.rights(place.folder.bucket).admitted();
        self.descriptions.written(&place.folder);
    }

    /// There is something in a directory. It may be believed to have gone, with its last object, which others deleted.
    fn show_again(&self, folder: &Folder) {
        let (mut at, now) = (folder.clone(), Instant::now());
        while let Some((prefix, name)) = at.prefix.split() {
            let parent = Folder { bucket: folder.bucket, prefix };
            if self.cache.answer(&parent, &name).is_some_and(|answer| answer.presence.is_nothing()) {
                let presence = Presence::Directory(Marker::Unasked);
                self.cache.learn(&parent, &name, Answer { presence, asked: now });
            }
            at = parent;
        }
    }

    /// Bytes of a file came from S3, so the role may read in its bucket.
    pub fn readable(&self, place: &Place) {
        if let Ok(key) = place.folder.prefix.file(&place.name) {
            self.witnesses(place.folder.bucket).add(&key);
            self.rights(place.folder.bucket).admitted();
        }
    }

    /// Whether bytes of any file of a bucket came from S3 before.
    pub fn has_read_in(&self, bucket: BucketId) -> bool {
        self.witnesses(bucket).has_any()
    }

    /// A created file will never be committed under this name.
    pub fn given_up(&self, place: &Place) {
        self.pending.lock().remove_file(&place.folder, &place.name);
    }

    /// Makes a directory, which is its marker object, and promises the kernel its inode.
    ///
    /// # Errors
    /// [`Kind::Exists`].
    pub async fn make_directory(&self, parent: Ino, place: &Place, new: &NewObject) -> Result<Entry> {
        self.ensure_writable(place.folder.bucket)?;
        let exists = || Error::new(Kind::Exists, format!("{} exists", place.name));
        // A file may be committed while S3 is asked: its answer knows nothing of that, and the name is not pending after it.
        if self.in_memory_exists(place) {
            return Err(exists());
        }
        let here = self.settle(&place.folder, &place.name).await?;
        if !here.presence.is_nothing() || self.in_memory_exists(place) {
            return Err(exists());
        }
        let folder = place.folder.folder(&place.name)?;
        let key = folder.prefix.marker().expect("a directory below another has a prefix");
        let gateway = self.gateway(folder.bucket);
        let etag = put_new(gateway, &key, Body::default(), new).await?.ok_or_else(exists)?;
        let now = Instant::now();
        let marker = Marker::Present { meta: described(etag, 0, new), asked: now };
        let answer = Answer { presence: Presence::Directory(marker), asked: now };
        if matches!(here.presence, Presence::Absent) {
            self.cache.directory(&folder).lock().made_empty(now);
        }
        self.cache.learn(&place.folder, &place.name, answer.clone());
        self.rights(folder.bucket).admitted();
        self.descriptions.written(&place.folder);
        self.names_changed(&place.folder);
        match self.look_up_answer(parent, &place.name, Knowledge::Answer(answer)) {
            Lookup::Found(entry) => Ok(entry),
            Lookup::Absent(_) => unreachable!("the answer is that of a directory"),
        }
    }

    fn in_memory_exists(&self, place: &Place) -> bool {
        let pending = self.pending.lock();
        pending.has_file(&place.folder, &place.name)
            || place.folder.folder(&place.name).is_ok_and(|folder| pending.has_directory(&folder))
    }

    /// Describes a directory anew, in its marker; one that had none gets one.
    ///
    /// # Errors
    /// Those of S3.
    pub(super) async fn describe_directory_as(&self, place: &Place, new: &NewObject) -> Result<ObjectMeta> {
        let key = place.folder.folder(&place.name)?.prefix.marker().expect("below a bucket");
        let gateway = self.gateway(place.folder.bucket);
        let etag = gateway.put(&key, Body::default(), new, &Precondition::Whatever).await?;
        self.descriptions.written(&place.folder);
        let (meta, now) = (described(etag, 0, new), Instant::now());
        let marker = Marker::Present { meta: meta.clone(), asked: now };
        let answer = Answer { presence: Presence::Directory(marker), asked: now };
        self.cache.learn(&place.folder, &place.name, answer);
        Ok(meta)
    }

    /// Deletes the object of a file, if S3 has heard of it. The name has then [gone](Self::file_removed).
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::IsDirectory`], [`Kind::Denied`].
    pub async fn delete_file(&self, place: &Place) -> Result<()> {
        self.ensure_writable(place.folder.bucket)?;
        if self.pending.lock().has_file(&place.folder, &place.name) {
            return Ok(());
        }
        let key = self.existing_file(place).await?;
        Ok(self.delete(&place.folder, &key).await?)
    }

    /// A file is gone. Its inode keeps its number for whoever has it open.
    pub fn file_removed(&self, parent: Ino, place: &Place) {
        let was_pending = self.pending.lock().remove_file(&place.folder, &place.name);
        // Of a file that S3 has never heard of, what was known of the name before is known still: others may have it.
        if !was_pending {
            let answer = Answer { presence: Presence::Absent, asked: Instant::now() };
            self.cache.learn(&place.folder, &place.name, answer);
        }
        self.inodes.lock().detach(parent, &place.name);
        self.names_changed(&place.folder);
        self.pending.lock().keep_directory(&place.folder);
    }

    async fn existing_file(&self, place: &Place) -> Result<ObjectKey> {
        match self.settle(&place.folder, &place.name).await?.presence {
            Presence::File(_) => place.folder.prefix.file(&place.name),
            Presence::Directory(_) => Err(Error::new(Kind::IsDirectory, "a directory")),
            Presence::Absent | Presence::Unseen => Err(Error::new(Kind::NotFound, "no such file")),
        }
    }

    /// Removes a directory that has nothing in it but its marker.
    ///
    /// # Errors
    /// [`Kind::NotEmpty`], also for keys below it that a directory cannot show.
    pub async fn remove_directory(&self, parent: Ino, place: &Place) -> Result<()> {
        self.ensure_writable(place.folder.bucket)?;
        let folder = place.folder.folder(&place.name)?;
        self.ensure_empty(&folder).await?;
        // S3 must not be told of a marker that has just gone.
        let taken = self.take_description(place, Species::Directory).await;
        self.description_settled(taken);
        if let Some(marker) = folder.prefix.marker() {
            // Deleting what is not there is no error in S3, and cheaper than asking first.
            self.delete(&folder, &marker).await?;
        }
        self.cache.drop_tree(&folder);
        // Not "absent": there may be a file of that name, which the directory has hidden.
        self.drop_answer(place);
        self.inodes.lock().detach(parent, &place.name);
        self.touched.lock().forget_tree(&folder);
        self.names_changed(&place.folder);
        let mut pending = self.pending.lock();
        pending.remove_directory(&folder);
        pending.keep_directory(&place.folder);
        Ok(())
    }

    /// Makes sure, by asking S3, that there is nothing in a directory but its marker.
    ///
    /// # Errors
    /// [`Kind::NotEmpty`].
    pub async fn ensure_empty(&self, folder: &Folder) -> Result<()> {
        let not_empty = || Error::new(Kind::NotEmpty, format!("{} is not empty", folder.prefix));
        if self.pending.lock().has_files_below(folder) {
            return Err(not_empty());
        }
        let page = self.list(folder, Depth::Level, None, 2).await?;
        let marker_only = page.objects.iter().all(|(key, _)| key == folder.prefix.as_str());
        // A directory that shows is there, even if S3 has nothing of it any more.
        let shows_none = self.pending.lock().directories(folder).is_empty();
        if marker_only && page.prefixes.is_empty() && shows_none { Ok(()) } else { Err(not_empty()) }
    }

    /// The kernel's names follow a rename that happened in S3.
    pub fn inode_renamed(&self, from: (Ino, &FileName), onto: (Ino, &FileName)) {
        self.inodes.lock().rename(from, onto);
    }

    /// A created file that S3 has not heard of has another name now.
    pub fn pending_renamed(&self, from: &Place, onto: &Place) {
        let mut pending = self.pending.lock();
        if pending.remove_file(&from.folder, &from.name) {
            pending.add_file(&onto.folder, &onto.name);
        }
        pending.keep_directory(&from.folder);
    }

    /// A name that was pending, or replaced, is to be asked for anew.
    pub fn drop_answer(&self, place: &Place) {
        self.cache.directory(&place.folder).lock().drop_name(&place.name);
    }
}

/// Puts an object that must not replace anything; `None` where there is one.
///
/// When the answer to the first attempt is lost, the second one meets our own object, and S3 says that there is one.
/// It is ours if it is described as ours, the time to the nanosecond.
///
/// # Errors
/// Those of S3.
pub async fn put_new(
    gateway: &Gateway,
    key: &ObjectKey,
    body: Body,
    new: &NewObject,
) -> Result<Option<ETag>> {
    match gateway.put(key, body, new, &Precondition::MustNotExist).await {
        Ok(etag) => Ok(Some(etag)),
        Err(error) if error.kind() == S3ErrorKind::ConditionFailed => {
            let is_ours =
                |meta: &ObjectMeta| meta.details.as_ref().is_some_and(|there| there.user == new.user);
            Ok(gateway.head(key).await.ok().filter(is_ours).map(|meta| meta.etag))
        }
        Err(error) => Err(error.into()),
    }
}

/// The description of an object that we wrote ourselves a moment ago.
pub fn described(etag: ETag, size: u64, new: &NewObject) -> ObjectMeta {
    let details = ObjectDetails {
        user: new.user.clone(),
        content_type: new.content_type.clone(),
        ..Default::default()
    };
    ObjectMeta {
        etag,
        size,
        last_modified: crate::clock::now(),
        storage_class: new.storage_class.clone(),
        details: Some(Arc::new(details)),
    }
}
