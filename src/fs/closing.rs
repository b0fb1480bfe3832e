//! The close that makes a file visible, and what else becomes of a written file in the end.
//!
//! `flush` commits, because FLUSH is what the kernel shows to close(2); errors of RELEASE are shown
//! to nobody. It may come several times (dup, fork), and before the first write: a shell that
//! redirects closes the descriptor it opened before the command has written anything. So a flush
//! of a file that nobody wrote to is free and final for nothing, and an empty new file is made by
//! the release. Only what was created with O_EXCL is claimed at its first flush: a lock file that
//! somebody else had first must fail where its maker looks.

use std::sync::Arc;

use super::attr::Attributes;
use super::handle::{HandleId, OpenFile};
use super::{Filesystem, target_key};
use crate::error::Result;
use crate::namespace::Place;
use crate::s3::{ObjectMeta, Precondition, UserMetadata};
use crate::write::{Base, Occasion, Session, Target};

impl Filesystem {
    /// Makes what was written visible in S3: close(2) waits for this and returns its error.
    ///
    /// # Errors
    /// [`Kind::Changed`] and [`Kind::Exists`] for a lost race, [`Kind::Denied`], [`Kind::Io`]; the
    /// bytes are set aside then, and the error says where.
    pub async fn flush(&self, handle: HandleId) -> Result<()> {
        let handle = self.handles.file(handle)?;
        if !handle.access.write {
            return Ok(());
        }
        self.commit_changes(&handle.file, Occasion::Flush).await
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
        let last_writer = {
            let mut state = handle.file.state();
            state.handles -= 1;
            state.writers -= u32::from(handle.access.write);
            handle.access.write && state.writers == 0
        };
        let outcome = match last_writer {
            // Pages of a mapping are written after the flush; and an empty file is made here.
            true => self.end_session(&handle.file).await,
            false => Ok(()),
        };
        if handle.file.state().handles == 0 {
            // Whoever opens the inode next shall find what is still being stored, and wait for it.
            handle.file.end_filling().await;
        }
        self.drop_if_unused(&handle.file);
        outcome
    }

    /// Brings to S3 what it does not have of a file; free when that is nothing.
    pub(super) async fn commit_changes(&self, file: &Arc<OpenFile>, occasion: Occasion) -> Result<()> {
        let (session, place, occasion) = {
            let state = file.state();
            let Some(session) = state.session.clone().filter(|_| state.place.is_some()) else {
                return Ok(());
            };
            session.suggest_metadata(noted(&session, &state.attributes));
            let occasion = if state.claims_name { occasion.max(Occasion::Sync) } else { occasion };
            (session, state.place.clone(), occasion)
        };
        let outcome = match occasion {
            Occasion::LastClose => session.commit_the_rest().await,
            occasion => session.commit(occasion).await,
        };
        match outcome {
            // Renamed meanwhile: whoever did that has adopted what is there.
            Ok(Some(_)) if file.state().place != place => {}
            Ok(Some(receipt)) => self.adopt_version(file, receipt.meta().clone()),
            Ok(None) => {}
            Err(error) => {
                if let Some(place) = file.state().place.clone() {
                    // S3 has the old version or the new one; whoever asks next shall be told which.
                    self.namespace().given_up(&place);
                    self.namespace().drop_answer(&place);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// S3 has another version of the file, and it is ours.
    pub(super) fn adopt_version(&self, file: &Arc<OpenFile>, meta: ObjectMeta) {
        let mut state = file.state();
        state.attributes.size = meta.size;
        if let Some(before) = state.committed.replace(meta.clone()) {
            state.replaced_here.push(before.etag);
        }
        let place = state.place.clone();
        drop(state);
        if let Some(place) = place {
            // The kernel has the pages of what was written through it.
            self.pages.lock().insert(file.ino, meta.etag.clone());
            self.namespace().committed(&place, meta);
        }
    }

    /// The last writer leaves: commits what is left and ends the session.
    ///
    /// The kernel tells us of it some time after close(2) has returned, so the same application may
    /// open, describe or rename the file meanwhile. What it does in the session before its end is
    /// committed; the end itself is one step with the file's losing the session.
    async fn end_session(&self, file: &Arc<OpenFile>) -> Result<()> {
        let _turn = file.turn().await;
        loop {
            let handed_over = self.hand_over_description(file).await;
            let outcome = self.commit_changes(file, Occasion::LastClose).await.and(handed_over);
            let mut state = file.state();
            let Some(session) = state.session.clone().filter(|_| state.writers == 0) else {
                // Somebody has opened it for writing, and goes on with the session.
                return outcome;
            };
            if state.place.is_none() && state.handles > 0 {
                // Removed: what was written lives in the session alone, for those who still have it open.
                return outcome;
            }
            if outcome.is_err() || state.place.is_none() || session.end() {
                state.session = None;
                return outcome;
            }
        }
    }

    /// The file was removed or replaced: what is open goes on without a name.
    pub(super) async fn disown(&self, file: &Arc<OpenFile>) {
        let session = {
            let mut state = file.state();
            state.place = None;
            state.session.clone()
        };
        if let Some(session) = session {
            session.abandon().await;
        }
    }

    /// The file is at another place now, and so is what will be written to it.
    ///
    /// Everything written so far has been committed, or S3 has never heard of the file.
    pub(super) async fn retarget(
        &self,
        file: &Arc<OpenFile>,
        place: &Place,
        moved: Option<ObjectMeta>,
        condition: &Precondition,
    ) -> Result<()> {
        let (session, is_written) = {
            let mut state = file.state();
            state.place = Some(place.clone());
            (state.session.clone(), state.writers > 0)
        };
        let Some(session) = session else { return Ok(()) };
        let gateway = Arc::clone(self.namespace().gateway(place.folder.bucket));
        let key = target_key(place)?;
        match moved {
            // rename(2) replaces what is there, if it can be seen.
            None => session.rename_target(gateway, key, condition.clone()).await,
            Some(meta) => {
                let target = Target { gateway, key, object: session.description() };
                // Its last writer may have left, and only the release be under way.
                let next = is_written.then(|| self.parts.sessions.begin(target, Base::Existing(meta)));
                file.state().session = next;
                session.close().await.map(drop)
            }
        }
    }
}

/// What a session's object says about itself, with these attributes.
pub(super) fn noted(session: &Session, attributes: &Attributes) -> UserMetadata {
    let mut user = session.description().user;
    attributes.note(&mut user);
    user
}
