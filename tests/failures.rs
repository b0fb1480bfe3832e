//! What scripted trouble on the server's side comes to for whoever uses the mount.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::time::Duration;

use s3xmount::emulator::demo;
use s3xmount::emulator::faults::On;
use s3xmount::error::Kind;

use crate::support::{How, MIB, World, failure, pattern};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_put_is_no_lost_file() {
    let world = World::new();
    let mount = world.mount().await;
    let lost = world.faults.inject(On::operation("PutObject").key("new").times(1).lose_answer());
    mount.write_file("a/new", b"arrived").await.unwrap();
    assert_eq!(lost.strikes(), 1);
    assert_eq!(world.stored("a/new").unwrap(), b"arrived");
    assert!(mount.set_aside().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_completion_is_no_lost_file() {
    let world = World::new();
    let mount = world.mount().await;
    let content = pattern(3, 20 * MIB);
    let lost = world.faults.inject(On::operation("CompleteMultipartUpload").times(1).lose_answer());
    mount.write_file("a/large", &content).await.unwrap();
    assert_eq!(lost.strikes(), 1);
    assert!(world.stored("a/large").unwrap() == content);
    assert!(world.uploads("SampleBucketA").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_is_waited_out() {
    let world = World::new();
    let mount = world.mount().await;
    let throttled = world.faults.inject(On::anything().times(6).throttle());
    mount.write_file("a/patient", b"in the end").await.unwrap();
    assert_eq!(mount.read_file("a/patient").await.unwrap(), b"in the end");
    assert_eq!(throttled.strikes(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_cut_short_is_read_on() {
    let world = World::new();
    let mount = world.mount().await;
    let content = pattern(5, 6 * MIB);
    world.put("a/long", content.clone());
    let cut = world.faults.inject(On::operation("GetObject").key("long").times(3).cut_body(100_000));
    assert!(mount.read_file("a/long").await.unwrap() == content);
    assert_eq!(cut.strikes(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_write_is_reported_by_close_and_its_bytes_are_kept() {
    let world = World::new();
    let mount = world.mount().await;
    let refused = world.faults.inject(On::operation("PutObject").always().reject(403, "AccessDenied"));
    assert_eq!(failure(mount.write_file("a/refused", b"precious").await), Kind::Denied);
    assert!(refused.strikes() > 0);
    assert_eq!(mount.set_aside(), [b"precious".to_vec()]);
    assert!(world.object_at("a/refused").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_end_while_files_are_read_and_written_are_not_noticed() {
    let world = World::new();
    let mount = world.mount().await;
    let content = pattern(7, 24 * MIB);
    world.put("a/source", content.clone());
    let source = mount.open("a/source", How::Read).await.unwrap();
    let target = mount.open("b/target", How::Overwrite).await.unwrap();
    let step = 2 * MIB;
    for (turn, chunk) in content.chunks(step).enumerate() {
        let offset = (turn * step) as u64;
        let read = source.read(offset, u32::try_from(step).unwrap()).await.unwrap();
        assert!(read == chunk, "turn {turn}");
        target.write(offset, &read).await.unwrap();
        // Every session ends, and S3 refuses the next request of each until it is renewed.
        world.clock.advance(Duration::from_secs(2 * 3600));
    }
    target.close().await.unwrap();
    source.close().await.unwrap();
    assert!(world.stored("b/target").unwrap() == content);
    assert_eq!(world.object_at("b/target").unwrap().owner, demo::ACCOUNT_B);
}
