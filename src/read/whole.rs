//! Small objects, each fetched whole in one request ahead of its open.
//!
//! Such a request asks for no certain version: what it brings is what an open at that moment would
//! have seen, description and bytes. Who opens the file later decides whether that moment was recent
//! enough, and else asks S3 again; the bytes are used only if they are of the version that is opened.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::SetOnce;
use tokio::time::Instant;

use super::part::AbortOnDrop;
use crate::budget::Reservation;
use crate::name::ObjectKey;
use crate::s3::{ByteRange, Gateway, ObjectBody, ObjectMeta, S3Error};
use crate::task::Tasks;

/// An object as it was at one moment, on its way or here. Dropping it ends the request.
#[derive(Debug)]
pub struct Whole {
    asked: Instant,
    arrived: Arc<SetOnce<Option<Arc<Fetched>>>>,
    _task: AbortOnDrop,
}

/// A whole object in memory.
#[derive(Debug)]
pub struct Fetched {
    /// Its description, details included.
    pub meta: ObjectMeta,
    /// When S3 was asked for it, or had got it.
    pub asked: Instant,
    bytes: Bytes,
    _paid: Reservation,
}

impl Whole {
    /// Begins to fetch an object, which is expected to have no more bytes than `paid` for. One that
    /// turns out to be larger is given up. `learn` hears of it before anybody who waits for it.
    pub fn fetch(
        gateway: Arc<Gateway>,
        key: ObjectKey,
        paid: Reservation,
        tasks: &Tasks,
        learn: impl FnOnce(&Fetched) + Send + 'static,
    ) -> Self {
        let (asked, arrived) = (Instant::now(), Arc::new(SetOnce::new()));
        let told = Told(Arc::clone(&arrived));
        let task = tasks.spawn_until_stopped("small file", async move {
            match bring(&gateway, &key, paid, asked).await {
                Ok(fetched) => {
                    if let Some(fetched) = &fetched {
                        learn(fetched);
                    }
                    told.tell(fetched);
                }
                // Whoever opens it asks by himself, and hears of the reason.
                Err(error) => tracing::debug!(%error, %key, "could not be fetched ahead"),
            }
        });
        Self { asked, arrived, _task: AbortOnDrop(task.abort_handle()) }
    }

    /// When S3 was asked for it.
    pub fn asked(&self) -> Instant {
        self.asked
    }

    /// The object if it is here; `Some(None)` once it is clear that it will not be.
    pub fn now(&self) -> Option<Option<Arc<Fetched>>> {
        self.arrived.get().cloned()
    }

    /// Waits for the object; `None` when it could not be fetched, or was larger than expected.
    pub async fn arrived(&self) -> Option<Arc<Fetched>> {
        self.arrived.wait().await.clone()
    }
}

impl Fetched {
    /// An object that was written here, all of it.
    pub fn written(meta: ObjectMeta, bytes: Bytes, paid: Reservation) -> Self {
        Self { meta, asked: Instant::now(), bytes, _paid: paid }
    }

    /// The bytes of a range that lies within the object.
    pub(super) fn slice(&self, range: ByteRange) -> Bytes {
        let within = |offset: u64| usize::try_from(offset).expect("it is in memory");
        self.bytes.slice(within(range.start)..within(range.end))
    }
}

/// Says that nothing will come when the task ends without having said anything, whatever ended it.
struct Told(Arc<SetOnce<Option<Arc<Fetched>>>>);

impl Told {
    fn tell(&self, fetched: Option<Fetched>) {
        // It is told once, but for the end of a task that has told.
        let _told_before = self.0.set(fetched.map(Arc::new)).is_err();
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.tell(None);
    }
}

async fn bring(
    gateway: &Gateway,
    key: &ObjectKey,
    mut paid: Reservation,
    asked: Instant,
) -> Result<Option<Fetched>, S3Error> {
    let body = gateway.get_whole(key).await?;
    let meta = body.meta().clone();
    if meta.size > paid.bytes() {
        return Ok(None);
    }
    let Some(bytes) = collect(body).await? else { return Ok(None) };
    // What it turned out to be smaller than expected, others may have.
    drop(paid.split(paid.bytes() - meta.size));
    Ok(Some(Fetched { meta, asked, bytes, _paid: paid }))
}

/// All bytes of a body in one buffer of their own; `None` when they are not as many as it said.
async fn collect(mut body: ObjectBody) -> Result<Option<Bytes>, S3Error> {
    let size = usize::try_from(body.meta().size).expect("paid for, and so in memory");
    // Not the network's buffers, which may be much larger than what came in them.
    let mut bytes = BytesMut::with_capacity(size);
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if piece.len() > size - bytes.len() {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok((bytes.len() == size).then(|| bytes.freeze()))
}
