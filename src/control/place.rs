//! Where the socket of a mount point lies.
//!
//! It follows from the mount point and its owner alone, so that it can be found without a list of
//! mounts that somebody would have to keep. The first of these directories that can be had is taken:
//!
//! 1. `$XDG_RUNTIME_DIR/s3xmount`
//! 2. `/run/user/UID/s3xmount`, which is usually the same, and known also where the variable is not set
//! 3. `/run/s3xmount`, for root
//! 4. `/tmp/s3xmount-UID`
//!
//! The mount and whoever asks it may live in different environments (a service and a terminal, root and a
//! user), so whoever asks tries them all. A directory counts only if it belongs to the mount's owner and
//! nobody else may enter it, for `/tmp` is open to everybody who wants to be first.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::config::Surroundings;

/// Where a mount point's socket may lie, likeliest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The mount point: absolute, links resolved.
    pub mount_point: PathBuf,
    /// The user whose mount it is.
    pub owner: u32,
    /// The sockets; each in a directory that need not exist.
    candidates: Vec<PathBuf>,
}

impl Place {
    /// Returns the place of a mount that belongs to `owner`.
    pub fn new(mount_point: &Path, owner: u32, around: &Surroundings) -> Self {
        let name = socket_name(mount_point);
        let candidates = directories(owner, around).into_iter().map(|dir| dir.join(&name)).collect();
        Self { mount_point: mount_point.to_owned(), owner, candidates }
    }

    /// The sockets, likeliest first.
    pub fn candidates(&self) -> &[PathBuf] {
        &self.candidates
    }

    /// Whether a user may ask here, or answer: the owner and root, nobody else.
    pub(super) fn trusts(&self, user: u32) -> bool {
        [self.owner, 0].contains(&user)
    }
}

fn directories(owner: u32, around: &Surroundings) -> Vec<PathBuf> {
    let named = around.variable("XDG_RUNTIME_DIR").map(Path::new);
    // The variable is about whoever asks, and so says nothing about a mount of somebody else.
    let named = named.filter(|dir| dir.is_absolute() && owner == around.uid);
    let mut directories: Vec<PathBuf> = named.map(|dir| dir.join("s3xmount")).into_iter().collect();
    directories.push(format!("/run/user/{owner}/s3xmount").into());
    if owner == 0 {
        directories.push("/run/s3xmount".into());
    }
    directories.push(format!("/tmp/s3xmount-{owner}").into());
    directories.dedup();
    directories
}

/// A file name that can be read and that no other mount point has: `/mnt/account b` is
/// `mnt-account%20b.socket`. A long one is cut, and told apart by a hash.
fn socket_name(mount_point: &Path) -> String {
    let bytes = mount_point.as_os_str().as_bytes();
    let parts = bytes.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    let parts: Vec<String> = parts.map(|part| percent_encode(part, ESCAPED).to_string()).collect();
    let mut name = parts.join("-");
    if name.len() > NAME_BYTES_MAX {
        let hash = format!("~{:016x}", fnv1a(bytes));
        name.truncate(NAME_BYTES_MAX - hash.len());
        name += &hash;
    }
    name + ".socket"
}

/// All but letters, digits and what is harmless in a file name; the dash, which stands for a slash, among them.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b':').remove(b'+');

/// Leaves 47 of the 107 bytes that the address of a socket holds (unix(7)) for its directory.
const NAME_BYTES_MAX: usize = 53;

/// FNV-1a, 64 bits: the standard library's hashes may differ between two builds of this program.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Makes the directory of a socket for this user alone, or makes sure that it is one already.
pub(super) fn make_private(dir: &Path, user: u32) -> io::Result<()> {
    let above = std::fs::symlink_metadata(dir.parent().unwrap_or(dir))?;
    // With sudo, $XDG_RUNTIME_DIR may be that of the user who typed it.
    if !is_trustworthy(&above, user) {
        return Err(refusal("it lies where others could put another in its place"));
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    match is_private(&std::fs::symlink_metadata(dir)?, user) {
        true => Ok(()),
        false => Err(refusal("it is not a directory for this user alone")),
    }
}

/// Whether nobody but the user and root can replace what lies in this directory.
fn is_trustworthy(dir: &Metadata, user: u32) -> bool {
    let guarded = dir.mode() & 0o022 == 0 || dir.mode() & STICKY != 0;
    dir.is_dir() && guarded && [user, 0].contains(&dir.uid())
}

/// Whether this, not followed if it is a link, is a directory that only `user` may enter.
pub(super) fn is_private(dir: &Metadata, user: u32) -> bool {
    dir.is_dir() && dir.uid() == user && dir.mode() & 0o077 == 0
}

fn refusal(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// Only the owner of an entry may replace it (inode(7), S_ISVTX).
const STICKY: u32 = 0o1000;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::sys;

    #[test]
    fn a_socket_can_be_found_from_every_environment() {
        let with = |variable: &str, uid| Surroundings {
            variables: [("XDG_RUNTIME_DIR".to_owned(), variable.to_owned())].into(),
            uid,
            ..Surroundings::default()
        };
        let table = [
            (with("/x", 7), 7, &["/x/s3xmount", "/run/user/7/s3xmount", "/tmp/s3xmount-7"][..]),
            (with("/run/user/7", 7), 7, &["/run/user/7/s3xmount", "/tmp/s3xmount-7"]),
            (with("", 7), 7, &["/run/user/7/s3xmount", "/tmp/s3xmount-7"]),
            (with("relative", 7), 7, &["/run/user/7/s3xmount", "/tmp/s3xmount-7"]),
            (with("/x", 0), 7, &["/run/user/7/s3xmount", "/tmp/s3xmount-7"]),
            (with("", 0), 0, &["/run/user/0/s3xmount", "/run/s3xmount", "/tmp/s3xmount-0"]),
        ];
        for (around, owner, expected) in table {
            let place = Place::new(Path::new("/mnt/b"), owner, &around);
            let dirs: Vec<_> = place.candidates().iter().map(|path| path.parent().unwrap()).collect();
            assert_eq!(dirs, expected.iter().map(Path::new).collect::<Vec<_>>());
        }
    }

    #[test]
    fn only_the_owner_and_root_are_trusted() {
        let trusts =
            |owner, user| Place::new(Path::new("/mnt"), owner, &Surroundings::default()).trusts(user);
        assert!(trusts(1000, 1000) && trusts(1000, 0) && trusts(0, 0));
        assert!(!trusts(1000, 1001) && !trusts(0, 1000));
    }

    #[test]
    fn names_can_be_read_and_told_apart() {
        let table = [
            ("/mnt/accountb", "mnt-accountb.socket"),
            ("/mnt/account-b", "mnt-account%2Db.socket"),
            ("/mnt/account/b", "mnt-account-b.socket"),
            ("/mnt/a b/ü", "mnt-a%20b-%C3%BC.socket"),
            ("/mnt/a%20b", "mnt-a%2520b.socket"),
            ("/mnt/..x", "mnt-..x.socket"),
        ];
        for (mount_point, name) in table {
            assert_eq!(socket_name(Path::new(mount_point)), name);
        }
    }

    #[test]
    fn long_names_are_cut_and_keep_the_same_hash_for_ever() {
        let long = format!("/home/alice/{}", "x".repeat(300));
        let names = [socket_name(Path::new(&long)), socket_name(Path::new(&format!("{long}y")))];
        assert_eq!(names[0], "home-alice-xxxxxxxxxxxxxxxxxxxxxxxxx~42a909f4c57eb9df.socket");
        assert_ne!(names[0], names[1]);
        assert!(names.iter().all(|name| name.len() == 60));
        let multibyte = socket_name(Path::new(&format!("/{}", "ü".repeat(100))));
        assert!(multibyte.is_ascii() && multibyte.len() == 60, "{multibyte}");
    }

    #[test]
    fn a_directory_of_its_own_is_made_and_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let (user, _) = sys::effective_ids();
        let own = dir.path().join("s3xmount");
        for _ in 0..2 {
            make_private(&own, user).unwrap();
            assert_eq!(std::fs::metadata(&own).unwrap().mode() & 0o7777, 0o700);
        }
    }

    #[test]
    fn a_directory_that_others_could_have_made_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let (user, _) = sys::effective_ids();
        let at = |name: &str| dir.path().join(name);
        let open = at("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o710)).unwrap();
        std::fs::create_dir(at("elsewhere")).unwrap();
        symlink(at("elsewhere"), at("link")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        for name in ["open", "link", "file"] {
            assert!(make_private(&at(name), user).is_err(), "{name}");
        }
        assert!(make_private(&at("of-somebody-else"), user + 1).is_err());
        assert!(make_private(&at("missing/s3xmount"), user).is_err());
        std::fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        assert!(make_private(&open.join("s3xmount"), user).is_err(), "others could replace it");
        std::fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
        assert!(make_private(&open.join("s3xmount"), user).is_ok());
    }
}
