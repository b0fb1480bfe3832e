//! `s3xmount doctor`: what does not work, why, and what to add where, for people or for programs.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Stop, args, desk, prompt};
use crate::config::{self, CommandLine, Failure, Surroundings};
use crate::doctor::{self, Check, Location, Outcome, Wish, WriteTest};
use crate::policy;

/// What was asked for.
#[derive(Debug)]
pub struct DoctorArgs {
    line: CommandLine,
    wish: Wish,
    json: bool,
}

impl DoctorArgs {
    /// Takes down what clap has split.
    pub(super) fn of(matches: &ArgMatches) -> Result<Self, Failure> {
        let write = match (matches.get_flag(LEAVE_PROBE), matches.get_flag(WRITE_TEST)) {
            (true, _) => WriteTest::Allowed,
            (false, true) => WriteTest::IfRemovable,
            (false, false) => WriteTest::Refused,
        };
        let read = args::texts(matches, READ).next_back().map(str::to_owned);
        Ok(Self {
            line: args::line_of_no_mount(matches)?,
            wish: Wish { read, write },
            json: matches.get_flag(JSON),
        })
    }
}

/// The command and its flags.
pub fn command() -> Command {
    let own = [
        Arg::new(JSON).long(JSON).action(ArgAction::SetTrue).help("Prints a list of JSON objects"),
        Arg::new(READ).long(READ).value_name("KEY").help(
            "An object that is there, to try reading with: its key below the bucket's prefix, with the bucket's directory in front where there are several. Needed where nothing can be listed",
        ),
        Arg::new(WRITE_TEST).long(WRITE_TEST).action(ArgAction::SetTrue).help(
            "Also tries to write, copy, upload in parts and delete, with an object .s3xmount-doctor-probe that is removed again; without this nothing is changed",
        ),
        Arg::new(LEAVE_PROBE).long(LEAVE_PROBE).action(ArgAction::SetTrue).help(
            "The same, even where that object cannot be removed again and stays",
        ),
    ];
    Command::new("doctor")
        .about("Finds out what does not work, and which statement is missing in which policy")
        .override_usage("s3xmount doctor [OPTIONS] MOUNTPOINT [--read KEY] [--write-test] [--json]")
        .after_help(CLOSE)
        .args(own)
        .args(args::mount_args())
}

/// Examines, and prints what was found.
///
/// # Errors
/// When something does not work that the mount needs, after all was told.
pub fn run(asked: &DoctorArgs) -> Result<(), Stop> {
    desk::guard_secrets();
    let around = Surroundings::look();
    let settings = config::load(&asked.line, &around).map_err(Stop::Refused)?;
    let checks =
        doctor::examine(&settings, &asked.wish, &prompt::people(None), &around).map_err(Stop::Failed)?;
    print(&if asked.json { json(&checks) } else { text(&checks) })?;
    if doctor::is_well(&checks) {
        return Ok(());
    }
    let count = |outcome| checks.iter().filter(|check| check.outcome == outcome).count();
    let (failed, undecided) = (count(Outcome::Failed), count(Outcome::Undecided));
    Err(Stop::Failed(Failure::new(format!("{failed} checks failed, {undecided} could not be decided"))))
}

fn print(text: &str) -> Result<(), Stop> {
    let printed = io::stdout().lock().write_all(text.as_bytes());
    printed.map_err(|error| Stop::Failed(Failure::new(format!("the findings cannot be printed: {error}"))))
}

fn json(checks: &[Check]) -> String {
    serde_json::to_string_pretty(checks).expect("texts and lists, into memory") + "\n"
}

/// The checks as people read them: what was tried, what came back, what it means, what to add where.
fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    let mut subject = "";
    for check in checks {
        if check.subject != subject {
            subject = &check.subject;
            line(&mut text, 0, subject);
        }
        line(&mut text, 1, &format!("{:<9}  {}: {}", mark(check.outcome), check.name, check.answer));
        if !check.meaning.is_empty() {
            line(&mut text, 2, &check.meaning);
        }
        let first = check.remedies.first().map(|remedy| remedy.place);
        for (at, remedy) in check.remedies.iter().enumerate() {
            let word = match remedy.place {
                Location::Settings if at == 0 => "change the",
                Location::Settings | Location::Ownership => "or change the",
                _ if at == 0 => "add to the",
                place if Some(place) == first => "and to the",
                _ => "or, should it be there already, to the",
            };
            line(&mut text, 2, &format!("{word} {} {}:", remedy.place.as_str(), remedy.holder));
            policy::pretty(&remedy.statement).lines().for_each(|words| line(&mut text, 3, words));
        }
    }
    text
}

/// What is written by a server goes to the terminal without the control characters it may hold.
fn line(text: &mut String, depth: usize, words: &str) {
    let printable: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    writeln!(text, "{:width$}{printable}", "", width = 2 * depth).expect("writing into memory");
}

fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "ok",
        Outcome::Limited => "limited",
        Outcome::Undecided => "unknown",
        Outcome::Failed => "FAILED",
    }
}

const JSON: &str = "json";
const READ: &str = "read";
const WRITE_TEST: &str = "write-test";
const LEAVE_PROBE: &str = "leave-probe";

const CLOSE: &str = "\
Exit codes: 0 all that the mount cannot do without was seen to work; 1 something does not, or could
not be decided; 2 a setting was refused.

Examples:
  s3xmount doctor /mnt/accountb
  s3xmount doctor /mnt/accountb --write-test
  s3xmount doctor --role-arn arn:aws:iam::111122223333:role/assumed-accountb-role \\
                  --bucket SampleBucketA --read reports/2024/summary.csv";
