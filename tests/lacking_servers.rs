//! Servers that speak S3 and are not AWS: what each lacks, and that a mount works all the same.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use s3xmount::emulator::demo::{self, Rights};
use s3xmount::emulator::{CannedAcl, Lack};
use s3xmount::error::Kind;
use s3xmount::fs::{AttributeChange, Replace};
use s3xmount::s3::Server;

use crate::support::{How, MIB, Mount, Options, World, failure, pattern};

/// Everything that anything may be missing for, and what must be there afterwards.
async fn daily_life(world: &World, mount: &Mount, round: &str) {
    let at = |name: &str| format!("a/{round}/{name}");
    mount.make_directory(&format!("a/{round}")).await.unwrap();
    // Created, and not created again.
    mount.write_file(&at("note"), b"one").await.unwrap();
    let exclusive = mount.open(&at("mine"), How::MakeNew).await.unwrap();
    exclusive.write(0, b"exclusive").await.unwrap();
    exclusive.close().await.unwrap();
    assert_eq!(failure(mount.open(&at("mine"), How::MakeNew).await.map(drop)), Kind::Exists);
    // Appended to, replaced, edited in the middle.
    mount.append(&at("note"), b" and two").await.unwrap();
    assert_eq!(world.stored(&at("note")).unwrap(), b"one and two");
    mount.write_file(&at("mine"), b"replaced").await.unwrap();
    assert_eq!(world.stored(&at("mine")).unwrap(), b"replaced");
    let mut large = pattern(7, 21 * MIB);
    mount.write_file(&at("large"), &large).await.unwrap();
    let edited = mount.open(&at("large"), How::Edit).await.unwrap();
    edited.write(3 * MIB as u64, b"edited").await.unwrap();
    edited.close().await.unwrap();
    large[3 * MIB..3 * MIB + 6].copy_from_slice(b"edited");
    assert!(world.stored(&at("large")).unwrap() == large);
    // Read from somewhere in the middle, by somebody who has read nothing yet.
    let file = mount.open(&at("large"), How::Read).await.unwrap();
    let middle = file.read(10 * MIB as u64, 1000).await.unwrap();
    assert!(middle == large[10 * MIB..10 * MIB + 1000]);
    file.close().await.unwrap();
    // Renamed, with its directory, and removed.
    mount.rename(&at("note"), &at("renamed")).await.unwrap();
    mount.rename(&format!("a/{round}"), &format!("a/{round}-moved")).await.unwrap();
    let moved = format!("a/{round}-moved");
    assert_eq!(mount.list(&moved).await.unwrap(), ["large", "mine", "renamed"]);
    for name in ["large", "mine", "renamed"] {
        mount.remove(&format!("{moved}/{name}")).await.unwrap();
    }
    mount.remove_directory(&moved).await.unwrap();
    assert!(world.keys_below(&moved).is_empty(), "{:?}", world.keys_below(&moved));
    assert!(mount.set_aside().is_empty());
}

async fn lacking(lacks: &[Lack]) -> (World, Mount) {
    let world = World::of(permissive().lacking(lacks.iter().copied()));
    let mount = world.mount_with(compatible()).await;
    (world, mount)
}

/// The demo without the demand for an ACL, which a server without ACLs could not make.
fn permissive() -> s3xmount::emulator::World {
    let world = demo::world(Rights::Full);
    for bucket in demo::BUCKETS {
        let mut policy = demo::bucket_policy(bucket);
        policy["Statement"].as_array_mut().unwrap().truncate(1);
        world.set_bucket_policy(bucket, Some(&policy));
    }
    world
}

fn compatible() -> Options {
    Options { server: Server::Compatible, ..Options::default() }
}

const ALL: [Lack; 10] = [
    Lack::IgnoresConditions,
    Lack::RefusesConditions,
    Lack::RefusesAcl,
    Lack::RefusesCrc64Nvme,
    Lack::RefusesChecksums,
    Lack::RefusesUnsignedPayload,
    Lack::NoDeleteObjects,
    Lack::NoPartCopy,
    Lack::IgnoresRange,
    Lack::RefusesUrlEncoding,
];

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_works_whatever_one_thing_is_lacking() {
    for lack in ALL
        .into_iter()
        .chain([Lack::NoListV2, Lack::NoHeadBucket, Lack::IgnoresConditionsOfCompletion])
        .chain([Lack::IgnoresConditionsOfDeletion, Lack::RefusesConditionsOfDeletion])
    {
        let (world, mount) = lacking(&[lack]).await;
        daily_life(&world, &mount, "first").await;
        let refusals = world.lacks.refusals();
        daily_life(&world, &mount, "second").await;
        assert_eq!(
            world.lacks.refusals(),
            refusals,
            "{lack:?}: what is known to be lacking is not asked for again"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_works_when_everything_is_lacking() {
    let (world, mount) = lacking(&ALL[1..]).await;
    daily_life(&world, &mount, "first").await;
    let refusals = world.lacks.refusals();
    daily_life(&world, &mount, "second").await;
    assert_eq!(world.lacks.refusals(), refusals);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_given_up_that_the_server_has() {
    for lack in
        [Lack::RefusesConditions, Lack::RefusesCrc64Nvme, Lack::RefusesUnsignedPayload, Lack::NoPartCopy]
    {
        let (world, mount) = lacking(&[lack]).await;
        let file = mount.open("a/new", How::MakeNew).await.unwrap();
        file.write(0, b"new").await.unwrap();
        file.close().await.unwrap();
        mount.write_file("a/large", &pattern(1, 9 * MIB)).await.unwrap();
        for path in ["a/new", "a/large"] {
            assert_eq!(
                world.object_at(path).unwrap().acl,
                CannedAcl::BucketOwnerFullControl,
                "{lack:?} {path}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_is_never_given_less_than_was_wished() {
    let world = World::of(permissive().lacking([Lack::RefusesAcl]));
    let mount = world.mount().await;
    assert_eq!(failure(mount.write_file("a/new", b"new").await), Kind::NotSupported);
    assert_eq!((world.stored("a/new"), mount.set_aside()), (None, vec![b"new".to_vec()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_honours_conditions_proves_it_once() {
    let (world, mount) = lacking(&[]).await;
    let writes = |name: &'static str| async {
        world.forget_requests();
        let file = mount.open(name, How::MakeNew).await.unwrap();
        file.write(0, b"new").await.unwrap();
        world.forget_requests();
        file.close().await.unwrap();
        (world.count("PutObject"), world.count("HeadObject"))
    };
    assert_eq!(writes("a/first").await, (2, 1), "looked for, written, and proven");
    assert_eq!(writes("a/second").await, (1, 0), "the condition is enough");
    // Nobody sees the object of somebody else replaced while this was found out.
    assert_eq!(world.stored("a/first").unwrap(), b"new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_honours_conditions_of_copies_proves_it_once() {
    let (world, mount) = lacking(&[]).await;
    let moves = |from: &'static str, onto: &'static str| async {
        mount.write_file(from, b"bytes").await.unwrap();
        world.forget_requests();
        mount.rename_as(from, onto, Replace::Refused).await.unwrap();
        assert_eq!((world.stored(from), world.stored(onto).unwrap()), (None, b"bytes".to_vec()));
        (world.count("CopyObject"), world.count("HeadObject"))
    };
    // Looked up, looked for, copied, and proven; and the source is looked at, of which a refusal may speak, too.
    assert_eq!(moves("a/one", "a/two").await, (2, 3));
    assert_eq!(moves("a/three", "a/four").await, (1, 1), "looked up; the condition is enough");
    // A change of mode is a copy of the object onto itself, which has the condition of its source.
    let mode = AttributeChange { mode: Some(0o640), ..Default::default() };
    world.forget_requests();
    mount.change("a/four", mode).await.unwrap();
    mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!((world.count("CopyObject"), world.requests()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_moved_onto_what_others_made_without_the_help_of_the_server() {
    for lack in [Lack::IgnoresConditions, Lack::RefusesConditions] {
        let (world, mount) = lacking(&[lack]).await;
        mount.write_file("a/first", b"ours").await.unwrap();
        mount.rename_as("a/first", "a/second", Replace::Refused).await.unwrap();
        mount.write_file("a/ours", b"ours").await.unwrap();
        assert!(!mount.exists("a/theirs").await);
        world.put("a/theirs", "theirs");
        assert_eq!(failure(mount.rename_as("a/ours", "a/theirs", Replace::Refused).await), Kind::Exists);
        assert_eq!(
            (world.stored("a/ours").unwrap(), world.stored("a/theirs").unwrap()),
            (b"ours".to_vec(), b"theirs".to_vec())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_did_is_noticed_without_the_help_of_the_server() {
    for lack in [Lack::IgnoresConditions, Lack::RefusesConditions, Lack::IgnoresConditionsOfCompletion] {
        let (world, mount) = lacking(&[lack]).await;
        // The server is known for what it is, or has proven what it honours.
        for (at, size) in [("first", 10), ("second", 9 * MIB), ("third", 10)] {
            let file = mount.open(&format!("a/{at}"), How::MakeNew).await.unwrap();
            file.write(0, &pattern(1, size)).await.unwrap();
            file.close().await.unwrap();
            mount.append(&format!("a/{at}"), b"more").await.unwrap();
        }
        for size in [10, 9 * MIB] {
            let (fresh, known) = (format!("a/fresh-{size}"), format!("a/known-{size}"));
            let new = mount.open(&fresh, How::MakeNew).await.unwrap();
            new.write(0, &pattern(2, size)).await.unwrap();
            world.put(&fresh, "theirs");
            assert_eq!(failure(new.close().await), Kind::Exists, "{lack:?} {size}");
            assert_eq!(world.stored(&fresh).unwrap(), b"theirs");

            world.put(&known, "known");
            let edited = mount.open(&known, How::Edit).await.unwrap();
            edited.write(5, &pattern(2, size)).await.unwrap();
            world.put(&known, "theirs");
            assert_eq!(failure(edited.close().await), Kind::Changed, "{lack:?} {size}");
            assert_eq!(world.stored(&known).unwrap(), b"theirs");
        }
        assert_eq!(mount.set_aside().len(), 4, "and nothing of ours is lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_of_the_first_version_are_whole() {
    let (world, mount) = lacking(&[Lack::NoListV2]).await;
    for number in 0..2345 {
        world.put(&format!("a/many/{number:04}"), "x");
    }
    world.put("a/many/zz/inside", "x");
    let names = mount.list("a/many").await.unwrap();
    assert_eq!((names.len(), names.last().map(String::as_str)), (2346, Some("zz/")));
    mount.rename("a/many", "a/moved").await.unwrap();
    assert_eq!(world.keys_below("a/moved").len(), 2346);
}

#[tokio::test]
async fn whether_completions_keep_to_conditions_is_found_out_once() {
    for (lacks, keeps_to_them) in [(&[][..], true), (&[Lack::IgnoresConditionsOfCompletion], false)] {
        let (world, mount) = lacking(lacks).await;
        let mut content = pattern(3, 20 * MIB);
        mount.write_file("a/log", &content).await.unwrap();
        let mut asked = Vec::new();
        for line in [&b"one"[..], b"two", b"three"] {
            world.forget_requests();
            mount.append("a/log", line).await.unwrap();
            content.extend_from_slice(line);
            assert!(world.stored("a/log").unwrap() == content);
            asked.push((world.count("CompleteMultipartUpload"), world.count("HeadObject")));
        }
        let (first, second, third) = (asked[0], asked[1], asked[2]);
        assert_eq!((second.0, third), (1, second), "{lacks:?}: {asked:?}");
        assert_eq!(first.0, if keeps_to_them { 2 } else { 1 }, "{lacks:?}: {asked:?}");
        assert_eq!(first.1 - second.1, u64::from(keeps_to_them), "one look less: {lacks:?}: {asked:?}");
        assert!(mount.set_aside().is_empty() && world.uploads("SampleBucketA").is_empty());
    }
}
