//! Handles: opening, reading, writing, cutting, and the end of each.

use s3xmount::error::Kind;

use super::commits::{Occasion, outcomes};
use super::session::{Condition, File, Session};
use super::{Handle, NEW_MODE, Possible, Reference};
use crate::model::op::{Bytes, Number, Outcome};
use crate::support::How;

impl Reference {
    pub(super) fn session(&self, number: Number) -> &Session {
        self.files[&self.handles[&number].file].session.as_ref().expect("it has a writer")
    }

    pub(super) fn open(&self, number: Number, path: &str, how: How) -> Possible {
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

    pub(super) fn create(&mut self, number: Number, path: &str, how: How) {
        let (id, line) = (self.fresh(), self.fresh());
        let condition = if how == How::Overwrite { Condition::Any } else { Condition::New };
        let session = Session { claims_name: how == How::MakeNew, condition, ..Session::empty() };
        self.lose_name(path);
        self.files.insert(
            id,
            File {
                path: Some(path.to_owned()),
                lost: None,
                committed: None,
                line,
                session: Some(session),
                mode: Some(NEW_MODE),
                last: Bytes::default(),
                failed: None,
            },
        );
        self.handles.insert(number, Handle { file: id, writes: true, opened: line, line: None });
    }

    pub(super) fn open_existing(&mut self, number: Number, path: &str, writes: bool, empties: bool) {
        let id = self.file_at(path).unwrap_or_else(|| {
            let (id, line, version) = (self.fresh(), self.fresh(), self.store[path].clone());
            let mode = version.mode;
            let (path, committed) = (Some(path.to_owned()), Some(version));
            let (last, failed) = Default::default();
            let file = File { path, lost: None, committed, line, session: None, mode, last, failed };
            self.files.insert(id, file);
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
        let opened = self.files[&id].line;
        self.handles.insert(number, Handle { file: id, writes, opened, line: None });
    }

    pub(super) fn set_size(&mut self, id: u64, size: u64) {
        let session =
            self.files.get_mut(&id).and_then(|file| file.session.as_mut()).expect("it has a writer");
        let before = session.content.0.len() as u64;
        if session.failed.is_some() || before == size {
            return;
        }
        session.cut(size);
        (session.is_touched, session.is_dirty) = (true, true);
    }

    pub(super) fn write(&self, number: Number, offset: u64, bytes: &Bytes) -> Result<Self, Possible> {
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
            session.written.add(offset, end);
            session.unsaved.add(offset, end);
            (session.is_touched, session.is_dirty) = (true, true);
        }))
    }

    pub(super) fn read(&self, number: Number, offset: u64, size: u64) -> Possible {
        let handle = &self.handles[&number];
        let file = &self.files[&handle.file];
        if let Some(Session { failed: Some(kind), .. }) = &file.session {
            return self.refused(&[*kind]);
        }
        let was_overtaken = handle.line.is_some_and(|line| line != file.line);
        if was_overtaken {
            return self
                .refused(&[Some(Kind::Changed), file.failed].into_iter().flatten().collect::<Vec<_>>());
        }
        let there = file.target().and_then(|path| self.store.get(path)).map(|version| version.id);
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
        let is_nothing = bytes.0.is_empty();
        let mut possible = vec![(Outcome::Read(bytes), read)];
        if is_nothing {
            // Nothing was got of this version yet that could be mixed with another.
            possible.push((Outcome::Read(Bytes::default()), self.clone()));
        }
        if let Some(kind) = file.failed {
            possible.extend(self.refused(&[kind]));
        }
        // It may have begun with what it was opened on, and got nothing of it.
        if !is_sure || handle.opened != file.line {
            possible.extend(self.refused(&[Kind::Changed, Kind::NotFound]));
        }
        possible
    }

    /// All that may follow when the kernel is done with a handle.
    pub(super) fn release(&self, number: Number) -> Vec<Self> {
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
                if file.path.is_some() && matches!(session.failed, Some(Kind::Changed | Kind::Exists)) {
                    // Others have the name, and what this mount had made of it counts no more.
                    file.committed = None;
                }
                (file.last, file.failed) = (session.content, session.failed.filter(|_| file.path.is_none()));
            }
            if !state.handles.values().any(|handle| handle.file == id) {
                state.files.remove(&id);
            }
        }
        states
    }

    pub(super) fn truncate(&self, path: &str, size: u64) -> Possible {
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

    pub(super) fn read_whole(&self, path: &str) -> Possible {
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
}

/// The handle of an operation that opens and closes by itself.
const TEMPORARY: Number = Number::MAX;

/// More than any file here.
const WHOLE: u64 = 1 << 40;
