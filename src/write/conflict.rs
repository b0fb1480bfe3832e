//! A commit that lost a race, and what [`OnConflict`](super::OnConflict) makes of it.
//!
//! The version that the commit was to replace is gone: somebody put another in its place, or removed it. So
//! what of the file was never written here, and was to be taken over from that version, cannot be had any more. A
//! file of at most one part is therefore fetched whole as soon as it is written to, where a choice other than
//! `fail` asks for it; of a larger one only what was written is here, and then the commit fails in spite of the choice:
//! a file with another version's bytes in between would be worse than none.
//!
//! ```text
//!   fail        set aside, ESTALE or EEXIST
//!   overwrite   the same bytes again, whatever is there
//!   keep-both   the same bytes as report.csv.conflict-HOST-20260131T120000Z, which must not exist
//! ```
//!
//! The journal says what is tried before it is tried, so a process that dies here is finished as any other.

use std::time::SystemTime;

use crate::clock;
use crate::error::{Error, Kind};
use crate::name::{KEY_BYTES_MAX, NAME_BYTES_MAX, ObjectKey};
use crate::s3::object::Precondition;

/// A file that was put under a second name because of a lost race.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBoth {
    /// The bucket.
    pub bucket: String,
    /// The key that somebody else has.
    pub key: String,
    /// The key that ours has.
    pub ours: String,
    /// When that was.
    pub when: SystemTime,
}

/// The second name of a file: `attempt` counts those of one moment, from 0.
///
/// The name is cut, at its end, to what a directory entry and S3 hold.
fn second_key(key: &ObjectKey, host: &str, now: SystemTime, attempt: u32) -> Option<ObjectKey> {
    let moment = clock::rfc_3339(now).replace(['-', ':'], "");
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(32).collect();
    let again = if attempt == 0 { String::new() } else { format!("-{}", attempt + 1) };
    let mark = format!(".conflict-{host}-{moment}{again}");
    let (folder, name) = match key.as_str().rsplit_once('/') {
        Some((folder, name)) => (format!("{folder}/"), name),
        None => (String::new(), key.as_str()),
    };
    let room = NAME_BYTES_MAX.min(KEY_BYTES_MAX.checked_sub(folder.len())?).checked_sub(mark.len())?;
    let cut = (0..=name.len().min(room)).rev().find(|at| name.is_char_boundary(*at))?;
    ObjectKey::parse(format!("{folder}{}{mark}", &name[..cut])).ok()
}

/// The second names of one moment, in the order in which they are tried; none where there is no room for one.
pub(super) fn second_keys(key: &ObjectKey, host: &str, now: SystemTime) -> impl Iterator<Item = ObjectKey> {
    (0..SECOND_NAMES_MAX).map_while(move |attempt| second_key(key, host, now, attempt))
}

/// Whether this is what a commit comes to whose condition does not hold.
pub(super) fn is_lost_race(condition: &Precondition, error: &Error) -> bool {
    match condition {
        Precondition::MustNotExist => error.kind() == Kind::Exists,
        Precondition::MustMatch(_) => error.kind() == Kind::Changed,
        Precondition::Whatever => false,
    }
}

/// A lost race that no choice can settle.
pub(super) fn is_torn(error: Error) -> Error {
    error.context(
        "and only what was written here is left of the file: the rest went with the version it was to replace",
    )
}

/// Names of one moment that are tried before it is given up.
const SECOND_NAMES_MAX: u32 = 8;

/// Those that a mount remembers for `status`.
pub(super) const REMEMBERED_MAX: usize = 100;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that fails here has found its fault")]
mod tests {
    use super::*;

    fn second(key: &str, attempt: u32) -> String {
        let key = ObjectKey::parse(key).unwrap();
        let now = clock::from_unix(1_767_225_600, 0);
        second_key(&key, "wks-7.example", now, attempt).unwrap().to_string()
    }

    #[test]
    fn a_second_name_lies_beside_the_first_and_says_whose_and_when() {
        assert_eq!(second("a/report.csv", 0), "a/report.csv.conflict-wks-7example-20260101T000000Z");
        assert_eq!(second("x", 2), "x.conflict-wks-7example-20260101T000000Z-3");
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let second = second(&format!("a/{}", "ä".repeat(120)), 0);
        let name = second.strip_prefix("a/").unwrap();
        assert!(name.len() <= NAME_BYTES_MAX && name.ends_with("T000000Z"), "{name}");
    }
}
