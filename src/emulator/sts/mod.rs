//! STS: `AssumeRole`, `AssumeRoleWithWebIdentity` and `GetCallerIdentity`.
//!
//! A request is a form. Its parameters are checked first, then who may do it, then the limits:
//! AWS's own bounds on durations, the role's `MaxSessionDuration`, one hour if the caller is itself
//! a role session, and the packed space for policies and tags. The sentences are AWS's where they
//! are known: clients must tell some of these cases apart by them, since all share the code
//! `ValidationError`. Parameters that are not modelled answer 501 `NotImplemented`.
//!
//! ```text
//!   form           fields, taken one by one
//!     wish           what both ways of assuming a role share; session_tags
//!       assume_role    who may, second factors, chains
//!       web_identity   who may with a token
//!         documents      the XML of the answer
//! ```

mod assume_role;
mod documents;
mod form;
mod session_tags;
mod web_identity;
mod wish;

use std::sync::Arc;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use s3s::{Body, S3Request, S3Response, S3Result};

use self::form::Form;
use super::World;
use super::admission::Unfit;
use super::directory::{BadKey, Caller};
use super::faults::{Fate, Place};
use super::identity::Identity;
use super::refusal::Refusal;
use super::serve::Exchange;

/// Answers a request whose signature, if it has one, was verified.
pub(super) async fn answer(
    world: &World,
    caller: Result<Caller, Unfit>,
    request: S3Request<Body>,
) -> S3Result<S3Response<Body>> {
    let exchange = Exchange::of(&request.extensions);
    let outcome = respond(world, caller, request, &exchange).await;
    let (status, document) = match outcome {
        Ok(document) => (200, document),
        Err(refusal) => (refusal.status, documents::error(&refusal.code, &refusal.message, exchange.id())),
    };
    let mut response = S3Response::new(Body::from(document));
    response.status = StatusCode::from_u16(status).ok();
    response.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    Ok(response)
}

/// Turns what s3s says about a bad signature into what STS says.
///
/// s3s writes S3's documents on every route, and SDKs read those as an error without a code.
pub(super) fn reword(
    headers: &mut HeaderMap,
    document: &str,
    request_id: &str,
) -> Option<(StatusCode, String)> {
    let code = between(document, "<Error><Code>", "</Code>")?;
    let message = between(document, "<Message>", "</Message>").unwrap_or_default();
    let (status, code, message) = match code {
        "InvalidAccessKeyId" => (403, "InvalidClientTokenId", INVALID_TOKEN),
        "SignatureDoesNotMatch" => (403, code, SIGNATURE_WRONG),
        _ => (400, code, message),
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    Some((StatusCode::from_u16(status).ok()?, documents::error(code, message, request_id)))
}

async fn respond(
    world: &World,
    caller: Result<Caller, Unfit>,
    request: S3Request<Body>,
    exchange: &Arc<Exchange>,
) -> Result<String, Refusal> {
    let mut form = Form::read(request.input).await?;
    let action = form.take("Action").unwrap_or_default();
    let version = form.take("Version").unwrap_or_default();
    // The one operation that asks for no signature asks for none of its consequences either.
    let caller = match action.as_str() {
        "AssumeRoleWithWebIdentity" => Caller::anonymous(),
        _ => known(caller)?,
    };
    let operation = OPERATIONS.into_iter().find(|known| *known == action && version == VERSION);
    let operation = operation.ok_or_else(|| {
        let message = format!("Could not find operation {action} for version {version}");
        Refusal::new(400, "InvalidAction", message)
    })?;
    meet_faults(world, operation, &form, exchange).await?;
    let result = match operation {
        "AssumeRole" => assume_role::assume_role(world, &caller, form)?,
        "AssumeRoleWithWebIdentity" => web_identity::assume_role(world, form)?,
        _ => {
            form.finish()?;
            documents::caller_identity(&caller.identity)
        }
    };
    Ok(documents::answer(operation, &result, exchange.id()))
}

/// Makes sure that somebody signed, and with what is worth something.
fn known(caller: Result<Caller, Unfit>) -> Result<Caller, Refusal> {
    match caller {
        Ok(Caller { identity: Identity::Anonymous, .. }) => {
            Err(Refusal::new(403, "MissingAuthenticationToken", "Request is missing Authentication Token"))
        }
        Ok(caller) => Ok(caller),
        Err(Unfit::Time(skew)) => Err(Refusal::new(403, "SignatureDoesNotMatch", skew.sts_sentence())),
        Err(Unfit::Key(BadKey::Unknown | BadKey::WrongToken)) => {
            Err(Refusal::new(403, "InvalidClientTokenId", INVALID_TOKEN))
        }
        Err(Unfit::Key(BadKey::Expired)) => {
            Err(Refusal::new(403, "ExpiredToken", "The security token included in the request is expired"))
        }
    }
}

async fn meet_faults(
    world: &World,
    operation: &'static str,
    form: &Form,
    exchange: &Arc<Exchange>,
) -> Result<(), Refusal> {
    exchange.begin(operation);
    let place = Place { bucket: None, key: form.peek("RoleArn").map(str::to_owned) };
    match world.faults.meet(operation, &place).await {
        Fate::Proceed(aftermath) => {
            exchange.prepare(aftermath);
            Ok(())
        }
        Fate::Refused(refusal) => Err(refusal),
        Fate::Dropped => {
            exchange.drop_connection();
            Err(Refusal::new(503, "ServiceUnavailable", "The connection closes."))
        }
    }
}

fn check_length(name: &str, value: &str, min: usize, max: usize) -> Result<(), Refusal> {
    let constraint = match value.chars().count() {
        length if length < min => format!("greater than or equal to {min}"),
        length if length > max => format!("less than or equal to {max}"),
        _ => return Ok(()),
    };
    Err(validation(format!(
        "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must \
         have length {constraint}"
    )))
}

fn check_list(name: &str, length: usize, max: usize) -> Result<(), Refusal> {
    if length <= max {
        return Ok(());
    }
    Err(validation(format!(
        "1 validation error detected: Value at '{name}' failed to satisfy constraint: Member must have \
         length less than or equal to {max}"
    )))
}

/// Letters, digits, `_+` and some special ones: what most names in STS are made of.
fn check_characters(name: &str, value: &str, special: &str, pattern: &str) -> Result<(), Refusal> {
    let fits =
        |letter: char| letter.is_ascii_alphanumeric() || "_+".contains(letter) || special.contains(letter);
    check_pattern(name, value, fits, pattern)
}

fn check_pattern(name: &str, value: &str, fits: impl Fn(char) -> bool, pattern: &str) -> Result<(), Refusal> {
    if value.chars().all(fits) {
        return Ok(());
    }
    Err(validation(format!(
        "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must \
         satisfy regular expression pattern: {pattern}"
    )))
}

fn validation(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(400, "ValidationError", message)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0)
}

const OPERATIONS: [&str; 3] = ["AssumeRole", "AssumeRoleWithWebIdentity", "GetCallerIdentity"];
const VERSION: &str = "2011-06-15";
const INVALID_TOKEN: &str = "The security token included in the request is invalid.";
const SIGNATURE_WRONG: &str = "The request signature we calculated does not match the signature you provided. \
                               Check your AWS Secret Access Key and signing method. Consult the service \
                               documentation for details.";
