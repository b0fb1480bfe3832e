//! What is said about the object beside its bytes, and who tells S3.

use super::{Core, Life, Session};
use crate::s3::object::{NewObject, ObjectMeta, UserMetadata};

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
        Some((version, self.target.object.clone()))
    }
}
