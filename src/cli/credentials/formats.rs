//! A session as other programs want to read it.

use serde::Serialize;

use crate::config::Failure;
use crate::control::Session;
use crate::secret::{Secret, SecretBuffer};

/// How a session is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Commands for sh, bash and zsh.
    Env,
    /// Lines of `NAME=value`, as files of variables hold them.
    EnvNoExport,
    /// Commands for fish.
    Fish,
    /// Commands for PowerShell.
    PowerShell,
    /// The document that the AWS tools expect of a `credential_process`.
    Process,
    /// The document that `aws sts assume-role` prints.
    Json,
}

impl Format {
    /// All of them, the default first.
    const ALL: [Self; 6] =
        [Self::Env, Self::EnvNoExport, Self::Fish, Self::PowerShell, Self::Process, Self::Json];

    /// As people write it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::EnvNoExport => "env-no-export",
            Self::Fish => "fish",
            Self::PowerShell => "powershell",
            Self::Process => "process",
            Self::Json => "json",
        }
    }

    /// Understands what people write.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            Failure::new(format!("there is no format '{text}'")).hint(format!("there are {known}"))
        })
    }

    /// The whole text, which ends in a line break.
    pub(super) fn text(self, session: &Session) -> SecretBuffer {
        match self {
            Self::Env => SH.text(session),
            Self::EnvNoExport => FILE.text(session),
            Self::Fish => FISH.text(session),
            Self::PowerShell => POWERSHELL.text(session),
            Self::Process => document(&Process::of(session)),
            Self::Json => document(&AssumeRole::of(session)),
        }
    }
}

/// The variables that the AWS tools read, and what they are; those without a value must not be set.
pub(in crate::cli) fn variables(session: &Session) -> [(&'static str, Option<&str>); 4] {
    [
        ("AWS_ACCESS_KEY_ID", Some(&session.access_key_id)),
        ("AWS_SECRET_ACCESS_KEY", Some(session.secret_access_key.expose())),
        ("AWS_SESSION_TOKEN", session.session_token.as_ref().map(Secret::expose)),
        ("AWS_CREDENTIAL_EXPIRATION", session.expiration.as_deref()),
    ]
}

/// How variables are set in some language.
struct Shell {
    /// What stands before the name, and between it and the value.
    set: [&'static str; 2],
    /// What stands around the name to remove the variable; `None` where that cannot be said.
    unset: Option<[&'static str; 2]>,
    /// What stands around a value. Without `always`, only where it holds more than harmless characters.
    quote: &'static str,
    always: bool,
    /// What a character becomes between quotes, if it cannot stand for itself.
    escape: fn(char) -> Option<&'static str>,
}

const SH: Shell = Shell {
    set: ["export ", "="],
    unset: Some(["unset ", ""]),
    quote: "'",
    always: false,
    escape: |c| (c == '\'').then_some(r"'\''"),
};

/// Without quotes where there need not be any: `docker --env-file` takes them for a part of the value.
const FILE: Shell = Shell { set: ["", "="], unset: None, ..SH };

const FISH: Shell = Shell {
    set: ["set -gx ", " "],
    unset: Some(["set -e ", ""]),
    quote: "'",
    always: false,
    escape: |c| match c {
        '\'' => Some(r"\'"),
        '\\' => Some(r"\\"),
        _ => None,
    },
};

/// about_Quoting_Rules and about_Special_Characters: the backtick escapes, and typographic quotes are quotes too.
const POWERSHELL: Shell = Shell {
    set: ["$Env:", "="],
    unset: Some(["Remove-Item Env:", " -ErrorAction SilentlyContinue"]),
    quote: "\"",
    always: true,
    escape: |c| match c {
        '`' => Some("``"),
        '$' => Some("`$"),
        '"' => Some("`\""),
        '\u{201c}' => Some("`\u{201c}"),
        '\u{201d}' => Some("`\u{201d}"),
        '\u{201e}' => Some("`\u{201e}"),
        _ => None,
    },
};

impl Shell {
    /// One line for each variable.
    fn text(&self, session: &Session) -> SecretBuffer {
        let mut text = SecretBuffer::new();
        for (name, value) in variables(session) {
            match (value, self.unset) {
                (Some(value), _) => {
                    let [before, between] = self.set;
                    [before, name, between].iter().for_each(|part| text.push(part.as_bytes()));
                    self.quote(value, &mut text);
                }
                (None, Some([before, after])) => {
                    [before, name, after].iter().for_each(|part| text.push(part.as_bytes()));
                }
                (None, None) => continue,
            }
            text.push(b"\n");
        }
        text
    }

    fn quote(&self, value: &str, text: &mut SecretBuffer) {
        let is_harmless = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
        if !self.always && !value.is_empty() && value.chars().all(is_harmless) {
            return text.push(value.as_bytes());
        }
        text.push(self.quote.as_bytes());
        for c in value.chars() {
            match (self.escape)(c) {
                Some(escaped) => text.push(escaped.as_bytes()),
                None => text.push(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        text.push(self.quote.as_bytes());
    }
}

/// AWS SDKs and Tools reference guide, "Process credential provider".
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Process<'a> {
    version: u8,
    #[serde(flatten)]
    keys: Keys<'a>,
}

impl<'a> Process<'a> {
    fn of(session: &'a Session) -> Self {
        Self { version: 1, keys: Keys::of(session) }
    }
}

/// What `aws sts assume-role` prints.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AssumeRole<'a> {
    credentials: Keys<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assumed_role_user: Option<AssumedRoleUser<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AssumedRoleUser<'a> {
    arn: &'a str,
}

impl<'a> AssumeRole<'a> {
    fn of(session: &'a Session) -> Self {
        let assumed_role_user = session.arn.as_deref().map(|arn| AssumedRoleUser { arn });
        Self { credentials: Keys::of(session), assumed_role_user }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Keys<'a> {
    access_key_id: &'a str,
    secret_access_key: &'a Secret,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_token: Option<&'a Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<&'a str>,
}

impl<'a> Keys<'a> {
    fn of(session: &'a Session) -> Self {
        Self {
            access_key_id: &session.access_key_id,
            secret_access_key: &session.secret_access_key,
            session_token: session.session_token.as_ref(),
            expiration: session.expiration.as_deref(),
        }
    }
}

fn document(document: &impl Serialize) -> SecretBuffer {
    let mut text = SecretBuffer::new();
    serde_json::to_writer_pretty(&mut text, document).expect("strings and a number, into memory");
    text.push(b"\n");
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use std::process::Command;

    use super::*;

    /// Values that a careless quotation would let escape.
    const AWKWARD: &[&str] = &[
        "plain/+=",
        "it's",
        "two words",
        "$HOME `id` $(id) \\ \"x\"",
        "a;b&c|d>e<f*?[x]{y}~!#%^",
        "'",
        "\\'",
        "line\nbreak\ttab",
        "-n",
        "\u{201c}typographic\u{201d} \u{2019}ü",
        "",
    ];

    fn session(value: &str) -> Session {
        Session {
            access_key_id: value.to_owned(),
            secret_access_key: Secret::from(format!("s{value}")),
            session_token: Some(Secret::from(format!("{value}t"))),
            expiration: Some("2026-01-31T08:00:00Z".to_owned()),
            arn: Some("arn:aws:sts::111122223333:assumed-role/x/y".to_owned()),
            region: None,
        }
    }

    fn text(format: Format, session: &Session) -> String {
        String::from_utf8(format.text(session).bytes().to_vec()).unwrap()
    }

    /// What a program, begun in an environment with a token of old, exports after it has read the text.
    /// `None` where it is not installed.
    fn exported(program: &str, args: &[&str], text: &str) -> Option<Vec<(String, String)>> {
        let mut command = Command::new(program);
        command.args(args).arg(text).env("AWS_SESSION_TOKEN", "old").env("AWS_CREDENTIAL_EXPIRATION", "old");
        let output = command.output().ok()?;
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
        let names = variables(&session("")).map(|(name, _)| name);
        let ours = pairs.filter(|(name, _)| names.contains(name));
        Some(ours.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn assert_exports(program: &str, args: &[&str], format: Format) {
        for value in AWKWARD {
            for session in
                [session(value), Session { session_token: None, expiration: None, ..session(value) }]
            {
                let Some(mut found) = exported(program, args, &text(format, &session)) else { return };
                let set = variables(&session).into_iter().filter_map(|(name, value)| Some((name, value?)));
                let mut expected: Vec<_> =
                    set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                expected.sort();
                found.sort();
                assert_eq!(found, expected, "{program} with {value:?}");
            }
        }
    }

    #[test]
    fn shells_read_what_was_meant_and_nothing_more() {
        for shell in ["sh", "dash", "bash", "zsh"] {
            assert_exports(shell, &["-c", "eval \"$1\"; exec env -0", "-"], Format::Env);
        }
        assert_exports("fish", &["-c", "echo $argv[1] | source; exec env -0"], Format::Fish);
    }

    #[test]
    fn variables_are_set_and_unset() {
        let session = Session { session_token: None, ..session("it's $5 a`b") };
        let end = "2026-01-31T08:00:00Z";
        let table = [
            (
                Format::Env,
                format!(
                    "export AWS_ACCESS_KEY_ID='it'\\''s $5 a`b'\nexport AWS_SECRET_ACCESS_KEY='sit'\\''s $5 a`b'\n\
                     unset AWS_SESSION_TOKEN\nexport AWS_CREDENTIAL_EXPIRATION={end}\n"
                ),
            ),
            (
                Format::EnvNoExport,
                format!(
                    "AWS_ACCESS_KEY_ID='it'\\''s $5 a`b'\nAWS_SECRET_ACCESS_KEY='sit'\\''s $5 a`b'\n\
                     AWS_CREDENTIAL_EXPIRATION={end}\n"
                ),
            ),
            (
                Format::Fish,
                format!(
                    "set -gx AWS_ACCESS_KEY_ID 'it\\'s $5 a`b'\nset -gx AWS_SECRET_ACCESS_KEY 'sit\\'s $5 a`b'\n\
                     set -e AWS_SESSION_TOKEN\nset -gx AWS_CREDENTIAL_EXPIRATION {end}\n"
                ),
            ),
            (
                Format::PowerShell,
                format!(
                    "$Env:AWS_ACCESS_KEY_ID=\"it's `$5 a``b\"\n$Env:AWS_SECRET_ACCESS_KEY=\"sit's `$5 a``b\"\n\
                     Remove-Item Env:AWS_SESSION_TOKEN -ErrorAction SilentlyContinue\n\
                     $Env:AWS_CREDENTIAL_EXPIRATION=\"{end}\"\n"
                ),
            ),
        ];
        for (format, expected) in table {
            assert_eq!(text(format, &session), expected);
        }
    }

    #[test]
    fn the_document_of_a_credential_process_has_its_exact_names() {
        let expected = serde_json::json!({
            "Version": 1, "AccessKeyId": "k", "SecretAccessKey": "sk", "SessionToken": "kt",
            "Expiration": "2026-01-31T08:00:00Z",
        });
        let parse = |session: &Session| -> serde_json::Value {
            serde_json::from_str(&text(Format::Process, session)).unwrap()
        };
        assert_eq!(parse(&session("k")), expected);
        let without_end = Session { session_token: None, expiration: None, ..session("k") };
        let expected = serde_json::json!({"Version": 1, "AccessKeyId": "k", "SecretAccessKey": "sk"});
        assert_eq!(parse(&without_end), expected);
    }

    #[test]
    fn the_document_of_assume_role_has_its_exact_names() {
        let expected = serde_json::json!({
            "Credentials": {
                "AccessKeyId": "k", "SecretAccessKey": "sk", "SessionToken": "kt",
                "Expiration": "2026-01-31T08:00:00Z",
            },
            "AssumedRoleUser": {"Arn": "arn:aws:sts::111122223333:assumed-role/x/y"},
        });
        let found: serde_json::Value = serde_json::from_str(&text(Format::Json, &session("k"))).unwrap();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_format_has_its_name() {
        for format in Format::ALL {
            assert_eq!(Format::parse(format.as_str()), Ok(format));
        }
        let hint = Format::parse("cmd").unwrap_err().hint.unwrap();
        assert_eq!(hint, "there are env, env-no-export, fish, powershell, process, json");
    }
}
