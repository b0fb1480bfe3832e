//! Who may use which key.

use super::super::demo::{ACCOUNT_A, ACCOUNT_B, REGION, ROLE};
use super::super::{Encryption, KmsKey};
use super::*;
use aws_sdk_s3::types::ServerSideEncryption;
use serde_json::{Value, json};

/// A key policy that lets these principals do so much.
fn key_policy(principal: &str, actions: &[&str]) -> Value {
    json!({"Statement": [{
        "Effect": "Allow", "Principal": {"AWS": principal}, "Action": actions, "Resource": "*",
    }]})
}

const BOTH: &[&str] = &["kms:GenerateDataKey", "kms:Decrypt"];

/// What the role may do with keys, in its own account's words.
fn allow_keys(emulator: &RunningEmulator, actions: &[&str]) {
    let mut policies = vec![demo::role_policy(Rights::Full)];
    if !actions.is_empty() {
        policies.push(json!({"Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}));
    }
    emulator.world().directory.set_role_policies(ACCOUNT_A, ROLE, &policies);
}

/// The demo with a key in the buckets' account, by which everything in the bucket is encrypted.
fn with_key(policy: &Value) -> (RunningEmulator, String) {
    let key = KmsKey::new(ACCOUNT_B, REGION, "1234", policy);
    let arn = key.arn().to_owned();
    let emulator = start(demo::world(Rights::Full).with_key(key));
    emulator.world().bucket(BUCKET).set_encryption(Encryption::kms(&arn));
    (emulator, arn)
}

async fn put_as(client: &aws_sdk_s3::Client, key: &str) -> (Outcome, String) {
    let acl = aws_sdk_s3::types::ObjectCannedAcl::BucketOwnerFullControl;
    let put = client.put_object().bucket(BUCKET).key(key).acl(acl).body(body(b"x")).send().await;
    (outcome(&put), message(&put))
}

#[tokio::test]
async fn a_key_of_the_other_account_takes_both_sides() {
    let role = demo::role_arn();
    let silent = key_policy(&ACCOUNT_B.root_arn(), &["kms:*"]);
    let rows: [(&Value, &[&str], Result<(), &str>); 5] = [
        (&key_policy(&role, BOTH), BOTH, Ok(())),
        (&key_policy(&ACCOUNT_A.root_arn(), BOTH), BOTH, Ok(())),
        (
            &key_policy(&role, BOTH),
            &[],
            Err("no identity-based policy allows the kms:GenerateDataKey action"),
        ),
        (&silent, BOTH, Err("no resource-based policies allow access")),
        (&key_policy(&role, &["kms:Decrypt"]), BOTH, Err("no resource-based policies allow access")),
    ];
    for (policy, ours, expected) in rows {
        let (emulator, arn) = with_key(policy);
        allow_keys(&emulator, ours);
        let (outcome, message) = put_as(&assumed(&emulator).await, "k").await;
        match expected {
            Ok(()) => assert_eq!(outcome, granted(), "{policy}"),
            Err(reason) => {
                assert_eq!(outcome, refused(403, "AccessDenied"), "{policy}");
                assert!(message.contains(reason) && message.contains(&arn), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn reading_takes_the_right_to_decrypt_and_describing_does_not() {
    let (emulator, arn) = with_key(&key_policy(&demo::role_arn(), BOTH));
    allow_keys(&emulator, &["kms:GenerateDataKey"]);
    let client = assumed(&emulator).await;
    assert_eq!(put_as(&client, "k").await.0, granted());
    let head = client.head_object().bucket(BUCKET).key("k").send().await.expect("no bytes, no key");
    assert_eq!(
        (head.server_side_encryption(), head.ssekms_key_id()),
        (Some(&ServerSideEncryption::AwsKms), Some(&*arn))
    );
    let get = client.get_object().bucket(BUCKET).key("k").send().await;
    assert_eq!(outcome(&get), refused(403, "AccessDenied"));
    assert!(message(&get).contains("not authorized to perform: kms:Decrypt on resource: arn:aws:kms"));
    let copy = client.copy_object().bucket(BUCKET).key("c").copy_source(format!("{BUCKET}/k")).send().await;
    assert_eq!(outcome(&copy), refused(403, "AccessDenied"));
    allow_keys(&emulator, BOTH);
    assert_eq!(outcome(&client.get_object().bucket(BUCKET).key("k").send().await), granted());
}

#[tokio::test]
async fn an_upload_in_parts_begins_with_one_right_and_goes_on_with_the_other() {
    let (emulator, _) = with_key(&key_policy(&demo::role_arn(), BOTH));
    allow_keys(&emulator, &["kms:GenerateDataKey"]);
    let client = assumed(&emulator).await;
    let acl = aws_sdk_s3::types::ObjectCannedAcl::BucketOwnerFullControl;
    let upload =
        client.create_multipart_upload().bucket(BUCKET).key("k").acl(acl).send().await.expect("begun");
    let part =
        || client.upload_part().bucket(BUCKET).key("k").upload_id(upload.upload_id().expect("it has an id"));
    let send = async || outcome(&part().part_number(1).body(body(b"x")).send().await);
    assert_eq!(send().await, refused(403, "AccessDenied"));
    allow_keys(&emulator, BOTH);
    assert_eq!(send().await, granted());
}

#[tokio::test]
async fn at_home_a_key_opens_only_as_its_own_policy_says() {
    let (emulator, arn) = with_key(&key_policy(&demo::role_arn(), BOTH));
    let bob = s3(&emulator, &demo::bob());
    let put = async || outcome(&bob.put_object().bucket(BUCKET).key("k").body(body(b"x")).send().await);
    assert_eq!(put().await, refused(403, "AccessDenied"), "an administrator is not enough");
    emulator.world().keys.set_policy(&arn, &key_policy(&ACCOUNT_B.root_arn(), &["kms:*"]));
    assert_eq!(put().await, granted());
    emulator.world().keys.set_enabled(&arn, false);
    assert_eq!(put().await, refused(400, "KMS.DisabledException"));
}

#[tokio::test]
async fn without_a_named_key_it_is_the_writers_own_which_nobody_else_can_use() {
    let (emulator, role) = as_role(Rights::Full).await;
    let put = role.put_object().bucket(BUCKET).key("k").server_side_encryption(ServerSideEncryption::AwsKms);
    let acl = aws_sdk_s3::types::ObjectCannedAcl::BucketOwnerFullControl;
    let put = put.acl(acl).body(body(b"x")).send().await.expect("its own key");
    assert_eq!(put.ssekms_key_id(), Some("arn:aws:kms:us-east-1:111111111111:alias/aws/s3"));
    let get = s3(&emulator, &demo::bob()).get_object().bucket(BUCKET).key("k").send().await;
    assert_eq!(outcome(&get), refused(403, "AccessDenied"));
    let tag = put.e_tag().expect("it has an ETag");
    assert_ne!(tag, "\"9dd4e461268c8034f5c8564e155c67a6\"", "the ETag is no MD5");
}
