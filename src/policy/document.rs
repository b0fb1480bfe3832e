//! Whole documents for both accounts, ready for the AWS tools.

use serde_json::{Value, json};

use super::print::pretty;
use super::statement::{
    Assumption, Grant, Rights, allow, allow_key, bucket_arn, is_alias, may_assume, trust,
};
use crate::config::{BucketSettings, Failure, Identity, RoleArn, Settings};

/// What a document is to be attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A role: who may assume it.
    Trust,
    /// A role, or the users where there is none: what they may do.
    Role,
    /// A bucket: who may do what in it.
    Bucket,
    /// A KMS key: who may use it.
    Key,
}

impl Kind {
    /// All of them, in the order in which they are printed.
    pub const ALL: [Self; 4] = [Self::Trust, Self::Role, Self::Bucket, Self::Key];

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Role => "role",
            Self::Bucket => "bucket",
            Self::Key => "kms",
        }
    }
}

/// How buckets are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// People assume a role, and the bucket admits the role.
    Role,
    /// The bucket admits the people.
    Direct,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Role, Self::Direct];

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Direct => "direct",
        }
    }
}

/// What the documents are to say beyond the settings.
#[derive(Debug, Clone)]
pub struct Wish {
    /// How much they allow.
    pub rights: Rights,
    /// How buckets are reached; without it, by the role if there is one.
    pub way: Option<Way>,
    /// Who is to reach them: ARNs of users and roles, accounts, names of services.
    pub principals: Vec<String>,
}

/// A document, and what it is to be attached to.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What kind of thing that is.
    pub kind: Kind,
    /// The thing: a role's or key's ARN, a bucket's name, the users' ARNs.
    pub holder: String,
    /// The account it belongs to, if that is known.
    pub account: Option<String>,
    /// The document itself.
    pub body: Value,
    /// What people should know before they attach it.
    pub warnings: Vec<String>,
}

impl Document {
    fn new(kind: Kind, holder: impl Into<String>, account: Option<&str>, statements: Vec<Value>) -> Self {
        let body = json!({"Version": "2012-10-17", "Statement": statements});
        let account = account.filter(|account| !account.is_empty()).map(str::to_owned);
        let document = Self { kind, holder: holder.into(), account, body, warnings: Vec::new() };
        let warnings = document.too_long().into_iter().collect();
        Self { warnings, ..document }
    }

    fn warning(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// The document as the AWS tools take it, ending a line.
    pub fn text(&self) -> String {
        pretty(&self.body) + "\n"
    }

    /// One line that says what it is and where it belongs.
    pub fn heading(&self) -> String {
        let what = match self.kind {
            Kind::Trust => "trust policy of the role",
            Kind::Role => "policy of",
            Kind::Bucket if self.holder.starts_with("arn:") => "access point policy of",
            Kind::Bucket => "bucket policy of",
            Kind::Key => "key policy of",
        };
        let account = self.account.as_deref().map(|account| format!(" in account {account}"));
        format!("{what} {}{}", self.holder, account.unwrap_or_default())
    }
}

/// Returns the documents that the mount takes, in the order of [`Kind::ALL`].
///
/// # Errors
/// When nobody is named who is to reach the buckets, or somebody in a way that AWS would not take.
pub fn documents(settings: &Settings, wish: &Wish) -> Result<Vec<Document>, Failure> {
    wish.principals.iter().try_for_each(|name| refuse_no_principal(name))?;
    let reaches = reaches(settings, wish)?;
    let mut documents = trusts(wish, &reaches);
    documents.extend(identity_policies(settings, wish, &reaches));
    documents.extend(reaches.iter().map(|reach| bucket_policy(settings, wish, reach)));
    documents.extend(reaches.iter().filter_map(|reach| key_policy(settings, wish, reach)));
    Ok(documents)
}

/// A bucket, and who reaches it.
struct Reach<'a> {
    bucket: &'a BucketSettings,
    role: Option<&'a RoleArn>,
    principals: Vec<String>,
}

impl Reach<'_> {
    fn grant(&self, settings: &Settings, wish: &Wish) -> Grant<'_> {
        Grant { bucket: self.bucket, actions: wish.rights.actions(self.bucket, settings.read_only) }
    }

    /// An identity reaches no other partition than its own.
    fn partition(&self) -> &str {
        let first = self.principals.iter().find_map(|name| name.strip_prefix("arn:")?.split(':').next());
        first.unwrap_or("aws")
    }

    fn is_written(&self, settings: &Settings, wish: &Wish) -> bool {
        wish.rights != Rights::ReadOnly && !settings.read_only && !self.bucket.read_only
    }
}

fn reaches<'a>(settings: &'a Settings, wish: &Wish) -> Result<Vec<Reach<'a>>, Failure> {
    let reach = |bucket: &'a BucketSettings| {
        let role = bucket.identity.roles.last().filter(|_| wish.way != Some(Way::Direct));
        let principals = match role {
            Some(role) => vec![role.as_str().to_owned()],
            None if wish.way == Some(Way::Role) => {
                return Err(Failure::new(format!("no role is named that reaches {}", bucket.name))
                    .hint("add --role-arn, or take --way direct"));
            }
            None => wish.principals.clone(),
        };
        if principals.is_empty() {
            return Err(Failure::new("nobody is named who is to reach the buckets")
                .hint("add --principal arn:aws:iam::111122223333:user/alice, or --role-arn"));
        }
        Ok(Reach { bucket, role, principals })
    };
    settings.buckets.iter().map(reach).collect()
}

/// Who may assume the roles: the first for people, each other for the one before it.
fn trusts(wish: &Wish, reaches: &[Reach<'_>]) -> Vec<Document> {
    let mut documents: Vec<Document> = Vec::new();
    for reach in reaches.iter().filter(|reach| reach.role.is_some()) {
        let identity = &reach.bucket.identity;
        for (hop, role) in identity.roles.iter().enumerate() {
            let anybody = wish.principals.is_empty() && hop == 0;
            let principals = match hop {
                0 if anybody => vec![format!("arn:{}:iam::{}:root", role.partition(), role.account())],
                0 => wish.principals.clone(),
                _ => vec![identity.roles[hop - 1].as_str().to_owned()],
            };
            let statement = trust(&Assumption::of(identity, hop), &principals);
            let document = Document::new(Kind::Trust, role.as_str(), Some(role.account()), vec![statement]);
            documents.push(match anybody {
                true => document
                    .warning("it leaves to the account who may assume the role; --principal names somebody"),
                false => document,
            });
        }
    }
    distinct(documents)
}

/// What the roles may do, or the people where there is no role.
fn identity_policies(settings: &Settings, wish: &Wish, reaches: &[Reach<'_>]) -> Vec<Document> {
    let mut holders: Vec<&[String]> = Vec::new();
    let mut documents = Vec::new();
    for reach in reaches {
        documents.extend(ways_on(reach));
        if holders.contains(&reach.principals.as_slice()) {
            continue;
        }
        holders.push(&reach.principals);
        let same: Vec<&Reach<'_>> =
            reaches.iter().filter(|other| other.principals == reach.principals).collect();
        let grants: Vec<Grant<'_>> = same.iter().map(|reach| reach.grant(settings, wish)).collect();
        let key = |reach: &&Reach<'_>| {
            let key = reach.bucket.sse_kms_key_id.as_deref()?;
            Some(allow_key(key, reach.is_written(settings, wish), None))
        };
        let keys = same.iter().filter_map(key);
        let statements = allow(&grants, reach.partition(), None).into_iter().chain(keys).collect();
        let account = reach.principals[0].split(':').nth(4);
        documents.push(Document::new(Kind::Role, reach.principals.join(", "), account, statements));
    }
    distinct(documents)
}

/// The policies of roles on the way: each may assume the next.
fn ways_on(reach: &Reach<'_>) -> Vec<Document> {
    let identity: &Identity = &reach.bucket.identity;
    let before_last = identity.roles.len().saturating_sub(1);
    let on_the_way = identity.roles.iter().take(if reach.role.is_some() { before_last } else { 0 });
    let document = |(hop, role): (usize, &RoleArn)| {
        let statement = may_assume(&Assumption::of(identity, hop + 1));
        Document::new(Kind::Role, role.as_str(), Some(role.account()), vec![statement])
    };
    on_the_way.enumerate().map(document).collect()
}

fn bucket_policy(settings: &Settings, wish: &Wish, reach: &Reach<'_>) -> Document {
    let bucket = reach.bucket;
    let statements = allow(&[reach.grant(settings, wish)], reach.partition(), Some(&reach.principals));
    let of_arn = bucket.name.as_str().strip_prefix("arn:").and_then(|rest| rest.split(':').nth(3));
    let owner = bucket.expected_bucket_owner.as_deref().or(of_arn);
    let document = Document::new(Kind::Bucket, bucket.name.as_str(), owner, statements);
    let arn = bucket_arn(bucket, reach.partition());
    match bucket.name.as_str() {
        name if is_alias(name) => document
            .warning(format!("put the ARN of the access point behind the alias in the place of {arn}")),
        name if name.starts_with("arn:") => {
            let account = name.split(':').nth(4).unwrap_or_default();
            let delegation = json!({
                "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "s3:*",
                "Resource": ["arn:aws:s3:::BUCKET", "arn:aws:s3:::BUCKET/*"],
                "Condition": {"StringEquals": {"s3:DataAccessPointAccount": account}},
            });
            document.warning(format!(
                "it is for `aws s3control put-access-point-policy`, and the policy of the BUCKET behind must leave it to its access points, with such a statement:\n{}",
                pretty(&delegation)
            ))
        }
        _ => document,
    }
}

/// The default policy of a key leaves it to its own account, and without that statement nobody could
/// change the key any more; KMS refuses such a document.
fn key_policy(settings: &Settings, wish: &Wish, reach: &Reach<'_>) -> Option<Document> {
    let key = reach.bucket.sse_kms_key_id.as_deref()?;
    let statement = allow_key(key, reach.is_written(settings, wish), Some(&reach.principals));
    let account = key.split(':').nth(4).or(reach.bucket.expected_bucket_owner.as_deref());
    let owner = account.map(|account| {
        json!({
            "Effect": "Allow", "Principal": {"AWS": format!("arn:{}:iam::{account}:root", reach.partition())},
            "Action": "kms:*", "Resource": "*",
        })
    });
    let statements = owner.into_iter().chain([statement]).collect();
    let document = Document::new(Kind::Key, key, account, statements);
    Some(
        document
            .warning("a key has one policy: keep the statements that are there and add the last of these"),
    )
}

/// AWS refuses a document with a principal that does not exist, but says only that it is invalid.
fn refuse_no_principal(name: &str) -> Result<(), Failure> {
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    let fields: Vec<&str> = name.splitn(6, ':').collect();
    let is_known = match fields.as_slice() {
        ["arn", _, "iam", "", account, resource] => {
            let kinds = ["user/", "role/"];
            is_account(account)
                && (*resource == "root" || kinds.iter().any(|kind| resource.starts_with(kind)))
        }
        ["arn", _, "sts", "", account, resource] => {
            is_account(account)
                && ["assumed-role/", "federated-user/"].iter().any(|kind| resource.starts_with(kind))
        }
        [one] => is_account(one) || one.ends_with(".amazonaws.com"),
        _ => false,
    };
    match is_known && !name.contains(['*', '?']) {
        true => Ok(()),
        false => Err(Failure::new(format!("'{name}' is nobody whom a policy can name")).hint(
            "write the ARN of a user or role, an account of 12 digits, or a service such as ec2.amazonaws.com",
        )),
    }
}

fn distinct(documents: Vec<Document>) -> Vec<Document> {
    documents.into_iter().fold(Vec::new(), |mut distinct, document| {
        if !distinct.contains(&document) {
            distinct.push(document);
        }
        distinct
    })
}
