//! The S3 operations: what a request asks, in s3s's types, against the store.
//!
//! s3s parses requests and writes answers; [`admission`](super::admission) has already found
//! out who is asking. What stands here is the order in which S3 looks at things, the same for every
//! operation:
//!
//! 1. the bucket: does it exist, in this region, and does it belong to whom the caller expects;
//! 2. permission, for every action the request implies;
//! 3. the arguments, the conditions, the effect.
//!
//! The table at `operations!` is the list of all there are. Anything else answers
//! 501 `NotImplemented`, which is also what arguments get that are not modelled.

mod bodies;
mod buckets;
mod conditions;
mod encryption;
mod fields;
mod lists;
mod objects;
mod uploads;
mod writes;

use std::sync::Arc;
use std::time::SystemTime;

use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::World;
use super::access::{self, Resource};
use super::admission::Admission;
use super::faults::Fate;
use super::identity::AccountId;
use super::policy::{Context, Question};
use super::refusal::Refusal;
use super::serve::Exchange;
use super::store::{Bucket, Object, Permission};
use super::world::Misdirected;

/// Answers S3 requests of those who were admitted.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    world: Arc<World>,
}

/// One request: its input and everything around it.
struct Call<I> {
    world: Arc<World>,
    admission: Admission,
    headers: HeaderMap,
    input: I,
}

type Answer<O> = Result<S3Response<O>, Refusal>;

/// Implements s3s's trait from a table: method, input, output, function.
///
/// Every operation counts itself and meets its faults before its function runs.
macro_rules! operations {
    ($($method:ident: $name:literal $input:ident => $output:ident, $function:path;)*) => {
        #[async_trait::async_trait]
        impl S3 for Desk {
            $(async fn $method(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                let call = self.receive($name, request).await?;
                Ok($function(call).await?)
            })*
        }
    };
}

operations! {
    list_buckets: "ListBuckets" ListBucketsInput => ListBucketsOutput, buckets::list;
    head_bucket: "HeadBucket" HeadBucketInput => HeadBucketOutput, buckets::head;
    get_bucket_location: "GetBucketLocation"
        GetBucketLocationInput => GetBucketLocationOutput, buckets::location;
    get_bucket_policy: "GetBucketPolicy" GetBucketPolicyInput => GetBucketPolicyOutput, buckets::policy;
    put_bucket_policy: "PutBucketPolicy" PutBucketPolicyInput => PutBucketPolicyOutput, buckets::put_policy;
    delete_bucket_policy: "DeleteBucketPolicy"
        DeleteBucketPolicyInput => DeleteBucketPolicyOutput, buckets::delete_policy;
    get_bucket_ownership_controls: "GetBucketOwnershipControls"
        GetBucketOwnershipControlsInput => GetBucketOwnershipControlsOutput, buckets::ownership;
    put_bucket_ownership_controls: "PutBucketOwnershipControls"
        PutBucketOwnershipControlsInput => PutBucketOwnershipControlsOutput, buckets::put_ownership;

    list_objects: "ListObjects" ListObjectsInput => ListObjectsOutput, lists::objects_v1;
    list_objects_v2: "ListObjectsV2" ListObjectsV2Input => ListObjectsV2Output, lists::objects_v2;

    head_object: "HeadObject" HeadObjectInput => HeadObjectOutput, objects::head;
    get_object: "GetObject" GetObjectInput => GetObjectOutput, objects::get;
    get_object_acl: "GetObjectAcl" GetObjectAclInput => GetObjectAclOutput, objects::acl;
    put_object_acl: "PutObjectAcl" PutObjectAclInput => PutObjectAclOutput, objects::put_acl;

    put_object: "PutObject" PutObjectInput => PutObjectOutput, writes::put;
    copy_object: "CopyObject" CopyObjectInput => CopyObjectOutput, writes::copy;
    delete_object: "DeleteObject" DeleteObjectInput => DeleteObjectOutput, writes::delete;
    delete_objects: "DeleteObjects" DeleteObjectsInput => DeleteObjectsOutput, writes::delete_many;

    create_multipart_upload: "CreateMultipartUpload"
        CreateMultipartUploadInput => CreateMultipartUploadOutput, uploads::create;
    upload_part: "UploadPart" UploadPartInput => UploadPartOutput, uploads::part;
    upload_part_copy: "UploadPartCopy" UploadPartCopyInput => UploadPartCopyOutput, uploads::part_copy;
    complete_multipart_upload: "CompleteMultipartUpload"
        CompleteMultipartUploadInput => CompleteMultipartUploadOutput, uploads::complete;
    abort_multipart_upload: "AbortMultipartUpload"
        AbortMultipartUploadInput => AbortMultipartUploadOutput, uploads::abort;
    list_parts: "ListParts" ListPartsInput => ListPartsOutput, uploads::list_parts;
    list_multipart_uploads: "ListMultipartUploads"
        ListMultipartUploadsInput => ListMultipartUploadsOutput, uploads::list;
}

impl Desk {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world }
    }

    async fn receive<I>(&self, operation: &'static str, request: S3Request<I>) -> S3Result<Call<I>> {
        let exchange = Exchange::of(&request.extensions);
        let mut extensions = request.extensions;
        let admission = extensions.remove::<Admission>().expect("every request is admitted first");
        exchange.begin(operation);
        match self.world.faults.meet(operation, exchange.place()).await {
            Fate::Proceed(aftermath) => exchange.prepare(aftermath),
            Fate::Refused(refusal) => return Err(refusal.into()),
            Fate::Dropped => {
                exchange.drop_connection();
                return Err(Refusal::new(503, "ServiceUnavailable", "The connection closes.").into());
            }
        }
        let world = self.world.clone();
        Ok(Call { world, admission, headers: request.headers, input: request.input })
    }
}

impl<I> Call<I> {
    /// Finds the bucket for an operation on what is in it.
    fn bucket(&self, name: &str, expected_owner: Option<&String>) -> Result<Arc<Bucket>, Refusal> {
        let bucket = self.bucket_itself(name, expected_owner)?;
        self.require_payer(&bucket)?;
        Ok(bucket)
    }

    /// Makes sure that somebody agrees to pay, who need not be the owner.
    fn require_payer(&self, bucket: &Bucket) -> Result<(), Refusal> {
        let is_owner = self.admission.caller.identity.account() == Some(bucket.owner);
        let agrees = self.headers.get("x-amz-request-payer").is_some_and(|payer| payer == "requester");
        if bucket.requester_pays() && !is_owner && !agrees { Err(Refusal::access_denied()) } else { Ok(()) }
    }

    /// Finds the bucket and makes sure that it is the one the caller means.
    fn bucket_itself(&self, name: &str, expected_owner: Option<&String>) -> Result<Arc<Bucket>, Refusal> {
        let bucket = self.world.buckets.bucket(name).ok_or_else(Refusal::no_such_bucket)?;
        if let Some(signed) = self.admission.region.as_ref().filter(|region| **region != bucket.region) {
            match self.world.misdirected() {
                Misdirected::Redirected => return Err(Refusal::permanent_redirect(&bucket.region)),
                Misdirected::Malformed => {
                    return Err(Refusal::authorization_header_malformed(signed, &bucket.region));
                }
                Misdirected::Illegal => return Err(Refusal::illegal_location(&bucket.region)),
                Misdirected::Welcome => {}
            }
        }
        match expected_owner {
            Some(owner) if *owner != bucket.owner.to_string() => Err(Refusal::access_denied()),
            _ => Ok(bucket),
        }
    }

    /// Makes sure that the caller may do something with a bucket or with the place of an object.
    fn require(
        &self,
        bucket: &Bucket,
        action: &str,
        resource: &str,
        context: Context,
    ) -> Result<(), Refusal> {
        let policy = bucket.policy();
        let side =
            Resource { owner: bucket.owner, policy: policy.as_deref(), covered: true, acl_allows: false };
        self.decide(bucket, action, resource, context, side)
    }

    /// Makes sure that the caller may do something in his own account, whatever the resource.
    fn require_own(&self, action: &str, account: AccountId) -> Result<(), Refusal> {
        let caller = &self.admission.caller;
        let context = self.world.ambient(caller, Context::default());
        let question =
            Question { caller: &caller.identity, action, resource: "arn:aws:s3:::*", context: &context };
        let side = Resource { owner: account, policy: None, covered: true, acl_allows: false };
        access::allowed(caller, &question, side).then_some(()).ok_or_else(Refusal::access_denied)
    }

    /// Makes sure that the caller belongs to the bucket's account, which no policy can replace.
    fn require_owner(&self, bucket: &Bucket) -> Result<(), Refusal> {
        match self.admission.caller.identity.account() {
            Some(account) if account == bucket.owner => Ok(()),
            _ => Err(Refusal::new(
                405,
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
            )),
        }
    }

    /// Makes sure that the caller may do something with an object that exists.
    fn require_object(
        &self,
        bucket: &Bucket,
        key: &str,
        object: &Object,
        action: &str,
        permission: Permission,
    ) -> Result<(), Refusal> {
        let policy = bucket.policy();
        let owner = bucket.owner_of(object);
        let account = self.admission.caller.identity.account();
        let side = Resource {
            owner,
            policy: policy.as_deref(),
            covered: owner == bucket.owner,
            acl_allows: bucket.acl_allows(object, account, permission),
        };
        self.decide(bucket, action, &bucket.object_arn(key), Context::default(), side)
    }

    /// Finds an object that the caller may read, or says as much about its absence as AWS does.
    fn readable(&self, bucket: &Bucket, key: &str) -> Result<Arc<Object>, Refusal> {
        match bucket.object(key) {
            Some(object) => {
                self.require_object(bucket, key, &object, "s3:GetObject", Permission::Read)?;
                Ok(object)
            }
            // Whether something is absent is what a listing tells, so it takes the right to list.
            None => {
                let context = Context::default().with("s3:prefix", key);
                self.require(bucket, "s3:ListBucket", &bucket.arn(), context)?;
                Err(Refusal::no_such_key())
            }
        }
    }

    fn decide(
        &self,
        bucket: &Bucket,
        action: &str,
        resource: &str,
        context: Context,
        side: Resource<'_>,
    ) -> Result<(), Refusal> {
        let caller = &self.admission.caller;
        let context =
            self.world.ambient(caller, context).with("s3:ResourceAccount", bucket.owner.to_string());
        let question = Question { caller: &caller.identity, action, resource, context: &context };
        let Err(denial) = access::decide(caller, &question, side) else { return Ok(()) };
        tracing::debug!(caller = caller.identity.arn(), action, resource, ?denial, "denied");
        let is_own = caller.identity.account().is_some_and(|account| account == bucket.owner);
        Err(match is_own || self.world.is_one_organization {
            true => Refusal::access_denied_by(denial, &question),
            false => Refusal::access_denied(),
        })
    }

    /// The account that owns what the caller writes; what nobody signed belongs to the bucket's owner.
    fn writer(&self, bucket: &Bucket) -> AccountId {
        self.admission.caller.identity.account().unwrap_or(bucket.owner)
    }

    fn now(&self) -> SystemTime {
        self.world.clock.now_in_seconds()
    }
}

impl From<Refusal> for S3Error {
    fn from(refusal: Refusal) -> Self {
        let code = S3ErrorCode::from_bytes(refusal.code.as_bytes()).expect("codes are ASCII");
        let mut error = Self::with_message(code, refusal.message);
        if let Ok(status) = hyper::StatusCode::from_u16(refusal.status) {
            error.set_status_code(status);
        }
        if let Some(region) = refusal.region.and_then(|region| HeaderValue::from_str(&region).ok()) {
            // Headers given here replace those of the document.
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
            headers.insert("x-amz-bucket-region", region);
            error.set_headers(headers);
        }
        error
    }
}
