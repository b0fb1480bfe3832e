//! `s3xmount doctor` and `s3xmount policy` against a server that we did not write.
//!
//! Each test has a role and a bucket of its own. Where ministack departs from AWS, a test is not here:
//! it knows no expected owner, wants no right for sending an ACL, hands no key of KMS to S3, and its
//! buckets lie in no region. And it says that a key is absent to those who may not list.

use serde_json::json;

use super::*;

/// A role, a bucket, and the documents between them, as lists of statements.
struct Patient {
    foreign: &'static Foreign,
    name: String,
    trust: Vec<Value>,
    role: Vec<Value>,
    bucket: Vec<Value>,
    ownership: &'static str,
    flags: Vec<String>,
}

impl Patient {
    /// Everything is as it should be.
    fn healthy(name: &str) -> Option<Self> {
        let foreign = foreign()?;
        let name = format!("doctor-{name}");
        let objects = format!("arn:aws:s3:::{name}/*");
        let on_objects =
            |actions: &[&str]| json!({"Effect": "Allow", "Action": actions, "Resource": objects});
        let mut role: Vec<Value> = RIGHTS.iter().map(|action| on_objects(&[*action])).collect();
        role.push(
            json!({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": format!("arn:aws:s3:::{name}")}),
        );
        let bucket = json!({
            "Effect": "Allow", "Principal": {"AWS": arn(&name)}, "Action": "s3:*",
            "Resource": [format!("arn:aws:s3:::{name}"), objects],
        });
        let alice = "arn:aws:iam::111111111111:user/alice";
        Some(Self {
            foreign,
            trust: vec![json!({"Effect": "Allow", "Principal": {"AWS": alice}, "Action": "sts:AssumeRole"})],
            role,
            bucket: vec![bucket],
            ownership: "BucketOwnerPreferred",
            flags: ["--role-arn", &arn(&name), "--bucket", &name].map(str::to_owned).into(),
            name,
        })
    }

    fn forbid(&mut self, action: &str) {
        self.role.retain(|statement| statement["Action"] != action && statement["Action"] != json!([action]));
    }

    fn install(&self) {
        let Self { name, trust, role, bucket, ownership, .. } = self;
        let documents = json!({
            "role": name, "trust": trust, "statements": role,
            "bucket": name, "bucket_policy": bucket, "ownership": ownership,
        });
        self.foreign.python("install.py", &[], &documents);
    }

    fn checks(&self, more: &[&str]) -> Vec<Value> {
        self.install();
        let home = Home::new();
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let args = [&["doctor", "--json"], flags.as_slice(), more].concat();
        let output = home.command(self.foreign, &args).output().unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}{}", text(&output.stdout), text(&output.stderr)))
    }

    fn check(&self, name: &str, more: &[&str]) -> Value {
        let checks = self.checks(more);
        let found = checks.iter().find(|check| check["name"].as_str().unwrap().starts_with(name));
        found.unwrap_or_else(|| panic!("no check {name}: {checks:#?}")).clone()
    }

    fn take(&mut self, remedy: &Value) {
        let document = match remedy["place"].as_str().unwrap() {
            "trust-policy" => &mut self.trust,
            "role-policy" => &mut self.role,
            "bucket-policy" => &mut self.bucket,
            "settings" => {
                for (key, value) in remedy["values"].as_object().unwrap() {
                    let flag = format!("--{}", key.replace('_', "-"));
                    let at = self.flags.iter().position(|word| *word == flag).unwrap();
                    self.flags[at + 1] = value.as_str().unwrap().to_owned();
                }
                return;
            }
            other => panic!("nobody knows the place {other}"),
        };
        document.extend(remedy["statements"].as_array().unwrap().iter().cloned());
    }

    /// Shows that the first remedy is in the right place, and heals.
    #[track_caller]
    fn heals(mut self, more: &[&str], name: &str, place: &str) {
        let sick = self.check(name, more);
        assert!(["failed", "limited"].contains(&sick["outcome"].as_str().unwrap()), "{sick:#}");
        assert_eq!(sick["remedies"][0]["place"], place, "{sick:#}");
        self.take(&sick["remedies"][0]);
        let healed = self.check(name, more);
        assert_eq!(healed["outcome"], "passed", "{healed:#}");
    }
}

#[test]
fn a_role_that_is_not_trusted_or_says_the_wrong_id_is_told_what_to_add() {
    let Some(mut patient) = Patient::healthy("trust") else { return };
    assert!(patient.checks(&["--write-test"]).iter().all(|check| check["outcome"] == "passed"));
    patient.trust.clear();
    patient.heals(&[], "assume", "trust-policy");
    let Some(mut patient) = Patient::healthy("external-id") else { return };
    patient.flags.extend(["--external-id".to_owned(), "ours".to_owned()]);
    patient.trust[0]["Condition"] = json!({"StringEquals": {"sts:ExternalId": "theirs"}});
    patient.heals(&[], "assume", "trust-policy");
}

#[test]
fn a_role_that_lacks_an_action_is_told_which() {
    for (action, name) in [
        ("s3:GetObject", "read"),
        ("s3:PutObject", "write"),
        ("s3:ListBucket", "list"),
        ("s3:DeleteObject", "delete"),
    ] {
        let kind = format!("lacks-{}", action.trim_start_matches("s3:").to_lowercase());
        let Some(mut patient) = Patient::healthy(&kind) else { return };
        patient.forbid(action);
        let more: &[&str] = if action == "s3:GetObject" { &[] } else { &["--write-test"] };
        patient.heals(more, name, "role-policy");
    }
}

#[test]
fn a_bucket_that_does_not_admit_the_role_is_told_so() {
    let Some(mut patient) = Patient::healthy("closed") else { return };
    patient.bucket.clear();
    patient.heals(&["--read", "inside/letter.txt"], "read", "bucket-policy");
    let Some(mut patient) = Patient::healthy("elsewhere") else { return };
    patient.bucket[0]["Principal"] = json!({"AWS": arn("somebody-else")});
    patient.heals(&["--leave-probe"], "write", "bucket-policy");
}

#[test]
fn an_acl_that_is_demanded_or_refused_is_a_setting() {
    let Some(mut patient) = Patient::healthy("demanding") else { return };
    let mut demand = patient.bucket[0].clone();
    demand["Effect"] = json!("Deny");
    demand["Action"] = json!("s3:PutObject");
    demand["Condition"] = json!({"StringNotEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}});
    patient.bucket.push(demand);
    patient.flags.extend(["--acl".to_owned(), "none".to_owned()]);
    patient.heals(&["--write-test"], "write", "settings");

    let Some(mut patient) = Patient::healthy("enforced") else { return };
    patient.ownership = "BucketOwnerEnforced";
    patient.flags.extend(["--acl".to_owned(), "public-read".to_owned()]);
    patient.heals(&["--write-test"], "write", "settings");
}

/// What each level of rights promises, on top of nothing.
#[test]
fn documents_of_policy_give_what_they_promise_and_no_more() {
    let minimal = ["get inside", "put inside", "put with an ACL inside", "upload inside"];
    let read_only = ["list inside", "get inside"];
    let read_write = [
        "list inside",
        "get inside",
        "put inside",
        "put with an ACL inside",
        "upload inside",
        "abort inside",
        "delete inside",
    ];
    for (rights, expected) in
        [("minimal", &minimal[..]), ("read-only", &read_only), ("read-write", &read_write)]
    {
        let Some(mut patient) = Patient::healthy(&format!("rights-{rights}")) else { return };
        let home = Home::new();
        let document = |kind: &str| {
            let role = arn(&patient.name);
            let bucket = format!("x={}/inside", patient.name);
            let args = [
                "policy",
                "--role-arn",
                &role,
                "--bucket",
                &bucket,
                "--document",
                kind,
                "--rights",
                rights,
                "--principal",
                "arn:aws:iam::111111111111:user/alice",
            ];
            let output = home.command(patient.foreign, &args).output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            let document: Value = serde_json::from_slice(&output.stdout).unwrap();
            document["Statement"].as_array().unwrap().clone()
        };
        let [trust, role, bucket] = ["trust", "role", "bucket"].map(document);
        // Each of the two sides is narrow by itself: the other lets everything through.
        let (all_of_role, all_of_bucket) = (patient.role.clone(), patient.bucket.clone());
        patient.trust = trust;
        for (role, bucket) in [(role.clone(), bucket.clone()), (role, all_of_bucket), (all_of_role, bucket)] {
            (patient.role, patient.bucket) = (role, bucket);
            patient.install();
            assert_eq!(patient.allowed(), expected, "{rights}");
        }
    }
}

impl Patient {
    /// What a session of the role may do, as the server sees it.
    fn allowed(&self) -> Vec<String> {
        let Keys { id, secret, .. } = &self.foreign.alice;
        let keys = json!({"id": id, "secret": secret});
        let printed = self.foreign.python("allowed.py", &[&arn(&self.name), &self.name], &keys);
        serde_json::from_slice(&printed).unwrap()
    }
}

/// On objects; listing is a right of its own.
const RIGHTS: [&str; 5] =
    ["s3:GetObject", "s3:PutObject", "s3:PutObjectAcl", "s3:DeleteObject", "s3:AbortMultipartUpload"];
