//! What the mount may do in its buckets beyond reading and writing: to list, and to delete.
//!
//! Neither is needed, and with the usual policies across accounts neither is there. Nobody tells us, so every answer
//! to such a request passes through here: what it taught shapes the lookups that follow (see
//! [`visibility`](super::visibility)), is shown by `status`, and is told once when a right turns out to be missing, and
//! once more should it be given and taken away again. Which statement in which policy that means is for others to say.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::visibility::{Listing, Outlook, Visibility};
use super::{BucketId, Folder, Namespace};
use crate::error::{Error, Result};
use crate::name::{DirPrefix, ObjectKey};
use crate::s3::{Deletion, Depth, ETag, Page, PageToken, S3Error, S3ErrorKind};

/// A right that a bucket may lack and is of use without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// To list: without it only known names work.
    List,
    /// To delete: without it nothing can be removed or renamed.
    Delete,
}

/// What is known of our rights in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RightsKnown {
    /// What can be listed.
    pub listing: Listing,
    /// What was refused when it was last asked for.
    pub missing: Vec<Right>,
    /// Whether anything at all has been allowed. If not, it is likely that the bucket does not admit us.
    pub is_admitted: bool,
}

/// Hears, once, that a right is missing in a bucket.
pub type OnMissing = Box<dyn Fn(BucketId, Right, &RightsKnown) + Send + Sync>;

/// What the answers of one bucket have taught.
#[derive(Debug, Default)]
pub(super) struct Rights(Mutex<Learnt>);

#[derive(Debug, Default)]
struct Learnt {
    visibility: Visibility,
    /// Directories whose objects may be deleted, and when S3 last said so.
    deletable: HashMap<DirPrefix, Instant>,
    is_delete_refused: bool,
    is_admitted: bool,
    /// What was told to be missing and has not been there since.
    told: Vec<Right>,
}

impl Learnt {
    fn known(&self) -> RightsKnown {
        let listing = self.visibility.listing();
        let is_refused = matches!(listing, Listing::Blind | Listing::Prefix(_));
        let missing = [(Right::List, is_refused), (Right::Delete, self.is_delete_refused)];
        RightsKnown {
            listing,
            missing: missing
                .into_iter()
                .filter(|(_, is_refused)| *is_refused)
                .map(|(right, _)| right)
                .collect(),
            is_admitted: self.is_admitted,
        }
    }

    fn allow_delete(&mut self, folder: &DirPrefix) {
        self.is_admitted = true;
        self.is_delete_refused = false;
        self.told.retain(|right| *right != Right::Delete);
        if self.deletable.len() >= DELETABLE_MAX {
            self.deletable.clear();
        }
        self.deletable.insert(folder.clone(), Instant::now());
    }

    fn refuse_delete(&mut self) {
        self.is_delete_refused = true;
        self.deletable.clear();
    }
}

impl Rights {
    /// Something was allowed that takes neither right.
    pub(super) fn admitted(&self) {
        self.0.lock().is_admitted = true;
    }

    /// What to expect of the listing of a directory.
    pub(super) fn outlook(&self, folder: &Folder, directory: &Folder) -> Outlook {
        self.0.lock().visibility.outlook(&folder.prefix, &directory.prefix, Instant::now())
    }

    /// Whether there is no reason to think that a directory cannot be listed.
    pub(super) fn may_list(&self, directory: &Folder) -> bool {
        let above = directory.prefix.parent().unwrap_or_default();
        let outlook = self.0.lock().visibility.outlook(&above, &directory.prefix, Instant::now());
        outlook == Outlook::Listable
    }

    /// Whether a refused object in `folder` is denied rather than, perhaps, absent.
    pub(super) fn tells_absence(&self, folder: &Folder) -> bool {
        self.0.lock().visibility.tells_absence(&folder.prefix)
    }
}

impl Namespace {
    /// Names who is to hear of missing rights.
    pub fn notify_missing(&self, on_missing: OnMissing) {
        // The first one stays; a namespace is mounted once.
        let _already_named = self.on_missing.0.set(on_missing).is_err();
    }

    /// What is known of our rights in a bucket.
    pub fn rights_known(&self, id: BucketId) -> RightsKnown {
        self.rights(id).0.lock().known()
    }

    /// Asks each bucket how things stand, where that is not known or may have changed.
    pub async fn look_around(self: &Arc<Self>) {
        let mut asking = JoinSet::new();
        for (at, bucket) in (0..).zip(&self.buckets) {
            let bucket_id = BucketId(at);
            let outdated = self.rights(bucket_id).0.lock().visibility.outdated(&bucket.root, Instant::now());
            for prefix in outdated {
                let (namespace, folder) = (Arc::clone(self), Folder { bucket: bucket_id, prefix });
                // Whatever it comes to has been learnt when it returns.
                asking.spawn(async move { namespace.list(&folder, Depth::Level, None, 1).await.is_ok() });
            }
        }
        while asking.join_next().await.is_some() {}
    }

    /// Lists, and learns from the answer.
    pub(super) async fn list(
        &self,
        folder: &Folder,
        depth: Depth,
        from: Option<&PageToken>,
        keys_max: u16,
    ) -> Result<Page, S3Error> {
        let page = self.gateway(folder.bucket).list(&folder.prefix, depth, from, keys_max).await;
        let mut doubted = self.learn_listing(folder, page.as_ref().err());
        while let Some(above) = doubted {
            let again = self.gateway(above.bucket).list(&above.prefix, Depth::Level, None, 1).await;
            doubted = self.learn_listing(&above, again.as_ref().err());
        }
        page
    }

    /// Learns from what a listing came to. Returns what is in doubt by that, and to be asked for again.
    fn learn_listing(&self, folder: &Folder, error: Option<&S3Error>) -> Option<Folder> {
        match error.map(S3Error::kind) {
            None => self.listing_allowed(folder),
            Some(S3ErrorKind::Denied) => return self.listing_refused(folder),
            Some(_) => {}
        }
        None
    }

    fn listing_allowed(&self, folder: &Folder) {
        let mut learnt = self.rights(folder.bucket).0.lock();
        learnt.is_admitted = true;
        if learnt.visibility.allowed(&folder.prefix, Instant::now()) {
            learnt.told.retain(|right| *right != Right::List);
            drop(learnt);
            let (bucket, prefix) = (self.gateway(folder.bucket).bucket(), &folder.prefix);
            tracing::info!(%bucket, %prefix, "what could not be listed before can be listed now");
        }
    }

    fn listing_refused(&self, folder: &Folder) -> Option<Folder> {
        let above = self.rights(folder.bucket).0.lock().visibility.refused(&folder.prefix, Instant::now());
        self.tell_missing(folder.bucket, Right::List);
        above.map(|prefix| Folder { bucket: folder.bucket, prefix })
    }

    /// Deletes an object, and learns from the answer.
    pub(super) async fn delete(&self, folder: &Folder, key: &ObjectKey) -> Result<(), S3Error> {
        let deleted = self.gateway(folder.bucket).delete(key).await;
        self.learn_delete(folder, deleted.as_ref().err());
        if deleted.is_ok() {
            self.witnesses(folder.bucket).remove(key);
        }
        deleted
    }

    /// Deletes one version of an object, and learns from the answer.
    pub(super) async fn delete_version(
        &self,
        folder: &Folder,
        key: &ObjectKey,
        version: &ETag,
    ) -> Result<Deletion, S3Error> {
        let deleted = self.gateway(folder.bucket).delete_version(key, version).await;
        self.learn_delete(folder, deleted.as_ref().err());
        if matches!(deleted, Ok(Deletion::Gone)) {
            self.witnesses(folder.bucket).remove(key);
        }
        deleted
    }

    /// Learns from what a deletion in `folder` came to.
    pub(super) fn learn_delete(&self, folder: &Folder, error: Option<&S3Error>) {
        let rights = self.rights(folder.bucket);
        match error.map(S3Error::kind) {
            None => rights.0.lock().allow_delete(&folder.prefix),
            Some(S3ErrorKind::Denied) => {
                rights.0.lock().refuse_delete();
                self.tell_missing(folder.bucket, Right::Delete);
            }
            Some(_) => {}
        }
    }

    /// Makes sure, before anything is changed, that objects of a directory may be deleted: finds out by deleting one that
    /// is not there. The answer is remembered for as long as other answers of S3 are.
    ///
    /// # Errors
    /// [`Kind::Denied`](crate::error::Kind::Denied).
    pub async fn ensure_deletable(&self, folder: &Folder) -> Result<()> {
        let lifetime = self.cache.lifetime();
        let known = self.rights(folder.bucket).0.lock().deletable.get(&folder.prefix).copied();
        if known.is_some_and(|asked| asked.elapsed() < lifetime) {
            return Ok(());
        }
        let probe = format!("{}.s3xmount-may-i-delete-{:016x}", folder.prefix, fastrand::u64(..));
        let tried = self.gateway(folder.bucket).try_deletion(&ObjectKey::parse(probe)?).await;
        self.learn_delete(folder, tried.as_ref().err());
        tried.map_err(|error| {
            Error::from(error).context("a rename needs s3:DeleteObject; nothing was changed")
        })
    }

    fn tell_missing(&self, bucket: BucketId, right: Right) {
        let known = {
            let mut learnt = self.rights(bucket).0.lock();
            if learnt.told.contains(&right) {
                return;
            }
            learnt.told.push(right);
            learnt.known()
        };
        if let Some(on_missing) = self.on_missing.0.get() {
            on_missing(bucket, right, &known);
        }
    }
}

/// Who is to hear of missing rights, if anybody.
#[derive(Default)]
pub(super) struct MissingHeard(std::sync::OnceLock<OnMissing>);

impl fmt::Debug for MissingHeard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MissingHeard")
    }
}

/// Directories of which it is remembered that their objects may be deleted.
const DELETABLE_MAX: usize = 1000;
