//! Mounting, unmounting, and what the kernel is asked for.
//!
//! The kernel is a partner, and has to be asked: by default it looks up one name of a directory at
//! a time, reads 128 KiB ahead, and forgets a file's pages whenever it is opened. What it refuses
//! is logged once and lived without.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, FileAttr, FileType, Generation, INodeNo, InitFlags, KernelConfig, MountOption, ReplyEntry,
    Session, SessionACL, SessionUnmounter,
};

use tokio::sync::oneshot;

use super::{Bridge, convert};
use crate::fs::Filesystem;
use crate::sys;

/// How to mount.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where.
    pub mount_point: PathBuf,
    /// Other users may come in, and the kernel checks modes and owners for them.
    pub allow_other: bool,
    /// Nothing can be changed.
    pub read_only: bool,
    /// Programs in it may not be run.
    pub no_exec: bool,
    /// What `mount` and `df` show as the source.
    pub source: String,
}

/// A mounted filesystem. Dropping it unmounts.
#[derive(Debug)]
pub struct Mount {
    mount_point: PathBuf,
    unmounter: SessionUnmounter,
    ended: oneshot::Receiver<io::Result<()>>,
}

/// How a mount point was taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmounted {
    /// Nobody had anything open; the kernel is done with it.
    Gone,
    /// Somebody has something open, and can go on with it; nobody else gets in.
    Detached,
}

impl Mount {
    /// Mounts. When this returns, the kernel has been answered and the mount point works.
    ///
    /// # Errors
    /// Those of mount(2) and of fusermount3.
    pub fn new(filesystem: &Arc<Filesystem>, options: &Options) -> io::Result<Self> {
        let bridge = Bridge { fs: Arc::clone(filesystem), passed: Arc::default() };
        let mut session = Session::new(bridge, &options.mount_point, &config(options))?;
        // fusermount3 hands it over without this (fuser 0.18, `receive_fusermount_message`). A program that we run and
        // that outlives us would hold the connection open, and whoever waits for an answer would wait with it.
        sys::close_on_exec(&session)?;
        let notifier = session.notifier();
        filesystem.notify(Box::new(move |ino| {
            // Attributes only (a negative offset): pages are dropped by the open that found out.
            if let Err(error) = notifier.inval_inode(convert::number(ino), -1, 0) {
                tracing::debug!(%error, "the kernel had forgotten the inode already");
            }
        }));
        let notifier = session.notifier();
        filesystem.store_pages_with(Arc::new(move |ino, offset, bytes: &[u8]| {
            notifier.store(convert::number(ino), offset, bytes)
        }));
        let unmounter = session.unmount_callable();
        let (tell, ended) = oneshot::channel();
        std::thread::Builder::new().name("fuse".to_owned()).spawn(move || {
            // Whoever does not listen any more has unmounted it.
            tell.send(session.run()).unwrap_or_default();
        })?;
        raise_read_ahead(&options.mount_point);
        Ok(Self { mount_point: options.mount_point.clone(), unmounter, ended })
    }

    /// Waits until the kernel is done with it, whoever has unmounted it.
    ///
    /// # Errors
    /// When the kernel's side broke down.
    pub async fn ended(&mut self) -> io::Result<()> {
        (&mut self.ended).await.unwrap_or_else(|_| Err(io::Error::other("the event loop broke off")))
    }

    /// Takes the mount point away. Whoever has something in it open keeps that until it is closed, or
    /// this process ends.
    ///
    /// # Errors
    /// Those of umount2(2) and of fusermount3.
    pub fn unmount(&mut self) -> io::Result<Unmounted> {
        match self.unmounter.unmount() {
            Ok(()) => Ok(Unmounted::Gone),
            // It is in use. As root we detach it ourselves; else that is for the program that mounted it.
            Err(_) => sys::detach(&self.mount_point)
                .or_else(|_| self.detach_as_user())
                .map(|()| Unmounted::Detached),
        }
    }

    fn detach_as_user(&self) -> io::Result<()> {
        let status = Command::new("fusermount3").args(["-u", "-z"]).arg(&self.mount_point).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("fusermount3: {status}"))) }
    }
}

fn config(options: &Options) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(options.source.clone()),
        MountOption::Subtype("s3xmount".to_owned()),
        MountOption::NoDev,
        MountOption::NoSuid,
    ];
    if options.read_only {
        config.mount_options.push(MountOption::RO);
    }
    if options.no_exec {
        config.mount_options.push(MountOption::NoExec);
    }
    if options.allow_other {
        // With one user, S3's policies are all the permission there is. With several, the modes
        // and owners that files show must mean something between them.
        config.mount_options.push(MountOption::DefaultPermissions);
        config.acl = SessionACL::All;
    }
    config.n_threads = Some(EVENT_LOOPS);
    config.clone_fd = true;
    config
}

/// Asks the kernel for all that makes it quicker.
pub(super) fn negotiate(config: &mut KernelConfig) {
    for capability in CAPABILITIES {
        if config.add_capabilities(capability).is_err() {
            tracing::info!(?capability, "the kernel does not offer this; going without");
        }
    }
    // The nearest possible value is in the error, and is as good.
    let most = config.set_max_readahead(READ_AHEAD_BYTES).unwrap_or_else(|nearest| nearest);
    if config.set_max_readahead(most.min(READ_AHEAD_BYTES)).is_err()
        || config.set_max_write(WRITE_BYTES).is_err()
        || config.set_max_background(BACKGROUND_REQUESTS).is_err()
        || config.set_congestion_threshold(BACKGROUND_REQUESTS / 4 * 3).is_err()
    {
        tracing::debug!("the kernel set its own limits");
    }
}

/// Asks the kernel to read whole cached files by itself; `false` when it will not.
pub(super) fn negotiate_passthrough(config: &mut KernelConfig) -> bool {
    // One level: what lies below must not be stacked itself, and this mount may lie below one overlay.
    config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok() && config.set_max_stack_depth(1).is_ok()
}

/// Tells the mount's backing device to read further ahead than a FUSE connection may ask for.
fn raise_read_ahead(mount_point: &Path) {
    let raised = sys::device(mount_point).and_then(|(major, minor)| {
        let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
        std::fs::write(setting, (READ_AHEAD_BYTES / 1024).to_string())
    });
    if let Err(error) = raised {
        tracing::debug!(%error, "read-ahead stays at the kernel's default; only root may raise it");
    }
}

/// Answers that a name does not exist, which the kernel may remember: an entry without an inode
/// (`struct fuse_entry_out` in linux/fuse.h: "nodeid 0" is a negative entry).
pub(super) fn absent(reply: ReplyEntry, valid_for: Duration) {
    if valid_for.is_zero() {
        return reply.error(fuser::Errno::ENOENT);
    }
    let nothing = FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    };
    reply.entry(&valid_for, &nothing, Generation(0));
}

/// What we ask the kernel for. Deliberately not `FUSE_WRITEBACK_CACHE`: the kernel then keeps what is written, and takes
/// its own idea of a file's size and times for right, also where somebody else has replaced the object since. Each
/// write comes to us at once instead, in pieces of up to 1 MiB: staged in the order of the calls, refused where
/// there is no room, and streaming while the writer writes. Small writes cost a question each (30 µs).
const CAPABILITIES: [InitFlags; 8] = [
    // Lookups of one directory need not wait for each other.
    InitFlags::FUSE_PARALLEL_DIROPS,
    // Attributes along with names where the caller seems to want them.
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    // O_TRUNC arrives with open: one commit instead of two.
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    // Pages go when size or time turn out to be others.
    InitFlags::FUSE_AUTO_INVAL_DATA,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_ASYNC_DIO,
    // We take set-id bits away where a write must. Else the kernel asks before every single write whether the
    // file has capabilities (an extended attribute), which makes small writes cost twice as much.
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
];

const READ_AHEAD_BYTES: u32 = 1 << 20;
const WRITE_BYTES: u32 = 1 << 20;
const BACKGROUND_REQUESTS: u16 = 256;
const EVENT_LOOPS: usize = 2;

// The few flags of open(2) and the file types of inode(7) that arrive here, in Linux's numbers.
pub(super) const O_WRONLY: i32 = 0o1;
pub(super) const O_EXCL: i32 = 0o200;
pub(super) const O_TRUNC: i32 = 0o1000;
pub(super) const O_APPEND: i32 = 0o2000;

/// The flags of setxattr(2), as linux/xattr.h has them.
pub(super) const XATTR_CREATE: i32 = 1;
pub(super) const XATTR_REPLACE: i32 = 2;

/// The modes of fallocate(2), as linux/falloc.h has them.
pub(super) const FALLOC_FL_KEEP_SIZE: i32 = 0x01;
pub(super) const FALLOC_FL_PUNCH_HOLE: i32 = 0x02;
pub(super) const FALLOC_FL_ZERO_RANGE: i32 = 0x10;

/// Of lseek(2), what is asked of a filesystem, as linux/fs.h has it.
pub(super) const SEEK_DATA: i32 = 3;
pub(super) const SEEK_HOLE: i32 = 4;

pub(super) const TYPE_BITS: u32 = 0o170_000;
pub(super) const TYPE_REGULAR: u32 = 0o100_000;
pub(super) const TYPE_FIFO: u32 = 0o010_000;
pub(super) const TYPE_SOCKET: u32 = 0o140_000;
pub(super) const TYPE_CHAR_DEVICE: u32 = 0o020_000;
pub(super) const TYPE_BLOCK_DEVICE: u32 = 0o060_000;
