//! A whole filesystem, without a kernel.
//!
//! [`Filesystem`] owns the three siblings (names, bytes out, bytes in) and what is open, and is
//! where they meet: a commit's receipt becomes the namespace's knowledge, a handle's read goes to
//! the session while there is one and to S3 otherwise. Its methods are the operations of a
//! filesystem over our own types; [`fuse`](crate::fuse) only translates. Nearly all tests call it
//! directly: no root, no mount, no sleep.
//!
//! | file | operations |
//! | --- | --- |
//! | `files.rs` | open, create |
//! | `data.rs` | read, write, truncate |
//! | `space.rs` | fallocate, lseek |
//! | `copying.rs` | copy_file_range |
//! | `closing.rs` | flush, fsync, release, and the commits they ask for |
//! | `dirs.rs` | lookup, what `stat` shows, opendir, readdir, mkdir, rmdir |
//! | `kinds.rs` | what `readdir` calls a link, and what a file |
//! | `special.rs` | symbolic links, FIFOs, sockets, device nodes |
//! | `describing.rs` | changes of mode, owner, times |
//! | `promises.rs` | what of these is written down until S3 has it |
//! | `moves.rs` | rename, unlink |
//! | `xattr/` | extended attributes |
//! | `attr.rs` | object and marker to mode, owner, times, size, and back |
//! | `handle.rs` | what is open |
//! | `kept.rs` | what is removed while it is open |
//! | `overtaken.rs` | what is replaced by others while it is open |
//! | `passed.rs` | what of that the kernel reads by itself |
//! | `fill.rs` | files that are read at random, given to the kernel whole |
//! | `small.rs` | small files, fetched before they are opened |
//! | `written.rs` | small files, read after they were written |

mod attr;
mod awaited;
mod closing;
mod copying;
mod data;
mod delivery;
mod describing;
mod dirs;
mod files;
mod fill;
mod handle;
mod kept;
mod kinds;
mod media_type;
mod moves;
mod overtaken;
mod passed;
mod promises;
mod small;
mod space;
mod special;
mod written;
mod xattr;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

pub use self::attr::{AttributeChange, Attributes, Defaults, FileKind};
pub use self::awaited::Awaiting;
pub use self::copying::{Extent, Position};
pub use self::dirs::{Described, Found, Listed, Shown};
pub use self::files::{OpenOptions, Opened};
pub use self::fill::StorePages;
pub use self::handle::{Access, HandleId};
pub use self::moves::Replace;
pub use self::space::{Allocation, Seek};
pub use self::special::Special;
pub use self::xattr::Setting;

use self::handle::{HandleTable, OpenFile};
use self::small::SmallFiles;
use self::written::Written;
use crate::budget::Budget;
use crate::error::{Error, Kind, Result};
use crate::name::FileName;
use crate::namespace::{Ino, Namespace, Place};
use crate::read;
use crate::task::Tasks;
use crate::write::Sessions;

/// What a filesystem is made of.
#[derive(Debug)]
pub struct Parts {
    /// The names.
    pub namespace: Arc<Namespace>,
    /// The write sessions.
    pub sessions: Arc<Sessions>,
    /// How files are read ahead.
    pub reading: read::Options,
    /// What keeps on the disk what was read.
    pub cache: Option<Arc<read::BlockCache>>,
    /// What is shown where S3 knows nothing.
    pub defaults: Defaults,
    /// Where buffers come from.
    pub budget: Budget,
    /// Where background work runs.
    pub tasks: Tasks,
}

/// A mounted filesystem.
pub struct Filesystem {
    /// For what it does later.
    me: Weak<Self>,
    parts: Parts,
    handles: HandleTable,
    small_files: Arc<SmallFiles>,
    written: Written,
    /// What all readers together may hold, of the budget of all buffers.
    reading_budget: Budget,
    open_files: Mutex<HashMap<Ino, Arc<OpenFile>>>,
    /// The version whose pages the kernel may keep, per inode that was opened.
    pages: Mutex<HashMap<Ino, crate::s3::ETag>>,
    made_links: special::MadeLinks,
    on_changed: OnceLock<OnChanged>,
    store_pages: OnceLock<StorePages>,
    /// The kernel reads no files by itself.
    passing_refused: AtomicBool,
}

/// Hears of inodes whose content turned out to be another than the kernel was told.
pub type OnChanged = Box<dyn Fn(Ino) + Send + Sync>;

impl Filesystem {
    /// Returns the filesystem made of `parts`.
    pub fn new(parts: Parts) -> Arc<Self> {
        let reading_budget = parts.budget.share(parts.reading.memory_bytes_max);
        let (budget, tasks) = (reading_budget.clone(), parts.tasks.clone());
        let file_bytes_max = parts.reading.small_file_bytes;
        let namespace = Arc::clone(&parts.namespace);
        let filesystem = Arc::new_cyclic(|me: &Weak<Self>| Self {
            me: me.clone(),
            small_files: SmallFiles::new(Arc::clone(&parts.namespace), budget, tasks, file_bytes_max),
            written: Written::new(reading_budget.clone()),
            reading_budget,
            parts,
            handles: HandleTable::default(),
            open_files: Mutex::default(),
            pages: Mutex::default(),
            made_links: special::MadeLinks::default(),
            on_changed: OnceLock::new(),
            store_pages: OnceLock::new(),
            passing_refused: AtomicBool::new(false),
        });
        let me = filesystem.me.clone();
        namespace.notify_described(Box::new(move |place, meta| {
            if let Some(filesystem) = me.upgrade() {
                filesystem.described(place, meta);
            }
        }));
        filesystem
    }

    /// Names who is to hear that what the kernel remembers of an inode is out of date.
    pub fn notify(&self, on_changed: OnChanged) {
        // The first one stays; a filesystem is mounted once.
        let _already_named = self.on_changed.set(on_changed).is_err();
    }

    /// Where background work of this filesystem runs.
    pub fn tasks(&self) -> &Tasks {
        &self.parts.tasks
    }

    /// Where an inode is below the mount point, for people; `None` for one whose name has gone.
    pub fn path(&self, ino: Ino) -> Option<String> {
        self.namespace().path(ino)
    }

    /// Total, free and available space as `statfs` shows them. S3 has no limit; many tools want one.
    pub fn space(&self) -> Space {
        Space { total_bytes: 1 << 60, free_bytes: 1 << 60, files: 1 << 40 }
    }

    /// Ends all write sessions, at unmount.
    pub async fn finish(&self) {
        self.deliver_all().await;
        self.settle().await;
    }

    /// The first half of [`finish`](Self::finish): what was closed is brought to S3, as long as something moves.
    pub async fn deliver_all(&self) {
        let left = self.parts.sessions.finish_background().await;
        if left > 0 {
            tracing::error!(left, "closed files are not in S3 yet; the next mount goes on with them");
        }
    }

    /// The other half: S3 hears what it has not heard of modes, owners and times, commits that are under way are waited
    /// for, and what nobody has closed is set aside, because it may be half a file. What this does not come to the next
    /// mount finds.
    pub async fn settle(&self) {
        let open: Vec<Arc<OpenFile>> = self.open_files.lock().values().cloned().collect();
        for file in &open {
            if let Err(error) = self.hand_over_description(file).await {
                tracing::warn!(%error, "mode, owner or times of a file that was open are not kept");
            }
        }
        // Each failure has been logged.
        self.namespace().tell_descriptions().await.unwrap_or_default();
        for session in open.iter().filter_map(|file| file.session()) {
            if let Some(error) = session.set_aside().await {
                tracing::error!(%error, "a file was open for writing at unmount");
            }
        }
        if let Some(cache) = &self.parts.cache {
            // The last few blocks; who comes next would have to fetch them again, and no more than that.
            tokio::time::timeout(CACHE_PATIENCE, cache.settled()).await.unwrap_or_default();
        }
    }

    fn namespace(&self) -> &Arc<Namespace> {
        &self.parts.namespace
    }

    fn open_file(&self, ino: Ino) -> Option<Arc<OpenFile>> {
        self.open_files.lock().get(&ino).cloned()
    }

    /// A file that is open, where that tells more of it than its name does.
    fn known_open_file(&self, ino: Ino) -> Option<Arc<OpenFile>> {
        self.open_file(ino).filter(|file| file.state().is_known())
    }

    /// The name `name` below a directory's inode.
    fn place_in(&self, parent: Ino, name: &FileName) -> Result<Place> {
        let folder = self.namespace().directory(parent)?.folder()?;
        Ok(Place { folder, name: name.clone() })
    }

    fn tell_changed(&self, ino: Ino) {
        if let Some(on_changed) = self.on_changed.get() {
            on_changed(ino);
        }
    }
}

impl fmt::Debug for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filesystem").field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// What `statfs` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All bytes.
    pub total_bytes: u64,
    /// Unused bytes.
    pub free_bytes: u64,
    /// Files there may be.
    pub files: u64,
}

fn removed() -> Error {
    Error::new(Kind::NotFound, "removed while open")
}

/// Which bucket and key a session writes to.
fn target_key(place: &Place) -> Result<crate::name::ObjectKey> {
    place.folder.prefix.file(&place.name)
}

/// A queue of 32 MiB takes a disk much less.
const CACHE_PATIENCE: Duration = Duration::from_secs(1);
