//! How the bytes of an upload are guarded on their way, and what to do about servers that refuse it.
//!
//! AWS takes CRC64NVME over whole objects, also multipart ones, and the unsigned form of the
//! payload, in which the signature covers the checksum and TLS the rest. Hashing every byte with
//! SHA-256 for the signature instead costs a second of processor time per GiB. Other servers know
//! less. There is a ladder of forms from the best down to what any server takes; a server that
//! answers a form with "I don't know this" is offered the next one, and what it then accepts is
//! remembered for the life of the mount.

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType};

use super::error::{S3Error, S3ErrorKind};
use super::gaps::Gap;

/// One form in which uploads are guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    checksum: Checksum,
    /// Whether the signature covers a SHA-256 of the payload.
    pub(super) signs_payload: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checksum {
    Crc64Nvme,
    Crc32,
    None,
}

impl Form {
    /// The algorithm to name in PutObject, CreateMultipartUpload and UploadPart.
    pub(super) fn algorithm(self) -> Option<ChecksumAlgorithm> {
        match self.checksum {
            Checksum::Crc64Nvme => Some(ChecksumAlgorithm::Crc64Nvme),
            Checksum::Crc32 => Some(ChecksumAlgorithm::Crc32),
            Checksum::None => None,
        }
    }

    /// What the checksum of a multipart object covers; CRC64NVME knows the whole object only.
    pub(super) fn kind(self) -> Option<ChecksumType> {
        (self.checksum == Checksum::Crc64Nvme).then_some(ChecksumType::FullObject)
    }

    /// Whether the SDK must be kept from adding a checksum of its own choice.
    pub(super) fn forgoes_checksum(self) -> bool {
        self.checksum == Checksum::None
    }

    /// What a server lacks that takes this form and none better.
    pub(super) fn gaps(self) -> Vec<Gap> {
        let checksum = (self.checksum != Checksum::Crc64Nvme).then_some(Gap::Checksum);
        checksum.into_iter().chain(self.signs_payload.then_some(Gap::UnsignedPayload)).collect()
    }

    /// The next form to offer to a server that refused this one.
    pub(super) fn next(self) -> Option<Self> {
        let at = LADDER.iter().position(|form| *form == self)?;
        LADDER.get(at + 1).copied()
    }
}

/// The form that this server is known, or still hoped, to accept.
#[derive(Debug, Default)]
pub(super) struct Integrity(AtomicUsize);

impl Integrity {
    pub(super) fn form(&self) -> Form {
        LADDER[self.0.load(Ordering::Relaxed)]
    }

    /// Remembers a form that was accepted after better ones had been refused.
    pub(super) fn settle(&self, form: Form) {
        let Some(at) = LADDER.iter().position(|candidate| *candidate == form) else { return };
        self.0.fetch_max(at, Ordering::Relaxed);
    }
}

/// Whether a refusal may be about the form, so that another one is worth a try.
///
/// Checked by code, never by text; [`Integrity::settle`] is called only when the next form was
/// accepted, so a refusal with another reason changes nothing.
pub(super) fn may_be_about_form(error: &S3Error) -> bool {
    error.kind() == S3ErrorKind::Unsupported
        || matches!(
            error.code(),
            Some(
                "InvalidRequest"
                    | "InvalidArgument"
                    | "InvalidDigest"
                    | "BadDigest"
                    | "XAmzContentSHA256Mismatch"
                    | "XAmzContentChecksumMismatch"
                    | "SignatureDoesNotMatch"
            )
        )
}

const LADDER: [Form; 4] = [
    Form { checksum: Checksum::Crc64Nvme, signs_payload: false },
    Form { checksum: Checksum::Crc32, signs_payload: false },
    Form { checksum: Checksum::Crc32, signs_payload: true },
    Form { checksum: Checksum::None, signs_payload: true },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_leads_down_and_never_up_again() {
        let integrity = Integrity::default();
        let best = integrity.form();
        let second = best.next().expect("there are four");
        let third = second.next().expect("there are four");
        integrity.settle(third);
        integrity.settle(second);
        assert_eq!(integrity.form(), third);
        assert_eq!(third.next().and_then(Form::next), None);
    }
}
