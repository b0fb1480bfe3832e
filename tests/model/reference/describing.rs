//! What a file says about itself.

use s3xmount::error::Kind;

use super::session::Session;
use super::{Possible, Reference};
use crate::model::op::Outcome;

impl Reference {
    pub(super) fn change(&self, path: &str, mode: u32) -> Possible {
        // One that was set aside is not what shows under its name.
        let counts = |id: &u64| self.files[id].session.is_some() || self.files[id].committed.is_some();
        match (self.obstacle(path), self.file_at(path).filter(counts)) {
            (Some(kind), _) => self.refused(&[kind]),
            (None, _) if !self.is_file(path) => self.refused(&[Kind::NotFound]),
            (None, Some(id)) => self.change_open(id, mode),
            (None, None) => vec![(Outcome::Done, self.with(|next| next.describe(path, mode)))],
        }
    }

    /// The same version says something else; S3 may hear of it later, and who looks through the mount sees it now.
    pub(super) fn describe(&mut self, path: &str, mode: u32) {
        self.store.get_mut(path).expect("it is in S3").mode = Some(mode);
    }

    pub(super) fn change_open(&self, id: u64, mode: u32) -> Possible {
        let file = &self.files[&id];
        let held = file.session.as_ref().map_or(&file.committed, |session| &session.base);
        let there = file.path.as_ref().and_then(|path| self.store.get(path));
        let is_there = held.as_ref().map(|version| version.id) == there.map(|version| version.id);
        let changed = self.with(|next| {
            let file = next.files.get_mut(&id).expect("it is open");
            file.mode = Some(mode);
            if let Some(session) = &mut file.session {
                (session.is_touched, session.is_due) = (true, true);
            }
            let held = file.session.as_mut().map_or(&mut file.committed, |session| &mut session.base);
            held.iter_mut().for_each(|version| version.mode = Some(mode));
            file.committed.iter_mut().for_each(|version| version.mode = Some(mode));
            if let (true, Some(path)) = (is_there, file.path.clone().filter(|_| there.is_some())) {
                next.describe(&path, mode);
            }
        });
        let uncertain = || changed.with(|next| next.files.get_mut(&id).expect("it is open").mode = None);
        match (&file.session, &file.path) {
            (Some(Session { failed: Some(kind), .. }), _) => {
                [changed.done(), changed.refused(&[*kind])].concat()
            }
            (Some(session), _) if session.is_dirty => changed.done(),
            (Some(_), None) if file.lost.is_some() => {
                [uncertain().done(), uncertain().refused(&[Kind::Changed, Kind::NotFound])].concat()
            }
            (_, Some(_)) if !is_there => {
                [uncertain().done(), uncertain().refused(&[Kind::Changed, Kind::NotFound])].concat()
            }
            _ => changed.done(),
        }
    }

    pub(super) fn stat(&self, path: &str) -> Possible {
        if let Some(kind) = self.obstacle(path) {
            return self.refused(&[kind]);
        }
        if self.is_directory(path) {
            return vec![(Outcome::Directory, self.clone())];
        }
        if !self.is_file(path) {
            return vec![(Outcome::Absent, self.clone())];
        }
        let shown = |size: usize, mode| (Outcome::File { size: Some(size as u64), mode }, self.clone());
        let stored = self.store.get(path).map(|version| shown(version.bytes.0.len(), version.mode));
        let Some(file) = self.file_at(path).map(|id| &self.files[&id]) else {
            return stored.into_iter().collect();
        };
        match (&file.session, &file.committed) {
            (Some(Session { failed: Some(_), .. }), _) => {
                vec![(Outcome::File { size: None, mode: None }, self.clone())]
            }
            (Some(session), _) => vec![shown(session.content.0.len(), file.mode)],
            // As it was opened, or as it is now.
            (None, held) => {
                let held = held.as_ref().map(|version| shown(version.bytes.0.len(), file.mode));
                held.into_iter().chain(stored).collect()
            }
        }
    }
}
