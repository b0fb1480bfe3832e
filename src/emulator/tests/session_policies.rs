//! What narrows a session: an inline policy, managed ones, and the space they are packed into.

use aws_sdk_sts::operation::assume_role::builders::AssumeRoleFluentBuilder;
use aws_sdk_sts::types::{PolicyDescriptorType, Tag};
use serde_json::{Value, json};

use super::*;
use crate::emulator::demo::{ACCOUNT_A, ROLE};

const REPORTS: &str = "arn:aws:iam::111111111111:policy/reports";
const NO_SECRETS: &str = "arn:aws:iam::111111111111:policy/no-secrets";

fn statement(effect: &str, action: &str, resource: &str) -> Value {
    json!({"Statement": {"Effect": effect, "Action": action, "Resource": resource}})
}

/// The demo with two managed policies, where alice may set tags.
fn world() -> World {
    let world = demo::world(Rights::Full);
    let directory = &world.directory;
    directory.add_managed_policy(REPORTS, &statement("Allow", "s3:GetObject", "arn:aws:s3:::*/reports/*"));
    directory.add_managed_policy(NO_SECRETS, &statement("Deny", "s3:*", "arn:aws:s3:::*/reports/2024/*"));
    let sts = json!({"Statement": {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}});
    directory.set_user_policies(ACCOUNT_A, "alice", &[sts]);
    let trust = json!({"Statement": {
        "Effect": "Allow", "Principal": {"AWS": ACCOUNT_A.user_arn("alice")}, "Action": "sts:*",
    }});
    directory.set_trust(ACCOUNT_A, ROLE, Some(&trust));
    world
}

fn assume(emulator: &RunningEmulator) -> AssumeRoleFluentBuilder {
    let request = sts(emulator, keys(&demo::alice())).assume_role();
    request.role_arn(demo::role_arn()).role_session_name("test")
}

fn arn(arn: impl Into<String>) -> PolicyDescriptorType {
    PolicyDescriptorType::builder().arn(arn).build()
}

#[tokio::test]
async fn a_session_may_do_what_any_of_its_policies_allows_and_none_denies() {
    let inline = statement("Allow", "s3:*", "arn:aws:s3:::*/welcome.txt").to_string();
    let (welcome, report, old) = ("welcome.txt", "reports/2025/summary.csv", "reports/2024/summary.csv");
    let rows: [(Option<&str>, &[&str], [bool; 3]); 6] = [
        (None, &[], [true, true, true]),
        (Some(&inline), &[], [true, false, false]),
        (None, &[REPORTS], [false, true, true]),
        (Some(&inline), &[REPORTS], [true, true, true]),
        (Some(&inline), &[REPORTS, NO_SECRETS], [true, true, false]),
        (None, &[NO_SECRETS], [false, false, false]),
    ];
    for (policy, arns, expected) in rows {
        let emulator = start(world());
        let arns = arns.iter().map(|name| arn(*name)).collect();
        let request = assume(&emulator).set_policy(policy.map(str::to_owned)).set_policy_arns(Some(arns));
        let session = session_keys(&request.send().await.expect("alice may assume the role"));
        let client = s3_with(&emulator, session, demo::REGION);
        for (key, expected) in [welcome, report, old].into_iter().zip(expected) {
            let get = client.get_object().bucket(BUCKET).key(key).send().await;
            assert_eq!(outcome(&get) == granted(), expected, "{policy:?} {key}");
        }
        let acl = client.get_object_acl().bucket(BUCKET).key(welcome).send().await;
        assert_eq!(outcome(&acl), refused(403, "AccessDenied"), "the role itself may not");
    }
}

#[tokio::test]
async fn policies_must_exist_and_not_be_too_many() {
    let emulator = start(world());
    let unknown = assume(&emulator).policy_arns(arn("arn:aws:iam::111111111111:policy/none")).send().await;
    assert_eq!(outcome(&unknown), refused(400, "ValidationError"));
    for (count, expected) in [(10, granted()), (11, refused(400, "ValidationError"))] {
        let arns = vec![arn(REPORTS); count];
        assert_eq!(outcome(&assume(&emulator).set_policy_arns(Some(arns)).send().await), expected, "{count}");
    }
    let long = format!("{:2049}", statement("Allow", "s3:*", "*").to_string());
    assert_eq!(outcome(&assume(&emulator).policy(long).send().await), refused(400, "ValidationError"));
    for (letters, expected) in [("£", granted()), ("€", refused(400, "ValidationError"))] {
        let named = format!("{{\n\t\"Id\": \"{letters}\", \"Statement\": []\r\n}}");
        assert_eq!(outcome(&assume(&emulator).policy(named).send().await), expected, "{letters}");
    }
    for malformed in ["{", "{}", r#"{"Statement": {"Effect": "Allow", "Action": "s3:*"}}"#] {
        let result = assume(&emulator).policy(malformed).send().await;
        assert_eq!(outcome(&result), refused(400, "MalformedPolicyDocument"), "{malformed}");
    }
}

#[tokio::test]
#[expect(deprecated, reason = "PackedPolicySize is what clients have always been told")]
async fn the_packed_space_is_shared_and_may_be_full() {
    let emulator = start(world());
    let policy = statement("Allow", "s3:*", "*").to_string();
    let tag = |value: &str| Tag::builder().key("team").value(value).build().expect("it has both");
    let percent =
        async |request: AssumeRoleFluentBuilder| request.send().await.expect("it fits").packed_policy_size();
    assert_eq!(percent(assume(&emulator)).await, None, "there is nothing to pack");
    assert_eq!(percent(assume(&emulator).policy(&policy)).await, Some(1));
    emulator.world().set_packed_bytes_max(2 * policy.len());
    assert_eq!(percent(assume(&emulator).policy(&policy)).await, Some(50));
    let more = percent(assume(&emulator).policy(&policy).tags(tag("blue"))).await.expect("it is packed");
    assert!((51..=100).contains(&more), "{more}");
    emulator.world().set_packed_bytes_max(policy.len());
    assert_eq!(percent(assume(&emulator).policy(&policy)).await, Some(100));

    let full = assume(&emulator).policy(&policy).policy_arns(arn(REPORTS)).send().await;
    assert_eq!(outcome(&full), refused(400, "PackedPolicyTooLarge"));
    assert!(message(&full).starts_with("Packed policy consumes "), "{}", message(&full));
    let full = assume(&emulator).policy(&policy).tags(tag("blue")).send().await;
    assert_eq!(outcome(&full), refused(400, "PackedPolicyTooLarge"));
    let sentence = message(&full);
    assert!(sentence.starts_with("Packed size of session tags consumes 1"), "{sentence}");
    assert!(sentence.ends_with("% of allotted space."), "{sentence}");
}
