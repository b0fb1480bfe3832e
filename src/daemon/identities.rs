//! The identities of a mount: one set of credentials for each, however many buckets share it.
//!
//! Where there are several, they have nothing to do with each other: a role that cannot be assumed
//! leaves its own buckets without credentials, and the others are mounted all the same. Only if none
//! can be had is there nothing to mount.

use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;

use crate::config::{self, BucketSettings, Failure, Identity, Settings};
use crate::credentials::{
    self, AskCode, BaseSource, Bounds, CodeSource, Credentials, RoleOptions, SessionPolicy, SessionTag,
};
use crate::error::Error;
use crate::policy;
use crate::s3::CredentialsOwner;
use crate::task::Tasks;

/// The credentials of all buckets.
pub(super) struct Identities(Vec<(Identity, Arc<Credentials>)>);

impl Identities {
    /// Obtains the first sessions of all.
    pub(super) async fn obtain(
        settings: &Settings,
        ask: Option<AskCode>,
        connections: &SharedHttpClient,
        refreshing: &Tasks,
    ) -> Result<Self, Failure> {
        let mut all: Vec<(Identity, Arc<Credentials>)> = Vec::new();
        let mut failures: Vec<Error> = Vec::new();
        for bucket in &settings.buckets {
            let identity = &bucket.identity;
            if all.iter().any(|(other, _)| other == identity) {
                continue;
            }
            let bounds = bounds(identity, settings);
            let options = options(identity, bounds, ask.clone(), connections.clone());
            let (credentials, failure) = Credentials::start_anyway(options, refreshing).await;
            if let Some(failure) = failure {
                tracing::error!(bucket = %bucket.name, %failure, "no credentials for this bucket");
                failures.push(failure);
            }
            all.push((identity.clone(), credentials));
        }
        if failures.len() == all.len()
            && let Some(first) = failures.into_iter().next()
        {
            return Err(first.into());
        }
        Ok(Self(all))
    }

    /// Those of one bucket.
    pub(super) fn of(&self, bucket: &BucketSettings) -> &Arc<Credentials> {
        &self.0[self.index_of(bucket)].1
    }

    /// Where they stand among all.
    pub(super) fn index_of(&self, bucket: &BucketSettings) -> usize {
        let found = self.0.iter().position(|(identity, _)| *identity == bucket.identity);
        found.expect("credentials were obtained for every bucket")
    }

    /// Those at a place among all.
    pub(super) fn get(&self, index: usize) -> &(Identity, Arc<Credentials>) {
        &self.0[index]
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Identity, Arc<Credentials>)> {
        self.0.iter()
    }
}

/// Credentials of `identity`, bounded so.
pub(super) fn options(
    identity: &Identity,
    bounds: Bounds,
    ask: Option<AskCode>,
    connections: SharedHttpClient,
) -> credentials::Options {
    credentials::Options {
        base: BaseSource::Chain { profile: identity.profile.clone() },
        region: identity.region.clone(),
        sts_endpoint_url: identity.sts_endpoint_url.clone(),
        roles: roles(identity),
        bounds,
        codes: CodeSource { command: identity.mfa_command.clone(), ask },
        session_name: identity.role_session_name.clone(),
        http_client: Some(connections),
        wait: identity.wait,
        suspect_denials: identity.on_revoked == config::OnRevoked::Reassume,
        wait_max: CREDENTIALS_PATIENCE,
        clock: credentials::Clock::default(),
    }
}

/// What stays with the whole chain begins at its first role; what is between us and the other account
/// concerns its last.
fn roles(identity: &Identity) -> Vec<RoleOptions> {
    let last = identity.roles.len().saturating_sub(1);
    let role = |(hop, arn): (usize, &config::RoleArn)| {
        let tags = identity.session_tags.iter().filter(|tag| hop == if tag.transitive { 0 } else { last });
        RoleOptions {
            duration: identity.duration,
            external_id: identity.external_id.clone().filter(|_| hop == last),
            source_identity: identity.source_identity.clone().filter(|_| hop == 0),
            tags: tags.map(session_tag).collect(),
            mfa_serial: identity.mfa_serial.clone().filter(|_| hop == 0),
            ..RoleOptions::new(arn.as_str(), &identity.role_session_name)
        }
    };
    identity.roles.iter().enumerate().map(role).collect()
}

fn session_tag(tag: &config::SessionTag) -> SessionTag {
    SessionTag { key: tag.key.clone(), value: tag.value.clone(), transitive: tag.transitive }
}

/// What bounds the sessions of an identity, from all buckets that share it.
fn bounds(identity: &Identity, settings: &Settings) -> Bounds {
    let policy = match &identity.session_policy {
        config::SessionPolicy::None => SessionPolicy::None,
        config::SessionPolicy::Document(document) => SessionPolicy::Demanded(document.clone()),
        // Together they allow what any of them allows: ours would widen what the others narrow.
        config::SessionPolicy::Auto if !identity.policy_arns.is_empty() => SessionPolicy::None,
        config::SessionPolicy::Auto => narrowed_to_mount(identity, settings),
    };
    Bounds { policy, policy_arns: identity.policy_arns.clone() }
}

/// What bounds sessions that serve no mount.
pub(super) fn bounds_of_no_mount(identity: &Identity) -> Bounds {
    let policy = match &identity.session_policy {
        config::SessionPolicy::Document(document) => SessionPolicy::Demanded(document.clone()),
        config::SessionPolicy::None | config::SessionPolicy::Auto => SessionPolicy::None,
    };
    Bounds { policy, policy_arns: identity.policy_arns.clone() }
}

fn narrowed_to_mount(identity: &Identity, settings: &Settings) -> SessionPolicy {
    let buckets: Vec<BucketSettings> =
        settings.buckets.iter().filter(|bucket| bucket.identity == *identity).cloned().collect();
    match policy::session(&buckets, settings.read_only, partition(identity)) {
        Some(document) => SessionPolicy::Preferred(document),
        None => {
            tracing::warn!(
                buckets = buckets.len(),
                "these are too many to narrow the role session to them; it may do all that the role may"
            );
            SessionPolicy::None
        }
    }
}

/// The partition that the buckets are in: an identity reaches no other.
fn partition(identity: &Identity) -> &str {
    match (identity.roles.last(), identity.region.as_deref().unwrap_or_default()) {
        (Some(role), _) => role.partition(),
        (None, region) if region.starts_with("cn-") => "aws-cn",
        (None, region) if region.starts_with("us-gov-") => "aws-us-gov",
        (None, _) => "aws",
    }
}

/// What S3 says of credentials goes straight to them.
impl CredentialsOwner for Credentials {
    fn refused(&self, access_key_id: &str) {
        Self::refused(self, access_key_id);
    }

    fn denied(&self, access_key_id: &str) -> bool {
        Self::denied(self, access_key_id)
    }

    fn confirmed(&self) {
        Self::confirmed(self);
    }
}

/// How long an operation waits for credentials. Within the attempt timeout of small requests.
const CREDENTIALS_PATIENCE: Duration = Duration::from_secs(60);
