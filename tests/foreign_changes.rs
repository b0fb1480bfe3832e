//! What others do to the bucket, seen through this mount.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::time::Duration;

use s3xmount::error::Kind;
use s3xmount::fs::{AttributeChange, FileKind};

use crate::support::{How, MIB, Options, World, eventually, failure, pattern};

// ---- readers ----

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_never_gets_bytes_of_two_versions() {
    let world = World::new();
    // Too little memory to have read it all ahead.
    let options = Options { memory_bytes: 8 << 20, ..Options::default() };
    let mount = world.mount_with(options).await;
    let (old, new) = (pattern(1, 48 * MIB), pattern(2, 48 * MIB));
    world.put("a/big", old.clone());
    let file = mount.open("a/big", How::Read).await.unwrap();
    let mut at = 0;
    let outcome = loop {
        match file.read(at as u64, MIB as u32).await {
            Ok(bytes) if bytes.is_empty() => break Ok(()),
            Ok(bytes) => {
                assert!(bytes == old[at..at + bytes.len()], "at {at}");
                at += bytes.len();
            }
            Err(error) => break Err(error),
        }
        if at == 4 * MIB {
            world.put("a/big", new.clone());
        }
    };
    assert_eq!(failure(outcome), Kind::Changed);
    file.close().await.unwrap();
    eventually("a new open reads the new version", || async {
        mount.read_file("a/big").await.is_ok_and(|bytes| bytes == new)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_deleted_file_is_told_so() {
    let world = World::new();
    let mount = world.mount_with(Options { memory_bytes: 8 << 20, ..Options::default() }).await;
    world.put("a/big", pattern(1, 48 * MIB));
    let file = mount.open("a/big", How::Read).await.unwrap();
    file.read(0, 100).await.unwrap();
    world.delete("a/big");
    assert_eq!(failure(file.read(40 * MIB as u64, 100).await), Kind::Changed);
    file.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_sees_the_current_version_however_old_the_attributes_may_be() {
    let world = World::new();
    let mount = world.mount().await;
    let before = mount.stat("a/welcome.txt").await.unwrap();
    world.put("a/welcome.txt", "another, of another length");
    assert_eq!(mount.stat("a/welcome.txt").await.unwrap(), before, "that may be believed for an hour");
    eventually("an open asks S3", || async {
        // For half a second an open may take the version of the lookup before it, which is gone.
        mount.read_file("a/welcome.txt").await.is_ok_and(|bytes| bytes == b"another, of another length")
    })
    .await;
    assert_eq!(mount.stat("a/welcome.txt").await.unwrap().size, 26, "and what it hears is believed");
}

// ---- lifetimes ----

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_believed_longer_than_its_lifetime() {
    let world = World::new();
    let lifetime = Duration::from_millis(200);
    let mount = world.mount_with(Options { lifetime, ..Options::default() }).await;
    for path in ["a", "a/reports"] {
        mount.list(path).await.unwrap();
    }
    assert!(mount.exists("a/welcome.txt").await && !mount.exists("a/new").await);
    world.put("a/new", "new");
    world.put("a/reports/2026/summary.csv", "month,visits\n");
    world.put("a/reports/readme.txt", "short");
    world.delete("a/welcome.txt");
    tokio::time::sleep(lifetime).await;
    assert_eq!(mount.list("a").await.unwrap(), ["new", "reports/"]);
    assert_eq!(mount.list("a/reports").await.unwrap(), ["2024/", "2025/", "2026/", "readme.txt"]);
    assert!(mount.exists("a/new").await && !mount.exists("a/welcome.txt").await);
    assert_eq!(mount.stat("a/reports/readme.txt").await.unwrap().size, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn within_its_lifetime_an_answer_costs_nothing() {
    let world = World::new();
    let mount = world.mount().await;
    let look = || async {
        let present = mount.stat("a/reports/2024/summary.csv").await.unwrap();
        assert!(!mount.exists("a/reports/2024/missing").await);
        (present, mount.list("a/reports").await.unwrap())
    };
    let first = look().await;
    world.forget_requests();
    assert_eq!((look().await, world.requests()), (first, 0));
}

// ---- writers ----

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_an_older_version_is_not_made_and_its_bytes_are_kept() {
    let world = World::new();
    let mount = world.mount().await;
    world.put("a/log", "one\n");
    let file = mount.open("a/log", How::Edit).await.unwrap();
    file.write(4, b"ours\n").await.unwrap();
    world.put("a/log", "one\ntheirs\n");
    assert_eq!(failure(file.flush().await), Kind::Changed);
    assert_eq!(failure(file.write(0, b"x").await), Kind::Changed, "and is told again");
    assert_eq!(failure(file.close().await), Kind::Changed);
    assert_eq!(world.stored("a/log").unwrap(), b"one\ntheirs\n");
    let [kept] = &mount.set_aside()[..] else { panic!("one file is kept") };
    assert!(kept.ends_with(b"ours\n"));
    mount.append("a/log", b"ours\n").await.unwrap();
    assert_eq!(world.stored("a/log").unwrap(), b"one\ntheirs\nours\n", "a new attempt builds on theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_mounts_that_append_none_loses_a_line_unheard() {
    let world = World::new();
    let (one, other) = (world.mount().await, world.mount().await);
    world.put("a/log", "");
    let mut expected = 0;
    for mount in [&one, &other, &one, &one, &other, &other] {
        // A mount believes its own attributes; only what was committed counts here.
        if mount.append("a/log", b"line\n").await.is_ok() {
            expected += 5;
        }
    }
    assert!(expected >= 15, "{expected}");
    assert_eq!(world.stored("a/log").unwrap().len(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_whole_replacements_the_last_one_stays() {
    let world = World::new();
    let mount = world.mount().await;
    let file = mount.open("a/welcome.txt", How::Overwrite).await.unwrap();
    file.write(0, b"ours").await.unwrap();
    world.put("a/welcome.txt", "theirs");
    file.close().await.unwrap();
    assert_eq!(world.stored("a/welcome.txt").unwrap(), b"ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_somebody_else_took_meanwhile_is_theirs() {
    let world = World::new();
    let mount = world.mount().await;
    for how in [How::Edit, How::MakeNew] {
        let path = format!("a/{how:?}");
        let file = mount.open(&path, how).await.unwrap();
        file.write(0, b"ours").await.unwrap();
        world.put(&path, "theirs");
        assert_eq!(failure(file.close().await), Kind::Exists, "{how:?}");
        assert_eq!(world.stored(&path).unwrap(), b"theirs");
        assert_eq!(mount.read_file(&path).await.unwrap(), b"theirs");
    }
    assert_eq!(mount.set_aside(), [b"ours", b"ours"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_somebody_else_made_exists() {
    let world = World::new();
    let mount = world.mount().await;
    assert!(!mount.exists("a/d").await);
    world.put("a/d/", "");
    assert_eq!(failure(mount.make_directory("a/d").await), Kind::Exists);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_takes_along_the_version_that_is_there() {
    let world = World::new();
    let mount = world.mount().await;
    mount.stat("a/welcome.txt").await.unwrap();
    world.put("a/welcome.txt", "their newer version");
    mount.rename("a/welcome.txt", "a/moved").await.unwrap();
    assert_eq!(world.stored("a/moved").unwrap(), b"their newer version");
    assert_eq!(mount.stat("a/moved").await.unwrap().size, 19);
    assert_eq!(mount.read_file("a/moved").await.unwrap(), b"their newer version");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_mode_never_brings_old_bytes_back() {
    let world = World::new();
    let mount = world.mount().await;
    mount.stat("a/welcome.txt").await.unwrap();
    world.put("a/welcome.txt", "their newer version");
    let mode = AttributeChange { mode: Some(0o600), ..Default::default() };
    match mount.change("a/welcome.txt", mode).await {
        Ok(at) => assert_eq!((at.mode, at.size), (0o600, 19)),
        Err(error) => assert_eq!(error.kind(), Kind::Changed),
    }
    assert_eq!(world.stored("a/welcome.txt").unwrap(), b"their newer version");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_others_filled_is_not_removed() {
    let world = World::new();
    let mount = world.mount().await;
    assert_eq!(mount.list("b/inbox").await.unwrap(), [""; 0]);
    world.put("b/inbox/new", "mail");
    assert_eq!(failure(mount.remove_directory("b/inbox").await), Kind::NotEmpty);
    assert_eq!(failure(mount.rename("b/notes", "b/inbox").await), Kind::NotEmpty);
    assert_eq!(world.stored("b/inbox/new").unwrap(), b"mail");
}

// ---- keys that a directory cannot show ----

/// Rests of keys that no path can name.
fn odd_rests() -> Vec<String> {
    let long = "l".repeat(256);
    ["/double", "./dot", "../dots", "x/../y", "sub//deep", "/"]
        .map(str::to_owned)
        .into_iter()
        .chain([long])
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_shown_are_left_out_and_left_alone() {
    let world = World::new();
    for rest in odd_rests() {
        world.put(&format!("a/odd/{rest}"), "odd");
    }
    for top in ["a//leading", "a/./x", "a/../x", "a///"] {
        world.put(top, "odd");
    }
    world.put("a/odd/plain", "plain");
    world.put("a/odd/line\nbreak", "shown");
    let before = world.keys_below("a/");
    let mount = world.mount().await;
    assert_eq!(mount.list("a").await.unwrap(), ["odd/", "reports/", "welcome.txt"]);
    assert_eq!(mount.list("a/odd").await.unwrap(), ["line\nbreak", "plain", "sub/", "x/"]);
    assert_eq!(mount.list("a/odd/sub").await.unwrap(), [""; 0]);
    assert_eq!(mount.list("a/odd/x").await.unwrap(), [""; 0]);
    assert_eq!(mount.read_file("a/odd/line\nbreak").await.unwrap(), b"shown");
    mount.write_file("a/odd/plain", b"written").await.unwrap();
    mount.write_file("a/odd/sub/new", b"new").await.unwrap();
    let after = world.keys_below("a/");
    assert!(before.iter().all(|key| after.contains(key)) && after.len() == before.len() + 1, "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_nothing_but_odd_keys_is_not_empty_and_moves_with_them() {
    let world = World::new();
    let mount = world.mount().await;
    for (number, rest) in odd_rests().iter().enumerate() {
        let (path, moved) = (format!("a/odd{number}"), format!("a/moved{number}"));
        world.put(&format!("{path}/{rest}"), "odd");
        assert_eq!(mount.stat(&path).await.unwrap().kind, FileKind::Directory, "{rest}");
        assert_eq!(failure(mount.remove_directory(&path).await), Kind::NotEmpty, "{rest}");
        mount.rename(&path, &moved).await.unwrap();
        assert_eq!(world.keys_below(&format!("{moved}/")), [format!("{moved}/{rest}")]);
        assert_eq!(world.keys_below(&format!("{path}/")), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_file_and_a_directory_of_one_name_the_directory_shows_and_the_file_stays() {
    let world = World::new();
    world.put("a/both", "hidden");
    world.put("a/both/inside", "inside");
    let mount = world.mount().await;
    for _ in 0..2 {
        assert_eq!(mount.stat("a/both").await.unwrap().kind, FileKind::Directory);
        assert_eq!(mount.list("a").await.unwrap(), ["both/", "reports/", "welcome.txt"]);
    }
    assert_eq!(mount.read_file("a/both/inside").await.unwrap(), b"inside");
    assert_eq!(failure(mount.make_directory("a/both").await), Kind::Exists);
    assert_eq!(failure(mount.remove("a/both").await), Kind::IsDirectory);
    assert_eq!(failure(mount.rename("a/welcome.txt", "a/both").await), Kind::IsDirectory);
    assert_eq!(failure(mount.open("a/both", How::Overwrite).await.map(drop)), Kind::IsDirectory);
    assert_eq!(world.stored("a/both").unwrap(), b"hidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_directory_hid_shows_when_the_directory_is_gone() {
    let world = World::new();
    for (gone, by) in [("a/removed", "rmdir"), ("a/renamed", "rename")] {
        world.put(gone, "hidden");
        world.put(&format!("{gone}/"), "");
        let mount = world.mount().await;
        assert_eq!(mount.stat(gone).await.unwrap().kind, FileKind::Directory);
        match by {
            "rmdir" => mount.remove_directory(gone).await.unwrap(),
            _ => mount.rename(gone, "a/elsewhere").await.unwrap(),
        }
        assert_eq!(mount.stat(gone).await.unwrap().kind, FileKind::Regular, "{by}");
        assert_eq!(mount.read_file(gone).await.unwrap(), b"hidden", "{by}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_does_not_go_on_in_what_a_writer_here_builds_on_a_later_version() {
    let world = World::new();
    world.put("a/file", pattern(1, 100));
    let mount = world.mount_with(Options { lifetime: Duration::ZERO, ..Options::default() }).await;
    let reader = mount.open("a/file", How::Read).await.unwrap();
    assert_eq!(reader.read(10, 20).await.unwrap(), pattern(1, 100)[10..30]);
    world.put("a/file", pattern(2, 100));
    let writer = mount.open("a/file", How::Edit).await.unwrap();
    match reader.read(30, 20).await {
        Ok(bytes) => assert_eq!(bytes, pattern(1, 100)[30..50], "what it had fetched"),
        Err(error) => assert_eq!(error.kind(), Kind::Changed),
    }
    // Who begins to read now reads what is written.
    let another = mount.open("a/file", How::Read).await.unwrap();
    writer.write(40, b"ours").await.unwrap();
    assert_eq!(another.read(30, 14).await.unwrap(), [&pattern(2, 100)[30..40], b"ours"].concat());
    for file in [reader, writer, another] {
        file.close().await.unwrap();
    }
}
