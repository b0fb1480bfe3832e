//! Roles that demand the code of an MFA device.

use super::*;
use crate::secret::Secret;

const DEVICE: &str = "arn:aws:iam::111122223333:mfa/alice";

/// A person at the prompt, who types these codes.
fn typed(codes: &[&str]) -> CodeSource {
    let codes: Vec<String> = codes.iter().rev().map(|code| (*code).to_owned()).collect();
    let codes = Mutex::new(codes);
    let ask = move |serial: &str| {
        assert_eq!(serial, DEVICE);
        codes.lock().pop().ok_or_else(|| std::io::Error::other("nothing was typed"))
    };
    CodeSource { command: None, ask: Some(Arc::new(ask)) }
}

fn demanding(seconds: u64, codes: CodeSource) -> Setting {
    let mut setting = Setting::lasting(seconds);
    setting.roles[0].mfa_serial = Some(DEVICE.to_owned());
    setting.codes = codes;
    setting
}

fn codes_sent(setting: &Setting) -> Vec<Option<String>> {
    setting.sts.calls().iter().map(|call| call.parameter("TokenCode")).collect()
}

fn code(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test(start_paused = true)]
async fn the_code_is_asked_for_at_the_start() {
    let setting = demanding(900, typed(&["111111"]));
    setting.started().await;
    assert_eq!(codes_sent(&setting), [code("111111")]);
    assert_eq!(setting.sts.calls()[0].parameter("SerialNumber").as_deref(), Some(DEVICE));
}

#[tokio::test(start_paused = true)]
async fn without_anybody_to_ask_the_start_fails_and_sts_is_not_asked() {
    let setting = demanding(900, CodeSource::default());
    let error = setting.start().await.unwrap_err();
    assert_eq!((error.kind(), setting.sts.call_count()), (Kind::Denied, 0));
    assert!(error.to_string().contains(DEVICE), "{error}");
}

/// With a clock that runs: a process would be waited for in no time.
#[tokio::test]
async fn a_command_is_asked_for_every_session() {
    let command = CodeSource { command: Some(Secret::from("echo 222222".to_owned())), ask: None };
    let setting = demanding(900, command);
    let credentials = setting.started().await;
    credentials.refused(&present_id(&credentials));
    assert_eq!(key_id(&credentials).await, "ASIA2");
    assert_eq!(codes_sent(&setting), [code("222222"), code("222222")]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_be_renewed_serves_to_its_end_and_a_login_brings_the_next() {
    let setting = demanding(900, typed(&["111111", "never used"]));
    let credentials = setting.started().await;
    assert_eq!(credentials.report().needs_code, None);
    let slowest = sign_throughout(&setting, &credentials, Duration::from_secs(898)).await;
    assert_eq!((slowest, key_id(&credentials).await.as_str()), (Duration::ZERO, "ASIA1"));
    let report = credentials.report();
    assert_eq!(report.needs_code.as_deref(), Some(DEVICE));
    assert!(report.trouble.unwrap().contains("s3xmount login"));
    assert_eq!(setting.sts.call_count(), 1, "without a code there is nothing to ask STS");

    sleep(Duration::from_secs(3)).await;
    let error = words(&sign(&credentials).await.0.unwrap_err());
    assert!(error.contains("s3xmount login"), "{error}");

    let until = credentials.login(Secret::from("333333".to_owned())).await.unwrap();
    assert!(until.unwrap() > setting.time.now());
    assert_eq!(key_id(&credentials).await, "ASIA2");
    assert_eq!(codes_sent(&setting), [code("111111"), code("333333")]);
    assert_eq!(credentials.report().needs_code, None);
}

#[tokio::test(start_paused = true)]
async fn a_login_with_a_wrong_code_says_so_and_leaves_the_session_alone() {
    let setting = demanding(900, typed(&["111111"]));
    let credentials = setting.started().await;
    setting.sts.next([Answer::DENIED]);
    let error = credentials.login(Secret::from("444444".to_owned())).await.unwrap_err();
    assert!(error.to_string().contains("was not used before"), "{error}");
    assert!(!error.to_string().contains("444444"), "{error}");
    assert_eq!(key_id(&credentials).await, "ASIA1");
    credentials.login(Secret::from("555555".to_owned())).await.unwrap();
    assert_eq!(key_id(&credentials).await, "ASIA3");
}

#[tokio::test(start_paused = true)]
async fn a_login_while_sts_is_down_ends_and_its_code_is_forgotten() {
    let setting = demanding(900, typed(&["111111"]));
    let credentials = setting.started().await;
    setting.sts.next([Answer::DOWN]);
    assert!(credentials.login(Secret::from("444444".to_owned())).await.is_err());
    sleep(Duration::from_secs(800)).await;
    assert_eq!(codes_sent(&setting), [code("111111"), code("444444")], "a stale code is not sent");
}

#[tokio::test(start_paused = true)]
async fn a_role_without_mfa_is_renewed_by_a_login_all_the_same() {
    let setting = Setting::lasting(900);
    let credentials = setting.started().await;
    credentials.login(Secret::from("666666".to_owned())).await.unwrap();
    assert_eq!(codes_sent(&setting), [None, None]);
    assert_eq!(key_id(&credentials).await, "ASIA2");
}

/// The attempt under way has not seen the code; what it came to is not the answer.
#[tokio::test(start_paused = true)]
async fn a_login_during_an_attempt_waits_for_the_next_one() {
    let setting = demanding(20, typed(&["111111"]));
    let credentials = setting.started().await;
    let permits = Arc::new(Semaphore::new(0));
    setting.sts.next([Answer::Silence, Answer::GrantWhenPermitted(Arc::clone(&permits))]);
    let first = {
        let credentials = Arc::clone(&credentials);
        setting
            .tasks
            .spawn("login", async move { credentials.login(Secret::from("222222".to_owned())).await })
    };
    sleep(Duration::from_secs(1)).await;
    permits.add_permits(1);
    assert!(first.await.unwrap().is_err(), "STS never answered that one");
    credentials.login(Secret::from("333333".to_owned())).await.unwrap();
    assert_eq!(codes_sent(&setting), [code("111111"), code("222222"), code("333333")]);
}

/// It succeeds, but with another code: the one that was handed over has its own turn.
#[tokio::test(start_paused = true)]
async fn a_login_during_an_attempt_that_succeeds_is_heard_all_the_same() {
    let setting = demanding(900, typed(&["111111"]));
    let credentials = setting.started().await;
    let permits = Arc::new(Semaphore::new(0));
    setting.sts.next([Answer::GrantWhenPermitted(Arc::clone(&permits))]);
    let login = |code: &'static str| {
        let credentials = Arc::clone(&credentials);
        setting.tasks.spawn("login", async move { credentials.login(Secret::from(code.to_owned())).await })
    };
    let first = login("222222");
    sleep(Duration::from_secs(1)).await;
    // The first has been used by the attempt that hangs; whoever is next waits for its turn.
    let second = login("333333");
    sleep(Duration::from_secs(1)).await;
    permits.add_permits(1);
    assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
    assert_eq!(codes_sent(&setting), [code("111111"), code("222222"), code("333333")]);
}

#[tokio::test(start_paused = true)]
async fn denials_of_a_session_that_a_person_must_renew_are_taken_as_they_are() {
    let setting = demanding(3600, typed(&["111111"]));
    let credentials = setting.started().await;
    sleep(Duration::from_secs(61)).await;
    assert!(!credentials.denied("ASIA1"));
    assert_eq!(credentials.report().needs_code, None);
}
