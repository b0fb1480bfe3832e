//! Changes of mode, owner and times that a writer of the file is to bring to S3, and who dies before.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::path::Path;
use std::sync::Arc;

use s3xmount::emulator::faults::{Gate, On};
use s3xmount::error::Kind;
use s3xmount::fs::Setting;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::descriptions::{at_work, mode, noted};
use crate::support::{How, MIB, Mount, Options, World, failure, pattern};

/// A mount that writes down what it has not told S3 yet, and the one that comes after its death.
struct Mortal {
    world: World,
    home: TempDir,
    mount: Arc<Mount>,
}

impl Mortal {
    async fn new() -> Self {
        let (world, home) = (World::new(), tempfile::tempdir().unwrap());
        let mount = Arc::new(at_work(&world, options(home.path())).await);
        Self { world, home, mount }
    }

    /// Lets a request of a commit have its effect, and never get its answer.
    fn lose_answer(&self, operation: &str) -> Gate {
        let gate = Gate::closed();
        self.world.faults.inject(On::operation(operation).key("f").times(1).hold_answer(&gate));
        gate
    }

    /// A file with a mode that S3 has yet to hear of.
    async fn with_waiting_mode(&self) {
        self.mount.write_file("a/f", b"bytes").await.unwrap();
        self.mount.change("a/f", mode(0o640)).await.unwrap();
    }

    fn mode(&self) -> String {
        noted(&self.world, "a/f", "mode").unwrap()
    }

    fn records(&self) -> usize {
        std::fs::read_dir(self.home.path().join("descriptions")).map_or(0, Iterator::count)
    }

    /// It never comes to an end; S3 has been told by the next mount when this returns.
    async fn die(self) -> (World, TempDir, Mount) {
        std::mem::forget(self.mount);
        let next = self.world.mount_with(options(self.home.path())).await;
        (self.world, self.home, next)
    }
}

fn options(home: &Path) -> Options {
    Options { journal: Some(home.to_owned()), ..Options::default() }
}

#[tokio::test]
async fn what_waited_outlives_a_writer_who_had_not_written() {
    for how in [How::Overwrite, How::Edit] {
        let mortal = Mortal::new().await;
        mortal.with_waiting_mode().await;
        let file = mortal.mount.open("a/f", how).await.unwrap();
        file.write(0, b"never closed").await.unwrap();
        let _never_closed = file;
        assert_eq!((mortal.mode().as_str(), mortal.records()), ("33188", 1));
        let (world, _home, _next) = mortal.die().await;
        assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33184", "{how:?}");
        assert_eq!(world.stored("a/f").unwrap(), b"bytes");
    }
}

#[tokio::test]
async fn what_is_set_of_an_open_file_outlives_the_process() {
    let mortal = Mortal::new().await;
    let file = mortal.mount.open("a/f", How::Overwrite).await.unwrap();
    file.write(0, b"bytes").await.unwrap();
    file.sync().await.unwrap();
    file.change(mode(0o640)).await.unwrap();
    file.write(5, b" and more").await.unwrap();
    file.change(mode(0o600)).await.unwrap();
    let (world, _home, next) = mortal.die().await;
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33152", "what was set last");
    assert_eq!(next.read_file("a/f").await.unwrap(), b"bytes", "nobody had closed it");
}

#[tokio::test]
async fn what_is_set_while_a_commit_is_under_way_outlives_the_process() {
    let mortal = Mortal::new().await;
    mortal.mount.write_file("a/f", b"bytes").await.unwrap();
    let gate = mortal.lose_answer("PutObject");
    let (mount, mut writing) = (Arc::clone(&mortal.mount), JoinSet::new());
    writing.spawn(async move { mount.write_file("a/f", b"others").await });
    gate.reached_by(1).await;
    mortal.mount.change("a/f", mode(0o640)).await.unwrap();
    let ino = mortal.mount.stat("a/f").await.unwrap().ino;
    mortal.mount.filesystem().set_xattr(ino, "user.note", b"mine", Setting::Either).await.unwrap();
    let (world, _home, next) = mortal.die().await;
    assert_eq!(world.stored("a/f").unwrap(), b"others");
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33184");
    let ino = next.stat("a/f").await.unwrap().ino;
    assert_eq!(next.filesystem().xattr(ino, "user.note").await.unwrap(), b"mine");
}

#[tokio::test]
async fn what_was_said_of_an_older_version_is_not_said_of_the_same_bytes_written_again() {
    let mortal = Mortal::new().await;
    mortal.with_waiting_mode().await;
    let gate = mortal.lose_answer("PutObject");
    let (mount, mut writing) = (Arc::clone(&mortal.mount), JoinSet::new());
    writing.spawn(async move {
        let file = mount.open("a/f", How::Overwrite).await?;
        file.write(0, b"bytes").await?;
        file.change(mode(0o600)).await?;
        file.close().await
    });
    gate.reached_by(1).await;
    assert_eq!((mortal.mode().as_str(), mortal.records()), ("33152", 1));
    let (world, home, _next) = mortal.die().await;
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33152");
    assert_eq!(std::fs::read_dir(home.path().join("descriptions")).unwrap().count(), 0);
}

#[tokio::test]
async fn nothing_is_left_to_be_told_once_a_commit_has_taken_it_along() {
    let mortal = Mortal::new().await;
    mortal.with_waiting_mode().await;
    let file = mortal.mount.open("a/f", How::Edit).await.unwrap();
    file.write(0, b"B").await.unwrap();
    file.change(mode(0o600)).await.unwrap();
    assert_eq!(mortal.records(), 1);
    file.flush().await.unwrap();
    assert_eq!((mortal.mode().as_str(), mortal.records()), ("33152", 0));
    file.change(mode(0o644)).await.unwrap();
    assert_eq!(mortal.records(), 1);
    file.close().await.unwrap();
    mortal.mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!((mortal.mode().as_str(), mortal.records()), ("33188", 0));
    // Neither of what is renamed, nor of what is removed.
    for ends_removed in [false, true] {
        mortal.with_waiting_mode().await;
        let file = mortal.mount.open("a/f", How::Edit).await.unwrap();
        assert_eq!(mortal.records(), 1);
        match ends_removed {
            true => mortal.mount.remove("a/f").await.unwrap(),
            false => mortal.mount.rename("a/f", "a/g").await.unwrap(),
        }
        file.close().await.unwrap();
        mortal.mount.namespace().tell_descriptions().await.unwrap();
        assert_eq!(mortal.records(), 0, "removed: {ends_removed}");
    }
    assert_eq!(noted(&mortal.world, "a/g", "mode").unwrap(), "33184");
}

#[tokio::test]
async fn a_writer_who_fails_gives_back_what_waited() {
    let mortal = Mortal::new().await;
    mortal.with_waiting_mode().await;
    let file = mortal.mount.open("a/f", How::Overwrite).await.unwrap();
    file.write(0, b"refused").await.unwrap();
    mortal.world.faults.inject(On::operation("PutObject").always().reject(403, "AccessDenied"));
    assert_eq!(failure(file.close().await), Kind::Denied);
    assert_eq!(mortal.mount.stat("a/f").await.unwrap().mode, 0o640, "it waits again");
    mortal.mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!((mortal.mode().as_str(), mortal.records()), ("33184", 0));
    assert_eq!(mortal.world.stored("a/f").unwrap(), b"bytes");
}

#[tokio::test]
async fn what_is_set_when_parts_have_left_outlives_the_process() {
    let mortal = Mortal::new().await;
    let gate = Gate::closed();
    mortal.world.faults.inject(On::operation("CopyObject").key("f").times(1).hold_request(&gate));
    let (mount, mut writing) = (Arc::clone(&mortal.mount), JoinSet::new());
    writing.spawn(async move {
        let file = mount.open("a/f", How::Overwrite).await?;
        file.write(0, &pattern(1, 20 * MIB)).await?;
        file.change(mode(0o640)).await?;
        file.close().await
    });
    // The upload began with another mode, and is complete.
    gate.reached_by(1).await;
    assert_eq!((mortal.mode().as_str(), mortal.records()), ("33188", 1));
    let (world, _home, _next) = mortal.die().await;
    assert_eq!(noted(&world, "a/f", "mode").unwrap(), "33184");
    assert!(world.stored("a/f").unwrap() == pattern(1, 20 * MIB));
}
