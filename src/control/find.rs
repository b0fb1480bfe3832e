//! Which running mount a path lies in.
//!
//! Told from the kernel's table of mounts. Nothing here looks at a path inside a mount of ours, not even
//! to see whether it is a link: where the mount's program has died that fails, and where it hangs it never ends.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use super::Place;
use crate::config::Surroundings;
use crate::config::mount_table::{self, Row};

/// A mount of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// What the path names below the mount point: the directory of a bucket.
    pub directory: Option<String>,
    /// Where its socket is.
    pub place: Place,
}

/// Finds the mount that a path lies in, whoever mounted it.
pub fn find(path: &Path, around: &Surroundings) -> Option<Found> {
    let path = around.working_dir.join(path);
    find_in(&mount_table::read(), &path, |link| std::fs::read_link(link).ok(), around)
}

/// Finds all mounts of this user; for root, those of all users.
pub fn running(around: &Surroundings) -> Vec<Found> {
    let table = mount_table::read();
    let whole = table.iter().filter(|row| is_ours(row) && row.root == Path::new("/"));
    let found = whole.map(|row| Found::new(row, None, around));
    found.filter(|found| [found.place.owner, 0].contains(&around.uid)).collect()
}

impl Found {
    fn new(row: &Row, directory: Option<String>, around: &Surroundings) -> Self {
        let place = Place::new(&row.path, row.user_id.unwrap_or(around.uid), around);
        Self { mount_point: row.path.clone(), directory, place }
    }
}

fn find_in(
    table: &[Row],
    path: &Path,
    read_link: impl Fn(&Path) -> Option<PathBuf>,
    around: &Surroundings,
) -> Option<Found> {
    let path = resolve(table, path, read_link);
    let row = covering(table, &path).filter(|row| is_ours(row))?;
    // Of a directory that is bound elsewhere, the mount itself has another name.
    let whole = table.iter().find(|other| other.device == row.device && other.root == Path::new("/"));
    let below = row.root.strip_prefix("/").unwrap_or(&row.root).join(path.strip_prefix(&row.path).ok()?);
    let directory = below.iter().next().map(|name| name.to_string_lossy().into_owned());
    Some(Found::new(whole.unwrap_or(row), directory, around))
}

/// Whether a mount is one of ours: fusermount3 puts our name into its type, and root, who mounts
/// without it, can put it only into the source.
fn is_ours(row: &Row) -> bool {
    row.kind == "fuse.s3xmount" || (row.kind == "fuse" && row.source.starts_with("s3xmount:"))
}

/// The mount that shows what is at a path: the innermost, and of several at the same place the last.
fn covering<'t>(table: &'t [Row], path: &Path) -> Option<&'t Row> {
    let around = table.iter().filter(|row| path.starts_with(&row.path));
    around.max_by_key(|row| row.path.components().count())
}

/// Follows links, but for those in our mounts; there, and where nothing is, a path is taken as it is written.
fn resolve(table: &[Row], path: &Path, read_link: impl Fn(&Path) -> Option<PathBuf>) -> PathBuf {
    let mut here = PathBuf::from("/");
    let (mut ahead, mut links) = (backwards(path), 0);
    while let Some(name) = ahead.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        here.push(name);
        if links >= LINKS_MAX || covering(table, &here).is_some_and(is_ours) {
            continue;
        }
        if let Some(target) = read_link(&here) {
            links += 1;
            here.pop();
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            ahead.extend(backwards(&target));
        }
    }
    here
}

/// The components, the first one last.
fn backwards(path: &Path) -> Vec<OsString> {
    let named = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    named.rev().map(|part| part.as_os_str().to_owned()).collect()
}

/// As many as the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
1 0 8:1 / / rw - ext4 /dev/sda rw
2 1 0:30 / /mnt/b rw - fuse.s3xmount s3xmount:A+B rw,user_id=7,group_id=7
3 2 0:31 / /mnt/b/A/deep rw - tmpfs tmpfs rw
4 1 0:32 / /mnt/r rw - fuse s3xmount:C rw,user_id=0,group_id=0
5 1 0:30 /A/x /srv/x rw - fuse.s3xmount s3xmount:A+B rw,user_id=7,group_id=7
6 1 0:33 / /mnt/hidden rw - fuse.s3xmount s3xmount:D rw,user_id=7,group_id=7
7 6 0:34 / /mnt/hidden rw - tmpfs tmpfs rw
8 1 0:35 / /mnt/other rw - fuse.sshfs host: rw,user_id=7,group_id=7
9 1 0:36 / /mnt/bb rw - fuse.s3xmount s3xmount:E rw,user_id=7,group_id=7
";

    /// Links, and the assertion that nothing in a mount of ours is looked at.
    fn link(path: &Path) -> Option<PathBuf> {
        let forbidden = ["/mnt/b", "/mnt/r", "/mnt/bb", "/srv/x"].map(Path::new);
        let is_inside = forbidden.iter().any(|mount| path.starts_with(mount));
        assert!(!is_inside || path.starts_with("/mnt/b/A/deep"), "looks at {}", path.display());
        let links = [("/home/b", "/mnt/b/A"), ("/home/up", "../mnt"), ("/home/loop", "loop")];
        links.iter().find(|(from, _)| path == Path::new(from)).map(|(_, to)| to.into())
    }

    fn found(path: &str) -> Option<(String, Option<String>, u32)> {
        let around = Surroundings { uid: 7, ..Surroundings::default() };
        let found = find_in(&mount_table::parse(TABLE), Path::new(path), link, &around)?;
        assert_eq!(found.place.mount_point, found.mount_point);
        Some((found.mount_point.to_str().unwrap().to_owned(), found.directory, found.place.owner))
    }

    #[test]
    fn a_path_leads_to_its_mount_and_bucket() {
        let table = [
            ("/mnt/b", "/mnt/b", None, 7),
            ("/mnt/b/A", "/mnt/b", Some("A"), 7),
            ("/mnt/b/A/dir/file", "/mnt/b", Some("A"), 7),
            ("/mnt/b/A/../B/x", "/mnt/b", Some("B"), 7),
            ("/mnt/b/A/../../r/C", "/mnt/r", Some("C"), 0),
            ("/mnt/bb/E", "/mnt/bb", Some("E"), 7),
            ("/mnt/./r//", "/mnt/r", None, 0),
            ("/srv/x", "/mnt/b", Some("A"), 7),
            ("/srv/x/dir", "/mnt/b", Some("A"), 7),
            ("/home/b/file", "/mnt/b", Some("A"), 7),
            ("/home/up/r", "/mnt/r", None, 0),
        ];
        for (path, mount_point, directory, owner) in table {
            let expected = (mount_point.to_owned(), directory.map(str::to_owned), owner);
            assert_eq!(found(path), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_lies_elsewhere_leads_nowhere() {
        for path in [
            "/",
            "/mnt",
            "/mnt/b/A/deep/x",
            "/mnt/hidden/D",
            "/mnt/other",
            "/mnt/bbb",
            "/home/loop/x",
            "/mnt/b/..",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
