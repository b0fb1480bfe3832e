//! A close that leaves the commit to the background; see [`background`](crate::write::background).

use std::sync::Arc;
use std::time::SystemTime;

use super::committing::{DescriptionIs, Sealed};
use super::{Core, Occasion, Session, Work};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::name::ObjectKey;
use crate::s3::Gateway;
use crate::s3::object::{NewObject, Precondition};
use crate::write::background::{Place, Waiting};
use crate::write::commit::CommitReceipt;
use crate::write::journal::{Phase, Seal};

/// A commit that was left to the background.
#[derive(Debug)]
pub(super) struct Entrusted {
    sealed: Sealed,
    since: SystemTime,
    /// Whether its upload began before the file was closed, with the description of that moment.
    has_head_start: bool,
    /// Its commit is running.
    is_sending: bool,
    /// Why it has failed so far.
    trouble: Option<Error>,
    /// Its place among those that wait, which others get when it is over.
    _place: Place,
}

/// What a close came to that leaves its commit to the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Closed {
    /// Nothing was left by this one.
    Done,
    /// A commit was left, and whoever closed has to see to its [delivery](Session::deliver).
    ToDeliver,
}

impl Entrusted {
    /// The id of the commit, if it has begun, and so will not take along what is said from now on.
    pub(super) fn begun(&self) -> Option<String> {
        (self.is_sending || self.has_head_start).then(|| self.sealed.commit_id.clone())
    }

    /// What the record is to say while nothing of it is on its way.
    pub(super) fn seal(&self) -> Option<Seal> {
        (!self.is_sending).then(|| self.sealed.seal())
    }

    /// Has the commit say something else about the object. Returns whether it will.
    pub(super) fn describe(&mut self, object: NewObject) -> bool {
        if !self.is_sending {
            self.sealed.target.object = object;
            if self.has_head_start {
                self.sealed.description = DescriptionIs::Behind;
            }
        }
        !self.is_sending
    }
}

impl Session {
    /// Takes over what the flushes have left, for a [delivery](Self::deliver) that follows. When this returns, the
    /// disk has the bytes and all that is needed to bring them to S3.
    ///
    /// Where an earlier commit of this file still waits and the file was written since, that one is brought to S3
    /// first. The call waits also while too much is waiting of other files.
    ///
    /// # Errors
    /// Those of the local disk; the bytes are then set aside, as after a [`commit`](Self::commit) that failed.
    pub async fn entrust(self: &Arc<Self>, occasion: Occasion) -> Result<Closed> {
        // A delivery may be running; it need not be waited for.
        if (self.is_entrusted() || self.turn.try_lock().is_ok()) && !self.has_news(occasion)? {
            return Ok(Closed::Done);
        }
        let place = self.sessions.background.place(self.size()).await;
        let session = Arc::clone(self);
        let task = self.sessions.tasks.spawn("entrust", async move {
            let closed = session.entrust_in_turn(occasion, place).await;
            // Whoever had the file open goes; a descriptor for each that waits would be too many.
            session.rest();
            closed
        });
        task.await.unwrap_or_else(|panic| Err(Error::caused(Kind::Io, "the close broke off", panic)))
    }

    /// Whether a commit waits for its delivery, or is being delivered.
    pub fn is_entrusted(&self) -> bool {
        self.core.lock().entrusted.is_some()
    }

    /// What `status` tells of the commit that waits, if one does.
    pub(in crate::write) fn waiting(&self) -> Option<Waiting> {
        let core = self.core.lock();
        let Entrusted { sealed, since, trouble, .. } = core.entrusted.as_ref()?;
        Some(Waiting {
            bucket: sealed.target.gateway.bucket().to_string(),
            key: sealed.target.key.to_string(),
            bytes: sealed.snapshot.size,
            since: *since,
            trouble: trouble.as_ref().map(ToString::to_string),
        })
    }

    /// Brings to S3 what waits, once.
    ///
    /// # Errors
    /// As [`commit`](Self::commit). After a trouble that passes it goes on waiting.
    pub(in crate::write) async fn deliver_once(self: &Arc<Self>) -> Result<Option<CommitReceipt>> {
        let _turn = self.turn.lock().await;
        self.deliver_in_turn().await
    }

    pub(super) async fn deliver_in_turn(self: &Arc<Self>) -> Result<Option<CommitReceipt>> {
        let Some(sealed) = self.core.lock().begin_delivery() else { return Ok(None) };
        let outcome = self.send(sealed).await;
        if let Err(error) = &outcome
            && error.is_passing()
        {
            self.core.lock().delivery_failed(error);
            self.rest();
            return Err(error.clone());
        }
        self.core.lock().entrusted = None;
        self.move_down();
        match outcome {
            // The file is in S3, which is what was promised. What is still to be said of it is owed by the session.
            Ok((receipt, DescriptionIs::Behind)) => Ok(Some(self.describe().await.unwrap_or(receipt))),
            Ok((receipt, DescriptionIs::Right)) => Ok(Some(receipt)),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Whether bytes of the file are nowhere else than in parts of an unfinished upload.
    pub fn has_released(&self) -> bool {
        !self.core.lock().content.released().is_empty()
    }

    fn has_news(&self, occasion: Occasion) -> Result<bool> {
        let core = self.core.lock();
        match &core.entrusted {
            Some(entrusted) => Ok(core.content.is_changed_since(&entrusted.sealed.snapshot)),
            None => Ok(core.work(occasion)? != Work::Nothing),
        }
    }

    async fn entrust_in_turn(self: &Arc<Self>, occasion: Occasion, place: Place) -> Result<Closed> {
        let _turn = self.turn.lock().await;
        if !self.has_news(occasion)? {
            return Ok(Closed::Done);
        }
        self.deliver_in_turn().await?;
        let work = self.core.lock().work(occasion)?;
        match work {
            Work::Nothing => Ok(Closed::Done),
            Work::Describe => self.describe().await.map(|_| Closed::Done),
            // The disk cannot vouch for what is in an unfinished upload alone.
            Work::Write if self.has_released() => self.write_in_turn().await.map(|_| Closed::Done),
            Work::Write => match self.hand_over(place).await {
                Ok(()) => Ok(Closed::ToDeliver),
                Err(error) => {
                    self.move_down();
                    Err(self.fail(error))
                }
            },
        }
    }

    /// Freezes the file and has the disk keep it.
    async fn hand_over(self: &Arc<Self>, place: Place) -> Result<()> {
        // Where a lost race is to be survived, also by the next mount.
        self.base_at_hand().await;
        let sealed = {
            let mut core = self.core.lock();
            self.ensure_journal(&mut core)?;
            let snapshot = core.content.seal();
            core.ahead_at_close();
            core.sealed(snapshot, self.sessions.next_turn())
        };
        let since = clock::now();
        self.keep_on_disk(&sealed, clock::to_unix(since).0).await?;
        let mut core = self.core.lock();
        let has_head_start = core.early.is_some();
        let mut entrusted =
            Entrusted { sealed, since, has_head_start, is_sending: false, trouble: None, _place: place };
        // It may have been described while the disk was busy.
        if std::mem::take(&mut core.description_is_due) {
            entrusted.describe(core.target.object.clone());
        }
        core.entrusted = Some(entrusted);
        drop(core);
        self.sessions.background.add(self);
        Ok(())
    }

    fn rest(&self) {
        if let Some(file) = self.core.lock().content.staging_file() {
            file.rest();
        }
    }
}

impl Core {
    /// What is to be sent of the commit that waits, which from now on is as it is.
    fn begin_delivery(&mut self) -> Option<Sealed> {
        let entrusted = self.entrusted.as_mut()?;
        entrusted.is_sending = true;
        Some(entrusted.sealed.clone())
    }

    fn delivery_failed(&mut self, error: &Error) {
        if let Some(entrusted) = &mut self.entrusted {
            entrusted.is_sending = false;
            // What began before the close is given up with the attempt.
            entrusted.has_head_start = false;
            entrusted.sealed.description = DescriptionIs::Right;
            entrusted.sealed.target.object = self.target.object.clone();
            self.description_is_due = false;
            entrusted.trouble = Some(error.clone());
        }
    }

    /// The commit that waits goes to another name. The record has it on the disk when this returns.
    pub(super) fn entrusted_to(
        &mut self,
        gateway: Arc<Gateway>,
        key: &ObjectKey,
        condition: &Precondition,
        turn: u64,
    ) -> Result<()> {
        let Some(entrusted) = &mut self.entrusted else { return Ok(()) };
        entrusted.sealed.turn = turn;
        (entrusted.sealed.target.gateway, entrusted.sealed.target.key) = (gateway, key.clone());
        entrusted.sealed.condition = condition.clone();
        entrusted.has_head_start = false;
        entrusted.sealed.description = DescriptionIs::Right;
        let (bucket, seal) = (entrusted.sealed.target.gateway.bucket().to_string(), entrusted.sealed.seal());
        let replaced = self.recorded_replaced();
        match &mut self.journal {
            Some(journal) => journal.update_on_disk(|record| {
                (record.bucket, record.key, record.upload) = (bucket, key.to_string(), None);
                record.phase = Phase::Sealed(Box::new(seal));
                if let Some(trust) = &mut record.entrusted {
                    trust.replaced = replaced;
                }
            }),
            None => Err(Error::new(Kind::Io, "the record of the file is gone")),
        }
    }

    pub(super) fn recorded_replaced(&self) -> Option<String> {
        self.replaced.as_ref().map(|etag| etag.as_str().to_owned())
    }

    /// What waits for its upload is read from the disk: memory is for those who write.
    fn ahead_at_close(&mut self) {
        match (&mut self.ahead, &self.early) {
            (Some(ahead), Some(_)) => ahead.let_go(),
            (ahead, _) => *ahead = None,
        }
    }
}
