//! Buckets of which only a part can be listed, or nothing, or from which nothing can be removed; and policies that change.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use s3xmount::emulator::demo::{self, Rights};
use s3xmount::error::Kind;
use s3xmount::fs::{AttributeChange, FileKind, Replace};
use s3xmount::name::DirPrefix;
use s3xmount::namespace::{BucketId, Listing, Right};
use serde_json::json;

use crate::support::{How, Mount, Options, THREE, World, failure};

/// Nothing that was learnt about names outlives the question.
fn forgetful() -> Options {
    Options { lifetime: Duration::ZERO, ..Options::default() }
}

/// Objects may be read and written, and what matches these patterns may be listed.
async fn listing(patterns: &[&str]) -> (World, Mount) {
    listing_as(patterns, Options::default()).await
}

async fn listing_as(patterns: &[&str], options: Options) -> (World, Mount) {
    let world = World::with(Rights::Minimal);
    for key in ["a/team/x/one", "a/team/two", "a/other/three"] {
        world.put(key, key);
    }
    world.role_may(THREE, patterns);
    let mount = world.mount_with(options).await;
    (world, mount)
}

fn prefixes(texts: &[&str]) -> Listing {
    Listing::Prefix(texts.iter().map(|text| DirPrefix::parse(text).unwrap()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn below_a_prefix_that_may_be_listed_everything_works_and_above_it_what_can() {
    let (_world, mount) = listing(&["team/*"]).await;
    assert_eq!(failure(mount.list("a").await), Kind::Denied);
    assert_eq!(mount.list("a/team").await.unwrap(), ["two", "x/"]);
    assert_eq!(mount.list("a/team/x").await.unwrap(), ["one"]);
    assert_eq!(mount.stat("a/team").await.unwrap().kind, FileKind::Directory);
    assert!(!mount.exists("a/team/missing").await);
    assert!(!mount.exists("a/other").await, "nothing leads there that could be seen");
    mount.make_directory("a/team/new").await.unwrap();
    mount.write_file("a/team/new/f", b"f").await.unwrap();
    assert_eq!(mount.list("a/team/new").await.unwrap(), ["f"]);
    assert!(!mount.read_file("a/welcome.txt").await.unwrap().is_empty());
    assert_eq!(mount.listing(), prefixes(&["team"]));
}

/// `StringEquals` rather than `StringLike`: the directory itself, and not those below it.
#[tokio::test(flavor = "multi_thread")]
async fn prefixes_may_be_allowed_by_name() {
    let (_world, mount) = listing(&["", "team/"]).await;
    assert_eq!(mount.list("a").await.unwrap(), ["other/", "reports/", "team/", "welcome.txt"]);
    assert_eq!(mount.list("a/team").await.unwrap(), ["two", "x/"]);
    assert_eq!(failure(mount.list("a/team/x").await), Kind::Denied);
    assert_eq!(mount.read_file("a/team/x/one").await.unwrap(), b"a/team/x/one");
    assert_eq!(mount.listing(), prefixes(&[""]), "what it means is the whole bucket, but not all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_of_a_bucket_that_is_shown_as_a_whole_is_open() {
    let options = Options { prefix: "team", ..Options::default() };
    let (_world, mount) = listing_as(&["team/*"], options).await;
    assert_eq!(mount.list("a").await.unwrap(), ["two", "x/"]);
    assert!(!mount.exists("a/missing").await);
    assert_eq!(mount.listing(), Listing::Open);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_known_to_be_blind_is_asked_for_what_it_can_answer() {
    let (world, mount) = listing_as(&[], forgetful()).await;
    mount.namespace().look_around().await;
    assert_eq!(mount.listing(), Listing::Blind);
    let requests = async |path: &'static str| {
        world.forget_requests();
        mount.exists(path).await;
        (world.count("HeadObject"), world.count("ListObjectsV2"))
    };
    assert_eq!(requests("a/welcome.txt").await, (2, 0), "a file is seen without a listing");
    assert_eq!(requests("b/inbox").await, (2, 0), "and so is a directory by its marker");
    // A name that is not there might be a directory that can be listed. It is asked for once; and a witness is heard.
    assert_eq!(requests("a/missing").await, (3, 1));
    assert_eq!(requests("a/missing").await, (2, 0));
    for file in 0..200 {
        mount.exists(&format!("a/missing-{file}")).await;
    }
    world.forget_requests();
    for file in 200..300 {
        mount.exists(&format!("a/missing-{file}")).await;
    }
    let listed = world.count("ListObjectsV2");
    assert!(listed < 100, "{listed} of 100 names were asked for as directories");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_may_be_listed_is_found_among_names_that_are_not_there() {
    let (_world, mount) = listing(&["team/*"]).await;
    for file in 0..10 {
        assert!(!mount.exists(&format!("a/missing-{file}")).await);
    }
    assert_eq!(mount.list("a/team").await.unwrap(), ["two", "x/"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_directories_are_there_and_what_leads_to_them() {
    let options = Options { directories: &["reports/2024", "new/place"], ..forgetful() };
    let (world, mount) = listing_as(&[], options).await;
    for path in ["a/reports", "a/reports/2024", "a/new", "a/new/place"] {
        assert_eq!(mount.stat(path).await.unwrap().kind, FileKind::Directory, "{path}");
        assert_eq!(failure(mount.list(path).await), Kind::Denied, "{path}");
        assert_eq!(failure(mount.make_directory(path).await), Kind::Exists, "{path}");
        assert_eq!(failure(mount.remove_directory(path).await), Kind::Denied, "{path}");
        assert_eq!(failure(mount.rename(path, "a/moved").await), Kind::Denied, "{path}");
    }
    assert!(!mount.exists("a/reports/2025").await, "nobody has named it");
    assert!(mount.read_file("a/reports/2024/summary.csv").await.unwrap().starts_with(b"month"));
    mount.write_file("a/new/place/f", b"f").await.unwrap();
    assert_eq!(world.stored("a/new/place/f").unwrap(), b"f");
    let mode = AttributeChange { mode: Some(0o700), ..Default::default() };
    mount.change("a/new/place", mode).await.unwrap();
    assert!(world.stored("a/new/place/").is_some(), "its attributes have a place now");
    assert_eq!(mount.stat("a/new/place").await.unwrap().mode, 0o700);
    world.forget_requests();
    mount.stat("a/new").await.unwrap();
    assert_eq!(world.requests(), 1, "only its marker is asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_can_be_listed_a_declared_directory_shows_until_it_is_removed() {
    let options = Options { directories: &["empty/place"], ..Options::default() };
    let world = World::new();
    let mount = world.mount_with(options).await;
    assert_eq!(mount.list("a").await.unwrap(), ["empty/", "reports/", "welcome.txt"]);
    assert_eq!(mount.list("a/empty").await.unwrap(), ["place/"]);
    assert_eq!(mount.list("a/empty/place").await.unwrap(), Vec::<String>::new());
    mount.remove_directory("a/empty/place").await.unwrap();
    assert_eq!(mount.list("a/empty").await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_widened_and_narrowed_again_is_followed() {
    let (world, mount) = listing_as(&[], forgetful()).await;
    let names = async |path: &str| mount.list(path).await.map_err(|error| error.kind());
    assert_eq!(names("a").await, Err(Kind::Denied));
    assert!(!mount.exists("a/other").await);
    assert_eq!(mount.listing(), Listing::Blind);

    world.role_may(THREE, &["*"]);
    assert!(names("a").await.is_ok());
    assert_eq!(mount.listing(), Listing::Open);
    assert_eq!(names("a/other").await.unwrap(), ["three"]);

    world.role_may(THREE, &["team/*"]);
    assert_eq!(names("a").await, Err(Kind::Denied));
    assert_eq!(names("a/team").await.unwrap(), ["two", "x/"]);
    assert_eq!(mount.listing(), prefixes(&["team"]));

    world.role_may(THREE, &[]);
    assert_eq!(failure(mount.list("a/team").await), Kind::NotFound);
    assert_eq!(mount.listing(), Listing::Blind);
    assert_eq!(mount.read_file("a/team/two").await.map_err(|error| error.kind()), Err(Kind::NotFound));
    assert!(!mount.read_file("a/welcome.txt").await.unwrap().is_empty());
}

/// Nobody has to use the mount for it: who asks how things stand is told how they are.
#[tokio::test(flavor = "multi_thread")]
async fn looking_around_tells_how_things_stand() {
    let (world, mount) = listing(&["*"]).await;
    assert_eq!(mount.listing(), Listing::Unknown);
    mount.namespace().look_around().await;
    assert_eq!(mount.listing(), Listing::Open);
    world.forget_requests();
    mount.namespace().look_around().await;
    assert_eq!(world.requests(), 0, "that was a moment ago");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_told_once_and_again_after_it_was_given_and_taken_away() {
    let (world, mount) = listing_as(&[], forgetful()).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    mount.namespace().notify_missing(Box::new(move |bucket, right, known| {
        telling.lock().push((bucket, right, known.is_admitted));
    }));
    for _ in 0..3 {
        assert_eq!(failure(mount.list("a").await), Kind::Denied);
        assert!(mount.exists("a/welcome.txt").await);
        assert_eq!(failure(mount.remove("a/welcome.txt").await), Kind::Denied);
    }
    let (a, b) = (BucketId(0), BucketId(1));
    assert_eq!(*told.lock(), [(a, Right::List, false), (a, Right::Delete, true)]);
    assert_eq!(failure(mount.list("b").await), Kind::Denied);
    assert_eq!(told.lock().len(), 3, "each bucket is another matter");
    assert_eq!(mount.namespace().rights_known(a).missing, [Right::List, Right::Delete]);
    assert_eq!(mount.namespace().rights_known(b).missing, [Right::List]);

    world.role_may(&[THREE, &["s3:DeleteObject"]].concat(), &["*"]);
    mount.list("a").await.unwrap();
    mount.remove("a/welcome.txt").await.unwrap();
    assert_eq!(mount.namespace().rights_known(a).missing, []);
    assert_eq!(told.lock().len(), 3);
    world.role_may(THREE, &[]);
    assert_eq!(failure(mount.list("a").await), Kind::Denied);
    assert_eq!(told.lock()[3..], [(a, Right::List, true)]);
}

/// Whether or not directories can be listed.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_delete_nothing_is_removed_or_copied() {
    for patterns in [&["*"][..], &[]] {
        let (world, mount) = listing(patterns).await;
        world.put("a/empty/", "");
        world.put("a/full/", "");
        world.put("a/full/f", "f");
        let before = world.keys_below("a/");
        for (what, outcome) in [
            ("unlink", mount.remove("a/welcome.txt").await),
            ("rmdir", mount.remove_directory("a/empty").await),
            ("rename", mount.rename("a/welcome.txt", "a/moved").await),
            ("rename over a file", mount.rename("a/welcome.txt", "a/full/f").await),
            ("rename of a directory", mount.rename("a/full", "a/moved").await),
        ] {
            assert_eq!(failure(outcome), Kind::Denied, "{what}, listing {patterns:?}");
        }
        assert_eq!((world.keys_below("a/"), world.count("CopyObject")), (before, 0), "listing {patterns:?}");
        assert_eq!(world.stored("a/full/f").unwrap(), b"f");
        assert!(mount.exists("a/empty").await && mount.exists("a/welcome.txt").await);
    }
}

/// A file that was not closed yet, as `sed -i` and editors have them when they rename.
#[tokio::test(flavor = "multi_thread")]
async fn a_rename_that_is_refused_sends_nothing_either() {
    let (world, mount) = listing(&[]).await;
    let file = mount.open("a/draft", How::MakeNew).await.unwrap();
    file.write(0, b"draft").await.unwrap();
    assert_eq!(failure(mount.rename("a/draft", "a/welcome.txt").await), Kind::Denied);
    assert_eq!(world.count("PutObject"), 0);
    file.close().await.unwrap();
    assert_eq!(world.stored("a/draft").unwrap(), b"draft");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_delete_and_not_list_removes_files_and_no_directories() {
    let (world, mount) = listing(&[]).await;
    world.role_may(&[THREE, &["s3:DeleteObject"]].concat(), &[]);
    world.put("a/d/", "");
    world.put("a/d/f", "f");
    let before = world.keys_below("a/d/");
    assert_eq!(failure(mount.remove_directory("a/d").await), Kind::Denied, "who knows what is in it");
    assert_eq!(failure(mount.rename("a/d", "a/moved").await), Kind::Denied);
    assert_eq!((world.keys_below("a/d/"), world.count("CopyObject")), (before, 0));
    mount.rename("a/d/f", "a/d/g").await.unwrap();
    assert_eq!(world.stored("a/d/g").unwrap(), b"f");
    mount.remove("a/d/g").await.unwrap();
    assert_eq!(world.keys_below("a/d/"), ["a/d/"]);
}

/// A file that this mount removed or moved away no longer vouches for the right to read.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_here_is_no_reason_to_deny_anything() {
    let (world, mount) = listing_as(&[], forgetful()).await;
    world.role_may(&[THREE, &["s3:DeleteObject"]].concat(), &[]);
    mount.read_file("a/welcome.txt").await.unwrap();
    mount.rename("a/welcome.txt", "a/moved").await.unwrap();
    assert!(!mount.exists("a/missing").await);
    mount.read_file("a/moved").await.unwrap();
    mount.remove("a/moved").await.unwrap();
    assert!(!mount.exists("a/missing").await);
}

/// An object that may be replaced and not be read: nothing that this mount does may replace it.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_seen_is_never_replaced() {
    let (world, mount) = listing_as(&[], forgetful()).await;
    world.role_may(&[THREE, &["s3:DeleteObject"]].concat(), &[]);
    world.put("a/secret", "theirs");
    world.put("a/secrets/", "theirs");
    let secret = |name: &str| format!("arn:aws:s3:::{}/{name}", demo::BUCKETS[0]);
    let mut policy = demo::bucket_policy(demo::BUCKETS[0]);
    policy["Statement"].as_array_mut().unwrap().push(json!({
        "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": [secret("secret"), secret("secrets/")],
    }));
    world.set_bucket_policy(demo::BUCKETS[0], Some(&policy));
    assert!(!mount.exists("a/secret").await);
    for how in [How::Overwrite, How::Edit, How::MakeNew] {
        let file = mount.open("a/secret", how).await.unwrap();
        file.write(0, b"mine").await.unwrap();
        assert_eq!(failure(file.close().await), Kind::Exists, "{how:?}");
    }
    assert_eq!(failure(mount.rename("a/welcome.txt", "a/secret").await), Kind::Exists);
    assert_eq!(failure(mount.rename_as("a/welcome.txt", "a/secret", Replace::Refused).await), Kind::Exists);
    let draft = mount.open("a/draft", How::Edit).await.unwrap();
    mount.rename("a/draft", "a/secret").await.unwrap();
    draft.write(0, b"mine").await.unwrap();
    assert_eq!(failure(draft.close().await), Kind::Exists, "a file that had only a name yet");
    assert_eq!(failure(mount.make_directory("a/secrets").await), Kind::Exists);
    assert_eq!(world.stored("a/secret").unwrap(), b"theirs");
    assert_eq!(world.stored("a/secrets/").unwrap(), b"theirs");
    assert!(mount.exists("a/welcome.txt").await);
}

/// What one account puts into an inbox the other takes out of it.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_made_though_all_that_were_seen_are_gone() {
    let (world, mount) = listing_as(&[], forgetful()).await;
    mount.write_file("b/inbox/one", b"one").await.unwrap();
    world.delete("b/inbox/one");
    mount.write_file("b/inbox/two", b"two").await.unwrap();
    assert_eq!(world.stored("b/inbox/two").unwrap(), b"two");
}

/// A directory that was made here may have had something in it that cannot be seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_made_in_a_blind_bucket_is_not_taken_for_empty() {
    let (_world, mount) = listing(&[]).await;
    mount.make_directory("a/reports").await.unwrap();
    assert!(mount.read_file("a/reports/readme.txt").await.unwrap().starts_with(b"One folder"));
    assert_eq!(failure(mount.list("a/reports").await), Kind::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_directory_shows_nothing_not_even_what_is_being_made_in_it() {
    let (_world, mount) = listing(&[]).await;
    let file = mount.open("a/draft", How::MakeNew).await.unwrap();
    let directory = mount.stat("a").await.unwrap().ino;
    let handle = mount.filesystem().open_directory(directory).unwrap();
    let first = mount.filesystem().read_directory(handle, 0).await;
    assert_eq!(failure(first), Kind::Denied, "and not after some names");
    mount.filesystem().close_directory(handle);
    file.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_allows_nothing_leaves_the_other_alone() {
    let world = World::new();
    world.set_bucket_policy(demo::BUCKETS[0], None);
    let mount = world.mount().await;
    mount.namespace().look_around().await;
    assert_eq!(failure(mount.list("a").await), Kind::Denied);
    assert_eq!(failure(mount.write_file("a/x", b"x").await), Kind::Denied);
    assert_eq!(mount.list("b").await.unwrap(), ["inbox/", "notes/", "welcome.txt"]);
    mount.write_file("b/x", b"x").await.unwrap();
    let known = |bucket| mount.namespace().rights_known(BucketId(bucket));
    assert_eq!((known(0).listing, known(0).is_admitted), (Listing::Blind, false));
    assert_eq!((known(1).listing, known(1).is_admitted), (Listing::Open, true));
}
