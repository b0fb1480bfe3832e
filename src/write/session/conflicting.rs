//! The session's side of a lost race; see [`conflict`](crate::write::conflict).

use std::sync::Arc;

use super::committing::Sealed;
use super::{Core, Session};
use crate::clock;
use crate::error::{Error, Kind, Result};
use crate::s3::S3ErrorKind;
use crate::s3::object::{ByteRange, Precondition};
use crate::write::commit::{self, CommitReceipt};
use crate::write::conflict::{KeptBoth, is_lost_race, is_torn, second_keys};
use crate::write::fetch::fetch;
use crate::write::journal::Phase;
use crate::write::{OnConflict, Target};

impl Session {
    /// Does with a commit that lost a race what was chosen for it.
    pub(super) async fn after_lost_race(
        self: &Arc<Self>,
        lost: Sealed,
        error: Error,
    ) -> Result<CommitReceipt> {
        let choice = self.core.lock().on_conflict;
        if choice == OnConflict::Fail || !is_lost_race(&lost.condition, &error) {
            return Err(error);
        }
        let Some(snapshot) = lost.snapshot.on_its_own() else {
            return Err(is_torn(error));
        };
        let own = Sealed { snapshot, commit_id: commit::fresh_id(), ..lost };
        match choice {
            OnConflict::Overwrite => {
                let again = Sealed { condition: Precondition::Whatever, ..own };
                tracing::warn!(key = %again.target.key, %error, "a lost race is overwritten");
                self.try_again(&again).await
            }
            _ => self.keep_beside(own, error).await,
        }
    }

    async fn keep_beside(self: &Arc<Self>, own: Sealed, error: Error) -> Result<CommitReceipt> {
        let now = clock::now();
        for key in second_keys(&own.target.key, &self.sessions.options.host, now) {
            let target = Target { key, ..own.target.clone() };
            let beside = Sealed { target, condition: Precondition::MustNotExist, ..own.clone() };
            match self.try_again(&beside).await {
                Err(taken) if taken.kind() == Kind::Exists => {}
                Err(other) => return Err(other),
                Ok(receipt) => {
                    let bucket = own.target.gateway.bucket().to_string();
                    let (key, ours) = (own.target.key.to_string(), receipt.key().to_string());
                    tracing::warn!(
                        bucket,
                        key,
                        ours,
                        "somebody else was first; what was written here has a name of its own"
                    );
                    self.sessions.remember(KeptBoth { bucket, key, ours, when: now });
                    self.core.lock().target.key = receipt.key().clone();
                    return Ok(receipt.beside());
                }
            }
        }
        Err(error.context("and there is no room for a second name"))
    }

    /// Writes down where the commit goes now, and runs it.
    async fn try_again(self: &Arc<Self>, sealed: &Sealed) -> Result<CommitReceipt> {
        if let Some(journal) = &mut self.core.lock().journal {
            journal.update(|record| {
                record.key = sealed.target.key.to_string();
                (record.base, record.upload) = (None, None);
                record.phase = Phase::Sealed(Box::new(sealed.seal()));
            })?;
        }
        self.commit_of(sealed.clone(), None).run(None).await
    }

    /// Waits until what a small file needs of the version it builds on is here, if it is being fetched.
    pub(in crate::write) async fn base_at_hand(&self) {
        drop(self.fetching.lock().await);
    }

    /// Sees to it that a small file does not depend on the version it builds on, where a lost race is to be survived.
    pub(super) fn keep_independent(self: &Arc<Self>, core: &Core) {
        let is_of_interest = core.on_conflict != OnConflict::Fail && !core.content.has_overlay();
        let Some(base) = core.content.base().filter(|_| is_of_interest) else { return };
        if base.size > self.sessions.options.part_sizes.whole || !core.content.shows_base() {
            return;
        }
        // One at a time; the commit waits for it.
        let Ok(turn) = Arc::clone(&self.fetching).try_lock_owned() else { return };
        let (session, target, base) = (Arc::clone(self), core.target.clone(), base.clone());
        drop(self.sessions.tasks.spawn("fetch base", async move {
            let _turn = turn;
            let whole = ByteRange { start: 0, end: base.size };
            let outcome = match fetch(&target.gateway, &target.key, whole, &base.etag).await {
                Ok(pieces) => {
                    session.core.lock().content.take_over(&base.etag, &pieces.concat()).map_err(Error::from)
                }
                Err(error) if error.kind() == S3ErrorKind::ConditionFailed => Ok(()),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = outcome {
                tracing::debug!(%error, "the version that is built on could not be fetched ahead");
            }
        }));
    }
}
