//! Whether something can be mounted at a place.
//!
//! Asked before anything is started, so that the answer reaches the terminal as one sentence.
//! The kernel would accept most of what is refused here, and hide files or stack mounts by it.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::failure::{Failure, Place};
use super::{Settings, mount_table};

/// Refuses a mount point that is missing, busy, not a directory or not empty, and permissions that
/// the machine does not give.
///
/// # Errors
/// When the settings cannot be mounted here and now.
pub fn check(settings: &Settings) -> Result<(), Failure> {
    let place = Place::Argument("MOUNTPOINT");
    check_path(&settings.mount_point, &mounted_paths()).map_err(|failure| failure.at(place))?;
    check_allow_other(settings)
}

/// `mounted` comes first, because looking at a mount whose program has died fails, or never ends.
fn check_path(path: &Path, mounted: &[PathBuf]) -> Result<(), Failure> {
    let shown = path.display();
    if mounted.iter().any(|other| other == path) {
        return Err(Failure::new(format!("something is mounted at {shown} already")).hint(format!(
            "end it first: umount {shown} (or fusermount3 -u {shown}); if the process behind it has died, \
                 umount -l (fusermount3 -uz) ends what is left of it"
        )));
    }
    let mut entries = std::fs::read_dir(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::new(format!("the mount point {shown} does not exist"))
            .hint(format!("make it first: mkdir -p {shown}")),
        ErrorKind::NotADirectory => Failure::new(format!("the mount point {shown} is not a directory")),
        ErrorKind::PermissionDenied => {
            Failure::new(format!("the mount point {shown} cannot be read: permission denied"))
                .hint("mount on a directory of your own")
        }
        _ => Failure::new(format!("the mount point {shown} cannot be read: {error}")),
    })?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Failure::new(format!("the mount point {shown} is not empty"))
            .hint("a mount would hide what is in it; choose an empty directory")),
    }
}

fn mounted_paths() -> Vec<PathBuf> {
    mount_table::read().into_iter().map(|row| row.path).collect()
}

/// Only root may let other users in, unless the machine's administrator lets everybody (mount.fuse3(8)).
fn check_allow_other(settings: &Settings) -> Result<(), Failure> {
    let (uid, _) = crate::sys::effective_ids();
    if !settings.allow_other || uid == 0 || permits_allow_other(Path::new(FUSE_CONF)) {
        return Ok(());
    }
    Err(Failure::new("other users cannot be let in: this machine reserves that for root")
        .at(Place::Flag("--allow-other".to_owned()))
        .hint(format!("add the line user_allow_other to {FUSE_CONF}, or leave allow-other away")))
}

fn permits_allow_other(conf: &Path) -> bool {
    let conf = std::fs::read(conf).unwrap_or_default();
    conf.split(|byte| *byte == b'\n').any(|line| line.trim_ascii() == b"user_allow_other")
}

const FUSE_CONF: &str = "/etc/fuse.conf";

/// Whether something is mounted at exactly this path.
pub fn is_mounted(path: &Path) -> bool {
    mounted_paths().iter().any(|other| other.as_os_str().as_bytes() == path.as_os_str().as_bytes())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_directory_can_be_mounted_on() {
        let dir = tempfile::tempdir().unwrap();
        let (missing, file, full, empty) = (
            dir.path().join("missing"),
            dir.path().join("file"),
            dir.path().join("full"),
            dir.path().join("empty"),
        );
        std::fs::write(&file, "x").unwrap();
        std::fs::create_dir_all(full.join("inside")).unwrap();
        std::fs::create_dir(&empty).unwrap();
        let busy = dir.path().join("busy");
        let table = [
            (&missing, "does not exist"),
            (&file, "is not a directory"),
            (&full, "is not empty"),
            (&busy, "is mounted at"),
        ];
        for (path, why) in table {
            let message = check_path(path, std::slice::from_ref(&busy)).unwrap_err().message;
            assert!(message.contains(why), "{message}");
        }
        assert_eq!(check_path(&empty, &[]), Ok(()));
    }

    #[test]
    fn the_kernels_table_of_mounts_is_understood() {
        assert!(is_mounted(Path::new("/")) && is_mounted(Path::new("/proc")));
        assert!(!is_mounted(Path::new("/nothing/is/here")));
    }

    #[test]
    fn the_line_in_fuse_conf_must_stand_alone() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("fuse.conf");
        std::fs::write(&conf, "# user_allow_other\n").unwrap();
        assert!(!permits_allow_other(&conf));
        std::fs::write(&conf, "mount_max = 10\nuser_allow_other \n").unwrap();
        assert!(permits_allow_other(&conf));
    }
}
