//! One mount of an emulator without a socket, and what a kernel does to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::SharedCredentialsProvider;
use parking_lot::Mutex;
use s3xmount::budget::Budget;
use s3xmount::emulator::demo::{self, Rights};
use s3xmount::emulator::store::WriteCondition;
use s3xmount::emulator::{InProcess, Object, On};
use s3xmount::error::{Error, Kind, Result};
use s3xmount::fs::{
    Access, AttributeChange, Attributes, Defaults, FileKind, Filesystem, Found, HandleId, OpenOptions, Parts,
    Replace,
};
use s3xmount::name::{BucketName, DirPrefix, FileName};
use s3xmount::namespace::{self, AttributePolicy, Bucket, Ino, Lifetimes, Namespace};
use s3xmount::read;
use s3xmount::s3::{self, CredentialsOwner, Endpoint, Gateway, Server, Variant, WriteRules};
use s3xmount::task::Tasks;
use s3xmount::write::{self, Sessions};
use tempfile::TempDir;
use tokio::runtime::{Builder, Handle};

use super::choice::{Held, choose};
use super::op::{Bytes, Number, Op, Outcome, Script};
use super::reference::{NEW_MODE, Reference, TOPS};
use crate::support::{How, OWNER};

/// A script being lived.
pub(super) struct Life<'a> {
    script: &'a Script,
    emulator: InProcess,
    mount: Mount,
    /// All states that may be.
    states: Vec<Reference>,
    held: Vec<Held>,
    objects: Objects,
    said: &'a Mutex<String>,
}

impl<'a> Life<'a> {
    /// Lives a script to its end; says what it does as it goes.
    pub(super) fn live(script: &'a Script, said: &'a Mutex<String>) -> Result<(), String> {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut life = Self::begin(script, said).await;
            for (number, step) in script.steps.iter().enumerate() {
                if let Some(op) = choose(script, step, &life.states[0], &life.held, number) {
                    life.take(op).await?;
                }
            }
            life.end().await
        })
    }

    async fn begin(script: &'a Script, said: &'a Mutex<String>) -> Self {
        let world = demo::world(Rights::Full);
        let world = if script.opaque_etags { world.with_opaque_etags() } else { world };
        let emulator = InProcess::new(world);
        for (bucket, key) in demo::BUCKETS.iter().flat_map(|name| {
            let bucket = emulator.world().bucket(name);
            bucket.keys().into_iter().map(move |key| (Arc::clone(&bucket), key))
        }) {
            bucket.delete(&key, &WriteCondition::None).unwrap();
        }
        let mount = Mount::new(&emulator).await;
        if script.troubled {
            let faults = &emulator.world().faults;
            faults.inject(On::anything().at_random(0.05, script.seed).always().lose_answer());
            faults.inject(On::anything().at_random(0.05, script.seed + 1).always().drop_request());
            faults.inject(On::anything().at_random(0.05, script.seed + 2).always().throttle());
        }
        let mut objects = Objects::default();
        let (files, markers) = objects.look(&emulator);
        Self {
            mount,
            states: vec![Reference::new(files, markers)],
            held: Vec::new(),
            objects,
            script,
            said,
            emulator,
        }
    }

    async fn take(&mut self, op: Op) -> Result<(), String> {
        *self.said.lock() += &format!("  {op:?}");
        let outcome = match &op {
            Op::ForeignPut { path, bytes } => self.foreign(path, Some(bytes)).await,
            Op::ForeignDelete { path } => self.foreign(path, None).await,
            op => self.mount.take(op).await,
        };
        *self.said.lock() += &format!(" -> {outcome:?}\n");
        self.expect(&op, &outcome)?;
        match op {
            Op::Open { number, how, .. } if outcome == Outcome::Done => {
                self.held.push(Held { number, writes: how != How::Read, is_closing: false });
            }
            Op::Close { number } => {
                self.held
                    .iter_mut()
                    .filter(|held| held.number == number)
                    .for_each(|held| held.is_closing = true);
            }
            Op::Land { number } => self.held.retain(|held| held.number != number),
            _ => {}
        }
        Ok(())
    }

    /// Strikes out the states that cannot have come to this.
    fn expect(&mut self, op: &Op, outcome: &Outcome) -> Result<(), String> {
        let (files, markers) = self.objects.look(&self.emulator);
        let (mut states, mut complaints) = (Vec::new(), Vec::new());
        for state in &self.states {
            match state.after(op, outcome) {
                Ok(after) => {
                    for next in after {
                        match next.agrees(&files, &markers) {
                            Ok(()) if states.contains(&next) => {}
                            Ok(()) => states.push(next),
                            Err(complaint) => complaints.push(complaint),
                        }
                    }
                }
                Err(complaint) => complaints.push(complaint),
            }
        }
        if states.is_empty() {
            return Err(complaints.join("\n"));
        }
        self.states = states;
        Ok(())
    }

    /// What somebody else does to the bucket; long enough ago for the mount to see it.
    async fn foreign(&self, path: &str, bytes: Option<&Bytes>) -> Outcome {
        let (bucket, key) = split(path);
        let world = self.emulator.world();
        match bytes {
            Some(bytes) => world.seed(bucket, key, bytes.0.to_vec()),
            None => world.bucket(bucket).delete(key, &WriteCondition::None).unwrap(),
        }
        tokio::time::advance(Duration::from_secs(3600)).await;
        Outcome::Done
    }

    /// Closes everything, and has everything looked at once more by this mount and by one that knows nothing.
    async fn end(mut self) -> Result<(), String> {
        while let Some(held) = self.held.first().copied() {
            if !held.is_closing {
                self.take(Op::Close { number: held.number }).await?;
            }
            self.take(Op::Land { number: held.number }).await?;
        }
        if self.script.seed.is_multiple_of(3) {
            self.look_at_everything().await?;
        }
        self.mount.filesystem.finish().await;
        let uploads: usize =
            demo::BUCKETS.iter().map(|bucket| self.emulator.world().uploads(bucket).len()).sum();
        if uploads > 0 {
            return Err(format!("{uploads} uploads were left"));
        }
        let aside = self.mount.set_aside();
        let is_kept = |state: &Reference| {
            state.lost().iter().all(|lost| aside.iter().any(|kept| lost.is_kept_in(kept)))
        };
        if !self.states.iter().any(is_kept) {
            return Err(format!(
                "{} files were set aside, and not all that could not be committed",
                aside.len()
            ));
        }
        self.mount = Mount::new(&self.emulator).await;
        self.take(Op::MountAnew).await?;
        self.look_at_everything().await
    }

    async fn look_at_everything(&mut self) -> Result<(), String> {
        for path in self.states[0].all_directories() {
            self.take(Op::List { path }).await?;
        }
        for path in self.states[0].all_files() {
            self.take(Op::Stat { path: path.clone() }).await?;
            self.take(Op::ReadWhole { path }).await?;
        }
        Ok(())
    }
}

/// The objects of both buckets, of which only new ones are copied.
#[derive(Default)]
struct Objects(HashMap<String, (Arc<Object>, Bytes)>);

impl Objects {
    /// All files by their paths, and the directories that have markers.
    fn look(&mut self, emulator: &InProcess) -> (BTreeMap<String, Bytes>, BTreeSet<String>) {
        let (mut files, mut markers) = (BTreeMap::new(), BTreeSet::new());
        for (top, name) in TOPS.iter().zip(demo::BUCKETS) {
            let bucket = emulator.world().bucket(name);
            for key in bucket.keys() {
                let path = format!("{top}/{key}");
                if let Some(directory) = path.strip_suffix('/') {
                    markers.insert(directory.to_owned());
                    continue;
                }
                let object = bucket.object(&key).unwrap();
                let known = self.0.get(&path).filter(|(known, _)| Arc::ptr_eq(known, &object));
                let bytes = known.map(|(_, bytes)| bytes.clone());
                let bytes = bytes.unwrap_or_else(|| Bytes(Arc::new(object.content.to_bytes().to_vec())));
                self.0.insert(path.clone(), (object, bytes.clone()));
                files.insert(path, bytes);
            }
        }
        (files, markers)
    }
}

/// A filesystem over both buckets, and what its kernel knows.
struct Mount {
    filesystem: Arc<Filesystem>,
    sessions: Arc<Sessions>,
    handles: HashMap<Number, (Ino, HandleId)>,
    /// What the kernel has looked up: how often, and where the name is.
    known: HashMap<Ino, (u64, Ino)>,
    /// Outlives the sessions that stage in it.
    _staging: TempDir,
}

impl Mount {
    async fn new(emulator: &InProcess) -> Self {
        let bob = demo::bob();
        let endpoint = Endpoint {
            credentials: SharedCredentialsProvider::new(Keys::new(bob.id, bob.secret, None, None, "test")),
            owner: Arc::new(Nobody),
            http: Some(emulator.http_client()),
            url: Some("http://s3.invalid".to_owned()),
            server: Server::Aws,
            force_path_style: true,
            variant: Variant::default(),
        };
        let mut buckets = Vec::new();
        for (top, name) in TOPS.iter().zip(demo::BUCKETS) {
            let options = s3::Options {
                bucket: BucketName::parse(name).unwrap(),
                region: Some(demo::REGION.to_owned()),
                region_hint: None,
                rules: WriteRules::default().acl(Some("bucket-owner-full-control")),
            };
            buckets.push(Bucket {
                directory: FileName::parse(top).unwrap(),
                gateway: Gateway::connect(&endpoint, options).await.unwrap(),
                root: DirPrefix::parse("").unwrap(),
                read_only: false,
                directories: Vec::new(),
            });
        }
        let tasks = Tasks::new(Handle::current());
        let (staging, budget) = (tempfile::tempdir().unwrap(), Budget::new(64 << 20));
        let writing = write::Options::new(staging.path().to_owned());
        let sessions = Sessions::open(writing, budget.clone(), tasks.clone()).unwrap();
        let lifetimes = Lifetimes { present: Duration::from_secs(60), absent: Duration::from_secs(5) };
        let naming = namespace::Options {
            lifetimes,
            attributes: AttributePolicy::Auto,
            describe_after: namespace::DESCRIBE_AFTER,
            journal: None,
        };
        let (uid, gid) = OWNER;
        let defaults =
            Defaults { uid, gid, file_mode: 0o600, dir_mode: 0o755, mounted: SystemTime::UNIX_EPOCH };
        let filesystem = Filesystem::new(Parts {
            namespace: Namespace::new(buckets, &naming, tasks.clone()),
            sessions: Arc::clone(&sessions),
            reading: read::Options::default(),
            cache: None,
            defaults,
            budget,
            tasks,
        });
        let (handles, known) = Default::default();
        Self { filesystem, sessions, handles, known, _staging: staging }
    }

    fn set_aside(&self) -> Vec<Vec<u8>> {
        self.sessions.set_aside().unwrap().iter().map(|file| fs::read(&file.path).unwrap()).collect()
    }

    async fn take(&mut self, op: &Op) -> Outcome {
        self.try_to_take(op).await.unwrap_or_else(|error| Outcome::Failed(error.kind()))
    }

    async fn try_to_take(&mut self, op: &Op) -> Result<Outcome> {
        let fs = Arc::clone(&self.filesystem);
        match op {
            Op::Open { number, path, how } => {
                let opened = self.open(path, *how).await?;
                self.handles.insert(*number, opened);
            }
            Op::Read { number, offset, size } => {
                return self.read(self.handles[number].1, *offset, *size).await.map(Outcome::Read);
            }
            Op::Write { number, offset, bytes } => self.write(*number, *offset, bytes).await?,
            Op::Append { number, bytes } => {
                let (ino, handle) = self.handles[number];
                let size = fs.attributes(ino).await?.attributes.size;
                for piece in bytes.0.chunks(PIECE_BYTES) {
                    // The kernel may believe in another end.
                    fs.append(handle, size / 2, piece).await?;
                }
                return Ok(Outcome::Appended(size));
            }
            Op::SetSize { number, size } => drop(fs.truncate(self.handles[number].0, *size).await?),
            Op::SetMode { number, mode } => self.set_mode(self.handles[number].0, *mode).await?,
            Op::Flush { number } | Op::Close { number } => fs.flush(self.handles[number].1).await?,
            Op::Sync { number } => fs.sync(self.handles[number].1).await?,
            Op::Land { number } => {
                let (_, handle) = self.handles.remove(number).unwrap();
                // Nobody hears what it came to.
                let _unheard = fs.release(handle).await.is_ok();
            }
            Op::Truncate { path, size } => drop(fs.truncate(self.file(path).await?, *size).await?),
            Op::Change { path, mode } => {
                let ino = self.file(path).await?;
                self.set_mode(ino, *mode).await?;
            }
            Op::Stat { path } => {
                return Ok(match self.look_up(path).await? {
                    None => Outcome::Absent,
                    Some(found) if found.kind == FileKind::Directory => Outcome::Directory,
                    Some(found) => Outcome::File { size: Some(found.size), mode: Some(found.mode) },
                });
            }
            Op::ReadWhole { path } => return self.read_whole(path).await.map(Outcome::Read),
            Op::List { path } => return self.list(path).await.map(Outcome::Names),
            Op::MakeDirectory { path } => {
                let (parent, name) = self.parent(path).await?;
                let made = fs.make_directory(parent, &name, 0o755, OWNER).await?;
                self.count(parent, made.attributes.ino);
            }
            Op::RemoveDirectory { path } => match self.look_up(path).await? {
                None => return Err(not_found()),
                Some(found) if found.kind != FileKind::Directory => {
                    return Err(Error::new(Kind::NotDirectory, "a file"));
                }
                Some(_) => {
                    let (parent, name) = self.parent(path).await?;
                    fs.remove_directory(parent, &name).await?;
                }
            },
            Op::Remove { path } => {
                if self.look_up(path).await?.ok_or_else(not_found)?.kind == FileKind::Directory {
                    return Err(Error::new(Kind::IsDirectory, "a directory"));
                }
                let (parent, name) = self.parent(path).await?;
                fs.remove_file(parent, &name).await?;
            }
            Op::Rename { from, onto, may_replace } => self.rename(from, onto, *may_replace).await?,
            Op::Forget => self.forget(),
            Op::MountAnew | Op::ForeignPut { .. } | Op::ForeignDelete { .. } => {}
        }
        Ok(Outcome::Done)
    }

    // ---- names, as the kernel walks them ----

    async fn look_up(&mut self, path: &str) -> Result<Option<Attributes>> {
        let mut at = self.filesystem.attributes(Ino::ROOT).await?.attributes;
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            if at.kind != FileKind::Directory {
                return Err(Error::new(Kind::NotDirectory, "a file on the way"));
            }
            match self.filesystem.lookup(at.ino, &FileName::parse(name)?).await? {
                Found::Present(shown) => {
                    self.count(at.ino, shown.attributes.ino);
                    at = shown.attributes;
                }
                Found::Absent(_) if names.peek().is_none() => return Ok(None),
                Found::Absent(_) => return Err(not_found()),
            }
        }
        Ok(Some(at))
    }

    async fn parent(&mut self, path: &str) -> Result<(Ino, FileName)> {
        let (directory, name) = path.rsplit_once('/').unwrap();
        let found = self.look_up(directory).await?.ok_or_else(not_found)?;
        match found.kind {
            FileKind::Directory => Ok((found.ino, FileName::parse(name)?)),
            _ => Err(Error::new(Kind::NotDirectory, "a file on the way")),
        }
    }

    async fn file(&mut self, path: &str) -> Result<Ino> {
        Ok(self.look_up(path).await?.ok_or_else(not_found)?.ino)
    }

    fn count(&mut self, parent: Ino, ino: Ino) {
        let known = self.known.entry(ino).or_insert((0, parent));
        *known = (known.0 + 1, parent);
    }

    /// Forgets what is not open, nor on the way to it.
    fn forget(&mut self) {
        let mut needed: BTreeSet<u64> = BTreeSet::from([Ino::ROOT.0]);
        for (ino, _) in self.handles.values() {
            let mut at = *ino;
            while needed.insert(at.0) {
                at = self.known.get(&at).map_or(Ino::ROOT, |(_, parent)| *parent);
            }
        }
        let unneeded: Vec<Ino> = self.known.keys().copied().filter(|ino| !needed.contains(&ino.0)).collect();
        for ino in unneeded {
            let (lookups, _) = self.known.remove(&ino).unwrap();
            self.filesystem.forget(ino, lookups);
        }
    }

    async fn list(&mut self, path: &str) -> Result<Vec<String>> {
        let ino = self.look_up(path).await?.ok_or_else(not_found)?.ino;
        let handle = self.filesystem.open_directory(ino)?;
        let (mut names, mut from) = (Vec::new(), 0);
        loop {
            let entries = self.filesystem.read_directory_described(handle, from).await;
            let entries = entries.inspect_err(|_| self.filesystem.close_directory(handle))?;
            let Some(last) = entries.last() else { break };
            from = last.listed.next;
            for entry in entries {
                let Some(shown) = entry.shown else { continue };
                self.count(ino, shown.attributes.ino);
                let is_directory = entry.listed.kind == FileKind::Directory;
                names.push(if is_directory { format!("{}/", entry.listed.name) } else { entry.listed.name });
            }
        }
        self.filesystem.close_directory(handle);
        names.sort();
        Ok(names)
    }

    async fn rename(&mut self, from: &str, onto: &str, may_replace: bool) -> Result<()> {
        let (from_parent, old) = self.parent(from).await?;
        let (onto_parent, new) = self.parent(onto).await?;
        let source = self.look_up(from).await?.ok_or_else(not_found)?;
        self.look_up(onto).await?;
        let replace = if may_replace { Replace::Allowed } else { Replace::Refused };
        if from == onto && !may_replace {
            return Err(Error::new(Kind::Exists, "itself"));
        }
        if source.kind == FileKind::Directory && onto.starts_with(&format!("{from}/")) {
            return Err(Error::new(Kind::InvalidArgument, "into itself"));
        }
        self.filesystem.rename((from_parent, &old), (onto_parent, &new), replace).await?;
        if let Some(known) = self.known.get_mut(&source.ino) {
            known.1 = onto_parent;
        }
        Ok(())
    }

    // ---- files ----

    async fn open(&mut self, path: &str, how: How) -> Result<(Ino, HandleId)> {
        let (parent, name) = self.parent(path).await?;
        let options = OpenOptions {
            access: Access { read: true, write: how != How::Read },
            truncate: how == How::Overwrite,
            exclusive: how == How::MakeNew,
        };
        match self.look_up(path).await? {
            Some(_) if how == How::MakeNew => Err(Error::new(Kind::Exists, "there is one")),
            Some(found) if found.kind == FileKind::Directory => {
                Err(Error::new(Kind::IsDirectory, "a directory"))
            }
            Some(found) => Ok((found.ino, self.filesystem.open(found.ino, options).await?.handle)),
            None if how == How::Read => Err(not_found()),
            None => {
                let (shown, opened) = self.filesystem.create(parent, &name, NEW_MODE, OWNER, options)?;
                self.count(parent, shown.attributes.ino);
                Ok((shown.attributes.ino, opened.handle))
            }
        }
    }

    async fn read_whole(&mut self, path: &str) -> Result<Bytes> {
        let (_, handle) = self.open(path, How::Read).await?;
        let mut bytes = Vec::new();
        let outcome = loop {
            match self.read(handle, bytes.len() as u64, PIECE_BYTES as u32).await {
                Ok(piece) if piece.0.is_empty() => break Ok(()),
                Ok(piece) => bytes.extend_from_slice(&piece.0),
                Err(error) => break Err(error),
            }
        };
        self.filesystem.release(handle).await?;
        outcome.map(|()| Bytes(Arc::new(bytes)))
    }

    async fn read(&self, handle: HandleId, offset: u64, size: u32) -> Result<Bytes> {
        let read = match self.filesystem.try_read(handle, offset, size) {
            Some(read) => read?,
            None => self.filesystem.read(handle, offset, size).await?,
        };
        Ok(Bytes(Arc::new(read.into_bytes().to_vec())))
    }

    async fn write(&self, number: Number, offset: u64, bytes: &Bytes) -> Result<()> {
        let handle = self.handles[&number].1;
        for (at, piece) in (offset..).step_by(PIECE_BYTES).zip(bytes.0.chunks(PIECE_BYTES)) {
            self.filesystem.write(handle, at, piece).await?;
        }
        Ok(())
    }

    async fn set_mode(&self, ino: Ino, mode: u32) -> Result<()> {
        let change = AttributeChange { mode: Some(mode), ..Default::default() };
        self.filesystem.change_attributes(ino, change).await.map(drop)
    }
}

/// Keys that nobody refreshes.
struct Nobody;

impl CredentialsOwner for Nobody {
    fn refused(&self, _: &str) {}

    fn denied(&self, _: &str) -> bool {
        false
    }

    fn confirmed(&self) {}
}

fn not_found() -> Error {
    Error::new(Kind::NotFound, "no such file or directory")
}

/// The bucket and the key of a path.
fn split(path: &str) -> (&'static str, &str) {
    let (top, key) = path.split_once('/').unwrap();
    (demo::BUCKETS[TOPS.iter().position(|at| *at == top).unwrap()], key)
}

/// What the kernel hands over at once.
const PIECE_BYTES: usize = 1 << 20;
