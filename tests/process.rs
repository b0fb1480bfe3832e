//! The command as a process: in the background, with a real kernel, against the emulator over TCP.
#![cfg(feature = "emulator")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that fails here has found its fault, and one that is skipped says so"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use s3xmount::config::mount_point::is_mounted;
use s3xmount::emulator::{RunningEmulator, demo};

/// A home with a mount point, and the environment of alice. A mount that a failing test left behind is ended.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(home.mount_point()).unwrap();
        home
    }

    fn mount_point(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("mnt")
    }

    fn s3xmount(&self, args: &[&str]) -> Output {
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
    fn mount(&self, emulator: &RunningEmulator, role: &str) -> Output {
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

fn umount(path: &Path, flags: &[&str]) -> bool {
    let root = s3xmount::sys::effective_ids().0 == 0;
    let mut command = if root { Command::new("umount") } else { Command::new("fusermount3") };
    let flags = if root { flags } else { &["-u", "-z"] };
    command.args(flags).arg(path).status().is_ok_and(|status| status.success())
}

fn can_mount() -> bool {
    let answer = std::fs::File::open("/dev/fuse");
    if let Err(error) = &answer {
        eprintln!("skipped: /dev/fuse cannot be opened: {error}");
    }
    answer.is_ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_mount_answers_when_its_command_returns() {
    if !can_mount() {
        return;
    }
    let home = Home::new();
    let emulator = RunningEmulator::start(demo::world(demo::Rights::Full)).unwrap();
    let output = home.mount(&emulator, &demo::role_arn());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}", text(&output.stderr));
    let welcome = home.mount_point().join(demo::BUCKETS[0]).join("welcome.txt");
    assert!(std::fs::read_to_string(welcome).unwrap().contains("another account"));

    let again = home.mount(&emulator, &demo::role_arn());
    assert_eq!(again.status.code(), Some(2), "a second mount on top is refused");
    assert!(text(&again.stderr).contains("is mounted at"), "{}", text(&again.stderr));

    assert!(umount(&home.mount_point(), &[]));
    assert!(!is_mounted(&home.mount_point()));
}

#[test]
fn why_a_mount_failed_reaches_the_terminal() {
    let home = Home::new();
    let emulator = RunningEmulator::start(demo::world(demo::Rights::Full)).unwrap();
    let stranger = demo::role_arn().replace(demo::ROLE, "somebody-elses-role");
    let output = home.mount(&emulator, &stranger);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("s3xmount: ") && said.contains("somebody-elses-role"), "{said}");
    assert!(!is_mounted(&home.mount_point()));
}

#[test]
fn the_demo_walks_to_a_good_end_with_all_rights_and_with_three() {
    if !can_mount() {
        return;
    }
    for flags in [&["demo", "--walk"][..], &["demo", "--walk", "--minimal"]] {
        let home = Home::new();
        let mount_point = home.mount_point();
        let args = [flags, &[mount_point.to_str().unwrap()]].concat();
        let output = home.s3xmount(&args);
        let (shown, said) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{shown}{said}");
        assert!(shown.contains("Everything was as it should be."), "{shown}");
        assert!(!is_mounted(&mount_point));
    }
}
