//! Names that go, and names that move.

use s3xmount::error::Kind;
use s3xmount::fs::Replace;

use super::mode;
use crate::support::{How, MIB, World, failure, pattern};

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
