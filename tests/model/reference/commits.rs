//! What makes a written file the object that others see, and what keeps it from that.

use s3xmount::error::Kind;

use super::session::{Condition, Lost, Session, Stretches};
use super::{Possible, Reference, Version};
use crate::model::op::Outcome;

/// Why a commit is asked for.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(super) enum Occasion {
    Flush,
    Sync,
    LastClose,
}

impl Reference {
    pub(super) fn commit(&self, id: u64, occasion: Occasion) -> Vec<(Result<(), Kind>, Self)> {
        let file = &self.files[&id];
        if let Some(Session { failed: Some(kind), .. }) = file.session {
            return vec![(Err(kind), self.clone())];
        }
        let (Some(path), Some(session)) = (file.target(), &file.session) else {
            return vec![(Ok(()), self.clone())];
        };
        let claims = session.claims_name || occasion != Occasion::Flush;
        let is_new_and_untouched = session.base.is_none() && !session.is_touched;
        let is_overtaken =
            session.base.as_ref().map(|base| base.id) != self.store.get(path).map(|version| version.id);
        match () {
            () if is_new_and_untouched && !claims => {
                let waits = vec![(Ok(()), self.clone())];
                // One that was emptied may be so in S3 by now; whoever had made it may still be about.
                let goes =
                    (session.condition == Condition::Any).then(|| self.with(|next| next.committed(id, path)));
                return waits.into_iter().chain(goes.map(|next| (Ok(()), next))).collect();
            }
            () if session.is_dirty => {}
            // What the file was to say about itself is lost; that may be told, or not any more.
            () if session.is_due && is_overtaken => {
                return vec![(Ok(()), self.clone()), (Err(Kind::Changed), self.clone())];
            }
            () => return vec![(Ok(()), self.clone())],
        }
        let there = self.store.get(path).map(|version| version.id);
        let verdict = match session.condition {
            Condition::New if there.is_some() => Err(Kind::Exists),
            Condition::Version(id) if there != Some(id) => Err(Kind::Changed),
            Condition::Gone => Err(Kind::Changed),
            _ => Ok(()),
        };
        let next = self.with(|next| match verdict {
            Ok(()) => next.committed(id, path),
            Err(kind) => next.fail(id, kind),
        });
        let mut possible = vec![(verdict, next)];
        if session.base.as_ref().is_some_and(|base| base.bytes == session.content) {
            // Written back to what it was: there may be nothing to commit but what is to be said about it.
            possible.push((Ok(()), self.clone()));
            if session.is_due && is_overtaken {
                possible.push((Err(Kind::Changed), self.clone()));
            }
        }
        possible
    }

    pub(super) fn committed(&mut self, id: u64, path: &str) {
        let version = self.fresh();
        let file = self.files.get_mut(&id).expect("it is open");
        let session = file.session.as_mut().expect("it has a writer");
        let version = Version { id: version, bytes: session.content.clone(), mode: file.mode };
        session.condition = Condition::Version(version.id);
        session.base = Some(version.clone());
        (session.is_dirty, session.is_due) = (false, false);
        session.unsaved = Stretches::default();
        file.committed = Some(version.clone());
        self.store.insert(path.to_owned(), version);
        self.show_above(path);
    }

    pub(super) fn fail(&mut self, id: u64, kind: Kind) {
        let line = self.fresh();
        let file = self.files.get_mut(&id).expect("it is open");
        let session = file.session.as_mut().expect("it has a writer");
        session.failed = Some(kind);
        // What shows when the last writer has left is not what showed before.
        file.line = line;
        if !session.written.is_empty() {
            self.lost.push(Lost { content: session.content.clone(), written: session.written.clone() });
        }
    }
}

pub(super) fn outcomes(committed: Vec<(Result<(), Kind>, Reference)>) -> Possible {
    let outcome = |result: Result<(), Kind>| result.map_or_else(Outcome::Failed, |()| Outcome::Done);
    committed.into_iter().map(|(result, next)| (outcome(result), next)).collect()
}
