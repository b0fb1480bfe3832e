//! `s3xmount login`: an MFA code for a running mount.
//!
//! A role that asks for a code cannot be assumed again without a new one, so a mount in the background has
//! to be handed it. The code is neither an argument nor a flag: other users see those in the list of processes.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use clap::{ArgMatches, Command};

use super::{Stop, args, desk};
use crate::clock;
use crate::config::{Failure, Surroundings, Written};
use crate::control::{self, Answer, Found, Request, Status};
use crate::credentials::is_code;
use crate::secret::{Secret, SecretBuffer};

/// What was asked for.
#[derive(Debug)]
pub struct LoginArgs {
    path: Option<Written>,
}

impl LoginArgs {
    /// Takes down what clap has split.
    pub(super) fn of(matches: &ArgMatches) -> Self {
        Self { path: args::written_path(matches) }
    }
}

/// The command and its flags.
pub fn command() -> Command {
    Command::new("login")
        .about("Asks for an MFA code and begins a new role session of a running mount with it")
        .override_usage("s3xmount login [PATH]")
        .after_help(
            "The code is asked for on the terminal, or read from standard input where that is none:\n  \
             ykman oath accounts code -s aws | s3xmount login /mnt/accountb",
        )
        .arg(args::path(
            "A path in a running mount; the directory below the mount point picks the bucket whose role is meant [default: the only running mount]",
        ))
}

/// Asks for the code, hands it over and says until when the new session lasts.
///
/// # Errors
/// When there is no code, no mount to hand it to, or it is not accepted.
pub fn run(asked: &LoginArgs) -> Result<(), Stop> {
    desk::guard_secrets();
    let around = Surroundings::look();
    let found = desk::mount(asked.path.as_ref(), &around).map_err(Stop::Refused)?;
    // First, so that nobody types a code for a mount that is not there.
    let status = desk::status(&found)?;
    let code = ask(&format!("MFA code {}: ", purpose(&status, &found))).map_err(Stop::Refused)?;
    let request = Request::Login { code, directory: found.directory.clone() };
    match control::ask(&found.place, &request, desk::PATIENCE).map_err(Stop::Failed)? {
        Answer::LoggedIn { role, until } => report(&role, until.as_deref())
            .map_err(|error| Stop::Failed(Failure::new(format!("the answer cannot be printed: {error}")))),
        _ => Err(desk::beside_the_point(&found)),
    }
}

/// What a code is asked for: the device that is waited for, as far as that is clear.
fn purpose(status: &Status, found: &Found) -> String {
    let bucket = status.buckets.iter().find(|bucket| Some(&bucket.directory) == found.directory.as_ref());
    let meant = |at: usize| bucket.is_none_or(|bucket| bucket.identity == at);
    let identities = status.identities.iter().enumerate().filter(|(at, _)| meant(*at));
    let mut devices: Vec<&str> = identities.filter_map(|(_, who)| who.needs_code.as_deref()).collect();
    devices.dedup();
    match devices[..] {
        [device] => format!("of {device}"),
        _ => format!("for {}", found.mount_point.display()),
    }
}

/// Gets the code from the terminal, whatever standard output is; or from standard input.
fn ask(prompt: &str) -> Result<Secret, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        // Not through the standard library's buffer, which would take more than the line, and keep it.
        let stdin = stdin.as_fd().try_clone_to_owned().map_err(|error| unread(&error))?;
        return read_code(File::from(stdin));
    }
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let mut terminal = terminal.map_err(|error| Failure::new(format!("there is no terminal: {error}")))?;
    // The code is shown while it is typed: it is worth nothing once it has been used.
    terminal.write_all(prompt.as_bytes()).map_err(|error| unread(&error))?;
    read_code(terminal)
}

/// Reads one line. Not a byte of what follows is taken: it may be meant for the next command.
#[expect(clippy::unbuffered_bytes, reason = "a buffer would take what follows the line")]
fn read_code(source: impl Read) -> Result<Secret, Failure> {
    let mut line = SecretBuffer::new();
    for byte in source.bytes() {
        match byte.map_err(|error| unread(&error))? {
            b'\n' => break,
            _ if line.bytes().len() >= LINE_BYTES_MAX => break,
            byte => line.push(&[byte]),
        }
    }
    let code = line.bytes().trim_ascii();
    let code = Secret::from(String::from_utf8_lossy(code).into_owned());
    if !is_code(code.expose()) {
        return Err(Failure::new("this is not an MFA code").hint("a code has six digits"));
    }
    Ok(code)
}

fn unread(error: &io::Error) -> Failure {
    Failure::new(format!("the code cannot be read: {error}"))
}

fn report(role: &str, until: Option<&str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match until {
        Some(until) => {
            writeln!(out, "The new session of {role} lasts until {}.", desk::moment(until, clock::now()))
        }
        None => writeln!(out, "The new session of {role} has begun."),
    }
}

/// More than any code has, spaces around it included.
const LINE_BYTES_MAX: usize = 64;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::control::{BucketStatus, IdentityStatus, ListingStatus, Place};

    #[test]
    fn a_code_is_six_to_eight_digits_on_a_line() {
        for (text, code) in [("123456\n", "123456"), (" 123456 \r\nrest", "123456"), ("000000", "000000")] {
            assert_eq!(read_code(text.as_bytes()).unwrap().expose(), code);
        }
        let long = "1".repeat(1000);
        for text in
            ["", "\n123456\n", "12345\n", "1234567\n", "12a456\n", "123 456\n", "１２３４５６\n", &long]
        {
            let failure = read_code(text.as_bytes()).unwrap_err();
            assert_eq!(failure.message, "this is not an MFA code", "{text}");
        }
    }

    #[test]
    fn what_follows_the_code_is_left_in_its_place() {
        let mut source = b"123456\nmore".as_slice();
        read_code(&mut source).unwrap();
        assert_eq!(source, b"more");
    }

    #[test]
    fn the_device_is_named_where_it_is_clear() {
        let identity = |needs_code: Option<&str>| IdentityStatus {
            caller: None,
            roles: Vec::new(),
            expires: None,
            renewals: 0,
            trouble: None,
            needs_code: needs_code.map(str::to_owned),
        };
        let bucket = |directory: &str, identity| BucketStatus {
            directory: directory.to_owned(),
            bucket: directory.to_owned(),
            prefix: String::new(),
            region: String::new(),
            read_only: false,
            identity,
            listing: ListingStatus::default(),
            missing: Vec::new(),
            lacking: Vec::new(),
            silent: None,
        };
        let status = |devices: &[Option<&str>]| Status {
            mount_point: "/mnt".to_owned(),
            pid: 1,
            version: String::new(),
            since: String::new(),
            buckets: vec![bucket("a", 0), bucket("b", 1)],
            identities: devices.iter().map(|device| identity(*device)).collect(),
            cache: None,
            moves: Vec::new(),
            writing: Default::default(),
        };
        let table = [
            (status(&[Some("x"), None]), None, "of x"),
            (status(&[Some("x"), Some("x")]), None, "of x"),
            (status(&[Some("x"), Some("y")]), None, "for /mnt"),
            (status(&[Some("x"), Some("y")]), Some("b"), "of y"),
            (status(&[None, None]), None, "for /mnt"),
            (status(&[Some("x"), None]), Some("b"), "for /mnt"),
        ];
        for (status, directory, expected) in table {
            let place = Place::new(Path::new("/mnt"), 7, &Surroundings::default());
            let directory = directory.map(str::to_owned);
            let found = Found { mount_point: "/mnt".into(), directory, place };
            assert_eq!(purpose(&status, &found), expected);
        }
    }
}
