//! How a request to S3 can end badly, sorted by what the caller can do about it.
//!
//! This is the only place that looks at SDK error codes. S3's manners, as far as they shape it:
//!
//! - An answer to HEAD has no body and so no code. There, a bare 403 may be a missing object
//!   seen without permission to list, and a bare 400 may be an expired token.
//! - 412 says that a condition was false. 409 says that it could not be decided, because
//!   somebody wrote at the same moment: ask again.
//! - An expired role session shows under several codes and statuses, see `refuses_credentials`.
//! - A server that does not know a feature answers 501, or 400 with one of several codes.

use std::fmt;
use std::sync::Arc;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::{RequestId, RequestIdExt};

use super::explain::is_about_a_key;
use crate::error::{Error, Kind, innermost_words};

/// Why a request failed: one variant for each thing a caller might do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum S3ErrorKind {
    /// There is no such object.
    Absent,
    /// There is no such bucket.
    NoBucket,
    /// The bucket belongs to another account than is expected.
    NotTheOwner,
    /// There is no such multipart upload (any more).
    NoUpload,
    /// A policy does not allow it; on a key also "missing, and you may not list".
    Denied,
    /// The bucket accepts no ACLs, or not the one that was sent.
    AclRefused,
    /// The condition of the request did not hold.
    ConditionFailed,
    /// Somebody else wrote at the same moment: try again.
    Conflict,
    /// S3 asked us to slow down, for longer than we were ready to wait.
    Throttled,
    /// The network or the server failed, for longer than we were ready to wait.
    Unavailable,
    /// There are no credentials that S3 accepts.
    Credentials,
    /// The object would be larger than S3 takes.
    TooLarge,
    /// The key is longer than S3 takes.
    KeyTooLong,
    /// The object ends before the range begins.
    InvalidRange,
    /// The object is archived and must be restored first.
    Archived,
    /// The key that encrypts the object is not ours to use: KMS denies it, or a customer's key is missing or is not
    /// the one.
    KeyRefused,
    /// The server does not know this request or one of its headers.
    Unsupported,
    /// The bucket lives in another region than the request was sent to, and S3 did not say where.
    WrongRegion,
    /// Anything else.
    Unexpected,
}

/// A failed request: what it came to, and all that helps a person to find out why.
#[derive(Clone)]
pub struct S3Error(Arc<Failure>);

#[derive(Clone)]
struct Failure {
    kind: S3ErrorKind,
    request: RequestName,
    status: Option<u16>,
    code: Option<String>,
    message: Option<String>,
    hint: Option<String>,
    request_id: Option<String>,
    extended_request_id: Option<String>,
}

/// What was asked of S3: the API operation and what it was about.
#[derive(Debug, Clone)]
pub struct RequestName {
    /// The operation's name in the S3 API, which is also that of the action in most policies.
    pub operation: &'static str,
    /// The bucket's name.
    pub bucket: String,
    /// The key or prefix, where there is one.
    pub key: Option<String>,
}

impl S3Error {
    /// What the caller can do about it.
    pub fn kind(&self) -> S3ErrorKind {
        self.0.kind
    }

    /// The status of the answer, if there was one.
    pub(super) fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// S3's own code, such as `AccessDenied`; none in answers to HEAD.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// What S3 says in words, if anything.
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// What was asked.
    pub fn request(&self) -> &RequestName {
        &self.0.request
    }

    /// Returns this error with advice for people.
    pub(super) fn hinted(self, hint: String) -> Self {
        Self(Arc::new(Failure { hint: Some(hint), ..Failure::clone(&self.0) }))
    }

    /// Returns an error that no answer of S3 stands behind.
    pub fn local(kind: S3ErrorKind, request: RequestName, message: impl Into<String>) -> Self {
        Self(Arc::new(Failure {
            kind,
            request,
            status: None,
            code: None,
            message: Some(message.into()),
            hint: None,
            request_id: None,
            extended_request_id: None,
        }))
    }

    /// Sorts one entry of an answer that speaks of many objects.
    pub(super) fn of_code(request: RequestName, code: Option<String>, message: Option<String>) -> Self {
        let kind = match code.as_deref() {
            Some("AccessDenied") => S3ErrorKind::Denied,
            code => of_answer(None, code),
        };
        Self(Arc::new(Failure {
            kind,
            request,
            status: None,
            code,
            message,
            hint: None,
            request_id: None,
            extended_request_id: None,
        }))
    }

    /// Sorts a failed SDK call.
    pub(super) fn sort<E>(request: RequestName, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.code().map(str::to_owned);
        let (kind, message) = match error {
            SdkError::ServiceError(_) | SdkError::ResponseError(_) => {
                let kind = match is_about_a_key(code.as_deref(), error.message()) {
                    true => S3ErrorKind::KeyRefused,
                    false => of_answer(status, code.as_deref()),
                };
                (kind, error.message().map(str::to_owned))
            }
            _ => (of_no_answer(error), Some(innermost_words(error))),
        };
        // An answer that broke off has a status but says nothing; keep what the SDK made of it.
        let message = match error {
            SdkError::ResponseError(_) => Some(innermost_words(error)),
            _ => message,
        };
        Self(Arc::new(Failure {
            kind,
            request,
            status,
            code,
            message,
            hint: None,
            request_id: error.request_id().map(str::to_owned),
            extended_request_id: error.extended_request_id().map(str::to_owned),
        }))
    }
}

/// Sorts an answer by its status and its code, of which HEAD has only the first.
fn of_answer(status: Option<u16>, code: Option<&str>) -> S3ErrorKind {
    if let Some(kind) = code.and_then(of_code) {
        return kind;
    }
    match status {
        Some(301 | 302 | 307) => S3ErrorKind::WrongRegion,
        Some(404) => S3ErrorKind::Absent,
        Some(401 | 403) => S3ErrorKind::Denied,
        Some(409) => S3ErrorKind::Conflict,
        Some(412) => S3ErrorKind::ConditionFailed,
        Some(413) => S3ErrorKind::TooLarge,
        Some(416) => S3ErrorKind::InvalidRange,
        Some(429) => S3ErrorKind::Throttled,
        Some(501) => S3ErrorKind::Unsupported,
        Some(200..=299 | 500..) => S3ErrorKind::Unavailable,
        _ => S3ErrorKind::Unexpected,
    }
}

/// Sorts the codes whose status alone would mislead; see "Error responses" in the S3 API reference.
fn of_code(code: &str) -> Option<S3ErrorKind> {
    Some(match code {
        "NoSuchKey" | "NotFound" => S3ErrorKind::Absent,
        "NoSuchBucket" => S3ErrorKind::NoBucket,
        "NoSuchUpload" => S3ErrorKind::NoUpload,
        "AccessControlListNotSupported" => S3ErrorKind::AclRefused,
        "InvalidObjectState" | "ObjectNotInActiveTierError" => S3ErrorKind::Archived,
        "PreconditionFailed" => S3ErrorKind::ConditionFailed,
        "ConditionalRequestConflict" | "OperationAborted" => S3ErrorKind::Conflict,
        "SlowDown" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded" => S3ErrorKind::Throttled,
        "RequestTimeout" | "InternalError" | "ServiceUnavailable" => S3ErrorKind::Unavailable,
        "EntityTooLarge" => S3ErrorKind::TooLarge,
        "KeyTooLongError" | "KeyTooLong" => S3ErrorKind::KeyTooLong,
        "InvalidRange" => S3ErrorKind::InvalidRange,
        "NotImplemented" => S3ErrorKind::Unsupported,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "Redirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => S3ErrorKind::WrongRegion,
        code if refuses_credentials(code) => S3ErrorKind::Credentials,
        _ => return None,
    })
}

/// Sorts a call that got no answer at all.
fn of_no_answer<E>(error: &SdkError<E, HttpResponse>) -> S3ErrorKind {
    match error {
        // The provider's own failure arrives as "other": no HTTP, not retried by the SDK.
        SdkError::DispatchFailure(failure) if failure.is_other() => S3ErrorKind::Credentials,
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => S3ErrorKind::Unavailable,
        _ => S3ErrorKind::Unexpected,
    }
}

/// Whether a code says that these credentials will not do, and fresh ones may.
///
/// Expiry has many faces: AWS says `ExpiredToken`, some servers say that the key is unknown.
pub(super) fn refuses_credentials(code: &str) -> bool {
    matches!(
        code,
        "ExpiredToken"
            | "ExpiredTokenException"
            | "RequestExpired"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "InvalidAccessKeyId"
            | "InvalidClientTokenId"
    )
}

impl S3Error {
    /// Returns in one line what was asked and what came back, with the sentence where it says more
    /// than the code does.
    pub fn brief(&self) -> String {
        let failure = &*self.0;
        let (request, said) = (&failure.request, failure.message.as_deref());
        let said = said.filter(|message| *message != "Access Denied").map(|message| format!(" ({message})"));
        let is_unanswered = failure.status.is_none() && failure.kind == S3ErrorKind::Unavailable;
        let status = match failure.status {
            Some(status) => format!(" {status}"),
            None if is_unanswered => " no answer".to_owned(),
            None => String::new(),
        };
        let code = failure.code.as_deref().map(|code| format!(" {code}")).unwrap_or_default();
        let id = failure.request_id.as_deref().map(|id| format!(", request id {id}")).unwrap_or_default();
        format!("{request}:{status}{code}{}{id}", said.unwrap_or_default())
    }
}

impl From<S3Error> for Error {
    fn from(error: S3Error) -> Self {
        let kind = match error.kind() {
            S3ErrorKind::Absent | S3ErrorKind::NoBucket => Kind::NotFound,
            S3ErrorKind::Denied
            | S3ErrorKind::NotTheOwner
            | S3ErrorKind::AclRefused
            | S3ErrorKind::Credentials
            | S3ErrorKind::Archived
            | S3ErrorKind::KeyRefused => Kind::Denied,
            S3ErrorKind::ConditionFailed => Kind::Changed,
            S3ErrorKind::TooLarge => Kind::TooLarge,
            S3ErrorKind::KeyTooLong => Kind::NameTooLong,
            S3ErrorKind::Unsupported => Kind::NotSupported,
            S3ErrorKind::NoUpload
            | S3ErrorKind::Conflict
            | S3ErrorKind::Throttled
            | S3ErrorKind::Unavailable
            | S3ErrorKind::InvalidRange
            | S3ErrorKind::WrongRegion
            | S3ErrorKind::Unexpected => Kind::Io,
        };
        match error.kind() {
            S3ErrorKind::Throttled
            | S3ErrorKind::Unavailable
            | S3ErrorKind::Credentials
            | S3ErrorKind::Conflict
            | S3ErrorKind::NoUpload => Self::new(kind, error.to_string()).passing(),
            S3ErrorKind::WrongRegion => Self::new(kind, format!("{error}; hint: {ELSEWHERE}")),
            S3ErrorKind::Denied | S3ErrorKind::AclRefused | S3ErrorKind::KeyRefused => {
                let mark = if error.0.hint.is_some() { "" } else { "hint: " };
                Self::new(kind, format!("{error}; {mark}{ASK_THE_DOCTOR}"))
            }
            _ => Self::new(kind, error.to_string()),
        }
    }
}

/// What to do about a bucket that is not where it was looked for.
const ELSEWHERE: &str = "the bucket lives in another region; leave its `region` away in the configuration \
    file, or let --region name one of the same partition";

/// A refusal names no policy, and there is a command that finds it out.
const ASK_THE_DOCTOR: &str = "s3xmount doctor says what is missing where";

impl fmt::Display for RequestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s3://{}", self.operation, self.bucket)?;
        match &self.key {
            Some(key) => write!(f, "/{key}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure = &*self.0;
        write!(f, "{}", failure.request)?;
        match (&failure.status, &failure.code) {
            (Some(status), Some(code)) => write!(f, ": {status} {code}")?,
            (Some(status), None) => write!(f, ": {status}")?,
            (None, Some(code)) => write!(f, ": {code}")?,
            // This was concluded from an answer, which said less.
            (None, None) if matches!(failure.kind, S3ErrorKind::NoBucket | S3ErrorKind::NotTheOwner) => {}
            (None, None) => write!(f, ": no answer")?,
        }
        if let Some(message) = &failure.message {
            write!(f, " ({message})")?;
        }
        if let Some(id) = &failure.request_id {
            write!(f, " request-id={id}")?;
        }
        if let Some(id) = &failure.extended_request_id {
            write!(f, " id-2={id}")?;
        }
        if let Some(hint) = &failure.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.kind())
    }
}

impl std::error::Error for S3Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sorted_by_code_first_and_status_second() {
        let table = [
            (404, Some("NoSuchKey"), S3ErrorKind::Absent),
            (404, Some("NoSuchBucket"), S3ErrorKind::NoBucket),
            (404, Some("NoSuchUpload"), S3ErrorKind::NoUpload),
            (404, None, S3ErrorKind::Absent),
            (403, None, S3ErrorKind::Denied),
            (403, Some("AccessDenied"), S3ErrorKind::Denied),
            (403, Some("InvalidObjectState"), S3ErrorKind::Archived),
            (403, Some("InvalidAccessKeyId"), S3ErrorKind::Credentials),
            (400, Some("ExpiredToken"), S3ErrorKind::Credentials),
            (400, Some("AccessControlListNotSupported"), S3ErrorKind::AclRefused),
            (412, Some("PreconditionFailed"), S3ErrorKind::ConditionFailed),
            (409, Some("ConditionalRequestConflict"), S3ErrorKind::Conflict),
            (416, Some("InvalidRange"), S3ErrorKind::InvalidRange),
            (503, Some("SlowDown"), S3ErrorKind::Throttled),
            (500, Some("InternalError"), S3ErrorKind::Unavailable),
            (200, None, S3ErrorKind::Unavailable),
            (501, Some("NotImplemented"), S3ErrorKind::Unsupported),
            (301, None, S3ErrorKind::WrongRegion),
            (301, Some("PermanentRedirect"), S3ErrorKind::WrongRegion),
            (400, Some("AuthorizationHeaderMalformed"), S3ErrorKind::WrongRegion),
            (400, Some("IllegalLocationConstraintException"), S3ErrorKind::WrongRegion),
            (400, None, S3ErrorKind::Unexpected),
            (400, Some("MalformedXML"), S3ErrorKind::Unexpected),
        ];
        for (status, code, kind) in table {
            assert_eq!(of_answer(Some(status), code), kind, "{status} {code:?}");
        }
    }

    #[test]
    fn an_error_names_what_was_asked_of_which_key() {
        let request = RequestName { operation: "GetObject", bucket: "b".into(), key: Some("a/k".into()) };
        let error = S3Error::local(S3ErrorKind::Unavailable, request, "cut short");
        assert_eq!(error.to_string(), "GetObject s3://b/a/k: no answer (cut short)");
        assert_eq!(error.brief(), "GetObject s3://b/a/k: no answer (cut short)");
        assert_eq!(Error::from(error).kind(), Kind::Io);
    }

    #[test]
    fn whoever_is_denied_something_is_told_how_to_find_out_why() {
        let request = RequestName { operation: "GetObject", bucket: "b".into(), key: None };
        let error = Error::from(S3Error::local(S3ErrorKind::Denied, request, "Access Denied"));
        assert!(error.to_string().ends_with("; hint: s3xmount doctor says what is missing where"), "{error}");
    }
}
