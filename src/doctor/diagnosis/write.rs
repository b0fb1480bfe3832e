//! What attempts to write, rewrite and remove an object mean.

use serde_json::json;

use super::{Attempt, Case, Check, Location, Outcome, Remedy, S3ErrorKind};
use crate::config::Acl;
use crate::doctor::probe::PROBE;
use crate::policy::Action;

impl Case<'_> {
    pub(super) fn put(&self) -> Option<Check> {
        if !self.findings.is_write_wished {
            return None;
        }
        let name = match self.bucket.acl {
            Acl::None => "write an object without an ACL".to_owned(),
            acl => format!("write an object with the ACL {}", acl.as_str()),
        };
        let Some(attempt) = &self.findings.put else {
            let is_denied =
                self.findings.delete.as_ref().is_some_and(|delete| delete.is(S3ErrorKind::Denied));
            let reason = if is_denied { "what it writes could not be removed" } else { "deleting failed" };
            return Some(
                self.check(&name, Outcome::Undecided, format!("not tried: {reason}"))
                    .meaning(format!("--leave-probe writes all the same, and leaves {PROBE} behind")),
            );
        };
        let check = self.verdict(&name, attempt, &self.write_actions());
        Some(match attempt.is(S3ErrorKind::AclRefused) {
            true => check
                .meaning("the bucket has ACLs disabled (BucketOwnerEnforced): it takes bucket-owner-full-control or none")
                .remedies([self.setting(json!({"acl": Acl::BucketOwnerFullControl.as_str()})), self.ownership()]),
            false => check,
        })
    }

    /// Copies and uploads in parts, if they were tried.
    pub(super) fn rewriting(&self) -> Vec<Check> {
        let mut copying = self.write_actions();
        copying.insert(0, Action::Get);
        let tried = [
            ("copy an object onto itself", &self.findings.copy, copying),
            ("upload in parts", &self.findings.multipart, self.write_actions()),
        ];
        let tried = tried
            .into_iter()
            .filter_map(|(name, attempt, actions)| Some(self.verdict(name, attempt.as_ref()?, &actions)));
        tried.collect()
    }

    /// What the mount goes without, if they were tried.
    pub(super) fn removing(&self) -> Vec<Check> {
        let tried = [
            ("abort an upload", &self.findings.abort, Action::Abort, NO_ABORT),
            ("delete an object", &self.findings.delete, Action::Delete, NO_DELETE),
        ];
        let tried = tried.into_iter().filter_map(|(name, attempt, action, consequence)| {
            let attempt: &Attempt = attempt.as_ref()?;
            let check = self.verdict(name, attempt, &[action]);
            Some(match attempt.is(S3ErrorKind::Denied) {
                true => Check { outcome: Outcome::Limited, ..check }.prefixed(consequence),
                false => check,
            })
        });
        tried.collect()
    }

    fn ownership(&self) -> Remedy {
        let rules = json!({"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]});
        Remedy::set(Location::Ownership, self.bucket.name.as_str(), rules)
            .in_account(self.bucket.expected_bucket_owner.as_deref())
    }

    fn write_actions(&self) -> Vec<Action> {
        let acl = (self.bucket.acl != Acl::None).then_some(Action::PutAcl);
        [Action::Put].into_iter().chain(acl).collect()
    }
}

const NO_ABORT: &str = "parts of broken uploads stay in the bucket and cost money, unless a lifecycle rule (AbortIncompleteMultipartUpload) removes them";

const NO_DELETE: &str = "unlink, rmdir and rename are refused with EACCES";
