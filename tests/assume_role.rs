//! Everything that AssumeRole can do, as a mount uses it, against an STS that means it.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::sync::Arc;
use std::time::Duration;

use s3xmount::clock;
use s3xmount::config::{self, CommandLine, Place, Surroundings, Written, options::Key};
use s3xmount::credentials::{self, CodeSource, RoleOptions, SessionPolicy, SessionTag};
use s3xmount::emulator::demo::{self, ACCOUNT_A, Rights};
use s3xmount::emulator::{MfaDevice, Role, User};
use s3xmount::error::Kind;
use s3xmount::policy;
use s3xmount::secret::Secret;
use serde_json::{Value, json};

use crate::support::{Options, World, failure};

const DEVICE: &str = "arn:aws:iam::111111111111:mfa/alice";

/// Who may do what in STS: alice all, and the role trusts her under a condition.
fn trusting(condition: &Value) -> World {
    let device = MfaDevice::new(DEVICE, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP");
    let everything = json!({"Statement": {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}});
    let alice = User::new(ACCOUNT_A, "alice", demo::alice()).policy(&everything).mfa(device);
    let world = demo::world(Rights::Full).with_user(alice);
    let trust = json!({"Statement": {
        "Effect": "Allow", "Principal": {"AWS": ACCOUNT_A.user_arn("alice")}, "Condition": condition,
        "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
    }});
    world.directory.set_trust(ACCOUNT_A, demo::ROLE, Some(&trust));
    World::of(world)
}

/// Mounts as alice, after `change`.
async fn mounts(world: &World, change: impl FnOnce(&mut credentials::Options)) -> Result<(), Kind> {
    let mut who = world.alice(&Options::default());
    change(&mut who);
    let mount = world.mount_as(who, Options::default()).await.map_err(|error| error.kind())?;
    mount.write_file("a/by-alice", b"content").await.map_err(|error| error.kind())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_demands_mfa_is_assumed_with_the_present_code() {
    let world = trusting(&json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}}));
    assert_eq!(mounts(&world, |_| ()).await, Err(Kind::Denied), "without a code");
    let typed = |code: String| CodeSource { command: None, ask: Some(Arc::new(move |_| Ok(code.clone()))) };
    for (code, expected) in
        [("000000".to_owned(), Err(Kind::Denied)), (world.fresh_mfa_code(ACCOUNT_A, "alice"), Ok(()))]
    {
        let mounted = mounts(&world, |who| {
            who.roles[0].mfa_serial = Some(DEVICE.to_owned());
            who.codes = typed(code);
        });
        assert_eq!(mounted.await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_goes_on_where_the_session_has_ended() {
    let world = trusting(&json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}}));
    let mut who = world.alice(&Options::default());
    who.roles[0].mfa_serial = Some(DEVICE.to_owned());
    who.wait_max = Duration::from_secs(5);
    let first = world.fresh_mfa_code(ACCOUNT_A, "alice");
    who.codes = CodeSource { command: None, ask: Some(Arc::new(move |_| Ok(first.clone()))) };
    let mount = world.mount_as(who, Options::default()).await.unwrap();
    mount.write_file("a/mine", b"before").await.unwrap();
    world.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(failure(mount.write_file("a/mine", b"without").await), Kind::Denied);
    let code = world.fresh_mfa_code(ACCOUNT_A, "alice");
    mount.credentials().login(Secret::from(code)).await.unwrap();
    mount.write_file("a/mine", b"after").await.unwrap();
    assert_eq!(world.stored("a/mine").unwrap(), b"after");
}

#[tokio::test(flavor = "multi_thread")]
async fn source_identity_and_tags_reach_the_policies_that_ask_for_them() {
    let world = trusting(&json!({"StringEquals": {
        "sts:SourceIdentity": "alice", "aws:RequestTag/project": "atlas", "sts:ExternalId": "open-sesame",
    }}));
    let tag = |value: &str| SessionTag { key: "project".into(), value: value.into(), transitive: true };
    for (source, project, external_id, expected) in [
        ("alice", "atlas", "open-sesame", Ok(())),
        ("bob", "atlas", "open-sesame", Err(Kind::Denied)),
        ("alice", "other", "open-sesame", Err(Kind::Denied)),
        ("alice", "atlas", "open-barley", Err(Kind::Denied)),
    ] {
        let mounted = mounts(&world, |who| {
            who.roles[0].source_identity = Some(source.to_owned());
            who.roles[0].tags = vec![tag(project)];
            who.roles[0].external_id = Some(external_id.to_owned());
        });
        assert_eq!(mounted.await, expected, "{source} {project} {external_id}");
    }
}

/// Alice assumes `jump`, and with it the role; the tag and the source identity come along.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_two_roles_carries_on_what_is_transitive() {
    let everything = json!({"Statement": {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}});
    let trust = |principal: String, condition: Value| {
        json!({"Statement": {
            "Effect": "Allow", "Principal": {"AWS": principal}, "Condition": condition,
            "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
        }})
    };
    let jump = Role::new(ACCOUNT_A, "jump")
        .policy(&everything)
        .trust(&trust(ACCOUNT_A.user_arn("alice"), json!({})));
    let world = demo::world(Rights::Full).with_role(jump);
    world.directory.set_user_policies(ACCOUNT_A, "alice", &[everything]);
    let carried = json!({"StringEquals": {
        "aws:RequestTag/purpose": "test", "aws:PrincipalTag/project": "atlas", "aws:SourceIdentity": "alice",
    }});
    world.directory.set_trust(ACCOUNT_A, demo::ROLE, Some(&trust(ACCOUNT_A.role_arn("jump"), carried)));
    let world = World::of(world);
    let chain = |transitive: bool| {
        let tag = |key: &str, value: &str, transitive| SessionTag {
            key: key.into(),
            value: value.into(),
            transitive,
        };
        vec![
            RoleOptions {
                source_identity: Some("alice".into()),
                tags: vec![tag("project", "atlas", transitive)],
                ..RoleOptions::new(ACCOUNT_A.role_arn("jump"), "test")
            },
            RoleOptions {
                tags: vec![tag("purpose", "test", false)],
                ..RoleOptions::new(demo::role_arn(), "test")
            },
        ]
    };
    assert_eq!(mounts(&world, |who| who.roles = chain(true)).await, Ok(()));
    assert_eq!(mounts(&world, |who| who.roles.truncate(1)).await, Err(Kind::Denied), "the role directly");
}

/// The policy that a mount of this bucket makes for its session.
fn narrowed_to(bucket: &str, is_read_only: bool) -> String {
    let written = |text: &str| Written::new(text, Place::Argument("test"));
    let mut line = CommandLine {
        mount_point: Some(written("/mnt/x")),
        config: Some(written("/dev/null")),
        ..CommandLine::default()
    };
    line.flags.add(Key::Bucket, written(bucket));
    let settings = config::load(&line, &Surroundings::default()).unwrap();
    policy::session(&settings.buckets, is_read_only).unwrap()
}

/// What is refused here, S3 refuses: the mount itself would do all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_narrowed_session_can_do_what_the_mount_does_and_nothing_beside() {
    let world = World::new();
    world.put("a/reports/2024/kept", "kept");
    let [a, _] = demo::BUCKETS;
    let narrowed = async |bucket: &str, is_read_only| {
        let mut who = world.alice(&Options::default());
        who.bounds.policy = SessionPolicy::Demanded(narrowed_to(bucket, is_read_only));
        world.mount_as(who, Options::default()).await.unwrap()
    };
    let all = narrowed(a, false).await;
    all.write_file("a/new", b"new").await.unwrap();
    all.rename("a/new", "a/renamed").await.unwrap();
    all.remove("a/renamed").await.unwrap();
    assert!(all.list("a").await.unwrap().contains(&"reports/".to_owned()));
    assert_eq!(failure(all.list("b").await), Kind::Denied, "another bucket");
    assert_eq!(failure(all.write_file("b/new", b"new").await), Kind::Denied, "another bucket");

    let reading = narrowed(a, true).await;
    assert!(reading.read_file("a/welcome.txt").await.is_ok() && reading.list("a").await.is_ok());
    assert_eq!(failure(reading.write_file("a/new", b"new").await), Kind::Denied, "a write");
    assert_eq!(failure(reading.remove("a/welcome.txt").await), Kind::Denied, "a removal");

    let mut who = world.alice(&Options::default());
    who.bounds.policy = SessionPolicy::Demanded(narrowed_to(&format!("{a}/reports"), false));
    let below = world.mount_as(who, Options { prefix: "reports", ..Options::default() }).await.unwrap();
    below.write_file("a/new", b"new").await.unwrap();
    assert_eq!(below.list("a/2024").await.unwrap(), ["kept", "summary.csv"]);
    let mut who = world.alice(&Options::default());
    who.bounds.policy = SessionPolicy::Demanded(narrowed_to(&format!("{a}/reports"), false));
    let above = world.mount_as(who, Options::default()).await.unwrap();
    assert_eq!(failure(above.list("a").await), Kind::Denied, "above the prefix");
    assert_eq!(failure(above.write_file("a/new", b"new").await), Kind::Denied, "beside the prefix");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_policy_that_does_not_fit_is_left_out_and_the_mount_works() {
    let world = World::new();
    world.set_packed_bytes_max(10);
    let mut who = world.alice(&Options::default());
    who.bounds.policy = SessionPolicy::Preferred(narrowed_to(demo::BUCKETS[0], false));
    let mount = world.mount_as(who, Options::default()).await.unwrap();
    mount.write_file("b/new", b"not narrowed").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn managed_policies_narrow_a_session() {
    let world = World::new();
    let arn = "arn:aws:iam::111111111111:policy/read";
    let read = json!({"Statement": {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}});
    world.directory.add_managed_policy(arn, &read);
    let mut who = world.alice(&Options::default());
    who.bounds.policy_arns = vec![arn.to_owned()];
    let mount = world.mount_as(who, Options::default()).await.unwrap();
    assert!(mount.read_file("a/welcome.txt").await.is_ok());
    assert_eq!(failure(mount.write_file("a/new", b"new").await), Kind::Denied);
}

/// A machine boots with a wrong clock, mounts, and then its time service puts the clock right.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_put_right_is_believed_again() {
    let world = World::new();
    world.clock.run_ahead(Duration::from_secs(3 * 3600));
    let mount = world.mount().await;
    mount.write_file("a/new", b"new").await.unwrap();
    world.clock.run_ahead(Duration::ZERO);
    for _ in 0..2 {
        world.clock.advance(Duration::from_secs(2 * 3600));
        mount.write_file("a/new", b"newer").await.unwrap();
        assert!(mount.credentials().expiry().unwrap() > clock::now() + Duration::from_secs(3000));
    }
    assert!(world.count("AssumeRole") <= 8, "{}", world.count("AssumeRole"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_clock_is_wrong_works_all_the_same() {
    const HOURS: Duration = Duration::from_secs(3 * 3600);
    for set in [|world: &World| world.clock.run_ahead(HOURS), |world: &World| world.clock.run_behind(HOURS)] {
        let world = World::new();
        set(&world);
        let mount = world.mount().await;
        mount.write_file("a/new", b"new").await.unwrap();
        assert_eq!(mount.read_file("a/welcome.txt").await.unwrap(), world.stored("a/welcome.txt").unwrap());
        assert!(mount.credentials().expiry().unwrap() > clock::now());

        let world = World::new();
        let mount = world.mount().await;
        mount.write_file("a/new", b"new").await.unwrap();
        set(&world);
        assert!(mount.exists("a/reports/readme.txt").await, "a HEAD is denied without a word");
        mount.write_file("a/new", b"newer").await.unwrap();
        assert_eq!(world.stored("a/new").unwrap(), b"newer");
    }
}
