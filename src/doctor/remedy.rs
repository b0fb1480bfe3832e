//! What to change so that something works, and where.

use serde::Serialize;
use serde_json::{Value, json};

use crate::policy::{self, Assumption};

/// One change that may be what is needed. Where there are several, each is for the case that the ones before
/// it are there already.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Remedy {
    /// The kind of document.
    pub place: Location,
    /// Whose it is: the ARN of a role, user or key, a bucket's name.
    pub holder: String,
    /// The account in which it is, where that is known.
    pub account: Option<String>,
    /// What to do to it.
    #[serde(flatten)]
    pub change: Change,
}

/// What is done to a document.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// Add these statements.
    Add {
        /// The statements; all of them are needed.
        statements: Vec<Value>,
    },
    /// Look for statements that deny any of these actions, and add this to their conditions. It makes an
    /// exception of one principal, whatever else the statement says: conditions of a statement have to
    /// hold all together.
    Exempt {
        /// The actions.
        actions: Vec<String>,
        /// The condition.
        condition: Value,
    },
    /// Set what is named here so; `null` is left away.
    Set {
        /// Settings or properties and their values.
        values: Value,
    },
}

/// Where a change belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Location {
    /// The trust policy of a role.
    TrustPolicy,
    /// The policy of a role, or of the user where there is no role.
    RolePolicy,
    /// The permissions boundary of a role or user.
    Boundary,
    /// The policies of the organization: those for services and for resources.
    Organization,
    /// The policy of a VPC endpoint.
    EndpointPolicy,
    /// The policy of a bucket, in the other account.
    BucketPolicy,
    /// The policy of a KMS key.
    KeyPolicy,
    /// The object ownership of a bucket, in the other account.
    Ownership,
    /// The settings of the mount.
    Settings,
}

impl Location {
    /// As people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TrustPolicy => "trust policy of",
            Self::RolePolicy => "policy of",
            Self::Boundary => "permissions boundary of",
            Self::Organization => "organization's policies that apply to",
            Self::EndpointPolicy => "policy of the VPC endpoint used by",
            Self::BucketPolicy => "bucket policy of",
            Self::KeyPolicy => "key policy of",
            Self::Ownership => "object ownership of",
            Self::Settings => "settings of",
        }
    }
}

impl Remedy {
    pub(super) fn add(place: Location, holder: impl Into<String>, statements: Vec<Value>) -> Self {
        Self::new(place, holder, Change::Add { statements })
    }

    pub(super) fn set(place: Location, holder: impl Into<String>, values: Value) -> Self {
        Self::new(place, holder, Change::Set { values })
    }

    /// An exception from whatever denies these actions to `principal`.
    pub(super) fn exempt(
        place: Location,
        holder: impl Into<String>,
        actions: &[&str],
        principal: &str,
    ) -> Self {
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        let condition = json!({"ArnNotEquals": {"aws:PrincipalArn": principal}});
        Self::new(place, holder, Change::Exempt { actions, condition })
    }

    /// Lets `principal` assume a role, in both documents that have a say.
    pub(super) fn to_assume(assumption: &Assumption<'_>, principal: &str) -> Vec<Self> {
        let trust = policy::trust(assumption, &[principal.to_owned()]);
        vec![
            Self::add(Location::TrustPolicy, assumption.role, vec![trust]),
            Self::add(Location::RolePolicy, principal, vec![policy::may_assume(assumption)]),
            Self::exempt(Location::TrustPolicy, assumption.role, &["sts:AssumeRole"], principal),
            Self::exempt(Location::RolePolicy, principal, &["sts:AssumeRole"], principal),
        ]
    }

    /// Says in which account it is, where the holder does not.
    pub(super) fn in_account(self, account: Option<&str>) -> Self {
        let account = self.account.or_else(|| account.map(str::to_owned));
        Self { account, ..self }
    }

    fn new(place: Location, holder: impl Into<String>, change: Change) -> Self {
        let holder = holder.into();
        let account = holder.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(3));
        let account = account.filter(|account| !account.is_empty()).map(str::to_owned);
        Self { place, holder, account, change }
    }
}
