//! What another process finds when this one was killed.

use std::collections::{BTreeMap, BTreeSet};

use super::session::{Lost, Session};
use super::{Reference, Version};
use crate::model::op::{Bytes, Op};

impl Reference {
    /// The state in which the next mount finds everything: nobody has anything open, and what was written and not
    /// committed is set aside.
    pub(in crate::model) fn killed(&self) -> Self {
        let mut next = self.clone();
        for file in self.files.values() {
            let (Some(path), Some(session)) = (file.target(), &file.session) else { continue };
            if session.failed.is_none() && !session.unsaved.is_empty() {
                next.lost.push(Lost { content: session.content.clone(), written: session.unsaved.clone() });
            }
            // What it was to say about itself may have gone over to whoever writes it.
            if let Some(version) = next.store.get_mut(path) {
                version.mode = None;
            }
        }
        next.files.clear();
        next.handles.clear();
        next.mounted_anew();
        next
    }

    /// The states in which it may find everything when nobody knows what became of the last operation.
    pub(in crate::model) fn killed_during(&self, op: &Op) -> Vec<Self> {
        let before = match op {
            Op::Write { number, offset, bytes } => self.overwritten(*number, *offset, bytes),
            Op::Append { number, bytes } => {
                self.overwritten(*number, self.session(*number).content.0.len() as u64, bytes)
            }
            _ => self.clone(),
        };
        let after = self.possible(op).into_iter().map(|(_, state)| state);
        std::iter::once(before).chain(after).map(|state| state.killed()).collect()
    }

    /// What somebody was about to write here is there in part, or not.
    fn overwritten(&self, number: usize, offset: u64, bytes: &Bytes) -> Self {
        self.with(|next| {
            let session =
                next.files.get_mut(&self.handles[&number].file).and_then(|file| file.session.as_mut());
            let session = session.expect("it has a writer");
            session.unsaved = session.unsaved.without(offset, offset + bytes.0.len() as u64);
        })
    }

    /// The state that S3 shows when nobody knows how far a rename came: each file at its old place, at its new one, or at both.
    ///
    /// # Errors
    /// What is lost, or is there and should not be.
    pub(in crate::model) fn killed_during_rename(
        &self,
        (from, onto): (&str, &str),
        files: &BTreeMap<String, Bytes>,
        markers: &BTreeSet<String>,
    ) -> Result<Self, String> {
        let moved = |path: &str| {
            let rest = path.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
            Some(format!("{onto}{rest}"))
        };
        let mut allowed: BTreeMap<String, Vec<&Bytes>> = BTreeMap::new();
        for path in self.all_files() {
            let contents = self.contents_at(&path);
            let places = [Some(path.clone()), moved(&path)];
            let is_replaced = self.all_files().iter().any(|other| moved(other).as_ref() == Some(&path));
            if self.is_stored(&path)
                && !is_replaced
                && !places.iter().flatten().any(|at| has_one_of(files, at, &contents))
            {
                return Err(format!("{path} is lost, as it moved from {from} to {onto}"));
            }
            for place in places.into_iter().flatten() {
                allowed.entry(place).or_default().extend(&contents);
            }
        }
        let none = Vec::new();
        let is_strange = |path: &&String| !has_one_of(files, path, allowed.get(*path).unwrap_or(&none));
        if let Some(path) = files.keys().find(is_strange) {
            return Err(format!(
                "{path} has bytes that nobody gave it, after a rename from {from} to {onto}"
            ));
        }
        let mut found = self.killed();
        for (path, bytes) in files {
            let id = found.fresh();
            found.store.insert(path.clone(), Version { id, bytes: bytes.clone(), mode: None });
        }
        found.store.retain(|path, _| files.contains_key(path));
        found.markers = markers.clone();
        found.mounted_anew();
        // What was committed before it moved does not have to be set aside as well.
        found.lost.retain(|lost| !files.values().any(|bytes| lost.is_kept_in(&bytes.0)));
        Ok(found)
    }

    /// What may be found under a name: what S3 had, or what a commit makes of it.
    fn contents_at(&self, path: &str) -> Vec<&Bytes> {
        let session = self.file_at(path).and_then(|id| self.files[&id].session.as_ref());
        let written = session.map(|Session { content, .. }| content);
        self.store.get(path).map(|version| &version.bytes).into_iter().chain(written).collect()
    }
}

fn has_one_of(files: &BTreeMap<String, Bytes>, path: &str, contents: &[&Bytes]) -> bool {
    files.get(path).is_some_and(|bytes| contents.contains(&bytes))
}
