//! Bytes in both directions, through what is open.
//!
//! A file that somebody writes is read from its session, and any other from the version that its
//! handles are pinned to. So a reader sees what a writer in the same mount wrote, as it wrote it.

use std::sync::Arc;

use super::attr::AttributeChange;
use super::dirs::Shown;
use super::files::OpenOptions;
use super::handle::{Access, FileHandle, HandleId, OpenFile, PlacedReader};
use super::{Filesystem, target_key};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::namespace::{Ino, Place};
use crate::read::{Fetched, ReadBytes, Reader};
use crate::s3::{ByteRange, ObjectMeta};
use crate::write::{Occasion, Session};

impl Filesystem {
    /// Reads without waiting, where the bytes have arrived already.
    pub fn try_read(&self, handle: HandleId, offset: u64, size: u32) -> Option<Result<ReadBytes>> {
        let handle = self.handles.file(handle).ok()?;
        if handle.file.session().is_some() {
            return None;
        }
        let placed = handle.reader.lock().clone()?;
        let is_current = placed.is_current(&handle.file.state());
        // Whether an error is one is for `read` to find out.
        if is_current { placed.reader.try_read(offset, size).filter(Result::is_ok) } else { None }
    }

    /// Reads `size` bytes, fewer only at the end of the file.
    ///
    /// # Errors
    /// [`Kind::Changed`] when somebody else replaced the object since it was opened.
    pub async fn read(&self, handle: HandleId, offset: u64, size: u32) -> Result<ReadBytes> {
        let handle = self.handles.file(handle)?;
        if !handle.access.read {
            return Err(Error::new(Kind::BadHandle, "not opened for reading"));
        }
        loop {
            match self.read_once(&handle, offset, size).await {
                Err(error) if error.kind() == Kind::Changed && self.has_moved_on(&handle).await => {}
                read => return read,
            }
        }
    }

    /// Whether a reader failed because this mount has replaced, moved or removed the file while it asked S3, which may
    /// not be over yet. Then there is something else to read from.
    async fn has_moved_on(&self, handle: &FileHandle) -> bool {
        let Some(failed) = handle.reader.lock().clone() else { return false };
        let _turn = handle.file.turn().await;
        if let Some(session) = handle.file.session() {
            drop(session.at_rest().await);
        }
        let state = handle.file.state();
        match &state.place {
            Some(_) => !failed.is_current(&state) && failed.expect_continued(&state).is_ok(),
            None => state.kept.is_some(),
        }
    }

    async fn read_once(&self, handle: &FileHandle, offset: u64, size: u32) -> Result<ReadBytes> {
        while let Some(session) = handle.file.session() {
            // It may build on a version that others made after this handle began to read.
            handle.expect_current()?;
            match session.read(offset, u64::from(size)).await {
                // The writer left between the two looks. The file has let go of the session by now.
                Err(error) if error.kind() == Kind::BadHandle => {}
                read => return Ok(read?.into()),
            }
        }
        let range = ByteRange { start: offset, end: offset.saturating_add(u64::from(size)) };
        if let Some(read) = self.read_kept(handle, range).await {
            return read;
        }
        let reader = self.reader(handle)?;
        let read = reader.read(offset, size).await?;
        self.consider_filling(handle, &reader);
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
        bytes: &[u8],
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        let staged = self.writable(handle).map(|(file, session)| {
            let staged = session.write(offset, bytes);
            touched(&file);
            staged
        });
        async move { staged?.await }
    }

    /// Writes at the end of the file (O_APPEND), wherever that is by now. `expected` is where the kernel takes it
    /// to be, and where it has put the bytes among its pages: it is told if that is wrong.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn append(
        &self,
        handle: HandleId,
        expected: u64,
        bytes: &[u8],
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        let staged = self.writable(handle).map(|(file, session)| {
            let (at, staged) = session.append(bytes);
            touched(&file);
            if at != expected {
                self.tell_changed(file.ino);
            }
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

    /// The reader of a handle, pinned to the version that the handle shows.
    ///
    /// # Errors
    /// [`Kind::Changed`] when another open has found that somebody else replaced the object: the
    /// kernel's pages are shared by all who have it open, and must not hold two versions.
    fn reader(&self, handle: &FileHandle) -> Result<Arc<Reader>> {
        self.reader_of(handle, None)
    }

    /// As [`reader`](Self::reader), and a new one has what was fetched already.
    pub(super) fn reader_of(
        &self,
        handle: &FileHandle,
        fetched: Option<Arc<Fetched>>,
    ) -> Result<Arc<Reader>> {
        let (place, meta) = {
            let state = handle.file.state();
            let unknown =
                || Error::new(Kind::Changed, "somebody else has the name, and this file is set aside");
            let meta = state.committed.clone().ok_or_else(unknown)?;
            if let Some(placed) = &*handle.reader.lock() {
                if placed.is_current(&state) {
                    return Ok(Arc::clone(&placed.reader));
                }
                placed.expect_continued(&state)?;
            }
            (state.place.clone(), meta)
        };
        // It could not be kept, and is gone in S3.
        let place = place.ok_or_else(|| Error::new(Kind::Changed, "removed while open"))?;
        let reader = Arc::new(self.begin_reading(&place, meta)?.with(fetched));
        *handle.reader.lock() = Some(PlacedReader { place, reader: Arc::clone(&reader) });
        Ok(reader)
    }

    /// A reader beside those of the handles, of what they show; `None` where there is nothing to read.
    pub(super) fn new_reader(&self, handle: &FileHandle) -> Result<Option<Reader>> {
        let state = handle.file.state();
        let shown = state.place.clone().zip(state.committed.clone());
        drop(state);
        shown.map(|(place, meta)| self.begin_reading(&place, meta)).transpose()
    }

    pub(super) fn begin_reading(&self, place: &Place, meta: ObjectMeta) -> Result<Reader> {
        let gateway = Arc::clone(self.namespace().gateway(place.folder.bucket));
        let (budget, tasks) = (self.reading_budget.clone(), self.parts.tasks.clone());
        let (reading, cache) = (self.parts.reading.clone(), self.parts.cache.as_ref());
        Ok(Reader::new(gateway, target_key(place)?, meta, reading, budget, tasks, cache))
    }

    pub(super) fn writable(&self, handle: HandleId) -> Result<(Arc<OpenFile>, Arc<Session>)> {
        let handle = self.handles.file(handle)?;
        let session = handle.file.session().filter(|_| handle.access.write);
        let session = session.ok_or_else(|| Error::new(Kind::BadHandle, "not opened for writing"))?;
        Ok((Arc::clone(&handle.file), session))
    }
}

/// Takes the time of a write.
pub(super) fn touched(file: &OpenFile) {
    let now = clock::now();
    let mut state = file.state();
    (state.attributes.mtime, state.attributes.ctime) = (now, now);
}
