//! Objects that belong to a third account.
//!
//! Where object ownership is not enforced, an object belongs to whoever wrote it, and a bucket's policy does not
//! apply to what another account owns: the role is refused, and so is the bucket's own account, whatever the
//! policies say. S3 calls that "Access Denied" like everything else. But a listing tells whose each object is, so a
//! refused one can be held against one that can be read. This costs a request or two upon a refusal, and none
//! before.

use super::{Namespace, Place};
use crate::error::Error;

impl Namespace {
    /// Returns a refusal with what the object's owner has to do with it, as far as that can be found out.
    pub async fn explained_by_owner(&self, place: &Place, refusal: Error) -> Error {
        let gateway = self.gateway(place.folder.bucket);
        let Ok(key) = place.folder.prefix.file(&place.name) else { return refusal };
        // Without the right to list there is nothing to be found out.
        let Ok(Some(owner)) = gateway.owner_of(&key).await else { return refusal };
        match self.witnesses(place.folder.bucket).owner(gateway).await {
            Some(usual) if usual != owner => refusal.context(format!(
                "s3://{}/{key} belongs to the account with the canonical id {owner}, and what can be read in this \
                 bucket to {usual}; hint: unless the former is the bucket's own account, no policy of the bucket \
                 applies to the object: its owner has to write it again with the ACL bucket-owner-full-control, or \
                 the bucket's owner has to set its object ownership to BucketOwnerEnforced",
                gateway.bucket()
            )),
            _ => refusal,
        }
    }
}
