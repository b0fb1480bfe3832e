//! The close that makes a file visible, and what else becomes of a written file in the end.
//!
//! `flush` commits, because FLUSH is what the kernel shows to close(2); errors of RELEASE are shown
//! to nobody. It may come several times (dup, fork), and before the first write: a shell that
//! redirects closes the descriptor it opened before the command has written anything. So a flush
//! of a file that nobody wrote to is free and final for nothing, and an empty new file is made by
//! the release. Only what was created with O_EXCL is claimed at its first flush: a lock file that
//! somebody else had first must fail where its maker looks. Where people have chosen so, a close leaves its commit
//! to the background, see `delivery.rs`.

use std::sync::Arc;

use super::attr::Attributes;
use super::handle::{HandleId, OpenFile};
use super::{Filesystem, target_key};
use crate::error::Result;
use crate::name::FileName;
use crate::namespace::{Ino, Place};
use crate::s3::{ObjectMeta, Precondition, UserMetadata};
use crate::write::{AtRest, CommitReceipt, Occasion, Session};

impl Filesystem {
    /// Makes what was written visible in S3: close(2) waits for this and returns its error.
    ///
    /// # Errors
    /// [`Changed`](crate::error::Kind::Changed) and [`Exists`](crate::error::Kind::Exists) for a lost race, and whatever
    /// S3 said; the bytes are set aside then, and the error says where.
    pub async fn flush(&self, handle: HandleId) -> Result<()> {
        let handle = self.handles.file(handle)?;
        if !handle.access.write {
            return Ok(());
        }
        self.close_changes(&handle.file, Occasion::Flush).await
    }

    /// As [`flush`](Self::flush), and makes an empty new file too.
    ///
    /// # Errors
    /// As `flush`.
    pub async fn sync(&self, handle: HandleId) -> Result<()> {
        let handle = self.handles.file(handle)?;
        self.commit_changes(&handle.file, Occasion::Sync).await?;
        let place = handle.file.state().place.clone();
        match place {
            Some(place) => self.namespace().tell_description(&place).await,
            None => Ok(()),
        }
    }

    /// The kernel is done with a handle. The last writer's leaving ends the session.
    ///
    /// # Errors
    /// Of a commit that had to be made here; nobody but the log hears of them.
    pub async fn release(&self, handle: HandleId) -> Result<()> {
        let Some(handle) = self.handles.remove_file(handle) else { return Ok(()) };
        let ends_session = {
            let mut state = handle.file.state();
            state.handles -= 1;
            state.writers -= u32::from(handle.access.write);
            // One of a removed file lives on for its readers.
            let is_last = handle.access.write || (state.handles == 0 && state.session.is_some());
            is_last && state.writers == 0
        };
        let outcome = match ends_session {
            // Pages of a mapping are written after the flush; and an empty file is made here.
            true => self.end_session(&handle.file).await,
            false => Ok(()),
        };
        // A reader is last of a file that was removed, whose writers have heard what it came to.
        let outcome = if handle.access.write { outcome } else { Ok(()) };
        if handle.file.state().handles == 0 {
            // Whoever opens the inode next shall find what is still being stored, and wait for it.
            handle.file.end_filling().await;
        }
        self.drop_if_unused(&handle.file);
        outcome
    }

    /// Brings to S3 what it does not have of a file; free when that is nothing.
    pub(super) async fn commit_changes(&self, file: &Arc<OpenFile>, occasion: Occasion) -> Result<()> {
        // Of one that was removed here there is nothing to commit; one that lost its name is told so by S3.
        let Some(session) = file.session() else { return Ok(()) };
        let occasion = self.about_to_commit(file, &session, occasion);
        let outcome = match occasion {
            Occasion::LastClose => session.commit_the_rest().await,
            occasion => session.commit(occasion).await,
        };
        self.unless_failed(file, &session, outcome.map(drop))
    }

    /// What a commit is to say of the file; and for what it is asked for then.
    fn about_to_commit(&self, file: &OpenFile, session: &Session, occasion: Occasion) -> Occasion {
        let state = file.state();
        session.suggest_metadata(noted(session, &state.attributes));
        if state.claims_name { occasion.max(Occasion::Sync) } else { occasion }
    }

    fn unless_failed(&self, file: &OpenFile, session: &Session, outcome: Result<()>) -> Result<()> {
        outcome.inspect_err(|_| {
            if !session.is_entrusted() {
                self.give_up(file);
            }
        })
    }

    /// Has every commit of a session become what is known of the file.
    pub(super) fn adopt_commits(&self, file: &Arc<OpenFile>, session: &Session) {
        let (filesystem, file) = (self.me.clone(), Arc::downgrade(file));
        session.notify_committed(Box::new(move |receipt| {
            if let (Some(filesystem), Some(file)) = (filesystem.upgrade(), file.upgrade()) {
                filesystem.adopt(&file, receipt);
            }
        }));
    }

    /// A commit has failed: S3 has the old version or the new one, and whoever asks next shall be told which.
    pub(super) fn give_up(&self, file: &OpenFile) {
        if let Some(place) = file.state().place.clone() {
            self.namespace().given_up(&place);
            self.namespace().drop_answer(&place);
        }
    }

    /// A commit has made a version, where it was to or beside that.
    fn adopt(&self, file: &Arc<OpenFile>, receipt: &CommitReceipt) {
        let place = file.state().place.clone();
        if let Some(place) = place.as_ref().filter(|_| receipt.is_by_copy()) {
            self.namespace().has_copied(&place.folder);
        }
        match place {
            Some(place) if receipt.is_beside() => self.adopt_beside(file, &place, receipt),
            _ => self.adopt_version(file, receipt.meta().clone()),
        }
    }

    /// Somebody else has the name; those who have our file open go on with it under its second one.
    fn adopt_beside(&self, file: &Arc<OpenFile>, place: &Place, receipt: &CommitReceipt) {
        self.namespace().given_up(place);
        self.namespace().drop_answer(place);
        let name = receipt.key().as_str().rsplit('/').next().unwrap_or_default();
        let Ok(name) = FileName::parse(name) else { return };
        let beside = Place { folder: place.folder.clone(), name };
        self.namespace().committed(&beside, receipt.meta().clone());
        {
            let mut state = file.state();
            (state.place, state.committed) = (Some(beside), Some(receipt.meta().clone()));
            self.renew_promise(&mut state);
        }
        // The kernel has our pages under the name that shows another file now.
        self.pages.lock().remove(&file.ino);
        self.tell_changed(file.ino);
    }

    /// S3 has another version of the file, and it is ours.
    pub(super) fn adopt_version(&self, file: &Arc<OpenFile>, meta: ObjectMeta) {
        let mut state = file.state();
        state.attributes.size = meta.size;
        if let Some(before) = state.committed.replace(meta.clone()) {
            state.replaced_here.push(before.etag);
        }
        self.renew_promise(&mut state);
        // Under the lock: whoever removes the file has it lose its place and its name in one step.
        if let Some(place) = &state.place {
            // The kernel has the pages of what was written through it.
            self.pages.lock().insert(file.ino, meta.etag.clone());
            self.namespace().committed(place, meta);
        }
    }

    /// The last writer leaves: commits what is left and ends the session.
    ///
    /// The kernel tells us of it some time after close(2) has returned, so the same application may
    /// open, describe or rename the file meanwhile. What it does in the session before its end is
    /// committed; the end itself is one step with the file's losing the session.
    async fn end_session(&self, file: &Arc<OpenFile>) -> Result<()> {
        let _turn = file.turn().await;
        self.end_in_turn(file).await
    }

    /// As [`end_session`](Self::end_session), for whoever has the file's turn. A session whose commit was left to the
    /// background stays.
    pub(super) async fn end_in_turn(&self, file: &Arc<OpenFile>) -> Result<()> {
        loop {
            let handed_over = self.hand_over_description(file).await;
            let outcome = self.close_changes(file, Occasion::LastClose).await.and(handed_over);
            let mut state = file.state();
            let Some(session) = state.session.clone().filter(|_| state.writers == 0) else {
                // Somebody has opened it for writing, and goes on with the session.
                return outcome;
            };
            if session.is_entrusted() {
                return outcome;
            }
            if state.place.is_none() && state.handles > 0 {
                // Removed: what was written lives in the session alone, for those who still have it open.
                return outcome;
            }
            if outcome.is_ok() && state.place.is_some() {
                self.written.keep(file.ino, &session);
            }
            if outcome.is_err() || state.place.is_none() || session.end() {
                state.leave_session(outcome.as_ref().err(), &self.parts.defaults);
                let (place, promise) = (state.place.clone(), state.promise.take());
                drop(state);
                match &outcome {
                    Err(_) if self.keep_description(place.as_ref(), &session, &outcome) => {}
                    Err(_) if place.is_some() => self.namespace().promise_returned(promise),
                    _ => self.namespace().promise_kept(promise),
                }
                if outcome.is_err() {
                    // What the kernel has was to become a version, and did not.
                    self.tell_changed(file.ino);
                }
                return outcome;
            }
        }
    }

    /// What S3 would not hear of a file whose bytes it has is kept for later: nobody is left who could say it again.
    /// Returns whether there was any.
    fn keep_description(&self, place: Option<&Place>, session: &Session, outcome: &Result<()>) -> bool {
        let (Some(place), Err(error)) = (place, outcome) else { return false };
        let Some((version, new)) = session.hand_over_description() else { return false };
        self.namespace().keep_refused_description(place, &version, &new, error)
    }

    /// The file was removed or replaced: what is open goes on without a name. `rest` is that of its session, if it had one
    /// before that.
    pub(super) async fn disown(&self, file: &Arc<OpenFile>, rest: Option<AtRest<'_>>) {
        let session = {
            let mut state = file.state();
            state.place = None;
            state.session.clone()
        };
        match (session, rest) {
            (Some(session), Some(rest)) if Arc::ptr_eq(&session, rest.session()) => rest.abandon().await,
            (Some(session), _) => session.abandon().await,
            (None, _) => {}
        }
    }

    /// Something else is made under a name, so what somebody here has open under it has been deleted by others.
    pub(super) fn leave_name(&self, parent: Ino, name: &FileName) {
        let left = self.namespace().leave_name(parent, name).and_then(|ino| self.open_file(ino));
        if let Some(file) = left {
            lose_name(&file);
        }
    }

    /// What is written but not in S3 yet goes there before the file moves, under the old name: the copy then has all of it,
    /// and a failure on the way leaves a whole file somewhere. An object that was emptied as it was opened is empty from
    /// here on, for it would be its old content that moves; a file that S3 has never heard of moves by itself.
    pub(super) async fn commit_before_move(&self, file: &OpenFile, rest: Option<&AtRest<'_>>) -> Result<()> {
        let Some(rest) = rest else { return Ok(()) };
        let replaces = rest.session().version().is_none() && file.state().committed.is_some();
        let occasion = if replaces { Occasion::Sync } else { Occasion::Flush };
        let occasion = self.about_to_commit(file, rest.session(), occasion);
        let outcome = rest.commit_and_stay(occasion).await;
        self.unless_failed(file, rest.session(), outcome)
    }

    /// The file is at another place now, and so is what will be written to it. `moved` is the version there; none of a
    /// file that S3 has never heard of.
    ///
    /// To be called by whoever has the file's turn, and its session, if it has one, `rest`.
    pub(super) async fn retarget(
        &self,
        file: &OpenFile,
        rest: Option<&AtRest<'_>>,
        place: &Place,
        moved: Option<ObjectMeta>,
        condition: &Precondition,
    ) -> Result<()> {
        let gateway = Arc::clone(self.namespace().gateway(place.folder.bucket));
        let key = target_key(place)?;
        match (rest, moved) {
            (None, _) => {}
            (Some(rest), Some(meta)) => rest.follow(gateway, key, meta)?,
            // rename(2) replaces what is there, if it can be seen.
            (Some(rest), None) => {
                let replaced = self.namespace().known_version(place);
                rest.rename_target(gateway, key, condition.clone(), replaced).await?;
            }
        }
        let mut state = file.state();
        state.place = Some(place.clone());
        self.renew_promise(&mut state);
        Ok(())
    }
}

/// The session of a file that is open, at rest; `None` without one.
pub(super) async fn at_rest(session: &Option<Arc<Session>>) -> Option<AtRest<'_>> {
    match session {
        Some(session) => Some(session.at_rest().await),
        None => None,
    }
}

/// An open file goes on without its name, which is another's. Unlike one that was removed here, its writers are told so
/// when they commit, and their bytes are set aside.
pub(super) fn lose_name(file: &OpenFile) {
    let session = {
        let mut state = file.state();
        state.place = None;
        state.session.clone()
    };
    if let Some(session) = session {
        session.lose_name();
    }
}

/// What a session's object says about itself, with these attributes.
pub(super) fn noted(session: &Session, attributes: &Attributes) -> UserMetadata {
    let mut user = session.description().user;
    attributes.note(&mut user);
    user
}
