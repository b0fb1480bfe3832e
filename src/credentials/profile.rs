//! Profiles of the AWS tools, and how each comes by keys.
//!
//! A profile may name a role, and another profile whose keys assume it, which may name a role itself:
//!
//! ```text
//!   [profile work]                        [profile hop]                  [profile me]
//!   role_arn = ../data   source_profile   role_arn = ../hop              aws_access_key_id = ..
//!   duration_seconds = 28800   ────────►  source_profile = me  ───────►  aws_secret_access_key = ..
//!   mfa_serial = ..
//! ```
//!
//! The SDK can walk that way, but drops `duration_seconds` and `mfa_serial` as it goes, and keeps
//! what it has read once. So the way is read here, anew each time, and split: its innermost end, the
//! [`Leaf`], gives keys by itself; the roles become the first ones of our own chain.
//!
//! What the keys mean is said in the AWS SDKs and Tools Reference Guide, "Assume role credential
//! provider". Where it is silent, we do as the AWS CLI does.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use aws_config::profile::{Profile, ProfileFileLoadError, ProfileSet};
use aws_credential_types::Credentials as Keys;
use aws_types::os_shim_internal::{Env, Fs};

use super::RoleOptions;
use super::failure::{Cause, Failure};
use super::web_identity::WebIdentity;

/// How a profile comes by keys.
pub(super) struct Way {
    /// Where it begins.
    pub(super) leaf: Leaf,
    /// The roles to assume from there, in order.
    pub(super) roles: Vec<RoleOptions>,
}

/// Who we are before the first role with a profile of its own.
///
/// Nothing here is printed: keys are secret, and the arguments of a command may be.
pub(super) enum Leaf {
    /// Keys that stand in the files.
    Keys(Keys),
    /// A role for which a token is shown instead of keys.
    WebIdentity(WebIdentity),
    /// What the SDK loads for this profile.
    Loaded {
        /// The profile.
        profile: String,
        /// By which of its means.
        by: Means,
    },
}

/// What the SDK can load keys by.
pub(super) enum Means {
    /// The output of this command.
    Process(String),
    /// A login with IAM Identity Center.
    SingleSignOn,
    /// A login with the AWS console.
    ConsoleLogin,
    /// Keys in the environment.
    Environment,
    /// The role of the container: of a task in ECS, of a pod in EKS.
    Container,
    /// The role of the EC2 instance.
    Instance,
}

/// Reads how we come by keys, from the files as they are now.
///
/// The profile `name` decides. Without a name it is up to the environment, as for the AWS tools:
/// keys in it come first, then the profile that `AWS_PROFILE` names or else the default one, then a
/// web identity. `None` if none of these has a say; what comes after them is for the SDK to find.
pub(super) async fn way(name: Option<&str>, session_name: &str) -> Result<Option<Way>, Failure> {
    // The SDK looks at the environment by itself wherever we let it load something; what we find out
    // in its place, we find out through the same eyes.
    read(name, &Fs::real(), &Env::real(), session_name).await
}

/// Reads it on any machine.
pub(super) async fn read(
    name: Option<&str>,
    fs: &Fs,
    env: &Env,
    session_name: &str,
) -> Result<Option<Way>, Failure> {
    if name.is_none() && has_keys(env) {
        return Ok(None);
    }
    let profiles = aws_config::profile::load(fs, env, &Default::default(), None).await;
    let profiles = profiles.map_err(|error| unreadable(&error))?;
    match name {
        Some(name) => resolve(&profiles, name, session_name).map(Some),
        None => usual(&profiles, env, session_name),
    }
}

fn has_keys(env: &Env) -> bool {
    let is_set = |name: &str| env.get(name).is_ok_and(|value| !value.trim().is_empty());
    // The last one is an old name of the secret, which the SDK still takes.
    is_set("AWS_ACCESS_KEY_ID") && (is_set("AWS_SECRET_ACCESS_KEY") || is_set("SECRET_ACCESS_KEY"))
}

/// What holds if nobody has named a profile on our own command line.
fn usual(profiles: &ProfileSet, env: &Env, session_name: &str) -> Result<Option<Way>, Failure> {
    let selected = match profiles.selected_profile() {
        "" => DEFAULT,
        selected => selected,
    };
    match profiles.get_profile(selected) {
        Some(profile) if has_a_say(profile) => resolve(profiles, selected, session_name).map(Some),
        // Going on with whoever this machine is, because of a typing error, would be a nasty surprise.
        None if selected != DEFAULT => Err(missing(selected, "AWS_PROFILE")),
        _ => Ok(WebIdentity::of_environment(env, session_name)
            .map(|identity| Way { leaf: Leaf::WebIdentity(identity), roles: Vec::new() })),
    }
}

/// Finds the way from the profile `name` to its innermost end.
fn resolve(profiles: &ProfileSet, name: &str, session_name: &str) -> Result<Way, Failure> {
    let mut profile = profiles.get_profile(name).ok_or_else(|| missing(name, "the configuration"))?;
    let mut visited = Vec::new();
    let mut roles = Vec::new();
    let leaf = loop {
        visited.push(profile.name());
        // Keys of a profile that others refer to come before its role; only for itself it is the
        // other way round.
        if visited.len() > 1
            && let Some(keys) = keys(profile)?
        {
            break Leaf::Keys(keys);
        }
        if !assumes_role(profile) {
            break own_leaf(profile, session_name)?;
        }
        roles.push(role(profile, session_name)?);
        let next = match source(profile)? {
            Source::Leaf(leaf) => break leaf,
            Source::Profile(next) => next,
        };
        if visited.contains(&next) {
            return Err(circle(&visited, next));
        }
        let referrer = || format!("source_profile of '{}'", profile.name());
        profile = profiles.get_profile(next).ok_or_else(|| missing(next, &referrer()))?;
    };
    roles.reverse();
    Ok(Way { leaf, roles })
}

/// Where the keys come from that assume a profile's role.
enum Source<'a> {
    Profile(&'a str),
    Leaf(Leaf),
}

fn source(profile: &Profile) -> Result<Source<'_>, Failure> {
    match (text(profile, "source_profile"), text(profile, "credential_source")) {
        (Some(_), Some(_)) => Err(wrong(
            profile,
            "has both source_profile and credential_source",
            "remove one of the two: the role is assumed either with another profile or with what the machine has",
        )),
        (None, None) => Err(wrong(
            profile,
            "has a role_arn, but neither source_profile nor credential_source",
            "say in source_profile with which profile to assume the role",
        )),
        (Some(source), None) if source == profile.name() => itself(profile).map(Source::Leaf),
        (Some(source), None) => Ok(Source::Profile(source)),
        (None, Some(source)) => machine(profile, source).map(Source::Leaf),
    }
}

/// The identity of a profile that is its own `source_profile`: what it has beside the role.
fn itself(profile: &Profile) -> Result<Leaf, Failure> {
    match (keys(profile)?, text(profile, "credential_process")) {
        (Some(keys), _) => Ok(Leaf::Keys(keys)),
        (None, Some(command)) => Ok(loaded(profile, Means::Process(command.to_owned()))),
        (None, None) => Err(wrong(
            profile,
            "is its own source_profile, but has neither keys nor a credential_process",
            "give it aws_access_key_id and aws_secret_access_key, or let source_profile name another profile",
        )),
    }
}

/// The identity that a `credential_source` stands for.
fn machine(profile: &Profile, source: &str) -> Result<Leaf, Failure> {
    let means = match source.to_ascii_lowercase().as_str() {
        "environment" => Means::Environment,
        "ecscontainer" => Means::Container,
        "ec2instancemetadata" => Means::Instance,
        _ => {
            let what = format!("has the credential_source '{source}', which does not exist");
            return Err(wrong(profile, &what, "there are Environment, EcsContainer and Ec2InstanceMetadata"));
        }
    };
    Ok(loaded(profile, means))
}

/// The identity of a profile that assumes no role with other keys. What comes before what is as in the SDK.
fn own_leaf(profile: &Profile, session_name: &str) -> Result<Leaf, Failure> {
    if let Some(source) = text(profile, "credential_source") {
        return machine(profile, source);
    }
    if let Some(token_file) = text(profile, "web_identity_token_file") {
        return web_identity(profile, token_file.into(), session_name);
    }
    if signs_on(profile) {
        return Ok(loaded(profile, Means::SingleSignOn));
    }
    if text(profile, "login_session").is_some() {
        return Ok(loaded(profile, Means::ConsoleLogin));
    }
    if let Some(command) = text(profile, "credential_process") {
        return Ok(loaded(profile, Means::Process(command.to_owned())));
    }
    let none = || {
        let hint = "give it keys, a credential_process, a role_arn, or an sso_session with sso_account_id and sso_role_name";
        wrong(profile, "says nothing about credentials", hint)
    };
    keys(profile)?.map(Leaf::Keys).ok_or_else(none)
}

fn web_identity(profile: &Profile, token_file: PathBuf, session_name: &str) -> Result<Leaf, Failure> {
    if text(profile, "role_arn").is_none() {
        let what = "has a web_identity_token_file, but no role_arn";
        return Err(wrong(profile, what, "say in role_arn which role to assume with the token"));
    }
    let place = format!("the profile '{}'", profile.name());
    Ok(Leaf::WebIdentity(WebIdentity { role: role(profile, session_name)?, token_file, place }))
}

fn loaded(profile: &Profile, by: Means) -> Leaf {
    Leaf::Loaded { profile: profile.name().to_owned(), by }
}

/// Whether a profile assumes a role with other keys. With a token it does not need any.
fn assumes_role(profile: &Profile) -> bool {
    text(profile, "role_arn").is_some() && text(profile, "web_identity_token_file").is_none()
}

/// Whether a profile logs in to an account. With less than these two it is for tools that want a token only.
fn signs_on(profile: &Profile) -> bool {
    text(profile, "sso_account_id").is_some() || text(profile, "sso_role_name").is_some()
}

/// Whether a profile says anything about credentials. Many a default profile only names a region.
fn has_a_say(profile: &Profile) -> bool {
    signs_on(profile) || KEYS_WITH_A_SAY.iter().any(|key| text(profile, key).is_some())
}

fn role(profile: &Profile, session_name: &str) -> Result<RoleOptions, Failure> {
    let owned = |key| text(profile, key).map(str::to_owned);
    let session_name = owned("role_session_name").unwrap_or_else(|| session_name.to_owned());
    let role = RoleOptions::new(owned("role_arn").unwrap_or_default(), session_name);
    Ok(RoleOptions {
        duration: duration(profile)?.unwrap_or(role.duration),
        external_id: owned("external_id"),
        mfa_serial: owned("mfa_serial"),
        ..role
    })
}

fn duration(profile: &Profile) -> Result<Option<Duration>, Failure> {
    let Some(text) = text(profile, "duration_seconds") else { return Ok(None) };
    match text.parse() {
        Ok(seconds) if (SECONDS_MIN..=SECONDS_MAX).contains(&seconds) => {
            Ok(Some(Duration::from_secs(seconds)))
        }
        _ => Err(wrong(
            profile,
            &format!("has the duration_seconds '{text}'"),
            &format!("it is a number of seconds from {SECONDS_MIN} to {SECONDS_MAX}"),
        )),
    }
}

/// The keys that stand in a profile, if any do.
fn keys(profile: &Profile) -> Result<Option<Keys>, Failure> {
    let [id, secret] = ["aws_access_key_id", "aws_secret_access_key"].map(|key| (key, text(profile, key)));
    match (id, secret) {
        ((_, Some(id)), (_, Some(secret))) => {
            let token = text(profile, "aws_session_token").map(str::to_owned);
            Ok(Some(Keys::new(id, secret, token, None, "profile")))
        }
        ((_, None), (_, None)) => Ok(None),
        ((there, Some(_)), (lacking, None)) | ((lacking, None), (there, Some(_))) => {
            let what = format!("has {there}, but no {lacking}");
            Err(wrong(profile, &what, &format!("add {lacking}, or remove {there}")))
        }
    }
}

/// The value of a key in a profile. Nothing is as good as no key at all.
fn text<'a>(profile: &'a Profile, key: &str) -> Option<&'a str> {
    profile.get(key).map(str::trim).filter(|value| !value.is_empty())
}

fn wrong(profile: &Profile, what: &str, hint: &str) -> Failure {
    let name = profile.name();
    misconfigured(format!("the profile '{name}' {what}")).hinting(format!("{hint}; {}", place(name)))
}

fn missing(name: &str, referrer: &str) -> Failure {
    misconfigured(format!("there is no profile '{name}', which {referrer} names"))
        .hinting(format!("check the name; {}", place(name)))
}

fn circle(visited: &[&str], next: &str) -> Failure {
    let circle = [visited, &[next]].concat().join(" → ");
    misconfigured(format!("source_profile leads in a circle: {circle}"))
        .hinting("let the last of these profiles name one that has keys of its own")
}

/// Says which line of which file is not as it should be; what stands there may be secret.
fn unreadable(error: &ProfileFileLoadError) -> Failure {
    let words = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    misconfigured(words.split_whitespace().collect::<Vec<_>>().join(" ")).hinting("correct that line")
}

/// Where a profile stands. Sections of the one file with headings of the other are silently ignored.
fn place(name: &str) -> String {
    match name {
        DEFAULT => "it is [default] in ~/.aws/config and ~/.aws/credentials".to_owned(),
        name => format!("it is [profile {name}] in ~/.aws/config and [{name}] in ~/.aws/credentials"),
    }
}

fn misconfigured(what: String) -> Failure {
    Failure::new(Cause::BaseMisconfigured).quoting(what)
}

const DEFAULT: &str = "default";

/// STS API reference, `AssumeRole`, `DurationSeconds`.
const SECONDS_MIN: u64 = 900;
const SECONDS_MAX: u64 = 43_200;

const KEYS_WITH_A_SAY: &[&str] = &[
    "aws_access_key_id",
    "aws_secret_access_key",
    "credential_process",
    "credential_source",
    "login_session",
    "role_arn",
    "web_identity_token_file",
];
