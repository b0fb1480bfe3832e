//! Room on the disk for whoever needs it next: bytes that S3 has go, of whatever file.
//!
//! Cheapest first. What a version in S3 has is read from there again, if at all. Only after that parts of an unfinished
//! upload go, whose bytes nobody can read before it is complete ([`releasing`](super::releasing)); and those of a file
//! that somebody is writing go before those of others.

use super::{Core, Life, Session};
use crate::write::OnConflict;

impl Session {
    /// Has about `bytes` released that S3 has, of this file and of others. Returns how many that were.
    ///
    /// Another file that somebody is at work on at this moment is left alone: `core` is locked.
    pub(super) fn find_room(&self, core: &mut Core, bytes: u64) -> u64 {
        let others = self.sessions.disk.lenders_beside(self);
        let ways: [fn(&Self, &mut Core, u64) -> u64; 2] = [Self::release_clean, Self::release];
        let mut found = 0;
        for release in ways {
            found += release(self, core, bytes.saturating_sub(found));
            for other in &others {
                if found < bytes
                    && let Some(mut core) = other.core.try_lock()
                {
                    found += release(other, &mut core, bytes - found);
                }
            }
        }
        found
    }

    /// Releases about `bytes` that the version in S3 has too; returns how many that were.
    fn release_clean(&self, core: &mut Core, bytes: u64) -> u64 {
        // Without its base a small file could not survive a lost race.
        let stands_alone = |size: u64| {
            core.on_conflict != OnConflict::Fail && size <= self.sessions.options.part_sizes.whole
        };
        let is_bound = core.content.base().is_none_or(|base| stands_alone(base.size));
        if is_bound || core.content.is_sealed() || !matches!(core.life, Life::Live) {
            return 0;
        }
        // A part that is on its way may be read from the staging file.
        let before =
            core.ahead.as_ref().filter(|ahead| ahead.sending() > 0).map_or(u64::MAX, |ahead| ahead.start());
        let released = core.content.release_clean(before, bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, "bytes that S3 has stay in the staging directory");
            0
        });
        if released > 0 {
            core.measure();
            tracing::debug!(key = %core.target.key, bytes = released, "released from the staging directory");
        }
        released
    }
}
