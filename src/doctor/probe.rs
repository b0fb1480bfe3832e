//! The requests of an examination, and what came back.
//!
//! All writes go to one key, [`PROBE`] below the prefix of the mount. Whether it can be removed
//! again is tried first, while it is not there.

use std::sync::Arc;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use bytes::Bytes;
use tokio::sync::OnceCell;

use super::attempt::{Attempt, Otherwise};
use super::entrance::Entrance;
use super::identity::Walked;
use super::{Wish, WriteTest};
use crate::config::{BucketSettings, Settings};
use crate::name::ObjectKey;
use crate::s3::{Body, ByteRange, Depth, Encryption, Gateway, NewObject, Precondition, S3Error, S3ErrorKind};

/// What came back from a bucket; `None` is what was not tried.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The region, or why there is no bucket.
    pub(super) region: Option<Result<String, S3Error>>,
    /// The region that S3 names, where the settings name another.
    pub(super) region_found: Option<String>,
    pub(super) list: Option<Attempt>,
    pub(super) read: Option<Attempt>,
    /// Whether the key that was read is known to be there.
    pub(super) is_key_known: bool,
    /// How an object of the bucket is encrypted, where that could be seen.
    pub(super) encryption: Option<Encryption>,
    pub(super) delete: Option<Attempt>,
    pub(super) is_write_wished: bool,
    pub(super) put: Option<Attempt>,
    pub(super) multipart: Option<Attempt>,
    pub(super) abort: Option<Attempt>,
    pub(super) copy: Option<Attempt>,
}

impl Findings {
    /// Whether the bucket belongs to another account than is expected.
    pub(super) fn is_of_another_owner(&self) -> bool {
        let attempts = [&self.list, &self.read, &self.put];
        let is_seen = |error: &S3Error| error.kind() == S3ErrorKind::NotTheOwner;
        self.region.as_ref().is_some_and(|region| region.as_ref().is_err_and(is_seen))
            || attempts.into_iter().flatten().any(|attempt| attempt.works == Some(Otherwise::AnyOwner))
    }
}

/// Probes a bucket, as far as there are keys to sign with.
pub(super) async fn bucket(
    settings: &Settings,
    bucket: &BucketSettings,
    walked: &Walked<'_>,
    wish: &Wish,
    connections: &SharedHttpClient,
) -> Findings {
    let Some(keys) = walked.trace.keys.clone() else { return Findings::default() };
    let mut findings = Findings::default();
    let entrance = Entrance { settings, bucket, walked, connections };
    let configured = match entrance.open(&keys, bucket, None).await {
        Ok(gateway) => gateway,
        Err(error) => return Findings { region: Some(Err(error)), ..findings },
    };
    let region = configured.region();
    if bucket.region.is_some() {
        let anywhere = BucketSettings { region: None, ..bucket.clone() };
        let found = entrance.open(&keys, &anywhere, None).await.map(|found| found.region());
        findings.region_found = found.ok().filter(|found| *found != region);
    }
    findings.region = Some(Ok(region.clone()));
    let Ok(key) = ObjectKey::parse(format!("{}{PROBE}", bucket.prefix)) else { return findings };
    let probe = Probe { entrance, keys, region, configured, others: OnceCell::new(), key };
    probe.examine(bucket, settings, wish, &mut findings).await;
    findings
}

/// An object that is ours to play with, and the ways to it.
struct Probe<'p> {
    entrance: Entrance<'p>,
    keys: SharedCredentialsProvider,
    region: String,
    configured: Arc<Gateway>,
    /// Opened when the first request is denied; there are more requests in it.
    others: OnceCell<Vec<(Otherwise, Arc<Gateway>)>>,
    key: ObjectKey,
}

impl Probe<'_> {
    async fn examine(
        &self,
        bucket: &BucketSettings,
        settings: &Settings,
        wish: &Wish,
        findings: &mut Findings,
    ) {
        let (list, seen) = self.list(bucket).await;
        findings.list = Some(list);
        let named = wish.read.as_deref().and_then(|path| key_of(path, bucket, settings));
        let known = named.or(seen);
        if let Some(known) = &known {
            findings.encryption = self.configured.encryption(known).await.ok();
        }
        let mut is_there = false;
        if !(settings.read_only || bucket.read_only) && wish.write != WriteTest::Refused {
            findings.is_write_wished = true;
            // That a key is absent already is no obstacle, so this tells whether a probe can be removed.
            let delete = self.attempt(OF_SESSION, async |gateway| gateway.delete(&self.key).await).await;
            if wish.write == WriteTest::Allowed || delete.is_ok() {
                let put = self.attempt(WRITING, async |gateway| put(gateway, &self.key).await).await;
                is_there = put.is_ok() || put.works.is_some();
                findings.put = Some(put);
            }
            findings.delete = Some(delete);
        }
        let known = known.or_else(|| is_there.then(|| self.key.clone()));
        findings.is_key_known = known.is_some();
        let target = known.as_ref().unwrap_or(&self.key);
        findings.read = Some(self.attempt(READING, async |gateway| read(gateway, target).await).await);
        if findings.put.as_ref().is_some_and(Attempt::is_ok) {
            self.copy(findings).await;
            self.multipart(findings).await;
        }
        if is_there {
            findings.delete =
                Some(self.attempt(OF_SESSION, async |gateway| gateway.delete(&self.key).await).await);
        }
    }

    /// Tries a request as the mount makes it, and where that is denied in these ways until one works.
    async fn attempt(
        &self,
        otherwise: &[Otherwise],
        request: impl AsyncFn(&Arc<Gateway>) -> Result<(), S3Error>,
    ) -> Attempt {
        let attempt = Attempt::single(request(&self.configured).await);
        if !attempt.is_refused() {
            return attempt;
        }
        let others = self.others.get_or_init(|| self.entrance.others(&self.keys, &self.region)).await;
        for way in otherwise {
            let gateway = others.iter().find(|(other, _)| other == way);
            if let Some((_, gateway)) = gateway
                && request(gateway).await.is_ok()
            {
                return Attempt { works: Some(*way), ..attempt };
            }
        }
        attempt
    }

    /// Lists below the prefix, and returns a key that is there.
    async fn list(&self, bucket: &BucketSettings) -> (Attempt, Option<ObjectKey>) {
        let seen = std::cell::RefCell::new(None);
        let attempt = self
            .attempt(READING, async |gateway| {
                let page = gateway.list(&bucket.prefix, Depth::Tree, None, KEYS_LISTED).await?;
                let key = page.objects.into_iter().find_map(|(key, _)| ObjectKey::parse(key).ok());
                seen.replace(key);
                Ok(())
            })
            .await;
        (attempt, seen.into_inner())
    }

    /// Copies the probe onto itself, with another description, without which S3 refuses that.
    async fn copy(&self, findings: &mut Findings) {
        let Ok(meta) = self.configured.head(&self.key).await else { return };
        let new = NewObject { content_type: Some("text/plain".to_owned()), ..NewObject::default() };
        let copy = async |gateway: &Arc<Gateway>| {
            let copied =
                gateway.copy(gateway, &self.key, &meta, &self.key, Some(&new), &Precondition::Whatever).await;
            copied.map(drop)
        };
        findings.copy = Some(self.attempt(OF_SESSION, copy).await);
    }

    /// Begins an upload in parts, sends one, and gives it up. Where that is denied, completes it: nothing
    /// of it may stay behind.
    async fn multipart(&self, findings: &mut Findings) {
        let upload = match self.configured.begin_upload(&self.key, &NewObject::default()).await {
            Ok(upload) => upload,
            Err(error) => {
                findings.multipart = Some(Attempt::single(Err(error)));
                return;
            }
        };
        let id = upload.id().to_owned();
        let part = upload.put_part(1, Body::from(Bytes::from_static(PROBE_CONTENT))).await;
        let aborted = upload.clone().abort().await;
        if aborted.is_err()
            && let Ok(part) = &part
        {
            let again = upload.complete(vec![part.clone()], &Precondition::Whatever).await;
            if let Err((error, _)) = again {
                tracing::warn!(%error, upload = id, "a probing upload in parts is left behind");
            }
        }
        findings.multipart = Some(Attempt::single(part.map(drop)));
        findings.abort = Some(Attempt::single(aborted));
    }
}

/// The key that a path stands for, which may begin with the directory of a bucket; `None` if it lies in
/// another bucket.
fn key_of(path: &str, bucket: &BucketSettings, settings: &Settings) -> Option<ObjectKey> {
    let below = |bucket: &BucketSettings| path.strip_prefix(&format!("{}/", bucket.directory));
    let is_elsewhere = settings.buckets.iter().any(|other| below(other).is_some());
    let key = match below(bucket) {
        Some(key) => key,
        None if is_elsewhere => return None,
        None => path,
    };
    ObjectKey::parse(format!("{}{key}", bucket.prefix)).ok()
}

/// Reads one byte: GET has a body, and so tells its code, which HEAD does not.
async fn read(gateway: &Gateway, key: &ObjectKey) -> Result<(), S3Error> {
    match gateway.get(key, ByteRange { start: 0, end: 1 }, None).await {
        Ok(_) => Ok(()),
        // An empty object has no first byte, but was looked at.
        Err(error) if error.kind() == S3ErrorKind::InvalidRange => Ok(()),
        Err(error) => Err(error),
    }
}

async fn put(gateway: &Gateway, key: &ObjectKey) -> Result<(), S3Error> {
    let body = Body::from(Bytes::from_static(PROBE_CONTENT));
    // The name is ours, and a probe that an earlier examination left is as good as none.
    gateway.put(key, body, &NewObject::default(), &Precondition::Whatever).await.map(drop)
}

/// What may make a difference to requests that read, the narrowest explanation first.
const READING: &[Otherwise] = &[Otherwise::AnyOwner, Otherwise::Unbounded];

/// What may make one to requests that write. Into a bucket that may be a stranger's nothing is written.
const WRITING: &[Otherwise] = &[
    Otherwise::Unbounded,
    Otherwise::AclForOwner,
    Otherwise::WithoutAcl,
    Otherwise::S3Keys,
    Otherwise::KmsKey,
];

/// What may make one to all others.
const OF_SESSION: &[Otherwise] = &[Otherwise::Unbounded];

/// The only key that is ever written, below the prefix of the mount.
pub(super) const PROBE: &str = ".s3xmount-doctor-probe";

const PROBE_CONTENT: &[u8] = b"s3xmount doctor was here; this may be deleted\n";

/// Enough to find one that is no directory's marker of a strange name.
const KEYS_LISTED: u16 = 10;
