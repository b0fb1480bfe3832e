//! Names that go, and names that move.

use s3xmount::error::Kind;
use s3xmount::write::CommitMode;

use super::commits::Occasion;
use super::session::Condition;
use super::{Possible, Reference, Version, top};
use crate::model::op::Outcome;

impl Reference {
    pub(super) fn remove_directory(&self, path: &str) -> Possible {
        match self.obstacle(path) {
            Some(kind) => self.refused(&[kind]),
            None if self.is_file(path) => self.refused(&[Kind::NotDirectory]),
            None if !self.is_directory(path) => self.refused(&[Kind::NotFound]),
            None if !self.names_in(path).is_empty() => self.refused(&[Kind::NotEmpty]),
            None => vec![(
                Outcome::Done,
                self.with(|next| {
                    next.directories.remove(path);
                    next.markers.remove(path);
                }),
            )],
        }
    }

    pub(super) fn remove(&self, path: &str) -> Possible {
        match self.obstacle(path) {
            Some(kind) => return self.refused(&[kind]),
            None if self.is_directory(path) => return self.refused(&[Kind::IsDirectory]),
            None if !self.is_file(path) => return self.refused(&[Kind::NotFound]),
            None => {}
        }
        let is_pending = self.is_pending(path);
        let removed = self.with(|next| {
            next.disown(path);
            if !is_pending {
                next.store.remove(path);
            }
        });
        removed.done()
    }

    /// Whoever has the file open goes on with it.
    pub(super) fn disown(&mut self, path: &str) {
        if let Some(file) = self.file_at(path).and_then(|id| self.files.get_mut(&id)) {
            file.path = None;
            if let (None, Some(version)) = (&file.session, &file.committed) {
                file.last = version.bytes.clone();
            }
        }
    }

    /// Something else is made where somebody has a file open that others have deleted.
    pub(super) fn lose_name(&mut self, path: &str) {
        let Some(file) = self.file_at(path).and_then(|id| self.files.get_mut(&id)) else { return };
        file.lost = file.path.take();
        if let Some(session) = file.session.as_mut().filter(|session| session.condition == Condition::Any) {
            session.condition = Condition::Gone;
        }
    }

    pub(super) fn rename(&self, from: &str, onto: &str, may_replace: bool) -> Possible {
        if let Some(kind) = self.obstacle(from).or_else(|| self.obstacle(onto)) {
            return self.refused(&[kind]);
        }
        let (source_is_directory, target_is_directory) = (self.is_directory(from), self.is_directory(onto));
        let is_full = target_is_directory && !self.names_in(onto).is_empty();
        match () {
            () if !source_is_directory && !self.is_file(from) => return self.refused(&[Kind::NotFound]),
            () if from == onto && may_replace => return self.done(),
            () if source_is_directory && onto.starts_with(&format!("{from}/")) => {
                return self.refused(&[Kind::InvalidArgument]);
            }
            () if !may_replace && (target_is_directory || self.is_file(onto)) => {
                return self.refused(&[Kind::Exists]);
            }
            () if !source_is_directory && target_is_directory => return self.refused(&[Kind::IsDirectory]),
            () if source_is_directory && self.is_file(onto) => return self.refused(&[Kind::NotDirectory]),
            // Where both are true, either may be said first.
            () if source_is_directory && (is_full || top(from) != top(onto)) => {
                let full = is_full.then_some(Kind::NotEmpty);
                let apart = (top(from) != top(onto)).then_some(Kind::CrossDevice);
                return self.refused(&full.into_iter().chain(apart).collect::<Vec<_>>());
            }
            () => {}
        }
        if source_is_directory {
            self.rename_directory(from, onto)
        } else {
            self.rename_file(from, onto, may_replace)
        }
    }

    pub(super) fn rename_file(&self, from: &str, onto: &str, may_replace: bool) -> Possible {
        let Some(id) = self.file_at(from) else {
            return self.with(|next| next.move_object(from, onto)).done();
        };
        let mut possible = Vec::new();
        for (committed, state) in self.commit_before_move(id) {
            match committed {
                Ok(()) => possible.extend(state.rename_open(id, (from, onto), may_replace)),
                Err(kind) => possible.extend(state.refused(&[kind])),
            }
        }
        if self.commit == CommitMode::Background && self.is_stored(from) {
            // What was closed moves, and what was written since stays what it is.
            possible.extend(self.rename_open(id, (from, onto), may_replace));
        }
        possible
    }

    /// An object that was emptied is empty before it moves; a file that S3 has never heard of moves by itself.
    pub(super) fn commit_before_move(&self, id: u64) -> Vec<(Result<(), Kind>, Self)> {
        let is_pending = self.files[&id].is_pending();
        self.commit(id, if is_pending { Occasion::Flush } else { Occasion::Sync })
    }

    pub(super) fn rename_open(&self, id: u64, (from, onto): (&str, &str), may_replace: bool) -> Possible {
        let file = &self.files[&id];
        if file.is_pending() {
            let renamed = self.with(|next| {
                next.disown(onto);
                let file = next.files.get_mut(&id).expect("it is open");
                file.path = Some(onto.to_owned());
                let session = file.session.as_mut().expect("it is pending");
                session.condition = if may_replace { Condition::Any } else { Condition::New };
            });
            return renamed.done();
        }
        let held =
            file.session.as_ref().and_then(|session| session.base.as_ref()).or(file.committed.as_ref());
        let is_overtaken = held.map(|version| version.id) != self.store.get(from).map(|version| version.id);
        if is_overtaken && file.session.is_some() {
            return self.refused(&[Kind::Changed]);
        }
        let renamed = self.with(|next| {
            next.move_object(from, onto);
            let (version, line) = (next.store[onto].clone(), next.fresh());
            let file = next.files.get_mut(&id).expect("it is open");
            file.path = Some(onto.to_owned());
            match is_overtaken {
                true => file.become_of_others(version, line),
                false => file.follow(version),
            }
        });
        renamed.done()
    }

    pub(super) fn move_object(&mut self, from: &str, onto: &str) {
        self.disown(onto);
        let id = self.fresh();
        let version = self.store.remove(from).expect("it is in S3");
        self.store.insert(onto.to_owned(), Version { id, ..version });
    }

    pub(super) fn rename_directory(&self, from: &str, onto: &str) -> Possible {
        let below =
            |path: &str| path.strip_prefix(from).filter(|rest| rest.starts_with('/')).map(str::to_owned);
        let open: Vec<u64> = self
            .files
            .iter()
            .filter(|(_, file)| file.path.as_deref().is_some_and(|path| below(path).is_some()))
            .map(|(id, _)| *id)
            .collect();
        // In whatever order: one that fails ends it, and others may have been committed before.
        let mut states = vec![(Vec::new(), self.clone())];
        for id in &open {
            let mut next = Vec::new();
            for (failures, state) in &states {
                for (committed, after) in state.commit_before_move(*id) {
                    let failures = failures.iter().copied().chain(committed.err()).collect::<Vec<_>>();
                    next.push((failures, after));
                }
                next.push((failures.clone(), state.clone()));
            }
            states = next;
        }
        let mut possible = Vec::new();
        for (failures, state) in &states {
            match failures[..] {
                [] => {
                    let owes = |id: &&u64| {
                        let committed = state.commit_before_move(**id);
                        committed.iter().all(|(outcome, after)| outcome.is_err() || after != state)
                    };
                    if !open.iter().any(|id| owes(&id)) {
                        possible.push((Outcome::Done, state.directory_moved(from, onto)));
                    }
                }
                [kind, ..] => possible.extend(state.refused(&[kind])),
            }
        }
        possible
    }

    pub(super) fn directory_moved(&self, from: &str, onto: &str) -> Self {
        let moved = |path: &str| {
            let rest = path.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
            Some(format!("{onto}{rest}"))
        };
        self.with(|next| {
            next.lose_name(onto);
            for set in [&mut next.directories, &mut next.markers] {
                *set = set.iter().map(|path| moved(path).unwrap_or_else(|| path.clone())).collect();
            }
            let keys: Vec<String> = next.store.keys().filter(|path| moved(path).is_some()).cloned().collect();
            for key in keys {
                let (onto, id) = (moved(&key).expect("filtered"), next.fresh());
                let version = next.store.remove(&key).expect("listed");
                let arrived = Version { id, ..version.clone() };
                next.store.insert(onto, arrived.clone());
                if let Some(file) = next.file_at(&key).and_then(|id| next.files.get_mut(&id)) {
                    let held = file.session.as_ref().and_then(|session| session.base.as_ref());
                    let held = held.or(file.committed.as_ref()).map(|version| version.id);
                    match held == Some(version.id) {
                        true => file.follow(arrived),
                        false if file.session.is_none() => file.become_of_others(arrived, id),
                        false => {}
                    }
                }
            }
            for file in next.files.values_mut() {
                file.path = file.path.take().map(|path| moved(&path).unwrap_or(path));
            }
        })
    }
}
