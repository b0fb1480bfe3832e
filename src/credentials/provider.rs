//! The SDK's question "which keys?", answered from what the refresh task offers.
//!
//! Most answers are a look into memory. A request waits only if there is nothing to sign with (the
//! keys have ended or were refused), and then for the first of: new keys, a failure that waiting
//! will not mend, the deadline. Waiting can be broken off at any point; nothing is lost by it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};

use super::refresh::{Offer, Shared, Standing};
use super::schedule::Outlook;

/// Answers the SDK; clones of it answer alike.
pub(super) struct Provider {
    shared: Arc<Shared>,
}

impl Provider {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) async fn keys(&self) -> Result<Keys, Unavailable> {
        if let Verdict::Sign(keys) = self.verdict(&self.shared.offer.borrow()) {
            return Ok(keys);
        }
        let wait_max = self.shared.wait_max;
        match tokio::time::timeout(wait_max, self.next_keys()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.out_of_time(wait_max)),
        }
    }

    async fn next_keys(&self) -> Result<Keys, Unavailable> {
        let mut offers = self.shared.offer.subscribe();
        loop {
            let verdict = self.verdict(&offers.borrow_and_update());
            let patience = match verdict {
                Verdict::Sign(keys) => return Ok(keys),
                Verdict::Fail(unavailable) => return Err(unavailable),
                Verdict::Wait => Duration::MAX,
                Verdict::WaitBriefly => DOUBT_WAIT_MAX,
            };
            // The grant may have ended while the machine was asleep, unseen by the task.
            self.shared.wake();
            match tokio::time::timeout(patience, offers.changed()).await {
                Ok(changed) => changed.expect("the sender is in `shared`, which we hold"),
                Err(_) => {
                    if let Some(grant) = self.shared.offer.borrow().living(self.shared.clock.now()) {
                        return Ok(grant.keys.clone());
                    }
                }
            }
        }
    }

    fn verdict(&self, offer: &Offer) -> Verdict {
        if let Some(grant) = offer.usable(self.shared.clock.now()) {
            return Verdict::Sign(grant.keys.clone());
        }
        match offer.standing {
            Standing::Suspect => return Verdict::WaitBriefly,
            // Where fresh keys are refused as well, new ones are sought ever more slowly. It may be one
            // request that is wrong and not the keys, so others are not kept waiting for those.
            Standing::Refused if offer.refusals > 1 && offer.attended => return Verdict::WaitBriefly,
            Standing::Good | Standing::Refused => {}
        }
        match &offer.failure {
            _ if !offer.attended => Verdict::Fail(Unavailable::passing(
                "nobody renews them any more, for the mount is being taken down",
            )),
            Some(failure) if failure.outlook() == Outlook::Final => {
                Verdict::Fail(Unavailable { reason: failure.to_string(), is_final: true })
            }
            _ => Verdict::Wait,
        }
    }

    fn out_of_time(&self, waited: Duration) -> Unavailable {
        let waited = waited.as_secs();
        match &self.shared.offer.borrow().failure {
            Some(failure) => Unavailable::passing(format!("none came within {waited} s: {failure}")),
            None => Unavailable::passing(format!("none came within {waited} s")),
        }
    }
}

enum Verdict {
    Sign(Keys),
    Wait,
    /// There are keys that may well be good; it is worth a moment to know better.
    WaitBriefly,
    Fail(Unavailable),
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { self.keys().await.map_err(CredentialsError::from) })
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Provider").field(&self.shared.offer.borrow().grant).finish()
    }
}

/// How long a doubt keeps requests waiting. STS answers in less, or something is wrong with it.
const DOUBT_WAIT_MAX: Duration = Duration::from_secs(3);

/// There is nothing to sign a request with.
///
/// The SDK hands it on as the source of a [`CredentialsError`]: `InvalidConfiguration` if a person
/// has to change something first (a trust policy, an access key), `ProviderError` if it may pass.
#[derive(Debug, Clone)]
pub struct Unavailable {
    /// What happened and what to try, for people.
    pub reason: String,
    /// Whether a person has to change something before it gets better.
    pub is_final: bool,
}

impl Unavailable {
    fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_final: false }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no usable AWS credentials: {}", self.reason)
    }
}

impl std::error::Error for Unavailable {}

impl From<Unavailable> for CredentialsError {
    fn from(unavailable: Unavailable) -> Self {
        if unavailable.is_final {
            Self::invalid_configuration(unavailable)
        } else {
            Self::provider_error(unavailable)
        }
    }
}
