//! An STS that answers as a test tells it to, behind an HTTP client that needs no socket.
//!
//! It goes through the real SDK client: what is scripted is what comes over the wire. Time is
//! tokio's, paused, so an hour of renewals takes no time and every run is the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::date_time::Format;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Clock;

/// What the scripted STS does with one AssumeRole.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// A session as long as was asked for.
    Grant,
    /// An error, as STS words them.
    Refuse { status: u16, code: &'static str },
    /// A 200 that is not from STS.
    Garbage,
    /// Nobody listens.
    Unreachable,
    /// Somebody listens and says nothing.
    Silence,
    /// A session, once the test gives a permit.
    GrantWhenPermitted(Arc<Semaphore>),
}

impl Answer {
    pub(super) const DENIED: Self = Self::Refuse { status: 403, code: "AccessDenied" };
    pub(super) const DOWN: Self = Self::Refuse { status: 503, code: "ServiceUnavailable" };
    pub(super) const THROTTLED: Self = Self::Refuse { status: 400, code: "Throttling" };
    pub(super) const INVALID: Self = Self::Refuse { status: 400, code: "ValidationError" };
    pub(super) const EXPIRED: Self = Self::Refuse { status: 403, code: "ExpiredToken" };
}

/// One AssumeRole as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// Seconds after the start.
    pub(super) at: Duration,
    /// The access key id that signed it.
    pub(super) signer: String,
    pub(super) role: String,
    pub(super) session_name: String,
    pub(super) seconds: u64,
    /// Everything else, as it was sent.
    form: Form,
}

impl Call {
    /// A parameter of the request by its name in the STS API.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.form.value(name)
    }
}

/// The server; clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct ScriptedSts(Arc<Server>);

#[derive(Debug)]
struct Server {
    time: TestTime,
    script: Mutex<Script>,
}

#[derive(Debug)]
struct Script {
    next: VecDeque<Answer>,
    then: Answer,
    caller: Result<String, Answer>,
    calls: Vec<Call>,
}

impl ScriptedSts {
    /// Returns a server that grants everything.
    pub(super) fn new(time: TestTime) -> Self {
        let script = Script {
            next: VecDeque::new(),
            then: Answer::Grant,
            caller: Ok("arn:aws:iam::111122223333:user/alice".to_owned()),
            calls: Vec::new(),
        };
        Self(Arc::new(Server { time, script: Mutex::new(script) }))
    }

    /// Answers the next calls with these, one each.
    pub(super) fn next<const COUNT: usize>(&self, answers: [Answer; COUNT]) {
        self.0.script.lock().next.extend(answers);
    }

    /// Answers everything that is not scripted with this, from now on.
    pub(super) fn always(&self, answer: Answer) {
        self.0.script.lock().then = answer;
    }

    /// Answers GetCallerIdentity with this.
    pub(super) fn caller_is(&self, caller: Result<&str, Answer>) {
        self.0.script.lock().caller = caller.map(str::to_owned);
    }

    /// Every AssumeRole so far.
    pub(super) fn calls(&self) -> Vec<Call> {
        self.0.script.lock().calls.clone()
    }

    pub(super) fn call_count(&self) -> usize {
        self.0.script.lock().calls.len()
    }
}

impl HttpClient for ScriptedSts {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for ScriptedSts {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let server = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move { server.answer(&request).await })
    }
}

impl Server {
    async fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let form = Form::of(request);
        if form.value("Action").as_deref() == Some("GetCallerIdentity") {
            return self.identify();
        }
        let call = self.call(&form, request);
        let (answer, serial) = {
            let mut script = self.script.lock();
            script.calls.push(call.clone());
            let fallback = script.then.clone();
            (script.next.pop_front().unwrap_or(fallback), script.calls.len())
        };
        match answer {
            Answer::GrantWhenPermitted(permits) => {
                permits.acquire().await.expect("never closed").forget();
                Ok(respond(200, self.session(&call, serial)))
            }
            Answer::Grant => Ok(respond(200, self.session(&call, serial))),
            Answer::Silence => std::future::pending().await,
            other => fail(&other),
        }
    }

    fn identify(&self) -> Result<HttpResponse, ConnectorError> {
        match &self.script.lock().caller {
            Ok(arn) => Ok(respond(
                200,
                format!(
                    "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{arn}</Arn>\
                     <UserId>U</UserId><Account>111122223333</Account></GetCallerIdentityResult>\
                     </GetCallerIdentityResponse>"
                ),
            )),
            Err(answer) => fail(answer),
        }
    }

    fn call(&self, form: &Form, request: &HttpRequest) -> Call {
        let authorization = request.headers().get("authorization").expect("requests are signed");
        let signer = authorization.split("Credential=").nth(1).and_then(|rest| rest.split('/').next());
        Call {
            at: self.time.elapsed(),
            signer: signer.expect("a credential scope").to_owned(),
            role: form.value("RoleArn").expect("a role"),
            session_name: form.value("RoleSessionName").expect("a session name"),
            seconds: form.value("DurationSeconds").expect("a duration").parse().expect("a number"),
            form: form.clone(),
        }
    }

    fn session(&self, call: &Call, serial: usize) -> String {
        let expiry = self.time.now() + Duration::from_secs(call.seconds);
        let expiry = aws_smithy_types::DateTime::from(expiry).fmt(Format::DateTime).expect("a date");
        let arn = call.role.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/");
        let name = &call.session_name;
        format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA{serial}</AccessKeyId>\
             <SecretAccessKey>secret-of-{serial}</SecretAccessKey><SessionToken>token-of-{serial}</SessionToken>\
             <Expiration>{expiry}</Expiration></Credentials><AssumedRoleUser>\
             <AssumedRoleId>R:{name}</AssumedRoleId><Arn>{arn}/{name}</Arn></AssumedRoleUser>\
             </AssumeRoleResult></AssumeRoleResponse>"
        )
    }
}

fn fail(answer: &Answer) -> Result<HttpResponse, ConnectorError> {
    match answer {
        Answer::Refuse { status, code } => Ok(respond(
            *status,
            format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>because</Message>\
                 </Error></ErrorResponse>"
            ),
        )),
        Answer::Unreachable => Err(ConnectorError::io("connection refused".into())),
        _ => Ok(respond(200, "<html>Welcome to the hotel</html>".to_owned())),
    }
}

fn respond(status: u16, body: String) -> HttpResponse {
    let mut response = HttpResponse::new(status.try_into().expect("a status"), SdkBody::from(body));
    response.headers_mut().insert("x-amzn-requestid", "r-1");
    response
}

/// A request's body, as HTML forms encode it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Form(String);

impl Form {
    fn of(request: &HttpRequest) -> Self {
        let body = request.body().bytes().expect("bodies of STS requests are in memory");
        Self(String::from_utf8(body.to_vec()).expect("forms are ASCII"))
    }

    fn value(&self, name: &str) -> Option<String> {
        let mut pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        let decoded = percent_encoding::percent_decode_str(value).decode_utf8().expect("forms are UTF-8");
        Some(decoded.into_owned())
    }
}

/// Wall-clock time that follows tokio's paused clock, and leaps when a test says so.
#[derive(Debug, Clone)]
pub(super) struct TestTime {
    start: Instant,
    leap: Arc<Mutex<Duration>>,
}

impl TestTime {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), leap: Arc::default() }
    }

    pub(super) fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000) + *self.leap.lock() + self.elapsed()
    }

    /// What tokio's clock has seen of it.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The machine sleeps for `length`: the wall clock goes on, tokio's does not.
    pub(super) fn sleep_machine(&self, length: Duration) {
        *self.leap.lock() += length;
    }

    pub(super) fn clock(&self) -> Clock {
        let time = self.clone();
        Clock::new(move || time.now())
    }
}
