//! The real thing: the binary, a kernel, a mount point.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
        let alice = demo::alice();
        Command::new(env!("CARGO_BIN_EXE_s3xmount"))
            .args(args)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("AWS_ACCESS_KEY_ID", alice.id)
            .env("AWS_SECRET_ACCESS_KEY", alice.secret)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .output()
            .unwrap()
    }

    /// Mounts both buckets with this role.
    pub(crate) fn mount(&self, emulator: &RunningEmulator, role: &str) -> Output {
        let (url, mount_point) = (emulator.endpoint_url(), self.mount_point());
        let staging = self.dir.path().join("staging");
        let [one, other] = demo::BUCKETS;
        self.s3xmount(&[
            "--role-arn",
            role,
            "--endpoint-url",
            &url,
            "--sts-endpoint-url",
            &url,
            "--force-path-style",
            "--region",
            demo::REGION,
            "--staging-dir",
            staging.to_str().unwrap(),
            "--bucket",
            one,
            "--bucket",
            other,
            mount_point.to_str().unwrap(),
        ])
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if is_mounted(&self.mount_point()) {
            umount(&self.mount_point(), &["-l"]);
        }
    }
}

/// Unmounts, as this user may.
pub(crate) fn umount(path: &Path, flags: &[&str]) -> bool {
    let root = s3xmount::sys::effective_ids().0 == 0;
    let mut command = if root { Command::new("umount") } else { Command::new("fusermount3") };
    let flags = if root { flags } else { &["-u", "-z"] };
    command.args(flags).arg(path).status().is_ok_and(|status| status.success())
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
