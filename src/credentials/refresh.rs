//! The one task that renews, and what it shares with those who sign.
//!
//! The task owns the [`Chain`] and is alone in using it, so there is never more than one renewal
//! at a time, however many requests wait for it. It publishes into a watch channel; everybody else
//! reads there. Requests influence it in two ways only: by marking what it offers as refused, and
//! by waking it to look at the clock again. Neither shortens a pause after a failure.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::chain::Chain;
use super::role::Failure;
use super::schedule::{self, Failures, Next, Outlook, Situation};
use super::{Clock, Grant};

/// What is to be had at the moment.
#[derive(Clone)]
pub(super) struct Offer {
    /// The newest keys.
    pub(super) grant: Arc<Grant>,
    /// Whether a server has refused them.
    pub(super) refused: bool,
    /// How many grants in a row were refused before, or including, this one.
    pub(super) refusals: u32,
    /// Why there are no newer ones, if the last attempt failed.
    pub(super) failure: Option<Failure>,
    /// Whether anybody is still renewing.
    pub(super) attended: bool,
}

impl Offer {
    /// Whether a request may be signed with these keys.
    pub(super) fn is_usable(&self, now: SystemTime) -> bool {
        !self.refused && self.grant.life.is_none_or(|life| life.is_usable(now))
    }
}

/// What the task shares with those who sign.
pub(super) struct Shared {
    /// The offer; only the task replaces the grant, only [`Shared::refuse`] marks it as refused.
    pub(super) offer: watch::Sender<Offer>,
    pub(super) clock: Clock,
    /// How long a request may wait for usable keys.
    pub(super) wait_max: Duration,
    wake: Notify,
}

impl Shared {
    pub(super) fn new(first: Grant, clock: Clock, wait_max: Duration) -> Self {
        let offer =
            Offer { grant: Arc::new(first), refused: false, refusals: 0, failure: None, attended: true };
        Self { offer: watch::Sender::new(offer), clock, wait_max, wake: Notify::new() }
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
            if offer.refused || offer.grant.keys.access_key_id() != access_key_id {
                return false;
            }
            let Grant { issued, life, .. } = *offer.grant;
            offer.refused = true;
            offer.refusals = schedule::refusals_in_a_row(offer.refusals, issued, life, now);
            true
        });
        if is_news {
            tracing::info!("the server no longer accepts the current credentials; renewing them");
            self.wake();
        }
    }
}

/// Obtains the first grant. Whatever may pass is tried a few times, so that a lost packet does not
/// fail a mount; what will not pass is reported at once.
pub(super) async fn first(chain: &mut Chain) -> Result<Grant, Failure> {
    let mut count = 0;
    loop {
        let failure = match chain.renew().await {
            Ok(grant) => return Ok(grant),
            Err(failure) => failure,
        };
        count += 1;
        if failure.outlook() == Outlook::Final || count == START_ATTEMPTS_MAX {
            return Err(failure);
        }
        tracing::debug!(%failure, "no credentials yet; trying again");
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
    /// Whether it has been logged that requests have nothing to sign with.
    lapse_logged: bool,
}

impl Refresher {
    pub(super) fn new(chain: Chain, shared: Arc<Shared>) -> Self {
        Self { chain, shared, last_attempt: Instant::now(), failures: None, lapse_logged: false }
    }

    /// Renews for as long as it is allowed to live.
    pub(super) async fn run(mut self) {
        loop {
            self.wait_until_due().await;
            match self.chain.renew().await {
                Ok(grant) => self.publish(grant),
                Err(failure) => self.record(failure),
            }
            self.last_attempt = Instant::now();
        }
    }

    async fn wait_until_due(&mut self) {
        let jitter = fastrand::f64();
        loop {
            let pause = self.pause(jitter);
            if pause.is_zero() {
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
            let refusals = if offer.refused { offer.refusals } else { 0 };
            Situation { life: offer.grant.life, failures: self.failures, refusals, jitter }
        };
        match schedule::next(&situation) {
            Next::Never => Duration::MAX,
            Next::At(due) => due.duration_since(self.shared.clock.now()).unwrap_or_default(),
            Next::After(pause) => pause.saturating_sub(self.last_attempt.elapsed()),
        }
    }

    fn publish(&mut self, grant: Grant) {
        let attempts = self.failures.take().map_or(0, |failures| failures.count);
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
        self.shared.offer.send_modify(|offer| {
            // A row of refusals ends with a grant that was replaced in good standing.
            offer.refusals = if offer.refused { offer.refusals } else { 0 };
            offer.refused = false;
            offer.grant = Arc::new(grant);
            offer.failure = None;
        });
    }

    fn is_refused(&self, access_key_id: &str) -> bool {
        let offer = self.shared.offer.borrow();
        offer.refused && offer.grant.keys.access_key_id() == access_key_id
    }

    fn record(&mut self, failure: Failure) {
        let now = self.shared.clock.now();
        let before = self.failures.take();
        let count = before.map_or(0, |failures| failures.count).saturating_add(1);
        let outlook = failure.outlook();
        let remaining = {
            let offer = self.shared.offer.borrow();
            if offer.refused {
                Duration::ZERO
            } else {
                offer.grant.life.map_or(Duration::MAX, |life| life.remaining(now))
            }
        };
        if before.is_none_or(|before| before.outlook != outlook) {
            tracing::warn!(%failure, usable_seconds = remaining.as_secs(), "credentials could not be renewed; trying again");
        } else {
            tracing::debug!(%failure, attempts = count, "credentials could not be renewed; trying again");
        }
        self.failures = Some(Failures { count, outlook, remaining });
        self.shared.offer.send_modify(|offer| offer.failure = Some(failure));
    }

    /// Says once per outage that it has begun to hurt.
    fn log_lapse(&mut self) {
        let offer = self.shared.offer.borrow().clone();
        if self.failures.is_none() || self.lapse_logged || offer.is_usable(self.shared.clock.now()) {
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
