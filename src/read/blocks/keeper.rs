//! Blocks on their way to the disk: a bounded queue, and the one thread that empties it.
//!
//! A thread and not a task, because all it does is to wait for a disk. Nobody waits for it: whoever finds the
//! queue full, because the disk is slower than the network, lets the block go. What is queued is paid for
//! from the budget of all buffers, block by block.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::entry::{Opening, Patience};
use super::folder::Folder;
use super::gather::Block;
use super::layout::{BLOCK_BYTES, Layout};
use super::open::OpenEntries;

/// Where blocks are handed over to be kept. The last one to go ends the thread.
#[derive(Debug)]
pub(super) struct Keeping {
    jobs: SyncSender<Job>,
}

#[derive(Debug)]
enum Job {
    Keep(Arc<Layout>, Block),
    /// Tells when all that was handed over before has been dealt with.
    Tell(oneshot::Sender<()>),
}

impl Keeping {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start(folder: Folder, open: Arc<OpenEntries>) -> io::Result<Self> {
        let (jobs, to_do) = sync_channel(QUEUE_BLOCKS);
        let keeper = Keeper { folder, open, paused_until: None, housekeeping: Instant::now() };
        std::thread::Builder::new().name("block cache".to_owned()).spawn(move || keeper.run(&to_do))?;
        Ok(Self { jobs })
    }

    /// Hands a block over; `false` when it was let go.
    pub(super) fn keep(&self, layout: Arc<Layout>, block: Block) -> bool {
        self.jobs.try_send(Job::Keep(layout, block)).is_ok()
    }

    /// Waits until all that was handed over is on the disk, or has been let go.
    pub(super) async fn settled(&self) {
        let (tell, told) = oneshot::channel();
        let mut job = Job::Tell(tell);
        while let Err(TrySendError::Full(returned)) = self.jobs.try_send(job) {
            job = returned;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // A thread that has ended has nothing more to do either.
        told.await.unwrap_or_default();
    }
}

/// The thread's own.
struct Keeper {
    folder: Folder,
    open: Arc<OpenEntries>,
    /// There was no room, and so nothing is tried until then.
    paused_until: Option<Instant>,
    housekeeping: Instant,
}

impl Keeper {
    fn run(mut self, jobs: &Receiver<Job>) {
        log(self.folder.tidy(&self.open));
        loop {
            match jobs.recv_timeout(HOUSEKEEPING) {
                Ok(Job::Keep(layout, block)) => self.keep(&layout, &block),
                Ok(Job::Tell(tell)) => tell.send(()).unwrap_or_default(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.housekeeping.elapsed() >= HOUSEKEEPING {
                self.housekeeping = Instant::now();
                log(self.open.close_idle());
                log(self.folder.yield_to_others(&self.open));
            }
        }
        log(self.folder.settle());
    }

    fn keep(&mut self, layout: &Arc<Layout>, block: &Block) {
        if self.paused_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let at = (block.start - layout.range.start) / BLOCK_BYTES;
        match self.try_keep(layout, at, block) {
            Ok(true) => self.paused_until = None,
            Ok(false) => self.paused_until = Some(Instant::now() + PAUSE),
            Err(error) => {
                self.paused_until = Some(Instant::now() + PAUSE);
                let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
                tracing::warn!(%error, "the block cache cannot be written to; trying again in a moment");
                if is_full {
                    log(self.folder.tidy(&self.open));
                }
            }
        }
    }

    /// Writes a block; `false` when there is no room for it.
    fn try_keep(&mut self, layout: &Arc<Layout>, at: u64, block: &Block) -> io::Result<bool> {
        let known = self.open.open(layout, Opening::Existing)?;
        let overhead = if known.is_some() { 0 } else { OVERHEAD_BYTES };
        let blocks = at..at + 1;
        if let Some(entry) = &known
            && entry.seals(&blocks, Patience::Disk)? != Some(vec![0])
        {
            return Ok(true);
        }
        if !self.folder.take(layout.bytes_of(blocks).len() + overhead, &self.open)? {
            return Ok(false);
        }
        // Whoever evicts in another process may have it now: this block is let go then.
        let entry = known.map_or_else(|| self.open.open(layout, Opening::Create), |entry| Ok(Some(entry)))?;
        entry.map_or(Ok(()), |entry| entry.write(at, block.pieces()))?;
        Ok(true)
    }
}

fn log(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "the block cache cannot be looked through");
    }
}

/// 32 MiB: what comes from the network in the few milliseconds for which a disk that keeps up may be busy.
const QUEUE_BLOCKS: usize = 512;

/// An index and two entries in a directory.
const OVERHEAD_BYTES: u64 = 8 << 10;

const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// Long enough that looking for room does not take longer than it.
const PAUSE: Duration = Duration::from_secs(10);
