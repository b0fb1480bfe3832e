//! Single statements: who may do what in which part of a bucket, and who may assume which role.
//!
//! The same right reads differently on the two sides: the policy of an identity names no principal,
//! that of a bucket or key does.

use serde_json::{Map, Value, json};

use super::session::literal;
use crate::config::{Acl, BucketSettings, Identity};

/// What a request in a bucket needs the right to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "these are Amazon's words, shortened")]
pub enum Action {
    Get,
    Put,
    PutAcl,
    List,
    Delete,
    Abort,
}

impl Action {
    /// As policies name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "s3:GetObject",
            Self::Put => "s3:PutObject",
            Self::PutAcl => "s3:PutObjectAcl",
            Self::List => "s3:ListBucket",
            Self::Delete => "s3:DeleteObject",
            Self::Abort => "s3:AbortMultipartUpload",
        }
    }
}

/// How much is to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Reading and writing known names: no listing, no deleting.
    Minimal,
    /// Listing and reading.
    ReadOnly,
    /// All that the mount makes use of.
    ReadWrite,
}

impl Rights {
    /// All of them, the default last.
    pub const ALL: [Self; 3] = [Self::Minimal, Self::ReadOnly, Self::ReadWrite];

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::ReadOnly => "read-only",
            Self::ReadWrite => "read-write",
        }
    }

    /// What of a bucket they allow; writing only where the mount writes, an ACL only where it sends one.
    pub fn actions(self, bucket: &BucketSettings, is_read_only: bool) -> Vec<Action> {
        use Action::{Abort, Delete, Get, List, Put, PutAcl};
        let is_written = self != Self::ReadOnly && !is_read_only && !bucket.read_only;
        let mut actions = vec![Get];
        if is_written {
            actions.push(Put);
            actions.extend((bucket.acl != Acl::None).then_some(PutAcl));
        }
        if self != Self::Minimal {
            actions.push(List);
            actions.extend(is_written.then_some([Delete, Abort]).into_iter().flatten());
        }
        actions
    }
}

/// Actions in what is mounted of a bucket.
#[derive(Debug, Clone)]
pub struct Grant<'a> {
    /// The bucket.
    pub bucket: &'a BucketSettings,
    /// What is allowed in it.
    pub actions: Vec<Action>,
}

/// Returns the statements that allow these actions, to `principals` where the document names any.
pub fn allow(grants: &[Grant<'_>], partition: &str, principals: Option<&[String]>) -> Vec<Value> {
    let mut objects: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
    let mut whole = Vec::new();
    let mut parts = Vec::new();
    for Grant { bucket, actions } in grants {
        let on_objects = actions.iter().filter(|action| **action != Action::List);
        let on_objects: Vec<&str> = on_objects.map(|action| action.as_str()).collect();
        let pattern = format!("{}{}*", objects_arn(bucket, partition), literal(bucket.prefix.as_str()));
        match objects.iter_mut().find(|(actions, _)| *actions == on_objects) {
            Some((_, patterns)) => patterns.push(pattern),
            None if on_objects.is_empty() => {}
            None => objects.push((on_objects, vec![pattern])),
        }
        match (actions.contains(&Action::List), bucket.prefix.as_str()) {
            (false, _) => {}
            (true, "") => whole.push(bucket_arn(bucket, partition)),
            (true, prefix) => parts.push((bucket_arn(bucket, partition), format!("{}*", literal(prefix)))),
        }
    }
    let objects =
        objects.into_iter().map(|(actions, patterns)| json!({"Action": actions, "Resource": patterns}));
    let list = Action::List.as_str();
    let whole = (!whole.is_empty()).then(|| json!({"Action": list, "Resource": whole}));
    let parts = parts.into_iter().map(|(bucket, pattern)| {
        json!({"Action": list, "Resource": bucket, "Condition": {"StringLike": {"s3:prefix": pattern}}})
    });
    objects.chain(whole).chain(parts).map(|statement| allowed(statement, principals)).collect()
}

/// Returns the statement that allows the use of a KMS key through S3, to `principals` in the key's own
/// policy, on the key in a policy of an identity.
pub fn allow_key(key: &str, is_written: bool, principals: Option<&[String]>) -> Value {
    let actions = if is_written { KEY_WRITTEN } else { KEY_READ };
    // In the policy of a key, the star is that key (KMS developer guide, "Key policies").
    let resource = if principals.is_some() { "*" } else { key };
    let via = key.split(':').nth(3).map_or_else(|| "s3.*".to_owned(), |region| format!("s3.{region}.*"));
    let statement = json!({
        "Action": actions, "Resource": resource,
        "Condition": {"StringLike": {"kms:ViaService": via}},
    });
    allowed(statement, principals)
}

/// What reading takes of a key.
pub const KEY_READ: &[&str] = &["kms:Decrypt"];

/// What writing takes of it; completing an upload in parts decrypts, too (S3 user guide, "Protecting data with SSE-KMS").
pub const KEY_WRITTEN: &[&str] = &["kms:Decrypt", "kms:GenerateDataKey"];

/// A role to be assumed, as far as policies are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assumption<'a> {
    /// The role's ARN.
    pub role: &'a str,
    /// The external id that will be said.
    pub external_id: Option<&'a str>,
    /// What STS is asked to do, beside assuming the role.
    pub extras: Vec<&'static str>,
}

impl<'a> Assumption<'a> {
    /// A role of which nothing but the ARN is known.
    pub fn plain(role: &'a str) -> Self {
        Self { role, external_id: None, extras: Vec::new() }
    }

    /// The role at a place of an identity's chain.
    ///
    /// A source identity and transitive tags stay with the chain, and each role on the way has to
    /// admit them (IAM user guide, "Monitor and control actions taken with assumed roles").
    pub fn of(identity: &'a Identity, hop: usize) -> Self {
        let is_last = hop + 1 == identity.roles.len();
        let is_tagged = identity.session_tags.iter().any(|tag| is_last || tag.transitive);
        let extras = [
            identity.source_identity.as_ref().map(|_| "sts:SetSourceIdentity"),
            is_tagged.then_some("sts:TagSession"),
        ];
        Self {
            role: identity.roles[hop].as_str(),
            external_id: identity.external_id.as_deref().filter(|_| is_last),
            extras: extras.into_iter().flatten().collect(),
        }
    }

    fn actions(&self) -> Vec<&'static str> {
        std::iter::once("sts:AssumeRole").chain(self.extras.iter().copied()).collect()
    }
}

/// Returns the statement of the role's trust policy that lets `principals` assume it.
pub fn trust(assumption: &Assumption<'_>, principals: &[String]) -> Value {
    let mut statement = json!({"Action": assumption.actions()});
    if let Some(id) = assumption.external_id {
        statement["Condition"] = json!({"StringEquals": {"sts:ExternalId": id}});
    }
    allowed(statement, Some(principals))
}

/// Returns the statement of its own policy that lets somebody assume the role.
pub fn may_assume(assumption: &Assumption<'_>) -> Value {
    allowed(json!({"Action": assumption.actions(), "Resource": assumption.role}), None)
}

/// Completes a statement: its effect, and whom it is about. Names of services look like
/// `ec2.amazonaws.com`, all others are ARNs or accounts.
fn allowed(statement: Value, principals: Option<&[String]>) -> Value {
    let mut complete = Map::new();
    complete.insert("Effect".to_owned(), json!("Allow"));
    if let Some(principals) = principals {
        let (services, others): (Vec<&String>, Vec<&String>) =
            principals.iter().partition(|name| name.ends_with(".amazonaws.com"));
        let named = [("AWS", others), ("Service", services)];
        let named = named.into_iter().filter(|(_, names)| !names.is_empty());
        let named: Map<String, Value> = named.map(|(kind, names)| (kind.to_owned(), json!(names))).collect();
        complete.insert("Principal".to_owned(), Value::Object(named));
    }
    if let Value::Object(fields) = statement {
        complete.extend(fields);
    }
    Value::Object(complete)
}

/// The ARN of the bucket, or of the access point, which stands for one.
pub(super) fn bucket_arn(bucket: &BucketSettings, partition: &str) -> String {
    match bucket.name.as_str() {
        arn if arn.starts_with("arn:") => arn.to_owned(),
        // An alias does not tell which access point it stands for, and policies know only that.
        alias if is_alias(alias) => format!("arn:{partition}:s3:*:*:accesspoint/*"),
        name => format!("arn:{partition}:s3:::{name}"),
    }
}

/// The ARN of the bucket's objects, up to their keys.
fn objects_arn(bucket: &BucketSettings, partition: &str) -> String {
    let arn = bucket_arn(bucket, partition);
    if arn.contains(":accesspoint/") { format!("{arn}/object/") } else { format!("{arn}/") }
}

/// S3 user guide, "Access point aliases".
pub(super) fn is_alias(name: &str) -> bool {
    name.ends_with("-s3alias")
}
