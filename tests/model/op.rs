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
    /// Whether close(2) leaves the commit to the background.
    pub(super) background: bool,
    /// Whether operations run at the same time, and answers come in another order than requests go.
    pub(super) crowded: bool,
    /// How the process is killed, if it is.
    pub(super) death: Option<Death>,
    /// What is done.
    pub(super) steps: Vec<Step>,
}

/// The death of a process. S3 falls silent first, so that it comes in the middle of something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Death {
    /// The step before which it begins.
    pub(super) step: usize,
    /// How many more requests take effect and are answered.
    pub(super) answered: u64,
    /// Whether one more takes effect, of which no answer arrives.
    pub(super) is_half_done: bool,
    /// How many more steps are taken, unless one of them waits for S3.
    pub(super) steps: usize,
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
    /// The same life, but that it ends before its time and another mount goes on; or that closes wait for nothing.
    pub(super) fn mortal(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(!seed);
        let whole = Self::of(seed);
        let death = Death {
            step: random.usize(0..whole.steps.len()),
            answered: random.u64(0..7),
            is_half_done: random.bool(),
            steps: random.usize(0..8),
        };
        let background = random.bool();
        let dies = !background || random.u8(0..4) > 0;
        Self { background, death: dies.then_some(death), ..whole }
    }

    /// The same life, but that things happen at the same time.
    pub(super) fn crowded(seed: u64) -> Self {
        let background = fastrand::Rng::with_seed(!seed).u8(0..3) == 0;
        Self { crowded: true, background, unit: 1, ..Self::of(seed) }
    }

    /// A life from the beginning to a good end.
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
        let unit = if is_large { 91_111 } else { 1 };
        Self { seed, unit, troubled, opaque_etags, background: false, crowded: false, death: None, steps }
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
    /// At the same time.
    Both(Box<Self>, Box<Self>),
}

impl Op {
    /// Whether it goes through a handle, which needs no lock on a directory: the kernel lets such things meet.
    fn is_by_handle(&self) -> Option<Number> {
        match self {
            Self::Read { number, .. }
            | Self::Write { number, .. }
            | Self::SetSize { number, .. }
            | Self::SetMode { number, .. }
            | Self::Flush { number }
            | Self::Sync { number }
            | Self::Close { number }
            | Self::Land { number } => Some(*number),
            _ => None,
        }
    }

    /// Whether this may happen while another one does.
    pub(super) fn meets(&self, other: &Self) -> bool {
        !self.is_entangled_with(other) && !other.is_entangled_with(self) && self.is_let_meet(other)
    }

    fn is_entangled_with(&self, other: &Self) -> bool {
        match self {
            // What describes an object at once may bring to S3 what is written meanwhile, before it is closed.
            Self::SetMode { .. } | Self::Change { .. } => {
                matches!(other, Self::Write { .. } | Self::SetSize { .. } | Self::Truncate { .. })
            }
            _ => false,
        }
    }

    /// Whether the kernel does not have one wait for the other.
    fn is_let_meet(&self, other: &Self) -> bool {
        let is_single = |op: &Self| {
            matches!(op, Self::Append { .. } | Self::Forget | Self::ReadWhole { .. } | Self::List { .. })
        };
        let is_end_of = |op: &Self, number| {
            matches!(op, Self::Close { .. } | Self::Land { .. }) && op.is_by_handle() == Some(number)
        };
        match (self.is_by_handle(), other.is_by_handle()) {
            // The kernel ends a handle when nothing else is done with it.
            (Some(one), Some(two)) => !is_end_of(self, two) && !is_end_of(other, one),
            (Some(_), None) => !is_single(other),
            (None, Some(_)) => !is_single(self),
            (None, None) => false,
        }
    }

    /// Whether somebody else does it.
    /// Whether a kernel looks this path up for it.
    pub(super) fn looks_up(&self, name: &str) -> bool {
        match self {
            Self::Open { path, .. }
            | Self::Truncate { path, .. }
            | Self::Change { path, .. }
            | Self::Stat { path }
            | Self::ReadWhole { path }
            | Self::MakeDirectory { path }
            | Self::RemoveDirectory { path }
            | Self::Remove { path } => path == name,
            Self::Rename { from, onto, .. } => from == name || onto == name,
            Self::List { path } => name.rsplit_once('/').is_some_and(|(directory, _)| directory == path),
            _ => false,
        }
    }

    pub(super) fn is_foreign(&self) -> bool {
        match self {
            Self::Both(one, two) => one.is_foreign() || two.is_foreign(),
            _ => matches!(self, Self::ForeignPut { .. } | Self::ForeignDelete { .. }),
        }
    }
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
    Both(Box<Self>, Box<Self>),
}

impl Outcome {
    pub(super) fn both(one: Self, two: Self) -> Self {
        Self::Both(Box::new(one), Box::new(two))
    }
}
