//! What the answers of a bucket mean: a pure function of what came back.
//!
//! ```text
//!   findings ─► checks (here): what works, what is refused ─► denial: why, and what would change it
//! ```

mod denial;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests;
mod write;

use serde_json::{Value, json};

use super::attempt::Attempt;
use super::identity::Walked;
use super::probe::Findings;
use super::remedy::{Location, Remedy};
use super::{Check, Outcome, words};
use crate::config::{BucketSettings, Settings};
use crate::policy::Action;
use crate::s3::{S3Error, S3ErrorKind};

/// Returns the checks of a bucket, in the order in which they are of use.
pub(super) fn checks(
    settings: &Settings,
    bucket: &BucketSettings,
    walked: &Walked<'_>,
    findings: &Findings,
) -> Vec<Check> {
    let case = Case { settings, bucket, walked, findings };
    let region = case.region();
    if region.outcome != Outcome::Passed {
        return vec![region];
    }
    if findings.is_of_another_owner() {
        // S3 refuses every request then, for this reason alone.
        return vec![region, case.owner()];
    }
    let mut checks = vec![region, case.list(), case.read()];
    checks.extend(case.put());
    checks.extend(case.rewriting());
    checks.extend(case.removing());
    checks
}

/// What is known of a bucket.
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
        let error = match &self.findings.region {
            None => {
                let check = self.check(name, Outcome::Undecided, "not tried");
                return check.meaning("there are no credentials for it");
            }
            Some(Ok(region)) => {
                return match &self.findings.region_found {
                    None => self.check(name, Outcome::Passed, &**region),
                    Some(found) => {
                        let answer = format!("S3 says {found}, and the settings say {region}");
                        self.check(name, Outcome::Failed, answer)
                            .meaning("requests go to a region where the bucket is not: correct the setting, or leave it out")
                            .remedies([self.setting(json!({"region": found}))])
                    }
                };
            }
            Some(Err(error)) => error,
        };
        let check = self.check(name, Outcome::Failed, error.brief());
        match error.kind() {
            S3ErrorKind::NotTheOwner => self.owner(),
            S3ErrorKind::NoBucket => check.meaning(
                "there is no bucket of this name in any account: check the spelling, in which upper and lower case count",
            ),
            S3ErrorKind::Unavailable | S3ErrorKind::Throttled => {
                check.meaning("nothing answers as S3 does: check --endpoint-url, --region and the network")
            }
            S3ErrorKind::Credentials => check.meaning("S3 does not take these credentials"),
            _ => check.meaning("check --endpoint-url and --region"),
        }
    }

    /// Only told if it is wrong; where nothing can be seen of a bucket, that cannot be known.
    fn owner(&self) -> Check {
        let expected = self.bucket.expected_bucket_owner.as_deref().unwrap_or_default();
        let answer = format!("denied, and allowed if the bucket need not belong to {expected}");
        self.check("compare the bucket's owner", Outcome::Failed, answer)
            .meaning("the bucket belongs to another account, and S3 refuses every request for that: if it is the bucket you mean, leave the setting out or name its account")
            .remedies([self.setting(json!({"expected_bucket_owner": null}))])
    }

    fn list(&self) -> Check {
        let Self { bucket, .. } = self;
        let name = format!("list s3://{}/{}", bucket.name, bucket.prefix);
        let Some(attempt) = &self.findings.list else { return self.not_tried(&name) };
        let check = self.verdict(&name, attempt, &[Action::List]);
        match attempt.is(S3ErrorKind::Denied) {
            true => Check { outcome: Outcome::Limited, ..check }
                .prefixed("directories cannot be listed, known names work all the same"),
            false => check,
        }
    }

    fn read(&self) -> Check {
        let name = "read an object";
        let Some(attempt) = &self.findings.read else { return self.not_tried(name) };
        let is_key_known = self.findings.is_key_known;
        match &attempt.outcome {
            Err(error) if error.kind() == S3ErrorKind::Denied => {
                let can_list = self.findings.list.as_ref().is_some_and(Attempt::is_ok);
                let check = self.verdict(name, attempt, &[Action::Get]);
                match (can_list, is_key_known) {
                    (true, _) => return check,
                    // What a person names may not be there.
                    (false, true) if attempt.works.is_none() && self.findings.list.is_some() => {
                        let meaning = format!("{}; or there is no object of that name", check.meaning);
                        return check.meaning(meaning);
                    }
                    (false, true) => return check,
                    (false, false) if self.is_all_denied() || attempt.works.is_some() => return check,
                    (false, false) => {}
                }
                // Without the right to list, what is absent and what is denied look the same.
                self.check(name, Outcome::Undecided, error.brief()).meaning(
                    "no key is known that is there, and without the right to list, absence looks the same: name one with --read, or try --write-test",
                )
            }
            // Absence is told only to those who may read (and list).
            Err(error) if error.kind() == S3ErrorKind::Absent && !is_key_known => {
                self.check(name, Outcome::Passed, "there is none, and that was told")
            }
            Err(error) if error.kind() == S3ErrorKind::Absent => self
                .check(name, Outcome::Undecided, error.brief())
                .meaning("there is no such object: name another with --read"),
            Err(error) if error.kind() == S3ErrorKind::Archived => self
                .check(name, Outcome::Passed, error.brief())
                .meaning("it is allowed, but this object is archived and has to be restored first"),
            _ => self.verdict(name, attempt, &[Action::Get]),
        }
    }

    /// What an attempt came to, for which these rights are needed.
    fn verdict(&self, name: &str, attempt: &Attempt, actions: &[Action]) -> Check {
        match &attempt.outcome {
            Ok(()) => self.check(name, Outcome::Passed, "allowed"),
            Err(error) if attempt.is(S3ErrorKind::Denied) || is_denied_by_kms(error) => {
                let denial = self.denial(error, attempt.works, actions);
                self.check(name, Outcome::Failed, error.brief())
                    .meaning(denial.meaning)
                    .remedies(denial.remedies)
            }
            Err(error) => self.other(name, error),
        }
    }

    /// What no policy is the reason of.
    fn other(&self, name: &str, error: &S3Error) -> Check {
        let meaning = match error.kind() {
            S3ErrorKind::Credentials => "S3 does not take these credentials",
            S3ErrorKind::Unavailable | S3ErrorKind::Throttled => "S3 could not be asked: check the network",
            S3ErrorKind::Unsupported => "the server does not know this request",
            S3ErrorKind::KeyRefused if error.code().is_some_and(|code| code.starts_with("KMS.")) => {
                "the KMS key is disabled, is to be deleted, or is not there: its owner has to put that right, or another key be named"
            }
            S3ErrorKind::KeyRefused => {
                "it is encrypted with a key that its writer keeps, and the mount was given none, or another: check sse_customer_key_file"
            }
            _ => "this is no question of policies",
        };
        self.check(name, Outcome::Failed, error.brief()).meaning(meaning)
    }

    fn not_tried(&self, name: &str) -> Check {
        self.check(name, Outcome::Undecided, "not tried")
    }

    /// A change of settings of the bucket.
    fn setting(&self, values: Value) -> Remedy {
        Remedy::set(Location::Settings, format!("the bucket {}", self.bucket.name), values)
    }
}

/// Whether it is KMS that denies, for which there are statements; a key may also be gone, or the customer's.
fn is_denied_by_kms(error: &S3Error) -> bool {
    error.kind() == S3ErrorKind::KeyRefused && error.message().is_some_and(|said| words::key(said).is_some())
}
