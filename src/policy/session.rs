//! The policy that bounds a role session to what the mount does.
//!
//! It is handed to STS together with the wish for a session. The session may then do what both it and
//! the role's own policies allow (IAM user guide, "Session policies"), so a token that is stolen, or a
//! bug of ours, can do no more than the mount does.

use serde_json::{Value, json};

use super::statement::{KEY_READ, KEY_WRITTEN};
use crate::config::BucketSettings;
use crate::config::identity::ascii;

/// Returns the session policy that allows just what a mount of these buckets does: reading in all of
/// them, writing in those that are not read-only, each below its prefix. Buckets are named as the
/// partition `aws` has them.
///
/// `None` if there is no way to say it within the 2,048 characters that STS takes, or if one of
/// the buckets is of a kind whose permissions are not those of buckets.
pub fn session(buckets: &[BucketSettings], is_read_only: bool) -> Option<String> {
    let places = buckets.iter().map(|bucket| Place::of(bucket, is_read_only));
    let places: Vec<Place> = places.collect::<Option<_>>()?;
    // Whole buckets say it in fewer words, and still keep the session out of all others.
    let whole = places.iter().map(Place::whole_bucket).collect();
    let documents = [places, whole].map(|places| ascii(&document(&places)));
    documents.into_iter().find(|document| document.len() <= SESSION_POLICY_CHARS_MAX)
}

/// A part of a bucket, as policies name it.
struct Place {
    /// The ARN of the bucket.
    bucket: String,
    /// The ARN of its objects up to the name within the bucket.
    objects: String,
    /// The prefix, with what means something in a pattern spelled out; empty for the whole bucket.
    prefix: String,
    is_written: bool,
}

impl Place {
    fn of(bucket: &BucketSettings, is_read_only: bool) -> Option<Self> {
        let name = bucket.name.as_str();
        let (arn, objects) = match Kind::of(name)? {
            Kind::Bucket => (format!("arn:aws:s3:::{name}"), format!("arn:aws:s3:::{name}/")),
            Kind::AccessPoint => (name.to_owned(), format!("{name}/object/")),
            // An alias does not tell which access point it stands for, and policies know only that.
            Kind::Alias => {
                let any = "arn:aws:s3:*:*:accesspoint/*";
                (any.to_owned(), format!("{any}/object/"))
            }
        };
        let is_written = !(is_read_only || bucket.read_only);
        Some(Self { bucket: arn, objects, prefix: literal(bucket.prefix.as_str()), is_written })
    }

    fn whole_bucket(&self) -> Self {
        Self {
            bucket: self.bucket.clone(),
            objects: self.objects.clone(),
            prefix: String::new(),
            is_written: self.is_written,
        }
    }

    /// Everything below.
    fn pattern(&self) -> String {
        format!("{}{}*", self.objects, self.prefix)
    }
}

/// What a name stands for, of that which the actions of S3 in policies apply to.
enum Kind {
    Bucket,
    AccessPoint,
    Alias,
}

impl Kind {
    /// `None` for Object Lambda, Outposts and directory buckets, which have actions of their own.
    fn of(name: &str) -> Option<Self> {
        let fields: Vec<&str> = name.splitn(6, ':').collect();
        match fields.as_slice() {
            ["arn", _, "s3", _, _, resource] if resource.starts_with("accesspoint") => {
                Some(Self::AccessPoint)
            }
            ["arn", ..] => None,
            _ if ["--ol-s3", "--x-s3", "--op-s3"].iter().any(|end| name.ends_with(end)) => None,
            _ if name.ends_with("-s3alias") => Some(Self::Alias),
            _ => Some(Self::Bucket),
        }
    }
}

fn document(places: &[Place]) -> Value {
    let patterns = |is_written| {
        let places = places.iter().filter(move |place| place.is_written == is_written);
        places.map(Place::pattern).collect::<Vec<_>>()
    };
    let mut statements = Vec::new();
    for (actions, resources) in [(WRITTEN, patterns(true)), (READ, patterns(false))] {
        if !resources.is_empty() {
            statements.push(json!({"Effect": "Allow", "Action": actions, "Resource": resources}));
        }
    }
    let whole: Vec<&str> =
        places.iter().filter(|place| place.prefix.is_empty()).map(|place| place.bucket.as_str()).collect();
    if !whole.is_empty() {
        statements.push(json!({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": whole}));
    }
    for place in places.iter().filter(|place| !place.prefix.is_empty()) {
        statements.push(json!({
            "Effect": "Allow", "Action": "s3:ListBucket", "Resource": place.bucket,
            "Condition": {"StringLike": {"s3:prefix": format!("{}*", place.prefix)}},
        }));
    }
    let is_written = places.iter().any(|place| place.is_written);
    // A bucket may encrypt by default with a key that nobody named to us; without this its objects could
    // not be read. Whether the role may use the key is for its own policy and that of the key.
    statements.push(json!({
        "Effect": "Allow", "Action": if is_written { KEY_WRITTEN } else { KEY_READ }, "Resource": "*",
        "Condition": {"StringLike": {"kms:ViaService": "s3.*"}},
    }));
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// Text that a pattern takes literally (IAM user guide, "IAM policy elements: Variables and tags").
pub(super) fn literal(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c {
            '*' | '?' | '$' => escaped.extend(['$', '{', c, '}']),
            _ => escaped.push(c),
        }
        escaped
    })
}

/// What reading takes. The ACL is read for whoever asks for that extended attribute.
const READ: &[&str] = &["s3:GetObject", "s3:GetObjectAcl"];

/// What reading and writing takes. Tags are there because a copy takes those of its source along,
/// and is refused if it may not.
const WRITTEN: &[&str] = &[
    "s3:GetObject",
    "s3:GetObjectAcl",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:GetObjectTagging",
    "s3:PutObjectTagging",
];

/// STS API reference, `AssumeRole`, `Policy`.
const SESSION_POLICY_CHARS_MAX: usize = 2048;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::*;
    use crate::config::{CommandLine, Place as WrittenAt, Surroundings, Written, options::Key};

    fn policy(buckets: &[&str], is_read_only: bool) -> Option<Value> {
        let mut line = CommandLine {
            mount_point: Some(Written::new("/mnt/x", WrittenAt::Argument("test"))),
            config: Some(Written::new("/dev/null", WrittenAt::Argument("test"))),
            ..CommandLine::default()
        };
        for bucket in buckets {
            line.flags.add(Key::Bucket, Written::new(*bucket, WrittenAt::Argument("test")));
        }
        let settings = crate::config::load(&line, &Surroundings::default()).unwrap();
        session(&settings.buckets, is_read_only).map(|text| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn a_session_may_do_what_the_mount_does_and_no_more() {
        let document = policy(&["one", "x=two/a/b*"], false).unwrap();
        let statements = document["Statement"].as_array().unwrap();
        assert_eq!(statements[0]["Resource"], json!(["arn:aws:s3:::one/*", "arn:aws:s3:::two/a/b${*}/*"]));
        assert!(statements[0]["Action"].as_array().unwrap().contains(&json!("s3:PutObjectAcl")));
        assert_eq!(statements[1]["Resource"], json!(["arn:aws:s3:::one"]));
        assert_eq!(statements[2]["Resource"], "arn:aws:s3:::two");
        assert_eq!(statements[2]["Condition"]["StringLike"]["s3:prefix"], "a/b${*}/*");
        assert_eq!(statements[3]["Action"], json!(["kms:Decrypt", "kms:GenerateDataKey"]));
        assert_eq!(statements.len(), 4);
    }

    #[test]
    fn a_mount_that_only_reads_has_a_session_that_only_reads() {
        let document = policy(&["one"], true).unwrap();
        assert_eq!(document["Statement"][0]["Action"], json!(["s3:GetObject", "s3:GetObjectAcl"]));
        assert_eq!(document["Statement"][2]["Action"], json!(["kms:Decrypt"]));
        assert!(!document.to_string().contains("Put"));
    }

    #[test]
    fn access_points_are_named_as_policies_know_them() {
        let arn = "arn:aws:s3:eu-west-1:111122223333:accesspoint/mine";
        let document = policy(&[arn, "photos-abc-s3alias"], false).unwrap();
        let objects = json!([format!("{arn}/object/*"), "arn:aws:s3:*:*:accesspoint/*/object/*"]);
        assert_eq!(document["Statement"][0]["Resource"], objects);
        assert_eq!(document["Statement"][1]["Resource"], json!([arn, "arn:aws:s3:*:*:accesspoint/*"]));
    }

    #[test]
    fn names_of_any_language_are_written_as_sts_takes_them() {
        let document = policy(&["x=one/日本/😀"], false).unwrap();
        assert_eq!(document["Statement"][0]["Resource"], json!(["arn:aws:s3:::one/日本/😀/*"]));
        assert_eq!(ascii(&json!("日😀é")), r#""\u65e5\ud83d\ude00\u00e9""#);
    }

    #[test]
    fn kinds_with_actions_of_their_own_are_not_narrowed() {
        for name in [
            "arn:aws:s3-object-lambda:eu-west-1:111122223333:accesspoint/mine",
            "mine--ol-s3",
            "a--usw2-az1--x-s3",
        ] {
            assert_eq!(policy(&["one", &format!("x={name}")], false), None, "{name}");
        }
    }

    #[test]
    fn what_is_too_long_is_said_for_whole_buckets_or_not_at_all() {
        let long = ["x"; 4].map(|name| name.repeat(200)).join("/");
        let document = policy(&[&format!("a=one/{long}"), &format!("b=two/{long}")], false).unwrap();
        assert_eq!(document["Statement"][0]["Resource"], json!(["arn:aws:s3:::one/*", "arn:aws:s3:::two/*"]));
        let many: Vec<String> = (0..60).map(|i| format!("bucket-with-a-rather-long-name-{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(policy(&many, false), None);
    }
}
