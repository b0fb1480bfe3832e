//! The session's side of a commit: what it hands over, and what it makes of the outcome.

use std::sync::Arc;

use super::{Core, Occasion, Session, Work, recorded};
use crate::error::{Error, Kind, Result};
use crate::s3::object::{ByteRange, Precondition};
use crate::write::ahead::Ahead;
use crate::write::commit::{self, BegunUpload, Commit, CommitReceipt, NoteUpload};
use crate::write::content::{Content, Snapshot};
use crate::write::held::Held;
use crate::write::journal::{Phase, Seal};
use crate::write::{OnConflict, Target};

impl Session {
    /// Commits, for whoever has the turn.
    pub(super) async fn commit_in_turn(
        self: &Arc<Self>,
        occasion: Occasion,
    ) -> Result<Option<CommitReceipt>> {
        let delivered = self.deliver_in_turn().await?;
        let work = self.core.lock().work(occasion)?;
        match work {
            Work::Nothing => Ok(delivered),
            Work::Describe => self.describe().await.map(Some),
            Work::Write => self.write_in_turn().await.map(Some),
        }
    }

    /// Commits the bytes, for whoever has the turn.
    pub(super) async fn write_in_turn(self: &Arc<Self>) -> Result<CommitReceipt> {
        let outcome = self.write_object().await;
        self.move_down();
        match outcome {
            Ok((_, DescriptionIs::Behind)) => self.describe().await,
            Ok((receipt, DescriptionIs::Right)) => Ok(receipt),
            Err(error) => Err(self.fail(error)),
        }
    }

    async fn write_object(self: &Arc<Self>) -> Result<(CommitReceipt, DescriptionIs)> {
        // What is being fetched so that the file stands on its own would be fetched again.
        self.base_at_hand().await;
        let sealed = loop {
            match self.seal()? {
                Some(sealed) => break sealed,
                None => self.complete_what_left().await?,
            }
        };
        self.send(sealed).await
    }

    /// Makes the object of what is sealed. The freeze of the content goes on.
    pub(super) async fn send(self: &Arc<Self>, sealed: Sealed) -> Result<(CommitReceipt, DescriptionIs)> {
        self.last_part_leaves(sealed.snapshot.size);
        self.parts_at_rest().await;
        let (begun, held) = self.take_head_start();
        let description = sealed.description;
        let receipt = match self.commit_of(sealed.clone(), held).run(begun).await {
            Ok(receipt) => receipt,
            Err(error) => self.after_lost_race(sealed, error).await?,
        };
        if description == DescriptionIs::Behind {
            // Until it is told, whoever hears of the version is to know that it is not.
            self.core.lock().description_is_due = true;
        }
        self.conclude(&receipt);
        self.sessions.disk.lends(self);
        Ok((receipt, description))
    }

    pub(super) fn commit_of(self: &Arc<Self>, sealed: Sealed, held: Option<(ByteRange, Held)>) -> Commit {
        let Sealed { target, snapshot, condition, commit_id, .. } = sealed;
        let held = held.map(|(range, held)| {
            let (bytes, paid) = held.into_bytes();
            (range, bytes, paid)
        });
        let (sessions, note_upload) = (Arc::clone(&self.sessions), self.note_upload());
        Commit { sessions, target, snapshot, condition, commit_id, base_key: None, held, note_upload }
    }

    /// Freezes the file for the commit, and writes down all that is needed to finish it. `None` where what was
    /// released has to be had back first.
    fn seal(&self) -> Result<Option<Sealed>> {
        let mut core = self.core.lock();
        if core.is_overtaken() {
            return Ok(None);
        }
        self.ensure_journal(&mut core)?;
        let snapshot = core.content.snapshot();
        let sealed = core.sealed(snapshot, self.sessions.next_turn());
        let released = core.recorded_release();
        if let Some(journal) = &mut core.journal {
            journal.update(|record| {
                record.released = released;
                record.phase = Phase::Sealed(Box::new(sealed.seal()));
            })?;
        }
        core.content.seal();
        Ok(Some(sealed))
    }

    fn take_head_start(&self) -> (Option<BegunUpload>, Option<(ByteRange, Held)>) {
        let mut core = self.core.lock();
        let early = core.early.take();
        let Some(start) = core.ahead.take().map(Ahead::into_head_start) else { return (None, None) };
        let begun = early.and_then(|early| {
            let (upload, object) = (early.upload()?, early.object.clone());
            Some(BegunUpload { upload, object, parts: start.parts })
        });
        (begun, start.held)
    }

    pub(super) fn note_upload(self: &Arc<Self>) -> NoteUpload {
        let session = Arc::downgrade(self);
        Arc::new(move |id| match session.upgrade() {
            Some(session) => session.note(id),
            None => Err(Error::new(Kind::Io, "the session is gone")),
        })
    }

    pub(super) fn note(&self, upload_id: &str) -> Result<()> {
        match &mut self.core.lock().journal {
            Some(journal) => journal.update(|record| record.upload = Some(upload_id.to_owned())),
            None => Err(Error::new(Kind::Io, "an upload of something that was never staged")),
        }
    }

    /// Takes the committed version as the new base, and tells whoever is to hear of it. What was written meanwhile stays
    /// journalled.
    pub(super) fn conclude(&self, receipt: &CommitReceipt) {
        self.build_on(receipt);
        self.tell(receipt);
    }

    fn build_on(&self, receipt: &CommitReceipt) {
        let mut core = self.core.lock();
        let version = receipt.meta().clone();
        core.entrusted = None;
        core.condition = Precondition::MustMatch(version.etag.clone());
        core.content.committed(version.clone());
        let Some(mut journal) = core.journal.take() else { return };
        if !core.content.is_dirty() {
            journal.end();
            return;
        }
        let noted = journal.update(|record| {
            record.base = Some(recorded(&version));
            (record.upload, record.released, record.entrusted) = (None, None, None);
            record.phase = Phase::Open;
        });
        if let Err(error) = noted {
            tracing::warn!(%error, "the journal still says what S3 has by now");
        }
        core.journal = Some(journal);
    }

    /// Moves what was written during the commit to its place among the other staged bytes.
    ///
    /// Locks anew for each piece: writers come in between. A failure (a full disk) fails the
    /// session; what could not be moved stays in the staging directory, and recovery keeps it.
    pub(super) fn move_down(&self) {
        let step = |is_sealed: bool| {
            let core = &mut *self.core.lock();
            let step = |content: &mut Content| match is_sealed {
                true => content.unseal().map(|()| true).map_err(Error::from),
                false => content.drain().map_err(Error::from),
            };
            match step(&mut core.content) {
                Err(error) if self.make_room(core, &error) => step(&mut core.content),
                moved => moved,
            }
        };
        let mut moved = step(true);
        while let Ok(true) = moved {
            moved = step(false);
        }
        match moved {
            Ok(_) => self.core.lock().begin_ahead(self.sessions.options.part_sizes),
            Err(error) => {
                self.fail(error.context("staging what was written during a commit"));
            }
        }
    }

    pub(super) async fn describe(&self) -> Result<CommitReceipt> {
        let (target, version) = {
            let mut core = self.core.lock();
            core.description_is_due = false;
            (core.target.clone(), core.content.base().cloned())
        };
        let version = version.ok_or_else(|| Error::new(Kind::Io, "there is no object to describe"))?;
        let described = commit::describe(&target, &version).await;
        match &described {
            Ok(receipt) => {
                let version = receipt.meta().clone();
                let mut core = self.core.lock();
                core.condition = Precondition::MustMatch(version.etag.clone());
                core.content.committed(version);
                drop(core);
                self.tell(receipt);
            }
            // The bytes are safe. Who asks again may have more luck.
            Err(_) => self.core.lock().description_is_due = true,
        }
        described
    }
}

/// What a commit takes with it.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    pub(super) target: Target,
    pub(super) snapshot: Snapshot,
    pub(super) condition: Precondition,
    pub(super) commit_id: String,
    pub(super) on_conflict: OnConflict,
    pub(super) description: DescriptionIs,
    /// See [`Seal::turn`].
    pub(super) turn: u64,
}

/// How what the object says about itself will stand to what it shall say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DescriptionIs {
    Right,
    Behind,
}

impl Sealed {
    /// As it is written down.
    pub(super) fn seal(&self) -> Seal {
        let seal =
            seal_of(&self.target, &self.condition, &self.snapshot, self.commit_id.clone(), self.on_conflict);
        Seal { turn: self.turn, ..seal }
    }
}

impl Core {
    /// What a commit of this content takes with it.
    pub(super) fn sealed(&mut self, snapshot: Snapshot, turn: u64) -> Sealed {
        let commit_id = self.early.as_ref().map_or_else(commit::fresh_id, |early| early.commit_id.clone());
        // A request that is still to come has the description of this moment; an upload that
        // began earlier has that of its beginning.
        let is_due = std::mem::take(&mut self.description_is_due);
        let description =
            if is_due && self.early.is_some() { DescriptionIs::Behind } else { DescriptionIs::Right };
        let (target, condition) = (self.target.clone(), self.condition.clone());
        let on_conflict = self.on_conflict;
        Sealed { target, snapshot, condition, commit_id, on_conflict, description, turn }
    }
}

pub(super) fn seal_of(
    target: &Target,
    condition: &Precondition,
    snapshot: &Snapshot,
    commit_id: String,
    on_conflict: OnConflict,
) -> Seal {
    Seal {
        commit_id,
        condition: condition.into(),
        size: snapshot.size,
        staged: snapshot.staged.claim().clone(),
        dirty: snapshot.dirty.clone(),
        user: target.object.user.clone(),
        content_type: target.object.content_type.clone(),
        storage_class: target.object.storage_class.clone(),
        on_conflict,
        turn: 0,
    }
}
