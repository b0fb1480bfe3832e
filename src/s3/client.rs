//! SDK clients: where they send, how long they wait, how often they try, who they say they are.
//!
//! There are two for each bucket, differing only in patience, and one more for copies. *Quick* ones carry requests that
//! S3 answers at once: an attempt whose answer does not begin is given up after some seconds and made again,
//! because applications do not expect a file system to have transient errors. *Bulk* ones carry
//! bodies up, and requests that S3 may work on for minutes (completing an upload, copying).
//!
//! Credentials come from outside and are asked for at every attempt: the SDK's own identity
//! cache drops good credentials when a refresh fails, so it is off. `healing.rs` turns an answer
//! that refuses the credentials into a nudge for their owner and one more attempt.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::gaps::Server;
use super::healing::{CredentialsOwner, Healing};
use super::patience;
use super::region::{Directions, Redirects, Residence};
use super::silence::{Listening, Silence};
use super::trace::Tracing;

/// How to reach S3, the same for all buckets of a mount.
#[derive(Clone)]
pub struct Endpoint {
    /// Answers at every attempt with the credentials to sign with.
    pub credentials: SharedCredentialsProvider,
    /// Hears how S3 took them.
    pub owner: Arc<dyn CredentialsOwner>,
    /// One connection pool for everything; `None` makes one.
    pub http: Option<SharedHttpClient>,
    /// Where S3 answers, if not at AWS's own endpoints.
    pub url: Option<String>,
    /// Who answers there.
    pub server: Server,
    /// Bucket in the path of the URL and not in its host name.
    pub force_path_style: bool,
    /// Which of AWS's own endpoints is meant, where there is no `url`.
    pub variant: Variant,
}

/// Which of the endpoints that AWS has for a region.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Variant {
    /// The one that also answers over IPv6.
    pub dualstack: bool,
    /// The one whose cryptography is validated under FIPS 140.
    pub fips: bool,
    /// The one close by, from which bytes travel on AWS's own lines. Copies do not go there, as it
    /// knows none across regions (S3 user guide, "Transfer Acceleration").
    pub accelerate: bool,
}

/// A pool of connections for all clients of a mount.
pub fn connections() -> SharedHttpClient {
    use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https()
}

/// The clients for one bucket. They go to its residence, and follow it if it turns out to be elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    pub(super) quick: aws_sdk_s3::Client,
    pub(super) bulk: aws_sdk_s3::Client,
    /// As patient as `bulk`, and never accelerated.
    pub(super) copies: aws_sdk_s3::Client,
}

impl Clients {
    pub(super) fn new(endpoint: &Endpoint, residence: &Residence, silence: &Arc<Silence>) -> Self {
        let redirects = Redirects(residence.clone());
        let config = config(endpoint, &residence.region())
            .endpoint_resolver(Directions::new(residence.clone()))
            .interceptor(redirects.clone())
            .retry_classifier(redirects)
            .interceptor(Listening(Arc::clone(silence)))
            .interceptor(Tracing)
            .accelerate(endpoint.variant.accelerate);
        let quick = config.clone().timeout_config(quick_timeouts());
        let mut bulk = config.timeout_config(bulk_timeouts());
        let limited = patience::limited(endpoint.http.clone().unwrap_or_else(connections), silence);
        bulk.set_http_client(Some(limited));
        let copies = bulk.clone().accelerate(false);
        Self {
            quick: aws_sdk_s3::Client::from_conf(quick.build()),
            bulk: aws_sdk_s3::Client::from_conf(bulk.build()),
            copies: aws_sdk_s3::Client::from_conf(copies.build()),
        }
    }
}

/// A client that asks where a bucket lives, and so does not follow it there.
pub(super) fn asking(endpoint: &Endpoint, region: &str) -> aws_sdk_s3::Client {
    aws_sdk_s3::Client::from_conf(config(endpoint, region).timeout_config(quick_timeouts()).build())
}

/// A client that asks the same and signs nothing, for what S3 tells anybody.
pub(super) fn unsigned(endpoint: &Endpoint, region: &str) -> aws_sdk_s3::Client {
    aws_sdk_s3::Client::from_conf(unsigned_config(endpoint, region).build())
}

/// One that takes no for an answer: where perhaps nobody is, one attempt is enough.
pub(super) fn unsigned_once(endpoint: &Endpoint, region: &str) -> aws_sdk_s3::Client {
    let config = unsigned_config(endpoint, region).retry_config(RetryConfig::disabled());
    aws_sdk_s3::Client::from_conf(config.build())
}

fn unsigned_config(endpoint: &Endpoint, region: &str) -> aws_sdk_s3::config::Builder {
    let mut config = config(endpoint, region).allow_no_auth().timeout_config(quick_timeouts());
    config.set_credentials_provider(None);
    config
}

fn config(endpoint: &Endpoint, region: &str) -> aws_sdk_s3::config::Builder {
    let healing = Healing::new(Arc::clone(&endpoint.owner));
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(region.to_owned()))
        .credentials_provider(endpoint.credentials.clone())
        .identity_cache(IdentityCache::no_cache())
        .interceptor(healing.clone())
        .retry_classifier(healing)
        .retry_config(retries())
        .retry_partition(partition())
        .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
        .stalled_stream_protection(stalled_streams())
        .force_path_style(endpoint.force_path_style)
        .use_dual_stack(endpoint.variant.dualstack)
        .use_fips(endpoint.variant.fips)
        .use_arn_region(true)
        // "Supported" makes the SDK compute the checksum that a request names. With "required" it
        // names it and sends none, which is refused (aws-sdk-s3 1.157, http_request_checksum.rs).
        .request_checksum_calculation(RequestChecksumCalculation::WhenSupported)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    config.set_http_client(endpoint.http.clone());
    config.set_endpoint_url(endpoint.url.as_deref().map(closed));
    config
}

/// The URL with a slash behind its path. Without one the SDK joins `https://host/base` and a bucket to
/// `https://host/basebucket` (aws-sdk-s3 1.157).
fn closed(url: &str) -> String {
    let has_path = url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    if has_path && !url.ends_with('/') { format!("{url}/") } else { url.to_owned() }
}

/// Ten attempts with up to five seconds between them ride out a restart of a server or a
/// renumbering of DNS, which three attempts within a second do not.
fn retries() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(10)
        .with_initial_backoff(Duration::from_millis(100))
        .with_max_backoff(Duration::from_secs(5))
}

/// The SDK's default bucket of 500 retry tokens is shared by all requests: a burst of throttling
/// empties it and then everything fails at its first hiccup. Attempts and time bound us already.
fn partition() -> RetryPartition {
    RetryPartition::custom("s3xmount").token_bucket(TokenBucket::unlimited()).build()
}

/// A body that comes from S3 and stands still this long is given up. (One that goes there: see [`patience`].)
fn stalled_streams() -> StalledStreamProtectionConfig {
    StalledStreamProtectionConfig::enabled().grace_period(Duration::from_secs(20)).build()
}

/// For requests that are to go without a checksum, to servers that refuse every one.
pub(super) fn without_checksum() -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::Config::builder().request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
}

/// An answer that does not begin is given up. What comes before sending does not count: a request may
/// have to wait for credentials, and being cut and begun again it would never hear why there are none.
fn quick_timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_PATIENCE)
        .read_timeout(Duration::from_secs(15))
        .operation_timeout(Duration::from_secs(120))
        .build()
}

/// No limit for an attempt: 5 GiB over a slow line may take hours, and a connection that stands
/// still is noticed by [`patience`].
fn bulk_timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_PATIENCE).build()
}

const CONNECT_PATIENCE: Duration = Duration::from_secs(4);
