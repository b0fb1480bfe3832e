//! `s3xmount [mount] MOUNTPOINT`: settings, checks, log, and then the mount itself.

use super::{Stop, background, logging, prompt};
use crate::config::{self, CommandLine, Surroundings, mount_point};
use crate::daemon;

/// Mounts, and returns when the mount has ended; in the background, when it answers.
///
/// # Errors
/// [`Stop::Refused`] before anything has happened, [`Stop::Failed`] afterwards.
pub fn run(command_line: &CommandLine) -> Result<(), Stop> {
    let settings = config::load(command_line, &Surroundings::look()).map_err(Stop::Refused)?;
    mount_point::check(&settings).map_err(Stop::Refused)?;
    logging::start(&settings).map_err(Stop::Refused)?;
    if settings.foreground {
        daemon::run(settings, prompt::ask_code(), || ()).map_err(Stop::Failed)
    } else {
        background::run(settings)
    }
}
