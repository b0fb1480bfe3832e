//! The conditions of requests, from headers to what they demand.

use hyper::HeaderMap;
use s3s::dto::{ETagCondition, Timestamp};

use crate::emulator::refusal::Refusal;
use crate::emulator::store::{Object, WriteCondition};

/// The four conditions of a read, under their plain names or as `x-amz-copy-source-if-…`.
#[derive(Debug, Default)]
pub(super) struct ReadConditions {
    pub(super) matches: Option<ETagCondition>,
    pub(super) none_matches: Option<ETagCondition>,
    pub(super) modified_since: Option<Timestamp>,
    pub(super) unmodified_since: Option<Timestamp>,
}

/// Collects the conditions of a `GET` or `HEAD`.
macro_rules! read_conditions {
    ($input:expr) => {
        $crate::emulator::s3::conditions::ReadConditions {
            matches: $input.if_match.clone(),
            none_matches: $input.if_none_match.clone(),
            modified_since: $input.if_modified_since.clone(),
            unmodified_since: $input.if_unmodified_since.clone(),
        }
    };
}
pub(super) use read_conditions;

/// Collects the conditions that a copy has on its source.
macro_rules! source_conditions {
    ($input:expr) => {
        $crate::emulator::s3::conditions::ReadConditions {
            matches: $input.copy_source_if_match.clone(),
            none_matches: $input.copy_source_if_none_match.clone(),
            modified_since: $input.copy_source_if_modified_since.clone(),
            unmodified_since: $input.copy_source_if_unmodified_since.clone(),
        }
    };
}
pub(super) use source_conditions;

impl ReadConditions {
    /// Holds the conditions against an object, in the order of RFC 9110, 13.2.2: a condition on
    /// the ETag makes the weaker one on the time irrelevant.
    pub(super) fn check(&self, object: &Object) -> Result<(), Refusal> {
        let is =
            |condition: &ETagCondition| condition.as_etag().is_none_or(|etag| etag.value() == object.etag);
        let after = |since: &Timestamp| Timestamp::from(object.modified) > *since;
        let stale = match (&self.matches, &self.unmodified_since) {
            (Some(condition), _) => !is(condition),
            (None, Some(since)) => after(since),
            (None, None) => false,
        };
        if stale {
            return Err(Refusal::precondition_failed());
        }
        let known = match (&self.none_matches, &self.modified_since) {
            (Some(condition), _) => is(condition),
            (None, Some(since)) => !after(since),
            (None, None) => false,
        };
        if known { Err(Refusal::not_modified()) } else { Ok(()) }
    }

    /// Like [`check`](Self::check), for a copy, where there is no such answer as 304.
    pub(super) fn check_source(&self, object: &Object) -> Result<(), Refusal> {
        self.check(object).map_err(|_| Refusal::precondition_failed())
    }
}

/// Returns what a write demands of its key.
pub(super) fn write_condition(
    matches: Option<&ETagCondition>,
    none_matches: Option<&ETagCondition>,
) -> Result<WriteCondition, Refusal> {
    match (matches, none_matches) {
        (None, None) => Ok(WriteCondition::None),
        (None, Some(ETagCondition::Any)) => Ok(WriteCondition::MustNotExist),
        (Some(ETagCondition::Any), None) => Ok(WriteCondition::MustExist),
        (Some(ETagCondition::ETag(etag)), None) => Ok(WriteCondition::MustMatch(etag.value().to_owned())),
        // S3 itself takes no other combination.
        _ => Err(Refusal::new(
            501,
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
        )),
    }
}

/// Returns what a copy demands of its destination, which s3s does not parse.
pub(super) fn copy_condition(headers: &HeaderMap) -> Result<WriteCondition, Refusal> {
    let condition = |name: &str| {
        headers
            .get(name)
            .map(|value| ETagCondition::parse_http_header(value.as_bytes()))
            .transpose()
            .map_err(|_| Refusal::invalid_argument(format!("{name} is not an ETag")))
    };
    write_condition(condition("if-match")?.as_ref(), condition("if-none-match")?.as_ref())
}
