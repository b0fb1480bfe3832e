//! Where log lines go, and which of them.
//!
//! Levels apply to this program alone; of the libraries beneath it only warnings are ever shown.
//! Below that level the SDK writes requests with their signatures and tokens into the log, and no
//! flag of ours can turn that on.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;

use crate::config::options::Key;
use crate::config::{Failure, LogLevel, LogTarget, Settings};

/// Starts logging as the settings say, for the rest of the process.
///
/// # Errors
/// When the log file cannot be written.
pub fn start(settings: &Settings) -> Result<(), Failure> {
    let log = tracing_subscriber::fmt().with_env_filter(filter(settings.log_level)).with_target(false);
    match &settings.log_target {
        LogTarget::Stderr => log.with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init(),
        LogTarget::File(path) => {
            let file = open(path, &settings.staging_dir).map_err(|error| {
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
/// was wrong with the base identity. And two libraries cry wolf: fuser warns when somebody else was first to unmount, and s3s calls
/// every refusal of the demo's server an error.
fn filter(level: LogLevel) -> EnvFilter {
    let others = if level == LogLevel::Error { "error" } else { "warn" };
    EnvFilter::new(format!("{others},aws_config=off,fuser=error,s3s=off,s3xmount={level}"))
}

/// Opens a log for appending. A long one is put aside first, so that two of them are the most there is.
fn open(path: &Path, staging_dir: &Path) -> io::Result<File> {
    if path.starts_with(staging_dir) {
        // Names of objects are in the log, and names may be private.
        DirBuilder::new().recursive(true).mode(0o700).create(staging_dir)?;
    }
    if std::fs::metadata(path).is_ok_and(|log| log.is_file() && log.len() > LOG_BYTES_MAX) {
        std::fs::rename(path, path.with_added_extension("1"))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// A panic in the background would be written to nowhere.
fn log_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!("a bug: {panic}");
        default(panic);
    }));
}

/// Weeks of ordinary days, and some hours of `--log-level trace`.
const LOG_BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
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
            let mut expected = [others, "aws_config=off", "fuser=error", "s3s=off", own.as_str()];
            expected.sort_unstable();
            assert_eq!(rules, expected);
        }
    }

    #[test]
    fn a_long_log_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let (staging, log) = (dir.path().join("staging"), dir.path().join("staging/log"));
        open(&log, &staging).unwrap().set_len(LOG_BYTES_MAX + 1).unwrap();
        assert_eq!(open(&log, &staging).unwrap().metadata().unwrap().len(), 0);
        assert_eq!(std::fs::metadata(staging.join("log.1")).unwrap().len(), LOG_BYTES_MAX + 1);
    }
}
