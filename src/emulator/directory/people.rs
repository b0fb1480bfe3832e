//! Users and roles, as they are put into a directory.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::emulator::identity::{AccountId, Identity};
use crate::emulator::mfa::MfaDevice;
use crate::emulator::policy::Policy;

/// A long-lived pair of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// The public half, which requests name.
    pub id: String,
    /// The half that signs.
    pub secret: String,
}

/// An IAM user to put into a directory.
#[derive(Debug, Clone)]
pub struct User {
    pub(super) account: AccountId,
    pub(super) name: String,
    pub(super) key: AccessKey,
    pub(super) policies: Vec<Arc<Policy>>,
    pub(super) mfa: Option<MfaDevice>,
}

/// An IAM role to put into a directory.
#[derive(Debug, Clone)]
pub struct Role {
    pub(in crate::emulator) account: AccountId,
    pub(in crate::emulator) trust: Option<Arc<Policy>>,
    pub(in crate::emulator) session_max: Duration,
    pub(super) name: String,
    pub(super) policies: Vec<Arc<Policy>>,
    pub(super) revoked_before: Option<SystemTime>,
}

impl AccessKey {
    /// Returns a key pair with these halves.
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { id: id.into(), secret: secret.into() }
    }
}

impl User {
    /// Returns a user who may do nothing yet.
    pub fn new(account: AccountId, name: impl Into<String>, key: AccessKey) -> Self {
        Self { account, name: name.into(), key, policies: Vec::new(), mfa: None }
    }

    /// Attaches an identity policy.
    ///
    /// # Panics
    ///
    /// If the document is malformed; it is part of the program, not of its input.
    pub fn policy(mut self, document: &Value) -> Self {
        self.policies.push(identity_policy(document));
        self
    }

    /// Gives the user a device that shows codes.
    pub fn mfa(mut self, device: MfaDevice) -> Self {
        self.mfa = Some(device);
        self
    }
}

impl Role {
    /// Returns a role nobody may assume yet, whose sessions last an hour at most.
    pub fn new(account: AccountId, name: impl Into<String>) -> Self {
        Self {
            account,
            trust: None,
            session_max: Duration::from_secs(3600),
            name: name.into(),
            policies: Vec::new(),
            revoked_before: None,
        }
    }

    /// Sets who may assume the role.
    ///
    /// # Panics
    ///
    /// If the document is malformed; it is part of the program, not of its input.
    pub fn trust(mut self, document: &Value) -> Self {
        self.trust = Some(trust_policy(document));
        self
    }

    /// Attaches an identity policy.
    ///
    /// # Panics
    ///
    /// If the document is malformed; it is part of the program, not of its input.
    pub fn policy(mut self, document: &Value) -> Self {
        self.policies.push(identity_policy(document));
        self
    }

    /// Sets `MaxSessionDuration`.
    pub fn session_max(mut self, session_max: Duration) -> Self {
        self.session_max = session_max;
        self
    }

    /// Returns the role's ARN.
    pub fn arn(&self) -> String {
        self.account.role_arn(&self.name)
    }

    /// Returns who a session of this name is.
    pub fn session_identity(&self, session: &str) -> Identity {
        Identity::RoleSession { account: self.account, role: self.name.clone(), session: session.to_owned() }
    }
}

pub(super) fn identity_policy(document: &Value) -> Arc<Policy> {
    Arc::new(Policy::identity(document).expect("the identity policy is well-formed"))
}

pub(super) fn trust_policy(document: &Value) -> Arc<Policy> {
    Arc::new(Policy::trust(document).expect("the trust policy is well-formed"))
}
