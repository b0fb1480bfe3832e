//! The ARN of a role, understood.

use std::fmt;

use super::failure::Failure;

/// The ARN of an IAM role: `arn:aws:iam::111122223333:role/path/name`, in any partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoleArn {
    text: String,
    partition: String,
    account: String,
    name: String,
}

impl RoleArn {
    /// Parses the ARN of a role.
    ///
    /// # Errors
    /// When it is malformed, or the ARN of something else.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let refused =
            |why: &str| Failure::new(format!("'{text}' is not the ARN of a role: {why}")).hint(HINT);
        let fields: Vec<&str> = text.splitn(6, ':').collect();
        let &["arn", partition, service, region, account, resource] = fields.as_slice() else {
            return Err(refused("an ARN has six fields, with colons between them"));
        };
        if !partition.starts_with("aws") {
            return Err(refused(&format!("there is no partition '{partition}'")));
        }
        if (service, region) == ("sts", "") && resource.starts_with("assumed-role/") {
            return Err(refused("it is that of a role session; the role behind it is wanted"));
        }
        if (service, region) != ("iam", "") {
            return Err(refused("roles belong to 'iam', which has no region"));
        }
        if !is_account(account) {
            return Err(refused("the account must have 12 digits"));
        }
        let Some(path) = resource.strip_prefix("role/") else {
            return Err(refused("the last field must begin with 'role/'"));
        };
        let name = path.rsplit('/').next().unwrap_or_default();
        if !is_role_name(name) || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused("a role's name has 1 to 64 letters, digits and characters of +=,.@_-"));
        }
        Ok(Self {
            text: text.to_owned(),
            partition: partition.to_owned(),
            account: account.to_owned(),
            name: name.to_owned(),
        })
    }

    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The partition: `aws`, `aws-cn`, `aws-us-gov`.
    pub fn partition(&self) -> &str {
        &self.partition
    }

    /// The account that the role belongs to.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The role's name without its path.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether this is the id of an account: 12 digits.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// IAM API reference, `CreateRole`: `[\w+=,.@-]+`, at most 64.
fn is_role_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte))
}

const HINT: &str = "it looks like arn:aws:iam::111122223333:role/assumed-accountb-role";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_all_partitions_and_paths_are_understood() {
        for text in [
            "arn:aws:iam::111122223333:role/assumed-accountb-role",
            "arn:aws-cn:iam::111122223333:role/team/data/reader",
            "arn:aws-us-gov:iam::111122223333:role/a+=,.@_-",
        ] {
            let arn = RoleArn::parse(text).map(|arn| (arn.as_str().to_owned(), arn.account().to_owned()));
            assert_eq!(arn, Ok((text.to_owned(), "111122223333".to_owned())));
        }
        let name = RoleArn::parse("arn:aws-cn:iam::111122223333:role/team/data/reader")
            .map(|arn| arn.name().to_owned());
        assert_eq!(name.as_deref(), Ok("reader"));
    }

    #[test]
    fn each_malformed_arn_is_told_what_it_lacks() {
        let long = format!("arn:aws:iam::111122223333:role/{}", "x".repeat(65));
        let table = [
            ("assumed-accountb-role", "six fields"),
            ("arn:aws:iam::111122223333", "six fields"),
            ("arn:gcp:iam::111122223333:role/x", "no partition 'gcp'"),
            ("arn:aws:s3:::SampleBucketA", "belong to 'iam'"),
            ("arn:aws:iam:eu-west-1:111122223333:role/x", "belong to 'iam'"),
            ("arn:aws:iam::12345:role/x", "12 digits"),
            ("arn:aws:iam::111122223333:user/alice", "begin with 'role/'"),
            ("arn:aws:iam::111122223333:role/", "1 to 64"),
            ("arn:aws:iam::111122223333:role/a b", "1 to 64"),
            (long.as_str(), "1 to 64"),
            ("arn:aws:sts::111122223333:assumed-role/x/me", "role session"),
        ];
        for (text, why) in table {
            let message = RoleArn::parse(text).map_err(|failure| failure.message).err().unwrap_or_default();
            assert!(message.contains(why), "{text}: {message}");
        }
    }
}
