//! The way to a session, step by step, for a diagnosis.
//!
//! Walks the chain once, as a renewal does, but keeps what each step came to.

use aws_credential_types::provider::SharedCredentialsProvider;

use super::chain::Chain;
use super::failure::{Cause, Failure};
use super::{Caller, Options};

/// What the way from the base identity to the last role came to.
#[derive(Debug)]
pub struct Trace {
    /// The base identity, and each role that was assumed or could not be. The last one may have failed.
    pub steps: Vec<Step>,
    /// What to sign with, if the way was walked to its end.
    pub keys: Option<SharedCredentialsProvider>,
    /// The region that the options, the environment or the profile name.
    pub region: Option<String>,
    /// How far the clock of STS is ahead of ours; 0 where it does not matter.
    pub clock_ahead_seconds: i64,
}

/// One step of the way.
#[derive(Debug, Clone)]
pub struct Step {
    /// The role that was to be assumed; `None` for the base identity.
    pub role: Option<String>,
    /// Who we are after it, if STS said so.
    pub outcome: Result<Option<Caller>, Stumble>,
}

/// Why a step failed.
#[derive(Debug, Clone)]
pub struct Stumble {
    /// What is wrong.
    pub trouble: Trouble,
    /// What came back, for people.
    pub said: String,
    /// What to try, for people.
    pub advice: String,
}

/// What is wrong with a step: one variant for each thing to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A policy does not allow it.
    Denied,
    /// The keys that signed are expired, deleted or wrong.
    KeysRefused,
    /// There are no keys, or what they come from does not give them.
    NoKeys,
    /// The network, the server or the request itself.
    Other,
}

impl From<Failure> for Stumble {
    fn from(failure: Failure) -> Self {
        let trouble = match failure.cause() {
            Cause::Denied => Trouble::Denied,
            Cause::KeysExpired | Cause::KeysUnknown | Cause::SignatureWrong => Trouble::KeysRefused,
            Cause::NoBase | Cause::BaseMisconfigured | Cause::BaseUnavailable => Trouble::NoKeys,
            _ => Trouble::Other,
        };
        Self { trouble, said: failure.told(), advice: failure.advice().to_owned() }
    }
}

/// Walks the way that `options` describe, once.
pub async fn trace(options: Options) -> Trace {
    let (mut chain, _) = Chain::of(&options);
    let mut steps = Vec::new();
    let grant =
        chain.walk(|role, outcome| steps.push(Step { role, outcome: outcome.map_err(Stumble::from) })).await;
    Trace {
        steps,
        keys: grant.map(|grant| SharedCredentialsProvider::new(grant.keys)),
        region: chain.region(),
        clock_ahead_seconds: chain.clock_ahead_seconds(),
    }
}
