//! The emulator's world, with paths for names.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::SharedCredentialsProvider;
use bytes::Bytes;
use s3xmount::credentials::{self, BaseSource, Bounds, CodeSource, RoleOptions, StsVariant};
use s3xmount::emulator::demo::{self, Rights};
use s3xmount::emulator::store::WriteCondition;
use s3xmount::emulator::{self, Object, RunningEmulator};
use s3xmount::error::Result;
use s3xmount::s3;
use serde_json::json;

use super::{Mount, Options};

/// Both accounts and both buckets, running. It is the emulator's world, with paths for names.
pub(crate) struct World {
    emulator: RunningEmulator,
}

impl World {
    /// Everything is allowed that the README recommends, and the sample files are there.
    pub(crate) fn new() -> Self {
        Self::with(Rights::Full)
    }

    /// The role may do so much.
    pub(crate) fn with(rights: Rights) -> Self {
        Self::of(demo::world(rights))
    }

    /// A world that was changed before it starts.
    pub(crate) fn of(world: emulator::World) -> Self {
        Self { emulator: RunningEmulator::start(world).unwrap() }
    }

    /// From now on the role may do so much with objects, and list what these patterns of prefixes match; `""` is the
    /// whole bucket by its exact name, `"*"` everything.
    pub(crate) fn role_may(&self, on_objects: &[&str], listed: &[&str]) {
        let buckets = demo::BUCKETS.map(|name| format!("arn:aws:s3:::{name}"));
        let objects = buckets.clone().map(|arn| format!("{arn}/*"));
        let mut statements = vec![json!({"Effect": "Allow", "Action": on_objects, "Resource": objects})];
        if !listed.is_empty() {
            statements.push(json!({
                "Effect": "Allow", "Action": "s3:ListBucket", "Resource": buckets,
                "Condition": {"StringLike": {"s3:prefix": listed}},
            }));
        }
        let policy = json!({"Version": "2012-10-17", "Statement": statements});
        self.directory.set_role_policies(demo::ACCOUNT_A, demo::ROLE, &[policy]);
    }

    /// The emulator it runs in.
    pub(crate) fn running(&self) -> &RunningEmulator {
        &self.emulator
    }

    /// A mount as people have it by default, but for lifetimes.
    pub(crate) async fn mount(&self) -> Mount {
        self.mount_with(Options::default()).await
    }

    /// A mount with other options.
    pub(crate) async fn mount_with(&self, options: Options) -> Mount {
        self.mount_as(self.alice(&options), options).await.unwrap()
    }

    /// A mount by somebody else, or by alice in another way.
    pub(crate) async fn mount_as(&self, who: credentials::Options, options: Options) -> Result<Mount> {
        Mount::new(self, who, &options).await
    }

    /// Alice, who assumes the role.
    pub(crate) fn alice(&self, options: &Options) -> credentials::Options {
        let alice = demo::alice();
        let keys = Keys::new(alice.id, alice.secret, None, None, "test");
        let role = RoleOptions { duration: options.duration, ..RoleOptions::new(demo::role_arn(), "test") };
        credentials::Options {
            base: BaseSource::Given(SharedCredentialsProvider::new(keys)),
            region: Some(demo::REGION.to_owned()),
            sts_endpoint_url: Some(self.url()),
            sts_variant: StsVariant::default(),
            roles: vec![role],
            bounds: Bounds::default(),
            codes: CodeSource::default(),
            session_name: "test".to_owned(),
            http_client: Some(s3::connections()),
            wait: false,
            tell: None,
            suspect_denials: options.suspect_denials,
            wait_max: Duration::from_secs(30),
            clock: options.clock.clone(),
        }
    }

    /// Somebody else puts an object into a bucket.
    pub(crate) fn put(&self, path: &str, bytes: impl Into<Bytes>) {
        let (bucket, key) = split(path);
        self.seed(bucket, key, bytes);
    }

    /// Somebody else deletes an object.
    pub(crate) fn delete(&self, path: &str) {
        let (bucket, key) = split(path);
        self.bucket(bucket).delete(key, &WriteCondition::None).unwrap();
    }

    /// An object as it is stored, whoever may see it.
    pub(crate) fn object_at(&self, path: &str) -> Option<Arc<Object>> {
        let (bucket, key) = split(path);
        self.object(bucket, key)
    }

    /// The bytes of an object; `None` where there is none.
    pub(crate) fn stored(&self, path: &str) -> Option<Vec<u8>> {
        Some(self.object_at(path)?.content.to_bytes().to_vec())
    }

    /// All keys below a path, as paths.
    pub(crate) fn keys_below(&self, path: &str) -> Vec<String> {
        let (bucket, prefix) = split(path);
        let top = &path[..path.len() - prefix.len()];
        let keys = self.bucket(bucket).keys().into_iter().filter(|key| key.starts_with(prefix));
        keys.map(|key| format!("{top}{key}")).collect()
    }

    /// How many requests of an operation have arrived since [`forget_requests`](Self::forget_requests).
    pub(crate) fn count(&self, operation: &str) -> u64 {
        self.faults.count(operation)
    }

    /// How many requests of any kind have arrived since then.
    pub(crate) fn requests(&self) -> u64 {
        self.faults.counts().values().sum()
    }

    /// Starts counting requests anew.
    pub(crate) fn forget_requests(&self) {
        self.faults.reset_counts();
    }

    /// The endpoint of S3 and STS.
    pub(crate) fn url(&self) -> String {
        self.emulator.endpoint_url()
    }
}

impl Deref for World {
    type Target = emulator::World;

    fn deref(&self) -> &Self::Target {
        self.emulator.world()
    }
}

/// `a/x/y` is the key `x/y` of the first bucket.
fn split(path: &str) -> (&'static str, &str) {
    let (top, key) = path.split_once('/').unwrap_or((path, ""));
    let at = DIRECTORIES.iter().position(|directory| *directory == top).unwrap();
    (demo::BUCKETS[at], key)
}

/// The three actions of the usual policy.
pub(crate) const THREE: &[&str] = &["s3:GetObject", "s3:PutObject", "s3:PutObjectAcl"];

/// What the two buckets are called below the mount point.
pub(super) const DIRECTORIES: [&str; 2] = ["a", "b"];
