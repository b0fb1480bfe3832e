//! Files that are open here while others replace or delete them: what their names show, and what can be done to them.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use s3xmount::config::mount_point::is_mounted;
use s3xmount::emulator::RunningEmulator;
use s3xmount::emulator::demo::{self, Rights};
use s3xmount::error::Kind;
use s3xmount::fs::{AttributeChange, FileKind};

use crate::support::real::{Home, can_mount, umount};
use crate::support::{How, Mount, OWNER, Options, World, eventually, failure};

/// A mount that asks S3 about each name anew.
async fn forgetful(world: &World) -> Mount {
    world.mount_with(Options { lifetime: Duration::ZERO, ..Options::default() }).await
}

#[tokio::test]
async fn a_name_that_was_lost_shows_what_has_it_although_a_reader_stays() {
    let world = World::new();
    let mount = world.mount().await;
    let writer = mount.open("a/new", How::Edit).await.unwrap();
    writer.write(0, b"ours").await.unwrap();
    world.put("a/new", "theirs, and longer");
    assert_eq!(failure(writer.flush().await), Kind::Exists);
    let reader = mount.open("a/new", How::Read).await.unwrap();
    assert_eq!(failure(writer.close().await), Kind::Exists);
    assert_eq!(mount.stat("a/new").await.unwrap().size, 18);
    assert_eq!(failure(reader.read(0, 10).await), Kind::Changed, "what it was opened on is set aside");
    assert_eq!(mount.read_file("a/new").await.unwrap(), b"theirs, and longer");
    reader.close().await.unwrap();
}

#[tokio::test]
async fn a_reader_of_what_was_set_aside_is_told_so_when_its_name_is_made_anew() {
    let world = World::new();
    let mount = forgetful(&world).await;
    let writer = mount.open("a/new", How::Edit).await.unwrap();
    let reader = mount.open("a/new", How::Read).await.unwrap();
    writer.write(0, b"ours").await.unwrap();
    world.put("a/new", "theirs");
    assert_eq!(failure(writer.close().await), Kind::Exists);
    world.delete("a/new");
    let another = mount.open("a/new", How::Edit).await.unwrap();
    assert_eq!(failure(reader.read(0, 10).await), Kind::Changed, "not an empty file");
    another.close().await.unwrap();
    reader.close().await.unwrap();
}

#[tokio::test]
async fn a_mode_that_is_set_of_a_name_that_was_lost_goes_to_what_has_it() {
    let world = World::new();
    let mount = forgetful(&world).await;
    let writer = mount.open("a/new", How::Edit).await.unwrap();
    let reader = mount.open("a/new", How::Read).await.unwrap();
    writer.write(0, b"ours").await.unwrap();
    world.put("a/new", "theirs, and longer");
    assert_eq!(failure(writer.close().await), Kind::Exists);
    let private = AttributeChange { mode: Some(0o600), ..Default::default() };
    mount.change("a/new", private).await.unwrap();
    mount.namespace().tell_descriptions().await.unwrap();
    let shown = mount.stat("a/new").await.unwrap();
    assert_eq!((shown.size, shown.mode), (18, 0o600), "although a reader stays of what was set aside");
    assert_eq!(failure(reader.read(0, 10).await), Kind::Changed);
    reader.close().await.unwrap();
}

#[tokio::test]
async fn an_update_that_was_lost_shows_what_has_the_name_although_a_reader_stays() {
    let world = World::new();
    let mount = world.mount().await;
    world.put("a/log", "one\n");
    let writer = mount.open("a/log", How::Edit).await.unwrap();
    let reader = mount.open("a/log", How::Read).await.unwrap();
    assert_eq!(reader.read(0, 4).await.unwrap(), b"one\n");
    writer.write(4, b"two\n").await.unwrap();
    writer.change(AttributeChange { mode: Some(0o640), ..Default::default() }).await.unwrap();
    world.put("a/log", "theirs");
    assert_eq!(failure(writer.close().await), Kind::Changed);
    let shown = mount.stat("a/log").await.unwrap();
    assert_eq!((shown.size, shown.mode), (6, 0o644), "and no mode that was lost with the bytes");
    assert_eq!(failure(reader.read(0, 4).await), Kind::Changed, "never bytes of two versions");
    reader.close().await.unwrap();
}

#[tokio::test]
async fn what_a_name_shows_now_is_moved_whoever_reads_what_it_was() {
    let world = World::new();
    let mount = world.mount().await;
    world.put("a/old", "one");
    let reader = mount.open("a/old", How::Read).await.unwrap();
    assert_eq!(reader.read(0, 3).await.unwrap(), b"one");
    world.put("a/old", "another");
    mount.rename("a/old", "a/moved").await.unwrap();
    assert_eq!((world.stored("a/moved").unwrap(), world.stored("a/old")), (b"another".to_vec(), None));
    assert_eq!(mount.stat("a/moved").await.unwrap().size, 7);
    assert_eq!(failure(reader.read(0, 3).await), Kind::Changed, "never bytes of two versions");
    assert_eq!(mount.read_file("a/moved").await.unwrap(), b"another");
    reader.close().await.unwrap();
}

#[tokio::test]
async fn what_a_directory_has_now_is_moved_whoever_reads_what_it_was() {
    let world = World::new();
    let mount = world.mount().await;
    world.put("a/old/f", "one");
    world.put("a/old/g", "same");
    let (reader, other) =
        (mount.open("a/old/f", How::Read).await.unwrap(), mount.open("a/old/g", How::Read).await.unwrap());
    assert_eq!(reader.read(0, 3).await.unwrap(), b"one");
    assert_eq!(other.read(0, 2).await.unwrap(), b"sa");
    world.put("a/old/f", "another");
    mount.rename("a/old", "a/moved").await.unwrap();
    assert_eq!(failure(reader.read(0, 3).await), Kind::Changed, "never bytes of two versions");
    assert_eq!(other.read(2, 2).await.unwrap(), b"me", "and what is the same is read on");
    assert_eq!(mount.stat("a/moved/f").await.unwrap().size, 7);
    assert_eq!(mount.read_file("a/moved/f").await.unwrap(), b"another");
    reader.close().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn who_removes_a_file_in_the_making_sees_who_else_has_the_name() {
    let world = World::new();
    let mount = forgetful(&world).await;
    let writer = mount.open("a/new", How::Edit).await.unwrap();
    writer.write(0, b"ours").await.unwrap();
    world.put("a/new", "theirs");
    mount.remove("a/new").await.unwrap();
    assert_eq!(mount.read_file("a/new").await.unwrap(), b"theirs");
    writer.close().await.unwrap();
    assert_eq!(world.stored("a/new").unwrap(), b"theirs");
}

#[tokio::test]
async fn a_directory_that_went_with_its_last_object_shows_again_with_the_next() {
    let world = World::new();
    let mount = world.mount().await;
    world.put("a/d/e/f", "0123456789");
    let writer = mount.open("a/d/e/f", How::Overwrite).await.unwrap();
    writer.write(0, b"ours").await.unwrap();
    world.delete("a/d/e/f");
    assert_eq!(mount.list("a").await.unwrap(), ["reports/", "welcome.txt"]);
    writer.close().await.unwrap();
    assert_eq!(mount.list("a").await.unwrap(), ["d/", "reports/", "welcome.txt"]);
    assert_eq!(mount.read_file("a/d/e/f").await.unwrap(), b"ours");
}

#[tokio::test]
async fn a_change_of_mode_does_not_show_a_file_that_others_deleted() {
    let world = World::new();
    let mount = forgetful(&world).await;
    // The mount knows that it may write and copy here, so changes of modes may wait.
    mount.write_file("a/other", b"x").await.unwrap();
    mount.rename("a/other", "a/renamed").await.unwrap();
    world.put("a/file", "bytes");
    let reader = mount.open("a/file", How::Read).await.unwrap();
    world.delete("a/file");
    let changed = reader.change(AttributeChange { mode: Some(0o644), ..Default::default() }).await;
    assert!(matches!(failure(changed), Kind::NotFound | Kind::Changed));
    assert!(!mount.exists("a/file").await);
    reader.close().await.unwrap();
    assert!(world.object_at("a/file").is_none());
}

#[tokio::test]
async fn what_is_made_where_others_deleted_something_is_another_file() {
    let world = World::new();
    let mount = forgetful(&world).await;
    for (made, kind) in
        [("file", FileKind::Regular), ("directory", FileKind::Directory), ("link", FileKind::Symlink)]
    {
        let path = format!("a/{made}");
        world.put(&path, "0123456789");
        let reader = mount.open(&path, How::Read).await.unwrap();
        let writer = mount.open(&path, How::Edit).await.unwrap();
        assert_eq!(reader.read(0, 3).await.unwrap(), b"012");
        writer.write(0, b"ours").await.unwrap();
        world.delete(&path);
        let (parent, name) = mount.parent(&path).await.unwrap();
        match made {
            "file" => mount.write_file(&path, b"another").await.unwrap(),
            "directory" => mount.make_directory(&path).await.unwrap(),
            _ => drop(mount.filesystem().make_symlink(parent, &name, "another", OWNER).await.unwrap()),
        }
        let shown = mount.stat(&path).await.unwrap();
        assert_eq!(shown.kind, kind);
        assert_ne!(shown.ino, reader.ino, "the kernel must not share pages between them");
        assert_eq!(failure(writer.close().await), Kind::Changed, "{made}: and its bytes are set aside");
        assert_eq!(failure(reader.read(5, 3).await), Kind::Changed, "{made}");
        reader.close().await.unwrap();
        assert_eq!(mount.stat(&path).await.unwrap().ino, shown.ino, "{made} is there, whoever lost the name");
    }
    assert_eq!(mount.read_file("a/file").await.unwrap(), b"another");
    assert_eq!(mount.set_aside().len(), 3);
}

#[tokio::test]
async fn a_file_in_the_making_keeps_its_name_when_one_that_lost_it_fails() {
    let world = World::new();
    let mount = forgetful(&world).await;
    world.put("a/f", "0123456789");
    let old = mount.open("a/f", How::Edit).await.unwrap();
    old.write(0, b"ours").await.unwrap();
    world.delete("a/f");
    let new = mount.open("a/f", How::Edit).await.unwrap();
    new.write(0, b"new").await.unwrap();
    assert_eq!(failure(old.close().await), Kind::Changed);
    assert_eq!(mount.stat("a/f").await.unwrap().size, 3, "it shows as before");
    new.close().await.unwrap();
    assert_eq!(world.stored("a/f").unwrap(), b"new");
}

#[tokio::test]
async fn who_replaces_what_others_deleted_does_not_replace_what_was_made_here_since() {
    let world = World::new();
    let mount = forgetful(&world).await;
    world.put("a/f", "0123456789");
    let old = mount.open("a/f", How::Overwrite).await.unwrap();
    old.write(0, b"ours").await.unwrap();
    world.delete("a/f");
    mount.write_file("a/f", b"new").await.unwrap();
    assert_eq!(failure(old.close().await), Kind::Changed);
    assert_eq!((world.stored("a/f").unwrap(), mount.set_aside()), (b"new".to_vec(), vec![b"ours".to_vec()]));
}

/// The size that `ls -l` shows of a name.
async fn listed_size(mount: &Mount, directory: &str, name: &str) -> u64 {
    let (fs, ino) = (mount.filesystem(), mount.stat(directory).await.unwrap().ino);
    let handle = fs.open_directory(ino).unwrap();
    let entries = fs.read_directory_described(handle, 0).await.unwrap();
    fs.close_directory(handle);
    let found = entries.into_iter().find(|entry| entry.listed.name == name);
    found.unwrap().shown.unwrap().attributes.size
}

#[tokio::test]
async fn what_others_made_of_a_file_shows_although_a_reader_stays() {
    let world = World::new();
    world.put("a/log", "one\n");
    let mount = forgetful(&world).await;
    let reader = mount.open("a/log", How::Read).await.unwrap();
    let before = reader.stat().await.unwrap();
    assert_eq!(reader.read(0, 4).await.unwrap(), b"one\n");
    for (how, length) in [("its name", 10), ("its directory", 20), ("its name again", 30)] {
        world.put("a/log", vec![b'x'; length]);
        let size = match how {
            "its directory" => listed_size(&mount, "a", "log").await,
            _ => mount.stat("a/log").await.unwrap().size,
        };
        assert_eq!(size, length as u64, "by {how}");
        assert_eq!(mount.read_file("a/log").await.unwrap().len(), length, "by {how}");
        let mine = reader.stat().await.unwrap();
        assert_eq!((mine.ino, mine.size, mine.links), (before.ino, 4, 0), "by {how}: as on a disk");
        match reader.read(0, 4).await {
            Ok(bytes) => assert_eq!(bytes, b"one\n", "by {how}"),
            Err(error) => assert_eq!(error.kind(), Kind::Changed, "by {how}"),
        }
    }
    assert_ne!(mount.stat("a/log").await.unwrap().ino, before.ino, "whoever follows the name notices");
    reader.close().await.unwrap();
}

#[tokio::test]
async fn all_who_look_at_the_same_time_find_what_has_the_name_now() {
    let world = World::new();
    world.put("a/log", "one\n");
    let mount = forgetful(&world).await;
    let reader = mount.open("a/log", How::Read).await.unwrap();
    world.put("a/log", "another\n");
    let (one, two, three) = tokio::join!(mount.stat("a/log"), mount.stat("a/log"), mount.stat("a/log"));
    let [one, two, three] = [one, two, three].map(|shown| shown.unwrap());
    assert_eq!([one.size, two.size, three.size], [8; 3]);
    assert_eq!([two.ino, three.ino], [one.ino; 2]);
    assert_ne!(one.ino, reader.stat().await.unwrap().ino);
    reader.close().await.unwrap();
}

#[tokio::test]
async fn a_name_that_shows_a_file_that_is_open_lives_as_long_as_any_other() {
    let world = World::new();
    world.put("a/log", "one\n");
    let mount = world.mount().await;
    let reader = mount.open("a/log", How::Read).await.unwrap();
    world.put("a/log", "another\n");
    world.forget_requests();
    assert_eq!(mount.stat("a/log").await.unwrap().size, 4);
    assert_eq!(world.requests(), 0, "a minute");
    reader.close().await.unwrap();
}

#[tokio::test]
async fn a_version_that_was_made_here_takes_no_name_from_its_reader() {
    let world = World::new();
    world.put("a/log", "one\n");
    let mount = forgetful(&world).await;
    let reader = mount.open("a/log", How::Read).await.unwrap();
    let ino = reader.stat().await.unwrap().ino;
    let writer = mount.open("a/log", How::Edit).await.unwrap();
    writer.write(4, b"two\n").await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(mount.stat("a/log").await.unwrap().ino, ino);
    assert_eq!(reader.read(0, 10).await.unwrap(), b"one\ntwo\n");
    reader.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_follows_a_name_through_what_others_make_of_it() {
    if !can_mount() {
        return;
    }
    let (emulator, home) = (RunningEmulator::start(demo::world(Rights::Full)).unwrap(), Home::new());
    let (role, bucket) = (demo::role_arn(), demo::BUCKETS[0]);
    emulator.world().seed(bucket, "log", "one\n");
    let flags = ["--foreground", "--role-arn", &role, "--bucket", bucket, "--metadata-ttl", "0s"];
    let mut mount = home.command_of(&emulator, &flags).stdout(Stdio::null()).spawn().unwrap();
    eventually("it is mounted", async || is_mounted(&home.mount_point())).await;
    let log = home.mount_point().join(bucket).join("log");
    let printed = tempfile::NamedTempFile::new().unwrap();
    let mut tail = Command::new("tail")
        .args(["--lines=+1", "--sleep-interval=0.05", "-F"])
        .arg(&log)
        .stdout(printed.reopen().unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let has_printed = |text: &str| fs::read_to_string(printed.path()).unwrap() == text;
    eventually("tail has begun", async || has_printed("one\n")).await;
    emulator.world().seed(bucket, "log", "one\ntwo\n");
    eventually("it follows the name", async || has_printed("one\none\ntwo\n")).await;
    assert_eq!(fs::metadata(&log).unwrap().len(), 8);
    tail.kill().unwrap();
    tail.wait().unwrap();
    assert!(umount(&home.mount_point(), &[]));
    mount.wait().unwrap();
}
