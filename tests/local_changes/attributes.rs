//! What is said about a file, and what a link points to.

use s3xmount::emulator::demo;
use s3xmount::error::Kind;
use s3xmount::fs::{AttributeChange, Attributes, FileKind};

use super::{mode, moment};
use crate::support::{How, MIB, OWNER, World, failure, pattern};

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
