//! The local bytes of a written file.
//!
//! A staging file has each byte at the offset it has in the file itself, and holes where nothing
//! was written: when the worst happens, what is set aside is recognisably the file. A [`Layer`]
//! is a staging file and the claim that says which bytes of it count.
//!
//! [`Content`](super::content::Content) puts the layers on top of each other.
//!
//! Nothing here is synchronised to the disk, unless close(2) leaves the commit to the background: staging guards
//! against the death of this process, and the page cache outlives it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use parking_lot::Mutex;

use super::ranges::Claim;
use crate::s3::object::ByteRange;
use crate::sys;

/// Where the files of one session are: `<id>.bytes`, `<id>.overlay`, `<id>.json`, `<id>.unfinished`.
#[derive(Debug, Clone)]
pub struct Place {
    directory: Arc<Path>,
    id: String,
}

impl Place {
    /// Returns a place in `directory` that nobody has used before.
    pub fn fresh(directory: Arc<Path>) -> Self {
        Self { directory, id: format!("{:032x}", fastrand::u128(..)) }
    }

    /// Returns the place that an earlier process called `id`.
    pub fn named(directory: Arc<Path>, id: String) -> Self {
        Self { directory, id }
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The staging file.
    pub fn bytes(&self) -> PathBuf {
        self.file(BYTES)
    }

    /// The staging file for what is written while a commit runs.
    pub fn overlay(&self) -> PathBuf {
        self.file(OVERLAY)
    }

    /// The journal record.
    pub fn record(&self) -> PathBuf {
        self.file(RECORD)
    }

    /// The journal record while it is being written.
    pub fn unfinished_record(&self) -> PathBuf {
        self.file(UNFINISHED)
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.directory.join(format!("{}.{extension}", self.id))
    }
}

/// Extension of staging files.
pub const BYTES: &str = "bytes";
/// Extension of what was written while a commit ran.
pub const OVERLAY: &str = "overlay";
/// Extension of journal records.
pub const RECORD: &str = "json";
/// Extension of journal records that are being written.
pub const UNFINISHED: &str = "unfinished";

/// One sparse file in the staging directory. Whoever has it decides when it is removed.
///
/// It may [rest](Self::rest) without a descriptor, of which a process has only so many, and is opened again by whoever
/// needs it.
#[derive(Debug)]
pub struct StagingFile {
    file: Mutex<Option<Arc<File>>>,
    path: PathBuf,
}

impl StagingFile {
    /// Creates an empty file that did not exist before, readable by its owner alone.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn create(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file: Mutex::new(Some(Arc::new(file))), path })
    }

    /// Opens what an earlier process left.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Self { file: Mutex::new(Some(Arc::new(file))), path })
    }

    fn file(&self) -> io::Result<Arc<File>> {
        let mut file = self.file.lock();
        if let Some(file) = &*file {
            return Ok(Arc::clone(file));
        }
        let opened = OpenOptions::new().read(true).write(true).open(&self.path)?;
        Ok(Arc::clone(file.insert(Arc::new(opened))))
    }

    /// Gives the descriptor back until the file is needed again.
    pub fn rest(&self) {
        *self.file.lock() = None;
    }

    /// Waits until the disk has the bytes.
    ///
    /// # Errors
    /// Those of fdatasync(2): whether the disk has them is not known then.
    pub fn sync(&self) -> io::Result<()> {
        self.file()?.sync_data()
    }

    /// Has the kernel begin with what [`sync`](Self::sync) waits for.
    ///
    /// # Errors
    /// Those of open(2) and sync_file_range(2).
    pub fn begin_sync(&self) -> io::Result<()> {
        sys::begin_write_back(&*self.file()?)
    }

    /// The CRC-64/NVME of all there is in the file; `None` where that is more than `bytes_max`.
    ///
    /// # Errors
    /// Those of open(2) and pread(2).
    pub fn checksum(&self, bytes_max: u64) -> io::Result<Option<u64>> {
        let size = self.file()?.metadata()?.len();
        if size > bytes_max {
            return Ok(None);
        }
        let bytes = self.read(ByteRange { start: 0, end: size })?;
        Ok(Some(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Those of pwrite(2); some of the bytes may have been written.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file()?.write_all_at(bytes, offset)
    }

    /// Reads `range`; what lies in a hole or beyond the end is zeros.
    ///
    /// # Errors
    /// Those of pread(2).
    pub fn read(&self, range: ByteRange) -> io::Result<Bytes> {
        let length = usize::try_from(range.len()).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        let (file, mut filled) = (self.file()?, 0);
        while filled < length {
            match file.read_at(&mut bytes[filled..], range.start + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes.into())
    }

    /// Makes `range` read as zeros. It takes no room on the disk any more, where that has holes.
    ///
    /// # Errors
    /// Those of fallocate(2) and pwrite(2); some of it may be zeros then.
    pub fn punch(&self, range: ByteRange) -> io::Result<()> {
        let end = range.end.min(self.file()?.metadata()?.len());
        if range.start >= end {
            return Ok(());
        }
        match sys::punch_hole(&*self.file()?, range.start, end - range.start) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                let zeros = [0; ZEROS_BYTES];
                let starts = (range.start..end).step_by(ZEROS_BYTES);
                let length = |start: u64| usize::try_from(end - start).unwrap_or(usize::MAX).min(ZEROS_BYTES);
                starts.into_iter().try_for_each(|start| self.write(start, &zeros[..length(start)]))
            }
            punched => punched,
        }
    }

    /// Room that it takes on the disk, in bytes; 0 where that cannot be told.
    pub fn bytes_on_disk(&self) -> u64 {
        let metadata = self.file().and_then(|file| file.metadata());
        metadata.map_or(0, |metadata| metadata.blocks() * STAT_BLOCK_BYTES)
    }

    /// The first byte of `range` that does not lie in a hole.
    ///
    /// # Errors
    /// Those of lseek(2).
    pub fn first_data(&self, range: ByteRange) -> io::Result<Option<u64>> {
        Ok(sys::next_data(&*self.file()?, range.start)?.filter(|at| *at < range.end))
    }

    /// The first byte of `range` that lies in a hole, or behind the end of the staging file.
    ///
    /// # Errors
    /// Those of lseek(2).
    pub fn first_hole(&self, range: ByteRange) -> io::Result<Option<u64>> {
        let hole = sys::next_hole(&*self.file()?, range.start)?.unwrap_or(range.start);
        Ok(Some(hole).filter(|at| *at < range.end))
    }

    /// Drops everything from `size` on.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    pub fn cut(&self, size: u64) -> io::Result<()> {
        let file = self.file()?;
        if file.metadata()?.len() > size { file.set_len(size) } else { Ok(()) }
    }

    /// Makes the file at least `size` long, with a hole at its end.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    pub fn stretch(&self, size: u64) -> io::Result<()> {
        let file = self.file()?;
        if file.metadata()?.len() < size { file.set_len(size) } else { Ok(()) }
    }

    /// Removes the file; open reads of it go on.
    pub fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a staging file could not be removed");
        }
    }
}

/// Written bytes and which of them count.
///
/// Invariant: a byte that is claimed and lies beyond the end of the file, or in a hole, is zero.
/// There is no file until the first byte is written, and then all that is claimed is zero.
#[derive(Debug, Clone)]
pub struct Layer {
    role: Role,
    file: Option<Arc<StagingFile>>,
    claim: Claim,
}

/// Which of a session's two files a layer writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What the session wrote.
    Staged,
    /// What it wrote while a commit was running.
    Overlay,
}

impl Layer {
    /// Returns a layer that claims what `claim` says, all of it zeros.
    pub fn new(claim: Claim, role: Role) -> Self {
        Self { role, file: None, claim }
    }

    /// Returns the layer that an earlier process left: a file that has all the bytes of `claim`.
    pub fn left(file: Option<StagingFile>, claim: Claim) -> Self {
        Self { role: Role::Staged, file: file.map(Arc::new), claim }
    }

    /// Which bytes count.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The file, if any byte was ever written.
    pub fn file(&self) -> Option<&Arc<StagingFile>> {
        self.file.as_ref()
    }

    /// Writes `bytes` at `offset`, into a file at `place` that is created if there is none yet.
    ///
    /// # Errors
    /// Those of open(2) and pwrite(2); nothing new is claimed then.
    pub fn write(&mut self, offset: u64, bytes: &[u8], place: &Place) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(Arc::new(StagingFile::create(self.role.path(place))?)),
        };
        file.write(offset, bytes)?;
        self.claim.insert(ByteRange { start: offset, end: offset + bytes.len() as u64 });
        Ok(())
    }

    /// Claims `range` no longer: what lies below shows.
    pub fn show(&mut self, range: ByteRange) {
        self.claim.remove(range);
    }

    /// Claims nothing below `size` any more. Nothing may have been written there.
    pub fn show_from(&mut self, size: u64) {
        self.claim = Claim::from(size);
    }

    /// Claims `range`, as zeros, which take no room.
    ///
    /// # Errors
    /// As [`StagingFile::punch`]; nothing new is claimed then.
    pub fn zero(&mut self, range: ByteRange) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.punch(range)?;
        }
        self.claim.insert(range);
        Ok(())
    }

    /// Claims everything from `size` on, as zeros.
    ///
    /// # Errors
    /// Those of ftruncate(2); nothing has changed then.
    pub fn truncate(&mut self, size: u64) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.cut(size)?;
        }
        self.claim.truncate(size);
        Ok(())
    }
}

impl Role {
    fn path(self, place: &Place) -> PathBuf {
        match self {
            Self::Staged => place.bytes(),
            Self::Overlay => place.overlay(),
        }
    }
}

/// What `st_blocks` counts in (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;

/// Written at a time where a file system knows no holes.
const ZEROS_BYTES: usize = 64 << 10;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot use its scratch directory has failed")]
mod tests {
    use super::*;

    fn written(writes: &[(u64, &[u8])], directory: &Path) -> Layer {
        let place = Place::fresh(directory.into());
        let mut layer = Layer::new(Claim::from(0), Role::Staged);
        writes.iter().for_each(|(offset, bytes)| layer.write(*offset, bytes, &place).unwrap());
        layer
    }

    fn read(layer: &Layer, start: u64, end: u64) -> Bytes {
        layer.file().unwrap().read(ByteRange { start, end }).unwrap()
    }

    #[test]
    fn holes_and_what_lies_beyond_the_end_are_zeros() {
        let directory = tempfile::tempdir().unwrap();
        let layer = written(&[(0, b"abc"), (5, b"z")], directory.path());
        assert_eq!(&read(&layer, 1, 8)[..], b"bc\0\0z\0\0");
    }

    #[test]
    fn what_was_cut_off_does_not_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut layer = written(&[(0, b"abcdef")], directory.path());
        layer.truncate(2).unwrap();
        layer.write(4, b"x", &Place::fresh(directory.path().into())).unwrap();
        assert_eq!(&read(&layer, 0, 5)[..], b"ab\0\0x");
    }

    #[test]
    fn a_staging_file_never_takes_the_place_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bytes");
        let _first = StagingFile::create(path.clone()).unwrap();
        assert_eq!(StagingFile::create(path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
