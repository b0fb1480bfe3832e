//! Answers that say more about the credentials, or the clock, than about the request.
//!
//! ```text
//!   400, 401, 403 ──────────┬─ the session has ended ────► the owner renews it ──────────┐
//!                           ├─ the time is wrong ────────► the SDK signs with S3's time ─┼─► one more attempt
//!                           └─ what used to work is ─────► the owner may suspect that ───┘
//!                              denied                      the session was revoked
//! ```
//!
//! The next attempt asks for credentials again and gets fresh ones, so the application notices
//! nothing. How often fresh ones may be made is their owner's business.
//!
//! Answers to HEAD have no body to say why in. A bare 400 is an ended session or one of several things
//! about the object, so it counts for nothing here, and whoever sent the HEAD asks in another way.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use aws_sdk_s3::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
    FinalizerInterceptorContextMut,
};
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use parking_lot::RwLock;

use super::error::refuses_credentials;
use crate::clock::ServerTime;

/// Whoever owns the credentials that requests are signed with.
pub trait CredentialsOwner: Send + Sync {
    /// S3 takes the keys of this access key id for expired or unknown.
    fn refused(&self, access_key_id: &str);

    /// S3 denies with these keys what it used to allow. Returns whether another attempt is worth it.
    fn denied(&self, access_key_id: &str) -> bool;

    /// Another attempt was worth it.
    fn confirmed(&self);
}

/// Notices such answers, tells those who can do something about it, and asks for another attempt.
/// Clones work for the same bucket.
#[derive(Clone)]
pub(super) struct Healing {
    owner: Arc<dyn CredentialsOwner>,
    time: ServerTime,
    /// The operations that were allowed before: only their denial is news.
    allowed: Arc<RwLock<HashSet<String>>>,
}

impl Healing {
    pub(super) fn new(owner: Arc<dyn CredentialsOwner>) -> Self {
        Self { owner, time: ServerTime::default(), allowed: Arc::default() }
    }

    fn record_success(&self, bag: &ConfigBag) {
        let Some(operation) = bag.load::<Metadata>() else { return };
        if !self.allowed.read().contains(operation.name()) {
            self.allowed.write().insert(operation.name().to_owned());
        }
    }

    /// Does what can be done about a complaint; whether that is worth another attempt.
    fn answer(&self, complaint: Complaint, response: &HttpResponse, bag: &mut ConfigBag) -> bool {
        let Some(SignedWith(access_key_id)) = bag.load::<SignedWith>() else { return false };
        let signed_ahead = bag.load::<SignedAhead>().map_or(0, |signed| signed.0);
        // First the time: a HEAD that was signed at a wrong one is denied without a word. The SDK has
        // learnt the right one from this answer.
        if response.headers().get("date").is_some_and(|date| self.time.learn(date, signed_ahead)) {
            return true;
        }
        match complaint {
            Complaint::Credentials => {
                self.owner.refused(access_key_id);
                true
            }
            Complaint::Time => false,
            Complaint::Denial => {
                let operation = bag.load::<Metadata>();
                let was_allowed =
                    operation.is_some_and(|operation| self.allowed.read().contains(operation.name()));
                // Once for each request: what is denied again is simply denied.
                let is_first = was_allowed && bag.load::<Suspected>().is_none();
                let is_suspicious = is_first && self.owner.denied(access_key_id);
                if is_suspicious {
                    bag.interceptor_state().store_put(Suspected);
                }
                is_suspicious
            }
        }
    }
}

/// The access key id an attempt was signed with. Remembered because the SDK gives the request
/// away when it is sent, and the answer does not name it.
#[derive(Debug)]
struct SignedWith(String);

impl Storable for SignedWith {
    type Storer = StoreReplace<Self>;
}

/// How many seconds S3's clock was taken to be ahead when an attempt was signed.
#[derive(Debug)]
struct SignedAhead(i64);

impl Storable for SignedAhead {
    type Storer = StoreReplace<Self>;
}

/// A denial of this request has made its credentials suspect.
#[derive(Debug)]
struct Suspected;

impl Storable for Suspected {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Healing {
    fn name(&self) -> &'static str {
        "heal refused credentials"
    }

    fn read_before_signing(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().store_put(SignedAhead(self.time.ahead_seconds()));
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let header = context.request().headers().get("authorization");
        if let Some(key_id) = header.and_then(access_key_id) {
            bag.interceptor_state().store_put(SignedWith(key_id.to_owned()));
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.output_or_error().is_ok() {
            self.record_success(bag);
        }
        Ok(())
    }

    /// The last moment at which the answer can still be marked for [`classify_retry`](ClassifyRetry::classify_retry).
    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(response) = context.response_mut() else { return Ok(()) };
        let Some(complaint) = Complaint::of(response) else {
            // Absent is an answer, too: it is not denied any more.
            if bag.load::<Suspected>().is_some() && !response.status().is_server_error() {
                self.owner.confirmed();
            }
            return Ok(());
        };
        if self.answer(complaint, response, bag) {
            response.headers_mut().insert(AGAIN, "yes");
        }
        Ok(())
    }
}

impl ClassifyRetry for Healing {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response() {
            Some(response) if response.headers().get(AGAIN).is_some() => RetryAction::transient_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "refused credentials"
    }
}

impl fmt::Debug for Healing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Healing")
    }
}

/// What an answer complains about, beyond the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Complaint {
    /// The keys are expired or unknown.
    Credentials,
    /// The signature is of another time.
    Time,
    /// It is not allowed.
    Denial,
}

impl Complaint {
    fn of(response: &HttpResponse) -> Option<Self> {
        let status = response.status().as_u16();
        if !matches!(status, 400 | 401 | 403) {
            return None;
        }
        let code = response.body().bytes().filter(|body| !body.is_empty()).map(error_code);
        match (status, code) {
            (_, Some(Some(code))) if refuses_credentials(code) => Some(Self::Credentials),
            (_, Some(Some("RequestTimeTooSkewed"))) => Some(Self::Time),
            (403, None | Some(Some("AccessDenied"))) => Some(Self::Denial),
            _ => None,
        }
    }
}

/// The code of an S3 error document. The SDK parses it too, but into a type per operation.
fn error_code(document: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(document).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code)
}

/// The access key id of a SigV4 `Authorization` header:
/// `AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/s3/aws4_request, SignedHeaders=…`.
fn access_key_id(authorization: &str) -> Option<&str> {
    let (_, rest) = authorization.split_once("Credential=")?;
    rest.split_once('/').map(|(key_id, _)| key_id)
}

/// Our mark on an answer that another attempt is worth it. The classifier sees nothing else of ours.
const AGAIN: &str = "x-s3xmount-again";

#[cfg(test)]
mod tests {
    use aws_smithy_types::body::SdkBody;

    use super::*;

    #[test]
    fn the_code_is_found_in_an_error_document() {
        let document =
            b"<?xml version=\"1.0\"?>\n<Error><Code>ExpiredToken</Code><Message>m</Message></Error>";
        assert_eq!(error_code(document), Some("ExpiredToken"));
        assert_eq!(error_code(b"<html>"), None);
        assert_eq!(error_code(&[0xff]), None);
    }

    #[test]
    fn the_access_key_id_is_found_in_the_signature() {
        let header =
            "AWS4-HMAC-SHA256 Credential=ASIAX/20260101/r/s3/aws4_request, SignedHeaders=host, Signature=0";
        assert_eq!(access_key_id(header), Some("ASIAX"));
        assert_eq!(access_key_id("Bearer x"), None);
    }

    #[test]
    fn an_answer_complains_about_credentials_the_time_or_the_right() {
        let of = |status: u16, code: &str| {
            let body = match code {
                "" => String::new(),
                code => format!("<Error><Code>{code}</Code></Error>"),
            };
            let status = status.try_into().expect("a status");
            Complaint::of(&HttpResponse::new(status, SdkBody::from(body)))
        };
        for (status, code, complaint) in [
            (400, "ExpiredToken", Some(Complaint::Credentials)),
            (400, "ExpiredTokenException", Some(Complaint::Credentials)),
            (400, "InvalidToken", Some(Complaint::Credentials)),
            (400, "TokenRefreshRequired", Some(Complaint::Credentials)),
            (403, "RequestExpired", Some(Complaint::Credentials)),
            (403, "InvalidAccessKeyId", Some(Complaint::Credentials)),
            (400, "", None),
            (403, "RequestTimeTooSkewed", Some(Complaint::Time)),
            (403, "AccessDenied", Some(Complaint::Denial)),
            (403, "", Some(Complaint::Denial)),
            (403, "InvalidObjectState", None),
            (400, "MalformedXML", None),
            (404, "", None),
            (503, "SlowDown", None),
        ] {
            assert_eq!(of(status, code), complaint, "{status} {code}");
        }
    }
}
