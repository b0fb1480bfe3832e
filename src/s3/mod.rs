//! The only place that names the S3 SDK.
//!
//! A [`Gateway`] makes the requests of one bucket and speaks our types. It retries what passes by
//! itself (throttling, server faults, refused credentials); an error that comes out is final for
//! that request and says what the caller can do about it ([`S3ErrorKind`]).
//!
//! Requests go to the region that the bucket lives in, wherever it was said to live (`region.rs`). Servers
//! other than AWS lack this and that: what is given up for them, and what never is, stands in `gaps.rs`,
//! `concessions.rs` and `conditions.rs`.
//!
//! # Every request we ever send
//! | request | for | action in a policy |
//! | --- | --- | --- |
//! | HeadBucket | finding a bucket's region, at mount | none: its refusal names the region too |
//! | HeadObject, GetObject | attributes, bytes | `s3:GetObject` |
//! | ListObjectsV2 (ListObjects where a server knows no other) | directories; an object's owner, after a refusal | `s3:ListBucket` on the bucket |
//! | GetObjectAcl | the extended attribute `user.s3.acl`, when asked for | `s3:GetObjectAcl` |
//! | PutObject, CreateMultipartUpload, UploadPart, CompleteMultipartUpload | new content | `s3:PutObject`, with an ACL also `s3:PutObjectAcl` |
//! | CopyObject, UploadPartCopy | renames, attributes, unchanged parts of edited files | the same, and `s3:GetObject` on the source |
//! | AbortMultipartUpload | giving an upload up | `s3:AbortMultipartUpload`; its refusal is lived with |
//! | DeleteObject, DeleteObjects | removal, renames | `s3:DeleteObject`; of the version that was copied also `s3:GetObject` |

pub mod delete;
pub mod describe;
pub mod error;
pub mod get;
pub mod list;
pub mod object;
pub mod put;

mod acl;
mod client;
mod concessions;
mod conditions;
mod copying;
mod customer_key;
mod encryption;
mod explain;
mod gaps;
mod healing;
mod integrity;
mod latency;
mod multipart;
mod patience;
mod region;
mod silence;
mod trace;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{ObjectCannedAcl, RequestPayer, ServerSideEncryption, StorageClass};
use tokio::sync::{Semaphore, SemaphorePermit};

pub use self::client::{Endpoint, Variant, connections};
pub use self::customer_key::CustomerKey;
pub use self::delete::Deletion;
pub use self::describe::ObjectAcl;
pub use self::encryption::Encryption;
pub use self::error::{S3Error, S3ErrorKind};
pub use self::gaps::{Gap, Server};
pub use self::get::ObjectBody;
pub use self::healing::CredentialsOwner;
pub use self::list::{Depth, Page, PageToken};
pub use self::multipart::{Part, Upload};
pub use self::object::{
    ByteRange, ETag, NewObject, ObjectDetails, ObjectMeta, Precondition, UserMetadata, is_archive,
};
pub use self::put::Body;
pub use self::silence::Silent;

use self::acl::AclStanding;
use self::client::Clients;
use self::conditions::Conditions;
use self::error::RequestName;
use self::gaps::Gaps;
use self::integrity::Integrity;
use self::latency::Latency;
use self::region::{REGION_HEADER, Residence};
use self::silence::Silence;
use crate::name::{BucketName, ObjectKey};

/// One bucket, and how we may act in it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The bucket as requests name it.
    pub bucket: BucketName,
    /// Its region where that is known; else it is asked for.
    pub region: Option<String>,
    /// Where to begin asking for the region, and what to sign with where no answer names one.
    pub region_hint: Option<String>,
    /// What each write carries.
    pub rules: WriteRules,
}

/// What the owner of the bucket, or the user, wants on every object that we make.
#[derive(Debug, Clone, Default)]
pub struct WriteRules {
    acl: Option<ObjectCannedAcl>,
    expected_bucket_owner: Option<String>,
    storage_class: Option<StorageClass>,
    encryption: Option<ServerSideEncryption>,
    kms_key_id: Option<String>,
    customer_key: Option<CustomerKey>,
    requester_pays: bool,
}

impl WriteRules {
    /// Sends this canned ACL, such as `bucket-owner-full-control`; `None` sends none.
    pub fn acl(mut self, acl: Option<&str>) -> Self {
        self.acl = acl.map(ObjectCannedAcl::from);
        self
    }

    /// Makes S3 refuse every request, not only writes, if the bucket belongs to another account.
    pub fn expected_bucket_owner(mut self, account: Option<String>) -> Self {
        self.expected_bucket_owner = account;
        self
    }

    /// Keeps objects in this class, such as `STANDARD_IA`.
    pub fn storage_class(mut self, class: Option<&str>) -> Self {
        self.storage_class = class.map(StorageClass::from);
        self
    }

    /// Encrypts with `AES256`, `aws:kms` or `aws:kms:dsse`, with the key named where there is one.
    pub fn encryption(mut self, algorithm: Option<&str>, kms_key_id: Option<String>) -> Self {
        self.encryption = algorithm.map(ServerSideEncryption::from);
        self.kms_key_id = kms_key_id;
        self
    }

    /// Encrypts with a key that S3 does not keep, and shows it what is encrypted with it.
    pub fn customer_key(mut self, key: Option<CustomerKey>) -> Self {
        self.customer_key = key;
        self
    }

    /// Agrees to pay for requests in a bucket that demands it.
    pub fn requester_pays(mut self, agreed: bool) -> Self {
        self.requester_pays = agreed;
        self
    }

    fn request_payer(&self) -> Option<RequestPayer> {
        self.requester_pays.then_some(RequestPayer::Requester)
    }
}

/// The requests we make of one bucket.
pub struct Gateway {
    bucket: BucketName,
    residence: Residence,
    rules: WriteRules,
    clients: Clients,
    gaps: Gaps,
    conditions: Conditions,
    integrity: Integrity,
    acl: AclStanding,
    permits: Semaphore,
    latency: Latency,
    silence: Arc<Silence>,
}

impl Gateway {
    /// Finds the bucket's region and returns the way to it.
    ///
    /// Being denied everything in the bucket is no reason to fail here.
    ///
    /// # Errors
    /// [`S3ErrorKind::NoBucket`] when there is no such bucket, [`S3ErrorKind::NotTheOwner`] when it is seen to
    /// belong to another account than expected, [`S3ErrorKind::Unavailable`] or
    /// [`S3ErrorKind::Credentials`] when S3 cannot be asked.
    pub async fn connect(endpoint: &Endpoint, options: Options) -> Result<Arc<Self>, S3Error> {
        let gaps = Gaps::new(endpoint.server, options.bucket.as_str());
        let endpoint = reachable(endpoint, &options, &gaps).await;
        let hint = region_hint(&options);
        let region = match &options.region {
            Some(region) => region.clone(),
            None => find_region(&client::asking(&endpoint, hint), &options, hint, endpoint.server).await?,
        };
        let residence = Residence::new(options.bucket.as_str(), &region);
        let silence = Arc::default();
        Ok(Arc::new(Self {
            clients: Clients::new(&endpoint, &residence, &silence),
            bucket: options.bucket,
            residence,
            rules: options.rules,
            gaps,
            conditions: Conditions::new(endpoint.server),
            integrity: Integrity::default(),
            acl: AclStanding::default(),
            permits: Semaphore::new(REQUESTS_MAX),
            latency: Latency::default(),
            silence,
        }))
    }

    /// Finds the bucket's region without credentials, for when there are none yet. Where that is not
    /// told either, it is taken to be the one of the hint.
    pub async fn region_unsigned(endpoint: &Endpoint, options: &Options) -> String {
        let hint = region_hint(options);
        let found = find_region(&client::unsigned(endpoint, hint), options, hint, endpoint.server).await;
        found.unwrap_or_else(|error| {
            tracing::warn!(%error, region = hint, "the bucket's region could not be found; taking this one");
            hint.to_owned()
        })
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &BucketName {
        &self.bucket
    }

    /// The region the bucket lives in, as far as is known by now.
    pub fn region(&self) -> String {
        match self.bucket.region() {
            Some(region) => region.to_owned(),
            None => self.residence.region(),
        }
    }

    /// What its server was found to lack so far.
    pub fn gaps(&self) -> Vec<Gap> {
        self.gaps.found()
    }

    /// The storage class of new content under a key: what the settings say, or else the class of what was
    /// there before. Nobody wants what they have just written to be in an archive because its predecessor was.
    pub fn class_of_content(&self, before: Option<&ObjectMeta>) -> Option<String> {
        let class = self.rules.storage_class.as_ref().map(|class| class.as_str().to_owned());
        class.or_else(|| before?.storage_class.clone().filter(|class| !is_archive(class)))
    }

    /// What to do about an object of this bucket that lies in an archive.
    pub fn archive_hint(&self, key: &ObjectKey) -> String {
        explain::archived(self.bucket.as_str(), Some(key.as_str()))
    }

    /// The shortest time that an answer took to begin, of late; `None` before the first answer.
    pub fn latency(&self) -> Option<Duration> {
        self.latency.shortest()
    }

    /// What waits for S3, if nothing has come from it in this bucket for at least so long.
    pub fn silent(&self, at_least: Duration) -> Option<Silent> {
        self.silence.lasting(at_least)
    }

    fn request(&self, operation: &'static str, key: Option<&str>) -> RequestName {
        RequestName { operation, bucket: self.bucket.to_string(), key: key.map(str::to_owned) }
    }

    /// Sorts a failed request, and says what can be known about it here.
    fn failed<E>(&self, request: RequestName, error: &SdkError<E, HttpResponse>) -> S3Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let error = S3Error::sort(request, error);
        let error = match explain::hint(&error, &self.rules) {
            Some(hint) => error.hinted(hint),
            None => error,
        };
        self.acl.note(&error);
        error
    }

    async fn permit(&self) -> SemaphorePermit<'_> {
        self.permits.acquire().await.expect("the semaphore is never closed")
    }
}

/// Where the search for a bucket begins. An ARN names its region, and no other partition would be asked for it.
fn region_hint(options: &Options) -> &str {
    options.bucket.region().or(options.region_hint.as_deref()).unwrap_or(REGION_DEFAULT)
}

/// The endpoint as it answers: in path style where a server does not answer under the bucket's host name.
async fn reachable(endpoint: &Endpoint, options: &Options, gaps: &Gaps) -> Endpoint {
    let has_host_name = options.bucket.is_host_label() && !endpoint.force_path_style;
    if !(gaps.may_be() && has_host_name) {
        return endpoint.clone();
    }
    let in_path = Endpoint { force_path_style: true, ..endpoint.clone() };
    let hint = region_hint(options);
    for (endpoint, gap) in [(endpoint, None), (&in_path, Some(Gap::HostNames))] {
        let asked =
            client::unsigned_once(endpoint, hint).head_bucket().bucket(options.bucket.as_str()).send();
        if asked.await.map_or_else(|error| error.raw_response().is_some(), |_| true) {
            gap.into_iter().for_each(|gap| gaps.note(gap));
            return endpoint.clone();
        }
    }
    // Nobody answers at all; why not is found out with more patience.
    endpoint.clone()
}

/// Asks where a bucket lives. S3 says so in a header of every answer, also of refusals and
/// redirects (S3 API reference, HeadBucket), and so it works without any permission.
async fn find_region(
    client: &aws_sdk_s3::Client,
    options: &Options,
    hint: &str,
    server: Server,
) -> Result<String, S3Error> {
    let request = RequestName { operation: "HeadBucket", bucket: options.bucket.to_string(), key: None };
    let expected = options.rules.expected_bucket_owner.as_ref();
    let call = |owner: Option<&String>| {
        client.head_bucket().bucket(options.bucket.as_str()).set_expected_bucket_owner(owner.cloned()).send()
    };
    let error = match call(expected).await {
        Ok(output) => return Ok(output.bucket_region.unwrap_or_else(|| hint.to_owned())),
        Err(error) => error,
    };
    let named =
        error.raw_response().and_then(|answer| answer.headers().get(REGION_HEADER)).map(str::to_owned);
    match (named, S3Error::sort(request.clone(), &error)) {
        (_, error) if matches!(error.kind(), S3ErrorKind::Absent | S3ErrorKind::NoBucket) => {
            Err(S3Error::local(S3ErrorKind::NoBucket, request, "there is no such bucket"))
        }
        // A wrong owner and a missing right look the same; without an owner only the right counts.
        (_, error)
            if error.kind() == S3ErrorKind::Denied && expected.is_some() && call(None).await.is_ok() =>
        {
            let message = format!("it does not belong to {}", expected.map_or("", String::as_str));
            Err(S3Error::local(S3ErrorKind::NotTheOwner, request, message))
        }
        (Some(region), _) => Ok(region),
        // Other servers do not name a region, and do not mind which one a request is signed for.
        (None, error) if error.kind() == S3ErrorKind::Denied => Ok(hint.to_owned()),
        // Some do not know the question.
        (None, error) if server == Server::Compatible && matches!(error.status(), Some(405 | 501)) => {
            Ok(hint.to_owned())
        }
        (None, error) => Err(error),
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gateway({})", self.bucket)
    }
}

/// S3 answers for buckets of any region here.
const REGION_DEFAULT: &str = "us-east-1";

/// Requests in flight per bucket. Ordinary processes may open 1,024 files, and a connection is one.
const REQUESTS_MAX: usize = 192;
