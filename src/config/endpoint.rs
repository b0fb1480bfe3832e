//! Which endpoints of AWS are meant, and which wishes about them exclude each other.
//!
//! | wish | cannot be combined with |
//! | --- | --- |
//! | path style | access point ARNs, which have host names of their own |
//! | dual stack, FIPS | an endpoint of one's own: its URL says already where it is |
//! | acceleration | path style, FIPS, an endpoint of one's own, access points; names that no host has |
//!
//! The SDK would refuse the same, but at the first request and without saying who asked for it.

use super::failure::Failure;
use super::merge::Layers;
use super::options::Key;
use super::settle::url;
use super::surroundings::Surroundings;
use super::units;
use super::{BucketSettings, Settings};
use crate::name::BucketName;

/// Whether the endpoints that also answer over IPv6 are meant.
///
/// # Errors
/// When what was written is neither yes nor no.
pub(super) fn dualstack(layers: Layers<'_>, around: &Surroundings) -> Result<bool, Failure> {
    variant(Key::Dualstack, "AWS_USE_DUALSTACK_ENDPOINT", layers, around)
}

/// Whether the endpoints with validated cryptography are meant.
///
/// # Errors
/// When what was written is neither yes nor no.
pub(super) fn fips(layers: Layers<'_>, around: &Surroundings) -> Result<bool, Failure> {
    variant(Key::Fips, "AWS_USE_FIPS_ENDPOINT", layers, around)
}

/// What was written, or else what the AWS tools are told; the latter is about AWS, and so not about
/// an endpoint of one's own.
fn variant(key: Key, variable: &str, layers: Layers<'_>, around: &Surroundings) -> Result<bool, Failure> {
    let has_own_endpoint = layers.one(Key::EndpointUrl)?.is_some();
    let aws_says_so = around.variable(variable).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    Ok(layers.value(key, units::switch)?.unwrap_or(aws_says_so && !has_own_endpoint))
}

/// Whether a bucket is to be reached through the nearest entrance.
///
/// # Errors
/// Where this was said of this very mount and something else excludes it.
pub(super) fn accelerate(name: &BucketName, layers: Layers<'_>) -> Result<bool, Failure> {
    if !layers.switch(Key::Accelerate)? {
        return Ok(false);
    }
    let Some((why, hint)) = obstacle(name, layers)? else { return Ok(true) };
    match layers.said_of_this_mount(Key::Accelerate) {
        // A default for all mounts is of no use to this one.
        None => Ok(false),
        Some(place) => {
            Err(Failure::new(format!("{name} cannot be accelerated: {why}")).at(place.clone()).hint(hint))
        }
    }
}

fn obstacle(name: &BucketName, layers: Layers<'_>) -> Result<Option<(&'static str, &'static str)>, Failure> {
    let leave_away = "leave accelerate away; in the configuration file it can be said of single buckets";
    Ok(if name.is_arn() {
        Some(("access points have no such entrance", leave_away))
    } else if !name.is_host_label() {
        Some(("its name has capitals, dots or underscores, or is longer than a host's", leave_away))
    } else if layers.switch(Key::ForcePathStyle)? {
        Some(("in path style there is no such entrance", "leave one of accelerate and force-path-style away"))
    } else if layers.switch(Key::Fips)? {
        Some(("there is no such entrance with FIPS", "leave one of accelerate and fips away"))
    } else if layers.value(Key::EndpointUrl, url)?.is_some() {
        Some(("other endpoints have no such entrance", "leave one of accelerate and endpoint-url away"))
    } else {
        None
    })
}

/// Refuses what no single bucket is to blame for.
///
/// # Errors
/// The first contradiction, at the place of one side.
pub(super) fn refuse_contradictions(settings: &Settings, layers: Layers<'_>) -> Result<(), Failure> {
    let refused = |key: Key, message: String, hint: &str| {
        let place = layers.one(key)?.map(|written| written.place.clone());
        Err(Failure { place, ..Failure::new(message) }.hint(hint))
    };
    let is_arn = |bucket: &&BucketSettings| bucket.name.is_arn();
    if let (true, Some(bucket)) = (settings.force_path_style, settings.buckets.iter().find(is_arn)) {
        let message = format!("the access point {} cannot be reached in path style", bucket.name);
        return refused(Key::ForcePathStyle, message, "leave force-path-style away");
    }
    if settings.endpoint_url.is_some() {
        for (key, is_wished) in [(Key::Dualstack, settings.dualstack), (Key::Fips, settings.fips)] {
            if is_wished {
                let name = key.spec().name;
                let message =
                    format!("{name} chooses among the endpoints of AWS, and --endpoint-url names another");
                return refused(key, message, "leave one of the two away");
            }
        }
    }
    Ok(())
}
