//! A mount that goes on after its command has returned.
//!
//! ```text
//!   the command ──fork──┬── waits for news ───────────── "ready" ──► exits 0
//!                       │                                "why not" ► tells it, exits as told
//!                       └── mounts ─► answers ─► leaves the terminal ─► serves until it is ended
//! ```
//!
//! The fork comes before any thread or runtime. Up to the answer both share the terminal and its
//! Ctrl-C; only then does the child get a session of its own. A pipe carries the news: one byte,
//! the exit code, and after it the reason. If it closes without one, the child has died.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Stop;
use crate::config::{Failure, LogTarget, Settings};
use crate::control::Place;
use crate::daemon::{self, People};
use crate::sys::{self, Fork, Pid};

/// Mounts in a process of its own, and returns when the mount answers.
///
/// # Errors
/// Whatever kept it from answering.
pub fn run(settings: Settings, people: People, place: Place) -> Result<(), Stop> {
    let log = settings.log_target.clone();
    let (news, teller) = io::pipe().map_err(|error| no_process(&error))?;
    match sys::fork().map_err(|error| no_process(&error))? {
        Fork::Parent(child) => {
            drop(teller);
            hear(news, child, &log)
        }
        Fork::Child => {
            drop(news);
            std::process::exit(serve(settings, people, place, teller))
        }
    }
}

/// The child: mounts and serves. Returns the exit code.
fn serve(settings: Settings, people: People, place: Place, teller: PipeWriter) -> i32 {
    let teller = Arc::new(Mutex::new(Some(teller)));
    let ready = {
        let teller = Arc::clone(&teller);
        move || {
            if let Err(error) = sys::leave_terminal() {
                tracing::warn!(%error, "the terminal cannot be left");
            }
            tell(&teller, 0, "");
        }
    };
    match daemon::run(settings, people, place, ready) {
        Ok(()) => 0,
        Err(failure) => {
            // After the answer there is nobody left to tell but the log.
            if !tell(&teller, 1, &failure.to_string()) {
                tracing::error!("the mount has failed: {failure}");
            }
            1
        }
    }
}

/// Sends the news if none has been sent yet; whether somebody was there to hear.
fn tell(teller: &Mutex<Option<PipeWriter>>, code: u8, reason: &str) -> bool {
    let Some(mut pipe) = teller.lock().take() else { return false };
    pipe.write_all(&[&[code], reason.as_bytes()].concat()).is_ok()
}

/// The parent: waits for the news.
fn hear(mut news: PipeReader, child: Pid, log: &LogTarget) -> Result<(), Stop> {
    let mut heard = Vec::new();
    let complete = news.read_to_end(&mut heard);
    match (complete, heard.split_first()) {
        (Ok(_), Some((0, _))) => Ok(()),
        (Ok(_), Some((_, reason))) => Err(Stop::Failed(retell(&String::from_utf8_lossy(reason)))),
        (Err(error), _) => Err(no_process(&error)),
        (Ok(_), None) => Err(Stop::Failed(died(child, log))),
    }
}

/// The child has formatted its failure, place and hint included; it is passed on as it is.
fn retell(reason: &str) -> Failure {
    Failure::new(reason)
}

fn died(child: Pid, log: &LogTarget) -> Failure {
    let how = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    let failure = Failure::new(format!("the mount ended before it answered ({how})"));
    match log {
        LogTarget::File(path) => failure.hint(format!("its last words are in {}", path.display())),
        LogTarget::Stderr => failure,
    }
}

fn no_process(error: &io::Error) -> Stop {
    Stop::Failed(
        Failure::new(format!("no process can be started in the background: {error}"))
            .hint("try it with --foreground"),
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::*;

    #[test]
    fn news_are_told_once() {
        let (mut news, pipe) = io::pipe().unwrap();
        let teller = Mutex::new(Some(pipe));
        assert!(tell(&teller, 1, "no\n  hint: yes"));
        assert!(!tell(&teller, 0, ""));
        let mut heard = String::new();
        news.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "\u{1}no\n  hint: yes");
    }
}
