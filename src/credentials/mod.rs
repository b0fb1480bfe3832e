//! The right to act, kept fresh.
//!
//! A mount signs its requests with keys that end: of a role that was assumed, of a role that was
//! assumed from that one, or of a base identity that is itself temporary. This part obtains them
//! before the mount answers, renews them in the background for as long as it lives, and gives them
//! to the SDK whenever it is about to sign.
//!
//! # The life of a role session
//!
//! ```text
//!  issued          renewal sought               lapsed
//!    ├──────────────────┼──────────────────────────┤
//!    │   in use         │  in use, and retried     │  requests wait
//! ```
//!
//! - A session is renewed well before its end (`schedule.rs`): five minutes before for the
//!   shortest that AWS issues, an hour before for long ones, halfway for those of seconds.
//! - If STS fails, the old session goes on serving to its real end, while attempts are repeated
//!   with growing pauses. Nobody waits in that time.
//! - Only when nothing usable is left do requests wait. They go on the moment a new session
//!   arrives; they fail when their deadline passes, or at once when STS refuses for good.
//! - A server may refuse a session before its end: it was revoked, or clocks disagree. Whoever is
//!   told so reports it ([`Credentials::refused`]), and the session is replaced at once.
//! - Each renewal begins at the very beginning, with the base identity loaded anew (`chain.rs`), so
//!   rotated keys and repeated logins are picked up without a remount.
//!
//! # Invariants
//!
//! - There is one renewal at a time, whoever wants it and however many.
//! - Time that keys depend on is wall-clock time, because it goes on while a machine sleeps. Pauses
//!   between attempts are not, because a wall clock may be set back.
//! - Secrets are in [`aws_credential_types::Credentials`] and nowhere else. No `Debug` or
//!   `Display` of this part, and no log line, shows more of them than who they belong to.
//!
//! This is the only place that names `aws_sdk_sts` and `aws_config`.

mod base;
mod chain;
mod provider;
mod refresh;
mod role;
mod schedule;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

pub use self::base::BaseSource;
pub use self::provider::Unavailable;

use self::base::Base;
use self::chain::Chain;
use self::provider::Provider;
use self::refresh::{Refresher, Shared};
use self::schedule::Life;
use crate::error::Result;
use crate::task::Tasks;

/// How to come by credentials.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who we are before assuming anything.
    pub base: BaseSource,
    /// The region whose STS is asked; without it, the one that the environment or profile names.
    pub region: Option<String>,
    /// Where STS answers, if not where AWS has it for the region.
    pub sts_endpoint_url: Option<String>,
    /// The roles to assume, each with the session of the one before it. Without any, the base
    /// identity itself is used.
    pub roles: Vec<RoleOptions>,
    /// The connection pool to share; without it, one of our own.
    pub http_client: Option<SharedHttpClient>,
    /// How long a request waits for credentials when there are none.
    pub wait_max: Duration,
    /// What time it is.
    pub clock: Clock,
}

/// A role to assume, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleOptions {
    /// Its ARN.
    pub arn: String,
    /// The name that the other account's audit trail shows.
    pub session_name: String,
    /// How long a session to ask for. A role that is assumed from another is asked for an hour at
    /// most, and a role that allows less than this is asked for an hour.
    pub duration: Duration,
    /// What the role's trust policy demands to hear, if it does.
    pub external_id: Option<String>,
}

/// Credentials that renew themselves until the group of tasks they were started in is stopped.
pub struct Credentials {
    shared: Arc<Shared>,
    region: Option<String>,
}

impl Credentials {
    /// Obtains the first session and starts the task that renews it.
    ///
    /// # Errors
    ///
    /// Says which role could not be assumed, by whom, and what to check. What may pass is tried
    /// more than once before.
    pub async fn start(options: Options, tasks: &Tasks) -> Result<Arc<Self>> {
        let Options { base, region, sts_endpoint_url, roles, http_client, wait_max, clock } = options;
        let base = Base { source: base, region, sts_endpoint_url, http_client };
        let mut chain = Chain::new(base, roles, clock.clone());
        let grant = refresh::first(&mut chain).await?;
        tracing::info!(?grant, "credentials obtained");
        let region = chain.region();
        let shared = Arc::new(Shared::new(grant, clock, wait_max));
        // The handle is not kept: the group of tasks stops it, and those who wait hear of its end.
        drop(tasks.spawn_until_stopped("credentials", Refresher::new(chain, Arc::clone(&shared)).run()));
        Ok(Arc::new(Self { shared, region }))
    }

    /// Returns the provider to build clients with. Their identity cache must be off, or it keeps
    /// what was replaced here.
    pub fn provider(&self) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(Provider::new(Arc::clone(&self.shared)))
    }

    /// Reports that a server takes the keys of this access key id for expired, revoked or invalid.
    ///
    /// If they are the current ones, they are renewed and requests wait for the new ones. Reports
    /// of older keys, or of the same ones once more, change nothing.
    pub fn refused(&self, access_key_id: &str) {
        self.shared.refuse(access_key_id);
    }

    /// The region that the options, the environment or the profile name.
    pub fn region(&self) -> Option<String> {
        self.region.clone()
    }

    /// Who we are to AWS at the moment. `None` for a base identity that is used directly: nobody
    /// asked STS about it.
    pub fn caller(&self) -> Option<Caller> {
        self.shared.offer.borrow().grant.caller.clone()
    }

    /// When the present keys end; `None` if they do not.
    pub fn expiry(&self) -> Option<SystemTime> {
        self.shared.offer.borrow().grant.life.map(|life| life.expiry)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&self.shared.offer.borrow().grant).finish()
    }
}

/// Somebody that AWS knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The ARN of a user, or of a role's session.
    pub arn: String,
    /// The account they belong to; empty if the ARN names none.
    pub account: String,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)
    }
}

/// What requests are signed with: a role session, or the base identity itself.
#[derive(Clone)]
struct Grant {
    keys: Keys,
    caller: Option<Caller>,
    issued: SystemTime,
    /// `None` if the keys do not end, as those of users do not.
    life: Option<Life>,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.caller {
            Some(caller) => write!(f, "{caller}")?,
            None => f.write_str("the base identity")?,
        }
        match self.life {
            Some(life) => write!(f, ", for {} s", life.remaining(self.issued).as_secs()),
            None => f.write_str(", without end"),
        }
    }
}

/// What time it is: the wall clock, or in tests another one.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// Returns a clock that shows what `time` returns.
    pub fn new(time: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(time))
    }

    fn now(&self) -> SystemTime {
        (self.0)()
    }
}

/// The wall clock.
impl Default for Clock {
    fn default() -> Self {
        Self::new(crate::clock::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
