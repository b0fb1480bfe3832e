//! A whole cache in a scratch folder, in front of a source that counts what it is asked for.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::layout::{BLOCK_BYTES, Layout, Version};
use super::*;
use crate::error::Kind;
use crate::read::fetch::{Body, Source};
use crate::s3::{ByteRange, S3Error};

const MIB: u64 = 1 << 20;

/// An object whose content follows from its name.
struct Object {
    content: Bytes,
    asked: Mutex<Vec<ByteRange>>,
    blocks: Arc<ObjectBlocks>,
}

struct Chunks(Bytes);

impl Body for Chunks {
    async fn next(&mut self) -> Option<Result<Bytes, S3Error>> {
        // Whoever waits gets his turn after each chunk.
        tokio::task::yield_now().await;
        let odd = self.0.len().min(30_011);
        (odd > 0).then(|| Ok(self.0.split_to(odd)))
    }
}

impl Source for Object {
    type Body = Chunks;

    async fn get(&self, range: ByteRange) -> Result<Chunks, S3Error> {
        self.asked.lock().push(range);
        Ok(Chunks(self.content.slice(range.start as usize..range.end as usize)))
    }

    fn latency(&self) -> Option<Duration> {
        None
    }

    fn is_same_version(&self, _: &Chunks) -> bool {
        true
    }

    fn blocks(&self) -> Option<&Arc<ObjectBlocks>> {
        Some(&self.blocks)
    }
}

impl Object {
    fn new(cache: &Arc<BlockCache>, key: &str, size: u64) -> Arc<Self> {
        Self::of(key, size, object(cache, ["bucket", key, "\"etag\""], size))
    }

    fn of(key: &str, size: u64, blocks: Arc<ObjectBlocks>) -> Arc<Self> {
        let mut content = vec![0; size as usize];
        fastrand::Rng::with_seed(layout::checksum(key.as_bytes())).fill(&mut content);
        Arc::new(Self { content: content.into(), asked: Mutex::default(), blocks })
    }

    /// Reads a range, checks its bytes, and tells for how many of them S3 was asked.
    async fn read(self: &Arc<Self>, start: u64, length: u64) -> u64 {
        let (range, mut bytes) = (ByteRange { start, end: start + length }, Vec::new());
        let _from_s3 = fetch(self, range, |chunk| bytes.extend_from_slice(&chunk)).await.unwrap();
        assert!(bytes == self.content[range.start as usize..range.end as usize], "wrong bytes for {range}");
        self.asked.lock().drain(..).map(|range| range.len()).sum()
    }

    async fn read_all(self: &Arc<Self>) -> u64 {
        self.read(0, self.content.len() as u64).await
    }

    /// What is there without waiting, checked.
    fn try_read(&self, start: u64, length: u64) -> bool {
        let range = ByteRange { start, end: start + length };
        let bytes = self.blocks.try_read(range);
        if let Some(bytes) = &bytes {
            assert!(
                bytes == &self.content[range.start as usize..range.end as usize],
                "wrong bytes for {range}"
            );
        }
        bytes.is_some()
    }
}

fn object(cache: &Arc<BlockCache>, names: [&str; 3], size: u64) -> Arc<ObjectBlocks> {
    cache.object(names, size, &Budget::new(256 * MIB), &Tasks::new(Handle::current()))
}

fn cache_of(folder: &TempDir, bytes_max: u64) -> Arc<BlockCache> {
    cache_on(folder, bytes_max, roomy).unwrap()
}

fn cache_on(folder: &TempDir, bytes_max: u64, space: SpaceOf) -> Result<Arc<BlockCache>> {
    let (directory, origin) = (folder.path().join("cache"), "test".to_owned());
    BlockCache::open_on(CacheOptions { directory, bytes_max, origin }, space)
}

/// Tests of other things do not depend on how full this machine's disk is.
fn roomy(_: &Path) -> io::Result<sys::Space> {
    Ok(sys::Space { total_bytes: 1 << 40, free_bytes: 1 << 39 })
}

fn files(folder: &TempDir) -> Vec<PathBuf> {
    let found = fs::read_dir(folder.path().join("cache/blocks-1")).unwrap();
    let mut paths: Vec<PathBuf> = found.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| !path.ends_with("ledger"));
    paths.sort();
    paths
}

fn bytes_on_disk(folder: &TempDir) -> u64 {
    // Another cache may remove a file between the two looks.
    files(folder).iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.blocks() * 512).sum()
}

#[tokio::test]
async fn what_was_read_once_is_read_from_the_disk_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    for (key, size) in [("small", 5_000), ("packed", MIB), ("large", 5 * MIB + 77)] {
        let first = cache_of(&folder, 100 * MIB);
        let object = Object::new(&first, key, size);
        assert_eq!(object.read_all().await, size);
        first.settled().await;
        assert_eq!(first.report().skipped_blocks, 0);
        drop((object, first));
        let second = cache_of(&folder, 100 * MIB);
        let object = Object::new(&second, key, size);
        assert_eq!(object.read_all().await, 0, "{key}");
        assert_eq!(object.read(size / 2, 1).await, 0, "{key}");
        assert_eq!(second.report().served_bytes, size + 1);
    }
}

#[tokio::test]
async fn only_what_is_missing_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache_of(&folder, 400 * MIB);
    let object = Object::new(&cache, "key", 8 * MIB);
    // Two halves of one block, by two requests; the blocks at both ends are not whole.
    assert_eq!(object.read(2 * MIB + 5, MIB + 20_000).await, MIB + 20_000);
    assert_eq!(object.read(3 * MIB + 20_005, MIB).await, MIB);
    cache.settled().await;
    let missing = object.read_all().await;
    let blocks = 2 * MIB / BLOCK_BYTES - 1;
    assert_eq!(missing, 8 * MIB - blocks * BLOCK_BYTES);
    cache.settled().await;
    assert_eq!(object.read_all().await, 0);
}

#[tokio::test]
async fn what_came_from_s3_is_told_from_what_lay_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache_of(&folder, 100 * MIB);
    let object = Object::new(&cache, "key", 4 * BLOCK_BYTES);
    let fetched = |start: u64, end: u64| fetch(&object, ByteRange { start, end }, drop);
    assert_eq!(fetched(0, BLOCK_BYTES).await.unwrap(), BLOCK_BYTES);
    cache.settled().await;
    assert_eq!(fetched(100, BLOCK_BYTES).await.unwrap(), 0);
    assert_eq!(fetched(100, 2 * BLOCK_BYTES).await.unwrap(), BLOCK_BYTES);
}

#[tokio::test]
async fn a_block_is_kept_though_its_reader_left_with_a_few_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache_of(&folder, 100 * MIB);
    let object = Object::new(&cache, "key", 4 * MIB);
    let range = ByteRange { start: MIB, end: MIB + BLOCK_BYTES };
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut tell = Some(tell);
    tokio::select! {
        biased;
        _ = told => {}
        _ = fetch(&object, range, |_| tell.take().into_iter().for_each(|tell| tell.send(()).unwrap())) => {}
    }
    // Far more turns than there are chunks.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    cache.settled().await;
    object.asked.lock().clear();
    assert_eq!(object.read(MIB, BLOCK_BYTES).await, 0);
}

#[tokio::test]
async fn the_rest_of_what_is_read_here_and_there_is_fetched_in_the_background() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache_of(&folder, 400 * MIB);
    for (key, size, is_filled) in [("fits", 40 * MIB, true), ("too large", 101 * MIB, false)] {
        let object = Object::new(&cache, key, size);
        let other_handle = Object::new(&cache, key, size);
        for block in 0..16 {
            object.read(block * 34 * BLOCK_BYTES + 5, 100).await;
            other_handle.read((block * 34 + 17) * BLOCK_BYTES + 5, 100).await;
        }
        // Ten parts are permitted by the misses beyond the first sixteen.
        let all_is_there = async {
            while bytes_on_disk(&folder) < size {
                cache.settled().await;
                tokio::task::yield_now().await;
            }
        };
        if is_filled {
            tokio::time::timeout(Duration::from_secs(60), all_is_there).await.unwrap();
        }
        cache.settled().await;
        object.asked.lock().clear();
        assert_eq!(object.read(20 * MIB, MIB).await == 0, is_filled, "{key}");
    }
}

#[tokio::test]
async fn a_damaged_block_is_fetched_again_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache_of(&folder, 100 * MIB);
    for (key, size) in [("packed", MIB), ("large", 3 * MIB)] {
        let object = Object::new(&cache, key, size);
        object.read_all().await;
        cache.settled().await;
        let extension = if key == "packed" { "packed" } else { "content" };
        let path = files(&folder).into_iter().find(|path| path.extension() == Some(extension.as_ref()));
        let file = File::options().read(true).write(true).open(path.unwrap()).unwrap();
        let at = 3 * BLOCK_BYTES + 1234;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
        assert!(!object.try_read(at, 1) && !object.try_read(at - 1000, 10));
        assert_eq!(object.read_all().await, BLOCK_BYTES, "{key}");
        cache.settled().await;
        assert_eq!(object.read_all().await, 0, "{key}");
    }
}

#[tokio::test]
async fn what_lies_in_the_page_cache_is_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache_of(&folder, 100 * MIB);
    let object = Object::new(&cache, "key", 4 * MIB - 5);
    assert!(!object.try_read(0, 4096), "there is nothing yet");
    object.read(0, 2 * MIB).await;
    cache.settled().await;
    // Where a file system cannot tell, as tmpfs could not for long, it is simply not done.
    if object.try_read(0, 4096) {
        assert!(object.try_read(MIB - 100, MIB) && object.try_read(2 * MIB - 1, 1));
        assert!(!object.try_read(2 * MIB - 1, 2), "of the last byte there is nothing");
    }
}

#[tokio::test]
async fn another_version_size_bucket_or_server_is_another_thing() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache_of(&folder, 100 * MIB);
    Object::new(&cache, "key", 1000).read_all().await;
    cache.settled().await;
    let elsewhere = CacheOptions {
        directory: folder.path().join("cache"),
        bytes_max: 100 * MIB,
        origin: "elsewhere".to_owned(),
    };
    let elsewhere = BlockCache::open_on(elsewhere, roomy).unwrap();
    for blocks in [
        object(&cache, ["bucket", "key", "\"other\""], 1000),
        object(&cache, ["bucket", "key", "\"etag\""], 1001),
        object(&cache, ["tekcub", "key", "\"etag\""], 1000),
        object(&elsewhere, ["bucket", "key", "\"etag\""], 1000),
    ] {
        let object = Object::of("key", 1001, blocks);
        assert_eq!(object.read(0, 1000).await, 1000);
    }
    assert_eq!(Object::new(&cache, "key", 1000).read_all().await, 0);
}

#[tokio::test]
async fn the_bound_is_kept_and_what_was_used_last_stays() {
    let folder = tempfile::tempdir().unwrap();
    let bytes_max = 16 * MIB;
    let cache = cache_of(&folder, bytes_max);
    for at in 0..40 {
        Object::new(&cache, &format!("key {at}"), MIB).read_all().await;
        cache.settled().await;
        assert!(bytes_on_disk(&folder) <= bytes_max, "after {at}: {}", bytes_on_disk(&folder));
    }
    assert_eq!(Object::new(&cache, "key 39", MIB).read_all().await, 0);
    assert_eq!(Object::new(&cache, "key 0", MIB).read_all().await, MIB);
    assert!(bytes_on_disk(&folder) > bytes_max / 2, "it is used");
}

#[tokio::test]
async fn an_object_larger_than_the_cache_is_read_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache_of(&folder, 8 * MIB);
    let object = Object::new(&cache, "key", 30 * MIB);
    for _ in 0..2 {
        for at in 0..30 {
            object.read(at * MIB, MIB).await;
            cache.settled().await;
            assert!(bytes_on_disk(&folder) <= 8 * MIB);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_caches_share_a_folder_and_never_a_wrong_byte() {
    let folder = tempfile::tempdir().unwrap();
    let bytes_max = 12 * MIB;
    let caches: Vec<_> = (0..3).map(|_| cache_of(&folder, bytes_max)).collect();
    let object = Object::new(&caches[0], "shared", MIB);
    object.read_all().await;
    caches[0].settled().await;
    assert_eq!(Object::new(&caches[1], "shared", MIB).read_all().await, 0, "one reads what the other kept");
    let tasks = Tasks::new(Handle::current());
    let asked = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..6)
        .map(|seed: usize| {
            let (cache, asked) = (Arc::clone(&caches[seed % 3]), Arc::clone(&asked));
            tasks.spawn("reader", async move {
                let mut random = fastrand::Rng::with_seed(seed as u64);
                for _ in 0..60 {
                    let object = Object::new(&cache, &format!("key {}", random.u32(..20)), 2 * MIB + 99);
                    let start = random.u64(..2 * MIB);
                    let length = random.u64(1..300_000).min(2 * MIB + 99 - start);
                    object.try_read(start, length);
                    asked.fetch_add(object.read(start, length).await, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    for cache in &caches {
        cache.settled().await;
    }
    assert!(bytes_on_disk(&folder) <= bytes_max, "{}", bytes_on_disk(&folder));
}

#[tokio::test]
async fn what_is_in_use_is_not_evicted() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache_of(&folder, 100 * MIB);
    let object = Object::new(&cache, "key", MIB);
    object.read_all().await;
    cache.settled().await;
    let name = entry::name_of(&files(&folder)[0]).unwrap();
    let path = folder.path().join("cache/blocks-1");
    assert!(!entry::remove(&path, name).unwrap(), "the cache has it open");
    assert_eq!(object.read_all().await, 0);
    drop((object, cache));
    // The thread lets go a moment after the last handle.
    while !entry::remove(&path, name).unwrap() {
        tokio::task::yield_now().await;
    }
    assert!(files(&folder).is_empty());
}

#[tokio::test]
async fn what_a_crash_leaves_is_cleared_or_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache_of(&folder, 100 * MIB);
    for key in ["content lost", "index lost", "header lost", "zeros"] {
        Object::new(&cache, key, 2 * MIB).read_all().await;
    }
    cache.settled().await;
    drop(cache);
    let path = |key: &str, extension: &str| {
        let [origin, bucket, etag] = ["test", "bucket", "\"etag\""].map(str::to_owned);
        let version = Version { origin, bucket, key: key.to_owned(), etag, size: 2 * MIB };
        let segment_bytes = evict::Bounds::new(100 * MIB, 0).segment_bytes(BLOCK_BYTES);
        let name = Layout::of(&version, 0, segment_bytes).name;
        folder.path().join(format!("cache/blocks-1/{name:016x}.{extension}"))
    };
    fs::remove_file(path("content lost", "content")).unwrap();
    fs::remove_file(path("index lost", "index")).unwrap();
    File::options()
        .write(true)
        .open(path("header lost", "index"))
        .unwrap()
        .write_all_at(&[0; 64], 0)
        .unwrap();
    // The index reached the disk, and of the content only its length.
    let zeros = File::options().write(true).open(path("zeros", "content")).unwrap();
    zeros.set_len(0).and_then(|()| zeros.set_len(2 * MIB)).unwrap();
    fs::write(folder.path().join("cache/blocks-1/ledger"), [7; 3]).unwrap();

    let cache = cache_of(&folder, 100 * MIB);
    cache.settled().await;
    assert!(!path("index lost", "content").exists(), "it was cleared");
    let outstanding = cache.report().used_bytes - bytes_on_disk(&folder);
    assert!(outstanding < 4 * MIB, "the ledger was set right: {outstanding}");
    for key in ["content lost", "index lost", "header lost", "zeros"] {
        assert_eq!(Object::new(&cache, key, 2 * MIB).read_all().await, 2 * MIB, "{key}");
    }
    cache.settled().await;
    for key in ["content lost", "index lost", "zeros"] {
        assert_eq!(Object::new(&cache, key, 2 * MIB).read_all().await, 0, "{key}");
    }
}

#[tokio::test]
async fn a_full_disk_is_left_alone() {
    fn full(_: &Path) -> io::Result<sys::Space> {
        Ok(sys::Space { total_bytes: 1 << 40, free_bytes: 15 << 30 })
    }
    let folder = tempfile::tempdir().unwrap();
    let cache = cache_on(&folder, 100 * MIB, full).unwrap();
    let object = Object::new(&cache, "key", 2 * MIB);
    for _ in 0..2 {
        assert_eq!(object.read_all().await, 2 * MIB);
        cache.settled().await;
    }
    assert!(files(&folder).is_empty());
    drop((object, cache));
    // What there is goes as soon as others need the disk.
    let cache = cache_of(&folder, 100 * MIB);
    Object::new(&cache, "key", 2 * MIB).read_all().await;
    cache.settled().await;
    drop(cache);
    assert!(!files(&folder).is_empty());
    while !files(&folder).is_empty() {
        cache_on(&folder, 100 * MIB, full).unwrap().settled().await;
    }
}

#[tokio::test]
async fn nobody_else_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache_of(&folder, 100 * MIB);
    for size in [1000, 2 * MIB] {
        Object::new(&cache, "key", size).read_all().await;
    }
    cache.settled().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let path = folder.path().join("cache/blocks-1");
    assert_eq!(mode(&path), 0o700);
    assert_eq!(files(&folder).len(), 3);
    assert!(files(&folder).iter().chain([&path.join("ledger")]).all(|path| mode(path) == 0o600));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    let error = cache_on(&folder, 100 * MIB, roomy).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
}
