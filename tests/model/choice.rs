//! What a step means in the state that it finds.

use super::op::{Bytes, Number, Op, Script, Step};
use super::reference::{Reference, TOPS};
use crate::support::How;

/// A handle that is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) number: Number,
    pub(super) writes: bool,
    /// Closed, and the kernel has yet to say so.
    pub(super) is_closing: bool,
}

/// What is done next; `None` where there is nothing of the kind to do.
pub(super) fn choose(
    script: &Script,
    step: &Step,
    state: &Reference,
    held: &[Held],
    fresh: Number,
) -> Option<Op> {
    let chooser = Chooser { script, step, state, held };
    let path = chooser.path(step.which);
    let number = fresh;
    Some(match step.what % 100 {
        0..12 => Op::Open { number, path: chooser.openable(path)?, how: chooser.how() },
        12..22 => {
            Op::Read { number: chooser.handle(false)?, offset: chooser.length(0), size: chooser.size()? }
        }
        22..34 => {
            let (offset, bytes) = (chooser.length(0), chooser.bytes());
            Op::Write { number: chooser.handle(true)?, offset, bytes }
        }
        34..38 => Op::Append { number: chooser.handle(true)?, bytes: chooser.bytes() },
        38..42 => Op::SetSize { number: chooser.handle(true)?, size: chooser.length(0) },
        42..44 => Op::SetMode { number: chooser.handle(true)?, mode: chooser.mode() },
        44..47 => Op::Flush { number: chooser.handle(false)? },
        47..50 => Op::Sync { number: chooser.handle(false)? },
        50..57 => Op::Close { number: chooser.handle(false)? },
        57..62 => Op::Land { number: chooser.closing()? },
        62..65 => Op::Truncate { path: chooser.untouched(path)?, size: chooser.length(0) },
        65..67 => Op::Change { path: chooser.untouched(path)?, mode: chooser.mode() },
        67..70 => Op::Stat { path },
        70..73 => Op::ReadWhole { path },
        73..75 => Op::List { path: chooser.directory() },
        75..78 => Op::MakeDirectory { path },
        78..80 => Op::RemoveDirectory { path },
        80..84 => Op::Remove { path },
        84..91 => {
            let onto = chooser.for_a_file(chooser.path(step.other))?;
            let may_replace = !step.fill.is_multiple_of(5);
            Op::Rename { from: path, onto, may_replace }
        }
        91 => Op::Forget,
        92..98 => Op::ForeignPut { path: chooser.foreign(path)?, bytes: chooser.bytes() },
        _ => Op::ForeignDelete { path: chooser.stored(path)? },
    })
}

struct Chooser<'a> {
    script: &'a Script,
    step: &'a Step,
    state: &'a Reference,
    held: &'a [Held],
}

impl Chooser<'_> {
    /// One of the few names there are; every other time one that is a file.
    fn path(&self, which: usize) -> String {
        let files = self.state.all_files();
        match which % 2 {
            0 if !files.is_empty() => {
                files.into_iter().nth(which / 2 % files_count(self.state)).expect("counted")
            }
            _ => PATHS[which / 2 % PATHS.len()].to_owned(),
        }
    }

    fn directory(&self) -> String {
        let at = self.step.which % (TOPS.len() + PATHS.len());
        TOPS.iter().chain(PATHS).nth(at).expect("counted").to_string()
    }

    /// A path that may become a file's without making a file and a directory of one name.
    fn for_a_file(&self, path: String) -> Option<String> {
        (!self.state.is_above_an_orphan(&path)).then_some(path)
    }

    /// As that, if there is room for one more handle.
    fn openable(&self, path: String) -> Option<String> {
        self.for_a_file(path).filter(|_| self.held.len() < HANDLES_MAX)
    }

    /// A path that is there, or is not; not a directory.
    fn untouched(&self, path: String) -> Option<String> {
        (!self.state.is_directory(&path)).then_some(path)
    }

    /// A key that the foreign client may write without making a file and a directory of one name.
    fn foreign(&self, path: String) -> Option<String> {
        let is_taken = |at: &str| self.state.is_file(at) || self.state.is_open(at);
        let is_below_a_file = path.match_indices('/').any(|(at, _)| is_taken(&path[..at]));
        (!is_below_a_file && !self.state.is_directory(&path) && self.is_decided(&path)).then_some(path)
    }

    fn stored(&self, path: String) -> Option<String> {
        (self.state.is_stored(&path) && self.is_decided(&path)).then_some(path)
    }

    /// Whether a commit of it tells at once what it came to.
    fn is_decided(&self, path: &str) -> bool {
        !self.script.background || !self.state.is_open(path)
    }

    fn handle(&self, writes: bool) -> Option<Number> {
        let fitting = |held: &&Held| !held.is_closing && (held.writes || !writes);
        let fitting: Vec<&Held> = self.held.iter().filter(fitting).collect();
        fitting.get(self.step.which.checked_rem(fitting.len())?).map(|held| held.number)
    }

    fn closing(&self) -> Option<Number> {
        self.held.iter().find(|held| held.is_closing).map(|held| held.number)
    }

    fn how(&self) -> How {
        match self.step.other % 10 {
            0..3 => How::Read,
            3..6 => How::Edit,
            6..9 => How::Overwrite,
            _ => How::MakeNew,
        }
    }

    fn length(&self, which: usize) -> u64 {
        let length = self.step.lengths[which] * self.script.unit;
        // Large ones also a little beside whole units.
        if self.script.unit == 1 { length } else { length + self.step.fill % 3 }
    }

    fn size(&self) -> Option<u32> {
        u32::try_from(self.length(1)).ok().filter(|size| *size > 0)
    }

    /// At least one: the kernel does not pass on a write of nothing, and two empty objects cannot be told apart.
    fn bytes(&self) -> Bytes {
        Bytes::made_from(self.step.fill, self.length(1).max(1))
    }

    fn mode(&self) -> u32 {
        0o600 | (self.step.fill % 0o100) as u32
    }
}

fn files_count(state: &Reference) -> usize {
    state.all_files().len()
}

/// Names that can be files and directories, in two buckets.
const PATHS: &[&str] =
    &["a/x", "a/y", "a/d", "a/d/x", "a/d/y", "a/d/e", "a/d/e/x", "a/f", "a/f/x", "b/x", "b/d", "b/d/x"];

const HANDLES_MAX: usize = 6;
