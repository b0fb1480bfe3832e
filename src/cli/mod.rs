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
pub mod doctor;
pub mod exec;
pub mod logging;
pub mod login;
pub mod mount;
pub mod mount_options;
mod new_session;
pub mod policy;
mod prompt;
pub mod rescue;
pub mod status;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use self::args::Request;
use crate::config::Failure;

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
        Request::Credentials(credentials) => credentials::run(&credentials, new_session::make),
        Request::Exec(exec) => exec::run(&exec, new_session::make),
        Request::Login(login) => login::run(&login),
        Request::Status(status) => status::run(&status),
        Request::Doctor(doctor) => doctor::run(&doctor),
        Request::Policy(policy) => policy::run(&policy),
        Request::Rescue(rescue) => rescue::run(&rescue),
        #[cfg(feature = "emulator")]
        Request::Demo(demo) => demo::run(&demo),
        Request::Print(text) => printed(text.print(), "the text"),
    }
}

/// Judges an attempt to print. Whoever closes the pipe early (`| head`) has seen enough.
fn printed(outcome: io::Result<()>, what: &str) -> Result<(), Stop> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Stop::Failed(Failure::new(format!("{what} cannot be printed: {error}"))))
        }
        _ => Ok(()),
    }
}

#[expect(clippy::print_stderr, reason = "this is where failures reach the person at the prompt")]
fn complain(stop: &Stop) {
    eprintln!("s3xmount: {}", stop.failure());
}
