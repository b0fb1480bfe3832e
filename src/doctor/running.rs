//! What a running mount says of itself.

use std::path::PathBuf;

use super::{Check, Outcome};
use crate::config::Failure;
use crate::control::{IdentityStatus, Status};

/// A mount that is there, whether or not it answers.
#[derive(Debug)]
pub struct RunningMount {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// What it says of itself, or why it says nothing.
    pub status: Result<Status, Failure>,
}

/// Returns what is to be said of the mount itself, if there is one.
pub fn of_mount(mount: Option<&RunningMount>) -> Vec<Check> {
    let Some(RunningMount { mount_point, status }) = mount else { return Vec::new() };
    let name = format!("ask the mount at {}", mount_point.display());
    match status {
        Ok(status) => {
            let answer = format!("it runs since {}, as process {}", status.since, status.pid);
            let own = Check::new(SUBJECT, &name, Outcome::Passed, answer);
            [own].into_iter().chain(status.identities.iter().filter_map(session)).collect()
        }
        Err(failure) => {
            let check = Check::new(SUBJECT, &name, Outcome::Failed, &*failure.message);
            vec![check.meaning(failure.hint.clone().unwrap_or_default())]
        }
    }
}

/// A session that the mount could not renew. What follows shows whether that is so still.
fn session(identity: &IdentityStatus) -> Option<Check> {
    let trouble = identity.trouble.as_deref()?;
    let role = identity.roles.last().map_or("the base identity", String::as_str);
    let name = format!("renew the session of {role} in the mount");
    let meaning = match (&identity.needs_code, &identity.expires) {
        (Some(device), _) => format!("it waits for a code of {device}: s3xmount login"),
        (None, Some(until)) => format!("the session it has lasts until {until}, and it goes on trying"),
        (None, None) => "it goes on trying".to_owned(),
    };
    Some(Check::new(SUBJECT, &name, Outcome::Limited, trouble).meaning(meaning))
}

const SUBJECT: &str = "mount";
