//! What an error is in the kernel's numbers: one table.

use fuser::Errno;

use crate::error::Kind;

/// The errno a person expects for a kind of failure (errno(3)).
pub(super) fn of(kind: Kind) -> Errno {
    match kind {
        Kind::NotFound => Errno::ENOENT,
        Kind::Exists => Errno::EEXIST,
        Kind::NoAttribute => Errno::ENODATA,
        Kind::Denied => Errno::EACCES,
        Kind::NotDirectory => Errno::ENOTDIR,
        Kind::IsDirectory => Errno::EISDIR,
        Kind::NotEmpty => Errno::ENOTEMPTY,
        // What NFS says for the same thing: the handle is of a file that is no more.
        Kind::Changed => Errno::ESTALE,
        Kind::NoSpace => Errno::ENOSPC,
        Kind::TooLarge => Errno::EFBIG,
        Kind::NameTooLong => Errno::ENAMETOOLONG,
        Kind::InvalidName => Errno::EILSEQ,
        Kind::InvalidArgument => Errno::EINVAL,
        Kind::NoSuchByte => Errno::ENXIO,
        Kind::BadHandle => Errno::EBADF,
        Kind::ReadOnly => Errno::EROFS,
        Kind::NotSupported => Errno::EOPNOTSUPP,
        Kind::NotPermitted => Errno::EPERM,
        Kind::CrossDevice => Errno::EXDEV,
        Kind::Busy => Errno::EBUSY,
        Kind::ShuttingDown => Errno::ESHUTDOWN,
        Kind::Io => Errno::EIO,
    }
}
