//! What STS is asked for, and what becomes of it where STS will not give so much.

use super::*;

const DOCUMENT: &str = r#"{"Version":"2012-10-17","Statement":[]}"#;

fn bounded(policy: SessionPolicy) -> Setting {
    let mut setting = Setting::lasting(900);
    setting.bounds = Bounds { policy, policy_arns: Vec::new() };
    setting
}

fn tag(key: &str, transitive: bool) -> SessionTag {
    SessionTag { key: key.to_owned(), value: format!("{key}-value"), transitive }
}

#[tokio::test(start_paused = true)]
async fn everything_that_was_configured_is_asked_for() {
    let mut setting = Setting::lasting(900);
    setting.roles[0].source_identity = Some("alice@example.com".to_owned());
    setting.roles[0].tags = vec![tag("project", true), tag("purpose", false)];
    setting.bounds = Bounds {
        policy: SessionPolicy::Demanded(DOCUMENT.to_owned()),
        policy_arns: vec!["arn:aws:iam::aws:policy/A".to_owned(), "arn:aws:iam::aws:policy/B".to_owned()],
    };
    setting.started().await;
    let call = setting.sts.calls().remove(0);
    for (name, value) in [
        ("SourceIdentity", "alice@example.com"),
        ("Tags.member.1.Key", "project"),
        ("Tags.member.1.Value", "project-value"),
        ("Tags.member.2.Key", "purpose"),
        ("TransitiveTagKeys.member.1", "project"),
        ("Policy", DOCUMENT),
        ("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/A"),
        ("PolicyArns.member.2.arn", "arn:aws:iam::aws:policy/B"),
    ] {
        assert_eq!(call.parameter(name).as_deref(), Some(value), "{name}");
    }
    for absent in ["TransitiveTagKeys.member.2", "SerialNumber", "TokenCode", "ExternalId"] {
        assert_eq!(call.parameter(absent), None, "{absent}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_session_of_the_last_role_is_bounded() {
    let mut setting = bounded(SessionPolicy::Preferred(DOCUMENT.to_owned()));
    setting.roles.push(role(SECOND_ROLE, 900));
    setting.started().await;
    let policies: Vec<_> = setting.sts.calls().iter().map(|call| call.parameter("Policy")).collect();
    assert_eq!(policies, [None, Some(DOCUMENT.to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_merely_preferred_is_left_out_where_sts_refuses_it() {
    for code in ["PackedPolicyTooLarge", "MalformedPolicyDocument"] {
        let setting = bounded(SessionPolicy::Preferred(DOCUMENT.to_owned()));
        setting.sts.next([Answer::Refuse { status: 400, code }]);
        let credentials = setting.started().await;
        credentials.refused(&present_id(&credentials));
        key_id(&credentials).await;
        let sent: Vec<_> =
            setting.sts.calls().iter().map(|call| call.parameter("Policy").is_some()).collect();
        assert_eq!(sent, [true, false, false], "{code}: it is not asked for again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_somebody_demands_is_never_left_out() {
    let setting = bounded(SessionPolicy::Demanded(DOCUMENT.to_owned()));
    setting.sts.always(Answer::Refuse { status: 400, code: "PackedPolicyTooLarge" });
    let error = setting.start().await.unwrap_err();
    assert_eq!((error.kind(), setting.sts.call_count()), (Kind::InvalidArgument, 1));
    assert!(error.to_string().contains("--session-policy none"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_long_session_and_a_policy_are_given_up_one_after_the_other() {
    let mut setting = bounded(SessionPolicy::Preferred(DOCUMENT.to_owned()));
    setting.roles[0].duration = Duration::from_secs(28_800);
    setting.sts.next([Answer::INVALID, Answer::Refuse { status: 400, code: "PackedPolicyTooLarge" }]);
    setting.started().await;
    let asked: Vec<_> =
        setting.sts.calls().iter().map(|call| (call.seconds, call.parameter("Policy").is_some())).collect();
    assert_eq!(asked, [(28_800, true), (3600, true), (3600, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_role_assumed_with_a_role_session_is_asked_for_an_hour() {
    let setting = Setting::lasting(28_800);
    setting.sts.caller_is(Ok("arn:aws:sts::111122223333:assumed-role/of-the-instance/i-0abc"));
    setting.started().await;
    assert_eq!(setting.sts.calls().iter().map(|call| call.seconds).collect::<Vec<_>>(), [3600]);
}

#[tokio::test(start_paused = true)]
async fn a_denial_names_every_action_that_the_wish_takes() {
    let mut setting = Setting::lasting(900);
    setting.roles[0].source_identity = Some("alice".to_owned());
    setting.roles[0].tags = vec![tag("project", false)];
    setting.sts.always(Answer::DENIED);
    let said = setting.start().await.unwrap_err().to_string();
    for action in ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"] {
        assert!(said.contains(action), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_preferred_policy_names_buckets_as_the_partition_of_the_role_has_them() {
    let mut setting = bounded(SessionPolicy::Preferred(r#"{"Resource":"arn:aws:s3:::one/*"}"#.to_owned()));
    setting.roles[0].arn = "arn:aws-cn:iam::111122223333:role/reader".to_owned();
    setting.started().await;
    let policy = setting.sts.calls()[0].parameter("Policy");
    assert_eq!(policy.as_deref(), Some(r#"{"Resource":"arn:aws-cn:s3:::one/*"}"#));
}

/// Some imitations of STS do not know session policies, and call the whole request invalid.
#[tokio::test(start_paused = true)]
async fn a_preferred_policy_is_left_out_where_the_request_is_invalid_with_it() {
    let setting = bounded(SessionPolicy::Preferred(DOCUMENT.to_owned()));
    setting.sts.next([Answer::INVALID]);
    setting.started().await;
    let sent: Vec<_> = setting.sts.calls().iter().map(|call| call.parameter("Policy").is_some()).collect();
    assert_eq!(sent, [true, false]);
}
