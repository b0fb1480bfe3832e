//! What the machine has to have.

use std::fs;
use std::path::Path;

use super::{Check, Outcome};
use crate::config::{Settings, Surroundings};
use crate::sys;

pub(super) fn checks(settings: &Settings, around: &Surroundings) -> Vec<Check> {
    let mut checks = vec![device(Path::new("/dev/fuse"))];
    if around.uid != 0 {
        checks.push(helper(around));
        checks.extend(settings.allow_other.then(|| others(Path::new("/etc/fuse.conf"))));
    }
    checks.push(staging(&settings.staging_dir));
    checks
}

fn device(path: &Path) -> Check {
    let name = format!("open {}", path.display());
    match fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Check::new(SUBJECT, &name, Outcome::Passed, "it opens"),
        Err(error) => Check::new(SUBJECT, &name, Outcome::Failed, error.to_string()).meaning(
            "nothing can be mounted: is the kernel module fuse loaded, and in a container, was --device /dev/fuse given?",
        ),
    }
}

/// Root mounts by itself.
fn helper(around: &Surroundings) -> Check {
    let name = "find fusermount3";
    let path = around.variable("PATH").unwrap_or_default();
    match path.split(':').map(|dir| Path::new(dir).join("fusermount3")).find(|path| path.is_file()) {
        Some(path) => Check::new(SUBJECT, name, Outcome::Passed, path.display().to_string()),
        None => Check::new(SUBJECT, name, Outcome::Failed, "it is in no directory of PATH")
            .meaning("users other than root cannot mount; install the package fuse3"),
    }
}

/// The fuse.conf of mount.fuse3(8): one option in a line.
fn others(path: &Path) -> Check {
    let name = format!("find user_allow_other in {}", path.display());
    let text = fs::read_to_string(path).unwrap_or_default();
    if text.lines().any(|line| line.trim() == "user_allow_other") {
        return Check::new(SUBJECT, &name, Outcome::Passed, "it is there");
    }
    Check::new(SUBJECT, &name, Outcome::Failed, "it is not there")
        .meaning("--allow-other will be refused; root has to add that line, or leave --allow-other out")
}

/// The directory is made at the mount, so its nearest existing parent is asked.
fn staging(dir: &Path) -> Check {
    let name = format!("space to stage files in {}", dir.display());
    let existing = dir.ancestors().find(|dir| dir.exists()).unwrap_or_else(|| Path::new("/"));
    match sys::space(existing) {
        Ok(space) if space.free_bytes >= STAGING_BYTES_MIN => {
            Check::new(SUBJECT, &name, Outcome::Passed, format!("{} MiB free", space.free_bytes >> 20))
        }
        Ok(space) => {
            Check::new(SUBJECT, &name, Outcome::Limited, format!("{} MiB free", space.free_bytes >> 20))
                .meaning("files that are edited in place wait here whole; larger ones will meet ENOSPC. --staging-dir names another place")
        }
        Err(error) => Check::new(SUBJECT, &name, Outcome::Failed, error.to_string())
            .meaning("--staging-dir names another place"),
    }
}

const SUBJECT: &str = "machine";

/// Less is no disaster, but worth a word.
const STAGING_BYTES_MIN: u64 = 1 << 30;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_lacks_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(device(&dir.path().join("fuse")).outcome, Outcome::Failed);
        let conf = dir.path().join("fuse.conf");
        fs::write(&conf, "#user_allow_other\n").unwrap();
        assert_eq!(others(&conf).outcome, Outcome::Failed, "a comment is none");
        fs::write(&conf, "mount_max = 10\nuser_allow_other\n").unwrap();
        assert_eq!(others(&conf).outcome, Outcome::Passed);

        let path = dir.path().to_str().unwrap().to_owned();
        let around =
            Surroundings { variables: [("PATH".to_owned(), path)].into(), ..Surroundings::default() };
        assert_eq!(helper(&around).outcome, Outcome::Failed);
        fs::write(dir.path().join("fusermount3"), "").unwrap();
        assert_eq!(helper(&around).outcome, Outcome::Passed);
    }

    #[test]
    fn space_is_that_of_the_nearest_directory_that_exists() {
        let dir = tempfile::tempdir().unwrap();
        assert_ne!(staging(&dir.path().join("not/yet/there")).outcome, Outcome::Failed);
    }
}
