//! Every way to write a profile, and what it comes to.

use aws_types::os_shim_internal::{Env, Fs};
use proptest::prelude::*;

use super::*;
use crate::credentials::failure::Cause;
use crate::credentials::profile::{self, Leaf, Means, Way};

const KEYS: &str = "aws_access_key_id = AKIAME\naws_secret_access_key = secret\n";

type Variables<'a> = &'a [(&'a str, &'a str)];

/// Reads two files with this text, in this environment.
fn read_files(
    name: Option<&str>,
    config: &str,
    credentials: &str,
    variables: Variables<'_>,
) -> std::result::Result<Option<Way>, Failure> {
    let fs = Fs::from_slice(&[("/config", config), ("/credentials", credentials)]);
    let files = [("AWS_CONFIG_FILE", "/config"), ("AWS_SHARED_CREDENTIALS_FILE", "/credentials")];
    let env = Env::from_slice(&[&files, variables].concat());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(profile::read(name, &fs, &env, "alice-host"))
}

/// The way as one line: the leaf, then the roles.
fn show(way: &Way) -> String {
    let role = |role: &RoleOptions| {
        let mut line = format!("{} {}s {}", role.arn, role.duration.as_secs(), role.session_name);
        for (key, value) in [("mfa", &role.mfa_serial), ("id", &role.external_id)] {
            if let Some(value) = value {
                line += &format!(" {key}={value}");
            }
        }
        line
    };
    let leaf = match &way.leaf {
        Leaf::Keys(keys) => match keys.session_token() {
            Some(token) => format!("keys {} {token}", keys.access_key_id()),
            None => format!("keys {}", keys.access_key_id()),
        },
        Leaf::WebIdentity(identity) => {
            format!("token {} {} of {}", identity.token_file.display(), role(&identity.role), identity.place)
        }
        Leaf::Loaded { profile, by } => match by {
            Means::Process(command) => format!("process {command} of {profile}"),
            Means::SingleSignOn => format!("sso of {profile}"),
            Means::ConsoleLogin => format!("login of {profile}"),
            Means::Environment => format!("environment of {profile}"),
            Means::Container => format!("container of {profile}"),
            Means::Instance => format!("instance of {profile}"),
        },
    };
    way.roles.iter().fold(leaf, |line, next| line + " > " + &role(next))
}

/// The way of the profile `work`.
fn work(config: &str) -> String {
    show(&read_files(Some("work"), config, "", &[]).unwrap().unwrap())
}

#[test]
fn every_way_to_write_a_profile_leads_somewhere() {
    let table = [
        // What a profile has by itself, and what comes before what.
        (format!("[profile work]\n{KEYS}"), "keys AKIAME"),
        (format!("[profile work]\n{KEYS}aws_session_token = t\n"), "keys AKIAME t"),
        (format!("[profile work]\ncredential_process = x\n{KEYS}"), "process x of work"),
        ("[profile work]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n[sso-session s]\nsso_region = x\n".into(), "sso of work"),
        ("[profile work]\nsso_start_url = u\nsso_region = x\nsso_account_id = 1\nsso_role_name = r\n".into(), "sso of work"),
        ("[profile work]\nlogin_session = arn\n".into(), "login of work"),
        ("[profile work]\ncredential_source = Environment\n".into(), "environment of work"),
        // A role, and what assumes it.
        (
            format!("[profile work]\nrole_arn = r\nsource_profile = me\n[profile me]\n{KEYS}"),
            "keys AKIAME > r 3600s alice-host",
        ),
        (
            "[profile work]\nrole_arn = r\nsource_profile = me\n[profile me]\ncredential_process = x y\n".into(),
            "process x y of me > r 3600s alice-host",
        ),
        (
            "[profile work]\nrole_arn = r\nsource_profile = me\n[profile me]\nsso_account_id = 1\nsso_role_name = r\n".into(),
            "sso of me > r 3600s alice-host",
        ),
        (
            "[profile work]\nrole_arn = r\nsource_profile = me\n[profile me]\nrole_arn = q\nweb_identity_token_file = /t\n".into(),
            "token /t q 3600s alice-host of the profile 'me' > r 3600s alice-host",
        ),
        ("[profile work]\nrole_arn = r\ncredential_source = Environment\n".into(), "environment of work > r 3600s alice-host"),
        ("[profile work]\nrole_arn = r\ncredential_source = EcsContainer\n".into(), "container of work > r 3600s alice-host"),
        (
            "[profile work]\nrole_arn = r\ncredential_source = ec2instancemetadata\n".into(),
            "instance of work > r 3600s alice-host",
        ),
        // The profile that is asked for assumes its role, whatever keys it has.
        (
            format!("[profile work]\nrole_arn = r\ncredential_source = Environment\n{KEYS}"),
            "environment of work > r 3600s alice-host",
        ),
        // Its own source_profile: its keys, or its process.
        (format!("[profile work]\nrole_arn = r\nsource_profile = work\n{KEYS}"), "keys AKIAME > r 3600s alice-host"),
        (
            "[profile work]\nrole_arn = r\nsource_profile = work\ncredential_process = x\n".into(),
            "process x of work > r 3600s alice-host",
        ),
        // Chains: the innermost role first, each as its own profile says.
        (
            format!(
                "[profile work]\nrole_arn = outer\nsource_profile = hop\nduration_seconds = 28800\nrole_session_name = job\n\
                 [profile hop]\nrole_arn = inner\nsource_profile = me\nduration_seconds = 900\nmfa_serial = d\nexternal_id = w\n\
                 [profile me]\n{KEYS}"
            ),
            "keys AKIAME > inner 900s alice-host mfa=d id=w > outer 28800s job",
        ),
        (
            format!(
                "[profile work]\nrole_arn = outer\nsource_profile = hop\n\
                 [profile hop]\nrole_arn = inner\nsource_profile = hop\n{KEYS}"
            ),
            "keys AKIAME > outer 3600s alice-host",
        ),
        // Keys of a profile that is referred to come before its role.
        (
            format!("[profile work]\nrole_arn = r\nsource_profile = me\n[profile me]\nrole_arn = no\nsource_profile = no\n{KEYS}"),
            "keys AKIAME > r 3600s alice-host",
        ),
        // A token comes before a source_profile, as there is nothing to assume the role with but the token.
        (
            "[profile work]\nrole_arn = r\nweb_identity_token_file = /t\nsource_profile = no\nduration_seconds = 7200\nrole_session_name = job\n".into(),
            "token /t r 7200s job of the profile 'work'",
        ),
        // An empty value is none.
        (format!("[profile work]\nrole_arn =\nsource_profile = no\n{KEYS}"), "keys AKIAME"),
        (
            format!("[profile work]\nrole_arn = r\nsource_profile = me\nmfa_serial =\nduration_seconds =\n[profile me]\n{KEYS}"),
            "keys AKIAME > r 3600s alice-host",
        ),
    ];
    for (config, expected) in table {
        assert_eq!(work(&config), expected, "{config}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_profile_and_key_with_what_to_change() {
    let table = [
        (
            "[profile other]\nx = y\n",
            "no profile 'work', which the configuration names",
            "[profile work] in ~/.aws/config",
        ),
        ("[work]\nrole_arn = r\n", "no profile 'work'", "[profile work] in ~/.aws/config"),
        ("[profile work]\nregion = x\n", "'work' says nothing about credentials", "give it keys"),
        (
            "[profile work]\nsso_session = s\n",
            "'work' says nothing about credentials",
            "sso_account_id and sso_role_name",
        ),
        (
            "[profile work]\nrole_arn = r\nsource_profile = gone\n",
            "no profile 'gone', which source_profile of 'work' names",
            "[profile gone]",
        ),
        (
            "[profile work]\nrole_arn = r\nsource_profile = me\n[profile me]\nregion = x\n",
            "'me' says nothing about credentials",
            "[profile me]",
        ),
        ("[profile work]\nrole_arn = r\n", "'work' has a role_arn, but neither", "source_profile with which"),
        (
            "[profile work]\nrole_arn = r\nsource_profile = a\ncredential_source = Environment\n",
            "has both source_profile and credential_source",
            "remove one",
        ),
        (
            "[profile work]\nrole_arn = r\nsource_profile = work\n",
            "'work' is its own source_profile",
            "let source_profile name another",
        ),
        (
            "[profile work]\nrole_arn = r\ncredential_source = Magic\n",
            "credential_source 'Magic'",
            "Ec2InstanceMetadata",
        ),
        (
            "[profile work]\nrole_arn = r\nsource_profile = b\n[profile b]\nrole_arn = q\nsource_profile = c\n\
             [profile c]\nrole_arn = p\nsource_profile = b\n",
            "source_profile leads in a circle: work → b → c → b",
            "keys of its own",
        ),
        (
            "[profile work]\nrole_arn = r\nsource_profile = b\n[profile b]\nrole_arn = q\nsource_profile = b\n",
            "'b' is its own source_profile",
            "aws_access_key_id",
        ),
        (
            "[profile work]\nrole_arn = r\ncredential_source = Environment\nduration_seconds = 8h\n",
            "duration_seconds '8h'",
            "900 to 43200",
        ),
        (
            "[profile work]\nrole_arn = r\ncredential_source = Environment\nduration_seconds = 899\n",
            "duration_seconds '899'",
            "900 to 43200",
        ),
        (
            "[profile work]\nrole_arn = r\nweb_identity_token_file = /t\nduration_seconds = 43201\n",
            "duration_seconds '43201'",
            "900 to 43200",
        ),
        (
            "[profile work]\nweb_identity_token_file = /t\n",
            "'work' has a web_identity_token_file, but no role_arn",
            "role_arn",
        ),
        (
            "[profile work]\naws_access_key_id = A\n",
            "has aws_access_key_id, but no aws_secret_access_key",
            "add aws_secret",
        ),
        (
            "[profile work]\nrole_arn = r\nsource_profile = me\n[profile me]\naws_secret_access_key = hidden\n",
            "'me' has aws_secret_access_key, but no aws_access_key_id",
            "add aws_access_key_id",
        ),
        ("[profile work\n", "error parsing /config on line 1: ", "correct that line"),
    ];
    for (config, said, hint) in table {
        let failure = read_files(Some("work"), config, "", &[]).err().unwrap();
        let words = failure.to_string();
        let (what, to_do) = words.split_once("hint: ").unwrap();
        assert!(what.contains(said) && to_do.contains(hint), "{words}");
        assert!(failure.cause() == Cause::BaseMisconfigured && !words.contains("hidden"), "{words}");
    }
}

#[test]
fn the_two_files_are_one_and_the_credentials_file_wins() {
    let config = "[profile work]\nrole_arn = r\nsource_profile = me\n[profile me]\naws_access_key_id = OLD\n\
                  aws_secret_access_key = old\n";
    let way = read_files(Some("work"), config, &format!("[me]\n{KEYS}"), &[]).unwrap().unwrap();
    assert_eq!(show(&way), "keys AKIAME > r 3600s alice-host");
}

#[test]
fn without_a_name_the_environment_decides() {
    let config = format!(
        "[default]\nrole_arn = d\nsource_profile = me\n[profile me]\n{KEYS}\
         [profile work]\nrole_arn = w\nsource_profile = me\n[profile quiet]\nregion = x\nsso_session = s\n"
    );
    let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    let token =
        [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "r"), ("AWS_ROLE_SESSION_NAME", "pod")];
    let quiet = ("AWS_PROFILE", "quiet");
    let of_token = "token /t r 3600s pod of AWS_WEB_IDENTITY_TOKEN_FILE in the environment";
    let table: [(Variables<'_>, Option<&str>); 9] = [
        (&[], Some("keys AKIAME > d 3600s alice-host")),
        (&[("AWS_PROFILE", "work")], Some("keys AKIAME > w 3600s alice-host")),
        (&[("AWS_PROFILE", "")], Some("keys AKIAME > d 3600s alice-host")),
        (&keys, None),
        (&[keys[0], keys[1], ("AWS_PROFILE", "work")], None),
        (&keys[..1], Some("keys AKIAME > d 3600s alice-host")),
        (&[quiet], None),
        (&[quiet, token[0], token[1], token[2]], Some(of_token)),
        (&[token[0], token[1], token[2]], Some("keys AKIAME > d 3600s alice-host")),
    ];
    for (variables, expected) in table {
        let way = read_files(None, &config, "", variables).unwrap();
        assert_eq!(way.as_ref().map(show).as_deref(), expected, "{variables:?}");
    }
    let way = read_files(None, "", "", &token).unwrap();
    assert_eq!(way.as_ref().map(show).as_deref(), Some(of_token));
    assert!(read_files(None, "", "", &[]).unwrap().is_none());
}

#[test]
fn a_profile_that_the_environment_names_and_nobody_wrote_is_not_passed_over() {
    let failure = read_files(None, "", "", &[("AWS_PROFILE", "wrok")]).err().unwrap();
    assert!(failure.to_string().contains("no profile 'wrok', which AWS_PROFILE names"), "{failure}");
}

/// A profile of a few, which refers to any of them and has any of the rest.
fn section(name: u8) -> impl Strategy<Value = String> {
    let lines = (
        prop::option::of(0..5_u8),
        any::<bool>(),
        prop::option::weighted(0.2, Just("credential_source = Environment\n")),
        prop::option::weighted(0.2, Just(KEYS)),
    );
    lines.prop_map(move |(source, has_role, machine, keys)| {
        let source = source.map(|source| format!("source_profile = {source}\n")).unwrap_or_default();
        let role = if has_role { format!("role_arn = role-{name}\n") } else { String::new() };
        [
            &format!("[profile {name}]\nx = y\n"),
            &role,
            &source,
            machine.unwrap_or_default(),
            keys.unwrap_or_default(),
        ]
        .concat()
    })
}

proptest! {
    /// However profiles refer to each other, there is an end to it, and no role comes twice.
    #[test]
    fn every_tangle_of_profiles_comes_to_an_end(
        sections in (section(0), section(1), section(2), section(3)),
    ) {
        let config = [sections.0, sections.1, sections.2, sections.3].concat();
        if let Ok(way) = read_files(Some("0"), &config, "", &[]) {
            let arns: Vec<String> = way.unwrap().roles.into_iter().map(|role| role.arn).collect();
            let distinct: std::collections::BTreeSet<&String> = arns.iter().collect();
            prop_assert_eq!(distinct.len(), arns.len(), "{}", config);
            // The one that was asked for is the last to be assumed.
            prop_assert!(arns.is_empty() || arns.last().is_some_and(|arn| arn == "role-0"));
        }
    }
}
