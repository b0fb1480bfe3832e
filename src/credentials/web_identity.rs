//! Roles for which a token is shown instead of keys.
//!
//! Kubernetes (IRSA) and other identity providers put a token into a file, and a new one before it
//! ends. STS takes it in place of a signature, so this is a way to begin, not a hop: nobody's keys are
//! needed. The SDK does it too, but without a profile's `duration_seconds`, at no other endpoint, and
//! without telling a token that has ended from a trust policy that refuses it.

use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_sts::operation::assume_role_with_web_identity::builders::AssumeRoleWithWebIdentityFluentBuilder;
use aws_types::os_shim_internal::Env;

use super::failure::{Cause, Failure};
use super::role::{self, DURATION_ALWAYS_ALLOWED, RoleSession, Sts};
use super::{Caller, Clock, RoleOptions};
use crate::secret::Secret;

/// A role, and the token to show for it.
pub(super) struct WebIdentity {
    /// The role. MFA, tags and an external id cannot be sent along.
    pub(super) role: RoleOptions,
    /// Where the token is found, anew for every session.
    pub(super) token_file: PathBuf,
    /// Who says so, for people.
    pub(super) place: String,
}

impl WebIdentity {
    /// The one that the environment describes, as EKS puts it there.
    pub(super) fn of_environment(env: &Env, session_name: &str) -> Option<Self> {
        let variable = |name: &str| env.get(name).ok().filter(|value| !value.trim().is_empty());
        let token_file = variable("AWS_WEB_IDENTITY_TOKEN_FILE")?;
        let arn = variable("AWS_ROLE_ARN")?;
        let session_name = variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| session_name.to_owned());
        let place = "AWS_WEB_IDENTITY_TOKEN_FILE in the environment".to_owned();
        Some(Self { role: RoleOptions::new(arn, session_name), token_file: token_file.into(), place })
    }

    /// Assumes the role with the token as it is now. Nothing is signed, so `sts` may be anybody's.
    ///
    /// A role that refuses a long session is asked for an hour, as in a chain. It is not remembered:
    /// that costs a call per session, and heals when the role's maximum is raised.
    pub(super) async fn assume(&self, sts: &Sts, clock: &Clock) -> Result<RoleSession, Failure> {
        let token = self.token().await?;
        let duration = self.role.duration;
        let outcome = match self.ask(sts, &token, duration, clock).await {
            Err(failure) if failure.cause() == Cause::Invalid && duration > DURATION_ALWAYS_ALLOWED => {
                tracing::warn!(
                    role = self.role.arn,
                    asked_seconds = duration.as_secs(),
                    %failure,
                    "the role may not allow sessions of that length; asking for an hour"
                );
                self.ask(sts, &token, DURATION_ALWAYS_ALLOWED, clock).await
            }
            outcome => outcome,
        };
        outcome.map_err(|failure| self.explain(failure))
    }

    async fn token(&self) -> Result<Secret, Failure> {
        let text = tokio::fs::read_to_string(&self.token_file).await.map_err(|error| {
            // Passing: whoever replaces it may be between removing the old one and writing the new one.
            Failure::new(Cause::BaseUnavailable)
                .doing(format!(
                    "reading the token file {}, which {} names",
                    self.token_file.display(),
                    self.place
                ))
                .quoting(error.to_string())
                .hinting("check the name of the file, who may read it, and what writes it")
        })?;
        Ok(Secret::from(text))
    }

    async fn ask(
        &self,
        sts: &Sts,
        token: &Secret,
        duration: Duration,
        clock: &Clock,
    ) -> Result<RoleSession, Failure> {
        let longest = role::life(clock.now(), duration);
        let answer = sts.call(|| self.request(sts, token, duration).send()).await?;
        let arn = answer.assumed_role_user.as_ref().map_or(self.role.arn.as_str(), |user| user.arn());
        let caller = Caller::of_arn(arn);
        role::session(answer.credentials, caller, longest, sts, clock)
    }

    fn request(
        &self,
        sts: &Sts,
        token: &Secret,
        duration: Duration,
    ) -> AssumeRoleWithWebIdentityFluentBuilder {
        sts.client
            .assume_role_with_web_identity()
            .role_arn(&self.role.arn)
            .role_session_name(&self.role.session_name)
            .duration_seconds(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX))
            .web_identity_token(token.expose().trim())
    }

    fn explain(&self, failure: Failure) -> Failure {
        let file = self.token_file.display();
        let hint = match failure.cause() {
            Cause::Denied => Some(format!(
                "check that the role exists, and that its trust policy names the provider, the subject and the \
                 audience of the token in {file}"
            )),
            Cause::KeysExpired => {
                Some(format!("check what should replace the token in {file}: it has ended"))
            }
            Cause::Invalid | Cause::KeysUnknown => Some(format!(
                "check the token in {file}, the role's ARN, the session name and duration_seconds"
            )),
            _ => None,
        };
        let doing = format!("assuming role {} with the token of {}", self.role.arn, self.place);
        let failure = failure.doing(doing);
        match hint {
            Some(hint) => failure.hinting(hint),
            None => failure,
        }
    }
}
