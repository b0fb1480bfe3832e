//! How files are written, here and for everybody else.

use s3xmount::emulator::{CannedAcl, On, demo};
use s3xmount::error::Kind;

use super::mode;
use crate::support::{How, MIB, World, eventually, failure, pattern};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_costs_one_request_and_is_there_for_everybody() {
    let world = World::new();
    let mount = world.mount().await;
    assert!(!mount.exists("a/new.txt").await);
    world.forget_requests();
    mount.write_file("a/new.txt", b"hello").await.unwrap();
    assert_eq!((world.count("PutObject"), world.requests()), (1, 1));
    assert_eq!(world.stored("a/new.txt").unwrap(), b"hello");
    assert_eq!(mount.read_file("a/new.txt").await.unwrap(), b"hello");
    assert_eq!(mount.stat("a/new.txt").await.unwrap().size, 5);
    assert!(mount.list("a").await.unwrap().contains(&"new.txt".to_owned()));
    assert_eq!(world.mount().await.read_file("a/new.txt").await.unwrap(), b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwritten_file_has_nothing_of_the_old_one() {
    let world = World::new();
    let mount = world.mount().await;
    mount.write_file("a/f", b"a long first version").await.unwrap();
    mount.write_file("a/f", b"short").await.unwrap();
    assert_eq!(world.stored("a/f").unwrap(), b"short");
    assert_eq!(mount.read_file("a/f").await.unwrap(), b"short");
    assert_eq!(mount.stat("a/f").await.unwrap().size, 5);
    mount.write_file("a/f", b"").await.unwrap();
    assert_eq!((world.stored("a/f").unwrap(), mount.read_file("a/f").await.unwrap()), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn appending_adds_to_what_is_there() {
    let world = World::new();
    let mount = world.mount().await;
    mount.append("a/log", b"one\n").await.unwrap();
    mount.append("a/log", b"two\n").await.unwrap();
    world.put("a/theirs", "three\n");
    mount.append("a/theirs", b"four\n").await.unwrap();
    assert_eq!(world.stored("a/log").unwrap(), b"one\ntwo\n");
    assert_eq!(world.stored("a/theirs").unwrap(), b"three\nfour\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_cut_and_stretched() {
    let world = World::new();
    let mount = world.mount().await;
    world.put("a/f", "0123456789");
    for (size, expected) in [(4, "0123"), (6, "0123\0\0"), (0, ""), (3, "\0\0\0")] {
        assert_eq!(mount.truncate("a/f", size).await.unwrap().size, size);
        assert_eq!(world.stored("a/f").unwrap(), expected.as_bytes(), "to {size}");
        assert_eq!(mount.read_file("a/f").await.unwrap(), expected.as_bytes(), "to {size}");
    }
    let file = mount.open("a/f", How::Edit).await.unwrap();
    file.write(0, b"abcdef").await.unwrap();
    file.truncate(2).await.unwrap();
    assert_eq!(file.stat().await.unwrap().size, 2);
    file.write(4, b"x").await.unwrap();
    file.close().await.unwrap();
    assert_eq!(world.stored("a/f").unwrap(), b"ab\0\0x", "what was cut off does not come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_stretched_and_cut_back_is_closed_like_any_other() {
    let world = World::new();
    let mount = world.mount().await;
    world.put("a/f", "0123456789");
    let file = mount.open("a/f", How::Edit).await.unwrap();
    file.truncate(20).await.unwrap();
    file.truncate(10).await.unwrap();
    world.forget_requests();
    file.close().await.unwrap();
    assert_eq!((world.stored("a/f").unwrap(), world.requests()), (b"0123456789".to_vec(), 0));
    assert!(mount.set_aside().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_reads_as_zeros() {
    let world = World::new();
    let mount = world.mount().await;
    let file = mount.open("a/sparse", How::Overwrite).await.unwrap();
    file.write(3 * MIB as u64, b"end").await.unwrap();
    assert_eq!(file.read(0, 16).await.unwrap(), [0; 16]);
    file.write(10, b"begin").await.unwrap();
    file.close().await.unwrap();
    let mut expected = vec![0; 3 * MIB];
    expected[10..15].copy_from_slice(b"begin");
    expected.extend(b"end");
    assert!(world.stored("a/sparse").unwrap() == expected);
    assert!(mount.read_file("a/sparse").await.unwrap() == expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_in_the_middle_keeps_the_rest() {
    let world = World::new();
    let mount = world.mount().await;
    let mut expected = pattern(1, 20 * MIB);
    world.put("a/big", expected.clone());
    let file = mount.open("a/big", How::Edit).await.unwrap();
    file.write(9 * MIB as u64 + 7, b"edited").await.unwrap();
    expected[9 * MIB + 7..9 * MIB + 13].copy_from_slice(b"edited");
    assert!(file.read_all().await.unwrap() == expected, "before the commit");
    file.close().await.unwrap();
    assert!(world.stored("a/big").unwrap() == expected);
    assert!(mount.read_file("a/big").await.unwrap() == expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_reads_back_before_anybody_else_has_it() {
    let world = World::new();
    let mount = world.mount().await;
    let file = mount.open("a/f", How::MakeNew).await.unwrap();
    file.write(0, b"hello").await.unwrap();
    assert_eq!(file.read_all().await.unwrap(), b"hello");
    assert_eq!(mount.read_file("a/f").await.unwrap(), b"hello", "through another handle");
    assert_eq!(mount.stat("a/f").await.unwrap().size, 5);
    assert!(mount.list("a").await.unwrap().contains(&"f".to_owned()));
    assert_eq!(world.stored("a/f"), None);
    file.close().await.unwrap();
    assert_eq!(world.stored("a/f").unwrap(), b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_that_was_written_is_read_without_being_fetched() {
    let world = World::new();
    let mount = world.mount().await;
    mount.write_file("a/first", b"first").await.unwrap();
    assert_eq!(mount.read_file("a/first").await.unwrap(), b"first");
    assert_eq!(world.count("GetObject"), 1, "S3 says whether we may");
    let asked = ["object.tmp", "object"].map(|key| {
        world.faults.inject(On::operation("GetObject").key(key).always().reject(403, "AccessDenied"))
    });
    mount.write_file("a/object.tmp", b"written a moment ago").await.unwrap();
    assert_eq!(mount.read_file("a/object.tmp").await.unwrap(), b"written a moment ago");
    mount.rename("a/object.tmp", "a/object").await.unwrap();
    assert_eq!(mount.read_file("a/object").await.unwrap(), b"written a moment ago", "and by another name");
    mount.write_file("a/object", b"and once more").await.unwrap();
    assert_eq!(mount.read_file("a/object").await.unwrap(), b"and once more");
    assert_eq!(asked.map(|asked| asked.strikes()), [0, 0]);
    world.faults.clear();

    // Another file of the same name, of which S3 has nothing yet.
    mount.remove("a/object").await.unwrap();
    let file = mount.open("a/object", How::MakeNew).await.unwrap();
    file.write(0, b"made anew").await.unwrap();
    assert_eq!(mount.read_file("a/object").await.unwrap(), b"made anew");
    file.close().await.unwrap();
    assert_eq!(mount.read_file("a/object").await.unwrap(), b"made anew");

    world.put("a/object", "by others");
    eventually("an open asks S3", || async {
        mount.read_file("a/object").await.is_ok_and(|bytes| bytes == b"by others")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_on_one_file_write_one_file() {
    let world = World::new();
    let mount = world.mount().await;
    world.put("a/f", "..........");
    let one = mount.open("a/f", How::Edit).await.unwrap();
    let other = mount.open("a/f", How::Edit).await.unwrap();
    let reader = mount.open("a/f", How::Read).await.unwrap();
    one.write(0, b"one").await.unwrap();
    other.write(5, b"other").await.unwrap();
    one.close().await.unwrap();
    assert_eq!(reader.read_all().await.unwrap(), b"one..other");
    other.write(3, b"!").await.unwrap();
    other.close().await.unwrap();
    assert_eq!(world.stored("a/f").unwrap(), b"one!.other");
    assert_eq!(reader.read_all().await.unwrap(), b"one!.other", "also once nobody writes any more");
    reader.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_that_truncates_empties_a_file_that_is_being_written() {
    let world = World::new();
    let mount = world.mount().await;
    let one = mount.open("a/f", How::Overwrite).await.unwrap();
    one.write(0, b"a long first version").await.unwrap();
    let other = mount.open("a/f", How::Overwrite).await.unwrap();
    assert_eq!(other.stat().await.unwrap().size, 0);
    other.write(0, b"short").await.unwrap();
    other.close().await.unwrap();
    assert_eq!(world.stored("a/f").unwrap(), b"short");
    one.close().await.unwrap();
    assert_eq!(world.stored("a/f").unwrap(), b"short");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_before_the_first_write_asks_nothing_and_decides_nothing() {
    let world = World::new();
    let mount = world.mount().await;
    let file = mount.open("a/redirected", How::Overwrite).await.unwrap();
    file.flush().await.unwrap();
    assert_eq!((world.count("PutObject"), world.stored("a/redirected")), (0, None));
    file.write(0, b"output").await.unwrap();
    file.close().await.unwrap();
    assert_eq!((world.count("PutObject"), world.stored("a/redirected").unwrap()), (1, b"output".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_nobody_wrote_to_exists_when_it_is_closed_or_synced() {
    let world = World::new();
    let mount = world.mount().await;
    let synced = mount.open("a/synced", How::MakeNew).await.unwrap();
    synced.sync().await.unwrap();
    assert_eq!(world.stored("a/synced").unwrap(), b"");
    synced.close().await.unwrap();
    mount.open("a/closed", How::Overwrite).await.unwrap().close().await.unwrap();
    assert_eq!(world.stored("a/closed").unwrap(), b"");
    assert_eq!(mount.stat("a/closed").await.unwrap().size, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_make_a_file_exclusively_one_is_told_that_it_exists() {
    let world = World::new();
    let (ours, theirs) = (world.mount().await, world.mount().await);
    let one = ours.open("a/lock", How::MakeNew).await.unwrap();
    let other = theirs.open("a/lock", How::MakeNew).await.unwrap();
    one.flush().await.unwrap();
    assert_eq!(world.stored("a/lock").unwrap(), b"", "the name is claimed at the first flush");
    assert_eq!(failure(other.close().await), Kind::Exists);
    one.write(0, b"mine").await.unwrap();
    one.close().await.unwrap();
    assert_eq!(world.stored("a/lock").unwrap(), b"mine");
    assert_eq!(theirs.read_file("a/lock").await.unwrap(), b"mine", "the loser sees the winner's");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_written_belongs_to_the_owner_of_the_bucket() {
    let world = World::new();
    let mount = world.mount().await;
    let large = pattern(2, 17 * MIB);
    mount.write_file("a/small", b"small").await.unwrap();
    mount.write_file("a/large", &large).await.unwrap();
    assert!(world.count("UploadPart") >= 2 && world.count("CompleteMultipartUpload") == 1);
    assert!(world.stored("a/large").unwrap() == large);
    mount.write_file("a/renamed before", b"x").await.unwrap();
    mount.rename("a/renamed before", "b/renamed").await.unwrap();
    mount.write_file("a/described", b"x").await.unwrap();
    mount.change("a/described", mode(0o600)).await.unwrap();
    mount.append("a/large", b"tail").await.unwrap();
    mount.make_directory("a/directory").await.unwrap();
    for path in ["a/small", "a/large", "b/renamed", "a/described", "a/directory/"] {
        let object = world.object_at(path).unwrap();
        assert_eq!(
            (object.acl, object.owner),
            (CannedAcl::BucketOwnerFullControl, demo::ACCOUNT_B),
            "{path}"
        );
    }
    assert_eq!((world.uploads(demo::BUCKETS[0]).len(), mount.set_aside().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_was_made_is_there_for_all_who_open_it_from_then_on() {
    let world = World::new();
    let mount = std::sync::Arc::new(world.mount().await);
    for round in 0..15 {
        let path = format!("a/f{round}");
        let made = mount.open(&path, How::Overwrite).await.unwrap().close_early().await.unwrap();
        let mut at_work = tokio::task::JoinSet::new();
        at_work.spawn(async move { made.await.unwrap() });
        for _ in 0..8 {
            let (mount, path) = (std::sync::Arc::clone(&mount), path.clone());
            at_work.spawn(async move {
                for _ in 0..25 {
                    let ino = mount.stat(&path).await.unwrap().ino;
                    let access = s3xmount::fs::Access { read: true, write: true };
                    let options = s3xmount::fs::OpenOptions { access, truncate: false, exclusive: false };
                    let opened = mount.filesystem().open(ino, options).await.unwrap();
                    mount.filesystem().flush(opened.handle).await.unwrap();
                    mount.filesystem().release(opened.handle).await.unwrap();
                }
            });
        }
        while let Some(done) = at_work.join_next().await {
            done.unwrap();
        }
    }
}
