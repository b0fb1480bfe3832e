//! Changes of mode, owner and times: they wait for each other, show at once, and are not lost.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use s3xmount::emulator::demo::Rights;
use s3xmount::emulator::faults::{Gate, On};
use s3xmount::error::Kind;
use s3xmount::fs::{AttributeChange, Setting};
use tokio::task::JoinSet;

use crate::support::{How, MIB, Mount, Options, THREE, World, eventually, failure, pattern};

pub(crate) fn mode(mode: u32) -> AttributeChange {
    AttributeChange { mode: Some(mode), ..Default::default() }
}

fn owner(uid: u32, gid: u32) -> AttributeChange {
    AttributeChange { uid: Some(uid), gid: Some(gid), ..Default::default() }
}

fn time(seconds: u64) -> AttributeChange {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    AttributeChange { mtime: Some(time), atime: Some(time), ..Default::default() }
}

/// What an object says of itself.
pub(crate) fn noted(world: &World, path: &str, name: &str) -> Option<String> {
    world.object_at(path)?.attributes.metadata.get(name).cloned()
}

/// A mount that has seen that S3 copies in both buckets, and that it may write there.
pub(crate) async fn at_work(world: &World, options: Options) -> Mount {
    let mount = world.mount_with(options).await;
    for path in ["a/probe", "b/probe"] {
        mount.write_file(path, b"1").await.unwrap();
        mount.change(path, mode(0o600)).await.unwrap();
    }
    world.forget_requests();
    mount
}

#[tokio::test]
async fn what_s3_copied_for_an_open_file_shows_that_the_next_change_may_wait() {
    let world = World::new();
    let mount = world.mount().await;
    for (path, requests) in [("a/f", 1), ("a/g", 0)] {
        let file = mount.open(path, How::Edit).await.unwrap();
        file.write(0, b"bytes").await.unwrap();
        file.flush().await.unwrap();
        world.forget_requests();
        file.change(mode(0o640)).await.unwrap();
        assert_eq!((world.count("CopyObject"), world.requests()), (requests, requests), "{path}");
        file.close().await.unwrap();
    }
}

#[tokio::test]
async fn changes_that_follow_each_other_are_told_s3_once() {
    let world = World::new();
    let mount = at_work(&world, Options::default()).await;
    mount.write_file("a/f", b"bytes").await.unwrap();
    world.forget_requests();
    mount.change("a/f", owner(7, 8)).await.unwrap();
    mount.change("a/f", time(1_000_000_000)).await.unwrap();
    mount.change("a/f", mode(0o4751)).await.unwrap();
    assert_eq!(world.requests(), 0);
    let shown = mount.stat("a/f").await.unwrap();
    assert_eq!((shown.mode, shown.uid, shown.gid), (0o4751, 7, 8), "they show at once");

    mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!((world.count("CopyObject"), world.requests()), (1, 1));
    let there = ["mode", "uid", "gid", "mtime"].map(|name| noted(&world, "a/f", name).unwrap());
    assert_eq!(there, ["35305", "7", "8", "1000000000"]);
    mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!(world.requests(), 1, "nothing is left to be told");
    assert_eq!(mount.read_file("a/f").await.unwrap(), b"bytes");
}

#[tokio::test]
async fn they_are_told_after_a_moment() {
    let world = World::new();
    let options = Options { describe_after: Duration::from_millis(1), ..Options::default() };
    let mount = at_work(&world, options).await;
    mount.write_file("a/f", b"bytes").await.unwrap();
    mount.change("a/f", mode(0o640)).await.unwrap();
    eventually("the mode is in S3", async || noted(&world, "a/f", "mode").unwrap() == "33184").await;
}

#[tokio::test]
async fn what_rsync_does_costs_one_put_one_copy_one_delete() {
    let world = World::new();
    let mount = at_work(&world, Options::default()).await;
    mount.make_directory("a/d").await.unwrap();
    mount.write_file("a/d/first", b"1").await.unwrap();
    mount.rename("a/d/first", "a/d/second").await.unwrap();
    for early in [true, false] {
        world.forget_requests();
        let file = mount.open("a/d/.f.tmp", How::MakeNew).await.unwrap();
        file.write(0, b"bytes").await.unwrap();
        let release = file.close_early().await.unwrap();
        // The kernel tells us of the last close when it likes to.
        let release = match early {
            true => {
                release.await.unwrap();
                None
            }
            false => Some(release),
        };
        mount.change("a/d/.f.tmp", owner(7, 8)).await.unwrap();
        mount.change("a/d/.f.tmp", time(1_000_000_000)).await.unwrap();
        mount.change("a/d/.f.tmp", mode(0o640)).await.unwrap();
        mount.rename("a/d/.f.tmp", "a/d/f").await.unwrap();
        if let Some(release) = release {
            release.await.unwrap();
        }
        mount.namespace().tell_descriptions().await.unwrap();
        let counts = ["PutObject", "CopyObject", "DeleteObject"].map(|operation| world.count(operation));
        assert_eq!((counts, world.requests()), ([1, 1, 1], 3), "released early: {early}");
        assert_eq!(noted(&world, "a/d/f", "mode").unwrap(), "33184");
        assert_eq!(noted(&world, "a/d/f", "uid").unwrap(), "7");
        let shown = mount.stat("a/d/f").await.unwrap();
        assert_eq!((shown.mode, shown.uid), (0o640, 7));
        mount.remove("a/d/f").await.unwrap();
    }
}

#[tokio::test]
async fn whoever_writes_takes_them_along() {
    let world = World::new();
    let mount = at_work(&world, Options::default()).await;
    mount.write_file("a/f", b"bytes").await.unwrap();
    mount.change("a/f", mode(0o640)).await.unwrap();
    world.forget_requests();
    mount.append("a/f", b" and more").await.unwrap();
    mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!((world.count("PutObject"), world.count("CopyObject")), (1, 0));
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33184");

    mount.change("a/f", mode(0o600)).await.unwrap();
    let file = mount.open("a/f", How::Edit).await.unwrap();
    file.close().await.unwrap();
    mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33152", "also where nothing was written after all");
    assert_eq!(world.stored("a/f").unwrap(), b"bytes and more");
}

#[tokio::test]
async fn of_what_is_removed_or_replaced_nothing_is_told() {
    let world = World::new();
    let mount = at_work(&world, Options::default()).await;
    for name in ["a/gone", "a/replaced", "a/new"] {
        mount.write_file(name, b"bytes").await.unwrap();
    }
    mount.change("a/gone", mode(0o640)).await.unwrap();
    mount.change("a/replaced", mode(0o666)).await.unwrap();
    world.forget_requests();
    mount.remove("a/gone").await.unwrap();
    mount.rename("a/new", "a/replaced").await.unwrap();
    mount.namespace().tell_descriptions().await.unwrap();
    assert!(world.stored("a/gone").is_none(), "nothing brings it back");
    assert_eq!(noted(&world, "a/replaced", "mode").unwrap(), "33188");
    assert_eq!(world.count("CopyObject"), 1, "that of the rename");
}

#[tokio::test]
async fn what_somebody_else_has_put_there_meanwhile_is_left_as_it_is() {
    let world = World::new();
    let mount = at_work(&world, Options::default()).await;
    mount.write_file("a/f", b"mine").await.unwrap();
    mount.change("a/f", mode(0o640)).await.unwrap();
    world.put("a/f", "theirs, and longer");
    assert_eq!(failure(mount.namespace().tell_descriptions().await), Kind::Changed);
    assert_eq!(world.stored("a/f").unwrap(), b"theirs, and longer");
    assert_eq!(noted(&world, "a/f", "mode"), None);
    assert_eq!(mount.stat("a/f").await.unwrap().size, 18, "and is what shows now");
}

#[tokio::test]
async fn what_is_set_while_a_commit_is_under_way_outlives_it() {
    let world = World::new();
    let mount = Arc::new(at_work(&world, Options::default()).await);
    mount.write_file("a/f", b"bytes").await.unwrap();
    let gate = Gate::closed();
    world.faults.inject(On::operation("PutObject").key("f").times(1).hold_answer(&gate));
    let mut writing = JoinSet::new();
    let writer = Arc::clone(&mount);
    writing.spawn(async move { writer.write_file("a/f", b"other bytes").await });
    eventually("S3 has them", async || world.stored("a/f").unwrap() == b"other bytes").await;
    let changing = mount.change("a/f", mode(0o640));
    let opening = async { gate.open() };
    let (changed, ()) = tokio::join!(changing, opening);
    changed.unwrap();
    writing.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(mount.stat("a/f").await.unwrap().mode, 0o640);
    mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33184");
    assert_eq!(world.stored("a/f").unwrap(), b"other bytes");
}

#[tokio::test]
async fn fsync_waits_until_they_are_told() {
    let world = World::new();
    let mount = at_work(&world, Options::default()).await;
    mount.write_file("a/f", b"bytes").await.unwrap();
    let file = mount.open("a/f", How::Read).await.unwrap();
    file.change(mode(0o640)).await.unwrap();
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33188");
    file.sync().await.unwrap();
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33184");
    file.close().await.unwrap();
    mount.change("a/f", mode(0o600)).await.unwrap();
    mount.filesystem().finish().await;
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33152", "and so does unmount");
}

#[tokio::test]
async fn a_reader_goes_on_where_the_copy_has_another_etag() {
    let world = World::new();
    let mount = at_work(&world, Options::default()).await;
    let bytes = pattern(3, 20 * MIB);
    mount.write_file("a/large", &bytes).await.unwrap();
    let before = world.object_at("a/large").unwrap().etag.clone();
    let file = mount.open("a/large", How::Read).await.unwrap();
    assert_eq!(file.read(0, 10).await.unwrap(), bytes[..10]);
    mount.change("a/large", mode(0o640)).await.unwrap();
    mount.namespace().tell_descriptions().await.unwrap();
    assert_ne!(world.object_at("a/large").unwrap().etag, before, "it was uploaded in parts");
    assert!(file.read_all().await.unwrap() == bytes);
    file.close().await.unwrap();
}

#[tokio::test]
async fn the_marker_of_a_directory_is_told_once_too() {
    let world = World::new();
    let mount = at_work(&world, Options::default()).await;
    mount.make_directory("a/d").await.unwrap();
    world.forget_requests();
    mount.change("a/d", owner(7, 8)).await.unwrap();
    mount.change("a/d", mode(0o700)).await.unwrap();
    mount.change("a/d", time(1_000_000_000)).await.unwrap();
    assert_eq!(world.requests(), 0);
    mount.write_file("a/d/f", b"1").await.unwrap();
    mount.change("a/d/f", mode(0o600)).await.unwrap();
    mount.rename("a/d", "a/e").await.unwrap();
    let there = ["mode", "uid", "mtime"].map(|name| noted(&world, "a/e/", name).unwrap());
    assert_eq!(there, ["16832", "7", "1000000000"], "a rename of the directory takes all below it along");
    assert_eq!(noted(&world, "a/e/f", "mode").unwrap(), "33152");

    mount.make_directory("a/short").await.unwrap();
    mount.change("a/short", mode(0o700)).await.unwrap();
    mount.remove_directory("a/short").await.unwrap();
    mount.namespace().tell_descriptions().await.unwrap();
    assert!(world.object_at("a/short/").is_none(), "nothing brings it back");
}

#[tokio::test]
async fn extended_attributes_wait_with_them() {
    let world = World::new();
    let mount = at_work(&world, Options::default()).await;
    mount.write_file("a/f", b"bytes").await.unwrap();
    let ino = mount.stat("a/f").await.unwrap().ino;
    world.forget_requests();
    mount.change("a/f", mode(0o640)).await.unwrap();
    mount.filesystem().set_xattr(ino, "user.note", b"mine", Setting::Either).await.unwrap();
    mount.change("a/f", mode(0o600)).await.unwrap();
    assert_eq!(mount.filesystem().xattr(ino, "user.note").await.unwrap(), b"mine");
    mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!(world.count("CopyObject"), 1);
    let fresh = world.mount().await;
    let ino = fresh.stat("a/f").await.unwrap().ino;
    assert_eq!(fresh.filesystem().xattr(ino, "user.note").await.unwrap(), b"mine");
    assert_eq!(fresh.stat("a/f").await.unwrap().mode, 0o600);
}

#[tokio::test]
async fn what_a_dead_process_has_left_is_told_by_the_next_mount() {
    let world = World::new();
    let home = tempfile::tempdir().unwrap();
    let options = || Options { journal: Some(home.path().to_owned()), ..Options::default() };
    let mount = at_work(&world, options()).await;
    for name in ["a/f", "a/replaced"] {
        mount.write_file(name, b"bytes").await.unwrap();
        mount.change(name, mode(0o640)).await.unwrap();
    }
    mount.make_directory("a/d").await.unwrap();
    mount.change("a/d", mode(0o700)).await.unwrap();
    // It never comes to an end: what it promised lies in the directory alone.
    std::mem::forget(mount);
    world.put("a/replaced", "by others");

    let next = world.mount_with(options()).await;
    assert_eq!(next.stat("a/f").await.unwrap().mode, 0o640, "it shows from the beginning");
    eventually("all is told", async || {
        std::fs::read_dir(home.path().join("descriptions")).unwrap().count() == 0
    })
    .await;
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33184");
    assert_eq!(noted(&world, "a/d/", "mode").unwrap(), "16832");
    assert_eq!(world.stored("a/replaced").unwrap(), b"by others");
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_to_whoever_asks() {
    let world = World::with(Rights::Full);
    let mount = world.mount().await;
    world.put("a/f", "bytes");
    mount.stat("a/f").await.unwrap();
    world.role_may(&["s3:GetObject"], &["*"]);
    assert_eq!(failure(mount.change("a/f", mode(0o640)).await), Kind::Denied);
    world.role_may(THREE, &[]);
    mount.change("a/f", mode(0o640)).await.unwrap();
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33184", "at once, for it was not known to work");
}

/// A file whose mode was changed when it was allowed, and is refused when S3 hears of it.
async fn refused(world: &World, mount: &Mount) {
    mount.write_file("a/f", b"bytes").await.unwrap();
    mount.change("a/f", mode(0o600)).await.unwrap();
    let denied = On::operation("CopyObject").always().reject(403, "AccessDenied");
    world.faults.inject(denied);
    assert_eq!(failure(mount.namespace().tell_descriptions().await), Kind::Denied);
}

#[tokio::test]
async fn what_is_refused_later_is_kept_and_told() {
    let world = World::new();
    let mount = at_work(&world, Options::default()).await;
    refused(&world, &mount).await;
    assert_eq!(mount.stat("a/f").await.unwrap().mode, 0o644, "what S3 has is what shows");
    let kept = mount.namespace().refused_descriptions();
    assert_eq!((kept.len(), kept[0].key.as_str()), (1, "f"));
    assert!(kept[0].why.contains("AccessDenied"), "{}", kept[0].why);
    assert_eq!(failure(mount.open("a/f", How::Read).await.map(drop)), Kind::Denied, "the next open hears");
    assert_eq!(mount.read_file("a/f").await.unwrap(), b"bytes", "once");
    // Whoever ends the mount or moves the directory is not kept from it, and it is tried again.
    mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!(mount.namespace().refused_descriptions().len(), 1);
    world.faults.clear();
    mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33152");
    assert!(mount.namespace().refused_descriptions().is_empty());
    assert_eq!(mount.stat("a/f").await.unwrap().mode, 0o600);
}

#[tokio::test]
async fn what_is_refused_waits_for_the_next_mount() {
    let world = World::new();
    let journal = tempfile::tempdir().unwrap();
    let options = || Options { journal: Some(journal.path().to_owned()), ..Options::default() };
    let mount = at_work(&world, options()).await;
    refused(&world, &mount).await;
    world.faults.clear();
    let next = world.mount_with(options()).await;
    next.namespace().tell_descriptions().await.unwrap();
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33152");
}

#[tokio::test]
async fn what_is_refused_goes_along_with_a_rename() {
    let world = World::new();
    let mount = at_work(&world, Options::default()).await;
    refused(&world, &mount).await;
    world.faults.clear();
    mount.rename("a/f", "a/g").await.unwrap();
    assert_eq!(noted(&world, "a/g", "mode").unwrap(), "33152");
    assert!(mount.namespace().refused_descriptions().is_empty());
}

#[tokio::test]
async fn another_change_takes_the_place_of_what_is_refused() {
    let world = World::new();
    let mount = at_work(&world, Options::default()).await;
    refused(&world, &mount).await;
    world.faults.clear();
    mount.change("a/f", mode(0o640)).await.unwrap();
    mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33184");
    assert!(mount.namespace().refused_descriptions().is_empty());
}

#[tokio::test]
async fn what_is_refused_of_a_version_that_is_gone_is_dropped() {
    let world = World::new();
    let mount = at_work(&world, Options::default()).await;
    refused(&world, &mount).await;
    world.faults.clear();
    world.put("a/f", "by others");
    mount.namespace().tell_descriptions().await.unwrap();
    assert!(mount.namespace().refused_descriptions().is_empty());
    assert_eq!(world.stored("a/f").unwrap(), b"by others");
}

#[tokio::test]
async fn what_a_writer_set_last_and_s3_refuses_outlives_it() {
    let world = World::new();
    let mount = world.mount().await;
    let file = mount.open("a/f", How::Overwrite).await.unwrap();
    file.write(0, b"bytes").await.unwrap();
    file.flush().await.unwrap();
    world.faults.inject(On::operation("CopyObject").always().reject(403, "AccessDenied"));
    assert_eq!(
        failure(mount.change("a/f", mode(0o600)).await),
        Kind::Denied,
        "not known to be allowed, so at once"
    );
    assert_eq!(failure(file.close().await), Kind::Denied);
    assert_eq!(mount.namespace().refused_descriptions().len(), 1);
    assert!(mount.set_aside().is_empty(), "S3 has the bytes");
    world.faults.clear();
    mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33152");
}

#[tokio::test]
async fn three_rights_are_enough() {
    let world = World::with(Rights::Minimal);
    let mount = at_work(&world, Options::default()).await;
    mount.write_file("a/f", b"bytes").await.unwrap();
    world.forget_requests();
    mount.change("a/f", mode(0o640)).await.unwrap();
    mount.change("a/f", owner(7, 8)).await.unwrap();
    mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!((world.count("CopyObject"), world.requests()), (1, 1));
    assert_eq!(noted(&world, "a/f", "uid").unwrap(), "7");
}
