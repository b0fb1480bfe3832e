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
//! - A server may refuse a session before its end. Whoever is told so reports it
//!   ([`Credentials::refused`]), and the session is replaced at once.
//! - A session that was revoked is not refused as such: it is denied everything. So a denial of what
//!   used to work ([`Credentials::denied`]) makes a session suspect, and a new one is sought; should
//!   STS not give one, the old one goes on serving.
//! - Where a role demands the code of an MFA device, somebody has to say it (`codes.rs`): on the
//!   terminal at the start, a command, or a person who logs in again ([`Credentials::login`]).
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
mod codes;
mod failure;
mod process;
mod profile;
mod provider;
mod refresh;
mod role;
mod schedule;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;
mod trace;
mod web_identity;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

pub use self::base::{BaseSource, StsVariant};
pub use self::codes::{AskCode, CodeSource, is_code};
pub use self::provider::Unavailable;
pub use self::trace::{Step, Stumble, Trace, Trouble, trace};

use self::chain::Chain;
use self::failure::Failure;
use self::provider::Provider;
use self::refresh::{Patience, Refresher, Shared};
use self::schedule::Life;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
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
    /// Which of AWS's endpoints of STS is meant, where no URL is given.
    pub sts_variant: StsVariant,
    /// The roles to assume, each with the session of the one before it. They come after those that
    /// the base identity's profile assumes by itself. Without any, the base identity itself is used.
    pub roles: Vec<RoleOptions>,
    /// What bounds the session of the last role.
    pub bounds: Bounds,
    /// Where codes of MFA devices come from.
    pub codes: CodeSource,
    /// What the sessions of roles are called that the profile names without saying so.
    pub session_name: String,
    /// The connection pool to share; without it, one of our own.
    pub http_client: Option<SharedHttpClient>,
    /// Whether the start goes on trying for as long as what is wrong may pass.
    pub wait: bool,
    /// Hears what the start is waiting for, as a sentence for people.
    pub tell: Option<Tell>,
    /// Whether a denial of what used to work makes a session suspect.
    pub suspect_denials: bool,
    /// How long a request waits for credentials when there are none.
    pub wait_max: Duration,
    /// What time it is.
    pub clock: Clock,
}

/// Tells the person at the prompt something.
#[derive(Clone)]
pub struct Tell(Arc<dyn Fn(&str) + Send + Sync>);

impl Tell {
    /// Returns what passes sentences on to `hear`.
    pub fn new(hear: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    /// Passes a sentence on.
    pub fn say(&self, sentence: &str) {
        (self.0)(sentence);
    }
}

impl fmt::Debug for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell")
    }
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
    /// The name that stays with this session and all that are come by with it.
    pub source_identity: Option<String>,
    /// The tags of the session.
    pub tags: Vec<SessionTag>,
    /// The MFA device whose present code the role's trust policy demands.
    pub mfa_serial: Option<String>,
}

impl RoleOptions {
    /// Returns a role whose sessions last an hour and have nothing special about them.
    pub fn new(arn: impl Into<String>, session_name: impl Into<String>) -> Self {
        Self {
            arn: arn.into(),
            session_name: session_name.into(),
            duration: role::DURATION_ALWAYS_ALLOWED,
            external_id: None,
            source_identity: None,
            tags: Vec::new(),
            mfa_serial: None,
        }
    }
}

/// A session tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTag {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Whether it stays with the sessions that are come by with this one.
    pub transitive: bool,
}

/// What bounds a session beyond the policies of its role.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    /// A policy document.
    pub policy: SessionPolicy,
    /// The ARNs of managed policies.
    pub policy_arns: Vec<String>,
}

/// A policy document that bounds a session.
#[derive(Debug, Clone, Default)]
pub enum SessionPolicy {
    /// None.
    #[default]
    None,
    /// This one, or no session at all.
    Demanded(String),
    /// This one, or none if STS does not take it: it may be too much together with the session tags.
    Preferred(String),
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
        let (credentials, failure) = Self::obtain(options).await;
        match failure {
            None => Ok(credentials.renewed_in(tasks)),
            Some(failure) => Err(failure.into()),
        }
    }

    /// Does the same, but goes on trying in the background if there is no session yet. Requests
    /// wait and fail until there is one.
    ///
    /// For mounts whose other buckets have other roles: the trouble of one account is not theirs.
    pub async fn start_anyway(options: Options, tasks: &Tasks) -> (Arc<Self>, Option<Error>) {
        let (credentials, failure) = Self::obtain(options).await;
        (credentials.renewed_in(tasks), failure.map(Error::from))
    }

    async fn obtain(options: Options) -> (Obtained, Option<Failure>) {
        let (mut chain, codes) = Chain::of(&options);
        let patience = if options.wait { Patience::WhileItMayPass } else { Patience::SomeAttempts };
        let first = refresh::first(&mut chain, patience, options.tell.as_ref()).await;
        codes.stop_asking();
        let shared = Shared::new(options.clock, options.wait_max, options.suspect_denials, codes);
        let failure = match first {
            Ok(grant) => {
                tracing::info!(?grant, "credentials obtained");
                shared.publish(grant, 0);
                None
            }
            Err(failure) => {
                shared.publish_failure(failure.clone(), 0);
                Some(failure)
            }
        };
        (Obtained { shared: Arc::new(shared), chain }, failure)
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

    /// Reports that a server denies with these keys what it used to allow. Returns whether trying
    /// again is worth it, with keys that are renewed meanwhile.
    ///
    /// It is, if the keys have served for a while: then they may have been revoked. False alarms are
    /// answered ever more rarely, as long as nobody [confirms](Self::confirmed) one.
    pub fn denied(&self, access_key_id: &str) -> bool {
        self.shared.suspect(access_key_id)
    }

    /// Reports that a denied request was allowed with the keys that were obtained because of it.
    pub fn confirmed(&self) {
        self.shared.confirm();
    }

    /// Renews now, with this code of the MFA device. Returns until when the new session lasts.
    ///
    /// # Errors
    ///
    /// Says why there is no new session. The old one goes on serving.
    pub async fn login(&self, code: Secret) -> Result<Option<SystemTime>> {
        self.shared.login(code).await?;
        Ok(self.expiry())
    }

    /// Whether any role has ever asked for the code of an MFA device.
    pub fn ask_for_codes(&self) -> bool {
        self.shared.asks_for_codes()
    }

    /// Returns the keys to sign with, which are usable when they are returned.
    ///
    /// # Errors
    ///
    /// [`Kind::Denied`] if there are none and none come in time.
    pub async fn keys(&self) -> Result<Keys> {
        let provider = Provider::new(Arc::clone(&self.shared));
        provider.keys().await.map_err(|unavailable| Error::new(Kind::Denied, unavailable.to_string()))
    }

    /// Waits for the first session.
    pub async fn obtained(&self) {
        let mut offers = self.shared.offer.subscribe();
        // It fails only where nobody could offer any more, and then there is nothing to wait for either.
        offers.wait_for(|offer| offer.grant.is_some()).await.ok();
    }

    /// Whether there ever were any.
    pub fn are_there(&self) -> bool {
        self.shared.offer.borrow().grant.is_some()
    }

    /// The region that the options, the environment or the profile name.
    pub fn region(&self) -> Option<String> {
        self.region.clone()
    }

    /// Who we are to AWS at the moment. `None` for a base identity that is used directly: nobody
    /// asked STS about it.
    pub fn caller(&self) -> Option<Caller> {
        self.shared.offer.borrow().grant.as_ref()?.caller.clone()
    }

    /// When the present keys end; `None` if they do not, or if there are none.
    pub fn expiry(&self) -> Option<SystemTime> {
        self.shared.offer.borrow().grant.as_ref()?.life.map(|life| life.expiry)
    }

    /// How things stand, for people.
    pub fn report(&self) -> Report {
        let offer = self.shared.offer.borrow();
        let failure = offer.failure.as_ref();
        Report {
            caller: offer.grant.as_ref().and_then(|grant| grant.caller.clone()),
            expiry: offer.grant.as_ref().and_then(|grant| grant.life).map(|life| life.expiry),
            renewals: offer.renewals,
            trouble: failure.map(ToString::to_string),
            needs_code: failure.and_then(Failure::device).map(str::to_owned),
        }
    }
}

/// What a start came to, with or without a session.
struct Obtained {
    shared: Arc<Shared>,
    chain: Chain,
}

impl Obtained {
    fn renewed_in(self, tasks: &Tasks) -> Arc<Credentials> {
        let Self { shared, chain } = self;
        let region = chain.region();
        // The handle is not kept: the group of tasks stops it, and those who wait hear of its end.
        drop(tasks.spawn_until_stopped("credentials", Refresher::new(chain, Arc::clone(&shared)).run()));
        Arc::new(Credentials { shared, region })
    }
}

/// How the credentials stand.
#[derive(Debug, Clone)]
pub struct Report {
    /// Who we are to AWS, if STS said so.
    pub caller: Option<Caller>,
    /// When the present keys end; `None` if they do not, or if there are none.
    pub expiry: Option<SystemTime>,
    /// How many times they were renewed since the start.
    pub renewals: u64,
    /// Why there are no newer ones, if the last attempt failed.
    pub trouble: Option<String>,
    /// The MFA device whose code it takes to renew them, if nobody has said it.
    pub needs_code: Option<String>,
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
