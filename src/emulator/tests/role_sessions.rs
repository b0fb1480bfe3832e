//! STS, and what becomes of the sessions it hands out.

use std::time::Duration;

use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::error::ProvideErrorMetadata;
use serde_json::json;

use super::*;
use crate::emulator::demo::{ACCOUNT_A, ROLE};

async fn assume(
    emulator: &RunningEmulator,
    credentials: Credentials,
    seconds: Option<i32>,
) -> Result<Credentials, (u16, String, String)> {
    let request = sts(emulator, credentials).assume_role().role_arn(demo::role_arn());
    let result = request.role_session_name("test").set_duration_seconds(seconds).send().await;
    result.map(|output| session_keys(&output)).map_err(|error| {
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        let error = error.into_service_error();
        (status, error.code().unwrap_or_default().to_owned(), error.message().unwrap_or_default().to_owned())
    })
}

#[tokio::test]
async fn a_session_says_who_it_is() {
    let emulator = start(demo::world(Rights::Full));
    let alice =
        sts(&emulator, keys(&demo::alice())).get_caller_identity().send().await.expect("alice is known");
    assert_eq!(alice.arn(), Some("arn:aws:iam::111111111111:user/alice"));
    let session = assume(&emulator, keys(&demo::alice()), None).await.expect("alice may assume the role");
    let session = sts(&emulator, session).get_caller_identity().send().await.expect("the session is known");
    assert_eq!(session.arn(), Some("arn:aws:sts::111111111111:assumed-role/assumed-accountb-role/test"));
    assert_eq!(session.account(), Some("111111111111"));
}

#[tokio::test]
async fn durations_have_the_limits_of_aws() {
    let emulator = start(demo::world(Rights::Full));
    emulator.world().directory.add_role(
        crate::emulator::Role::new(ACCOUNT_A, ROLE)
            .trust(&json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": [ACCOUNT_A.user_arn("alice"), demo::role_arn()]}, "Action": "sts:AssumeRole"}}))
            .policy(&demo::may_assume())
            .session_max(Duration::from_secs(2 * 3600)),
    );
    let alice = || keys(&demo::alice());
    let refusal = |message: &str| Err((400, "ValidationError".to_owned(), message.to_owned()));
    assert!(assume(&emulator, alice(), Some(900)).await.is_ok());
    assert!(assume(&emulator, alice(), Some(7200)).await.is_ok());
    assert_eq!(
        assume(&emulator, alice(), Some(899)).await.map(|_| ()),
        refusal(
            "1 validation error detected: Value '899' at 'durationSeconds' failed to satisfy constraint: \
             Member must have value greater than or equal to 900"
        )
    );
    assert_eq!(
        assume(&emulator, alice(), Some(7201)).await.map(|_| ()),
        refusal("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    );
    let session = assume(&emulator, alice(), None).await.expect("alice may assume the role");
    assert!(assume(&emulator, session.clone(), Some(3600)).await.is_ok());
    assert_eq!(
        assume(&emulator, session, Some(3601)).await.map(|_| ()),
        refusal(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
        )
    );
}

#[tokio::test]
async fn an_expired_session_is_told_so() {
    let emulator = start(demo::world(Rights::Full).with_short_sessions());
    let session =
        assume(&emulator, keys(&demo::alice()), Some(20)).await.expect("short sessions are allowed");
    let client = s3_with(&emulator, session.clone(), demo::REGION);
    let get = || client.get_object().bucket(BUCKET).key("welcome.txt").send();
    let head = || client.head_object().bucket(BUCKET).key("welcome.txt").send();
    emulator.world().clock.advance(Duration::from_secs(15));
    assert_eq!(outcome(&get().await), granted());
    emulator.world().clock.advance(Duration::from_secs(5));
    assert_eq!(outcome(&get().await), refused(400, "ExpiredToken"));
    assert_eq!(outcome(&head().await), refused(400, ""), "an answer to HEAD has no body");
    let identity = sts(&emulator, session).get_caller_identity().send().await;
    assert_eq!(outcome(&identity), refused(403, "ExpiredToken"));
}

#[tokio::test]
async fn a_revoked_session_is_denied_and_a_new_one_is_not() {
    let (emulator, client) = as_role(Rights::Full).await;
    emulator.world().revoke_sessions(ACCOUNT_A, ROLE);
    let get = client.get_object().bucket(BUCKET).key("welcome.txt").send().await;
    assert_eq!(outcome(&get), refused(403, "AccessDenied"));
    emulator.world().clock.advance(Duration::from_secs(2));
    let get = assumed(&emulator).await.get_object().bucket(BUCKET).key("welcome.txt").send().await;
    assert_eq!(outcome(&get), granted());
}

#[tokio::test]
async fn wrong_keys_and_tokens_are_told_apart() {
    let emulator = start(demo::world(Rights::Full));
    let session = assume(&emulator, keys(&demo::alice()), None).await.expect("alice may assume the role");
    let (id, secret) = (session.access_key_id(), session.secret_access_key());
    let with = |id: &str, secret: &str, token: Option<&str>| {
        Credentials::new(id, secret, token.map(str::to_owned), None, "test")
    };
    let bob = demo::bob();
    let cases = [
        (with("AKIANOBODY", "x", None), (403, "InvalidAccessKeyId"), "InvalidClientTokenId"),
        (with(&bob.id, "wrong", None), (403, "SignatureDoesNotMatch"), "SignatureDoesNotMatch"),
        (with(&bob.id, &bob.secret, Some("stray")), (400, "InvalidToken"), "InvalidClientTokenId"),
        (with(id, secret, None), (403, "InvalidAccessKeyId"), "InvalidClientTokenId"),
        (with(id, secret, Some("wrong")), (400, "InvalidToken"), "InvalidClientTokenId"),
    ];
    for (credentials, (status, code), sts_code) in cases {
        let get = s3_with(&emulator, credentials.clone(), demo::REGION).get_object();
        let get = get.bucket(BUCKET).key("welcome.txt").send().await;
        assert_eq!(outcome(&get), refused(status, code), "{credentials:?}");
        let identity = sts(&emulator, credentials.clone()).get_caller_identity().send().await;
        assert_eq!(outcome(&identity), refused(403, sts_code), "{credentials:?}");
    }
}

#[tokio::test]
async fn a_session_policy_narrows_and_never_widens() {
    let emulator = start(demo::world(Rights::Full));
    let policy = json!({"Statement": [{
        "Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectAcl"], "Resource": "arn:aws:s3:::SampleBucketA/reports/*",
    }]});
    let request = sts(&emulator, keys(&demo::alice())).assume_role().role_arn(demo::role_arn());
    let output = request.role_session_name("narrow").policy(policy.to_string()).send().await;
    let client = s3_with(&emulator, session_keys(&output.expect("alice may assume the role")), demo::REGION);
    let get = |key: &'static str| client.get_object().bucket(BUCKET).key(key).send();
    assert_eq!(outcome(&get("reports/readme.txt").await), granted());
    assert_eq!(outcome(&get("welcome.txt").await), refused(403, "AccessDenied"));
    let acl = client.get_object_acl().bucket(BUCKET).key("reports/readme.txt").send().await;
    assert_eq!(outcome(&acl), refused(403, "AccessDenied"), "the role itself may not");
}

#[tokio::test]
async fn names_and_external_ids_are_checked() {
    let emulator = start(demo::world(Rights::Full));
    for name in ["x", "with space", &"n".repeat(65)] {
        let request = sts(&emulator, keys(&demo::alice())).assume_role().role_arn(demo::role_arn());
        let result = request.role_session_name(name).send().await;
        assert_eq!(outcome(&result), refused(400, "ValidationError"), "{name}");
    }
}
