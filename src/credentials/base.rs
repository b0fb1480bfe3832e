//! Who we are before assuming anything.
//!
//! The SDK's default chain knows environment variables, SSO, external processes, containers and
//! instances, and none of that is ours to rewrite. What it would read of a profile that assumes a role
//! it keeps in part only, so that is read by us (`profile.rs`), and so are web identities
//! (`web_identity.rs`). And whatever the chain has read once it keeps: a profile file is parsed a single
//! time in the life of a provider. So a [`Base`] is a recipe, and every [`load`](Base::load) follows
//! it anew. Keys that were rotated, a token file that was replaced, a login that was repeated: all are
//! seen at the next renewal.

use std::fmt;
use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_sts::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::config::{ConfigBag, IdentityCache, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::failure::{Cause, Failure};
use super::process;
use super::profile::{self, Leaf, Means, Way};
use super::role::Sts;
use super::schedule::Life;
use super::{Clock, Grant, Options, RoleOptions};
use crate::clock::ServerTime;
use crate::error::innermost_words;

/// Where the base identity comes from.
#[derive(Clone)]
pub enum BaseSource {
    /// The SDK's default chain, or this profile of the shared configuration files.
    ///
    /// A profile that is named here wins over keys in the environment, as it does in the AWS CLI.
    Chain {
        /// The profile's name; without one the chain decides.
        profile: Option<String>,
    },
    /// Whatever this provider answers. It is asked anew for every renewal and should not cache.
    Given(SharedCredentialsProvider),
}

/// Which of the endpoints that AWS has for STS in a region. What is not wished here is left to the settings
/// of the AWS tools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StsVariant {
    /// The one that also answers over IPv6.
    pub dualstack: bool,
    /// The one whose cryptography is validated under FIPS 140.
    pub fips: bool,
}

/// A given provider stays unprinted: it may be a pair of keys.
impl fmt::Debug for BaseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain { profile } => f.debug_struct("Chain").field("profile", profile).finish(),
            Self::Given(_) => f.write_str("Given(..)"),
        }
    }
}

/// How to find the base identity, and how to reach STS.
pub(super) struct Base {
    pub(super) source: BaseSource,
    pub(super) region: Option<String>,
    pub(super) sts_endpoint_url: Option<String>,
    pub(super) sts_variant: StsVariant,
    pub(super) http_client: Option<SharedHttpClient>,
    /// What the sessions of a profile's roles are called if it does not say.
    pub(super) session_name: String,
    /// The region whose STS is asked where nobody names one.
    pub(super) region_otherwise: &'static str,
    /// What STS's clock shows.
    pub(super) time: ServerTime,
    /// Whether it was found before.
    pub(super) is_proven: bool,
}

/// The base identity as it is now.
pub(super) struct Loaded {
    /// Its keys.
    pub(super) grant: Grant,
    /// The roles that its profile assumes by itself, in order.
    pub(super) roles: Vec<RoleOptions>,
    /// The region that the settings name.
    pub(super) region: Option<String>,
    sts: aws_sdk_sts::config::Builder,
    place: String,
    time: ServerTime,
}

impl Base {
    /// The recipe that these options describe.
    pub(super) fn of(options: &Options) -> Self {
        let first_role = options.roles.first().map(|role| role.arn.as_str());
        Self {
            source: options.base.clone(),
            region: options.region.clone(),
            sts_endpoint_url: options.sts_endpoint_url.clone(),
            sts_variant: options.sts_variant,
            http_client: options.http_client.clone(),
            session_name: options.session_name.clone(),
            region_otherwise: region_of_partition(first_role),
            time: ServerTime::default(),
            is_proven: false,
        }
    }

    /// Finds the base identity from scratch.
    ///
    /// Once it was found, whatever is wrong with it may pass: a file that is just being written is
    /// half a file, and an instance's metadata service that rests is "no credentials" to the SDK.
    pub(super) async fn load(&mut self, clock: &Clock) -> Result<Loaded, Failure> {
        // In a box: the SDK's providers nest so deeply that the compiler gives up on whatever awaits them.
        let loading = Box::pin(self.load_now(clock));
        let outcome = tokio::time::timeout(LOAD_WAIT_MAX, loading).await.unwrap_or_else(|_| {
            let waited = format!("nothing after {} s", LOAD_WAIT_MAX.as_secs());
            Err(Failure::new(Cause::BaseUnavailable).quoting(waited))
        });
        match outcome {
            Err(failure) if self.is_proven && SETTINGS_AT_FAULT.contains(&failure.cause()) => {
                Err(failure.passing())
            }
            outcome => {
                self.is_proven |= outcome.is_ok();
                outcome
            }
        }
    }

    async fn load_now(&mut self, clock: &Clock) -> Result<Loaded, Failure> {
        let way = self.way().await?;
        let settings = self.settings().await;
        let region = settings.region().map(ToString::to_string);
        // Where nothing names a region, finding that out again would cost an instance's metadata
        // service several timeouts at every renewal.
        self.region.get_or_insert_with(|| region.clone().unwrap_or_else(|| self.region_otherwise.to_owned()));
        let (leaf, roles) = match way {
            Some(Way { leaf, roles }) => (Some(leaf), roles),
            None => (None, Vec::new()),
        };
        let sts = self.sts(&settings);
        let grant = match leaf {
            Some(Leaf::WebIdentity(identity)) => {
                let sts = Sts {
                    client: aws_sdk_sts::Client::from_conf(sts.clone().build()),
                    place: self.place(),
                    time: self.time.clone(),
                };
                identity.assume(&sts, clock).await?.into()
            }
            Some(Leaf::Keys(keys)) => grant(keys, clock)?,
            Some(Leaf::Loaded { profile, by }) => {
                let loaded = self.load_by(&by, &profile, &settings).await;
                grant(loaded.map_err(|error| by.explain(&error, &profile))?, clock)?
            }
            None => grant(self.find(&settings).await.map_err(|error| failure_of(&error))?, clock)?,
        };
        Ok(Loaded { grant, roles, region, sts, place: self.place(), time: self.time.clone() })
    }

    /// Where STS is, for people.
    fn place(&self) -> String {
        match (&self.sts_endpoint_url, &self.region) {
            (Some(url), _) => url.clone(),
            (None, region) => format!("STS of {}", region.as_deref().unwrap_or(self.region_otherwise)),
        }
    }

    /// What the profile says, if it is up to one.
    async fn way(&self) -> Result<Option<Way>, Failure> {
        match &self.source {
            BaseSource::Chain { profile } => profile::way(profile.as_deref(), &self.session_name).await,
            BaseSource::Given(_) => Ok(None),
        }
    }

    async fn settings(&self) -> SdkConfig {
        let mut loader = aws_config::defaults(behavior()).identity_cache(IdentityCache::no_cache());
        if let Some(http_client) = &self.http_client {
            loader = loader.http_client(http_client.clone());
        }
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        match &self.source {
            BaseSource::Chain { profile: None } => loader,
            BaseSource::Chain { profile: Some(profile) } => loader.profile_name(profile),
            BaseSource::Given(provider) => loader.credentials_provider(provider.clone()),
        }
        .load()
        .await
    }

    /// What the SDK's default chain finds, or the provider that we were given.
    async fn find(&self, settings: &SdkConfig) -> Result<Keys, CredentialsError> {
        match settings.credentials_provider() {
            Some(provider) => provider.provide_credentials().await,
            None => Err(CredentialsError::not_loaded_no_source()),
        }
    }

    /// Each provider is new, asked once and dropped: it cannot have kept anything.
    async fn load_by(
        &self,
        means: &Means,
        profile: &str,
        settings: &SdkConfig,
    ) -> Result<Keys, CredentialsError> {
        let config = self.provider_config(settings);
        match means {
            Means::Process(command) => process::keys(command, LOAD_WAIT_MAX).await,
            Means::SingleSignOn | Means::ConsoleLogin => {
                let provider = ProfileFileCredentialsProvider::builder().configure(&config);
                provider.profile_name(profile).build().provide_credentials().await
            }
            Means::Environment => EnvironmentVariableCredentialsProvider::new().provide_credentials().await,
            Means::Container => {
                EcsCredentialsProvider::builder().configure(&config).build().provide_credentials().await
            }
            Means::Instance => {
                ImdsCredentialsProvider::builder().configure(&config).build().provide_credentials().await
            }
        }
    }

    fn provider_config(&self, settings: &SdkConfig) -> ProviderConfig {
        let config = ProviderConfig::without_region()
            .with_behavior_version(Some(behavior()))
            .with_region(settings.region().cloned())
            .with_use_fips(settings.use_fips())
            .with_use_dual_stack(settings.use_dual_stack());
        match &self.http_client {
            Some(http_client) => config.with_http_client(http_client.clone()),
            None => config,
        }
    }

    /// STS as the settings have it (regional endpoint, FIPS, dual stack), with patience of our own:
    /// the refresh task retries, and its schedule should not sit on top of another one.
    fn sts(&self, settings: &SdkConfig) -> aws_sdk_sts::config::Builder {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_WAIT_MAX)
            .operation_attempt_timeout(CALL_WAIT_MAX)
            .operation_timeout(CALL_WAIT_MAX)
            .build();
        let mut sts = aws_sdk_sts::config::Builder::from(settings)
            .region(self.region.clone().map(Region::new))
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled())
            .interceptor(Timekeeper(self.time.clone()))
            .timeout_config(timeouts);
        if self.sts_variant.dualstack {
            sts = sts.use_dual_stack(true);
        }
        if self.sts_variant.fips {
            sts = sts.use_fips(true);
        }
        if let Some(url) = &self.sts_endpoint_url {
            // A URL says already which endpoint is meant, and the SDK takes no wish beside it.
            sts = sts.endpoint_url(url).use_dual_stack(false).use_fips(false);
        }
        sts
    }
}

/// Takes the time from every answer of STS, so that a clock that was wrong may be put right.
#[derive(Debug)]
struct Timekeeper(ServerTime);

impl Intercept for Timekeeper {
    fn name(&self) -> &'static str {
        "take the time from STS"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.0.learn(date, 0);
        }
        Ok(())
    }
}

impl Loaded {
    /// Returns STS for calls that are signed with `keys`.
    pub(super) fn sts_as(&self, keys: &Keys) -> Sts {
        let config = self.sts.clone().credentials_provider(keys.clone()).build();
        Sts {
            client: aws_sdk_sts::Client::from_conf(config),
            place: self.place.clone(),
            time: self.time.clone(),
        }
    }
}

impl Means {
    /// Says which profile it is that cannot be followed, and where to look.
    fn explain(&self, error: &CredentialsError, profile: &str) -> Failure {
        let (what, hint) = match self {
            Self::Process(_) => (
                "credential_process",
                "run the command by hand: it prints JSON with Version 1, AccessKeyId and SecretAccessKey"
                    .to_owned(),
            ),
            Self::SingleSignOn => ("the SSO login", format!("run: aws sso login --profile {profile}")),
            Self::ConsoleLogin => (
                "login_session",
                format!(
                    "console logins are not supported; use a profile with \
                     credential_process = aws configure export-credentials --profile {profile} --format process"
                ),
            ),
            Self::Environment => (
                "credential_source = Environment",
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or change credential_source".to_owned(),
            ),
            Self::Container => (
                "credential_source = EcsContainer",
                "give the task or pod a role, or change credential_source".to_owned(),
            ),
            Self::Instance => (
                "credential_source = Ec2InstanceMetadata",
                "give the instance a role and allow access to its metadata, or change credential_source"
                    .to_owned(),
            ),
        };
        let cause = match error {
            // The metadata service not answering is "not loaded" to the SDK, but it may pass.
            CredentialsError::CredentialsNotLoaded(_) if matches!(self, Self::Instance) => {
                Cause::BaseUnavailable
            }
            CredentialsError::CredentialsNotLoaded(_) => Cause::BaseMisconfigured,
            other => cause_of(other),
        };
        Failure::new(cause)
            .doing(format!("loading {what} of the profile '{profile}'"))
            .quoting(innermost_words(error))
            .hinting(hint)
    }
}

fn failure_of(error: &CredentialsError) -> Failure {
    match cause_of(error) {
        // The SDK says only that it has looked, not where.
        Cause::NoBase => Failure::new(Cause::NoBase).quoting(PLACES_LOOKED_AT),
        cause => Failure::new(cause).quoting(innermost_words(error)),
    }
}

fn cause_of(error: &CredentialsError) -> Cause {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => Cause::NoBase,
        CredentialsError::InvalidConfiguration(_) => Cause::BaseMisconfigured,
        _ => Cause::BaseUnavailable,
    }
}

/// The default chain of the AWS tools, in its order.
const PLACES_LOOKED_AT: &str = "looked for in AWS_ACCESS_KEY_ID and its like, the profile in ~/.aws/config and \
     ~/.aws/credentials, AWS_WEB_IDENTITY_TOKEN_FILE, a container's role, an instance's role";

/// What a person would have to put right, if it had not been right before.
const SETTINGS_AT_FAULT: &[Cause] = &[Cause::NoBase, Cause::BaseMisconfigured];

/// Pinned, so that a new release of the SDK changes nothing by itself.
fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

fn grant(keys: Keys, clock: &Clock) -> Result<Grant, Failure> {
    let issued = clock.now();
    let life = keys.expiry().map(|expiry| Life { issued, expiry });
    match life {
        Some(life) if !life.is_usable(issued) => {
            Err(Failure::new(Cause::KeysExpired).doing("loading the base credentials"))
        }
        _ => Ok(Grant { keys, caller: None, issued, life }),
    }
}

/// Long enough for an external process that asks a slow company server, short enough that a hung
/// one is tried again within the life of a session.
const LOAD_WAIT_MAX: Duration = Duration::from_secs(30);

/// A handshake that takes longer has lost a packet, and a new one is quicker.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(3);

/// STS answers within a second, or not at all.
const CALL_WAIT_MAX: Duration = Duration::from_secs(8);

/// The region to ask for a role where nobody names one. STS needs some region for its signature and its
/// host name; these answer for all of their partitions, and any custom endpoint takes them.
fn region_of_partition(role_arn: Option<&str>) -> &'static str {
    match role_arn.and_then(|arn| arn.split(':').nth(1)) {
        Some("aws-cn") => "cn-north-1",
        Some("aws-us-gov") => "us-gov-west-1",
        _ => "us-east-1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_the_base_chain_are_sorted_by_what_to_do_about_them() {
        for (error, expected) in [
            (CredentialsError::not_loaded("none"), Cause::NoBase),
            (CredentialsError::invalid_configuration("a loop"), Cause::BaseMisconfigured),
            (CredentialsError::provider_error("503"), Cause::BaseUnavailable),
            (CredentialsError::provider_timed_out(Duration::from_secs(1)), Cause::BaseUnavailable),
            (CredentialsError::unhandled("?"), Cause::BaseUnavailable),
        ] {
            assert_eq!(failure_of(&error).cause(), expected, "{error}");
        }
    }

    #[test]
    fn what_a_profile_demands_and_is_not_there_is_a_setting_unless_it_may_come_back() {
        let nothing = CredentialsError::not_loaded("none");
        for (means, expected) in [
            (Means::Environment, Cause::BaseMisconfigured),
            (Means::Container, Cause::BaseMisconfigured),
            (Means::SingleSignOn, Cause::BaseMisconfigured),
            (Means::Instance, Cause::BaseUnavailable),
        ] {
            let failure = means.explain(&nothing, "work");
            assert_eq!(failure.cause(), expected, "{failure}");
            assert!(failure.to_string().contains("of the profile 'work'"), "{failure}");
        }
    }

    #[test]
    fn a_given_provider_is_not_printed() {
        let keys = Keys::new("AKIDEXAMPLE", "SECRETEXAMPLE", None, None, "test");
        let source = BaseSource::Given(SharedCredentialsProvider::new(keys));
        assert_eq!(format!("{source:?}"), "Given(..)");
    }
}
