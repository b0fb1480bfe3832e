//! Where base identities come from, each from end to end, and that nothing of it is kept.
//!
//! The SDK looks at the environment and the home directory of the process, which tests share. So
//! each of these runs itself once more, on a [`Machine`] of its own: a process whose environment
//! and home are its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;

use super::*;
use crate::clock::ServerTime;
use crate::credentials::base::Base;
use crate::credentials::base::Loaded;
use crate::credentials::failure::Cause;

/// What a process finds around itself.
struct Machine {
    home: PathBuf,
}

impl Machine {
    /// Runs `body` on a machine with these variables, in which `~` stands for the home directory.
    /// `test` is the name of the test that calls this.
    fn with<F: Future<Output = ()>>(test: &str, variables: &[(&str, &str)], body: impl FnOnce(Self) -> F) {
        if let Some(home) = std::env::var_os(MARK) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            return runtime.block_on(body(Self { home: home.into() }));
        }
        let home = tempfile::tempdir().unwrap();
        let at_home = |value: &str| value.replace('~', home.path().to_str().unwrap());
        fs::create_dir_all(home.path().join(".aws/sso/cache")).unwrap();
        let name = format!("credentials::tests::bases::{test}");
        let outcome = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name, "--nocapture"])
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env(MARK, home.path())
            .env("HOME", home.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(variables.iter().map(|(name, value)| (name, at_home(value))))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&outcome.stdout);
        assert!(outcome.status.success() && said.contains("1 passed"), "{outcome:?}");
    }

    /// Writes a file in the home directory; `~` stands for it in the text as well.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.home.join(name), text.replace('~', self.home.to_str().unwrap())).unwrap();
    }

    /// The base identity of a profile, or whatever the environment says, with `web` to answer over HTTP.
    fn base(profile: Option<&str>, web: Web) -> Base {
        Base {
            source: BaseSource::Chain { profile: profile.map(str::to_owned) },
            region: Some("eu-west-1".to_owned()),
            sts_endpoint_url: Some("http://sts.test".to_owned()),
            sts_variant: StsVariant::default(),
            http_client: Some(SharedHttpClient::new(web)),
            session_name: "alice-host".to_owned(),
            region_otherwise: "us-east-1",
            time: ServerTime::default(),
            is_proven: false,
        }
    }
}

const MARK: &str = "S3XMOUNT_TEST_HOME";

/// Everything that answers over HTTP; a request that a test does not expect is answered with 404.
#[derive(Clone)]
struct Web(Arc<Answering>);

type Answering = dyn Fn(&HttpRequest) -> Option<String> + Send + Sync;

impl Web {
    fn new(answer: impl Fn(&HttpRequest) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(answer))
    }

    fn silent() -> Self {
        Self::new(|_| None)
    }
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Web")
    }
}

impl HttpClient for Web {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Web {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (status, body) = match (self.0)(&request) {
            Some(body) if body.starts_with("<ErrorResponse>") => (400, body),
            Some(body) => (200, body),
            None => (404, String::new()),
        };
        let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        response.headers_mut().insert("x-aws-ec2-metadata-token-ttl-seconds", "21600");
        HttpConnectorFuture::ready(Ok(response))
    }
}

fn form(request: &HttpRequest, name: &str) -> Option<String> {
    let body = String::from_utf8(request.body().bytes()?.to_vec()).ok()?;
    let (_, value) = body.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
    Some(percent_encoding::percent_decode_str(value).decode_utf8().ok()?.into_owned())
}

async fn load(base: &mut Base) -> std::result::Result<Loaded, Failure> {
    base.load(&Clock::default()).await
}

async fn id(base: &mut Base) -> String {
    let loaded = load(base).await.map_err(|failure| failure.to_string()).unwrap();
    loaded.grant.keys.access_key_id().to_owned()
}

const FUTURE: &str = "2099-01-01T00:00:00Z";

#[test]
fn rotated_keys_are_seen_and_a_named_profile_wins_over_the_environment() {
    let variables = [("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    let name = "rotated_keys_are_seen_and_a_named_profile_wins_over_the_environment";
    Machine::with(name, &variables, async |machine| {
        let mut named = Machine::base(Some("work"), Web::silent());
        for expected in ["AKIABEFORE", "AKIAAFTER"] {
            let keys = format!("[work]\naws_access_key_id = {expected}\naws_secret_access_key = secret\n");
            machine.write(".aws/credentials", &keys);
            assert_eq!(id(&mut named).await, expected);
        }
        assert_eq!(id(&mut Machine::base(None, Web::silent())).await, "AKIAENVIRONMENT");
    });
}

#[test]
fn a_process_is_run_for_every_session() {
    Machine::with("a_process_is_run_for_every_session", &[("AWS_PROFILE", "work")], async |machine| {
        machine.write(".aws/config", "[profile work]\ncredential_process = cat ~/printed\n");
        let mut base = Machine::base(None, Web::silent());
        for expected in ["ASIABEFORE", "ASIAAFTER"] {
            let printed = format!(
                r#"{{"Version": 1, "AccessKeyId": "{expected}", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "{FUTURE}"}}"#
            );
            machine.write("printed", &printed);
            let loaded = load(&mut base).await.unwrap();
            assert_eq!(loaded.grant.keys.access_key_id(), expected);
            assert!(loaded.grant.life.is_some());
        }
        machine.write("printed", "{}");
        let failure = load(&mut base).await.err().unwrap();
        assert_eq!(failure.cause(), Cause::BaseUnavailable);
        assert!(failure.to_string().contains("credential_process of the profile 'work'"), "{failure}");
    });
}

/// Also: the role of a profile with `credential_source = EcsContainer` is left to our own chain.
#[test]
fn the_role_of_a_pod_is_asked_for_with_the_token_as_it_is_now() {
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "~/token"),
    ];
    let agent = Web::new(|request| {
        assert_eq!(request.uri(), "http://169.254.170.23/v1/credentials");
        let token = request.headers().get("authorization")?;
        Some(format!(
            r#"{{"AccessKeyId": "ASIA{token}", "SecretAccessKey": "s", "Token": "t", "Expiration": "{FUTURE}"}}"#
        ))
    });
    let name = "the_role_of_a_pod_is_asked_for_with_the_token_as_it_is_now";
    Machine::with(name, &variables, async |machine| {
        let role =
            "[profile work]\nrole_arn = r\ncredential_source = EcsContainer\nduration_seconds = 7200\n";
        machine.write(".aws/config", role);
        let mut pod = Machine::base(None, agent.clone());
        let mut work = Machine::base(Some("work"), agent);
        for token in ["BEFORE", "AFTER"] {
            machine.write("token", token);
            assert_eq!(id(&mut pod).await, format!("ASIA{token}"));
            let loaded = load(&mut work).await.unwrap();
            assert_eq!(loaded.grant.keys.access_key_id(), format!("ASIA{token}"));
            assert_eq!(loaded.roles.len(), 1);
            assert_eq!(loaded.roles[0].duration, Duration::from_secs(7200));
        }
    });
}

#[test]
fn the_role_of_an_instance_is_asked_for_anew() {
    let served = Mutex::new(0);
    let metadata = Web::new(move |request| {
        let path = request.uri().strip_prefix("http://169.254.169.254/latest/")?;
        match (request.method(), path) {
            ("PUT", "api/token") => Some("metadata-token".to_owned()),
            ("GET", _) if request.headers().get("x-aws-ec2-metadata-token") != Some("metadata-token") => None,
            ("GET", "meta-data/iam/security-credentials/") => Some("the-role".to_owned()),
            ("GET", "meta-data/iam/security-credentials/the-role") => {
                *served.lock() += 1;
                let serial = *served.lock();
                Some(format!(
                    r#"{{"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
                        "AccessKeyId": "ASIA{serial}", "SecretAccessKey": "s", "Token": "t", "Expiration": "{FUTURE}"}}"#
                ))
            }
            _ => None,
        }
    });
    let name = "the_role_of_an_instance_is_asked_for_anew";
    Machine::with(name, &[("AWS_EC2_METADATA_DISABLED", "false")], async |machine| {
        let mut instance = Machine::base(None, metadata.clone());
        assert_eq!((id(&mut instance).await, id(&mut instance).await), ("ASIA1".into(), "ASIA2".into()));
        machine
            .write(".aws/config", "[profile work]\nrole_arn = r\ncredential_source = Ec2InstanceMetadata\n");
        let loaded = load(&mut Machine::base(Some("work"), metadata)).await.unwrap();
        assert_eq!((loaded.grant.keys.access_key_id(), loaded.roles[0].arn.as_str()), ("ASIA3", "r"));
        let failure = load(&mut Machine::base(Some("work"), Web::silent())).await.err().unwrap();
        assert_eq!(failure.cause(), Cause::BaseUnavailable, "{failure}");
        assert!(failure.to_string().contains("credential_source = Ec2InstanceMetadata"), "{failure}");
    });
}

/// An STS that gives sessions of an hour for tokens: the access key id tells what was asked for.
fn token_service() -> Web {
    Web::new(|request| {
        assert!(request.uri().starts_with("http://sts.test"), "{}", request.uri());
        assert_eq!(form(request, "Action").as_deref(), Some("AssumeRoleWithWebIdentity"));
        assert_eq!(request.headers().get("authorization"), None, "nobody's keys are needed");
        let [token, seconds, name] = ["WebIdentityToken", "DurationSeconds", "RoleSessionName"]
            .map(|field| form(request, field).unwrap());
        let refused = match (token.as_str(), seconds.as_str()) {
            ("ENDED", _) => Some("ExpiredTokenException"),
            ("FOREIGN", _) => Some("AccessDenied"),
            (_, "3600" | "1800") => None,
            _ => Some("ValidationError"),
        };
        if let Some(code) = refused {
            return Some(format!("<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>"));
        }
        Some(format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
             <AccessKeyId>{token}-{seconds}-{name}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>\
             <SessionToken>t</SessionToken><Expiration>{FUTURE}</Expiration></Credentials><AssumedRoleUser>\
             <AssumedRoleId>R</AssumedRoleId><Arn>arn:aws:sts::111122223333:assumed-role/pod/{name}</Arn>\
             </AssumedRoleUser></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        ))
    })
}

#[test]
fn a_web_identity_is_shown_with_the_token_as_it_is_now() {
    let variables =
        [("AWS_WEB_IDENTITY_TOKEN_FILE", "~/token"), ("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/pod")];
    Machine::with("a_web_identity_is_shown_with_the_token_as_it_is_now", &variables, async |machine| {
        let mut base = Machine::base(None, token_service());
        for token in ["BEFORE", "AFTER"] {
            machine.write("token", &format!("{token}\n"));
            let loaded = load(&mut base).await.unwrap();
            assert_eq!(loaded.grant.keys.access_key_id(), format!("{token}-3600-alice-host"));
            let caller = loaded.grant.caller.unwrap();
            assert_eq!(caller.arn, "arn:aws:sts::111122223333:assumed-role/pod/alice-host");
            let life = loaded.grant.life.unwrap();
            assert_eq!(life.remaining(life.issued), Duration::from_secs(3600), "not what a wrong clock says");
        }
    });
}

#[test]
fn a_web_identity_of_a_profile_lasts_as_long_as_the_profile_says() {
    let name = "a_web_identity_of_a_profile_lasts_as_long_as_the_profile_says";
    Machine::with(name, &[], async |machine| {
        machine.write("token", "TOKEN");
        let mut base = Machine::base(Some("work"), token_service());
        // The last one is more than the role allows.
        for (wanted, got) in [("1800", "1800"), ("3600", "3600"), ("43200", "3600")] {
            let profile = format!(
                "[profile work]\nrole_arn = r\nrole_session_name = job\nduration_seconds = {wanted}\n\
                 web_identity_token_file = ~/token\n"
            );
            machine.write(".aws/config", &profile);
            assert_eq!(id(&mut base).await, format!("TOKEN-{got}-job"));
        }
    });
}

#[test]
fn a_token_that_is_no_good_is_told_from_one_that_is_not_there() {
    let name = "a_token_that_is_no_good_is_told_from_one_that_is_not_there";
    Machine::with(name, &[], async |machine| {
        let profile = "[profile work]\nrole_arn = r\nweb_identity_token_file = ~/token\n";
        machine.write(".aws/config", profile);
        let mut base = Machine::base(Some("work"), token_service());
        let failure = load(&mut base).await.err().unwrap();
        assert_eq!(
            (failure.cause(), failure.outlook()),
            (Cause::BaseUnavailable, schedule::Outlook::Passing)
        );
        assert!(failure.to_string().contains("/token, which the profile 'work' names"), "{failure}");
        for (token, cause, hint) in
            [("ENDED", Cause::KeysExpired, "what should replace"), ("FOREIGN", Cause::Denied, "trust policy")]
        {
            machine.write("token", token);
            let failure = load(&mut base).await.err().unwrap();
            assert!(failure.cause() == cause && failure.to_string().contains(hint), "{failure}");
            assert!(!failure.to_string().contains(token), "{failure}");
        }
    });
}

#[test]
fn a_repeated_login_is_seen() {
    let portal = Web::new(|request| {
        let uri = request.uri();
        assert!(
            uri.starts_with("https://portal.sso.eu-central-1.amazonaws.com/federation/credentials"),
            "{uri}"
        );
        let token = request.headers().get("x-amz-sso_bearer_token")?;
        Some(format!(
            r#"{{"roleCredentials": {{"accessKeyId": "ASIA{token}", "secretAccessKey": "s", "sessionToken": "t", "expiration": 4070908800000}}}}"#
        ))
    });
    Machine::with("a_repeated_login_is_seen", &[], async |machine| {
        machine.write(
            ".aws/config",
            "[profile work]\nrole_arn = r\nsource_profile = login\n\
             [profile login]\nsso_session = dev\nsso_account_id = 111122223333\nsso_role_name = reader\n\
             [sso-session dev]\nsso_region = eu-central-1\nsso_start_url = https://dev.awsapps.com/start\n",
        );
        let mut base = Machine::base(Some("work"), portal);
        let failure = load(&mut base).await.err().unwrap();
        assert_eq!(failure.cause(), Cause::BaseUnavailable);
        assert!(failure.to_string().ends_with("hint: run: aws sso login --profile login"), "{failure}");
        for token in ["BEFORE", "AFTER"] {
            // The name of the file is the SHA-1 of "dev".
            machine.write(
                ".aws/sso/cache/34c6fceca75e456f25e7e99531e2425c6c1de443.json",
                &format!(r#"{{"accessToken": "{token}", "expiresAt": "{FUTURE}"}}"#),
            );
            let loaded = load(&mut base).await.unwrap();
            assert_eq!(loaded.grant.keys.access_key_id(), format!("ASIA{token}"));
            assert_eq!(loaded.roles[0].arn, "r");
        }
    });
}

#[test]
fn what_was_found_once_and_is_gone_may_come_back() {
    Machine::with("what_was_found_once_and_is_gone_may_come_back", &[], async |machine| {
        let mut base = Machine::base(Some("work"), Web::silent());
        let failure = load(&mut base).await.err().unwrap();
        assert_eq!(failure.cause(), Cause::BaseMisconfigured, "{failure}");
        let keys = "[work]\naws_access_key_id = A\naws_secret_access_key = s\n";
        machine.write(".aws/credentials", keys);
        assert_eq!(id(&mut base).await, "A");
        // Somebody is just writing it.
        machine.write(".aws/credentials", keys.split("aws_secret").next().unwrap());
        let failure = load(&mut base).await.err().unwrap();
        assert_eq!(
            (failure.cause(), failure.outlook()),
            (Cause::BaseUnavailable, schedule::Outlook::Passing)
        );
        assert!(failure.to_string().contains("no aws_secret_access_key"), "{failure}");
        machine.write(".aws/credentials", keys);
        assert_eq!(id(&mut base).await, "A");
    });
}

/// The whole part: what the SDK drops of a profile reaches STS.
#[test]
fn a_profile_is_honoured_with_what_the_sdk_drops() {
    Machine::with("a_profile_is_honoured_with_what_the_sdk_drops", &[], async |machine| {
        machine.write(
            ".aws/config",
            "[profile work]\nrole_arn = arn:aws:iam::111122223333:role/reader\nsource_profile = me\n\
             duration_seconds = 28800\nmfa_serial = device\nexternal_id = shared-word\n\
             [profile me]\naws_access_key_id = AKIAME\naws_secret_access_key = s\n",
        );
        tokio::time::pause();
        let setting = Setting::lasting(900);
        let ask: AskCode = Arc::new(|_: &str| Ok("123456".to_owned()));
        let options = Options {
            base: BaseSource::Chain { profile: Some("work".to_owned()) },
            codes: CodeSource { command: None, ask: Some(ask) },
            roles: vec![role(SECOND_ROLE, 900)],
            ..setting.options()
        };
        Credentials::start(options, &setting.tasks).await.unwrap();
        let [first, second] = &setting.sts.calls()[..] else { panic!("{:?}", setting.sts.calls()) };
        assert_eq!((first.role.as_str(), first.signer.as_str(), first.seconds), (ROLE, "AKIAME", 28_800));
        let sent = ["SerialNumber", "TokenCode", "ExternalId"].map(|field| first.parameter(field).unwrap());
        assert_eq!(sent, ["device", "123456", "shared-word"]);
        assert_eq!((second.role.as_str(), second.signer.as_str()), (SECOND_ROLE, "ASIA1"));
    });
}
