//! A bucket as people name it: `DIRECTORY=BUCKET[/PREFIX]`.

use super::failure::Failure;
use crate::name::{BucketName, DirPrefix, FileName};

/// What of which bucket is shown where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSpec {
    /// The directory below the mount point.
    pub directory: FileName,
    /// The bucket.
    pub name: BucketName,
    /// What of it is shown.
    pub prefix: DirPrefix,
}

impl BucketSpec {
    /// Parses `DIRECTORY=BUCKET[/PREFIX]` or `BUCKET[/PREFIX]`.
    ///
    /// # Errors
    /// When a part of it is not what its place demands.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        // A prefix may contain '=', a bucket's name and a directory in front of it may not.
        let head = &text[..text.find('/').unwrap_or(text.len())];
        let (directory, target) = match head.find('=') {
            Some(equals) => (Some(&text[..equals]), &text[equals + 1..]),
            None => (None, text),
        };
        let (name, prefix) = split_target(target);
        Self::new(directory, name, prefix).map_err(|failure| failure.hint(HINT))
    }

    /// Puts the three parts together; without a directory the bucket's own name is used.
    ///
    /// # Errors
    /// When one of them is not what its place demands.
    pub fn new(directory: Option<&str>, name: &str, prefix: &str) -> Result<Self, Failure> {
        let name = BucketName::parse(name)?;
        let prefix = DirPrefix::parse(prefix)
            .map_err(|error| Failure::new(format!("'{prefix}' is not a prefix of keys: {error}")))?;
        let directory = directory.unwrap_or_else(|| own_directory(&name));
        let directory = FileName::parse(directory).map_err(|error| {
            Failure::new(format!("'{directory}' is not the name of a directory: {error}"))
        })?;
        Ok(Self { directory, name, prefix })
    }
}

/// Splits `BUCKET/PREFIX`, where the bucket may be the ARN of an access point, which has slashes itself.
fn split_target(text: &str) -> (&str, &str) {
    let resource = text.strip_prefix("arn:").and_then(|rest| rest.splitn(5, ':').last());
    let slashes_of_name = match resource {
        Some(resource) if resource.starts_with("outpost/") => 3,
        Some(resource) if resource.starts_with("accesspoint/") => 1,
        _ => 0,
    };
    match text.match_indices('/').nth(slashes_of_name) {
        Some((slash, _)) => (&text[..slash], &text[slash + 1..]),
        None => (text, ""),
    }
}

/// The directory of a bucket that was given none: its name, or that of the access point.
fn own_directory(name: &BucketName) -> &str {
    name.as_str().rsplit(['/', ':']).next().unwrap_or_default()
}

const HINT: &str = "write it like SampleBucketA, photos=SampleBucketB or photos=SampleBucketB/2024";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_written_with_or_without_directory_and_prefix() {
        let access_point = "arn:aws:s3:eu-west-1:111122223333:accesspoint/mine";
        let table = [
            ("SampleBucketA", "SampleBucketA", "SampleBucketA", ""),
            ("photos=SampleBucketB", "photos", "SampleBucketB", ""),
            ("photos=SampleBucketB/2024", "photos", "SampleBucketB", "2024/"),
            ("SampleBucketB/2024/05/", "SampleBucketB", "SampleBucketB", "2024/05/"),
            ("SampleBucketB/year=2024", "SampleBucketB", "SampleBucketB", "year=2024/"),
            ("y=SampleBucketB/year=2024", "y", "SampleBucketB", "year=2024/"),
            (access_point, "mine", access_point, ""),
            ("x=arn:aws:s3:eu-west-1:111122223333:accesspoint/mine/a/b", "x", access_point, "a/b/"),
        ];
        for (text, directory, name, prefix) in table {
            let parsed = BucketSpec::parse(text)
                .map(|b| (b.directory.to_string(), b.name.to_string(), b.prefix.to_string()));
            assert_eq!(parsed, Ok((directory.into(), name.into(), prefix.into())), "{text}");
        }
    }

    #[test]
    fn a_malformed_bucket_is_refused_with_an_example() {
        for text in ["", "x=", "=SampleBucketA", "..=SampleBucketA", "bucket name", "b=SampleBucketA/../x"] {
            let hint = BucketSpec::parse(text).err().and_then(|failure| failure.hint);
            assert_eq!(hint.as_deref(), Some(HINT), "{text}");
        }
    }
}
