//! The stage: a bucket, a staging directory, and what a writer does with a session.

use super::*;

pub(super) const MIB: usize = 1 << 20;
pub(super) const PART: usize = 5 * MIB;
pub(super) const ACCOUNT: AccountId = AccountId::new(111_122_223_333);

/// A bucket, a way to it, and a staging directory.
pub(super) struct World {
    pub(super) emulator: RunningEmulator,
    pub(super) gateway: Arc<Gateway>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) staging: TempDir,
}

/// Keys that nobody can renew.
pub(super) struct NobodysKeys;

impl s3::CredentialsOwner for NobodysKeys {
    fn refused(&self, _: &str) {}

    fn denied(&self, _: &str) -> bool {
        false
    }

    fn confirmed(&self) {}
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}, 256).await
    }

    pub(super) async fn with(adjust: impl FnOnce(&mut Options), budget_mib: u64) -> Self {
        let emulator = RunningEmulator::start(behind_the_gateway()).unwrap();
        let gateway = gateway(emulator.endpoint_url(), None).await;
        let staging = tempfile::tempdir().unwrap();
        let mut options = options_in(staging.path());
        adjust(&mut options);
        let sessions = sessions(options, budget_mib);
        Self { emulator, gateway, sessions, staging }
    }

    pub(super) fn begin(&self, key: &str, base: Base) -> Arc<Session> {
        self.sessions.begin(self.target(key), base)
    }

    pub(super) fn target(&self, key: &str) -> Target {
        let user = UserMetadata::from([("mode".to_owned(), "33188".to_owned())]);
        let object = NewObject { user, content_type: Some("text/plain".into()), ..NewObject::default() };
        Target { gateway: Arc::clone(&self.gateway), key: ObjectKey::parse(key).unwrap(), object }
    }

    pub(super) async fn existing(&self, key: &str, bytes: &[u8]) -> Base {
        self.emulator.world().seed("bucket", key, bytes.to_vec());
        Base::Existing(self.gateway.head(&ObjectKey::parse(key).unwrap()).await.unwrap())
    }

    pub(super) fn object(&self, key: &str) -> Option<Vec<u8>> {
        let object = self.emulator.world().object("bucket", key)?;
        Some(object.content.to_bytes().to_vec())
    }

    pub(super) fn metadata(&self, key: &str, name: &str) -> Option<String> {
        let object = self.emulator.world().object("bucket", key)?;
        object.attributes.metadata.get(name).cloned()
    }

    pub(super) fn count(&self, operation: &str) -> u64 {
        self.emulator.world().faults.count(operation)
    }

    pub(super) fn inject(&self, fault: emulator::Fault) {
        self.emulator.world().faults.inject(fault);
    }

    /// The files in the staging directory that belong to sessions.
    pub(super) fn staged(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.staging.path()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some()).collect()
    }

    pub(super) fn unfinished_uploads(&self) -> usize {
        self.emulator.world().uploads("bucket").len()
    }

    /// The process as it is at this moment dies, and another one mounts.
    pub(super) async fn after_a_crash(
        &self,
        adjust: impl Fn(&Path),
    ) -> (Arc<Sessions>, Vec<Recovered>, TempDir) {
        let directory = loop {
            let directory = tempfile::tempdir().unwrap();
            let copy = |path: PathBuf| fs::copy(&path, directory.path().join(path.file_name().unwrap()));
            // The process goes on in truth. Where it has just replaced a record, this was no one moment.
            match self.staged().into_iter().try_for_each(|path| copy(path).map(drop)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                copied => {
                    copied.unwrap();
                    break directory;
                }
            }
        };
        adjust(directory.path());
        let sessions = sessions(options_in(directory.path()), 256);
        let gateway = Arc::clone(&self.gateway);
        let recovered =
            sessions.recover(move |bucket| (bucket == "bucket").then(|| Arc::clone(&gateway))).await;
        (sessions, recovered, directory)
    }
}

/// One bucket, and somebody who may do anything with it.
pub(super) fn behind_the_gateway() -> emulator::World {
    let admin = json!({"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}});
    let user = User::new(ACCOUNT, "writer", AccessKey::new("AKIAWRITER", "secret")).policy(&admin);
    emulator::World::new().with_user(user).with_bucket(BucketSpec::new("bucket", ACCOUNT))
}

/// A way to the bucket; without a client of its own through a socket.
pub(super) async fn gateway(url: String, http: Option<SharedHttpClient>) -> Arc<Gateway> {
    let credentials = Credentials::new("AKIAWRITER", "secret", None, None, "test");
    let endpoint = Endpoint {
        credentials: SharedCredentialsProvider::new(credentials),
        owner: Arc::new(NobodysKeys),
        http,
        url: Some(url),
        server: s3::Server::Aws,
        force_path_style: true,
        variant: s3::Variant::default(),
    };
    let options = s3::Options {
        bucket: BucketName::parse("bucket").unwrap(),
        region: Some("us-east-1".into()),
        region_hint: None,
        rules: WriteRules::default(),
    };
    Gateway::connect(&endpoint, options).await.unwrap()
}

pub(super) fn options_in(staging: &Path) -> Options {
    Options { part_sizes: PartSizes::of(PART as u64), parts_in_flight: 4, ..Options::new(staging.to_owned()) }
}

pub(super) fn sessions(options: Options, budget_mib: u64) -> Arc<Sessions> {
    Sessions::open(options, Budget::new(budget_mib << 20), Tasks::new(Handle::current())).unwrap()
}

/// Bytes that differ everywhere, and between fills.
pub(super) fn pattern(fill: u8, length: usize) -> Vec<u8> {
    let block: Vec<u8> = (0..251).map(|i| i ^ fill).collect();
    let mut bytes = block.repeat(length / block.len() + 1);
    bytes.truncate(length);
    bytes
}

pub(super) async fn write(session: &Arc<Session>, offset: usize, bytes: &[u8]) {
    for (i, piece) in bytes.chunks(MIB).enumerate() {
        session.write((offset + i * MIB) as u64, piece).await.unwrap();
    }
}

/// Room on the disk that the staging files take, in bytes.
pub(super) fn stored(world: &World) -> u64 {
    use std::os::unix::fs::MetadataExt;
    world.staged().iter().map(|path| fs::metadata(path).unwrap().blocks() * 512).sum()
}

pub(super) async fn read(session: &Arc<Session>, offset: usize, size: usize) -> Vec<u8> {
    session.read(offset as u64, size as u64).await.unwrap().concat()
}

/// Gives a file another name that S3 has not seen yet.
pub(super) async fn rename(
    world: &World,
    session: &Arc<Session>,
    key: &str,
    replaced: Option<ETag>,
) -> Result<()> {
    let (gateway, key) = (Arc::clone(&world.gateway), ObjectKey::parse(key).unwrap());
    session.at_rest().await.rename_target(gateway, key, Precondition::Whatever, replaced).await
}

/// Closes one descriptor of a file that has something to commit.
pub(super) async fn commit_something(session: &Arc<Session>) {
    assert!(flush(session).await.unwrap().is_some());
}

pub(super) async fn flush(session: &Arc<Session>) -> Result<Option<CommitReceipt>> {
    session.commit(Occasion::Flush).await
}

pub(super) async fn session_append(session: &Arc<Session>, bytes: &[u8]) {
    for piece in bytes.chunks(MIB) {
        session.append(piece).1.await.unwrap();
    }
}

pub(super) fn flush_owned(
    session: &Arc<Session>,
) -> impl Future<Output = Result<Option<CommitReceipt>>> + Send + 'static + use<> {
    let session = Arc::clone(session);
    async move { session.commit(Occasion::Flush).await }
}

pub(super) fn is_pending<F: Future + ?Sized>(future: std::pin::Pin<&mut F>) -> bool {
    matches!(future.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

/// Runs a future beside the test, as another thread of an application would.
pub(super) fn started<F: Future<Output: Send + 'static> + Send + 'static>(
    future: F,
) -> impl Future<Output = F::Output> {
    let task = Tasks::new(Handle::current()).spawn("test", future);
    async move { task.await.unwrap() }
}
