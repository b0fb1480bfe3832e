//! The files that the kernel was given to read from by itself.
//!
//! One for each inode, whatever the number of handles, and as long as there is one: the kernel insists on that.
//! Only a process with CAP_SYS_ADMIN may give it files; the first refusal ends it for good.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};

use fuser::{BackingId, FileHandle, ReplyOpen};
use parking_lot::Mutex;

use crate::fs::{Filesystem, HandleId, Opened};
use crate::read::Backing;

/// What the kernel reads by itself.
#[derive(Debug, Default)]
pub(super) struct Passed(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    by_handle: HashMap<HandleId, Arc<Given>>,
    by_inode: HashMap<u64, Weak<Given>>,
}

/// A file that was given, and what keeps it from being evicted.
#[derive(Debug)]
struct Given {
    id: BackingId,
    _backing: Arc<Backing>,
}

impl Passed {
    /// Answers that a file is open, and gives the kernel the file behind it, where there is one.
    pub(super) fn answer(&self, fs: &Filesystem, ino: u64, reply: ReplyOpen, opened: Opened) {
        let handle = FileHandle(opened.handle.0);
        let given = opened.backing.as_ref().and_then(|backing| {
            let given = self.given(fs, ino, &reply, backing);
            given.inspect_err(|error| tracing::info!(%error, "files are not passed through")).ok()
        });
        match given {
            None => reply.opened(handle, super::open_flags(&opened)),
            Some(given) => {
                self.0.lock().by_handle.insert(opened.handle, Arc::clone(&given));
                // Nothing is written through it. FOPEN_KEEP_CACHE would be refused here (fs/fuse/iomode.c).
                reply.opened_passthrough(handle, fuser::FopenFlags::FOPEN_NOFLUSH, &given.id);
            }
        }
    }

    /// The kernel is done with a handle.
    pub(super) fn released(&self, ino: u64, handle: HandleId) {
        let mut state = self.0.lock();
        let given = state.by_handle.remove(&handle);
        if given.is_some_and(|given| Arc::strong_count(&given) == 1) {
            state.by_inode.remove(&ino);
        }
    }

    fn given(
        &self,
        fs: &Filesystem,
        ino: u64,
        reply: &ReplyOpen,
        backing: &Arc<Backing>,
    ) -> io::Result<Arc<Given>> {
        let mut state = self.0.lock();
        if let Some(given) = state.by_inode.get(&ino).and_then(Weak::upgrade) {
            return Ok(given);
        }
        // Under the lock: whoever comes second is told the same.
        if !fs.may_pass_through() {
            return Err(io::Error::other("the kernel has refused before"));
        }
        let id = reply.open_backing(backing.file()).inspect_err(|_| fs.refuse_to_pass())?;
        let given = Arc::new(Given { id, _backing: Arc::clone(backing) });
        state.by_inode.insert(ino, Arc::downgrade(&given));
        Ok(given)
    }
}
