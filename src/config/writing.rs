//! Choices about how files are committed.

/// What becomes of a file that somebody else changed while it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// Its close fails, and its bytes are set aside.
    Fail,
    /// It takes the other's place.
    Overwrite,
    /// It gets a second name beside the other.
    KeepBoth,
}

impl OnConflict {
    /// All of them, the default first.
    pub const ALL: [Self; 3] = [Self::Fail, Self::Overwrite, Self::KeepBoth];

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Overwrite => "overwrite",
            Self::KeepBoth => "keep-both",
        }
    }
}

/// What close(2) waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitMode {
    /// S3.
    Close,
    /// The local disk.
    Background,
}

impl CommitMode {
    /// All of them, the default first.
    pub const ALL: [Self; 2] = [Self::Close, Self::Background];

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Background => "background",
        }
    }
}

/// When the name of a file that must not exist is taken in S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExclusiveCreate {
    /// With its content.
    Close,
    /// Before open(2) returns.
    Open,
}

impl ExclusiveCreate {
    /// All of them, the default first.
    pub const ALL: [Self; 2] = [Self::Close, Self::Open];

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Open => "open",
        }
    }
}
