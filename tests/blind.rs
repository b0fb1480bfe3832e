//! With exactly the three actions of the usual policy: no listing, no deleting.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use s3xmount::emulator::demo::Rights;
use s3xmount::emulator::{CannedAcl, demo};
use s3xmount::error::Kind;
use s3xmount::fs::{AttributeChange, FileKind};

use crate::support::{How, MIB, World, failure, pattern};

#[tokio::test(flavor = "multi_thread")]
async fn known_paths_are_read() {
    let world = World::with(Rights::Minimal);
    let mount = world.mount().await;
    assert_eq!(mount.read_file("a/welcome.txt").await.unwrap(), world.stored("a/welcome.txt").unwrap());
    world.put("b/inbox/letter", "Dear Alice");
    assert_eq!(mount.stat("b/inbox").await.unwrap().kind, FileKind::Directory);
    assert_eq!(mount.read_file("b/inbox/letter").await.unwrap(), b"Dear Alice");
    assert!(!mount.exists("a/missing").await, "S3 says 403 to that, and it means that it is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_made_replaced_extended_and_described() {
    let world = World::with(Rights::Minimal);
    let mount = world.mount().await;
    mount.write_file("a/new", b"new").await.unwrap();
    mount.write_file("a/welcome.txt", b"replaced").await.unwrap();
    mount.append("a/new", b" and more").await.unwrap();
    let large = pattern(1, 12 * MIB);
    world.put("a/large", large.clone());
    mount.append("a/large", b"tail").await.unwrap();
    let mode = AttributeChange { mode: Some(0o600), ..Default::default() };
    mount.change("a/new", mode).await.unwrap();
    mount.truncate("a/welcome.txt", 4).await.unwrap();
    assert_eq!(world.stored("a/new").unwrap(), b"new and more");
    assert_eq!(world.stored("a/welcome.txt").unwrap(), b"repl");
    assert!(world.stored("a/large").unwrap() == [large, b"tail".to_vec()].concat());
    for path in ["a/new", "a/welcome.txt", "a/large"] {
        let object = world.object_at(path).unwrap();
        assert_eq!(
            (object.acl, object.owner),
            (CannedAcl::BucketOwnerFullControl, demo::ACCOUNT_B),
            "{path}"
        );
    }
    assert_eq!(world.mount().await.stat("a/new").await.unwrap().mode, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_made_and_found_again_by_its_marker() {
    let world = World::with(Rights::Minimal);
    let mount = world.mount().await;
    mount.make_directory("a/d").await.unwrap();
    mount.write_file("a/d/f", b"inside").await.unwrap();
    assert_eq!(failure(mount.make_directory("a/d").await), Kind::Exists);
    assert_eq!(world.stored("a/d/f").unwrap(), b"inside");
    assert_eq!(world.mount().await.read_file("a/d/f").await.unwrap(), b"inside");
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_is_denied_and_not_shown_as_empty() {
    let world = World::with(Rights::Minimal);
    let mount = world.mount().await;
    assert_eq!(mount.list("").await.unwrap(), ["a/", "b/"]);
    for path in ["a", "b/inbox"] {
        assert_eq!(failure(mount.list(path).await), Kind::Denied, "{path}");
        assert_eq!(failure(mount.list(path).await), Kind::Denied, "{path}, again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_deleting_is_denied_before_it_has_any_effect() {
    let world = World::with(Rights::Minimal);
    let mount = world.mount().await;
    let keys = || [world.keys_below("a/"), world.keys_below("b/")].concat();
    let before = keys();
    for (what, outcome) in [
        ("unlink", mount.remove("a/welcome.txt").await),
        ("rename", mount.rename("a/welcome.txt", "a/moved").await),
        ("rename to the other bucket", mount.rename("a/welcome.txt", "b/moved").await),
        ("rename of a directory", mount.rename("b/inbox", "b/moved").await),
        ("rmdir", mount.remove_directory("b/inbox").await),
    ] {
        assert_eq!(failure(outcome), Kind::Denied, "{what}");
    }
    assert_eq!((keys(), world.count("CopyObject")), (before, 0));
    assert!(!mount.read_file("a/welcome.txt").await.unwrap().is_empty(), "and the mount still shows it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_could_not_be_seen_is_not_replaced_unseen() {
    let world = World::with(Rights::Minimal);
    let mount = world.mount().await;
    assert!(!mount.exists("a/secret").await);
    world.put("a/secret", "theirs");
    let file = mount.open("a/secret", How::Edit).await.unwrap();
    file.write(0, b"mine").await.unwrap();
    assert_eq!(failure(file.close().await), Kind::Exists);
    assert_eq!(world.stored("a/secret").unwrap(), b"theirs");
    assert_eq!(mount.set_aside(), [b"mine"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_taken_away_shows_as_denied() {
    let world = World::with(Rights::Minimal);
    let options = crate::support::Options { lifetime: std::time::Duration::ZERO, ..Default::default() };
    let mount = world.mount_with(options).await;
    assert!(!mount.read_file("a/welcome.txt").await.unwrap().is_empty());
    world.set_bucket_policy(demo::BUCKETS[0], None);
    assert_eq!(failure(mount.read_file("a/welcome.txt").await), Kind::Denied, "and not as missing");
}
