//! One mount of an emulator without a socket, and what a kernel does to it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::SharedCredentialsProvider;
use parking_lot::Mutex;
use s3xmount::budget::Budget;
use s3xmount::emulator::InProcess;
use s3xmount::emulator::demo;
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
use s3xmount::write::{self, CommitMode, Outcome as Recovery, Sessions};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::op::{Bytes, Number, Op, Outcome};
use super::reference::{NEW_MODE, TOPS};
use crate::support::{How, OWNER};

/// A filesystem over both buckets, and what its kernel knows.
pub(super) struct Mount {
    filesystem: Arc<Filesystem>,
    namespace: Arc<Namespace>,
    sessions: Arc<Sessions>,
    gateways: Vec<Arc<Gateway>>,
    handles: Mutex<HashMap<Number, (Ino, HandleId)>>,
    /// What the kernel has looked up: how often, and where the name is.
    known: Mutex<HashMap<Ino, (u64, Ino)>>,
    /// Outlives the sessions that stage in it.
    staging: TempDir,
}

impl Mount {
    /// A mount that stages in this directory, and looks at nothing that it finds there.
    pub(super) async fn new(emulator: &InProcess, staging: TempDir, commit: CommitMode) -> Self {
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
        let budget = Budget::new(64 << 20);
        let writing = write::Options { commit, ..write::Options::new(staging.path().to_owned()) };
        let sessions = Sessions::open(writing, budget.clone(), tasks.clone()).unwrap();
        let lifetimes = Lifetimes { present: Duration::from_secs(60), absent: Duration::from_secs(5) };
        let naming = namespace::Options {
            lifetimes,
            attributes: AttributePolicy::Auto,
            describe_after: namespace::DESCRIBE_AFTER,
            journal: Some(staging.path().to_owned()),
        };
        let (uid, gid) = OWNER;
        let defaults =
            Defaults { uid, gid, file_mode: 0o600, dir_mode: 0o755, mounted: SystemTime::UNIX_EPOCH };
        let gateways = buckets.iter().map(|bucket| Arc::clone(&bucket.gateway)).collect();
        let namespace = Namespace::new(buckets, &naming, tasks.clone());
        let filesystem = Filesystem::new(Parts {
            namespace: Arc::clone(&namespace),
            sessions: Arc::clone(&sessions),
            reading: read::Options::default(),
            cache: None,
            defaults,
            budget,
            tasks,
        });
        let (handles, known) = Default::default();
        Self { filesystem, namespace, sessions, gateways, handles, known, staging }
    }

    /// The contents of the files that could not be committed and were kept.
    pub(super) fn set_aside(&self) -> Vec<Vec<u8>> {
        self.sessions.set_aside().unwrap().iter().map(|file| fs::read(&file.path).unwrap()).collect()
    }

    /// Waits until S3 has what was closed.
    pub(super) async fn settle(&self) -> std::result::Result<(), String> {
        for _ in 0..10_000 {
            if self.sessions.background().files == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!("what was closed does not come to S3: {:?}", self.sessions.background()))
    }

    /// Ends it, as umount(8) does.
    pub(super) async fn finish(&self) {
        self.filesystem.finish().await;
    }

    /// What the disk has of it at a moment at which nothing goes on but what waits for S3.
    pub(super) async fn left_behind(&self) -> TempDir {
        // The clock stands still for as long as anybody is at work, on whatever thread.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let copy = tempfile::tempdir().unwrap();
        copy_all(self.staging.path(), copy.path());
        copy
    }

    /// Deals with what another mount has left, as the daemon does when it begins.
    pub(super) async fn recover(&self) -> std::result::Result<(), String> {
        let gateways = self.gateways.clone();
        let gateway =
            move |name: &str| gateways.iter().find(|gateway| gateway.bucket().as_str() == name).cloned();
        for _ in 0..100 {
            let recovered = self.sessions.recover(gateway.clone()).await;
            if !recovered.iter().any(|found| found.outcome == Recovery::Later)
                && self.namespace.resume_descriptions(|_, _| false).await
            {
                // Moves and descriptions are finished beside it.
                tokio::time::sleep(Duration::from_secs(60)).await;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        Err("recovery comes to no end".to_owned())
    }

    pub(super) async fn take(&self, op: &Op) -> Outcome {
        self.try_to_take(op).await.unwrap_or_else(|error| Outcome::Failed(error.kind()))
    }

    async fn try_to_take(&self, op: &Op) -> Result<Outcome> {
        let fs = Arc::clone(&self.filesystem);
        match op {
            Op::Open { number, path, how } => {
                let opened = self.open(path, *how).await?;
                self.handles.lock().insert(*number, opened);
            }
            Op::Read { number, offset, size } => {
                return self.read(self.handle(*number).1, *offset, *size).await.map(Outcome::Read);
            }
            Op::Write { number, offset, bytes } => self.write(*number, *offset, bytes).await?,
            Op::Append { number, bytes } => {
                let (ino, handle) = self.handle(*number);
                let size = fs.attributes(ino).await?.attributes.size;
                for piece in bytes.0.chunks(PIECE_BYTES) {
                    // The kernel may believe in another end.
                    fs.append(handle, size / 2, piece).await?;
                }
                return Ok(Outcome::Appended(size));
            }
            Op::SetSize { number, size } => drop(fs.truncate(self.handle(*number).0, *size).await?),
            Op::SetMode { number, mode } => self.set_mode(self.handle(*number).0, *mode).await?,
            Op::Flush { number } | Op::Close { number } => fs.flush(self.handle(*number).1).await?,
            Op::Sync { number } => fs.sync(self.handle(*number).1).await?,
            Op::Land { number } => {
                let (_, handle) = self.handles.lock().remove(number).unwrap();
                // Nobody hears what it came to.
                let _unheard = fs.release(handle).await.is_ok();
                // What a file was to say about itself follows within a second, or turns out to be about another one.
                tokio::time::sleep(2 * namespace::DESCRIBE_AFTER).await;
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
            Op::MountAnew | Op::ForeignPut { .. } | Op::ForeignDelete { .. } | Op::Both(..) => {}
        }
        Ok(Outcome::Done)
    }

    // ---- names, as the kernel walks them ----

    async fn look_up(&self, path: &str) -> Result<Option<Attributes>> {
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

    async fn parent(&self, path: &str) -> Result<(Ino, FileName)> {
        let (directory, name) = path.rsplit_once('/').unwrap();
        let found = self.look_up(directory).await?.ok_or_else(not_found)?;
        match found.kind {
            FileKind::Directory => Ok((found.ino, FileName::parse(name)?)),
            _ => Err(Error::new(Kind::NotDirectory, "a file on the way")),
        }
    }

    async fn file(&self, path: &str) -> Result<Ino> {
        Ok(self.look_up(path).await?.ok_or_else(not_found)?.ino)
    }

    fn count(&self, parent: Ino, ino: Ino) {
        let mut known = self.known.lock();
        let one = known.entry(ino).or_insert((0, parent));
        *one = (one.0 + 1, parent);
    }

    fn handle(&self, number: Number) -> (Ino, HandleId) {
        self.handles.lock()[&number]
    }

    /// Forgets what is not open, nor on the way to it.
    fn forget(&self) {
        let mut needed: BTreeSet<u64> = BTreeSet::from([Ino::ROOT.0]);
        let mut known = self.known.lock();
        for (ino, _) in self.handles.lock().values() {
            let mut at = *ino;
            while needed.insert(at.0) {
                at = known.get(&at).map_or(Ino::ROOT, |(_, parent)| *parent);
            }
        }
        let unneeded: Vec<Ino> = known.keys().copied().filter(|ino| !needed.contains(&ino.0)).collect();
        for ino in unneeded {
            let (lookups, _) = known.remove(&ino).unwrap();
            self.filesystem.forget(ino, lookups);
        }
    }

    async fn list(&self, path: &str) -> Result<Vec<String>> {
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

    async fn rename(&self, from: &str, onto: &str, may_replace: bool) -> Result<()> {
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
        if let Some(known) = self.known.lock().get_mut(&source.ino) {
            known.1 = onto_parent;
        }
        Ok(())
    }

    // ---- files ----

    async fn open(&self, path: &str, how: How) -> Result<(Ino, HandleId)> {
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

    async fn read_whole(&self, path: &str) -> Result<Bytes> {
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
        let handle = self.handle(number).1;
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

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
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

/// What the kernel hands over at once.
const PIECE_BYTES: usize = 1 << 20;
