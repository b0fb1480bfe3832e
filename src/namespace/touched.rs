//! When the names in directories last changed.
//!
//! A disk notes that in the directory itself. Here it would cost another request for each file that is made or
//! removed, so it is told from memory, to whoever looks through this mount while it lasts: `make`, `rsync` and
//! mail programs go by it. What `touch`, `tar` and `rsync` set goes into the marker, and counts from then on.

use std::collections::HashMap;
use std::time::SystemTime;

use super::{Folder, Namespace};
use crate::clock;

/// When this mount last changed the names in a directory.
#[derive(Debug, Default)]
pub(super) struct Touched(HashMap<Folder, SystemTime>);

impl Touched {
    fn note(&mut self, folder: &Folder, now: SystemTime) {
        if self.0.len() >= DIRECTORIES_MAX {
            self.0.clear();
        }
        self.0.insert(folder.clone(), now);
    }

    /// The directory is described anew, and that says it all.
    pub(super) fn forget(&mut self, folder: &Folder) {
        self.0.remove(folder);
    }

    /// A directory was removed, or moved away: what is made in its place is another.
    pub(super) fn forget_tree(&mut self, folder: &Folder) {
        self.0.retain(|at, _| at.bucket != folder.bucket || !folder.prefix.contains(&at.prefix));
    }
}

impl Namespace {
    /// Names in a directory were made, removed or replaced.
    pub fn names_changed(&self, folder: &Folder) {
        self.touched.lock().note(folder, clock::now());
    }

    /// When this mount last changed the names in a directory, if that is not in its marker.
    pub fn names_changed_at(&self, folder: &Folder) -> Option<SystemTime> {
        self.touched.lock().0.get(folder).copied()
    }
}

/// About 20 MB of them. Beyond that all fall back on what their markers say.
const DIRECTORIES_MAX: usize = 100_000;
