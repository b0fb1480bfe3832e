//! How much memory a mount takes, as the kernel counts it.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use s3xmount::config::mount_point::is_mounted;
use s3xmount::emulator::demo::Rights;
use s3xmount::emulator::{RunningEmulator, demo};

use crate::support::real::{Home, can_mount, umount};
use crate::support::{MIB, pattern};

const BUDGET_MIB: usize = 64;
const FILES: usize = 256;

#[test]
fn reading_many_files_at_once_stays_within_the_budget_and_100_mib() {
    if !can_mount() {
        return;
    }
    let world = demo::world(Rights::Full);
    let content = Bytes::from(pattern(7, 5 * MIB));
    for at in 0..FILES {
        world.seed(demo::BUCKETS[0], &format!("many/f{at:03}"), content.clone());
    }
    let (emulator, home) = (RunningEmulator::start(world).unwrap(), Home::new());
    let budget = format!("{BUDGET_MIB}MiB");
    let (role, bucket) = (demo::role_arn(), demo::BUCKETS[0]);
    let flags = ["--foreground", "--role-arn", &role, "--bucket", bucket, "--memory", &budget];
    let mut mount = home.command_of(&emulator, &flags).stdout(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !is_mounted(&home.mount_point()) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not mount");
        std::thread::yield_now();
    }
    for count in [1, 16, FILES] {
        std::thread::scope(|scope| {
            for at in 0..count {
                let path = home.mount_point().join(bucket).join(format!("many/f{at:03}"));
                let content = &content;
                scope.spawn(move || assert!(fs::read(path).unwrap() == content[..]));
            }
        });
        let status = fs::read_to_string(format!("/proc/{}/status", mount.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: usize = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        assert!(peak / 1024 <= BUDGET_MIB + 100, "{} MiB with {count} files", peak / 1024);
    }
    assert!(umount(&home.mount_point(), &[]));
    mount.wait().unwrap();
}
