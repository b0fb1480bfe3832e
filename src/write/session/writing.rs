//! Writes and cuts: staged under the session's lock, on the thread of the caller, in the order of the calls.

use std::future::Future;
use std::sync::Arc;

use super::{Core, Session};
use crate::error::{Error, Kind, Result};
use crate::s3::object::limits::OBJECT_BYTES_MAX;

impl Session {
    /// Writes `bytes` at `offset`.
    ///
    /// They are staged when this returns; the future waits until there is room for more, in memory and on the disk,
    /// which is how a writer that is faster than the network is slowed down.
    ///
    /// # Errors
    /// [`Kind::NoSpace`] when the staging directory is full, [`Kind::TooLarge`] beyond the
    /// largest object, and what a failed commit came to.
    pub fn write(
        self: &Arc<Self>,
        offset: u64,
        bytes: &[u8],
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<> {
        let staged = self.stage(&mut self.core.lock(), offset, bytes);
        let session = Arc::clone(self);
        async move {
            staged?;
            session.room().await;
            Ok(())
        }
    }

    /// Writes `bytes` at the end of the file, wherever that is by now. Returns where it was, and the
    /// future that [`write`](Self::write) returns.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn append(
        self: &Arc<Self>,
        bytes: &[u8],
    ) -> (u64, impl Future<Output = Result<()>> + Send + 'static + use<>) {
        let mut core = self.core.lock();
        let offset = core.content.size();
        let staged = self.stage(&mut core, offset, bytes);
        drop(core);
        let session = Arc::clone(self);
        let room = async move {
            staged?;
            session.room().await;
            Ok(())
        };
        (offset, room)
    }

    /// Sets the length: what is cut off is gone, what is added is zeros.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn truncate(self: &Arc<Self>, size: u64) -> Result<()> {
        let mut core = self.core.lock();
        core.check()?;
        check_size(size)?;
        if size == core.content.size() {
            return Ok(());
        }
        self.ensure_journal(&mut core)?;
        core.content.truncate(size)?;
        core.touched = true;
        self.keep_independent(&core);
        let is_committing = core.content.has_overlay();
        if let (Some(ahead), false) = (&mut core.ahead, is_committing) {
            ahead.truncated(size);
        }
        Ok(())
    }

    fn stage(self: &Arc<Self>, core: &mut Core, offset: u64, bytes: &[u8]) -> Result<()> {
        core.check()?;
        if bytes.is_empty() {
            return Ok(());
        }
        check_size(offset.saturating_add(bytes.len() as u64))?;
        let mut staged = self.write_down(core, offset, bytes);
        if let Err(error) = &staged
            && self.make_room(core, error)
        {
            staged = self.write_down(core, offset, bytes);
        }
        staged.map_err(|error| {
            let (key, directory) = (&core.target.key, self.sessions.directory.display());
            error.context(format!("staging {key} in {directory}"))
        })?;
        self.keep_independent(core);
        if !core.content.has_overlay()
            && let Some(ahead) = &mut core.ahead
        {
            let ready = ahead.wrote(offset, bytes, &self.sessions.memory);
            ready.into_iter().for_each(|part| self.let_leave(core, part));
        }
        Ok(())
    }

    fn write_down(&self, core: &mut Core, offset: u64, bytes: &[u8]) -> Result<()> {
        self.ensure_journal(core)?;
        core.touched = true;
        Ok(core.content.write(offset, bytes)?)
    }
}

pub(super) fn check_size(size: u64) -> Result<()> {
    if size <= OBJECT_BYTES_MAX {
        return Ok(());
    }
    Err(Error::new(
        Kind::TooLarge,
        format!("a file of {size} bytes; an S3 object has at most {OBJECT_BYTES_MAX}"),
    ))
}
