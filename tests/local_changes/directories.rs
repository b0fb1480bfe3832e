//! Directories, and what shows in them.

use s3xmount::error::Kind;
use s3xmount::fs::FileKind;

use crate::support::{How, World, failure};

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
async fn no_directory_is_made_where_a_file_is_being_written_whatever_s3_would_say() {
    let world = World::new();
    let mount = world.mount().await;
    let file = mount.open("a/new", How::MakeNew).await.unwrap();
    file.write(0, b"content").await.unwrap();
    world.forget_requests();
    assert_eq!(failure(mount.make_directory("a/new").await), Kind::Exists);
    assert_eq!(world.requests(), 0, "its answer may come when the file is there, and know nothing of it");
    file.close().await.unwrap();
    assert_eq!(world.stored("a/new").unwrap(), b"content");
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
