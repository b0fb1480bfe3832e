//! Who gets in: the matrix of two accounts, and who owns what was written.

use aws_sdk_s3::types::ObjectCannedAcl;
use serde_json::{Value, json};

use super::*;
use crate::emulator::demo::{ACCOUNT_A, ACCOUNT_B, ROLE};
use crate::emulator::{BucketSpec, CannedAcl, Ownership, Role, User};

const FULL_CONTROL: ObjectCannedAcl = ObjectCannedAcl::BucketOwnerFullControl;

fn allow(action: &Value, resource: &Value) -> Value {
    json!({"Statement": [{"Effect": "Allow", "Action": action, "Resource": resource}]})
}

/// Takes one leg away and returns how far alice gets: assuming the role, then reading a file.
async fn reach(break_leg: impl FnOnce(&World), external_id: Option<&str>) -> (Outcome, Option<Outcome>) {
    let world = demo::world(Rights::Full).with_role(
        Role::new(ACCOUNT_A, ROLE)
            .trust(&json!({"Statement": [{
                "Effect": "Allow", "Principal": {"AWS": ACCOUNT_A.user_arn("alice")}, "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": "agreed"}},
            }]}))
            .policy(&demo::role_policy(Rights::Full)),
    );
    break_leg(&world);
    let emulator = start(world);
    let request = sts(&emulator, keys(&demo::alice())).assume_role().role_arn(demo::role_arn());
    let result =
        request.role_session_name("test").set_external_id(external_id.map(str::to_owned)).send().await;
    let Ok(output) = &result else { return (outcome(&result), None) };
    let get = s3_with(&emulator, session_keys(output), demo::REGION).get_object();
    (granted(), Some(outcome(&get.bucket(BUCKET).key("welcome.txt").send().await)))
}

#[tokio::test]
async fn every_leg_is_needed_and_all_together_suffice() {
    let denied = || refused(403, "AccessDenied");
    assert_eq!(reach(|_| {}, Some("agreed")).await, (granted(), Some(granted())));
    let no_trust = |world: &World| world.directory.set_trust(ACCOUNT_A, ROLE, None);
    assert_eq!(reach(no_trust, Some("agreed")).await, (denied(), None));
    assert_eq!(reach(|_| {}, Some("guessed")).await, (denied(), None));
    assert_eq!(reach(|_| {}, None).await, (denied(), None));
    let no_identity_policy = |world: &World| world.directory.set_role_policies(ACCOUNT_A, ROLE, &[]);
    assert_eq!(reach(no_identity_policy, Some("agreed")).await, (granted(), Some(denied())));
    let no_bucket_policy = |world: &World| world.set_bucket_policy(BUCKET, None);
    assert_eq!(reach(no_bucket_policy, Some("agreed")).await, (granted(), Some(denied())));
}

#[tokio::test]
async fn a_role_that_trusts_the_account_leaves_it_to_the_users_policy() {
    let emulator = start(demo::world(Rights::Full));
    let trust = json!({"Statement": [{
        "Effect": "Allow", "Principal": {"AWS": "111111111111"}, "Action": "sts:AssumeRole",
    }]});
    emulator.world().directory.set_trust(ACCOUNT_A, ROLE, Some(&trust));
    let assume = || sts(&emulator, keys(&demo::alice())).assume_role().role_arn(demo::role_arn());
    assert_eq!(outcome(&assume().role_session_name("test").send().await), granted());
    emulator.world().directory.set_user_policies(ACCOUNT_A, "alice", &[]);
    assert_eq!(outcome(&assume().role_session_name("test").send().await), refused(403, "AccessDenied"));
}

#[tokio::test]
async fn direct_access_needs_both_accounts_too() {
    let emulator = start(demo::world(Rights::Full));
    let client = s3(&emulator, &demo::alice());
    let get = || client.get_object().bucket(BUCKET).key("welcome.txt").send();
    let objects = json!("arn:aws:s3:::SampleBucketA/*");
    let mine = allow(&json!("s3:GetObject"), &objects);
    let theirs = json!({"Statement": [{
        "Effect": "Allow", "Principal": {"AWS": ACCOUNT_A.user_arn("alice")}, "Action": "s3:GetObject", "Resource": objects,
    }]});
    assert_eq!(outcome(&get().await), refused(403, "AccessDenied"));
    emulator.world().directory.set_user_policies(ACCOUNT_A, "alice", &[mine]);
    assert_eq!(outcome(&get().await), refused(403, "AccessDenied"));
    emulator.world().set_bucket_policy(BUCKET, Some(&theirs));
    assert_eq!(outcome(&get().await), granted());
}

#[tokio::test]
async fn the_three_usual_actions_neither_list_nor_delete() {
    let (_emulator, client) = as_role(Rights::Minimal).await;
    let denied = || refused(403, "AccessDenied");
    assert_eq!(outcome(&client.get_object().bucket(BUCKET).key("welcome.txt").send().await), granted());
    assert_eq!(outcome(&client.list_objects_v2().bucket(BUCKET).send().await), denied());
    assert_eq!(outcome(&client.delete_object().bucket(BUCKET).key("welcome.txt").send().await), denied());
    assert_eq!(outcome(&client.get_object().bucket(BUCKET).key("missing").send().await), denied());
    assert_eq!(outcome(&client.head_object().bucket(BUCKET).key("missing").send().await), refused(403, ""));
}

#[tokio::test]
async fn who_may_list_is_told_what_is_missing() {
    let (emulator, client) = as_role(Rights::Full).await;
    let head = |key: &'static str| client.head_object().bucket(BUCKET).key(key).send();
    assert_eq!(outcome(&head("missing").await), refused(404, "NotFound"));
    // With a grant for some prefixes only, the key itself is the prefix that is asked about.
    let policy = json!({"Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*",
         "Condition": {"StringLike": {"s3:prefix": "reports/*"}}},
    ]});
    emulator.world().directory.set_role_policies(ACCOUNT_A, ROLE, &[policy]);
    assert_eq!(outcome(&head("reports/missing").await), refused(404, "NotFound"));
    assert_eq!(outcome(&head("missing").await), refused(403, ""));
    let list = |prefix: &'static str| client.list_objects_v2().bucket(BUCKET).prefix(prefix).send();
    assert_eq!(outcome(&list("reports/").await), granted());
    assert_eq!(
        outcome(&head("reports").await),
        refused(403, ""),
        "the directory and the key of its name are two"
    );
    assert_eq!(outcome(&list("").await), refused(403, "AccessDenied"));
}

#[tokio::test]
async fn a_demanded_acl_is_demanded_of_every_kind_of_write() {
    let (_emulator, client) = as_role(Rights::Full).await;
    let source = format!("{BUCKET}/welcome.txt");
    for (acl, expected) in [(None, refused(403, "AccessDenied")), (Some(FULL_CONTROL), granted())] {
        let put = client.put_object().bucket(BUCKET).key("a").set_acl(acl.clone()).send().await;
        assert_eq!(outcome(&put), expected);
        let copy = client.copy_object().bucket(BUCKET).key("b").copy_source(&source).set_acl(acl.clone());
        assert_eq!(outcome(&copy.send().await), expected);
        let create = client.create_multipart_upload().bucket(BUCKET).key("c").set_acl(acl).send().await;
        assert_eq!(outcome(&create), expected);
    }
}

#[tokio::test]
async fn the_three_usual_actions_do_all_that_writing_takes() {
    let (_emulator, client) = as_role(Rights::Minimal).await;
    let denied = || refused(403, "AccessDenied");
    let upload = client.create_multipart_upload().bucket(BUCKET).key("parts").acl(FULL_CONTROL);
    let upload = upload.send().await.expect("it may put");
    let id = upload.upload_id().unwrap_or_default();
    let copy = |source: &str| {
        let part = client.upload_part_copy().bucket(BUCKET).key("parts").upload_id(id).part_number(1);
        part.copy_source(format!("{BUCKET}/{source}")).send()
    };
    assert_eq!(outcome(&copy("welcome.txt").await), granted());
    assert_eq!(
        outcome(&copy("missing").await),
        denied(),
        "a source that is absent is not told from a forbidden one"
    );
    let abort = client.abort_multipart_upload().bucket(BUCKET).key("parts").upload_id(id);
    assert_eq!(outcome(&abort.send().await), denied());
    let put = |key: &str| client.put_object().bucket(BUCKET).key(key).acl(FULL_CONTROL);
    assert_eq!(outcome(&put("new").if_none_match("*").send().await), granted());
    assert_eq!(outcome(&put("new").if_none_match("*").send().await), refused(412, "PreconditionFailed"));
    assert_eq!(outcome(&put("new").if_match("\"other\"").send().await), refused(412, "PreconditionFailed"));
    let head = client.head_bucket().bucket(BUCKET).send().await.expect_err("it may not list");
    let response = head.raw_response().expect("there is an answer");
    let region = response.headers().get("x-amz-bucket-region");
    assert_eq!((response.status().as_u16(), region), (403, Some(demo::REGION)));
}

#[tokio::test]
async fn sending_an_acl_takes_the_right_to_set_it() {
    let (emulator, client) = as_role(Rights::Full).await;
    let policy = allow(&json!(["s3:PutObject"]), &json!("*"));
    emulator.world().directory.set_role_policies(ACCOUNT_A, ROLE, &[policy]);
    let put = client.put_object().bucket(BUCKET).key("a").acl(FULL_CONTROL).send().await;
    assert_eq!(outcome(&put), refused(403, "AccessDenied"));
    emulator.world().set_bucket_policy(BUCKET, Some(&demo::bucket_policy(BUCKET)));
}

/// Writes as the role into a bucket of this mode and returns the outcome and the object's owner.
async fn write_into(
    ownership: Ownership,
    acl: Option<ObjectCannedAcl>,
) -> (Outcome, Option<super::super::AccountId>) {
    let emulator = start(demo::world(Rights::Full));
    let open = json!({"Statement": [{
        "Effect": "Allow", "Principal": {"AWS": demo::role_arn()}, "Action": "s3:*",
        "Resource": ["arn:aws:s3:::SampleBucketA", "arn:aws:s3:::SampleBucketA/*"],
    }]});
    emulator.world().set_bucket_policy(BUCKET, Some(&open));
    emulator.world().bucket(BUCKET).set_ownership(ownership);
    let client = assumed(&emulator).await;
    let result = client.put_object().bucket(BUCKET).key("new").set_acl(acl).send().await;
    (outcome(&result), emulator.world().object(BUCKET, "new").map(|object| object.owner))
}

#[tokio::test]
async fn the_three_modes_of_ownership_decide_whose_it_is() {
    let (a, b) = (Some(ACCOUNT_A), Some(ACCOUNT_B));
    let rows = [
        (Ownership::BucketOwnerEnforced, None, (granted(), b)),
        (Ownership::BucketOwnerEnforced, Some(FULL_CONTROL), (granted(), b)),
        (
            Ownership::BucketOwnerEnforced,
            Some(ObjectCannedAcl::Private),
            (refused(400, "AccessControlListNotSupported"), None),
        ),
        (Ownership::BucketOwnerPreferred, None, (granted(), a)),
        (Ownership::BucketOwnerPreferred, Some(FULL_CONTROL), (granted(), b)),
        (Ownership::BucketOwnerPreferred, Some(ObjectCannedAcl::Private), (granted(), a)),
        (Ownership::ObjectWriter, None, (granted(), a)),
        (Ownership::ObjectWriter, Some(FULL_CONTROL), (granted(), a)),
    ];
    for (ownership, acl, expected) in rows {
        assert_eq!(write_into(ownership, acl.clone()).await, expected, "{ownership:?} {acl:?}");
    }
}

#[tokio::test]
async fn what_another_account_owns_is_closed_to_the_buckets_owner() {
    let emulator = start(demo::world(Rights::Full));
    emulator.world().bucket(BUCKET).set_ownership(Ownership::ObjectWriter);
    let open = json!({"Statement": [{
        "Effect": "Allow", "Principal": {"AWS": demo::role_arn()}, "Action": "s3:*", "Resource": "*",
    }]});
    emulator.world().set_bucket_policy(BUCKET, Some(&open));
    let (role, bob) = (assumed(&emulator).await, s3(&emulator, &demo::bob()));
    let acls = [
        (None, refused(403, "AccessDenied"), refused(403, "AccessDenied")),
        (Some(ObjectCannedAcl::BucketOwnerRead), granted(), refused(403, "AccessDenied")),
        (Some(FULL_CONTROL), granted(), granted()),
    ];
    for (acl, get_expected, acl_expected) in acls {
        let put = role.put_object().bucket(BUCKET).key("theirs").set_acl(acl.clone()).send().await;
        assert_eq!(outcome(&put), granted());
        let get = bob.get_object().bucket(BUCKET).key("theirs").send().await;
        assert_eq!(outcome(&get), get_expected, "{acl:?}");
        let get_acl = bob.get_object_acl().bucket(BUCKET).key("theirs").send().await;
        assert_eq!(outcome(&get_acl), acl_expected, "{acl:?}");
    }
    let delete = bob.delete_object().bucket(BUCKET).key("theirs").send().await;
    assert_eq!(outcome(&delete), granted(), "deleting is a right in the bucket");
}

#[tokio::test]
async fn the_acl_of_an_object_names_its_owner() {
    let (_emulator, role) = as_role(Rights::Full).await;
    role.put_object().bucket(BUCKET).key("new").acl(FULL_CONTROL).send().await.expect("the ACL is right");
    let bob = s3(&_emulator, &demo::bob());
    let acl = bob.get_object_acl().bucket(BUCKET).key("new").send().await.expect("bob owns it");
    assert_eq!(acl.owner().and_then(|owner| owner.id()), Some(ACCOUNT_B.canonical_id().as_str()));
    assert_eq!(
        _emulator.world().object(BUCKET, "new").map(|object| object.acl),
        Some(CannedAcl::BucketOwnerFullControl)
    );
}

#[tokio::test]
async fn an_unexpected_owner_is_refused_everywhere() {
    let (_emulator, client) = as_owner();
    let (a, b) = (ACCOUNT_A.to_string(), ACCOUNT_B.to_string());
    for (owner, expected) in [(&a, 403), (&b, 200)] {
        let head = client.head_bucket().bucket(BUCKET).expected_bucket_owner(owner).send().await;
        assert_eq!(outcome(&head).0, expected);
        let put = client.put_object().bucket(BUCKET).key("a").expected_bucket_owner(owner).send().await;
        assert_eq!(outcome(&put).0, expected);
        let copy = client.copy_object().bucket(BUCKET).key("b").copy_source(format!("{BUCKET}/welcome.txt"));
        assert_eq!(outcome(&copy.expected_source_bucket_owner(owner).send().await).0, expected);
    }
}

#[tokio::test]
async fn a_bucket_answers_in_its_own_region_only() {
    let world =
        demo::world(Rights::Full).with_bucket(BucketSpec::new("far-away", ACCOUNT_B).region("eu-west-1"));
    let emulator = start(world);
    let here = s3(&emulator, &demo::bob());
    let head = here.head_bucket().bucket("far-away").send().await.expect_err("the wrong region");
    let response = head.raw_response().expect("there is an answer");
    assert_eq!(response.status().as_u16(), 301);
    assert_eq!(response.headers().get("x-amz-bucket-region"), Some("eu-west-1"));
    let get = here.get_object().bucket("far-away").key("x").send().await;
    assert_eq!(outcome(&get), refused(301, "PermanentRedirect"));
    let there = s3_with(&emulator, keys(&demo::bob()), "eu-west-1");
    let location = there.get_bucket_location().bucket("far-away").send().await.expect("the right region");
    assert_eq!(location.location_constraint().map(|region| region.as_str()), Some("eu-west-1"));
    let alice = s3_with(&emulator, keys(&demo::alice()), "eu-west-1");
    let head = alice.head_bucket().bucket("far-away").send().await.expect_err("alice has no rights");
    let response = head.raw_response().expect("there is an answer");
    assert_eq!(
        (response.status().as_u16(), response.headers().get("x-amz-bucket-region")),
        (403, Some("eu-west-1"))
    );
}

#[tokio::test]
async fn an_explicit_deny_in_the_bucket_stops_even_its_own_administrator() {
    let (emulator, bob) = as_owner();
    let deny = json!({"Statement": [{
        "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::SampleBucketA/secret/*",
    }]});
    emulator.world().set_bucket_policy(BUCKET, Some(&deny));
    put(&bob, "secret/a", b"x").await;
    let get = bob.get_object().bucket(BUCKET).key("secret/a").send().await;
    assert_eq!(outcome(&get), refused(403, "AccessDenied"));
}

#[tokio::test]
async fn policies_and_ownership_can_be_managed_over_the_wire() {
    let (_emulator, bob) = as_owner();
    let policy = demo::bucket_policy(BUCKET).to_string();
    bob.delete_bucket_policy().bucket(BUCKET).send().await.expect("bob may");
    let missing = bob.get_bucket_policy().bucket(BUCKET).send().await;
    assert_eq!(outcome(&missing), refused(404, "NoSuchBucketPolicy"));
    bob.put_bucket_policy().bucket(BUCKET).policy(&policy).send().await.expect("bob may");
    let got = bob.get_bucket_policy().bucket(BUCKET).send().await.expect("bob may");
    assert_eq!(got.policy(), Some(policy.as_str()));
    let bad = bob.put_bucket_policy().bucket(BUCKET).policy("{}").send().await;
    assert_eq!(outcome(&bad), refused(400, "MalformedPolicy"));
    let controls = bob.get_bucket_ownership_controls().bucket(BUCKET).send().await.expect("bob may");
    let rules = controls.ownership_controls().expect("there are controls").rules();
    assert_eq!(rules[0].object_ownership().as_str(), "BucketOwnerPreferred");
    let buckets = bob.list_buckets().send().await.expect("bob may");
    let names: Vec<_> = buckets.buckets().iter().filter_map(|bucket| bucket.name()).collect();
    assert_eq!(names, demo::BUCKETS);
}

#[tokio::test]
async fn a_user_without_policies_may_do_nothing_at_home_either() {
    let key = AccessKey::new("AKIANEWCOMER", "secret");
    let emulator = start(demo::world(Rights::Full).with_user(User::new(ACCOUNT_B, "newcomer", key.clone())));
    let client = s3(&emulator, &key);
    let get = || client.get_object().bucket(BUCKET).key("welcome.txt").send();
    assert_eq!(outcome(&get().await), refused(403, "AccessDenied"));
    let open = json!({"Statement": [{
        "Effect": "Allow", "Principal": {"AWS": ACCOUNT_B.user_arn("newcomer")}, "Action": "s3:GetObject", "Resource": "*",
    }]});
    emulator.world().set_bucket_policy(BUCKET, Some(&open));
    assert_eq!(outcome(&get().await), granted(), "in one account the bucket's word is enough");
}

/// S3 user guide, "Troubleshoot access denied errors": the reason is told in one's own account and organization.
#[tokio::test]
async fn within_an_organization_a_refusal_says_which_kind_of_policy_it_is_for() {
    let deny = |principal: Option<&str>| {
        let mut statement = json!({"Effect": "Deny", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::*"});
        if let Some(principal) = principal {
            statement["Principal"] = json!({"AWS": principal});
        }
        json!({"Statement": [statement]})
    };
    let forbid_ours = |world: &World| {
        world.directory.set_role_policies(ACCOUNT_A, ROLE, &[demo::role_policy(Rights::Full), deny(None)]);
    };
    let forbid_theirs = |world: &World| world.set_bucket_policy(BUCKET, Some(&deny(Some("*"))));
    let take_ours = |world: &World| world.directory.set_role_policies(ACCOUNT_A, ROLE, &[]);
    let take_theirs = |world: &World| world.set_bucket_policy(BUCKET, None);
    type Change<'a> = &'a dyn Fn(&World);
    let table: [(Change<'_>, &str); 4] = [
        (&forbid_ours, "with an explicit deny in an identity-based policy"),
        (&forbid_theirs, "with an explicit deny in a resource-based policy"),
        (&take_ours, "because no identity-based policy allows the s3:GetObject action"),
        (&take_theirs, "because no resource-based policy allows the s3:GetObject action"),
    ];
    for (change, reason) in table {
        for (world, expected) in [
            (demo::world(Rights::Full), "Access Denied".to_owned()),
            (
                demo::world(Rights::Full).with_one_organization(),
                format!(
                    "User: arn:aws:sts::111111111111:assumed-role/{ROLE}/test is not authorized to perform: \
                     s3:GetObject on resource: \"arn:aws:s3:::{BUCKET}/welcome.txt\" {reason}"
                ),
            ),
        ] {
            change(&world);
            let emulator = start(world);
            let get = assumed(&emulator).await.get_object().bucket(BUCKET).key("welcome.txt").send().await;
            assert_eq!(message(&get), expected);
        }
    }
}
