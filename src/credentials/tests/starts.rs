//! Starts that do not succeed at once.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_start_that_waits_outlasts_an_hour_without_sts() {
    let mut setting = Setting::lasting(900);
    setting.wait = true;
    setting.sts.always(Answer::Unreachable);
    let options = setting.options();
    let tasks = setting.tasks.clone();
    let starting = setting.tasks.spawn("start", async move { Credentials::start(options, &tasks).await });
    sleep(Duration::from_secs(3600)).await;
    assert!(!starting.is_finished());
    assert!(setting.sts.call_count() < 600, "{} attempts", setting.sts.call_count());
    setting.sts.always(Answer::Grant);
    assert!(starting.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_start_that_waits_does_not_wait_for_what_will_not_pass() {
    let mut setting = Setting::lasting(900);
    setting.wait = true;
    setting.sts.always(Answer::DENIED);
    assert_eq!(setting.start().await.unwrap_err().kind(), Kind::Denied);
    assert_eq!(setting.sts.call_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_goes_on_in_the_background_comes_to_a_session_when_it_can() {
    for trouble in [Answer::DENIED, Answer::DOWN] {
        let setting = Setting::lasting(900);
        setting.sts.always(trouble.clone());
        let (credentials, failure) = Credentials::start_anyway(setting.options(), &setting.tasks).await;
        assert!(
            failure.is_some() && !credentials.are_there() && credentials.expiry().is_none(),
            "{trouble:?}"
        );
        assert!(credentials.report().trouble.unwrap().contains(ROLE));
        let (outcome, waited) = sign(&credentials).await;
        let is_final = matches!(trouble, Answer::Refuse { status: 403, .. });
        assert!(outcome.is_err() && waited.is_zero() == is_final, "{trouble:?}: {waited:?}");

        setting.sts.always(Answer::Grant);
        sleep(Duration::from_secs(61)).await;
        assert!(sign(&credentials).await.0.is_ok() && credentials.are_there(), "{trouble:?}");
        assert_eq!(credentials.report().renewals, 0, "the first session renews nothing");
    }
}
