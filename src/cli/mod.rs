//! What people type, and what they hear back.
//!
//! [`run`] is the whole program: it takes the command line apart, does what it says and turns the
//! outcome into an exit code. Whatever goes wrong is told once, as a sentence with its place and a
//! hint, on standard error.

pub mod args;
pub mod background;
pub mod credentials;
#[cfg(feature = "emulator")]
pub mod demo;
mod desk;
pub mod exec;
pub mod logging;
pub mod login;
pub mod mount;
pub mod mount_options;
mod prompt;
pub mod status;

use std::ffi::OsString;
use std::process::ExitCode;

use self::args::Request;
use crate::config::{self, CommandLine, Failure, Surroundings};
use crate::control::Session;
use crate::daemon;

/// Why the program ends without having done what it was asked for.
#[derive(Debug)]
pub enum Stop {
    /// The settings make no sense, or make none on this machine.
    Refused(Failure),
    /// The settings are fine; something else is not.
    Failed(Failure),
    /// The command that was to be run could not be; with the exit code that shells have for it.
    NotRun(Failure, u8),
}

impl Stop {
    /// What to tell.
    pub fn failure(&self) -> &Failure {
        match self {
            Self::Refused(failure) | Self::Failed(failure) | Self::NotRun(failure, _) => failure,
        }
    }

    /// The exit code that says which of them it is.
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Refused(_) => 2,
            Self::NotRun(_, code) => *code,
        }
    }
}

/// Runs the program with these arguments, the first of which is its own name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match obey(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            complain(&stop);
            ExitCode::from(stop.code())
        }
    }
}

fn obey(args: impl IntoIterator<Item = OsString>) -> Result<(), Stop> {
    match args::parse(args).map_err(Stop::Refused)? {
        Request::Mount(command_line) => mount::run(&command_line),
        Request::Credentials(credentials) => credentials::run(&credentials, new_session),
        Request::Exec(exec) => exec::run(&exec, new_session),
        Request::Login(login) => login::run(&login),
        Request::Status(status) => status::run(&status),
        #[cfg(feature = "emulator")]
        Request::Demo(demo) => demo::run(&demo),
        Request::Print(text) => text.print().map_err(|error| Stop::Failed(Failure::new(error.to_string()))),
    }
}

/// A role session of its own, from the configuration file and flags, where no mount is asked.
fn new_session(line: &CommandLine, around: &Surroundings) -> Result<Session, Stop> {
    // What the file says about the mount that is to be here holds for a session in its place.
    let settings = line.mount_point.as_ref().and_then(|_| config::load(line, around).ok());
    let identity = match &settings {
        Some(settings) => settings.buckets[0].identity.clone(),
        None => config::load_identity(line, around).map_err(Stop::Refused)?,
    };
    daemon::new_session(&identity, settings.as_ref(), prompt::ask_code()).map_err(Stop::Failed)
}

#[expect(clippy::print_stderr, reason = "this is where failures reach the person at the prompt")]
fn complain(stop: &Stop) {
    eprintln!("s3xmount: {}", stop.failure());
}
