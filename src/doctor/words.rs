//! What AWS says about a denial, beyond that it is one.
//!
//! To callers of the same account or organization it names the kind of policy that stands in the way, and
//! whether that forbids the request or merely does not allow it (IAM user guide, "Troubleshoot access
//! denied error messages"). Everybody else hears "Access Denied". KMS tells more of them, and S3
//! passes it on. There is no code for it, so for once the sentence has to be read; what is not
//! recognised counts as not said.

/// What a sentence blames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blame {
    pub(super) on: Kind,
    /// A statement forbids it; else none allows it.
    pub(super) is_explicit: bool,
}

/// The kinds of policies that AWS looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Identity,
    Resource,
    Trust,
    Session,
    Boundary,
    Organization,
    Endpoint,
}

/// Reads whom a sentence blames, if it blames anybody.
pub(super) fn blame(sentence: &str) -> Option<Blame> {
    let after = |words: &str| sentence.split_once(words).map(|(_, rest)| rest);
    let (rest, is_explicit) = match (after("explicit deny in "), after("because no ")) {
        (Some(rest), _) => (rest, true),
        (None, Some(rest)) => (rest, false),
        // KMS, to those of another account: "because the resource does not exist in this Region, no
        // resource-based policies allow access, or a resource-based policy explicitly denies access".
        (None, None) => (after("because the resource does not exist")?, false),
    };
    let first = KINDS.iter().filter_map(|(words, kind)| Some((rest.find(words)?, *kind)));
    first.min_by_key(|(at, _)| *at).map(|(_, on)| Blame { on, is_explicit })
}

/// The key, where it is KMS that refuses: `... to perform: kms:Decrypt on resource: arn:aws:kms:...`.
pub(super) fn key(sentence: &str) -> Option<&str> {
    let rest = sentence.split_once("perform: kms:")?.1.split_once("on resource: ")?.1;
    let arn = rest.trim_start_matches('"').split(|c: char| c.is_whitespace() || c == '"').next()?;
    arn.starts_with("arn:").then_some(arn)
}

const KINDS: &[(&str, Kind)] = &[
    ("identity-based polic", Kind::Identity),
    ("resource-based polic", Kind::Resource),
    ("role trust policy", Kind::Trust),
    ("session policy", Kind::Session),
    ("permissions boundary", Kind::Boundary),
    ("service control policy", Kind::Organization),
    ("resource control policy", Kind::Organization),
    ("VPC endpoint policy", Kind::Endpoint),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_of_aws_are_understood() {
        let user = "User: arn:aws:iam::111122223333:user/x is not authorized to perform: s3:GetObject on \
                    resource: \"arn:aws:s3:::b/k\"";
        let table = [
            ("with an explicit deny in an identity-based policy", Kind::Identity, true),
            ("with an explicit deny in a resource-based policy", Kind::Resource, true),
            (
                "with an explicit deny in a service control policy: arn:aws:organizations::1:policy/x",
                Kind::Organization,
                true,
            ),
            ("with an explicit deny in a VPC endpoint policy", Kind::Endpoint, true),
            ("because no identity-based policy allows the s3:GetObject action", Kind::Identity, false),
            ("because no resource-based policy allows the s3:GetObject action", Kind::Resource, false),
            ("because no session policy allows the s3:GetObject action", Kind::Session, false),
            ("because no permissions boundary allows the s3:GetObject action", Kind::Boundary, false),
            ("because no role trust policy allows the sts:AssumeRole action", Kind::Trust, false),
        ];
        for (reason, on, is_explicit) in table {
            assert_eq!(blame(&format!("{user} {reason}")), Some(Blame { on, is_explicit }), "{reason}");
        }
        for nothing in ["Access Denied", "", user, "because no more"] {
            assert_eq!(blame(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_key_that_refuses_is_named() {
        let sentence = "User: arn:aws:sts::111122223333:assumed-role/r/s is not authorized to perform: \
                        kms:GenerateDataKey on resource: arn:aws:kms:eu-west-1:444455556666:key/1234 because \
                        the resource does not exist in this Region, no resource-based policies allow access, \
                        or a resource-based policy explicitly denies access";
        assert_eq!(key(sentence), Some("arn:aws:kms:eu-west-1:444455556666:key/1234"));
        assert_eq!(blame(sentence), Some(Blame { on: Kind::Resource, is_explicit: false }));
        assert_eq!(key("Access Denied"), None);
    }
}
