//! STS: `AssumeRole` and `GetCallerIdentity`.
//!
//! `AssumeRole` asks the role's trust policy and the caller's identity policy, which combine
//! as they do for any resource, and then holds the wished-for duration against three limits:
//! AWS's own bounds, the role's `MaxSessionDuration`, and one hour if the caller is itself a
//! role session. The sentences are AWS's: clients must tell some of these cases apart by them,
//! since all share the code `ValidationError`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::BodyExt as _;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use s3s::{Body, S3Request, S3Response, S3Result};
use serde_json::Value;

use super::World;
use super::access::{self, Resource};
use super::directory::{BadKey, Caller, Role, SessionKeys};
use super::faults::{Fate, Place};
use super::identity::Identity;
use super::listing::percent_decode;
use super::policy::{Context, Policy, Question};
use super::refusal::Refusal;
use super::serve::Exchange;

/// Answers a request whose signature was verified.
pub(super) async fn answer(
    world: &World,
    caller: Result<Caller, BadKey>,
    request: S3Request<Body>,
) -> S3Result<S3Response<Body>> {
    let exchange = Exchange::of(&request.extensions);
    let outcome = respond(world, caller, request, &exchange).await;
    let (status, document) = match outcome {
        Ok(document) => (200, document),
        Err(refusal) => (refusal.status, error_document(&refusal.code, &refusal.message, exchange.id())),
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
        "RequestTimeTooSkewed" => (403, "SignatureDoesNotMatch", "Signature expired or not yet current"),
        "SignatureDoesNotMatch" => (403, code, SIGNATURE_WRONG),
        _ => (400, code, message),
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    Some((StatusCode::from_u16(status).ok()?, error_document(code, message, request_id)))
}

async fn respond(
    world: &World,
    caller: Result<Caller, BadKey>,
    request: S3Request<Body>,
    exchange: &Arc<Exchange>,
) -> Result<String, Refusal> {
    let caller = caller.map_err(|bad| match bad {
        BadKey::Unknown | BadKey::WrongToken => Refusal::new(403, "InvalidClientTokenId", INVALID_TOKEN),
        BadKey::Expired => {
            Refusal::new(403, "ExpiredToken", "The security token included in the request is expired")
        }
    })?;
    if caller.identity == Identity::Anonymous {
        return Err(Refusal::new(
            403,
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        ));
    }
    let form = Form::read(request.input).await?;
    let operation = match form.get("Action") {
        Some("AssumeRole") => "AssumeRole",
        Some("GetCallerIdentity") => "GetCallerIdentity",
        action => {
            let action = action.unwrap_or_default();
            return Err(Refusal::new(
                400,
                "InvalidAction",
                format!("Could not find operation {action} for version 2011-06-15"),
            ));
        }
    };
    exchange.begin(operation);
    let place = Place { bucket: None, key: form.get("RoleArn").map(str::to_owned) };
    match world.faults.meet(operation, &place).await {
        Fate::Proceed(aftermath) => exchange.prepare(aftermath),
        Fate::Refused(refusal) => return Err(refusal),
        Fate::Dropped => {
            exchange.drop_connection();
            return Err(Refusal::new(503, "ServiceUnavailable", "The connection closes."));
        }
    }
    match operation {
        "AssumeRole" => assume_role(world, &caller, &form, exchange.id()),
        _ => Ok(caller_identity(&caller.identity, exchange.id())),
    }
}

fn assume_role(world: &World, caller: &Caller, form: &Form, request_id: &str) -> Result<String, Refusal> {
    let wish = Wish::parse(form, world.allow_short_sessions)?;
    let role = world.directory.role(&wish.role_arn).filter(|role| may_assume(world, caller, role, &wish));
    let role = role.ok_or_else(|| {
        Refusal::new(
            403,
            "AccessDenied",
            format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {}",
                caller.identity.arn(),
                wish.role_arn
            ),
        )
    })?;
    if wish.duration > role.session_max {
        return Err(validation(OVER_ROLE_MAXIMUM));
    }
    let chained = matches!(caller.identity, Identity::RoleSession { .. });
    if chained && wish.duration > CHAINED_SESSION_MAX {
        return Err(validation(OVER_CHAINING_MAXIMUM));
    }
    let packed = wish.policy.is_some();
    let now = world.clock.now_in_seconds();
    let keys = world.directory.issue_session(&role, &wish.session_name, wish.duration, wish.policy, now);
    let identity =
        Identity::RoleSession { account: role.account, role: role.name, session: wish.session_name };
    Ok(session_document(&identity, &keys, packed, request_id))
}

fn may_assume(world: &World, caller: &Caller, role: &Role, wish: &Wish) -> bool {
    // "Roles may not be assumed by root accounts."
    if matches!(caller.identity, Identity::Root { .. }) {
        return false;
    }
    let context = Context::default()
        .with("sts:RoleSessionName", wish.session_name.clone())
        .with_some("sts:ExternalId", wish.external_id.clone());
    let context = world.ambient(caller, context);
    let arn = role.arn();
    let question =
        Question { caller: &caller.identity, action: "sts:AssumeRole", resource: &arn, context: &context };
    let trust =
        Resource { owner: role.account, policy: role.trust.as_deref(), covered: true, acl_allows: false };
    // Unlike a bucket, a role admits nobody its trust policy does not name, not even at home.
    let named = role.trust.as_deref().is_some_and(|trust| trust.verdict(&question).allows());
    named && access::allowed(caller, &question, trust)
}

/// The parameters of `AssumeRole`, each of a form that AWS takes.
struct Wish {
    role_arn: String,
    session_name: String,
    duration: Duration,
    external_id: Option<String>,
    policy: Option<Policy>,
}

impl Wish {
    fn parse(form: &Form, allow_short_sessions: bool) -> Result<Self, Refusal> {
        for unmodelled in ["SerialNumber", "SourceIdentity", "PolicyArns.member.1.arn", "Tags.member.1.Key"] {
            if form.get(unmodelled).is_some() {
                return Err(Refusal::not_modelled(unmodelled));
            }
        }
        let required = |name: &str, spelled: &str| {
            form.get(name).map(str::to_owned).ok_or_else(|| {
                validation(format!(
                    "1 validation error detected: Value null at '{spelled}' failed to satisfy constraint: \
                     Member must not be null"
                ))
            })
        };
        let role_arn = required("RoleArn", "roleArn")?;
        if !role_arn.starts_with("arn:") {
            return Err(validation(format!("{role_arn} is invalid")));
        }
        let session_name = required("RoleSessionName", "roleSessionName")?;
        check_length("roleSessionName", &session_name, 2, 64)?;
        check_characters("roleSessionName", &session_name, "=,.@-", r"[\w+=,.@-]*")?;
        let external_id = form.get("ExternalId").map(str::to_owned);
        if let Some(external_id) = &external_id {
            check_length("externalId", external_id, 2, 1224)?;
            check_characters("externalId", external_id, "=,.@:/-", r"[\w+=,.@:\/-]*")?;
        }
        let duration = parse_duration(form.get("DurationSeconds"), allow_short_sessions)?;
        let policy = form.get("Policy").map(parse_session_policy).transpose()?;
        Ok(Self { role_arn, session_name, duration, external_id, policy })
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
    if text.len() > SESSION_POLICY_BYTES_MAX {
        return Err(validation(format!(
            "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have \
             length less than or equal to {SESSION_POLICY_BYTES_MAX}"
        )));
    }
    let malformed = |reason: String| Refusal::new(400, "MalformedPolicyDocument", reason);
    let document: Value = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    Policy::identity(&document).map_err(|reason| malformed(reason.to_string()))
}

fn check_length(name: &str, value: &str, min: usize, max: usize) -> Result<(), Refusal> {
    let constraint = match value.len() {
        length if length < min => format!("greater than or equal to {min}"),
        length if length > max => format!("less than or equal to {max}"),
        _ => return Ok(()),
    };
    Err(validation(format!(
        "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must \
         have length {constraint}"
    )))
}

fn check_characters(name: &str, value: &str, special: &str, pattern: &str) -> Result<(), Refusal> {
    let fits =
        |letter: char| letter.is_ascii_alphanumeric() || "_+".contains(letter) || special.contains(letter);
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

/// The fields of a form.
struct Form(BTreeMap<String, String>);

impl Form {
    async fn read(body: Body) -> Result<Self, Refusal> {
        let malformed = || Refusal::new(400, "MalformedInput", "The request body could not be read");
        let bytes = body.collect().await.map_err(|_| malformed())?.to_bytes();
        let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
        let decode = |text: &str| percent_decode(&text.replace('+', " "));
        let field = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        };
        let fields = text.split('&').filter(|pair| !pair.is_empty()).map(field);
        fields.collect::<Option<_>>().map(Self).ok_or_else(malformed)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn caller_identity(identity: &Identity, request_id: &str) -> String {
    let account = identity.account().map(|account| account.to_string()).unwrap_or_default();
    let result = format!(
        "<Arn>{}</Arn><UserId>{}</UserId><Account>{account}</Account>",
        escape(&identity.arn()),
        escape(&unique_id(identity)),
    );
    document("GetCallerIdentity", &result, request_id)
}

fn session_document(identity: &Identity, keys: &SessionKeys, packed: bool, request_id: &str) -> String {
    let mut result = format!(
        "<AssumedRoleUser><AssumedRoleId>{}</AssumedRoleId><Arn>{}</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
         <SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>",
        escape(&unique_id(identity)),
        escape(&identity.arn()),
        keys.key.id,
        keys.key.secret,
        keys.token,
        iso_time(keys.expires),
    );
    if packed {
        // How full the packed policy is, in percent; the real number follows no published rule.
        result.push_str("<PackedPolicySize>1</PackedPolicySize>");
    }
    document("AssumeRole", &result, request_id)
}

fn document(operation: &str, result: &str, request_id: &str) -> String {
    format!(
        "<{operation}Response xmlns=\"{NAMESPACE}\"><{operation}Result>{result}</{operation}Result>\
         <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    )
}

fn error_document(code: &str, message: &str, request_id: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
        escape(message)
    )
}

/// The id that outlives renaming; here it is spelled from the name, so it is stable and readable.
fn unique_id(identity: &Identity) -> String {
    let spelled = |prefix: &str, name: &str| {
        let letters =
            name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase());
        format!("{prefix}{:0<17}", letters.take(17).collect::<String>())
    };
    match identity {
        Identity::Anonymous => String::new(),
        Identity::Root { account } => account.to_string(),
        Identity::User { name, .. } => spelled("AIDA", name),
        Identity::RoleSession { role, session, .. } => format!("{}:{session}", spelled("AROA", role)),
    }
}

fn iso_time(time: SystemTime) -> String {
    let format = time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::from(time).format(&format).expect("the year has four digits")
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, letter| {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            letter if letter.is_control() => {
                write!(escaped, "&#{};", u32::from(letter)).expect("writing to a string cannot fail");
            }
            letter => escaped.push(letter),
        }
        escaped
    })
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0)
}

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const SESSION_DEFAULT: Duration = Duration::from_secs(3600);
const CHAINED_SESSION_MAX: Duration = Duration::from_secs(3600);
const SESSION_SECONDS_MIN: u64 = 900;
const SESSION_SECONDS_MAX: u64 = 43_200;
const SESSION_POLICY_BYTES_MAX: usize = 2048;

const OVER_ROLE_MAXIMUM: &str =
    "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
const OVER_CHAINING_MAXIMUM: &str =
    "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.";
const INVALID_TOKEN: &str = "The security token included in the request is invalid.";
const SIGNATURE_WRONG: &str = "The request signature we calculated does not match the signature you provided. \
                               Check your AWS Secret Access Key and signing method. Consult the service \
                               documentation for details.";
