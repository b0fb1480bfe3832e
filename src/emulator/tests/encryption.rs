//! Who may use which key, and who pays.

use super::super::demo::{ACCOUNT_A, ACCOUNT_B, REGION, ROLE};
use super::super::{Encryption, KmsKey};
use super::*;
use aws_sdk_s3::types::ServerSideEncryption;
use aws_smithy_types::base64;
use s3s::crypto::{Checksum as _, Md5};
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

/// A key that a customer keeps, as its three headers.
fn customer_key(byte: u8) -> [String; 3] {
    let key = [byte; 32];
    let mut digest = Md5::new();
    digest.update(&key);
    let (key, md5) = (base64::encode(key), base64::encode(digest.finalize()));
    ["AES256".to_owned(), key, md5]
}

#[tokio::test]
async fn a_customers_key_is_known_again_and_asked_for_every_time() {
    let emulator = start(demo::world(Rights::Full).with_pretended_tls());
    let bob = s3(&emulator, &demo::bob());
    let [algorithm, key, md5] = customer_key(7);
    let put = bob.put_object().bucket(BUCKET).key("k").body(body(b"x"));
    let put = put.sse_customer_algorithm(&algorithm).sse_customer_key(&key).sse_customer_key_md5(&md5);
    assert_eq!(put.send().await.expect("stored").sse_customer_key_md5(), Some(&*md5));
    let wrong = customer_key(8);
    let rows = [
        (Some(customer_key(7)), "k", granted()),
        (None, "k", refused(400, "InvalidRequest")),
        (Some(wrong), "k", refused(403, "AccessDenied")),
        (Some(["AES256".to_owned(), key.clone(), "AAAA".to_owned()]), "k", refused(400, "InvalidArgument")),
        (Some(customer_key(7)), "welcome.txt", refused(400, "InvalidRequest")),
    ];
    for (headers, at, expected) in rows {
        let [algorithm, key, md5] = headers.map_or([None, None, None], |headers| headers.map(Some));
        let head = bob.head_object().bucket(BUCKET).key(at).set_sse_customer_algorithm(algorithm.clone());
        let head = head.set_sse_customer_key(key.clone()).set_sse_customer_key_md5(md5.clone()).send().await;
        assert_eq!(outcome(&head).0, expected.0, "HEAD has no code");
        let get = bob.get_object().bucket(BUCKET).key(at).set_sse_customer_algorithm(algorithm);
        let get = get.set_sse_customer_key(key).set_sse_customer_key_md5(md5).send().await;
        assert_eq!(outcome(&get), expected);
    }
    let copy = bob.copy_object().bucket(BUCKET).key("c").copy_source(format!("{BUCKET}/k"));
    assert_eq!(outcome(&copy.clone().send().await), refused(400, "InvalidRequest"));
    let copy = copy.copy_source_sse_customer_algorithm(&algorithm).copy_source_sse_customer_key(&key);
    assert_eq!(outcome(&copy.copy_source_sse_customer_key_md5(&md5).send().await), granted());
    assert_eq!(outcome(&bob.get_object().bucket(BUCKET).key("c").send().await), granted());
}

#[tokio::test]
async fn a_customers_key_does_not_travel_in_the_open() {
    let (_emulator, bob) = as_owner();
    let [algorithm, key, md5] = customer_key(7);
    let put = bob.put_object().bucket(BUCKET).key("k").sse_customer_algorithm(algorithm);
    let put = put.sse_customer_key(key).sse_customer_key_md5(md5).send().await;
    assert_eq!(outcome(&put), refused(400, "InvalidArgument"));
}

#[tokio::test]
async fn strangers_have_to_agree_to_pay_where_the_owner_wants_it() {
    let (emulator, role) = as_role(Rights::Full).await;
    emulator.world().bucket(BUCKET).set_requester_pays(true);
    let get = || role.get_object().bucket(BUCKET).key("welcome.txt");
    let payer = aws_sdk_s3::types::RequestPayer::Requester;
    assert_eq!(outcome(&get().send().await), refused(403, "AccessDenied"));
    assert_eq!(outcome(&get().request_payer(payer).send().await), granted());
    let bob = s3(&emulator, &demo::bob());
    assert_eq!(outcome(&bob.get_object().bucket(BUCKET).key("welcome.txt").send().await), granted());
}
