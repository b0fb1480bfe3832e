//! How objects are kept: encrypted with whose key, in which class, at whose expense, in an archive or not.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::os::unix::fs::PermissionsExt;

use aws_smithy_types::base64;
use s3xmount::emulator::demo::{self, ACCOUNT_A, ACCOUNT_B, REGION, ROLE, Rights};
use s3xmount::emulator::store::Attributes;
use s3xmount::emulator::{Content, Encryption, KmsKey, RunningEmulator};
use s3xmount::error::{Error, Kind};
use s3xmount::fs::AttributeChange;
use s3xmount::name::DirPrefix;
use s3xmount::namespace::{BucketId, Folder};
use s3xmount::s3::{CustomerKey, WriteRules};
use s3xmount::secret::Secret;
use serde_json::{Value, json};

use crate::support::real::{Home, can_mount, text};
use crate::support::{How, MIB, Mount, Options, World, failure, pattern};

type Rules = fn(WriteRules) -> WriteRules;

const KEY: &str = "arn:aws:kms:us-east-1:222222222222:key/1234";

/// The demo with a key in account B that admits the role, and a role that may use so much of keys.
fn world_with_key(actions: &[&str]) -> World {
    let policy = json!({"Statement": [{
        "Effect": "Allow", "Principal": {"AWS": demo::role_arn()},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": "*",
    }]});
    let key = KmsKey::new(ACCOUNT_B, REGION, "1234", &policy);
    assert_eq!(key.arn(), KEY);
    let world = World::of(demo::world(Rights::Full).with_key(key));
    allow_keys(&world, actions);
    world
}

fn allow_keys(world: &World, actions: &[&str]) {
    let mut policies = vec![demo::role_policy(Rights::Full)];
    if !actions.is_empty() {
        policies.push(json!({"Statement": [{"Effect": "Allow", "Action": actions, "Resource": KEY}]}));
    }
    world.directory.set_role_policies(ACCOUNT_A, ROLE, &policies);
}

const BOTH: &[&str] = &["kms:Decrypt", "kms:GenerateDataKey"];

/// Makes a request of every kind that touches an object, and returns the paths of what is there then.
async fn exercise(mount: &Mount) -> Vec<&'static str> {
    let large = pattern(3, 18 * MIB);
    mount.make_directory("a/d").await.unwrap();
    mount.write_file("a/d/small", b"small").await.unwrap();
    mount.write_file("a/d/large", &large).await.unwrap();
    // Untouched parts are copied inside S3.
    let edited = mount.open("a/d/large", How::Edit).await.unwrap();
    edited.write(17 * MIB as u64, b"edited").await.unwrap();
    edited.close().await.unwrap();
    mount.append("a/d/small", b" and more").await.unwrap();
    mount.change("a/d/small", AttributeChange { mode: Some(0o600), ..Default::default() }).await.unwrap();
    mount.rename("a/d/small", "a/d/moved").await.unwrap();
    mount.rename("a/d/large", "b/inbox/large").await.unwrap();
    mount.write_file("a/d/gone", b"gone").await.unwrap();
    mount.remove("a/d/gone").await.unwrap();
    mount.rename("a/d", "a/e").await.unwrap();
    assert_eq!(mount.read_file("a/e/moved").await.unwrap(), b"small and more");
    let mut expected = large;
    expected[17 * MIB..17 * MIB + 6].copy_from_slice(b"edited");
    assert!(mount.read_file("b/inbox/large").await.unwrap() == expected);
    assert_eq!(mount.list("a/e").await.unwrap(), ["moved"]);
    vec!["a/e/moved", "b/inbox/large", "a/e/"]
}

fn denied(error: Error, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), Kind::Denied, "{text}");
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_written_object_is_encrypted_as_the_settings_say() {
    let table: [(Rules, Encryption); 3] = [
        (|rules| rules.encryption(Some("AES256"), None), Encryption::S3Key),
        (|rules| rules.encryption(Some("aws:kms"), Some(KEY.to_owned())), Encryption::kms(KEY)),
        (
            |rules| rules.encryption(Some("aws:kms:dsse"), Some(KEY.to_owned())),
            Encryption::Kms { key: KEY.to_owned(), dual_layer: true },
        ),
    ];
    for (rules, expected) in table {
        let world = world_with_key(BOTH);
        let mount = world.mount_with(Options { rules, ..Options::default() }).await;
        for path in exercise(&mount).await {
            assert_eq!(world.object_at(path).unwrap().encryption, expected, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_encrypts_by_itself_needs_no_setting() {
    let world = world_with_key(BOTH);
    world.bucket(demo::BUCKETS[0]).set_encryption(Encryption::kms(KEY));
    let mount = world.mount().await;
    mount.write_file("a/new", b"new").await.unwrap();
    assert_eq!(world.object_at("a/new").unwrap().encryption, Encryption::kms(KEY));
    assert_eq!(world.mount().await.read_file("a/new").await.unwrap(), b"new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_refuses_is_named_and_so_is_what_it_refuses() {
    let world = world_with_key(BOTH);
    world.bucket(demo::BUCKETS[0]).set_encryption(Encryption::kms(KEY));
    let mount = world.mount().await;
    mount.write_file("a/there", b"there").await.unwrap();

    allow_keys(&world, &["kms:GenerateDataKey"]);
    let refusal = mount.read_file("a/there").await.unwrap_err();
    denied(refusal, &["kms:Decrypt", KEY, "not the bucket"]);

    allow_keys(&world, &["kms:Decrypt"]);
    let refusal = mount.write_file("a/new", b"new").await.unwrap_err();
    denied(refusal, &["kms:GenerateDataKey", KEY, "not the bucket"]);
    assert_eq!(mount.set_aside(), [b"new"], "and nothing is lost");

    allow_keys(&world, BOTH);
    world.keys.set_policy(KEY, &nobody());
    denied(mount.write_file("a/other", b"x").await.unwrap_err(), &["kms:GenerateDataKey", "key policy"]);
    world.keys.set_enabled(KEY, false);
    assert!(mount.stat("a/there").await.is_ok(), "what needs no key goes on");
}

/// A key policy that admits nobody of account A.
fn nobody() -> Value {
    json!({"Statement": [{
        "Effect": "Allow", "Principal": {"AWS": ACCOUNT_B.root_arn()}, "Action": "kms:*", "Resource": "*",
    }]})
}

fn customer_key(byte: u8) -> Option<CustomerKey> {
    CustomerKey::from_base64(&Secret::from(base64::encode([byte; 32])))
}

fn world_with_tls() -> World {
    World::of(demo::world(Rights::Full).with_pretended_tls())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_ones_own_goes_with_every_request() {
    let world = world_with_tls();
    // What is copied from one bucket to the other needs it on both sides.
    let mount = world
        .mount_with(Options { rules: |rules| rules.customer_key(customer_key(7)), ..Options::default() });
    for path in exercise(&mount.await).await {
        assert!(world.object_at(path).unwrap().encryption.customer_key().is_some(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_key_encrypts_is_listed_and_says_which_key_it_wants() {
    let world = world_with_tls();
    let with_key = |rules: WriteRules| rules.customer_key(customer_key(7));
    let mine = world.mount_with(Options { rules: with_key, ..Options::default() }).await;
    mine.write_file("a/mine", b"mine").await.unwrap();

    let keyless = world.mount().await;
    assert_eq!(keyless.list("a").await.unwrap(), ["mine", "reports/", "welcome.txt"]);
    assert_eq!(keyless.stat("a/mine").await.unwrap().size, 4);
    denied(keyless.read_file("a/mine").await.unwrap_err(), &["sse-customer-key-file"]);

    let other = Options { rules: |rules| rules.customer_key(customer_key(8)), ..Options::default() };
    let other = world.mount_with(other).await;
    assert_eq!(other.list("a").await.unwrap().len(), 3);
    denied(other.read_file("a/mine").await.unwrap_err(), &["another key"]);
    denied(other.read_file("a/welcome.txt").await.unwrap_err(), &["not encrypted with the key"]);
    assert_eq!(mine.read_file("a/mine").await.unwrap(), b"mine");
    for mount in [&mine, &keyless, &other] {
        let errors = mount.read_file("a/nowhere").await.unwrap_err().to_string();
        assert!(!errors.contains(&base64::encode([7; 32])) && !errors.contains(&base64::encode([8; 32])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_agrees_to_pay_does_so_in_every_request() {
    let world = World::new();
    for bucket in demo::BUCKETS {
        world.bucket(bucket).set_requester_pays(true);
    }
    let mount =
        world.mount_with(Options { rules: |rules| rules.requester_pays(true), ..Options::default() }).await;
    exercise(&mount).await;
    let everything = json!({"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]});
    world.directory.set_role_policies(ACCOUNT_A, ROLE, &[everything]);
    for name in ["user.s3.owner", "user.s3.acl", "user.s3.checksum"] {
        let ino = mount.stat("a/e/moved").await.unwrap().ino;
        assert!(mount.filesystem().xattr(ino, name).await.is_ok(), "{name}");
    }
    assert_eq!(failure(world.mount().await.list("a").await), Kind::Denied, "who does not is kept out");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pays_for_the_source_of_a_copy_says_so_too() {
    let world = World::new();
    world.bucket(demo::BUCKETS[1]).set_requester_pays(true);
    let mount =
        world.mount_with(Options { rules: |rules| rules.requester_pays(true), ..Options::default() }).await;
    mount.rename("b/notes/poems/autumn.txt", "a/autumn.txt").await.unwrap();
    assert!(world.stored("a/autumn.txt").is_some());
}

/// Somebody else puts an object of this class into the first bucket.
fn put_in_class(world: &World, key: &str, bytes: &'static [u8], class: &str) {
    let attributes = Attributes { storage_class: Some(class.to_owned()), ..Attributes::default() };
    world.seed_content(demo::BUCKETS[0], key, Content::from(bytes::Bytes::from_static(bytes)), attributes);
}

fn class_of(world: &World, path: &str) -> Option<String> {
    world.object_at(path).unwrap().attributes.storage_class.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_stays_in_its_class_whatever_is_done_to_it() {
    let world = World::new();
    put_in_class(&world, "cold", b"cold", "STANDARD_IA");
    let mount = world.mount().await;
    let ia = Some("STANDARD_IA".to_owned());
    mount.change("a/cold", AttributeChange { mode: Some(0o600), ..Default::default() }).await.unwrap();
    assert_eq!(class_of(&world, "a/cold"), ia, "after chmod");
    mount.append("a/cold", b"er").await.unwrap();
    assert_eq!(class_of(&world, "a/cold"), ia, "after an append");
    mount.rename("a/cold", "a/moved").await.unwrap();
    assert_eq!(class_of(&world, "a/moved"), ia, "after a rename");
    mount.rename("a/moved", "b/moved").await.unwrap();
    assert_eq!(class_of(&world, "b/moved"), ia, "after a rename into another bucket");
    mount.write_file("b/moved", b"new").await.unwrap();
    assert_eq!(class_of(&world, "b/moved"), ia, "and with another content");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_class_of_the_settings_is_that_of_written_content() {
    let world = World::new();
    let options = Options { rules: |rules| rules.storage_class(Some("ONEZONE_IA")), ..Options::default() };
    let mount = world.mount_with(options).await;
    mount.write_file("a/new", b"new").await.unwrap();
    mount.write_file("a/large", &pattern(1, 18 * MIB)).await.unwrap();
    mount.append("a/welcome.txt", b"more").await.unwrap();
    for path in ["a/new", "a/large", "a/welcome.txt"] {
        assert_eq!(class_of(&world, path).as_deref(), Some("ONEZONE_IA"), "{path}");
    }
    let mode = AttributeChange { mode: Some(0o600), ..Default::default() };
    mount.change("a/reports/readme.txt", mode).await.unwrap();
    assert_eq!(class_of(&world, "a/reports/readme.txt"), None, "a mode is no content");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_an_archive_is_seen_and_says_that_it_must_be_restored() {
    let world = World::new();
    put_in_class(&world, "glacier", b"ice", "GLACIER");
    put_in_class(&world, "deep", b"ice", "DEEP_ARCHIVE");
    put_in_class(&world, "instant", b"ice", "GLACIER_IR");
    put_in_class(&world, "tiered", b"ice", "INTELLIGENT_TIERING");
    let bucket = world.bucket(demo::BUCKETS[0]);
    bucket.change("tiered", |object| object.archive_status = Some("ARCHIVE_ACCESS".to_owned())).unwrap();
    for path in ["a/glacier", "a/deep", "a/tiered"] {
        // One for each: after a second open in a directory its next files would be fetched ahead.
        let mount = world.mount().await;
        assert!(mount.list("a").await.unwrap().contains(&path[2..].to_owned()));
        assert_eq!(mount.stat(path).await.unwrap().size, 3, "{path}");
        world.forget_requests();
        denied(mount.read_file(path).await.unwrap_err(), &["restore-object", path.trim_start_matches("a/")]);
        assert_eq!(world.count("GetObject"), 0, "{path}: it is known beforehand");
        denied(mount.append(path, b"x").await.unwrap_err(), &["restore"]);
        let mode = AttributeChange { mode: Some(0o600), ..Default::default() };
        denied(mount.change(path, mode).await.unwrap_err(), &["restore"]);
        assert_eq!(world.stored(path).unwrap(), b"ice", "{path}");
    }
    let mount = world.mount().await;
    assert_eq!(mount.read_file("a/instant").await.unwrap(), b"ice");
    bucket.change("deep", |object| object.restored = true).unwrap();
    assert_eq!(world.mount().await.read_file("a/deep").await.unwrap(), b"ice");
    mount.write_file("a/glacier", b"water").await.unwrap();
    assert_eq!(mount.read_file("a/glacier").await.unwrap(), b"water", "new content is not put on ice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_an_archive_is_not_fetched_ahead() {
    let world = World::new();
    put_in_class(&world, "d/archived", b"ice", "GLACIER");
    put_in_class(&world, "d/at-hand", b"ice", "GLACIER_IR");
    world.put("a/d/usual", "x");
    let mount = world.mount().await;
    mount.list("a/d").await.unwrap();
    let folder = Folder { bucket: BucketId(0), prefix: DirPrefix::parse("d").unwrap() };
    let files = mount.namespace().files(&folder).unwrap();
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["at-hand", "usual"]);
}

#[test]
fn a_key_file_is_all_it_takes_and_no_log_shows_the_key() {
    if !can_mount() {
        return;
    }
    let emulator = RunningEmulator::start(demo::world(Rights::Full).with_pretended_tls()).unwrap();
    let home = Home::new();
    let (file, encoded) = (home.path().join("key"), base64::encode([0xc5; 32]));
    std::fs::write(&file, [0xc5; 32]).unwrap();
    let flags = ["--role-arn", &demo::role_arn(), "--log-level", "trace"];
    let key_flags = ["--sse-customer-key-file", file.to_str().unwrap()];
    let mount = |mode| {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        home.mount_with(&emulator, &[&flags[..], &key_flags].concat())
    };
    let refused = mount(0o644);
    assert_eq!(refused.status.code(), Some(2), "everybody may read it");
    assert!(text(&refused.stderr).contains("chmod o="), "{}", text(&refused.stderr));
    let output = mount(0o600);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let bucket = home.mount_point().join(demo::BUCKETS[0]);
    let large = pattern(9, 18 * MIB);
    std::fs::write(bucket.join("large"), &large).unwrap();
    assert!(std::fs::read(bucket.join("large")).unwrap() == large);
    assert!(std::fs::read(bucket.join("welcome.txt")).is_err(), "it is not encrypted with this key");
    let object = emulator.world().object(demo::BUCKETS[0], "large").unwrap();
    assert!(object.encryption.customer_key().is_some());
    let log = std::fs::read_to_string(home.log()).unwrap();
    assert!(log.contains("not encrypted with the key") && !log.contains(&encoded), "{log}");
}
