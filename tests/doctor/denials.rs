//! Denials that more than a missing statement is the reason of: owners, a Deny, sessions, encryption, keys.

use s3xmount::emulator::demo::{self, ACCOUNT_A, ACCOUNT_B, Rights};
use s3xmount::emulator::store::WriteCondition;
use s3xmount::emulator::{Encryption, KmsKey, Object};
use serde_json::json;

use super::patient::{BUCKET, Patient, deny, heals, heals_at_last, key_arn, places, words};
use crate::support::real::{can_mount, text};

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
    type Plant = fn(&mut Patient);
    let faults: [(&str, &str, Plant); 5] = [
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
    for sse in ["AES256", "aws:kms"] {
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

/// The operations that change nothing.
const READS: [&str; 6] =
    ["HeadBucket", "ListObjectsV2", "HeadObject", "GetObject", "AssumeRole", "GetCallerIdentity"];
