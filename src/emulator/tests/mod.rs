//! The emulator as its clients see it: through the AWS SDK, over a socket.

mod access;
mod checksums;
mod clocks;
mod encryption;
mod lists;
mod objects;
mod revocation;
mod role_sessions;
mod second_factors;
mod session_marks;
mod session_policies;
mod trouble;
mod uploads;
mod web_identities;
mod without_a_socket;

use aws_sdk_s3::config::{Credentials, Region};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;

use super::demo::{self, Rights};
use super::{AccessKey, RunningEmulator, World};

/// A bucket of the demo.
const BUCKET: &str = "SampleBucketA";

/// A status and a code: all that a client can go by.
type Outcome = (u16, String);

fn start(world: World) -> RunningEmulator {
    RunningEmulator::start(world).expect("the loopback interface has a free port")
}

/// The demo, with bob's client: he owns the buckets, so nothing stands in his way.
fn as_owner() -> (RunningEmulator, aws_sdk_s3::Client) {
    let emulator = start(demo::world(Rights::Full).with_short_sessions());
    let client = s3(&emulator, &demo::bob());
    (emulator, client)
}

/// The demo, with a client of alice's that has assumed the role.
async fn as_role(rights: Rights) -> (RunningEmulator, aws_sdk_s3::Client) {
    let emulator = start(demo::world(rights).with_short_sessions());
    let client = assumed(&emulator).await;
    (emulator, client)
}

fn s3(emulator: &RunningEmulator, key: &AccessKey) -> aws_sdk_s3::Client {
    s3_with(emulator, Credentials::new(&key.id, &key.secret, None, None, "test"), demo::REGION)
}

fn s3_with(emulator: &RunningEmulator, credentials: Credentials, region: &str) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .endpoint_url(emulator.endpoint_url())
        .force_path_style(true)
        .region(Region::new(region.to_owned()))
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .credentials_provider(credentials);
    aws_sdk_s3::Client::from_conf(config.build())
}

fn sts(emulator: &RunningEmulator, credentials: Credentials) -> aws_sdk_sts::Client {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(aws_sdk_sts::config::BehaviorVersion::latest())
        .endpoint_url(emulator.endpoint_url())
        .region(Region::new(demo::REGION))
        .retry_config(aws_sdk_sts::config::retry::RetryConfig::disabled())
        .credentials_provider(credentials);
    aws_sdk_sts::Client::from_conf(config.build())
}

fn keys(key: &AccessKey) -> Credentials {
    Credentials::new(&key.id, &key.secret, None, None, "test")
}

fn session_keys(output: &aws_sdk_sts::operation::assume_role::AssumeRoleOutput) -> Credentials {
    let session = output.credentials().expect("the answer carries credentials");
    let token = Some(session.session_token().to_owned());
    Credentials::new(session.access_key_id(), session.secret_access_key(), token, None, "test")
}

async fn assumed(emulator: &RunningEmulator) -> aws_sdk_s3::Client {
    let request = sts(emulator, keys(&demo::alice())).assume_role();
    let output = request.role_arn(demo::role_arn()).role_session_name("test").send().await;
    s3_with(emulator, session_keys(&output.expect("alice may assume the role")), demo::REGION)
}

/// What a refusal says to people.
fn message<T, E>(
    result: &Result<T, aws_sdk_s3::error::SdkError<E, aws_sdk_s3::config::http::HttpResponse>>,
) -> String
where
    E: ProvideErrorMetadata,
{
    let error = result.as_ref().err().and_then(|error| error.as_service_error());
    error.and_then(ProvideErrorMetadata::message).unwrap_or_default().to_owned()
}

/// Reduces a result to what a client can go by; success is 200 without a code.
fn outcome<T, E>(
    result: &Result<T, aws_sdk_s3::error::SdkError<E, aws_sdk_s3::config::http::HttpResponse>>,
) -> Outcome
where
    E: ProvideErrorMetadata,
{
    match result {
        Ok(_) => (200, String::new()),
        Err(error) => {
            let status = error.raw_response().map_or(0, |response| response.status().as_u16());
            let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
            (status, code.unwrap_or_default().to_owned())
        }
    }
}

fn refused(status: u16, code: &str) -> Outcome {
    (status, code.to_owned())
}

fn granted() -> Outcome {
    (200, String::new())
}

fn body(bytes: &[u8]) -> ByteStream {
    ByteStream::from(bytes.to_vec())
}

async fn put(client: &aws_sdk_s3::Client, key: &str, bytes: &[u8]) {
    let request = client.put_object().bucket(BUCKET).key(key).body(body(bytes));
    request.send().await.expect("the object is stored");
}

/// Bytes that differ everywhere, so that a wrong offset shows.
fn noise(size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..)).take(size).collect()
}
