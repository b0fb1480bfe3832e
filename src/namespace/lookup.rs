//! Looking names up: pending first, then the cache, then S3.
//!
//! What memory can answer is answered at once, by the `try_` forms; only the rest is a future.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cache::{Answer, Marker, Presence};
use super::inode::{Ino, Species};
use super::{AttributePolicy, Directory, Entry, Folder, Lookup, Namespace, Node, Place, Standing};
use crate::error::{Error, Kind, Result};
use crate::name::FileName;
use crate::s3::ObjectMeta;

impl Namespace {
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
            return Ok(self.as_described(place, meta));
        }
        Ok(self.as_described(place, self.head(&place.folder, &place.name).await?))
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
    pub(super) async fn settle_all(
        self: &Arc<Self>,
        folder: &Folder,
        names: &[FileName],
    ) -> Result<Vec<Knowledge>> {
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
        if let Some(answer) = self.waiting_answer(folder, name) {
            return Some(Knowledge::Answer(answer));
        }
        self.cached(folder, name).map(|answer| self.kept(folder, name, answer))
    }

    /// The cached answer about a name, if it says all that we want to know.
    pub(super) fn cached(&self, folder: &Folder, name: &FileName) -> Option<Answer> {
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

    pub(super) fn look_up_answer(&self, parent: Ino, name: &FileName, knowledge: Knowledge) -> Lookup {
        let (node, valid_for) = match self.node_of(knowledge) {
            (Some(node), valid_for) => (node, valid_for),
            (None, valid_for) => return Lookup::Absent(valid_for),
        };
        let ino = self.inodes.lock().look_up(parent, name, species(&node));
        Lookup::Found(Entry { ino, node, valid_for })
    }

    pub(super) fn entry(&self, ino: Ino, knowledge: Knowledge) -> Result<Entry> {
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
}

/// What memory says about a name.
#[derive(Debug, Clone)]
pub(super) enum Knowledge {
    Uncommitted,
    Answer(Answer),
}

fn species(node: &Node) -> Species {
    match node {
        Node::Top | Node::Directory(_) => Species::Directory,
        Node::File(_) | Node::Uncommitted => Species::File,
    }
}

/// What never changes while mounted. The kernel takes any number; an hour is as good as ever.
const FOREVER: Duration = Duration::from_secs(3600);

/// How old an answer may be for `open` to take it as the current version.
pub const OPEN_MEMORY: Duration = Duration::from_millis(500);

/// Descriptions asked for at once.
const DESCRIPTIONS_MAX: usize = 64;
