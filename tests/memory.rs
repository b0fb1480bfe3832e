//! How much memory a mount takes, as the kernel counts it.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use bytes::Bytes;
use s3xmount::config::mount_point::is_mounted;
use s3xmount::emulator::demo::Rights;
use s3xmount::emulator::{self, RunningEmulator, demo};

use crate::support::real::{Home, can_mount, umount};
use crate::support::{MIB, eventually, pattern};

const BUDGET_MIB: usize = 64;
const FILES: usize = 256;
const BUCKET: &str = demo::BUCKETS[0];

/// A mount with a budget of 64 MiB.
struct Mounted {
    home: Home,
    mount: Child,
    // Outlives the mount.
    _emulator: RunningEmulator,
}

impl Mounted {
    async fn over(world: emulator::World) -> Self {
        let (emulator, home) = (RunningEmulator::start(world).unwrap(), Home::new());
        let budget = format!("{BUDGET_MIB}MiB");
        let flags =
            ["--foreground", "--role-arn", &demo::role_arn(), "--bucket", BUCKET, "--memory", &budget];
        let mount = home.command_of(&emulator, &flags).stdout(Stdio::null()).spawn().unwrap();
        eventually("it is mounted", async || is_mounted(&home.mount_point())).await;
        Self { home, mount, _emulator: emulator }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.mount_point().join(BUCKET).join(name)
    }

    /// What the kernel counts, in MiB.
    fn memory(&self, what: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.mount.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim_start_matches(':').trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() / 1024
    }

    fn end(mut self) {
        assert!(umount(&self.home.mount_point(), &[]));
        self.mount.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_many_files_at_once_stays_within_the_budget_and_100_mib() {
    if !can_mount() {
        return;
    }
    let world = demo::world(Rights::Full);
    let content = Bytes::from(pattern(7, 5 * MIB));
    for at in 0..FILES {
        world.seed(BUCKET, &format!("many/f{at:03}"), content.clone());
    }
    let mounted = Mounted::over(world).await;
    for count in [1, 16, FILES] {
        std::thread::scope(|scope| {
            for at in 0..count {
                let (path, content) = (mounted.path(&format!("many/f{at:03}")), &content);
                scope.spawn(move || assert!(fs::read(path).unwrap() == content[..]));
            }
        });
        let peak = mounted.memory("VmHWM");
        assert!(peak <= BUDGET_MIB + 100, "{peak} MiB with {count} files");
    }
    mounted.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn changing_a_large_file_stays_within_the_same_and_gives_it_back() {
    if !can_mount() {
        return;
    }
    let mounted = Mounted::over(demo::world(Rights::Full)).await;
    let piece = pattern(8, 12 * MIB);
    let file = File::options().read(true).write(true).create_new(true).open(mounted.path("large")).unwrap();
    for at in 0..5 {
        file.write_all_at(&piece, (at * piece.len()) as u64).unwrap();
    }
    for round in 0..6 {
        for at in 0..8 {
            let length = (at % 4 + 1) * 3 * MIB;
            file.write_all_at(&piece[..length], ((at * 6 + round) * MIB) as u64).unwrap();
        }
        file.sync_all().unwrap();
    }
    let peak = mounted.memory("VmHWM");
    assert!(peak <= BUDGET_MIB + 100, "{peak} MiB");
    drop(file);
    // Its own code counts as memory, too, and it is not small in a build for tests.
    eventually("the memory is given back", async || mounted.memory("RssAnon") <= 32).await;
    mounted.end();
}
