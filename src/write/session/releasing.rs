//! Staged bytes that make room, because S3 has them in parts of the upload that is under way.
//!
//! A file that goes on and on would fill the disk with bytes that have arrived long ago. Above a limit the oldest
//! parts are punched out of the staging file: all but the very first, which has the headers that programs come
//! back to. The price is that nothing can read a part of an unfinished upload. So where such bytes are needed
//! again, because somebody reads them, writes among them or cuts the file there, **what has left is
//! completed first**: it becomes a version of the object, as after fsync(2), and the session builds on that.
//!
//! What cannot be had that way is said: bytes of an upload that somebody aborted are lost with it. An
//! upload with the only copy is never aborted by us, and named in the log and in the record of what is set aside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{AtRest, Core, Life, Session};
use crate::error::{Error, Kind, Result};
use crate::s3::object::{ByteRange, Precondition};
use crate::write::Sessions;
use crate::write::ahead::Ahead;
use crate::write::commit::{self, BegunUpload, Commit};
use crate::write::journal::{Phase, Released};

/// A session's share of the bytes in all staging files, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Usage {
    all: Arc<AtomicU64>,
    own: u64,
}

impl Usage {
    pub(super) fn of(sessions: &Sessions) -> Self {
        Self { all: Arc::clone(&sessions.staged_bytes), own: 0 }
    }

    /// Takes note of what the session's file takes now; returns what all of them take.
    fn set(&mut self, bytes: u64) -> u64 {
        let before = std::mem::replace(&mut self.own, bytes);
        self.all
            .fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed)
            .wrapping_add(bytes.wrapping_sub(before))
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
    }
}

impl Session {
    /// Releases the oldest parts that have arrived while the staging files take more than they may, or the disk is short.
    pub(super) fn keep_within_limit(&self, core: &mut Core) {
        let limit = self.sessions.options.staging_bytes_max;
        let taken = core.measure();
        // A few at once: each time the record is written anew.
        let surplus = (taken > limit).then(|| taken - limit + limit / 64);
        if let Some(surplus) = surplus {
            self.find_room(core, surplus);
        }
        if core.has_releasable() && self.sessions.disk.is_short() {
            self.find_room(core, ROOM_BYTES);
        }
    }

    /// While the disk is short, releases what can be, and waits for parts that are on their way, of this file or another,
    /// whose room comes free when they arrive.
    pub(super) async fn room_on_disk(&self) {
        let disk = &self.sessions.disk;
        let awaited = disk.left();
        if awaited == 0 && !disk.has_lenders() {
            return;
        }
        loop {
            let progress = disk.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if !self.may_get_room(awaited) {
                return;
            }
            progress.await;
        }
    }

    /// Whether the disk is short of room that cannot be made now, and not all of the parts have ended that were the first
    /// so many to leave.
    fn may_get_room(&self, awaited: u64) -> bool {
        let disk = &self.sessions.disk;
        if !disk.is_short() {
            return false;
        }
        let mut core = self.core.lock();
        // What arrived while there was room enough is still here.
        if self.find_room(&mut core, ROOM_BYTES) > 0 && !disk.is_short() {
            return false;
        }
        let is_sending = core.ahead.as_ref().is_some_and(|ahead| ahead.sending() > 0);
        disk.ended() < disk.left() && (is_sending || disk.ended() < awaited)
    }

    /// Releases what can be, because the disk is full. Returns whether that was anything.
    pub(super) fn make_room(&self, core: &mut Core, error: &Error) -> bool {
        error.kind() == Kind::NoSpace && self.find_room(core, ROOM_BYTES) > 0
    }

    /// Releases about `bytes` of parts that have arrived; returns how many that were.
    pub(super) fn release(&self, core: &mut Core, bytes: u64) -> u64 {
        if core.content.has_overlay() || !matches!(core.life, Life::Live) {
            return 0;
        }
        let (mut ranges, mut sum) = (Vec::new(), 0);
        let Some(ahead) = &core.ahead else { return 0 };
        for range in ahead.releasable() {
            if sum >= bytes {
                break;
            }
            sum += range.len();
            ranges.push(range);
        }
        if ranges.is_empty() {
            return 0;
        }
        let released = core.released_with(&ranges);
        let noted =
            core.journal.as_mut().map(|journal| journal.update(|record| record.released = Some(released)));
        match noted {
            Some(Ok(())) => {}
            // Without a record that says so, a hole would be taken for zeros. They can be released later.
            Some(Err(_)) | None => return 0,
        }
        if let Some(ahead) = &mut core.ahead {
            ranges.iter().for_each(|range| ahead.released(*range));
        }
        for range in ranges {
            if let Err(error) = core.content.release(range) {
                tracing::warn!(%error, "a part that S3 has stays in the staging directory");
            }
        }
        core.measure();
        tracing::debug!(key = %core.target.key, bytes = sum, "released from the staging directory");
        sum
    }

    /// Makes bytes readable again that S3 alone has. This goes on to its end even if nobody waits for it.
    pub(super) async fn rescue(self: &Arc<Self>, range: ByteRange) -> Result<()> {
        let session = Arc::clone(self);
        let rescued = self.sessions.tasks.spawn("rescue", async move {
            let _turn = session.turn.lock().await;
            let is_abandoned = {
                let core = session.core.lock();
                if !core.content.released().overlaps(range) {
                    return Ok(());
                }
                (!matches!(core.life, Life::Live)).then(|| core.target.clone())
            };
            match is_abandoned {
                // Removed, and its upload aborted: it is not made an object again for those who have it open.
                Some(target) => {
                    let lost = commit::only_in_an_upload(range, &target);
                    Err(Error::caused(Kind::Changed, "the file was removed while it was open", lost))
                }
                None => session.complete_what_left().await.map_err(|error| session.fail(error)),
            }
        });
        rescued.await.unwrap_or_else(|panic| Err(Error::caused(Kind::Io, "the rescue broke off", panic)))
    }

    /// Makes a version of the parts that have left, as they left, and builds on that.
    pub(super) async fn complete_what_left(self: &Arc<Self>) -> Result<()> {
        let (target, condition, mut snapshot) = {
            let mut core = self.core.lock();
            core.check()?;
            (core.target.clone(), core.condition.clone(), core.content.seal())
        };
        self.parts_at_rest().await;
        let (early, start) = {
            let mut core = self.core.lock();
            (core.early.take(), core.ahead.take().map(|ahead: Ahead| ahead.into_rescue(&snapshot.released)))
        };
        let begun = early.as_ref().and_then(|early| Some((early.upload()?, early.object.clone())));
        let outcome = match (early, begun, start) {
            (Some(early), Some((upload, object)), Some((start, rewritten))) => {
                snapshot.size = start.parts.last().map_or(0, |(part, _)| part.range.end);
                let commit = Commit {
                    sessions: Arc::clone(&self.sessions),
                    target,
                    snapshot,
                    condition,
                    commit_id: early.commit_id.clone(),
                    base_key: None,
                    held: None,
                    note_upload: self.note_upload(),
                };
                let begun = BegunUpload { upload, object, parts: start.parts };
                commit.run(Some(begun)).await.map(|receipt| (receipt, rewritten))
            }
            _ => Err(Error::new(Kind::Io, "what was released has no upload that it could be in")),
        };
        let outcome = outcome.map(|(receipt, rewritten)| {
            let mut core = self.core.lock();
            let version = receipt.meta().clone();
            core.condition = Precondition::MustMatch(version.etag.clone());
            core.content.rescued(version.clone(), &rewritten);
            core.measure();
            core.note_base(&version);
            drop(core);
            self.sessions.disk.lends(self);
            self.tell(&receipt);
        });
        self.move_down();
        outcome
    }
}

impl AtRest<'_> {
    /// Makes a version of what left, as far as some of it is nowhere else, so that it can be read.
    ///
    /// # Errors
    /// As [`Session::commit`]. The session goes on, and those bytes may be lost to it.
    pub async fn complete_what_left(&self) -> Result<()> {
        // On the heap: whoever removes a file has enough of its own on the stack.
        Box::pin(self.session().complete_what_left()).await
    }
}

impl Core {
    /// Whether a commit needs bytes that S3 alone has, and only as they left.
    pub(super) fn is_overtaken(&self) -> bool {
        let (size, released) = (self.content.size(), self.content.released());
        self.ahead.as_ref().is_some_and(|ahead| ahead.is_overtaken(size, released))
    }

    fn has_releasable(&self) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| ahead.releasable().next().is_some())
    }

    /// How many bytes S3 alone has.
    pub(super) fn released_bytes(&self) -> u64 {
        self.content.released().iter().map(|range| range.len()).sum()
    }

    /// Looks how much of the disk the staging file takes; returns what all of them take.
    pub(super) fn measure(&mut self) -> u64 {
        let bytes = self.content.staging_file().map_or(0, |file| file.bytes_on_disk());
        self.usage.set(bytes)
    }

    /// What the journal has to know of released bytes.
    pub(super) fn recorded_release(&self) -> Option<Released> {
        (!self.content.released().is_empty()).then(|| self.released_with(&[]))
    }

    fn released_with(&self, more: &[ByteRange]) -> Released {
        let mut ranges = self.content.released().clone();
        more.iter().for_each(|range| ranges.insert(*range));
        Released { ranges, parts: self.ahead.as_ref().map(Ahead::parts).unwrap_or_default() }
    }

    /// Writes down that the session builds on another version now, and has no upload.
    fn note_base(&mut self, version: &crate::s3::object::ObjectMeta) {
        let Some(journal) = &mut self.journal else { return };
        let noted = journal.update(|record| {
            record.base = Some(super::recorded(version));
            record.upload = None;
            record.released = None;
            record.phase = Phase::Open;
        });
        if let Err(error) = noted {
            tracing::warn!(%error, "the journal still says what S3 has by now");
        }
    }
}

/// Released at a time when the disk is full.
const ROOM_BYTES: u64 = 256 << 20;
