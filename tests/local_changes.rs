//! What this mount does, seen through this mount, and then by everybody else.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::time::{Duration, SystemTime};

use s3xmount::emulator::{CannedAcl, On, demo};
use s3xmount::error::Kind;
use s3xmount::fs::{AttributeChange, Attributes, FileKind, Replace};

use crate::support::{How, MIB, OWNER, World, eventually, failure, pattern};

// ---- writing ----

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

// ---- directories ----

#[tokio::test(flavor = "multi_thread")]
async fn the_mount_point_lists_its_buckets_and_takes_nothing_else() {
    let world = World::new();
    let mount = world.mount().await;
    world.forget_requests();
    assert_eq!(mount.list("").await.unwrap(), ["a/", "b/"]);
    assert!(!mount.exists("c").await);
    assert_eq!(failure(mount.make_directory("c").await), Kind::NotPermitted);
    assert_eq!(failure(mount.write_file("c", b"x").await), Kind::NotPermitted);
    assert_eq!(failure(mount.rename("a", "c").await), Kind::NotPermitted);
    assert_eq!(failure(mount.remove_directory("a").await), Kind::NotPermitted);
    assert_eq!(world.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_come_from_prefixes_and_from_markers() {
    let world = World::new();
    let mount = world.mount().await;
    assert_eq!(mount.list("a").await.unwrap(), ["reports/", "welcome.txt"]);
    assert_eq!(mount.list("a/reports").await.unwrap(), ["2024/", "2025/", "readme.txt"]);
    assert_eq!(mount.list("b/inbox").await.unwrap(), [""; 0], "a marker is not its own entry");
    assert_eq!(mount.stat("b/inbox").await.unwrap().kind, FileKind::Directory);
    assert_eq!(failure(mount.list("a/nowhere").await), Kind::NotFound);
    assert_eq!(failure(mount.list("a/welcome.txt").await), Kind::NotDirectory);
    assert_eq!(failure(mount.stat("a/welcome.txt/x").await), Kind::NotDirectory);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_made_filled_emptied_and_removed() {
    let world = World::new();
    let mount = world.mount().await;
    mount.make_directory("a/d").await.unwrap();
    assert!(world.object_at("a/d/").is_some(), "its marker is what makes it last");
    assert_eq!(failure(mount.make_directory("a/d").await), Kind::Exists);
    assert_eq!(failure(mount.make_directory("a/welcome.txt").await), Kind::Exists);
    mount.write_file("a/d/f", b"x").await.unwrap();
    assert_eq!(failure(mount.remove_directory("a/d").await), Kind::NotEmpty);
    mount.remove("a/d/f").await.unwrap();
    assert_eq!(world.mount().await.list("a/d").await.unwrap(), [""; 0]);
    mount.remove_directory("a/d").await.unwrap();
    assert!(!mount.exists("a/d").await);
    assert_eq!(world.keys_below("a/d"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_a_file_that_is_being_written_is_not_empty() {
    let world = World::new();
    let mount = world.mount().await;
    mount.make_directory("a/d").await.unwrap();
    let file = mount.open("a/d/f", How::Overwrite).await.unwrap();
    assert_eq!(failure(mount.remove_directory("a/d").await), Kind::NotEmpty);
    file.close().await.unwrap();
    assert_eq!(world.stored("a/d/f").unwrap(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_which_an_empty_one_shows_is_not_empty() {
    let world = World::new();
    world.put("a/d/e/x", "x");
    let mount = world.mount().await;
    mount.remove("a/d/e/x").await.unwrap();
    assert_eq!(mount.list("a/d").await.unwrap(), ["e/"]);
    assert_eq!(mount.remove_directory("a/d").await.unwrap_err().kind(), Kind::NotEmpty);
    mount.remove_directory("a/d/e").await.unwrap();
    mount.remove_directory("a/d").await.unwrap();
    assert!(!mount.exists("a/d").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_without_a_marker_survives_its_last_file_while_mounted() {
    let world = World::new();
    let mount = world.mount().await;
    mount.remove("b/notes/poems/autumn.txt").await.unwrap();
    assert_eq!(mount.list("b/notes/poems").await.unwrap(), [""; 0]);
    assert_eq!(mount.list("b/notes").await.unwrap(), ["poems/", "shopping list.txt"]);
    mount.write_file("b/notes/poems/winter.txt", b"snow").await.unwrap();
    assert_eq!(world.stored("b/notes/poems/winter.txt").unwrap(), b"snow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_2500_files_is_listed_whole_in_three_requests() {
    let world = World::new();
    for number in 0..2500 {
        world.put(&format!("a/many/{number:04}"), "");
    }
    let mount = world.mount().await;
    mount.stat("a/many").await.unwrap();
    world.forget_requests();
    let names = mount.list("a/many").await.unwrap();
    assert_eq!(names, (0..2500).map(|number| format!("{number:04}")).collect::<Vec<_>>());
    assert_eq!((world.count("ListObjectsV2"), world.requests()), (3, 3));
    assert_eq!(mount.list("a/many").await.unwrap().len(), 2500);
    assert_eq!(world.requests(), 3, "within its lifetime a listing is not asked for again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_can_be_emptied_while_it_is_read() {
    let world = World::new();
    for number in 0..1200 {
        world.put(&format!("a/many/{number:04}"), "");
    }
    let mount = world.mount().await;
    let fs = mount.filesystem();
    let ino = mount.stat("a/many").await.unwrap().ino;
    let handle = fs.open_directory(ino).unwrap();
    let (mut removed, mut from) = (0, 0);
    loop {
        let entries = fs.read_directory(handle, from).await.unwrap();
        // In small steps, as a kernel with a small buffer takes them.
        let step: Vec<_> = entries.into_iter().take(100).collect();
        let Some(last) = step.last() else { break };
        from = last.next;
        for entry in step.iter().filter(|entry| !entry.name.starts_with('.')) {
            mount.remove(&format!("a/many/{}", entry.name)).await.unwrap();
            removed += 1;
        }
    }
    fs.close_directory(handle);
    assert_eq!((removed, world.keys_below("a/many").len()), (1200, 0));
    mount.remove_directory("a/many").await.unwrap();
}

// ---- removing ----

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_file_is_gone_for_everybody() {
    let world = World::new();
    let mount = world.mount().await;
    mount.remove("a/welcome.txt").await.unwrap();
    assert!(!mount.exists("a/welcome.txt").await);
    assert_eq!(mount.list("a").await.unwrap(), ["reports/"]);
    assert_eq!(world.object_at("a/welcome.txt").map(|object| object.etag.clone()), None);
    assert_eq!(failure(mount.remove("a/welcome.txt").await), Kind::NotFound);
    assert_eq!(failure(mount.remove("a/reports").await), Kind::IsDirectory);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_removed_while_it_is_written_serves_its_handles_and_nobody_else() {
    let world = World::new();
    let mount = world.mount().await;
    for (path, is_committed) in [("a/fresh", false), ("a/committed", true)] {
        let file = mount.open(path, How::Overwrite).await.unwrap();
        file.write(0, b"before").await.unwrap();
        if is_committed {
            file.flush().await.unwrap();
        }
        mount.remove(path).await.unwrap();
        assert!(!mount.exists(path).await, "{path}");
        file.write(6, b" and after").await.unwrap();
        assert_eq!(file.read_all().await.unwrap(), b"before and after", "{path}");
        file.close().await.unwrap();
        assert_eq!(world.stored(path), None, "{path}");
        mount.write_file(path, b"another").await.unwrap();
        assert_eq!(world.stored(path).unwrap(), b"another", "{path}");
    }
    assert_eq!(mount.set_aside(), Vec::<Vec<u8>>::new(), "nobody wants what was removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_removed_while_it_is_read_is_read_to_its_end() {
    let world = World::new();
    let mount = world.mount().await;
    let text = world.stored("a/welcome.txt").unwrap();
    let file = mount.open("a/welcome.txt", How::Read).await.unwrap();
    let begin = file.read(0, 4).await.unwrap();
    mount.remove("a/welcome.txt").await.unwrap();
    let rest = file.read(4, 1000).await.unwrap();
    assert_eq!([begin, rest].concat(), text);
    file.close().await.unwrap();
}

// ---- renaming ----

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_file_has_its_bytes_its_attributes_and_one_name() {
    let world = World::new();
    let mount = world.mount().await;
    mount.write_file("a/old.txt", b"text").await.unwrap();
    let before = mount.change("a/old.txt", mode(0o640)).await.unwrap();
    mount.rename("a/old.txt", "a/reports/new.txt").await.unwrap();
    assert!(!mount.exists("a/old.txt").await && world.object_at("a/old.txt").is_none());
    assert_eq!(world.stored("a/reports/new.txt").unwrap(), b"text");
    for mount in [mount, world.mount().await] {
        let after = mount.stat("a/reports/new.txt").await.unwrap();
        assert_eq!((after.mode, after.uid, after.mtime), (0o640, before.uid, before.mtime));
        assert_eq!(mount.read_file("a/reports/new.txt").await.unwrap(), b"text");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_renamed_over_another_takes_its_place() {
    let world = World::new();
    let mount = world.mount().await;
    mount.write_file("a/new", b"new").await.unwrap();
    mount.write_file("a/old", b"old").await.unwrap();
    let reader = mount.open("a/old", How::Read).await.unwrap();
    assert_eq!(reader.read(0, 1).await.unwrap(), b"o");
    assert_eq!(failure(mount.rename_as("a/new", "a/old", Replace::Refused).await), Kind::Exists);
    mount.rename("a/new", "a/old").await.unwrap();
    assert_eq!(world.keys_below("a/").iter().filter(|key| !key.contains('.')).collect::<Vec<_>>(), ["a/old"]);
    assert_eq!(mount.read_file("a/old").await.unwrap(), b"new");
    assert_eq!(reader.read(0, 9).await.unwrap(), b"old", "whoever had it open keeps it");
    reader.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_being_written_follows_its_name() {
    let world = World::new();
    let mount = world.mount().await;
    world.put("a/existing", "old text");
    for (from, onto, expected) in [
        ("a/fresh", "a/f1", "first second"),
        ("a/existing", "b/f2", "first second"),
        ("a/x", "b/y", "first second"),
    ] {
        let file = mount.open(from, How::Overwrite).await.unwrap();
        file.write(0, b"first").await.unwrap();
        mount.rename(from, onto).await.unwrap();
        file.write(5, b" second").await.unwrap();
        assert_eq!(mount.stat(onto).await.unwrap().size, 12, "{from} to {onto}");
        file.close().await.unwrap();
        assert_eq!(world.stored(onto).unwrap(), expected.as_bytes(), "{from} to {onto}");
        assert_eq!(world.stored(from), None, "{from} to {onto}");
        assert_eq!(mount.read_file(onto).await.unwrap(), expected.as_bytes(), "{from} to {onto}");
        assert!(!mount.exists(from).await, "{from} to {onto}");
    }
    assert_eq!(mount.set_aside(), Vec::<Vec<u8>>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_file_renamed_before_its_first_byte_takes_the_place_of_another() {
    let world = World::new();
    let mount = world.mount().await;
    world.put("a/config", "old");
    let file = mount.open("a/config.tmp", How::MakeNew).await.unwrap();
    mount.rename("a/config.tmp", "a/config").await.unwrap();
    file.write(0, b"new").await.unwrap();
    file.close().await.unwrap();
    assert_eq!(world.stored("a/config").unwrap(), b"new");
    assert_eq!(world.stored("a/config.tmp"), None);
    assert_eq!(mount.read_file("a/config").await.unwrap(), b"new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_goes_on_after_its_file_was_renamed() {
    let world = World::new();
    let mount = world.mount().await;
    let bytes = pattern(3, 20 * MIB);
    world.put("a/big", bytes.clone());
    let file = mount.open("a/big", How::Read).await.unwrap();
    assert!(file.read(0, 100).await.unwrap() == bytes[..100]);
    mount.rename("a/big", "a/moved").await.unwrap();
    assert!(file.read_all().await.unwrap() == bytes);
    file.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_moves_with_all_that_is_in_it() {
    let world = World::new();
    let mount = world.mount().await;
    let dirty = mount.open("a/reports/2024/draft.txt", How::MakeNew).await.unwrap();
    dirty.write(0, b"written").await.unwrap();
    let fresh = mount.open("a/reports/2024/fresh.txt", How::Overwrite).await.unwrap();
    let reader = mount.open("a/reports/readme.txt", How::Read).await.unwrap();
    let readme = world.stored("a/reports/readme.txt").unwrap();
    mount.rename("a/reports", "a/archive").await.unwrap();
    assert_eq!(failure(mount.list("a/reports").await), Kind::NotFound);
    assert_eq!(world.keys_below("a/reports"), [""; 0]);
    assert_eq!(mount.list("a/archive").await.unwrap(), ["2024/", "2025/", "readme.txt"]);
    assert_eq!(
        mount.list("a/archive/2024").await.unwrap(),
        ["draft.txt", "fresh.txt", "summary.csv"],
        "with what is not in S3 yet"
    );
    dirty.write(7, b" on").await.unwrap();
    dirty.close().await.unwrap();
    fresh.write(0, b"fresh").await.unwrap();
    fresh.close().await.unwrap();
    assert_eq!(reader.read_all().await.unwrap(), readme);
    reader.close().await.unwrap();
    assert_eq!(world.stored("a/archive/2024/draft.txt").unwrap(), b"written on");
    assert_eq!(world.stored("a/archive/2024/fresh.txt").unwrap(), b"fresh");
    assert_eq!(world.keys_below("a/reports"), [""; 0], "nothing came back under the old name");
    assert_eq!(mount.read_file("a/archive/2024/draft.txt").await.unwrap(), b"written on");
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_are_not_moved_where_they_cannot_go() {
    let world = World::new();
    let mount = world.mount().await;
    mount.make_directory("a/empty").await.unwrap();
    let keys = || [world.keys_below("a/"), world.keys_below("b/")].concat();
    let before = keys();
    for (from, onto, expected) in [
        ("a/reports", "b/reports", Kind::CrossDevice),
        ("a/reports", "a/reports/2024/inside", Kind::InvalidArgument),
        ("a/empty", "a/reports", Kind::NotEmpty),
        ("a/empty", "a/welcome.txt", Kind::NotDirectory),
        ("a/welcome.txt", "a/empty", Kind::IsDirectory),
        ("a/missing", "a/anything", Kind::NotFound),
    ] {
        assert_eq!(failure(mount.rename(from, onto).await), expected, "{from} to {onto}");
    }
    assert_eq!(keys(), before);
    mount.rename("a/reports/2024", "a/empty").await.unwrap();
    assert_eq!(mount.list("a/empty").await.unwrap(), ["summary.csv"]);
}

// ---- attributes ----

#[tokio::test(flavor = "multi_thread")]
async fn attributes_are_noted_and_survive_a_new_mount() {
    let world = World::new();
    let mount = world.mount().await;
    let (mtime, atime) = (moment(1_500_000_000, 250_000_000), moment(1_600_000_000, 0));
    let times = AttributeChange { mtime: Some(mtime), atime: Some(atime), ..Default::default() };
    mount.write_file("a/made here", b"x").await.unwrap();
    for path in ["a/made here", "a/welcome.txt", "b/inbox", "b/notes"] {
        let bytes = world.stored(path);
        mount.change(path, mode(0o710)).await.unwrap();
        mount
            .change(path, AttributeChange { uid: Some(7), gid: Some(8), ..Default::default() })
            .await
            .unwrap();
        mount.change(path, times).await.unwrap();
        let shown = |at: Attributes| (at.mode, at.uid, at.gid, at.mtime, at.atime);
        let expected = (0o710, 7, 8, mtime, atime);
        assert_eq!(shown(mount.stat(path).await.unwrap()), expected, "{path}");
        mount.namespace().tell_descriptions().await.unwrap();
        assert_eq!(shown(world.mount().await.stat(path).await.unwrap()), expected, "{path}, mounted anew");
        assert_eq!(world.stored(path), bytes, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_set_while_writing_travel_with_the_commit() {
    let world = World::new();
    let mount = world.mount().await;
    let mtime = moment(1_500_000_000, 0);
    let change = AttributeChange { mode: Some(0o400), mtime: Some(mtime), ..Default::default() };
    let file = mount.open("a/f", How::MakeNew).await.unwrap();
    file.write(0, b"text").await.unwrap();
    file.change(change).await.unwrap();
    world.forget_requests();
    file.close().await.unwrap();
    assert_eq!(world.requests(), 1, "one PutObject says it all");
    for mount in [mount, world.mount().await] {
        let at = mount.stat("a/f").await.unwrap();
        assert_eq!((at.mode, at.mtime, at.size, (at.uid, at.gid)), (0o400, mtime, 4, OWNER));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_between_a_close_and_its_release_is_not_lost() {
    let world = World::new();
    let mount = world.mount().await;
    let mtime = moment(1_500_000_000, 0);
    let times = AttributeChange { mtime: Some(mtime), ..Default::default() };
    let mut releases = tokio::task::JoinSet::new();
    let expected = (0o640, mtime, 8);
    for number in 0..100 {
        let (temporary, path) = (format!("a/.f{number}"), format!("a/f{number}"));
        let file = mount.open(&temporary, How::MakeNew).await.unwrap();
        file.write(0, b"text").await.unwrap();
        releases.spawn(file.close_early().await.unwrap());
        // As rsync does it, with one more append.
        let file = mount.open(&temporary, How::Edit).await.unwrap();
        file.write(4, b"more").await.unwrap();
        releases.spawn(file.close_early().await.unwrap());
        mount.change(&temporary, times).await.unwrap();
        mount.change(&temporary, mode(0o640)).await.unwrap();
        mount.rename(&temporary, &path).await.unwrap();
        let at = mount.stat(&path).await.unwrap();
        assert_eq!((at.mode, at.mtime, at.size), expected, "{path}");
    }
    while let Some(release) = releases.join_next().await {
        release.unwrap().unwrap();
    }
    let fresh = world.mount().await;
    for path in (0..100).map(|number| format!("a/f{number}")) {
        for (which, mount) in [("this", &mount), ("a fresh", &fresh)] {
            let at = mount.stat(&path).await.unwrap();
            assert_eq!((at.mode, at.mtime, at.size), expected, "{path} in {which} mount");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_whose_upload_began_gets_its_times_too() {
    let world = World::new();
    let mount = world.mount().await;
    let bytes = pattern(4, 20 * MIB);
    let mtime = moment(1_500_000_000, 0);
    let file = mount.open("a/large", How::MakeNew).await.unwrap();
    file.write(0, &bytes).await.unwrap();
    file.change(AttributeChange { mtime: Some(mtime), ..Default::default() }).await.unwrap();
    file.close().await.unwrap();
    let fresh = world.mount().await;
    assert_eq!(fresh.stat("a/large").await.unwrap().mtime, mtime);
    assert!(fresh.read_file("a/large").await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_others_noted_stays_when_ours_changes() {
    let world = World::new();
    let attributes = s3xmount::emulator::store::Attributes {
        content_type: Some("text/x-special".into()),
        metadata: [("color".to_owned(), "blue".to_owned())].into(),
        ..Default::default()
    };
    let content = bytes::Bytes::from_static(b"x").into();
    world.seed_content(demo::BUCKETS[0], "theirs", content, attributes);
    let mount = world.mount().await;
    mount.change("a/theirs", mode(0o600)).await.unwrap();
    mount.append("a/theirs", b"y").await.unwrap();
    mount.rename("a/theirs", "b/theirs").await.unwrap();
    let object = world.object_at("b/theirs").unwrap();
    assert_eq!(object.attributes.metadata.get("color").map(String::as_str), Some("blue"));
    assert_eq!(object.attributes.content_type.as_deref(), Some("text/x-special"));
    assert_eq!(object.content.to_bytes(), "xy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symbolic_link_is_made_read_moved_and_survives_a_new_mount() {
    let world = World::new();
    let mount = world.mount().await;
    let (parent, name) = mount.parent("a/link").await.unwrap();
    let fs = mount.filesystem();
    let made = fs.make_symlink(parent, &name, "reports/readme.txt", OWNER).await.unwrap();
    assert_eq!(made.attributes.kind, FileKind::Symlink);
    assert_eq!(failure(fs.make_symlink(parent, &name, "elsewhere", OWNER).await), Kind::Exists);
    mount.rename("a/link", "a/moved").await.unwrap();
    for mount in [&mount, &world.mount().await] {
        let link = mount.stat("a/moved").await.unwrap();
        assert_eq!((link.kind, link.size), (FileKind::Symlink, 18));
        assert_eq!(mount.filesystem().read_symlink(link.ino).await.unwrap(), b"reports/readme.txt");
    }
    let file = mount.stat("a/welcome.txt").await.unwrap().ino;
    assert_eq!(failure(fs.read_symlink(file).await), Kind::InvalidArgument);
}

// ---- the whole mount ----

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
