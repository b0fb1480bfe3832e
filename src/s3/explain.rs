//! What a refusal means, and what to do about it, in words for people.
//!
//! S3 says little: "Access Denied" may be three policies in two accounts, a key, or an ACL. What is known here
//! is what was asked and what was sent along with it; that narrows it down. The answer is a hint beside the
//! error and changes nothing about what the error is.
//!
//! One thing is told by text alone, against the rule of the house: that a *key* refused. KMS denies with the
//! same code as S3 (`AccessDenied`), and S3 wants a customer's key with `InvalidRequest`, which means a
//! hundred things. The sentences are AWS's own, and other servers copy them.

use super::WriteRules;
use super::error::{S3Error, S3ErrorKind};

/// Whether an answer says that the key of an object refused, or is missing, rather than a policy of the bucket.
pub(super) fn is_about_a_key(code: Option<&str>, message: Option<&str>) -> bool {
    let says = |text: &str| message.is_some_and(|message| message.contains(text));
    match code {
        Some(code) if code.starts_with("KMS.") => true,
        Some("AccessDenied") => denied_action(message).is_some_and(|(action, _)| action.starts_with("kms:")),
        Some("InvalidRequest") => {
            says("stored using a form of Server Side Encryption")
                || says("encryption parameters are not applicable")
        }
        _ => false,
    }
}

/// What a person can do about a failed request; `None` where the error says it all.
pub(super) fn hint(error: &S3Error, rules: &WriteRules) -> Option<String> {
    match error.kind() {
        S3ErrorKind::AclRefused => Some(acl_refused(error, rules)),
        S3ErrorKind::Archived => Some(archived(&error.request().bucket, error.request().key.as_deref())),
        S3ErrorKind::KeyRefused => Some(key_refused(error, rules)),
        S3ErrorKind::Denied => denied(error, rules),
        _ => None,
    }
}

fn acl_refused(error: &S3Error, rules: &WriteRules) -> String {
    let sent = rules.acl.as_ref().map_or("none", |acl| acl.as_str());
    format!(
        "the owner of {} has disabled ACLs (object ownership BucketOwnerEnforced), and this mount sends `{sent}`: \
         set the bucket's acl to `none` or `bucket-owner-full-control`",
        error.request().bucket
    )
}

/// What to do about an object in an archive.
pub(super) fn archived(bucket: &str, key: Option<&str>) -> String {
    let key = key.unwrap_or("KEY");
    format!(
        "archived: restore it first, as with `aws s3api restore-object --bucket {bucket} --key '{key}' \
         --restore-request Days=7`; user.s3.storage-class tells where it lies"
    )
}

fn key_refused(error: &S3Error, rules: &WriteRules) -> String {
    if let Some((action, key)) = denied_action(error.message()) {
        return format!(
            "it is the KMS key that refuses, not the bucket: allow {action} on {key} in the role's policy and, in \
             the key's account, to the role in the key policy"
        );
    }
    if error.code().is_some_and(|code| code.starts_with("KMS.")) {
        return "it is the KMS key: look whether it exists in the bucket's region and is enabled".to_owned();
    }
    match &rules.customer_key {
        None => {
            "it is encrypted with a key that its writer keeps: name it with sse-customer-key-file".to_owned()
        }
        Some(_) => "it is not encrypted with the key in sse-customer-key-file".to_owned(),
    }
}

fn denied(error: &S3Error, rules: &WriteRules) -> Option<String> {
    if let Some((action, resource)) = denied_action(error.message()) {
        return Some(format!("{action} on {resource} is not allowed"));
    }
    match error.request().operation {
        "PutObject" | "CreateMultipartUpload" | "CopyObject" => {
            let acl = rules.acl.as_ref().map_or("", |_| " and, as an ACL is sent, s3:PutObjectAcl");
            let key = rules
                .kms_key_id
                .as_ref()
                .map_or_else(String::new, |key| format!(", and kms:GenerateDataKey on {key}"));
            let source =
                if error.request().operation == "CopyObject" { "s3:GetObject on the source, " } else { "" };
            Some(format!(
                "this takes {source}s3:PutObject{acl}{key}, in the role's policy and in the bucket's; the bucket's \
                 policy may also demand another ACL"
            ))
        }
        "HeadObject" | "GetObject" if rules.customer_key.is_some() => {
            Some("it may be encrypted with another key than that of sse-customer-key-file".to_owned())
        }
        _ => None,
    }
}

/// The action and the resource that AWS names where it says what was denied, which it does for KMS everywhere
/// and for S3 within one account or organisation.
fn denied_action(message: Option<&str>) -> Option<(&str, &str)> {
    let (_, rest) = message?.split_once("is not authorized to perform: ")?;
    let (action, rest) = rest.split_once(" on resource: ")?;
    let resource = rest.split_whitespace().next()?;
    Some((action, resource.trim_matches('"')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::error::RequestName;

    const KMS: &str = "User: arn:aws:sts::111111111111:assumed-role/r/s is not authorized to perform: kms:Decrypt on \
        resource: arn:aws:kms:us-east-1:222222222222:key/1 because no identity-based policy allows the kms:Decrypt action";

    fn failed(operation: &'static str, kind: S3ErrorKind, message: &str) -> S3Error {
        let request = RequestName { operation, bucket: "b".into(), key: Some("a/k".into()) };
        S3Error::local(kind, request, message)
    }

    #[test]
    fn a_refusal_of_a_key_is_told_from_one_of_the_bucket() {
        let customer = "The object was stored using a form of Server Side Encryption. The correct parameters must \
            be provided to retrieve the object.";
        let s3 =
            "User: x is not authorized to perform: s3:GetObject on resource: \"arn:aws:s3:::b/k\" because";
        for (code, message, is_key) in [
            ("AccessDenied", KMS, true),
            ("AccessDenied", s3, false),
            ("AccessDenied", "Access Denied", false),
            ("KMS.DisabledException", "disabled", true),
            ("InvalidRequest", customer, true),
            ("InvalidRequest", "Checksum Type mismatch occurred.", false),
        ] {
            assert_eq!(is_about_a_key(Some(code), Some(message)), is_key, "{code} {message}");
        }
        assert!(!is_about_a_key(None, None), "HEAD says nothing");
    }

    #[test]
    fn a_hint_names_what_was_sent_and_what_is_missing() {
        let plain = WriteRules::default();
        let acl = WriteRules::default().acl(Some("public-read"));
        for (rules, operation, kind, message, expected) in [
            (&acl, "PutObject", S3ErrorKind::AclRefused, "", "`public-read`"),
            (
                &acl,
                "PutObject",
                S3ErrorKind::Denied,
                "Access Denied",
                "s3:PutObject and, as an ACL is sent, s3:PutObjectAcl",
            ),
            (&plain, "PutObject", S3ErrorKind::Denied, "Access Denied", "s3:PutObject, in the role's policy"),
            (
                &plain,
                "GetObject",
                S3ErrorKind::KeyRefused,
                KMS,
                "kms:Decrypt on arn:aws:kms:us-east-1:222222222222:key/1",
            ),
            (&plain, "GetObject", S3ErrorKind::Archived, "", "restore-object --bucket b --key 'a/k'"),
            (&plain, "GetObject", S3ErrorKind::KeyRefused, "", "sse-customer-key-file"),
        ] {
            let hint = hint(&failed(operation, kind, message), rules).unwrap_or_default();
            assert!(hint.contains(expected), "{operation} {kind:?}: {hint}");
        }
        assert_eq!(hint(&failed("GetObject", S3ErrorKind::Denied, "Access Denied"), &plain), None);
    }
}
