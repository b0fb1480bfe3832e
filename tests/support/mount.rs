//! A mount without a kernel: everything that the daemon builds below it, built as it does.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::SystemTime;

use s3xmount::budget::Budget;
use s3xmount::credentials::{self, Credentials};
use s3xmount::emulator::demo;
use s3xmount::error::Result;
use s3xmount::fs::{Defaults, Filesystem, Parts};
use s3xmount::name::{BucketName, DirPrefix, FileName};
use s3xmount::namespace::{self, AttributePolicy, Bucket, BucketId, Lifetimes, Listing, Namespace};
use s3xmount::read;
use s3xmount::s3::{self, Endpoint, Gateway, Variant, WriteRules};
use s3xmount::task::Tasks;
use s3xmount::write::{self, Sessions};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::world::DIRECTORIES;
use super::{OWNER, Options, World};

/// A filesystem over both buckets, without a kernel.
pub(crate) struct Mount {
    pub(super) filesystem: Arc<Filesystem>,
    namespace: Arc<Namespace>,
    sessions: Arc<Sessions>,
    credentials: Arc<Credentials>,
    /// Outlives the sessions that stage in it.
    staging: TempDir,
}

impl Mount {
    pub(super) async fn new(world: &World, who: credentials::Options, options: &Options) -> Result<Self> {
        let tasks = Tasks::new(Handle::current());
        let connections = who.http_client.clone();
        let credentials = Credentials::start(who, &tasks).await?;
        let endpoint = Endpoint {
            credentials: credentials.provider(),
            owner: Arc::clone(&credentials) as _,
            http: connections,
            url: Some(world.url()),
            server: options.server,
            force_path_style: true,
            variant: Variant::default(),
        };
        let mut buckets = Vec::new();
        for (directory, name) in DIRECTORIES.iter().zip(demo::BUCKETS) {
            let gateway = s3::Options {
                bucket: BucketName::parse(name).unwrap(),
                region: None,
                region_hint: None,
                rules: (options.rules)(
                    WriteRules::default()
                        .acl(Some("bucket-owner-full-control"))
                        .expected_bucket_owner(Some(demo::ACCOUNT_B.to_string())),
                ),
            };
            buckets.push(Bucket {
                directory: FileName::parse(directory).unwrap(),
                gateway: Gateway::connect(&endpoint, gateway).await.unwrap(),
                root: DirPrefix::parse(options.prefix).unwrap(),
                read_only: options.read_only,
                directories: options.directories.iter().map(|at| DirPrefix::parse(at).unwrap()).collect(),
            });
        }
        let staging = tempfile::tempdir().unwrap();
        let budget = Budget::new(options.memory_bytes);
        let writing = (options.writing)(write::Options::new(staging.path().to_owned()));
        let sessions = Sessions::open(writing, budget.clone(), tasks.clone()).unwrap();
        let naming = namespace::Options {
            lifetimes: Lifetimes { present: options.lifetime, absent: options.lifetime },
            attributes: AttributePolicy::Auto,
            describe_after: options.describe_after,
            journal: options.journal.clone(),
        };
        let (uid, gid) = OWNER;
        let mounted = SystemTime::UNIX_EPOCH;
        let namespace = Namespace::new(buckets, &naming, tasks.clone());
        // Nothing in the staging directory of a fresh mount has to be finished before.
        namespace.resume_descriptions(|_, _| false).await;
        let filesystem = Filesystem::new(Parts {
            namespace: Arc::clone(&namespace),
            sessions: Arc::clone(&sessions),
            reading: read::Options::default(),
            cache: options.cache.clone(),
            defaults: Defaults { uid, gid, file_mode: 0o644, dir_mode: 0o755, mounted },
            budget,
            tasks,
        });
        Ok(Self { filesystem, namespace, sessions, credentials, staging })
    }

    /// What it signs with.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The names it is made of.
    pub(crate) fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// What can be listed of bucket `a`.
    pub(crate) fn listing(&self) -> Listing {
        self.namespace.rights_known(BucketId(0)).listing
    }

    /// The filesystem itself, for what the methods here do not say.
    pub(crate) fn filesystem(&self) -> &Arc<Filesystem> {
        &self.filesystem
    }

    /// Room that staged bytes take on the disk.
    pub(crate) fn staged_bytes(&self) -> u64 {
        let entries = fs::read_dir(self.staging.path()).unwrap();
        entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.blocks() * 512)).sum()
    }

    /// What was closed and is not in S3 yet.
    pub(crate) fn background(&self) -> write::BackgroundReport {
        self.sessions.background()
    }

    /// The contents of the files that could not be committed and were kept.
    pub(crate) fn set_aside(&self) -> Vec<Vec<u8>> {
        self.sessions.set_aside().unwrap().iter().map(|file| fs::read(&file.path).unwrap()).collect()
    }
}
