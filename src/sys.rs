//! The few system calls that the standard library does not have, wrapped safely.
//!
//! This is the only module with unsafe code and, beside the errno table, the only one that
//! knows libc. Each wrapper takes and returns plain Rust values.
#![expect(unsafe_code, reason = "system calls; each call says why it is sound")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

/// The flag of open(2) for reads and writes that pass by the page cache, whose number machines do not agree on.
pub const O_DIRECT: i32 = libc::O_DIRECT;

/// The user and group this process acts as.
pub fn effective_ids() -> (u32, u32) {
    // SAFETY: both calls take nothing, return a number and cannot fail (geteuid(2), getegid(2)).
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Bytes of a page of memory, as the page cache has them.
pub fn page_bytes() -> u64 {
    // SAFETY: the call takes a number and returns one (sysconf(3)).
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).ok().filter(|bytes| *bytes > 0).unwrap_or(4096)
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

/// Memory that new work can have without others being swapped out, as the `MemAvailable` of proc_meminfo(5).
pub fn available_memory_bytes() -> Option<u64> {
    let lines = std::fs::read_to_string("/proc/meminfo").ok()?;
    let available = lines.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    available.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Fills `bytes` from `offset` on as far as that takes no waiting for a disk: with what the kernel has in its
/// page cache (preadv2(2), `RWF_NOWAIT`). Returns how many bytes that were, 0 also where the file system cannot
/// tell.
///
/// # Errors
/// Those of preadv2(2) that do not say that it would have to wait.
pub fn read_from_memory(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let Ok(offset) = libc::off_t::try_from(offset) else { return Ok(0) };
    let place = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: `place` describes `bytes`, which are ours to write to until this returns.
    let count = unsafe { libc::preadv2(file.as_raw_fd(), &raw const place, 1, offset, libc::RWF_NOWAIT) };
    match usize::try_from(count) {
        Ok(count) => Ok(count),
        Err(_) => match io::Error::last_os_error() {
            error if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Unsupported) => Ok(0),
            error => Err(error),
        },
    }
}

/// Makes a hole of a stretch of a file, which reads as zeros and takes no room on the disk; the file keeps its
/// length (fallocate(2), `FALLOC_FL_PUNCH_HOLE`).
///
/// # Errors
/// Those of fallocate(2), `Unsupported` among them where the file system knows no holes.
pub fn punch_hole(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let (offset, length) = (as_offset(offset)?, as_offset(length)?);
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: the descriptor is open, and nothing but numbers is handed over.
    match unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the kernel read a stretch of a file ahead into its page cache, without waiting for it (posix_fadvise(2),
/// `POSIX_FADV_WILLNEED`).
///
/// # Errors
/// Those of posix_fadvise(2), a pipe among them.
pub fn will_need(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let (offset, length) = (as_offset(offset)?, as_offset(length)?);
    // SAFETY: the descriptor is open, and nothing but numbers is handed over.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), offset, length, libc::POSIX_FADV_WILLNEED) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Has the kernel begin to write to the disk what it has of a file, without waiting for it (sync_file_range(2)). That
/// the disk has it is for fsync(2) to say.
///
/// # Errors
/// Those of sync_file_range(2), a pipe among them.
pub fn begin_write_back(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open, and nothing but numbers is handed over.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The first byte from `offset` on that does not lie in a hole; `None` if there is none (lseek(2), `SEEK_DATA`).
/// This moves the position of the descriptor.
///
/// # Errors
/// Those of lseek(2).
pub fn next_data(file: &File, offset: u64) -> io::Result<Option<u64>> {
    seek(file, offset, libc::SEEK_DATA)
}

/// The first byte from `offset` on that lies in a hole, or the end of the file; `None` beyond that (lseek(2),
/// `SEEK_HOLE`). This moves the position of the descriptor.
///
/// # Errors
/// Those of lseek(2).
pub fn next_hole(file: &File, offset: u64) -> io::Result<Option<u64>> {
    seek(file, offset, libc::SEEK_HOLE)
}

fn seek(file: &File, offset: u64, whence: libc::c_int) -> io::Result<Option<u64>> {
    // SAFETY: the descriptor is open, and nothing but numbers is handed over.
    let found = unsafe { libc::lseek(file.as_raw_fd(), as_offset(offset)?, whence) };
    match u64::try_from(found) {
        Ok(found) => Ok(Some(found)),
        Err(_) => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            error => Err(error),
        },
    }
}

fn as_offset(bytes: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Takes a mount point out of the tree of directories; what is open in it stays so (umount2(2),
/// `MNT_DETACH`).
///
/// # Errors
/// Those of umount2(2); only root may.
pub fn detach(mount_point: &Path) -> io::Result<()> {
    let path = CString::new(mount_point.as_os_str().as_bytes())?;
    // SAFETY: `path` is NUL-terminated; nothing else is handed over.
    match unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Keeps a descriptor from the programs that this process runs (fcntl(2), `FD_CLOEXEC`).
///
/// # Errors
/// Those of fcntl(2); none is known for a descriptor that is open.
pub fn close_on_exec(file: &impl AsFd) -> io::Result<()> {
    // SAFETY: the descriptor is open, and nothing but numbers is handed over.
    match unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Which of the two processes this is after [`fork`].
#[derive(Debug)]
pub enum Fork {
    /// The one that called, which knows the other.
    Parent(Pid),
    /// The new one.
    Child,
}

/// A child of this process that nobody has waited for yet.
#[derive(Debug)]
pub struct Pid(libc::pid_t);

/// Makes a second process of this one, as fork(2) has it.
///
/// # Errors
/// Those of fork(2), and when there is a second thread: the child would not have it, and a lock it
/// holds at this moment would never be released.
pub fn fork() -> io::Result<Fork> {
    require_single_thread()?;
    // SAFETY: there is only this thread, so the child's memory is in the state that this thread sees.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(Pid(pid))),
    }
}

impl Pid {
    /// Waits until the process has ended and says how.
    ///
    /// # Errors
    /// Those of waitpid(2).
    pub fn wait(self) -> io::Result<ExitStatus> {
        let mut status = 0;
        loop {
            // SAFETY: `status` is a valid place for one int.
            if unsafe { libc::waitpid(self.0, &raw mut status, 0) } == self.0 {
                return Ok(ExitStatus::from_raw(status));
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// Leaves the terminal: a session of its own (setsid(2)), `/` as working directory, and nothing on the
/// standard streams.
///
/// # Errors
/// When `/dev/null` cannot be opened. A process that leads its group already stays in its session.
pub fn leave_terminal() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for stream in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: both descriptors are open; that of a standard stream is owned by nobody in Rust.
        if unsafe { libc::dup2(null.as_raw_fd(), stream) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: takes nothing and touches no memory.
    unsafe { libc::setsid() };
    std::env::set_current_dir("/")
}

/// Sets an environment variable of this process, or removes it, for libraries that read it later.
///
/// # Errors
/// When there is a second thread, which may be reading the environment at this moment.
pub fn set_variable(name: &str, value: Option<&str>) -> io::Result<()> {
    require_single_thread()?;
    match value {
        // SAFETY: there is only this thread, so nobody reads the environment meanwhile.
        Some(value) => unsafe { std::env::set_var(name, value) },
        // SAFETY: as above.
        None => unsafe { std::env::remove_var(name) },
    }
    Ok(())
}

fn require_single_thread() -> io::Result<()> {
    match std::fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        threads => Err(io::Error::other(format!("this must happen before {threads} threads run"))),
    }
}

/// The number of the device that holds `path`, as major and minor.
///
/// # Errors
/// Those of stat(2).
pub fn device(path: &Path) -> io::Result<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let device = std::fs::metadata(path)?.dev();
    Ok((libc::major(device), libc::minor(device)))
}

/// The user on the other end of a connected Unix socket, as SO_PEERCRED of unix(7) has it: of a client its
/// effective user when it connected, of a server when it began to listen.
///
/// # Errors
/// Those of getsockopt(2), among them a socket of another family.
pub fn peer_uid(socket: &impl AsFd) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open, `peer` is a valid place for one ucred and `length` says how large it is.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(peer.uid)
}

/// Keeps this process's memory, and the secrets in it, out of core dumps and away from debuggers.
///
/// Two locks, because each has a gap. A limit of 0 bytes does not hold where `core_pattern` names a
/// program (core(5)), as it does wherever systemd-coredump or apport are at work. The dumpable flag
/// (prctl(2)) holds there too and refuses ptrace(2) to other processes of this user; but it is lost
/// whenever the process changes its user, which the limit is not.
///
/// What it costs was tried with a mount of an unprivileged user. The files in `/proc/PID` belong to root
/// from here on, but the process itself goes on reading those that everybody may read, its `exe` and its
/// `fd`; only its `mem`, `environ` and `io` are shut to it too. fusermount3 mounts and unmounts: it does not
/// look at its parent, and like every child it gets a flag of its own at execve(2). Others of the same user
/// lose sight of our descriptors: `lsof`, `strace -p` and `gdb -p` need root. Children inherit the limit,
/// though not the flag, so this is nothing for a process that becomes another program.
///
/// # Errors
/// Those of prctl(2) and setrlimit(2); neither is known to fail with these arguments.
pub fn forbid_core_dumps() -> io::Result<()> {
    // SAFETY: PR_SET_DUMPABLE takes one number and touches no memory of ours.
    if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` is a whole rlimit, which is only read.
    match unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the allocator keep what is freed in this many arenas at most, instead of eight for each processor (mallopt(3),
/// `M_ARENA_MAX`). To be called before there are threads. Only glibc's allocator has arenas.
pub fn share_arenas(count: i32) {
    #[cfg(target_env = "gnu")]
    // SAFETY: nothing but numbers is handed over. It fails for numbers that it does not know, and nothing depends on it.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, count);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = count;
}

/// Gives the memory that the allocator keeps back to the system (malloc_trim(3)). Only glibc's keeps any.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it touches what is free, under the locks of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}
