//! Bytes in: from the first written byte to the object that others see.
//!
//! A [`Session`] is the life of one written file, shared by all handles on it. What is written is
//! staged at once in a local sparse file ([`staging`]), and a sequential writer's parts leave
//! while it writes ([`ahead`]). [`Session::commit`], which `close` and `fsync` wait for, makes the
//! object ([`plan`], [`commit`]): one PUT up to 8 MiB, above that a multipart upload that
//! copies inside S3 what was not touched. [`Sessions`] is what all sessions of a mount share.
//!
//! ```text
//!            write                    commit                      write
//!   Clean ──────────►  Dirty  ──────────────────────►  Clean  ──────────►  Dirty
//!   base: what open              │ failed               base: the version
//!         asked for              ▼                            just committed
//!                             Failed: every later call hears it; bytes set aside
//! ```
//!
//! # What may be relied upon
//! - **Nothing acknowledged is lost.** A commit that returned has its bytes in S3. One that failed leaves
//!   them in the staging directory, under `set-aside/`, and says where. A session whose process
//!   died is found at the next mount ([`recovery`]). The one exception is chosen: above
//!   [`Options::staging_bytes_max`], bytes of a file that is still being written are only in the parts of an unfinished
//!   upload (`session/releasing.rs`), which is then never aborted.
//! - **Order.** Writes, cuts and reads of one session apply in the order in which they are
//!   called: they happen under its lock before the call returns its future. What a write may have to
//!   wait for afterwards is room for the next one, not its own effect.
//! - **A commit excludes nothing but other commits** of its session, and what removes, replaces or moves the file
//!   ([`AtRest`]). It commits the file as it was when the commit began; what is written meanwhile belongs to the next
//!   one ([`content`]). Whoever is to hear of a version hears of it before the next one is begun.
//! - **No lost update.** Every commit is conditional on what `open` asked for, see [`Base`].
//! - **Nothing waits for good.** A session that is idle holds only bytes that it asked the budget for,
//!   and asking leaves an eighth alone. Who demands bytes holds none, and gives them
//!   back without waiting for anybody.
//!
//! # Invariants
//! - A journal record exists from before the first local effect of a session until after the
//!   last effect of its commit in S3. So a staging file without one is of no use to anybody.
//! - Only [`commit`] makes a [`CommitReceipt`].
//! - The session's lock is never held across an await, and nobody waits for another session's under it.

pub mod ahead;
pub mod aside;
pub mod background;
pub mod choices;
pub mod commit;
pub mod conflict;
pub mod content;
mod disk;
mod fetch;
pub mod held;
pub mod journal;
mod kept;
pub mod plan;
pub mod ranges;
pub mod recovery;
pub mod session;
pub mod staging;

#[cfg(all(test, feature = "emulator"))]
mod tests;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use self::background::Background;
use self::disk::Disk;
use self::held::Memory;
use self::recovery::Leftover;
use self::staging::Place;
use crate::budget::Budget;
use crate::error::{Error, Kind, Result};
use crate::name::ObjectKey;
use crate::s3::Gateway;
use crate::s3::object::{ETag, NewObject, ObjectMeta, Precondition};
use crate::task::Tasks;

pub use self::background::{BackgroundReport, Waiting};
pub use self::choices::{CommitMode, ExclusiveCreate, OnConflict};
pub use self::commit::CommitReceipt;
pub use self::conflict::KeptBoth;
pub use self::kept::Kept;
pub use self::plan::PartSizes;
pub use self::recovery::{Outcome, Recovered};
pub use self::session::{AtRest, Closed, Occasion, Origin, Owed, Seek, Session};

/// How files are staged and sent.
#[derive(Debug, Clone)]
pub struct Options {
    /// The staging directory, which one process owns.
    pub staging: PathBuf,
    /// How large parts are, and up to which size a file costs one PUT.
    pub part_sizes: PartSizes,
    /// Parts of one file that may be on their way at a time.
    pub parts_in_flight: usize,
    /// Above this many bytes in staging files, what S3 has in parts is released from them.
    pub staging_bytes_max: u64,
    /// What becomes of a commit that lost a race.
    pub on_conflict: OnConflict,
    /// What close(2) waits for.
    pub commit: CommitMode,
    /// When the name of a file created with O_EXCL is taken.
    pub exclusive_create: ExclusiveCreate,
    /// The name of this machine, for those of files that are kept beside others.
    pub host: String,
}

impl Options {
    /// Returns the defaults: files up to 8 MiB in one piece, others in parts of 5 MiB, twenty-four at a time.
    ///
    /// A connection to S3 carries about 90 MB/s and the first answer takes 20 ms: sixteen of them fill 10 Gbit/s while
    /// all of them send, and half as many again wait for an answer meanwhile. On a local network four to six do, and
    /// the rest cost nothing, because a part only leaves once it was written. The smallest parts that S3 takes need the
    /// least memory, and a close waits the least for the last of them: a file of 14 MiB is there in 0.86 of the time
    /// that it takes in parts of 8 MiB.
    pub fn new(staging: PathBuf) -> Self {
        Self {
            staging,
            part_sizes: PartSizes { whole: 8 << 20, part: 5 << 20 },
            parts_in_flight: 24,
            staging_bytes_max: 16 << 30,
            on_conflict: OnConflict::default(),
            commit: CommitMode::default(),
            exclusive_create: ExclusiveCreate::default(),
            host: "here".to_owned(),
        }
    }
}

/// The object that a session writes.
#[derive(Debug, Clone)]
pub struct Target {
    /// The way to its bucket.
    pub gateway: Arc<Gateway>,
    /// Its key.
    pub key: ObjectKey,
    /// What is said about it, beside its bytes. The commit adds its id.
    pub object: NewObject,
}

/// What a written file starts from, as `open` asked for it, and so what its commit demands.
#[derive(Debug, Clone)]
pub enum Base {
    /// Created under a name that nobody had: the commit must not replace anything.
    New,
    /// The same with O_EXCL: whoever is second shall hear of it, whatever else is chosen for lost races.
    Exclusive,
    /// The same, and the name is taken already, by this empty object: the commit must find it still there.
    Claimed(ObjectMeta),
    /// Emptied as it was opened (`O_TRUNC`): whatever is there is replaced, the last writer wins. With the version that was
    /// seen there, if one was.
    Replace(Option<ETag>),
    /// Builds on this version: the commit must find it still there.
    Existing(ObjectMeta),
}

impl Base {
    /// The version that is to be replaced unread, if it was seen.
    fn replaced(&self) -> Option<ETag> {
        match self {
            Self::Replace(seen) => seen.clone(),
            _ => None,
        }
    }

    fn into_parts(self) -> (Precondition, Option<ObjectMeta>) {
        match self {
            Self::New | Self::Exclusive => (Precondition::MustNotExist, None),
            Self::Replace(_) => (Precondition::Whatever, None),
            Self::Existing(meta) | Self::Claimed(meta) => {
                (Precondition::MustMatch(meta.etag.clone()), Some(meta))
            }
        }
    }
}

/// What all sessions of a mount share: the staging directory, the budget, the tasks.
#[derive(Debug)]
pub struct Sessions {
    options: Options,
    budget: Budget,
    memory: Memory,
    tasks: Tasks,
    boot: String,
    directory: Arc<Path>,
    leftovers: Mutex<Vec<Leftover>>,
    /// The last turn that was given to a commit; greater than those of all leftovers.
    turns: AtomicU64,
    /// Bytes on the disk in the staging files of those who stream.
    staged_bytes: Arc<AtomicU64>,
    disk: Disk,
    background: Background,
    kept_both: Mutex<Vec<KeptBoth>>,
    /// Locked for as long as this process owns the directory.
    _lock: File,
}

impl Sessions {
    /// Takes possession of the staging directory, which is created if it is missing.
    ///
    /// What an earlier process left there stays untouched until [`recover`](Self::recover).
    ///
    /// # Errors
    /// [`Kind::Busy`] when another process owns it, and those of the local filesystem.
    pub fn open(mut options: Options, budget: Budget, tasks: Tasks) -> Result<Arc<Self>> {
        options.part_sizes = options.part_sizes.valid();
        let staging = options.staging.clone();
        let cannot = |error: std::io::Error| {
            Error::from(error).context(format!("the staging directory {}", staging.display()))
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&staging).map_err(cannot)?;
        let lock = lock(&staging)?;
        DirBuilder::new().recursive(true).mode(0o700).create(staging.join(SET_ASIDE)).map_err(cannot)?;
        let directory: Arc<Path> = staging.as_path().into();
        let leftovers = recovery::leftovers(&directory).map_err(cannot)?;
        Ok(Arc::new(Self {
            options,
            memory: Memory::of(budget.clone()),
            budget,
            tasks,
            boot: journal::boot(),
            background: Background::new(Arc::clone(&directory)),
            disk: Disk::below(Arc::clone(&directory)),
            directory,
            turns: AtomicU64::new(leftovers.iter().map(Leftover::turn).max().unwrap_or(0)),
            leftovers: Mutex::new(leftovers),
            staged_bytes: Arc::default(),
            kept_both: Mutex::default(),
            _lock: lock,
        }))
    }

    /// Begins to write a file. This asks nothing of S3 and of the disk.
    pub fn begin(self: &Arc<Self>, target: Target, base: Base) -> Arc<Session> {
        let place = Place::fresh(Arc::clone(&self.directory));
        Session::new(Arc::clone(self), place, target, base)
    }

    /// Takes a name that nobody has, with an empty object, for a session with [`Base::Claimed`].
    ///
    /// # Errors
    /// [`Kind::Exists`] when somebody has it.
    pub async fn claim(&self, target: &Target) -> Result<ObjectMeta> {
        commit::claim(target).await
    }

    /// How files are staged and sent.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The turn of a commit that is sealed now; see [`journal::Seal::turn`].
    fn next_turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What was put under a second name because of a lost race: the last hundred, the oldest first.
    pub fn kept_both(&self) -> Vec<KeptBoth> {
        self.kept_both.lock().clone()
    }

    /// A name under `set-aside/` that a person recognises: bucket, key, and enough to tell two apart.
    fn aside_path(&self, bucket: &str, key: &str, place: &Place) -> PathBuf {
        let readable: String =
            format!("{bucket}_{key}").chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        let start = readable.len().saturating_sub(READABLE_BYTES_MAX);
        self.directory.join(SET_ASIDE).join(format!("{}.{}", &readable[start..], &place.id()[..8]))
    }
}

/// Plain characters are one byte each, so a name of them may be cut anywhere.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

fn lock(staging: &Path) -> Result<File> {
    let path = staging.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            Kind::Busy,
            format!("the staging directory {} is in use by another mount", staging.display()),
        )),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The folder of the staging directory where files are kept that could not be committed.
pub const SET_ASIDE: &str = "set-aside";

/// With what is added, a name stays below the 255 bytes that a directory entry holds.
const READABLE_BYTES_MAX: usize = 200;
