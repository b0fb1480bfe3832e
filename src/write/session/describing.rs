//! What is said about the object beside its bytes, and who tells S3.

use super::{Core, Life, Session};
use crate::s3::object::{COMMIT_ID, NewObject, ObjectMeta, UserMetadata};
use crate::write::journal::Phase;

/// What a description is to be said of that S3 has yet to hear.
#[derive(Debug)]
pub enum Owed {
    /// Of the version that S3 has.
    Version(ObjectMeta),
    /// Of what a commit makes that has begun already, and has an earlier description with it: by its id.
    Commit(String),
}

impl Session {
    /// Says something else about the object, which the next commit will bring to S3.
    ///
    /// Where an upload has begun already, S3 can only be told by a copy of the object onto itself
    /// after the commit; so this is for what an application asked for.
    pub fn set_description(&self, object: NewObject) {
        let mut core = self.core.lock();
        if core.target.object != object {
            core.target.object = object.clone();
            core.touched = true;
            core.description_is_due = match &mut core.entrusted {
                Some(entrusted) => !entrusted.describe(object),
                None => true,
            };
        }
    }

    /// Has the next commit tell S3 the description, whether or not it has been changed here.
    pub fn owe_description(&self) {
        self.core.lock().description_is_due = true;
    }

    /// Whether the next commit has a description to tell, with bytes or alone.
    pub fn owes_description(&self) -> bool {
        self.core.lock().description_is_due
    }

    /// What a description that S3 has yet to hear would be said of if no commit followed, and the description. `None`
    /// where it has no version yet, or will hear it with the commit that waits.
    pub fn owed_description(&self) -> Option<(Owed, NewObject)> {
        let core = self.core.lock();
        let owed = core.owed()?;
        let object = match &owed {
            Owed::Version(version) => said_of(version, &core.target.object),
            Owed::Commit(_) => core.target.object.clone(),
        };
        Some((owed, object))
    }

    /// Gives up a description that S3 has yet to hear, for somebody else to tell it: the version, and what is to be said
    /// of it. `None` where there is none, or bytes will take it along.
    pub fn hand_over_description(&self) -> Option<(ObjectMeta, NewObject)> {
        // A commit that is running may be telling it.
        let _turn = self.turn.try_lock().ok()?;
        self.core.lock().hand_over_description()
    }

    /// Says something else about the object if that costs no request: until an upload begins.
    ///
    /// For what follows from writing, such as the time of the last write.
    pub fn suggest_metadata(&self, user: UserMetadata) {
        self.core.lock().target.object.user = user;
    }
}

impl Core {
    pub(super) fn hand_over_description(&mut self) -> Option<(ObjectMeta, NewObject)> {
        let is_alone = self.description_is_due && !self.content.is_dirty() && matches!(self.life, Life::Live);
        let version = self.content.base().filter(|_| is_alone).cloned()?;
        self.description_is_due = false;
        let object = said_of(&version, &self.target.object);
        Some((version, object))
    }

    fn owed(&self) -> Option<Owed> {
        if !matches!(self.life, Life::Live) {
            return None;
        }
        if let Some(entrusted) = &self.entrusted {
            return entrusted.begun().map(Owed::Commit);
        }
        let sealed = match self.journal.as_ref().map(|journal| &journal.record().phase) {
            Some(Phase::Sealed(seal)) => Some(seal.commit_id.clone()),
            _ => None,
        };
        let begun = sealed.or_else(|| self.early.as_ref().map(|early| early.commit_id.clone()));
        begun.map(Owed::Commit).or_else(|| self.content.base().cloned().map(Owed::Version))
    }
}

/// A description for a version that keeps the name of the commit that made it: its bytes are the same.
fn said_of(version: &ObjectMeta, object: &NewObject) -> NewObject {
    let mut object = object.clone();
    match version.details.as_ref().and_then(|details| details.user.get(COMMIT_ID)) {
        Some(id) => drop(object.user.insert(COMMIT_ID.to_owned(), id.clone())),
        None => drop(object.user.remove(COMMIT_ID)),
    }
    object
}
