//! fsx, the file system exerciser that has found faults in file systems since 1991: random reads, writes, mappings, cuts, holes and
//! copies of one file, each read compared with what was written. Written by others; `scripts/needs` installs it.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use s3xmount::emulator::demo::{self, Rights};

use crate::support::World;
use crate::support::real::{Home, can_mount, text, umount};

/// All operations that it has. Of a file of 300,000 bytes nearly everything is interesting; in one of 24 MB
/// parts leave while it is written, and are copied inside S3 afterwards.
const SMALL: &str = "flen = 300000\n[opsize]\nmax = 65536\n";
const LARGE: &str = "flen = 24000000\n[opsize]\nmax = 3000000\n";
const ALL: &str = "[weights]\nclose_open = 5\ninvalidate = 2\nmapread = 10\nmapwrite = 10\nread = 10\nwrite = 10\ntruncate = 5\n\
    fsync = 2\nfdatasync = 1\nposix_fallocate = 2\npunch_hole = 4\nsendfile = 5\nposix_fadvise = 2\ncopy_file_range = 4\n";

#[test]
fn nothing_that_fsx_does_to_a_file_reads_back_otherwise() {
    let seeds = number("S3XMOUNT_FSX_SEEDS").unwrap_or(5);
    exercise(&format!("{SMALL}{ALL}"), seeds, number("S3XMOUNT_FSX_OPERATIONS").unwrap_or(5000));
}

#[test]
fn nothing_that_fsx_does_to_a_file_of_many_parts_reads_back_otherwise() {
    let seeds = number("S3XMOUNT_FSX_SEEDS").unwrap_or(2);
    exercise(&format!("{LARGE}{ALL}"), seeds, number("S3XMOUNT_FSX_OPERATIONS").unwrap_or(1000));
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn exercise(config: &str, seeds: u64, operations: u64) {
    let Some(fsx) = std::env::var_os("S3XMOUNT_TEST_FSX").map(PathBuf::from) else {
        eprintln!("skipped: S3XMOUNT_TEST_FSX does not name fsx; scripts/test installs it");
        return;
    };
    if !can_mount() {
        return;
    }
    let (home, world) = (Home::new(), World::with(Rights::Full));
    let output = home.mount(world.running(), &demo::role_arn());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    fs::write(home.path().join("config"), config).unwrap();
    for seed in 1..=seeds {
        let file = home.mount_point().join(demo::BUCKETS[0]).join(format!("file{seed}"));
        let output = Command::new(&fsx)
            .args(["-f", "config", "-N", &operations.to_string(), "-S", &seed.to_string(), "-P", "."])
            .arg(&file)
            .current_dir(home.path())
            .output()
            .unwrap();
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(output.status.success() && said.contains("A-OK"), "seed {seed}: {said}");
        let stored = world.stored(&format!("a/file{seed}")).unwrap();
        assert!(stored == fs::read(&file).unwrap(), "seed {seed}: S3 has what the mount shows");
    }
    assert!(umount(&home.mount_point(), &[]));
    assert!(world.uploads(demo::BUCKETS[0]).is_empty(), "no upload is left");
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var_os(variable)?.into_string().ok()?;
    Some(value.parse().expect("a number"))
}
