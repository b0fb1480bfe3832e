//! The real thing: the binary, a kernel, a mount point.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use s3xmount::config::mount_point::is_mounted;
use s3xmount::emulator::{RunningEmulator, demo};

/// A home with a mount point, and the environment of alice. A mount that a failing test left behind is ended.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(home.mount_point()).unwrap();
        home
    }

    /// The directory itself, for whatever a test keeps beside the mount.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    pub(crate) fn mount_point(&self) -> PathBuf {
        self.path().join("mnt")
    }

    /// Runs the command with these arguments.
    pub(crate) fn s3xmount(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The command with these arguments, in the hands of alice.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let alice = demo::alice();
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3xmount"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("AWS_ACCESS_KEY_ID", alice.id)
            .env("AWS_SECRET_ACCESS_KEY", alice.secret)
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    /// The log of a mount that was begun by [`mount`](Self::mount).
    pub(crate) fn log(&self) -> PathBuf {
        self.path().join("log")
    }

    /// Mounts both buckets with this role.
    pub(crate) fn mount(&self, emulator: &RunningEmulator, role: &str) -> Output {
        self.mount_with(emulator, &["--role-arn", role])
    }

    /// Mounts both buckets, with these flags beside those that lead to the emulator.
    pub(crate) fn mount_with(&self, emulator: &RunningEmulator, flags: &[&str]) -> Output {
        let [one, other] = demo::BUCKETS;
        self.mount_of(emulator, &[flags, &["--bucket", one, "--bucket", other]].concat())
    }

    /// Mounts what these flags say.
    pub(crate) fn mount_of(&self, emulator: &RunningEmulator, flags: &[&str]) -> Output {
        self.command_of(emulator, flags).output().unwrap()
    }

    /// The command that mounts what these flags say.
    pub(crate) fn command_of(&self, emulator: &RunningEmulator, flags: &[&str]) -> Command {
        let (url, mount_point) = (emulator.endpoint_url(), self.mount_point());
        let (staging, log) = (self.dir.path().join("staging"), self.log());
        let common = [
            "--endpoint-url",
            &url,
            "--sts-endpoint-url",
            &url,
            "--force-path-style",
            "--region",
            demo::REGION,
            "--staging-dir",
            staging.to_str().unwrap(),
            "--log-file",
            log.to_str().unwrap(),
            mount_point.to_str().unwrap(),
        ];
        self.command(&[flags, &common].concat())
    }

    /// Unmounts, and waits until the mount has said its last: umount(8) returns before that.
    pub(crate) fn unmount(&self) {
        let is_last = |line: &&str| line.ends_with("unmounted");
        let ends = || std::fs::read_to_string(self.log()).unwrap().lines().filter(is_last).count();
        let before = ends();
        assert!(umount(&self.mount_point(), &[]));
        until("the mount has come to its end", || ends() > before);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if is_mounted(&self.mount_point()) {
            umount(&self.mount_point(), &["-l"]);
        }
    }
}

/// Unmounts, as this user may. A mount that is busy is waited for: whatever this process starts for other tests has its
/// descriptors too, until it has become its program.
pub(crate) fn umount(path: &Path, flags: &[&str]) -> bool {
    let root = s3xmount::sys::effective_ids().0 == 0;
    let (program, flags) = if root { ("umount", flags) } else { ("fusermount3", &["-u", "-z"][..]) };
    let mut is_over = false;
    until("nobody is at work in it", || {
        let output = Command::new(program).args(flags).arg(path).env("LC_ALL", "C").output().unwrap();
        is_over = output.status.success();
        is_over || !text(&output.stderr).contains("busy")
    });
    is_over
}

/// Looks again and again until it is so; a minute of no is a failure.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came to this: {what}");
        std::thread::yield_now();
    }
}

/// Runs a story that holds files open, in a folder, and returns what it prints. It has a process to itself: whatever this
/// one starts for other tests has its descriptors for a moment, and by closing them commits what was written.
pub(crate) fn python(folder: &Path, story: &str) -> String {
    let output = Command::new("python3").args(["-c", story]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Whether this machine can mount; says so where it cannot.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn can_mount() -> bool {
    let answer = std::fs::File::open("/dev/fuse");
    if let Err(error) = &answer {
        eprintln!("skipped: /dev/fuse cannot be opened: {error}");
    }
    answer.is_ok()
}

/// What a process said.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
