//! Multi-factor authentication: what alice's device shows opens the role.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::emulator::demo::{ACCOUNT_A, ROLE};
use crate::emulator::{MfaDevice, User};

const SERIAL: &str = "arn:aws:iam::111111111111:mfa/alice";
const DENIED: u16 = 403;

/// The demo, where alice has a device, and the role demands what a condition says.
fn world(condition: &Value) -> World {
    let device = MfaDevice::new(SERIAL, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP");
    let world = demo::world(Rights::Full)
        .with_user(User::new(ACCOUNT_A, "alice", demo::alice()).policy(&demo::may_assume()).mfa(device));
    let trust = json!({"Statement": {
        "Effect": "Allow", "Action": "sts:AssumeRole", "Condition": condition,
        "Principal": {"AWS": [ACCOUNT_A.user_arn("alice"), demo::role_arn()]},
    }});
    world.directory.set_trust(ACCOUNT_A, ROLE, Some(&trust));
    world
}

fn demanded() -> World {
    world(&json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}}))
}

/// Assumes the role as alice and returns the outcome and what it says to people.
async fn assume(emulator: &RunningEmulator, serial: Option<&str>, code: Option<&str>) -> (Outcome, String) {
    let request = sts(emulator, keys(&demo::alice())).assume_role().role_arn(demo::role_arn());
    let request =
        request.set_serial_number(serial.map(str::to_owned)).set_token_code(code.map(str::to_owned));
    let result = request.role_session_name("test").send().await;
    (outcome(&result), message(&result))
}

fn denied(how: &str) -> (Outcome, String) {
    (refused(DENIED, "AccessDenied"), format!("MultiFactorAuthentication failed{how}"))
}

const WRONG_CODE: &str = " with invalid MFA one time pass code.";
const WRONG_DEVICE: &str = ", unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user.";

#[tokio::test]
async fn the_present_code_opens_the_role_once() {
    let emulator = start(demanded());
    let code = emulator.world().mfa_code(ACCOUNT_A, "alice");
    assert_eq!(assume(&emulator, None, None).await.0, refused(DENIED, "AccessDenied"), "none was shown");
    assert_eq!(assume(&emulator, Some(SERIAL), Some(&code)).await.0, granted());
    assert_eq!(assume(&emulator, Some(SERIAL), Some(&code)).await, denied(WRONG_CODE));
    for _ in 0..3 {
        let fresh = emulator.world().fresh_mfa_code(ACCOUNT_A, "alice");
        assert_eq!(assume(&emulator, Some(SERIAL), Some(&fresh)).await.0, granted());
    }
}

#[tokio::test]
async fn a_code_of_another_time_or_device_is_none() {
    let emulator = start(demanded());
    let code = emulator.world().mfa_code(ACCOUNT_A, "alice");
    let other = "arn:aws:iam::111111111111:mfa/bob";
    assert_eq!(assume(&emulator, Some(other), Some(&code)).await, denied(WRONG_DEVICE));
    emulator.world().clock.advance(Duration::from_secs(90));
    assert_eq!(assume(&emulator, Some(SERIAL), Some(&code)).await, denied(WRONG_CODE));
    let halves = ", must provide both MFA serial number and one time pass code.";
    assert_eq!(assume(&emulator, Some(SERIAL), None).await, denied(halves));
    assert_eq!(assume(&emulator, None, Some(&code)).await, denied(halves));
    for malformed in ["12345", "1234567", "12345x"] {
        let (outcome, _) = assume(&emulator, Some(SERIAL), Some(malformed)).await;
        assert_eq!(outcome, refused(400, "ValidationError"), "{malformed}");
    }
}

#[tokio::test]
async fn a_code_that_was_shown_is_checked_even_if_nobody_demands_it() {
    let emulator = start(world(&json!({})));
    assert_eq!(assume(&emulator, None, None).await.0, granted());
    let code = emulator.world().fresh_mfa_code(ACCOUNT_A, "alice");
    let wrong = if code == "000000" { "000001" } else { "000000" };
    assert_eq!(assume(&emulator, Some(SERIAL), Some(wrong)).await, denied(WRONG_CODE));
}

#[tokio::test]
async fn conditions_see_whether_and_when_a_code_was_shown() {
    let present = "aws:MultiFactorAuthPresent";
    let age = "aws:MultiFactorAuthAge";
    // Without a code, alice's long-term keys say nothing of it.
    let rows = [
        (json!({"Bool": {present: "true"}}), true, false),
        (json!({"BoolIfExists": {present: "true"}}), true, true),
        (json!({"BoolIfExists": {present: "false"}}), false, true),
        (json!({"Bool": {present: "false"}}), false, false),
        (json!({"Null": {present: "true"}}), false, true),
        (json!({"NumericLessThan": {age: 3600}}), true, false),
        (json!({"NumericLessThanIfExists": {age: 3600}}), true, true),
        (json!({"NumericGreaterThan": {age: 3600}}), false, false),
    ];
    for (condition, with_code, without) in rows {
        let emulator = start(world(&condition));
        let code = emulator.world().mfa_code(ACCOUNT_A, "alice");
        let (outcome, _) = assume(&emulator, Some(SERIAL), Some(&code)).await;
        assert_eq!(outcome == granted(), with_code, "{condition} with a code");
        let (outcome, _) = assume(&emulator, None, None).await;
        assert_eq!(outcome == granted(), without, "{condition} without");
    }
}

#[tokio::test]
async fn a_session_has_no_device_and_does_not_inherit_the_factor() {
    let emulator = start(demanded());
    emulator.world().directory.set_role_policies(ACCOUNT_A, ROLE, &[demo::administrator()]);
    let assume = async |credentials, code: &str| {
        let request = sts(&emulator, credentials).assume_role().role_arn(demo::role_arn());
        let request =
            request.role_session_name("test").set_serial_number((!code.is_empty()).then(|| SERIAL.into()));
        request.set_token_code((!code.is_empty()).then(|| code.to_owned())).send().await
    };
    let code = emulator.world().mfa_code(ACCOUNT_A, "alice");
    let session = assume(keys(&demo::alice()), &code).await.expect("the code is right");
    let chained = assume(session_keys(&session), "").await;
    assert_eq!(outcome(&chained), refused(DENIED, "AccessDenied"), "its keys say that no factor was shown");
    let fresh = emulator.world().fresh_mfa_code(ACCOUNT_A, "alice");
    let chained = assume(session_keys(&session), &fresh).await;
    assert_eq!((outcome(&chained), message(&chained)), denied(WRONG_DEVICE));
}
