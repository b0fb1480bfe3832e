//! Where log lines go, and which of them.
//!
//! Levels apply to this program alone; of the libraries beneath it only warnings are ever shown.
//! Below that level the SDK writes requests with their signatures and tokens into the log, and no
//! flag of ours can turn that on.

mod file;

use std::io::{self, IsTerminal};
use std::sync::Arc;

use tracing_subscriber::EnvFilter;

use self::file::LogFile;
use crate::config::options::Key;
use crate::config::{Failure, LogLevel, LogTarget, Settings};
use crate::fuse;

/// Starts logging as the settings say, for the rest of the process.
///
/// # Errors
/// When the log file cannot be written.
pub fn start(settings: &Settings) -> Result<(), Failure> {
    let log = tracing_subscriber::fmt().with_env_filter(filter(settings.log_level)).with_target(false);
    match &settings.log_target {
        LogTarget::Stderr => log.with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init(),
        LogTarget::File(path) => {
            let file = LogFile::open(path, &settings.staging_dir).map_err(|error| {
                Failure::new(format!("the log file {} cannot be written: {error}", path.display()))
                    .hint(format!("name another one with {}", Key::LogFile.spec().flag()))
            })?;
            log.with_writer(Arc::new(file)).with_ansi(false).init();
        }
    }
    log_panics();
    Ok(())
}

/// Our own lines from `level` on, and everybody's warnings.
///
/// What aws-config warns of is quoted whole, answers with keys in them included; we say ourselves what
/// was wrong with the base identity. And two libraries cry wolf: fuser warns when somebody else was first to unmount, and
/// has an error to tell when it answers an interruption of what is done by then, as after many a Ctrl-C; and s3s calls every
/// refusal of the demo's server an error.
fn filter(level: LogLevel) -> EnvFilter {
    let others = if level == LogLevel::Error { "error" } else { "warn" };
    let answers = fuse::ANSWERS_IN_THE_LOG;
    EnvFilter::new(format!("{others},aws_config=off,fuser=error,{answers}=off,s3s=off,s3xmount={level}"))
}

/// A panic in the background would be written to nowhere.
fn log_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!("a bug: {panic}");
        default(panic);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_level_of_ours_reaches_the_libraries() {
        for level in LogLevel::ALL {
            let filter = filter(level).to_string();
            let mut rules: Vec<&str> = filter.split(',').collect();
            rules.sort_unstable();
            let others = if level == LogLevel::Error { "error" } else { "warn" };
            let own = format!("s3xmount={level}");
            let mut expected =
                [others, "aws_config=off", "fuser=error", "fuser::reply=off", "s3s=off", own.as_str()];
            expected.sort_unstable();
            assert_eq!(rules, expected);
        }
    }
}
