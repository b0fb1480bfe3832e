//! Multipart uploads, and what it takes to complete one.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::{Attributes, Bucket, CannedAcl, Object, WriteCondition};
use crate::emulator::checksum::{Algorithm, Checksum, Coverage, Digests, multipart_checksum, multipart_etag};
use crate::emulator::content::Content;
use crate::emulator::encryption::Encryption;
use crate::emulator::identity::AccountId;
use crate::emulator::refusal::Refusal;

/// A multipart upload that is neither completed nor aborted.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The key it will become.
    pub key: String,
    /// The account that began it.
    pub writer: AccountId,
    /// The ARN of who began it.
    pub initiator: String,
    /// The ACL of the request that began it, if it carried one.
    pub acl: Option<CannedAcl>,
    /// What the object will carry.
    pub attributes: Attributes,
    /// What the object will be encrypted with.
    pub encryption: Encryption,
    /// The checksum asked for when it was begun.
    pub checksum: Option<(Algorithm, Coverage)>,
    /// When it was begun.
    pub initiated: SystemTime,
    /// The parts by number.
    pub parts: BTreeMap<u16, Part>,
}

/// A part of an upload.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its bytes.
    pub content: Content,
    /// Their digests: with the checksum the upload asked for, or else CRC-64.
    pub digests: Digests,
    /// When it arrived, in whole seconds.
    pub modified: SystemTime,
}

/// A request to complete an upload.
#[derive(Debug, Clone)]
pub struct Completion {
    /// The parts to use, in order.
    pub parts: Vec<PartClaim>,
    /// What must hold of the key.
    pub condition: WriteCondition,
    /// The checksum the client expects of the whole.
    pub checksum: Option<(Algorithm, String)>,
    /// The coverage the client expects that checksum to have.
    pub coverage: Option<Coverage>,
    /// The size the client expects of the whole.
    pub size: Option<u64>,
    /// The time of writing.
    pub now: SystemTime,
}

/// What the client of a completion says about a part.
#[derive(Debug, Clone)]
pub struct PartClaim {
    /// Its number.
    pub number: u16,
    /// Its ETag, without quotes.
    pub etag: Option<String>,
    /// Its checksum.
    pub checksum: Option<(Algorithm, String)>,
}

impl Completion {
    pub(super) fn assemble(&self, upload: &Upload, bucket: &Bucket) -> Result<Object, Refusal> {
        let parts = self.pick(upload)?;
        let digests: Vec<_> = parts.iter().map(|part| (&part.digests, part.content.size())).collect();
        let content = Content::concat(parts.iter().map(|part| &part.content));
        if self.size.is_some_and(|size| size != content.size()) {
            return Err(Refusal::invalid_request(
                "The provided 'x-amz-mp-object-size' header does not match what was computed.",
            ));
        }
        // Without a wish the parts carry S3's own choice, which covers the whole object.
        let coverage = upload.checksum.map_or(Coverage::FullObject, |(_, coverage)| coverage);
        let checksum = multipart_checksum(&digests, coverage);
        self.verify(&checksum)?;
        Ok(Object {
            owner: bucket.owner_for(upload.writer, upload.acl)?,
            acl: upload.acl.unwrap_or_default(),
            etag: multipart_etag(parts.iter().map(|part| &part.digests)),
            modified: self.now,
            attributes: upload.attributes.clone(),
            checksum: Some(checksum),
            part_sizes: parts.iter().map(|part| part.content.size()).collect(),
            encryption: upload.encryption.clone(),
            version_id: None,
            archive_status: None,
            restored: false,
            content,
        })
    }

    /// The parts that the client lists, each as it claims it to be.
    fn pick<'a>(&self, upload: &'a Upload) -> Result<Vec<&'a Part>, Refusal> {
        let rising = self.parts.windows(2).all(|pair| pair[0].number < pair[1].number);
        match &*self.parts {
            [] => return Err(Refusal::malformed_xml()),
            _ if !rising => return Err(Refusal::new(400, "InvalidPartOrder", PARTS_OUT_OF_ORDER)),
            _ => {}
        }
        let parts = self.parts.iter().map(|claim| claim.find(upload)).collect::<Result<Vec<_>, _>>()?;
        let all_but_last = &parts[..parts.len() - 1];
        if all_but_last.iter().any(|part| part.content.size() < PART_BYTES_MIN) {
            return Err(Refusal::new(400, "EntityTooSmall", PART_TOO_SMALL));
        }
        Ok(parts)
    }

    fn verify(&self, checksum: &Checksum) -> Result<(), Refusal> {
        let Some((algorithm, value)) = &self.checksum else { return Ok(()) };
        if self.coverage.is_some_and(|wanted| checksum.coverage != wanted) {
            return Err(Refusal::invalid_request("Checksum Type mismatch occurred."));
        }
        // The number of parts may be left out of a composite value.
        let sum = |value: &str| value.split('-').next().map(str::to_owned);
        let same = checksum.algorithm == *algorithm && sum(&checksum.value) == sum(value);
        if same { Ok(()) } else { Err(Refusal::bad_digest(algorithm.name())) }
    }
}

impl PartClaim {
    fn find<'a>(&self, upload: &'a Upload) -> Result<&'a Part, Refusal> {
        let invalid = || Refusal::new(400, "InvalidPart", INVALID_PART);
        let part = upload.parts.get(&self.number).ok_or_else(invalid)?;
        if self.etag.as_ref().is_some_and(|etag| *etag != part.digests.etag()) {
            return Err(invalid());
        }
        match (&self.checksum, upload.checksum) {
            // Sums of a kind the upload did not ask for were checked as the part arrived and are not kept.
            (Some((algorithm, value)), _)
                if *algorithm == part.digests.algorithm && *value != part.digests.checksum().value =>
            {
                Err(invalid())
            }
            (None, Some((algorithm, Coverage::Composite))) => Err(Refusal::invalid_request(format!(
                "The upload was created using a {} checksum. The complete request must include the checksum \
                 for each part. It was missing for part {} in the request.",
                algorithm.name().to_ascii_lowercase(),
                self.number,
            ))),
            _ => Ok(part),
        }
    }
}

/// The least a part may weigh, unless it is the last.
pub const PART_BYTES_MIN: u64 = 5 << 20;

const PARTS_OUT_OF_ORDER: &str =
    "The list of parts was not in ascending order. Parts must be ordered by part number.";
const PART_TOO_SMALL: &str = "Your proposed upload is smaller than the minimum allowed size";
const INVALID_PART: &str = "One or more of the specified parts could not be found.  The part may not have been \
                            uploaded, or the specified entity tag may not match the part's entity tag.";
