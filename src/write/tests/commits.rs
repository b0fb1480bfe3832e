//! Commits that lose a race, commits that close(2) does not wait for, and what of them outlives a crash.

use std::time::Duration;

use super::*;
use crate::write::Closed;
use crate::write::aside::Rescue;
use crate::write::journal::{Phase, RecordedCondition};

pub(super) fn choosing(on_conflict: OnConflict) -> impl FnOnce(&mut Options) {
    move |options| (options.on_conflict, options.host) = (on_conflict, "host".to_owned())
}

pub(super) fn theirs(world: &World, key: &str) {
    world.emulator.world().seed("bucket", key, b"theirs".to_vec());
}

pub(super) fn keys(world: &World) -> Vec<String> {
    world.emulator.world().bucket("bucket").keys()
}

// ---- lost races ----

#[tokio::test(flavor = "multi_thread")]
async fn both_files_are_kept_where_that_is_wished() {
    let world = World::with(choosing(OnConflict::KeepBoth), 256).await;
    for (key, base) in [("edited", Some(&b"base of it"[..])), ("new", None)] {
        let session = match base {
            Some(bytes) => world.begin(key, world.existing(key, bytes).await),
            None => world.begin(key, Base::New),
        };
        write(&session, 0, b"OURS").await;
        session.base_at_hand().await;
        theirs(&world, key);
        let receipt = flush(&session).await.unwrap().unwrap();
        assert!(receipt.is_beside(), "{key}");
        let ours = receipt.key().to_string();
        assert!(ours.starts_with(&format!("{key}.conflict-host-2")), "{ours}");
        assert_eq!(world.object(key).unwrap(), b"theirs");
        let expected = if base.is_some() { &b"OURS of it"[..] } else { b"OURS" };
        assert_eq!(world.object(&ours).unwrap(), expected);
        assert_eq!(world.metadata(&ours, "mode").as_deref(), Some("33188"));
        // Whoever has it open goes on with it, under its second name.
        write(&session, 0, b"more").await;
        let _receipt = flush(&session).await.unwrap().unwrap();
        assert_eq!(&world.object(&ours).unwrap()[..4], b"more");
        session.close().await.unwrap();
        let kept = world.sessions.kept_both().pop().unwrap();
        assert_eq!((kept.key.as_str(), kept.ours), (key, ours));
    }
    assert_eq!((world.staged().len(), world.sessions.set_aside().unwrap().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_conflicts_within_a_second_both_are_kept() {
    let world = World::with(choosing(OnConflict::KeepBoth), 256).await;
    let all: Vec<_> = (0..3).map(|_| world.begin("a", Base::New)).collect();
    theirs(&world, "a");
    for (at, session) in all.iter().enumerate() {
        write(session, 0, &[b'0' + at as u8]).await;
        assert!(flush(session).await.unwrap().unwrap().is_beside());
    }
    assert_eq!(keys(&world).len(), 4, "{:?}", keys(&world));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_race_is_overwritten_where_that_is_wished() {
    let world = World::with(choosing(OnConflict::Overwrite), 256).await;
    let base = world.existing("a", b"base of it").await;
    let session = world.begin("a", base);
    write(&session, 0, b"OURS").await;
    session.base_at_hand().await;
    theirs(&world, "a");
    let receipt = flush(&session).await.unwrap().unwrap();
    assert!(!receipt.is_beside());
    assert_eq!(world.object("a").unwrap(), b"OURS of it");
    session.close().await.unwrap();
    assert_eq!(world.staged().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_bytes_of_a_lost_version_fails_whatever_is_wished() {
    for choice in [OnConflict::Overwrite, OnConflict::KeepBoth] {
        let world = World::with(choosing(choice), 256).await;
        let base = world.existing("a", &pattern(1, 3 * PART)).await;
        let session = world.begin("a", base);
        write(&session, 0, b"OURS").await;
        theirs(&world, "a");
        let error = flush(&session).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Changed);
        assert!(error.to_string().contains("only what was written here is left"), "{error}");
        assert_eq!(keys(&world), ["a"]);
        let aside = world.sessions.set_aside().unwrap();
        assert_eq!((aside.len(), aside[0].elsewhere_bytes), (1, Some(3 * PART as u64 - 4)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_file_never_takes_the_place_of_another() {
    for choice in [OnConflict::Overwrite, OnConflict::KeepBoth] {
        let world = World::with(choosing(choice), 256).await;
        let session = world.begin("a", Base::Exclusive);
        write(&session, 0, b"OURS").await;
        theirs(&world, "a");
        assert_eq!(flush(&session).await.unwrap_err().kind(), Kind::Exists);
        assert_eq!((keys(&world).len(), world.object("a").unwrap()), (1, b"theirs".to_vec()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_claimed_once_even_if_the_answer_is_lost() {
    let world = World::new().await;
    world.inject(On::operation("PutObject").times(1).lose_answer());
    let claimed = world.sessions.claim(&world.target("lock")).await.unwrap();
    let second = world.sessions.claim(&world.target("lock")).await;
    assert_eq!(second.unwrap_err().kind(), Kind::Exists);
    let session = world.begin("lock", Base::Claimed(claimed));
    assert!(flush(&session).await.unwrap().is_none(), "it is there already");
    write(&session, 0, b"17").await;
    let _receipt = flush(&session).await.unwrap().unwrap();
    assert_eq!(world.object("lock").unwrap(), b"17");
}

// ---- the background ----

#[tokio::test(flavor = "multi_thread")]
async fn an_entrusted_file_is_there_before_s3_has_it_and_brought_to_it_once() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"content").await;
    assert_eq!(session.entrust(Occasion::Flush).await.unwrap(), Closed::ToDeliver);
    assert_eq!(session.entrust(Occasion::LastClose).await.unwrap(), Closed::Done, "nothing is new");
    assert_eq!((world.object("a"), world.count("PutObject")), (None, 0));
    assert_eq!(read(&session, 0, 99).await, b"content");
    let report = world.sessions.background();
    assert_eq!((report.files, report.bytes), (1, 7));
    let receipt = session.deliver().await.unwrap().unwrap();
    assert_eq!((world.object("a").unwrap(), receipt.meta().size), (b"content".to_vec(), 7));
    assert!(session.deliver().await.unwrap().is_none());
    assert!(session.end());
    assert_eq!((world.staged().len(), world.sessions.background().files), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entrusted_file_waits_while_the_trouble_passes_and_is_set_aside_when_it_does_not() {
    let world = World::new().await;
    world.inject(On::operation("PutObject").times(40).reject(403, "InvalidAccessKeyId"));
    let session = world.begin("a", Base::New);
    write(&session, 0, b"content").await;
    let _closed = session.entrust(Occasion::Flush).await.unwrap();
    let first = session.deliver_once().await.unwrap_err();
    assert!(first.is_passing() && session.is_entrusted(), "{first}");
    assert_eq!(world.sessions.background().troubled.len(), 1);
    assert_eq!(world.sessions.set_aside().unwrap().len(), 0);
    world.emulator.world().faults.clear();
    world.inject(On::operation("PutObject").always().reject(403, "AccessDenied"));
    let last = session.deliver().await.unwrap_err();
    assert_eq!((last.kind(), session.is_entrusted()), (Kind::Denied, false));
    assert_eq!(fs::read(&world.sessions.set_aside().unwrap()[0].path).unwrap(), b"content");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_after_an_entrusted_close_is_another_commit() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"first state").await;
    let _closed = session.entrust(Occasion::Flush).await.unwrap();
    write(&session, 0, b"SECOND").await;
    assert_eq!(read(&session, 0, 99).await, b"SECONDstate");
    // The disk vouches for the first state alone, so a second close brings that to S3 before.
    let closed = session.entrust(Occasion::Flush).await.unwrap();
    assert_eq!(closed, Closed::ToDeliver);
    assert_eq!(world.object("a").unwrap(), b"first state");
    let _receipt = session.deliver().await.unwrap().unwrap();
    assert_eq!(world.object("a").unwrap(), b"SECONDstate");
    assert!(session.end());
}

#[tokio::test(flavor = "multi_thread")]
async fn fsync_brings_to_s3_what_waits() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"first").await;
    let _closed = session.entrust(Occasion::Flush).await.unwrap();
    assert!(session.commit(Occasion::Sync).await.unwrap().is_some());
    assert_eq!(world.object("a").unwrap(), b"first");
    assert!(session.deliver().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entrusted_file_is_renamed_and_described_for_nothing() {
    let world = World::new().await;
    let session = world.begin("a.tmp", Base::New);
    write(&session, 0, b"content").await;
    let _closed = session.entrust(Occasion::Flush).await.unwrap();
    let mut object = session.description();
    object.user.insert("mtime".to_owned(), "7".to_owned());
    session.set_description(object);
    rename(&world, &session, "a", None).await.unwrap();
    // The record follows: a crash from here on brings it to its new name.
    let (_sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
    assert_eq!(recovered[0].outcome, Outcome::Finish);
    assert_eq!((keys(&world), world.metadata("a", "mtime").as_deref()), (vec!["a".to_owned()], Some("7")));
    // The first process was not dead at all: it meets its own commit.
    let _receipt = session.deliver().await.unwrap().unwrap();
    assert_eq!(world.count("CopyObject"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlinked_entrusted_file_is_never_committed() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"content").await;
    let _closed = session.entrust(Occasion::Flush).await.unwrap();
    session.abandon().await;
    assert!(session.deliver().await.unwrap().is_none());
    drop(session);
    assert_eq!((world.object("a"), world.staged().len(), world.count("PutObject")), (None, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_left_before_an_entrusted_close_are_not_sent_again() {
    let world = World::new().await;
    let bytes = pattern(3, 3 * PART + 5);
    let session = world.begin("a", Base::New);
    write(&session, 0, &bytes).await;
    let _closed = session.entrust(Occasion::Flush).await.unwrap();
    let _receipt = session.deliver().await.unwrap().unwrap();
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!(world.count("UploadPart"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_closes_one_file_too_many_waits_and_nobody_is_lost() {
    let world = World::new().await;
    let mut closing = Vec::new();
    for at in 0..40 {
        let session = world.begin(&format!("k{at}"), Base::New);
        write(&session, 0, format!("content {at}").as_bytes()).await;
        closing.push(started(async move {
            let _closed = session.entrust(Occasion::Flush).await.unwrap();
            assert!(session.deliver().await.unwrap().is_some());
            assert!(session.end());
        }));
    }
    for one in closing {
        one.await;
    }
    assert_eq!((keys(&world).len(), world.staged().len()), (40, 0));
    assert_eq!(world.sessions.finish_background().await, 0);
}

// ---- after a crash ----

/// Makes the records look as if another boot had written them.
fn another_boot(directory: &Path) {
    for path in records(directory) {
        let mut journal = Journal::resume(path.clone(), journal::read(&path).unwrap());
        journal.update(|record| record.boot = "another".into()).unwrap();
    }
}

pub(super) fn records(directory: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entrusted_file_survives_the_machine() {
    let world = World::new().await;
    for (key, length) in [("empty", 0), ("small", 10), ("large", 2 * PART)] {
        let session = world.begin(key, Base::New);
        write(&session, 0, &pattern(1, length)).await;
        let _closed = session.entrust(Occasion::LastClose).await.unwrap();
        // An upload that begins at this very moment would be in no record.
        session.parts_at_rest().await;
        let (sessions, recovered, _directory) = world.after_a_crash(another_boot).await;
        assert_eq!(recovered[0].outcome, Outcome::Finish, "{key}: {recovered:?}");
        assert!(world.object(key).unwrap() == pattern(1, length), "{key}");
        assert_eq!((sessions.set_aside().unwrap().len(), world.unfinished_uploads()), (0, 0));
        session.abandon().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_do_not_add_up_to_what_the_record_says_are_never_committed() {
    let world = World::new().await;
    let session = world.begin("small", Base::New);
    write(&session, 0, &pattern(1, 10_000)).await;
    let _closed = session.entrust(Occasion::LastClose).await.unwrap();
    // As where the record came to the disk, and only some of the bytes.
    let torn = |directory: &Path| {
        another_boot(directory);
        let all = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let bytes = all.filter(|path| path.extension().is_some_and(|extension| extension == "bytes"));
        bytes.for_each(|path| fs::write(path, [pattern(1, 4_096), vec![0; 5_904]].concat()).unwrap());
    };
    let (sessions, recovered, _directory) = world.after_a_crash(torn).await;
    assert_eq!(recovered[0].outcome, Outcome::SetAside, "{recovered:?}");
    assert_eq!((world.object("small"), sessions.set_aside().unwrap().len()), (None, 1));
    session.abandon().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_an_entrusted_file_survives_the_machine() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"content").await;
    let _closed = session.entrust(Occasion::LastClose).await.unwrap();
    let user = UserMetadata::from([("mtime".to_owned(), "86400".to_owned())]);
    session.set_description(NewObject { user, ..session.description() });
    session.vouch_for_description().await.unwrap();
    let (_sessions, recovered, _directory) = world.after_a_crash(another_boot).await;
    assert_eq!(recovered[0].outcome, Outcome::Finish, "{recovered:?}");
    assert_eq!(world.metadata("a", "mtime").as_deref(), Some("86400"));
    session.abandon().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entrusted_replacement_is_the_last_writer_unless_somebody_came_after_it() {
    let world = World::new().await;
    theirs(&world, "a");
    let session = world.begin("a", Base::Replace(None));
    write(&session, 0, b"ours").await;
    let _closed = session.entrust(Occasion::Flush).await.unwrap();
    let closed_at = |seconds: i64| {
        move |directory: &Path| {
            for path in records(directory) {
                let mut journal = Journal::resume(path.clone(), journal::read(&path).unwrap());
                journal.update(|record| record.entrusted.as_mut().unwrap().at += seconds).unwrap();
                assert!(
                    matches!(&journal.record().phase, Phase::Sealed(seal) if seal.condition == RecordedCondition::Whatever)
                );
            }
        }
    };
    let (sessions, recovered, _directory) = world.after_a_crash(closed_at(-3600)).await;
    assert_eq!((recovered[0].outcome, world.object("a").unwrap()), (Outcome::SetAside, b"theirs".to_vec()));
    assert_eq!(fs::read(&sessions.set_aside().unwrap()[0].path).unwrap(), b"ours");
    let (_sessions, recovered, _directory) = world.after_a_crash(closed_at(3600)).await;
    assert_eq!((recovered[0].outcome, world.object("a").unwrap()), (Outcome::Finish, b"ours".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entrusted_replacement_takes_the_place_of_what_was_seen_whatever_the_clocks_say() {
    for is_renamed in [false, true] {
        let world = World::new().await;
        world.emulator.world().clock.run_ahead(Duration::from_secs(60));
        let first = world.begin("a", Base::New);
        write(&first, 0, b"first").await;
        let seen = Some(first.close().await.unwrap().unwrap().meta().etag.clone());
        let second = if is_renamed { ("b", Base::New) } else { ("a", Base::Replace(seen.clone())) };
        let second = world.begin(second.0, second.1);
        write(&second, 0, b"second").await;
        let _closed = second.entrust(Occasion::Flush).await.unwrap();
        if is_renamed {
            rename(&world, &second, "a", seen).await.unwrap();
        }
        let theirs_instead = |directory: &Path| {
            assert_eq!(records(directory).len(), 1);
            theirs(&world, "a");
        };
        let (_sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
        assert_eq!((recovered[0].outcome, world.object("a").unwrap()), (Outcome::Finish, b"second".to_vec()));
        let (_sessions, recovered, _directory) = world.after_a_crash(theirs_instead).await;
        assert_eq!(
            (recovered[0].outcome, world.object("a").unwrap()),
            (Outcome::SetAside, b"theirs".to_vec())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_s3_could_not_be_asked_about_is_met_again() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"content").await;
    let _closed = session.entrust(Occasion::Flush).await.unwrap();
    world.inject(On::anything().always().reject(403, "InvalidAccessKeyId"));
    let (sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
    assert_eq!(recovered[0].outcome, Outcome::Later);
    assert!(recovered[0].error.as_ref().unwrap().is_passing());
    world.emulator.world().faults.clear();
    let gateway = Arc::clone(&world.gateway);
    let recovered = sessions.recover(move |_| Some(Arc::clone(&gateway))).await;
    assert_eq!((recovered[0].outcome, world.object("a").unwrap()), (Outcome::Finish, b"content".to_vec()));
    session.abandon().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_uploads_of_others_are_left_alone() {
    let world = World::new().await;
    let key = ObjectKey::parse("theirs").unwrap();
    let theirs = world.gateway.begin_upload(&key, &NewObject::default()).await.unwrap();
    let session = world.begin("a", Base::New);
    write(&session, 0, &pattern(15, 2 * PART)).await;
    session.parts_at_rest().await;
    assert_eq!(world.unfinished_uploads(), 2);
    let (_sessions, _recovered, _directory) = world.after_a_crash(|_| {}).await;
    let left = world.emulator.world().uploads("bucket");
    assert_eq!(left.len(), 1);
    drop(theirs);
    session.abandon().await;
}

// ---- what was set aside ----

async fn set_aside(world: &World, key: &str, base: Base, bytes: &[u8]) {
    let session = world.begin(key, base);
    write(&session, 0, bytes).await;
    assert!(session.set_aside().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_can_be_committed_after_all() {
    let world = World::new().await;
    let base = world.existing("edited", &pattern(2, 2 * PART)).await;
    set_aside(&world, "new", Base::New, b"new").await;
    set_aside(&world, "edited", base, b"OURS").await;
    set_aside(&world, "taken", Base::New, b"third").await;
    theirs(&world, "taken");
    let find = |name: &str| {
        let all = world.sessions.set_aside().unwrap();
        all.into_iter().find(|file| file.key() == Some(name)).unwrap()
    };
    let gateway = || Arc::clone(&world.gateway);
    let as_it_was = Rescue::AsItWas;
    // Under another name, with what it needs of the version that is still there.
    let copy = Rescue::As(ObjectKey::parse("copy").unwrap());
    let edited = find("edited");
    assert_eq!(edited.elsewhere_bytes, Some(2 * PART as u64 - 4));
    let receipt = world.sessions.rescue(&edited, gateway(), &copy).await.unwrap();
    assert_eq!(receipt.key().as_str(), "copy");
    let mut expected = pattern(2, 2 * PART);
    expected[..4].copy_from_slice(b"OURS");
    assert!(
        world.object("copy").unwrap() == expected && world.object("edited").unwrap() == pattern(2, 2 * PART)
    );
    let _receipt = world.sessions.rescue(&find("new"), gateway(), &as_it_was).await.unwrap();
    assert_eq!(world.object("new").unwrap(), b"new");
    let taken = find("taken");
    let refused = world.sessions.rescue(&taken, gateway(), &as_it_was).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Exists);
    let _receipt = world.sessions.rescue(&taken, gateway(), &Rescue::Overwrite).await.unwrap();
    assert_eq!(world.object("taken").unwrap(), b"third");
    assert!(world.sessions.set_aside().unwrap().is_empty());
    assert_eq!(fs::read_dir(world.staging.path().join(SET_ASIDE)).unwrap().count(), 0, "records go too");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_is_not_whole_without_the_version_that_it_builds_on() {
    let world = World::new().await;
    let base = world.existing("log", b"one\ntwo\n").await;
    set_aside(&world, "log", base, b"ONE").await;
    theirs(&world, "log");
    let kept = world.sessions.set_aside().unwrap().remove(0);
    for rescue in [Rescue::AsItWas, Rescue::As(ObjectKey::parse("mine").unwrap())] {
        let refused = world.sessions.rescue(&kept, Arc::clone(&world.gateway), &rescue).await.unwrap_err();
        // Another kind would have people try another name, or to overwrite.
        assert_eq!(refused.kind(), Kind::InvalidArgument, "{refused}");
        assert!(refused.to_string().contains("5 of its bytes"), "{refused}");
    }
    assert_eq!(world.sessions.set_aside().unwrap().len(), 1, "what there is stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_is_taken_out_or_thrown_away_by_one_at_a_time() {
    let world = World::new().await;
    for key in ["a", "b"] {
        set_aside(&world, key, Base::New, key.as_bytes()).await;
    }
    let [a, b] = &world.sessions.set_aside().unwrap()[..] else { panic!("there are two") };
    let busy = File::open(&a.path).unwrap();
    busy.lock().unwrap();
    assert_eq!(a.discard().unwrap_err().kind(), Kind::Busy);
    drop(busy);
    let out = world.staging.path().join("out");
    a.take_out(&out).unwrap();
    assert_eq!(fs::read(&out).unwrap(), b"a");
    assert!(b.take_out(&out).is_err(), "nothing is replaced");
    assert_eq!(fs::read(&b.path).unwrap(), b"b");
    b.discard().unwrap();
    assert_eq!(a.discard().unwrap_err().kind(), Kind::NotFound);
    assert_eq!(fs::read_dir(world.staging.path().join(SET_ASIDE)).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_or_future_record_hides_no_bytes() {
    let world = World::new().await;
    for key in ["torn", "future"] {
        set_aside(&world, key, Base::New, key.as_bytes()).await;
    }
    for file in world.sessions.set_aside().unwrap() {
        let record = format!("{}.json", file.path.display());
        match file.key() {
            Some("torn") => fs::write(record, "half a rec").unwrap(),
            _ => fs::remove_file(record).unwrap(),
        }
    }
    let files = world.sessions.set_aside().unwrap();
    assert_eq!(files.len(), 2);
    for file in files {
        assert_eq!((file.key(), file.elsewhere_bytes), (None, None));
        assert!(file.why.contains("cannot be read"), "{}", file.why);
        let gateway = Arc::clone(&world.gateway);
        let refused = world.sessions.rescue(&file, gateway, &Rescue::AsItWas).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::InvalidArgument);
        let key = ObjectKey::parse(format!("as/{}", file.name)).unwrap();
        let receipt =
            world.sessions.rescue(&file, Arc::clone(&world.gateway), &Rescue::As(key)).await.unwrap();
        assert_eq!(receipt.meta().size, file.bytes);
    }
    assert_eq!(keys(&world).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_staged_and_set_aside_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    set_aside(&world, "a", Base::New, b"secret").await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = world.staging.path().join(SET_ASIDE);
    assert_eq!(mode(&folder), 0o700);
    let all: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|path| mode(path) == 0o600), "{all:?}");
}

/// Whoever took over the staging directory of `world` finds it as a crash at this moment leaves it.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_was_being_settled_is_finished_under_its_second_name() {
    let world = World::with(choosing(OnConflict::KeepBoth), 256).await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"OURS").await;
    theirs(&world, "a");
    let gate = Gate::closed();
    world.inject(On::operation("PutObject").after(1).hold_request(&gate));
    let commit = started(flush_owned(&session));
    gate.reached_by(1).await;
    let (_sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
    assert_eq!(recovered[0].outcome, Outcome::Finish, "{recovered:?}");
    let second = keys(&world).into_iter().find(|key| key.starts_with("a.conflict")).unwrap();
    assert_eq!(
        (world.object("a").unwrap(), world.object(&second).unwrap()),
        (b"theirs".to_vec(), b"OURS".to_vec())
    );
    gate.open();
    assert_eq!(commit.await.unwrap().unwrap().key().as_str(), second, "it meets its own commit");
    let _unused = sessions(options_in(&world.staging.path().join("other")), 1);
}
