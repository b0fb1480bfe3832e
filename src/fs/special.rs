//! What is neither a file nor a directory: symbolic links, FIFOs, sockets and device nodes.
//!
//! Each is an object whose `mode` says what it is, as s3fs has it: that of a link holds the target, the others
//! hold nothing. Opening a FIFO or a socket is the kernel's own business, and it connects only programs on this
//! machine; a device node can be kept and be looked at, and is never a way to a device, as mounts are `nodev`.
//! So a tree that holds such things can be copied in and out again whole.

use std::fmt;

use bytes::Bytes;
use moka::sync::Cache;

use super::attr::{Attributes, FileKind};
use super::dirs::{Found, Shown, new_object};
use super::{Filesystem, removed, target_key};
use crate::error::{Error, Kind, Result};
use crate::name::FileName;
use crate::namespace::{Ino, Node, described, put_new};
use crate::s3::object::{ETag, STANDARD};
use crate::s3::{Body, NewObject, is_archive};

/// What mknod(2) is asked to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Special {
    /// What it is to be.
    pub kind: FileKind,
    /// Permission bits.
    pub mode: u32,
    /// Which device it stands for; zero for what is none.
    pub device: u32,
}

/// Targets of links that were made here: who follows one does not ask S3 for what it was told a moment ago. The kernel
/// remembers what it has been told itself.
pub(super) struct MadeLinks(Cache<(Ino, ETag), Bytes>);

impl Default for MadeLinks {
    fn default() -> Self {
        let weight =
            |_: &(Ino, ETag), target: &Bytes| LINK_BYTES + u32::try_from(target.len()).unwrap_or(u32::MAX);
        Self(Cache::builder().weigher(weight).max_capacity(LINKS_BYTES_MAX).build())
    }
}

impl fmt::Debug for MadeLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MadeLinks")
    }
}

impl Filesystem {
    /// Makes a symbolic link.
    ///
    /// # Errors
    /// [`Kind::Exists`].
    pub async fn make_symlink(
        &self,
        parent: Ino,
        name: &FileName,
        target: &str,
        owner: (u32, u32),
    ) -> Result<Shown> {
        let attributes = Attributes::of_new(Ino::ROOT, FileKind::Symlink, 0o777, owner);
        let target = Bytes::copy_from_slice(target.as_bytes());
        let (shown, etag) = self.make(parent, name, &attributes, target.clone()).await?;
        self.made_links.0.insert((shown.attributes.ino, etag), target);
        Ok(shown)
    }

    /// Makes a FIFO, a socket or a device node.
    ///
    /// # Errors
    /// [`Kind::Exists`].
    pub async fn make_special(
        &self,
        parent: Ino,
        name: &FileName,
        special: Special,
        owner: (u32, u32),
    ) -> Result<Shown> {
        let Special { kind, mode, device } = special;
        let attributes = Attributes { device, ..Attributes::of_new(Ino::ROOT, kind, mode, owner) };
        let (shown, _) = self.make(parent, name, &attributes, Bytes::new()).await?;
        Ok(shown)
    }

    async fn make(
        &self,
        parent: Ino,
        name: &FileName,
        attributes: &Attributes,
        content: Bytes,
    ) -> Result<(Shown, ETag)> {
        let place = self.place_in(parent, name)?;
        self.namespace().ensure_writable(place.folder.bucket)?;
        let gateway = self.namespace().gateway(place.folder.bucket);
        // A link whose target must be restored before it can be followed is of no use.
        let class = gateway.class_of_content(None).filter(|class| !is_archive(class));
        let storage_class = Some(class.unwrap_or_else(|| STANDARD.to_owned()));
        let new = NewObject { storage_class, ..new_object(None, attributes) };
        let size = content.len() as u64;
        let Some(etag) = put_new(gateway, &target_key(&place)?, Body::from(content), &new).await? else {
            self.namespace().drop_answer(&place);
            return Err(Error::new(Kind::Exists, format!("{name} exists")));
        };
        self.leave_name(parent, name);
        self.namespace().committed(&place, described(etag.clone(), size, &new));
        self.namespace().names_changed(&place.folder);
        match self.lookup(parent, name).await? {
            Found::Present(shown) => Ok((shown, etag)),
            Found::Absent(_) => Err(removed()),
        }
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] for anything else, and for a target longer than Linux allows.
    pub async fn read_symlink(&self, ino: Ino) -> Result<Vec<u8>> {
        let shown = self.attributes(ino).await?;
        if shown.attributes.kind != FileKind::Symlink || shown.attributes.size > TARGET_BYTES_MAX {
            return Err(Error::new(Kind::InvalidArgument, "not a symbolic link"));
        }
        if let Node::File(meta) = self.namespace().node(ino).await?.node
            && let Some(target) = self.made_links.0.get(&(ino, meta.etag))
        {
            return Ok(target.to_vec());
        }
        let place = self.namespace().place(ino)?;
        let mut body = self.namespace().gateway(place.folder.bucket).get_whole(&target_key(&place)?).await?;
        let mut target = Vec::new();
        while let Some(chunk) = body.next().await {
            target.extend_from_slice(&chunk?);
        }
        Ok(target)
    }
}

/// `PATH_MAX` of Linux.
const TARGET_BYTES_MAX: u64 = 4096;

/// What a link takes beside its target, about.
const LINK_BYTES: u32 = 128;
const LINKS_BYTES_MAX: u64 = 1 << 20;
