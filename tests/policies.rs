//! `s3xmount policy`: its documents, loaded into the emulator, allow what they promise and no more.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::process::Output;

use s3xmount::emulator::demo::{self, ACCOUNT_A, ACCOUNT_B, Rights};
use s3xmount::emulator::identity::Identity;
use s3xmount::emulator::policy::{Context, Policy, Question};
use serde_json::Value;

use crate::support::World;
use crate::support::real::{Home, text};

/// Runs `s3xmount policy` for the two accounts.
fn printed(flags: &str) -> Output {
    let home = Home::new();
    let mount_point = home.mount_point();
    let flags: Vec<&str> = flags.split_whitespace().collect();
    home.s3xmount(&[&["policy", mount_point.to_str().unwrap()], flags.as_slice()].concat())
}

/// The one document that these flags ask for.
fn document(flags: &str) -> Value {
    let output = printed(flags);
    assert_eq!(output.status.code(), Some(0), "{flags}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

const ALICE: &str = "arn:aws:iam::111111111111:user/alice";
const ROLE: &str = "--role-arn arn:aws:iam::111111111111:role/assumed-accountb-role";

fn alice() -> Identity {
    Identity::User { account: ACCOUNT_A, name: "alice".to_owned() }
}

fn mallory() -> Identity {
    Identity::User { account: ACCOUNT_A, name: "mallory".to_owned() }
}

fn session() -> Identity {
    Identity::RoleSession { account: ACCOUNT_A, role: demo::ROLE.to_owned(), session: "test".to_owned() }
}

/// Everything that could be asked for, so that what is not promised is seen to be refused.
const ACTIONS: [&str; 12] = [
    "s3:GetObject",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListBucket",
    "s3:GetObjectAcl",
    "s3:GetObjectVersion",
    "s3:DeleteObjectVersion",
    "s3:PutBucketPolicy",
    "s3:DeleteBucket",
    "s3:ListBucketVersions",
];

/// What a policy allows in `SampleBucketA`, of which `photos/` is mounted: actions on keys inside and
/// outside of it, and in the other bucket, and listings inside and outside.
fn allowed(policy: &Policy, caller: &Identity) -> Vec<String> {
    let places = [
        ("inside", "arn:aws:s3:::SampleBucketA/photos/cat.jpg", None),
        ("outside", "arn:aws:s3:::SampleBucketA/secret.txt", None),
        ("other", "arn:aws:s3:::SampleBucketB/photos/cat.jpg", None),
        ("inside", "arn:aws:s3:::SampleBucketA", Some("photos/")),
        ("below", "arn:aws:s3:::SampleBucketA", Some("photos/2024/")),
        ("outside", "arn:aws:s3:::SampleBucketA", Some("")),
        ("beside", "arn:aws:s3:::SampleBucketA", Some("photos")),
        ("other", "arn:aws:s3:::SampleBucketB", Some("photos/")),
    ];
    let mut allowed = Vec::new();
    for action in ACTIONS {
        for (place, resource, prefix) in places {
            let context = Context::default().with_some("s3:prefix", prefix);
            let question = Question { caller, action, resource, context: &context };
            if policy.verdict(&question).allows() {
                allowed.push(format!("{} {place}", action.trim_start_matches("s3:")));
            }
        }
    }
    allowed
}

const READ_WRITE: &[&str] = &[
    "GetObject inside",
    "PutObject inside",
    "PutObjectAcl inside",
    "DeleteObject inside",
    "AbortMultipartUpload inside",
    "ListBucket inside",
    "ListBucket below",
];

#[test]
fn each_document_allows_exactly_what_its_rights_promise() {
    let minimal: &[&str] = &["GetObject inside", "PutObject inside", "PutObjectAcl inside"];
    let read_only: &[&str] = &["GetObject inside", "ListBucket inside", "ListBucket below"];
    let table = [
        ("--rights minimal", minimal),
        ("--rights minimal --acl none", &minimal[..2]),
        ("--rights minimal --read-only", &minimal[..1]),
        ("--rights read-only", read_only),
        ("--rights read-write --read-only", read_only),
        ("--rights read-write", READ_WRITE),
        ("", READ_WRITE),
    ];
    for (flags, expected) in table {
        let flags = format!("{ROLE} --bucket a=SampleBucketA/photos {flags}");
        let role = Policy::identity(&document(&format!("{flags} --document role"))).unwrap();
        assert_eq!(allowed(&role, &session()), expected, "{flags}");
        let bucket = Policy::bucket(&document(&format!("{flags} --document bucket"))).unwrap();
        assert_eq!(allowed(&bucket, &session()), expected, "{flags}");
        assert!(allowed(&bucket, &alice()).is_empty(), "only the role is admitted");
    }
}

#[test]
fn the_direct_way_admits_the_people_themselves() {
    let flags =
        format!("{ROLE} --bucket a=SampleBucketA/photos --way direct --principal {ALICE} --rights minimal");
    let bucket = Policy::bucket(&document(&format!("{flags} --document bucket"))).unwrap();
    let theirs = Policy::identity(&document(&format!("{flags} --document role"))).unwrap();
    assert_eq!(allowed(&bucket, &alice()), READ_WRITE[..3]);
    assert_eq!(allowed(&theirs, &alice()), READ_WRITE[..3]);
    for stranger in [mallory(), session()] {
        assert!(allowed(&bucket, &stranger).is_empty());
    }
    let refused = printed(&format!("{flags} --document trust"));
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("no document of the kind trust"));
}

/// Whether the trust policy lets somebody assume the role who says this external id.
fn trusts(trust: &Policy, caller: &Identity, external_id: Option<&str>) -> bool {
    let context = Context::default().with_some("sts:ExternalId", external_id);
    let question = Question { caller, action: "sts:AssumeRole", resource: "", context: &context };
    trust.verdict(&question).allows()
}

#[test]
fn a_trust_policy_admits_whom_it_names_with_the_external_id() {
    let flags = format!("{ROLE} --bucket SampleBucketA --external-id of-b --document trust");
    let named = Policy::trust(&document(&format!("{flags} --principal {ALICE}"))).unwrap();
    assert!(trusts(&named, &alice(), Some("of-b")));
    assert!(!trusts(&named, &alice(), Some("other")) && !trusts(&named, &alice(), None));
    assert!(!trusts(&named, &mallory(), Some("of-b")));
    let anybody = printed(&flags);
    assert!(text(&anybody.stderr).contains("--principal names somebody"), "it is said that it is wide");
    let anybody = Policy::trust(&serde_json::from_slice(&anybody.stdout).unwrap()).unwrap();
    assert!(trusts(&anybody, &mallory(), Some("of-b")) && !trusts(&anybody, &mallory(), None));
}

#[test]
fn in_a_chain_each_role_trusts_the_one_before_it() {
    let jump = ACCOUNT_A.role_arn("jump");
    let flags = format!("--role-arn {jump} {ROLE} --bucket SampleBucketA --external-id of-b");
    let last = document(&format!("{flags} --document trust --of {}", demo::ROLE));
    assert_eq!(last["Statement"][0]["Principal"]["AWS"][0], jump.as_str());
    assert_eq!(last["Statement"][0]["Condition"]["StringEquals"]["sts:ExternalId"], "of-b");
    let first = document(&format!("{flags} --document trust --of jump --principal ec2.amazonaws.com"));
    assert_eq!(first["Statement"][0]["Principal"]["Service"][0], "ec2.amazonaws.com");
    assert!(first["Statement"][0].get("Condition").is_none(), "the external id is for the last role");
    let on_the_way = document(&format!("{flags} --document role --of jump"));
    assert_eq!(on_the_way["Statement"][0]["Resource"], demo::role_arn());
    let which = printed(&format!("{flags} --document trust"));
    assert!(text(&which.stderr).contains("which trust document?"), "{}", text(&which.stderr));
}

#[test]
fn a_key_of_the_other_account_stands_on_both_sides() {
    let key = format!("arn:aws:kms:eu-west-1:{ACCOUNT_B}:key/1234");
    let flags = format!("{ROLE} --bucket SampleBucketA --sse aws:kms --sse-kms-key-id {key}");
    let theirs = document(&format!("{flags} --document kms"));
    let statements = theirs["Statement"].as_array().unwrap();
    assert_eq!(statements[0]["Principal"]["AWS"], ACCOUNT_B.root_arn(), "the key stays changeable");
    assert_eq!(statements[1]["Principal"]["AWS"][0], demo::role_arn());
    let ours = document(&format!("{flags} --document role"));
    let last = ours["Statement"].as_array().unwrap().last().unwrap();
    assert_eq!(last["Resource"], key.as_str());
    assert_eq!(last["Action"], serde_json::json!(["kms:Decrypt", "kms:GenerateDataKey"]));
}

#[test]
fn without_a_document_named_all_are_printed_with_headings() {
    let flags =
        format!("{ROLE} --bucket SampleBucketA --bucket SampleBucketB --expected-bucket-owner {ACCOUNT_B}");
    let output = printed(&flags);
    let headings = text(&output.stderr);
    for heading in [
        "# trust policy of the role arn:aws:iam::111111111111:role/assumed-accountb-role in account 111111111111",
        "# policy of arn:aws:iam::111111111111:role/assumed-accountb-role in account 111111111111",
        "# bucket policy of SampleBucketA in account 222222222222",
        "# bucket policy of SampleBucketB in account 222222222222",
    ] {
        assert!(headings.contains(heading), "{headings}");
    }
    let documents = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    assert_eq!(documents.map(Result::unwrap).count(), 4);
}

/// An access point is named by its ARN, and the bucket behind it has to leave the decision to it.
#[test]
fn an_access_point_has_a_policy_of_its_own() {
    let arn = format!("arn:aws:s3:eu-west-1:{ACCOUNT_B}:accesspoint/mine");
    let output = printed(&format!("{ROLE} --bucket x={arn}/photos --document bucket"));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["Statement"][0]["Resource"][0], format!("{arn}/object/photos/*"));
    assert_eq!(document["Statement"][1]["Resource"], arn.as_str());
    let said = text(&output.stderr);
    for part in [
        "access point policy of",
        "put-access-point-policy",
        "\"s3:DataAccessPointAccount\": \"222222222222\"",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let output = printed(&format!("{ROLE} --bucket x=mine-abc-s3alias --document bucket"));
    assert!(text(&output.stderr).contains("the access point behind the alias"), "{}", text(&output.stderr));
}

#[test]
fn a_document_begins_as_the_user_guide_has_it() {
    let output = printed(&format!("{ROLE} --bucket SampleBucketA --document role --rights minimal"));
    let expected = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": ["s3:GetObject", "s3:PutObject", "s3:PutObjectAcl"],
      "Resource": ["arn:aws:s3:::SampleBucketA/*"]
    }
  ]
}
"#;
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn documents_that_aws_would_refuse_for_their_length_are_told() {
    let many: String = (0..400).map(|i| format!(" --principal {ALICE}-{i}-of-a-long-name")).collect();
    let output = printed(&format!("--bucket SampleBucketA{many} --document bucket"));
    assert!(text(&output.stderr).contains("AWS takes 20480"), "{}", text(&output.stderr));
    let buckets =
        |count| -> String { (0..count).map(|i| format!(" --bucket bucket-with-a-long-name-{i}")).collect() };
    let output = printed(&format!("{ROLE}{} --document role", buckets(300)));
    assert!(
        text(&output.stderr).contains("AWS takes 6144 by default; use prefixes"),
        "{}",
        text(&output.stderr)
    );
    let output = printed(&format!("{ROLE}{} --document role", buckets(100)));
    assert!(text(&output.stderr).contains("fits put-role-policy"), "{}", text(&output.stderr));
    let output = printed(&format!("--principal {ALICE}{} --document role", buckets(40)));
    assert!(text(&output.stderr).contains("AWS takes 2048"), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("fits a managed policy"), "{}", text(&output.stderr));
    let many: String = (0..60).map(|i| format!(" --principal {ALICE}-{i}")).collect();
    let output = printed(&format!("{ROLE} --bucket SampleBucketA{many} --document trust"));
    assert!(text(&output.stderr).contains("AWS takes 2048"), "{}", text(&output.stderr));
    let output = printed(&format!("{ROLE} --bucket SampleBucketA --document role"));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn what_makes_no_sense_is_refused_with_a_hint() {
    let table = [
        ("--bucket SampleBucketA", "nobody is named"),
        ("--bucket SampleBucketA --way role", "no role is named"),
        ("--bucket SampleBucketA --document xyz", "there are: trust, role, bucket, kms"),
        ("--bucket SampleBucketA --principal alice", "'alice' is nobody whom a policy can name"),
        ("--bucket SampleBucketA --principal arn:aws:iam::1:user/x", "is nobody whom"),
        ("--bucket SampleBucketA --principal arn:aws:iam::111111111111:user/*", "is nobody whom"),
        ("--bucket SampleBucketA --rights all", "there are: minimal, read-only, read-write"),
    ];
    for (flags, expected) in table {
        let output = printed(flags);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(expected), "{flags}: {}", text(&output.stderr));
    }
}

#[tokio::test]
async fn a_mount_works_with_these_documents_and_no_others() {
    let world = World::with(Rights::Full);
    let flags = format!("{ROLE} --bucket SampleBucketA --bucket SampleBucketB --principal {ALICE}");
    world.directory.set_trust(ACCOUNT_A, demo::ROLE, Some(&document(&format!("{flags} --document trust"))));
    world.directory.set_role_policies(
        ACCOUNT_A,
        demo::ROLE,
        &[document(&format!("{flags} --document role"))],
    );
    for bucket in demo::BUCKETS {
        let policy = document(&format!("{flags} --document bucket --of {bucket}"));
        world.set_bucket_policy(bucket, Some(&policy));
    }
    let mount = world.mount().await;
    mount.write_file("a/new.txt", b"new").await.unwrap();
    assert!(mount.list("a").await.unwrap().contains(&"new.txt".to_owned()));
    mount.rename("a/new.txt", "a/moved.txt").await.unwrap();
    assert_eq!(mount.read_file("a/moved.txt").await.unwrap(), b"new");
    mount.remove("a/moved.txt").await.unwrap();
}
