//! Where a bucket lives, and requests that went to the wrong place.
//!
//! The region is found at mount. It may be wrong all the same: somebody wrote it into the
//! configuration, S3 could not be asked, or the bucket was deleted and made anew elsewhere while it was
//! mounted. S3 then answers in one of these ways, and mostly says what is right:
//!
//! | answer | where the right region stands |
//! | --- | --- |
//! | 301 `PermanentRedirect`, 307 `TemporaryRedirect` | `x-amz-bucket-region` |
//! | the same to HEAD, which has no body | `x-amz-bucket-region` |
//! | 400 `AuthorizationHeaderMalformed` | `x-amz-bucket-region`, or `<Region>` in the body |
//! | 400 `IllegalLocationConstraintException` | nowhere, or `x-amz-bucket-region` |
//!
//! The SDK follows none of these. Here the region moves to where S3 says, the request is sent once
//! more, and all later ones go there at once. Endpoint and signature are made anew for each attempt, from
//! the same rules of the SDK, so that the host name fits whatever else is wished of it.

use std::sync::Arc;

use aws_sdk_s3::config::endpoint::{DefaultResolver, EndpointFuture, Params, ResolveEndpoint};
use aws_sdk_s3::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextMut};
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use parking_lot::RwLock;

/// The region that a bucket is taken to live in. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Residence(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bucket: String,
    region: RwLock<String>,
}

impl Residence {
    pub(super) fn new(bucket: &str, region: &str) -> Self {
        Self(Arc::new(Inner { bucket: bucket.to_owned(), region: RwLock::new(region.to_owned()) }))
    }

    pub(super) fn region(&self) -> String {
        self.0.region.read().clone()
    }

    /// Goes elsewhere from now on.
    fn move_to(&self, region: &str) {
        let before = std::mem::replace(&mut *self.0.region.write(), region.to_owned());
        if before != region {
            let bucket = &self.0.bucket;
            tracing::warn!(bucket, said = before, region, "the bucket lives in another region than was said");
        }
    }
}

/// Leads each attempt to where the bucket is taken to live at that moment.
#[derive(Debug)]
pub(super) struct Directions {
    residence: Residence,
    rules: DefaultResolver,
}

impl Directions {
    pub(super) fn new(residence: Residence) -> Self {
        Self { residence, rules: DefaultResolver::new() }
    }
}

impl ResolveEndpoint for Directions {
    fn resolve_endpoint<'a>(&'a self, params: &'a Params) -> EndpointFuture<'a> {
        let region = self.residence.region();
        if params.region() == Some(region.as_str()) {
            return ResolveEndpoint::resolve_endpoint(&self.rules, params);
        }
        EndpointFuture::new(async move {
            let params = in_region(params, region)?;
            ResolveEndpoint::resolve_endpoint(&self.rules, &params).await
        })
    }
}

/// The same wishes for another region; the SDK has no shorter way to say it.
fn in_region(params: &Params, region: String) -> Result<Params, BoxError> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Ok(Params::builder()
        .region(region)
        .set_bucket(owned(params.bucket()))
        .set_use_fips(params.use_fips())
        .set_use_dual_stack(params.use_dual_stack())
        .set_endpoint(owned(params.endpoint()))
        .set_force_path_style(params.force_path_style())
        .set_accelerate(params.accelerate())
        .set_use_global_endpoint(params.use_global_endpoint())
        .set_use_object_lambda_endpoint(params.use_object_lambda_endpoint())
        .set_key(owned(params.key()))
        .set_prefix(owned(params.prefix()))
        .set_copy_source(owned(params.copy_source()))
        .set_disable_access_points(params.disable_access_points())
        .set_disable_multi_region_access_points(params.disable_multi_region_access_points())
        .set_use_arn_region(params.use_arn_region())
        .set_use_s3_express_control_endpoint(params.use_s3_express_control_endpoint())
        .set_disable_s3_express_session_auth(params.disable_s3_express_session_auth())
        .build()?)
}

/// Notices answers that name another region, and asks for another attempt.
#[derive(Debug, Clone)]
pub(super) struct Redirects(pub(super) Residence);

/// The region an attempt was signed for.
#[derive(Debug)]
struct SignedFor(String);

impl Storable for SignedFor {
    type Storer = StoreReplace<Self>;
}

/// This request has been led elsewhere once. If that was wrong too, nobody knows the way.
#[derive(Debug)]
struct Followed;

impl Storable for Followed {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Redirects {
    fn name(&self) -> &'static str {
        "follow the bucket to its region"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let header = context.request().headers().get("authorization");
        if let Some(region) = header.and_then(signed_region) {
            bag.interceptor_state().store_put(SignedFor(region.to_owned()));
        }
        Ok(())
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(response) = context.response_mut() else { return Ok(()) };
        let (Some(SignedFor(signed)), None) = (bag.load::<SignedFor>(), bag.load::<Followed>()) else {
            return Ok(());
        };
        match named_region(response) {
            Some(region) if region != *signed => {
                self.0.move_to(&region);
                bag.interceptor_state().store_put(Followed);
                response.headers_mut().insert(AGAIN, "yes");
            }
            _ => {}
        }
        Ok(())
    }
}

impl ClassifyRetry for Redirects {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response() {
            Some(response) if response.headers().get(AGAIN).is_some() => RetryAction::transient_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "buckets in other regions"
    }
}

/// The region that an answer sends us to, if it is one that sends anywhere.
fn named_region(response: &HttpResponse) -> Option<String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 307 | 400) {
        return None;
    }
    let header = response.headers().get(REGION_HEADER).map(str::to_owned);
    header.or_else(|| region_element(response.body().bytes()?)).filter(|region| !region.is_empty())
}

fn region_element(document: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(document).ok()?;
    let (_, rest) = text.split_once("<Region>")?;
    rest.split_once("</Region>").map(|(region, _)| region.to_owned())
}

/// The region of a SigV4 `Authorization` header:
/// `AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/s3/aws4_request, SignedHeaders=…`.
fn signed_region(authorization: &str) -> Option<&str> {
    let (_, scope) = authorization.split_once("Credential=")?;
    scope.split('/').nth(2)
}

/// In which S3 names a bucket's region, also in refusals and redirects.
pub(super) const REGION_HEADER: &str = "x-amz-bucket-region";

/// Our mark on an answer that another attempt is worth it. The classifier sees nothing else of ours.
const AGAIN: &str = "x-s3xmount-elsewhere";

#[cfg(test)]
mod tests {
    use aws_smithy_types::body::SdkBody;

    use super::*;

    #[test]
    fn the_right_region_is_found_where_s3_says_it() {
        let answer = |status: u16, header: Option<&'static str>, body: &'static str| {
            let mut response = HttpResponse::new(status.try_into().expect("a status"), SdkBody::from(body));
            header.into_iter().for_each(|region| drop(response.headers_mut().insert(REGION_HEADER, region)));
            named_region(&response)
        };
        let found = Some("eu-west-1".to_owned());
        let malformed = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
        assert_eq!(answer(301, Some("eu-west-1"), ""), found);
        assert_eq!(answer(307, Some("eu-west-1"), "<Error/>"), found);
        assert_eq!(answer(400, None, malformed), found);
        assert_eq!(answer(400, None, "<Error><Code>MalformedXML</Code></Error>"), None);
        assert_eq!(answer(403, Some("eu-west-1"), ""), None, "that is no redirect");
        assert_eq!(answer(200, Some("eu-west-1"), ""), None);
    }

    #[test]
    fn the_region_is_found_in_the_signature() {
        let header = "AWS4-HMAC-SHA256 Credential=ASIAX/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        assert_eq!(signed_region(header), Some("eu-west-1"));
        assert_eq!(signed_region("Bearer x"), None);
    }
}
