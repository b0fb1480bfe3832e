//! fallocate and lseek on a written file, and files that become copies of others.

use super::*;

fn range(start: usize, end: usize) -> ByteRange {
    ByteRange { start: start as u64, end: end as u64 }
}

#[tokio::test(flavor = "multi_thread")]
async fn punched_bytes_are_zeros_and_take_no_room() {
    let world = World::new().await;
    let mut bytes = pattern(1, 3 * MIB);
    let session = world.begin("a", Base::New);
    write(&session, 0, &bytes).await;
    let before = stored(&world);
    session.zero(range(MIB, 2 * MIB + 5)).unwrap();
    session.zero(range(3 * MIB - 10, 4 * MIB)).unwrap();
    bytes[MIB..2 * MIB + 5].fill(0);
    bytes[3 * MIB - 10..].fill(0);
    assert!(stored(&world) + MIB as u64 <= before, "{} of {before}", stored(&world));
    assert_eq!(session.size(), bytes.len() as u64, "the file keeps its length");
    assert!(read(&session, 0, 4 * MIB).await == bytes);
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_over_a_version_in_s3_are_stored_nowhere_before_they_are_sent() {
    let world = World::new().await;
    let mut bytes = pattern(2, 4 * PART);
    let session = world.begin("a", world.existing("a", &bytes).await);
    session.zero(range(PART, 2 * PART)).unwrap();
    bytes[PART..2 * PART].fill(0);
    assert!(read(&session, PART - 5, 10).await == bytes[PART - 5..PART + 5]);
    let staged = world.staged();
    assert!(staged.iter().all(|path| path.extension().unwrap() == "json"), "{staged:?}");
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!((world.count("UploadPartCopy"), world.count("GetObject")), (2, 1), "the one read above");
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_made_while_a_commit_runs_belong_to_the_next() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"0123456789").await;
    let gate = Gate::closed();
    world.inject(On::operation("PutObject").hold_request(&gate));
    let first = started(flush_owned(&session));
    gate.reached_by(1).await;
    session.zero(range(2, 5)).unwrap();
    gate.open();
    first.await.unwrap();
    assert_eq!(world.object("a").unwrap(), b"0123456789");
    commit_something(&session).await;
    assert_eq!(world.object("a").unwrap(), b"01\0\0\x0056789");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_left_and_was_punched_is_sent_again() {
    let world = World::new().await;
    let mut bytes = pattern(3, 2 * PART + 1);
    let session = world.begin("a", Base::New);
    write(&session, 0, &bytes).await;
    session.zero(range(10, 20)).unwrap();
    bytes[10..20].fill(0);
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!(world.count("UploadPart"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_made_as_long_as_was_allocated_and_no_shorter() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"abc").await;
    session.reach(2).unwrap();
    assert_eq!(session.size(), 3);
    session.reach(6).unwrap();
    commit_something(&session).await;
    assert_eq!(world.object("a").unwrap(), b"abc\0\0\0");
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_are_found_where_they_are() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    let seek = |offset: usize, what| session.seek(offset as u64, what).unwrap().map(|at| at as usize);
    assert_eq!((seek(0, Seek::Data), seek(0, Seek::Hole)), (None, None), "an empty file has not even a hole");
    session.reach(4 * MIB as u64).unwrap();
    assert_eq!((seek(5, Seek::Data), seek(5, Seek::Hole)), (None, Some(5)));
    write(&session, MIB, &pattern(4, MIB)).await;
    assert_eq!((seek(0, Seek::Data), seek(0, Seek::Hole)), (Some(MIB), Some(0)));
    assert_eq!((seek(MIB + 7, Seek::Data), seek(MIB + 7, Seek::Hole)), (Some(MIB + 7), Some(2 * MIB)));
    assert_eq!(seek(2 * MIB, Seek::Data), None);
    write(&session, 4 * MIB, b"end").await;
    assert_eq!((seek(2 * MIB, Seek::Data), seek(4 * MIB, Seek::Hole)), (Some(4 * MIB), Some(4 * MIB + 3)));
    assert_eq!((seek(4 * MIB + 3, Seek::Data), seek(4 * MIB + 3, Seek::Hole)), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shows_of_a_version_in_s3_is_data() {
    let world = World::new().await;
    let session = world.begin("a", world.existing("a", &[0; 1000]).await);
    session.reach(2000).unwrap();
    assert_eq!(session.seek(0, Seek::Hole).unwrap(), Some(1000));
    assert_eq!(session.seek(500, Seek::Data).unwrap(), Some(500));
    assert_eq!(session.seek(1000, Seek::Data).unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_becomes_a_copy_without_a_byte_coming_here() {
    let world = World::new().await;
    let session = world.begin("copy", Base::New);
    let receipt = session.copy_from(world.origin("source", b"0123456789").await).await.unwrap().unwrap();
    assert_eq!((world.object("copy").unwrap(), receipt.meta().size), (b"0123456789".to_vec(), 10));
    assert_eq!(
        world.metadata("copy", "mode").as_deref(),
        Some("33188"),
        "it is described as any other commit"
    );
    // Whoever has copied may remove the source, and goes on with the copy.
    world.emulator.world().bucket("bucket").delete("source", &Default::default()).unwrap();
    assert_eq!(read(&session, 3, 4).await, b"3456");
    write(&session, 9, b"X!").await;
    commit_something(&session).await;
    assert_eq!(world.object("copy").unwrap(), b"012345678X!");
    assert!(session.close().await.unwrap().is_none());
    assert_eq!((world.count("PutObject"), world.count("CopyObject")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_made_piece_by_piece_is_one_copy() {
    let world = World::new().await;
    let bytes = pattern(5, 10_000);
    let origin = world.origin("source", &bytes).await;
    let session = world.begin("copy", Base::New);
    let first = session.copy_from(origin.clone()).await.unwrap();
    assert!(first.is_some());
    session.truncate(4_000).unwrap();
    assert_eq!(session.extend_copy(&origin, 5_000, 4_000).unwrap(), None, "not where the file ends");
    assert_eq!(session.extend_copy(&origin, 4_000, 4_000).unwrap(), Some(4_000));
    assert!(read(&session, 0, 10_000).await == bytes[..8_000]);
    assert!(session.is_dirty(), "whoever stops here has a shorter file");
    assert_eq!(session.extend_copy(&origin, 8_000, 4_000).unwrap(), Some(2_000));
    assert!(!session.is_dirty());
    assert!(session.close().await.unwrap().is_none());
    assert!(world.object("copy").unwrap() == bytes);
    assert_eq!((world.count("CopyObject"), world.staged()), (1, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_changed_meanwhile_does_not_go_on() {
    let world = World::new().await;
    let origin = world.origin("source", &pattern(6, 10_000)).await;
    let session = world.begin("copy", Base::New);
    assert!(session.copy_from(origin.clone()).await.unwrap().is_some());
    session.truncate(4_000).unwrap();
    commit_something(&session).await;
    assert_eq!(session.extend_copy(&origin, 4_000, 4_000).unwrap(), None, "S3 has another version by now");
    let another = world.origin("source", &pattern(7, 10_000)).await;
    assert!(session.extend_copy(&another, 4_000, 4_000).unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_never_replaces_what_came_meanwhile() {
    let world = World::new().await;
    let origin = world.origin("source", b"copied").await;
    let session = world.begin("a", Base::New);
    world.emulator.world().seed("bucket", "a", b"foreign".as_slice());
    assert!(session.copy_from(origin).await.unwrap().is_none(), "left to the commit, which says what it met");
    write(&session, 0, b"copied").await;
    assert_eq!(flush(&session).await.unwrap_err().kind(), Kind::Exists);
    assert_eq!(world.object("a").unwrap(), b"foreign");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_bytes_in_it_is_not_replaced_by_a_copy() {
    let world = World::new().await;
    let origin = world.origin("source", b"copied").await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"x").await;
    assert!(session.copy_from(origin).await.unwrap().is_none());
    commit_something(&session).await;
    assert_eq!((world.object("a").unwrap(), world.count("CopyObject")), (b"x".to_vec(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_a_copy_is_made_is_not_lost() {
    let world = World::new().await;
    let origin = world.origin("source", b"0123456789").await;
    let session = world.begin("a", Base::New);
    let gate = Gate::closed();
    world.inject(On::operation("CopyObject").hold_request(&gate));
    let copying = Arc::clone(&session);
    let copy = started(async move { copying.copy_from(origin).await });
    gate.reached_by(1).await;
    write(&session, 2, b"AB").await;
    gate.open();
    assert!(copy.await.unwrap().is_none(), "to be copied once more, on top of what was written");
    assert_eq!(read(&session, 0, 100).await, b"\0\0AB");
    session.close().await.unwrap();
    assert_eq!(world.object("a").unwrap(), b"\0\0AB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_answer_is_lost_is_settled_by_its_commit_id() {
    let world = World::new().await;
    let origin = world.origin("source", b"copied").await;
    world.inject(On::operation("CopyObject").lose_answer());
    let session = world.begin("a", Base::New);
    assert!(session.copy_from(origin).await.unwrap().is_some());
    assert_eq!(world.object("a").unwrap(), b"copied");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_s3_may_not_copy_the_bytes_are_copied_by_hand() {
    let world = World::new().await;
    let origin = world.origin("source", b"copied").await;
    world.inject(On::operation("CopyObject").always().reject(403, "AccessDenied"));
    let session = world.begin("a", Base::New);
    assert!(session.copy_from(origin).await.unwrap().is_none());
    write(&session, 0, b"copied").await;
    commit_something(&session).await;
    assert_eq!(world.object("a").unwrap(), b"copied");
}

impl World {
    async fn origin(&self, key: &str, bytes: &[u8]) -> Origin {
        let Base::Existing(version) = self.existing(key, bytes).await else { unreachable!("it exists") };
        Origin { gateway: Arc::clone(&self.gateway), key: ObjectKey::parse(key).unwrap(), version }
    }
}
