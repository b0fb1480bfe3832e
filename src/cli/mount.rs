//! `s3xmount [mount] MOUNTPOINT`: settings, checks, log, and then the mount itself.

use super::{Stop, background, desk, logging, prompt};
use crate::config::{self, CommandLine, Surroundings, mount_point};
use crate::daemon::{self, People};

/// Mounts, and returns when the mount has ended; in the background, when it answers.
///
/// # Errors
/// [`Stop::Refused`] before anything has happened, [`Stop::Failed`] afterwards.
pub fn run(command_line: &CommandLine) -> Result<(), Stop> {
    let around = Surroundings::look();
    let settings = config::load(command_line, &around).map_err(Stop::Refused)?;
    mount_point::check(&settings).map_err(Stop::Refused)?;
    logging::start(&settings).map_err(Stop::Refused)?;
    desk::guard_secrets();
    let people = People::of(&settings, prompt::ask_code(), &around);
    if settings.foreground {
        daemon::run(settings, people, || ()).map_err(Stop::Failed)
    } else {
        background::run(settings, people)
    }
}
