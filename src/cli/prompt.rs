//! Asking the person at the terminal.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::sync::Arc;

use crate::config::LogTarget;
use crate::credentials::{AskCode, Tell};
use crate::daemon::People;

/// The person who has typed the command; told things only where the log does not reach them.
pub(super) fn people(log: Option<&LogTarget>) -> People {
    let hears_log = log == Some(&LogTarget::Stderr);
    People { ask: ask_code(), tell: (!hears_log).then(|| Tell::new(tell)) }
}

#[expect(clippy::print_stderr, reason = "this is for the person at the prompt")]
fn tell(sentence: &str) {
    eprintln!("s3xmount: {sentence}");
}

/// How to ask for the present code of an MFA device; `None` where there is no terminal to ask on.
fn ask_code() -> Option<AskCode> {
    // The terminal itself, whatever the standard streams are connected to.
    File::options().read(true).write(true).open(TERMINAL).ok()?;
    Some(Arc::new(|serial| ask(&format!("The present code of the MFA device {serial}: "))))
}

/// Asks a question and returns the line that is typed.
fn ask(question: &str) -> io::Result<String> {
    let mut terminal = File::options().read(true).write(true).open(TERMINAL)?;
    terminal.write_all(question.as_bytes())?;
    let mut line = String::new();
    match BufReader::new(terminal).read_line(&mut line)? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "nothing was typed")),
        _ => Ok(line),
    }
}

/// The terminal of this process (tty(4)).
const TERMINAL: &str = "/dev/tty";
