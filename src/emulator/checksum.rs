//! Digests of what arrives: the MD5 behind every ETag, and the one checksum beside it.

use std::fmt::Write as _;

use aws_smithy_types::base64;
use crc_fast::CrcAlgorithm;
use s3s::crypto::{Checksum as _, Md5, Sha1, Sha256};

use super::content::Content;

/// The checksums S3 knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// CRC-32 as in Ethernet and zip.
    Crc32,
    /// CRC-32 with Castagnoli's polynomial.
    Crc32c,
    /// CRC-64 as in NVMe; what S3 computes when nothing was asked for.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// Whether a checksum of an upload in parts covers the bytes or the parts' checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// The bytes of the whole object, however it was uploaded.
    FullObject,
    /// The checksums of the parts; the value carries their number.
    Composite,
}

/// A checksum as S3 stores and shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// Which one.
    pub algorithm: Algorithm,
    /// What it covers.
    pub coverage: Coverage,
    /// In base64; composite ones end in `-` and the number of parts.
    pub value: String,
}

/// Where ETags come from. Clients may rely on neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tagging {
    /// The MD5 of the bytes, as for objects encrypted with S3's own key.
    #[default]
    Md5,
    /// Chance, as good as for objects encrypted with KMS: the same bytes written again have
    /// another ETag. It also saves the time that an MD5 takes, which is most of a write's.
    Opaque,
}

/// Both digests of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// What the ETag spells: the MD5, or chance.
    pub tag: [u8; 16],
    /// The other checksum's algorithm.
    pub algorithm: Algorithm,
    /// The other checksum, big-endian.
    pub checksum: Vec<u8>,
}

/// Takes bytes as they come and knows their digests at the end.
pub struct Digester {
    md5: Option<Md5>,
    algorithm: Algorithm,
    checksum: State,
}

enum State {
    Crc(crc_fast::Digest),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// Returns the name S3 uses in headers and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// Returns the algorithm of this name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// Returns the header or trailer that carries the value.
    pub fn header(self) -> String {
        format!("x-amz-checksum-{}", self.name().to_ascii_lowercase())
    }

    /// Returns what a checksum of an upload in parts covers when nothing else is asked for.
    pub fn coverage_default(self) -> Coverage {
        match self {
            Self::Crc64Nvme => Coverage::FullObject,
            _ => Coverage::Composite,
        }
    }

    /// Whether S3 offers the combination.
    pub fn offers(self, coverage: Coverage) -> bool {
        match coverage {
            Coverage::FullObject => self.crc().is_some(),
            Coverage::Composite => self != Self::Crc64Nvme,
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

impl Digester {
    /// Starts with nothing.
    pub fn new(algorithm: Algorithm, tagging: Tagging) -> Self {
        let checksum = match (algorithm.crc(), algorithm) {
            (Some(crc), _) => State::Crc(crc_fast::Digest::new(crc)),
            (None, Algorithm::Sha1) => State::Sha1(Sha1::new()),
            (None, _) => State::Sha256(Sha256::new()),
        };
        let md5 = (tagging == Tagging::Md5).then(Md5::new);
        Self { md5, algorithm, checksum }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        match &mut self.checksum {
            State::Crc(crc) => crc.update(bytes),
            State::Sha1(sha) => sha.update(bytes),
            State::Sha256(sha) => sha.update(bytes),
        }
    }

    /// Returns the digests of all bytes taken.
    pub fn finish(self) -> Digests {
        let checksum = match self.checksum {
            State::Crc(crc) => crc_bytes(self.algorithm, crc.finalize()),
            State::Sha1(sha) => sha.finalize().to_vec(),
            State::Sha256(sha) => sha.finalize().to_vec(),
        };
        let tag = self.md5.map_or_else(|| fastrand::u128(..).to_be_bytes(), Md5::finalize);
        Digests { tag, algorithm: self.algorithm, checksum }
    }
}

impl Digests {
    /// Returns the digests of a content that is at hand.
    pub fn of(content: &Content, algorithm: Algorithm, tagging: Tagging) -> Self {
        let mut digester = Digester::new(algorithm, tagging);
        content.pieces().for_each(|piece| digester.update(piece));
        digester.finish()
    }

    /// Returns the ETag of an object uploaded in one request, without quotes.
    pub fn etag(&self) -> String {
        hex(&self.tag)
    }

    /// Returns the checksum as S3 shows it for an object uploaded in one request.
    pub fn checksum(&self) -> Checksum {
        Checksum {
            algorithm: self.algorithm,
            coverage: Coverage::FullObject,
            value: base64::encode(&self.checksum),
        }
    }
}

/// Returns the ETag of an object uploaded in parts: the MD5 of the parts' MD5s, and their number.
pub fn multipart_etag<'a>(parts: impl ExactSizeIterator<Item = &'a Digests>) -> String {
    let count = parts.len();
    let mut md5 = Md5::new();
    parts.for_each(|part| md5.update(&part.tag));
    format!("{}-{count}", hex(&md5.finalize()))
}

/// Returns the checksum of an object from those of its parts, given with their sizes.
///
/// # Panics
///
/// If there are no parts, they differ in algorithm, or S3 does not offer the combination.
pub fn multipart_checksum(parts: &[(&Digests, u64)], coverage: Coverage) -> Checksum {
    let algorithm = parts.first().expect("an upload has parts").0.algorithm;
    assert!(parts.iter().all(|(part, _)| part.algorithm == algorithm), "one upload, one algorithm");
    assert!(algorithm.offers(coverage), "checked when the upload was created");
    let value = match (coverage, algorithm.crc()) {
        (Coverage::FullObject, Some(crc)) => {
            let combined = parts.iter().fold(0, |sum, (part, size)| {
                // CRCs of two halves make the CRC of the whole, without the bytes.
                crc_fast::checksum_combine(crc, sum, crc_number(&part.checksum), *size)
            });
            base64::encode(crc_bytes(algorithm, combined))
        }
        _ => {
            let mut digester = Digester::new(algorithm, Tagging::Opaque);
            parts.iter().for_each(|(part, _)| digester.update(&part.checksum));
            format!("{}-{}", base64::encode(digester.finish().checksum), parts.len())
        }
    };
    Checksum { algorithm, coverage, value }
}

fn crc_bytes(algorithm: Algorithm, crc: u64) -> Vec<u8> {
    match algorithm {
        Algorithm::Crc64Nvme => crc.to_be_bytes().to_vec(),
        _ => crc.to_be_bytes()[4..].to_vec(),
    }
}

fn crc_number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Returns the bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn digests(bytes: &'static [u8], algorithm: Algorithm) -> Digests {
        Digests::of(&Content::from(Bytes::from_static(bytes)), algorithm, Tagging::Md5)
    }

    #[test]
    fn known_values_come_out() {
        // The check values of the CRC catalogue and of md5sum and its kin, over "123456789".
        let known = [
            (Algorithm::Crc32, "y/Q5Jg=="),
            (Algorithm::Crc32c, "4waSgw=="),
            (Algorithm::Crc64Nvme, "rosUhgp5mIg="),
            (Algorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="),
            (Algorithm::Sha256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
        ];
        for (algorithm, value) in known {
            assert_eq!(digests(b"123456789", algorithm).checksum().value, value, "{algorithm:?}");
        }
        assert_eq!(digests(b"123456789", Algorithm::Crc32).etag(), "25f9e794323b453885f5181f1b624d0b");
    }

    #[test]
    fn a_full_object_checksum_does_not_depend_on_the_parts() {
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let (head, tail) = (digests(b"1234", algorithm), digests(b"56789", algorithm));
            let combined = multipart_checksum(&[(&head, 4), (&tail, 5)], Coverage::FullObject);
            assert_eq!(combined, digests(b"123456789", algorithm).checksum());
        }
    }

    #[test]
    fn a_composite_checksum_counts_its_parts() {
        let part = digests(b"123456789", Algorithm::Sha256);
        let composite = multipart_checksum(&[(&part, 9), (&part, 9)], Coverage::Composite);
        assert!(composite.value.ends_with("-2"), "{composite:?}");
    }
}
