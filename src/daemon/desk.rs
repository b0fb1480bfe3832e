//! What a running mount answers to its owner.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials as Keys;

use super::identities::Identities;
use super::{missing, rescue, silence};
use crate::config::{CacheSettings, Failure, Identity, Settings};
use crate::control::{
    self, Answer, BucketStatus, CacheStatus, Desk, IdentityStatus, MoveStatus, Request, Session, Status,
};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::namespace::{Bucket, BucketId, MoveProgress, Namespace};
use crate::read::{BlockCache, CacheReport};
use crate::secret::Secret;
use crate::write::Sessions;

/// The desk of one mount.
pub(super) struct FrontDesk {
    pub(super) settings: Settings,
    pub(super) identities: Arc<Identities>,
    pub(super) namespace: Arc<Namespace>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) since: SystemTime,
    pub(super) cache: Option<Arc<BlockCache>>,
}

impl Desk for FrontDesk {
    fn answer(&self, request: Request) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        Box::pin(async move {
            let answer = match request {
                Request::Status => Ok(Answer::Status(Box::new(self.status().await))),
                Request::Origin => Ok(Answer::Origin(self.settings.origin.clone())),
                Request::Session { directory } => self.session(directory.as_deref()).await,
                Request::Login { code, directory } => self.login(&code, directory.as_deref()).await,
                Request::Rescue { name, key, bucket, overwrite } => {
                    let wish = rescue::Wish { name, key, bucket, overwrite };
                    let gateways = self.namespace.buckets().iter().map(|bucket| Arc::clone(&bucket.gateway));
                    let gateways: Vec<_> = gateways.collect();
                    rescue::commit(&self.sessions, &gateways, &wish)
                        .await
                        .map(|object| Answer::Rescued { object })
                }
            };
            answer.unwrap_or_else(|Failure { message, hint, .. }| Answer::Refused { message, hint })
        })
    }
}

impl FrontDesk {
    async fn status(&self) -> Status {
        // So that a policy that was changed a moment ago shows. What takes longer shows next time.
        let looked = tokio::time::timeout(LOOK_TIME_MAX, self.namespace.look_around()).await;
        drop(looked);
        let buckets = (0..).zip(&self.settings.buckets).map(|(at, bucket)| {
            let gateway = self.namespace.gateway(BucketId(at));
            let known = self.namespace.rights_known(BucketId(at));
            let caller = self.identities.of(bucket).caller().map(|caller| caller.arn);
            BucketStatus {
                directory: bucket.directory.to_string(),
                bucket: bucket.name.to_string(),
                prefix: bucket.prefix.to_string(),
                region: gateway.region(),
                read_only: bucket.read_only || self.settings.read_only,
                identity: self.identities.index_of(bucket),
                listing: missing::listing(&known),
                missing: missing::all(bucket, caller.as_deref(), &known),
                lacking: gateway.gaps().into_iter().map(|gap| gap.words().to_owned()).collect(),
                silent: silence::status(gateway),
            }
        });
        Status {
            mount_point: self.settings.mount_point.display().to_string(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: control::written(self.since),
            buckets: buckets.collect(),
            identities: self.identities.iter().map(identity_status).collect(),
            cache: self.cache.as_ref().zip(self.settings.cache.as_ref()).map(cache_status),
            moves: self.namespace.moves_under_way().into_iter().map(|at| self.move_status(at)).collect(),
            writing: rescue::writing(&self.sessions, &self.namespace, &self.settings.staging_dir),
        }
    }

    fn move_status(&self, progress: MoveProgress) -> MoveStatus {
        let MoveProgress { bucket, from, onto, objects, copied, deleted } = progress;
        let bucket = self.namespace.gateway(bucket).bucket().to_string();
        MoveStatus { bucket, from, onto, objects, copied, deleted }
    }

    async fn session(&self, directory: Option<&str>) -> Result<Answer, Failure> {
        let (_, credentials) = self.identity(directory)?;
        let keys = credentials.keys().await.map_err(|error| refused(&error))?;
        let region = match directory {
            Some(directory) => self.region_of(directory),
            None => self.namespace.buckets().first().map(|bucket| bucket.gateway.region()),
        };
        Ok(Answer::Session(session(credentials, &keys, region)))
    }

    async fn login(&self, code: &Secret, directory: Option<&str>) -> Result<Answer, Failure> {
        let waiting =
            || self.identities.iter().find(|(_, credentials)| credentials.report().needs_code.is_some());
        let (_, credentials) = match directory {
            None => waiting().map_or_else(|| self.identity(None), Ok)?,
            Some(_) => self.identity(directory)?,
        };
        if !credentials.ask_for_codes() {
            return Err(Failure::new("no role of this mount asks for a code"));
        }
        let until = credentials.login(code.clone()).await.map_err(|error| refused(&error))?;
        let role = credentials.caller().map(|caller| caller.arn).unwrap_or_default();
        Ok(Answer::LoggedIn { role, until: until.map(control::written) })
    }

    /// The identity that is meant: of the bucket below a directory, or the only one.
    fn identity(&self, directory: Option<&str>) -> Result<&(Identity, Arc<Credentials>), Failure> {
        let buckets = &self.settings.buckets;
        if let Some(name) = directory {
            let bucket = buckets.iter().find(|bucket| bucket.directory.as_str() == name);
            let bucket = bucket.ok_or_else(|| {
                Failure::new(format!("there is no bucket at {name}"))
                    .hint(format!("there are {}", self.directories()))
            })?;
            return Ok(self.identities.get(self.identities.index_of(bucket)));
        }
        if self.identities.iter().count() > 1 {
            return Err(Failure::new("the buckets of this mount have different roles")
                .hint(format!("name one of the directories below the mount point: {}", self.directories())));
        }
        Ok(self.identities.get(0))
    }

    fn directories(&self) -> String {
        self.settings.buckets.iter().map(|bucket| bucket.directory.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn region_of(&self, directory: &str) -> Option<String> {
        let named = |bucket: &&Bucket| bucket.directory.as_str() == directory;
        self.namespace.buckets().iter().find(named).map(|bucket| bucket.gateway.region())
    }
}

fn identity_status((identity, credentials): &(Identity, Arc<Credentials>)) -> IdentityStatus {
    let report = credentials.report();
    IdentityStatus {
        caller: report.caller.map(|caller| caller.arn),
        roles: identity.roles.iter().map(ToString::to_string).collect(),
        expires: report.expiry.map(control::written),
        renewals: report.renewals,
        trouble: report.trouble,
        needs_code: report.needs_code,
    }
}

fn cache_status((cache, settings): (&Arc<BlockCache>, &CacheSettings)) -> CacheStatus {
    let CacheReport { used_bytes, bytes_max, served_bytes, fetched_bytes, .. } = cache.report();
    let directory = settings.directory.display().to_string();
    CacheStatus { directory, used_bytes, bytes_max, served_bytes, fetched_bytes }
}

/// Keys in the form in which they leave the process.
pub(super) fn session(credentials: &Credentials, keys: &Keys, region: Option<String>) -> Session {
    let secret = |text: &str| Secret::from(text.to_owned());
    Session {
        access_key_id: keys.access_key_id().to_owned(),
        secret_access_key: secret(keys.secret_access_key()),
        session_token: keys.session_token().map(secret),
        expiration: keys.expiry().map(control::written),
        arn: credentials.caller().map(|caller| caller.arn),
        region,
    }
}

/// Errors carry their hint in their sentence, for the log; here it gets a line of its own.
fn refused(error: &Error) -> Failure {
    let text = error.to_string();
    match text.split_once("; hint: ") {
        Some((message, hint)) => Failure::new(message).hint(hint),
        None => Failure::new(text),
    }
}

/// How long the answer to "how are things" waits for buckets to be asked.
const LOOK_TIME_MAX: Duration = Duration::from_secs(2);
