//! Conditions of writes, at servers that may not keep to them.
//!
//! Everything this mount promises about other writers rests on `If-None-Match` and `If-Match`. AWS keeps
//! to them. Other servers do, or refuse them, or, which is the dangerous case, take the header and write
//! anyway; and one that honours them on PutObject may not do so on CompleteMultipartUpload. So for
//! each [kind of write](Writing) and each kind of condition there is a standing:
//!
//! ```text
//!             412 was seen ─────────────► honoured: the header is enough (AWS begins here)
//!   unproven ─┤
//!             a write that should have ─► ignored:  look first, and send the header all the same
//!             failed succeeded
//!             refused (501) ────────────► refused:  look first, and leave the header away
//! ```
//!
//! **To look first** is one HEAD just before the write: if the condition does not hold by then, nothing
//! is sent. Between the two requests somebody may still write, and is then overwritten; that is the best
//! such a server can do, and the log says so once. A HEAD that is denied tells nothing and holds nothing up.
//!
//! **The proof.** Waiting for a 412 by chance would cost a HEAD with every write for ever, and trying the
//! condition on something of others could destroy it. So the first small PutObject under a condition is
//! sent a second time when it has succeeded, with the same bytes and the same condition, which our own
//! object must now fail. 412 proves the server good. If it succeeds, the condition was ignored, and
//! what was overwritten is what we had written a moment before. (It costs one request for a mount, and
//! in a versioned bucket of a server that ignores it one version more.) In the same way the first small
//! CopyObject onto nothing is sent again. CompleteMultipartUpload cannot be repeated; the first on a
//! version is asked for on a condition that nothing can meet before, and one onto nothing looks first until some
//! 412 shows that it need not. So does a copy onto a version, as a 412 may be about its source; a copy of an object
//! onto itself has the condition of its source, which says the same and which all servers know.

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::Gateway;
use super::concessions::Concession;
use super::error::{S3Error, S3ErrorKind};
use super::gaps::{Gap, Server};
use super::object::{ETag, Precondition};
use crate::name::ObjectKey;

/// A kind of write, each of which a server may treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    Put,
    Complete,
    Copy,
    Delete,
    DeleteMany,
}

/// How a server treats one kind of condition on one kind of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Unproven,
    Honoured,
    Ignored,
    Refused,
}

/// The standings of all kinds, at one bucket.
#[derive(Debug)]
pub(super) struct Conditions {
    /// By [`place`].
    standings: Mutex<[Standing; 10]>,
    /// How often a proof was begun. It may end without an answer, or beside another, so there are some.
    proofs: AtomicU32,
}

impl Conditions {
    pub(super) fn new(server: Server) -> Self {
        let standing = match server {
            Server::Aws => Standing::Honoured,
            Server::Compatible => Standing::Unproven,
        };
        Self { standings: Mutex::new([standing; 10]), proofs: AtomicU32::new(0) }
    }

    /// `Honoured` also where there is no condition to be kept to.
    pub(super) fn standing(&self, writing: Writing, condition: &Precondition) -> Standing {
        place(writing, condition).map_or(Standing::Honoured, |place| self.standings.lock()[place])
    }

    pub(super) fn set(&self, writing: Writing, condition: &Precondition, standing: Standing) {
        if let Some(place) = place(writing, condition) {
            self.standings.lock()[place] = standing;
        }
    }

    /// Whether another proof is worth its request.
    fn begin_proof(&self) -> bool {
        self.proofs.fetch_add(1, Ordering::Relaxed) < PROOFS_MAX
    }
}

fn place(writing: Writing, condition: &Precondition) -> Option<usize> {
    let kind = match condition {
        Precondition::MustNotExist => 0,
        Precondition::MustMatch(_) => 1,
        Precondition::Whatever => return None,
    };
    Some(2 * writing as usize + kind)
}

impl Gateway {
    /// Whether the server is known to keep to a condition on a copy, so that it needs no look first. Where the source's
    /// own condition, or what was seen a moment ago, is as good, others are spared it.
    pub fn keeps_to_on_copies(&self, condition: &Precondition) -> bool {
        self.conditions.standing(Writing::Copy, condition) == Standing::Honoured
    }

    /// Makes sure by a HEAD that the condition holds now, where the server cannot be relied upon.
    ///
    /// # Errors
    /// [`S3ErrorKind::ConditionFailed`] as the server should have said it.
    pub(super) async fn look_first(
        &self,
        writing: Writing,
        key: &ObjectKey,
        condition: &Precondition,
    ) -> Result<(), S3Error> {
        if self.conditions.standing(writing, condition) == Standing::Honoured {
            return Ok(());
        }
        let there = match self.head(key).await {
            Ok(meta) => Some(meta.etag),
            Err(error) if error.kind() == S3ErrorKind::Absent => None,
            // Nothing can be seen here, so nothing can be made sure of.
            Err(error) if error.kind() == S3ErrorKind::Denied => return Ok(()),
            Err(error) => return Err(error),
        };
        match holds(condition, there.as_ref()) {
            true => Ok(()),
            false => {
                let request = self.request("HeadObject", Some(key.as_str()));
                let message = "the condition of the write that was to follow does not hold";
                Err(S3Error::local(S3ErrorKind::ConditionFailed, request, message))
            }
        }
    }

    /// Learns from how a conditional write ended.
    pub(super) fn learn_condition<T>(
        &self,
        writing: Writing,
        condition: &Precondition,
        concession: Concession,
        outcome: &Result<T, S3Error>,
    ) {
        let is_told = |error: &S3Error| error.status() == Some(412);
        match outcome {
            // Of a copy it may speak of the source.
            Err(error) if concession.sends_condition && is_told(error) && writing != Writing::Copy => {
                self.conditions.set(writing, condition, Standing::Honoured);
            }
            Ok(_) if !concession.sends_condition && *condition != Precondition::Whatever => {
                self.conditions.set(writing, condition, Standing::Refused);
                self.gaps.note(Gap::ConditionsRefused);
            }
            _ => {}
        }
    }

    /// Whether the write that just made `etag` may serve to find out if its condition meant anything.
    pub(super) fn wants_proof(
        &self,
        writing: Writing,
        condition: &Precondition,
        etag: &ETag,
        bytes: u64,
    ) -> bool {
        let would_fail = match condition {
            Precondition::MustNotExist => true,
            // The same content over again has the same ETag, and the condition holds still.
            Precondition::MustMatch(before) => writing == Writing::Put && before != etag,
            Precondition::Whatever => false,
        };
        would_fail
            && bytes <= PROOF_BYTES_MAX
            && self.conditions.standing(writing, condition) == Standing::Unproven
            && self.conditions.begin_proof()
    }

    /// Whether the next completion under this condition may serve to find out whether completions keep to such.
    pub(super) fn wants_proof_of_completion(&self, condition: &Precondition) -> bool {
        matches!(condition, Precondition::MustMatch(_))
            && self.conditions.standing(Writing::Complete, condition) == Standing::Unproven
            && self.conditions.begin_proof()
    }

    /// A completion has taken place on a condition that nothing meets.
    pub(super) fn completion_ignores(&self, condition: &Precondition) {
        self.conditions.set(Writing::Complete, condition, Standing::Ignored);
        self.gaps.note(Gap::ConditionsIgnored);
    }

    /// Draws the conclusion from what the same write came to when it was sent again, and returns the
    /// version that is there now.
    pub(super) async fn prove(
        &self,
        writing: Writing,
        key: &ObjectKey,
        condition: &Precondition,
        etag: ETag,
        again: Result<ETag, S3Error>,
    ) -> ETag {
        match again {
            Err(error) if error.kind() == S3ErrorKind::ConditionFailed => {
                self.conditions.set(writing, condition, Standing::Honoured);
                etag
            }
            Ok(etag) => {
                self.conditions.set(writing, condition, Standing::Ignored);
                self.gaps.note(Gap::ConditionsIgnored);
                etag
            }
            // It may have had its effect, which where ETags are not hashes makes another version.
            Err(error) => {
                tracing::debug!(%error, "whether conditions are honoured could not be found out");
                self.head(key).await.map_or(etag, |meta| meta.etag)
            }
        }
    }
}

fn holds(condition: &Precondition, there: Option<&ETag>) -> bool {
    match condition {
        Precondition::MustNotExist => there.is_none(),
        Precondition::MustMatch(etag) => there == Some(etag),
        Precondition::Whatever => true,
    }
}

/// Bytes that are sent twice without anybody noticing the time.
const PROOF_BYTES_MAX: u64 = 1 << 20;

/// One for each kind of write and condition, and some that get no answer.
const PROOFS_MAX: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_is_trusted_and_others_have_to_prove_each_kind_by_itself() {
        let matched = Precondition::MustMatch(ETag::new("e"));
        let aws = Conditions::new(Server::Aws);
        assert_eq!(aws.standing(Writing::Complete, &matched), Standing::Honoured);
        let other = Conditions::new(Server::Compatible);
        other.set(Writing::Put, &Precondition::MustNotExist, Standing::Honoured);
        assert_eq!(other.standing(Writing::Put, &Precondition::MustNotExist), Standing::Honoured);
        assert_eq!(other.standing(Writing::Put, &matched), Standing::Unproven);
        assert_eq!(other.standing(Writing::Complete, &Precondition::MustNotExist), Standing::Unproven);
        assert_eq!(other.standing(Writing::Put, &Precondition::Whatever), Standing::Honoured);
    }

    #[test]
    fn a_condition_holds_of_what_is_there() {
        let (mine, other) = (ETag::new("mine"), ETag::new("other"));
        let matched = Precondition::MustMatch(mine.clone());
        for (condition, there, expected) in [
            (&Precondition::MustNotExist, None, true),
            (&Precondition::MustNotExist, Some(&mine), false),
            (&matched, Some(&mine), true),
            (&matched, Some(&other), false),
            (&matched, None, false),
            (&Precondition::Whatever, Some(&other), true),
        ] {
            assert_eq!(holds(condition, there), expected, "{condition:?} {there:?}");
        }
    }
}
