//! The blocks of one open object: looked for, and kept as they arrive.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::BlockCache;
use super::entry::{Entry, Opening, Patience};
use super::fill::Filling;
use super::gather::Gather;
use super::layout::{Layout, Version};
use super::plan::{self, Step};
use crate::budget::Budget;
use crate::error::{Error, Kind, Result};
use crate::read::fetch::{self, Source};
use crate::s3::ByteRange;
use crate::task::Tasks;

/// What the cache has of one version, and may have of it.
#[derive(Debug)]
pub(in crate::read) struct ObjectBlocks {
    cache: Arc<BlockCache>,
    version: Version,
    /// Pays for what waits to be written.
    budget: Budget,
    tasks: Tasks,
    gather: Mutex<Gather>,
    filling: Mutex<Filling>,
    /// By their first byte.
    layouts: Mutex<BTreeMap<u64, Arc<Layout>>>,
}

/// What is known of the bytes from some place on.
#[derive(Debug)]
enum Next {
    /// They begin with these, which are as they came from S3.
    Here(Bytes),
    /// S3 is to be asked for these.
    Missing(ByteRange),
}

/// Fetches all of `range`, from the disk where it is there, and hands its bytes to `arrived`, in order and
/// without a gap. What comes from S3 is kept. Returns how many bytes that were.
///
/// # Errors
/// As [`fetch::fetch`]. What is wrong with the disk is no error: S3 is asked then.
pub(in crate::read) async fn fetch<S: Source>(
    source: &Arc<S>,
    range: ByteRange,
    mut arrived: impl FnMut(Bytes) + Send,
) -> Result<u64> {
    let Some(blocks) = source.blocks() else {
        fetch::fetch(&**source, range, arrived).await?;
        return Ok(range.len());
    };
    let (mut rest, mut from_s3) = (range, 0);
    while !rest.is_empty() {
        match blocks.next(rest).await {
            Next::Here(bytes) => {
                rest.start += bytes.len() as u64;
                blocks.count_served(&bytes);
                arrived(bytes);
            }
            Next::Missing(missing) if missing.len() <= FINISHED_BYTES_MAX => {
                if blocks.filling.lock().missed() {
                    drop(
                        blocks
                            .tasks
                            .spawn_until_stopped("fill", fill(Arc::downgrade(source), Arc::clone(blocks))),
                    );
                }
                fetch_to_the_end(source, &blocks.tasks, missing, &mut arrived).await?;
                from_s3 += missing.len();
                rest.start = missing.end;
            }
            Next::Missing(missing) => {
                fetch_and_keep(&**source, blocks, missing, &mut arrived).await?;
                from_s3 += missing.len();
                rest.start = missing.end;
            }
        }
    }
    Ok(from_s3)
}

/// Fetches what is missing of an object, as much as is permitted, or until whoever waited has closed it.
async fn fill<S: Source>(source: Weak<S>, blocks: Arc<ObjectBlocks>) {
    loop {
        let Some(source) = source.upgrade() else { return blocks.filling.lock().ended() };
        let Some(range) = blocks.filling.lock().next() else { return };
        if let Err(error) = fill_range(&*source, &blocks, range).await {
            tracing::debug!(%range, %error, "the rest of an object could not be fetched ahead");
        }
        // Nobody waits for these bytes, so they can wait for the disk.
        blocks.cache.settled().await;
    }
}

async fn fill_range<S: Source>(source: &S, blocks: &ObjectBlocks, range: ByteRange) -> Result<()> {
    let mut rest = range;
    while !rest.is_empty() {
        rest.start = match blocks.next(rest).await {
            Next::Here(bytes) => rest.start + bytes.len() as u64,
            Next::Missing(missing) => {
                fetch_and_keep(source, blocks, missing, drop).await?;
                missing.end
            }
        };
    }
    Ok(())
}

async fn fetch_and_keep<S: Source>(
    source: &S,
    blocks: &ObjectBlocks,
    missing: ByteRange,
    mut arrived: impl FnMut(Bytes) + Send,
) -> Result<()> {
    let mut at = missing.start;
    let arrived = |chunk: Bytes| {
        blocks.keep(at, chunk.clone());
        at += chunk.len() as u64;
        arrived(chunk);
    };
    fetch::fetch(source, missing, arrived).await
}

/// Fetches a short range by a task that goes on when nobody waits for it any more. A random reader takes its
/// few bytes and leaves; without the rest of the block they could not be kept, and it is on its way already.
async fn fetch_to_the_end<S: Source>(
    source: &Arc<S>,
    tasks: &Tasks,
    missing: ByteRange,
    mut arrived: impl FnMut(Bytes) + Send,
) -> Result<()> {
    // Bounded by the length of the range.
    let (chunks, mut arriving) = mpsc::unbounded_channel();
    let source = Arc::clone(source);
    drop(tasks.spawn_until_stopped("fetch of a block", async move {
        let Some(blocks) = source.blocks() else { return };
        // Whoever does not listen any more has his bytes.
        let tell = |outcome: Result<Bytes>| chunks.send(outcome).unwrap_or_default();
        let fetched = fetch_and_keep(&*source, blocks, missing, |chunk| tell(Ok(chunk))).await;
        fetched.unwrap_or_else(|error| tell(Err(error)));
    }));
    let mut bytes = 0;
    while let Some(chunk) = arriving.recv().await {
        let chunk = chunk?;
        bytes += chunk.len() as u64;
        arrived(chunk);
    }
    if bytes == missing.len() { Ok(()) } else { Err(Error::new(Kind::ShuttingDown, "the fetch was stopped")) }
}

impl ObjectBlocks {
    pub(super) fn new(cache: Arc<BlockCache>, version: Version, budget: Budget, tasks: Tasks) -> Self {
        let gather = Mutex::new(Gather::new(version.size));
        let filling = Mutex::new(Filling::new(version.size, cache.bytes_max));
        Self { cache, version, budget, tasks, gather, filling, layouts: Mutex::default() }
    }

    /// Reads `wanted` if that takes no waiting: if all of it is in blocks that lie in the kernel's page cache.
    /// They are checked all the same.
    pub(in crate::read) fn try_read(&self, wanted: ByteRange) -> Option<Bytes> {
        let layout = self.layout(wanted.start);
        if wanted.end > layout.range.end {
            return None;
        }
        let entry = self.cache.open.find(&layout)?;
        let blocks = layout.blocks_of(wanted);
        let seals = entry.seals(&blocks, Patience::Memory).ok()??;
        if seals.contains(&0) {
            return None;
        }
        let bytes = entry.read(&blocks, &seals, Patience::Memory).ok()??;
        let bytes = cut(bytes, &layout, &blocks, wanted).filter(|bytes| bytes.len() as u64 == wanted.len());
        bytes.inspect(|bytes| self.count_served(bytes))
    }

    fn count_served(&self, bytes: &Bytes) {
        self.cache.counters.served_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }

    /// Hands on what came from S3 to be kept. Waits for nothing.
    pub(in crate::read) fn keep(&self, offset: u64, bytes: Bytes) {
        self.cache.counters.fetched_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let complete = |block: super::gather::Block| {
            let layout = self.layout(block.start);
            if !self.cache.keeping.keep(layout, block) {
                self.cache.counters.skipped_blocks.fetch_add(1, Ordering::Relaxed);
            }
        };
        self.gather.lock().add(offset, bytes, |bytes| self.budget.ask(bytes), complete);
    }

    /// What there is from `rest.start` on. The disk is asked on a thread that may wait for it.
    async fn next(&self, rest: ByteRange) -> Next {
        let layout = self.layout(rest.start);
        let rest = ByteRange { end: rest.end.min(layout.range.end), ..rest };
        let (open, looked_for) = (Arc::clone(&self.cache.open), Arc::clone(&layout));
        let look = move || match open.open(&looked_for, Opening::Existing)? {
            Some(entry) => look(&entry, looked_for.blocks_of(rest)),
            None => Ok(Found::Missing(looked_for.blocks_of(rest))),
        };
        let found =
            tokio::task::spawn_blocking(look).await.unwrap_or_else(|gone| Err(io::Error::other(gone)));
        match found {
            Ok(Found::Here(blocks, bytes)) => match cut(bytes, &layout, &blocks, rest) {
                Some(bytes) => Next::Here(bytes),
                None => Next::Missing(rest),
            },
            Ok(Found::Missing(blocks)) => {
                let bytes = layout.bytes_of(blocks);
                Next::Missing(ByteRange { start: rest.start, end: bytes.end.min(rest.end) })
            }
            Err(error) => {
                if self.cache.is_trouble_said.swap(true, Ordering::Relaxed) {
                    tracing::debug!(%error, "the block cache cannot be read; asking S3");
                } else {
                    tracing::warn!(%error, "the block cache cannot be read; asking S3, here and wherever that happens again");
                }
                Next::Missing(rest)
            }
        }
    }

    /// The segment that has the byte `offset`.
    fn layout(&self, offset: u64) -> Arc<Layout> {
        let mut layouts = self.layouts.lock();
        if let Some((_, layout)) =
            layouts.range(..=offset).next_back().filter(|(_, at)| offset < at.range.end)
        {
            return Arc::clone(layout);
        }
        let layout = Arc::new(Layout::of(&self.version, offset, self.cache.segment_bytes));
        layouts.insert(layout.range.start, Arc::clone(&layout));
        layout
    }
}

/// The part of `wanted` that `bytes`, the first of `blocks`, begin with; `None` if they do not.
fn cut(bytes: Vec<u8>, layout: &Layout, blocks: &Range<u64>, wanted: ByteRange) -> Option<Bytes> {
    let start = layout.bytes_of(blocks.clone()).start;
    let from = usize::try_from(wanted.start - start).ok()?;
    let until = usize::try_from(wanted.end - start).unwrap_or(usize::MAX).min(bytes.len());
    if from >= until {
        return None;
    }
    Some(Bytes::from(bytes).slice(from..until))
}

/// What an entry has of some blocks.
enum Found {
    /// The first of them.
    Here(Range<u64>, Vec<u8>),
    /// Not the first of them, nor those after it.
    Missing(Range<u64>),
}

/// Looks for the first of `blocks`. Waits for the disk.
fn look(entry: &Entry, blocks: Range<u64>) -> io::Result<Found> {
    let seals = entry.seals(&blocks, Patience::Disk)?.unwrap_or_default();
    let present: Vec<bool> = seals.iter().map(|seal| *seal != 0).collect();
    let up_to = |count: usize| blocks.start..blocks.start + count as u64;
    let count = match plan::next(&present) {
        Step::Fetch(count) => return Ok(Found::Missing(up_to(count))),
        Step::Read(count) => count,
    };
    let bytes = entry.read(&up_to(count), &seals[..count], Patience::Disk)?.unwrap_or_default();
    if bytes.is_empty() {
        let damaged = unseal_damaged(entry, &up_to(count), &seals)?;
        tracing::warn!(range = %entry.layout().bytes_of(up_to(damaged)), "blocks in the cache are damaged; asking S3");
        return Ok(Found::Missing(up_to(damaged)));
    }
    Ok(Found::Here(up_to(count), bytes))
}

/// Takes the seals off the blocks that do not fit theirs, up to the first that does. Returns how many.
fn unseal_damaged(entry: &Entry, blocks: &Range<u64>, seals: &[u64]) -> io::Result<usize> {
    let mut damaged = 0;
    for (block, seal) in blocks.clone().zip(seals) {
        let bytes = entry.read(&(block..block + 1), std::slice::from_ref(seal), Patience::Disk)?;
        if bytes.is_some_and(|bytes| !bytes.is_empty()) {
            break;
        }
        entry.unseal(block)?;
        damaged += 1;
    }
    // What was damaged a moment ago and is not any more has been written anew by another process.
    Ok(damaged.max(1))
}

/// Of 90 MB/s these are 11 ms, less than it takes to ask again.
const FINISHED_BYTES_MAX: u64 = 1 << 20;
