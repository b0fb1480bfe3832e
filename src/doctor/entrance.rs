//! The ways to a bucket: as the mount takes it, and with one thing changed.

use std::sync::Arc;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::attempt::Otherwise;
use super::identity::Walked;
use crate::config::{Acl, BucketSettings, Settings, Sse};
use crate::daemon;
use crate::s3::{CredentialsOwner, Gateway, S3Error};

/// How gateways to a bucket are opened.
pub(super) struct Entrance<'e> {
    pub(super) settings: &'e Settings,
    pub(super) bucket: &'e BucketSettings,
    pub(super) walked: &'e Walked<'e>,
    pub(super) connections: &'e SharedHttpClient,
}

impl Entrance<'_> {
    pub(super) async fn open(
        &self,
        keys: &SharedCredentialsProvider,
        bucket: &BucketSettings,
        region: Option<&str>,
    ) -> Result<Arc<Gateway>, S3Error> {
        let Self { settings, walked, connections, .. } = self;
        let endpoint = daemon::endpoint(settings, bucket, keys.clone(), Arc::new(Nobody), connections);
        let mut options = daemon::gateway_options(settings, bucket, walked.trace.region.clone());
        options.region = region.map(str::to_owned).or(options.region);
        Gateway::connect(&endpoint, options).await
    }

    /// Ways in which the mount does not make its requests.
    pub(super) async fn others(
        &self,
        keys: &SharedCredentialsProvider,
        region: &str,
    ) -> Vec<(Otherwise, Arc<Gateway>)> {
        let mut others = Vec::new();
        if let Some(unbounded) = self.walked.unbounded(self.connections).await
            && let Ok(gateway) = self.open(&unbounded, self.bucket, Some(region)).await
        {
            others.push((Otherwise::Unbounded, gateway));
        }
        for (otherwise, changed) in changed(self.bucket) {
            if let Ok(gateway) = self.open(keys, &changed, Some(region)).await {
                others.push((otherwise, gateway));
            }
        }
        others
    }
}

/// The settings of a bucket with one thing changed, for each that matters.
fn changed(bucket: &BucketSettings) -> Vec<(Otherwise, BucketSettings)> {
    let of = |otherwise, change: &dyn Fn(&mut BucketSettings)| {
        let mut changed = bucket.clone();
        change(&mut changed);
        (otherwise, changed)
    };
    let with_sse = |sse| {
        move |bucket: &mut BucketSettings| {
            (bucket.sse, bucket.sse_kms_key_id, bucket.sse_customer_key) = (Some(sse), None, None);
        }
    };
    [
        (bucket.expected_bucket_owner.is_some())
            .then(|| of(Otherwise::AnyOwner, &|bucket| bucket.expected_bucket_owner = None)),
        (bucket.acl != Acl::BucketOwnerFullControl)
            .then(|| of(Otherwise::AclForOwner, &|bucket| bucket.acl = Acl::BucketOwnerFullControl)),
        (bucket.acl != Acl::None).then(|| of(Otherwise::WithoutAcl, &|bucket| bucket.acl = Acl::None)),
        (bucket.sse != Some(Sse::Aes256)).then(|| of(Otherwise::S3Keys, &with_sse(Sse::Aes256))),
        bucket.sse.is_none().then(|| of(Otherwise::KmsKey, &with_sse(Sse::Kms))),
    ]
    .into_iter()
    .flatten()
    .collect()
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
