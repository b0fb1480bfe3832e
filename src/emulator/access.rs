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

/// Whether the caller may do what the question asks.
pub fn allowed(caller: &Caller, question: &Question<'_>, resource: Resource<'_>) -> bool {
    let theirs = resource.policy.map_or(Verdict::Silent, |policy| policy.verdict(question));
    let ours = caller.verdict(question);
    if ours == Verdict::Deny || theirs == Verdict::Deny {
        return false;
    }
    let theirs = match (resource.covered, resource.acl_allows) {
        (true, _) if theirs != Verdict::Silent => theirs,
        (_, true) => Verdict::AllowAccount,
        _ => Verdict::Silent,
    };
    match caller.identity.account() {
        None => theirs != Verdict::Silent,
        Some(account) if account == resource.owner => {
            // The resource may hand itself to one of its own account directly, past the
            // identity policies, but not past the bounds of a session.
            let in_person = theirs == Verdict::Allow && caller.session_verdict(question) != Verdict::Silent;
            ours == Verdict::Allow || in_person
        }
        Some(_) => ours == Verdict::Allow && theirs != Verdict::Silent,
    }
}
