//! Our types and fuser's.

use std::time::SystemTime;

use fuser::{FileAttr, FileType, INodeNo, OpenAccMode, OpenFlags, TimeOrNow, WriteFlags};

use crate::clock;
use crate::fs::{Access, Allocation, Attributes, Extent, FileKind, OpenOptions, Seek};
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
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
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
        nlink: shown.links,
        uid: shown.uid,
        gid: shown.gid,
        rdev: shown.device,
        blksize: IO_BYTES,
        flags: 0,
    }
}

/// What mknod(2) is to make, by the file-type bits of its mode; `None` for what it cannot.
pub(super) fn made_kind(mode: u32) -> Option<FileKind> {
    Some(match mode & super::mount::TYPE_BITS {
        // "Zero file type is equivalent to type S_IFREG" (mknod(2)).
        super::mount::TYPE_REGULAR | 0 => FileKind::Regular,
        super::mount::TYPE_FIFO => FileKind::Fifo,
        super::mount::TYPE_SOCKET => FileKind::Socket,
        super::mount::TYPE_CHAR_DEVICE => FileKind::CharDevice,
        super::mount::TYPE_BLOCK_DEVICE => FileKind::BlockDevice,
        _ => return None,
    })
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

/// Whether bytes belong at the end of the file, wherever the kernel takes that to be. Pages of a mapping have
/// their place, whatever the descriptor was opened with that they are written through.
pub(super) fn appends(open: OpenFlags, write: WriteFlags) -> bool {
    open.0 & super::mount::O_APPEND != 0 && !write.contains(WriteFlags::FUSE_WRITE_CACHE)
}

/// What a mode of fallocate(2) asks for; `None` for what S3 cannot do.
pub(super) fn allocation(mode: i32) -> Option<Allocation> {
    let keeps_size = mode & super::mount::FALLOC_FL_KEEP_SIZE != 0;
    match mode & !super::mount::FALLOC_FL_KEEP_SIZE {
        0 => Some(Allocation { zeros: false, grows: !keeps_size }),
        super::mount::FALLOC_FL_PUNCH_HOLE if keeps_size => Some(Allocation { zeros: true, grows: false }),
        super::mount::FALLOC_FL_ZERO_RANGE => Some(Allocation { zeros: true, grows: !keeps_size }),
        _ => None,
    }
}

/// How much of a copy is to be made at once. The answer has room for 32 bits, so newer kernels ask for no more than that
/// in whole pages (fuse_copy_file_range in fs/fuse/file.c); what older ones ask for beyond, they ask for again.
pub(super) fn extent(length: u64) -> Extent {
    const MOST: u64 = u32::MAX as u64 & !4095;
    Extent { length: length.min(MOST), is_the_most: length >= MOST }
}

/// What lseek(2) looks for, and from where on.
pub(super) fn seek(offset: i64, whence: i32) -> Option<(u64, Seek)> {
    let seek = match whence {
        super::mount::SEEK_DATA => Seek::Data,
        super::mount::SEEK_HOLE => Seek::Hole,
        _ => return None,
    };
    Some((u64::try_from(offset).ok()?, seek))
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
