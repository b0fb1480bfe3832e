//! A session of which nothing is on its way to S3: what removes, replaces or moves its file has to be alone with it.
//!
//! A commit that met the removal of its own object would take it for somebody else's, or make the object again; one
//! that met a rename would make it at the old place.

use std::sync::Arc;

use tokio::sync::MutexGuard;

use super::{Core, Life, Occasion, Session, recorded};
use crate::error::{Error, Kind, Result};
use crate::name::ObjectKey;
use crate::s3::Gateway;
use crate::s3::object::{ETag, NewObject, ObjectMeta, Precondition};
use crate::write::commit::CommitReceipt;
use crate::write::journal::Record;

/// A session whose commits wait until this is dropped.
#[derive(Debug)]
pub struct AtRest<'a> {
    session: &'a Arc<Session>,
    _turn: MutexGuard<'a, ()>,
}

impl Session {
    /// Waits for a commit that is running, and lets no other one begin.
    pub async fn at_rest(self: &Arc<Self>) -> AtRest<'_> {
        AtRest { session: self, _turn: self.turn.lock().await }
    }

    /// As [`AtRest::abandon`], after waiting for a commit that is running.
    pub async fn abandon(self: &Arc<Self>) {
        self.at_rest().await.abandon().await;
    }
}

impl AtRest<'_> {
    /// The session.
    pub fn session(&self) -> &Arc<Session> {
        self.session
    }

    /// As one attempt of [`Session::deliver`].
    ///
    /// # Errors
    /// As [`Session::commit`]. After a trouble that passes it goes on [waiting](Session::is_entrusted).
    pub async fn deliver(&self) -> Result<Option<CommitReceipt>> {
        Box::pin(self.session.deliver_in_turn()).await
    }

    /// As [`Session::hand_over_description`].
    pub fn hand_over_description(&self) -> Option<(ObjectMeta, NewObject)> {
        self.session.core.lock().hand_over_description()
    }

    /// Lets the bytes serve those who have the file open, and nobody else: it was unlinked.
    pub async fn abandon(self) {
        let early = {
            let mut core = self.session.core.lock();
            // What was set aside is somebody else's by now, and takes no more bytes.
            if !matches!(core.life, Life::Failed(_)) {
                core.life = Life::Abandoned;
            }
            core.entrusted = None;
            core.drop_head_start();
            if let Some(journal) = core.journal.take() {
                journal.end();
            }
            core.early.take()
        };
        self.session.give_up_early(early).await;
    }

    /// Gives the file another name before S3 has seen it, for which it costs nothing.
    ///
    /// `condition` is what must be true at the new name, and `replaced` the version that was seen there. Parts that left
    /// ahead for the old name are sent again.
    ///
    /// # Errors
    /// [`Kind::NotSupported`] when S3 has a version of it: commit, copy, and [follow](Self::follow).
    pub async fn rename_target(
        &self,
        gateway: Arc<Gateway>,
        key: ObjectKey,
        condition: Precondition,
        replaced: Option<ETag>,
    ) -> Result<()> {
        let early = {
            let mut core = self.session.core.lock();
            core.check()?;
            if core.content.base().is_some() || !core.content.released().is_empty() {
                return Err(Error::new(
                    Kind::NotSupported,
                    format!("{} is an object already", core.target.key),
                ));
            }
            core.replaced = replaced;
            if core.entrusted.is_some() {
                core.entrusted_to(Arc::clone(&gateway), &key, &condition, self.session.sessions.next_turn())?;
            } else {
                core.note_target(&gateway, &key, |_| {})?;
            }
            (core.target.gateway, core.target.key, core.condition) = (gateway, key, condition);
            core.drop_head_start();
            core.early.take()
        };
        self.session.give_up_early(early).await;
        if self.session.is_entrusted() {
            self.session.sessions.background.sync_names().await?;
        }
        Ok(())
    }

    /// Commits as [`Session::commit`] does, and keeps what is written from here on where it is, until this is
    /// dropped: no part leaves for the old place.
    ///
    /// # Errors
    /// As there.
    pub async fn commit_and_stay(&self, occasion: Occasion) -> Result<()> {
        self.session.core.lock().stays = true;
        loop {
            // On the heap: whoever moves a file has enough of its own on the stack.
            Box::pin(self.session.commit_in_turn(occasion)).await?;
            let mut core = self.session.core.lock();
            // Somebody may have written a whole part in between.
            if core.early.is_none() {
                core.ahead = None;
                return Ok(());
            }
        }
    }

    /// Goes on at another place, which `version` was copied to: that is all there was when the file began to
    /// [stay](Self::commit_and_stay). What was written since then is committed there.
    ///
    /// # Errors
    /// Those of the local disk.
    pub fn follow(&self, gateway: Arc<Gateway>, key: ObjectKey, version: ObjectMeta) -> Result<()> {
        let mut core = self.session.core.lock();
        core.note_target(&gateway, &key, |record| record.base = Some(recorded(&version)))?;
        (core.target.gateway, core.target.key) = (gateway, key);
        core.condition = Precondition::MustMatch(version.etag.clone());
        core.on_conflict = self.session.sessions.options.on_conflict;
        core.content.committed(version);
        Ok(())
    }
}

impl Drop for AtRest<'_> {
    fn drop(&mut self) {
        let mut core = self.session.core.lock();
        // What waits for its delivery has its head start behind it, and a commit that did not begin still has its own.
        let has_none = core.ahead.is_none() && !core.content.has_overlay();
        if std::mem::take(&mut core.stays) && has_none && matches!(core.life, Life::Live) {
            core.begin_ahead(self.session.sessions.options.part_sizes);
        }
    }
}

impl Core {
    /// Writes down where the file goes, if anything of it is written down.
    fn note_target(
        &mut self,
        gateway: &Gateway,
        key: &ObjectKey,
        more: impl FnOnce(&mut Record),
    ) -> Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        journal.update(|record| {
            (record.bucket, record.key) = (gateway.bucket().to_string(), key.to_string());
            record.upload = None;
            more(record);
        })
    }
}
