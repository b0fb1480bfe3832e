//! What this mount does, seen through this mount, and then by everybody else.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

mod attributes;
mod directories;
mod names;
mod writing;

use std::time::{Duration, SystemTime};

use s3xmount::error::Kind;
use s3xmount::fs::AttributeChange;

use crate::support::{How, World, failure};

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_mount_changes_nothing() {
    let world = World::new();
    let options = crate::support::Options { read_only: true, ..Default::default() };
    let mount = world.mount_with(options).await;
    assert!(!mount.read_file("a/welcome.txt").await.unwrap().is_empty());
    world.forget_requests();
    for (what, outcome) in [
        ("create", mount.write_file("a/new", b"x").await),
        ("overwrite", mount.write_file("a/welcome.txt", b"x").await),
        ("mkdir", mount.make_directory("a/new").await),
        ("rmdir", mount.remove_directory("b/inbox").await),
        ("unlink", mount.remove("a/welcome.txt").await),
        ("rename", mount.rename("a/welcome.txt", "a/x").await),
        ("chmod", mount.change("a/welcome.txt", mode(0o600)).await.map(drop)),
        ("truncate", mount.truncate("a/welcome.txt", 1).await.map(drop)),
    ] {
        assert_eq!(failure(outcome), Kind::ReadOnly, "{what}");
    }
    let changing = ["PutObject", "CopyObject", "DeleteObject", "DeleteObjects", "CreateMultipartUpload"];
    assert_eq!(changing.map(|operation| world.count(operation)), [0; 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_all_that_is_shown_and_touched() {
    let world = World::new();
    let options = crate::support::Options { prefix: "reports", ..Default::default() };
    let mount = world.mount_with(options).await;
    assert_eq!(mount.list("a").await.unwrap(), ["2024/", "2025/", "readme.txt"]);
    mount.write_file("a/2024/new.txt", b"new").await.unwrap();
    mount.rename("a/2025", "a/2026").await.unwrap();
    mount.write_file("b/first.txt", b"into an empty prefix").await.unwrap();
    assert_eq!(world.stored("a/reports/2024/new.txt").unwrap(), b"new");
    assert!(world.stored("a/reports/2026/summary.csv").is_some());
    assert_eq!(world.stored("b/reports/first.txt").unwrap(), b"into an empty prefix");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmount_sets_aside_what_nobody_closed() {
    let world = World::new();
    let mount = world.mount().await;
    let file = mount.open("a/half", How::Overwrite).await.unwrap();
    file.write(0, b"half a file").await.unwrap();
    mount.filesystem().finish().await;
    assert_eq!(world.stored("a/half"), None, "half a file is no file");
    assert_eq!(mount.set_aside(), [b"half a file"]);
    assert_eq!(failure(file.close().await), Kind::ShuttingDown);
}

fn mode(mode: u32) -> AttributeChange {
    AttributeChange { mode: Some(mode), ..Default::default() }
}

fn moment(seconds: u64, nanoseconds: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}
