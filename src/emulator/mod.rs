//! A small S3 and STS with accounts, for `s3xmount demo` and for tests.
//!
//! It models what this product depends on and no more: users and roles in several accounts,
//! policies evaluated for real, role sessions that expire and can be revoked, with second factors,
//! source identities, session tags and session policies, tokens of identity providers, the three modes
//! of object ownership, ACLs, conditions, uploads in parts, checksums, listings, regions, KMS keys and whom
//! they let in, clocks that differ. It leaves out versioning, tags of objects, object lock, access points and
//! grants other than the canned ACLs, and says 501 `NotImplemented` when asked for them: it never pretends.
//!
//! **It imports nothing from the rest of the crate.** A second, independent statement of how
//! S3 behaves is what makes it a test of the first; a shared helper would put the same mistake
//! on both sides. Where convenience and AWS disagree, AWS wins.
//!
//! ```text
//!   serve          connections, request ids, dates, answers that get lost
//!     admission    signatures (s3s), their time, tokens: who is it
//!       sts        AssumeRole, AssumeRoleWithWebIdentity, GetCallerIdentity
//!                    ◄── mfa, oidc                    what else proves somebody
//!       s3         operations: bucket, permission, effect (parsed by s3s)
//!         access   ◄── policy, directory, identity     who may do what
//!         kms      ◄── encryption                      who may use which key
//!         store    ◄── content, checksum, listing      what there is
//!     faults       trouble on demand, on the way in and on the way out
//!     lacks        servers that are not AWS, and leave something out
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
pub mod encryption;
pub mod faults;
mod hmac;
pub mod identity;
mod in_process;
pub mod kms;
pub mod lacks;
pub mod listing;
pub mod mfa;
pub mod oidc;
pub mod policy;
pub mod refusal;
mod s3;
mod serve;
pub mod store;
mod sts;
pub mod world;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::clock::Clock;
pub use self::content::Content;
pub use self::directory::{AccessKey, Role, User};
pub use self::encryption::{CustomerKey, Encryption};
pub use self::faults::{Fault, Gate, Injected, On};
pub use self::identity::AccountId;
pub use self::in_process::InProcess;
pub use self::kms::KmsKey;
pub use self::lacks::Lack;
pub use self::mfa::MfaDevice;
pub use self::oidc::{OidcProvider, WebIdentity};
pub use self::store::{BucketSpec, CannedAcl, Object, Ownership};
pub use self::world::{Misdirected, World};

use self::serve::Door;

/// An emulator that listens on the loopback interface; it stops when dropped.
#[must_use = "dropping a running emulator stops it"]
pub struct RunningEmulator {
    world: Arc<World>,
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
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
