//! Files whose parts were released from the staging directory: all but the first, as soon as they have arrived.

use super::*;
use crate::write::aside::Rescue;

/// A world in which nothing stays staged that S3 has in parts.
async fn world() -> World {
    World::with(|options| options.staging_bytes_max = 0, 256).await
}

/// Writes so many parts and something more, and waits until the parts have arrived.
async fn stream(world: &World, key: &str, parts: usize) -> (Arc<Session>, Vec<u8>) {
    let bytes = pattern(1, parts * PART + 100);
    let session = world.begin(key, Base::New);
    write(&session, 0, &bytes).await;
    session.parts_at_rest().await;
    (session, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_arrived_takes_no_room_and_is_not_sent_again() {
    let world = world().await;
    let (session, bytes) = stream(&world, "a", 6).await;
    assert!(stored(&world) < (PART + MIB) as u64, "the first part and the end: {}", stored(&world));
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!((world.count("UploadPart"), world.count("CompleteMultipartUpload")), (7, 1));
    // From now on it is read from S3.
    assert!(read(&session, 3 * PART - 5, 100).await == bytes[3 * PART - 5..3 * PART + 95]);
    session.close().await.unwrap();
    assert!(world.sessions.set_aside().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_limit_everything_stays() {
    let world = World::new().await;
    let (session, bytes) = stream(&world, "a", 4).await;
    assert!(stored(&world) >= bytes.len() as u64);
    assert!(read(&session, 0, bytes.len()).await == bytes);
    assert_eq!(world.object("a"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_is_rewritten_without_ado() {
    let world = world().await;
    let (session, mut bytes) = stream(&world, "a", 4).await;
    write(&session, 10, b"header").await;
    bytes[10..16].copy_from_slice(b"header");
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!((world.count("UploadPart"), world.count("CompleteMultipartUpload")), (6, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_released_is_completed_before_it_is_read() {
    let world = world().await;
    let (session, mut bytes) = stream(&world, "a", 4).await;
    assert!(read(&session, 2 * PART, 1000).await == bytes[2 * PART..2 * PART + 1000]);
    assert!(world.object("a").unwrap() == bytes[..4 * PART], "all that has left is an object now");
    let more = pattern(2, 3 * PART);
    write(&session, bytes.len(), &more).await;
    bytes.extend_from_slice(&more);
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_released_may_be_written_to_and_cut() {
    let world = world().await;
    let (session, mut bytes) = stream(&world, "edited", 4).await;
    write(&session, 2 * PART + 7, b"edited").await;
    bytes[2 * PART + 7..2 * PART + 13].copy_from_slice(b"edited");
    commit_something(&session).await;
    assert!(world.object("edited").unwrap() == bytes);
    let (session, mut bytes) = stream(&world, "cut", 4).await;
    session.truncate(2 * PART as u64 + 9).unwrap();
    session.truncate(2 * PART as u64 + 20).unwrap();
    bytes.truncate(2 * PART + 9);
    bytes.resize(2 * PART + 20, 0);
    assert!(read(&session, PART, 2 * PART).await == bytes[PART..]);
    commit_something(&session).await;
    assert!(world.object("cut").unwrap() == bytes);
    assert_eq!(world.unfinished_uploads(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_asked_again_of_the_same_upload() {
    let world = world().await;
    let (session, bytes) = stream(&world, "a", 3).await;
    world.inject(On::operation("CompleteMultipartUpload").reject(409, "ConditionalRequestConflict"));
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!((world.count("CreateMultipartUpload"), world.count("CompleteMultipartUpload")), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_an_upload_that_somebody_aborted_are_said_to_be_lost() {
    let world = world().await;
    let (session, bytes) = stream(&world, "a", 3).await;
    for (id, upload) in world.emulator.world().uploads("bucket") {
        world.emulator.world().bucket("bucket").abort_upload(&id, &upload.key).unwrap();
    }
    let error = flush(&session).await.unwrap_err();
    assert_eq!((error.kind(), world.object("a")), (Kind::Io, None));
    assert!(error.to_string().contains("only in parts of an unfinished upload"), "{error}");
    let kept = fs::read(&world.sessions.set_aside().unwrap()[0].path).unwrap();
    assert!(kept[..PART] == bytes[..PART] && kept[3 * PART..] == bytes[3 * PART..], "what can be kept is");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upload_of_a_lost_race_stays_where_it_has_the_only_copy() {
    let world = world().await;
    let (session, _) = stream(&world, "a", 3).await;
    world.emulator.world().seed("bucket", "a", b"foreign".as_slice());
    let error = flush(&session).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Exists);
    drop(session);
    assert_eq!((world.object("a").unwrap(), world.unfinished_uploads()), (b"foreign".to_vec(), 1));
    let aside = world.sessions.set_aside().unwrap();
    let record = PathBuf::from(format!("{}.json", aside[0].path.display()));
    let record = journal::read(&record).unwrap();
    assert_eq!(record.upload.as_ref(), world.emulator.world().uploads("bucket").first().map(|(id, _)| id));
    assert_eq!(
        record.released.unwrap().ranges.iter().collect::<Vec<_>>(),
        [ByteRange { start: PART as u64, end: 3 * PART as u64 }]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_failed_is_put_together_from_its_parts() {
    let world = world().await;
    let (session, mut bytes) = stream(&world, "a", 4).await;
    write(&session, 10, b"header").await;
    bytes[10..16].copy_from_slice(b"header");
    world.inject(On::operation("CompleteMultipartUpload").reject(403, "AccessDenied"));
    assert_eq!(flush(&session).await.unwrap_err().kind(), Kind::Denied);
    drop(session);
    let aside = world.sessions.set_aside().unwrap().pop().unwrap();
    assert_eq!((aside.released_bytes(), aside.elsewhere_bytes), (3 * PART as u64, Some(0)));
    let gateway = || Arc::clone(&world.gateway);
    let other = Rescue::As(ObjectKey::parse("b").unwrap());
    let error = world.sessions.rescue(&aside, gateway(), &other).await.unwrap_err();
    assert!(error.to_string().contains("can become s3://bucket/a and nothing else"), "{error}");
    // Without a way to S3 what is here can be looked at, and nothing is lost by that.
    let copy = world.staging.path().join("copy");
    aside.take_out(&copy).unwrap();
    assert!(fs::read(&copy).unwrap()[..PART] == bytes[..PART]);

    let _receipt = world.sessions.rescue(&aside, gateway(), &Rescue::AsItWas).await.unwrap();
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!((world.unfinished_uploads(), world.sessions.set_aside().unwrap().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_race_is_put_together_over_what_won_it() {
    let world = world().await;
    let (session, bytes) = stream(&world, "a", 3).await;
    world.emulator.world().seed("bucket", "a", b"foreign".as_slice());
    flush(&session).await.unwrap_err();
    drop(session);
    let aside = world.sessions.set_aside().unwrap().pop().unwrap();
    let gateway = || Arc::clone(&world.gateway);
    let error = world.sessions.rescue(&aside, gateway(), &Rescue::AsItWas).await.unwrap_err();
    assert_eq!((error.kind(), world.unfinished_uploads()), (Kind::Exists, 1));
    let _receipt = world.sessions.rescue(&aside, gateway(), &Rescue::Overwrite).await.unwrap();
    assert!(world.object("a").unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_closed_is_put_together_as_it_was_last() {
    let world = world().await;
    let (session, mut bytes) = stream(&world, "a", 3).await;
    // Of a part that stays here, after it has left.
    write(&session, 10, b"header").await;
    bytes[10..16].copy_from_slice(b"header");
    assert!(session.set_aside().await.is_some());
    drop(session);
    let aside = world.sessions.set_aside().unwrap().pop().unwrap();
    assert_eq!(aside.released_bytes(), 2 * PART as u64);
    let _receipt = world.sessions.rescue(&aside, Arc::clone(&world.gateway), &Rescue::AsItWas).await.unwrap();
    assert!(world.object("a").unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_put_together_says_why() {
    let world = world().await;
    // A part was written to after it had been released, and the file cannot have both.
    let (session, _) = stream(&world, "overtaken", 3).await;
    write(&session, 2 * PART, b"new").await;
    assert!(session.set_aside().await.is_some());
    drop(session);
    // The upload was aborted by somebody.
    let (session, _) = stream(&world, "aborted", 3).await;
    assert!(session.set_aside().await.is_some());
    drop(session);
    let uploads = world.emulator.world().uploads("bucket");
    let (id, upload) = uploads.iter().find(|(_, upload)| upload.key == "aborted").unwrap();
    world.emulator.world().bucket("bucket").abort_upload(id, &upload.key).unwrap();
    for file in world.sessions.set_aside().unwrap() {
        let error =
            world.sessions.rescue(&file, Arc::clone(&world.gateway), &Rescue::AsItWas).await.unwrap_err();
        assert!(error.to_string().contains("only in parts of an unfinished upload"), "{error}");
    }
    assert_eq!(world.sessions.set_aside().unwrap().len(), 2, "nothing is lost by trying");
    // The mount died while it was written, and nobody knows what it had written last.
    let (_session, _) = stream(&world, "died", 3).await;
    let (sessions, _, _directory) = world.after_a_crash(|_| {}).await;
    let file = sessions.set_aside().unwrap().pop().unwrap();
    let error = sessions.rescue(&file, Arc::clone(&world.gateway), &Rescue::AsItWas).await.unwrap_err();
    assert!(error.to_string().contains("died while the file was written"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_upload_of_an_open_file_stays_with_what_it_alone_has() {
    let world = world().await;
    let (_session, bytes) = stream(&world, "a", 3).await;
    let (sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
    assert_eq!((recovered[0].outcome, world.unfinished_uploads()), (Outcome::SetAside, 1));
    let kept = fs::read(&sessions.set_aside().unwrap()[0].path).unwrap();
    assert!(kept[..PART] == bytes[..PART] && kept[3 * PART..] == bytes[3 * PART..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_a_sealed_commit_is_finished_from_its_parts() {
    let world = world().await;
    let (session, mut bytes) = stream(&world, "a", 3).await;
    write(&session, 10, b"header").await;
    bytes[10..16].copy_from_slice(b"header");
    let gate = Gate::closed();
    world.inject(On::operation("CompleteMultipartUpload").hold_request(&gate));
    let commit = started(flush_owned(&session));
    gate.reached_by(1).await;
    let (sessions, recovered, _directory) = world.after_a_crash(|_| {}).await;
    assert_eq!(recovered[0].outcome, Outcome::Finish, "{recovered:?}");
    assert!(world.object("a").unwrap() == bytes);
    assert!(sessions.set_aside().unwrap().is_empty());
    gate.open();
    commit.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_append_is_released_behind_what_was_there() {
    let world = world().await;
    let mut bytes = pattern(3, 2 * PART);
    let session = world.begin("a", world.existing("a", &bytes).await);
    let more = pattern(4, 4 * PART);
    write(&session, bytes.len(), &more).await;
    bytes.extend_from_slice(&more);
    session.parts_at_rest().await;
    assert!(stored(&world) < (PART + MIB) as u64);
    write(&session, 4 * PART, b"edited").await;
    bytes[4 * PART..4 * PART + 6].copy_from_slice(b"edited");
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
}
