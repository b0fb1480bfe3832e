//! `s3xmount exec`: a command with a role session in its environment.
//!
//! The command takes the place of this process, so its exit code, its signals and the terminal are its own.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt;
use std::process;

use clap::{Arg, ArgMatches, Command, value_parser};

use super::{Stop, args, credentials, new_session};
use crate::config::{CommandLine, Failure, Place, Surroundings};
use crate::control::Session;

/// What was asked for.
#[derive(Debug)]
pub struct ExecArgs {
    line: CommandLine,
    program: OsString,
    args: Vec<OsString>,
}

impl ExecArgs {
    /// Takes down what clap has split.
    pub(super) fn of(matches: &ArgMatches) -> Result<Self, Failure> {
        let mut words = matches.get_many::<OsString>(COMMAND).into_iter().flatten().cloned();
        let program = words.next().ok_or_else(|| {
            Failure::new("which command?")
                .at(Place::Argument("COMMAND"))
                .hint("write it after two dashes: s3xmount exec /mnt/accountb -- aws s3 ls")
        })?;
        Ok(Self { line: args::identity_line(matches), program, args: words.collect() })
    }
}

/// The command and its flags.
pub fn command() -> Command {
    let own = [
        args::path(
            "A path in a running mount, whose role session the command gets; the directory below the mount point picks the bucket. Where nothing is mounted, or without a path, a new session is made",
        ),
        Arg::new(COMMAND)
            .value_name("COMMAND")
            .last(true)
            .num_args(1..)
            .value_parser(value_parser!(OsString))
            .help("What to run, and its arguments"),
    ];
    Command::new("exec")
        .about("Runs a command with the role session of a mount, or a new one")
        .override_usage("s3xmount exec [PATH] [OPTIONS] -- COMMAND [ARGS..]")
        .after_help(CLOSE)
        .args(own)
        .args(args::identity_args())
}

/// Becomes the command.
///
/// # Errors
/// When there is no session to be had, or the command cannot be run.
pub fn run(
    asked: &ExecArgs,
    new_session: impl FnOnce(&CommandLine, &Surroundings) -> Result<Session, Stop>,
) -> Result<(), Stop> {
    let around = Surroundings::look();
    let session = credentials::session(&asked.line, &around, new_session)?;
    let mut command = process::Command::new(&asked.program);
    command.args(&asked.args);
    for (name, value) in environment(&session, &around) {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Err(not_run(asked, &command.exec()))
}

/// What is set in the command's environment, and what is removed from it.
fn environment<'s>(session: &'s Session, around: &Surroundings) -> Vec<(&'static str, Option<&'s str>)> {
    let mut environment = credentials::variables(session).to_vec();
    environment.extend(MISLEADING.map(|name| (name, None)));
    let has_region = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().any(|name| around.variable(name).is_some());
    if let Some(region) = session.region.as_deref().filter(|_| !has_region) {
        // The first is for most of the tools, the second for the older ones.
        environment.extend(["AWS_REGION", "AWS_DEFAULT_REGION"].map(|name| (name, Some(region))));
    }
    environment
}

fn not_run(asked: &ExecArgs, error: &io::Error) -> Stop {
    let program = asked.program.to_string_lossy();
    match error.kind() {
        ErrorKind::NotFound => {
            Stop::NotRun(Failure::new(format!("there is no command {program}")), CODE_NOT_FOUND)
        }
        _ => Stop::NotRun(Failure::new(format!("{program} cannot be run: {error}")), CODE_NOT_RUNNABLE),
    }
}

/// Each of these makes some tool prefer other credentials to those in the variables: a profile the newer
/// SDKs, the token's older name those that look for it first. The last is between us and ourselves.
const MISLEADING: [&str; 4] =
    ["AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SECURITY_TOKEN", new_session::ASKED_VARIABLE];

/// Exit codes as POSIX has them for shells ("Exit Status for Commands").
const CODE_NOT_FOUND: u8 = 127;
const CODE_NOT_RUNNABLE: u8 = 126;

const COMMAND: &str = "command";

const CLOSE: &str = "\
The variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and
AWS_CREDENTIAL_EXPIRATION are set, and the region where none is; AWS_PROFILE is removed. They
do not change when the session is renewed: for commands that run longer than a session lives, use
credential_process (s3xmount credentials --help).

Exit codes: that of the command; 126 it cannot be run, 127 there is none of that name.

Example:
  s3xmount exec /mnt/accountb/SampleBucketA -- aws s3 ls s3://SampleBucketA";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn asked(line: &[&str]) -> Result<ExecArgs, Failure> {
        ExecArgs::of(&command().try_get_matches_from([&["exec"], line].concat()).unwrap())
    }

    fn session() -> Session {
        Session {
            access_key_id: "k".to_owned(),
            secret_access_key: Secret::from("s".to_owned()),
            session_token: None,
            expiration: None,
            arn: None,
            region: Some("eu-west-1".to_owned()),
        }
    }

    #[test]
    fn what_follows_the_dashes_is_the_commands() {
        let exec = asked(&["/mnt", "--region", "r", "--", "ls", "--format", "--", "-l"]).unwrap();
        assert_eq!(exec.line.mount_point.unwrap().text, "/mnt");
        assert_eq!((exec.program, exec.args), ("ls".into(), ["--format", "--", "-l"].map(Into::into).into()));
        let exec = asked(&["--", "true"]).unwrap();
        assert!(exec.line.mount_point.is_none() && exec.args.is_empty());
        assert_eq!(asked(&["/mnt"]).unwrap_err().message, "which command?");
    }

    #[test]
    fn nothing_in_the_environment_outranks_the_session() {
        let table = [
            ("", Some("eu-west-1")),
            ("AWS_REGION", None),
            ("AWS_DEFAULT_REGION", None),
            ("AWS_PROFILE", Some("eu-west-1")),
        ];
        for (variable, region) in table {
            let variables = [(variable.to_owned(), "x".to_owned())].into();
            let around = Surroundings { variables, ..Surroundings::default() };
            let session = session();
            let environment = environment(&session, &around);
            let value =
                |name| environment.iter().rev().find(|(other, _)| *other == name).map(|(_, value)| *value);
            assert_eq!(value("AWS_REGION"), region.map(Some), "{variable}");
            assert_eq!(value("AWS_ACCESS_KEY_ID"), Some(Some("k")));
            for removed in ["AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"] {
                assert_eq!(value(removed), Some(None), "{removed}");
            }
        }
    }

    #[test]
    fn a_command_that_cannot_be_run_ends_as_in_a_shell() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (program, code) in [("/nothing/here", 127), (file.to_str().unwrap(), 126), ("/", 126)] {
            let asked = asked(&["--", program]).unwrap();
            // In a child: exec(2) gives this process the default for SIGPIPE even if it fails, and would have the
            // next closed connection end all tests.
            let error = process::Command::new(program).spawn().unwrap_err();
            let stop = not_run(&asked, &error);
            assert_eq!(stop.code(), code, "{program}: {}", stop.failure());
        }
    }
}
