//! Session tags: what a request may say, and what a session inherits.
//!
//! See <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html>.

use std::collections::BTreeSet;

use super::form::Form;
use super::{check_length, check_list, check_pattern};
use crate::emulator::directory::SessionTag;
use crate::emulator::refusal::Refusal;

/// The tags that a request passes.
#[derive(Debug, Default)]
pub(super) struct PassedTags {
    /// The tags; those are transitive that `TransitiveTagKeys` names.
    pub(super) tags: Vec<SessionTag>,
}

impl PassedTags {
    /// Takes the tags out of a form.
    pub(super) fn take(form: &mut Form) -> Result<Self, Refusal> {
        let mut tags = form.list("Tags", |form, member| {
            let key =
                form.require(&format!("{member}.Key"), &format!("tags.{}.member.key", number(member)))?;
            let value =
                form.require(&format!("{member}.Value"), &format!("tags.{}.member.value", number(member)))?;
            check_key(&format!("tags.{}.member.key", number(member)), &key)?;
            check_text(&format!("tags.{}.member.value", number(member)), &value, 0, VALUE_CHARACTERS_MAX)?;
            Ok(SessionTag { key, value, transitive: false })
        })?;
        let transitive = form.list("TransitiveTagKeys", |form, member| {
            let spelled = format!("transitiveTagKeys.{}.member", number(member));
            let key = form.require(member, &spelled)?;
            check_key(&spelled, &key)?;
            Ok(key)
        })?;
        check_list("tags", tags.len(), TAGS_MAX)?;
        check_list("transitiveTagKeys", transitive.len(), TAGS_MAX)?;
        let keys: BTreeSet<_> = tags.iter().map(|tag| tag.key.to_lowercase()).collect();
        if keys.len() < tags.len() {
            return Err(conflict(DUPLICATE));
        }
        for key in transitive {
            let tag = tags.iter_mut().find(|tag| tag.is_about(&key)).ok_or_else(|| conflict(NOT_PASSED))?;
            tag.transitive = true;
        }
        Ok(Self { tags })
    }

    /// The tags of the session: those inherited from the calling one, and those passed.
    pub(super) fn joined_with(&self, of_caller: &[SessionTag]) -> Result<Vec<SessionTag>, Refusal> {
        let inherited: Vec<_> = of_caller.iter().filter(|tag| tag.transitive).cloned().collect();
        let is_inherited = |tag: &SessionTag| inherited.iter().any(|other| other.is_about(&tag.key));
        if self.tags.iter().any(is_inherited) {
            return Err(conflict(INHERITED));
        }
        Ok([inherited, self.tags.clone()].concat())
    }

    /// The keys, or those of the transitive tags alone.
    pub(super) fn keys(&self, of: impl Fn(&SessionTag) -> bool) -> Vec<String> {
        self.tags.iter().filter(|tag| of(tag)).map(|tag| tag.key.clone()).collect()
    }
}

impl SessionTag {
    fn is_about(&self, key: &str) -> bool {
        self.key.to_lowercase() == key.to_lowercase()
    }
}

/// The number at the end of a member's name.
fn number(member: &str) -> &str {
    member.rsplit_once('.').map_or(member, |(_, number)| number)
}

fn check_key(name: &str, key: &str) -> Result<(), Refusal> {
    check_text(name, key, 1, KEY_CHARACTERS_MAX)?;
    if key.to_lowercase().starts_with("aws:") {
        return Err(conflict("System tag keys cannot be set: keys that begin with aws: are reserved."));
    }
    Ok(())
}

fn check_text(name: &str, text: &str, min: usize, max: usize) -> Result<(), Refusal> {
    check_length(name, text, min, max)?;
    check_pattern(name, text, is_of_tag, r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*")
}

fn is_of_tag(letter: char) -> bool {
    let is_space = letter.is_whitespace() && !letter.is_control();
    letter.is_alphanumeric() || is_space || "_.:/=+-@".contains(letter)
}

fn conflict(message: &'static str) -> Refusal {
    Refusal::new(400, "InvalidParameterValue", message)
}

const TAGS_MAX: usize = 50;
const KEY_CHARACTERS_MAX: usize = 128;
const VALUE_CHARACTERS_MAX: usize = 256;

const DUPLICATE: &str = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
const NOT_PASSED: &str = "The specified transitive tag key must be included in the requested tags.";
const INHERITED: &str = "One of the specified transitive tag keys can't be set because it conflicts with a \
                         transitive tag key from the calling session.";
