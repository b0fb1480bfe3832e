//! `s3xmount doctor`: each fault is planted alone, and what it prints, once added, makes the check pass.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use s3xmount::emulator::demo::{self, ACCOUNT_A, ACCOUNT_B, Rights};
use s3xmount::emulator::store::WriteCondition;
use s3xmount::emulator::{self, Encryption, KmsKey, Object, Ownership};
use serde_json::{Value, json};

use crate::support::World;
use crate::support::real::{Home, can_mount, text, umount};

/// Two accounts, one bucket, and the documents that let alice into it, as lists of statements.
struct Patient {
    world: World,
    home: Home,
    alice: Vec<Value>,
    trust: Vec<Value>,
    role: Vec<Value>,
    bucket: Vec<Value>,
    /// Of the KMS key, if there is one.
    key: Vec<Value>,
    flags: Vec<String>,
}

impl Patient {
    /// Everything is as it should be.
    fn healthy() -> Self {
        Self::of(demo::world(Rights::Full))
    }

    /// So is everything in another world.
    fn of(world: emulator::World) -> Self {
        let statements = |document: Value| document["Statement"].as_array().unwrap().clone();
        Self {
            world: World::of(world),
            home: Home::new(),
            alice: statements(demo::may_assume()),
            trust: statements(demo::trust()),
            role: statements(demo::role_policy(Rights::Full)),
            bucket: statements(demo::bucket_policy(BUCKET)),
            key: Vec::new(),
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
        self.world.directory.set_user_policies(ACCOUNT_A, "alice", &[document(&self.alice)]);
        let trust = (!self.trust.is_empty()).then(|| document(&self.trust));
        self.world.directory.set_trust(ACCOUNT_A, demo::ROLE, trust.as_ref());
        self.world.directory.set_role_policies(ACCOUNT_A, demo::ROLE, &[document(&self.role)]);
        let bucket = (!self.bucket.is_empty()).then(|| document(&self.bucket));
        self.world.set_bucket_policy(BUCKET, bucket.as_ref());
        if !self.key.is_empty() {
            self.world.keys.set_policy(&key_arn(), &document(&self.key));
        }
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
        let holder = remedy["holder"].as_str().unwrap();
        let document = match remedy["place"].as_str().unwrap() {
            "role-policy" if holder == ACCOUNT_A.user_arn("alice") => (&mut self.alice, holder.to_owned()),
            "trust-policy" => (&mut self.trust, demo::role_arn()),
            "role-policy" => (&mut self.role, demo::role_arn()),
            "bucket-policy" => (&mut self.bucket, BUCKET.to_owned()),
            "key-policy" => (&mut self.key, key_arn()),
            "ownership" => {
                assert_eq!(remedy["values"]["Rules"][0]["ObjectOwnership"], "BucketOwnerPreferred");
                return self.world.bucket(BUCKET).set_ownership(Ownership::BucketOwnerPreferred);
            }
            "settings" => return self.set(&remedy["values"]),
            other => panic!("nobody knows the place {other}"),
        };
        let (statements, owner) = document;
        assert_eq!(holder, owner);
        match remedy["change"].as_str().unwrap() {
            "add" => statements.extend(remedy["statements"].as_array().unwrap().iter().cloned()),
            "exempt" => exempt(statements, remedy),
            other => panic!("nobody knows how to {other}"),
        }
    }

    /// Changes flags; `null` takes one out.
    fn set(&mut self, values: &Value) {
        for (key, value) in values.as_object().unwrap() {
            let flag = format!("--{}", key.replace('_', "-"));
            if let Some(at) = self.flags.iter().position(|word| *word == flag) {
                self.flags.drain(at..at + 2);
            }
            if let Some(value) = value.as_str() {
                self.flags.extend([flag, value.to_owned()]);
            }
        }
    }
}

/// Adds the condition to every statement that denies one of the actions.
fn exempt(statements: &mut [Value], remedy: &Value) {
    let named = remedy["actions"].as_array().unwrap();
    for statement in statements.iter_mut().filter(|statement| statement["Effect"] == "Deny") {
        let denied = statement["Action"].as_str().unwrap();
        if named.iter().any(|action| action == denied || action == "s3:*") {
            for (operator, keys) in remedy["condition"].as_object().unwrap() {
                statement["Condition"][operator] = keys.clone();
            }
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
    patient.take(&sick["remedies"][0]);
    let healed = patient.check(name, more);
    assert_eq!(healed["outcome"], "passed", "{healed:#}");
    assert_clean(&patient);
}

/// Plants a fault that S3's words do not tell from others, and does what is said, one thing after the other, until
/// it is healed. Returns where that was: what is in vain on the way is what is there already.
#[track_caller]
fn heals_at_last(mut patient: Patient, more: &[&str], name: &str) -> (Patient, String, String) {
    let sick = patient.check(name, more);
    assert_ne!(sick["outcome"], "passed", "{sick:#}");
    for remedy in sick["remedies"].as_array().unwrap() {
        patient.take(remedy);
        if patient.check(name, more)["outcome"] == "passed" {
            assert_clean(&patient);
            let word = |key: &str| remedy[key].as_str().unwrap().to_owned();
            return (patient, word("place"), word("change"));
        }
    }
    panic!("nothing helps: {sick:#}");
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

/// Where the role trusts the account, it leaves it to the account who may assume it.
#[test]
fn a_user_who_may_not_assume_the_role() {
    let mut patient = Patient::healthy();
    patient.alice = vec![deny("s3:GetObject", "*", None)];
    patient.trust[0]["Principal"] = json!({"AWS": ACCOUNT_A.root_arn()});
    let (mut patient, ..) = heals_at_last(patient, &[], "assume");
    patient.alice.push(deny("sts:AssumeRole", "*", None));
    let check = patient.check("assume", &[]);
    let identity_deny = check["remedies"]
        .as_array()
        .unwrap()
        .iter()
        .any(|remedy| remedy["place"] == "role-policy" && remedy["change"] == "exempt");
    assert!(identity_deny, "{check:#}");
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
        let actions =
            patient.check(name, &["--write-test"])["remedies"][0]["statements"][0]["Action"].clone();
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
    // Seen by a role that may list, and by one that may read a key that somebody named.
    let lists = Patient::healthy().flags(&format!("--expected-bucket-owner {ACCOUNT_A}"));
    let mut reads = Patient::healthy().flags(&format!("--expected-bucket-owner {ACCOUNT_A}"));
    reads.forbid("s3:ListBucket");
    for (mut patient, more) in [(lists, &[][..]), (reads, &["--read", "welcome.txt", "--leave-probe"])] {
        let checks = patient.checks(more);
        let of_bucket: Vec<_> = checks.iter().filter(|check| check["subject"] == BUCKET).collect();
        let names: Vec<_> = of_bucket.iter().map(|check| check["name"].as_str().unwrap()).collect();
        let last = of_bucket.last().unwrap();
        assert_eq!(*names.last().unwrap(), "compare the bucket's owner", "nothing else is blamed: {names:?}");
        assert_eq!((&last["outcome"], places(last)), (&json!("failed"), words("settings")));
        patient.take(&last["remedies"][0].clone());
        assert_eq!(patient.check("read", more)["outcome"], "passed");
    }
    let mut patient = Patient::healthy().flags(&format!("--expected-bucket-owner {ACCOUNT_A}"));
    patient.set(&json!({"expected_bucket_owner": ACCOUNT_B.to_string()}));
    assert!(patient.checks(&[]).iter().all(|check| check["outcome"] != "failed"));
}

/// It may be a stranger's, which is what the setting is to guard against.
#[test]
fn nothing_is_written_into_a_bucket_of_another_owner() {
    let patient = Patient::healthy().flags(&format!("--expected-bucket-owner {ACCOUNT_A}"));
    patient.world.forget_requests();
    patient.checks(&["--leave-probe"]);
    let changes = patient.world.faults.counts().into_keys().filter(|name| !READS.contains(name));
    assert_eq!(changes.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn a_mount_refuses_a_bucket_that_is_seen_to_be_of_another_owner() {
    if !can_mount() {
        return;
    }
    let patient = Patient::healthy();
    let owner = ACCOUNT_A.to_string();
    let flags = ["--role-arn", &demo::role_arn(), "--bucket", BUCKET, "--expected-bucket-owner", &owner];
    let output = patient.home.mount_of(patient.world.running(), &flags);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("does not belong to 111111111111") && said.contains("--expected-bucket-owner"),
        "{said}"
    );
}

#[test]
fn a_bucket_that_does_not_exist() {
    let mut patient = Patient::healthy();
    *patient.flags.last_mut().unwrap() = "SampleBucketC".to_owned();
    let check = patient.check("find the bucket", &[]);
    assert_eq!(check["outcome"], "failed");
    assert!(check["meaning"].as_str().unwrap().contains("there is no bucket of this name"), "{check:#}");
    assert!(!check["answer"].as_str().unwrap().contains("no answer"), "{check:#}");
    assert_eq!(patient.run(&[]).status.code(), Some(1));
    *patient.flags.last_mut().unwrap() = BUCKET.to_owned();
    assert_eq!(patient.check("find the bucket", &[])["outcome"], "passed");
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
    written(check["remedies"][0]["values"]["region"].as_str().unwrap());
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
    assert!(base["meaning"].as_str().unwrap().contains("log in again, or renew them"), "{base:#}");
    assert_eq!(patient.check("find the base identity", &[])["outcome"], "passed", "with keys that are good");
}

#[test]
fn a_clock_that_is_wrong_is_told_and_lived_with() {
    let patient = Patient::healthy();
    patient.world.clock.run_ahead(Duration::from_secs(20 * 60));
    let check = patient.check("compare the clock", &[]);
    assert_eq!(check["outcome"], "limited");
    assert!(check["answer"].as_str().unwrap().contains(" min behind"), "{check:#}");
    assert!(check["meaning"].as_str().unwrap().contains("timedatectl set-ntp true"), "{check:#}");
    assert_eq!(patient.check("read", &[])["outcome"], "passed");
    patient.world.clock.run_ahead(Duration::ZERO);
    assert_eq!(patient.check("compare the clock", &[])["outcome"], "passed");
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
    for part in
        ["FAILED   read an object", "[1] add this statement to the policy of", &role, "\"s3:GetObject\""]
    {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("1 check failed"), "{}", text(&output.stderr));
}

/// Only what cannot be broken is longer than a line: an ARN, a path.
#[test]
fn the_report_fits_a_terminal_and_says_nothing_twice() {
    let mut patient = Patient::healthy();
    patient.bucket.clear();
    let output = patient.run(&["--leave-probe"]);
    let said = text(&output.stdout);
    for line in said.lines().filter(|line| line.chars().count() > 80) {
        assert!(line.split_whitespace().any(|word| word.len() > 50), "{line}");
    }
    let statements = said.matches("\"s3:AbortMultipartUpload\"").count();
    assert_eq!(statements, 2, "once for each account: {said}");
    assert_eq!(said.matches("aws:PrincipalArn").count(), 1, "{said}");
    assert!(said.contains("(see above)"), "{said}");
}

/// The documents that are there already are not to be blamed for ever.
#[test]
fn a_deny_is_the_last_thing_to_look_for_and_an_exception_heals_it() {
    for (action, resource, name, more) in [
        ("s3:GetObject", "arn:aws:s3:::SampleBucketA/*", "read", &[][..]),
        ("s3:PutObject", "arn:aws:s3:::SampleBucketA/*", "write", &["--write-test"]),
        ("s3:DeleteObject", "arn:aws:s3:::SampleBucketA/*", "delete", &["--write-test"]),
        ("s3:ListBucket", "arn:aws:s3:::SampleBucketA", "list", &[]),
    ] {
        let mut patient = Patient::healthy();
        patient.bucket.push(deny(action, resource, Some("*")));
        let (healed, place, change) = heals_at_last(patient, more, name);
        assert_eq!((place.as_str(), change.as_str()), ("bucket-policy", "exempt"), "{action}");
        assert!(
            healed.bucket.iter().any(|statement| statement["Action"] == action),
            "it still holds for others"
        );

        let mut patient = Patient::healthy();
        patient.role.push(deny(action, resource, None));
        let (_, place, change) = heals_at_last(patient, more, name);
        assert_eq!((place.as_str(), change.as_str()), ("role-policy", "exempt"), "{action}");
    }
    let mut patient = Patient::healthy();
    patient.trust.push(json!({"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole"}));
    let (_, place, change) = heals_at_last(patient, &[], "assume");
    assert_eq!((place.as_str(), change.as_str()), ("trust-policy", "exempt"));
}

/// Where AWS says which kind of policy it is, that is the only one that is named.
#[test]
fn within_an_organization_the_right_document_is_named_at_once() {
    let faults: [(&str, &str, fn(&mut Patient)); 5] = [
        ("bucket-policy", "exempt", |patient| {
            patient.bucket.push(deny("s3:GetObject", "arn:aws:s3:::SampleBucketA/*", Some("*")));
        }),
        ("role-policy", "exempt", |patient| {
            patient.role.push(deny("s3:GetObject", "arn:aws:s3:::SampleBucketA/*", None));
        }),
        ("role-policy", "add", |patient| patient.forbid("s3:GetObject")),
        ("bucket-policy", "add", |patient| patient.bucket.clear()),
        ("bucket-policy", "add", |patient| {
            patient.bucket[0]["Action"] = json!(["s3:ListBucket", "s3:PutObject", "s3:PutObjectAcl"]);
        }),
    ];
    for (place, change, plant) in faults {
        let mut patient = Patient::of(demo::world(Rights::Full).with_one_organization());
        plant(&mut patient);
        let check = patient.check("read", &["--read", "welcome.txt"]);
        assert_eq!(places(&check), [place], "{check:#}");
        assert_eq!(check["remedies"][0]["change"], change, "{check:#}");
        heals(patient, &["--read", "welcome.txt"], "read", "failed", place);
    }
}

#[test]
fn a_session_policy_that_is_in_the_way() {
    let narrow = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:PutObject", "s3:PutObjectAcl", "s3:DeleteObject"], "Resource": "*"},
    ]});
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), narrow.to_string()).unwrap();
    let patient = Patient::healthy().flags(&format!("--session-policy {}", file.path().display()));
    heals(patient, &[], "read", "failed", "settings");
}

#[test]
fn an_encryption_that_the_policy_demands() {
    for sse in ["AES256"] {
        let mut patient = Patient::healthy();
        let mut demand = deny("s3:PutObject", "arn:aws:s3:::SampleBucketA/*", Some("*"));
        demand["Condition"] = json!({"StringNotEquals": {"s3:x-amz-server-side-encryption": sse}});
        patient.bucket.push(demand);
        heals(patient, &["--write-test"], "write", "failed", "settings");
    }
}

/// A bucket that encrypts by default with a key of its account, of which nothing was told to us.
fn with_key() -> Patient {
    let admit = |principal: String| json!({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "kms:*", "Resource": "*"});
    let key = vec![admit(ACCOUNT_B.root_arn()), admit(demo::role_arn())];
    let document = json!({"Version": "2012-10-17", "Statement": key});
    let world = demo::world(Rights::Full);
    world.keys.add(KmsKey::new(ACCOUNT_B, demo::REGION, "of-b", &document));
    world.bucket(BUCKET).set_encryption(Encryption::kms(key_arn()));
    let mut patient = Patient::of(world);
    patient.key = key;
    patient.role.push(json!({
        "Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": key_arn(),
    }));
    patient
}

fn key_arn() -> String {
    format!("arn:aws:kms:{}:{ACCOUNT_B}:key/of-b", demo::REGION)
}

#[test]
fn a_key_that_may_not_be_used() {
    assert_eq!(with_key().check("write", &["--write-test"])["outcome"], "passed");
    for flags in ["", "--sse aws:kms --sse-kms-key-id "] {
        let flags = if flags.is_empty() { String::new() } else { format!("{flags}{}", key_arn()) };
        // Neither the key's policy nor the role's may be left out, and KMS says which it is.
        let mut patient = with_key().flags(&flags);
        patient.key.pop();
        heals(patient, &["--write-test"], "write", "failed", "key-policy");
        let mut patient = with_key().flags(&flags);
        patient.role.pop();
        heals(patient, &["--write-test"], "write", "failed", "role-policy");
        let mut patient = with_key().flags(&flags);
        patient.key.push(
            json!({"Effect": "Deny", "Principal": "*", "Action": "kms:GenerateDataKey", "Resource": "*"}),
        );
        let (_, place, change) = heals_at_last(patient, &["--write-test"], "write");
        assert_eq!((place.as_str(), change.as_str()), ("key-policy", "exempt"));
    }
}

#[test]
fn a_key_that_lets_nobody_read() {
    let encrypted = || {
        let patient = with_key();
        patient.install();
        let bucket = patient.world.bucket(BUCKET);
        for key in bucket.keys() {
            let object = Object::clone(&bucket.object(&key).unwrap());
            let object = Object { encryption: Encryption::kms(key_arn()), ..object };
            bucket.put(&key, object, &WriteCondition::None).unwrap();
        }
        patient
    };
    assert_eq!(encrypted().check("read", &[])["outcome"], "passed");
    let mut patient = encrypted();
    patient.key.pop();
    heals(patient, &[], "read", "failed", "key-policy");
    let mut patient = encrypted();
    patient.role.pop();
    heals(patient, &[], "read", "failed", "role-policy");
}

/// It was told by flags, which whoever asks does not repeat; and it is asked while it is mounted.
#[test]
fn a_running_mount_is_examined_with_its_own_settings() {
    if !can_mount() {
        return;
    }
    let mut patient = Patient::healthy();
    patient.install();
    let mounted = patient.home.mount(patient.world.running(), &demo::role_arn());
    assert_eq!(mounted.status.code(), Some(0), "{}", text(&mounted.stderr));
    patient.forbid("s3:GetObject");
    patient.install();
    let mount_point = patient.home.mount_point();
    let examine = |path: &Path, more: &[&str]| {
        let output = patient.home.s3xmount(&[&["doctor", "--json", path.to_str().unwrap()], more].concat());
        let checks: Vec<Value> = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{} {}", text(&output.stdout), text(&output.stderr)));
        checks
    };
    let subjects = |checks: &[Value]| {
        let mut subjects: Vec<_> =
            checks.iter().map(|check| check["subject"].as_str().unwrap().to_owned()).collect();
        subjects.dedup();
        subjects
    };
    let checks = examine(&mount_point, &[]);
    assert_eq!(subjects(&checks), words("mount machine identity SampleBucketA SampleBucketB"));
    assert_eq!(checks[0]["outcome"], "passed");
    let read = checks.iter().find(|check| check["name"] == "read an object").unwrap();
    assert_eq!((&read["outcome"], places(read)[0].as_str()), (&json!("failed"), "role-policy"), "{read:#}");
    // A path in it stands for the bucket there, and what is said now is said on top of what the mount was told.
    let one = examine(&mount_point.join("SampleBucketB/notes"), &["--acl", "none", "--write-test"]);
    assert_eq!(subjects(&one), words("mount machine identity SampleBucketB"));
    assert!(one.iter().any(|check| check["name"] == "write an object without an ACL"), "{one:#?}");
    umount(&mount_point, &[]);
}

fn deny(action: &str, resource: &str, principal: Option<&str>) -> Value {
    let mut statement = json!({"Effect": "Deny", "Action": action, "Resource": resource});
    if let Some(principal) = principal {
        statement["Principal"] = json!(principal);
    }
    statement
}

/// The operations that change nothing.
const READS: [&str; 6] =
    ["HeadBucket", "ListObjectsV2", "HeadObject", "GetObject", "AssumeRole", "GetCallerIdentity"];

const BUCKET: &str = demo::BUCKETS[0];
