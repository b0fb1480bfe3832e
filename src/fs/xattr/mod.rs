//! Extended attributes: what S3 knows of an object, and what people have noted on a file.
//!
//! | name | from | can be set |
//! | --- | --- | --- |
//! | `user.s3.etag` `.uri` | memory | no |
//! | `user.s3.storage-class` `.content-type` | memory, or the object's description | yes |
//! | `user.s3.version-id` | the object's description | no |
//! | `user.s3.owner` `.acl` `.checksum` | a request of its own each time | no |
//! | other `user.*` | the object's metadata, see [`header`] | yes |
//!
//! Programs ask for attributes all the time: `ls -l` for ACLs of every file, the kernel for capabilities before a
//! write. Those are of other name spaces and are answered at once, without looking at the file. A list is answered
//! from what is in memory; only a name that somebody asks for costs a request.
//!
//! `user.s3.*` are not listed. `cp -a`, `rsync -X` and `tar --xattrs` copy what is listed, and an ETag that
//! sticks to a copy would be a lie about another object (Ceph hides its virtual attributes for the same reason).
//!
//! A change is a change of the object's description and takes the same ways as one of its mode
//! ([`dirs`](super::dirs)): with the commit of a write session, or by a copy of the object onto itself.

mod header;
mod names;

use std::sync::Arc;

use serde_json::json;

use self::names::{Name, TOLD, Told};
use super::attr::Attributes;
use super::closing::noted;
use super::dirs::new_object;
use super::handle::OpenFile;
use super::{Filesystem, removed};
use crate::error::{Error, Kind, Result};
use crate::name::ObjectKey;
use crate::namespace::{BucketId, Directory, Entry, Ino, Node, Place};
use crate::s3::object::STANDARD;
use crate::s3::object::limits::USER_METADATA_BYTES_MAX;
use crate::s3::{NewObject, ObjectAcl, ObjectMeta, S3ErrorKind, UserMetadata};
use crate::write::{Occasion, Session};

/// What setting an attribute demands of the one that is there (setxattr(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Nothing.
    Either,
    /// There is none (`XATTR_CREATE`).
    Create,
    /// There is one (`XATTR_REPLACE`).
    Replace,
}

/// What is known of what an inode stands for.
#[derive(Debug, Clone, Default)]
struct Subject {
    /// Where it lies; nothing in S3 stands for the mount point, nor for a file that was removed.
    at: Option<(BucketId, String)>,
    /// What S3 has of it.
    meta: Option<ObjectMeta>,
    /// What it says, or will say, about itself; `None` where nobody has asked.
    said: Option<Said>,
}

/// An object's own words.
#[derive(Debug, Clone, Default)]
struct Said {
    user: UserMetadata,
    content_type: Option<String>,
    storage_class: Option<String>,
}

impl Filesystem {
    /// The names of a file's extended attributes, from memory alone.
    pub fn try_list_xattrs(&self, ino: Ino) -> Option<Result<Vec<String>>> {
        Some(self.try_subject(ino)?.map(|subject| subject.names()))
    }

    /// The names of a file's extended attributes.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when the file is gone by now.
    pub async fn list_xattrs(&self, ino: Ino) -> Result<Vec<String>> {
        Ok(self.subject(ino).await?.names())
    }

    /// The value of an extended attribute, from memory alone.
    pub fn try_xattr(&self, ino: Ino, name: &str) -> Option<Result<Vec<u8>>> {
        let name = match Name::parse(name) {
            Ok(name) => name,
            Err(error) => return Some(Err(error)),
        };
        match self.try_subject(ino)? {
            Ok(subject) => self.known(&subject, name),
            Err(error) => Some(Err(error)),
        }
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// [`Kind::NoAttribute`]; [`Kind::NotSupported`] outside `user.*`; [`Kind::Denied`] where the role may not ask for
    /// what S3 would have to tell.
    pub async fn xattr(&self, ino: Ino, name: &str) -> Result<Vec<u8>> {
        let name = Name::parse(name)?;
        let subject = self.subject(ino).await?;
        if let Some(value) = self.known(&subject, name) {
            return value;
        }
        let Some((bucket, key)) = subject.at.clone() else { return Err(no_attribute()) };
        let gateway = self.namespace().gateway(bucket);
        let key = ObjectKey::parse(key)?;
        let value = match name {
            Name::Told(Told::Checksum) => gateway.checksum(&key).await?,
            Name::Told(Told::Acl) => Some(acl_text(&gateway.object_acl(&key).await?)),
            // A listing tells it to more people than the ACL does.
            Name::Told(Told::Owner) => match gateway.owner_of(&key).await {
                Err(error) if error.kind() == S3ErrorKind::Denied => gateway.object_acl(&key).await?.owner,
                owner => owner?,
            },
            _ => {
                let meta = gateway.head(&key).await?;
                let version = meta.details.as_ref().and_then(|details| details.version_id.clone());
                if name == Name::Told(Told::VersionId) {
                    version
                } else {
                    let described = Subject { said: Said::of(&meta), meta: Some(meta), ..subject };
                    return self.known(&described, name).unwrap_or_else(|| Err(no_attribute()));
                }
            }
        };
        value.map(String::into_bytes).ok_or_else(no_attribute)
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// [`Kind::Exists`] and [`Kind::NoAttribute`] as `setting` demands; [`Kind::NoSpace`] beyond what S3 keeps of
    /// metadata; [`Kind::NotPermitted`] for what only S3 can say; [`Kind::NotSupported`] outside `user.*`.
    pub async fn set_xattr(&self, ino: Ino, name: &str, value: &[u8], setting: Setting) -> Result<()> {
        match Name::parse(name)? {
            Name::Own(name) => self.redescribe(ino, |new| set_own(new, name, value, setting)).await,
            Name::Told(Told::ContentType) => {
                let media_type = text(value, |byte| byte.is_ascii_graphic() || byte == b' ')?;
                let change = |new: &mut NewObject| {
                    demand(new.content_type.is_some(), setting)?;
                    new.content_type = Some(media_type);
                    Ok(())
                };
                self.redescribe(ino, change).await
            }
            Name::Told(Told::StorageClass) => {
                let class =
                    text(value, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')?;
                let change = |new: &mut NewObject| {
                    demand(true, setting)?;
                    new.storage_class = Some(class);
                    Ok(())
                };
                self.redescribe(ino, change).await
            }
            Name::Told(_) => Err(fixed(name)),
        }
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// [`Kind::NoAttribute`], and as [`set_xattr`](Self::set_xattr).
    pub async fn remove_xattr(&self, ino: Ino, name: &str) -> Result<()> {
        match Name::parse(name)? {
            Name::Own(name) => self.redescribe(ino, |new| remove_own(new, name)).await,
            Name::Told(Told::ContentType) => {
                let change = |new: &mut NewObject| new.content_type.take().map(drop).ok_or_else(no_attribute);
                self.redescribe(ino, change).await
            }
            Name::Told(_) => Err(fixed(name)),
        }
    }

    // ---- what is known ----

    fn try_subject(&self, ino: Ino) -> Option<Result<Subject>> {
        if let Some(file) = self.known_open_file(ino) {
            return Some(Ok(self.subject_of_open(&file)));
        }
        let entry = self.namespace().try_node(ino)?;
        Some(entry.and_then(|entry| self.subject_of(&entry)))
    }

    async fn subject(&self, ino: Ino) -> Result<Subject> {
        match self.try_subject(ino) {
            Some(subject) => subject,
            None => self.subject_of(&self.namespace().node(ino).await?),
        }
    }

    fn subject_of_open(&self, file: &OpenFile) -> Subject {
        let state = file.state();
        let said = match &state.session {
            Some(session) => Some(Said::from(session.description())),
            None => state.committed.as_ref().and_then(Said::of),
        };
        let key = |place: &Place| Some((place.folder.bucket, super::target_key(place).ok()?.to_string()));
        Subject { at: state.place.as_ref().and_then(key), meta: state.committed.clone(), said }
    }

    fn subject_of(&self, entry: &Entry) -> Result<Subject> {
        let (at, meta) = match &entry.node {
            Node::Top | Node::Directory(_) => match self.namespace().directory(entry.ino)? {
                Directory::Root => return Ok(Subject { said: Some(Said::default()), ..Subject::default() }),
                Directory::In(folder) => ((folder.bucket, folder.prefix.to_string()), None),
            },
            Node::File(_) | Node::Uncommitted => {
                let place = self.namespace().place(entry.ino)?;
                ((place.folder.bucket, super::target_key(&place)?.to_string()), None)
            }
        };
        let meta = match &entry.node {
            Node::Directory(marker) => marker.clone(),
            Node::File(file) => Some(file.clone()),
            Node::Top | Node::Uncommitted => meta,
        };
        let said = match &meta {
            Some(meta) => Said::of(meta),
            // Nothing describes it, and so it says nothing.
            None => Some(Said::default()),
        };
        Ok(Subject { at: Some(at), meta, said })
    }

    /// The value of an attribute as far as memory tells; `None` where S3 has to be asked.
    fn known(&self, subject: &Subject, name: Name<'_>) -> Option<Result<Vec<u8>>> {
        let text = |text: Option<String>| Some(text.map(String::into_bytes).ok_or_else(no_attribute));
        match name {
            Name::Own(name) => {
                let carried = header::read(&subject.said.as_ref()?.user).unwrap_or_default();
                Some(carried.get(name).cloned().ok_or_else(no_attribute))
            }
            Name::Told(Told::Uri) => {
                text(subject.at.as_ref().map(|(bucket, key)| {
                    format!("s3://{}/{key}", self.namespace().gateway(*bucket).bucket())
                }))
            }
            Name::Told(Told::ContentType) => text(subject.said.as_ref()?.content_type.clone()),
            // Everything else is S3's to say, and of what it has not heard it says nothing.
            Name::Told(_) if subject.meta.is_none() => text(None),
            Name::Told(told) => {
                let meta = subject.meta.as_ref()?;
                match told {
                    Told::ETag => text(Some(meta.etag.as_str().trim_matches('"').to_owned())),
                    Told::StorageClass => {
                        let next = subject.said.as_ref().and_then(|said| said.storage_class.clone());
                        text(
                            next.or_else(|| meta.storage_class.clone()).or_else(|| Some(STANDARD.to_owned())),
                        )
                    }
                    Told::VersionId => text(Some(meta.details.as_ref()?.version_id.clone()?)),
                    Told::Owner | Told::Acl | Told::Checksum | Told::ContentType | Told::Uri => None,
                }
            }
        }
    }

    // ---- changes ----

    /// Changes what the object of an inode says about itself.
    async fn redescribe(&self, ino: Ino, change: impl FnOnce(&mut NewObject) -> Result<()>) -> Result<()> {
        if let Some(file) = self.known_open_file(ino) {
            return self.redescribe_open(&file, change).await;
        }
        let entry = self.namespace().node(ino).await?;
        match &entry.node {
            Node::Top => {
                Err(Error::new(Kind::NotPermitted, "nothing in S3 describes the mount point or a bucket"))
            }
            Node::Directory(marker) => {
                let mut new = new_object(marker.as_ref(), &self.shown(&entry).attributes);
                change(&mut new)?;
                let place = self.namespace().place(ino)?;
                self.describe_directory(&place, marker.as_ref(), new).await.map(drop)
            }
            Node::File(_) => {
                let place = self.namespace().place(ino)?;
                // What somebody else has noted meanwhile must not be lost for want of a look.
                let meta = self.namespace().current_file(&place).await?;
                let attributes = Attributes::of_file(ino, &meta, &self.parts.defaults);
                let mut new = new_object(Some(&meta), &attributes);
                change(&mut new)?;
                self.describe_file(&place, &meta, &new).await.map(drop)
            }
            Node::Uncommitted => Err(removed()),
        }
    }

    async fn redescribe_open(
        &self,
        file: &Arc<OpenFile>,
        change: impl FnOnce(&mut NewObject) -> Result<()>,
    ) -> Result<()> {
        let _turn = file.turn().await;
        if let Some(session) = file.session() {
            self.redescribe_in_session(file, &session, change)?;
            return self.bring_along(file, &session).await;
        }
        let (place, committed, attributes) = {
            let state = file.state();
            (state.place.clone(), state.committed.clone(), state.attributes)
        };
        match (place, committed) {
            (Some(place), Some(meta)) => {
                let mut new = new_object(Some(&meta), &attributes);
                change(&mut new)?;
                let meta = self.describe_file(&place, &meta, &new).await?;
                self.adopt_description(file, &meta);
                Ok(())
            }
            _ => Err(removed()),
        }
    }

    fn redescribe_in_session(
        &self,
        file: &OpenFile,
        session: &Session,
        change: impl FnOnce(&mut NewObject) -> Result<()>,
    ) -> Result<()> {
        let mut state = file.state();
        let mut new = NewObject { user: noted(session, &state.attributes), ..session.description() };
        change(&mut new)?;
        self.describe_in_session(&mut state, session, new)
    }

    /// Has S3 hear what was set of a file that is being written, with its bytes where some are still to be sent.
    async fn bring_along(&self, file: &Arc<OpenFile>, session: &Arc<Session>) -> Result<()> {
        if session.is_entrusted() {
            session.vouch_for_description().await
        } else if session.owes_content() {
            Ok(())
        } else {
            self.commit_changes(file, Occasion::Flush).await
        }
    }
}

impl Subject {
    /// The names to list: what people have set.
    fn names(&self) -> Vec<String> {
        let carried = self.said.as_ref().and_then(|said| header::read(&said.user).ok());
        let names = carried.into_iter().flat_map(header::Carried::into_keys);
        names.filter(|name| matches!(Name::parse(name), Ok(Name::Own(_)))).collect()
    }
}

impl Said {
    /// What an object says about itself, if that was asked for.
    fn of(meta: &ObjectMeta) -> Option<Self> {
        let details = meta.details.as_ref()?;
        let (user, content_type) = (details.user.clone(), details.content_type.clone());
        Some(Self { user, content_type, storage_class: meta.storage_class.clone() })
    }
}

impl From<NewObject> for Said {
    fn from(new: NewObject) -> Self {
        Self { user: new.user, content_type: new.content_type, storage_class: new.storage_class }
    }
}

fn set_own(new: &mut NewObject, name: &str, value: &[u8], setting: Setting) -> Result<()> {
    let mut carried = header::read(&new.user).map_err(|_| unreadable())?;
    demand(carried.contains_key(name), setting)?;
    carried.insert(name.to_owned(), value.to_owned());
    header::write(&carried, &mut new.user);
    let bytes: usize = new.user.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > USER_METADATA_BYTES_MAX - METADATA_BYTES_SPARE {
        let message = format!("{bytes} bytes of metadata; S3 keeps {USER_METADATA_BYTES_MAX} with an object");
        return Err(Error::new(Kind::NoSpace, message));
    }
    Ok(())
}

fn remove_own(new: &mut NewObject, name: &str) -> Result<()> {
    let mut carried = header::read(&new.user).map_err(|_| unreadable())?;
    carried.remove(name).ok_or_else(no_attribute)?;
    header::write(&carried, &mut new.user);
    Ok(())
}

fn demand(there: bool, setting: Setting) -> Result<()> {
    match (setting, there) {
        (Setting::Create, true) => Err(Error::new(Kind::Exists, "there is such an extended attribute")),
        (Setting::Replace, false) => Err(no_attribute()),
        _ => Ok(()),
    }
}

/// A value that is to become a header of its own.
fn text(value: &[u8], allowed: impl Fn(u8) -> bool) -> Result<String> {
    // Some tools count the terminating zero.
    let value = value.strip_suffix(b"\0").unwrap_or(value);
    let is_fit =
        !value.is_empty() && value.len() <= TOLD_BYTES_MAX && value.iter().all(|byte| allowed(*byte));
    let refused = || Error::new(Kind::InvalidArgument, "S3 could not take this value");
    is_fit.then(|| String::from_utf8(value.to_owned()).ok()).flatten().ok_or_else(refused)
}

fn acl_text(acl: &ObjectAcl) -> String {
    let grants: Vec<_> = acl
        .grants
        .iter()
        .map(|(grantee, permission)| json!({"grantee": grantee, "permission": permission}))
        .collect();
    json!({"owner": acl.owner, "grants": grants}).to_string()
}

fn no_attribute() -> Error {
    Error::new(Kind::NoAttribute, "no such extended attribute")
}

fn fixed(name: &str) -> Error {
    Error::new(
        Kind::NotPermitted,
        format!("{name} says what S3 has; only {TOLD}content-type and {TOLD}storage-class can be set"),
    )
}

fn unreadable() -> Error {
    Error::new(
        Kind::NotSupported,
        "the object's metadata has extended attributes in a form that is not understood",
    )
}

/// Left free for the commit id (49 bytes) and for times that grow a fraction when they change (30 bytes).
const METADATA_BYTES_SPARE: usize = 96;

/// Long enough for any media type; RFC 6838 allows 127 on either side of the slash.
const TOLD_BYTES_MAX: usize = 255;
