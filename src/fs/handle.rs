//! What the kernel has open.
//!
//! All handles of one file share an [`OpenFile`]: the version that was last seen, the attributes,
//! and the write session while somebody has it open for writing. A [`FileHandle`] adds what is
//! its own: what it may do, and where its reading stands. So a reader sees what a writer in the
//! same mount wrote, and a reader that nobody writes under stays on the version it opened.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::attr::{Attributes, Defaults};
use super::awaited::Awaited;
use crate::error::{Error, Kind, Result};
use crate::namespace::{Directory, DirectoryStream, Ino, Place, Promise};
use crate::read::{Backing, Reader, Rent};
use crate::s3::{ETag, ObjectMeta};
use crate::write::{Kept, Session};

/// The number of something open, as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HandleId(pub u64);

/// What a handle was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Reading.
    pub read: bool,
    /// Writing.
    pub write: bool,
}

/// What all handles of one file share.
#[derive(Debug)]
pub(super) struct OpenFile {
    /// Its inode.
    pub(super) ino: Ino,
    state: Mutex<OpenState>,
    /// Held by what takes several requests and must not mix with its like: the end of a session,
    /// a change of attributes, a rename. The kernel tells us of the last close some time after
    /// close(2) has returned, so the three do meet. Taken before anything else of a file.
    turn: tokio::sync::Mutex<()>,
    /// Held to read while pieces of the file are stored in the kernel's page cache. Nothing is taken under it but
    /// the state.
    filling: Arc<RwLock<()>>,
    /// What random reads have cost so far.
    rent: Mutex<Rent>,
    /// What the kernel waits for.
    awaited: Awaited,
}

/// The state that all handles of one file share.
#[derive(Debug)]
pub(super) struct OpenState {
    /// Where the file is; `None` when it was removed while open.
    pub(super) place: Option<Place>,
    /// What is in S3, as this mount last saw or made it; `None` while it was never committed, and where it is not known
    /// after a session that failed.
    pub(super) committed: Option<ObjectMeta>,
    /// Versions that commits of this mount have replaced since the file was opened. A reader of one
    /// of them goes on with what is there now; one of any other version has been overtaken.
    pub(super) replaced_here: Vec<ETag>,
    /// What `stat` shows.
    pub(super) attributes: Attributes,
    /// The session, while anybody has the file open for writing.
    pub(super) session: Option<Arc<Session>>,
    /// Handles that may write.
    pub(super) writers: u32,
    /// All handles.
    pub(super) handles: u32,
    /// What the kernel reads by itself in all handles there are; `None` while they are read through us.
    pub(super) passed: Option<Arc<Backing>>,
    /// What is written down of its description while the session has it.
    pub(super) promise: Option<Promise>,
    /// Its bytes, once it is gone from S3.
    pub(super) kept: Option<Arc<Kept>>,
    /// It was created with O_EXCL: its name is claimed in S3 at the first flush.
    pub(super) claims_name: bool,
}

/// One open of a file.
#[derive(Debug)]
pub(super) struct FileHandle {
    /// What it shares with others.
    pub(super) file: Arc<OpenFile>,
    /// What it may do.
    pub(super) access: Access,
    /// Where its reading stands. Replaced when a session of this mount made another version, and
    /// when the file was renamed.
    pub(super) reader: Mutex<Option<PlacedReader>>,
}

/// A reader, and where the object lay that it reads.
#[derive(Debug, Clone)]
pub(super) struct PlacedReader {
    /// Where the object lay. A renamed one may keep its ETag, and is still gone from there.
    pub(super) place: Place,
    /// The reader.
    pub(super) reader: Arc<Reader>,
}

impl PlacedReader {
    /// Whether it reads what `state` shows; of a file that was removed, the version is enough.
    pub(super) fn is_current(&self, state: &OpenState) -> bool {
        let version = state.committed.as_ref().map(|meta| &meta.etag);
        version == Some(self.reader.version()) && state.place.as_ref().is_none_or(|at| *at == self.place)
    }

    /// Whether what `state` shows is what it reads, or what this mount has made of it.
    ///
    /// # Errors
    /// [`Kind::Changed`] when somebody else has put another version in its place.
    pub(super) fn expect_continued(&self, state: &OpenState) -> Result<()> {
        let version = self.reader.version();
        let is_continued = |meta: &ObjectMeta| meta.etag == *version || state.replaced_here.contains(version);
        match &state.committed {
            Some(meta) if !is_continued(meta) => {
                Err(Error::new(Kind::Changed, "the object was replaced since it was opened"))
            }
            _ => Ok(()),
        }
    }
}

impl FileHandle {
    /// Whether reading may go on where it stands.
    ///
    /// # Errors
    /// As [`PlacedReader::expect_continued`].
    pub(super) fn expect_current(&self) -> Result<()> {
        let state = self.file.state();
        self.reader.lock().as_ref().map_or(Ok(()), |placed| placed.expect_continued(&state))
    }
}

/// One open of a directory.
#[derive(Debug)]
pub(super) struct DirectoryHandle {
    /// Its inode.
    pub(super) ino: Ino,
    /// Which directory it is.
    pub(super) directory: Directory,
    /// Its entries so far. Asynchronous, because whoever reads on waits for the next page, and a
    /// second reader of the same handle wants that same page.
    pub(super) stream: tokio::sync::Mutex<DirectoryStream>,
    /// Whether it has come by anything that is neither a file nor a directory.
    pub(super) has_others: AtomicBool,
}

impl OpenState {
    /// Whether `stat` is to be told from here: not when the file's session has failed and S3 has something else, or
    /// nothing, under its name.
    pub(super) fn is_known(&self) -> bool {
        self.place.is_none() || self.session.is_some() || self.committed.is_some()
    }

    /// The session has ended, and what it had has become a version or, should it have `failed`, was set aside. Then this
    /// is a file that others may have replaced: what was made of it here counts no more.
    pub(super) fn leave_session(&mut self, failed: Option<&Error>, defaults: &Defaults) {
        self.session = None;
        let Some(error) = failed else { return };
        if self.place.is_some() && matches!(error.kind(), Kind::Changed | Kind::Exists) {
            self.committed = None;
        }
        if let Some(meta) = &self.committed {
            self.attributes = Attributes::of_file(self.attributes.ino, meta, defaults);
        }
    }
}

impl OpenFile {
    /// Returns the shared state of a file that somebody opens.
    pub(super) fn new(ino: Ino, state: OpenState) -> Arc<Self> {
        let (turn, filling, rent, awaited) = Default::default();
        Arc::new(Self { ino, state: Mutex::new(state), turn, filling, rent, awaited })
    }

    /// What the kernel waits for of this file.
    pub(super) fn awaited(&self) -> &Awaited {
        &self.awaited
    }

    /// The shared state; not to be held across an await.
    pub(super) fn state(&self) -> parking_lot::MutexGuard<'_, OpenState> {
        self.state.lock()
    }

    /// Whether that is where the file is.
    pub(super) fn is_at(&self, place: &Place) -> bool {
        self.state().place.as_ref() == Some(place)
    }

    /// Whether a version in S3 is all there is to it: not while it is written, or has yet to come there.
    pub(super) fn is_as_in_s3(&self) -> bool {
        let state = self.state();
        state.session.is_none() && state.committed.is_some()
    }

    /// Whether it has its name, is as in S3, and that in another version than this.
    pub(super) fn has_another_version_than(&self, version: &ETag) -> bool {
        let state = self.state();
        let is_other = state.committed.as_ref().is_some_and(|meta| meta.etag != *version);
        is_other && state.session.is_none() && state.place.is_some()
    }

    /// Waits until nothing else that takes several requests is under way on this file.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Waits for the right to store pages of this file.
    pub(super) async fn filling(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.filling).read_owned().await
    }

    /// Waits until nobody stores pages that were read before the state became what it is now.
    pub(super) async fn end_filling(&self) {
        drop(self.filling.write().await);
    }

    /// Whether pages of `version` are what the kernel may have of this file, and will look at: not of one that it
    /// reads by itself. Holds until [`filling`](Self::filling) is let go.
    pub(super) fn may_be_filled(&self, version: &ETag) -> bool {
        let state = self.state();
        let is_current = state.committed.as_ref().is_some_and(|meta| meta.etag == *version);
        is_current && state.session.is_none() && state.passed.is_none() && state.handles > 0
    }

    /// What random reads have cost so far.
    pub(super) fn rent(&self) -> parking_lot::MutexGuard<'_, Rent> {
        self.rent.lock()
    }

    /// Has reads answered from these bytes when S3 has them no longer.
    pub(super) fn keep(&self, kept: Arc<Kept>) {
        let mut state = self.state();
        if let Some(session) = &state.session {
            session.keep_base(Arc::clone(&kept));
        }
        state.kept = Some(kept);
    }

    /// The write session, if there is one.
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        self.state.lock().session.clone()
    }
}

/// Waits for the [turns](OpenFile::turn) of several files, in an order in which no two who do that wait for each other.
pub(super) async fn turns_of<'a>(
    files: impl IntoIterator<Item = &'a Arc<OpenFile>>,
) -> Vec<tokio::sync::MutexGuard<'a, ()>> {
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort_unstable_by_key(|file| file.ino.0);
    let mut turns = Vec::with_capacity(files.len());
    for file in files {
        turns.push(file.turn().await);
    }
    turns
}

/// All that is open.
#[derive(Debug, Default)]
pub(super) struct HandleTable {
    next: AtomicU64,
    files: Mutex<HashMap<HandleId, Arc<FileHandle>>>,
    directories: Mutex<HashMap<HandleId, Arc<DirectoryHandle>>>,
}

impl HandleTable {
    /// Registers an open file.
    pub(super) fn add_file(&self, handle: FileHandle) -> HandleId {
        let id = self.mint();
        self.files.lock().insert(id, Arc::new(handle));
        id
    }

    /// Registers an open directory.
    pub(super) fn add_directory(&self, handle: DirectoryHandle) -> HandleId {
        let id = self.mint();
        self.directories.lock().insert(id, Arc::new(handle));
        id
    }

    /// An open file.
    ///
    /// # Errors
    /// [`Kind::BadHandle`].
    pub(super) fn file(&self, id: HandleId) -> Result<Arc<FileHandle>> {
        self.files.lock().get(&id).cloned().ok_or_else(bad_handle)
    }

    /// An open directory.
    ///
    /// # Errors
    /// [`Kind::BadHandle`].
    pub(super) fn directory(&self, id: HandleId) -> Result<Arc<DirectoryHandle>> {
        self.directories.lock().get(&id).cloned().ok_or_else(bad_handle)
    }

    /// The kernel is done with a file.
    pub(super) fn remove_file(&self, id: HandleId) -> Option<Arc<FileHandle>> {
        self.files.lock().remove(&id)
    }

    /// The kernel is done with a directory.
    pub(super) fn remove_directory(&self, id: HandleId) -> Option<Arc<DirectoryHandle>> {
        self.directories.lock().remove(&id)
    }

    fn mint(&self) -> HandleId {
        HandleId(self.next.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

fn bad_handle() -> Error {
    Error::new(Kind::BadHandle, "no such open file")
}
