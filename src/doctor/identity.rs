//! Who we are, and each role on the way.

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::OnceCell;

use super::remedy::{Location, Remedy};
use super::words::{self, Kind};
use super::{Check, Outcome};
use crate::config::{Identity, SessionPolicy, Settings};
use crate::credentials::{self, Bounds, Caller, Step, Stumble, Trace, Trouble};
use crate::daemon::{People, identities};
use crate::policy::Assumption;

/// The way of an identity, and what it came to.
pub(super) struct Walked<'s> {
    pub(super) identity: &'s Identity,
    pub(super) trace: Trace,
    /// Keys of a session that the role's own policies bound and nothing else, once somebody wanted them.
    unbounded: OnceCell<Option<SharedCredentialsProvider>>,
}

impl<'s> Walked<'s> {
    pub(super) fn new(identity: &'s Identity, trace: Trace) -> Self {
        Self { identity, trace, unbounded: OnceCell::new() }
    }

    /// Whom policies have to name: the last role, or without one the base identity.
    pub(super) fn principal(&self) -> Option<String> {
        let last = self.trace.steps.last()?;
        let role =
            last.role.clone().or_else(|| self.identity.roles.last().map(|role| role.as_str().to_owned()));
        role.or_else(|| last.outcome.as_ref().ok()?.as_ref().map(principal_of))
    }

    /// Comes by a session that is as wide as the role, if the mount's is not. An MFA code is not asked
    /// for a second time.
    pub(super) async fn unbounded(
        &self,
        connections: &SharedHttpClient,
    ) -> Option<SharedCredentialsProvider> {
        let is_bounded =
            self.identity.session_policy != SessionPolicy::None || !self.identity.policy_arns.is_empty();
        let is_session = self.trace.steps.iter().any(|step| step.role.is_some());
        if !is_bounded || !is_session || self.identity.mfa_serial.is_some() {
            return None;
        }
        let walk = async || {
            let people = People::default();
            let options = identities::options(self.identity, Bounds::default(), &people, connections.clone());
            credentials::trace(options).await.keys
        };
        self.unbounded.get_or_init(walk).await.clone()
    }

    pub(super) fn partition(&self) -> String {
        let principal = self.principal().unwrap_or_default();
        principal.split(':').nth(1).unwrap_or("aws").to_owned()
    }
}

pub(super) async fn walk<'s>(
    identity: &'s Identity,
    settings: &Settings,
    people: &People,
    connections: &SharedHttpClient,
) -> Walked<'s> {
    let bounds = identities::bounds(identity, settings);
    let options = identities::options(identity, bounds, people, connections.clone());
    Walked::new(identity, credentials::trace(options).await)
}

pub(super) fn checks(walked: &Walked<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut before: Option<&Caller> = None;
    for step in &walked.trace.steps {
        checks.push(match &step.outcome {
            Ok(caller) => passed(step, caller.as_ref()),
            Err(stumble) => failed(step, stumble, walked.identity, before),
        });
        before = step.outcome.as_ref().ok().and_then(Option::as_ref);
    }
    checks.extend(clock(&walked.trace));
    checks
}

fn name(step: &Step) -> String {
    step.role.as_ref().map_or_else(|| "find the base identity".to_owned(), |role| format!("assume {role}"))
}

fn passed(step: &Step, caller: Option<&Caller>) -> Check {
    let answer = caller.map_or_else(|| "STS does not say whose it is".to_owned(), ToString::to_string);
    Check::new(SUBJECT, &name(step), Outcome::Passed, answer)
}

fn failed(step: &Step, stumble: &Stumble, identity: &Identity, before: Option<&Caller>) -> Check {
    let check = Check::new(SUBJECT, &name(step), Outcome::Failed, &*stumble.said);
    match (stumble.trouble, &step.role) {
        (Trouble::Denied, Some(role)) => denied(check, role, stumble, identity, before),
        (Trouble::KeysRefused, _) => check.meaning(
            "the keys are expired, deleted or mistyped, and nothing else can be examined: log in again, or renew them",
        ),
        (Trouble::NoKeys, _) => {
            check.meaning(format!("without keys of one's own no role can be assumed: {}", stumble.advice))
        }
        _ => check.meaning(format!("nothing behind this step can be examined: {}", stumble.advice)),
    }
}

fn denied(
    check: Check,
    role: &str,
    stumble: &Stumble,
    identity: &Identity,
    before: Option<&Caller>,
) -> Check {
    let hop = identity.roles.iter().position(|arn| arn.as_str() == role);
    let assumption = hop.map_or_else(|| Assumption::plain(role), |hop| Assumption::of(identity, hop));
    let said = match assumption.external_id {
        Some(id) => format!("with the external id '{id}'"),
        None => "without an external id".to_owned(),
    };
    let Some(before) = before.map(principal_of) else {
        return check.meaning(format!("the role does not exist, or does not trust the base identity {said}"));
    };
    let mut remedies = Remedy::to_assume(&assumption, &before);
    let meaning = match words::blame(&stumble.said) {
        Some(blame) if blame.is_explicit => {
            let (place, holder) = match blame.on {
                Kind::Identity => (Location::RolePolicy, before.as_str()),
                Kind::Organization => (Location::Organization, before.as_str()),
                _ => (Location::TrustPolicy, role),
            };
            remedies = vec![Remedy::exempt(place, holder, &["sts:AssumeRole"], &before)];
            format!("a statement with \"Effect\": \"Deny\" keeps {before} from it")
        }
        Some(blame) if blame.on == Kind::Identity => {
            remedies.retain(|remedy| remedy.place == Location::RolePolicy);
            format!("{before} may not assume it")
        }
        _ => format!(
            "the role does not exist, or its trust policy does not admit {before} {said}, or {before} may not assume it"
        ),
    };
    check.meaning(meaning).remedies(remedies)
}

/// The ARN by which policies name somebody: of a session, its role.
///
/// A session's ARN lacks the path of its role; where there is one, people have to add it.
fn principal_of(caller: &Caller) -> String {
    let role = caller.arn.split_once(":assumed-role/").and_then(|(head, rest)| {
        let partition = head.split(':').nth(1)?;
        Some(format!("arn:{partition}:iam::{}:role/{}", caller.account, rest.split('/').next()?))
    });
    role.unwrap_or_else(|| caller.arn.clone())
}

/// Told where STS has answered.
fn clock(trace: &Trace) -> Option<Check> {
    let name = "compare the clock with that of STS";
    let ahead_seconds = trace.clock_ahead_seconds;
    if ahead_seconds == 0 {
        let has_answered = matches!(trace.steps.first(), Some(Step { outcome: Ok(Some(_)), .. }));
        return has_answered.then(|| Check::new(SUBJECT, name, Outcome::Passed, "near enough"));
    }
    let direction = if ahead_seconds > 0 { "behind" } else { "ahead" };
    let minutes = ahead_seconds.unsigned_abs() / 60;
    let answer = format!("this machine is {minutes} min {direction}");
    Some(Check::new(SUBJECT, name, Outcome::Limited, answer).meaning(
        "requests are signed with the server's time instead, but other programs on this machine fail; set the clock: timedatectl set-ntp true",
    ))
}

const SUBJECT: &str = "identity";
