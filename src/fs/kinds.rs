//! The kinds of files that `readdir` shows without their attributes.
//!
//! S3 lists symbolic links and special files like any other object; what they are is in their metadata. FUSE could say
//! that a kind is unknown (`DT_UNKNOWN`), but fuser has no word for it. So what has been heard of an object decides, and
//! of what nothing was heard it is taken for a file; unless this listing has come by a link before: where there is one
//! there are more (`node_modules/.bin`), and some hundreds of those objects that are small enough to be one are asked
//! about, so that `ls` of a large directory stays a matter of listing it. The kernel has
//! the first entries of each directory described in any case (`READDIRPLUS_AUTO`), so a link seldom goes unnoticed.

use std::sync::atomic::Ordering;

use super::Filesystem;
use super::attr::{Attributes, FileKind};
use super::dirs::Listed;
use super::handle::DirectoryHandle;
use crate::name::FileName;
use crate::namespace::{Directory, Folder, Place};
use crate::s3::ObjectMeta;

impl Filesystem {
    /// Gives entries of a directory the kinds that they have, as far as that is known or worth asking for.
    pub(super) async fn tell_kinds(&self, handle: &DirectoryHandle, entries: &mut [Listed]) {
        let Directory::In(folder) = &handle.directory else { return };
        let mut unknown = self.tell_known_kinds(folder, entries);
        unknown.truncate(ASKED_MAX);
        note_kinds(handle, &*entries);
        if handle.has_others.load(Ordering::Relaxed) && !unknown.is_empty() {
            self.namespace().describe(folder, &unknown).await;
            self.tell_known_kinds(folder, entries);
        }
    }

    /// Returns the names of those that may be something else.
    fn tell_known_kinds(&self, folder: &Folder, entries: &mut [Listed]) -> Vec<FileName> {
        let mut unknown = Vec::new();
        for entry in entries.iter_mut().filter(|entry| entry.kind == FileKind::Regular) {
            let Ok(name) = FileName::parse(&entry.name) else { continue };
            let place = Place { folder: folder.clone(), name };
            match self.namespace().heard_of(&place) {
                Some(meta) if meta.details.is_some() => {
                    entry.kind = Attributes::of_file(entry.ino, &meta, &self.parts.defaults).kind;
                }
                Some(meta) if may_be_other(&meta) => unknown.push(place.name),
                _ => {}
            }
        }
        unknown
    }
}

/// Remembers whether this listing has come by anything that is neither a file nor a directory.
pub(super) fn note_kinds<'a>(handle: &DirectoryHandle, entries: impl IntoIterator<Item = &'a Listed>) {
    let is_other = |entry: &Listed| !matches!(entry.kind, FileKind::Regular | FileKind::Directory);
    if entries.into_iter().any(is_other) {
        handle.has_others.store(true, Ordering::Relaxed);
    }
}

/// Whether an object is small enough for a symbolic link. (All other kinds are empty.)
fn may_be_other(meta: &ObjectMeta) -> bool {
    meta.size <= LINK_BYTES_MAX
}

/// Asked about for the sake of one call that brings thousands of names: eight rounds of what is asked at once.
const ASKED_MAX: usize = 512;

/// `PATH_MAX` less its zero.
const LINK_BYTES_MAX: u64 = 4095;
