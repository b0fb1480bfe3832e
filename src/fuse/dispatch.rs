//! From a kernel thread to the runtime and back: every operation answers once and logs once.
//!
//! The kernel's threads must never wait for the network. An operation becomes a task; its reply
//! travels with it, and fuser answers EIO for a reply that is dropped, so not even a panic leaves
//! a caller hanging, and whoever is told to end while it waits is let go. An operation that mostly need not wait for anything is tried on the kernel's
//! thread first, which saves a hop to another thread and back.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use fuser::Errno;

use super::caller::Caller;
use super::undelivered::Answer;
use crate::error::{Error, Kind, Result};
use crate::fs::Filesystem;
use crate::read::ReadBytes;

/// A reply that can say that the operation failed.
pub(super) trait Refuse: Send + 'static {
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ty),*) => {$(
        impl Refuse for $reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        }
    )*};
}

refuse!(
    fuser::ReplyAttr,
    fuser::ReplyCreate,
    fuser::ReplyData,
    fuser::ReplyDirectory,
    fuser::ReplyDirectoryPlus,
    fuser::ReplyEmpty,
    fuser::ReplyEntry,
    fuser::ReplyLseek,
    fuser::ReplyOpen,
    fuser::ReplyStatfs,
    fuser::ReplyWrite,
    fuser::ReplyXattr
);

/// Runs an operation as a task, and answers with what it came to; or that it was interrupted, if whoever waits for it
/// is told to end meanwhile. The operation goes on all the same: half of one would be worse than one too many.
pub(super) fn run<R, T>(
    fs: &Arc<Filesystem>,
    operation: Operation,
    reply: R,
    work: impl Future<Output = Result<T>> + Send + 'static,
    answer: impl FnOnce(R, T) + Send + 'static,
) where
    R: Refuse,
    T: Answer,
{
    let filesystem = Arc::clone(fs);
    let task = async move {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            outcome = &mut work => return finish(&filesystem, operation, reply, outcome, answer),
            () = operation.caller.is_to_end() => reply.refuse(Errno::EINTR),
        }
        tracing::debug!(operation = %Named(operation, &filesystem), "whoever waited for it is told to end");
        match work.await {
            Ok(value) => value.take_back(&filesystem).await,
            Err(error) => log(&filesystem, operation, &error),
        }
    };
    drop(fs.tasks().spawn("operation", task));
}

/// Runs an operation that mostly need not wait: here as far as that is so, and the rest as a task.
pub(super) fn run_at_once<R, T>(
    fs: &Arc<Filesystem>,
    operation: Operation,
    reply: R,
    work: impl Future<Output = Result<T>> + Send + 'static,
    answer: impl FnOnce(R, T) + Send + 'static,
) where
    R: Refuse,
    T: Answer,
{
    let mut work = Box::pin(work);
    let _runtime = fs.tasks().enter();
    // A panic in an event loop would end the mount; of a task it ends one operation.
    let first =
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut Context::from_waker(Waker::noop()))));
    match first {
        Ok(Poll::Ready(outcome)) => finish(fs, operation, reply, outcome, answer),
        // Polled again by its task, which it then wakes: a future minds its latest waker.
        Ok(Poll::Pending) => run(fs, operation, reply, work, answer),
        Err(_) => {
            let error = Error::new(Kind::Io, "a fault of s3xmount; its trace is on standard error");
            finish(fs, operation, reply, Err(error), answer);
        }
    }
}

/// Answers a read.
pub(super) fn data(reply: fuser::ReplyData, bytes: ReadBytes) {
    thread_local! {
        /// Where pieces are joined, as fuser takes one. 1 MiB for each thread that ever did.
        static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with_borrow_mut(|scratch| reply.data(bytes.in_one_piece(scratch)));
}

/// Answers with what an operation came to.
pub(super) fn finish<R: Refuse, T>(
    fs: &Filesystem,
    operation: Operation,
    reply: R,
    outcome: Result<T>,
    answer: impl FnOnce(R, T),
) {
    match outcome {
        Ok(value) => {
            tracing::debug!(operation = %Named(operation, fs), "done");
            answer(reply, value);
        }
        Err(error) => {
            log(fs, operation, &error);
            reply.refuse(super::errno::of(error.kind()));
        }
    }
}

/// An operation of the kernel's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) ino: u64,
    pub(super) caller: Caller,
}

impl Operation {
    /// The same, given up for nobody who lives.
    pub(super) fn until_death(self) -> Self {
        Self { caller: self.caller.until_death(), ..self }
    }
}

/// An operation as the log names it: with the path below the mount point that it was asked for at, which of one about a
/// name in a directory is the directory's.
struct Named<'a>(Operation, &'a Filesystem);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Operation { name, ino, .. }, fs) = self;
        match fs.path(super::convert::ino(fuser::INodeNo(*ino))) {
            // A name may have a line break in it, and the log has a line for each operation.
            Some(path) => write!(f, "{name} at {}", path.escape_debug()),
            None => write!(f, "{name} of a file that has no name any more"),
        }
    }
}

/// One line for each failed operation. What an application may expect is no warning: a name
/// that does not exist, a directory that is not empty.
fn log(fs: &Filesystem, operation: Operation, error: &Error) {
    let operation = Named(operation, fs);
    match error.kind() {
        _ if error.is_told() => tracing::debug!(%operation, %error, "refused, as was said before"),
        Kind::NotFound
        | Kind::Exists
        | Kind::NoAttribute
        | Kind::NotDirectory
        | Kind::IsDirectory
        | Kind::NotEmpty
        | Kind::NameTooLong
        | Kind::InvalidName
        | Kind::InvalidArgument
        | Kind::NoSuchByte
        | Kind::ReadOnly
        | Kind::NotSupported
        | Kind::NotPermitted
        | Kind::CrossDevice => tracing::debug!(%operation, %error, "refused"),
        Kind::Denied
        | Kind::Changed
        | Kind::NoSpace
        | Kind::TooLarge
        | Kind::BadHandle
        | Kind::Busy
        | Kind::ShuttingDown => tracing::warn!(%operation, %error, "failed"),
        Kind::Io => tracing::error!(%operation, %error, "failed"),
    }
}
