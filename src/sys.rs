//! The few system calls that the standard library does not have, wrapped safely.
//!
//! This is the only module with unsafe code and, beside the errno table, the only one that
//! knows libc. Each wrapper takes and returns plain Rust values.
#![expect(unsafe_code, reason = "system calls; each call says why it is sound")]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The user and group this process acts as.
pub fn effective_ids() -> (u32, u32) {
    // SAFETY: both calls take nothing, return a number and cannot fail (geteuid(2), getegid(2)).
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Space of a local filesystem, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What the filesystem holds in all.
    pub total_bytes: u64,
    /// What an unprivileged process may still write.
    pub free_bytes: u64,
}

/// Space of the filesystem that holds `path`, as statvfs(3) has it.
///
/// # Errors
/// Those of statvfs(3), among them a path that does not exist.
pub fn space(path: &Path) -> io::Result<Space> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut answer = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is NUL-terminated and `answer` is a valid place for one statvfs.
    let result = unsafe { libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: statvfs returned 0, so it has filled in the whole struct.
    let answer = unsafe { answer.assume_init() };
    Ok(Space {
        total_bytes: answer.f_blocks * answer.f_frsize,
        free_bytes: answer.f_bavail * answer.f_frsize,
    })
}
