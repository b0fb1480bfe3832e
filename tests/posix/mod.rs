//! POSIX as others state it: pjdfstest, as root on a real mount.
//!
//! What S3 cannot give is in `lacking.txt`, with the reason. Whatever else fails here is a fault of ours, and so
//! is a line there whose test passes by now: the list may only shrink.
#![cfg(feature = "emulator")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that fails here has found its fault, and one that is skipped says so"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use s3xmount::emulator::demo::Rights;
use s3xmount::emulator::{RunningEmulator, demo};

use crate::support::real::{Home, can_mount, text};

#[test]
fn a_mount_is_as_posix_wants_it_but_for_what_s3_cannot_give() {
    let Some(tool) = tool() else { return };
    let emulator = RunningEmulator::start(demo::world(Rights::Full)).unwrap();
    let home = Home::new();
    let mounted = home.mount_with(&emulator, &["--role-arn", &demo::role_arn(), "--allow-other"]);
    assert_eq!(mounted.status.code(), Some(0), "{}", text(&mounted.stderr));

    let outcomes = run(&tool, &home);
    let lacking = lacking();
    let failed = |name: &str| matches!(outcomes.get(name), Some(Outcome::Failed(_)));
    let new: Vec<_> = outcomes
        .iter()
        .filter(|(name, _)| !lacking.contains_key(*name))
        .filter_map(|(name, outcome)| match outcome {
            Outcome::Failed(why) => Some(format!("{name}: {why}")),
            Outcome::Passed | Outcome::Skipped => None,
        })
        .collect();
    assert!(new.is_empty(), "failed, and should not: {new:#?}");
    let cured: Vec<_> = lacking.iter().filter(|(name, chance)| !**chance && !failed(name)).collect();
    assert!(cured.is_empty(), "in the list and not failing; take them out of it: {cured:#?}");
    let passed = outcomes.values().filter(|outcome| matches!(outcome, Outcome::Passed)).count();
    assert!(passed >= PASSED_MIN, "{passed} passed; are they all there?");
}

/// What a test of the suite came to.
#[derive(Debug)]
enum Outcome {
    Passed,
    Skipped,
    Failed(String),
}

/// Where the suite is; `None`, after saying so, where it cannot be run.
fn tool() -> Option<PathBuf> {
    let Some(tool) = std::env::var_os("S3XMOUNT_TEST_PJDFSTEST") else {
        eprintln!("skipped: S3XMOUNT_TEST_PJDFSTEST does not name the suite; scripts/test installs it");
        return None;
    };
    if s3xmount::sys::effective_ids().0 != 0 {
        eprintln!("skipped: only root can be several users");
        return None;
    }
    can_mount().then(|| tool.into())
}

fn run(tool: &Path, home: &Home) -> BTreeMap<String, Outcome> {
    let config = home.path().join("pjdfstest.toml");
    fs::write(&config, configuration()).unwrap();
    let at = home.mount_point().join(demo::BUCKETS[0]).join("posix");
    fs::create_dir(&at).unwrap();
    let output = Command::new(tool)
        .args(["--configuration-file".as_ref(), config.as_os_str()])
        .args(["--path".as_ref(), at.as_os_str()])
        .args(["--secondary-fs".as_ref(), home.path().as_os_str()])
        .output()
        .unwrap();
    outcomes(&text(&output.stdout))
}

/// What the suite may expect of us, and two users that every system has.
fn configuration() -> String {
    format!(
        "[features]\nposix_fallocate = {{}}\nutime_now = {{}}\nutimensat = {{}}\n\
         [settings]\nnaptime = 0.01\n\
         [dummy_auth]\nentries = [{}, {}]\n",
        entry("nobody"),
        entry("daemon")
    )
}

/// A user with the name of the group that is the user's own, as the suite wants it.
fn entry(user: &str) -> String {
    let field = |file: &str, is_it: &dyn Fn(&[&str]) -> bool, at: usize| {
        let lines = fs::read_to_string(file).unwrap();
        let fields = lines.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|line| is_it(line));
        fields.unwrap()[at].to_owned()
    };
    let group = field("/etc/passwd", &|line| line[0] == user, 3);
    let name = field("/etc/group", &|line| line.get(2) == Some(&group.as_str()), 0);
    format!("[{user:?}, {name:?}]")
}

/// Reads lines such as `open::open_trunc   ok`; below one that failed stands why.
fn outcomes(said: &str) -> BTreeMap<String, Outcome> {
    let mut outcomes = BTreeMap::new();
    let mut lines = said.lines().map(without_colours).peekable();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, verdict] = words[..] else { continue };
        let outcome = match verdict {
            "ok" => Outcome::Passed,
            "skipped" => Outcome::Skipped,
            "FAILED" => Outcome::Failed(lines.peek().map(|why| why.trim().to_owned()).unwrap_or_default()),
            _ => continue,
        };
        outcomes.insert(name.to_owned(), outcome);
    }
    outcomes
}

fn without_colours(line: &str) -> String {
    let mut pieces = line.split('\u{1b}');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |line, piece| line + piece.split_once('m').map_or("", |(_, rest)| rest))
}

/// The tests that S3 keeps from passing, and whether they pass by chance.
fn lacking() -> BTreeMap<String, bool> {
    let lines = include_str!("lacking.txt").lines();
    let names: BTreeMap<_, _> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| match line.strip_prefix("? ") {
            Some(name) => (name.to_owned(), true),
            None => (line.to_owned(), false),
        })
        .collect();
    assert!(names.len() <= LACKING_MAX, "the list may only shrink");
    names
}

/// How many there were when the list was last shortened.
const LACKING_MAX: usize = 51;

/// ext4 passes 376 of them.
const PASSED_MIN: usize = 325;
