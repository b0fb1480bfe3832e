//! The parameters that both ways of assuming a role have, each of a form that AWS takes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::form::Form;
use super::{check_characters, check_length, check_list, check_pattern, validation};
use crate::emulator::World;
use crate::emulator::directory::{NewSession, Role, SessionTag};
use crate::emulator::policy::Policy;
use crate::emulator::refusal::Refusal;

/// Which role, and what the session is to be like.
pub(super) struct Wish {
    pub(super) role_arn: String,
    pub(super) session_name: String,
    duration: Duration,
    policy: Option<Policy>,
    policy_arns: Vec<String>,
}

impl Wish {
    /// Takes the wish out of a form.
    pub(super) fn take(form: &mut Form, allow_short_sessions: bool) -> Result<Self, Refusal> {
        let role_arn = form.require("RoleArn", "roleArn")?;
        check_length("roleArn", &role_arn, 20, 2048)?;
        if !role_arn.starts_with("arn:") {
            return Err(validation(format!("{role_arn} is invalid")));
        }
        let session_name = form.require("RoleSessionName", "roleSessionName")?;
        check_length("roleSessionName", &session_name, 2, 64)?;
        check_characters("roleSessionName", &session_name, "=,.@-", r"[\w+=,.@-]*")?;
        let duration = parse_duration(form.take("DurationSeconds").as_deref(), allow_short_sessions)?;
        let policy = form.take("Policy").as_deref().map(parse_session_policy).transpose()?;
        let policy_arns = form.list("PolicyArns", |form, member| {
            let arn = form.require(&format!("{member}.arn"), "policyArns")?;
            check_length("policyArns", &arn, 20, 2048)?;
            Ok(arn)
        })?;
        check_list("policyArns", policy_arns.len(), POLICY_ARNS_MAX)?;
        Ok(Self { role_arn, session_name, duration, policy, policy_arns })
    }

    /// Holds the wished-for duration against the role's limit and, in a chain, against the hour.
    pub(super) fn check_duration(&self, role: &Role, chained: bool) -> Result<(), Refusal> {
        if self.duration > role.session_max {
            return Err(validation(OVER_ROLE_MAXIMUM));
        }
        if chained && self.duration > CHAINED_SESSION_MAX {
            return Err(validation(OVER_CHAINING_MAXIMUM));
        }
        Ok(())
    }

    /// How full policies and tags make the packed space, in percent, if there are any.
    ///
    /// AWS compresses them by no published rule; here their plain bytes are counted.
    pub(super) fn packed_percent(
        &self,
        world: &World,
        tags: &[SessionTag],
    ) -> Result<Option<usize>, Refusal> {
        let policy = self.policy.as_ref().map_or(0, |policy| policy.document().len());
        let arns: usize = self.policy_arns.iter().map(String::len).sum();
        let tagged: usize = tags.iter().map(|tag| tag.key.len() + tag.value.len()).sum();
        let bytes = policy + arns + tagged;
        let percent = (bytes * 100).div_ceil(world.packed_bytes_max().max(1));
        let too_large = |message| Err(Refusal::new(400, "PackedPolicyTooLarge", message));
        match percent {
            101.. if tags.is_empty() => too_large(format!(
                "Packed policy consumes {percent}% of allotted space, please use smaller policy."
            )),
            101.. => too_large(format!("Packed size of session tags consumes {percent}% of allotted space.")),
            0 => Ok(None),
            percent => Ok(Some(percent)),
        }
    }

    /// Turns the wish into a session, with all policies that narrow it.
    pub(super) fn session(
        self,
        world: &World,
        source_identity: Option<String>,
        tags: Vec<SessionTag>,
    ) -> Result<NewSession, Refusal> {
        let managed = |arn: &String| {
            world
                .directory
                .managed_policy(arn)
                .ok_or_else(|| validation(format!("Policy {arn} does not exist or is not attachable.")))
        };
        let managed = self.policy_arns.iter().map(managed).collect::<Result<Vec<_>, _>>()?;
        Ok(NewSession {
            name: self.session_name,
            lifetime: self.duration,
            policies: self.policy.map(Arc::new).into_iter().chain(managed).collect(),
            source_identity,
            tags,
        })
    }
}

fn parse_duration(text: Option<&str>, allow_short_sessions: bool) -> Result<Duration, Refusal> {
    let Some(text) = text else { return Ok(SESSION_DEFAULT) };
    let seconds: u64 =
        text.parse().map_err(|_| Refusal::new(400, "MalformedInput", "DurationSeconds is not a number"))?;
    let least = if allow_short_sessions { 1 } else { SESSION_SECONDS_MIN };
    let constraint = match seconds {
        seconds if seconds < least => format!("greater than or equal to {least}"),
        seconds if seconds > SESSION_SECONDS_MAX => format!("less than or equal to {SESSION_SECONDS_MAX}"),
        seconds => return Ok(Duration::from_secs(seconds)),
    };
    Err(validation(format!(
        "1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: \
         Member must have value {constraint}"
    )))
}

fn parse_session_policy(text: &str) -> Result<Policy, Refusal> {
    if text.chars().count() > SESSION_POLICY_CHARACTERS_MAX {
        return Err(validation(format!(
            "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have \
             length less than or equal to {SESSION_POLICY_CHARACTERS_MAX}"
        )));
    }
    let fits = |letter: char| matches!(letter, '\t' | '\n' | '\r' | '\u{20}'..='\u{ff}');
    check_pattern("policy", text, fits, r"[\u0009\u000A\u000D\u0020-\u00FF]+")?;
    let malformed = |reason: String| Refusal::new(400, "MalformedPolicyDocument", reason);
    let document: Value = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    Policy::identity(&document).map_err(|reason| malformed(reason.to_string()))
}

const SESSION_DEFAULT: Duration = Duration::from_secs(3600);
const CHAINED_SESSION_MAX: Duration = Duration::from_secs(3600);
const SESSION_SECONDS_MIN: u64 = 900;
const SESSION_SECONDS_MAX: u64 = 43_200;
const SESSION_POLICY_CHARACTERS_MAX: usize = 2048;
const POLICY_ARNS_MAX: usize = 10;

const OVER_ROLE_MAXIMUM: &str =
    "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
const OVER_CHAINING_MAXIMUM: &str =
    "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.";
