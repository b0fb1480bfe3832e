//! Bodies of requests, on their way in.
//!
//! The AWS SDKs send them `aws-chunked`: pieces with their length in front, and checksums behind the last one
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>). Nothing is verified: what comes
//! over the loopback is not damaged, and the work would be charged to whoever is measured.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};

use super::shape::Pace;

/// Receives a body whole, at the network's pace, without the wrapping of `aws-chunked`.
pub(crate) async fn receive(
    headers: &HeaderMap,
    mut body: Incoming,
    mut pace: Pace,
) -> Result<Bytes, hyper::Error> {
    let mut content = Vec::with_capacity(expected_bytes(headers));
    let mut unwrapping = is_chunked(headers).then(Unwrapping::default);
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        if let Some(due) = pace.pass(piece.len()) {
            tokio::time::sleep_until(due).await;
        }
        match &mut unwrapping {
            Some(unwrapping) => unwrapping.take(&piece, &mut content),
            None => content.extend_from_slice(&piece),
        }
    }
    Ok(content.into())
}

fn expected_bytes(headers: &HeaderMap) -> usize {
    let length = headers.get("x-amz-decoded-content-length").or_else(|| headers.get(CONTENT_LENGTH));
    let length: Option<usize> = length.and_then(|length| length.to_str().ok()?.parse().ok());
    length.unwrap_or(0).min(EXPECTED_BYTES_MAX)
}

fn is_chunked(headers: &HeaderMap) -> bool {
    let says = |name: &str, word: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains(word))
    };
    says(CONTENT_ENCODING.as_str(), "aws-chunked") || says("x-amz-content-sha256", "STREAMING-")
}

/// Where in the wrapping the next byte belongs. Frames may end anywhere, even inside a length.
#[derive(Debug, Default)]
struct Unwrapping {
    /// A line that has not ended yet: a length, a trailer, or the empty one after each piece.
    line: Vec<u8>,
    /// How much of the present piece is missing.
    piece_left: usize,
}

impl Unwrapping {
    fn take(&mut self, mut bytes: &[u8], content: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.piece_left > 0 {
                let (piece, rest) = bytes.split_at(self.piece_left.min(bytes.len()));
                content.extend_from_slice(piece);
                self.piece_left -= piece.len();
                bytes = rest;
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                return self.line.extend_from_slice(bytes);
            };
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.piece_left = length_in(&self.line).unwrap_or(0);
            self.line.clear();
        }
    }
}

/// Reads `1f0;chunk-signature=..`. Trailers are `name:value` and empty lines are empty: neither is a length.
fn length_in(line: &[u8]) -> Option<usize> {
    let line = str::from_utf8(line).ok()?;
    usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()
}

/// A header alone must not make the server reserve all the memory there is; S3 takes 5 GiB in one request.
const EXPECTED_BYTES_MAX: usize = 5 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_is_taken_off_wherever_frames_end() {
        let wrapped =
            b"5;chunk-signature=ab\r\nhello\r\n2\r\n\r\n\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
        for step in 1..wrapped.len() {
            let (mut unwrapping, mut content) = (Unwrapping::default(), Vec::new());
            wrapped.chunks(step).for_each(|frame| unwrapping.take(frame, &mut content));
            assert_eq!(content, b"hello\r\n", "in frames of {step} bytes");
        }
    }
}
