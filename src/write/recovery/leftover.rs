//! What lies in the staging directory of an earlier process.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::table::Worth;
use crate::error::Result;
use crate::write::journal::{Phase, Record};
use crate::write::staging::{BYTES, OVERLAY, Place, RECORD, UNFINISHED};

/// The files that an earlier process left of one session.
#[derive(Debug)]
pub(in crate::write) struct Leftover {
    pub(super) place: Place,
    pub(super) has_record: bool,
    pub(super) has_bytes: bool,
    pub(super) has_overlay: bool,
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
        });
        match extension {
            BYTES => leftover.has_bytes = true,
            OVERLAY => leftover.has_overlay = true,
            RECORD => leftover.has_record = true,
            // It never took the place of a record, so it says nothing; it goes with the rest.
            _ => {}
        }
    }
    Ok(found.into_values().collect())
}

impl Leftover {
    pub(super) fn worth(&self, record: Option<&Record>, boot: &str) -> Worth {
        // The disk had them before it had the record.
        if let Some(Record { entrusted: Some(trust), .. }) = record {
            return if self.has_bytes || !trust.has_bytes { Worth::Whole } else { Worth::Gone };
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
