//! Files that are removed or replaced while they are open.
//!
//! Whoever has such a file open reads on, as on a disk (unlink(2)): programs unlink their temporary files at once, and
//! `git gc` or a log's rotation take files away from under their readers. S3 has the old bytes no longer, so they are
//! fetched before they go: `rm` and `mv` of a file that somebody has open for reading take as long as that. Files
//! that are larger than [`KEPT_BYTES_MAX`] are not, and their readers get ESTALE; the log says so. The same holds of a file
//! that is being written, of which parts have made room in the staging directory.
//!
//! What others remove is gone without warning, and reads of it fail with ESTALE in any case.

use std::sync::Arc;

use super::Filesystem;
use super::handle::{FileHandle, OpenFile};
use crate::error::{Error, Kind, Result};
use crate::namespace::Place;
use crate::read::ReadBytes;
use crate::s3::ObjectMeta;
use crate::s3::object::ByteRange;
use crate::write::{AtRest, Kept};

impl Filesystem {
    /// Sees to it that what has this file open can read on when S3 has it no longer.
    ///
    /// To be called before that, by whoever has the file's turn, with its session at rest: what is being committed would be
    /// another version in a moment. That it cannot be done is no reason to keep the file: it is only logged.
    pub(super) async fn keep_for_readers(&self, file: &Arc<OpenFile>, rest: Option<&AtRest<'_>>) {
        if let Some(rest) = rest {
            self.complete_for_readers(file, rest).await;
        }
        let Some((place, meta)) = needed(file) else { return };
        if meta.size > KEPT_BYTES_MAX {
            return tell_too_large(&place, meta.size);
        }
        match self.fetch_to_keep(&place, &meta).await {
            Ok(kept) => file.keep(Arc::new(kept)),
            Err(error) => tell_not_kept(&place, &error),
        }
    }

    /// What is only in an unfinished upload can be read by nobody, and so not be kept: that becomes a version first.
    async fn complete_for_readers(&self, file: &OpenFile, rest: &AtRest<'_>) {
        let place = {
            let state = file.state();
            state.place.clone().filter(|_| state.handles > 0)
        };
        let Some(place) = place.filter(|_| rest.session().has_released()) else { return };
        let size = rest.session().size();
        if size > KEPT_BYTES_MAX {
            return tell_too_large(&place, size);
        }
        if let Err(error) = rest.complete_what_left().await {
            tell_not_kept(&place, &error);
        }
    }

    async fn fetch_to_keep(&self, place: &Place, meta: &ObjectMeta) -> Result<Kept> {
        let mut kept = self.parts.sessions.keep(meta.etag.clone())?;
        let reader = self.begin_reading(place, meta.clone())?;
        let mut scratch = Vec::new();
        while kept.size() < meta.size {
            let read = reader.read(kept.size(), PIECE_BYTES).await?;
            if read.is_empty() {
                return Err(Error::new(Kind::Io, "the object ends before its end"));
            }
            kept.append(read.in_one_piece(&mut scratch))?;
        }
        Ok(kept)
    }

    /// Reads what was kept of a file that is gone; `None` of one that is there, or is being written.
    pub(super) async fn read_kept(&self, handle: &FileHandle, range: ByteRange) -> Option<Result<ReadBytes>> {
        let kept = {
            let state = handle.file.state();
            let kept = state.kept.clone().filter(|_| state.place.is_none() && state.session.is_none())?;
            kept.is_of(&state.committed.as_ref()?.etag).then_some(kept)?
        };
        Some(kept.read(range).await.map(ReadBytes::from))
    }
}

fn tell_too_large(place: &Place, size: u64) {
    let key = format!("{}{}", place.folder.prefix, place.name);
    tracing::warn!(
        key,
        size,
        "too large to be kept for those who have it open while it is removed; they get ESTALE"
    );
}

fn tell_not_kept(place: &Place, error: &Error) {
    let key = format!("{}{}", place.folder.prefix, place.name);
    tracing::warn!(key, %error, "not kept for those who have it open while it is removed; they get ESTALE");
}

/// What those who have a file open may want of it once it is gone from S3; `None` where nobody does, or it is all local.
fn needed(file: &OpenFile) -> Option<(Place, ObjectMeta)> {
    let state = file.state();
    if state.handles == 0 {
        return None;
    }
    let version = match &state.session {
        Some(session) if !session.shows_base() => None,
        Some(session) => session.version(),
        None => state.committed.clone(),
    };
    state.place.clone().zip(version).filter(|(_, meta)| meta.size > 0)
}

/// What is fetched for the sake of readers who may not exist: `rm` waits for it, a second or two where S3 is near.
pub(super) const KEPT_BYTES_MAX: u64 = 256 << 20;

const PIECE_BYTES: u32 = 1 << 20;
