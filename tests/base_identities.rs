//! Who we are before assuming anything: every way in which the AWS tools know a base identity.
//!
//! Each is tried with the command itself, in an environment of its own: what it prints is a session
//! of the emulator's STS, and who signed for it.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use s3xmount::clock;
use s3xmount::emulator::demo::{self, ACCOUNT_A, Rights};
use s3xmount::emulator::{OidcProvider, Role, WebIdentity};
use serde_json::{Value, json};

use crate::support::World;
use crate::support::real::{Home, can_mount, text, umount};

/// A home directory, and an STS where alice may assume `jump`, and both may assume the role.
struct Stage {
    world: World,
    home: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let everything = json!({"Statement": {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}});
        let admit = |names: &[String]| json!({"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": names}}});
        let jump = Role::new(ACCOUNT_A, "jump")
            .policy(&everything)
            .trust(&admit(&[ACCOUNT_A.user_arn("alice")]))
            .session_max(Duration::from_secs(12 * 3600));
        let provider = OidcProvider::new(ACCOUNT_A, HOST).audience(AUDIENCE);
        let world = demo::world(Rights::Full).with_role(jump).with_provider(provider);
        world.directory.set_user_policies(ACCOUNT_A, "alice", &[everything]);
        let trusted = [ACCOUNT_A.user_arn("alice"), ACCOUNT_A.role_arn("jump")];
        world.directory.set_trust(ACCOUNT_A, demo::ROLE, Some(&admit(&trusted)));
        Self { world: World::of(world), home: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn run(&self, variables: &[(&str, &str)], flags: &[&str]) -> Output {
        let url = self.world.url();
        Command::new(env!("CARGO_BIN_EXE_s3xmount"))
            .args(["credentials", "--format", "json", "--sts-endpoint-url", &url, "--region", demo::REGION])
            .args(flags)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    /// Whose session it is, without the session's name, and how long it lasts.
    fn session(&self, variables: &[(&str, &str)], flags: &[&str]) -> (String, u64) {
        let output = self.run(variables, flags);
        assert!(output.status.success(), "{variables:?} {flags:?}: {}", text(&output.stderr));
        let session: Value = serde_json::from_slice(&output.stdout).unwrap();
        let arn = session["AssumedRoleUser"]["Arn"].as_str().unwrap();
        let who = arn.split('/').nth(1).unwrap().to_owned();
        let expiration = session["Credentials"]["Expiration"].as_str().unwrap();
        let ends = s3xmount::control::read(expiration).unwrap();
        (who, ends.duration_since(clock::now()).unwrap().as_secs().div_ceil(60))
    }

    /// The session of the role, assumed by whoever these variables make us.
    fn role(&self, variables: &[(&str, &str)]) -> (String, u64) {
        self.session(variables, &["--role-arn", &demo::role_arn()])
    }
}

fn the_role(minutes: u64) -> (String, u64) {
    (demo::ROLE.to_owned(), minutes)
}

fn alices_keys() -> String {
    let alice = demo::alice();
    format!("aws_access_key_id = {}\naws_secret_access_key = {}\n", alice.id, alice.secret)
}

/// Alice's keys in the form in which processes print them.
fn alices_document() -> String {
    let alice = demo::alice();
    json!({"Version": 1, "AccessKeyId": alice.id, "SecretAccessKey": alice.secret}).to_string()
}

/// A session of `jump` in the form in which containers and instances are given theirs.
fn machines_document(stage: &Stage) -> String {
    let alice = demo::alice();
    let keys = [("AWS_ACCESS_KEY_ID", alice.id.as_str()), ("AWS_SECRET_ACCESS_KEY", alice.secret.as_str())];
    let output = stage.run(&keys, &["--role-arn", &ACCOUNT_A.role_arn("jump")]);
    let session: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut document = session["Credentials"].clone();
    document["Token"] = document["SessionToken"].take();
    document["Code"] = "Success".into();
    document.to_string()
}

#[test]
fn keys_come_from_the_environment_a_profile_or_a_process() {
    let stage = Stage::new();
    let alice = demo::alice();
    let keys = [("AWS_ACCESS_KEY_ID", alice.id.as_str()), ("AWS_SECRET_ACCESS_KEY", alice.secret.as_str())];
    assert_eq!(stage.role(&keys), the_role(60));

    let printed = stage.write("document.json", &alices_document());
    let process = format!("cat {}", printed.display());
    stage.write(
        ".aws/config",
        &format!("[profile keys]\n{}[profile process]\ncredential_process = {process}\n", alices_keys()),
    );
    for profile in ["keys", "process"] {
        assert_eq!(stage.role(&[("AWS_PROFILE", profile)]), the_role(60), "{profile}");
        let flags = ["--profile", profile, "--role-arn", &demo::role_arn(), "--duration", "2h"];
        assert_eq!(stage.session(&[], &flags), the_role(120), "{profile}");
    }
}

#[test]
fn a_profile_with_roles_is_honoured_to_the_last_key() {
    let stage = Stage::new();
    let (jump, role) = (ACCOUNT_A.role_arn("jump"), demo::role_arn());
    stage.write(
        ".aws/config",
        &format!(
            "[profile me]\n{}\n[profile short]\nrole_arn = {role}\nsource_profile = me\nduration_seconds = 900\n\
             [profile long]\nrole_arn = {role}\nsource_profile = me\nduration_seconds = 28800\n\
             role_session_name = from-the-profile\n\
             [profile chain]\nrole_arn = {role}\nsource_profile = jump\n\
             [profile jump]\nrole_arn = {jump}\nsource_profile = me\nduration_seconds = 43200\n\
             [profile from-environment]\nrole_arn = {role}\ncredential_source = Environment\n\
             [profile token]\nrole_arn = {role}\nsource_profile = me\nmfa_serial = arn:aws:iam::111111111111:mfa/alice\n",
            alices_keys()
        ),
    );
    assert_eq!(stage.session(&[], &["--profile", "short"]), the_role(15));
    assert_eq!(stage.session(&[("AWS_PROFILE", "long")], &[]), the_role(480), "as the AWS tools choose it");
    assert_eq!(stage.session(&[], &["--profile", "chain"]), the_role(60));
    assert_eq!(stage.session(&[], &["--profile", "jump"]), ("jump".to_owned(), 720));
    // The profile's role first, and then ours with its session.
    assert_eq!(
        stage.session(&[], &["--profile", "jump", "--role-arn", &role, "--duration", "8h"]),
        the_role(60)
    );
    let alice = demo::alice();
    let keys = [("AWS_ACCESS_KEY_ID", alice.id.as_str()), ("AWS_SECRET_ACCESS_KEY", alice.secret.as_str())];
    assert_eq!(stage.session(&keys, &["--profile", "from-environment"]), the_role(60));
    // Nobody is there to say the code, and a code is what the profile says it takes.
    let said = text(&stage.run(&[], &["--profile", "token", "--mfa-command", "echo 000000"]).stderr);
    assert!(said.contains("MFA device"), "{said}");
    let said = text(&stage.run(&[], &["--profile", "gone"]).stderr);
    assert!(said.contains("there is no profile 'gone'"), "{said}");
    let session = text(&stage.run(&[], &["--profile", "long"]).stdout);
    assert!(session.contains("/from-the-profile"), "{session}");
}

/// A service on this machine that answers requests for `path` with `answer`, and remembers what it was asked.
struct Service {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// `answer` is given the first line of a request, and then its headers in lower case.
    fn new(answer: impl Fn(&str, &str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&asked);
        // It lives as long as the process of the tests does.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (line, headers) = request(&stream);
                let body = answer(&line, &headers);
                heard.lock().push(format!("{line}\n{headers}"));
                let length = body.len();
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 60\r\nConnection: close\r\n\r\n{body}").unwrap();
            }
        });
        Self { url, asked }
    }
}

fn request(stream: &TcpStream) -> (String, String) {
    let mut lines = BufReader::new(stream).lines().map(|line| line.unwrap().to_ascii_lowercase());
    let first = lines.next().unwrap_or_default();
    (first, lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_container_is_asked_with_the_token_in_the_file_as_it_is_now() {
    let stage = Stage::new();
    let document = machines_document(&stage);
    let service = Service::new(move |_, _| document.clone());
    let uri = format!("{}/v1/credentials", service.url);
    for token in ["first-token", "second-token"] {
        let file = stage.write("token", token);
        let variables = [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().unwrap()),
        ];
        assert_eq!(stage.role(&variables), the_role(60));
        let asked = service.asked.lock().pop().unwrap();
        assert!(
            asked.starts_with("get /v1/credentials") && asked.contains(&format!("authorization: {token}")),
            "{asked}"
        );
    }
    stage.write(
        ".aws/config",
        &format!("[profile x]\nrole_arn = {}\ncredential_source = EcsContainer\n", demo::role_arn()),
    );
    let variables = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str())];
    assert_eq!(stage.session(&variables, &["--profile", "x"]), the_role(60));
}

#[test]
fn an_instance_is_asked_for_the_keys_of_its_role() {
    let stage = Stage::new();
    let document = machines_document(&stage);
    let service = Service::new(move |line, headers| match line.split(' ').nth(1).unwrap() {
        "/latest/api/token" => "metadata-token".to_owned(),
        _ if !headers.contains("x-aws-ec2-metadata-token: metadata-token") => "no token".to_owned(),
        path if path.ends_with("/iam/security-credentials/")
            || path.ends_with("/iam/security-credentials-extended/") =>
        {
            "instance".to_owned()
        }
        path if path.contains("/iam/security-credentials") => document.clone(),
        _ => String::new(),
    });
    let variables =
        [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url.as_str())];
    assert_eq!(stage.role(&variables), the_role(60));
}

/// The token of `aws sso login` lies in a file; its successor is used as soon as it is there.
#[test]
fn a_login_of_sso_is_used_and_so_is_the_next_one() {
    let stage = Stage::new();
    let document: Value = serde_json::from_str(&machines_document(&stage)).unwrap();
    let word = |name: &str| document[name].as_str().unwrap().to_owned();
    let ends = s3xmount::control::read(&word("Expiration")).unwrap();
    let credentials = json!({"roleCredentials": {
        "accessKeyId": word("AccessKeyId"), "secretAccessKey": word("SecretAccessKey"),
        "sessionToken": word("Token"), "expiration": clock::to_unix(ends).0 * 1000,
    }});
    let portal = Service::new(move |_, _| credentials.to_string());
    stage.write(
        ".aws/config",
        "[profile sso]\nsso_session = dev\nsso_account_id = 111111111111\nsso_role_name = jump\n\
         [sso-session dev]\nsso_region = us-east-1\nsso_start_url = https://example.awsapps.com/start\n",
    );
    let until = clock::rfc_3339(clock::now() + Duration::from_secs(3600));
    for token in ["first-login", "second-login"] {
        let login = json!({"accessToken": token, "expiresAt": until, "region": "us-east-1", "startUrl": "x"});
        // The name is the SHA-1 of the name of the sso-session.
        stage.write(".aws/sso/cache/34c6fceca75e456f25e7e99531e2425c6c1de443.json", &login.to_string());
        let variables = [("AWS_PROFILE", "sso"), ("AWS_ENDPOINT_URL_SSO", portal.url.as_str())];
        assert_eq!(stage.role(&variables), the_role(60));
        let asked = portal.asked.lock().pop().unwrap();
        assert!(asked.starts_with("get /federation/credentials") && asked.contains(token), "{asked}");
    }
}

/// As in a pod of Kubernetes: a token in a file, which somebody replaces before it ends.
#[test]
fn a_web_identity_that_is_the_role_mounts_without_assuming_it_and_its_next_token_is_read() {
    if !can_mount() {
        return;
    }
    let stage = Stage::new();
    let trust = json!({"Statement": {
        "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": OidcProvider::new(ACCOUNT_A, HOST).arn()},
        "Condition": {"StringEquals": {(format!("{HOST}:sub")): SUBJECT}},
    }});
    stage.world.directory.set_trust(ACCOUNT_A, demo::ROLE, Some(&trust));
    let token = stage.home.path().join("token");
    let issue = || {
        let identity = WebIdentity {
            issuer: format!("https://{HOST}"),
            subject: SUBJECT.to_owned(),
            audience: AUDIENCE.to_owned(),
            expires: stage.world.clock.now() + Duration::from_secs(600),
        };
        fs::write(&token, stage.world.issue_web_identity(&identity)).unwrap();
    };
    issue();
    let (home, url, role) = (Home::new(), stage.world.url(), demo::role_arn());
    let mounted = home
        .command_of(stage.world.running(), &["--role-arn", &role, "--bucket", demo::BUCKETS[0]])
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token)
        .env("AWS_ROLE_ARN", &role)
        .env("AWS_ENDPOINT_URL_STS", &url)
        .output()
        .unwrap();
    assert_eq!(mounted.status.code(), Some(0), "{}", text(&mounted.stderr));
    let bucket = home.mount_point().join(demo::BUCKETS[0]);
    assert!(fs::read(bucket.join("welcome.txt")).is_ok());
    assert_eq!(stage.world.count("AssumeRole"), 0, "the base identity is the role");

    stage.world.clock.advance(Duration::from_secs(2 * 3600));
    issue();
    fs::write(bucket.join("later"), "with the second token").unwrap();
    assert_eq!(stage.world.stored("a/later").unwrap(), b"with the second token");
    assert_eq!(stage.world.count("AssumeRoleWithWebIdentity"), 2);
    assert!(umount(&home.mount_point(), &[]));
}

const HOST: &str = "oidc.example.com";
const SUBJECT: &str = "system:serviceaccount:data:job";
const AUDIENCE: &str = "sts.amazonaws.com";
