//! The world behind an emulator: made by a test or the demo, and changed while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;

use super::checksum::{Algorithm, Digests, Tagging};
use super::clock::Clock;
use super::content::Content;
use super::directory::{AccessKey, Caller, Directory, Role, User};
use super::encryption::Encryption;
use super::faults::Faults;
use super::identity::AccountId;
use super::kms::{KmsKey, KmsKeys};
use super::lacks::{Lack, Lacks};
use super::mfa::MfaDevice;
use super::oidc::{OidcProvider, WebIdentity};
use super::policy::{Context, Policy};
use super::store::{self, Attributes, BucketSpec, CannedAcl, Object, Store, Upload, WriteCondition};

/// How a request is answered that was signed for another region than its bucket's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Misdirected {
    /// 301 `PermanentRedirect`, as at the endpoint of another region.
    #[default]
    Redirected,
    /// 400 `AuthorizationHeaderMalformed`, as where the endpoint is right and the signature is not.
    Malformed,
    /// 400 `IllegalLocationConstraintException`, as with regions that an account has to enable; it says
    /// nothing of the right one.
    Illegal,
    /// Not at all: the server does not mind, and names no region.
    Welcome,
}

/// Everything there is: people, things, time and trouble.
///
/// It is built with the `with_` methods and changed while it runs through its parts, all of
/// which take `&self`.
#[derive(Debug, Default)]
pub struct World {
    /// The time sessions live by.
    pub clock: Clock,
    /// Users, roles and sessions.
    pub directory: Directory,
    /// Buckets, objects and uploads.
    pub buckets: Store,
    /// The keys of KMS.
    pub keys: KmsKeys,
    /// Scripted trouble, and counts of requests.
    pub faults: Faults,
    /// What this server does not have, and AWS does.
    pub lacks: Lacks,
    pub(super) allow_short_sessions: bool,
    pub(super) is_one_organization: bool,
    pub(super) pretend_tls: bool,
    pub(super) tagging: Tagging,
    misdirected: Mutex<Misdirected>,
    /// Zero: as much as the plain limits of policies, ARNs and tags add up to.
    packed_bytes_max: AtomicUsize,
}

impl World {
    /// Returns a world without anybody or anything in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a user.
    pub fn with_user(self, user: User) -> Self {
        self.directory.add_user(user);
        self
    }

    /// Adds a role.
    pub fn with_role(self, role: Role) -> Self {
        self.directory.add_role(role);
        self
    }

    /// Gives an account's root user a key.
    pub fn with_root(self, account: AccountId, key: AccessKey) -> Self {
        self.directory.add_root(account, key);
        self
    }

    /// Adds an empty bucket.
    pub fn with_bucket(self, bucket: BucketSpec) -> Self {
        self.buckets.add(bucket, self.clock.now_in_seconds());
        self
    }

    /// Adds a key of KMS.
    pub fn with_key(self, key: KmsKey) -> Self {
        self.keys.add(key);
        self
    }

    /// Lets an account trust an identity provider.
    pub fn with_provider(self, provider: OidcProvider) -> Self {
        self.directory.add_provider(provider);
        self
    }

    /// Lets sessions be as short as a second; AWS's own minimum is fifteen minutes.
    pub fn with_short_sessions(mut self) -> Self {
        self.allow_short_sessions = true;
        self
    }

    /// Takes every connection for a secure one, though the emulator speaks plain HTTP: policies see
    /// `aws:SecureTransport` as true, and customers' keys are taken.
    pub fn with_pretended_tls(mut self) -> Self {
        self.pretend_tls = true;
        self
    }

    /// Makes all accounts one organization, in which S3 says which kind of policy denies something.
    pub fn with_one_organization(mut self) -> Self {
        self.is_one_organization = true;
        self
    }

    /// Takes ETags from chance instead of MD5, as clients of KMS buckets see them. Writes are quicker.
    pub fn with_opaque_etags(mut self) -> Self {
        self.tagging = Tagging::Opaque;
        self
    }

    /// Makes a server that is not AWS and lacks these.
    pub fn lacking(self, lacks: impl IntoIterator<Item = Lack>) -> Self {
        lacks.into_iter().for_each(|lack| self.lacks.add(lack));
        self
    }

    /// Sets how requests for another region are answered.
    pub fn set_misdirected(&self, misdirected: Misdirected) {
        *self.misdirected.lock() = misdirected;
    }

    pub(super) fn misdirected(&self) -> Misdirected {
        *self.misdirected.lock()
    }

    /// Puts an object into a bucket without asking anybody; it belongs to the bucket's owner.
    ///
    /// # Panics
    ///
    /// If there is no such bucket.
    pub fn seed(&self, bucket: &str, key: &str, content: impl Into<Bytes>) {
        self.seed_content(bucket, key, Content::from(content.into()), Attributes::default());
    }

    /// Puts an object with attributes into a bucket; its content may be larger than memory.
    ///
    /// # Panics
    ///
    /// If there is no such bucket.
    pub fn seed_content(&self, bucket: &str, key: &str, content: Content, attributes: Attributes) {
        let bucket = self.bucket(bucket);
        // Hashing a terabyte would take hours; an ETag need not be an MD5.
        let digests = match content.size() {
            size if size <= SEED_DIGEST_BYTES_MAX => {
                Some(Digests::of(&content, Algorithm::Crc64Nvme, self.tagging))
            }
            _ => None,
        };
        let object = Object {
            owner: bucket.owner,
            acl: CannedAcl::Private,
            etag: digests.as_ref().map_or_else(|| format!("{:032x}-1", content.size()), Digests::etag),
            modified: self.clock.now_in_seconds(),
            attributes,
            checksum: digests.as_ref().map(Digests::checksum),
            part_sizes: Vec::new(),
            encryption: Encryption::S3Key,
            version_id: None,
            archive_status: None,
            restored: false,
            content,
        };
        bucket.put(key, object, &WriteCondition::None).expect("no condition fails");
    }

    /// Returns a bucket.
    ///
    /// # Panics
    ///
    /// If there is no such bucket.
    pub fn bucket(&self, name: &str) -> Arc<store::Bucket> {
        self.buckets.bucket(name).unwrap_or_else(|| panic!("there is no bucket {name}"))
    }

    /// Returns an object as it is stored, whoever may see it.
    pub fn object(&self, bucket: &str, key: &str) -> Option<Arc<Object>> {
        self.bucket(bucket).object(key)
    }

    /// Returns the unfinished uploads of a bucket with their ids.
    pub fn uploads(&self, bucket: &str) -> Vec<(String, Upload)> {
        self.bucket(bucket).uploads()
    }

    /// Replaces a bucket's policy, or takes it away.
    ///
    /// # Panics
    ///
    /// If there is no such bucket or the document is malformed.
    pub fn set_bucket_policy(&self, bucket: &str, document: Option<&Value>) {
        let policy =
            document.map(|document| Policy::bucket(document).expect("the bucket policy is well-formed"));
        self.bucket(bucket).set_policy(policy);
    }

    /// Revokes the sessions a role has handed out so far: they are denied everything.
    ///
    /// # Panics
    ///
    /// If there is no such role.
    pub fn revoke_sessions(&self, account: AccountId, role: &str) {
        self.directory.revoke_sessions(account, role, self.clock.now());
    }

    /// Sets how many bytes of session policies, policy ARNs and session tags STS takes together.
    ///
    /// AWS packs them by no published rule and takes what fits; here plain bytes are counted. Without
    /// this, or with zero, everything fits that keeps to the plain limits.
    pub fn set_packed_bytes_max(&self, bytes: usize) {
        self.packed_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Returns the code that a user's device shows now; it may have been used already.
    ///
    /// # Panics
    ///
    /// If the user has no device.
    pub fn mfa_code(&self, account: AccountId, user: &str) -> String {
        self.device(account, user).code(self.clock.now())
    }

    /// Returns a code that was never used, letting time pass until the device shows one.
    ///
    /// # Panics
    ///
    /// If the user has no device.
    pub fn fresh_mfa_code(&self, account: AccountId, user: &str) -> String {
        let device = self.device(account, user);
        self.clock.advance(device.until_fresh(self.clock.now()));
        device.code(self.clock.now())
    }

    /// Returns a token for a web identity, as its provider would issue it.
    pub fn issue_web_identity(&self, identity: &WebIdentity) -> String {
        identity.issue(self.clock.now())
    }

    fn device(&self, account: AccountId, user: &str) -> MfaDevice {
        self.directory.device(account, user).unwrap_or_else(|| panic!("{user} has no device"))
    }

    /// The condition keys that every request carries.
    pub(super) fn ambient(&self, caller: &Caller, context: Context) -> Context {
        caller.describe(context).with("aws:SecureTransport", self.pretend_tls.to_string())
    }

    pub(super) fn packed_bytes_max(&self) -> usize {
        match self.packed_bytes_max.load(Ordering::Relaxed) {
            0 => PACKED_BYTES_DEFAULT,
            bytes => bytes,
        }
    }
}

/// 2,048 characters of policy and 50 tags of 128 and 256, all of which may take four bytes, and ten ARNs
/// of 2,048.
const PACKED_BYTES_DEFAULT: usize = 4 * (2048 + 50 * (128 + 256)) + 10 * 2048;
/// A second or two of hashing.
const SEED_DIGEST_BYTES_MAX: u64 = 1 << 30;
