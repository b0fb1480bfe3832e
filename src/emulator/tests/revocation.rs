//! A revoked session may do nothing, and what it is told is always the same.

use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, Delete, ObjectCannedAcl, ObjectIdentifier, ObjectOwnership,
    OwnershipControls, OwnershipControlsRule,
};

use super::*;
use crate::emulator::demo::{ACCOUNT_A, ROLE};

/// Asks for everything there is, of a bucket whose policy hides nothing from the role.
async fn everything(client: &aws_sdk_s3::Client, upload: &str) -> Vec<(&'static str, Outcome)> {
    let part = CompletedPart::builder().part_number(1).e_tag("etag").build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let object = ObjectIdentifier::builder().key("welcome.txt").build().expect("it has a key");
    let delete = Delete::builder().objects(object).build().expect("it has objects");
    let rule = OwnershipControlsRule::builder().object_ownership(ObjectOwnership::ObjectWriter).build();
    let controls = OwnershipControls::builder().rules(rule.expect("it has an ownership")).build();
    let (bucket, key, source) = (BUCKET, "welcome.txt", format!("{BUCKET}/welcome.txt"));
    let mut outcomes = Vec::new();
    macro_rules! ask {
        ($($operation:ident($($field:ident: $value:expr),*);)*) => {
            $(outcomes.push((
                stringify!($operation),
                outcome(&client.$operation()$(.$field($value))*.send().await),
            ));)*
        };
    }
    ask! {
        list_buckets();
        head_bucket(bucket: bucket);
        get_bucket_location(bucket: bucket);
        get_bucket_policy(bucket: bucket);
        put_bucket_policy(bucket: bucket, policy: demo::bucket_policy(BUCKET).to_string());
        delete_bucket_policy(bucket: bucket);
        get_bucket_ownership_controls(bucket: bucket);
        put_bucket_ownership_controls(bucket: bucket, ownership_controls: controls.expect("it has rules"));
        list_objects(bucket: bucket);
        list_objects_v2(bucket: bucket);
        head_object(bucket: bucket, key: key);
        get_object(bucket: bucket, key: key);
        get_object_acl(bucket: bucket, key: key);
        put_object_acl(bucket: bucket, key: key, acl: ObjectCannedAcl::BucketOwnerFullControl);
        put_object(bucket: bucket, key: "new", acl: ObjectCannedAcl::BucketOwnerFullControl, body: body(b"x"));
        copy_object(bucket: bucket, key: "new", copy_source: &source, acl: ObjectCannedAcl::BucketOwnerFullControl);
        delete_object(bucket: bucket, key: key);
        delete_objects(bucket: bucket, delete: delete);
        create_multipart_upload(bucket: bucket, key: "new", acl: ObjectCannedAcl::BucketOwnerFullControl);
        upload_part(bucket: bucket, key: "big", upload_id: upload, part_number: 1, body: body(b"x"));
        upload_part_copy(bucket: bucket, key: "big", upload_id: upload, part_number: 1, copy_source: &source);
        complete_multipart_upload(bucket: bucket, key: "big", upload_id: upload, multipart_upload: parts);
        list_parts(bucket: bucket, key: "big", upload_id: upload);
        list_multipart_uploads(bucket: bucket);
        abort_multipart_upload(bucket: bucket, key: "big", upload_id: upload);
    }
    outcomes
}

#[tokio::test]
async fn every_operation_denies_a_revoked_session() {
    let (emulator, client) = as_role(Rights::Full).await;
    emulator.world().directory.set_role_policies(ACCOUNT_A, ROLE, &[demo::administrator()]);
    let create = client.create_multipart_upload().bucket(BUCKET).key("big");
    let create = create.acl(ObjectCannedAcl::BucketOwnerFullControl).send().await.expect("the role may");
    let upload = create.upload_id().expect("an upload has an id");
    assert_eq!(outcome(&client.list_multipart_uploads().bucket(BUCKET).send().await), granted());
    emulator.world().revoke_sessions(ACCOUNT_A, ROLE);
    for (operation, outcome) in everything(&client, upload).await {
        let code = if operation.starts_with("head_") { "" } else { "AccessDenied" };
        match operation {
            // Its answer is a list of what became of each object.
            "delete_objects" => assert_eq!(outcome, granted()),
            _ => assert_eq!(outcome, refused(403, code), "{operation}"),
        }
    }
    assert!(emulator.world().object(BUCKET, "welcome.txt").is_some(), "nothing was deleted");
}

#[tokio::test]
async fn a_revoked_session_assumes_no_role_and_still_knows_its_name() {
    let emulator = start(demo::world(Rights::Full));
    let trust = serde_json::json!({"Statement": {
        "Effect": "Allow", "Principal": {"AWS": "111111111111"}, "Action": "sts:AssumeRole",
    }});
    emulator.world().directory.set_trust(ACCOUNT_A, ROLE, Some(&trust));
    emulator.world().directory.set_role_policies(ACCOUNT_A, ROLE, &[demo::administrator()]);
    let assume = async |credentials| {
        let request = sts(&emulator, credentials).assume_role().role_arn(demo::role_arn());
        request.role_session_name("test").send().await
    };
    let session = session_keys(&assume(keys(&demo::alice())).await.expect("alice may assume the role"));
    assert_eq!(outcome(&assume(session.clone()).await), granted());
    emulator.world().revoke_sessions(ACCOUNT_A, ROLE);
    assert_eq!(outcome(&assume(session.clone()).await), refused(403, "AccessDenied"));
    let identity = sts(&emulator, session).get_caller_identity().send().await;
    assert_eq!(outcome(&identity), granted(), "who one is needs no permission");
    let renewed = session_keys(&assume(keys(&demo::alice())).await.expect("alice was not revoked"));
    assert_eq!(outcome(&assume(renewed).await), granted(), "even in the same second");
}
