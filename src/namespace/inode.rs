//! The inode table: what we owe the kernel.
//!
//! The kernel remembers numbers, and counts how often it was given each. An entry here lives
//! exactly as long as that count says (and as long as something below it lives, so that its
//! path can be told). Nothing is evicted and nothing expires: this is a debt, not a cache.
//!
//! An inode knows its parent and its name and not its key, so that moving a directory moves
//! everything below it in one step. Numbers follow from the path by a hash: the same file has
//! the same number at the next mount, which tools that keep an index by inode (git, rsync,
//! backup programs) are glad of.
//!
//! Invariants:
//! - a lookup count is raised before the reply that causes it is sent, and never goes below zero;
//! - `by_name` holds exactly the entries that have a place;
//! - the root is never removed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::name::FileName;

/// The number of an inode, as the kernel and `stat` have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

impl Ino {
    /// The mount point itself; FUSE fixes this number.
    pub const ROOT: Self = Self(1);
}

/// What an inode is for the whole of its life. Of another kind is another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Species {
    /// Anything but a directory, symbolic links included.
    File,
    /// A directory.
    Directory,
}

/// All inodes that the kernel remembers.
#[derive(Debug)]
pub struct InodeTable {
    by_ino: HashMap<Ino, Inode>,
    by_name: HashMap<(Ino, FileName), Ino>,
}

#[derive(Debug)]
struct Inode {
    species: Species,
    /// Parent and name; `None` for the root, and for what was removed while still in use.
    place: Option<(Ino, FileName)>,
    lookups: u64,
    children: u64,
}

impl InodeTable {
    /// Returns a table that holds the root alone.
    pub fn new() -> Self {
        let root = Inode { species: Species::Directory, place: None, lookups: 1, children: 0 };
        Self { by_ino: HashMap::from([(Ino::ROOT, root)]), by_name: HashMap::new() }
    }

    /// Finds or mints the inode of a name and raises its lookup count.
    ///
    /// An entry of another species in that place is taken out of it: the name means
    /// something else now, while whoever holds the old number keeps it.
    pub fn look_up(&mut self, parent: Ino, name: &FileName, species: Species) -> Ino {
        let ino = match self.find(parent, name) {
            Some(ino) if self.species(ino) == Some(species) => ino,
            Some(_) => {
                self.detach(parent, name);
                self.mint(parent, name, species)
            }
            None => self.mint(parent, name, species),
        };
        self.by_ino.get_mut(&ino).expect("found or minted above").lookups += 1;
        ino
    }

    /// Raises a lookup count without the kernel's knowing of it.
    pub fn hold(&mut self, ino: Ino) {
        if let Some(inode) = self.by_ino.get_mut(&ino) {
            inode.lookups += 1;
        }
    }

    /// Lowers a lookup count, and drops the entry when nobody needs it any more.
    ///
    /// Returns whether the number is free now.
    pub fn forget(&mut self, ino: Ino, lookups: u64) -> bool {
        let Some(inode) = self.by_ino.get_mut(&ino) else { return true };
        debug_assert!(inode.lookups >= lookups, "the kernel forgets no more than it was told");
        inode.lookups = inode.lookups.saturating_sub(lookups);
        self.reap(ino);
        !self.by_ino.contains_key(&ino)
    }

    /// The inode that has this place now.
    pub fn find(&self, parent: Ino, name: &FileName) -> Option<Ino> {
        self.by_name.get(&(parent, name.clone())).copied()
    }

    /// What the inode is; `None` for a number that the kernel was never given, or has forgotten.
    pub fn species(&self, ino: Ino) -> Option<Species> {
        self.by_ino.get(&ino).map(|inode| inode.species)
    }

    /// The names from the root down to this inode; `None` when it has no place any more.
    pub fn path(&self, ino: Ino) -> Option<Vec<FileName>> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != Ino::ROOT {
            let (parent, name) = self.by_ino.get(&at)?.place.as_ref()?;
            names.push(name.clone());
            at = *parent;
        }
        names.reverse();
        Some(names)
    }

    /// The parent of an inode; the root is its own.
    pub fn parent(&self, ino: Ino) -> Option<Ino> {
        match &self.by_ino.get(&ino)?.place {
            Some((parent, _)) => Some(*parent),
            None => (ino == Ino::ROOT).then_some(ino),
        }
    }

    /// Takes whatever is in this place out of it; it keeps its number until it is forgotten.
    pub fn detach(&mut self, parent: Ino, name: &FileName) -> Option<Ino> {
        let ino = self.by_name.remove(&(parent, name.clone()))?;
        if let Some(inode) = self.by_ino.get_mut(&ino) {
            inode.place = None;
        }
        self.release_child(parent);
        self.reap(ino);
        Some(ino)
    }

    /// Moves whatever is in one place to another, and with it all that is below.
    pub fn rename(&mut self, from: (Ino, &FileName), onto: (Ino, &FileName)) {
        self.detach(onto.0, onto.1);
        let Some(ino) = self.by_name.remove(&(from.0, from.1.clone())) else { return };
        // The new parent first: giving the old one back may drop it, and its ancestors with it.
        self.adopt(ino, onto.0, onto.1);
        self.release_child(from.0);
    }

    fn mint(&mut self, parent: Ino, name: &FileName, species: Species) -> Ino {
        let mut ino = number(parent, name, species);
        while self.by_ino.contains_key(&ino) {
            ino = Ino(ino.0.wrapping_add(1).max(Ino::ROOT.0 + 1));
        }
        self.by_ino.insert(ino, Inode { species, place: None, lookups: 0, children: 0 });
        self.adopt(ino, parent, name);
        ino
    }

    fn adopt(&mut self, ino: Ino, parent: Ino, name: &FileName) {
        if let Some(parent) = self.by_ino.get_mut(&parent) {
            parent.children += 1;
        }
        if let Some(inode) = self.by_ino.get_mut(&ino) {
            inode.place = Some((parent, name.clone()));
        }
        self.by_name.insert((parent, name.clone()), ino);
    }

    fn release_child(&mut self, parent: Ino) {
        if let Some(inode) = self.by_ino.get_mut(&parent) {
            inode.children -= 1;
        }
        self.reap(parent);
    }

    /// Drops an entry that nobody needs, and then its parents as far as that frees them.
    fn reap(&mut self, ino: Ino) {
        let needed = |inode: &Inode| inode.lookups > 0 || inode.children > 0;
        if ino == Ino::ROOT || self.by_ino.get(&ino).is_none_or(needed) {
            return;
        }
        let inode = self.by_ino.remove(&ino).expect("looked at above");
        if let Some(place) = inode.place {
            self.by_name.remove(&place);
            self.release_child(place.0);
        }
    }
}

impl Default for InodeTable {
    fn default() -> Self {
        Self::new()
    }
}

/// The number that a place has unless something else holds it.
pub fn number(parent: Ino, name: &FileName, species: Species) -> Ino {
    let mut hasher = DefaultHasher::new();
    (parent, name, species).hash(&mut hasher);
    Ino(hasher.finish().max(Ino::ROOT.0 + 1))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn name(text: &str) -> FileName {
        FileName::parse(text).unwrap()
    }

    fn path(table: &InodeTable, ino: Ino) -> Option<String> {
        Some(table.path(ino)?.iter().map(FileName::as_str).collect::<Vec<_>>().join("/"))
    }

    #[test]
    fn an_entry_lives_as_long_as_the_kernel_counts_it() {
        let mut table = InodeTable::new();
        let ino = table.look_up(Ino::ROOT, &name("a"), Species::File);
        assert_eq!(table.look_up(Ino::ROOT, &name("a"), Species::File), ino);
        assert!(!table.forget(ino, 1));
        assert_eq!(table.find(Ino::ROOT, &name("a")), Some(ino));
        assert!(table.forget(ino, 1));
        assert_eq!(table.find(Ino::ROOT, &name("a")), None);
    }

    #[test]
    fn a_parent_outlives_its_children() {
        let mut table = InodeTable::new();
        let directory = table.look_up(Ino::ROOT, &name("d"), Species::Directory);
        let file = table.look_up(directory, &name("f"), Species::File);
        assert!(!table.forget(directory, 1));
        assert_eq!(path(&table, file).as_deref(), Some("d/f"));
        assert!(table.forget(file, 1));
        assert_eq!(table.by_ino.len(), 1);
    }

    #[test]
    fn a_moved_directory_takes_along_what_is_below() {
        let mut table = InodeTable::new();
        let old = table.look_up(Ino::ROOT, &name("old"), Species::Directory);
        let place = table.look_up(Ino::ROOT, &name("place"), Species::Directory);
        let file = table.look_up(old, &name("f"), Species::File);
        table.rename((Ino::ROOT, &name("old")), (place, &name("new")));
        assert_eq!(path(&table, file).as_deref(), Some("place/new/f"));
        assert_eq!(table.parent(old), Some(place));
    }

    #[test]
    fn what_was_removed_keeps_its_number_and_loses_its_path() {
        let mut table = InodeTable::new();
        let old = table.look_up(Ino::ROOT, &name("f"), Species::File);
        table.detach(Ino::ROOT, &name("f"));
        let new = table.look_up(Ino::ROOT, &name("f"), Species::File);
        assert_ne!(old, new);
        assert_eq!((path(&table, old), path(&table, new).as_deref()), (None, Some("f")));
    }

    #[test]
    fn a_name_that_becomes_a_directory_is_another_inode() {
        let mut table = InodeTable::new();
        let file = table.look_up(Ino::ROOT, &name("x"), Species::File);
        let directory = table.look_up(Ino::ROOT, &name("x"), Species::Directory);
        assert_ne!(file, directory);
        assert_eq!(table.find(Ino::ROOT, &name("x")), Some(directory));
    }

    #[test]
    fn a_rename_onto_a_file_takes_its_place() {
        let mut table = InodeTable::new();
        let from = table.look_up(Ino::ROOT, &name("from"), Species::File);
        let onto = table.look_up(Ino::ROOT, &name("onto"), Species::File);
        table.rename((Ino::ROOT, &name("from")), (Ino::ROOT, &name("onto")));
        assert_eq!(table.find(Ino::ROOT, &name("onto")), Some(from));
        assert_eq!((table.path(onto), table.find(Ino::ROOT, &name("from"))), (None, None));
    }
}
