//! A staging directory without room: whoever writes is told so, and goes on when there is room again.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use s3xmount::emulator::demo::{self, Rights};

use crate::support::real::{Home, can_mount, python, text, umount};
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

    fn bucket(&self) -> PathBuf {
        self.home.mount_point().join(demo::BUCKETS[0])
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
    let story = "import errno,os,time\n\
        piece=os.pread(os.open('../../piece',os.O_RDONLY),1<<20,0)\n\
        def put(f,bytes,at):\n\
        \twhile bytes:\n\
        \t\twritten=os.pwrite(f,bytes,at)\n\
        \t\tbytes,at=bytes[written:],at+written\n\
        f,other=[os.open(name,os.O_WRONLY|os.O_CREAT) for name in ('scattered','other')]\n\
        put(other,b'a little',0)\n\
        try:\n\
        \tfor at in reversed(range(40)): put(f,piece,at*3<<20)\n\
        except OSError as full: print(os.strerror(full.errno))\n\
        # Its maker gives up and takes it away; others find room again.\n\
        os.remove('scattered'); os.close(f)\n\
        begun=time.monotonic()\n\
        while True:\n\
        \ttry: put(other,piece,8); break\n\
        \texcept OSError as full:\n\
        \t\t# The kernel tells of the last close some time after it.\n\
        \t\tif full.errno!=errno.ENOSPC or time.monotonic()>begun+60: raise\n\
        os.fsync(other)";
    let piece = pattern(1, MIB);
    fs::write(cramped.home.path().join("piece"), &piece).unwrap();
    assert_eq!(python(&cramped.bucket(), story), "No space left on device\n");
    let log = cramped.log();
    let told = format!("staging scattered in {}", cramped.disk().display());
    assert!(log.contains(&told), "which file, and where there is no room: {log}");
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
    let to = cramped.bucket().join("streamed");
    let operands = [format!("if={}", from.display()), format!("of={}", to.display())];
    let dd = Command::new("dd").args(operands).args(["bs=1M", "conv=fsync"]).output().unwrap();
    assert!(dd.status.success(), "{}", text(&dd.stderr));
    assert!(cramped.world.stored("a/streamed").unwrap() == bytes);
}

#[test]
fn what_was_synchronised_makes_room_for_what_is_written_next() {
    let Some(cramped) = Cramped::new(40) else { return };
    let bytes = pattern(3, 120 * MIB);
    let from = cramped.home.path().join("from");
    fs::write(&from, &bytes).unwrap();
    let to = cramped.home.mount_point().join(demo::BUCKETS[0]).join("synchronised");
    let operands = [format!("if={}", from.display()), format!("of={}", to.display())];
    // Each write(2) is in S3 before the next one.
    let dd = Command::new("dd").args(operands).args(["bs=4M", "oflag=sync"]).output().unwrap();
    assert!(dd.status.success(), "{}; {}", text(&dd.stderr), cramped.log());
    assert!(cramped.world.stored("a/synchronised").unwrap() == bytes);
}
