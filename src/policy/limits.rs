//! How long a document may be.

use super::document::{Document, Kind};

impl Document {
    /// S3 counts every character of a bucket policy; IAM leaves white space out of a role's (IAM user
    /// guide, "IAM and AWS STS quotas"; S3 user guide, "Bucket policies"; KMS developer guide, "Quotas").
    pub(super) fn too_long(&self) -> Option<String> {
        let whole = self.text().len();
        let compact = self.body.to_string().chars().filter(|c| !c.is_whitespace()).count();
        let is_of_role = self.holder.contains(":role/");
        let (length, max, way_out) = match self.kind {
            Kind::Bucket => (whole, BUCKET_BYTES_MAX, "name a role instead of many users"),
            Kind::Trust => {
                (compact, TRUST_CHARS_MAX, "name fewer principals; the quota can be raised to 4,096")
            }
            Kind::Key => (whole, KEY_BYTES_MAX, "name a role instead of many users"),
            Kind::Role if is_of_role && compact <= ROLE_CHARS_MAX => (
                compact,
                MANAGED_CHARS_MAX,
                "so it is too long for a managed policy, and fits put-role-policy, which takes 10240 in all for a role",
            ),
            Kind::Role if compact <= MANAGED_CHARS_MAX => (
                compact,
                if is_of_role { ROLE_CHARS_MAX } else { USER_CHARS_MAX },
                "so it is too long for put-user-policy, and fits a managed policy, which takes 6144",
            ),
            Kind::Role => {
                (compact, MANAGED_CHARS_MAX, "use prefixes with wildcards, or several managed policies")
            }
        };
        (length > max)
            .then(|| format!("it has {length} characters, and AWS takes {max} by default; {way_out}"))
    }
}

/// Of one bucket.
const BUCKET_BYTES_MAX: usize = 20 << 10;

/// Of a managed policy.
const MANAGED_CHARS_MAX: usize = 6144;

/// Of all policies together that lie in a role.
const ROLE_CHARS_MAX: usize = 10_240;

/// Of all policies together that lie in a user.
const USER_CHARS_MAX: usize = 2048;

const TRUST_CHARS_MAX: usize = 2048;

const KEY_BYTES_MAX: usize = 32 << 10;
