//! Mode, owner and times: from an object's metadata, and back into it.
//!
//! They are kept where others already keep them: in the user metadata, under the names that s3fs
//! uses (`mode`, `uid`, `gid`, `mtime`, `atime`, `ctime`), in decimal, `mode` with its file-type
//! bits, times in seconds with an optional fraction, which is also what rclone reads. Which device a device node
//! stands for, s3fs does not keep; here it is `rdev`, in decimal too. So a bucket
//! written here reads well through the tools that people already have, and the other way round.
//! What is not noted there is taken from the mount's settings and from the object's own time.

use std::time::SystemTime;

use crate::clock;
use crate::namespace::Ino;
use crate::s3::{ObjectMeta, UserMetadata};

/// What kind of file an inode shows as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link; its content is the target.
    Symlink,
    /// A FIFO.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A device that is addressed byte by byte. It can be kept here and not be used: mounts are `nodev`.
    CharDevice,
    /// A device that is addressed in blocks; likewise.
    BlockDevice,
}

/// What `stat` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// The number.
    pub ino: Ino,
    /// The kind.
    pub kind: FileKind,
    /// Length of the content in bytes.
    pub size: u64,
    /// Permission bits, set-id and sticky bits included, without the file type.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names it has: one, or none of what was removed and is still open.
    pub links: u32,
    /// Which device it is, as makedev(3) has it; zero of all else.
    pub device: u32,
    /// Last read, as far as anyone noted it.
    pub atime: SystemTime,
    /// Last change of the content.
    pub mtime: SystemTime,
    /// Last change of the content or the attributes.
    pub ctime: SystemTime,
}

/// What is shown where an object's metadata says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permissions of files.
    pub file_mode: u32,
    /// Permissions of directories.
    pub dir_mode: u32,
    /// The time of what S3 has no time for, such as a directory without a marker.
    pub mounted: SystemTime,
}

/// A change of attributes, as `chmod`, `chown` and `utimensat` ask for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttributeChange {
    /// New permission bits.
    pub mode: Option<u32>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New time of the last read.
    pub atime: Option<SystemTime>,
    /// New time of the last change of the content.
    pub mtime: Option<SystemTime>,
}

impl AttributeChange {
    /// Whether anything is to change at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Attributes {
    /// Those of an object that is a file.
    pub fn of_file(ino: Ino, meta: &ObjectMeta, defaults: &Defaults) -> Self {
        Self::of_object(ino, Some(meta), FileKind::Regular, defaults)
    }

    /// Those of a directory, from its marker where it has one.
    pub fn of_directory(ino: Ino, marker: Option<&ObjectMeta>, defaults: &Defaults) -> Self {
        Self { size: 0, ..Self::of_object(ino, marker, FileKind::Directory, defaults) }
    }

    /// Those of something made a moment ago.
    pub fn of_new(ino: Ino, kind: FileKind, mode: u32, owner: (u32, u32)) -> Self {
        let now = clock::now();
        Self {
            ino,
            kind,
            size: 0,
            mode: mode & MODE_BITS,
            uid: owner.0,
            gid: owner.1,
            links: 1,
            device: 0,
            atime: now,
            mtime: now,
            ctime: now,
        }
    }

    /// Those of `.` and `..` in a listing, of which only the number and the kind are looked at.
    pub fn of_dots(ino: Ino) -> Self {
        Self {
            atime: SystemTime::UNIX_EPOCH,
            mtime: SystemTime::UNIX_EPOCH,
            ctime: SystemTime::UNIX_EPOCH,
            ..Self::of_new(ino, FileKind::Directory, 0o755, (0, 0))
        }
    }

    fn of_object(ino: Ino, meta: Option<&ObjectMeta>, kind: FileKind, defaults: &Defaults) -> Self {
        let details = meta.and_then(|meta| meta.details.as_deref());
        let noted = |name: &str| details?.user.get(name).map(String::as_str);
        let number = |name: &str| noted(name)?.parse::<u32>().ok();
        let time = |name: &str| noted(name).and_then(parse_time);
        let modified = meta.map_or(defaults.mounted, |meta| meta.last_modified);
        let mtime = time("mtime").unwrap_or(modified);
        let mode = number("mode");
        let default_mode = if kind == FileKind::Directory { defaults.dir_mode } else { defaults.file_mode };
        Self {
            ino,
            kind: mode.map_or(kind, |mode| kind_of(mode, kind)),
            size: meta.map_or(0, |meta| meta.size),
            mode: mode.unwrap_or(default_mode) & MODE_BITS,
            uid: number("uid").unwrap_or(defaults.uid),
            gid: number("gid").unwrap_or(defaults.gid),
            links: 1,
            device: number("rdev").unwrap_or(0),
            atime: time("atime").unwrap_or(mtime),
            mtime,
            ctime: time("ctime").unwrap_or(modified),
        }
    }

    /// Applies a change; the time of the change itself is `now`.
    pub fn apply(&mut self, change: &AttributeChange, now: SystemTime) {
        if change.mode.is_none() && (change.uid.is_some() || change.gid.is_some()) {
            self.drop_set_ids();
        }
        self.mode = change.mode.map_or(self.mode, |mode| mode & MODE_BITS);
        self.uid = change.uid.unwrap_or(self.uid);
        self.gid = change.gid.unwrap_or(self.gid);
        self.atime = change.atime.unwrap_or(self.atime);
        self.mtime = change.mtime.unwrap_or(self.mtime);
        self.ctime = now;
    }

    /// Whether anybody may run it; the kernel asks that of root too (access(2)). Directories may be searched.
    pub fn may_run(&self) -> bool {
        self.kind != FileKind::Regular || self.mode & ANYBODY_RUNS != 0
    }

    /// Takes away what lets a file run with the rights of its owner, as a change of the owner does, and a write by
    /// somebody without privileges (chown(2), write(2)). A group that may not run it has no rights to lend:
    /// that bit means something else.
    pub fn drop_set_ids(&mut self) {
        if self.kind != FileKind::Regular {
            return;
        }
        self.mode &= !SET_UID;
        if self.mode & GROUP_RUNS != 0 {
            self.mode &= !SET_GID;
        }
    }

    /// Notes these attributes in an object's metadata, beside whatever else is there.
    pub fn note(&self, user: &mut UserMetadata) {
        let mut put = |name: &str, value: String| user.insert(name.to_owned(), value);
        put("mode", (file_type(self.kind) | self.mode).to_string());
        put("uid", self.uid.to_string());
        put("gid", self.gid.to_string());
        put("atime", format_time(self.atime));
        put("mtime", format_time(self.mtime));
        put("ctime", format_time(self.ctime));
        if matches!(self.kind, FileKind::CharDevice | FileKind::BlockDevice) {
            put("rdev", self.device.to_string());
        }
    }
}

/// The kind that the file-type bits of `mode` say; an object under `x/` stays a directory.
fn kind_of(mode: u32, fallback: FileKind) -> FileKind {
    if fallback == FileKind::Directory {
        return fallback;
    }
    match mode & TYPE_BITS {
        TYPE_SYMLINK => FileKind::Symlink,
        TYPE_FIFO => FileKind::Fifo,
        TYPE_SOCKET => FileKind::Socket,
        TYPE_CHAR_DEVICE => FileKind::CharDevice,
        TYPE_BLOCK_DEVICE => FileKind::BlockDevice,
        _ => FileKind::Regular,
    }
}

fn file_type(kind: FileKind) -> u32 {
    match kind {
        FileKind::Regular => TYPE_REGULAR,
        FileKind::Directory => TYPE_DIRECTORY,
        FileKind::Symlink => TYPE_SYMLINK,
        FileKind::Fifo => TYPE_FIFO,
        FileKind::Socket => TYPE_SOCKET,
        FileKind::CharDevice => TYPE_CHAR_DEVICE,
        FileKind::BlockDevice => TYPE_BLOCK_DEVICE,
    }
}

/// Reads `1700000000` and `1700000000.25`.
fn parse_time(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some(clock::from_unix(seconds.parse().ok()?, digits.parse().ok()?))
}

fn format_time(time: SystemTime) -> String {
    match clock::to_unix(time) {
        (seconds, 0) => seconds.to_string(),
        (seconds, nanoseconds) => format!("{seconds}.{nanoseconds:09}"),
    }
}

/// Permission, set-id and sticky bits (inode(7)).
const MODE_BITS: u32 = 0o7777;
const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const GROUP_RUNS: u32 = 0o010;
const ANYBODY_RUNS: u32 = 0o111;
const TYPE_BITS: u32 = 0o170_000;
const TYPE_SOCKET: u32 = 0o140_000;
const TYPE_SYMLINK: u32 = 0o120_000;
const TYPE_REGULAR: u32 = 0o100_000;
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_FIFO: u32 = 0o010_000;
const TYPE_CHAR_DEVICE: u32 = 0o020_000;
const TYPE_BLOCK_DEVICE: u32 = 0o060_000;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::Arc;

    use super::*;
    use crate::s3::{ETag, ObjectDetails};

    const DEFAULTS: Defaults =
        Defaults { uid: 7, gid: 8, file_mode: 0o644, dir_mode: 0o755, mounted: SystemTime::UNIX_EPOCH };

    fn object(user: &[(&str, &str)]) -> ObjectMeta {
        let user = user.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ObjectMeta {
            etag: ETag::new("e"),
            size: 5,
            last_modified: clock::from_unix(1000, 0),
            storage_class: None,
            details: Some(Arc::new(ObjectDetails { user, ..Default::default() })),
        }
    }

    #[test]
    fn attributes_survive_the_way_through_an_object() {
        let mut attributes = Attributes::of_new(Ino(9), FileKind::Symlink, 0o4755, (1, 2));
        attributes.size = 5;
        let mut user = UserMetadata::new();
        attributes.note(&mut user);
        let mut meta = object(&[]);
        meta.details = Some(Arc::new(ObjectDetails { user, ..Default::default() }));
        assert_eq!(Attributes::of_file(Ino(9), &meta, &DEFAULTS), attributes);
    }

    #[test]
    fn set_id_bits_go_with_the_owner() {
        let change = AttributeChange { uid: Some(9), ..Default::default() };
        for (kind, before, after) in [
            (FileKind::Regular, 0o6755, 0o755),
            (FileKind::Regular, 0o6745, 0o2745),
            (FileKind::Directory, 0o6755, 0o6755),
        ] {
            let mut attributes = Attributes::of_new(Ino(9), kind, before, (1, 2));
            attributes.apply(&change, SystemTime::UNIX_EPOCH);
            assert_eq!(attributes.mode, after, "{before:o}");
        }
        let mut attributes = Attributes::of_new(Ino(9), FileKind::Regular, 0o644, (1, 2));
        attributes.apply(&AttributeChange { mode: Some(0o4755), ..change }, SystemTime::UNIX_EPOCH);
        assert_eq!(attributes.mode, 0o4755, "unless they are given along with it");
    }

    #[test]
    fn what_others_wrote_is_understood() {
        let s3fs = object(&[("mode", "33188"), ("uid", "1000"), ("gid", "100"), ("mtime", "1600000000")]);
        let attributes = Attributes::of_file(Ino(9), &s3fs, &DEFAULTS);
        assert_eq!((attributes.mode, attributes.uid, attributes.kind), (0o644, 1000, FileKind::Regular));
        assert_eq!(attributes.mtime, clock::from_unix(1_600_000_000, 0));
        let rclone = object(&[("mtime", "1600000000.5")]);
        let attributes = Attributes::of_file(Ino(9), &rclone, &DEFAULTS);
        assert_eq!(attributes.mtime, clock::from_unix(1_600_000_000, 500_000_000));
        assert_eq!((attributes.mode, attributes.uid), (0o644, 7));
    }

    #[test]
    fn nonsense_in_the_metadata_is_as_good_as_nothing() {
        let odd = object(&[("mode", "rw-r--r--"), ("uid", "-1"), ("mtime", "yesterday")]);
        let plain = object(&[]);
        assert_eq!(
            Attributes::of_file(Ino(9), &odd, &DEFAULTS),
            Attributes::of_file(Ino(9), &plain, &DEFAULTS)
        );
    }

    #[test]
    fn a_marker_is_a_directory_whatever_its_mode_says() {
        let marker = object(&[("mode", "33188")]);
        let attributes = Attributes::of_directory(Ino(9), Some(&marker), &DEFAULTS);
        assert_eq!((attributes.kind, attributes.size), (FileKind::Directory, 0));
        assert_eq!(parse_time("1.5").unwrap(), clock::from_unix(1, 500_000_000));
    }
}
