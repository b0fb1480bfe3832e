//! A small S3 and STS with accounts, for `s3xmount demo` and for tests.
//!
//! It models what this product depends on and no more: users and roles in several accounts,
//! policies evaluated for real, role sessions that expire and can be revoked, the three modes
//! of object ownership, ACLs, conditions, uploads in parts, checksums, listings, regions. It
//! leaves out versioning, tagging, KMS, object lock, access points and grants other than the
//! canned ACLs, and says 501 `NotImplemented` when asked for them: it never pretends.
//!
//! **It imports nothing from the rest of the crate.** A second, independent statement of how
//! S3 behaves is what makes it a test of the first; a shared helper would put the same mistake
//! on both sides. Where convenience and AWS disagree, AWS wins.
//!
//! ```text
//!   serve          connections, request ids, answers that get lost
//!     admission    signatures and tokens (s3s), who is it
//!       sts        AssumeRole, GetCallerIdentity
//!       s3         operations: bucket, permission, effect (parsed by s3s)
//!         access   ◄── policy, directory, identity     who may do what
//!         store    ◄── content, checksum, listing      what there is
//!     faults       trouble on demand, on the way in and on the way out
//! ```
//!
//! # Starting one
//!
//! ```
//! use s3xmount::emulator::{AccessKey, AccountId, BucketSpec, RunningEmulator, User, World};
//! use serde_json::json;
//!
//! const ACCOUNT: AccountId = AccountId::new(123_456_789_012);
//! let admin = json!({"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}});
//! let world = World::new()
//!     .with_user(User::new(ACCOUNT, "eve", AccessKey::new("AKIAEVE", "secret")).policy(&admin))
//!     .with_bucket(BucketSpec::new("photos", ACCOUNT));
//! world.seed("photos", "2024/cat.jpg", b"meow".as_slice());
//! let emulator = RunningEmulator::start(world)?;
//! assert!(emulator.endpoint_url().starts_with("http://127.0.0.1:"));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A running emulator gives access to its [`World`], so that a test can change policies, let
//! time pass, script trouble and look at what really was stored:
//!
//! ```
//! # use s3xmount::emulator::{On, RunningEmulator, demo};
//! # use std::time::Duration;
//! let emulator = RunningEmulator::start(demo::world(demo::Rights::Full))?;
//! let world = emulator.world();
//! world.clock.advance(Duration::from_secs(3600));
//! world.faults.inject(On::operation("PutObject").key("report.txt").lose_answer());
//! assert_eq!(world.faults.count("PutObject"), 0);
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod access;
mod admission;
pub mod checksum;
pub mod clock;
pub mod content;
pub mod demo;
pub mod directory;
pub mod faults;
pub mod identity;
mod in_process;
pub mod listing;
pub mod policy;
pub mod refusal;
mod s3;
mod serve;
pub mod store;
mod sts;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::clock::Clock;
pub use self::content::Content;
pub use self::directory::{AccessKey, Role, User};
pub use self::faults::{Fault, Gate, Injected, On};
pub use self::identity::AccountId;
pub use self::in_process::InProcess;
pub use self::store::{BucketSpec, CannedAcl, Object, Ownership};

use self::checksum::{Algorithm, Digests, Tagging};
use self::directory::{Caller, Directory};
use self::faults::Faults;
use self::policy::{Context, Policy};
use self::serve::Door;
use self::store::{Attributes, Store, Upload, WriteCondition};

/// Everything there is: people, things, time and trouble.
///
/// It is built with the `with_` methods and changed while it runs through its parts, all of
/// which take `&self`.
#[derive(Debug, Default)]
pub struct World {
    /// The time sessions live by.
    pub clock: Clock,
    /// Users, roles and sessions.
    pub directory: Directory,
    /// Buckets, objects and uploads.
    pub buckets: Store,
    /// Scripted trouble, and counts of requests.
    pub faults: Faults,
    allow_short_sessions: bool,
    pretend_tls: bool,
    tagging: Tagging,
}

/// An emulator that listens on the loopback interface; it stops when dropped.
#[must_use = "dropping a running emulator stops it"]
pub struct RunningEmulator {
    world: Arc<World>,
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl World {
    /// Returns a world without anybody or anything in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a user.
    pub fn with_user(self, user: User) -> Self {
        self.directory.add_user(user);
        self
    }

    /// Adds a role.
    pub fn with_role(self, role: Role) -> Self {
        self.directory.add_role(role);
        self
    }

    /// Gives an account's root user a key.
    pub fn with_root(self, account: AccountId, key: AccessKey) -> Self {
        self.directory.add_root(account, key);
        self
    }

    /// Adds an empty bucket.
    pub fn with_bucket(self, bucket: BucketSpec) -> Self {
        self.buckets.add(bucket, self.clock.now_in_seconds());
        self
    }

    /// Lets sessions be as short as a second; AWS's own minimum is fifteen minutes.
    pub fn with_short_sessions(mut self) -> Self {
        self.allow_short_sessions = true;
        self
    }

    /// Lets policies see `aws:SecureTransport` as true, though the emulator speaks plain HTTP.
    pub fn with_pretended_tls(mut self) -> Self {
        self.pretend_tls = true;
        self
    }

    /// Takes ETags from chance instead of MD5, as clients of KMS buckets see them. Writes are quicker.
    pub fn with_opaque_etags(mut self) -> Self {
        self.tagging = Tagging::Opaque;
        self
    }

    /// Puts an object into a bucket without asking anybody; it belongs to the bucket's owner.
    ///
    /// # Panics
    ///
    /// If there is no such bucket.
    pub fn seed(&self, bucket: &str, key: &str, content: impl Into<Bytes>) {
        self.seed_content(bucket, key, Content::from(content.into()), Attributes::default());
    }

    /// Puts an object with attributes into a bucket; its content may be larger than memory.
    ///
    /// # Panics
    ///
    /// If there is no such bucket.
    pub fn seed_content(&self, bucket: &str, key: &str, content: Content, attributes: Attributes) {
        let bucket = self.bucket(bucket);
        // Hashing a terabyte would take hours; an ETag need not be an MD5.
        let digests = match content.size() {
            size if size <= SEED_DIGEST_BYTES_MAX => {
                Some(Digests::of(&content, Algorithm::Crc64Nvme, self.tagging))
            }
            _ => None,
        };
        let object = Object {
            owner: bucket.owner,
            acl: CannedAcl::Private,
            etag: digests.as_ref().map_or_else(|| format!("{:032x}-1", content.size()), Digests::etag),
            modified: self.clock.now_in_seconds(),
            attributes,
            checksum: digests.as_ref().map(Digests::checksum),
            part_sizes: Vec::new(),
            content,
        };
        bucket.put(key, object, &WriteCondition::None).expect("no condition fails");
    }

    /// Returns a bucket.
    ///
    /// # Panics
    ///
    /// If there is no such bucket.
    pub fn bucket(&self, name: &str) -> Arc<store::Bucket> {
        self.buckets.bucket(name).unwrap_or_else(|| panic!("there is no bucket {name}"))
    }

    /// Returns an object as it is stored, whoever may see it.
    pub fn object(&self, bucket: &str, key: &str) -> Option<Arc<Object>> {
        self.bucket(bucket).object(key)
    }

    /// Returns the unfinished uploads of a bucket with their ids.
    pub fn uploads(&self, bucket: &str) -> Vec<(String, Upload)> {
        self.bucket(bucket).uploads()
    }

    /// Replaces a bucket's policy, or takes it away.
    ///
    /// # Panics
    ///
    /// If there is no such bucket or the document is malformed.
    pub fn set_bucket_policy(&self, bucket: &str, document: Option<&Value>) {
        let policy =
            document.map(|document| Policy::bucket(document).expect("the bucket policy is well-formed"));
        self.bucket(bucket).set_policy(policy);
    }

    /// Revokes the sessions a role has handed out so far: they are denied everything.
    ///
    /// # Panics
    ///
    /// If there is no such role.
    pub fn revoke_sessions(&self, account: AccountId, role: &str) {
        self.directory.revoke_sessions(account, role, self.clock.now());
    }

    /// The condition keys that every request carries.
    fn ambient(&self, caller: &Caller, context: Context) -> Context {
        let account = caller.identity.account().map(|account| account.to_string());
        context
            .with("aws:SecureTransport", self.pretend_tls.to_string())
            .with("aws:PrincipalArn", caller.identity.principal_arn())
            .with_some("aws:PrincipalAccount", account)
    }
}

impl RunningEmulator {
    /// Starts serving on a port that the kernel chooses, on a thread of its own.
    ///
    /// The thread has its own runtime, so the emulator keeps answering while the caller's
    /// runtime is blocked, as a test's often is.
    pub fn start(world: World) -> io::Result<Self> {
        Self::start_at(world, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Starts serving at this address.
    pub fn start_at(world: World, address: SocketAddr) -> io::Result<Self> {
        let world = Arc::new(world);
        let door = Door::new(&world);
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .thread_name("emulator")
            .enable_all()
            .build()?;
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("emulator".to_owned()).spawn(move || {
            runtime.block_on(stopped.run_until_cancelled(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => serve::serve(listener, door).await,
                    Err(error) => tracing::error!(%error, "the emulator cannot listen"),
                }
            }));
            // A request that waits at a gate nobody will open must not hold up the end.
            runtime.shutdown_background();
        })?;
        tracing::debug!(%address, "the emulator listens");
        Ok(Self { world, address, stop, thread: Some(thread) })
    }

    /// Returns what S3 and STS clients take as endpoint URL.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the world behind the endpoint.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Returns the address it listens at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RunningEmulator {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the emulator's thread panicked");
        }
    }
}

impl fmt::Debug for RunningEmulator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RunningEmulator").field("address", &self.address).finish_non_exhaustive()
    }
}

const WORKER_THREADS: usize = 2;
/// A second or two of hashing.
const SEED_DIGEST_BYTES_MAX: u64 = 1 << 30;
