//! Why something is denied, and what would change it.
//!
//! A right in another account stands in two documents, and "Access Denied" does not say which of them lacks
//! it. What there is to go by, the surest first:
//!
//! 1. the request works in another form: that form names the reason;
//! 2. the words of the refusal, which within an organization name the kind of policy;
//! 3. the object is encrypted with a key, and its description can be had while its bytes cannot;
//! 4. what else is denied: a bucket policy that is missing, or that names somebody else, denies
//!    everything, while a role's policy lacks one action. So what is denied alone is looked for with the
//!    role first, and what is denied together with all else with the bucket first.
//!
//! Nothing tells a right that is forbidden from one that is missing where AWS gives no words. So a Deny is always the
//! last thing to look for, when the statements that allow it are seen to be there.

use serde_json::json;

use super::Case;
use crate::config::{Acl, SessionPolicy, Sse};
use crate::doctor::attempt::{Attempt, Otherwise};
use crate::doctor::remedy::{Location, Remedy};
use crate::doctor::words::{self, Blame, Kind};
use crate::policy::{self, Action, Grant, Rights};
use crate::s3::S3Error;

/// Why something is denied.
pub(super) struct Denial {
    pub(super) meaning: String,
    /// The likeliest first; each is for the case that those before it are there already.
    pub(super) remedies: Vec<Remedy>,
}

impl Denial {
    fn new(meaning: impl Into<String>, remedies: impl IntoIterator<Item = Remedy>) -> Self {
        Self { meaning: meaning.into(), remedies: remedies.into_iter().collect() }
    }
}

impl Case<'_> {
    /// Explains a denial of these actions, by what was said and by what works instead.
    pub(super) fn denial(&self, error: &S3Error, works: Option<Otherwise>, actions: &[Action]) -> Denial {
        let said = error.message().unwrap_or_default();
        match (works, words::blame(said)) {
            (Some(otherwise), _) => self.by_difference(otherwise, said, actions),
            (None, _) if words::key(said).is_some() => self.by_key(said, actions),
            (None, Some(blame)) => self.by_words(blame, actions),
            (None, None) if self.is_encrypted_with_key(actions) => self.by_key(said, actions),
            (None, None) => self.by_pattern(actions),
        }
    }

    fn by_difference(&self, otherwise: Otherwise, said: &str, actions: &[Action]) -> Denial {
        let acl = |acl: Acl| self.setting(json!({"acl": acl.as_str()}));
        let sse = |sse: Sse| self.setting(json!({"sse": sse.as_str()}));
        match otherwise {
            Otherwise::Unbounded => Denial::new(
                "the role itself is allowed to; what bounds the session of this mount is in the way",
                [self.setting(self.wider_session())],
            ),
            Otherwise::AclForOwner => Denial::new(
                "writing is allowed only with the ACL bucket-owner-full-control, as the bucket's policy demands",
                [acl(Acl::BucketOwnerFullControl)],
            ),
            Otherwise::WithoutAcl => Denial::new(
                "writing is allowed, setting an ACL with it is not",
                self.by_words_or_pattern(said, &[Action::PutAcl]).remedies,
            ),
            Otherwise::KmsKey => Denial::new(
                "writing is allowed only with encryption by KMS, as the bucket's policy demands",
                [sse(Sse::Kms)],
            ),
            Otherwise::S3Keys => {
                let key = self.by_key(said, actions);
                if self.is_encrypted_with_key(actions) || words::key(said).is_some() {
                    return key;
                }
                let meaning = "writing is allowed with encryption by S3's own keys (AES256): either the bucket's policy demands it, or the bucket encrypts by default with a KMS key that may not be used";
                Denial::new(meaning, [sse(Sse::Aes256)].into_iter().chain(key.remedies))
            }
            // Told in a check of its own.
            Otherwise::AnyOwner => Denial::new("", []),
        }
    }

    fn by_words_or_pattern(&self, said: &str, actions: &[Action]) -> Denial {
        match words::blame(said) {
            Some(blame) => self.by_words(blame, actions),
            None => self.by_pattern(actions),
        }
    }

    /// AWS has named the kind of document.
    fn by_words(&self, blame: Blame, actions: &[Action]) -> Denial {
        let Some(principal) = self.walked.principal() else {
            return Denial::new("nobody knows who was denied it", []);
        };
        let (place, holder) = match blame.on {
            Kind::Session => {
                let meaning = "what bounds the session of this mount does not allow it";
                return Denial::new(meaning, [self.setting(self.wider_session())]);
            }
            Kind::Identity => (Location::RolePolicy, principal.as_str()),
            Kind::Trust => (Location::TrustPolicy, principal.as_str()),
            Kind::Boundary => (Location::Boundary, principal.as_str()),
            Kind::Organization => (Location::Organization, principal.as_str()),
            Kind::Endpoint => (Location::EndpointPolicy, principal.as_str()),
            Kind::Resource => (Location::BucketPolicy, self.bucket.name.as_str()),
        };
        if blame.is_explicit {
            let exempt = Remedy::exempt(place, holder, &names(actions), &principal);
            return Denial::new(
                "a statement with \"Effect\": \"Deny\" forbids it, which no other statement can undo: take it out, or make an exception",
                [self.of_bucket(exempt)],
            );
        }
        let remedy = match place {
            Location::BucketPolicy => self.theirs(actions, &principal),
            _ => Remedy::add(place, holder, self.statements(actions, None)),
        };
        Denial::new("no statement of that policy allows it", [remedy])
    }

    /// It is the key, and not the bucket.
    fn by_key(&self, said: &str, actions: &[Action]) -> Denial {
        let is_written = actions.contains(&Action::Put);
        let seen = self.findings.encryption.as_ref().and_then(|seen| seen.kms_key_id.as_deref());
        let known = words::key(said).or(self.bucket.sse_kms_key_id.as_deref()).or(seen);
        let owner = self.bucket.expected_bucket_owner.as_deref();
        let any = format!("arn:{}:kms:*:{}:key/*", self.walked.partition(), owner.unwrap_or("*"));
        let unnamed = format!("the key that encrypts {}", self.bucket.name);
        let holder = known.unwrap_or(&unnamed);
        let Some(principal) = self.walked.principal() else {
            return Denial::new("the KMS key may not be used", []);
        };
        let statement = |principals| policy::allow_key(known.unwrap_or(&any), is_written, principals);
        let ours = Remedy::add(Location::RolePolicy, &*principal, vec![statement(None)]);
        let principals = [principal.clone()];
        let theirs = Remedy::add(Location::KeyPolicy, holder, vec![statement(Some(&principals))]);
        let theirs = theirs.in_account(owner);
        let uses: &[&str] = if is_written { policy::KEY_WRITTEN } else { policy::KEY_READ };
        let exempt = Remedy::exempt(Location::KeyPolicy, holder, uses, &principal).in_account(owner);
        let blame = words::blame(said);
        let remedies = match blame.map(|blame| (blame.on, blame.is_explicit)) {
            Some((Kind::Identity, false)) => vec![ours],
            Some((Kind::Resource, true)) => vec![exempt],
            Some((Kind::Resource, false)) => vec![theirs, exempt],
            _ => vec![ours, theirs, exempt],
        };
        Denial::new(
            "the object may be touched, but the KMS key that encrypts it may not be used; that takes a right of its own, in the role's policy and in the key's",
            remedies,
        )
    }

    /// Nothing is known but what is denied.
    fn by_pattern(&self, actions: &[Action]) -> Denial {
        let Some(principal) = self.walked.principal() else {
            return Denial::new("nobody knows who was denied it", []);
        };
        let is_all_denied = self.is_all_denied();
        // A document that does not reach us lacks everything, not just what was asked for here.
        let everything = Rights::ReadWrite.actions(self.bucket, self.settings.read_only);
        let actions = if is_all_denied { &everything } else { actions };
        let denied = if is_all_denied { vec!["s3:*"] } else { names(actions) };
        let ours = Remedy::add(Location::RolePolicy, &*principal, self.statements(actions, None));
        let theirs = self.theirs(actions, &principal);
        let exempt = Remedy::exempt(Location::BucketPolicy, self.bucket.name.as_str(), &denied, &principal);
        let exempt_ours = Remedy::exempt(Location::RolePolicy, &*principal, &denied, &principal);
        let exempt = [self.of_bucket(exempt), exempt_ours];
        let (meaning, allow) = match actions {
            _ if is_all_denied => (ALL_DENIED, [theirs, ours]),
            [Action::Get] => (READ_DENIED, [ours, theirs]),
            _ => (DENIED, [ours, theirs]),
        };
        Denial::new(meaning, allow.into_iter().chain(exempt))
    }

    /// The statements that allow these actions in what is mounted of the bucket.
    fn statements(&self, actions: &[Action], principals: Option<&[String]>) -> Vec<serde_json::Value> {
        let grant = Grant { bucket: self.bucket, actions: actions.to_vec() };
        policy::allow(&[grant], &self.walked.partition(), principals)
    }

    fn theirs(&self, actions: &[Action], principal: &str) -> Remedy {
        let statements = self.statements(actions, Some(&[principal.to_owned()]));
        self.of_bucket(Remedy::add(Location::BucketPolicy, self.bucket.name.as_str(), statements))
    }

    fn of_bucket(&self, remedy: Remedy) -> Remedy {
        match remedy.place {
            Location::BucketPolicy => remedy.in_account(self.bucket.expected_bucket_owner.as_deref()),
            _ => remedy,
        }
    }

    /// Whether everything was denied, and among it something that even a role with few rights may do.
    ///
    /// Without the right to list or to delete a role is as common as with it, and to such a role what
    /// is absent looks like what is denied. It takes a key that is there, or a write, to tell.
    pub(super) fn is_all_denied(&self) -> bool {
        let Self { findings, .. } = self;
        let tried = [&findings.list, &findings.read, &findings.put, &findings.delete];
        let is_put_denied = findings.put.as_ref().is_some_and(Attempt::is_denied_always);
        tried.into_iter().flatten().all(Attempt::is_denied_always) && (findings.is_key_known || is_put_denied)
    }

    /// Whether a key of KMS is known to stand between the caller and the bytes.
    fn is_encrypted_with_key(&self, actions: &[Action]) -> bool {
        let is_seen = self.findings.encryption.as_ref().is_some_and(|seen| seen.uses_key());
        match actions {
            // Its description was told, to which the same right is needed as to its bytes.
            [Action::Get] => is_seen,
            _ => {
                actions.contains(&Action::Put)
                    && (is_seen && self.bucket.sse.is_none()
                        || matches!(self.bucket.sse, Some(Sse::Kms | Sse::KmsDsse))
                            && self
                                .findings
                                .put
                                .as_ref()
                                .is_some_and(|put| put.works == Some(Otherwise::S3Keys)))
            }
        }
    }

    /// Settings with which the session is bounded by less.
    fn wider_session(&self) -> serde_json::Value {
        let identity = &self.bucket.identity;
        let mut values = serde_json::Map::new();
        if !identity.policy_arns.is_empty() {
            values.insert("policy_arn".to_owned(), json!(null));
        }
        match &identity.session_policy {
            SessionPolicy::None => {}
            SessionPolicy::Auto if !identity.policy_arns.is_empty() => {}
            SessionPolicy::Auto => drop(values.insert("session_policy".to_owned(), json!("none"))),
            SessionPolicy::Document(_) => drop(values.insert("session_policy".to_owned(), json!("auto"))),
        }
        values.into()
    }
}

fn names(actions: &[Action]) -> Vec<&'static str> {
    actions.iter().map(|action| action.as_str()).collect()
}

const ALL_DENIED: &str =
    "everything is denied in this bucket: its policy is missing, or names somebody else, or forbids it";

const DENIED: &str = "it takes a statement in both accounts, in the role's policy and in the bucket's: one of them lacks it, or forbids it";

const READ_DENIED: &str = "it takes a statement in both accounts, in the role's policy and in the bucket's: one of them lacks it, or forbids it; or a third account wrote this object, which the bucket's policy does not reach";
