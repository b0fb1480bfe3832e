//! Source identities and session tags: who may set them, who inherits them, what policies see.

use aws_sdk_sts::operation::assume_role::builders::AssumeRoleFluentBuilder;
use aws_sdk_sts::types::Tag;
use serde_json::{Value, json};

use super::*;
use crate::emulator::demo::{ACCOUNT_A, ROLE};
use crate::emulator::{Role, User};

/// The role behind [`ROLE`]: the end of a chain.
const FAR: &str = "far";

fn allow(actions: &[&str]) -> Value {
    json!({"Statement": {"Effect": "Allow", "Action": actions, "Resource": "*"}})
}

fn trust(actions: &[&str], condition: &Value) -> Value {
    json!({"Statement": {
        "Effect": "Allow", "Action": actions, "Condition": condition,
        "Principal": {"AWS": [ACCOUNT_A.user_arn("alice"), demo::role_arn()]},
    }})
}

const ALL: [&str; 3] = ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"];

/// Alice, and two roles in a row. Everybody may do everything that is asked of STS.
fn world() -> World {
    demo::world(Rights::Full)
        .with_user(User::new(ACCOUNT_A, "alice", demo::alice()).policy(&allow(&ALL)))
        .with_role(Role::new(ACCOUNT_A, ROLE).trust(&trust(&ALL, &json!({}))).policy(&allow(&["*"])))
        .with_role(Role::new(ACCOUNT_A, FAR).trust(&trust(&ALL, &json!({}))).policy(&allow(&["*"])))
}

fn assume(emulator: &RunningEmulator, credentials: Credentials, role: &str) -> AssumeRoleFluentBuilder {
    let request = sts(emulator, credentials).assume_role();
    request.role_arn(ACCOUNT_A.role_arn(role)).role_session_name("test")
}

fn near(emulator: &RunningEmulator) -> AssumeRoleFluentBuilder {
    assume(emulator, keys(&demo::alice()), ROLE)
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build().expect("it has both")
}

#[tokio::test]
async fn a_source_identity_goes_along_a_chain_and_cannot_be_changed() {
    let emulator = start(world());
    let first = near(&emulator).source_identity("alice@example.com").send().await.expect("alice may");
    assert_eq!(first.source_identity(), Some("alice@example.com"));
    let far = |wished: Option<&str>| {
        let request = assume(&emulator, session_keys(&first), FAR);
        request.set_source_identity(wished.map(str::to_owned)).send()
    };
    let inherited = far(None).await.expect("the role may");
    assert_eq!(inherited.source_identity(), Some("alice@example.com"));
    assert_eq!(outcome(&far(Some("alice@example.com")).await), granted());
    let changed = far(Some("mallory")).await;
    assert_eq!(outcome(&changed), refused(403, "AccessDenied"));
    assert!(message(&changed).contains("source identity is already set"), "{}", message(&changed));
    let plain = near(&emulator).send().await.expect("alice may");
    assert_eq!(plain.source_identity(), None);
}

#[tokio::test]
async fn a_source_identity_takes_a_permission_on_both_sides() {
    let only = ["sts:AssumeRole"];
    let both = ["sts:AssumeRole", "sts:SetSourceIdentity"];
    for (identity, trusted, suffices) in
        [(&both[..], &both[..], true), (&only, &both, false), (&both, &only, false)]
    {
        let emulator = start(world());
        let directory = &emulator.world().directory;
        directory.set_user_policies(ACCOUNT_A, "alice", &[allow(identity)]);
        directory.set_trust(ACCOUNT_A, ROLE, Some(&trust(trusted, &json!({}))));
        let result = near(&emulator).source_identity("alice").send().await;
        assert_eq!(outcome(&result) == granted(), suffices, "{identity:?} {trusted:?}");
        if !suffices {
            assert_eq!(outcome(&result), refused(403, "AccessDenied"));
            assert!(message(&result).contains("not authorized to perform: sts:SetSourceIdentity"));
        }
        assert_eq!(outcome(&near(&emulator).send().await), granted(), "without one, nothing is needed");
    }
}

#[tokio::test]
async fn an_inherited_source_identity_takes_the_permission_too() {
    let emulator = start(world());
    let first = near(&emulator).source_identity("alice").send().await.expect("alice may");
    emulator.world().directory.set_trust(ACCOUNT_A, FAR, Some(&trust(&["sts:AssumeRole"], &json!({}))));
    let chained = assume(&emulator, session_keys(&first), FAR).send().await;
    assert_eq!(outcome(&chained), refused(403, "AccessDenied"));
}

#[tokio::test]
async fn policies_see_the_source_identity_when_it_is_set_and_ever_after() {
    let emulator = start(world());
    let wanted = json!({"StringEquals": {"sts:SourceIdentity": "alice"}});
    emulator.world().directory.set_trust(ACCOUNT_A, ROLE, Some(&trust(&ALL, &wanted)));
    assert_eq!(outcome(&near(&emulator).send().await), refused(403, "AccessDenied"));
    assert_eq!(outcome(&near(&emulator).source_identity("bob").send().await), refused(403, "AccessDenied"));
    let session = near(&emulator).source_identity("alice").send().await.expect("it is what is wanted");
    let client = s3_with(&emulator, session_keys(&session), demo::REGION);
    let get = || client.get_object().bucket(BUCKET).key("welcome.txt").send();
    for (name, expected) in [("alice", granted()), ("bob", refused(403, "AccessDenied"))] {
        let policy = json!({"Statement": {
            "Effect": "Allow", "Action": "s3:*", "Resource": "*",
            "Condition": {"StringEquals": {"aws:SourceIdentity": name}},
        }});
        emulator.world().directory.set_role_policies(ACCOUNT_A, ROLE, &[policy]);
        assert_eq!(outcome(&get().await), expected, "{name}");
    }
}

#[tokio::test]
async fn a_source_identity_has_a_form() {
    let emulator = start(world());
    let long = "n".repeat(65);
    for malformed in ["x", "with space", "aws:x", long.as_str()] {
        let result = near(&emulator).source_identity(malformed).send().await;
        assert_eq!(outcome(&result), refused(400, "ValidationError"), "{malformed}");
    }
}

#[tokio::test]
async fn tags_take_a_permission_on_both_sides() {
    let only = ["sts:AssumeRole"];
    let both = ["sts:AssumeRole", "sts:TagSession"];
    for (identity, trusted, suffices) in
        [(&both[..], &both[..], true), (&only, &both, false), (&both, &only, false)]
    {
        let emulator = start(world());
        let directory = &emulator.world().directory;
        directory.set_user_policies(ACCOUNT_A, "alice", &[allow(identity)]);
        directory.set_trust(ACCOUNT_A, ROLE, Some(&trust(trusted, &json!({}))));
        let result = near(&emulator).tags(tag("team", "blue")).send().await;
        assert_eq!(outcome(&result) == granted(), suffices, "{identity:?} {trusted:?}");
        if !suffices {
            assert!(message(&result).contains("not authorized to perform: sts:TagSession"));
        }
    }
}

#[tokio::test]
async fn trust_policies_see_what_is_passed() {
    let rows = [
        json!({"StringEquals": {"aws:RequestTag/team": "blue"}}),
        json!({"StringLike": {"AWS:requesttag/TEAM": "b*"}}),
        json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["team", "cost"]}}),
        json!({"ForAnyValue:StringEquals": {"aws:TagKeys": ["cost"]}}),
        json!({"ForAllValues:StringEquals": {"sts:TransitiveTagKeys": ["team"]}}),
        json!({"ForAnyValue:StringEquals": {"sts:TransitiveTagKeys": ["team"]}}),
    ];
    for condition in rows {
        let emulator = start(world());
        emulator.world().directory.set_trust(ACCOUNT_A, ROLE, Some(&trust(&ALL, &condition)));
        let right =
            near(&emulator).tags(tag("team", "blue")).tags(tag("cost", "42")).transitive_tag_keys("team");
        assert_eq!(outcome(&right.send().await), granted(), "{condition}");
        let wrong = near(&emulator).tags(tag("other", "red")).transitive_tag_keys("other");
        assert_eq!(outcome(&wrong.send().await), refused(403, "AccessDenied"), "{condition}");
    }
}

#[tokio::test]
async fn later_requests_see_the_tags_and_chains_the_transitive_ones() {
    let emulator = start(world());
    let first = near(&emulator).tags(tag("team", "blue")).tags(tag("cost", "42")).transitive_tag_keys("Team");
    let first = session_keys(&first.send().await.expect("alice may"));
    let far = session_keys(&assume(&emulator, first.clone(), FAR).send().await.expect("the role may"));
    let third = session_keys(
        &assume(&emulator, first.clone(), FAR).tags(tag("job", "7")).send().await.expect("it may"),
    );
    let sees = async |credentials: &Credentials, role: &str, key: &str, value: &str| {
        let policy = json!({"Statement": {
            "Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*",
            "Condition": {"StringEquals": {(format!("aws:PrincipalTag/{key}")): value}},
        }});
        emulator.world().directory.set_role_policies(ACCOUNT_A, role, &[policy]);
        let list = s3_with(&emulator, credentials.clone(), demo::REGION).list_buckets().send().await;
        outcome(&list) == granted()
    };
    assert!(sees(&first, ROLE, "team", "blue").await);
    assert!(sees(&first, ROLE, "cost", "42").await);
    assert!(!sees(&first, ROLE, "cost", "43").await);
    assert!(sees(&far, FAR, "team", "blue").await, "it was transitive");
    assert!(!sees(&far, FAR, "cost", "42").await, "it was not");
    assert!(sees(&third, FAR, "job", "7").await);
    assert!(sees(&third, FAR, "team", "blue").await);
}

#[tokio::test]
async fn an_inherited_tag_stays_as_it_is_and_takes_the_permission_too() {
    let emulator = start(world());
    let first = near(&emulator).tags(tag("team", "blue")).transitive_tag_keys("team").send().await;
    let first = session_keys(&first.expect("alice may"));
    let overridden = assume(&emulator, first.clone(), FAR).tags(tag("TEAM", "red")).send().await;
    assert_eq!(outcome(&overridden), refused(400, "InvalidParameterValue"));
    assert!(message(&overridden).contains("conflicts with a transitive tag key"), "{}", message(&overridden));
    emulator.world().directory.set_trust(ACCOUNT_A, FAR, Some(&trust(&["sts:AssumeRole"], &json!({}))));
    let chained = assume(&emulator, first, FAR).send().await;
    assert_eq!(outcome(&chained), refused(403, "AccessDenied"));
    assert!(message(&chained).contains("sts:TagSession"), "{}", message(&chained));
}

#[tokio::test]
async fn tags_have_a_form() {
    let emulator = start(world());
    let many = |count: usize| (0..count).map(|number| tag(&format!("key{number}"), "v")).collect::<Vec<_>>();
    let rows = [
        (vec![tag("käse und brot", "1+1=2 @ home: _./-")], Vec::new(), granted()),
        (vec![tag(&"k".repeat(128), &"v".repeat(256))], Vec::new(), granted()),
        (vec![tag("empty", "")], Vec::new(), granted()),
        (many(50), Vec::new(), granted()),
        (many(51), Vec::new(), refused(400, "ValidationError")),
        (vec![tag(&"k".repeat(129), "v")], Vec::new(), refused(400, "ValidationError")),
        (vec![tag("k", &"v".repeat(257))], Vec::new(), refused(400, "ValidationError")),
        (vec![tag("", "v")], Vec::new(), refused(400, "ValidationError")),
        (vec![tag("a;b", "v")], Vec::new(), refused(400, "ValidationError")),
        (vec![tag("k", "a\tb")], Vec::new(), refused(400, "ValidationError")),
        (vec![tag("aws:k", "v")], Vec::new(), refused(400, "InvalidParameterValue")),
        (vec![tag("k", "1"), tag("K", "2")], Vec::new(), refused(400, "InvalidParameterValue")),
        (vec![tag("k", "v")], vec!["other".to_owned()], refused(400, "InvalidParameterValue")),
        (Vec::new(), vec!["k".to_owned()], refused(400, "InvalidParameterValue")),
    ];
    for (row, (tags, transitive, expected)) in rows.into_iter().enumerate() {
        let request = near(&emulator).set_tags(Some(tags)).set_transitive_tag_keys(Some(transitive));
        assert_eq!(outcome(&request.send().await), expected, "row {row}");
    }
}

#[tokio::test]
async fn parameters_at_their_limits_arrive_and_unmodelled_ones_are_refused() {
    let emulator = start(world());
    // 50 tags of 128 and 256 characters and a policy: three times what s3s reads of a form by itself.
    let tags = (0..50).map(|number| tag(&format!("{number:0128}"), &"v".repeat(256))).collect();
    let policy = format!("{:2000}", allow(&["s3:*"]).to_string());
    let request = near(&emulator).set_tags(Some(tags)).policy(policy);
    assert_eq!(outcome(&request.send().await), granted());
    let context = aws_sdk_sts::types::ProvidedContext::builder().provider_arn("arn:aws:iam::aws:x").build();
    let unmodelled = near(&emulator).provided_contexts(context).send().await;
    assert_eq!(outcome(&unmodelled), refused(501, "NotImplemented"));
}
