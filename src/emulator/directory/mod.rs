//! The people: users, roles, their keys and devices, the sessions that roles hand out, and
//! the identity providers that accounts trust.
//!
//! A request names an access key. [`Directory::authenticate`] turns the key and the session
//! token that came with it into a [`Caller`], which carries everything a decision needs, so
//! that deciding asks nobody.
//!
//! Sessions are never removed: an expired one must still be told apart from one that never
//! was. Deleting or revoking happens by marking.

mod caller;
mod people;
mod session;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;
use serde_json::Value;

pub use self::caller::{BadKey, Caller};
pub use self::people::{AccessKey, Role, User};
pub use self::session::{NewSession, SessionKeys, SessionTag};

use self::people::{identity_policy, trust_policy};
use self::session::Session;
use super::identity::{AccountId, Identity};
use super::mfa::MfaDevice;
use super::oidc::OidcProvider;
use super::policy::Policy;

/// Why a second factor is not one. AWS has a sentence for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadFactor {
    /// The caller has no device with this serial number.
    NotTheirs,
    /// The code is wrong, of another time, or used before.
    WrongCode,
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
    managed_policies: HashMap<String, Arc<Policy>>,
    providers: Vec<OidcProvider>,
}

#[derive(Debug, Clone)]
enum Credential {
    Root { account: AccountId, secret: String },
    User { account: AccountId, name: String, secret: String },
    Session(Arc<Session>),
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

    /// Adds a managed policy, or replaces the one of that ARN.
    ///
    /// # Panics
    ///
    /// If the document is malformed.
    pub fn add_managed_policy(&self, arn: impl Into<String>, document: &Value) {
        self.tables.write().managed_policies.insert(arn.into(), identity_policy(document));
    }

    /// Lets an account trust an identity provider; whom a token opens which role is the role's to say.
    pub fn add_provider(&self, provider: OidcProvider) {
        self.tables.write().providers.push(provider);
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
    pub fn issue_session(&self, role: &Role, wish: NewSession, now: SystemTime) -> SessionKeys {
        let session = Session::start(role, wish, now);
        let keys = session.keys.clone();
        self.tables.write().keys.insert(keys.key.id.clone(), Credential::Session(Arc::new(session)));
        keys
    }

    /// Returns a managed policy by its ARN.
    pub fn managed_policy(&self, arn: &str) -> Option<Arc<Policy>> {
        self.tables.read().managed_policies.get(arn).cloned()
    }

    /// Returns the identity provider of this host that an account trusts.
    pub fn provider(&self, account: AccountId, host: &str) -> Option<OidcProvider> {
        let tables = self.tables.read();
        tables.providers.iter().find(|provider| provider.account == account && provider.host == host).cloned()
    }

    /// Takes a code that a caller shows, which from then on is worth nothing.
    pub fn take_code(
        &self,
        caller: &Identity,
        serial: &str,
        code: &str,
        now: SystemTime,
    ) -> Result<(), BadFactor> {
        let Identity::User { account, name } = caller else { return Err(BadFactor::NotTheirs) };
        let mut tables = self.tables.write();
        let device = tables.users.get_mut(&(*account, name.clone())).and_then(|user| user.mfa.as_mut());
        let device = device.filter(|device| device.serial() == serial).ok_or(BadFactor::NotTheirs)?;
        device.take(code, now).then_some(()).ok_or(BadFactor::WrongCode)
    }

    /// Returns a user's device as it is now.
    pub fn device(&self, account: AccountId, user: &str) -> Option<MfaDevice> {
        self.tables.read().users.get(&(account, user.to_owned()))?.mfa.clone()
    }

    fn change_role(&self, account: AccountId, name: &str, change: impl FnOnce(&mut Role)) {
        let mut tables = self.tables.write();
        change(tables.roles.get_mut(&(account, name.to_owned())).expect("there is such a role"));
    }
}

impl Tables {
    fn session_caller(&self, session: &Session) -> Caller {
        let role = self.roles.get(&(session.account, session.role.clone()));
        Caller {
            identity: session.identity.clone(),
            source_identity: session.wish.source_identity.clone(),
            tags: session.wish.tags.clone(),
            policies: role.map(|role| role.policies.clone()).unwrap_or_default(),
            session_policies: session.wish.policies.clone(),
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
