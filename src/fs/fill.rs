//! Files that are read at random, given to the kernel whole.
//!
//! What the kernel has in its page cache it does not ask for. When random reads of a file have waited so
//! long that all of it could have been had ([`Rent`](crate::read::Rent)), it is read once from beginning to end, with the
//! read-ahead that any sequential reader gets, and stored in the page cache, which is the kernel's
//! memory and not ours: it drops the pages when it needs them for something better.
//!
//! # What must not happen
//! Bytes of an old version must not reach the page cache after it was told to forget them, nor anything
//! come over what somebody is writing. So each piece is stored while `OpenFile::filling` is held, and
//! under it the version is looked at first. Whoever changes that, by beginning to write or by finding
//! another version, does so and then waits for the lock ([`OpenFile::end_filling`]) before the
//! kernel hears of it: what is stored later has seen the change and is not stored.

use std::io;
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use super::Filesystem;
use super::handle::{FileHandle, OpenFile};
use crate::error::Result;
use crate::namespace::Ino;
use crate::read::{Price, Reader};
use crate::s3::ByteRange;
use crate::sys;

/// Puts bytes of an inode into the kernel's page cache, from an offset on. May wait until pages that
/// the kernel is reading have been read, so it is called on a thread that may.
pub type StorePages = Arc<dyn Fn(Ino, u64, &[u8]) -> io::Result<()> + Send + Sync>;

impl Filesystem {
    /// Names who stores pages.
    pub fn store_pages_with(&self, store: StorePages) {
        // The first one stays; a filesystem is mounted once.
        let _already_named = self.store_pages.set(store).is_err();
    }

    /// After a read that was sent to S3: if random reads have waited long enough, gives the kernel all
    /// of the file.
    pub(super) fn consider_filling(&self, handle: &FileHandle, reader: &Reader) {
        let waited = reader.waited_at_random();
        let Some(store) = self.store_pages.get().filter(|_| !waited.is_zero()) else { return };
        let price = Price {
            file_bytes: reader.size(),
            latency: reader.latency().unwrap_or_default(),
            budget_bytes: self.parts.budget.total_bytes(),
            available_bytes: sys::available_memory_bytes().unwrap_or(0),
        };
        if !handle.file.rent().pay(waited, price) {
            return;
        }
        let (file, store) = (Arc::clone(&handle.file), Arc::clone(store));
        let buying = Buying(Arc::clone(&file));
        // A reader of its own, whose reading is sequential.
        let Ok(Some(reader)) = self.new_reader(handle) else { return };
        drop(self.parts.tasks.spawn_until_stopped("fill", async move {
            let _buying = buying;
            tracing::debug!(bytes = reader.size(), "random reads; giving the kernel the whole file");
            if let Err(error) = fill(&file, &reader, &store).await {
                tracing::debug!(%error, "the file could not be given to the kernel whole");
            }
        }));
    }
}

/// A purchase under way, which ends with this.
struct Buying(Arc<OpenFile>);

impl Drop for Buying {
    fn drop(&mut self) {
        self.0.rent().done();
    }
}

async fn fill(file: &Arc<OpenFile>, reader: &Reader, store: &StorePages) -> Result<()> {
    let mut storing = JoinSet::new();
    let mut at = 0;
    loop {
        let bytes = reader.read(at, PIECE_BYTES).await?;
        if bytes.is_empty() {
            break;
        }
        if storing.len() == PIECES_MAX && !storing.join_next().await.is_some_and(is_stored) {
            return Ok(());
        }
        let filling = file.filling().await;
        if !file.may_be_filled(reader.version()) {
            return Ok(());
        }
        let piece = ByteRange { start: at, end: at + bytes.len() as u64 };
        at = piece.end;
        let (file, store) = (Arc::clone(file), Arc::clone(store));
        storing.spawn_blocking(move || {
            let _filling = filling;
            store_piece(&file, &store, piece, &bytes.into_bytes())
        });
    }
    while storing.join_next().await.is_some_and(is_stored) {}
    Ok(())
}

/// Stores what of a piece the kernel does not wait for.
fn store_piece(file: &OpenFile, store: &StorePages, piece: ByteRange, bytes: &[u8]) -> io::Result<()> {
    let at = |offset: u64| usize::try_from(offset - piece.start).expect("a piece is in memory");
    file.awaited()
        .without(piece)
        .into_iter()
        .try_for_each(|free| store(file.ino, free.start, &bytes[at(free.start)..at(free.end)]))
}

fn is_stored(outcome: std::result::Result<io::Result<()>, JoinError>) -> bool {
    match outcome {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::debug!(%error, "the kernel does not take pages");
            false
        }
        Err(stopped) => {
            tracing::debug!(%stopped, "storing pages");
            false
        }
    }
}

/// What the kernel reads ahead at once, too.
const PIECE_BYTES: u32 = 1 << 20;

/// Pieces that are being stored at a time: the next one need not wait for a page that the kernel has just locked for a
/// reader, of whom nothing is known here yet.
const PIECES_MAX: usize = 4;
