//! Who we are before assuming anything.
//!
//! The SDK's default chain knows environment variables, profiles, SSO, web identities, external
//! processes, containers and instances, and none of that is ours to rewrite. But what the chain
//! has read once it keeps: a profile file is parsed a single time in the life of a provider. And of a
//! profile that assumes a role it drops a part. So that is read by us (`profile.rs`), and a
//! [`Base`] is a recipe, and every [`load`](Base::load) follows it anew. Keys that were rotated,
//! a token file that was replaced, a login that was repeated: all are seen at the next renewal.

use std::fmt;
use std::time::Duration;

use aws_config::credential_process::CredentialProcessProvider;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_sts::config::IdentityCache;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::profile::{self, Leaf, Way};
use super::role::{Cause, Failure, Sts, innermost_words};
use super::schedule::Life;
use super::{Clock, Grant, RoleOptions};
use crate::clock::ServerTime;

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
    pub(super) http_client: Option<SharedHttpClient>,
    /// What the sessions of a profile's roles are called if it does not say.
    pub(super) session_name: String,
    /// What STS's clock shows.
    pub(super) time: ServerTime,
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
    time: ServerTime,
}

impl Base {
    /// Finds the base identity from scratch.
    pub(super) async fn load(&mut self, clock: &Clock) -> Result<Loaded, Failure> {
        let loading = async {
            let way = self.way().await?;
            let settings = self.settings().await;
            let keys = self.keys(way.as_ref(), &settings).await.map_err(|error| self.failure_of(&error))?;
            Ok((keys, way.map(|way| way.roles).unwrap_or_default(), settings))
        };
        let (keys, roles, settings) =
            tokio::time::timeout(LOAD_WAIT_MAX, loading).await.map_err(|_| {
                Failure::new(Cause::BaseUnavailable)
                    .quoting(format!("nothing after {} s", LOAD_WAIT_MAX.as_secs()))
            })??;
        let grant = grant(keys, clock)?;
        let region = settings.region().map(ToString::to_string);
        // Where nothing names a region, finding that out again would cost an instance's metadata
        // service several timeouts at every renewal.
        self.region.get_or_insert_with(|| region.clone().unwrap_or_else(|| REGION_WITHOUT_ANY.to_owned()));
        Ok(Loaded { grant, roles, region, sts: self.sts(&settings), time: self.time.clone() })
    }

    /// The way of a profile that we walk ourselves.
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

    async fn keys(&self, way: Option<&Way>, settings: &SdkConfig) -> Result<Keys, CredentialsError> {
        let config = || self.provider_config(settings);
        match (way.map(|way| &way.leaf), settings.credentials_provider()) {
            (Some(Leaf::Keys(keys)), _) => Ok(keys.clone()),
            (Some(Leaf::Profile(name)), _) => {
                let provider = ProfileFileCredentialsProvider::builder().configure(&config());
                provider.profile_name(name).build().provide_credentials().await
            }
            (Some(Leaf::Process(command)), _) => {
                CredentialProcessProvider::new(command.clone()).provide_credentials().await
            }
            (Some(Leaf::Environment), _) => {
                EnvironmentVariableCredentialsProvider::new().provide_credentials().await
            }
            (Some(Leaf::Container), _) => {
                EcsCredentialsProvider::builder().configure(&config()).build().provide_credentials().await
            }
            (Some(Leaf::Instance), _) => {
                ImdsCredentialsProvider::builder().configure(&config()).build().provide_credentials().await
            }
            (None, Some(provider)) => provider.provide_credentials().await,
            (None, None) => Err(CredentialsError::not_loaded_no_source()),
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

    fn failure_of(&self, error: &CredentialsError) -> Failure {
        let names_profile = matches!(self.source, BaseSource::Chain { profile: Some(_) });
        let cause = match error {
            // The SDK's word for a profile that does not exist.
            CredentialsError::CredentialsNotLoaded(_) if names_profile => Cause::BaseMisconfigured,
            CredentialsError::CredentialsNotLoaded(_) => Cause::NoBase,
            CredentialsError::InvalidConfiguration(_) => Cause::BaseMisconfigured,
            _ => Cause::BaseUnavailable,
        };
        Failure::new(cause).quoting(innermost_words(error))
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
            .timeout_config(timeouts);
        if let Some(url) = &self.sts_endpoint_url {
            sts = sts.endpoint_url(url);
        }
        sts
    }
}

impl Loaded {
    /// Returns STS for calls that are signed with `keys`.
    pub(super) fn sts_as(&self, keys: &Keys) -> Sts {
        let config = self.sts.clone().credentials_provider(keys.clone()).build();
        Sts { client: aws_sdk_sts::Client::from_conf(config), time: self.time.clone() }
    }
}

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

/// STS needs some region for its signature and its host name. This one answers for all of the
/// commercial partition, and any custom endpoint takes it.
const REGION_WITHOUT_ANY: &str = "us-east-1";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn base(profile: Option<&str>) -> Base {
        Base {
            source: BaseSource::Chain { profile: profile.map(str::to_owned) },
            region: Some("eu-west-1".to_owned()),
            sts_endpoint_url: None,
            http_client: None,
            session_name: "s3xmount-alice-host".to_owned(),
            time: ServerTime::default(),
        }
    }

    #[test]
    fn failures_of_the_base_chain_are_sorted_by_what_to_do_about_them() {
        for (profile, error, expected) in [
            (None, CredentialsError::not_loaded("none"), Cause::NoBase),
            (Some("typo"), CredentialsError::not_loaded("not defined"), Cause::BaseMisconfigured),
            (None, CredentialsError::invalid_configuration("a loop"), Cause::BaseMisconfigured),
            (None, CredentialsError::provider_error("503"), Cause::BaseUnavailable),
            (None, CredentialsError::provider_timed_out(Duration::from_secs(1)), Cause::BaseUnavailable),
            (None, CredentialsError::unhandled("?"), Cause::BaseUnavailable),
        ] {
            assert_eq!(base(profile).failure_of(&error).cause(), expected, "{error}");
        }
    }

    #[test]
    fn a_given_provider_is_not_printed() {
        let keys = Keys::new("AKIDEXAMPLE", "SECRETEXAMPLE", None, None, "test");
        let source = BaseSource::Given(SharedCredentialsProvider::new(keys));
        assert_eq!(format!("{source:?}"), "Given(..)");
    }

    /// The chain reads the process's environment, which tests share. So this one runs itself once
    /// more, in a process whose environment is its own.
    #[test]
    fn rotated_keys_in_the_file_are_seen_and_a_named_profile_wins_over_the_environment() {
        const FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";
        const NAME: &str = "credentials::base::tests::\
            rotated_keys_in_the_file_are_seen_and_a_named_profile_wins_over_the_environment";
        const MARK: &str = "S3XMOUNT_TEST_OF_THE_CREDENTIALS_FILE";
        if std::env::var_os(MARK).is_some() {
            let path = std::env::var_os(FILE).unwrap();
            return rotate_and_load(Path::new(&path));
        }
        let directory = tempfile::tempdir().unwrap();
        let outcome = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(MARK, "1")
            .env(FILE, directory.path().join("credentials"))
            .env("AWS_CONFIG_FILE", directory.path().join("config"))
            .env("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&outcome.stdout);
        assert!(outcome.status.success() && said.contains("1 passed"), "{outcome:?}");
    }

    #[tokio::main(flavor = "current_thread")]
    async fn rotate_and_load(file: &Path) {
        let mut named = base(Some("work"));
        for id in ["AKIABEFORE", "AKIAAFTER"] {
            let profile = format!("[work]\naws_access_key_id = {id}\naws_secret_access_key = secret\n");
            std::fs::write(file, profile).unwrap();
            let loaded = named.load(&Clock::default()).await.unwrap();
            assert_eq!(loaded.grant.keys.access_key_id(), id);
        }
        let loaded = base(None).load(&Clock::default()).await.unwrap();
        assert_eq!(loaded.grant.keys.access_key_id(), "AKIAENVIRONMENT");
    }
}
