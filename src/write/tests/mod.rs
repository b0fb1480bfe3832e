//! Sessions against the emulator: what S3 has after each story, and what it was asked.
#![expect(clippy::unwrap_used, reason = "in a test, a surprise is a failure")]

mod after_a_crash;
mod commits;
mod conflicts_after_a_crash;
mod random;
mod reading;
mod releasing;
mod short_disk;
mod stopping;
mod streaming;
mod turns;
mod world;
mod zeros;

use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Handle;

use self::world::*;
use super::journal::{self, Journal};
use super::*;
use crate::emulator::{self, AccessKey, AccountId, BucketSpec, Gate, On, RunningEmulator, User};
use crate::name::BucketName;
use crate::s3::object::ByteRange;
use crate::s3::{self, Endpoint, UserMetadata, WriteRules};

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_costs_exactly_one_put() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"hello ").await;
    write(&session, 6, b"world").await;
    let receipt = flush(&session).await.unwrap().unwrap();
    assert!(flush(&session).await.unwrap().is_none(), "a flush with nothing new is free");
    assert!(session.close().await.unwrap().is_none());
    let late = session.write(0, b"late").await;
    assert_eq!(late.unwrap_err().kind(), Kind::BadHandle, "the session is over");
    assert_eq!(world.object("a").unwrap(), b"hello world");
    assert_eq!(world.metadata("a", "mode").as_deref(), Some("33188"));
    assert_eq!(receipt.meta().size, 11);
    let seen = world.gateway.head(&ObjectKey::parse("a").unwrap()).await.unwrap();
    assert_eq!(receipt.meta().etag, seen.etag);
    assert_eq!(
        world.emulator.world().faults.counts().into_iter().collect::<Vec<_>>(),
        [("HeadObject", 1), ("PutObject", 1)]
    );
    drop(session);
    assert_eq!(world.staged(), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_flush_is_free_and_decides_nothing() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    assert!(flush(&session).await.unwrap().is_none());
    assert_eq!((world.object("a"), world.count("PutObject")), (None, 0));
    write(&session, 0, b"x").await;
    assert!(flush(&session).await.unwrap().is_some());
    assert_eq!(world.object("a").unwrap(), b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_file_is_made_by_fsync_or_the_last_close() {
    let world = World::new().await;
    assert!(world.begin("synced", Base::New).commit(Occasion::Sync).await.unwrap().is_some());
    assert!(world.begin("closed", Base::Replace(None)).close().await.unwrap().is_some());
    assert_eq!((world.object("synced").unwrap(), world.object("closed").unwrap()), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_leave_while_the_writer_writes() {
    let world = World::new().await;
    let bytes = pattern(1, 4 * PART + 123);
    let session = world.begin("a", Base::New);
    write(&session, 0, &bytes).await;
    session.parts_at_rest().await;
    assert_eq!(world.count("UploadPart"), 4, "all full parts have left");
    flush(&session).await.unwrap();
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!(
        (world.count("UploadPart"), world.count("CompleteMultipartUpload"), world.count("PutObject")),
        (5, 1, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_rewritten_at_the_end_sends_one_part_again() {
    let world = World::new().await;
    let mut bytes = pattern(2, 3 * PART);
    let session = world.begin("a", Base::New);
    write(&session, 0, &bytes).await;
    write(&session, 10, b"header").await;
    bytes[10..16].copy_from_slice(b"header");
    flush(&session).await.unwrap();
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!(world.count("UploadPart"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_copies_the_rest_inside_s3() {
    let world = World::new().await;
    let mut bytes = pattern(3, 4 * PART);
    let base = world.existing("a", &bytes).await;
    let session = world.begin("a", base);
    let (at, appended) = session.append(b"tail");
    appended.await.unwrap();
    assert_eq!(at, 4 * PART as u64);
    bytes.extend_from_slice(b"tail");
    flush(&session).await.unwrap();
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!(
        (world.count("UploadPartCopy"), world.count("UploadPart"), world.count("GetObject")),
        (1, 1, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_in_the_middle_fetches_only_its_edges() {
    let world = World::new().await;
    let mut bytes = pattern(4, 8 * PART);
    let base = world.existing("a", &bytes).await;
    let session = world.begin("a", base);
    write(&session, 4 * PART + 1000, b"edited").await;
    bytes[4 * PART + 1000..4 * PART + 1006].copy_from_slice(b"edited");
    assert!(read(&session, 4 * PART + 990, 30).await == bytes[4 * PART + 990..4 * PART + 1020]);
    flush(&session).await.unwrap();
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!((world.count("UploadPartCopy"), world.count("UploadPart")), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_and_what_is_added_by_truncation_are_zeros() {
    let world = World::new().await;
    let base = world.existing("a", b"0123456789").await;
    let session = world.begin("a", base);
    session.truncate(4).unwrap();
    session.truncate(8).unwrap();
    write(&session, 12, b"end").await;
    assert_eq!(read(&session, 0, 100).await, b"0123\0\0\0\0\0\0\0\0end");
    flush(&session).await.unwrap();
    assert_eq!(world.object("a").unwrap(), b"0123\0\0\0\0\0\0\0\0end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_after_its_commit() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    for (round, expected) in [(0_u8, "a"), (1, "ab"), (2, "abc")] {
        write(&session, round.into(), &[b'a' + round]).await;
        assert!(session.commit(Occasion::Sync).await.unwrap().is_some());
        assert_eq!(world.object("a").unwrap(), expected.as_bytes());
    }
    assert_eq!(world.count("GetObject"), 0, "our own bytes are never fetched");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_during_a_commit_belongs_to_the_next() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"first commit").await;
    let gate = Gate::closed();
    world.inject(On::operation("PutObject").hold_request(&gate));
    let first = started(flush_owned(&session));
    gate.reached_by(1).await;
    write(&session, 0, b"SECOND").await;
    session.truncate(10).unwrap();
    assert_eq!(read(&session, 0, 100).await, b"SECONDcomm");
    gate.open();
    first.await.unwrap();
    assert_eq!(world.object("a").unwrap(), b"first commit");
    commit_something(&session).await;
    assert_eq!(world.object("a").unwrap(), b"SECONDcomm");
    session.close().await.unwrap();
    drop(session);
    assert_eq!(world.staged(), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_flush_waits_for_the_first() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    write(&session, 0, b"x").await;
    let gate = Gate::closed();
    world.inject(On::operation("PutObject").hold_answer(&gate));
    let first = started(flush_owned(&session));
    gate.reached_by(1).await;
    let mut second = Box::pin(flush_owned(&session));
    assert!(is_pending(second.as_mut()), "it must not say that all is in S3 before the first does");
    gate.open();
    assert!(first.await.unwrap().is_some());
    assert!(second.await.unwrap().is_none());
    assert_eq!(world.count("PutObject"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_settled_by_the_commit_id() {
    let world = World::new().await;
    for operation in ["PutObject", "CompleteMultipartUpload"] {
        let length = if operation == "PutObject" { 10 } else { 2 * PART };
        world.inject(On::operation(operation).lose_answer());
        let bytes = pattern(5, length);
        let session = world.begin(operation, Base::New);
        write(&session, 0, &bytes).await;
        assert!(flush(&session).await.unwrap().is_some(), "{operation}");
        assert!(world.object(operation).unwrap() == bytes);
        session.close().await.unwrap();
    }
    assert!(world.sessions.set_aside().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_tried_again_with_all_parts_anew() {
    let world = World::new().await;
    for operation in ["PutObject", "CompleteMultipartUpload"] {
        let length = if operation == "PutObject" { 10 } else { 2 * PART + 5 };
        world.inject(On::operation(operation).reject(409, "ConditionalRequestConflict"));
        let bytes = pattern(6, length);
        let session = world.begin(operation, Base::New);
        write(&session, 0, &bytes).await;
        commit_something(&session).await;
        assert!(world.object(operation).unwrap() == bytes);
    }
    assert_eq!((world.count("CreateMultipartUpload"), world.unfinished_uploads()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_somebody_aborted_is_begun_again() {
    let world = World::new().await;
    let bytes = pattern(7, 3 * PART);
    let session = world.begin("a", Base::New);
    write(&session, 0, &bytes).await;
    session.parts_at_rest().await;
    for (id, upload) in world.emulator.world().uploads("bucket") {
        world.emulator.world().bucket("bucket").abort_upload(&id, &upload.key).unwrap();
    }
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_race_is_reported_and_the_bytes_are_set_aside() {
    let world = World::new().await;
    let base = world.existing("dir/report.txt", b"base").await;
    let session = world.begin("dir/report.txt", base);
    write(&session, 4, b" and more").await;
    world.emulator.world().seed("bucket", "dir/report.txt", b"foreign".as_slice());
    let error = flush(&session).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Changed);
    assert_eq!(world.object("dir/report.txt").unwrap(), b"foreign");
    let aside = world.sessions.set_aside().unwrap();
    assert_eq!(aside.len(), 1);
    assert!(error.to_string().contains(aside[0].path.to_str().unwrap()), "{error}");
    assert!(aside[0].path.file_name().unwrap().to_str().unwrap().contains("dir_report.txt"));
    assert_eq!(fs::read(&aside[0].path).unwrap(), b"\0\0\0\0 and more");
    let record = journal::read(
        &aside[0]
            .path
            .with_file_name(format!("{}.json", aside[0].path.file_name().unwrap().to_str().unwrap())),
    )
    .unwrap();
    assert!(record.failure.unwrap().contains("replaced"));
    for outcome in [
        flush(&session).await.err(),
        session.truncate(0).err(),
        session.read(0, 1).await.err(),
        session.close().await.err(),
    ] {
        let later = outcome.unwrap();
        assert_eq!(later.kind(), Kind::Changed, "every later call hears it");
        assert!(!error.is_told() && later.is_told(), "and the log only once");
    }
    drop(session);
    assert_eq!(world.staged(), Vec::<PathBuf>::new());
    assert_eq!(world.sessions.set_aside().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_never_replaces_one_that_came_meanwhile() {
    let world = World::new().await;
    for length in [3, 2 * PART] {
        let key = format!("k{length}");
        let session = world.begin(&key, Base::New);
        write(&session, 0, &pattern(8, length)).await;
        world.emulator.world().seed("bucket", &key, b"foreign".as_slice());
        assert_eq!(flush(&session).await.unwrap_err().kind(), Kind::Exists);
        assert_eq!(world.object(&key).unwrap(), b"foreign");
    }
    assert_eq!(world.unfinished_uploads(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_takes_whatever_is_there() {
    let world = World::new().await;
    let session = world.begin("a", Base::Replace(None));
    write(&session, 0, b"ours").await;
    world.emulator.world().seed("bucket", "a", b"foreign".as_slice());
    commit_something(&session).await;
    assert_eq!(world.object("a").unwrap(), b"ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_write_is_reported_at_close_and_kept() {
    let world = World::new().await;
    world.inject(On::operation("PutObject").always().reject(403, "AccessDenied"));
    let session = world.begin("a", Base::New);
    write(&session, 0, b"precious").await;
    assert_eq!(session.close().await.unwrap_err().kind(), Kind::Denied);
    let aside = world.sessions.set_aside().unwrap();
    assert_eq!(fs::read(&aside[0].path).unwrap(), b"precious");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_failed_ahead_is_sent_by_the_commit() {
    let world = World::new().await;
    world.inject(On::operation("UploadPart").after(1).reject(400, "BadDigest"));
    let bytes = pattern(9, 4 * PART);
    let session = world.begin("a", Base::New);
    write(&session, 0, &bytes).await;
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_waits_while_all_lanes_are_taken() {
    let world = World::with(|options| options.parts_in_flight = 2, 256).await;
    let gate = Gate::closed();
    world.inject(On::operation("UploadPart").always().hold_request(&gate));
    let session = world.begin("a", Base::New);
    let bytes = pattern(10, 2 * PART + 1);
    let mut writing = Box::pin(write(&session, 0, &bytes));
    while world.count("UploadPart") < 2 {
        assert!(is_pending(writing.as_mut()));
        tokio::task::yield_now().await;
    }
    assert_eq!(session.size(), 2 * PART as u64, "the bytes are there, the writer is held back");
    gate.open();
    writing.await;
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_share_a_budget_smaller_than_their_parts() {
    let world = World::with(|_| {}, 4).await;
    let bytes = pattern(11, 2 * PART + 7);
    let sessions: Vec<_> = (0..6).map(|i| world.begin(&format!("k{i}"), Base::New)).collect();
    let tasks: Vec<_> = sessions
        .iter()
        .cloned()
        .map(|session| {
            let bytes = bytes.clone();
            started(async move {
                write(&session, 0, &bytes).await;
                flush(&session).await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for i in 0..6 {
        assert!(world.object(&format!("k{i}")).unwrap() == bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_given_before_the_commit_travels_with_it() {
    let world = World::new().await;
    let user = || UserMetadata::from([("mtime".to_owned(), "12.5".to_owned())]);
    for length in [0, 10, 2 * PART] {
        let key = format!("k{length}");
        let session = world.begin(&key, Base::New);
        write(&session, 0, &pattern(12, length)).await;
        session.set_description(NewObject { user: user(), ..session.description() });
        let receipt = flush(&session).await.unwrap().unwrap();
        assert_eq!(world.metadata(&key, "mtime").as_deref(), Some("12.5"), "{length} bytes");
        assert_eq!(receipt.meta().details.as_ref().unwrap().user["mtime"], "12.5");
        assert_eq!(world.object(&key).unwrap().len(), length);
        write(&session, 0, b"again").await;
        commit_something(&session).await;
    }
    assert_eq!(world.count("CopyObject"), 1, "only where the upload had begun without it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlinked_file_is_never_committed() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    write(&session, 0, &pattern(13, 2 * PART)).await;
    session.abandon().await;
    assert_eq!((flush(&session).await.unwrap().is_none(), world.unfinished_uploads()), (true, 0));
    write(&session, 0, b"still readable").await;
    assert_eq!(read(&session, 0, 14).await, b"still readable");
    session.close().await.unwrap();
    drop(session);
    assert_eq!((world.object("a"), world.staged()), (None, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_before_the_first_commit_costs_nothing() {
    let world = World::new().await;
    let session = world.begin("a.tmp", Base::New);
    write(&session, 0, b"content").await;
    rename(&world, &session, "a", None).await.unwrap();
    commit_something(&session).await;
    assert_eq!((world.object("a.tmp"), world.object("a").unwrap()), (None, b"content".to_vec()));
    assert_eq!(world.emulator.world().faults.counts().into_iter().collect::<Vec<_>>(), [("PutObject", 1)]);
    let refused = rename(&world, &session, "b", None).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::NotSupported);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_after_parts_have_left_sends_them_again() {
    let world = World::new().await;
    let bytes = pattern(14, 3 * PART);
    let session = world.begin("a.tmp", Base::New);
    write(&session, 0, &bytes).await;
    rename(&world, &session, "a", None).await.unwrap();
    commit_something(&session).await;
    assert!(world.object("a").unwrap() == bytes);
    assert_eq!((world.object("a.tmp"), world.unfinished_uploads()), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_grows_beyond_the_largest_object() {
    let world = World::new().await;
    let session = world.begin("a", Base::New);
    let limit = s3::object::limits::OBJECT_BYTES_MAX;
    assert_eq!(session.write(limit, b"x").await.unwrap_err().kind(), Kind::TooLarge);
    assert_eq!(session.write(u64::MAX, b"x").await.unwrap_err().kind(), Kind::TooLarge);
    assert_eq!(session.truncate(limit + 1).unwrap_err().kind(), Kind::TooLarge);
    assert_eq!(session.size(), 0);
}
