//! Bytes that are fetched before anybody asks for them: never wrong, never stale, and not for nothing.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;
use s3xmount::namespace::OPEN_MEMORY;
use s3xmount::sys;

use crate::support::{How, MIB, Mount, World, eventually, pattern};

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
async fn a_directory_is_listed_once_for_its_names_and_for_its_files() {
    let world = World::new();
    let path = |at: usize| format!("a/many/f{at:04}");
    (0..2500).for_each(|at| world.put(&path(at), content(at)));
    let mount = world.mount().await;
    mount.stat("a/many").await.unwrap();
    world.forget_requests();
    for at in [2400, 1700, 900] {
        mount.stat(&path(at)).await.unwrap();
    }
    for at in [0, 1] {
        mount.read_file(&path(at)).await.unwrap();
    }
    eventually("the next files are fetched", || async { world.count("GetObject") >= 5 }).await;
    // One for each name that nothing was known of, and three pages.
    assert!(world.count("ListObjectsV2") <= 5 + 3, "{}", world.count("ListObjectsV2"));
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

// ---- files that are read at random ----

/// What a kernel would have been given of a file.
#[derive(Debug, Clone, Default)]
struct Pages(Arc<Mutex<Vec<Page>>>);

/// Where some bytes are, and the bytes.
type Page = (u64, Vec<u8>);

impl Pages {
    fn bytes(&self) -> u64 {
        self.0.lock().iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// Has the mount give its pages here. They are taken when `door` is open, which is when the other
    /// end of it was dropped.
    fn of(mount: &Mount, door: mpsc::Receiver<()>) -> Self {
        let (pages, door) = (Self::default(), Mutex::new(door));
        let kernel = pages.clone();
        mount.filesystem().store_pages_with(Arc::new(move |_, at, bytes| {
            kernel.0.lock().push((at, bytes.to_vec()));
            door.lock().recv().unwrap_or_default();
            Ok(())
        }));
        pages
    }

    fn are_of(&self, content: &[u8]) -> bool {
        let pages = self.0.lock();
        pages.iter().all(|(at, bytes)| content[*at as usize..][..bytes.len()] == bytes[..])
    }
}

/// Reads here and there until the kernel is given the file, or `enough` says so.
async fn wander(file: &crate::support::OpenFile<'_>, content: &[u8], enough: impl Fn() -> bool) {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..10_000 {
        let at = random.usize(..content.len() / 4096) * 4096;
        assert!(file.read(at as u64, 4096).await.unwrap() == content[at..at + 4096]);
        if enough() {
            return;
        }
    }
    panic!("ten thousand reads were not enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_read_at_random_is_given_to_the_kernel_whole() {
    let world = World::new();
    let content = pattern(3, 24 * MIB + 77);
    world.put("a/big", content.clone());
    let mount = world.mount().await;
    let (open, door) = mpsc::channel();
    drop(open);
    let pages = Pages::of(&mount, door);
    let file = mount.open("a/big", How::Read).await.unwrap();
    wander(&file, &content, || pages.bytes() > 0).await;
    eventually("all of it", || async { pages.bytes() == content.len() as u64 }).await;
    assert!(pages.are_of(&content));
    file.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_given_to_the_kernel_once_somebody_has_it_open_for_writing() {
    let world = World::new();
    let content = pattern(3, 24 * MIB);
    world.put("a/big", content.clone());
    let mount = world.mount().await;
    let (closed, door) = mpsc::channel();
    let pages = Pages::of(&mount, door);
    let file = mount.open("a/big", How::Read).await.unwrap();
    wander(&file, &content, || pages.bytes() > 0).await;
    // A piece is being stored. Who opens the file for writing has to wait for that, and for no more.
    let opening = mount.open("a/big", How::Edit);
    tokio::pin!(opening);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut opening).await.is_err());
    drop(closed);
    let writing = opening.await.unwrap();
    let stored = pages.bytes();
    writing.write(0, b"ours").await.unwrap();
    writing.close().await.unwrap();
    assert_eq!(pages.bytes(), stored);
    assert!(stored <= STORED_AT_ONCE, "{stored}");
    file.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_the_kernel_waits_for_are_not_stored() {
    let world = World::new();
    let content = pattern(3, 24 * MIB);
    world.put("a/big", content.clone());
    let mount = world.mount().await;
    let (closed, door) = mpsc::channel();
    drop(closed);
    let pages = Pages::of(&mount, door);
    let file = mount.open("a/big", How::Read).await.unwrap();
    let (waited, page) = (10 * MIB as u64 + 100, sys::page_bytes());
    let awaiting = mount.filesystem().await_read(file.handle, waited, 1).expect("it is open");
    let missing = pages.clone();
    wander(&file, &content, || missing.bytes() == content.len() as u64 - page).await;
    assert!(pages.are_of(&content));
    let holds = |at: u64, pages: &[Page]| {
        pages.iter().any(|(start, bytes)| (*start..*start + bytes.len() as u64).contains(&at))
    };
    assert!(!holds(waited, &pages.0.lock()) && holds(waited + page, &pages.0.lock()));
    drop(awaiting);
    file.close().await.unwrap();
}

/// Pieces of a file that the kernel is given at a time, together.
const STORED_AT_ONCE: u64 = 4 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn another_version_is_not_shown_before_the_last_page_of_the_old_one_is_stored() {
    let world = World::new();
    let content = pattern(3, 24 * MIB);
    world.put("a/big", content.clone());
    let mount = world.mount().await;
    let (closed, door) = mpsc::channel();
    let pages = Pages::of(&mount, door);
    let file = mount.open("a/big", How::Read).await.unwrap();
    wander(&file, &content, || pages.bytes() == STORED_AT_ONCE).await;
    world.put("a/big", pattern(4, 24 * MIB));
    tokio::time::sleep(OPEN_MEMORY).await;
    // Even if the first reader leaves meanwhile.
    let (closing, opening) = (file.close(), mount.open("a/big", How::Read));
    tokio::pin!(closing, opening);
    let wait = Duration::from_millis(50);
    assert!(tokio::time::timeout(wait, &mut closing).await.is_err());
    assert!(tokio::time::timeout(wait, &mut opening).await.is_err());
    drop(closed);
    closing.await.unwrap();
    opening.await.unwrap().close().await.unwrap();
    assert_eq!(pages.bytes(), STORED_AT_ONCE, "nothing was stored after that");
}
