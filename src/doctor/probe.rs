//! The requests of an examination: each in its plainest form, and what came back.

use std::sync::Arc;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use bytes::Bytes;

use super::identity::Walked;
use super::{Wish, WriteTest};
use crate::config::{Acl, BucketSettings, Settings};
use crate::daemon;
use crate::name::ObjectKey;
use crate::s3::{
    Body, ByteRange, CredentialsOwner, Depth, Gateway, NewObject, Precondition, S3Error, S3ErrorKind,
};

/// What an attempt came to; `None` where there was none.
pub(super) type Tried = Option<Result<(), S3Error>>;

/// What came back from a bucket.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The region, or why there is no bucket.
    pub(super) region: Option<Result<String, S3Error>>,
    /// The region that S3 names, where the settings name another.
    pub(super) region_found: Option<String>,
    pub(super) list: Tried,
    /// Listing and reading without an expected owner, where they were denied with it.
    pub(super) of_any_owner: Tried,
    pub(super) read: Tried,
    /// Whether the key that was read is known to be there.
    pub(super) is_key_known: bool,
    pub(super) delete: Tried,
    pub(super) is_write_wished: bool,
    /// With the ACL that is configured.
    pub(super) put: Tried,
    pub(super) put_without_acl: Tried,
    /// With `bucket-owner-full-control`, where another is configured.
    pub(super) put_for_owner: Tried,
    pub(super) multipart: Tried,
    pub(super) abort: Tried,
    pub(super) copy: Tried,
}

/// Probes a bucket, as far as there are keys to sign with.
pub(super) async fn bucket(
    settings: &Settings,
    bucket: &BucketSettings,
    walked: &Walked<'_>,
    wish: &Wish,
    connections: &SharedHttpClient,
) -> Findings {
    let Some(keys) = &walked.trace.keys else { return Findings::default() };
    let endpoint = daemon::endpoint(settings, bucket, keys.clone(), Arc::new(Nobody), connections);
    let gateway = |bucket: &BucketSettings, region: Option<String>| {
        let mut options = daemon::gateway_options(settings, bucket, walked.trace.region.clone());
        options.region = region.or(options.region);
        Gateway::connect(&endpoint, options)
    };
    let mut findings = Findings::default();
    let configured = match gateway(bucket, None).await {
        Ok(gateway) => gateway,
        Err(error) => return Findings { region: Some(Err(error)), ..findings },
    };
    let region = configured.region();
    findings.region = Some(Ok(region.clone()));
    if bucket.region.is_some() {
        let mut asking = daemon::gateway_options(settings, bucket, Some(region.clone()));
        asking.region = None;
        let found = Gateway::connect(&endpoint, asking).await.map(|found| found.region());
        findings.region_found = found.ok().filter(|found| *found != region);
    }
    let with = |change: &dyn Fn(&mut BucketSettings)| {
        let mut other = bucket.clone();
        change(&mut other);
        gateway(&other, Some(region.clone()))
    };
    let Ok(probe) = ObjectKey::parse(format!("{}{PROBE}", bucket.prefix)) else { return findings };
    let seen = list(&configured, bucket, &mut findings).await;
    let named = wish.read.as_deref().and_then(|path| key_of(path, bucket, settings));
    if !(settings.read_only || bucket.read_only) && wish.write != WriteTest::Refused {
        findings.is_write_wished = true;
        // That a key is absent already is no obstacle, so this tells whether a probe can be removed.
        findings.delete = Some(configured.delete(&probe).await);
        if wish.write == WriteTest::Allowed || matches!(findings.delete, Some(Ok(()))) {
            findings.put = Some(put(&configured, &probe).await);
            if bucket.acl != Acl::None
                && let Ok(plain) = with(&|other| other.acl = Acl::None).await
            {
                findings.put_without_acl = Some(put(&plain, &probe).await);
            }
            if bucket.acl != Acl::BucketOwnerFullControl
                && let Ok(for_owner) = with(&|other| other.acl = Acl::BucketOwnerFullControl).await
            {
                findings.put_for_owner = Some(put(&for_owner, &probe).await);
            }
        }
    }
    let is_probe_there = [&findings.put, &findings.put_without_acl, &findings.put_for_owner]
        .into_iter()
        .any(|put| matches!(put, Some(Ok(()))));
    let known = named.or(seen).or_else(|| is_probe_there.then(|| probe.clone()));
    findings.is_key_known = known.is_some();
    findings.read = Some(read(&configured, known.as_ref().unwrap_or(&probe)).await);
    if is_denied(&findings.list)
        && bucket.expected_bucket_owner.is_some()
        && let Ok(any) = with(&|other| other.expected_bucket_owner = None).await
    {
        let listed = any.list(&bucket.prefix, Depth::Tree, None, 1).await.map(drop);
        let read = read(&any, known.as_ref().unwrap_or(&probe)).await;
        findings.of_any_owner = Some(listed.or(read));
    }
    if matches!(findings.put, Some(Ok(()))) {
        copy(&configured, &probe, &mut findings).await;
        multipart(&configured, &probe, &mut findings).await;
    }
    if is_probe_there {
        findings.delete = Some(configured.delete(&probe).await);
    }
    findings
}

pub(super) fn is_denied(tried: &Tried) -> bool {
    matches!(tried, Some(Err(error)) if error.kind() == S3ErrorKind::Denied)
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

/// Lists below the prefix, and returns a key that is there.
async fn list(gateway: &Gateway, bucket: &BucketSettings, findings: &mut Findings) -> Option<ObjectKey> {
    let page = gateway.list(&bucket.prefix, Depth::Tree, None, KEYS_LISTED).await;
    let (page, outcome) = match page {
        Ok(page) => (page, Ok(())),
        Err(error) => (Default::default(), Err(error)),
    };
    findings.list = Some(outcome);
    page.objects.into_iter().find_map(|(key, _)| ObjectKey::parse(key).ok())
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

/// Copies the probe onto itself, with another description, without which S3 refuses that.
async fn copy(gateway: &Arc<Gateway>, key: &ObjectKey, findings: &mut Findings) {
    let Ok(meta) = gateway.head(key).await else { return };
    let new = NewObject { content_type: Some("text/plain".to_owned()), ..NewObject::default() };
    let copied = gateway.copy(gateway, key, &meta, key, Some(&new), &Precondition::Whatever).await;
    findings.copy = Some(copied.map(drop));
}

/// Begins an upload in parts, sends one, and gives it up. Where that is denied, completes it: nothing
/// of it may stay behind.
async fn multipart(gateway: &Arc<Gateway>, key: &ObjectKey, findings: &mut Findings) {
    let upload = match gateway.begin_upload(key, &NewObject::default()).await {
        Ok(upload) => upload,
        Err(error) => {
            findings.multipart = Some(Err(error));
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
    findings.multipart = Some(part.map(drop));
    findings.abort = Some(aborted);
}

/// Nobody renews what an examination signs with: it is new.
struct Nobody;

impl CredentialsOwner for Nobody {
    fn refused(&self, _: &str) {}

    fn denied(&self, _: &str) -> bool {
        false
    }

    fn confirmed(&self) {}
}

/// The only key that is ever written, below the prefix of the mount.
pub(super) const PROBE: &str = ".s3xmount-doctor-probe";

const PROBE_CONTENT: &[u8] = b"s3xmount doctor was here; this may be deleted\n";

/// Enough to find one that is no directory's marker of a strange name.
const KEYS_LISTED: u16 = 10;
