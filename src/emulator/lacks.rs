//! Servers that are not AWS: what they lack, and how they show it.
//!
//! Each [`Lack`] is the manner of some server that people use. A lacking server either refuses
//! (501 `NotImplemented`; 400 `InvalidArgument` for a value that it does not know) or, as HTTP has it for
//! headers and parameters nobody has heard of, goes on as if they were not there. Both happen here
//! before a request is understood, so that everything behind this stays S3.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::{HeaderMap, HeaderName};
use hyper::{Method, Uri};
use parking_lot::RwLock;

use super::refusal::Refusal;

/// Something that a server does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// Conditions on writes are not looked at.
    IgnoresConditions,
    /// Conditions on writes are refused.
    RefusesConditions,
    /// Conditions on deletions are not looked at, others are.
    IgnoresConditionsOfDeletion,
    /// Conditions on deletions are refused, others are not.
    RefusesConditionsOfDeletion,
    /// Conditions on what completes an upload are not looked at, others are.
    IgnoresConditionsOfCompletion,
    /// ACLs are refused.
    RefusesAcl,
    /// The checksum CRC64NVME is refused.
    RefusesCrc64Nvme,
    /// All checksums are refused.
    RefusesChecksums,
    /// Payloads that are not part of the signature are refused.
    RefusesUnsignedPayload,
    /// There is no `DeleteObjects`.
    NoDeleteObjects,
    /// There is no `UploadPartCopy`.
    NoPartCopy,
    /// Ranges of reads are not looked at.
    IgnoresRange,
    /// `encoding-type` is refused.
    RefusesUrlEncoding,
    /// `list-type=2` is not looked at: every listing is one of the first version.
    NoListV2,
    /// There is no `HeadBucket`.
    NoHeadBucket,
}

/// What the server of a world lacks.
#[derive(Debug, Default)]
pub struct Lacks {
    lacks: RwLock<BTreeSet<Lack>>,
    refusals: AtomicU64,
}

impl Lacks {
    /// Takes something away from the server.
    pub fn add(&self, lack: Lack) {
        self.lacks.write().insert(lack);
    }

    /// Returns how many requests were refused for something that is lacking.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Leads a request past all that is lacking.
    pub(super) fn meet(
        &self,
        method: &Method,
        uri: &mut Uri,
        headers: &mut HeaderMap,
    ) -> Result<(), Refusal> {
        for lack in self.lacks.read().iter() {
            let met = Request { method, uri, headers }.meet(*lack);
            if let Err(refusal) = met {
                self.refusals.fetch_add(1, Ordering::Relaxed);
                return Err(refusal);
            }
        }
        Ok(())
    }
}

struct Request<'a> {
    method: &'a Method,
    uri: &'a mut Uri,
    headers: &'a mut HeaderMap,
}

impl Request<'_> {
    fn meet(mut self, lack: Lack) -> Result<(), Refusal> {
        let is_deletion = *self.method == Method::DELETE;
        let is_write = matches!(*self.method, Method::PUT | Method::POST);
        let refused = match lack {
            Lack::IgnoresConditions if is_write || is_deletion => return self.without(&CONDITIONS),
            Lack::IgnoresConditionsOfDeletion if is_deletion => return self.without(&CONDITIONS),
            Lack::IgnoresConditionsOfCompletion
                if is_write && self.asks("uploadId") && *self.method == Method::POST =>
            {
                return self.without(&CONDITIONS);
            }
            Lack::IgnoresRange => return self.without(&["range"]),
            Lack::NoListV2 => {
                return self.without_parameters(&["list-type", "continuation-token", "start-after"]);
            }
            Lack::RefusesConditions => {
                (is_write || is_deletion) && CONDITIONS.iter().any(|name| self.headers.contains_key(*name))
            }
            Lack::RefusesConditionsOfDeletion => is_deletion && self.headers.contains_key("if-match"),
            Lack::RefusesAcl => self.headers.contains_key("x-amz-acl"),
            Lack::RefusesCrc64Nvme if self.checksums().any(|named| named.contains("crc64nvme")) => {
                return Err(Refusal::invalid_argument("Unsupported checksum algorithm."));
            }
            Lack::RefusesChecksums if self.checksums().next().is_some() => {
                return Err(Refusal::invalid_argument("Unsupported header received for this API call."));
            }
            Lack::RefusesUnsignedPayload => {
                let hash = self.headers.get("x-amz-content-sha256").and_then(|hash| hash.to_str().ok());
                is_write && hash.is_some_and(|hash| hash.contains("UNSIGNED"))
            }
            Lack::NoDeleteObjects => *self.method == Method::POST && self.asks("delete"),
            Lack::NoPartCopy => self.headers.contains_key("x-amz-copy-source") && self.asks("partNumber"),
            Lack::RefusesUrlEncoding => self.asks("encoding-type"),
            Lack::NoHeadBucket => {
                *self.method == Method::HEAD && !self.uri.path().trim_matches('/').contains('/')
            }
            _ => false,
        };
        match refused {
            true => Err(Refusal::new(
                501,
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
            )),
            false => Ok(()),
        }
    }

    fn without(&mut self, names: &[&'static str]) -> Result<(), Refusal> {
        names.iter().for_each(|name| drop(self.headers.remove(HeaderName::from_static(name))));
        Ok(())
    }

    fn without_parameters(&mut self, names: &[&str]) -> Result<(), Refusal> {
        let Some(query) = self.uri.query() else { return Ok(()) };
        let is_kept = |pair: &&str| !names.contains(&name_of(pair));
        let rest: Vec<&str> = query.split('&').filter(is_kept).collect();
        let text = format!("{}?{}", self.uri.path(), rest.join("&"));
        *self.uri = text.parse().expect("a part of a URI is a URI");
        Ok(())
    }

    fn asks(&self, parameter: &str) -> bool {
        self.uri.query().is_some_and(|query| query.split('&').any(|pair| name_of(pair) == parameter))
    }

    /// Names and values of all headers that are about the checksum of an upload.
    fn checksums(&self) -> impl Iterator<Item = String> {
        let is_about = |name: &str| {
            (name.starts_with("x-amz-checksum-") && name != "x-amz-checksum-mode")
                || name == "x-amz-sdk-checksum-algorithm"
                || name == "x-amz-trailer"
        };
        // DeleteObjects has one too, which is about the list and no upload.
        let is_upload = !self.asks("delete");
        let named = self.headers.iter().filter(move |(name, _)| is_upload && is_about(name.as_str()));
        named.map(|(name, value)| {
            format!("{name}={}", value.to_str().unwrap_or_default()).to_ascii_lowercase()
        })
    }
}

fn name_of(pair: &str) -> &str {
    pair.split('=').next().unwrap_or_default()
}

const CONDITIONS: [&str; 2] = ["if-match", "if-none-match"];
