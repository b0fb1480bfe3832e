//! What was read once, kept on the disk: from one mount to the next, and never too long.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use s3xmount::emulator::demo::Rights;
use s3xmount::emulator::{RunningEmulator, demo};
use s3xmount::read::{BlockCache, CacheOptions};
use tempfile::TempDir;

use crate::support::real::{Home, can_mount, text, umount};
use crate::support::{How, MIB, Options, World, eventually, pattern};

/// A cache in a scratch folder, as one process after the other opens it.
struct Disk(TempDir);

impl Disk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn cache(&self) -> Arc<BlockCache> {
        let directory = self.0.path().to_owned();
        let options = CacheOptions { directory, bytes_max: 1 << 30, origin: "the emulator".to_owned() };
        BlockCache::open(options).unwrap()
    }

    fn mount(&self) -> (Options, Arc<BlockCache>) {
        let cache = self.cache();
        (Options { cache: Some(Arc::clone(&cache)), ..Options::default() }, cache)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_mount_has_read_the_next_one_reads_without_a_get() {
    let (world, disk) = (World::new(), Disk::new());
    // One in each directory, so that none is fetched before it is opened.
    let files =
        [("a/x/big", pattern(1, 9 * MIB + 5)), ("a/small", pattern(2, 3000)), ("b/big", pattern(3, 2 * MIB))];
    for (path, bytes) in &files {
        world.put(path, bytes.clone());
    }
    for is_first in [true, false] {
        let (options, cache) = disk.mount();
        let mount = world.mount_with(options).await;
        world.forget_requests();
        for (path, bytes) in &files {
            assert!(mount.read_file(path).await.unwrap() == *bytes, "{path}");
        }
        cache.settled().await;
        let report = cache.report();
        assert_eq!(world.count("GetObject") > 0, is_first, "{report:?}");
        assert!(world.count("HeadObject") > 0, "that it is still the same is asked each time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_before_it_was_opened_is_kept_once_it_is() {
    let (world, disk) = (World::new(), Disk::new());
    let (path, content) = (|at: usize| format!("a/small/f{at:02}"), |at: usize| pattern(at as u8, 1000 + at));
    (0..20).for_each(|at| world.put(&path(at), content(at)));
    let (options, cache) = disk.mount();
    let mount = world.mount_with(options).await;
    world.forget_requests();
    for at in 0..3 {
        assert!(mount.read_file(&path(at)).await.unwrap() == content(at));
        // The second one shows where this goes.
        eventually("more is fetched", || async { at == 0 || world.count("GetObject") >= 5 }).await;
    }
    cache.settled().await;
    let (options, cache) = disk.mount();
    let mount = world.mount_with(options).await;
    assert!(mount.read_file(&path(2)).await.unwrap() == content(2));
    let report = cache.report();
    assert_eq!((report.served_bytes, report.fetched_bytes), (1002, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_object_is_never_read_from_the_cache() {
    let (world, disk) = (World::new(), Disk::new());
    let [old, new] = [1, 2].map(|fill| pattern(fill, 3 * MIB));
    world.put("a/file", old.clone());
    let (options, cache) = disk.mount();
    let mount = world.mount_with(options).await;
    assert!(mount.read_file("a/file").await.unwrap() == old);
    cache.settled().await;
    let reader = mount.open("a/file", How::Read).await.unwrap();
    world.put("a/file", new.clone());
    // For half a second an open may take the version of the lookup before it.
    eventually("the same mount sees it", || async { mount.read_file("a/file").await.unwrap() == new }).await;
    reader.close().await.unwrap();
    let (options, _) = disk.mount();
    let mount = world.mount_with(options).await;
    assert!(mount.read_file("a/file").await.unwrap() == new, "and so does the next");
    mount.write_file("a/file", &old[..MIB]).await.unwrap();
    assert!(mount.read_file("a/file").await.unwrap() == old[..MIB], "and what it writes itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_an_object_does_not_read_it_from_the_cache() {
    let (world, disk) = (World::new(), Disk::new());
    world.put("a/file", pattern(1, MIB));
    let (options, cache) = disk.mount();
    let mount = world.mount_with(options.clone()).await;
    mount.read_file("a/file").await.unwrap();
    cache.settled().await;
    world.set_bucket_policy(demo::BUCKETS[0], None);
    eventually("it asks whether it may", || async { mount.read_file("a/file").await.is_err() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_reads_are_kept_block_by_block() {
    let (world, disk) = (World::new(), Disk::new());
    let bytes = pattern(1, 64 * MIB);
    world.put("a/big", bytes.clone());
    let mut random = fastrand::Rng::with_seed(7);
    // Few enough that the rest is not fetched too.
    let places: Vec<usize> = (0..12).map(|_| random.usize(..64 * MIB - 5000)).collect();
    // Each read is answered as soon as its bytes are there, before those of its block; so the first
    // passes may be over before all blocks are kept.
    let (mut is_first, mut fetched_bytes) = (true, 0);
    let begun = Instant::now();
    while is_first || world.count("GetObject") > 0 {
        assert!(begun.elapsed().as_secs() < 60);
        is_first = false;
        let (options, cache) = disk.mount();
        let mount = world.mount_with(options).await;
        world.forget_requests();
        let file = mount.open("a/big", How::Read).await.unwrap();
        for at in &places {
            assert_eq!(file.read(*at as u64, 4096).await.unwrap(), bytes[*at..at + 4096], "at {at}");
        }
        file.close().await.unwrap();
        cache.settled().await;
        fetched_bytes += cache.report().fetched_bytes;
    }
    assert!((12 * 4096..=12 * (256 << 10)).contains(&fetched_bytes), "{fetched_bytes}");
}

/// A real mount with a cache beside it.
struct Mounted {
    home: Home,
    emulator: RunningEmulator,
    cache: std::path::PathBuf,
}

impl Mounted {
    fn new() -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let (home, emulator) = (Home::new(), RunningEmulator::start(demo::world(Rights::Full)).unwrap());
        let cache = home.path().join("cache");
        Some(Self { home, emulator, cache })
    }

    /// Mounts; a mount that was ended a moment ago may still be putting its things away.
    fn mount(&self, flags: &[&str]) {
        let (begun, role) = (Instant::now(), demo::role_arn());
        let common = ["--role-arn", &role, "--cache", self.cache.to_str().unwrap()];
        loop {
            let output = self.home.mount_with(&self.emulator, &[flags, &common].concat());
            let said = text(&output.stderr);
            match output.status.code() {
                Some(0) => return,
                _ if said.contains("is in use by another mount") && begun.elapsed().as_secs() < 30 => {}
                _ => panic!("{said}"),
            }
        }
    }

    fn umount(&self) {
        assert!(umount(&self.home.mount_point(), &[]));
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.home.mount_point().join(path)
    }

    fn gets(&self) -> u64 {
        self.emulator.world().faults.count("GetObject")
    }
}

#[test]
fn a_restarted_mount_reads_from_the_disk() {
    let Some(mounted) = Mounted::new() else { return };
    let bytes = pattern(5, 20 * MIB);
    mounted.emulator.world().seed(demo::BUCKETS[0], "big", bytes.clone());
    let path = mounted.path("SampleBucketA/big");
    mounted.mount(&[]);
    assert!(fs::read(&path).unwrap() == bytes);
    mounted.umount();
    mounted.mount(&[]);
    let before = mounted.gets();
    assert!(fs::read(&path).unwrap() == bytes);
    let status = mounted.home.s3xmount(&["status", mounted.home.mount_point().to_str().unwrap()]);
    assert!(text(&status.stdout).contains("cache "), "{}", text(&status.stdout));
    assert_eq!(mounted.gets(), before);
    mounted.umount();
}

/// Two processes at once on one cache, that reads of both fill and that is too small for what they read.
#[test]
fn two_mounts_share_a_cache_and_see_no_wrong_byte() {
    let Some(one) = Mounted::new() else { return };
    let world = one.emulator.world();
    let key = |at: usize| format!("many/f{at:02}");
    let content = |at: usize, version: u8| pattern(version * 50 + at as u8, 3 * MIB + at * 1000);
    (0..30).for_each(|at| world.seed(demo::BUCKETS[0], &key(at), content(at, 0)));
    let other = Home::new();
    let (role, cache) = (demo::role_arn(), one.cache.to_str().unwrap().to_owned());
    one.mount(&["--cache-size", "64MiB"]);
    let flags = ["--role-arn", &role, "--cache", &cache, "--cache-size", "64MiB"];
    assert_eq!(other.mount_with(&one.emulator, &flags).status.code(), Some(0));
    let roots = [one.path("SampleBucketA"), other.mount_point().join("SampleBucketA")];
    for version in [0, 1] {
        // Somebody replaced them all, and their length is the same.
        (0..30).for_each(|at| world.seed(demo::BUCKETS[0], &key(at), content(at, version)));
        std::thread::scope(|scope| {
            for (turn, root) in roots.iter().cycle().take(4).enumerate() {
                scope.spawn(move || {
                    for at in (0..60).map(|step| (step * 7 + turn * 11) % 30) {
                        let read = fs::read(root.join(key(at))).unwrap();
                        // For half a second an open may take the version of the lookup before it.
                        let is_old = version == 1 && read == content(at, 0);
                        assert!(is_old || read == content(at, version), "{at} in version {version}");
                    }
                });
            }
        });
    }
    assert!(umount(&other.mount_point(), &[]));
    one.umount();
}

#[test]
fn a_disk_that_fills_up_costs_no_read() {
    let Some(mounted) = Mounted::new() else { return };
    fs::create_dir(&mounted.cache).unwrap();
    let on_tmpfs = |mounted: &Mounted| {
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "none"]).arg(&mounted.cache).status();
        mount.is_ok_and(|status| status.success())
    };
    if !on_tmpfs(&mounted) {
        return;
    }
    let tmpfs = Tmpfs(&mounted.cache);
    let bytes = pattern(5, 20 * MIB);
    mounted.emulator.world().seed(demo::BUCKETS[0], "big", bytes.clone());
    for at in 0..3 {
        mounted.emulator.world().seed(demo::BUCKETS[0], &format!("new {at}"), bytes[..2 * MIB].to_vec());
    }
    mounted.mount(&[]);
    let path = mounted.path("SampleBucketA/big");
    assert!(fs::read(&path).unwrap() == bytes);
    // Somebody else fills it to the last byte.
    let stuffing = fs::write(mounted.cache.join("stuffing"), vec![1; 9 * MIB]);
    assert!(stuffing.is_err());
    for at in 0..3 {
        assert!(fs::read(mounted.path(&format!("SampleBucketA/new {at}"))).unwrap() == bytes[..2 * MIB]);
    }
    mounted.umount();
    drop(tmpfs);
}

/// Unmounted at the end, however that comes.
struct Tmpfs<'a>(&'a Path);

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        umount(self.0, &["-l"]);
    }
}

/// What the kernel reads by itself does not come through us, and so is not counted.
#[test]
fn a_file_that_was_read_from_the_cache_is_passed_through_where_nothing_can_be_written() {
    let Some(mounted) = Mounted::new() else { return };
    let [old, new] = [1, 2].map(|fill| pattern(fill, 5 * MIB));
    mounted.emulator.world().seed(demo::BUCKETS[0], "big", old.clone());
    let path = mounted.path("SampleBucketA/big");
    mounted.mount(&[]);
    assert!(fs::read(&path).unwrap() == old);
    mounted.umount();
    mounted.mount(&["--read-only", "-v"]);
    // The first time it is checked, through us.
    assert!(fs::read(&path).unwrap() == old);
    let before = mounted.served();
    assert!(before >= 5);
    let reader = fs::File::open(&path).unwrap();
    if fs::read_to_string(mounted.home.log()).unwrap().contains("files are not passed through") {
        return;
    }
    drop_pages();
    assert!(fs::read(&path).unwrap() == old);
    assert_eq!(mounted.served(), before, "the kernel read it by itself");

    // Somebody replaces the object. Whoever has it open reads on; nobody is shown the old one as the new.
    mounted.emulator.world().seed(demo::BUCKETS[0], "big", new.clone());
    let begun = Instant::now();
    let error = loop {
        match fs::read(&path) {
            // For half a second an open may take the version of the lookup before it.
            Ok(bytes) => assert!(bytes == old && begun.elapsed().as_secs() < 30),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StaleNetworkFileHandle);
    let mut byte = [0];
    std::os::unix::fs::FileExt::read_exact_at(&reader, &mut byte, 4 * MIB as u64).unwrap();
    assert_eq!(byte[0], old[4 * MIB]);
    drop(reader);
    // The kernel tells us of a close some time after it.
    let begun = Instant::now();
    while fs::read(&path).is_err() {
        assert!(begun.elapsed().as_secs() < 30);
    }
    assert!(fs::read(&path).unwrap() == new);
    mounted.umount();
}

impl Mounted {
    /// MiB that were read from the cache, as `status` has it.
    fn served(&self) -> u64 {
        let status = self.home.s3xmount(&["status", "--json", self.home.mount_point().to_str().unwrap()]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        status["cache"]["served_bytes"].as_u64().unwrap() / MIB as u64
    }
}

/// What the kernel remembers of file contents, so that it has to ask again.
fn drop_pages() {
    let dropped = fs::write("/proc/sys/vm/drop_caches", "1");
    dropped.unwrap_or_default();
}
