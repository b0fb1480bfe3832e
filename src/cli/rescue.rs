//! `s3xmount rescue`: files that could not be committed, shown, taken out, brought to S3 after all or thrown away.
//!
//! Only bringing one to S3 takes credentials, and so the mount that has them, or the settings of one. For all else
//! the staging directory is enough, whether or not a mount is at work in it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Stop, args, desk, prompt};
use crate::clock;
use crate::config::{self, CommandLine, Failure, Surroundings};
use crate::control::{self, Answer, AsideStatus, Found, RefusedDescriptionStatus, Request};
use crate::daemon::rescue::{self, Wish};
use crate::write::aside;

/// What was asked for.
#[derive(Debug)]
pub struct RescueArgs {
    line: CommandLine,
    deed: Deed,
}

/// What is to be done.
#[derive(Debug)]
enum Deed {
    List { json: bool },
    TakeOut { name: String, to: String },
    Commit { name: String, target: Target, overwrite: bool },
    Discard { name: String },
}

/// Where a file is to go, as far as it is said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Target {
    bucket: Option<String>,
    key: Option<String>,
}

impl RescueArgs {
    /// Takes down what clap has split.
    pub(super) fn of(matches: &ArgMatches) -> Result<Self, Failure> {
        let text = |id: &str| args::texts(matches, id).next_back().map(str::to_owned);
        let target = text(AS).map(|text| Target::parse(&text)).transpose()?;
        let is_commit = matches.get_flag(TO_S3) || target.is_some() || matches.get_flag(OVERWRITE);
        let deed = match (text(FILE), text(TO), is_commit, matches.get_flag(DISCARD)) {
            (None, None, false, false) => Deed::List { json: matches.get_flag(JSON) },
            (None, ..) => {
                return Err(Failure::new("which file?").hint("--file NAME; `s3xmount rescue` shows them"));
            }
            (Some(name), Some(to), false, false) => Deed::TakeOut { name, to },
            (Some(name), None, true, false) => Deed::Commit {
                name,
                target: target.unwrap_or_default(),
                overwrite: matches.get_flag(OVERWRITE),
            },
            (Some(name), None, false, true) => Deed::Discard { name },
            (Some(_), ..) => {
                return Err(Failure::new("what is to become of the file?")
                    .hint("one of --to PATH, --to-s3, --as KEY, --overwrite and --discard"));
            }
        };
        if matches!(&deed, Deed::Commit { target: Target { key: Some(_), .. }, overwrite: true, .. }) {
            return Err(Failure::new("--as and --overwrite contradict each other")
                .hint("a file with a name of its own takes nobody's place"));
        }
        Ok(Self { line: args::command_line(matches)?, deed })
    }
}

impl Target {
    fn parse(text: &str) -> Result<Self, Failure> {
        let Some(rest) = text.strip_prefix("s3://") else {
            return Ok(Self { bucket: None, key: Some(text.to_owned()) });
        };
        match rest.split_once('/') {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
                Ok(Self { bucket: Some(bucket.to_owned()), key: Some(key.to_owned()) })
            }
            _ => Err(Failure::new(format!("'{text}' is no object")).hint("it looks like s3://BUCKET/KEY")),
        }
    }
}

/// The command and its flags.
pub fn command() -> Command {
    let own = [
        Arg::new(FILE).long(FILE).value_name("NAME").help(
            "The file that is meant, by its name in the list or the end of it: the eight characters suffice",
        ),
        Arg::new(TO).long(TO).value_name("PATH").help("Moves it to PATH, where nothing may be"),
        Arg::new(TO_S3)
            .long(TO_S3)
            .action(ArgAction::SetTrue)
            .help("Brings it to S3 after all, if nothing has come into its place"),
        Arg::new(AS).long(AS).value_name("KEY").help(
            "Brings it to S3 under this key of its bucket, or as s3://BUCKET/KEY; nothing may be there",
        ),
        Arg::new(OVERWRITE)
            .long(OVERWRITE)
            .action(ArgAction::SetTrue)
            .help("Brings it to S3 in the place of whatever is there"),
        Arg::new(DISCARD).long(DISCARD).action(ArgAction::SetTrue).help("Throws it away"),
        Arg::new(JSON).long(JSON).action(ArgAction::SetTrue).help("Prints the list as JSON"),
    ];
    Command::new("rescue")
        .about("Shows files that were written here and could not be brought to S3, and what to do with them")
        .override_usage(
            "s3xmount rescue [OPTIONS] [MOUNTPOINT] [--json]\n       \
             s3xmount rescue [OPTIONS] [MOUNTPOINT] --file NAME (--to PATH | --to-s3 | --as KEY | --overwrite | --discard)",
        )
        .after_help(CLOSE)
        .args(own)
        .args(args::mount_args())
}

/// Does what was asked.
///
/// # Errors
/// Why it could not be done; the file is where it was then.
pub fn run(asked: &RescueArgs) -> Result<(), Stop> {
    let around = Surroundings::look();
    let found = running(&asked.line, &around)?;
    let (staging, owed) = written(&asked.line, found.as_ref(), &around)?;
    let local = |error: crate::error::Error| Stop::Failed(Failure::from(error));
    let done = match &asked.deed {
        Deed::List { json } => {
            let files = rescue::set_aside(&staging).map_err(local)?;
            if *json { as_json(&files) } else { text(&files, &owed, clock::now()) }
        }
        Deed::TakeOut { name, to } => {
            let (file, to) = (aside::find(&staging, name).map_err(local)?, around.absolute(to));
            file.take_out(&to).map_err(local)?;
            let holes = match file.elsewhere_bytes {
                _ if file.released_bytes() > 0 => {
                    "; what is only in parts of an unfinished upload is zeros there, and the file is here still"
                }
                Some(0) => "",
                Some(_) => "; what was not written here are zeros",
                None => "; what was not written here may be zeros",
            };
            format!("{} is {} now{holes}\n", file.name, to.display())
        }
        Deed::Discard { name } => {
            let file = aside::find(&staging, name).map_err(local)?;
            file.discard().map_err(local)?;
            format!("{} is gone\n", file.name)
        }
        Deed::Commit { name, target, overwrite } => {
            // So that a name that is none is told by whoever was asked.
            let file = aside::find(&staging, name).map_err(local)?;
            let object = commit(asked, found.as_ref(), &file.name, target, *overwrite, &around)?;
            format!("{} is {object} now\n", file.name)
        }
    };
    super::printed(io::stdout().lock().write_all(done.as_bytes()), "the answer")
}

fn commit(
    asked: &RescueArgs,
    found: Option<&Found>,
    name: &str,
    target: &Target,
    overwrite: bool,
    around: &Surroundings,
) -> Result<String, Stop> {
    let (key, bucket, name) = (target.key.clone(), target.bucket.clone(), name.to_owned());
    if let Some(found) = found {
        let request = Request::Rescue { name, key, bucket, overwrite };
        let patience = request.time_max().saturating_add(desk::PATIENCE);
        return match control::ask(&found.place, &request, patience).map_err(Stop::Failed)? {
            Answer::Rescued { object } => Ok(object),
            _ => Err(desk::beside_the_point(found)),
        };
    }
    desk::guard_secrets();
    let settings = config::load(&asked.line, around).map_err(Stop::Refused)?;
    let wish = Wish { name, key, bucket, overwrite };
    rescue::commit_alone(&settings, &prompt::people(None), &wish).map_err(Stop::Failed)
}

/// The running mount that is meant, if one is.
fn running(line: &CommandLine, around: &Surroundings) -> Result<Option<Found>, Stop> {
    match &line.mount_point {
        Some(path) => Ok(desk::find(path, around)),
        None => desk::only(around).map_err(Stop::Refused),
    }
}

/// The staging directory of the mount that is meant, and the descriptions that S3 refuses or the next mount is to tell it.
fn written(
    line: &CommandLine,
    found: Option<&Found>,
    around: &Surroundings,
) -> Result<(PathBuf, Owed), Stop> {
    match found {
        Some(found) => {
            let writing = desk::status(found)?.writing;
            Ok((writing.staging.into(), Owed::Refused(writing.refused_descriptions)))
        }
        None => {
            let staging = config::staging_dir(line, around).map_err(Stop::Refused)?;
            let left = rescue::left_descriptions(&staging);
            Ok((staging, Owed::Left(left)))
        }
    }
}

/// Modes, owners and times that were set here and S3 does not have.
#[derive(Debug)]
enum Owed {
    /// It refuses them to the mount that runs.
    Refused(Vec<RefusedDescriptionStatus>),
    /// No mount runs, and the next one tells it: of these objects.
    Left(Vec<String>),
}

impl Owed {
    /// A line for each.
    fn lines(&self, now: SystemTime) -> Vec<String> {
        match self {
            Self::Refused(all) => all.iter().map(|one| refused(one, now)).collect(),
            Self::Left(all) => {
                let left = |object: &String| {
                    format!(
                        "mode, owner or times of {object} were set, and wait for the next mount to tell S3"
                    )
                };
                all.iter().map(left).collect()
            }
        }
    }
}

/// What there is to tell of a description that S3 refuses.
pub(super) fn refused(one: &RefusedDescriptionStatus, now: SystemTime) -> String {
    let RefusedDescriptionStatus { bucket, key, since, why } = one;
    let since = desk::moment(since, now);
    format!("mode, owner or times of s3://{bucket}/{key} are refused by S3 since {since}: {why}")
}

fn as_json(files: &[AsideStatus]) -> String {
    serde_json::to_string_pretty(files).expect("texts and numbers, into memory") + "\n"
}

/// The list as people read it.
fn text(files: &[AsideStatus], owed: &Owed, now: SystemTime) -> String {
    let files = files.iter().flat_map(|file| lines(file, now));
    let all: Vec<_> = files.chain(owed.lines(now).into_iter().map(|line| (0, line))).collect();
    if all.is_empty() {
        return "Nothing was set aside.\n".to_owned();
    }
    let mut text = String::new();
    for (depth, words) in all {
        let printable: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        writeln!(text, "{:indent$}{printable}", "", indent = 2 * depth).expect("a string takes everything");
    }
    text
}

/// What there is to tell of one file; how far each line is indented, and the line.
pub(super) fn lines(file: &AsideStatus, now: SystemTime) -> Vec<(usize, String)> {
    let object = match (&file.bucket, &file.key) {
        (Some(bucket), Some(key)) => format!("s3://{bucket}/{key}"),
        _ => "of an unknown object".to_owned(),
    };
    let part = match file.elsewhere_bytes {
        Some(0) => String::new(),
        Some(bytes) => format!(", {bytes} of them only in the version that it builds on"),
        None => ", of which some may not have been written here".to_owned(),
    };
    let released = match file.released_bytes {
        0 => String::new(),
        bytes => format!(", {bytes} of them only in parts of an unfinished upload"),
    };
    vec![
        (0, file.name.clone()),
        (1, format!("{object}, {} bytes{part}{released}, {}", file.bytes, desk::moment(&file.since, now))),
        (1, file.why.clone()),
    ]
}

const FILE: &str = "file";
const TO: &str = "to";
const TO_S3: &str = "to-s3";
const AS: &str = "as";
const OVERWRITE: &str = "overwrite";
const DISCARD: &str = "discard";
const JSON: &str = "json";

const CLOSE: &str = "\
The mount need not run; then its mount point, and --staging-dir if it has one, say where to look, and \
bringing a file to S3 takes the same flags as mounting.";

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_key_or_an_object() {
        let of = |bucket: Option<&str>, key: &str| Target {
            bucket: bucket.map(str::to_owned),
            key: Some(key.to_owned()),
        };
        assert_eq!(Target::parse("dir/x").unwrap(), of(None, "dir/x"));
        assert_eq!(Target::parse("s3://B/dir/x").unwrap(), of(Some("B"), "dir/x"));
        for wrong in ["s3://B", "s3:///x", "s3://B/"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_list_says_what_how_much_when_and_why() {
        let file = AsideStatus {
            name: "B_x.1234abcd".to_owned(),
            bucket: Some("B".to_owned()),
            key: Some("x".to_owned()),
            bytes: 10,
            elsewhere_bytes: Some(4),
            released_bytes: 3,
            since: "2026-01-01T00:00:00Z".to_owned(),
            why: "somebody\nelse".to_owned(),
            path: "/p".to_owned(),
        };
        let now = clock::from_unix(1_767_225_660, 0);
        let expected = "B_x.1234abcd\n  s3://B/x, 10 bytes, 4 of them only in the version that it builds on, \
            3 of them only in parts of an unfinished upload, 2026-01-01 00:00:00 UTC (60 s ago)\n  somebody else\n";
        let (bucket, key) = ("B".to_owned(), "z".to_owned());
        let refused =
            RefusedDescriptionStatus { bucket, key, since: file.since.clone(), why: "no".to_owned() };
        let refused = Owed::Refused(vec![refused]);
        let then = "mode, owner or times of s3://B/z are refused by S3 since 2026-01-01 00:00:00 UTC (60 s ago): no\n";
        assert_eq!(text(&[file], &refused, now), format!("{expected}{then}"));
        let left = Owed::Left(vec!["s3://B/z".to_owned()]);
        assert!(text(&[], &left, now).contains("s3://B/z were set, and wait for the next mount"));
        assert_eq!(text(&[], &Owed::Left(Vec::new()), now), "Nothing was set aside.\n");
    }
}
