//! Set-aside files of which some bytes are only in the parts of an unfinished upload.
//!
//! Above `--staging-size`, and where the disk is full, parts that have left are taken out of the staging directory
//! (`session/releasing.rs`). No request reads a part. So such a file can be had in one way: its upload is completed, with
//! the parts that left as they left and what is here for the rest, and becomes the object that it was begun for. It can be
//! no other: an upload has its bucket and its key from its beginning (S3 API reference, CreateMultipartUpload).

use std::sync::Arc;

use super::{AsideFile, Rescue};
use crate::error::{Error, Kind, Result};
use crate::name::ObjectKey;
use crate::s3::Gateway;
use crate::write::commit::BegunUpload;
use crate::write::journal::{Phase, Record};
use crate::write::ranges::RangeSet;

impl AsideFile {
    /// How many of its bytes are only in parts of an unfinished upload.
    pub fn released_bytes(&self) -> u64 {
        self.released().iter().map(|range| range.len()).sum()
    }

    pub(super) fn released(&self) -> RangeSet {
        let released = self.record.as_ref().and_then(|record| record.released.as_ref());
        released.map(|released| released.ranges.clone()).unwrap_or_default()
    }

    /// The upload that has what is not here; `None` where nothing is missing.
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] where it cannot become what is wished, with the reason.
    pub(super) fn begun(&self, gateway: &Arc<Gateway>, rescue: &Rescue) -> Result<Option<BegunUpload>> {
        let Some(Record { released: Some(released), bucket, key, upload, .. }) = &self.record else {
            return Ok(None);
        };
        let cannot = |why: String| {
            let bytes = self.released_bytes();
            let what = format!("{}: {bytes} bytes are only in parts of an unfinished upload", self.name);
            Error::new(Kind::InvalidArgument, format!("{what}, {why}"))
        };
        let Some(id) = upload else { return Err(cannot("and which one is not known".to_owned())) };
        let Some(seal) = self.seal() else {
            return Err(cannot(format!(
                "{id}, and what of that is still as it left is not known: the mount died while the file was written"
            )));
        };
        let goes_elsewhere = matches!(rescue, Rescue::As(other) if other.as_str() != key);
        if goes_elsewhere || gateway.bucket().as_str() != bucket {
            return Err(cannot(format!(
                "{id}, which can become s3://{bucket}/{key} and nothing else; bring it there, and copy it from there"
            )));
        }
        let upload = gateway.resume_upload(&ObjectKey::parse(key.as_str())?, id.clone());
        Ok(Some(BegunUpload { upload, object: seal.object(), parts: released.parts.clone() }))
    }

    /// The id that the object has in its metadata from the beginning of its upload, if that is known.
    pub(super) fn commit_id(&self) -> Option<String> {
        let record = self.record.as_ref().filter(|record| record.released.is_some())?;
        match (&record.phase, &record.aside) {
            (Phase::Sealed(seal), _) | (Phase::Open, Some(seal)) => Some(seal.commit_id.clone()),
            (Phase::Open, None) => None,
        }
    }
}
