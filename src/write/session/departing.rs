//! Parts that leave ahead of the commit, and the writer who waits for them.
//!
//! Each part is a task of its own, and reports to the session however it ends. What goes wrong here
//! is not reported to anybody else: the commit sends the part again and has the word.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::{Core, Session};
use crate::error::{Error, Kind, Result};
use crate::name::ObjectKey;
use crate::s3::object::{NewObject, ObjectMeta};
use crate::s3::{Body, Gateway, Part, Upload};
use crate::write::Target;
use crate::write::ahead::{Ahead, ReadyPart};
use crate::write::commit;
use crate::write::content::Segment;

/// A multipart upload that begins when the first part leaves for it.
#[derive(Debug)]
pub(super) struct EarlyUpload {
    upload: OnceCell<Upload>,
    gateway: Arc<Gateway>,
    key: ObjectKey,
    /// The description it is begun with, commit id included.
    pub(super) object: NewObject,
    pub(super) commit_id: String,
}

/// Where the bytes of a part are that is not in memory.
struct Scattered {
    target: Target,
    base: Option<ObjectMeta>,
    segments: Vec<Segment>,
}

/// A part on its way. However that ends, the session hears of it, or its commit would wait for good.
struct Departure {
    session: Arc<Session>,
    number: u32,
    /// Its receipt, once it has arrived.
    part: Option<Part>,
}

impl Session {
    /// Waits until a writer may go on: a lane is free, and there is memory and disk for what comes next.
    pub(super) async fn room(&self) {
        self.lane().await;
        self.room_on_disk().await;
    }

    async fn lane(&self) {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.has_lane() {
                return;
            }
            progress.await;
        }
    }

    fn has_lane(&self) -> bool {
        let core = self.core.lock();
        let sending = core.ahead.as_ref().map_or(0, Ahead::sending);
        let is_near = core.target.gateway.latency().is_some_and(|latency| latency < NEAR);
        drop(core);
        let lanes = self.sessions.options.parts_in_flight;
        let lanes = if is_near { lanes.min(PARTS_IN_FLIGHT_NEAR) } else { lanes };
        // With nothing under way there is nothing to wait for: the disk takes what memory cannot.
        sending == 0 || sending < lanes && self.sessions.budget.ask(MEMORY_AHEAD_BYTES).is_some()
    }

    /// Lets a part leave for the upload that begins with the first of them.
    pub(super) fn let_leave(self: &Arc<Self>, core: &mut Core, part: ReadyPart) {
        let early = match &core.early {
            Some(early) => Arc::clone(early),
            None => {
                // It begins with the description of this moment.
                core.description_is_due = false;
                Arc::clone(core.early.insert(Arc::new(EarlyUpload::of(&core.target))))
            }
        };
        // What is written to it from here on makes it stale, wherever its bytes are gathered.
        let scattered = Scattered {
            target: core.target.clone(),
            base: core.content.base().cloned(),
            segments: if part.held.is_some() { Vec::new() } else { core.content.segments(part.range) },
        };
        let departure = Departure { session: Arc::clone(self), number: part.number, part: None };
        self.sessions.disk.part_leaves();
        // Detached: it reports to the session, and the commit waits for that.
        drop(self.sessions.tasks.spawn("part ahead", departure.travel(early, part, scattered)));
    }

    /// Lets the end of a file of `size` bytes, frozen for its commit, leave beside the parts that are on their way,
    /// rather than after them.
    pub(super) fn last_part_leaves(self: &Arc<Self>, size: u64) {
        let core = &mut *self.core.lock();
        if let Some(part) = core.ahead.as_mut().and_then(|ahead| ahead.last(size)) {
            self.let_leave(core, part);
        }
    }

    async fn send_ahead(&self, early: &EarlyUpload, part: ReadyPart, scattered: Scattered) -> Result<Part> {
        let (bytes, _paid) = match part.held {
            Some(held) => held.into_bytes(),
            None => {
                let paid = commit::pay(&self.sessions.budget, part.range.len()).await;
                let Scattered { target, base, segments } = scattered;
                (commit::gather(&target, base.as_ref(), segments).await?, vec![paid])
            }
        };
        if bytes.len() as u64 != part.range.len() {
            return Err(Error::new(Kind::Io, "the file was cut while a part of it left"));
        }
        let upload = early.begun(self).await?;
        Ok(upload.put_part(part.number, Body::from(bytes)).await?)
    }

    fn sent(&self, number: u32, part: Option<Part>) {
        let mut core = self.core.lock();
        if let Some(ahead) = &mut core.ahead {
            ahead.sent(number, part);
        }
        self.keep_within_limit(&mut core);
        drop(core);
        self.progress.notify_waiters();
        self.sessions.disk.part_ended();
    }

    /// Waits until no part is on its way.
    pub(in crate::write) async fn parts_at_rest(&self) {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.core.lock().ahead.as_ref().is_none_or(|ahead| ahead.sending() == 0) {
                return;
            }
            progress.await;
        }
    }

    pub(super) async fn give_up_early(&self, early: Option<Arc<EarlyUpload>>) {
        self.parts_at_rest().await;
        if let Some(upload) = early.and_then(|early| early.upload()) {
            commit::give_up(upload).await;
        }
    }
}

impl Departure {
    async fn travel(mut self, early: Arc<EarlyUpload>, part: ReadyPart, scattered: Scattered) {
        let number = self.number;
        match self.session.send_ahead(&early, part, scattered).await {
            Ok(part) => self.part = Some(part),
            Err(error) => tracing::debug!(%error, number, "a part did not leave ahead"),
        }
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        if self.part.is_some() {
            self.session.sessions.disk.lends(&self.session);
        }
        self.session.sent(self.number, self.part.take());
    }
}

impl EarlyUpload {
    fn of(target: &Target) -> Self {
        let commit_id = commit::fresh_id();
        let object = commit::named(&target.object, &commit_id);
        let (gateway, key) = (Arc::clone(&target.gateway), target.key.clone());
        Self { upload: OnceCell::new(), gateway, key, object, commit_id }
    }

    /// Begins the upload, once; the journal knows it before the first part leaves.
    async fn begun(&self, session: &Session) -> Result<&Upload> {
        let begin = async || {
            let upload = self.gateway.begin_upload(&self.key, &self.object).await?;
            match session.note(upload.id()) {
                Ok(()) => Ok(upload),
                Err(error) => {
                    commit::give_up(upload).await;
                    Err(error)
                }
            }
        };
        self.upload.get_or_try_init(begin).await
    }

    /// The upload, if it has begun.
    pub(super) fn upload(&self) -> Option<Upload> {
        self.upload.get().cloned()
    }
}

/// Where an answer comes within this time, a few parts keep any line busy. The fewer there are, the more of
/// them the processor's cache still has when they leave: on loopback a gigabyte takes 0.96 of the time that it takes
/// with twenty-four of them.
const NEAR: Duration = Duration::from_millis(2);
const PARTS_IN_FLIGHT_NEAR: usize = 8;
/// A writer goes on only while there is memory for about this much: a write of the kernel.
const MEMORY_AHEAD_BYTES: u64 = 1 << 20;
