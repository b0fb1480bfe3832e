//! Clocks that differ, and the date by which clients notice.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::error::SdkError;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use super::*;
use crate::emulator::Clock;
use crate::emulator::clock::unix_seconds;

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// The date of a refusal.
fn date<E>(error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>) -> SystemTime {
    let headers = error.raw_response().expect("there is an answer").headers();
    let date = DateTime::from_str(headers.get("date").expect("it is dated"), Format::HttpDate);
    date.expect("the date is one").try_into().expect("it is after the epoch")
}

#[tokio::test]
async fn a_signature_of_another_time_is_refused_with_the_servers_time() {
    type Move = fn(&World);
    let moves: [(Move, bool); 4] = [
        (|world| world.clock.run_ahead(minutes(14)), true),
        (|world| world.clock.run_ahead(minutes(16)), false),
        (|world| world.clock.run_behind(minutes(14)), true),
        (|world| world.clock.run_behind(minutes(16)), false),
    ];
    for (row, (skew, is_current)) in moves.into_iter().enumerate() {
        let (emulator, client) = as_owner();
        skew(emulator.world());
        let get = client.get_object().bucket(BUCKET).key("welcome.txt").send().await;
        let sts = sts(&emulator, keys(&demo::alice()));
        let assume = sts.assume_role().role_arn(demo::role_arn()).role_session_name("test").send().await;
        if is_current {
            assert_eq!((outcome(&get), outcome(&assume)), (granted(), granted()), "{row}");
            continue;
        }
        assert_eq!(outcome(&get), refused(403, "RequestTimeTooSkewed"), "{row}");
        assert_eq!(outcome(&assume), refused(403, "SignatureDoesNotMatch"), "{row}");
        let now = unix_seconds(emulator.world().clock.now());
        let date = unix_seconds(date(&get.expect_err("it is refused")));
        assert!(date.abs_diff(now) <= 2, "{row}: {date} {now}");
    }
}

#[tokio::test]
async fn sts_says_which_way_the_clock_is_wrong() {
    let emulator = start(demo::world(Rights::Full));
    let identify = async || {
        // A new client each time: they learn.
        message(&sts(&emulator, keys(&demo::alice())).get_caller_identity().send().await)
    };
    emulator.world().clock.run_ahead(minutes(20));
    let expired = identify().await;
    assert!(expired.starts_with("Signature expired: 20"), "{expired}");
    assert!(expired.contains("Z is now earlier than 20") && expired.ends_with("Z - 15 min.)"), "{expired}");
    emulator.world().clock.run_behind(minutes(20));
    let early = identify().await;
    assert!(early.starts_with("Signature not yet current: 20"), "{early}");
    assert!(early.contains("Z is still later than 20") && early.ends_with("Z + 15 min.)"), "{early}");
}

#[tokio::test]
async fn s3_says_how_far_apart_the_clocks_are() {
    let (emulator, client) = as_owner();
    emulator.world().clock.run_ahead(minutes(20));
    let error =
        client.get_object().bucket(BUCKET).key("welcome.txt").send().await.expect_err("it is refused");
    let body = error.raw_response().and_then(|response| response.body().bytes()).unwrap_or_default();
    let body = String::from_utf8_lossy(body).into_owned();
    for element in ["RequestTime", "ServerTime", "MaxAllowedSkewMilliseconds>900000<", "RequestId", "HostId"]
    {
        assert!(body.contains(element), "{element}: {body}");
    }
}

#[tokio::test]
async fn a_client_that_learns_from_the_date_gets_in() {
    let (emulator, client) = as_owner();
    let head = || client.head_object().bucket(BUCKET).key("welcome.txt").send();
    for skew in [Clock::run_ahead, Clock::run_behind] {
        skew(&emulator.world().clock, minutes(60));
        assert_eq!(outcome(&head().await), refused(403, ""), "an answer to HEAD has no body, but a date");
        assert_eq!(outcome(&head().await), granted());
    }
}

#[tokio::test]
async fn time_that_passed_ages_sessions_and_forgives_clients() {
    let (emulator, client) = as_role(Rights::Full).await;
    let head = || client.head_object().bucket(BUCKET).key("welcome.txt").send();
    emulator.world().clock.advance(minutes(59));
    assert_eq!(outcome(&head().await), granted());
    emulator.world().clock.advance(minutes(2));
    assert_eq!(outcome(&head().await), refused(400, ""));
    let again = assumed(&emulator).await;
    assert_eq!(outcome(&again.head_object().bucket(BUCKET).key("welcome.txt").send().await), granted());
}
