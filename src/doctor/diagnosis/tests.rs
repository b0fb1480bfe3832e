//! What came back, and what is concluded from it, as a table.

use crate::config::{CommandLine, Place, Settings, Surroundings, Written, options::Key};
use crate::credentials::{Caller, Step, Trace};
use crate::doctor::attempt::{Attempt, Otherwise};
use crate::doctor::identity::Walked;
use crate::doctor::probe::Findings;
use crate::doctor::remedy::{Change, Location};
use crate::doctor::{Check, Outcome};
use crate::s3::error::RequestName;
use crate::s3::{Encryption, S3Error, S3ErrorKind};

fn settings(flags: &[(Key, &str)]) -> Settings {
    let written = |text: &str| Written::new(text, Place::Argument("test"));
    let mut line = CommandLine {
        mount_point: Some(written("/mnt/x")),
        config: Some(written("/dev/null")),
        ..CommandLine::default()
    };
    let ours = [(Key::Bucket, "b=bucket/in"), (Key::RoleArn, ROLE)];
    for (key, text) in ours.iter().chain(flags) {
        line.flags.add(*key, written(text));
    }
    crate::config::load(&line, &Surroundings::default()).unwrap()
}

fn error(kind: S3ErrorKind, message: &str) -> S3Error {
    let request = RequestName { operation: "GetObject", bucket: "bucket".to_owned(), key: None };
    S3Error::local(kind, request, message)
}

fn allowed() -> Option<Attempt> {
    Some(Attempt::single(Ok(())))
}

fn failed(kind: S3ErrorKind) -> Option<Attempt> {
    Some(Attempt::single(Err(error(kind, "Access Denied"))))
}

fn denied() -> Option<Attempt> {
    failed(S3ErrorKind::Denied)
}

/// Denied in these words.
fn told(words: &str) -> Option<Attempt> {
    Some(Attempt::single(Err(error(S3ErrorKind::Denied, words))))
}

/// Refused for a key, in these words.
fn key_refused(words: &str) -> Option<Attempt> {
    Some(Attempt::single(Err(error(S3ErrorKind::KeyRefused, words))))
}

/// Denied, and allowed in another form.
fn but(works: Otherwise) -> Option<Attempt> {
    denied().map(|attempt| Attempt { works: Some(works), ..attempt })
}

/// A bucket that is there, with a key that is there, of which nothing else was tried.
fn found() -> Findings {
    let region = Some(Ok("eu-west-1".to_owned()));
    Findings { region, is_key_known: true, list: allowed(), read: allowed(), ..Findings::default() }
}

fn written() -> Findings {
    let (put, delete) = (allowed(), allowed());
    Findings { is_write_wished: true, put, delete, ..found() }
}

fn with_key() -> Option<Encryption> {
    Some(Encryption { algorithm: Some("aws:kms".to_owned()), kms_key_id: Some(KEY.to_owned()) })
}

/// The check whose name begins so.
fn check(settings: &Settings, findings: &Findings, name: &str) -> Check {
    let bucket = &settings.buckets[0];
    let caller = Caller { arn: SESSION.to_owned(), account: "111122223333".to_owned() };
    let step = Step { role: Some(ROLE.to_owned()), outcome: Ok(Some(caller)) };
    let trace = Trace { steps: vec![step], keys: None, region: None, clock_ahead_seconds: 0 };
    let walked = Walked::new(&bucket.identity, trace);
    let checks = super::checks(settings, bucket, &walked, findings);
    let found = checks.iter().find(|check| check.name.starts_with(name));
    found.unwrap_or_else(|| panic!("no {name} in {checks:#?}")).clone()
}

/// The places of what is to be changed, in order; an exception has an exclamation mark.
fn changes(check: &Check) -> Vec<String> {
    let change = |remedy: &crate::doctor::Remedy| {
        let place = serde_json::to_value(remedy.place).unwrap();
        let mark = if matches!(remedy.change, Change::Exempt { .. }) { "!" } else { "" };
        format!("{}{mark}", place.as_str().unwrap())
    };
    check.remedies.iter().map(change).collect()
}

#[test]
fn findings_lead_to_checks() {
    use Outcome::{Failed, Limited, Passed, Undecided};
    use S3ErrorKind::{Absent, AclRefused, Archived, Credentials, NoBucket, NotTheOwner, Unavailable};
    let one_lacks = "role-policy bucket-policy bucket-policy! role-policy!";
    let all_lack = "bucket-policy role-policy bucket-policy! role-policy!";
    let no_region = |kind| Findings { region: Some(Err(error(kind, "x"))), ..Findings::default() };
    let no_identity = "User: x is not authorized to perform: s3:PutObject on resource: \"y\" because no identity-based policy allows the s3:PutObject action";
    let forbidden = "User: x is not authorized to perform: s3:PutObject on resource: \"y\" with an explicit deny in a service control policy";
    let no_key = format!(
        "User: x is not authorized to perform: kms:GenerateDataKey on resource: {KEY} because no identity-based policy allows the kms:GenerateDataKey action"
    );
    let rows: Vec<(&str, Findings, &str, Outcome, &str)> = vec![
        ("without keys", Findings::default(), "find", Undecided, ""),
        ("no bucket", no_region(NoBucket), "find", Failed, ""),
        ("no network", no_region(Unavailable), "find", Failed, ""),
        ("an owner that is seen at once", no_region(NotTheOwner), "compare", Failed, "settings"),
        (
            "another region",
            Findings { region_found: Some("x".to_owned()), ..found() },
            "find",
            Failed,
            "settings",
        ),
        (
            "an owner that is seen by listing",
            Findings { list: but(Otherwise::AnyOwner), ..found() },
            "compare",
            Failed,
            "settings",
        ),
        ("all is well", found(), "list", Passed, ""),
        ("no list", Findings { list: denied(), ..found() }, "list", Limited, one_lacks),
        ("no read", Findings { read: denied(), ..found() }, "read", Failed, one_lacks),
        ("nothing", Findings { list: denied(), read: denied(), ..found() }, "read", Failed, all_lack),
        (
            "nothing, and no key",
            Findings { list: denied(), read: denied(), is_key_known: false, ..found() },
            "read",
            Undecided,
            "",
        ),
        (
            "absence that is told",
            Findings { read: failed(Absent), is_key_known: false, ..found() },
            "read",
            Passed,
            "",
        ),
        ("a key that is not there", Findings { read: failed(Absent), ..found() }, "read", Undecided, ""),
        ("archived", Findings { read: failed(Archived), ..found() }, "read", Passed, ""),
        (
            "a bounded session",
            Findings { read: but(Otherwise::Unbounded), ..found() },
            "read",
            Failed,
            "settings",
        ),
        ("keys that have ended", Findings { read: failed(Credentials), ..found() }, "read", Failed, ""),
        (
            "an encrypted object",
            Findings { read: denied(), encryption: with_key(), ..found() },
            "read",
            Failed,
            "role-policy key-policy key-policy!",
        ),
        ("all is written", written(), "write", Passed, ""),
        ("not written", Findings { put: None, delete: denied(), ..written() }, "write", Undecided, ""),
        ("no write", Findings { put: denied(), ..written() }, "write", Failed, one_lacks),
        ("no ACL", Findings { put: but(Otherwise::WithoutAcl), ..written() }, "write", Failed, one_lacks),
        (
            "an ACL that is demanded",
            Findings { put: but(Otherwise::AclForOwner), ..written() },
            "write",
            Failed,
            "settings",
        ),
        (
            "ACLs disabled",
            Findings { put: failed(AclRefused), ..written() },
            "write",
            Failed,
            "settings ownership",
        ),
        ("KMS demanded", Findings { put: but(Otherwise::KmsKey), ..written() }, "write", Failed, "settings"),
        (
            "AES256 or a key",
            Findings { put: but(Otherwise::S3Keys), ..written() },
            "write",
            Failed,
            "settings role-policy key-policy key-policy!",
        ),
        (
            "a key that was seen",
            Findings { put: but(Otherwise::S3Keys), encryption: with_key(), ..written() },
            "write",
            Failed,
            "role-policy key-policy key-policy!",
        ),
        ("words", Findings { put: told(no_identity), ..written() }, "write", Failed, "role-policy"),
        (
            "words of an organization",
            Findings { put: told(forbidden), ..written() },
            "write",
            Failed,
            "organization!",
        ),
        ("words of KMS", Findings { put: key_refused(&no_key), ..written() }, "write", Failed, "role-policy"),
        (
            "a customer's key",
            Findings { read: key_refused("stored using a form of Server Side Encryption"), ..found() },
            "read",
            Failed,
            "",
        ),
        ("no delete", Findings { delete: denied(), ..written() }, "delete", Limited, one_lacks),
        ("no abort", Findings { abort: denied(), ..written() }, "abort", Limited, one_lacks),
        ("no copy", Findings { copy: denied(), ..written() }, "copy", Failed, one_lacks),
        ("no parts", Findings { multipart: denied(), ..written() }, "upload", Failed, one_lacks),
    ];
    // Whom a bucket belongs to can only be wrong if somebody said it.
    let settings = settings(&[(Key::ExpectedBucketOwner, "444455556666")]);
    for (fault, findings, name, outcome, places) in rows {
        let check = check(&settings, &findings, name);
        assert_eq!(
            (check.outcome, changes(&check).join(" ").as_str()),
            (outcome, places),
            "{fault}: {check:#?}"
        );
        assert_eq!(check.meaning.is_empty(), outcome == Passed && fault != "archived", "{fault}: {check:#?}");
    }
}

/// The mistake would cost a day: the statement names the prefix of the mount and no more.
#[test]
fn statements_are_about_what_is_mounted_and_say_in_which_account() {
    let settings = settings(&[(Key::ExpectedBucketOwner, "444455556666")]);
    let check = check(&settings, &Findings { read: denied(), ..found() }, "read");
    let [ours, theirs, ..] = check.remedies.as_slice() else { panic!("{check:#?}") };
    let Change::Add { statements } = &ours.change else { panic!("{ours:#?}") };
    assert_eq!(statements[0]["Resource"][0], "arn:aws:s3:::bucket/in/*");
    assert_eq!((ours.holder.as_str(), ours.account.as_deref()), (ROLE, Some("111122223333")));
    let Change::Add { statements } = &theirs.change else { panic!("{theirs:#?}") };
    assert_eq!(statements[0]["Principal"]["AWS"][0], ROLE);
    assert_eq!((theirs.place, theirs.account.as_deref()), (Location::BucketPolicy, Some("444455556666")));
}

/// Without knowing the key, the statement is about those of the bucket's account; as soon as it is named anywhere it
/// is about that one.
#[test]
fn a_key_is_named_as_well_as_it_is_known() {
    let findings = |encryption| Findings { put: but(Otherwise::S3Keys), encryption, ..written() };
    let owner = (Key::ExpectedBucketOwner, "444455556666");
    let resource = |settings: &Settings, encryption| {
        let check = check(settings, &findings(encryption), "write");
        let of_role = check.remedies.iter().find(|remedy| remedy.place == Location::RolePolicy).unwrap();
        let Change::Add { statements } = &of_role.change else { panic!("{of_role:#?}") };
        statements[0]["Resource"].as_str().unwrap().to_owned()
    };
    assert_eq!(resource(&settings(&[owner]), None), "arn:aws:kms:*:444455556666:key/*");
    assert_eq!(resource(&settings(&[owner]), with_key()), KEY);
    let named = [owner, (Key::Sse, "aws:kms"), (Key::SseKmsKeyId, KEY)];
    assert_eq!(resource(&settings(&named), None), KEY);
}

const ROLE: &str = "arn:aws:iam::111122223333:role/path/visitor";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/visitor/x";
const KEY: &str = "arn:aws:kms:eu-west-1:444455556666:key/1234";
