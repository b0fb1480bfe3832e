//! Bytes that are fetched before anybody asks for them: never wrong, never stale, and not for nothing.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::sync::atomic::{AtomicUsize, Ordering};

use s3xmount::namespace::OPEN_MEMORY;

use crate::support::{Mount, World, eventually, pattern};

/// A world with `count` small files in one directory, each of its own content.
fn small_files(count: usize) -> World {
    let world = World::new();
    for at in 0..count {
        world.put(&path(at), content(at));
    }
    world.forget_requests();
    world
}

fn path(at: usize) -> String {
    format!("a/small/f{at:03}")
}

fn content(at: usize) -> Vec<u8> {
    pattern(at as u8, 1000 + at)
}

async fn read(mount: &Mount, at: usize) {
    assert!(mount.read_file(&path(at)).await.unwrap() == content(at), "{at}");
}

/// Reads two files and waits until others were fetched, too.
async fn set_out(world: &World, mount: &Mount) {
    read(mount, 0).await;
    read(mount, 1).await;
    eventually("the next files are fetched", || async { world.count("GetObject") >= 5 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_read_one_after_the_other_cost_one_request_each() {
    let world = small_files(200);
    let mount = world.mount().await;
    for at in 0..200 {
        read(&mount, at).await;
    }
    assert!(world.count("GetObject") <= 205, "{}", world.count("GetObject"));
    // All but a few have their description from the same answer as their bytes.
    assert!(world.count("HeadObject") <= 60, "{}", world.count("HeadObject"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_workers_get_what_the_files_have() {
    let world = small_files(200);
    let mount = world.mount().await;
    let next = AtomicUsize::new(0);
    let work = || async {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= 200 {
                return;
            }
            read(&mount, at).await;
        }
    };
    tokio::join!(work(), work(), work(), work(), work(), work(), work(), work());
    assert!(world.count("GetObject") <= 230, "{}", world.count("GetObject"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_of_a_directory_makes_nothing_be_fetched_ahead() {
    let world = small_files(20);
    let mount = world.mount().await;
    read(&mount, 5).await;
    mount.list("a/small").await.unwrap();
    assert_eq!(world.count("GetObject"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_sees_the_current_version_of_what_was_fetched_ahead() {
    let world = small_files(20);
    let mount = world.mount().await;
    set_out(&world, &mount).await;
    for at in 2..8 {
        world.put(&path(at), format!("new {at}"));
    }
    tokio::time::sleep(OPEN_MEMORY).await;
    for at in 2..8 {
        assert_eq!(mount.read_file(&path(at)).await.unwrap(), format!("new {at}").as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_mount_writes_is_not_hidden_by_what_was_fetched_before() {
    let world = small_files(20);
    let mount = world.mount().await;
    set_out(&world, &mount).await;
    for at in 2..8 {
        mount.write_file(&path(at), b"ours").await.unwrap();
        assert_eq!(mount.read_file(&path(at)).await.unwrap(), b"ours");
    }
}
