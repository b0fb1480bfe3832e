//! Two who write the same name: what each choice makes of it, through the whole filesystem.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use s3xmount::error::Kind;
use s3xmount::fs::OpenOptions;
use s3xmount::name::FileName;
use s3xmount::write::{self, ExclusiveCreate, OnConflict};

use crate::support::{How, Mount, OWNER, Options, World, eventually, failure};

async fn mount(world: &World, writing: fn(write::Options) -> write::Options) -> Mount {
    world.mount_with(Options { writing, ..Options::default() }).await
}

fn keep_both(writing: write::Options) -> write::Options {
    write::Options { on_conflict: OnConflict::KeepBoth, host: "host".to_owned(), ..writing }
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_gets_a_second_name_and_the_first_shows_theirs() {
    let world = World::new();
    let mount = mount(&world, keep_both).await;
    world.put("a/log", "one\n");
    let file = mount.open("a/log", How::Edit).await.unwrap();
    file.write(4, b"ours\n").await.unwrap();
    // What was there is fetched as soon as the file is written to.
    eventually("the base is at hand", || async { world.count("GetObject") > 0 }).await;
    eventually("it is staged", || async { file.read_all().await.unwrap() == b"one\nours\n" }).await;
    world.put("a/log", "one\ntheirs\n");
    file.close().await.unwrap();
    assert_eq!(mount.read_file("a/log").await.unwrap(), b"one\ntheirs\n");
    let names = mount.list("a").await.unwrap();
    let ours = names.iter().find(|name| name.starts_with("log.conflict-host-")).unwrap();
    assert_eq!(mount.read_file(&format!("a/{ours}")).await.unwrap(), b"one\nours\n");
    assert!(mount.set_aside().is_empty());
    mount.append("a/log", b"more\n").await.unwrap();
    assert_eq!(world.stored("a/log").unwrap(), b"one\ntheirs\nmore\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_file_open_goes_on_under_its_second_name() {
    let world = World::new();
    let mount = mount(&world, keep_both).await;
    let file = mount.open("a/new", How::Edit).await.unwrap();
    file.write(0, b"ours").await.unwrap();
    world.put("a/new", "theirs");
    file.sync().await.unwrap();
    file.write(4, b" and more").await.unwrap();
    file.close().await.unwrap();
    assert_eq!(world.stored("a/new").unwrap(), b"theirs");
    let names = mount.list("a").await.unwrap();
    let ours = names.iter().find(|name| name.starts_with("new.conflict-host-")).unwrap();
    assert_eq!(world.stored(&format!("a/{ours}")).unwrap(), b"ours and more");
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_takes_the_place_of_theirs_where_that_is_wished() {
    let world = World::new();
    let overwriting = |writing| write::Options { on_conflict: OnConflict::Overwrite, ..writing };
    let mount = mount(&world, overwriting).await;
    let file = mount.open("a/new", How::Edit).await.unwrap();
    file.write(0, b"ours").await.unwrap();
    world.put("a/new", "theirs");
    file.close().await.unwrap();
    assert_eq!(world.stored("a/new").unwrap(), b"ours");
    assert_eq!(mount.read_file("a/new").await.unwrap(), b"ours");
    let exclusive = mount.open("a/lock", How::MakeNew).await.unwrap();
    exclusive.write(0, b"ours").await.unwrap();
    world.put("a/lock", "theirs");
    assert_eq!(failure(exclusive.close().await), Kind::Exists, "O_EXCL is never an overwrite");
    assert_eq!(world.stored("a/lock").unwrap(), b"theirs");
}

fn claiming(writing: write::Options) -> write::Options {
    write::Options { exclusive_create: ExclusiveCreate::Open, ..writing }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_open_a_lock_file_on_two_machines_one_succeeds() {
    let world = World::new();
    let (one, other) = (mount(&world, claiming).await, mount(&world, claiming).await);
    let options = OpenOptions {
        access: s3xmount::fs::Access { read: true, write: true },
        truncate: false,
        exclusive: true,
    };
    let name = FileName::parse("lock").unwrap();
    for round in 0..3 {
        let mut tasks = tokio::task::JoinSet::new();
        for at in 0..8 {
            let mount = if at % 2 == 0 { &one } else { &other };
            let parent = mount.stat("a").await.unwrap().ino;
            let (filesystem, name) = (mount.filesystem().clone(), name.clone());
            assert!(filesystem.claims_at_open(options));
            tasks.spawn(async move {
                let (_, opened) = filesystem.create_claimed(parent, &name, 0o600, OWNER, options).await?;
                filesystem.release(opened.handle).await
            });
        }
        let outcomes = tasks.join_all().await;
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(won, 1, "round {round}: {outcomes:?}");
        assert!(outcomes.into_iter().all(|outcome| outcome.is_ok() || failure(outcome) == Kind::Exists));
        world.delete("a/lock");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_file_is_written_on_the_claim() {
    let world = World::new();
    let mount = mount(&world, claiming).await;
    let parent = mount.stat("a").await.unwrap().ino;
    let options = OpenOptions {
        access: s3xmount::fs::Access { read: true, write: true },
        truncate: false,
        exclusive: true,
    };
    let name = FileName::parse("new").unwrap();
    let fs = mount.filesystem();
    let (_, opened) = fs.create_claimed(parent, &name, 0o600, OWNER, options).await.unwrap();
    assert_eq!(world.stored("a/new").unwrap(), b"");
    fs.write(opened.handle, 0, b"content").await.unwrap();
    fs.flush(opened.handle).await.unwrap();
    fs.release(opened.handle).await.unwrap();
    assert_eq!(world.stored("a/new").unwrap(), b"content");
    assert_eq!(mount.read_file("a/new").await.unwrap(), b"content");
    let (_, opened) =
        fs.create_claimed(parent, &FileName::parse("robbed").unwrap(), 0o600, OWNER, options).await.unwrap();
    fs.write(opened.handle, 0, b"ours").await.unwrap();
    world.put("a/robbed", "theirs");
    assert_eq!(failure(fs.flush(opened.handle).await), Kind::Changed);
    assert_eq!(failure(fs.release(opened.handle).await), Kind::Changed);
    assert_eq!(world.stored("a/robbed").unwrap(), b"theirs");
}
