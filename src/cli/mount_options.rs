//! Options as mount(8) and fstab(5) write them: `-o ro,uid=1000,role-arn=arn:..,_netdev`.

use crate::config::options::{self, Key, OPTIONS, Shape, Spec};
use crate::config::{Failure, Layer, Place, Written, similar};

/// Takes down the options of one `-o`.
///
/// A comma within a value is written `\,`.
///
/// # Errors
/// When one of them is neither a setting nor one that a mount may ignore.
pub fn take_down(text: &str, layer: &mut Layer) -> Result<(), Failure> {
    split(text).iter().filter(|option| !option.is_empty()).try_for_each(|option| take_down_one(option, layer))
}

fn take_down_one(option: &str, layer: &mut Layer) -> Result<(), Failure> {
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    };
    let place = Place::MountOption(name.to_owned());
    let mut add = |key: Key, value: &str| layer.add(key, Written::new(value, place.clone()));
    match (name, value) {
        ("ro", None) => add(Key::ReadOnly, "true"),
        ("rw", None) => add(Key::ReadOnly, "false"),
        ("noexec", None) => add(Key::NoExec, "true"),
        ("config", _) => {
            return Err(Failure::new("the configuration file cannot be named here")
                .at(place)
                .hint("name it with --config or S3XMOUNT_CONFIG"));
        }
        _ if is_ignored(name) => {}
        _ => match (options::by_name(name), value) {
            (Some(Spec { key, .. }), Some(value)) => add(*key, value),
            (Some(Spec { key, shape: Shape::Switch, .. }), None) => add(*key, "true"),
            (Some(_), None) => {
                return Err(Failure::new(format!("the mount option '{name}' lacks its value"))
                    .at(place)
                    .hint(format!("write it like {name}=VALUE")));
            }
            (None, _) => return Err(unknown(name).at(place)),
        },
    }
    Ok(())
}

fn unknown(name: &str) -> Failure {
    let known = OPTIONS.iter().map(|spec| spec.name).chain(["ro", "rw"]);
    let failure = Failure::new(format!("there is no mount option '{name}'"));
    match similar::closest(&name.replace('_', "-"), known) {
        Some(known) => failure.hint(format!("did you mean '{known}'?")),
        None => failure.hint("every flag of s3xmount --help is one, written name=value"),
    }
}

/// Options that are for others: for mount(8) itself, for systemd, or true of every mount of ours.
///
/// `nosuid` and `nodev` hold always, and `suid` and `dev` are what mount.fuse3 says for root without being asked.
fn is_ignored(name: &str) -> bool {
    name.starts_with("x-") || name.starts_with("X-") || IGNORED.contains(&name)
}

const IGNORED: &[&str] = &[
    "_netdev",
    "async",
    "atime",
    "auto",
    "comment",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "group",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "nofail",
    "norelatime",
    "nosuid",
    "nouser",
    "owner",
    "relatime",
    "strictatime",
    "suid",
    "user",
    "users",
];

/// Splits at commas that no backslash stands before.
fn split(text: &str) -> Vec<String> {
    let mut options = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next_if_eq(&',') } else { None };
        let last = options.last_mut().expect("there is one from the start");
        match (c, escaped) {
            (_, Some(comma)) => last.push(comma),
            (',', None) => options.push(String::new()),
            (c, None) => last.push(c),
        }
    }
    options
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::*;

    fn taken(text: &str) -> Result<Layer, Failure> {
        let mut layer = Layer::default();
        take_down(text, &mut layer)?;
        Ok(layer)
    }

    #[test]
    fn a_line_of_fstab_is_understood() {
        let layer = taken(
            "ro,_netdev,nofail,noauto,x-systemd.automount,x-systemd.requires=network.target,allow_other,uid=1000,\
             role_arn=arn:aws:iam::111122223333:role/x,bucket=SampleBucketA,bucket=y=SampleBucketB,noexec",
        )
        .unwrap();
        let value = |key| layer.all(key).iter().map(|written| written.text.as_str()).collect::<Vec<_>>();
        assert_eq!(value(Key::ReadOnly), ["true"]);
        assert_eq!(value(Key::AllowOther), ["true"]);
        assert_eq!(value(Key::NoExec), ["true"]);
        assert_eq!(value(Key::Uid), ["1000"]);
        assert_eq!(value(Key::RoleArn), ["arn:aws:iam::111122223333:role/x"]);
        assert_eq!(value(Key::Bucket), ["SampleBucketA", "y=SampleBucketB"]);
        assert_eq!(layer.all(Key::Uid)[0].place.to_string(), "-o uid");
    }

    #[test]
    fn a_comma_in_a_value_is_escaped() {
        assert_eq!(taken(r"external-id=a\,b,rw").unwrap().all(Key::ExternalId)[0].text, "a,b");
    }

    #[test]
    fn an_unknown_option_is_refused() {
        let table = [
            ("rol_arn=x", "no mount option 'rol_arn'", "did you mean 'role-arn'?"),
            ("xyzzy", "no mount option 'xyzzy'", "name=value"),
            ("uid", "lacks its value", "uid=VALUE"),
            ("config=/x", "cannot be named here", "--config"),
        ];
        for (text, message, hint) in table {
            let failure = taken(text).unwrap_err();
            assert!(failure.message.contains(message), "{failure}");
            assert!(failure.hint.unwrap_or_default().contains(hint));
        }
    }
}
