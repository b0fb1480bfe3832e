//! The kernel's side: FUSE's vocabulary stops here.
//!
//! Each method copies its arguments out, and either answers from memory at once, on the kernel's
//! thread, or hands the operation to `dispatch`. Nothing else happens here: no policy, no state.

mod answers;
mod caller;
mod convert;
mod dispatch;
mod errno;
mod mount;
mod passthrough;
mod undelivered;

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, FopenFlags, INodeNo, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};

pub use self::mount::{Mount, Options, Unmounted};

use self::answers::{add_described, attributes, created, done, entry, open_flags, xattr};
use self::caller::Caller;
use self::dispatch::{Operation, data, finish, run, run_at_once};
use self::passthrough::Passed;
use self::undelivered::Answer;
use crate::error::Result;
use crate::fs::{
    AttributeChange, Described, FileKind, Filesystem, Found, HandleId, Listed, Opened, Position, Replace,
    Setting, Shown, Special,
};
use crate::name::FileName;
use crate::sys;

/// What fuser calls itself in the log as it answers. It takes for an error that the kernel does not want to hear the answer
/// to an interruption any more, because what was interrupted is done.
pub const ANSWERS_IN_THE_LOG: &str = "fuser::reply";

/// Translates between fuser and a [`Filesystem`].
#[derive(Debug)]
struct Bridge {
    fs: Arc<Filesystem>,
    passed: Arc<Passed>,
}

impl Bridge {
    fn operation(name: &'static str, ino: INodeNo, request: &Request) -> Operation {
        Operation { name, ino: ino.0, caller: Caller::new(request.pid()) }
    }

    /// Runs an operation of the filesystem as a task.
    fn run<R, T, W>(
        &self,
        operation: Operation,
        reply: R,
        work: impl FnOnce(Arc<Filesystem>) -> W,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) where
        R: dispatch::Refuse,
        T: Answer,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        run(&self.fs, operation, reply, work(Arc::clone(&self.fs)), answer);
    }

    /// Runs an operation of the filesystem that mostly need not wait for anything.
    fn run_at_once<R, T, W>(
        &self,
        operation: Operation,
        reply: R,
        work: impl FnOnce(Arc<Filesystem>) -> W,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) where
        R: dispatch::Refuse,
        T: Answer,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        run_at_once(&self.fs, operation, reply, work(Arc::clone(&self.fs)), answer);
    }
}

/// Parses a name or answers that no such name can be.
macro_rules! name_or_refuse {
    ($fs:expr, $name:expr, $operation:expr, $reply:expr) => {
        match FileName::from_os($name) {
            Ok(name) => name,
            Err(error) => return finish(&$fs, $operation, $reply, Err::<(), _>(error), |_, ()| {}),
        }
    };
}

impl fuser::Filesystem for Bridge {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        mount::negotiate(config);
        if self.fs.may_pass_through() && !mount::negotiate_passthrough(config) {
            self.fs.refuse_to_pass();
        }
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let operation = Self::operation("lookup", parent, request);
        let name = name_or_refuse!(self.fs, name, operation, reply);
        let parent = convert::ino(parent);
        if let Some(found) = self.fs.try_lookup(parent, &name) {
            return finish(&self.fs, operation, reply, found, entry);
        }
        self.run(operation, reply, |fs| async move { fs.lookup(parent, &name).await }, entry);
    }

    fn forget(&self, _: &Request, ino: INodeNo, lookups: u64) {
        self.fs.forget(convert::ino(ino), lookups);
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let operation = Self::operation("getattr", ino, request);
        let ino = convert::ino(ino);
        if let Some(shown) = self.fs.try_attributes(ino) {
            return finish(&self.fs, operation, reply, shown, attributes);
        }
        self.run(operation, reply, |fs| async move { fs.attributes(ino).await }, attributes);
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let operation = Self::operation("setattr", ino, request);
        let ino = convert::ino(ino);
        let change = AttributeChange {
            mode,
            uid,
            gid,
            atime: atime.map(convert::time),
            mtime: mtime.map(convert::time),
        };
        let work = |fs: Arc<Filesystem>| async move {
            if let Some(size) = size {
                fs.truncate(ino, size).await?;
            }
            match change.is_empty() {
                true => fs.attributes(ino).await,
                false => fs.change_attributes(ino, change).await,
            }
        };
        self.run(operation, reply, work, attributes);
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        let operation = Self::operation("readlink", ino, request);
        let ino = convert::ino(ino);
        let answer = |reply: ReplyData, target: Vec<u8>| reply.data(&target);
        self.run(operation, reply, |fs| async move { fs.read_symlink(ino).await }, answer);
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        let operation = Self::operation("mknod", parent, request);
        let name = name_or_refuse!(self.fs, name, operation, reply);
        let Some(kind) = convert::made_kind(mode) else { return reply.error(Errno::EINVAL) };
        let (parent, mode, owner) = (convert::ino(parent), mode & !umask, (request.uid(), request.gid()));
        let work = |fs: Arc<Filesystem>| async move {
            if kind != FileKind::Regular {
                let special = Special { kind, mode, device };
                return fs.make_special(parent, &name, special, owner).await.map(Found::Present);
            }
            let options = convert::open_options(OpenFlags(mount::O_WRONLY | mount::O_EXCL));
            let (shown, opened) = fs.create(parent, &name, mode, owner, options)?;
            let made = fs.sync(opened.handle).await;
            fs.release(opened.handle).await?;
            made.map(|()| Found::Present(shown))
        };
        self.run(operation, reply, work, entry);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let operation = Self::operation("mkdir", parent, request);
        let name = name_or_refuse!(self.fs, name, operation, reply);
        let (parent, mode, owner) = (convert::ino(parent), mode & !umask, (request.uid(), request.gid()));
        let work = |fs: Arc<Filesystem>| async move {
            fs.make_directory(parent, &name, mode, owner).await.map(Found::Present)
        };
        self.run(operation, reply, work, entry);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let operation = Self::operation("unlink", parent, request);
        let name = name_or_refuse!(self.fs, name, operation, reply);
        let parent = convert::ino(parent);
        self.run(operation, reply, |fs| async move { fs.remove_file(parent, &name).await }, done);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let operation = Self::operation("rmdir", parent, request);
        let name = name_or_refuse!(self.fs, name, operation, reply);
        let parent = convert::ino(parent);
        self.run(operation, reply, |fs| async move { fs.remove_directory(parent, &name).await }, done);
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let operation = Self::operation("symlink", parent, request);
        let name = name_or_refuse!(self.fs, name, operation, reply);
        let Some(target) = target.to_str().map(str::to_owned) else { return reply.error(Errno::EILSEQ) };
        let (parent, owner) = (convert::ino(parent), (request.uid(), request.gid()));
        let work = |fs: Arc<Filesystem>| async move {
            fs.make_symlink(parent, &name, &target, owner).await.map(Found::Present)
        };
        self.run(operation, reply, work, entry);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let operation = Self::operation("rename", parent, request);
        let name = name_or_refuse!(self.fs, name, operation, reply);
        let new_name = name_or_refuse!(self.fs, new_name, operation, reply);
        let replace = match flags {
            flags if flags.is_empty() => Replace::Allowed,
            RenameFlags::RENAME_NOREPLACE => Replace::Refused,
            // S3 cannot exchange two objects in one step.
            _ => return reply.error(Errno::EINVAL),
        };
        let (parent, new_parent) = (convert::ino(parent), convert::ino(new_parent));
        let work = |fs: Arc<Filesystem>| async move {
            fs.rename((parent, &name), (new_parent, &new_name), replace).await
        };
        self.run(operation, reply, work, done);
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let operation = Self::operation("open", ino, request);
        let (ino, options) = (convert::ino(ino), convert::open_options(flags));
        let (passed, filesystem, number) =
            (Arc::clone(&self.passed), Arc::clone(&self.fs), convert::number(ino));
        let answer = move |reply: ReplyOpen, opened: Opened| {
            passed.answer(&filesystem, number.0, reply, opened);
        };
        self.run_at_once(operation, reply, |fs| async move { fs.open(ino, options).await }, answer);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let operation = Self::operation("create", parent, request);
        let name = name_or_refuse!(self.fs, name, operation, reply);
        let options = convert::open_options(OpenFlags(flags));
        let owner = (request.uid(), request.gid());
        let (parent, mode) = (convert::ino(parent), mode & !umask);
        if self.fs.claims_at_open(options) {
            let work = |fs: Arc<Filesystem>| async move {
                fs.create_claimed(parent, &name, mode, owner, options).await
            };
            return self.run(operation, reply, work, created);
        }
        let made = self.fs.create(parent, &name, mode, owner, options);
        finish(&self.fs, operation, reply, made, created);
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let operation = Self::operation("read", ino, request);
        // Anything else may be a page of a mapping.
        let is_direct = flags.0 & sys::O_DIRECT != 0;
        let operation = if is_direct { operation } else { operation.until_death() };
        let handle = HandleId(handle.0);
        if let Some(bytes) = self.fs.try_read(handle, offset, size) {
            return finish(&self.fs, operation, reply, bytes, data);
        }
        let awaiting = self.fs.await_read(handle, offset, size);
        let answer = |reply: ReplyData, bytes| {
            data(reply, bytes);
            drop(awaiting);
        };
        self.run(operation, reply, |fs| async move { fs.read(handle, offset, size).await }, answer);
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        open_flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let operation = Self::operation("write", ino, request);
        let handle = HandleId(handle.0);
        // fuser has read at most 16 MiB.
        let size = u32::try_from(data.len()).expect("no larger than fuser's buffer");
        if flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
            self.fs.drop_set_ids(handle);
        }
        let written = move |reply: ReplyWrite, ()| reply.written(size);
        // Staged here, on the kernel's thread: writes apply in the order in which they arrive. And answered here,
        // unless the writer has to wait for room.
        match convert::appends(open_flags, flags) {
            true => {
                let staged = self.fs.append(handle, offset, data);
                self.run_at_once(operation, reply, |_| staged, written);
            }
            false => {
                let staged = self.fs.write(handle, offset, data);
                self.run_at_once(operation, reply, |_| staged, written);
            }
        }
    }

    fn flush(&self, request: &Request, ino: INodeNo, handle: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        let handle = HandleId(handle.0);
        let work = |fs: Arc<Filesystem>| async move { fs.flush(handle).await };
        self.run_at_once(Self::operation("flush", ino, request), reply, work, done);
    }

    fn fsync(&self, request: &Request, ino: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        let handle = HandleId(handle.0);
        let work = |fs: Arc<Filesystem>| async move { fs.sync(handle).await };
        self.run(Self::operation("fsync", ino, request), reply, work, done);
    }

    fn release(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let handle = HandleId(handle.0);
        self.passed.released(ino.0, handle);
        let work = |fs: Arc<Filesystem>| async move { fs.release(handle).await };
        self.run_at_once(Self::operation("release", ino, request), reply, work, done);
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = self.fs.open_directory(convert::ino(ino));
        finish(&self.fs, Self::operation("opendir", ino, request), reply, opened, |reply, handle| {
            reply.opened(FileHandle(handle.0), FopenFlags::empty());
        });
    }

    fn readdir(&self, request: &Request, ino: INodeNo, handle: FileHandle, from: u64, reply: ReplyDirectory) {
        let handle = HandleId(handle.0);
        let answer = |mut reply: ReplyDirectory, entries: Vec<Listed>| {
            for entry in &entries {
                let kind = convert::kind(entry.kind);
                if reply.add(convert::number(entry.ino), entry.next, kind, &entry.name) {
                    break;
                }
            }
            reply.ok();
        };
        let work = |fs: Arc<Filesystem>| async move { fs.read_directory(handle, from).await };
        self.run(Self::operation("readdir", ino, request), reply, work, answer);
    }

    fn readdirplus(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        from: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let handle = HandleId(handle.0);
        let fs = Arc::clone(&self.fs);
        let answer = move |mut reply: ReplyDirectoryPlus, entries: Vec<Described>| {
            add_described(&fs, &entries, &mut reply);
            reply.ok();
        };
        let work = |fs: Arc<Filesystem>| async move { fs.read_directory_described(handle, from).await };
        self.run(Self::operation("readdirplus", ino, request), reply, work, answer);
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.fs.close_directory(HandleId(handle.0));
        reply.ok();
    }

    fn fsyncdir(&self, request: &Request, ino: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        let handle = HandleId(handle.0);
        let work = |fs: Arc<Filesystem>| async move { fs.sync_directory(handle).await };
        self.run_at_once(Self::operation("fsyncdir", ino, request), reply, work, done);
    }

    fn access(&self, request: &Request, ino: INodeNo, wanted: AccessFlags, reply: ReplyEmpty) {
        let operation = Self::operation("access", ino, request);
        let (ino, runs) = (convert::ino(ino), wanted.contains(AccessFlags::X_OK));
        // What else somebody may do is for S3 to say, when it is done.
        let answer = move |reply: ReplyEmpty, shown: Shown| match runs && !shown.attributes.may_run() {
            true => reply.error(Errno::EACCES),
            false => reply.ok(),
        };
        if let Some(shown) = self.fs.try_attributes(ino) {
            return finish(&self.fs, operation, reply, shown, answer);
        }
        self.run(operation, reply, |fs| async move { fs.attributes(ino).await }, answer);
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let Some(name) = name.to_str().map(str::to_owned) else { return reply.error(Errno::EOPNOTSUPP) };
        let setting = match flags {
            mount::XATTR_CREATE => Setting::Create,
            mount::XATTR_REPLACE => Setting::Replace,
            _ => Setting::Either,
        };
        let (at, value) = (convert::ino(ino), value.to_owned());
        let work = |fs: Arc<Filesystem>| async move { fs.set_xattr(at, &name, &value, setting).await };
        self.run(Self::operation("setxattr", ino, request), reply, work, done);
    }

    fn getxattr(&self, request: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let operation = Self::operation("getxattr", ino, request);
        let Some(name) = name.to_str().map(str::to_owned) else { return reply.error(Errno::ENODATA) };
        let ino = convert::ino(ino);
        let answer = move |reply: ReplyXattr, value: Vec<u8>| xattr(reply, size, &value);
        if let Some(value) = self.fs.try_xattr(ino, &name) {
            return finish(&self.fs, operation, reply, value, answer);
        }
        self.run(operation, reply, |fs| async move { fs.xattr(ino, &name).await }, answer);
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let operation = Self::operation("listxattr", ino, request);
        let ino = convert::ino(ino);
        let answer = move |reply: ReplyXattr, names: Vec<String>| {
            let list: Vec<u8> =
                names.into_iter().flat_map(|name| [name.into_bytes(), vec![0]]).flatten().collect();
            xattr(reply, size, &list);
        };
        if let Some(names) = self.fs.try_list_xattrs(ino) {
            return finish(&self.fs, operation, reply, names, answer);
        }
        self.run(operation, reply, |fs| async move { fs.list_xattrs(ino).await }, answer);
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let Some(name) = name.to_str().map(str::to_owned) else { return reply.error(Errno::ENODATA) };
        let at = convert::ino(ino);
        let work = |fs: Arc<Filesystem>| async move { fs.remove_xattr(at, &name).await };
        self.run(Self::operation("removexattr", ino, request), reply, work, done);
    }

    fn fallocate(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let operation = Self::operation("fallocate", ino, request);
        let Some(how) = convert::allocation(mode) else { return reply.error(Errno::EOPNOTSUPP) };
        finish(&self.fs, operation, reply, self.fs.allocate(HandleId(handle.0), offset, length, how), done);
    }

    fn lseek(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let operation = Self::operation("lseek", ino, request);
        // What else there is, the kernel answers by itself.
        let Some((offset, seek)) = convert::seek(offset, whence) else { return reply.error(Errno::EINVAL) };
        finish(&self.fs, operation, reply, self.fs.seek(HandleId(handle.0), offset, seek), |reply, at| {
            // No object is longer than an offset can say.
            reply.offset(i64::try_from(at).expect("within an object"));
        });
    }

    fn copy_file_range(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        _: INodeNo,
        handle_out: FileHandle,
        offset_out: u64,
        length: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let from = Position { handle: HandleId(handle.0), offset };
        let to = Position { handle: HandleId(handle_out.0), offset: offset_out };
        let extent = convert::extent(length);
        let work = |fs: Arc<Filesystem>| async move { fs.copy_range(from, to, extent).await };
        self.run(
            Self::operation("copy_file_range", ino, request),
            reply,
            work,
            |reply: ReplyWrite, copied: u64| {
                reply.written(u32::try_from(copied).expect("no more than was asked for"));
            },
        );
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let space = self.fs.space();
        let (blocks, free) = (space.total_bytes / STATFS_BLOCK, space.free_bytes / STATFS_BLOCK);
        reply.statfs(blocks, free, free, space.files, space.files, STATFS_BLOCK_BYTES, NAME_MAX, 0);
    }
}

const STATFS_BLOCK_BYTES: u32 = 4096;
const STATFS_BLOCK: u64 = STATFS_BLOCK_BYTES as u64;
const NAME_MAX: u32 = 255;
