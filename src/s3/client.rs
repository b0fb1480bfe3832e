//! SDK clients: where they send, how long they wait, how often they try, who they say they are.
//!
//! There are two for each region, differing only in patience. *Quick* ones carry requests that
//! S3 answers at once: an attempt that hangs is given up after some seconds and made again,
//! because applications do not expect a file system to have transient errors. *Bulk* ones carry
//! bodies up, and requests that S3 may work on for minutes (completing an upload, copying).
//!
//! Credentials come from outside and are asked for at every attempt: the SDK's own identity
//! cache drops good credentials when a refresh fails, so it is off. [`Healing`] turns an answer
//! that refuses the credentials into a nudge for their owner and one more attempt.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction, RetryConfig};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, ConfigBag, IdentityCache, Intercept, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, RuntimeComponents, SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use super::error::refuses_credentials;

/// Tells the owner of the credentials that S3 refused those with this access key id.
pub type OnRefused = Arc<dyn Fn(&str) + Send + Sync>;

/// How to reach S3, the same for all buckets of a mount.
#[derive(Clone)]
pub struct Endpoint {
    /// Answers at every attempt with the credentials to sign with.
    pub credentials: SharedCredentialsProvider,
    /// Hears of credentials that S3 refused.
    pub on_refused: OnRefused,
    /// One connection pool for everything; `None` makes one.
    pub http: Option<SharedHttpClient>,
    /// A server other than AWS.
    pub url: Option<String>,
    /// Bucket in the path of the URL and not in its host name.
    pub force_path_style: bool,
}

/// A pool of connections for all clients of a mount.
pub fn connections() -> SharedHttpClient {
    use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https()
}

/// The two clients for one region.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    pub(super) quick: aws_sdk_s3::Client,
    pub(super) bulk: aws_sdk_s3::Client,
}

impl Clients {
    pub(super) fn new(endpoint: &Endpoint, region: &str) -> Self {
        let config = config(endpoint, region);
        let quick = config.clone().timeout_config(quick_timeouts());
        let bulk = config.timeout_config(bulk_timeouts());
        Self {
            quick: aws_sdk_s3::Client::from_conf(quick.build()),
            bulk: aws_sdk_s3::Client::from_conf(bulk.build()),
        }
    }
}

fn config(endpoint: &Endpoint, region: &str) -> aws_sdk_s3::config::Builder {
    let healing = Healing { on_refused: Arc::clone(&endpoint.on_refused) };
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
        .use_arn_region(true)
        // "Supported" makes the SDK compute the checksum that a request names. With "required" it
        // names it and sends none, which is refused (aws-sdk-s3 1.157, http_request_checksum.rs).
        .request_checksum_calculation(RequestChecksumCalculation::WhenSupported)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    config.set_http_client(endpoint.http.clone());
    config.set_endpoint_url(endpoint.url.clone());
    config
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

/// A body that stands still this long is given up, in either direction.
fn stalled_streams() -> StalledStreamProtectionConfig {
    StalledStreamProtectionConfig::enabled().grace_period(Duration::from_secs(20)).build()
}

/// For requests that are to go without a checksum, to servers that refuse every one.
pub(super) fn without_checksum() -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::Config::builder().request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
}

fn quick_timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_PATIENCE)
        .operation_attempt_timeout(Duration::from_secs(15))
        .operation_timeout(Duration::from_secs(120))
        .build()
}

/// No limit for an attempt: 5 GiB over a slow line may take hours, and a connection that stands
/// still is noticed by [`stalled_streams`].
fn bulk_timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_PATIENCE).build()
}

const CONNECT_PATIENCE: Duration = Duration::from_secs(4);

/// Notices answers that refuse the credentials, nudges their owner, and asks for another attempt.
///
/// The next attempt asks for credentials again and gets fresh ones, so the application notices
/// nothing. How often fresh ones may be made is the owner's business.
#[derive(Clone)]
struct Healing {
    on_refused: OnRefused,
}

/// The access key id an attempt was signed with. Remembered because the SDK gives the request
/// away when it is sent, and the answer does not name it.
#[derive(Debug)]
struct SignedWith(String);

impl Storable for SignedWith {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Healing {
    fn name(&self) -> &'static str {
        "heal refused credentials"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let header = context.request().headers().get("authorization");
        if let Some(key_id) = header.and_then(access_key_id) {
            bag.interceptor_state().store_put(SignedWith(key_id.to_owned()));
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let refused = context.output_or_error().is_err() && refuses(context.response());
        if let (true, Some(SignedWith(key_id))) = (refused, bag.load::<SignedWith>()) {
            (self.on_refused)(key_id);
        }
        Ok(())
    }
}

impl ClassifyRetry for Healing {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response() {
            Some(response) if refuses(response) => RetryAction::transient_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "refused credentials"
    }
}

impl fmt::Debug for Healing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Healing")
    }
}

/// Whether an answer refuses the credentials. A bare 400 is how HEAD says that a token expired.
fn refuses(response: &HttpResponse) -> bool {
    if !matches!(response.status().as_u16(), 400 | 401 | 403) {
        return false;
    }
    match response.body().bytes() {
        Some(body) if !body.is_empty() => error_code(body).is_some_and(refuses_credentials),
        _ => response.status().as_u16() == 400,
    }
}

/// The code of an S3 error document. The SDK parses it too, but into a type per operation.
fn error_code(document: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(document).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code)
}

/// The access key id of a SigV4 `Authorization` header:
/// `AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/s3/aws4_request, SignedHeaders=…`.
fn access_key_id(authorization: &str) -> Option<&str> {
    let (_, rest) = authorization.split_once("Credential=")?;
    rest.split_once('/').map(|(key_id, _)| key_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_found_in_an_error_document() {
        let document =
            b"<?xml version=\"1.0\"?>\n<Error><Code>ExpiredToken</Code><Message>m</Message></Error>";
        assert_eq!(error_code(document), Some("ExpiredToken"));
        assert_eq!(error_code(b"<html>"), None);
        assert_eq!(error_code(&[0xff]), None);
    }

    #[test]
    fn the_access_key_id_is_found_in_the_signature() {
        let header =
            "AWS4-HMAC-SHA256 Credential=ASIAX/20260101/r/s3/aws4_request, SignedHeaders=host, Signature=0";
        assert_eq!(access_key_id(header), Some("ASIAX"));
        assert_eq!(access_key_id("Bearer x"), None);
    }
}
