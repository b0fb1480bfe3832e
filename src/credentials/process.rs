//! Commands of the shell that know something secret: keys, or the code of an MFA device.
//!
//! The SDK can run a `credential_process` too, but leaves one that hangs behind, and over a long
//! outage those would add up. Here it ends when nobody waits for it any more.

use std::process::Stdio;
use std::time::Duration;

use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::Deserialize;
use tokio::process::Command;

use crate::secret::Secret;

/// Runs a command and returns what it prints.
///
/// What it says on its standard error stays unsaid: nobody knows what is in it.
pub(super) async fn run(command: &str, wait_max: Duration) -> Result<Secret, String> {
    let running = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(wait_max, running)
        .await
        .map_err(|_| format!("the command printed nothing within {} s", wait_max.as_secs()))?
        .map_err(|error| error.to_string())?;
    // Taken over before anything else, so that it is wiped whatever follows.
    let printed = String::from_utf8(output.stdout).map(Secret::from);
    if !output.status.success() {
        return Err(format!("the command ended with {}", output.status));
    }
    printed.map_err(|_| "the command printed something that is not text".to_owned())
}

/// What a `credential_process` prints (AWS SDKs and Tools Reference Guide, "Process credential
/// provider").
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    version: u32,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<String>,
}

/// Has a `credential_process` print its keys.
pub(super) async fn keys(command: &str, wait_max: Duration) -> Result<Keys, CredentialsError> {
    let printed = run(command, wait_max).await.map_err(CredentialsError::provider_error)?;
    let refused = |why: &str| CredentialsError::provider_error(format!("the command printed {why}"));
    // The parser's own words would quote what was found.
    let document: Document =
        serde_json::from_str(printed.expose()).map_err(|_| refused("no document of keys"))?;
    if document.version != 1 {
        return Err(refused(&format!("a document of version {}, not 1", document.version)));
    }
    let expiry = match &document.expiration {
        None => None,
        Some(text) => {
            let time = DateTime::from_str(text, Format::DateTimeWithOffset);
            Some(
                time.map_err(|_| refused("an expiration that is no time"))?
                    .try_into()
                    .map_err(|_| refused("an expiration out of range"))?,
            )
        }
    };
    let Document { access_key_id, secret_access_key, session_token, .. } = document;
    Ok(Keys::new(access_key_id, secret_access_key, session_token, expiry, "credential_process"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_document_becomes_keys() {
        let command = r#"echo '{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "S", "SessionToken": "T",
            "Expiration": "2026-01-31T13:00:00+01:00", "More": []}'"#;
        let keys = keys(command, PATIENCE).await.unwrap();
        assert_eq!(
            (keys.access_key_id(), keys.secret_access_key(), keys.session_token()),
            ("A", "S", Some("T"))
        );
        assert_eq!(crate::clock::rfc_3339(keys.expiry().unwrap()), "2026-01-31T12:00:00Z");
        let lasting = r#"echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S"}'"#;
        assert_eq!(super::keys(lasting, PATIENCE).await.unwrap().expiry(), None);
    }

    #[tokio::test]
    async fn what_is_no_document_is_refused_without_being_quoted() {
        for (printed, why) in [
            ("hunter2", "no document of keys"),
            (r#"{"Version":1,"SecretAccessKey":"hunter2"}"#, "no document of keys"),
            (r#"{"Version":2,"AccessKeyId":"A","SecretAccessKey":"hunter2"}"#, "version 2, not 1"),
            (r#"{"Version":1,"AccessKeyId":"A","SecretAccessKey":"hunter2","Expiration":"soon"}"#, "no time"),
        ] {
            let error = keys(&format!("echo '{printed}'"), PATIENCE).await.unwrap_err();
            let said = crate::error::innermost_words(&error);
            assert!(said.contains(why) && !said.contains("hunter2"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended() {
        let error = run("exec sleep 1000", Duration::from_millis(50)).await.unwrap_err();
        assert!(error.contains("nothing within"), "{error}");
    }
}
