//! Our types and fuser's.

use std::time::SystemTime;

use fuser::{FileAttr, FileType, INodeNo, OpenAccMode, OpenFlags, TimeOrNow};

use crate::clock;
use crate::fs::{Access, Attributes, FileKind, OpenOptions};
use crate::namespace::Ino;

pub(super) fn ino(number: INodeNo) -> Ino {
    Ino(number.0)
}

pub(super) fn number(ino: Ino) -> INodeNo {
    INodeNo(ino.0)
}

pub(super) fn kind(kind: FileKind) -> FileType {
    match kind {
        FileKind::Regular => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
    }
}

pub(super) fn attributes(shown: &Attributes) -> FileAttr {
    FileAttr {
        ino: number(shown.ino),
        size: shown.size,
        blocks: shown.size.div_ceil(BLOCK_BYTES),
        atime: shown.atime,
        mtime: shown.mtime,
        ctime: shown.ctime,
        crtime: shown.ctime,
        kind: kind(shown.kind),
        // Masked to its twelve bits where it was read.
        perm: u16::try_from(shown.mode & 0o7777).expect("twelve bits"),
        // One for every directory too: `find` then does not take two as "no subdirectories".
        nlink: 1,
        uid: shown.uid,
        gid: shown.gid,
        rdev: 0,
        blksize: IO_BYTES,
        flags: 0,
    }
}

pub(super) fn open_options(flags: OpenFlags) -> OpenOptions {
    let access = match flags.acc_mode() {
        OpenAccMode::O_RDONLY => Access { read: true, write: false },
        OpenAccMode::O_WRONLY => Access { read: false, write: true },
        OpenAccMode::O_RDWR => Access { read: true, write: true },
    };
    // The kernel reads the rest of a page that is written in part, whatever the handle may do.
    let access = Access { read: access.read || access.write, ..access };
    OpenOptions {
        access,
        truncate: flags.0 & super::mount::O_TRUNC != 0,
        exclusive: flags.0 & super::mount::O_EXCL != 0,
    }
}

pub(super) fn time(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => clock::now(),
    }
}

/// What `st_blocks` counts in (stat(2)).
const BLOCK_BYTES: u64 = 512;

/// What `cp`, `cat` and others take as the size of one read or write.
const IO_BYTES: u32 = 1 << 20;
