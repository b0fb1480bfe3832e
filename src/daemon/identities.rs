//! The identities of a mount: one set of credentials for each, however many buckets share it.
//!
//! Where there are several, they have nothing to do with each other: a role that cannot be assumed
//! leaves its own buckets without credentials, and the others are mounted all the same. Only if none
//! can be had is there nothing to mount.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use parking_lot::Mutex;

use super::People;
use crate::config::{self, BucketSettings, Failure, Identity, Settings};
use crate::credentials::{
    self, AskCode, BaseSource, Bounds, CodeSource, Credentials, RoleOptions, SessionPolicy, SessionTag,
    StsVariant,
};
use crate::error::Error;
use crate::policy;
use crate::s3::CredentialsOwner;
use crate::task::Tasks;

/// The credentials of all buckets.
pub(super) struct Identities(Vec<(Identity, Arc<Credentials>)>);

impl Identities {
    /// Obtains the first sessions of all, side by side: none has to wait for another's trouble.
    pub(super) async fn obtain(
        settings: &Settings,
        people: &People,
        connections: &SharedHttpClient,
        refreshing: &Tasks,
    ) -> Result<Self, Failure> {
        let mut identities: Vec<Identity> = Vec::new();
        for bucket in &settings.buckets {
            if !identities.contains(&bucket.identity) {
                identities.push(bucket.identity.clone());
            }
        }
        let is_alone = identities.len() == 1;
        let people = People { ask: people.ask.clone().map(one_at_a_time), ..people.clone() };
        let starting: Vec<_> = identities
            .into_iter()
            .map(|identity| {
                let options = options(&identity, bounds(&identity, settings), &people, connections.clone());
                // One of several does not wait: the mount begins with those that are there.
                let options = credentials::Options { wait: options.wait && is_alone, ..options };
                let tasks = refreshing.clone();
                let start = async move { Credentials::start_anyway(options, &tasks).await };
                (identity, refreshing.spawn("obtain", start))
            })
            .collect();
        let (mut all, mut failures) = (Vec::new(), Vec::new());
        for (identity, start) in starting {
            let (credentials, failure) =
                start.await.map_err(|_| Failure::new("a start was cut short by a bug"))?;
            if let Some(failure) = failure {
                let roles = identity.roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                tracing::error!(roles, %failure, "no credentials yet for the buckets of this identity");
                failures.push(failure);
            }
            all.push((identity, credentials));
        }
        let all = Self(all);
        match failures.into_iter().next() {
            Some(first) if !all.iter().any(|(_, credentials)| credentials.are_there()) => {
                all.wait_for_any(first, &people).await?;
            }
            _ => {}
        }
        Ok(all)
    }

    /// Waits for the first of them to have a session, if that was asked for; they go on trying by themselves.
    async fn wait_for_any(&self, failure: Error, people: &People) -> Result<(), Failure> {
        let mut waiting: Vec<_> = self
            .iter()
            .filter(|(identity, _)| identity.wait)
            .map(|(_, credentials)| Box::pin(credentials.obtained()))
            .collect();
        if waiting.is_empty() || self.0.len() == 1 {
            return Err(failure.into());
        }
        if let Some(tell) = &people.tell {
            tell.say(&format!("no credentials yet; waiting for the first: {failure}"));
        }
        poll_fn(|context| {
            let is_any = waiting.iter_mut().any(|one| one.as_mut().poll(context).is_ready());
            if is_any { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        Ok(())
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
pub(crate) fn options(
    identity: &Identity,
    bounds: Bounds,
    people: &People,
    connections: SharedHttpClient,
) -> credentials::Options {
    credentials::Options {
        base: BaseSource::Chain { profile: identity.profile.clone() },
        region: identity.region.clone(),
        sts_endpoint_url: identity.sts_endpoint_url.clone(),
        sts_variant: StsVariant { dualstack: identity.dualstack, fips: identity.fips },
        roles: roles(identity),
        bounds,
        codes: CodeSource { command: identity.mfa_command.clone(), ask: people.ask.clone() },
        session_name: identity.role_session_name.clone(),
        http_client: Some(connections),
        wait: identity.wait,
        tell: people.tell.clone(),
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
pub(crate) fn bounds(identity: &Identity, settings: &Settings) -> Bounds {
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

/// There is one terminal, and two questions on it would be answered by the same code.
fn one_at_a_time(ask: AskCode) -> AskCode {
    let turn = Mutex::new(());
    Arc::new(move |serial| {
        let _turn = turn.lock();
        ask(serial)
    })
}

fn narrowed_to_mount(identity: &Identity, settings: &Settings) -> SessionPolicy {
    let buckets: Vec<BucketSettings> =
        settings.buckets.iter().filter(|bucket| bucket.identity == *identity).cloned().collect();
    match policy::session(&buckets, settings.read_only) {
        Some(document) => SessionPolicy::Preferred(document),
        None => {
            tracing::warn!(
                buckets = buckets.len(),
                "the role session cannot be narrowed to these (too many, or of a special kind); it may do all that the role may"
            );
            SessionPolicy::None
        }
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

/// How long an operation waits for credentials. Within the whole time that small requests have.
const CREDENTIALS_PATIENCE: Duration = Duration::from_secs(60);
