//! From the base identity to the last role, hop by hop.
//!
//! Every renewal walks the whole way: the base identity is loaded anew, the first role is assumed
//! with its keys, the second with the session of the first, and so on. Nothing on the way is kept,
//! so nothing on the way can have expired, and rotated base keys are picked up without being
//! looked for.

use std::collections::HashMap;
use std::sync::Arc;

use super::base::{Base, Loaded};
use super::codes::Codes;
use super::failure::{Cause, Failure};
use super::role::{self, DURATION_ALWAYS_ALLOWED, RoleSession, Sts, Wish};
use super::schedule::Outlook;
use super::{Bounds, Caller, Clock, Grant, Options, RoleOptions, SessionPolicy};

/// How to come by keys: a base identity and the roles to assume from there, in order.
pub(super) struct Chain {
    base: Base,
    /// The configured roles; those of the base identity's profile come before them.
    roles: Vec<RoleOptions>,
    bounds: Bounds,
    codes: Arc<Codes>,
    clock: Clock,
    /// Whose keys the base identity's were when we last asked, by access key id.
    known: Option<(String, Caller)>,
    region: Option<String>,
    /// What each role taught us, by its ARN.
    learnt: HashMap<String, Learnt>,
}

/// What a role turned out not to allow. It is not asked for again.
#[derive(Debug, Clone, Copy, Default)]
struct Learnt {
    /// Sessions of more than an hour.
    only_an_hour: bool,
    /// The session policy that we would have liked.
    no_policy: bool,
}

impl Chain {
    /// Returns the chain that these options describe, and the codes that its roles will ask for.
    pub(super) fn of(options: &Options) -> (Self, Arc<Codes>) {
        let codes = Arc::new(Codes::new(options.codes.clone()));
        let chain = Self {
            base: Base::of(options),
            roles: options.roles.clone(),
            bounds: options.bounds.clone(),
            codes: Arc::clone(&codes),
            clock: options.clock.clone(),
            known: None,
            region: None,
            learnt: HashMap::new(),
        };
        (chain, codes)
    }

    /// How far the clock of STS is ahead of ours, in seconds; 0 where it does not matter.
    pub(super) fn clock_ahead_seconds(&self) -> i64 {
        self.base.time.ahead_seconds()
    }

    /// The region that the base identity's settings name; known after the first renewal.
    pub(super) fn region(&self) -> Option<String> {
        self.region.clone()
    }

    /// Comes by new keys.
    pub(super) async fn renew(&mut self) -> Result<Grant, Failure> {
        let loaded = self.base.load(&self.clock).await?;
        self.region.clone_from(&loaded.region);
        let roles = joined(&loaded.roles, &self.roles);
        if roles.is_empty() {
            return Ok(loaded.grant);
        }
        let caller = self.base_caller(&loaded).await?;
        let mut grant = Grant { caller, ..loaded.grant.clone() };
        for index in hops_behind(grant.caller.as_ref(), &roles)..roles.len() {
            grant = self.step(&loaded, &roles, index, &grant).await?;
        }
        Ok(grant)
    }

    /// Assumes the role at `index` with the keys of the step before.
    async fn step(
        &mut self,
        loaded: &Loaded,
        roles: &[RoleOptions],
        index: usize,
        before: &Grant,
    ) -> Result<Grant, Failure> {
        let sts = loaded.sts_as(&before.keys);
        let hop = Hop { role: &roles[index], index, count: roles.len(), caller: before.caller.as_ref() };
        let session = self.assume(&sts, &hop).await.map_err(|failure| hop.explain(failure))?;
        Ok(session.into())
    }

    /// Comes by new keys as [`renew`](Self::renew) does, and tells what each step came to: for a
    /// diagnosis, which wants to hear of the base identity also what a renewal can do without.
    pub(super) async fn walk(
        &mut self,
        mut tell: impl FnMut(Option<String>, Result<Option<Caller>, Failure>),
    ) -> Option<Grant> {
        let loaded = match self.base.load(&self.clock).await {
            Ok(loaded) => loaded,
            Err(failure) => {
                tell(None, Err(failure));
                return None;
            }
        };
        self.region.clone_from(&loaded.region);
        let caller = match role::whoami(&loaded.sts_as(&loaded.grant.keys)).await {
            Ok(caller) => Some(caller),
            // Servers that imitate STS need not know this request.
            Err(failure) if matches!(failure.cause(), Cause::Garbled | Cause::Invalid) => None,
            Err(failure) => {
                tell(None, Err(failure.doing("asking STS whose the base credentials are")));
                return None;
            }
        };
        tell(None, Ok(caller.clone()));
        let roles = joined(&loaded.roles, &self.roles);
        let mut grant = Grant { caller, ..loaded.grant.clone() };
        for index in hops_behind(grant.caller.as_ref(), &roles)..roles.len() {
            match self.step(&loaded, &roles, index, &grant).await {
                Ok(session) => grant = session,
                Err(failure) => {
                    tell(Some(roles[index].arn.clone()), Err(failure));
                    return None;
                }
            }
            tell(Some(roles[index].arn.clone()), Ok(grant.caller.clone()));
        }
        Some(grant)
    }

    /// Whose the base identity's keys are. `None` if STS will not say, as some servers that imitate
    /// it will not; the roles are then simply assumed.
    async fn base_caller(&mut self, loaded: &Loaded) -> Result<Option<Caller>, Failure> {
        if let Some(caller) = &loaded.grant.caller {
            return Ok(Some(caller.clone()));
        }
        let id = loaded.grant.keys.access_key_id();
        if let Some((known, caller)) = &self.known
            && known == id
        {
            return Ok(Some(caller.clone()));
        }
        match role::whoami(&loaded.sts_as(&loaded.grant.keys)).await {
            Ok(caller) => {
                self.known = Some((id.to_owned(), caller.clone()));
                Ok(Some(caller))
            }
            Err(failure) if failure.cause() == Cause::Garbled || failure.outlook() == Outlook::Final => {
                tracing::debug!(%failure, "STS does not say whose the base credentials are");
                Ok(None)
            }
            Err(failure) => Err(failure.doing("asking STS whose the base credentials are")),
        }
    }

    /// Assumes a role. Where STS refuses more than we need (a long session, a policy that narrows
    /// it), asks once more for less.
    async fn assume(&mut self, sts: &Sts, hop: &Hop<'_>) -> Result<RoleSession, Failure> {
        let mut learnt = self.learnt.get(&hop.role.arn).copied().unwrap_or_default();
        if hop.is_chained() && hop.role.duration > DURATION_ALWAYS_ALLOWED && !learnt.only_an_hour {
            tracing::warn!(
                role = hop.role.arn,
                "a role that is assumed from another role lasts an hour at most; asking for that"
            );
            learnt.only_an_hour = true;
            self.learnt.insert(hop.role.arn.clone(), learnt);
        }
        let code = match &hop.role.mfa_serial {
            Some(serial) => Some(self.codes.code(serial).await?),
            None => None,
        };
        loop {
            let wish = self.wish(hop, learnt, code.clone());
            let failure = match role::assume(sts, &wish, &self.clock).await {
                Ok(session) => return Ok(session),
                Err(failure) => failure,
            };
            let has_spare_policy = wish.policy.is_some() && self.bounds.policy.may_be_left_out();
            match failure.cause() {
                // "Exceeds the role's maximum" and "exceeds the hour of role chaining" are both plain
                // `ValidationError`s, distinct from others only by their wording. So the wording is
                // not consulted: if something else is invalid, the next call says so again.
                Cause::Invalid if wish.duration > DURATION_ALWAYS_ALLOWED => {
                    learnt.only_an_hour = true;
                    tracing::warn!(
                        role = hop.role.arn,
                        asked_seconds = wish.duration.as_secs(),
                        %failure,
                        "the role may not allow sessions of that length; asking for an hour"
                    );
                }
                Cause::PolicyRefused | Cause::Invalid if has_spare_policy => {
                    learnt.no_policy = true;
                    tracing::warn!(
                        role = hop.role.arn,
                        %failure,
                        "the role's sessions are not narrowed to what the mount does, but may do all that the role may"
                    );
                }
                _ => return Err(failure),
            }
            self.learnt.insert(hop.role.arn.clone(), learnt);
        }
    }

    fn wish<'a>(&self, hop: &Hop<'a>, learnt: Learnt, code: Option<String>) -> Wish<'a> {
        let is_last = hop.index + 1 == hop.count;
        let policy = self.bounds.policy.document(&hop.role.arn).filter(|_| is_last && !learnt.no_policy);
        let policy_arns = if is_last { self.bounds.policy_arns.clone() } else { Vec::new() };
        let duration = match hop.role.duration {
            wanted if learnt.only_an_hour => wanted.min(DURATION_ALWAYS_ALLOWED),
            wanted => wanted,
        };
        Wish { role: hop.role, duration, code, policy, policy_arns }
    }
}

/// The roles of the profile, and then the configured ones. A role that both name at the seam is assumed
/// once, as configured.
fn joined(of_profile: &[RoleOptions], configured: &[RoleOptions]) -> Vec<RoleOptions> {
    let is_doubled = match (of_profile.last(), configured.first()) {
        (Some(last), Some(first)) => last.arn == first.arn,
        _ => false,
    };
    [&of_profile[..of_profile.len() - usize::from(is_doubled)], configured].concat()
}

/// How many of the roles lie behind the base identity already.
///
/// The profile of an EC2 instance may *be* the role. Assuming it once more fails unless the
/// role trusts itself, and would cut the session to the hour that chains are allowed.
fn hops_behind(base: Option<&Caller>, roles: &[RoleOptions]) -> usize {
    let Some(base) = base else { return 0 };
    roles.iter().rposition(|role| base.is_session_of(&role.arn)).map_or(0, |index| index + 1)
}

/// One role of the chain, at its turn.
struct Hop<'a> {
    role: &'a RoleOptions,
    index: usize,
    count: usize,
    /// Who assumes it, if we know.
    caller: Option<&'a Caller>,
}

impl Hop<'_> {
    /// Whether it is assumed with a role session, which may be the base identity itself.
    fn is_chained(&self) -> bool {
        self.index > 0 || self.caller.is_some_and(Caller::is_role_session)
    }

    /// Adds which hop failed, who tried, and where to look.
    fn explain(&self, failure: Failure) -> Failure {
        let Self { role, index, count, caller } = self;
        let arn = &role.arn;
        let position = if *count > 1 { format!(" (hop {} of {count})", index + 1) } else { String::new() };
        let account = account_of(arn).map(|account| format!(" in account {account}")).unwrap_or_default();
        let by = caller.map(|caller| format!(" as {caller}")).unwrap_or_default();
        let hint = (failure.cause() == Cause::Denied).then(|| self.denial_hint());
        let failure = failure.doing(format!("assuming role {arn}{account}{position}{by}"));
        match hint {
            Some(hint) => failure.hinting(hint),
            None => failure,
        }
    }

    fn denial_hint(&self) -> String {
        let role = self.role;
        let caller = self.caller.map_or_else(|| "the base identity".to_owned(), ToString::to_string);
        let external_id = match role.external_id {
            Some(_) => "that the external id is the one it demands",
            None => "whether it demands an external id (none was sent)",
        };
        let mfa = match role.mfa_serial {
            Some(_) => ", that the code was the present one of this MFA device and was not used before",
            None => "",
        };
        let mut actions = vec!["sts:AssumeRole"];
        actions.extend(role.source_identity.as_ref().map(|_| "sts:SetSourceIdentity"));
        actions.extend((!role.tags.is_empty()).then_some("sts:TagSession"));
        let (trusted, allowed) = match actions.as_slice() {
            [one] => (String::new(), (*one).to_owned()),
            more => (format!(" for {}", more.join(", ")), more.join(", ")),
        };
        format!(
            "check that the role exists, that its trust policy names {caller}{trusted}, {external_id}{mfa}, \
             and that the identity policy of {caller} allows {allowed} on it; s3xmount doctor prints both statements"
        )
    }
}

impl SessionPolicy {
    /// The document for a session of this role. What we made up names buckets as the partition `aws`
    /// has them; those that the role can reach are in its own.
    fn document(&self, role_arn: &str) -> Option<String> {
        let partition = role_arn.split(':').nth(1).unwrap_or("aws");
        match self {
            Self::None => None,
            Self::Demanded(document) => Some(document.clone()),
            Self::Preferred(document) => {
                Some(document.replace("\"arn:aws:s3:::", &format!("\"arn:{partition}:s3:::")))
            }
        }
    }

    /// What a person has asked for is kept to; what we made up is not worth a failed mount.
    fn may_be_left_out(&self) -> bool {
        matches!(self, Self::Preferred(_))
    }
}

impl Caller {
    /// Reads an ARN as STS states it.
    pub(super) fn of_arn(arn: &str) -> Self {
        Self { arn: arn.to_owned(), account: account_of(arn).unwrap_or_default().to_owned() }
    }

    fn is_role_session(&self) -> bool {
        self.arn.contains(":assumed-role/")
    }

    /// Whether this is a session of the role `role_arn`.
    ///
    /// A session's ARN has the role's name but not its path
    /// (`arn:aws:sts::1:assumed-role/NAME/SESSION`, `arn:aws:iam::1:role/some/path/NAME`); names
    /// are unique in an account whatever their paths.
    fn is_session_of(&self, role_arn: &str) -> bool {
        let assumed = self.arn.rsplit(':').next().and_then(|resource| resource.strip_prefix("assumed-role/"));
        let Some(assumed) = assumed.and_then(|rest| rest.split('/').next()) else { return false };
        let named = role_arn.rsplit('/').next();
        account_of(role_arn) == Some(self.account.as_str()) && named == Some(assumed)
    }
}

/// The account in an ARN, if there is one.
fn account_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(4).filter(|account| !account.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_recognised_as_its_role_whatever_the_path() {
        let session = Caller::of_arn("arn:aws:sts::111122223333:assumed-role/reader/i-0abc");
        for (role, expected) in [
            ("arn:aws:iam::111122223333:role/reader", true),
            ("arn:aws:iam::111122223333:role/team/a/reader", true),
            ("arn:aws:iam::444455556666:role/reader", false),
            ("arn:aws:iam::111122223333:role/reader2", false),
            ("arn:aws:iam::111122223333:role/reader/writer", false),
        ] {
            assert_eq!(session.is_session_of(role), expected, "{role}");
        }
        let user = Caller::of_arn("arn:aws:iam::111122223333:user/reader");
        assert!(!user.is_session_of("arn:aws:iam::111122223333:role/reader"));
        assert_eq!(user.account, "111122223333");
    }
}
