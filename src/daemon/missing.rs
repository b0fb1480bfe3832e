//! What a right that is missing means to people: which statement, in which document, of which account.
//!
//! "Access Denied" does not say which of the two documents lacks a right. What can be told: where the bucket admits us
//! at all, its policy most likely allows all that it can (`s3:*` is what people write), and ours lacks the action;
//! where nothing was ever allowed, its policy is the first to look at. `s3xmount doctor` tries more and says more.

use std::sync::Arc;

use super::identities::Identities;
use crate::config::{BucketSettings, Settings};
use crate::control::{ListingStatus, MissingRight};
use crate::namespace::{Listing, OnMissing, Right, RightsKnown};
use crate::policy::{self, Action, Grant};

/// Returns who logs each missing right with the statement that would grant it.
pub(super) fn logging(settings: &Settings, identities: &Arc<Identities>) -> OnMissing {
    let (buckets, identities) = (settings.buckets.clone(), Arc::clone(identities));
    Box::new(move |id, right, known| {
        let bucket = &buckets[usize::from(id.0)];
        let caller = identities.of(bucket).caller().map(|caller| caller.arn);
        let MissingRight { action, resource, consequence, place, statement } =
            missing(bucket, caller.as_deref(), right, known);
        tracing::warn!(
            bucket = %bucket.name,
            "missing: {action} on {resource}: {consequence}; {place}. The statement: {statement}"
        );
    })
}

/// What of a bucket can be listed.
pub(super) fn listing(known: &RightsKnown) -> ListingStatus {
    match &known.listing {
        Listing::Unknown => ListingStatus::Unknown,
        Listing::Open => ListingStatus::Open,
        Listing::Prefix(prefixes) => {
            ListingStatus::Prefix(prefixes.iter().map(ToString::to_string).collect())
        }
        Listing::Blind => ListingStatus::Blind,
    }
}

/// All rights that are missing in a bucket.
pub(super) fn all(bucket: &BucketSettings, caller: Option<&str>, known: &RightsKnown) -> Vec<MissingRight> {
    known.missing.iter().map(|right| missing(bucket, caller, *right, known)).collect()
}

fn missing(bucket: &BucketSettings, caller: Option<&str>, right: Right, known: &RightsKnown) -> MissingRight {
    let (action, consequence) = match (right, &known.listing) {
        (Right::List, Listing::Prefix(_)) => (Action::List, "some directories cannot be listed"),
        (Right::List, _) => (Action::List, "directories cannot be listed, known names work all the same"),
        (Right::Delete, _) => (Action::Delete, "nothing can be removed or renamed"),
    };
    let ours = Ours::of(bucket, caller);
    let grant = Grant { bucket, actions: vec![action] };
    let statement = policy::allow(&[grant], ours.partition, None).into_iter().next();
    let statement = statement.expect("one action makes one statement");
    let resource = match &statement["Resource"] {
        serde_json::Value::Array(resources) => resources[0].as_str(),
        resource => resource.as_str(),
    };
    MissingRight {
        action: action.as_str().to_owned(),
        resource: resource.unwrap_or_default().to_owned(),
        consequence: consequence.to_owned(),
        place: place(bucket, &ours, known.is_admitted),
        statement,
    }
}

fn place(bucket: &BucketSettings, ours: &Ours<'_>, is_admitted: bool) -> String {
    let name = &bucket.name;
    let owner = bucket.expected_bucket_owner.as_ref();
    let owner =
        owner.map_or_else(|| "of the account that owns it".to_owned(), |owner| format!("in account {owner}"));
    let policy = format!("the policy of the bucket {name} {owner}");
    match is_admitted {
        true => {
            format!("other requests are allowed, so look into {} first, then into {policy}", ours.document())
        }
        false => format!(
            "nothing was allowed here yet, so look into {policy} first, then into {}",
            ours.document()
        ),
    }
}

/// Our side: whose policy has to allow what we do.
struct Ours<'a> {
    partition: &'a str,
    account: Option<&'a str>,
    /// What carries the policy.
    holder: String,
}

impl<'a> Ours<'a> {
    fn of(bucket: &'a BucketSettings, caller: Option<&'a str>) -> Self {
        if let Some(role) = bucket.identity.roles.last() {
            let holder = format!("the role {role}");
            return Self { partition: role.partition(), account: Some(role.account()), holder };
        }
        let field =
            |at: usize| caller.and_then(|arn| arn.split(':').nth(at)).filter(|field| !field.is_empty());
        let holder = caller.map_or_else(|| "whoever this mount acts as".to_owned(), str::to_owned);
        Self { partition: field(1).unwrap_or("aws"), account: field(4), holder }
    }

    fn document(&self) -> String {
        let account = self.account.map(|account| format!(" in account {account}"));
        format!("the policy of {}{}", self.holder, account.unwrap_or_default())
    }
}
