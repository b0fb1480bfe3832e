//! What the next mount makes of what a dead process has left.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_nobody_closed_is_kept() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"half").await;
    drop(session);
    let aside = world.sessions.set_aside().unwrap();
    assert_eq!(fs::read(&aside[0].path).unwrap(), b"half");
    assert_eq!(world.object("a"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_owns_a_staging_directory() {
    let world = World::new().await;
    let second =
        Sessions::open(options_in(world.staging.path()), Budget::new(1 << 20), Tasks::new(Handle::current()));
    assert!(second.unwrap_err().to_string().contains("in use"));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_an_open_file_is_set_aside_and_its_upload_aborted() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    write(&session, 0, &pattern(15, 2 * PART)).await;
    session.parts_at_rest().await;
    assert_eq!(world.unfinished_uploads(), 1);
    let (sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
    assert_eq!(recovered[0].outcome, Outcome::SetAside);
    assert!(fs::read(&sessions.set_aside().unwrap()[0].path).unwrap() == pattern(15, 2 * PART));
    assert_eq!((world.object("a"), world.unfinished_uploads()), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_a_sealed_commit_is_finished() {
    let world = World::new().await;
    for length in [10, 2 * PART] {
        let key = format!("k{length}");
        let operation = if length == 10 { "PutObject" } else { "CompleteMultipartUpload" };
        let gate = Gate::closed();
        world.inject(On::operation(operation).hold_request(&gate));
        let session = world.begin(&key, Base::New);
        write(&session, 0, &pattern(16, length)).await;
        let commit = started(flush_owned(&session));
        gate.reached_by(1).await;
        let (sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
        assert_eq!(recovered.len(), 1, "{recovered:?}");
        assert_eq!(recovered[0].outcome, Outcome::Finish, "{recovered:?}");
        assert!(world.object(&key).unwrap() == pattern(16, length));
        assert_eq!((sessions.set_aside().unwrap().len(), world.unfinished_uploads()), (0, 0));
        gate.open();
        // The first process was not dead at all: what it meets carries its own commit id.
        commit.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_a_commit_that_took_effect_is_known_as_done() {
    let world = World::new().await;
    let gate = Gate::closed();
    world.inject(On::operation("PutObject").hold_answer(&gate));
    let session = world.begin("a", Base::New);
    write(&session, 0, b"done").await;
    let commit = started(flush_owned(&session));
    gate.reached_by(1).await;
    let (sessions, recovered, directory) = world.after_a_crash(|_| {}).await;
    assert_eq!(recovered[0].outcome, Outcome::AlreadyDone);
    assert_eq!(sessions.set_aside().unwrap().len(), 0);
    let left = fs::read_dir(directory.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some());
    assert_eq!((left.count(), world.count("PutObject")), (0, 1));
    gate.open();
    commit.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_another_boot_are_never_committed() {
    let world = World::new().await;
    let gate = Gate::closed();
    world.inject(On::operation("PutObject").hold_request(&gate));
    let session = world.begin("a", Base::New);
    write(&session, 0, b"doubtful").await;
    let commit = started(flush_owned(&session));
    gate.reached_by(1).await;
    let another_boot = |directory: &Path| {
        let records = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        for path in records.filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
            let mut journal = Journal::resume(path.clone(), journal::read(&path).unwrap());
            journal.update(|record| record.boot = "another".into()).unwrap();
        }
    };
    let (sessions, recovered, _directory) = world.after_a_crash(another_boot).await;
    assert_eq!(recovered[0].outcome, Outcome::SetAside);
    assert_eq!((sessions.set_aside().unwrap().len(), world.object("a")), (1, None));
    gate.open();
    commit.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_judged_waits_for_the_next_mount() {
    let world = World::new().await;
    let gate = Gate::closed();
    world.inject(On::operation("PutObject").hold_request(&gate));
    let base = world.existing("a", b"base").await;
    let session = world.begin("a", base);
    write(&session, 0, b"x").await;
    let commit = started(flush_owned(&session));
    gate.reached_by(1).await;
    world.inject(On::operation("HeadObject").always().reject(403, "AccessDenied"));
    let (sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
    assert_eq!(recovered[0].outcome, Outcome::Later);
    assert_eq!(sessions.set_aside().unwrap().len(), 0);
    gate.open();
    commit.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_record_leaves_its_bytes_to_a_person() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"whose").await;
    let tear = |directory: &Path| {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "json") {
                fs::write(path, "torn").unwrap();
            }
        }
    };
    let (sessions, recovered, _directory) = world.after_a_crash(tear).await;
    assert_eq!(recovered[0].outcome, Outcome::SetAside);
    assert_eq!(fs::read(&sessions.set_aside().unwrap()[0].path).unwrap(), b"whose");
}
