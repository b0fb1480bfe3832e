//! Files: how they are opened and made. [`data`](super::data) has their bytes, [`closing`](super::closing) their end.

use std::sync::Arc;

use super::attr::{Attributes, FileKind};
use super::dirs::{Shown, new_object};
use super::handle::{Access, FileHandle, HandleId, OpenFile, OpenState};
use super::media_type::media_type;
use super::passed::{count_handle, ensure_one_version};
use super::{Filesystem, removed, target_key};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::name::FileName;
use crate::namespace::{Ino, Place, Species};
use crate::read::{Backing, Fetched};
use crate::s3::{NewObject, ObjectMeta};
use crate::write::{Base, ExclusiveCreate, Target};

/// How a file is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOptions {
    /// What the handle may do.
    pub access: Access,
    /// Its content is to be replaced from nothing (O_TRUNC).
    pub truncate: bool,
    /// It must not have existed (O_EXCL).
    pub exclusive: bool,
}

/// A file that was opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The handle.
    pub handle: HandleId,
    /// Whether the pages that the kernel has of it are still those of this version.
    pub keep_pages: bool,
    /// Whether the handle may write, so that its closing may have to commit something.
    pub writes: bool,
    /// The file that the kernel may read from by itself instead of asking.
    pub backing: Option<Arc<Backing>>,
}

/// A file that is about to be made.
struct NewFile {
    place: Place,
    attributes: Attributes,
    target: Target,
}

impl Filesystem {
    /// Opens a file at its current version.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::IsDirectory`], [`Kind::ReadOnly`].
    pub async fn open(&self, ino: Ino, options: OpenOptions) -> Result<Opened> {
        // O_TRUNC cuts the file also where the handle may only read (open(2)), which has the right to write checked.
        let access = Access { write: options.access.write || options.truncate, ..options.access };
        let options = OpenOptions { access, ..options };
        if self.namespace().species(ino) == Some(Species::Directory) {
            return Err(Error::new(Kind::IsDirectory, "a directory"));
        }
        if let Ok(place) = self.namespace().place(ino) {
            self.late_failure(&place)?;
        }
        let fetched = if options.access.write { None } else { self.at_hand(ino).await };
        let file = match self.open_file(ino) {
            Some(file) => self.refreshed(file).await?,
            None => self.opened(ino).await?,
        };
        let opened = self.open_handle(&file, options).await.inspect_err(|_| self.drop_if_unused(&file))?;
        if fetched.is_some() && opened.backing.is_none() && file.is_as_in_s3() {
            let begun = self.handles.file(opened.handle).and_then(|handle| self.reader_of(&handle, fetched));
            if let Err(error) = begun {
                self.release(opened.handle).await?;
                return Err(error);
            }
        }
        Ok(opened)
    }

    /// One more handle on a file.
    async fn open_handle(&self, file: &Arc<OpenFile>, options: OpenOptions) -> Result<Opened> {
        if options.access.write {
            // Before there is a session, which would have to be ended again.
            ensure_one_version(&file.state())?;
            self.begin_writing_described(file, options).await?;
            file.end_filling().await;
        } else {
            self.ensure_readable(file, options)?;
        }
        let keep_pages = self.keep_pages(file);
        let found = self.backing(file).await;
        let backing = count_handle(&mut file.state(), found)?;
        let handle = self.add_handle(file, options.access);
        Ok(Opened { handle, keep_pages, writes: options.access.write, backing })
    }

    /// Makes a file and opens it. S3 hears of it at its first commit, and guards its name then.
    ///
    /// # Errors
    /// [`Kind::ReadOnly`], [`Kind::NotPermitted`] beside the buckets.
    pub fn create(
        &self,
        parent: Ino,
        name: &FileName,
        mode: u32,
        owner: (u32, u32),
        options: OpenOptions,
    ) -> Result<(Shown, Opened)> {
        let new = self.new_file(parent, name, mode, owner)?;
        let may_replace = options.truncate && !options.exclusive && self.namespace().is_seen(&new.place);
        let base = match (may_replace, options.exclusive) {
            (true, _) => Base::Replace(None),
            (false, true) => Base::Exclusive,
            (false, false) => Base::New,
        };
        Ok(self.open_new(parent, new, base, options))
    }

    /// Whether a file that is created so takes its name in S3 before it is opened.
    pub fn claims_at_open(&self, options: OpenOptions) -> bool {
        options.exclusive && self.parts.sessions.options().exclusive_create == ExclusiveCreate::Open
    }

    /// Takes a name in S3 with an empty object, and opens that: of all who try, on whatever machine, one succeeds.
    ///
    /// # Errors
    /// [`Kind::Exists`] for whoever is second; and as [`create`](Self::create).
    pub async fn create_claimed(
        &self,
        parent: Ino,
        name: &FileName,
        mode: u32,
        owner: (u32, u32),
        options: OpenOptions,
    ) -> Result<(Shown, Opened)> {
        let new = self.new_file(parent, name, mode, owner)?;
        let claimed = self.parts.sessions.claim(&new.target).await.inspect_err(|error| {
            if error.kind() == Kind::Exists {
                self.namespace().drop_answer(&new.place);
            }
        })?;
        let place = new.place.clone();
        let (shown, opened) = self.open_new(parent, new, Base::Claimed(claimed.clone()), options);
        self.namespace().committed(&place, claimed.clone());
        if let Some(file) = self.open_file(shown.attributes.ino) {
            let mut state = file.state();
            (state.committed, state.claims_name) = (Some(claimed), false);
        }
        Ok((shown, opened))
    }

    /// What is known of a file before it is made.
    fn new_file(&self, parent: Ino, name: &FileName, mode: u32, owner: (u32, u32)) -> Result<NewFile> {
        let place = self.place_in(parent, name)?;
        self.namespace().ensure_writable(place.folder.bucket)?;
        self.late_failure(&place)?;
        let key = target_key(&place)?;
        let gateway = Arc::clone(self.namespace().gateway(place.folder.bucket));
        let attributes = Attributes::of_new(Ino::ROOT, FileKind::Regular, mode, owner);
        let object = NewObject {
            content_type: media_type(name),
            storage_class: gateway.class_of_content(None),
            ..new_object(None, &attributes)
        };
        Ok(NewFile { place, attributes, target: Target { gateway, key, object } })
    }

    fn open_new(&self, parent: Ino, new: NewFile, base: Base, options: OpenOptions) -> (Shown, Opened) {
        let NewFile { place, attributes, target } = new;
        // Whoever makes a file counts as its writer, also with O_RDONLY: its closing makes the object.
        let options = OpenOptions { access: Access { write: true, ..options.access }, ..options };
        let session = self.parts.sessions.begin(target, base);
        self.leave_name(parent, &place.name);
        let ino = self.namespace().created(parent, &place);
        let attributes = Attributes { ino, ..attributes };
        let state = OpenState {
            place: Some(place),
            committed: None,
            replaced_here: Vec::new(),
            attributes,
            session: Some(Arc::clone(&session)),
            writers: 1,
            handles: 1,
            passed: None,
            promise: None,
            kept: None,
            claims_name: options.exclusive,
        };
        let file = OpenFile::new(ino, state);
        self.adopt_commits(&file, &session);
        self.open_files.lock().insert(ino, Arc::clone(&file));
        let handle = self.add_handle(&file, options.access);
        (super::dirs::shown_open(&file), Opened { handle, keep_pages: false, writes: true, backing: None })
    }

    /// The bytes of a small file, if they were fetched ahead of this open, or written a while ago; and others are begun
    /// with.
    async fn at_hand(&self, ino: Ino) -> Option<Arc<Fetched>> {
        let (place, parent) = (self.namespace().place(ino).ok()?, self.namespace().parent(ino)?);
        let fetched = self.small_files.open(parent, &place).await;
        // Whoever may write may not read for that: S3 has to have let somebody read here before.
        let written = || self.written.get(ino).filter(|_| self.namespace().has_read_in(place.folder.bucket));
        fetched.or_else(written)
    }

    // ---- what is shared by the handles of a file ----

    /// The shared state of a file that nobody had open.
    async fn opened(&self, ino: Ino) -> Result<Arc<OpenFile>> {
        let place = self.namespace().place(ino)?;
        let meta = self.version_to_open(&place).await?;
        let state = OpenState {
            attributes: Attributes::of_file(ino, &meta, &self.parts.defaults),
            place: Some(place),
            committed: Some(meta),
            replaced_here: Vec::new(),
            session: None,
            writers: 0,
            handles: 0,
            passed: None,
            promise: None,
            kept: None,
            claims_name: false,
        };
        // Somebody else may have been quicker; there is one state per file.
        Ok(Arc::clone(self.open_files.lock().entry(ino).or_insert_with(|| OpenFile::new(ino, state))))
    }

    /// The shared state of an open file, at its current version unless it is being written here.
    async fn refreshed(&self, file: Arc<OpenFile>) -> Result<Arc<OpenFile>> {
        let (writing, place) = {
            let state = file.state();
            (state.session.is_some(), state.place.clone())
        };
        if let (false, Some(place)) = (writing, place) {
            let meta = self.version_to_open(&place).await?;
            if self.take_version(&file, meta) {
                file.end_filling().await;
            }
        }
        Ok(file)
    }

    /// The current version of a file, or why it cannot be had.
    async fn version_to_open(&self, place: &Place) -> Result<ObjectMeta> {
        match self.namespace().current_file(place).await {
            Err(error) if error.kind() == Kind::Denied => {
                Err(self.namespace().explained_by_owner(place, error).await)
            }
            version => version,
        }
    }

    /// Refuses to open what lies in an archive, unless all of it is to be replaced: each read would be refused, some
    /// time later and with less to say.
    fn ensure_readable(&self, file: &OpenFile, options: OpenOptions) -> Result<()> {
        let state = file.state();
        let archived = |meta: &ObjectMeta| meta.details.as_ref().is_some_and(|details| details.archived);
        let replaces = options.access.write && options.truncate;
        match (&state.committed, &state.place) {
            (Some(meta), Some(place)) if archived(meta) && !replaces && state.session.is_none() => {
                let (gateway, key) = (self.namespace().gateway(place.folder.bucket), target_key(place)?);
                let class = meta.storage_class.as_deref().unwrap_or("an archive");
                let hint = gateway.archive_hint(&key);
                Err(Error::new(
                    Kind::Denied,
                    format!("s3://{}/{key} lies in {class}; hint: {hint}", gateway.bucket()),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Begins to write, and takes over what waits to be said about the file.
    async fn begin_writing_described(&self, file: &Arc<OpenFile>, options: OpenOptions) -> Result<()> {
        let place = file.state().place.clone();
        let taken = match &place {
            Some(place) => self.namespace().take_description(place, Species::File).await,
            None => None,
        };
        let begun =
            self.ensure_readable(file, options).and_then(|()| self.begin_writing(file, options.truncate));
        let session = file.session();
        match (&begun, session, taken) {
            (Ok(()), Some(session), Some(taken)) => {
                // Under one lock: a commit that is over tells what is owed then.
                let mut state = file.state();
                session.owe_description();
                state.promise = Some(taken.into());
            }
            (_, _, taken) => self.namespace().put_back(taken),
        }
        begun
    }

    /// Counts one more writer, in the same step as it finds or begins the session: one that is found
    /// does not end before its writer leaves.
    fn begin_writing(&self, file: &Arc<OpenFile>, truncate: bool) -> Result<()> {
        let mut state = file.state();
        if truncate {
            let now = clock::now();
            state.attributes.drop_set_ids();
            (state.attributes.mtime, state.attributes.ctime) = (now, now);
        }
        if let Some(session) = &state.session {
            if truncate {
                session.truncate(0)?;
            }
            state.writers += 1;
            return Ok(());
        }
        let place = state.place.clone().ok_or_else(removed)?;
        self.namespace().ensure_writable(place.folder.bucket)?;
        let base = match &state.committed {
            committed if truncate => Base::Replace(committed.as_ref().map(|meta| meta.etag.clone())),
            Some(meta) => Base::Existing(meta.clone()),
            None => Base::New,
        };
        let gateway = Arc::clone(self.namespace().gateway(place.folder.bucket));
        let committed = state.committed.as_ref();
        let storage_class = gateway.class_of_content(committed);
        let object = NewObject { storage_class, ..new_object(committed, &state.attributes) };
        let target = Target { gateway, key: target_key(&place)?, object };
        let session = self.parts.sessions.begin(target, base);
        self.adopt_commits(file, &session);
        state.session = Some(session);
        state.writers += 1;
        Ok(())
    }

    /// Registers a handle that has been counted.
    fn add_handle(&self, file: &Arc<OpenFile>, access: Access) -> HandleId {
        // A release of the last handle may have taken it out between `open` and here.
        self.open_files.lock().entry(file.ino).or_insert_with(|| Arc::clone(file));
        self.handles.add_file(FileHandle { file: Arc::clone(file), access, reader: Default::default() })
    }

    pub(super) fn drop_if_unused(&self, file: &Arc<OpenFile>) {
        let mut open_files = self.open_files.lock();
        let is_unused = {
            let state = file.state();
            // Whoever is about to write has no handle yet, and is counted.
            state.handles == 0 && state.writers == 0 && state.session.is_none()
        };
        if is_unused && open_files.get(&file.ino).is_some_and(|at| Arc::ptr_eq(at, file)) {
            open_files.remove(&file.ino);
        }
    }

    /// Whether the pages the kernel has are of the version that is opened now; remembers it.
    fn keep_pages(&self, file: &OpenFile) -> bool {
        let state = file.state();
        let Some(meta) = &state.committed else { return false };
        let before = self.pages.lock().insert(file.ino, meta.etag.clone());
        let same = before.as_ref() == Some(&meta.etag);
        drop(state);
        if before.is_some() && !same {
            // Its size may be another too, and the kernel believes the one it was told.
            self.tell_changed(file.ino);
        }
        same
    }
}
