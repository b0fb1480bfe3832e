//! Names and directories.

use std::time::Duration;

use super::Filesystem;
use super::attr::{Attributes, FileKind};
use super::closing::lose_name;
use super::handle::{DirectoryHandle, HandleId, OpenFile};
use super::kinds::note_kinds;
use crate::error::Result;
use crate::name::FileName;
use crate::namespace::{Directory, DirectoryEntry, Entry, Folder, Ino, Lookup, Node, Place, Species, number};
use crate::s3::object::STANDARD;
use crate::s3::{NewObject, ObjectMeta, UserMetadata};

/// Attributes, and how long they may be believed.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// What `stat` shows.
    pub attributes: Attributes,
    /// For how long.
    pub valid_for: Duration,
}

/// What a lookup came to.
#[derive(Debug, Clone, Copy)]
pub enum Found {
    /// The name exists; the kernel has been promised its inode.
    Present(Shown),
    /// It does not, which may be believed for so long.
    Absent(Duration),
}

/// One entry of a directory as `readdirplus` shows it.
#[derive(Debug, Clone)]
pub struct Described {
    /// What `readdir` shows.
    pub listed: Listed,
    /// What `stat` shows; none for `.` and `..`. The kernel has been promised the inode.
    pub shown: Option<Shown>,
}

/// One entry of a directory as `readdir` shows it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The number it has, or will have when it is looked up.
    pub ino: Ino,
    /// The position after it, to go on from.
    pub next: u64,
    /// What it is, as far as is known; else a file.
    pub kind: FileKind,
    /// Its name.
    pub name: String,
}

impl Filesystem {
    /// Looks a name up from memory alone.
    pub fn try_lookup(&self, parent: Ino, name: &FileName) -> Option<Result<Found>> {
        match self.namespace().try_lookup(parent, name)? {
            Ok(Lookup::Found(entry)) if self.is_overtaken(&entry) => {
                self.forget(entry.ino, 1);
                None
            }
            lookup => Some(lookup.map(|lookup| self.found(lookup))),
        }
    }

    /// Looks a name up and promises the kernel its inode.
    ///
    /// # Errors
    /// Those of S3; absence is no error.
    pub async fn lookup(&self, parent: Ino, name: &FileName) -> Result<Found> {
        if let Ok(place) = self.place_in(parent, name) {
            self.small_files.arrived(&place).await;
        }
        let lookup = self.namespace().lookup(parent, name).await?;
        Ok(self.found(self.renewed(parent, name, lookup).await?))
    }

    /// The kernel gives back lookups.
    pub fn forget(&self, ino: Ino, lookups: u64) {
        if self.namespace().forget(ino, lookups) {
            self.pages.lock().remove(&ino);
        }
    }

    /// What `stat` shows, from memory alone.
    pub fn try_attributes(&self, ino: Ino) -> Option<Result<Shown>> {
        if let Some(file) = self.known_open_file(ino) {
            return Some(Ok(shown_open(&file)));
        }
        let entry = self.namespace().try_node(ino)?;
        Some(entry.map(|entry| self.shown(&entry)))
    }

    /// What `stat` shows.
    ///
    /// # Errors
    /// [`NotFound`](crate::error::Kind::NotFound) when the file is gone by now.
    pub async fn attributes(&self, ino: Ino) -> Result<Shown> {
        if let Some(shown) = self.try_attributes(ino) {
            return shown;
        }
        let entry = self.namespace().node(ino).await?;
        Ok(self.shown(&entry))
    }

    /// Begins to read a directory.
    ///
    /// # Errors
    /// [`NotDirectory`](crate::error::Kind::NotDirectory).
    pub fn open_directory(&self, ino: Ino) -> Result<HandleId> {
        let directory = self.namespace().directory(ino)?;
        let stream = tokio::sync::Mutex::new(self.namespace().read_directory(&directory));
        Ok(self.handles.add_directory(DirectoryHandle {
            ino,
            directory,
            stream,
            has_others: Default::default(),
        }))
    }

    /// Reads a directory from a position on: at least one entry unless it ends there.
    ///
    /// # Errors
    /// [`Denied`](crate::error::Kind::Denied) without the right to list.
    pub async fn read_directory(&self, handle: HandleId, from: u64) -> Result<Vec<Listed>> {
        let handle = self.handles.directory(handle)?;
        let mut entries = self.entries(&handle, from, ENTRIES_PER_READ).await?;
        self.tell_kinds(&handle, &mut entries).await;
        Ok(entries)
    }

    /// Reads a directory as [`read_directory`](Self::read_directory) does and describes what it
    /// returns, all at once. Each entry that is shown has been looked up; one that vanished since it was
    /// listed is left out.
    ///
    /// # Errors
    /// As `read_directory`, and where an entry could not be described: a list with holes would have its reader
    /// believe that something is gone.
    pub async fn read_directory_described(&self, handle: HandleId, from: u64) -> Result<Vec<Described>> {
        let handle = self.handles.directory(handle)?;
        let entries = self.entries(&handle, from, ENTRIES_PER_DESCRIBED_READ).await?;
        let names: Vec<_> = entries.iter().filter_map(|entry| FileName::parse(&entry.name).ok()).collect();
        let lookups = match &handle.directory {
            Directory::In(folder) => {
                self.describe(handle.ino, folder, &names).await;
                self.namespace().look_up_all(handle.ino, folder, &names).await?
            }
            Directory::Root => names.iter().map(|name| self.namespace().look_up_bucket(name)).collect(),
        };
        let mut renewed = Vec::with_capacity(lookups.len());
        for (name, lookup) in names.iter().zip(lookups) {
            renewed.push(self.renewed(handle.ino, name, lookup).await?);
        }
        let mut lookups = renewed.into_iter();
        let described = entries.into_iter().filter_map(|listed| match is_dots(&listed.name) {
            true => Some(Described { listed, shown: None }),
            false => match lookups.next()? {
                Lookup::Found(entry) => {
                    let shown = self.shown(&entry);
                    let listed = Listed { kind: shown.attributes.kind, ..listed };
                    Some(Described { listed, shown: Some(shown) })
                }
                Lookup::Absent(_) => None,
            },
        });
        let described: Vec<_> = described.collect();
        note_kinds(&handle, described.iter().map(|entry| &entry.listed));
        Ok(described)
    }

    /// Has names described, by the fetch of a small file where that has begun, and else by asking.
    async fn describe(&self, ino: Ino, folder: &Folder, names: &[FileName]) {
        let rest = self.small_files.listed(ino, folder, names.to_vec());
        let arriving = async {
            for name in names {
                self.small_files.arrived(&Place { folder: folder.clone(), name: name.clone() }).await;
            }
        };
        tokio::join!(arriving, self.namespace().describe(folder, &rest));
    }

    async fn entries(&self, handle: &DirectoryHandle, from: u64, most: usize) -> Result<Vec<Listed>> {
        let dots = [(".", handle.ino), ("..", self.namespace().parent(handle.ino).unwrap_or(Ino::ROOT))];
        let mut entries: Vec<Listed> = (1..)
            .zip(dots)
            .skip(usize::try_from(from).unwrap_or(usize::MAX))
            .map(|(next, (name, ino))| Listed { ino, next, kind: FileKind::Directory, name: name.to_owned() })
            .collect();
        let mut stream = handle.stream.lock().await;
        let at = usize::try_from(from.saturating_sub(DOTS)).unwrap_or(usize::MAX);
        if stream.entry(self.namespace(), at).await?.is_some() {
            let ready = stream.ready(at).iter().take(most);
            let positions = (at as u64 + DOTS + 1)..;
            entries.extend(positions.zip(ready).map(|(next, entry)| self.listed(handle.ino, entry, next)));
        }
        Ok(entries)
    }

    /// Tells S3 what waits to be said about what is in a directory. Every change of a name is there already.
    ///
    /// # Errors
    /// Those of S3.
    pub async fn sync_directory(&self, handle: HandleId) -> Result<()> {
        match self.handles.directory(handle)?.directory.clone() {
            Directory::In(folder) => self.namespace().tell_descriptions_below(&folder).await,
            Directory::Root => self.namespace().tell_descriptions().await,
        }
    }

    /// The kernel is done with a directory.
    pub fn close_directory(&self, handle: HandleId) {
        self.handles.remove_directory(handle);
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// [`Exists`](crate::error::Kind::Exists).
    pub async fn make_directory(
        &self,
        parent: Ino,
        name: &FileName,
        mode: u32,
        owner: (u32, u32),
    ) -> Result<Shown> {
        let place = self.place_in(parent, name)?;
        let attributes = Attributes::of_new(Ino::ROOT, FileKind::Directory, mode, owner);
        let new = new_object(None, &attributes);
        let new = NewObject { content_type: Some(DIRECTORY_TYPE.to_owned()), ..new };
        // Others have deleted it, if the directory can be made.
        let lost = self.namespace().known_inode(parent, name).and_then(|ino| self.open_file(ino));
        let entry = self.namespace().make_directory(parent, &place, &new).await?;
        if let Some(file) = lost {
            lose_name(&file);
        }
        Ok(self.shown(&entry))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`NotEmpty`](crate::error::Kind::NotEmpty).
    pub async fn remove_directory(&self, parent: Ino, name: &FileName) -> Result<()> {
        let place = self.place_in(parent, name)?;
        self.namespace().remove_directory(parent, &place).await
    }

    fn found(&self, lookup: Lookup) -> Found {
        match lookup {
            Lookup::Found(entry) => Found::Present(self.shown(&entry)),
            Lookup::Absent(valid_for) => Found::Absent(valid_for),
        }
    }

    /// What an entry shows as; what is open here shows as its writers left it.
    pub(super) fn shown(&self, entry: &Entry) -> Shown {
        if let Some(file) = self.known_open_file(entry.ino) {
            return shown_open(&file);
        }
        let defaults = &self.parts.defaults;
        let attributes = match &entry.node {
            Node::Top => self.of_directory(entry.ino, None),
            Node::Directory(marker) => self.of_directory(entry.ino, marker.as_ref()),
            Node::File(meta) => Attributes::of_file(entry.ino, meta, defaults),
            // Its last handle is being closed at this very moment.
            Node::Uncommitted => Attributes::of_new(
                entry.ino,
                FileKind::Regular,
                defaults.file_mode,
                (defaults.uid, defaults.gid),
            ),
        };
        Shown { attributes, valid_for: entry.valid_for }
    }

    fn of_directory(&self, ino: Ino, marker: Option<&ObjectMeta>) -> Attributes {
        let attributes = Attributes::of_directory(ino, marker, &self.parts.defaults);
        let folder = self.namespace().directory(ino).and_then(Directory::folder);
        match folder.ok().and_then(|folder| self.namespace().names_changed_at(&folder)) {
            Some(changed) => Attributes { mtime: changed, ctime: changed, ..attributes },
            None => attributes,
        }
    }

    fn listed(&self, parent: Ino, entry: &DirectoryEntry, next: u64) -> Listed {
        let known = self.namespace().known_inode(parent, &entry.name);
        Listed {
            ino: known.unwrap_or_else(|| number(parent, &entry.name, entry.species)),
            next,
            kind: match entry.species {
                Species::Directory => FileKind::Directory,
                Species::File => FileKind::Regular,
            },
            name: entry.name.as_str().to_owned(),
        }
    }
}

/// What `stat` shows of a file that is open: what its writers made of it so far.
pub(super) fn shown_open(file: &OpenFile) -> Shown {
    let state = file.state();
    let size = state.session.as_ref().map(|session| session.size());
    let attributes = Attributes {
        size: size.unwrap_or(state.attributes.size),
        links: u32::from(state.place.is_some()),
        ..state.attributes
    };
    // The kernel follows its own writes; it need not believe anything for long.
    Shown { attributes, valid_for: OPEN_VALID }
}

/// An object's description with other attributes; all else that was noted stays, and so does the storage class.
pub(super) fn new_object(meta: Option<&ObjectMeta>, attributes: &Attributes) -> NewObject {
    let details = meta.and_then(|meta| meta.details.as_deref());
    let mut user: UserMetadata = details.map(|details| details.user.clone()).unwrap_or_default();
    attributes.note(&mut user);
    NewObject {
        user,
        content_type: details.and_then(|details| details.content_type.clone()),
        storage_class: meta.map(|meta| meta.storage_class.clone().unwrap_or_else(|| STANDARD.to_owned())),
    }
}

fn is_dots(name: &str) -> bool {
    matches!(name, "." | "..")
}

/// `.` and `..` come first.
const DOTS: u64 = 2;

/// More than the kernel's buffer for one `readdir` takes.
const ENTRIES_PER_READ: usize = 4096;

/// What the kernel's buffer for one `readdirplus` takes, give or take: describing more would
/// ask S3 about names that nobody may want to know of.
const ENTRIES_PER_DESCRIBED_READ: usize = 128;

/// How long the kernel may believe the attributes of a file that is open here.
const OPEN_VALID: Duration = Duration::from_secs(1);

/// The media type that s3fs and others give markers.
pub(super) const DIRECTORY_TYPE: &str = "application/x-directory";
