//! The things: buckets, objects and unfinished uploads.
//!
//! The store keeps what S3 keeps and upholds what does not depend on who asks: conditions
//! on writes, the rules of completing an upload, who owns what. Permission was decided
//! before anything here is called.
//!
//! Everything is in memory. An object is immutable and shared; a write replaces it, so a
//! reader that has begun is never disturbed by a writer.

mod ownership;
mod upload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;
use serde_json::Value;

pub use self::ownership::{CannedAcl, Ownership, Permission};
pub use self::upload::{Completion, PART_BYTES_MIN, Part, PartClaim, Upload};

use super::checksum::Checksum;
use super::content::Content;
use super::encryption::Encryption;
use super::identity::AccountId;
use super::policy::Policy;
use super::refusal::Refusal;

/// All buckets of all accounts; their names are unique across accounts.
#[derive(Debug, Default)]
pub struct Store {
    buckets: RwLock<BTreeMap<String, Arc<Bucket>>>,
}

/// A bucket and what is in it.
#[derive(Debug)]
pub struct Bucket {
    /// Its name; old ones may have capitals.
    pub name: String,
    /// The account that pays for it.
    pub owner: AccountId,
    /// Where it lives.
    pub region: String,
    /// When it was made.
    pub created: SystemTime,
    settings: RwLock<Settings>,
    /// Guards objects and uploads together, so that a completion is one step.
    contents: RwLock<Contents>,
}

/// An object as it was written.
#[derive(Debug, Clone)]
pub struct Object {
    /// The account it belongs to; [`Bucket::owner_of`] says whether that counts.
    pub owner: AccountId,
    /// Its ACL.
    pub acl: CannedAcl,
    /// Its bytes.
    pub content: Content,
    /// Its ETag, without quotes.
    pub etag: String,
    /// When it was written, in whole seconds.
    pub modified: SystemTime,
    /// What the writer said about it.
    pub attributes: Attributes,
    /// Its checksum, if it has one.
    pub checksum: Option<Checksum>,
    /// The sizes of its parts if it was uploaded in parts.
    pub part_sizes: Vec<u64>,
    /// What it is encrypted with.
    pub encryption: Encryption,
    /// The id that HEAD and GET tell, for tests that want one; no other versions are kept.
    pub version_id: Option<String>,
    /// In which archive tier an object of INTELLIGENT_TIERING lies, if in one (`ARCHIVE_ACCESS`).
    pub archive_status: Option<String>,
    /// Whether a copy of an archived object has been restored, and can be read for now.
    pub restored: bool,
}

/// What a writer says about an object beside its bytes and its ACL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`, without the `aws-chunked` of the transfer.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Expires`, as a time.
    pub expires: Option<SystemTime>,
    /// The `x-amz-meta-` headers without that prefix.
    pub metadata: BTreeMap<String, String>,
    /// `x-amz-storage-class`; absent means `STANDARD`.
    pub storage_class: Option<String>,
}

/// What must hold of a key for a write to take effect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WriteCondition {
    /// Nothing.
    #[default]
    None,
    /// There is no object: `If-None-Match: *`.
    MustNotExist,
    /// There is an object: `If-Match: *`.
    MustExist,
    /// There is an object with this ETag: `If-Match`.
    MustMatch(String),
}

/// A bucket to put into a store.
#[derive(Debug, Clone)]
pub struct BucketSpec {
    name: String,
    owner: AccountId,
    region: String,
    ownership: Ownership,
    policy: Option<Arc<Policy>>,
    encryption: Encryption,
}

#[derive(Debug, Default)]
struct Settings {
    ownership: Ownership,
    policy: Option<Arc<Policy>>,
    encryption: Encryption,
    requester_pays: bool,
}

#[derive(Debug, Default)]
struct Contents {
    objects: BTreeMap<String, Arc<Object>>,
    uploads: BTreeMap<String, Upload>,
    uploads_begun: u64,
}

impl Store {
    /// Adds an empty bucket, or replaces the one of that name.
    pub fn add(&self, spec: BucketSpec, created: SystemTime) {
        let bucket = Bucket {
            name: spec.name.clone(),
            owner: spec.owner,
            region: spec.region,
            created,
            settings: RwLock::new(Settings {
                ownership: spec.ownership,
                policy: spec.policy,
                encryption: spec.encryption,
                requester_pays: false,
            }),
            contents: RwLock::default(),
        };
        self.buckets.write().insert(spec.name, Arc::new(bucket));
    }

    /// Returns the bucket of this name.
    pub fn bucket(&self, name: &str) -> Option<Arc<Bucket>> {
        self.buckets.read().get(name).cloned()
    }

    /// Returns the buckets of an account in the order of their names.
    pub fn buckets_of(&self, owner: AccountId) -> Vec<Arc<Bucket>> {
        self.buckets.read().values().filter(|bucket| bucket.owner == owner).cloned().collect()
    }
}

impl BucketSpec {
    /// Returns a bucket as AWS makes them today: ACLs off, no policy, in us-east-1.
    pub fn new(name: impl Into<String>, owner: AccountId) -> Self {
        Self {
            name: name.into(),
            owner,
            region: "us-east-1".to_owned(),
            ownership: Ownership::default(),
            policy: None,
            encryption: Encryption::default(),
        }
    }

    /// Puts the bucket into another region.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Sets who owns what others write.
    pub fn ownership(mut self, ownership: Ownership) -> Self {
        self.ownership = ownership;
        self
    }

    /// Sets what objects are encrypted with whose writers ask for nothing.
    pub fn encryption(mut self, encryption: Encryption) -> Self {
        self.encryption = encryption;
        self
    }

    /// Attaches a bucket policy.
    ///
    /// # Panics
    ///
    /// If the document is malformed; it is part of the program, not of its input.
    pub fn policy(mut self, document: &Value) -> Self {
        self.policy = Some(Arc::new(Policy::bucket(document).expect("the bucket policy is well-formed")));
        self
    }
}

impl Bucket {
    /// Returns the ARN policies name the bucket by.
    pub fn arn(&self) -> String {
        format!("arn:aws:s3:::{}", self.name)
    }

    /// Returns the ARN policies name an object by.
    pub fn object_arn(&self, key: &str) -> String {
        format!("arn:aws:s3:::{}/{key}", self.name)
    }

    /// Returns the bucket policy.
    pub fn policy(&self) -> Option<Arc<Policy>> {
        self.settings.read().policy.clone()
    }

    /// Replaces the bucket policy, or takes it away.
    pub fn set_policy(&self, policy: Option<Policy>) {
        self.settings.write().policy = policy.map(Arc::new);
    }

    /// Returns who owns what others write.
    pub fn ownership(&self) -> Ownership {
        self.settings.read().ownership
    }

    /// Sets who owns what others write from now on.
    pub fn set_ownership(&self, ownership: Ownership) {
        self.settings.write().ownership = ownership;
    }

    /// Returns what objects are encrypted with whose writers ask for nothing.
    pub fn encryption(&self) -> Encryption {
        self.settings.read().encryption.clone()
    }

    /// Sets what objects are encrypted with from now on, if their writers ask for nothing.
    pub fn set_encryption(&self, encryption: Encryption) {
        self.settings.write().encryption = encryption;
    }

    /// Returns whether those of other accounts must agree to pay for their requests.
    pub fn requester_pays(&self) -> bool {
        self.settings.read().requester_pays
    }

    /// Sets whether those of other accounts must agree to pay for their requests.
    pub fn set_requester_pays(&self, requester_pays: bool) {
        self.settings.write().requester_pays = requester_pays;
    }

    /// Returns whose the object is for permissions: with ACLs switched off, always the bucket owner's.
    pub fn owner_of(&self, object: &Object) -> AccountId {
        match self.ownership() {
            Ownership::BucketOwnerEnforced => self.owner,
            _ => object.owner,
        }
    }

    /// Returns who will own what `writer` writes with this ACL, or refuses an ACL that is switched off.
    pub fn owner_for(&self, writer: AccountId, acl: Option<CannedAcl>) -> Result<AccountId, Refusal> {
        match (self.ownership(), acl) {
            (Ownership::BucketOwnerEnforced, None | Some(CannedAcl::BucketOwnerFullControl)) => {
                Ok(self.owner)
            }
            (Ownership::BucketOwnerEnforced, Some(_)) => Err(Refusal::acl_not_supported()),
            (Ownership::BucketOwnerPreferred, Some(CannedAcl::BucketOwnerFullControl)) => Ok(self.owner),
            _ => Ok(writer),
        }
    }

    /// Whether the object's ACL gives an account (or, without one, the public) this permission.
    pub fn acl_allows(&self, object: &Object, account: Option<AccountId>, permission: Permission) -> bool {
        if self.ownership() == Ownership::BucketOwnerEnforced {
            return false;
        }
        let is_bucket_owner = account == Some(self.owner);
        match (object.acl, permission) {
            (CannedAcl::BucketOwnerFullControl, _) => is_bucket_owner,
            (CannedAcl::BucketOwnerRead, Permission::Read) => is_bucket_owner,
            (CannedAcl::PublicRead | CannedAcl::PublicReadWrite, Permission::Read) => true,
            (CannedAcl::AuthenticatedRead, Permission::Read) => account.is_some(),
            _ => false,
        }
    }

    /// Returns the object under a key.
    pub fn object(&self, key: &str) -> Option<Arc<Object>> {
        self.contents.read().objects.get(key).cloned()
    }

    /// Returns the keys and objects behind `after` that start with `prefix`, in order, up to `count`.
    pub fn objects_after(
        &self,
        after: Option<&str>,
        prefix: &str,
        count: usize,
    ) -> Vec<(String, Arc<Object>)> {
        use std::ops::Bound;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let contents = self.contents.read();
        let behind = contents.objects.range::<str, _>((start, Bound::Unbounded));
        behind
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(count)
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect()
    }

    /// Returns all keys in order.
    pub fn keys(&self) -> Vec<String> {
        self.contents.read().objects.keys().cloned().collect()
    }

    /// Stores an object if the condition holds.
    pub fn put(&self, key: &str, object: Object, condition: &WriteCondition) -> Result<Arc<Object>, Refusal> {
        self.contents.write().put(key, object, condition)
    }

    /// Changes an object in place, as `PutObjectAcl` does.
    pub fn change(&self, key: &str, change: impl FnOnce(&mut Object)) -> Result<(), Refusal> {
        let mut contents = self.contents.write();
        let object = contents.objects.get_mut(key).ok_or_else(Refusal::no_such_key)?;
        change(Arc::make_mut(object));
        Ok(())
    }

    /// Removes an object if the condition holds; removing nothing succeeds.
    pub fn delete(&self, key: &str, condition: &WriteCondition) -> Result<(), Refusal> {
        let mut contents = self.contents.write();
        condition.check(contents.objects.get(key).map(|object| object.etag.as_str()))?;
        contents.objects.remove(key);
        Ok(())
    }

    /// Begins an upload and returns its id.
    pub fn begin_upload(&self, upload: Upload) -> String {
        let mut contents = self.contents.write();
        contents.uploads_begun += 1;
        // Ids sort in the order of beginning, which is the order ListMultipartUploads promises.
        let id = format!("{:08}{:016x}", contents.uploads_begun, fastrand::u64(..));
        contents.uploads.insert(id.clone(), upload);
        id
    }

    /// Returns an upload as it is now.
    pub fn upload(&self, id: &str, key: &str) -> Result<Upload, Refusal> {
        self.contents.read().upload(id, key).cloned()
    }

    /// Returns all unfinished uploads with their ids, ordered by key and then by age.
    pub fn uploads(&self) -> Vec<(String, Upload)> {
        let contents = self.contents.read();
        let mut uploads: Vec<_> =
            contents.uploads.iter().map(|(id, upload)| (id.clone(), upload.clone())).collect();
        uploads.sort_by(|(_, one), (_, other)| one.key.cmp(&other.key));
        uploads
    }

    /// Adds a part, or replaces the one of that number.
    pub fn put_part(&self, id: &str, key: &str, number: u16, part: Part) -> Result<(), Refusal> {
        let mut contents = self.contents.write();
        contents.upload(id, key)?;
        if let Some(upload) = contents.uploads.get_mut(id) {
            upload.parts.insert(number, part);
        }
        Ok(())
    }

    /// Forgets an upload and its parts.
    pub fn abort_upload(&self, id: &str, key: &str) -> Result<(), Refusal> {
        let mut contents = self.contents.write();
        contents.upload(id, key)?;
        contents.uploads.remove(id);
        Ok(())
    }

    /// Makes an upload visible as an object. A refusal leaves the upload as it was.
    pub fn complete_upload(
        &self,
        id: &str,
        key: &str,
        completion: &Completion,
    ) -> Result<Arc<Object>, Refusal> {
        let mut contents = self.contents.write();
        let upload = contents.upload(id, key)?;
        let object = completion.assemble(upload, self)?;
        let object = contents.put(key, object, &completion.condition)?;
        contents.uploads.remove(id);
        Ok(object)
    }
}

impl Object {
    /// Makes sure that the bytes can be had at once and do not have to be restored from an archive.
    pub fn check_readable(&self) -> Result<(), Refusal> {
        let in_archive = matches!(self.attributes.storage_class.as_deref(), Some("GLACIER" | "DEEP_ARCHIVE"));
        match (in_archive || self.archive_status.is_some()) && !self.restored {
            true => Err(Refusal::new(
                403,
                "InvalidObjectState",
                "The operation is not valid for the object's storage class",
            )),
            false => Ok(()),
        }
    }

    /// Returns what `x-amz-restore` says.
    pub fn restore_header(&self) -> Option<String> {
        self.restored.then(|| RESTORED.to_owned())
    }
}

impl Contents {
    fn upload(&self, id: &str, key: &str) -> Result<&Upload, Refusal> {
        self.uploads.get(id).filter(|upload| upload.key == key).ok_or_else(Refusal::no_such_upload)
    }

    fn put(&mut self, key: &str, object: Object, condition: &WriteCondition) -> Result<Arc<Object>, Refusal> {
        condition.check(self.objects.get(key).map(|object| object.etag.as_str()))?;
        let object = Arc::new(object);
        self.objects.insert(key.to_owned(), object.clone());
        Ok(object)
    }
}

impl WriteCondition {
    /// Holds the condition against the ETag of what is there, if anything is.
    pub fn check(&self, etag: Option<&str>) -> Result<(), Refusal> {
        match (self, etag) {
            (Self::None, _) | (Self::MustNotExist, None) | (Self::MustExist, Some(_)) => Ok(()),
            (Self::MustMatch(wanted), Some(etag)) if wanted == etag => Ok(()),
            // S3 tells a lost race from a wrong name: nothing there to match is 404, not 412.
            (Self::MustMatch(_) | Self::MustExist, None) => Err(Refusal::no_such_key()),
            (Self::MustNotExist | Self::MustMatch(_), Some(_)) => Err(Refusal::precondition_failed()),
        }
    }
}

const RESTORED: &str = "ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2040 00:00:00 GMT\"";
