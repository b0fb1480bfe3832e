//! Requests that S3 does not serve: whoever asks is told which, and why, and no longer than it is so.
#![cfg(feature = "emulator")]

use std::time::Duration;

use s3xmount::emulator::{Gate, On};
use s3xmount::namespace::BucketId;
use s3xmount::s3::Silent;

use crate::support::{Mount, World, eventually};

const SAMPLE: &str = "a/welcome.txt";

/// What waits of bucket `a`, since a moment ago or longer.
fn silent(mount: &Mount) -> Option<Silent> {
    mount.namespace().gateway(BucketId(0)).silent(Duration::ZERO)
}

#[tokio::test]
async fn a_request_counts_from_when_it_is_sent_until_it_is_answered() {
    let world = World::new();
    let mount = world.mount().await;
    let gate = Gate::closed();
    world.faults.inject(On::operation("GetObject").hold_request(&gate));
    assert_eq!(silent(&mount), None, "nothing is asked");
    let reading = mount.read_file(SAMPLE);
    let meanwhile = async {
        gate.reached_by(1).await;
        let told = silent(&mount).expect("it waits");
        assert_eq!((told.requests, told.first.as_str(), told.trouble), (1, "GetObject", None));
        gate.open();
    };
    let (read, ()) = tokio::join!(reading, meanwhile);
    assert!(read.is_ok());
    assert_eq!(silent(&mount), None);
}

#[tokio::test]
async fn one_that_nobody_waits_for_any_more_does_not_count() {
    let world = World::new();
    let mount = world.mount().await;
    let gate = Gate::closed();
    world.faults.inject(On::operation("ListObjectsV2").always().hold_request(&gate));
    tokio::select! {
        listed = mount.list("a") => panic!("nobody answered, and yet: {listed:?}"),
        () = gate.reached_by(1) => {}
    }
    eventually("the request is given up", || async { silent(&mount).is_none() }).await;
}

#[tokio::test]
async fn what_its_attempts_came_to_is_told() {
    for (throttles, said) in [(true, "it was answered with 503"), (false, "connection")] {
        let world = World::new();
        let mount = world.mount().await;
        let asked = On::operation("ListObjectsV2").always();
        world.faults.inject(if throttles { asked.throttle() } else { asked.drop_request() });
        let listing = mount.list("a");
        let told = eventually("an attempt has ended", || async {
            silent(&mount).and_then(|silent| silent.trouble).is_some_and(|trouble| trouble.contains(said))
        });
        tokio::select! {
            listed = listing => panic!("nobody served it, and yet: {listed:?}"),
            () = told => world.faults.clear(),
        }
        assert!(mount.list("a").await.is_ok());
        assert_eq!(silent(&mount), None);
    }
}
