//! How a session ends without having brought its bytes to S3.

use std::path::PathBuf;

use super::committing::seal_of;
use super::{Core, Life, Session};
use crate::error::{Error, Kind, Result};
use crate::write::commit;
use crate::write::journal::{Phase, Seal};
use crate::write::recovery;

impl Session {
    /// Ends the session because the mount ends: keeps what is staged and not in S3, after waiting for
    /// a commit that is running. Returns what every later caller will hear, if there was anything.
    pub async fn set_aside(&self) -> Option<Error> {
        let _turn = self.turn.lock().await;
        if self.is_entrusted() {
            // The next mount finds it, and goes on.
            self.core.lock().content.leave_files();
            return None;
        }
        self.is_dirty()
            .then(|| self.fail(Error::new(Kind::ShuttingDown, "unmounted before the file was closed")))
    }

    /// Ends the session for good: keeps the bytes for somebody to look at and says where they are.
    pub(super) fn fail(&self, error: Error) -> Error {
        let mut core = self.core.lock();
        match &core.life {
            Life::Failed(first) => return first.clone(),
            Life::Abandoned | Life::Over => return error,
            Life::Live => {}
        }
        let error = match core.released_bytes() {
            0 => error,
            bytes => error.context(format!("{bytes} bytes of it are only in parts of an unfinished upload")),
        };
        let kept = self.keep(&mut core, &error);
        if !matches!(kept, Ok(None)) {
            core.content.leave_files();
        }
        let error = match kept {
            Ok(Some(path)) => {
                error.context(format!("the bytes of {} are kept in {}", core.target.key, path.display()))
            }
            Ok(None) => error,
            Err(why) => error
                .context(format!("the bytes of {} stay in the staging directory ({why})", core.target.key)),
        };
        core.drop_head_start();
        // Whoever asked for the commit is told and logged; the release that follows a flush need not be once more.
        core.life = Life::Failed(error.clone().told());
        drop(core);
        self.progress.notify_waiters();
        error
    }

    /// Moves the staged bytes and their record to where a person finds them; `None` if there are none.
    fn keep(&self, core: &mut Core, error: &Error) -> Result<Option<PathBuf>> {
        let Some(mut journal) = core.journal.take() else { return Ok(None) };
        let snapshot = core.content.snapshot();
        let Some(file) = snapshot.staged.file() else {
            if core.content.has_overlay() {
                // All there is was written during a commit and found no room: recovery keeps it.
                return Err(Error::new(Kind::NoSpace, "what was written last could not be moved"));
            }
            journal.end();
            return Ok(None);
        };
        // That of the upload which may have some of it, where there is one.
        let commit_id = core.early.as_ref().map_or_else(commit::fresh_id, |early| early.commit_id.clone());
        let seal = seal_of(&core.target, &core.condition, &snapshot, commit_id, core.on_conflict);
        let released = core.recorded_release();
        let (place, kept) = (core.content.place().clone(), seal.clone());
        let noted = journal.update(|record| {
            record.phase = match &record.phase {
                // The commit id stays: the object may turn out to be ours after all.
                Phase::Sealed(old) => {
                    Phase::Sealed(Box::new(Seal { commit_id: old.commit_id.clone(), ..seal }))
                }
                Phase::Open => {
                    // Parts that left may have been written to since. (A commit froze them, and has taken them over.)
                    record.released = released;
                    Phase::Open
                }
            };
            record.failure = Some(error.to_string());
            record.aside = Some(Box::new(kept));
        });
        if let Err(error) = noted {
            tracing::warn!(%error, "the journal could not say why the bytes are kept");
        }
        file.stretch(snapshot.size)?;
        let record = journal.record();
        let aside = self.sessions.aside_path(&record.bucket, &record.key, &place);
        recovery::keep(file.path(), journal, &aside)?;
        Ok(Some(aside))
    }
}

impl Drop for Session {
    /// The bytes of a session that nobody closed are kept, as after a crash. One that was closed, and whose commit broke off
    /// because this process ends, is for recovery to go on with.
    fn drop(&mut self) {
        self.sessions.disk.lends_no_more(self);
        let core = self.core.get_mut();
        let phase = core.journal.as_ref().map(|journal| &journal.record().phase);
        let is_committed_later = core.entrusted.is_some() || matches!(phase, Some(Phase::Sealed(_)));
        if is_committed_later {
            core.content.leave_files();
        } else if matches!((&core.life, phase), (Life::Live, Some(_))) {
            let error = self.fail(Error::new(Kind::Io, "the session ended before the file was closed"));
            tracing::warn!(%error, "a written file was never closed");
        }
        let core = self.core.get_mut();
        let has_the_only_copy = matches!(core.life, Life::Failed(_)) && core.released_bytes() > 0;
        if let Some(upload) = core.early.take().and_then(|early| early.upload())
            && !has_the_only_copy
        {
            drop(self.sessions.tasks.spawn("abort upload", commit::give_up(upload)));
        }
        core.content.remove_files();
    }
}
