//! Moving and removing names.

use std::sync::Arc;

use super::closing::at_rest;
use super::handle::{OpenFile, turns_of};
use super::{Filesystem, target_key};
use crate::error::{Error, Kind, Result};
use crate::name::FileName;
use crate::namespace::{Folder, Ino, Moved, Place, Species, Standing};
use crate::s3::{ETag, ObjectMeta, Precondition};
use crate::write::AtRest;

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
        let found = self.open_under(parent, name);
        let _turns = turns_of(&found).await;
        let file = found.as_ref().filter(|file| file.is_at(&place));
        let session = file.and_then(|file| file.session());
        let rest = at_rest(&session).await;
        if let Some(file) = file {
            self.keep_for_readers(file, rest.as_ref()).await;
        }
        // S3 must not be telling anything of it when it goes.
        let taken = self.namespace().take_description(&place, Species::File).await;
        if let Err(error) = self.namespace().delete_file(&place).await {
            self.namespace().put_back(taken);
            return Err(error);
        }
        self.namespace().description_settled(taken);
        {
            // In one step, for whoever takes note of a version.
            let mut state = file.map(|file| file.state());
            if let Some(state) = &mut state {
                state.place = None;
            }
            self.namespace().file_removed(parent, &place);
        }
        if let Some(file) = file {
            self.disown(file, rest).await;
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
        let (moving, replaced) = (self.open_under(from.0, from.1), self.open_under(onto.0, onto.1));
        let _turns = turns_of(moving.iter().chain(&replaced)).await;
        let moving = moving.as_ref().filter(|file| file.is_at(&source));
        let replaced = replaced.as_ref().filter(|file| file.is_at(&target));
        // Nothing of a file that is being replaced may come after the one that replaces it.
        let session =
            replaced.filter(|_| replace == Replace::Allowed).and_then(|replaced| replaced.session());
        let rest = at_rest(&session).await;
        if let (Some(file), Some(rest)) = (replaced, &rest) {
            self.deliver_replaced(file, rest, moving).await?;
        }
        let there = self.namespace().standing(&target).await?;
        if replace == Replace::Refused && !matches!(there, Standing::Absent | Standing::Unseen) {
            return Err(Error::new(Kind::Exists, format!("{} exists", target.name)));
        }
        if let (Some(file), Standing::File(_)) = (replaced, &there) {
            self.keep_for_readers(file, rest.as_ref()).await;
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
                let copied = self.rename_file(moving, (&source, &target), meta, &condition).await?;
                if let Some(file) = replaced {
                    // Whoever has it open keeps it, as after a removal.
                    self.disown(file, rest).await;
                }
                self.show_renamed((from, onto), (&source, &target));
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
                let show = || {
                    self.leave_name(onto.0, onto.1);
                    self.show_renamed((from, onto), (&source, &target));
                };
                self.rename_directory((&source, &target), replaces, &condition, show).await
            }
        }
    }

    /// What is open of a file that was found under a name.
    fn open_under(&self, parent: Ino, name: &FileName) -> Option<Arc<OpenFile>> {
        self.namespace().known_inode(parent, name).and_then(|ino| self.open_file(ino))
    }

    /// From now on whoever looks is shown the new name.
    fn show_renamed(
        &self,
        (from, onto): ((Ino, &FileName), (Ino, &FileName)),
        (source, target): (&Place, &Place),
    ) {
        self.namespace().inode_renamed(from, onto);
        self.namespace().names_changed(&source.folder);
        self.namespace().names_changed(&target.folder);
    }

    /// Returns the version at the old place that has been copied to the new one, if any had to be. To be called by whoever
    /// has the file's turn, if it is `open`.
    async fn rename_file(
        &self,
        open: Option<&Arc<OpenFile>>,
        (source, target): (&Place, &Place),
        meta: Option<ObjectMeta>,
        condition: &Precondition,
    ) -> Result<Option<ETag>> {
        let session = open.and_then(|file| file.session());
        let rest = at_rest(&session).await;
        if let Some(file) = open
            && self.rename_waiting(file, rest.as_ref(), (source, target), condition).await?
        {
            return Ok(None);
        }
        if meta.is_some() || session.as_ref().is_some_and(|session| session.owes_content()) {
            // Before anything is sent: without the right to delete, nothing of this may happen.
            self.namespace().ensure_deletable(&source.folder).await?;
        }
        let described = rest.as_ref().and_then(AtRest::hand_over_description);
        if let Some(file) = open {
            self.commit_before_move(file, rest.as_ref()).await?;
        }
        match open.and_then(|file| file.state().committed.clone()).or(meta) {
            Some(meta) => {
                let new = described.as_ref().map(|(_, new)| new);
                let moved = self.namespace().copy_to_move((source, target), &meta, new, condition).await;
                let (version, moved) = match moved {
                    // Somebody replaced it since we looked. Nobody here has built on what it was.
                    Err(error) if error.kind() == Kind::Changed && session.is_none() => {
                        self.namespace().drop_answer(source);
                        let meta = self.namespace().current_file(source).await?;
                        if let Some(file) = open {
                            self.overtaken(file, meta.clone()).await;
                        }
                        let moved =
                            self.namespace().copy_to_move((source, target), &meta, None, condition).await;
                        (meta.etag, moved)
                    }
                    moved => (meta.etag, moved),
                };
                if let (Err(_), Some(_), Some(session)) = (&moved, &described, &session) {
                    session.owe_description();
                }
                let meta = moved?;
                if let Some(file) = open {
                    self.retarget(file, rest.as_ref(), target, Some(meta.clone()), condition).await?;
                    self.adopt_version(file, meta);
                }
                Ok(Some(version))
            }
            // Never committed, and nothing written: only the name changes.
            None => {
                self.namespace().pending_renamed(source, target);
                if let Some(file) = open {
                    self.retarget(file, rest.as_ref(), target, None, condition).await?;
                }
                Ok(None)
            }
        }
    }

    async fn rename_directory(
        &self,
        (source, target): (&Place, &Place),
        replaces: bool,
        condition: &Precondition,
        show: impl FnOnce(),
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
        let _turns = turns_of(&open).await;
        let sessions: Vec<_> = open.iter().map(|file| file.session()).collect();
        let mut rests = Vec::with_capacity(open.len());
        for (file, session) in open.iter().zip(&sessions) {
            let rest = at_rest(session).await;
            self.commit_before_move(file, rest.as_ref()).await?;
            rests.push(rest);
        }
        // It is all listed and copied in a moment. What could not be told has been logged.
        self.namespace().tell_descriptions_below(&old).await.unwrap_or_default();
        let shown = async |moved: &Moved| {
            show();
            for (file, rest) in open.iter().zip(&rests) {
                self.follow_directory(file, rest.as_ref(), (&old, &new), moved, condition).await?;
            }
            Ok(())
        };
        self.namespace().move_directory((source, target), condition, shown).await
    }

    /// An open file below a directory that was moved.
    async fn follow_directory(
        &self,
        file: &Arc<OpenFile>,
        rest: Option<&AtRest<'_>>,
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
        let Some(held) = held else { return self.retarget(file, rest, &place, None, condition).await };
        let is_overtaken = match moved.version(&target_key(&was)?) {
            Some(version) if *version == held.etag => false,
            Some(_) if rest.is_none() => true,
            // What it is, or builds on, others have replaced or deleted; it is told so when it reads or commits.
            _ => return self.retarget(file, rest, &place, Some(held), condition).await,
        };
        // A copy may have another ETag than its source.
        let meta = self.namespace().current_file(&place).await?;
        self.retarget(file, rest, &place, Some(meta.clone()), condition).await?;
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
