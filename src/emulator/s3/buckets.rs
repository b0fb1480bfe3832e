//! Operations on buckets as such.

use s3s::S3Response;
use s3s::dto::*;

use super::fields::{owner, timestamp};
use super::{Answer, Call};
use crate::emulator::policy::{Context, Policy};
use crate::emulator::refusal::Refusal;
use crate::emulator::store::Ownership;
use crate::emulator::world::Misdirected;

pub(super) async fn list(call: Call<ListBucketsInput>) -> Answer<ListBucketsOutput> {
    // Every account has a list of its own buckets and of no others.
    let account = call.admission.caller.identity.account().ok_or_else(Refusal::access_denied)?;
    call.require_own("s3:ListAllMyBuckets", account)?;
    let prefix = call.input.prefix.unwrap_or_default();
    let buckets = call.world.buckets.buckets_of(account).into_iter();
    let buckets = buckets
        .filter(|bucket| bucket.name.starts_with(&prefix))
        .map(|bucket| Bucket {
            bucket_region: Some(bucket.region.clone()),
            creation_date: Some(timestamp(bucket.created)),
            name: Some(bucket.name.clone()),
        })
        .collect();
    Ok(S3Response::new(ListBucketsOutput {
        buckets: Some(buckets),
        owner: Some(owner(account)),
        ..ListBucketsOutput::default()
    }))
}

pub(super) async fn head(call: Call<HeadBucketInput>) -> Answer<HeadBucketOutput> {
    let input = &call.input;
    let region = call.world.buckets.bucket(&input.bucket).map(|bucket| bucket.region.clone());
    // The region is told to everybody, also to those who may not enter.
    let told = |refusal: Refusal| match &region {
        Some(region) if call.world.misdirected() != Misdirected::Welcome => refusal.in_region(region),
        _ => refusal,
    };
    let bucket = call.bucket_itself(&input.bucket, input.expected_bucket_owner.as_ref()).map_err(told)?;
    call.require(&bucket, "s3:ListBucket", &bucket.arn(), Context::default()).map_err(told)?;
    Ok(S3Response::new(HeadBucketOutput {
        bucket_region: (call.world.misdirected() != Misdirected::Welcome).then(|| bucket.region.clone()),
        access_point_alias: Some(false),
        ..HeadBucketOutput::default()
    }))
}

pub(super) async fn location(call: Call<GetBucketLocationInput>) -> Answer<GetBucketLocationOutput> {
    let input = &call.input;
    let bucket = call.bucket_itself(&input.bucket, input.expected_bucket_owner.as_ref())?;
    call.require(&bucket, "s3:GetBucketLocation", &bucket.arn(), Context::default())?;
    // us-east-1 is the region without a name here, for reasons of age.
    let constraint = match bucket.region.as_str() {
        "us-east-1" => None,
        region => Some(BucketLocationConstraint::from(region.to_owned())),
    };
    Ok(S3Response::new(GetBucketLocationOutput { location_constraint: constraint }))
}

pub(super) async fn policy(call: Call<GetBucketPolicyInput>) -> Answer<GetBucketPolicyOutput> {
    let input = &call.input;
    let bucket = call.bucket_itself(&input.bucket, input.expected_bucket_owner.as_ref())?;
    call.require(&bucket, "s3:GetBucketPolicy", &bucket.arn(), Context::default())?;
    let policy = bucket
        .policy()
        .ok_or_else(|| Refusal::new(404, "NoSuchBucketPolicy", "The bucket policy does not exist"))?;
    Ok(S3Response::new(GetBucketPolicyOutput { policy: Some(policy.document().to_owned()) }))
}

pub(super) async fn put_policy(call: Call<PutBucketPolicyInput>) -> Answer<PutBucketPolicyOutput> {
    let input = &call.input;
    let bucket = call.bucket_itself(&input.bucket, input.expected_bucket_owner.as_ref())?;
    call.require(&bucket, "s3:PutBucketPolicy", &bucket.arn(), Context::default())?;
    call.require_owner(&bucket)?;
    let malformed = |reason: String| Refusal::new(400, "MalformedPolicy", reason);
    if input.policy.len() > POLICY_BYTES_MAX {
        return Err(malformed("Policies must be no larger than 20 KB.".to_owned()));
    }
    let document = serde_json::from_str(&input.policy).map_err(|error| malformed(error.to_string()))?;
    bucket.set_policy(Some(Policy::bucket(&document).map_err(|reason| malformed(reason.to_string()))?));
    Ok(S3Response::new(PutBucketPolicyOutput::default()))
}

pub(super) async fn delete_policy(call: Call<DeleteBucketPolicyInput>) -> Answer<DeleteBucketPolicyOutput> {
    let input = &call.input;
    let bucket = call.bucket_itself(&input.bucket, input.expected_bucket_owner.as_ref())?;
    call.require(&bucket, "s3:DeleteBucketPolicy", &bucket.arn(), Context::default())?;
    call.require_owner(&bucket)?;
    bucket.set_policy(None);
    Ok(S3Response::new(DeleteBucketPolicyOutput::default()))
}

pub(super) async fn ownership(
    call: Call<GetBucketOwnershipControlsInput>,
) -> Answer<GetBucketOwnershipControlsOutput> {
    let input = &call.input;
    let bucket = call.bucket_itself(&input.bucket, input.expected_bucket_owner.as_ref())?;
    call.require(&bucket, "s3:GetBucketOwnershipControls", &bucket.arn(), Context::default())?;
    let object_ownership = ObjectOwnership::from_static(bucket.ownership().name());
    Ok(S3Response::new(GetBucketOwnershipControlsOutput {
        ownership_controls: Some(OwnershipControls {
            rules: vec![OwnershipControlsRule { object_ownership }],
        }),
    }))
}

pub(super) async fn put_ownership(
    call: Call<PutBucketOwnershipControlsInput>,
) -> Answer<PutBucketOwnershipControlsOutput> {
    let input = &call.input;
    let bucket = call.bucket_itself(&input.bucket, input.expected_bucket_owner.as_ref())?;
    call.require(&bucket, "s3:PutBucketOwnershipControls", &bucket.arn(), Context::default())?;
    let [rule] = &*input.ownership_controls.rules else { return Err(Refusal::malformed_xml()) };
    let ownership = Ownership::parse(rule.object_ownership.as_str()).ok_or_else(Refusal::malformed_xml)?;
    bucket.set_ownership(ownership);
    Ok(S3Response::new(PutBucketOwnershipControlsOutput::default()))
}

/// A bucket policy holds at most 20 KB.
const POLICY_BYTES_MAX: usize = 20 * 1024;
