//! Files that are closed before S3 has them, as whoever uses the mount sees them.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use s3xmount::clock;
use s3xmount::emulator::{Gate, On};
use s3xmount::error::Kind;
use s3xmount::fs::AttributeChange;
use s3xmount::write::CommitMode;

use crate::support::{How, MIB, Mount, Options, World, eventually, failure, pattern};

async fn mount(world: &World) -> Mount {
    world
        .mount_with(Options {
            writing: |writing| s3xmount::write::Options { commit: CommitMode::Background, ..writing },
            ..Options::default()
        })
        .await
}

/// Holds all uploads until the gate opens.
fn hold(world: &World) -> Gate {
    let gate = Gate::closed();
    for operation in ["PutObject", "CompleteMultipartUpload"] {
        world.faults.inject(On::operation(operation).always().hold_request(&gate));
    }
    gate
}

/// Holds all uploads, and has as many files closed as are sent at a time, so that the next one waits for its turn.
async fn all_lanes_taken(world: &World, mount: &Mount) -> Gate {
    let gate = hold(world);
    for at in 0..LANES {
        mount.write_file(&format!("a/many-{at}"), b"x").await.unwrap();
    }
    gate.reached_by(LANES).await;
    gate
}

/// Renames what waits behind the [lanes](all_lanes_taken). The gate opens when that is done, or waits for what is sent now.
async fn rename_out_of_turn(mount: &Mount, from: &str, onto: &str, gate: &Gate) {
    let renamed = mount.rename(from, onto);
    tokio::pin!(renamed);
    let is_renamed = tokio::select! {
        outcome = &mut renamed => outcome.is_ok(),
        () = gate.reached_by(LANES + 1) => false,
    };
    gate.open();
    if !is_renamed {
        renamed.await.unwrap();
    }
}

async fn settled(world: &World, path: &str, bytes: &[u8]) {
    eventually("S3 has it", || async { world.stored(path).is_some_and(|stored| stored == bytes) }).await;
}

async fn nothing_waits(mount: &Mount) {
    eventually("nothing waits", || async { mount.background().files == 0 }).await;
}

/// So many files are sent at a time.
const LANES: usize = 32;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_shows_its_bytes_from_its_close_on() {
    let world = World::new();
    let mount = mount(&world).await;
    let gate = hold(&world);
    mount.write_file("a/new", b"content").await.unwrap();
    mount.write_file("a/welcome.txt", b"replaced").await.unwrap();
    assert!(world.stored("a/new").is_none());
    for (path, bytes) in [("a/new", &b"content"[..]), ("a/welcome.txt", b"replaced")] {
        assert_eq!(mount.stat(path).await.unwrap().size, bytes.len() as u64, "{path}");
        assert_eq!(mount.read_file(path).await.unwrap(), bytes, "{path}");
    }
    assert!(mount.list("a").await.unwrap().contains(&"new".to_owned()));
    assert_eq!(mount.background().files, 2);
    gate.open();
    settled(&world, "a/new", b"content").await;
    settled(&world, "a/welcome.txt", b"replaced").await;
    nothing_waits(&mount).await;
    assert_eq!(mount.read_file("a/new").await.unwrap(), b"content");
    assert_eq!(world.count("PutObject"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_may_forget_what_waits() {
    let world = World::new();
    let mount = mount(&world).await;
    let gate = hold(&world);
    mount.write_file("a/new", b"content").await.unwrap();
    let ino = mount.stat("a/new").await.unwrap().ino;
    mount.filesystem().forget(ino, 3);
    assert_eq!(mount.read_file("a/new").await.unwrap(), b"content");
    gate.open();
    settled(&world, "a/new", b"content").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fsync_waits_for_s3() {
    let world = World::new();
    let mount = mount(&world).await;
    let file = mount.open("a/new", How::Overwrite).await.unwrap();
    file.write(0, b"one").await.unwrap();
    file.sync().await.unwrap();
    assert_eq!(world.stored("a/new").unwrap(), b"one");
    file.write(3, b" two").await.unwrap();
    file.flush().await.unwrap();
    file.sync().await.unwrap();
    assert_eq!(world.stored("a/new").unwrap(), b"one two");
    file.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_waits_is_appended_to() {
    let world = World::new();
    let mount = mount(&world).await;
    for line in ["one\n", "two\n", "three\n"] {
        mount.append("a/log", line.as_bytes()).await.unwrap();
    }
    assert_eq!(mount.read_file("a/log").await.unwrap(), b"one\ntwo\nthree\n");
    settled(&world, "a/log", b"one\ntwo\nthree\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_waits_is_renamed_removed_and_described() {
    let world = World::new();
    let mount = mount(&world).await;
    let gate = hold(&world);
    mount.write_file("a/one.tmp", b"one").await.unwrap();
    mount.write_file("a/two", b"two").await.unwrap();
    let mtime = clock::from_unix(86_400, 0);
    let touch = AttributeChange { mtime: Some(mtime), mode: Some(0o600), ..AttributeChange::default() };
    // Both are on their way, and what changes them begins before they arrive: it is asked first here.
    gate.reached_by(2).await;
    let changed = async {
        mount.change("a/one.tmp", touch).await.unwrap();
        mount.rename("a/one.tmp", "a/one").await.unwrap();
        mount.remove("a/two").await.unwrap();
    };
    tokio::join!(biased; changed, async { gate.open() });
    settled(&world, "a/one", b"one").await;
    nothing_waits(&mount).await;
    assert!(world.stored("a/two").is_none() && world.stored("a/one.tmp").is_none());
    let shown = mount.stat("a/one").await.unwrap();
    assert_eq!((shown.mtime, shown.mode & 0o777), (mtime, 0o600));
    let metadata = world.object_at("a/one").unwrap().attributes.metadata.clone();
    assert_eq!(metadata.get("mtime").map(String::as_str), Some("86400"));
    assert!(!mount.exists("a/two").await && !mount.exists("a/one.tmp").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_before_the_upload_costs_nothing_and_takes_no_right_to_delete() {
    let world = World::new();
    world.role_may(crate::support::THREE, &[""]);
    let mount = mount(&world).await;
    let gate = all_lanes_taken(&world, &mount).await;
    mount.write_file("a/many-more", b"x").await.unwrap();
    mount.rename("a/many-more", "a/many-renamed").await.unwrap();
    assert_eq!(mount.read_file("a/many-renamed").await.unwrap(), b"x");
    assert!(!mount.exists("a/many-more").await);
    gate.open();
    settled(&world, "a/many-renamed", b"x").await;
    nothing_waits(&mount).await;
    assert_eq!((world.count("CopyObject"), world.keys_below("a/many-").len()), (0, LANES + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_waits_to_replace_an_object_does_not_leave_it_behind_when_it_is_renamed() {
    for onto in ["a/renamed", "b/renamed"] {
        let world = World::new();
        world.put("a/old", "what was there before");
        let mount = mount(&world).await;
        let gate = all_lanes_taken(&world, &mount).await;
        mount.write_file("a/old", b"new").await.unwrap();
        rename_out_of_turn(&mount, "a/old", onto, &gate).await;
        settled(&world, onto, b"new").await;
        nothing_waits(&mount).await;
        assert!(!mount.exists("a/old").await && world.stored("a/old").is_none(), "{onto}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_waits_is_in_s3_before_its_name_is_that_of_one_that_is_still_to_be_written() {
    let world = World::new();
    let mount = mount(&world).await;
    let gate = all_lanes_taken(&world, &mount).await;
    mount.write_file("a/file", b"closed").await.unwrap();
    let other = mount.open("a/other", How::Overwrite).await.unwrap();
    rename_out_of_turn(&mount, "a/other", "a/file", &gate).await;
    assert_eq!(world.stored("a/file").unwrap(), b"closed", "where a kill would leave it");
    other.write(0, b"written").await.unwrap();
    assert_eq!(mount.read_file("a/file").await.unwrap(), b"written");
    other.close().await.unwrap();
    settled(&world, "a/file", b"written").await;
    nothing_waits(&mount).await;
    assert!(world.stored("a/other").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_that_is_set_while_a_file_is_sent_is_not_forgotten() {
    let world = World::new();
    let mount = mount(&world).await;
    let gate = hold(&world);
    mount.write_file("a/new", b"content").await.unwrap();
    gate.reached_by(1).await;
    let private = AttributeChange { mode: Some(0o600), ..AttributeChange::default() };
    mount.change("a/new", private).await.unwrap();
    gate.open();
    settled(&world, "a/new", b"content").await;
    mount.filesystem().finish().await;
    let metadata = world.object_at("a/new").unwrap().attributes.metadata.clone();
    assert_eq!(metadata.get("mode").map(String::as_str), Some("33152"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_moves_with_what_waits_in_it() {
    let world = World::new();
    let mount = mount(&world).await;
    mount.make_directory("a/dir").await.unwrap();
    for at in 0..20 {
        mount.write_file(&format!("a/dir/{at}"), format!("file {at}").as_bytes()).await.unwrap();
    }
    mount.rename("a/dir", "a/moved").await.unwrap();
    for at in 0..20 {
        settled(&world, &format!("a/moved/{at}"), format!("file {at}").as_bytes()).await;
    }
    nothing_waits(&mount).await;
    assert!(world.keys_below("a/dir/").is_empty(), "{:?}", world.keys_below("a/dir/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_sent_once() {
    let world = World::new();
    let mount = mount(&world).await;
    let content = pattern(4, 20 * MIB);
    mount.write_file("a/large", &content).await.unwrap();
    assert!(mount.read_file("a/large").await.unwrap() == content);
    settled(&world, "a/large", &content).await;
    assert_eq!(world.count("UploadPart"), 4);
    nothing_waits(&mount).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_good_is_set_aside_and_the_next_open_hears_of_it() {
    let world = World::new();
    let mount = mount(&world).await;
    let refused = world.faults.inject(On::operation("PutObject").always().reject(403, "AccessDenied"));
    mount.write_file("a/new", b"precious").await.unwrap();
    eventually("it failed", || async { !mount.set_aside().is_empty() }).await;
    nothing_waits(&mount).await;
    assert!(refused.strikes() > 0);
    assert_eq!(mount.set_aside(), [b"precious".to_vec()]);
    assert!(!mount.exists("a/new").await);
    assert_eq!(failure(mount.open("a/new", How::Overwrite).await.map(drop)), Kind::Denied);
    world.faults.clear();
    mount.write_file("a/new", b"again").await.unwrap();
    settled(&world, "a/new", b"again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_now_is_tried_until_it_succeeds() {
    let world = World::new();
    let mount = mount(&world).await;
    world.faults.inject(On::operation("PutObject").times(1).reject(409, "ConditionalRequestConflict"));
    world.faults.inject(On::operation("PutObject").times(8).reject(409, "ConditionalRequestConflict"));
    mount.write_file("a/new", b"in the end").await.unwrap();
    assert_eq!(mount.read_file("a/new").await.unwrap(), b"in the end");
    settled(&world, "a/new", b"in the end").await;
    assert!(mount.set_aside().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_mount_waits_for_what_was_closed() {
    let world = World::new();
    let mount = mount(&world).await;
    for at in 0..100 {
        mount.write_file(&format!("a/many-{at}"), b"x").await.unwrap();
    }
    mount.filesystem().finish().await;
    assert_eq!((world.keys_below("a/many-").len(), mount.background().files), (100, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_exclusive_file_is_claimed_by_its_close() {
    let world = World::new();
    let mount = mount(&world).await;
    let lock = mount.open("a/lock", How::MakeNew).await.unwrap();
    world.put("a/lock", "theirs");
    assert_eq!(failure(lock.close().await), Kind::Exists);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_file_with_content_hears_of_another_by_its_next_open() {
    let world = World::new();
    let mount = mount(&world).await;
    let gate = hold(&world);
    let file = mount.open("a/new", How::MakeNew).await.unwrap();
    file.write(0, b"ours").await.unwrap();
    file.close().await.unwrap();
    gate.reached_by(1).await;
    world.put("a/new", "theirs");
    gate.open();
    eventually("it was found out", || async { !mount.set_aside().is_empty() }).await;
    nothing_waits(&mount).await;
    assert_eq!(
        (mount.set_aside(), world.stored("a/new").unwrap()),
        (vec![b"ours".to_vec()], b"theirs".to_vec())
    );
    assert_eq!(failure(mount.open("a/new", How::Read).await.map(drop)), Kind::Exists);
    assert_eq!(mount.read_file("a/new").await.unwrap(), b"theirs", "once");
}
