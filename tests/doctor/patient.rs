//! The patient: two accounts and the documents between them, of which a test spoils one.

use std::process::Output;

use s3xmount::emulator::demo::{self, ACCOUNT_A, ACCOUNT_B, Rights};
use s3xmount::emulator::{self, Ownership};
use serde_json::{Value, json};

use crate::support::World;
use crate::support::real::{Home, text};

/// Two accounts, one bucket, and the documents that let alice into it, as lists of statements.
pub(super) struct Patient {
    pub(super) world: World,
    pub(super) home: Home,
    pub(super) alice: Vec<Value>,
    pub(super) trust: Vec<Value>,
    pub(super) role: Vec<Value>,
    pub(super) bucket: Vec<Value>,
    /// Of the KMS key, if there is one.
    pub(super) key: Vec<Value>,
    pub(super) flags: Vec<String>,
}

impl Patient {
    /// Everything is as it should be.
    pub(super) fn healthy() -> Self {
        Self::of(demo::world(Rights::Full))
    }

    /// So is everything in another world.
    pub(super) fn of(world: emulator::World) -> Self {
        let statements = |document: Value| document["Statement"].as_array().unwrap().clone();
        Self {
            world: World::of(world),
            home: Home::new(),
            alice: statements(demo::may_assume()),
            trust: statements(demo::trust()),
            role: statements(demo::role_policy(Rights::Full)),
            bucket: statements(demo::bucket_policy(BUCKET)),
            key: Vec::new(),
            flags: words(&format!("--role-arn {} --bucket {BUCKET}", demo::role_arn())),
        }
    }

    pub(super) fn flags(mut self, flags: &str) -> Self {
        self.flags.extend(words(flags));
        self
    }

    /// The role may no longer do this.
    pub(super) fn forbid(&mut self, action: &str) {
        for statement in &mut self.role {
            let kept = match &statement["Action"] {
                Value::Array(actions) => actions.iter().filter(|one| *one != action).cloned().collect(),
                one if one == action => vec![json!("s3:GetBucketLocation")],
                one => vec![one.clone()],
            };
            statement["Action"] = json!(kept);
        }
    }

    /// Puts the documents where they belong.
    pub(super) fn install(&self) {
        let document = |statements: &[Value]| json!({"Version": "2012-10-17", "Statement": statements});
        self.world.directory.set_user_policies(ACCOUNT_A, "alice", &[document(&self.alice)]);
        let trust = (!self.trust.is_empty()).then(|| document(&self.trust));
        self.world.directory.set_trust(ACCOUNT_A, demo::ROLE, trust.as_ref());
        self.world.directory.set_role_policies(ACCOUNT_A, demo::ROLE, &[document(&self.role)]);
        let bucket = (!self.bucket.is_empty()).then(|| document(&self.bucket));
        self.world.set_bucket_policy(BUCKET, bucket.as_ref());
        if !self.key.is_empty() {
            self.world.keys.set_policy(&key_arn(), &document(&self.key));
        }
    }

    pub(super) fn run(&self, more: &[&str]) -> Output {
        self.install();
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        self.home.mount_of(self.world.running(), &[&["doctor"], flags.as_slice(), more].concat())
    }

    /// All checks, in order.
    pub(super) fn checks(&self, more: &[&str]) -> Vec<Value> {
        let output = self.run(&[&["--json"], more].concat());
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{} {}", text(&output.stdout), text(&output.stderr)))
    }

    pub(super) fn check(&self, name: &str, more: &[&str]) -> Value {
        let checks = self.checks(more);
        let found = checks.iter().find(|check| check["name"].as_str().unwrap().starts_with(name));
        found.unwrap_or_else(|| panic!("no check {name}: {checks:#?}")).clone()
    }

    /// Does what a remedy says.
    pub(super) fn take(&mut self, remedy: &Value) {
        let holder = remedy["holder"].as_str().unwrap();
        let document = match remedy["place"].as_str().unwrap() {
            "role-policy" if holder == ACCOUNT_A.user_arn("alice") => (&mut self.alice, holder.to_owned()),
            "trust-policy" => (&mut self.trust, demo::role_arn()),
            "role-policy" => (&mut self.role, demo::role_arn()),
            "bucket-policy" => (&mut self.bucket, BUCKET.to_owned()),
            "key-policy" => (&mut self.key, key_arn()),
            "ownership" => {
                assert_eq!(remedy["values"]["Rules"][0]["ObjectOwnership"], "BucketOwnerPreferred");
                return self.world.bucket(BUCKET).set_ownership(Ownership::BucketOwnerPreferred);
            }
            "settings" => return self.set(&remedy["values"]),
            other => panic!("nobody knows the place {other}"),
        };
        let (statements, owner) = document;
        assert_eq!(holder, owner);
        match remedy["change"].as_str().unwrap() {
            "add" => statements.extend(remedy["statements"].as_array().unwrap().iter().cloned()),
            "exempt" => exempt(statements, remedy),
            other => panic!("nobody knows how to {other}"),
        }
    }

    /// Changes flags; `null` takes one out.
    pub(super) fn set(&mut self, values: &Value) {
        for (key, value) in values.as_object().unwrap() {
            let flag = format!("--{}", key.replace('_', "-"));
            if let Some(at) = self.flags.iter().position(|word| *word == flag) {
                self.flags.drain(at..at + 2);
            }
            if let Some(value) = value.as_str() {
                self.flags.extend([flag, value.to_owned()]);
            }
        }
    }
}

/// Adds the condition to every statement that denies one of the actions.
pub(super) fn exempt(statements: &mut [Value], remedy: &Value) {
    let named = remedy["actions"].as_array().unwrap();
    for statement in statements.iter_mut().filter(|statement| statement["Effect"] == "Deny") {
        let denied = statement["Action"].as_str().unwrap();
        if named.iter().any(|action| action == denied || action == "s3:*") {
            for (operator, keys) in remedy["condition"].as_object().unwrap() {
                statement["Condition"][operator] = keys.clone();
            }
        }
    }
}

pub(super) fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// The probe never stays behind, and nothing else is touched.
pub(super) fn assert_clean(patient: &Patient) {
    let mut keys = patient.world.bucket(BUCKET).keys();
    keys.retain(|key| !["reports/", "welcome.txt"].iter().any(|known| key.starts_with(known)));
    assert_eq!(keys, [""; 0]);
    assert!(patient.world.uploads(BUCKET).is_empty());
}

/// The documents that lack something, by the likeliest first.
pub(super) fn places(check: &Value) -> Vec<String> {
    let remedies = check["remedies"].as_array().unwrap();
    remedies.iter().map(|remedy| remedy["place"].as_str().unwrap().to_owned()).collect()
}

/// Plants one fault, and shows that the first remedy is in the right place and heals it.
#[track_caller]
pub(super) fn heals(mut patient: Patient, more: &[&str], name: &str, outcome: &str, place: &str) {
    let sick = patient.check(name, more);
    assert_eq!(sick["outcome"], outcome, "{sick:#}");
    assert_eq!(places(&sick)[0], place, "{sick:#}");
    assert!(!sick["meaning"].as_str().unwrap().is_empty());
    patient.take(&sick["remedies"][0]);
    let healed = patient.check(name, more);
    assert_eq!(healed["outcome"], "passed", "{healed:#}");
    assert_clean(&patient);
}

/// Plants a fault that S3's words do not tell from others, and does what is said, one thing after the other, until
/// it is healed. Returns where that was: what is in vain on the way is what is there already.
#[track_caller]
pub(super) fn heals_at_last(mut patient: Patient, more: &[&str], name: &str) -> (Patient, String, String) {
    let sick = patient.check(name, more);
    assert_ne!(sick["outcome"], "passed", "{sick:#}");
    for remedy in sick["remedies"].as_array().unwrap() {
        patient.take(remedy);
        if patient.check(name, more)["outcome"] == "passed" {
            assert_clean(&patient);
            let word = |key: &str| remedy[key].as_str().unwrap().to_owned();
            return (patient, word("place"), word("change"));
        }
    }
    panic!("nothing helps: {sick:#}");
}

pub(super) fn key_arn() -> String {
    format!("arn:aws:kms:{}:{ACCOUNT_B}:key/of-b", demo::REGION)
}

pub(super) fn deny(action: &str, resource: &str, principal: Option<&str>) -> Value {
    let mut statement = json!({"Effect": "Deny", "Action": action, "Resource": resource});
    if let Some(principal) = principal {
        statement["Principal"] = json!(principal);
    }
    statement
}

pub(super) const BUCKET: &str = demo::BUCKETS[0];
