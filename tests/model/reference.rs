//! What each operation may come to: a statement of its own, in terms of whole files.
//!
//! A [`Reference`] is one possible state of the mount and of S3. [`Reference::possible`] enumerates what an
//! operation may come to and which state follows from each; mostly that is one. Whatever was not observed is struck
//! out, and when nothing is left, something is wrong.

use std::collections::{BTreeMap, BTreeSet};

use s3xmount::error::Kind;

use super::op::{Bytes, Number, Op, Outcome};
use crate::support::How;

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
}

/// One version of an object.
#[derive(Debug, Clone, PartialEq)]
struct Version {
    id: u64,
    bytes: Bytes,
    /// `None` where that is uncertain.
    mode: Option<u32>,
}

/// A file that somebody has open.
#[derive(Debug, Clone, PartialEq)]
struct File {
    /// `None` once it was removed or replaced.
    path: Option<String>,
    /// The version that shows when nobody writes.
    committed: Option<Version>,
    /// Another one as soon as the content is not this mount's continuation of what it was.
    line: u64,
    session: Option<Session>,
    mode: Option<u32>,
    /// What it showed when it was removed and its last writer left.
    last: Bytes,
}

/// The time during which somebody may write.
#[derive(Debug, Clone, PartialEq)]
struct Session {
    content: Bytes,
    base: Option<Version>,
    condition: Condition,
    /// S3 has something else.
    is_dirty: bool,
    /// A new file that is not touched is made by the last close.
    is_touched: bool,
    /// The mode is still to be told to S3.
    is_due: bool,
    claims_name: bool,
    failed: Option<Kind>,
    /// Local from here on.
    ours_from: u64,
    /// Local, and never zeros that nobody wrote.
    written: Vec<(u64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Condition {
    New,
    Any,
    Version(u64),
}

#[derive(Debug, Clone, PartialEq)]
struct Handle {
    file: u64,
    writes: bool,
    /// The line of what it read so far.
    line: Option<u64>,
}

/// Bytes that could not be committed and must have been set aside.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lost {
    content: Bytes,
    written: Vec<(u64, u64)>,
}

/// Why a commit is asked for.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
enum Occasion {
    Flush,
    Sync,
    LastClose,
}

type Possible = Vec<(Outcome, Reference)>;

impl Reference {
    /// S3 with these files, and nothing open.
    pub(super) fn new(files: BTreeMap<String, Bytes>, markers: BTreeSet<String>) -> Self {
        let mut new = Self::default();
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

    /// Whether somebody has a file open that cannot be looked up any more, as others deleted it.
    pub(super) fn is_orphaned(&self, path: &str) -> bool {
        self.file_at(path).is_some() && !self.is_file(path)
    }

    /// Whether such a file is below this path, which may be no directory any more.
    pub(super) fn is_above_an_orphan(&self, path: &str) -> bool {
        let is_below = |at: &&str| at.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        let open = self.files.values().filter_map(|file| file.path.as_deref());
        open.into_iter().filter(is_below).any(|at| !self.is_file(at))
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
                        next.directories.insert(path.clone());
                        next.markers.insert(path.clone());
                    }),
                )],
            },
            Op::RemoveDirectory { path } => self.remove_directory(path),
            Op::Remove { path } => self.remove(path),
            Op::Rename { from, onto, may_replace } => self.rename(from, onto, *may_replace),
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

    fn done(&self) -> Possible {
        vec![(Outcome::Done, self.clone())]
    }

    fn refused(&self, kinds: &[Kind]) -> Possible {
        kinds.iter().map(|kind| (Outcome::Failed(*kind), self.clone())).collect()
    }

    fn session(&self, number: Number) -> &Session {
        self.files[&self.handles[&number].file].session.as_ref().expect("it has a writer")
    }

    fn open(&self, number: Number, path: &str, how: How) -> Possible {
        if let Some(kind) = self.obstacle(path) {
            return self.refused(&[kind]);
        }
        let exists = self.is_file(path);
        match how {
            How::MakeNew if exists || self.is_directory(path) => return self.refused(&[Kind::Exists]),
            _ if self.is_directory(path) => return self.refused(&[Kind::IsDirectory]),
            How::Read if !exists => return self.refused(&[Kind::NotFound]),
            _ if !exists => return vec![(Outcome::Done, self.with(|next| next.create(number, path, how)))],
            _ => {}
        }
        let (writes, empties) = (how != How::Read, how == How::Overwrite);
        let failed = self.file_at(path).and_then(|id| self.files[&id].session.as_ref()?.failed);
        let refused = failed.map(|kind| self.refused(&[kind])).unwrap_or_default();
        // Of a failed session there is nothing to empty any more.
        let opened = self.with(|next| next.open_existing(number, path, writes, empties)).done();
        [refused, opened].concat()
    }

    fn create(&mut self, number: Number, path: &str, how: How) {
        let (id, line) = (self.fresh(), self.fresh());
        let condition = if how == How::Overwrite { Condition::Any } else { Condition::New };
        let session = Session { claims_name: how == How::MakeNew, condition, ..Session::empty() };
        self.files.insert(
            id,
            File {
                path: Some(path.to_owned()),
                committed: None,
                line,
                session: Some(session),
                mode: Some(NEW_MODE),
                last: Bytes::default(),
            },
        );
        self.handles.insert(number, Handle { file: id, writes: true, line: None });
    }

    fn open_existing(&mut self, number: Number, path: &str, writes: bool, empties: bool) {
        let id = self.file_at(path).unwrap_or_else(|| {
            let (id, line, version) = (self.fresh(), self.fresh(), self.store[path].clone());
            let mode = version.mode;
            let (path, committed) = (Some(path.to_owned()), Some(version));
            self.files
                .insert(id, File { path, committed, line, session: None, mode, last: Bytes::default() });
            id
        });
        let fresh = self.fresh();
        let there = self.store.get(path).cloned();
        let file = self.files.get_mut(&id).expect("found or made");
        if file.session.is_none() {
            let version = there.expect("a file without a session is in S3");
            if file.committed.as_ref() != Some(&version) {
                (file.line, file.mode) = (fresh, version.mode);
            }
            file.committed = Some(version.clone());
            if writes {
                file.session = Some(if empties { Session::empty() } else { Session::of(version) });
            }
        } else if empties {
            self.set_size(id, 0);
        }
        self.handles.insert(number, Handle { file: id, writes, line: None });
    }

    fn set_size(&mut self, id: u64, size: u64) {
        let session =
            self.files.get_mut(&id).and_then(|file| file.session.as_mut()).expect("it has a writer");
        let before = session.content.0.len() as u64;
        if session.failed.is_some() || before == size {
            return;
        }
        session.resize(size);
        session.ours_from = session.ours_from.min(size.min(before));
        session.written.iter_mut().for_each(|(_, end)| *end = size.min(*end));
        session.written.retain(|(start, end)| start < end);
        (session.is_touched, session.is_dirty) = (true, true);
    }

    fn write(&self, number: Number, offset: u64, bytes: &Bytes) -> Result<Self, Possible> {
        if let Some(kind) = self.session(number).failed {
            return Err(self.refused(&[kind]));
        }
        let id = self.handles[&number].file;
        Ok(self.with(|next| {
            let session =
                next.files.get_mut(&id).and_then(|file| file.session.as_mut()).expect("it has a writer");
            let (before, end) = (session.content.0.len() as u64, offset + bytes.0.len() as u64);
            session.resize(before.max(end));
            let content = std::sync::Arc::make_mut(&mut session.content.0);
            content[offset as usize..end as usize].copy_from_slice(&bytes.0);
            session.written.push((offset, end));
            (session.is_touched, session.is_dirty) = (true, true);
        }))
    }

    fn read(&self, number: Number, offset: u64, size: u64) -> Possible {
        let handle = &self.handles[&number];
        let file = &self.files[&handle.file];
        if let Some(Session { failed: Some(kind), .. }) = &file.session {
            return self.refused(&[*kind]);
        }
        let was_overtaken = handle.line.is_some_and(|line| line != file.line);
        if was_overtaken {
            return self.refused(&[Kind::Changed]);
        }
        let there = file.path.as_ref().and_then(|path| self.store.get(path)).map(|version| version.id);
        let (content, is_sure) = match (&file.session, &file.committed) {
            (Some(session), _) => {
                let base = session.base.as_ref().map(|base| base.id);
                (&session.content, base == there || session.is_ours(offset, offset + size))
            }
            (None, _) if file.path.is_none() => (&file.last, false),
            (None, Some(version)) => (&version.bytes, Some(version.id) == there),
            // It never was in S3, and what was written is set aside.
            (None, None) => return self.refused(&[Kind::Changed, Kind::NotFound]),
        };
        let start = content.0.len().min(offset as usize);
        let end = content.0.len().min((offset + size) as usize);
        let bytes = Bytes(std::sync::Arc::new(content.0[start..end].to_vec()));
        let line = file.line;
        let read = self.with(|next| next.handles.get_mut(&number).expect("it is open").line = Some(line));
        let mut possible = vec![(Outcome::Read(bytes), read)];
        if !is_sure {
            possible.extend(self.refused(&[Kind::Changed, Kind::NotFound]));
        }
        possible
    }

    fn commit(&self, id: u64, occasion: Occasion) -> Vec<(Result<(), Kind>, Self)> {
        let file = &self.files[&id];
        let (Some(path), Some(session)) = (&file.path, &file.session) else {
            return vec![(Ok(()), self.clone())];
        };
        if let Some(kind) = session.failed {
            return vec![(Err(kind), self.clone())];
        }
        let claims = session.claims_name || occasion != Occasion::Flush;
        let is_new_and_untouched = session.base.is_none() && !session.is_touched;
        let is_overtaken =
            session.base.as_ref().map(|base| base.id) != self.store.get(path).map(|version| version.id);
        match () {
            () if is_new_and_untouched && !claims => return vec![(Ok(()), self.clone())],
            () if session.is_dirty => {}
            // What the file was to say about itself is lost; that may be told, or not any more.
            () if session.is_due && is_overtaken => {
                return vec![(Ok(()), self.clone()), (Err(Kind::Changed), self.clone())];
            }
            () => return vec![(Ok(()), self.clone())],
        }
        let there = self.store.get(path).map(|version| version.id);
        let verdict = match session.condition {
            Condition::New if there.is_some() => Err(Kind::Exists),
            Condition::Version(id) if there != Some(id) => Err(Kind::Changed),
            _ => Ok(()),
        };
        let next = self.with(|next| match verdict {
            Ok(()) => next.committed(id, path),
            Err(kind) => next.fail(id, kind),
        });
        let mut possible = vec![(verdict, next)];
        if session.base.as_ref().is_some_and(|base| base.bytes == session.content) {
            // Written back to what it was: there may be nothing to commit but what is to be said about it.
            possible.push((Ok(()), self.clone()));
            if session.is_due && is_overtaken {
                possible.push((Err(Kind::Changed), self.clone()));
            }
        }
        possible
    }

    fn committed(&mut self, id: u64, path: &str) {
        let version = self.fresh();
        let file = self.files.get_mut(&id).expect("it is open");
        let session = file.session.as_mut().expect("it has a writer");
        let version = Version { id: version, bytes: session.content.clone(), mode: file.mode };
        session.condition = Condition::Version(version.id);
        session.base = Some(version.clone());
        (session.is_dirty, session.is_due) = (false, false);
        file.committed = Some(version.clone());
        self.store.insert(path.to_owned(), version);
    }

    fn fail(&mut self, id: u64, kind: Kind) {
        let line = self.fresh();
        let file = self.files.get_mut(&id).expect("it is open");
        let session = file.session.as_mut().expect("it has a writer");
        session.failed = Some(kind);
        // What shows when the last writer has left is not what showed before.
        file.line = line;
        if !session.written.is_empty() {
            self.lost.push(Lost { content: session.content.clone(), written: session.written.clone() });
        }
    }

    /// All that may follow when the kernel is done with a handle.
    fn release(&self, number: Number) -> Vec<Self> {
        let Handle { file: id, writes, .. } = self.handles[&number];
        let gone = self.with(|next| {
            next.handles.remove(&number);
        });
        let has_writers = gone.handles.values().any(|handle| handle.file == id && handle.writes);
        let mut states = match writes && !has_writers {
            true => gone.commit(id, Occasion::LastClose).into_iter().map(|(_, next)| next).collect(),
            false => vec![gone],
        };
        for state in &mut states {
            let file = state.files.get_mut(&id).expect("it was open");
            if writes
                && !has_writers
                && let Some(session) = file.session.take()
            {
                file.last = session.content;
            }
            if !state.handles.values().any(|handle| handle.file == id) {
                state.files.remove(&id);
            }
        }
        states
    }

    fn truncate(&self, path: &str, size: u64) -> Possible {
        let opened = match self.obstacle(path) {
            Some(kind) => return self.refused(&[kind]),
            None if !self.is_file(path) && !self.is_directory(path) => {
                return self.refused(&[Kind::NotFound]);
            }
            None => self.open(TEMPORARY, path, if size == 0 { How::Overwrite } else { How::Edit }),
        };
        let mut possible = Vec::new();
        for (outcome, state) in opened {
            if outcome != Outcome::Done {
                possible.push((outcome, state));
                continue;
            }
            let id = state.handles[&TEMPORARY].file;
            let writers = state.handles.values().filter(|handle| handle.file == id && handle.writes).count();
            let failed = state.session(TEMPORARY).failed;
            let cut = state.with(|next| next.set_size(id, size));
            let committed = match failed {
                Some(kind) => vec![(Err(kind), cut)],
                None if writers == 1 => cut.commit(id, Occasion::Sync),
                None => vec![(Ok(()), cut)],
            };
            for (outcome, state) in outcomes(committed) {
                let released = state.release(TEMPORARY);
                possible.extend(released.into_iter().map(|next| (outcome.clone(), next)));
            }
        }
        possible
    }

    fn change(&self, path: &str, mode: u32) -> Possible {
        match (self.obstacle(path), self.file_at(path)) {
            (Some(kind), _) => self.refused(&[kind]),
            (None, _) if !self.is_file(path) => self.refused(&[Kind::NotFound]),
            (None, Some(id)) => self.change_open(id, mode),
            (None, None) => vec![(Outcome::Done, self.with(|next| next.describe(path, mode)))],
        }
    }

    /// The same version says something else; S3 may hear of it later, and who looks through the mount sees it now.
    fn describe(&mut self, path: &str, mode: u32) {
        self.store.get_mut(path).expect("it is in S3").mode = Some(mode);
    }

    fn change_open(&self, id: u64, mode: u32) -> Possible {
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
            (_, Some(_)) if !is_there => {
                [uncertain().done(), uncertain().refused(&[Kind::Changed, Kind::NotFound])].concat()
            }
            _ => changed.done(),
        }
    }

    fn stat(&self, path: &str) -> Possible {
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

    fn read_whole(&self, path: &str) -> Possible {
        let mut possible = Vec::new();
        for (outcome, state) in self.open(TEMPORARY, path, How::Read) {
            match outcome {
                Outcome::Done => {
                    for (read, state) in state.read(TEMPORARY, 0, WHOLE) {
                        possible
                            .extend(state.release(TEMPORARY).into_iter().map(|next| (read.clone(), next)));
                    }
                }
                refused => possible.push((refused, state)),
            }
        }
        possible
    }

    fn remove_directory(&self, path: &str) -> Possible {
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

    fn remove(&self, path: &str) -> Possible {
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
    fn disown(&mut self, path: &str) {
        if let Some(file) = self.file_at(path).and_then(|id| self.files.get_mut(&id)) {
            file.path = None;
            if let (None, Some(version)) = (&file.session, &file.committed) {
                file.last = version.bytes.clone();
            }
        }
    }

    fn rename(&self, from: &str, onto: &str, may_replace: bool) -> Possible {
        if let Some(kind) = self.obstacle(from).or_else(|| self.obstacle(onto)) {
            return self.refused(&[kind]);
        }
        let (source_is_directory, target_is_directory) = (self.is_directory(from), self.is_directory(onto));
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
            () if source_is_directory && target_is_directory && !self.names_in(onto).is_empty() => {
                return self.refused(&[Kind::NotEmpty]);
            }
            () if source_is_directory && top(from) != top(onto) => return self.refused(&[Kind::CrossDevice]),
            () => {}
        }
        if source_is_directory {
            self.rename_directory(from, onto)
        } else {
            self.rename_file(from, onto, may_replace)
        }
    }

    fn rename_file(&self, from: &str, onto: &str, may_replace: bool) -> Possible {
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
        possible
    }

    /// An object that was emptied is empty before it moves; a file that S3 has never heard of moves by itself.
    fn commit_before_move(&self, id: u64) -> Vec<(Result<(), Kind>, Self)> {
        let is_pending = self.files[&id].is_pending();
        self.commit(id, if is_pending { Occasion::Flush } else { Occasion::Sync })
    }

    fn rename_open(&self, id: u64, (from, onto): (&str, &str), may_replace: bool) -> Possible {
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

    fn move_object(&mut self, from: &str, onto: &str) {
        self.disown(onto);
        let id = self.fresh();
        let version = self.store.remove(from).expect("it is in S3");
        self.store.insert(onto.to_owned(), Version { id, ..version });
    }

    fn rename_directory(&self, from: &str, onto: &str) -> Possible {
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

    fn directory_moved(&self, from: &str, onto: &str) -> Self {
        let moved = |path: &str| {
            let rest = path.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
            Some(format!("{onto}{rest}"))
        };
        self.with(|next| {
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

    /// Directories that nothing in S3 speaks of were known to the old mount alone.
    fn mounted_anew(&mut self) {
        self.directories = self.markers.clone();
        let spoken_of: Vec<String> = self.store.keys().chain(&self.markers).cloned().collect();
        for path in spoken_of {
            self.directories.extend(path.match_indices('/').map(|(at, _)| path[..at].to_owned()));
        }
        self.directories.extend(TOPS.map(str::to_owned));
    }

    // ---- the foreign client ----

    fn foreign_put(&mut self, path: &str, bytes: Bytes) {
        let id = self.fresh();
        self.store.insert(path.to_owned(), Version { id, bytes, mode: Some(FOREIGN_MODE) });
        let above: Vec<String> = path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect();
        self.directories.extend(above);
    }

    /// A directory that nothing in S3 speaks of any more may vanish with its last object, or be kept by the mount.
    fn foreign_delete(&self, path: &str) -> Vec<Self> {
        let mut state = self.with(|next| drop(next.store.remove(path)));
        let mut states = vec![state.clone()];
        for (at, _) in path.rmatch_indices('/') {
            let directory = &path[..at];
            let is_bare = state.names_in(directory).is_empty() && !state.markers.contains(directory);
            if !is_bare || TOPS.contains(&directory) {
                break;
            }
            state.directories.remove(directory);
            states.push(state.clone());
        }
        states
    }
}

impl File {
    /// Whether only this mount knows of it.
    fn is_pending(&self) -> bool {
        let is_live = self.session.as_ref().is_some_and(|session| session.failed.is_none());
        self.committed.is_none() && is_live
    }

    /// Nobody writes it, and this is what others have made of it.
    fn become_of_others(&mut self, version: Version, line: u64) {
        (self.line, self.mode, self.committed) = (line, version.mode, Some(version));
    }

    /// The version that it is based on is this one now.
    fn follow(&mut self, version: Version) {
        if let Some(session) = &mut self.session
            && session.base.is_some()
        {
            session.base = Some(version.clone());
            session.condition = Condition::Version(version.id);
            session.ours_from = session.content.0.len() as u64;
            session.written.clear();
        }
        self.committed = Some(version);
    }
}

impl Session {
    /// One that replaces whatever is there.
    fn empty() -> Self {
        Self {
            content: Bytes::default(),
            base: None,
            condition: Condition::Any,
            is_dirty: true,
            is_touched: false,
            is_due: false,
            claims_name: false,
            failed: None,
            ours_from: 0,
            written: Vec::new(),
        }
    }

    /// One that edits a version.
    fn of(version: Version) -> Self {
        Self {
            content: version.bytes.clone(),
            condition: Condition::Version(version.id),
            is_dirty: false,
            ours_from: version.bytes.0.len() as u64,
            base: Some(version),
            ..Self::empty()
        }
    }

    fn resize(&mut self, size: u64) {
        std::sync::Arc::make_mut(&mut self.content.0).resize(size as usize, 0);
    }

    /// Whether no byte of this stretch has to come from S3.
    fn is_ours(&self, start: u64, end: u64) -> bool {
        let end = end.min(self.content.0.len() as u64).min(self.ours_from);
        let mut written = self.written.clone();
        written.sort_unstable();
        let reached =
            written.into_iter().fold(start, |at, (from, to)| if from <= at { at.max(to) } else { at });
        reached >= end
    }
}

impl Lost {
    /// Whether what was set aside has all of these bytes, in their places.
    pub(super) fn is_kept_in(&self, aside: &[u8]) -> bool {
        self.written.iter().all(|(start, end)| {
            let range = *start as usize..*end as usize;
            aside.get(range.clone()).is_some_and(|kept| *kept == self.content.0[range])
        })
    }
}

fn outcomes(committed: Vec<(Result<(), Kind>, Reference)>) -> Possible {
    let outcome = |result: Result<(), Kind>| result.map_or_else(Outcome::Failed, |()| Outcome::Done);
    committed.into_iter().map(|(result, next)| (outcome(result), next)).collect()
}

/// Where nothing is expected of a size or a mode, any will do.
fn matches(expected: &Outcome, outcome: &Outcome) -> bool {
    match (expected, outcome) {
        (Outcome::File { size, mode }, Outcome::File { size: shown_size, mode: shown_mode }) => {
            (size.is_none() || size == shown_size) && (mode.is_none() || mode == shown_mode)
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

/// The handle of an operation that opens and closes by itself.
const TEMPORARY: Number = Number::MAX;

/// More than any file here.
const WHOLE: u64 = 1 << 40;
