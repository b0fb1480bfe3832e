//! What people may choose about commits.

use serde::{Deserialize, Serialize};

/// What becomes of a commit that finds something else in its place than `open` found.
///
/// A file that was created with O_EXCL is never put in the place of another, whatever is chosen here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// It fails, and its bytes are set aside.
    #[default]
    Fail,
    /// It takes the other's place. That needs all of the file's bytes; see [`conflict`](super::conflict).
    Overwrite,
    /// It is made under a second name beside the other.
    KeepBoth,
}

/// What close(2) waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CommitMode {
    /// S3 has the file.
    #[default]
    Close,
    /// The local disk has it; see [`background`](super::background).
    Background,
}

/// When the name of a file that is created with O_EXCL is taken in S3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExclusiveCreate {
    /// With its first commit: of two who made the same name, one hears EEXIST when it closes.
    #[default]
    Close,
    /// As it is opened, by an empty object: of two, one hears EEXIST from open(2).
    Open,
}
