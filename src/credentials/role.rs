//! One call to STS: a request goes in, a role session or a classified failure comes out.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials as Keys;
use aws_sdk_sts::Client;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleOutput;
use aws_sdk_sts::operation::assume_role::builders::AssumeRoleFluentBuilder;
use aws_sdk_sts::types::{PolicyDescriptorType, Tag};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use super::failure::{Cause, Failure};
use super::schedule::Life;
use super::{Caller, Clock, Grant, RoleOptions};
use crate::clock::ServerTime;

/// The longest session that any role allows, and any chain of roles.
pub(super) const DURATION_ALWAYS_ALLOWED: Duration = Duration::from_secs(3600);

/// Keys of an assumed role. A role session always has an end.
pub(super) struct RoleSession {
    /// What to sign with.
    pub(super) keys: Keys,
    /// Who we are with them.
    pub(super) caller: Caller,
    /// From when until when.
    pub(super) life: Life,
}

impl From<RoleSession> for Grant {
    fn from(session: RoleSession) -> Self {
        Self {
            keys: session.keys,
            caller: Some(session.caller),
            issued: session.life.issued,
            life: Some(session.life),
        }
    }
}

/// STS as one identity sees it.
pub(super) struct Sts {
    pub(super) client: Client,
    /// Where it is, for people.
    pub(super) place: String,
    /// What its clock shows.
    pub(super) time: ServerTime,
}

impl Sts {
    /// Makes a call; if STS finds the time of its signature wrong, once more: the client, which is new
    /// and signed with our time, has learnt the right one from the answer.
    pub(super) async fn call<T, E, F>(&self, send: impl Fn() -> F) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + StdError + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let error = match send().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let failure = match Failure::of(&error) {
            failure if failure.cause() == Cause::Unreachable => failure.at(&self.place),
            failure => failure,
        };
        // STS calls a signature of another time wrong, in the words it has for a wrong secret.
        let may_be_the_time = matches!(failure.cause(), Cause::ClockWrong | Cause::SignatureWrong);
        let date = error.raw_response().and_then(|response| response.headers().get("date"));
        if may_be_the_time && date.is_some_and(|date| self.time.learn(date, 0)) {
            return send().await.map_err(|error| Failure::of(&error));
        }
        Err(failure)
    }
}

/// One wish for a session, complete with what changes from call to call.
pub(super) struct Wish<'a> {
    pub(super) role: &'a RoleOptions,
    pub(super) duration: Duration,
    /// The present code of the role's MFA device, if it has one.
    pub(super) code: Option<String>,
    /// What bounds the session beyond the role's own policies.
    pub(super) policy: Option<String>,
    pub(super) policy_arns: Vec<String>,
}

/// Asks for one session.
pub(super) async fn assume(sts: &Sts, wish: &Wish<'_>, clock: &Clock) -> Result<RoleSession, Failure> {
    let longest = life(clock.now(), wish.duration);
    let answer = sts.call(|| wish.request(&sts.client).send()).await?;
    let caller = session_caller(&answer, wish.role);
    session(answer.credentials, caller, longest, sts, clock)
}

/// Returns the life of a session that is asked for now, if it becomes as long as wished.
pub(super) fn life(issued: SystemTime, duration: Duration) -> Life {
    Life { issued, expiry: issued + duration }
}

/// Makes a session of what STS gave, and checks that it is one.
pub(super) fn session(
    given: Option<aws_sdk_sts::types::Credentials>,
    caller: Caller,
    longest: Life,
    sts: &Sts,
    clock: &Clock,
) -> Result<RoleSession, Failure> {
    let garbled = || Failure::new(Cause::Garbled);
    let given = given.ok_or_else(garbled)?;
    let stated = *given.expiration();
    let life = lifetime(stated, longest, &sts.time).ok_or_else(garbled)?;
    if !life.is_usable(clock.now()) {
        let expiry = stated.fmt(Format::DateTime).unwrap_or_default();
        return Err(Failure::new(Cause::ClockWrong).quoting(format!("the new session ended at {expiry}")));
    }
    let keys = keys(given, &life).ok_or_else(garbled)?;
    Ok(RoleSession { keys, caller, life })
}

impl Wish<'_> {
    fn request(&self, client: &Client) -> AssumeRoleFluentBuilder {
        let role = self.role;
        let request = client
            .assume_role()
            .role_arn(&role.arn)
            .role_session_name(&role.session_name)
            .duration_seconds(i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX))
            .set_external_id(role.external_id.clone())
            .set_source_identity(role.source_identity.clone())
            .set_serial_number(role.mfa_serial.clone())
            .set_token_code(self.code.clone())
            .set_policy(self.policy.clone());
        let request = self.policy_arns.iter().fold(request, |request, arn| {
            request.policy_arns(PolicyDescriptorType::builder().arn(arn).build())
        });
        role.tags.iter().fold(request, |request, tag| {
            let sent = Tag::builder().key(&tag.key).value(&tag.value).build();
            let request = request.tags(sent.expect("a key and a value are all it needs"));
            if tag.transitive { request.transitive_tag_keys(&tag.key) } else { request }
        })
    }
}

/// Asks whose keys the client signs with.
pub(super) async fn whoami(sts: &Sts) -> Result<Caller, Failure> {
    let answer = sts.call(|| sts.client.get_caller_identity().send()).await?;
    let arn = answer.arn().ok_or_else(|| Failure::new(Cause::Garbled))?;
    Ok(Caller::of_arn(arn))
}

/// The session ends when STS says, but not later than it can by our own clock: if that clock is
/// slow, the stated expiry seems further away than it is.
fn lifetime(stated: DateTime, longest: Life, time: &ServerTime) -> Option<Life> {
    let expiry = time.ours(SystemTime::try_from(stated).ok()?).min(longest.expiry);
    Some(Life { expiry, ..longest })
}

/// The strings move from the answer into the keys, which wipe them in the end; there are no copies.
fn keys(given: aws_sdk_sts::types::Credentials, life: &Life) -> Option<Keys> {
    let (id, secret, token) = (given.access_key_id, given.secret_access_key, given.session_token);
    if [&id, &secret, &token].iter().any(|part| part.is_empty()) {
        return None;
    }
    Some(Keys::new(id, secret, Some(token), Some(life.expiry), "s3xmount role session"))
}

/// Servers that imitate STS may leave out who the session is; the role says enough.
fn session_caller(answer: &AssumeRoleOutput, role: &RoleOptions) -> Caller {
    Caller::of_arn(answer.assumed_role_user().map_or(role.arn.as_str(), |user| user.arn()))
}
