//! Sessions for tokens: what a trusted provider says, and how it is not believed.

use std::time::Duration;

use aws_sdk_sts::operation::assume_role_with_web_identity::builders::AssumeRoleWithWebIdentityFluentBuilder;
use serde_json::{Value, json};

use super::*;
use crate::emulator::demo::{ACCOUNT_A, ACCOUNT_B, ROLE};
use crate::emulator::{OidcProvider, On, WebIdentity};

const HOST: &str = "oidc.eks.us-east-1.amazonaws.com/id/EXAMPLE";
const SUBJECT: &str = "system:serviceaccount:jobs:nightly";
const AUDIENCE: &str = "sts.amazonaws.com";

/// The demo, where the role admits one subject of a provider.
fn world() -> World {
    let world = demo::world(Rights::Full)
        .with_provider(OidcProvider::new(ACCOUNT_A, HOST).audience(AUDIENCE).audience("other"));
    world.directory.set_trust(ACCOUNT_A, ROLE, Some(&trust(ACCOUNT_A, SUBJECT)));
    world
}

fn trust(account: crate::emulator::AccountId, subject: &str) -> Value {
    json!({"Statement": {
        "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": format!("arn:aws:iam::{account}:oidc-provider/{HOST}")},
        "Condition": {"StringEquals": {(format!("{HOST}:aud")): AUDIENCE, (format!("{HOST}:sub")): subject}},
    }})
}

fn identity(emulator: &RunningEmulator) -> WebIdentity {
    WebIdentity {
        issuer: format!("https://{HOST}"),
        subject: SUBJECT.to_owned(),
        audience: AUDIENCE.to_owned(),
        expires: emulator.world().clock.now() + Duration::from_secs(3600),
    }
}

/// A request without any keys.
fn assume(emulator: &RunningEmulator, token: &str) -> AssumeRoleWithWebIdentityFluentBuilder {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(aws_sdk_sts::config::BehaviorVersion::latest())
        .endpoint_url(emulator.endpoint_url())
        .region(Region::new(demo::REGION))
        .retry_config(aws_sdk_sts::config::retry::RetryConfig::disabled());
    let request = aws_sdk_sts::Client::from_conf(config.build()).assume_role_with_web_identity();
    request.role_arn(demo::role_arn()).role_session_name("pod").web_identity_token(token)
}

#[tokio::test]
async fn a_token_becomes_a_session() {
    let emulator = start(world());
    let token = emulator.world().issue_web_identity(&identity(&emulator));
    let output = assume(&emulator, &token).send().await.expect("the role admits the subject");
    assert_eq!(output.subject_from_web_identity_token(), Some(SUBJECT));
    assert_eq!(output.audience(), Some(AUDIENCE));
    let provider = format!("arn:aws:iam::{ACCOUNT_A}:oidc-provider/{HOST}");
    assert_eq!(output.provider(), Some(provider.as_str()));
    let session = output.credentials().expect("the answer carries credentials");
    let token = Some(session.session_token().to_owned());
    let session = Credentials::new(session.access_key_id(), session.secret_access_key(), token, None, "test");
    let identity = sts(&emulator, session.clone()).get_caller_identity().send().await.expect("it is known");
    assert_eq!(identity.arn(), Some("arn:aws:sts::111111111111:assumed-role/assumed-accountb-role/pod"));
    let client = s3_with(&emulator, session, demo::REGION);
    assert_eq!(outcome(&client.get_object().bucket(BUCKET).key("welcome.txt").send().await), granted());
}

#[tokio::test]
async fn what_the_role_does_not_admit_is_denied() {
    let emulator = start(world());
    let other = |change: fn(&mut WebIdentity)| {
        let mut identity = identity(&emulator);
        change(&mut identity);
        emulator.world().issue_web_identity(&identity)
    };
    let denied = refused(403, "AccessDenied");
    let subject = other(|identity| identity.subject = "system:serviceaccount:jobs:other".to_owned());
    let result = assume(&emulator, &subject).send().await;
    assert_eq!(outcome(&result), denied);
    assert_eq!(message(&result), "Not authorized to perform sts:AssumeRoleWithWebIdentity");
    let audience = other(|identity| identity.audience = "other".to_owned());
    assert_eq!(outcome(&assume(&emulator, &audience).send().await), denied, "the condition names another");
    let right = other(|_| {});
    let absent = assume(&emulator, &right).role_arn(ACCOUNT_A.role_arn("absent")).send().await;
    assert_eq!(outcome(&absent), denied);
    emulator.world().directory.set_trust(ACCOUNT_A, ROLE, Some(&trust(ACCOUNT_B, SUBJECT)));
    assert_eq!(
        outcome(&assume(&emulator, &right).send().await),
        denied,
        "it names another account's provider"
    );
    emulator.world().directory.set_trust(ACCOUNT_A, ROLE, Some(&demo::trust()));
    assert_eq!(outcome(&assume(&emulator, &right).send().await), denied, "it names nobody's");
}

#[tokio::test]
async fn a_token_that_is_old_or_false_says_so() {
    let emulator = start(world());
    let issue = |identity: &WebIdentity| emulator.world().issue_web_identity(identity);
    let right = identity(&emulator);
    let invalid = refused(400, "InvalidIdentityToken");
    let rows = [
        ("no token at all".to_owned(), "not a valid JWT"),
        (issue(&right) + "x", "could not be validated"),
        (
            issue(&WebIdentity { audience: "stranger".to_owned(), ..right.clone() }),
            "Incorrect token audience",
        ),
        (
            issue(&WebIdentity { issuer: "https://elsewhere.example.com".to_owned(), ..right.clone() }),
            "No OpenIDConnect provider found in your account for https://elsewhere.example.com",
        ),
    ];
    for (token, sentence) in rows {
        let result = assume(&emulator, &token).send().await;
        assert_eq!(outcome(&result), invalid, "{sentence}");
        assert!(message(&result).contains(sentence), "{}", message(&result));
    }
    let token = issue(&right);
    emulator.world().clock.advance(Duration::from_secs(3600));
    let result = assume(&emulator, &token).send().await;
    assert_eq!(outcome(&result), refused(400, "ExpiredTokenException"));
    assert!(message(&result).starts_with("Token expired: current date/time "), "{}", message(&result));
}

#[tokio::test]
#[expect(deprecated, reason = "PackedPolicySize is what clients have always been told")]
async fn the_common_limits_hold_and_faults_strike() {
    let emulator = start(world());
    let token = emulator.world().issue_web_identity(&identity(&emulator));
    let request = || assume(&emulator, &token);
    assert_eq!(outcome(&request().duration_seconds(43_200).send().await), granted());
    assert_eq!(outcome(&request().duration_seconds(43_201).send().await), refused(400, "ValidationError"));
    assert_eq!(
        outcome(&request().provider_id("www.amazon.com").send().await),
        refused(501, "NotImplemented")
    );
    let narrow = json!({"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}});
    let output = request().policy(narrow.to_string()).send().await.expect("the role admits the subject");
    assert_eq!(output.packed_policy_size(), Some(1));
    emulator
        .world()
        .faults
        .inject(On::operation("AssumeRoleWithWebIdentity").reject(400, "IDPCommunicationError"));
    assert_eq!(outcome(&request().send().await), refused(400, "IDPCommunicationError"));
    assert_eq!(emulator.world().faults.count("AssumeRoleWithWebIdentity"), 5);
}

#[tokio::test]
async fn only_this_operation_goes_without_a_signature() {
    let emulator = start(world());
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(aws_sdk_sts::config::BehaviorVersion::latest())
        .endpoint_url(emulator.endpoint_url())
        .region(Region::new(demo::REGION))
        .allow_no_auth()
        .retry_config(aws_sdk_sts::config::retry::RetryConfig::disabled());
    let client = aws_sdk_sts::Client::from_conf(config.build());
    let assume = client.assume_role().role_arn(demo::role_arn()).role_session_name("test").send().await;
    assert_eq!(outcome(&assume), refused(403, "MissingAuthenticationToken"));
}
