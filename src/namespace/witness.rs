//! Telling "absent" from "denied" where S3 says 403 to both.
//!
//! Without the right to list, S3 refuses HEAD of a missing key just as that of a forbidden one.
//! But keys that could be read a moment ago are witnesses: if one of them can still be read, we
//! may read in this bucket, and a refused key is a missing one; if none can, somebody took the
//! right away, and saying "no such file" would send people looking in the wrong place.
//!
//! A witness is heard for a minute. Objects are also removed by others (what one account puts into an inbox the
//! other takes out of it), and a mount must not take that for a lost right for ever.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::name::ObjectKey;
use crate::s3::Gateway;

/// Keys of one bucket that could be read lately.
#[derive(Debug, Default)]
pub(super) struct Witnesses(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    /// With the moment at which each could be read, latest last.
    keys: VecDeque<(ObjectKey, Instant)>,
    /// When one of them was last asked to witness, and could.
    witnessed: Option<Instant>,
    /// The account they belong to, once somebody wanted to know.
    owner: Option<String>,
}

impl Witnesses {
    /// A key could be read.
    pub(super) fn add(&self, key: &ObjectKey) {
        let mut heard = self.0.lock();
        heard.keys.retain(|(witness, _)| witness != key);
        if heard.keys.len() == KEYS_MAX {
            heard.keys.pop_front();
        }
        heard.keys.push_back((key.clone(), Instant::now()));
    }

    /// Whether any key could be read.
    pub(super) fn has_any(&self) -> bool {
        !self.0.lock().keys.is_empty()
    }

    /// The account that what can be read here belongs to, as its canonical id. Asks S3 once.
    pub(super) async fn owner(&self, gateway: &Gateway) -> Option<String> {
        let keys = {
            let heard = self.0.lock();
            if heard.owner.is_some() {
                return heard.owner.clone();
            }
            heard.keys.clone()
        };
        for (key, _) in &keys {
            if let Ok(Some(owner)) = gateway.owner_of(key).await {
                self.0.lock().owner = Some(owner.clone());
                return Some(owner);
            }
        }
        None
    }

    /// A key was deleted by ourselves, and says nothing any more.
    pub(super) fn remove(&self, key: &ObjectKey) {
        self.0.lock().keys.retain(|(witness, _)| witness != key);
    }

    /// Whether a refused key is to be taken for a missing one. Asks S3 at most once a second.
    ///
    /// With no witness there is nothing to go by, and it is: a bucket that may only be written
    /// to must let files be made, and their commits will not replace anything.
    pub(super) async fn believe_absence(&self, gateway: &Gateway) -> bool {
        let keys = {
            let mut heard = self.0.lock();
            if heard.witnessed.is_some_and(|when| when.elapsed() < MEMORY) {
                return true;
            }
            heard.keys.retain(|(_, read)| read.elapsed() < FRESH);
            heard.keys.clone()
        };
        for (key, _) in keys.iter().rev() {
            if gateway.head(key).await.is_ok() {
                self.0.lock().witnessed = Some(Instant::now());
                return true;
            }
        }
        keys.is_empty()
    }
}

/// Few, as each may cost a request; more than one, as others may delete them.
const KEYS_MAX: usize = 4;

/// How long the word of a witness is good for.
const MEMORY: Duration = Duration::from_secs(1);

/// How long a key that could be read is a witness.
const FRESH: Duration = Duration::from_secs(60);
