//! One written file, shared by all handles on it.
//!
//! Every change happens under one short lock, on the thread of the caller: staging is a write to
//! the page cache, and the order of the calls is the order of their effects. Commits are tasks of
//! their own, one at a time, because they must end even when nobody waits for them any more.

mod committing;
mod conflicting;
mod copying;
mod departing;
mod describing;
mod ending;
mod entrusting;
mod lending;
mod reading;
mod releasing;
mod resting;
mod space;
mod vouching;
mod writing;

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::Notify;

pub use self::copying::Origin;
pub use self::describing::Owed;
pub use self::entrusting::Closed;
pub use self::resting::AtRest;
pub use self::space::Seek;

use self::copying::Twin;
use self::departing::EarlyUpload;
use self::entrusting::Entrusted;
use self::releasing::Usage;
use super::ahead::Ahead;
use super::commit::CommitReceipt;
use super::content::{Content, Home, Segment};
use super::journal::{FORMAT, Journal, Phase, Record, RecordedBase};
use super::kept::Kept;
use super::plan::PartSizes;
use super::staging::Place;
use super::{Base, OnConflict, Sessions, Target};
use crate::error::{Error, Kind, Result};
use crate::s3::object::{ByteRange, ETag, NewObject, ObjectMeta, Precondition};

/// One written file.
#[derive(Debug)]
pub struct Session {
    sessions: Arc<Sessions>,
    core: Mutex<Core>,
    /// Held by the commit that is running. Taken before `core`, never under it.
    turn: tokio::sync::Mutex<()>,
    /// Held while the version that the session builds on is fetched as a whole.
    fetching: Arc<tokio::sync::Mutex<()>>,
    /// Rings when a part that left ahead has arrived, or failed to.
    progress: Notify,
    /// Who is told of each version that it makes.
    heard: Heard,
}

/// Who is to hear of a version that S3 has now.
type OnCommitted = Box<dyn Fn(&CommitReceipt) + Send + Sync>;

#[derive(Default)]
struct Heard(OnceLock<OnCommitted>);

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Heard")
    }
}

/// Why a commit is asked for, which decides whether a file without a written byte becomes an object.
///
/// Ordered by how much is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occasion {
    /// A descriptor was closed. Others may be open, and their first write yet to come: `dd of=`
    /// and every redirection of a shell duplicate a descriptor and close the original before they
    /// write. So a new file that is still empty is left alone.
    Flush,
    /// `fsync`: what there is now shall be in S3, were it an empty file.
    Sync,
    /// The last handle leaves.
    LastClose,
}

#[derive(Debug)]
struct Core {
    target: Target,
    /// What must be true for the next commit to take effect.
    condition: Precondition,
    /// The version that was seen where whatever is there is to be replaced: no matter what clocks say, it was there before.
    replaced: Option<ETag>,
    /// What becomes of a commit for which it is not.
    on_conflict: OnConflict,
    content: Content,
    /// `None` from when a commit has taken it until that is over.
    ahead: Option<Ahead>,
    /// The upload that parts leave for ahead of the commit.
    early: Option<Arc<EarlyUpload>>,
    /// What the version that shows is a copy of, if this session made it.
    twin: Option<Twin>,
    /// What the staging file takes of the room that all share.
    usage: Usage,
    /// Exists while anything is staged that S3 does not have.
    journal: Option<Journal>,
    /// The bytes of the base, once S3 has them no longer.
    kept: Option<Arc<Kept>>,
    /// A commit that close(2) left to the background, and that has not ended.
    entrusted: Option<Entrusted>,
    life: Life,
    /// Whether a byte was written, the length set or the description given. A new file that is
    /// untouched does not become an object before its last close.
    touched: bool,
    /// Whether S3's version says something else about itself than it shall.
    description_is_due: bool,
    /// Whether no part may leave, because the file is being moved.
    stays: bool,
}

#[derive(Debug)]
enum Life {
    /// Written to, committed, written to again.
    Live,
    /// A commit failed for good; everyone hears it until the last close.
    Failed(Error),
    /// Unlinked: the bytes serve those who have it open, and nobody else will see them.
    Abandoned,
    /// The last handle has left.
    Over,
}

/// What a commit has to do.
#[derive(Debug, PartialEq, Eq)]
enum Work {
    Nothing,
    Describe,
    Write,
}

impl Session {
    pub(super) fn new(sessions: Arc<Sessions>, place: Place, target: Target, base: Base) -> Arc<Self> {
        let on_conflict = match base {
            Base::Exclusive | Base::Claimed(_) => OnConflict::Fail,
            _ => sessions.options.on_conflict,
        };
        let replaced = base.replaced();
        let (condition, base) = base.into_parts();
        let content = Content::new(place, base);
        let ahead = Some(Ahead::at(content.size(), sessions.options.part_sizes));
        let core = Core {
            target,
            condition,
            replaced,
            on_conflict,
            content,
            ahead,
            early: None,
            twin: None,
            usage: Usage::of(&sessions),
            journal: None,
            kept: None,
            entrusted: None,
            life: Life::Live,
            touched: false,
            description_is_due: false,
            stays: false,
        };
        let (turn, fetching, progress, heard) = Default::default();
        Arc::new(Self { sessions, core: Mutex::new(core), turn, fetching, progress, heard })
    }

    /// Names who is to hear of each version that the session makes: before the next commit begins, and before whoever
    /// waits for the session to be [at rest](Self::at_rest) goes on.
    pub fn notify_committed(&self, on_committed: OnCommitted) {
        // The first one stays; a session is one file's.
        let _already_named = self.heard.0.set(on_committed).is_err();
    }

    /// To be called by whoever has the turn, without the core.
    fn tell(&self, receipt: &CommitReceipt) {
        if let Some(on_committed) = self.heard.0.get() {
            on_committed(receipt);
        }
    }

    pub(super) fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Length of the file in bytes.
    pub fn size(&self) -> u64 {
        self.core.lock().content.size()
    }

    /// The version in S3 that the session builds on; `None` for one that S3 has never seen.
    pub fn version(&self) -> Option<ObjectMeta> {
        self.core.lock().content.base().cloned()
    }

    /// Whether bytes of the version in S3 show in the file.
    pub fn shows_base(&self) -> bool {
        let core = self.core.lock();
        let all = ByteRange { start: 0, end: core.content.size() };
        let is_base = |segment: &Segment| matches!(segment.home, Home::Base);
        core.content.base().is_some() && core.content.segments(all).iter().any(is_base)
    }

    /// S3 will have the base no longer; reads of it are answered from what was kept.
    pub fn keep_base(&self, kept: Arc<Kept>) {
        self.core.lock().kept = Some(kept);
    }

    /// Whether the session has anything that S3 does not have.
    pub fn is_dirty(&self) -> bool {
        !matches!(self.core.lock().work(Occasion::LastClose), Ok(Work::Nothing))
    }

    /// Whether there are bytes, or a whole file, that S3 has yet to get. A flush or the last close
    /// of whoever wrote them is still to come.
    pub fn owes_content(&self) -> bool {
        let core = self.core.lock();
        core.entrusted.is_some() || core.content.is_dirty() || core.content.base().is_none()
    }

    /// What will be said about the object, without the commit id.
    pub fn description(&self) -> NewObject {
        self.core.lock().target.object.clone()
    }

    /// Brings to S3 what it does not have, and returns when it has it; `None` if that was nothing.
    ///
    /// This goes on to its end even if nobody waits for it.
    ///
    /// # Errors
    /// What S3 said; [`Kind::Changed`] or [`Kind::Exists`] for a lost race. The bytes are then
    /// set aside, the message says where, and every later call hears it.
    pub async fn commit(self: &Arc<Self>, occasion: Occasion) -> Result<Option<CommitReceipt>> {
        // Another commit may be running, and this one must not return before it.
        if self.turn.try_lock().is_ok() {
            let core = self.core.lock();
            if core.entrusted.is_none() && core.work(occasion)? == Work::Nothing {
                return Ok(None);
            }
        }
        let session = Arc::clone(self);
        let task = self.sessions.tasks.spawn("commit", async move {
            let _turn = session.turn.lock().await;
            session.commit_in_turn(occasion).await
        });
        task.await.unwrap_or_else(|end| {
            let kind = if end.is_cancelled() { Kind::ShuttingDown } else { Kind::Io };
            Err(Error::caused(kind, "the commit broke off", end))
        })
    }

    /// Commits what the flushes have left, and gives up the local files. The last handle calls this,
    /// and the session is over: it takes no more writes.
    ///
    /// # Errors
    /// As [`commit`](Self::commit). Nobody may be left to hear it: log it.
    pub async fn close(self: &Arc<Self>) -> Result<Option<CommitReceipt>> {
        let outcome = self.commit_the_rest().await;
        let _turn = self.turn.lock().await;
        self.core.lock().end();
        outcome
    }

    /// Commits what the flushes have left. The session goes on until [`end`](Self::end).
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn commit_the_rest(self: &Arc<Self>) -> Result<Option<CommitReceipt>> {
        let outcome = self.commit(Occasion::LastClose).await;
        match &outcome {
            // A commit that could not even begin has set nothing aside yet. One that this process does not live to see
            // the end of is for recovery to go on with, and a description is its owner's to hand over.
            Err(error)
                if !self.is_entrusted() && self.owes_content() && error.kind() != Kind::ShuttingDown =>
            {
                let _turn = self.turn.lock().await;
                drop(self.fail(error.clone()));
            }
            _ => {}
        }
        outcome
    }

    /// Ends the session if S3 has all of it: it takes no more writes and no other description.
    /// Returns whether it is over; if not, there is something to commit, or a commit under way.
    pub fn end(&self) -> bool {
        let Ok(_turn) = self.turn.try_lock() else { return false };
        self.core.lock().end()
    }

    /// The name is another file's by now, which no commit may replace, whatever was asked for when this one was opened.
    pub fn lose_name(&self) {
        let mut core = self.core.lock();
        if core.condition == Precondition::Whatever && core.entrusted.is_none() {
            core.condition = Precondition::MustMatch(ETag::new("deleted"));
        }
    }

    /// Writes the session down before its first local effect.
    fn ensure_journal(&self, core: &mut Core) -> Result<()> {
        if core.journal.is_some() || matches!(core.life, Life::Abandoned) {
            return Ok(());
        }
        let record = Record {
            format: FORMAT,
            boot: self.sessions.boot.clone(),
            bucket: core.target.gateway.bucket().to_string(),
            key: core.target.key.to_string(),
            base: core.content.base().map(recorded),
            upload: None,
            released: None,
            phase: Phase::Open,
            failure: None,
            entrusted: None,
            aside: None,
        };
        core.journal = Some(Journal::begin(core.content.place().record(), record)?);
        Ok(())
    }
}

impl Core {
    fn check(&self) -> Result<()> {
        match &self.life {
            Life::Failed(error) => Err(error.clone()),
            Life::Over => Err(Error::new(Kind::BadHandle, "the last handle on this file was closed")),
            Life::Live | Life::Abandoned => Ok(()),
        }
    }

    fn work(&self, occasion: Occasion) -> Result<Work> {
        if matches!(self.life, Life::Abandoned | Life::Over) {
            return Ok(Work::Nothing);
        }
        self.check()?;
        let is_new_and_untouched = self.content.base().is_none() && !self.touched;
        if is_new_and_untouched && occasion == Occasion::Flush {
            Ok(Work::Nothing)
        } else if self.content.is_dirty() {
            Ok(Work::Write)
        } else if self.description_is_due {
            Ok(Work::Describe)
        } else {
            Ok(Work::Nothing)
        }
    }

    /// Removes what is local, unless somebody wrote or described between the last commit and now.
    /// Returns whether nothing more will be committed.
    fn end(&mut self) -> bool {
        let has_all = !self.content.is_dirty() && !self.content.has_overlay() && !self.description_is_due;
        match self.life {
            Life::Failed(_) | Life::Over => return true,
            Life::Live if !has_all => return false,
            Life::Live | Life::Abandoned => {}
        }
        // There is one where a file was made longer and cut again, and is what it was: nothing had to be committed.
        if let Some(journal) = self.journal.take() {
            journal.end();
        }
        self.life = Life::Over;
        self.content.remove_files();
        true
    }

    /// Whether nothing was written that counts, and nothing is on its way.
    fn is_blank(&self) -> bool {
        let is_live = matches!(self.life, Life::Live);
        is_live && self.content.size() == 0 && !self.content.has_overlay() && self.early.is_none()
    }

    /// Gives a sequential writer a head start from where the file ends now.
    fn begin_ahead(&mut self, sizes: PartSizes) {
        self.ahead = (!self.stays).then(|| Ahead::at(self.content.size(), sizes));
    }

    /// No part leaves any more; those on their way still report.
    fn drop_head_start(&mut self) {
        if let Some(ahead) = &mut self.ahead {
            ahead.stop();
        }
    }
}

fn recorded(version: &ObjectMeta) -> RecordedBase {
    RecordedBase { etag: version.etag.as_str().to_owned(), size: version.size }
}
