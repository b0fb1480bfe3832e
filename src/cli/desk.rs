//! What the commands share that ask a running mount.

use std::time::{Duration, SystemTime};

use super::Stop;
use crate::config::{Failure, Origin, Surroundings, Written};
use crate::control::{self, ANSWER_TIME_MAX, Answer, Found, Request, Session, Status};
use crate::sys;

/// The mount that a person means: that of the path, or without one the only one there is.
pub(super) fn mount(path: Option<&Written>, around: &Surroundings) -> Result<Found, Failure> {
    let Some(path) = path else { return the_only(control::running(around)) };
    find(path, around).ok_or_else(|| {
        Failure::new(format!("{} lies in no mount of s3xmount", path.text))
            .at(path.place.clone())
            .hint("s3xmount status shows those there are")
    })
}

/// The only mount that is running, if one is.
pub(super) fn only(around: &Surroundings) -> Result<Option<Found>, Failure> {
    let running = control::running(around);
    if running.is_empty() { Ok(None) } else { the_only(running).map(Some) }
}

/// The mount that a written path lies in, if there is one.
pub(super) fn find(path: &Written, around: &Surroundings) -> Option<Found> {
    control::find(&around.absolute(&path.text), around)
}

fn the_only(mut running: Vec<Found>) -> Result<Found, Failure> {
    match (running.pop(), running.is_empty()) {
        (Some(found), true) => Ok(found),
        (None, _) => Err(Failure::new("no mount is running").hint("s3xmount --help shows how to begin one")),
        (Some(last), false) => {
            let all = running.iter().chain([&last]).map(|found| found.mount_point.display().to_string());
            Err(Failure::new("which mount?").hint(format!("these are running: {}", list(all))))
        }
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// Asks how a mount is.
pub(super) fn status(found: &Found) -> Result<Status, Stop> {
    match control::ask(&found.place, &Request::Status, STATUS_PATIENCE).map_err(Stop::Failed)? {
        Answer::Status(status) => Ok(*status),
        _ => Err(beside_the_point(found)),
    }
}

/// Asks what a mount was told.
pub(super) fn origin(found: &Found) -> Result<Origin, Stop> {
    match control::ask(&found.place, &Request::Origin, STATUS_PATIENCE).map_err(Stop::Failed)? {
        Answer::Origin(origin) => Ok(origin),
        _ => Err(beside_the_point(found)),
    }
}

/// Asks what a mount signs with.
pub(super) fn session(found: &Found) -> Result<Session, Stop> {
    let request = Request::Session { directory: found.directory.clone() };
    match control::ask(&found.place, &request, PATIENCE).map_err(Stop::Failed)? {
        Answer::Session(session) => Ok(session),
        _ => Err(beside_the_point(found)),
    }
}

/// The answer to another question than the one that was asked.
pub(super) fn beside_the_point(found: &Found) -> Stop {
    let shown = found.mount_point.display();
    Stop::Failed(
        Failure::new(format!("the mount at {shown} gave an answer that makes no sense"))
            .hint("it may run another version of s3xmount; unmount and mount again"),
    )
}

/// Keeps the secrets of this process in it. Where that is refused the command goes on: whoever asked for
/// credentials gets them either way.
#[expect(clippy::print_stderr, reason = "a person should hear of it")]
pub(super) fn guard_secrets() {
    if let Err(error) = sys::forbid_core_dumps() {
        eprintln!("s3xmount: core dumps could not be forbidden, and one would hold secrets: {error}");
    }
}

/// A time of a message as people read it: `2026-01-31 08:00:00 UTC (in 54 min)`.
pub(super) fn moment(written: &str, now: SystemTime) -> String {
    let Some(time) = control::read(written) else { return written.to_owned() };
    let distance = match time.duration_since(now) {
        Ok(ahead) => format!("in {}", about(ahead)),
        Err(past) => format!("{} ago", about(past.duration())),
    };
    format!("{} UTC ({distance})", written.trim_end_matches('Z').replacen('T', " ", 1))
}

/// A duration in the largest unit that leaves at least two of it.
fn about(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "days"), (3_600, "h"), (60, "min")];
    let unit = units.iter().find(|(length, _)| seconds >= 2 * length);
    unit.map_or_else(|| format!("{seconds} s"), |(length, name)| format!("{} {name}", seconds / length))
}

/// A status is told from memory.
const STATUS_PATIENCE: Duration = Duration::from_secs(10);

/// The mount gives up first, and so can say why.
pub(super) const PATIENCE: Duration = ANSWER_TIME_MAX.saturating_add(Duration::from_secs(5));

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock;
    use crate::control::Place;

    #[test]
    fn a_moment_is_told_with_its_distance() {
        let now = clock::from_unix(1_767_225_600, 0);
        let table = [
            ("2026-01-01T00:01:59Z", "2026-01-01 00:01:59 UTC (in 119 s)"),
            ("2026-01-01T00:54:00Z", "2026-01-01 00:54:00 UTC (in 54 min)"),
            ("2026-01-01T08:00:00Z", "2026-01-01 08:00:00 UTC (in 8 h)"),
            ("2026-01-04T00:00:00Z", "2026-01-04 00:00:00 UTC (in 3 days)"),
            ("2025-12-31T23:00:00Z", "2025-12-31 23:00:00 UTC (60 min ago)"),
            ("at noon", "at noon"),
        ];
        for (written, expected) in table {
            assert_eq!(moment(written, now), expected);
        }
    }

    #[test]
    fn without_a_path_there_must_be_one_mount() {
        let found = |name: &str| {
            let mount_point = Path::new("/mnt").join(name);
            let place = Place::new(&mount_point, 7, &Surroundings::default());
            Found { mount_point, directory: None, place }
        };
        assert_eq!(the_only(vec![found("a")]), Ok(found("a")));
        assert!(the_only(Vec::new()).is_err_and(|failure| failure.message == "no mount is running"));
        let failure = the_only(vec![found("a"), found("b")]).err();
        let hint = failure.and_then(|failure| failure.hint);
        assert_eq!(hint.as_deref(), Some("these are running: /mnt/a, /mnt/b"));
    }
}
