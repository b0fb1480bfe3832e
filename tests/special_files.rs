//! What is neither a file nor a directory, and what POSIX says of making and opening things.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use s3xmount::error::Kind;
use s3xmount::fs::{Access, FileKind, OpenOptions, Special};

use crate::support::{How, Mount, OWNER, Options, World, failure};

#[tokio::test]
async fn fifos_sockets_and_device_nodes_are_kept_by_their_mode() {
    let world = World::new();
    let mount = world.mount().await;
    let fs = mount.filesystem();
    for (name, kind, device, mode) in [
        ("fifo", FileKind::Fifo, 0, "4516"),
        ("socket", FileKind::Socket, 0, "49572"),
        ("tty", FileKind::CharDevice, 0x0501, "8612"),
        ("disk", FileKind::BlockDevice, 0x0801, "24996"),
    ] {
        let path = format!("a/{name}");
        let (parent, file_name) = mount.parent(&path).await.unwrap();
        let special = Special { kind, mode: 0o644, device };
        fs.make_special(parent, &file_name, special, OWNER).await.unwrap();
        let again = fs.make_special(parent, &file_name, special, OWNER).await;
        assert_eq!(failure(again), Kind::Exists, "{name}");

        let object = world.object_at(&path).unwrap();
        assert_eq!(object.attributes.metadata["mode"], mode, "{name}, as s3fs writes it");
        assert_eq!(object.content.to_bytes().len(), 0);
        for mount in [&mount, &world.mount().await] {
            let shown = mount.stat(&path).await.unwrap();
            assert_eq!((shown.kind, shown.device, shown.mode), (kind, device, 0o644), "{name}");
        }
        mount.rename(&path, &format!("b/{name}")).await.unwrap();
        assert_eq!(mount.stat(&format!("b/{name}")).await.unwrap().device, device);
    }
}

/// The kinds in a directory, as the kernel asks for them: the first entries with their attributes, the rest without.
async fn kinds(mount: &Mount, path: &str) -> BTreeMap<String, FileKind> {
    let (fs, ino) = (mount.filesystem(), mount.stat(path).await.unwrap().ino);
    let handle = fs.open_directory(ino).unwrap();
    let first = fs.read_directory_described(handle, 0).await.unwrap();
    let mut entries: Vec<_> = first.into_iter().map(|entry| entry.listed).collect();
    loop {
        let more = fs.read_directory(handle, entries.last().unwrap().next).await.unwrap();
        if more.is_empty() {
            break;
        }
        entries.extend(more);
    }
    fs.close_directory(handle);
    entries.into_iter().filter(|entry| !entry.name.starts_with('.')).map(|at| (at.name, at.kind)).collect()
}

#[tokio::test]
async fn a_listing_calls_links_links_however_far_down_they_are() {
    let world = World::new();
    let mount = world.mount().await;
    mount.make_directory("a/bin").await.unwrap();
    let mut expected = BTreeMap::new();
    for number in 0..300 {
        let (name, path) = (format!("{number:03}"), format!("a/bin/{number:03}"));
        let kind = if number % 3 == 0 { FileKind::Regular } else { FileKind::Symlink };
        if kind == FileKind::Symlink {
            let (parent, file_name) = mount.parent(&path).await.unwrap();
            mount.filesystem().make_symlink(parent, &file_name, "../target", OWNER).await.unwrap();
        } else {
            mount.write_file(&path, b"a program").await.unwrap();
        }
        expected.insert(name, kind);
    }
    assert_eq!(kinds(&mount, "a/bin").await, expected, "what was made here is known");
    let other = world.mount().await;
    assert_eq!(kinds(&other, "a/bin").await, expected, "and what others made is asked for");
}

#[tokio::test]
async fn a_link_that_was_made_here_is_followed_for_nothing_until_others_replace_it() {
    let world = World::new();
    let mount = world.mount_with(Options { lifetime: Duration::ZERO, ..Options::default() }).await;
    let (parent, name) = mount.parent("a/link").await.unwrap();
    let made = mount.filesystem().make_symlink(parent, &name, "../target", OWNER).await.unwrap();
    world.forget_requests();
    let ino = made.attributes.ino;
    assert_eq!(mount.filesystem().read_symlink(ino).await.unwrap(), b"../target");
    mount.rename("a/link", "a/moved").await.unwrap();
    assert_eq!(mount.filesystem().read_symlink(ino).await.unwrap(), b"../target");
    assert_eq!(world.count("GetObject"), 0);
    // Another mount makes another link of that name.
    let other = world.mount().await;
    other.remove("a/moved").await.unwrap();
    let (parent, name) = other.parent("a/moved").await.unwrap();
    other.filesystem().make_symlink(parent, &name, "elsewhere", OWNER).await.unwrap();
    let ino = mount.stat("a/moved").await.unwrap().ino;
    assert_eq!(mount.filesystem().read_symlink(ino).await.unwrap(), b"elsewhere");
}

#[tokio::test]
async fn a_listing_without_links_asks_about_no_more_than_the_kernel_wants_to_know() {
    let world = World::new();
    let mount = world.mount().await;
    mount.make_directory("a/many").await.unwrap();
    for number in 0..300 {
        mount.write_file(&format!("a/many/{number:03}"), b"a file").await.unwrap();
    }
    let other = world.mount().await;
    world.forget_requests();
    assert_eq!(kinds(&other, "a/many").await.len(), 300);
    assert!(world.count("HeadObject") <= 130, "{}", world.count("HeadObject"));
}

#[tokio::test]
async fn a_file_that_is_made_only_to_be_read_is_made_all_the_same() {
    let world = World::new();
    let mount = world.mount().await;
    let (parent, name) = mount.parent("a/made").await.unwrap();
    let options =
        OpenOptions { access: Access { read: true, write: false }, truncate: false, exclusive: false };
    let (_, opened) = mount.filesystem().create(parent, &name, 0o644, OWNER, options).unwrap();
    mount.filesystem().flush(opened.handle).await.unwrap();
    mount.filesystem().release(opened.handle).await.unwrap();
    assert_eq!(world.stored("a/made").unwrap(), b"");
}

#[tokio::test]
async fn a_file_that_is_opened_to_be_read_and_cut_is_cut() {
    let world = World::new();
    world.put("a/f", "something");
    let mount = world.mount().await;
    let ino = mount.stat("a/f").await.unwrap().ino;
    let options =
        OpenOptions { access: Access { read: true, write: false }, truncate: true, exclusive: false };
    let opened = mount.filesystem().open(ino, options).await.unwrap();
    mount.filesystem().flush(opened.handle).await.unwrap();
    mount.filesystem().release(opened.handle).await.unwrap();
    assert_eq!(world.stored("a/f").unwrap(), b"");
}

#[tokio::test]
async fn a_directory_shows_when_its_names_last_changed_until_it_is_told_otherwise() {
    let world = World::new();
    let mount = world.mount().await;
    mount.make_directory("a/d").await.unwrap();
    mount.make_directory("a/other").await.unwrap();
    let mtime = async || mount.stat("a/d").await.unwrap().mtime;
    let mut before = mtime().await;
    let mut is_later = async |what: &str| {
        let now = mtime().await;
        assert!(now > before, "{what}");
        before = now;
    };
    mount.write_file("a/d/f", b"1").await.unwrap();
    is_later("a file was made").await;
    mount.rename("a/d/f", "a/other/f").await.unwrap();
    is_later("a file was moved out").await;
    mount.rename("a/other/f", "a/d/g").await.unwrap();
    is_later("a file was moved in").await;
    mount.make_directory("a/d/below").await.unwrap();
    is_later("a directory was made").await;
    mount.remove_directory("a/d/below").await.unwrap();
    is_later("a directory was removed").await;
    mount.remove("a/d/g").await.unwrap();
    is_later("a file was removed").await;

    let file = mount.open("a/d/h", How::Overwrite).await.unwrap();
    let made = mtime().await;
    file.write(0, b"bytes").await.unwrap();
    file.close().await.unwrap();
    assert_eq!(mtime().await, made, "bytes are no names");

    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(981_173_106);
    let change = s3xmount::fs::AttributeChange { mtime: Some(long_ago), ..Default::default() };
    mount.change("a/d", change).await.unwrap();
    mount.namespace().tell_descriptions().await.unwrap();
    for mount in [&mount, &world.mount().await] {
        assert_eq!(mount.stat("a/d").await.unwrap().mtime, long_ago, "as rsync and tar leave it");
    }
}
