//! Whoever reads a file while it is committed.

use std::time::Duration;

use super::*;
use crate::emulator::InProcess;

/// No socket and one thread, so the clock, which stands still otherwise, goes on when everybody waits: a moment later
/// the reader has come as far as it comes.
#[tokio::test(start_paused = true)]
async fn whoever_reads_while_the_answer_to_a_commit_is_on_its_way_waits_for_it() {
    let emulator = InProcess::new(behind_the_gateway());
    let gateway = gateway("http://s3.invalid".to_owned(), Some(emulator.http_client())).await;
    let (key, old) = (ObjectKey::parse("a").unwrap(), pattern(1, 3 * PART));
    emulator.world().seed("bucket", "a", old.clone());
    let base = Base::Existing(gateway.head(&key).await.unwrap());
    let staging = tempfile::tempdir().unwrap();
    let sessions = sessions(options_in(staging.path()), 256);
    let session = sessions.begin(Target { gateway, key, object: NewObject::default() }, base);
    write(&session, 0, b"edited").await;
    let gate = Gate::closed();
    let faults = &emulator.world().faults;
    faults.inject(On::operation("CompleteMultipartUpload").hold_answer(&gate));
    let commit = started(flush_owned(&session));
    gate.reached_by(1).await;
    // S3 has the new version, and here nobody has heard of it yet.
    faults.reset_counts();
    let mut reading = Box::pin(session.read(2 * PART as u64, 100));
    let told = tokio::time::timeout(Duration::from_millis(1), reading.as_mut()).await;
    assert!(told.is_err(), "it waits: {told:?}");
    assert_eq!(faults.count("GetObject"), 1, "for the commit, as S3 has refused to send what it had before");
    gate.open();
    assert_eq!(reading.await.unwrap().concat(), old[2 * PART..2 * PART + 100]);
    let _receipt = commit.await.unwrap().unwrap();
}
