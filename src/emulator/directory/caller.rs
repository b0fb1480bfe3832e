//! Who sent a request, with everything that a decision about it needs.

use std::sync::Arc;

use super::session::SessionTag;
use crate::emulator::identity::Identity;
use crate::emulator::policy::{Context, Policy, Question, Verdict};

/// An authenticated sender of a request, with the policies that hold for this request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is.
    pub identity: Identity,
    /// Who is behind a session, if it was ever said.
    pub source_identity: Option<String>,
    /// What a session is marked with.
    pub tags: Vec<SessionTag>,
    pub(super) policies: Vec<Arc<Policy>>,
    pub(super) session_policies: Vec<Arc<Policy>>,
    pub(super) revoked: bool,
}

/// Why a key does not authenticate. The two services have different words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadKey {
    /// There is no such key, or it is a session's and came without its token.
    Unknown,
    /// The token is not the one that belongs to the key.
    WrongToken,
    /// The session is over.
    Expired,
}

impl Caller {
    /// Returns the sender of an unsigned request.
    pub fn anonymous() -> Self {
        Self::of(Identity::Anonymous)
    }

    /// Returns somebody who has no policies.
    pub fn of(identity: Identity) -> Self {
        Self::plain(identity, Vec::new())
    }

    /// Returns what the caller's own side says: identity policies within the bounds of the session policies.
    pub fn verdict(&self, question: &Question<'_>) -> Verdict {
        match (self.own_verdict(question), self.session_verdict(question)) {
            (Verdict::Deny, _) | (_, Verdict::Deny) => Verdict::Deny,
            (_, Verdict::Silent) => Verdict::Silent,
            (identity, _) => identity,
        }
    }

    /// Returns what the identity policies say, whatever bounds the session.
    pub fn own_verdict(&self, question: &Question<'_>) -> Verdict {
        match self.identity {
            // Revoking attaches a policy that denies everything to older sessions.
            _ if self.revoked => Verdict::Deny,
            Identity::Root { .. } => Verdict::Allow,
            _ => widest(&self.policies, question),
        }
    }

    /// Returns what the session policies say together; a session without any is bounded by nothing.
    pub fn session_verdict(&self, question: &Question<'_>) -> Verdict {
        match self.session_policies.is_empty() {
            true => Verdict::Allow,
            false => widest(&self.session_policies, question),
        }
    }

    /// Returns the condition keys that tell about the caller, added to others.
    pub fn describe(&self, context: Context) -> Context {
        let account = self.identity.account().map(|account| account.to_string());
        let context = context
            .with("aws:PrincipalArn", self.identity.principal_arn())
            .with_some("aws:PrincipalAccount", account)
            .with_some("aws:SourceIdentity", self.source_identity.clone());
        // Temporary credentials always say whether a second factor was shown, and those of
        // AssumeRole say no even if one was: it is not passed on. Long-term keys say nothing.
        let is_session = matches!(self.identity, Identity::RoleSession { .. });
        let context = context.with_some("aws:MultiFactorAuthPresent", is_session.then_some("false"));
        let tags = self.tags.iter();
        tags.fold(context, |context, tag| context.with(&format!("aws:PrincipalTag/{}", tag.key), &tag.value))
    }

    pub(super) fn plain(identity: Identity, policies: Vec<Arc<Policy>>) -> Self {
        Self {
            identity,
            source_identity: None,
            tags: Vec::new(),
            policies,
            session_policies: Vec::new(),
            revoked: false,
        }
    }
}

/// What several documents say together: any may deny, else any may allow.
fn widest(policies: &[Arc<Policy>], question: &Question<'_>) -> Verdict {
    policies.iter().map(|policy| policy.verdict(question)).max().unwrap_or(Verdict::Silent)
}
