//! The people: users, roles, their keys, and the sessions that roles hand out.
//!
//! A request names an access key. [`Directory::authenticate`] turns the key and the session
//! token that came with it into a [`Caller`], which carries everything a decision needs, so
//! that deciding asks nobody.
//!
//! Sessions are never removed: an expired one must still be told apart from one that never
//! was. Deleting or revoking happens by marking.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use serde_json::Value;

use super::identity::{AccountId, Identity};
use super::policy::{Policy, Question, Verdict};

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
    account: AccountId,
    name: String,
    key: AccessKey,
    policies: Vec<Arc<Policy>>,
}

/// An IAM role to put into a directory.
#[derive(Debug, Clone)]
pub struct Role {
    pub(super) account: AccountId,
    pub(super) name: String,
    pub(super) trust: Option<Arc<Policy>>,
    pub(super) session_max: Duration,
    policies: Vec<Arc<Policy>>,
    revoked_before: Option<SystemTime>,
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

/// An authenticated sender of a request, with the policies that hold for this request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is.
    pub identity: Identity,
    policies: Vec<Arc<Policy>>,
    session_policy: Option<Arc<Policy>>,
    revoked: bool,
}

/// Why a key does not authenticate. The two services have different words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadKey {
    /// There is no such key, or it is a session's and came without its token.
    Unknown,
    /// The token is not the one that belongs to the key.
    WrongToken,
    /// The session is over.
    Expired,
}

/// All users, roles and sessions of all accounts.
#[derive(Debug, Default)]
pub struct Directory {
    /// Guards plain tables; nothing else is locked while it is held.
    tables: RwLock<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    users: HashMap<(AccountId, String), User>,
    roles: HashMap<(AccountId, String), Role>,
    keys: HashMap<String, Credential>,
}

#[derive(Debug, Clone)]
enum Credential {
    Root { account: AccountId, secret: String },
    User { account: AccountId, name: String, secret: String },
    Session(Arc<Session>),
}

#[derive(Debug)]
struct Session {
    account: AccountId,
    role: String,
    name: String,
    keys: SessionKeys,
    issued: SystemTime,
    policy: Option<Arc<Policy>>,
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
        Self { account, name: name.into(), key, policies: Vec::new() }
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
}

impl Role {
    /// Returns a role nobody may assume yet, whose sessions last an hour at most.
    pub fn new(account: AccountId, name: impl Into<String>) -> Self {
        Self {
            account,
            name: name.into(),
            trust: None,
            session_max: Duration::from_secs(3600),
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
}

impl Directory {
    /// Adds a user, or replaces the one of that name.
    pub fn add_user(&self, user: User) {
        let mut tables = self.tables.write();
        let credential = Credential::User {
            account: user.account,
            name: user.name.clone(),
            secret: user.key.secret.clone(),
        };
        tables.keys.insert(user.key.id.clone(), credential);
        tables.users.insert((user.account, user.name.clone()), user);
    }

    /// Gives an account's root user a key.
    pub fn add_root(&self, account: AccountId, key: AccessKey) {
        self.tables.write().keys.insert(key.id, Credential::Root { account, secret: key.secret });
    }

    /// Adds a role, or replaces the one of that name.
    pub fn add_role(&self, role: Role) {
        self.tables.write().roles.insert((role.account, role.name.clone()), role);
    }

    /// Replaces all identity policies of a user.
    ///
    /// # Panics
    ///
    /// If there is no such user or a document is malformed.
    pub fn set_user_policies(&self, account: AccountId, name: &str, documents: &[Value]) {
        let policies = documents.iter().map(identity_policy).collect();
        let mut tables = self.tables.write();
        tables.users.get_mut(&(account, name.to_owned())).expect("there is such a user").policies = policies;
    }

    /// Replaces all identity policies of a role; sessions already handed out feel it too.
    ///
    /// # Panics
    ///
    /// If there is no such role or a document is malformed.
    pub fn set_role_policies(&self, account: AccountId, name: &str, documents: &[Value]) {
        let policies = documents.iter().map(identity_policy).collect();
        self.change_role(account, name, |role| role.policies = policies);
    }

    /// Replaces a role's trust policy, or takes it away.
    ///
    /// # Panics
    ///
    /// If there is no such role or the document is malformed.
    pub fn set_trust(&self, account: AccountId, name: &str, document: Option<&Value>) {
        let trust = document.map(trust_policy);
        self.change_role(account, name, |role| role.trust = trust);
    }

    /// Revokes all sessions of a role handed out before `now`: they are denied everything from here on.
    ///
    /// # Panics
    ///
    /// If there is no such role.
    pub fn revoke_sessions(&self, account: AccountId, name: &str, now: SystemTime) {
        self.change_role(account, name, |role| role.revoked_before = Some(now));
    }

    /// Takes a key away: whoever uses it is unknown.
    pub fn delete_key(&self, id: &str) {
        self.tables.write().keys.remove(id);
    }

    /// Returns a role by its ARN.
    pub fn role(&self, arn: &str) -> Option<Role> {
        let (account, name) = arn.strip_prefix("arn:aws:iam::")?.split_once(":role/")?;
        self.tables.read().roles.get(&(AccountId::parse(account)?, name.to_owned())).cloned()
    }

    /// Returns the secret that belongs to a key, of living and of expired sessions alike.
    pub fn secret(&self, key_id: &str) -> Option<String> {
        self.tables.read().keys.get(key_id).map(|credential| credential.secret().to_owned())
    }

    /// Returns who sent a request signed with `key_id`.
    pub fn authenticate(&self, key_id: &str, token: Option<&str>, now: SystemTime) -> Result<Caller, BadKey> {
        let tables = self.tables.read();
        let credential = tables.keys.get(key_id).ok_or(BadKey::Unknown)?;
        match (credential, token) {
            (Credential::Session(session), Some(token)) if token == session.keys.token => {
                if session.keys.expires <= now {
                    return Err(BadKey::Expired);
                }
                Ok(tables.session_caller(session))
            }
            (Credential::Session(_), None) => Err(BadKey::Unknown),
            (_, Some(_)) => Err(BadKey::WrongToken),
            (Credential::Root { account, .. }, None) => {
                Ok(Caller::plain(Identity::Root { account: *account }, Vec::new()))
            }
            (Credential::User { account, name, .. }, None) => {
                let policies = tables.users.get(&(*account, name.clone())).map(|user| user.policies.clone());
                let identity = Identity::User { account: *account, name: name.clone() };
                Ok(Caller::plain(identity, policies.unwrap_or_default()))
            }
        }
    }

    /// Starts a session of `role` and returns its keys. Whether the caller may is decided before.
    pub fn issue_session(
        &self,
        role: &Role,
        name: &str,
        lifetime: Duration,
        policy: Option<Policy>,
        now: SystemTime,
    ) -> SessionKeys {
        let keys = SessionKeys {
            key: AccessKey::new(format!("ASIA{}", random_text(16, UPPER)), random_text(40, ALL)),
            token: random_text(336, ALL),
            expires: now + lifetime,
        };
        let session = Session {
            account: role.account,
            role: role.name.clone(),
            name: name.to_owned(),
            keys: keys.clone(),
            issued: now,
            policy: policy.map(Arc::new),
        };
        self.tables.write().keys.insert(keys.key.id.clone(), Credential::Session(Arc::new(session)));
        keys
    }

    fn change_role(&self, account: AccountId, name: &str, change: impl FnOnce(&mut Role)) {
        let mut tables = self.tables.write();
        change(tables.roles.get_mut(&(account, name.to_owned())).expect("there is such a role"));
    }
}

impl Tables {
    fn session_caller(&self, session: &Session) -> Caller {
        let identity = Identity::RoleSession {
            account: session.account,
            role: session.role.clone(),
            session: session.name.clone(),
        };
        let role = self.roles.get(&(session.account, session.role.clone()));
        Caller {
            identity,
            policies: role.map(|role| role.policies.clone()).unwrap_or_default(),
            session_policy: session.policy.clone(),
            revoked: role.and_then(|role| role.revoked_before).is_some_and(|before| session.issued <= before),
        }
    }
}

impl Credential {
    fn secret(&self) -> &str {
        match self {
            Self::Root { secret, .. } | Self::User { secret, .. } => secret,
            Self::Session(session) => &session.keys.key.secret,
        }
    }
}

impl Caller {
    /// Returns the sender of an unsigned request.
    pub fn anonymous() -> Self {
        Self::plain(Identity::Anonymous, Vec::new())
    }

    /// Returns what the caller's own side says: identity policies within the bounds of the session policy.
    pub fn verdict(&self, question: &Question<'_>) -> Verdict {
        // Revoking attaches a policy that denies everything to older sessions.
        if self.revoked {
            return Verdict::Deny;
        }
        let identity = match self.identity {
            Identity::Root { .. } => Verdict::Allow,
            _ => self.policies.iter().map(|policy| policy.verdict(question)).max().unwrap_or(Verdict::Silent),
        };
        match (identity, self.session_verdict(question)) {
            (Verdict::Deny, _) | (_, Verdict::Deny) => Verdict::Deny,
            (_, Verdict::Silent) => Verdict::Silent,
            (identity, _) => identity,
        }
    }

    /// Returns what the session policy says; a session without one is bounded by nothing.
    pub fn session_verdict(&self, question: &Question<'_>) -> Verdict {
        self.session_policy.as_ref().map_or(Verdict::Allow, |policy| policy.verdict(question))
    }

    fn plain(identity: Identity, policies: Vec<Arc<Policy>>) -> Self {
        Self { identity, policies, session_policy: None, revoked: false }
    }
}

fn identity_policy(document: &Value) -> Arc<Policy> {
    Arc::new(Policy::identity(document).expect("the identity policy is well-formed"))
}

fn trust_policy(document: &Value) -> Arc<Policy> {
    Arc::new(Policy::trust(document).expect("the trust policy is well-formed"))
}

fn random_text(length: usize, alphabet: &[u8]) -> String {
    (0..length).map(|_| char::from(alphabet[fastrand::usize(..alphabet.len())])).collect()
}

const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const ALL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
