//! The one task that renews, and what it shares with those who sign.
//!
//! The task owns the [`Chain`] and is alone in using it, so there is never more than one renewal
//! at a time, however many requests wait for it. It publishes into a watch channel; everybody else
//! reads there. Requests influence it in two ways only: by questioning the standing of what it
//! offers, and by waking it to look at the clock again. Neither shortens a pause after a failure; only
//! a person who logs in does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::chain::Chain;
use super::codes::Codes;
use super::failure::{Cause, Failure};
use super::schedule::{self, Failures, Next, Outlook, Situation, Suspicion};
use super::{Clock, Grant, Tell};
use crate::secret::Secret;

/// What is to be had at the moment.
#[derive(Clone)]
pub(super) struct Offer {
    /// The newest keys; none before the first ones.
    pub(super) grant: Option<Arc<Grant>>,
    /// How they stand with the server.
    pub(super) standing: Standing,
    /// How many grants in a row were refused before, or including, this one.
    pub(super) refusals: u32,
    /// Why there are no newer ones, if the last attempt failed.
    pub(super) failure: Option<Failure>,
    /// The number of the attempt that ended last.
    pub(super) attempts: u64,
    /// How many attempts succeeded after the first that did.
    pub(super) renewals: u64,
    /// Whether anybody is still renewing.
    pub(super) attended: bool,
}

/// How keys stand with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It takes them.
    Good,
    /// It may have revoked them. Whether there are others is being found out; if not, they serve on.
    Suspect,
    /// It has refused them.
    Refused,
}

impl Offer {
    /// The keys, if a request may be signed with them.
    pub(super) fn usable(&self, now: SystemTime) -> Option<&Grant> {
        self.living(now).filter(|_| self.standing == Standing::Good)
    }

    /// The keys, if they have not ended.
    pub(super) fn living(&self, now: SystemTime) -> Option<&Grant> {
        self.grant.as_deref().filter(|grant| grant.life.is_none_or(|life| life.is_usable(now)))
    }

    fn is(&self, access_key_id: &str) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.keys.access_key_id() == access_key_id)
    }
}

/// What the task shares with those who sign.
pub(super) struct Shared {
    /// The offer; only the task replaces the grant, only [`refuse`](Shared::refuse) and
    /// [`suspect`](Shared::suspect) question its standing.
    pub(super) offer: watch::Sender<Offer>,
    pub(super) clock: Clock,
    /// How long a request may wait for usable keys.
    pub(super) wait_max: Duration,
    codes: Arc<Codes>,
    /// Whether denials count at all, and what they led to so far.
    suspicion: Option<Mutex<Suspicion>>,
    /// Somebody has logged in: renew now, whatever the schedule says.
    wanted: AtomicBool,
    /// Whoever logs in, one at a time.
    logins: tokio::sync::Mutex<()>,
    wake: Notify,
}

impl Shared {
    pub(super) fn new(clock: Clock, wait_max: Duration, suspect_denials: bool, codes: Arc<Codes>) -> Self {
        let offer = Offer {
            grant: None,
            standing: Standing::Good,
            refusals: 0,
            failure: None,
            attempts: 0,
            renewals: 0,
            attended: true,
        };
        Self {
            offer: watch::Sender::new(offer),
            clock,
            wait_max,
            codes,
            suspicion: suspect_denials.then(Mutex::default),
            wanted: AtomicBool::new(false),
            logins: tokio::sync::Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Has the task look at the clock and the offer again.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Marks the offer as refused, if it still is these keys.
    ///
    /// Requests that were signed earlier report keys that are long replaced, and fifty requests
    /// that fail together report the same ones: only the first of them has an effect.
    pub(super) fn refuse(&self, access_key_id: &str) {
        let now = self.clock.now();
        let is_news = self.offer.send_if_modified(|offer| {
            if offer.standing == Standing::Refused || !offer.is(access_key_id) {
                return false;
            }
            let Some(grant) = &offer.grant else { return false };
            offer.refusals = schedule::refusals_in_a_row(offer.refusals, grant.issued, grant.life, now);
            offer.standing = Standing::Refused;
            true
        });
        if is_news {
            tracing::info!("the server no longer accepts the current credentials; renewing them");
            self.wake();
        }
    }

    /// Makes the offer suspect, if it still is these keys and they are old enough to have been
    /// revoked. Returns whether a request that they were denied should be made again.
    pub(super) fn suspect(&self, access_key_id: &str) -> bool {
        let Some(suspicion) = &self.suspicion else { return false };
        let now = self.clock.now();
        let mut is_worth_it = false;
        let is_news = self.offer.send_if_modified(|offer| {
            let Some(grant) = offer.grant.clone().filter(|grant| grant.life.is_some()) else { return false };
            if !offer.is(access_key_id) || offer.standing != Standing::Good {
                // Others were quicker: there are new keys already, or there will be in a moment.
                is_worth_it = !offer.is(access_key_id) || offer.standing == Standing::Suspect;
                return false;
            }
            // While STS fails there are no other keys, and those at hand should go on serving.
            // The same holds where it takes a person to renew.
            let is_renewable = offer.failure.is_none() && !self.codes.are_said_by_people();
            let can_be_mended = is_renewable && schedule::has_served(grant.issued, grant.life, now);
            is_worth_it = can_be_mended && suspicion.lock().may_be_raised(Instant::now().into_std());
            if is_worth_it {
                offer.standing = Standing::Suspect;
            }
            is_worth_it
        });
        if is_news {
            tracing::info!(
                "what the credentials could do is denied; they may have been revoked, so they are renewed"
            );
            self.wake();
        }
        is_worth_it
    }

    /// Whether any role has ever asked for a code.
    pub(super) fn asks_for_codes(&self) -> bool {
        self.codes.are_needed()
    }

    /// A suspicion was right.
    pub(super) fn confirm(&self) {
        if let Some(suspicion) = &self.suspicion {
            suspicion.lock().was_right();
        }
    }

    /// Renews now, with this code; returns when the attempt has ended that used it, or else the
    /// first that could have.
    pub(super) async fn login(&self, code: Secret) -> Result<(), Failure> {
        let _alone = self.logins.lock().await;
        let mut offers = self.offer.subscribe();
        let could_use = self.codes.give(code);
        self.wanted.store(true, Ordering::Release);
        self.wake();
        let ended = |offer: &Offer| {
            let used_by = self.codes.used_by();
            !offer.attended || offer.attempts >= used_by.unwrap_or(could_use)
        };
        let waited = tokio::time::timeout(self.wait_max, offers.wait_for(ended)).await;
        self.codes.withdraw();
        match waited {
            Ok(Ok(offer)) => offer.failure.clone().map_or(Ok(()), Err),
            _ => Err(Failure::new(Cause::Unreachable).doing("logging in")),
        }
    }

    /// Offers new keys.
    pub(super) fn publish(&self, grant: Grant, attempt: u64) {
        // Whoever has just logged in wants no other one, if this is what their code was used for.
        if !self.codes.are_given() {
            self.wanted.store(false, Ordering::Release);
        }
        self.offer.send_modify(|offer| {
            // A row of refusals ends with a grant that was replaced in good standing.
            offer.refusals = if offer.standing == Standing::Refused { offer.refusals } else { 0 };
            offer.standing = Standing::Good;
            offer.renewals += u64::from(offer.grant.is_some());
            offer.grant = Some(Arc::new(grant));
            offer.failure = None;
            offer.attempts = attempt;
        });
    }

    /// Says why there are none.
    pub(super) fn publish_failure(&self, failure: Failure, attempt: u64) {
        self.offer.send_modify(|offer| {
            // Nobody was better than they: what is merely suspect serves on.
            if offer.standing == Standing::Suspect {
                offer.standing = Standing::Good;
            }
            offer.failure = Some(failure);
            offer.attempts = attempt;
        });
    }
}

/// How long the first grant is tried for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// A few attempts, so that a lost packet does not fail a mount.
    SomeAttempts,
    /// Until somebody ends it, as long as what is wrong may pass.
    WhileItMayPass,
}

/// Obtains the first grant. What will not pass is reported at once.
pub(super) async fn first(
    chain: &mut Chain,
    patience: Patience,
    tell: Option<&Tell>,
) -> Result<Grant, Failure> {
    let mut count = 0;
    loop {
        let failure = match chain.renew().await {
            Ok(grant) => return Ok(grant),
            Err(failure) => failure,
        };
        count += 1;
        let is_enough = patience == Patience::SomeAttempts && count == START_ATTEMPTS_MAX;
        // At boot a machine without a network is one without credentials, to the SDK.
        let may_pass = match failure.outlook() {
            Outlook::Final => patience == Patience::WhileItMayPass && failure.cause() == Cause::NoBase,
            _ => true,
        };
        if !may_pass || is_enough {
            return Err(failure);
        }
        if patience == Patience::WhileItMayPass && count == 1 {
            tracing::warn!(%failure, "no credentials yet; waiting for them");
            if let Some(tell) = tell {
                tell.say(&format!("no credentials yet; waiting for them: {failure}"));
            }
        } else {
            tracing::debug!(%failure, attempts = count, "no credentials yet; trying again");
        }
        let failures = Failures { count, outlook: failure.outlook(), remaining: Duration::ZERO };
        tokio::time::sleep(schedule::backoff(&failures, fastrand::f64())).await;
    }
}

/// The task's own state.
pub(super) struct Refresher {
    chain: Chain,
    shared: Arc<Shared>,
    last_attempt: Instant,
    failures: Option<Failures>,
    /// How many attempts failed since the last success, for whatever reasons.
    failed: u32,
    /// Whether it has been logged that requests have nothing to sign with.
    lapse_logged: bool,
}

impl Refresher {
    /// Takes over where the first attempts have ended, well or badly.
    pub(super) fn new(chain: Chain, shared: Arc<Shared>) -> Self {
        let failures = shared.offer.borrow().failure.as_ref().map(|failure| Failures {
            count: 1,
            outlook: failure.outlook(),
            remaining: Duration::ZERO,
        });
        Self { chain, shared, last_attempt: Instant::now(), failures, failed: 0, lapse_logged: false }
    }

    /// Renews for as long as it is allowed to live.
    pub(super) async fn run(mut self) {
        loop {
            self.wait_until_due().await;
            let attempt = self.shared.codes.begin_attempt();
            match self.chain.renew().await {
                Ok(grant) => self.publish(grant, attempt),
                Err(failure) => self.record(failure, attempt),
            }
            self.last_attempt = Instant::now();
        }
    }

    async fn wait_until_due(&mut self) {
        let jitter = fastrand::f64();
        loop {
            let pause = self.pause(jitter);
            let is_wanted = self.shared.wanted.swap(false, Ordering::AcqRel);
            if pause.is_zero() || is_wanted {
                return;
            }
            self.log_lapse();
            // Waking up now and then is what notices a suspend: the pause is measured on a clock
            // that stood still meanwhile.
            let looks_again = tokio::time::sleep(pause.min(WALL_CLOCK_LOOK_INTERVAL));
            tokio::select! {
                () = looks_again => {}
                () = self.shared.wake.notified() => {}
            }
        }
    }

    fn pause(&self, jitter: f64) -> Duration {
        let situation = {
            let offer = self.shared.offer.borrow();
            let refusals = match offer.standing {
                Standing::Good => 0,
                Standing::Suspect => 1,
                Standing::Refused => offer.refusals,
            };
            let life = offer.grant.as_ref().and_then(|grant| grant.life);
            Situation { life, failures: self.failures, refusals, jitter }
        };
        match schedule::next(&situation) {
            Next::Never => Duration::MAX,
            Next::At(due) => due.duration_since(self.shared.clock.now()).unwrap_or_default(),
            Next::After(pause) => pause.saturating_sub(self.last_attempt.elapsed()),
        }
    }

    fn publish(&mut self, grant: Grant, attempt: u64) {
        self.failures = None;
        let attempts = std::mem::take(&mut self.failed);
        let until = grant.life.map(|life| crate::clock::to_unix(life.expiry).0);
        if attempts > 0 {
            tracing::info!(?grant, failed_attempts = attempts, "credentials are being renewed again");
        } else {
            tracing::debug!(?grant, until, "credentials renewed");
        }
        self.lapse_logged = false;
        if self.is_refused(grant.keys.access_key_id()) {
            // Static keys. They are offered again, or a single refusal in error would bar them for
            // ever; what the server says of them next is for the application.
            tracing::warn!("the server refused the base credentials, and they have not changed since");
        }
        self.shared.publish(grant, attempt);
    }

    fn is_refused(&self, access_key_id: &str) -> bool {
        let offer = self.shared.offer.borrow();
        offer.standing == Standing::Refused && offer.is(access_key_id)
    }

    fn record(&mut self, failure: Failure, attempt: u64) {
        let now = self.shared.clock.now();
        let outlook = failure.outlook();
        let before = self.failures.take().filter(|failures| failures.outlook == outlook);
        let count = before.map_or(0, |failures| failures.count).saturating_add(1);
        let remaining = {
            let offer = self.shared.offer.borrow();
            match &offer.grant {
                Some(grant) if offer.standing != Standing::Refused => {
                    grant.life.map_or(Duration::MAX, |life| life.remaining(now))
                }
                _ => Duration::ZERO,
            }
        };
        let is_first = self.failed == 0;
        self.failed = self.failed.saturating_add(1);
        if is_first {
            let usable_seconds = (remaining != Duration::MAX).then_some(remaining.as_secs());
            tracing::warn!(%failure, usable_seconds, "credentials could not be renewed; trying again");
        } else {
            tracing::debug!(%failure, attempts = self.failed, "credentials could not be renewed; trying again");
        }
        self.failures = Some(Failures { count, outlook, remaining });
        self.shared.publish_failure(failure, attempt);
    }

    /// Says once per outage that it has begun to hurt.
    fn log_lapse(&mut self) {
        let offer = self.shared.offer.borrow().clone();
        if self.failures.is_none() || self.lapse_logged || offer.usable(self.shared.clock.now()).is_some() {
            return;
        }
        if let Some(failure) = offer.failure {
            tracing::error!(%failure, "the credentials have lapsed; requests wait for new ones, and fail if none come");
        }
        self.lapse_logged = true;
    }
}

/// However the task ends, those who wait hear of it instead of waiting for nobody.
impl Drop for Refresher {
    fn drop(&mut self) {
        self.shared.offer.send_modify(|offer| offer.attended = false);
    }
}

/// How often the first grant is tried for.
const START_ATTEMPTS_MAX: u32 = 3;

/// See [`Refresher::wait_until_due`]. A request that meets an expired grant wakes the task anyway;
/// this is for sessions that are merely due.
const WALL_CLOCK_LOOK_INTERVAL: Duration = Duration::from_secs(10);
