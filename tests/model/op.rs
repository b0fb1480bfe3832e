//! What is done: random numbers first, and operations when their time comes.
//!
//! A [`Step`] is raw numbers, so that it means something in whatever state it finds the mount, also when others before
//! it were left out. An [`Op`] is what it means there.

use std::sync::Arc;

use crate::support::How;

/// The life of one mount.
#[derive(Debug, Clone)]
pub(super) struct Script {
    /// Where it came from.
    pub(super) seed: u64,
    /// How many bytes a unit of length stands for: few, or enough for uploads in parts.
    pub(super) unit: u64,
    /// Whether requests fail now and then, in ways that nobody should notice.
    pub(super) troubled: bool,
    /// Whether ETags say nothing about the bytes.
    pub(super) opaque_etags: bool,
    /// What is done.
    pub(super) steps: Vec<Step>,
}

/// One step, of whatever kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// What to do, by weight.
    pub(super) what: u32,
    /// To what.
    pub(super) which: usize,
    /// And to what else.
    pub(super) other: usize,
    /// Where, and how many, in units and bytes beyond.
    pub(super) lengths: [u64; 2],
    /// What bytes are made from.
    pub(super) fill: u64,
}

impl Script {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let is_large = seed % 60 == 59;
        let count = if is_large { 12 } else { random.usize(10..60) };
        let mut steps = Vec::new();
        for _ in 0..count {
            steps.push(Step {
                what: random.u32(..),
                which: random.usize(..),
                other: random.usize(..),
                lengths: [random.u64(0..200), random.u64(0..100)],
                fill: random.u64(..),
            });
        }
        let (troubled, opaque_etags) = (seed % 4 == 3, seed % 3 == 2);
        Self { seed, unit: if is_large { 91_111 } else { 1 }, troubled, opaque_etags, steps }
    }
}

/// A handle, by the order in which they were opened.
pub(super) type Number = usize;

/// What is done to the mount, or to S3 by somebody else.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Open {
        number: Number,
        path: String,
        how: How,
    },
    Read {
        number: Number,
        offset: u64,
        size: u32,
    },
    Write {
        number: Number,
        offset: u64,
        bytes: Bytes,
    },
    /// At the end, as `stat` tells it.
    Append {
        number: Number,
        bytes: Bytes,
    },
    SetSize {
        number: Number,
        size: u64,
    },
    SetMode {
        number: Number,
        mode: u32,
    },
    Flush {
        number: Number,
    },
    Sync {
        number: Number,
    },
    /// close(2) returns; the kernel has yet to tell us of the release.
    Close {
        number: Number,
    },
    /// The release arrives.
    Land {
        number: Number,
    },
    Truncate {
        path: String,
        size: u64,
    },
    Change {
        path: String,
        mode: u32,
    },
    Stat {
        path: String,
    },
    /// Opens, reads all, closes.
    ReadWhole {
        path: String,
    },
    List {
        path: String,
    },
    MakeDirectory {
        path: String,
    },
    RemoveDirectory {
        path: String,
    },
    Remove {
        path: String,
    },
    Rename {
        from: String,
        onto: String,
        may_replace: bool,
    },
    /// The kernel needs its memory for something else.
    Forget,
    /// A new mount, which knows nothing of the old one.
    MountAnew,
    ForeignPut {
        path: String,
        bytes: Bytes,
    },
    ForeignDelete {
        path: String,
    },
}

/// Some bytes, which print as how many they are.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Bytes(pub(super) Arc<Vec<u8>>);

impl Bytes {
    /// Bytes that are unlike those of any other step, and unlike holes.
    pub(super) fn made_from(fill: u64, length: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(fill);
        let length = usize::try_from(length).unwrap();
        let block: Vec<u8> = (0..length.min(4099)).map(|_| random.u8(1..)).collect();
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            bytes.extend_from_slice(&block[..block.len().min(length - bytes.len())]);
        }
        Self(Arc::new(bytes))
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())?;
        let start = &self.0[..self.0.len().min(4)];
        if start.is_empty() { Ok(()) } else { write!(f, " {start:x?}..") }
    }
}

/// What an operation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Failed(s3xmount::error::Kind),
    Read(Bytes),
    /// Where the bytes went.
    Appended(u64),
    Names(Vec<String>),
    Absent,
    File {
        size: Option<u64>,
        mode: Option<u32>,
    },
    Directory,
}
