//! The whole part against a scripted STS: what requests see while STS is well, and while it is not.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bases;
mod denials;
mod logins;
mod profiles;
mod starts;
mod wishes;

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, advance, sleep};

use super::scripted::{Answer, ScriptedSts, TestTime};
use super::*;
use crate::error::Kind;

const ROLE: &str = "arn:aws:iam::111122223333:role/reader";
const SECOND_ROLE: &str = "arn:aws:iam::444455556666:role/writer";
const WAIT_MAX: Duration = Duration::from_secs(60);

/// An STS, a base identity, and the time they live in.
struct Setting {
    time: TestTime,
    sts: ScriptedSts,
    base: RotatedKeys,
    tasks: Tasks,
    roles: Vec<RoleOptions>,
    bounds: Bounds,
    codes: CodeSource,
    wait: bool,
}

impl Setting {
    /// One role whose sessions last as long as this.
    fn lasting(seconds: u64) -> Self {
        let time = TestTime::new();
        Self {
            sts: ScriptedSts::new(time.clone()),
            base: RotatedKeys::new("AKIA1"),
            tasks: Tasks::new(Handle::current()),
            roles: vec![role(ROLE, seconds)],
            bounds: Bounds::default(),
            codes: CodeSource::default(),
            wait: false,
            time,
        }
    }

    fn options(&self) -> Options {
        Options {
            base: BaseSource::Given(SharedCredentialsProvider::new(self.base.clone())),
            region: Some("eu-west-1".to_owned()),
            sts_endpoint_url: Some("http://sts.test".to_owned()),
            sts_variant: StsVariant::default(),
            roles: self.roles.clone(),
            bounds: self.bounds.clone(),
            codes: self.codes.clone(),
            session_name: "s3xmount-alice-host".to_owned(),
            wait: self.wait,
            tell: None,
            suspect_denials: true,
            http_client: Some(SharedHttpClient::new(self.sts.clone())),
            wait_max: WAIT_MAX,
            clock: self.time.clock(),
        }
    }

    async fn start(&self) -> Result<Arc<Credentials>> {
        Credentials::start(self.options(), &self.tasks).await
    }

    async fn started(&self) -> Arc<Credentials> {
        self.start().await.unwrap()
    }
}

fn role(arn: &str, seconds: u64) -> RoleOptions {
    RoleOptions { duration: Duration::from_secs(seconds), ..RoleOptions::new(arn, "s3xmount-alice-host") }
}

/// Base keys that a test can replace, as a person edits the credentials file.
#[derive(Clone)]
struct RotatedKeys(Arc<Mutex<(String, u32)>>);

impl RotatedKeys {
    fn new(id: &str) -> Self {
        Self(Arc::new(Mutex::new((id.to_owned(), 0))))
    }

    fn rotate(&self, id: &str) {
        self.0.lock().0 = id.to_owned();
    }

    fn loads(&self) -> u32 {
        self.0.lock().1
    }
}

impl ProvideCredentials for RotatedKeys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let mut keys = self.0.lock();
        keys.1 += 1;
        future::ProvideCredentials::ready(Ok(Keys::new(&*keys.0, "base-secret", None, None, "test")))
    }
}

impl fmt::Debug for RotatedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RotatedKeys")
    }
}

/// What a request would sign with, and how long it waited to know.
async fn sign(credentials: &Credentials) -> (Result<Keys, CredentialsError>, Duration) {
    let began = Instant::now();
    let keys = credentials.provider().provide_credentials().await;
    (keys, began.elapsed())
}

async fn key_id(credentials: &Credentials) -> String {
    sign(credentials).await.0.unwrap().access_key_id().to_owned()
}

/// The keys that are offered, usable or not.
fn present_id(credentials: &Credentials) -> String {
    let grant = credentials.shared.offer.borrow().grant.clone();
    grant.unwrap().keys.access_key_id().to_owned()
}

/// Every cause of a provider's error in one line.
fn words(error: &CredentialsError) -> String {
    let source = std::error::Error::source(error).expect("our errors have a source");
    source.downcast_ref::<Unavailable>().expect("of our type").to_string()
}

/// Lets `length` pass in small steps, while a request is signed at each of them; returns how long
/// the slowest waited. Every key handed out must have life left.
async fn sign_throughout(setting: &Setting, credentials: &Credentials, length: Duration) -> Duration {
    let until = Instant::now() + length;
    let mut slowest = Duration::ZERO;
    while Instant::now() < until {
        let (keys, waited) = sign(credentials).await;
        assert!(keys.unwrap().expiry().unwrap() > setting.time.now());
        slowest = slowest.max(waited);
        sleep(length / 1000).await;
    }
    slowest
}

#[tokio::test(start_paused = true)]
async fn a_role_is_assumed_as_configured() {
    let mut setting = Setting::lasting(28_800);
    setting.roles[0].external_id = Some("shared-word".to_owned());
    let credentials = setting.started().await;

    let call = setting.sts.calls().remove(0);
    assert_eq!((call.role.as_str(), call.signer.as_str()), (ROLE, "AKIA1"));
    assert_eq!((call.session_name.as_str(), call.seconds), ("s3xmount-alice-host", 28_800));
    assert_eq!(call.parameter("ExternalId").as_deref(), Some("shared-word"));

    let keys = sign(&credentials).await.0.unwrap();
    assert_eq!(keys.access_key_id(), "ASIA1");
    assert_eq!(keys.session_token(), Some("token-of-1"));
    let caller = credentials.caller().unwrap();
    assert_eq!(caller.arn, "arn:aws:sts::111122223333:assumed-role/reader/s3xmount-alice-host");
    assert_eq!(caller.account, "111122223333");
    assert_eq!(credentials.region().as_deref(), Some("eu-west-1"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_at_the_start_says_who_was_refused_what_and_where_to_look() {
    let setting = Setting::lasting(3600);
    setting.sts.always(Answer::DENIED);
    let error = setting.start().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert_eq!(
        error.to_string(),
        "assuming role arn:aws:iam::111122223333:role/reader in account 111122223333 \
         as arn:aws:iam::111122223333:user/alice: STS refuses (AccessDenied: because, request id r-1); \
         hint: check that the role exists, that its trust policy names arn:aws:iam::111122223333:user/alice, \
         whether it demands an external id (none was sent), \
         and that the identity policy of arn:aws:iam::111122223333:user/alice allows sts:AssumeRole on it; \
         s3xmount doctor prints both statements"
    );
    assert_eq!(setting.sts.call_count(), 1, "a refusal is not repeated");
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_at_the_start_but_not_for_ever() {
    for trouble in [Answer::Unreachable, Answer::DOWN, Answer::Garbage, Answer::Silence, Answer::EXPIRED] {
        let setting = Setting::lasting(3600);
        setting.sts.next([trouble.clone(), trouble.clone()]);
        assert_eq!(key_id(&*setting.started().await).await, "ASIA3", "{trouble:?}");

        let setting = Setting::lasting(3600);
        setting.sts.always(trouble.clone());
        let error = setting.start().await.unwrap_err().to_string();
        assert_eq!(setting.sts.call_count(), 3, "{trouble:?}");
        assert!(error.contains(ROLE) && error.contains("hint: "), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_without_a_reachable_sts_does_not_take_long() {
    let setting = Setting::lasting(3600);
    setting.sts.caller_is(Err(Answer::Unreachable));
    let error = setting.start().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
    assert!(error.to_string().contains("connection refused"), "{error}");
    assert!(setting.time.elapsed() < Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn sessions_of_every_length_are_renewed_before_anybody_waits() {
    for seconds in [3, 20, 900, 3600, 28_800] {
        let setting = Setting::lasting(seconds);
        let credentials = setting.started().await;
        let slowest = sign_throughout(&setting, &credentials, Duration::from_secs(seconds * 12)).await;
        assert_eq!(slowest, Duration::ZERO, "sessions of {seconds} s");
        let calls = setting.sts.call_count();
        assert!((13..=31).contains(&calls), "{calls} calls in 12 lives of {seconds} s");
        setting.tasks.stop(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_what_is_left_is_not_noticed() {
    for trouble in [Answer::Unreachable, Answer::DOWN, Answer::Garbage, Answer::THROTTLED, Answer::Silence] {
        let setting = Setting::lasting(900);
        let credentials = setting.started().await;
        setting.sts.always(trouble.clone());
        // The renewal is sought after 540 to 600 seconds; it fails until 840.
        let mut slowest = sign_throughout(&setting, &credentials, Duration::from_secs(840)).await;
        let attempts = setting.sts.call_count() - 1;
        assert!((4..=60).contains(&attempts), "{attempts} attempts during {trouble:?}");
        setting.sts.always(Answer::Grant);
        slowest = slowest.max(sign_throughout(&setting, &credentials, Duration::from_secs(300)).await);
        assert_eq!(slowest, Duration::ZERO, "{trouble:?}");
        assert_ne!(key_id(&credentials).await, "ASIA1");
    }
}

/// Found by a soak: the row of failures before made the pause after the throttling outlast the session.
#[tokio::test(start_paused = true)]
async fn an_sts_that_is_busy_after_it_was_down_is_asked_again_before_the_session_ends() {
    let setting = Setting::lasting(20);
    let credentials = setting.started().await;
    setting.sts.next([Answer::DOWN, Answer::DOWN, Answer::DOWN, Answer::THROTTLED]);
    let slowest = sign_throughout(&setting, &credentials, Duration::from_secs(30)).await;
    assert_eq!(slowest, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn in_a_longer_outage_requests_wait_and_go_on_with_the_first_new_session() {
    let setting = Setting::lasting(900);
    let credentials = setting.started().await;
    setting.sts.always(Answer::DOWN);
    sleep(Duration::from_secs(905)).await;

    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let credentials = Arc::clone(&credentials);
            setting.tasks.spawn("request", async move { sign(&credentials).await })
        })
        .collect();
    sleep(Duration::from_secs(20)).await;
    assert!(waiting.iter().all(|request| !request.is_finished()));
    setting.sts.always(Answer::Grant);
    let calls = setting.sts.call_count();
    while setting.sts.call_count() == calls {
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_millis(10)).await;
    assert!(waiting.iter().all(tokio::task::JoinHandle::is_finished), "released with the new session");
    for request in waiting {
        let (keys, waited) = request.await.unwrap();
        assert!(keys.unwrap().expiry().unwrap() > setting.time.now());
        assert!(waited <= Duration::from_secs(20 + 16), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_has_a_deadline_and_its_error_says_what_is_wrong() {
    let setting = Setting::lasting(900);
    let credentials = setting.started().await;
    setting.sts.always(Answer::DOWN);
    sleep(Duration::from_secs(905)).await;
    let (outcome, waited) = sign(&credentials).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, CredentialsError::ProviderError(_)), "{error:?}");
    assert!(words(&error).contains("none came within 60 s"), "{}", words(&error));
    assert!(words(&error).contains("ServiceUnavailable"), "{}", words(&error));
    assert_eq!(waited.as_secs(), WAIT_MAX.as_secs());
}

#[tokio::test(start_paused = true)]
async fn after_a_final_refusal_the_session_serves_to_its_end_and_then_requests_fail_at_once() {
    let setting = Setting::lasting(900);
    let credentials = setting.started().await;
    setting.sts.always(Answer::DENIED);
    let slowest = sign_throughout(&setting, &credentials, Duration::from_secs(898)).await;
    assert_eq!((slowest, key_id(&credentials).await.as_str()), (Duration::ZERO, "ASIA1"));

    sleep(Duration::from_secs(3)).await;
    let (outcome, waited) = sign(&credentials).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, CredentialsError::InvalidConfiguration(_)), "{error:?}");
    assert!(words(&error).contains("trust policy"), "{}", words(&error));
    assert_eq!(waited, Duration::ZERO);

    // Somebody puts the trust policy right.
    setting.sts.always(Answer::Grant);
    sleep(Duration::from_secs(61)).await;
    assert_ne!(key_id(&credentials).await, "ASIA1");
}

#[tokio::test(start_paused = true)]
async fn two_hundred_requests_during_a_renewal_cause_one_call() {
    let setting = Setting::lasting(900);
    let credentials = setting.started().await;
    let permits = Arc::new(Semaphore::new(0));
    setting.sts.always(Answer::GrantWhenPermitted(Arc::clone(&permits)));
    credentials.refused("ASIA1");
    let requests: Vec<_> = (0..200)
        .map(|_| {
            let credentials = Arc::clone(&credentials);
            setting.tasks.spawn("request", async move { key_id(&credentials).await })
        })
        .collect();
    sleep(Duration::from_secs(1)).await;
    permits.add_permits(1);
    for request in requests {
        assert_eq!(request.await.unwrap(), "ASIA2");
    }
    assert_eq!(setting.sts.call_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn fifty_reports_of_the_same_refusal_cause_one_call_and_late_ones_none() {
    let setting = Setting::lasting(900);
    let credentials = setting.started().await;
    for _ in 0..25 {
        credentials.refused("ASIA1");
    }
    assert_eq!(key_id(&credentials).await, "ASIA2");
    for _ in 0..25 {
        credentials.refused("ASIA1");
    }
    credentials.refused("AKIA-of-somebody-else");
    let (keys, waited) = sign(&credentials).await;
    assert_eq!((keys.unwrap().access_key_id(), waited), ("ASIA2", Duration::ZERO));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(setting.sts.call_count(), 2);
}

/// It may be one request that is wrong, and not the keys.
#[tokio::test(start_paused = true)]
async fn fresh_keys_that_are_refused_as_well_are_not_withheld_for_long() {
    let setting = Setting::lasting(900);
    let credentials = setting.started().await;
    sleep(Duration::from_secs(100)).await;
    for _ in 0..5 {
        credentials.refused(&present_id(&credentials));
        let (keys, waited) = sign(&credentials).await;
        assert!(keys.is_ok() && waited <= Duration::from_secs(3), "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn sts_is_not_hammered_when_fresh_sessions_are_refused_as_well() {
    let setting = Setting::lasting(900);
    let credentials = setting.started().await;
    sleep(Duration::from_secs(100)).await;
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        let id = present_id(&credentials);
        credentials.refused(&id);
        advance(Duration::from_millis(20)).await;
    }
    let calls: Vec<_> = setting.sts.calls().iter().skip(1).map(|call| call.at.as_secs()).collect();
    assert!((5..=8).contains(&calls.len()), "calls at {calls:?}");
    assert_eq!(calls[0], 100, "the first refusal is answered at once");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_while_sts_is_down_is_made_good_when_it_is_back() {
    let setting = Setting::lasting(900);
    let credentials = setting.started().await;
    setting.sts.next([Answer::DOWN, Answer::Unreachable, Answer::Garbage]);
    credentials.refused("ASIA1");
    let (keys, waited) = sign(&credentials).await;
    assert_eq!(keys.unwrap().access_key_id(), "ASIA5");
    assert!(waited <= Duration::from_millis(500 + 1000 + 2000), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn the_second_role_is_assumed_with_the_session_of_the_first_and_for_an_hour_at_most() {
    let mut setting = Setting::lasting(28_800);
    setting.roles.push(RoleOptions { external_id: Some("x".to_owned()), ..role(SECOND_ROLE, 28_800) });
    let credentials = setting.started().await;
    let [first, second] = setting.sts.calls().try_into().unwrap();
    assert_eq!(
        (first.role.as_str(), first.seconds, first.parameter("ExternalId").as_deref()),
        (ROLE, 28_800, None)
    );
    assert_eq!(
        (second.role.as_str(), second.seconds, second.parameter("ExternalId").as_deref()),
        (SECOND_ROLE, 3600, Some("x"))
    );
    assert_eq!((first.signer.as_str(), second.signer.as_str()), ("AKIA1", "ASIA1"));
    assert_eq!(key_id(&credentials).await, "ASIA2");
    assert_eq!(credentials.caller().unwrap().account, "444455556666");
}

#[tokio::test(start_paused = true)]
async fn a_refused_hop_is_named() {
    let mut setting = Setting::lasting(3600);
    setting.roles.push(role(SECOND_ROLE, 3600));
    setting.sts.next([Answer::Grant, Answer::DENIED]);
    let error = setting.start().await.unwrap_err().to_string();
    let expected = "role arn:aws:iam::444455556666:role/writer in account 444455556666 (hop 2 of 2) \
                    as arn:aws:sts::111122223333:assumed-role/reader/";
    assert!(error.contains(expected), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_duration_that_the_role_does_not_allow_falls_back_to_an_hour_and_is_not_asked_for_again() {
    let setting = Setting::lasting(28_800);
    setting.sts.next([Answer::INVALID]);
    let credentials = setting.started().await;
    credentials.refused("ASIA2");
    assert_eq!(key_id(&credentials).await, "ASIA3");
    let seconds: Vec<_> = setting.sts.calls().iter().map(|call| call.seconds).collect();
    assert_eq!(seconds, [28_800, 3600, 3600]);
}

#[tokio::test(start_paused = true)]
async fn what_is_invalid_for_another_reason_is_reported() {
    let setting = Setting::lasting(28_800);
    setting.sts.always(Answer::INVALID);
    let error = setting.start().await.unwrap_err();
    assert_eq!((error.kind(), setting.sts.call_count()), (Kind::InvalidArgument, 2));
}

#[tokio::test(start_paused = true)]
async fn rotated_base_keys_are_used_at_the_next_renewal() {
    let setting = Setting::lasting(900);
    let credentials = setting.started().await;
    setting.base.rotate("AKIA2");
    credentials.refused("ASIA1");
    assert_eq!(key_id(&credentials).await, "ASIA2");
    assert_eq!(setting.sts.calls()[1].signer, "AKIA2");
}

#[tokio::test(start_paused = true)]
async fn a_role_that_the_base_identity_already_is_is_not_assumed() {
    let setting = Setting::lasting(900);
    setting.sts.caller_is(Ok("arn:aws:sts::111122223333:assumed-role/reader/i-0abc"));
    let credentials = setting.started().await;
    assert_eq!((key_id(&credentials).await.as_str(), setting.sts.call_count()), ("AKIA1", 0));
    assert!(credentials.caller().unwrap().arn.ends_with("/i-0abc"));

    let mut setting = Setting::lasting(900);
    setting.sts.caller_is(Ok("arn:aws:sts::111122223333:assumed-role/reader/i-0abc"));
    setting.roles.push(role(SECOND_ROLE, 900));
    setting.started().await;
    let roles: Vec<_> = setting.sts.calls().into_iter().map(|call| call.role).collect();
    assert_eq!(roles, [SECOND_ROLE]);
}

#[tokio::test(start_paused = true)]
async fn an_sts_that_cannot_tell_callers_apart_is_good_enough() {
    for answer in [Answer::Garbage, Answer::INVALID, Answer::DENIED] {
        let setting = Setting::lasting(900);
        setting.sts.caller_is(Err(answer.clone()));
        assert_eq!(key_id(&*setting.started().await).await, "ASIA1", "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_through_an_expiry_renews_before_it_signs() {
    let setting = Setting::lasting(900);
    let credentials = setting.started().await;
    // The task has settled down to wait before the machine goes to sleep.
    sleep(Duration::from_secs(1)).await;
    setting.time.sleep_machine(Duration::from_secs(3600));
    let (keys, waited) = sign(&credentials).await;
    assert_eq!((keys.unwrap().access_key_id(), waited), ("ASIA2", Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_into_the_last_minutes_renews_without_being_asked() {
    let setting = Setting::lasting(900);
    let _credentials = setting.started().await;
    sleep(Duration::from_secs(1)).await;
    setting.time.sleep_machine(Duration::from_secs(700));
    sleep(Duration::from_secs(11)).await;
    assert_eq!(setting.sts.call_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn static_keys_without_a_role_are_used_as_they_are_and_read_again_when_refused() {
    let mut setting = Setting::lasting(900);
    setting.roles.clear();
    let credentials = setting.started().await;
    sleep(Duration::from_secs(100_000)).await;
    assert_eq!((key_id(&credentials).await.as_str(), setting.base.loads()), ("AKIA1", 1));
    assert_eq!((credentials.caller(), credentials.expiry()), (None, None));

    // Unchanged keys are offered again: what the server says of them is for the application.
    credentials.refused("AKIA1");
    assert_eq!((key_id(&credentials).await.as_str(), setting.base.loads()), ("AKIA1", 2));

    // The second refusal in a row is answered more slowly.
    setting.base.rotate("AKIA2");
    credentials.refused("AKIA1");
    assert_eq!((key_id(&credentials).await.as_str(), setting.base.loads()), ("AKIA2", 3));
    assert_eq!(setting.sts.call_count(), 0, "nobody asked STS");
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_hear_that_nobody_renews_any_more() {
    let setting = Setting::lasting(900);
    let credentials = setting.started().await;
    setting.sts.always(Answer::Silence);
    credentials.refused("ASIA1");
    let request = tokio::task::LocalSet::new();
    request
        .run_until(async {
            let (outcome, ()) = tokio::join!(sign(&credentials), async {
                sleep(Duration::from_secs(1)).await;
                setting.tasks.stop(Duration::from_secs(1)).await;
            });
            let (outcome, waited) = outcome;
            assert!(words(&outcome.unwrap_err()).contains("taken down"));
            assert_eq!(waited.as_secs(), 1);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_prints_a_secret() {
    let setting = Setting::lasting(900);
    let credentials = setting.started().await;
    let (provider, options) = (credentials.provider(), setting.options());
    let printed = format!("{credentials:?} {provider:?} {options:?}");
    assert!(printed.contains("assumed-role/reader"), "{printed}");
    for secret in ["secret-of-1", "token-of-1", "base-secret"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
