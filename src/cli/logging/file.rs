//! The log as a file of bounded length.
//!
//! A mount lives for months, and an hourly job that is refused something says so each time. So a log that has become
//! long is put aside as `log.1`, in the place of the one before, and a new one is begun: two of them are the most there is.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// A log file that is appended to, by all threads.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// How long it is; `None` for what has no length, such as a terminal or a pipe.
    bytes: Option<u64>,
}

impl LogFile {
    /// Opens or makes it, which nobody else may read: names of objects are in it, and names may be private.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn open(path: &Path, staging_dir: &Path) -> io::Result<Self> {
        if path.starts_with(staging_dir) {
            DirBuilder::new().recursive(true).mode(0o700).create(staging_dir)?;
        }
        let log = Self { path: path.to_owned(), open: Mutex::new(Open::at(path)?) };
        log.begin_anew_if_long(&mut log.open.lock())?;
        Ok(log)
    }

    fn begin_anew_if_long(&self, open: &mut Open) -> io::Result<()> {
        if open.bytes.is_some_and(|bytes| bytes > BYTES_MAX) {
            std::fs::rename(&self.path, put_aside(&self.path))?;
            *open = Open::at(&self.path)?;
        }
        Ok(())
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let length = |of: Metadata| of.is_file().then_some(of.len());
        Ok(Self { bytes: length(file.metadata()?), file })
    }
}

/// Each call has a whole line.
impl Write for &LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut open = self.open.lock();
        if self.begin_anew_if_long(&mut open).is_err() {
            // Where no new one can be begun, the old one goes on: nobody can be told, but for here.
            open.bytes = None;
        }
        let written = open.file.write(line)?;
        open.bytes = open.bytes.map(|bytes| bytes + written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn put_aside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".1");
    name.into()
}

/// Weeks of ordinary days, and some hours of `--log-level trace`.
const BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::*;

    fn length(path: &Path) -> u64 {
        std::fs::metadata(path).unwrap().len()
    }

    #[test]
    fn a_long_log_is_put_aside_when_it_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (staging, log) = (dir.path().join("staging"), dir.path().join("staging/log"));
        LogFile::open(&log, &staging).unwrap().open.lock().file.set_len(BYTES_MAX + 1).unwrap();
        drop(LogFile::open(&log, &staging).unwrap());
        assert_eq!((length(&log), length(&put_aside(&log))), (0, BYTES_MAX + 1));
    }

    #[test]
    fn a_log_that_becomes_long_is_put_aside_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let file = LogFile::open(&log, dir.path()).unwrap();
        let line = [b'.'; 1 << 20];
        for _ in 0..40 {
            (&file).write_all(&line).unwrap();
        }
        assert!(length(&log) <= BYTES_MAX + 2 * line.len() as u64);
        assert_eq!(
            length(&log) + length(&put_aside(&log)),
            23 * line.len() as u64,
            "and the first of three has gone"
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_has_no_length_is_written_to_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let file = LogFile::open(Path::new("/dev/null"), dir.path()).unwrap();
        (&file).write_all(b"a line").unwrap();
        assert_eq!(file.open.lock().bytes, None);
    }
}
