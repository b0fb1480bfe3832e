//! Who sent a request, and when: signatures, session tokens, and the way on to S3 or STS.
//!
//! s3s serves twice here. The *outer* service verifies signatures and unwraps aws-chunked
//! bodies, and routes everything to [`Admission`]'s one route. That looks at what s3s never
//! shows its hooks (the session token, the region, who the key belongs to) and hands the
//! request, no longer signed, to the *inner* service, which parses operations. Whether a signature is
//! of the present is judged here too: s3s would go by the real time. The two steps
//! also give us the chance to mend what s3s does not take: it refuses copy sources in buckets
//! with capital letters, so the true source travels beside the request.

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::http::Extensions;
use hyper::{HeaderMap, Method, StatusCode, Uri};
use s3s::auth::{S3Auth, SecretKey};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::route::S3Route;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::validation::NameValidation;
use s3s::{Body, HttpRequest, S3, S3Error, S3Request, S3Response, S3Result, TrailingHeaders};

use super::World;
use super::clock::{Skew, parse_compact_time};
use super::directory::{BadKey, Caller};
use super::listing::percent_decode;
use super::refusal::Refusal;
use super::s3::Desk;
use super::serve::Exchange;
use super::sts;

/// What admission found out about an S3 request; travels with it as an extension.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    /// Who asks.
    pub(super) caller: Caller,
    /// The region the signature names.
    pub(super) region: Option<String>,
    /// What follows an aws-chunked body, once it has been read.
    pub(super) trailers: Option<TrailingHeaders>,
    /// The true value of `x-amz-copy-source`.
    pub(super) copy_source: Option<Source>,
}

/// Why a signature that was verified is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is of another time.
    Time(Skew),
    /// So is its key, or its key is nobody's.
    Key(BadKey),
}

/// The object that a copy reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) bucket: String,
    pub(super) key: String,
}

/// Returns the service that answers everything.
pub(super) fn service(world: &Arc<World>) -> S3Service {
    let mut inner = S3ServiceBuilder::new(Desk::new(world.clone()));
    inner.set_validation(AnyName);
    let mut outer = S3ServiceBuilder::new(Unreachable);
    outer.set_validation(AnyName);
    let mut config = S3Config::default();
    config.presigned_url_max_skew_time_secs = u32::MAX;
    outer.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    outer.set_auth(Keyring { world: world.clone() });
    outer.set_route(Admitter { world: world.clone(), inner: inner.build() });
    outer.build()
}

/// Whether a request is for STS rather than S3: only STS takes forms at the root.
pub(super) fn is_for_sts(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let form = |kind: &str| kind.starts_with("application/x-www-form-urlencoded");
    let content_type = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    *method == Method::POST && uri.path() == "/" && content_type.is_some_and(form)
}

struct Keyring {
    world: Arc<World>,
}

struct Admitter {
    world: Arc<World>,
    inner: S3Service,
}

/// The outer service's operations, which its route keeps everybody from.
struct Unreachable;

/// Names are judged by whether there is such a bucket: old ones have capitals.
struct AnyName;

#[async_trait::async_trait]
impl S3Auth for Keyring {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let secret = self.world.directory.secret(access_key);
        secret.map(SecretKey::from).ok_or_else(|| refusal_of(BadKey::Unknown).into())
    }
}

#[async_trait::async_trait]
impl S3Route for Admitter {
    fn is_match(&self, _: &Method, _: &Uri, _: &HeaderMap, _: &mut Extensions) -> bool {
        true
    }

    async fn check_access(&self, _request: &mut S3Request<Body>) -> S3Result<()> {
        // Unsigned requests go on as anonymous ones; a policy may still welcome them.
        Ok(())
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let caller = self.identify(&request);
        if is_for_sts(&request.method, &request.uri, &request.headers) {
            return sts::answer(&self.world, caller, request).await;
        }
        match caller {
            Ok(caller) => self.pass_on(caller, request).await,
            Err(Unfit::Key(bad)) => Err(refusal_of(bad).into()),
            Err(Unfit::Time(skew)) => {
                Ok(too_skewed(&skew.s3_document(Exchange::of(&request.extensions).id())))
            }
        }
    }
}

impl S3 for Unreachable {}

impl NameValidation for AnyName {
    fn validate_bucket_name(&self, name: &str) -> bool {
        !name.is_empty()
    }
}

impl Admitter {
    fn identify(&self, request: &S3Request<Body>) -> Result<Caller, Unfit> {
        let Some(credentials) = &request.credentials else { return Ok(Caller::anonymous()) };
        self.judge_time(request).map_err(Unfit::Time)?;
        let header = request.headers.get("x-amz-security-token").and_then(|token| token.to_str().ok());
        let token = header.map(str::to_owned).or_else(|| query_value(&request.uri, "x-amz-security-token"));
        let now = self.world.clock.now();
        self.world.directory.authenticate(&credentials.access_key, token.as_deref(), now).map_err(Unfit::Key)
    }

    fn judge_time(&self, request: &S3Request<Body>) -> Result<(), Skew> {
        let header = request.headers.get("x-amz-date").and_then(|date| date.to_str().ok());
        if let Some(signed) = header.and_then(parse_compact_time) {
            return self.world.clock.judge(signed);
        }
        // A presigned URL says itself until when it is good, which s3s judges by the real time.
        let query = query_value(&request.uri, "x-amz-date");
        match query.as_deref().and_then(parse_compact_time).map(|signed| self.world.clock.judge(signed)) {
            Some(Err(skew)) if skew.is_early() => Err(skew),
            _ => Ok(()),
        }
    }

    async fn pass_on(&self, caller: Caller, mut request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        self.world.lacks.meet(&request.method, &mut request.uri, &mut request.headers)?;
        let copy_source = replace_copy_source(&mut request.headers)?;
        // The inner service verifies nothing, so nothing may look as if it could.
        request.headers.remove(AUTHORIZATION);
        let admission = Admission {
            caller,
            region: request.region.map(|region| region.as_str().to_owned()),
            trailers: request.trailing_headers,
            copy_source,
        };
        let mut inner = HttpRequest::new(request.input);
        *inner.method_mut() = request.method;
        *inner.uri_mut() = without_signature(request.uri);
        *inner.headers_mut() = request.headers;
        *inner.extensions_mut() = request.extensions;
        inner.extensions_mut().insert(admission);
        let response = self
            .inner
            .call(inner)
            .await
            .map_err(|error| S3Error::with_source(s3s::S3ErrorCode::InternalError, error.into()))?;
        let (parts, body) = response.into_parts();
        let mut answer = S3Response::with_status(body, parts.status);
        answer.headers = parts.headers;
        Ok(answer)
    }
}

impl Exchange {
    /// The exchange that a request belongs to.
    pub(super) fn of(extensions: &Extensions) -> Arc<Self> {
        extensions.get::<Arc<Self>>().expect("the door opens an exchange for every request").clone()
    }
}

/// S3's refusal of a signature of another time.
fn too_skewed(document: &str) -> S3Response<Body> {
    let mut response = S3Response::with_status(Body::from(document.to_owned()), StatusCode::FORBIDDEN);
    response.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

fn refusal_of(bad: BadKey) -> Refusal {
    match bad {
        BadKey::Unknown => Refusal::new(
            403,
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
        ),
        BadKey::WrongToken => {
            Refusal::new(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
        }
        BadKey::Expired => Refusal::new(400, "ExpiredToken", "The provided token has expired."),
    }
}

/// Takes the copy source out of the headers and leaves one that s3s accepts.
fn replace_copy_source(headers: &mut HeaderMap) -> Result<Option<Source>, Refusal> {
    const STAND_IN: &str = "stand-in/key";
    let Some(header) = headers.get_mut("x-amz-copy-source") else { return Ok(None) };
    let source = header.to_str().ok().and_then(Source::parse);
    *header = HeaderValue::from_static(STAND_IN);
    source.map(Some).ok_or_else(|| {
        Refusal::invalid_argument(
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
        )
    })
}

impl Source {
    fn parse(header: &str) -> Option<Self> {
        let decoded = percent_decode(header)?;
        let (bucket, key) = decoded.strip_prefix('/').unwrap_or(&decoded).split_once('/')?;
        let plain = !bucket.is_empty() && !key.is_empty() && !header.contains("?versionId=");
        plain.then(|| Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

fn query_value(uri: &Uri, name: &str) -> Option<String> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .into_iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .and_then(|(_, value)| percent_decode(value))
}

/// Takes the signature of a presigned URL out of it, of the current kind or of the older one.
fn without_signature(uri: Uri) -> Uri {
    let Some(query) = uri.query().filter(|query| query.contains("Signature=")) else { return uri };
    let signs = |pair: &str| SIGNING_PARAMETERS.iter().any(|parameter| pair.starts_with(parameter));
    let rest: Vec<_> = query.split('&').filter(|pair| !signs(pair)).collect();
    let path_and_query = format!("{}?{}", uri.path(), rest.join("&"));
    path_and_query.parse().expect("a part of a URI is a URI")
}

const SIGNING_PARAMETERS: [&str; 5] =
    ["X-Amz-", "AWSAccessKeyId=", "Signature=", "Expires=", "x-amz-security-token="];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_source_may_begin_with_a_slash_and_have_capitals() {
        let source = Source { bucket: "SampleBucketA".to_owned(), key: "a b/ü".to_owned() };
        assert_eq!(Source::parse("SampleBucketA/a%20b/%C3%BC"), Some(source.clone()));
        assert_eq!(Source::parse("/SampleBucketA/a%20b/%C3%BC"), Some(source));
        assert_eq!(Source::parse("SampleBucketA"), None);
    }

    #[test]
    fn a_presigned_url_loses_its_signature_only() {
        for signed in
            ["X-Amz-Algorithm=x&partNumber=2&X-Amz-Signature=y", "partNumber=2&Signature=y&Expires=1"]
        {
            let uri = format!("/b/k?{signed}").parse().expect("a URI");
            assert_eq!(without_signature(uri).to_string(), "/b/k?partNumber=2");
        }
    }
}
