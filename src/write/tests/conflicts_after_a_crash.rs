//! A race that was lost while nobody was there: recovery does what the commit would have done.

use super::commits::{choosing, keys, records, theirs};
use super::*;
use crate::emulator::store::WriteCondition;
use crate::write::journal::Phase;

/// A file that was closed into the background and never got further, after somebody else has taken its name.
async fn overtaken(world: &World, base: Base, bytes: &[u8]) -> Arc<Session> {
    let session = world.begin("a", base);
    write(&session, 0, bytes).await;
    let _closed = session.entrust(Occasion::Flush).await.unwrap();
    theirs(world, "a");
    session
}

fn remove(world: &World, key: &str) {
    world.emulator.world().bucket("bucket").delete(key, &WriteCondition::None).unwrap();
}

/// Makes the record look as if the file had been closed so much later.
fn closed_later(seconds: i64) -> impl Fn(&Path) {
    move |directory| {
        for path in records(directory) {
            let mut journal = Journal::resume(path.clone(), journal::read(&path).unwrap());
            journal.update(|record| record.entrusted.as_mut().unwrap().at += seconds).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_files_are_kept_where_that_was_chosen() {
    let world = World::with(choosing(OnConflict::KeepBoth), 256).await;
    for edited in [false, true] {
        let base = if edited { world.existing("a", b"base of it").await } else { Base::New };
        let session = overtaken(&world, base, b"OURS").await;
        let (sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
        assert_eq!(recovered[0].outcome, Outcome::KeepBoth, "{recovered:?}");
        let kept = sessions.kept_both().pop().unwrap();
        assert_eq!((world.object("a").unwrap(), kept.key.as_str()), (b"theirs".to_vec(), "a"));
        let expected = if edited { &b"OURS of it"[..] } else { b"OURS" };
        assert_eq!(world.object(&kept.ours).unwrap(), expected);
        assert_eq!(world.metadata(&kept.ours, "mode").as_deref(), Some("33188"));
        assert_eq!(sessions.set_aside().unwrap().len(), 0);
        session.abandon().await;
        for key in keys(&world) {
            remove(&world, &key);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_are_kept_of_a_close_that_was_still_waiting() {
    let world = World::with(choosing(OnConflict::KeepBoth), 256).await;
    let gate = Gate::closed();
    world.inject(On::operation("PutObject").hold_request(&gate));
    let session = world.begin("a", Base::New);
    write(&session, 0, b"OURS").await;
    let commit = started(flush_owned(&session));
    gate.reached_by(1).await;
    theirs(&world, "a");
    let (sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
    assert_eq!(recovered[0].outcome, Outcome::KeepBoth, "{recovered:?}");
    assert_eq!(world.object(&sessions.kept_both()[0].ours).unwrap(), b"OURS");
    gate.open();
    assert!(commit.await.unwrap().unwrap().is_beside());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_that_is_lost_during_recovery_ends_as_any_other() {
    let world = World::with(choosing(OnConflict::KeepBoth), 256).await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"OURS").await;
    let _closed = session.entrust(Occasion::Flush).await.unwrap();
    // S3 is asked, and says that nobody has the name; and then somebody has.
    world.inject(On::operation("PutObject").reject(412, "PreconditionFailed"));
    let (sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
    assert_eq!(recovered[0].outcome, Outcome::Finish, "{recovered:?}");
    assert_eq!(world.object(&sessions.kept_both()[0].ours).unwrap(), b"OURS");
    session.abandon().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_there_before_the_close_is_overwritten() {
    let world = World::with(choosing(OnConflict::Overwrite), 256).await;
    let base = world.existing("a", b"base of it").await;
    let session = overtaken(&world, base, b"OURS").await;
    let (_, recovered, _directory) = world.after_a_crash(closed_later(-3600)).await;
    assert_eq!((recovered[0].outcome, world.object("a").unwrap()), (Outcome::SetAside, b"theirs".to_vec()));
    let (_, recovered, _directory) = world.after_a_crash(closed_later(3600)).await;
    assert_eq!(recovered[0].outcome, Outcome::Overwrite, "{recovered:?}");
    assert_eq!(world.object("a").unwrap(), b"OURS of it");
    session.abandon().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_is_made_again_where_the_last_writer_wins() {
    let world = World::with(choosing(OnConflict::Overwrite), 256).await;
    let base = world.existing("a", b"base of it").await;
    let session = overtaken(&world, base, b"OURS").await;
    remove(&world, "a");
    let (_, recovered, _directory) = world.after_a_crash(|_| {}).await;
    assert_eq!(
        (recovered[0].outcome, world.object("a").unwrap()),
        (Outcome::Overwrite, b"OURS of it".to_vec())
    );
    session.abandon().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_is_done_with_an_exclusive_file_or_without_a_choice() {
    let cases = [
        (OnConflict::KeepBoth, Base::Exclusive),
        (OnConflict::Overwrite, Base::Exclusive),
        (OnConflict::Fail, Base::New),
    ];
    for (choice, base) in cases {
        let world = World::with(choosing(choice), 256).await;
        let session = overtaken(&world, base, b"OURS").await;
        let (sessions, recovered, _directory) = world.after_a_crash(closed_later(3600)).await;
        assert_eq!(recovered[0].outcome, Outcome::SetAside, "{choice:?}: {recovered:?}");
        assert_eq!((keys(&world).len(), sessions.set_aside().unwrap().len()), (1, 1));
        session.abandon().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lacks_bytes_of_a_lost_version_is_set_aside_whatever_was_chosen() {
    let world = World::with(choosing(OnConflict::KeepBoth), 256).await;
    let base = world.existing("a", &pattern(1, 3 * PART)).await;
    let session = overtaken(&world, base, b"OURS").await;
    let (sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
    assert_eq!(recovered[0].outcome, Outcome::SetAside, "{recovered:?}");
    assert!(recovered[0].error.as_ref().unwrap().to_string().contains("only what was written here"));
    assert_eq!((keys(&world).len(), sessions.set_aside().unwrap().len()), (1, 1));
    let record = records(sessions.set_aside().unwrap()[0].path.parent().unwrap());
    assert!(matches!(journal::read(&record[0]).unwrap().phase, Phase::Sealed(_)), "rescue knows what it is");
    session.abandon().await;
}
