//! Bytes of a file that is being written: its own, those of its base, zeros.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Session;
use crate::error::Result;
use crate::s3::S3ErrorKind;
use crate::s3::object::{ByteRange, ETag, ObjectMeta};
use crate::write::commit;
use crate::write::content::Home;
use crate::write::fetch::fetch;

impl Session {
    /// Reads up to `size` bytes at `offset`: our own where we have written, else those of the base.
    ///
    /// # Errors
    /// [`Kind::Changed`](crate::error::Kind::Changed) when bytes of the base are needed and it is no longer there.
    pub async fn read(self: &Arc<Self>, offset: u64, size: u64) -> Result<Vec<Bytes>> {
        let range = ByteRange { start: offset, end: offset.saturating_add(size) };
        loop {
            let (segments, target, base, kept, releases) = {
                let core = self.core.lock();
                core.check()?;
                let (target, base) = (core.target.clone(), core.content.base().cloned());
                let releases = core.content.releases();
                (core.content.segments(range), target, base, core.kept.clone(), releases)
            };
            let mut pieces = Vec::new();
            let mut replaced = false;
            for segment in segments {
                match (segment.home, &base) {
                    (Home::Local(file), _) => match commit::read_staged(file, segment.range).await {
                        Ok(piece) => pieces.push(piece),
                        Err(error) => {
                            // The session may have ended meanwhile, and taken the file along.
                            self.core.lock().check()?;
                            return Err(error);
                        }
                    },
                    (Home::Released, _) => {
                        self.rescue(segment.range).await?;
                        replaced = true;
                        break;
                    }
                    (Home::Base, Some(base)) => {
                        if let Some(kept) = kept.as_ref().filter(|kept| kept.is_of(&base.etag)) {
                            pieces.push(kept.read(segment.range).await?);
                            continue;
                        }
                        match fetch(&target.gateway, &target.key, segment.range, &base.etag).await {
                            Ok(fetched) => pieces.extend(fetched),
                            Err(error) if error.kind() == S3ErrorKind::ConditionFailed => {
                                replaced = self.has_replaced(&base.etag).await;
                                if !replaced {
                                    return Err(error.into());
                                }
                            }
                            Err(error) => return Err(error.into()),
                        }
                    }
                    (Home::Zeros | Home::Base, _) => pieces.push(zeros(segment.range)),
                }
            }
            // Something that was released meanwhile may have been read as a hole.
            if !replaced && self.core.lock().content.releases() == releases {
                return Ok(pieces);
            }
        }
    }

    /// The version that S3 has, and its bytes, if the file is no larger than that and all of them are here.
    pub fn small(&self, bytes_max: u64) -> Option<(ObjectMeta, Bytes)> {
        let core = self.core.lock();
        let version = core.content.base().filter(|version| version.size <= bytes_max)?.clone();
        if core.content.is_dirty() || core.content.has_overlay() || version.size == 0 {
            return None;
        }
        let mut bytes = BytesMut::new();
        for segment in core.content.segments(ByteRange { start: 0, end: version.size }) {
            match segment.home {
                Home::Local(file) => bytes.extend_from_slice(&file.read(segment.range).ok()?),
                Home::Zeros => bytes.resize(bytes.len() + usize::try_from(segment.range.len()).ok()?, 0),
                Home::Released | Home::Base => return None,
            }
        }
        Some((version, bytes.freeze()))
    }

    /// Whether it was a commit of ours that has put another version in the place of this one. It may have taken effect
    /// while its answer is still on the way.
    async fn has_replaced(&self, version: &ETag) -> bool {
        let is_other = || self.version().is_some_and(|now| now.etag != *version);
        if !is_other() {
            drop(self.turn.lock().await);
        }
        is_other()
    }
}

fn zeros(range: ByteRange) -> Bytes {
    vec![0; usize::try_from(range.len()).unwrap_or(0)].into()
}
