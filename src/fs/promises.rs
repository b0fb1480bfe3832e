//! Descriptions that a file's session has yet to bring to S3, and what is written down of them.
//!
//! Who sets mode, owner, times or an attribute of a file is told that it is done. Where the file's session is to bring it
//! to S3, some time later, it is [promised](crate::namespace::Promise) until then: by the version that S3 has, or by the
//! commit that is under way and does not take it along any more. Of a file that S3 has never had, and no commit makes yet,
//! nothing is promised: if this process dies it is set aside with its bytes.
//!
//! The promise is part of the state that all handles share, and changes under its lock together with the description of
//! the session: so what is promised last is what was said last.

use super::Filesystem;
use super::handle::OpenState;
use crate::error::Result;
use crate::s3::NewObject;
use crate::write::{Owed, Session};

impl Filesystem {
    /// Has a file's session say something else of the object, and writes down what it may not live to tell.
    ///
    /// # Errors
    /// Those of the local disk. It is said all the same, if this process lives.
    pub(super) fn describe_in_session(
        &self,
        state: &mut OpenState,
        session: &Session,
        new: NewObject,
    ) -> Result<()> {
        session.set_description(new);
        // Else it is said of what is still to come, and what was promised is of what is there until then.
        self.promise(state, session).unwrap_or(Ok(()))
    }

    /// Promises what the session owes, if that can be said of anything.
    fn promise(&self, state: &mut OpenState, session: &Session) -> Option<Result<()>> {
        let (place, (owed, new)) = state.place.clone().zip(session.owed_description())?;
        let promise = &mut state.promise;
        Some(match owed {
            Owed::Version(version) => self.namespace().promise_of_version(promise, &place, &version, &new),
            Owed::Commit(id) => self.namespace().promise_of_commit(promise, &place, &id, &new),
        })
    }

    /// S3 has another version of the file, or it has another name: so much of what was promised as is still to be told is
    /// promised of that.
    pub(super) fn renew_promise(&self, state: &mut OpenState) {
        if state.promise.is_none() {
            return;
        }
        let session = state.session.clone().filter(|session| session.owes_description());
        match session.and_then(|session| self.promise(state, &session)) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::warn!(%error, "mode, owner or times that were set last are lost if this mount dies now");
            }
            None => self.namespace().promise_kept(state.promise.take()),
        }
    }
}
