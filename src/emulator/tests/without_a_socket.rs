//! The same world through the SDK's own door.

use std::time::Duration;

use super::*;
use crate::emulator::{InProcess, On};

fn client(emulator: &InProcess) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .http_client(emulator.http_client())
        .endpoint_url("http://s3.invalid")
        .force_path_style(true)
        .region(Region::new(demo::REGION))
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .credentials_provider(keys(&demo::bob()));
    aws_sdk_s3::Client::from_conf(config.build())
}

#[tokio::test(start_paused = true)]
async fn reads_and_writes_need_no_port() {
    let emulator = InProcess::new(demo::world(Rights::Full).with_opaque_etags());
    let client = client(&emulator);
    put(&client, "k", &noise(3_000_000)).await;
    let first = emulator.world().object(BUCKET, "k").expect("it is stored");
    put(&client, "k", &noise(3_000_000)).await;
    let second = emulator.world().object(BUCKET, "k").expect("it is stored");
    assert_ne!(first.etag, second.etag, "opaque ETags do not depend on the bytes");
    let got = client.get_object().bucket(BUCKET).key("k").send().await.expect("it is stored");
    assert_eq!(got.body.collect().await.expect("it arrives").to_vec(), noise(3_000_000));
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_delay_takes_no_time() {
    let emulator = InProcess::new(demo::world(Rights::Full));
    emulator.world().faults.inject(On::operation("HeadBucket").delay(Duration::from_secs(3600)));
    emulator.world().faults.inject(On::operation("GetObject").lose_answer());
    let client = client(&emulator);
    let begin = tokio::time::Instant::now();
    assert_eq!(outcome(&client.head_bucket().bucket(BUCKET).send().await), granted());
    assert!(begin.elapsed() >= Duration::from_secs(3600));
    let lost = client.get_object().bucket(BUCKET).key("welcome.txt").send().await;
    assert_eq!(outcome(&lost).0, 0, "there is no answer");
}
