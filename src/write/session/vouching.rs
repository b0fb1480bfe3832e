//! What the disk is made to keep before a close returns that leaves its commit to the background.

use std::fs::File;
use std::sync::Arc;

use super::Session;
use super::committing::Sealed;
use super::entrusting::Entrusted;
use crate::error::{Error, Kind, Result};
use crate::sys;
use crate::write::journal::{Journal, Phase, Record, RecordedTrust, Seal};
use crate::write::staging::StagingFile;

/// What the disk is to have before a close returns.
#[derive(Debug)]
struct Unsynced {
    file: Option<Arc<StagingFile>>,
    record: File,
}

impl Unsynced {
    fn sync(&self) -> Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.sync())?;
        Ok(self.record.sync_data()?)
    }
}

impl Session {
    /// Has the disk take the bytes, a record that vouches for them, and the names of both.
    ///
    /// A record says what the bytes of a small file add up to, and so need not come after them: all is written first, then
    /// the names are synchronised, and what that has left. A file system with a journal, such as ext4, then has all of it
    /// in one commit instead of two. A large file is there before its record counts: reading it once more would cost more.
    pub(super) async fn keep_on_disk(self: &Arc<Self>, sealed: &Sealed, at: i64) -> Result<()> {
        let (file, seal) = (sealed.snapshot.staged.file().cloned(), sealed.seal());
        let session = Arc::clone(self);
        let unsynced = on_disk(move || session.vouch(file, seal, at)).await?;
        self.sessions.background.sync_names().await?;
        match unsynced {
            Some(unsynced) => on_disk(move || unsynced.sync()).await,
            None => Ok(()),
        }
    }

    /// Writes the record down. Returns what the disk may not have yet.
    fn vouch(&self, file: Option<Arc<StagingFile>>, seal: Seal, at: i64) -> Result<Option<Unsynced>> {
        let checksum = file.as_ref().map_or(Ok(None), |file| file.checksum(CHECKED_BYTES_MAX))?;
        let mut core = self.core.lock();
        let trust =
            RecordedTrust { at, has_bytes: file.is_some(), checksum, replaced: core.recorded_replaced() };
        let vouched = |record: &mut Record| {
            record.phase = Phase::Sealed(Box::new(seal));
            record.entrusted = Some(trust);
        };
        let Some(journal) = &mut core.journal else {
            return Err(Error::new(Kind::Io, "the record of the file is gone"));
        };
        if let (Some(file), None) = (&file, checksum) {
            return vouch_after(journal, vouched, file).map(|()| None);
        }
        journal.update(vouched)?;
        let record = journal.file()?;
        drop(core);
        // What cannot begin now begins when it is waited for.
        let bytes = file.as_ref().map_or(Ok(()), |file| file.begin_sync());
        if let Err(error) = sys::begin_write_back(&record).and(bytes) {
            tracing::debug!(%error, "nothing is written to the disk ahead");
        }
        Ok(Some(Unsynced { file, record }))
    }

    /// Has the disk keep what was said of the file since it was closed, as it keeps the rest.
    ///
    /// # Errors
    /// Those of the local disk, which then has what was said before.
    pub async fn vouch_for_description(self: &Arc<Self>) -> Result<()> {
        let session = Arc::clone(self);
        on_disk(move || {
            let mut core = session.core.lock();
            // One that is on its way says what it says.
            let Some(seal) = core.entrusted.as_ref().and_then(Entrusted::seal) else { return Ok(()) };
            match &mut core.journal {
                Some(journal) => {
                    journal.update_on_disk(|record| record.phase = Phase::Sealed(Box::new(seal)))
                }
                None => Ok(()),
            }
        })
        .await
    }
}

/// Has the disk take the bytes, and a record that says so: both at once, but the record counts only after the bytes are
/// there.
fn vouch_after(
    journal: &mut Journal,
    vouched: impl FnOnce(&mut Record),
    file: &Arc<StagingFile>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let bytes = scope.spawn(|| file.sync());
        let are_there = || match bytes.join() {
            Ok(synced) => Ok(synced?),
            Err(_) => Err(Error::new(Kind::Io, "a fault while the bytes went to the disk")),
        };
        journal.vouch(vouched, are_there)
    })
}

/// Runs what waits for the disk, away from the threads that serve the network.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(Error::caused(Kind::Io, "writing to the disk", panic)))
}

/// Files that are read once more as they are closed, to say what their bytes add up to: a small part of the time that the
/// disk takes to write them.
const CHECKED_BYTES_MAX: u64 = 1 << 20;
