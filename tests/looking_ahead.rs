//! What is known before it is asked for: requests counted at the server.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::time::Duration;

use crate::support::{Options, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_found_by_its_listing_is_known_whole() {
    let world = World::new();
    for name in ["one", "two", "deep/three"] {
        world.put(&format!("a/d/{name}"), "x");
    }
    let mount = world.mount().await;
    mount.stat("a/d").await.unwrap();
    world.forget_requests();
    mount.stat("a/d/one").await.unwrap();
    assert!(!mount.exists("a/d/none").await);
    assert_eq!(mount.list("a/d").await.unwrap(), ["deep/", "one", "two"]);
    assert_eq!((world.requests(), world.count("HeadObject")), (1, 1), "only its attributes were missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_directory_in_which_a_few_names_were_asked_for_is_listed() {
    let world = World::new();
    let names: Vec<_> = (0..1500).map(|at| format!("a/many/f{at:04}")).collect();
    names.iter().for_each(|name| world.put(name, "x"));
    let mount = world.mount().await;
    for at in [700, 20, 1400] {
        mount.stat(&names[at]).await.unwrap();
    }
    // What is not there has a new name each time: an answer to an earlier question shows nothing.
    eventually("no name costs anything, be it there or not", || async {
        world.forget_requests();
        let round = fastrand::u64(..);
        for name in &names {
            assert_eq!(mount.stat(name).await.unwrap().size, 1, "{name}");
            assert!(!mount.exists(&format!("{name}-{round}")).await);
        }
        world.requests() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_names_of_a_large_directory_do_not_have_it_listed() {
    let world = World::new();
    (0..300).for_each(|at| world.put(&format!("a/many/f{at:04}"), "x"));
    let mount = world.mount().await;
    mount.stat("a/many").await.unwrap();
    world.forget_requests();
    for name in ["f0200", "f0210"] {
        mount.stat(&format!("a/many/{name}")).await.unwrap();
    }
    assert_eq!((world.count("HeadObject"), world.count("ListObjectsV2")), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_of_names_in_order_are_asked_for_ahead() {
    let world = World::new();
    let names: Vec<_> = (0..40).map(|at| format!("a/written/f{at:02}")).collect();
    let writer = world.mount().await;
    writer.make_directory("a/written").await.unwrap();
    for name in &names {
        writer.write_file(name, b"x").await.unwrap();
    }
    let mount = world.mount().await;
    mount.list("a/written").await.unwrap();
    world.forget_requests();
    for name in &names[..2] {
        mount.stat(name).await.unwrap();
    }
    eventually("the next eight are known", || async { world.count("HeadObject") == 2 + 8 }).await;
    for name in &names[..10] {
        mount.stat(name).await.unwrap();
    }
    assert_eq!(world.requests(), 2 + 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_whose_listing_is_out_of_date_is_listed_anew() {
    let world = World::new();
    let names: Vec<_> = (0..300).map(|at| format!("a/many/f{at:04}")).collect();
    names.iter().for_each(|name| world.put(name, "x"));
    // So short that every answer is out of date when the next question comes.
    let mount = world.mount_with(Options { lifetime: Duration::from_nanos(1), ..Options::default() }).await;
    mount.list("a/many").await.unwrap();
    world.forget_requests();
    for name in names.iter().step_by(20).take(3) {
        mount.stat(name).await.unwrap();
    }
    // Which shows by the first hundred of them, whose attributes it goes on to ask for.
    eventually("it is listed once more", || async { world.count("HeadObject") >= 100 }).await;
}
