//! Changes of mode, owner and times, and where they go.
//!
//! Of a file whose bytes are still to be sent they travel along with these. Of all else they wait for a moment, so that
//! the next ones join them ([`descriptions`](crate::namespace)). A writer's last close hands over what nobody has told
//! S3 yet: close(2) has returned by then, and whoever goes on to describe or rename the file has not waited for it.

use std::sync::Arc;

use super::Filesystem;
use super::attr::AttributeChange;
use super::closing::noted;
use super::dirs::{DIRECTORY_TYPE, Shown, new_object, shown_open};
use super::handle::OpenFile;
use super::removed;
use crate::clock;
use crate::error::Result;
use crate::namespace::{Entry, Ino, Node, Place, Species};
use crate::s3::{NewObject, ObjectMeta};
use crate::write::Occasion;

impl Filesystem {
    /// Changes mode, owner or times.
    ///
    /// # Errors
    /// [`Changed`](crate::error::Kind::Changed) when somebody replaced the object meanwhile.
    pub async fn change_attributes(&self, ino: Ino, change: AttributeChange) -> Result<Shown> {
        if let Some(file) = self.known_open_file(ino) {
            return self.change_open(&file, &change).await;
        }
        let entry = self.namespace().node(ino).await?;
        let mut attributes = self.shown(&entry).attributes;
        attributes.apply(&change, clock::now());
        let node = match &entry.node {
            // Nothing in S3 describes it; `chmod` of a mount point is lived with, as on NFS.
            Node::Top => return Ok(self.shown(&entry)),
            Node::Uncommitted => return Err(removed()),
            Node::Directory(marker) => {
                let place = self.namespace().place(ino)?;
                let new = new_object(marker.as_ref(), &attributes);
                Node::Directory(Some(self.describe_directory(&place, marker.as_ref(), new).await?))
            }
            Node::File(meta) => {
                let place = self.namespace().place(ino)?;
                let meta = match &meta.details {
                    Some(_) => meta.clone(),
                    None => self.namespace().current_file(&place).await?,
                };
                Node::File(self.describe_file(&place, &meta, &new_object(Some(&meta), &attributes)).await?)
            }
        };
        Ok(self.shown(&Entry { node, ..entry }))
    }

    async fn change_open(&self, file: &Arc<OpenFile>, change: &AttributeChange) -> Result<Shown> {
        let _turn = file.turn().await;
        let (place, committed, attributes, session) = {
            let mut state = file.state();
            state.attributes.apply(change, clock::now());
            if let Some(session) = state.session.clone() {
                let new = NewObject { user: noted(&session, &state.attributes), ..session.description() };
                self.describe_in_session(&mut state, &session, new)?;
            }
            (state.place.clone(), state.committed.clone(), state.attributes, state.session.clone())
        };
        match (session, place, committed) {
            // Its bytes are still to be sent, and take the attributes along at the flush.
            (Some(session), _, _) if session.is_entrusted() => session.vouch_for_description().await?,
            (Some(session), _, _) if session.owes_content() => {}
            (Some(_), Some(place), _) if self.namespace().may_describe_later(&place) => self.tell_soon(file),
            (Some(_), _, _) => self.commit_changes(file, Occasion::Flush).await?,
            (None, Some(place), Some(meta)) => {
                let meta = self.describe_file(&place, &meta, &new_object(Some(&meta), &attributes)).await?;
                self.adopt_description(file, &meta);
            }
            _ => {}
        }
        Ok(shown_open(file))
    }

    /// Has one version of an object say something else about itself.
    pub(super) async fn describe_file(
        &self,
        place: &Place,
        meta: &ObjectMeta,
        new: &NewObject,
    ) -> Result<ObjectMeta> {
        self.namespace().describe_as(place, Species::File, Some(meta), new).await
    }

    /// Has the marker of a directory say something else; a directory without one gets one.
    pub(super) async fn describe_directory(
        &self,
        place: &Place,
        marker: Option<&ObjectMeta>,
        new: NewObject,
    ) -> Result<ObjectMeta> {
        let content_type = new.content_type.or_else(|| Some(DIRECTORY_TYPE.to_owned()));
        let new = NewObject { content_type, ..new };
        self.namespace().describe_as(place, Species::Directory, marker, &new).await
    }

    /// S3 has, or will have, another description of an open file; its bytes are the same.
    pub(super) fn adopt_description(&self, file: &OpenFile, meta: &ObjectMeta) {
        let mut state = file.state();
        // What was set aside is not what has the name.
        if state.session.is_some() || state.committed.is_none() {
            return;
        }
        if let Some(before) = state.committed.replace(meta.clone())
            && before.etag != meta.etag
        {
            state.replaced_here.push(before.etag);
        }
        // The kernel has the pages of these bytes.
        self.pages.lock().insert(file.ino, meta.etag.clone());
    }

    /// S3 has been told what waited to be said of a file. It may call the version otherwise now.
    pub(super) fn described(&self, place: &Place, meta: &ObjectMeta) {
        let is_there = |file: &&Arc<OpenFile>| file.state().place.as_ref() == Some(place);
        let open = self.open_files.lock().values().find(is_there).cloned();
        if let Some(file) = open {
            self.adopt_description(&file, meta);
        }
    }

    /// Has a file's session tell its description in a moment, unless a flush or its end come before.
    fn tell_soon(&self, file: &Arc<OpenFile>) {
        let (me, file) = (self.me.clone(), Arc::downgrade(file));
        let after = self.namespace().description_delay();
        drop(self.tasks().spawn_until_stopped("describe later", async move {
            tokio::time::sleep(after).await;
            let (Some(filesystem), Some(file)) = (me.upgrade(), file.upgrade()) else { return };
            // Half a file is nobody's business: what is written by now takes the description along when it is closed.
            if file.session().is_some_and(|session| session.owes_content()) {
                return;
            }
            // What it comes to must not arrive after the next change.
            let _turn = file.turn().await;
            if let Err(error) = filesystem.commit_changes(&file, Occasion::Flush).await {
                tracing::warn!(%error, "mode, owner or times that were set a moment ago are not kept");
            }
        }));
    }

    /// What a file's session owes S3 passes to the descriptions that wait, where that is a description alone.
    pub(super) async fn hand_over_description(&self, file: &OpenFile) -> Result<()> {
        let handed = {
            let state = file.state();
            let place = state.place.clone().filter(|place| self.namespace().may_describe_later(place));
            // Only then: what nobody takes over is still owed by the session.
            let session = state.session.clone().filter(|_| place.is_some());
            place.zip(session.and_then(|session| Some((session.hand_over_description()?, session))))
        };
        let Some((place, ((version, new), session))) = handed else { return Ok(()) };
        let meta =
            self.describe_file(&place, &version, &new).await.inspect_err(|_| session.owe_description())?;
        let mut state = file.state();
        state.committed = Some(meta);
        // It is told, or another record has taken the place of this one.
        state.promise = None;
        Ok(())
    }
}
