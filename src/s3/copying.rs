//! Copies inside S3, also from one bucket to another.
//!
//! CopyObject takes up to 5 GB. Above that each part is copied by a request of its own, and S3 works on them side by
//! side; one after the other, a terabyte would take an hour. A server that cannot copy parts has them sent
//! through here, one at a time, as each is in memory meanwhile.

use std::sync::Arc;

use aws_sdk_s3::types::MetadataDirective;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::task::JoinSet;

use super::concessions::Concession;
use super::conditions::Writing;
use super::customer_key::source_keyed;
use super::error::{S3Error, S3ErrorKind};
use super::gaps::Gap;
use super::object::{ByteRange, ETag, NewObject, ObjectMeta, Precondition, STANDARD, limits};
use super::put::{Body, conceded, conditional, metadata, owned};
use super::{Gateway, Part, Upload};
use crate::name::ObjectKey;

/// The version of an object that is copied.
#[derive(Debug, Clone)]
struct Original {
    gateway: Arc<Gateway>,
    key: ObjectKey,
    meta: ObjectMeta,
}

/// A copy that is to be made.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    original: &'a Original,
    /// Where it is to lie.
    key: &'a ObjectKey,
    /// What it is to say about itself; `None` for what the original says.
    new: Option<&'a NewObject>,
    /// Of what is there.
    condition: &'a Precondition,
}

impl Gateway {
    /// Copies one version of an object inside S3, in parts where it is too large for one request.
    ///
    /// `new` replaces the description, `None` keeps the source's, its storage class included. `source` may be another
    /// bucket.
    ///
    /// # Errors
    /// [`S3ErrorKind::ConditionFailed`] when the source is another version by now, or when
    /// `condition` on the target does not hold.
    pub async fn copy(
        self: &Arc<Self>,
        source: &Arc<Self>,
        source_key: &ObjectKey,
        source_meta: &ObjectMeta,
        key: &ObjectKey,
        new: Option<&NewObject>,
        condition: &Precondition,
    ) -> Result<ETag, S3Error> {
        let original =
            Original { gateway: Arc::clone(source), key: source_key.clone(), meta: source_meta.clone() };
        let wanted = Wanted { original: &original, key, new, condition };
        if source_meta.size > limits::PART_BYTES_MAX {
            return self.copy_in_parts(wanted).await;
        }
        let condition = match wanted.asks_of_the_source(self) && !self.keeps_to_on_copies(condition) {
            true => &Precondition::Whatever,
            false => condition,
        };
        let wanted = Wanted { condition, ..wanted };
        let wish = self.wish(Writing::Copy, false, condition);
        let etag = self.conceding(wish, |concession| self.copy_if_it_holds(wanted, concession)).await?;
        if !self.wants_proof(Writing::Copy, condition, &etag, source_meta.size) {
            return Ok(etag);
        }
        let again = self.copy_once(wanted, self.known_concession(wish)).await;
        // That the source is another by now is answered in the same words.
        if again.is_err() && !source.head(source_key).await.is_ok_and(|now| now.etag == source_meta.etag) {
            return Ok(etag);
        }
        Ok(self.prove(Writing::Copy, key, condition, etag, again).await)
    }

    async fn copy_if_it_holds(&self, wanted: Wanted<'_>, concession: Concession) -> Result<ETag, S3Error> {
        self.look_first(Writing::Copy, wanted.key, wanted.condition).await?;
        self.copy_once(wanted, concession).await
    }

    async fn copy_once(&self, wanted: Wanted<'_>, concession: Concession) -> Result<ETag, S3Error> {
        let Wanted { original, key, new, condition } = wanted;
        let request = self.request("CopyObject", Some(key.as_str()));
        let _permit = self.permit().await;
        let call = self.clients.copies.copy_object().bucket(self.bucket.as_str()).key(key.as_str());
        // A copy keeps nothing of its source's class by itself.
        let class = match new {
            Some(new) => new.storage_class.clone(),
            None => Some(self.class_of_copy(original)),
        };
        let call = owned!(call, &self.rules, class.as_deref());
        let call = conceded!(conditional!(call, condition), concession)
            .copy_source(original.gateway.copy_source(&original.key))
            .copy_source_if_match(original.meta.etag.as_str())
            .set_expected_source_bucket_owner(original.gateway.rules.expected_bucket_owner.clone())
            .set_request_payer(self.rules.request_payer().or_else(|| original.gateway.rules.request_payer()));
        let call = source_keyed!(call, original.gateway.rules);
        let call = match new {
            None => call.metadata_directive(MetadataDirective::Copy),
            Some(new) => call
                .metadata_directive(MetadataDirective::Replace)
                .set_content_type(new.content_type.clone())
                .set_metadata(Some(metadata(&new.user))),
        };
        let output = call.send().await.map_err(|error| self.failed(request.clone(), &error))?;
        self.etag_of(request, output.copy_object_result.and_then(|result| result.e_tag))
    }

    /// Whether the server can copy parts, as far as is known.
    pub fn copies_parts(&self) -> bool {
        !self.gaps.has(Gap::PartCopy)
    }

    async fn copy_in_parts(self: &Arc<Self>, wanted: Wanted<'_>) -> Result<ETag, S3Error> {
        let Wanted { original, key, new, condition } = wanted;
        let described = match new {
            Some(new) => new.clone(),
            None => self.description(original).await?,
        };
        loop {
            let is_relayed = !self.copies_parts();
            let upload = self.begin_upload(key, &described).await?;
            let outcome = match original.parts(&upload, is_relayed).await {
                Ok(parts) => upload.complete(parts, condition).await,
                Err(error) => Err((error, upload)),
            };
            match outcome {
                Ok(etag) => return Ok(etag),
                Err((error, upload)) => {
                    give_up(upload).await;
                    // That it cannot copy parts, the server says to the first of them.
                    let is_news = error.kind() == S3ErrorKind::Unsupported && !self.copies_parts();
                    if is_relayed || !is_news {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// What the source says about itself, for a copy that cannot be told to keep it.
    async fn description(&self, original: &Original) -> Result<NewObject, S3Error> {
        let Original { gateway: source, key, meta } = original;
        let details = match &meta.details {
            Some(details) => Arc::clone(details),
            None => source.head(key).await?.details.unwrap_or_default(),
        };
        Ok(NewObject {
            user: details.user.clone(),
            content_type: details.content_type.clone(),
            storage_class: Some(self.class_of_copy(original)),
        })
    }

    /// The class of an object that moves: it stays as it is, unless the settings of another bucket want otherwise.
    fn class_of_copy(&self, Original { gateway: source, meta, .. }: &Original) -> String {
        let moves = source.bucket != self.bucket;
        let wanted =
            self.rules.storage_class.as_ref().filter(|_| moves).map(|class| class.as_str().to_owned());
        wanted.or_else(|| meta.storage_class.clone()).unwrap_or_else(|| STANDARD.to_owned())
    }

    /// The header that names a source of a copy: percent-encoded as a whole (S3 API reference,
    /// CopyObject), which the SDK leaves to us.
    pub(super) fn copy_source(&self, key: &ObjectKey) -> String {
        let (bucket, key) = (self.bucket.as_str(), key.as_str());
        let source =
            if self.bucket.is_arn() { format!("{bucket}/object/{key}") } else { format!("{bucket}/{key}") };
        utf8_percent_encode(&source, KEY_ENCODING).to_string()
    }
}

impl Wanted<'_> {
    /// Whether the target is the source, and the condition on the one says what that on the other does.
    fn asks_of_the_source(&self, target: &Gateway) -> bool {
        let Original { gateway: source, key, meta } = self.original;
        let is_onto_itself = source.bucket == target.bucket && key == self.key;
        is_onto_itself && *self.condition == Precondition::MustMatch(meta.etag.clone())
    }
}

impl Original {
    /// Makes all parts of the upload.
    async fn parts(&self, upload: &Upload, is_relayed: bool) -> Result<Vec<Part>, S3Error> {
        let at_once = if is_relayed { 1 } else { PARTS_AT_ONCE };
        let (mut making, mut parts) = (JoinSet::new(), Vec::new());
        for (number, range) in (1..).zip(self.ranges(is_relayed)) {
            if making.len() >= at_once {
                parts.extend(joined(making.join_next().await)?);
            }
            let (original, upload) = (self.clone(), upload.clone());
            making.spawn(async move { original.part(&upload, number, range, is_relayed).await });
        }
        // Should one fail, the others are dropped with the set.
        while let Some(made) = making.join_next().await {
            parts.extend(joined(Some(made))?);
        }
        Ok(parts)
    }

    fn ranges(&self, is_relayed: bool) -> impl Iterator<Item = ByteRange> + use<> {
        let size = self.meta.size;
        let part_bytes_least = if is_relayed { RELAYED_PART_BYTES } else { COPY_PART_BYTES };
        let part_bytes = part_bytes_least.max(size.div_ceil(limits::PARTS_MAX));
        (0..size)
            .step_by(usize::try_from(part_bytes).unwrap_or(usize::MAX))
            .map(move |start| ByteRange { start, end: (start + part_bytes).min(size) })
    }

    async fn part(
        &self,
        upload: &Upload,
        number: u32,
        range: ByteRange,
        is_relayed: bool,
    ) -> Result<Part, S3Error> {
        let version = &self.meta.etag;
        if !is_relayed {
            return upload.copy_part_from(number, &self.gateway, &self.key, version, range).await;
        }
        let pieces = self.gateway.fetch(&self.key, range, version).await?;
        upload.put_part(number, Body::from(pieces)).await
    }
}

fn joined(
    made: Option<Result<Result<Part, S3Error>, tokio::task::JoinError>>,
) -> Result<Option<Part>, S3Error> {
    match made {
        Some(Ok(part)) => part.map(Some),
        Some(Err(error)) => match error.try_into_panic() {
            // A bug of ours ends the operation.
            Ok(panic) => std::panic::resume_unwind(panic),
            // Nobody but the end of the runtime stops these tasks, and then nobody waits for them.
            Err(_) => Ok(None),
        },
        None => Ok(None),
    }
}

/// Abort may be denied; then a lifecycle rule cleans up.
async fn give_up(upload: Upload) {
    if let Err(error) = upload.abort().await {
        tracing::debug!(%error, "an upload could not be aborted");
    }
}

/// Copies of parts under way at once. S3 makes them by itself, at some 100 MB/s each.
const PARTS_AT_ONCE: usize = 32;

/// 64 MiB: what is relayed is in memory meanwhile, one part at a time.
const RELAYED_PART_BYTES: u64 = 64 << 20;

/// 256 MiB: few enough requests, and each small enough to be answered within its patience.
const COPY_PART_BYTES: u64 = 256 << 20;

/// What AWS's own signer leaves as it is, and the slash.
const KEY_ENCODING: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
