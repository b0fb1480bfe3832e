//! The folder that all mounts of a user share: made, looked through, cleared of the oldest.
//!
//! Beside the entries it holds `ledger`: eight bytes that say how much is used or allotted, in all processes
//! together. Who draws from it, or evicts, holds an exclusive lock on it; nobody waits for that lock. The
//! ledger may be wrong after a crash, and is made right again by whoever looks through the folder next.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::entry;
use super::evict::{Bounds, Candidate, Fill, order};
use super::open::OpenEntries;
use crate::error::{Error, Kind, Result};
use crate::sys;

/// The shared folder, as one process holds it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    bounds: Bounds,
    ledger: File,
    /// What this process has drawn and not used yet.
    allotted: u64,
    space: SpaceOf,
}

/// How to ask for the space of a file system; a test may have a disk that is full.
pub(super) type SpaceOf = fn(&Path) -> io::Result<sys::Space>;

impl Folder {
    /// Opens the folder in `directory`, or makes it.
    ///
    /// # Errors
    /// [`Kind::Denied`] when others can read it; and those of the file system.
    pub(super) fn open(directory: &Path, bytes_max: u64, space: SpaceOf) -> Result<Self> {
        let path = directory.join(FOLDER);
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        ensure_private(&path)?;
        let bounds = Bounds::new(bytes_max, space(&path)?.total_bytes);
        let options = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
        let ledger = options.open(path.join(LEDGER))?;
        Ok(Self { path, bounds, ledger, allotted: 0, space })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What bounds it.
    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Takes `bytes` of what may be written, evicting others for it; `false` when there is no room now.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn take(&mut self, bytes: u64, open: &OpenEntries) -> io::Result<bool> {
        while self.allotted < bytes {
            if !self.draw(open)? {
                return Ok(false);
            }
        }
        self.allotted -= bytes;
        Ok(true)
    }

    /// Looks through all entries, sets the ledger right, evicts what is too much, and removes what a crash
    /// has left half done. Does nothing while another process is at it.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn tidy(&self, open: &OpenEntries) -> io::Result<()> {
        let Some(ledger) = Ledger::lock(&self.ledger)? else { return Ok(()) };
        ledger.set(self.evict(open)?)
    }

    /// Gives back to the disk what others need more.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn yield_to_others(&self, open: &OpenEntries) -> io::Result<()> {
        let free_bytes = (self.space)(&self.path)?.free_bytes;
        if free_bytes < self.bounds.free_bytes_min { self.tidy(open) } else { Ok(()) }
    }

    /// Gives back what was drawn and not used.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        let Some(ledger) = Ledger::lock(&self.ledger)? else { return Ok(()) };
        ledger.set(ledger.used()?.saturating_sub(self.allotted))?;
        self.allotted = 0;
        Ok(())
    }

    /// Somebody who only wants to know how much is used.
    ///
    /// # Errors
    /// Those of dup(2).
    pub(super) fn meter(&self) -> io::Result<Meter> {
        self.ledger.try_clone().map(Meter)
    }

    fn draw(&mut self, open: &OpenEntries) -> io::Result<bool> {
        let Some(ledger) = Ledger::lock(&self.ledger)? else { return Ok(false) };
        let mut fill = self.fill(ledger.used()?)?;
        if !self.bounds.allow(fill) {
            fill = self.fill(self.evict(open)?)?;
            ledger.set(fill.used_bytes)?;
        }
        if !self.bounds.allow(fill) {
            return Ok(false);
        }
        let allotment = self.bounds.allotment(fill);
        ledger.set(fill.used_bytes + allotment)?;
        self.allotted += allotment;
        Ok(true)
    }

    fn fill(&self, used_bytes: u64) -> io::Result<Fill> {
        Ok(Fill { used_bytes, free_bytes: (self.space)(&self.path)?.free_bytes })
    }

    /// Evicts what is too much, and returns what the rest takes, or will have taken soon.
    fn evict(&self, open: &OpenEntries) -> io::Result<u64> {
        let mut entries = self.entries()?;
        for entry in &mut entries {
            entry.used = entry.used.max(open.used(entry.name).unwrap_or(entry.used));
        }
        let taken = self.fill(entries.iter().map(|entry| entry.bytes).sum())?;
        let mut used_bytes = taken.used_bytes + self.bounds.outstanding(taken);
        let surplus = self.bounds.surplus(Fill { used_bytes, ..taken });
        order(&mut entries);
        let goal = used_bytes - surplus;
        for entry in entries {
            if used_bytes <= goal {
                break;
            }
            open.let_go(entry.name);
            if entry::remove(&self.path, entry.name)? {
                used_bytes -= entry.bytes;
            }
        }
        tracing::debug!(used_bytes, surplus, "looked through the block cache");
        Ok(used_bytes)
    }

    /// All entries. Content without an index is what a crash has left, and is removed.
    fn entries(&self) -> io::Result<Vec<Candidate>> {
        let mut found: HashMap<u64, (Candidate, bool)> = HashMap::new();
        for file in fs::read_dir(&self.path)? {
            let path = file?.path();
            let Some(name) = entry::name_of(&path) else { continue };
            // Another process may have removed it since it was listed.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let nothing = Candidate { name, bytes: 0, used: SystemTime::UNIX_EPOCH };
            let (candidate, has_index) = found.entry(name).or_insert((nothing, false));
            candidate.bytes += metadata.blocks() * STAT_BLOCK_BYTES;
            if path.extension() != Some("content".as_ref()) {
                *has_index = true;
                candidate.used = metadata.modified()?;
            }
        }
        let mut entries = Vec::with_capacity(found.len());
        for (candidate, has_index) in found.into_values() {
            // An index is made before its content; this looks again before it removes.
            if has_index || !entry::remove(&self.path, candidate.name)? {
                entries.push(candidate);
            }
        }
        Ok(entries)
    }
}

/// How much is used, by all processes together.
#[derive(Debug)]
pub(super) struct Meter(File);

impl Meter {
    /// What the ledger says.
    pub(super) fn used_bytes(&self) -> u64 {
        Ledger { file: &self.0 }.used().unwrap_or(0)
    }
}

/// The ledger, for whoever may read it.
struct Ledger<'a> {
    file: &'a File,
}

impl<'a> Ledger<'a> {
    /// `None` while another process has it.
    fn lock(file: &'a File) -> io::Result<Option<LockedLedger<'a>>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(LockedLedger(Self { file }))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// One that was never written, or cut short, knows nothing.
    fn used(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        match self.file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(u64::from_le_bytes(bytes)),
        }
    }

    fn set(&self, used: u64) -> io::Result<()> {
        self.file.write_all_at(&used.to_le_bytes(), 0)
    }
}

/// Unlocks when dropped.
struct LockedLedger<'a>(Ledger<'a>);

impl<'a> std::ops::Deref for LockedLedger<'a> {
    type Target = Ledger<'a>;

    fn deref(&self) -> &Ledger<'a> {
        &self.0
    }
}

impl Drop for LockedLedger<'_> {
    fn drop(&mut self) {
        // A lock that cannot be given up is given up with its descriptor.
        self.0.file.unlock().unwrap_or_default();
    }
}

/// What others can read is no place for what a bucket shows to us alone.
fn ensure_private(path: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let (uid, _) = sys::effective_ids();
    if metadata.is_dir() && metadata.uid() == uid && metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    let text = format!("{} is not a directory that only this user can enter", path.display());
    Err(Error::new(Kind::Denied, format!("{text}; hint: remove it, or name another place with --cache")))
}

/// Another form of files would be another folder.
const FOLDER: &str = "blocks-1";
const LEDGER: &str = "ledger";

/// The unit of `st_blocks` (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;
