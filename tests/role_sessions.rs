//! Role sessions that end, are revoked, or cannot be had, in the middle of somebody's work.
//!
//! Sessions age by the emulator's clock, which tests move, so every one of these sessions really
//! ends, and S3 really refuses it.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use s3xmount::clock;
use s3xmount::credentials::Clock;
use s3xmount::emulator::demo;
use s3xmount::emulator::faults::On;
use s3xmount::error::Kind;
use tokio::task::JoinSet;

use crate::support::{How, MIB, Mount, Options, World, eventually, failure, pattern};

/// Longer than any session of these tests.
const TWO_HOURS: Duration = Duration::from_secs(2 * 3600);

/// All sessions end, unseen by the mount: on its own clock a minute passes. (Sessions that S3 refuses
/// as soon as they are there would be replaced ever more slowly.)
fn age(world: &World, advance: impl Fn(u64)) {
    world.clock.advance(TWO_HOURS);
    advance(61);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_a_gibibyte_outlives_its_sessions() {
    const STEP: usize = 32 * MIB;
    let world = World::new();
    let (clock, advance) = movable_clock();
    let mount = world.mount_with(Options { clock, ..Options::default() }).await;
    let content = bytes::Bytes::from(pattern(3, 1024 * MIB));
    world.put("a/huge", content.clone());
    let file = mount.open("a/huge", How::Read).await.unwrap();
    for (turn, expected) in content.chunks(STEP).enumerate() {
        let offset = (turn * STEP) as u64;
        let read = file.read(offset, u32::try_from(STEP).unwrap()).await.unwrap();
        assert!(read == expected, "turn {turn}");
        if turn % 4 == 0 {
            age(&world, &advance);
        }
    }
    file.close().await.unwrap();
    assert!(world.count("AssumeRole") >= 8, "{}", world.count("AssumeRole"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_multipart_upload_outlives_its_sessions() {
    const STEP: usize = 4 * MIB;
    let world = World::new();
    let (clock, advance) = movable_clock();
    let mount = world.mount_with(Options { clock, ..Options::default() }).await;
    let content = pattern(4, 64 * MIB);
    let file = mount.open("b/large", How::Overwrite).await.unwrap();
    for (turn, chunk) in content.chunks(STEP).enumerate() {
        file.write((turn * STEP) as u64, chunk).await.unwrap();
        age(&world, &advance);
    }
    // And once more between the last part and the completion.
    world.faults.inject(On::operation("CompleteMultipartUpload").times(1).reject(400, "ExpiredToken"));
    file.close().await.unwrap();
    assert!(world.stored("b/large").unwrap() == content);
    assert_eq!(world.object_at("b/large").unwrap().owner, demo::ACCOUNT_B);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_of_a_directory_outlives_its_sessions() {
    const FILES: usize = 60;
    let world = World::new();
    let (clock, advance) = movable_clock();
    let mount = world.mount_with(Options { clock, ..Options::default() }).await;
    for number in 0..FILES {
        world.put(&format!("a/old/{number}"), format!("content of {number}"));
    }
    let done = AtomicU64::new(0);
    let aging = async {
        for copies in [1, 20, 40] {
            eventually("copies are made", async || {
                world.count("CopyObject") >= copies || done.load(Ordering::Acquire) == 1
            })
            .await;
            age(&world, &advance);
        }
    };
    let renaming = async {
        let renamed = mount.rename("a/old", "a/new").await;
        done.store(1, Ordering::Release);
        renamed
    };
    let (renamed, ()) = tokio::join!(renaming, aging);
    renamed.unwrap();
    assert!(world.keys_below("a/old").is_empty());
    for number in 0..FILES {
        let moved = world.stored(&format!("a/new/{number}")).unwrap();
        assert_eq!(moved, format!("content of {number}").as_bytes());
    }
}

/// Every code that says so, on requests with a body to answer in and on HEAD, which has none.
#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_say_that_a_session_has_ended_is_understood() {
    let world = World::new();
    let (clock, advance) = movable_clock();
    // Without a lifetime each question is a request, whatever a listing told a moment ago.
    let options = Options { clock, lifetime: Duration::ZERO, ..Options::default() };
    let mount = world.mount_with(options).await;
    for (number, (status, code)) in [
        (400, "ExpiredToken"),
        (400, "ExpiredTokenException"),
        (400, "InvalidToken"),
        (403, "RequestExpired"),
        (400, "TokenRefreshRequired"),
        (403, "InvalidAccessKeyId"),
    ]
    .into_iter()
    .enumerate()
    {
        for operation in ["GetObject", "HeadObject", "ListObjectsV2", "PutObject"] {
            let ended = world.faults.inject(On::operation(operation).times(1).reject(status, code));
            // As in `age`: these sessions have served for a while.
            advance(61);
            let name = format!("a/{operation}-{number}");
            mount.write_file(&name, b"written").await.unwrap();
            let theirs = format!("{name}-theirs");
            world.put(&theirs, "theirs");
            assert!(mount.exists(&theirs).await, "{code} {operation}");
            assert_eq!(mount.read_file(&theirs).await.unwrap(), b"theirs");
            assert_eq!(ended.strikes(), 1, "{code} {operation}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_requests_with_an_ended_session_cause_one_call_to_sts() {
    let world = World::new();
    let mount = Arc::new(world.mount().await);
    for number in 0..200 {
        world.put(&format!("a/many/{number}"), "x");
    }
    // The directory is known, so that each of the requests is one of its own.
    mount.stat("a/many").await.unwrap();
    world.forget_requests();
    world.clock.advance(TWO_HOURS);
    let mut requests = JoinSet::new();
    for number in 0..200 {
        let mount = Arc::clone(&mount);
        requests.spawn(async move { mount.read_file(&format!("a/many/{number}")).await });
    }
    for read in requests.join_all().await {
        assert_eq!(read.unwrap(), b"x");
    }
    assert_eq!(world.count("AssumeRole"), 1);
}

/// A clock that a test can set forward: the product's, not the emulator's.
fn movable_clock() -> (Clock, impl Fn(u64)) {
    let ahead = Arc::new(AtomicU64::new(0));
    let shown = Arc::clone(&ahead);
    let clock = Clock::new(move || clock::now() + Duration::from_secs(shown.load(Ordering::Acquire)));
    (clock, move |seconds| {
        ahead.fetch_add(seconds, Ordering::AcqRel);
    })
}

/// Somebody in account A revokes all sessions of the role, those of later seconds excepted.
fn revoke_sessions(world: &World) {
    world.clock.advance(Duration::from_secs(5));
    world.directory.revoke_sessions(demo::ACCOUNT_A, demo::ROLE, world.clock.now());
    world.clock.advance(Duration::from_secs(5));
}

/// A mount that has read, and whose session is old enough to have been revoked.
async fn mount_in_use(world: &World, revoked_is_met: bool) -> Mount {
    let (clock, advance) = movable_clock();
    let options = Options { clock, suspect_denials: revoked_is_met, ..Options::default() };
    let mount = world.mount_with(options).await;
    world.put("a/one", "one");
    assert_eq!(mount.read_file("a/one").await.unwrap(), b"one");
    mount.write_file("a/mine", b"mine").await.unwrap();
    advance(61);
    mount
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_is_replaced_and_nobody_notices() {
    let world = World::new();
    let mount = mount_in_use(&world, true).await;
    revoke_sessions(&world);
    world.put("a/two", "two");
    assert_eq!(mount.read_file("a/two").await.unwrap(), b"two");
    mount.write_file("a/mine", b"mine too").await.unwrap();
    assert_eq!(world.stored("a/mine").unwrap(), b"mine too");
    assert_eq!(world.count("AssumeRole"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_is_a_denial_for_those_who_want_it_so() {
    let world = World::new();
    let mount = mount_in_use(&world, false).await;
    revoke_sessions(&world);
    assert_eq!(failure(mount.write_file("a/mine", b"mine too").await), Kind::Denied);
    assert_eq!(world.count("AssumeRole"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_was_withdrawn_costs_one_call_to_sts_and_stays_withdrawn() {
    let world = World::new();
    let mount = mount_in_use(&world, true).await;
    world.directory.set_role_policies(demo::ACCOUNT_A, demo::ROLE, &[]);
    for _ in 0..5 {
        assert_eq!(failure(mount.write_file("a/mine", b"mine too").await), Kind::Denied);
    }
    assert_eq!(world.count("AssumeRole"), 2);
    world.directory.set_role_policies(demo::ACCOUNT_A, demo::ROLE, &[demo::role_policy(demo::Rights::Full)]);
    mount.write_file("a/mine", b"mine again").await.unwrap();
}
