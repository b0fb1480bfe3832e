//! Faults do what they say, and the counts are right.

use std::time::Duration;

use super::*;
use crate::emulator::{Fault, Gate, On};

#[tokio::test]
async fn a_rejected_request_changes_nothing() {
    let (emulator, client) = as_owner();
    let faults = &emulator.world().faults;
    let injected =
        faults.inject(On::operation("PutObject").key("k").after(1).times(2).reject(500, "InternalError"));
    let write = || client.put_object().bucket(BUCKET).key("k").body(body(&noise(3_000_000))).send();
    let outcomes =
        [outcome(&write().await), outcome(&write().await), outcome(&write().await), outcome(&write().await)];
    let broken = || refused(500, "InternalError");
    assert_eq!(outcomes, [granted(), broken(), broken(), granted()]);
    assert_eq!((injected.strikes(), faults.count("PutObject")), (2, 4));
    faults.inject(On::anything().bucket(BUCKET).always().throttle());
    assert_eq!(outcome(&write().await), refused(503, "SlowDown"));
    faults.clear();
    assert_eq!(outcome(&write().await), granted());
}

#[tokio::test]
async fn a_lost_answer_leaves_its_effect() {
    let (emulator, client) = as_owner();
    emulator.world().faults.inject(On::operation("PutObject").lose_answer());
    let put = client.put_object().bucket(BUCKET).key("k").body(body(b"x")).send().await;
    assert_eq!(outcome(&put).0, 0, "there is no answer");
    assert!(emulator.world().object(BUCKET, "k").is_some());
    emulator.world().faults.inject(On::operation("DeleteObject").drop_request());
    let delete = client.delete_object().bucket(BUCKET).key("k").send().await;
    assert_eq!(outcome(&delete).0, 0, "there is no answer");
    assert!(emulator.world().object(BUCKET, "k").is_some(), "and no effect");
}

#[tokio::test]
async fn a_body_breaks_off_where_it_is_cut() {
    let (emulator, client) = as_owner();
    put(&client, "k", &noise(1_000_000)).await;
    emulator.world().faults.inject(On::operation("GetObject").cut_body(400_000));
    let got = client.get_object().bucket(BUCKET).key("k").send().await.expect("the head arrives");
    let mut body = got.body;
    let mut received = 0;
    let end = loop {
        match body.next().await {
            Some(Ok(bytes)) => received += bytes.len(),
            end => break end,
        }
    };
    assert!(matches!(end, Some(Err(_))), "{end:?}");
    assert_eq!(received, 400_000);
}

#[tokio::test]
async fn requests_wait_at_a_gate() {
    let (emulator, client) = as_owner();
    let (before, after) = (Gate::closed(), Gate::closed());
    emulator.world().faults.inject(On::operation("PutObject").hold_request(&before));
    emulator.world().faults.inject(On::operation("PutObject").hold_answer(&after));
    let write = async { outcome(&client.put_object().bucket(BUCKET).key("k").body(body(b"x")).send().await) };
    let watch = async {
        before.reached_by(1).await;
        assert!(emulator.world().object(BUCKET, "k").is_none());
        before.open();
        after.reached_by(1).await;
        assert!(emulator.world().object(BUCKET, "k").is_some());
        after.open();
    };
    assert_eq!(tokio::join!(write, watch).0, granted());
}

#[tokio::test]
async fn role_sessions_meet_trouble_too() {
    let (emulator, _client) = as_owner();
    emulator.world().faults.inject(On::operation("AssumeRole").key(demo::role_arn()).throttle());
    emulator.world().faults.inject(On::operation("AssumeRole").after(1).delay(Duration::from_millis(1)));
    let client = sts(&emulator, keys(&demo::alice()));
    let assume = || client.assume_role().role_arn(demo::role_arn()).role_session_name("test").send();
    assert_eq!(outcome(&assume().await), refused(503, "SlowDown"));
    assert_eq!(outcome(&assume().await), granted());
    assert_eq!(emulator.world().faults.count("AssumeRole"), 2);
}

/// Which of the first `count` calls a rule strikes.
async fn struck(rule: Fault, count: usize) -> Vec<bool> {
    let (emulator, _client) = as_owner();
    emulator.world().faults.inject(rule);
    let client = sts(&emulator, keys(&demo::alice()));
    let mut struck = Vec::new();
    for _ in 0..count {
        let result = client.assume_role().role_arn(demo::role_arn()).role_session_name("test").send().await;
        struck.push(outcome(&result) != granted());
    }
    struck
}

#[tokio::test]
async fn a_rule_may_strike_every_second_call_for_a_while_or_for_ever() {
    let rule = || On::operation("AssumeRole").every(2);
    let down = |rule: On| rule.reject(503, "ServiceUnavailable");
    let (hit, miss) = (true, false);
    assert_eq!(struck(down(rule().always()), 6).await, [miss, hit, miss, hit, miss, hit]);
    assert_eq!(struck(down(rule().times(2)), 6).await, [miss, hit, miss, hit, miss, miss]);
    assert_eq!(struck(down(rule().after(1).times(1)), 6).await, [miss, miss, hit, miss, miss, miss]);
}

#[tokio::test]
async fn chance_is_the_same_for_the_same_seed() {
    let rule = |share, seed| {
        On::operation("AssumeRole").at_random(share, seed).always().reject(503, "ServiceUnavailable")
    };
    let first = struck(rule(0.5, 7), 40).await;
    let hits = first.iter().filter(|hit| **hit).count();
    assert!((10..30).contains(&hits), "{hits} of 40");
    assert_eq!(struck(rule(0.5, 7), 40).await, first);
    assert_ne!(struck(rule(0.5, 8), 40).await, first);
    assert_eq!(struck(rule(0.0, 7), 5).await, [false; 5]);
    assert_eq!(struck(rule(1.0, 7), 5).await, [true; 5]);
}

#[tokio::test]
async fn an_answer_may_be_garbage() {
    let (emulator, client) = as_owner();
    emulator.world().faults.inject(On::operation("AssumeRole").replace_answer(200, "<html>proxy</html>"));
    emulator.world().faults.inject(On::operation("PutObject").replace_answer(502, "Bad Gateway"));
    let sts = sts(&emulator, keys(&demo::alice()));
    let assume = || sts.assume_role().role_arn(demo::role_arn()).role_session_name("test").send();
    let garbled = assume().await;
    assert!(garbled.is_err(), "{garbled:?}");
    assert_eq!(outcome(&assume().await), granted());
    let put = client.put_object().bucket(BUCKET).key("k").body(body(b"x")).send().await;
    assert_eq!(outcome(&put).0, 502);
    assert!(emulator.world().object(BUCKET, "k").is_some(), "it took effect");
}

#[tokio::test]
async fn a_stopped_emulator_closes_its_connections_even_at_a_gate() {
    let (emulator, client) = as_owner();
    let never = Gate::closed();
    emulator.world().faults.inject(On::operation("PutObject").hold_request(&never));
    let write = async { outcome(&client.put_object().bucket(BUCKET).key("k").body(body(b"x")).send().await) };
    let stop = async {
        never.reached_by(1).await;
        tokio::task::spawn_blocking(move || drop(emulator)).await.expect("it stops");
    };
    assert_eq!(tokio::join!(write, stop).0.0, 0, "there is no answer");
}
