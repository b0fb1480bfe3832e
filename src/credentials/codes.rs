//! Codes of MFA devices, and who is asked for them.
//!
//! A code serves once. The first is asked for on the terminal, while the person who mounts is
//! there; a command, where one is named, knows them all. Without a command later ones come from a
//! person again: they log in (`s3xmount login`), and the code waits here for the renewal that they
//! have just set off.

use std::fmt;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::process::Command;

use super::role::{Cause, Failure};

/// Asks a person for the present code of the device with this serial number. It may block.
pub type AskCode = Arc<dyn Fn(&str) -> io::Result<String> + Send + Sync>;

/// Where codes come from.
#[derive(Clone, Default)]
pub struct CodeSource {
    /// A command of the shell that prints the present code; nobody else is asked then.
    pub command: Option<String>,
    /// How to ask the person at the prompt, for as long as there is one: until the first session is there.
    pub ask: Option<AskCode>,
}

impl fmt::Debug for CodeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The command may have the seed of the codes in it.
        f.debug_struct("CodeSource").finish_non_exhaustive()
    }
}

/// The codes of one chain of roles.
pub(super) struct Codes {
    command: Option<String>,
    ask: Mutex<Option<AskCode>>,
    /// One that was handed over and not yet used.
    given: Mutex<Option<String>>,
}

impl Codes {
    pub(super) fn new(source: CodeSource) -> Self {
        Self { command: source.command, ask: Mutex::new(source.ask), given: Mutex::default() }
    }

    /// Hands over a code for the next attempt.
    pub(super) fn give(&self, code: String) {
        *self.given.lock() = Some(code);
    }

    /// Takes back what was not used: it would be stale when its time comes.
    pub(super) fn withdraw(&self) {
        self.given.lock().take();
    }

    /// There is nobody at the prompt any more.
    pub(super) fn stop_asking(&self) {
        self.ask.lock().take();
    }

    /// The present code of a device.
    pub(super) async fn code(&self, serial: &str) -> Result<String, Failure> {
        if let Some(given) = self.given.lock().take() {
            return Ok(given);
        }
        if let Some(command) = &self.command {
            return printed_by(command).await;
        }
        let ask = self.ask.lock().clone();
        let Some(ask) = ask else { return Err(Failure::new(Cause::CodeNeeded).quoting(serial)) };
        let device = serial.to_owned();
        // A person takes their time, and the runtime has others to serve.
        let asked = tokio::task::spawn_blocking(move || ask(&device)).await;
        let typed = asked.unwrap_or_else(|error| Err(io::Error::other(error)));
        understood(&typed.map_err(|error| Failure::new(Cause::CodeUnavailable).quoting(error.to_string()))?)
    }
}

/// Runs a command and takes what it prints.
async fn printed_by(command: &str) -> Result<String, Failure> {
    let failed = |why: String| Failure::new(Cause::CodeUnavailable).quoting(why);
    let run = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(COMMAND_WAIT_MAX, run)
        .await
        .map_err(|_| failed(format!("the command printed nothing within {} s", COMMAND_WAIT_MAX.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(format!("the command ended with {}", output.status)));
    }
    understood(&String::from_utf8_lossy(&output.stdout))
}

/// STS API reference, `AssumeRole`, `TokenCode`: six digits. What is not a code is not quoted: it may
/// be a password that was typed at the wrong prompt.
fn understood(text: &str) -> Result<String, Failure> {
    let code = text.trim();
    if is_code(code) {
        return Ok(code.to_owned());
    }
    Err(Failure::new(Cause::CodeUnavailable).quoting("a code has six digits"))
}

/// Whether this is what an MFA device shows.
pub fn is_code(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A device that has to be touched gives a person this long.
const COMMAND_WAIT_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    const DEVICE: &str = "arn:aws:iam::111122223333:mfa/alice";

    fn of_command(command: &str) -> Codes {
        Codes::new(CodeSource { command: Some(command.to_owned()), ask: None })
    }

    #[tokio::test]
    async fn a_command_prints_codes_and_is_run_for_each() {
        assert_eq!(of_command("echo ' 123456'").code(DEVICE).await.unwrap(), "123456");
        for (command, said) in [
            ("echo hunter2", "six digits"),
            ("echo 123456; exit 3", "exit status: 3"),
            ("no-such-command-here", "127"),
        ] {
            let failure = of_command(command).code(DEVICE).await.unwrap_err();
            assert_eq!(failure.cause(), Cause::CodeUnavailable);
            assert!(failure.to_string().contains(said), "{failure}");
            assert!(!failure.to_string().contains("hunter2"));
        }
    }

    #[tokio::test]
    async fn a_person_is_asked_as_long_as_there_is_one() {
        let ask: AskCode = Arc::new(|serial| Ok(format!("65432{}\n", serial.len() % 10)));
        let codes = Codes::new(CodeSource { command: None, ask: Some(ask) });
        assert_eq!(codes.code(DEVICE).await.unwrap(), "654325");
        codes.stop_asking();
        assert_eq!(codes.code(DEVICE).await.unwrap_err().cause(), Cause::CodeNeeded);
    }

    #[tokio::test]
    async fn a_code_that_was_handed_over_serves_once() {
        let codes = Codes::new(CodeSource::default());
        codes.give("111111".to_owned());
        assert_eq!(codes.code(DEVICE).await.unwrap(), "111111");
        assert!(codes.code(DEVICE).await.is_err());
        codes.give("222222".to_owned());
        codes.withdraw();
        assert!(codes.code(DEVICE).await.is_err());
    }
}
