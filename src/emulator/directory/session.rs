//! Role sessions: what is asked of a new one, and what is remembered of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::people::{AccessKey, Role};
use crate::emulator::clock::unix_seconds;
use crate::emulator::identity::{AccountId, Identity};
use crate::emulator::policy::Policy;

/// What a session is to be like.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its name.
    pub name: String,
    /// How long it lives.
    pub lifetime: Duration,
    /// What narrows it: it may do what any of them allows. Without any it is as wide as the role.
    pub policies: Vec<Arc<Policy>>,
    /// Who is behind it, through all sessions of a chain.
    pub source_identity: Option<String>,
    /// What it is marked with.
    pub tags: Vec<SessionTag>,
}

/// A mark on a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTag {
    /// What is said; keys compare without case.
    pub key: String,
    /// What is said about it.
    pub value: String,
    /// Whether sessions inherit it that are started from this one.
    pub transitive: bool,
}

/// What `AssumeRole` hands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionKeys {
    /// The temporary key pair.
    pub key: AccessKey,
    /// The token every request must carry beside the signature.
    pub token: String,
    /// From when on the keys are worth nothing.
    pub expires: SystemTime,
}

/// A session that was started.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) account: AccountId,
    pub(super) role: String,
    pub(super) identity: Identity,
    pub(super) keys: SessionKeys,
    /// To the fraction of a second, where AWS knows whole ones: whoever assumes a role right after its
    /// sessions were revoked is not to depend on luck.
    pub(super) issued: SystemTime,
    pub(super) wish: NewSession,
}

impl Session {
    /// Starts a session of a role.
    pub(super) fn start(role: &Role, wish: NewSession, now: SystemTime) -> Self {
        let keys = SessionKeys {
            key: AccessKey::new(format!("ASIA{}", random_text(16, UPPER)), random_text(40, ALL)),
            token: random_text(336, ALL),
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(unix_seconds(now)) + wish.lifetime,
        };
        Self {
            account: role.account,
            role: role.name.clone(),
            identity: role.session_identity(&wish.name),
            keys,
            issued: now,
            wish,
        }
    }
}

fn random_text(length: usize, alphabet: &[u8]) -> String {
    (0..length).map(|_| char::from(alphabet[fastrand::usize(..alphabet.len())])).collect()
}

const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const ALL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
