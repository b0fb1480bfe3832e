//! The stage for the tests of the whole filesystem: two accounts, two buckets, and mounts of them.
//!
//! A [`World`] is the emulator, behind real sockets and the real SDK. A [`Mount`] is everything
//! that the daemon builds below the kernel, built as it does: alice assumes the role, two gateways,
//! a staging directory, a filesystem. What the kernel would do (walk a path, open, write in
//! pieces, flush, release) its methods do. The buckets are called `a` and `b` here, so
//! that `a/reports/readme.txt` is a path in a mount and an object in the world.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise on the stage is a failure of the test")]

pub(crate) mod real;

use std::fs;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::SharedCredentialsProvider;
use bytes::Bytes;
use s3xmount::budget::Budget;
use s3xmount::credentials::{self, BaseSource, Bounds, CodeSource, Credentials, RoleOptions, StsVariant};
use s3xmount::emulator::demo::{self, Rights};
use s3xmount::emulator::store::WriteCondition;
use s3xmount::emulator::{self, Object, RunningEmulator};
use s3xmount::error::{Error, Kind, Result};
use s3xmount::fs::{
    Access, AttributeChange, Attributes, Defaults, Extent, FileKind, Filesystem, Found, HandleId,
    OpenOptions, Parts, Position, Replace,
};
use s3xmount::name::{BucketName, DirPrefix, FileName};
use s3xmount::namespace::{self, AttributePolicy, Bucket, BucketId, Ino, Lifetimes, Listing, Namespace};
use s3xmount::read;
use s3xmount::s3::{self, Endpoint, Gateway, Server, Variant, WriteRules};
use s3xmount::task::Tasks;
use s3xmount::write::{self, Sessions};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Handle;

/// Both accounts and both buckets, running. It is the emulator's world, with paths for names.
pub(crate) struct World {
    emulator: RunningEmulator,
}

/// What a test may want otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// How long answers are believed, present or absent. Long, so that nothing expires by chance.
    pub(crate) lifetime: Duration,
    /// The budget of all buffers.
    pub(crate) memory_bytes: u64,
    /// How long a role session to ask for.
    pub(crate) duration: Duration,
    /// What time credentials are told it is.
    pub(crate) clock: credentials::Clock,
    /// Whether a denial of what worked makes a session suspect.
    pub(crate) suspect_denials: bool,
    /// What of the buckets is shown.
    pub(crate) prefix: &'static str,
    /// Whether changes are refused.
    pub(crate) read_only: bool,
    /// What the mount takes the emulator for.
    pub(crate) server: Server,
    /// Directories that are there whatever S3 says, in each bucket.
    pub(crate) directories: &'static [&'static str],
    /// What written objects carry, made from what they carry by default.
    pub(crate) rules: fn(WriteRules) -> WriteRules,
    /// What keeps on the disk what was read.
    pub(crate) cache: Option<Arc<read::BlockCache>>,
    /// How long changed attributes wait for others. Long, so that nothing is told S3 by chance.
    pub(crate) describe_after: Duration,
    /// Where they are written down, and moves too.
    pub(crate) journal: Option<std::path::PathBuf>,
    /// How files are committed, made from how they are by default.
    pub(crate) writing: fn(write::Options) -> write::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(3600),
            memory_bytes: 64 << 20,
            duration: Duration::from_secs(3600),
            clock: credentials::Clock::default(),
            suspect_denials: true,
            prefix: "",
            read_only: false,
            server: Server::Aws,
            directories: &[],
            rules: |rules| rules,
            cache: None,
            describe_after: Duration::from_secs(3600),
            journal: None,
            writing: |writing| writing,
        }
    }
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
const DIRECTORIES: [&str; 2] = ["a", "b"];

/// Whom new files belong to.
pub(crate) const OWNER: (u32, u32) = (1000, 100);

/// A filesystem over both buckets, without a kernel.
pub(crate) struct Mount {
    filesystem: Arc<Filesystem>,
    namespace: Arc<Namespace>,
    sessions: Arc<Sessions>,
    credentials: Arc<Credentials>,
    /// Outlives the sessions that stage in it.
    _staging: TempDir,
}

impl Mount {
    async fn new(world: &World, who: credentials::Options, options: &Options) -> Result<Self> {
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
        Ok(Self { filesystem, namespace, sessions, credentials, _staging: staging })
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

    // ---- names ----

    /// What `stat` shows of a path.
    pub(crate) async fn stat(&self, path: &str) -> Result<Attributes> {
        let mut at = self.filesystem.attributes(Ino::ROOT).await?.attributes;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = match self.filesystem.lookup(at.ino, &FileName::parse(name)?).await? {
                Found::Present(shown) => shown.attributes,
                Found::Absent(_) => return Err(Error::new(Kind::NotFound, format!("no {path}"))),
            };
        }
        Ok(at)
    }

    /// Whether there is something at a path.
    pub(crate) async fn exists(&self, path: &str) -> bool {
        match self.stat(path).await {
            Ok(_) => true,
            Err(error) if error.kind() == Kind::NotFound => false,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// The directory of a path, and the last name in it.
    pub(crate) async fn parent(&self, path: &str) -> Result<(Ino, FileName)> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.stat(directory).await?.ino, FileName::parse(name)?))
    }

    /// The names in a directory, those of directories with a slash, sorted.
    pub(crate) async fn list(&self, path: &str) -> Result<Vec<String>> {
        let ino = self.stat(path).await?.ino;
        let handle = self.filesystem.open_directory(ino)?;
        let (mut names, mut from) = (Vec::new(), 0);
        loop {
            let entries = self.filesystem.read_directory(handle, from).await;
            let entries = entries.inspect_err(|_| self.filesystem.close_directory(handle))?;
            let Some(last) = entries.last() else { break };
            from = last.next;
            names.extend(entries.into_iter().map(|entry| match entry.kind {
                FileKind::Directory => format!("{}/", entry.name),
                _ => entry.name,
            }));
        }
        self.filesystem.close_directory(handle);
        names.retain(|name| name != "./" && name != "../");
        names.sort();
        Ok(names)
    }

    /// `mkdir`.
    pub(crate) async fn make_directory(&self, path: &str) -> Result<()> {
        let (parent, name) = self.parent(path).await?;
        self.filesystem.make_directory(parent, &name, 0o755, OWNER).await.map(drop)
    }

    /// `rmdir`.
    pub(crate) async fn remove_directory(&self, path: &str) -> Result<()> {
        let (parent, name) = self.parent(path).await?;
        self.filesystem.remove_directory(parent, &name).await
    }

    /// `unlink`.
    pub(crate) async fn remove(&self, path: &str) -> Result<()> {
        let (parent, name) = self.parent(path).await?;
        self.filesystem.remove_file(parent, &name).await
    }

    /// `rename`.
    pub(crate) async fn rename(&self, from: &str, onto: &str) -> Result<()> {
        self.rename_as(from, onto, Replace::Allowed).await
    }

    /// `renameat2`.
    pub(crate) async fn rename_as(&self, from: &str, onto: &str, replace: Replace) -> Result<()> {
        let ((from, old), (onto, new)) = (self.parent(from).await?, self.parent(onto).await?);
        self.filesystem.rename((from, &old), (onto, &new), replace).await
    }

    /// `chmod`, `chown`, `touch`.
    pub(crate) async fn change(&self, path: &str, change: AttributeChange) -> Result<Attributes> {
        let ino = self.stat(path).await?.ino;
        Ok(self.filesystem.change_attributes(ino, change).await?.attributes)
    }

    /// `truncate`.
    pub(crate) async fn truncate(&self, path: &str, size: u64) -> Result<Attributes> {
        let ino = self.stat(path).await?.ino;
        Ok(self.filesystem.truncate(ino, size).await?.attributes)
    }

    // ---- whole files ----

    /// Writes a whole file, as `cp` and `>` do.
    pub(crate) async fn write_file(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let file = self.open(path, How::Overwrite).await?;
        // The descriptor is closed whatever a write came to, and the first error is what is shown.
        let written = file.write(0, bytes).await;
        let closed = file.close().await;
        written.and(closed)
    }

    /// Writes at the end of a file, as `>>` does.
    pub(crate) async fn append(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let file = self.open(path, How::Edit).await?;
        let size = self.stat(path).await?.size;
        let written = file.write(size, bytes).await;
        let closed = file.close().await;
        written.and(closed)
    }

    /// Reads a whole file.
    pub(crate) async fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        let file = self.open(path, How::Read).await?;
        let bytes = file.read_all().await;
        file.close().await?;
        bytes
    }

    // ---- open files ----

    /// Opens a file, making it where `how` says so.
    pub(crate) async fn open(&self, path: &str, how: How) -> Result<OpenFile<'_>> {
        let (parent, name) = self.parent(path).await?;
        let options = how.options();
        let found = self.filesystem.lookup(parent, &name).await?;
        let (ino, handle) = match found {
            Found::Present(_) if options.exclusive => {
                return Err(Error::new(Kind::Exists, format!("{path} exists")));
            }
            Found::Present(shown) => {
                let ino = shown.attributes.ino;
                (ino, self.filesystem.open(ino, options).await?.handle)
            }
            Found::Absent(_) if how == How::Read => {
                return Err(Error::new(Kind::NotFound, format!("no {path}")));
            }
            Found::Absent(_) => {
                let (shown, opened) = self.filesystem.create(parent, &name, 0o644, OWNER, options)?;
                (shown.attributes.ino, opened.handle)
            }
        };
        Ok(OpenFile { mount: self, ino, handle })
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

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// `O_RDONLY`
    Read,
    /// `O_RDWR | O_CREAT`
    Edit,
    /// `O_RDWR | O_CREAT | O_TRUNC`
    Overwrite,
    /// `O_RDWR | O_CREAT | O_EXCL`
    MakeNew,
}

impl How {
    fn options(self) -> OpenOptions {
        OpenOptions {
            access: Access { read: true, write: self != Self::Read },
            truncate: self == Self::Overwrite,
            exclusive: self == Self::MakeNew,
        }
    }
}

/// An open file.
#[must_use = "close it"]
pub(crate) struct OpenFile<'a> {
    mount: &'a Mount,
    /// Its inode.
    pub(crate) ino: Ino,
    /// Its handle.
    pub(crate) handle: HandleId,
}

impl OpenFile<'_> {
    /// `pread`.
    pub(crate) async fn read(&self, offset: u64, size: u32) -> Result<Vec<u8>> {
        let fs = &self.mount.filesystem;
        let read = match fs.try_read(self.handle, offset, size) {
            Some(read) => read?,
            None => fs.read(self.handle, offset, size).await?,
        };
        Ok(read.into_bytes().to_vec())
    }

    /// Reads from the beginning until there is no more.
    pub(crate) async fn read_all(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let piece = self.read(bytes.len() as u64, PIECE_BYTES as u32).await?;
            if piece.is_empty() {
                return Ok(bytes);
            }
            bytes.extend(piece);
        }
    }

    /// `pwrite`, in the pieces that the kernel makes.
    pub(crate) async fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        for (at, piece) in (0..).map(|piece| piece * PIECE_BYTES as u64).zip(bytes.chunks(PIECE_BYTES)) {
            self.mount.filesystem.write(self.handle, offset + at, piece).await?;
        }
        Ok(())
    }

    /// `copy_file_range`, from an offset of this file to the same one of another.
    pub(crate) async fn copy_to(&self, target: &Self, offset: u64, extent: Extent) -> Result<u64> {
        let at = |file: &Self| Position { handle: file.handle, offset };
        self.mount.filesystem.copy_range(at(self), at(target), extent).await
    }

    /// What the kernel does when one of several descriptors is closed.
    pub(crate) async fn flush(&self) -> Result<()> {
        self.mount.filesystem.flush(self.handle).await
    }

    /// `fsync`.
    pub(crate) async fn sync(&self) -> Result<()> {
        self.mount.filesystem.sync(self.handle).await
    }

    /// `ftruncate`.
    pub(crate) async fn truncate(&self, size: u64) -> Result<()> {
        self.mount.filesystem.truncate(self.ino, size).await.map(drop)
    }

    /// `fchmod`, `futimens`.
    pub(crate) async fn change(&self, change: AttributeChange) -> Result<()> {
        self.mount.filesystem.change_attributes(self.ino, change).await.map(drop)
    }

    /// `fstat`.
    pub(crate) async fn stat(&self) -> Result<Attributes> {
        Ok(self.mount.filesystem.attributes(self.ino).await?.attributes)
    }

    /// `close`, as far as the application waits for it. What is returned is the release, which the
    /// kernel sends some time later, while the application goes on.
    pub(crate) async fn close_early(self) -> Result<impl Future<Output = Result<()>> + Send + 'static> {
        self.flush().await?;
        let (filesystem, handle) = (Arc::clone(&self.mount.filesystem), self.handle);
        Ok(async move { filesystem.release(handle).await })
    }

    /// `close`: what it returns is what the flush came to, as with the kernel; the release follows.
    pub(crate) async fn close(self) -> Result<()> {
        let flushed = self.flush().await;
        let released = self.mount.filesystem.release(self.handle).await;
        flushed.and(released)
    }
}

/// The kind of failure that an operation came to.
pub(crate) fn failure<T>(result: Result<T>) -> Kind {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.kind(),
    }
}

/// Bytes that differ everywhere, and between fills.
pub(crate) fn pattern(fill: u8, length: usize) -> Vec<u8> {
    let block: Vec<u8> = (0..251).map(|i| i ^ fill).collect();
    let mut bytes = block.repeat(length / block.len() + 1);
    bytes.truncate(length);
    bytes
}

/// Asks again and again until the answer is yes; a minute of no is a failure.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) const MIB: usize = 1 << 20;

/// What the kernel hands over at once, at most.
const PIECE_BYTES: usize = MIB;
