//! Sessions that were revoked: what worked is denied, in the words of any other denial.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_denial_of_what_worked_renews_the_session_and_is_worth_another_attempt() {
    let setting = Setting::lasting(3600);
    let credentials = setting.started().await;
    sleep(Duration::from_secs(61)).await;
    assert!(credentials.denied("ASIA1"));
    assert_eq!(key_id(&credentials).await, "ASIA2", "the next attempt waits for the new keys");
    assert_eq!(setting.sts.call_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn fifty_denials_at_once_cause_one_call_and_all_are_tried_again() {
    let setting = Setting::lasting(3600);
    let credentials = setting.started().await;
    sleep(Duration::from_secs(61)).await;
    for _ in 0..25 {
        assert!(credentials.denied("ASIA1"));
    }
    assert_eq!(key_id(&credentials).await, "ASIA2");
    for _ in 0..25 {
        assert!(credentials.denied("ASIA1"), "those that were signed before");
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(setting.sts.call_count(), 2);
    assert!(!credentials.denied("ASIA2"), "what fresh keys are denied is denied");
}

#[tokio::test(start_paused = true)]
async fn denials_that_a_new_session_does_not_mend_are_answered_ever_more_rarely() {
    let setting = Setting::lasting(43_200);
    let credentials = setting.started().await;
    let mut worth_it = Vec::new();
    for minute in 1..=130_u64 {
        sleep(Duration::from_secs(60)).await;
        if credentials.denied(&present_id(&credentials)) {
            worth_it.push(minute);
        }
    }
    assert_eq!(worth_it, [1, 2, 4, 8, 16, 32, 64, 124]);
    credentials.confirmed();
    sleep(Duration::from_secs(120)).await;
    assert!(credentials.denied(&present_id(&credentials)), "one that was right begins a new row");
}

#[tokio::test(start_paused = true)]
async fn a_suspicion_while_sts_is_down_costs_nobody_the_session() {
    for trouble in [Answer::DOWN, Answer::DENIED, Answer::Unreachable] {
        let setting = Setting::lasting(3600);
        let credentials = setting.started().await;
        sleep(Duration::from_secs(61)).await;
        setting.sts.always(trouble.clone());
        assert!(credentials.denied("ASIA1"), "{trouble:?}");
        let (keys, waited) = sign(&credentials).await;
        assert_eq!(keys.unwrap().access_key_id(), "ASIA1", "{trouble:?}");
        assert!(waited < Duration::from_secs(30), "{trouble:?}: {waited:?}");
        sleep(Duration::from_secs(600)).await;
        assert!(!credentials.denied("ASIA1"), "{trouble:?}: there is nobody to renew it");
        assert_eq!(sign(&credentials).await.1, Duration::ZERO, "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspicion_makes_nobody_wait_for_long() {
    let setting = Setting::lasting(3600);
    let credentials = setting.started().await;
    sleep(Duration::from_secs(61)).await;
    setting.sts.always(Answer::Silence);
    assert!(credentials.denied("ASIA1"));
    let (keys, waited) = sign(&credentials).await;
    assert_eq!((keys.unwrap().access_key_id(), waited.as_secs()), ("ASIA1", 3));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_suspected_of_a_young_session_of_static_keys_or_where_it_is_switched_off() {
    let setting = Setting::lasting(3600);
    let credentials = setting.started().await;
    sleep(Duration::from_secs(59)).await;
    assert!(!credentials.denied("ASIA1"));

    let mut options = setting.options();
    options.suspect_denials = false;
    let indifferent = Credentials::start(options, &setting.tasks).await.unwrap();
    let mut options = setting.options();
    options.roles.clear();
    let keys = Credentials::start(options, &setting.tasks).await.unwrap();
    sleep(Duration::from_secs(600)).await;
    assert!(!indifferent.denied(&present_id(&indifferent)));
    assert!(!keys.denied(&present_id(&keys)));
}
