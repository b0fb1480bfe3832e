//! What this process would have to know about a staged file if it had died meanwhile.
//!
//! One record per session, beside its staging file. It says *open* from before the first local
//! effect, names the multipart upload before its first part leaves, says *sealed* with all that
//! is needed to finish from before the commit's last request, and is removed after that has
//! had its effect. A record is replaced as a whole: written aside, then renamed, so a reader
//! finds the old one or the new one. Its checksum is for the death of the machine, which may
//! leave a name without its content: records and bytes are not synchronised to the disk, unless close(2) has
//! returned before the commit ([`background`](super::background)).
//!
//! For the same reason a record carries the id of the boot it was written in. Staged bytes are
//! whole while that is the running one; after it, they may be anything, unless the record says that they were
//! synchronised before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::choices::OnConflict;
use super::plan::Uploaded;
use super::ranges::{Claim, RangeSet};
use super::staging::UNFINISHED;
use crate::error::{Error, Kind, Result};
use crate::s3::Part;
use crate::s3::object::{ETag, NewObject, Precondition, UserMetadata};

/// What is known of one staged file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of this format.
    pub format: u32,
    /// The boot that the staged bytes belong to.
    pub boot: String,
    /// The bucket that the file lies in.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// The version of the object that it builds on.
    pub base: Option<RecordedBase>,
    /// The multipart upload that may hold parts of it.
    pub upload: Option<String>,
    /// What of its bytes is only in that upload.
    #[serde(default)]
    pub released: Option<Released>,
    /// Where its session was.
    pub phase: Phase,
    /// Why it could not be committed, once it is set aside.
    pub failure: Option<String>,
    /// That close(2) has returned and left the commit to us. Everything is on the disk then: staged bytes, this
    /// record, and the names of both.
    #[serde(default)]
    pub entrusted: Option<RecordedTrust>,
    /// What a set-aside file is to become, where the phase does not say it: nobody had closed it.
    #[serde(default)]
    pub aside: Option<Box<Seal>>,
}

/// What close(2) left to us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedTrust {
    /// When, in seconds since the epoch.
    pub at: i64,
    /// Whether there is a staging file; a file without a byte, or all of zeros, has none.
    pub has_bytes: bool,
    /// What the staging file adds up to (CRC-64/NVME), where this record may have come to the disk before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<u64>,
    /// The version that it is to replace, as far as anybody had seen one, where it is to replace whatever is there.
    #[serde(default)]
    pub replaced: Option<String>,
}

/// Bytes that were taken out of the staging file, because S3 has them in parts of the unfinished upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// Which bytes: holes in the staging file, and no zeros.
    pub ranges: RangeSet,
    /// The parts that left, with S3's answers for those that it has as the file has them: theirs among them.
    pub parts: Vec<(Uploaded, Option<Part>)>,
}

/// A version of an object, as far as a commit needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedBase {
    /// The version.
    pub etag: String,
    /// Its length in bytes.
    pub size: u64,
}

/// How far a session was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Somebody was writing.
    Open,
    /// Somebody had closed the file or synchronised it, and was waiting.
    Sealed(Box<Seal>),
}

/// All that a commit needs beside the staged bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The name that the commit leaves in the object's metadata.
    pub commit_id: String,
    /// What must be true for it to take effect.
    pub condition: RecordedCondition,
    /// Length of the file.
    pub size: u64,
    /// The bytes that the staging file has; all others are the base's.
    pub staged: Claim,
    /// The bytes that the base version does not have.
    pub dirty: Claim,
    /// The user metadata, without the commit id.
    pub user: UserMetadata,
    /// The media type.
    pub content_type: Option<String>,
    /// The storage class, where it is not left to the bucket's rules.
    #[serde(default)]
    pub storage_class: Option<String>,
    /// What becomes of it where the condition does not hold.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// Its turn among all commits that were sealed in this staging directory: of two to one key, the greater one was
    /// closed, or took the name, after the other. 0 where that was not written down.
    #[serde(default)]
    pub turn: u64,
}

/// A [`Precondition`], as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedCondition {
    /// Nothing of that name.
    MustNotExist,
    /// Still this version.
    MustMatch(String),
    /// Whatever is there.
    Whatever,
}

impl From<&Precondition> for RecordedCondition {
    fn from(condition: &Precondition) -> Self {
        match condition {
            Precondition::MustNotExist => Self::MustNotExist,
            Precondition::MustMatch(etag) => Self::MustMatch(etag.as_str().to_owned()),
            Precondition::Whatever => Self::Whatever,
        }
    }
}

impl From<&RecordedCondition> for Precondition {
    fn from(condition: &RecordedCondition) -> Self {
        match condition {
            RecordedCondition::MustNotExist => Self::MustNotExist,
            RecordedCondition::MustMatch(etag) => Self::MustMatch(ETag::new(etag)),
            RecordedCondition::Whatever => Self::Whatever,
        }
    }
}

impl Seal {
    /// What the object is said to be, without its commit id.
    pub fn object(&self) -> NewObject {
        NewObject {
            user: self.user.clone(),
            content_type: self.content_type.clone(),
            storage_class: self.storage_class.clone(),
        }
    }
}

/// The record of one session and the place where it is kept.
///
/// Invariant: what `record` says is what the file says, unless writing it failed.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    record: Record,
}

impl Journal {
    /// Writes the first record of a session.
    ///
    /// # Errors
    /// Those of the local filesystem.
    pub fn begin(path: PathBuf, record: Record) -> Result<Self> {
        write(&path, &record)?;
        Ok(Self { path, record })
    }

    /// Takes over a record that an earlier process left.
    pub fn resume(path: PathBuf, record: Record) -> Self {
        Self { path, record }
    }

    /// What is written down.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Replaces the record by what `change` makes of it.
    ///
    /// # Errors
    /// Those of the local filesystem; the old record stands then.
    pub fn update(&mut self, change: impl FnOnce(&mut Record)) -> Result<()> {
        let mut record = self.record.clone();
        change(&mut record);
        write(&self.path, &record)?;
        self.record = record;
        Ok(())
    }

    /// As [`update`](Self::update), and the record is on the disk when this returns; its name may not be.
    ///
    /// # Errors
    /// Those of the local filesystem; the old record stands then.
    pub fn update_on_disk(&mut self, change: impl FnOnce(&mut Record)) -> Result<()> {
        self.vouch(change, || Ok(()))
    }

    /// As [`update_on_disk`](Self::update_on_disk), for a record that vouches for something: it is the record only once
    /// `proof` says that this holds. What the proof waits for may go on while the record is written.
    ///
    /// # Errors
    /// Those of the local filesystem and of the proof; the old record stands then.
    pub fn vouch(
        &mut self,
        change: impl FnOnce(&mut Record),
        proof: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let mut record = self.record.clone();
        change(&mut record);
        let unfinished = write_aside(&self.path, &record, Reach::Disk)?;
        proof()?;
        fs::rename(unfinished, &self.path)?;
        self.record = record;
        Ok(())
    }

    /// The file of the record, for whoever waits until the disk has it.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn file(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Removes the record: S3 knows all that it said, or nobody wants it any more.
    pub fn end(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a journal record could not be removed");
        }
    }

    /// Moves the record to `place`, which is where somebody will look for it.
    ///
    /// # Errors
    /// Those of the local filesystem.
    pub fn move_to(self, place: &Path) -> Result<()> {
        fs::rename(&self.path, place)?;
        Ok(())
    }
}

/// Reads a record that an earlier process left.
///
/// # Errors
/// [`Kind::Io`] for one that is torn, or of a format that this version does not know.
pub fn read(path: &Path) -> Result<Record> {
    let text = fs::read_to_string(path)?;
    let torn = || Error::new(Kind::Io, format!("the journal record {} is torn", path.display()));
    let (checksum, json) = text.split_once('\n').ok_or_else(torn)?;
    if checksum != checksum_of(json) {
        return Err(torn());
    }
    let record: Record =
        serde_json::from_str(json).map_err(|error| Error::caused(Kind::Io, "journal record", error))?;
    if record.format == FORMAT {
        Ok(record)
    } else {
        Err(Error::new(Kind::Io, format!("{} has the unknown format {}", path.display(), record.format)))
    }
}

/// The id of the running boot; one that matches no other where the kernel does not tell.
pub fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map_or_else(|_| format!("unknown-{:032x}", fastrand::u128(..)), |id| id.trim().to_owned())
}

fn write(path: &Path, record: &Record) -> Result<()> {
    fs::rename(write_aside(path, record, Reach::Process)?, path)?;
    Ok(())
}

/// What a record is to outlive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// This process.
    Process,
    /// The machine.
    Disk,
}

/// Writes a record beside the one whose place it is to take, which is whole until then. Returns where.
fn write_aside(path: &Path, record: &Record, reach: Reach) -> Result<PathBuf> {
    assert_eq!(record.format, FORMAT, "only this format is ever written");
    let json = serde_json::to_string(record).map_err(io::Error::other)?;
    let unfinished = path.with_extension(UNFINISHED);
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
    file.write_all(format!("{}\n{json}", checksum_of(&json)).as_bytes())?;
    if reach == Reach::Disk {
        file.sync_all()?;
    }
    Ok(unfinished)
}

/// FNV-1a with 64 bits: it has to tell a torn record from a whole one, not to withstand anybody.
fn checksum_of(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// The format that this version writes and reads.
pub const FORMAT: u32 = 1;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot use its scratch directory has failed")]
mod tests {
    use super::*;

    fn record() -> Record {
        let seal = Seal {
            commit_id: "c".into(),
            condition: RecordedCondition::MustMatch("\"e\"".into()),
            size: 9,
            staged: Claim::from(3),
            dirty: Claim::nothing(),
            user: UserMetadata::from([("mode".into(), "33188".into())]),
            content_type: None,
            storage_class: Some("STANDARD_IA".into()),
            on_conflict: OnConflict::KeepBoth,
            turn: 7,
        };
        Record {
            format: FORMAT,
            boot: boot(),
            bucket: "SampleBucketA".into(),
            key: "dir/ä".into(),
            base: Some(RecordedBase { etag: "\"e\"".into(), size: 4 }),
            upload: Some("u".into()),
            released: None,
            phase: Phase::Sealed(Box::new(seal)),
            failure: None,
            entrusted: Some(RecordedTrust {
                at: 1_767_225_600,
                has_bytes: true,
                checksum: Some(u64::MAX),
                replaced: None,
            }),
            aside: None,
        }
    }

    #[test]
    fn a_record_survives_the_round_trip() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.json");
        let mut journal = Journal::begin(path.clone(), record()).unwrap();
        journal.update(|record| record.failure = Some("why".into())).unwrap();
        assert_eq!(read(&path).unwrap(), *journal.record());
        journal.end();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_record_without_what_was_added_later_is_understood() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.json");
        let old = Record { entrusted: None, ..record() };
        let json = serde_json::to_string(&old).unwrap();
        let json = json.replace(",\"entrusted\":null,\"aside\":null", "");
        assert!(!json.contains("aside"), "{json}");
        fs::write(&path, format!("{}\n{json}", checksum_of(&json))).unwrap();
        assert_eq!(read(&path).unwrap(), old);
    }

    #[test]
    fn a_torn_record_is_recognised_wherever_it_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.json");
        let _journal = Journal::begin(path.clone(), record()).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(read(&path).is_err(), "cut at {length}");
            let mut zeros = whole.clone();
            zeros[length..].fill(0);
            fs::write(&path, zeros).unwrap();
            assert!(read(&path).is_err(), "zeros from {length}");
        }
    }
}
