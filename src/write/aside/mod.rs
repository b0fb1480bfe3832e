//! Files that could not be committed and are kept for a person, and what that person can do with them.
//!
//! They lie under `set-aside/` in the staging directory, readable by its owner alone: the bytes as
//! `BUCKET_KEY.1234abcd`, and beside them, with `.json` behind that, what is known of them. Nothing else touches them, so
//! looking at them, taking them out and throwing them away takes no mount, and none is disturbed by it. Whoever does
//! something to one holds a lock on its bytes meanwhile (flock(2)), so that two never do.
//!
//! What was written is not always the whole file: of a version that was to be changed in part, the rest stays
//! in S3. The record says which bytes are here. A record may be torn, or be one of a later version of this program; then the
//! bytes are still there to be taken out.

mod parts;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::commit::{self, Commit, CommitReceipt};
use super::content::Snapshot;
use super::journal::{self, Journal, Phase, Record, RecordedCondition, Seal};
use super::ranges::Claim;
use super::recovery::version;
use super::staging::{Layer, OVERLAY, RECORD, StagingFile, UNFINISHED};
use super::{SET_ASIDE, Sessions, Target};
use crate::error::{Error, Kind, Result};
use crate::name::ObjectKey;
use crate::s3::object::{ByteRange, NewObject, Precondition};
use crate::s3::{Gateway, S3ErrorKind};

/// A file that was set aside.
#[derive(Debug, Clone)]
pub struct AsideFile {
    /// Its name among the others.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// How many of these are not here, but in the version in S3 that they build on. `None`: that is not known.
    pub elsewhere_bytes: Option<u64>,
    /// When its bytes or what is known of them changed last.
    pub since: SystemTime,
    /// Why it is here.
    pub why: String,
    /// What is known of it, if that can be read.
    record: Option<Record>,
}

/// What is to become of a set-aside file in S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rescue {
    /// The commit is made after all, on the condition that it had.
    AsItWas,
    /// It takes the place of whatever is there.
    Overwrite,
    /// It is made under this key, which must not exist.
    As(ObjectKey),
}

impl AsideFile {
    /// The bucket it was to go to, if that is known.
    pub fn bucket(&self) -> Option<&str> {
        self.record.as_ref().map(|record| record.bucket.as_str())
    }

    /// The key it was to have, if that is known.
    pub fn key(&self) -> Option<&str> {
        self.record.as_ref().map(|record| record.key.as_str())
    }

    /// Copies it to a path where nothing is, and removes it here. What is [only in an upload](Self::released_bytes) is zeros
    /// in the copy; then it also stays here, as nothing else says where that is.
    ///
    /// # Errors
    /// Those of the local filesystem; it is still here then. [`Kind::Busy`] while somebody else is at it.
    pub fn take_out(&self, to: &Path) -> Result<()> {
        let _lock = self.lock()?;
        let cannot = |error: io::Error| Error::from(error).context(to.display().to_string());
        let mut source = File::open(&self.path)?;
        let mut copy =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(cannot)?;
        let copied = io::copy(&mut source, &mut copy).and_then(|_| copy.sync_all());
        if let Err(error) = copied {
            fs::remove_file(to).map_err(cannot)?;
            return Err(cannot(error));
        }
        if self.released_bytes() > 0 { Ok(()) } else { self.remove() }
    }

    /// Removes it for good.
    ///
    /// # Errors
    /// As [`take_out`](Self::take_out).
    pub fn discard(&self) -> Result<()> {
        let _lock = self.lock()?;
        self.remove()
    }

    /// Keeps others from doing anything to it while the lock lives.
    fn lock(&self) -> Result<File> {
        let file = File::open(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::new(Kind::NotFound, format!("{} is gone", self.name)),
            _ => error.into(),
        })?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                Err(Error::new(Kind::Busy, format!("somebody else is at {}", self.name)))
            }
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// The bytes go first: a record without bytes is harmless.
    fn remove(&self) -> Result<()> {
        fs::remove_file(&self.path)?;
        match fs::remove_file(record_of(&self.path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn seal(&self) -> Option<&Seal> {
        let record = self.record.as_ref()?;
        match (&record.aside, &record.phase) {
            (Some(seal), _) => Some(seal),
            (None, Phase::Sealed(seal)) => Some(seal),
            (None, Phase::Open) => None,
        }
    }

    /// Which of its bytes are here; `None` where nobody knows.
    fn here(&self) -> Option<Claim> {
        let record = self.record.as_ref()?;
        match self.seal() {
            Some(seal) => Some(seal.staged.clone()),
            None => record.base.is_none().then(|| Claim::from(0)),
        }
    }
}

/// All files that were set aside in a staging directory, by name. There are none where there is no such directory.
///
/// # Errors
/// Those of the local filesystem.
pub fn list(staging: &Path) -> Result<Vec<AsideFile>> {
    let entries = match fs::read_dir(staging.join(SET_ASIDE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let extension = path.extension().and_then(OsStr::to_str);
        if matches!(extension, Some(RECORD | UNFINISHED)) {
            continue;
        }
        match described(path) {
            Ok(file) => files.push(file),
            // Taken out a moment ago.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

/// The file of that name, or the only one whose name ends so.
///
/// # Errors
/// [`Kind::NotFound`], also where several end so.
pub fn find(staging: &Path, name: &str) -> Result<AsideFile> {
    let mut files = list(staging)?;
    if let Some(at) = files.iter().position(|file| file.name == name) {
        return Ok(files.swap_remove(at));
    }
    files.retain(|file| !name.is_empty() && file.name.ends_with(name));
    match (files.pop(), files.is_empty()) {
        (Some(file), true) => Ok(file),
        (None, _) => Err(Error::new(Kind::NotFound, format!("no file {name} was set aside"))),
        (Some(_), false) => Err(Error::new(Kind::NotFound, format!("several names end with {name}"))),
    }
}

impl Sessions {
    /// The files that could not be committed, and were kept for somebody to look at.
    ///
    /// # Errors
    /// Those of the local filesystem.
    pub fn set_aside(&self) -> Result<Vec<AsideFile>> {
        list(&self.directory)
    }

    /// Brings a set-aside file to S3 after all, into the bucket of `gateway`, and removes it here.
    ///
    /// # Errors
    /// [`Kind::Exists`] and [`Kind::Changed`] when something else is there (by now); [`Kind::InvalidArgument`] when
    /// what is here is not enough to make the file of; and those of S3. It stays then.
    pub async fn rescue(
        self: &Arc<Self>,
        file: &AsideFile,
        gateway: Arc<Gateway>,
        rescue: &Rescue,
    ) -> Result<CommitReceipt> {
        let _lock = file.lock()?;
        let begun = file.begun(&gateway, rescue)?;
        let commit = self.rescue_of(file, gateway, rescue)?;
        ensure_base_is_there(&commit, file).await?;
        let receipt = commit.run(begun).await?;
        file.remove()?;
        Ok(receipt)
    }

    fn rescue_of(
        self: &Arc<Self>,
        file: &AsideFile,
        gateway: Arc<Gateway>,
        rescue: &Rescue,
    ) -> Result<Commit> {
        let cannot = |why: &str| Error::new(Kind::InvalidArgument, format!("{}: {why}", file.name));
        let own_key = file.key().map(ObjectKey::parse).transpose()?;
        let key = match rescue {
            Rescue::As(key) => key.clone(),
            _ => own_key.clone().ok_or_else(|| cannot("what it was to be called is not known"))?,
        };
        let object = file.seal().map(Seal::object).unwrap_or_default();
        let here = match (file.here(), rescue) {
            (Some(here), _) => here,
            // Whoever names it themselves has looked.
            (None, Rescue::As(_)) if file.record.is_none() => Claim::from(0),
            (None, _) => {
                return Err(cannot("which of its bytes were written is not known; take it out and look"));
            }
        };
        let base = file.record.as_ref().and_then(|record| record.base.as_ref()).map(version);
        let size = file.seal().map_or(file.bytes, |seal| seal.size);
        let whole = Snapshot {
            size,
            base,
            staged: Layer::left(Some(StagingFile::open(file.path.clone())?), here),
            dirty: file.seal().map_or_else(|| Claim::from(0), |seal| seal.dirty.clone()),
            released: file.released(),
        };
        let needs_its_base = whole.base.is_some();
        let snapshot = match (whole.on_its_own(), rescue) {
            (Some(own), _) => own,
            (None, Rescue::Overwrite) if needs_its_base => {
                return Err(cannot(
                    "a part of it is in the version that it was to replace, which must still be there",
                ));
            }
            (None, _) => whole,
        };
        let note_upload = self.noting(file);
        Ok(Commit {
            sessions: Arc::clone(self),
            condition: condition(file, rescue),
            commit_id: file.commit_id().unwrap_or_else(commit::fresh_id),
            base_key: own_key.filter(|own| *own != key),
            target: Target { gateway, key, object: NewObject { ..object } },
            snapshot,
            held: None,
            note_upload,
        })
    }

    /// An upload is noted in the record, if there is one.
    fn noting(&self, file: &AsideFile) -> commit::NoteUpload {
        let journal =
            file.record.clone().map(|record| Mutex::new(Journal::resume(record_of(&file.path), record)));
        Arc::new(move |id: &str| match &journal {
            Some(journal) => journal.lock().update(|record| record.upload = Some(id.to_owned())),
            None => Ok(()),
        })
    }
}

/// What is not here must still be in S3, under whatever name and condition the rest is to go there.
async fn ensure_base_is_there(commit: &Commit, file: &AsideFile) -> Result<()> {
    let Some(base) = &commit.snapshot.base else { return Ok(()) };
    let key = commit.base_key.as_ref().unwrap_or(&commit.target.key);
    match commit.target.gateway.head(key).await {
        Ok(meta) if meta.etag == base.etag => Ok(()),
        Err(error) if !matches!(error.kind(), S3ErrorKind::Absent | S3ErrorKind::Denied) => Err(error.into()),
        _ => {
            let bytes = file.elsewhere_bytes.map_or_else(|| "some".to_owned(), |bytes| bytes.to_string());
            Err(Error::new(
                Kind::InvalidArgument,
                format!(
                    "{}: {bytes} of its bytes were only in the version that it builds on, which somebody else has \
                     replaced or removed; what was written here can be taken out (the rest is zeros then)",
                    file.name
                ),
            ))
        }
    }
}

/// What must be true for a rescue to take effect.
fn condition(file: &AsideFile, rescue: &Rescue) -> Precondition {
    match (rescue, file.seal().map(|seal| &seal.condition)) {
        (Rescue::Overwrite, _) => Precondition::Whatever,
        (Rescue::AsItWas, Some(condition @ RecordedCondition::MustMatch(_))) => condition.into(),
        // To replace whatever is there was meant of another moment.
        _ => Precondition::MustNotExist,
    }
}

fn described(path: PathBuf) -> io::Result<AsideFile> {
    let metadata = fs::metadata(&path)?;
    let read = journal::read(&record_of(&path));
    let is_overlay = path.extension().is_some_and(|extension| extension == OVERLAY);
    let why = match &read {
        _ if is_overlay => "it was written while a commit was running that did not end".to_owned(),
        Ok(record) => record
            .failure
            .clone()
            .unwrap_or_else(|| "there was no room to note why; the log may tell".to_owned()),
        Err(error) => format!("what is known of it cannot be read: {error}"),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut file = AsideFile {
        name,
        bytes: metadata.len(),
        elsewhere_bytes: None,
        since: metadata.modified()?,
        why,
        record: read.ok(),
        path,
    };
    let whole = ByteRange { start: 0, end: file.bytes };
    file.elsewhere_bytes = file.here().map(|here| match whole.is_empty() {
        true => 0,
        false => {
            here.pieces(whole).iter().filter(|(_, is_here)| !is_here).map(|(range, _)| range.len()).sum()
        }
    });
    if let Ok(record) = fs::metadata(record_of(&file.path)) {
        file.since = file.since.max(record.modified()?);
    }
    Ok(file)
}

fn record_of(path: &Path) -> PathBuf {
    let mut record = path.as_os_str().to_owned();
    record.push(format!(".{RECORD}"));
    record.into()
}
