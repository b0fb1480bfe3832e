//! Files: opening, bytes in both directions, and the close that makes them visible.
//!
//! `flush` commits, because FLUSH is what the kernel shows to close(2); errors of RELEASE are shown
//! to nobody. It may come several times (dup, fork), and before the first write: a shell that
//! redirects closes the descriptor it opened before the command has written anything. So a flush
//! of a file that nobody wrote to is free and final for nothing, and an empty new file is made by
//! the release. Only what was created with O_EXCL is claimed at its first flush: a lock file that
//! somebody else had first must fail where its maker looks.

use std::sync::Arc;

use bytes::Bytes;

use super::attr::{AttributeChange, Attributes, FileKind};
use super::dirs::{Shown, new_object};
use super::handle::{Access, FileHandle, HandleId, OpenFile, OpenState, PlacedReader};
use super::media_type::media_type;
use super::passed::count_handle;
use super::{Filesystem, removed, target_key};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::name::FileName;
use crate::namespace::{Ino, Place, Species};
use crate::read::{Backing, Fetched, ReadBytes, Reader};
use crate::s3::{NewObject, ObjectMeta, Precondition, UserMetadata};
use crate::write::{Base, Occasion, Session, Target};

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

impl Filesystem {
    /// Opens a file at its current version.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::IsDirectory`], [`Kind::ReadOnly`].
    pub async fn open(&self, ino: Ino, options: OpenOptions) -> Result<Opened> {
        if self.namespace().species(ino) == Some(Species::Directory) {
            return Err(Error::new(Kind::IsDirectory, "a directory"));
        }
        let fetched = if options.access.write { None } else { self.fetched_ahead(ino).await };
        let file = match self.open_file(ino) {
            Some(file) => self.refreshed(file).await?,
            None => self.opened(ino).await?,
        };
        let begun = self.ensure_readable(&file, options).and_then(|()| match options.access.write {
            true => self.begin_writing(&file, options.truncate),
            false => Ok(()),
        });
        if let Err(error) = begun {
            self.drop_if_unused(&file);
            return Err(error);
        }
        if options.access.write {
            file.end_filling().await;
        }
        let keep_pages = self.keep_pages(&file);
        let found = self.backing(&file).await;
        let counted = count_handle(&mut file.state(), found);
        let backing = counted.inspect_err(|_| self.drop_if_unused(&file))?;
        let handle = self.add_handle(&file, options.access);
        if fetched.is_some() && backing.is_none() {
            let reader =
                self.handles.file(handle).and_then(|handle| self.reader_of(&handle, fetched).map(drop));
            if let Err(error) = reader {
                self.release(handle).await?;
                return Err(error);
            }
        }
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
        let place = self.place_in(parent, name)?;
        self.namespace().ensure_writable(place.folder.bucket)?;
        let key = target_key(&place)?;
        let may_replace = options.truncate && !options.exclusive && self.namespace().is_seen(&place);
        let base = if may_replace { Base::Replace } else { Base::New };
        let gateway = Arc::clone(self.namespace().gateway(place.folder.bucket));
        let attributes = Attributes::of_new(Ino::ROOT, FileKind::Regular, mode, owner);
        let object = NewObject {
            content_type: media_type(name),
            storage_class: gateway.class_of_content(None),
            ..new_object(None, &attributes)
        };
        let session = self.parts.sessions.begin(Target { gateway, key, object }, base);
        let ino = self.namespace().created(parent, &place);
        let attributes = Attributes { ino, ..attributes };
        let state = OpenState {
            place: Some(place),
            committed: None,
            replaced_here: Vec::new(),
            attributes,
            session: Some(session),
            writers: u32::from(options.access.write),
            handles: 1,
            passed: None,
            claims_name: options.exclusive,
        };
        let file = OpenFile::new(ino, state);
        self.open_files.lock().insert(ino, Arc::clone(&file));
        let handle = self.add_handle(&file, options.access);
        Ok((
            super::dirs::shown_open(&file),
            Opened { handle, keep_pages: false, writes: options.access.write, backing: None },
        ))
    }

    /// Reads without waiting, where the bytes have arrived already.
    pub fn try_read(&self, handle: HandleId, offset: u64, size: u32) -> Option<Result<ReadBytes>> {
        let handle = self.handles.file(handle).ok()?;
        if handle.file.session().is_some() {
            return None;
        }
        let placed = handle.reader.lock().clone()?;
        let is_current = placed.is_current(&handle.file.state());
        if is_current { placed.reader.try_read(offset, size) } else { None }
    }

    /// Reads `size` bytes, fewer only at the end of the file.
    ///
    /// # Errors
    /// [`Kind::Changed`] when somebody replaced the object since it was opened.
    pub async fn read(&self, handle: HandleId, offset: u64, size: u32) -> Result<ReadBytes> {
        let handle = self.handles.file(handle)?;
        if !handle.access.read {
            return Err(Error::new(Kind::BadHandle, "not opened for reading"));
        }
        while let Some(session) = handle.file.session() {
            match session.read(offset, u64::from(size)).await {
                // The writer left between the two looks. The file has let go of the session by now.
                Err(error) if error.kind() == Kind::BadHandle => {}
                read => return Ok(read?.into()),
            }
        }
        let Some(reader) = self.reader(&handle)? else { return Ok(ReadBytes::default()) };
        let read = reader.read(offset, size).await?;
        self.consider_filling(&handle, &reader);
        // Asked of S3 rather than taken from what had arrived: the right to read is there. (Or of the block cache,
        // after an `open` that S3 allowed: the same right.)
        if let (false, Some(place)) = (read.is_empty(), handle.file.state().place.as_ref()) {
            self.namespace().readable(place);
        }
        Ok(read)
    }

    /// Writes. The bytes are staged when this returns, so writes apply in the order of the calls;
    /// the future waits for room for more, which is how a writer is slowed down to the network.
    ///
    /// # Errors
    /// [`Kind::NoSpace`], [`Kind::TooLarge`]; and whatever made an earlier commit fail for good.
    pub fn write(
        &self,
        handle: HandleId,
        offset: u64,
        bytes: Bytes,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        let staged = self.writable(handle).map(|(file, session)| {
            let staged = session.write(offset, bytes);
            let now = clock::now();
            let mut state = file.state();
            (state.attributes.mtime, state.attributes.ctime) = (now, now);
            staged
        });
        async move { staged?.await }
    }

    /// Whoever writes through this handle may not leave a program with its owner's rights.
    pub fn drop_set_ids(&self, handle: HandleId) {
        if let Ok((file, _)) = self.writable(handle) {
            file.state().attributes.drop_set_ids();
        }
    }

    /// Makes what was written visible in S3: close(2) waits for this and returns its error.
    ///
    /// # Errors
    /// [`Kind::Changed`] and [`Kind::Exists`] for a lost race, [`Kind::Denied`], [`Kind::Io`]; the
    /// bytes are set aside then, and the error says where.
    pub async fn flush(&self, handle: HandleId) -> Result<()> {
        let handle = self.handles.file(handle)?;
        if !handle.access.write {
            return Ok(());
        }
        self.commit_changes(&handle.file, Occasion::Flush).await
    }

    /// As [`flush`](Self::flush), and makes an empty new file too.
    ///
    /// # Errors
    /// As `flush`.
    pub async fn sync(&self, handle: HandleId) -> Result<()> {
        let handle = self.handles.file(handle)?;
        self.commit_changes(&handle.file, Occasion::Sync).await
    }

    /// The kernel is done with a handle. The last writer's leaving ends the session.
    ///
    /// # Errors
    /// Of a commit that had to be made here; nobody but the log hears of them.
    pub async fn release(&self, handle: HandleId) -> Result<()> {
        let Some(handle) = self.handles.remove_file(handle) else { return Ok(()) };
        let last_writer = {
            let mut state = handle.file.state();
            state.handles -= 1;
            state.writers -= u32::from(handle.access.write);
            handle.access.write && state.writers == 0
        };
        let outcome = match last_writer {
            // Pages of a mapping are written after the flush; and an empty file is made here.
            true => self.end_session(&handle.file).await,
            false => Ok(()),
        };
        if handle.file.state().handles == 0 {
            // Whoever opens the inode next shall find what is still being stored, and wait for it.
            handle.file.end_filling().await;
        }
        self.drop_if_unused(&handle.file);
        outcome
    }

    /// Cuts a file, or makes it longer with zeros.
    ///
    /// # Errors
    /// As [`open`](Self::open), [`write`](Self::write) and [`flush`](Self::flush): of a file that
    /// nobody has open for writing the change is in S3 when this returns.
    pub async fn truncate(&self, ino: Ino, size: u64) -> Result<Shown> {
        let options = OpenOptions {
            access: Access { read: false, write: true },
            truncate: size == 0,
            exclusive: false,
        };
        let opened = self.open(ino, options).await?;
        let handle = self.handles.file(opened.handle)?;
        let alone = handle.file.state().writers == 1;
        let (file, session) = self.writable(opened.handle)?;
        let outcome = async {
            session.truncate(size)?;
            let now = clock::now();
            file.state().attributes.drop_set_ids();
            file.state().attributes.apply(&AttributeChange { mtime: Some(now), ..Default::default() }, now);
            if alone { self.commit_changes(&file, Occasion::Sync).await } else { Ok(()) }
        };
        let outcome = outcome.await;
        self.release(opened.handle).await?;
        outcome?;
        self.attributes(ino).await
    }

    /// The bytes of a small file, if they were fetched ahead of this open; and others are begun with.
    async fn fetched_ahead(&self, ino: Ino) -> Option<Arc<Fetched>> {
        let (place, parent) = (self.namespace().place(ino).ok()?, self.namespace().parent(ino)?);
        self.small_files.open(parent, &place).await
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

    /// Makes what S3 has now the version of an open file that nobody writes here. Returns whether it is
    /// another one.
    fn take_version(&self, file: &OpenFile, meta: ObjectMeta) -> bool {
        let mut state = file.state();
        let is_same = state.committed.as_ref().is_some_and(|held| held.etag == meta.etag);
        if state.session.is_some() || is_same {
            return false;
        }
        state.replaced_here.clear();
        state.attributes = Attributes::of_file(file.ino, &meta, &self.parts.defaults);
        state.committed = Some(meta);
        true
    }

    /// Counts one more writer, in the same step as it finds or begins the session: one that is found
    /// does not end before its writer leaves.
    fn begin_writing(&self, file: &Arc<OpenFile>, truncate: bool) -> Result<()> {
        let mut state = file.state();
        if truncate {
            state.attributes.drop_set_ids();
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
            Some(_) | None if truncate => Base::Replace,
            Some(meta) => Base::Existing(meta.clone()),
            None => Base::New,
        };
        let gateway = Arc::clone(self.namespace().gateway(place.folder.bucket));
        let committed = state.committed.as_ref();
        let storage_class = gateway.class_of_content(committed);
        let object = NewObject { storage_class, ..new_object(committed, &state.attributes) };
        let target = Target { gateway, key: target_key(&place)?, object };
        state.session = Some(self.parts.sessions.begin(target, base));
        state.writers += 1;
        Ok(())
    }

    /// Registers a handle that has been counted.
    fn add_handle(&self, file: &Arc<OpenFile>, access: Access) -> HandleId {
        // A release of the last handle may have taken it out between `open` and here.
        self.open_files.lock().entry(file.ino).or_insert_with(|| Arc::clone(file));
        self.handles.add_file(FileHandle { file: Arc::clone(file), access, reader: Default::default() })
    }

    fn drop_if_unused(&self, file: &Arc<OpenFile>) {
        let mut open_files = self.open_files.lock();
        if file.state().handles == 0 && open_files.get(&file.ino).is_some_and(|at| Arc::ptr_eq(at, file)) {
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

    /// The reader of a handle, pinned to the version that the handle shows.
    ///
    /// # Errors
    /// [`Kind::Changed`] when another open has found that somebody else replaced the object: the
    /// kernel's pages are shared by all who have it open, and must not hold two versions.
    fn reader(&self, handle: &FileHandle) -> Result<Option<Arc<Reader>>> {
        self.reader_of(handle, None)
    }

    /// As [`reader`](Self::reader), and a new one has what was fetched already.
    fn reader_of(&self, handle: &FileHandle, fetched: Option<Arc<Fetched>>) -> Result<Option<Arc<Reader>>> {
        let (place, meta) = {
            let state = handle.file.state();
            let Some(meta) = state.committed.clone() else { return Ok(None) };
            if let Some(placed) = &*handle.reader.lock() {
                if placed.is_current(&state) {
                    return Ok(Some(Arc::clone(&placed.reader)));
                }
                let version = placed.reader.version();
                if *version != meta.etag && !state.replaced_here.contains(version) {
                    return Err(Error::new(Kind::Changed, "the object was replaced since it was opened"));
                }
            }
            (state.place.clone(), meta)
        };
        // Removed while open: what the reader had fetched is gone with the object in S3.
        let place = place.ok_or_else(removed)?;
        let reader = Arc::new(self.begin_reading(&place, meta)?.with(fetched));
        *handle.reader.lock() = Some(PlacedReader { place, reader: Arc::clone(&reader) });
        Ok(Some(reader))
    }

    /// A reader beside those of the handles, of what they show; `None` where there is nothing to read.
    pub(super) fn new_reader(&self, handle: &FileHandle) -> Result<Option<Reader>> {
        let state = handle.file.state();
        let shown = state.place.clone().zip(state.committed.clone());
        drop(state);
        shown.map(|(place, meta)| self.begin_reading(&place, meta)).transpose()
    }

    fn begin_reading(&self, place: &Place, meta: ObjectMeta) -> Result<Reader> {
        let gateway = Arc::clone(self.namespace().gateway(place.folder.bucket));
        let (budget, tasks) = (self.reading_budget.clone(), self.parts.tasks.clone());
        let (reading, cache) = (self.parts.reading.clone(), self.parts.cache.as_ref());
        Ok(Reader::new(gateway, target_key(place)?, meta, reading, budget, tasks, cache))
    }

    fn writable(&self, handle: HandleId) -> Result<(Arc<OpenFile>, Arc<Session>)> {
        let handle = self.handles.file(handle)?;
        let session = handle.file.session().filter(|_| handle.access.write);
        let session = session.ok_or_else(|| Error::new(Kind::BadHandle, "not opened for writing"))?;
        Ok((Arc::clone(&handle.file), session))
    }

    // ---- commits ----

    /// Brings to S3 what it does not have of a file; free when that is nothing.
    pub(super) async fn commit_changes(&self, file: &Arc<OpenFile>, occasion: Occasion) -> Result<()> {
        let (session, place, occasion) = {
            let state = file.state();
            let Some(session) = state.session.clone().filter(|_| state.place.is_some()) else {
                return Ok(());
            };
            session.suggest_metadata(noted(&session, &state.attributes));
            let occasion = if state.claims_name { occasion.max(Occasion::Sync) } else { occasion };
            (session, state.place.clone(), occasion)
        };
        let outcome = match occasion {
            Occasion::LastClose => session.commit_the_rest().await,
            occasion => session.commit(occasion).await,
        };
        match outcome {
            // Renamed meanwhile: whoever did that has adopted what is there.
            Ok(Some(_)) if file.state().place != place => {}
            Ok(Some(receipt)) => self.adopt_version(file, receipt.meta().clone()),
            Ok(None) => {}
            Err(error) => {
                if let Some(place) = file.state().place.clone() {
                    // S3 has the old version or the new one; whoever asks next shall be told which.
                    self.namespace().given_up(&place);
                    self.namespace().drop_answer(&place);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// S3 has another version of the file, and it is ours.
    pub(super) fn adopt_version(&self, file: &Arc<OpenFile>, meta: ObjectMeta) {
        let mut state = file.state();
        state.attributes.size = meta.size;
        if let Some(before) = state.committed.replace(meta.clone()) {
            state.replaced_here.push(before.etag);
        }
        let place = state.place.clone();
        drop(state);
        if let Some(place) = place {
            // The kernel has the pages of what was written through it.
            self.pages.lock().insert(file.ino, meta.etag.clone());
            self.namespace().committed(&place, meta);
        }
    }

    /// The last writer leaves: commits what is left and ends the session.
    ///
    /// The kernel tells us of it some time after close(2) has returned, so the same application may
    /// open, describe or rename the file meanwhile. What it does in the session before its end is
    /// committed; the end itself is one step with the file's losing the session.
    async fn end_session(&self, file: &Arc<OpenFile>) -> Result<()> {
        let _turn = file.turn().await;
        loop {
            let outcome = self.commit_changes(file, Occasion::LastClose).await;
            let mut state = file.state();
            let Some(session) = state.session.clone().filter(|_| state.writers == 0) else {
                // Somebody has opened it for writing, and goes on with the session.
                return outcome;
            };
            if outcome.is_err() || state.place.is_none() || session.end() {
                state.session = None;
                return outcome;
            }
        }
    }

    /// The file was removed or replaced: what is open goes on without a name.
    pub(super) async fn disown(&self, file: &Arc<OpenFile>) {
        let session = {
            let mut state = file.state();
            state.place = None;
            state.session.clone()
        };
        if let Some(session) = session {
            session.abandon().await;
        }
    }

    /// The file is at another place now, and so is what will be written to it.
    ///
    /// Everything written so far has been committed, or S3 has never heard of the file.
    pub(super) async fn retarget(
        &self,
        file: &Arc<OpenFile>,
        place: &Place,
        moved: Option<ObjectMeta>,
        condition: &Precondition,
    ) -> Result<()> {
        let (session, is_written) = {
            let mut state = file.state();
            state.place = Some(place.clone());
            (state.session.clone(), state.writers > 0)
        };
        let Some(session) = session else { return Ok(()) };
        let gateway = Arc::clone(self.namespace().gateway(place.folder.bucket));
        let key = target_key(place)?;
        match moved {
            // rename(2) replaces what is there, if it can be seen.
            None => session.rename_target(gateway, key, condition.clone()).await,
            Some(meta) => {
                let target = Target { gateway, key, object: session.description() };
                // Its last writer may have left, and only the release be under way.
                let next = is_written.then(|| self.parts.sessions.begin(target, Base::Existing(meta)));
                file.state().session = next;
                session.close().await.map(drop)
            }
        }
    }
}

/// What a session's object says about itself, with these attributes.
pub(super) fn noted(session: &Session, attributes: &Attributes) -> UserMetadata {
    let mut user = session.description().user;
    attributes.note(&mut user);
    user
}
