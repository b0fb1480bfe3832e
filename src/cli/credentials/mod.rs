//! `s3xmount credentials`: a role session for other programs.
//!
//! Instead of the script that calls `aws sts assume-role` and exports three variables. Where the path lies
//! in a running mount, its present session is printed, which the mount keeps fresh; otherwise a new one
//! is made from the configuration file and flags, as a mount would.

mod formats;
mod profile;

use std::io::{self, Write};

use clap::{Arg, ArgMatches, Command};

use self::formats::Format;
use self::profile::ProfileName;
use super::{Stop, args, desk};
use crate::clock;
use crate::config::options::OPTIONS;
use crate::config::{CommandLine, Failure, Place, Surroundings, Written};
use crate::control::Session;

pub(super) use self::formats::variables;

/// What was asked for.
#[derive(Debug)]
pub struct CredentialsArgs {
    line: CommandLine,
    destination: Destination,
}

/// Where a session goes.
#[derive(Debug)]
enum Destination {
    Stdout(Format),
    Profile(ProfileName),
}

impl CredentialsArgs {
    /// Takes down what clap has split.
    pub(super) fn of(matches: &ArgMatches) -> Result<Self, Failure> {
        let written = |name: &str| {
            let text = args::texts(matches, name).next()?;
            Some(Written::new(text, Place::Flag(format!("--{name}"))))
        };
        let destination = match (written(WRITE_PROFILE), written(FORMAT)) {
            (Some(name), None) => Destination::Profile(name.parse(ProfileName::parse)?),
            (None, Some(format)) => Destination::Stdout(format.parse(Format::parse)?),
            (None, None) => Destination::Stdout(Format::Env),
            (Some(name), Some(_)) => {
                return Err(Failure::new("a session is either printed or written into a profile")
                    .at(name.place)
                    .hint("leave --format or --write-profile away"));
            }
        };
        Ok(Self { line: args::identity_line(matches), destination })
    }
}

/// The command and its flags.
pub fn command() -> Command {
    let own = [
        args::path(
            "A path in a running mount, whose role session is printed; the directory below the mount point picks the bucket. Where nothing is mounted, or without a path, a new session is made",
        ),
        Arg::new(FORMAT).long(FORMAT).value_name("FORMAT").help(
            "How: `env` (for eval in sh, bash and zsh), `env-no-export`, `fish`, `powershell`, `process` (for credential_process in ~/.aws/config) or `json` (as `aws sts assume-role` prints it) [default: env]",
        ),
        Arg::new(WRITE_PROFILE).long(WRITE_PROFILE).value_name("NAME").help(
            "Prints nothing and writes the session into the AWS tools' credentials file, as profile NAME; everything else in the file stays as it is",
        ),
    ];
    Command::new("credentials")
        .about("Prints the role session of a mount, or a new one, for other programs")
        .override_usage("s3xmount credentials [PATH] [--format FORMAT | --write-profile NAME] [OPTIONS]")
        .after_help(EXAMPLES)
        .args(own)
        .args(args::identity_args())
}

/// Prints the session, or writes it into the profile.
///
/// # Errors
/// When there is no session to be had, or nowhere to put it.
pub fn run(
    asked: &CredentialsArgs,
    new_session: impl FnOnce(&CommandLine, &Surroundings) -> Result<Session, Stop>,
) -> Result<(), Stop> {
    desk::guard_secrets();
    let around = Surroundings::look();
    let session = session(&asked.line, &around, new_session)?;
    match &asked.destination {
        Destination::Stdout(format) => print(&session, *format),
        Destination::Profile(name) => {
            let path = profile::file(&around).map_err(Stop::Refused)?;
            profile::write(&path, name, &session).map_err(Stop::Failed)?;
            announce(&format!("the profile {} in {} now holds", name.as_str(), path.display()), &session);
            Ok(())
        }
    }
}

/// The session of the mount that the path lies in, or else a new one.
pub(super) fn session(
    line: &CommandLine,
    around: &Surroundings,
    new_session: impl FnOnce(&CommandLine, &Surroundings) -> Result<Session, Stop>,
) -> Result<Session, Stop> {
    let found = match &line.mount_point {
        Some(path) => desk::find(path, around),
        // As `login` and `status` have it: the only mount there is, unless flags describe another session.
        None if first_flag(line).is_none() => desk::only(around).map_err(Stop::Refused)?,
        None => None,
    };
    let Some(found) = found else { return new_session(line, around) };
    match first_flag(line) {
        // The mount has its role already; a flag that changes nothing would look as if it had.
        Some(flag) => Err(Stop::Refused(
            Failure::new(format!("the mount at {} has its role already", found.mount_point.display()))
                .at(flag.place.clone())
                .hint("leave the flag away, or leave the path away for a new session"),
        )),
        None => desk::session(&found),
    }
}

fn first_flag(line: &CommandLine) -> Option<&Written> {
    let flags = OPTIONS.iter().filter_map(|spec| line.flags.all(spec.key).first());
    flags.chain(&line.config).next()
}

fn print(session: &Session, format: Format) -> Result<(), Stop> {
    let text = format.text(session);
    let mut out = io::stdout().lock();
    // In one piece and ending a line, so that the standard library passes it on without a copy.
    let written = out.write_all(text.bytes()).and_then(|()| out.flush());
    super::printed(written, "the session")
}

/// Says whose session it is and until when; nothing secret.
#[expect(clippy::print_stderr, reason = "for the person; standard output is for what was asked for")]
fn announce(what: &str, session: &Session) {
    let whose = session.arn.as_deref().unwrap_or(&session.access_key_id);
    let end = session.expiration.as_deref().map(|end| desk::moment(end, clock::now()));
    match end {
        Some(end) => eprintln!("s3xmount: {what} the session of {whose}, which lasts until {end}"),
        None => eprintln!("s3xmount: {what} the keys of {whose}, which do not end"),
    }
}

const FORMAT: &str = "format";
const WRITE_PROFILE: &str = "write-profile";

const EXAMPLES: &str = "\
Examples:
  Into this shell:
    eval \"$(s3xmount credentials /mnt/accountb)\"              # sh, bash, zsh
    s3xmount credentials /mnt/accountb --format fish | source # fish

  Whenever a tool needs one, from ~/.aws/config:
    [profile accountb]
    credential_process = s3xmount credentials /mnt/accountb --format process

  Into the profile `accountb` of ~/.aws/credentials, until it ends:
    s3xmount credentials /mnt/accountb --write-profile accountb";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::*;
    use crate::config::options::Key;
    use crate::secret::Secret;

    fn a_session() -> Session {
        Session {
            access_key_id: "ASIANEW".to_owned(),
            secret_access_key: Secret::from("secret".to_owned()),
            session_token: None,
            expiration: None,
            arn: None,
            region: None,
        }
    }

    fn asked(line: &[&str]) -> Result<CredentialsArgs, Failure> {
        CredentialsArgs::of(&command().try_get_matches_from([&["credentials"], line].concat()).unwrap())
    }

    #[test]
    fn where_nothing_is_mounted_a_new_session_is_made_of_path_and_flags() {
        let asked = asked(&["/nothing/here", "--role-arn", "a", "--region=r", "--config", "f"]).unwrap();
        let around = Surroundings::default();
        let made = session(&asked.line, &around, |line, _| {
            let said = |key| line.flags.all(key).iter().map(|value| value.text.clone()).collect::<Vec<_>>();
            assert_eq!((said(Key::RoleArn), said(Key::Region)), (vec!["a".to_owned()], vec!["r".to_owned()]));
            assert_eq!(line.config.as_ref().unwrap().text, "f");
            assert_eq!(line.mount_point.as_ref().unwrap().text, "/nothing/here");
            Ok(a_session())
        });
        assert_eq!(made.unwrap(), a_session());
    }

    #[test]
    fn the_destination_is_understood_or_refused() {
        let table = [
            (&["--format", "bash"][..], "there is no format 'bash'", "--format"),
            (&["--write-profile", "a]b"], "cannot be the name of a profile", "--write-profile"),
            (&["--format", "env", "--write-profile", "x"], "either printed or written", "--write-profile"),
        ];
        for (line, message, place) in table {
            let failure = asked(line).unwrap_err();
            assert!(failure.message.contains(message), "{failure}");
            assert_eq!(failure.place, Some(Place::Flag(place.to_owned())));
        }
        assert!(matches!(asked(&[]).unwrap().destination, Destination::Stdout(Format::Env)));
    }

    #[test]
    fn a_flag_is_noticed_wherever_it_says_something() {
        assert_eq!(first_flag(&asked(&["/mnt"]).unwrap().line), None);
        for flag in ["--external-id", "--sts-endpoint-url", "--config"] {
            let asked = asked(&["/mnt", flag, "x"]).unwrap();
            assert_eq!(first_flag(&asked.line).unwrap().place, Place::Flag(flag.to_owned()));
        }
    }
}
