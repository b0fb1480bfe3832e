//! The command line: flags made from the table of settings, and what people typed, taken down.
//!
//! clap only splits the line and draws the help. Values stay text until all sources have been
//! brought together, so that a mistake reads the same wherever it was made.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::credentials::{self, CredentialsArgs};
use super::doctor::{self, DoctorArgs};
use super::exec::{self, ExecArgs};
use super::login::{self, LoginArgs};
use super::mount_options;
use super::policy::{self, PolicyArgs};
use super::rescue::{self, RescueArgs};
use super::status::{self, StatusArgs};
use crate::config::options::{Group, Key, OPTIONS, Shape, Spec};
use crate::config::{CommandLine, Failure, Place, Written};

/// What to do.
#[derive(Debug)]
pub enum Request {
    /// Mount.
    Mount(CommandLine),
    /// Print a role session, or write it into a profile.
    Credentials(CredentialsArgs),
    /// Run a command with a role session.
    Exec(ExecArgs),
    /// Hand an MFA code to a running mount.
    Login(LoginArgs),
    /// Say how running mounts are.
    Status(StatusArgs),
    /// Find out what does not work, and why.
    Doctor(DoctorArgs),
    /// Print the policies that the mount takes.
    Policy(PolicyArgs),
    /// See to files that could not be brought to S3.
    Rescue(RescueArgs),
    /// Show the whole thing without an AWS account.
    #[cfg(feature = "emulator")]
    Demo(super::demo::DemoArgs),
    /// Print this text and be done: help, or the version.
    Print(clap::Error),
}

/// Takes down the command line.
///
/// # Errors
/// When it has something on it that nobody knows.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, Failure> {
    let args: Vec<OsString> = args.into_iter().collect();
    let is_exec = args.get(1).is_some_and(|word| word == "exec");
    match command().try_get_matches_from(args) {
        Ok(matches) => request(&matches),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Request::Print(error))
        }
        // Where clap meets a word too many, it is the command.
        Err(error) if is_exec && error.kind() == ErrorKind::UnknownArgument => {
            Err(refusal(&error).hint("write -- before the command: s3xmount exec /mnt/accountb -- ls"))
        }
        Err(error) => Err(refusal(&error)),
    }
}

/// The commands and their flags.
pub fn command() -> Command {
    let root = Command::new("s3xmount")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Mounts S3 buckets of another AWS account as ordinary directories")
        .override_usage(USAGE)
        .after_help(SHORT_HELP_END)
        .after_long_help(LONG_HELP_END)
        .args_conflicts_with_subcommands(true)
        .args(mount_args())
        .subcommand(
            Command::new("mount")
                .about("Mounts; the word may be left away")
                .override_usage("s3xmount mount [OPTIONS] [SOURCE] MOUNTPOINT")
                .after_help(SHORT_HELP_END)
                .after_long_help(LONG_HELP_END)
                .args(mount_args()),
        )
        .subcommands([credentials::command(), exec::command(), login::command(), status::command()])
        .subcommands([doctor::command(), policy::command(), rescue::command()]);
    #[cfg(feature = "emulator")]
    let root = root.subcommand(super::demo::command());
    root
}

/// The arguments of a mount: paths, and every setting.
pub(super) fn mount_args() -> Vec<Arg> {
    let own = [
        Arg::new(PATHS)
            .value_name("MOUNTPOINT")
            .num_args(1..=2)
            .help("An empty directory. What is mounted there is taken from the configuration file and from flags. In front of it may stand a SOURCE, as in fstab: buckets separated by commas, or `s3xmount`"),
        config_file().help_heading(Group::Buckets.title()),
    ];
    let log = [
        Arg::new(VERBOSE).short('v').action(ArgAction::Count).help("Logs each operation; -vv logs everything"),
        Arg::new(QUIET).short('q').action(ArgAction::SetTrue).help("Logs only what went wrong"),
        Arg::new(MOUNT_OPTIONS).short('o').value_name("OPTION[,..]").action(ArgAction::Append).help(
            "Options as mount(8) has them: ro, rw, allow_other, and every flag as name=value. Those of fstab that are not for us are ignored",
        ),
    ];
    let log = log.into_iter().map(|arg| arg.help_heading(Group::Process.title()));
    own.into_iter().chain(OPTIONS.iter().map(setting)).chain(log).collect()
}

fn config_file() -> Arg {
    Arg::new(CONFIG).long("config").value_name("FILE").action(ArgAction::Append).help(
        "The configuration file [default: $XDG_CONFIG_HOME/s3xmount/config.toml, then /etc/s3xmount/config.toml]",
    )
}

/// The path of a running mount, or into one.
pub(super) fn path(help: &'static str) -> Arg {
    Arg::new(PATH).value_name("PATH").help(help)
}

/// The path of a running mount, as written.
pub(super) fn written_path(matches: &ArgMatches) -> Option<Written> {
    texts(matches, PATH).next().map(|text| Written::new(text, Place::Argument("PATH")))
}

/// The flags that decide whose right is used, for commands that need no mount.
pub(super) fn identity_args() -> impl Iterator<Item = Arg> {
    let config = config_file().help_heading(Group::Credentials.title());
    identity_settings().map(setting).chain([config])
}

/// What those flags, and the path, say.
pub(super) fn identity_line(matches: &ArgMatches) -> CommandLine {
    let mut line = CommandLine { mount_point: written_path(matches), ..CommandLine::default() };
    take_down_settings(identity_settings(), matches, &mut line);
    line
}

fn identity_settings() -> impl Iterator<Item = &'static Spec> {
    let is_about_identity = |spec: &&Spec| {
        spec.group == Group::Credentials || matches!(spec.key, Key::Region | Key::StsEndpointUrl)
    };
    OPTIONS.iter().filter(is_about_identity)
}

/// The flag of one setting.
fn setting(spec: &'static Spec) -> Arg {
    let help = match spec.default {
        "" => spec.help.to_owned(),
        default => format!("{} [default: {default}]", spec.help),
    };
    let arg = Arg::new(spec.name)
        .long(spec.name)
        .action(ArgAction::Append)
        .value_parser(value_parser!(String))
        .help_heading(spec.group.title())
        .help(help);
    let arg = if spec.key == Key::Foreground { arg.short('f') } else { arg };
    match spec.shape {
        // The value is there so that a flag can overrule `read_only = true` of a file.
        Shape::Switch => {
            arg.value_name("NO").num_args(0..=1).require_equals(true).default_missing_value("true")
        }
        Shape::One | Shape::Many => arg.value_name(spec.value),
    }
}

fn request(matches: &ArgMatches) -> Result<Request, Failure> {
    match matches.subcommand() {
        Some(("mount", matches)) => Ok(Request::Mount(command_line(matches)?)),
        Some(("credentials", matches)) => Ok(Request::Credentials(CredentialsArgs::of(matches)?)),
        Some(("exec", matches)) => Ok(Request::Exec(ExecArgs::of(matches)?)),
        Some(("login", matches)) => Ok(Request::Login(LoginArgs::of(matches))),
        Some(("status", matches)) => Ok(Request::Status(StatusArgs::of(matches))),
        Some(("doctor", matches)) => Ok(Request::Doctor(DoctorArgs::of(matches)?)),
        Some(("policy", matches)) => Ok(Request::Policy(PolicyArgs::of(matches)?)),
        Some(("rescue", matches)) => Ok(Request::Rescue(RescueArgs::of(matches)?)),
        #[cfg(feature = "emulator")]
        Some(("demo", matches)) => Ok(Request::Demo(super::demo::DemoArgs::of(matches))),
        _ => Ok(Request::Mount(command_line(matches)?)),
    }
}

/// What those arguments say.
pub(super) fn command_line(matches: &ArgMatches) -> Result<CommandLine, Failure> {
    let mut line = CommandLine::default();
    take_down_settings(OPTIONS.iter(), matches, &mut line);
    for text in texts(matches, MOUNT_OPTIONS) {
        mount_options::take_down(text, &mut line.flags)?;
    }
    let verbosity = match matches.get_count(VERBOSE) {
        0 => None,
        1 => Some(("debug", "-v")),
        _ => Some(("trace", "-vv")),
    };
    let quiet = matches.get_flag(QUIET).then_some(("error", "-q"));
    for (level, flag) in verbosity.into_iter().chain(quiet) {
        line.flags.add(Key::LogLevel, Written::new(level, Place::Flag(flag.to_owned())));
    }
    take_down_paths(texts(matches, PATHS), &mut line);
    Ok(line)
}

/// The flags of these settings, and the configuration file.
fn take_down_settings(
    settings: impl Iterator<Item = &'static Spec>,
    matches: &ArgMatches,
    line: &mut CommandLine,
) {
    for spec in settings {
        for text in texts(matches, spec.name) {
            line.flags.add(spec.key, Written::new(text, Place::Flag(spec.flag())));
        }
    }
    line.config =
        texts(matches, CONFIG).last().map(|text| Written::new(text, Place::Flag("--config".to_owned())));
}

/// `MOUNTPOINT`, or `SOURCE MOUNTPOINT` as mount(8) says it.
fn take_down_paths<'a>(paths: impl DoubleEndedIterator<Item = &'a str>, line: &mut CommandLine) {
    let mut backwards = paths.rev();
    line.mount_point = backwards.next().map(|text| Written::new(text, Place::Argument("MOUNTPOINT")));
    let source = backwards.next().filter(|source| !matches!(*source, "s3xmount" | "none"));
    for bucket in source.into_iter().flat_map(|source| source.split(',')) {
        line.flags.add(Key::Bucket, Written::new(bucket, Place::Argument("SOURCE")));
    }
}

/// What the arguments of a mount say, for commands that can do without a mount point: where flags say
/// what is to be mounted, one is made up.
pub(super) fn line_of_no_mount(matches: &ArgMatches) -> Result<CommandLine, Failure> {
    let mut line = command_line(matches)?;
    if line.mount_point.is_none() && !line.flags.all(Key::Bucket).is_empty() {
        line.mount_point = Some(Written::new("s3xmount", Place::Argument("MOUNTPOINT")));
    }
    Ok(line)
}

/// The values of an argument that has been declared for this command.
pub(super) fn texts<'a>(matches: &'a ArgMatches, id: &str) -> impl DoubleEndedIterator<Item = &'a str> {
    matches.get_many::<String>(id).into_iter().flatten().map(String::as_str)
}

/// What clap refuses, in our form.
fn refusal(error: &clap::Error) -> Failure {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    // clap names a flag together with what stands for its value: `--acl <ACL>`.
    let flag = context(ContextKind::InvalidArg);
    let flag = flag.map(|text| text.split([' ', '=', '[']).next().unwrap_or_default().to_owned());
    let failure = match (error.kind(), &flag) {
        (ErrorKind::UnknownArgument, Some(flag)) if flag.starts_with('-') => {
            Failure::new(format!("there is no flag {flag}"))
        }
        (ErrorKind::UnknownArgument, Some(word)) => {
            Failure::new(format!("'{word}' is one argument too many"))
        }
        (ErrorKind::InvalidValue, Some(flag)) => Failure::new(format!("{flag} lacks its value")),
        _ => {
            let text = error.to_string();
            let sentence = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            Failure::new(sentence.to_owned())
        }
    };
    let failure = match flag {
        Some(flag) if flag.starts_with('-') => failure.at(Place::Flag(flag)),
        _ => failure,
    };
    match context(ContextKind::SuggestedArg) {
        Some(similar) => failure.hint(format!("did you mean {similar}?")),
        None => failure.hint("s3xmount --help shows all flags"),
    }
}

const PATHS: &str = "paths";
const PATH: &str = "path";
const CONFIG: &str = "config";
const VERBOSE: &str = "verbose";
const QUIET: &str = "quiet";
const MOUNT_OPTIONS: &str = "mount-options";

const USAGE: &str = "s3xmount [mount] [OPTIONS] [SOURCE] MOUNTPOINT\n       \
    s3xmount status [PATH]\n       \
    s3xmount credentials [PATH] [--format FORMAT | --write-profile NAME]\n       \
    s3xmount exec [PATH] -- COMMAND\n       \
    s3xmount login [PATH]\n       \
    s3xmount doctor [OPTIONS] MOUNTPOINT\n       \
    s3xmount policy [OPTIONS] MOUNTPOINT\n       \
    s3xmount rescue [MOUNTPOINT] [--file NAME ..]\n       \
    s3xmount demo [DIRECTORY] [--minimal] [--walk]";

const SHORT_HELP_END: &str =
    "Every flag is also a variable (--role-arn: S3XMOUNT_ROLE_ARN) and a key of the \
configuration file (role_arn).
A flag outranks a variable, a variable the file, the file the default. --help has examples.";

const LONG_HELP_END: &str = "\
Where settings come from:
  Every setting can be written in four ways, and the first of these that mentions it decides:
    1. a flag, --role-arn ARN, or a mount option, -o role-arn=ARN
    2. a variable, S3XMOUNT_ROLE_ARN (several values are separated by spaces)
    3. the configuration file, role_arn = \"ARN\": in the table of the bucket, in that of the
       mount, or at its top
    4. the default
  Secrets have no setting. The base identity comes from where the AWS tools keep it: variables,
  ~/.aws, SSO, the container or the instance.

Examples:
  Two buckets of another account, through a role:
    s3xmount --role-arn arn:aws:iam::111122223333:role/assumed-accountb-role \\
             --bucket SampleBucketA --bucket SampleBucketB /mnt/accountb

  The same from a configuration file:
    [[mount]]
    path = \"/mnt/accountb\"
    role_arn = \"arn:aws:iam::111122223333:role/assumed-accountb-role\"
    buckets = [\"SampleBucketA\", \"SampleBucketB\"]

    s3xmount /mnt/accountb

  A part of a bucket under another name, read only, staying in the foreground:
    s3xmount -f --read-only --bucket photos=SampleBucketB/2024 /mnt/photos

  The mount's role session for other programs:
    eval \"$(s3xmount credentials /mnt/accountb)\"
    s3xmount exec /mnt/accountb -- aws s3 ls s3://SampleBucketA

  Everything, without an AWS account:
    s3xmount demo /tmp/demo

  To end a mount: umount /mnt/accountb (or fusermount3 -u /mnt/accountb)

Exit codes: 0 mounted, and later ended well; 1 the mount failed; 2 a setting was refused.";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Request, Failure> {
        parse(std::iter::once("s3xmount").chain(line.split_whitespace()).map(OsString::from))
    }

    fn mount(line: &str) -> CommandLine {
        match parsed(line).unwrap() {
            Request::Mount(line) => line,
            other => panic!("{other:?}"),
        }
    }

    fn said(line: &CommandLine, key: Key) -> Vec<(String, String)> {
        line.flags.all(key).iter().map(|written| (written.text.clone(), written.place.to_string())).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(text, place)| ((*text).to_owned(), (*place).to_owned())).collect()
    }

    #[test]
    fn the_table_makes_a_sound_command_line() {
        command().debug_assert();
    }

    #[test]
    fn the_word_mount_may_be_left_away() {
        for line in ["/mnt/b --acl none", "mount /mnt/b --acl none", "--acl=none /mnt/b"] {
            let line = mount(line);
            assert_eq!(line.mount_point.as_ref().map(|written| written.text.as_str()), Some("/mnt/b"));
            assert_eq!(said(&line, Key::Acl), pairs(&[("none", "--acl")]));
        }
    }

    #[test]
    fn lists_repeat_and_switches_may_be_turned_off() {
        let line = mount("--role-arn a --role-arn b --read-only --allow-other=false -f /mnt/b");
        assert_eq!(said(&line, Key::RoleArn), pairs(&[("a", "--role-arn"), ("b", "--role-arn")]));
        assert_eq!(said(&line, Key::ReadOnly), pairs(&[("true", "--read-only")]));
        assert_eq!(said(&line, Key::AllowOther), pairs(&[("false", "--allow-other")]));
        assert_eq!(said(&line, Key::Foreground), pairs(&[("true", "--foreground")]));
    }

    #[test]
    fn verbosity_has_short_forms() {
        assert_eq!(said(&mount("-v /m"), Key::LogLevel), pairs(&[("debug", "-v")]));
        assert_eq!(said(&mount("-vv /m"), Key::LogLevel), pairs(&[("trace", "-vv")]));
        assert_eq!(said(&mount("-q /m"), Key::LogLevel), pairs(&[("error", "-q")]));
    }

    #[test]
    fn a_source_in_front_names_buckets_as_fstab_does() {
        let line = mount("SampleBucketA,x=SampleBucketB /mnt/b -o ro");
        assert_eq!(
            said(&line, Key::Bucket),
            pairs(&[("SampleBucketA", "the argument SOURCE"), ("x=SampleBucketB", "the argument SOURCE")])
        );
        assert_eq!(line.mount_point.map(|written| written.text).as_deref(), Some("/mnt/b"));
        assert_eq!(said(&mount("s3xmount /mnt/b"), Key::Bucket), []);
    }

    #[test]
    fn what_is_unknown_is_refused_with_the_nearest_thing_known() {
        let table = [
            ("--rol-arn x /m", "there is no flag --rol-arn", "--rol-arn", "did you mean --role-arn?"),
            ("--zzz /m", "there is no flag --zzz", "--zzz", "--help"),
            ("a b c", "'c'", "", "--help"),
            ("/m --acl", "--acl", "--acl", "--help"),
        ];
        for (line, message, place, hint) in table {
            let failure = parsed(line).unwrap_err();
            assert!(failure.message.contains(message), "{line}: {failure}");
            assert_eq!(
                failure.place.as_ref().map(ToString::to_string).unwrap_or_default(),
                place,
                "{failure}"
            );
            assert!(failure.hint.as_deref().unwrap_or_default().contains(hint), "{line}: {failure}");
        }
    }

    #[test]
    fn help_is_complete_and_states_who_wins() {
        let help = command().term_width(100).render_long_help().to_string();
        for spec in OPTIONS {
            assert!(help.contains(&spec.flag()), "{} is missing", spec.name);
            assert!(help.contains(spec.group.title()));
        }
        let order = ["1. a flag", "2. a variable", "3. the configuration file", "4. the default"]
            .map(|step| help.find(step));
        assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 110), "lines fit a terminal");
    }
}
