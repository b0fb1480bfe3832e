//! Moves while others write to the same names, and moves whose answers are lost.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::sync::Arc;

use s3xmount::emulator::Lack;
use s3xmount::emulator::demo::{self, Rights};
use s3xmount::emulator::faults::{Gate, On};
use s3xmount::error::{Kind, Result};
use s3xmount::fs::Replace;
use s3xmount::s3::Server;
use tokio::task::JoinSet;

use crate::support::{Mount, Options, World, eventually, failure};

/// A server of whose deletions nothing is known, and one that is known to look at their conditions.
async fn worlds() -> Vec<(&'static str, World, Arc<Mount>)> {
    let mut worlds = Vec::new();
    for (what, server, lack) in [
        ("AWS", Server::Aws, None),
        ("one like it", Server::Compatible, None),
        ("one that ignores conditions", Server::Compatible, Some(Lack::IgnoresConditions)),
        ("one that refuses conditions", Server::Compatible, Some(Lack::RefusesConditions)),
        ("one that ignores those of deletions", Server::Compatible, Some(Lack::IgnoresConditionsOfDeletion)),
        ("one that refuses those of deletions", Server::Compatible, Some(Lack::RefusesConditionsOfDeletion)),
        ("one without batches", Server::Compatible, Some(Lack::NoDeleteObjects)),
    ] {
        let world = World::of(demo::world(Rights::Full).lacking(lack));
        let mount = Arc::new(world.mount_with(Options { server, ..Options::default() }).await);
        worlds.push((what, world, mount));
    }
    worlds
}

/// Begins a move, in the background.
fn begin(mount: &Arc<Mount>, from: &'static str, onto: &'static str) -> JoinSet<Result<()>> {
    let (mount, mut moving) = (Arc::clone(mount), JoinSet::new());
    moving.spawn(async move { mount.rename(from, onto).await });
    moving
}

#[tokio::test]
async fn what_others_put_in_place_of_a_moved_file_stays() {
    for (what, world, mount) in worlds().await {
        world.put("a/log", "ours");
        let copied = Gate::closed();
        world.faults.inject(On::operation("CopyObject").times(1).hold_answer(&copied));
        let mut moving = begin(&mount, "a/log", "a/log.1");
        eventually("it is copied", async || world.stored("a/log.1").is_some()).await;
        world.put("a/log", "theirs");
        copied.open();
        moving.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(world.stored("a/log").unwrap(), b"theirs", "{what}");
        assert_eq!(mount.read_file("a/log.1").await.unwrap(), b"ours", "{what}");
        assert_eq!(mount.read_file("a/log").await.unwrap(), b"theirs", "{what}");
    }
}

#[tokio::test]
async fn whoever_looks_while_a_file_moves_away_does_not_keep_it_there() {
    let world = World::new();
    let mount = Arc::new(world.mount().await);
    world.put("a/d/old", "ours");
    mount.make_directory("a/d/sub").await.unwrap();
    let gate = Gate::closed();
    // The first one is that of a key that is not there.
    world.faults.inject(On::operation("DeleteObject").after(1).times(1).hold_request(&gate));
    let mut moving = begin(&mount, "a/d/old", "a/d/new");
    gate.reached_by(1).await;
    // After that S3 has to be asked what is there.
    mount.remove_directory("a/d/sub").await.unwrap();
    assert_eq!(mount.list("a/d").await.unwrap(), ["new", "old"]);
    assert!(mount.exists("a/d/old").await);
    gate.open();
    moving.join_next().await.unwrap().unwrap().unwrap();
    assert!(!mount.exists("a/d/old").await);
    assert_eq!(mount.list("a/d").await.unwrap(), ["new"]);
}

#[tokio::test]
async fn not_even_at_the_last_moment_is_theirs_deleted() {
    let world = World::new();
    let mount = Arc::new(world.mount().await);
    for (what, theirs, from, onto) in
        [("DeleteObject", "a/log", "a/log", "a/log.1"), ("DeleteObjects", "a/old/f", "a/old", "a/new")]
    {
        for path in ["a/log", "a/old/f", "a/old/g"] {
            world.put(path, "ours");
        }
        let (gate, before) = (Gate::closed(), world.count(what));
        // The first one may be that of a key that is not there.
        let probes = u64::from(what == "DeleteObject");
        world.faults.inject(On::operation(what).after(probes).times(1).hold_request(&gate));
        let mut moving = begin(&mount, from, onto);
        eventually("the old is to be deleted", async || world.count(what) == before + probes + 1).await;
        world.put(theirs, "theirs");
        gate.open();
        moving.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(world.stored(theirs).unwrap(), b"theirs", "{what}");
        assert!(from != "a/old" || world.stored("a/old/g").is_none(), "and ours has gone");
        world.delete(theirs);
    }
}

#[tokio::test]
async fn what_others_put_in_a_moved_directory_stays() {
    for (what, world, mount) in worlds().await {
        world.put("a/old/f", "ours");
        world.put("a/old/g", "ours");
        let copied = Gate::closed();
        world.faults.inject(On::operation("CopyObject").times(2).hold_answer(&copied));
        let mut moving = begin(&mount, "a/old", "a/new");
        eventually("it is copied", async || world.keys_below("a/new/").len() == 2).await;
        world.put("a/old/f", "theirs");
        world.put("a/old/h", "theirs, too");
        copied.open();
        moving.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(world.keys_below("a/old/"), ["a/old/f", "a/old/h"], "{what}");
        assert_eq!(world.stored("a/old/f").unwrap(), b"theirs", "{what}");
        assert_eq!(mount.read_file("a/new/f").await.unwrap(), b"ours", "{what}");
        assert_eq!(mount.read_file("a/old/f").await.unwrap(), b"theirs", "{what}");
    }
}

#[tokio::test]
async fn a_directory_moves_with_what_others_have_made_of_it_since_it_was_listed() {
    let world = World::new();
    let mount = Arc::new(world.mount().await);
    for name in ["f", "g", "h"] {
        world.put(&format!("a/old/{name}"), "ours");
    }
    let copied = Gate::closed();
    world.faults.inject(On::operation("CopyObject").always().hold_request(&copied));
    let mut moving = begin(&mount, "a/old", "a/new");
    eventually("all is listed", async || world.count("CopyObject") == 3).await;
    world.put("a/old/f", "theirs");
    world.delete("a/old/g");
    copied.open();
    moving.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(world.keys_below("a/old/"), [""; 0]);
    assert_eq!(world.keys_below("a/new/"), ["a/new/f", "a/new/h"]);
    assert_eq!(world.stored("a/new/f").unwrap(), b"theirs");
}

// ---- lost answers ----

#[tokio::test]
async fn a_move_that_must_not_replace_anything_knows_its_own_copy() {
    for opaque in [false, true] {
        let world = demo::world(Rights::Full);
        let world = World::of(if opaque { world.with_opaque_etags() } else { world });
        let mount = world.mount().await;
        mount.write_file("a/ours", b"ours").await.unwrap();
        for (from, onto) in [("a/ours", "a/moved"), ("a/reports", "a/elsewhere")] {
            if opaque && from == "a/reports" {
                // Others wrote it, and its ETags are no hashes: it cannot be told, see `namespace::copied`.
                continue;
            }
            let before = world.keys_below(from).len();
            world.faults.inject(On::operation("CopyObject").times(1).lose_answer());
            mount.rename_as(from, onto, Replace::Refused).await.unwrap();
            assert_eq!((world.keys_below(from).len(), world.keys_below(onto).len()), (0, before), "{from}");
        }
        assert_eq!(mount.read_file("a/moved").await.unwrap(), b"ours");
    }
}

#[tokio::test]
async fn somebody_elses_file_is_never_taken_for_the_copy() {
    let world = World::new();
    let mount = Arc::new(world.mount().await);
    mount.write_file("a/lock.tmp", b"locked").await.unwrap();
    let gate = Gate::closed();
    world.faults.inject(On::operation("CopyObject").times(1).hold_request(&gate));
    let mover = Arc::clone(&mount);
    let mut moving = JoinSet::new();
    moving.spawn(async move { mover.rename_as("a/lock.tmp", "a/lock", Replace::Refused).await });
    eventually("the copy is asked for", async || world.count("CopyObject") == 1).await;
    let other = world.mount().await;
    other.write_file("a/lock", b"locked").await.unwrap();
    gate.open();
    assert_eq!(failure(moving.join_next().await.unwrap().unwrap()), Kind::Exists);
    assert_eq!(world.stored("a/lock.tmp").unwrap(), b"locked");
}

#[tokio::test]
async fn a_deletion_whose_answer_is_lost_has_been_made() {
    for (what, world, mount) in worlds().await {
        world.put("a/reports/two", "2");
        mount.rename("a/reports/readme.txt", "a/readme").await.unwrap();
        world.faults.inject(On::operation("DeleteObject").key("reports/two").times(1).lose_answer());
        mount.rename("a/reports/two", "a/two").await.unwrap();
        world.faults.inject(On::operation("DeleteObjects").times(1).lose_answer());
        mount.rename("a/reports", "a/moved").await.unwrap();
        assert!(world.keys_below("a/reports/").is_empty(), "{what}");
    }
}

#[tokio::test]
async fn a_server_that_finds_another_version_where_there_is_none_is_not_relied_upon() {
    let world = World::new();
    let mount = Arc::new(world.mount().await);
    world.faults.inject(On::operation("DeleteObject").key("one").times(1).reject(412, "PreconditionFailed"));
    world.put("a/one", "ours");
    mount.rename("a/one", "a/moved").await.unwrap();
    assert_eq!(world.stored("a/one"), None);
    // And theirs is still found by looking.
    world.put("a/two", "ours");
    let copied = Gate::closed();
    world.faults.inject(On::operation("CopyObject").times(1).hold_answer(&copied));
    let mut moving = begin(&mount, "a/two", "a/moved");
    eventually("it is copied", async || world.count("CopyObject") == 2).await;
    world.put("a/two", "theirs");
    copied.open();
    moving.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(world.stored("a/two").unwrap(), b"theirs");
}
