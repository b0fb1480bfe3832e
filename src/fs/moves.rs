//! Moving and removing names.

use std::sync::Arc;

use super::handle::OpenFile;
use super::{Filesystem, target_key};
use crate::error::{Error, Kind, Result};
use crate::name::FileName;
use crate::namespace::{Folder, Ino, Moved, Place, Species, Standing};
use crate::s3::{ETag, ObjectMeta, Precondition};
use crate::write::Occasion;

/// What a rename does about something at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Takes its place, as rename(2) does.
    Allowed,
    /// Fails (`RENAME_NOREPLACE`).
    Refused,
}

impl Filesystem {
    /// Removes a file. Whoever has it open goes on with it; what they write is dropped at the end.
    ///
    /// # Errors
    /// [`Kind::Denied`] without the right to delete.
    pub async fn remove_file(&self, parent: Ino, name: &FileName) -> Result<()> {
        let place = self.place_in(parent, name)?;
        let open = self.namespace().known_inode(parent, name).and_then(|ino| self.open_file(ino));
        if let Some(file) = &open {
            self.keep_for_readers(file).await;
        }
        let before = open.as_ref().and_then(|file| file.session()?.version());
        // S3 must not be telling anything of it when it goes.
        let taken = self.namespace().take_description(&place, Species::File).await;
        if let Err(error) = self.namespace().remove_file(parent, &place).await {
            self.namespace().put_back(taken);
            return Err(error);
        }
        self.namespace().description_settled(taken);
        if let Some(file) = open {
            self.disown(&file).await;
            // A commit that was under way may have made the object again.
            let after = file.session().and_then(|session| session.version()).map(|meta| meta.etag);
            if let Some(made) = after.filter(|made| Some(made) != before.as_ref().map(|meta| &meta.etag)) {
                let gateway = self.namespace().gateway(place.folder.bucket);
                // Theirs, should others have been quicker, is not what was to be removed.
                let _gone_or_theirs = gateway.delete_version(&target_key(&place)?, &made).await?;
            }
        }
        Ok(())
    }

    /// Renames a file or a directory.
    ///
    /// # Errors
    /// [`Kind::Exists`], [`Kind::NotEmpty`], [`Kind::IsDirectory`] and [`Kind::NotDirectory`] as in
    /// rename(2); [`Kind::CrossDevice`] where S3 cannot copy; [`Kind::Denied`] before any effect.
    pub async fn rename(
        &self,
        from: (Ino, &FileName),
        onto: (Ino, &FileName),
        replace: Replace,
    ) -> Result<()> {
        let (source, target) = (self.place_in(from.0, from.1)?, self.place_in(onto.0, onto.1)?);
        if source == target {
            return Ok(());
        }
        self.namespace().ensure_writable(source.folder.bucket)?;
        self.namespace().ensure_writable(target.folder.bucket)?;
        let open_at =
            |(parent, name)| self.namespace().known_inode(parent, name).and_then(|ino| self.open_file(ino));
        let replaced = open_at(onto);
        if let (Some(file), Replace::Allowed) = (&replaced, replace) {
            self.deliver_replaced(file, open_at(from)).await?;
        }
        let there = self.namespace().standing(&target).await?;
        if replace == Replace::Refused && !matches!(there, Standing::Absent | Standing::Unseen) {
            return Err(Error::new(Kind::Exists, format!("{} exists", target.name)));
        }
        if let (Some(file), Standing::File(Some(_))) = (&replaced, &there) {
            self.keep_for_readers(file).await;
        }
        // What could not be seen is not replaced, and neither is what must not be.
        let condition = match (replace, &there) {
            (Replace::Refused, _) | (_, Standing::Unseen) => Precondition::MustNotExist,
            (Replace::Allowed, _) => Precondition::Whatever,
        };
        match (self.namespace().standing(&source).await?, there) {
            (Standing::Absent | Standing::Unseen, _) => {
                Err(Error::new(Kind::NotFound, "no such file or directory"))
            }
            (Standing::File(_), Standing::Directory) => {
                Err(Error::new(Kind::IsDirectory, "the target is a directory"))
            }
            (Standing::Directory, Standing::File(_)) => {
                Err(Error::new(Kind::NotDirectory, "the target is a file"))
            }
            (Standing::File(meta), _) => {
                let copied = self.rename_file(from, (&source, &target), meta, &condition).await?;
                self.show_renamed((from, onto), (&source, &target), replaced).await;
                // The last of it, so that nobody here is shown a name whose object has gone.
                match copied {
                    Some(version) => self.namespace().remove_moved(&source, &version).await,
                    None => Ok(()),
                }
            }
            (Standing::Directory, there) => {
                let replaces = matches!(there, Standing::Directory);
                let gateway = self.namespace().gateway(target.folder.bucket);
                // It was listed and is not there. To look again for each object would double the requests.
                let is_seen = !matches!(there, Standing::Unseen);
                let condition = match is_seen && !gateway.keeps_to_on_copies(&condition) {
                    true => Precondition::Whatever,
                    false => condition,
                };
                let show = async || {
                    self.leave_name(onto.0, onto.1);
                    self.show_renamed((from, onto), (&source, &target), None).await;
                };
                self.rename_directory((&source, &target), replaces, &condition, show).await
            }
        }
    }

    /// From now on whoever looks is shown the new name.
    async fn show_renamed(
        &self,
        (from, onto): ((Ino, &FileName), (Ino, &FileName)),
        (source, target): (&Place, &Place),
        replaced: Option<Arc<OpenFile>>,
    ) {
        // Whoever has the replaced file open keeps it, as after a removal.
        if let Some(file) = replaced {
            self.disown(&file).await;
        }
        self.namespace().inode_renamed(from, onto);
        self.namespace().names_changed(&source.folder);
        self.namespace().names_changed(&target.folder);
    }

    /// Returns the version at the old place that has been copied to the new one, if any had to be.
    async fn rename_file(
        &self,
        from: (Ino, &FileName),
        (source, target): (&Place, &Place),
        meta: Option<ObjectMeta>,
        condition: &Precondition,
    ) -> Result<Option<ETag>> {
        let open = self.namespace().known_inode(from.0, from.1).and_then(|ino| self.open_file(ino));
        let _turn = match &open {
            Some(file) => Some(file.turn().await),
            None => None,
        };
        if let Some(file) = &open
            && self.rename_waiting(file, (source, target), condition).await?
        {
            return Ok(None);
        }
        // Asked for once more: what was open until a moment ago may have been described since.
        let meta = match self.namespace().standing(source).await? {
            Standing::File(now) if open.is_none() => now,
            _ => meta,
        };
        let is_written = open.as_ref().is_some_and(|file| file.session().is_some());
        let owes = |file: &Arc<OpenFile>| file.session().is_some_and(|session| session.owes_content());
        if meta.is_some() || open.as_ref().is_some_and(owes) {
            // Before anything is sent: without the right to delete, nothing of this may happen.
            self.namespace().ensure_deletable(&source.folder).await?;
        }
        let described = match &open {
            Some(file) => {
                file.session().and_then(|session| Some((session.hand_over_description()?, session)))
            }
            None => None,
        };
        if let Some(file) = &open {
            self.commit_before_move(file).await?;
        }
        // A commit that somebody else waits for may have made a version that is not adopted yet.
        let committed = open.as_ref().and_then(|file| {
            let made = file.session().and_then(|session| session.version());
            made.or_else(|| file.state().committed.clone())
        });
        match committed.or(meta) {
            Some(meta) => {
                let new = described.as_ref().map(|((_, new), _)| new);
                let moved = self.namespace().copy_to_move((source, target), &meta, new, condition).await;
                let (version, moved) = match moved {
                    // Somebody replaced it since we looked. Nobody here has built on what it was.
                    Err(error) if error.kind() == Kind::Changed && !is_written => {
                        self.namespace().drop_answer(source);
                        let meta = self.namespace().current_file(source).await?;
                        if let Some(file) = &open {
                            self.overtaken(file, meta.clone()).await;
                        }
                        let moved =
                            self.namespace().copy_to_move((source, target), &meta, None, condition).await;
                        (meta.etag, moved)
                    }
                    moved => (meta.etag, moved),
                };
                if let (Err(_), Some((_, session))) = (&moved, &described) {
                    session.owe_description();
                }
                let meta = moved?;
                if let Some(file) = &open {
                    self.retarget(file, target, Some(meta.clone()), condition).await?;
                    self.adopt_version(file, meta);
                }
                Ok(Some(version))
            }
            // Never committed, and nothing written: only the name changes.
            None => {
                self.namespace().pending_renamed(source, target);
                if let Some(file) = &open {
                    self.retarget(file, target, None, condition).await?;
                }
                Ok(None)
            }
        }
    }

    /// What is written but not in S3 yet goes there first, under the old name: the copy then has all of it, and a
    /// failure on the way leaves a whole file somewhere. An object that was emptied as it was opened is empty from
    /// here on, for it would be its old content that moves; a file that S3 has never heard of moves by itself.
    async fn commit_before_move(&self, file: &Arc<OpenFile>) -> Result<()> {
        let replaces = {
            let state = file.state();
            let is_emptied = state.session.as_ref().is_some_and(|session| session.version().is_none());
            is_emptied && state.committed.is_some()
        };
        self.commit_changes(file, if replaces { Occasion::Sync } else { Occasion::Flush }).await
    }

    async fn rename_directory(
        &self,
        (source, target): (&Place, &Place),
        replaces: bool,
        condition: &Precondition,
        show: impl AsyncFnOnce(),
    ) -> Result<()> {
        let (old, new) = (source.folder.folder(&source.name)?, target.folder.folder(&target.name)?);
        if old.bucket != new.bucket {
            // Known before anything is committed for its sake.
            return Err(Error::new(Kind::CrossDevice, "a directory cannot be moved between buckets"));
        }
        if replaces {
            self.namespace().ensure_empty(&new).await?;
        }
        // Before anything is sent, as for files.
        self.namespace().ensure_deletable(&old).await?;
        let open = self.open_below(&old);
        let mut turns = Vec::new();
        for file in &open {
            turns.push(file.turn().await);
        }
        for file in &open {
            self.commit_before_move(file).await?;
        }
        // It is all listed and copied in a moment. What could not be told has been logged.
        self.namespace().tell_descriptions_below(&old).await.unwrap_or_default();
        let shown = async |moved: &Moved| {
            show().await;
            for file in &open {
                self.follow_directory(file, (&old, &new), moved, condition).await?;
            }
            Ok(())
        };
        self.namespace().move_directory((source, target), condition, shown).await
    }

    /// An open file below a directory that was moved.
    async fn follow_directory(
        &self,
        file: &Arc<OpenFile>,
        (old, new): (&Folder, &Folder),
        moved: &Moved,
        condition: &Precondition,
    ) -> Result<()> {
        let (was, held) = {
            let state = file.state();
            (state.place.clone(), state.committed.clone())
        };
        let Some((was, place)) = was.and_then(|was| Some((was.clone(), rebased(&was, old, new)?))) else {
            return Ok(());
        };
        let Some(held) = held else { return self.retarget(file, &place, None, condition).await };
        let is_overtaken = match moved.version(&target_key(&was)?) {
            Some(version) if *version == held.etag => false,
            Some(_) if file.session().is_none() => true,
            // What it is, or builds on, others have replaced or deleted; it is told so when it reads or commits.
            _ => return self.retarget(file, &place, Some(held), condition).await,
        };
        // A copy may have another ETag than its source.
        let meta = self.namespace().current_file(&place).await?;
        self.retarget(file, &place, Some(meta.clone()), condition).await?;
        match is_overtaken {
            true => self.overtaken(file, meta).await,
            false => self.adopt_version(file, meta),
        }
        Ok(())
    }

    fn open_below(&self, folder: &Folder) -> Vec<Arc<OpenFile>> {
        let below = |file: &Arc<OpenFile>| {
            let state = file.state();
            let place = state.place.as_ref();
            place.is_some_and(|at| {
                at.folder.bucket == folder.bucket && folder.prefix.contains(&at.folder.prefix)
            })
        };
        self.open_files.lock().values().filter(|file| below(file)).cloned().collect()
    }
}

/// Where a place is after the directory `old` above it became `new`.
fn rebased(place: &Place, old: &Folder, new: &Folder) -> Option<Place> {
    let below = place.folder.prefix.as_str().strip_prefix(old.prefix.as_str())?;
    let prefix = crate::name::DirPrefix::parse(&format!("{}{below}", new.prefix)).ok()?;
    Some(Place { folder: Folder { bucket: new.bucket, prefix }, name: place.name.clone() })
}
