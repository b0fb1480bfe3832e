//! A staging directory without room: whoever writes is told so, and goes on when there is room again.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use s3xmount::emulator::demo::{self, Rights};

use crate::support::real::{Home, can_mount, text, umount};
use crate::support::{MIB, World, pattern};

/// A mount whose staging directory is a small disk.
struct Cramped {
    home: Home,
    world: World,
}

impl Cramped {
    /// `None`, after saying so, where that cannot be.
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn new(megabytes: usize) -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let cramped = Self { home: Home::new(), world: World::with(Rights::Full) };
        fs::create_dir(cramped.disk()).unwrap();
        let size = format!("size={megabytes}m");
        let disk =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(cramped.disk()).status();
        if !disk.is_ok_and(|status| status.success()) {
            eprintln!("skipped: a small disk can only be made by root");
            return None;
        }
        let output = cramped.home.mount(cramped.world.running(), &demo::role_arn());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        Some(cramped)
    }

    /// Where [`Home`] has its mounts stage.
    fn disk(&self) -> PathBuf {
        self.home.path().join("staging")
    }

    fn create(&self, name: &str) -> File {
        File::create(self.home.mount_point().join(demo::BUCKETS[0]).join(name)).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.log()).unwrap()
    }
}

impl Drop for Cramped {
    fn drop(&mut self) {
        umount(&self.home.mount_point(), &["-l"]);
        umount(&self.disk(), &["-l"]);
    }
}

#[test]
fn a_writer_is_told_that_the_disk_is_full_and_goes_on_when_it_is_not() {
    let Some(cramped) = Cramped::new(20) else { return };
    let (file, other) = (cramped.create("scattered"), cramped.create("other"));
    other.write_all_at(b"a little", 0).unwrap();
    let piece = pattern(1, MIB);
    let full = (0..40).rev().find_map(|at| file.write_all_at(&piece, at * 3 * MIB as u64).err()).unwrap();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    let log = cramped.log();
    let told = format!("staging scattered in {}", cramped.disk().display());
    assert!(log.contains(&told), "which file, and where there is no room: {log}");
    // Its maker gives up and takes it away; others find room again.
    fs::remove_file(cramped.home.mount_point().join(demo::BUCKETS[0]).join("scattered")).unwrap();
    drop(file);
    // The kernel tells of the last close some time after it.
    let begun = Instant::now();
    while let Err(error) = other.write_all_at(&piece, 8) {
        assert!(begun.elapsed() < Duration::from_secs(60), "there is no room again: {error}");
    }
    other.sync_all().unwrap();
    assert_eq!(cramped.world.stored("a/other").unwrap(), [&b"a little"[..], &piece].concat());
}

#[test]
fn a_file_that_streams_may_be_larger_than_the_disk() {
    let Some(cramped) = Cramped::new(20) else { return };
    let bytes = pattern(2, 60 * MIB);
    let from = cramped.home.path().join("from");
    fs::write(&from, &bytes).unwrap();
    // By another process: whatever this one starts for other tests has its descriptors for a moment, and closes them,
    // which commits.
    let to = cramped.home.mount_point().join(demo::BUCKETS[0]).join("streamed");
    let operands = [format!("if={}", from.display()), format!("of={}", to.display())];
    let dd = Command::new("dd").args(operands).args(["bs=1M", "conv=fsync"]).output().unwrap();
    assert!(dd.status.success(), "{}", text(&dd.stderr));
    assert!(cramped.world.stored("a/streamed").unwrap() == bytes);
}
