//! `s3xmount doctor`: each fault is planted alone, and what it prints, once added, makes the check pass.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::process::Output;
use std::time::Duration;

use s3xmount::emulator::Ownership;
use s3xmount::emulator::demo::{self, ACCOUNT_A, ACCOUNT_B, Rights};
use serde_json::{Value, json};

use crate::support::World;
use crate::support::real::{Home, can_mount, text};

/// Two accounts, one bucket, and the documents that let alice into it, as lists of statements.
struct Patient {
    world: World,
    home: Home,
    trust: Vec<Value>,
    role: Vec<Value>,
    bucket: Vec<Value>,
    flags: Vec<String>,
}

impl Patient {
    /// Everything is as it should be.
    fn healthy() -> Self {
        let statements = |document: Value| document["Statement"].as_array().unwrap().clone();
        Self {
            world: World::with(Rights::Full),
            home: Home::new(),
            trust: statements(demo::trust()),
            role: statements(demo::role_policy(Rights::Full)),
            bucket: statements(demo::bucket_policy(BUCKET)),
            flags: words(&format!("--role-arn {} --bucket {BUCKET}", demo::role_arn())),
        }
    }

    fn flags(mut self, flags: &str) -> Self {
        self.flags.extend(words(flags));
        self
    }

    /// The role may no longer do this.
    fn forbid(&mut self, action: &str) {
        for statement in &mut self.role {
            let kept = match &statement["Action"] {
                Value::Array(actions) => actions.iter().filter(|one| *one != action).cloned().collect(),
                one if one == action => vec![json!("s3:GetBucketLocation")],
                one => vec![one.clone()],
            };
            statement["Action"] = json!(kept);
        }
    }

    /// Puts the documents where they belong.
    fn install(&self) {
        let document = |statements: &[Value]| json!({"Version": "2012-10-17", "Statement": statements});
        let trust = (!self.trust.is_empty()).then(|| document(&self.trust));
        self.world.directory.set_trust(ACCOUNT_A, demo::ROLE, trust.as_ref());
        self.world.directory.set_role_policies(ACCOUNT_A, demo::ROLE, &[document(&self.role)]);
        let bucket = (!self.bucket.is_empty()).then(|| document(&self.bucket));
        self.world.set_bucket_policy(BUCKET, bucket.as_ref());
    }

    fn run(&self, more: &[&str]) -> Output {
        self.install();
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.home.mount_of(self.world.running(), &[&["doctor"], flags.as_slice(), more].concat())
    }

    /// All checks, in order.
    fn checks(&self, more: &[&str]) -> Vec<Value> {
        let output = self.run(&[&["--json"], more].concat());
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{} {}", text(&output.stdout), text(&output.stderr)))
    }

    fn check(&self, name: &str, more: &[&str]) -> Value {
        let checks = self.checks(more);
        let found = checks.iter().find(|check| check["name"].as_str().unwrap().starts_with(name));
        found.unwrap_or_else(|| panic!("no check {name}: {checks:#?}")).clone()
    }

    /// Does what a remedy says.
    fn take(&mut self, remedy: &Value) {
        let statement = remedy["statement"].clone();
        match remedy["place"].as_str().unwrap() {
            "trust-policy" => {
                assert_eq!(remedy["holder"], demo::role_arn());
                self.trust.push(statement);
            }
            "role-policy" => {
                assert_eq!(remedy["holder"], demo::role_arn());
                self.role.push(statement);
            }
            "bucket-policy" => {
                assert_eq!(remedy["holder"], BUCKET);
                self.bucket.push(statement);
            }
            "ownership" => {
                assert_eq!(statement["Rules"][0]["ObjectOwnership"], "BucketOwnerPreferred");
                self.world.bucket(BUCKET).set_ownership(Ownership::BucketOwnerPreferred);
            }
            "settings" => {
                let (key, value) = statement.as_object().unwrap().iter().next().unwrap();
                let flag = format!("--{}", key.replace('_', "-"));
                let at = self.flags.iter().position(|word| *word == flag).unwrap();
                self.flags[at + 1] = value.as_str().unwrap().to_owned();
            }
            other => panic!("nobody knows the place {other}"),
        }
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// The probe never stays behind, and nothing else is touched.
fn assert_clean(patient: &Patient) {
    let mut keys = patient.world.bucket(BUCKET).keys();
    keys.retain(|key| !["reports/", "welcome.txt"].iter().any(|known| key.starts_with(known)));
    assert_eq!(keys, [""; 0]);
    assert!(patient.world.uploads(BUCKET).is_empty());
}

/// The documents that lack something, by the likeliest first.
fn places(check: &Value) -> Vec<String> {
    let remedies = check["remedies"].as_array().unwrap();
    remedies.iter().map(|remedy| remedy["place"].as_str().unwrap().to_owned()).collect()
}

/// Plants one fault, and shows that the first remedy is in the right place and heals it.
#[track_caller]
fn heals(mut patient: Patient, more: &[&str], name: &str, outcome: &str, place: &str) {
    let sick = patient.check(name, more);
    assert_eq!(sick["outcome"], outcome, "{sick:#}");
    assert_eq!(places(&sick)[0], place, "{sick:#}");
    assert!(!sick["meaning"].as_str().unwrap().is_empty());
    let remedies: Vec<Value> = sick["remedies"].as_array().unwrap().clone();
    for remedy in remedies.iter().filter(|remedy| remedy["place"] == place) {
        patient.take(remedy);
    }
    let healed = patient.check(name, more);
    assert_eq!(healed["outcome"], "passed", "{healed:#}");
    assert_clean(&patient);
}

#[test]
fn a_healthy_mount_passes_every_check() {
    let patient = Patient::healthy();
    for more in [&[][..], &["--write-test"]] {
        for check in patient.checks(more) {
            let is_fine = check["outcome"] == "passed" || check["subject"] == "machine";
            assert!(is_fine, "{check:#}");
        }
        assert_clean(&patient);
    }
    let names = patient.checks(&["--write-test"]);
    for name in ["assume", "list", "read", "write", "copy", "upload", "abort", "delete"] {
        assert!(names.iter().any(|check| check["name"].as_str().unwrap().starts_with(name)), "{name}");
    }
    if can_mount() {
        let output = patient.run(&[]);
        assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    }
}

#[test]
fn without_a_write_test_nothing_is_changed() {
    let patient = Patient::healthy();
    patient.checks(&[]);
    let writes = ["PutObject", "CopyObject", "DeleteObject", "DeleteObjects", "CreateMultipartUpload"];
    for operation in writes {
        assert_eq!(patient.world.count(operation), 0, "{operation}");
    }
    assert!(patient.world.count("GetObject") > 0, "but it did look");
}

#[test]
fn no_trust() {
    let mut patient = Patient::healthy();
    patient.trust.clear();
    heals(patient, &[], "assume", "failed", "trust-policy");
}

#[test]
fn a_wrong_external_id() {
    let mut patient = Patient::healthy().flags("--external-id ours");
    patient.trust[0]["Condition"] = json!({"StringEquals": {"sts:ExternalId": "theirs"}});
    let check = patient.check("assume", &[]);
    assert!(check["meaning"].as_str().unwrap().contains("external id"), "{check:#}");
    heals(patient, &[], "assume", "failed", "trust-policy");
}

#[test]
fn a_role_that_lacks_one_action() {
    let table = [
        ("s3:ListBucket", "list", "limited"),
        ("s3:GetObject", "read", "failed"),
        ("s3:PutObject", "write", "failed"),
        ("s3:PutObjectAcl", "write", "failed"),
        ("s3:DeleteObject", "delete", "limited"),
        ("s3:AbortMultipartUpload", "abort", "limited"),
    ];
    for (action, name, outcome) in table {
        let mut patient = Patient::healthy();
        patient.forbid(action);
        let actions = patient.check(name, &["--write-test"])["remedies"][0]["statement"]["Action"].clone();
        assert!(actions.to_string().contains(action), "{action}: {actions}");
        heals(patient, &["--write-test"], name, outcome, "role-policy");
    }
}

#[test]
fn a_denied_read_is_seen_without_a_write_test() {
    let mut patient = Patient::healthy();
    patient.forbid("s3:GetObject");
    heals(patient, &[], "read", "failed", "role-policy");
}

#[test]
fn a_bucket_policy_that_is_missing_or_names_somebody_else() {
    for more in [&["--leave-probe"][..], &["--read", "welcome.txt"]] {
        let mut patient = Patient::healthy();
        patient.bucket.clear();
        heals(patient, more, "read", "failed", "bucket-policy");
        let mut patient = Patient::healthy();
        for statement in &mut patient.bucket {
            statement["Principal"] = json!({"AWS": ACCOUNT_A.role_arn("another")});
        }
        heals(patient, more, "list", "limited", "bucket-policy");
    }
}

/// S3 tells a role that may not list nothing about what is absent, so the bucket is not to be blamed.
#[test]
fn a_role_with_few_rights_is_no_reason_to_blame_the_bucket() {
    let mut patient = Patient::healthy();
    patient.role = demo::role_policy(Rights::Minimal)["Statement"].as_array().unwrap().clone();
    for check in patient.checks(&["--write-test"]) {
        if !check["remedies"].as_array().unwrap().is_empty() {
            assert_eq!(places(&check)[0], "role-policy", "{check:#}");
        }
    }
}

#[test]
fn an_acl_that_the_policy_demands() {
    for acl in ["none", "private"] {
        let patient = Patient::healthy().flags(&format!("--acl {acl}"));
        heals(patient, &["--write-test"], "write", "failed", "settings");
    }
}

#[test]
fn another_acl_where_acls_are_disabled() {
    for (remedy, place) in [(0, "settings"), (1, "ownership")] {
        let mut patient = Patient::healthy().flags("--acl private");
        patient.bucket.truncate(1);
        patient.world.bucket(BUCKET).set_ownership(Ownership::BucketOwnerEnforced);
        let sick = patient.check("write", &["--write-test"]);
        assert_eq!((&sick["outcome"], places(&sick)), (&json!("failed"), words("settings ownership")));
        assert_eq!(sick["remedies"][remedy]["place"], place);
        patient.take(&sick["remedies"][remedy]);
        assert_eq!(patient.check("write", &["--write-test"])["outcome"], "passed");
    }
}

#[test]
fn a_wrong_owner_is_expected() {
    let patient = Patient::healthy().flags(&format!("--expected-bucket-owner {ACCOUNT_A}"));
    let check = patient.check("compare the bucket's owner", &[]);
    assert_eq!((&check["outcome"], places(&check)), (&json!("failed"), words("settings")));
    let patient = Patient::healthy().flags(&format!("--expected-bucket-owner {ACCOUNT_B}"));
    assert!(patient.checks(&[]).iter().all(|check| check["name"] != "compare the bucket's owner"));
}

#[test]
fn a_bucket_that_does_not_exist() {
    let mut patient = Patient::healthy();
    *patient.flags.last_mut().unwrap() = "SampleBucketC".to_owned();
    let check = patient.check("find the bucket", &[]);
    assert_eq!(check["outcome"], "failed");
    assert!(check["meaning"].as_str().unwrap().contains("no such bucket"), "{check:#}");
    assert_eq!(patient.run(&[]).status.code(), Some(1));
}

#[test]
fn a_wrong_region_is_written_down_for_the_bucket() {
    let mut patient = Patient::healthy();
    let config = patient.home.path().join("config.toml");
    let path = patient.home.mount_point();
    let written = |region: &str| {
        let mount = format!("[[mount]]\npath = '{}'\n", path.display());
        let bucket = format!("[[mount.bucket]]\nname = '{BUCKET}'\nregion = '{region}'\n");
        std::fs::write(&config, mount + &bucket).unwrap();
    };
    patient.flags = words(&format!("--role-arn {} --config {}", demo::role_arn(), config.display()));
    written("eu-west-1");
    let check = patient.check("find the bucket", &[]);
    assert_eq!((&check["outcome"], places(&check)), (&json!("failed"), words("settings")), "{check:#}");
    written(check["remedies"][0]["statement"]["region"].as_str().unwrap());
    assert_eq!(patient.check("find the bucket", &[])["outcome"], "passed");
    assert_eq!(patient.check("list", &[])["outcome"], "passed");
}

#[test]
fn base_credentials_that_have_expired() {
    let patient = Patient::healthy();
    patient.install();
    let url = patient.world.url();
    let printed = patient.home.s3xmount(&[
        "credentials",
        "--format",
        "json",
        "--sts-endpoint-url",
        &url,
        "--role-arn",
        &demo::role_arn(),
        "--region",
        demo::REGION,
    ]);
    let session: Value = serde_json::from_slice(&printed.stdout).unwrap();
    patient.world.clock.advance(Duration::from_secs(2 * 3600));
    let flags = ["doctor", "--json", "--role-arn", &demo::role_arn(), "--bucket", BUCKET];
    let mut command = patient.home.command_of(patient.world.running(), &flags);
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AccessKeyId"),
        ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"),
        ("AWS_SESSION_TOKEN", "SessionToken"),
    ];
    for (variable, key) in keys {
        command.env(variable, session["Credentials"][key].as_str().unwrap());
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let checks: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let base = checks.iter().find(|check| check["name"] == "find the base identity").unwrap();
    assert_eq!(base["outcome"], "failed");
    assert!(base["meaning"].as_str().unwrap().contains("expired"), "{base:#}");
    let said = text(&output.stdout);
    assert!(!said.contains(session["Credentials"]["SessionToken"].as_str().unwrap()));
}

#[test]
fn a_clock_that_is_wrong_is_told_and_lived_with() {
    let patient = Patient::healthy();
    patient.world.clock.run_ahead(Duration::from_secs(20 * 60));
    let check = patient.check("compare the clock", &[]);
    assert_eq!(check["outcome"], "limited");
    assert!(check["answer"].as_str().unwrap().contains(" min behind"), "{check:#}");
    assert_eq!(patient.check("read", &[])["outcome"], "passed");
}

#[test]
fn what_cannot_be_decided_is_not_taken_for_well() {
    let mut patient = Patient::healthy();
    patient.role = demo::role_policy(Rights::Minimal)["Statement"].as_array().unwrap().clone();
    assert_eq!(patient.check("read", &[])["outcome"], "undecided");
    assert_eq!(patient.run(&[]).status.code(), Some(1));
    assert_eq!(patient.check("read", &["--read", "welcome.txt"])["outcome"], "passed");
    assert_eq!(patient.check("read", &["--read", "SampleBucketA/welcome.txt"])["outcome"], "passed");
}

#[test]
fn a_key_with_a_directory_in_front_is_looked_for_in_that_bucket_only() {
    let mut patient = Patient::healthy().flags(&format!("--bucket {}", demo::BUCKETS[1]));
    patient.forbid("s3:ListBucket");
    let checks = patient.checks(&["--read", "SampleBucketB/notes/poems/autumn.txt"]);
    let reads = checks.iter().filter(|check| check["name"] == "read an object");
    let outcomes: Vec<&str> = reads.map(|check| check["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["undecided", "passed"]);
}

#[test]
fn a_probe_that_could_not_be_removed_is_not_written_unless_it_may_stay() {
    let mut patient = Patient::healthy();
    patient.role = demo::role_policy(Rights::Minimal)["Statement"].as_array().unwrap().clone();
    let check = patient.check("write", &["--write-test"]);
    assert_eq!(check["outcome"], "undecided", "{check:#}");
    assert_clean(&patient);
    let checks = patient.checks(&["--leave-probe"]);
    let outcome = |name: &str| {
        let check = checks.iter().find(|check| check["name"].as_str().unwrap().starts_with(name));
        check.unwrap()["outcome"].as_str().unwrap().to_owned()
    };
    let outcomes = ["read", "write", "copy", "upload", "abort", "delete"].map(outcome);
    assert_eq!(outcomes, ["passed", "passed", "passed", "passed", "limited", "limited"]);
    assert!(patient.world.object(BUCKET, ".s3xmount-doctor-probe").is_some());
    assert!(patient.world.uploads(BUCKET).is_empty(), "an upload that cannot be aborted is completed");
}

#[test]
fn people_read_what_to_add_and_where() {
    let mut patient = Patient::healthy();
    patient.forbid("s3:GetObject");
    let output = patient.run(&[]);
    let said = text(&output.stdout);
    let role = demo::role_arn();
    for part in ["FAILED", "read an object", &format!("add to the policy of {role}:"), "\"s3:GetObject\""] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("1 checks failed"), "{}", text(&output.stderr));
}

const BUCKET: &str = demo::BUCKETS[0];
