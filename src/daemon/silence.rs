//! Says that S3 does not answer, and that it does again: to the log once each, and to whoever asks how the mount is.

use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::control::{self, SilenceStatus};
use crate::namespace::{BucketId, Namespace};
use crate::s3::{Gateway, Silent};

/// Watches all buckets of a mount, for as long as it lasts.
pub(super) async fn watch(namespace: Arc<Namespace>) {
    let gateways = (0..).zip(namespace.buckets()).map(|(at, _)| namespace.gateway(BucketId(at)));
    let mut watched: Vec<_> = gateways.map(|gateway| (gateway, false)).collect();
    loop {
        tokio::time::sleep(BETWEEN_LOOKS).await;
        for (gateway, was_silent) in &mut watched {
            *was_silent = look(gateway, *was_silent);
        }
    }
}

/// What `status` says of a bucket, if S3 has been silent for some seconds.
pub(super) fn status(gateway: &Gateway) -> Option<SilenceStatus> {
    let Silent { lasts, requests, first, trouble } = gateway.silent(WORTH_AN_ANSWER)?;
    Some(SilenceStatus { since: control::written(clock::now() - lasts), requests, first, trouble })
}

/// Logs a change, and returns whether S3 is silent now.
fn look(gateway: &Gateway, was_silent: bool) -> bool {
    let bucket = gateway.bucket();
    match (gateway.silent(WORTH_A_LINE), was_silent) {
        (Some(Silent { lasts, requests, first, trouble }), false) => {
            let trouble = trouble.unwrap_or_else(|| "not a word".to_owned());
            tracing::warn!(
                %bucket, seconds = lasts.as_secs(), requests, first, last_attempt = trouble,
                "S3 does not answer; programs wait for it, and hear of it after minutes, unless they are ended before"
            );
            true
        }
        (None, true) => {
            tracing::info!(%bucket, "S3 answers again");
            false
        }
        (_, was_silent) => was_silent,
    }
}

/// Anything shorter happens on the way to S3, and passes.
const WORTH_A_LINE: Duration = Duration::from_secs(20);

/// Whoever asks wants to know sooner.
const WORTH_AN_ANSWER: Duration = Duration::from_secs(5);

const BETWEEN_LOOKS: Duration = Duration::from_secs(5);
