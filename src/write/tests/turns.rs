//! Several files of one name that were closed one after the other, and none of which S3 had when the mount died.

use super::commits::choosing;
use super::*;

/// Closes a file into the background that is to have the name `a`.
async fn closed(world: &World, sessions: &Arc<Sessions>, base: Base, bytes: &[u8]) -> Arc<Session> {
    let (gateway, key) = (Arc::clone(&world.gateway), ObjectKey::parse("a").unwrap());
    let session = sessions.begin(Target { gateway, key, object: NewObject::default() }, base);
    write(&session, 0, bytes).await;
    let _closed = session.entrust(Occasion::Flush).await.unwrap();
    session
}

/// What was set aside, and why.
fn aside(sessions: &Sessions) -> Vec<(Vec<u8>, String)> {
    let files = sessions.set_aside().unwrap();
    files.into_iter().map(|file| (fs::read(&file.path).unwrap(), file.why)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_later_one_wins_whatever_they_are_called() {
    // Their names are random, and so is the order in which a directory tells them.
    for base in [Base::New, Base::Replace(None)] {
        for _ in 0..4 {
            let world = World::new().await;
            let earlier = closed(&world, &world.sessions, base.clone(), b"earlier").await;
            let later = closed(&world, &world.sessions, base.clone(), b"later").await;
            let (sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
            assert_eq!(world.object("a").unwrap(), b"later", "{recovered:?}");
            let aside = aside(&sessions);
            assert_eq!(aside.len(), 1);
            assert_eq!(aside[0].0, b"earlier");
            assert!(aside[0].1.contains("closed after this one"), "{}", aside[0].1);
            tokio::join!(earlier.abandon(), later.abandon());
        }
    }
}

/// A mount that comes after the one that has died and staged in `staging`.
async fn after_another_crash(world: &World, staging: &Path) -> (Arc<Sessions>, Vec<Recovered>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(staging).unwrap().map(io::Result::unwrap) {
        if entry.file_type().unwrap().is_file() && entry.file_name() != "lock" {
            fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
        }
    }
    let sessions = sessions(options_in(directory.path()), 256);
    let gateway = Arc::clone(&world.gateway);
    let recovered = sessions.recover(move |_| Some(Arc::clone(&gateway))).await;
    (sessions, recovered, directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_a_later_mount_wins() {
    let world = World::new().await;
    let base = world.existing("a", b"old").await;
    let earlier = closed(&world, &world.sessions, base.clone(), b"earlier").await;
    // The next mount cannot ask S3 of it yet, and closes another one; and dies, too.
    world.inject(On::operation("HeadObject").always().reject(403, "AccessDenied"));
    let (sessions, recovered, directory) = world.after_a_crash(|_| {}).await;
    assert_eq!(recovered[0].outcome, Outcome::Later);
    let later = closed(&world, &sessions, base, b"the later").await;
    let (_, recovered, directory) = after_another_crash(&world, directory.path()).await;
    assert_eq!(recovered.iter().map(|one| one.outcome).collect::<Vec<_>>(), [Outcome::Later; 2]);
    world.emulator.world().faults.clear();
    let (sessions, _, _directory) = after_another_crash(&world, directory.path()).await;
    assert_eq!(world.object("a").unwrap(), b"the later");
    assert_eq!(aside(&sessions)[0].0, b"earlier");
    tokio::join!(earlier.abandon(), later.abandon());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_one_is_finished_where_a_later_one_cannot_be() {
    let world = World::with(choosing(OnConflict::Fail), 256).await;
    let base = world.existing("a", b"old").await;
    let earlier = closed(&world, &world.sessions, base, b"earlier").await;
    // It must not replace anything.
    let later = closed(&world, &world.sessions, Base::New, b"later").await;
    let (sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
    assert_eq!(world.object("a").unwrap(), b"earlier", "{recovered:?}");
    assert_eq!(aside(&sessions)[0].0, b"later");
    tokio::join!(earlier.abandon(), later.abandon());
}
