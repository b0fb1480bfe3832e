//! Whose right is used: a base identity, the roles that are assumed from it, and how.
//!
//! Every bucket has an [`Identity`]. Those of a mount are usually all equal, and equal ones share one
//! role session; a bucket in another account may name a role of its own.

use std::time::Duration;

use serde_json::Value;

use super::arn::RoleArn;
use super::endpoint;
use super::failure::Failure;
use super::merge::Layers;
use super::options::Key;
use super::settle::{not_empty, one_of, region, url};
use super::surroundings::Surroundings;
use super::units;
use crate::secret::Secret;

/// Who signs requests, and how their role sessions are come by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The profile that the base identity comes from.
    pub profile: Option<String>,
    /// The region of STS.
    pub region: Option<String>,
    /// Where STS answers, if not at AWS.
    pub sts_endpoint_url: Option<String>,
    /// STS is asked where it also answers over IPv6.
    pub dualstack: bool,
    /// STS is asked where its cryptography is validated.
    pub fips: bool,
    /// The roles to assume, one with the session of the other; empty for the base identity itself,
    /// and for what the profile assumes by itself.
    pub roles: Vec<RoleArn>,
    /// What the role sessions are called.
    pub role_session_name: String,
    /// How long a role session lives.
    pub duration: Duration,
    /// The external id that the last role's trust policy asks for.
    pub external_id: Option<String>,
    /// The name that stays with all sessions of the chain, set with the first role.
    pub source_identity: Option<String>,
    /// The tags of the role sessions.
    pub session_tags: Vec<SessionTag>,
    /// The MFA device whose code the first role's trust policy asks for.
    pub mfa_serial: Option<String>,
    /// A command that prints the present code. It may have the seed of all codes in it.
    pub mfa_command: Option<Secret>,
    /// What bounds the session of the last role beyond the role's own policies.
    pub session_policy: SessionPolicy,
    /// Managed policies that bound it.
    pub policy_arns: Vec<String>,
    /// What to do when a session that worked is denied what it could do.
    pub on_revoked: OnRevoked,
    /// Whether the start waits for what may pass, such as a network that is not up yet.
    pub wait: bool,
}

/// A session tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTag {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Whether it stays with the sessions that are come by with this one.
    pub transitive: bool,
}

/// What bounds a session beyond the role's own policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionPolicy {
    /// A policy made from what the mount shows and may change.
    Auto,
    /// Nothing.
    None,
    /// This document.
    Document(String),
}

/// What to do when a session that worked is denied what it could do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRevoked {
    /// Assume the role once more, and try again.
    Reassume,
    /// Let the denial stand.
    Fail,
}

impl OnRevoked {
    /// All of them, the default first.
    pub const ALL: [Self; 2] = [Self::Reassume, Self::Fail];

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reassume => "reassume",
            Self::Fail => "fail",
        }
    }
}

/// Understands what was written about whose right is used.
///
/// # Errors
/// Whatever cannot be understood or contradicts something else.
pub fn settle(layers: Layers<'_>, around: &Surroundings) -> Result<Identity, Failure> {
    let roles: Vec<RoleArn> =
        layers.all(Key::RoleArn).iter().map(|arn| arn.parse(RoleArn::parse)).collect::<Result<_, _>>()?;
    let identity = Identity {
        profile: layers.value(Key::Profile, not_empty)?,
        // A bucket's own region is where the bucket is, which says nothing about STS.
        region: Layers { bucket: None, ..layers }.value(Key::Region, region)?,
        sts_endpoint_url: layers.value(Key::StsEndpointUrl, url)?,
        dualstack: endpoint::dualstack(layers, around)?,
        fips: endpoint::fips(layers, around)?,
        role_session_name: layers
            .value(Key::RoleSessionName, |text| session_name(text, around))?
            .unwrap_or_else(|| default_session_name(around)),
        duration: layers.value(Key::Duration, units::duration)?.unwrap_or(DURATION_DEFAULT),
        external_id: layers.value(Key::ExternalId, external_id)?,
        source_identity: layers.value(Key::SourceIdentity, source_identity)?,
        session_tags: session_tags(layers)?,
        mfa_serial: layers.value(Key::MfaSerial, mfa_serial)?,
        mfa_command: layers.value(Key::MfaCommand, not_empty)?.map(Secret::from),
        session_policy: layers
            .value(Key::SessionPolicy, |text| session_policy(text, around))?
            .unwrap_or(SessionPolicy::Auto),
        policy_arns: layers
            .all(Key::PolicyArn)
            .iter()
            .map(|arn| arn.parse(policy_arn))
            .collect::<Result<_, _>>()?,
        on_revoked: layers
            .value(Key::OnRevoked, |text| {
                one_of(text, "a way to meet a revoked session", OnRevoked::ALL, OnRevoked::as_str)
            })?
            .unwrap_or(OnRevoked::Reassume),
        wait: layers.switch(Key::Wait)?,
        roles,
    };
    refuse_role_settings_without_role(&identity, layers)?;
    refuse_impossible_duration(&identity, layers)?;
    Ok(identity)
}

/// What a profile of the AWS tools says about its roles is said there.
fn refuse_role_settings_without_role(identity: &Identity, layers: Layers<'_>) -> Result<(), Failure> {
    if !identity.roles.is_empty() {
        return Ok(());
    }
    for key in OF_A_ROLE {
        if let Some(place) = layers.said_of_this_mount(key) {
            let message = format!("{} says something about a role, but no role is named", key.spec().name);
            return Err(Failure::new(message)
                .at(place.clone())
                .hint("add --role-arn (in the file: role_arn), or leave it away; of the role of a profile, the profile says it"));
        }
    }
    Ok(())
}

/// AWS has fixed limits; another STS has limits of its own, which it will tell.
fn refuse_impossible_duration(identity: &Identity, layers: Layers<'_>) -> Result<(), Failure> {
    let custom = identity.sts_endpoint_url.is_some();
    let shortest = if custom { Duration::from_secs(1) } else { DURATION_MIN };
    let bound = if identity.duration < shortest {
        format!("at least {}", units::show_duration(shortest))
    } else if identity.duration > DURATION_MAX {
        format!("at most {}", units::show_duration(DURATION_MAX))
    } else {
        return Ok(());
    };
    let duration = units::show_duration(identity.duration);
    let failure = Failure::new(format!("a role session of {duration} cannot be: it lives {bound}"));
    let place = layers.one(Key::Duration)?.map(|written| written.place.clone());
    Err(Failure { place, ..failure }
        .hint("sessions are renewed before they end, so a short one is no obstacle to a long job"))
}

/// The name of the role sessions, from a template.
///
/// The date is that of the start and stays: under one name, the audit log of the other account
/// shows all that one mount did.
fn session_name(text: &str, around: &Surroundings) -> Result<String, Failure> {
    let known = |word: &Option<String>| word.as_deref().map(only_session_name_chars);
    let words =
        [("{user}", known(&around.user)), ("{host}", known(&around.host)), ("{date}", known(&around.date))];
    let name = words.iter().fold(text.to_owned(), |name, (placeholder, word)| {
        name.replace(placeholder, word.as_deref().unwrap_or("unknown"))
    });
    if name.contains(['{', '}']) {
        return Err(Failure::new(format!("'{text}' has a placeholder that nobody knows"))
            .hint("there are {user}, {host} and {date}"));
    }
    // What a template grows to is cut; what somebody wrote out is theirs to shorten.
    let name = if name == text { name } else { name.chars().take(NAME_CHARS_MAX).collect() };
    if (2..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(is_session_name_char) {
        return Ok(name);
    }
    Err(Failure::new(format!("'{text}' is not the name of a role session"))
        .hint("it has 2 to 64 letters, digits and characters of _+=,.@-"))
}

/// `s3xmount-USER-HOST`: who it was, for the other account's audit log.
fn default_session_name(around: &Surroundings) -> String {
    let parts = [Some("s3xmount"), around.user.as_deref(), around.host.as_deref()];
    let name = parts.into_iter().flatten().collect::<Vec<_>>().join("-");
    only_session_name_chars(&name).chars().take(NAME_CHARS_MAX).collect()
}

fn only_session_name_chars(text: &str) -> String {
    text.chars().map(|c| if is_session_name_char(c) { c } else { '_' }).collect()
}

/// STS API reference, `AssumeRole`, `RoleSessionName`.
fn is_session_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
}

/// STS API reference, `AssumeRole`, `ExternalId`.
fn external_id(text: &str) -> Result<String, Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
    if (2..=1224).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    // Not shown: some treat it as a secret.
    Err(Failure::new("the external id cannot be one")
        .hint("it has 2 to 1224 letters, digits and characters of _+=,.@:/-"))
}

/// STS API reference, `AssumeRole`, `SourceIdentity`.
fn source_identity(text: &str) -> Result<String, Failure> {
    if (2..=NAME_CHARS_MAX).contains(&text.len()) && text.chars().all(is_session_name_char) {
        return Ok(text.to_owned());
    }
    Err(Failure::new(format!("'{text}' is not a source identity"))
        .hint("it has 2 to 64 letters, digits and characters of _+=,.@-"))
}

/// The session tags; those of `transitive-tag` too, which are tags by themselves.
fn session_tags(layers: Layers<'_>) -> Result<Vec<SessionTag>, Failure> {
    let mut tags: Vec<SessionTag> = Vec::new();
    for (key, transitive) in [(Key::SessionTag, false), (Key::TransitiveTag, true)] {
        for written in layers.all(key) {
            let tag = written.parse(|text| session_tag(text, transitive))?;
            // "Tag keys are not case-sensitive" (IAM user guide, "Pass session tags in AWS STS").
            if tags.iter().any(|other| other.key.eq_ignore_ascii_case(&tag.key)) {
                return Err(Failure::new(format!("the session tag '{}' is given twice", tag.key))
                    .at(written.place.clone())
                    .hint("leave one of them away"));
            }
            tags.push(tag);
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(Failure::new(format!(
            "a session has at most {TAGS_MAX} tags, and these are {}",
            tags.len()
        )));
    }
    Ok(tags)
}

/// STS API reference, `Tag`.
fn session_tag(text: &str, transitive: bool) -> Result<SessionTag, Failure> {
    let allowed = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
    let refused = || {
        Failure::new(format!("'{text}' is not a session tag"))
            .hint("write it like project=atlas: at most 128 characters, '=', at most 256 characters")
    };
    let (key, value) = text.split_once('=').ok_or_else(refused)?;
    let fits = (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256;
    if !fits || !key.chars().chain(value.chars()).all(allowed) {
        return Err(refused());
    }
    Ok(SessionTag { key: key.to_owned(), value: value.to_owned(), transitive })
}

/// STS API reference, `AssumeRole`, `SerialNumber`: an ARN, or the number on a hardware device.
fn mfa_serial(text: &str) -> Result<String, Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=/:,.@-".contains(c);
    if (9..=256).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Failure::new(format!("'{text}' is not the serial number of an MFA device"))
        .hint("it looks like arn:aws:iam::111122223333:mfa/alice, or like GAHT12345678"))
}

fn session_policy(text: &str, around: &Surroundings) -> Result<SessionPolicy, Failure> {
    match text {
        "auto" => Ok(SessionPolicy::Auto),
        "none" => Ok(SessionPolicy::None),
        path => policy_file(path, around).map(SessionPolicy::Document),
    }
}

/// The document in a file, without the space that only people need: STS counts every character.
fn policy_file(path: &str, around: &Surroundings) -> Result<String, Failure> {
    let absolute = around.absolute(path);
    let text = std::fs::read_to_string(&absolute).map_err(|error| {
        Failure::new(format!("the session policy {} cannot be read: {error}", absolute.display()))
            .hint("it is `auto`, `none`, or a file with a policy document")
    })?;
    let document: Value = serde_json::from_str(&text).map_err(|error| {
        Failure::new(format!("the session policy {} is not JSON: {error}", absolute.display()))
    })?;
    let document = ascii(&document);
    if document.len() > POLICY_CHARS_MAX {
        let message =
            format!("the session policy has {} characters; STS takes {POLICY_CHARS_MAX}", document.len());
        return Err(Failure::new(message).hint("use wildcards, or a managed policy with --policy-arn"));
    }
    Ok(document)
}

/// A document as STS takes it: characters beyond Latin-1, which keys may well have, are refused as
/// they are (STS API reference, `AssumeRole`, `Policy`) and taken in JSON's own spelling.
pub fn ascii(document: &Value) -> String {
    let mut text = String::new();
    for c in document.to_string().chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            let mut units = [0; 2];
            text.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text
}

fn policy_arn(text: &str) -> Result<String, Failure> {
    let fields: Vec<&str> = text.splitn(6, ':').collect();
    match fields.as_slice() {
        ["arn", partition, "iam", "", _, resource]
            if partition.starts_with("aws") && resource.starts_with("policy/") =>
        {
            Ok(text.to_owned())
        }
        _ => Err(Failure::new(format!("'{text}' is not the ARN of a policy"))
            .hint("it looks like arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")),
    }
}

/// Settings that make no sense without a role.
///
/// What bounds a session is not among them: it applies to the role of a profile as well.
const OF_A_ROLE: [Key; 7] = [
    Key::ExternalId,
    Key::Duration,
    Key::RoleSessionName,
    Key::SourceIdentity,
    Key::SessionTag,
    Key::TransitiveTag,
    Key::MfaSerial,
];

/// What STS gives when nobody asks, and what every role allows.
pub const DURATION_DEFAULT: Duration = Duration::from_secs(3600);

/// STS API reference, `AssumeRole`, `DurationSeconds`.
const DURATION_MIN: Duration = Duration::from_secs(900);

/// The same; a role may allow less.
const DURATION_MAX: Duration = Duration::from_secs(12 * 3600);

/// The same, of role session names and source identities.
const NAME_CHARS_MAX: usize = 64;

/// The same, `Tags`.
const TAGS_MAX: usize = 50;

/// The same, `Policy`.
const POLICY_CHARS_MAX: usize = 2048;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::super::Place;
    use super::*;

    fn around() -> Surroundings {
        Surroundings {
            user: Some("müller smith".into()),
            host: Some("h".repeat(100)),
            date: Some("2026-01-31".into()),
            ..Surroundings::default()
        }
    }

    #[test]
    fn the_default_session_name_is_one_that_sts_takes() {
        let name = default_session_name(&around());
        assert!(name.starts_with("s3xmount-m_ller_smith-hhh"), "{name}");
        assert_eq!(session_name(&name, &around()), Ok(name));
    }

    #[test]
    fn a_session_name_may_be_a_template() {
        let table = [
            ("job-42", Some("job-42")),
            ("{user}-{date}-session", Some("m_ller_smith-2026-01-31-session")),
            ("{date}{date}", Some("2026-01-312026-01-31")),
            ("{pid}", None),
            ("{user", None),
            ("a", None),
            ("a b", None),
        ];
        for (text, expected) in table {
            assert_eq!(session_name(text, &around()).ok().as_deref(), expected, "{text}");
        }
        assert_eq!(session_name("{host}", &around()).unwrap().len(), 64, "long words are cut");
        assert!(session_name(&"x".repeat(65), &around()).is_err(), "long names are not");
    }

    #[test]
    fn tags_policies_and_devices_have_the_shape_that_sts_takes() {
        let tag = |text| session_tag(text, false).map(|tag| (tag.key, tag.value)).ok();
        assert_eq!(tag("project=atlas=2"), Some(("project".into(), "atlas=2".into())));
        assert_eq!(tag("empty="), Some(("empty".into(), String::new())));
        for text in ["project", "=atlas", "a=b\n", "a!=b"] {
            assert_eq!(tag(text), None, "{text}");
        }
        assert!(mfa_serial("arn:aws:iam::111122223333:mfa/alice").is_ok() && mfa_serial("123456").is_err());
        assert!(policy_arn("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess").is_ok());
        assert!(policy_arn("arn:aws:iam::111122223333:role/x").is_err());
    }

    #[test]
    fn a_policy_file_is_sent_without_its_white_space() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.json");
        let written = |text: &str| {
            std::fs::write(&path, text).unwrap();
            session_policy(path.to_str().unwrap(), &around())
        };
        let document = SessionPolicy::Document(r#"{"Version":"2012-10-17"}"#.into());
        assert_eq!(written("{\n  \"Version\": \"2012-10-17\"\n}\n"), Ok(document));
        assert!(written("Version: 1").unwrap_err().message.contains("is not JSON"));
        let long = format!("[\"{}\"]", "x".repeat(2045));
        assert!(written(&long).unwrap_err().message.contains("2049 characters"));
    }

    /// The place is that of the second one.
    #[test]
    fn a_tag_is_given_once() {
        let mut layer = super::super::Layer::default();
        let flag = |name: &str| Place::Flag(name.to_owned());
        layer.add(Key::SessionTag, super::super::Written::new("Project=a", flag("--session-tag")));
        layer.add(Key::TransitiveTag, super::super::Written::new("project=b", flag("--transitive-tag")));
        let silent = super::super::Layer::default();
        let layers =
            Layers { flags: &layer, variables: &silent, bucket: None, mount: None, defaults: &silent };
        assert_eq!(session_tags(layers).unwrap_err().place, Some(flag("--transitive-tag")));
    }
}
