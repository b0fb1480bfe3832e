//! `s3xmount doctor`: what does not work, why, and what to add where, for people or for programs.

use std::io::{self, Write as _};

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;

use super::{Stop, args, desk, prompt};
use crate::config::{self, BucketSettings, CommandLine, Failure, Place, Settings, Surroundings, Written};
use crate::doctor::{self, Change, Check, Outcome, Remedy, RunningMount, Wish, WriteTest};
use crate::policy;

/// What was asked for.
#[derive(Debug)]
pub struct DoctorArgs {
    line: CommandLine,
    /// What the person named as the place of a mount.
    place: Option<Written>,
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
            place: args::command_line(matches)?.mount_point,
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
            "Also tries to write, copy, upload in parts and delete, with an object .s3xmount-doctor-probe that is removed again (in a bucket with versions these stay); without this nothing is changed",
        ),
        Arg::new(LEAVE_PROBE).long(LEAVE_PROBE).action(ArgAction::SetTrue).help(
            "The same, even where that object cannot be removed again and stays",
        ),
    ];
    Command::new("doctor")
        .about("Finds out what does not work, and which statement is missing in which policy")
        .override_usage("s3xmount doctor [OPTIONS] [MOUNTPOINT] [--read KEY] [--write-test] [--json]")
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
    let Patient { settings, mount } = patient(asked, &around).map_err(Stop::Refused)?;
    let mut checks = doctor::of_mount(mount.as_ref());
    let examined = doctor::examine(&settings, &asked.wish, &prompt::people(None), &around);
    checks.extend(examined.map_err(Stop::Failed)?);
    print(&if asked.json { json(&checks) } else { text(&checks) })?;
    if doctor::is_well(&checks) {
        return Ok(());
    }
    let count = |outcome| checks.iter().filter(|check| check.outcome == outcome).count();
    let checks = |count: usize| if count == 1 { "1 check".to_owned() } else { format!("{count} checks") };
    let told = match (count(Outcome::Failed), count(Outcome::Undecided)) {
        (failed, 0) => format!("{} failed", checks(failed)),
        (0, undecided) => format!("{} could not be decided", checks(undecided)),
        (failed, undecided) => format!("{} failed, {undecided} could not be decided", checks(failed)),
    };
    Err(Stop::Failed(Failure::new(told)))
}

/// What is to be examined.
struct Patient {
    settings: Settings,
    mount: Option<RunningMount>,
}

/// The mount that a person means, by the settings that it runs with, and else by those that it would.
fn patient(asked: &DoctorArgs, around: &Surroundings) -> Result<Patient, Failure> {
    let found = match (&asked.place, &asked.line.mount_point) {
        (Some(place), _) => desk::find(place, around),
        // Flags say enough.
        (None, Some(_)) => None,
        (None, None) => desk::only(around)?,
    };
    let Some(found) = found else {
        return Ok(Patient { settings: config::load(&asked.line, around)?, mount: None });
    };
    let mount_point = Written::new(found.mount_point.to_string_lossy(), Place::Argument("MOUNTPOINT"));
    let line = CommandLine { mount_point: Some(mount_point), ..asked.line.clone() };
    let (line, around, status) =
        match desk::origin(&found).and_then(|origin| Ok((origin, desk::status(&found)?))) {
            Ok((origin, status)) => (origin.under(&line), origin.around(around), Ok(status)),
            // Why it does not answer is the first thing to tell; the configuration may tell the rest.
            Err(stop) => (line, around.clone(), Err(stop.failure().clone())),
        };
    let mut settings = match (config::load(&line, &around), &status) {
        (Err(_), Err(silence)) => return Err(silence.clone()),
        (settings, _) => settings?,
    };
    if let Some(directory) = &found.directory {
        let is_meant = |bucket: &BucketSettings| bucket.directory.as_str() == directory;
        if settings.buckets.iter().any(is_meant) {
            settings.buckets.retain(is_meant);
        }
    }
    Ok(Patient { mount: Some(RunningMount { mount_point: found.mount_point, status }), settings })
}

fn print(text: &str) -> Result<(), Stop> {
    let printed = io::stdout().lock().write_all(text.as_bytes());
    printed.map_err(|error| Stop::Failed(Failure::new(format!("the findings cannot be printed: {error}"))))
}

fn json(checks: &[Check]) -> String {
    serde_json::to_string_pretty(checks).expect("texts and lists, into memory") + "\n"
}

/// The checks as people read them: what was tried, what came back, what it means, what to change where.
///
/// A change that would mend several things is told in full once, and by its number from then on.
fn text(checks: &[Check]) -> String {
    let mut page = Page::default();
    let mut told: Vec<&Remedy> = Vec::new();
    let mut subject = "";
    for check in checks {
        if check.subject != subject {
            subject = &check.subject;
            page.words(0, "", subject);
        }
        page.words(1, mark(check.outcome), &format!("{}: {}", check.name, check.answer));
        page.words(2, "", &check.meaning);
        for (at, remedy) in check.remedies.iter().enumerate() {
            let earlier = told.iter().position(|other| *other == remedy);
            let number = earlier.unwrap_or(told.len()) + 1;
            let what = format!("[{number}] {}", instruction(remedy, at == 0));
            if earlier.is_some() {
                page.words(2, "", &format!("{what} (see above)"));
                continue;
            }
            let alike = told.iter().position(|other| is_same_exception(other, remedy));
            told.push(remedy);
            if let Some(alike) = alike {
                page.words(2, "", &format!("{what} the exception of [{}]", alike + 1));
                continue;
            }
            page.words(2, "", &format!("{what}:"));
            let documents: Vec<&Value> = match &remedy.change {
                Change::Add { statements } => statements.iter().collect(),
                Change::Exempt { condition, .. } => vec![condition],
                Change::Set { values } => vec![values],
            };
            documents.into_iter().for_each(|document| page.verbatim(3, &policy::pretty(document)));
        }
    }
    page.text
}

fn is_same_exception(one: &Remedy, other: &Remedy) -> bool {
    match (&one.change, &other.change) {
        (Change::Exempt { condition, .. }, Change::Exempt { condition: theirs, .. }) => condition == theirs,
        _ => false,
    }
}

/// What to do, in one sentence that a document follows.
fn instruction(remedy: &Remedy, is_first: bool) -> String {
    let Remedy { place, holder, account, change } = remedy;
    let account = account.as_deref().filter(|account| !holder.contains(*account));
    let account = account.map(|account| format!(" in account {account}"));
    let document = format!("the {} {holder}{}", place.as_str(), account.unwrap_or_default());
    match change {
        Change::Add { statements } => {
            let count = if statements.len() > 1 { "these statements" } else { "this statement" };
            let otherwise = if is_first { "" } else { "if that is there: " };
            format!("{otherwise}add {count} to {document}")
        }
        Change::Exempt { actions, .. } => {
            let otherwise = if is_first { "" } else { "if all that is there: " };
            let actions = actions.join(", ");
            format!(
                "{otherwise}look in {document} for a statement with \"Effect\": \"Deny\" that covers {actions}, and add to its \"Condition\""
            )
        }
        Change::Set { .. } => {
            let otherwise = if is_first { "" } else { "or " };
            format!("{otherwise}change {document}; null means: leave it out")
        }
    }
}

/// What is printed, in lines that fit a terminal.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// Adds a sentence behind a mark, wrapped between words.
    fn words(&mut self, depth: usize, mark: &str, sentence: &str) {
        let indent = MARGIN * depth.min(1) + if depth > 1 { MARK_WIDTH } else { 0 };
        let hang = if mark.is_empty() { indent } else { indent + MARK_WIDTH };
        let mut line = match mark {
            "" => format!("{:indent$}", ""),
            mark => format!("{:indent$}{mark:<MARK_WIDTH$}", ""),
        };
        let mut is_begun = false;
        for word in sentence.split_whitespace() {
            if is_begun && line.chars().count() + 1 + word.chars().count() > PAGE_WIDTH {
                self.line(&line);
                line = format!("{:hang$}", "");
                is_begun = false;
            }
            line.push_str(if is_begun { " " } else { "" });
            line.push_str(word);
            is_begun = true;
        }
        if is_begun {
            self.line(&line);
        }
    }

    /// Adds lines that are to be copied.
    fn verbatim(&mut self, depth: usize, lines: &str) {
        let indent = MARGIN * (depth - 1) + MARK_WIDTH;
        lines.lines().for_each(|line| self.line(&format!("{:indent$}{line}", "")));
    }

    /// What is written by a server goes to the terminal without the control characters it may hold.
    fn line(&mut self, line: &str) {
        let printable = line.chars().map(|c| if c.is_control() { ' ' } else { c });
        self.text.extend(printable);
        self.text.push('\n');
    }
}

fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "ok",
        Outcome::Limited => "limited",
        Outcome::Undecided => "unknown",
        Outcome::Failed => "FAILED",
    }
}

/// Terminals are at least this wide.
const PAGE_WIDTH: usize = 80;

const MARGIN: usize = 2;

/// The longest mark and a space.
const MARK_WIDTH: usize = 9;

const JSON: &str = "json";
const READ: &str = "read";
const WRITE_TEST: &str = "write-test";
const LEAVE_PROBE: &str = "leave-probe";

const CLOSE: &str = "\
Exit codes: 0 all that the mount cannot do without was seen to work; 1 something does not, or could
not be decided; 2 a setting was refused.

A running mount is examined with the settings that it runs with, any other with those that flags,
variables and the file give it. Without MOUNTPOINT and flags it is the only mount that is running.
The base identity is always that of whoever asks.

Examples:
  s3xmount doctor /mnt/accountb
  s3xmount doctor /mnt/accountb --write-test
  s3xmount doctor --role-arn arn:aws:iam::111122223333:role/assumed-accountb-role \\
                  --bucket SampleBucketA --read reports/2024/summary.csv";
