//! The files of one segment: blocks in, checked blocks out.
//!
//! Whoever has an [`Entry`] holds a shared lock (flock(2)) on its index, and [`remove`] takes an exclusive
//! one or leaves it alone. So what is in use is evicted by no process, and a process that dies lets go.
//!
//! Several processes may write to one entry at the same time. They write the same bytes, because the
//! header says of which version they are, and each seals a block after writing it.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};

use super::layout::{BLOCK_BYTES, Layout, SEAL_BYTES, checksum, seal};
use crate::{clock, sys};

/// A segment whose files are open.
#[derive(Debug)]
pub(super) struct Entry {
    layout: Arc<Layout>,
    content: File,
    /// `None` where the content is packed with it.
    index: Option<File>,
    birth: Birth,
    /// A bit for each block that this process has read, and found to fit its seal.
    checked: Box<[AtomicU64]>,
}

/// Which file it was: numbers of inodes are given anew, and so is the name, but not at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Birth {
    inode: u64,
    /// `None` where the file system does not tell.
    created: Option<SystemTime>,
}

impl Birth {
    fn of(index: &Metadata) -> Self {
        Self { inode: index.ino(), created: index.created().ok() }
    }
}

/// Whether to wait for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Yes.
    Disk,
    /// No: what is not in the kernel's page cache is not to be had.
    Memory,
}

/// What an entry has to have, to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// It exists.
    Existing,
    /// Nothing: it is made.
    Create,
}

impl Entry {
    /// Opens the files of a segment; `None` when there are none, when they are being removed, or when they
    /// are those of another segment of the same name, which are then removed.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn open(folder: &Path, layout: &Arc<Layout>, opening: Opening) -> io::Result<Option<Self>> {
        let paths = Paths::of(folder, layout.name);
        let Some(index) = open_file(if layout.is_packed() { &paths.packed } else { &paths.index }, opening)?
        else {
            return Ok(None);
        };
        if !is_locked(index.try_lock_shared())? || index.metadata()?.nlink() == 0 {
            return Ok(None);
        }
        if !has_header(&index, layout)? {
            let is_new = index.metadata()?.len() <= layout.header_at();
            if !is_new || opening == Opening::Existing {
                drop(index);
                remove(folder, layout.name)?;
                return Ok(None);
            }
            index.write_all_at(&layout.header, layout.header_at())?;
        }
        lengthen(&index, layout.seal_at(layout.blocks()))?;
        touch(&index)?;
        let birth = Birth::of(&index.metadata()?);
        if layout.is_packed() {
            return Ok(Some(Self::of(layout, index, None, birth)));
        }
        // Where it is missing, no block will fit its seal.
        let content = open_file(&paths.content, Opening::Create)?.expect("it is made");
        lengthen(&content, layout.len())?;
        Ok(Some(Self::of(layout, content, Some(index), birth)))
    }

    fn of(layout: &Arc<Layout>, content: File, index: Option<File>, birth: Birth) -> Self {
        let words = layout.blocks().div_ceil(u64::from(u64::BITS));
        let checked = (0..words).map(|_| AtomicU64::new(0)).collect();
        Self { layout: Arc::clone(layout), content, index, birth, checked }
    }

    /// What it is of.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What tells it from another entry that has, or had, the same name.
    pub(super) fn birth(&self) -> Birth {
        self.birth
    }

    /// The content alone, for others to read; `None` where the index is in the same file.
    pub(super) fn content(&self) -> Option<&File> {
        self.index.is_some().then_some(&self.content)
    }

    /// The seals of some blocks, 0 for those that are not there; `None` where that would take waiting.
    ///
    /// # Errors
    /// Those of pread(2).
    pub(super) fn seals(&self, blocks: &Range<u64>, patience: Patience) -> io::Result<Option<Vec<u64>>> {
        let mut bytes = vec![0; as_usize((blocks.end - blocks.start) * SEAL_BYTES)];
        if !read(self.index(), &mut bytes, self.layout.seal_at(blocks.start), patience)? {
            return Ok(None);
        }
        Ok(Some(bytes.as_chunks().0.iter().map(|seal| u64::from_le_bytes(*seal)).collect()))
    }

    /// The bytes of `blocks` up to the first that does not fit its seal; `None` where that would take waiting.
    ///
    /// # Errors
    /// Those of pread(2).
    pub(super) fn read(
        &self,
        blocks: &Range<u64>,
        seals: &[u64],
        patience: Patience,
    ) -> io::Result<Option<Vec<u8>>> {
        let range = self.layout.bytes_of(blocks.clone());
        let mut bytes = vec![0; as_usize(range.len())];
        if !read(&self.content, &mut bytes, range.start - self.layout.range.start, patience)? {
            return Ok(None);
        }
        let block_bytes = as_usize(BLOCK_BYTES);
        let fits = |(block, expected): &(&[u8], &u64)| seal(checksum(block)) == **expected;
        let sound = bytes.chunks(block_bytes).zip(seals).take_while(fits).count();
        bytes.truncate(sound * block_bytes);
        self.mark_checked(blocks.start..blocks.start + sound as u64);
        Ok(Some(bytes))
    }

    /// Writes a block and seals it.
    ///
    /// # Errors
    /// Those of pwrite(2). The block then counts as not there.
    pub(super) fn write<'a>(&self, block: u64, pieces: impl Iterator<Item = &'a Bytes>) -> io::Result<()> {
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        let mut at = block * BLOCK_BYTES;
        for piece in pieces {
            self.content.write_all_at(piece, at)?;
            digest.update(piece);
            at += piece.len() as u64;
        }
        debug_assert_eq!(at + self.layout.range.start, self.layout.bytes_of(block..block + 1).end);
        self.index().write_all_at(&seal(digest.finalize()).to_le_bytes(), self.layout.seal_at(block))
    }

    /// Takes the seal off a block: it counts as not there.
    ///
    /// # Errors
    /// Those of pwrite(2).
    pub(super) fn unseal(&self, block: u64) -> io::Result<()> {
        let (word, bit) = self.bit(block);
        word.fetch_and(!bit, Ordering::Relaxed);
        self.index().write_all_at(&[0; SEAL_BYTES as usize], self.layout.seal_at(block))
    }

    /// Takes note that it is used, for whoever looks for what to evict.
    ///
    /// # Errors
    /// Those of futimens(2).
    pub(super) fn touch(&self) -> io::Result<()> {
        touch(self.index())
    }

    /// Whether this process has read every block, and found it to fit its seal.
    pub(super) fn is_checked(&self) -> bool {
        let blocks = 0..self.layout.blocks();
        blocks.into_iter().all(|block| {
            let (word, bit) = self.bit(block);
            word.load(Ordering::Relaxed) & bit != 0
        })
    }

    fn mark_checked(&self, blocks: Range<u64>) {
        for block in blocks {
            let (word, bit) = self.bit(block);
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn bit(&self, block: u64) -> (&AtomicU64, u64) {
        (&self.checked[as_usize(block / u64::from(u64::BITS))], 1 << (block % u64::from(u64::BITS)))
    }

    fn index(&self) -> &File {
        self.index.as_ref().unwrap_or(&self.content)
    }
}

/// Removes the files of a name; `false` when they are in use. Whoever finds half of it removed after a crash
/// finds blocks without seals, or seals without blocks, and both are nothing.
///
/// # Errors
/// Those of unlink(2).
pub(super) fn remove(folder: &Path, name: u64) -> io::Result<bool> {
    let Paths { content, index, packed } = Paths::of(folder, name);
    let mut is_free = true;
    for (locked, path_of_content) in [(index, Some(content)), (packed, None)] {
        let held = open_file(&locked, Opening::Existing)?;
        if let Some(file) = &held
            && !is_locked(file.try_lock())?
        {
            is_free = false;
            continue;
        }
        path_of_content.map_or(Ok(()), unlink)?;
        unlink(locked)?;
    }
    Ok(is_free)
}

/// The files that a name may have.
struct Paths {
    content: PathBuf,
    index: PathBuf,
    packed: PathBuf,
}

impl Paths {
    fn of(folder: &Path, name: u64) -> Self {
        let path = |extension: &str| folder.join(format!("{name:016x}.{extension}"));
        Self { content: path("content"), index: path("index"), packed: path("packed") }
    }
}

/// The name that a file in the folder belongs to; `None` for a file that is none of ours.
pub(super) fn name_of(path: &Path) -> Option<u64> {
    let is_ours = ["content", "index", "packed"].iter().any(|known| path.extension() == Some(known.as_ref()));
    let stem = path.file_stem()?.to_str().filter(|stem| is_ours && stem.len() == 16)?;
    u64::from_str_radix(stem, 16).ok()
}

fn open_file(path: &Path, opening: Opening) -> io::Result<Option<File>> {
    let create = opening == Opening::Create;
    let file = File::options().read(true).write(true).create(create).truncate(false).mode(0o600).open(path);
    match file {
        Err(error) if error.kind() == ErrorKind::NotFound && !create => Ok(None),
        opened => opened.map(Some),
    }
}

fn unlink(path: PathBuf) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_locked(outcome: Result<(), TryLockError>) -> io::Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn has_header(index: &File, layout: &Layout) -> io::Result<bool> {
    let mut found = vec![0; layout.header.len()];
    match index.read_exact_at(&mut found, layout.header_at()) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        outcome => outcome.map(|()| found == layout.header),
    }
}

fn lengthen(file: &File, bytes: u64) -> io::Result<()> {
    if file.metadata()?.len() < bytes { file.set_len(bytes) } else { Ok(()) }
}

fn touch(index: &File) -> io::Result<()> {
    let now = clock::now();
    let is_recent = |age: Duration| age < TOUCH_EVERY;
    match now.duration_since(index.metadata()?.modified()?) {
        Ok(age) if is_recent(age) => Ok(()),
        _ => index.set_modified(now),
    }
}

/// Fills `bytes` from `offset`; `false` where that would take waiting.
fn read(file: &File, bytes: &mut [u8], offset: u64, patience: Patience) -> io::Result<bool> {
    match patience {
        Patience::Disk => file.read_exact_at(bytes, offset).map(|()| true),
        Patience::Memory => Ok(sys::read_from_memory(file, bytes, offset)? == bytes.len()),
    }
}

fn as_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a few blocks fit into memory")
}

/// Who used what within a minute of each other does not matter to eviction.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
