//! Profiles of the AWS tools that assume roles.
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
//! [`Leaf`], is for the SDK, which knows processes, SSO, tokens, containers and instances; the roles
//! become the first ones of our own chain.
//!
//! What the keys mean is said in the AWS SDKs and Tools Reference Guide, "Assume role credential provider".

use std::time::Duration;

use aws_config::profile::{self, Profile, ProfileSet};
use aws_credential_types::Credentials as Keys;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_types::os_shim_internal::{Env, Fs};

use super::RoleOptions;
use super::role::{Cause, Failure};

/// How a profile comes by keys.
#[derive(Debug)]
pub(super) struct Way {
    /// Where it begins.
    pub(super) leaf: Leaf,
    /// The roles to assume from there, in order.
    pub(super) roles: Vec<RoleOptions>,
}

/// The innermost identity of a profile.
#[derive(Debug)]
pub(super) enum Leaf {
    /// What the SDK makes of this profile, which names no role.
    Profile(String),
    /// These keys, of a profile that names a role as well.
    Keys(Keys),
    /// What this command prints, of a profile that names a role as well.
    Process(String),
    /// Keys in the environment.
    Environment,
    /// The container's role.
    Container,
    /// The instance's role.
    Instance,
}

/// Reads the way of the profile `name`, from the files as they are now.
///
/// Without a name it is that of the profile that the AWS tools choose; `None` then if they would not
/// come to a profile at all, or to one that the SDK does justice to.
pub(super) async fn way(name: Option<&str>, session_name: &str) -> Result<Option<Way>, Failure> {
    let env = Env::real();
    if name.is_none() && has_keys(&env) {
        return Ok(None);
    }
    let files = EnvConfigFiles::default();
    let wanted = name.map(|name| name.to_owned().into());
    let profiles = match profile::load(&Fs::real(), &env, &files, wanted).await {
        Ok(profiles) => profiles,
        // Nobody has named a profile; what is wrong with the files, the SDK will say in its turn.
        Err(_) if name.is_none() => return Ok(None),
        Err(error) => return Err(misconfigured(super::role::innermost_words(&error))),
    };
    match profiles.get_profile(profiles.selected_profile()) {
        None if name.is_none() => Ok(None),
        Some(profile) if name.is_none() && !is_role(profile) => Ok(None),
        _ => resolve(&profiles, session_name).map(Some),
    }
}

/// Keys in the environment come before any profile that nobody has named on our command line.
fn has_keys(env: &Env) -> bool {
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
        .iter()
        .all(|name| env.get(name).is_ok_and(|value| !value.trim().is_empty()))
}

/// Finds the way from the selected profile to its innermost end.
fn resolve(profiles: &ProfileSet, session_name: &str) -> Result<Way, Failure> {
    let mut name = profiles.selected_profile();
    let mut visited: Vec<&str> = Vec::new();
    let mut roles = Vec::new();
    let leaf = loop {
        let profile = profiles.get_profile(name).ok_or_else(|| missing(name, visited.last().copied()))?;
        if visited.contains(&name) {
            visited.push(name);
            return Err(misconfigured(format!("the profiles form a circle: {}", visited.join(" → "))));
        }
        visited.push(name);
        // "If the profile that is referenced has keys, these are used", whatever else is in it.
        if let (true, Some(keys)) = (visited.len() > 1, keys(profile)) {
            break Leaf::Keys(keys);
        }
        if !is_role(profile) {
            break Leaf::Profile(name.to_owned());
        }
        roles.push(role(profile, session_name)?);
        match source(profile)? {
            Source::Profile(next) => name = next,
            Source::Leaf(leaf) => break leaf,
        }
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
    let name = profile.name();
    let refused = |why: &str| Err(misconfigured(format!("the profile '{name}' {why}")));
    match (profile.get("source_profile"), profile.get("credential_source")) {
        (Some(_), Some(_)) => refused("has both source_profile and credential_source; one of them must go"),
        (None, None) => refused("names a role_arn, but neither source_profile nor credential_source"),
        (Some(source), None) if source != name => Ok(Source::Profile(source)),
        // Its own keys, then.
        (Some(_), None) => match (keys(profile), profile.get("credential_process")) {
            (Some(keys), _) => Ok(Source::Leaf(Leaf::Keys(keys))),
            (None, Some(command)) => Ok(Source::Leaf(Leaf::Process(command.to_owned()))),
            (None, None) => {
                refused("is its own source_profile, but has neither keys nor a credential_process")
            }
        },
        (None, Some("Environment")) => Ok(Source::Leaf(Leaf::Environment)),
        (None, Some("EcsContainer")) => Ok(Source::Leaf(Leaf::Container)),
        (None, Some("Ec2InstanceMetadata")) => Ok(Source::Leaf(Leaf::Instance)),
        (None, Some(other)) => {
            let known = "Environment, EcsContainer and Ec2InstanceMetadata";
            refused(&format!("has the credential_source '{other}'; there are {known}"))
        }
    }
}

/// Whether a profile assumes a role with other keys. With a token it does not need any: that is for the SDK.
fn is_role(profile: &Profile) -> bool {
    profile.get("role_arn").is_some() && profile.get("web_identity_token_file").is_none()
}

fn role(profile: &Profile, session_name: &str) -> Result<RoleOptions, Failure> {
    let text = |key: &str| profile.get(key).map(str::to_owned);
    let session_name = text("role_session_name").unwrap_or_else(|| session_name.to_owned());
    let role = RoleOptions::new(text("role_arn").unwrap_or_default(), session_name);
    Ok(RoleOptions {
        duration: duration(profile)?.unwrap_or(role.duration),
        external_id: text("external_id"),
        mfa_serial: text("mfa_serial"),
        ..role
    })
}

fn duration(profile: &Profile) -> Result<Option<Duration>, Failure> {
    let Some(text) = profile.get("duration_seconds") else { return Ok(None) };
    let seconds = text.parse().ok().filter(|seconds| (900..=43_200).contains(seconds));
    let seconds = seconds.ok_or_else(|| {
        let name = profile.name();
        misconfigured(format!("the profile '{name}' has the duration_seconds '{text}'; it is 900 to 43200"))
    })?;
    Ok(Some(Duration::from_secs(seconds)))
}

fn keys(profile: &Profile) -> Option<Keys> {
    let text = |key: &str| profile.get(key).map(str::to_owned);
    let (id, secret) = (text("aws_access_key_id")?, text("aws_secret_access_key")?);
    Some(Keys::new(id, secret, text("aws_session_token"), None, "profile"))
}

fn missing(name: &str, referrer: Option<&str>) -> Failure {
    misconfigured(match referrer {
        Some(referrer) => {
            format!("there is no profile '{name}', which is the source_profile of '{referrer}'")
        }
        None => format!("there is no profile '{name}'"),
    })
}

fn misconfigured(why: String) -> Failure {
    Failure::new(Cause::BaseMisconfigured).quoting(why)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use aws_runtime::env_config::file::EnvConfigFileKind;

    use super::*;

    const KEYS: &str = "aws_access_key_id = AKIAME\naws_secret_access_key = secret\n";

    /// The way of the profile `work`, as one line: the leaf, then the roles.
    async fn of(config: &str) -> Result<String, String> {
        let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, config).build();
        let (fs, env) = (Fs::from_slice(&[]), Env::from_slice(&[]));
        let profiles = profile::load(&fs, &env, &files, Some("work".into())).await.unwrap();
        let way = resolve(&profiles, "default-name").map_err(|failure| failure.to_string())?;
        let leaf = match way.leaf {
            Leaf::Keys(keys) => format!("keys {}", keys.access_key_id()),
            Leaf::Profile(name) => format!("profile {name}"),
            other => format!("{other:?}"),
        };
        let roles = way.roles.iter().map(|role| format!(" > {} {}s", role.arn, role.duration.as_secs()));
        Ok(leaf + &roles.collect::<String>())
    }

    #[tokio::test]
    async fn every_way_to_write_a_profile_leads_somewhere() {
        for (config, expected) in [
            (format!("[profile work]\n{KEYS}"), "profile work"),
            ("[profile work]\ncredential_process = x\n".into(), "profile work"),
            ("[profile work]\nrole_arn = r\nweb_identity_token_file = /t\n".into(), "profile work"),
            (
                format!("[profile work]\nrole_arn = r\nsource_profile = me\n[profile me]\n{KEYS}"),
                "keys AKIAME > r 3600s",
            ),
            (
                "[profile work]\nrole_arn = r\nsource_profile = me\n[profile me]\ncredential_process = x\n"
                    .into(),
                "profile me > r 3600s",
            ),
            (format!("[profile work]\nrole_arn = r\nsource_profile = work\n{KEYS}"), "keys AKIAME > r 3600s"),
            (
                "[profile work]\nrole_arn = r\nsource_profile = work\ncredential_process = x\n".into(),
                "Process(\"x\") > r 3600s",
            ),
            (
                "[profile work]\nrole_arn = r\ncredential_source = Environment\n".into(),
                "Environment > r 3600s",
            ),
            (
                "[profile work]\nrole_arn = r\ncredential_source = EcsContainer\n".into(),
                "Container > r 3600s",
            ),
            (
                "[profile work]\nrole_arn = r\ncredential_source = Ec2InstanceMetadata\n".into(),
                "Instance > r 3600s",
            ),
            (
                format!(
                    "[profile work]\nrole_arn = outer\nsource_profile = hop\nduration_seconds = 28800\n\
                     [profile hop]\nrole_arn = inner\nsource_profile = me\nduration_seconds = 900\n[profile me]\n{KEYS}"
                ),
                "keys AKIAME > inner 900s > outer 28800s",
            ),
            // Keys of a profile that is referred to come before its role.
            (
                format!(
                    "[profile work]\nrole_arn = r\nsource_profile = me\n[profile me]\nrole_arn = not\nsource_profile = x\n{KEYS}"
                ),
                "keys AKIAME > r 3600s",
            ),
        ] {
            assert_eq!(of(&config).await.as_deref(), Ok(expected), "{config}");
        }
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_refused_by_name() {
        for (config, said) in [
            ("[profile other]\nx = y\n", "no profile 'work'"),
            (
                "[profile work]\nrole_arn = r\nsource_profile = gone\n",
                "no profile 'gone', which is the source_profile of 'work'",
            ),
            ("[profile work]\nrole_arn = r\n", "neither source_profile nor credential_source"),
            (
                "[profile work]\nrole_arn = r\nsource_profile = a\ncredential_source = Environment\n",
                "has both",
            ),
            ("[profile work]\nrole_arn = r\nsource_profile = work\n", "has neither keys nor"),
            ("[profile work]\nrole_arn = r\ncredential_source = Magic\n", "'Magic'; there are Environment"),
            (
                "[profile work]\nrole_arn = r\nsource_profile = b\n[profile b]\nrole_arn = q\nsource_profile = work\n",
                "a circle: work → b → work",
            ),
            (
                "[profile work]\nrole_arn = r\ncredential_source = Environment\nduration_seconds = 8h\n",
                "'8h'; it is 900",
            ),
            (
                "[profile work]\nrole_arn = r\ncredential_source = Environment\nduration_seconds = 60\n",
                "'60'; it is 900",
            ),
        ] {
            let failure = of(config).await.unwrap_err();
            assert!(failure.contains(said) && failure.contains("~/.aws/config"), "{failure}");
        }
    }

    #[tokio::test]
    async fn a_role_is_assumed_as_its_profile_says() {
        let config = "[profile work]\nrole_arn = r\ncredential_source = Environment\nexternal_id = word\n\
            mfa_serial = device\nrole_session_name = mine\n";
        let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, config).build();
        let (fs, env) = (Fs::from_slice(&[]), Env::from_slice(&[]));
        let profiles = profile::load(&fs, &env, &files, Some("work".into())).await.unwrap();
        let role = resolve(&profiles, "default-name").unwrap().roles.remove(0);
        assert_eq!((role.external_id.as_deref(), role.mfa_serial.as_deref()), (Some("word"), Some("device")));
        assert_eq!(role.session_name, "mine");
    }

    #[test]
    fn keys_in_the_environment_count_when_both_are_there() {
        let both = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
        assert!(has_keys(&Env::from_slice(&both)));
        assert!(!has_keys(&Env::from_slice(&both[..1])) && !has_keys(&Env::from_slice(&[])));
    }
}
