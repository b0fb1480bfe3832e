//! What lies in the staging directory of an earlier process.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::table::Worth;
use crate::error::Result;
use crate::write::journal::{self, Phase, Record, RecordedTrust};
use crate::write::staging::{BYTES, OVERLAY, Place, RECORD, StagingFile, UNFINISHED};

/// The files that an earlier process left of one session.
#[derive(Debug)]
pub(in crate::write) struct Leftover {
    pub(super) place: Place,
    pub(super) has_record: bool,
    pub(super) has_bytes: bool,
    pub(super) has_overlay: bool,
    /// What its record says of a commit, if that was sealed.
    pub(super) closed: Option<Closed>,
}

/// A commit that was sealed: where it goes, and when it was its turn.
#[derive(Debug)]
pub(super) struct Closed {
    bucket: String,
    key: String,
    turn: u64,
}

/// Finds what an earlier process left in the staging directory, and changes nothing.
///
/// # Errors
/// Those of the local filesystem.
pub(in crate::write) fn leftovers(directory: &Arc<Path>) -> io::Result<Vec<Leftover>> {
    let mut found: BTreeMap<String, Leftover> = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let (Some(id), Some(extension)) = (text(path.file_stem()), text(path.extension())) else { continue };
        if ![BYTES, OVERLAY, RECORD, UNFINISHED].contains(&extension) || id.len() != ID_LENGTH {
            continue;
        }
        let leftover = found.entry(id.to_owned()).or_insert_with(|| Leftover {
            place: Place::named(Arc::clone(directory), id.to_owned()),
            has_record: false,
            has_bytes: false,
            has_overlay: false,
            closed: None,
        });
        match extension {
            BYTES => leftover.has_bytes = true,
            OVERLAY => leftover.has_overlay = true,
            RECORD => leftover.has_record = true,
            // It never took the place of a record, so it says nothing; it goes with the rest.
            _ => {}
        }
    }
    for leftover in found.values_mut().filter(|leftover| leftover.has_record) {
        leftover.closed = closed(&leftover.place);
    }
    Ok(found.into_values().collect())
}

fn closed(place: &Place) -> Option<Closed> {
    match journal::read(&place.record()).ok()? {
        Record { bucket, key, phase: Phase::Sealed(seal), .. } => {
            Some(Closed { bucket, key, turn: seal.turn })
        }
        _ => None,
    }
}

/// Leftovers in groups that can be dealt with at the same time. Those of one key are in one group, the latest first.
pub(super) fn by_key(leftovers: Vec<Leftover>) -> Vec<Vec<Leftover>> {
    let mut groups: BTreeMap<(String, String), Vec<Leftover>> = BTreeMap::new();
    let mut alone = Vec::new();
    for leftover in leftovers {
        match &leftover.closed {
            Some(Closed { bucket, key, .. }) => {
                groups.entry((bucket.clone(), key.clone())).or_default().push(leftover);
            }
            None => alone.push(vec![leftover]),
        }
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.iter_mut().for_each(|group| group.sort_by_key(|leftover| Reverse(leftover.turn())));
    groups.append(&mut alone);
    groups
}

impl Leftover {
    /// When it was the turn of its commit; 0 where nobody had closed it.
    pub(in crate::write) fn turn(&self) -> u64 {
        self.closed.as_ref().map_or(0, |closed| closed.turn)
    }

    pub(super) fn worth(&self, record: Option<&Record>, boot: &str) -> Worth {
        if let Some(Record { entrusted: Some(trust), .. }) = record {
            return self.worth_of_trust(trust);
        }
        let is_same_boot = record.is_some_and(|record| record.boot == boot);
        // A record goes before its bytes do. So where a sealed one has no file, none was needed.
        let needs_none = matches!(record, Some(Record { phase: Phase::Sealed(_), .. }));
        match (self.has_bytes, is_same_boot) {
            (true, true) => Worth::Whole,
            (true, false) => Worth::Unproven,
            (false, true) if needs_none => Worth::Whole,
            (false, _) => Worth::Gone,
        }
    }

    /// The disk had the bytes before it had the record, unless that says what they add up to. Where they do not, the
    /// machine has died before close(2) returned.
    fn worth_of_trust(&self, trust: &RecordedTrust) -> Worth {
        match (self.has_bytes, trust.has_bytes) {
            (false, true) => Worth::Gone,
            (true, true) if trust.checksum.is_some() && self.checksum() != trust.checksum => Worth::Unproven,
            _ => Worth::Whole,
        }
    }

    fn checksum(&self) -> Option<u64> {
        let file = StagingFile::open(self.place.bytes()).ok()?;
        file.checksum(u64::MAX).ok().flatten()
    }

    /// The bytes go last: see [`keep`](super::keep).
    pub(super) fn remove(&self) -> Result<()> {
        for path in [self.place.unfinished_record(), self.place.record(), self.place.bytes()] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn text(part: Option<&std::ffi::OsStr>) -> Option<&str> {
    part.and_then(std::ffi::OsStr::to_str)
}

/// 128 bits in hexadecimal digits.
const ID_LENGTH: usize = 32;
