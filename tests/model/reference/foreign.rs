//! What happens behind the back of a mount: others change the bucket, and another mount takes its place.

use super::session::File;
use super::{FOREIGN_MODE, Reference, TOPS, Version};
use crate::model::op::{Bytes, Op};

impl Reference {
    /// Directories that nothing in S3 speaks of were known to the old mount alone.
    pub(super) fn mounted_anew(&mut self) {
        self.directories = self.markers.clone();
        let spoken_of: Vec<String> = self.store.keys().chain(&self.markers).cloned().collect();
        for path in spoken_of {
            self.directories.extend(path.match_indices('/').map(|(at, _)| path[..at].to_owned()));
        }
        self.directories.extend(TOPS.map(str::to_owned));
    }

    pub(super) fn foreign_put(&mut self, path: &str, bytes: Bytes) {
        let id = self.fresh();
        self.store.insert(path.to_owned(), Version { id, bytes, mode: Some(FOREIGN_MODE) });
        self.show_above(path);
    }

    /// The files that are open here in a version which others have replaced, and whose names an operation looks up. As on
    /// a disk, such a name is another file's, and those who have the old one open go on without it.
    pub(super) fn overtaken_that_are_looked_up(&self, op: &Op) -> Vec<String> {
        let is_overtaken = |file: &&File| {
            let there = file.path.as_ref().and_then(|path| self.store.get(path));
            let held = file.committed.as_ref().filter(|_| file.session.is_none());
            held.zip(there).is_some_and(|(held, there)| held.id != there.id)
        };
        let overtaken = self.files.values().filter(is_overtaken).filter_map(|file| file.path.clone());
        overtaken.filter(|path| op.looks_up(path)).collect()
    }

    pub(super) fn renew(&mut self, path: &str) {
        if let Some(file) = self.file_at(path).and_then(|id| self.files.get_mut(&id)) {
            file.last = file.committed.as_ref().map(|version| version.bytes.clone()).unwrap_or_default();
        }
        self.lose_name(path);
    }

    /// The directories that lead to an object are there.
    pub(super) fn show_above(&mut self, path: &str) {
        self.directories.extend(path.match_indices('/').map(|(at, _)| path[..at].to_owned()));
    }

    /// A directory that nothing in S3 speaks of any more may vanish with its last object, or be kept by the mount.
    pub(super) fn foreign_delete(&self, path: &str) -> Vec<Self> {
        let mut state = self.with(|next| drop(next.store.remove(path)));
        let mut states = vec![state.clone()];
        for (at, _) in path.rmatch_indices('/') {
            let directory = &path[..at];
            let is_bare = state.names_in(directory).is_empty() && !state.markers.contains(directory);
            if !is_bare || TOPS.contains(&directory) {
                break;
            }
            state.directories.remove(directory);
            states.push(state.clone());
        }
        states
    }
}
