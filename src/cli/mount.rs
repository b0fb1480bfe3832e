//! `s3xmount [mount] MOUNTPOINT`: settings, checks, log, and then the mount itself.

use super::{Stop, background, desk, logging, prompt};
use crate::config::options::Key;
use crate::config::{self, CommandLine, Failure, Surroundings, mount_point, similar};
use crate::control::Place;
use crate::daemon;

/// Mounts, and returns when the mount has ended; in the background, when it answers.
///
/// # Errors
/// [`Stop::Refused`] before anything has happened, [`Stop::Failed`] afterwards.
pub fn run(command_line: &CommandLine) -> Result<(), Stop> {
    let around = Surroundings::look();
    let settings = config::load(command_line, &around)
        .and_then(|settings| mount_point::check(&settings).map(|()| settings))
        .map_err(|failure| Stop::Refused(meant_command(command_line, failure)))?;
    logging::start(&settings).map_err(Stop::Refused)?;
    desk::guard_secrets();
    let people = prompt::people(Some(&settings.log_target));
    let place = Place::new(&settings.mount_point, around.uid, &around);
    if settings.foreground {
        daemon::run(settings, people, place, || ()).map_err(Stop::Failed)
    } else {
        background::run(settings, people, place)
    }
}

/// A word that cannot be mounted on may have been meant as a command.
fn meant_command(line: &CommandLine, failure: Failure) -> Failure {
    let source =
        line.flags.all(Key::Bucket).iter().find(|bucket| bucket.place == config::Place::Argument("SOURCE"));
    let Some(word) = source.or(line.mount_point.as_ref()) else { return failure };
    match similar::closest(&word.text, COMMANDS) {
        Some(command) => failure.hint(format!("did you mean the command `s3xmount {command}`?")),
        None => failure,
    }
}

const COMMANDS: [&str; 10] =
    ["mount", "credentials", "exec", "login", "status", "doctor", "policy", "rescue", "demo", "help"];
