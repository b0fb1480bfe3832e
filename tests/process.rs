//! The command as a process: in the background, with a real kernel, against the emulator over TCP.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]

use s3xmount::config::mount_point::is_mounted;
use s3xmount::emulator::{RunningEmulator, demo};

use crate::support::real::{Home, can_mount, text, umount};

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
