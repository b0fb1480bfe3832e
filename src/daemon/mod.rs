//! A mount's life: everything is built in order, and taken down in reverse.
//!
//! ```text
//! role session ─► gateways ─► staging directory ─► filesystem ─► mount ─► ready
//!      ▲                                                                    │ signal or umount
//! stopped last ◄─ commits end ◄─ unfinished files are set aside ◄─ unmounted ◄┘
//! ```
//!
//! Credentials go last, because commits that end during shutdown may need fresh ones.
//!
//! No step of the way back lasts for ever, whatever S3 does, and a person in a hurry need not wait for any: each signal
//! after the first ends the step that is under way.

mod code;
mod desk;
pub(crate) mod identities;
mod memory;
mod missing;
pub(crate) mod rescue;
mod silence;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::desk::FrontDesk;
use self::identities::Identities;
use crate::budget::Budget;
use crate::clock;
use crate::config::{
    AttributeSource, BucketSettings, CacheSettings, CommitMode, ExclusiveCreate, Failure, Identity,
    OnConflict, Settings,
};
use crate::control;
use crate::credentials::{AskCode, Credentials, Tell};
use crate::error::{Error, Kind};
use crate::fs::{Defaults, Filesystem, Parts};
use crate::fuse::{self, Mount, Unmounted};
use crate::namespace::{self, AttributePolicy, Bucket, Lifetimes, Namespace};
use crate::read::{self, BlockCache, CacheOptions};
use crate::s3::{
    self, CredentialsOwner, CustomerKey, Endpoint, Gateway, S3ErrorKind, Server, Variant, WriteRules,
};
use crate::task::Tasks;
use crate::write::{self, Outcome, Recovered, Sessions};

/// Mounts as `settings` say, calls `ready` when the mount answers, and returns when it has ended.
///
/// It listens for its owner at `place`. SIGINT, SIGTERM and an unmount from outside end it.
///
/// # Errors
/// Why it could not be mounted, or how it broke down.
pub fn run(
    settings: Settings,
    people: People,
    place: control::Place,
    ready: impl FnOnce() + Send + 'static,
) -> Result<(), Failure> {
    memory::bound();
    let runtime =
        Builder::new_multi_thread().enable_all().thread_name("s3xmount").build().map_err(|error| {
            Failure::new(format!("the threads of the runtime could not be started: {error}"))
        })?;
    let outcome = runtime.block_on(mounted(settings, people, place, ready));
    // Whatever is still running has had its time; a file somebody holds open must not keep us.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// The people at the prompt, for as long as there are any.
#[derive(Clone, Default)]
pub struct People {
    /// How to ask for the code of an MFA device.
    pub ask: Option<AskCode>,
    /// How to tell them what is being waited for.
    pub tell: Option<Tell>,
}

async fn mounted(
    settings: Settings,
    people: People,
    place: control::Place,
    ready: impl FnOnce(),
) -> Result<(), Failure> {
    // Before anything is begun, so that an early Ctrl-C meets a handler.
    let mut signals = Signals::new().map_err(|error| Failure::new(format!("signals: {error}")))?;
    drop(tokio::task::spawn_blocking(code::read_ahead));
    let [refreshing, tasks, listening] = [(); 3].map(|()| Tasks::new(Handle::current()));
    let building = build(&settings, &people, &refreshing, &tasks);
    let Built { filesystem, namespace, sessions, identities, cache } = tokio::select! {
        built = building => built?,
        name = signals.next() => return Err(Failure::new(format!("ended by {name} before it was mounted"))),
    };
    let mut mount = mount(&settings, &filesystem)?;
    tracing::info!(mount_point = %settings.mount_point.display(), "mounted");
    let identities = Arc::new(identities);
    namespace.notify_missing(missing::logging(&settings, &identities));
    let looking = Arc::clone(&namespace);
    drop(tasks.spawn_until_stopped("look around", async move { looking.look_around().await }));
    drop(tasks.spawn_until_stopped("watch for silence", silence::watch(Arc::clone(&namespace))));
    let since = clock::now();
    let desk = FrontDesk { settings, identities, namespace, sessions: Arc::clone(&sessions), since, cache };
    listen(place, desk, &listening);
    ready();
    let ended = tokio::select! {
        ended = mount.ended() => ended,
        name = signals.next() => {
            tracing::info!(signal = name, "unmounting");
            match mount.unmount() {
                Ok(Unmounted::Detached) => {
                    finish_open_files(&mut mount, &mut signals).await;
                    Ok(())
                }
                outcome => outcome.map(drop),
            }
        }
    };
    // First, so that the next mount at this place finds it free.
    listening.stop(Duration::from_secs(1)).await;
    finish(&filesystem, &sessions, &mut signals).await;
    take_down(&tasks, &refreshing, &mut signals).await;
    ended.map_err(|error| Failure::new(format!("the mount ended badly: {error}")))?;
    tracing::info!("unmounted");
    Ok(())
}

/// Serves those who still have files open, for a while or until the next signal.
async fn finish_open_files(mount: &mut Mount, signals: &mut Signals) {
    let seconds = OPEN_FILES_PATIENCE.as_secs();
    tracing::warn!(
        seconds,
        "files are still open in the mount; they are served that long, or until the next signal"
    );
    tokio::select! {
        _ = mount.ended() => tracing::info!("the last of them was closed"),
        name = signals.next() => tracing::warn!(signal = name, "ended before they were closed"),
        () = tokio::time::sleep(OPEN_FILES_PATIENCE) => tracing::warn!("they were not closed in time"),
    }
}

/// Opens the front desk. A mount without one works, so why there is none is only logged.
fn listen(place: control::Place, desk: FrontDesk, listening: &Tasks) {
    match control::Server::bind(place) {
        Ok(server) => {
            let serving = server.serve(Arc::new(desk), listening.clone());
            drop(listening.spawn_until_stopped("desk", serving));
        }
        Err(error) => {
            tracing::warn!(%error, "nobody can ask this mount how it is, for its socket cannot be opened");
        }
    }
}

/// Makes a role session that serves no mount. With the `settings` of one it is narrowed as that
/// mount's would be.
///
/// # Errors
/// Why there is none.
pub fn new_session(
    identity: &Identity,
    settings: Option<&Settings>,
    people: &People,
) -> Result<control::Session, Failure> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("the runtime could not be started: {error}")))?;
    runtime.block_on(async {
        let tasks = Tasks::new(Handle::current());
        let bounds = match settings {
            Some(settings) => identities::bounds(identity, settings),
            None => identities::bounds_of_no_mount(identity),
        };
        let options = identities::options(identity, bounds, people, s3::connections());
        let credentials = Credentials::start(options, &tasks).await?;
        let keys = credentials.keys().await?;
        let region = identity.region.clone().or_else(|| credentials.region());
        tasks.stop(Duration::from_secs(1)).await;
        Ok(desk::session(&credentials, &keys, region))
    })
}

/// Brings to S3 what it shall have, and sets aside the rest. Each step has an end of its own, and ends at the next
/// signal at the latest: what it did not come to is on the disk, and the next mount finds it there.
async fn finish(filesystem: &Filesystem, sessions: &Sessions, signals: &mut Signals) {
    tokio::select! {
        () = filesystem.deliver_all() => {}
        name = signals.next() => {
            tracing::warn!(signal = name, "ended before all that was closed is in S3; the next mount goes on with it");
            sessions.leave_background();
        }
    }
    tokio::select! {
        () = filesystem.settle() => {}
        name = signals.next() => tracing::warn!(signal = name, "ended before all commits were"),
        () = tokio::time::sleep(COMMIT_PATIENCE) => tracing::error!("commits do not come to an end"),
    }
}

async fn take_down(tasks: &Tasks, refreshing: &Tasks, signals: &mut Signals) {
    let left = tokio::select! {
        left = tasks.stop(COMMIT_PATIENCE) => left,
        name = signals.next() => {
            tracing::warn!(signal = name, "ended before all operations were");
            tasks.stop(Duration::ZERO).await
        }
    };
    if left > 0 {
        tracing::error!(left, "operations were still under way; what they staged is found at the next mount");
    }
    refreshing.stop(Duration::from_secs(1)).await;
}

/// Builds everything below the mount.
async fn build(
    settings: &Settings,
    people: &People,
    refreshing: &Tasks,
    tasks: &Tasks,
) -> Result<Built, Failure> {
    let connections = s3::connections();
    let identities = Identities::obtain(settings, people, &connections, refreshing).await?;
    let mut buckets = Vec::new();
    for bucket in &settings.buckets {
        buckets.push(connect(settings, bucket, identities.of(bucket), &connections).await?);
    }
    let budget = Budget::new(settings.memory_bytes);
    drop(tasks.spawn_until_stopped("give memory back", memory::give_back(budget.clone())));
    let sessions = own_staging(write_options(settings), &budget, tasks).await?;
    let namespace = Namespace::new(buckets, &namespace_options(settings), tasks.clone());
    recover(&sessions, &namespace, tasks);
    let cache = open_cache(settings)?;
    let filesystem = Filesystem::new(Parts {
        namespace: Arc::clone(&namespace),
        sessions: Arc::clone(&sessions),
        reading: read::Options::default(),
        cache: cache.clone(),
        defaults: defaults(settings),
        budget,
        tasks: tasks.clone(),
    });
    Ok(Built { filesystem, namespace, sessions, identities, cache })
}

/// What stands below a mount, and what its front desk knows.
struct Built {
    filesystem: Arc<Filesystem>,
    namespace: Arc<Namespace>,
    sessions: Arc<Sessions>,
    identities: Identities,
    cache: Option<Arc<BlockCache>>,
}

/// Opens the block cache, if there is to be one.
fn open_cache(settings: &Settings) -> Result<Option<Arc<BlockCache>>, Failure> {
    let Some(CacheSettings { directory, bytes_max }) = settings.cache.clone() else { return Ok(None) };
    let shown = directory.display().to_string();
    // Buckets of the same name on another server are others.
    let origin = settings.endpoint_url.clone().unwrap_or_else(|| "aws".to_owned());
    let opened = BlockCache::open(CacheOptions { directory, bytes_max, origin });
    opened
        .map(Some)
        .map_err(|error| Failure::from(error.context(format!("the cache in {shown} cannot be opened"))))
}

async fn connect(
    settings: &Settings,
    bucket: &BucketSettings,
    credentials: &Arc<Credentials>,
    connections: &SharedHttpClient,
) -> Result<Bucket, Failure> {
    let owner = Arc::clone(credentials) as Arc<dyn CredentialsOwner>;
    let endpoint = endpoint(settings, bucket, credentials.provider(), owner, connections);
    let mut options = gateway_options(settings, bucket, credentials.region());
    if options.region.is_none() && !credentials.are_there() {
        options.region = Some(Gateway::region_unsigned(&endpoint, &options).await);
    }
    let gateway = Gateway::connect(&endpoint, options).await.map_err(|error| {
        let kind = error.kind();
        let failure = Failure::from(Error::from(error));
        match kind {
            S3ErrorKind::NoBucket => failure.hint("check the spelling; names are case-sensitive"),
            S3ErrorKind::NotTheOwner => {
                failure.hint("check --expected-bucket-owner, and that it is the bucket you mean")
            }
            S3ErrorKind::Unavailable => failure.hint("check --endpoint-url, --region and the network"),
            _ => failure,
        }
    })?;
    tracing::info!(bucket = %bucket.name, region = gateway.region(), "found");
    Ok(Bucket {
        directory: bucket.directory.clone(),
        gateway,
        root: bucket.prefix.clone(),
        read_only: bucket.read_only || settings.read_only,
        directories: bucket.directories.clone(),
    })
}

/// How a bucket is reached, by whoever has these credentials.
pub(crate) fn endpoint(
    settings: &Settings,
    bucket: &BucketSettings,
    credentials: SharedCredentialsProvider,
    owner: Arc<dyn CredentialsOwner>,
    connections: &SharedHttpClient,
) -> Endpoint {
    let Settings { dualstack, fips, .. } = *settings;
    Endpoint {
        credentials,
        owner,
        http: Some(connections.clone()),
        url: settings.endpoint_url.clone(),
        server: Server::at(settings.endpoint_url.as_deref()),
        force_path_style: settings.force_path_style,
        variant: Variant { dualstack, fips, accelerate: bucket.accelerate },
    }
}

/// How requests in a bucket are made.
pub(crate) fn gateway_options(
    settings: &Settings,
    bucket: &BucketSettings,
    region: Option<String>,
) -> s3::Options {
    let rules = WriteRules::default()
        .acl(bucket.acl.header())
        .expected_bucket_owner(bucket.expected_bucket_owner.clone())
        .storage_class(bucket.storage_class.as_deref())
        .encryption(bucket.sse.map(|sse| sse.as_str()), bucket.sse_kms_key_id.clone())
        .customer_key(bucket.sse_customer_key.as_ref().and_then(CustomerKey::from_base64))
        .requester_pays(bucket.requester_pays);
    let region_hint = settings.region.clone().or(region);
    s3::Options { bucket: bucket.name.clone(), region: bucket.region.clone(), region_hint, rules }
}

/// Takes possession of the staging directory. umount(8) returns while the mount before us is still
/// ending its commits, so one that is in use is waited for a while.
async fn own_staging(
    options: write::Options,
    budget: &Budget,
    tasks: &Tasks,
) -> Result<Arc<Sessions>, Error> {
    let patience = tokio::time::sleep(PREDECESSOR_PATIENCE);
    tokio::pin!(patience);
    let mut again = tokio::time::interval(Duration::from_millis(50));
    loop {
        match Sessions::open(options.clone(), budget.clone(), tasks.clone()) {
            Err(error) if error.kind() == Kind::Busy && !patience.is_elapsed() => {}
            outcome => return outcome,
        }
        tokio::select! {
            _ = again.tick() => {}
            () = &mut patience => {}
        }
    }
}

/// Deals with what an earlier process left behind, while the mount is in use already: every
/// commit is conditional, so nothing written meanwhile is replaced.
///
/// What was to be said of objects comes after the commits: those may make the version that is meant, or demand the
/// one that is there.
fn recover(sessions: &Arc<Sessions>, namespace: &Arc<Namespace>, tasks: &Tasks) {
    let (sessions, namespace) = (Arc::clone(sessions), Arc::clone(namespace));
    let gateways: Vec<Arc<Gateway>> =
        namespace.buckets().iter().map(|bucket| Arc::clone(&bucket.gateway)).collect();
    let left = tasks.spawn_until_stopped("recover", async move {
        let gateway =
            move |name: &str| gateways.iter().find(|gateway| gateway.bucket().as_str() == name).cloned();
        let mut pause = RECOVERY_PAUSE_MIN;
        loop {
            let recovered = sessions.recover(gateway.clone()).await;
            recovered.iter().for_each(tell_recovered);
            let passes = |found: &&Recovered| found.error.as_ref().is_some_and(|error| error.is_passing());
            let later = recovered.iter().filter(|found| found.outcome == Outcome::Later).filter(passes);
            let later: HashSet<String> = later.filter_map(|found| found.object.clone()).collect();
            let is_held = |bucket: &str, key: &str| later.contains(&format!("s3://{bucket}/{key}"));
            if namespace.resume_descriptions(is_held).await && later.is_empty() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(RECOVERY_PAUSE_MAX);
        }
    });
    drop(left);
}

fn tell_recovered(found: &Recovered) {
    let object = found.object.as_deref().unwrap_or("an unknown object");
    let error = found.error.as_ref().map(ToString::to_string);
    match (found.outcome, &found.path) {
        (Outcome::SetAside, Some(path)) => {
            let path = path.display();
            tracing::warn!(object, %path, error, "an earlier mount left bytes that are not in S3; they are kept");
        }
        (outcome, _) => tracing::info!(object, ?outcome, error, "an earlier mount left this behind"),
    }
}

fn mount(settings: &Settings, filesystem: &Arc<Filesystem>) -> Result<Mount, Failure> {
    let names: Vec<&str> = settings.buckets.iter().map(|bucket| bucket.name.as_str()).collect();
    let options = fuse::Options {
        mount_point: settings.mount_point.clone(),
        allow_other: settings.allow_other,
        read_only: settings.read_only,
        no_exec: settings.no_exec,
        // mount(8) shows it in one column; commas would end it as an option.
        source: format!("s3xmount:{}", names.join("+")),
    };
    Mount::new(filesystem, &options).map_err(|error| cannot_mount(settings, &error))
}

fn cannot_mount(settings: &Settings, error: &io::Error) -> Failure {
    let failure = Failure::new(format!("{} cannot be mounted: {error}", settings.mount_point.display()));
    match error.kind() {
        io::ErrorKind::PermissionDenied if settings.allow_other => {
            failure.hint("add `user_allow_other` to /etc/fuse.conf, or leave --allow-other out")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => {
            failure.hint("is fuse3 installed, and may this user open /dev/fuse?")
        }
        _ => failure,
    }
}

/// How files are staged and committed.
pub(crate) fn write_options(settings: &Settings) -> write::Options {
    let unnamed = write::Options::new(settings.staging_dir.clone());
    write::Options {
        on_conflict: match settings.on_conflict {
            OnConflict::Fail => write::OnConflict::Fail,
            OnConflict::Overwrite => write::OnConflict::Overwrite,
            OnConflict::KeepBoth => write::OnConflict::KeepBoth,
        },
        commit: match settings.commit {
            CommitMode::Close => write::CommitMode::Close,
            CommitMode::Background => write::CommitMode::Background,
        },
        exclusive_create: match settings.exclusive_create {
            ExclusiveCreate::Close => write::ExclusiveCreate::Close,
            ExclusiveCreate::Open => write::ExclusiveCreate::Open,
        },
        staging_bytes_max: settings.staging_bytes_max,
        host: settings.host.clone().unwrap_or(unnamed.host),
        ..unnamed
    }
}

fn namespace_options(settings: &Settings) -> namespace::Options {
    namespace::Options {
        lifetimes: Lifetimes { present: settings.metadata_ttl, absent: settings.negative_ttl },
        attributes: match settings.attributes {
            AttributeSource::Auto => AttributePolicy::Auto,
            AttributeSource::Exact => AttributePolicy::Exact,
            AttributeSource::Listing => AttributePolicy::Listing,
        },
        describe_after: namespace::DESCRIBE_AFTER,
        journal: Some(settings.staging_dir.clone()),
    }
}

fn defaults(settings: &Settings) -> Defaults {
    Defaults {
        uid: settings.uid,
        gid: settings.gid,
        file_mode: settings.file_mode,
        dir_mode: settings.dir_mode,
        mounted: clock::now(),
    }
}

/// The signals that end a mount.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// How long an unmount waits for commits: a large file over a slow line takes its time, and the
/// application that closed it was told nothing yet.
const COMMIT_PATIENCE: Duration = Duration::from_secs(300);

/// How long files that are open when the mount is told to end are still served. Less than service
/// managers wait before they kill.
const OPEN_FILES_PATIENCE: Duration = Duration::from_secs(60);

/// How soon a leftover is looked at again that S3 could not be asked about.
const RECOVERY_PAUSE_MIN: Duration = Duration::from_secs(2);

/// How late.
const RECOVERY_PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long a new mount waits for the one before it to end.
const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(15);
