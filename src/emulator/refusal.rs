//! What AWS says when it says no: a status, a code and a sentence.
//!
//! One type serves both services. S3 wraps it in `<Error>`, STS in `<ErrorResponse>`; the
//! codes and sentences are AWS's own, because programs match on the first and people search
//! for the second.

use std::borrow::Cow;

use super::access::{Denial, Side};
use super::policy::Question;

/// An answer other than success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The code that programs compare.
    pub code: Cow<'static, str>,
    /// The sentence that people read.
    pub message: Cow<'static, str>,
    /// The region the request should have been signed for, where that is the trouble.
    pub region: Option<String>,
}

impl Refusal {
    /// Returns a refusal from its three parts.
    pub fn new(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code: code.into(), message: message.into(), region: None }
    }

    /// Says which region the bucket lives in.
    pub fn in_region(mut self, region: &str) -> Self {
        self.region = Some(region.to_owned());
        self
    }

    /// The caller may not do this; as with AWS across accounts, no reason is given.
    pub fn access_denied() -> Self {
        Self::new(403, "AccessDenied", "Access Denied")
    }

    /// The caller may not do this, and is told which kind of policy keeps him from it: S3 does so within an
    /// account and within an organization (S3 user guide, "Troubleshoot access denied errors").
    pub fn access_denied_by(denial: Denial, question: &Question<'_>) -> Self {
        let Question { caller, action, resource, .. } = question;
        let (caller, kind) = (caller.arn(), denial.by.as_str());
        let article = if denial.by == Side::Identity { "an" } else { "a" };
        let reason = match denial.is_explicit {
            true => format!("with an explicit deny in {article} {kind}"),
            false => format!("because no {kind} allows the {action} action"),
        };
        let what = format!("perform: {action} on resource: \"{resource}\" {reason}");
        Self::new(403, "AccessDenied", format!("User: {caller} is not authorized to {what}"))
    }

    /// The bucket lives in another region than the one the request was signed for.
    pub fn permanent_redirect(region: &str) -> Self {
        Self::new(
            301,
            "PermanentRedirect",
            "The bucket you are attempting to access must be addressed using the specified endpoint. \
             Please send all future requests to this endpoint.",
        )
        .in_region(region)
    }

    /// The signature names another region than the one the bucket lives in, at an endpoint that has it.
    pub fn authorization_header_malformed(signed: &str, region: &str) -> Self {
        Self::new(
            400,
            "AuthorizationHeaderMalformed",
            format!(
                "The authorization header is malformed; the region '{signed}' is wrong; expecting '{region}'"
            ),
        )
        .in_region(region)
    }

    /// The bucket lives in a region that the endpoint knows nothing of.
    pub fn illegal_location(region: &str) -> Self {
        Self::new(
            400,
            "IllegalLocationConstraintException",
            format!(
                "The {region} location constraint is incompatible for the region specific endpoint this request \
                 was sent to."
            ),
        )
    }

    /// There is no such bucket.
    pub fn no_such_bucket() -> Self {
        Self::new(404, "NoSuchBucket", "The specified bucket does not exist")
    }

    /// There is no such object.
    pub fn no_such_key() -> Self {
        Self::new(404, "NoSuchKey", "The specified key does not exist.")
    }

    /// There is no such multipart upload.
    pub fn no_such_upload() -> Self {
        Self::new(
            404,
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been \
             aborted or completed.",
        )
    }

    /// A condition of the request does not hold.
    pub fn precondition_failed() -> Self {
        Self::new(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    }

    /// The reader already has this version.
    pub fn not_modified() -> Self {
        Self::new(304, "NotModified", "Not Modified")
    }

    /// The range lies outside the object.
    pub fn invalid_range() -> Self {
        Self::new(416, "InvalidRange", "The requested range is not satisfiable")
    }

    /// The request contradicts itself or the state of things.
    pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "InvalidRequest", message)
    }

    /// One argument has a value that cannot be.
    pub fn invalid_argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, "InvalidArgument", message)
    }

    /// AWS has it, the emulator does not.
    pub fn not_modelled(what: &str) -> Self {
        Self::new(501, "NotImplemented", format!("{what} is not modelled by this emulator."))
    }

    /// The bucket's owner has switched ACLs off.
    pub fn acl_not_supported() -> Self {
        Self::new(400, "AccessControlListNotSupported", "The bucket does not allow ACLs")
    }

    /// The bytes that arrived are not the bytes that were announced.
    pub fn bad_digest(what: &str) -> Self {
        Self::new(
            400,
            "BadDigest",
            format!("The {what} you specified did not match the calculated checksum."),
        )
    }

    /// A list in the request has fewer or stranger entries than its schema allows.
    pub fn malformed_xml() -> Self {
        Self::new(
            400,
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    }
}
