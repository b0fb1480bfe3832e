//! Files that are removed, replaced or moved here while a close of theirs is on its way to S3.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use s3xmount::emulator::{Gate, On};
use s3xmount::error::Result;
use s3xmount::write::CommitMode;

use crate::support::{How, MIB, Mount, OpenFile, Options, World, eventually, pattern};

/// A mount whose PUTs stand at the gate until it opens.
async fn stage(commit: CommitMode) -> (World, Mount, Gate) {
    let world = World::new();
    world.put("a/log", "what was there. ");
    let writing = match commit {
        CommitMode::Close => |writing| writing,
        CommitMode::Background => {
            |writing| s3xmount::write::Options { commit: CommitMode::Background, ..writing }
        }
    };
    let mount = world.mount_with(Options { writing, ..Options::default() }).await;
    let gate = Gate::closed();
    world.faults.inject(On::operation("PutObject").always().hold_request(&gate));
    (world, mount, gate)
}

/// Does two things; the second begins when the first stands at the gate, which opens when the second has had all the
/// time that it takes.
async fn beside<A, B>(
    gate: &Gate,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    tokio::join!(first, async {
        gate.reached_by(1).await;
        let (second, ()) = tokio::join!(second, async {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            gate.open();
        });
        second
    })
}

async fn add(file: &OpenFile<'_>) -> Result<()> {
    file.write(16, b"And more.").await?;
    file.flush().await
}

#[tokio::test]
async fn a_close_beside_a_removal_fails_nobody_and_leaves_nothing() {
    let (world, mount, gate) = stage(CommitMode::Close).await;
    let file = mount.open("a/log", How::Edit).await.unwrap();
    let (closed, removed) = beside(&gate, add(&file), mount.remove("a/log")).await;
    assert_eq!((closed.map_err(|error| error.to_string()), removed.unwrap()), (Ok(()), ()));
    assert!(world.stored("a/log").is_none() && !mount.exists("a/log").await);
    assert_eq!(file.read_all().await.unwrap(), b"what was there. And more.", "who has it open goes on");
    file.write(0, b"WHAT").await.unwrap();
    file.close().await.unwrap();
    assert_eq!((mount.set_aside().len(), world.keys_below("a/log").len()), (0, 0));
}

#[tokio::test]
async fn what_replaces_a_file_stays_whatever_close_of_the_replaced_one_was_under_way() {
    for how in [How::Edit, How::Overwrite] {
        let (world, mount, gate) = stage(CommitMode::Close).await;
        world.put("a/log.new", "the next one");
        let file = mount.open("a/log", how).await.unwrap();
        let (closed, renamed) = beside(&gate, add(&file), mount.rename("a/log.new", "a/log")).await;
        assert_eq!((closed.map_err(|error| error.to_string()), renamed.unwrap()), (Ok(()), ()), "{how:?}");
        file.close().await.unwrap();
        assert_eq!(world.stored("a/log").unwrap(), b"the next one", "{how:?}");
        assert_eq!(mount.read_file("a/log").await.unwrap(), b"the next one", "{how:?}");
        assert_eq!(mount.set_aside().len(), 0, "{how:?}");
    }
}

#[tokio::test]
async fn a_closed_file_is_removed_while_it_is_brought_to_s3() {
    let (world, mount, gate) = stage(CommitMode::Background).await;
    let file = mount.open("a/log", How::Edit).await.unwrap();
    add(&file).await.unwrap();
    let ((), removed) = beside(&gate, gate.reached_by(1), mount.remove("a/log")).await;
    removed.unwrap();
    eventually("nothing waits", async || mount.background().files == 0).await;
    file.write(0, b"WHAT").await.unwrap();
    file.close().await.unwrap();
    assert!(world.stored("a/log").is_none() && !mount.exists("a/log").await);
    assert_eq!(mount.set_aside().len(), 0);
}

#[tokio::test]
async fn what_is_written_while_a_file_is_copied_to_its_new_name_goes_there() {
    for (from, onto, path) in [("a/b/log", "a/b/log.1", "a/b/log.1"), ("a/b", "a/c", "a/c/log")] {
        let (world, mount, gate) = stage(CommitMode::Close).await;
        gate.open();
        world.put("a/b/log", "what was there. ");
        let copied = Gate::closed();
        world.faults.inject(On::operation("CopyObject").times(1).hold_answer(&copied));
        let file = mount.open("a/b/log", How::Edit).await.unwrap();
        let (renamed, written) =
            beside(&copied, mount.rename(from, onto), file.write(16, b"And more.")).await;
        assert_eq!((renamed.unwrap(), written.unwrap()), ((), ()));
        file.flush().await.unwrap();
        assert_eq!(world.stored(path).unwrap(), b"what was there. And more.", "{path}");
        assert!(world.stored("a/b/log").is_none() && !mount.exists("a/b/log").await, "{path}");
        file.close().await.unwrap();
        assert_eq!(mount.set_aside().len(), 0, "{path}");
    }
}

/// A reader of a large file whose request is held until something has been done with the file here.
async fn read_beside(what: &str, change: impl AsyncFnOnce(&Mount)) {
    let (world, mount, gate) = stage(CommitMode::Close).await;
    gate.open();
    let bytes = pattern(1, 20 * MIB);
    world.put("a/b/large", bytes.clone());
    let file = mount.open("a/b/large", How::Read).await.unwrap();
    let asked = Gate::closed();
    world.faults.inject(On::operation("GetObject").key("b/large").times(1).hold_request(&asked));
    let at = 12 * MIB;
    let (read, ()) = tokio::join!(file.read(at as u64, 1000), async {
        asked.reached_by(1).await;
        change(&mount).await;
        asked.open();
    });
    assert!(read.unwrap() == bytes[at..at + 1000], "{what}");
    file.close().await.unwrap();
}

#[tokio::test]
async fn who_reads_while_the_file_is_changed_here_reads_on() {
    read_beside("cut", async |mount| {
        mount.truncate("a/b/large", 15 << 20).await.unwrap();
    })
    .await;
    read_beside("extended", async |mount| mount.append("a/b/large", b"more").await.unwrap()).await;
    read_beside("moved", async |mount| mount.rename("a/b/large", "a/b/larger").await.unwrap()).await;
    read_beside("moved with its directory", async |mount| mount.rename("a/b", "a/c").await.unwrap()).await;
    read_beside("removed", async |mount| mount.remove("a/b/large").await.unwrap()).await;
    read_beside("replaced", async |mount| {
        mount.write_file("a/other", b"other").await.unwrap();
        mount.rename("a/other", "a/b/large").await.unwrap();
    })
    .await;
}
