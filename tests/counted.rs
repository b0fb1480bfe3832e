//! What tools cost: the requests that reach the server when ordinary programs bring files in, or move them.
//!
//! Each tool's work is counted to the end of the mount, so that nothing is left out which waits. S3 charges for requests,
//! and each is a round trip for somebody.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::collections::BTreeMap;
use std::process::Command;

use bytes::Bytes;
use s3xmount::emulator::demo::Rights;
use s3xmount::emulator::store::Attributes;
use s3xmount::emulator::{Content, RunningEmulator, demo};

use crate::support::real::{Home, can_mount, text};

const FILES: u64 = 200;

#[test]
fn tools_that_bring_files_in_cost_few_requests() {
    if !can_mount() {
        return;
    }
    let plant = "mkdir tree && for i in $(seq 200); do echo $i > tree/$i; done && \
        chmod 640 tree/* && touch -d '2001-02-03 04:05:06' tree/* && tar cf tree.tar tree";
    for (tool, script, most) in [
        ("cp -r", "cp -r $HOME/tree .", 1),
        ("cp -a", "cp -a $HOME/tree .", 1),
        ("tar x", "tar xf $HOME/tree.tar", 1),
        // It writes under another name, closes, describes in three steps, and renames.
        ("rsync -a", "rsync -a $HOME/tree .", 3),
        ("rsync -a --inplace", "rsync -a --inplace $HOME/tree .", 2),
    ] {
        let counts = counted(plant, script);
        let total: u64 = counts.values().sum();
        // The directory, what is asked about it, and a change that had to go before the next one came.
        assert!(total <= most * FILES + 30, "{tool}: {total} requests {counts:?}");
        assert!(counts["PutObject"] <= FILES + 10, "{tool}: {counts:?}");
    }
}

#[test]
fn a_directory_of_a_thousand_is_moved_by_its_copies_and_one_deletion() {
    if !can_mount() {
        return;
    }
    let emulator = RunningEmulator::start(demo::world(Rights::Full)).unwrap();
    for number in 0..1000 {
        emulator.world().seed(demo::BUCKETS[0], &format!("old/{number}"), "bytes");
    }
    let counts = counted_in(&emulator, &Home::new(), "mv old new");
    assert_eq!((counts["CopyObject"], counts["DeleteObjects"]), (1000, 1), "{counts:?}");
    // One deletion of a key that is not there, to see that it is allowed; and listings.
    let others: u64 = counts.values().sum::<u64>() - 1001;
    assert!(others <= 12, "{counts:?}");
    let keys = emulator.world().bucket(demo::BUCKETS[0]).keys();
    assert_eq!(keys.iter().filter(|key| key.starts_with("new/")).count(), 1000);
    assert!(!keys.iter().any(|key| key.starts_with("old/")));
}

#[test]
fn a_small_change_of_a_large_object_moves_little() {
    if !can_mount() {
        return;
    }
    change(
        "printf '%4096s' x | dd of=large bs=4096 seek=131000 conv=notrunc",
        1 << 30,
        131_000 << 12,
        (10, 20 << 20),
    );
    change("printf x >> large", 64 << 20, 64 << 20, (6, 6 << 20));
}

/// Has an object of so many dots changed by a script that writes something with an `x` at its end; and counts requests
/// and bytes.
fn change(script: &str, size: u64, at: u64, (requests_max, bytes_max): (u64, u64)) {
    let emulator = RunningEmulator::start(demo::world(Rights::Full)).unwrap();
    let world = emulator.world();
    let before = Content::repeated(&Bytes::from(vec![b'.'; 1 << 20]), size);
    world.seed_content(demo::BUCKETS[0], "large", before, Attributes::default());
    let counts = counted_in(&emulator, &Home::new(), script);
    let (requests, bytes) = (counts.values().sum::<u64>(), world.faults.bytes_moved());
    assert!(
        requests <= requests_max && bytes < bytes_max,
        "{script}: {requests} requests, {bytes} bytes, {counts:?}"
    );
    let content = world.object(demo::BUCKETS[0], "large").unwrap().content.clone();
    // Compared in large pieces, as a debug build takes its time over single bytes.
    let dots = vec![b'.'; 1 << 20];
    let is_as_before = |part: Content| {
        part.pieces().flat_map(|piece| piece.chunks(dots.len())).all(|piece| *piece == dots[..piece.len()])
    };
    let end = if at == size { at + 1 } else { at + 4096 };
    assert_eq!(content.size(), size.max(end), "{script}");
    assert!(content.slice(at..end).to_bytes().ends_with(b"x"), "{script}");
    assert!(
        is_as_before(content.slice(0..at)) && is_as_before(content.slice(end..content.size())),
        "{script}"
    );
}

/// The requests of a tool that works in an empty mount, by operation.
fn counted(plant: &str, script: &str) -> BTreeMap<&'static str, u64> {
    let emulator = RunningEmulator::start(demo::world(Rights::Full)).unwrap();
    let home = Home::new();
    let planted = Command::new("sh").args(["-euc", plant]).current_dir(home.path()).status().unwrap();
    assert!(planted.success());
    counted_in(&emulator, &home, script)
}

fn counted_in(emulator: &RunningEmulator, home: &Home, script: &str) -> BTreeMap<&'static str, u64> {
    let mounted = home.mount(emulator, &demo::role_arn());
    assert_eq!(mounted.status.code(), Some(0), "{}", text(&mounted.stderr));
    let at = home.mount_point().join(demo::BUCKETS[0]);
    // Whatever a mount asks as it begins has been asked once a directory was listed.
    std::fs::read_dir(&at).unwrap().for_each(drop);
    emulator.world().faults.reset_counts();
    let output = Command::new("sh")
        .args(["-euc", &format!("exec 2>&1; {script}")])
        .env("HOME", home.path())
        .current_dir(&at)
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {}", text(&output.stdout));
    home.unmount();
    emulator.world().faults.counts()
}
