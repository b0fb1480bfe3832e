//! What this mount knows and S3 has not heard, or does not tell: the third kind of metadata.
//!
//! A file that was created and not closed yet has no object; a directory whose last object was
//! removed leaves no trace in S3 where it had no marker; one that the configuration names may not be seen in a
//! bucket that cannot be listed. All are there for whoever looks through
//! this mount. They outrank the cache, and they are never evicted: a file leaves when its first
//! commit succeeded or it was given up, a directory when it is removed.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::Folder;
use crate::name::{DirPrefix, FileName};

/// Names that exist in this mount alone.
#[derive(Debug, Default)]
pub struct Pending {
    files: HashMap<Folder, BTreeSet<FileName>>,
    directories: HashSet<Folder>,
}

impl Pending {
    /// A file was created.
    pub fn add_file(&mut self, folder: &Folder, name: &FileName) {
        self.files.entry(folder.clone()).or_default().insert(name.clone());
    }

    /// A file was committed, removed or given up. Returns whether it was pending.
    pub fn remove_file(&mut self, folder: &Folder, name: &FileName) -> bool {
        let Some(names) = self.files.get_mut(folder) else { return false };
        let removed = names.remove(name);
        if names.is_empty() {
            self.files.remove(folder);
        }
        removed
    }

    /// Whether a file of that name exists in this mount alone.
    pub fn has_file(&self, folder: &Folder, name: &FileName) -> bool {
        self.files.get(folder).is_some_and(|names| names.contains(name))
    }

    /// The files of a directory that exist in this mount alone.
    pub fn files(&self, folder: &Folder) -> Vec<FileName> {
        self.files.get(folder).map(|names| names.iter().cloned().collect()).unwrap_or_default()
    }

    /// A directory may have lost its last object and shall stay, with all those that lead to it.
    pub fn keep_directory(&mut self, folder: &Folder) {
        let mut at = Some(folder.clone());
        while let Some(kept) = at.take_if(|at| !self.directories.contains(at)) {
            at = kept.prefix.parent().map(|prefix| Folder { bucket: kept.bucket, prefix });
            self.directories.insert(kept);
        }
    }

    /// A directory is there, with all those that lead to it from `root` on.
    pub fn declare_directory(&mut self, root: &Folder, directory: &Folder) {
        let mut at = Some(directory.prefix.clone());
        while let Some(prefix) = at.filter(|prefix| root.prefix.contains(prefix) && *prefix != root.prefix) {
            at = prefix.parent();
            self.directories.insert(Folder { bucket: root.bucket, prefix });
        }
    }

    /// A directory was removed.
    pub fn remove_directory(&mut self, folder: &Folder) {
        self.directories.retain(|kept| kept.bucket != folder.bucket || !folder.prefix.contains(&kept.prefix));
    }

    /// A directory has moved with all that was in it, files that S3 has not heard of among it. An empty one that only this
    /// mount knows of stays one at its new place.
    pub fn move_directory(&mut self, old: &Folder, new: &Folder) {
        let below = |kept: &Folder| kept.bucket == old.bucket && old.prefix.contains(&kept.prefix);
        let files: Vec<_> = self.files.extract_if(|at, _| below(at)).collect();
        for (at, names) in files {
            let rest = &at.prefix.as_str()[old.prefix.as_str().len()..];
            if let Ok(prefix) = DirPrefix::parse(&format!("{}{rest}", new.prefix)) {
                self.files.entry(Folder { bucket: new.bucket, prefix }).or_default().extend(names);
            }
        }
        let moved: Vec<Folder> = self.directories.extract_if(|kept| below(kept)).collect();
        self.keep_directory(new);
        for kept in moved {
            let rest = &kept.prefix.as_str()[old.prefix.as_str().len()..];
            if let Ok(prefix) = DirPrefix::parse(&format!("{}{rest}", new.prefix)) {
                self.keep_directory(&Folder { bucket: new.bucket, prefix });
            }
        }
    }

    /// Whether a directory is to be shown whatever S3 says.
    pub fn has_directory(&self, folder: &Folder) -> bool {
        self.directories.contains(folder) || self.has_files_below(folder)
    }

    /// Whether anything at or below a directory exists in this mount alone.
    pub fn has_files_below(&self, folder: &Folder) -> bool {
        self.files.keys().any(|at| at.bucket == folder.bucket && folder.prefix.contains(&at.prefix))
    }

    /// The directories directly in `folder` that are to be shown whatever S3 says.
    pub fn directories(&self, folder: &Folder) -> Vec<FileName> {
        let below = |kept: &&Folder| kept.bucket == folder.bucket;
        let name = |kept: &Folder| {
            let rest = kept.prefix.as_str().strip_prefix(folder.prefix.as_str())?;
            FileName::parse(rest.split_once('/')?.0).ok()
        };
        let mut names: Vec<_> =
            self.directories.iter().chain(self.files.keys()).filter(below).filter_map(name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::super::BucketId;
    use super::*;

    fn folder(prefix: &str) -> Folder {
        Folder { bucket: BucketId(0), prefix: DirPrefix::parse(prefix).unwrap() }
    }

    #[test]
    fn a_pending_file_shows_its_directory_until_it_is_committed() {
        let mut pending = Pending::default();
        let name = FileName::parse("f").unwrap();
        pending.add_file(&folder("a/b"), &name);
        assert!(pending.has_directory(&folder("a/b")) && pending.has_files_below(&folder("a")));
        assert_eq!(pending.directories(&folder("a")), [FileName::parse("b").unwrap()]);
        assert!(pending.remove_file(&folder("a/b"), &name));
        assert!(!pending.has_directory(&folder("a/b")) && !pending.has_files_below(&folder("a")));
    }

    #[test]
    fn a_declared_directory_is_there_with_those_that_lead_to_it() {
        let mut pending = Pending::default();
        pending.declare_directory(&folder("shown"), &folder("shown/a/b"));
        let there = ["", "shown", "shown/a", "shown/a/b"].map(|at| pending.has_directory(&folder(at)));
        assert_eq!(there, [false, false, true, true]);
    }

    #[test]
    fn a_kept_directory_keeps_those_that_lead_to_it() {
        let mut pending = Pending::default();
        pending.keep_directory(&folder("a/b/c"));
        assert!(["a", "a/b", "a/b/c"].iter().all(|at| pending.has_directory(&folder(at))));
        pending.add_file(&folder("x/y"), &FileName::parse("f").unwrap());
        assert_eq!(pending.directories(&folder("x")), [FileName::parse("y").unwrap()]);
        assert_eq!(pending.directories(&folder("")).len(), 2, "and so does a file");
    }

    #[test]
    fn a_moved_directory_takes_those_below_with_it() {
        let mut pending = Pending::default();
        ["a/b", "c"].iter().for_each(|at| pending.keep_directory(&folder(at)));
        pending.move_directory(&folder("a"), &folder("x/y"));
        let there = ["a", "a/b", "x", "x/y", "x/y/b", "c"].map(|at| pending.has_directory(&folder(at)));
        assert_eq!(there, [false, false, true, true, true, true]);
    }

    #[test]
    fn a_removed_directory_takes_those_below_with_it() {
        let mut pending = Pending::default();
        for at in ["a", "a/b", "ab"] {
            pending.keep_directory(&folder(at));
        }
        pending.remove_directory(&folder("a"));
        assert_eq!(["a", "a/b", "ab"].map(|at| pending.has_directory(&folder(at))), [false, false, true]);
    }
}
