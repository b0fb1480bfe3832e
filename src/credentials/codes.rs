//! Codes of MFA devices, and who is asked for them.
//!
//! A code serves once. The first is asked for on the terminal, while the person who mounts is
//! there; a command, where one is named, knows them all. Without a command later ones come from a
//! person again: they log in (`s3xmount login`), and the code waits here for the renewal that they
//! have just set off.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::failure::{Cause, Failure};
use super::process;
use crate::secret::Secret;

/// Asks a person for the present code of the device with this serial number. It may block.
pub type AskCode = Arc<dyn Fn(&str) -> io::Result<String> + Send + Sync>;

/// Where codes come from.
#[derive(Clone, Default)]
pub struct CodeSource {
    /// A command of the shell that prints the present code; nobody else is asked then.
    pub command: Option<Secret>,
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
    command: Option<Secret>,
    ask: Mutex<Option<AskCode>>,
    given: Mutex<Given>,
    /// Whether a role has ever asked for one.
    are_needed: AtomicBool,
}

/// A code that somebody has handed over.
#[derive(Default)]
struct Given {
    /// The code, until it is used.
    code: Option<Secret>,
    /// The attempt that is under way, counted from 1.
    attempt: u64,
    /// The attempt that used it.
    used_by: Option<u64>,
}

impl Codes {
    pub(super) fn new(source: CodeSource) -> Self {
        let (command, ask) = (source.command, Mutex::new(source.ask));
        Self { command, ask, given: Mutex::default(), are_needed: AtomicBool::new(false) }
    }

    /// Begins an attempt and returns its number.
    pub(super) fn begin_attempt(&self) -> u64 {
        let mut given = self.given.lock();
        given.attempt += 1;
        given.attempt
    }

    /// Hands over a code. Returns the number of the first attempt that begins after this.
    pub(super) fn give(&self, code: Secret) -> u64 {
        let mut given = self.given.lock();
        given.code = Some(code);
        given.used_by = None;
        given.attempt + 1
    }

    /// Whether there is one that was handed over and not used.
    pub(super) fn are_given(&self) -> bool {
        self.given.lock().code.is_some()
    }

    /// The attempt that used the code that was given last.
    pub(super) fn used_by(&self) -> Option<u64> {
        self.given.lock().used_by
    }

    /// Takes back what was not used: it would be stale when its time comes.
    pub(super) fn withdraw(&self) {
        self.given.lock().code.take();
    }

    /// Whether a role has ever asked for one.
    pub(super) fn are_needed(&self) -> bool {
        self.are_needed.load(Ordering::Relaxed)
    }

    /// Whether it takes a person to renew.
    pub(super) fn are_said_by_people(&self) -> bool {
        self.command.is_none() && self.are_needed()
    }

    /// There is nobody at the prompt any more.
    pub(super) fn stop_asking(&self) {
        self.ask.lock().take();
    }

    /// The present code of a device.
    pub(super) async fn code(&self, serial: &str) -> Result<String, Failure> {
        self.are_needed.store(true, Ordering::Relaxed);
        if let Some(code) = self.take() {
            return Ok(code.expose().to_owned());
        }
        if let Some(command) = &self.command {
            return printed_by(command.expose()).await;
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

impl Codes {
    fn take(&self) -> Option<Secret> {
        let mut given = self.given.lock();
        let code = given.code.take()?;
        given.used_by = Some(given.attempt);
        Some(code)
    }
}

/// Runs a command and takes what it prints.
async fn printed_by(command: &str) -> Result<String, Failure> {
    let printed = process::run(command, COMMAND_WAIT_MAX).await;
    let printed = printed.map_err(|why| Failure::new(Cause::CodeUnavailable).quoting(why))?;
    understood(printed.expose())
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
        Codes::new(CodeSource { command: Some(Secret::from(command.to_owned())), ask: None })
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
        assert!(!codes.are_said_by_people(), "nobody has asked for one");
        assert_eq!(codes.begin_attempt(), 1);
        assert_eq!(codes.give(Secret::from("111111".to_owned())), 2);
        assert_eq!(codes.code(DEVICE).await.unwrap(), "111111");
        assert_eq!(codes.used_by(), Some(1), "the attempt that was under way took it");
        assert!(codes.code(DEVICE).await.is_err() && codes.are_said_by_people());
        codes.give(Secret::from("222222".to_owned()));
        codes.withdraw();
        assert!(codes.code(DEVICE).await.is_err());
    }
}
