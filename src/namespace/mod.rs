//! Names: what is under a path, as the kernel, our memory and S3 have it.
//!
//! Three kinds of metadata, three types. Most bugs of filesystems over object stores come from one
//! struct that is at once an inode, a cache entry and a pending write.
//!
//! - [`InodeTable`] is a debt to the kernel: nothing in it expires.
//! - [`MetadataCache`] is hearsay with a deadline: all of it may be dropped at any time.
//! - [`Pending`] is what we know and S3 does not: it is never evicted, and outranks the cache.
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
mod foresight;
mod inode;
mod interest;
mod listing;
mod location;
mod ownership;
mod pending;
mod rename;
mod resolve;
mod rights;
mod visibility;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

pub use self::cache::{Answer, AttributeCensus, Known, Lifetimes, Marker, MetadataCache, Presence};
pub use self::inode::{Ino, InodeTable, Species, number};
pub use self::listing::{DirectoryEntry, DirectoryStream};
pub use self::location::{Bucket, BucketId, Directory, File, Folder};
pub use self::pending::Pending;
pub use self::rename::Place;
pub use self::rights::{OnMissing, Right, RightsKnown};
pub use self::visibility::Listing;

use self::resolve::Flights;
use self::rights::{MissingHeard, Rights};
use self::visibility::Outlook;
use self::witness::Witnesses;
use crate::error::{Error, Kind, Result};
use crate::name::{DirPrefix, FileName, ObjectKey};
use crate::s3::{Depth, Gateway, NewObject, ObjectMeta, Precondition, S3ErrorKind};
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
}

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
        Arc::new(Self {
            witnesses: buckets.iter().map(|_| Witnesses::default()).collect(),
            rights: buckets.iter().map(|_| Rights::default()).collect(),
            on_missing: MissingHeard::default(),
            pending: Mutex::new(declared(&buckets)),
            buckets,
            inodes: Mutex::new(InodeTable::new()),
            cache: MetadataCache::new(options.lifetimes),
            flights: Flights::default(),
            attributes: options.attributes,
            tasks,
        })
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

    // ---- inodes ----

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

    // ---- lookups ----

    /// Looks a name up from memory alone.
    pub fn try_lookup(&self, parent: Ino, name: &FileName) -> Option<Result<Lookup>> {
        let folder = match self.directory(parent) {
            Ok(Directory::In(folder)) => folder,
            Ok(Directory::Root) => return Some(Ok(self.look_up_bucket(name))),
            Err(error) => return Some(Err(error)),
        };
        let answer = self.in_memory(&folder, name)?;
        Some(Ok(self.look_up_answer(parent, name, answer)))
    }

    /// Looks a name up: pending first, then the cache, then S3.
    ///
    /// # Errors
    /// Those of S3; absence is no error.
    pub async fn lookup(self: &Arc<Self>, parent: Ino, name: &FileName) -> Result<Lookup> {
        if let Some(lookup) = self.try_lookup(parent, name) {
            return lookup;
        }
        let folder = self.directory(parent)?.folder()?;
        self.foresee(&folder, name);
        let answer = self.settle(&folder, name).await?;
        Ok(self.look_up_answer(parent, name, self.kept(&folder, name, answer)))
    }

    /// Looks up many names of a directory at once.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup), of whichever name failed first; then none has been looked up.
    pub async fn look_up_all(
        self: &Arc<Self>,
        parent: Ino,
        folder: &Folder,
        names: &[FileName],
    ) -> Result<Vec<Lookup>> {
        let answers = self.settle_all(folder, names).await?;
        let look_up = |(name, answer)| self.look_up_answer(parent, name, answer);
        Ok(names.iter().zip(answers).map(look_up).collect())
    }

    /// What an inode is, from memory alone.
    pub fn try_node(&self, ino: Ino) -> Option<Result<Entry>> {
        let place = match self.place(ino) {
            Ok(place) => place,
            Err(error) if error.kind() == Kind::NotPermitted => return Some(Ok(self.top(ino))),
            Err(error) => return Some(Err(error)),
        };
        let answer = self.in_memory(&place.folder, &place.name)?;
        Some(self.entry(ino, answer))
    }

    /// What an inode is.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it is gone by now, or is something else.
    pub async fn node(self: &Arc<Self>, ino: Ino) -> Result<Entry> {
        if let Some(entry) = self.try_node(ino) {
            return entry;
        }
        let place = self.place(ino)?;
        self.foresee(&place.folder, &place.name);
        let answer = self.settle(&place.folder, &place.name).await?;
        self.entry(ino, self.kept(&place.folder, &place.name, answer))
    }

    /// The current version of a file, as an `open` must see it.
    ///
    /// An answer asked for within the last half second (`OPEN_MEMORY`) counts as current: the kernel looks a
    /// name up right before it opens it.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it is gone by now.
    pub async fn current_file(&self, place: &Place) -> Result<ObjectMeta> {
        if let Some(Answer { presence: Presence::File(meta), asked }) =
            self.cache.answer(&place.folder, &place.name)
            && meta.details.is_some()
            && asked.elapsed() < OPEN_MEMORY
        {
            return Ok(meta);
        }
        self.head(&place.folder, &place.name).await
    }

    /// What stands at a place.
    ///
    /// # Errors
    /// Those of S3; absence is no error.
    pub async fn standing(&self, place: &Place) -> Result<Standing> {
        let knowledge = match self.in_memory(&place.folder, &place.name) {
            Some(knowledge) => knowledge,
            None => {
                let answer = self.settle(&place.folder, &place.name).await?;
                self.kept(&place.folder, &place.name, answer)
            }
        };
        let is_unseen =
            matches!(&knowledge, Knowledge::Answer(answer) if matches!(answer.presence, Presence::Unseen));
        Ok(match self.node_of(knowledge).0 {
            Some(Node::File(meta)) => Standing::File(Some(meta)),
            Some(Node::Uncommitted) => Standing::File(None),
            Some(Node::Directory(_) | Node::Top) => Standing::Directory,
            None if is_unseen => Standing::Unseen,
            None => Standing::Absent,
        })
    }

    /// Settles many names of a directory, asking S3 about several at a time.
    async fn settle_all(self: &Arc<Self>, folder: &Folder, names: &[FileName]) -> Result<Vec<Knowledge>> {
        let mut answers: Vec<_> = names.iter().map(|name| self.in_memory(folder, name)).collect();
        let unknown: Vec<usize> = (0..names.len()).filter(|at| answers[*at].is_none()).collect();
        let mut asking = tokio::task::JoinSet::new();
        let mut unasked = unknown.into_iter();
        loop {
            for at in unasked.by_ref().take(DESCRIPTIONS_MAX - asking.len()) {
                let (namespace, folder, name) = (Arc::clone(self), folder.clone(), names[at].clone());
                asking.spawn(async move { (at, namespace.settle(&folder, &name).await) });
            }
            let Some(settled) = asking.join_next().await else { break };
            let (at, answer) =
                settled.map_err(|error| Error::caused(Kind::Io, "asking about a name", error))?;
            answers[at] = Some(self.kept(folder, &names[at], answer?));
        }
        Ok(answers.into_iter().map(|answer| answer.expect("each was in memory or asked for")).collect())
    }

    /// Pending > cache, as far as they know enough; the rest is S3's to say.
    fn in_memory(&self, folder: &Folder, name: &FileName) -> Option<Knowledge> {
        if self.pending.lock().has_file(folder, name) {
            return Some(Knowledge::Uncommitted);
        }
        self.cached(folder, name).map(|answer| self.kept(folder, name, answer))
    }

    /// The cached answer about a name, if it says all that we want to know.
    fn cached(&self, folder: &Folder, name: &FileName) -> Option<Answer> {
        let answer = self.cache.answer(folder, name)?;
        let enough = match &answer.presence {
            Presence::Absent | Presence::Unseen => true,
            Presence::Directory(marker) => marker.is_known(Instant::now(), self.cache.lifetime()),
            Presence::File(meta) => meta.details.is_some() || self.listing_suffices(folder),
        };
        enough.then_some(answer)
    }

    fn listing_suffices(&self, folder: &Folder) -> bool {
        match self.attributes {
            AttributePolicy::Exact => false,
            AttributePolicy::Listing => true,
            AttributePolicy::Auto => self.cache.directory(folder).lock().census().none_to_be_expected(),
        }
    }

    /// An answer, unless it is "absent" about a directory that this mount keeps showing.
    fn kept(&self, folder: &Folder, name: &FileName, answer: Answer) -> Knowledge {
        let shown = |at: Folder| self.pending.lock().has_directory(&at);
        if answer.presence.is_nothing() && folder.folder(name).is_ok_and(shown) {
            let marker = Marker::Missing { asked: answer.asked };
            return Knowledge::Answer(Answer { presence: Presence::Directory(marker), ..answer });
        }
        Knowledge::Answer(answer)
    }

    /// Looks up a name in the mount point, which shows the buckets.
    pub fn look_up_bucket(&self, name: &FileName) -> Lookup {
        if !self.buckets.iter().any(|bucket| bucket.directory == *name) {
            return Lookup::Absent(FOREVER);
        }
        let ino = self.inodes.lock().look_up(Ino::ROOT, name, Species::Directory);
        Lookup::Found(self.top(ino))
    }

    fn top(&self, ino: Ino) -> Entry {
        Entry { ino, node: Node::Top, valid_for: FOREVER }
    }

    fn look_up_answer(&self, parent: Ino, name: &FileName, knowledge: Knowledge) -> Lookup {
        let (node, valid_for) = match self.node_of(knowledge) {
            (Some(node), valid_for) => (node, valid_for),
            (None, valid_for) => return Lookup::Absent(valid_for),
        };
        let ino = self.inodes.lock().look_up(parent, name, species(&node));
        Lookup::Found(Entry { ino, node, valid_for })
    }

    fn entry(&self, ino: Ino, knowledge: Knowledge) -> Result<Entry> {
        let (node, valid_for) = self.node_of(knowledge);
        match node {
            Some(node) if self.species(ino) == Some(species(&node)) => Ok(Entry { ino, node, valid_for }),
            _ => Err(Error::new(Kind::NotFound, "gone, or replaced by something else")),
        }
    }

    fn node_of(&self, knowledge: Knowledge) -> (Option<Node>, Duration) {
        let answer = match knowledge {
            Knowledge::Uncommitted => return (Some(Node::Uncommitted), Duration::ZERO),
            Knowledge::Answer(answer) => answer,
        };
        let valid_for = self.cache.lifetime_left(&answer);
        let node = match answer.presence {
            Presence::File(meta) => Some(Node::File(meta)),
            Presence::Directory(Marker::Present { meta, .. }) => Some(Node::Directory(Some(meta))),
            Presence::Directory(Marker::Missing { .. } | Marker::Unasked) => Some(Node::Directory(None)),
            Presence::Absent | Presence::Unseen => None,
        };
        (node, valid_for)
    }

    // ---- changes ----

    /// A file was created here; S3 hears of it at its first commit.
    pub fn created(&self, parent: Ino, place: &Place) -> Ino {
        self.pending.lock().add_file(&place.folder, &place.name);
        self.inodes.lock().look_up(parent, &place.name, Species::File)
    }

    /// A file's content or description is in S3.
    pub fn committed(&self, place: &Place, meta: ObjectMeta) {
        let answer = Answer { presence: Presence::File(meta), asked: Instant::now() };
        self.cache.learn(&place.folder, &place.name, answer);
        self.pending.lock().remove_file(&place.folder, &place.name);
        self.rights(place.folder.bucket).admitted();
    }

    /// Bytes of a file came from S3, so the role may read in its bucket.
    pub fn readable(&self, place: &Place) {
        if let Ok(key) = place.folder.prefix.file(&place.name) {
            self.witnesses(place.folder.bucket).add(&key);
            self.rights(place.folder.bucket).admitted();
        }
    }

    /// A created file will never be committed under this name.
    pub fn given_up(&self, place: &Place) {
        self.pending.lock().remove_file(&place.folder, &place.name);
    }

    /// Makes a directory, which is its marker object, and promises the kernel its inode.
    ///
    /// # Errors
    /// [`Kind::Exists`].
    pub async fn make_directory(&self, parent: Ino, place: &Place, new: &NewObject) -> Result<Entry> {
        self.ensure_writable(place.folder.bucket)?;
        let exists = || Error::new(Kind::Exists, format!("{} exists", place.name));
        let here = self.settle(&place.folder, &place.name).await?;
        if !here.presence.is_nothing() || self.in_memory_exists(place) {
            return Err(exists());
        }
        let folder = place.folder.folder(&place.name)?;
        let key = folder.prefix.marker().expect("a directory below another has a prefix");
        let gateway = self.gateway(folder.bucket);
        let put = gateway.put(&key, crate::s3::Body::default(), new, &Precondition::MustNotExist).await;
        let etag = match put {
            Err(error) if error.kind() == S3ErrorKind::ConditionFailed => return Err(exists()),
            put => put?,
        };
        let now = Instant::now();
        let marker = Marker::Present { meta: described(etag, 0, new), asked: now };
        let answer = Answer { presence: Presence::Directory(marker), asked: now };
        if matches!(here.presence, Presence::Absent) {
            self.cache.directory(&folder).lock().made_empty(now);
        }
        self.cache.learn(&place.folder, &place.name, answer.clone());
        self.rights(folder.bucket).admitted();
        match self.look_up_answer(parent, &place.name, Knowledge::Answer(answer)) {
            Lookup::Found(entry) => Ok(entry),
            Lookup::Absent(_) => unreachable!("the answer is that of a directory"),
        }
    }

    fn in_memory_exists(&self, place: &Place) -> bool {
        let pending = self.pending.lock();
        pending.has_file(&place.folder, &place.name)
            || place.folder.folder(&place.name).is_ok_and(|folder| pending.has_directory(&folder))
    }

    /// Describes a directory anew, in its marker; one that had none gets one.
    ///
    /// # Errors
    /// Those of S3.
    pub async fn describe_directory_as(&self, place: &Place, new: &NewObject) -> Result<ObjectMeta> {
        self.ensure_writable(place.folder.bucket)?;
        let key = place.folder.folder(&place.name)?.prefix.marker().expect("below a bucket");
        let gateway = self.gateway(place.folder.bucket);
        let etag = gateway.put(&key, crate::s3::Body::default(), new, &Precondition::Whatever).await?;
        let (meta, now) = (described(etag, 0, new), Instant::now());
        let marker = Marker::Present { meta: meta.clone(), asked: now };
        let answer = Answer { presence: Presence::Directory(marker), asked: now };
        self.cache.learn(&place.folder, &place.name, answer);
        Ok(meta)
    }

    /// Removes a file. Its inode keeps its number for whoever has it open.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::IsDirectory`], [`Kind::Denied`].
    pub async fn remove_file(&self, parent: Ino, place: &Place) -> Result<()> {
        self.ensure_writable(place.folder.bucket)?;
        let uncommitted = self.pending.lock().has_file(&place.folder, &place.name);
        if !uncommitted {
            let key = self.existing_file(place).await?;
            self.delete(&place.folder, &key).await?;
        }
        let answer = Answer { presence: Presence::Absent, asked: Instant::now() };
        self.cache.learn(&place.folder, &place.name, answer);
        self.inodes.lock().detach(parent, &place.name);
        let mut pending = self.pending.lock();
        pending.remove_file(&place.folder, &place.name);
        pending.keep_directory(&place.folder);
        Ok(())
    }

    async fn existing_file(&self, place: &Place) -> Result<ObjectKey> {
        match self.settle(&place.folder, &place.name).await?.presence {
            Presence::File(_) => place.folder.prefix.file(&place.name),
            Presence::Directory(_) => Err(Error::new(Kind::IsDirectory, "a directory")),
            Presence::Absent | Presence::Unseen => Err(Error::new(Kind::NotFound, "no such file")),
        }
    }

    /// Removes a directory that has nothing in it but its marker.
    ///
    /// # Errors
    /// [`Kind::NotEmpty`], also for keys below it that a directory cannot show.
    pub async fn remove_directory(&self, parent: Ino, place: &Place) -> Result<()> {
        self.ensure_writable(place.folder.bucket)?;
        let folder = place.folder.folder(&place.name)?;
        self.ensure_empty(&folder).await?;
        if let Some(marker) = folder.prefix.marker() {
            // Deleting what is not there is no error in S3, and cheaper than asking first.
            self.delete(&folder, &marker).await?;
        }
        self.cache.drop_tree(&folder);
        // Not "absent": there may be a file of that name, which the directory has hidden.
        self.drop_answer(place);
        self.inodes.lock().detach(parent, &place.name);
        let mut pending = self.pending.lock();
        pending.remove_directory(&folder);
        pending.keep_directory(&place.folder);
        Ok(())
    }

    /// Makes sure, by asking S3, that there is nothing in a directory but its marker.
    ///
    /// # Errors
    /// [`Kind::NotEmpty`].
    pub async fn ensure_empty(&self, folder: &Folder) -> Result<()> {
        let not_empty = || Error::new(Kind::NotEmpty, format!("{} is not empty", folder.prefix));
        if self.pending.lock().has_files_below(folder) {
            return Err(not_empty());
        }
        let page = self.list(folder, Depth::Level, None, 2).await?;
        let marker_only = page.objects.iter().all(|(key, _)| key == folder.prefix.as_str());
        if marker_only && page.prefixes.is_empty() { Ok(()) } else { Err(not_empty()) }
    }

    /// The kernel's names follow a rename that happened in S3.
    pub fn inode_renamed(&self, from: (Ino, &FileName), onto: (Ino, &FileName)) {
        self.inodes.lock().rename(from, onto);
    }

    /// A created file that S3 has not heard of has another name now.
    pub fn pending_renamed(&self, from: &Place, onto: &Place) {
        let mut pending = self.pending.lock();
        if pending.remove_file(&from.folder, &from.name) {
            pending.add_file(&onto.folder, &onto.name);
        }
        pending.keep_directory(&from.folder);
    }

    /// A name that was pending, or replaced, is to be asked for anew.
    pub fn drop_answer(&self, place: &Place) {
        self.cache.directory(&place.folder).lock().drop_name(&place.name);
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

/// What memory says about a name.
#[derive(Debug, Clone)]
enum Knowledge {
    Uncommitted,
    Answer(Answer),
}

fn species(node: &Node) -> Species {
    match node {
        Node::Top | Node::Directory(_) => Species::Directory,
        Node::File(_) | Node::Uncommitted => Species::File,
    }
}

/// The description of an object that we wrote ourselves a moment ago.
pub fn described(etag: crate::s3::ETag, size: u64, new: &NewObject) -> ObjectMeta {
    let details = crate::s3::ObjectDetails {
        user: new.user.clone(),
        content_type: new.content_type.clone(),
        ..Default::default()
    };
    ObjectMeta {
        etag,
        size,
        last_modified: crate::clock::now(),
        storage_class: new.storage_class.clone(),
        details: Some(Arc::new(details)),
    }
}

/// What never changes while mounted. The kernel takes any number; an hour is as good as ever.
const FOREVER: Duration = Duration::from_secs(3600);

/// How old an answer may be for `open` to take it as the current version.
pub const OPEN_MEMORY: Duration = Duration::from_millis(500);

/// Descriptions asked for at once.
const DESCRIPTIONS_MAX: usize = 64;
