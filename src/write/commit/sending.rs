//! The parts of a commit on their way to S3.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::gathering::{gather, pay};
use super::{ATTEMPTS_MAX, BegunUpload, Commit, Trouble, give_up, pause};
use crate::budget::Reservation;
use crate::error::{Error, Kind};
use crate::s3::object::{ByteRange, ETag, NewObject};
use crate::s3::{Body, Part, S3Error, S3ErrorKind, Upload};
use crate::write::Target;
use crate::write::content::Home;
use crate::write::plan::{PlannedPart, Source};

/// The bytes of a part, before there is an upload that it could go to.
struct Gathered {
    number: u32,
    body: Body,
    paid: Option<Reservation>,
}

impl Commit {
    pub(super) async fn upload(
        self: &Arc<Self>,
        plan: &[PlannedPart],
        begun: Option<BegunUpload>,
    ) -> Result<(ETag, NewObject), Trouble> {
        let (begun, gathered) = match begun {
            Some(begun) => (begun, None),
            // What has to be fetched for the edge of an edit need not wait for the upload.
            None => {
                let (begun, gathered) = tokio::join!(self.begin_upload(), self.gather_an_edge(plan));
                (begun?, gathered)
            }
        };
        let BegunUpload { upload, object, parts } = begun;
        // The plan keeps what left ahead under its number, and may end before it.
        let kept: HashSet<u32> =
            plan.iter().filter(|part| part.source == Source::Uploaded).map(|part| part.number).collect();
        let mut parts: Vec<_> = parts.into_iter().filter_map(|(_, part)| part).collect();
        parts.retain(|part| kept.contains(&part.number));
        match self.send_parts(&upload, plan, gathered).await {
            Ok(sent) => parts.extend(sent),
            Err(trouble) => {
                self.part_with(upload).await;
                return Err(trouble);
            }
        }
        let mut upload = upload;
        // Not with the only copy of anything: who knows what such a server does with an upload that it refuses to complete.
        if self.snapshot.released.is_empty() {
            match upload.prove_condition(&parts, &self.condition).await {
                Ok(None) => {}
                Ok(Some(etag)) => return Ok((etag, object)),
                Err(error) => {
                    give_up(upload).await;
                    return Err(error.into());
                }
            }
        }
        for attempt in 1.. {
            match upload.complete(parts.clone(), &self.condition).await {
                Ok(etag) => return Ok((etag, object)),
                // S3 wants the parts anew, and nobody has them: the same ones may still do.
                Err((error, same)) if self.is_irreplaceable(&error) && attempt < ATTEMPTS_MAX => {
                    upload = same;
                    tokio::time::sleep(pause(attempt)).await;
                }
                Err((error, upload)) => {
                    self.part_with(upload).await;
                    return Err(error.into());
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    fn is_irreplaceable(&self, error: &S3Error) -> bool {
        error.kind() == S3ErrorKind::Conflict && !self.snapshot.released.is_empty()
    }

    /// Gives an upload up, unless it has the only copy of what was released.
    async fn part_with(&self, upload: Upload) {
        if self.snapshot.released.is_empty() {
            give_up(upload).await;
        } else {
            let (id, key) = (upload.id(), &self.target.key);
            tracing::error!(id, %key, "an unfinished upload stays in S3: it has what was released of a file that failed");
        }
    }

    async fn begin_upload(&self) -> Result<BegunUpload, Trouble> {
        let object = self.object();
        let upload = self.target.gateway.begin_upload(&self.target.key, &object).await?;
        if let Err(error) = (self.note_upload)(upload.id()) {
            give_up(upload).await;
            return Err(error.into());
        }
        Ok(BegunUpload { upload, object, parts: Vec::new() })
    }

    /// Sends or copies all parts that S3 does not have, some at a time.
    async fn send_parts(
        self: &Arc<Self>,
        upload: &Upload,
        plan: &[PlannedPart],
        mut gathered: Option<Gathered>,
    ) -> Result<Vec<Part>, Trouble> {
        let lanes = Arc::new(Semaphore::new(self.sessions.options.parts_in_flight.max(1)));
        let mut tasks = Vec::new();
        for part in plan.iter().filter(|part| part.source != Source::Uploaded) {
            let (commit, upload, part) = (Arc::clone(self), upload.clone(), *part);
            let gathered = gathered.take_if(|gathered| gathered.number == part.number);
            let lanes = Arc::clone(&lanes);
            tasks.push(self.sessions.tasks.spawn("commit part", async move {
                // Another part has failed, and says why.
                let Ok(_lane) = lanes.acquire().await else { return Ok(None) };
                let sent = commit.send_part(&upload, part, gathered).await;
                if sent.is_err() {
                    lanes.close();
                }
                sent.map(Some)
            }));
        }
        let mut parts = Vec::new();
        let mut trouble = None;
        // All are awaited, also after a failure: nothing of this attempt may be under way later.
        for task in tasks {
            match task
                .await
                .unwrap_or_else(|panic| Err(Error::caused(Kind::Io, "sending a part", panic).into()))
            {
                Ok(part) => parts.extend(part),
                Err(new) => trouble = Some(worse(trouble, new)),
            }
        }
        trouble.map_or(Ok(parts), Err)
    }

    async fn send_part(
        &self,
        upload: &Upload,
        part: PlannedPart,
        gathered: Option<Gathered>,
    ) -> Result<Part, Trouble> {
        if let (Source::Copy, Some(base)) = (part.source, &self.snapshot.base) {
            return Ok(upload.copy_part(part.number, self.base_key(), &base.etag, part.range).await?);
        }
        let (body, _paid) = match gathered {
            Some(Gathered { body, paid, .. }) => (body, paid),
            None => self.body(part.range).await?,
        };
        Ok(upload.put_part(part.number, body).await?)
    }

    /// The first part with bytes of the base beside written ones; why it could not be had is said when it is sent.
    async fn gather_an_edge(&self, plan: &[PlannedPart]) -> Option<Gathered> {
        let is_fetched = |part: &&PlannedPart| {
            let segments = self.snapshot.segments(part.range);
            part.source == Source::Send && segments.iter().any(|segment| matches!(segment.home, Home::Base))
        };
        let part = plan.iter().find(is_fetched)?;
        let (body, paid) = self.body(part.range).await.ok()?;
        Some(Gathered { number: part.number, body, paid })
    }

    /// The bytes of a range: from memory, the staging file, and the base.
    pub(super) async fn body(&self, range: ByteRange) -> Result<(Body, Option<Reservation>), Trouble> {
        if range.is_empty() {
            return Ok((Body::default(), None));
        }
        if let Some((held_range, bytes, _paid)) = &self.held
            && *held_range == range
        {
            return Ok((Body::from(bytes.clone()), None));
        }
        let paid = pay(&self.sessions.budget, range.len()).await;
        let elsewhere = self.base_key.as_ref().map(|key| Target { key: key.clone(), ..self.target.clone() });
        let (origin, base) = (elsewhere.as_ref().unwrap_or(&self.target), self.snapshot.base.as_ref());
        let bytes = gather(origin, base, self.snapshot.segments(range)).await?;
        assert_eq!(bytes.len() as u64, range.len(), "segments cover the range");
        Ok((Body::from(bytes), Some(paid)))
    }
}

/// Of several failures the one that started it: what S3 said, rather than what followed from it.
fn worse(old: Option<Trouble>, new: Trouble) -> Trouble {
    match (old, new) {
        (None | Some(Trouble::Local(_)), new @ Trouble::Remote(_)) | (None, new) => new,
        (Some(old), _) => old,
    }
}
