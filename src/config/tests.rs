//! What people write and what it comes to, from all sources together.
#![expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]

use std::time::Duration;

use super::options::{Key, by_name};
use super::*;

const ROLE: &str = "arn:aws:iam::111122223333:role/assumed-accountb-role";

/// Everything that can be written, in one readable line each.
#[derive(Default)]
struct Sources {
    flags: Vec<(&'static str, String)>,
    variables: Vec<(&'static str, &'static str)>,
    file: Option<&'static str>,
}

/// Flags as `name=value`, separated by two spaces.
fn flags(text: &str) -> Sources {
    let flags = text.split("  ").filter(|item| !item.is_empty()).map(|item| {
        let (name, value) = item.split_once('=').unwrap();
        (by_name(name).unwrap().name, value.to_owned())
    });
    Sources { flags: flags.collect(), ..Sources::default() }
}

impl Sources {
    fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    fn file(mut self, text: &'static str) -> Self {
        self.file = Some(text);
        self
    }

    fn load(&self) -> Result<Settings, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let around = Surroundings {
            variables: self
                .variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            working_dir: "/srv".into(),
            user: Some("alice".into()),
            host: Some("box".into()),
            date: Some("2026-01-31".into()),
            uid: 1000,
            gid: 100,
            memory_limit_bytes: None,
        };
        let mut around = around;
        around.variables.insert("HOME".into(), "/home/alice".into());
        let config = self.file.map(|text| {
            let path = dir.path().join("config.toml");
            std::fs::write(&path, text).unwrap();
            Written::new(path.to_str().unwrap(), Place::Flag("--config".into()))
        });
        let mut layer = Layer::default();
        for (name, value) in &self.flags {
            let spec = by_name(name).unwrap();
            layer.add(spec.key, Written::new(value.clone(), Place::Flag(spec.flag())));
        }
        let mount_point = Written::new("/mnt/accountb", Place::Argument("MOUNTPOINT"));
        load(&CommandLine { mount_point: Some(mount_point), config, flags: layer }, &around)
    }

    fn refused(&self) -> Failure {
        self.load().map(|settings| panic!("{settings:?}")).unwrap_err()
    }
}

#[test]
fn one_bucket_is_enough_and_the_rest_has_defaults() {
    let settings = flags("bucket=SampleBucketA").load().unwrap();
    let bucket = &settings.buckets[0];
    assert_eq!((bucket.directory.as_str(), bucket.name.as_str()), ("SampleBucketA", "SampleBucketA"));
    assert_eq!(bucket.acl, Acl::BucketOwnerFullControl);
    assert_eq!(bucket.identity.role_session_name, "s3xmount-alice-box");
    assert_eq!((settings.uid, settings.gid), (1000, 100));
    assert_eq!((settings.file_mode, settings.dir_mode), (0o644, 0o755));
    assert_eq!(settings.staging_dir, Path::new("/home/alice/.local/state/s3xmount/mnt-accountb"));
    assert_eq!(settings.log_target, LogTarget::File(settings.staging_dir.join("log")));
    assert_eq!(settings.memory_bytes, 512 << 20);
}

#[test]
fn a_flag_outranks_a_variable_and_that_the_file_and_that_the_default() {
    const FILE: &str = "region = 'from-top'\nacl = 'private'\n\
        [[mount]]\npath = '/mnt/accountb'\nregion = 'from-mount'\nbuckets = ['SampleBucketA']\n";
    let region = |written: Sources| written.load().unwrap().region;
    assert_eq!(region(flags("bucket=SampleBucketA")), None);
    assert_eq!(region(flags("").file(FILE)).as_deref(), Some("from-mount"));
    assert_eq!(
        region(flags("").file(FILE).variable("S3XMOUNT_REGION", "from-variable")).as_deref(),
        Some("from-variable")
    );
    let all = flags("region=from-flag").file(FILE).variable("S3XMOUNT_REGION", "from-variable");
    assert_eq!(region(all).as_deref(), Some("from-flag"));
    assert_eq!(flags("").file(FILE).load().unwrap().buckets[0].acl, Acl::Private);
    assert_eq!(flags("acl=none").file(FILE).load().unwrap().buckets[0].acl, Acl::None);
}

#[test]
fn a_switch_of_the_file_can_be_turned_off_again() {
    const FILE: &str = "[[mount]]\npath = '/mnt/accountb'\nread_only = true\nbuckets = ['SampleBucketA']\n";
    assert!(flags("").file(FILE).load().unwrap().read_only);
    assert!(!flags("read-only=false").file(FILE).load().unwrap().read_only);
}

#[test]
fn buckets_of_a_file_have_settings_of_their_own() {
    let settings = flags("")
        .file(
            "expected_bucket_owner = '444455556666'\n\
             [[mount]]\npath = '/mnt/accountb'\nrole_arn = ['arn:aws:iam::111122223333:role/a', 'arn:aws:iam::444455556666:role/b']\n\
             duration = '8h'\nbuckets = ['SampleBucketA']\n\
             [[mount.bucket]]\nname = 'SampleBucketB'\ndirectory = 'archive'\nprefix = 'old'\nacl = 'none'\n\
             storage_class = 'STANDARD_IA'\nregion = 'us-west-2'\nread_only = true\n",
        )
        .load()
        .unwrap();
    let [listed, own] = settings.buckets.as_slice() else { panic!("two buckets") };
    assert_eq!(listed.identity.roles.iter().map(RoleArn::name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(listed.identity.duration, Duration::from_secs(28_800));
    assert_eq!(listed.identity, own.identity, "a bucket's own region says nothing about STS");
    assert_eq!((own.directory.as_str(), own.prefix.as_str(), own.acl), ("archive", "old/", Acl::None));
    assert_eq!(
        (own.region.as_deref(), own.storage_class.as_deref()),
        (Some("us-west-2"), Some("STANDARD_IA"))
    );
    assert_eq!((own.read_only, listed.read_only, settings.read_only), (true, false, false));
    assert_eq!((&listed.region, listed.acl), (&None, Acl::BucketOwnerFullControl));
    assert_eq!(listed.expected_bucket_owner, own.expected_bucket_owner);
}

#[test]
fn a_bucket_may_have_a_role_of_its_own() {
    let settings = flags("")
        .file(
            "[[mount]]\npath = '/mnt/accountb'\nrole_arn = 'arn:aws:iam::111122223333:role/a'\nbuckets = ['one', 'two']\n\
             [[mount.bucket]]\nname = 'three'\nrole_arn = 'arn:aws:iam::777788889999:role/c'\nexternal_id = 'word'\n",
        )
        .load()
        .unwrap();
    let [one, two, three] = settings.buckets.as_slice() else { panic!("three buckets") };
    let [one, two, three] = [one, two, three].map(|bucket| &bucket.identity);
    assert_eq!(one, two);
    assert_eq!((three.roles[0].account(), three.external_id.as_deref()), ("777788889999", Some("word")));
    assert_eq!(one.external_id, None);
}

#[test]
fn buckets_on_the_command_line_replace_those_of_the_file() {
    const FILE: &str = "[[mount]]\npath = '/mnt/accountb'\nbuckets = ['SampleBucketA']\n[[mount.bucket]]\nname = 'SampleBucketB'\n";
    let names = |written: Sources| {
        written.load().unwrap().buckets.iter().map(|b| b.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(flags("").file(FILE)), ["SampleBucketA", "SampleBucketB"]);
    assert_eq!(names(flags("bucket=other").file(FILE)), ["other"]);
}

/// Every refusal: what was written on the command line, what the sentence says, where, and what to try.
#[test]
fn what_makes_no_sense_is_refused_at_its_place() {
    let table = [
        ("bucket=b", "not a bucket name", "--bucket", "write it like"),
        ("bucket=aaa  bucket=aaa", "the bucket 'aaa' is named twice", "--bucket", "leave one"),
        ("bucket=x=aaa/a  bucket=y=aaa/a/b", "lies within another", "--bucket", "shown as 'x'"),
        ("bucket=x=aaa  bucket=x=bbb", "the directory 'x' is named twice", "--bucket", "OTHER=bbb"),
        ("bucket=aaa  role-arn=arn:aws:iam::1:role/x", "12 digits", "--role-arn", "it looks like arn:"),
        ("bucket=aaa  external-id=abc", "no role is named", "--external-id", "--role-arn"),
        ("bucket=aaa  duration=8h", "no role is named", "--duration", "--role-arn"),
        ("bucket=aaa  role-arn=ROLE  duration=20s", "at least 15m", "--duration", "renewed"),
        ("bucket=aaa  role-arn=ROLE  duration=13h", "at most 12h", "--duration", "renewed"),
        ("bucket=aaa  role-arn=ROLE  duration=8x", "not a length of time", "--duration", "write it like"),
        (
            "bucket=aaa  role-arn=ROLE  role-session-name=a b",
            "name of a role session",
            "--role-session-name",
            "2 to 64",
        ),
        (
            "bucket=aaa  role-arn=ROLE  source-identity=a b",
            "not a source identity",
            "--source-identity",
            "2 to 64",
        ),
        ("bucket=aaa  role-arn=ROLE  session-tag=x", "not a session tag", "--session-tag", "project=atlas"),
        ("bucket=aaa  role-arn=ROLE  mfa-serial=x", "not the serial", "--mfa-serial", ":mfa/alice"),
        ("bucket=aaa  role-arn=ROLE  policy-arn=x", "not the ARN of a policy", "--policy-arn", ":policy/"),
        ("bucket=aaa  role-arn=ROLE  session-policy=/none", "cannot be read", "--session-policy", "`auto`"),
        ("bucket=aaa  on-revoked=x", "not a way", "--on-revoked", "reassume, fail"),
        ("bucket=aaa  acl=bucket-owner", "not a canned ACL", "--acl", "bucket-owner-full-control"),
        ("bucket=aaa  expected-bucket-owner=123", "not an account", "--expected-bucket-owner", "12 digits"),
        ("bucket=aaa  storage-class=cheap", "not a storage class", "--storage-class", "STANDARD_IA"),
        ("bucket=aaa  sse=aes", "not an encryption", "--sse", "AES256"),
        ("bucket=aaa  sse-kms-key-id=k", "does not use one", "--sse-kms-key-id", "aws:kms"),
        ("bucket=aaa  sse-customer-key-file=/nothing/here", "cannot be read", "--sse-customer-key-file", ""),
        ("bucket=aaa  sse=AES256  sse-kms-key-id=k", "does not use one", "--sse-kms-key-id", "aws:kms"),
        ("bucket=aaa  region=EU West", "not a region", "--region", "eu-west-1"),
        ("bucket=aaa  endpoint-url=localhost:9000", "not a URL", "--endpoint-url", "https://"),
        ("bucket=aaa  endpoint-url=https://a:b@host", "user or password", "--endpoint-url", "AWS tools"),
        ("bucket=aaa  directories=a/../b", "not the path of a directory", "--directories", "reports/2024"),
        ("bucket=aaa  directories=/", "there anyway", "--directories", "reports/2024"),
        ("bucket=aaa  uid=alice", "number of a user", "--uid", "id NAME"),
        ("bucket=aaa  file-mode=rw", "not a file mode", "--file-mode", "0644"),
        ("bucket=aaa  memory=1MiB", "too little memory", "--memory", "64MiB"),
        ("bucket=aaa  cache=/c  cache-size=1MiB", "too little for a cache", "--cache-size", "64MiB"),
        ("bucket=aaa  cache-size=1GiB", "a size, but no place", "--cache-size", "--cache"),
        ("bucket=aaa  cache=/mnt/accountb/c", "cache cannot lie within", "--cache", "another place"),
        ("bucket=aaa  read-only=maybe", "neither yes nor no", "--read-only", "true or false"),
        ("bucket=aaa  log-level=loud", "not a log level", "--log-level", "debug"),
        ("bucket=aaa  staging-dir=/mnt/accountb/x", "cannot lie within", "--staging-dir", "another place"),
        ("bucket=aaa  log-file=/mnt/accountb/log", "cannot lie within", "--log-file", "another place"),
        ("bucket=aaa  region=a  region=b", "given twice", "--region", "leave one"),
        (
            "bucket=x=arn:aws:s3:eu-west-1:111122223333:accesspoint/xxx  force-path-style=true",
            "path style",
            "--force-path-style",
            "leave",
        ),
        ("bucket=aaa  dualstack=true  endpoint-url=http://x", "names another", "--dualstack", "leave one"),
        ("bucket=aaa  fips=true  endpoint-url=http://x", "names another", "--fips", "leave one"),
        ("bucket=SampleBucketA  accelerate=true", "has capitals", "--accelerate", "leave"),
        ("bucket=a.b.c  accelerate=true", "has capitals, dots", "--accelerate", "leave"),
        ("bucket=aaa  accelerate=true  force-path-style=true", "path style", "--accelerate", "leave one"),
        ("bucket=aaa  accelerate=true  fips=true", "with FIPS", "--accelerate", "leave one"),
        (
            "bucket=aaa  accelerate=true  endpoint-url=http://x",
            "other endpoints",
            "--accelerate",
            "leave one",
        ),
        (
            "bucket=arn:aws:s3:eu-west-1:111122223333:accesspoint/xxx  accelerate=true",
            "access points",
            "--accelerate",
            "leave",
        ),
        ("bucket=arn:aws:s3::111122223333:accesspoint/x.mrap", "SigV4A", "--bucket", "write it like"),
        ("bucket=arn:aws:s3:::aaa", "name alone: aaa", "--bucket", "write it like"),
    ];
    for (written, message, place, hint) in table {
        let failure = flags(&written.replace("ROLE", ROLE)).refused();
        assert!(failure.message.contains(message), "{written}: {failure}");
        assert_eq!(
            failure.place.as_ref().map(ToString::to_string).as_deref(),
            Some(place),
            "{written}: {failure}"
        );
        assert!(failure.hint.as_deref().unwrap_or_default().contains(hint), "{written}: {failure}");
    }
}

#[test]
fn a_mistake_in_a_variable_or_the_file_is_placed_there() {
    let failure = flags("bucket=aaa").variable("S3XMOUNT_ROLE_ARN", "role").refused();
    assert_eq!(failure.place, Some(Place::Variable("S3XMOUNT_ROLE_ARN".into())));
    let failure = flags("")
        .file("[[mount]]\npath = '/mnt/accountb'\nbuckets = ['aaa']\nrole_arn = [\n  'x',\n]\n")
        .refused();
    let place = failure.place.map(|place| place.to_string()).unwrap_or_default();
    assert!(place.ends_with("config.toml:5"), "{place}");
}

#[test]
fn directories_are_declared_for_each_bucket() {
    const FILE: &str = "[[mount]]\npath = '/mnt/accountb'\nbuckets = ['aaa']\ndirectories = 'in'\n\
        [[mount.bucket]]\nname = 'bbb'\nprefix = 'p'\ndirectories = ['reports/2024/', '/x']\n";
    let settings = flags("").file(FILE).load().unwrap();
    let declared =
        |at: usize| settings.buckets[at].directories.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((declared(0), declared(1)), (vec!["in/".into()], vec!["reports/2024/".into(), "x/".into()]));
}

#[test]
fn a_short_session_is_for_other_servers() {
    let written =
        format!("bucket=aaa  role-arn={ROLE}  duration=20s  sts-endpoint-url=http://127.0.0.1:9000/");
    let settings = flags(&written).load().unwrap();
    let identity = &settings.buckets[0].identity;
    assert_eq!(identity.duration, Duration::from_secs(20));
    assert_eq!(identity.sts_endpoint_url.as_deref(), Some("http://127.0.0.1:9000"));
}

#[test]
fn a_default_for_all_mounts_is_no_contradiction_for_one() {
    const FILE: &str = "external_id = 'abc'\nduration = '8h'\nsse_kms_key_id = 'k'\n\
        [[mount]]\npath = '/mnt/accountb'\nbuckets = ['SampleBucketA']\n";
    let settings = flags("").file(FILE).load().unwrap();
    assert_eq!(settings.buckets[0].sse_kms_key_id, None);
}

#[test]
fn a_default_of_acceleration_is_for_the_buckets_that_can_have_it() {
    const FILE: &str = "accelerate = true\n\
        [[mount]]\npath = '/mnt/accountb'\nbuckets = ['SampleBucketA', 'photos']\n";
    let settings = flags("").file(FILE).load().unwrap();
    let accelerated: Vec<bool> = settings.buckets.iter().map(|bucket| bucket.accelerate).collect();
    assert_eq!(accelerated, [false, true]);
}

#[test]
fn the_wishes_of_the_aws_tools_are_about_aws() {
    let variables = |written: &str| {
        let said = flags(written).variable("AWS_USE_FIPS_ENDPOINT", "true");
        let settings = said.variable("AWS_USE_DUALSTACK_ENDPOINT", "TRUE").load().unwrap();
        let identity = &settings.buckets[0].identity;
        assert_eq!((identity.fips, identity.dualstack), (settings.fips, settings.dualstack));
        (settings.fips, settings.dualstack)
    };
    assert_eq!(variables("bucket=aaa"), (true, true));
    assert_eq!(variables("bucket=aaa  fips=false"), (false, true), "ours come first");
    assert_eq!(variables("bucket=aaa  endpoint-url=http://x"), (false, false));
}

#[test]
fn without_a_bucket_the_way_out_is_shown() {
    let failure = flags("").refused();
    assert!(failure.hint.as_deref().unwrap_or_default().contains("--bucket SampleBucketA"), "{failure}");
    let failure = flags("").file("[[mount]]\npath = '/mnt/other'\nbuckets = ['aaa']\n").refused();
    assert!(failure.hint.as_deref().unwrap_or_default().contains("describes /mnt/other"), "{failure}");
    let failure = flags("").file("[[mount]]\npath = '/mnt/accountb'\n").refused();
    assert!(failure.place.map(|place| place.to_string()).unwrap_or_default().ends_with(":2"));
}

#[test]
fn two_tables_for_one_mount_point_are_refused() {
    let failure =
        flags("").file("[[mount]]\npath = '/mnt/accountb'\n[[mount]]\npath = '/mnt/accountb/'\n").refused();
    assert!(failure.message.contains("two tables"), "{failure}");
}

#[test]
fn a_file_that_is_named_must_exist() {
    let around = Surroundings::default();
    let config = Written::new("/nowhere/config.toml", Place::Flag("--config".into()));
    let failure = load(&CommandLine { config: Some(config), ..CommandLine::default() }, &around).unwrap_err();
    assert_eq!(failure.place, Some(Place::Flag("--config".into())));
}

#[test]
fn no_setting_is_forgotten() {
    // Each key is asked for somewhere: what `settle` never reads cannot be refused for nonsense.
    let nonsense = "\u{1}";
    let unchecked =
        [Key::Profile, Key::MfaCommand, Key::Cache, Key::StagingDir, Key::LogFile, Key::Directories];
    for spec in options::OPTIONS.iter().filter(|spec| !unchecked.contains(&spec.key)) {
        let mut written = flags(&format!("bucket=aaa  role-arn={ROLE}  sse=aws:kms"));
        written.flags.retain(|(name, _)| *name != spec.name);
        written.flags.push((spec.name, nonsense.to_owned()));
        if spec.key == Key::SseKmsKeyId {
            written.flags.push(("sse-kms-key-id", "other".into()));
        }
        assert!(written.load().is_err(), "{}", spec.name);
    }
}
