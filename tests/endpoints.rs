//! Where requests go: host names, regions, access points, and what happens when that was wrong.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise is a failure")]

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use parking_lot::Mutex;
use s3xmount::credentials::{Credentials, Options as WhoOptions, StsVariant};
use s3xmount::emulator::demo::{self, Rights};
use s3xmount::emulator::{
    AccessKey, BucketSpec, Gate, InProcess, Misdirected, On, Ownership, User, World as Emulated,
};
use s3xmount::error::{Error, Kind};
use s3xmount::name::{BucketName, DirPrefix, ObjectKey};
use s3xmount::s3::{
    self, Body, CredentialsOwner, Depth, Endpoint, Gap, Gateway, NewObject, ObjectMeta, Precondition,
    S3Error, S3ErrorKind, Server, Variant, WriteRules,
};
use s3xmount::task::Tasks;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::support::{How, MIB, Options, World, pattern};

// ---- host names ----

#[tokio::test(start_paused = true)]
async fn each_kind_of_name_has_its_host() {
    const PLAIN: Variant = Variant { dualstack: false, fips: false, accelerate: false };
    const DUAL: Variant = Variant { dualstack: true, ..PLAIN };
    const FIPS: Variant = Variant { fips: true, ..PLAIN };
    const BOTH: Variant = Variant { dualstack: true, ..FIPS };
    const FAST: Variant = Variant { accelerate: true, ..PLAIN };
    const FAST_DUAL: Variant = Variant { dualstack: true, ..FAST };
    const POINT: &str = "arn:aws:s3:eu-west-1:444455556666:accesspoint/mine";
    const CHINA: &str = "arn:aws-cn:s3:cn-north-1:444455556666:accesspoint/mine";
    const ALIAS: &str = "mine-hrzrlukc5m36ft7okagglf3gmwluquse1b-s3alias";
    const OUTPOST: &str = "arn:aws:s3-outposts:us-west-2:444455556666:outpost/op-0123/accesspoint/mine";
    #[rustfmt::skip]
    let table = [
        ("photos", "eu-west-1", PLAIN, "https://photos.s3.eu-west-1.amazonaws.com/k"),
        ("photos", "us-east-1", PLAIN, "https://photos.s3.us-east-1.amazonaws.com/k"),
        ("photos", "eu-west-1", DUAL, "https://photos.s3.dualstack.eu-west-1.amazonaws.com/k"),
        ("photos", "us-east-1", FIPS, "https://photos.s3-fips.us-east-1.amazonaws.com/k"),
        ("photos", "us-east-1", BOTH, "https://photos.s3-fips.dualstack.us-east-1.amazonaws.com/k"),
        ("photos", "eu-west-1", FAST, "https://photos.s3-accelerate.amazonaws.com/k"),
        ("photos", "eu-west-1", FAST_DUAL, "https://photos.s3-accelerate.dualstack.amazonaws.com/k"),
        ("photos", "cn-north-1", PLAIN, "https://photos.s3.cn-north-1.amazonaws.com.cn/k"),
        ("SampleBucketA", "us-east-1", PLAIN, "https://s3.us-east-1.amazonaws.com/SampleBucketA/k"),
        ("SampleBucketA", "us-east-1", DUAL, "https://s3.dualstack.us-east-1.amazonaws.com/SampleBucketA/k"),
        ("SampleBucketA", "us-east-1", FIPS, "https://s3-fips.us-east-1.amazonaws.com/SampleBucketA/k"),
        ("SampleBucketA", "us-east-1", BOTH, "https://s3-fips.dualstack.us-east-1.amazonaws.com/SampleBucketA/k"),
        ("under_score", "us-east-1", PLAIN, "https://s3.us-east-1.amazonaws.com/under_score/k"),
        ("photos.example", "eu-west-1", PLAIN, "https://s3.eu-west-1.amazonaws.com/photos.example/k"),
        (ALIAS, "eu-west-1", PLAIN, "https://mine-hrzrlukc5m36ft7okagglf3gmwluquse1b-s3alias.s3.eu-west-1.amazonaws.com/k"),
        (POINT, "us-east-1", PLAIN, "https://mine-444455556666.s3-accesspoint.eu-west-1.amazonaws.com/k"),
        (POINT, "us-east-1", DUAL, "https://mine-444455556666.s3-accesspoint.dualstack.eu-west-1.amazonaws.com/k"),
        (POINT, "us-east-1", FIPS, "https://mine-444455556666.s3-accesspoint-fips.eu-west-1.amazonaws.com/k"),
        (CHINA, "cn-northwest-1", PLAIN, "https://mine-444455556666.s3-accesspoint.cn-north-1.amazonaws.com.cn/k"),
        (OUTPOST, "us-west-2", PLAIN, "https://mine-444455556666.op-0123.s3-outposts.us-west-2.amazonaws.com/k"),
    ];
    for (bucket, region, variant, expected) in table {
        let recorder = Recorder::default();
        let endpoint = Endpoint { variant, ..aws(&recorder) };
        let gateway = Gateway::connect(&endpoint, known(bucket, region)).await.unwrap();
        assert_eq!(gateway.head(&key("k")).await.unwrap_err().kind(), S3ErrorKind::Absent);
        let signed = BucketName::parse(bucket).unwrap().region().unwrap_or(region).to_owned();
        assert_eq!(recorder.sent(), [format!("HEAD {expected} for {signed}")], "{bucket} {variant:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_of_ones_own_has_the_bucket_in_its_host_or_in_the_path() {
    for (bucket, force_path_style, url, expected) in [
        ("photos", false, "http://s3.test:9000", "http://photos.s3.test:9000/k"),
        ("photos", true, "http://s3.test:9000", "http://s3.test:9000/photos/k"),
        ("SampleBucketA", false, "http://s3.test:9000", "http://s3.test:9000/SampleBucketA/k"),
        ("photos", false, "http://127.0.0.1:9000", "http://127.0.0.1:9000/photos/k"),
        ("photos", true, "https://s3.test/base", "https://s3.test/base/photos/k"),
    ] {
        let recorder = Recorder::default();
        let endpoint = Endpoint { url: Some(url.to_owned()), force_path_style, ..aws(&recorder) };
        let gateway = Gateway::connect(&endpoint, known(bucket, "us-east-1")).await.unwrap();
        drop(gateway.head(&key("k")).await);
        assert_eq!(recorder.sent(), [format!("HEAD {expected} for us-east-1")], "{bucket} at {url}");
    }
}

#[tokio::test(start_paused = true)]
async fn copies_are_never_accelerated() {
    let recorder = Recorder::default();
    let endpoint = Endpoint { variant: Variant { accelerate: true, ..Variant::default() }, ..aws(&recorder) };
    let gateway = Gateway::connect(&endpoint, known("photos", "eu-west-1")).await.unwrap();
    let (from, onto) = (key("a b"), key("c"));
    drop(gateway.copy(&gateway, &from, &meta(), &onto, None, &Precondition::Whatever).await);
    drop(gateway.put(&onto, Body::default(), &NewObject::default(), &Precondition::Whatever).await);
    let put = "PUT https://photos.s3-accelerate.amazonaws.com/c for eu-west-1";
    assert_eq!(
        recorder.sent(),
        ["PUT https://photos.s3.eu-west-1.amazonaws.com/c for eu-west-1 from photos/a%20b", put]
    );
}

#[tokio::test(start_paused = true)]
async fn a_copy_names_an_access_point_as_s3_reads_it() {
    let recorder = Recorder::default();
    let point = known("arn:aws:s3:eu-west-1:444455556666:accesspoint/mine", "eu-west-1");
    let source = Gateway::connect(&aws(&recorder), point).await.unwrap();
    let target = Gateway::connect(&aws(&recorder), known("photos", "us-east-1")).await.unwrap();
    drop(target.copy(&source, &key("a/ü"), &meta(), &key("c"), None, &Precondition::Whatever).await);
    let from = "arn%3Aaws%3As3%3Aeu-west-1%3A444455556666%3Aaccesspoint/mine/object/a/%C3%BC";
    let expected = format!("PUT https://photos.s3.us-east-1.amazonaws.com/c for us-east-1 from {from}");
    assert_eq!(recorder.sent(), [expected], "a copy is signed for the region it goes to");
}

#[tokio::test]
async fn sts_is_asked_where_s3_is_wished_to_be() {
    for (variant, url, expected) in [
        ((false, false), None, "https://sts.us-east-1.amazonaws.com/"),
        ((true, false), None, "https://sts.us-east-1.api.aws/"),
        ((false, true), None, "https://sts-fips.us-east-1.amazonaws.com/"),
        ((true, true), None, "https://sts-fips.us-east-1.api.aws/"),
        ((true, true), Some("https://vpce-1.sts.test"), "https://vpce-1.sts.test/"),
    ] {
        let recorder = Recorder::default();
        let world = World::new();
        let (dualstack, fips) = variant;
        let who = WhoOptions {
            sts_endpoint_url: url.map(str::to_owned),
            sts_variant: StsVariant { dualstack, fips },
            http_client: Some(SharedHttpClient::new(recorder.clone())),
            ..world.alice(&Options::default())
        };
        assert!(Credentials::start(who, &Tasks::new(Handle::current())).await.is_err());
        let sent = recorder.sent();
        assert!(!sent.is_empty());
        for request in sent {
            assert!(request.contains(expected), "{variant:?}: {request}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_under_no_bucket_s_host_is_reached_in_path_style() {
    let emulator = InProcess::new(
        Emulated::new()
            .with_user(User::new(demo::ACCOUNT_B, "bob", demo::bob()).policy(&demo::administrator()))
            .with_bucket(BucketSpec::new("photos", demo::ACCOUNT_B)),
    );
    emulator.world().seed("photos", "k", "there");
    let http = SharedHttpClient::new(OnlyHost { host: "s3.test", inner: emulator.http_client() });
    let endpoint = Endpoint {
        http: Some(http),
        url: Some("http://s3.test".into()),
        server: Server::Compatible,
        ..endpoint(&demo::bob())
    };
    let gateway = Gateway::connect(&endpoint, unknown("photos")).await.unwrap();
    assert_eq!(gateway.head(&key("k")).await.unwrap().size, 5);
    assert_eq!(gateway.gaps(), [Gap::HostNames]);
}

// ---- regions ----

#[tokio::test(start_paused = true)]
async fn a_region_is_found_without_any_right() {
    let emulator = InProcess::new(two_regions().with_user(User::new(demo::ACCOUNT_A, "nobody", nobody())));
    for misdirected in [Misdirected::Redirected, Misdirected::Malformed, Misdirected::Illegal] {
        emulator.world().set_misdirected(misdirected);
        for (bucket, region) in [(demo::BUCKETS[0], "us-east-1"), (demo::BUCKETS[1], "eu-west-1")] {
            for owner in [None, Some(demo::ACCOUNT_B), Some(demo::ACCOUNT_A)] {
                let rules = WriteRules::default().expected_bucket_owner(owner.map(|owner| owner.to_string()));
                let options = s3::Options { rules, ..unknown(bucket) };
                let gateway = Gateway::connect(&in_process(&emulator, &nobody()), options).await.unwrap();
                assert_eq!(gateway.region(), region, "{bucket}, {misdirected:?}, owner {owner:?}");
                let denied = gateway.head(&key("welcome.txt")).await.unwrap_err();
                assert_eq!(denied.kind(), S3ErrorKind::Denied);
            }
        }
        let (endpoint, bucket) = (in_process(&emulator, &nobody()), unknown(demo::BUCKETS[1]));
        assert_eq!(Gateway::region_unsigned(&endpoint, &bucket).await, "eu-west-1");
    }
    let missing = Gateway::connect(&in_process(&emulator, &nobody()), unknown("nowhere")).await;
    assert_eq!(missing.unwrap_err().kind(), S3ErrorKind::NoBucket);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_region_is_put_right_by_the_first_answer() {
    let emulator = InProcess::new(two_regions());
    for misdirected in [Misdirected::Redirected, Misdirected::Malformed] {
        emulator.world().set_misdirected(misdirected);
        let wrong = || async {
            Gateway::connect(&in_process(&emulator, &demo::bob()), known(demo::BUCKETS[1], "ap-south-1"))
                .await
        };
        // A HEAD has only headers to learn from, a listing also a document, an upload bytes to send again.
        let head = wrong().await.unwrap();
        assert!(head.head(&key("welcome.txt")).await.is_ok(), "{misdirected:?}");
        let list = wrong().await.unwrap();
        let page = list.list(&DirPrefix::root(), Depth::Level, None, 10).await.unwrap();
        assert!(!page.objects.is_empty());
        let put = wrong().await.unwrap();
        let body = Body::from(Bytes::from_static(b"moved"));
        put.put(&key("new"), body, &NewObject::default(), &Precondition::Whatever).await.unwrap();
        assert_eq!(emulator.world().object(demo::BUCKETS[1], "new").unwrap().content.size(), 5);
        assert_eq!([head, list, put].map(|gateway| gateway.region()), ["eu-west-1"; 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_learnt_of_the_region_serves_all_that_follows() {
    let emulator = InProcess::new(two_regions());
    let endpoint = in_process(&emulator, &demo::bob());
    let gateway = Gateway::connect(&endpoint, known(demo::BUCKETS[1], "ap-south-1")).await.unwrap();
    for _ in 0..3 {
        gateway.head(&key("welcome.txt")).await.unwrap();
    }
    assert_eq!(emulator.world().faults.count("HeadObject"), 4, "only the first was sent twice");
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_is_made_anew_elsewhere_is_followed() {
    let emulator = InProcess::new(two_regions());
    let endpoint = in_process(&emulator, &demo::bob());
    let gateway = Gateway::connect(&endpoint, unknown(demo::BUCKETS[0])).await.unwrap();
    assert_eq!(gateway.region(), "us-east-1");
    let moved = BucketSpec::new(demo::BUCKETS[0], demo::ACCOUNT_B).region("eu-central-1");
    emulator.world().buckets.add(moved, emulator.world().clock.now());
    emulator.world().seed(demo::BUCKETS[0], "k", "there");
    assert_eq!(gateway.head(&key("k")).await.unwrap().size, 5);
    assert_eq!(gateway.region(), "eu-central-1");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_region_that_nothing_tells_explains_itself() {
    let emulator = InProcess::new(two_regions());
    emulator.world().set_misdirected(Misdirected::Illegal);
    let endpoint = in_process(&emulator, &demo::bob());
    let gateway = Gateway::connect(&endpoint, known(demo::BUCKETS[1], "ap-south-1")).await.unwrap();
    let error: S3Error = gateway.list(&DirPrefix::root(), Depth::Level, None, 10).await.unwrap_err();
    assert_eq!(error.kind(), S3ErrorKind::WrongRegion);
    let error = Error::from(error);
    assert_eq!(error.kind(), Kind::Io);
    assert!(error.to_string().contains("leave its `region` away"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_without_regions_is_used_with_any() {
    let emulator = InProcess::new(two_regions());
    emulator.world().set_misdirected(Misdirected::Welcome);
    let options = s3::Options { region_hint: Some("garage".into()), ..unknown(demo::BUCKETS[1]) };
    let endpoint = Endpoint { server: Server::Compatible, ..in_process(&emulator, &demo::bob()) };
    let gateway = Gateway::connect(&endpoint, options).await.unwrap();
    assert_eq!(gateway.region(), "garage");
    assert!(gateway.head(&key("welcome.txt")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_mount_shows_buckets_of_two_regions() {
    let world = World::of(two_regions());
    let mount = world.mount().await;
    let large = pattern(3, 9 * MIB);
    mount.write_file("a/here", &large).await.unwrap();
    mount.write_file("b/there", b"there").await.unwrap();
    mount.append("b/there", b" and more").await.unwrap();
    mount.rename("a/here", "b/moved").await.unwrap();
    mount.rename("b/there", "a/back").await.unwrap();
    assert!(world.stored("b/moved").unwrap() == large);
    assert_eq!(world.stored("a/back").unwrap(), b"there and more");
    assert!(!mount.exists("a/here").await && !mount.exists("b/there").await);
    assert!(world.count("CopyObject") >= 2, "S3 copies between regions by itself");
    let file = mount.open("b/moved", How::Read).await.unwrap();
    assert!(file.read_all().await.unwrap() == large);
    file.close().await.unwrap();
}

// ---- the stage ----

/// The demo, with its second bucket on another continent.
// ---- nobody answers ----

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up_as_late_as_was_said() {
    let emulator = InProcess::new(two_regions());
    let bucket = demo::BUCKETS[0];
    let gateway = Gateway::connect(&in_process(&emulator, &demo::bob()), unknown(bucket)).await.unwrap();
    emulator.world().seed(bucket, "k", "there");
    let meta = gateway.head(&key("k")).await.unwrap();
    let silent = Gate::closed();
    emulator.world().faults.inject(On::anything().always().hold_request(&silent));
    let (new, body) = (NewObject::default(), || Body::from(Bytes::from_static(b"bytes")));
    let target = key("target");

    let begun = Instant::now();
    let read = gateway.head(&key("k")).await.unwrap_err();
    let read_after = begun.elapsed();
    let put = gateway.put(&target, body(), &new, &Precondition::Whatever).await.unwrap_err();
    let put_after = begun.elapsed() - read_after;
    let copied = gateway.copy(&gateway, &key("k"), &meta, &target, None, &Precondition::Whatever).await;
    let copied_after = begun.elapsed() - put_after - read_after;

    let minutes = |least: u64, most: u64| Duration::from_secs(60 * least)..Duration::from_secs(60 * most);
    assert!(minutes(1, 3).contains(&read_after), "{read_after:?}");
    assert!(minutes(6, 7).contains(&put_after), "{put_after:?}");
    assert!(minutes(15, 16).contains(&copied_after), "{copied_after:?}");
    for error in [read, put, copied.unwrap_err()] {
        assert_eq!(error.kind(), S3ErrorKind::Unavailable, "{error}");
    }
}

fn two_regions() -> Emulated {
    let second = demo::BUCKETS[1];
    let moved = BucketSpec::new(second, demo::ACCOUNT_B).region("eu-west-1");
    let moved = moved.ownership(Ownership::BucketOwnerPreferred).policy(&demo::bucket_policy(second));
    let world = demo::world(Rights::Full).with_bucket(moved);
    world.seed(second, "welcome.txt", "Welcome to Ireland.");
    world
}

/// Somebody without any right.
fn nobody() -> AccessKey {
    AccessKey::new("AKIANOBODY", "secret")
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

fn meta() -> ObjectMeta {
    ObjectMeta {
        etag: s3::ETag::new("e"),
        size: 1,
        last_modified: std::time::SystemTime::UNIX_EPOCH,
        storage_class: None,
        details: None,
    }
}

fn unknown(bucket: &str) -> s3::Options {
    s3::Options {
        bucket: BucketName::parse(bucket).unwrap(),
        region: None,
        region_hint: None,
        rules: WriteRules::default(),
    }
}

fn known(bucket: &str, region: &str) -> s3::Options {
    s3::Options { region: Some(region.to_owned()), ..unknown(bucket) }
}

struct Nobody;

impl CredentialsOwner for Nobody {
    fn refused(&self, _: &str) {}

    fn denied(&self, _: &str) -> bool {
        false
    }

    fn confirmed(&self) {}
}

/// AWS, for whoever has this key.
fn endpoint(who: &AccessKey) -> Endpoint {
    Endpoint {
        credentials: SharedCredentialsProvider::new(Keys::new(&who.id, &who.secret, None, None, "test")),
        owner: Arc::new(Nobody),
        http: None,
        url: None,
        server: Server::Aws,
        force_path_style: false,
        variant: Variant::default(),
    }
}

fn aws(recorder: &Recorder) -> Endpoint {
    Endpoint { http: Some(SharedHttpClient::new(recorder.clone())), ..endpoint(&nobody()) }
}

fn in_process(emulator: &InProcess, who: &AccessKey) -> Endpoint {
    Endpoint {
        http: Some(emulator.http_client()),
        url: Some("http://s3.invalid".to_owned()),
        force_path_style: true,
        ..endpoint(who)
    }
}

/// Takes down what would be sent, and answers that there is no such thing.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    /// Method, URL without its query, the region signed for, and the source of a copy.
    fn sent(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl HttpClient for Recorder {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Recorder {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let url = request.uri().split('?').next().unwrap();
        let signature = request.headers().get("authorization").unwrap();
        let region = signature.split_once("Credential=").unwrap().1.split('/').nth(2).unwrap();
        let source = request.headers().get("x-amz-copy-source");
        let source = source.map(|source| format!(" from {source}")).unwrap_or_default();
        self.0.lock().push(format!("{} {url} for {region}{source}", request.method()));
        HttpConnectorFuture::ready(Ok(HttpResponse::new(404.try_into().unwrap(), SdkBody::empty())))
    }
}

/// A network in which there is one host.
#[derive(Debug, Clone)]
struct OnlyHost {
    host: &'static str,
    inner: SharedHttpClient,
}

#[derive(Debug, Clone)]
struct OnlyHostConnector {
    host: &'static str,
    inner: SharedHttpConnector,
}

impl HttpClient for OnlyHost {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(OnlyHostConnector { host: self.host, inner })
    }
}

impl HttpConnector for OnlyHostConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let host = request.uri().split("://").nth(1).unwrap().split('/').next().unwrap();
        match host == self.host {
            true => self.inner.call(request),
            false => HttpConnectorFuture::ready(Err(ConnectorError::io("no such host".into()))),
        }
    }
}
