//! Files that are removed or replaced in this mount while they are open: whoever has one goes on with it.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::time::Duration;

use s3xmount::emulator::demo;
use s3xmount::error::Kind;
use s3xmount::write;

use crate::support::{How, MIB, Options, World, eventually, failure, pattern};

#[tokio::test]
async fn readers_go_on_when_the_name_is_removed() {
    let world = World::new();
    let bytes = pattern(1, 20 * MIB + 12_345);
    world.put("a/log", bytes.clone());
    let mount = world.mount().await;
    let file = mount.open("a/log", How::Read).await.unwrap();
    assert_eq!(file.read(0, 10).await.unwrap(), bytes[..10]);
    mount.remove("a/log").await.unwrap();
    assert!(world.stored("a/log").is_none() && !mount.exists("a/log").await);

    let shown = file.stat().await.unwrap();
    assert_eq!((shown.links, shown.size), (0, bytes.len() as u64));
    assert!(file.read_all().await.unwrap() == bytes, "all of it, and nothing else");
    assert_eq!(file.read(bytes.len() as u64 - 5, 100).await.unwrap(), bytes[bytes.len() - 5..]);
    file.close().await.unwrap();
}

#[tokio::test]
async fn readers_go_on_when_another_file_takes_the_name() {
    let world = World::new();
    world.put("a/f", "the old one");
    world.put("a/new", "the new one, which is longer");
    let mount = world.mount().await;
    let file = mount.open("a/f", How::Read).await.unwrap();
    mount.rename("a/new", "a/f").await.unwrap();
    assert_eq!(file.read_all().await.unwrap(), b"the old one");
    assert_eq!(file.stat().await.unwrap().size, 11);
    assert_eq!(mount.read_file("a/f").await.unwrap(), b"the new one, which is longer");
    file.close().await.unwrap();
}

#[tokio::test]
async fn an_edited_file_that_is_removed_shows_old_bytes_and_new_ones_to_the_end() {
    let world = World::new();
    world.put("a/f", "0123456789");
    let mount = world.mount().await;
    let reader = mount.open("a/f", How::Read).await.unwrap();
    let writer = mount.open("a/f", How::Edit).await.unwrap();
    writer.write(2, b"xx").await.unwrap();
    mount.remove("a/f").await.unwrap();
    writer.write(5, b"yy").await.unwrap();
    assert_eq!(writer.read_all().await.unwrap(), b"01xx4yy789");
    writer.close().await.unwrap();
    assert_eq!(reader.read_all().await.unwrap(), b"01xx4yy789", "what was written outlives its writer");
    reader.close().await.unwrap();
    assert!(world.stored("a/f").is_none(), "nobody brings it back");
}

#[tokio::test]
async fn a_file_that_nobody_has_open_is_not_fetched_to_be_removed() {
    let world = World::new();
    world.put("a/f", pattern(1, MIB));
    let mount = world.mount().await;
    mount.read_file("a/f").await.unwrap();
    world.forget_requests();
    mount.remove("a/f").await.unwrap();
    assert_eq!(world.count("GetObject"), 0);
}

#[tokio::test]
async fn what_is_too_large_to_be_kept_is_stale_and_removed_all_the_same() {
    let world = World::new();
    world.put("a/huge", vec![0; (256 << 20) + 1]);
    let mount = world.mount().await;
    let file = mount.open("a/huge", How::Read).await.unwrap();
    world.forget_requests();
    mount.remove("a/huge").await.unwrap();
    assert_eq!(world.count("GetObject"), 0);
    assert_eq!(failure(file.read(100 << 20, 10).await), Kind::Changed);
    file.close().await.unwrap();
}

#[tokio::test]
async fn nothing_is_left_of_a_removed_file_when_its_last_reader_closes_it() {
    let world = World::new();
    let mount = world.mount_with(Options { lifetime: Duration::ZERO, ..Options::default() }).await;
    let writer = mount.open("a/f", How::MakeNew).await.unwrap();
    writer.write(0, b"removed").await.unwrap();
    let (reader, ino) = (mount.open("a/f", How::Read).await.unwrap(), writer.ino);
    mount.remove("a/f").await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(reader.read_all().await.unwrap(), b"removed");
    reader.close().await.unwrap();
    // The kernel lets go of its inode, and somebody makes a file of that name, which gets the number.
    mount.filesystem().forget(ino, 2);
    world.put("a/f", "made by others");
    assert_eq!(mount.stat("a/f").await.unwrap().ino, ino);
    assert_eq!(mount.read_file("a/f").await.unwrap(), b"made by others");
}

#[tokio::test]
async fn what_is_only_in_an_unfinished_upload_is_kept_for_those_who_have_it_open() {
    let world = World::new();
    let bytes = pattern(2, 40 * MIB);
    // All but the first part goes as soon as it has arrived.
    let writing = |writing| write::Options { staging_bytes_max: 0, ..writing };
    let mount = world.mount_with(Options { writing, ..Options::default() }).await;
    for is_replaced in [false, true] {
        world.forget_requests();
        let file = mount.open("a/f", How::Overwrite).await.unwrap();
        file.write(0, &bytes).await.unwrap();
        eventually("parts have made room", async || mount.staged_bytes() < 20 * MIB as u64).await;
        match is_replaced {
            true => {
                mount.write_file("a/other", b"other").await.unwrap();
                mount.rename("a/other", "a/f").await.unwrap();
            }
            false => mount.remove("a/f").await.unwrap(),
        }
        assert_eq!(world.count("CompleteMultipartUpload"), 1);
        file.write(30 * MIB as u64, b"still written").await.unwrap();
        let read = file.read_all().await.unwrap();
        assert!(read[..30 * MIB] == bytes[..30 * MIB] && read[30 * MIB..].starts_with(b"still written"));
        file.close().await.unwrap();
        let left = if is_replaced { Some(b"other".to_vec()) } else { None };
        assert_eq!(world.stored("a/f"), left);
    }
    assert!(mount.set_aside().is_empty() && world.uploads(demo::BUCKETS[0]).is_empty());
}
