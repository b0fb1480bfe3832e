//! Files that are open here while others replace them.
//!
//! A handle stays on the version that it was opened on, and never reads two of them as one. But what a name shows is no
//! older than the lifetime of names allows, whoever has the file open: a program may have a log open for days. As on a
//! disk, where another file takes the place of the one that was there: the name gets another inode, and whoever has the
//! old one open goes on with what the kernel and the block cache have of it. (S3 has no more of it.)

use std::sync::Arc;
use std::time::Duration;

use super::Filesystem;
use super::attr::Attributes;
use super::handle::OpenFile;
use crate::error::Result;
use crate::name::FileName;
use crate::namespace::{Entry, Ino, Lookup, Node};
use crate::s3::ObjectMeta;

impl Filesystem {
    /// Whether a name shows something else than the file that is open under its inode, and that nobody writes.
    pub(super) fn is_overtaken(&self, entry: &Entry) -> bool {
        self.overtaken_file(entry).is_some()
    }

    /// What was looked up, and that with another inode if others have replaced the file which is open under the name.
    pub(super) async fn renewed(&self, parent: Ino, name: &FileName, lookup: Lookup) -> Result<Lookup> {
        let Lookup::Found(entry) = &lookup else { return Ok(lookup) };
        match self.overtaken_file(entry) {
            None => Ok(lookup),
            // Boxed: it is rare, and every lookup would be as large.
            Some(file) => Box::pin(self.renewed_unless_ours(parent, name, lookup, &file)).await,
        }
    }

    async fn renewed_unless_ours(
        &self,
        parent: Ino,
        name: &FileName,
        lookup: Lookup,
        file: &OpenFile,
    ) -> Result<Lookup> {
        self.leave_if_replaced(parent, name, file).await;
        if file.state().place.is_some() {
            return Ok(lookup);
        }
        self.forget(file.ino, 1);
        self.namespace().lookup(parent, name).await
    }

    fn overtaken_file(&self, entry: &Entry) -> Option<Arc<OpenFile>> {
        let Node::File(shown) = &entry.node else { return None };
        // One without a name has lost it since it was looked up.
        self.known_open_file(entry.ino)
            .filter(|file| file.state().place.is_none() || file.has_another_version_than(&shown.etag))
    }

    /// Takes the name from a file that others have replaced.
    async fn leave_if_replaced(&self, parent: Ino, name: &FileName, file: &OpenFile) {
        // Nobody comes to the end of a writing meanwhile: what S3 says is not older than what was made here.
        let Ok(_turn) = tokio::time::timeout(PATIENCE, file.turn()).await else { return };
        let Some(place) = file.state().place.clone() else { return };
        let current = tokio::time::timeout(PATIENCE, self.namespace().current_file(&place)).await;
        let is_replaced = matches!(current, Ok(Ok(meta)) if file.has_another_version_than(&meta.etag));
        // It may have been moved before its turn came.
        if is_replaced && self.namespace().known_inode(parent, name) == Some(file.ino) {
            self.leave_name(parent, name);
        }
    }

    /// Makes what S3 has now the version of an open file that nobody writes here. Returns whether it is
    /// another one.
    pub(super) fn take_version(&self, file: &OpenFile, meta: ObjectMeta) -> bool {
        let mut state = file.state();
        let is_same = state.committed.as_ref().is_some_and(|held| held.etag == meta.etag);
        if state.session.is_some() || is_same {
            return false;
        }
        state.replaced_here.clear();
        state.attributes = Attributes::of_file(file.ino, &meta, &self.parts.defaults);
        state.committed = Some(meta);
        true
    }

    /// Others have replaced a file that nobody writes here. Who has read of what it was is told so, and the kernel that
    /// its pages are of no use.
    pub(super) async fn overtaken(&self, file: &OpenFile, meta: ObjectMeta) {
        if self.take_version(file, meta) {
            file.end_filling().await;
            self.pages.lock().remove(&file.ino);
            self.tell_changed(file.ino);
        }
    }
}

/// What is open is shown as it is where S3 does not say in time that it was replaced, and while it is moved or described.
const PATIENCE: Duration = Duration::from_secs(1);
