//! What leaves while a writer writes, wherever in the file that is.

use super::*;

/// The requests that make an object from parts: copies, parts sent, uploads completed, objects fetched from.
fn requests(world: &World) -> (u64, u64, u64, u64) {
    let count = |operation| world.count(operation);
    (count("UploadPartCopy"), count("UploadPart"), count("CompleteMultipartUpload"), count("GetObject"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_append_streams_behind_what_was_there() {
    let world = World::new().await;
    let mut bytes = pattern(1, 3 * PART + 11);
    let session = world.begin("a", world.existing("a", &bytes).await);
    let appended = pattern(2, 3 * PART + 7);
    write(&session, bytes.len(), &appended).await;
    bytes.extend_from_slice(&appended);
    session.parts_at_rest().await;
    assert_eq!(requests(&world), (0, 3, 0, 0), "the full parts have left before anybody closes");
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!(requests(&world), (1, 4, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_to_what_is_no_part_of_its_own_sends_it_with_the_first() {
    let world = World::new().await;
    let mut bytes = pattern(3, 1000);
    let session = world.begin("a", world.existing("a", &bytes).await);
    let appended = pattern(4, 2 * PART);
    write(&session, bytes.len(), &appended).await;
    bytes.extend_from_slice(&appended);
    session.parts_at_rest().await;
    assert_eq!(requests(&world), (0, 2, 0, 1));
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!(requests(&world), (0, 3, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_before_a_long_append_leaves_the_rest_to_copies() {
    let world = World::new().await;
    let mut bytes = pattern(5, 6 * PART);
    let session = world.begin("a", world.existing("a", &bytes).await);
    let appended = pattern(6, 2 * PART);
    write(&session, bytes.len(), &appended).await;
    write(&session, 3 * PART, b"edited").await;
    bytes[3 * PART..3 * PART + 6].copy_from_slice(b"edited");
    bytes.extend_from_slice(&appended);
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!(requests(&world), (2, 3, 1, 1), "two full parts appended, one for the edit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_in_the_middle_of_a_large_object_streams_too() {
    let world = World::new().await;
    let mut bytes = pattern(7, 12 * PART);
    let session = world.begin("a", world.existing("a", &bytes).await);
    let written = pattern(8, 3 * PART + 1);
    write(&session, 4 * PART, &written).await;
    bytes[4 * PART..7 * PART + 1].copy_from_slice(&written);
    session.parts_at_rest().await;
    assert_eq!(requests(&world), (0, 3, 0, 0));
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
    let (copied, _, completed, _) = requests(&world);
    assert_eq!((copied, completed), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_synchronised_now_and_then_goes_on_streaming() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    let mut bytes = Vec::new();
    for round in 0..3 {
        let more = pattern(round, 2 * PART + 100);
        write(&session, bytes.len(), &more).await;
        bytes.extend_from_slice(&more);
        session.parts_at_rest().await;
        assert_eq!(world.count("UploadPart"), 3 * u64::from(round) + 2, "round {round}");
        session.commit(Occasion::Sync).await.unwrap();
        assert!(world.object("a").unwrap() == bytes);
    }
    assert_eq!(world.count("GetObject"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_file_goes_up_beside_the_parts_before_it() {
    let world = World::new().await;
    let gate = Gate::closed();
    world.inject(On::operation("UploadPart").always().hold_request(&gate));
    let session = world.begin("a", Base::New);
    let mut bytes = pattern(14, 2 * PART + 100);
    write(&session, 0, &bytes).await;
    let closing = started(flush_owned(&session));
    while world.count("UploadPart") < 3 {
        tokio::task::yield_now().await;
    }
    // What is written while the file is committed belongs to the next version.
    write(&session, bytes.len(), b"more").await;
    gate.open();
    closing.await.unwrap();
    assert!(world.object("a").unwrap() == bytes);
    bytes.extend_from_slice(b"more");
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_file_that_failed_to_go_up_ahead_is_sent_by_the_commit() {
    let world = World::new().await;
    world.inject(On::operation("UploadPart").after(2).reject(400, "BadDigest"));
    let session = world.begin("a", Base::New);
    let bytes = pattern(15, 2 * PART + 100);
    write(&session, 0, &bytes).await;
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!(world.count("UploadPart"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_append_to_what_was_replaced_is_a_lost_race_and_kept() {
    let world = World::new().await;
    let session = world.begin("a", world.existing("a", &pattern(9, PART)).await);
    write(&session, PART, &pattern(10, 2 * PART)).await;
    world.emulator.world().seed("bucket", "a", b"foreign".as_slice());
    assert_eq!(flush(&session).await.unwrap_err().kind(), Kind::Changed);
    assert_eq!(world.object("a").unwrap(), b"foreign");
    let kept = fs::read(&world.sessions.set_aside().unwrap()[0].path).unwrap();
    assert!(kept[PART..] == pattern(10, 2 * PART));
    assert_eq!(world.unfinished_uploads(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_at_the_end_of_64_mib_is_five_requests_and_hardly_a_byte() {
    let world = World::with(|options| options.part_sizes = PartSizes::of(8 << 20), 256).await;
    let bytes = pattern(11, 64 * MIB);
    let session = world.begin("a", world.existing("a", &bytes).await);
    write(&session, bytes.len(), b"!").await;
    commit_something(&session).await;
    let faults = &world.emulator.world().faults;
    let expected = [
        ("CompleteMultipartUpload", 1),
        ("CreateMultipartUpload", 1),
        ("HeadObject", 1),
        ("UploadPart", 1),
        ("UploadPartCopy", 1),
    ];
    assert_eq!(faults.counts().into_iter().collect::<Vec<_>>(), expected);
    assert!(faults.bytes_moved() < 10_000, "{} bytes", faults.bytes_moved());
    assert_eq!(world.object("a").unwrap().len(), 64 * MIB + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn four_kib_in_the_middle_of_a_large_object_move_two_parts_worth() {
    let world = World::with(|options| options.part_sizes = PartSizes::of(8 << 20), 256).await;
    let mut bytes = pattern(12, 64 * MIB);
    let session = world.begin("a", world.existing("a", &bytes).await);
    let edit = pattern(13, 4096);
    write(&session, 20 * MIB, &edit).await;
    bytes[20 * MIB..20 * MIB + 4096].copy_from_slice(&edit);
    commit_something(&session).await;
    let faults = &world.emulator.world().faults;
    assert_eq!(faults.counts().values().sum::<u64>(), 7, "{:?}", faults.counts());
    // The smallest part there is, once fetched and once sent.
    let moved = faults.bytes_moved();
    assert!(moved < 11 << 20, "{moved} bytes");
    assert!(world.object("a").unwrap() == bytes);
}
