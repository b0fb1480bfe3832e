//! Who may do what: the step from several policies to one answer.
//!
//! ```text
//!   any explicit Deny, on either side ............................ refused
//!   caller and resource in one account ........................... either side's Allow is enough
//!   in two accounts .............................................. both sides must allow
//!   resource side allows the caller's *account* only ............. the caller's side must allow too
//! ```
//!
//! The resource side is a bucket policy or a trust policy and, for objects, the ACL: an ACL
//! allows, it never denies. An object that belongs to another account than its bucket is not
//! covered by the bucket's policy; only what that policy *denies* still counts, because the
//! owner of a bucket may always keep people out of it.
//!
//! See <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>.

use super::directory::Caller;
use super::identity::AccountId;
use super::policy::{Policy, Question, Verdict};

/// The resource's side of a decision.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    /// Whose it is.
    pub owner: AccountId,
    /// The policy attached to it or to the bucket it lies in.
    pub policy: Option<&'a Policy>,
    /// Whether that policy can allow, or only deny.
    pub covered: bool,
    /// Whether an ACL allows it.
    pub acl_allows: bool,
}

/// Why a request is refused, of which AWS tells those whom it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// Whose document it is.
    pub by: Side,
    /// A statement forbids it; else none allows it.
    pub is_explicit: bool,
}

/// The kinds of documents that a decision looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The policies of a user or role.
    Identity,
    /// What bounds a session.
    Session,
    /// The policy of the resource.
    Resource,
}

impl Side {
    /// As AWS's messages call it (IAM user guide, "Troubleshoot access denied error messages").
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity-based policy",
            Self::Session => "session policy",
            Self::Resource => "resource-based policy",
        }
    }
}

/// Whether the caller may do what the question asks.
pub fn allowed(caller: &Caller, question: &Question<'_>, resource: Resource<'_>) -> bool {
    decide(caller, question, resource).is_ok()
}

/// Returns why the caller may not do what the question asks, if so.
pub fn decide(caller: &Caller, question: &Question<'_>, resource: Resource<'_>) -> Result<(), Denial> {
    let theirs = resource.policy.map_or(Verdict::Silent, |policy| policy.verdict(question));
    let (ours, session) = (caller.own_verdict(question), caller.session_verdict(question));
    let forbidden = [(ours, Side::Identity), (session, Side::Session), (theirs, Side::Resource)];
    if let Some((_, by)) = forbidden.into_iter().find(|(verdict, _)| *verdict == Verdict::Deny) {
        return Err(Denial { by, is_explicit: true });
    }
    let theirs = match (resource.covered, resource.acl_allows) {
        (true, _) if theirs != Verdict::Silent => theirs,
        (_, true) => Verdict::AllowAccount,
        _ => Verdict::Silent,
    };
    let is_bounded = session == Verdict::Silent;
    let lacks = |by| Err(Denial { by, is_explicit: false });
    match caller.identity.account() {
        None if theirs == Verdict::Silent => lacks(Side::Resource),
        None => Ok(()),
        // The resource may hand itself to one of its own account directly, past the
        // identity policies, but not past the bounds of a session.
        _ if is_bounded => lacks(Side::Session),
        Some(account) if account == resource.owner => {
            match ours == Verdict::Allow || theirs == Verdict::Allow {
                true => Ok(()),
                false => lacks(Side::Identity),
            }
        }
        Some(_) if ours != Verdict::Allow => lacks(Side::Identity),
        Some(_) if theirs == Verdict::Silent => lacks(Side::Resource),
        Some(_) => Ok(()),
    }
}
