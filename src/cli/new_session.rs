//! A role session of its own, for `credentials` and `exec` where no mount is asked.

use std::path::Path;

use super::{Stop, prompt};
use crate::config::options::Key;
use crate::config::{self, BucketSettings, CommandLine, Failure, Settings, Surroundings, Written};
use crate::control::Session;
use crate::{daemon, sys};

/// Makes one from the configuration file and flags.
///
/// With a path it is the session that the mount there would have, so the file has to describe one.
pub(super) fn make(line: &CommandLine, around: &Surroundings) -> Result<Session, Stop> {
    refuse_circle(line, around).map_err(Stop::Refused)?;
    let settings = match &line.mount_point {
        Some(path) => Some(described(line, path, around).map_err(Stop::Refused)?),
        None => None,
    };
    let identity = match &settings {
        Some((_, bucket)) => bucket.identity.clone(),
        None => config::load_identity(line, around).map_err(Stop::Refused)?,
    };
    let settings = settings.map(|(settings, _)| settings);
    let session =
        daemon::new_session(&identity, settings.as_ref(), &prompt::people(None)).map_err(Stop::Failed)?;
    // Nobody who asks for a session expects a user's lasting keys.
    if session.session_token.is_none() {
        let failure = Failure::new("no role was assumed: these would be the lasting keys of a user");
        return Err(Stop::Refused(
            failure.hint("name the role with --role-arn, or a path in a running mount"),
        ));
    }
    Ok(session)
}

/// The mount that a path would lie in, as the file describes it, and the bucket.
fn described(
    line: &CommandLine,
    path: &Written,
    around: &Surroundings,
) -> Result<(Settings, BucketSettings), Failure> {
    let absolute = around.absolute(&path.text);
    let at = |place: &Path| {
        let mount_point = Some(Written::new(place.to_string_lossy(), path.place.clone()));
        config::load(&CommandLine { mount_point, ..line.clone() }, around)
    };
    let refusal = match at(&absolute) {
        Ok(settings) => return Ok((settings.clone(), settings.buckets[0].clone())),
        Err(refusal) => refusal,
    };
    for mount_point in absolute.ancestors().skip(1) {
        let Ok(settings) = at(mount_point) else { continue };
        let below = absolute.strip_prefix(mount_point).ok().and_then(|below| below.iter().next());
        let bucket = settings
            .buckets
            .iter()
            .find(|bucket| below.is_some_and(|directory| directory == bucket.directory.as_str()));
        if let Some(bucket) = bucket.cloned() {
            return Ok((settings, bucket));
        }
    }
    let shown = &path.text;
    Err(Failure {
        message: format!("no mount is running at {shown}, and none is described: {}", refusal.message),
        ..refusal
    })
}

/// A profile whose `credential_process` is this program must not be where this program begins.
fn refuse_circle(line: &CommandLine, around: &Surroundings) -> Result<(), Failure> {
    let depth: u32 = around.variable(ASKED_VARIABLE).and_then(|depth| depth.parse().ok()).unwrap_or(0);
    let names_profile = !line.flags.all(Key::Profile).is_empty();
    let inherited = around.variable("AWS_PROFILE").filter(|_| depth > 0 && !names_profile);
    if let Some(profile) = inherited {
        return Err(Failure::new(format!(
            "the profile '{profile}' asks s3xmount, which would ask that profile"
        ))
        .hint("name --profile in its credential_process, or begin the mount that it names"));
    }
    if depth >= ASKED_DEPTH_MAX {
        return Err(Failure::new("profiles ask s3xmount in a circle")
            .hint("look at the credential_process of the profiles in ~/.aws/config"));
    }
    sys::set_variable(ASKED_VARIABLE, Some(&(depth + 1).to_string()))
        .map_err(|error| Failure::new(error.to_string()))
}

/// How deep we are in processes that ask each other for credentials.
pub(super) const ASKED_VARIABLE: &str = "S3XMOUNT_ASKED";

/// A profile for the base identity of another is as far as anybody goes.
const ASKED_DEPTH_MAX: u32 = 3;
