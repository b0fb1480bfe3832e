//! The two accounts of the README: people in account A, buckets in account B.
//!
//! ```text
//!   account A 111111111111                       account B 222222222222
//!     alice ──assumes──► assumed-accountb-role ──────► SampleBucketA, SampleBucketB
//!                                                        ▲ bob, who administers B
//! ```
//!
//! Everything here is ordinary: what stands in these policies is what people put into theirs.

use std::time::Duration;

use serde_json::{Value, json};

use super::{AccessKey, AccountId, BucketSpec, Ownership, Role, User, World};

/// The account of those who use the buckets.
pub const ACCOUNT_A: AccountId = AccountId::new(111_111_111_111);
/// The account the buckets belong to.
pub const ACCOUNT_B: AccountId = AccountId::new(222_222_222_222);
/// The role in account A that the buckets admit.
pub const ROLE: &str = "assumed-accountb-role";
/// The region the buckets live in.
pub const REGION: &str = "us-east-1";
/// The buckets.
pub const BUCKETS: [&str; 2] = ["SampleBucketA", "SampleBucketB"];

/// How much the role may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Exactly `s3:GetObject`, `s3:PutObject` and `s3:PutObjectAcl`: no listing, no deleting.
    Minimal,
    /// Those, and `s3:ListBucket`, `s3:DeleteObject` and `s3:AbortMultipartUpload`.
    Full,
}

/// Returns the keys of alice in account A, who may assume the role and nothing else.
pub fn alice() -> AccessKey {
    AccessKey::new("AKIADEMOALICE0000001", "demo-secret-of-alice-not-for-real-use-00")
}

/// Returns the keys of bob in account B, who may do everything there.
pub fn bob() -> AccessKey {
    AccessKey::new("AKIADEMOBOB000000002", "demo-secret-of-bob-not-for-real-use-0000")
}

/// Returns the role's ARN.
pub fn role_arn() -> String {
    ACCOUNT_A.role_arn(ROLE)
}

/// Returns both accounts with a few files in both buckets.
pub fn world(rights: Rights) -> World {
    let alice = User::new(ACCOUNT_A, "alice", alice()).policy(&may_assume());
    let bob = User::new(ACCOUNT_B, "bob", bob()).policy(&administrator());
    let role = Role::new(ACCOUNT_A, ROLE)
        .trust(&trust())
        .policy(&role_policy(rights))
        .session_max(Duration::from_secs(12 * 3600));
    let world =
        BUCKETS.iter().fold(World::new().with_user(alice).with_user(bob).with_role(role), |world, name| {
            let bucket = BucketSpec::new(*name, ACCOUNT_B).region(REGION);
            world.with_bucket(bucket.ownership(Ownership::BucketOwnerPreferred).policy(&bucket_policy(name)))
        });
    for (bucket, key, text) in SAMPLES {
        world.seed(bucket, key, text.as_bytes());
    }
    world
}

/// Returns alice's policy: she may assume the role.
pub fn may_assume() -> Value {
    json!({
        "Version": VERSION,
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role_arn()}],
    })
}

/// Returns the role's trust policy: alice and machines may assume it.
pub fn trust() -> Value {
    json!({
        "Version": VERSION,
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": ACCOUNT_A.user_arn("alice"), "Service": "ec2.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }],
    })
}

/// Returns the role's own policy.
pub fn role_policy(rights: Rights) -> Value {
    let objects = |name: &&str| format!("arn:aws:s3:::{name}/*");
    let buckets = BUCKETS.iter().map(|name| format!("arn:aws:s3:::{name}")).collect::<Vec<_>>();
    let objects = BUCKETS.iter().map(objects).collect::<Vec<_>>();
    let minimal = json!({
        "Sid": "ReadAndWriteFiles",
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject", "s3:PutObjectAcl"],
        "Resource": objects,
    });
    let list = json!({
        "Sid": "ListDirectories", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": buckets,
    });
    let remove = json!({
        "Sid": "RemoveFiles",
        "Effect": "Allow",
        "Action": ["s3:DeleteObject", "s3:AbortMultipartUpload"],
        "Resource": objects,
    });
    match rights {
        Rights::Minimal => json!({"Version": VERSION, "Statement": [minimal]}),
        Rights::Full => json!({"Version": VERSION, "Statement": [minimal, list, remove]}),
    }
}

/// Returns a bucket's policy: the role may do everything, as long as bob's account owns the result.
pub fn bucket_policy(bucket: &str) -> Value {
    json!({
        "Version": VERSION,
        "Statement": [
            {
                "Sid": "AdmitTheRole",
                "Effect": "Allow",
                "Principal": {"AWS": role_arn()},
                "Action": "s3:*",
                "Resource": [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")],
            },
            {
                "Sid": "DemandFullControl",
                "Effect": "Deny",
                "Principal": {"AWS": role_arn()},
                "Action": "s3:PutObject",
                "Resource": format!("arn:aws:s3:::{bucket}/*"),
                "Condition": {"StringNotEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
            },
        ],
    })
}

/// Returns the policy of an administrator.
pub fn administrator() -> Value {
    json!({"Version": VERSION, "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
}

const VERSION: &str = "2012-10-17";

const SAMPLES: &[(&str, &str, &str)] = &[
    (
        "SampleBucketA",
        "welcome.txt",
        "This file lies in SampleBucketA, which belongs to another account.\n\
         You see it because that account admits the role you have assumed.\n",
    ),
    ("SampleBucketA", "reports/2024/summary.csv", "month,visits\n2024-01,1200\n2024-02,1350\n2024-03,1610\n"),
    ("SampleBucketA", "reports/2025/summary.csv", "month,visits\n2025-01,1790\n2025-02,1840\n2025-03,2105\n"),
    ("SampleBucketA", "reports/readme.txt", "One folder for each year, one summary in each folder.\n"),
    ("SampleBucketB", "welcome.txt", "This file lies in SampleBucketB. Copy something here.\n"),
    ("SampleBucketB", "inbox/", ""),
    ("SampleBucketB", "notes/shopping list.txt", "coffee\nbread\napples\n"),
    ("SampleBucketB", "notes/poems/autumn.txt", "The leaves let go of what they cannot keep.\n"),
];
