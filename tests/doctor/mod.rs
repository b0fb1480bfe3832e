//! `s3xmount doctor`: each fault is planted alone, and what it prints, once added, makes the check pass.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

mod denials;
mod patient;

use std::path::Path;
use std::time::Duration;

use s3xmount::emulator::Ownership;
use s3xmount::emulator::demo::{self, ACCOUNT_A, Rights};
use serde_json::{Value, json};

use self::patient::{BUCKET, Patient, assert_clean, deny, heals, heals_at_last, places, words};
use crate::support::real::{can_mount, text, umount};

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
