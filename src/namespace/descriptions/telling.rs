//! How S3 is told what waits: a copy of the object onto itself, or a new marker.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::cache::{Answer, Presence};
use super::super::{Folder, Namespace, Place, Species, described};
use super::refused::is_worth_keeping;
use super::{Subject, Waiting, said};
use crate::error::{Error, Kind, Result};
use crate::s3::{NewObject, ObjectMeta, Precondition, S3ErrorKind};

impl Namespace {
    /// Tells S3 all that waits in the directories that are meant.
    pub(super) async fn bring_all(self: &Arc<Self>, is_meant: impl Fn(&Folder) -> bool) -> Result<()> {
        let meant: Vec<(Subject, bool)> = {
            let state = self.descriptions.state.lock();
            let is_meant = |at: &&Subject| {
                let own = || at.place.folder.folder(&at.place.name).is_ok_and(|own| is_meant(&own));
                is_meant(&at.place.folder) || (at.species == Species::Directory && own())
            };
            let refused =
                |at: &Subject| state.waiting.get(at).is_some_and(|waiting| waiting.refusal.is_some());
            state.waiting.keys().filter(is_meant).map(|at| (at.clone(), refused(at))).collect()
        };
        let (mut telling, mut outcome) = (JoinSet::new(), Ok(()));
        for (subject, was_refused) in meant {
            if telling.len() >= TOLD_AT_ONCE {
                outcome = outcome.and(joined(telling.join_next().await));
            }
            let namespace = Arc::clone(self);
            telling.spawn(async move {
                let told = namespace.bring(&subject).await;
                // What was refused before and is again is no news, and holds up nobody.
                if was_refused { Ok(()) } else { told }
            });
        }
        while let Some(told) = telling.join_next().await {
            outcome = outcome.and(joined(Some(told)));
        }
        outcome
    }

    /// Tells S3 what waits to be said of one name, if anything does.
    pub(super) async fn bring(self: &Arc<Self>, subject: &Subject) -> Result<()> {
        let Some(turn) =
            self.descriptions.state.lock().waiting.get(subject).map(|waiting| Arc::clone(&waiting.turn))
        else {
            return Ok(());
        };
        let _turn = turn.lock().await;
        let waiting = self.descriptions.state.lock().waiting.get(subject).cloned();
        let Some(waiting) = waiting.filter(|waiting| Arc::ptr_eq(&waiting.turn, &turn)) else {
            return Ok(());
        };
        let told = self.tell(subject, Some(&waiting.meta), &said(&waiting.meta)).await;
        self.has_told(subject, waiting, &told);
        told.map(drop)
    }

    /// Draws the conclusions from what telling S3 came to.
    fn has_told(self: &Arc<Self>, subject: &Subject, waited: Waiting, told: &Result<ObjectMeta>) {
        {
            let mut state = self.descriptions.state.lock();
            let is_changed = |now: &Waiting| now.revision != waited.revision;
            match (state.waiting.get_mut(subject), told) {
                // Changed again meanwhile, and that is yet to be told.
                (Some(now), Ok(meta)) if is_changed(now) => {
                    now.meta.etag = meta.etag.clone();
                    return;
                }
                (Some(_), Err(error)) if error.kind() != Kind::Io && is_worth_keeping(error) => {}
                _ => drop(state.waiting.remove(subject)),
            }
        }
        let Err(error) = told else { return self.forget_record(subject) };
        let (folder, name) = (&subject.place.folder, &subject.place.name);
        let (bucket, key) = (self.gateway(folder.bucket).bucket(), format!("{}{name}", folder.prefix));
        if error.kind() == Kind::Io {
            // S3 did not answer for minutes. The next mount tries, too, should this one come to an end.
            tracing::warn!(%bucket, key, %error, "mode, owner or times could not be set yet; it is tried again");
            self.wait_for_its_turn(subject, waited.meta, waited.refusal);
            return self.bring_after(subject.clone(), self.descriptions.after);
        }
        self.drop_answer(&subject.place);
        self.descriptions.state.lock().written.remove(folder);
        if is_worth_keeping(error) {
            tracing::error!(%bucket, key, %error, "mode, owner or times that were set before are refused; they are kept, and tried again");
            return self.keep_refused(subject, error);
        }
        tracing::warn!(%bucket, key, %error, "mode, owner or times that were set a moment ago are not kept");
        self.forget_record(subject);
    }

    /// Tells S3 at once, and everyone here what it has now.
    pub(super) async fn tell(
        &self,
        subject: &Subject,
        meta: Option<&ObjectMeta>,
        new: &NewObject,
    ) -> Result<ObjectMeta> {
        match subject.species {
            Species::Directory => self.describe_directory_as(&subject.place, new).await,
            Species::File => {
                let meta =
                    meta.ok_or_else(|| Error::new(Kind::NotFound, "there is no object to describe"))?;
                self.tell_of_file(&subject.place, meta, new).await
            }
        }
    }

    async fn tell_of_file(&self, place: &Place, meta: &ObjectMeta, new: &NewObject) -> Result<ObjectMeta> {
        let gateway = self.gateway(place.folder.bucket);
        let key = place.folder.prefix.file(&place.name)?;
        let condition = Precondition::MustMatch(meta.etag.clone());
        let meta = match gateway.copy(gateway, &key, meta, &key, Some(new), &condition).await {
            Ok(etag) => described(etag, meta.size, new),
            // By our own request, perhaps, whose answer was lost: a copy may have another ETag.
            Err(error) if error.kind() == S3ErrorKind::ConditionFailed => match gateway.head(&key).await {
                Ok(now) if said(&now).user == new.user && now.size == meta.size => now,
                _ => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        };
        let answer = Answer { presence: Presence::File(meta.clone()), asked: Instant::now() };
        self.cache.learn(&place.folder, &place.name, answer);
        self.rights(place.folder.bucket).admitted();
        self.descriptions.copied(&place.folder);
        if let Some(on_described) = self.descriptions.heard.0.get() {
            on_described(place, &meta);
        }
        Ok(meta)
    }
}

fn joined(told: Option<Result<Result<()>, tokio::task::JoinError>>) -> Result<()> {
    match told {
        Some(Ok(told)) => told,
        Some(Err(error)) => Err(Error::caused(Kind::Io, "telling S3 of a description", error)),
        None => Ok(()),
    }
}

/// Descriptions that are told at once: as many as copies of a rename.
pub(super) const TOLD_AT_ONCE: usize = 32;
