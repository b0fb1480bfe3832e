//! What a server other than AWS lacks, and who notices.
//!
//! "S3-compatible" has no definition. Servers leave things out and say so (501 `NotImplemented`, or 400 with
//! some code), or take a header and do not act by it. Each of these is a [`Gap`]. A gap is noticed
//! the first time it matters, by an answer and never by asking which product it is; from then on the bucket
//! does without, and the log says once what that means. AWS itself has none: with
//! [`Server::Aws`] nothing is ever given up, and an odd refusal stays the error that it is.
//!
//! | gap | noticed by | then |
//! | --- | --- | --- |
//! | conditions of writes | see [`conditions`](super::conditions) | each write looks first |
//! | conditions of deletions | a key that is not there, see [`delete`](super::delete) | each move looks first |
//! | checksums, unsigned payloads, ACLs | a refusal that goes away without them, see [`concessions`](super::concessions) | left out |
//! | DeleteObjects | its refusal | one by one, some at a time |
//! | UploadPartCopy | its refusal | the bytes make the way through this machine |
//! | Range | the whole object in answer to a part | the rest is read and thrown away |
//! | `encoding-type=url` | its refusal | keys come as they are (not to echo it is no gap) |
//! | ListObjectsV2 | a page that goes on and does not say where, or a refusal | ListObjects |
//! | buckets as host names | nobody answers there, and somebody does in path style | path style |

use std::collections::BTreeSet;

use parking_lot::Mutex;

/// Who answers at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Amazon's S3, or what is to be taken at its word as if it were.
    Aws,
    /// Something that speaks the same protocol, as far as it goes.
    Compatible,
}

impl Server {
    /// Tells by the URL that was configured. VPC endpoints of AWS have one, too.
    pub fn at(url: Option<&str>) -> Self {
        let Some(url) = url else { return Self::Aws };
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        let host = host.split(['/', ':']).next().unwrap_or_default().to_ascii_lowercase();
        match AWS_DOMAINS.iter().any(|domain| host.ends_with(domain)) {
            true => Self::Aws,
            false => Self::Compatible,
        }
    }
}

/// Something that a server lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gap {
    /// It refuses conditions on writes.
    ConditionsRefused,
    /// It takes conditions on writes and does not keep to them.
    ConditionsIgnored,
    /// It does not look at conditions of deletions.
    ConditionsOfDeletions,
    /// It knows no ACLs.
    Acl,
    /// It does not know the checksum we would choose, or none at all.
    Checksum,
    /// It wants the payload hashed into the signature.
    UnsignedPayload,
    /// It has no DeleteObjects.
    DeleteObjects,
    /// It has no UploadPartCopy.
    PartCopy,
    /// It answers a part of an object with all of it.
    Range,
    /// It does not know `encoding-type=url`.
    UrlEncoding,
    /// It has no ListObjectsV2.
    ListV2,
    /// It does not answer under the host names of buckets.
    HostNames,
}

impl Gap {
    /// What is lacking and what follows, in words for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::ConditionsRefused => {
                "refuses conditions on writes: what others do is looked for just before, so two writers of one \
                 file within the same moment are not noticed"
            }
            Self::ConditionsIgnored => {
                "ignores conditions on writes: what others do is looked for just before, so two writers of one \
                 file within the same moment are not noticed"
            }
            Self::ConditionsOfDeletions => {
                "does not look at conditions of deletions: what others put in place of a file within the moment in \
                 which it is moved away may be deleted with it"
            }
            Self::Acl => "knows no ACLs: objects are written without",
            Self::Checksum => "does not take the checksum CRC64NVME: uploads go with a lesser one or none",
            Self::UnsignedPayload => "wants all bytes in the signature: uploads take more processor time",
            Self::DeleteObjects => "cannot delete many objects at once: they are deleted one by one",
            Self::PartCopy => {
                "cannot copy parts: what is left unchanged of a large file travels through this machine"
            }
            Self::Range => "sends whole objects when asked for parts: reading large files is slow",
            Self::UrlEncoding => "cannot encode keys in listings: those with control characters may not show",
            Self::ListV2 => "has no ListObjectsV2: ListObjects is used",
            Self::HostNames => "does not answer under the bucket's host name: path style is used",
        }
    }
}

/// The gaps noticed so far at one bucket.
#[derive(Debug)]
pub(super) struct Gaps {
    server: Server,
    bucket: String,
    found: Mutex<BTreeSet<Gap>>,
}

impl Gaps {
    pub(super) fn new(server: Server, bucket: &str) -> Self {
        Self { server, bucket: bucket.to_owned(), found: Mutex::default() }
    }

    /// Whether anything may be lacking at all.
    pub(super) fn may_be(&self) -> bool {
        self.server == Server::Compatible
    }

    pub(super) fn has(&self, gap: Gap) -> bool {
        self.may_be() && self.found.lock().contains(&gap)
    }

    /// Remembers a gap, and says so the first time.
    pub(super) fn note(&self, gap: Gap) {
        if self.found.lock().insert(gap) {
            let (bucket, words) = (&self.bucket, gap.words());
            tracing::warn!(bucket, ?gap, "the server {words}");
        }
    }

    pub(super) fn found(&self) -> Vec<Gap> {
        self.found.lock().iter().copied().collect()
    }
}

/// AWS service endpoints of all partitions; `.api.aws` are the newer dual-stack ones.
const AWS_DOMAINS: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_is_known_by_its_domains() {
        for (url, server) in [
            (None, Server::Aws),
            (Some("https://bucket.vpce-1a2b-3c4d.s3.eu-west-1.vpce.amazonaws.com"), Server::Aws),
            (Some("https://s3.cn-north-1.amazonaws.com.cn:443/x"), Server::Aws),
            (Some("http://127.0.0.1:9000"), Server::Compatible),
            (Some("https://s3.example.com"), Server::Compatible),
            (Some("https://amazonaws.com.example.com"), Server::Compatible),
            (Some("https://notamazonaws.com"), Server::Compatible),
        ] {
            assert_eq!(Server::at(url), server, "{url:?}");
        }
    }
}
