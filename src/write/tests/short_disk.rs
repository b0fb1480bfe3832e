//! Files that stream through a staging disk that could not hold them.
//!
//! The disk is a tmpfs of 20 MiB, so only root can run these.

use std::process::Command;

use super::*;

const DISK_BYTES: usize = 20 * MIB;

/// A world that stages on a small disk.
struct Cramped {
    world: World,
    disk: TempDir,
}

impl Cramped {
    /// `None`, after saying so, where that cannot be.
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    async fn new() -> Option<Self> {
        let disk = tempfile::tempdir().unwrap();
        let size = format!("size={DISK_BYTES}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(disk.path()).status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("skipped: a small disk can only be made by root");
            return None;
        }
        let staging = disk.path().join("staging");
        Some(Self { world: World::with(|options| options.staging = staging, 256).await, disk })
    }

    /// Holds all parts up at a gate.
    fn hold_parts(&self) -> Gate {
        let gate = Gate::closed();
        self.world.inject(On::operation("UploadPart").always().hold_request(&gate));
        gate
    }

    /// Takes so much of the disk for something else.
    fn take(&self, bytes: usize) {
        fs::write(self.disk.path().join("else"), vec![1; bytes]).unwrap();
    }
}

impl Drop for Cramped {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.disk.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

/// Writes pieces of `bytes` from `at` on until a write has to wait; returns where the next one begins, and what
/// that write waits for.
fn write_until_it_waits(
    session: &Arc<Session>,
    bytes: &[u8],
    mut at: usize,
    piece_bytes: usize,
) -> (usize, impl Future<Output = Result<()>>) {
    loop {
        let piece = &bytes[at..bytes.len().min(at + piece_bytes)];
        assert!(!piece.is_empty(), "it never waits");
        let mut written = Box::pin(session.write(at as u64, piece));
        at += piece.len();
        match written.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(written) => written.unwrap(),
            Poll::Pending => return (at, written),
        }
    }
}

/// Streams three times what the disk holds, while no part arrives before the writer waits for it.
async fn stream(cramped: &Cramped, piece_bytes: usize) {
    let gate = cramped.hold_parts();
    let bytes = pattern(1, 3 * DISK_BYTES + 100);
    let session = cramped.world.begin("a", Base::New);
    let (at, written) = write_until_it_waits(&session, &bytes, 0, piece_bytes);
    assert!((3 * PART..DISK_BYTES).contains(&at), "it waits before the disk is full: {at}");
    gate.open();
    written.await.unwrap();
    for (i, piece) in bytes[at..].chunks(piece_bytes).enumerate() {
        session.write((at + i * piece_bytes) as u64, piece).await.unwrap();
    }
    commit_something(&session).await;
    assert!(cramped.world.object("a").unwrap() == bytes);
    session.close().await.unwrap();
    assert!(cramped.world.sessions.set_aside().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_streams_may_be_larger_than_the_disk() {
    let Some(cramped) = Cramped::new().await else { return };
    stream(&cramped, MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_of_small_pieces_leaves_room_for_the_record_of_what_is_released() {
    let Some(cramped) = Cramped::new().await else { return };
    stream(&cramped, 4 << 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_who_is_slower_than_the_network_finds_room_too() {
    let Some(cramped) = Cramped::new().await else { return };
    let bytes = pattern(1, 3 * DISK_BYTES + 100);
    let session = cramped.world.begin("a", Base::New);
    for (i, piece) in bytes.chunks(4 << 10).enumerate() {
        session.write((i * (4 << 10)) as u64, piece).await.unwrap();
        session.parts_at_rest().await;
    }
    commit_something(&session).await;
    assert!(cramped.world.object("a").unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_writer_waits_for_the_room_of_one_who_streams() {
    let Some(cramped) = Cramped::new().await else { return };
    let gate = cramped.hold_parts();
    let bytes = pattern(1, DISK_BYTES);
    let (streaming, other) = (cramped.world.begin("a", Base::New), cramped.world.begin("b", Base::New));
    let (at, written) = write_until_it_waits(&streaming, &bytes, 0, MIB);
    let (reached, other_written) = write_until_it_waits(&other, &bytes[..4 * MIB], 0, MIB);
    assert_eq!(reached, MIB, "what it had in hand found room");
    gate.open();
    other_written.await.unwrap();
    written.await.unwrap();
    write(&other, reached, &bytes[reached..4 * MIB]).await;
    write(&streaming, at, &bytes[at..]).await;
    for (session, key, length) in [(&other, "b", 4 * MIB), (&streaming, "a", bytes.len())] {
        commit_something(session).await;
        assert!(cramped.world.object(key).unwrap() == bytes[..length]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_of_other_things_says_so_once_everything_has_arrived() {
    let Some(cramped) = Cramped::new().await else { return };
    // The first part stays, and the second does not fit beside it.
    cramped.take(DISK_BYTES - 8 * MIB);
    let gate = cramped.hold_parts();
    let bytes = pattern(1, DISK_BYTES);
    let session = cramped.world.begin("a", Base::New);
    let (mut at, written) = write_until_it_waits(&session, &bytes, 0, MIB);
    gate.open();
    written.await.unwrap();
    let full = loop {
        match session.write(at as u64, &bytes[at..at + MIB]).await {
            Ok(()) => at += MIB,
            Err(error) => break error,
        }
    };
    assert_eq!((full.kind(), at), (Kind::NoSpace, 7 * MIB));
    commit_something(&session).await;
    assert!(cramped.world.object("a").unwrap() == bytes[..at], "what was acknowledged is in S3");
}

/// Writes all of `bytes` backwards, so that no part of them can leave ahead.
async fn write_backwards(session: &Arc<Session>, bytes: &[u8]) {
    for (i, piece) in bytes.chunks(MIB / 2).enumerate().collect::<Vec<_>>().into_iter().rev() {
        session.write((i * (MIB / 2)) as u64, piece).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_synchronised_makes_room_for_what_follows() {
    let Some(cramped) = Cramped::new().await else { return };
    let bytes = pattern(1, 3 * DISK_BYTES);
    let session = cramped.world.begin("a", Base::New);
    // Too little at a time for parts to leave: all of it is staged when it is synchronised.
    for (i, piece) in bytes.chunks(2 * MIB).enumerate() {
        session.write((i * 2 * MIB) as u64, piece).await.unwrap();
        assert!(session.commit(Occasion::Sync).await.unwrap().is_some());
    }
    assert!(read(&session, 0, bytes.len()).await == bytes);
    assert!(cramped.world.object("a").unwrap() == bytes);
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_synchronised_makes_room() {
    let Some(cramped) = Cramped::new().await else { return };
    let bytes = pattern(1, 12 * MIB);
    let (idle, busy) = (cramped.world.begin("a", Base::New), cramped.world.begin("b", Base::New));
    write_backwards(&idle, &bytes).await;
    assert!(idle.commit(Occasion::Sync).await.unwrap().is_some());
    write_backwards(&busy, &bytes).await;
    assert!(read(&idle, 0, bytes.len()).await == bytes && read(&busy, 0, bytes.len()).await == bytes);
    write(&idle, MIB, b"edited").await;
    for (session, key) in [(&idle, "a"), (&busy, "b")] {
        commit_something(session).await;
        session.close().await.unwrap();
        assert!(cramped.world.object(key).unwrap()[2 * MIB..] == bytes[2 * MIB..]);
    }
    assert_eq!(&cramped.world.object("a").unwrap()[MIB..MIB + 6], b"edited");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_others_that_have_arrived_make_room() {
    let Some(cramped) = Cramped::new().await else { return };
    let bytes = pattern(1, 15 * MIB);
    let (idle, busy) = (cramped.world.begin("a", Base::New), cramped.world.begin("b", Base::New));
    write(&idle, 0, &bytes).await;
    idle.parts_at_rest().await;
    write_backwards(&busy, &bytes[..9 * MIB]).await;
    for (session, key, length) in [(&idle, "a", bytes.len()), (&busy, "b", 9 * MIB)] {
        commit_something(session).await;
        session.close().await.unwrap();
        assert!(cramped.world.object(key).unwrap() == bytes[..length]);
    }
    assert_eq!(cramped.world.unfinished_uploads(), 0);
}
