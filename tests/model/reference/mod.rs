//! What each operation may come to: a statement of its own, in terms of whole files.
//!
//! A [`Reference`] is one possible state of the mount and of S3. [`Reference::possible`] enumerates what an
//! operation may come to and which state follows from each; mostly that is one. Whatever was not observed is struck
//! out, and when nothing is left, something is wrong.

mod commits;
mod death;
mod describing;
mod files;
mod foreign;
mod names;
mod session;

use std::collections::{BTreeMap, BTreeSet};

use s3xmount::error::Kind;
use s3xmount::write::CommitMode;

use self::commits::{Occasion, outcomes};
use self::session::{File, Lost};
use super::op::{Bytes, Number, Op, Outcome};

/// One possible state of everything.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Reference {
    /// Numbers of versions and lines are never used twice.
    next: u64,
    /// What S3 has, markers of directories apart.
    store: BTreeMap<String, Version>,
    directories: BTreeSet<String>,
    /// Those that have a marker in S3.
    markers: BTreeSet<String>,
    files: BTreeMap<u64, File>,
    handles: BTreeMap<Number, Handle>,
    lost: Vec<Lost>,
    /// What a close waits for.
    commit: CommitMode,
}

/// One version of an object.
#[derive(Debug, Clone, PartialEq)]
struct Version {
    id: u64,
    bytes: Bytes,
    /// `None` where that is uncertain.
    mode: Option<u32>,
}

#[derive(Debug, Clone, PartialEq)]
struct Handle {
    file: u64,
    writes: bool,
    /// The line of what it was opened on.
    opened: u64,
    /// The line of what it read so far.
    line: Option<u64>,
}

type Possible = Vec<(Outcome, Reference)>;

impl Reference {
    /// S3 with these files, and nothing open.
    pub(super) fn new(files: BTreeMap<String, Bytes>, markers: BTreeSet<String>, commit: CommitMode) -> Self {
        let mut new = Self { commit, ..Self::default() };
        new.directories.extend(TOPS.map(str::to_owned));
        new.directories.extend(markers.iter().cloned());
        new.markers = markers;
        files.into_iter().for_each(|(path, bytes)| new.foreign_put(&path, bytes));
        new
    }

    /// The states that may follow when an operation came to this.
    pub(super) fn after(&self, op: &Op, outcome: &Outcome) -> Result<Vec<Self>, String> {
        let possible = self.possible(op);
        let expected: Vec<_> = possible.iter().map(|(expected, _)| format!("{expected:?}")).collect();
        let mut states = Vec::new();
        for (_, next) in possible.into_iter().filter(|(expected, _)| matches(expected, outcome)) {
            if !states.contains(&next) {
                states.push(next);
            }
        }
        if states.is_empty() {
            return Err(format!("came to {outcome:?}, and not to {}", expected.join(" or ")));
        }
        Ok(states)
    }

    /// Whether S3 has just this.
    pub(super) fn agrees(
        &self,
        files: &BTreeMap<String, Bytes>,
        markers: &BTreeSet<String>,
    ) -> Result<(), String> {
        for (path, version) in &self.store {
            match files.get(path) {
                None => return Err(format!("S3 has no {path}, which should be {:?}", version.bytes)),
                Some(bytes) if *bytes != version.bytes => {
                    let at = bytes.0.iter().zip(&*version.bytes.0).position(|(a, b)| a != b);
                    return Err(format!(
                        "S3 has {bytes:?} as {path}, and not {:?} (the first difference is at {at:?})",
                        version.bytes
                    ));
                }
                Some(_) => {}
            }
        }
        if let Some(path) = files.keys().find(|path| !self.store.contains_key(*path)) {
            return Err(format!("S3 has {path}, which should not be there"));
        }
        if let Some(path) = self.markers.symmetric_difference(markers).next() {
            return Err(format!(
                "S3 has a marker of {path}, or should have one: {}",
                self.markers.contains(path)
            ));
        }
        Ok(())
    }

    // ---- what there is ----

    /// All files that can be looked up.
    pub(super) fn all_files(&self) -> BTreeSet<String> {
        let pending = self.files.values().filter_map(|file| file.path.clone().filter(|_| file.is_pending()));
        self.store.keys().cloned().chain(pending).collect()
    }

    pub(super) fn all_directories(&self) -> BTreeSet<String> {
        self.directories.clone()
    }

    pub(super) fn is_stored(&self, path: &str) -> bool {
        self.store.contains_key(path)
    }

    pub(super) fn is_directory(&self, path: &str) -> bool {
        self.directories.contains(path)
    }

    pub(super) fn is_file(&self, path: &str) -> bool {
        self.store.contains_key(path) || self.is_pending(path)
    }

    pub(super) fn is_pending(&self, path: &str) -> bool {
        self.file_at(path).is_some_and(|id| self.files[&id].is_pending())
    }

    pub(super) fn is_open(&self, path: &str) -> bool {
        self.file_at(path).is_some()
    }

    /// Whether somebody has a file open below this path that others have deleted, with its directory perhaps. Once it is
    /// written there again, a file of this path is hidden by a directory.
    pub(super) fn is_above_an_orphan(&self, path: &str) -> bool {
        let is_below = |at: &&String| at.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        self.files.values().filter_map(File::target).filter(is_below).any(|at| !self.is_file(at))
    }

    /// What must be among what was set aside.
    pub(super) fn lost(&self) -> &[Lost] {
        &self.lost
    }

    fn file_at(&self, path: &str) -> Option<u64> {
        self.files.iter().find(|(_, file)| file.path.as_deref() == Some(path)).map(|(id, _)| *id)
    }

    fn names_in(&self, path: &str) -> Vec<String> {
        let inside = |at: &String| {
            let name = at.strip_prefix(path)?.strip_prefix('/')?;
            (!name.contains('/')).then(|| name.to_owned())
        };
        let files = self.all_files();
        let directories = self.directories.iter().filter_map(inside).map(|name| format!("{name}/"));
        let mut names: Vec<String> = files.iter().filter_map(inside).chain(directories).collect();
        names.sort();
        names
    }

    /// What keeps an operation from reaching the directory that `path` is in.
    fn obstacle(&self, path: &str) -> Option<Kind> {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        above.into_iter().find_map(|at| match () {
            () if self.is_directory(at) => None,
            () if self.is_file(at) => Some(Kind::NotDirectory),
            () => Some(Kind::NotFound),
        })
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        next
    }

    // ---- operations ----

    fn possible(&self, op: &Op) -> Possible {
        let mut possible = self.possible_as_it_is(op);
        for path in self.overtaken_that_are_looked_up(op) {
            // He may have been too late to notice, or S3 not have said so.
            possible.extend(self.with(|next| next.renew(&path)).possible(op));
        }
        possible
    }

    fn possible_as_it_is(&self, op: &Op) -> Possible {
        match op {
            Op::Open { number, path, how } => self.open(*number, path, *how),
            Op::Read { number, offset, size } => self.read(*number, *offset, u64::from(*size)),
            Op::Write { number, offset, bytes } => self
                .write(*number, *offset, bytes)
                .map_or_else(|refused| refused, |next| vec![(Outcome::Done, next)]),
            Op::Append { number, bytes } => {
                let size = self.session(*number).content.0.len() as u64;
                self.write(*number, size, bytes)
                    .map_or_else(|refused| refused, |next| vec![(Outcome::Appended(size), next)])
            }
            Op::SetSize { number, size } => {
                let failed = self.session(*number).failed;
                let cut = self.with(|next| next.set_size(self.handles[number].file, *size));
                failed.map_or_else(|| vec![(Outcome::Done, cut)], |kind| self.refused(&[kind]))
            }
            Op::SetMode { number, mode } => self.change_open(self.handles[number].file, *mode),
            Op::Flush { number } if !self.handles[number].writes => self.done(),
            Op::Flush { number } | Op::Close { number } => match self.handles[number].writes {
                true => outcomes(self.commit(self.handles[number].file, Occasion::Flush)),
                false => self.done(),
            },
            Op::Sync { number } => outcomes(self.commit(self.handles[number].file, Occasion::Sync)),
            Op::Land { number } => {
                self.release(*number).into_iter().map(|next| (Outcome::Done, next)).collect()
            }
            Op::Truncate { path, size } => self.truncate(path, *size),
            Op::Change { path, mode } => self.change(path, *mode),
            Op::Stat { path } => self.stat(path),
            Op::ReadWhole { path } => self.read_whole(path),
            Op::List { path } => match self.obstacle(&format!("{path}/")) {
                Some(kind) => self.refused(&[kind]),
                None => vec![(Outcome::Names(self.names_in(path)), self.clone())],
            },
            Op::MakeDirectory { path } => match self.obstacle(path) {
                Some(kind) => self.refused(&[kind]),
                None if self.is_file(path) || self.is_directory(path) => self.refused(&[Kind::Exists]),
                None => vec![(
                    Outcome::Done,
                    self.with(|next| {
                        next.lose_name(path);
                        next.directories.insert(path.clone());
                        next.markers.insert(path.clone());
                    }),
                )],
            },
            Op::RemoveDirectory { path } => self.remove_directory(path),
            Op::Remove { path } => self.remove(path),
            Op::Rename { from, onto, may_replace } => self.rename(from, onto, *may_replace),
            Op::Both(one, two) => self.both(one, two),
            Op::Forget => self.done(),
            Op::MountAnew => self.with(Self::mounted_anew).done(),
            Op::ForeignPut { path, bytes } => {
                vec![(Outcome::Done, self.with(|next| next.foreign_put(path, bytes.clone())))]
            }
            Op::ForeignDelete { path } => {
                self.foreign_delete(path).into_iter().map(|next| (Outcome::Done, next)).collect()
            }
        }
    }

    /// Two at the same time come to what they would come to one after the other.
    fn both(&self, one: &Op, two: &Op) -> Possible {
        let mut possible = Vec::new();
        for (first, state) in self.possible(one) {
            let after = state.possible(two).into_iter();
            possible.extend(after.map(|(second, state)| (Outcome::both(first.clone(), second), state)));
        }
        for (second, state) in self.possible(two) {
            let after = state.possible(one).into_iter();
            possible.extend(after.map(|(first, state)| (Outcome::both(first, second.clone()), state)));
        }
        possible.extend(
            self.joined(one, two).into_iter().map(|(open, next)| (Outcome::both(Outcome::Done, open), next)),
        );
        possible.extend(
            self.joined(two, one).into_iter().map(|(open, next)| (Outcome::both(open, Outcome::Done), next)),
        );
        possible
    }

    /// A last close is not the last when somebody opens the file for writing while its commit is under way: he goes on with
    /// the session, and so with what that commit comes to, although nobody waited for it.
    fn joined(&self, one: &Op, two: &Op) -> Possible {
        let (Op::Land { number: closed }, Op::Open { number: opened, .. }) = (one, two) else {
            return Vec::new();
        };
        let Handle { file, writes: true, .. } = self.handles[closed] else { return Vec::new() };
        let committed =
            |state: &Self| state.commit(file, Occasion::LastClose).into_iter().map(|(_, next)| next);
        let before = committed(self).flat_map(|state| state.possible(two));
        let after = self.possible(two).into_iter();
        let after = after.flat_map(|(open, state)| {
            committed(&state).map(move |next| (open.clone(), next)).collect::<Vec<_>>()
        });
        let is_joined = |(_, state): &(Outcome, Self)| {
            state.handles.get(opened).is_some_and(|at| at.file == file && at.writes)
        };
        let mut joined: Possible = before.chain(after).filter(is_joined).collect();
        for (_, state) in &mut joined {
            state.handles.remove(closed);
        }
        joined
    }

    fn done(&self) -> Possible {
        vec![(Outcome::Done, self.clone())]
    }

    fn refused(&self, kinds: &[Kind]) -> Possible {
        kinds.iter().map(|kind| (Outcome::Failed(*kind), self.clone())).collect()
    }
}

/// Where nothing is expected of a size or a mode, any will do.
fn matches(expected: &Outcome, outcome: &Outcome) -> bool {
    match (expected, outcome) {
        (Outcome::File { size, mode }, Outcome::File { size: shown_size, mode: shown_mode }) => {
            (size.is_none() || size == shown_size) && (mode.is_none() || mode == shown_mode)
        }
        (Outcome::Both(one, two), Outcome::Both(seen_one, seen_two)) => {
            matches(one, seen_one) && matches(two, seen_two)
        }
        _ => expected == outcome,
    }
}

fn top(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// The directories of the two buckets.
pub(super) const TOPS: [&str; 2] = ["a", "b"];

/// What files are made with here.
pub(super) const NEW_MODE: u32 = 0o644;

/// What is shown of those that say nothing.
const FOREIGN_MODE: u32 = 0o600;
