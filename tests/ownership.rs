//! Whose the objects are, and what the ACL has to do with it.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::process::Command;

use s3xmount::emulator::demo::{self, ACCOUNT_A, ACCOUNT_B, ROLE, Rights};
use s3xmount::emulator::{AccountId, CannedAcl, Ownership, RunningEmulator};
use s3xmount::error::Kind;
use s3xmount::fs::AttributeChange;
use s3xmount::s3::WriteRules;
use serde_json::{Value, json};

use crate::support::real::{Home, can_mount, text};
use crate::support::{How, MIB, Options, World, failure, pattern};

const A: &str = demo::BUCKETS[0];

/// A bucket policy that admits the role and demands nothing.
fn open_policy() -> Value {
    json!({"Statement": [{
        "Effect": "Allow", "Principal": {"AWS": demo::role_arn()}, "Action": "s3:*",
        "Resource": [format!("arn:aws:s3:::{A}"), format!("arn:aws:s3:::{A}/*")],
    }]})
}

/// A world whose first bucket is of this mode and demands no ACL.
fn world_of(ownership: Ownership) -> World {
    let world = World::new();
    world.set_bucket_policy(A, Some(&open_policy()));
    world.bucket(A).set_ownership(ownership);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn the_acl_hands_objects_over_in_every_mode_that_lets_it() {
    let none: fn(WriteRules) -> WriteRules = |rules| rules.acl(None);
    let full: fn(WriteRules) -> WriteRules = |rules| rules;
    let table = [
        (Ownership::BucketOwnerEnforced, full, ACCOUNT_B, "full control"),
        (Ownership::BucketOwnerEnforced, none, ACCOUNT_B, "none"),
        (Ownership::BucketOwnerPreferred, full, ACCOUNT_B, "full control"),
        (Ownership::BucketOwnerPreferred, none, ACCOUNT_A, "none"),
        (Ownership::ObjectWriter, full, ACCOUNT_A, "full control"),
        (Ownership::ObjectWriter, none, ACCOUNT_A, "none"),
    ];
    for (ownership, rules, owner, acl) in table {
        let world = world_of(ownership);
        let mount = world.mount_with(Options { rules, ..Options::default() }).await;
        mount.write_file("a/put", b"put").await.unwrap();
        mount.write_file("a/parts", &pattern(1, 18 * MIB)).await.unwrap();
        mount.write_file("a/old", b"copied").await.unwrap();
        mount.rename("a/old", "a/copied").await.unwrap();
        mount.change("a/copied", AttributeChange { mode: Some(0o600), ..Default::default() }).await.unwrap();
        mount.append("a/parts", b"tail").await.unwrap();
        mount.make_directory("a/made").await.unwrap();
        let acl_stored = if acl == "none" { CannedAcl::Private } else { CannedAcl::BucketOwnerFullControl };
        for path in ["a/put", "a/parts", "a/copied", "a/made/"] {
            let object = world.object_at(path).unwrap();
            assert_eq!((object.owner, object.acl), (owner, acl_stored), "{path} in {ownership:?} with {acl}");
        }
        assert_eq!(mount.read_file("a/put").await.unwrap(), b"put", "{ownership:?} with {acl}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_acls_are_disabled_another_acl_is_refused_before_more_is_written() {
    let world = world_of(Ownership::BucketOwnerEnforced);
    let options = Options { rules: |rules| rules.acl(Some("public-read")), ..Options::default() };
    let mount = world.mount_with(options).await;
    let refusal = mount.write_file("a/first", b"first").await.unwrap_err();
    assert_eq!(refusal.kind(), Kind::Denied);
    for words in ["`public-read`", "`none`", "BucketOwnerEnforced", "a/first".trim_start_matches("a/")] {
        assert!(refusal.to_string().contains(words), "{words}: {refusal}");
    }
    assert!(!refusal.is_told(), "its bytes are set aside, and that has to be said");
    world.forget_requests();
    for name in ["a/second", "a/third", "a/welcome.txt"] {
        let refusal = mount.open(name, How::Overwrite).await.err().unwrap();
        assert!(refusal.is_told() && refusal.to_string().contains("`none`"), "{refusal}");
    }
    assert_eq!((world.count("PutObject"), mount.set_aside()), (0, vec![b"first".to_vec()]));
    assert!(mount.read_file("a/welcome.txt").await.is_ok(), "reading goes on");
    assert_eq!(failure(mount.make_directory("a/d").await), Kind::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_to_set_the_acl_is_named() {
    let world = World::new();
    let policy = json!({"Statement": [{
        "Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"], "Resource": "*",
    }]});
    world.directory.set_role_policies(ACCOUNT_A, ROLE, &[policy]);
    let mount = world.mount().await;
    let refusal = mount.write_file("a/new", b"new").await.unwrap_err();
    assert_eq!(refusal.kind(), Kind::Denied);
    assert!(refusal.to_string().contains("s3:PutObjectAcl"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_third_account_owns_says_so() {
    let stranger = AccountId::new(333_333_333_333);
    let world = world_of(Ownership::ObjectWriter);
    world.put("a/theirs", "theirs");
    world.bucket(A).change("theirs", |object| object.owner = stranger).unwrap();
    let mount = world.mount().await;
    assert!(mount.read_file("a/welcome.txt").await.is_ok());
    assert!(mount.list("a").await.unwrap().contains(&"theirs".to_owned()));
    let refusal = mount.read_file("a/theirs").await.unwrap_err();
    assert_eq!(refusal.kind(), Kind::Denied);
    for words in [&stranger.canonical_id(), &ACCOUNT_B.canonical_id(), "bucket-owner-full-control"] {
        assert!(refusal.to_string().contains(words), "{words}: {refusal}");
    }
    world.forget_requests();
    assert_eq!(failure(mount.read_file("a/theirs").await), Kind::Denied);
    assert_eq!(world.count("ListObjectsV2"), 1, "whose the others are is known by now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_refusal_is_not_blamed_on_an_owner() {
    let world = world_of(Ownership::ObjectWriter);
    let mount = world.mount().await;
    assert!(mount.read_file("a/welcome.txt").await.is_ok());
    let mut policy = open_policy();
    let deny = json!({
        "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject",
        "Resource": format!("arn:aws:s3:::{A}/reports/*"),
    });
    policy["Statement"].as_array_mut().unwrap().push(deny);
    world.set_bucket_policy(A, Some(&policy));
    let refusal = mount.read_file("a/reports/readme.txt").await.unwrap_err();
    assert_eq!(refusal.kind(), Kind::Denied);
    assert!(!refusal.to_string().contains("canonical id"), "{refusal}");
}

#[test]
fn the_log_says_once_that_a_bucket_takes_no_acl() {
    if !can_mount() {
        return;
    }
    let emulator = RunningEmulator::start(demo::world(Rights::Full)).unwrap();
    emulator.world().set_bucket_policy(A, Some(&open_policy()));
    emulator.world().bucket(A).set_ownership(Ownership::BucketOwnerEnforced);
    let home = Home::new();
    let output = home.mount_with(&emulator, &["--role-arn", &demo::role_arn(), "--acl", "public-read"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for name in ["1", "2", "3", "4", "5"] {
        let target = home.mount_point().join(A).join(name);
        let copy = Command::new("cp").arg("/etc/passwd").arg(target).env("LC_ALL", "C").output().unwrap();
        assert!(text(&copy.stderr).contains("Permission denied"), "{name}: {}", text(&copy.stderr));
    }
    let log = std::fs::read_to_string(home.log()).unwrap();
    let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!(lines("this is said once"), 1, "{log}");
    assert_eq!(lines("ERROR"), 1, "{log}");
    assert!(lines("the bytes of 1 are kept in") > 0, "{log}");
    assert_eq!(
        lines("WARN"),
        lines("the bytes of 1 are kept in"),
        "the other files are not spoken of: {log}"
    );
}
