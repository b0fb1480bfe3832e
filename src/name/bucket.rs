//! Names of buckets, and of what may stand for one in a request.
//!
//! | what | looks like | reached |
//! | --- | --- | --- |
//! | a bucket | `photos-2024` | by its host name |
//! | with dots | `photos.example` | in the path: the certificate of S3 covers one label |
//! | from before 2018 | `SampleBucketA`, `under_score`, up to 255 bytes | in the path: no host is called that |
//! | an access point's alias | `mine-abc123-s3alias` | as a bucket |
//! | an access point | `arn:aws:s3:eu-west-1:444455556666:accesspoint/mine` | by a host name of its own, in the region that it names |
//!
//! S3 user guide, "General purpose bucket naming rules" and "Using Amazon S3 access points". What S3
//! could have is let through, and S3 has the last word; what it could not is refused with what was
//! probably meant.

use std::fmt;

use crate::error::{Error, Kind, Result};

/// The name of a bucket as requests carry it: a name, an alias, or an access point ARN.
///
/// Invariant: of the shape that the table above shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketName(String);

impl BucketName {
    /// Parses a bucket name.
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] where S3 could not have such a bucket, or where this program
    /// cannot speak to it.
    pub fn parse(text: &str) -> Result<Self> {
        let problem = match text.strip_prefix("arn:") {
            Some(_) => problem_of_arn(text),
            None => problem_of_name(text),
        };
        match problem {
            None => Ok(Self(text.to_owned())),
            Some(why) => {
                Err(Error::new(Kind::InvalidArgument, format!("'{text}' is not a bucket name: {why}")))
            }
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the ARN of an access point.
    pub fn is_arn(&self) -> bool {
        self.0.starts_with("arn:")
    }

    /// The region that an ARN names; a name names none.
    pub fn region(&self) -> Option<&str> {
        self.is_arn().then(|| self.0.split(':').nth(3)).flatten()
    }

    /// Whether a host can be called so, under a certificate for all names of one label.
    pub fn is_host_label(&self) -> bool {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let bytes = self.0.as_bytes();
        bytes.len() <= LABEL_BYTES_MAX
            && bytes.iter().all(|byte| allowed(*byte))
            && !bytes.starts_with(b"-")
            && !bytes.ends_with(b"-")
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn problem_of_name(text: &str) -> Option<String> {
    if text.contains("://") {
        return Some(
            "it is a URL; write the bucket's name alone, and what is shown of it behind a slash".into(),
        );
    }
    if !(NAME_BYTES_MIN..=NAME_BYTES_MAX).contains(&text.len()) {
        return Some(format!("it must have {NAME_BYTES_MIN} to {NAME_BYTES_MAX} characters"));
    }
    if text.ends_with(".mrap") {
        return Some(MULTI_REGION.into());
    }
    let strange = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._".contains(*c)));
    strange.map(|c| format!("it contains '{c}'"))
}

fn problem_of_arn(text: &str) -> Option<String> {
    let fields: Vec<&str> = text.splitn(6, ':').collect();
    let &[_, partition, service, region, account, resource] = fields.as_slice() else {
        return Some(
            "the ARN is incomplete; that of an access point has six fields with colons between".into(),
        );
    };
    if !partition.starts_with("aws") {
        return Some(format!("there is no partition '{partition}'"));
    }
    if !SERVICES.contains(&service) {
        return Some(format!("'{service}' has no access points"));
    }
    if (region, account) == ("", "") {
        let bucket = resource.split('/').next().unwrap_or_default();
        return Some(format!("it is the ARN of a bucket; write the name alone: {bucket}"));
    }
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some("the account of the ARN must have 12 digits".into());
    }
    let fields: Vec<&str> = resource.split(['/', ':']).collect();
    let point = match (service, fields.as_slice()) {
        ("s3-outposts", ["outpost", _, "accesspoint", point]) => point,
        ("s3" | "s3-object-lambda", ["accesspoint", point]) => point,
        _ => return Some("the last field must be accesspoint/NAME".into()),
    };
    if region.is_empty() {
        return Some(MULTI_REGION.into());
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = (NAME_BYTES_MIN..=POINT_BYTES_MAX).contains(&point.len()) && point.bytes().all(allowed);
    (!is_name).then(|| format!("an access point's name has {NAME_BYTES_MIN} to {POINT_BYTES_MAX} small letters, digits and hyphens"))
}

/// Requests to these must be signed for several regions at once (SigV4A).
const MULTI_REGION: &str = "Multi-Region access points need a kind of signature (SigV4A) that is not \
    supported here; name the bucket, or an access point of one region";

const SERVICES: [&str; 3] = ["s3", "s3-object-lambda", "s3-outposts"];

const NAME_BYTES_MIN: usize = 3;

/// Of buckets in us-east-1 before March 2018; newer ones have at most 63.
const NAME_BYTES_MAX: usize = 255;

/// S3 user guide, "Access points restrictions and limitations".
const POINT_BYTES_MAX: usize = 50;

/// RFC 1035, 2.3.4.
const LABEL_BYTES_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: &str = "arn:aws:s3:eu-west-1:444455556666:accesspoint/mine";

    #[test]
    fn all_that_s3_could_have_is_a_name() {
        let long = "x".repeat(255);
        for name in [
            "SampleBucketA",
            "my-bucket.example",
            "under_score",
            long.as_str(),
            "mine-hrzrlukc5m36ft7okagglf3gmwluquse1b-s3alias",
            POINT,
            "arn:aws-cn:s3:cn-north-1:444455556666:accesspoint/mine",
            "arn:aws:s3:eu-west-1:444455556666:accesspoint:mine",
            "arn:aws:s3-object-lambda:eu-west-1:444455556666:accesspoint/mine",
            "arn:aws:s3-outposts:eu-west-1:444455556666:outpost/op-0123/accesspoint/mine",
        ] {
            assert_eq!(BucketName::parse(name).map(|b| b.as_str().to_owned()).ok().as_deref(), Some(name));
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_was_meant() {
        let long = "x".repeat(256);
        for (name, why) in [
            ("", "3 to 255"),
            ("ab", "3 to 255"),
            (long.as_str(), "3 to 255"),
            ("a/b", "contains '/'"),
            ("a b", "contains ' '"),
            ("s3://photos/2024", "it is a URL"),
            ("https://photos.s3.amazonaws.com", "it is a URL"),
            ("arn:aws", "incomplete"),
            ("arn:aws:s3:::photos", "write the name alone: photos"),
            ("arn:aws:s3:::photos/2024", "write the name alone: photos"),
            ("arn:gcp:s3:eu-west-1:444455556666:accesspoint/mine", "no partition"),
            ("arn:aws:iam::444455556666:role/x", "has no access points"),
            ("arn:aws:s3:eu-west-1:4444:accesspoint/mine", "12 digits"),
            ("arn:aws:s3:eu-west-1:444455556666:bucket/mine", "accesspoint/NAME"),
            ("arn:aws:s3:eu-west-1:444455556666:accesspoint/Mine", "small letters"),
            ("arn:aws:s3::444455556666:accesspoint/mfzwi23gnjvgw.mrap", "Multi-Region"),
            ("mfzwi23gnjvgw.mrap", "Multi-Region"),
        ] {
            let message =
                BucketName::parse(name).map_err(|error| error.to_string()).err().unwrap_or_default();
            assert!(message.contains(why), "{name}: {message}");
        }
    }

    #[test]
    fn a_name_tells_where_and_how_it_is_reached() {
        let of = |name: &str| {
            let name = BucketName::parse(name).ok()?;
            Some((name.is_arn(), name.region().map(str::to_owned), name.is_host_label()))
        };
        assert_eq!(of("photos-2024"), Some((false, None, true)));
        assert_eq!(of("SampleBucketA"), Some((false, None, false)));
        assert_eq!(of("photos.example"), Some((false, None, false)));
        assert_eq!(of(&"x".repeat(64)), Some((false, None, false)));
        assert_eq!(of(POINT), Some((true, Some("eu-west-1".to_owned()), false)));
    }
}
