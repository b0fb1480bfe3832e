//! Names: what is under a path, as the kernel, our memory and S3 have it.
//!
//! Three kinds of metadata, three types. Most bugs of filesystems over object stores come from one
//! struct that is at once an inode, a cache entry and a pending write.
//!
//! - [`InodeTable`] is a debt to the kernel: nothing in it expires.
//! - [`MetadataCache`] is hearsay with a deadline: all of it may be dropped at any time.
//! - [`Pending`] is what we know and S3 does not: it is never evicted, and outranks the cache. What S3 has yet to hear
//!   of an object that it has is in `descriptions`.
//!
//! The precedence pending > cache > S3 is written once, in [`Namespace::lookup`].
//!
//! Not every bucket may be listed. What its answers taught about that is kept in `rights` and
//! `visibility`, and `resolve` goes by it.
//!
//! A question that can be answered from memory is answered by a `try_` form, at once and on the
//! caller's thread; only one that must ask S3 is a future.
//!
//! Locks are short and never held across an await. Where two are taken: pending before cache,
//! cache before inodes.

mod ahead;
mod cache;
mod changes;
mod copied;
mod descriptions;
mod foresight;
mod inode;
mod interest;
mod listing;
mod location;
mod lookup;
mod moves;
mod ownership;
mod pending;
mod rename;
mod resolve;
mod rights;
mod touched;
mod visibility;
mod witness;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use self::cache::{Answer, AttributeCensus, Known, Lifetimes, Marker, MetadataCache, Presence};
pub use self::changes::{described, put_new};
pub use self::descriptions::{Promise, RefusedDescription, Taken, left_descriptions, said};
pub use self::inode::{Ino, InodeTable, Species, number};
pub use self::listing::{DirectoryEntry, DirectoryStream};
pub use self::location::{Bucket, BucketId, Directory, File, Folder};
pub use self::lookup::OPEN_MEMORY;
pub use self::moves::MoveProgress;
pub use self::pending::Pending;
pub use self::rename::{Moved, Place};
pub use self::rights::{OnMissing, Right, RightsKnown};
pub use self::visibility::Listing;

use self::descriptions::Descriptions;
use self::moves::Moves;
use self::resolve::Flights;
use self::rights::{MissingHeard, Rights};
use self::touched::Touched;
use self::visibility::Outlook;
use self::witness::Witnesses;
use crate::error::{Error, Kind, Result};
use crate::name::{DirPrefix, FileName};
use crate::s3::{ETag, Gateway, ObjectMeta};
use crate::task::Tasks;

/// Where a file's mode, owner and times come from, which listings do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttributePolicy {
    /// From the object's metadata, unless the first hundred of a directory carry none.
    #[default]
    Auto,
    /// Always from the object's metadata, at a request per object.
    Exact,
    /// Never: size and time as listed.
    Listing,
}

/// How the namespace behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long answers of S3 are believed.
    pub lifetimes: Lifetimes,
    /// Where attributes come from.
    pub attributes: AttributePolicy,
    /// How long a change of a description waits for others to join it.
    pub describe_after: Duration,
    /// Where changes that wait and moves that are under way are written down, for the next mount; nowhere if `None`.
    pub journal: Option<PathBuf>,
}

/// How long a change of mode, owner or times waits for others: programs that make several make them at once.
pub const DESCRIBE_AFTER: Duration = Duration::from_secs(1);

/// What is under a name, for whoever shows it.
#[derive(Debug, Clone)]
pub enum Node {
    /// The mount point, or the directory of a whole bucket: nothing in S3 describes it.
    Top,
    /// A directory, with its marker where it has one.
    Directory(Option<ObjectMeta>),
    /// A file.
    File(ObjectMeta),
    /// A file that only this mount knows of so far.
    Uncommitted,
}

/// A name that was found.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its inode.
    pub ino: Ino,
    /// What it is.
    pub node: Node,
    /// How long that may be believed.
    pub valid_for: Duration,
}

/// What stands at a place, for an operation that is about to change it.
#[derive(Debug, Clone)]
pub enum Standing {
    /// A file; `None` where S3 has not heard of it.
    File(Option<ObjectMeta>),
    /// A directory.
    Directory,
    /// Nothing.
    Absent,
    /// Nothing that S3 would let us see, so there may be something.
    Unseen,
}

/// What a lookup came to.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// The name exists, and the kernel has been promised its inode.
    Found(Entry),
    /// The name does not exist, and that may be believed for so long.
    Absent(Duration),
}

/// All names of a mount.
#[derive(Debug)]
pub struct Namespace {
    buckets: Vec<Bucket>,
    inodes: Mutex<InodeTable>,
    cache: MetadataCache,
    pending: Mutex<Pending>,
    descriptions: Descriptions,
    moves: Moves,
    /// Taken alone.
    touched: Mutex<Touched>,
    flights: Flights,
    attributes: AttributePolicy,
    tasks: Tasks,
    /// Of each bucket.
    witnesses: Vec<Witnesses>,
    /// Of each bucket.
    rights: Vec<Rights>,
    on_missing: MissingHeard,
}

impl Namespace {
    /// Returns the namespace of a mount that shows `buckets`.
    pub fn new(buckets: Vec<Bucket>, options: &Options, tasks: Tasks) -> Arc<Self> {
        let journal = |of: &str| options.journal.as_ref().map(|directory| directory.join(of));
        let namespace = Arc::new(Self {
            witnesses: buckets.iter().map(|_| Witnesses::default()).collect(),
            rights: buckets.iter().map(|_| Rights::default()).collect(),
            on_missing: MissingHeard::default(),
            pending: Mutex::new(declared(&buckets)),
            buckets,
            inodes: Mutex::new(InodeTable::new()),
            cache: MetadataCache::new(options.lifetimes),
            touched: Mutex::default(),
            flights: Flights::default(),
            attributes: options.attributes,
            descriptions: Descriptions::new(options.describe_after, journal(descriptions::FOLDER)),
            moves: Moves::new(journal("moves")),
            tasks,
        });
        namespace.find_left_descriptions();
        namespace.resume_moves();
        namespace
    }

    /// The configured buckets, in their order.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The bucket of an id that this namespace gave out.
    pub fn bucket(&self, id: BucketId) -> &Bucket {
        &self.buckets[usize::from(id.0)]
    }

    /// The way to a bucket.
    pub fn gateway(&self, id: BucketId) -> &Arc<Gateway> {
        &self.bucket(id).gateway
    }

    fn witnesses(&self, id: BucketId) -> &Witnesses {
        &self.witnesses[usize::from(id.0)]
    }

    fn rights(&self, id: BucketId) -> &Rights {
        &self.rights[usize::from(id.0)]
    }

    /// The version of a file that is remembered, without asking.
    pub fn known_version(&self, place: &Place) -> Option<ETag> {
        match self.cache.answer(&place.folder, &place.name)?.presence {
            Presence::File(meta) => Some(meta.etag),
            _ => None,
        }
    }

    /// Whether something at a place would have been seen, so that what is made there can replace nothing unseen.
    pub fn is_seen(&self, place: &Place) -> bool {
        match self.cache.answer(&place.folder, &place.name) {
            Some(answer) => !matches!(answer.presence, Presence::Unseen),
            None => place.folder.folder(&place.name).is_ok_and(|directory| {
                self.rights(place.folder.bucket).outlook(&place.folder, &directory) == Outlook::Listable
            }),
        }
    }

    /// Refuses changes to a bucket that is mounted read-only, or that takes no object with the ACL we send.
    ///
    /// # Errors
    /// [`Kind::ReadOnly`], [`Kind::Denied`].
    pub fn ensure_writable(&self, id: BucketId) -> Result<()> {
        match self.bucket(id).read_only {
            true => Err(Error::new(Kind::ReadOnly, "this bucket is mounted read-only")),
            // Said when it was found out, and the same for every file.
            false => self.gateway(id).ensure_acl_is_taken().map_err(|error| Error::from(error).told()),
        }
    }

    /// The directory an inode is.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it was removed, [`Kind::NotDirectory`] for a file.
    pub fn directory(&self, ino: Ino) -> Result<Directory> {
        let (species, path) = self.whereabouts(ino)?;
        if species == Species::File {
            return Err(Error::new(Kind::NotDirectory, "not a directory"));
        }
        let Some((top, below)) = path.split_first() else { return Ok(Directory::Root) };
        Ok(Directory::In(self.folder_at(top, below)?))
    }

    /// The name and the directory of an inode below a bucket.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it was removed, [`Kind::NotPermitted`] for the mount point and the
    /// buckets themselves.
    pub fn place(&self, ino: Ino) -> Result<Place> {
        let (_, mut path) = self.whereabouts(ino)?;
        let not_below = || Error::new(Kind::NotPermitted, "the mount point and its buckets are fixed");
        let name = path.pop().ok_or_else(not_below)?;
        let (top, below) = path.split_first().ok_or_else(not_below)?;
        Ok(Place { folder: self.folder_at(top, below)?, name })
    }

    /// What an inode is; `None` for a number the kernel has no claim to.
    pub fn species(&self, ino: Ino) -> Option<Species> {
        self.inodes.lock().species(ino)
    }

    /// The parent of an inode, for `..`.
    pub fn parent(&self, ino: Ino) -> Option<Ino> {
        self.inodes.lock().parent(ino)
    }

    /// The inode that the kernel has for a name, if any.
    pub fn known_inode(&self, parent: Ino, name: &FileName) -> Option<Ino> {
        self.inodes.lock().find(parent, name)
    }

    /// The kernel gives back lookups. Returns whether the number is free now.
    pub fn forget(&self, ino: Ino, lookups: u64) -> bool {
        self.inodes.lock().forget(ino, lookups)
    }

    /// Where an inode is below the mount point, for people: `/` and the names from there on, with slashes between them.
    /// `None` for one whose name has gone.
    pub fn path(&self, ino: Ino) -> Option<String> {
        let (_, names) = self.whereabouts(ino).ok()?;
        Some(format!("/{}", names.iter().map(ToString::to_string).collect::<Vec<_>>().join("/")))
    }

    fn whereabouts(&self, ino: Ino) -> Result<(Species, Vec<FileName>)> {
        let inodes = self.inodes.lock();
        let found = inodes.species(ino).zip(inodes.path(ino));
        found.ok_or_else(|| Error::new(Kind::NotFound, "removed in the meantime"))
    }

    fn folder_at(&self, top: &FileName, below: &[FileName]) -> Result<Folder> {
        let at = self.buckets.iter().position(|bucket| bucket.directory == *top);
        let at = at.ok_or_else(|| Error::new(Kind::NotFound, "no such bucket is configured"))?;
        let bucket = BucketId(u16::try_from(at).expect("the configuration allows fewer buckets"));
        let root = self.buckets[at].root.clone();
        let prefix = below.iter().try_fold(root, |prefix, name| prefix.directory(name))?;
        Ok(Folder { bucket, prefix })
    }
}

/// The directories that the configuration names, and those that lead to them.
fn declared(buckets: &[Bucket]) -> Pending {
    let mut pending = Pending::default();
    for (at, bucket) in (0..).zip(buckets) {
        let folder = |prefix: DirPrefix| Folder { bucket: BucketId(at), prefix };
        for directory in &bucket.directories {
            // One that is longer than S3's keys can have nothing in it, and needs no showing.
            if let Ok(prefix) = DirPrefix::parse(&format!("{}{directory}", bucket.root)) {
                pending.declare_directory(&folder(bucket.root.clone()), &folder(prefix));
            }
        }
    }
    pending
}
