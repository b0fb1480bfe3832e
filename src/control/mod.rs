//! The front desk of a running mount: one Unix socket, where its owner asks and is answered.
//!
//! ```text
//!  s3xmount status ──────┐                                  ┌── server ── Desk: the mount's own
//!  s3xmount credentials ─┼─ find ─ place ─ client ─socket───┤             answers
//!  s3xmount login ───────┘                                  └── peer's user is checked
//! ```
//!
//! [`find`](find()) tells from the kernel's table of mounts, without looking into any, which mount a path
//! lies in; [`place`] where the socket of a mount point is, which follows from the mount point alone;
//! [`client`] asks and [`server`] has the question answered by a [`Desk`].
//!
//! A conversation is one line of JSON each way. The messages below are separate from the types that
//! work inside, so these may change while older and newer versions of this program understand each
//! other: unknown fields are ignored, and an unknown question is refused in words.
//!
//! # Invariants
//!
//! - Only the mount's owner and root are answered. The socket lies in a directory that nobody else may
//!   enter, and the kernel says who is on the other end, in both directions.
//! - Secrets are in [`Session`] and [`Request::Login`] alone, as [`Secret`]; in [`Status`] there is none.

pub mod client;
mod find;
pub mod place;
pub mod server;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::{Deserialize, Serialize};

pub use self::client::ask;
pub use self::find::{Found, find, running};
pub use self::place::Place;
pub use self::server::Server;

use crate::clock;
use crate::config::Origin;
use crate::secret::Secret;

/// A question to a running mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How are things?
    Status,
    /// What were you told?
    Origin,
    /// What are requests for the bucket below this directory signed with? Without one: those for any.
    Session {
        /// The bucket's directory below the mount point.
        directory: Option<String>,
    },
    /// Begin a new role session with this code.
    Login {
        /// What the MFA device shows.
        code: Secret,
        /// The directory of a bucket whose session is meant. Without one: the session that waits for a code.
        directory: Option<String>,
    },
    /// Bring a file to S3 that was set aside.
    Rescue {
        /// Its name among those set aside.
        name: String,
        /// The key that it is to have, if not the one it was to have.
        key: Option<String>,
        /// The bucket that it is to go to, if not the one it was to go to.
        bucket: Option<String>,
        /// It takes the place of whatever is there.
        overwrite: bool,
    },
}

impl Request {
    /// The longest that its answer may take.
    pub fn time_max(&self) -> Duration {
        match self {
            Self::Rescue { .. } => RESCUE_TIME_MAX,
            _ => ANSWER_TIME_MAX,
        }
    }
}

/// What a running mount says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// How things are.
    Status(Box<Status>),
    /// What the settings were made from.
    Origin(Origin),
    /// What requests are signed with.
    Session(Session),
    /// The code was taken.
    LoggedIn {
        /// The role that was assumed.
        role: String,
        /// When its session ends.
        until: Option<String>,
    },
    /// The file is in S3.
    Rescued {
        /// Where, as `s3://BUCKET/KEY`.
        object: String,
    },
    /// No, and why.
    Refused {
        /// One sentence: what is wrong.
        message: String,
        /// What to try.
        hint: Option<String>,
    },
}

/// What requests are signed with. All times here are as [`written`] writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The public part of the key.
    pub access_key_id: String,
    /// The secret part.
    pub secret_access_key: Secret,
    /// What role sessions carry beside the key, and users do not.
    pub session_token: Option<Secret>,
    /// When it ends, if it does.
    pub expiration: Option<String>,
    /// Who one is with it, if that is known.
    pub arn: Option<String>,
    /// The region that the mount was told, or found.
    pub region: Option<String>,
}

/// How things are in a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Where it is mounted.
    pub mount_point: String,
    /// Its process.
    pub pid: u32,
    /// The version of this program that runs there.
    pub version: String,
    /// When it was mounted.
    pub since: String,
    /// What it shows.
    pub buckets: Vec<BucketStatus>,
    /// Who it acts as: one for each chain of roles.
    pub identities: Vec<IdentityStatus>,
    /// What keeps on the disk what was read, if something does.
    #[serde(default)]
    pub cache: Option<CacheStatus>,
    /// What becomes of what is written here.
    #[serde(default)]
    pub writing: WritingStatus,
    /// Directories that are being moved.
    #[serde(default)]
    pub moves: Vec<MoveStatus>,
}

/// How far the move of a directory is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveStatus {
    /// The bucket.
    pub bucket: String,
    /// What its keys began with.
    pub from: String,
    /// What they begin with when it is done.
    pub onto: String,
    /// Objects that move.
    pub objects: u64,
    /// Those that have been copied.
    pub copied: u64,
    /// Those that have been deleted where they were.
    pub deleted: u64,
}

/// What of the files written here is not in S3, or not where it was to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WritingStatus {
    /// Where files wait while they are written.
    pub staging: String,
    /// Files that are closed and on their way to S3.
    pub waiting: WaitingStatus,
    /// Files that could not be committed, and are kept.
    pub set_aside: Vec<AsideStatus>,
    /// Files that have a second name, because somebody else changed the one that they had; the last hundred.
    pub kept_both: Vec<KeptBothStatus>,
    /// Modes, owners and times that were set here, and that S3 refuses.
    #[serde(default)]
    pub refused_descriptions: Vec<RefusedDescriptionStatus>,
}

/// Mode, owner or times of a file or a directory that S3 refuses, although whoever set them was told nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedDescriptionStatus {
    /// Its bucket.
    pub bucket: String,
    /// Its key; that of a directory ends in a slash.
    pub key: String,
    /// When S3 refused it first.
    pub since: String,
    /// Why.
    pub why: String,
}

/// Files that are closed and on their way to S3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingStatus {
    /// How many.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// When the first of them was closed.
    pub oldest: Option<String>,
    /// Some of those that were tried in vain.
    pub troubled: Vec<TroubledStatus>,
}

/// A file that was closed and could not be brought to S3 so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroubledStatus {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub bytes: u64,
    /// When it was closed.
    pub since: String,
    /// What it came to when it was last tried.
    pub trouble: String,
}

/// A file that could not be committed, and is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsideStatus {
    /// Its name among the others, for `s3xmount rescue`.
    pub name: String,
    /// The bucket that it was to go to, if that is known.
    pub bucket: Option<String>,
    /// The key that it was to have, if that is known.
    pub key: Option<String>,
    /// Its length in bytes.
    pub bytes: u64,
    /// How many of these are not here but in the version that it builds on, if that is known.
    pub elsewhere_bytes: Option<u64>,
    /// How many are only in parts of an unfinished upload.
    #[serde(default)]
    pub released_bytes: u64,
    /// When it was set aside.
    pub since: String,
    /// Why.
    pub why: String,
    /// Where it is.
    pub path: String,
}

/// A file that has a second name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBothStatus {
    /// Its bucket.
    pub bucket: String,
    /// The key that somebody else changed.
    pub key: String,
    /// The key that ours has.
    pub ours: String,
    /// When that was.
    pub when: String,
}

/// The block cache, and what it has done for this mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStatus {
    /// Where it is.
    pub directory: String,
    /// Bytes that it takes on the disk, those of other mounts included.
    pub used_bytes: u64,
    /// Bytes that it may take.
    pub bytes_max: u64,
    /// Bytes that were read from it.
    pub served_bytes: u64,
    /// Bytes that were not there, and came from S3.
    pub fetched_bytes: u64,
}

/// A bucket as it is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketStatus {
    /// Its directory below the mount point.
    pub directory: String,
    /// Its name.
    pub bucket: String,
    /// What of it is shown; empty for all.
    pub prefix: String,
    /// Where it lies.
    pub region: String,
    /// Nothing may be changed in it.
    pub read_only: bool,
    /// Which of [`Status::identities`] acts in it, counted from 0.
    pub identity: usize,
    /// What of it can be listed, as far as its answers have told.
    #[serde(default)]
    pub listing: ListingStatus,
    /// The rights that were missing when they were last needed.
    #[serde(default)]
    pub missing: Vec<MissingRight>,
    /// What its server was found to lack that AWS has, and what follows; each a predicate, such as "knows no ACLs: ..".
    #[serde(default)]
    pub lacking: Vec<String>,
    /// That S3 does not answer at the moment.
    #[serde(default)]
    pub silent: Option<SilenceStatus>,
}

/// Requests that S3 does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilenceStatus {
    /// Since when nothing has come from it.
    pub since: String,
    /// How many requests wait.
    pub requests: usize,
    /// What the first of them asks for, such as `ListObjectsV2`.
    pub first: String,
    /// What the last attempt came to, if one has ended.
    pub trouble: Option<String>,
}

/// What of a bucket can be listed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "prefixes")]
pub enum ListingStatus {
    /// Nobody knows yet.
    #[default]
    Unknown,
    /// All of it.
    Open,
    /// What lies below some prefixes.
    Prefix(Vec<String>),
    /// Nothing.
    Blind,
}

/// A right that a mount lacks and is of use without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingRight {
    /// The action, as policies name it.
    pub action: String,
    /// What the action is about: an ARN.
    pub resource: String,
    /// What does not work without.
    pub consequence: String,
    /// Where it is missing, as far as that can be told.
    pub place: String,
    /// The statement that allows it, as it stands in the policy of the role. In the bucket's it also names a principal.
    pub statement: serde_json::Value,
}

/// Somebody the mount acts as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityStatus {
    /// The ARN of the user or of the role's session, if it is known.
    pub caller: Option<String>,
    /// The roles that are assumed, one with the session of the other; none for the base identity itself.
    pub roles: Vec<String>,
    /// When the present session ends, if it does.
    pub expires: Option<String>,
    /// How often it has been renewed.
    pub renewals: u64,
    /// Why the last attempt to renew it failed, if it did.
    pub trouble: Option<String>,
    /// The MFA device whose code is waited for, if one is.
    pub needs_code: Option<String>,
}

/// Whoever knows the answers.
pub trait Desk: Send + Sync {
    /// Answers. What takes longer than [`Request::time_max`] is given up and refused.
    fn answer(&self, request: Request) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>>;
}

/// Writes a time as messages have it: RFC 3339, in UTC, whole seconds, such as `2026-01-31T08:00:00Z`.
pub fn written(time: SystemTime) -> String {
    clock::rfc_3339(time)
}

/// Understands a time that [`written`] wrote.
pub fn read(time: &str) -> Option<SystemTime> {
    let time = DateTime::from_str(time, Format::DateTime).ok()?;
    Some(clock::from_unix(time.secs(), 0))
}

/// The longest that an answer may take: credentials are waited for no longer than this.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(70);

/// A large file over a slow line.
const RESCUE_TIME_MAX: Duration = Duration::from_secs(3600);

/// A request holds a code and some names.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// Ten thousand buckets, and more words about each than there are.
const ANSWER_BYTES_MAX: usize = 16 << 20;
