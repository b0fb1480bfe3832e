//! From the base identity to the last role, hop by hop.
//!
//! Every renewal walks the whole way: the base identity is loaded anew, the first role is assumed
//! with its keys, the second with the session of the first, and so on. Nothing on the way is kept,
//! so nothing on the way can have expired, and rotated base keys are picked up without being
//! looked for.

use std::time::Duration;

use super::base::{Base, Loaded};
use super::role::{self, Cause, DURATION_ALWAYS_ALLOWED, Failure, RoleSession};
use super::schedule::Outlook;
use super::{Caller, Clock, Grant, RoleOptions};

/// How to come by keys: a base identity and the roles to assume from there, in order.
pub(super) struct Chain {
    base: Base,
    hops: Vec<Hop>,
    clock: Clock,
    /// Whose keys the base identity's were when we last asked, by access key id.
    known: Option<(String, Caller)>,
    region: Option<String>,
}

/// One role of the chain.
struct Hop {
    role: RoleOptions,
    /// How long a session to ask for: what was configured, or less once we learnt better.
    duration: Duration,
}

impl Chain {
    pub(super) fn new(base: Base, roles: Vec<RoleOptions>, clock: Clock) -> Self {
        let hops = roles.into_iter().enumerate().map(|(index, role)| Hop::new(role, index)).collect();
        Self { base, hops, clock, known: None, region: None }
    }

    /// The region that the base identity's settings name; known after the first renewal.
    pub(super) fn region(&self) -> Option<String> {
        self.region.clone()
    }

    /// Comes by new keys.
    pub(super) async fn renew(&mut self) -> Result<Grant, Failure> {
        let loaded = self.base.load(&self.clock).await?;
        self.region.clone_from(&loaded.region);
        if self.hops.is_empty() {
            return Ok(loaded.grant);
        }
        let caller = self.base_caller(&loaded).await?;
        let done = self.hops_behind(caller.as_ref());
        let count = self.hops.len();
        let mut grant = Grant { caller, ..loaded.grant.clone() };
        for (index, hop) in self.hops.iter_mut().enumerate().skip(done) {
            let client = loaded.sts_as(&grant.keys);
            let session = hop
                .assume(&client, &self.clock)
                .await
                .map_err(|failure| hop.explain(failure, index, count, grant.caller.as_ref()))?;
            grant = session.into();
        }
        Ok(grant)
    }

    /// Whose the base identity's keys are. `None` if STS will not say, as some servers that imitate
    /// it will not; the roles are then simply assumed.
    async fn base_caller(&mut self, loaded: &Loaded) -> Result<Option<Caller>, Failure> {
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

    /// How many hops lie behind the base identity already.
    ///
    /// The profile of an EC2 instance may *be* the role. Assuming it once more fails unless the
    /// role trusts itself, and would cut the session to the hour that chains are allowed.
    fn hops_behind(&self, base: Option<&Caller>) -> usize {
        let Some(base) = base else { return 0 };
        self.hops.iter().rposition(|hop| base.is_session_of(&hop.role.arn)).map_or(0, |index| index + 1)
    }
}

impl Hop {
    fn new(role: RoleOptions, index: usize) -> Self {
        let duration = if index == 0 { role.duration } else { role.duration.min(DURATION_ALWAYS_ALLOWED) };
        if duration < role.duration {
            tracing::warn!(
                role = role.arn,
                "a role that is assumed from another role lasts an hour at most; asking for that"
            );
        }
        Self { role, duration }
    }

    /// Assumes the role; if that fails and the duration may be why, once more for an hour.
    ///
    /// "Exceeds the role's maximum" and "exceeds the hour of role chaining" are both plain
    /// `ValidationError`s, distinct from others only by their wording. So the wording is not
    /// consulted: if something else is invalid, the second call says so again.
    async fn assume(&mut self, client: &aws_sdk_sts::Client, clock: &Clock) -> Result<RoleSession, Failure> {
        let failure = match role::assume(client, &self.role, self.duration, clock).await {
            Err(failure) if failure.cause() == Cause::Invalid && self.duration > DURATION_ALWAYS_ALLOWED => {
                failure
            }
            outcome => return outcome,
        };
        let session = role::assume(client, &self.role, DURATION_ALWAYS_ALLOWED, clock).await?;
        tracing::warn!(
            role = self.role.arn,
            asked_seconds = self.duration.as_secs(),
            %failure,
            "the role does not allow sessions of that length; using one hour from now on"
        );
        self.duration = DURATION_ALWAYS_ALLOWED;
        Ok(session)
    }

    /// Adds which hop failed, who tried, and where to look.
    fn explain(&self, failure: Failure, index: usize, count: usize, caller: Option<&Caller>) -> Failure {
        let arn = &self.role.arn;
        let position = if count > 1 { format!(" (hop {} of {count})", index + 1) } else { String::new() };
        let account = account_of(arn).map(|account| format!(" in account {account}")).unwrap_or_default();
        let by = caller.map(|caller| format!(" as {caller}")).unwrap_or_default();
        let hint = (failure.cause() == Cause::Denied).then(|| self.denial_hint(caller));
        let failure = failure.doing(format!("assuming role {arn}{account}{position}{by}"));
        match hint {
            Some(hint) => failure.hinting(hint),
            None => failure,
        }
    }

    fn denial_hint(&self, caller: Option<&Caller>) -> String {
        let caller = caller.map_or_else(|| "the base identity".to_owned(), ToString::to_string);
        let external_id = match self.role.external_id {
            Some(_) => "that the external id is the one it demands",
            None => "whether it demands an external id (none was sent)",
        };
        format!(
            "check that the role exists, that its trust policy names {caller}, {external_id}, \
             and that the identity policy of {caller} allows sts:AssumeRole on it"
        )
    }
}

impl Caller {
    /// Reads an ARN as STS states it.
    pub(super) fn of_arn(arn: &str) -> Self {
        Self { arn: arn.to_owned(), account: account_of(arn).unwrap_or_default().to_owned() }
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
