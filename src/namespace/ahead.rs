//! What is learnt of a directory ahead of the kernel's questions, for files that are opened one after
//! the other.

use tokio::time::Instant;

use super::cache::{Answer, Presence};
use super::{Folder, Namespace, Place};
use crate::name::FileName;
use crate::s3::{ObjectMeta, is_archive};

impl Namespace {
    /// The files of a directory that can be read, and their sizes, by name; `None` unless it is known whole. What
    /// lies in an archive is not among them.
    pub fn files(&self, folder: &Folder) -> Option<Vec<(FileName, u64)>> {
        let entries = self.cache.listing(folder)?.into_iter();
        let files = entries
            .filter_map(|(name, answer)| match answer.presence {
                Presence::File(meta) if !meta.storage_class.as_deref().is_some_and(is_archive) => {
                    Some((name, meta.size))
                }
                Presence::File(_) | Presence::Directory(_) | Presence::Absent | Presence::Unseen => None,
            })
            .collect();
        Some(files)
    }

    /// What this mount knows of an object, if it is believed still.
    pub fn heard_of(&self, place: &Place) -> Option<ObjectMeta> {
        let waiting = self.waiting_answer(&place.folder, &place.name);
        match waiting.or_else(|| self.cache.answer(&place.folder, &place.name))?.presence {
            Presence::File(meta) => Some(meta),
            Presence::Directory(_) | Presence::Absent | Presence::Unseen => None,
        }
    }

    /// An object was fetched that S3 was asked for at `asked`.
    pub fn fetched(&self, place: &Place, meta: ObjectMeta, asked: Instant) {
        self.readable(place);
        let answer = Answer { presence: Presence::File(meta), asked };
        self.cache.learn(&place.folder, &place.name, answer);
    }
}
