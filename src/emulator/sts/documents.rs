//! What STS answers, in its XML.

use std::fmt::Write as _;

use crate::emulator::clock::iso_time;
use crate::emulator::directory::SessionKeys;
use crate::emulator::identity::Identity;

/// A session as the answer to either way of assuming a role shows it.
pub(super) struct Grant<'a> {
    pub(super) identity: &'a Identity,
    pub(super) keys: &'a SessionKeys,
    pub(super) source_identity: Option<&'a str>,
    /// Only of requests that had something to pack.
    pub(super) packed_percent: Option<usize>,
}

impl Grant<'_> {
    /// The elements that both answers have.
    pub(super) fn elements(&self) -> String {
        let mut elements = format!(
            "<AssumedRoleUser><AssumedRoleId>{}</AssumedRoleId><Arn>{}</Arn></AssumedRoleUser>\
             <Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
             <SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>",
            escape(&unique_id(self.identity)),
            escape(&self.identity.arn()),
            self.keys.key.id,
            self.keys.key.secret,
            self.keys.token,
            iso_time(self.keys.expires),
        );
        if let Some(percent) = self.packed_percent {
            elements.push_str(&element("PackedPolicySize", &percent.to_string()));
        }
        if let Some(source_identity) = self.source_identity {
            elements.push_str(&element("SourceIdentity", source_identity));
        }
        elements
    }
}

/// The answer to `GetCallerIdentity`.
pub(super) fn caller_identity(identity: &Identity) -> String {
    let account = identity.account().map(|account| account.to_string()).unwrap_or_default();
    [element("Arn", &identity.arn()), element("UserId", &unique_id(identity)), element("Account", &account)]
        .concat()
}

/// The whole answer around the elements of a result.
pub(super) fn answer(operation: &str, result: &str, request_id: &str) -> String {
    format!(
        "<{operation}Response xmlns=\"{NAMESPACE}\"><{operation}Result>{result}</{operation}Result>\
         <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    )
}

/// The answer that says no.
pub(super) fn error(code: &str, message: &str, request_id: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
        escape(message)
    )
}

/// An element with text in it.
pub(super) fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

/// The id that outlives renaming; here it is spelled from the name, so it is stable and readable.
fn unique_id(identity: &Identity) -> String {
    let spelled = |prefix: &str, name: &str| {
        let letters =
            name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase());
        format!("{prefix}{:0<17}", letters.take(17).collect::<String>())
    };
    match identity {
        Identity::Anonymous | Identity::Web { .. } => String::new(),
        Identity::Root { account } => account.to_string(),
        Identity::User { name, .. } => spelled("AIDA", name),
        Identity::RoleSession { role, session, .. } => format!("{}:{session}", spelled("AROA", role)),
    }
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, letter| {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            letter if letter.is_control() => {
                write!(escaped, "&#{};", u32::from(letter)).expect("writing to a string cannot fail");
            }
            letter => escaped.push(letter),
        }
        escaped
    })
}

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
