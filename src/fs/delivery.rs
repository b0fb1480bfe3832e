//! Files that are closed before S3 has them.
//!
//! With [`CommitMode::Background`] a close leaves its commit to [`background`](crate::write::background). The file
//! stays among the open ones until S3 has it, although nobody has a handle on it: so whoever looks at it, opens, renames
//! or removes it finds its session, as with any file that is being written. Its inode is held for that long too, as
//! the kernel may have forgotten it.

use std::sync::Arc;

use super::closing::noted;
use super::handle::OpenFile;
use super::{Filesystem, target_key};
use crate::error::{Error, Result};
use crate::namespace::Place;
use crate::s3::Precondition;
use crate::write::{AtRest, Closed, CommitMode, CommitReceipt, Occasion, Session};

impl Filesystem {
    /// What a close does: commits, or sees to it that the commit follows.
    pub(super) async fn close_changes(&self, file: &Arc<OpenFile>, occasion: Occasion) -> Result<()> {
        let Some(session) = self.left_to_background(file) else {
            return self.commit_changes(file, occasion).await;
        };
        match session.entrust(occasion).await {
            Ok(Closed::ToDeliver) => self.deliver_later(file, session),
            Ok(Closed::Done) => {}
            Err(error) => {
                if !session.is_entrusted() {
                    self.give_up(file);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// The session of a file whose close does not wait for S3.
    fn left_to_background(&self, file: &OpenFile) -> Option<Arc<Session>> {
        let state = file.state();
        let session = state.session.clone().filter(|_| state.place.is_some())?;
        // An empty file that must not have existed is there for its name, and for whoever is second to hear of it.
        let is_for_its_name = state.claims_name && session.size() == 0;
        if self.parts.sessions.options().commit != CommitMode::Background || is_for_its_name {
            return None;
        }
        session.suggest_metadata(noted(&session, &state.attributes));
        Some(session)
    }

    fn deliver_later(&self, file: &Arc<OpenFile>, session: Arc<Session>) {
        let Some(filesystem) = self.me.upgrade() else { return };
        self.namespace().hold(file.ino);
        let file = Arc::clone(file);
        // Detached: it ends with the session, and who ends the mount waits for the sessions.
        drop(self.parts.tasks.spawn("background commit", async move {
            let outcome = session.deliver().await;
            filesystem.delivered(&file, &session, outcome).await;
        }));
    }

    /// S3 has what was left to the background, or will not get it from this mount.
    async fn delivered(
        &self,
        file: &Arc<OpenFile>,
        session: &Arc<Session>,
        outcome: Result<Option<CommitReceipt>>,
    ) {
        let turn = file.turn().await;
        match outcome {
            Ok(_) => {}
            Err(error) if session.is_entrusted() => {
                tracing::warn!(%error, "a closed file is left to the next mount");
            }
            Err(error) => self.failed_later(file, error),
        }
        let is_current = file.session().is_some_and(|current| Arc::ptr_eq(&current, session));
        if is_current
            && file.state().writers == 0
            && let Err(error) = self.end_in_turn(file).await
        {
            tracing::warn!(%error, "what was left of a closed file");
        }
        drop(turn);
        self.drop_if_unused(file);
        self.forget(file.ino, 1);
    }

    /// Brings to S3 what waits of a file whose name another one is about to take.
    ///
    /// Whoever closed it was promised that it is there until it is replaced, which is when S3 or the disk has the other
    /// one: that may be written for a long time yet. And of two commits under one name the later one must not come first.
    ///
    /// # Errors
    /// A trouble that passes, unless the disk vouches for the other file. One that does not pass is told to whoever opens
    /// the name next, as if it had come a moment ago.
    pub(super) async fn deliver_replaced(
        &self,
        file: &Arc<OpenFile>,
        rest: &AtRest<'_>,
        other: Option<&Arc<OpenFile>>,
    ) -> Result<()> {
        match rest.deliver().await {
            Ok(_) => {}
            Err(error) if rest.session().is_entrusted() => {
                other.filter(|other| waits_alone(other)).ok_or(error)?;
            }
            Err(error) => self.failed_later(file, error),
        }
        Ok(())
    }

    /// Renames a file that was closed and that S3 has never had, for which nothing is asked of S3. Returns whether it is
    /// one.
    pub(super) async fn rename_waiting(
        &self,
        file: &Arc<OpenFile>,
        rest: Option<&AtRest<'_>>,
        (source, target): (&Place, &Place),
        condition: &Precondition,
    ) -> Result<bool> {
        if !waits_alone(file) {
            return Ok(false);
        }
        self.retarget(file, rest, target, None, condition).await?;
        self.namespace().pending_renamed(source, target);
        Ok(true)
    }

    fn failed_later(&self, file: &Arc<OpenFile>, error: Error) {
        tracing::error!(%error, "a file that was closed without an error could not be brought to S3");
        let place = file.state().place.clone();
        if let Some(place) = place
            && let Ok(key) = target_key(&place)
        {
            let bucket = self.namespace().gateway(place.folder.bucket).bucket();
            self.parts.sessions.failed_later(bucket.as_str(), key.as_str(), error);
        }
        self.give_up(file);
    }

    /// Tells whoever opens a file that an earlier close of it promised too much.
    pub(super) fn late_failure(&self, place: &Place) -> Result<()> {
        let bucket = self.namespace().gateway(place.folder.bucket).bucket();
        if let Some(error) =
            self.parts.sessions.take_late_failure(bucket.as_str(), target_key(place)?.as_str())
        {
            return Err(error);
        }
        match self.namespace().take_refusal(place) {
            Some(error) => Err(error.context(format!("what was set of {} before is refused", place.name))),
            None => Ok(()),
        }
    }
}

/// Whether a file was closed, and S3 has never had it. (One that is to replace an object would leave that behind, under
/// the old name.)
fn waits_alone(file: &OpenFile) -> bool {
    let state = file.state();
    let is_new = |session: &Arc<Session>| session.is_entrusted() && session.version().is_none();
    state.committed.is_none() && state.session.as_ref().is_some_and(is_new)
}
