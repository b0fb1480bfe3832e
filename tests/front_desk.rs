//! A running mount and its owner: what `credentials`, `exec`, `status` and `login` say, and what nobody hears.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::SharedCredentialsProvider;
use s3xmount::credentials::BaseSource;
use s3xmount::emulator::demo::{self, ACCOUNT_A, Rights};
use s3xmount::emulator::faults::On;
use s3xmount::emulator::{MfaDevice, Role, RunningEmulator, User};
use s3xmount::error::Kind;
use serde_json::{Value, json};

use crate::support::real::{Home, can_mount, text, umount};
use crate::support::{Options, World, eventually, failure};

/// A world and a mount of it in the background.
struct Stage {
    world: World,
    home: Home,
}

impl Stage {
    fn new(flags: &[&str]) -> Option<Self> {
        Self::of(World::new(), flags)
    }

    fn of(world: World, flags: &[&str]) -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let home = Home::new();
        let role = demo::role_arn();
        let output = home.mount_with(world.running(), &[&["--role-arn", &role], flags].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        Some(Self { world, home })
    }

    fn path(&self, below: &str) -> String {
        self.home.mount_point().join(below).to_str().unwrap().to_owned()
    }

    fn s3xmount(&self, args: &[&str]) -> Output {
        self.home.s3xmount(args)
    }

    /// What a command prints that succeeds.
    fn says(&self, args: &[&str]) -> String {
        let output = self.s3xmount(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn session(&self) -> Value {
        serde_json::from_str(&self.says(&["credentials", &self.path(""), "--format", "process"])).unwrap()
    }

    fn end(self) {
        assert!(umount(&self.home.mount_point(), &[]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_of_a_mount_serves_other_programs() {
    let Some(stage) = Stage::new(&[]) else { return };
    let session = stage.session();
    assert_eq!(session["Version"], 1);
    let word = |name: &str| session[name].as_str().unwrap().to_owned();
    assert!(word("Expiration") > s3xmount::clock::rfc_3339(s3xmount::clock::now()));

    let mut who = stage.world.alice(&Options::default());
    let keys =
        Keys::new(word("AccessKeyId"), word("SecretAccessKey"), Some(word("SessionToken")), None, "test");
    who.base = BaseSource::Given(SharedCredentialsProvider::new(keys));
    who.roles.clear();
    let other = stage.world.mount_as(who, Options::default()).await.unwrap();
    other.write_file("a/by-another-program", b"content").await.unwrap();
    assert_eq!(fs::read(stage.path("SampleBucketA/by-another-program")).unwrap(), b"content");

    let again = stage.says(&["credentials", &stage.path("SampleBucketB/inbox"), "--format", "json"]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["Credentials"]["AccessKeyId"], session["AccessKeyId"], "no new session was made for it");
    stage.end();
}

/// It is S3 that refuses it: the mount is not asked.
#[tokio::test(flavor = "multi_thread")]
async fn the_session_of_a_mount_that_only_reads_cannot_write() {
    let Some(stage) = Stage::new(&["--read-only"]) else { return };
    let session = stage.session();
    let word = |name: &str| session[name].as_str().unwrap().to_owned();
    let keys =
        Keys::new(word("AccessKeyId"), word("SecretAccessKey"), Some(word("SessionToken")), None, "test");
    let mut who = stage.world.alice(&Options::default());
    who.base = BaseSource::Given(SharedCredentialsProvider::new(keys));
    who.roles.clear();
    let other = stage.world.mount_as(who, Options::default()).await.unwrap();
    assert!(other.read_file("a/welcome.txt").await.is_ok());
    assert_eq!(failure(other.write_file("a/new", b"new").await), Kind::Denied);
    stage.end();
}

#[test]
fn a_shell_takes_the_session_with_eval_and_exec_runs_a_command_with_it() {
    let Some(stage) = Stage::new(&[]) else { return };
    let id = stage.session()["AccessKeyId"].as_str().unwrap().to_owned();
    let mount_point = stage.path("");
    let script =
        r#"eval "$("$1" credentials "$2")" && echo "$AWS_ACCESS_KEY_ID ${AWS_SESSION_TOKEN:+token}""#;
    let program = env!("CARGO_BIN_EXE_s3xmount");
    let shell = Command::new("sh").args(["-c", script, "sh", program, &mount_point]).output().unwrap();
    assert_eq!(text(&shell.stdout).trim(), format!("{id} token"), "{}", text(&shell.stderr));

    let said = stage.says(&["exec", &mount_point, "--", "sh", "-c", "echo $AWS_ACCESS_KEY_ID $AWS_REGION"]);
    assert_eq!(said.trim(), format!("{id} {}", demo::REGION));
    assert_eq!(stage.s3xmount(&["exec", &mount_point, "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(stage.s3xmount(&["exec", &mount_point, "--", "no-such-program"]).status.code(), Some(127));
    stage.end();
}

#[test]
fn a_profile_is_written_beside_the_others() {
    let Some(stage) = Stage::new(&[]) else { return };
    let file = stage.home.path().join(".aws/credentials");
    fs::create_dir(file.parent().unwrap()).unwrap();
    let mine = "# mine\n[default]\naws_access_key_id = AKIAMINE\naws_secret_access_key = s\n";
    fs::write(&file, mine).unwrap();
    let id = stage.session()["AccessKeyId"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let output = stage.s3xmount(&["credentials", &stage.path(""), "--write-profile", "assumed-role"]);
        assert!(output.status.success() && output.stdout.is_empty(), "{}", text(&output.stderr));
        let written = fs::read_to_string(&file).unwrap();
        assert!(written.starts_with(mine), "{written}");
        assert_eq!(written.matches("[assumed-role]").count(), 1);
        assert!(written.contains(&format!("aws_access_key_id = {id}")));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    stage.end();
}

#[test]
fn a_session_without_a_mount_is_made_for_the_occasion() {
    let world = World::new();
    let home = Home::new();
    let (role, url) = (demo::role_arn(), world.url());
    let flags = ["--role-arn", &role, "--sts-endpoint-url", &url, "--region", demo::REGION];
    let output = home.s3xmount(&[&["credentials", "--format", "json"], &flags[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let session: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(session["AssumedRoleUser"]["Arn"].as_str().unwrap().contains(demo::ROLE), "{session}");
    let refused = home.s3xmount(&["credentials", "--role-arn", "x"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
}

/// A script that goes wrong must not go on with somebody's lasting keys.
#[test]
fn lasting_keys_are_never_handed_out_and_a_path_must_lead_to_a_mount() {
    let world = World::new();
    let home = Home::new();
    let url = world.url();
    let mount_point = home.mount_point();
    let described = format!(
        "sts_endpoint_url = '{url}'\nregion = 'us-east-1'\n[[mount]]\npath = '{}'\nrole_arn = '{}'\nbuckets = ['one']\n",
        mount_point.display(),
        demo::role_arn()
    );
    let config = home.path().join("c.toml");
    fs::write(&config, described).unwrap();
    let config = config.to_str().unwrap();
    for (args, said) in [
        (&["credentials", "--region", "us-east-1"][..], "no role was assumed"),
        (&["credentials", "/nope"], "no mount is running at /nope"),
        (&["exec", "/nope", "--", "true"], "no mount is running at /nope"),
        (&["credentials", "/nope", "--config", config], "no mount is running at /nope"),
        (&["exec", "/nope", "true"], "write -- before the command"),
    ] {
        let output = home.s3xmount(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stdout));
        assert!(
            output.stdout.is_empty() && text(&output.stderr).contains(said),
            "{args:?}: {}",
            text(&output.stderr)
        );
    }
    // The mount is not there, but the file says what session it would have.
    for path in [mount_point.clone(), mount_point.join("one/deep")] {
        let output =
            home.s3xmount(&["credentials", path.to_str().unwrap(), "--config", config, "--format", "json"]);
        assert!(text(&output.stdout).contains(demo::ROLE), "{}", text(&output.stderr));
    }
}

#[test]
fn a_profile_that_asks_itself_is_told_so() {
    let home = Home::new();
    let config = home.path().join(".aws/config");
    fs::create_dir(config.parent().unwrap()).unwrap();
    let program = env!("CARGO_BIN_EXE_s3xmount");
    let role = demo::role_arn();
    fs::write(
        &config,
        format!(
            "[profile p]\ncredential_process = {program} credentials --role-arn {role} --format process\n"
        ),
    )
    .unwrap();
    let mut command =
        home.command(&["credentials", "--role-arn", &role, "--sts-endpoint-url", "http://127.0.0.1:1"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("AWS_PROFILE", "p");
    let begun = std::time::Instant::now();
    let output = command.output().unwrap();
    assert!(
        !output.status.success() && begun.elapsed() < Duration::from_secs(60),
        "{}",
        text(&output.stderr)
    );
    let mut inner = home.command(&["credentials", "--role-arn", &role]);
    let output = inner.env("AWS_PROFILE", "p").env("S3XMOUNT_ASKED", "1").output().unwrap();
    assert!(text(&output.stderr).contains("would ask that profile"), "{}", text(&output.stderr));
}

/// Somebody still has a file open when the mount is told to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_mount_in_use_ends_when_its_last_file_is_closed() {
    let Some(stage) = Stage::new(&[]) else { return };
    let status: Value = serde_json::from_str(&stage.says(&["status", &stage.path(""), "--json"])).unwrap();
    let pid = find(&status, "pid").unwrap().to_string();
    let mut file = fs::File::create(stage.path("SampleBucketA/late")).unwrap();
    std::io::Write::write_all(&mut file, b"before").unwrap();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mount_point = stage.home.mount_point();
    let is_gone = async || !s3xmount::config::mount_point::is_mounted(&mount_point);
    eventually("nobody else gets in", is_gone).await;
    std::io::Write::write_all(&mut file, b", and after").unwrap();
    file.sync_all().unwrap();
    drop(file);
    assert_eq!(stage.world.stored("a/late").unwrap(), b"before, and after");
}

#[test]
fn status_tells_how_things_are_and_nothing_secret() {
    let Some(stage) = Stage::new(&[]) else { return };
    let session = stage.session();
    let for_people = stage.says(&["status", &stage.path("")]);
    let for_machines = stage.says(&["status", &stage.path(""), "--json"]);
    for said in [&for_people, &for_machines] {
        for part in ["SampleBucketA", "SampleBucketB", demo::REGION, demo::ROLE] {
            assert!(said.contains(part), "'{part}' is missing: {said}");
        }
        for secret in ["SecretAccessKey", "SessionToken"] {
            assert!(!said.contains(session[secret].as_str().unwrap()), "{said}");
        }
    }
    let mount_point = stage.path("");
    stage.end();
    let home = Home::new();
    let output = home.s3xmount(&["status", &mount_point]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
}

#[test]
fn nobody_else_gets_to_the_socket() {
    let Some(stage) = Stage::new(&[]) else { return };
    let around = s3xmount::config::Surroundings::look();
    let place = s3xmount::control::Place::new(&stage.home.mount_point(), around.uid, &around);
    let socket = place.candidates().iter().find(|path| path.exists()).unwrap().clone();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let directory = fs::metadata(socket.parent().unwrap()).unwrap();
    assert_eq!((directory.permissions().mode() & 0o777, directory.uid()), (0o700, around.uid));
    stage.end();
    assert!(!socket.exists(), "it is gone when the mount is");
}

/// The process writes no core, and all of what it was is kept from the others (PR_SET_DUMPABLE).
#[test]
fn a_mount_leaves_no_core() {
    let Some(stage) = Stage::new(&[]) else { return };
    let status: Value = serde_json::from_str(&stage.says(&["status", &stage.path(""), "--json"])).unwrap();
    let pid = find(&status, "pid").unwrap();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let fields: Vec<&str> = core["Max core file size".len()..].split_whitespace().collect();
    assert_eq!(fields[..2], ["0", "0"], "{core}");
    stage.end();
}

/// A field of that name, at whatever depth.
fn find(value: &Value, name: &str) -> Option<Value> {
    match value {
        Value::Object(fields) => {
            fields.get(name).cloned().or_else(|| fields.values().find_map(|value| find(value, name)))
        }
        Value::Array(items) => items.iter().find_map(|value| find(value, name)),
        _ => None,
    }
}

/// With everything logged, and everything going wrong that may.
#[test]
fn no_secret_is_in_the_log_at_any_level() {
    let Some(stage) = Stage::new(&["-vv"]) else { return };
    let mut secrets = vec![demo::alice().secret];
    for round in 0..3 {
        let session = stage.session();
        for secret in ["SecretAccessKey", "SessionToken"] {
            secrets.push(session[secret].as_str().unwrap().to_owned());
        }
        let faults = &stage.world.faults;
        faults.inject(On::operation("AssumeRole").times(1).reject(403, "SignatureDoesNotMatch"));
        faults.inject(On::operation("AssumeRole").times(1).replace_answer(200, "<html>"));
        faults.inject(On::operation("PutObject").times(1).reject(403, "SignatureDoesNotMatch"));
        // What a server answers to a wrong signature may quote the token.
        fs::write(stage.path(&format!("SampleBucketA/{round}")), "x").ok();
        stage.world.clock.advance(Duration::from_secs(2 * 3600));
        fs::write(stage.path(&format!("SampleBucketA/again-{round}")), "x").unwrap();
        fs::read_dir(stage.path("SampleBucketB")).unwrap().for_each(drop);
        stage.says(&["status", &stage.path("")]);
    }
    let log = fs::read_to_string(stage.home.log()).unwrap();
    stage.end();
    assert!(log.contains("DEBUG"), "everything is logged");
    assert!(
        log.contains("asked S3 request=\"PUT http://") && log.contains("answer=403"),
        "each request, too: {log}"
    );
    assert!(secrets.iter().collect::<std::collections::BTreeSet<_>>().len() > 3, "sessions came and went");
    for secret in secrets {
        assert!(!log.contains(&secret), "a secret is in the log");
    }
}

/// Two buckets, two roles; account B trusts nobody with the second one for a while.
#[tokio::test(flavor = "multi_thread")]
async fn the_trouble_of_one_account_is_not_that_of_the_other() {
    if !can_mount() {
        return;
    }
    let [one, other] = demo::BUCKETS;
    let trusts_nobody = json!({"Statement": {
        "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": ACCOUNT_A.user_arn("nobody")},
    }});
    let world = demo::world(Rights::Full)
        .with_role(Role::new(ACCOUNT_A, "second").trust(&trusts_nobody).policy(&demo::administrator()));
    let second = ACCOUNT_A.role_arn("second");
    let admits = json!({"Statement": {
        "Effect": "Allow", "Action": "s3:*", "Principal": {"AWS": second},
        "Resource": [format!("arn:aws:s3:::{other}"), format!("arn:aws:s3:::{other}/*")],
    }});
    world.set_bucket_policy(other, Some(&admits));
    let everything = json!({"Statement": {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}});
    world.directory.set_user_policies(ACCOUNT_A, "alice", &[everything]);
    let emulator = RunningEmulator::start(world).unwrap();

    let home = Home::new();
    let config = home.path().join("config.toml");
    let mount_point = home.mount_point();
    let settings = format!(
        "[[mount]]\npath = '{}'\nrole_arn = '{}'\nbuckets = ['{one}']\n\
         [[mount.bucket]]\nname = '{other}'\nrole_arn = '{second}'\n",
        mount_point.display(),
        demo::role_arn()
    );
    fs::write(&config, settings).unwrap();
    let output = home.mount_of(&emulator, &["--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    assert!(fs::read(mount_point.join(one).join("welcome.txt")).is_ok());
    let refused = fs::read(mount_point.join(other).join("welcome.txt")).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    let status = text(&home.s3xmount(&["status", mount_point.to_str().unwrap()]).stdout);
    assert!(status.contains("trust policy"), "it says what is wrong: {status}");
    let ambiguous = home.s3xmount(&["credentials", mount_point.to_str().unwrap()]);
    assert!(text(&ambiguous.stderr).contains("different roles"), "{}", text(&ambiguous.stderr));

    // Account B's administrator puts it right, and nobody has to mount again.
    emulator.world().directory.set_trust(ACCOUNT_A, "second", Some(&demo::trust()));
    let is_admitted = async || fs::read(mount_point.join(other).join("welcome.txt")).is_ok();
    eventually("the second role is assumed", is_admitted).await;
    let session =
        home.s3xmount(&["credentials", mount_point.join(other).to_str().unwrap(), "--format", "json"]);
    assert!(text(&session.stdout).contains("assumed-role/second/"), "{}", text(&session.stderr));
    assert!(umount(&mount_point, &[]));
}

#[test]
fn a_role_that_demands_mfa_is_mounted_with_a_command_and_a_login_brings_the_next_session() {
    const DEVICE: &str = "arn:aws:iam::111111111111:mfa/alice";
    let device = MfaDevice::new(DEVICE, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP");
    let alice = User::new(ACCOUNT_A, "alice", demo::alice()).policy(&demo::may_assume()).mfa(device);
    let world = demo::world(Rights::Full).with_user(alice);
    let trust = json!({"Statement": {
        "Effect": "Allow", "Principal": {"AWS": ACCOUNT_A.user_arn("alice")}, "Action": "sts:AssumeRole",
        "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}},
    }});
    world.directory.set_trust(ACCOUNT_A, demo::ROLE, Some(&trust));
    let world = World::of(world);
    let code = world.fresh_mfa_code(ACCOUNT_A, "alice");
    // As a device that has been used up: it shows the same code for ever.
    let command = format!("echo {code}");
    let Some(stage) = Stage::of(world, &["--mfa-serial", DEVICE, "--mfa-command", &command]) else { return };
    let before = stage.session();

    let login = |code: &str| {
        let mut login = stage.home.command(&["login", &stage.path("")]);
        let mut login =
            login.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut login.stdin.take().unwrap(), format!("{code}\n").as_bytes()).unwrap();
        login.wait_with_output().unwrap()
    };
    let wrong = login("000000");
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong.stdout));
    assert!(text(&wrong.stderr).contains("MFA"), "{}", text(&wrong.stderr));
    let right = login(&stage.world.fresh_mfa_code(ACCOUNT_A, "alice"));
    assert!(right.status.success() && text(&right.stdout).contains("lasts until"), "{}", text(&right.stderr));
    assert_ne!(stage.session()["AccessKeyId"], before["AccessKeyId"]);
    assert!(fs::read(Path::new(&stage.path("SampleBucketA/welcome.txt"))).is_ok());
    stage.end();
}
