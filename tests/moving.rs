//! Directories on their way: what is seen meanwhile, and what a death in the middle comes to.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::path::Path;
use std::sync::Arc;

use s3xmount::emulator::Content;
use s3xmount::emulator::faults::{Gate, On};
use s3xmount::error::{Kind, Result};
use s3xmount::fs::Replace;
use s3xmount::name::FileName;
use tokio::task::JoinSet;

use crate::support::{How, Mount, Options, World, eventually, failure};

const OBJECTS: usize = 50;

fn world_with_a_directory() -> World {
    let world = World::new();
    for number in 0..OBJECTS {
        world.put(&format!("a/old/{number}"), format!("bytes of {number}"));
    }
    world
}

/// Begins to move `a/old` to `a/new`, in the background.
async fn begin(mount: &Arc<Mount>) -> JoinSet<Result<()>> {
    let (parent, old) = mount.parent("a/old").await.unwrap();
    let (filesystem, new) = (Arc::clone(mount.filesystem()), FileName::parse("new").unwrap());
    let mut moving = JoinSet::new();
    moving.spawn(async move { filesystem.rename((parent, &old), (parent, &new), Replace::Allowed).await });
    moving
}

#[tokio::test]
async fn nobody_is_shown_a_name_whose_object_has_gone() {
    let world = world_with_a_directory();
    let mount = Arc::new(world.mount().await);
    let known = mount.stat("a/old/7").await.unwrap().ino;
    let reader = mount.open("a/old/8", How::Read).await.unwrap();
    let gate = Gate::closed();
    world.faults.inject(On::operation("DeleteObjects").times(1).hold_answer(&gate));
    let mut moving = begin(&mount).await;
    eventually("the old objects have gone", async || world.keys_below("a/old/").is_empty()).await;
    // The rename has not returned yet. Whoever has the inode from before goes on with it.
    assert_eq!(mount.filesystem().attributes(known).await.unwrap().attributes.size, 10);
    assert_eq!(reader.read_all().await.unwrap(), b"bytes of 8");
    assert_eq!(mount.read_file("a/new/9").await.unwrap(), b"bytes of 9");
    gate.open();
    moving.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(mount.list("a/new").await.unwrap().len(), OBJECTS);
    assert!(!mount.exists("a/old").await);
    reader.close().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_read_while_it_is_renamed_is_read_on() {
    let world = World::new();
    world.put("a/log", "some lines");
    let mount = Arc::new(world.mount().await);
    let reader = mount.open("a/log", How::Read).await.unwrap();
    let gate = Gate::closed();
    world.faults.inject(On::operation("DeleteObject").key("log").times(1).hold_answer(&gate));
    let (parent, old) = mount.parent("a/log").await.unwrap();
    let (filesystem, new) = (Arc::clone(mount.filesystem()), FileName::parse("log.1").unwrap());
    let mut moving = JoinSet::new();
    moving.spawn(async move { filesystem.rename((parent, &old), (parent, &new), Replace::Allowed).await });
    eventually("the old object has gone", async || world.stored("a/log").is_none()).await;
    assert_eq!(reader.read_all().await.unwrap(), b"some lines");
    gate.open();
    moving.join_next().await.unwrap().unwrap().unwrap();
    reader.close().await.unwrap();
}

#[tokio::test]
async fn how_far_a_move_is_can_be_seen() {
    let world = world_with_a_directory();
    let mount = Arc::new(world.mount().await);
    let gate = Gate::closed();
    world.faults.inject(On::operation("DeleteObjects").times(1).hold_request(&gate));
    let mut moving = begin(&mount).await;
    eventually("all is copied", async || world.keys_below("a/new/").len() == OBJECTS).await;
    eventually("and that is told", async || {
        let progress = mount.namespace().moves_under_way();
        progress.first().is_some_and(|at| (at.copied, at.deleted) == (OBJECTS as u64, 0))
    })
    .await;
    let [progress] = &mount.namespace().moves_under_way()[..] else { panic!("there is one move") };
    assert_eq!((progress.from.as_str(), progress.onto.as_str(), progress.objects), ("old/", "new/", 50));
    gate.open();
    moving.join_next().await.unwrap().unwrap().unwrap();
    assert!(mount.namespace().moves_under_way().is_empty());
}

#[tokio::test]
async fn what_dies_among_its_deletions_is_finished_by_the_next_mount() {
    let world = world_with_a_directory();
    let (home, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mount = Arc::new(world.mount_with(journalled(home.path())).await);
    let gate = Gate::closed();
    world.faults.inject(On::operation("DeleteObjects").times(1).hold_request(&gate));
    let _never_ends = begin(&mount).await;
    eventually("it is about to delete", async || record(home.path()).contains("deleting")).await;
    // What the process would leave behind if it died now.
    leave(home.path(), left.path());
    world.delete("a/old/1");
    world.put("a/old/2", "somebody has written this since then");

    let next = world.mount_with(journalled(left.path())).await;
    eventually("the rest is deleted", async || world.keys_below("a/old/").len() == 1).await;
    assert_eq!(world.stored("a/old/2").unwrap(), b"somebody has written this since then");
    assert_eq!(world.keys_below("a/new/").len(), OBJECTS);
    eventually("the record has gone", async || record(left.path()).is_empty()).await;
    assert_eq!(next.read_file("a/new/2").await.unwrap(), b"bytes of 2");
}

#[tokio::test]
async fn what_dies_among_its_copies_is_whole_where_it_was() {
    let world = world_with_a_directory();
    let (home, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mount = Arc::new(world.mount_with(journalled(home.path())).await);
    let gate = Gate::closed();
    world.faults.inject(On::operation("CopyObject").after(20).always().hold_request(&gate));
    let _never_ends = begin(&mount).await;
    eventually("some are copied", async || world.keys_below("a/new/").len() == 20).await;
    leave(home.path(), left.path());
    let next = world.mount_with(journalled(left.path())).await;
    eventually("the record has gone", async || record(left.path()).is_empty()).await;
    assert_eq!(next.list("a/old").await.unwrap().len(), OBJECTS);
    assert_eq!((world.keys_below("a/old/").len(), world.keys_below("a/new/").len()), (OBJECTS, 20));
}

#[tokio::test]
async fn the_right_to_delete_below_a_directory_is_enough_to_move_it() {
    let world = world_with_a_directory();
    let mount = world.mount().await;
    let arn = "arn:aws:s3:::SampleBucketA";
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:PutObjectAcl"], "Resource": format!("{arn}/*")},
        {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": format!("{arn}/old/*")},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": arn},
    ]});
    use s3xmount::emulator::demo;
    world.directory.set_role_policies(demo::ACCOUNT_A, demo::ROLE, &[policy]);
    world.forget_requests();
    mount.rename("a/old", "a/new").await.unwrap();
    assert_eq!(world.keys_below("a/new/").len(), OBJECTS);
    world.forget_requests();
    assert_eq!(failure(mount.rename("a/new", "a/newer").await), Kind::Denied);
    assert_eq!(world.count("CopyObject"), 0, "nothing was copied");
}

/// All of it would have the emulator digest five gigabytes, so that S3 says no in the end.
#[tokio::test]
async fn what_is_too_large_for_one_copy_is_copied_in_parts_side_by_side_or_not_at_all() {
    let world = World::new();
    let size = (5 << 30) + 12_345;
    let bytes = bytes::Bytes::from(crate::support::pattern(9, 1 << 20));
    world.seed_content("SampleBucketA", "huge", Content::repeated(&bytes, size), Default::default());
    let mount = Arc::new(world.mount().await);
    let gate = Gate::closed();
    world.faults.inject(On::operation("UploadPartCopy").always().hold_request(&gate));
    world.faults.inject(On::operation("UploadPartCopy").always().reject(403, "AccessDenied"));
    let mut moving = JoinSet::new();
    let mover = Arc::clone(&mount);
    moving.spawn(async move { mover.rename("a/huge", "b/moved").await });
    eventually("all parts are asked for", async || world.count("UploadPartCopy") == 21).await;
    gate.open();
    assert_eq!(failure(moving.join_next().await.unwrap().unwrap()), Kind::CrossDevice);
    assert!(world.uploads("SampleBucketB").is_empty(), "what was begun is given up");
    assert!(world.object_at("a/huge").is_some() && world.object_at("b/moved").is_none());
}

fn journalled(directory: &Path) -> Options {
    Options { journal: Some(directory.to_owned()), ..Options::default() }
}

/// What is written down of moves.
fn record(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory.join("moves")).into_iter().flatten();
    let read = entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    read.collect()
}

fn leave(from: &Path, onto: &Path) {
    std::fs::create_dir(onto.join("moves")).unwrap();
    for entry in std::fs::read_dir(from.join("moves")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, onto.join("moves").join(path.file_name().unwrap())).unwrap();
    }
}
