//! The entries that this process has open.
//!
//! Opening one costs more than reading from it, so those in use stay open; but each takes two descriptors
//! and cannot be evicted by anybody, so they are few, and those that nobody has used for a moment go.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::entry::{Birth, Entry, Opening};
use super::layout::Layout;
use crate::clock;

/// Entries by name.
#[derive(Debug)]
pub(super) struct OpenEntries {
    folder: PathBuf,
    /// Nothing is opened under this lock.
    open: Mutex<HashMap<u64, Held>>,
    /// The entries of which this process has checked every block.
    checked: Mutex<HashMap<u64, Birth>>,
}

#[derive(Debug)]
struct Held {
    entry: Arc<Entry>,
    used: Instant,
}

impl OpenEntries {
    /// None of those in `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), open: Mutex::default(), checked: Mutex::default() }
    }

    /// The entry of a segment, if it is open.
    pub(super) fn find(&self, layout: &Layout) -> Option<Arc<Entry>> {
        let mut open = self.open.lock();
        let held = open.get_mut(&layout.name).filter(|held| held.entry.layout() == layout)?;
        held.used = Instant::now();
        Some(Arc::clone(&held.entry))
    }

    /// The entry of a segment, which is opened if it is not; `None` as for [`Entry::open`]. Waits for the disk.
    ///
    /// # Errors
    /// As [`Entry::open`].
    pub(super) fn open(&self, layout: &Arc<Layout>, opening: Opening) -> io::Result<Option<Arc<Entry>>> {
        if let Some(entry) = self.find(layout) {
            return Ok(Some(entry));
        }
        let Some(entry) = Entry::open(&self.folder, layout, opening)?.map(Arc::new) else { return Ok(None) };
        let mut open = self.open.lock();
        if open.len() >= OPEN_MAX {
            let oldest = open.iter().min_by_key(|(_, held)| held.used).map(|(name, _)| *name);
            oldest.and_then(|name| open.remove(&name));
        }
        open.insert(layout.name, Held { entry: Arc::clone(&entry), used: Instant::now() });
        Ok(Some(entry))
    }

    /// Whether an entry of this name was checked as a whole, as far as this process remembers.
    pub(super) fn was_checked(&self, name: u64) -> bool {
        let is_open_and_checked = self.open.lock().get(&name).is_some_and(|held| held.entry.is_checked());
        is_open_and_checked || self.checked.lock().contains_key(&name)
    }

    /// Whether it was this very entry. Remembers it if so.
    pub(super) fn is_checked(&self, entry: &Entry) -> bool {
        let (name, birth) = (entry.layout().name, entry.birth());
        let mut checked = self.checked.lock();
        if entry.is_checked() {
            if checked.len() >= CHECKED_MAX {
                checked.clear();
            }
            checked.insert(name, birth);
        }
        checked.get(&name) == Some(&birth)
    }

    /// When an entry that is open was used last.
    pub(super) fn used(&self, name: u64) -> Option<SystemTime> {
        let ago = self.open.lock().get(&name)?.used.elapsed();
        clock::now().checked_sub(ago)
    }

    /// Closes an entry, unless somebody is using it at this moment.
    pub(super) fn let_go(&self, name: u64) {
        let mut open = self.open.lock();
        if open.get(&name).is_some_and(|held| Arc::strong_count(&held.entry) == 1) {
            open.remove(&name);
        }
    }

    /// Closes what was not used for a moment, and notes of the others that they were.
    ///
    /// # Errors
    /// Those of futimens(2).
    pub(super) fn close_idle(&self) -> io::Result<()> {
        let in_use: Vec<Arc<Entry>> = {
            let mut open = self.open.lock();
            open.retain(|_, held| {
                let is_in_use = held.used.elapsed() < IDLE;
                is_in_use || {
                    self.is_checked(&held.entry);
                    false
                }
            });
            open.values().map(|held| Arc::clone(&held.entry)).collect()
        };
        in_use.iter().try_for_each(|entry| entry.touch())
    }
}

/// Two descriptors each, of the 1,024 that a process may have by default.
const OPEN_MAX: usize = 128;

/// To forget one costs a reading through us.
const CHECKED_MAX: usize = 4096;

/// Long enough for a program to think between two reads.
const IDLE: Duration = Duration::from_secs(5);
