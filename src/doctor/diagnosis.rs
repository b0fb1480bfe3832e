//! What the answers of a bucket mean: a pure function of what came back.
//!
//! A right in another account stands in two documents, and "Access Denied" does not say which of them
//! lacks it. But documents fail in different ways: a bucket policy that is missing, or that names
//! somebody else, denies everything; a role's policy lacks one action. So what is denied alone is
//! looked for with the role first, and what is denied together with all else with the bucket first.

use serde_json::json;

use super::identity::Walked;
use super::probe::{Findings, PROBE, Tried, is_denied};
use super::{Check, Location, Outcome, Remedy};
use crate::config::{Acl, BucketSettings, Settings};
use crate::policy::{self, Action, Grant, Rights};
use crate::s3::{S3Error, S3ErrorKind};

pub(super) fn checks(
    settings: &Settings,
    bucket: &BucketSettings,
    walked: &Walked<'_>,
    findings: &Findings,
) -> Vec<Check> {
    let case = Case { settings, bucket, walked, findings };
    let region = case.region();
    let is_found = region.outcome == Outcome::Passed;
    let mut checks = vec![region];
    if is_found {
        checks.extend(case.owner());
        checks.push(case.list());
        checks.push(case.read());
        checks.extend(case.put());
        checks.extend(case.simple(
            "copy an object onto itself",
            &findings.copy,
            &[Action::Get, Action::Put, Action::PutAcl],
        ));
        checks.extend(case.simple("upload in parts", &findings.multipart, &[Action::Put, Action::PutAcl]));
        checks.extend(case.limited(
            "abort an upload", &findings.abort, Action::Abort,
            "parts of broken uploads stay in the bucket and cost money; a lifecycle rule (AbortIncompleteMultipartUpload) does as well",
        ));
        checks.extend(case.limited(
            "delete an object",
            &findings.delete,
            Action::Delete,
            "unlink, rmdir and rename are refused with EACCES",
        ));
    }
    checks
}

struct Case<'c> {
    settings: &'c Settings,
    bucket: &'c BucketSettings,
    walked: &'c Walked<'c>,
    findings: &'c Findings,
}

impl Case<'_> {
    fn check(&self, name: &str, outcome: Outcome, answer: impl Into<String>) -> Check {
        Check::new(self.bucket.name.as_str(), name, outcome, answer)
    }

    fn region(&self) -> Check {
        let name = "find the bucket and its region";
        match &self.findings.region {
            Some(Ok(region)) => match &self.findings.region_found {
                None => self.check(name, Outcome::Passed, &**region),
                Some(found) => self
                    .check(name, Outcome::Failed, format!("S3 says {found}, and the settings say {region}"))
                    .meaning("requests go to a region where the bucket is not: correct the setting, or leave it out")
                    .remedies([self.setting("region", found)]),
            },
            Some(Err(error)) if error.kind() == S3ErrorKind::NoBucket => self
                .check(name, Outcome::Failed, error.to_string())
                .meaning("there is no such bucket: check the spelling; names are case-sensitive"),
            Some(Err(error)) => self
                .check(name, Outcome::Failed, error.to_string())
                .meaning("check --endpoint-url, --region and the network"),
            None => {
                self.check(name, Outcome::Undecided, "not tried").meaning("there are no credentials for it")
            }
        }
    }

    /// Only told if it is wrong; where nothing can be seen of a bucket, that cannot be known.
    fn owner(&self) -> Option<Check> {
        let expected = self.bucket.expected_bucket_owner.as_deref()?;
        matches!(self.findings.of_any_owner, Some(Ok(()))).then(|| {
            let answer = format!("denied, and allowed if the bucket need not belong to {expected}");
            self.check("compare the bucket's owner", Outcome::Failed, answer)
                .meaning("the bucket belongs to another account: either it is not the one you mean, or the setting is wrong")
                .remedies([self.setting("expected_bucket_owner", "the account that owns the bucket")])
        })
    }

    fn list(&self) -> Check {
        let name = format!("list {}", self.place());
        match &self.findings.list {
            Some(Err(error)) if error.kind() == S3ErrorKind::Denied => self
                .check(&name, Outcome::Limited, error.to_string())
                .meaning("directories cannot be listed; known names work all the same")
                .remedies(self.missing(&[Action::List])),
            Some(Err(error)) => self.other(&name, error),
            Some(Ok(())) => self.check(&name, Outcome::Passed, "allowed"),
            None => self.not_tried(&name),
        }
    }

    fn read(&self) -> Check {
        let name = "read an object";
        let can_list = matches!(self.findings.list, Some(Ok(())));
        match &self.findings.read {
            Some(Err(error)) if error.kind() == S3ErrorKind::Denied => {
                let check = self.check(name, Outcome::Failed, error.to_string());
                if self.is_all_denied() {
                    check.meaning(ALL_DENIED).remedies(self.missing(&[Action::Get]))
                } else if self.findings.is_key_known || can_list {
                    check.meaning(READ_DENIED).remedies(self.missing(&[Action::Get]))
                } else {
                    // Without the right to list, what is absent and what is denied look the same.
                    Check { outcome: Outcome::Undecided, ..check }
                        .meaning("no key is known that could be read, and without the right to list absence looks the same: name one with --read, or try --write-test")
                        .remedies(self.missing(&[Action::Get]))
                }
            }
            // Absence is told only to those who may read (and list).
            Some(Err(error)) if error.kind() == S3ErrorKind::Absent && !self.findings.is_key_known => {
                self.check(name, Outcome::Passed, "there is none, and that was told")
            }
            Some(Err(error)) if error.kind() == S3ErrorKind::Absent => self
                .check(name, Outcome::Undecided, error.to_string())
                .meaning("there is no such object: name another with --read"),
            Some(Err(error)) if error.kind() == S3ErrorKind::Archived => self
                .check(name, Outcome::Passed, error.to_string())
                .meaning("it is allowed, but this object is archived and has to be restored first"),
            Some(Err(error)) => self.other(name, error),
            Some(Ok(())) => self.check(name, Outcome::Passed, "allowed"),
            None => self.not_tried(name),
        }
    }

    fn put(&self) -> Option<Check> {
        let Findings { put, put_without_acl, put_for_owner, delete, .. } = self.findings;
        if !self.findings.is_write_wished {
            return None;
        }
        let acl = self.bucket.acl;
        let name = match acl {
            Acl::None => "write an object without an ACL".to_owned(),
            acl => format!("write an object with the ACL {}", acl.as_str()),
        };
        let error = match put {
            Some(Ok(())) => return Some(self.check(&name, Outcome::Passed, "allowed")),
            Some(Err(error)) => error,
            None => {
                let reason = if is_denied(delete) { "it could not be removed" } else { "deleting failed" };
                return Some(
                    self.check(&name, Outcome::Undecided, format!("not tried: {reason}"))
                        .meaning(format!("--leave-probe writes all the same, and leaves {PROBE} behind")),
                );
            }
        };
        let check = self.check(&name, Outcome::Failed, error.to_string());
        let works = |tried: &Tried| matches!(tried, Some(Ok(())));
        let for_owner = || self.setting("acl", Acl::BucketOwnerFullControl.as_str());
        Some(match error.kind() {
            S3ErrorKind::AclRefused => check
                .meaning("the bucket has ACLs disabled (BucketOwnerEnforced): it takes bucket-owner-full-control or none")
                .remedies([for_owner(), self.ownership()]),
            S3ErrorKind::Denied if works(put_for_owner) => check
                .meaning("writing is allowed only with the ACL bucket-owner-full-control, as the bucket's policy demands")
                .remedies([for_owner()]),
            S3ErrorKind::Denied if works(put_without_acl) => check
                .meaning("writing is allowed, setting an ACL with it is not")
                .remedies(self.missing(&[Action::PutAcl])),
            S3ErrorKind::Denied => check
                .meaning(if self.is_all_denied() { ALL_DENIED } else { WRITE_DENIED })
                .remedies(self.missing(&self.write_actions())),
            _ => self.other(&name, error),
        })
    }

    fn simple(&self, name: &str, tried: &Tried, actions: &[Action]) -> Option<Check> {
        Some(match tried.as_ref()? {
            Ok(()) => self.check(name, Outcome::Passed, "allowed"),
            Err(error) if error.kind() == S3ErrorKind::Denied => {
                self.check(name, Outcome::Failed, error.to_string()).remedies(self.missing(actions))
            }
            Err(error) => self.other(name, error),
        })
    }

    fn limited(&self, name: &str, tried: &Tried, action: Action, meaning: &str) -> Option<Check> {
        let check = self.simple(name, tried, &[action])?;
        Some(match is_denied(tried) {
            true => Check { outcome: Outcome::Limited, ..check }.meaning(meaning),
            false => check,
        })
    }

    fn other(&self, name: &str, error: &S3Error) -> Check {
        let meaning = match error.kind() {
            S3ErrorKind::Credentials => "S3 does not take these credentials",
            S3ErrorKind::Unavailable | S3ErrorKind::Throttled => "S3 could not be asked: check the network",
            S3ErrorKind::Unsupported => "the server does not know this request",
            _ => "this is no question of policies",
        };
        self.check(name, Outcome::Failed, error.to_string()).meaning(meaning)
    }

    fn not_tried(&self, name: &str) -> Check {
        self.check(name, Outcome::Undecided, "not tried")
    }

    fn place(&self) -> String {
        let Self { bucket, .. } = self;
        format!("s3://{}/{}", bucket.name, bucket.prefix)
    }

    fn write_actions(&self) -> Vec<Action> {
        let all = Rights::Minimal.actions(self.bucket, self.settings.read_only);
        all.into_iter().filter(|action| *action != Action::Get).collect()
    }

    /// The statements that allow these actions, in the document that lacks them most likely first.
    fn missing(&self, actions: &[Action]) -> Vec<Remedy> {
        let partition = self.walked.partition();
        let Some(principal) = self.walked.principal() else { return Vec::new() };
        let principals = [principal.clone()];
        let is_all_denied = self.is_all_denied();
        // A policy of the bucket that does not reach us lacks everything, not just what was asked for here.
        let everything = Rights::ReadWrite.actions(self.bucket, self.settings.read_only);
        let granted = |actions: &[Action]| [Grant { bucket: self.bucket, actions: actions.to_vec() }];
        let ours = policy::allow(&granted(actions), &partition, None);
        let theirs = if is_all_denied { everything.as_slice() } else { actions };
        let theirs = policy::allow(&granted(theirs), &partition, Some(&principals));
        let ours = ours.into_iter().map(|statement| Remedy {
            place: Location::RolePolicy,
            holder: principal.clone(),
            statement,
        });
        let theirs = theirs.into_iter().map(|statement| Remedy {
            place: Location::BucketPolicy,
            holder: self.bucket.name.to_string(),
            statement,
        });
        let is_written = actions.contains(&Action::Put);
        let uses_key = is_written || actions.contains(&Action::Get);
        let key = policy::allow_key(self.bucket, is_written, Some(&principals)).filter(|_| uses_key);
        let key = key.map(|statement| Remedy {
            place: Location::KeyPolicy,
            holder: self.bucket.sse_kms_key_id.clone().unwrap_or_default(),
            statement,
        });
        let policies: Vec<Remedy> =
            if is_all_denied { theirs.chain(ours).collect() } else { ours.chain(theirs).collect() };
        policies.into_iter().chain(key).collect()
    }

    /// Whether everything was denied, and among it something that even a role with few rights may do.
    ///
    /// Without the right to list or to delete a role is as common as with it, and to such a role what
    /// is absent looks like what is denied. It takes a key that is there, or a write, to tell.
    fn is_all_denied(&self) -> bool {
        let Findings { list, read, put, put_without_acl, put_for_owner, delete, is_key_known, .. } =
            self.findings;
        let tried = [list, read, put, put_without_acl, put_for_owner, delete];
        let mut tried = tried.into_iter().filter(|tried| tried.is_some());
        tried.all(is_denied) && (*is_key_known || is_denied(put))
    }

    fn setting(&self, key: &str, value: &str) -> Remedy {
        Remedy {
            place: Location::Settings,
            holder: format!("the bucket {}", self.bucket.name),
            statement: json!({ key: value }),
        }
    }

    fn ownership(&self) -> Remedy {
        Remedy {
            place: Location::Ownership,
            holder: self.bucket.name.to_string(),
            statement: json!({"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}),
        }
    }
}

const ALL_DENIED: &str = "everything is denied in this bucket: its policy is missing, or names somebody else, or a Deny in it applies; or there is no object of that name";

const READ_DENIED: &str = "objects cannot be read; or this one belongs to a third account, which bucket policies do not reach; or a Deny applies, which outranks what is added";

const WRITE_DENIED: &str = "objects cannot be written, with or without an ACL; should the statement be there already, a Deny applies, which outranks it";
