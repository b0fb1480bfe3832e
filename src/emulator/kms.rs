//! The keys of KMS, as far as they matter to S3: whom each lets encrypt and decrypt.
//!
//! S3 asks KMS in the caller's name. A key is more guarded than a bucket: even in its own account only those
//! get in whom the *key policy* lets in, in person or by naming the whole account. Across accounts the
//! key policy and the caller's own policy must both allow it. There is no third way, as ACLs are for objects.
//!
//! | S3 operation | asks KMS for |
//! | --- | --- |
//! | PutObject, CopyObject, CreateMultipartUpload | `kms:GenerateDataKey` on the new object's key |
//! | GetObject, and the source of a copy | `kms:Decrypt` on the object's key |
//! | UploadPart, UploadPartCopy, CompleteMultipartUpload | `kms:Decrypt` on the upload's key |
//! | HeadObject with its checksum | both |
//!
//! See <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html>.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;

use super::directory::Caller;
use super::identity::AccountId;
use super::policy::{Context, Policy, Question, Verdict};
use super::refusal::Refusal;

/// All keys of all accounts.
#[derive(Debug, Default)]
pub struct KmsKeys {
    keys: RwLock<BTreeMap<String, KmsKey>>,
}

/// A key of KMS.
#[derive(Debug, Clone)]
pub struct KmsKey {
    owner: AccountId,
    arn: String,
    policy: Arc<Policy>,
    enabled: bool,
}

/// One use of a key in somebody's name.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyUse<'a> {
    /// The key's ARN.
    pub(super) key: &'a str,
    /// What for: `kms:Decrypt`, `kms:GenerateDataKey`.
    pub(super) action: &'a str,
    /// The region of the bucket; keys are used in their own region only.
    pub(super) region: &'a str,
}

impl KmsKey {
    /// Returns a key with this policy.
    ///
    /// # Panics
    ///
    /// If the document is malformed; it is part of the program, not of its input.
    pub fn new(owner: AccountId, region: &str, id: &str, policy: &Value) -> Self {
        Self {
            owner,
            arn: format!("arn:aws:kms:{region}:{owner}:key/{id}"),
            policy: parse(policy),
            enabled: true,
        }
    }

    /// Returns the ARN.
    pub fn arn(&self) -> &str {
        &self.arn
    }
}

impl KmsKeys {
    /// Adds a key, or replaces the one of that ARN.
    pub fn add(&self, key: KmsKey) {
        self.keys.write().insert(key.arn.clone(), key);
    }

    /// Replaces the policy of a key.
    ///
    /// # Panics
    ///
    /// If there is no such key or the document is malformed.
    pub fn set_policy(&self, arn: &str, document: &Value) {
        let policy = parse(document);
        self.keys.write().get_mut(arn).expect("there is such a key").policy = policy;
    }

    /// Enables or disables a key.
    ///
    /// # Panics
    ///
    /// If there is no such key.
    pub fn set_enabled(&self, arn: &str, enabled: bool) {
        self.keys.write().get_mut(arn).expect("there is such a key").enabled = enabled;
    }

    /// Makes sure that the caller may use a key, or refuses as S3 passes it on.
    pub(super) fn require(
        &self,
        caller: &Caller,
        usage: KeyUse<'_>,
        context: Context,
    ) -> Result<(), Refusal> {
        let account = caller.identity.account();
        if let Some(owner) = account_of_managed_key(usage.key) {
            // "You can't use an AWS managed key across accounts": its policy cannot be edited.
            let is_theirs = account == Some(owner);
            return if is_theirs { Ok(()) } else { Err(denied(caller, usage, Why::ResourceElsewhere)) };
        }
        let in_region = usage.key.split(':').nth(3) == Some(usage.region);
        let key = self.keys.read().get(usage.key).filter(|_| in_region).cloned();
        let Some(key) = key else {
            let is_theirs =
                account.is_some_and(|account| usage.key.split(':').nth(4) == Some(&account.to_string()));
            return Err(if is_theirs {
                not_found(usage.key)
            } else {
                denied(caller, usage, Why::ResourceElsewhere)
            });
        };
        let context = context
            .with("kms:ViaService", format!("s3.{}.amazonaws.com", usage.region))
            .with_some("kms:CallerAccount", account.map(|account| account.to_string()));
        let question = Question {
            caller: &caller.identity,
            action: usage.action,
            resource: usage.key,
            context: &context,
        };
        key.decide(caller, &question).map_err(|why| denied(caller, usage, why))?;
        if key.enabled { Ok(()) } else { Err(disabled(usage.key)) }
    }
}

/// What stands in the way. AWS has a clause for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    IdentityDenies,
    IdentitySilent,
    ResourceDenies,
    ResourceSilent,
    /// Across accounts it is not told what of the key's side it is, nor whether there is a key.
    ResourceElsewhere,
}

impl KmsKey {
    fn decide(&self, caller: &Caller, question: &Question<'_>) -> Result<(), Why> {
        let (ours, theirs) = (caller.verdict(question), self.policy.verdict(question));
        let at_home = caller.identity.account() == Some(self.owner);
        match (ours, theirs) {
            (Verdict::Deny, _) => Err(Why::IdentityDenies),
            (_, Verdict::Deny) if at_home => Err(Why::ResourceDenies),
            // At home the key may hand itself to somebody in person, past identity policies.
            (Verdict::Silent, Verdict::Allow) if at_home && caller.session_verdict(question).allows() => {
                Ok(())
            }
            (Verdict::Silent, _) => Err(Why::IdentitySilent),
            (_, Verdict::Silent) if at_home => Err(Why::ResourceSilent),
            (_, Verdict::Silent | Verdict::Deny) => Err(Why::ResourceElsewhere),
            _ => Ok(()),
        }
    }
}

/// The key that S3 uses when KMS is asked for and no key is named: that of the writer's own account.
pub(super) fn managed_key(region: &str, account: AccountId) -> String {
    format!("arn:aws:kms:{region}:{account}:{MANAGED}")
}

fn account_of_managed_key(arn: &str) -> Option<AccountId> {
    AccountId::parse(arn.strip_suffix(MANAGED)?.strip_suffix(':')?.rsplit(':').next()?)
}

/// S3 hands on what KMS says about the caller, also across accounts.
fn denied(caller: &Caller, usage: KeyUse<'_>, why: Why) -> Refusal {
    let action = usage.action;
    let reason = match why {
        Why::IdentityDenies => "with an explicit deny in an identity-based policy".to_owned(),
        Why::ResourceDenies => "with an explicit deny in a resource-based policy".to_owned(),
        Why::IdentitySilent => format!("because no identity-based policy allows the {action} action"),
        Why::ResourceSilent => format!("because no resource-based policy allows the {action} action"),
        Why::ResourceElsewhere => {
            "because the resource does not exist in this Region, no resource-based policies \
                                   allow access, or a resource-based policy explicitly denies access"
                .to_owned()
        }
    };
    let (who, key) = (caller.identity.arn(), usage.key);
    Refusal::new(
        403,
        "AccessDenied",
        format!("User: {who} is not authorized to perform: {action} on resource: {key} {reason}"),
    )
}

fn not_found(arn: &str) -> Refusal {
    Refusal::new(400, "KMS.NotFoundException", format!("Key '{arn}' does not exist"))
}

fn disabled(arn: &str) -> Refusal {
    Refusal::new(400, "KMS.DisabledException", format!("{arn} is disabled."))
}

fn parse(document: &Value) -> Arc<Policy> {
    Arc::new(Policy::key(document).expect("the key policy is well-formed"))
}

const MANAGED: &str = "alias/aws/s3";
