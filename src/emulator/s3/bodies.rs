//! Request bodies: read whole, hashed on the way, and held against what was promised of them.

use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use s3s::dto::StreamingBlob;
use s3s::{Body, TrailingHeaders};

use super::Call;
use crate::emulator::checksum::{Algorithm, Digester, Digests, Tagging};
use crate::emulator::content::Content;
use crate::emulator::refusal::Refusal;

/// A request body that arrived whole and is what it was announced to be.
pub(super) struct Received {
    pub(super) content: Content,
    pub(super) digests: Digests,
}

impl<I> Call<I> {
    /// Reads and verifies a body. Without an announced checksum one of `algorithm` is computed.
    pub(super) async fn receive(
        &self,
        body: Option<StreamingBlob>,
        algorithm: Option<Algorithm>,
        tagging: Tagging,
    ) -> Result<Received, Refusal> {
        let announced = Announced::of(&self.headers)?;
        let algorithm = announced.algorithm().or(algorithm).unwrap_or(Algorithm::Crc64Nvme);
        let md5 = self.headers.get("content-md5").map(|value| value.to_str().unwrap_or_default());
        // An announced MD5 has to be computed, whatever the ETag is made of.
        let tagging = if md5.is_some() { Tagging::Md5 } else { tagging };
        let (content, digests) = read(body, Digester::new(algorithm, tagging)).await?;
        let expected = announced.value(self.admission.trailers.as_ref());
        if expected.is_some_and(|expected| expected != digests.checksum().value) {
            return Err(Refusal::bad_digest(algorithm.name()));
        }
        if md5.is_some_and(|expected| expected != aws_smithy_types::base64::encode(digests.tag)) {
            return Err(Refusal::bad_digest("Content-MD5"));
        }
        Ok(Received { content: content.compacted(), digests })
    }
}

/// The checksum a request promises: in a header, or in a trailer behind the body.
enum Announced {
    Nothing,
    Header(Algorithm, String),
    Trailer(Algorithm),
}

impl Announced {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let values: Vec<_> = Algorithm::ALL
            .into_iter()
            .filter_map(|algorithm| {
                Some((algorithm, headers.get(algorithm.header())?.to_str().ok()?.to_owned()))
            })
            .collect();
        let trailer = headers.get("x-amz-trailer").and_then(|value| value.to_str().ok());
        let trailer = trailer.and_then(|name| {
            name.trim().to_ascii_lowercase().strip_prefix("x-amz-checksum-").and_then(Algorithm::parse)
        });
        match (&*values, trailer) {
            ([], None) if headers.contains_key("x-amz-sdk-checksum-algorithm") => {
                Err(Refusal::invalid_request(
                    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
                 headers were found.",
                ))
            }
            ([], None) => Ok(Self::Nothing),
            ([], Some(algorithm)) => Ok(Self::Trailer(algorithm)),
            ([(algorithm, value)], None) => Ok(Self::Header(*algorithm, value.clone())),
            _ => Err(Refusal::invalid_request(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            )),
        }
    }

    fn algorithm(&self) -> Option<Algorithm> {
        match self {
            Self::Nothing => None,
            Self::Header(algorithm, _) | Self::Trailer(algorithm) => Some(*algorithm),
        }
    }

    /// The promised value; that of a trailer is there once the body has been read.
    fn value(&self, trailers: Option<&TrailingHeaders>) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Header(_, value) => Some(value.clone()),
            Self::Trailer(algorithm) => {
                let trailers = trailers.and_then(TrailingHeaders::take).unwrap_or_default();
                // A promised trailer that never came is as wrong as one with another value.
                let value = trailers.get(algorithm.header()).and_then(|value| value.to_str().ok());
                Some(value.unwrap_or_default().to_owned())
            }
        }
    }
}

/// Returns the checksum that a request promises in a header.
pub(super) fn announced_checksum(headers: &HeaderMap) -> Option<(Algorithm, String)> {
    Algorithm::ALL
        .into_iter()
        .find_map(|algorithm| Some((algorithm, headers.get(algorithm.header())?.to_str().ok()?.to_owned())))
}

async fn read(body: Option<StreamingBlob>, mut digester: Digester) -> Result<(Content, Digests), Refusal> {
    let mut body = Body::from(body.unwrap_or_else(|| StreamingBlob::from(Body::empty())));
    let (mut pieces, mut received) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken_body(&*error))?;
        let Ok(bytes) = frame.into_data() else { continue };
        received += bytes.len() as u64;
        if received > PUT_BYTES_MAX {
            return Err(Refusal::new(
                400,
                "EntityTooLarge",
                "Your proposed upload exceeds the maximum allowed object size.",
            ));
        }
        digester.update(&bytes);
        pieces.push(bytes);
    }
    Ok((Content::from_pieces(pieces), digester.finish()))
}

/// What a body that could not be read to its end means.
fn broken_body(error: &(dyn std::error::Error + 'static)) -> Refusal {
    // s3s keeps the types of these errors to itself; their texts are all there is to tell them apart.
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        return Refusal::new(
            400,
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        );
    }
    if text.contains("SignatureMismatch") {
        return Refusal::new(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        );
    }
    Refusal::new(400, "IncompleteBody", format!("The request body could not be read: {text}"))
}

/// Computes digests away from the threads that serve requests: a large copy takes seconds.
pub(super) async fn digest(content: Content, algorithm: Algorithm, tagging: Tagging) -> Digests {
    if content.size() < DIGEST_INLINE_BYTES_MAX {
        return Digests::of(&content, algorithm, tagging);
    }
    let digests = tokio::task::spawn_blocking(move || Digests::of(&content, algorithm, tagging)).await;
    digests.expect("computing a digest does not panic")
}

pub(super) fn parse_algorithm(name: &str) -> Result<Algorithm, Refusal> {
    Algorithm::parse(name)
        .ok_or_else(|| Refusal::invalid_request("Checksum algorithm provided is unsupported."))
}

/// The most one request can carry: 5 GiB.
const PUT_BYTES_MAX: u64 = 5 << 30;
/// A few milliseconds' worth of hashing.
const DIGEST_INLINE_BYTES_MAX: u64 = 1 << 20;
