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
use std::io;
use std::path::Path;
use std::process::ExitCode;

use self::args::Request;
use crate::config::options::Key;
use crate::config::{self, BucketSettings, CommandLine, Failure, Settings, Surroundings, Written};
use crate::control::Session;
use crate::daemon;
use crate::sys;

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

/// A role session of its own, from the configuration file and flags, where no mount is asked.
///
/// With a path it is the session that the mount there would have, so the file has to describe one.
fn new_session(line: &CommandLine, around: &Surroundings) -> Result<Session, Stop> {
    refuse_circle(line, around).map_err(Stop::Refused)?;
    let settings = match &line.mount_point {
        Some(path) => Some(described(line, path, around).map_err(Stop::Refused)?),
        None => None,
    };
    let identity = match &settings {
        Some((_, bucket)) => bucket.identity.clone(),
        None => config::load_identity(line, around).map_err(Stop::Refused)?,
    };
    let settings = settings.map(|(settings, _)| settings);
    let session =
        daemon::new_session(&identity, settings.as_ref(), &prompt::people(None)).map_err(Stop::Failed)?;
    // Nobody who asks for a session expects a user's lasting keys.
    if session.session_token.is_none() {
        let failure = Failure::new("no role was assumed: these would be the lasting keys of a user");
        return Err(Stop::Refused(
            failure.hint("name the role with --role-arn, or a path in a running mount"),
        ));
    }
    Ok(session)
}

/// The mount that a path would lie in, as the file describes it, and the bucket.
fn described(
    line: &CommandLine,
    path: &Written,
    around: &Surroundings,
) -> Result<(Settings, BucketSettings), Failure> {
    let absolute = around.absolute(&path.text);
    let at = |place: &Path| {
        let mount_point = Some(Written::new(place.to_string_lossy(), path.place.clone()));
        config::load(&CommandLine { mount_point, ..line.clone() }, around)
    };
    let refusal = match at(&absolute) {
        Ok(settings) => return Ok((settings.clone(), settings.buckets[0].clone())),
        Err(refusal) => refusal,
    };
    for mount_point in absolute.ancestors().skip(1) {
        let Ok(settings) = at(mount_point) else { continue };
        let below = absolute.strip_prefix(mount_point).ok().and_then(|below| below.iter().next());
        let bucket = settings
            .buckets
            .iter()
            .find(|bucket| below.is_some_and(|directory| directory == bucket.directory.as_str()));
        if let Some(bucket) = bucket.cloned() {
            return Ok((settings, bucket));
        }
    }
    let shown = &path.text;
    Err(Failure {
        message: format!("no mount is running at {shown}, and none is described: {}", refusal.message),
        ..refusal
    })
}

/// A profile whose `credential_process` is this program must not be where this program begins.
fn refuse_circle(line: &CommandLine, around: &Surroundings) -> Result<(), Failure> {
    let depth: u32 = around.variable(ASKED_VARIABLE).and_then(|depth| depth.parse().ok()).unwrap_or(0);
    let names_profile = !line.flags.all(Key::Profile).is_empty();
    let inherited = around.variable("AWS_PROFILE").filter(|_| depth > 0 && !names_profile);
    if let Some(profile) = inherited {
        return Err(Failure::new(format!(
            "the profile '{profile}' asks s3xmount, which would ask that profile"
        ))
        .hint("name --profile in its credential_process, or begin the mount that it names"));
    }
    if depth >= ASKED_DEPTH_MAX {
        return Err(Failure::new("profiles ask s3xmount in a circle")
            .hint("look at the credential_process of the profiles in ~/.aws/config"));
    }
    sys::set_variable(ASKED_VARIABLE, Some(&(depth + 1).to_string()))
        .map_err(|error| Failure::new(error.to_string()))
}

/// How deep we are in processes that ask each other for credentials.
const ASKED_VARIABLE: &str = "S3XMOUNT_ASKED";

/// A profile for the base identity of another is as far as anybody goes.
const ASKED_DEPTH_MAX: u32 = 3;

#[expect(clippy::print_stderr, reason = "this is where failures reach the person at the prompt")]
fn complain(stop: &Stop) {
    eprintln!("s3xmount: {}", stop.failure());
}
