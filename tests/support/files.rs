//! What is done to files: whole ones, and open ones.

use std::sync::Arc;

use s3xmount::error::{Error, Kind, Result};
use s3xmount::fs::{Access, AttributeChange, Attributes, Extent, Found, HandleId, OpenOptions, Position};
use s3xmount::namespace::Ino;

use super::{MIB, Mount, OWNER};

impl Mount {
    /// Writes a whole file, as `cp` and `>` do.
    pub(crate) async fn write_file(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let file = self.open(path, How::Overwrite).await?;
        // The descriptor is closed whatever a write came to, and the first error is what is shown.
        let written = file.write(0, bytes).await;
        let closed = file.close().await;
        written.and(closed)
    }

    /// Writes at the end of a file, as `>>` does.
    pub(crate) async fn append(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let file = self.open(path, How::Edit).await?;
        let size = self.stat(path).await?.size;
        let written = file.write(size, bytes).await;
        let closed = file.close().await;
        written.and(closed)
    }

    /// Reads a whole file.
    pub(crate) async fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        let file = self.open(path, How::Read).await?;
        let bytes = file.read_all().await;
        file.close().await?;
        bytes
    }

    /// Opens a file, making it where `how` says so.
    pub(crate) async fn open(&self, path: &str, how: How) -> Result<OpenFile<'_>> {
        let (parent, name) = self.parent(path).await?;
        let options = how.options();
        let found = self.filesystem.lookup(parent, &name).await?;
        let (ino, handle) = match found {
            Found::Present(_) if options.exclusive => {
                return Err(Error::new(Kind::Exists, format!("{path} exists")));
            }
            Found::Present(shown) => {
                let ino = shown.attributes.ino;
                (ino, self.filesystem.open(ino, options).await?.handle)
            }
            Found::Absent(_) if how == How::Read => {
                return Err(Error::new(Kind::NotFound, format!("no {path}")));
            }
            Found::Absent(_) => {
                let (shown, opened) = self.filesystem.create(parent, &name, 0o644, OWNER, options)?;
                (shown.attributes.ino, opened.handle)
            }
        };
        Ok(OpenFile { mount: self, ino, handle })
    }
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// `O_RDONLY`
    Read,
    /// `O_RDWR | O_CREAT`
    Edit,
    /// `O_RDWR | O_CREAT | O_TRUNC`
    Overwrite,
    /// `O_RDWR | O_CREAT | O_EXCL`
    MakeNew,
}

impl How {
    fn options(self) -> OpenOptions {
        OpenOptions {
            access: Access { read: true, write: self != Self::Read },
            truncate: self == Self::Overwrite,
            exclusive: self == Self::MakeNew,
        }
    }
}

/// An open file.
#[must_use = "close it"]
pub(crate) struct OpenFile<'a> {
    mount: &'a Mount,
    /// Its inode.
    pub(crate) ino: Ino,
    /// Its handle.
    pub(crate) handle: HandleId,
}

impl OpenFile<'_> {
    /// `pread`.
    pub(crate) async fn read(&self, offset: u64, size: u32) -> Result<Vec<u8>> {
        let fs = &self.mount.filesystem;
        let read = match fs.try_read(self.handle, offset, size) {
            Some(read) => read?,
            None => fs.read(self.handle, offset, size).await?,
        };
        Ok(read.into_bytes().to_vec())
    }

    /// Reads from the beginning until there is no more.
    pub(crate) async fn read_all(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let piece = self.read(bytes.len() as u64, PIECE_BYTES as u32).await?;
            if piece.is_empty() {
                return Ok(bytes);
            }
            bytes.extend(piece);
        }
    }

    /// `pwrite`, in the pieces that the kernel makes.
    pub(crate) async fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        for (at, piece) in (0..).map(|piece| piece * PIECE_BYTES as u64).zip(bytes.chunks(PIECE_BYTES)) {
            self.mount.filesystem.write(self.handle, offset + at, piece).await?;
        }
        Ok(())
    }

    /// `copy_file_range`, from an offset of this file to the same one of another.
    pub(crate) async fn copy_to(&self, target: &Self, offset: u64, extent: Extent) -> Result<u64> {
        let at = |file: &Self| Position { handle: file.handle, offset };
        self.mount.filesystem.copy_range(at(self), at(target), extent).await
    }

    /// What the kernel does when one of several descriptors is closed.
    pub(crate) async fn flush(&self) -> Result<()> {
        self.mount.filesystem.flush(self.handle).await
    }

    /// `fsync`.
    pub(crate) async fn sync(&self) -> Result<()> {
        self.mount.filesystem.sync(self.handle).await
    }

    /// `ftruncate`.
    pub(crate) async fn truncate(&self, size: u64) -> Result<()> {
        self.mount.filesystem.truncate(self.ino, size).await.map(drop)
    }

    /// `fchmod`, `futimens`.
    pub(crate) async fn change(&self, change: AttributeChange) -> Result<()> {
        self.mount.filesystem.change_attributes(self.ino, change).await.map(drop)
    }

    /// `fstat`.
    pub(crate) async fn stat(&self) -> Result<Attributes> {
        Ok(self.mount.filesystem.attributes(self.ino).await?.attributes)
    }

    /// `close`, as far as the application waits for it. What is returned is the release, which the
    /// kernel sends some time later, while the application goes on.
    pub(crate) async fn close_early(self) -> Result<impl Future<Output = Result<()>> + Send + 'static> {
        self.flush().await?;
        let (filesystem, handle) = (Arc::clone(&self.mount.filesystem), self.handle);
        Ok(async move { filesystem.release(handle).await })
    }

    /// `close`: what it returns is what the flush came to, as with the kernel; the release follows.
    pub(crate) async fn close(self) -> Result<()> {
        let flushed = self.flush().await;
        let released = self.mount.filesystem.release(self.handle).await;
        flushed.and(released)
    }
}

/// What the kernel hands over at once, at most.
const PIECE_BYTES: usize = MIB;
