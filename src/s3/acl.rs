//! A bucket whose owner has disabled ACLs, and a mount that sends another one than it takes.
//!
//! Every write into it fails in the same way, so it is said once for the bucket. For a while after a refusal
//! nothing is begun that could only fail at its end, with bytes that have to be set aside; then one write
//! tries again, as the owner may have changed his mind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Gateway;
use super::error::{S3Error, S3ErrorKind};

/// How a bucket takes the ACL that is sent with objects.
#[derive(Debug, Default)]
pub(super) struct AclStanding {
    /// Whether people have been told.
    said: AtomicBool,
    /// Its last refusal.
    refused: Mutex<Option<(Instant, S3Error)>>,
}

impl AclStanding {
    /// Takes note of a failed request.
    pub(super) fn note(&self, error: &S3Error) {
        if error.kind() != S3ErrorKind::AclRefused {
            return;
        }
        *self.refused.lock() = Some((Instant::now(), error.clone()));
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "nothing can be written into this bucket; this is said once");
        }
    }

    fn refusal(&self) -> Option<S3Error> {
        let refused = self.refused.lock();
        refused.as_ref().filter(|(when, _)| when.elapsed() < MEMORY).map(|(_, error)| error.clone())
    }
}

impl Gateway {
    /// Refuses what could only end in a refusal: a write with an ACL that the bucket did not take a moment ago.
    ///
    /// # Errors
    /// [`S3ErrorKind::AclRefused`], which has been logged already.
    pub fn ensure_acl_is_taken(&self) -> Result<(), S3Error> {
        self.acl.refusal().map_or(Ok(()), Err)
    }
}

/// How long a refusal counts for those who come after. Whoever has set the ownership anew can wait that long.
const MEMORY: Duration = Duration::from_secs(30);
