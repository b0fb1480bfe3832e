//! Why keys could not be had.
//!
//! Failures are sorted by what a person or the schedule can do about them ([`Cause`]), from the
//! error code and the status alone. Servers that imitate STS word their messages differently and
//! AWS rewords its own, so no message is ever compared; it is only quoted.

use std::error::Error as StdError;
use std::fmt;

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::schedule::Outlook;
use crate::error::{Error, Kind, first_line, innermost_words};

/// Why there is no new session: what to expect of trying again, and what to tell a person.
#[derive(Clone)]
pub(super) struct Failure {
    cause: Cause,
    /// What was being done, outermost first.
    doing: String,
    /// What the server or the library said.
    said: String,
    /// What to try, if more is known than the cause implies.
    hint: Option<String>,
}

impl Failure {
    pub(super) fn new(cause: Cause) -> Self {
        Self { cause, doing: String::new(), said: String::new(), hint: None }
    }

    /// Classifies the failure of a call.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let (cause, said) = match error {
            SdkError::ServiceError(service) => {
                let meta = service.err().meta();
                (Cause::of_answer(meta.code(), status), quote(meta.code(), meta.message(), meta.request_id()))
            }
            // The answer could not be read. What it held stays untold: it may be half a session.
            SdkError::ResponseError(_) => (Cause::of_answer(None, status), String::new()),
            SdkError::TimeoutError(_) => (Cause::Unreachable, "no answer in time".to_owned()),
            other => (Cause::Unreachable, innermost_words(other)),
        };
        Self::new(cause).quoting(said)
    }

    pub(super) fn quoting(self, said: impl Into<String>) -> Self {
        Self { said: said.into(), ..self }
    }

    /// Says where it was, before what was said.
    pub(super) fn at(self, place: &str) -> Self {
        Self { said: format!("{place}: {}", self.said), ..self }
    }

    /// Says that it may pass, in the same words.
    pub(super) fn passing(self) -> Self {
        let hint = self.hint.or_else(|| Some(self.cause.hint().to_owned()));
        Self { cause: Cause::BaseUnavailable, hint, ..self }
    }

    /// Says what was being done when it failed.
    pub(super) fn doing(self, doing: impl Into<String>) -> Self {
        Self { doing: doing.into(), ..self }
    }

    /// Says what to try, where more is known than the cause alone implies.
    pub(super) fn hinting(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn cause(&self) -> Cause {
        self.cause
    }

    /// What to expect of trying again.
    pub(super) fn outlook(&self) -> Outlook {
        self.cause.outlook()
    }

    /// What came back, for people.
    pub(super) fn told(&self) -> String {
        match self.said.as_str() {
            "" => self.cause.words().to_owned(),
            said => format!("{} ({said})", self.cause.words()),
        }
    }

    /// What to try, for people.
    pub(super) fn advice(&self) -> &str {
        self.hint.as_deref().unwrap_or_else(|| self.cause.hint())
    }

    /// The device whose code is needed, if that is what is wrong.
    pub(super) fn device(&self) -> Option<&str> {
        (self.cause == Cause::CodeNeeded).then_some(self.said.as_str())
    }
}

/// What was being done, what came of it, what was said, and what to try; never anything secret.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.doing.is_empty() {
            write!(f, "{}: ", self.doing)?;
        }
        write!(f, "{}; hint: {}", self.told(), self.advice())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.cause)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.cause.kind(), failure.to_string())
    }
}

/// Why a call failed: one variant for each different thing to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nothing answered.
    Unreachable,
    /// Too many requests, of ours or of others of the account.
    Throttled,
    /// The server failed.
    ServerFault,
    /// Something answered that is not STS, or not in a form we understand.
    Garbled,
    /// A policy does not allow it.
    Denied,
    /// The keys that signed the request are not known, or no longer.
    KeysUnknown,
    /// The keys that signed the request have expired.
    KeysExpired,
    /// The signature is wrong: a wrong secret, or a wrong time.
    SignatureWrong,
    /// This machine and the server disagree about the time.
    ClockWrong,
    /// The account has not activated STS in this region.
    RegionDisabled,
    /// The session policy is more than STS takes, or has something in it that STS does not know.
    PolicyRefused,
    /// The request is one that STS does not accept.
    Invalid,
    /// The role demands the code of an MFA device, and somebody has to say it.
    CodeNeeded,
    /// Whoever was asked for the code of the MFA device did not give one.
    CodeUnavailable,
    /// There is no base identity.
    NoBase,
    /// The settings of the base identity make no sense.
    BaseMisconfigured,
    /// The base identity is configured, but where it comes from failed to give it.
    BaseUnavailable,
}

impl Cause {
    /// Classifies an answer by its error code and status.
    fn of_answer(code: Option<&str>, status: Option<u16>) -> Self {
        let server_failed = status.is_some_and(|status| status >= 500);
        match code {
            Some(code) if THROTTLED.contains(&code) => Self::Throttled,
            _ if status == Some(429) => Self::Throttled,
            Some("AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation") => Self::Denied,
            Some("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => Self::KeysExpired,
            Some("RequestExpired" | "RequestTimeTooSkewed") => Self::ClockWrong,
            Some("SignatureDoesNotMatch" | "InvalidSignatureException" | "IncompleteSignature") => {
                Self::SignatureWrong
            }
            Some(code) if KEYS_UNKNOWN.contains(&code) => Self::KeysUnknown,
            Some("RegionDisabledException") => Self::RegionDisabled,
            Some("PackedPolicyTooLarge" | "PackedPolicyTooLargeException") => Self::PolicyRefused,
            Some("MalformedPolicyDocument" | "MalformedPolicyDocumentException") => Self::PolicyRefused,
            Some("InternalFailure" | "InternalError" | "ServiceUnavailable" | "IDPCommunicationError") => {
                Self::ServerFault
            }
            _ if server_failed => Self::ServerFault,
            Some(_) => Self::Invalid,
            // A proxy, or the login page of a hotel.
            None => Self::Garbled,
        }
    }

    /// What to expect of trying again.
    ///
    /// Expired keys of the base identity count as passing: whatever wrote them (a login, a job that
    /// refreshes the credentials file) is likely to write the next ones soon. A wrong signature
    /// does too, because a clock that was just woken is put right within moments.
    fn outlook(self) -> Outlook {
        match self {
            Self::Throttled => Outlook::Throttled,
            Self::Unreachable
            | Self::ServerFault
            | Self::Garbled
            | Self::KeysExpired
            | Self::SignatureWrong
            | Self::ClockWrong
            | Self::CodeUnavailable
            | Self::BaseUnavailable => Outlook::Passing,
            Self::Denied
            | Self::KeysUnknown
            | Self::RegionDisabled
            | Self::PolicyRefused
            | Self::Invalid
            | Self::CodeNeeded
            | Self::NoBase
            | Self::BaseMisconfigured => Outlook::Final,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Invalid | Self::PolicyRefused | Self::BaseMisconfigured => Kind::InvalidArgument,
            Self::Unreachable
            | Self::Throttled
            | Self::ServerFault
            | Self::Garbled
            | Self::BaseUnavailable => Kind::Io,
            Self::Denied
            | Self::KeysUnknown
            | Self::KeysExpired
            | Self::SignatureWrong
            | Self::ClockWrong
            | Self::RegionDisabled
            | Self::CodeNeeded
            | Self::CodeUnavailable
            | Self::NoBase => Kind::Denied,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Unreachable => "STS cannot be reached",
            Self::Throttled => "STS is throttling requests",
            Self::ServerFault => "STS failed",
            Self::Garbled => "the answer is not one that STS gives",
            Self::Denied => "STS refuses",
            Self::KeysUnknown => "STS does not know the keys that signed the request",
            Self::KeysExpired => "the keys that signed the request have expired",
            Self::SignatureWrong => "STS finds the signature wrong",
            Self::ClockWrong => "this machine's clock and that of STS disagree",
            Self::RegionDisabled => "STS is not active in this region for the account",
            Self::PolicyRefused => "STS does not accept the session policy",
            Self::Invalid => "STS does not accept the request",
            Self::CodeNeeded => "the present code of an MFA device is needed",
            Self::CodeUnavailable => "the code of the MFA device could not be had",
            Self::NoBase => "there are no AWS credentials to begin with",
            Self::BaseMisconfigured => "the settings of the base credentials make no sense",
            Self::BaseUnavailable => "the base credentials could not be loaded",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Unreachable => "check the network, the region and the STS endpoint",
            Self::Throttled => "it is retried more slowly; see what else in the account calls STS",
            Self::ServerFault => "it is retried; see the AWS health dashboard if it lasts",
            Self::Garbled => "check the STS endpoint, and whether a proxy answers in its place",
            Self::Denied => "check the policies of the caller and of the role",
            Self::KeysUnknown => {
                "check the access key of the base credentials: deleted, or another partition's?"
            }
            Self::KeysExpired => "log in again, or renew the base credentials",
            Self::SignatureWrong => "check the secret key of the base credentials, and this machine's clock",
            Self::ClockWrong => "check this machine's clock",
            Self::RegionDisabled => {
                "activate STS for this region in the account's IAM settings, or name another"
            }
            Self::Invalid => "check the role's ARN, the session name, the duration and the external id",
            Self::PolicyRefused => {
                "shorten it or the session tags, or leave it away with --session-policy none"
            }
            Self::CodeNeeded => {
                "a running mount takes it with `s3xmount login MOUNTPOINT`; at the start it is asked for on the \
                 terminal, or printed by --mfa-command"
            }
            Self::CodeUnavailable => "check the MFA device, or the command of --mfa-command",
            Self::NoBase => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile, or run on a machine with a role"
            }
            Self::BaseMisconfigured => "check the profile in ~/.aws/config and ~/.aws/credentials",
            Self::BaseUnavailable => {
                "log in again, name a profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            }
        }
    }
}

fn quote(code: Option<&str>, message: Option<&str>, request_id: Option<&str>) -> String {
    let code = code.unwrap_or("no error code");
    let message = message.map(|message| format!(": {}", first_line(message))).unwrap_or_default();
    let request_id = request_id.map(|id| format!(", request id {id}")).unwrap_or_default();
    format!("{code}{message}{request_id}")
}

const THROTTLED: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "LimitExceededException",
    "SlowDown",
];

const KEYS_UNKNOWN: &[&str] = &[
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "InvalidToken",
    "UnrecognizedClientException",
    "AuthFailure",
    "NotSignedUp",
    "OptInRequired",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_what_to_do_about_them() {
        use Cause::*;
        for (code, status, expected, outlook) in [
            (Some("Throttling"), 400, Throttled, Outlook::Throttled),
            (Some("RequestLimitExceeded"), 503, Throttled, Outlook::Throttled),
            (None, 429, Throttled, Outlook::Throttled),
            (Some("AccessDenied"), 403, Denied, Outlook::Final),
            (Some("AccessDeniedException"), 400, Denied, Outlook::Final),
            (Some("ExpiredToken"), 403, KeysExpired, Outlook::Passing),
            (Some("ExpiredTokenException"), 400, KeysExpired, Outlook::Passing),
            (Some("RequestExpired"), 400, ClockWrong, Outlook::Passing),
            (Some("SignatureDoesNotMatch"), 403, SignatureWrong, Outlook::Passing),
            (Some("InvalidClientTokenId"), 403, KeysUnknown, Outlook::Final),
            (Some("RegionDisabledException"), 403, RegionDisabled, Outlook::Final),
            (Some("MalformedPolicyDocument"), 400, PolicyRefused, Outlook::Final),
            (Some("PackedPolicyTooLarge"), 400, PolicyRefused, Outlook::Final),
            (Some("ValidationError"), 400, Invalid, Outlook::Final),
            (Some("NoSuchThingEver"), 418, Invalid, Outlook::Final),
            (Some("NoSuchThingEver"), 500, ServerFault, Outlook::Passing),
            (Some("InternalFailure"), 400, ServerFault, Outlook::Passing),
            (Some("ServiceUnavailable"), 503, ServerFault, Outlook::Passing),
            (None, 502, ServerFault, Outlook::Passing),
            (None, 403, Garbled, Outlook::Passing),
            (None, 200, Garbled, Outlook::Passing),
        ] {
            let cause = Cause::of_answer(code, Some(status));
            assert_eq!((cause, cause.outlook()), (expected, outlook), "{code:?} {status}");
        }
    }

    #[test]
    fn a_quotation_stops_before_the_canonical_request() {
        let message =
            "The signature does not match.\n\nThe Canonical String was\nx-amz-security-token:SECRET";
        let said = quote(Some("SignatureDoesNotMatch"), Some(message), Some("r-1"));
        assert_eq!(said, "SignatureDoesNotMatch: The signature does not match., request id r-1");
    }

    #[test]
    fn a_failure_says_what_was_done_what_came_of_it_and_what_to_try() {
        let failure = Failure::new(Cause::Denied).doing("assuming r").quoting("AccessDenied");
        assert_eq!(
            failure.to_string(),
            "assuming r: STS refuses (AccessDenied); hint: check the policies of the caller and of the role"
        );
        assert_eq!(Error::from(failure.hinting("ask B")).to_string().split("hint: ").nth(1), Some("ask B"));
    }
}
