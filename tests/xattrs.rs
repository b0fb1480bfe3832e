//! Extended attributes: what S3 knows of an object, and what people note on a file.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::process::Command;

use s3xmount::emulator::demo::{self, ACCOUNT_A, ACCOUNT_B, ROLE, Rights};
use s3xmount::emulator::{RunningEmulator, store::Attributes};
use s3xmount::error::{Kind, Result};
use s3xmount::fs::{AttributeChange, Setting};

use crate::support::real::{Home, can_mount, text};
use crate::support::{How, MIB, Mount, World, failure, pattern};

const A: &str = demo::BUCKETS[0];

async fn get(mount: &Mount, path: &str, name: &str) -> Result<String> {
    let ino = mount.stat(path).await?.ino;
    let value = match mount.filesystem().try_xattr(ino, name) {
        Some(value) => value?,
        None => mount.filesystem().xattr(ino, name).await?,
    };
    Ok(String::from_utf8(value).unwrap())
}

async fn set(mount: &Mount, path: &str, name: &str, value: &[u8]) -> Result<()> {
    let ino = mount.stat(path).await?.ino;
    mount.filesystem().set_xattr(ino, name, value, Setting::Either).await
}

async fn remove(mount: &Mount, path: &str, name: &str) -> Result<()> {
    let ino = mount.stat(path).await?.ino;
    mount.filesystem().remove_xattr(ino, name).await
}

async fn list(mount: &Mount, path: &str) -> Vec<String> {
    let ino = mount.stat(path).await.unwrap().ino;
    match mount.filesystem().try_list_xattrs(ino) {
        Some(names) => names.unwrap(),
        None => mount.filesystem().list_xattrs(ino).await.unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_s3_knows_of_an_object_can_be_asked_for() {
    let world = World::new();
    let attributes = Attributes {
        content_type: Some("text/x-special".to_owned()),
        storage_class: Some("STANDARD_IA".to_owned()),
        ..Attributes::default()
    };
    world.seed_content(A, "file", bytes::Bytes::from_static(b"content").into(), attributes);
    world.bucket(A).change("file", |object| object.version_id = Some("v1".to_owned())).unwrap();
    let mount = world.mount().await;
    let etag = world.object_at("a/file").unwrap().etag.clone();
    let sum = world.object_at("a/file").unwrap().checksum.clone().unwrap();
    let policy = serde_json::json!({"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]});
    world.directory.set_role_policies(ACCOUNT_A, ROLE, &[policy]);
    for (name, expected) in [
        ("user.s3.etag", etag),
        ("user.s3.version-id", "v1".to_owned()),
        ("user.s3.storage-class", "STANDARD_IA".to_owned()),
        ("user.s3.content-type", "text/x-special".to_owned()),
        ("user.s3.owner", ACCOUNT_B.canonical_id()),
        ("user.s3.checksum", format!("{}:{}", sum.algorithm.name(), sum.value)),
        ("user.s3.uri", format!("s3://{A}/file")),
    ] {
        assert_eq!(get(&mount, "a/file", name).await.unwrap(), expected, "{name}");
    }
    let acl: serde_json::Value =
        serde_json::from_str(&get(&mount, "a/file", "user.s3.acl").await.unwrap()).unwrap();
    assert_eq!(acl["owner"], ACCOUNT_B.canonical_id());
    assert_eq!(acl["grants"][0]["permission"], "FULL_CONTROL");
    assert_eq!(get(&mount, "a/welcome.txt", "user.s3.storage-class").await.unwrap(), "STANDARD");
    assert_eq!(failure(get(&mount, "a/welcome.txt", "user.s3.version-id").await), Kind::NoAttribute);
    assert_eq!(failure(get(&mount, "a/file", "user.s3.colour").await), Kind::NoAttribute);
    assert_eq!(get(&mount, "a/reports", "user.s3.uri").await.unwrap(), format!("s3://{A}/reports/"));
    assert_eq!(get(&mount, "a", "user.s3.uri").await.unwrap(), format!("s3://{A}/"));
    assert_eq!(failure(get(&mount, "", "user.s3.uri").await), Kind::NoAttribute);
    assert!(list(&mount, "a/file").await.is_empty(), "copies must not take them along");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_role_may_not_ask_is_denied_and_says_why() {
    let world = World::with(Rights::Minimal);
    let mount = world.mount().await;
    for name in ["user.s3.acl", "user.s3.owner"] {
        let refusal = get(&mount, "a/welcome.txt", name).await.unwrap_err();
        assert_eq!(refusal.kind(), Kind::Denied);
        assert!(refusal.to_string().contains("GetObjectAcl"), "{refusal}");
    }
    assert!(get(&mount, "a/welcome.txt", "user.s3.checksum").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_asked_for_costs_a_request() {
    let world = World::new();
    let mount = world.mount().await;
    let ino = mount.stat("a/welcome.txt").await.unwrap().ino;
    let filesystem = mount.filesystem();
    world.forget_requests();
    for name in
        ["security.selinux", "security.capability", "system.posix_acl_access", "trusted.x", "nonsense"]
    {
        assert_eq!(failure(filesystem.try_xattr(ino, name).unwrap()), Kind::NotSupported, "{name}");
    }
    assert!(filesystem.try_list_xattrs(ino).unwrap().unwrap().is_empty());
    for name in ["user.s3.etag", "user.s3.uri", "user.s3.storage-class", "user.s3.content-type"] {
        assert!(filesystem.try_xattr(ino, name).unwrap().is_ok(), "{name}");
    }
    assert_eq!(failure(filesystem.try_xattr(ino, "user.none").unwrap()), Kind::NoAttribute);
    assert_eq!(world.requests(), 0);
    assert!(filesystem.try_xattr(ino, "user.s3.checksum").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn media_type_and_storage_class_can_be_set() {
    let world = World::new();
    let mount = world.mount().await;
    set(&mount, "a/welcome.txt", "user.s3.content-type", b"text/html; charset=utf-8").await.unwrap();
    set(&mount, "a/welcome.txt", "user.s3.storage-class", b"STANDARD_IA").await.unwrap();
    let object = world.object_at("a/welcome.txt").unwrap();
    assert_eq!(object.attributes.content_type.as_deref(), Some("text/html; charset=utf-8"));
    assert_eq!(object.attributes.storage_class.as_deref(), Some("STANDARD_IA"));
    assert_eq!(get(&mount, "a/welcome.txt", "user.s3.storage-class").await.unwrap(), "STANDARD_IA");
    remove(&mount, "a/welcome.txt", "user.s3.content-type").await.unwrap();
    assert_eq!(world.object_at("a/welcome.txt").unwrap().attributes.content_type, None);
    for (name, value, kind) in [
        ("user.s3.content-type", "two\nlines", Kind::InvalidArgument),
        ("user.s3.storage-class", "lower", Kind::InvalidArgument),
        ("user.s3.etag", "x", Kind::NotPermitted),
        ("user.s3.owner", "x", Kind::NotPermitted),
        ("security.selinux", "x", Kind::NotSupported),
        ("trusted.x", "x", Kind::NotSupported),
        ("system.posix_acl_access", "x", Kind::NotSupported),
    ] {
        assert_eq!(failure(set(&mount, "a/welcome.txt", name, value.as_bytes()).await), kind, "{name}");
    }
    assert_eq!(failure(set(&mount, "a", "user.x", b"x").await), Kind::NotPermitted, "a bucket is no object");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_noted_stays_with_the_file_whatever_is_done_to_it() {
    let world = World::new();
    let mount = world.mount().await;
    set(&mount, "a/welcome.txt", "user.colour", b"red").await.unwrap();
    set(&mount, "a/welcome.txt", "user.size", &[0, 1]).await.unwrap();
    // As s3fs keeps them.
    let stored = "%7B%22user.colour%22%3A%22cmVk%22%2C%22user.size%22%3A%22AAE%3D%22%7D";
    let entry = |path: &str| world.object_at(path).unwrap().attributes.metadata.get("xattr").cloned();
    mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!(entry("a/welcome.txt").as_deref(), Some(stored));
    mount.change("a/welcome.txt", AttributeChange { mode: Some(0o600), ..Default::default() }).await.unwrap();
    mount.append("a/welcome.txt", b"more").await.unwrap();
    mount.rename("a/welcome.txt", "a/moved").await.unwrap();
    mount.write_file("a/moved", &pattern(1, 18 * MIB)).await.unwrap();
    assert_eq!(entry("a/moved").as_deref(), Some(stored));
    let fresh = world.mount().await;
    assert_eq!(list(&fresh, "a/moved").await, ["user.colour", "user.size"]);
    assert_eq!(get(&fresh, "a/moved", "user.colour").await.unwrap(), "red");
    assert_eq!(fresh.stat("a/moved").await.unwrap().mode, 0o600);
    remove(&fresh, "a/moved", "user.colour").await.unwrap();
    assert_eq!(failure(remove(&fresh, "a/moved", "user.colour").await), Kind::NoAttribute);
    remove(&fresh, "a/moved", "user.size").await.unwrap();
    fresh.namespace().tell_descriptions().await.unwrap();
    assert_eq!(entry("a/moved"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_of_a_file_that_is_being_written_go_with_its_commit() {
    let world = World::new();
    let mount = world.mount().await;
    let file = mount.open("a/new.txt", How::Overwrite).await.unwrap();
    file.write(0, b"content").await.unwrap();
    let filesystem = mount.filesystem();
    filesystem.set_xattr(file.ino, "user.colour", b"red", Setting::Create).await.unwrap();
    filesystem.set_xattr(file.ino, "user.s3.storage-class", b"ONEZONE_IA", Setting::Either).await.unwrap();
    assert_eq!(filesystem.xattr(file.ino, "user.colour").await.unwrap(), b"red");
    assert!(world.object_at("a/new.txt").is_none());
    file.close().await.unwrap();
    assert_eq!((world.count("PutObject"), world.count("CopyObject")), (1, 0), "one request for all of it");
    let object = world.object_at("a/new.txt").unwrap();
    assert_eq!(object.attributes.storage_class.as_deref(), Some("ONEZONE_IA"));
    assert_eq!(object.attributes.content_type.as_deref(), Some("text/plain"));
    assert!(object.attributes.metadata.contains_key("xattr"));

    // Open and unchanged: the object is described anew at once.
    let file = mount.open("a/new.txt", How::Edit).await.unwrap();
    filesystem.set_xattr(file.ino, "user.colour", b"blue", Setting::Replace).await.unwrap();
    assert_eq!(world.mount().await.stat("a/new.txt").await.unwrap().size, 7);
    assert_eq!(get(&world.mount().await, "a/new.txt", "user.colour").await.unwrap(), "blue");
    file.close().await.unwrap();
    let file = mount.open("a/new.txt", How::Read).await.unwrap();
    filesystem.set_xattr(file.ino, "user.colour", b"green", Setting::Either).await.unwrap();
    assert_eq!(file.read_all().await.unwrap(), b"content", "the reader reads on");
    file.close().await.unwrap();
    mount.namespace().tell_descriptions().await.unwrap();
    assert_eq!(get(&world.mount().await, "a/new.txt", "user.colour").await.unwrap(), "green");
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_and_replacing_are_told_apart() {
    let world = World::new();
    let mount = world.mount().await;
    let ino = mount.stat("a/welcome.txt").await.unwrap().ino;
    let set = async |setting| mount.filesystem().set_xattr(ino, "user.x", b"x", setting).await;
    assert_eq!(failure(set(Setting::Replace).await), Kind::NoAttribute);
    set(Setting::Create).await.unwrap();
    assert_eq!(failure(set(Setting::Create).await), Kind::Exists);
    set(Setting::Replace).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_kilobytes_are_all_there_is() {
    let world = World::new();
    let mount = world.mount().await;
    set(&mount, "a/welcome.txt", "user.fits", &[7; 900]).await.unwrap();
    let before = world.object_at("a/welcome.txt").unwrap().attributes.metadata.clone();
    assert_eq!(failure(set(&mount, "a/welcome.txt", "user.more", &[7; 900]).await), Kind::NoSpace);
    assert_eq!(world.object_at("a/welcome.txt").unwrap().attributes.metadata, before);
    // What still fitted does not keep the file from being written or described.
    let mut size = 1;
    while set(&mount, "a/welcome.txt", "user.more", &vec![7; size]).await.is_ok() {
        size += 1;
    }
    assert!(size > 100);
    mount.write_file("a/welcome.txt", b"new").await.unwrap();
    let times = AttributeChange { mtime: Some(s3xmount::clock::now()), ..Default::default() };
    mount.change("a/welcome.txt", times).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_that_are_not_understood_are_not_replaced() {
    let world = World::new();
    let metadata = [("xattr".to_owned(), "of some other tool".to_owned())].into();
    let attributes = Attributes { metadata, ..Attributes::default() };
    world.seed_content(A, "odd", bytes::Bytes::from_static(b"odd").into(), attributes);
    let mount = world.mount().await;
    assert!(list(&mount, "a/odd").await.is_empty());
    assert_eq!(failure(set(&mount, "a/odd", "user.x", b"x").await), Kind::NotSupported);
    assert_eq!(world.object_at("a/odd").unwrap().attributes.metadata["xattr"], "of some other tool");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_keeps_them_in_its_marker() {
    let world = World::new();
    let mount = world.mount().await;
    set(&mount, "a/reports", "user.colour", b"red").await.unwrap();
    assert!(world.object_at("a/reports/").unwrap().attributes.metadata.contains_key("xattr"));
    assert_eq!(get(&world.mount().await, "a/reports", "user.colour").await.unwrap(), "red");
    mount.rename("a/reports", "a/moved").await.unwrap();
    assert_eq!(list(&world.mount().await, "a/moved").await, ["user.colour"]);
    assert_eq!(mount.list("a/moved").await.unwrap(), ["2024/", "2025/", "readme.txt"]);
}

/// Both buckets mounted by the binary, and a shell in them.
struct Mounted {
    home: Home,
    emulator: RunningEmulator,
}

impl Mounted {
    fn new() -> Option<Self> {
        can_mount().then(|| {
            let emulator = RunningEmulator::start(demo::world(Rights::Full)).unwrap();
            let mounted = Self { home: Home::new(), emulator };
            let output = mounted.home.mount(&mounted.emulator, &demo::role_arn());
            assert!(output.status.success(), "{}", text(&output.stderr));
            mounted
        })
    }

    fn shell(&self, script: &str) -> String {
        let output = Command::new("sh")
            .args(["-euc", &format!("exec 2>&1; {script}")])
            .current_dir(self.home.mount_point().join(A))
            .env("HOME", self.home.path())
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let said = text(&output.stdout);
        assert!(output.status.success(), "{script}: {said}");
        said
    }
}

#[test]
fn the_tools_of_everybody_read_and_set_them() {
    let Some(mounted) = Mounted::new() else { return };
    let shell = |script: &str| mounted.shell(script);
    assert_eq!(shell("getfattr --only-values -n user.s3.uri welcome.txt"), format!("s3://{A}/welcome.txt"));
    shell("setfattr -n user.colour -v red welcome.txt; setfattr -n user.binary -v 0x00ff00 welcome.txt");
    let dump = shell("getfattr -d -e hex welcome.txt");
    assert!(dump.contains("user.binary=0x00ff00") && dump.contains("user.colour=0x726564"), "{dump}");
    for (script, expected) in [
        ("setfattr -n user.s3.etag -v x welcome.txt", "Operation not permitted"),
        ("setfattr -n trusted.x -v x welcome.txt", "Operation not supported"),
        ("getfattr -n user.none welcome.txt", "No such attribute"),
        ("setfattr -x user.none welcome.txt", "No such attribute"),
        ("setfattr -n user.big -v $(printf %03000d 0) welcome.txt", "No space left on device"),
    ] {
        let said = shell(&format!("! {script}"));
        assert!(said.contains(expected), "{script}: {said}");
    }
    shell("setfattr -n user.s3.content-type -v text/html welcome.txt");
    let object = mounted.emulator.world().object(A, "welcome.txt").unwrap();
    assert_eq!(object.attributes.content_type.as_deref(), Some("text/html"));
}

#[test]
fn copies_take_along_what_was_noted_and_nothing_else() {
    let Some(mounted) = Mounted::new() else { return };
    let shell = |script: &str| mounted.shell(script);
    shell("setfattr -n user.colour -v red welcome.txt; setfattr -n user.place -v attic reports");
    let colour = "getfattr --absolute-names --only-values -n user.colour";
    shell(
        "cp -a welcome.txt copy; cp --preserve=xattr welcome.txt strictly; rsync -aX welcome.txt reports synced/",
    );
    for copy in ["copy", "strictly", "synced/welcome.txt"] {
        assert_eq!(shell(&format!("{colour} {copy}")), "red", "{copy}");
        assert_eq!(shell(&format!("getfattr -d {copy} | grep -c =")), "1\n", "{copy}");
    }
    assert_eq!(shell("getfattr --only-values -n user.place synced/reports"), "attic");
    assert_eq!(shell("rsync -aX -i welcome.txt reports synced/"), "", "a second time there is nothing to do");
}

#[test]
fn who_looks_at_a_directory_asks_s3_for_no_attributes() {
    let Some(mounted) = Mounted::new() else { return };
    let faults = &mounted.emulator.world().faults;
    mounted.shell("ls -lR .");
    faults.reset_counts();
    mounted.shell("ls -l . reports reports/2024; getfattr -R -d -m - . ; cp -a welcome.txt $HOME/copy");
    let counts = faults.counts();
    assert!(!counts.keys().any(|operation| operation.contains("Acl")), "{counts:?}");
    assert!(counts.get("HeadObject").copied().unwrap_or_default() <= 1, "the copy's open: {counts:?}");
}

#[test]
fn a_small_write_is_not_accompanied_by_a_question_for_capabilities() {
    if !can_mount() {
        return;
    }
    let emulator = RunningEmulator::start(demo::world(Rights::Full)).unwrap();
    let home = Home::new();
    let output = home.mount_with(&emulator, &["--role-arn", &demo::role_arn(), "--log-level", "debug"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let target = format!("of={}", home.mount_point().join(A).join("small").display());
    let written =
        Command::new("dd").args(["if=/dev/zero", &target, "bs=512", "count=1000"]).output().unwrap();
    assert!(written.status.success(), "{}", text(&written.stderr));
    let log = std::fs::read_to_string(home.log()).unwrap();
    let count = |operation: &str| log.matches(&format!("operation={operation} ")).count();
    assert_eq!(count("write"), 1000);
    // The kernel asks once, and again whenever the attributes it remembers have run out.
    assert!(count("getxattr") < 500, "{}", count("getxattr"));
}
